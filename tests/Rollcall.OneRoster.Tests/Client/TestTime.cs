namespace Rollcall.OneRoster.Tests.Client;

/// <summary>A clock on which waits pass at once, and are written down. Timers as long as <see cref="TimeOut"/> are taken for
/// time-outs and fire only when told.</summary>
public sealed class TestTime : TimeProvider
{
    public static readonly TimeSpan TimeOut = TimeSpan.FromSeconds(77);
    private readonly Lock gate = new();
    private readonly List<Timer> timeOuts = [];
    private DateTimeOffset now = new(2026, 1, 15, 12, 0, 0, TimeSpan.Zero);

    public List<TimeSpan> Waits { get; } = [];

    public override DateTimeOffset GetUtcNow()
    {
        lock (gate)
        {
            return now;
        }
    }

    public void Set(DateTimeOffset time)
    {
        lock (gate)
        {
            now = time;
        }
    }

    public void FireTimeOuts()
    {
        Timer[] all;
        lock (gate)
        {
            all = [.. timeOuts];
            timeOuts.Clear();
        }

        foreach (var timer in all)
        {
            timer.Fire();
        }
    }

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new Timer(callback, state);
        lock (gate)
        {
            if (dueTime == TimeOut)
            {
                timeOuts.Add(timer);
            }
            else if (dueTime != Timeout.InfiniteTimeSpan)
            {
                Waits.Add(dueTime);
                now += dueTime;
                ThreadPool.QueueUserWorkItem(_ => timer.Fire());
            }
        }

        return timer;
    }

    private sealed class Timer(TimerCallback callback, object? state) : ITimer
    {
        private int done;

        public void Fire()
        {
            if (Interlocked.Exchange(ref done, 1) == 0)
            {
                callback(state);
            }
        }

        public bool Change(TimeSpan dueTime, TimeSpan period) => true;

        public void Dispose() => Interlocked.Exchange(ref done, 1);

        public ValueTask DisposeAsync()
        {
            Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
