using System.IO.Hashing;
using System.Runtime.InteropServices;

namespace Rollcall.OneRoster.Csv;

/// <summary>Keys by their 64-bit hash, each with a number where that is wanted: 8 or 12 bytes and a third a key. Keys of one package never
/// come near the number at which two of them share a hash.</summary>
internal sealed class IdSet(bool withValues = false)
{
    private ulong[] slots = new ulong[64];
    private int[]? values = withValues ? new int[64] : null;

    public int Count { get; private set; }

    public static ulong Hash(ReadOnlySpan<char> id)
    {
        var hash = XxHash3.HashToUInt64(MemoryMarshal.AsBytes(id));
        return hash == 0 ? 1 : hash;
    }

    /// <summary>Adds a key; false when it was there.</summary>
    public bool Add(ulong hash, int value = 0)
    {
        if ((Count + 1) * 4L > slots.Length * 3L)
        {
            Grow();
        }

        var at = Find(hash);
        if (slots[at] == hash)
        {
            return false;
        }

        slots[at] = hash;
        if (values is not null)
        {
            values[at] = value;
        }

        Count++;
        return true;
    }

    public IdSet Copy() =>
        new()
        {
            slots = [.. slots],
            values = values is null ? null : [.. values],
            Count = Count,
        };

    public bool Contains(ulong hash) => slots[Find(hash)] == hash;

    public int? Value(ulong hash)
    {
        var at = Find(hash);
        return slots[at] == hash ? values?[at] : null;
    }

    /// <summary>Gives a key that is there another number.</summary>
    public void Set(ulong hash, int value)
    {
        var at = Find(hash);
        if (values is not null && slots[at] == hash)
        {
            values[at] = value;
        }
    }

    public IEnumerable<int> Values
    {
        get
        {
            for (var i = 0; values is not null && i < slots.Length; i++)
            {
                if (slots[i] != 0)
                {
                    yield return values[i];
                }
            }
        }
    }

    private int Find(ulong hash)
    {
        var mask = slots.Length - 1;
        var at = (int)(hash ^ (hash >> 32)) & mask;
        while (slots[at] != 0 && slots[at] != hash)
        {
            at = (at + 1) & mask;
        }

        return at;
    }

    private void Grow()
    {
        var (old, oldValues) = (slots, values);
        slots = new ulong[old.Length * 2];
        values = oldValues is null ? null : new int[old.Length * 2];
        for (var i = 0; i < old.Length; i++)
        {
            if (old[i] != 0)
            {
                var at = Find(old[i]);
                slots[at] = old[i];
                if (values is not null)
                {
                    values[at] = oldValues![i];
                }
            }
        }
    }
}
