using System.IO.Hashing;
using System.Runtime.InteropServices;

namespace Rollcall.OneRoster.Csv;

/// <summary>Keys by their 64-bit hash: 8 bytes and a third a key. Keys of one package never come near the number at which two of them
/// share a hash.</summary>
internal sealed class IdSet
{
    private ulong[] slots = new ulong[64];
    private int count;

    public static ulong Hash(ReadOnlySpan<char> id)
    {
        var hash = XxHash3.HashToUInt64(MemoryMarshal.AsBytes(id));
        return hash == 0 ? 1 : hash;
    }

    /// <summary>Adds a key; false when it was there.</summary>
    public bool Add(ulong hash)
    {
        if ((count + 1) * 4L > slots.Length * 3L)
        {
            Grow();
        }

        var at = Find(hash);
        if (slots[at] == hash)
        {
            return false;
        }

        slots[at] = hash;
        count++;
        return true;
    }

    public IdSet Copy() => new() { slots = [.. slots], count = count };

    public bool Contains(ulong hash) => slots[Find(hash)] == hash;

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
        var old = slots;
        slots = new ulong[old.Length * 2];
        foreach (var hash in old)
        {
            if (hash != 0)
            {
                slots[Find(hash)] = hash;
            }
        }
    }
}
