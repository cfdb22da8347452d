namespace Rollcall.Bench;

/// <summary>The clock of a district that has come so many days further: always an afternoon, so that what changed on a day lies before it,
/// and what is asked for the next day is what changed since.</summary>
/// <param name="day">Days since the bench began.</param>
internal sealed class DayClock(Func<int> day) : TimeProvider
{
    public override DateTimeOffset GetUtcNow()
    {
        var now = base.GetUtcNow();
        return new DateTimeOffset(now.UtcDateTime.Date, TimeSpan.Zero).AddDays(day()).AddHours(12) + (now.TimeOfDay / 4);
    }
}
