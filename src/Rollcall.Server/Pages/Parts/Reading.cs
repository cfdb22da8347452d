using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.Caching.Memory;
using Rollcall.Districts;
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

/// <summary>Questions that only screens ask.</summary>
internal sealed class Reading(
    RollcallDatabase database,
    IMemoryCache cache,
    PatronService patrons,
    ReviewService review,
    SiteService sites,
    OperationLog log
)
{
    /// <summary>An operation's lines by site and outcome. Those of a first sync are counted once, not for every page that is turned.</summary>
    public async Task<IReadOnlyList<LogCount>> LogCountsAsync(Operation operation, CancellationToken cancellationToken) =>
        (
            await cache.GetOrCreateAsync(
                ("log", operation.DistrictId, operation.Id, operation.Status, operation.FinishedAt),
                entry =>
                {
                    entry.AbsoluteExpirationRelativeToNow = operation.FinishedAt is null
                        ? TimeSpan.FromSeconds(5)
                        : TimeSpan.FromMinutes(10);
                    return log.CountsAsync(operation.DistrictId, operation.Id, cancellationToken);
                }
            )
        )!;

    /// <summary>Patrons by site and status. While a sync moves them all they are counted every few seconds, not for every look.</summary>
    public async Task<IReadOnlyList<(int? SiteId, PatronStatus Status, int Count)>> PatronCountsAsync(
        int districtId,
        bool moving,
        CancellationToken cancellationToken
    ) =>
        !moving
            ? await patrons.CountsAsync(districtId, cancellationToken)
            : (
                await cache.GetOrCreateAsync(
                    ("patrons", districtId),
                    entry =>
                    {
                        entry.AbsoluteExpirationRelativeToNow = TimeSpan.FromSeconds(5);
                        return patrons.CountsAsync(districtId, cancellationToken);
                    }
                )
            )!;

    /// <summary>A page of the queue, the newest first, and how many there are in all. Whatever waits or runs is always in it.</summary>
    public async Task<(IReadOnlyList<Operation> Operations, int Total)> QueueAsync(
        int districtId,
        QueueFilter filter,
        int page,
        int size,
        CancellationToken cancellationToken
    )
    {
        await using var context = database.CreateContext();
        var query = context.Operations.AsNoTracking().Where(o => o.DistrictId == districtId);
        query = filter.Kind is { } kind ? query.Where(o => o.Kind == kind) : query.Where(o => o.Kind != OperationKind.Edit);
        if (filter.Sites is { } own)
        {
            query = query.Where(o =>
                context.Changes.Any(c =>
                    c.DistrictId == districtId && c.OperationId == o.Id && c.SiteId != null && own.Contains(c.SiteId.Value)
                )
            );
        }

        if (filter.By is { } by)
        {
            query = query.Where(o => o.RequestedBy == by);
        }

        if (filter.From is { } from)
        {
            query = query.Where(o => o.CreatedAt >= from || o.Status == OperationStatus.Waiting || o.Status == OperationStatus.Running);
        }

        if (filter.Before is { } before)
        {
            query = query.Where(o => o.CreatedAt < before || o.Status == OperationStatus.Waiting || o.Status == OperationStatus.Running);
        }

        var total = await query.CountAsync(cancellationToken);
        return (await query.OrderByDescending(o => o.Id).Skip((page - 1) * size).Take(size).ToListAsync(cancellationToken), total);
    }

    /// <summary>Everybody who asked for an operation between two instants.</summary>
    public async Task<IReadOnlyList<string>> AskersAsync(
        int districtId,
        DateTimeOffset from,
        DateTimeOffset before,
        CancellationToken cancellationToken
    )
    {
        await using var context = database.CreateContext();
        return await context
            .Operations.Where(o => o.DistrictId == districtId && o.CreatedAt >= from && o.CreatedAt < before)
            .Select(o => o.RequestedBy)
            .Distinct()
            .OrderBy(b => b)
            .Take(200)
            .ToListAsync(cancellationToken);
    }

    /// <summary>Operations that wait for a person, the newest first.</summary>
    public async Task<IReadOnlyList<Operation>> WaitingForApprovalAsync(int districtId, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        return await context
            .Operations.AsNoTracking()
            .Where(o => o.DistrictId == districtId && (o.Status == OperationStatus.NeedsApproval || o.Status == OperationStatus.Preview))
            .OrderByDescending(o => o.Id)
            .Take(20)
            .ToListAsync(cancellationToken);
    }

    /// <summary>The newest sync that has ended, previews aside, and the one that waits or runs; null where there is none.</summary>
    public async Task<(Operation? Last, Operation? Live)> SyncsAsync(int districtId, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        var syncs = context
            .Operations.AsNoTracking()
            .Where(o => o.DistrictId == districtId && (o.Kind == OperationKind.FullSync || o.Kind == OperationKind.ChangesSync))
            .OrderByDescending(o => o.Id);
        var live = await syncs.FirstOrDefaultAsync(
            o => o.Status == OperationStatus.Running || o.Status == OperationStatus.Waiting,
            cancellationToken
        );
        var last = await syncs.FirstOrDefaultAsync(
            o =>
                o.Status != OperationStatus.Running
                && o.Status != OperationStatus.Waiting
                && o.Status != OperationStatus.Preview
                && !(o.PreviewOnly && o.ApprovedAt == null),
            cancellationToken
        );
        return (last, live);
    }

    /// <summary>How many operations need an approval, and how many people wait in Review.</summary>
    public async Task<(int Approvals, int Reviews)> OpenAsync(int districtId, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        return (
            await context.Operations.CountAsync(
                o => o.DistrictId == districtId && o.Status == OperationStatus.NeedsApproval,
                cancellationToken
            ),
            await context.ReviewItems.CountAsync(r => r.DistrictId == districtId && r.Status == ReviewStatus.Open, cancellationToken)
        );
    }

    /// <summary>The people in Review whom the visitor may see: those whom the roster puts at one of the visitor's sites.</summary>
    /// <param name="here">The visitor.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <param name="decided">Those who were decided on, instead of those who wait.</param>
    public async Task<IReadOnlyList<ReviewRow>> ReviewAsync(Here here, CancellationToken cancellationToken, bool decided = false)
    {
        var rows = decided
            ? await review.DecidedAsync(here.District.Id, cancellationToken)
            : await review.ListAsync(here.District.Id, cancellationToken);
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
        return [.. seen.Select(r => r with { Candidates = [.. r.Candidates.Where(people.ContainsKey)] })];
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

    /// <summary>The grades of the district in the order a school has them. Kept for a minute: finding them reads every patron.</summary>
    public async Task<IReadOnlyList<string>> LevelsAsync(int districtId, CancellationToken cancellationToken) =>
        (
            await cache.GetOrCreateAsync(
                ("levels", districtId),
                async entry =>
                {
                    entry.AbsoluteExpirationRelativeToNow = TimeSpan.FromMinutes(1);
                    var levels = await patrons.LevelsAsync(districtId, cancellationToken);
                    return (IReadOnlyList<string>)[.. levels.OrderBy(LevelRank).ThenBy(l => l, StringComparer.OrdinalIgnoreCase)];
                }
            )
        )!;

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

    /// <summary>Patrons whom an operation made, or marked as leavers, at or after an instant and who still are what it made of them.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="left">Leavers; otherwise arrivals.</param>
    /// <param name="since">The operation was asked for at or after this instant.</param>
    /// <param name="siteId">One site alone; null for all.</param>
    /// <param name="most">No more than these.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<IReadOnlyList<Patron>> MovedAsync(
        int districtId,
        bool left,
        DateTimeOffset since,
        int? siteId,
        int most,
        CancellationToken cancellationToken,
        int skip = 0
    )
    {
        await using var context = database.CreateContext();
        var moved = context
            .Changes.Where(c => c.DistrictId == districtId && c.PatronId != null && !c.Stale)
            .Where(c =>
                left ? c.Outcome == Outcome.Transferred || c.Outcome == Outcome.Absent : c.Outcome == Outcome.Created && c.RosterId != null
            )
            .Join(
                context.Operations.Where(o => o.DistrictId == districtId && o.CreatedAt >= since && o.Status != OperationStatus.Undone),
                c => c.OperationId,
                o => o.Id,
                (c, o) => new { Change = c, Operation = o }
            )
            .Where(x => x.Change.Held ? x.Change.Number <= x.Operation.HeldAppliedTo : x.Change.Number <= x.Operation.AppliedTo)
            .Select(x => x.Change.PatronId!.Value);
        return await context
            .Patrons.AsNoTracking()
            .Where(p => p.DistrictId == districtId && (siteId == null || p.SiteId == siteId) && moved.Contains(p.Id))
            .Where(p => left ? p.Status == PatronStatus.Transferred : p.Status != PatronStatus.Transferred)
            .OrderBy(p => p.Location)
            .ThenBy(p => p.NameKey)
            .ThenBy(p => p.Id)
            .Skip(skip)
            .Take(most)
            .ToListAsync(cancellationToken);
    }

    /// <summary>What syncs did day by day where the district is, from <paramref name="from"/> on: the days that had any.</summary>
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
            .Where(o => o.CreatedAt >= from && (!o.PreviewOnly || o.ApprovedAt != null))
            .Where(o =>
                o.Status == OperationStatus.Completed
                || o.Status == OperationStatus.CompletedWithWarnings
                || o.Status == OperationStatus.NeedsApproval
                || o.Status == OperationStatus.Discarded
                || o.Status == OperationStatus.Superseded
            )
            .Select(o => new { o.CreatedAt, o.Counts })
            .ToListAsync(cancellationToken);
        return
        [
            .. rows.Select(r =>
                (r.CreatedAt, System.Text.Json.JsonSerializer.Deserialize<SyncCounts>(r.Counts, OperationQueue.Json) ?? new SyncCounts())
            ),
        ];
    }

    /// <summary>The newest syncs that have ended, previews aside.</summary>
    public async Task<IReadOnlyList<Operation>> LastSyncsAsync(int districtId, int take, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        return await context
            .Operations.AsNoTracking()
            .Where(o => o.DistrictId == districtId && (o.Kind == OperationKind.FullSync || o.Kind == OperationKind.ChangesSync))
            .Where(o => o.FinishedAt != null && o.StartedAt != null && (!o.PreviewOnly || o.ApprovedAt != null))
            .OrderByDescending(o => o.Id)
            .Take(take)
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

    /// <summary>How much there is, and whether the tables are those of this version.</summary>
    public async Task<(long Patrons, long Operations, bool Migrated)> FactsAsync(int districtId, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        return (
            await context.Patrons.LongCountAsync(p => p.DistrictId == districtId, cancellationToken),
            await context.Operations.LongCountAsync(o => o.DistrictId == districtId, cancellationToken),
            (await database.PendingMigrationsAsync(cancellationToken)).Count == 0
        );
    }

    /// <summary>Every operation that waits or runs, of all districts.</summary>
    public async Task<IReadOnlyList<LiveOperation>> LiveAsync(CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        return await context
            .Operations.AsNoTracking()
            .Where(o => o.Status == OperationStatus.Waiting || o.Status == OperationStatus.Running)
            .OrderBy(o => o.Id)
            .Take(1000)
            .Select(o => new LiveOperation(
                o.DistrictId,
                o.Id,
                o.Status,
                o.Stage,
                o.StageText,
                o.Done,
                o.Total,
                o.StartedAt,
                o.CancelRequested
            ))
            .ToListAsync(cancellationToken);
    }

    /// <summary>Early years come before the numbered grades, whatever else there is after them.</summary>
    public static int LevelRank(string level) =>
        level.ToUpperInvariant() switch
        {
            "IT" => -6,
            "PR" => -5,
            "PK" => -4,
            "TK" => -3,
            "KG" or "K" => -2,
            _ => int.TryParse(
                level,
                System.Globalization.NumberStyles.None,
                System.Globalization.CultureInfo.InvariantCulture,
                out var number
            )
                ? number
                : 1000,
        };
}
