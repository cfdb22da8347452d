using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.OneRoster;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;

namespace Rollcall.Sync.Pull;

/// <summary>Reads one person and what of the roster concerns that person. Proves nothing by what it lacks.</summary>
internal sealed class PersonPull(SyncSetup setup, IRosterSource source, string spoolFolder, Func<string, ValueTask> progress)
{
    /// <summary>Who is not found may be there all the same.</summary>
    private bool _usersPartial;

    private OneByOne? _oneByOne = source is RestRosterSource rest ? new OneByOne(rest) : null;

    /// <summary>The rows that the roster has of the person.</summary>
    public IReadOnlyList<User> Users { get; private set; } = [];

    /// <summary>Reads the person.</summary>
    /// <param name="sourcedId">Whom.</param>
    /// <param name="records">All ids of that person; empty where there is only the one.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>A roster of that one person.</returns>
    public async Task<Roster> ReadAsync(string sourcedId, IReadOnlyList<string> records, CancellationToken cancellationToken)
    {
        string[] ids = [sourcedId, .. records.Where(r => !string.Equals(r, sourcedId, StringComparison.Ordinal))];
        var orgs = new Dictionary<string, Org>(StringComparer.Ordinal);
        await WalkAsync("orgs", source.Orgs(), o => orgs[o.SourcedId ?? ""] = o, cancellationToken);

        await progress("Reading the person");
        var users = await UsersAsync(ids, cancellationToken);
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
            var sessions = await WalkAsync("academic sessions", source.AcademicSessions(), homerooms.Session, cancellationToken);
            homerooms.SessionsShared = !sessions.NotShared;
            var classes = await WalkAsync("classes", source.Classes(), homerooms.Class, cancellationToken);
            var enrollments = classes.NotShared
                ? classes
                : await WalkAsync("enrollments", source.Enrollments(), homerooms.Enrollment, cancellationToken);
            if (classes.NotShared || enrollments.NotShared)
            {
                homerooms = null;
            }
            else
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

        var demographics = new DemographicsIntake(setup.Keys);
        var shared = await WalkAsync(
            "demographics",
            source.Demographics(),
            d =>
            {
                if (ids.Contains(d.SourcedId, StringComparer.Ordinal))
                {
                    demographics.Take(d);
                }
            },
            cancellationToken
        );
        return Build(ids, users, homerooms, shared.NotShared ? null : demographics.Build(), orgs);
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
                AskedFor = source is CsvFeedSource { HasAllPeople: false } ? new HashSet<ulong>() : ids.Select(setup.Keys.Of).ToHashSet(),
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
            cancellationToken
        );
        _usersPartial = walked.Partial || walked.RowsShifted || walked.UnreadableRows > 0;
        return found;
    }

    private async Task<WalkResult> WalkAsync<T>(string what, ICollectionWalk<T> walk, Action<T> take, CancellationToken cancellationToken)
    {
        // A second attempt brings the same records again; taking one twice does no harm here.
        await progress($"Reading {what}");
        await foreach (var page in walk.ReadAsync(cancellationToken))
        {
            foreach (var record in page.Records)
            {
                take(record);
            }
        }

        return walk.Result;
    }
}
