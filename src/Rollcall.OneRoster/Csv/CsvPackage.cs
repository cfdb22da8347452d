using System.IO.Hashing;

namespace Rollcall.OneRoster.Csv;

/// <summary>A file of a package as it was checked.</summary>
internal sealed class CsvPart(CsvFile file, CsvEntry entry)
{
    public CsvFile File { get; } = file;
    public CsvEntry Entry { get; } = entry;

    /// <summary>Bulk or delta, as the manifest says or, where it does not, as the data does.</summary>
    public CsvMode Mode { get; set; }

    /// <summary>The manifest says which of the two it is.</summary>
    public bool ModeStated { get; set; }

    /// <summary>The manifest says that the file is not there.</summary>
    public bool Contradicted { get; set; }

    public long Rows { get; set; }

    /// <summary>Fields of the first row.</summary>
    public int Width { get; set; }

    /// <summary>Rows of which something was in doubt: nobody's absence follows from such a file.</summary>
    public long DoubtfulRows { get; set; }

    /// <summary>Keys that stand on more than one row.</summary>
    public HashSet<ulong> Duplicates { get; } = [];
}

/// <summary>A OneRoster CSV package, read once from beginning to end and judged as a whole (OneRoster 1.2 CSV binding; 1.1 and 1.0 too).</summary>
public sealed class CsvPackage : IDisposable
{
    private readonly CsvContainer? container;
    private readonly Dictionary<CsvFile, CsvPart> parts;

    internal CsvPackage(
        string name,
        CsvContainer? container,
        Dictionary<CsvFile, CsvPart> parts,
        CsvVersion version,
        CsvLimits limits,
        IReadOnlyList<CsvFinding> findings,
        CsvImportReport report
    )
    {
        Name = name;
        this.container = container;
        this.parts = parts;
        Version = version;
        Limits = limits;
        Findings = findings;
        Report = report;
    }

    /// <summary>The archive's or folder's own name.</summary>
    public string Name { get; }

    /// <summary>Everything that is not as OneRoster has it, the gravest first.</summary>
    public IReadOnlyList<CsvFinding> Findings { get; }

    /// <summary>The import log's six fields.</summary>
    public CsvImportReport Report { get; }

    /// <summary>The package can be trusted: nothing was found for which it has to be refused whole.</summary>
    public bool IsUsable => !Findings.Any(f => f.Severity == CsvSeverity.Refusal);

    /// <summary>Its people are all there are, so that who is not among them is gone.</summary>
    public bool HasAllPeople => Part(CsvFile.Users) is { Mode: CsvMode.Bulk };

    internal CsvVersion Version { get; }
    internal CsvLimits Limits { get; }

    /// <summary>Reads and judges a zip archive or a folder. What is wrong with the data is in the result; an exception is a matter of
    /// the disk (<see cref="IOException"/>, <see cref="UnauthorizedAccessException"/>).</summary>
    /// <param name="path">A zip archive, or a folder with the files.</param>
    /// <param name="now">The date of the report.</param>
    /// <param name="limits">What the package may cost; the defaults where null.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public static CsvPackage Read(string path, DateTimeOffset now, CsvLimits? limits = null, CancellationToken cancellationToken = default)
    {
        using var check = new CsvCheck(path, limits ?? CsvLimits.Default, now, cancellationToken);
        return check.Run();
    }

    /// <summary>A hash over the names and contents of a package, whatever the times of its files.</summary>
    public static string HashOf(string path, CancellationToken cancellationToken = default)
    {
        var hash = new XxHash128();
        IEnumerable<string> files = Directory.Exists(path)
            ? Directory.EnumerateFiles(path).Where(f => CsvContainer.IsCsv(f) && !CsvContainer.IsLeftOver(Path.GetFileName(f)))
            : [path];
        var buffer = new byte[128 * 1024];
        foreach (var file in files.OrderBy(f => f, StringComparer.Ordinal))
        {
            if (Directory.Exists(path))
            {
                hash.Append(System.Text.Encoding.UTF8.GetBytes(Path.GetFileName(file).ToLowerInvariant() + "\n"));
            }

            using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, 1);
            for (int read; (read = stream.Read(buffer)) > 0; )
            {
                cancellationToken.ThrowIfCancellationRequested();
                hash.Append(buffer.AsSpan(0, read));
            }
        }

        return Convert.ToHexStringLower(hash.GetCurrentHash());
    }

    /// <inheritdoc/>
    public void Dispose() => container?.Dispose();

    internal CsvPart? Part(CsvFile file) => parts.GetValueOrDefault(file);

    internal CsvTable Open(CsvPart part)
    {
        container!.ResetBudget();
        return CsvTable.Open(container.Open(part.Entry), part.File, Limits);
    }
}
