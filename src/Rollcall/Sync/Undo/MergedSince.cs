using Microsoft.EntityFrameworkCore;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.Sync.Undo;

/// <summary>Merges and decisions in Review hand ids of the roster from record to record. They are taken back whole, and the last one first where
/// one builds on another: otherwise an id would be two patrons'.</summary>
internal static class MergedSince
{
    /// <summary>Why a merge or a decision cannot be taken back now; null when it can, and for operations of other kinds.</summary>
    public static async Task<string?> RefusalAsync(
        RollcallContext context,
        Operation subject,
        SecurityGroup right,
        CancellationToken cancellationToken
    )
    {
        if (subject.Kind is not (OperationKind.Merge or OperationKind.Review))
        {
            return null;
        }

        var district = subject.DistrictId;
        var rows = await context
            .Changes.AsNoTracking()
            .Where(c => c.DistrictId == district && c.OperationId == subject.Id && c.PatronId != null && c.Kind != ChangeKind.Note)
            .ToListAsync(cancellationToken);
        var ids = rows.Select(r => r.PatronId!.Value).ToArray();
        var patrons = await context
            .Patrons.AsNoTracking()
            .Where(p => p.DistrictId == district && ids.Contains(p.Id))
            .ToDictionaryAsync(p => p.Id, cancellationToken);
        foreach (var row in rows)
        {
            var values = ChangeValues.Parse(row.Values);
            var there = patrons.GetValueOrDefault(row.PatronId!.Value);
            if (subject.Kind == OperationKind.Merge && Guarded(right, row, values, there) is { } guarded)
            {
                // Half of a merge taken back would leave one record without its id and the other one away.
                return $"{guarded}. A merge is undone as a whole.";
            }

            if (row.Kind == ChangeKind.Remove)
            {
                continue;
            }

            if (await BuiltOnAsync(context, subject, row, values, there is not null, cancellationToken) is { } later)
            {
                return there is null
                    ? $"Operation {later} merged the patron of operation {subject.Id} into another one since: undo operation {later} first, then this one."
                    : $"Operation {later} linked another record to the patron since: undo operation {later} first, then this one.";
            }
        }

        return null;
    }

    private static string? Guarded(SecurityGroup right, Change row, ChangeValues values, Patron? patron)
    {
        if (row.Kind != ChangeKind.Remove || patron is not null)
        {
            return PatronGuard.Refusal(right, patron, ChangeKind.Update, new ChangeValues());
        }

        var back = new ChangeValues();
        foreach (var (field, old, _) in values.Items)
        {
            back.Add(field, null, old);
        }

        return PatronGuard.Refusal(right, null, ChangeKind.Create, back);
    }

    /// <summary>The last operation that has to be taken back before this row can be, as long as it can be.</summary>
    private static async Task<long?> BuiltOnAsync(
        RollcallContext context,
        Operation subject,
        Change row,
        ChangeValues values,
        bool exists,
        CancellationToken cancellationToken
    )
    {
        var linked = exists && row.LinkBefore is null && values.Has(PatronFields.Guid) && values.Old(PatronFields.Guid) is null;
        if (exists && !linked)
        {
            return null;
        }

        var later = await context
            .Changes.AsNoTracking()
            .Where(c => c.DistrictId == subject.DistrictId && c.PatronId == row.PatronId && c.OperationId > subject.Id && !c.Stale)
            .Where(c => c.Kind != ChangeKind.Note)
            .Join(context.Operations.AsNoTracking(), c => c.OperationId, o => o.Id, (c, o) => new { Change = c, Operation = o })
            .Where(x => x.Operation.DistrictId == subject.DistrictId && x.Operation.Status != OperationStatus.Undone)
            .Where(x => x.Operation.Kind == OperationKind.Merge || x.Operation.Kind == OperationKind.Review)
            .OrderByDescending(x => x.Operation.Id)
            .ToListAsync(cancellationToken);
        return later
            .Find(x =>
                UndoService.Refusal(x.Operation) is null
                && (
                    exists
                        ? LinkMembers
                            .Ids(LinkState.Parse(x.Change.Link)?.Aliases)
                            .Except(LinkMembers.Ids(LinkState.Parse(x.Change.LinkBefore)?.Aliases), StringComparer.Ordinal)
                            .Any()
                        : x is { Change.Kind: ChangeKind.Remove, Operation.Kind: OperationKind.Merge }
                )
            )
            ?.Operation.Id;
    }
}
