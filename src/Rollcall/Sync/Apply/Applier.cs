using System.Data.Common;
using System.Diagnostics;
using Microsoft.EntityFrameworkCore;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.Sync.Apply;

/// <summary>Another worker has the operation now: whatever was not committed is rolled back, and this one stops.</summary>
internal sealed class FencedOffException : Exception;

/// <summary>Change rows → patrons, in short slices. A slice is one transaction with the operation's own position, so that a crash
/// between any two statements leaves every patron whole and the next worker in the right place.</summary>
internal sealed class Applier(RollcallDatabase database, Operation operation, SyncRules? rules, TimeProvider time)
{
    private const int ReadAhead = 4000;

    // After so many new patrons, and then after each five times as many, the database is told that its tables grew.
    private const int FirstGrowth = 2000;
    private const int Growth = 5;

    private static readonly ChangeKind[] s_writing =
    [
        ChangeKind.Create,
        ChangeKind.Update,
        ChangeKind.Transfer,
        ChangeKind.Reactivate,
        ChangeKind.Link,
        ChangeKind.Review,
        ChangeKind.Edit,
        ChangeKind.Remove,
    ];

    private readonly Dictionary<Outcome, long> _stale = [];

    /// <summary>The plan has just been made, by the worker that writes it now.</summary>
    public bool JustPlanned { get; init; }

    /// <summary>People whose rows were left out, by the outcome they had in the plan.</summary>
    public IReadOnlyDictionary<Outcome, long> Stale => _stale;

    /// <summary>Rows among <see cref="Stale"/> that were not theirs to decide who asked or approved.</summary>
    public long Guarded { get; private set; }

    /// <summary>Rows among <see cref="Stale"/> whose patron had changed since the plan.</summary>
    public long ChangedMeanwhile => _stale.Values.Sum() - Guarded;

    /// <summary>Rows whose patron had changed since the plan.</summary>
    public long ChangedSincePlan { get; private set; }

    /// <summary>Applies what is left of the held or the other rows.</summary>
    /// <param name="held">The held rows, after an approval; otherwise all others.</param>
    /// <param name="approval">A row whose patron changed meanwhile is left out.</param>
    /// <param name="progress">Receives how many rows are done.</param>
    /// <param name="cancellationToken">Stops between two slices.</param>
    public async Task RunAsync(bool held, bool approval, Func<long, ValueTask> progress, CancellationToken cancellationToken)
    {
        await using var connection = await database.OpenAsync(cancellationToken);

        // What the roster says is nobody's decision; what was held, and everything else, is one.
        var right =
            !held && operation.Kind is OperationKind.FullSync or OperationKind.ChangesSync or OperationKind.PersonSync
                ? SecurityGroup.DistrictAdministrator
                : operation.ActingGroup;
        var writer = new SliceWriter(database, operation.DistrictId, operation.Id, rules, right, time)
        {
            Waited = operation.Kind,
            BarcodeTells = rules is not null || operation.Kind == OperationKind.Import,
            LookedAt = operation.Kind == OperationKind.Remove ? operation.CreatedAt : null,
            Keys = rules is not null || operation.Kind == OperationKind.Import ? new KeysSince(operation, rules, !JustPlanned) : null,
        };
        var position = held ? operation.HeldAppliedTo : operation.AppliedTo;
        await CountEarlierAsync(connection, held, position, cancellationToken);

        // Of an approval, what was held is written, and the lines between were written before: they are passed over, and are no work.
        var written = held ? await CountWrittenAsync(connection, position, cancellationToken) : 0;
        var size = 200;
        var (created, grown) = (0, FirstGrowth);
        while (true)
        {
            List<Change> rows;
            using (WritingTrace.Begin("rows read"))
            await using (var context = database.CreateContext(connection, null))
            {
                rows = await context
                    .Changes.AsNoTracking()
                    .Where(c =>
                        c.DistrictId == operation.DistrictId && c.OperationId == operation.Id && c.Number > position && c.Held == held
                    )
                    .Where(c => c.Number <= operation.PlanSize)
                    .Where(c => s_writing.Contains(c.Kind))
                    .OrderBy(c => c.Number)
                    .Take(ReadAhead)
                    .ToListAsync(cancellationToken);
            }

            var last = rows.Count < ReadAhead;
            var at = 0;
            while (at < rows.Count)
            {
                cancellationToken.ThrowIfCancellationRequested();
                var slice = rows.GetRange(at, Math.Min(size, rows.Count - at));
                if (slice[^1].Chained)
                {
                    // Barcodes that change hands do so in one transaction, however many they are.
                    slice = await WithWholeChainAsync(connection, slice, held, cancellationToken);
                    last |= slice[^1].Number >= rows[^1].Number && rows.Count < ReadAhead;
                }

                var watch = Stopwatch.GetTimestamp();
                var end = slice[^1].Number;
                await ApplySliceAsync(connection, writer, slice, held, approval, end, cancellationToken);
                position = end;
                at = rows.FindIndex(at, r => r.Number > end) is >= 0 and var next ? next : rows.Count;
                size = database.Bulk.NextSlice(slice.Count, Stopwatch.GetElapsedTime(watch));
                written += slice.Count;
                await progress(held ? written : position);
                created += slice.Count(r => r.Kind == ChangeKind.Create);
                if (created >= grown)
                {
                    grown = created * Growth;
                    using var told = WritingTrace.Begin("tables' growth told");
                    await database.Bulk.TablesGrewAsync(connection, cancellationToken);
                }

                if (database.Bulk.PauseBetweenSlices > TimeSpan.Zero)
                {
                    using var pause = WritingTrace.Begin("pauses for others");
                    await Task.Delay(database.Bulk.PauseBetweenSlices, time, cancellationToken);
                }
            }

            if (last)
            {
                break;
            }
        }

        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
        await MoveAsync(connection, transaction, held, operation.PlanSize, cancellationToken);
        await transaction.CommitAsync(cancellationToken);
    }

    /// <summary>What a worker that died had left out, or found changed, counts as well.</summary>
    private async Task CountEarlierAsync(DbConnection connection, bool held, long position, CancellationToken cancellationToken)
    {
        if (position == 0)
        {
            return;
        }

        await using var context = database.CreateContext(connection, null).AllowLong();
        var earlier = context
            .Changes.AsNoTracking()
            .Where(c => c.DistrictId == operation.DistrictId && c.OperationId == operation.Id && c.Number <= position && c.Held == held);
        foreach (
            var outcome in await earlier
                .Where(c => c.Stale)
                .GroupBy(c => c.Outcome)
                .Select(g => new { g.Key, Count = g.LongCount() })
                .ToListAsync(cancellationToken)
        )
        {
            _stale[outcome.Key] = _stale.GetValueOrDefault(outcome.Key) + outcome.Count;
        }

        Guarded += await earlier.LongCountAsync(
            c => c.Stale && c.Warning != null && c.Warning.Contains(PatronGuard.Alone),
            cancellationToken
        );
        ChangedSincePlan += await earlier.LongCountAsync(
            c => c.Warning != null && c.Warning.Contains(SliceWriter.ChangedSincePlan),
            cancellationToken
        );
    }

    private async Task<long> CountWrittenAsync(DbConnection connection, long position, CancellationToken cancellationToken)
    {
        if (position == 0)
        {
            return 0;
        }

        await using var context = database.CreateContext(connection, null).AllowLong();
        return await context
            .Changes.Where(c => c.DistrictId == operation.DistrictId && c.OperationId == operation.Id && c.Held && c.Number <= position)
            .LongCountAsync(c => s_writing.Contains(c.Kind), cancellationToken);
    }

    private async Task<List<Change>> WithWholeChainAsync(
        DbConnection connection,
        List<Change> slice,
        bool held,
        CancellationToken cancellationToken
    )
    {
        await using var context = database.CreateContext(connection, null);
        var last = slice[^1].Number;
        slice.AddRange(
            await context
                .Changes.AsNoTracking()
                .Where(c =>
                    c.DistrictId == operation.DistrictId && c.OperationId == operation.Id && c.Number > last && c.Held == held && c.Chained
                )
                .OrderBy(c => c.Number)
                .ToListAsync(cancellationToken)
        );
        return slice;
    }

    private async Task MoveAsync(
        DbConnection connection,
        DbTransaction transaction,
        bool held,
        long to,
        CancellationToken cancellationToken
    )
    {
        var column = held ? "held_applied_to" : "applied_to";
        var moved = await Sql.ExecuteAsync(
            connection,
            transaction,
            $"""
            UPDATE operations SET {column} = @to, takeovers = 0, lease_until = {database.Bulk.NowMilliseconds} + {(long)
                OperationQueue.Lease.TotalMilliseconds}
            WHERE id = @id AND fence = @fence AND status = {(int)OperationStatus.Running} AND {column} <= @to
            """,
            cancellationToken,
            ("@to", to),
            ("@id", operation.Id),
            ("@fence", operation.Fence)
        );
        if (moved != 1)
        {
            throw new FencedOffException();
        }
    }

    private async Task ApplySliceAsync(
        DbConnection connection,
        SliceWriter writer,
        List<Change> rows,
        bool held,
        bool approval,
        long end,
        CancellationToken cancellationToken
    )
    {
        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);

        // The district first and the operation after it, as everybody else: two who wait for each other would both lose.
        await database.Bulk.LockDistrictAsync(connection, transaction, operation.DistrictId, cancellationToken);
        await MoveAsync(connection, transaction, held, end, cancellationToken);
        var result = await writer.ApplyAsync(connection, transaction, rows, approval, cancellationToken);
        using (WritingTrace.Begin("committed"))
        {
            await transaction.CommitAsync(cancellationToken);
        }

        foreach (var outcome in result.StaleOutcomes)
        {
            _stale[outcome] = _stale.GetValueOrDefault(outcome) + 1;
        }

        Guarded += result.Guarded;
        ChangedSincePlan += result.ChangedSincePlan;
    }
}
