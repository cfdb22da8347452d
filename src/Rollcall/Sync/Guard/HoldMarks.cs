using System.Data.Common;
using Microsoft.EntityFrameworkCore;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.Sync.Guard;

/// <summary>Marks the rows of a plan that wait for an approval: all holds in one pass, in short transactions. Where a feed vanishes there are holds of
/// every site and group, and each by itself would look through all rows, while nobody else could save.</summary>
/// <remarks>The rows count once the operation says that it is planned; a worker that takes it over before that plans anew.</remarks>
internal sealed class HoldMarks(RollcallDatabase database, Operation operation, TimeProvider time)
{
    /// <summary>Rows of one transaction.</summary>
    internal const int AtOnce = 2000;

    /// <summary>Statements so far, beside those that begin and end transactions.</summary>
    public int Statements { get; private set; }

    /// <returns>How many rows wait.</returns>
    public async Task<long> SetAsync(DbConnection connection, IReadOnlyList<Hold> holds, CancellationToken cancellationToken)
    {
        var waiting = holds.Select(h => (h.Risk, h.Group, h.Site)).ToHashSet();
        long held = 0;
        long after = 0;
        var last = waiting.Count == 0;
        while (!last)
        {
            cancellationToken.ThrowIfCancellationRequested();
            long[] numbers;
            await using (var reading = database.CreateContext(connection, null).AllowLong())
            {
                Statements++;
                var rows = await reading
                    .Changes.Where(c => c.DistrictId == operation.DistrictId && c.OperationId == operation.Id && c.Number > after)
                    .Where(c => c.Risk != Risk.None)
                    .OrderBy(c => c.Number)
                    .Take(AtOnce)
                    .Select(c => new
                    {
                        c.Number,
                        c.Risk,
                        c.RoleGroup,
                        c.SiteId,
                    })
                    .ToListAsync(cancellationToken);
                last = rows.Count < AtOnce;
                after = rows.Count == 0 ? after : rows[^1].Number;
                numbers = [.. rows.Where(r => waiting.Contains((r.Risk, r.RoleGroup, r.SiteId ?? 0))).Select(r => r.Number)];
            }

            if (numbers.Length == 0)
            {
                continue;
            }

            await using (var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken))
            {
                await OperationQueue.EnsureMineAsync(connection, transaction, operation.Id, operation.Fence, cancellationToken);
                await using var context = database.CreateContext(connection, transaction).AllowLong();
                Statements++;
                held += await context
                    .Changes.Where(c => c.DistrictId == operation.DistrictId && c.OperationId == operation.Id && numbers.Contains(c.Number))
                    .ExecuteUpdateAsync(s => s.SetProperty(c => c.Held, true), cancellationToken);
                await transaction.CommitAsync(cancellationToken);
            }

            await Task.Delay(database.Bulk.PauseBetweenSlices, time, cancellationToken);
        }

        return held;
    }
}
