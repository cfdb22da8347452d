using System.Runtime.InteropServices;

namespace Rollcall.Sandbox.District;

/// <summary>
/// Records in blocks, of which only so many are in memory; the others lie in a private file without a name. Districts of usual sizes fit in
/// and have no file. One thread fills it; then it no longer changes, and any number may read.
/// </summary>
internal sealed class Blocks<T>(int mostInMemory = 512)
    where T : unmanaged
{
    private const int Shift = 8;
    private const int Size = 1 << Shift;
    private readonly Lock _gate = new();
    private readonly Queue<int> _inMemory = new();
    private T[]?[] _blocks = new T[4][];
    private bool[] _changed = new bool[4];
    private FileStream? _file;

    public int Count { get; private set; }

    /// <summary>To be read at once: the next access may put the block away.</summary>
    public ref readonly T this[int index] => ref Block(index >> Shift)[index & (Size - 1)];

    /// <summary>To be written at once: the next access may put the block away.</summary>
    public ref T Change(int index)
    {
        var block = Block(index >> Shift);
        _changed[index >> Shift] = true;
        return ref block[index & (Size - 1)];
    }

    public void Add(in T record)
    {
        var number = Count >> Shift;
        if (number == _blocks.Length)
        {
            Array.Resize(ref _blocks, number * 2);
            Array.Resize(ref _changed, number * 2);
        }

        if (Count++ % Size == 0)
        {
            Keep(number, new T[Size]);
        }

        Change(Count - 1) = record;
    }

    private T[] Block(int number) => Volatile.Read(ref _blocks[number]) ?? Load(number);

    private T[] Load(int number)
    {
        lock (_gate)
        {
            if (_blocks[number] is { } there)
            {
                return there;
            }

            var block = new T[Size];
            var bytes = MemoryMarshal.AsBytes(block.AsSpan());
            for (var read = 0; read < bytes.Length; )
            {
                var more = RandomAccess.Read(_file!.SafeFileHandle, bytes[read..], ((long)number * bytes.Length) + read);
                read += more > 0 ? more : throw new EndOfStreamException("The sandbox's file of people was cut off.");
            }

            return Keep(number, block);
        }
    }

    private T[] Keep(int number, T[] block)
    {
        if (_inMemory.Count == mostInMemory)
        {
            var oldest = _inMemory.Dequeue();
            if (_changed[oldest])
            {
                var bytes = MemoryMarshal.AsBytes(_blocks[oldest].AsSpan());
                RandomAccess.Write((_file ??= Open()).SafeFileHandle, bytes, (long)oldest * bytes.Length);
                _changed[oldest] = false;
            }

            // Who reads in it still has it.
            Volatile.Write(ref _blocks[oldest], null);
        }

        _inMemory.Enqueue(number);
        Volatile.Write(ref _blocks[number], block);
        return block;
    }

    private static FileStream Open()
    {
        var path = Path.Combine(Path.GetTempPath(), $"rollcall-sandbox-{Guid.NewGuid():N}");
        var options = new FileStreamOptions
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.ReadWrite,
            Share = FileShare.Delete,
            BufferSize = 0,
            Options = FileOptions.DeleteOnClose | FileOptions.RandomAccess,
        };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        }

        var file = new FileStream(path, options);
        if (!OperatingSystem.IsWindows())
        {
            // Nothing is left behind, however the process ends.
            File.Delete(path);
        }

        return file;
    }
}
