using Microsoft.Extensions.Logging;
using Rollcall.Storage;

namespace Rollcall.Districts;

/// <summary>What is done for one district after the other, where the trouble of one must not keep the others waiting.</summary>
internal static class EveryDistrict
{
    /// <summary>Does it for all. What fails for one is logged, and the next one's turn comes.</summary>
    /// <param name="all">Everything to look at.</param>
    /// <param name="of">Whose it is.</param>
    /// <param name="act">What is done.</param>
    /// <param name="logger">Is told of what fails.</param>
    /// <param name="what">What is looked for, in words.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <param name="alive">Hears of each for which it was done.</param>
    /// <exception cref="InvalidOperationException">It failed for everybody: that is no trouble of a district.</exception>
    public static async Task DoAsync<T>(
        IReadOnlyCollection<T> all,
        Func<T, District> of,
        Func<T, Task> act,
        ILogger logger,
        string what,
        CancellationToken cancellationToken,
        Action? alive = null
    )
    {
        var failed = 0;
        foreach (var item in all)
        {
            try
            {
                await act(item);
                alive?.Invoke();
            }
            catch (Exception e) when (!cancellationToken.IsCancellationRequested)
            {
                var why = DatabaseErrors.Reason(e);
                logger.LogError("District {District}: it cannot be seen {What}, trying again: {Message}", of(item).Code, what, why);
                if (++failed == all.Count)
                {
                    throw new InvalidOperationException($"It cannot be seen {what}: {why}", e);
                }
            }
        }
    }
}
