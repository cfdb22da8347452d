using System.Globalization;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.Probe;

/// <summary>Reads collections of any source, takes the census, and says what of it matters.</summary>
internal sealed class ProbeReading(
    ProbeOptions options,
    TimeProvider time,
    IProgress<string>? progress,
    CancellationToken cancellationToken
)
{
    private const double SlowPage = 10;

    public RosterCensus Census { get; } = new();

    public List<ProbeCollection> Collections { get; } = [];

    /// <summary>The first key seen, by collection.</summary>
    public Dictionary<string, string> Ids { get; } = new(StringComparer.Ordinal);

    /// <summary>Reads a collection to its end, or its first page alone.</summary>
    /// <param name="key">Its name.</param>
    /// <param name="walk">Reads it.</param>
    /// <param name="take">Counts a record.</param>
    /// <param name="pages">The responses as they come; empty for files.</param>
    public async Task<ProbeCollection> ReadAsync<T>(string key, ICollectionWalk<T> walk, Action<T> take, List<PageSeen> pages)
        where T : RosterRecord
    {
        progress?.Report(key);
        var began = time.GetTimestamp();
        long rows = 0,
            deleted = 0,
            withoutId = 0,
            withoutDate = 0;
        var attempt = 1;
        string? failure = null;
        WalkResult? result = null;
        try
        {
            await foreach (var page in walk.ReadAsync(cancellationToken))
            {
                if (page.Attempt != attempt)
                {
                    // Counts of the census stay a little too high then; that rows moved is the finding.
                    (attempt, rows, deleted, withoutId, withoutDate) = (page.Attempt, 0, 0, 0, 0);
                }

                rows = page.RowsSoFar;
                foreach (var record in page.Records)
                {
                    deleted += record.Status == RecordStatus.Active ? 0 : 1;
                    withoutId += record.SourcedId is null ? 1 : 0;
                    withoutDate += record.LastModified is null ? 1 : 0;
                    if (record.SourcedId is { } id && record.Status == RecordStatus.Active)
                    {
                        Ids.TryAdd(key, id);
                    }

                    take(record);
                }

                if (options.FirstPagesOnly)
                {
                    break;
                }
            }

            result = options.FirstPagesOnly && rows > 0 ? null : walk.Result;
        }
        catch (RosterException e)
        {
            failure = e.Message;
        }

        var read = new ProbeCollection
        {
            Name = key,
            Failure = failure,
            NotShared = result?.NotShared ?? false,
            Rows = rows,
            Deleted = deleted,
            WithoutId = withoutId,
            WithoutDate = withoutDate,
            Unreadable = result?.UnreadableRows ?? 0,
            Duplicates = result?.Duplicates ?? 0,
            RowsShifted = result?.RowsShifted ?? false,
            Pages = pages.Count,
            Asked = pages.Count == 0 ? 0 : pages[0].Asked,
            LargestPage = pages.Count == 0 ? 0 : pages.Max(p => p.Rows),
            StatedTotal = pages.Count == 0 ? null : pages[0].Total,
            HasLink = pages.Exists(p => p.Link),
            HasRevision = pages.Exists(p => p.Revision),
            SlowestPage = pages.Count == 0 ? 0 : pages.Max(p => p.Time.TotalSeconds),
            Seconds = time.GetElapsedTime(began).TotalSeconds,
            Leniencies = result?.Leniencies ?? new Dictionary<string, long>(StringComparer.Ordinal),
        };
        Collections.Add(read);
        return read;
    }

    /// <summary>What of it matters.</summary>
    public IEnumerable<ProbeFinding> Findings()
    {
        foreach (var c in Collections)
        {
            var needed = c.Name is "orgs" or "users";
            if (c.Failure is not null)
            {
                yield return new(c.Name == "courses" ? ProbeWeight.Handled : ProbeWeight.Problem, $"{c.Name} cannot be read: {c.Failure}");
            }
            else if (c.NotShared && c.Name != "courses")
            {
                yield return new(ProbeWeight.Notice, $"{c.Name} is empty or not shared: {WithoutIt(c.Name)}");
            }

            if (c.WithoutId > 0)
            {
                yield return new(
                    needed ? ProbeWeight.Problem : ProbeWeight.Notice,
                    $"{N(c.WithoutId)} rows of {c.Name} have no sourcedId{(c.Name == "users" ? ": nobody can count as absent" : "")}."
                );
            }

            if (c.Pages == 0 && c.Failure is null && (c.RowsShifted || c.Unreadable > 0))
            {
                // Of files, which rows these are stands among the package's own findings.
                yield return new(
                    needed ? ProbeWeight.Problem : ProbeWeight.Notice,
                    $"Rows of {c.Name} are in doubt{(c.Name == "users" ? ": nobody can count as absent" : "")}."
                );
                continue;
            }

            if (c.RowsShifted)
            {
                yield return new(
                    ProbeWeight.Problem,
                    $"Rows of {c.Name} moved between pages in every attempt: nobody can count as absent."
                );
            }
            else if (c.Duplicates > 0)
            {
                yield return new(ProbeWeight.Handled, $"{N(c.Duplicates)} rows of {c.Name} came twice.");
            }

            if (c.Unreadable > 0)
            {
                yield return new(needed ? ProbeWeight.Problem : ProbeWeight.Notice, $"{N(c.Unreadable)} rows of {c.Name} are no records.");
            }

            if (c.SlowestPage > SlowPage)
            {
                yield return new(ProbeWeight.Notice, $"A page of {c.Name} took {Seconds(c.SlowestPage)}: a whole read will take long.");
            }
        }

        foreach (var finding in AboutPeople().Concat(AboutPaging()))
        {
            yield return finding;
        }
    }

    private IEnumerable<ProbeFinding> AboutPeople()
    {
        if (Census.UnknownRoles.Values is { Count: > 0 } unknown)
        {
            yield return new(
                ProbeWeight.Problem,
                $"Roles that OneRoster does not know, whose people are not synced: {string.Join(", ", unknown.Select(r => $"{r.Key} ({N(r.Value)})"))}."
            );
        }

        if (Census.WithoutOrg > 0)
        {
            yield return new(ProbeWeight.Problem, $"{N(Census.WithoutOrg)} people have no organization and can get no site.");
        }

        if (Census.WithoutRole > 0)
        {
            yield return new(ProbeWeight.Problem, $"{N(Census.WithoutRole)} people have no role and are not synced.");
        }

        if (Census.UnknownOrg > 0)
        {
            yield return new(ProbeWeight.Problem, $"{N(Census.UnknownOrg)} people belong to organizations that are not in orgs.");
        }

        if (Census.SharedIdentifiers > 0)
        {
            yield return new(
                ProbeWeight.Notice,
                $"{N(Census.SharedIdentifiers)} identifiers stand at a second person too: the same people twice, once for each school, or an identifier that is no student number."
            );
        }

        if (
            Census.Members > 0
            && Census.Lacks.GetValueOrDefault("email") is { } email
            && (email.Blank + email.NotSent) * 2 > Census.Members
        )
        {
            yield return new(ProbeWeight.Notice, "Most people have no email address: match by Student # or barcode.");
        }

        if (Census.EnrollmentsOfUnknown > 0 && !options.FirstPagesOnly)
        {
            yield return new(ProbeWeight.Notice, $"{N(Census.EnrollmentsOfUnknown)} enrollments are of people who are not in users.");
        }

        if (Census.Classes > 0 && Census.ClassTypes["homeroom"] == 0)
        {
            yield return new(ProbeWeight.Notice, "No class is a homeroom: Location cannot be mapped.");
        }
        else if (Census.Classes > 0 && Census.ClassesWithoutCode == Census.Classes)
        {
            yield return new(ProbeWeight.Notice, "No class has a code: map Location to the title, the location or the teacher.");
        }
    }

    private IEnumerable<ProbeFinding> AboutPaging()
    {
        var read = Collections.Where(c => c.Failure is null && c.Rows > 0).ToList();
        if (read.Count > 0 && read.TrueForAll(c => c.Pages > 0 && c.StatedTotal is null))
        {
            yield return new(ProbeWeight.Handled, "Totals are not stated: each collection is read to an empty page.");
        }

        // Only where rows followed a page that was not full: a last page may be short.
        if (read.Where(c => c.LargestPage > 0 && c.LargestPage < c.Asked && c.Rows > c.LargestPage).ToList() is { Count: > 0 } cut)
        {
            yield return new(
                ProbeWeight.Handled,
                $"Pages are cut without a word: {N(cut.Max(c => c.LargestPage))} rows at most where {N(cut.Max(c => c.Asked))} were asked for."
            );
        }

        var rules = read.SelectMany(c => c.Leniencies)
            .GroupBy(l => l.Key, StringComparer.Ordinal)
            .Select(g => $"{g.Key} ({N(g.Sum(l => l.Value))})")
            .ToList();
        if (rules.Count > 0)
        {
            yield return new(
                ProbeWeight.Handled,
                $"Values in other forms than OneRoster's, all understood or left out: {string.Join(", ", rules)}."
            );
        }
    }

    private static string WithoutIt(string collection) =>
        collection switch
        {
            "demographics" => "birthdate and sex stay as they are.",
            "academicSessions" => "every class counts as current.",
            _ => "homerooms cannot be mapped.",
        };

    private static string N(long number) => number.ToString("N0", CultureInfo.InvariantCulture);

    private static string Seconds(double seconds) => seconds.ToString("0.0", CultureInfo.InvariantCulture) + " s";
}
