using Microsoft.EntityFrameworkCore;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.Sync.Apply;

/// <summary>What became since a plan of the keys that it was made by: hours can lie between it and its writing without any approval, and seconds
/// always do. Nothing finds a patron by Student #: those who changed are read once, and those whom somebody has written since again.</summary>
/// <param name="operation">Whose plan. What it gave itself tells nothing.</param>
/// <param name="rules">What it goes by; null for an import.</param>
/// <param name="aside">The plan was put aside, or waited: whatever has a lower number can have been written after it.</param>
internal sealed class KeysSince(Operation operation, SyncRules? rules, bool aside)
{
    private const int AtOnce = 500;

    // Clocks of two servers are never quite the same.
    private static readonly TimeSpan s_skew = TimeSpan.FromMinutes(5);

    private readonly bool _numbers = rules is not { Map.CommunityId.Source: Mapping.IdSource.NotMapped };
    private readonly bool _emails = rules is not null;

    // One operation of a district runs at a time: whatever has a lower number and wrote after the plan has ended.
    private Found? _before;
    private Found _later = new([], []);
    private long _readTo = operation.Id;

    /// <summary>Reads, where one of these rows may need it, the keys that patrons got since the plan as they are now, in the transaction that the
    /// context works in and that holds the district.</summary>
    public async Task ReadAsync(
        RollcallContext context,
        IReadOnlyList<(Change Row, ChangeValues Values)> rows,
        CancellationToken cancellationToken
    )
    {
        if (
            !rows.Any(r =>
                r.Row.Kind == ChangeKind.Create
                && ((_numbers && r.Values.Has(PatronFields.CommunityId)) || (_emails && r.Values.Has(PatronFields.Email)))
            )
        )
        {
            return;
        }

        var all = context.Patrons.AsNoTracking().Where(p => p.DistrictId == operation.DistrictId);
        var (number, email, guid) = (Mark(PatronFields.CommunityId), Mark(PatronFields.Email), Mark(PatronFields.Guid));
        if (_before is null && aside)
        {
            var mine = context.Changes.Where(c => c.DistrictId == operation.DistrictId && c.OperationId == operation.Id);
            _before = await ReadAsync(
                all.Where(p => p.UpdatedAt >= operation.CreatedAt && !mine.Any(c => c.PatronId == p.Id && c.Values.Contains(number))),
                all.Where(p => p.UpdatedAt >= operation.CreatedAt),
                cancellationToken
            );
        }

        // Whatever else writes while this one runs is an operation of its own, with the next number.
        var newest = await context.Operations.Where(o => o.DistrictId == operation.DistrictId).MaxAsync(o => o.Id, cancellationToken);
        if (newest == _readTo)
        {
            return;
        }

        var later = context.Changes.Where(c => c.DistrictId == operation.DistrictId && c.OperationId > operation.Id);
        _later = await ReadAsync(
            all.Where(p => later.Where(c => c.Values.Contains(number)).Select(c => c.PatronId).Contains((long?)p.Id)),
            all.Where(p =>
                later.Where(c => c.Values.Contains(email) || c.Values.Contains(guid)).Select(c => c.PatronId).Contains((long?)p.Id)
            ),
            cancellationToken
        );
        _readTo = newest;
    }

    /// <summary>Why a new person may be somebody who has the number or, not linked, the address since the plan; null where nobody has.</summary>
    /// <remarks>By an address alone nobody is linked without a look at names and relatives: who is left out for it the next full sync decides
    /// about.</remarks>
    public string? Refusal(Change row, ChangeValues values)
    {
        // Whoever approved a file that says so of this number was told.
        if (
            _numbers
            && Text.Clean(values.New(PatronFields.CommunityId)) is { } number
            && row.Warning?.Contains(PatronImport.NumberIsTaken(number), StringComparison.Ordinal) != true
            && (_before?.Numbers.Contains(number) == true || _later.Numbers.Contains(number))
        )
        {
            return "There is a patron with this Student # since the plan";
        }

        return
            _emails
            && Text.EmailKey(values.New(PatronFields.Email)) is { } email
            && (_before?.Emails.Contains(email) == true || _later.Emails.Contains(email))
            ? "There is a patron with this email since the plan"
            : null;
    }

    /// <summary>Whom of those whom rows link for the first time, or to another id, somebody has given another key since: the key by which they
    /// were found, or what has to agree with it. They may be somebody else.</summary>
    public async Task<HashSet<long>> ChangedAsync(
        RollcallContext context,
        IEnumerable<(Change Row, ChangeValues Values)> rows,
        IReadOnlyDictionary<long, Patron> patrons,
        CancellationToken cancellationToken
    )
    {
        var changed = new HashSet<long>();
        if (rules is null)
        {
            return changed;
        }

        var from = operation.CreatedAt - s_skew;
        var linked = rows.Where(r => r.Row.Kind is not (ChangeKind.Create or ChangeKind.Review))
            .Where(r => r.Values.New(PatronFields.Guid) is not null && TellsOf(r.Row.MatchedBy).Length > 0)
            .Where(r => patrons.TryGetValue(r.Row.PatronId ?? 0, out var patron) && patron.UpdatedAt >= from)
            .ToDictionary(r => r.Row.PatronId!.Value, r => TellsOf(r.Row.MatchedBy));
        var (knows, read) = (rules.Knows ?? long.MaxValue, rules.ReadAt ?? operation.StartedAt ?? operation.CreatedAt);
        foreach (var some in linked.Keys.Chunk(AtOnce))
        {
            foreach (
                var change in await context
                    .Changes.Where(c => c.DistrictId == operation.DistrictId && some.Contains(c.PatronId!.Value) && !c.Stale)
                    .Where(c => c.OperationId != operation.Id && Undo.UndoPlanner.Writing.Contains(c.Kind))
                    .Join(
                        context.Operations.Where(o => o.DistrictId == operation.DistrictId),
                        c => c.OperationId,
                        o => o.Id,
                        (c, o) => new { Change = c, Operation = o }
                    )
                    .Where(x => x.Change.Number <= (x.Change.Held ? x.Operation.HeldAppliedTo : x.Operation.AppliedTo))
                    // What was ended by a newer read had written its part before.
                    .Where(x =>
                        x.Operation.Id > knows
                        || (
                            x.Operation.Status != OperationStatus.Superseded
                            && (x.Operation.FinishedAt == null || x.Operation.FinishedAt > read)
                        )
                    )
                    .Select(x => new { Patron = x.Change.PatronId!.Value, x.Change.Values })
                    .ToListAsync(cancellationToken)
            )
            {
                var values = ChangeValues.Parse(change.Values);
                if (linked[change.Patron].Any(values.Has))
                {
                    changed.Add(change.Patron);
                }
            }
        }

        return changed;
    }

    private static string Mark(int field) => $"\"{field}\":";

    /// <summary>The fields of a patron that said who it is.</summary>
    private static int[] TellsOf(MatchKey key) =>
        key switch
        {
            MatchKey.StudentNumber => [PatronFields.CommunityId],
            MatchKey.Barcode => [PatronFields.Barcode],
            MatchKey.Email => [PatronFields.Email, PatronFields.LastName, PatronFields.FirstName],
            MatchKey.Reissued =>
            [
                PatronFields.CommunityId,
                PatronFields.Barcode,
                PatronFields.Email,
                PatronFields.LastName,
                PatronFields.FirstName,
                PatronFields.Birthdate,
            ],
            _ => [],
        };

    private async Task<Found> ReadAsync(IQueryable<Patron> numbered, IQueryable<Patron> addressed, CancellationToken cancellationToken)
    {
        var keys = new Found(new(StringComparer.Ordinal), new(StringComparer.Ordinal));
        var numbers = numbered.Where(p => p.CommunityId != null).Select(p => p.CommunityId);
        await foreach (var text in (_numbers ? numbers : numbers.Take(0)).AsAsyncEnumerable().WithCancellation(cancellationToken))
        {
            if (Text.Clean(text) is { } number)
            {
                keys.Numbers.Add(number);
            }
        }

        var emails = addressed.Where(p => p.Guid == null && p.EmailKey != null).Select(p => p.EmailKey!);
        await foreach (var email in (_emails ? emails : emails.Take(0)).AsAsyncEnumerable().WithCancellation(cancellationToken))
        {
            keys.Emails.Add(email);
        }

        return keys;
    }

    private sealed record Found(HashSet<string> Numbers, HashSet<string> Emails);
}
