using System.Data.Common;
using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.Storage;
using Rollcall.Sync.Apply;

namespace Rollcall.Operations;

/// <summary>An operation that is carried out at once, inside the caller's transaction: a hand edit, a merge, a decision in Review. It
/// leaves the same rows behind as a sync, so that history and undo know it.</summary>
internal static class ImmediateOperation
{
    /// <param name="database">The database.</param>
    /// <param name="connection">The connection.</param>
    /// <param name="transaction">A transaction that began to write.</param>
    /// <param name="context">A context on them; it is saved.</param>
    /// <param name="operation">District, kind and what else describes it; the rest is filled in.</param>
    /// <param name="actor">Who does it.</param>
    /// <param name="rows">What changes. Their numbers are given here.</param>
    /// <param name="time">The clock.</param>
    /// <param name="cancellationToken">Gives up; the caller rolls back.</param>
    /// <exception cref="RollcallException">A patron changed meanwhile, or is not the actor's to change; the caller rolls back.</exception>
    public static async Task<Operation> RunAsync(
        RollcallDatabase database,
        DbConnection connection,
        DbTransaction transaction,
        RollcallContext context,
        Operation operation,
        Actor actor,
        IReadOnlyList<Change> rows,
        TimeProvider time,
        CancellationToken cancellationToken
    )
    {
        var now = time.GetUtcNow();
        operation.RequestedBy = actor.Name;
        operation.ActingGroup = actor.Right;
        operation.Status = OperationStatus.Completed;
        operation.Stage = OperationStage.Finished;
        operation.CreatedAt = now;
        operation.StartedAt = now;
        operation.FinishedAt = now;
        operation.Planned = true;
        operation.PlanSize = rows.Count;
        operation.AppliedTo = rows.Count;
        operation.Counts = System.Text.Json.JsonSerializer.Serialize(CountsOf(rows), OperationQueue.Json);
        context.Operations.Add(operation);
        await context.SaveChangesAsync(cancellationToken);
        for (var i = 0; i < rows.Count; i++)
        {
            rows[i].DistrictId = operation.DistrictId;
            rows[i].OperationId = operation.Id;
            rows[i].Number = i + 1;
        }

        await database.Bulk.InsertAsync(connection, transaction, BulkTables.Changes, rows, cancellationToken);
        var writer = new SliceWriter(database, operation.DistrictId, operation.Id, null, actor.Right, time);
        var writing = rows.Where(r => r.Kind is not (ChangeKind.Note or ChangeKind.Skip)).ToList();
        var result = await writer.ApplyAsync(connection, transaction, writing, approval: true, cancellationToken);
        if (result.StaleOutcomes.Count > 0)
        {
            var why = writing.Find(r => r.Stale)?.Warning ?? "The patron changed meanwhile";
            throw new RollcallException(
                result.Guarded > 0 ? $"{why}. Nothing was written." : $"{why}. Nothing was written; look again and repeat it."
            );
        }

        return operation;
    }

    private static SyncCounts CountsOf(IReadOnlyList<Change> rows)
    {
        long Of(Outcome outcome) => rows.LongCount(r => r.Outcome == outcome);
        return new SyncCounts
        {
            Read = rows.Count,
            Created = Of(Outcome.Created),
            Updated = Of(Outcome.Updated),
            Unchanged = Of(Outcome.Unchanged) + Of(Outcome.None),
            Transferred = Of(Outcome.Transferred),
            Reactivated = Of(Outcome.Reactivated),
            Skipped = Of(Outcome.Skipped),
            Review = Of(Outcome.Review),
            Removed = Of(Outcome.Removed),
        };
    }
}
