using Microsoft.EntityFrameworkCore;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.Sync.Apply;

/// <summary>The Student #s that patrons got since a plan, as the matcher reads them: hours can lie between it and its writing without any
/// approval, and seconds always do. Nothing finds a patron by Student #: those who changed are read once, and those whom somebody has written
/// since again.</summary>
/// <param name="operation">Whose plan. What it gave itself tells nothing.</param>
/// <param name="aside">The plan was put aside, or waited: whatever has a lower number can have been written after it.</param>
internal sealed class NumbersSince(Operation operation, bool aside)
{
    // One operation of a district runs at a time: whatever has a lower number and wrote after the plan has ended.
    private HashSet<string>? _before;
    private HashSet<string> _later = [];
    private long _readTo = operation.Id;

    /// <summary>Reads them as they are now, in the transaction that the context works in and that holds the district.</summary>
    public async Task ReadAsync(RollcallContext context, CancellationToken cancellationToken)
    {
        var all = context.Patrons.AsNoTracking().Where(p => p.DistrictId == operation.DistrictId && p.CommunityId != null);
        var number = $"\"{PatronFields.CommunityId}\":";
        if (_before is null && aside)
        {
            var mine = context.Changes.Where(c => c.DistrictId == operation.DistrictId && c.OperationId == operation.Id);
            _before = await ReadAsync(
                all.Where(p => p.UpdatedAt >= operation.CreatedAt && !mine.Any(c => c.PatronId == p.Id && c.Values.Contains(number))),
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
            cancellationToken
        );
        _readTo = newest;
    }

    /// <summary>A patron has the number since the plan.</summary>
    public bool Has(string? number) => Text.Clean(number) is { } clean && (_before?.Contains(clean) == true || _later.Contains(clean));

    private static async Task<HashSet<string>> ReadAsync(IQueryable<Patron> patrons, CancellationToken cancellationToken)
    {
        var numbers = new HashSet<string>(StringComparer.Ordinal);
        await foreach (var text in patrons.Select(p => p.CommunityId).AsAsyncEnumerable().WithCancellation(cancellationToken))
        {
            if (Text.Clean(text) is { } number)
            {
                numbers.Add(number);
            }
        }

        return numbers;
    }
}
