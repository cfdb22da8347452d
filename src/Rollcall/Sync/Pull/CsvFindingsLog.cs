using System.Globalization;
using Rollcall.Integrations;
using Rollcall.OneRoster.Csv;

namespace Rollcall.Sync.Pull;

/// <summary>What was wrong with CSV packages, for a sync's log.</summary>
internal static class CsvFindingsLog
{
    // Broken rules that take nothing from a library: they are counted, and nobody has to do anything.
    private static readonly HashSet<string> s_harmless = new(StringComparer.Ordinal)
    {
        "missing-column",
        "missing-companion",
        "bad-year",
        "manifest-version",
        "manifest-header",
        "manifest-row",
        "oneroster-version",
        "not-in-manifest",
        "id-characters",
        "several-primary-roles",
        "delta-without-date",
    };

    private static readonly HashSet<string> s_unread = new(StringComparer.OrdinalIgnoreCase)
    {
        "courses.csv",
        "userProfiles.csv",
        "userResources.csv",
    };

    /// <summary>Broken rules become warnings, what was understood all the same is counted.</summary>
    public static IReadOnlyDictionary<string, long> Report(CsvFeedSource feed, WarningLog warnings)
    {
        var understood = new SortedDictionary<string, long>(StringComparer.Ordinal);
        foreach (var (name, time) in feed.Ahead)
        {
            warnings.Add(
                "csv-ahead",
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{name} is dated {time:yyyy-MM-dd HH:mm}, which is still to come; it counts as of now"
                ),
                "Set the clock of the computer that writes the packages right: their order is that of their times.",
                detail: name
            );
        }

        foreach (var package in feed.Passed)
        {
            warnings.Add(
                "csv-late",
                $"{package.Name} came after newer packages had been read, and was not read: the packages that it belongs between are not all in the folder",
                "The next complete package settles it. Leave every package since the last complete one in the folder.",
                detail: package.Name
            );
        }

        foreach (var package in feed.Source.Packages)
        {
            foreach (var finding in package.Findings)
            {
                if (
                    finding.Severity == CsvSeverity.Deviation
                    || s_harmless.Contains(finding.Rule)
                    || (finding.File is { } file && s_unread.Contains(file))
                )
                {
                    var key = $"{finding.File ?? package.Name}: {finding.Rule}";
                    understood[key] = understood.GetValueOrDefault(key) + finding.Count;
                    continue;
                }

                warnings.Add(
                    $"csv-{finding.Rule}",
                    $"{package.Name}: {finding}",
                    "Ask the district's SIS support to check the export; 'rollcall oneroster-csv check' lists everything.",
                    finding.Count,
                    $"{package.Name}|{finding.File}|{finding.Column}|{finding.Message}"
                );
            }
        }

        return understood;
    }
}
