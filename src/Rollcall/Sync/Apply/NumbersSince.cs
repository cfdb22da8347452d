using Microsoft.EntityFrameworkCore;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.Sync.Apply;

/// <summary>The Student #s that patrons got since a plan, as the matcher reads them. Nothing finds a patron by Student #: those who changed
/// are read once, and again only when somebody has written since.</summary>
/// <param name="operation">Whose plan. What it gave itself tells nothing.</param>
internal sealed class NumbersSince(Operation operation)
{
    private readonly HashSet<string> _numbers = new(StringComparer.Ordinal);
    private long _readTo = -1;

    /// <summary>Reads them as they are now, in the transaction that the context works in and that holds the district.</summary>
    public async Task ReadAsync(RollcallContext context, CancellationToken cancellationToken)
    {
        // One operation of a district runs at a time, and whatever else writes is an operation of its own, with the next number.
        var newest = await context.Operations.Where(o => o.DistrictId == operation.DistrictId).MaxAsync(o => o.Id, cancellationToken);
        if (newest == _readTo)
        {
            return;
        }

        _numbers.Clear();
        var all = context.Patrons.AsNoTracking().Where(p => p.DistrictId == operation.DistrictId && p.CommunityId != null);
        var mine = context.Changes.Where(c => c.DistrictId == operation.DistrictId && c.OperationId == operation.Id);
        var later = context.Changes.Where(c => c.DistrictId == operation.DistrictId && c.OperationId > operation.Id);
        var number = $"\"{PatronFields.CommunityId}\":";
        await ReadAsync(
            all.Where(p => p.UpdatedAt >= operation.CreatedAt && !mine.Any(c => c.PatronId == p.Id && c.Values.Contains(number))),
            cancellationToken
        );
        await ReadAsync(
            all.Where(p => later.Where(c => c.Values.Contains(number)).Select(c => c.PatronId).Contains((long?)p.Id)),
            cancellationToken
        );
        _readTo = newest;
    }

    /// <summary>A patron has the number since the plan.</summary>
    public bool Has(string? number) => Text.Clean(number) is { } clean && _numbers.Contains(clean);

    private async Task ReadAsync(IQueryable<Patron> patrons, CancellationToken cancellationToken)
    {
        await foreach (var text in patrons.Select(p => p.CommunityId).AsAsyncEnumerable().WithCancellation(cancellationToken))
        {
            if (Text.Clean(text) is { } number)
            {
                _numbers.Add(number);
            }
        }
    }
}
