using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Rollcall.Operations;

namespace Rollcall.Server.Worker;

/// <summary>Works on operations for as long as the server runs. Stopping parks the one at hand for whoever comes next.</summary>
internal sealed class WorkerService(OperationWorker worker, TimeProvider time, ILogger<WorkerService> logger) : BackgroundService
{
    private static readonly TimeSpan s_poll = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan s_afterFault = TimeSpan.FromSeconds(5);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                if (!await worker.WorkAsync(null, null, stoppingToken))
                {
                    await Task.Delay(s_poll, time, stoppingToken);
                }
            }
            catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e)
            {
                // The database is away: the queue is still there when it comes back.
                logger.LogError("The queue cannot be read, trying again: {Message}", e.Message);
                await Task.Delay(s_afterFault, time, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }
}
