using System.Globalization;
using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.OneRoster;
using Rollcall.OneRoster.Model;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Storage;
using Rollcall.Sync.Plan;
using Rollcall.Sync.Pull;

namespace Rollcall.Sync.Person;

/// <summary>Why one value is as it is.</summary>
/// <param name="Number">The field's number.</param>
/// <param name="Field">The field's name.</param>
/// <param name="Label">What screens call it.</param>
/// <param name="Value">The value here, in words; null when empty.</param>
/// <param name="Origin">Who wrote it last, in words; null when no record of it is left.</param>
/// <param name="OperationId">The operation that wrote it last; null when no record of it is left.</param>
/// <param name="Source">Where the roster's value comes from; null for fields that no roster writes.</param>
/// <param name="Policy">Who wins, in words; null for fields that no roster writes.</param>
/// <param name="RosterSays">What the roster says now, mapped; null when blank, not sent or not asked.</param>
/// <param name="Next">What the next full sync would do with the field.</param>
public sealed record FieldExplanation(
    int Number,
    string Field,
    string Label,
    string? Value,
    string? Origin,
    long? OperationId,
    string? Source,
    string? Policy,
    string? RosterSays,
    string? Next
)
{
    /// <summary>What <see cref="Origin"/> says, in parts: the operation, when it was asked for and by whom. Null when no record of it is left.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public (string Operation, DateTimeOffset At, string By)? Written { get; init; }
}

/// <summary>Somebody of the roster as the mapping would have them.</summary>
/// <param name="Name">The person's name.</param>
/// <param name="Group">The role group.</param>
/// <param name="Values">By field number, in words; fields that are blank, not sent or not mapped are left out.</param>
public sealed record RosterExample(string Name, RoleGroup Group, IReadOnlyDictionary<int, string> Values);

/// <summary>A patron's values, each with its reason.</summary>
/// <param name="Barcode">Whose.</param>
/// <param name="Name">The patron's name.</param>
/// <param name="Guid">The roster person; null when not linked.</param>
/// <param name="Standing">How the link stands, and what a hold keeps back, in words.</param>
/// <param name="RosterProblem">Why the roster could not be asked; null when it answered or was not needed.</param>
/// <param name="Fields">The fields that have a value, or that a roster writes.</param>
public sealed record PatronExplanation(
    string Barcode,
    string Name,
    string? Guid,
    string Standing,
    string? RosterProblem,
    IReadOnlyList<FieldExplanation> Fields
);

/// <summary>Explains a patron: where each value came from, and what the roster would say now.</summary>
public sealed class PatronExplain(
    RollcallDatabase database,
    PatronService patrons,
    IntegrationService integrations,
    OperationLog log,
    TimeProvider time
)
{
    /// <param name="district">The district.</param>
    /// <param name="barcode">Whose.</param>
    /// <param name="askRoster">Reads the person from the roster now; otherwise only what is on record here.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="RollcallException">There is no such patron.</exception>
    public async Task<PatronExplanation> ExplainAsync(
        District district,
        string barcode,
        bool askRoster,
        CancellationToken cancellationToken = default
    )
    {
        var (patron, link) = await patrons.GetAsync(district.Id, barcode, cancellationToken);
        var integration = await integrations.EnabledAsync(district.Id, cancellationToken);
        await using var context = database.CreateContext();
        var codes = await context
            .Sites.Where(s => s.DistrictId == district.Id)
            .ToDictionaryAsync(s => s.Id.ToString(CultureInfo.InvariantCulture), s => s.Code, cancellationToken);
        var origins = await OriginsAsync(context, patron, district.Zone, cancellationToken);

        MappedPerson? person = null;
        PersonDifference? difference = null;
        string? problem = null;
        SyncSetup? setup = null;
        if (integration is not null)
        {
            setup = await SyncSetup.LoadAsync(context, district.Id, integration.Kind, time, cancellationToken);
            if (askRoster && patron.Guid is { } guid)
            {
                try
                {
                    (person, difference, problem) = await AskAsync(context, setup, patron, link, guid, cancellationToken);
                }
                catch (Exception e) when (e is RosterException or RollcallException)
                {
                    problem = e.Message;
                }
            }
        }

        var kept = patron.KeptFields?.Split(',') ?? [];
        var group = link?.RoleGroup ?? RoleGroup.None;
        var reached = setup is null || Mapper.Reaches(setup.Settings.Roles, group);
        var fields = new List<FieldExplanation>();
        foreach (var field in PatronFields.All)
        {
            var synced =
                setup is not null
                && (
                    field.Number == PatronFields.Guid
                    || (
                        reached
                        && SettingsChange.FieldsWithPolicy.Contains(field.Number)
                        && Mapper.CanHave(setup.Settings.Map, group == RoleGroup.None ? RoleGroup.Student : group, field.Number)
                    )
                );
            var value = field.Get(patron);
            if (value is null && !synced)
            {
                continue;
            }

            var origin = origins.GetValueOrDefault(field.Number);
            var source = synced ? SourceOf(field.Number, setup!.Settings.Map) : null;
            if (value is null && source is null)
            {
                continue;
            }

            var mapped = source is null || person is null ? MappedValue.NotSent : Said(person, field.Number);
            fields.Add(
                new FieldExplanation(
                    field.Number,
                    field.Name,
                    field.Label,
                    OperationLog.Display(field.Number, value, codes),
                    origin?.Words,
                    origin?.Operation,
                    source,
                    source is null ? null : PolicyOf(field.Number, setup!.Settings.Map, kept),
                    OperationLog.Display(field.Number, mapped.Text, codes),
                    source is null || difference is null ? null
                        : field.Number == PatronFields.Status && IsDealtWith(patron, link, person) ? ActedOnce
                        : Next(field, patron, mapped, difference, codes)
                )
                {
                    Written = origin is null ? null : (origin.Name, origin.At, origin.By),
                }
            );
        }

        var standing =
            Standing(patron, link)
            + (reached ? "" : $" {RoleGroups.Label(group)} is not ticked for syncing: no sync writes to this patron.");
        foreach (var (row, operation) in await log.WaitingAsync(district.Id, patron.Id, cancellationToken))
        {
            var fieldsHeld = row.Changes.Select(c => $"{c.Label} '{c.Old ?? "blank"}' → '{c.New ?? "blank"}'");
            standing +=
                $" {OperationQueue.Numbered(operation)} waits for approval and would write: "
                + $"{string.Join("; ", fieldsHeld.DefaultIfEmpty("the link"))}.";
        }

        return new PatronExplanation(patron.Barcode, patron.DisplayName, patron.Guid, standing, problem, fields);
    }

    /// <summary>Reads somebody from the roster now, before anybody here is linked: a person of the ticked roles, of a matched school where the first
    /// rows have one. Keeps nothing.</summary>
    /// <exception cref="RollcallException">The service is not connected, nobody is ticked, or the roster has nobody of the ticked roles.</exception>
    /// <exception cref="RosterException">The roster could not be read.</exception>
    public async Task<RosterExample> SomebodyAsync(District district, IntegrationKind kind, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        var setup = await SyncSetup.LoadAsync(context, district.Id, kind, time, cancellationToken);
        if (setup.Settings.Roles.Count == 0)
        {
            throw new RollcallException("Nobody is ticked for syncing yet. Tick who is synced under Syncing, then ask for an example.");
        }

        using var source = await integrations.OpenAsync(district.Id, kind, cancellationToken, somebodyWaits: true);
        User? somebody = null;
        await foreach (var page in source.Users().ReadAsync(cancellationToken))
        {
            var fit = page.Records.Where(u =>
                u is { SourcedId: not null, Status: not RecordStatus.ToBeDeleted }
                && RoleGroups.StandingOf(u, setup.Settings.Roles, setup.Today) is { Ticked: true, Ended: false }
            );
            foreach (var user in fit)
            {
                if (somebody is null || PersonMapper.HasSite(user, setup))
                {
                    somebody = user;
                    if (PersonMapper.HasSite(user, setup))
                    {
                        break;
                    }
                }
            }

            if (somebody is not null)
            {
                break;
            }
        }

        if (somebody?.SourcedId is not { } id)
        {
            throw new RollcallException("The roster has nobody of the ticked roles.");
        }

        var pull = new PersonPull(setup, source, Path.Combine(database.DataFolder, "spool"), _ => ValueTask.CompletedTask);
        using var roster = await pull.ReadAsync(id, [], null, cancellationToken);
        var at = Enumerable.Range(0, roster.Persons.Count).FirstOrDefault(i => roster.Persons[i].Guid == setup.Keys.Of(id), -1);
        if (at < 0 || pull.Users.FirstOrDefault(u => u.SourcedId == id) is not { } found)
        {
            throw new RollcallException("The roster changed while it was read. Ask again.");
        }

        var person = PersonMapper.Map(found, roster.Persons[at], roster, setup);
        var codes = setup.Sites.Values.ToDictionary(s => s.Id.ToString(CultureInfo.InvariantCulture), s => s.Code, StringComparer.Ordinal);
        var values = new Dictionary<int, string>();
        foreach (var number in (int[])[PatronFields.Guid, .. FieldMap.SyncedFields, PatronFields.Site, PatronFields.Status])
        {
            if (
                SourceOf(number, setup.Settings.Map) is not null
                && Said(person, number).Text is { } text
                && OperationLog.Display(number, text, codes) is { } value
            )
            {
                values[number] = value;
            }
        }

        string?[] names = [found.FamilyName, found.GivenName];
        var name = string.Join(", ", names.Select(Text.Clean).OfType<string>());
        return new RosterExample(name.Length == 0 ? id : name, person.Group, values);
    }

    private async Task<(MappedPerson?, PersonDifference?, string?)> AskAsync(
        RollcallContext context,
        SyncSetup setup,
        Patron patron,
        PatronLink? link,
        string guid,
        CancellationToken cancellationToken
    )
    {
        using var source = await integrations.OpenAsync(setup.District.Id, setup.Kind, cancellationToken, somebodyWaits: true);
        var pull = new PersonPull(setup, source, Path.Combine(database.DataFolder, "spool"), _ => ValueTask.CompletedTask);
        using var roster = await pull.ReadAsync(
            guid,
            link?.Aliases?.Split('\n') ?? [],
            link is null ? null : (guid, KnownPerson.Of(patron, link)),
            cancellationToken
        );
        if (pull.Users.Count == 0)
        {
            return (
                null,
                null,
                pull.NothingFollows("this person") ?? $"The roster has nobody with this GUID any more. {WhatFollows(patron, link, setup)}"
            );
        }

        // Which of several records counts, and what a row without a role is, is a sync's to say.
        var matches = Matcher.Run(
            PatronIndex.Of(setup.Keys, patron, link),
            roster,
            setup,
            new Dictionary<(ulong, uint), ReviewStatus>(),
            new HashSet<long>()
        );
        var counting = Enumerable.Range(0, matches.Count).FirstOrDefault(i => matches[i].Decision == Decision.Match, -1);
        if (counting < 0)
        {
            var halfKnown = Enumerable.Range(0, matches.Count).Any(i => matches[i].Reason is Matcher.OtherRecord);
            return (
                null,
                null,
                halfKnown ? $"{Matcher.OtherRecord}." : "The person's role is not synced here: syncs leave the patron alone."
            );
        }

        var row = roster.Persons[counting];
        var person = PersonMapper.Map(pull.Users.First(u => setup.Keys.Of(u.SourcedId) == row.Guid), row, roster, setup);
        var shared = SharedFields.Of(setup.State.Shared);
        var difference = PersonPlan.Compare(person, patron, link, setup, shared, hash: 0, setup.OrgSites.Values.Contains);
        if (difference.Values.New(PatronFields.Barcode) is { } barcode)
        {
            var key = Text.BarcodeKey(barcode);
            if (
                await context.Patrons.AnyAsync(
                    p => p.DistrictId == patron.DistrictId && p.Id != patron.Id && p.BarcodeKey == key,
                    cancellationToken
                )
            )
            {
                PersonPlan.RefuseBarcode(difference, link);
            }
        }

        return (person, difference, null);
    }

    /// <summary>Why a deleted row does nothing to a patron.</summary>
    private const string ActedOnce =
        "stays: a sync has marked the person Transferred once, and the status was set since. If they have left, set it to Transferred";

    private static bool IsDealtWith(Patron patron, PatronLink? link, MappedPerson? person) =>
        person is { Deleted: true } && link is { Absent: true } && patron.Status is not (PatronStatus.Transferred or PatronStatus.Inactive);

    /// <summary>What full syncs make of a patron whom the roster does not have: that somebody has left is acted on once.</summary>
    private static string WhatFollows(Patron patron, PatronLink? link, SyncSetup setup) =>
        link is null ? "No sync has met that GUID here: syncs leave the patron alone."
        : !setup.IsTicked(link.RoleGroup) ? "Syncs leave the patron alone."
        : link.Absent
            ? patron.Status is PatronStatus.Transferred or PatronStatus.Inactive ? "No sync changes the patron until it has them again."
                : "A full sync has acted on that once, and the status was set since: no sync changes it until the roster has them again. If they have left, set it to Transferred."
        : patron.Group > SecurityGroup.Patron ? "They have staff rights here: no sync transfers them."
        : patron.DoNotTransfer ? "They are marked 'do not transfer': no sync transfers them."
        : PersonPlan.KeepsStatus(patron, setup) ? "The library keeps the status: no sync changes it."
        : patron.Status is PatronStatus.Transferred or PatronStatus.Inactive ? "The status stays."
        : "The next full sync marks them Transferred, or waits for an approval where many leave.";

    private static MappedValue Said(MappedPerson person, int field) =>
        field switch
        {
            PatronFields.Guid => MappedValue.Of(person.User.SourcedId!),
            PatronFields.Site => person.Site is { } site
                ? MappedValue.Of(site.ToString(CultureInfo.InvariantCulture))
                : MappedValue.NotSent,
            PatronFields.Status when person.StatusStays => MappedValue.NotSent,
            PatronFields.Status => MappedValue.Of(
                ((int)(person.Deleted ? PatronStatus.Transferred : PatronStatus.Active)).ToString(CultureInfo.InvariantCulture)
            ),
            _ => person.Value(field),
        };

    private static string Next(
        PatronField field,
        Patron patron,
        MappedValue mapped,
        PersonDifference difference,
        Dictionary<string, string> codes
    )
    {
        if (difference.Values.Has(field.Number))
        {
            var value = OperationLog.Display(field.Number, difference.Values.New(field.Number), codes);
            return value is null ? "will be emptied" : $"will become {value}";
        }

        if (field.Number == PatronFields.Barcode && difference.Warnings.Any(w => w.Code == PersonPlan.BarcodeTaken))
        {
            // In one sync both can change hands.
            return "stays while another patron has the roster's";
        }

        var same = string.Equals(field.Get(patron), mapped.Text, StringComparison.Ordinal);
        return same || mapped.State == MappedState.NotSent ? "stays"
            : mapped.State == MappedState.Blank ? "stays: blank in the roster"
            : "stays, though the roster differs";
    }

    private static string Standing(Patron patron, PatronLink? link) =>
        patron.Guid is null ? "Not linked to anybody in the roster."
        : link is null ? "Has a GUID that no sync has met yet."
        : link.Absent
            ? "Linked; the person has left the roster"
                + (patron.Status is PatronStatus.Transferred or PatronStatus.Inactive ? "." : ", and the status was set since.")
        : patron.Status == PatronStatus.Transferred ? "Linked; transferred."
        : $"Linked as {RoleGroups.Label(link.RoleGroup)}"
            + (link.Aliases is { } aliases ? $", also known as {aliases.Replace("\n", ", ", StringComparison.Ordinal)}" : "")
            + (link.LoginDisabled ? "; the roster has disabled this person's login." : ".");

    /// <summary>Who wins a field that no policy is about; null for the others.</summary>
    public static string? WinsAlways(int field) => field == PatronFields.Guid ? "the key: always the roster's" : null;

    private static string PolicyOf(int field, FieldMap map, string[] kept) =>
        WinsAlways(field) is { } always ? always
        : kept.Contains(field.ToString(CultureInfo.InvariantCulture)) ? "library keeps, for this patron"
        : map.PolicyOf(field) switch
        {
            FieldPolicy.FillIfEmpty => "fill if empty",
            FieldPolicy.LibraryKeeps => "library keeps",
            _ when field == PatronFields.Status => "both: leavers and returns only",
            _ => "roster wins",
        };

    /// <summary>Where the roster's value of a field comes from; null when it is not mapped.</summary>
    public static string? SourceOf(int field, FieldMap map) =>
        field switch
        {
            PatronFields.Guid => "sourcedId",
            PatronFields.Barcode => IdWords(map.Barcode),
            PatronFields.CommunityId => IdWords(map.CommunityId),
            PatronFields.FirstName => "givenName",
            PatronFields.MiddleName => "middleName",
            PatronFields.LastName => "familyName",
            PatronFields.Birthdate => "demographics.birthDate",
            PatronFields.Sex => "demographics.sex",
            PatronFields.Phone => "phone",
            PatronFields.Email => "email",
            PatronFields.AdditionalContact => "names and phones of parents, guardians and relatives; students only",
            PatronFields.OtherEmails => "emails of parents, guardians and relatives; students only",
            PatronFields.Location => LocationWords(map.Location),
            PatronFields.Level => "grades, the first",
            PatronFields.Nickname => map.NicknameFromPreferredName ? "preferredFirstName" : null,
            PatronFields.Site => map.SiteFrom switch
            {
                SiteFrom.FirstMatched => "their first organization that is matched",
                SiteFrom.PrimaryOrg => "their primary organization",
                _ => "the person's first organization",
            },
            PatronFields.Status => "status: active is Active, tobedeleted is Transferred",
            _ => null,
        };

    /// <summary>Where a homeroom comes from; null when it is not mapped.</summary>
    public static string? LocationWords(LocationSource source) =>
        source switch
        {
            LocationSource.ClassCode => "Homeroom Class Code",
            LocationSource.ClassTitle => "Homeroom Class Title",
            LocationSource.ClassLocation => "Homeroom Class Location",
            LocationSource.TeacherName => "Homeroom Teacher Name",
            _ => null,
        };

    /// <summary>Which id of the roster it is; null when it is not mapped.</summary>
    public static string? IdWords(IdMapping mapping) =>
        mapping.Source switch
        {
            IdSource.UserIdType => $"User ID of Type {mapping.Type}",
            IdSource.Identifier => "identifier",
            IdSource.Username => "username",
            _ => null,
        };

    private sealed record Origin(long Operation, string Name, DateTimeOffset At, string By, string Words, bool Wrote);

    /// <summary>The last applied change of each field, by number: of those that wrote what is there, if one is on record. One that had to wait
    /// has a smaller number than what it overwrote.</summary>
    private static async Task<Dictionary<int, Origin>> OriginsAsync(
        RollcallContext context,
        Patron patron,
        TimeZoneInfo zone,
        CancellationToken cancellationToken
    )
    {
        var (districtId, patronId) = (patron.DistrictId, patron.Id);
        var rows = await context
            .Changes.AsNoTracking()
            .Where(c => c.DistrictId == districtId && c.PatronId == patronId && !c.Stale)
            .Where(c => c.Kind != ChangeKind.Note && c.Kind != ChangeKind.Skip && c.Kind != ChangeKind.Review)
            .Join(context.Operations.AsNoTracking(), c => c.OperationId, o => o.Id, (c, o) => new { Change = c, Operation = o })
            .Where(x =>
                x.Operation.DistrictId == districtId
                && (x.Change.Held ? x.Change.Number <= x.Operation.HeldAppliedTo : x.Change.Number <= x.Operation.AppliedTo)
            )
            .OrderBy(x => x.Change.OperationId)
            .ThenBy(x => x.Change.Number)
            .ToListAsync(cancellationToken);
        var origins = new Dictionary<int, Origin>();
        foreach (var row in rows)
        {
            var written = row.Operation.WrittenAt(row.Change.Held);
            var at = TimeZoneInfo.ConvertTime(written, zone).ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture);
            var (name, by) = (OperationQueue.Numbered(row.Operation), row.Operation.RequestedBy);
            foreach (var (field, _, value) in ChangeValues.Parse(row.Change.Values).Items)
            {
                var wrote = string.Equals(value, PatronFields.ByNumber(field).Get(patron), StringComparison.Ordinal);
                if (wrote || !origins.TryGetValue(field, out var before) || !before.Wrote)
                {
                    origins[field] = new Origin(row.Operation.Id, name, written, by, $"{name}, {at}, {by}", wrote);
                }
            }
        }

        return origins;
    }
}
