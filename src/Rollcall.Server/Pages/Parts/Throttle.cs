using System.Collections.Concurrent;

namespace Rollcall.Server.Pages.Parts;

/// <summary>
/// Slows down whoever tries many accounts from one address, or begins many sign-ins with ClassLink and ends none. The lock-out of single accounts
/// is in the database; this is beside it.
/// </summary>
internal sealed class Throttle(TimeProvider time)
{
    /// <summary>Failures. Many: a whole school may come from one address.</summary>
    public const int Most = 60;

    /// <summary>
    /// Sign-ins with ClassLink that are under way or came to nothing: each is a row, and a question to ClassLink. All of a large school may
    /// begin theirs in the same minutes, and each that succeeds is taken off again.
    /// </summary>
    public const int MostBegun = 2_000;

    private static readonly TimeSpan s_window = TimeSpan.FromMinutes(10);
    private readonly Counter _failures = new(Most, time);
    private readonly Counter _begun = new(MostBegun, time);

    public bool IsClosed(string? address) => _failures.IsFull(address);

    public void Failed(string? address) => _failures.Add(address);

    /// <summary>Counts a sign-in with ClassLink.</summary>
    /// <returns>False when this address has to wait.</returns>
    public bool Begins(string? address)
    {
        if (_begun.IsFull(address))
        {
            return false;
        }

        _begun.Add(address);
        return true;
    }

    /// <summary>One that was begun came to its end.</summary>
    public void Succeeded(string? address) => _begun.TakeOff(address);

    private sealed class Counter(int most, TimeProvider time)
    {
        private readonly ConcurrentDictionary<string, (DateTimeOffset Since, int Count)> _seen = new(StringComparer.Ordinal);

        public bool IsFull(string? address) =>
            _seen.TryGetValue(address ?? "", out var seen) && seen.Since + s_window > time.GetUtcNow() && seen.Count >= most;

        public void Add(string? address)
        {
            var now = time.GetUtcNow();
            if (_seen.Count > 10_000)
            {
                foreach (var (key, seen) in _seen)
                {
                    if (seen.Since + s_window <= now)
                    {
                        _seen.TryRemove(key, out _);
                    }
                }
            }

            _seen.AddOrUpdate(
                address ?? "",
                _ => (now, 1),
                (_, seen) => seen.Since + s_window <= now ? (now, 1) : (seen.Since, seen.Count + 1)
            );
        }

        public void TakeOff(string? address)
        {
            if (_seen.TryGetValue(address ?? "", out var seen) && seen.Count > 0)
            {
                // Of two at once one may not count: nobody has to wait for that.
                _seen.TryUpdate(address ?? "", (seen.Since, seen.Count - 1), seen);
            }
        }
    }
}
