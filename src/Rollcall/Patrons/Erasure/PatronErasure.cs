using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Audit;
using Rollcall.Districts;
using Rollcall.Operations;
using Rollcall.Review;
using Rollcall.SignIn;
using Rollcall.Storage;
using Rollcall.Sync;

namespace Rollcall.Patrons.Erasure;

/// <summary>What is kept of one person: as a file for them, and out of everything for good.</summary>
public sealed class PatronErasure(RollcallDatabase database, TimeProvider time)
{
    private static readonly JsonSerializerOptions s_file = new(OperationQueue.Json) { WriteIndented = true };

    /// <summary>Everything that is kept of a person, as JSON for people and programs. The audit says that it was given out.</summary>
    /// <param name="district">The district.</param>
    /// <param name="asked">A patron's barcode, that of a patron who was removed, or a roster id or planned barcode of somebody who never became one.</param>
    /// <param name="actor">Who.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="RollcallException">Nothing is kept under that.</exception>
    public async Task<string> DataAsync(District district, string asked, Actor actor, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext().AllowLong();
        var person = await FindAsync(context, district.Id, asked, cancellationToken);
        var sites = await context
            .Sites.AsNoTracking()
            .Where(s => s.DistrictId == district.Id)
            .ToDictionaryAsync(s => s.Id, cancellationToken);
        var codes = sites.ToDictionary(s => s.Key.ToString(System.Globalization.CultureInfo.InvariantCulture), s => s.Value.Code);
        await using var owner = database.CreateContextAsOwner();
        var accounts = new List<object>();
        foreach (var account in (await PersonAccount.FindAsync(owner, district.Id, person, cancellationToken)).Where(a => !a.Stays))
        {
            accounts.Add(
                new
                {
                    account.Account.Email,
                    account.Account.CreatedAt,
                    secondFactor = account.Account.TwoFactorEnabled,
                    sessions = (await account.SessionsAsync(owner, cancellationToken)).Select(Session),
                    audit = (await account.AuditAsync(owner, cancellationToken)).Select(a => new
                    {
                        a.At,
                        a.Actor,
                        a.Action,
                        a.Details,
                    }),
                }
            );
        }

        object[] Changes(string json) =>
            [
                .. ChangeValues
                    .Parse(json)
                    .Items.Select(i => new
                    {
                        field = PatronFields.ByNumber(i.Field).Name,
                        old = OperationLog.Display(i.Field, i.Old, codes),
                        @new = OperationLog.Display(i.Field, i.New, codes),
                    }),
            ];
        var data = new
        {
            district = district.Name,
            at = time.GetUtcNow(),
            patron = person.Patron is null ? null : PatronWords.Of(person.Patron, sites),
            createdAt = person.Patron?.CreatedAt,
            updatedAt = person.Patron?.UpdatedAt,
            link = person.Link is null ? null : Link(person.Link),
            log = person.Rows.Select(r =>
            {
                var operation = person.RowOperations.GetValueOrDefault(r.OperationId);
                return new
                {
                    operation = r.OperationId,
                    what = operation is null ? null : OperationQueue.Title(operation),
                    at = operation?.WrittenAt(r.Held),
                    by = operation?.RequestedBy,
                    kind = r.Kind.ToString().ToLowerInvariant(),
                    outcome = OperationLog.OutcomeWord(r.Outcome),
                    guid = r.RosterId,
                    changes = Changes(r.Values),
                    link = LinkState.Parse(r.Link),
                    linkBefore = LinkState.Parse(r.LinkBefore),
                    r.Reason,
                    r.Warning,
                };
            }),
            review = person.Reviews.Select(r => new
            {
                guid = r.RosterId,
                status = r.Status.ToString().ToLowerInvariant(),
                r.Reason,
                values = Changes(r.Values),
                r.CreatedAt,
                r.DecidedAt,
                r.DecidedBy,
            }),
            sessions = person.Sessions.Select(Session),
            accounts,
            accessTokens = person.Tokens.Select(t => new
            {
                t.Name,
                t.CreatedAt,
                t.ExpiresAt,
                t.LastUsedAt,
            }),
            audit = person.Audit.Select(a => new
            {
                a.At,
                a.Actor,
                a.Action,

                // What somebody did to others is theirs to know, and who the others are is not.
                details = person.Terms.In(a.Details) || PersonSearch.IsSignIn(a, person.PatronIds) ? a.Details : null,
            }),
            operations = person.Operations.Select(o => new
            {
                operation = o.Id,
                what = OperationQueue.Title(o),
                at = o.FinishedAt ?? o.CreatedAt,
                by = o.RequestedBy,
            }),
            shownByReadiness = (
                await context.Integrations.AsNoTracking().Where(i => i.DistrictId == district.Id).ToListAsync(cancellationToken)
            )
                .SelectMany(i => Integrations.IntegrationService.StateOf(i).Readiness?.Value.Keys ?? [])
                .Where(k => person.Terms.In(k.Example))
                .Select(k => new { id = k.Source, example = k.Example }),
            mentionedInLinesAboutOthers = person.OthersRows.Select(r => new { operation = r.Row.OperationId, number = r.Row.Number }),
        };
        context.AuditEntries.Add(
            new AuditEntry
            {
                DistrictId = district.Id,
                At = time.GetUtcNow(),
                Actor = actor.Name,
                Action = "export",
                Details = $"Everything that is kept of one person{Number(person)}",
            }
        );
        await context.SaveChangesAsync(cancellationToken);
        return JsonSerializer.Serialize(data, s_file);
    }

    /// <summary>What an erasure would take out, and what it cannot.</summary>
    /// <inheritdoc cref="DataAsync"/>
    public async Task<ErasurePreview> PreviewAsync(int districtId, string asked, Actor actor, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext().AllowLong();
        return await PreviewAsync(
            context,
            await FindAsync(context, districtId, asked, cancellationToken),
            districtId,
            asked,
            actor,
            cancellationToken
        );
    }

    /// <summary>Queues an erasure. It is final.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="asked">As for <see cref="DataAsync"/>.</param>
    /// <param name="actor">Who.</param>
    /// <param name="seen">Who was looked at, by <see cref="ErasurePreview.Seen"/>; null when nobody looked.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>The operation, waiting.</returns>
    /// <exception cref="RollcallException">Nothing is kept under that, or it cannot be done now.</exception>
    public async Task<long> EnqueueAsync(
        int districtId,
        string asked,
        Actor actor,
        string? seen = null,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext().AllowLong();
        var person = await FindAsync(context, districtId, asked, cancellationToken);
        if (seen is not null && seen != SeenOf(person))
        {
            throw new RollcallException("This is somebody else than when you looked. Nothing was erased: look again.");
        }

        var preview = await PreviewAsync(context, person, districtId, asked, actor, cancellationToken);
        if (preview.Refusal is { } refusal)
        {
            throw new RollcallException(refusal);
        }

        var operation = new Operation
        {
            DistrictId = districtId,
            Kind = OperationKind.Erase,
            RequestedBy = actor.Name,
            ActingGroup = actor.Right,
            Options = JsonSerializer.Serialize(new ErasureOptions([.. person.PatronIds], [.. person.RosterIds]), OperationQueue.Json),
            CreatedAt = time.GetUtcNow(),
        };
        context.Operations.Add(operation);
        await context.SaveChangesAsync(cancellationToken);
        return operation.Id;
    }

    private async Task<PersonRecord> FindAsync(RollcallContext context, int districtId, string asked, CancellationToken cancellationToken)
    {
        var search = new PersonSearch(database.Bulk, context, districtId);
        var (patrons, roster) = await search.ResolveAsync(asked, cancellationToken);
        return patrons.Length + roster.Length == 0
            ? throw RollcallException.OfNobody(
                "Nothing is kept under that: it is no patron's barcode, none of a patron who was removed or was to be added, and no roster id in Review or a log."
            )
            : await search.FindAsync(patrons, roster, cancellationToken);
    }

    private async Task<ErasurePreview> PreviewAsync(
        RollcallContext context,
        PersonRecord person,
        int districtId,
        string asked,
        Actor actor,
        CancellationToken cancellationToken
    )
    {
        var name =
            person.Patron?.DisplayName
            ?? person
                .Rows.Select(r => ChangeValues.Parse(r.Values))
                .Select(v =>
                    (
                        Last: v.New(PatronFields.LastName) ?? v.Old(PatronFields.LastName),
                        First: v.New(PatronFields.FirstName) ?? v.Old(PatronFields.FirstName)
                    )
                )
                .Where(n => n.Last is not null)
                .Select(n => n.First is null ? n.Last : $"{n.Last}, {n.First}")
                .LastOrDefault();
        var operations = person.Rows.Select(r => r.OperationId).Distinct().Count();

        // Accounts are the installation's: no more is said of one than what concerns this person here.
        await using var owner = database.CreateContextAsOwner();
        var accounts = await PersonAccount.FindAsync(owner, districtId, person, cancellationToken);
        var audit = 0;
        foreach (var account in accounts.Where(a => a.Goes))
        {
            audit += (await account.AuditAsync(owner, cancellationToken)).Count;
        }

        KeptThings[] goes =
        [
            new("The patron's record", person.Patron is null ? 0 : 1),
            new("The link to the roster", person.Link is null ? 0 : 1),
            new($"Lines in the logs of {operations} operation{(operations == 1 ? "" : "s")}, with old and new values", person.Rows.Count),
            new("Words in log lines about others", person.OthersRows.Count),
            new("Entries in Review", person.Reviews.Count),
            new("Names in settings and messages of operations", person.Operations.Count),
            new("What a switch of the roster service had set aside", person.Switches.Count),
            new("Names in lines of the audit; the lines stay", person.Audit.Count),
            new("Sign-in sessions", person.Sessions.Count),
            new("Access tokens", person.Tokens.Count(t => t.PatronId is not null)),
            new("Names in notices", person.Notices.Count),
            new("The account that signs in with the person's address", accounts.Count(a => a.Goes)),
            new("Names in lines of the installation's audit; the lines stay", audit),
        ];
        return new ErasurePreview(
            person.Patron?.Barcode ?? asked.Trim(),
            name,
            [.. goes.Where(g => g.Count > 0)],
            person is { Patron.Guid: not null, Link: { Absent: false } } && person.Patron.Status != PatronStatus.Transferred,
            person.MentionedBy,
            database.CopiesInDataFolder(),
            Refusal(person, accounts, actor)
        )
        {
            Seen = SeenOf(person),
            AccountStays = accounts.FirstOrDefault(a => a.Stays)?.Account.Email,
        };
    }

    private static string SeenOf(PersonRecord person) =>
        person.PatronIds.Count > 0
            ? string.Join('.', person.PatronIds.Order())
            : string.Join('\n', person.RosterIds.Order(StringComparer.Ordinal));

    private static string? Refusal(PersonRecord person, IReadOnlyList<PersonAccount> accounts, Actor actor) =>
        (actor.PatronId is { } own ? person.PatronIds.Contains(own) : person.Actor.In(actor.Name))
            ? "That is your own record, and the audit has to say who erased it. Another District Administrator does this."
        : accounts.FirstOrDefault(a => a.IsHere) is { } account
            ? $"The account {account.Account.Email} signs in with this person's address. Remove it from the district's accounts first, then erase."
        : null;

    private static string Number(PersonRecord person) =>
        person.PatronIds.Count == 0 ? "" : $", patron {string.Join(", ", person.PatronIds.Order())}";

    private static object Session(SignInSession session) =>
        new
        {
            method = session.Method.ToString(),
            session.CreatedAt,
            session.SeenAt,
            session.Browser,
            session.Address,
        };

    private static object Link(PatronLink link) =>
        new
        {
            roleGroup = link.RoleGroup.ToString().ToLowerInvariant(),
            aliases = link.Aliases?.Split('\n') ?? [],
            link.Username,
            guardians = link.Guardians?.Split('\n') ?? [],
            link.HomeroomClass,
            link.LoginDisabled,
            link.Absent,
        };
}

/// <summary>Whom an erasure takes out. Gone from the operation as soon as the person is.</summary>
internal sealed record ErasureOptions(long[] Patrons, string[] RosterIds);
