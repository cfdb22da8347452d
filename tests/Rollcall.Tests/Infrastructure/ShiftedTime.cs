namespace Rollcall.Tests.Infrastructure;

/// <summary>A clock that runs as usual, but in another time: timers and delays work.</summary>
public sealed class ShiftedTime(DateTimeOffset now) : TimeProvider
{
    private TimeSpan _offset = now - System.GetUtcNow();

    public override DateTimeOffset GetUtcNow() => System.GetUtcNow() + _offset;

    public void MoveTo(DateTimeOffset instant) => _offset = instant - System.GetUtcNow();
}
