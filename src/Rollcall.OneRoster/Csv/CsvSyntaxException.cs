namespace Rollcall.OneRoster.Csv;

/// <summary>A file or archive that cannot be read on. The message goes into the import report.</summary>
internal sealed class CsvSyntaxException(string rule, string message, long row = 0, Exception? inner = null) : Exception(message, inner)
{
    public string Rule { get; } = rule;

    /// <summary>The line on which it shows, from 1; 0 when it is no matter of a line.</summary>
    public long Row { get; } = row;
}
