using System.Runtime.CompilerServices;
using Microsoft.EntityFrameworkCore;
using Rollcall.Patrons;
using Rollcall.Storage;
using Rollcall.Sync;

namespace Rollcall.Operations;

/// <summary>One field of a log line, in words.</summary>
public sealed record LogField(string Field, string? Old, string? New)
{
    /// <summary>What screens call the field.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public string Label => PatronFields.Find(Field)?.Label ?? Field;
}

/// <summary>One line of a log, in words. Names follow the command line's contract.</summary>
public sealed record LogRow(
    long Number,
    string Kind,
    string? Outcome,
    string? Guid,
    string? Name,
    string? Barcode,
    string? Site,
    string? MatchedBy,
    IReadOnlyList<LogField> Changes,
    string? Reason,
    string? Warning
)
{
    public bool Held { get; init; }
    public bool Stale { get; init; }

    /// <summary>Its operation ended before the line was written.</summary>
    public bool NotWritten { get; init; }
    public long? PatronId { get; init; }
    public string? RoleGroup { get; init; }

    /// <summary>The operation it belongs to, and when: a patron's history spans many.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public long OperationId { get; init; }
}

/// <summary>What to show of a log; null leaves a filter open.</summary>
/// <param name="Outcome">One outcome. Transferred are those who are absent, too, as in totals.</param>
/// <param name="SiteId">One site.</param>
/// <param name="WarningsOnly">Lines with a warning.</param>
/// <param name="HeldOnly">Lines that wait for an approval; once it is decided, those that waited.</param>
/// <param name="Search">Part of a name, barcode, Student # or e-mail as the patron has it now, accents aside, or as the line writes it, or
/// a GUID.</param>
public sealed record LogFilter(
    Outcome? Outcome = null,
    int? SiteId = null,
    bool WarningsOnly = false,
    bool HeldOnly = false,
    string? Search = null
)
{
    /// <summary>Only lines of these sites, whose patrons are told and found as they are now where they are of these sites still; null is every site, and
    /// those that have none.</summary>
    public IReadOnlyList<int>? Sites { get; init; }

    /// <summary>Lines of people of no site alone.</summary>
    public bool NoSite { get; init; }
}

/// <summary>Why people were skipped, and how many for that reason.</summary>
public sealed record SkipCount(string Reason, int People);

/// <summary>How many lines of a log are alike.</summary>
/// <param name="SiteId">Null for people of no site.</param>
/// <param name="Outcome">What came, or would come, of the people.</param>
/// <param name="Held">They wait, or waited, for an approval.</param>
/// <param name="Stale">They were left out when the rest was written: nothing came of them.</param>
/// <param name="NotWritten">Their operation ended before they were written.</param>
/// <param name="Lines">How many.</param>
/// <param name="Warnings">How many of them have a warning.</param>
public sealed record LogCount(int? SiteId, Outcome Outcome, bool Held, bool Stale, bool NotWritten, int Lines, int Warnings)
{
    /// <summary>Nothing came of them.</summary>
    public bool Dropped => Stale || NotWritten;
}

/// <summary>How far an operation that has ended came. What it planned beyond was never written: what it held and nobody approved, and what was left
/// when it was cancelled or failed.</summary>
/// <param name="To">Lines that are not held, up to this number.</param>
/// <param name="HeldTo">Held lines, up to this number.</param>
internal sealed record Reached(long To, long HeldTo)
{
    /// <summary>Null while it may be written still, and for a preview, which says what would be: also when it is out of date.</summary>
    public static Reached? Of(Operation operation) =>
        operation
            is { Status: OperationStatus.Waiting or OperationStatus.Running or OperationStatus.NeedsApproval or OperationStatus.Preview }
                or { Status: OperationStatus.Superseded, PreviewOnly: true, ApprovedAt: null }
            ? null
            : new(operation.AppliedTo, operation.HeldAppliedTo);

    /// <summary>What only says something is never written.</summary>
    public bool Passed(Change row) =>
        row is { Stale: false, Kind: not (ChangeKind.Skip or ChangeKind.Note) } && row.Number > (row.Held ? HeldTo : To);
}

/// <summary>Reads change rows as people read them: log of an operation, history of a patron.</summary>
public sealed class OperationLog(RollcallDatabase database)
{
    private const int Batch = 1000;

    /// <summary>The lines of an operation in order.</summary>
    public async IAsyncEnumerable<LogRow> ReadAsync(
        int districtId,
        long operationId,
        LogFilter? filter = null,
        long after = 0,
        [EnumeratorCancellation] CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        var words = await WordsAsync(context, districtId, cancellationToken);
        var reached = await ReachedAsync(context, districtId, operationId, cancellationToken);
        while (true)
        {
            var rows = await Query(context, districtId, operationId, filter)
                .Where(c => c.Number > after)
                .OrderBy(c => c.Number)
                .Take(Batch)
                .ToListAsync(cancellationToken);
            foreach (var row in await DescribeAsync(context, districtId, rows, words, filter?.Sites, reached, cancellationToken))
            {
                yield return row;
            }

            if (rows.Count < Batch)
            {
                yield break;
            }

            after = rows[^1].Number;
        }
    }

    /// <summary>The lines of an operation, counted by site and outcome.</summary>
    public async Task<IReadOnlyList<LogCount>> CountsAsync(int districtId, long operationId, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        var reached = await ReachedAsync(context, districtId, operationId, cancellationToken) ?? new(long.MaxValue, long.MaxValue);
        return await Query(context, districtId, operationId, null)
            .Select(c => new
            {
                c.SiteId,
                c.Outcome,
                c.Held,
                c.Stale,
                c.Warning,
                // As Reached.Passed says it.
                NotWritten = !c.Stale
                    && c.Kind != ChangeKind.Skip
                    && c.Kind != ChangeKind.Note
                    && c.Number > (c.Held ? reached.HeldTo : reached.To),
            })
            .GroupBy(c => new
            {
                c.SiteId,
                c.Outcome,
                c.Held,
                c.Stale,
                c.NotWritten,
            })
            .Select(g => new LogCount(
                g.Key.SiteId,
                g.Key.Outcome,
                g.Key.Held,
                g.Key.Stale,
                g.Key.NotWritten,
                g.Count(),
                g.Count(c => c.Warning != null)
            ))
            .ToListAsync(cancellationToken);
    }

    private static async Task<Reached?> ReachedAsync(
        RollcallContext context,
        int districtId,
        long operationId,
        CancellationToken cancellationToken
    ) =>
        await context
            .Operations.AsNoTracking()
            .SingleOrDefaultAsync(o => o.DistrictId == districtId && o.Id == operationId, cancellationToken)
            is { } operation
            ? Reached.Of(operation)
            : null;

    /// <summary>Why an operation skipped people, the most frequent reason first.</summary>
    public async Task<IReadOnlyList<SkipCount>> SkipsAsync(
        int districtId,
        long operationId,
        int most,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        return await Query(context, districtId, operationId, new LogFilter(Outcome.Skipped))
            .Where(c => c.Reason != null)
            .GroupBy(c => c.Reason!)
            .Select(g => new { g.Key, Count = g.Count() })
            .OrderByDescending(g => g.Count)
            .ThenBy(g => g.Key)
            .Take(most)
            .Select(g => new SkipCount(g.Key, g.Count))
            .ToListAsync(cancellationToken);
    }

    /// <summary>One page of lines, and how many there are in all.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="operationId">The operation.</param>
    /// <param name="filter">Which lines; null for all.</param>
    /// <param name="page">1 is the first.</param>
    /// <param name="size">Lines a page.</param>
    /// <param name="warningsFirst">Lines with a warning come before the others; otherwise all are in the order of the plan.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<(IReadOnlyList<LogRow> Rows, int Total)> PageAsync(
        int districtId,
        long operationId,
        LogFilter? filter,
        int page,
        int size,
        bool warningsFirst = false,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        var words = await WordsAsync(context, districtId, cancellationToken);
        var query = Query(context, districtId, operationId, filter);
        var total = await query.CountAsync(cancellationToken);
        var sorted = warningsFirst ? query.OrderBy(c => c.Warning == null ? 1 : 0).ThenBy(c => c.Number) : query.OrderBy(c => c.Number);
        var rows = await sorted.Skip((page - 1) * size).Take(size).ToListAsync(cancellationToken);
        var reached = await ReachedAsync(context, districtId, operationId, cancellationToken);
        return (await DescribeAsync(context, districtId, rows, words, filter?.Sites, reached, cancellationToken), total);
    }

    /// <summary>A patron's history, the newest first, each line with its operation.</summary>
    public async Task<IReadOnlyList<(LogRow Row, Operation Operation)>> HistoryAsync(
        int districtId,
        long patronId,
        int take = 200,
        int skip = 0,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        return await HistoryAsync(context, districtId, patronId, take, skip, cancellationToken);
    }

    /// <summary>The same, behind a line of it; null when that line is not there any more.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="patronId">The patron.</param>
    /// <param name="take">So many lines at most.</param>
    /// <param name="after">Operation and number of the last line that was read; null to begin.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<IReadOnlyList<(LogRow Row, Operation Operation)>?> HistoryAfterAsync(
        int districtId,
        long patronId,
        int take,
        (long Operation, long Number)? after,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        var skip = 0;
        if (after is var (operation, number))
        {
            // One patron's lines: few enough to be counted.
            skip =
                (
                    await InOrder(Happened(context, districtId, patronId))
                        .Select(x => new { x.Change.OperationId, x.Change.Number })
                        .ToListAsync(cancellationToken)
                ).FindIndex(x => x.OperationId == operation && x.Number == number) + 1;
            if (skip == 0)
            {
                return null;
            }
        }

        return await HistoryAsync(context, districtId, patronId, take, skip, cancellationToken);
    }

    private static async Task<IReadOnlyList<(LogRow Row, Operation Operation)>> HistoryAsync(
        RollcallContext context,
        int districtId,
        long patronId,
        int take,
        int skip,
        CancellationToken cancellationToken
    )
    {
        var words = await WordsAsync(context, districtId, cancellationToken);
        var pairs = await InOrder(Happened(context, districtId, patronId)).Skip(skip).Take(take).ToListAsync(cancellationToken);
        var rows = await DescribeAsync(context, districtId, [.. pairs.Select(p => p.Change)], words, null, null, cancellationToken);
        return [.. rows.Select((r, i) => (r, pairs[i].Operation))];
    }

    private static IQueryable<Happening> InOrder(IQueryable<Happening> happened) =>
        happened
            // A number is given when an operation is asked for; one that had to wait writes later than others.
            .OrderByDescending(x => x.Operation.FinishedAt == null)
            .ThenByDescending(x =>
                x.Operation.ApprovedAt != null && !x.Change.Held && !x.Operation.PreviewOnly
                    ? x.Operation.StartedAt
                    : x.Operation.FinishedAt
            )
            .ThenByDescending(x => x.Change.OperationId)
            .ThenByDescending(x => x.Change.Number);

    /// <summary>How many entries a patron's history has, and which of its operations were taken back of this patron whole.</summary>
    public async Task<(int Total, IReadOnlySet<long> Undone)> HistoryFactsAsync(
        int districtId,
        long patronId,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        var happened = Happened(context, districtId, patronId);
        return (
            await happened.CountAsync(cancellationToken),
            (
                await happened
                    .Where(x => x.Operation.Kind == OperationKind.Undo && x.Operation.SubjectId != null && x.Change.Warning == null)
                    .Select(x => x.Operation.SubjectId!.Value)
                    .ToListAsync(cancellationToken)
            ).ToHashSet()
        );
    }

    /// <summary>Rows of plans that were never applied are no history, and neither are those that were to do nothing.</summary>
    private static IQueryable<Happening> Happened(RollcallContext context, int districtId, long patronId) =>
        context
            .Changes.AsNoTracking()
            .Where(c =>
                c.DistrictId == districtId && c.PatronId == patronId && !c.Stale && c.Kind != ChangeKind.Note && c.Kind != ChangeKind.Skip
            )
            .Join(context.Operations.AsNoTracking(), c => c.OperationId, o => o.Id, (c, o) => new Happening { Change = c, Operation = o })
            .Where(x =>
                x.Operation.DistrictId == districtId
                && (x.Change.Held ? x.Change.Number <= x.Operation.HeldAppliedTo : x.Change.Number <= x.Operation.AppliedTo)
            );

    private sealed class Happening
    {
        public required Change Change { get; init; }
        public required Operation Operation { get; init; }
    }

    /// <summary>What waits for an approval and would change this patron, the oldest first; mostly nothing.</summary>
    public async Task<IReadOnlyList<(LogRow Row, Operation Operation)>> WaitingAsync(
        int districtId,
        long patronId,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        var pairs = await context
            .Changes.AsNoTracking()
            .Where(c => c.DistrictId == districtId && c.PatronId == patronId && c.Held && !c.Stale && c.Kind != ChangeKind.Note)
            .Join(context.Operations.AsNoTracking(), c => c.OperationId, o => o.Id, (c, o) => new { Change = c, Operation = o })
            .Where(x =>
                x.Operation.DistrictId == districtId
                && x.Operation.Status == OperationStatus.NeedsApproval
                && x.Change.Number > x.Operation.HeldAppliedTo
            )
            .OrderBy(x => x.Change.OperationId)
            .ToListAsync(cancellationToken);
        if (pairs.Count == 0)
        {
            return [];
        }

        var words = await WordsAsync(context, districtId, cancellationToken);
        var rows = await DescribeAsync(context, districtId, [.. pairs.Select(p => p.Change)], words, null, null, cancellationToken);
        return [.. rows.Select((r, i) => (r, pairs[i].Operation))];
    }

    /// <summary>The outcome as JSON and logs say it.</summary>
    public static string? OutcomeWord(Outcome outcome) => outcome == Outcome.None ? null : outcome.ToString().ToLowerInvariant();

    /// <summary>The key as JSON and logs say it.</summary>
    public static string? KeyWord(MatchKey key) =>
        key switch
        {
            MatchKey.None => null,
            MatchKey.StudentNumber => "studentNumber",
            _ => key.ToString().ToLowerInvariant(),
        };

    private static IQueryable<Change> Query(RollcallContext context, int districtId, long operationId, LogFilter? filter)
    {
        var query = context.Changes.AsNoTracking().Where(c => c.DistrictId == districtId && c.OperationId == operationId);
        if (filter?.Outcome is { } outcome)
        {
            // As totals count them: whoever is absent from the roster is transferred.
            query =
                outcome == Outcome.Transferred
                    ? query.Where(c => c.Outcome == Outcome.Transferred || c.Outcome == Outcome.Absent)
                    : query.Where(c => c.Outcome == outcome);
        }

        if (filter?.Sites is { } sites)
        {
            query = query.Where(c => c.SiteId != null && sites.Contains(c.SiteId.Value));
        }

        if (filter?.SiteId is { } site)
        {
            query = query.Where(c => c.SiteId == site);
        }

        if (filter?.NoSite == true)
        {
            query = query.Where(c => c.SiteId == null);
        }

        if (filter?.WarningsOnly == true)
        {
            query = query.Where(c => c.Warning != null);
        }

        if (filter?.HeldOnly == true)
        {
            // Whoever was left out of a hold since does not wait in it any more.
            query = query.Where(c =>
                c.Held
                && !(
                    c.Stale
                    && context.Operations.Any(o =>
                        o.DistrictId == districtId && o.Id == operationId && o.Status == OperationStatus.NeedsApproval
                    )
                )
            );
        }

        if (Text.Clean(filter?.Search) is { } search)
        {
            var words = Text.Words(search);
            var seen = filter?.Sites;
            var found = context.Patrons.Where(p =>
                words.Count > 0 && p.DistrictId == districtId && (seen == null || (p.SiteId != null && seen.Contains(p.SiteId.Value)))
            );

            foreach (var word in words)
            {
                found = found.Where(p => p.SearchKey.Contains(word));
            }

            // Whoever is no patron stands in the line alone, as written, and as JSON writes it.
            var ways = Text.Searched(search, OperationQueue.Json.Encoder!.Encode);
            var (one, two, three, four, five) = (ways.One, ways.Two, ways.Three, ways.Four, ways.Five);
#pragma warning disable CA1862 // The database folds, not .NET.
            var lines = query.Select(c => new { Row = c, Values = c.Values.ToLower() });
            foreach (var (syntax, bare) in SyntaxWith(one))
            {
                lines = lines.Select(l => new { l.Row, Values = l.Values.Replace(syntax, bare) });
            }

            lines = ways.Several
                ? lines.Where(l =>
                    l.Row.RosterId == search
                    || l.Values.Contains(one)
                    || l.Values.Contains(two)
                    || l.Values.Contains(three)
                    || l.Values.Contains(four)
                    || l.Values.Contains(five)
                    || (l.Row.PatronId != null && found.Any(p => p.Id == l.Row.PatronId))
                )
                : lines.Where(l =>
                    l.Row.RosterId == search || l.Values.Contains(one) || (l.Row.PatronId != null && found.Any(p => p.Id == l.Row.PatronId))
                );
#pragma warning restore CA1862
            query = lines.Select(l => l.Row);
        }

        return query;
    }

    /// <summary>What stored values have around what people wrote and a search would find there: numbers of fields, and the word for nothing.
    /// No text that people write has these marks around them.</summary>
    /// <returns>Text of the syntax, and what is left of it.</returns>
    private static IEnumerable<(string Syntax, string Bare)> SyntaxWith(string search)
    {
        if (search.All(char.IsAsciiDigit))
        {
            foreach (var field in PatronFields.All)
            {
                var number = field.Number.ToString(System.Globalization.CultureInfo.InvariantCulture);
                if (number.Contains(search, StringComparison.Ordinal))
                {
                    yield return ($"\"{number}\":[", "[");
                }
            }
        }

        if ("null".Contains(search, StringComparison.Ordinal))
        {
            yield return ("\":[null,", "\":[,");
            yield return ("\":[,null]", "\":[,]");
            yield return ("\",null]", "\",]");
        }
    }

    private static async Task<Dictionary<string, string>> WordsAsync(
        RollcallContext context,
        int districtId,
        CancellationToken cancellationToken
    ) =>
        await context
            .Sites.Where(s => s.DistrictId == districtId)
            .ToDictionaryAsync(s => s.Id.ToString(System.Globalization.CultureInfo.InvariantCulture), s => s.Code, cancellationToken);

    private static async Task<List<LogRow>> DescribeAsync(
        RollcallContext context,
        int districtId,
        List<Change> rows,
        Dictionary<string, string> sites,
        IReadOnlyList<int>? seen,
        Reached? reached,
        CancellationToken cancellationToken
    )
    {
        // Whoever moved to a site that may not be seen is told as the line has them, and not as they are now.
        var ids = rows.Where(r => r.PatronId is not null).Select(r => r.PatronId!.Value).Distinct().ToArray();
        var patrons = await context
            .Patrons.AsNoTracking()
            .Where(p => p.DistrictId == districtId && ids.Contains(p.Id))
            .Where(p => seen == null || (p.SiteId != null && seen.Contains(p.SiteId.Value)))
            .Select(p => new
            {
                p.Id,
                p.LastName,
                p.FirstName,
                p.Barcode,
                p.Guid,
                p.SiteId,
            })
            .ToDictionaryAsync(p => p.Id, cancellationToken);
        var result = new List<LogRow>(rows.Count);
        foreach (var row in rows)
        {
            var values = ChangeValues.Parse(row.Values);

            // A removed patron's row has old values alone.
            string? Named(int field) => values.Items.Where(i => i.Field == field).Select(i => i.New ?? i.Old).FirstOrDefault();
            var patron = row.PatronId is { } id ? patrons.GetValueOrDefault(id) : null;
            var last = patron?.LastName ?? Named(PatronFields.LastName);
            var first = patron is null ? Named(PatronFields.FirstName) : patron.FirstName;
            var site = row.SiteId?.ToString(System.Globalization.CultureInfo.InvariantCulture);
            result.Add(
                new LogRow(
                    row.Number,
                    row.Kind.ToString().ToLowerInvariant(),
                    OutcomeWord(row.Outcome),
                    row.RosterId ?? patron?.Guid,
                    last is null ? first
                        : first is null ? last
                        : $"{last}, {first}",
                    patron?.Barcode ?? Named(PatronFields.Barcode),
                    site is null ? null : sites.GetValueOrDefault(site),
                    KeyWord(row.MatchedBy),
                    [
                        .. values.Items.Select(v => new LogField(
                            FieldName(v.Field),
                            Display(v.Field, v.Old, sites),
                            Display(v.Field, v.New, sites)
                        )),
                    ],
                    row.Reason,
                    row.Warning
                )
                {
                    Held = row.Held,
                    Stale = row.Stale,
                    NotWritten = reached?.Passed(row) == true,
                    PatronId = seen is null || patron is not null ? row.PatronId : null,
                    RoleGroup = row.RoleGroup == Patrons.RoleGroup.None ? null : row.RoleGroup.ToString().ToLowerInvariant(),
                    OperationId = row.OperationId,
                }
            );
        }

        return result;
    }

    private static string FieldName(int field) => PatronFields.ByNumber(field).Name;

    /// <summary>A stored value in words.</summary>
    public static string? Display(int field, string? value, IReadOnlyDictionary<string, string> siteCodes) =>
        value is null
            ? null
            : field switch
            {
                PatronFields.Status => PatronFields.StatusWord(
                    (PatronStatus)int.Parse(value, System.Globalization.CultureInfo.InvariantCulture)
                ),
                PatronFields.Group => PatronFields.GroupWord(
                    (SecurityGroup)int.Parse(value, System.Globalization.CultureInfo.InvariantCulture)
                ),
                PatronFields.Sex => PatronFields.SexWord(value),
                PatronFields.KeptFields => PatronFields.KeptWords(value),
                PatronFields.Site => siteCodes.GetValueOrDefault(value, value),
                _ => value,
            };
}
