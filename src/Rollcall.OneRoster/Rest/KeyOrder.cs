namespace Rollcall.OneRoster.Rest;

/// <summary>Proves that no key comes twice without remembering one: keys that rise strictly in any one order are all different. Pages
/// are asked for sorted, and most servers sort in one of these orders; what a page before showed is enough to go on.</summary>
internal sealed class KeyOrder
{
    private static readonly Comparison<string>[] s_orders =
    [
        string.CompareOrdinal,
        (a, b) => string.Compare(a, b, StringComparison.OrdinalIgnoreCase),
        // Numbers in the order of numbers.
        (a, b) => a.Length != b.Length ? a.Length.CompareTo(b.Length) : string.CompareOrdinal(a, b),
    ];

    private int held = (1 << s_orders.Length) - 1;
    private string? last;

    /// <summary>Whether the keys of a page go on rising in one of the orders. After the first false nothing is proven any more.</summary>
    /// <param name="records">The page.</param>
    /// <param name="keyed">How many of its records have a key.</param>
    public bool Rises<T>(List<T> records, out int keyed)
        where T : Model.RosterRecord
    {
        keyed = 0;
        foreach (var record in records)
        {
            if (record.SourcedId is not { } id)
            {
                continue;
            }

            keyed++;
            if (last is not null)
            {
                for (var i = 0; i < s_orders.Length; i++)
                {
                    if ((held & (1 << i)) != 0 && s_orders[i](last, id) >= 0)
                    {
                        held &= ~(1 << i);
                    }
                }
            }

            last = id;
        }

        return held != 0;
    }

    /// <summary>Settles for one order, since each that is left costs a comparison a record.</summary>
    public void Settle() => held &= -held;
}
