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

    [Fact]
    public void A_database_that_cannot_be_written_is_told_from_one_that_refuses_a_value()
    {
        static PostgresException Postgres(string state) => new("No.", "ERROR", "ERROR", state);
        Exception[] full =
        [
            Postgres("53100"),
            Postgres("25006"),
            Postgres("58030"),
            new DbUpdateException("The rows could not be saved", new SqliteException("database or disk is full", 13)),
            new SqliteException("attempt to write a readonly database", 8),
            new SqliteException("disk I/O error", 10),
        ];
        Assert.All(full, e => Assert.True(DatabaseErrors.TakesNoWrites(e), $"{e}"));
        Exception[] others = [Postgres("23505"), Postgres("57P01"), new SqliteException("busy", 5), new IOException("No space left")];
        Assert.All(others, e => Assert.False(DatabaseErrors.TakesNoWrites(e), $"{e}"));
    }

    [Theory]
    [InlineData("53300", "remaining connection slots are reserved", "Maximum Pool Size")]
    [InlineData("42501", "permission denied for schema public", "OWNER TO")]
    [InlineData("42704", "unrecognized configuration parameter", "Check Options in --database")]
    [InlineData("57P03", "the database system is starting up", "Try again in a moment")]
    [InlineData("28P01", "password authentication failed", "Check user, password")]
    public void What_PostgreSQL_refuses_is_told_with_what_helps(string state, string said, string helps)
    {
        var line = RollcallDatabase.InWords(new PostgresException(said, "FATAL", "FATAL", state));
        Assert.Contains($"{said}. ", line, StringComparison.Ordinal);
        Assert.Contains(helps, line, StringComparison.Ordinal);
    }

    [Fact]
    public void What_wraps_a_fault_is_not_told_in_its_place()
    {
        var said = new NpgsqlException("Failed to connect\nto 127.0.0.1:5432");
        Assert.Equal(
            "Failed to connect to 127.0.0.1:5432",
            DatabaseErrors.Reason(new InvalidOperationException("Likely due to a transient failure.", said))
        );
        Assert.Equal("Something else.", DatabaseErrors.Reason(new InvalidOperationException("Something else.")));
        Assert.Contains(
            "Passfile",
            RollcallDatabase.InWords(new NpgsqlException("No password has been provided but the backend requires one (in MD5)")),
            StringComparison.Ordinal
        );
    }

    /// <summary>Connections come as PostgreSQL's own programs and hosting services write them.</summary>
    [Theory]
    [InlineData("postgres://u:p@db.example/x?sslmode=verify-full&sslrootcert=/a.pem&channel_binding=require&connect_timeout=7")]
    [InlineData(
        "Host=db.example;Database=x;User=u;Password=p;sslmode=verify-full;sslrootcert=/a.pem;channel_binding=require;connect_timeout=7"
    )]
    public void A_connection_may_have_the_names_and_values_of_PostgreSQL_s_own_programs(string written)
    {
        using var folder = new TempFolder();
        using var database = new RollcallDatabase(new StorageOptions(folder.Path, written));
        var read = new NpgsqlConnectionStringBuilder(database.ConnectionString);
        Assert.Equal(("db.example", "x", "u", "p"), (read.Host, read.Database, read.Username, read.Password));
        Assert.Equal(
            (SslMode.VerifyFull, "/a.pem", ChannelBinding.Require, 7),
            (read.SslMode, read.RootCertificate, read.ChannelBinding, read.Timeout)
        );
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
