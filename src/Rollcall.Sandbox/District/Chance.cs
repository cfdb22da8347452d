namespace Rollcall.Sandbox.District;

/// <summary>A small generator of our own (SplitMix64): the framework may change its numbers between versions, a seed must not.</summary>
internal sealed class Chance(ulong seed)
{
    private ulong _state = seed;

    public static ulong Mix(ulong x)
    {
        x ^= x >> 30;
        x *= 0xbf58476d1ce4e5b9;
        x ^= x >> 27;
        x *= 0x94d049bb133111eb;
        return x ^ (x >> 31);
    }

    public int Below(int bound) => (int)(Next() % (uint)bound);

    public bool Percent(double percent) => Next() % 100_000 < percent * 1000;

    /// <summary>The whole part, and one more as often as the fraction says.</summary>
    public int Round(double expected) => (int)expected + (Next() % 1_000_000 < (expected - (int)expected) * 1_000_000 ? 1 : 0);

    public T Of<T>(T[] items) => items[Below(items.Length)];

    private ulong Next()
    {
        _state += 0x9e3779b97f4a7c15;
        return Mix(_state);
    }
}
