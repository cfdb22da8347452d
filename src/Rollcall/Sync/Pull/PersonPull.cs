using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.OneRoster;
using Rollcall.OneRoster.Csv;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;
using Rollcall.Patrons;

namespace Rollcall.Sync.Pull;

/// <summary>Reads one person and what of the roster concerns that person. Proves nothing by what it lacks.</summary>
internal sealed class PersonPull(SyncSetup setup, IRosterSource source, string spoolFolder, Func<string, ValueTask> progress)
{
    /// <summary>Who is not found may be there all the same.</summary>
    private bool _usersPartial;

    /// <summary>That holds for the person already, and not only for guardians and teachers.</summary>
    private bool _peoplePartial;

    /// <summary>The package at hand, where it holds changes alone.</summary>
    private readonly CsvRosterSource? _delta = source is CsvFeedSource { HasAllPeople: false } feed ? feed.Source : null;

    private readonly DeltaRoles? _deltaRoles = source is CsvFeedSource { HasAllPeople: false } changes
        ? new DeltaRoles(setup, changes.Source)
        : null;

    private OneByOne? _oneByOne = source is RestRosterSource rest ? new OneByOne(rest) : null;

    /// <summary>The rows that the roster has of the person.</summary>
    public IReadOnlyList<User> Users { get; private set; } = [];

    /// <summary>Only changes are at hand: what they do not say of the person stays as it is.</summary>
    public bool ChangesAlone => _delta is not null;

    /// <summary>Roles of the person changed, and the package does not say which others there are.</summary>
    public bool RolesUnclear => _deltaRoles is { Unclear: > 0 };

    /// <summary>Why nothing follows from that the person was not found; null where the roster has nobody of that id.</summary>
    /// <param name="whom">What to call the person.</param>
    public string? NothingFollows(string whom) =>
        ChangesAlone
            ? $"The package at hand holds changes alone and does not name {whom}. Nothing follows from that: the next complete package tells."
        : _peoplePartial
            ? $"Not everybody could be read, and {whom} was not among those who were. Nothing follows from that: try again when the district's own import is over."
        : null;

    /// <summary>Reads the person.</summary>
    /// <param name="sourcedId">Whom.</param>
    /// <param name="records">All ids of that person; empty where there is only the one.</param>
    /// <param name="linked">Who is linked to the person here; null when nobody is.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>A roster of that one person.</returns>
    public async Task<Roster> ReadAsync(
        string sourcedId,
        IReadOnlyList<string> records,
        (string Guid, KnownPerson Known)? linked,
        CancellationToken cancellationToken
    )
    {
        string[] ids = [sourcedId, .. records.Where(r => !string.Equals(r, sourcedId, StringComparison.Ordinal))];
        var orgs = new Dictionary<string, Org>(StringComparer.Ordinal);
        await WalkAsync("orgs", source.Orgs(), o => orgs[o.SourcedId ?? ""] = o, orgs.Clear, cancellationToken);

        var demographics = new DemographicsIntake(setup.Keys);
        var born = new HashSet<string>(StringComparer.Ordinal);
        var shared = await WalkAsync(
            "demographics",
            source.Demographics(),
            d =>
            {
                if (d.SourcedId is { } id && ids.Contains(id, StringComparer.Ordinal))
                {
                    born.Add(id);
                    demographics.Take(d);
                }
            },
            () =>
            {
                born.Clear();
                demographics.Clear();
            },
            cancellationToken
        );

        await progress("Reading the person");
        var users = await UsersAsync(ids, cancellationToken);
        _peoplePartial = _usersPartial;
        if (linked is var (guid, known))
        {
            Settle(ids, users, guid, known, born);
        }

        Users = [.. ids.Where(users.ContainsKey).Select(i => users[i])];
        string[] agents = [.. Users.SelectMany(u => u.Agents ?? []).Except(ids, StringComparer.Ordinal)];
        if (agents.Length > 0)
        {
            await progress("Reading the guardians");
            foreach (var (id, guardian) in await UsersAsync(agents, cancellationToken))
            {
                users[id] = guardian;
            }
        }

        HomeroomIntake? homerooms = null;
        if (setup.Mapper.NeedsHomerooms && Users.Count > 0)
        {
            homerooms = new HomeroomIntake(setup.Today, setup.Keys);
            var sessions = RosterPull.WholeOrNotShared(
                await WalkAsync(
                    "academic sessions",
                    source.AcademicSessions(),
                    homerooms.Session,
                    homerooms.ClearSessions,
                    cancellationToken
                )
            );
            homerooms.SessionsShared = !sessions.NotShared;
            var classes = RosterPull.WholeOrNotShared(
                await WalkAsync("classes", source.Classes(), homerooms.Class, homerooms.ClearClasses, cancellationToken)
            );
            var enrollments = classes.NotShared
                ? classes
                : RosterPull.WholeOrNotShared(
                    await WalkAsync(
                        "enrollments",
                        source.Enrollments(),
                        homerooms.Enrollment,
                        homerooms.ClearEnrollments,
                        cancellationToken
                    )
                );
            if (classes.NotShared || enrollments.NotShared)
            {
                homerooms = null;
            }
            else
            {
                homerooms.RowsShifted = !RosterPull.IsWhole(sessions) || !RosterPull.IsWhole(classes) || !RosterPull.IsWhole(enrollments);
            }

            // Their names stand in user records, and are written where the mapping says so.
            if (homerooms is not null && setup.Settings.Map.Location == LocationSource.TeacherName)
            {
                foreach (
                    var teacher in (
                        await UsersAsync(
                            homerooms.Unnamed([], [.. ids.Select(i => (setup.Keys.Of(i), setup.Keys.Check(i)))]),
                            cancellationToken
                        )
                    ).Values
                )
                {
                    homerooms.Teacher(teacher);
                }
            }
        }

        return Build(ids, users, homerooms, shared.NotShared ? null : demographics.Build(), orgs);
    }

    /// <summary>Where only changes are at hand: what of the person they do not say is as it is known here.</summary>
    private void Settle(string[] ids, Dictionary<string, User> users, string guid, KnownPerson known, HashSet<string> born)
    {
        if (_deltaRoles is null)
        {
            return;
        }

        foreach (var id in ids)
        {
            if (users.TryGetValue(id, out var user) && user.HasRoleList)
            {
                users[id] = user with { Roles = _deltaRoles.Settled(setup.Keys.Of(id), known, user.Roles) };
            }
        }

        if (users.ContainsKey(guid) || known.Status == PatronStatus.Transferred)
        {
            return;
        }

        if (_delta!.RolesByUser().FirstOrDefault(r => string.Equals(r.User, guid, StringComparison.Ordinal)).Roles is { Count: > 0 } named)
        {
            users[guid] = _deltaRoles.Unchanged(guid, known, named);
        }
        else if (born.Contains(guid))
        {
            users[guid] = _deltaRoles.Unchanged(guid, known, named: null);
        }
    }

    private Roster Build(
        string[] ids,
        Dictionary<string, User> users,
        HomeroomIntake? homerooms,
        DemographicsIndex? demographics,
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

            var own = ids.Select(i => (setup.Keys.Of(i), setup.Keys.Check(i))).ToHashSet();
            var persons = new Rows<RosterPerson>();
            foreach (ref var person in intake.Finish())
            {
                if (own.Contains((person.Guid, person.Check)))
                {
                    persons.Add(person);
                }
            }

            return new Roster(setup.Keys, intake, people, guardians)
            {
                Persons = persons,
                Orgs = orgs,
                Demographics = demographics,
                Homerooms = homerooms?.Build(),
                AbsenceUsable = false,
                ChangesOnly = true,
                GuardiansPartial = _usersPartial,
                AskedFor = _peoplePartial ? new HashSet<ulong>() : ids.Select(setup.Keys.Of).ToHashSet(),
                Placeless = _deltaRoles?.Placeless ?? new HashSet<ulong>(),
                StatusStays = _deltaRoles?.StatusStays ?? new HashSet<ulong>(),
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

    /// <summary>Rows by id: one by one where the service can, else from the whole collection.</summary>
    private async Task<Dictionary<string, User>> UsersAsync(IReadOnlyList<string> ids, CancellationToken cancellationToken)
    {
        var found = new Dictionary<string, User>(StringComparer.Ordinal);
        if (_oneByOne is not null)
        {
            try
            {
                foreach (var id in ids)
                {
                    if (await _oneByOne.ReadAsync(id, found.Values, cancellationToken) is { } user)
                    {
                        found[id] = user;
                    }
                }

                return found;
            }
            catch (NotInPartsException)
            {
                _oneByOne = null;
                found.Clear();
            }
        }

        var wanted = ids.ToHashSet(StringComparer.Ordinal);
        var walked = await WalkAsync(
            "people",
            source.Users(),
            u =>
            {
                if (u.SourcedId is not null && wanted.Contains(u.SourcedId))
                {
                    found[u.SourcedId] = u;
                }
            },
            found.Clear,
            cancellationToken
        );
        _usersPartial |= walked.Partial || walked.RowsShifted || walked.UnreadableRows > 0;
        return found;
    }

    private async Task<WalkResult> WalkAsync<T>(
        string what,
        ICollectionWalk<T> walk,
        Action<T> take,
        Action clear,
        CancellationToken cancellationToken
    )
    {
        await progress($"Reading {what}");
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
        }

        return walk.Result;
    }
}
