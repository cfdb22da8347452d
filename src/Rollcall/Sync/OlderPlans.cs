using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.Sync;

/// <summary>What becomes of plans that wait, for an approval or to be gone on with, when a newer sync has read the roster. One operation of a
/// district runs at a time: every other plan is older than the one that is being completed.</summary>
internal static class OlderPlans
{
    /// <summary>The warning of a row whose person a newer sync has seen.</summary>
    public const string SeenSince = "Left out as stale: a newer sync has seen the person since the plan";

    // That somebody was not found, or left, only whoever is there again contradicts.
    private static readonly ChangeKind[] s_ofPatrons = [ChangeKind.Update, ChangeKind.Transfer, ChangeKind.Reactivate, ChangeKind.Link];

    // What only says something, or nothing at all, is never written.
    private static readonly ChangeKind[] s_ofPeople =
    [
        ChangeKind.Create,
        ChangeKind.Update,
        ChangeKind.Reactivate,
        ChangeKind.Link,
        ChangeKind.Review,
    ];

    private static readonly OperationKind[] s_syncs = [OperationKind.FullSync, OperationKind.ChangesSync, OperationKind.PersonSync];

    /// <summary>Few enough to be asked for by name.</summary>
    private const int Few = 500;

    /// <summary>A sync of all that waits half-done, if there is one: a sync of changes beside it would not see what it has not written.</summary>
    public static Task<long?> UnfinishedFullAsync(RollcallContext context, Operation operation, CancellationToken cancellationToken) =>
        Others(context, operation)
            .Where(o => o.Kind == OperationKind.FullSync && o.Status == OperationStatus.Waiting && o.Planned)
            .Where(o => !o.PreviewOnly && o.ApprovedAt == null)
            .Select(o => (long?)o.Id)
            .FirstOrDefaultAsync(cancellationToken);

    /// <summary>A newer plan replaces those that still wait, also where somebody has approved them or a part is written; a preview replaces
    /// previews alone, and a pull of changes, which does not see again what a full one held, those of changes alone.</summary>
    public static async Task ReplaceAsync(
        RollcallContext context,
        Operation operation,
        DateTimeOffset now,
        CancellationToken cancellationToken
    )
    {
        var full = operation.Kind == OperationKind.FullSync;
        var older = Others(context, operation)
            .Where(o =>
                o.Kind == OperationKind.ChangesSync || (full && (o.Kind == OperationKind.FullSync || o.Kind == OperationKind.PersonSync))
            );
        await EndAsync(
            context,
            older.Where(o => o.Status == OperationStatus.Preview || (o.Status == OperationStatus.NeedsApproval && !operation.PreviewOnly)),
            $"Operation {operation.Id} has read the roster anew.",
            now,
            cancellationToken
        );
        if (!operation.PreviewOnly)
        {
            await ReplaceWaitingAsync(context, older, operation, now, cancellationToken);
        }
    }

    /// <summary>As <see cref="ReplaceAsync"/>, by a sync of one person: plans of that person alone.</summary>
    public static async Task ReplaceOfPersonAsync(
        RollcallContext context,
        Operation operation,
        string sourcedId,
        DateTimeOffset now,
        CancellationToken cancellationToken
    )
    {
        // Somebody with several records is planned under the one that counts, whichever was asked for.
        var ids = await context
            .Changes.Where(c => c.DistrictId == operation.DistrictId && c.OperationId == operation.Id && c.RosterId != null)
            .Select(c => c.RosterId)
            .ToListAsync(cancellationToken);
        ids.Add(sourcedId);
        var older = Others(context, operation)
            .Where(o => o.Kind == OperationKind.PersonSync)
            .Where(o =>
                context.Changes.Any(c => c.DistrictId == operation.DistrictId && c.OperationId == o.Id && ids.Contains(c.RosterId))
            );
        await EndAsync(
            context,
            older.Where(o => o.Status == OperationStatus.Preview),
            $"Operation {operation.Id} has read the person anew.",
            now,
            cancellationToken
        );
        if (!operation.PreviewOnly)
        {
            await ReplaceWaitingAsync(context, older, operation, now, cancellationToken);
        }
    }

    /// <summary>A preview that is approved is by then what a sync is: what waits from before it is out of date in the same way.</summary>
    /// <param name="context">On the transaction that approves it.</param>
    /// <param name="operation">The preview. While it waited, newer syncs have said what they know of its own rows.</param>
    /// <param name="now">The time.</param>
    /// <param name="cancellationToken">Gives up; the caller rolls back.</param>
    public static async Task GiveWayAsync(
        RollcallContext context,
        Operation operation,
        DateTimeOffset now,
        CancellationToken cancellationToken
    )
    {
        var seen = operation.Kind == OperationKind.FullSync ? null : SeenPeople.Of(operation);
        if (!s_syncs.Contains(operation.Kind) || (seen is null && operation.Kind == OperationKind.PersonSync))
        {
            return;
        }

        var older = Others(context, operation).Where(o => o.Id < operation.Id);
        var replaced =
            seen is null ? older.Where(o => s_syncs.Contains(o.Kind))
            : operation.Kind == OperationKind.ChangesSync ? older.Where(o => o.Kind == OperationKind.ChangesSync)
            : null;
        if (replaced is not null)
        {
            var ended = await replaced.AnyAsync(
                o =>
                    o.Status == OperationStatus.NeedsApproval
                    || o.Status == OperationStatus.Preview
                    || (o.Status == OperationStatus.Waiting && o.Planned),
                cancellationToken
            );
            await EndAsync(
                context,
                replaced.Where(o => o.Status == OperationStatus.NeedsApproval || o.Status == OperationStatus.Preview),
                $"Operation {operation.Id} had read the roster after this one, and was approved.",
                now,
                cancellationToken
            );
            await ReplaceWaitingAsync(context, replaced, operation, now, cancellationToken);
            if (ended && seen is null && operation.Kind != OperationKind.FullSync)
            {
                await RequireFullAsync(
                    context,
                    operation,
                    $"operation {operation.Id} was approved, and what had waited before it was not written",
                    cancellationToken
                );
            }
        }

        if (seen is not null)
        {
            await ContradictAsync(context, operation, older, seen, now, cancellationToken);
        }
    }

    /// <summary>What waits to be written about somebody who has been read in the roster since is out of date, unless it is the same that was
    /// found now. Their rows are left out; a hold that a sync of changes shows to be wrong about who has left is so as a whole, and the next full
    /// sync says what is so now.</summary>
    /// <param name="context">On the transaction that completes the newer plan.</param>
    /// <param name="operation">The newer sync, which wrote or writes what it found.</param>
    /// <param name="seen">Whom it read.</param>
    /// <param name="now">The time.</param>
    /// <param name="cancellationToken">Gives up; the caller rolls back.</param>
    /// <returns>The plans that are wrong as a whole.</returns>
    public static Task<IReadOnlyCollection<long>> ContradictAsync(
        RollcallContext context,
        Operation operation,
        SeenPeople seen,
        DateTimeOffset now,
        CancellationToken cancellationToken
    ) => ContradictAsync(context, operation, Others(context, operation), seen, now, cancellationToken);

    private static async Task<IReadOnlyCollection<long>> ContradictAsync(
        RollcallContext context,
        Operation operation,
        IQueryable<Operation> others,
        SeenPeople seen,
        DateTimeOffset now,
        CancellationToken cancellationToken
    )
    {
        if (seen.Alive.Count == 0 && seen.Count == 0)
        {
            return [];
        }

        context.AllowLong();
        var waiting = await others
            .AsNoTracking()
            .Where(o => s_syncs.Contains(o.Kind))
            .Where(o =>
                o.Status == OperationStatus.NeedsApproval
                || o.Status == OperationStatus.Preview
                || (o.Status == OperationStatus.Waiting && o.Planned)
            )
            .OrderBy(o => o.Id)
            .ToListAsync(cancellationToken);
        var wrong = new List<long>();
        foreach (var older in waiting)
        {
            var rows = Unwritten(context, older);
            if (operation.Kind == OperationKind.ChangesSync && await AnyLeaverAsync(rows, seen.Alive, cancellationToken))
            {
                await ReplaceAsync(
                    context,
                    older,
                    $"Operation {operation.Id} saw people in the roster whom this one would transfer.",
                    now,
                    cancellationToken
                );
                await RequireFullAsync(
                    context,
                    operation,
                    $"people whom operation {older.Id} would transfer are in the roster again",
                    cancellationToken
                );
                wrong.Add(older.Id);
                continue;
            }

            var held = await HeldAsync(context, older, cancellationToken);
            var numbers = await AboutAsync(rows.AsNoTracking().Where(c => !c.Stale), seen, cancellationToken);
            foreach (var some in numbers.Chunk(Few))
            {
                await LeaveOutAsync(context, operation, rows.Where(c => some.Contains(c.Number)), cancellationToken);
            }

            var left = held.Count == 0 ? held : await HeldAsync(context, older, cancellationToken);
            if (left.Values.Sum() < held.Values.Sum())
            {
                await LessenAsync(context, operation, older, held, left, now, cancellationToken);
            }
        }

        return wrong;
    }

    /// <summary>The numbers of the rows that are about people who were read.</summary>
    private static async Task<IReadOnlyCollection<long>> AboutAsync(
        IQueryable<Change> rows,
        SeenPeople seen,
        CancellationToken cancellationToken
    )
    {
        var numbers = new HashSet<long>();
        foreach (var some in seen.Alive.Chunk(Few))
        {
            numbers.UnionWith(
                await rows.Where(c => s_ofPatrons.Contains(c.Kind) && some.Contains(c.PatronId ?? 0))
                    .Select(c => c.Number)
                    .ToListAsync(cancellationToken)
            );
        }

        // Nothing finds a row by the roster's id. Of many people it is faster to look through all rows here.
        var ofPeople = rows.Where(c => s_ofPeople.Contains(c.Kind));
        var named = seen.Ids is { Count: <= Few } ids ? ofPeople.Where(c => ids.Contains(c.RosterId)) : ofPeople;
        await foreach (var row in named.Select(c => new { c.Number, c.RosterId }).AsAsyncEnumerable().WithCancellation(cancellationToken))
        {
            if (seen.HasRead(row.RosterId))
            {
                numbers.Add(row.Number);
            }
        }

        return numbers;
    }

    private static async Task LeaveOutAsync(
        RollcallContext context,
        Operation operation,
        IQueryable<Change> rows,
        CancellationToken cancellationToken
    )
    {
        var some = await rows.AsNoTracking().ToListAsync(cancellationToken);
        var patrons = some.Where(r => r.Kind != ChangeKind.Create).Select(r => r.PatronId).ToArray();
        var people = some.Where(r => r.Kind is ChangeKind.Create or ChangeKind.Review).Select(r => r.RosterId).ToArray();
        var newer = context.Changes.AsNoTracking().Where(c => c.DistrictId == operation.DistrictId && c.OperationId == operation.Id);
        var found = await newer.Where(c => c.PatronId != null && patrons.Contains(c.PatronId)).ToListAsync(cancellationToken);
        if (people.Length > 0)
        {
            found.AddRange(
                await newer
                    .Where(c => (c.Kind == ChangeKind.Create || c.Kind == ChangeKind.Review) && people.Contains(c.RosterId))
                    .ToListAsync(cancellationToken)
            );
        }

        var same = found.ToLookup(Essence);
        long[] other = [.. some.Where(r => !same.Contains(Essence(r))).Select(r => r.Number)];
        await rows.Where(c => other.Contains(c.Number))
            .ExecuteUpdateAsync(
                s =>
                    s.SetProperty(c => c.Stale, true)
                        .SetProperty(c => c.Warning, c => c.Warning == null ? SeenSince : c.Warning + "; " + SeenSince),
                cancellationToken
            );
    }

    /// <summary>What two rows of one person have in common when they do the same. A hash only spares a comparison, and a barcode that was drawn is
    /// nobody's word.</summary>
    private static (ChangeKind, string? Who, string Values, string? Link, string? Candidates, string? Reason) Essence(Change row)
    {
        var values = row.Values;
        if (row is { Kind: ChangeKind.Create, BarcodeDrawn: true })
        {
            var parsed = ChangeValues.Parse(values);
            parsed.Remove(PatronFields.Barcode);
            values = parsed.ToJson();
        }

        var isReview = row.Kind == ChangeKind.Review;
        return (
            row.Kind,
            isReview || row.Kind == ChangeKind.Create ? row.RosterId : $"{row.PatronId}",
            values,
            LinkState.Parse(row.Link) is { } link ? (link with { SyncHash = 0 }).ToJson() : row.Link,
            isReview ? row.Candidates : null,
            isReview ? row.Reason : null
        );
    }

    /// <summary>A hold says how many still wait, and ends when nobody does.</summary>
    private static async Task LessenAsync(
        RollcallContext context,
        Operation operation,
        Operation older,
        Dictionary<Outcome, long> held,
        Dictionary<Outcome, long> left,
        DateTimeOffset now,
        CancellationToken cancellationToken
    )
    {
        var one = context.Operations.Where(o => o.Id == older.Id && o.Status == older.Status);
        if (left.Count == 0 && older.Status == OperationStatus.NeedsApproval)
        {
            await EndAsync(
                context,
                one,
                $"Operation {operation.Id} has since seen everybody for whom something waited here.",
                now,
                cancellationToken
            );
            return;
        }

        // The people stay among the outcomes until the end, as everybody does who is left out.
        var counts = OperationQueue.CountsOf(older);
        var lessened = JsonSerializer.Serialize(
            counts.WithLeftOut(held.ToDictionary(h => h.Key, h => h.Value - left.GetValueOrDefault(h.Key))) with
            {
                Held = Math.Max(0, counts.Held - (held.Values.Sum() - left.Values.Sum())),
            },
            OperationQueue.Json
        );
        await one.ExecuteUpdateAsync(s => s.SetProperty(o => o.Counts, lessened), cancellationToken);
    }

    /// <summary>How many rows still wait, by outcome.</summary>
    private static Task<Dictionary<Outcome, long>> HeldAsync(
        RollcallContext context,
        Operation older,
        CancellationToken cancellationToken
    ) =>
        Unwritten(context, older)
            .Where(c => c.Held && !c.Stale)
            .GroupBy(c => c.Outcome)
            .Select(g => new { g.Key, Count = g.LongCount() })
            .ToDictionaryAsync(g => g.Key, g => g.Count, cancellationToken);

    /// <summary>The next sync has to read everything.</summary>
    public static async Task RequireFullAsync(RollcallContext context, Operation operation, string why, CancellationToken cancellationToken)
    {
        if (
            await context.Integrations.SingleOrDefaultAsync(
                i => i.DistrictId == operation.DistrictId && i.Kind == operation.Integration,
                cancellationToken
            ) is
            { } row
        )
        {
            IntegrationService.RequireFull(row, why);
            await context.SaveChangesAsync(cancellationToken);
        }
    }

    private static IQueryable<Operation> Others(RollcallContext context, Operation operation) =>
        context.Operations.Where(o =>
            o.DistrictId == operation.DistrictId && o.Integration == operation.Integration && o.Id != operation.Id
        );

    private static IQueryable<Change> Unwritten(RollcallContext context, Operation older) =>
        context.Changes.Where(c =>
            c.DistrictId == older.DistrictId
            && c.OperationId == older.Id
            && (c.Held ? c.Number > older.HeldAppliedTo : c.Number > older.AppliedTo)
        );

    private static async Task<bool> AnyLeaverAsync(IQueryable<Change> rows, IReadOnlyList<long> seen, CancellationToken cancellationToken)
    {
        foreach (var some in seen.Chunk(500))
        {
            if (await rows.AnyAsync(c => c.Held && c.Risk == Risk.Transfers && some.Contains(c.PatronId ?? 0), cancellationToken))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Ends plans that wait for a decision. They ended when they began to wait, and what they did then is counted; what they still held
    /// came to nothing. A preview keeps its totals: they say what it foretold.</summary>
    /// <param name="context">On the caller's transaction, with the district locked.</param>
    /// <param name="older">Those that need an approval or are previews.</param>
    /// <param name="why">What ended them, a sentence.</param>
    /// <param name="now">The time.</param>
    /// <param name="cancellationToken">Gives up; the caller rolls back.</param>
    public static async Task EndAsync(
        RollcallContext context,
        IQueryable<Operation> older,
        string why,
        DateTimeOffset now,
        CancellationToken cancellationToken
    )
    {
        foreach (var one in await older.AsNoTracking().OrderBy(o => o.Id).ToListAsync(cancellationToken))
        {
            var held = one.Status == OperationStatus.NeedsApproval;
            var counts = held ? await WrittenAsync(context, one, cancellationToken) : one.Counts;
            var error = held ? $"{why} What still waited here was not written." : $"{why} This preview is out of date.";
            await context
                .Operations.Where(o => o.Id == one.Id && o.Status == one.Status)
                .ExecuteUpdateAsync(
                    s =>
                        s.SetProperty(o => o.Status, OperationStatus.Superseded)
                            .SetProperty(o => o.Error, error)
                            .SetProperty(o => o.Counts, counts)
                            .SetProperty(o => o.FinishedAt, o => o.FinishedAt ?? now),
                    cancellationToken
                );
        }
    }

    /// <summary>The totals of an operation that ends before its time: without what will never be written, and without what was left out.</summary>
    public static async Task<string> WrittenAsync(RollcallContext context, Operation ended, CancellationToken cancellationToken)
    {
        // A part that came to its end beside a hold has been counted then.
        var counted = ended.Status == OperationStatus.NeedsApproval || ended is { ApprovedAt: not null, PreviewOnly: false };
        var dropped = await context
            .Changes.Where(c => c.DistrictId == ended.DistrictId && c.OperationId == ended.Id)
            .Where(c => c.Held ? c.Stale || c.Number > ended.HeldAppliedTo : c.Number > ended.AppliedTo || (c.Stale && !counted))
            .GroupBy(c => c.Outcome)
            .Select(g => new { g.Key, Count = g.LongCount() })
            .ToDictionaryAsync(g => g.Key, g => g.Count, cancellationToken);
        return JsonSerializer.Serialize(
            OperationQueue.Drop(OperationQueue.CountsOf(ended), dropped) with
            {
                Held = 0,
            },
            OperationQueue.Json
        );
    }

    private static async Task ReplaceWaitingAsync(
        RollcallContext context,
        IQueryable<Operation> older,
        Operation operation,
        DateTimeOffset now,
        CancellationToken cancellationToken
    )
    {
        foreach (
            var one in await older
                .AsNoTracking()
                .Where(o => o.Status == OperationStatus.Waiting && o.Planned)
                .OrderBy(o => o.Id)
                .ToListAsync(cancellationToken)
        )
        {
            await ReplaceAsync(
                context,
                one,
                one.ApprovedAt is null ? $"Operation {operation.Id} read the roster anew before this one went on."
                    : operation is { PreviewOnly: true, ApprovedAt: null }
                        ? $"Operation {operation.Id}, a preview that was approved after this one, had read the roster later and says what is so now."
                    : $"Operation {operation.Id} was reading the roster anew when this one was approved, and says what is so now.",
                now,
                cancellationToken
            );
        }
    }

    /// <summary>Ends a plan, and says why to whoever approved it or waits for it. What it has written stays, and is all that it counts.</summary>
    private static async Task ReplaceAsync(
        RollcallContext context,
        Operation older,
        string why,
        DateTimeOffset now,
        CancellationToken cancellationToken
    )
    {
        if (older.Status != OperationStatus.Waiting)
        {
            await EndAsync(
                context,
                context.Operations.Where(o => o.Id == older.Id && o.Status == older.Status),
                why,
                now,
                cancellationToken
            );
            return;
        }

        var counts = await WrittenAsync(context, older, cancellationToken);
        var error =
            older.AppliedTo > 0 || older.HeldAppliedTo > 0 ? $"{why} What had been written before stays." : $"{why} Nothing was written.";
        await context
            .Operations.Where(o => o.Id == older.Id && o.Status == OperationStatus.Waiting)
            .ExecuteUpdateAsync(
                s =>
                    s.SetProperty(o => o.Status, OperationStatus.Superseded)
                        .SetProperty(o => o.Error, error)
                        .SetProperty(o => o.Counts, counts)
                        .SetProperty(o => o.NotBefore, (DateTimeOffset?)null)
                        .SetProperty(o => o.FinishedAt, now),
                cancellationToken
            );
    }
}
