using Rollcall.Integrations;
using Rollcall.OneRoster.Rest;

namespace Rollcall.Sync.Pull;

/// <summary>What reading a roster came upon, for a sync's log: what was forgiven, and what could not be read.</summary>
internal sealed class ReadingLog(SyncSetup setup, WarningLog warnings)
{
    /// <summary>What it means that rows of classes or enrollments could not be read.</summary>
    public const string HomeroomsStay = "who is in no homeroom by the others keeps the one they had";

    private readonly SortedDictionary<string, long> _leniencies = new(StringComparer.Ordinal);

    /// <summary>Every way in which the roster deviates from OneRoster and was understood all the same, by collection and rule.</summary>
    public IReadOnlyDictionary<string, long> Leniencies => _leniencies;

    /// <summary>What was said so far is of a read that is begun anew.</summary>
    public void Clear() => _leniencies.Clear();

    /// <summary>Takes down a collection that has been read.</summary>
    /// <param name="what">Its name for people.</param>
    /// <param name="result">How it was.</param>
    /// <param name="missing">What it means that rows shifted, where the people themselves are not said otherwise.</param>
    /// <param name="unread">What it means that rows could not be read; null where it means nothing for others.</param>
    public void Take(string what, WalkResult result, string missing, string? unread = null)
    {
        foreach (var (rule, count) in result.Leniencies)
        {
            _leniencies[$"{what}: {rule}"] = count;
            if (LeniencyWords.Problem(rule) is { } problem)
            {
                warnings.Add("leniency", $"In {what}, {problem}", Hint, count, $"{what}:{rule}");
            }
        }

        // A package's own findings say this file by file.
        if (setup.Kind == IntegrationKind.OneRosterCsv)
        {
            return;
        }

        warnings.Add(
            "unreadable-rows",
            unread is null ? $"Rows of {what} could not be read at all" : $"Rows of {what} could not be read for certain: {unread}",
            Hint,
            result.UnreadableRows,
            what
        );
        if (result.Masked)
        {
            warnings.Add(
                "masked",
                $"The service says that {what} come masked: what was read is not what the district has",
                $"An administrator of the district lets this application see the real values {IntegrationWords.Where(setup.Kind)}; run the sync again then.",
                1,
                what
            );
        }

        if (result.RowsShifted)
        {
            warnings.Add(
                "rows-shifted",
                $"Rows moved between pages while {what} were read: {missing}",
                "Run the sync again when the district's own import is over.",
                1,
                what
            );
        }
    }

    private string Hint => $"Ask the district's {IntegrationWords.Support(setup.Kind)} to check the roster export.";
}
