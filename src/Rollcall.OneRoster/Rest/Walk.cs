namespace Rollcall.OneRoster.Rest;

/// <summary>The collections of a roster that this client reads.</summary>
internal enum RosterCollection
{
    /// <summary><c>orgs</c></summary>
    Orgs,

    /// <summary><c>academicSessions</c></summary>
    AcademicSessions,

    /// <summary><c>classes</c></summary>
    Classes,

    /// <summary><c>users</c></summary>
    Users,

    /// <summary><c>enrollments</c></summary>
    Enrollments,

    /// <summary><c>demographics</c></summary>
    Demographics,
}

/// <summary>One page of a collection.</summary>
/// <typeparam name="T">The record.</typeparam>
public sealed record RosterPage<T>
{
    /// <summary>1 on the first walk. When it rises, rows shifted between pages and the collection is being read again from the
    /// start: whatever was kept of earlier attempts must be dropped.</summary>
    public required int Attempt { get; init; }

    /// <summary>The records of this page. A <c>sourcedId</c> that stands twice on the page appears once, the later
    /// <c>dateLastModified</c>; records with a <see langword="null"/> <c>sourcedId</c> are kept as they are.
    /// When rows shifted in every attempt, a record of an earlier page may come again because it came with a later date: let the
    /// later record replace the earlier one.</summary>
    public required IReadOnlyList<T> Records { get; init; }

    /// <summary>Rows received so far in this attempt, duplicates and unreadable rows included.</summary>
    public required long RowsSoFar { get; init; }

    /// <summary>Rows the provider says there are; <see langword="null"/> when it does not say.</summary>
    public long? Total { get; init; }
}

/// <summary>What is known after a collection was read to its end.</summary>
public sealed record WalkResult
{
    /// <summary>The provider does not share this collection (empty, 403 or 404 on demographics, classes, enrollments, sessions).</summary>
    public bool NotShared { get; init; }

    /// <summary>Rows received, duplicates and unreadable rows included.</summary>
    public long Rows { get; init; }

    /// <summary>Rows that were no object, so that nothing could be read from them.</summary>
    public long UnreadableRows { get; init; }

    /// <summary>Rows dropped because their <c>sourcedId</c> came twice.</summary>
    public long Duplicates { get; init; }

    /// <summary>A <c>sourcedId</c> stood on two different pages in every attempt: the set is usable but nobody's absence may be concluded from it.</summary>
    public bool RowsShifted { get; init; }

    /// <summary>Only changes were read, or nothing at all: what is not here is as it was (a delta of CSV).</summary>
    public bool Partial { get; init; }

    /// <summary>The provider says that what it sends is masked (<c>x-obfuscated</c>, a header of ClassLink's): names may be none.</summary>
    public bool Masked { get; init; }

    /// <summary>The provider's revision (<c>x-perm-rev</c>); <see langword="null"/> when it sends none.</summary>
    public string? Revision { get; init; }

    /// <summary>How often each leniency was needed, by rule; never with values.</summary>
    public IReadOnlyDictionary<string, long> Leniencies { get; init; } = new Dictionary<string, long>(StringComparer.Ordinal);
}

/// <summary>One walk over a collection. Enumerate <see cref="ReadAsync"/> to its end, then read <see cref="Result"/>.</summary>
/// <typeparam name="T">The record.</typeparam>
public interface ICollectionWalk<T>
{
    /// <summary>Reads every page. Throws <see cref="RosterException"/> when the collection cannot be read completely.</summary>
    IAsyncEnumerable<RosterPage<T>> ReadAsync(CancellationToken cancellationToken = default);

    /// <summary>What is known after the end was reached; throws <see cref="InvalidOperationException"/> before.</summary>
    WalkResult Result { get; }
}
