using System.Data.Common;
using System.Globalization;
using System.Linq.Expressions;
using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Audit;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Review;
using Rollcall.SignIn;
using Rollcall.Storage;
using Rollcall.Sync;

namespace Rollcall.Patrons.Erasure;

/// <summary>Looks everywhere for one person. It reads a district's whole log, so it is for rare questions.</summary>
internal sealed class PersonSearch(IBulkStore bulk, RollcallContext context, int districtId)
{
    private const int MentionsShown = 10;

    /// <summary>Fields whose value is one person's, as long as nobody else has it.</summary>
    private static readonly int[] s_own =
    [
        PatronFields.Barcode,
        PatronFields.CommunityId,
        PatronFields.GovernmentId,
        PatronFields.Email,
        PatronFields.Guid,
    ];

    /// <summary>Fields that go from a row of somebody else together with the values of <see cref="s_own"/>.</summary>
    private static readonly int[] s_with =
    [
        PatronFields.LastName,
        PatronFields.FirstName,
        PatronFields.MiddleName,
        PatronFields.Birthdate,
        PatronFields.Phone,
        PatronFields.AdditionalContact,
        PatronFields.OtherEmails,
    ];

    /// <summary>The records that somebody asks for: a patron's barcode, the barcode of one who was removed, a roster's id, or the barcode that
    /// a plan had for somebody who never became a patron.</summary>
    /// <returns>Patron ids and roster ids; both empty when there is nobody.</returns>
    /// <exception cref="RollcallException">Plans had that barcode for more than one person.</exception>
    public async Task<(long[] PatronIds, string[] RosterIds)> ResolveAsync(string asked, CancellationToken cancellationToken)
    {
        asked = asked.Trim();
        var key = Text.BarcodeKey(asked);
        var present = await context
            .Patrons.Where(p => p.DistrictId == districtId && p.BarcodeKey == key)
            .Select(p => (long?)p.Id)
            .SingleOrDefaultAsync(cancellationToken);
        if (present is { } id)
        {
            return ([id], []);
        }

        var removed = await NobodysRows(ChangeKind.Remove, $"\"{PatronFields.Barcode}\":[{Quoted(key)}")
            .Select(c => c.PatronId!.Value)
            .Distinct()
            .ToArrayAsync(cancellationToken);
        return removed.Length > 0 ? (removed, [])
            : await ByRosterIdAsync(asked, cancellationToken) is { } known ? known
            : await ProposedAsync(Proposed(key), cancellationToken);
    }

    /// <summary>Rows of people who are no patrons, in whose values a text is.</summary>
    private IQueryable<Change> NobodysRows(ChangeKind kind, string text) =>
        context
            .Changes.AsNoTracking()
            .Where(c => c.DistrictId == districtId && c.Kind == kind && c.PatronId != null)
#pragma warning disable CA1862 // Databases know no StringComparison.
            .Where(c => c.Values.ToLower().Contains(text))
#pragma warning restore CA1862
            .Where(c => !context.Patrons.Any(p => p.DistrictId == districtId && p.Id == c.PatronId));

    private static string Quoted(string key) => $"\"{OperationQueue.Json.Encoder!.Encode(key)}\"";

    /// <summary>How values say that somebody new gets this barcode.</summary>
    private static string Proposed(string key) => $"\"{PatronFields.Barcode}\":[null,{Quoted(key)}";

    /// <summary>Whom the roster calls so; null when nothing is kept of anybody whom it does.</summary>
    private async Task<(long[] PatronIds, string[] RosterIds)?> ByRosterIdAsync(string asked, CancellationToken cancellationToken)
    {
        var holder =
            await context
                .Patrons.Where(p => p.DistrictId == districtId && p.Guid == asked)
                .Select(p => (long?)p.Id)
                .SingleOrDefaultAsync(cancellationToken)
            ?? await AliasHolderAsync(asked, cancellationToken);
        if (holder is { } patron)
        {
            return ([patron], []);
        }

        // A plan that nobody approved has numbers for patrons who never were.
        var rows = await context
            .Changes.Where(c => c.DistrictId == districtId && c.RosterId == asked)
            .Where(c => c.PatronId == null || !context.Patrons.Any(p => p.DistrictId == districtId && p.Id == c.PatronId))
            .Select(c => c.PatronId)
            .Distinct()
            .ToListAsync(cancellationToken);
        return
            rows.Count > 0 || await context.ReviewItems.AnyAsync(r => r.DistrictId == districtId && r.RosterId == asked, cancellationToken)
            ? ([.. rows.OfType<long>()], [asked])
            : null;
    }

    private async Task<long?> AliasHolderAsync(string rosterId, CancellationToken cancellationToken) =>
        await PatronAliases.FindAsync(
            context.PatronLinks.AsNoTracking().Where(l => l.DistrictId == districtId),
            rosterId,
            cancellationToken
        )
            is [var one]
            ? one
            : null;

    /// <summary>Who was to get a barcode in a plan that came to nothing.</summary>
    private async Task<(long[] PatronIds, string[] RosterIds)> ProposedAsync(string text, CancellationToken cancellationToken)
    {
        var rows = await NobodysRows(ChangeKind.Create, text).ToListAsync(cancellationToken);
        var people = rows.Select(r => r.RosterId ?? Name(r)).Distinct(StringComparer.Ordinal).ToList();
        if (people.Count > 1)
        {
            var rosterIds = rows.Select(r => r.RosterId).OfType<string>().Distinct(StringComparer.Ordinal).ToList();
            throw new RollcallException(
                $"{people.Count} people were to get this barcode and none did: see the logs of operations {string.Join(", ", rows.Select(r => r.OperationId).Distinct().Order())}. "
                    + (
                        rosterIds.Count == 0
                            ? "Removing what is old takes them out."
                            : $"Ask by the roster's id: {string.Join(", ", rosterIds)}."
                    )
            );
        }

        return rows.Select(r => r.RosterId).FirstOrDefault() is { } rosterId
            ? await ByRosterIdAsync(rosterId, cancellationToken) ?? ([], [])
            : ([.. rows.Select(r => r.PatronId!.Value).Distinct()], []);

        static string Name(Change row)
        {
            var values = ChangeValues.Parse(row.Values);
            return $"{Text.Fold(values.New(PatronFields.LastName))}\n{Text.Fold(values.New(PatronFields.FirstName))}";
        }
    }

    /// <summary>Everything that is kept of the person.</summary>
    /// <param name="patronIds">Records known to be the person's.</param>
    /// <param name="rosterIds">Roster ids known to be the person's.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<PersonRecord> FindAsync(
        IReadOnlyCollection<long> patronIds,
        IReadOnlyCollection<string> rosterIds,
        CancellationToken cancellationToken
    )
    {
        var patron = await context
            .Patrons.AsNoTracking()
            .FirstOrDefaultAsync(p => p.DistrictId == districtId && patronIds.Contains(p.Id), cancellationToken);
        var link = patron is null
            ? null
            : await context
                .PatronLinks.AsNoTracking()
                .SingleOrDefaultAsync(l => l.DistrictId == districtId && l.PatronId == patron.Id, cancellationToken);
        var (ids, rows) = await OwnRowsAsync(patronIds, cancellationToken);
        var values = ValuesOf(patron, rows);
        var usernames = new HashSet<string?>(StringComparer.Ordinal) { link?.Username };
        foreach (var state in rows.SelectMany(r => new[] { LinkState.Parse(r.Link), LinkState.Parse(r.LinkBefore) }).OfType<LinkState>())
        {
            usernames.Add(state.Username);
            values[PatronFields.Guid].UnionWith(Lines(state.Aliases));
        }

        values[PatronFields.Guid].UnionWith(rows.Select(r => r.RosterId).OfType<string>());
        values[PatronFields.Guid].UnionWith(Lines(link?.Aliases));
        values[PatronFields.Guid].UnionWith(rosterIds);
        await LeaveToOthersAsync(ids, values, cancellationToken);
        string[] roster = [.. values[PatronFields.Guid]];

        // What waits in Review under these ids, and those who may be the same person.
        var reviews = (await context.ReviewItems.AsNoTracking().Where(r => r.DistrictId == districtId).ToListAsync(cancellationToken))
            .Where(r =>
                roster.Contains(r.RosterId, StringComparer.Ordinal) || (r.Status == ReviewStatus.Open && Candidates(r).Any(ids.Contains))
            )
            .ToList();
        string[] rosterToo = [.. roster.Union(reviews.Select(r => r.RosterId))];
        var known = rows.Select(r => (r.OperationId, r.Number)).ToHashSet();
        foreach (
            var row in await context
                .Changes.AsNoTracking()
                .Where(c => c.DistrictId == districtId && c.RosterId != null && rosterToo.Contains(c.RosterId))
                .ToListAsync(cancellationToken)
        )
        {
            // Of who may be the same person only what is no other patron's.
            if ((row.PatronId is null || roster.Contains(row.RosterId, StringComparer.Ordinal)) && known.Add((row.OperationId, row.Number)))
            {
                rows.Add(row);
            }
        }

        foreach (var review in reviews)
        {
            var mapped = ChangeValues.Parse(review.Values);
            foreach (var field in s_own)
            {
                if (mapped.New(field) is { } value && roster.Contains(review.RosterId, StringComparer.Ordinal))
                {
                    values[field].Add(value);
                }
            }
        }

        await LeaveToOthersAsync(ids, values, cancellationToken);
        var terms = new PersonTerms([.. s_own.SelectMany(f => values[f]), .. usernames, .. NamesOf(patron, rows)]);
        var operationIds = rows.Select(r => r.OperationId).Distinct().ToArray();
        var sessions = await context
            .SignInSessions.AsNoTracking()
            .Where(s => s.DistrictId == districtId && s.PatronId != null && ids.Contains(s.PatronId.Value))
            .ToListAsync(cancellationToken);
        var tokens = (await context.AccessTokens.AsNoTracking().Where(t => t.DistrictId == districtId).ToListAsync(cancellationToken))
            .Where(t => (t.PatronId is { } by && ids.Contains(by)) || terms.In(t.CreatedBy) || terms.In(t.Name))
            .ToList();
        var notices = (await ByTextAsync(context.Notices, "notices", ["target", "subject", "body", "error"], terms, cancellationToken))
            .Where(n => terms.In(n.Target) || terms.In(n.Subject) || terms.In(n.Body) || terms.In(n.Error))
            .ToList();
        var audit = await AuditAsync(terms, 0, cancellationToken);
        var operations = (
            await ByTextAsync(
                context.Operations,
                "operations",
                ["options", "error", "warnings", "requested_by", "approved_by", "stage_text"],
                terms,
                cancellationToken
            )
        )
            .UnionBy(
                await context
                    .Operations.AsNoTracking()
                    .Where(o => o.DistrictId == districtId && o.Kind == OperationKind.PersonSync && operationIds.Contains(o.Id))
                    .ToListAsync(cancellationToken),
                o => o.Id
            )
            .Where(o =>
                (o.Kind == OperationKind.PersonSync && operationIds.Contains(o.Id))
                || terms.In(o.RequestedBy)
                || terms.In(o.ApprovedBy)
                || terms.In(o.Error)
                || terms.In(o.StageText)
                || terms.WithoutInJson(o.Options) != o.Options
                || terms.WithoutInJson(o.Warnings) != o.Warnings
            )
            .ToList();
        var others = (
            await ByTextAsync(context.Changes, "changes", ["values", "reason", "warning", "link", "link_before"], terms, cancellationToken)
        )
            .Where(c => !known.Contains((c.OperationId, c.Number)))
            .Where(c => terms.In(c.Reason) || terms.In(c.Warning) || WithoutPerson(c.Values, values, terms) != c.Values)
            .ToList();
        var switches = (await context.SwitchRecords.AsNoTracking().Where(r => r.DistrictId == districtId).ToListAsync(cancellationToken))
            .Where(r => WithoutPerson(r, roster, terms) != r.Data)
            .ToList();
        return new PersonRecord
        {
            Patron = patron,
            Link = link,
            PatronIds = ids,
            RosterIds = roster,
            Terms = terms,
            Values = values,
            Rows = [.. rows.OrderBy(r => r.OperationId).ThenBy(r => r.Number)],
            OthersRows = others,
            Reviews = reviews,
            RowOperations = await context
                .Operations.AsNoTracking()
                .Where(o => o.DistrictId == districtId && operationIds.Contains(o.Id))
                .ToDictionaryAsync(o => o.Id, cancellationToken),
            Operations = operations,
            Switches = switches,
            Audit = audit,
            Sessions = sessions,
            Tokens = tokens,
            Notices = notices,
            MentionedBy = await MentionsAsync(ids, terms, cancellationToken),
        };
    }

    /// <summary>Lines of the audit that name the person.</summary>
    /// <param name="terms">Who it is.</param>
    /// <param name="after">Only lines with a higher number.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<List<AuditEntry>> AuditAsync(PersonTerms terms, long after, CancellationToken cancellationToken) =>
        [
            .. (
                await ByTextAsync(context.AuditEntries, "audit_entries", ["actor", "details"], terms, cancellationToken, a => a.Id > after)
            ).Where(a => terms.In(a.Actor) || terms.In(a.Details)),
        ];

    /// <summary>Values of a row about somebody else, without those that are this person's.</summary>
    public static string WithoutPerson(string json, IReadOnlyDictionary<int, HashSet<string>> person, PersonTerms terms)
    {
        var items = ChangeValues.Parse(json).Items;
        bool IsTheirs(int field, string? value) => value is not null && person.TryGetValue(field, out var own) && own.Contains(value);
        var isAbout = items.Any(i => s_own.Contains(i.Field) && (IsTheirs(i.Field, i.Old) || IsTheirs(i.Field, i.New)));
        if (!isAbout && !items.Any(i => i.Field == PatronFields.Notes && (terms.In(i.Old) || terms.In(i.New))))
        {
            return json;
        }

        var clean = new ChangeValues();
        foreach (var (field, old, value) in items)
        {
            clean.Add(field, Clean(field, old), Clean(field, value));
        }

        return clean.ToJson();

        string? Clean(int field, string? value) =>
            field == PatronFields.Notes ? terms.Without(value)
            : isAbout && IsTheirs(field, value) ? null
            : value;
    }

    /// <summary>What a switch kept, without what waited in Review of this person.</summary>
    public static string WithoutPerson(SwitchRecord record, IReadOnlyCollection<string> rosterIds, PersonTerms terms)
    {
        var was = JsonSerializer.Deserialize<SwitchedOff>(record.Data, IntegrationService.Json)!;
        return was.Reviews.RemoveAll(r => rosterIds.Contains(r.RosterId) || terms.In(r.Values) || terms.In(r.Reason)) == 0
            ? record.Data
            : JsonSerializer.Serialize(was, IntegrationService.Json);
    }

    /// <summary>Rows under the person's records; those that a merge took out count as theirs.</summary>
    private async Task<(HashSet<long> Ids, List<Change> Rows)> OwnRowsAsync(
        IReadOnlyCollection<long> patronIds,
        CancellationToken cancellationToken
    )
    {
        var ids = new HashSet<long>();
        var rows = new List<Change>();
        var next = patronIds.ToArray();
        while (next.Length > 0)
        {
            ids.UnionWith(next);
            var found = await context
                .Changes.AsNoTracking()
                .Where(c => c.DistrictId == districtId && c.PatronId != null && next.Contains(c.PatronId.Value))
                .ToListAsync(cancellationToken);
            rows.AddRange(found);
            var operations = found.Select(r => r.OperationId).Distinct().ToArray();
            var merged = await context
                .Operations.Where(o => o.DistrictId == districtId && o.Kind == OperationKind.Merge && operations.Contains(o.Id))
                .Join(
                    context.Changes.Where(c => c.DistrictId == districtId && c.PatronId != null),
                    o => o.Id,
                    c => c.OperationId,
                    (o, c) => c.PatronId!.Value
                )
                .Where(id => !context.Patrons.Any(p => p.DistrictId == districtId && p.Id == id))
                .Distinct()
                .ToListAsync(cancellationToken);
            next = [.. merged.Except(ids)];
        }

        return (ids, rows);
    }

    private static Dictionary<int, HashSet<string>> ValuesOf(Patron? patron, IEnumerable<Change> rows)
    {
        var values = s_own.Concat(s_with).ToDictionary(f => f, _ => new HashSet<string>(StringComparer.Ordinal));
        foreach (var (field, set) in values)
        {
            if (patron is not null && PatronFields.ByNumber(field).Get(patron) is { } current)
            {
                set.Add(current);
            }
        }

        foreach (var (field, old, value) in rows.SelectMany(r => ChangeValues.Parse(r.Values).Items))
        {
            if (values.TryGetValue(field, out var set))
            {
                set.UnionWith(new[] { old, value }.OfType<string>());
            }
        }

        return values;
    }

    /// <summary>An id or address that somebody else has now is theirs as well: it stays.</summary>
    private async Task LeaveToOthersAsync(HashSet<long> ids, Dictionary<int, HashSet<string>> values, CancellationToken cancellationToken)
    {
        var others = context.Patrons.AsNoTracking().Where(p => p.DistrictId == districtId && !ids.Contains(p.Id));
        var barcodes = values[PatronFields.Barcode].Select(Text.BarcodeKey).ToArray();
        var emails = values[PatronFields.Email].Select(Text.EmailKey).OfType<string>().ToArray();
        var guids = values[PatronFields.Guid].ToArray();
        var held = (
            await others.Where(p => barcodes.Contains(p.BarcodeKey)).Select(p => p.BarcodeKey).ToListAsync(cancellationToken)
        ).ToHashSet(StringComparer.Ordinal);
        values[PatronFields.Barcode].RemoveWhere(b => held.Contains(Text.BarcodeKey(b)));
        foreach (var barcode in values[PatronFields.Barcode].ToList())
        {
            // Plans that came to nothing had one number for several people: what somebody else's still says stays.
            var own = values[PatronFields.Guid].ToArray();
            if (
                await NobodysRows(ChangeKind.Create, Proposed(Text.BarcodeKey(barcode)))
                    .AnyAsync(c => !ids.Contains(c.PatronId!.Value) && !own.Contains(c.RosterId), cancellationToken)
            )
            {
                values[PatronFields.Barcode].Remove(barcode);
            }
        }

        held = (
            await others
                .Where(p => p.EmailKey != null && emails.Contains(p.EmailKey))
                .Select(p => p.EmailKey!)
                .ToListAsync(cancellationToken)
        ).ToHashSet(StringComparer.Ordinal);
        values[PatronFields.Email].RemoveWhere(e => Text.EmailKey(e) is { } key && held.Contains(key));
        held = (await others.Where(p => guids.Contains(p.Guid)).Select(p => p.Guid!).ToListAsync(cancellationToken)).ToHashSet(
            StringComparer.Ordinal
        );
        foreach (
            var aliases in await context
                .PatronLinks.Where(l => l.DistrictId == districtId && l.Aliases != null && !ids.Contains(l.PatronId))
                .Select(l => l.Aliases)
                .ToListAsync(cancellationToken)
        )
        {
            held.UnionWith(Lines(aliases));
        }

        values[PatronFields.Guid].ExceptWith(held);
    }

    private static IEnumerable<string?> NamesOf(Patron? patron, IEnumerable<Change> rows)
    {
        if (patron?.FirstName is not null)
        {
            yield return patron.DisplayName;
            yield return $"{patron.FirstName} {patron.LastName}";
        }

        foreach (var row in rows)
        {
            var values = ChangeValues.Parse(row.Values);
            foreach (var old in (bool[])[false, true])
            {
                string? Of(int field) => old ? values.Old(field) : values.New(field);
                var last = Of(PatronFields.LastName) ?? (values.Has(PatronFields.FirstName) ? patron?.LastName : null);
                var first = Of(PatronFields.FirstName) ?? (values.Has(PatronFields.LastName) ? patron?.FirstName : null);
                if (last is not null && first is not null)
                {
                    yield return $"{last}, {first}";
                    yield return $"{first} {last}";
                }
            }
        }
    }

    /// <summary>Rows of a table in which one of the columns may name the person. The caller looks again, word by word.</summary>
    private async Task<List<T>> ByTextAsync<T>(
        DbSet<T> set,
        string table,
        string[] columns,
        PersonTerms terms,
        CancellationToken cancellationToken,
        Expression<Func<T, bool>>? among = null
    )
        where T : class
    {
        var words = terms.ForSearch.ToArray();
        if (words.Length == 0)
        {
            return [];
        }

        var conditions = columns.SelectMany(c => words.Select((_, i) => $"{bulk.PositionOf}(lower(\"{c}\"), {{{i + 1}}}) > 0"));
        // Table, columns and function are this program's own words; what is looked for goes in as parameters.
#pragma warning disable EF1002
        var found = set.FromSqlRaw(
                $"SELECT * FROM {table} WHERE district_id = {{0}} AND ({string.Join(" OR ", conditions)})",
                [districtId, .. words]
            )
            .AsNoTracking();
        return await (among is null ? found : found.Where(among)).ToListAsync(cancellationToken);
#pragma warning restore EF1002
    }

    private async Task<IReadOnlyList<string>> MentionsAsync(HashSet<long> ids, PersonTerms terms, CancellationToken cancellationToken) =>
        [
            .. (
                await ByTextAsync(
                    context.Patrons,
                    "patrons",
                    ["location", "additional_contact", "other_emails", "notes"],
                    terms,
                    cancellationToken
                )
            )
                .Where(p => !ids.Contains(p.Id))
                .Where(p => terms.In(p.Location) || terms.In(p.AdditionalContact) || terms.In(p.OtherEmails) || terms.In(p.Notes))
                .Select(p => p.Barcode)
                .Order(StringComparer.Ordinal)
                .Take(MentionsShown + 1),
        ];

    private static long[] Candidates(ReviewItem item) => JsonSerializer.Deserialize<long[]>(item.Candidates) ?? [];

    private static string[] Lines(string? lines) => lines?.Split('\n', StringSplitOptions.RemoveEmptyEntries) ?? [];
}
