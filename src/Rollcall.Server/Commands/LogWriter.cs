using System.Text.Json;
using System.Text.Json.Serialization;
using Rollcall.Districts;
using Rollcall.Operations;
using Rollcall.Patrons;

namespace Rollcall.Server.Commands;

/// <summary>
/// The log of an operation as text to read, CSV for a spreadsheet or JSON Lines for programs: the same whether the command line, a page or
/// the API gives it.
/// </summary>
internal static class LogWriter
{
    /// <summary>The columns of the CSV.</summary>
    private const string Columns =
        "number,kind,outcome,guid,name,barcode,site,roleGroup,matchedBy,changes,reason,warning,held,stale,notWritten";

    /// <summary>A line as JSON. The names are the command line's contract.</summary>
    internal sealed record Line(
        long Number,
        string Kind,
        string? Outcome,
        string? Guid,
        string? Name,
        string? Barcode,
        string? Site,
        string? RoleGroup,
        string? MatchedBy,
        IReadOnlyList<LogField> Changes,
        string? Reason,
        string? Warning,
        [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)] bool Held,
        [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)] bool Stale,
        [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)] bool NotWritten
    );

    /// <summary>Writes the whole log.</summary>
    /// <param name="text">Where to.</param>
    /// <param name="format"><c>text</c>, <c>csv</c> or <c>jsonl</c>.</param>
    /// <param name="operation">Whose log it is.</param>
    /// <param name="district">Its times are told where this is.</param>
    /// <param name="rows">Its lines.</param>
    public static Task WriteAsync(TextWriter text, string format, Operation operation, District district, IAsyncEnumerable<LogRow> rows) =>
        format switch
        {
            "csv" => WriteCsvAsync(text, rows),
            "jsonl" => WriteLinesAsync(text, rows),
            _ => WriteTextAsync(text, operation, district, rows),
        };

    public static Line Of(LogRow row) =>
        new(
            row.Number,
            row.Kind,
            row.Outcome,
            row.Guid,
            row.Name,
            row.Barcode,
            row.Site,
            row.RoleGroup,
            row.MatchedBy,
            row.Changes,
            row.Reason,
            row.Warning,
            row.Held,
            row.Stale,
            row.NotWritten
        );

    private static async Task WriteTextAsync(TextWriter text, Operation operation, District district, IAsyncEnumerable<LogRow> rows)
    {
        await OperationCommands.WriteHeaderAsync(text, operation, district);
        await text.WriteLineAsync();
        await foreach (var row in rows)
        {
            await text.WriteLineAsync(Terminal.Plain(Sentence(row)));
        }

        await text.WriteLineAsync();
        await OperationText.WriteSummaryAsync(text, operation);
        await OperationText.WriteImportReportsAsync(text, operation);
    }

    private static async Task WriteLinesAsync(TextWriter text, IAsyncEnumerable<LogRow> rows)
    {
        await foreach (var row in rows)
        {
            await text.WriteLineAsync(JsonText.Line(Of(row)));
        }
    }

    private static async Task WriteCsvAsync(TextWriter text, IAsyncEnumerable<LogRow> rows)
    {
        await text.WriteLineAsync(Columns);
        await foreach (var row in rows)
        {
            string?[] cells =
            [
                $"{row.Number}",
                row.Kind,
                row.Outcome,
                row.Guid,
                row.Name,
                row.Barcode,
                row.Site,
                row.RoleGroup,
                row.MatchedBy,
                Changes(row, row.Changes),
                row.Reason,
                row.Warning,
                row.Held ? "true" : null,
                row.Stale ? "true" : null,
                row.NotWritten ? "true" : null,
            ];
            await text.WriteLineAsync(string.Join(',', cells.Select(PatronWords.CsvCell)));
        }
    }

    private static string Sentence(LogRow row)
    {
        var who = string.Join(
            ", ",
            new[]
            {
                row.Name,
                row.Barcode,
                row.Site,
                row.RoleGroup,
                row.MatchedBy is null ? null : $"by {KeyWord(row.MatchedBy)}",
                row.Held ? "HELD" : null,
                row.Stale ? "STALE" : null,
                row.NotWritten ? "NOT WRITTEN" : null,
            }.OfType<string>()
        );
        // Of those who are no patron the values are only there to name them.
        var changes = row.Kind == "skip" ? "" : Changes(row, row.Changes);
        return $"{row.Number, 6} {row.Kind, -10} {(who.Length == 0 ? row.Guid : who)}{(changes.Length == 0 ? "" : $": {changes}")}{(row.Reason is null ? "" : $" [{row.Reason}]")}{(row.Warning is null ? "" : $" (warning: {row.Warning})")}";
    }

    /// <summary>Old → new, field by field; of a new patron only what it has.</summary>
    private static string Changes(LogRow row, IReadOnlyList<LogField> changes) =>
        string.Join(
            "; ",
            changes.Select(c =>
                row.Kind is "create" or "review" ? $"{c.Field} {c.New}"
                : row.Kind == "remove" ? $"{c.Field} {c.Old}"
                : $"{c.Field} {c.Old ?? "(empty)"} → {c.New ?? "(empty)"}"
            )
        );

    private static string KeyWord(string key) =>
        key switch
        {
            "guid" => "GUID",
            "studentNumber" => "Student #",
            "email" => "email",
            "reissued" => "a re-issued id",
            _ => key,
        };
}
