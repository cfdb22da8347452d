using System.IO.Hashing;
using System.Text;
using Rollcall.OneRoster;
using Rollcall.OneRoster.Csv;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Probe;
using Rollcall.OneRoster.Rest;

namespace Rollcall.Integrations;

/// <summary>A CSV package that a sync has read.</summary>
public sealed record FeedPackage(string Name, DateTimeOffset Time, string Hash)
{
    /// <summary>What its file said when that was still to come; <see cref="Time"/> is when it was first seen then.</summary>
    public DateTimeOffset? Stated { get; init; }
}

/// <summary>How far a CSV feed has been read.</summary>
public sealed record FeedState
{
    /// <summary>What the people here come from: the last package that held all people, and those after it, in their order.</summary>
    public IReadOnlyList<FeedPackage> Packages { get; init; } = [];

    /// <summary>The first of them held all people.</summary>
    public bool Whole { get; init; }

    /// <summary>When the last of them was first read.</summary>
    public DateTimeOffset Since { get; init; }
}

/// <summary>A folder with OneRoster CSV as a roster: the last package that holds all people, with the changes after it. Where that package
/// is no longer in the folder, the changes alone. Files are opened when something is asked of them.</summary>
internal sealed class CsvFeedSource : IRosterSource, IRosterProbe
{
    private const int MostKnown = 500;
    private readonly string _folder;
    private readonly IReadOnlyList<CsvFeedPackage> _listed;
    private readonly List<CsvFeedPackage> _fresh;
    private readonly FeedState _known;
    private readonly TimeProvider _time;
    private readonly Func<bool> _changed;
    private readonly CancellationToken _cancellationToken;
    private readonly List<CsvPackage> _read = [];
    private readonly List<CsvFeedPackage> _passed = [];
    private readonly Dictionary<string, DateTimeOffset> _ahead = new(StringComparer.Ordinal);
    private CsvRosterSource? _source;

    private CsvFeedSource(
        string folder,
        IReadOnlyList<CsvFeedPackage> listed,
        FeedState known,
        TimeProvider time,
        Func<bool> changed,
        CancellationToken cancellationToken
    )
    {
        // The times of files are the computer's own, whatever the clock of a test says.
        var now = TimeProvider.System.GetUtcNow();
        known = Past(known, now);
        listed = Dated(folder, listed, known, now, _ahead);
        (_folder, _listed, _known, _time, _changed, _cancellationToken) = (folder, listed, known, time, changed, cancellationToken);
        var last = known.Packages.Count == 0 ? null : known.Packages[^1];

        // A complete package that comes again after its deltas takes their place, and what came after it counts once more.
        var again =
            known.Whole && known.Packages.Count > 1
                ? listed
                    .Where(p => p.Hash == known.Packages[0].Hash && p.Time > last!.Time)
                    .Select(p => p.Time)
                    .DefaultIfEmpty(DateTimeOffset.MaxValue)
                    .Max()
                : DateTimeOffset.MaxValue;
        _fresh =
        [
            .. listed.Where(p =>
                (p.Time >= again || IsNew(p))
                && (last is null || p.Path == folder || IsAfter(p, last) || (p.Time, p.Name) == (last.Time, last.Name))
            ),
        ];
        if (last is not null && again == DateTimeOffset.MaxValue)
        {
            var late = listed.Where(p => IsNew(p) && !_fresh.Contains(p) && IsOfThese(p)).ToList();
            var before = known.Packages.Select(k => (Known: k, Listed: listed.FirstOrDefault(p => p.Hash == k.Hash))).ToList();
            if (late.Count > 0 && known.Whole && before.TrueForAll(b => b.Listed is not null))
            {
                // Between those that were read: laid over them it would undo what is newer, so all are read once more, each in its place.
                _fresh =
                [
                    .. before
                        .Select(b => b.Listed! with { Name = b.Known.Name, Time = b.Known.Time })
                        .Concat(late)
                        .Concat(_fresh)
                        .DistinctBy(p => p.Hash)
                        .OrderBy(p => p.Time)
                        .ThenBy(p => p.Name, StringComparer.Ordinal),
                ];
            }
            else
            {
                _passed.AddRange(late);
            }
        }

        bool IsNew(CsvFeedPackage p) => !known.Packages.Any(k => k.Hash == p.Hash);

        // What came before a complete package does not count. Of changes alone those that were read first are not remembered for ever.
        bool IsOfThese(CsvFeedPackage p) => known is { Whole: false, Packages.Count: < MostKnown } || IsAfter(p, known.Packages[0]);
        State = known;
    }

    private static bool IsAfter(CsvFeedPackage one, FeedPackage other) =>
        one.Time > other.Time || (one.Time == other.Time && string.CompareOrdinal(one.Name, other.Name) > 0);

    /// <summary>Packages that were read with a time still to come count from when they were read.</summary>
    private static FeedState Past(FeedState known, DateTimeOffset now) =>
        known with
        {
            Packages =
            [
                .. known.Packages.Select(k => k.Time > now ? k with { Time = known.Since < now ? known.Since : now, Stated = k.Time } : k),
            ],
        };

    /// <summary>The packages in their order. An archive whose time is still to come would hide every later one: it counts from when it is first
    /// seen.</summary>
    private static List<CsvFeedPackage> Dated(
        string folder,
        IReadOnlyList<CsvFeedPackage> listed,
        FeedState known,
        DateTimeOffset now,
        Dictionary<string, DateTimeOffset> ahead
    )
    {
        var dated = new List<CsvFeedPackage>();
        foreach (var package in listed)
        {
            if (known.Packages.FirstOrDefault(k => k.Hash == package.Hash && k.Stated == package.Time) is { } read)
            {
                dated.Add(package with { Time = read.Time });
            }
            else if (package.Path != folder && package.Time > now)
            {
                ahead[package.Hash] = package.Time;
                dated.Add(package with { Time = now });
            }
            else
            {
                dated.Add(package);
            }
        }

        // Those still to come stay in their own order.
        return [.. dated.OrderBy(p => p.Time)];
    }

    /// <summary>How far the feed is read once this has been taken over.</summary>
    public FeedState State { get; private set; }

    /// <summary>Packages that came late and cannot be read any more, since the complete package before them, or one after them, is gone.</summary>
    public IReadOnlyList<CsvFeedPackage> Passed => _passed;

    /// <summary>New packages whose files are dated in the time to come, with that time.</summary>
    public IEnumerable<(string Name, DateTimeOffset Time)> Ahead =>
        _fresh.Where(p => _ahead.ContainsKey(p.Hash)).Select(p => (p.Name, _ahead[p.Hash]));

    /// <summary>Nothing came since the last sync.</summary>
    public bool NothingNew => _fresh.Count == 0;

    /// <summary>When something last came; null before the first sync.</summary>
    public DateTimeOffset? LastNewAt => _known.Packages.Count == 0 ? null : _known.Since;

    /// <summary>Who is not among the people is gone. Otherwise only changes are at hand.</summary>
    public bool HasAllPeople => Source.HasAllPeople;

    public CsvRosterSource Source => _source ??= Load();

    /// <summary>The packages that were read, in their order; one that is refused is the first, since nothing before it was looked at.</summary>
    public IReadOnlyList<CsvPackage> Read => _read;

    /// <summary>Their import reports.</summary>
    public IReadOnlyList<CsvImportReport> Reports => [.. _read.Select(p => p.Report)];

    /// <summary>Looks into the folder.</summary>
    /// <exception cref="RosterException">It is missing, unreadable, empty or still being written.</exception>
    public static async Task<CsvFeedSource> OpenAsync(
        string folder,
        FeedState? known,
        TimeProvider time,
        CancellationToken cancellationToken
    )
    {
        // The times of files are the computer's own, whatever the clock of a test says.
        var feed = new CsvFeed(folder, TimeProvider.System);
        var listed = await feed.ListAsync(cancellationToken);
        return new CsvFeedSource(folder, listed, known ?? new FeedState(), time, feed.Watch(), cancellationToken);
    }

    public Task<string?> RevisionAsync(CancellationToken cancellationToken = default) =>
        NothingNew && _known.Packages.Count > 0
            ? Task.FromResult<string?>(Revision(_known.Packages))
            : Source.RevisionAsync(cancellationToken);

    public ICollectionWalk<Org> Orgs() => Source.Orgs();

    public ICollectionWalk<AcademicSession> AcademicSessions() => Source.AcademicSessions();

    public ICollectionWalk<Class> Classes() => Source.Classes();

    public ICollectionWalk<User> Users() => Source.Users();

    public ICollectionWalk<Enrollment> Enrollments() => Source.Enrollments();

    public ICollectionWalk<Demographics> Demographics() => Source.Demographics();

    public Task<ProbeReport> ProbeAsync(
        ProbeOptions options,
        IProgress<string>? progress = null,
        CancellationToken cancellationToken = default
    )
    {
        progress?.Report("packages");
        try
        {
            _ = Source;
        }
        catch (RosterException) when (_read.Exists(p => !p.IsUsable))
        {
            // What is wrong with it is what the report is for.
        }

        return new CsvProbe(_folder, _read, _time).ProbeAsync(options, progress, cancellationToken);
    }

    public void Dispose() => _source?.Dispose();

    private CsvRosterSource Load()
    {
        var open = _read;
        open.Clear();
        try
        {
            // Newest first, up to the one that holds all people: what came before it does not count any more.
            var read = new List<CsvFeedPackage>();
            var whole = Take(_fresh, read, open);
            if (!whole && _known.Packages.Count > 0)
            {
                var before = _known.Packages.Select(k => _listed.FirstOrDefault(p => p.Hash == k.Hash)).ToList();
                if (_known.Whole && before.TrueForAll(p => p is not null))
                {
                    Take([.. before.OfType<CsvFeedPackage>()], read, open);
                }
                else if (_fresh.Count == 0)
                {
                    // Nothing new, and not all of it there: what is left of it does no harm if it is read again.
                    Take([.. before.OfType<CsvFeedPackage>()], read, open);
                }
            }

            if (read.Count == 0)
            {
                throw new RosterException(
                    RosterFault.NotARoster,
                    $"'{_folder}' holds only packages that are older than '{_known.Packages[^1].Name}', which was read last. Have the district deliver a new one; if an older one is meant, connect the folder again."
                );
            }

            var all =
                whole || _known.Packages.Count == 0 ? read.ConvertAll(Remembered) : [.. _known.Packages, .. _fresh.Select(Remembered)];
            State = new FeedState
            {
                Packages = all.Count > MostKnown ? all[^MostKnown..] : all,
                Whole = whole || (_known.Whole && all.Count <= MostKnown),
                Since = NothingNew ? _known.Since : _time.GetUtcNow(),
            };
            return new CsvRosterSource([.. open], Revision(State.Packages), _changed);
        }
        catch
        {
            open.ForEach(p => p.Dispose());
            throw;
        }
    }

    private FeedPackage Remembered(CsvFeedPackage package) =>
        new(package.Name, package.Time, package.Hash)
        {
            Stated = _ahead.TryGetValue(package.Hash, out var stated)
                ? stated
                : _known.Packages.FirstOrDefault(k => k.Hash == package.Hash && k.Time == package.Time)?.Stated,
        };

    /// <summary>Opens packages from the last one back; true when one was found that holds all people.</summary>
    private bool Take(List<CsvFeedPackage> from, List<CsvFeedPackage> read, List<CsvPackage> open)
    {
        for (var i = from.Count - 1; i >= 0; i--)
        {
            CsvPackage package;
            try
            {
                package = CsvPackage.Read(from[i].Path, _time.GetUtcNow(), cancellationToken: _cancellationToken);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new RosterException(RosterFault.Unreachable, $"'{from[i].Path}' cannot be read: {e.Message}", e);
            }

            read.Insert(0, from[i]);
            open.Insert(0, package);
            if (!package.IsUsable)
            {
                throw Refused(from[i], package);
            }

            if (package.HasAllPeople)
            {
                return true;
            }
        }

        return false;
    }

    private static RosterException Refused(CsvFeedPackage which, CsvPackage package)
    {
        var reasons = package.Findings.Where(f => f.Severity == CsvSeverity.Refusal).Select(f => f.ToString()).ToList();
        var more = reasons.Count > 3 ? $" (and {reasons.Count - 3} more)" : "";
        return new RosterException(
            RosterFault.Incomplete,
            $"The package '{which.Name}' is refused: {string.Join("; ", reasons.Take(3))}{more}. Nothing was changed. See 'rollcall oneroster-csv check {which.Path}', and have the district deliver it again."
        );
    }

    private static string Revision(IReadOnlyList<FeedPackage> packages) =>
        "csv-" + Convert.ToHexStringLower(XxHash128.Hash(Encoding.ASCII.GetBytes(string.Join(' ', packages.Select(p => p.Hash)))));
}
