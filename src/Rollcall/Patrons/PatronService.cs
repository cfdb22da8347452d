using System.Globalization;
using System.Linq.Expressions;
using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Storage;
using Rollcall.Sync;

namespace Rollcall.Patrons;

/// <summary>A patron is not as whoever saves has seen it. Nothing was saved.</summary>
public sealed class PatronChangedException()
    : RollcallException("Somebody changed this patron since you opened the page. Look at the values again, then save once more.");

/// <summary>What to list; null leaves a filter open.</summary>
/// <param name="Search">Part of a name, barcode, Student # or e-mail.</param>
/// <param name="Site">A site's id.</param>
/// <param name="Status">A status.</param>
/// <param name="Level">A grade, exactly.</param>
public sealed record PatronFilter(string? Search = null, int? Site = null, PatronStatus? Status = null, string? Level = null)
{
    /// <summary>Changed at or after this instant.</summary>
    public DateTimeOffset? ChangedSince { get; init; }

    /// <summary>Entered at or after this instant.</summary>
    public DateTimeOffset? CreatedSince { get; init; }

    /// <summary>Those who have no site, and nobody else.</summary>
    public bool NoSite { get; init; }

    /// <summary>A homeroom, exactly.</summary>
    public string? Location { get; init; }

    /// <summary>The role group that the roster gives. People who are not linked have none.</summary>
    public RoleGroup? RoleGroup { get; init; }

    /// <summary>With or without a roster person.</summary>
    public bool? Linked { get; init; }

    /// <summary>Linked ones who have left the roster, as syncs saw, or all but those.</summary>
    public bool? Gone { get; init; }

    /// <summary>These barcodes alone.</summary>
    public IReadOnlyCollection<string>? Barcodes { get; init; }

    /// <summary>Whom this operation, a removal, has planned to remove.</summary>
    public long? InRemoval { get; init; }

    /// <summary>Only patrons of these sites; null is every site, and those who have none.</summary>
    public IReadOnlyList<int>? Sites { get; init; }

    /// <summary>The search looks at names and barcodes alone: what may not be seen may not be found out by searching either.</summary>
    public bool NamesOnly { get; init; }

    /// <summary>Who is meant, in words; empty for everybody.</summary>
    /// <param name="siteName">The name of <see cref="Site"/>; null when there is none.</param>
    /// <param name="kept">The words are kept: they do not say what was searched for, which is mostly somebody's name.</param>
    public string InWords(string? siteName, bool kept = false) =>
        string.Join(
            ", ",
            new[]
            {
                Search is null ? null
                : kept ? "found by a search"
                : $"found by “{Search}”",
                NoSite ? "without a site"
                : siteName is null ? null
                : $"of {siteName}",
                Status is { } status ? $"with the status {PatronFields.StatusWord(status)}" : null,
                Level is null ? null : $"in grade {Level}",
                Location is null ? null : $"in homeroom {Location}",
                RoleGroup is { } group ? RoleGroups.Label(group) : null,
                Linked is { } linked ? (linked ? "linked to the roster" : "not linked to the roster") : null,
                Gone is { } gone ? (gone ? "no longer in the roster" : "not gone from the roster") : null,
                ChangedSince is { } changed
                    ? string.Create(CultureInfo.InvariantCulture, $"changed since {changed:yyyy-MM-dd HH:mm} UTC")
                    : null,
                CreatedSince is { } created
                    ? string.Create(CultureInfo.InvariantCulture, $"entered since {created:yyyy-MM-dd HH:mm} UTC")
                    : null,
                InRemoval is { } removal ? $"whom operation {removal} is to remove" : null,
                Barcodes is { Count: > 0 } ? "picked one by one" : null,
            }.Where(w => w is not null)
        );
}

/// <summary>How a list is sorted.</summary>
public enum PatronSort
{
    Name,
    Barcode,
    Level,
    Updated,
    StudentNumber,

    /// <summary>By the names of sites; those who have none come first.</summary>
    Site,
    Status,
}

/// <summary>Somebody of the same name is at the same site already. Nothing was written.</summary>
public sealed class NamesakeException(Patron twin, bool justNow)
    : RollcallException(
        justNow
            ? $"{twin.DisplayName} was added at this site a moment ago, with the barcode {twin.Barcode}. If this is another person of the same name, add them all the same."
            : $"{twin.DisplayName} is a patron at this site already, with the barcode {twin.Barcode}. If this is another person of the same name, add them all the same."
    )
{
    /// <summary>Of the one who is there.</summary>
    public string Barcode { get; } = twin.Barcode;

    /// <summary>Their name.</summary>
    public string Name { get; } = twin.DisplayName;
}

/// <summary>Patrons as people read and edit them.</summary>
public sealed class PatronService(RollcallDatabase database, TimeProvider time)
{
    /// <summary>So many are sorted whole, however few of them a page shows.</summary>
    private const int FewInGroup = 1000;

    /// <summary>The same of those whom a search finds.</summary>
    private const int Few = 2000;

    /// <summary>So lately somebody was added whom the same form would add once more.</summary>
    private static readonly TimeSpan JustNow = TimeSpan.FromMinutes(5);

    /// <summary>One page of patrons, and how many there are in all.</summary>
    public async Task<(IReadOnlyList<Patron> Patrons, int Total)> PageAsync(
        int districtId,
        PatronFilter filter,
        PatronSort sort,
        bool descending,
        int page,
        int size,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        var isSearch = Text.Clean(filter.Search) is not null;
        if (!isSearch && sort is PatronSort.Name or PatronSort.Barcode or PatronSort.Updated)
        {
            // An index has this order.
            var query = Query(context, districtId, filter);
            var total = await query.CountAsync(cancellationToken);
            return (await Sorted(query, sort, descending).Skip((page - 1) * size).Take(size).ToListAsync(cancellationToken), total);
        }

        // On PostgreSQL the ids that a search finds are found past its lock between districts, under which it uses no index for it; the patrons
        // that are shown are read behind it.
        await using var finding = isSearch ? database.CreateContextAsOwner() : database.CreateContext();
        var among = Query(finding, districtId, filter);
        var (ids, found) = sort switch
        {
            PatronSort.Level => await InGroupsAsync(
                among,
                p => p.Level,
                GradeTable.Order(await GradeTable.ListAsync(context, districtId, cancellationToken)),
                value => p => p.Level == value,
                values => p => values.Contains(p.Level)
            ),
            PatronSort.Site => await InGroupsAsync(
                among,
                p => p.SiteId,
                SiteOrder(await context.Sites.Where(s => s.DistrictId == districtId).ToListAsync(cancellationToken)),
                value => p => p.SiteId == value,
                values => p => values.Contains(p.SiteId)
            ),
            PatronSort.Status => await InGroupsAsync(
                among,
                p => p.Status,
                Comparer<PatronStatus>.Default,
                value => p => p.Status == value,
                values => p => values.Contains(p.Status)
            ),
            PatronSort.StudentNumber => await NumberedAsync(),
            _ => await WholeAsync(),
        };
        var patrons = await context
            .Patrons.AsNoTracking()
            .Where(p => p.DistrictId == districtId && ids.Contains(p.Id))
            .ToDictionaryAsync(p => p.Id, cancellationToken);
        return ([.. ids.Select(id => patrons.GetValueOrDefault(id)).OfType<Patron>()], found);

        // Few whom a search finds are looked for once, not once for the count and once more for the page. Of many, as of a single letter, an index
        // has the first ones in this order: to sort them all takes longer than to count them.
        async Task<(List<long> Ids, int Total)> WholeAsync()
        {
            var (begin, most) = ((page - 1) * size, Math.Max(Few, page * size));
            var first = await Sorted(among, sort, descending).Select(p => p.Id).Take(most + 1).ToListAsync(cancellationToken);
            var total = first.Count <= most ? first.Count : await among.CountAsync(cancellationToken);
            return ([.. first.Skip(begin).Take(size)], total);
        }

        // Few values stand in the way of all patrons in the order of such a column. How many have each of them is counted, and then only those are
        // sorted whose page it is, by name, for which there is an index.
        async Task<(List<long> Ids, int Total)> InGroupsAsync<T>(
            IQueryable<Patron> query,
            Expression<Func<Patron, T>> column,
            IComparer<T> order,
            Func<T, Expression<Func<Patron, bool>>> one,
            Func<List<T>, Expression<Func<Patron, bool>>> several
        )
        {
            var counts = await query.GroupBy(column).Select(g => new { g.Key, Count = g.Count() }).ToListAsync(cancellationToken);
            counts.Sort((a, b) => descending ? order.Compare(b.Key, a.Key) : order.Compare(a.Key, b.Key));
            var shown = new List<long>();
            var (begin, end, at) = ((page - 1) * size, page * size, 0);
            var whole = new List<T>();
            foreach (var group in counts)
            {
                var (first, next) = (at, at + group.Count);
                at = next;
                if (next <= begin || first >= end)
                {
                    continue;
                }

                if (first >= begin && next <= end)
                {
                    whole.Add(group.Key);
                    continue;
                }

                await TakeWholeAsync();
                var ordered = query.Where(one(group.Key)).OrderBy(p => p.NameKey).ThenBy(p => p.Id).Select(p => p.Id);
                var (skip, take) = (Math.Max(begin - first, 0), Math.Min(next, end) - Math.Max(first, begin));
                shown.AddRange(
                    group.Count <= FewInGroup
                        // PostgreSQL would read names from the first one on until it has met enough of them.
                        ? (await ordered.ToListAsync(cancellationToken)).Skip(skip).Take(take)
                        : await ordered.Skip(skip).Take(take).ToListAsync(cancellationToken)
                );
            }

            await TakeWholeAsync();
            return (shown, at);

            async Task TakeWholeAsync()
            {
                if (whole.Count == 0)
                {
                    return;
                }

                var place = whole.Select((key, i) => (key, i)).ToList();
                var of = column.Compile();
                var rows = await query.Where(several(whole)).OrderBy(p => p.NameKey).ThenBy(p => p.Id).ToListAsync(cancellationToken);
                shown.AddRange(rows.OrderBy(p => place.Find(k => EqualityComparer<T>.Default.Equals(k.key, of(p))).i).Select(p => p.Id));
                whole.Clear();
            }
        }

        // Whoever has no number stands behind those who have one, in either direction.
        async Task<(List<long> Ids, int Total)> NumberedAsync()
        {
            var counts = await among
                .GroupBy(p => p.CommunityId != null)
                .Select(g => new { g.Key, Count = g.Count() })
                .ToDictionaryAsync(g => g.Key, g => g.Count, cancellationToken);
            var (numbered, others) = (counts.GetValueOrDefault(true), counts.GetValueOrDefault(false));
            var skip = (page - 1) * size;
            var shown = new List<long>();
            if (skip < numbered)
            {
                shown = await Sorted(among.Where(p => p.CommunityId != null), sort, descending)
                    .Select(p => p.Id)
                    .Skip(skip)
                    .Take(size)
                    .ToListAsync(cancellationToken);
            }

            if (shown.Count < size && others > 0)
            {
                shown.AddRange(
                    await among
                        .Where(p => p.CommunityId == null)
                        .OrderBy(p => p.NameKey)
                        .ThenBy(p => p.Id)
                        .Select(p => p.Id)
                        .Skip(Math.Max(0, skip - numbered))
                        .Take(size - shown.Count)
                        .ToListAsync(cancellationToken)
                );
            }

            return (shown, numbered + others);
        }
    }

    /// <summary>All patrons that match, in order of name, in batches: each once, whoever is renamed meanwhile.</summary>
    public async IAsyncEnumerable<Patron> AllAsync(
        int districtId,
        PatronFilter filter,
        [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken = default
    )
    {
        const int batch = 2000;
        List<long> ids;
        await using (var context = database.CreateContext().AllowLong())
        {
            ids = await Query(context, districtId, filter)
                .OrderBy(p => p.NameKey)
                .ThenBy(p => p.Id)
                .Select(p => p.Id)
                .ToListAsync(cancellationToken);
        }

        foreach (var some in ids.Chunk(batch))
        {
            Dictionary<long, Patron> rows;
            await using (var context = database.CreateContext())
            {
                rows = await Query(context, districtId, filter)
                    .Where(p => some.Contains(p.Id))
                    .ToDictionaryAsync(p => p.Id, cancellationToken);
            }

            // Who is gone by now, or is none of these any more, is left out.
            foreach (var id in some)
            {
                if (rows.TryGetValue(id, out var row))
                {
                    yield return row;
                }
            }
        }
    }

    /// <summary>The next patrons of a list that a program reads in steps.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="filter">Whose.</param>
    /// <param name="after">The id of the last one seen, and the instant of its last change; null begins.</param>
    /// <param name="byChange">In order of the last change, oldest first; otherwise in order of the id, which never changes.</param>
    /// <param name="take">At most so many.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<IReadOnlyList<(Patron Patron, PatronLink? Link)>> NextAsync(
        int districtId,
        PatronFilter filter,
        (DateTimeOffset UpdatedAt, long Id)? after,
        bool byChange,
        int take,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        var query = Query(context, districtId, filter);
        if (after is var (at, id))
        {
            query = byChange ? query.Where(p => p.UpdatedAt > at || (p.UpdatedAt == at && p.Id > id)) : query.Where(p => p.Id > id);
        }

        var sorted = byChange ? query.OrderBy(p => p.UpdatedAt).ThenBy(p => p.Id) : query.OrderBy(p => p.Id);
        var patrons = await sorted.Take(take).ToListAsync(cancellationToken);
        var ids = patrons.Select(p => p.Id).ToArray();
        var links = await context
            .PatronLinks.AsNoTracking()
            .Where(l => l.DistrictId == districtId && ids.Contains(l.PatronId))
            .ToDictionaryAsync(l => l.PatronId, cancellationToken);
        return [.. patrons.Select(p => (p, links.GetValueOrDefault(p.Id)))];
    }

    /// <summary>Says that patrons leave as a file, before the first of them does: as an operation, which people see, and in the audit.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="file">Where to: a file's name without its folder, or what stands for one.</param>
    /// <param name="which">Which patrons, in words; empty when all.</param>
    /// <param name="patrons">How many there are.</param>
    /// <param name="actor">Who takes them.</param>
    /// <param name="cancellationToken">Gives up; the caller must not write the file then.</param>
    public async Task NoteExportAsync(
        int districtId,
        string file,
        string which,
        int patrons,
        Actor actor,
        CancellationToken cancellationToken = default
    )
    {
        var now = time.GetUtcNow();
        await using var context = database.CreateContext();
        context.Operations.Add(
            new Operation
            {
                DistrictId = districtId,
                Kind = OperationKind.Export,
                Status = OperationStatus.Completed,
                Stage = OperationStage.Finished,
                RequestedBy = actor.Name,
                ActingGroup = actor.Right,
                CreatedAt = now,
                StartedAt = now,
                FinishedAt = now,
                Planned = true,
                Options = System.Text.Json.JsonSerializer.Serialize(
                    new { file, which = which.Length == 0 ? null : which },
                    OperationQueue.Json
                ),
                Counts = System.Text.Json.JsonSerializer.Serialize(
                    new SyncCounts { Read = patrons, Unchanged = patrons },
                    OperationQueue.Json
                ),
            }
        );
        context.AuditEntries.Add(
            new Audit.AuditEntry
            {
                DistrictId = districtId,
                At = now,
                Actor = actor.Name,
                Action = "export",
                Details = which.Length == 0 ? $"Patrons to {file}" : $"Patrons to {file}: those {which}",
            }
        );
        await context.SaveChangesAsync(cancellationToken);
    }

    /// <summary>How many patrons a filter finds.</summary>
    public async Task<int> CountAsync(int districtId, PatronFilter filter, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        return await Query(context, districtId, filter).CountAsync(cancellationToken);
    }

    /// <summary>The patron with this barcode.</summary>
    /// <exception cref="RollcallException">There is none.</exception>
    public async Task<(Patron Patron, PatronLink? Link)> GetAsync(
        int districtId,
        string barcode,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        return await FindAsync(context.Patrons.AsNoTracking(), context, districtId, barcode, cancellationToken);
    }

    /// <summary>The patron with this id; null when there is none.</summary>
    public async Task<Patron?> FindAsync(int districtId, long id, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        return await context.Patrons.AsNoTracking().SingleOrDefaultAsync(p => p.DistrictId == districtId && p.Id == id, cancellationToken);
    }

    /// <summary>The patron with this barcode; null when there is none.</summary>
    public async Task<Patron?> WithBarcodeAsync(int districtId, string? barcode, CancellationToken cancellationToken = default)
    {
        if (Text.Clean(barcode) is not { } clean)
        {
            return null;
        }

        var key = Text.BarcodeKey(clean);
        await using var context = database.CreateContext();
        return await context
            .Patrons.AsNoTracking()
            .SingleOrDefaultAsync(p => p.DistrictId == districtId && p.BarcodeKey == key, cancellationToken);
    }

    /// <summary>The grades that patrons of the district have, sorted as texts.</summary>
    public async Task<IReadOnlyList<string>> LevelsAsync(int districtId, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        return await context
            .Patrons.Where(p => p.DistrictId == districtId && p.Level != null)
            .Select(p => p.Level!)
            .Distinct()
            .OrderBy(l => l)
            .ToListAsync(cancellationToken);
    }

    /// <summary>The homerooms that patrons have, at one site or at all, sorted as texts.</summary>
    public async Task<IReadOnlyList<string>> LocationsAsync(int districtId, int? siteId, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        return await context
            .Patrons.Where(p => p.DistrictId == districtId && p.Location != null && (siteId == null || p.SiteId == siteId))
            .Select(p => p.Location!)
            .Distinct()
            .OrderBy(l => l)
            .ToListAsync(cancellationToken);
    }

    /// <summary>Patrons by site and status.</summary>
    public async Task<IReadOnlyList<(int? SiteId, PatronStatus Status, int Count)>> CountsAsync(
        int districtId,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        var rows = await context
            .Patrons.Where(p => p.DistrictId == districtId)
            .GroupBy(p => new { p.SiteId, p.Status })
            .Select(g => new
            {
                g.Key.SiteId,
                g.Key.Status,
                Count = g.Count(),
            })
            .ToListAsync(cancellationToken);
        return [.. rows.Select(r => (r.SiteId, r.Status, r.Count))];
    }

    /// <summary>Changes fields by hand. The change is an operation of its own, with history.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="barcode">Whose.</param>
    /// <param name="changes">Field name, number or label → new value; a blank empties the field; a site is its code.</param>
    /// <param name="actor">Who.</param>
    /// <param name="seen">The patron that the person looked at, as it was then; null when nobody looked.</param>
    /// <param name="cancellationToken">Gives up; nothing is written then.</param>
    /// <returns>The patron as it is now.</returns>
    /// <exception cref="RollcallException">A field or a value is not possible or not the actor's to change, or the patron was changed since it was looked at; nothing was written.</exception>
    public async Task<Patron> EditAsync(
        int districtId,
        string barcode,
        IReadOnlyList<KeyValuePair<string, string?>> changes,
        Actor actor,
        SeenPatron? seen = null,
        CancellationToken cancellationToken = default
    )
    {
        await using var connection = await database.OpenAsync(cancellationToken);
        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
        await database.Bulk.LockDistrictAsync(connection, transaction, districtId, cancellationToken);
        await using var context = database.CreateContext(connection, transaction);
        var (found, _) = await FindAsync(context.Patrons.AsNoTracking(), context, districtId, barcode, cancellationToken);
        await database.Bulk.LockPatronsAsync(connection, transaction, districtId, [found.Id], cancellationToken);
        var (patron, link) = await FindAsync(context.Patrons.AsNoTracking(), context, districtId, barcode, cancellationToken);
        if (seen is { } looked && looked.Id != patron.Id)
        {
            throw AnotherPerson(patron.Barcode);
        }

        if (seen is { } state && state.Version != patron.Version)
        {
            throw new PatronChangedException();
        }

        var values = new ChangeValues();
        foreach (var (name, value) in changes)
        {
            var field = Known(name);
            var canonical = await CanonicalAsync(context, districtId, field, value, cancellationToken);
            var old = field.Get(patron);
            if (string.Equals(old, canonical, StringComparison.Ordinal))
            {
                values.Remove(field.Number);
                continue;
            }

            CheckRight(actor, field);
            CheckLikely(field, canonical);
            await CheckUniqueAsync(context, districtId, patron.Id, field, canonical, cancellationToken);
            values.SetNew(field.Number, old, canonical);
        }

        if (values.Count == 0)
        {
            return patron;
        }

        var change = new Change
        {
            Kind = ChangeKind.Edit,
            Outcome = Outcome.Updated,
            PatronId = patron.Id,
            SiteId = patron.SiteId,
            RoleGroup = link?.RoleGroup ?? RoleGroup.None,
            Values = values.ToJson(),
        };
        // With the GUID the link goes as well.
        if (link is not null && !values.Has(PatronFields.Guid))
        {
            // What the sync remembered no longer says where the patron came from.
            var before = LinkState.Of(link);
            change.LinkBefore = before.ToJson();
            change.Link = (
                before with
                {
                    SyncHash = 0,
                    StatusBefore = values.Has(PatronFields.Status) ? null : before.StatusBefore,
                    LeftSchools = !values.Has(PatronFields.Status) && before.LeftSchools,
                }
            ).ToJson();
        }

        var operation = await ImmediateOperation.RunAsync(
            database,
            connection,
            transaction,
            context,
            new Operation { DistrictId = districtId, Kind = OperationKind.Edit },
            actor,
            [change],
            time,
            cancellationToken
        );
        if (values.Has(PatronFields.Guid))
        {
            await IntegrationService.RequireFullAsync(context, districtId, $"operation {operation.Id} changed a GUID", cancellationToken);
            await context.SaveChangesAsync(cancellationToken);
        }

        var written = await context
            .Patrons.AsNoTracking()
            .SingleAsync(p => p.DistrictId == districtId && p.Id == patron.Id, cancellationToken);
        await transaction.CommitAsync(cancellationToken);
        return written;
    }

    /// <summary>The patrons with these barcodes, each once, in the order given.</summary>
    /// <exception cref="RollcallException">One of them is nobody's.</exception>
    public async Task<IReadOnlyList<(Patron Patron, PatronLink? Link)>> FindAllAsync(
        int districtId,
        IEnumerable<string> barcodes,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        var found = new List<(Patron, PatronLink?)>();
        foreach (var barcode in barcodes.DistinctBy(b => Text.BarcodeKey(b.Trim())))
        {
            found.Add(await FindAsync(context.Patrons.AsNoTracking(), context, districtId, barcode, cancellationToken));
        }

        return found;
    }

    /// <summary>Adds a patron by hand. Without a barcode the site gives its next one; status, policy and group come from its defaults.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="fields">Field name, number or label → value; a site is its code.</param>
    /// <param name="actor">Who.</param>
    /// <param name="besides">For whoever types: the barcode of the namesake whom they were told of, blank where they were told of nobody. Null asks
    /// for no namesakes.</param>
    /// <param name="cancellationToken">Gives up; nothing is written then.</param>
    /// <exception cref="NamesakeException">Somebody of that name is at the site; nothing was written.</exception>
    /// <exception cref="RollcallException">A field or a value is not possible, or last name or barcode are missing; nothing was written.</exception>
    public async Task<Patron> AddAsync(
        int districtId,
        IReadOnlyList<KeyValuePair<string, string?>> fields,
        Actor actor,
        string? besides = null,
        CancellationToken cancellationToken = default
    )
    {
        await using var connection = await database.OpenAsync(cancellationToken);
        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
        await database.Bulk.LockDistrictAsync(connection, transaction, districtId, cancellationToken);
        await using var context = database.CreateContext(connection, transaction);
        var values = new ChangeValues();
        foreach (var (name, value) in fields)
        {
            var field = Known(name);
            if (await CanonicalAsync(context, districtId, field, value, cancellationToken) is { } canonical)
            {
                CheckRight(actor, field);
                CheckLikely(field, canonical);
                await CheckUniqueAsync(context, districtId, patronId: 0, field, canonical, cancellationToken);
                values.SetNew(field.Number, null, canonical);
            }
        }

        if (!values.Has(PatronFields.LastName))
        {
            throw RollcallException.OfValue("A new patron needs a last name.");
        }

        int? siteId = values.New(PatronFields.Site) is { } text ? int.Parse(text, CultureInfo.InvariantCulture) : null;
        var site = siteId is null
            ? null
            : await context.Sites.AsNoTracking().SingleAsync(s => s.DistrictId == districtId && s.Id == siteId, cancellationToken);
        if (besides is not null && site is not null)
        {
            await CheckNotTwiceAsync(context, districtId, values, site, besides, cancellationToken);
        }

        var drawn = !values.Has(PatronFields.Barcode);
        if (drawn)
        {
            if (site is null)
            {
                throw new RollcallException(
                    "A new patron needs a barcode, or a site that gives one: choose the site, or type the barcode of a card."
                );
            }

            var sequences = new Sync.Apply.SiteSequences(districtId, context);
            await sequences.LoadAsync(cancellationToken);
            values.Add(PatronFields.Barcode, null, await sequences.NextFreeAsync(siteId, RoleGroup.None, _ => false, cancellationToken));
        }

        NewPatron.AddDefaults(values, site, null);
        var id = await NewPatron.TakeIdAsync(context, districtId, cancellationToken);
        var operation = await ImmediateOperation.RunAsync(
            database,
            connection,
            transaction,
            context,
            new Operation { DistrictId = districtId, Kind = OperationKind.Edit },
            actor,
            [
                new Change
                {
                    Kind = ChangeKind.Create,
                    Outcome = Outcome.Created,
                    PatronId = id,
                    SiteId = siteId,
                    BarcodeDrawn = drawn,
                    Values = values.ToJson(),
                    Reason = "Added by hand",
                },
            ],
            time,
            cancellationToken
        );
        if (values.Has(PatronFields.Guid))
        {
            // Whether and how the person is in the roster, a sync of changes does not see.
            await IntegrationService.RequireFullAsync(context, districtId, $"operation {operation.Id} gave a GUID", cancellationToken);
            await context.SaveChangesAsync(cancellationToken);
        }

        var written = await context.Patrons.AsNoTracking().SingleAsync(p => p.DistrictId == districtId && p.Id == id, cancellationToken);
        await transaction.CommitAsync(cancellationToken);
        return written;
    }

    /// <summary>A form that is sent twice, by two clicks or from a page that was gone back to, would make a second record of one person, and so would
    /// whoever did not search first. Of two who are known to be born on different days nobody is asked.</summary>
    private async Task CheckNotTwiceAsync(
        RollcallContext context,
        int districtId,
        ChangeValues values,
        Site site,
        string besides,
        CancellationToken cancellationToken
    )
    {
        var person = new Patron
        {
            LastName = values.New(PatronFields.LastName) ?? "",
            FirstName = values.New(PatronFields.FirstName),
            MiddleName = values.New(PatronFields.MiddleName),
        };
        person.SetKeys();
        var born = PatronFields.ParseDate(values.New(PatronFields.Birthdate));
        var (from, beyond) = RangeOf(person.NameKey[..(person.NameKey.LastIndexOf('\u0001') + 1)]);
        var twin = await context
            .Patrons.AsNoTracking()
            .Where(p => p.DistrictId == districtId && p.SiteId == site.Id)
            .Where(p => string.Compare(p.NameKey, from) >= 0 && string.Compare(p.NameKey, beyond) < 0)
            .Where(p => born == null || p.Birthdate == null || p.Birthdate == born)
            .OrderByDescending(p => p.Id)
            .FirstOrDefaultAsync(cancellationToken);
        if (twin is not null && twin.BarcodeKey != Text.BarcodeKey(besides))
        {
            throw new NamesakeException(twin, twin.CreatedAt >= time.GetUtcNow() - JustNow);
        }
    }

    /// <exception cref="RollcallException">The field is not theirs to set.</exception>
    internal static void CheckRight(Actor actor, PatronField field)
    {
        if (PatronGuard.FieldRefusal(actor.Right, field) is { } refusal)
        {
            throw new RollcallException($"{refusal}. Nothing was written.");
        }
    }

    /// <summary>The field that a person names.</summary>
    /// <exception cref="RollcallException">There is none.</exception>
    internal static PatronField Known(string name) =>
        PatronFields.Find(name)
        ?? throw RollcallException.OfValue(
            $"'{Text.Cut(name, 40)}' is no field of a patron. Fields are: {string.Join(", ", PatronFields.All.Select(f => f.Name))}."
        );

    /// <summary>The canonical text of a value; a site's code becomes its id.</summary>
    /// <exception cref="RollcallException">The value does not fit.</exception>
    internal static async Task<string?> CanonicalAsync(
        RollcallContext context,
        int districtId,
        PatronField field,
        string? value,
        CancellationToken cancellationToken
    )
    {
        if (field.Number == PatronFields.Site && Text.Clean(value) is { } code)
        {
            return (await Districts.SiteService.FindAsync(context, districtId, code, cancellationToken)).Id.ToString(
                CultureInfo.InvariantCulture
            );
        }

        return PatronFields.TryCanonical(field, value, out var canonical, out var problem)
            ? canonical
            : throw RollcallException.OfValue($"{problem}; got '{Text.Cut(value ?? "", 60)}'.");
    }

    /// <summary>What people typed that cannot be written, by the field's number: all of it at once.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="patronId">Whose; 0 for a patron who is entered now.</param>
    /// <param name="fields">Field name → value in words.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<IReadOnlyDictionary<int, string>> ProblemsAsync(
        int districtId,
        long patronId,
        IReadOnlyList<KeyValuePair<string, string?>> fields,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        var problems = new Dictionary<int, string>();
        foreach (var (name, value) in fields)
        {
            if (PatronFields.Find(name) is not { } field)
            {
                continue;
            }

            string? canonical = null;
            if (
                field.Number != PatronFields.Site
                && (
                    !PatronFields.TryCanonical(field, value, out canonical, out var problem)
                    || (problem = Unlikely(field, canonical)) is not null
                )
            )
            {
                problems[field.Number] = $"{problem}.";
                continue;
            }

            try
            {
                canonical = await CanonicalAsync(context, districtId, field, value, cancellationToken);
                await CheckUniqueAsync(context, districtId, patronId, field, canonical, cancellationToken);
            }
            catch (RollcallException e)
            {
                problems[field.Number] = e.Message;
            }
        }

        return problems;
    }

    /// <summary>Why a value that a roster may send is not what people mean who type it; null when it may be.</summary>
    private string? Unlikely(PatronField field, string? canonical) =>
        field.Number == PatronFields.Birthdate
        && DateOnly.TryParseExact(canonical, "yyyy-MM-dd", CultureInfo.InvariantCulture, DateTimeStyles.None, out var date)
            // It may be tomorrow already where the district is.
            ? date > DateOnly.FromDateTime(time.GetUtcNow().UtcDateTime).AddDays(1)
                ? "Birthdate lies in the future"
                : date.Year < 1900
                    ? "Birthdate lies before 1900"
                    : null
            : null;

    private void CheckLikely(PatronField field, string? canonical)
    {
        if (Unlikely(field, canonical) is { } problem)
        {
            throw new RollcallException($"{problem}.");
        }
    }

    private static async Task CheckUniqueAsync(
        RollcallContext context,
        int districtId,
        long patronId,
        PatronField field,
        string? value,
        CancellationToken cancellationToken
    )
    {
        if (value is null)
        {
            return;
        }

        if (field.Number == PatronFields.Barcode)
        {
            var key = Text.BarcodeKey(value);
            if (
                await context.Patrons.AnyAsync(
                    p => p.DistrictId == districtId && p.BarcodeKey == key && p.Id != patronId,
                    cancellationToken
                )
            )
            {
                throw new RollcallException($"Barcode {value} belongs to another patron. Choose another one.");
            }
        }
        else if (
            field.Number == PatronFields.Guid
            && (
                await context.Patrons.AnyAsync(p => p.DistrictId == districtId && p.Guid == value && p.Id != patronId, cancellationToken)
                || (
                    await PatronAliases.FindAsync(context.PatronLinks.Where(l => l.DistrictId == districtId), value, cancellationToken)
                ).Exists(id => id != patronId)
            )
        )
        {
            throw new RollcallException($"GUID {value} belongs to another patron. One roster person is one patron.");
        }
    }

    /// <summary>What to look at after a patron was added or changed by hand; null for nothing. The change is written, and may be right.</summary>
    /// <param name="now">The patron as written.</param>
    /// <param name="before">The patron as it was; null for a new one.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<string?> DoubtAsync(Patron now, Patron? before, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(now);
        if (string.Equals(now.CommunityId, before?.CommunityId, StringComparison.Ordinal))
        {
            return null;
        }

        await using var context = database.CreateContext();
        return await SharedNumberAsync(context, now.DistrictId, now.Id, now.CommunityId, cancellationToken);
    }

    /// <summary>A Student # is no key here as a barcode is: two may have one for a while. A sync sends whoever comes with it to Review.</summary>
    internal static async Task<string?> SharedNumberAsync(
        RollcallContext context,
        int districtId,
        long patronId,
        string? number,
        CancellationToken cancellationToken
    ) =>
        Text.CleanKey(number) is { Length: > 0 } key
        && await context.Patrons.AnyAsync(
            p => p.DistrictId == districtId && p.Id != patronId && (p.CommunityId == number || p.CommunityId == key),
            cancellationToken
        )
            ? $"Student # {Text.Cut(key, 60)} is another patron's, too. Search for it: perhaps one person stands twice, or one of the numbers is wrong."
            : null;

    /// <summary>Others of a patron's last name, those of the same first name before the rest.</summary>
    /// <param name="patron">Whose name it is.</param>
    /// <param name="most">No more than these.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<IReadOnlyList<Patron>> NamesakesAsync(Patron patron, int most, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(patron);
        var last = patron.NameKey[..(patron.NameKey.IndexOf('\u0001', StringComparison.Ordinal) + 1)];
        var both = patron.NameKey[..(patron.NameKey.LastIndexOf('\u0001') + 1)];
        await using var context = database.CreateContext();
        var found = await BeginAsync(both);
        if (found.Count < most)
        {
            found = [.. found.Concat(await BeginAsync(last)).DistinctBy(p => p.Id).Take(most)];
        }

        return found;

        Task<List<Patron>> BeginAsync(string beginning)
        {
            var (from, beyond) = RangeOf(beginning);
            return context
                .Patrons.AsNoTracking()
                .Where(p => p.DistrictId == patron.DistrictId && p.Id != patron.Id)
                .Where(p => string.Compare(p.NameKey, from) >= 0 && string.Compare(p.NameKey, beyond) < 0)
                .OrderBy(p => p.NameKey)
                .ThenBy(p => p.Id)
                .Take(most)
                .ToListAsync(cancellationToken);
        }
    }

    /// <summary>The names that begin so, as a range, which an index answers: PostgreSQL compares beginnings only past its lock between districts, by
    /// reading everybody.</summary>
    /// <param name="beginning">Up to the sign between two names, that sign included.</param>
    private static (string From, string Beyond) RangeOf(string beginning) => (beginning, $"{beginning[..^1]}\u0002");

    /// <summary>Whether a list of everybody whom a search finds has this patron in it.</summary>
    public static bool Finds(string? search, Patron patron)
    {
        ArgumentNullException.ThrowIfNull(patron);
        return Text.Clean(search) is not { } asked
            || (Text.Words(asked) is { Count: > 0 } words && words.All(w => patron.SearchKey.Contains(w, StringComparison.Ordinal)));
    }

    /// <summary>What is said to whoever looked at one patron and names, with the barcode which that one had, another.</summary>
    internal static RollcallException AnotherPerson(string barcode) =>
        new(
            $"The barcode {Text.Cut(barcode, 40)} belongs to another person since you looked. Nothing was changed: search for the one you mean."
        );

    /// <summary>What is said of a barcode that nobody has, or nobody whom the asker may see.</summary>
    internal static RollcallException Nobody(string barcode) =>
        RollcallException.OfNobody($"There is no patron with the barcode {Text.Cut(barcode, 40)}.");

    private static async Task<(Patron, PatronLink?)> FindAsync(
        IQueryable<Patron> patrons,
        RollcallContext context,
        int districtId,
        string barcode,
        CancellationToken cancellationToken
    )
    {
        var key = Text.BarcodeKey(barcode.Trim());
        var patron =
            await patrons.SingleOrDefaultAsync(p => p.DistrictId == districtId && p.BarcodeKey == key, cancellationToken)
            ?? throw Nobody(barcode);
        var link = await context
            .PatronLinks.AsNoTracking()
            .SingleOrDefaultAsync(l => l.DistrictId == districtId && l.PatronId == patron.Id, cancellationToken);
        return (patron, link);
    }

    /// <summary>No site first, then sites by name.</summary>
    private static Comparer<int?> SiteOrder(IEnumerable<Site> sites)
    {
        var places = sites
            .OrderBy(s => s.Name, StringComparer.OrdinalIgnoreCase)
            .ThenBy(s => s.Id)
            .Select((s, i) => (s.Id, Place: i + 1))
            .ToDictionary(s => s.Id, s => s.Place);
        return Comparer<int?>.Create((a, b) => Place(a).CompareTo(Place(b)));

        int Place(int? site) => site is { } id ? places.GetValueOrDefault(id) : -1;
    }

    private static IQueryable<Patron> Sorted(IQueryable<Patron> query, PatronSort sort, bool descending) =>
        (sort, descending) switch
        {
            (PatronSort.Barcode, false) => query.OrderBy(p => p.BarcodeKey).ThenBy(p => p.Id),
            (PatronSort.Barcode, true) => query.OrderByDescending(p => p.BarcodeKey).ThenBy(p => p.Id),
            (PatronSort.StudentNumber, false) => query.OrderBy(p => p.CommunityId).ThenBy(p => p.NameKey).ThenBy(p => p.Id),
            (PatronSort.StudentNumber, true) => query.OrderByDescending(p => p.CommunityId).ThenBy(p => p.NameKey).ThenBy(p => p.Id),
            (PatronSort.Updated, false) => query.OrderBy(p => p.UpdatedAt).ThenBy(p => p.NameKey).ThenBy(p => p.Id),
            (PatronSort.Updated, true) => query.OrderByDescending(p => p.UpdatedAt).ThenBy(p => p.NameKey).ThenBy(p => p.Id),
            (_, true) => query.OrderByDescending(p => p.NameKey).ThenBy(p => p.Id),
            _ => query.OrderBy(p => p.NameKey).ThenBy(p => p.Id),
        };

    private static IQueryable<Patron> Query(RollcallContext context, int districtId, PatronFilter filter)
    {
        var query = context.Patrons.AsNoTracking().Where(p => p.DistrictId == districtId);
        if (Text.Clean(filter.Search) is { } search)
        {
            var words = Text.Words(search);
            if (words.Count == 0)
            {
                // Marks alone: every name would have them.
                query = query.Where(p => false);
            }

            foreach (var word in words)
            {
                query = filter.NamesOnly
                    ? query.Where(p => p.NameKey.Contains(word) || p.BarcodeKey.Contains(word))
                    : query.Where(p => p.SearchKey.Contains(word));
            }
        }

        if (filter.Sites is { } sites)
        {
            query = query.Where(p => p.SiteId != null && sites.Contains(p.SiteId.Value));
        }

        if (filter.NoSite)
        {
            query = query.Where(p => p.SiteId == null);
        }

        if (filter.Site is { } site)
        {
            query = query.Where(p => p.SiteId == site);
        }

        if (filter.Status is { } status)
        {
            query = query.Where(p => p.Status == status);
        }

        if (filter.Level is { } level)
        {
            query = query.Where(p => p.Level == level);
        }

        if (filter.ChangedSince is { } since)
        {
            query = query.Where(p => p.UpdatedAt >= since);
        }

        if (filter.CreatedSince is { } entered)
        {
            query = query.Where(p => p.CreatedAt >= entered);
        }

        if (filter.Location is { } location)
        {
            query = query.Where(p => p.Location == location);
        }

        if (filter.Linked is { } linked)
        {
            query = linked ? query.Where(p => p.Guid != null) : query.Where(p => p.Guid == null);
        }

        if (filter.Gone is { } gone)
        {
            var absent = context.PatronLinks.Where(l => l.DistrictId == districtId && l.Absent).Select(l => l.PatronId);
            query = gone ? query.Where(p => absent.Contains(p.Id)) : query.Where(p => !absent.Contains(p.Id));
        }

        if (filter.RoleGroup is { } group)
        {
            query = query.Where(p =>
                context.PatronLinks.Any(l => l.DistrictId == p.DistrictId && l.PatronId == p.Id && l.RoleGroup == group)
            );
        }

        if (filter.Barcodes is { } barcodes)
        {
            var keys = barcodes.Select(b => Text.BarcodeKey(b.Trim())).Distinct().ToArray();
            query = query.Where(p => keys.Contains(p.BarcodeKey));
        }

        if (filter.InRemoval is { } removal)
        {
            var planned = context
                .Changes.Where(c => c.DistrictId == districtId && c.OperationId == removal && c.Kind == ChangeKind.Remove)
                .Select(c => c.PatronId);
            query = query.Where(p => planned.Contains((long?)p.Id));
        }

        return query;
    }
}
