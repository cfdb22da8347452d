using System.Globalization;
using Microsoft.Extensions.Logging;
using Rollcall.Storage;

namespace Rollcall.Operations;

/// <summary>Does the work of some kinds of operation.</summary>
internal interface IOperationHandler
{
    bool Handles(OperationKind kind);

    /// <summary>Works until the operation has ended, and writes its end. Faults may escape: the worker records them.</summary>
    Task ExecuteAsync(OperationRun run, CancellationToken cancellationToken);
}

/// <summary>A claimed operation at work: progress, lease and cancellation.</summary>
internal sealed class OperationRun(Operation operation, OperationQueue queue, TimeProvider time, CancellationTokenSource stop)
    : IAsyncDisposable
{
    private static readonly TimeSpan s_progressEvery = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan s_beatEvery = TimeSpan.FromSeconds(5);
    private readonly SemaphoreSlim _gate = new(1);
    private static readonly TimeSpan s_quietFor = TimeSpan.FromSeconds(15);
    private long _lastWrite = time.GetTimestamp();
    private long _lastReport = time.GetTimestamp();
    private ITimer? _timer;
    private OperationStage _stage;
    private string? _text;
    private long _done;
    private long _total;

    // One request waits a quarter of an hour in all, and the longest statement ten minutes.
    private static readonly TimeSpan s_hung = TimeSpan.FromHours(1);

    private readonly Pace _pace = new(time);

    public Operation Operation { get; set; } = operation;

    /// <summary>Somebody asked to cancel.</summary>
    public bool Cancelled { get; private set; }

    /// <summary>Another worker has the operation.</summary>
    public bool Lost { get; private set; }

    /// <summary>Follows progress in this process too, beside the row.</summary>
    public Action<OperationStage, string?, long, long>? Watcher { get; set; }

    /// <summary>Hears of every renewed lease: the process lives, though the work has nothing to report. Work that has not for an hour hangs.</summary>
    public Action? Alive { get; set; }

    /// <summary>Measures the stages; null before the work begins.</summary>
    public OperationMeters.Work? Measured { get; set; }

    public void Start()
    {
        _lastReport = time.GetTimestamp();
        _timer = time.CreateTimer(_ => _ = BeatAsync(), null, s_beatEvery, s_beatEvery);
    }

    /// <summary>Reports progress; the row is written at most twice a second.</summary>
    public async ValueTask ReportAsync(OperationStage stage, string? text, long done, long? total)
    {
        var changed = stage != _stage || !string.Equals(text, _text, StringComparison.Ordinal);
        (_stage, _text, _done, _total) = (stage, text, done, total ?? 0);
        _lastReport = time.GetTimestamp();
        _pace.Report(stage, text, done);
        Watcher?.Invoke(stage, text, done, total ?? 0);
        Measured?.Enter(stage);
        if (changed || time.GetElapsedTime(_lastWrite) > s_progressEvery)
        {
            await BeatAsync();
        }
    }

    /// <summary>What is being done. A reader hears from the run with every page: where it has not for a while, a roster service keeps it
    /// waiting, and whoever looks on shall know whom to ask.</summary>
    private string? TextNow() =>
        _text is not null
        && _stage == OperationStage.Pulling
        && Operation.Integration is Integrations.IntegrationKind.ClassLink or Integrations.IntegrationKind.OneRoster
        && time.GetElapsedTime(_lastReport) is var waited
        && waited >= s_quietFor
            ? $"{_text}{Pace.Waits}{(waited.TotalMinutes < 2 ? $"{waited.TotalSeconds:0} seconds" : $"{Math.Floor(waited.TotalMinutes):0} minutes")} now"
            : _text;

    private async Task BeatAsync()
    {
        if (!await _gate.WaitAsync(0))
        {
            return;
        }

        try
        {
            _lastWrite = time.GetTimestamp();
            var (mine, cancel) = await queue.BeatAsync(Operation, _stage, TextNow(), _done, _total, _pace.Rate, CancellationToken.None);
            Lost |= !mine;
            if (mine && time.GetElapsedTime(_lastReport) < s_hung)
            {
                Alive?.Invoke();
            }

            Cancelled |= cancel;
            if (Lost || Cancelled)
            {
                await stop.CancelAsync();
            }
        }
        catch (Exception e) when (e is System.Data.Common.DbException or ObjectDisposedException or TimeoutException)
        {
            // The database is away for a moment: the lease runs on, and the next write decides.
        }
        finally
        {
            _gate.Release();
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_timer is not null)
        {
            await _timer.DisposeAsync();
        }

        await _gate.WaitAsync();
        _gate.Dispose();
    }
}

/// <summary>Claims operations and works on them, one at a time for each caller.</summary>
internal sealed class OperationWorker(
    RollcallDatabase database,
    OperationQueue queue,
    IEnumerable<IOperationHandler> handlers,
    TimeProvider time,
    ILogger<OperationWorker> logger
)
{
    public const string LockFile = "worker.lock";

    /// <summary>How what surrounds the log lines of an operation calls its number.</summary>
    internal const string ScopeKey = "Operation";

    // Together shorter than a lease, so that nobody takes over meanwhile.
    private static readonly TimeSpan[] s_retryAfter = [TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(5), TimeSpan.FromSeconds(15)];

    private readonly OperationKind[] _kinds = [.. Enum.GetValues<OperationKind>().Where(k => handlers.Any(h => h.Handles(k)))];
    private readonly string _node = $"{Environment.MachineName}:{Environment.ProcessId}";

    /// <summary>On SQLite one process alone works: the holder of this lock. On PostgreSQL every process may.</summary>
    /// <returns>The lock; null when another process has it. On PostgreSQL a lock of nothing.</returns>
    public IDisposable? TryBecomeWorker()
    {
        IDisposable? taken = database.IsPostgres ? new NoLock() : FileLock.TryAcquire(Path.Combine(database.DataFolder, LockFile));
        if (taken is not null)
        {
            try
            {
                database.DeleteDeadDrafts(time.GetUtcNow());
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or RollcallException)
            {
                // No work waits for that. An erasure names what is left.
                logger.LogWarning(e, "What a killed backup or restore left in the data folder could not be deleted");
            }
        }

        return taken;
    }

    /// <summary>Works on one operation, if there is one to claim.</summary>
    /// <param name="only">This one alone; null for any.</param>
    /// <param name="watcher">Follows progress; null for nobody.</param>
    /// <param name="cancellationToken">Parks the operation for another worker.</param>
    /// <param name="nights">Daily Operations too; otherwise what people wait for alone.</param>
    /// <param name="alive">Hears of every renewed lease; null for nobody.</param>
    /// <returns>False when there was nothing to claim.</returns>
    public async Task<bool> WorkAsync(
        long? only,
        Action<OperationStage, string?, long, long>? watcher,
        CancellationToken cancellationToken,
        bool nights = true,
        Action? alive = null
    )
    {
        var operation = await queue.ClaimAsync(_node, only, aloneHere: !database.IsPostgres, cancellationToken, nights, _kinds);
        if (operation is null)
        {
            return false;
        }

        var district = await queue.DistrictCodeAsync(operation, cancellationToken);
        using var scope = logger.BeginScope("District {District}, operation {Operation}", district, operation.Id);
        using var measured = OperationMeters.Begin(operation, district, time);
        var reason = await RunAsync(operation, measured, watcher, alive, cancellationToken);
        var left = await queue.GetAsync(operation.DistrictId, operation.Id, CancellationToken.None);
        measured.Left(left);
        LogLeft(operation, left, reason);
        return true;
    }

    /// <summary>One line of how it was left, for whoever reads the log instead of the pages. It names no people, and no text of a log or a plan.</summary>
    private void LogLeft(Operation operation, Operation left, string? reason)
    {
        // What waits again was given up with the number after the one that it was claimed by; beyond that it is another worker's, whose log has it.
        if (left.Status == OperationStatus.Running || left.Fence > operation.Fence + (left.Status == OperationStatus.Waiting ? 1 : 0))
        {
            return;
        }

        var kind = OperationQueue.KindWord(operation.Kind);
        switch (left.Status)
        {
            case OperationStatus.Waiting when left.FailedForNow:
                logger.LogInformation(
                    "Operation {Id} ({Kind}) failed for now, and is tried again at {When:u}: {Reason}",
                    operation.Id,
                    kind,
                    left.NotBefore,
                    reason
                );
                break;
            case OperationStatus.Waiting:
                logger.LogInformation("Operation {Id} ({Kind}) is parked: a worker goes on with it where it is", operation.Id, kind);
                break;
            case OperationStatus.Failed:
                logger.LogWarning("Operation {Id} ({Kind}) failed: {Reason}", operation.Id, kind, reason ?? SeeThere(operation));
                break;
            default:
                var counts = OperationQueue.CountsOf(left);
                logger.LogInformation(
                    "Operation {Id} ({Kind}) ended: {Status}; {Read} read, {Created} created, {Updated} updated, {Transferred} transferred, {Reactivated} reactivated, {Removed} removed, {Review} in Review, {Held} held",
                    operation.Id,
                    kind,
                    OperationQueue.StatusWord(left.Status),
                    counts.Read,
                    counts.Created,
                    counts.Updated,
                    counts.Transferred,
                    counts.Reactivated,
                    counts.Removed,
                    counts.Review,
                    counts.Held
                );
                break;
        }
    }

    private static string SeeThere(Operation operation) =>
        string.Create(CultureInfo.InvariantCulture, $"'rollcall operation show {operation.Id}' says why");

    /// <summary>Why an operation failed, as far as it names nobody: what it says on its page may be of one person, or quote what a service
    /// answered.</summary>
    private static string ReasonFor(Operation operation, Exception e) =>
        e switch
        {
            OneRoster.RosterException roster => Told(roster),
            RollcallException { IsOfPerson: false }
                when operation.Kind
                    is OperationKind.FullSync
                        or OperationKind.ChangesSync
                        or OperationKind.Readiness
                        or OperationKind.Retention => e.Message.ReplaceLineEndings(" "),
            RollcallException => SeeThere(operation),
            IOException => "a file could not be read or written",
            _ when DatabaseErrors.IsFault(e) => "the database refused the work",
            _ => $"an unexpected fault ({e.GetType().Name})",
        };

    private static string Told(OneRoster.RosterException e)
    {
        var what = e.Fault switch
        {
            OneRoster.RosterFault.Unreachable => "the roster cannot be reached",
            OneRoster.RosterFault.CredentialsRefused => "the roster service refuses the credentials",
            OneRoster.RosterFault.AccessDisabled => "the roster service denies access",
            OneRoster.RosterFault.NotARoster => "no roster is at the address",
            OneRoster.RosterFault.Incomplete => "the roster could not be read whole",
            OneRoster.RosterFault.ClockSkew => "this machine's clock and the roster service's differ too much",
            OneRoster.RosterFault.TooLarge => "an answer of the roster service is too large",
            _ => "the roster service refuses the request",
        };
        var why =
            e.StatusCode is { } status ? string.Create(CultureInfo.InvariantCulture, $" (status {status})")
            : e.InnerException is HttpRequestException or System.Net.Sockets.SocketException
                ? $" ({Patrons.Text.Cut(e.GetBaseException().Message.ReplaceLineEndings(" ").TrimEnd('.'), 200)})"
            : e.InnerException is OperationCanceledException ? " (no answer in time)"
            : "";
        return what + why;
    }

    /// <returns>Why it did not come to a good end, naming nobody; null when there is nothing to say.</returns>
    private async Task<string?> RunAsync(
        Operation operation,
        OperationMeters.Work measured,
        Action<OperationStage, string?, long, long>? watcher,
        Action? alive,
        CancellationToken cancellationToken
    )
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        await using var run = new OperationRun(operation, queue, time, stop)
        {
            Watcher = watcher,
            Alive = alive,
            Measured = measured,
        };
        run.Start();
        try
        {
            if (await queue.ForbiddenNightAsync(operation, cancellationToken) is { } why)
            {
                await queue.FinishAsync(operation, OperationStatus.Cancelled, null, null, why, CancellationToken.None);
                return why;
            }

            if (operation.Takeovers >= MostTakeovers)
            {
                logger.LogError(
                    "Operation {Id} has ended {Times} workers in a row: it is not begun again",
                    operation.Id,
                    operation.Takeovers
                );
                await queue.FinishAsync(operation, OperationStatus.Failed, null, null, EndsWorkers, CancellationToken.None);
                return "its worker ended in the middle too often";
            }

            await ExecuteAsync(handlers.First(h => h.Handles(operation.Kind)), run, stop.Token);
        }
        catch (Exception) when (run.Lost)
        {
            logger.LogWarning("Operation {Id} was taken over by another worker", operation.Id);
        }
        catch (Sync.Apply.FencedOffException)
        {
            logger.LogWarning("Operation {Id} was taken over by another worker", operation.Id);
        }
        catch (OperationCanceledException) when (run.Cancelled)
        {
            await queue.FinishAsync(operation, OperationStatus.Cancelled, null, null, WasCancelled, CancellationToken.None);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            await queue.ParkAsync(operation, CancellationToken.None);
        }
        catch (Exception e)
        {
            await FailAsync(operation, e);
            return ReasonFor(operation, e);
        }

        return null;
    }

    /// <summary>Works on the operation, and goes on where it stopped when the database fails for a moment: every step can be taken up
    /// again, as after a crash.</summary>
    private async Task ExecuteAsync(IOperationHandler handler, OperationRun run, CancellationToken cancellationToken)
    {
        for (var attempt = 0; ; attempt++)
        {
            try
            {
                if (attempt > 0)
                {
                    var now = await queue.GetAsync(run.Operation.DistrictId, run.Operation.Id, cancellationToken);
                    if (now.Status != OperationStatus.Running || now.Fence != run.Operation.Fence)
                    {
                        // The end was written, though its answer was lost; or another worker goes on.
                        return;
                    }

                    run.Operation = now;
                }

                await handler.ExecuteAsync(run, cancellationToken);
                return;
            }
            catch (Exception e)
                when (attempt < s_retryAfter.Length && DatabaseErrors.IsFault(e) && !cancellationToken.IsCancellationRequested)
            {
                logger.LogWarning(
                    "The database failed operation {Id}, going on in {Wait}: {Message}",
                    run.Operation.Id,
                    s_retryAfter[attempt],
                    e.Message
                );
                await Task.Delay(s_retryAfter[attempt], time, cancellationToken);
            }
        }
    }

    /// <summary>Pauses between the tries of a night: an outage of minutes costs minutes, one of hours is over by school time.</summary>
    internal static readonly IReadOnlyList<TimeSpan> RetryPauses =
    [
        TimeSpan.FromMinutes(10),
        TimeSpan.FromMinutes(30),
        TimeSpan.FromHours(1),
        TimeSpan.FromHours(2),
        TimeSpan.FromHours(4),
    ];

    /// <summary>Workers that may end in the middle of an operation, one after the other, before it is begun by no other: each had got no further than
    /// the one before. One that takes its process down would do so on every node for ever, and nobody would hear of it.</summary>
    internal const int MostTakeovers = 5;

    private const string EndsWorkers =
        "Its worker ended in the middle five times in a row, and got no further: it is not begun again. Nothing is half-written. Look into the servers' logs and those of their machines (memory that ran out, a process that was killed), then run it again.";

    private const string WasCancelled = "Cancelled. What had been applied before stays.";

    /// <summary>What may be over by itself. Wrong credentials or settings are not.</summary>
    private static bool MayPass(Exception e) =>
        e switch
        {
            OneRoster.RosterException roster => roster.Fault is OneRoster.RosterFault.Unreachable or OneRoster.RosterFault.Incomplete,
            RollcallException => false,
            IOException or TimeoutException => true,
            _ => DatabaseErrors.IsFault(e),
        };

    private async Task FailAsync(Operation operation, Exception e)
    {
        var message = e switch
        {
            RollcallException or OneRoster.RosterException => e.Message,
            IOException => $"A file could not be read or written: {e.Message.TrimEnd('.')}. Check the disk, then run it again.",
            _ when DatabaseErrors.IsFault(e) =>
                $"The database refused the work: {e.Message.ReplaceLineEndings(" ").TrimEnd('.')}. Nothing is half-written; run it again.",
            _ =>
                $"An unexpected fault ended the operation ({e.GetType().Name}: {e.Message.ReplaceLineEndings(" ")}). Nothing is half-written; run it again, and report it if it stays.",
        };
        if (e is not (RollcallException or OneRoster.RosterException))
        {
            logger.LogError(e, "Operation {Id} failed", operation.Id);
        }

        var isNight = string.Equals(operation.RequestedBy, DailySchedule.Actor, StringComparison.Ordinal);
        if (isNight && operation.Attempts < RetryPauses.Count && MayPass(e))
        {
            if (!await queue.RetryLaterAsync(operation, RetryPauses[operation.Attempts], message, CancellationToken.None))
            {
                // Somebody cancelled it in its last moment. If another worker has it instead, this ends nothing.
                await queue.FinishAsync(operation, OperationStatus.Cancelled, null, null, WasCancelled, CancellationToken.None);
            }

            return;
        }

        if (!isNight && operation.ApprovedAt is null && MayPass(e))
        {
            // It fails before their eyes. A night that joined it goes on trying, as if they had not asked: after the pause it was in.
            var pause = RetryPauses[Math.Clamp(operation.Attempts - 1, 0, RetryPauses.Count - 1)];
            await queue.FailBesideNightAsync(operation, pause, message, CancellationToken.None);
            return;
        }

        await queue.FinishAsync(operation, OperationStatus.Failed, null, null, message, CancellationToken.None);
    }

    private sealed class NoLock : IDisposable
    {
        public void Dispose()
        {
            // PostgreSQL's lease decides.
        }
    }
}
