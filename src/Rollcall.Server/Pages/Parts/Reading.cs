using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.Caching.Memory;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Storage;

namespace Rollcall.Server.Pages.Parts;

/// <summary>What of the queue to list; null leaves a filter open.</summary>
/// <param name="From">Asked for at or after this instant.</param>
/// <param name="Before">Asked for before this instant.</param>
/// <param name="Kind">One kind; null lists all but hand edits.</param>
/// <param name="Sites">Only operations that concern somebody of these sites; null is every operation.</param>
/// <param name="By">Who asked for it.</param>
internal sealed record QueueFilter(
    DateTimeOffset? From,
    DateTimeOffset? Before,
    OperationKind? Kind,
    IReadOnlyList<int>? Sites = null,
    string? By = null
);

/// <summary>A place in a list by homeroom.</summary>
/// <param name="Location">The homeroom; null where there is none.</param>
/// <param name="NameKey">The patron's name, as names are sorted.</param>
/// <param name="Id">The patron's.</param>
internal sealed record HomeroomPlace(string? Location, string NameKey, long Id);

/// <summary>An operation that is not done with: it waits, runs, or needs somebody's decision.</summary>
internal sealed record OpenOperation(long Id, OperationKind Kind, OperationStatus Status, bool CancelRequested)
{
    public bool IsLive => Status is OperationStatus.Waiting or OperationStatus.Running;

    public bool IsSync => Kind is OperationKind.FullSync or OperationKind.ChangesSync;
}

/// <summary>How many patrons there were, and when.</summary>
internal sealed class PatronCounts(IReadOnlyList<(int? SiteId, PatronStatus Status, int Count)> bySite, DateTimeOffset at)
{
    private int _renewed;

    public IReadOnlyList<(int? SiteId, PatronStatus Status, int Count)> BySite => bySite;
    public DateTimeOffset At => at;

    /// <summary>True for the first who asks: they count anew.</summary>
    public bool Renewed() => Interlocked.Exchange(ref _renewed, 1) == 0;
}

/// <summary>Questions that only screens ask.</summary>
internal sealed class Reading(
    RollcallDatabase database,
    IMemoryCache cache,
    PatronService patrons,
    ReviewService review,
    SiteService sites,
    OperationLog log,
    GradeTable grades,
    OperationQueue queue,
    TimeProvider time,
    ILogger<Reading> logger
)
{
    private static readonly TimeSpan s_fresh = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_stale = TimeSpan.FromSeconds(20);

    /// <summary>Not done with.</summary>
    private static readonly OperationStatus[] s_open =
    [
        OperationStatus.Waiting,
        OperationStatus.Running,
        OperationStatus.NeedsApproval,
        OperationStatus.Preview,
    ];

    /// <summary>An operation's lines by site and outcome. Those of a first sync are counted once, not for every page that is turned.</summary>
    public async Task<IReadOnlyList<LogCount>> LogCountsAsync(Operation operation, CancellationToken cancellationToken) =>
        (
            await cache.GetOrCreateAsync(
                ("log", operation.DistrictId, operation.Id, operation.Status, operation.FinishedAt, operation.Counts),
                entry =>
                {
                    entry.AbsoluteExpirationRelativeToNow = operation.FinishedAt is null
                        ? TimeSpan.FromSeconds(5)
                        : TimeSpan.FromMinutes(10);
                    return log.CountsAsync(operation.DistrictId, operation.Id, cancellationToken);
                }
            )
        )!;

    /// <summary>Why an operation skipped people, the most frequent reason first, kept as <see cref="LogCountsAsync"/> is: no index has the reasons.</summary>
    public async Task<IReadOnlyList<SkipCount>> SkipsAsync(Operation operation, CancellationToken cancellationToken) =>
        (
            await cache.GetOrCreateAsync(
                ("skips", operation.DistrictId, operation.Id, operation.Status, operation.FinishedAt, operation.Counts),
                entry =>
                {
                    entry.AbsoluteExpirationRelativeToNow = operation.FinishedAt is null
                        ? TimeSpan.FromSeconds(5)
                        : TimeSpan.FromMinutes(10);
                    return log.SkipsAsync(operation.DistrictId, operation.Id, MostReasons, cancellationToken);
                }
            )
        )!;

    /// <summary>With more reasons than these it is said that there are so many at least.</summary>
    public const int MostReasons = 1000;

    /// <summary>Patrons by site and status. While a sync moves them all nobody waits for the counting: it is done beside, every few
    /// seconds in which somebody looks.</summary>
    public async Task<IReadOnlyList<(int? SiteId, PatronStatus Status, int Count)>> PatronCountsAsync(
        int districtId,
        bool moving,
        CancellationToken cancellationToken
    )
    {
        if (!moving)
        {
            return await patrons.CountsAsync(districtId, cancellationToken);
        }

        if (!cache.TryGetValue(("patrons", districtId), out PatronCounts? counts) || counts is null)
        {
            return (await CountAsync()).BySite;
        }

        if (time.GetUtcNow() - counts.At > s_fresh && counts.Renewed())
        {
            // It counts for whoever looks next, not for the one who came now.
            using (ExecutionContext.SuppressFlow())
            {
                _ = Task.Run(
                    async () =>
                    {
                        await using var confined = Confinement.Begin();
                        Confinement.To(districtId);
                        try
                        {
                            await CountAsync();
                        }
                        catch (Exception e)
                        {
                            // The numbers run out soon: whoever looks then counts, and is told what is wrong.
                            logger.LogWarning(e, "The patrons of district {District} could not be counted", districtId);
                        }
                    },
                    CancellationToken.None
                );
            }
        }

        return counts.BySite;

        async Task<PatronCounts> CountAsync()
        {
            var counted = new PatronCounts(await patrons.CountsAsync(districtId, CancellationToken.None), time.GetUtcNow());
            return cache.Set(("patrons", districtId), counted, s_stale);
        }
    }

    /// <summary>A page of the queue, how many there are in all and how many of them are of other days: first whatever waits, runs or needs a decision,
    /// of any day, then the rest of the days asked for, the newest first.</summary>
    public async Task<(IReadOnlyList<Operation> Operations, int Total, int OtherDays)> QueueAsync(
        int districtId,
        QueueFilter filter,
        int page,
        int size,
        CancellationToken cancellationToken
    )
    {
        await using var context = database.CreateContext();
        var query = context.Operations.AsNoTracking().Where(o => o.DistrictId == districtId);
        query = filter.Kind is { } kind ? query.Where(o => o.Kind == kind) : query.Where(OperationQueue.NotByHand);
        query = Concerning(context, query, districtId, filter.Sites);
        if (filter.By is { } by)
        {
            query = query.Where(o => o.RequestedBy == by);
        }

        var (from, before) = (filter.From, filter.Before);
        var elsewhere = await query
            .Where(o => s_open.Contains(o.Status) && ((from != null && o.CreatedAt < from) || (before != null && o.CreatedAt >= before)))
            .CountAsync(cancellationToken);
        query = query.Where(o =>
            s_open.Contains(o.Status) || ((from == null || o.CreatedAt >= from) && (before == null || o.CreatedAt < before))
        );
        var total = await query.CountAsync(cancellationToken);
        var shown = await query
            .OrderBy(o => s_open.Contains(o.Status) ? 0 : 1)
            .ThenByDescending(o => o.Id)
            .Skip((page - 1) * size)
            .Take(size)
            .ToListAsync(cancellationToken);
        return (await OperationQueue.ToldApartAsync(context, shown, cancellationToken), total, elsewhere);
    }

    /// <summary>Everybody who asked for an operation that a list of these days shows.</summary>
    public async Task<IReadOnlyList<string>> AskersAsync(
        int districtId,
        DateTimeOffset from,
        DateTimeOffset before,
        CancellationToken cancellationToken
    )
    {
        await using var context = database.CreateContext();
        return await context
            .Operations.Where(o => o.DistrictId == districtId)
            .Where(OperationQueue.NotByHand)
            .Where(o => (o.CreatedAt >= from && o.CreatedAt < before) || s_open.Contains(o.Status))
            .Select(o => o.RequestedBy)
            .Distinct()
            .OrderBy(b => b)
            .Take(200)
            .ToListAsync(cancellationToken);
    }

    /// <summary>What of the queue is not done with, and how many people wait in Review: what every page shows something of.</summary>
    public async Task<(IReadOnlyList<OpenOperation> Operations, int Reviews)> OpenAsync(int districtId, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        var operations = await context
            .Operations.Where(o => o.DistrictId == districtId)
            .Where(o => s_open.Contains(o.Status))
            .OrderByDescending(o => o.Id)
            .Select(o => new OpenOperation(o.Id, o.Kind, o.Status, o.CancelRequested))
            .ToListAsync(cancellationToken);
        return (
            operations,
            await context.ReviewItems.CountAsync(r => r.DistrictId == districtId && r.Status == ReviewStatus.Open, cancellationToken)
        );
    }

    /// <summary>Operations by number, the newest first.</summary>
    public async Task<IReadOnlyList<Operation>> OperationsAsync(
        int districtId,
        IReadOnlyList<long> ids,
        CancellationToken cancellationToken
    )
    {
        if (ids.Count == 0)
        {
            return [];
        }

        await using var context = database.CreateContext();
        var found = await context
            .Operations.AsNoTracking()
            .Where(o => o.DistrictId == districtId && ids.Contains(o.Id))
            .OrderByDescending(o => o.Id)
            .ToListAsync(cancellationToken);
        return await OperationQueue.ToldApartAsync(context, found, cancellationToken);
    }

    /// <summary>When Daily Operations of a service that is on run next, where the district is; null when they do not.</summary>
    public async Task<DateTime?> NextRunAsync(Here here, DailyOperations daily, CancellationToken cancellationToken)
    {
        if (daily is not { At: not null, StoppedBecause: null })
        {
            return null;
        }

        await using var context = database.CreateContext();
        var since = here.Today.AddDays(-1);
        var taken = await context
            .Operations.Where(o => o.DistrictId == here.District.Id && o.DailyDate >= since)
            .Select(o => o.DailyDate!.Value)
            .ToListAsync(cancellationToken);
        return DailySchedule.Next(daily, here.Zone, here.Now, taken.ToHashSet()) is { } next
            ? TimeZoneInfo.ConvertTime(next, here.Zone).DateTime
            : null;
    }

    /// <summary>The newest syncs that are neither waiting nor running, previews aside: those that have ended, and the one that needs an
    /// approval.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="take">So many.</param>
    /// <param name="sites">Only syncs that concern somebody of these sites; null is every sync.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<IReadOnlyList<Operation>> LastSyncsAsync(
        int districtId,
        int take,
        IReadOnlyList<int>? sites,
        CancellationToken cancellationToken
    )
    {
        await using var context = database.CreateContext();
        var syncs = context
            .Operations.AsNoTracking()
            .Where(o => o.DistrictId == districtId && (o.Kind == OperationKind.FullSync || o.Kind == OperationKind.ChangesSync))
            .Where(o => o.Status != OperationStatus.Running && o.Status != OperationStatus.Waiting && o.Status != OperationStatus.Preview)
            .Where(o => !o.PreviewOnly || o.ApprovedAt != null);
        var last = await Concerning(context, syncs, districtId, sites)
            .OrderByDescending(o => o.Id)
            .Take(take)
            .ToListAsync(cancellationToken);
        return await OperationQueue.ToldApartAsync(context, last, cancellationToken);
    }

    /// <summary>Those of some operations that concern somebody of the visitor's sites; null is every site.</summary>
    public async Task<IReadOnlySet<long>> ConcerningAsync(
        int districtId,
        IReadOnlyCollection<long> ids,
        IReadOnlyList<int>? sites,
        CancellationToken cancellationToken
    )
    {
        if (sites is null || ids.Count == 0)
        {
            return ids.ToHashSet();
        }

        await using var context = database.CreateContext();
        var asked = context.Operations.Where(o => o.DistrictId == districtId && ids.Contains(o.Id));
        return (await Concerning(context, asked, districtId, sites).Select(o => o.Id).ToListAsync(cancellationToken)).ToHashSet();
    }

    private static IQueryable<Operation> Concerning(
        RollcallContext context,
        IQueryable<Operation> operations,
        int districtId,
        IReadOnlyList<int>? sites
    ) =>
        sites is null
            ? operations
            : operations.Where(o =>
                context.Changes.Any(c =>
                    c.DistrictId == districtId && c.OperationId == o.Id && c.SiteId != null && sites.Contains(c.SiteId.Value)
                )
            );

    /// <summary>How many people wait in Review, by the site that the roster puts them at. Every page of a librarian shows it: they are
    /// counted every few seconds, not for every look.</summary>
    public async Task<IReadOnlyDictionary<int, int>> ReviewCountsAsync(int districtId, CancellationToken cancellationToken) =>
        (
            await cache.GetOrCreateAsync(
                ("review", districtId),
                entry =>
                {
                    entry.AbsoluteExpirationRelativeToNow = TimeSpan.FromSeconds(5);
                    return review.OpenBySiteAsync(districtId, cancellationToken);
                }
            )
        )!;

    /// <summary>A page of those who were decided on and whom the visitor may see, the last decision first, and how many there are.</summary>
    public async Task<(IReadOnlyList<ReviewRow> Rows, int Total)> DecidedAsync(
        Here here,
        int page,
        int size,
        CancellationToken cancellationToken
    )
    {
        var (rows, total) = await review.DecidedAsync(here.District.Id, here.Sites, page, size, cancellationToken);
        return (await HideAsync(here, rows, cancellationToken), total);
    }

    /// <summary>The numbers of those in Review whom the visitor may see: those whom the roster puts at one of the visitor's sites.</summary>
    public Task<IReadOnlyList<int>> ReviewAsync(Here here, ReviewFilter filter, ReviewSort sort, CancellationToken cancellationToken) =>
        review.FindAsync(
            here.District.Id,
            here.Sites is null ? filter : filter with { Sites = filter.Sites?.Where(s => here.Sees(s)).ToList() ?? here.Sites },
            sort,
            cancellationToken: cancellationToken
        );

    /// <summary>How many wait in Review whom the visitor may see, and why.</summary>
    public async Task<(int Total, IReadOnlyList<string> Reasons)> ReviewReasonsAsync(Here here, CancellationToken cancellationToken) =>
        (
            await review.CountAsync(here.District.Id, here.Sites, cancellationToken: cancellationToken),
            await review.ReasonsAsync(here.District.Id, here.Sites, cancellationToken)
        );

    /// <summary>People of Review by their numbers. Of those in question the visitor is told of no patron of other sites.</summary>
    public async Task<IReadOnlyList<ReviewRow>> ReviewAsync(Here here, IReadOnlyList<int> ids, CancellationToken cancellationToken) =>
        await HideAsync(here, await review.RowsAsync(here.District.Id, ids, cancellationToken), cancellationToken);

    private async Task<IReadOnlyList<ReviewRow>> HideAsync(Here here, IReadOnlyList<ReviewRow> rows, CancellationToken cancellationToken)
    {
        if (here.Sites is null)
        {
            return rows;
        }

        var codes = (await sites.ListAsync(here.District.Id, cancellationToken))
            .Where(s => here.Sees(s.Id))
            .Select(s => s.Code)
            .ToHashSet(StringComparer.Ordinal);
        var seen = rows.Where(r => r.Site is not null && codes.Contains(r.Site)).ToList();
        var people = await PeopleAsync(here.District.Id, seen.SelectMany(r => r.Candidates), cancellationToken, here.Sites);
        return
        [
            .. seen.Select(r =>
            {
                string[] shown = [.. r.Candidates.Where(people.ContainsKey)];
                return r with { Candidates = shown, Hidden = r.Candidates.Count - shown.Length };
            }),
        ];
    }

    /// <summary>The orgs that are matched, in the order of their sites' preference.</summary>
    public async Task<ILookup<int, SiteOrg>> OrgsAsync(
        int districtId,
        Integrations.IntegrationKind kind,
        CancellationToken cancellationToken
    )
    {
        await using var context = database.CreateContext();
        var orgs = await context
            .SiteOrgs.AsNoTracking()
            .Where(o => o.DistrictId == districtId && o.Kind == kind)
            .OrderBy(o => o.Position)
            .ToListAsync(cancellationToken);
        return orgs.ToLookup(o => o.SiteId);
    }

    /// <summary>The district's policies by code.</summary>
    public async Task<IReadOnlyList<Policy>> PoliciesAsync(int districtId, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        return await context
            .Policies.AsNoTracking()
            .Where(p => p.DistrictId == districtId)
            .OrderBy(p => p.Code)
            .ToListAsync(cancellationToken);
    }

    /// <summary>Patrons by barcode.</summary>
    public async Task<IReadOnlyDictionary<string, Patron>> PeopleAsync(
        int districtId,
        IEnumerable<string> barcodes,
        CancellationToken cancellationToken,
        IReadOnlyList<int>? sites = null
    )
    {
        await using var context = database.CreateContext();
        var people = new Dictionary<string, Patron>(StringComparer.Ordinal);
        foreach (var chunk in barcodes.Distinct(StringComparer.Ordinal).Select(Text.BarcodeKey).Chunk(500))
        {
            foreach (
                var patron in await context
                    .Patrons.AsNoTracking()
                    .Where(p => p.DistrictId == districtId && chunk.Contains(p.BarcodeKey))
                    .Where(p => sites == null || (p.SiteId != null && sites.Contains(p.SiteId.Value)))
                    .ToListAsync(cancellationToken)
            )
            {
                people[patron.Barcode] = patron;
            }
        }

        return people;
    }

    /// <summary>The grades of the district in the order of its Grade Table. Kept for a minute: finding them reads every patron.</summary>
    public async Task<IReadOnlyList<string>> LevelsAsync(int districtId, CancellationToken cancellationToken) =>
        (
            await cache.GetOrCreateAsync(
                ("levels", districtId),
                async entry =>
                {
                    entry.AbsoluteExpirationRelativeToNow = TimeSpan.FromMinutes(1);
                    var levels = await patrons.LevelsAsync(districtId, cancellationToken);
                    return GradeTable.Sort(levels, await grades.ListAsync(districtId, cancellationToken));
                }
            )
        )!;

    /// <summary>The grades in the order that the library gave them.</summary>
    public Task<IReadOnlyList<string>> GradeTableAsync(int districtId, CancellationToken cancellationToken) =>
        grades.ListAsync(districtId, cancellationToken);

    /// <summary>The order of the grades has changed: whoever looks next sees it.</summary>
    public void ForgetLevels(int districtId) => cache.Remove(("levels", districtId));

    /// <summary>The homerooms of a site, or of all. Kept for a minute: finding them reads every patron.</summary>
    public async Task<IReadOnlyList<string>> HomeroomsAsync(int districtId, int? siteId, CancellationToken cancellationToken) =>
        (
            await cache.GetOrCreateAsync(
                ("homerooms", districtId, siteId),
                entry =>
                {
                    entry.AbsoluteExpirationRelativeToNow = TimeSpan.FromMinutes(1);
                    return patrons.LocationsAsync(districtId, siteId, cancellationToken);
                }
            )
        )!;

    /// <summary>Patrons whom an operation made, or marked as leavers, at or after an instant and who still are what it made of them, by
    /// homeroom; those without one come last. What waited for an approval was done when somebody gave it.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="left">Leavers; otherwise arrivals.</param>
    /// <param name="since">It was asked for, or approved, at or after this instant.</param>
    /// <param name="siteId">One site alone; null for all.</param>
    /// <param name="sites">Only patrons who are of these sites now; null is every site, and those who have none.</param>
    /// <param name="most">No more than these.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <param name="after">Only those who come after this place in the order; null from the beginning.</param>
    /// <param name="cardless">Of arrivals only those whose number was given here and is still that one.</param>
    public async Task<IReadOnlyList<Patron>> MovedAsync(
        int districtId,
        bool left,
        DateTimeOffset since,
        int? siteId,
        IReadOnlyList<int>? sites,
        int most,
        CancellationToken cancellationToken,
        HomeroomPlace? after = null,
        bool cardless = false
    )
    {
        await using var context = database.CreateContext();
        var rows = context
            .Changes.Where(c => c.DistrictId == districtId && c.PatronId != null && !c.Stale)
            .Where(c =>
                left ? c.Outcome == Outcome.Transferred || c.Outcome == Outcome.Absent : c.Outcome == Outcome.Created && c.RosterId != null
            )
            .Join(
                context.Operations.Where(o =>
                    o.DistrictId == districtId
                    && (o.CreatedAt >= since || o.ApprovedAt >= since)
                    && o.Status != OperationStatus.Undone
                    // Whoever comes back out of a merge that is undone was here before, with their card.
                    && (left || o.Kind != OperationKind.Undo)
                ),
                c => c.OperationId,
                o => o.Id,
                (c, o) => new { Change = c, Operation = o }
            )
            .Where(x => x.Operation.CreatedAt >= since || x.Change.Held || x.Operation.PreviewOnly)
            .Where(x => x.Change.Held ? x.Change.Number <= x.Operation.HeldAppliedTo : x.Change.Number <= x.Operation.AppliedTo)
            .Select(x => x.Change);
        // A number that the roster knows is on a card of the school's; who has another by now was given the card that it is on.
        var before = $"\"{PatronFields.Barcode}\":[null,\"";
        var people = context
            .Patrons.AsNoTracking()
            .Where(p => p.DistrictId == districtId && (siteId == null || p.SiteId == siteId))
            .Where(p => sites == null || (p.SiteId != null && sites.Contains(p.SiteId.Value)))
            .Where(p => left ? p.Status == PatronStatus.Transferred : p.Status != PatronStatus.Transferred);
        people = cardless
            ? people.Where(p => rows.Any(c => c.PatronId == p.Id && c.BarcodeDrawn && c.Values.Contains(before + p.Barcode + "\"]")))
            : people.Where(p => rows.Any(c => c.PatronId == p.Id));
        if (after is { Location: { } location, NameKey: var name, Id: var id })
        {
            people = people.Where(p =>
                p.Location == null
                || string.Compare(p.Location, location) > 0
                || (p.Location == location && (string.Compare(p.NameKey, name) > 0 || (p.NameKey == name && p.Id > id)))
            );
        }
        else if (after is { NameKey: var key, Id: var last })
        {
            people = people.Where(p => p.Location == null && (string.Compare(p.NameKey, key) > 0 || (p.NameKey == key && p.Id > last)));
        }

        return await people
            .OrderBy(p => p.Location == null)
            .ThenBy(p => p.Location)
            .ThenBy(p => p.NameKey)
            .ThenBy(p => p.Id)
            .Take(most)
            .ToListAsync(cancellationToken);
    }

    /// <summary>Leavers of an operation's hold who are marked "do not transfer" by now.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="operationId">The operation.</param>
    /// <param name="sites">Of these alone; null for all.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<long> SparedAsync(
        int districtId,
        long operationId,
        IReadOnlyCollection<int>? sites,
        CancellationToken cancellationToken
    )
    {
        await using var context = database.CreateContext();
        var held = context.Changes.Where(c => c.DistrictId == districtId && c.OperationId == operationId && c.Held && !c.Stale);
        if (sites is not null)
        {
            int?[] own = [.. sites];
            held = held.Where(c => own.Contains(c.SiteId));
        }

        return await held.Where(c => c.Outcome == Outcome.Transferred || c.Outcome == Outcome.Absent)
            .Join(
                context.Patrons.Where(p => p.DistrictId == districtId && p.DoNotTransfer),
                c => c.PatronId,
                p => (long?)p.Id,
                (c, _) => c.Number
            )
            .LongCountAsync(cancellationToken);
    }

    /// <summary>How many of the people whom the visitor sees wait for an approval; whoever is marked "do not transfer" since does not.</summary>
    public async Task<long> HeldAsync(Operation operation, Here here, CancellationToken cancellationToken)
    {
        var held = (await LogCountsAsync(operation, cancellationToken))
            .Where(c => c.Held && !c.Dropped && here.Sees(c.SiteId))
            .Sum(c => (long)c.Lines);
        return held == 0 ? 0 : Math.Max(0, held - await SparedAsync(operation.DistrictId, operation.Id, here.Sites, cancellationToken));
    }

    /// <summary>What syncs did from <paramref name="from"/> on, and when: what a hold keeps back is not done, what somebody approved was done then,
    /// and of a sync that was stopped what it had written is.</summary>
    public async Task<IReadOnlyList<(DateTimeOffset At, SyncCounts Counts)>> SyncCountsAsync(
        int districtId,
        DateTimeOffset from,
        CancellationToken cancellationToken
    )
    {
        await using var context = database.CreateContext();
        var rows = await context
            .Operations.AsNoTracking()
            .Where(o => o.DistrictId == districtId && (o.Kind == OperationKind.FullSync || o.Kind == OperationKind.ChangesSync))
            .Where(o => (o.CreatedAt >= from && !o.PreviewOnly) || o.ApprovedAt >= from)
            .Where(o =>
                o.Status == OperationStatus.Completed
                || o.Status == OperationStatus.CompletedWithWarnings
                || o.Status == OperationStatus.NeedsApproval
                || o.Status == OperationStatus.Discarded
                || o.Status == OperationStatus.Superseded
                || (o.Planned && (o.Status == OperationStatus.Cancelled || o.Status == OperationStatus.Failed))
            )
            .Select(o => new
            {
                o.Id,
                o.Status,
                o.PreviewOnly,
                o.CreatedAt,
                o.ApprovedAt,
                o.Counts,
                o.Fence,
                o.AppliedTo,
                o.HeldAppliedTo,
            })
            .ToListAsync(cancellationToken);
        var all = new List<(DateTimeOffset At, SyncCounts Counts)>(rows.Count);
        foreach (var row in rows)
        {
            var counts = OperationQueue.CountsOf(row.Counts);
            var at = row.PreviewOnly ? row.ApprovedAt ?? row.CreatedAt : row.CreatedAt;
            if (row.Status is OperationStatus.Cancelled or OperationStatus.Failed)
            {
                // Its totals are those of the plan.
                var (early, late) = await WrittenAsync(row.Id, row.Fence, row.AppliedTo, row.HeldAppliedTo);
                all.Add((at, Done(early)));
                all.Add((row.ApprovedAt ?? at, Done(late)));
            }
            else if (counts.Held != 0)
            {
                all.Add((at, OperationQueue.Drop(counts, await HeldAsync(row.Id, row.Fence, row.Counts))));
            }
            else if (
                row is { PreviewOnly: false, ApprovedAt: { } approved }
                && (await WrittenAsync(row.Id, row.Fence, row.AppliedTo, row.HeldAppliedTo)).Late is { Count: > 0 } late
            )
            {
                all.Add((at, OperationQueue.Drop(counts, late)));
                all.Add((approved, Done(late)));
            }
            else
            {
                all.Add((at, counts));
            }
        }

        return all;

        static SyncCounts Done(IReadOnlyDictionary<Outcome, long> written) =>
            new()
            {
                Created = written.GetValueOrDefault(Outcome.Created),
                Updated = written.GetValueOrDefault(Outcome.Updated),
                Reactivated = written.GetValueOrDefault(Outcome.Reactivated),
                Transferred = written.GetValueOrDefault(Outcome.Transferred) + written.GetValueOrDefault(Outcome.Absent),
                Absent = written.GetValueOrDefault(Outcome.Absent),
            };

        // Counted once: what is held of a plan stays so until somebody decides, which raises the fence, or somebody in it is erased or left out,
        // which changes its totals.
        async Task<IReadOnlyDictionary<Outcome, long>> HeldAsync(long operationId, long fence, string totals) =>
            (
                await cache.GetOrCreateAsync(
                    ("held", districtId, operationId, fence, totals),
                    entry =>
                    {
                        entry.AbsoluteExpirationRelativeToNow = TimeSpan.FromHours(12);
                        return queue.HeldOutcomesAsync(districtId, operationId, cancellationToken);
                    }
                )
            )!;

        // Nothing is written after an operation has ended, unless it is taken up again.
        async Task<(IReadOnlyDictionary<Outcome, long> Early, IReadOnlyDictionary<Outcome, long> Late)> WrittenAsync(
            long id,
            long fence,
            long to,
            long heldTo
        ) =>
            await cache.GetOrCreateAsync(
                ("written", districtId, id, fence, to, heldTo),
                async entry =>
                {
                    entry.AbsoluteExpirationRelativeToNow = TimeSpan.FromHours(12);
                    var written = await context
                        .Changes.Where(c => c.DistrictId == districtId && c.OperationId == id && !c.Stale)
                        .Where(c => c.Held ? c.Number <= heldTo : c.Number <= to)
                        .GroupBy(c => new { c.Held, c.Outcome })
                        .Select(g => new
                        {
                            g.Key.Held,
                            g.Key.Outcome,
                            Count = g.LongCount(),
                        })
                        .ToListAsync(cancellationToken);
                    IReadOnlyDictionary<Outcome, long> Of(bool held) =>
                        written.Where(w => w.Held == held).ToDictionary(w => w.Outcome, w => w.Count);
                    return (Of(false), Of(true));
                }
            );
    }

    /// <summary>Patrons who are marked Transferred, by homeroom; only those of <paramref name="sites"/>, where null is every site and those who have
    /// none.</summary>
    public async Task<IReadOnlyList<Patron>> TransferredAsync(
        int districtId,
        int? siteId,
        IReadOnlyList<int>? sites,
        int most,
        CancellationToken cancellationToken
    )
    {
        await using var context = database.CreateContext();
        return await context
            .Patrons.AsNoTracking()
            .Where(p => p.DistrictId == districtId && p.Status == PatronStatus.Transferred && (siteId == null || p.SiteId == siteId))
            .Where(p => sites == null || (p.SiteId != null && sites.Contains(p.SiteId.Value)))
            .OrderBy(p => p.Location)
            .ThenBy(p => p.NameKey)
            .ThenBy(p => p.Id)
            .Take(most)
            .ToListAsync(cancellationToken);
    }

    /// <summary>Barcode of the linked patron who was entered last; null when nobody is linked.</summary>
    public async Task<string?> NewestLinkedAsync(int districtId, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        return await context
            .Patrons.Where(p => p.DistrictId == districtId && p.Guid != null)
            .OrderByDescending(p => p.Id)
            .Select(p => p.Barcode)
            .FirstOrDefaultAsync(cancellationToken);
    }

    /// <summary>How many linked people have a homeroom class, as of the last sync, and of how many; null where nobody has one or nobody is linked.</summary>
    public async Task<(int With, int Of)?> HomeroomsAsync(int districtId, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        var counted = await context
            .PatronLinks.Where(l => l.DistrictId == districtId && !l.Absent)
            .GroupBy(l => l.DistrictId)
            .Select(g => new { With = g.Count(l => l.HomeroomClass != null), Of = g.Count() })
            .SingleOrDefaultAsync(cancellationToken);
        return counted is { With: > 0 } ? (counted.With, counted.Of) : null;
    }

    /// <summary>How much there is.</summary>
    public async Task<(long Patrons, long Operations)> FactsAsync(int districtId, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        return (
            await context.Patrons.LongCountAsync(p => p.DistrictId == districtId, cancellationToken),
            await context.Operations.LongCountAsync(o => o.DistrictId == districtId, cancellationToken)
        );
    }

    /// <summary>Every operation of these districts that waits or runs.</summary>
    public async Task<IReadOnlyList<LiveOperation>> LiveAsync(IReadOnlyCollection<int> districts, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        return await context
            .Operations.AsNoTracking()
            .Where(o => o.Status == OperationStatus.Waiting || o.Status == OperationStatus.Running)
            .Where(o => districts.Contains(o.DistrictId))
            .OrderBy(o => o.Id)
            .Select(o => new LiveOperation(
                o.DistrictId,
                o.Id,
                o.Status,
                o.Stage,
                o.StageText,
                o.Done,
                o.Total,
                o.Rate,
                o.StartedAt,
                o.CancelRequested,
                o.NotBefore,
                o.Error
            ))
            .ToListAsync(cancellationToken);
    }
}
