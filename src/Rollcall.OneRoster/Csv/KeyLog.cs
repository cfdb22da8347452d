using System.Runtime.InteropServices;

namespace Rollcall.OneRoster.Csv;

/// <summary>A key on a row.</summary>
/// <param name="Hash">The key's hash.</param>
/// <param name="Row">The row.</param>
/// <param name="Use">What the row has it for.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct KeyOnRow(ulong Hash, int Row, int Use = 0) : IComparable<KeyOnRow>
{
    public int CompareTo(KeyOnRow other) =>
        Hash != other.Hash ? Hash.CompareTo(other.Hash)
        : Row != other.Row ? Row.CompareTo(other.Row)
        : Use.CompareTo(other.Use);
}

/// <summary>
/// Keys on rows, written down in any order and looked at in that of their hashes, part by part. What is more than a few megabytes lies in a
/// private file, so that a package of millions of rows takes no more memory than one of some ten thousand.
/// </summary>
internal sealed class KeyLog : IDisposable
{
    public const int Parts = 64;
    private const int MostInPart = 2048;
    private readonly KeyOnRow[][] buffers = new KeyOnRow[Parts][];
    private readonly int[] counts = new int[Parts];
    private readonly List<long>?[] places = new List<long>?[Parts];
    private FileStream? file;

    public void Add(KeyOnRow key)
    {
        var part = (int)(key.Hash >> 58);
        var buffer = buffers[part] ??= new KeyOnRow[16];
        if (counts[part] == buffer.Length)
        {
            if (buffer.Length < MostInPart)
            {
                Array.Resize(ref buffers[part], Math.Min(MostInPart, buffer.Length * 4));
                buffer = buffers[part];
            }
            else
            {
                file ??= PrivateFile.Open();
                (places[part] ??= []).Add(file.Length);
                RandomAccess.Write(file.SafeFileHandle, MemoryMarshal.AsBytes(buffer.AsSpan()), file.Length);
                counts[part] = 0;
            }
        }

        buffer[counts[part]++] = key;
    }

    /// <summary>The keys of a part, sorted by hash and row; written into <paramref name="space"/>, which is made larger when it must be.</summary>
    public Span<KeyOnRow> Sorted(int part, ref KeyOnRow[] space)
    {
        var stored = places[part]?.Count ?? 0;
        var count = (stored * MostInPart) + counts[part];
        if (space.Length < count)
        {
            space = new KeyOnRow[Math.Max(count, space.Length * 2)];
        }

        for (var i = 0; i < stored; i++)
        {
            var bytes = MemoryMarshal.AsBytes(space.AsSpan(i * MostInPart, MostInPart));
            for (var read = 0; read < bytes.Length; )
            {
                var more = RandomAccess.Read(file!.SafeFileHandle, bytes[read..], places[part]![i] + read);
                read += more > 0 ? more : throw new EndOfStreamException("A temporary file was cut off.");
            }
        }

        buffers[part].AsSpan(0, counts[part]).CopyTo(space.AsSpan(stored * MostInPart));
        var keys = space.AsSpan(0, count);
        keys.Sort();
        return keys;
    }

    public void Dispose() => file?.Dispose();
}
