using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.Operations;
using Rollcall.Storage;

namespace Rollcall.Integrations;

/// <summary>Reads a whole roster for Readiness: that takes as long as a sync's reading, and nobody's request waits for it.</summary>
internal sealed class ReadinessHandler(RollcallDatabase database, OperationQueue queue, ReadinessService readiness) : IOperationHandler
{
    public bool Handles(OperationKind kind) => kind == OperationKind.Readiness;

    public async Task ExecuteAsync(OperationRun run, CancellationToken cancellationToken)
    {
        const string step = "Reading users";
        var operation = run.Operation;
        var kind = operation.Integration ?? throw new RollcallException("The operation names no roster service.");
        District district;
        await using (var context = database.CreateContext())
        {
            district = await context.Districts.AsNoTracking().SingleAsync(d => d.Id == operation.DistrictId, cancellationToken);
        }

        await run.ReportAsync(OperationStage.Pulling, step, 0, null);
        var read = await readiness.ReadAsync(
            district,
            kind,
            (done, total) => run.ReportAsync(OperationStage.Pulling, step, done, total),
            (operation.Id, operation.Fence),
            cancellationToken
        );
        await queue.FinishAsync(
            operation,
            OperationStatus.Completed,
            new SyncCounts { Read = read.RosterPeople },
            [],
            null,
            cancellationToken
        );
    }
}
