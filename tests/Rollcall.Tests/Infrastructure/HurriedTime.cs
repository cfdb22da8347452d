namespace Rollcall.Tests.Infrastructure;

/// <summary>A clock of another time in which waits of up to twenty seconds, as before a repeated request, end at once.</summary>
public sealed class HurriedTime(DateTimeOffset now) : TimeProvider
{
    private readonly TimeSpan _offset = now - System.GetUtcNow();

    public override DateTimeOffset GetUtcNow() => System.GetUtcNow() + _offset;

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) =>
        System.CreateTimer(
            callback,
            state,
            period == Timeout.InfiniteTimeSpan && dueTime > TimeSpan.Zero && dueTime < TimeSpan.FromSeconds(20) ? dueTime / 1000 : dueTime,
            period
        );
}
