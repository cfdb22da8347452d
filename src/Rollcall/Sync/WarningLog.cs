using Rollcall.Operations;

namespace Rollcall.Sync;

/// <summary>Groups warnings while a run works: a kind is said once, with its count and what to do.</summary>
internal sealed class WarningLog
{
    private readonly Dictionary<(string Code, string Detail), (string Message, long Count, string? Hint)> _groups = [];

    /// <summary>Counts a warning.</summary>
    /// <param name="code">Stable name of the kind.</param>
    /// <param name="message">What is wrong, without personal values.</param>
    /// <param name="hint">What to do.</param>
    /// <param name="count">How many at once.</param>
    /// <param name="detail">Splits a kind, such as by org; empty when it is one group.</param>
    public void Add(string code, string message, string? hint = null, long count = 1, string detail = "")
    {
        if (count <= 0)
        {
            return;
        }

        var key = (code, detail);
        _groups[key] = _groups.TryGetValue(key, out var have) ? have with { Count = have.Count + count } : (message, count, hint);
    }

    /// <summary>Forgets everything: the work that gave rise to it starts over.</summary>
    public void Clear() => _groups.Clear();

    public long Count => _groups.Values.Sum(g => g.Count);

    public IReadOnlyList<WarningGroup> Groups =>
        [
            .. _groups
                .OrderByDescending(g => g.Value.Count)
                .ThenBy(g => g.Key.Code, StringComparer.Ordinal)
                .ThenBy(g => g.Key.Detail, StringComparer.Ordinal)
                .Select(g => new WarningGroup(g.Key.Code, g.Value.Message, g.Value.Count, g.Value.Hint)),
        ];
}
