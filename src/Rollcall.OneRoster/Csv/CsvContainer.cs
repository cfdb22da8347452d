using System.Buffers.Binary;
using System.IO.Compression;
using System.IO.Hashing;

namespace Rollcall.OneRoster.Csv;

/// <summary>A file of a package.</summary>
/// <param name="Name">Its name without any folder.</param>
/// <param name="Length">Bytes after inflating, as stated.</param>
/// <param name="Zip">Where it lies in an archive; null in a folder.</param>
/// <param name="Path">Where it lies on disk; null in an archive.</param>
internal sealed record CsvEntry(string Name, long Length, ZipArchiveEntry? Zip, string? Path);

/// <summary>A zip archive or a folder, opened with the care that files from elsewhere need. Nothing is ever written to disk.</summary>
internal sealed class CsvContainer : IDisposable
{
    private const long LargestDirectory = 1024 * 1024;
    private readonly CsvLimits limits;
    private readonly FileStream? file;
    private readonly ZipArchive? archive;
    private readonly List<CsvEntry> entries = [];
    private long budget;

    private CsvContainer(string name, CsvLimits limits, FileStream? file, ZipArchive? archive)
    {
        Name = name;
        this.limits = limits;
        this.file = file;
        this.archive = archive;
        budget = limits.TotalBytes;
    }

    /// <summary>The archive's or folder's own name.</summary>
    public string Name { get; }

    public IReadOnlyList<CsvEntry> Entries => entries;

    /// <summary>Opens an archive.</summary>
    /// <exception cref="CsvSyntaxException">It is damaged, or made to do harm.</exception>
    public static CsvContainer OpenZip(string path, CsvLimits limits, CsvFindings findings)
    {
        var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, 64 * 1024);
        ZipArchive? zip = null;
        try
        {
            CheckDirectory(stream, limits);
            zip = new ZipArchive(stream, ZipArchiveMode.Read, leaveOpen: true);
            var container = new CsvContainer(Path.GetFileName(path), limits, stream, zip);
            container.TakeEntries(findings);
            return container;
        }
        catch (Exception e) when (e is InvalidDataException or EndOfStreamException or ArgumentException or NotSupportedException)
        {
            zip?.Dispose();
            stream.Dispose();
            throw new CsvSyntaxException("damaged-archive", "the archive is damaged or incomplete: its directory cannot be read", 0, e);
        }
        catch
        {
            zip?.Dispose();
            stream.Dispose();
            throw;
        }
    }

    /// <summary>Opens a folder. Folders in it and files of other kinds are passed over.</summary>
    /// <exception cref="CsvSyntaxException">It holds too much, or two files whose names differ in case alone.</exception>
    public static CsvContainer OpenFolder(string path, CsvLimits limits)
    {
        var container = new CsvContainer(Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(path))), limits, null, null);
        var folder = new DirectoryInfo(path);
        var names = new HashSet<string>(StringComparer.OrdinalIgnoreCase);
        foreach (
            var info in folder
                .EnumerateFiles()
                .Where(f => IsCsv(f.Name) && !IsLeftOver(f.Name))
                .OrderBy(f => f.Name, StringComparer.Ordinal)
        )
        {
            if (info.LinkTarget is not null)
            {
                throw new CsvSyntaxException("link", $"{info.Name} is a symbolic link, which is not followed; put the file itself there");
            }

            if (!names.Add(info.Name))
            {
                throw new CsvSyntaxException("duplicate-file", $"there are two files of the name {info.Name}");
            }

            if (names.Count > limits.Entries)
            {
                throw new CsvSyntaxException("too-many-files", $"the folder holds more than {limits.Entries} CSV files");
            }

            container.entries.Add(new CsvEntry(info.Name, info.Length, null, info.FullName));
        }

        return container;
    }

    public static bool IsCsv(string name) => name.EndsWith(".csv", StringComparison.OrdinalIgnoreCase);

    /// <summary>What operating systems and transfers leave beside the files that are meant.</summary>
    public static bool IsLeftOver(string name) => name.StartsWith('.') || name.StartsWith('~');

    /// <summary>The bytes of a file. Reading throws <see cref="CsvSyntaxException"/> when they are not what the archive's directory says.</summary>
    public Stream Open(CsvEntry entry)
    {
        try
        {
            return entry.Zip is { } zip
                ? new Checked(this, zip.Open(), entry.Name, zip.Length, Math.Max(1, zip.CompressedLength), zip.Crc32)
                : new Checked(
                    this,
                    new FileStream(entry.Path!, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, 64 * 1024),
                    entry.Name,
                    null,
                    null,
                    null
                );
        }
        catch (Exception e) when (e is InvalidDataException or EndOfStreamException or NotSupportedException)
        {
            throw new CsvSyntaxException("damaged-archive", "the archive's entry is damaged or packed in an unknown way", 0, e);
        }
    }

    /// <summary>A package is read more than once; each time may cost as much as the first.</summary>
    public void ResetBudget() => budget = limits.TotalBytes;

    public void Dispose()
    {
        archive?.Dispose();
        file?.Dispose();
    }

    /// <summary>Refuses directories that would take the memory before an entry is looked at. The platform's reader takes every header
    /// that follows the stated start, whatever their stated number.</summary>
    private static void CheckDirectory(FileStream stream, CsvLimits limits)
    {
        var tail = new byte[Math.Min(stream.Length, 65_536 + 22 + 20)];
        stream.Seek(-tail.Length, SeekOrigin.End);
        stream.ReadExactly(tail);
        var at = tail.AsSpan().LastIndexOf("PK\x05\x06"u8);
        if (at < 0 || at + 22 > tail.Length)
        {
            throw new CsvSyntaxException(
                "damaged-archive",
                stream.Length == 0 ? "the file is empty" : "the file is no zip archive, or its end is missing"
            );
        }

        long count = BinaryPrimitives.ReadUInt16LittleEndian(tail.AsSpan(at + 10));
        long start = BinaryPrimitives.ReadUInt32LittleEndian(tail.AsSpan(at + 16));
        var locator = at >= 20 && tail.AsSpan(at - 20).StartsWith("PK\x06\x07"u8);
        if (locator)
        {
            var where = BinaryPrimitives.ReadInt64LittleEndian(tail.AsSpan(at - 12));
            var large = new byte[56];
            if (where < 0 || where > stream.Length - large.Length)
            {
                throw new CsvSyntaxException("damaged-archive", "the archive is damaged: its directory points outside of it");
            }

            stream.Seek(where, SeekOrigin.Begin);
            stream.ReadExactly(large);
            count = count == ushort.MaxValue ? BinaryPrimitives.ReadInt64LittleEndian(large.AsSpan(32)) : count;
            start = start == uint.MaxValue ? BinaryPrimitives.ReadInt64LittleEndian(large.AsSpan(48)) : start;
        }

        if (count > limits.Entries || count < 0)
        {
            throw new CsvSyntaxException("too-many-files", $"the archive holds {count} entries; at most {limits.Entries} are read");
        }

        if (start < 0 || start > stream.Length)
        {
            throw new CsvSyntaxException("damaged-archive", "the archive is damaged: its directory points outside of it");
        }

        if (stream.Length - start > LargestDirectory + tail.Length)
        {
            throw new CsvSyntaxException("too-many-files", "the archive's directory is larger than any package's can be");
        }

        stream.Seek(0, SeekOrigin.Begin);
    }

    private void TakeEntries(CsvFindings findings)
    {
        var all = archive!.Entries;
        if (all.Count > limits.Entries)
        {
            throw new CsvSyntaxException("too-many-files", $"the archive holds {all.Count} entries; at most {limits.Entries} are read");
        }

        var folders = new HashSet<string>(StringComparer.Ordinal);
        var names = new HashSet<string>(StringComparer.OrdinalIgnoreCase);
        long total = 0;
        foreach (var entry in all)
        {
            var path = entry.FullName.Replace('\\', '/');
            CheckPath(path);
            if (((entry.ExternalAttributes >> 16) & 0xF000) == 0xA000)
            {
                throw new CsvSyntaxException("link", "an entry of the archive is a symbolic link");
            }

            var parts = path.Split('/', StringSplitOptions.RemoveEmptyEntries);
            if (path.EndsWith('/') || parts.Length == 0)
            {
                continue;
            }

            var name = parts[^1];
            if (parts.Contains("__MACOSX", StringComparer.OrdinalIgnoreCase) || IsLeftOver(name))
            {
                findings.Deviation(
                    null,
                    "left-over-files",
                    "the archive holds files that an operating system left in it; they are passed over"
                );
                continue;
            }

            if (entry.IsEncrypted)
            {
                throw new CsvSyntaxException("encrypted", "the archive is encrypted; OneRoster packages are not");
            }

            folders.Add(string.Join('/', parts[..^1]));
            if (!IsCsv(name))
            {
                findings.Deviation(name, "unknown-file", "is no file of OneRoster and was passed over");
                continue;
            }

            if (!names.Add(name))
            {
                throw new CsvSyntaxException("duplicate-file", $"the archive holds more than one file of the name {name}");
            }

            total += entry.Length;
            if (entry.Length > limits.FileBytes || total > limits.TotalBytes)
            {
                throw new CsvSyntaxException("too-large", "the archive inflates to more than this program takes");
            }

            if (entry.Length > limits.RatioFrom && entry.Length / Math.Max(1, entry.CompressedLength) > limits.Ratio)
            {
                throw new CsvSyntaxException("zip-bomb", "the archive inflates to many times its size, as no roster does");
            }

            entries.Add(new CsvEntry(name, entry.Length, entry, null));
        }

        if (folders.Count > 1)
        {
            throw new CsvSyntaxException("nested-folders", "the archive's files lie in several folders; they belong at its root");
        }

        if (folders.Count == 1 && folders.Single().Length > 0)
        {
            findings.Deviation(null, "folder-in-archive", "the files lie in a folder of the archive instead of at its root");
        }
    }

    private static void CheckPath(string path)
    {
        if (
            path.StartsWith('/')
            || (path.Length > 1 && path[1] == ':')
            || path.Split('/').Contains("..", StringComparer.Ordinal)
            || path.Any(char.IsControl)
        )
        {
            throw new CsvSyntaxException(
                "path",
                "an entry of the archive has a name that leads out of it ('..', an absolute path or control characters)"
            );
        }
    }

    /// <summary>Counts what comes out, and compares it with what was promised.</summary>
    private sealed class Checked(CsvContainer owner, Stream inner, string name, long? length, long? packed, uint? crc) : Stream
    {
        private readonly Crc32 sum = new();
        private long total;
        private bool done;

        public override bool CanRead => true;
        public override bool CanSeek => false;
        public override bool CanWrite => false;
        public override long Length => throw new NotSupportedException();
        public override long Position
        {
            get => total;
            set => throw new NotSupportedException();
        }

        public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

        public override int Read(Span<byte> buffer)
        {
            if (buffer.IsEmpty)
            {
                return 0;
            }

            int read;
            try
            {
                read = inner.Read(buffer);
            }
            catch (Exception e) when (e is InvalidDataException or EndOfStreamException)
            {
                throw new CsvSyntaxException("damaged-archive", "the packed data is damaged", 0, e);
            }

            total += read;
            owner.budget -= read;
            if (total > owner.limits.FileBytes || owner.budget < 0)
            {
                throw new CsvSyntaxException("too-large", $"{name} is larger than this program takes");
            }

            if (packed is { } small && total > owner.limits.RatioFrom && total / small > owner.limits.Ratio)
            {
                throw new CsvSyntaxException("zip-bomb", "the file inflates to many times its size, as no roster does");
            }

            if (total > length)
            {
                throw new CsvSyntaxException("damaged-archive", "the file inflates to more than the archive's directory says");
            }

            if (crc is not null)
            {
                sum.Append(buffer[..read]);
                if (read == 0 && !done)
                {
                    done = true;
                    if (total != length)
                    {
                        throw new CsvSyntaxException("damaged-archive", "the file's end is missing in the archive");
                    }

                    if (sum.GetCurrentHashAsUInt32() != crc)
                    {
                        throw new CsvSyntaxException("checksum", "the file does not fit its checksum: it was damaged on the way");
                    }
                }
            }

            return read;
        }

        public override void Flush() { }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                inner.Dispose();
            }

            base.Dispose(disposing);
        }
    }
}
