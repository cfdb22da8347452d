using System.Globalization;
using Rollcall.OneRoster.Csv;
using Rollcall.Operations;
using Rollcall.Retention;
using Rollcall.Sync;

namespace Rollcall.Server.Commands;

/// <summary>By which key people were linked for the first time.</summary>
internal sealed record LinkedCounts(long Guid, long StudentNumber, long Barcode, long Email);

/// <summary>What came of an operation. Names and order are the contract of <c>sync --json</c>.</summary>
internal record OperationResult
{
    public long? Operation { get; init; }
    public required string Kind { get; init; }
    public required string Status { get; init; }
    public long Read { get; init; }
    public long Created { get; init; }
    public long Updated { get; init; }
    public long Unchanged { get; init; }
    public long Transferred { get; init; }
    public long Absent { get; init; }
    public long Reactivated { get; init; }
    public long Skipped { get; init; }
    public long Review { get; init; }

    /// <summary>By an undo, a merge or a removal; not there for a sync.</summary>
    [System.Text.Json.Serialization.JsonIgnore(Condition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingDefault)]
    public long Removed { get; init; }
    public long Held { get; init; }
    public required LinkedCounts Linked { get; init; }
    public long Warnings { get; init; }
    public double? Seconds { get; init; }
    public string? Error { get; init; }

    /// <summary>What is wrong with an import's file, row by row; only there when it is refused.</summary>
    [System.Text.Json.Serialization.JsonIgnore(Condition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<string>? Problems { get; init; }

    /// <summary>An operation and the time that it took here.</summary>
    public static OperationResult Of(Operation operation, double? seconds) =>
        Fill(
            new OperationResult
            {
                Kind = "",
                Status = "",
                Linked = new(0, 0, 0, 0),
            },
            operation,
            seconds
        );

    /// <summary>It failed before there was an operation.</summary>
    public static OperationResult FailedBefore(OperationKind kind, double seconds, string error) =>
        new()
        {
            Kind = OperationQueue.KindWord(kind),
            Status = OperationQueue.StatusWord(OperationStatus.Failed),
            Linked = new(0, 0, 0, 0),
            Seconds = Round(seconds),
            Error = error,
        };

    protected static T Fill<T>(T result, Operation operation, double? seconds)
        where T : OperationResult
    {
        var counts = OperationQueue.CountsOf(operation);
        return result with
        {
            Operation = operation.Id,
            Kind = OperationQueue.KindWord(operation.Kind),
            Status = OperationQueue.StatusWord(operation.Status),
            Read = counts.Read,
            Created = counts.Created,
            Updated = counts.Updated,
            Unchanged = counts.Unchanged,
            Transferred = counts.Transferred,
            Absent = counts.Absent,
            Reactivated = counts.Reactivated,
            Skipped = counts.Skipped,
            Review = counts.Review,
            Removed = counts.Removed,
            Held = counts.Held,
            Linked = new(counts.LinkedGuid, counts.LinkedStudentNumber, counts.LinkedBarcode, counts.LinkedEmail),
            Warnings = counts.Warnings,
            Seconds = seconds is null ? null : Round(seconds.Value),
            Error = operation.Error,
        };
    }

    private static double Round(double seconds) => Math.Round(seconds, 3);
}

/// <summary>An operation as lists and <c>operation show</c> have it: the result, and who, when and how.</summary>
internal sealed record OperationDetails : OperationResult
{
    public required string Title { get; init; }
    public required string RequestedBy { get; init; }
    public required bool Preview { get; init; }
    public required DateTimeOffset CreatedAt { get; init; }
    public DateTimeOffset? StartedAt { get; init; }
    public DateTimeOffset? FinishedAt { get; init; }

    /// <summary>It failed, as the error says, and waits: it is not tried again before. Null for all others.</summary>
    public DateTimeOffset? NextTryAt { get; init; }
    public string? ApprovedBy { get; init; }
    public DateTimeOffset? ApprovedAt { get; init; }

    /// <summary>What it is doing now; null unless it runs.</summary>
    public OperationProgress? Progress { get; init; }
    public required System.Text.Json.JsonElement Options { get; init; }
    public required IReadOnlyList<WarningGroup> WarningGroups { get; init; }

    /// <summary>The six fields of each OneRoster CSV package that it read; not there when it read none.</summary>
    [System.Text.Json.Serialization.JsonIgnore(Condition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<CsvImportReport>? ImportReports { get; init; }

    public static OperationDetails Of(Operation operation) =>
        Fill(
            new OperationDetails
            {
                Kind = "",
                Status = "",
                Linked = new(0, 0, 0, 0),
                Title = OperationQueue.Title(operation),
                RequestedBy = operation.RequestedBy,
                Preview = operation.PreviewOnly,
                CreatedAt = operation.CreatedAt,
                StartedAt = operation.StartedAt,
                FinishedAt = operation.FinishedAt,
                NextTryAt = operation.FailedForNow ? operation.NotBefore : null,
                ApprovedBy = operation.ApprovedBy,
                ApprovedAt = operation.ApprovedAt,
                Progress =
                    operation.Status == OperationStatus.Running
                        ? new(
                            operation.StageText,
                            operation.Done,
                            operation.Total == 0 ? null : operation.Total,
                            operation.Rate is { } rate ? Math.Round(rate, 2) : null,
                            Pace.SecondsLeft(operation.Rate, operation.Done, operation.Total)
                        )
                        : null,
                Options = Sync.ImportReports.OptionsWithout(operation),
                ImportReports = Sync.ImportReports.Of(operation) is { Count: > 0 } reports ? reports : null,
                WarningGroups = OperationQueue.WarningsOf(operation),
            },
            operation,
            operation.Worked?.TotalSeconds
        );
}

/// <summary>Where a running operation stands.</summary>
/// <param name="Stage">What it does, in words.</param>
/// <param name="Done">How much of it is done.</param>
/// <param name="Total">How much there is; null when unknown.</param>
/// <param name="Rate">How much is done a second; null while that cannot be said.</param>
/// <param name="SecondsLeft">When this stage is over at that rate; null when unknown.</param>
internal sealed record OperationProgress(string? Stage, long Done, long? Total, double? Rate, long? SecondsLeft);

/// <summary>An operation in words for people.</summary>
internal static class OperationText
{
    /// <summary>How it ended, in the exit code's terms.</summary>
    public static int ExitCodeOf(OperationStatus status) =>
        status switch
        {
            OperationStatus.Completed or OperationStatus.CompletedWithWarnings or OperationStatus.Preview => ExitCode.Done,
            OperationStatus.NeedsApproval => ExitCode.NeedsApproval,
            _ => ExitCode.Failed,
        };

    /// <summary>The status as people read it.</summary>
    public static string Status(OperationStatus status) => OperationQueue.StatusWord(status).Replace('-', ' ');

    /// <summary>The status as the beginning of "… so many seconds".</summary>
    public static string Ended(OperationStatus status) =>
        status switch
        {
            OperationStatus.Preview => "planned in",
            OperationStatus.NeedsApproval => "needs approval, after",
            _ => $"{Status(status)} in",
        };

    /// <summary>A number and what is counted.</summary>
    public static string Count(long number, string one, string many) => $"{N(number)} {(number == 1 ? one : many)}";

    /// <summary>How many people met a patron that was here, and by which key; null when nobody did.</summary>
    public static string? Linked(Operation operation)
    {
        var counts = OperationQueue.CountsOf(operation);
        (long Count, string Word)[] parts =
        [
            (counts.LinkedGuid, "by GUID"),
            (counts.LinkedStudentNumber, "by Student #"),
            (counts.LinkedBarcode, "by barcode"),
            (counts.LinkedEmail, "by email"),
        ];
        var said = string.Join(", ", parts.Where(p => p.Count > 0).Select(p => $"{N(p.Count)} {p.Word}"));
        return said.Length == 0 ? null : $"Matched with patrons that were here: {said}.";
    }

    /// <summary>The warnings, grouped, a line each.</summary>
    public static IEnumerable<string> Warnings(Operation operation) =>
        OperationQueue
            .WarningsOf(operation)
            .Select(w =>
                $"{(w.Count > 1 ? $"{N(w.Count)} × " : "")}{w.Message}{(w.Message.EndsWith('.') ? "" : ".")}{(w.Hint is null ? "" : $" {w.Hint}")}"
            );

    /// <summary>What can be done next; null when nothing waits.</summary>
    public static string? Next(Operation operation)
    {
        var held = OperationQueue.CountsOf(operation).Held;
        return operation.Status switch
        {
            OperationStatus.NeedsApproval =>
                $"{Count(held, "change waits because it exceeds", "changes wait because they exceed")} a threshold. Look at {(held == 1 ? "it" : "them")} with 'rollcall operation log {operation.Id}', then 'rollcall operation approve {operation.Id}' or 'rollcall operation discard {operation.Id}'.",
            OperationStatus.Preview when !operation.Planned =>
                "Nothing was read, because nothing had changed: there is nothing to approve.",
            OperationStatus.Preview =>
                $"Nothing has been written. 'rollcall operation log {operation.Id}' shows what would be; 'rollcall operation approve {operation.Id}' does it.",
            _ => null,
        };
    }

    /// <summary>Totals, links, warnings and what can be done next.</summary>
    public static async Task WriteSummaryAsync(TextWriter text, Operation operation)
    {
        await text.WriteLineAsync(RetentionService.NoteOf(operation) ?? Totals.Sentence(operation));
        if (Linked(operation) is { } linked)
        {
            await text.WriteLineAsync(linked);
        }

        foreach (var warning in Warnings(operation))
        {
            await text.WriteLineAsync($"  warning: {Terminal.Plain(warning)}");
        }

        if (Next(operation) is { } next)
        {
            await text.WriteLineAsync(next);
        }
    }

    /// <summary>What was found in the OneRoster CSV packages that it read: the six fields of each, after an empty line.</summary>
    public static async Task WriteImportReportsAsync(TextWriter text, Operation operation)
    {
        foreach (var report in ImportReports.Of(operation))
        {
            await text.WriteLineAsync();
            foreach (var line in ImportReports.Lines(report))
            {
                await text.WriteLineAsync(Terminal.Plain(line));
            }
        }
    }

    /// <summary>A number with separators, for people.</summary>
    public static string N(long number) => number.ToString("N0", CultureInfo.InvariantCulture);

    /// <summary>An instant where the district is.</summary>
    public static string When(DateTimeOffset? instant, Districts.District district) =>
        instant is { } at ? TimeZoneInfo.ConvertTime(at, district.Zone).ToString("yyyy-MM-dd HH:mm:ss") : "";
}
