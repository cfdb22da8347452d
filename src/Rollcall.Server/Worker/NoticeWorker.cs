using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Rollcall.Operations;
using Rollcall.Storage;

namespace Rollcall.Server.Worker;

/// <summary>Settles operations that have ended and sends notices, for as long as the server runs. Each goes its own way: a mail server that takes
/// connections and says nothing keeps neither webhooks waiting nor a district that has to be set aside.</summary>
internal sealed class NoticeWorker(Aftermath aftermath, NoticeService notices, TimeProvider time, ILogger<NoticeWorker> logger)
    : BackgroundService
{
    private static readonly TimeSpan s_every = TimeSpan.FromSeconds(5);

    protected override Task ExecuteAsync(CancellationToken stoppingToken) =>
        Task.WhenAll(
            RepeatAsync("Operations that ended cannot be settled", aftermath.SettleAsync, stoppingToken),
            RepeatAsync("E-mails cannot be sent", stop => notices.SendDueAsync(NoticeChannel.Email, stop), stoppingToken),
            RepeatAsync("Webhooks cannot be sent", stop => notices.SendDueAsync(NoticeChannel.Webhook, stop), stoppingToken)
        );

    private async Task RepeatAsync(string trouble, Func<CancellationToken, Task<int>> work, CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                await work(stoppingToken);
            }
            catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e)
            {
                // What is not settled or sent stays so, and is looked at again.
                logger.LogError("{Trouble}, trying again: {Message}", trouble, DatabaseErrors.Reason(e));
            }

            await Task.Delay(s_every, time, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }
}
