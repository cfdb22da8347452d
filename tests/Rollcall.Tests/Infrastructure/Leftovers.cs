using System.Buffers;
using System.Data.Common;
using System.Globalization;
using System.IO.Compression;
using System.Text;
using System.Text.Encodings.Web;
using Rollcall.Storage;

namespace Rollcall.Tests.Infrastructure;

/// <summary>Looks for unmistakable values in everything that an installation leaves behind: each byte of its data folder, each column of each row of
/// its database, each line that it logged; as they are, and in every form that a text takes on its way there.</summary>
public static class Leftovers
{
    // A shorter piece of base64 may be anybody's.
    private const int LeastBase64 = 8;

    /// <summary>Where the values are, case aside; empty when they are nowhere.</summary>
    public static Task<IReadOnlyList<string>> FindAsync(Installation system, LogTape log, params string[] values) =>
        FindAsync(system.Database, log.Lines, values);

    /// <inheritdoc cref="FindAsync(Installation, LogTape, string[])"/>
    public static async Task<IReadOnlyList<string>> FindAsync(
        RollcallDatabase database,
        IEnumerable<string> lines,
        IReadOnlyList<string> values,
        params IReadOnlyCollection<string> butFiles
    )
    {
        var search = new Search(values);
        foreach (var file in Directory.EnumerateFiles(database.DataFolder, "*", SearchOption.AllDirectories))
        {
            if (butFiles.Contains(file))
            {
                continue;
            }

            try
            {
                using var bytes = new MemoryStream();
                await using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
                await stream.CopyToAsync(bytes);
                search.Look(Path.GetFileName(file), bytes.ToArray());
            }
            catch (FileNotFoundException)
            {
                // SQLite's files beside the database come and go with its connections.
            }
        }

        if (database.IsPostgres)
        {
            await using var connection = await database.OpenAsync();
            foreach (var table in await TablesAsync(connection))
            {
                await using var command = connection.CreateCommand();
                command.CommandText = $"SELECT * FROM {table}";
                await using var reader = await command.ExecuteReaderAsync();
                while (await reader.ReadAsync())
                {
                    for (var i = 0; i < reader.FieldCount; i++)
                    {
                        if (reader.GetValue(i) is byte[] bytes)
                        {
                            search.Look($"table {table}", bytes);
                        }
                        else if (!await reader.IsDBNullAsync(i))
                        {
                            search.Look($"table {table}", Convert.ToString(reader.GetValue(i), CultureInfo.InvariantCulture) ?? "");
                        }
                    }
                }
            }

            // What the planner remembers of columns are values out of them.
            await using var statistics = connection.CreateCommand();
            statistics.CommandText =
                "SELECT concat(most_common_vals::text, histogram_bounds::text) FROM pg_stats WHERE schemaname = 'public'";
            await using var remembered = await statistics.ExecuteReaderAsync();
            while (await remembered.ReadAsync())
            {
                search.Look("statistics", remembered.GetString(0));
            }
        }

        foreach (var line in lines)
        {
            search.Look("log", line);
        }

        return search.Found;
    }

    /// <summary>Where the values are in these bytes or texts.</summary>
    public static IReadOnlyList<string> Find(IReadOnlyList<string> values, params (string Where, byte[] Bytes)[] places)
    {
        var search = new Search(values);
        foreach (var (where, bytes) in places)
        {
            search.Look(where, bytes);
        }

        return search.Found;
    }

    private static async Task<List<string>> TablesAsync(DbConnection connection)
    {
        var tables = new List<string>();
        await using var command = connection.CreateCommand();
        command.CommandText =
            "SELECT CASE schemaname WHEN 'public' THEN '' ELSE quote_ident(schemaname) || '.' END || quote_ident(tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
        await using var reader = await command.ExecuteReaderAsync();
        while (await reader.ReadAsync())
        {
            tables.Add(reader.GetString(0));
        }

        return tables;
    }

    /// <summary>The forms that a value can have: as it is, in UTF-16, as JSON and addresses escape it, as the hexadecimal digits and the base64 of its
    /// bytes, which are three by where in a longer text it stands. All as the bytes of a file, a character each.</summary>
    private static IEnumerable<string> Forms(string value)
    {
        var bytes = Encoding.UTF8.GetBytes(value);
        yield return Latin(bytes);
        yield return Latin(Encoding.Unicode.GetBytes(value));
        yield return Latin(Encoding.BigEndianUnicode.GetBytes(value));
        yield return Latin(Encoding.Latin1.GetBytes(value));
        yield return JavaScriptEncoder.Default.Encode(value);
        yield return Latin(Encoding.UTF8.GetBytes(JavaScriptEncoder.UnsafeRelaxedJsonEscaping.Encode(value)));
        yield return HtmlEncoder.Default.Encode(value);
        yield return Uri.EscapeDataString(value);
        yield return Uri.EscapeDataString(value).Replace("%20", "+", StringComparison.Ordinal);
        yield return Convert.ToHexString(bytes);
        for (var before = 0; before < 3; before++)
        {
            // Without the characters that bytes before and after have a part in.
            var coded = Convert.ToBase64String([.. new byte[before], .. bytes]);
            var from = (before * 4 + 2) / 3;
            var whole = (before + bytes.Length) * 8 / 6;
            if (whole - from >= LeastBase64)
            {
                yield return coded[from..whole];
                yield return coded[from..whole].Replace('+', '-').Replace('/', '_');
            }
        }
    }

    private static string Latin(byte[] bytes) => Encoding.Latin1.GetString(bytes);

    private sealed class Search
    {
        private readonly List<(string Value, string[] Forms)> _values;
        private readonly SearchValues<string> _any;
        private readonly HashSet<string> _found = new(StringComparer.Ordinal);

        public Search(IEnumerable<string> values)
        {
            _values = [.. values.Select(v => (v, Forms(v).Distinct(StringComparer.Ordinal).ToArray()))];
            _any = SearchValues.Create([.. _values.SelectMany(v => v.Forms)], StringComparison.OrdinalIgnoreCase);
        }

        public IReadOnlyList<string> Found => [.. _found];

        public void Look(string where, string text) => Look(where, Encoding.UTF8.GetBytes(text));

        public void Look(string where, byte[] bytes)
        {
            var text = Latin(bytes);

            // One way through for all of them: mostly there is nothing.
            if (text.AsSpan().ContainsAny(_any))
            {
                foreach (var (value, forms) in _values)
                {
                    if (forms.Any(f => text.Contains(f, StringComparison.OrdinalIgnoreCase)))
                    {
                        _found.Add($"{value} in {where}");
                    }
                }
            }

            // What is packed is looked into.
            if (Unpacked(bytes) is { } plain)
            {
                Look(where, plain);
            }
        }

        private static byte[]? Unpacked(byte[] bytes)
        {
            try
            {
                using var plain = new MemoryStream();
                switch (bytes)
                {
                    case [0x1f, 0x8b, 8, ..]:
                        using (var gzip = new GZipStream(new MemoryStream(bytes), CompressionMode.Decompress))
                        {
                            gzip.CopyTo(plain);
                        }

                        break;
                    case [0x78, 0x01 or 0x5e or 0x9c or 0xda, ..]:
                        using (var zlib = new ZLibStream(new MemoryStream(bytes), CompressionMode.Decompress))
                        {
                            zlib.CopyTo(plain);
                        }

                        break;
                    case [(byte)'P', (byte)'K', 3, 4, ..]:
                        using (var zip = new ZipArchive(new MemoryStream(bytes)))
                        {
                            foreach (var entry in zip.Entries)
                            {
                                using var part = entry.Open();
                                part.CopyTo(plain);
                            }
                        }

                        break;
                    default:
                        return null;
                }

                return plain.ToArray();
            }
            catch (InvalidDataException)
            {
                return null;
            }
        }
    }
}
