using System.Runtime.InteropServices;

namespace Rollcall.Sync;

/// <summary>A list that grows part by part: a roster's worth of rows never lies in memory twice because the list doubled, and what
/// is copied out is given up while it is copied.</summary>
internal sealed class Rows<T>
    where T : struct
{
    private const int PartBits = 13;
    private const int PartSize = 1 << PartBits;
    private const int FirstSize = 16;
    private readonly List<T[]?> _parts = [];

    public int Count { get; private set; }

    /// <summary>The row itself, not a copy.</summary>
    public ref T this[int index] => ref _parts[index >> PartBits]![index & (PartSize - 1)];

    public void Add(in T row)
    {
        var (part, at) = (Count >> PartBits, Count & (PartSize - 1));
        if (part == _parts.Count)
        {
            _parts.Add(new T[part == 0 ? FirstSize : PartSize]);
        }
        else if (at == _parts[part]!.Length)
        {
            // Only the first part starts small: most pulls are of one person, or of a few.
            Array.Resize(ref CollectionsMarshal.AsSpan(_parts)[part], at * 2);
        }

        _parts[part]![at] = row;
        Count++;
    }

    public void Clear()
    {
        _parts.Clear();
        Count = 0;
    }

    /// <summary>Hands the rows over as one array and is empty afterwards.</summary>
    public T[] Take()
    {
        var all = new T[Count];
        for (var part = 0; part < _parts.Count; part++)
        {
            var from = part << PartBits;
            Array.Copy(_parts[part]!, 0, all, from, Math.Min(PartSize, Count - from));
            _parts[part] = null;
        }

        Clear();
        return all;
    }

    /// <summary>Goes through the rows in order; nothing may be added meanwhile.</summary>
    public Enumerator GetEnumerator() => new(this);

    public struct Enumerator(Rows<T> rows)
    {
        private int _at = -1;

        public readonly ref T Current => ref rows[_at];

        public bool MoveNext() => ++_at < rows.Count;
    }
}
