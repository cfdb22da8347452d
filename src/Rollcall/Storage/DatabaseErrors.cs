using System.Data.Common;
using System.Net.Sockets;
using Microsoft.Data.Sqlite;
using Npgsql;

namespace Rollcall.Storage;

/// <summary>What a database's error means.</summary>
internal static class DatabaseErrors
{
    private const int SqliteConstraintUnique = 2067;
    private const int SqliteConstraintPrimaryKey = 1555;
    private const int SqliteError = 1;
    private const int SqliteBusy = 5;
    private const int SqliteLocked = 6;
    private const int SqliteReadOnly = 8;
    private const int SqliteIoError = 10;
    private const int SqliteFull = 13;

    /// <summary>The database or the line to it failed, rather than the program.</summary>
    public static bool IsFault(Exception e)
    {
        var another = false;
        for (var inner = e; inner is not null; inner = inner.InnerException)
        {
            // A driver says of a line that broke between two statements that the connection is not open.
            if (inner is DbException or InvalidOperationException { Source: "Npgsql" or "Microsoft.Data.Sqlite" })
            {
                return true;
            }

            // It lets a name that is not found come as it is. Inside of these it is somebody else's.
            another |= inner is OneRoster.RosterException or HttpRequestException or IOException;
            if (inner is SocketException && !another)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>What the database or its driver said, in one line: what wraps it says only that something may pass.</summary>
    public static string Reason(Exception e)
    {
        for (var inner = e; inner is not null; inner = inner.InnerException)
        {
            if (inner is DbException)
            {
                return inner.Message.ReplaceLineEndings(" ");
            }
        }

        return e.Message.ReplaceLineEndings(" ");
    }

    /// <summary>The database is not there at the moment, or ended the connection: it may be back a moment later. What had been sent to be written may
    /// have been.</summary>
    public static bool IsAway(Exception e)
    {
        for (var inner = e; inner is not null; inner = inner.InnerException)
        {
            switch (inner)
            {
                case PostgresException { SqlState: var state }:
                    // Class 08: connections; 57P: shut down, or starting still; 53300: too many of them.
                    return state.StartsWith("08", StringComparison.Ordinal)
                        || state.StartsWith("57P", StringComparison.Ordinal)
                        || state == PostgresErrorCodes.TooManyConnections;
                case NpgsqlOperationInProgressException:
                    // Two commands at once on one connection: this program's own fault.
                    return false;
                case NpgsqlException { InnerException: IOException or SocketException or TimeoutException or null }:
                case InvalidOperationException { Source: "Npgsql" }:
                // A connection that was cut between two messages.
                case NullReferenceException { Source: "Npgsql" }:
                    return true;
            }
        }

        return false;
    }

    /// <summary>What people and programs are told of a database that <see cref="TakesNoWrites"/>.</summary>
    public const string NoWrites =
        "The database takes no writes at the moment: its disk is full, or it is read-only. Tell whoever runs this installation, and look whether it was saved before you do it again.";

    /// <summary>The database answers and cannot be written: its disk is full or failing, or it was made read-only.</summary>
    public static bool TakesNoWrites(Exception e)
    {
        for (var inner = e; inner is not null; inner = inner.InnerException)
        {
            switch (inner)
            {
                case PostgresException { SqlState: var state }:
                    return state is PostgresErrorCodes.DiskFull or PostgresErrorCodes.ReadOnlySqlTransaction or PostgresErrorCodes.IoError;
                case SqliteException { SqliteErrorCode: var code }:
                    return code is SqliteReadOnly or SqliteIoError or SqliteFull;
            }
        }

        return false;
    }

    /// <summary>Somebody held what was to be locked for longer than it was waited for.</summary>
    public static bool IsLockTimeout(Exception e) => e is PostgresException { SqlState: PostgresErrorCodes.LockNotAvailable };

    /// <summary>SQLite has one writer, and somebody else was it for longer than it was waited for.</summary>
    public static bool IsBusy(Exception e) => e is SqliteException { SqliteErrorCode: SqliteBusy or SqliteLocked };

    /// <summary>Others wrote at the same moment, and this one had to give way: it was rolled back, and can be done again. Whoever writes patrons takes the
    /// district first, so that no two of them wait for each other; sign-ins and settings do not.</summary>
    public static bool IsGivingWay(Exception e)
    {
        for (var inner = e; inner is not null; inner = inner.InnerException)
        {
            if (inner is PostgresException { SqlState: PostgresErrorCodes.DeadlockDetected } || IsLockTimeout(inner) || IsBusy(inner))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>The database answers, and nobody has made that table in it yet.</summary>
    public static bool IsNoSuchTable(Exception e) =>
        e is PostgresException { SqlState: PostgresErrorCodes.UndefinedTable }
        || (
            e is SqliteException { SqliteErrorCode: SqliteError } sqlite
            && sqlite.Message.Contains("no such table", StringComparison.Ordinal)
        );

    /// <summary>Somebody else has the value already.</summary>
    public static bool IsUniqueViolation(Exception e) =>
        e
            is PostgresException { SqlState: PostgresErrorCodes.UniqueViolation }
                or SqliteException { SqliteExtendedErrorCode: SqliteConstraintUnique or SqliteConstraintPrimaryKey };
}
