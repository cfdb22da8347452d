using Npgsql;

namespace Rollcall.Storage;

/// <summary>PostgreSQL's index of three letters in a row (pg_trgm), by which a search finds patrons without reading all of them. It is no part
/// of the schema: where the server has no such extension, or Rollcall's user may not install it, a search reads all.</summary>
internal static class PostgresSearchIndex
{
    public const string Name = "ix_patrons_search_key_trgm";

    /// <summary>Makes the index where it is missing, or was left half made, while others write.</summary>
    /// <returns>False when it cannot be had here.</returns>
    public static async Task<bool> EnsureAsync(NpgsqlConnection connection, CancellationToken cancellationToken)
    {
        const string Whole = $"""
            SELECT count(*) FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
            WHERE c.relname = '{Name}' AND c.relnamespace = current_schema()::regnamespace AND i.indisvalid
            """;
        if (await Sql.ScalarAsync(connection, null, Whole, cancellationToken) > 0)
        {
            return true;
        }

        try
        {
            await Sql.ExecuteAsync(connection, null, "CREATE EXTENSION IF NOT EXISTS pg_trgm", cancellationToken);
            await Sql.ExecuteAsync(connection, null, $"DROP INDEX CONCURRENTLY IF EXISTS {Name}", cancellationToken);
            await Sql.ExecuteAsync(
                connection,
                null,
                $"CREATE INDEX CONCURRENTLY {Name} ON patrons USING gin (search_key gin_trgm_ops)",
                cancellationToken
            );
            return true;
        }
        catch (PostgresException e)
            when (e.SqlState
                    is PostgresErrorCodes.InsufficientPrivilege
                        or PostgresErrorCodes.FeatureNotSupported
                        or PostgresErrorCodes.UndefinedFile
                        or PostgresErrorCodes.UndefinedObject
                        // Somebody else is making it just now.
                        or PostgresErrorCodes.DuplicateTable
                        or PostgresErrorCodes.DeadlockDetected
            )
        {
            return false;
        }
    }
}
