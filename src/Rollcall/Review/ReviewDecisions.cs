using System.Data.Common;
using System.Globalization;
using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Audit;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.OneRoster.Model;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Storage;
using Rollcall.Sync;
using Rollcall.Sync.Apply;
using Rollcall.Sync.Plan;
using Rollcall.Sync.Undo;

namespace Rollcall.Review;

/// <summary>What came of a decision.</summary>
/// <param name="OperationId">The operation that carried it out, or that takes it back.</param>
/// <param name="Barcode">The patron it concerns; null for none.</param>
/// <param name="Message">One line for people.</param>
public sealed record ReviewDecision(long OperationId, string? Barcode, string Message);

/// <summary>Decides on people who could not be matched safely. A decision applies at once, is an operation of its own, and is remembered.</summary>
public sealed class ReviewDecisions(RollcallDatabase database, UndoService undo, TimeProvider time)
{
    /// <summary>What the roster calls the person, or the id where it gives no name.</summary>
    private static string NameOf(ReviewItem item)
    {
        var values = ChangeValues.Parse(item.Values);
        string?[] names = [values.New(PatronFields.LastName), values.New(PatronFields.FirstName)];
        return names.Any(n => n is not null) ? string.Join(", ", names.OfType<string>()) : item.RosterId;
    }

    /// <summary>The person is this patron. Where the patron is linked to a person who is in the roster too, the second id becomes an
    /// alias; otherwise the patron takes over the id and the roster's values.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="id">Who waits.</param>
    /// <param name="barcode">The patron's.</param>
    /// <param name="actor">Who.</param>
    /// <param name="seen">The patron as it was looked at; null when nobody looked. A barcode may change hands while a page is open.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="RollcallException">Decided already, or the patron cannot be that person or is another one by now; nothing was
    /// written.</exception>
    public async Task<ReviewDecision> LinkAsync(
        int districtId,
        int id,
        string barcode,
        Actor actor,
        SeenPatron? seen = null,
        CancellationToken cancellationToken = default
    )
    {
        await using var work = await BeginAsync(districtId, id, cancellationToken);
        var (context, item) = (work.Context, work.Item);
        var key = Text.BarcodeKey(barcode.Trim());
        var found =
            await context
                .Patrons.Where(p => p.DistrictId == districtId && p.BarcodeKey == key)
                .Select(p => (long?)p.Id)
                .SingleOrDefaultAsync(cancellationToken)
            ?? throw new RollcallException($"There is no patron with the barcode {Text.Cut(barcode, 40)}.");
        await database.Bulk.LockPatronsAsync(work.Connection, work.Transaction, districtId, [found], cancellationToken);
        var patron = await context.Patrons.AsNoTracking().SingleAsync(p => p.DistrictId == districtId && p.Id == found, cancellationToken);
        if (seen is { } looked && SeenPatron.Of(patron) != looked)
        {
            throw new RollcallException(
                $"The patron with the barcode {patron.Barcode} was changed since you looked, or is another one by now. Look at the patron again, then link."
            );
        }

        var link = await context
            .PatronLinks.AsNoTracking()
            .SingleOrDefaultAsync(l => l.DistrictId == districtId && l.PatronId == found, cancellationToken);
        var alias = IsLive(patron, link);
        if (!alias)
        {
            EnsureKnown(item);
        }

        var change = TakesValues(item, patron, link)
            ? Relink(item, patron, link, await work.SetupAsync(time, cancellationToken))
            : Alias(item, patron, link!);
        var name = NameOf(item);
        var message = alias
            ? $"{patron.DisplayName} ({patron.Barcode}) goes on following the roster; {name} there is another record of the same person."
                + (change.Values == "{}" ? "" : " By that one they are back at a school of the library, and have what it says of them.")
            : $"{patron.DisplayName} ({patron.Barcode}) is linked to {name} of the roster.";

        // The log's own columns tell the patron and an id: who was meant is nowhere else.
        var meant = alias ? $"{name} is another record of this person in the roster" : $"Linked to {name} of the roster";
        change.Reason = change.Reason is { } more ? $"{meant}. {more}" : meant;
        return await work.DecideAsync(database, ReviewStatus.Linked, change, actor, patron, message, time, cancellationToken);
    }

    /// <summary>Those of these patrons who follow somebody in the roster: a link makes whoever waits another record of that one.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="patrons">The patrons in question.</param>
    /// <param name="cancellationToken">Gives up.</param>
    internal async Task<IReadOnlySet<long>> FollowingAsync(
        int districtId,
        IReadOnlyCollection<Patron> patrons,
        CancellationToken cancellationToken = default
    )
    {
        var following = new HashSet<long>();
        await using var context = database.CreateContext();
        foreach (var some in patrons.Where(p => p.Guid is not null).Chunk(500))
        {
            var ids = some.Select(p => p.Id).ToArray();
            var links = await context
                .PatronLinks.AsNoTracking()
                .Where(l => l.DistrictId == districtId && ids.Contains(l.PatronId))
                .ToDictionaryAsync(l => l.PatronId, cancellationToken);
            following.UnionWith(some.Where(p => IsLive(p, links.GetValueOrDefault(p.Id))).Select(p => p.Id));
        }

        return following;
    }

    /// <summary>Patrons in question who follow somebody in the roster but have left all schools of the library, and come back by the record of whoever
    /// waits: by who waits and the patron's id.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="ids">Who waits.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<IReadOnlySet<(int Review, long Patron)>> ReturningAsync(
        int districtId,
        IReadOnlyCollection<int> ids,
        CancellationToken cancellationToken = default
    )
    {
        var returning = new HashSet<(int, long)>();
        await using var context = database.CreateContext();
        var items = await context
            .ReviewItems.AsNoTracking()
            .Where(r => r.DistrictId == districtId && r.Status == ReviewStatus.Open && ids.Contains(r.Id))
            .ToListAsync(cancellationToken);
        var asked = items.ToDictionary(i => i, i => JsonSerializer.Deserialize<long[]>(i.Candidates) ?? []);
        var left = new Dictionary<long, (Patron Patron, PatronLink Link)>();
        foreach (var some in asked.Values.SelectMany(c => c).Distinct().Chunk(500))
        {
            var found = await context
                .Patrons.AsNoTracking()
                .Where(p => p.DistrictId == districtId && some.Contains(p.Id) && p.Status == PatronStatus.Transferred)
                .Join(
                    context.PatronLinks.AsNoTracking().Where(l => l.DistrictId == districtId && l.LeftSchools),
                    p => p.Id,
                    l => l.PatronId,
                    (p, l) => new { Patron = p, Link = l }
                )
                .ToListAsync(cancellationToken);
            found.ForEach(f => left[f.Patron.Id] = (f.Patron, f.Link));
        }

        foreach (var (item, candidates) in asked)
        {
            returning.UnionWith(
                candidates
                    .Where(c => left.TryGetValue(c, out var f) && IsLive(f.Patron, f.Link) && TakesValues(item, f.Patron, f.Link))
                    .Select(c => (item.Id, c))
            );
        }

        return returning;
    }

    /// <summary>The card numbers that links would give to patrons in question, where these have others: by who waits and the patron's id.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="ids">Who waits.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<IReadOnlyDictionary<(int Review, long Patron), string>> NewBarcodesAsync(
        int districtId,
        IReadOnlyCollection<int> ids,
        CancellationToken cancellationToken = default
    )
    {
        var changes = new Dictionary<(int, long), string>();
        var mark = $"\"{PatronFields.Barcode}\":";
        await using var context = database.CreateContext();

        // Most rosters have no barcodes, and nothing more is asked then.
        var items = await context
            .ReviewItems.AsNoTracking()
            .Where(r => r.DistrictId == districtId && r.Status == ReviewStatus.Open && ids.Contains(r.Id) && r.Values.Contains(mark))
            .ToListAsync(cancellationToken);
        if (items.Count == 0)
        {
            return changes;
        }

        var asked = items.ToDictionary(i => i, i => JsonSerializer.Deserialize<long[]>(i.Candidates) ?? []);
        var candidates = asked.Values.SelectMany(c => c).Distinct().ToArray();
        var barcodes = items
            .Select(i => ChangeValues.Parse(i.Values).New(PatronFields.Barcode))
            .OfType<string>()
            .Select(Text.BarcodeKey)
            .Distinct(StringComparer.Ordinal)
            .ToArray();
        var patrons = new Dictionary<long, Patron>();
        var links = new Dictionary<long, PatronLink>();
        var holders = new Dictionary<string, long>(StringComparer.Ordinal);
        foreach (var some in candidates.Chunk(500))
        {
            foreach (
                var patron in await context
                    .Patrons.AsNoTracking()
                    .Where(p => p.DistrictId == districtId && some.Contains(p.Id))
                    .ToListAsync(cancellationToken)
            )
            {
                patrons[patron.Id] = patron;
            }

            foreach (
                var link in await context
                    .PatronLinks.AsNoTracking()
                    .Where(l => l.DistrictId == districtId && some.Contains(l.PatronId))
                    .ToListAsync(cancellationToken)
            )
            {
                links[link.PatronId] = link;
            }
        }

        foreach (var some in barcodes.Chunk(500))
        {
            foreach (
                var holder in await context
                    .Patrons.Where(p => p.DistrictId == districtId && some.Contains(p.BarcodeKey))
                    .Select(p => new { p.Id, p.BarcodeKey })
                    .ToListAsync(cancellationToken)
            )
            {
                holders[holder.BarcodeKey] = holder.Id;
            }
        }

        var setups = new Dictionary<IntegrationKind, SyncSetup>();
        foreach (var (item, those) in asked)
        {
            var setup = await SetupAsync(item);
            foreach (var patron in those.Select(patrons.GetValueOrDefault).OfType<Patron>())
            {
                var link = links.GetValueOrDefault(patron.Id);
                if (
                    TakesValues(item, patron, link)
                    && ChangeValues.Parse(Relink(item, patron, link, setup).Values).New(PatronFields.Barcode) is { } barcode
                    && holders.GetValueOrDefault(Text.BarcodeKey(barcode), patron.Id) == patron.Id
                )
                {
                    changes[(item.Id, patron.Id)] = barcode;
                }
            }
        }

        return changes;

        async Task<SyncSetup> SetupAsync(ReviewItem item)
        {
            var kind = await KindAsync(context, item, cancellationToken);
            return setups.TryGetValue(kind, out var known)
                ? known
                : setups[kind] = await SyncSetup.LoadAsync(context, districtId, kind, time, cancellationToken);
        }
    }

    /// <summary>The service whose roster the person is of.</summary>
    private static async Task<IntegrationKind> KindAsync(RollcallContext context, ReviewItem item, CancellationToken cancellationToken) =>
        await context.Operations.Where(o => o.Id == item.OperationId).Select(o => o.Integration).SingleOrDefaultAsync(cancellationToken)
        ?? await context
            .Integrations.Where(i => i.DistrictId == item.DistrictId && i.Enabled)
            .Select(i => (IntegrationKind?)i.Kind)
            .FirstOrDefaultAsync(cancellationToken)
        ?? IntegrationKind.ClassLink;

    /// <summary>The person is none of the library's patrons: a new one.</summary>
    /// <exception cref="RollcallException">Decided already, or a new patron lacks a last name or a site; nothing was written.</exception>
    public async Task<ReviewDecision> CreateAsync(int districtId, int id, Actor actor, CancellationToken cancellationToken = default)
    {
        await using var work = await BeginAsync(districtId, id, cancellationToken);
        var (context, item) = (work.Context, work.Item);
        EnsureKnown(item);
        var map = (await work.SetupAsync(time, cancellationToken)).Settings.Map;
        var mapped = ChangeValues.Parse(item.Values);
        if (mapped.New(PatronFields.LastName) is null)
        {
            throw new RollcallException(
                "The roster has no last name for this person, and a patron needs one. Have it entered in the SIS, or ignore the person here."
            );
        }

        if (mapped.New(PatronFields.Site) is not { } siteText)
        {
            throw new RollcallException(
                "The person's organization is not matched to a site, so the new patron would belong nowhere. Match it first, then sync."
            );
        }

        var siteId = int.Parse(siteText, CultureInfo.InvariantCulture);
        var site =
            await context.Sites.AsNoTracking().SingleOrDefaultAsync(s => s.DistrictId == districtId && s.Id == siteId, cancellationToken)
            ?? throw new RollcallException("The person's site is gone. Match the organization to another site, then sync.");
        var own = await context
            .SiteDefaults.AsNoTracking()
            .SingleOrDefaultAsync(
                d => d.DistrictId == districtId && d.SiteId == siteId && d.RoleGroup == item.RoleGroup,
                cancellationToken
            );
        var values = new ChangeValues();
        foreach (var (field, _, value) in mapped.Items)
        {
            if (field != PatronFields.Barcode && value is not null && (field == PatronFields.Site || map.IsForNewPatrons(field)))
            {
                values.Add(field, null, value);
            }
        }

        var sequences = new SiteSequences(districtId, context);
        await sequences.LoadAsync(cancellationToken);
        var wanted = map.IsForNewPatrons(PatronFields.Barcode) ? mapped.New(PatronFields.Barcode) : null;
        var drawn = wanted is null || Barcodes.Problem(wanted) is not null;
        var barcode = !drawn ? wanted : await sequences.NextFreeAsync(siteId, item.RoleGroup, _ => false, cancellationToken);
        values.Add(PatronFields.Barcode, null, barcode);
        values.Add(PatronFields.Guid, null, item.RosterId);
        NewPatron.AddDefaults(values, site, own);
        var change = new Change
        {
            Kind = ChangeKind.Create,
            Outcome = Outcome.Created,
            PatronId = await NewPatron.TakeIdAsync(context, districtId, cancellationToken),
            SiteId = siteId,
            BarcodeDrawn = drawn,
            Values = values.ToJson(),
            Link = LinkOf(item).ToJson(),
        };
        return await work.DecideAsync(
            database,
            ReviewStatus.Created,
            change,
            actor,
            null,
            $"A new patron was made for {NameOf(item)}.",
            time,
            cancellationToken
        );
    }

    /// <summary>The person is not to be synced. Counts as skipped from now on.</summary>
    /// <exception cref="RollcallException">Decided already.</exception>
    public async Task<ReviewDecision> IgnoreAsync(int districtId, int id, Actor actor, CancellationToken cancellationToken = default)
    {
        await using var work = await BeginAsync(districtId, id, cancellationToken);
        var change = new Change
        {
            Kind = ChangeKind.Note,
            Outcome = Outcome.Skipped,
            SiteId = SiteOf(work.Item),
            Values = ReviewItem.NameOf(work.Item.Values),
            Reason = "Ignored by a decision in Review",
        };
        return await work.DecideAsync(
            database,
            ReviewStatus.Ignored,
            change,
            actor,
            null,
            $"{NameOf(work.Item)} is ignored from now on.",
            time,
            cancellationToken
        );
    }

    /// <summary>Takes a decision back: what it wrote is undone, and the person waits again for what the next full sync says of them. Where the log
    /// of the decision is no longer kept, what it wrote stays.</summary>
    /// <returns>The undo that was queued; or, where there is nothing left to undo from, the operation that opened the question again.</returns>
    /// <exception cref="RollcallException">Nothing is decided.</exception>
    public async Task<ReviewDecision> ReopenAsync(int districtId, int id, Actor actor, CancellationToken cancellationToken = default)
    {
        ReviewItem item;
        Operation? decided;
        await using (var context = database.CreateContext())
        {
            item = await FindAsync(context, districtId, id, cancellationToken);
            decided = await context
                .Operations.AsNoTracking()
                .SingleOrDefaultAsync(o => o.DistrictId == districtId && o.Id == item.DecisionOperationId, cancellationToken);
        }

        if (item.Status is ReviewStatus.Open or ReviewStatus.Settled || item.DecisionOperationId is not { } decision)
        {
            throw new RollcallException(
                item.Status == ReviewStatus.Open
                    ? $"Review {id} is open: nothing has been decided yet."
                    : $"Review {id} was settled by a later sync: there is no decision to take back."
            );
        }

        if (decided is null or { Expired: true })
        {
            return await OpenAsync(
                districtId,
                id,
                decision,
                " The log of the decision is older than logs are kept: what it wrote stays, and has to be changed on the patron's page.",
                actor,
                cancellationToken
            );
        }

        if (decided.Status == OperationStatus.Undone)
        {
            return await OpenAsync(
                districtId,
                id,
                decision,
                $" When operation {decision} was undone, the patron had to stay: as long as this person is linked, the next full sync settles the question.",
                actor,
                cancellationToken
            );
        }

        var operation = await undo.EnqueueAsync(districtId, decision, null, actor, cancellationToken: cancellationToken);
        var unless =
            item.Status == ReviewStatus.Ignored
                ? ""
                : " A patron who was changed since stays as they are, and the operation's log says so.";
        return new ReviewDecision(
            operation,
            null,
            $"Operation {operation} takes the decision back; review {id} is open again when it is done.{unless} The next full sync brings what the roster says of the person: decide after it."
        );
    }

    /// <summary>Opens a question again whose decision has left nothing behind to undo it from.</summary>
    private async Task<ReviewDecision> OpenAsync(
        int districtId,
        int id,
        long decision,
        string stays,
        Actor actor,
        CancellationToken cancellationToken
    )
    {
        await using var work = await DistrictTransaction.BeginAsync(database, districtId, cancellationToken);
        var context = work.Context;
        var item = await FindAsync(context, districtId, id, cancellationToken);
        if (item.DecisionOperationId != decision)
        {
            throw new RollcallException($"Review {id} has just been decided or opened by somebody else. Look again.");
        }

        var was = item.Status;
        item.Status = ReviewStatus.Open;
        item.Reason = ReviewItem.OpenedAgain;
        item.Values = ReviewItem.NameOf(item.Values);
        item.Link = null;
        (item.DecidedAt, item.DecidedBy, item.DecisionOperationId) = (null, null, null);
        var operation = await ImmediateOperation.RunAsync(
            database,
            work.Connection,
            work.Transaction,
            context,
            new Operation
            {
                DistrictId = districtId,
                Kind = OperationKind.Review,
                Options = JsonSerializer.Serialize(new { review = id, decision = "reopened" }, OperationQueue.Json),
            },
            actor,
            [
                new Change
                {
                    Kind = ChangeKind.Note,
                    Outcome = Outcome.Review,
                    RosterId = item.RosterId,
                    SiteId = SiteOf(item),
                    RoleGroup = item.RoleGroup,
                    MatchedBy = MatchKey.Decision,
                    Values = item.Values,
                    Reason = ReviewItem.OpenedAgain,
                },
            ],
            time,
            cancellationToken
        );
        item.OperationId = operation.Id;
        context.AuditEntries.Add(
            new AuditEntry
            {
                DistrictId = districtId,
                At = time.GetUtcNow(),
                Actor = actor.Name,
                Action = "review",
                Details = $"Review {id}: reopened, operation {operation.Id}",
            }
        );
        await IntegrationService.RequireFullAsync(context, districtId, $"review {id} was opened again", cancellationToken);
        await work.CommitAsync(cancellationToken);
        return new ReviewDecision(
            operation.Id,
            null,
            $"Review {id} is open again. The next full sync brings what the roster says.{(was == ReviewStatus.Ignored ? "" : stays)}"
        );
    }

    /// <summary>Whether an operation opened a question again by itself, without anything to take back.</summary>
    internal static bool IsReopening(Operation operation) =>
        operation.Options.Contains("\"decision\":\"reopened\"", StringComparison.Ordinal);

    /// <summary>The site that the roster puts somebody at; null for none that is known.</summary>
    private static int? SiteOf(ReviewItem item) =>
        ChangeValues.Parse(item.Values).New(PatronFields.Site) is { } site ? int.Parse(site, CultureInfo.InvariantCulture) : null;

    /// <summary>Whose decision was taken back waits for what the roster says now.</summary>
    private static void EnsureKnown(ReviewItem item)
    {
        if (item.AwaitsValues)
        {
            throw new RollcallException(
                $"Review {item.Id} was opened again, and what the roster says of the person comes with the next full sync. Run one, then decide."
            );
        }
    }

    /// <summary>The sites of the patrons that a decision changed, as they are now; null among them is no site.</summary>
    public async Task<IReadOnlyList<int?>> SubjectsAsync(int districtId, int id, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        var item = await FindAsync(context, districtId, id, cancellationToken);
        return await context
            .Changes.Where(c => c.DistrictId == districtId && c.OperationId == item.DecisionOperationId && c.PatronId != null)
            .Join(context.Patrons.Where(p => p.DistrictId == districtId), c => c.PatronId, p => p.Id, (_, p) => p.SiteId)
            .ToListAsync(cancellationToken);
    }

    /// <summary>Whether the id that the patron has is one of somebody who is still in the roster, as far as syncs know. Who was transferred for having
    /// left all schools is there, at another.</summary>
    internal static bool IsLive(Patron patron, PatronLink? link) =>
        patron.Guid is not null
        && link is { Absent: false }
        && !(patron.Status == PatronStatus.Transferred && link is { StatusBefore: not null, LeftSchools: false });

    /// <summary>A link writes what the roster says of whoever waits, unless the patron's own record goes on. Who has left all schools of the library comes
    /// back by a record of one.</summary>
    private static bool TakesValues(ReviewItem item, Patron patron, PatronLink? link) =>
        !IsLive(patron, link)
        || (patron.Status == PatronStatus.Transferred && link!.LeftSchools && SiteOf(item) is not null && !item.AwaitsValues);

    private static Change Alias(ReviewItem item, Patron patron, PatronLink link) =>
        new()
        {
            Kind = ChangeKind.Link,
            Outcome = Outcome.Unchanged,
            PatronId = patron.Id,
            SiteId = patron.SiteId,
            LinkBefore = LinkState.Of(link).ToJson(),
            Link = WithAlias(item, link).ToJson(),
        };

    private static LinkState WithAlias(ReviewItem item, PatronLink link)
    {
        string[] aliases = [.. link.Aliases?.Split('\n') ?? [], item.RosterId];
        return LinkState.Of(link) with { Aliases = string.Join('\n', aliases.Distinct(StringComparer.Ordinal)), SyncHash = 0 };
    }

    private static Change Relink(ReviewItem item, Patron patron, PatronLink? link, SyncSetup setup)
    {
        var stored = ChangeValues.Parse(item.Values);
        var kept = LinkOf(item);
        var site = SiteOf(item);
        var person = new MappedPerson
        {
            User = new User
            {
                SourcedId = item.RosterId,
                Username = kept.Username,
                Enabled = !kept.LoginDisabled,
                Agents = kept.Guardians?.Split('\n'),
            },
            Group = item.RoleGroup,
            Deleted = false,
            Values = [.. FieldMap.SyncedFields.Select(f => stored.New(f) is { } value ? MappedValue.Of(value) : MappedValue.NotSent)],
            Site = site,
            Org = site is null ? null : "",
            AnySite = site,

            // Which school it is was not kept: whether the patron is back the next full sync knows.
            StatusStays = site is null,
            HomeroomClass = kept.HomeroomClass,
        };
        var known = IsLive(patron, link) ? WithAlias(item, link!).ToLink(item.DistrictId, patron.Id) : link;
        var difference = PersonPlan.Compare(person, patron, known, setup, new SharedFields(), hash: 0, _ => false);
        return new Change
        {
            Kind = difference.Outcome == Outcome.Reactivated ? ChangeKind.Reactivate : ChangeKind.Update,
            Outcome = difference.Outcome,
            PatronId = patron.Id,
            SiteId = patron.SiteId,
            Values = difference.Values.ToJson(),
            LinkBefore = link is null ? null : LinkState.Of(link).ToJson(),
            Link = difference.Link!.ToJson(),
            Reason = difference.Reason,
        };
    }

    private static LinkState LinkOf(ReviewItem item) => LinkState.Parse(item.Link) ?? new LinkState { RoleGroup = item.RoleGroup };

    private static async Task<ReviewItem> FindAsync(RollcallContext context, int districtId, int id, CancellationToken cancellationToken) =>
        await context.ReviewItems.SingleOrDefaultAsync(r => r.DistrictId == districtId && r.Id == id, cancellationToken)
        ?? throw new RollcallException($"There is nobody in Review under {id}. Review lists who waits.");

    private async Task<Work> BeginAsync(int districtId, int id, CancellationToken cancellationToken)
    {
        var connection = await database.OpenAsync(cancellationToken);
        try
        {
            var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
            await database.Bulk.LockDistrictAsync(connection, transaction, districtId, cancellationToken);
            var context = database.CreateContext(connection, transaction);
            var work = new Work(connection, transaction, context);

            // Two people who decide at once: the second one waits here, and finds the decision of the first.
            await context
                .ReviewItems.Where(r => r.DistrictId == districtId && r.Id == id)
                .ExecuteUpdateAsync(s => s.SetProperty(r => r.Reason, r => r.Reason), cancellationToken);
            work.Item = await FindAsync(context, districtId, id, cancellationToken);
            if (work.Item.Status != ReviewStatus.Open)
            {
                var named = ChangeValues.Parse(work.Item.Values);
                var who = string.Join(
                    ", ",
                    new[] { named.New(PatronFields.LastName), named.New(PatronFields.FirstName) }.Where(n => !string.IsNullOrEmpty(n))
                );
                who = who.Length == 0 ? $"Review {id}" : $"{who} (Review {id})";
                throw new RollcallException(
                    work.Item.Status == ReviewStatus.Settled
                        ? $"{who} was settled by a later sync: there is nothing to decide."
                        : $"{who} is decided already: {work.Item.Status.ToString().ToLowerInvariant()} by {work.Item.DecidedBy}. Reopen that decision first."
                );
            }

            var others = await PatronAliases.FindAsync(
                context.PatronLinks.Where(l => l.DistrictId == districtId),
                work.Item.RosterId,
                cancellationToken
            );
            if (
                await context
                    .Patrons.Where(p => p.DistrictId == districtId && (p.Guid == work.Item.RosterId || others.Contains(p.Id)))
                    .Select(p => p.Barcode)
                    .FirstOrDefaultAsync(cancellationToken) is
                { } linked
            )
            {
                throw new RollcallException($"This person is linked to the patron {linked} meanwhile. The next sync settles it.");
            }

            return work;
        }
        catch
        {
            await connection.DisposeAsync();
            throw;
        }
    }

    /// <summary>One decision's transaction.</summary>
    private sealed class Work(DbConnection connection, DbTransaction transaction, RollcallContext context) : IAsyncDisposable
    {
        public DbConnection Connection => connection;
        public DbTransaction Transaction => transaction;
        public RollcallContext Context => context;
        public ReviewItem Item { get; set; } = null!;

        public async Task<SyncSetup> SetupAsync(TimeProvider time, CancellationToken cancellationToken)
        {
            var kind = await KindAsync(context, Item, cancellationToken);
            return await SyncSetup.LoadAsync(context, Item.DistrictId, kind, time, cancellationToken);
        }

        public async Task<ReviewDecision> DecideAsync(
            RollcallDatabase database,
            ReviewStatus status,
            Change change,
            Actor actor,
            Patron? before,
            string message,
            TimeProvider time,
            CancellationToken cancellationToken
        )
        {
            change.RosterId = Item.RosterId;
            change.RoleGroup = Item.RoleGroup;
            change.MatchedBy = MatchKey.Decision;
            var operation = await ImmediateOperation.RunAsync(
                database,
                connection,
                transaction,
                context,
                new Operation
                {
                    DistrictId = Item.DistrictId,
                    Kind = OperationKind.Review,
                    Options = JsonSerializer.Serialize(
                        new
                        {
                            review = Item.Id,
                            decision = status.ToString().ToLowerInvariant(),
                            reason = Item.Reason,
                        },
                        OperationQueue.Json
                    ),
                },
                actor,
                [change],
                time,
                cancellationToken
            );
            Item.Status = status;
            Item.DecidedAt = time.GetUtcNow();
            Item.DecidedBy = actor.Name;
            Item.DecisionOperationId = operation.Id;

            // What is known of somebody who is no patron is kept as long as it is needed to decide.
            Item.Values = ReviewItem.NameOf(Item.Values);
            Item.Link = null;
            context.AuditEntries.Add(
                new AuditEntry
                {
                    DistrictId = Item.DistrictId,
                    At = time.GetUtcNow(),
                    Actor = actor.Name,
                    Action = "review",
                    Details = $"Review {Item.Id}: {status.ToString().ToLowerInvariant()}, operation {operation.Id}",
                }
            );
            await context.SaveChangesAsync(cancellationToken);
            var now = change.PatronId is { } id
                ? await context
                    .Patrons.AsNoTracking()
                    .SingleOrDefaultAsync(p => p.DistrictId == Item.DistrictId && p.Id == id, cancellationToken)
                : null;
            if (now is not null && before is not null && !string.Equals(now.Barcode, before.Barcode, StringComparison.Ordinal))
            {
                message += $" The barcode is {now.Barcode} from now on: the card with {before.Barcode} is not theirs any more.";
            }

            if (
                now is not null
                && !string.Equals(now.CommunityId, before?.CommunityId, StringComparison.Ordinal)
                && await PatronService.SharedNumberAsync(context, now.DistrictId, now.Id, now.CommunityId, cancellationToken) is { } doubt
            )
            {
                message += $" {doubt}";
            }

            await transaction.CommitAsync(cancellationToken);
            return new ReviewDecision(operation.Id, now?.Barcode, message);
        }

        public async ValueTask DisposeAsync()
        {
            await context.DisposeAsync();
            await transaction.DisposeAsync();
            await connection.DisposeAsync();
        }
    }
}
