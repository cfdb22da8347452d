using System.IO.Hashing;
using System.Runtime.InteropServices;

namespace Rollcall.Sync;

/// <summary>Turns texts into the 64-bit keys that the planner's arrays hold in place of strings. Two texts can share a key, once in
/// many million syncs: whoever acts on equal keys compares the texts first. Each full sync has its own seed, so that two people who share a
/// key in one do not in the next; changes syncs go on with the seed of the homerooms they know.</summary>
/// <param name="seed">The run's own number.</param>
/// <param name="bits">How many bits a key has; fewer than 64 only where a test wants keys to be shared.</param>
internal sealed class Keys(long seed, int bits = 64)
{
    public long Seed => seed;

    /// <summary>The text's key; 0 stands for blank.</summary>
    public ulong Of(string? text)
    {
        if (string.IsNullOrEmpty(text))
        {
            return 0;
        }

        var hash = XxHash3.HashToUInt64(MemoryMarshal.AsBytes(text.AsSpan()), seed) & (ulong.MaxValue >> (64 - bits));
        return hash == 0 ? 1 : hash;
    }

    /// <summary>Half a key, for names: they are only compared between people whom another key has brought together. 0 stands for blank.</summary>
    public uint Name(string? name)
    {
        var key = Of(Patrons.Text.NameKey(name));
        return (uint)key == 0 && key != 0 ? 1 : (uint)key;
    }

    /// <summary>A second number of the text, independent of its key: beside a key it does the work of the text itself.</summary>
    public uint Check(string? text) =>
        string.IsNullOrEmpty(text) ? 0 : (uint)XxHash3.HashToUInt64(MemoryMarshal.AsBytes(text.AsSpan()), ~seed);
}

/// <summary>Hashes that are kept: what the roster said of a person.</summary>
internal static class Hashing
{
    public static void Append(XxHash3 hash, string? text)
    {
        Span<byte> length = stackalloc byte[4];
        MemoryMarshal.Write(length, text?.Length ?? -1);
        hash.Append(length);
        if (text is not null)
        {
            hash.Append(MemoryMarshal.AsBytes(text.AsSpan()));
        }
    }

    public static void Append(XxHash3 hash, long number)
    {
        Span<byte> bytes = stackalloc byte[8];
        MemoryMarshal.Write(bytes, number);
        hash.Append(bytes);
    }
}
