using System.IO.Hashing;
using System.Runtime.InteropServices;

namespace Rollcall.OneRoster.Rest;

/// <summary>Remembers on which page each <c>sourcedId</c> stood: 96 bits of hash and the page, 16 bytes, at most 34 a key on
/// average. In parts that grow one by one, so that growing never needs the whole twice.</summary>
/// <param name="withTimes">Also keeps when each record was last modified, for 8 bytes more.</param>
internal sealed class SeenIds(bool withTimes)
{
    private const int Parts = 64;
    private readonly Part[] parts = new Part[Parts];

    /// <summary>Adds a key; false when it was there, with the page and the time it was added with.</summary>
    public bool Add(string id, int page, DateTimeOffset? modified, out int seenOn, out long seenTicks)
    {
        var hash = XxHash128.HashToUInt128(MemoryMarshal.AsBytes(id.AsSpan()));
        var low = (ulong)hash;
        var high = (uint)(hash >> 64);
        ref var part = ref parts[(int)(hash >> 122)];
        part.Slots ??= new Slot[64];
        if (withTimes)
        {
            part.Times ??= new long[part.Slots.Length];
        }

        if ((part.Count + 1) * 5 > part.Slots.Length * 4)
        {
            part.Grow();
        }

        var at = part.Find(low, high);
        if (part.Slots[at].Page != 0)
        {
            seenOn = part.Slots[at].Page - 1;
            seenTicks = part.Times?[at] ?? 0;
            return false;
        }

        part.Slots[at] = new Slot(low, high, page + 1);
        part.Count++;
        if (part.Times is not null)
        {
            part.Times[at] = modified?.UtcTicks ?? 0;
        }

        (seenOn, seenTicks) = (page, 0);
        return true;
    }

    /// <summary>Whether a key was added.</summary>
    public bool Contains(string id)
    {
        var hash = XxHash128.HashToUInt128(MemoryMarshal.AsBytes(id.AsSpan()));
        ref var part = ref parts[(int)(hash >> 122)];
        return part.Slots is not null && part.Slots[part.Find((ulong)hash, (uint)(hash >> 64))].Page != 0;
    }

    /// <summary>Replaces the time of a key that is there.</summary>
    public void Touch(string id, DateTimeOffset? modified)
    {
        var hash = XxHash128.HashToUInt128(MemoryMarshal.AsBytes(id.AsSpan()));
        ref var part = ref parts[(int)(hash >> 122)];
        if (part.Times is not null)
        {
            part.Times[part.Find((ulong)hash, (uint)(hash >> 64))] = modified?.UtcTicks ?? 0;
        }
    }

    // Sixteen bytes: eight, four and four. Page is one more than the page, so that zero means empty.
    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct Slot(ulong Low, uint High, int Page);

    private struct Part
    {
        public Slot[] Slots;
        public long[]? Times;
        public int Count;

        public readonly int Find(ulong low, uint high)
        {
            var mask = Slots.Length - 1;
            var at = (int)low & mask;
            while (Slots[at].Page != 0 && (Slots[at].Low != low || Slots[at].High != high))
            {
                at = (at + 1) & mask;
            }

            return at;
        }

        public void Grow()
        {
            var old = Slots;
            var oldTimes = Times;
            Slots = new Slot[old.Length * 2];
            Times = oldTimes is null ? null : new long[Slots.Length];
            for (var i = 0; i < old.Length; i++)
            {
                if (old[i].Page == 0)
                {
                    continue;
                }

                var at = Find(old[i].Low, old[i].High);
                Slots[at] = old[i];
                if (Times is not null)
                {
                    Times[at] = oldTimes![i];
                }
            }
        }
    }
}
