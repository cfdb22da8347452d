using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.OneRoster;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;
using Rollcall.Patrons;

namespace Rollcall.Sync.Pull;

/// <summary>Reads a roster: only what the mapping needs, page by page, into the spool and the planner's arrays.</summary>
/// <param name="setup">The district and its settings.</param>
/// <param name="source">The roster.</param>
/// <param name="spoolFolder">Where people lie while the run works.</param>
/// <param name="warnings">Gets what is to be reported.</param>
/// <param name="progress">Hears what is read, how many rows so far and of how many.</param>
/// <param name="store">Keeps the homerooms for the changes syncs to come; null where there will be none.</param>
internal sealed class RosterPull(
    SyncSetup setup,
    IRosterSource source,
    string spoolFolder,
    WarningLog warnings,
    Func<string, long, long?, ValueTask> progress,
    HomeroomStore? store = null
)
{
    private const int RevisionAttempts = 3;
    private readonly ReadingLog _log = new(setup, warnings);
    private bool _shifted;

    /// <summary>Every way in which the roster deviates from OneRoster and was understood all the same, by collection and rule.</summary>
    public IReadOnlyDictionary<string, long> Leniencies => _log.Leniencies;

    /// <summary>Reads everything. The result is verified; anything else throws <see cref="RosterException"/>.</summary>
    public async Task<Roster> ReadAsync(CancellationToken cancellationToken)
    {
        for (var attempt = 1; ; attempt++)
        {
            var people = new Spool(spoolFolder, "people");
            var guardians = new Spool(spoolFolder, "guardians");
            try
            {
                return await ReadOnceAsync(people, guardians, cancellationToken);
            }
            catch (RevisionChangedException) when (attempt < RevisionAttempts)
            {
                people.Dispose();
                guardians.Dispose();
                warnings.Clear();
                _log.Clear();
                _shifted = false;
                await progress("The roster changed while it was read; reading it again", 0, null);
            }
            catch (RevisionChangedException)
            {
                people.Dispose();
                guardians.Dispose();
                throw new RosterException(
                    RosterFault.Incomplete,
                    $"The roster changed while it was read, {RevisionAttempts} times in a row. Run the sync again when the district's own import is over."
                );
            }
            catch
            {
                people.Dispose();
                guardians.Dispose();
                throw;
            }
        }
    }

    private async Task<Roster> ReadOnceAsync(Spool people, Spool guardians, CancellationToken cancellationToken)
    {
        var revision = new RevisionWatch();

        var orgs = new Dictionary<string, Org>(StringComparer.Ordinal);
        var orgsResult = await WalkAsync(
            "orgs",
            source.Orgs(),
            orgs.Clear,
            page => page.ForEach(o => orgs[o.SourcedId!] = o, o => o.SourcedId),
            cancellationToken
        );
        revision.See(orgsResult);
        foreach (var matched in setup.OrgSites.Keys)
        {
            if (orgs.TryGetValue(matched, out var org) ? org.Status == RecordStatus.ToBeDeleted : !orgsResult.Partial)
            {
                throw new RosterException(
                    RosterFault.Incomplete,
                    $"The organization '{matched}', matched to site {SiteCode(setup.OrgSites[matched])}, is no longer in the roster. Unmatch it, or have it shared again; nothing was changed."
                );
            }
        }

        var homerooms = setup.Mapper.NeedsHomerooms ? await ReadHomeroomsAsync(revision, cancellationToken) : null;

        var demographics = await ReadDemographicsAsync(revision, cancellationToken);

        var users = new UserIntake(setup, people, guardians, homerooms);
        var usersResult = await WalkAsync(
            "people",
            source.Users(),
            users.Clear,
            page => page.ForEach(users.Take, _ => ""),
            cancellationToken
        );
        revision.See(usersResult);
        if (setup.Kind == IntegrationKind.OneRosterCsv)
        {
            warnings.Add(
                "unreadable-rows",
                "Rows of users could not be read for certain: nobody counts as absent this time",
                $"Ask the district's {IntegrationWords.Support(setup.Kind)} to check the roster export.",
                usersResult.UnreadableRows
            );
        }

        if (setup.Settings.Map.Location == LocationSource.TeacherName)
        {
            homerooms?.LogTeachers();
        }

        await KeepAsync(homerooms?.Log, all: true, cancellationToken);

        users.Report(warnings, whole: true);
        var absenceUsable = users.RowsWithoutId == 0 && usersResult.UnreadableRows == 0 && !usersResult.RowsShifted;
        var isPackage = setup.Kind == IntegrationKind.OneRosterCsv;
        if (usersResult.RowsShifted && isPackage)
        {
            warnings.Add(
                "rows-shifted",
                "The manifest says that users.csv is absent, and it is there: nobody counts as absent this time",
                "Ask the district's SIS support to check the export."
            );
        }

        return new Roster(setup.Keys, users, people, guardians)
        {
            Orgs = orgs,
            Demographics = demographics,
            Homerooms = homerooms?.Build(),
            AbsenceUsable = absenceUsable,
            GuardiansPartial = !absenceUsable,

            // The same package would say the same again; of a service it is to be seen whether it does.
            Revision = isPackage || (absenceUsable && !_shifted) ? revision.Value : null,
            RolesTurn = users.RolesTurn,
            FullDue = _shifted ? "rows moved between pages while the roster was read" : null,
        };
    }

    private async Task<DemographicsIndex?> ReadDemographicsAsync(RevisionWatch revision, CancellationToken cancellationToken)
    {
        var rows = new DemographicsIntake(setup.Keys);
        var result = await WalkAsync(
            "demographics",
            source.Demographics(),
            rows.Clear,
            page => page.ForEach(rows.Take, _ => ""),
            cancellationToken
        );
        if (result.NotShared)
        {
            warnings.Add(
                "demographics-not-shared",
                "Demographics are not shared: birthdate and sex stay as they are",
                setup.Kind == IntegrationKind.ClassLink
                    ? "If the library wants them, an administrator of the district switches Demographics on for this application in ClassLink."
                    : $"If the library wants them, an administrator of the district shares demographics with this application {IntegrationWords.Where(setup.Kind)}."
            );
            return null;
        }

        revision.See(result);
        return rows.Build();
    }

    private async Task<HomeroomIntake?> ReadHomeroomsAsync(RevisionWatch revision, CancellationToken cancellationToken)
    {
        var log = store is null ? null : new HomeroomLog(setup.Keys);
        log?.Reset();
        var intake = new HomeroomIntake(setup.Today, setup.Keys, log);
        var sessions = await WalkAsync(
            "academic sessions",
            source.AcademicSessions(),
            intake.ClearSessions,
            page => page.ForEach(intake.Session, _ => ""),
            cancellationToken
        );
        sessions = WholeOrNotShared(sessions);
        intake.SessionsShared = !sessions.NotShared;
        var classes = await WalkAsync(
            "classes",
            source.Classes(),
            intake.ClearClasses,
            page => page.ForEach(intake.Class, _ => ""),
            cancellationToken,
            log
        );
        classes = WholeOrNotShared(classes);
        var enrollments = classes.NotShared
            ? classes
            : WholeOrNotShared(
                await WalkAsync(
                    "enrollments",
                    source.Enrollments(),
                    intake.ClearEnrollments,
                    page => page.ForEach(intake.Enrollment, _ => ""),
                    cancellationToken,
                    log
                )
            );
        intake.RowsShifted = !IsWhole(sessions) || !IsWhole(classes) || !IsWhole(enrollments);
        foreach (
            var (result, name) in ((WalkResult, string)[])
                [(sessions, "Academic sessions"), (classes, "Classes"), (enrollments, "Enrollments")]
        )
        {
            if (!result.NotShared)
            {
                revision.See(result);
            }
            else if (name != "Enrollments" || !ReferenceEquals(enrollments, classes))
            {
                warnings.Add(
                    $"{name.ToLowerInvariant().Replace(' ', '-')}-not-shared",
                    name == "Academic sessions"
                        ? "Academic sessions are not shared: every homeroom class counts as current"
                        : $"{name} are not shared: homerooms stay as they are",
                    $"If the library wants homerooms, an administrator of the district shares classes and enrollments with this application {IntegrationWords.Where(setup.Kind)}."
                );
            }
        }

        return classes.NotShared || enrollments.NotShared ? null : intake;
    }

    /// <summary>Every row of a collection has been read: what is in none of them is not in the roster.</summary>
    internal static bool IsWhole(WalkResult result) => !result.RowsShifted && result.UnreadableRows == 0;

    /// <summary>Of changes alone no homeroom can be told.</summary>
    internal static WalkResult WholeOrNotShared(WalkResult result) => result.Partial ? result with { NotShared = true } : result;

    private async Task<WalkResult> WalkAsync<T>(
        string what,
        ICollectionWalk<T> walk,
        Action clear,
        Action<IReadOnlyList<T>> take,
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

            take(page.Records);
            await KeepAsync(log, all: false, cancellationToken);
            await progress($"Reading {what}", page.RowsSoFar, page.Total);
        }

        _shifted |= walk.Result.RowsShifted && setup.Kind != IntegrationKind.OneRosterCsv;
        const string NobodyIsAbsent = "nobody counts as absent this time";
        _log.Take(
            what,
            walk.Result,
            what == "people" ? NobodyIsAbsent : "some may not have been read, and what they say stays as it was",
            what switch
            {
                "people" => NobodyIsAbsent,
                "classes" or "enrollments" => ReadingLog.HomeroomsStay,
                _ => null,
            }
        );
        return walk.Result;
    }

    private async Task KeepAsync(HomeroomLog? log, bool all, CancellationToken cancellationToken)
    {
        if (log is not null)
        {
            await store!.AppendAsync(log, all, cancellationToken);
        }
    }

    private string SiteCode(int siteId) =>
        setup.Sites.TryGetValue(siteId, out var site) ? site.Code : siteId.ToString(System.Globalization.CultureInfo.InvariantCulture);

    private sealed class RevisionChangedException : Exception;

    /// <summary>One value must hold for the whole data set; when it moves, what was read belongs to two states of the roster.</summary>
    private sealed class RevisionWatch
    {
        public string? Value { get; private set; }

        public void See(WalkResult result)
        {
            if (result.Revision is not { } revision)
            {
                return;
            }

            if (Value is not null && !string.Equals(Value, revision, StringComparison.Ordinal))
            {
                throw new RevisionChangedException();
            }

            Value = revision;
        }
    }
}

internal static class PageExtensions
{
    /// <summary>Takes each record that has a key.</summary>
    public static void ForEach<T>(this IReadOnlyList<T> page, Action<T> take, Func<T, string?> key)
    {
        for (var i = 0; i < page.Count; i++)
        {
            if (key(page[i]) is not null)
            {
                take(page[i]);
            }
        }
    }
}

/// <summary>Takes users as they come: spool, key arrays, guardians, teachers' names.</summary>
internal sealed class UserIntake(SyncSetup setup, Spool people, Spool guardians, HomeroomIntake? homerooms)
{
    private readonly Rows<RosterPerson> _persons = new();
    private readonly HashSet<RoleGroup> _groups = [];
    private readonly Dictionary<string, long> _unknownRoles = new(StringComparer.OrdinalIgnoreCase);
    private readonly List<string> _orgs = [];
    private long _withoutRole;

    public Rows<ulong> GuardianKeys { get; } = new();
    public Rows<long> GuardianPositions { get; } = new();

    /// <summary>The <c>sourcedId</c> of each row, and of each row that is deleted.</summary>
    public Rows<ulong> Ids { get; } = new();
    public Rows<ulong> DeadIds { get; } = new();
    public long RowsWithoutId { get; private set; }

    /// <summary>The first day to come on which somebody of those read is another by the dates of their roles alone; null when there is none.</summary>
    public DateOnly? RolesTurn { get; private set; }

    public void Clear()
    {
        RolesTurn = null;
        people.Clear();
        guardians.Clear();
        _persons.Clear();
        _groups.Clear();
        _unknownRoles.Clear();
        _withoutRole = 0;
        RowsWithoutId = 0;
        GuardianKeys.Clear();
        GuardianPositions.Clear();
        Ids.Clear();
        DeadIds.Clear();
        homerooms?.ClearTeachers();
    }

    public void Take(User user)
    {
        var keys = setup.Keys;
        var id = keys.Of(user.SourcedId);
        if (id == 0)
        {
            RowsWithoutId++;
        }
        else
        {
            Ids.Add(id);
            if (user.Status != RecordStatus.Active)
            {
                DeadIds.Add(id);
            }

            homerooms?.Teacher(user);
        }

        if (user.Roles.Count == 0)
        {
            if (user.Status == RecordStatus.ToBeDeleted && id != 0)
            {
                // Some servers leave nothing but the id of somebody who was deleted. Whose it was the link tells.
                _persons.Add(
                    new RosterPerson
                    {
                        Position = people.Append(user),
                        Guid = id,
                        Check = keys.Check(user.SourcedId),
                        Deleted = true,
                    }
                );
                return;
            }

            _withoutRole++;
            return;
        }

        var standing = RoleGroups.StandingOf(user, setup.Settings.Roles, setup.Today);
        SeeDates(user, standing);
        if (standing is { Guardian: true } && id != 0)
        {
            GuardianKeys.Add(id);
            GuardianPositions.Add(guardians.Append(user));
        }

        if (standing.Group == RoleGroup.None)
        {
            if (standing.UnknownRole is { } role && !standing.Guardian)
            {
                _unknownRoles[role] = _unknownRoles.GetValueOrDefault(role) + 1;
            }

            return;
        }

        // Whose role is still to come is there, too.
        if (standing is { Ticked: true } or { Ended: false })
        {
            _groups.Add(standing.Group);
        }

        _persons.Add(
            new RosterPerson
            {
                Position = standing.Ticked ? people.Append(user) : -1,
                Guid = id,
                Check = keys.Check(user.SourcedId),
                Student = standing.Ticked ? keys.Of(setup.Mapper.CommunityId(user).Text) : 0,
                Barcode = standing.Ticked && setup.Mapper.Barcode(user).Text is { } barcode ? keys.Of(Text.BarcodeKey(barcode)) : 0,
                Email = keys.Of(Text.EmailKey(user.Email)),
                Last = keys.Name(user.FamilyName),
                First = keys.Name(user.GivenName),
                Group = standing.Group,
                Ticked = standing.Ticked,
                Deleted = user.Status == RecordStatus.ToBeDeleted || standing.Ended,
            }
        );
    }

    /// <summary>No row says on the day that a role begins or ends: its dates said so long before.</summary>
    private void SeeDates(User user, Standing standing)
    {
        if (user.Status != RecordStatus.Active)
        {
            return;
        }

        foreach (var role in user.Roles)
        {
            See(role.Begin);
            See(role.End);
        }

        void See(DateOnly? day)
        {
            if (day is { } date && date > setup.Today && !(RolesTurn <= date) && IsAnother(date))
            {
                RolesTurn = date;
            }
        }

        // Many rosters date every role, and most of the dates make no difference to anybody who is synced.
        bool IsAnother(DateOnly date)
        {
            var then = RoleGroups.StandingOf(user, setup.Settings.Roles, date);
            return standing.Guardian != then.Guardian
                || (
                    (standing.Ticked || then.Ticked)
                    && (
                        (standing.Group, standing.Ticked, standing.Ended) != (then.Group, then.Ticked, then.Ended)
                        || (!standing.Ended && SitesAt(setup.Today) != SitesAt(date))
                    )
                );
        }

        (string?, bool) SitesAt(DateOnly date)
        {
            setup.Mapper.Orgs(user, date, setup.OrgSites.ContainsKey, _orgs);
            return (_orgs.Count > 0 ? _orgs[0] : null, _orgs.Exists(setup.OrgSites.ContainsKey));
        }
    }

    /// <summary>Says what was left out.</summary>
    /// <param name="warnings">Gets it.</param>
    /// <param name="whole">All people were read, and not only those who changed.</param>
    public void Report(WarningLog warnings, bool whole)
    {
        warnings.Add(
            "role-missing",
            "People have no role that could be read and were left out",
            "They get a role in the SIS: whoever keeps it enters it.",
            _withoutRole
        );
        foreach (var (role, count) in _unknownRoles)
        {
            warnings.Add(
                "role-unknown",
                $"The role '{Text.Cut(Text.Clean(role) ?? "", 40)}' is not known here; its people were left out",
                hint: null,
                count,
                role
            );
        }

        warnings.Add(
            "row-without-id",
            whole ? "Rows have no sourcedId: nobody counts as absent this time" : "Rows have no sourcedId and were left out",
            $"Ask the district's {IntegrationWords.Support(setup.Kind)} to give every person a sourcedId.",
            RowsWithoutId
        );
        foreach (var group in whole ? setup.Settings.Roles : [])
        {
            if (!_groups.Contains(group))
            {
                warnings.Add(
                    "role-empty",
                    $"{RoleGroups.Label(group)} is ticked, but the roster has nobody of that kind",
                    group == RoleGroup.Admin
                        ? (
                            setup.Kind == IntegrationKind.ClassLink
                                ? "Administrators are often not enrolled in a class: an administrator of the district switches 'Unenrolled Users' on for this application in ClassLink."
                                : $"Administrators are often not enrolled in a class: see whether they are shared {IntegrationWords.Where(setup.Kind)}."
                        )
                        : $"Check {IntegrationWords.Where(setup.Kind)} which people are shared with this application.",
                    1,
                    group.ToString()
                );
            }
        }
    }

    /// <summary>The people. A <c>sourcedId</c> that comes twice counts once: its last row.</summary>
    public Rows<RosterPerson> Finish()
    {
        var ids = new ulong[_persons.Count];
        for (var i = 0; i < ids.Length; i++)
        {
            ids[i] = _persons[i].Guid;
        }

        // Hardly ever does one: a sorted copy tells it in an eighth of what a table of all takes.
        Array.Sort(ids);
        var twice = new HashSet<ulong>();
        for (var i = 1; i < ids.Length; i++)
        {
            if (ids[i] == ids[i - 1] && ids[i] != 0)
            {
                twice.Add(ids[i]);
            }
        }

        if (twice.Count == 0)
        {
            return _persons;
        }

        var seen = new Dictionary<(ulong, uint), int>();
        for (var i = 0; i < _persons.Count; i++)
        {
            ref var person = ref _persons[i];
            if (!twice.Contains(person.Guid))
            {
                continue;
            }

            if (seen.TryGetValue((person.Guid, person.Check), out var earlier))
            {
                _persons[earlier].Replaced = true;
            }

            seen[(person.Guid, person.Check)] = i;
        }

        return _persons;
    }
}
