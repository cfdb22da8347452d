using System.Collections.Concurrent;

namespace Rollcall.Server.Watch;

/// <summary>When each part of this process last showed that it lives.</summary>
internal sealed class Pulse(TimeProvider time)
{
    public const string Worker = "worker";
    public const string Schedule = "schedule";

    private readonly ConcurrentDictionary<string, (long At, TimeSpan Silent)> _parts = new(StringComparer.Ordinal);

    /// <summary>From now on this part is missed when it is silent for so long.</summary>
    public void Expect(string part, TimeSpan silent) => _parts[part] = (time.GetTimestamp(), silent);

    public void Beat(string part)
    {
        if (_parts.TryGetValue(part, out var was))
        {
            _parts[part] = (time.GetTimestamp(), was.Silent);
        }
    }

    /// <summary>The parts that are expected, and for how long each has been silent when that is too long; null when it lives. Several of a
    /// kind ("worker 1", "worker 2") are one part, and the worst of them speaks for all.</summary>
    public IEnumerable<(string Part, TimeSpan? SilentFor)> Parts() =>
        _parts
            .Select(p => (p.Key, Silent: time.GetElapsedTime(p.Value.At) is var since && since > p.Value.Silent ? since : (TimeSpan?)null))
            .GroupBy(p => p.Key.Split(' ')[0], p => p.Silent)
            .OrderBy(g => g.Key, StringComparer.Ordinal)
            .Select(g => (g.Key, g.Max()));
}
