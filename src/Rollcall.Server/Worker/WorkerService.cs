using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Rollcall.Operations;
using Rollcall.Server.Watch;
using Rollcall.Storage;

namespace Rollcall.Server.Worker;

/// <summary>Works on operations for as long as the server runs: so many at once, and one more that people wait for, so that no night keeps
/// them waiting. Stopping parks those at hand for whoever comes next.</summary>
internal sealed class WorkerService : BackgroundService
{
    /// <summary>A worker that for so long has neither looked at the queue nor renewed the lease of what it works on is of no use. A roster service
    /// that keeps it waiting is no reason: the lease is renewed meanwhile.</summary>
    public static readonly TimeSpan Silent = TimeSpan.FromMinutes(20);

    private static readonly TimeSpan s_poll = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan s_afterFault = TimeSpan.FromSeconds(5);

    private readonly OperationWorker _worker;
    private readonly Pulse _pulse;
    private readonly TimeProvider _time;
    private readonly ILogger<WorkerService> _logger;
    private readonly List<(string Name, bool Nights)> _lanes;

    public WorkerService(OperationWorker worker, Pulse pulse, int parallel, TimeProvider time, ILogger<WorkerService> logger)
    {
        _worker = worker;
        _pulse = pulse;
        _time = time;
        _logger = logger;
        _lanes = [.. Enumerable.Range(1, parallel).Select(n => ($"{Pulse.Worker} {n}", true))];
        if (parallel > 1)
        {
            // With one at once (SQLite has but one writer) there is no room for a second beside it.
            _lanes.Add(($"{Pulse.Worker} for people", false));
        }

        // Missed from now on, also when it never begins.
        _lanes.ForEach(l => pulse.Expect(l.Name, Silent));
    }

    protected override Task ExecuteAsync(CancellationToken stoppingToken) =>
        Task.WhenAll(_lanes.Select(l => RunAsync(l.Name, l.Nights, stoppingToken)));

    private async Task RunAsync(string lane, bool nights, CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                var worked = await _worker.WorkAsync(null, null, stoppingToken, nights, () => _pulse.Beat(lane));

                // A lane that cannot read the queue is of no use, however often it tries.
                _pulse.Beat(lane);
                if (!worked)
                {
                    await Task.Delay(s_poll, _time, stoppingToken);
                }
            }
            catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e)
            {
                // The database is away: the queue is still there when it comes back.
                _logger.LogError("The queue cannot be read, trying again: {Message}", DatabaseErrors.Reason(e));
                await Task.Delay(s_afterFault, _time, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }
}
