using System.IO.Compression;
using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Sync;
using Rollcall.Sync.Person;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>OneRoster CSV from file to patrons.</summary>
public sealed class CsvTests(PostgresCluster cluster)
{
    private static readonly SandboxOptions s_options = new()
    {
        Students = 120,
        Schools = 3,
        Today = new DateOnly(2026, 10, 5),
    };

    private static readonly FieldMap s_map = new()
    {
        Location = LocationSource.TeacherName,
        CommunityId = new IdMapping(IdSource.UserIdType, "StateID"),
    };

    [Theory]
    [InlineData(Db.Sqlite, "1.1")]
    [InlineData(Db.Postgres, "1.2")]
    public async Task Six_days_of_packages_give_the_patrons_that_the_server_gives(Db db, string version)
    {
        await using var rest = await Installation.StartAsync(
            cluster,
            db,
            s_options with
            {
                Api = version == "1.2" ? SandboxApi.OneRoster12 : SandboxApi.OneRoster11,
            }
        );
        await rest.ConfigureAsync(s => s with { Map = s_map, Thresholds = Never });
        await using var csv = await Feed.StartAsync(cluster, db);
        for (var day = 0; day <= 5; day++)
        {
            rest.Sandbox.SetDay(day);
            Assert.Null((await rest.SyncAsync()).Error);

            // Day 3 comes as a delta upon the complete package of day 2.
            csv.Deliver(day, version, delta: day == 3);
            if (day == 0)
            {
                await csv.MatchAsync();
            }

            var operation = await csv.SyncAsync();
            Assert.Null(operation.Error);
            Assert.Equal(OperationKind.FullSync, operation.Kind);
            Assert.True(OperationQueue.CountsOf(operation).AddUp);
            Assert.Equal(await PatronsAsync(rest.AllPatronsAsync()), await PatronsAsync(csv.System.AllPatronsAsync()));
        }

        Assert.Equal("OneRoster CSV Full Sync", OperationQueue.Title(await csv.SyncAsync()));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_sync_says_that_the_files_are_those_of_an_earlier_one(Db db)
    {
        await using var csv = await Feed.StartAsync(cluster, db);
        csv.Deliver(0, "1.1", delta: false);
        await csv.MatchAsync();
        Assert.DoesNotContain("\"note\":\"", (await csv.SyncAsync()).Options, StringComparison.Ordinal);

        // Nothing at all has happened since.
        var skipped = await csv.SyncAsync();
        Assert.Equal((OperationStatus.Completed, null), (skipped.Status, skipped.Error));
        Assert.Matches(
            "\"note\":\"Nothing was read: the files are those that were first read on 20..-..-.. ..:.., and nothing has come since\\.\"",
            skipped.Options
        );
        Assert.Equal(0, OperationQueue.CountsOf(skipped).Read);

        // Something here asks for a whole sync, of the same files.
        await csv.System.ConfigureAsync(s => s with { Map = s_map }, IntegrationKind.OneRosterCsv);
        var again = await csv.SyncAsync();
        Assert.Matches(
            "\"note\":\"Read again: the files are those that were first read on 20..-..-.. ..:.., and nothing has come since\\.\"",
            again.Options
        );
        Assert.True(OperationQueue.CountsOf(again).Read > 0);

        csv.Deliver(1, "1.1", delta: false);
        Assert.DoesNotContain("\"note\":\"", (await csv.SyncAsync()).Options, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_delta_alone_changes_whom_it_names_and_nobody_else(Db db)
    {
        await using var csv = await Feed.StartAsync(cluster, db);
        csv.Deliver(0, "1.1", delta: false);
        await csv.MatchAsync();
        Assert.Null((await csv.SyncAsync()).Error);
        var before = await csv.System.PatronsByGuidAsync();
        csv.Clear();
        csv.Deliver(1, "1.1", delta: true);
        var operation = await csv.SyncAsync();
        Assert.Null(operation.Error);
        Assert.Equal(OperationKind.ChangesSync, operation.Kind);
        Assert.Equal(0, OperationQueue.CountsOf(operation).Absent);

        var district = SandboxDistrict.At(s_options, 1);
        var events = district.Events.Where(e => e.Day == 1).Select(e => SandboxCsv.Id(e.SourcedId)).ToHashSet(StringComparer.Ordinal);
        var after = await csv.System.PatronsByGuidAsync();
        foreach (var (guid, patron) in before)
        {
            if (after[guid].Status == PatronStatus.Transferred && patron.Status != PatronStatus.Transferred)
            {
                Assert.Contains(guid, events);
            }
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_delta_alone_concludes_nothing_from_roles_that_it_does_not_name(Db db)
    {
        await using var csv = await Feed.StartAsync(cluster, db);
        csv.Deliver(0, "1.2", delta: false);
        await csv.MatchAsync();
        Assert.Null((await csv.SyncAsync()).Error);
        var schools = SandboxDistrict.At(s_options, 0).Schools.Select(s => SandboxCsv.Id(s.SourcedId)).ToArray();
        var before = (await csv.System.PatronsByGuidAsync()).Values.Where(p => p.Status == PatronStatus.Active).OrderBy(p => p.Id).ToList();
        var atFirst = before.Where(p => p.SiteId == before[0].SiteId).Take(5).ToList();
        var links = await LinksAsync();
        csv.Clear();
        csv.Deliver(
            1,
            "1.2",
            delta: true,
            atFirst.ConvertAll(p => p.Guid!) is var ids
                ? new Dictionary<string, string[]>(StringComparer.Ordinal)
                {
                    ["users.csv"] = [],
                    ["demographics.csv"] = [],
                    ["roles.csv"] =
                    [
                        Role(ids[0], "r0", schools[1], "secondary", end: "2026-10-01"),
                        Role(ids[1], "r1", "elsewhere", "secondary"),
                        Role(ids[2], "r2", schools[1], "secondary"),
                        Role(ids[3], "r3", schools[1], "primary"),
                        Role(ids[4], "r4", "elsewhere", "primary"),
                    ],
                }
                : []
        );
        var operation = await csv.SyncAsync();
        Assert.Null(operation.Error);
        Assert.Equal(OperationKind.ChangesSync, operation.Kind);
        var after = (await csv.System.PatronsByGuidAsync()).Values.ToDictionary(p => p.Id);
        Assert.All(before, p => Assert.Equal(p.Status, after[p.Id].Status));

        // Only a main role at a school of the library says where somebody belongs now.
        Assert.Equal([atFirst[3].Id], before.Where(p => p.SiteId != after[p.Id].SiteId).Select(p => p.Id));
        Assert.Equal(4, Assert.Single(OperationQueue.WarningsOf(operation), w => w.Code == "role-deleted").Count);
        Assert.Equal(links, await LinksAsync());

        async Task<List<string>> LinksAsync()
        {
            await using var context = csv.System.Database.CreateContext();
            return await context
                .PatronLinks.OrderBy(l => l.PatronId)
                .Select(l => $"{l.PatronId} {l.RoleGroup} {l.Username} {l.Guardians} {l.LoginDisabled}")
                .ToListAsync(TestContext.Current.CancellationToken);
        }

        static string Role(string user, string id, string org, string type, string end = "") =>
            string.Join(',', id, "active", "2026-10-05T00:00:00.000Z", user, type, "student", "", end, org, "");
    }

    /// <summary>One person alone is told from a delta what a sync of the delta is told.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task One_person_of_a_delta_is_synced_and_explained_as_the_delta_is(Db db)
    {
        await using var csv = await Feed.StartAsync(cluster, db);
        csv.Deliver(0, "1.2", delta: false);
        await csv.MatchAsync();
        Assert.Null((await csv.SyncAsync()).Error);
        var schools = SandboxDistrict.At(s_options, 0).Schools.Select(s => SandboxCsv.Id(s.SourcedId)).ToArray();
        var before = (await csv.System.PatronsByGuidAsync()).Values.Where(p => p.Status == PatronStatus.Active).OrderBy(p => p.Id).ToList();
        var people = before.Where(p => p is { SiteId: 1, Group: SecurityGroup.Patron, Birthdate: not null }).Take(7).ToList();
        var ids = people.ConvertAll(p => p.Guid!);
        csv.Clear();
        csv.Deliver(
            1,
            "1.2",
            delta: true,
            new Dictionary<string, string[]>(StringComparer.Ordinal)
            {
                ["users.csv"] = [.. ids.Take(4).Select(User)],
                ["demographics.csv"] = [Born(ids[5], "2012-02-03")],
                ["roles.csv"] =
                [
                    Role(ids[0], "r0", schools[0], "primary", end: "2026-10-01"),
                    Role(ids[1], "r1", schools[1], "secondary"),
                    Role(ids[2], "r2", schools[1], "primary"),
                    Role(ids[4], "r4", schools[1], "secondary", end: "2026-10-01"),
                ],
            }
        );
        for (var i = 0; i < 6; i++)
        {
            var told = await csv.System.Get<PatronExplain>().ExplainAsync(csv.System.District, people[i].Barcode, askRoster: true);
            Assert.Null(told.RosterProblem);
            var fields = told.Fields.ToDictionary(f => f.Field);
            Assert.Equal(
                ("stays", i == 2),
                (fields["status"].Next, fields["site"].Next!.StartsWith("will become", StringComparison.Ordinal))
            );
            Assert.Equal(i < 4 ? "will become 555-NEW" : "stays", fields.GetValueOrDefault("phone")?.Next ?? "stays");
            Assert.Null((await csv.PersonAsync(ids[i])).Error);
        }

        var after = (await csv.System.PatronsByGuidAsync()).Values.ToDictionary(p => p.Id);
        Assert.All(before, p => Assert.Equal(p.Status, after[p.Id].Status));
        Assert.Equal([people[2].Id], before.Where(p => p.SiteId != after[p.Id].SiteId).Select(p => p.Id));
        Assert.Equal(people.Take(4).Select(p => p.Id), after.Values.Where(p => p.Phone == "555-NEW").Select(p => p.Id).Order());
        Assert.Equal(new DateOnly(2012, 2, 3), after[people[5].Id].Birthdate);
        Assert.All(before, p => Assert.Equal((p.LastName, p.Location), (after[p.Id].LastName, after[p.Id].Location)));

        // Nothing is said of whom the package does not name.
        var silent = await csv.System.Get<PatronExplain>().ExplainAsync(csv.System.District, people[6].Barcode, askRoster: true);
        Assert.Contains("does not name this person", silent.RosterProblem, StringComparison.Ordinal);
        var unnamed = await csv.PersonAsync(people[6].Barcode);
        Assert.Null(unnamed.Error);
        Assert.Contains($"does not name {ids[6]}", PersonOptions.Of(unnamed).Steps[0].Text, StringComparison.Ordinal);
        Assert.DoesNotContain("has nobody", PersonOptions.Of(unnamed).Steps[0].Text, StringComparison.Ordinal);
        var unknown = await csv.PersonAsync("nobody-1");
        Assert.Contains("neither in the package at hand", unknown.Error, StringComparison.Ordinal);

        // What the delta itself makes of them is the same.
        Assert.Null((await csv.SyncAsync()).Error);
        var synced = (await csv.System.PatronsByGuidAsync()).Values.ToDictionary(p => p.Id);
        Assert.All(
            after.Values,
            p =>
                Assert.Equal(
                    (p.Status, p.SiteId, p.Phone, p.Birthdate, p.Location),
                    (synced[p.Id].Status, synced[p.Id].SiteId, synced[p.Id].Phone, synced[p.Id].Birthdate, synced[p.Id].Location)
                )
        );

        string User(string id) =>
            string.Join(
                ',',
                id,
                "active",
                "2026-10-05T00:00:00.000Z",
                "true",
                "login",
                "",
                people.Single(p => p.Guid == id).FirstName,
                people.Single(p => p.Guid == id).LastName,
                "",
                "",
                "",
                "",
                "555-NEW",
                "",
                "05"
            );

        static string Role(string user, string id, string org, string type, string end = "") =>
            string.Join(',', id, "active", "2026-10-05T00:00:00.000Z", user, type, "student", "", end, org, "");
    }

    /// <summary>Who has left is back when a delta names a role of theirs, or a complete package has them; not for a new phone number.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_delta_alone_brings_nobody_back_of_whom_it_names_no_role(Db db)
    {
        await using var csv = await Feed.StartAsync(cluster, db);
        csv.Deliver(0, "1.2", delta: false);
        await csv.MatchAsync();
        Assert.Null((await csv.SyncAsync()).Error);
        var sandbox = SandboxDistrict.At(s_options, 0);
        var schools = sandbox.Schools.Select(s => SandboxCsv.Id(s.SourcedId)).ToArray();
        var office = SandboxCsv.Id(sandbox.Orgs[0].SourcedId);
        var people = (await csv.System.PatronsByGuidAsync())
            .Values.Where(p => p is { Status: PatronStatus.Active, SiteId: 1, Level: not null })
            .OrderBy(p => p.Id)
            .Take(7)
            .ToList();
        var ids = people.ConvertAll(p => p.Guid!);

        // Left all matched schools, role ended, no longer there, set by hand; two more who come back, and one who was set Active again.
        csv.Deliver(0, "1.2", delta: false);
        csv.Rewrite(
            "users.csv",
            lines =>
                lines
                    .Where(l => !l.StartsWith(ids[2], StringComparison.Ordinal))
                    .Select(l =>
                    {
                        // The main organization stands third from the end.
                        var cells = l.Split(',');
                        cells[^3] = ids.Contains(cells[0]) ? "" : cells[^3];
                        return string.Join(',', cells);
                    })
        );
        csv.Rewrite(
            "roles.csv",
            lines =>
                lines.Select(l =>
                {
                    var cells = l.Split(',');
                    var who = ids.IndexOf(cells[3]);
                    cells[7] = who is 1 or 5 or 6 ? "2026-10-01" : cells[7];
                    cells[8] = who is 0 or 4 ? office : cells[8];
                    return string.Join(',', cells);
                })
        );
        csv.Rewrite("roles.csv", lines => lines.Where(l => !l.Split(',')[3].Equals(ids[2], StringComparison.Ordinal)));
        Assert.Null((await csv.SyncAsync()).Error);
        await csv.System.Patrons.EditAsync(csv.System.District.Id, people[3].Barcode, [new("status", "Transferred")], "librarian");
        await csv.System.Patrons.EditAsync(csv.System.District.Id, people[6].Barcode, [new("status", "Active")], "librarian");
        await ExpectAsync("left,ended,gone,left,left,ended,back");
        csv.Clear();
        csv.Deliver(
            1,
            "1.2",
            delta: true,
            new Dictionary<string, string[]>(StringComparer.Ordinal)
            {
                ["users.csv"] = [.. ids.Select(User)],
                ["demographics.csv"] = [],
                ["roles.csv"] =
                [
                    Role(ids[0], "r0", schools[1], "secondary"),
                    Role(ids[4], "r4", schools[1], "primary"),
                    Role(ids[5], "r5", schools[0], "primary"),
                ],
            }
        );
        foreach (var i in (int[])[0, 1, 2, 3])
        {
            var told = await csv.System.Get<PatronExplain>().ExplainAsync(csv.System.District, people[i].Barcode, askRoster: true);
            Assert.Equal("stays", told.Fields.Single(f => f.Field == "status").Next);
            Assert.Null((await csv.PersonAsync(ids[i])).Error);
        }

        await ExpectAsync("left,ended,gone,left,left,ended,back");
        var operation = await csv.SyncAsync();
        Assert.Equal((OperationKind.ChangesSync, null), (operation.Kind, operation.Error));
        await ExpectAsync("left,ended,gone,left,here,here,back");
        Assert.All((await csv.System.PatronsByGuidAsync()).Values.Where(p => ids.Contains(p.Guid!)), p => Assert.Equal("555-NEW", p.Phone));

        // A complete package that has them brings them back.
        csv.Deliver(0, "1.2", delta: false);
        Assert.Null((await csv.SyncAsync()).Error);
        Assert.All(
            (await csv.System.PatronsByGuidAsync()).Values.Where(p => ids.Contains(p.Guid!)),
            p => Assert.Equal(PatronStatus.Active, p.Status)
        );

        async Task ExpectAsync(string expected)
        {
            await using var context = csv.System.Database.CreateContext();
            var links = await context.PatronLinks.ToDictionaryAsync(l => l.PatronId, TestContext.Current.CancellationToken);
            var patrons = (await csv.System.AllPatronsAsync()).ToDictionary(p => p.Id);
            Assert.Equal(
                expected,
                string.Join(
                    ',',
                    people.Select(p =>
                        (patrons[p.Id].Status, links[p.Id]) switch
                        {
                            (PatronStatus.Active, { Absent: true }) => "back",
                            (PatronStatus.Active, _) => "here",
                            (_, { Absent: true }) => p.Id == people[2].Id ? "gone" : "ended",
                            _ => "left",
                        }
                    )
                )
            );
            Assert.True(links[people[0].Id].LeftSchools);
            Assert.Equal(PatronStatus.Active, links[people[0].Id].StatusBefore);
        }

        string User(string id) =>
            string.Join(
                ',',
                id,
                "active",
                "2026-10-05T00:00:00.000Z",
                "true",
                "login",
                "",
                people.Single(p => p.Guid == id).FirstName,
                people.Single(p => p.Guid == id).LastName,
                "",
                "",
                "",
                "",
                "555-NEW",
                "",
                "05"
            );

        static string Role(string user, string id, string org, string type) =>
            string.Join(',', id, "active", "2026-10-05T00:00:00.000Z", user, type, "student", "", "", org, "");
    }

    /// <summary>From changes of enrollments alone nobody's homeroom can be told.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task One_person_keeps_a_homeroom_that_only_changes_speak_of(Db db)
    {
        await using var csv = await Feed.StartAsync(cluster, db);
        csv.Deliver(0, "1.1", delta: false);
        await csv.MatchAsync();
        Assert.Null((await csv.SyncAsync()).Error);
        var patrons = (await csv.System.AllPatronsAsync()).Where(p => p.Location is not null).OrderBy(p => p.Id).ToList();
        csv.Clear();
        csv.Deliver(
            0,
            "1.1",
            delta: false,
            new Dictionary<string, string[]>(StringComparer.Ordinal)
            {
                ["manifest.csv"] =
                [
                    "manifest.version,1.0",
                    "oneroster.version,1.1",
                    .. ((string[])["academicSessions", "orgs", "courses", "classes", "users", "demographics"]).Select(f =>
                        $"file.{f},bulk"
                    ),
                    "file.enrollments,delta",
                ],
                ["enrollments.csv"] = [$"e-1,active,2026-10-05T00:00:00.000Z,k,s,{patrons[1].Guid},student,,,"],
            }
        );
        Assert.Null((await csv.PersonAsync(patrons[0].Guid!)).Error);
        var told = await csv.System.Get<PatronExplain>().ExplainAsync(csv.System.District, patrons[0].Barcode, askRoster: true);
        Assert.Equal("stays", told.Fields.Single(f => f.Field == "location").Next);
        Assert.Equal(patrons[0].Location, (await csv.System.PatronsByGuidAsync())[patrons[0].Guid!].Location);
    }

    /// <summary>Where the package has everybody's roles, no role of anybody is unclear.</summary>
    [Fact]
    public async Task Changes_of_people_with_the_roles_of_all_leave_no_role_unclear()
    {
        await using var csv = await Feed.StartAsync(cluster, Db.Sqlite);
        csv.Deliver(0, "1.2", delta: false);
        await csv.MatchAsync();
        Assert.Null((await csv.SyncAsync()).Error);
        var people = (await csv.System.PatronsByGuidAsync())
            .Values.Where(p => p is { Status: PatronStatus.Active, SiteId: 1 })
            .OrderBy(p => p.Id)
            .Take(2)
            .ToList();
        await csv.System.Get<PatronMerge>().MergeAsync(csv.System.District.Id, people[0].Barcode, people[1].Barcode, "librarian");
        csv.Clear();
        csv.Deliver(
            0,
            "1.2",
            delta: false,
            new Dictionary<string, string[]>(StringComparer.Ordinal)
            {
                ["manifest.csv"] =
                [
                    "manifest.version,1.0",
                    "oneroster.version,1.2",
                    .. ((string[])["academicSessions", "orgs", "courses", "classes", "users", "demographics", "enrollments"]).Select(f =>
                        $"file.{f},delta"
                    ),
                    "file.roles,bulk",
                ],
                ["users.csv"] = [],
                ["demographics.csv"] = [],
            }
        );
        var operation = await csv.SyncAsync();
        Assert.Null(operation.Error);
        Assert.Equal(OperationKind.ChangesSync, operation.Kind);
        Assert.DoesNotContain(OperationQueue.WarningsOf(operation), w => w.Code == "role-deleted");
    }

    /// <summary>A delta names one of a person's two records; what became of the other only a complete package says.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_delta_alone_leaves_who_has_another_record_to_the_next_complete_package(Db db)
    {
        await using var csv = await Feed.StartAsync(cluster, db);
        csv.Deliver(0, "1.1", delta: false);
        await csv.MatchAsync();
        Assert.Null((await csv.SyncAsync()).Error);
        var school = SandboxCsv.Id(SandboxDistrict.At(s_options, 0).Schools.First().SourcedId);
        var people = (await csv.System.PatronsByGuidAsync())
            .Values.Where(p => p is { Status: PatronStatus.Active, SiteId: 1 })
            .OrderBy(p => p.Id)
            .Take(8)
            .ToList();
        for (var i = 0; i < 8; i += 2)
        {
            await csv.System.Get<PatronMerge>().MergeAsync(csv.System.District.Id, people[i].Barcode, people[i + 1].Barcode, "librarian");
        }

        Assert.Null((await csv.SyncAsync()).Error);
        var before = await csv.System.PatronsByGuidAsync();
        csv.Clear();
        csv.Deliver(
            1,
            "1.1",
            delta: true,
            new Dictionary<string, string[]>(StringComparer.Ordinal)
            {
                ["demographics.csv"] = [],
                ["users.csv"] =
                [
                    // The other record alone; the own record alone, gone and not; both.
                    Row(people[1].Guid!, "active"),
                    Row(people[2].Guid!, "tobedeleted"),
                    Row(people[4].Guid!, "active"),
                    Row(people[6].Guid!, "tobedeleted"),
                    Row(people[7].Guid!, "active"),
                ],
            }
        );
        var operation = await csv.SyncAsync();
        Assert.Null(operation.Error);
        Assert.Equal(OperationKind.ChangesSync, operation.Kind);
        var after = await csv.System.PatronsByGuidAsync();
        Assert.All(before.Values, p => Assert.Equal(p.Status, after[p.Guid!].Status));
        Assert.Equal(
            [people[4].Guid!, people[6].Guid!],
            after.Values.Where(p => p.Phone == "555-NEW").OrderBy(p => p.Id).Select(p => p.Guid!)
        );
        Assert.Equal(2, Assert.Single(OperationQueue.WarningsOf(operation), w => w.Code == "other-record").Count);
        var state = IntegrationService.StateOf(
            await csv.System.Integrations.FindAsync(csv.System.District.Id, IntegrationKind.OneRosterCsv)
        );
        Assert.NotNull(state.FullDue);
        csv.Deliver(2, "1.1", delta: false);
        Assert.Equal(OperationKind.FullSync, (await csv.SyncAsync()).Kind);

        string Row(string id, string status) =>
            string.Join(
                ',',
                id,
                status,
                "2026-10-05T00:00:00.000Z",
                "true",
                school,
                "student",
                "login",
                "",
                "Given",
                "Family",
                "",
                "",
                "",
                "",
                "555-NEW",
                "",
                "05",
                "",
                ""
            );
    }

    [Fact]
    public async Task A_delta_alone_says_nothing_against_a_patron_whose_site_has_no_org()
    {
        await using var csv = await Feed.StartAsync(cluster, Db.Sqlite);
        csv.Deliver(0, "1.1", delta: false);
        await csv.MatchAsync();
        Assert.Null((await csv.SyncAsync()).Error);
        var school = SandboxCsv.Id(SandboxDistrict.At(s_options, 0).Schools.First().SourcedId);
        await csv.System.Integrations.UnmatchAsync(csv.System.District, IntegrationKind.OneRosterCsv, school, "test");
        var sites = (await csv.System.Get<SiteService>().ListAsync(csv.System.District.Id)).ToDictionary(s => s.Code, s => s.Id);
        var patron = (await csv.System.PatronsByGuidAsync()).Values.First(p => p.SiteId == sites["S1"] && p.Status == PatronStatus.Active);
        csv.Clear();
        csv.Deliver(1, "1.1", delta: true, Only("demographics.csv", Born(patron.Guid!, "2012-02-03")));
        var operation = await csv.SyncAsync();
        Assert.Null(operation.Error);
        Assert.Equal(OperationKind.ChangesSync, operation.Kind);
        Assert.DoesNotContain(OperationQueue.WarningsOf(operation), w => w.Code is "no-org" or "org-unmatched");
        var after = (await csv.System.PatronsByGuidAsync())[patron.Guid!];
        Assert.Equal((new DateOnly(2012, 2, 3), sites["S1"]), (after.Birthdate, after.SiteId));
    }

    /// <summary>A delta that names people under other ids says nothing of whom it does not name: they wait, and are nobody new.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_delta_alone_doubles_nobody_whose_ids_were_given_anew(Db db)
    {
        await using var csv = await Feed.StartAsync(cluster, db);
        csv.Deliver(0, "1.1", delta: false);
        await csv.MatchAsync();
        Assert.Null((await csv.SyncAsync()).Error);
        var before = await csv.System.AllPatronsAsync();
        var school = SandboxCsv.Id(SandboxDistrict.At(s_options, 0).Schools.First().SourcedId);
        var site = (await csv.System.Get<SiteService>().ListAsync(csv.System.District.Id)).Single(s => s.Code == "S1").Id;
        var pupils = before.Where(p => p.SiteId == site && p is { Status: PatronStatus.Active, Level: not null }).ToList();
        csv.Clear();
        csv.Deliver(1, "1.1", delta: true, Only("users.csv", [.. pupils.Select((p, i) => User($"anew-{i}", p))]));
        var operation = await csv.SyncAsync();
        Assert.Equal((OperationKind.ChangesSync, null), (operation.Kind, operation.Error));
        Assert.Equal(OperationStatus.NeedsApproval, operation.Status);
        Assert.Equal(OperationQueue.CountsOf(operation).Created, OperationQueue.CountsOf(operation).Held);
        Assert.True(OperationQueue.CountsOf(operation).Held >= 10, operation.Counts);
        Assert.Equal(before.Select(p => p.Id).Order(), (await csv.System.AllPatronsAsync()).Select(p => p.Id).Order());

        string User(string id, Patron like) =>
            string.Join(
                ',',
                id,
                "active",
                "2026-10-05T00:00:00.000Z",
                "true",
                school,
                "student",
                id,
                "",
                like.FirstName,
                like.LastName,
                "",
                "",
                "",
                "",
                "",
                "",
                "05",
                ""
            );
    }

    [Fact]
    public async Task Roles_that_a_delta_does_not_make_clear_are_counted()
    {
        await using var csv = await Feed.StartAsync(cluster, Db.Sqlite);
        csv.Deliver(0, "1.1", delta: false);
        await csv.MatchAsync();
        Assert.Null((await csv.SyncAsync()).Error);
        csv.Clear();
        var school = SandboxCsv.Id(SandboxDistrict.At(s_options, 0).Schools.First().SourcedId);
        csv.Deliver(1, "1.1", delta: true, Only("users.csv", User("n1", "wizard"), User("n2", "")));
        var operation = await csv.SyncAsync();
        Assert.Null(operation.Error);
        var warnings = OperationQueue.WarningsOf(operation);
        Assert.Contains("'wizard'", Assert.Single(warnings, w => w.Code == "role-unknown").Message, StringComparison.Ordinal);
        Assert.Equal(1, Assert.Single(warnings, w => w.Code == "role-missing").Count);

        string User(string id, string role) =>
            string.Join(
                ',',
                id,
                "active",
                "2026-10-05T00:00:00.000Z",
                "true",
                school,
                role,
                id,
                "",
                "Given",
                "Family",
                "",
                "",
                "",
                "",
                "",
                "",
                "",
                ""
            );
    }

    /// <summary>An export that goes back to what was delivered before its changes.</summary>
    [Fact]
    public async Task A_complete_package_that_comes_again_after_deltas_counts_again()
    {
        await using var csv = await Feed.StartAsync(cluster, Db.Sqlite);
        csv.Deliver(0, "1.1", delta: false);
        await csv.MatchAsync();
        Assert.Null((await csv.SyncAsync()).Error);
        var patron = (await csv.System.PatronsByGuidAsync()).Values.First(p => p.Birthdate is not null && p.Status == PatronStatus.Active);
        var whole = csv.Keep();
        csv.Deliver(1, "1.1", delta: true, Only("demographics.csv", Born(patron.Guid!, "2012-02-03")));
        Assert.Null((await csv.SyncAsync()).Error);
        Assert.Equal(new DateOnly(2012, 2, 3), (await csv.System.PatronsByGuidAsync())[patron.Guid!].Birthdate);
        csv.DeliverAgain(whole);
        var operation = await csv.SyncAsync();
        Assert.Null(operation.Error);
        Assert.Equal(OperationKind.FullSync, operation.Kind);
        Assert.Equal(patron.Birthdate, (await csv.System.PatronsByGuidAsync())[patron.Guid!].Birthdate);

        // And once it has been read, it is read no more.
        Assert.Equal(0, OperationQueue.CountsOf(await csv.SyncAsync()).Read);
    }

    /// <summary>A transfer keeps the time of a file, so that one that was held up lies between two that were read.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_delta_that_comes_late_is_read_in_its_place(Db db)
    {
        await using var csv = await Feed.StartAsync(cluster, db);
        csv.Deliver(0, "1.1", delta: false);
        await csv.MatchAsync();
        var patrons = await FirstAsync(csv);
        var (twice, late) = (patrons[0].Guid!, patrons[1].Guid!);
        csv.Deliver(1, "1.1", delta: true, Only("demographics.csv", Born(twice, "2012-02-03"), Born(late, "2012-02-03")));
        var held = csv.TakeAway();
        csv.Deliver(2, "1.1", delta: true, Only("demographics.csv", Born(twice, "2012-04-05")));
        Assert.Null((await csv.SyncAsync()).Error);
        Assert.Equal(patrons[1].Birthdate, (await BornAsync(csv, late)));

        csv.PutBack(held);
        var operation = await csv.SyncAsync();
        Assert.Null(operation.Error);
        Assert.Equal(OperationKind.FullSync, operation.Kind);
        Assert.Equal(new DateOnly(2012, 2, 3), await BornAsync(csv, late));
        Assert.Equal(new DateOnly(2012, 4, 5), await BornAsync(csv, twice));

        // And once it has been read, it is read no more.
        Assert.Equal(0, OperationQueue.CountsOf(await csv.SyncAsync()).Read);
    }

    [Fact]
    public async Task A_delta_that_comes_when_its_package_is_gone_is_said_to_be_passed_over()
    {
        await using var csv = await Feed.StartAsync(cluster, Db.Sqlite);
        csv.Deliver(0, "1.1", delta: false);
        await csv.MatchAsync();
        var patrons = await FirstAsync(csv);
        var (twice, late) = (patrons[0].Guid!, patrons[1].Guid!);
        csv.Clear();
        csv.Deliver(1, "1.1", delta: true, Only("demographics.csv", Born(twice, "2012-02-03"), Born(late, "2012-02-03")));
        var held = csv.TakeAway();
        csv.Deliver(2, "1.1", delta: true, Only("demographics.csv", Born(twice, "2012-04-05")));
        Assert.DoesNotContain(OperationQueue.WarningsOf(await csv.SyncAsync()), w => w.Code == "csv-late");
        csv.PutBack(held);
        for (var i = 0; i < 2; i++)
        {
            var operation = await csv.SyncAsync();
            Assert.Null(operation.Error);
            Assert.Contains(
                held.Name,
                Assert.Single(OperationQueue.WarningsOf(operation), w => w.Code == "csv-late").Message,
                StringComparison.Ordinal
            );
            Assert.Equal(new DateOnly(2012, 4, 5), await BornAsync(csv, twice));
            Assert.Equal(patrons[1].Birthdate, await BornAsync(csv, late));
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_package_from_a_wrong_clock_hides_no_later_one(bool complete)
    {
        await using var csv = await Feed.StartAsync(cluster, Db.Sqlite);
        csv.Deliver(0, "1.1", delta: false);
        await csv.MatchAsync();
        var patrons = await FirstAsync(csv);
        var guid = patrons[0].Guid!;
        if (complete)
        {
            csv.Clear();
            csv.Deliver(1, "1.1", delta: false);
        }
        else
        {
            csv.Deliver(1, "1.1", delta: true, Only("demographics.csv", Born(guid, "2012-02-03")));
        }

        var name = csv.Date(TimeSpan.FromDays(30));
        var operation = await csv.SyncAsync();
        Assert.Null(operation.Error);
        Assert.Contains(
            name,
            Assert.Single(OperationQueue.WarningsOf(operation), w => w.Code == "csv-ahead").Message,
            StringComparison.Ordinal
        );
        Assert.Equal(0, OperationQueue.CountsOf(await csv.SyncAsync()).Read);

        csv.Deliver(2, "1.1", delta: true, Only("demographics.csv", Born(guid, "2012-04-05")));
        csv.Date(TimeSpan.Zero);
        operation = await csv.SyncAsync();
        Assert.Null(operation.Error);
        Assert.DoesNotContain(OperationQueue.WarningsOf(operation), w => w.Code == "csv-ahead");
        Assert.Equal(new DateOnly(2012, 4, 5), await BornAsync(csv, guid));

        // When its time has come it is no other package: the state is as it was, and later ones are read as before.
        csv.Deliver(3, "1.1", delta: true, Only("demographics.csv", Born(guid, "2012-06-07")));
        csv.Date(TimeSpan.Zero);
        Assert.Null((await csv.SyncAsync()).Error);
        Assert.Equal(new DateOnly(2012, 6, 7), await BornAsync(csv, guid));
        Assert.Equal(0, OperationQueue.CountsOf(await csv.SyncAsync()).Read);
    }

    /// <summary>An export rests from June to August. Whoever is told of it once knows, and the first package of the new school year is read by the night
    /// after it.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_folder_that_rests_for_a_summer_stops_no_nights_and_is_told_of_once(Db db)
    {
        var start = new DateTimeOffset(2026, 6, 20, 4, 0, 30, TimeSpan.Zero);
        var clock = new ShiftedTime(start.AddHours(-2));
        await using var hook = await HookServer.StartAsync();
        await using var csv = await Feed.StartAsync(cluster, db, clock);
        var system = csv.System;
        csv.Deliver(0, "1.1", delta: false);
        await csv.MatchAsync();
        await system.ConfigureAsync(s => SettingsChange.Daily(s, "04:00", "full", start.AddDays(-1)), IntegrationKind.OneRosterCsv);
        await system
            .Get<NoticeService>()
            .SetAsync(system.District.Id, [], NoticeEvents.Failed, hook.Url, "a secret of enough length", "test", Stop);
        await NightAsync(0, fails: false, told: 0);
        await NightAsync(13, fails: false, told: 0);
        for (var night = 15; night < 22; night++)
        {
            await NightAsync(night, fails: true, told: 1);
        }

        // Nor is anybody told who asks for themselves.
        Assert.Equal(OperationStatus.Failed, (await csv.SyncAsync()).Status);
        csv.Deliver(1, "1.1", delta: false);
        await NightAsync(22, fails: false, told: 1);
        csv.Deliver(2, "1.1", delta: false);
        await NightAsync(23, fails: false, told: 1);
        await NightAsync(38, fails: true, told: 2);

        async Task NightAsync(int day, bool fails, int told)
        {
            clock.MoveTo(start.AddDays(day));
            var id = Assert.Single(await system.Get<DailySchedule>().EnqueueDueAsync(cancellationToken: Stop));
            Assert.True(await system.Get<OperationWorker>().WorkAsync(null, null, Stop));
            await system.Get<Aftermath>().SettleAsync(Stop);
            var operation = await system.Queue.GetAsync(system.District.Id, id, Stop);
            Assert.True(operation.FinishedAt is not null, $"Night {day}: {operation.Status} {operation.Error}");
            Assert.Equal(fails, operation.Status == OperationStatus.Failed);
            if (fails)
            {
                Assert.Contains("has brought nothing new since 2026-0", operation.Error, StringComparison.Ordinal);
                Assert.Contains("pause dates", operation.Error, StringComparison.Ordinal);
            }

            Assert.Equal(told, (await system.Get<NoticeService>().ListAsync(system.District.Id, cancellationToken: Stop)).Count);
        }
    }

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    private static async Task<List<Patron>> FirstAsync(Feed csv)
    {
        Assert.Null((await csv.SyncAsync()).Error);
        return
        [
            .. (await csv.System.PatronsByGuidAsync())
                .Values.Where(p => p.Birthdate is not null && p.Status == PatronStatus.Active)
                .OrderBy(p => p.Id)
                .Take(2),
        ];
    }

    private static async Task<DateOnly?> BornAsync(Feed csv, string guid) => (await csv.System.PatronsByGuidAsync())[guid].Birthdate;

    private static Dictionary<string, string[]> Only(string file, params string[] lines)
    {
        var rows = ((string[])["orgs.csv", "users.csv", "demographics.csv", "classes.csv", "enrollments.csv"]).ToDictionary(
            f => f,
            _ => Array.Empty<string>(),
            StringComparer.Ordinal
        );
        rows[file] = lines;
        return rows;
    }

    private static string Born(string guid, string date) =>
        string.Join(',', guid, "active", "2026-10-05T00:00:00.000Z", date, "", "", "", "", "", "", "", "", "", "", "", "");

    [Theory]
    [InlineData("truncated-zip", "is refused")]
    [InlineData("bad-crc", "checksum")]
    [InlineData("short-row", "users.csv: a row has")]
    [InlineData("unclosed-quote", "a quotation mark is not closed")]
    [InlineData("missing-users", "is missing")]
    [InlineData("empty-users", "everybody would be gone")]
    public async Task A_package_that_cannot_be_trusted_changes_nobody(string fault, string says)
    {
        await using var csv = await Feed.StartAsync(cluster, Db.Sqlite);
        csv.Deliver(0, "1.1", delta: false);
        await csv.MatchAsync();
        Assert.Null((await csv.SyncAsync()).Error);
        var before = await PatronsAsync(csv.System.AllPatronsAsync());

        csv.Deliver(1, "1.1", delta: false, fault);
        var operation = await csv.SyncAsync();
        Assert.Equal(OperationStatus.Failed, operation.Status);
        Assert.Contains(says, operation.Error, StringComparison.Ordinal);
        Assert.Contains("bulk-day-0001.zip", operation.Error, StringComparison.Ordinal);
        Assert.Equal(before, await PatronsAsync(csv.System.AllPatronsAsync()));

        // The next good one is taken, and the bad one before it is not looked at.
        csv.Deliver(2, "1.1", delta: false);
        Assert.Null((await csv.SyncAsync()).Error);
    }

    /// <summary>A row in doubt costs everybody's absence, and that is said as it is: it was read, and not for certain.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Rows_in_doubt_are_said_to_cost_the_leavers_and_nothing_else(Db db)
    {
        await using var csv = await Feed.StartAsync(cluster, db);
        csv.Deliver(0, "1.1", delta: false);
        await csv.MatchAsync();
        Assert.Null((await csv.SyncAsync()).Error);
        var patrons = (await csv.System.PatronsByGuidAsync())
            .Values.Where(p => p.Status == PatronStatus.Active)
            .OrderBy(p => p.Id)
            .ToList();
        var (leaver, broken) = (patrons[0], patrons[1]);
        csv.Clear();
        csv.Deliver(0, "1.1", delta: false);
        csv.Rewrite(
            "users.csv",
            lines =>
                lines
                    .Where(l => !l.Contains(leaver.Guid!, StringComparison.Ordinal))
                    .Select(l =>
                        l.Contains(broken.Guid!, StringComparison.Ordinal)
                            ? l.Replace(broken.FirstName!, "\"Two\nLines\"", StringComparison.Ordinal)
                            : l
                    )
        );
        var operation = await csv.SyncAsync();
        Assert.Null(operation.Error);
        Assert.Equal(0, OperationQueue.CountsOf(operation).Absent);
        var warning = Assert.Single(OperationQueue.WarningsOf(operation), w => w.Code == "unreadable-rows");
        Assert.Equal("Rows of users could not be read for certain: nobody counts as absent this time", warning.Message);
        var after = await csv.System.PatronsByGuidAsync();
        Assert.Equal(PatronStatus.Active, after[leaver.Guid!].Status);
        Assert.StartsWith("Two", after[broken.Guid!].FirstName, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Another_try_shows_the_import_reports_of_what_it_read_itself()
    {
        await using var csv = await Feed.StartAsync(cluster, Db.Sqlite);
        csv.Deliver(0, "1.1", delta: false);
        await csv.MatchAsync();
        csv.Deliver(1, "1.1", delta: false, "short-row");
        var failed = await csv.SyncAsync();
        Assert.NotEmpty(ImportReports.Of(failed));

        // The folder is empty when it is tried again.
        csv.Clear();
        await using (var context = csv.System.Database.CreateContext())
        {
            await context.Operations.ExecuteUpdateAsync(
                s => s.SetProperty(o => o.Status, OperationStatus.Waiting).SetProperty(o => o.Error, (string?)null),
                TestContext.Current.CancellationToken
            );
        }

        var again = await csv.System.Follower.RunAsync(csv.System.District.Id, failed.Id, null, CancellationToken.None);
        Assert.Equal(OperationStatus.Failed, again.Status);
        Assert.Empty(ImportReports.Of(again));
    }

    private static Thresholds Never =>
        new()
        {
            Transfers = new(100, 100000),
            Updates = new(100, 100000),
            Creates = new(100, 100000),
        };

    /// <summary>What a library sees of its patrons; ids and versions of rows aside.</summary>
    private static async Task<string> PatronsAsync(Task<List<Patron>> patrons) =>
        string.Join(
            '\n',
            (await patrons)
                .Select(p =>
                    $"{SandboxCsv.Id(p.Guid ?? "")}|{p.LastName}|{p.FirstName}|{p.MiddleName}|{p.CommunityId}|{p.Level}|{p.Phone}|{p.Email}|{p.Status}|{p.Sex}|{p.Birthdate}|{p.AdditionalContact}|{p.OtherEmails}|{p.SiteId}|{p.Location}"
                )
                .Order(StringComparer.Ordinal)
        );

    /// <summary>An installation that is connected to a folder.</summary>
    private sealed class Feed : IAsyncDisposable
    {
        private readonly string _folder = Path.Combine(Path.GetTempPath(), "rollcall-feed-" + Guid.NewGuid().ToString("N"));
        private int _deliveries;
        private string _last = "";

        private Feed(Installation system) => System = system;

        public Installation System { get; }

        public static async Task<Feed> StartAsync(PostgresCluster cluster, Db db, TimeProvider? time = null)
        {
            var feed = new Feed(
                await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 1, Schools = 1 }, time, connect: false)
            );
            Directory.CreateDirectory(feed._folder);
            return feed;
        }

        /// <summary>Delivers the day's package with other rows in some files.</summary>
        public void Deliver(int day, string version, bool delta, IReadOnlyDictionary<string, string[]> rows)
        {
            Deliver(day, version, delta);
            var path = _last;
            var written = File.GetLastWriteTimeUtc(path);
            using (var zip = ZipFile.Open(path, ZipArchiveMode.Update))
            {
                foreach (var (name, lines) in rows)
                {
                    if (zip.GetEntry(name) is not { } entry)
                    {
                        Assert.Empty(lines);
                        continue;
                    }

                    string header;
                    using (var reader = new StreamReader(entry.Open()))
                    {
                        header = reader.ReadLine()!;
                    }

                    entry.Delete();
                    using var writer = new StreamWriter(zip.CreateEntry(name).Open());
                    var commas = header.Count(c => c == ',');
                    writer.Write(
                        string.Concat(
                            lines.Prepend(header).Select(l => l.PadRight(l.Length + commas - l.Count(c => c == ','), ',') + "\r\n")
                        )
                    );
                }
            }

            File.SetLastWriteTimeUtc(path, written);
        }

        /// <summary>Makes the rows of a file of the last delivery others.</summary>
        public void Rewrite(string name, Func<IEnumerable<string>, IEnumerable<string>> change)
        {
            var path = Directory.EnumerateFiles(_folder).MaxBy(File.GetLastWriteTimeUtc)!;
            var written = File.GetLastWriteTimeUtc(path);
            using (var zip = ZipFile.Open(path, ZipArchiveMode.Update))
            {
                var entry = zip.GetEntry(name)!;
                string text;
                using (var reader = new StreamReader(entry.Open()))
                {
                    text = reader.ReadToEnd();
                }

                entry.Delete();
                using var writer = new StreamWriter(zip.CreateEntry(name).Open());
                writer.Write(string.Concat(change(text.Split("\r\n", StringSplitOptions.RemoveEmptyEntries)).Select(l => l + "\r\n")));
            }

            File.SetLastWriteTimeUtc(path, written);
        }

        public void Deliver(int day, string version, bool delta, params string[] faults)
        {
            var path = SandboxCsv.Write(
                s_options,
                day,
                new SandboxCsvOptions
                {
                    Version = version,
                    Delta = delta,
                    Faults = faults,
                },
                _folder
            );

            // Long enough ago to be complete, and one after the other.
            _last = path;
            File.SetLastWriteTimeUtc(path, TimeProvider.System.GetUtcNow().UtcDateTime.AddHours(-1).AddMinutes(_deliveries++));
        }

        /// <summary>The bytes of the last delivery.</summary>
        public byte[] Keep() => File.ReadAllBytes(Directory.EnumerateFiles(_folder).MaxBy(File.GetLastWriteTimeUtc)!);

        public void DeliverAgain(byte[] package)
        {
            var path = Path.Combine(_folder, "again.zip");
            File.WriteAllBytes(path, package);
            File.SetLastWriteTimeUtc(path, TimeProvider.System.GetUtcNow().UtcDateTime.AddHours(-1).AddMinutes(_deliveries++));
        }

        /// <summary>Takes the last delivery out of the folder.</summary>
        public (string Name, byte[] Content, DateTime Time) TakeAway()
        {
            var path = Directory.EnumerateFiles(_folder).MaxBy(File.GetLastWriteTimeUtc)!;
            var taken = (Path.GetFileName(path), File.ReadAllBytes(path), File.GetLastWriteTimeUtc(path));
            File.Delete(path);
            return taken;
        }

        /// <summary>Puts it back with its time.</summary>
        public void PutBack((string Name, byte[] Content, DateTime Time) taken)
        {
            var path = Path.Combine(_folder, taken.Name);
            File.WriteAllBytes(path, taken.Content);
            File.SetLastWriteTimeUtc(path, taken.Time);
        }

        /// <summary>Dates the last delivery from now.</summary>
        public string Date(TimeSpan ahead)
        {
            File.SetLastWriteTimeUtc(_last, TimeProvider.System.GetUtcNow().UtcDateTime.Add(ahead));
            return Path.GetFileName(_last);
        }

        public void Clear()
        {
            foreach (var file in Directory.EnumerateFiles(_folder))
            {
                File.Delete(file);
            }
        }

        public async Task MatchAsync()
        {
            const IntegrationKind Kind = IntegrationKind.OneRosterCsv;
            await System.Integrations.ConnectAsync(
                System.District,
                Kind,
                new ConnectRequest(ConnectionMode.Folder, null, _folder),
                asOperator: true,
                clear: false,
                "test"
            );
            await System.Integrations.TurnOnAsync(System.District.Id, Kind, clear: false, "test");
            var number = 0;
            foreach (var school in SandboxDistrict.At(s_options, 0).Schools)
            {
                await System
                    .Get<SiteService>()
                    .AddAsync(System.District.Id, $"S{++number}", new SiteChange(school.Name, $"P{number}00001", null, null, null), "test");
                await System.Integrations.MatchAsync(System.District, Kind, $"S{number}", SandboxCsv.Id(school.SourcedId), "test");
            }

            await System.Integrations.ConfigureAsync(
                System.District.Id,
                Kind,
                "test",
                "settings",
                s => s with { Roles = [RoleGroup.Student, RoleGroup.Teacher, RoleGroup.Admin], Map = s_map, Thresholds = Never }
            );
        }

        public async Task<Operation> SyncAsync()
        {
            var (id, _) = await System.Queue.EnqueueAsync(
                System.District.Id,
                OperationKind.FullSync,
                IntegrationKind.OneRosterCsv,
                preview: false,
                "test"
            );
            return await System.Follower.RunAsync(System.District.Id, id, null, CancellationToken.None);
        }

        public async Task<Operation> PersonAsync(string person)
        {
            var (id, _) = await System.Queue.EnqueueAsync(
                System.District.Id,
                OperationKind.PersonSync,
                IntegrationKind.OneRosterCsv,
                preview: false,
                "test",
                PersonOptions.For(person)
            );
            return await System.Follower.RunAsync(System.District.Id, id, null, CancellationToken.None);
        }

        public async ValueTask DisposeAsync()
        {
            await System.DisposeAsync();
            Directory.Delete(_folder, recursive: true);
        }
    }
}
