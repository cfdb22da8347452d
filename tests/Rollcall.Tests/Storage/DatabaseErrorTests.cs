using System.Net.Sockets;
using Microsoft.Data.Sqlite;
using Microsoft.EntityFrameworkCore;
using Npgsql;
using Rollcall.OneRoster;
using Rollcall.Storage;

namespace Rollcall.Tests.Storage;

/// <summary>What is the database's fault, however it comes.</summary>
public sealed class DatabaseErrorTests
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
}
