namespace Rollcall.OneRoster.Probe;

/// <summary>A roster that can be examined: what works, what is missing, what is in it.</summary>
public interface IRosterProbe
{
    /// <summary>Examines the roster. What does not work is part of the report.</summary>
    /// <param name="options">How far to go.</param>
    /// <param name="progress">Told what is being looked at.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="RosterException">Nothing at all can be read: no connection, or the credentials are refused.</exception>
    Task<ProbeReport> ProbeAsync(ProbeOptions options, IProgress<string>? progress = null, CancellationToken cancellationToken = default);
}

/// <summary>How far a probe goes.</summary>
public sealed record ProbeOptions
{
    /// <summary>Reads the first page of each collection alone: a large roster takes long.</summary>
    public bool FirstPagesOnly { get; init; }
}

/// <summary>What a probe found. Holds no value that could be a person's: counts, and words that many records share.</summary>
public sealed record ProbeReport
{
    /// <summary>When it began.</summary>
    public required DateTimeOffset At { get; init; }

    /// <summary>What was examined, such as a server's address.</summary>
    public required string Source { get; init; }

    /// <summary><c>1.1</c> or <c>1.2</c> as the people's records have it; <see langword="null"/> when none was read.</summary>
    public required string? Version { get; init; }

    /// <summary>What matters, most important first.</summary>
    public required IReadOnlyList<ProbeFinding> Findings { get; init; }

    /// <summary>The collections, in the order of reading.</summary>
    public required IReadOnlyList<ProbeCollection> Collections { get; init; }

    /// <summary>What the records hold; <see langword="null"/> when none was read.</summary>
    public required RosterCensus? Census { get; init; }

    /// <summary>Every test with its outcome, in the form of a conformance log.</summary>
    public required IReadOnlyList<ProbeTest> Tests { get; init; }
}

/// <summary>How much a finding matters.</summary>
public enum ProbeWeight
{
    /// <summary>A sync fails or leaves people out.</summary>
    Problem,

    /// <summary>Somebody should look at it.</summary>
    Notice,

    /// <summary>The client copes with it by itself.</summary>
    Handled,
}

/// <summary>One sentence about the roster.</summary>
/// <param name="Weight">How much it matters.</param>
/// <param name="Text">What is the matter.</param>
public sealed record ProbeFinding(ProbeWeight Weight, string Text);

/// <summary>A collection as it was read.</summary>
public sealed record ProbeCollection
{
    /// <summary><c>users</c>, <c>orgs</c> …</summary>
    public required string Name { get; init; }

    /// <summary>Why it could not be read; <see langword="null"/> when it could.</summary>
    public string? Failure { get; init; }

    /// <summary>The provider does not share it.</summary>
    public bool NotShared { get; init; }

    /// <summary>Rows received.</summary>
    public long Rows { get; init; }

    /// <summary>Rows marked as deleted.</summary>
    public long Deleted { get; init; }

    /// <summary>Rows without a <c>sourcedId</c>.</summary>
    public long WithoutId { get; init; }

    /// <summary>Rows without a readable <c>dateLastModified</c>.</summary>
    public long WithoutDate { get; init; }

    /// <summary>Rows that were no object.</summary>
    public long Unreadable { get; init; }

    /// <summary>Rows that came twice.</summary>
    public long Duplicates { get; init; }

    /// <summary>Rows moved between pages in every attempt.</summary>
    public bool RowsShifted { get; init; }

    /// <summary>Responses, the empty last one included.</summary>
    public int Pages { get; init; }

    /// <summary>Rows asked for at once; 0 for files.</summary>
    public int Asked { get; init; }

    /// <summary>Rows of the fullest page.</summary>
    public int LargestPage { get; init; }

    /// <summary>The total that was stated; <see langword="null"/> when none was.</summary>
    public long? StatedTotal { get; init; }

    /// <summary>A <c>Link</c> header came.</summary>
    public bool HasLink { get; init; }

    /// <summary>The <c>x-perm-rev</c> header came.</summary>
    public bool HasRevision { get; init; }

    /// <summary>Seconds of the slowest page.</summary>
    public double SlowestPage { get; init; }

    /// <summary>Seconds for all of it.</summary>
    public double Seconds { get; init; }

    /// <summary>How often each leniency was needed, by rule.</summary>
    public IReadOnlyDictionary<string, long> Leniencies { get; init; } = new Dictionary<string, long>(StringComparer.Ordinal);
}

/// <summary>One test in the six fields that a conformance log has.</summary>
/// <param name="Identifier">What was tested: a route, a parameter or a file.</param>
/// <param name="At">When.</param>
/// <param name="Success">It went as specified.</param>
/// <param name="Read">What was read: a number of records, or names of files.</param>
/// <param name="Rejected">What was not; blank for nothing.</param>
/// <param name="Comment">Why it failed, or what was seen.</param>
public sealed record ProbeTest(string Identifier, DateTimeOffset At, bool Success, string Read, string Rejected, string Comment);
