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
internal sealed record QueueFilter(DateTimeOffset? From, DateTimeOffset? Before, OperationKind? Kind);

/// <summary>Questions that only screens ask.</summary>
internal sealed class Reading(RollcallDatabase database, IMemoryCache cache, PatronService patrons)
{
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

    /// <summary>Names by barcode.</summary>
    public async Task<IReadOnlyDictionary<string, string>> NamesAsync(
        int districtId,
        IEnumerable<string> barcodes,
        CancellationToken cancellationToken
    )
    {
        await using var context = database.CreateContext();
        var names = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var chunk in barcodes.Distinct(StringComparer.Ordinal).Select(Text.BarcodeKey).Chunk(500))
        {
            foreach (
                var patron in await context
                    .Patrons.AsNoTracking()
                    .Where(p => p.DistrictId == districtId && chunk.Contains(p.BarcodeKey))
                    .ToListAsync(cancellationToken)
            )
            {
                names[patron.Barcode] = patron.DisplayName;
            }
        }

        return names;
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
    private static int LevelRank(string level) =>
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
