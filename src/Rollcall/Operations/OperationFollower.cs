using Microsoft.EntityFrameworkCore;
using Rollcall.Storage;

namespace Rollcall.Operations;

/// <summary>Runs an operation to its end: works on it here when this process may, else follows the one that does.</summary>
internal sealed class OperationFollower(OperationQueue queue, OperationWorker worker, RollcallDatabase database, TimeProvider time)
{
    private static readonly TimeSpan s_poll = TimeSpan.FromMilliseconds(200);

    /// <param name="districtId">The district.</param>
    /// <param name="id">The operation.</param>
    /// <param name="progress">Called while it runs: stage, text, done, total (0 when unknown).</param>
    /// <param name="cancellationToken">Stops following; an operation that is worked on here is parked for another worker.</param>
    /// <returns>The operation as it ended.</returns>
    public Task<Operation> RunAsync(
        int districtId,
        long id,
        Action<OperationStage, string?, long, long>? progress,
        CancellationToken cancellationToken
    ) => RunAsync(districtId, id, progress, mayWork: true, cancellationToken);

    /// <summary>As <see cref="RunAsync(int, long, Action{OperationStage, string?, long, long}?, CancellationToken)"/>, but a worker works on it:
    /// for requests, which are confined to their district and end when whoever sent them goes away.</summary>
    public Task<Operation> FollowAsync(
        int districtId,
        long id,
        Action<OperationStage, string?, long, long>? progress,
        CancellationToken cancellationToken
    ) => RunAsync(districtId, id, progress, mayWork: false, cancellationToken);

    private async Task<Operation> RunAsync(
        int districtId,
        long id,
        Action<OperationStage, string?, long, long>? progress,
        bool mayWork,
        CancellationToken cancellationToken
    )
    {
        while (true)
        {
            var operation = await queue.GetAsync(districtId, id, cancellationToken);
            if (operation.Status is not (OperationStatus.Waiting or OperationStatus.Running))
            {
                return operation;
            }

            if (operation is { Status: OperationStatus.Waiting, NotBefore: { } due } && due > time.GetUtcNow())
            {
                // The night's own run, which somebody joined while it was at work: it failed for now.
                operation.Status = OperationStatus.Failed;
                return operation;
            }

            using (var mine = mayWork ? worker.TryBecomeWorker() : null)
            {
                if (mine is not null)
                {
                    // One of the district whose worker is gone is in the way, and perhaps no server is there to take it up.
                    if (
                        !await worker.WorkAsync(id, progress, cancellationToken)
                        && await InTheWayAsync(districtId, id, cancellationToken) is { } other
                    )
                    {
                        await worker.WorkAsync(other, progress, cancellationToken);
                    }

                    operation = await queue.GetAsync(districtId, id, cancellationToken);
                    if (operation.Status is not (OperationStatus.Waiting or OperationStatus.Running))
                    {
                        return operation;
                    }
                }
            }

            progress?.Invoke(operation.Stage, operation.StageText, operation.Done, operation.Total);
            await Task.Delay(s_poll, time, cancellationToken);
        }
    }

    private async Task<long?> InTheWayAsync(int districtId, long id, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        return await context
            .Operations.Where(o => o.DistrictId == districtId && o.Id != id && o.Status == OperationStatus.Running)
            .Select(o => (long?)o.Id)
            .FirstOrDefaultAsync(cancellationToken);
    }
}
