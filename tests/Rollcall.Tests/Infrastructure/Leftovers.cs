using System.Data.Common;
using System.Globalization;
using System.Text;

namespace Rollcall.Tests.Infrastructure;

/// <summary>Looks for unmistakable values in everything that an installation leaves behind: each byte of its data folder, each row of its
/// database, each line that it logged.</summary>
public static class Leftovers
{
    /// <summary>Where the values are, case aside; empty when they are nowhere.</summary>
    public static async Task<IReadOnlyList<string>> FindAsync(Installation system, LogTape log, params string[] values)
    {
        var found = new List<string>();
        foreach (var file in Directory.EnumerateFiles(system.Database.DataFolder, "*", SearchOption.AllDirectories))
        {
            using var bytes = new MemoryStream();
            try
            {
                await using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
                await stream.CopyToAsync(bytes);
            }
            catch (FileNotFoundException)
            {
                // SQLite's files beside the database come and go with its connections.
            }

            Look(Path.GetFileName(file), Encoding.Latin1.GetString(bytes.ToArray()), Encoding.UTF8);
        }

        if (system.Database.IsPostgres)
        {
            await using var connection = await system.Database.OpenAsync();
            foreach (var table in await ColumnAsync(connection, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
            {
                foreach (var row in await ColumnAsync(connection, $"SELECT t::text FROM \"{table}\" t"))
                {
                    Look($"table {table}", row, null);
                }
            }
        }

        foreach (var line in log.Lines)
        {
            Look("log", line, null);
        }

        return found;

        void Look(string where, string text, Encoding? encoding)
        {
            foreach (var value in values)
            {
                var wanted = encoding is null ? value : Encoding.Latin1.GetString(encoding.GetBytes(value));
                if (text.Contains(wanted, StringComparison.OrdinalIgnoreCase))
                {
                    found.Add($"{value} in {where}");
                }
            }
        }
    }

    private static async Task<List<string>> ColumnAsync(DbConnection connection, string sql)
    {
        var rows = new List<string>();
        await using var command = connection.CreateCommand();
        command.CommandText = sql;
        await using var reader = await command.ExecuteReaderAsync();
        while (await reader.ReadAsync())
        {
            rows.Add(Convert.ToString(reader.GetValue(0), CultureInfo.InvariantCulture) ?? "");
        }

        return rows;
    }
}
