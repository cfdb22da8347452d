using System.Net.Sockets;
using Microsoft.Data.Sqlite;
using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Storage;
using Npgsql;
using Rollcall.Districts;
using Rollcall.OneRoster;
using Rollcall.Storage;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Storage;

/// <summary>What is the database's fault, however it comes.</summary>
public sealed class DatabaseErrorTests(PostgresCluster cluster)
{
    [Fact]
    public void A_database_that_is_away_is_told_from_a_roster_service_that_is()
    {
        // A name that is not found comes from the driver as it is.
        var line = new SocketException((int)SocketError.HostNotFound);
        Exception[] database =
        [
            line,
            new NpgsqlException("Failed to connect", line),
            new DbUpdateException("The rows could not be saved", new SqliteException("disk I/O error", 10)),
            new InvalidOperationException("Likely due to a transient failure", line),
        ];
        Assert.All(database, e => Assert.True(DatabaseErrors.IsFault(e), $"{e}"));
        Exception[] others =
        [
            new HttpRequestException("Name or service not known", line),
            new RosterException(RosterFault.Unreachable, "river.example does not answer.", new HttpRequestException("No.", line)),
            new RosterException(RosterFault.Unreachable, "river.example does not answer.", line),
            new IOException("Unable to read data from the transport connection", line),
            new InvalidOperationException("Sequence contains no elements"),
        ];
        Assert.All(others, e => Assert.False(DatabaseErrors.IsFault(e), $"{e}"));
    }

    /// <summary>Two who hold what the other one wants: one of them gives way, which is a fault of nobody.</summary>
    [Fact]
    public async Task Whoever_gives_way_to_others_is_known_and_may_try_again()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Postgres, connect: false);
        await system.Get<DistrictService>().AddAsync("LAKE", "Lake", "UTC", "test");
        await using var first = system.Database.CreateContext();
        await using var second = system.Database.CreateContext();
        await using var one = await first.Database.BeginTransactionAsync();
        await using var two = await second.Database.BeginTransactionAsync();
        Task LockAsync(RollcallContext context, string code) =>
            context.Districts.Where(d => d.Code == code).ExecuteUpdateAsync(s => s.SetProperty(d => d.Name, d => d.Name));
        await LockAsync(first, "RIVER");
        await LockAsync(second, "LAKE");
        var faults = new List<Exception>();
        async Task TryAsync(RollcallContext context, string code, IDbContextTransaction transaction)
        {
            try
            {
                await LockAsync(context, code);
            }
            catch (Exception e)
            {
                faults.Add(e);
            }

            await transaction.RollbackAsync();
        }

        await Task.WhenAll(TryAsync(first, "LAKE", one), TryAsync(second, "RIVER", two));
        var fault = Assert.Single(faults);
        Assert.True(DatabaseErrors.IsGivingWay(fault) && DatabaseErrors.IsFault(fault));
        Assert.False(DatabaseErrors.IsGivingWay(new InvalidOperationException()));
    }
}
