using System.Globalization;
using System.Text;

namespace Rollcall.OneRoster.Csv;

/// <summary>How much a finding weighs.</summary>
public enum CsvSeverity
{
    /// <summary>Not as OneRoster has it, and understood all the same.</summary>
    Deviation,

    /// <summary>A rule is broken. What could be read is used.</summary>
    Error,

    /// <summary>The package cannot be trusted: nothing of it is used.</summary>
    Refusal,
}

/// <summary>One thing that is wrong with a package, for all rows that have it. No message holds a value of a person.</summary>
/// <param name="Severity">How much it weighs.</param>
/// <param name="Rule">Its name, for programs.</param>
/// <param name="File">The file's name as it stands in the package; null for the package itself.</param>
/// <param name="Column">The column; null where it is no matter of one.</param>
/// <param name="Count">How often.</param>
/// <param name="Rows">The lines of the first few, from 1 with the header as line 1.</param>
/// <param name="Message">What is wrong, without file and rows.</param>
public sealed record CsvFinding(
    CsvSeverity Severity,
    string Rule,
    string? File,
    string? Column,
    long Count,
    IReadOnlyList<long> Rows,
    string Message
)
{
    /// <summary>One line: file, column, what is wrong, where.</summary>
    public override string ToString()
    {
        var text = new StringBuilder();
        if (File is not null)
        {
            text.Append(File).Append(": ");
        }

        if (Column is not null)
        {
            text.Append(Column).Append(' ');
        }

        text.Append(Message);
        if (Rows.Count > 0)
        {
            text.Append(Count == 1 ? " (line " : " (lines ").AppendJoin(", ", Rows.Select(r => r.ToString(CultureInfo.InvariantCulture)));
            if (Count > Rows.Count)
            {
                text.Append(CultureInfo.InvariantCulture, $" and {Count - Rows.Count} more");
            }

            text.Append(')');
        }

        return text.ToString();
    }
}

/// <summary>What a conformance run asks of each package (1EdTech, consumer's import log): six fields.</summary>
/// <param name="TestIdentifier">The package's name.</param>
/// <param name="TestDate">When it was read.</param>
/// <param name="Status"><c>Success</c>, or <c>Fail</c> when a rule is broken.</param>
/// <param name="CsvFilesImported">Files that hold nothing wrong, or only what was understood all the same.</param>
/// <param name="CsvFilesRejected">Files in which a rule is broken.</param>
/// <param name="Comment">Each reason, syntactic and semantic, one a line; last what a sync does with the package.</param>
public sealed record CsvImportReport(
    string TestIdentifier,
    DateTimeOffset TestDate,
    string Status,
    IReadOnlyList<string> CsvFilesImported,
    IReadOnlyList<string> CsvFilesRejected,
    string Comment
);

/// <summary>Findings while a package is checked, counted by file, column and rule, so that a million broken rows need no memory.</summary>
internal sealed class CsvFindings
{
    public const int RowsShown = 5;
    private readonly Dictionary<(string? File, string? Column, string Rule, string Message), Entry> entries = [];

    public bool Refused { get; private set; }

    /// <summary>In the order in which they were first seen, the gravest first.</summary>
    public IReadOnlyList<CsvFinding> All =>
        [
            .. entries
                .Select(e => new CsvFinding(
                    e.Value.Severity,
                    e.Key.Rule,
                    e.Key.File,
                    e.Key.Column,
                    e.Value.Count,
                    [.. e.Value.Rows],
                    e.Key.Message
                ))
                .OrderByDescending(f => f.Severity),
        ];

    public void Deviation(string? file, string rule, string message, string? column = null, long row = 0, long count = 1) =>
        Add(CsvSeverity.Deviation, file, rule, message, column, row, count);

    public void Error(string? file, string rule, string message, string? column = null, long row = 0, long count = 1) =>
        Add(CsvSeverity.Error, file, rule, message, column, row, count);

    public void Refuse(string? file, string rule, string message, string? column = null, long row = 0) =>
        Add(CsvSeverity.Refusal, file, rule, message, column, row, 1);

    /// <summary>Takes back what turned out otherwise.</summary>
    public void Drop(string? file, string rule)
    {
        foreach (var key in entries.Keys.Where(k => k.File == file && k.Rule == rule).ToList())
        {
            entries.Remove(key);
        }
    }

    public void Add(CsvSeverity severity, string? file, string rule, string message, string? column, long row, long count)
    {
        if (count == 0)
        {
            return;
        }

        Refused |= severity == CsvSeverity.Refusal;
        var key = (file, column, rule, message);
        if (!entries.TryGetValue(key, out var entry))
        {
            entries[key] = entry = new Entry(severity);
        }

        // A list with two wrong places is one wrong row.
        if (row > 0 && entry.LastRow == row)
        {
            return;
        }

        entry.LastRow = row;
        entry.Count += count;
        if (row > 0 && entry.Rows.Count < RowsShown)
        {
            entry.Rows.Add(row);
        }
    }

    private sealed class Entry(CsvSeverity severity)
    {
        public CsvSeverity Severity { get; } = severity;
        public long Count { get; set; }
        public long LastRow { get; set; }
        public List<long> Rows { get; } = [];
    }
}
