using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Rollcall.Operations;

namespace Rollcall.Server.Worker;

/// <summary>Settles operations that have ended and sends notices, for as long as the server runs.</summary>
internal sealed class NoticeWorker(Aftermath aftermath, NoticeService notices, TimeProvider time, ILogger<NoticeWorker> logger)
    : BackgroundService
{
    private static readonly TimeSpan s_every = TimeSpan.FromSeconds(5);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                await aftermath.SettleAsync(stoppingToken);
                await notices.SendDueAsync(stoppingToken);
            }
            catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e)
            {
                // What is not settled or sent stays so, and is looked at again.
                logger.LogError("Notices cannot be looked after, trying again: {Message}", e.Message);
            }

            await Task.Delay(s_every, time, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }
}
