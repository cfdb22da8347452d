using System.Data.Common;
using Npgsql;
using NpgsqlTypes;

namespace Rollcall.Storage;

internal sealed class PostgresBulk : IBulkStore
{
    public string NowMilliseconds => "(extract(epoch from clock_timestamp()) * 1000)::bigint";

    public string PositionOf => "strpos";

    public TimeSpan PauseBetweenSlices => TimeSpan.Zero;

    public async Task<DbTransaction> BeginWriteAsync(DbConnection connection, CancellationToken cancellationToken) =>
        await connection.BeginTransactionAsync(cancellationToken);

    public Task LockDistrictAsync(
        DbConnection connection,
        DbTransaction transaction,
        int districtId,
        CancellationToken cancellationToken
    ) =>
        Sql.ExecuteAsync(
            connection,
            transaction,
            "SELECT 1 FROM districts WHERE id = @district FOR UPDATE",
            cancellationToken,
            ("@district", districtId)
        );

    public async Task LockPatronsAsync(
        DbConnection connection,
        DbTransaction transaction,
        int districtId,
        IReadOnlyCollection<long> ids,
        CancellationToken cancellationToken
    )
    {
        if (ids.Count == 0)
        {
            return;
        }

        await using var command = ((NpgsqlConnection)connection).CreateCommand();
        command.Transaction = (NpgsqlTransaction)transaction;
        // In order of id, so that two of these never wait for each other in a ring.
        command.CommandText = "SELECT 1 FROM patrons WHERE district_id = $1 AND id = ANY($2) ORDER BY id FOR UPDATE";
        command.Parameters.Add(new NpgsqlParameter<int> { TypedValue = districtId });
        command.Parameters.Add(new NpgsqlParameter<long[]> { TypedValue = [.. ids] });
        await command.ExecuteNonQueryAsync(cancellationToken);
    }

    public async Task InsertAsync<T>(
        DbConnection connection,
        DbTransaction transaction,
        BulkTable<T> table,
        IReadOnlyCollection<T> rows,
        CancellationToken cancellationToken
    )
    {
        if (!RowSecurity.IsConfined((NpgsqlConnection)connection))
        {
            await CopyAsync((NpgsqlConnection)connection, table.Name, table, rows, cancellationToken);
            return;
        }

        // COPY goes past policies, so PostgreSQL refuses it where there are some.
        await StageAsync(connection, transaction, table, rows, cancellationToken);
        var columns = string.Join(", ", table.Columns.Select(c => $"\"{c.Name}\""));
        await ExecuteAsync(
            connection,
            transaction,
            $"INSERT INTO {table.Name} ({columns}) SELECT {columns} FROM stage_{table.Name}",
            cancellationToken
        );
    }

    public async Task UpdateAsync<T>(
        DbConnection connection,
        DbTransaction transaction,
        BulkTable<T> table,
        IReadOnlyCollection<T> rows,
        CancellationToken cancellationToken
    )
    {
        await StageAsync(connection, transaction, table, rows, cancellationToken);
        await ExecuteAsync(
            connection,
            transaction,
            $"UPDATE {table.Name} AS t SET {string.Join(", ", table.Values.Select(c => $"\"{c.Name}\" = s.\"{c.Name}\""))} "
                + $"FROM stage_{table.Name} AS s WHERE {string.Join(" AND ", table.Keys.Select(c => $"t.\"{c.Name}\" = s.\"{c.Name}\""))}",
            cancellationToken
        );
    }

    public async Task UpsertAsync<T>(
        DbConnection connection,
        DbTransaction transaction,
        BulkTable<T> table,
        IReadOnlyCollection<T> rows,
        CancellationToken cancellationToken
    )
    {
        await StageAsync(connection, transaction, table, rows, cancellationToken);
        await ExecuteAsync(
            connection,
            transaction,
            $"MERGE INTO {table.Name} AS t USING stage_{table.Name} AS s ON {string.Join(" AND ", table.Keys.Select(c => $"t.\"{c.Name}\" = s.\"{c.Name}\""))} "
                + $"WHEN MATCHED THEN UPDATE SET {string.Join(", ", table.Values.Select(c => $"\"{c.Name}\" = s.\"{c.Name}\""))} "
                + $"WHEN NOT MATCHED THEN INSERT ({string.Join(", ", table.Columns.Select(c => $"\"{c.Name}\""))}) VALUES ({string.Join(", ", table.Columns.Select(c => $"s.\"{c.Name}\""))})",
            cancellationToken
        );
    }

    public async Task TablesGrewAsync(DbConnection connection, CancellationToken cancellationToken)
    {
        try
        {
            // PostgreSQL looks by itself once a minute; until then it takes the tables for empty.
            await using var transaction = await connection.BeginTransactionAsync(cancellationToken);
            await ExecuteAsync(connection, transaction, "SET LOCAL lock_timeout = 1000", cancellationToken);
            await using var analyze = connection.CreateCommand().AllowLong();
            analyze.Transaction = transaction;
            analyze.CommandText = "ANALYZE patrons, patron_links, changes";
            await analyze.ExecuteNonQueryAsync(cancellationToken);
            await transaction.CommitAsync(cancellationToken);
        }
        catch (PostgresException e) when (e.SqlState == PostgresErrorCodes.LockNotAvailable)
        {
            // It is looking just now.
        }
    }

    public int NextSlice(int lastSize, TimeSpan elapsed) => 5000;

    private static async Task StageAsync<T>(
        DbConnection connection,
        DbTransaction transaction,
        BulkTable<T> table,
        IReadOnlyCollection<T> rows,
        CancellationToken cancellationToken
    )
    {
        await ExecuteAsync(
            connection,
            transaction,
            $"CREATE TEMPORARY TABLE IF NOT EXISTS stage_{table.Name} (LIKE {table.Name}) ON COMMIT DELETE ROWS; TRUNCATE stage_{table.Name}",
            cancellationToken
        );
        await CopyAsync((NpgsqlConnection)connection, $"stage_{table.Name}", table, rows, cancellationToken);
    }

    private static async Task ExecuteAsync(
        DbConnection connection,
        DbTransaction transaction,
        string sql,
        CancellationToken cancellationToken
    )
    {
        await using var command = connection.CreateCommand();
        command.Transaction = transaction;
        command.CommandText = sql;
        await command.ExecuteNonQueryAsync(cancellationToken);
    }

    private static async Task CopyAsync<T>(
        NpgsqlConnection connection,
        string target,
        BulkTable<T> table,
        IReadOnlyCollection<T> rows,
        CancellationToken cancellationToken
    )
    {
        if (rows.Count == 0)
        {
            return;
        }

        await using var writer = await connection.BeginBinaryImportAsync(
            $"COPY {target} ({string.Join(", ", table.Columns.Select(c => $"\"{c.Name}\""))}) FROM STDIN (FORMAT BINARY)",
            cancellationToken
        );
        // Values go into the connection's buffer; waiting for each as for an answer costs twice what writing them does.
        foreach (var row in rows)
        {
            writer.StartRow();
            foreach (var column in table.Columns)
            {
                if (column.Text is not null)
                {
                    if (column.Text(row) is { } text)
                    {
                        writer.Write(text, NpgsqlDbType.Text);
                    }
                    else
                    {
                        writer.WriteNull();
                    }
                }
                else if (column.Flag is not null)
                {
                    writer.Write(column.Flag(row), NpgsqlDbType.Boolean);
                }
                else if (column.Number!(row) is not { } number)
                {
                    writer.WriteNull();
                }
                else if (column.Type == BulkType.Int)
                {
                    writer.Write((int)number, NpgsqlDbType.Integer);
                }
                else
                {
                    writer.Write(number, NpgsqlDbType.Bigint);
                }
            }
        }

        await writer.CompleteAsync(cancellationToken);
    }
}
