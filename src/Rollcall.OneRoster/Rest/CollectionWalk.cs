using System.Globalization;
using System.Runtime.CompilerServices;
using Rollcall.OneRoster.Model;

namespace Rollcall.OneRoster.Rest;

/// <summary>What one response of a collection looked like.</summary>
internal readonly record struct PageSeen(int Asked, int Rows, long? Total, bool Link, bool Revision, TimeSpan Time);

/// <summary>Which fields of a collection are asked for.</summary>
/// <param name="Fields">Their names, by commas.</param>
/// <param name="Came">Whether a record holds what was asked for. Where none on the first page does, the server is asked for whole records.</param>
internal sealed record Selection<T>(string Fields, Func<T, bool> Came);

/// <summary>Reads one collection page by page and proves that it was read whole.</summary>
internal sealed class CollectionWalk<T>(
    Transport transport,
    BaseAddress address,
    string path,
    string host,
    RosterCollection collection,
    string key,
    RecordParser<T> parse,
    RosterClientOptions options,
    DateTimeOffset? modifiedAfter,
    Action<PageSeen>? observe = null,
    Selection<T>? selection = null
) : ICollectionWalk<T>
    where T : RosterRecord
{
    private const int MostAttempts = 3;

    // No server's pages are smaller than this.
    private const int SmallestTotalInDoubt = 10;

    // A server that ignores offset may shuffle its rows; so many pages without one new record in a row are no coincidence.
    private const int MostFruitlessPages = 3;

    // Where nothing says how many rows there are, rows without a key may go on for ever.
    private const int MostKeylessPages = 100;

    private static readonly string[] s_notMasked = ["false", "0", "no", "undefined", "null"];

    private readonly ReadContext context = new();
    private readonly LeniencyCounts leniencies = new();
    private int limit = options.PageSize;
    private bool sorted = true;
    private Selection<T>? selected = selection;
    private WalkResult? result;
    private int started;
    private bool overlaps = true;
    private Guess? guess;
    private bool guesses;
    private CancellationToken stopped;

    private bool Optional => collection is not (RosterCollection.Orgs or RosterCollection.Users);

    public WalkResult Result => result ?? throw new InvalidOperationException("The walk has not reached its end.");

    public async IAsyncEnumerable<RosterPage<T>> ReadAsync([EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        if (Interlocked.Exchange(ref started, 1) != 0)
        {
            throw new InvalidOperationException("A walk is enumerated once.");
        }

        var reader = new PageReader<T>(key, parse, context);
        var rises = true;
        for (var attempt = 1; ; attempt++)
        {
            leniencies.Clear();
            var last = attempt == MostAttempts;

            // Where keys rise, none comes twice; where they do not, they have to be remembered.
            var order = rises && !last ? new KeyOrder() : null;
            var seen = order is null ? new SeenIds(withTimes: last) : null;
            var place = default(Place);
            long rows = 0,
                unreadable = 0,
                duplicates = 0;
            long? total = null;
            string? revision = null;
            var (shifted, masked) = (false, false);
            var (fruitless, keyless) = (0, 0);
            var (fullest, uneven) = (0, false);
            var (previous, previousAt) = (default((string? First, string? Last, int Rows)), 0L);
            string? problem = null;

            Task<Page?>? ahead = null;
            using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            (guess, guesses, stopped) = (null, false, stop.Token);
            try
            {
                for (var pageNumber = 0; ; pageNumber++)
                {
                    Page? page;
                    try
                    {
                        page = await (ahead ?? FirstOrNextAsync(reader, place, attempt, stop.Token));
                    }
                    catch (RosterException e)
                        when (place.After is not null && e is { AtToken: false, StatusCode: 400 or 404 or 416 or 422 })
                    {
                        // Perhaps only an offset that is a whole number of pages is taken there; what follows asks for that.
                        page = Nothing();
                    }

                    ahead = null;
                    if (page is null)
                    {
                        result = new WalkResult { NotShared = true, Leniencies = leniencies.ToDictionary() };
                        yield break;
                    }

                    masked |= page.Masked;
                    problem = Contradiction(page, ref total, ref revision);
                    if (problem is not null)
                    {
                        break;
                    }

                    if (place.After is { } after && !string.Equals(page.Shape.First, after, StringComparison.Ordinal))
                    {
                        // Either rows before it went or came, and one that nobody has seen may have moved to where nobody looks any more;
                        // or only an offset that is a whole number of pages counts there.
                        await DropGuessAsync();
                        var whole = await PageAsync(reader, rows, repeats: false, Task.CompletedTask, stop.Token);
                        if (
                            IsAgain(page, previous)
                            || (page.Rows > 0 ? page.Shape is { First: not null } shape && whole.Shape == shape : whole.Rows > 0)
                            || (
                                (page.Rows, whole.Rows) == (0, 0)
                                && !(total > rows)
                                && IsAgain(await PageAsync(reader, previousAt, repeats: false, Task.CompletedTask, stop.Token), previous)
                            )
                        )
                        {
                            (overlaps, place, page) = (false, new Place(rows, null), whole);
                            problem = Contradiction(page, ref total, ref revision);
                            if (problem is not null)
                            {
                                break;
                            }
                        }
                        else
                        {
                            shifted = true;
                            if (!last)
                            {
                                break;
                            }
                        }
                    }
                    else if (place.After is not null)
                    {
                        if (page.Rows == 1)
                        {
                            // The last row and nothing behind it: whether that is the end, the next page has to say.
                            place = new Place(rows, null);
                            continue;
                        }

                        page = page with { Records = page.Records[1..] };
                    }

                    if (page.Rows == 0)
                    {
                        if (total > rows)
                        {
                            problem = $"sent {rows} of {total} {key} and then nothing more";
                        }

                        break;
                    }

                    // Nothing of a page counts if the server merely sent the last one again.
                    if (place.After is null && IsAgain(page, previous))
                    {
                        throw IgnoresOffset();
                    }

                    (previous, previousAt) = (page.Shape, place.Offset);
                    rows = place.Offset + page.Rows;

                    // A page smaller than those before it is the last one, unless they were of any size too.
                    var proven = pageNumber > 0 && page.Rows < Math.Min(limit, fullest) && !uneven;
                    uneven |= page.Rows < fullest;
                    fullest = Math.Max(fullest, page.Rows);
                    unreadable += page.Unreadable;
                    if (rows > total)
                    {
                        problem = $"says there are {total} {key} but sends more";
                        break;
                    }

                    var fresh = 0;
                    if (order is not null && !order.Rises(page.Records, out fresh))
                    {
                        order = null;
                        rises = false;
                        if (pageNumber > 0)
                        {
                            // What came before was not remembered: again, with a memory.
                            break;
                        }

                        seen = new SeenIds(withTimes: false);
                    }

                    order?.Settle();
                    var records = seen is null
                        ? page.Records
                        : Distinct(page.Records, seen, pageNumber, ref duplicates, ref shifted, out fresh);
                    if (shifted && !last)
                    {
                        break;
                    }

                    // Rows without a key tell nothing of whether the page is new.
                    var keyed = fresh > 0 || page.Records.Exists(r => r.SourcedId is not null);
                    fruitless =
                        fresh > 0 ? 0
                        : keyed ? fruitless + 1
                        : fruitless;
                    if (fruitless == MostFruitlessPages)
                    {
                        throw IgnoresOffset();
                    }

                    keyless = keyed || total is not null ? 0 : keyless + 1;
                    if (keyless == MostKeylessPages)
                    {
                        throw new RosterException(
                            RosterFault.Incomplete,
                            $"{host} sends page after page of {key} without a sourcedId and does not say how many there are, so that nobody can tell whether they are always the same. Tell its operator."
                        );
                    }

                    leniencies.Add(context.Counts);
                    guesses = page.Rows == page.Asked;
                    place =
                        overlaps && page.Shape.Last is { } final && page is { Unreadable: 0, Rows: >= SmallestTotalInDoubt }
                            ? new Place(rows - 1, final)
                            : new Place(rows, null);
                    if (rows != total)
                    {
                        // The server makes the next page while this one is taken over; still one request at a time.
                        ahead = await GuessedAsync(place) ?? FirstOrNextAsync(reader, place, attempt, stop.Token);
                    }

                    yield return new RosterPage<T>
                    {
                        Attempt = attempt,
                        Records = records,
                        RowsSoFar = rows,
                        Total = total,
                    };
                    if (
                        rows == total
                        && (
                            proven
                            || (pageNumber == 0 && rows < SmallestTotalInDoubt)
                            || await IsEndAsync(reader, rows, previous, stop.Token)
                        )
                    )
                    {
                        break;
                    }
                }
            }
            finally
            {
                if (ahead is not null)
                {
                    // Whoever reads stopped early.
                    await stop.CancelAsync();
                    await EndedAsync(ahead);
                }

                await DropGuessAsync();
            }

            if (order is null && seen is null)
            {
                continue;
            }

            if (problem is not null)
            {
                if (last)
                {
                    throw new RosterException(
                        RosterFault.Incomplete,
                        $"{host} {problem}. The roster was read {MostAttempts} times without a consistent answer. Nothing was taken over; try again later."
                    );
                }

                continue;
            }

            if (shifted && !last)
            {
                continue;
            }

            if (rows == 0 && modifiedAfter is null && !Optional)
            {
                throw new RosterException(
                    RosterFault.Incomplete,
                    $"{host} sent no {key} at all. Check in the roster service that the district shares {(collection == RosterCollection.Orgs ? "its schools" : "its people")} with this application."
                );
            }

            result = new WalkResult
            {
                NotShared = rows == 0 && modifiedAfter is null && Optional,
                Rows = rows,
                UnreadableRows = unreadable,
                Duplicates = duplicates,
                RowsShifted = shifted,
                Masked = masked,
                Revision = revision,
                Leniencies = leniencies.ToDictionary(),
            };
            yield break;
        }
    }

    /// <summary>Where a page begins, and which row has to stand there: the last one of the page before. It alone proves that nothing before
    /// it went or came meanwhile, so that no row slipped between two pages; <see langword="null"/> where nothing is known of that row.</summary>
    private readonly record struct Place(long Offset, string? After);

    /// <summary>A page with how many rows were asked for and what its headers said.</summary>
    private sealed record Page(
        List<T> Records,
        int Rows,
        int Unreadable,
        int Asked,
        long? Total,
        long? Count,
        string? Revision,
        bool Masked
    )
    {
        /// <summary>By which a page is known again. It is that of the answer, whatever of it is passed on.</summary>
        public (string? First, string? Last, int Rows) Shape { get; } =
            Records.Count == 0 ? (null, null, Rows) : (Records[0].SourcedId, Records[^1].SourcedId, Rows);
    }

    private static bool IsAgain(Page page, (string? First, string? Last, int Rows) shape) =>
        shape is { First: not null, Last: not null, Rows: > 1 } && page.Shape == shape;

    /// <summary>The page that probably comes next, asked for when all of the one before has been received and not yet read. It is not
    /// looked at before that one has turned out to be as full as those before it.</summary>
    private sealed class Guess(long offset, bool overlaps, CancellationTokenSource stop)
    {
        public long Offset => offset;
        public bool Overlaps => overlaps;
        public CancellationTokenSource Stop => stop;
        public TaskCompletionSource Turn { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
        public Task<Page>? Page { get; set; }
    }

    /// <summary>The page at a place that has been asked for already; <see langword="null"/> when another has, or none.</summary>
    private async Task<Task<Page?>?> GuessedAsync(Place place)
    {
        if (guess is not { } guessed || (guessed.Offset, guessed.Overlaps) != (place.Offset, place.After is not null))
        {
            await DropGuessAsync();
            return null;
        }

        guess = null;
        guessed.Turn.SetResult();
        return ReadAsync(guessed);

        static async Task<Page?> ReadAsync(Guess guessed)
        {
            using (guessed.Stop)
            {
                return await guessed.Page!;
            }
        }
    }

    private async Task DropGuessAsync()
    {
        if (guess is not { } wrong)
        {
            return;
        }

        guess = null;
        await wrong.Stop.CancelAsync();
        await EndedAsync(wrong.Page!);
        wrong.Stop.Dispose();
    }

    /// <summary>Waits for the end, whatever it is.</summary>
    private static async Task EndedAsync(Task task) => await task.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

    /// <summary>The page at an offset; <see langword="null"/> when the provider does not share this collection.</summary>
    private async Task<Page?> FirstOrNextAsync(PageReader<T> reader, Place place, int attempt, CancellationToken cancellationToken)
    {
        var offset = place.Offset;
        RosterException? refusal = null;
        while (true)
        {
            try
            {
                var page = await PageAsync(reader, offset, place.After is not null, Task.CompletedTask, cancellationToken);
                if (selected is not null && offset == 0 && page.Rows > 0 && !page.Records.Exists(r => selected.Came(r)))
                {
                    // It may be that nobody has any; it may be that the server understands a selection in its own way.
                    selected = null;
                    continue;
                }

                if (!sorted && offset == 0)
                {
                    leniencies.Add(Leniency.Unsorted);
                }

                return page;
            }
            catch (RosterException e) when (IsNotShared(e, offset))
            {
                return null;
            }
            catch (RosterException e)
                when (selected is not null && offset == 0 && e is { AtToken: false, StatusCode: 400 or 422 or (>= 500 and < 600) })
            {
                // That pages were asked for smaller and smaller was for this, perhaps.
                (selected, limit) = (null, options.PageSize);
            }
            catch (RosterException e) when (e is { AtToken: false, StatusCode: 400 } && offset == 0 && attempt == 1)
            {
                // Some servers know no sort, some refuse a limit that they find too large. What the first refusal said is what counts.
                refusal ??= e;
                if (sorted)
                {
                    sorted = false;
                }
                else if (limit > RosterClientOptions.SmallestPage)
                {
                    (limit, sorted) = (RosterClientOptions.SmallestPage, true);
                }
                else
                {
                    throw refusal;
                }
            }
        }
    }

    /// <summary>Whether nothing comes after a stated total. Where the page that reaches it may be a full one, the people whom a wrong total
    /// leaves out would be lost without a sign.</summary>
    private async Task<bool> IsEndAsync(
        PageReader<T> reader,
        long offset,
        (string? First, string? Last, int Rows) previous,
        CancellationToken cancellationToken
    )
    {
        try
        {
            // The same page again is from a server that ignores the offset, and is the whole of what it has.
            var page = await PageAsync(reader, offset, repeats: false, Task.CompletedTask, cancellationToken);
            return page.Rows == 0
                || (page.Records.Count > 0 && (page.Records[0].SourcedId, page.Records[^1].SourcedId, page.Rows) == previous);
        }
        catch (RosterException e) when (e is { AtToken: false, StatusCode: >= 400 and < 500 and not (401 or 408 or 429) })
        {
            // Nothing can be asked for past the end, which is where the total says this is.
            return true;
        }
    }

    private bool IsNotShared(RosterException e, long offset) => Optional && offset == 0 && e is { AtToken: false, StatusCode: 403 or 404 };

    private async Task<Page> PageAsync(PageReader<T> reader, long offset, bool repeats, Task turn, CancellationToken cancellationToken)
    {
        try
        {
            return await AskAsync(reader, offset, repeats, turn, cancellationToken);
        }
        catch (RosterException e) when (e is { AtToken: false, StatusCode: 204 } && (Optional || offset > 0 || modifiedAfter is not null))
        {
            // "No content": some say so in place of an empty list.
            return Nothing();
        }
    }

    private Page Nothing() => new([], 0, 0, limit, null, null, null, Masked: false);

    private Task<Page> AskAsync(PageReader<T> reader, long offset, bool repeats, Task turn, CancellationToken cancellationToken)
    {
        var began = options.Time.GetTimestamp();
        var asked = limit;
        Guess? own = null;
        return transport.GetAsync(
            () => Url(offset, asked = limit),
            () => limit = Math.Max(RosterClientOptions.SmallestPage, limit / 2),
            async (response, body, token) =>
            {
                try
                {
                    var page = await reader.ReadAsync(body, repeats, turn, Received, token);
                    observe?.Invoke(
                        new PageSeen(
                            asked,
                            page.Rows,
                            Number(response, "x-total-count"),
                            Header(response, "link") is not null,
                            Header(response, "x-perm-rev") is not null,
                            options.Time.GetElapsedTime(began)
                        )
                    );
                    return new Page(
                        page.Records,
                        page.Rows,
                        page.Unreadable,
                        asked,
                        Number(response, "x-total-count"),
                        Number(response, "x-count"),
                        Header(response, "x-perm-rev"),
                        Header(response, "x-obfuscated") is { } said && !s_notMasked.Contains(said, StringComparer.OrdinalIgnoreCase)
                    );
                }
                catch
                {
                    // Perhaps the page is asked for again, and one request is made at a time.
                    if (own is not null)
                    {
                        await DropGuessAsync();
                        own = null;
                    }

                    throw;
                }

                void Received()
                {
                    // Only where the server says that there is more: a page too many is a request that nobody needs.
                    var end = offset + asked;
                    if (guesses && TryNumber(response, "x-total-count", out var total) && total > end)
                    {
                        var next = overlaps ? end - 1 : end;
                        guess = own = new Guess(next, overlaps, CancellationTokenSource.CreateLinkedTokenSource(stopped));
                        own.Page = PageAsync(reader, next, overlaps, own.Turn.Task, own.Stop.Token);
                    }
                }
            },
            cancellationToken
        );
    }

    private string Url(long offset, int limit)
    {
        var url = string.Create(CultureInfo.InvariantCulture, $"{path}/{key}?limit={limit}&offset={offset}");
        if (sorted)
        {
            url += "&sort=sourcedId&orderBy=asc";
        }

        if (selected is not null)
        {
            url += "&fields=" + Uri.EscapeDataString(selected.Fields);
        }

        if (modifiedAfter is { } after)
        {
            url += "&filter=" + new RosterFilter().And("dateLastModified", ">", after).Encoded;
        }

        return address.With(url);
    }

    /// <summary>What the headers of this page say against the page or against earlier pages.</summary>
    private string? Contradiction(Page page, ref long? total, ref string? revision)
    {
        if (page.Revision is not null)
        {
            if (revision is not null && !string.Equals(revision, page.Revision, StringComparison.Ordinal))
            {
                return "changed its data while it was being read";
            }

            revision = page.Revision;
        }

        if (page.Count is { } count && count != page.Rows)
        {
            return $"says that a page holds {count} {key} but sends {page.Rows}";
        }

        // Some count only what the page holds, which on the empty page after the last is nothing.
        if (page.Total is { } stated && (page.Rows > 0 || total is null))
        {
            if (total is { } before && before != stated)
            {
                return $"changed the number of {key} from {before} to {stated} while they were being read";
            }

            if (page.Rows > 0 || stated > 0)
            {
                total = stated;
            }
        }

        return null;
    }

    /// <summary>Leaves out what came before, except a later state of it. Records without a key are all kept.</summary>
    private static List<T> Distinct(List<T> records, SeenIds seen, int pageNumber, ref long duplicates, ref bool shifted, out int fresh)
    {
        List<T>? kept = null;
        fresh = 0;
        for (var i = 0; i < records.Count; i++)
        {
            var record = records[i];
            if (record.SourcedId is not { } id)
            {
                kept?.Add(record);
                continue;
            }

            if (seen.Add(id, pageNumber, record.LastModified, out var seenOn, out var seenTicks))
            {
                fresh++;
                kept?.Add(record);
                continue;
            }

            duplicates++;
            kept ??= records.GetRange(0, i);
            if (seenOn == pageNumber)
            {
                var at = kept.FindLastIndex(r => string.Equals(r.SourcedId, id, StringComparison.Ordinal));
                if (at >= 0)
                {
                    if (record.LastModified > (kept[at].LastModified ?? DateTimeOffset.MinValue))
                    {
                        kept[at] = record;
                        seen.Touch(id, record.LastModified);
                    }

                    continue;
                }
            }

            // The earlier record has been handed out already; a newer one is handed out after it and replaces it.
            shifted |= seenOn != pageNumber;
            if (record.LastModified is { } modified && modified.UtcTicks > seenTicks)
            {
                kept.Add(record);
                seen.Touch(id, modified);
            }
        }

        return kept ?? records;
    }

    private RosterException IgnoresOffset() =>
        new(
            RosterFault.Incomplete,
            $"{host} sends the same {key} again and again: it ignores the offset, so they cannot be read completely. Tell its operator."
        );

    private long? Number(HttpResponseMessage response, string name)
    {
        if (Header(response, name) is null)
        {
            return null;
        }

        if (TryNumber(response, name, out var number))
        {
            return number;
        }

        context.Count(Leniency.UnreadableCount);
        return null;
    }

    private static bool TryNumber(HttpResponseMessage response, string name, out long number) =>
        long.TryParse(Header(response, name), NumberStyles.None, CultureInfo.InvariantCulture, out number);

    private static string? Header(HttpResponseMessage response, string name)
    {
        var text = response.Headers.TryGetValues(name, out var values) ? string.Join(',', values).Trim() : null;
        return string.IsNullOrEmpty(text) ? null : text;
    }
}
