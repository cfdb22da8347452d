using System.IO.Hashing;
using System.Runtime.InteropServices;

namespace Rollcall.Sync;

/// <summary>64-bit keys of texts: what the planner's index holds in place of strings. 0 stands for blank.</summary>
internal static class Hashing
{
    public static ulong Of(string? text)
    {
        if (string.IsNullOrEmpty(text))
        {
            return 0;
        }

        var hash = XxHash3.HashToUInt64(MemoryMarshal.AsBytes(text.AsSpan()));
        return hash == 0 ? 1 : hash;
    }

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
