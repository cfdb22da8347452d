using System.Data.Common;
using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.Patrons;
using Rollcall.Patrons.Erasure;
using Rollcall.Storage;
using Rollcall.Sync.Apply;

namespace Rollcall.Operations;

/// <summary>An operation whose plan is made by whoever asks for it (an import, a bulk edit, a removal) and applied by a worker.</summary>
internal static class PlannedOperation
{
    /// <summary>What the row says while its plan is being made.</summary>
    internal const string Unfinished =
        "Its plan is not complete: it is being made still, or whatever made it was interrupted. Nothing was written; if it stays so, do it again.";

    /// <summary>The row while its plan is being made: should the process die now, it says so, and nothing was written.</summary>
    public static Operation Begin(int districtId, OperationKind kind, bool preview, Actor actor, string options, TimeProvider time) =>
        new()
        {
            DistrictId = districtId,
            Kind = kind,
            Status = OperationStatus.Failed,
            Error = Unfinished,
            PreviewOnly = preview,
            RequestedBy = actor.Name,
            ActingGroup = actor.Right,
            Options = options,
            CreatedAt = time.GetUtcNow(),
        };

    /// <summary>The plan is complete and waits for a worker. Whoever was erased while it was made may be in it: then it goes, whole.</summary>
    /// <param name="database">The database.</param>
    /// <param name="connection">The connection that the context works on.</param>
    /// <param name="context">Knows the operation, and what else is to be saved with it.</param>
    /// <param name="operation">Whose plan.</param>
    /// <param name="erased">Who had been erased before anybody was read for the plan.</param>
    /// <param name="rows">How many rows it has.</param>
    /// <param name="counts">Its totals.</param>
    /// <param name="warnings">Its warnings.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="RollcallException">Somebody was erased meanwhile.</exception>
    public static async Task CompleteAsync(
        RollcallDatabase database,
        DbConnection connection,
        RollcallContext context,
        Operation operation,
        Erasures erased,
        long rows,
        SyncCounts counts,
        IReadOnlyList<WarningGroup> warnings,
        CancellationToken cancellationToken
    )
    {
        // An erasure holds the district's lock, too: it is over, or it finds the plan.
        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
        await database.Bulk.LockDistrictAsync(connection, transaction, operation.DistrictId, cancellationToken);
        await context.Database.UseTransactionAsync(transaction, cancellationToken);
        if (await erased.AnySinceAsync(context, cancellationToken))
        {
            await context
                .Changes.Where(c => c.DistrictId == operation.DistrictId && c.OperationId == operation.Id)
                .ExecuteDeleteAsync(cancellationToken);
            await context
                .Operations.Where(o => o.DistrictId == operation.DistrictId && o.Id == operation.Id)
                .ExecuteDeleteAsync(cancellationToken);
            await transaction.CommitAsync(cancellationToken);

            // The erasure has cleared its remains already; these came after.
            var problem = await database.ClearRemainsAsync(cancellationToken);
            throw new RollcallException(
                "Somebody was erased from this district while this was planned, and may have been in it. Nothing was changed: do it again."
                    + (
                        problem is null ? ""
                        : database.IsPostgres ? $" PostgreSQL did not clear what was planned out of the tables yet: {problem}"
                        : $" The file could not be cleared of what was planned: {problem} Run: rollcall db compact"
                    )
            );
        }

        operation.Planned = true;
        operation.PlanSize = rows;
        operation.Counts = JsonSerializer.Serialize(counts with { Warnings = warnings.Sum(w => w.Count) }, OperationQueue.Json);
        operation.Warnings = JsonSerializer.Serialize(warnings, OperationQueue.Json);
        operation.Status = OperationStatus.Waiting;
        operation.Error = null;
        await context.SaveChangesAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);
    }
}

/// <summary>Applies imports, bulk edits and removals.</summary>
internal sealed class PlannedHandler(RollcallDatabase database, OperationQueue queue, TimeProvider time) : IOperationHandler
{
    public bool Handles(OperationKind kind) => kind is OperationKind.Import or OperationKind.Edit or OperationKind.Remove;

    public async Task ExecuteAsync(OperationRun run, CancellationToken cancellationToken)
    {
        var operation = run.Operation;
        var counts = OperationQueue.CountsOf(operation);
        var warnings = OperationQueue.WarningsOf(operation).ToList();
        if (operation.PreviewOnly && operation.ApprovedAt is null)
        {
            await queue.FinishAsync(operation, OperationStatus.Preview, counts, warnings, null, cancellationToken);
            return;
        }

        var applier = new Applier(database, operation, null, time);
        await applier.RunAsync(
            held: false,
            approval: operation.ApprovedAt is not null || operation.Kind == OperationKind.Remove,
            done => run.ReportAsync(OperationStage.Applying, "Writing patrons", done, operation.PlanSize),
            cancellationToken
        );
        counts = OperationQueue.Drop(counts, applier.Stale);
        if (applier.ChangedMeanwhile > 0)
        {
            warnings.Add(
                new WarningGroup(
                    "stale",
                    "Patrons were left out because they changed meanwhile",
                    applier.ChangedMeanwhile,
                    "Do it again for those: the log names them."
                )
            );
        }

        if (applier.Guarded > 0)
        {
            warnings.Add(PatronGuard.Warning(applier.Guarded));
        }

        if (applier.ChangedSincePlan > 0)
        {
            warnings.Add(
                new WarningGroup(
                    "changed-since-plan",
                    "Patrons were changed while this ran; the value given here won",
                    applier.ChangedSincePlan,
                    null
                )
            );
        }

        counts = counts with { Warnings = warnings.Sum(w => w.Count) };
        await queue.FinishWithAsync(
            operation,
            warnings.Count > 0 ? OperationStatus.CompletedWithWarnings : OperationStatus.Completed,
            counts,
            warnings,
            context => RequireFullAsync(context, operation, operation.PlanSize, cancellationToken),
            cancellationToken
        );
    }

    /// <summary>Who got another id of the roster, or none, and whom the roster has and the library no longer, is looked at by the next sync, whether
    /// or not anything changed there.</summary>
    /// <param name="context">In the transaction that ends the operation; the caller saves.</param>
    /// <param name="operation">The operation.</param>
    /// <param name="to">Rows up to this number are written.</param>
    /// <param name="cancellationToken">Gives up.</param>
    internal static async Task RequireFullAsync(RollcallContext context, Operation operation, long to, CancellationToken cancellationToken)
    {
        var written = context.Changes.Where(c =>
            c.DistrictId == operation.DistrictId && c.OperationId == operation.Id && !c.Stale && c.Number <= to
        );
        var guid = $"\"{PatronFields.Guid}\":";
        var why = operation.Kind switch
        {
            OperationKind.Import
                when await AnyAsync(c => (c.Kind == ChangeKind.Update || c.Kind == ChangeKind.Create) && c.Values.Contains(guid)) =>
                "changed GUIDs",
            OperationKind.Remove when await AnyAsync(c => c.Warning != null && c.Warning.Contains(PatronBulk.StillThere)) =>
                "removed people who are in the roster still",
            _ => null,
        };
        if (why is not null)
        {
            await IntegrationService.RequireFullAsync(context, operation.DistrictId, $"operation {operation.Id} {why}", cancellationToken);
        }

        Task<bool> AnyAsync(System.Linq.Expressions.Expression<Func<Change, bool>> what) => written.AnyAsync(what, cancellationToken);
    }
}
