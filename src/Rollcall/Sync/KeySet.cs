namespace Rollcall.Sync;

/// <summary>A set of 64-bit keys in 10 to 20 bytes each. In parts that grow one by one, so that growing never needs the whole twice.</summary>
internal sealed class KeySet
{
    private const int PartBits = 6;
    private readonly ulong[]?[] _parts = new ulong[1 << PartBits][];
    private readonly int[] _counts = new int[1 << PartBits];

    /// <summary>True when the key was not there. 0 stands for blank and is never there.</summary>
    public bool Add(ulong key)
    {
        if (key == 0)
        {
            return false;
        }

        var part = (int)(key >> (64 - PartBits));
        var slots = _parts[part] ??= new ulong[16];
        var at = Find(slots, key);
        if (slots[at] == key)
        {
            return false;
        }

        if ((_counts[part] + 1) * 5 > slots.Length * 4)
        {
            slots = Grow(slots);
            _parts[part] = slots;
            at = Find(slots, key);
        }

        slots[at] = key;
        _counts[part]++;
        return true;
    }

    public bool Contains(ulong key) => key != 0 && _parts[(int)(key >> (64 - PartBits))] is { } slots && slots[Find(slots, key)] == key;

    private static int Find(ulong[] slots, ulong key)
    {
        var mask = slots.Length - 1;
        var at = (int)key & mask;
        while (slots[at] != 0 && slots[at] != key)
        {
            at = (at + 1) & mask;
        }

        return at;
    }

    private static ulong[] Grow(ulong[] old)
    {
        var slots = new ulong[old.Length * 2];
        foreach (var key in old)
        {
            if (key != 0)
            {
                slots[Find(slots, key)] = key;
            }
        }

        return slots;
    }
}
