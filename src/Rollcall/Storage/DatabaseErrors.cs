using Microsoft.Data.Sqlite;
using Npgsql;

namespace Rollcall.Storage;

/// <summary>What a database's error means.</summary>
internal static class DatabaseErrors
{
    private const int SqliteConstraintUnique = 2067;
    private const int SqliteConstraintPrimaryKey = 1555;

    /// <summary>Somebody else has the value already.</summary>
    public static bool IsUniqueViolation(Exception e) =>
        e
            is PostgresException { SqlState: PostgresErrorCodes.UniqueViolation }
                or SqliteException { SqliteExtendedErrorCode: SqliteConstraintUnique or SqliteConstraintPrimaryKey };
}
