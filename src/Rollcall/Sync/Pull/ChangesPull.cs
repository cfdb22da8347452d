using System.Data.Common;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.OneRoster;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.Sync.Pull;

/// <summary>Reads what changed since the last run, and the people it concerns: those whose demographics, homeroom or guardians changed
/// though their own record did not, by what the links keep. A roster read so proves nothing by what it lacks.</summary>
internal sealed class ChangesPull(
    SyncSetup setup,
    RestRosterSource source,
    DbConnection connection,
    string spoolFolder,
    WarningLog warnings,
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

    /// <summary>Reads the changes.</summary>
    /// <param name="since">When the last run began.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>The roster; or null and the reason why everything has to be read instead.</returns>
    public async Task<(Roster? Roster, string? FullBecause)> ReadAsync(DateTimeOffset since, CancellationToken cancellationToken)
    {
        var after = since - Overlap;
        var orgs = new Dictionary<string, Org>(StringComparer.Ordinal);
        await WalkAsync("orgs", source.Orgs(), o => orgs[o.SourcedId ?? ""] = o, orgs.Clear, cancellationToken);
        if (setup.OrgSites.Keys.Any(m => !orgs.TryGetValue(m, out var org) || org.Status == RecordStatus.ToBeDeleted))
        {
            return (null, "a matched organisation is gone");
        }

        var users = new Dictionary<string, User>(StringComparer.Ordinal);
        var withoutId = 0;
        await WalkAsync(
            "changed people",
            source.Users(after),
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
        var demographicsResult = await WalkAsync(
            "changed demographics",
            source.Demographics(after),
            d => demographics[d.SourcedId ?? ""] = d,
            demographics.Clear,
            cancellationToken
        );

        var concerned = new HashSet<string>(demographics.Keys, StringComparer.Ordinal);
        var (links, linked, knownHomerooms) = await LinksAsync(users, concerned, cancellationToken);
        var homerooms = setup.Mapper.NeedsHomerooms
            ? await HomeroomsAsync(after, users, links, knownHomerooms, concerned, cancellationToken)
            : null;

        // People of whom only something else changed: known ones alone, the others are nobody's patrons.
        var fetch = concerned.Where(id => !users.ContainsKey(id) && links.ContainsKey(id)).ToList();
        var guardians = MissingGuardians(users, links, concerned, fetch);
        var allowed = Math.Max(FetchAtLeast, (int)(linked * FetchShare));
        if (fetch.Count + guardians.Count > allowed)
        {
            return (null, $"{fetch.Count + guardians.Count} people would have to be read one by one");
        }

        foreach (var id in fetch)
        {
            await progress("Reading people whose surroundings changed", 0, fetch.Count);
            if (await source.UserAsync(id, cancellationToken) is { } user)
            {
                users[id] = user;
            }
        }

        // The students just read may have guardians that nobody has read yet.
        foreach (var id in guardians.Concat(MissingGuardians(users, links, concerned, [])).Distinct(StringComparer.Ordinal))
        {
            if (!users.ContainsKey(id) && await source.UserAsync(id, cancellationToken) is { } user)
            {
                users[id] = user;
            }
        }

        return (Build(users, demographics, demographicsResult.NotShared, homerooms, orgs), null);
    }

    private Roster Build(
        Dictionary<string, User> users,
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

    /// <summary>Homerooms, read whole when a homeroom is touched at all: which class is one cannot be told from an enrollment. A class that
    /// changed, or its teacher, concerns those in it whose Location it makes another; a student who came or went, that student alone.</summary>
    /// <returns>Null when no homeroom is touched: those known stay.</returns>
    private async Task<HomeroomIntake?> HomeroomsAsync(
        DateTimeOffset after,
        Dictionary<string, User> users,
        Dictionary<string, KnownLink> links,
        HashSet<string> known,
        HashSet<string> concerned,
        CancellationToken cancellationToken
    )
    {
        var classes = new Dictionary<string, Class>(StringComparer.Ordinal);
        var enrollments = new List<Enrollment>();
        var sessions = 0;
        var classesResult = await WalkAsync(
            "changed classes",
            source.Classes(after),
            c => classes[c.SourcedId ?? ""] = c,
            classes.Clear,
            cancellationToken
        );
        var enrollmentsResult = await WalkAsync(
            "changed enrollments",
            source.Enrollments(after),
            enrollments.Add,
            enrollments.Clear,
            cancellationToken
        );
        await WalkAsync("changed sessions", source.AcademicSessions(after), _ => sessions++, () => sessions = 0, cancellationToken);
        if (classesResult.NotShared || enrollmentsResult.NotShared)
        {
            return null;
        }

        var touched = new HashSet<string>(StringComparer.Ordinal);
        touched.UnionWith(classes.Keys.Where(known.Contains));
        touched.UnionWith(classes.Values.Where(IsHomeroom).Select(c => c.SourcedId!));
        touched.UnionWith(enrollments.Where(e => !IsOfStudent(e)).Select(e => e.Class).OfType<string>().Where(known.Contains));
        var members = enrollments
            .Where(e => IsOfStudent(e) && e.Class is { } c && (known.Contains(c) || touched.Contains(c)))
            .Select(e => e.User!)
            .ToHashSet(StringComparer.Ordinal);
        var unknown = enrollments
            .Where(e => e.Class is { } c && !known.Contains(c) && !classes.ContainsKey(c))
            .ToLookup(e => e.Class!, StringComparer.Ordinal);

        // A deleted row may say no more than its id; whose it was shows only beside all that are left.
        var unclear = enrollments.Any(e => e.Class is null || e.User is null);
        Standing StandingOf(User user) => RoleGroups.StandingOf(user, setup.Settings.Roles, setup.Today);
        var mayHaveTaught =
            setup.Settings.Map.Location == LocationSource.TeacherName && users.Values.Any(u => StandingOf(u).Group == RoleGroup.Teacher);
        var newcomers = users.Values.Any(u => !links.ContainsKey(u.SourcedId!) && StandingOf(u) is { Ticked: true });
        var certain = touched.Count > 0 || members.Count > 0 || unclear || sessions > 0 || mayHaveTaught || newcomers;
        if (!certain && unknown.Count == 0)
        {
            return null;
        }

        var intake = new HomeroomIntake(setup.Today, setup.Keys);
        var allSessions = await WalkAsync(
            "academic sessions",
            source.AcademicSessions(),
            intake.Session,
            intake.ClearSessions,
            cancellationToken
        );
        intake.SessionsShared = !allSessions.NotShared;
        await WalkAsync("classes", source.Classes(), intake.Class, intake.ClearClasses, cancellationToken);
        if (!certain && !unknown.Any(u => intake.Knows(u.Key)))
        {
            return null;
        }

        await WalkAsync("enrollments", source.Enrollments(), intake.Enrollment, intake.ClearEnrollments, cancellationToken);

        var index = intake.Build();
        foreach (var row in unknown.Where(u => intake.Knows(u.Key)).SelectMany(u => u))
        {
            if (IsOfStudent(row))
            {
                members.Add(row.User!);
            }
            else
            {
                touched.Add(row.Class!);
            }
        }

        touched.UnionWith(intake.ClassesOfTeachers(users.Keys));
        await ReadTeachersAsync(intake, [.. intake.TeachersOfClasses(touched), .. intake.TeachersOf(members)], users, cancellationToken);
        await foreach (var (id, link) in ReadLinksAsync(cancellationToken))
        {
            var now = index.ClassesOf(setup.Keys.Of(id), setup.Keys.Check(id)).ToList();
            if (IsConcerned(id, link, now))
            {
                concerned.Add(id);
                links[id] = link;
            }
        }

        await ReadTeachersAsync(intake, intake.TeachersOf(concerned.Concat(users.Keys)), users, cancellationToken);
        return intake;

        bool IsConcerned(string id, KnownLink link, List<HomeroomClass> now) =>
            (now, link.HomeroomClass) switch
            {
                ([], null) => false,
                (_, null) => true,
                (_, { } before) when now.TrueForAll(c => c.Id != before) => true,
                // The same one homeroom as before, whatever else of it or its teacher is new.
                ([{ } same], _) => (members.Contains(id) || touched.Contains(same.Id))
                    && setup.Mapper.LocationOf(same.Homeroom) != link.Location,
                _ => members.Contains(id) || now.Exists(c => touched.Contains(c.Id)),
            };
    }

    /// <summary>Teachers' names stand in user records; those of homerooms that matter here have to be at hand.</summary>
    private async Task ReadTeachersAsync(
        HomeroomIntake intake,
        IReadOnlyList<string> teachers,
        Dictionary<string, User> users,
        CancellationToken cancellationToken
    )
    {
        if (setup.Settings.Map.Location != LocationSource.TeacherName)
        {
            return;
        }

        foreach (var teacher in teachers)
        {
            if ((users.GetValueOrDefault(teacher) ?? await TeacherAsync(teacher, cancellationToken)) is { } user)
            {
                intake.Teacher(user);
            }
        }
    }

    private async Task<User?> TeacherAsync(string id, CancellationToken cancellationToken)
    {
        if (!_teachers.TryGetValue(id, out var user))
        {
            _teachers[id] = user = await source.UserAsync(id, cancellationToken);
        }

        return user;
    }

    private static bool IsOfStudent(Enrollment row) =>
        row.User is not null && string.Equals(row.Role?.Trim(), "student", StringComparison.OrdinalIgnoreCase);

    private static bool IsHomeroom(Class row) =>
        row.SourcedId is not null && string.Equals(row.ClassType?.Trim(), "homeroom", StringComparison.OrdinalIgnoreCase);

    private sealed record KnownLink(string? Guardians, string? HomeroomClass, string? Location);

    /// <summary>The links that matter, by GUID: of people who changed, whose demographics did, or one of whose guardians did, which adds
    /// them to those concerned. All others pass by without being kept, however many there are.</summary>
    /// <returns>Those links, how many there are in all, and the homerooms that anybody has.</returns>
    private async Task<(Dictionary<string, KnownLink> Links, int Count, HashSet<string> Homerooms)> LinksAsync(
        Dictionary<string, User> users,
        HashSet<string> concerned,
        CancellationToken cancellationToken
    )
    {
        var links = new Dictionary<string, KnownLink>(StringComparer.Ordinal);
        var homerooms = new HashSet<string>(StringComparer.Ordinal);
        var count = 0;
        var changed = users.GetAlternateLookup<ReadOnlySpan<char>>();
        await foreach (var (id, link) in ReadLinksAsync(cancellationToken))
        {
            count++;
            if (link.HomeroomClass is { } homeroom)
            {
                homerooms.Add(homeroom);
            }

            var guardianChanged = false;
            foreach (var guardian in link.Guardians.AsSpan().Split('\n'))
            {
                guardianChanged |= changed.ContainsKey(link.Guardians.AsSpan(guardian));
            }

            if (guardianChanged)
            {
                concerned.Add(id);
            }

            if (guardianChanged || concerned.Contains(id) || users.ContainsKey(id))
            {
                links[id] = link;
            }
        }

        return (links, count, homerooms);
    }

    private async IAsyncEnumerable<(string Guid, KnownLink Link)> ReadLinksAsync(
        [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken
    )
    {
        await using var command = connection.CreateCommand();
        command.CommandText = """
            SELECT p.guid, l.guardians, l.homeroom_class, p.location FROM patron_links l
            JOIN patrons p ON p.district_id = l.district_id AND p.id = l.patron_id
            WHERE l.district_id = @district AND p.guid IS NOT NULL
            """;
        Sql.Add(command, "@district", setup.District.Id);
        await using var reader = await command.ExecuteReaderAsync(cancellationToken);
        string? Text(int column) => reader.IsDBNull(column) ? null : reader.GetString(column);
        while (await reader.ReadAsync(cancellationToken))
        {
            yield return (reader.GetString(0), new KnownLink(Text(1), Text(2), Text(3)));
        }
    }

    private async Task<WalkResult> WalkAsync<T>(
        string what,
        ICollectionWalk<T> walk,
        Action<T> take,
        Action clear,
        CancellationToken cancellationToken
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

            await progress($"Reading {what}", page.RowsSoFar, page.Total);
        }

        return walk.Result;
    }
}
