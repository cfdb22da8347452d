using System.Data.Common;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.OneRoster;
using Rollcall.OneRoster.Csv;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.Sync.Pull;

/// <summary>Takes in a delta of CSV where the package that it changes is not at hand. What a delta does not say stays as the patron and the
/// link have it: nobody is absent, and a person of whom only roles or demographics came keeps everything else.</summary>
internal sealed class CsvChangesPull(
    SyncSetup setup,
    CsvRosterSource source,
    DbConnection connection,
    string spoolFolder,
    WarningLog warnings,
    Func<string, long, long?, ValueTask> progress
)
{
    private readonly DeltaRoles _roles = new(setup, source);

    public async Task<Roster> ReadAsync(CancellationToken cancellationToken)
    {
        var orgs = new Dictionary<string, Org>(StringComparer.Ordinal);
        await WalkAsync("orgs", source.Orgs(), o => orgs[o.SourcedId ?? ""] = o, cancellationToken);
        if (setup.OrgSites.Keys.FirstOrDefault(m => orgs.TryGetValue(m, out var org) && org.Status == RecordStatus.ToBeDeleted) is { } gone)
        {
            throw new RosterException(
                RosterFault.Incomplete,
                $"The package deletes organization {gone}, which is matched to a site. Unmatch it, or have it shared again; nothing was changed."
            );
        }

        var demographics = new Dictionary<string, Demographics>(StringComparer.Ordinal);
        await WalkAsync("demographics", source.Demographics(), d => demographics[d.SourcedId ?? ""] = d, cancellationToken);

        var links = await LinksAsync(cancellationToken);
        var records = await PersonRecords.LoadAsync(connection, setup.District.Id, cancellationToken);
        var people = new Spool(spoolFolder, "people");
        var guardians = new Spool(spoolFolder, "guardians");
        try
        {
            var intake = new UserIntake(setup, people, guardians, homerooms: null);
            var seen = new HashSet<ulong>();
            KnownPerson? LinkOf(string? id) =>
                id is null ? null
                : links.TryGetValue(setup.Keys.Of(id), out var own) ? own
                : records.Of(id).Select(r => links.GetValueOrDefault(setup.Keys.Of(r))).FirstOrDefault(l => l is not null);
            long noRole = 0;
            await WalkAsync(
                "people",
                source.Users(),
                user =>
                {
                    var id = setup.Keys.Of(user.SourcedId);
                    seen.Add(id);

                    // In 1.2 the roles stand in a file of their own, and a delta has only those that changed.
                    if (user.HasRoleList && LinkOf(user.SourcedId) is { } link)
                    {
                        user = user with { Roles = _roles.Settled(id, link, user.Roles) };
                    }
                    else if (user is { HasRoleList: true, Roles.Count: 0 })
                    {
                        noRole += user.Status == RecordStatus.Active ? 1 : 0;
                        return;
                    }

                    intake.Take(user);
                },
                cancellationToken
            );
            warnings.Add(
                "role-missing",
                "People are in the package without any role, and none is known here; they were left out",
                "A delta of OneRoster 1.2 names a new person in users.csv and in roles.csv. The next complete package settles it.",
                noRole,
                "roles.csv"
            );

            foreach (var (user, roles) in source.RolesByUser())
            {
                var id = setup.Keys.Of(user);
                if (!seen.Contains(id) && LinkOf(user) is { } link)
                {
                    if (roles.Count == 0 || !links.ContainsKey(id))
                    {
                        _roles.Leave();
                    }
                    else if (link.Status != PatronStatus.Transferred)
                    {
                        seen.Add(id);
                        intake.Take(_roles.Unchanged(user, link, roles));
                    }
                }
            }

            warnings.Add(
                "role-deleted",
                "Roles of people changed, and the package does not say which others they have; they stay where they are",
                "The next complete package settles it.",
                _roles.Unclear
            );
            foreach (var id in demographics.Keys)
            {
                var key = setup.Keys.Of(id);
                if (links.TryGetValue(key, out var link) && link.Status != PatronStatus.Transferred && seen.Add(key))
                {
                    intake.Take(_roles.Unchanged(id, link, named: null));
                }
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
                Demographics = births.Build(),
                Homerooms = null,
                AbsenceUsable = false,
                ChangesOnly = true,
                GuardiansPartial = true,
                Placeless = _roles.Placeless,
                StatusStays = _roles.StatusStays,
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

    private async Task<Dictionary<ulong, KnownPerson>> LinksAsync(CancellationToken cancellationToken)
    {
        var links = new Dictionary<ulong, KnownPerson>();
        await using var command = connection.CreateCommand().AllowLong();
        command.CommandText = """
            SELECT p.guid, l.role_group, p.site_id, p.status, l.absent, l.username, l.guardians, l.login_disabled FROM patron_links l
            JOIN patrons p ON p.district_id = l.district_id AND p.id = l.patron_id
            WHERE l.district_id = @district AND p.guid IS NOT NULL
            """;
        Sql.Add(command, "@district", setup.District.Id);
        await using var reader = await command.ExecuteReaderAsync(cancellationToken);
        while (await reader.ReadAsync(cancellationToken))
        {
            links[setup.Keys.Of(reader.GetString(0))] = new KnownPerson(
                (RoleGroup)reader.GetInt32(1),
                reader.IsDBNull(2) ? null : reader.GetInt32(2),
                (PatronStatus)reader.GetInt32(3),
                reader.GetBoolean(4),
                reader.IsDBNull(5) ? null : reader.GetString(5),
                reader.IsDBNull(6) ? null : reader.GetString(6),
                reader.GetBoolean(7)
            );
        }

        return links;
    }

    private async Task WalkAsync<T>(string what, ICollectionWalk<T> walk, Action<T> take, CancellationToken cancellationToken)
        where T : RosterRecord
    {
        await progress($"Reading {what}", 0, null);
        await foreach (var page in walk.ReadAsync(cancellationToken))
        {
            foreach (var record in page.Records)
            {
                take(record);
            }

            await progress($"Reading {what}", page.RowsSoFar, page.Total);
        }
    }
}
