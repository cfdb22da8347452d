using System.Data.Common;
using System.Globalization;
using Microsoft.Data.Sqlite;

namespace Rollcall.Storage;

internal sealed class SqliteBulk : IBulkStore
{
    public string NowMilliseconds => "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

    // Longer slices make a page's save wait for seconds, because SQLite has one writer and no queue.
    public TimeSpan PauseBetweenSlices => TimeSpan.FromMilliseconds(10);

    public Task<DbTransaction> BeginWriteAsync(DbConnection connection, CancellationToken cancellationToken) =>
        Task.FromResult<DbTransaction>(((SqliteConnection)connection).BeginTransaction(deferred: false));

    // The write lock of the transaction already keeps everybody else out.
    public Task LockDistrictAsync(
        DbConnection connection,
        DbTransaction transaction,
        int districtId,
        CancellationToken cancellationToken
    ) => Task.CompletedTask;

    public Task LockPatronsAsync(
        DbConnection connection,
        DbTransaction transaction,
        int districtId,
        IReadOnlyCollection<long> ids,
        CancellationToken cancellationToken
    ) => Task.CompletedTask;

    public Task InsertAsync<T>(
        DbConnection connection,
        DbTransaction transaction,
        BulkTable<T> table,
        IReadOnlyCollection<T> rows,
        CancellationToken cancellationToken
    ) => ExecuteAsync(connection, transaction, InsertSql(table), table, rows, cancellationToken);

    public Task UpdateAsync<T>(
        DbConnection connection,
        DbTransaction transaction,
        BulkTable<T> table,
        IReadOnlyCollection<T> rows,
        CancellationToken cancellationToken
    )
    {
        var index = table.Columns.Select((c, i) => (c.Name, i)).ToDictionary(p => p.Name, p => p.i, StringComparer.Ordinal);
        var sql =
            $"UPDATE {table.Name} SET {string.Join(", ", table.Values.Select(c => $"\"{c.Name}\" = @p{index[c.Name]}"))} "
            + $"WHERE {string.Join(" AND ", table.Keys.Select(c => $"\"{c.Name}\" = @p{index[c.Name]}"))}";
        return ExecuteAsync(connection, transaction, sql, table, rows, cancellationToken);
    }

    public Task UpsertAsync<T>(
        DbConnection connection,
        DbTransaction transaction,
        BulkTable<T> table,
        IReadOnlyCollection<T> rows,
        CancellationToken cancellationToken
    ) =>
        ExecuteAsync(
            connection,
            transaction,
            InsertSql(table)
                + $" ON CONFLICT ({string.Join(", ", table.Keys.Select(c => $"\"{c.Name}\""))}) DO UPDATE SET "
                + string.Join(", ", table.Values.Select(c => $"\"{c.Name}\" = excluded.\"{c.Name}\"")),
            table,
            rows,
            cancellationToken
        );

    public int NextSlice(int lastSize, TimeSpan elapsed)
    {
        var milliseconds = Math.Max(elapsed.TotalMilliseconds, 0.5);
        return (int)Math.Clamp(lastSize * 20 / milliseconds, 20, 2000);
    }

    private static string InsertSql<T>(BulkTable<T> table) =>
        $"INSERT INTO {table.Name} ({string.Join(", ", table.Columns.Select(c => $"\"{c.Name}\""))}) "
        + $"VALUES ({string.Join(", ", table.Columns.Select((_, i) => string.Create(CultureInfo.InvariantCulture, $"@p{i}")))})";

    private static async Task ExecuteAsync<T>(
        DbConnection connection,
        DbTransaction transaction,
        string sql,
        BulkTable<T> table,
        IReadOnlyCollection<T> rows,
        CancellationToken cancellationToken
    )
    {
        if (rows.Count == 0)
        {
            return;
        }

        await using var command = ((SqliteConnection)connection).CreateCommand();
        command.Transaction = (SqliteTransaction)transaction;
        command.CommandText = sql;
        var columns = table.Columns;
        var parameters = new SqliteParameter[columns.Count];
        for (var i = 0; i < columns.Count; i++)
        {
            parameters[i] = command.CreateParameter();
            parameters[i].ParameterName = string.Create(CultureInfo.InvariantCulture, $"@p{i}");
            parameters[i].SqliteType = columns[i].Type == BulkType.Text ? SqliteType.Text : SqliteType.Integer;
            command.Parameters.Add(parameters[i]);
        }

        await command.PrepareAsync(cancellationToken);
        foreach (var row in rows)
        {
            for (var i = 0; i < parameters.Length; i++)
            {
                var column = columns[i];
                parameters[i].Value =
                    column.Text is not null ? column.Text(row) ?? (object)DBNull.Value
                    : column.Flag is not null ? (column.Flag(row) ? 1L : 0L)
                    : column.Number!(row) is { } number ? number
                    : DBNull.Value;
            }

            await command.ExecuteNonQueryAsync(cancellationToken);
        }
    }
}
