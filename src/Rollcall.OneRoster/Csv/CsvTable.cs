namespace Rollcall.OneRoster.Csv;

/// <summary>A file's rows by the columns of the specification.</summary>
internal sealed class CsvTable : IDisposable
{
    private readonly CsvRowReader reader;
    private readonly Dictionary<string, int> columns;

    private CsvTable(CsvRowReader reader, string[] headers, Dictionary<string, int> columns)
    {
        this.reader = reader;
        Headers = headers;
        this.columns = columns;
    }

    public CsvRowReader Reader => reader;

    /// <summary>As they stand, trimmed.</summary>
    public string[] Headers { get; }

    public long Row => reader.Row;

    /// <summary>Reads the header.</summary>
    /// <exception cref="CsvSyntaxException">There is none, or it cannot be read.</exception>
    public static CsvTable Open(Stream stream, CsvFile file, CsvLimits limits)
    {
        var rows = new CsvRowReader(stream, limits);
        try
        {
            if (!rows.Read())
            {
                throw new CsvSyntaxException("empty-file", "the file is empty: not even a header is in it");
            }

            var headers = new string[rows.Count];
            for (var i = 0; i < headers.Length; i++)
            {
                headers[i] = rows[i].Trim().Trim('\uFEFF').ToString();
            }

            // The specified name first: an alias beside it is an extra column.
            var places = new Dictionary<string, int>(StringComparer.OrdinalIgnoreCase);
            for (var i = 0; i < headers.Length; i++)
            {
                if (headers[i].Length > 0)
                {
                    places.TryAdd(headers[i], i);
                }
            }

            for (var i = 0; i < headers.Length; i++)
            {
                if (CsvSchema.Alias(file, headers[i], out _) is { } name)
                {
                    places.TryAdd(name, i);
                }
            }

            return new CsvTable(rows, headers, places);
        }
        catch
        {
            rows.Dispose();
            throw;
        }
    }

    /// <summary>The place of a column; -1 when the file has none.</summary>
    public int Column(string name) => columns.GetValueOrDefault(name, -1);

    public bool Has(string name) => columns.ContainsKey(name);

    /// <summary>The value of a column in this row; blank where the file has no such column.</summary>
    public ReadOnlySpan<char> Value(int column) => column < 0 || column >= reader.Count ? default : reader[column];

    /// <summary>A key or a reference in this row. Blanks around it do not count: columns of a fixed width come padded.</summary>
    public ReadOnlySpan<char> Key(int column) => Value(column).Trim();

    public bool Read() => reader.Read();

    public void Dispose() => reader.Dispose();
}
