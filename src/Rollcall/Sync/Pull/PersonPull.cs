using Rollcall.Mapping;
using Rollcall.OneRoster;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;

namespace Rollcall.Sync.Pull;

/// <summary>Reads one person and what of the roster concerns that person. Proves nothing by what it lacks.</summary>
internal sealed class PersonPull(SyncSetup setup, IRosterSource source, string spoolFolder, Func<string, ValueTask> progress)
{
    /// <summary>The person's own row; null when the roster has none.</summary>
    public User? User { get; private set; }

    /// <summary>Reads the person.</summary>
    /// <param name="sourcedId">Whom.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>A roster of that one person.</returns>
    public async Task<Roster> ReadAsync(string sourcedId, CancellationToken cancellationToken)
    {
        var orgs = new Dictionary<string, Org>(StringComparer.Ordinal);
        await WalkAsync("orgs", source.Orgs(), o => orgs[o.SourcedId ?? ""] = o, cancellationToken);

        await progress("Reading the person");
        var users = await UsersAsync([sourcedId], cancellationToken);
        User = users.GetValueOrDefault(sourcedId);
        if (User?.Agents is { Count: > 0 } agents)
        {
            await progress("Reading the guardians");
            foreach (var (id, guardian) in await UsersAsync([.. agents.Distinct(StringComparer.Ordinal)], cancellationToken))
            {
                users[id] = guardian;
            }
        }

        HomeroomIntake? homerooms = null;
        if (setup.Mapper.NeedsHomerooms && User is not null)
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
                            homerooms.Unnamed([], [(setup.Keys.Of(sourcedId), setup.Keys.Check(sourcedId))]),
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
                if (string.Equals(d.SourcedId, sourcedId, StringComparison.Ordinal))
                {
                    demographics.Take(d);
                }
            },
            cancellationToken
        );
        return Build(sourcedId, users, homerooms, shared.NotShared ? null : demographics.Build(), orgs);
    }

    private Roster Build(
        string sourcedId,
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

            var (key, check) = (setup.Keys.Of(sourcedId), setup.Keys.Check(sourcedId));
            var persons = new Rows<RosterPerson>();
            foreach (ref var person in intake.Finish())
            {
                if (person.Guid == key && person.Check == check)
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
        if (source is RestRosterSource rest)
        {
            foreach (var id in ids)
            {
                if (await rest.UserAsync(id, cancellationToken) is { } user)
                {
                    found[id] = user;
                }
            }

            return found;
        }

        var wanted = ids.ToHashSet(StringComparer.Ordinal);
        await WalkAsync(
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
