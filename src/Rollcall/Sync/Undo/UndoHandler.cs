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
            await using (var context = database.CreateContext().AllowLong())
            {
                if (await UndoService.RefusalAsync(context, subject, options.Patron is not null, cancellationToken) is { } refusal)
                {
                    throw new RollcallException(refusal);
                }

                // What came between the question and this may stand in the way by now.
                var inTheWay =
                    subject.Kind == OperationKind.Switch
                        ? await IntegrationSwitch.RefusalAsync(context, subject, cancellationToken)
                        : await MergedSince.RefusalAsync(context, subject, operation.ActingGroup, cancellationToken);
                if (inTheWay is not null)
                {
                    throw new RollcallException(inTheWay);
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
        var warnings = new List<WarningGroup>();
        if (planner.KeptFields > 0)
        {
            warnings.Add(
                new WarningGroup(
                    "undo-kept",
                    "Values or patrons stay as they are, because something later changed them or has them now",
                    planner.KeptFields,
                    "The log names each of them, and why. Fields can be changed on the patron's page; what comes of the roster the next sync sets, and what a later operation did goes back with that one."
                )
            );
        }

        if (planner.ComeAgain > 0)
        {
            warnings.Add(
                new WarningGroup(
                    "undo-again",
                    "The next sync writes the roster's values again, unless the library keeps these fields",
                    planner.ComeAgain,
                    "Where the roster is wrong, mark them with 'library keeps this field' on the patron's page, or have the district mend its records."
                )
            );
        }

        counts = counts with { Warnings = warnings.Sum(w => w.Count) };
        var planned = await Sql.ExecuteAsync(
            connection,
            null,
            $"""
            UPDATE operations SET planned = @true, plan_size = @size, counts = @counts, warnings = @warnings, takeovers = 0
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
                new WarningGroup(
                    "stale",
                    "Patrons changed while the undo ran and were left as they are",
                    applier.ChangedMeanwhile,
                    subject.Kind == OperationKind.Switch
                        ? null
                        : $"The log says why. Operation {subject.Id} can be undone once more when that is mended."
                )
            );
        }

        if (applier.Guarded > 0)
        {
            warnings.Add(PatronGuard.Warning(applier.Guarded));
        }

        await using (var context = database.CreateContext().AllowLong())
        {
            // Counted from the log, so that what a worker wrote who died counts too.
            var dropped = await context.Changes.LongCountAsync(
                c =>
                    c.DistrictId == operation.DistrictId
                    && c.OperationId == operation.Id
                    && !c.Stale
                    && c.Warning != null
                    && c.Warning.Contains(SliceWriter.BarcodeTaken),
                cancellationToken
            );
            if (dropped > 0)
            {
                warnings.Add(
                    new WarningGroup(
                        "undo-barcode",
                        "Barcodes belong to another patron by now and did not come back",
                        dropped,
                        "The log names the patrons, who keep the present one or got the next one of a site."
                    )
                );
            }
        }

        // A record that could not come back is left to another undo, and so is the answer to a question.
        var whole = subject.Kind is not (OperationKind.Merge or OperationKind.Review) || applier.Stale.Count == 0;

        counts = counts with { Warnings = warnings.Sum(w => w.Count) };
        var status = warnings.Count > 0 ? OperationStatus.CompletedWithWarnings : OperationStatus.Completed;
        await queue.FinishWithAsync(
            operation,
            status,
            counts,
            warnings,
            context => AfterAsync(context, operation, subject, options, counts, warnings, whole, cancellationToken),
            cancellationToken
        );
    }

    /// <summary>What has to be known elsewhere, in the transaction that ends the operation.</summary>
    private async Task AfterAsync(
        RollcallContext context,
        Operation operation,
        Operation subject,
        UndoOptions options,
        SyncCounts counts,
        List<WarningGroup> warnings,
        bool whole,
        CancellationToken cancellationToken
    )
    {
        var district = operation.DistrictId;
        if (subject.Kind == OperationKind.Review)
        {
            await ReopenAsync(context, operation, subject, cancellationToken);
            await IntegrationService.RequireFullAsync(context, district, $"operation {subject.Id} was undone", cancellationToken);
        }

        if (subject.Kind == OperationKind.Switch)
        {
            if (await IntegrationSwitch.RestoreAsync(context, subject, time.GetUtcNow(), cancellationToken) is { } tenant)
            {
                await WarnOfTenantAsync(context, operation, tenant, counts, warnings, cancellationToken);
            }
        }

        var because = $"operation {subject.Id} was undone";
        if (subject.Kind is OperationKind.FullSync or OperationKind.ChangesSync && subject.Integration is { } kind)
        {
            foreach (var row in await ConcernedAsync(context, district, kind, cancellationToken))
            {
                IntegrationService.RequireFull(row, options.Patron is null ? because : $"{because} for one patron");
            }

            await StopNightsAsync(context, operation, subject, complete: true, time.GetUtcNow(), cancellationToken);
        }
        else if (
            subject.Kind != OperationKind.Switch
            && (
                subject.Kind == OperationKind.PersonSync
                || await context.Changes.AnyAsync(
                    c => c.DistrictId == district && c.OperationId == operation.Id && !c.Stale && c.Link != null,
                    cancellationToken
                )
            )
            && await context.Integrations.SingleOrDefaultAsync(i => i.DistrictId == district && i.Enabled, cancellationToken) is { } on
        )
        {
            // Patron and link are as they were then: how these people are in the roster since, a sync of changes does not see.
            IntegrationService.RequireFull(on, because);
        }

        await context.SaveChangesAsync(cancellationToken);
        if (whole && (options.Patron is not { } one || await IsAllAsync(context, subject, one, cancellationToken)))
        {
            // What waited in it for an approval is dropped with it, and is nobody's outcome.
            var ended = await context
                .Operations.AsNoTracking()
                .SingleAsync(o => o.DistrictId == district && o.Id == subject.Id, cancellationToken);
            var totals =
                ended.Status == OperationStatus.NeedsApproval
                    ? await OlderPlans.WrittenAsync(context.AllowLong(), ended, cancellationToken)
                    : ended.Counts;
            await context
                .Operations.Where(o => o.DistrictId == district && o.Id == subject.Id)
                .ExecuteUpdateAsync(
                    s => s.SetProperty(o => o.Status, OperationStatus.Undone).SetProperty(o => o.Counts, totals),
                    cancellationToken
                );
        }
    }

    /// <summary>Whether an operation that somebody asked for is about this one patron alone: then it is undone with them.</summary>
    private static async Task<bool> IsAllAsync(
        RollcallContext context,
        Operation subject,
        long patron,
        CancellationToken cancellationToken
    ) =>
        subject.Kind is not (OperationKind.FullSync or OperationKind.ChangesSync)
        && !await context.Changes.AnyAsync(
            c =>
                c.DistrictId == subject.DistrictId
                && c.OperationId == subject.Id
                && c.PatronId != patron
                && UndoPlanner.Writing.Contains(c.Kind),
            cancellationToken
        );

    /// <summary>The services whose next sync would do again what an undo takes back: the one that wrote it, and the one that is on, which may be
    /// another by now.</summary>
    internal static Task<List<Integration>> ConcernedAsync(
        RollcallContext context,
        int district,
        IntegrationKind? kind,
        CancellationToken cancellationToken
    ) => context.Integrations.Where(i => i.DistrictId == district && (i.Enabled || i.Kind == kind)).ToListAsync(cancellationToken);

    /// <summary>Where a whole run of a roster is taken back, the next night would do again what somebody has just taken back: none runs by itself
    /// before somebody resumes, and those that wait for their turn or for another try end. What somebody asked for or approved is theirs.</summary>
    /// <param name="context">In the transaction that ends the undo; the caller saves.</param>
    /// <param name="operation">The undo.</param>
    /// <param name="subject">What it takes back.</param>
    /// <param name="complete">It came to its end.</param>
    /// <param name="now">The time.</param>
    /// <param name="cancellationToken">Gives up.</param>
    internal static async Task StopNightsAsync(
        RollcallContext context,
        Operation operation,
        Operation subject,
        bool complete,
        DateTimeOffset now,
        CancellationToken cancellationToken
    )
    {
        if (
            subject is not { Kind: OperationKind.FullSync or OperationKind.ChangesSync, Integration: { } kind }
            || JsonSerializer.Deserialize<UndoOptions>(operation.Options, OperationQueue.Json) is not { Patron: null }
        )
        {
            return;
        }

        var stopped = $"Operation {subject.Id} was undone {(complete ? "" : "in part ")}by {operation.RequestedBy}.";
        foreach (var row in await ConcernedAsync(context, operation.DistrictId, kind, cancellationToken))
        {
            row.State = JsonSerializer.Serialize(IntegrationService.StateOf(row) with { UndoneRun = subject.Id }, IntegrationService.Json);
            IntegrationService.StopDaily(
                row,
                $"{stopped} Syncing again would bring its changes back: find out what was wrong, then resume."
            );
            await OperationQueue.EndWaitingAsync(
                context,
                context
                    .Operations.Where(o => o.DistrictId == operation.DistrictId && o.Integration == row.Kind)
                    .Where(o => o.DailyDate != null && o.ApprovedAt == null && o.RequestedBy == DailySchedule.Actor),
                $"{stopped} That stopped Daily Operations before this one's turn came.",
                now,
                cancellationToken
            );
        }
    }

    /// <summary>What stays off is known when all is restored: whoever looks at the undo reads why.</summary>
    private static async Task WarnOfTenantAsync(
        RollcallContext context,
        Operation operation,
        string tenant,
        SyncCounts counts,
        List<WarningGroup> warnings,
        CancellationToken cancellationToken
    )
    {
        warnings.Add(
            new WarningGroup(
                "tenant-taken-back",
                $"ClassLink stays off: this installation's operator took tenant {tenant} back while the undo ran",
                1,
                "Patrons, links and matches are as they were before. Ask the operator to allow this district the tenant, then turn ClassLink on."
            )
        );
        var (counted, told) = (
            JsonSerializer.Serialize(counts with { Warnings = warnings.Sum(w => w.Count) }, OperationQueue.Json),
            JsonSerializer.Serialize(warnings, OperationQueue.Json)
        );
        await context
            .Operations.Where(o => o.DistrictId == operation.DistrictId && o.Id == operation.Id)
            .ExecuteUpdateAsync(
                s =>
                    s.SetProperty(o => o.Status, OperationStatus.CompletedWithWarnings)
                        .SetProperty(o => o.Counts, counted)
                        .SetProperty(o => o.Warnings, told),
                cancellationToken
            );
    }

    /// <summary>Asks again what a decision had answered, unless its patron had to stay: then the person is linked still.</summary>
    private static async Task ReopenAsync(
        RollcallContext context,
        Operation operation,
        Operation subject,
        CancellationToken cancellationToken
    )
    {
        var district = subject.DistrictId;
        foreach (
            var item in await context
                .ReviewItems.Where(r => r.DistrictId == district && r.DecisionOperationId == subject.Id)
                .ToListAsync(cancellationToken)
        )
        {
            if (
                await context.Patrons.AnyAsync(p => p.DistrictId == district && p.Guid == item.RosterId, cancellationToken)
                || (
                    await PatronAliases.FindAsync(
                        context.PatronLinks.Where(l => l.DistrictId == district),
                        item.RosterId,
                        cancellationToken
                    )
                ).Count > 0
            )
            {
                continue;
            }

            item.Status = ReviewStatus.Open;
            item.Reason = ReviewItem.OpenedAgain;
            item.OperationId = operation.Id;
            item.DecisionOperationId = null;
            item.DecidedAt = null;
            item.DecidedBy = null;
        }
    }
}
