using System.Data.Common;
using System.Globalization;
using System.Linq.Expressions;
using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Audit;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Retention;
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

    /// <summary>Fields of others in whose texts the person may be named.</summary>
    private static readonly int[] s_free =
    [
        PatronFields.Location,
        PatronFields.AdditionalContact,
        PatronFields.OtherEmails,
        PatronFields.Notes,
    ];

    /// <summary>The records that somebody asks for: a patron's barcode, the barcode of one who was removed, a roster's id, or the barcode that
    /// a plan had for somebody who never became a patron.</summary>
    /// <returns>Patron ids and roster ids; both empty when there is nobody.</returns>
    /// <exception cref="RollcallException">More than one person had that barcode and was removed, or was to get it.</exception>
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

        // A card goes from hand to hand: whoever had it and is gone may be several people.
        var removed = await NobodysRows(ChangeKind.Remove, $"\"{PatronFields.Barcode}\":[{Quoted(key)}").ToListAsync(cancellationToken);
        if (removed.Count > 0)
        {
            OnePerson(removed, "who were removed had this barcode");
            return ([.. removed.Select(c => c.PatronId!.Value).Distinct()], []);
        }

        return await ByRosterIdAsync(asked, cancellationToken) is { } known ? known : await ProposedAsync(Proposed(key), cancellationToken);
    }

    /// <exception cref="RollcallException">The rows are about several people, as far as roster ids and names tell.</exception>
    private static void OnePerson(IReadOnlyList<Change> rows, string what)
    {
        var rosterIds = rows.Select(r => r.RosterId)
            .OfType<string>()
            .Distinct(StringComparer.Ordinal)
            .Order(StringComparer.Ordinal)
            .ToList();
        var named = rows.Where(r => r.RosterId is not null).Select(NameOf).ToHashSet();
        var people = rosterIds.Count + rows.Where(r => r.RosterId is null).Select(NameOf).Where(n => !named.Contains(n)).Distinct().Count();
        if (people > 1)
        {
            throw new RollcallException(
                $"{people} people {what}: see the logs of operations {string.Join(", ", rows.Select(r => r.OperationId).Distinct().Order())}. "
                    + (
                        rosterIds.Count == 0
                            ? "Removing what is old takes them out."
                            : $"Ask by the roster's id: {string.Join(", ", rosterIds)}."
                    )
            );
        }
    }

    /// <summary>The folded name that a row about one person has; null when it says none.</summary>
    private static (string Last, string First)? NameOf(Change row)
    {
        var values = ChangeValues.Parse(row.Values);
        string? Of(int field) => values.New(field) ?? values.Old(field);
        return Of(PatronFields.LastName) is { } last ? (Text.Fold(last), Text.Fold(Of(PatronFields.FirstName))) : null;
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
        OnePerson(rows, "were to get this barcode and none did");
        return rows.Select(r => r.RosterId).FirstOrDefault() is { } rosterId
            ? await ByRosterIdAsync(rosterId, cancellationToken) ?? ([], [])
            : ([.. rows.Select(r => r.PatronId!.Value).Distinct()], []);
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
        var allReviews = await context.ReviewItems.AsNoTracking().Where(r => r.DistrictId == districtId).ToListAsync(cancellationToken);
        var reviews = allReviews
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
        var elsewhere = await RowsOfOthersAsync(Terms(), known, cancellationToken);
        foreach (var again in elsewhere.Where(r => IsAgain(r, patron, rows, values)).ToList())
        {
            rows.Add(again.Row);
            known.Add((again.Row.OperationId, again.Row.Number));
            elsewhere.Remove(again);
        }

        LeaveToRows(values, elsewhere, allReviews.Where(r => !rosterToo.Contains(r.RosterId, StringComparer.Ordinal)), patron, rows);
        var terms = Terms();
        PersonTerms Terms() => new([.. s_own.SelectMany(f => values[f]), .. usernames, .. NamesOf(patron, rows).SelectMany(Written)]);
        var actor = new PersonTerms(
            [
                .. s_own.SelectMany(f => values[f]),
                .. usernames,
                .. (await OwnNamesAsync(ids, NamesOf(patron, rows), cancellationToken)).SelectMany(Written),
            ],
            (await OwnNamesAsync(ids, LoneNamesOf(patron, rows).Select(n => (n, "")), cancellationToken)).Select(n => n.Last)
        );
        var operationIds = rows.Select(r => r.OperationId).Distinct().ToArray();
        var sessions = await context
            .SignInSessions.AsNoTracking()
            .Where(s => s.DistrictId == districtId && s.PatronId != null && ids.Contains(s.PatronId.Value))
            .ToListAsync(cancellationToken);
        var tokens = (await context.AccessTokens.AsNoTracking().Where(t => t.DistrictId == districtId).ToListAsync(cancellationToken))
            .Where(t => (t.PatronId is { } by && ids.Contains(by)) || actor.In(t.CreatedBy) || terms.In(t.Name))
            .ToList();
        var notices = (await ByTextAsync(context.Notices, "notices", ["target", "subject", "body", "error"], terms, cancellationToken))
            .Where(n => terms.In(n.Target) || terms.In(n.Subject) || terms.In(n.Body) || terms.In(n.Error))
            .ToList();
        var audit = await AuditAsync(terms, actor, ids, 0, cancellationToken);
        var operations = (
            await ByTextAsync(
                context.Operations,
                "operations",
                ["options", "error", "warnings", "requested_by", "approved_by", "stage_text"],
                terms,
                cancellationToken,
                whole: (["requested_by", "approved_by"], actor.Whole)
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
                || actor.In(o.RequestedBy)
                || actor.In(o.ApprovedBy)
                || terms.In(o.Error)
                || terms.In(o.StageText)
                || terms.WithoutInJson(o.Options) != o.Options
                || terms.WithoutInJson(o.Warnings) != o.Warnings
            )
            .ToList();
        var others = elsewhere
            .Select(r => (r.Row, Values: r.Without(values, terms)))
            .Where(r => terms.In(r.Row.Reason) || terms.In(r.Row.Warning) || r.Values != r.Row.Values)
            .Select(r => new OthersRow(r.Row, r.Values))
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
            Actor = actor,
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
            MentionedBy = await MentionsAsync(ids, terms, elsewhere, cancellationToken),
        };
    }

    /// <summary>Lines of the audit that name the person, and those of their sign-ins, which say whose they are by number.</summary>
    /// <param name="terms">Who it is.</param>
    /// <param name="actor">Who it is as somebody who did something.</param>
    /// <param name="ids">The person's records.</param>
    /// <param name="after">Only lines with a higher number.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<List<AuditEntry>> AuditAsync(
        PersonTerms terms,
        PersonTerms actor,
        IReadOnlyCollection<long> ids,
        long after,
        CancellationToken cancellationToken
    )
    {
        var found = (
            await ByTextAsync(
                context.AuditEntries,
                "audit_entries",
                ["actor", "details"],
                terms,
                cancellationToken,
                a => a.Id > after,
                (["actor"], actor.Whole)
            )
        )
            .Where(a => actor.In(a.Actor) || terms.In(a.Details))
            .ToList();
        foreach (var id in ids)
        {
            var begins = ClassLinkSignIn.Line(id);
            var signIns = await context
                .AuditEntries.AsNoTracking()
                .Where(a =>
                    a.DistrictId == districtId && a.Id > after && a.Action == RetentionService.SignInAction && a.Details.StartsWith(begins)
                )
                .ToListAsync(cancellationToken);
            found.AddRange(signIns.ExceptBy(found.Select(a => a.Id), a => a.Id));
        }

        return [.. found.OrderBy(a => a.Id)];
    }

    /// <summary>The line is about a sign-in of one of these records, whoever else has the name that stands there.</summary>
    public static bool IsSignIn(AuditEntry entry, IEnumerable<long> ids) =>
        entry.Action == RetentionService.SignInAction
        && ids.Any(id => entry.Details.StartsWith(ClassLinkSignIn.Line(id), StringComparison.Ordinal));

    /// <summary>Values of a row about somebody else, without those that are this person's.</summary>
    /// <param name="json">The row's values.</param>
    /// <param name="person">The person's values.</param>
    /// <param name="terms">What names the person.</param>
    /// <param name="stays">Field, value, whether it is the new one: what is not touched whoever it names; null when nothing is so.</param>
    private static string WithoutPerson(
        string json,
        IReadOnlyDictionary<int, HashSet<string>> person,
        PersonTerms terms,
        Func<int, string, bool, bool>? stays
    )
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
            clean.Add(field, Clean(field, old, false), Clean(field, value, true));
        }

        return clean.ToJson();

        string? Clean(int field, string? value, bool isNew) =>
            value is null || stays?.Invoke(field, value, isNew) == true ? value
            : field == PatronFields.Notes ? terms.Without(value)
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
        var numbers = values[PatronFields.CommunityId].ToArray();
        values[PatronFields.CommunityId]
            .ExceptWith(
                await others.Where(p => numbers.Contains(p.CommunityId)).Select(p => p.CommunityId!).ToListAsync(cancellationToken)
            );
        var papers = values[PatronFields.GovernmentId].ToArray();
        values[PatronFields.GovernmentId]
            .ExceptWith(
                await others.Where(p => papers.Contains(p.GovernmentId)).Select(p => p.GovernmentId!).ToListAsync(cancellationToken)
            );
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

    /// <summary>Rows in which the person may be named, though they are about somebody else.</summary>
    private async Task<List<RowOfOther>> RowsOfOthersAsync(
        PersonTerms terms,
        HashSet<(long, long)> known,
        CancellationToken cancellationToken
    )
    {
        var rows = (
            await ByTextAsync(context.Changes, "changes", ["values", "reason", "warning", "link", "link_before"], terms, cancellationToken)
        )
            .Where(c => !known.Contains((c.OperationId, c.Number)))
            .ToList();
        var plans = rows.Select(r => r.OperationId).Distinct().ToArray();
        var operations = await context
            .Operations.AsNoTracking()
            .Where(o => o.DistrictId == districtId && plans.Contains(o.Id))
            .ToDictionaryAsync(o => o.Id, cancellationToken);
        var about = rows.Select(r => r.PatronId).OfType<long>().Distinct().ToArray();
        var patrons = await context
            .Patrons.AsNoTracking()
            .Where(p => p.DistrictId == districtId && about.Contains(p.Id))
            .ToDictionaryAsync(p => p.Id, cancellationToken);
        return
        [
            .. rows.Select(r =>
            {
                var operation = operations.GetValueOrDefault(r.OperationId);
                return new RowOfOther(
                    r,
                    operation is not null && IsOpen(operation, r),
                    operation?.Kind
                        is OperationKind.FullSync
                            or OperationKind.ChangesSync
                            or OperationKind.PersonSync
                            or OperationKind.Review,
                    r.PatronId is { } id ? patrons.GetValueOrDefault(id) : null
                );
            }),
        ];
    }

    /// <summary>The row is planned and not applied yet: an approval would write what it says.</summary>
    public static bool IsOpen(Operation plan, Change row) =>
        plan is { Status: OperationStatus.Waiting or OperationStatus.NeedsApproval or OperationStatus.Preview, Planned: true }
        && row.Kind is not (ChangeKind.Note or ChangeKind.Skip or ChangeKind.Review)
        && (row.Held ? row.Number > plan.HeldAppliedTo : row.Number > plan.AppliedTo);

    /// <summary>A file would add the person a second time: the same name, one of the same ids, and no other birthdate.</summary>
    private static bool IsAgain(RowOfOther other, Patron? patron, List<Change> rows, Dictionary<int, HashSet<string>> values)
    {
        if (!other.IsOpen || other.Row is not { Kind: ChangeKind.Create, RosterId: null } || !IsNamesake(other, patron, rows))
        {
            return false;
        }

        var planned = ChangeValues.Parse(other.Row.Values);
        return s_own.Any(f => planned.New(f) is { } value && values[f].Any(v => IsSame(f, v, value)))
            && (
                planned.New(PatronFields.Birthdate) is not { } born
                || values[PatronFields.Birthdate].Count == 0
                || values[PatronFields.Birthdate].Contains(born)
            );
    }

    /// <summary>An id or address that rows of somebody else give them is theirs: what the roster or a file adds them with, what they had when they
    /// were removed, and what a plan that waits will write. A hand that put it there for a while proves nothing.</summary>
    private static void LeaveToRows(
        Dictionary<int, HashSet<string>> values,
        IEnumerable<RowOfOther> others,
        IEnumerable<ReviewItem> reviews,
        Patron? patron,
        List<Change> rows
    )
    {
        foreach (var other in others)
        {
            var row = other.Row;
            var gives = other.IsOpen || row.Kind == ChangeKind.Create || other.IsRosters;
            if ((gives || row.Kind == ChangeKind.Remove) && (other.IsOpen || !IsNamesake(other, patron, rows)))
            {
                Leave(ChangeValues.Parse(row.Values), ofOld: row.Kind == ChangeKind.Remove);
            }
        }

        foreach (var review in reviews)
        {
            Leave(ChangeValues.Parse(review.Values), ofOld: false);
        }

        void Leave(ChangeValues theirs, bool ofOld)
        {
            foreach (var field in s_own)
            {
                if (field != PatronFields.Guid && (ofOld ? theirs.Old(field) : theirs.New(field)) is { } value)
                {
                    values[field].RemoveWhere(v => IsSame(field, v, value));
                }
            }
        }
    }

    /// <summary>Whoever the row is about is no patron and has this person's name: perhaps the same under another number.</summary>
    private static bool IsNamesake(RowOfOther other, Patron? patron, List<Change> rows) =>
        other.Present is null
        && NameOf(other.Row) is { } name
        && (
            (patron is not null && name == (Text.Fold(patron.LastName), Text.Fold(patron.FirstName))) || rows.Exists(r => NameOf(r) == name)
        );

    private static bool IsSame(int field, string one, string other) =>
        field switch
        {
            PatronFields.Barcode => Text.BarcodeKey(one) == Text.BarcodeKey(other),
            PatronFields.Email => Text.EmailKey(one) == Text.EmailKey(other),
            _ => one == other,
        };

    /// <param name="Row">The row.</param>
    /// <param name="IsOpen">It waits to be applied.</param>
    /// <param name="IsRosters">What it says came from the roster.</param>
    /// <param name="Present">Whom it is about, as they are now; null when they are no patron.</param>
    private sealed record RowOfOther(Change Row, bool IsOpen, bool IsRosters, Patron? Present)
    {
        /// <summary>The row's values without the person. What its patron has now and what it will write stays: an approval goes by both.</summary>
        public string Without(IReadOnlyDictionary<int, HashSet<string>> person, PersonTerms terms) =>
            WithoutPerson(
                Row.Values,
                person,
                terms,
                !IsOpen
                    ? null
                    : (field, value, isNew) => isNew || (Present is not null && PatronFields.ByNumber(field).Get(Present) == value)
            );
    }

    /// <summary>The whole names that the person has and had.</summary>
    private static HashSet<(string Last, string First)> NamesOf(Patron? patron, IEnumerable<Change> rows)
    {
        var names = new HashSet<(string Last, string First)>();
        if (patron?.FirstName is not null)
        {
            names.Add((patron.LastName, patron.FirstName));
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
                    names.Add((last, first));
                }
            }
        }

        return names;
    }

    /// <summary>The last names under which lists show the person, or showed, while there was no first one.</summary>
    private static HashSet<string> LoneNamesOf(Patron? patron, IEnumerable<Change> rows)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        if (patron is not null && string.IsNullOrEmpty(patron.FirstName))
        {
            names.Add(patron.LastName);
        }

        foreach (var row in rows)
        {
            var values = ChangeValues.Parse(row.Values);
            foreach (var old in (bool[])[false, true])
            {
                // Who comes or goes stands there with all values; of others what is not there is as it was.
                var isWhole = row.Kind == (old ? ChangeKind.Remove : ChangeKind.Create);
                string? Of(int field, string? present) =>
                    values.Has(field) ? (old ? values.Old(field) : values.New(field))
                    : isWhole ? null
                    : present;
                if (
                    (values.Has(PatronFields.LastName) || values.Has(PatronFields.FirstName))
                    && Of(PatronFields.LastName, patron?.LastName) is { } last
                    && string.IsNullOrEmpty(Of(PatronFields.FirstName, patron?.FirstName))
                )
                {
                    names.Add(last);
                }
            }
        }

        return names;
    }

    /// <summary>A name as lists and as people write it.</summary>
    private static string[] Written((string Last, string First) name) => [$"{name.Last}, {name.First}", $"{name.First} {name.Last}"];

    /// <summary>The names that nobody else here has. Who did something is known by name alone: where another patron has the same, nothing tells
    /// whose deed it was, and a record that says who did what does not lose its names for that.</summary>
    private async Task<IReadOnlyList<(string Last, string First)>> OwnNamesAsync(
        HashSet<long> ids,
        IEnumerable<(string Last, string First)> names,
        CancellationToken cancellationToken
    )
    {
        var own = new List<(string, string)>();
        foreach (var (last, first) in names)
        {
            var folded = Text.Fold($"{last}\u0001{first}\u0001");
            var others = await context
                .Patrons.AsNoTracking()
                .Where(p => p.DistrictId == districtId && !ids.Contains(p.Id) && p.NameKey.StartsWith(folded))
                .Select(p => new { p.LastName, p.FirstName })
                .ToListAsync(cancellationToken);
            if (
                !others.Exists(o =>
                    string.Equals(o.LastName, last, StringComparison.OrdinalIgnoreCase)
                    && string.Equals(o.FirstName ?? "", first, StringComparison.OrdinalIgnoreCase)
                )
            )
            {
                own.Add((last, first));
            }
        }

        return own;
    }

    /// <summary>Rows of a table in which one of the columns may name the person. The caller looks again, word by word.</summary>
    private async Task<List<T>> ByTextAsync<T>(
        DbSet<T> set,
        string table,
        string[] columns,
        PersonTerms terms,
        CancellationToken cancellationToken,
        Expression<Func<T, bool>>? among = null,
        (string[] Columns, IReadOnlyCollection<string> Values)? whole = null
    )
        where T : class
    {
        var words = terms.ForSearch.ToArray();
        var values = whole?.Values.ToArray() ?? [];
        if (words.Length + values.Length == 0)
        {
            return [];
        }

        var conditions = columns
            .SelectMany(c => words.Select((_, i) => $"{bulk.PositionOf}(lower(\"{c}\"), {{{i + 1}}}) > 0"))
            .Concat((whole?.Columns ?? []).SelectMany(c => values.Select((_, i) => $"\"{c}\" = {{{i + 1 + words.Length}}}")));
        // Table, columns and function are this program's own words; what is looked for goes in as parameters.
#pragma warning disable EF1002
        var found = set.FromSqlRaw(
                $"SELECT * FROM {table} WHERE district_id = {{0}} AND ({string.Join(" OR ", conditions)})",
                [districtId, .. words, .. values]
            )
            .AsNoTracking();
        return await (among is null ? found : found.Where(among)).ToListAsync(cancellationToken);
#pragma warning restore EF1002
    }

    private async Task<IReadOnlyList<string>> MentionsAsync(
        HashSet<long> ids,
        PersonTerms terms,
        List<RowOfOther> others,
        CancellationToken cancellationToken
    ) =>
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
                .Union(
                    others
                        .Where(o =>
                            o.IsOpen && ChangeValues.Parse(o.Row.Values).Items.Any(i => s_free.Contains(i.Field) && terms.In(i.New))
                        )
                        .Select(o => o.Present?.Barcode ?? ChangeValues.Parse(o.Row.Values).New(PatronFields.Barcode))
                        .OfType<string>()
                )
                .Order(StringComparer.Ordinal)
                .Take(MentionsShown + 1),
        ];

    private static long[] Candidates(ReviewItem item) => JsonSerializer.Deserialize<long[]>(item.Candidates) ?? [];

    private static string[] Lines(string? lines) => lines?.Split('\n', StringSplitOptions.RemoveEmptyEntries) ?? [];
}
