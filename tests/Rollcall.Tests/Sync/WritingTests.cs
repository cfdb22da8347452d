using System.Text.Json.Nodes;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Sandbox;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>What a sync writes, and what it leaves alone.</summary>
public sealed class WritingTests(PostgresCluster cluster)
{
    private async Task<Installation> StartAsync(Db db = Db.Sqlite, FieldMap? map = null)
    {
        var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 60, Schools = 2 });
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = map ?? new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) } });
        return system;
    }

    private static async Task<SyncCounts> SyncAsync(Installation system)
    {
        var operation = await system.SyncAsync();
        Assert.Null(operation.Error);
        var counts = OperationQueue.CountsOf(operation);
        Assert.True(counts.AddUp, counts.ToString());
        return counts;
    }

    private static async Task<Patron> PatronAsync(Installation system, string guid) => (await system.PatronsByGuidAsync())[guid];

    private static Task<Patron> EditAsync(Installation system, Patron patron, string field, string? value) =>
        system.Patrons.EditAsync(system.District.Id, patron.Barcode, [new(field, value)], "librarian");

    /// <summary>A library that leaves phones out gets none with a new person either, however that person becomes a patron.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_the_library_keeps_is_not_written_for_new_patrons_either(Db db)
    {
        var keeps = new FieldRule(FieldPolicy.LibraryKeeps);
        await using var system = await StartAsync(
            db,
            new FieldMap
            {
                Barcode = new IdMapping(IdSource.UserIdType, "Card"),
                Rules = new Dictionary<int, FieldRule>
                {
                    [PatronFields.Phone] = keeps,
                    [PatronFields.Barcode] = keeps,
                    [PatronFields.LastName] = keeps,
                    [PatronFields.Site] = keeps,
                    [PatronFields.Level] = new FieldRule(FieldPolicy.FillIfEmpty),
                },
            }
        );
        await system.ImportAsync("barcode,lastName,firstName,email,site\nOLD1,Other,Olga,olga@example.org,S1\n");
        system.Sandbox.Person("p1", "Ada", "Byron", phone: "555", barcode: "CARD-1");
        system.Sandbox.Person("p2", "Olga", "Married", phone: "555", barcode: "CARD-2", email: "olga@example.org");
        Assert.Equal((1, 1), await SyncAsync(system) is var counts ? (counts.Created, counts.Review) : default);
        var item = Assert.Single(await system.Get<ReviewService>().ListAsync(system.District.Id));
        await system.Get<ReviewDecisions>().CreateAsync(system.District.Id, item.Id, "librarian");
        foreach (var (guid, last, barcode) in new[] { ("p1", "Byron", "P100001"), ("p2", "Married", "P100002") })
        {
            var patron = await PatronAsync(system, guid);
            Assert.Equal(
                (last, barcode, (string?)null, "05", (int?)1),
                (patron.LastName, patron.Barcode, patron.Phone, patron.Level, patron.SiteId)
            );
        }

        Assert.Equal(0, (await SyncAsync(system)).Updated);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_site_without_a_barcode_left_stops_the_sync_before_it_writes(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("a", "Ann", "Alpha");
        system.Sandbox.Person("b", "Ben", "Beta");
        var sites = system.Get<SiteService>();
        var site = (await sites.ListAsync(system.District.Id))[0];
        Task SetAsync(string next) => sites.SetAsync(system.District.Id, site.Code, new SiteChange(null, next, null, null, null), "test");
        await SetAsync("P" + new string('9', Barcodes.MaxLength - 2) + "8");
        var failed = await system.SyncAsync();
        Assert.Equal(OperationStatus.Failed, failed.Status);
        Assert.Contains($"the site {site.Code} another Next Barcode", failed.Error, StringComparison.Ordinal);
        Assert.Empty(await system.AllPatronsAsync());

        await SetAsync("P100");
        Assert.Equal(2, (await SyncAsync(system)).Created);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Roster_wins_where_mapped_and_unmapped_fields_stay(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("a", "Ann", "Alpha", number: "1", email: "a@x.org", phone: "555");
        await SyncAsync(system);
        var patron = await PatronAsync(system, "a");
        await system.Patrons.EditAsync(
            system.District.Id,
            patron.Barcode,
            [new("firstName", "Hand"), new("notes", "mine"), new("location", "Room 9"), new("governmentId", "G1")],
            "librarian"
        );
        var counts = await SyncAsync(system);
        Assert.Equal(1, counts.Updated);
        patron = await PatronAsync(system, "a");
        Assert.Equal(("Ann", "mine", "Room 9", "G1"), (patron.FirstName, patron.Notes, patron.Location, patron.GovernmentId));

        await EditAsync(system, patron, "keptFields", "firstName");
        await EditAsync(system, patron, "firstName", "Hand");
        counts = await SyncAsync(system);
        Assert.Equal((1, 0), (counts.Unchanged, counts.Updated));
        Assert.Equal("Hand", (await PatronAsync(system, "a")).FirstName);
    }

    [Fact]
    public async Task Blanks_keep_clear_or_are_not_shared()
    {
        await using var system = await StartAsync();
        system.Sandbox.Person("mum", "Mia", "Alpha", role: "parent", email: "mum@x.org", phone: "1");
        system.Sandbox.Person("dad", "Max", "Alpha", role: "guardian", email: "MUM@x.org", phone: "");
        system.Sandbox.Person("other", "Not", "Guardian", role: "teacher");
        system.Sandbox.Person("a", "Ann", "Alpha", phone: "555", agents: ["mum", "dad", "other"]);
        system.Sandbox.Person("b", "Ben", "Beta", phone: "777", agents: ["mum"]);
        await SyncAsync(system);
        var ann = await PatronAsync(system, "a");
        Assert.Equal(("Max Alpha; Mia Alpha 1", "MUM@x.org"), (ann.AdditionalContact, ann.OtherEmails));

        // Blank for this person alone: phone is kept, contacts are cleared.
        system.Sandbox.Person("a", "Ann", "Alpha", phone: "", agents: []);
        await SyncAsync(system);
        ann = await PatronAsync(system, "a");
        Assert.Equal(("555", null, null), (ann.Phone, ann.AdditionalContact, ann.OtherEmails));

        // Agents that are listed but unreadable are no reason to clear.
        system.Sandbox.Person("b", "Ben", "Beta", phone: "777", agents: ["nobody-here"]);
        system.Sandbox.Person("a", "Ann", "Alpha", phone: "", agents: ["mum"]);
        await SyncAsync(system);
        Assert.Equal("Mia Alpha 1", (await PatronAsync(system, "b")).AdditionalContact);
        foreach (var unreadable in (string[])["[null]", """[{"href":"users/mum"}]""", """[""]"""])
        {
            system.Sandbox.Overrides.Change("users", "b", json => json["agents"] = System.Text.Json.Nodes.JsonNode.Parse(unreadable));
            await SyncAsync(system);
            Assert.Equal("Mia Alpha 1", (await PatronAsync(system, "b")).AdditionalContact);
        }

        // Blank for everybody: not shared, even where the rule says clear.
        await system.ConfigureAsync(s =>
            s with
            {
                Map = s.Map with { Rules = new Dictionary<int, FieldRule> { [PatronFields.Phone] = new(Blank: BlankRule.Clear) } },
            }
        );
        system.Sandbox.Person("b", "Ben", "Beta", phone: "", agents: ["mum"]);
        await SyncAsync(system);
        Assert.Equal("777", (await PatronAsync(system, "b")).Phone);
        system.Sandbox.Person("b", "Ben", "Beta", phone: "888", agents: ["mum"]);
        await SyncAsync(system);
        Assert.Null((await PatronAsync(system, "a")).Phone);
    }

    /// <summary>What was read of somebody's schools in part says neither that they left all of the library's nor which one decides.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_half_read_list_of_schools_moves_nobody(Db db)
    {
        await using var system = await StartAsync(db);
        var schools = system.Sandbox.District.Schools.Select(s => s.SourcedId).ToArray();
        system.Sandbox.Person("a", "Ann", "Alpha", orgs: [schools[0]]);
        system.Sandbox.Person("b", "Ben", "Beta", orgs: [schools[0], schools[1]]);
        await SyncAsync(system);
        var site = (await PatronAsync(system, "a")).SiteId;
        Say("a", """[{"href":"orgs/1"},{"sourcedId":"9"}]""");
        Say("b", $$"""[{"href":"orgs/1"},{"sourcedId":"{{schools[1]}}"}]""");
        Assert.Contains(OperationQueue.WarningsOf(await system.SyncAsync()), w => w.Code == "orgs-partial" && w.Count == 1);
        foreach (var id in (string[])["a", "b"])
        {
            var patron = await PatronAsync(system, id);
            Assert.Equal((PatronStatus.Active, site), (patron.Status, patron.SiteId));
        }

        // Read whole, it does; a blank place is nothing.
        Say("a", """[{"sourcedId":"9"},null,""]""");
        Say("b", $$"""[{"sourcedId":"{{schools[1]}}"}]""");
        await SyncAsync(system);
        Assert.Equal(PatronStatus.Transferred, (await PatronAsync(system, "a")).Status);
        Assert.NotEqual(site, (await PatronAsync(system, "b")).SiteId);

        void Say(string id, string orgs) =>
            system.Sandbox.Overrides.Change("users", id, json => json["orgs"] = System.Text.Json.Nodes.JsonNode.Parse(orgs));
    }

    /// <summary>Programs follow a patron by when it changed and by its version, and they see role group and aliases, which stand in its link.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_a_patron_shows_of_its_link_is_a_change_of_it_and_nothing_else_of_the_link_is(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        await system.SyncAsync();
        var teacher = system.Sandbox.District.People.First(p => p.Role == "teacher").SourcedId;
        var before = await system.PatronsByGuidAsync();
        system.Sandbox.Overrides.Change("users", teacher, r => r["role"] = "administrator");
        system.Sandbox.Overrides.Change(
            "users",
            system.Sandbox.District.People.First(p => p.Role == "student").SourcedId,
            r => r["username"] = "another.name"
        );
        var operation = await system.SyncAsync();
        var after = await system.PatronsByGuidAsync();
        Assert.Equal(0, OperationQueue.CountsOf(operation).Updated);
        var (_, link) = await system.Patrons.GetAsync(system.District.Id, after[teacher].Barcode);
        Assert.Equal(RoleGroup.Admin, link!.RoleGroup);
        Assert.Equal(before[teacher].Version + 1, after[teacher].Version);
        Assert.True(after[teacher].UpdatedAt > before[teacher].UpdatedAt);
        Assert.All(after.Where(p => p.Key != teacher), p => Assert.Equal(before[p.Key].Version, p.Value.Version));
        await system.SyncAsync();
        Assert.All(await system.PatronsByGuidAsync(), p => Assert.Equal(after[p.Key].Version, p.Value.Version));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Statuses_follow_the_roster_and_respect_the_librarian(Db db)
    {
        await using var system = await StartAsync(db);
        string[] ids = ["active", "lost", "suspended", "inactive", "other", "staff", "stays"];
        for (var i = 0; i < ids.Length; i++)
        {
            system.Sandbox.Person(ids[i], "Person", "Number" + i);
        }

        for (var i = 0; i < 40; i++)
        {
            system.Sandbox.Person("filler" + i, "Filler", "Number" + i);
        }

        await SyncAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        await EditAsync(system, patrons["lost"], "status", "Card Lost");
        await EditAsync(system, patrons["suspended"], "status", "Suspended");
        await EditAsync(system, patrons["inactive"], "status", "Inactive");
        await EditAsync(system, patrons["other"], "status", "Other");
        await EditAsync(system, patrons["staff"], "group", "Librarian");
        await EditAsync(system, patrons["stays"], "doNotTransfer", "true");
        Assert.Equal(0, (await SyncAsync(system)).Updated);

        system.Sandbox.Overrides.Remove("users", ids);
        await system.ConfigureAsync(s => s with { Thresholds = new Thresholds { Transfers = new Threshold(100, 1000) } });
        var counts = await SyncAsync(system);
        Assert.Equal((4, 4), (counts.Transferred, counts.Absent));
        patrons = await system.PatronsByGuidAsync();
        Assert.Equal(
            [
                PatronStatus.Transferred,
                PatronStatus.Transferred,
                PatronStatus.Transferred,
                PatronStatus.Inactive,
                PatronStatus.Transferred,
                PatronStatus.Active,
                PatronStatus.Active,
            ],
            ids.Select(i => patrons[i].Status)
        );

        // Absence is applied once: what a hand then does stays.
        await EditAsync(system, patrons["active"], "status", "Active");
        await EditAsync(system, patrons["other"], "status", "Inactive");
        await EditAsync(system, patrons["other"], "status", "Transferred");
        counts = await SyncAsync(system);
        Assert.Equal(0, counts.Transferred);
        Assert.Equal(PatronStatus.Active, (await PatronAsync(system, "active")).Status);

        // Back: the status from before the transfer returns.
        foreach (var id in ids)
        {
            system.Sandbox.Overrides.Restore("users", id);
        }

        for (var i = 0; i < ids.Length; i++)
        {
            system.Sandbox.Person(ids[i], "Person", "Number" + i);
        }

        counts = await SyncAsync(system);
        patrons = await system.PatronsByGuidAsync();
        Assert.Equal(
            [
                PatronStatus.Active,
                PatronStatus.CardLost,
                PatronStatus.Suspended,
                PatronStatus.Inactive,
                PatronStatus.Transferred,
                PatronStatus.Active,
                PatronStatus.Active,
            ],
            ((string[])["active", "lost", "suspended", "inactive", "nobody", "staff", "stays"]).Select(i =>
                patrons.TryGetValue(i, out var p) ? p.Status : PatronStatus.Transferred
            )
        );
        Assert.Equal(PatronStatus.Active, patrons["other"].Status);
        Assert.Equal(3, counts.Reactivated);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Nobody_is_warned_of_a_school_that_the_library_does_not_serve(Db db)
    {
        await using var system = await StartAsync(db);
        await system.ConfigureAsync(s => s with { Roles = [RoleGroup.Student] });
        var schools = system.Sandbox.District.Schools.Select(s => s.SourcedId).ToArray();
        Task Mark(string org, bool served = false) =>
            system.Integrations.SetServedAsync(system.District, IntegrationKind.ClassLink, org, served, "test");
        async Task<OrgMatch> Org(string org) =>
            (await system.Integrations.OrgsAsync(system.District, IntegrationKind.ClassLink)).Single(o => o.SourcedId == org);
        system.Sandbox.Person("here", "Ann", "Alpha", orgs: [schools[0]]);
        system.Sandbox.Person("both", "Cid", "Gamma", orgs: [schools[1], schools[0]]);
        await SyncAsync(system);
        system.Sandbox.Person("there", "Ben", "Beta", orgs: [schools[1]]);
        Assert.Contains(
            "is matched to a site",
            (await Assert.ThrowsAsync<RollcallException>(() => Mark(schools[1]))).Message,
            StringComparison.Ordinal
        );
        Assert.Contains(
            "no organization",
            (await Assert.ThrowsAsync<RollcallException>(() => Mark("nowhere"))).Message,
            StringComparison.Ordinal
        );
        await system.Integrations.UnmatchAsync(system.District, IntegrationKind.ClassLink, schools[1], "test");
        var first = await system.SyncAsync();
        Assert.Equal(OperationStatus.CompletedWithWarnings, first.Status);
        Assert.Contains("Site Mapping", Assert.Single(OperationQueue.WarningsOf(first)).Hint, StringComparison.Ordinal);

        await Mark(schools[1]);
        await Mark(schools[1]);
        Assert.Equal(
            (true, null, null),
            ((await Org(schools[1])).NotServed, (await Org(schools[1])).SuggestedSite, (await Org(schools[1])).ProposedCode)
        );
        Assert.Equal(0, await system.Integrations.MatchSuggestedAsync(system.District, IntegrationKind.ClassLink, "test"));
        var second = await system.SyncAsync();
        Assert.Equal(OperationStatus.Completed, second.Status);
        Assert.Equal((3, 1), (OperationQueue.CountsOf(second).Read, OperationQueue.CountsOf(second).Skipped));
        var skip = Assert.Single(await system.LogAsync(second.Id), r => r.Guid == "there");
        Assert.StartsWith("The library does not serve ", skip.Reason, StringComparison.Ordinal);

        // Taken back, it is missed again; matched, nobody has said so of it.
        await Mark(schools[1], served: true);
        await Assert.ThrowsAsync<RollcallException>(() => Mark(schools[1], served: true));
        Assert.Equal(OperationStatus.CompletedWithWarnings, (await system.SyncAsync()).Status);
        await Mark(schools[1]);
        await system.Integrations.MatchAsync(system.District, IntegrationKind.ClassLink, "S2", schools[1], "test");
        Assert.False((await Org(schools[1])).NotServed);
        var third = await system.SyncAsync();
        Assert.Equal((OperationStatus.Completed, 1), (third.Status, OperationQueue.CountsOf(third).Created));
    }

    [Fact]
    public async Task Unmatched_schools_skip_the_new_keep_the_old_and_transfer_those_who_left_all()
    {
        await using var system = await StartAsync();
        var schools = system.Sandbox.District.Schools.Select(s => s.SourcedId).ToArray();
        await system.Integrations.UnmatchAsync(system.District, IntegrationKind.ClassLink, schools[1], "test");
        system.Sandbox.Person("new", "Ann", "Alpha", orgs: [schools[1], schools[0]]);
        system.Sandbox.Person("stays", "Ben", "Beta", orgs: [schools[0]]);
        system.Sandbox.Person("leaves", "Cid", "Gamma", orgs: [schools[0]]);
        system.Sandbox.Person("orgless", "Dan", "Delta", orgs: [schools[0]]);
        var first = await system.SyncAsync();
        var skip = Assert.Single(await system.LogAsync(first.Id), r => r.Guid == "new");
        Assert.Equal("skipped", skip.Outcome);
        Assert.Contains(system.Sandbox.District.Schools.First().Name, skip.Reason, StringComparison.Ordinal);

        system.Sandbox.Person("stays", "Benjamin", "Beta", orgs: [schools[1], schools[0]]);
        system.Sandbox.Person("leaves", "Cid", "Gamma", orgs: [schools[1]]);
        system.Sandbox.Person("orgless", "Daniel", "Delta", orgs: []);
        var counts = await SyncAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        Assert.Equal((PatronStatus.Active, "Benjamin", 1), (patrons["stays"].Status, patrons["stays"].FirstName, patrons["stays"].SiteId));
        Assert.Equal(PatronStatus.Transferred, patrons["leaves"].Status);
        Assert.Equal((PatronStatus.Active, "Daniel"), (patrons["orgless"].Status, patrons["orgless"].FirstName));
        Assert.Equal((1, 0), (counts.Transferred, counts.Absent));

        // Stays transferred without a word on the next run, and comes back with a matched school.
        var quiet = await system.SyncAsync();
        Assert.Equal(0, OperationQueue.CountsOf(quiet).Transferred);
        Assert.DoesNotContain(await system.LogAsync(quiet.Id), r => r.Guid == "leaves");
        Assert.Contains(await system.LogAsync(quiet.Id), r => r.Guid == "stays");
        system.Sandbox.Person("leaves", "Cid", "Gamma", orgs: [schools[0]]);
        Assert.Equal(1, (await SyncAsync(system)).Reactivated);
    }

    /// <summary>Who has left for a school that the library does not serve is not back because the library serves one less.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Unmatching_a_school_brings_nobody_back_who_had_left_it(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 60, Schools = 3 });
        system.Sandbox.OnlyMine();
        var schools = system.Sandbox.District.Schools.Select(s => s.SourcedId).ToArray();
        await system.Integrations.UnmatchAsync(system.District, IntegrationKind.ClassLink, schools[1], "test");
        foreach (var id in (string[])["left", "orgless", "stays", "other"])
        {
            system.Sandbox.Person(id, "Ann", id, orgs: [id == "other" ? schools[2] : schools[0]]);
        }

        await SyncAsync(system);
        system.Sandbox.Person("left", "Ann", "left", orgs: [schools[1]]);
        system.Sandbox.Person("orgless", "Ann", "orgless", orgs: [schools[1]]);
        Assert.Equal(2, (await SyncAsync(system)).Transferred);

        system.Sandbox.Person("orgless", "Ann", "orgless", orgs: []);
        await system.Integrations.UnmatchAsync(system.District, IntegrationKind.ClassLink, schools[0], "test");
        var counts = await SyncAsync(system);
        Assert.Equal((0, 0), (counts.Reactivated, counts.Transferred));
        var patrons = await system.PatronsByGuidAsync();
        Assert.Equal(
            [PatronStatus.Transferred, PatronStatus.Transferred, PatronStatus.Active],
            ((string[])["left", "orgless", "stays"]).Select(i => patrons[i].Status)
        );

        // Back at a school that is matched, and back when theirs is.
        system.Sandbox.Person("orgless", "Ann", "orgless", orgs: [schools[2]]);
        Assert.Equal(1, (await SyncAsync(system)).Reactivated);
        await system.Integrations.MatchAsync(system.District, IntegrationKind.ClassLink, "S2", schools[1], "test");
        Assert.Equal(1, (await SyncAsync(system)).Reactivated);
        Assert.Equal(PatronStatus.Active, (await system.PatronsByGuidAsync())["left"].Status);
    }

    /// <summary>Staff of a district's office are at no school, or at one that nobody matched, and are the library's all the same.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Who_is_at_no_matched_school_comes_back_unless_they_left_all_of_them(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 60, Schools = 3 });
        await system.ConfigureAsync(s =>
            s with
            {
                Map = new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) },
                Thresholds = new Thresholds { Transfers = new Threshold(100, 1000) },
            }
        );
        system.Sandbox.OnlyMine();
        var schools = system.Sandbox.District.Schools.Select(s => s.SourcedId).ToArray();
        await system.Integrations.UnmatchAsync(system.District, IntegrationKind.ClassLink, schools[2], "test");
        string[] ids = ["nowhere", "elsewhere", "ended", "hand", "left", "stays"];
        await system.ImportAsync(
            "barcode,lastName,studentNumber,site\n"
                + string.Concat(ids.Select((id, i) => $"OLD-{i},{id},N{i},{(id is "left" or "stays" ? "S2" : "")}\n"))
                + "OLD-9,Filler,F,\n"
        );
        system.Sandbox.Person("filler", "Fay", "Filler", number: "F", orgs: []);
        void There(string id, string status = "active", params string[] orgs) =>
            system.Sandbox.Person(id, "Ann", id, number: "N" + Array.IndexOf(ids, id), orgs: orgs, status: status);
        async Task ExpectAsync(int back, int gone, params PatronStatus[] expected)
        {
            var counts = await SyncAsync(system);
            Assert.Equal((back, gone), (counts.Reactivated, counts.Transferred));
            var patrons = await system.PatronsByGuidAsync();
            Assert.Equal(expected, ids.Select(i => patrons[i].Status));
        }

        const PatronStatus Here = PatronStatus.Active;
        const PatronStatus Away = PatronStatus.Transferred;
        There("nowhere");
        There("elsewhere", orgs: schools[2]);
        There("ended");
        There("hand", orgs: schools[2]);
        There("left", orgs: schools[1]);
        There("stays", orgs: schools[1]);
        await ExpectAsync(0, 0, Here, Here, Here, Here, Here, Here);
        await EditAsync(system, await PatronAsync(system, "elsewhere"), "status", "Card Lost");

        // Away for a night: not in the roster, deleted in it, or at another school.
        system.Sandbox.Overrides.Remove("users", "nowhere", "elsewhere");
        There("ended", "tobedeleted");
        There("left", orgs: schools[2]);
        await EditAsync(system, await PatronAsync(system, "hand"), "status", "Transferred");
        system.Sandbox.Overrides.Remove("users", "hand");
        await ExpectAsync(0, 4, Away, Away, Away, Away, Away, Here);

        There("nowhere");
        There("elsewhere", orgs: schools[2]);
        There("ended");
        There("hand", orgs: schools[2]);
        There("left");
        await ExpectAsync(4, 0, Here, PatronStatus.CardLost, Here, Here, Away, Here);

        // Who left all schools stays away, whatever becomes of their records, until they are at one again.
        system.Sandbox.Overrides.Remove("users", "left");
        await ExpectAsync(0, 0, Here, PatronStatus.CardLost, Here, Here, Away, Here);
        There("left");
        await ExpectAsync(0, 0, Here, PatronStatus.CardLost, Here, Here, Away, Here);
        There("left", orgs: schools[0]);
        await ExpectAsync(1, 0, Here, PatronStatus.CardLost, Here, Here, Here, Here);
        There("left", "tobedeleted");
        await ExpectAsync(0, 1, Here, PatronStatus.CardLost, Here, Here, Away, Here);
        There("left");
        await ExpectAsync(1, 0, Here, PatronStatus.CardLost, Here, Here, Here, Here);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Mapped_barcodes_swap_and_taken_ones_stay(Db db)
    {
        await using var system = await StartAsync(db, new FieldMap { Barcode = new IdMapping(IdSource.UserIdType, "Card") });
        system.Sandbox.Person("a", "Ann", "Alpha", barcode: "C-100");
        system.Sandbox.Person("b", "Ben", "Beta", barcode: "C-200");
        system.Sandbox.Person("c", "Cid", "Gamma", barcode: "C-300");
        system.Sandbox.Person("d", "Dan", "Delta", barcode: "C-400");
        await SyncAsync(system);
        system.Sandbox.Person("a", "Ann", "Alpha", barcode: "C-200");
        system.Sandbox.Person("b", "Ben", "Beta", barcode: "C-300");
        system.Sandbox.Person("c", "Cid", "Gamma", barcode: "C-100");
        system.Sandbox.Person("d", "Dan", "Delta", barcode: "C-300");
        await SyncAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        Assert.Equal(["C-200", "C-300", "C-100", "C-400"], ((string[])["a", "b", "c", "d"]).Select(g => patrons[g].Barcode));
        Assert.Equal(["c-200", "c-300", "c-100", "c-400"], ((string[])["a", "b", "c", "d"]).Select(g => patrons[g].BarcodeKey));
    }

    [Fact]
    public async Task Malformed_and_doubled_rows_neither_stop_the_run_nor_make_anybody_absent()
    {
        await using var system = await StartAsync();
        foreach (var id in (string[])["a", "b", "c", "d", "e"])
        {
            system.Sandbox.Person(id, "Person", "Named " + id);
        }

        await SyncAsync(system);
        system.Sandbox.Overrides.Remove("users", "b");
        system.Sandbox.Faults.Set("no-sourcedid:users");
        var operation = await system.SyncAsync();
        Assert.Null(operation.Error);
        Assert.Equal(1, OperationQueue.CountsOf(operation).Skipped);
        Assert.Contains(OperationQueue.WarningsOf(operation), w => w.Code == "row-without-id");
        Assert.Equal(PatronStatus.Active, (await PatronAsync(system, "b")).Status);

        system.Sandbox.Faults.Set("malformed-user:users");
        var counts = await SyncAsync(system);
        Assert.True(counts.Warnings > 0);

        system.Sandbox.Faults.Set("duplicate-rows:users");
        operation = await system.SyncAsync();
        counts = OperationQueue.CountsOf(operation);
        Assert.True(operation.Error is not null || counts.Read <= 4, counts.ToString());
        Assert.Equal(5, (await system.AllPatronsAsync()).Count);
    }

    [Theory]
    [InlineData("empty-users")]
    [InlineData("empty-orgs")]
    [InlineData("html")]
    [InlineData("no-array:users")]
    [InlineData("total-too-high:users")]
    [InlineData("disabled-403")]
    [InlineData("404:orgs")]
    public async Task A_roster_that_cannot_be_trusted_fails_the_run_and_touches_nobody(string fault)
    {
        await using var system = await StartAsync();
        system.Sandbox.Person("a", "Ann", "Alpha");
        await SyncAsync(system);
        var before = await PatronAsync(system, "a");
        system.Sandbox.Person("a", "Changed", "Name");
        system.Sandbox.Faults.Set(fault);
        var operation = await system.SyncAsync();
        Assert.Equal(OperationStatus.Failed, operation.Status);
        Assert.NotNull(operation.Error);
        Assert.DoesNotContain('\n', operation.Error);
        Assert.Equal(before.Version, (await PatronAsync(system, "a")).Version);
        system.Sandbox.Faults.Clear();
        Assert.Equal(1, (await SyncAsync(system)).Updated);
    }

    [Fact]
    public async Task What_is_not_ready_is_refused_in_words()
    {
        await using var system = await Installation.StartAsync(
            cluster,
            Db.Sqlite,
            new SandboxOptions { Students = 60, Schools = 2 },
            connect: false
        );
        Assert.Contains("off", (await system.SyncAsync()).Error, StringComparison.Ordinal);
        await system.ConnectAsync(s => s with { Roles = [] });
        Assert.Contains("ticked", (await system.SyncAsync()).Error, StringComparison.Ordinal);
        await system.ConfigureAsync(s => s with { Roles = [RoleGroup.Student] });
        foreach (var school in system.Sandbox.District.Schools)
        {
            await system.Integrations.UnmatchAsync(system.District, IntegrationKind.ClassLink, school.SourcedId, "test");
        }

        Assert.Contains("matched", (await system.SyncAsync()).Error, StringComparison.Ordinal);
        Assert.Empty(await system.AllPatronsAsync());
    }

    [Fact]
    public async Task Odd_people_are_kept_as_they_are_written()
    {
        await using var system = await StartAsync();
        system.Sandbox.Person("a/b |%ü", "Zoë", "Nguyễn-O’Brien");
        system.Sandbox.Person("A/B |%Ü", "王", "小明");
        system.Sandbox.Person("long", new string('x', 400), new string('é', 300));
        system.Sandbox.Person("nameless", "Only", "");
        var counts = await SyncAsync(system);
        Assert.Equal((4, 3, 1), (counts.Read, counts.Created, counts.Skipped));
        var patrons = await system.PatronsByGuidAsync();
        Assert.Equal("Nguyễn-O’Brien", patrons["a/b |%ü"].LastName);
        Assert.Equal(255, patrons["long"].LastName.Length);
        Assert.Equal(3, (await SyncAsync(system)).Unchanged);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_barcode_that_somebody_brought_moves_no_sequence(Db db)
    {
        await using var system = await StartAsync(db, new FieldMap { Barcode = new IdMapping(IdSource.UserIdType, "Card") });
        var sites = system.Get<Rollcall.Districts.SiteService>();
        await sites.SetAsync(system.District.Id, "S1", new Rollcall.Districts.SiteChange(null, "A0001", null, null, null), "test");
        system.Sandbox.Person("brought", "Ann", "Alpha", barcode: "A999999");
        system.Sandbox.Person("drawn", "Ben", "Beta");
        await SyncAsync(system);
        Assert.Equal("A0001", (await PatronAsync(system, "drawn")).Barcode);
        Assert.Equal("A0002", await NextAsync());

        // From a file, by hand, and of the sequence itself: what is taken is skipped, and its width is kept.
        await system.ImportAsync("barcode,lastName,site\nA0500,Import,S1\nA0002,Second,S1\n,Drawn,S1\n");
        Assert.Equal("A0004", await NextAsync());
        await system.Patrons.AddAsync(system.District.Id, [new("barcode", "A0700"), new("lastName", "Hand"), new("site", "S1")], "test");
        Assert.Equal("A0004", await NextAsync());
        system.Sandbox.Person("later", "Cid", "Gamma");
        await SyncAsync(system);
        Assert.Equal("A0004", (await PatronAsync(system, "later")).Barcode);
        Assert.Equal("A0005", await NextAsync());

        async Task<string> NextAsync() => (await sites.ListAsync(system.District.Id)).Single(s => s.Code == "S1").NextBarcode;
    }

    [Fact]
    public async Task A_status_that_the_library_keeps_is_not_counted_as_dealt_with()
    {
        await using var system = await StartAsync();
        system.Sandbox.Person("stays", "Ann", "Alpha");
        system.Sandbox.Person("goes", "Ben", "Beta");
        await SyncAsync(system);
        foreach (var policy in (FieldPolicy[])[FieldPolicy.LibraryKeeps, FieldPolicy.FillIfEmpty])
        {
            await PolicyAsync(policy);
            system.Sandbox.Overrides.Remove("users", "goes");
            var operation = await system.SyncAsync();
            Assert.Contains(OperationQueue.WarningsOf(operation), w => w.Code == "status-kept");
            Assert.Equal(PatronStatus.Active, (await PatronAsync(system, "goes")).Status);
        }

        await PolicyAsync(FieldPolicy.RosterWins);
        Assert.Equal(1, (await SyncAsync(system)).Absent);
        Assert.Equal(PatronStatus.Transferred, (await PatronAsync(system, "goes")).Status);

        Task PolicyAsync(FieldPolicy policy) =>
            system.ConfigureAsync(s =>
                s with
                {
                    Map = new FieldMap { Rules = new Dictionary<int, FieldRule> { [PatronFields.Status] = new(policy, BlankRule.Keep) } },
                }
            );
    }

    /// <summary>Children move up when the school year is over: then nobody has a homeroom, and the one of the school before is still not theirs.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Moves_take_the_homeroom_along(bool summer)
    {
        await using var system = await Installation.StartAsync(cluster, Db.Sqlite, new SandboxOptions { Students = 120, Schools = 2 });
        await system.ConfigureAsync(s => s with { Map = new FieldMap { Location = LocationSource.ClassTitle } });
        system.Sandbox.Person("staff", "Sam", "Staff", role: "administrator");
        await system.SyncAsync();
        await EditAsync(system, await PatronAsync(system, "staff"), "location", "Office 3");
        if (summer)
        {
            system.Sandbox.Overrides.Put(
                "academicSessions",
                new JsonObject
                {
                    ["sourcedId"] = "past",
                    ["status"] = "active",
                    ["dateLastModified"] = "2026-01-01T00:00:00.000Z",
                    ["title"] = "Past",
                    ["type"] = "term",
                    ["startDate"] = "2020-08-01",
                    ["endDate"] = "2021-06-30",
                    ["schoolYear"] = "2021",
                }
            );
            foreach (var id in system.Sandbox.District.People.SelectMany(p => p.Homerooms).Select(h => h.SourcedId).Distinct())
            {
                system.Sandbox.Overrides.Change(
                    "classes",
                    id,
                    c => c["terms"] = new JsonArray(new JsonObject { ["sourcedId"] = "past", ["type"] = "academicSession" })
                );
            }

            Assert.Null((await system.SyncAsync()).Error);
        }

        var patrons = await system.PatronsByGuidAsync();
        var person = system.Sandbox.District.People.First(p =>
            p is { Group: SandboxRoleGroup.Student, Presence: SandboxPresence.Present, Homeroom: not null }
            && p.Orgs.Count == 1
            && patrons.TryGetValue(p.SourcedId, out var known)
            && known.Location is not null
        );
        var other = system.Sandbox.District.Schools.First(s => s.SourcedId != person.Orgs[0]).SourcedId;
        system.Sandbox.Overrides.Change(
            "users",
            person.SourcedId,
            u => u["orgs"] = new JsonArray(new JsonObject { ["sourcedId"] = other, ["type"] = "org" })
        );
        if (!summer)
        {
            foreach (var homeroom in person.Homerooms)
            {
                system.Sandbox.Overrides.Remove("classes", homeroom.SourcedId);
            }
        }

        system.Sandbox.Person("staff", "Sam", "Staff", role: "administrator", orgs: [other]);
        var operation = await system.SyncAsync();
        Assert.Null(operation.Error);
        var moved = await PatronAsync(system, person.SourcedId);
        Assert.NotEqual(patrons[person.SourcedId].SiteId, moved.SiteId);
        Assert.Null(moved.Location);

        // Nobody's homeroom is what the library wrote of staff.
        Assert.Equal("Office 3", (await PatronAsync(system, "staff")).Location);
    }
}
