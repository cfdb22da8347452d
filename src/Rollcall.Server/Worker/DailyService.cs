using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Retention;
using Rollcall.Server.Watch;
using Rollcall.Storage;

namespace Rollcall.Server.Worker;

/// <summary>Looks at the clock for Daily Operations and retention for as long as the server runs, and beside that for nodes that have stopped while
/// others wait for them.</summary>
internal sealed class DailyService(
    DailySchedule schedule,
    RetentionService retention,
    ReadinessService readiness,
    StalledCopies stalled,
    NodeClock clock,
    Pulse pulse,
    TimeProvider time,
    ILogger<DailyService> logger
) : BackgroundService
{
    /// <summary>Several looks in a row have failed.</summary>
    public static readonly TimeSpan Silent = TimeSpan.FromSeconds(90);

    private static readonly TimeSpan s_every = TimeSpan.FromSeconds(20);
    private static readonly TimeSpan s_tidyEvery = TimeSpan.FromHours(1);
    private bool _clockWrong;

    protected override Task ExecuteAsync(CancellationToken stoppingToken) =>
        Task.WhenAll(WatchClockAsync(stoppingToken), WatchNodesAsync(stoppingToken));

    /// <summary>By itself: what is due may be kept waiting by the very session that is to be ended.</summary>
    private async Task WatchNodesAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            await TryAsync(
                "Sessions of nodes that have stopped cannot be looked for",
                async () =>
                {
                    foreach (var session in await stalled.EndAsync(stoppingToken))
                    {
                        logger.LogWarning(
                            "PostgreSQL's session of {Session} was ended: it had stopped in the middle of writing, and others waited for it",
                            session
                        );
                    }
                },
                stoppingToken
            );
            await Task.Delay(StalledCopies.Every, time, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task WatchClockAsync(CancellationToken stoppingToken)
    {
        long? tidied = null;
        while (!stoppingToken.IsCancellationRequested)
        {
            // Each for itself: what one of them cannot do keeps no other waiting.
            var wrong = await IsClockWrongAsync(stoppingToken);
            if (wrong || await QueueAsync(stoppingToken))
            {
                Beat();
            }

            if (!wrong && !(tidied is { } last && time.GetElapsedTime(last) < s_tidyEvery) && await TidyAsync(stoppingToken))
            {
                tidied = time.GetTimestamp();
            }

            await Task.Delay(s_every, time, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>A node whose clock is wrong begins no night and removes nothing by age. It says so once, and once more when that is put right.</summary>
    private async Task<bool> IsClockWrongAsync(CancellationToken stoppingToken)
    {
        string? why = null;
        var compared = await TryAsync(
            "The clock cannot be compared with the database's",
            async () => why = await clock.WhyNotAsync(stoppingToken),
            stoppingToken
        );
        if (!compared)
        {
            return _clockWrong;
        }

        if (why is not null && !_clockWrong)
        {
            logger.LogError("This machine's clock is {Why}: it begins no nights and no retention before that is put right", why);
        }
        else if (why is null && _clockWrong)
        {
            logger.LogInformation("This machine's clock agrees with the database's again");
        }

        return _clockWrong = why is not null;
    }

    private async Task<bool> QueueAsync(CancellationToken stoppingToken)
    {
        var looked = await TryAsync(
            "Daily Operations cannot look what is due",
            async () =>
            {
                foreach (var id in await schedule.EnqueueDueAsync(Beat, stoppingToken))
                {
                    logger.LogInformation("Daily Operations queued operation {Id}", id);
                }
            },
            stoppingToken
        );
        return await TryAsync(
                "Retention cannot look what is due",
                async () =>
                {
                    foreach (var id in await retention.EnqueueDueAsync(Beat, stoppingToken))
                    {
                        logger.LogInformation("Retention queued operation {Id}", id);
                    }
                },
                stoppingToken
            ) && looked;
    }

    /// <summary>After each district, too: where hundreds are due at once, queueing them takes longer than a schedule may be silent.</summary>
    private void Beat() => pulse.Beat(Pulse.Schedule);

    private async Task<bool> TidyAsync(CancellationToken stoppingToken)
    {
        const string trouble = "What has had its time cannot be tidied away";
        var tidied = await TryAsync(trouble, () => retention.TidyAsync(stoppingToken), stoppingToken);
        return await TryAsync(trouble, () => readiness.TidyAsync(stoppingToken), stoppingToken) && tidied;
    }

    private async Task<bool> TryAsync(string trouble, Func<Task> look, CancellationToken stoppingToken)
    {
        try
        {
            await look();
            return true;
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            return false;
        }
        catch (Exception e)
        {
            // The database is away: what is due stays due until it is back.
            logger.LogError("{Trouble}, trying again: {Message}", trouble, DatabaseErrors.Reason(e));
            return false;
        }
    }
}
