using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Storage;
using Rollcall.Sync.Apply;

namespace Rollcall.Sync.Undo;

/// <summary>Plans and applies an undo, then says so on the operation it took back.</summary>
internal sealed class UndoHandler(RollcallDatabase database, OperationQueue queue, TimeProvider time) : IOperationHandler
{
    public bool Handles(OperationKind kind) => kind == OperationKind.Undo;

    public async Task ExecuteAsync(OperationRun run, CancellationToken cancellationToken)
    {
        var operation = run.Operation;
        var options =
            JsonSerializer.Deserialize<UndoOptions>(operation.Options, OperationQueue.Json)
            ?? throw new RollcallException("The undo does not say what it undoes.");
        var subject = await queue.GetAsync(operation.DistrictId, options.Of, cancellationToken);
        if (!operation.Planned)
        {
            if (UndoService.Refusal(subject) is { } refusal)
            {
                throw new RollcallException(refusal);
            }

            if (subject.Kind == OperationKind.Switch)
            {
                await using var context = database.CreateContext();
                if (await IntegrationSwitch.RefusalAsync(context, subject, cancellationToken) is { } linked)
                {
                    throw new RollcallException(linked);
                }
            }

            await PlanAsync(run, subject, options, cancellationToken);
        }

        var applier = new Applier(database, operation, null, time);
        ValueTask Report(long done) => run.ReportAsync(OperationStage.Applying, "Writing changes", done, operation.PlanSize);
        await applier.RunAsync(held: false, approval: true, Report, cancellationToken);
        await FinishAsync(operation, subject, options, applier, cancellationToken);
    }

    private async Task PlanAsync(OperationRun run, Operation subject, UndoOptions options, CancellationToken cancellationToken)
    {
        var operation = run.Operation;
        await run.ReportAsync(OperationStage.Planning, "Reading what was written", 0, subject.PlanSize);
        await using var connection = await database.OpenAsync(cancellationToken);
        await queue.DeletePlanAsync(operation, cancellationToken);
        var planner = new UndoPlanner(database, connection, operation, subject, options.Patron);
        var counts = await planner.RunAsync(
            done => run.ReportAsync(OperationStage.Planning, "Reading what was written", done, subject.PlanSize),
            cancellationToken
        );
        IReadOnlyList<WarningGroup> warnings =
            planner.KeptFields == 0
                ? []
                :
                [
                    new WarningGroup(
                        "undo-kept",
                        "Values stay as they are, because something later changed them or has them now",
                        planner.KeptFields,
                        "The log names each of them. Change them on the patron's page if they should go back too."
                    ),
                ];
        counts = counts with { Warnings = planner.KeptFields };
        var planned = await Sql.ExecuteAsync(
            connection,
            null,
            $"""
            UPDATE operations SET planned = @true, plan_size = @size, counts = @counts, warnings = @warnings
            WHERE id = @id AND fence = @fence AND status = {(int)OperationStatus.Running}
            """,
            cancellationToken,
            ("@true", true),
            ("@size", planner.Rows),
            ("@counts", JsonSerializer.Serialize(counts, OperationQueue.Json)),
            ("@warnings", JsonSerializer.Serialize(warnings, OperationQueue.Json)),
            ("@id", operation.Id),
            ("@fence", operation.Fence)
        );
        if (planned != 1)
        {
            throw new FencedOffException();
        }

        operation.Planned = true;
        operation.PlanSize = planner.Rows;
        operation.Counts = JsonSerializer.Serialize(counts, OperationQueue.Json);
        operation.Warnings = JsonSerializer.Serialize(warnings, OperationQueue.Json);
    }

    private async Task FinishAsync(
        Operation operation,
        Operation subject,
        UndoOptions options,
        Applier applier,
        CancellationToken cancellationToken
    )
    {
        var counts = OperationQueue.CountsOf(operation);
        var warnings = OperationQueue.WarningsOf(operation).ToList();
        counts = OperationQueue.Drop(counts, applier.Stale);
        if (applier.ChangedMeanwhile > 0)
        {
            warnings.Add(
                new WarningGroup("stale", "Patrons changed while the undo ran and were left as they are", applier.ChangedMeanwhile, null)
            );
        }

        if (applier.Guarded > 0)
        {
            warnings.Add(PatronGuard.Warning(applier.Guarded));
        }

        counts = counts with { Warnings = warnings.Sum(w => w.Count) };
        var status = warnings.Count > 0 ? OperationStatus.CompletedWithWarnings : OperationStatus.Completed;
        await queue.FinishWithAsync(
            operation,
            status,
            counts,
            warnings,
            context => AfterAsync(context, operation, subject, options, cancellationToken),
            cancellationToken
        );
    }

    /// <summary>What has to be known elsewhere, in the transaction that ends the operation.</summary>
    private static async Task AfterAsync(
        RollcallContext context,
        Operation operation,
        Operation subject,
        UndoOptions options,
        CancellationToken cancellationToken
    )
    {
        var district = operation.DistrictId;
        if (subject.Kind == OperationKind.Review)
        {
            await context
                .ReviewItems.Where(r => r.DistrictId == district && r.DecisionOperationId == subject.Id)
                .ExecuteUpdateAsync(
                    s =>
                        s.SetProperty(r => r.Status, ReviewStatus.Open)
                            .SetProperty(r => r.Reason, ReviewItem.OpenedAgain)
                            .SetProperty(r => r.DecisionOperationId, (long?)null)
                            .SetProperty(r => r.DecidedAt, (DateTimeOffset?)null)
                            .SetProperty(r => r.DecidedBy, (string?)null),
                    cancellationToken
                );
            await IntegrationService.RequireFullAsync(context, district, $"operation {subject.Id} was undone", cancellationToken);
        }

        if (subject.Kind == OperationKind.Switch)
        {
            await IntegrationSwitch.RestoreAsync(context, subject, cancellationToken);
        }

        var isSync = subject.Kind is OperationKind.FullSync or OperationKind.ChangesSync;
        if (isSync && subject.Integration is { } kind)
        {
            var row = await context.Integrations.SingleOrDefaultAsync(i => i.DistrictId == district && i.Kind == kind, cancellationToken);
            if (row is not null)
            {
                IntegrationService.RequireFull(row, $"operation {subject.Id} was undone");
                if (options.Patron is null)
                {
                    // The next night would do again what somebody has just taken back.
                    IntegrationService.StopDaily(
                        row,
                        $"Operation {subject.Id} was undone by {operation.RequestedBy}. Syncing again would bring its changes back: find out what was wrong, then resume."
                    );
                }

                await context.SaveChangesAsync(cancellationToken);
            }
        }

        if (options.Patron is null)
        {
            await context
                .Operations.Where(o => o.DistrictId == district && o.Id == subject.Id)
                .ExecuteUpdateAsync(s => s.SetProperty(o => o.Status, OperationStatus.Undone), cancellationToken);
        }
    }
}
