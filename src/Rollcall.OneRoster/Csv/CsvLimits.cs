namespace Rollcall.OneRoster.Csv;

/// <summary>What a package may cost. The defaults leave room for a district of a million people and stop archives made to exhaust a
/// server.</summary>
public sealed record CsvLimits
{
    /// <summary>The defaults.</summary>
    public static CsvLimits Default { get; } = new();

    /// <summary>Entries of one archive or files of one folder.</summary>
    public int Entries { get; init; } = 256;

    /// <summary>Bytes of one file after inflating.</summary>
    public long FileBytes { get; init; } = 4L * 1024 * 1024 * 1024;

    /// <summary>Bytes of all files of one package after inflating.</summary>
    public long TotalBytes { get; init; } = 8L * 1024 * 1024 * 1024;

    /// <summary>Inflated bytes for one packed byte, once a file is larger than <see cref="RatioFrom"/>. Rosters stay below 40.</summary>
    public int Ratio { get; init; } = 250;

    /// <summary>Below so many inflated bytes any ratio will do.</summary>
    public long RatioFrom { get; init; } = 4L * 1024 * 1024;

    /// <summary>Characters of one field. A longer one means that a quote was never closed.</summary>
    public int FieldCharacters { get; init; } = 64 * 1024;

    /// <summary>Characters of one row.</summary>
    public int RowCharacters { get; init; } = 1024 * 1024;

    /// <summary>Columns of one file.</summary>
    public int Columns { get; init; } = 1024;
}
