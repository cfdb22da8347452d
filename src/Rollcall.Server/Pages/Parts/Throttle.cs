using System.Collections.Concurrent;

namespace Rollcall.Server.Pages.Parts;

/// <summary>Slows down whoever tries many accounts from one address. The lock-out of single accounts is in the database; this is beside it.</summary>
internal sealed class Throttle(TimeProvider time)
{
    /// <summary>Many: a whole school may come from one address.</summary>
    public const int Most = 60;

    private static readonly TimeSpan s_window = TimeSpan.FromMinutes(10);
    private readonly ConcurrentDictionary<string, (DateTimeOffset Since, int Count)> _failures = new(StringComparer.Ordinal);

    public bool IsClosed(string? address) =>
        _failures.TryGetValue(address ?? "", out var seen) && seen.Since + s_window > time.GetUtcNow() && seen.Count >= Most;

    public void Failed(string? address)
    {
        var now = time.GetUtcNow();
        if (_failures.Count > 10_000)
        {
            foreach (var (key, seen) in _failures)
            {
                if (seen.Since + s_window <= now)
                {
                    _failures.TryRemove(key, out _);
                }
            }
        }

        _failures.AddOrUpdate(
            address ?? "",
            _ => (now, 1),
            (_, seen) => seen.Since + s_window <= now ? (now, 1) : (seen.Since, seen.Count + 1)
        );
    }
}
