using System.Data.Common;
using System.Diagnostics;
using System.Globalization;
using Microsoft.Data.Sqlite;
using Npgsql;
using Rollcall.Storage;

namespace Rollcall.Bench;

/// <summary>What the database alone costs: the rows that the first sync wrote, as values in memory, put into empty tables of the same
/// schema by the plainest quick way there is. One transaction, no checks, none of the product's own writing code.</summary>
internal static class FloorTask
{
    // So many at a time, so that a million people's rows need not lie in memory; fetching them is not counted.
    private const int Portion = 50_000;

    private static readonly (string Table, string Order)[] s_tables =
    [
        ("patrons", "district_id, id"),
        ("patron_links", "district_id, patron_id"),
        ("changes", "district_id, operation_id, number"),
    ];

    public static async Task<Measured> RunAsync(Order order)
    {
        await using var source = new RollcallDatabase(new StorageOptions(order.Folder, order.Connection));
        await using var target = new RollcallDatabase(new StorageOptions(order.TargetFolder, order.TargetConnection));
        await target.EnsureReadyAsync();
        await using var from = await source.OpenAsync();
        await using var to = await target.OpenAsync();
        var spent = TimeSpan.Zero;
        long rows = 0;
        var parts = new Dictionary<string, double>(StringComparer.Ordinal);
        await using var transaction = await to.BeginTransactionAsync();
        foreach (var (table, sort) in s_tables)
        {
            var before = spent;
            await using var select = from.CreateCommand();
            select.CommandText = $"SELECT * FROM {table} ORDER BY {sort}";
            await using var reader = await select.ExecuteReaderAsync();
            var columns = Enumerable.Range(0, reader.FieldCount).Select(reader.GetName).ToArray();
            var types = Enumerable.Range(0, reader.FieldCount).Select(reader.GetDataTypeName).ToArray();
            for (var portion = await TakeAsync(reader); portion.Count > 0; portion = await TakeAsync(reader))
            {
                var watch = Stopwatch.GetTimestamp();
                await (
                    to is NpgsqlConnection npgsql
                        ? CopyAsync(npgsql, table, columns, types, portion)
                        : InsertAsync((SqliteConnection)to, transaction, table, columns, portion)
                );
                spent += Stopwatch.GetElapsedTime(watch);
                rows += portion.Count;
            }

            parts[table] = (spent - before).TotalSeconds;
        }

        var commit = Stopwatch.GetTimestamp();
        await transaction.CommitAsync();
        spent += Stopwatch.GetElapsedTime(commit);
        foreach (var (table, _) in s_tables)
        {
            var wanted = await CountAsync(from, table);
            var got = await CountAsync(to, table);
            BenchFailedException.ThrowUnless(wanted == got && got > 0, $"The floor wrote {got} of {wanted} rows of {table}.");
        }

        return new Measured
        {
            Seconds = spent.TotalSeconds,
            Rows = rows,
            Parts = parts,
        };
    }

    private static Task<long> CountAsync(DbConnection connection, string table) =>
        Sql.ScalarAsync(connection, null, $"SELECT count(*) FROM {table}", CancellationToken.None);

    private static async Task<List<object[]>> TakeAsync(DbDataReader reader)
    {
        var rows = new List<object[]>();
        while (rows.Count < Portion && await reader.ReadAsync())
        {
            var row = new object[reader.FieldCount];
            reader.GetValues(row);
            rows.Add(row);
        }

        return rows;
    }

    private static Task InsertAsync(
        SqliteConnection connection,
        DbTransaction transaction,
        string table,
        string[] columns,
        List<object[]> rows
    )
    {
        using var command = connection.CreateCommand();
        command.Transaction = (SqliteTransaction)transaction;
        command.CommandText = string.Create(
            CultureInfo.InvariantCulture,
            $"INSERT INTO {table} ({string.Join(", ", columns.Select(c => $"\"{c}\""))}) VALUES ({string.Join(", ", columns.Select((_, i) => $"@p{i}"))})"
        );
        var parameters = columns.Select((_, i) => command.Parameters.Add(new SqliteParameter($"@p{i}", null))).ToArray();
        command.Prepare();
        foreach (var row in rows)
        {
            for (var i = 0; i < parameters.Length; i++)
            {
                parameters[i].Value = row[i];
            }

            command.ExecuteNonQuery();
        }

        return Task.CompletedTask;
    }

    private static async Task CopyAsync(NpgsqlConnection connection, string table, string[] columns, string[] types, List<object[]> rows)
    {
        await using var writer = await connection.BeginBinaryImportAsync(
            $"COPY {table} ({string.Join(", ", columns.Select(c => $"\"{c}\""))}) FROM STDIN (FORMAT BINARY)"
        );
        foreach (var row in rows)
        {
            await writer.StartRowAsync();
            for (var i = 0; i < row.Length; i++)
            {
                await (row[i] is DBNull ? writer.WriteNullAsync() : writer.WriteAsync(row[i], types[i]));
            }
        }

        await writer.CompleteAsync();
    }
}
