using System.Data.Common;
using System.Globalization;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.OneRoster;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Storage;
using Rollcall.Sync.Plan;

namespace Rollcall.Sync.Pull;

/// <summary>Reads what changed since the last run, and the people it concerns: those whose demographics, homeroom or guardians changed
/// though their own record did not, by what the links keep. A roster read so proves nothing by what it lacks.</summary>
internal sealed class ChangesPull(
    SyncSetup setup,
    RestRosterSource source,
    Operation operation,
    RollcallDatabase database,
    DbConnection connection,
    string spoolFolder,
    WarningLog warnings,
    PatronsAhead ahead,
    Func<string, long, long?, ValueTask> progress
)
{
    /// <summary>Clocks differ and imports take their time; what is read twice does no harm.</summary>
    public static readonly TimeSpan Overlap = TimeSpan.FromMinutes(15);

    /// <summary>More people than this share of the linked ones, and reading everything is cheaper than one by one.</summary>
    private const double FetchShare = 0.02;

    /// <summary>So many may always be read one by one.</summary>
    private const int FetchAtLeast = 50;

    private readonly Dictionary<string, User?> _teachers = new(StringComparer.Ordinal);
    private readonly ReadingLog _log = new(setup, warnings);
    private readonly OneByOne _oneByOne = new(source);
    private bool _demographicsRefused;

    /// <summary>Rows of changed classes or enrollments could not be read.</summary>
    private bool _unreadable;

    /// <summary>Every way in which the roster deviates from OneRoster and was understood all the same, by collection and rule.</summary>
    public IReadOnlyDictionary<string, long> Leniencies => _log.Leniencies;

    /// <summary>Not all that changed could be read: the next changes sync asks for it again.</summary>
    public bool Unclear { get; private set; }

    /// <summary>What the next changes sync can go on from; null when it has to read all enrollments.</summary>
    public KnownHomerooms? Homerooms => _homeroomsShifted ? null : _homerooms;

    private KnownHomerooms? _homerooms;

    /// <summary>All classes and enrollments were read, and some may have been on no page: who sits where is not known from that.</summary>
    private bool _homeroomsShifted;

    /// <summary>Reads the changes.</summary>
    /// <param name="since">When the last run began.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>The roster; or null and the reason why everything has to be read instead.</returns>
    public async Task<(Roster? Roster, string? FullBecause)> ReadAsync(DateTimeOffset since, CancellationToken cancellationToken)
    {
        try
        {
            return await ReadPartsAsync(since, cancellationToken);
        }
        catch (NotInPartsException e)
        {
            return (null, e.Message);
        }
    }

    private async Task<(Roster? Roster, string? FullBecause)> ReadPartsAsync(DateTimeOffset since, CancellationToken cancellationToken)
    {
        var after = since - Overlap;
        var orgs = new Dictionary<string, Org>(StringComparer.Ordinal);
        await WalkAsync("orgs", source.Orgs(), o => orgs[o.SourcedId ?? ""] = o, orgs.Clear, cancellationToken);
        if (setup.OrgSites.Keys.Any(m => !orgs.TryGetValue(m, out var org) || org.Status == RecordStatus.ToBeDeleted))
        {
            return (null, "a matched organization is gone");
        }

        var users = new Dictionary<string, User>(StringComparer.Ordinal);
        var withoutId = 0;
        await ChangedAsync(
            "people",
            source.Users,
            after,
            u =>
            {
                if (u.SourcedId is null)
                {
                    withoutId++;
                }
                else
                {
                    users[u.SourcedId] = u;
                }
            },
            users.Clear,
            cancellationToken
        );
        warnings.Add(
            "row-without-id",
            "Rows have no sourcedId and were left out",
            $"Ask the district's {IntegrationWords.Support(setup.Kind)} to give every person a sourcedId.",
            withoutId
        );

        var demographics = new Dictionary<string, Demographics>(StringComparer.Ordinal);
        var demographicsResult = await ChangedAsync(
            "demographics",
            source.Demographics,
            after,
            d => demographics[d.SourcedId ?? ""] = d,
            demographics.Clear,
            cancellationToken
        );

        var homerooms = setup.Mapper.NeedsHomerooms ? await HomeroomsAsync(after, users, cancellationToken) : null;
        var concerned = new HashSet<string>(demographics.Keys, StringComparer.Ordinal);
        await progress("Looking up whom changes concern", 0, null);
        ahead.Begin();
        var records = await PersonRecords.LoadAsync(connection, setup.District.Id, cancellationToken);
        var (links, linked) = await LinksAsync(users, concerned, records, homerooms, cancellationToken);
        if (homerooms is not null)
        {
            await ReadTeachersAsync(homerooms, [], [.. concerned.Concat(users.Keys).Select(KeyOf)], users, cancellationToken);
            await KeepAsync(homerooms.Log, all: true, cancellationToken);
        }

        // People of whom only something else changed: known ones alone, the others are nobody's patrons.
        var fetch = concerned.Where(id => !users.ContainsKey(id) && links.ContainsKey(id)).ToList();
        var guardians = MissingGuardians(users, links, concerned, fetch);
        var unborn = demographicsResult.NotShared ? [] : await WithoutDemographicsAsync(users, links, demographics, cancellationToken);
        var allowed = Math.Max(FetchAtLeast, (int)(linked * FetchShare));
        if (fetch.Count + guardians.Count + unborn.Count > allowed)
        {
            return (
                null,
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{fetch.Count + guardians.Count + unborn.Count:N0} people would have to be read one by one"
                )
            );
        }

        foreach (var id in unborn)
        {
            await progress("Reading demographics of new people", 0, unborn.Count);
            if (await DemographicsOfAsync(id, cancellationToken) is { } row)
            {
                demographics[id] = row;
            }
        }

        var asked = new HashSet<ulong>();
        foreach (var id in fetch)
        {
            await progress("Reading people whose surroundings changed", 0, fetch.Count);
            if (await _oneByOne.ReadAsync(id, users.Values, cancellationToken) is { } user)
            {
                users[id] = user;
            }

            asked.Add(setup.Keys.Of(id));
        }

        // The students just read may have guardians that nobody has read yet.
        foreach (var id in guardians.Concat(MissingGuardians(users, links, concerned, [])).Distinct(StringComparer.Ordinal))
        {
            if (!users.ContainsKey(id) && await _oneByOne.ReadAsync(id, users.Values, cancellationToken) is { } user)
            {
                users[id] = user;
            }

            // Whoever is listed and not shared hides none of the others.
            asked.Add(setup.Keys.Of(id));
        }

        return (Build(users, asked, demographics, demographicsResult.NotShared, homerooms?.Intake, orgs), null);
    }

    /// <summary>New people, and those who come back: what is older than the last run of their demographics has not been read with the changes. Who is at
    /// no school of the library becomes no patron, and neither does who is ignored or waits in Review: nothing is asked about them.</summary>
    private async Task<List<string>> WithoutDemographicsAsync(
        Dictionary<string, User> users,
        Dictionary<string, KnownLink> links,
        Dictionary<string, Demographics> demographics,
        CancellationToken cancellationToken
    )
    {
        var map = setup.Settings.Map;
        if (!map.IsForNewPatrons(PatronFields.Birthdate) && !map.IsForNewPatrons(PatronFields.Sex))
        {
            return [];
        }

        var without = users
            .Values.Where(u =>
                u.Status == RecordStatus.Active
                && !demographics.ContainsKey(u.SourcedId!)
                && (links.TryGetValue(u.SourcedId!, out var link) ? !link.Synced : PersonMapper.HasSite(u, setup))
                && RoleGroups.StandingOf(u, setup.Settings.Roles, setup.Today) is { Ticked: true, Ended: false }
            )
            .Select(u => u.SourcedId!)
            .ToList();
        if (without.Count > 0)
        {
            var decided = await SyncHandler.LoadDecisionsAsync(database, setup.District.Id, setup.Keys, cancellationToken);
            without.RemoveAll(id => decided.GetValueOrDefault(KeyOf(id), ReviewStatus.Created) != ReviewStatus.Created);
        }

        return without;
    }

    /// <summary>One person's demographics; null where there are none, or this service does not share them so.</summary>
    private async Task<Demographics?> DemographicsOfAsync(string id, CancellationToken cancellationToken)
    {
        if (_demographicsRefused)
        {
            return null;
        }

        try
        {
            return await source.DemographicsOfAsync(id, cancellationToken);
        }
        catch (RosterException e) when (e.StatusCode == 403)
        {
            _demographicsRefused = true;
            return null;
        }
        catch (RosterException e) when (NotInPartsException.IsRefusal(e) || e.Fault == RosterFault.NotARoster)
        {
            throw new NotInPartsException("the server does not give demographics one by one", e);
        }
    }

    private Roster Build(
        Dictionary<string, User> users,
        HashSet<ulong> asked,
        Dictionary<string, Demographics> demographics,
        bool demographicsNotShared,
        HomeroomIntake? homerooms,
        Dictionary<string, Org> orgs
    )
    {
        var people = new Spool(spoolFolder, "people");
        var guardians = new Spool(spoolFolder, "guardians");
        try
        {
            var intake = new UserIntake(setup, people, guardians, homerooms);
            foreach (var user in users.Values)
            {
                intake.Take(user);
            }

            intake.Report(warnings, whole: false);

            var births = new DemographicsIntake(setup.Keys);
            foreach (var row in demographics.Values)
            {
                births.Take(row);
            }

            return new Roster(setup.Keys, intake, people, guardians)
            {
                Orgs = orgs,
                Demographics = demographicsNotShared ? null : births.Build(),
                Homerooms = homerooms?.Build(),
                AbsenceUsable = false,
                ChangesOnly = true,
                GuardiansPartial = true,
                AskedFor = asked,
                RolesTurn = intake.RolesTurn,
                Revision = null,
            };
        }
        catch
        {
            people.Dispose();
            guardians.Dispose();
            throw;
        }
    }

    /// <summary>Guardians that have to be read for contacts to be told whole: those of students whose list of guardians changed, or one
    /// of whose guardians did. For all others the contacts stay as they are.</summary>
    private List<string> MissingGuardians(
        Dictionary<string, User> users,
        Dictionary<string, KnownLink> links,
        HashSet<string> concerned,
        IReadOnlyList<string> alsoOf
    )
    {
        var missing = new HashSet<string>(StringComparer.Ordinal);
        foreach (var user in users.Values)
        {
            if (
                user.Agents is not { Count: > 0 } agents
                || RoleGroups.StandingOf(user, setup.Settings.Roles, setup.Today).Group != RoleGroup.Student
            )
            {
                continue;
            }

            var same =
                links.TryGetValue(user.SourcedId!, out var link)
                && string.Equals(
                    link.Guardians,
                    string.Join('\n', agents.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)),
                    StringComparison.Ordinal
                );
            if (!same || agents.Any(users.ContainsKey))
            {
                missing.UnionWith(agents.Where(a => !users.ContainsKey(a)));
            }
        }

        foreach (var id in alsoOf)
        {
            if (links.TryGetValue(id, out var link) && link.Guardians?.Split('\n') is { } agents && agents.Any(users.ContainsKey))
            {
                missing.UnionWith(agents.Where(a => !users.ContainsKey(a)));
            }
        }

        return [.. missing];
    }

    /// <summary>Who sits where now: what the last run knew and what changed since; all of it read where that is not enough.</summary>
    /// <returns>Null when classes or enrollments are not shared: the homerooms known stay.</returns>
    private async Task<HomeroomChanges?> HomeroomsAsync(
        DateTimeOffset after,
        Dictionary<string, User> users,
        CancellationToken cancellationToken
    )
    {
        var classes = new List<Class>();
        var enrollments = new List<Enrollment>();

        // What the last run knew is read while the server makes its pages; nothing else uses the connection meanwhile.
        var remembering = Task.Run(
            () => HomeroomStore.LoadAsync(connection, setup.District.Id, setup.State.Homerooms, setup.Keys, cancellationToken),
            cancellationToken
        );
        try
        {
            if (
                (await ChangedAsync("classes", source.Classes, after, classes.Add, classes.Clear, cancellationToken)).NotShared
                || (
                    await ChangedAsync("enrollments", source.Enrollments, after, enrollments.Add, enrollments.Clear, cancellationToken)
                ).NotShared
            )
            {
                return null;
            }
        }
        finally
        {
            await ((Task)remembering).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        HashSet<(ulong, uint)> members = [];
        var touched = new HashSet<string>(StringComparer.Ordinal);
        var memory = await remembering;
        var log = memory?.Apply(classes, enrollments, members, touched);
        var whole = log is null || memory!.Incomplete;
        log = whole ? new HomeroomLog(setup.Keys) : log!;
        _homerooms = whole ? new KnownHomerooms(operation.Id, setup.Keys.Seed) : setup.State.Homerooms;
        var intake = new HomeroomIntake(setup.Today, setup.Keys, whole ? log : null);
        var sessions = await WalkAsync(
            "academic sessions",
            source.AcademicSessions(),
            intake.Session,
            intake.ClearSessions,
            cancellationToken
        );
        intake.SessionsShared = !sessions.NotShared;
        if (whole)
        {
            intake.ClearClasses();
            var all = await WalkAsync("classes", source.Classes(), intake.Class, intake.ClearClasses, cancellationToken, log);
            _homeroomsShifted = all.RowsShifted;
            var gaps = all.UnreadableRows > 0;
            if (!all.NotShared)
            {
                all = await WalkAsync(
                    "enrollments",
                    source.Enrollments(),
                    intake.Enrollment,
                    intake.ClearEnrollments,
                    cancellationToken,
                    log
                );
                _homeroomsShifted |= all.RowsShifted;
                gaps |= all.UnreadableRows > 0;
            }

            // What nobody can read is likely to be so the next time: all the rest is known, and is not read again for that.
            _homerooms = _homerooms! with
            {
                Gaps = gaps,
            };
            intake.RowsShifted = _homeroomsShifted || gaps || !RosterPull.IsWhole(sessions);

            if (all.NotShared)
            {
                _homerooms = null;
                return null;
            }

            foreach (var row in enrollments.Where(e => e.Class is not null && intake.Knows(e.Class)))
            {
                if (HomeroomIntake.RoleOf(row) == HomeroomRole.Teacher)
                {
                    touched.Add(row.Class!);
                }
                else if (row.User is not null)
                {
                    members.Add(KeyOf(row.User));
                }
            }

            touched.UnionWith(classes.Select(c => c.SourcedId).OfType<string>().Where(intake.Knows));
        }
        else
        {
            intake.RowsShifted = _homerooms is { Gaps: true } || _unreadable || !RosterPull.IsWhole(sessions);
        }

        await progress("Putting homerooms together", 0, null);
        if (!whole)
        {
            memory!.Feed(intake);
        }

        var changes = new HomeroomChanges(intake, log, members, touched);
        touched.UnionWith(intake.ClassesOfTeachers(users.Keys));
        foreach (var user in users.Values)
        {
            NameTeacher(changes, user);
        }

        await ReadTeachersAsync(changes, touched, members, users, cancellationToken);
        return changes;
    }

    private (ulong Key, uint Check) KeyOf(string id) => (setup.Keys.Of(id), setup.Keys.Check(id));

    /// <summary>What is new is kept for the next run, unless this one is to change nothing.</summary>
    private async Task KeepAsync(HomeroomLog log, bool all, CancellationToken cancellationToken)
    {
        if (!operation.PreviewOnly)
        {
            _store ??= new HomeroomStore(database, operation, _homerooms!.OperationId);
            await _store.AppendAsync(log, all, cancellationToken);
        }
    }

    private HomeroomStore? _store;

    /// <summary>Homerooms while changes are read.</summary>
    /// <param name="Intake">All of them, as they are now.</param>
    /// <param name="Log">Takes down what is new.</param>
    /// <param name="Members">People whose membership may be another.</param>
    /// <param name="Touched">Classes that changed, or whose teacher did.</param>
    private sealed record HomeroomChanges(
        HomeroomIntake Intake,
        HomeroomLog Log,
        HashSet<(ulong Key, uint Check)> Members,
        HashSet<string> Touched
    )
    {
        private readonly HomeroomIndex _index = Intake.Build();

        /// <summary>The homeroom of somebody known may have become another, or its text. A class that changed, or its teacher, concerns those
        /// in it whose Location it makes another; a student who came or went, that student alone.</summary>
        public bool Concern((ulong Key, uint Check) person, KnownLink link, Mapper mapper)
        {
            HomeroomClass? only = null;
            var (several, same, touched) = (false, false, false);
            foreach (var homeroom in _index.ClassesOf(person.Key, person.Check))
            {
                several = only is not null;
                only = homeroom;
                same |= homeroom.Id == link.HomeroomClass;
                touched |= Touched.Contains(homeroom.Id);
            }

            return only is null
                ? link.HomeroomClass is not null
                : !same || ((touched || Members.Contains(person)) && (several || mapper.LocationOf(only.Homeroom) != link.Location));
        }
    }

    private void NameTeacher(HomeroomChanges homerooms, User user)
    {
        if (setup.Settings.Map.Location == LocationSource.TeacherName && homerooms.Intake.Teacher(user))
        {
            homerooms.Log.Teacher(user.SourcedId!, HomeroomIntake.NameOf(user) ?? "");
        }
    }

    /// <summary>Teachers' names stand in user records; those of homerooms that matter here have to be at hand.</summary>
    private async Task ReadTeachersAsync(
        HomeroomChanges homerooms,
        IReadOnlyCollection<string> classes,
        IReadOnlyCollection<(ulong Key, uint Check)> people,
        Dictionary<string, User> users,
        CancellationToken cancellationToken
    )
    {
        if (setup.Settings.Map.Location != LocationSource.TeacherName)
        {
            return;
        }

        foreach (var teacher in homerooms.Intake.Unnamed(classes, people))
        {
            if ((users.GetValueOrDefault(teacher) ?? await TeacherAsync(teacher, users, cancellationToken)) is { } user)
            {
                NameTeacher(homerooms, user);
            }
        }
    }

    private async Task<User?> TeacherAsync(string id, Dictionary<string, User> users, CancellationToken cancellationToken)
    {
        if (!_teachers.TryGetValue(id, out var user))
        {
            _teachers[id] = user = await _oneByOne.ReadAsync(id, users.Values, cancellationToken);
        }

        return user;
    }

    /// <param name="Guardians">As the link has them.</param>
    /// <param name="HomeroomClass">The homeroom that the link knows.</param>
    /// <param name="Location">What it was written as.</param>
    /// <param name="Synced">The person is here, and of a group that is synced. Nobody else's homeroom is kept up.</param>
    private sealed record KnownLink(string? Guardians, string? HomeroomClass, string? Location, bool Synced);

    /// <summary>The links that matter, by id: of people who changed, whose demographics did, or whose homeroom or one of whose guardians
    /// did, which adds them to those concerned. Whoever has several records is concerned with all of them, since only together they tell which
    /// of them counts. All others pass by without being kept, however many there are.</summary>
    /// <returns>Those links, and how many there are in all.</returns>
    private async Task<(Dictionary<string, KnownLink> Links, int Count)> LinksAsync(
        Dictionary<string, User> users,
        HashSet<string> concerned,
        PersonRecords records,
        HomeroomChanges? homerooms,
        CancellationToken cancellationToken
    )
    {
        var links = new Dictionary<string, KnownLink>(StringComparer.Ordinal);
        var count = 0;
        var changed = users.GetAlternateLookup<ReadOnlySpan<char>>();
        await foreach (var (id, link) in ReadLinksAsync(cancellationToken))
        {
            count++;
            var all = records.Of(id);

            // Whoever is known to be gone, or is none of those synced, comes with a row of their own, if at all.
            var concern = homerooms is not null && link.Synced && IsConcerned(homerooms, id, all, link);
            foreach (var guardian in link.Guardians.AsSpan().Split('\n'))
            {
                concern |= changed.ContainsKey(link.Guardians.AsSpan(guardian));
            }

            if (all.Count > 0 && (concern || all.Any(r => concerned.Contains(r) || users.ContainsKey(r))))
            {
                concerned.UnionWith(all);
                foreach (var record in all)
                {
                    links[record] = link;
                }
            }
            else if (concern)
            {
                concerned.Add(id);
            }

            if (concerned.Contains(id) || users.ContainsKey(id))
            {
                links[id] = link;
            }
        }

        return (links, count);
    }

    /// <summary>Of several records one has the homeroom that the link knows, and nothing tells here which.</summary>
    private bool IsConcerned(HomeroomChanges homerooms, string id, IReadOnlyList<string> all, KnownLink link) =>
        all.Count == 0
            ? homerooms.Concern(KeyOf(id), link, setup.Mapper)
            : all.Any(r => homerooms.Members.Contains(KeyOf(r))) || all.All(r => homerooms.Concern(KeyOf(r), link, setup.Mapper));

    private async IAsyncEnumerable<(string Guid, KnownLink Link)> ReadLinksAsync(
        [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken
    )
    {
        await using var command = connection.CreateCommand().AllowLong();
        command.CommandText = """
            SELECT p.guid, coalesce(l.guardians, ''), coalesce(l.homeroom_class, ''), coalesce(p.location, ''), l.absent, p.status, l.role_group
            FROM patron_links l
            JOIN patrons p ON p.district_id = l.district_id AND p.id = l.patron_id
            WHERE l.district_id = @district AND p.guid IS NOT NULL
            """;
        Sql.Add(command, "@district", setup.District.Id);
        await using var reader = await command.ExecuteReaderAsync(cancellationToken);
        string? Text(int column) => reader.GetString(column) is { Length: > 0 } text ? text : null;
        while (await reader.ReadAsync(cancellationToken))
        {
            var synced =
                !reader.GetBoolean(4)
                && (PatronStatus)reader.GetInt32(5) != PatronStatus.Transferred
                && setup.IsTicked((RoleGroup)reader.GetInt32(6));
            yield return (reader.GetString(0), new KnownLink(Text(1), Text(2), Text(3), synced));
        }
    }

    private async Task<WalkResult> ChangedAsync<T>(
        string what,
        Func<DateTimeOffset?, ICollectionWalk<T>> walk,
        DateTimeOffset after,
        Action<T> take,
        Action clear,
        CancellationToken cancellationToken
    )
    {
        try
        {
            var result = await WalkAsync($"changed {what}", walk(after), take, clear, cancellationToken);
            if (result.NotShared && await IsSharedAsync(walk(null), cancellationToken))
            {
                throw new NotInPartsException($"the server does not filter {what} by date");
            }

            // Who moved from one homeroom to another has two rows: where one of them is not known, neither is the homeroom.
            _unreadable |= what is "classes" or "enrollments" && result.UnreadableRows > 0;
            Unclear |= result.RowsShifted || (what is "people" or "classes" or "enrollments" && result.UnreadableRows > 0);
            return result;
        }
        catch (RosterException e) when (NotInPartsException.IsRefusal(e))
        {
            throw new NotInPartsException("the server does not filter by date", e);
        }
    }

    /// <summary>A collection whose changes are refused is not shared only if all of it is refused too.</summary>
    private static async Task<bool> IsSharedAsync<T>(ICollectionWalk<T> walk, CancellationToken cancellationToken)
    {
        await foreach (var _ in walk.ReadAsync(cancellationToken))
        {
            return true;
        }

        return !walk.Result.NotShared;
    }

    private async Task<WalkResult> WalkAsync<T>(
        string what,
        ICollectionWalk<T> walk,
        Action<T> take,
        Action clear,
        CancellationToken cancellationToken,
        HomeroomLog? log = null
    )
    {
        await progress($"Reading {what}", 0, null);
        var attempt = 1;
        await foreach (var page in walk.ReadAsync(cancellationToken))
        {
            if (page.Attempt != attempt)
            {
                attempt = page.Attempt;
                clear();
            }

            foreach (var record in page.Records)
            {
                take(record);
            }

            if (log is not null)
            {
                await KeepAsync(log, all: false, cancellationToken);
            }

            await progress($"Reading {what}", page.RowsSoFar, page.Total);
        }

        _log.Take(
            what,
            walk.Result,
            "the next changes sync asks for them again",
            what.EndsWith("classes", StringComparison.Ordinal) || what.EndsWith("enrollments", StringComparison.Ordinal)
                ? ReadingLog.HomeroomsStay
                : null
        );
        return walk.Result;
    }
}
