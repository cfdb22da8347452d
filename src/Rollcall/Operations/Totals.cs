using System.Globalization;

namespace Rollcall.Operations;

/// <summary>One of an operation's totals.</summary>
/// <param name="Label">What screens call it.</param>
/// <param name="Count">How many.</param>
public sealed record Total(string Label, long Count)
{
    /// <summary>What a sentence calls it, behind the number.</summary>
    internal string Word { get; init; } = Label.ToLowerInvariant();

    /// <summary>What else has to be said for the totals to add up; null for nothing.</summary>
    internal string? Aside { get; init; }
}

/// <summary>
/// The totals of an operation in the order people read them, for pages, letters and the command line alike: who was read is the sum of what
/// became of them. What waits for an approval is not done and stands apart, and whoever is no longer in the roster was not read.
/// </summary>
public static class Totals
{
    /// <summary>Those of the whole operation.</summary>
    public static IReadOnlyList<Total> Of(Operation operation)
    {
        var counts = OperationQueue.CountsOf(operation);
        if (operation.Kind == OperationKind.Export)
        {
            return [new("Exported", counts.Read)];
        }

        var told = counts.HeldApart();
        return
        [
            new("Read", told.Read),
            new("Created", told.Created),
            new(Changed(operation), told.Updated),
            new("Unchanged", told.Unchanged),
            new("Transferred", told.Transferred) { Aside = Gone(told.Absent, told.Transferred) },
            new("Reactivated", told.Reactivated),
            new("Skipped", told.Skipped),
            new("Review", told.Review) { Word = "for Review" },
            .. Removed(told.Removed),
            new("Held", told.Held) { Aside = HeldAside(counts) },
        ];
    }

    /// <summary>Those of some lines of an operation's log: of some sites, say. People who stayed as they were have no line, so that nobody knows how
    /// many were read.</summary>
    public static IReadOnlyList<Total> Of(Operation operation, IEnumerable<LogCount> lines)
    {
        var all = lines.ToList();
        var waits = OperationQueue.CountsOf(operation).Held > 0;
        long Sum(params ReadOnlySpan<Outcome> outcomes)
        {
            var sum = 0L;
            foreach (var line in all)
            {
                sum += outcomes.Contains(line.Outcome) && !line.Dropped && !(line.Held && waits) ? line.Lines : 0;
            }

            return sum;
        }

        // As in the totals of the whole: of whom nothing came was skipped, unless the roster has them no more. What was held waits no longer
        // where the whole says that nothing does.
        var dropped = all.Where(l => l is { Dropped: true, Outcome: not (Outcome.Absent or Outcome.None or Outcome.Unchanged) });
        return
        [
            new("Created", Sum(Outcome.Created)),
            new(Changed(operation), Sum(Outcome.Updated)),
            new("Transferred", Sum(Outcome.Transferred, Outcome.Absent)),
            new("Reactivated", Sum(Outcome.Reactivated)),
            new("Skipped", Sum(Outcome.Skipped) + dropped.Sum(l => (long)l.Lines)),
            new("Review", Sum(Outcome.Review)),
            .. Removed(Sum(Outcome.Removed)),
            new("Held", waits ? all.Where(l => l is { Held: true, Dropped: false }).Sum(l => (long)l.Lines) : 0),
        ];
    }

    /// <summary>The totals of the whole in one sentence, without those that are none.</summary>
    public static string Sentence(Operation operation)
    {
        var read = OperationQueue.CountsOf(operation).Read;
        if (operation.Kind == OperationKind.Export)
        {
            return $"{Count(read, "patron", "patrons")} exported.";
        }

        var people =
            operation.Kind switch
            {
                OperationKind.Import => Count(read, "row", "rows"),
                OperationKind.Undo => Count(read, "change", "changes"),
                OperationKind.Edit or OperationKind.Remove or OperationKind.Merge => Count(read, "patron", "patrons"),
                _ => Count(read, "person", "people"),
            } + " read";
        var said = string.Join(
            ", ",
            Of(operation)
                .Where(t => t.Count > 0 && t.Label != "Read")
                .Select(t => $"{N(t.Count)} {t.Word}{(t.Aside is null ? "" : $" ({t.Aside})")}")
        );
        var plan = operation.Status == OperationStatus.Preview ? ", the plan" : "";
        return said.Length == 0 ? $"{people}." : $"{people}{plan}: {said}.";
    }

    /// <summary>What has to be said beside the totals of the whole for them to add up; null for nothing.</summary>
    public static string? Footnote(Operation operation)
    {
        var parts = Of(operation)
            .Where(t => t is { Count: > 0, Aside: not null })
            .Select(t => $"{N(t.Count)} {t.Word}: {t.Aside}.")
            .ToList();
        if (parts.Count == 0)
        {
            return null;
        }

        if (OperationQueue.CountsOf(operation).Absent > 0)
        {
            parts.Add("Whoever is no longer in the roster is not among those who were read.");
        }

        return string.Join(' ', parts);
    }

    /// <summary>What an undo changes it takes back.</summary>
    private static string Changed(Operation operation) => operation.Kind == OperationKind.Undo ? "Taken back" : "Updated";

    private static IEnumerable<Total> Removed(long count) => count > 0 ? [new("Removed", count)] : [];

    /// <summary>How many of some leavers a verified full pull no longer had; null when it had them all.</summary>
    private static string? Gone(long absent, long leavers) =>
        absent == 0 ? null
        : absent == leavers ? "no longer in the roster"
        : $"{N(absent)} of them no longer in the roster";

    /// <summary>What would become of those who wait.</summary>
    private static string? HeldAside(SyncCounts counts)
    {
        var (transferred, absent) = (counts.HeldTransferred - counts.HeldTransferredLeftOut, counts.HeldAbsent - counts.HeldAbsentLeftOut);
        (long Count, string Word)[] kinds =
        [
            (counts.HeldCreated - counts.HeldCreatedLeftOut, "to be created"),
            (counts.HeldUpdated - counts.HeldUpdatedLeftOut, "to be updated"),
            (counts.HeldReactivated - counts.HeldReactivatedLeftOut, "to be reactivated"),
            (transferred, "to be transferred" + (Gone(absent, transferred) is { } gone ? $", {gone}" : "")),
        ];
        if (counts.Held == 0)
        {
            return null;
        }

        if (kinds.Sum(k => k.Count) != counts.Held)
        {
            // Of an earlier version, which did not say of whom it had left out since what would have become of them.
            return Gone(absent, counts.Held);
        }

        var some = kinds.Where(k => k.Count > 0).ToList();
        return some.Count == 1 ? some[0].Word : string.Join("; ", some.Select(k => $"{N(k.Count)} {k.Word}"));
    }

    private static string Count(long number, string one, string many) => $"{N(number)} {(number == 1 ? one : many)}";

    private static string N(long number) => number.ToString("N0", CultureInfo.InvariantCulture);
}
