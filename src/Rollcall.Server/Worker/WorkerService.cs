using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Rollcall.Operations;
using Rollcall.Server.Watch;

namespace Rollcall.Server.Worker;

/// <summary>Works on operations for as long as the server runs. Stopping parks the one at hand for whoever comes next.</summary>
internal sealed class WorkerService(OperationWorker worker, Pulse pulse, TimeProvider time, ILogger<WorkerService> logger)
    : BackgroundService
{
    /// <summary>Longer than a roster service may ask to be left alone: a worker that is silent for so long hangs.</summary>
    public static readonly TimeSpan Silent = TimeSpan.FromMinutes(20);

    private static readonly TimeSpan s_poll = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan s_afterFault = TimeSpan.FromSeconds(5);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                pulse.Beat(Pulse.Worker);
                if (!await worker.WorkAsync(null, (_, _, _, _) => pulse.Beat(Pulse.Worker), stoppingToken))
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
