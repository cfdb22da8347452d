namespace Rollcall.Sync;

/// <summary>Barcodes that change hands: whoever takes one that somebody has can do so only where that one lets go of it. Pure.</summary>
internal static class BarcodeChain
{
    /// <summary>Takes out whoever waits for one who does not move, and so all who wait for them.</summary>
    /// <param name="moving">Who lets go of a barcode for another one; those who cannot are taken out.</param>
    /// <param name="waits">Who waits for whose barcode.</param>
    /// <param name="isFree">Whether somebody lets go of their barcode though they are not among those who move.</param>
    /// <returns>How many were looked at: once those who wait, and once more those who are taken out.</returns>
    public static long Break<T>(HashSet<T> moving, IReadOnlyCollection<(T Who, T Holder)> waits, Func<T, bool> isFree)
        where T : notnull
    {
        long steps = 0;
        var behind = waits.ToLookup(w => w.Holder, w => w.Who);
        var stuck = new Queue<T>();
        foreach (var (who, holder) in waits)
        {
            steps++;
            if (!moving.Contains(holder) && !isFree(holder))
            {
                stuck.Enqueue(who);
            }
        }

        while (stuck.TryDequeue(out var who))
        {
            steps++;
            if (!moving.Remove(who) || isFree(who))
            {
                continue;
            }

            foreach (var next in behind[who])
            {
                stuck.Enqueue(next);
            }
        }

        return steps;
    }
}
