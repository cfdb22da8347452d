using System.Buffers;
using System.Data.Common;
using System.Globalization;
using Microsoft.Data.Sqlite;
using SQLitePCL;

namespace Rollcall.Storage;

internal sealed class SqliteBulk : IBulkStore
{
    /// <summary>Stands in for each step of a statement that is run once a row; null for the step itself. Tests let one fail, or wait in it.</summary>
    internal Func<Func<int>, int>? Stepping { get; set; }

    public string NowMilliseconds => "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

    public string PositionOf => "instr";

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
    )
    {
        Execute(connection, InsertSql(table), table, rows, cancellationToken);
        return Task.CompletedTask;
    }

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
            $"UPDATE {table.Name} SET {string.Join(", ", table.Values.Select(c => $"\"{c.Name}\" = ?{index[c.Name] + 1}"))} "
            + $"WHERE {string.Join(" AND ", table.Keys.Select(c => $"\"{c.Name}\" = ?{index[c.Name] + 1}"))}";
        Execute(connection, sql, table, rows, cancellationToken);
        return Task.CompletedTask;
    }

    public Task UpsertAsync<T>(
        DbConnection connection,
        DbTransaction transaction,
        BulkTable<T> table,
        IReadOnlyCollection<T> rows,
        CancellationToken cancellationToken
    )
    {
        Execute(
            connection,
            InsertSql(table)
                + $" ON CONFLICT ({string.Join(", ", table.Keys.Select(c => $"\"{c.Name}\""))}) DO UPDATE SET "
                + string.Join(", ", table.Values.Select(c => $"\"{c.Name}\" = excluded.\"{c.Name}\"")),
            table,
            rows,
            cancellationToken
        );
        return Task.CompletedTask;
    }

    public Task TablesGrewAsync(DbConnection connection, CancellationToken cancellationToken) => Task.CompletedTask;

    public int NextSlice(int lastSize, TimeSpan elapsed)
    {
        var milliseconds = Math.Max(elapsed.TotalMilliseconds, 0.5);
        return (int)Math.Clamp(lastSize * 20 / milliseconds, 20, 2000);
    }

    private static string InsertSql<T>(BulkTable<T> table) =>
        $"INSERT INTO {table.Name} ({string.Join(", ", table.Columns.Select(c => $"\"{c.Name}\""))}) "
        + $"VALUES ({string.Join(", ", table.Columns.Select((_, i) => string.Create(CultureInfo.InvariantCulture, $"?{i + 1}")))})";

    /// <summary>Runs a statement once a row. Bound by position on the statement itself: the provider looks each parameter up by its name,
    /// for each row again, and that takes longer than the insert.</summary>
    private void Execute<T>(
        DbConnection connection,
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

        var handle = ((SqliteConnection)connection).Handle!;
        Check(handle, raw.sqlite3_prepare_v2(handle, sql, out var statement));
        var buffer = ArrayPool<byte>.Shared.Rent(4096);
        try
        {
            foreach (var row in rows)
            {
                cancellationToken.ThrowIfCancellationRequested();
                for (var i = 0; i < table.Columns.Count; i++)
                {
                    Check(handle, Bind(statement, i + 1, table.Columns[i], row, ref buffer));
                }

                var result = Stepping is { } instead ? instead(() => raw.sqlite3_step(statement)) : raw.sqlite3_step(statement);
                if (result != raw.SQLITE_DONE)
                {
                    Check(handle, result);
                }

                raw.sqlite3_reset(statement);
            }
        }
        finally
        {
            statement.Dispose();

            // Names of children have lain in it.
            ArrayPool<byte>.Shared.Return(buffer, clearArray: true);
        }
    }

    private static int Bind<T>(sqlite3_stmt statement, int at, BulkColumn<T> column, T row, ref byte[] buffer)
    {
        if (column.Text is not null)
        {
            if (column.Text(row) is not { } text)
            {
                return raw.sqlite3_bind_null(statement, at);
            }

            if (text.Length == 0)
            {
                // An empty span is a null pointer, which would store NULL.
                return raw.sqlite3_bind_text(statement, at, "");
            }

            if (text.Length * 3 > buffer.Length)
            {
                ArrayPool<byte>.Shared.Return(buffer, clearArray: true);
                buffer = ArrayPool<byte>.Shared.Rent(text.Length * 3);
            }

            var size = System.Text.Encoding.UTF8.GetBytes(text, buffer);
            return raw.sqlite3_bind_text(statement, at, buffer.AsSpan(0, size));
        }

        return column.Flag is not null ? raw.sqlite3_bind_int64(statement, at, column.Flag(row) ? 1 : 0)
            : column.Number!(row) is { } number ? raw.sqlite3_bind_int64(statement, at, number)
            : raw.sqlite3_bind_null(statement, at);
    }

    private static void Check(sqlite3 handle, int result) => SqliteException.ThrowExceptionForRC(result, handle);
}
