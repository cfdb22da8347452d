using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Sync.Person;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>One person at a time: synced step by step, and explained.</summary>
public sealed class PersonTests(PostgresCluster cluster)
{
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task One_person_is_synced_by_id_or_barcode_and_each_step_is_told(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("p1", "Ada", "Byron", number: "77", phone: "1", agents: ["g1"]);
        system.Sandbox.Person("p2", "Ben", "Carver", phone: "1");
        system.Sandbox.Person("g1", "Anne", "Byron", role: "parent", phone: "9");

        var first = await RunAsync(system, "p1");
        Assert.Equal(1, OperationQueue.CountsOf(first).Created);
        var patron = Assert.Single(await system.AllPatronsAsync());
        Assert.Equal("Anne Byron 9", patron.AdditionalContact);
        Assert.Equal(["found", "mapped", "matched", "difference", "result"], PersonOptions.Of(first).Steps.Select(s => s.Name));

        system.Sandbox.Person("p1", "Adah", "Byron", number: "77", phone: "2", agents: ["g1"]);
        var second = await RunAsync(system, patron.Barcode.ToLowerInvariant());
        Assert.Equal(1, OperationQueue.CountsOf(second).Updated);
        var steps = PersonOptions.Of(second).Steps;
        Assert.Contains("By GUID", Step("matched"), StringComparison.Ordinal);
        Assert.Contains("First Name: Ada → Adah", Step("difference"), StringComparison.Ordinal);
        Assert.Equal("Updated.", Step("result"));
        Assert.Equal(1, OperationQueue.CountsOf(await RunAsync(system, "p1")).Unchanged);

        system.Sandbox.Overrides.Remove("users", "p1");
        var gone = await RunAsync(system, "p1");
        Assert.Contains("nobody with the sourcedId p1", PersonOptions.Of(gone).Steps[0].Text, StringComparison.Ordinal);
        Assert.Equal(PatronStatus.Active, (await system.AllPatronsAsync()).Single().Status);

        // Whom nobody knows was mistyped.
        var unknown = await RunAsync(system, "p11", fails: true);
        Assert.Equal(OperationStatus.Failed, unknown.Status);
        Assert.Contains("'p11', neither in the roster nor here", unknown.Error, StringComparison.Ordinal);

        // What one person brought is compared again by the next full sync, and nothing is found.
        system.Sandbox.Overrides.Restore("users", ["p1"]);
        system.Sandbox.Person("p1", "Adah", "Byron", number: "77", phone: "2", agents: ["g1"]);
        var full = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((1, 1, 0), (full.Created, full.Unchanged, full.Updated));

        string Step(string name) => steps.Single(s => s.Name == name).Text;
    }

    /// <summary>Whatever became of a person, the last step says it, and what can be done.</summary>
    [Theory]
    [InlineData("unchanged", "By GUID, the patron P100001.", "Unchanged: there is nothing to write.")]
    [InlineData("gone", null, "Nothing to write.")]
    [InlineData("unknown role", null, "Nothing to write.")]
    [InlineData(
        "not ticked",
        "Not tried: the person's role is not synced here.",
        "Left alone, with nothing written. If people of this role are to be synced, tick it under Syncing."
    )]
    [InlineData(
        "deleted",
        "Not tried: Deleted in the roster, or without a role any more, and unknown here.",
        "Skipped, with nothing written: Deleted in the roster, or without a role any more, and unknown here."
    )]
    [InlineData("two", "Not safely: Several patrons have this Student # (OLD-1, OLD-2).", "Waits in Review: say there who the person is.")]
    [InlineData(
        "two, preview",
        "Not safely: Several patrons have this Student # (OLD-1, OLD-2).",
        "Would wait in Review, to be said there who the person is."
    )]
    public async Task What_became_of_one_person_is_said(string what, string? matched, string result)
    {
        await using var system = await StartAsync(Db.Sqlite);
        system.Sandbox.Person("p1", "Ada", "Byron");
        system.Sandbox.Person("p9", "Zoe", "Young");
        await RunAsync(system, "p1");
        await system.ImportAsync("barcode,communityId,lastName,site\nOLD-1,77,Carver,S1\nOLD-2,77,Dunn,S1\n");
        system.Sandbox.Person("p2", "Ben", "Carver", number: "77");
        system.Sandbox.Person("p3", "Cid", "Dunn", status: "tobedeleted");
        system.Sandbox.Person("p4", "Dan", "Eve", role: "teacher");
        system.Sandbox.Person("p5", "Eli", "Fox", role: "wizard");
        await system.ConfigureAsync(s => s with { Roles = [RoleGroup.Student] });
        var person = what switch
        {
            "unchanged" or "gone" => "p1",
            "deleted" => "p3",
            "not ticked" => "p4",
            "unknown role" => "p5",
            _ => "p2",
        };
        if (what == "gone")
        {
            system.Sandbox.Overrides.Remove("users", "p1");
        }

        var steps = PersonOptions.Of(await RunAsync(system, person, preview: what.EndsWith("preview", StringComparison.Ordinal))).Steps;
        Assert.Equal(matched, steps.SingleOrDefault(s => s.Name == "matched")?.Text);
        Assert.Equal(result, steps[^1].Text);
    }

    /// <summary>Where rows move between pages, whoever is not among them may be there.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Nobody_is_said_to_be_gone_where_not_everybody_could_be_read(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 100, Schools = 2 });
        system.Sandbox.Person("p1", "Ada", "Byron");
        await system.SyncAsync();
        system.Sandbox.Overrides.Remove("users", "p1");
        system.Sandbox.Faults.Set("404:users/{id},shift-rows:users,clamp=20:users,no-totals:users");
        var steps = PersonOptions.Of(await RunAsync(system, "p1")).Steps;
        Assert.StartsWith("Not everybody could be read, and p1 was not among those who were.", steps[0].Text, StringComparison.Ordinal);
        var barcode = (await system.PatronsByGuidAsync())["p1"].Barcode;
        var told = await system.Get<PatronExplain>().ExplainAsync(system.District, barcode, askRoster: true);
        Assert.StartsWith("Not everybody could be read", told.RosterProblem, StringComparison.Ordinal);
    }

    /// <summary>Nobody's teacher is asked for whose name is written nowhere.</summary>
    [Theory]
    [InlineData(LocationSource.ClassCode, false)]
    [InlineData(LocationSource.ClassTitle, false)]
    [InlineData(LocationSource.TeacherName, true)]
    public async Task A_teacher_is_read_only_where_the_name_is_written(LocationSource location, bool read)
    {
        await using var system = await StartAsync(Db.Sqlite);
        await system.ConfigureAsync(s => s with { Map = s.Map with { Location = location } });
        system.Sandbox.Person("p1", "Ada", "Byron");
        system.Sandbox.Person("t1", "Tess", "Tutor", role: "teacher");
        system.Sandbox.Homeroom("h1", "Room 1");
        system.Sandbox.Enroll("e1", "p1", "h1");
        system.Sandbox.Enroll("e2", "t1", "h1", role: "teacher");
        system.Sandbox.ClearRequests();
        Assert.Equal(1, OperationQueue.CountsOf(await RunAsync(system, "p1")).Created);
        Assert.Equal(read, system.Sandbox.Requests.Any(r => r.Path.EndsWith("/t1", StringComparison.Ordinal)));
        Assert.Equal(
            location switch
            {
                LocationSource.TeacherName => "Tutor, Tess",
                LocationSource.ClassTitle => "Room 1",
                _ => null,
            },
            (await system.AllPatronsAsync()).Single().Location
        );
    }

    /// <summary>What is one person's barcode and another's id names neither: the wrong one would be synced.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_text_that_is_a_barcode_and_an_id_has_to_say_which(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 60, Schools = 2 });
        system.Sandbox.OnlyMine();
        system.Sandbox.Person("100", "Ada", "Byron", phone: "1");
        system.Sandbox.Person("200", "Ben", "Carver", phone: "1");
        await system.SyncAsync();
        var patrons = await system.PatronsByGuidAsync();
        async Task CodeAsync(string guid, string code) =>
            await system.Patrons.EditAsync(
                system.District.Id,
                (await system.PatronsByGuidAsync())[guid].Barcode,
                [new("barcode", code)],
                "librarian"
            );
        await CodeAsync("100", "200");
        system.Sandbox.Person("100", "Ada", "Byron", phone: "2");
        system.Sandbox.Person("200", "Ben", "Carver", phone: "3");

        var refused = await RunAsync(system, "200", fails: true);
        Assert.Equal(OperationStatus.Failed, refused.Status);
        Assert.Contains("Say barcode:200 or guid:200", refused.Error, StringComparison.Ordinal);
        Assert.Contains("linked to '100'", refused.Error, StringComparison.Ordinal);
        Assert.Contains($"the patron {patrons["200"].Barcode}", refused.Error, StringComparison.Ordinal);
        Assert.Equal(("1", "1"), await PhonesAsync());

        Assert.Null((await RunAsync(system, "Barcode:200")).Error);
        Assert.Equal(("2", "1"), await PhonesAsync());
        Assert.Null((await RunAsync(system, "guid:200")).Error);
        Assert.Equal(("2", "3"), await PhonesAsync());
        Assert.Contains(
            "No patron has the barcode '999'",
            (await RunAsync(system, "barcode:999", fails: true)).Error,
            StringComparison.Ordinal
        );

        // Somebody whom nothing here knows yet is somebody else all the same; the patron's own id is no other's.
        system.Sandbox.Person("300", "Cid", "Dunn");
        await CodeAsync("100", "300");
        Assert.Contains("who is in the roster", (await RunAsync(system, "300", fails: true)).Error, StringComparison.Ordinal);
        await CodeAsync("100", "100");
        Assert.Null((await RunAsync(system, "100")).Error);

        async Task<(string?, string?)> PhonesAsync()
        {
            var now = await system.PatronsByGuidAsync();
            return (now["100"].Phone, now["200"].Phone);
        }
    }

    [Fact]
    public async Task A_preview_of_one_person_writes_nothing_and_can_be_approved()
    {
        await using var system = await StartAsync(Db.Sqlite);
        system.Sandbox.Person("p1", "Ada", "Byron");
        var preview = await RunAsync(system, "p1", preview: true);
        Assert.Equal(OperationStatus.Preview, preview.Status);
        Assert.Empty(await system.AllPatronsAsync());
        await system.ApproveAsync(preview.Id);
        Assert.Single(await system.AllPatronsAsync());
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_preview_of_one_person_that_is_approved_too_late_says_that_it_wrote_nothing(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("p1", "Ada", "Byron", phone: "1");
        await system.SyncAsync();
        system.Sandbox.Person("p1", "Ada", "Byron", phone: "2");
        var preview = await RunAsync(system, "p1", preview: true);
        Assert.Equal("Updated.", PersonOptions.Of(preview).Steps[^1].Text);
        var barcode = Assert.Single(await system.AllPatronsAsync()).Barcode;
        await system.Patrons.EditAsync(system.District.Id, barcode, [new("phone", "by hand")], "mrs. reed");
        var approved = await system.ApproveAsync(preview.Id);
        Assert.Equal(OperationStatus.CompletedWithWarnings, approved.Status);
        var counts = OperationQueue.CountsOf(approved);
        Assert.True(counts.AddUp, approved.Counts);
        Assert.Equal((0, 1, 1), (counts.Updated, counts.Skipped, counts.Warnings));
        Assert.Contains(OperationQueue.WarningsOf(approved), w => w is { Code: "stale", Count: 1 });
        var steps = PersonOptions.Of(approved).Steps;
        Assert.Equal(["found", "mapped", "matched", "difference", "result"], steps.Select(s => s.Name));
        Assert.StartsWith("Nothing was written", steps[^1].Text, StringComparison.Ordinal);
        Assert.Contains("changed since the plan", steps[^1].Text, StringComparison.Ordinal);
        Assert.Equal("by hand", Assert.Single(await system.AllPatronsAsync()).Phone);
        Assert.NotNull(
            IntegrationService.StateOf(await system.Integrations.FindAsync(system.District.Id, IntegrationKind.ClassLink)).FullDue
        );
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_explanation_names_origin_policy_and_what_the_roster_says_now(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("p1", "Ada", "Byron", number: "77", phone: "1", email: "ada@example.org");
        var run = await system.SyncAsync();
        var patron = Assert.Single(await system.AllPatronsAsync());
        await system.Patrons.EditAsync(system.District.Id, patron.Barcode, [new("firstName", "Augusta"), new("notes", "hi")], "mrs. reed");
        system.Sandbox.Person("p1", "Ada", "King", number: "77", phone: "1", email: "");
        var explain = system.Get<PatronExplain>();
        var told = await explain.ExplainAsync(system.District, patron.Barcode, askRoster: true);
        Assert.Null(told.RosterProblem);
        var fields = told.Fields.ToDictionary(f => f.Field);
        Assert.Contains("mrs. reed", fields["firstName"].Origin, StringComparison.Ordinal);
        Assert.Equal(("Ada", "will become Ada"), (fields["firstName"].RosterSays, fields["firstName"].Next));
        Assert.Equal("will become King", fields["lastName"].Next);
        Assert.Equal((run.Id, "stays"), (fields["phone"].OperationId, fields["phone"].Next));
        Assert.StartsWith($"ClassLink Full Sync #{run.Id}, ", fields["phone"].Origin, StringComparison.Ordinal);
        Assert.Equal("stays: blank in the roster", fields["email"].Next);
        Assert.Equal("identifier", fields["communityId"].Source);
        Assert.Null(fields["notes"].Source);

        await system.Patrons.EditAsync(system.District.Id, patron.Barcode, [new("keptFields", "1006")], "mrs. reed");
        Assert.Equal("both: leavers and returns only", fields["status"].Policy);
        fields = (await explain.ExplainAsync(system.District, patron.Barcode, askRoster: true)).Fields.ToDictionary(f => f.Field);
        Assert.Equal(
            ("library keeps, for this patron", "stays, though the roster differs"),
            (fields["lastName"].Policy, fields["lastName"].Next)
        );

        // Nobody who left is marked any more: for all, or for this patron.
        await system.ConfigureAsync(s => SettingsChange.Field(s, "status", "library", null));
        Assert.Equal("library keeps", await StatusAsync());
        await system.Patrons.EditAsync(system.District.Id, patron.Barcode, [new("keptFields", "1006,status")], "mrs. reed");
        await system.ConfigureAsync(s => SettingsChange.Field(s, "status", "roster", null));
        Assert.Equal("library keeps, for this patron", await StatusAsync());
        var never = Assert.Throws<RollcallException>(() => SettingsChange.Field(new IntegrationSettings(), "status", "fill", null));
        Assert.Contains("never empty", never.Message, StringComparison.Ordinal);
        async Task<string?> StatusAsync() =>
            (await explain.ExplainAsync(system.District, patron.Barcode, askRoster: true)).Fields.Single(f => f.Field == "status").Policy;

        system.Sandbox.Overrides.Remove("users", "p1");
        system.Sandbox.Person("p2", "Ben", "Carver");
        told = await explain.ExplainAsync(system.District, patron.Barcode, askRoster: true);
        Assert.Contains("nobody with this GUID", told.RosterProblem, StringComparison.Ordinal);
    }

    /// <summary>A server that gives nobody by id has everybody in its list.</summary>
    [Fact]
    public async Task One_person_is_found_where_people_are_not_given_one_by_one()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Sqlite, new SandboxOptions { Students = 40, Schools = 2 });
        system.Sandbox.OnlyMine();
        system.Sandbox.Person("m", "Mum", "Byron", role: "parent", phone: "1");
        system.Sandbox.Person("p1", "Ada", "Byron", agents: ["m", "nobody"]);
        await system.SyncAsync();
        system.Sandbox.Person("p1", "Augusta", "Byron", agents: ["m", "nobody"]);
        system.Sandbox.Person("m", "Mum", "Byron", role: "parent", phone: "2");
        system.Sandbox.Faults.Set("404:users/{id}");
        var explain = system.Get<PatronExplain>();
        var barcode = (await system.PatronsByGuidAsync())["p1"].Barcode;
        var told = await explain.ExplainAsync(system.District, barcode, askRoster: true);
        Assert.Null(told.RosterProblem);
        Assert.Equal("Augusta", told.Fields.Single(f => f.Field == "firstName").RosterSays);
        Assert.Equal("Mum Byron 2", told.Fields.Single(f => f.Field == "additionalContact").RosterSays);
    }

    /// <summary>What is said to come is what then comes.</summary>
    [Theory]
    [InlineData(Db.Sqlite, "taken barcode")]
    [InlineData(Db.Postgres, "taken barcode")]
    [InlineData(Db.Sqlite, "bare tombstone")]
    [InlineData(Db.Postgres, "bare tombstone")]
    [InlineData(Db.Sqlite, "other record")]
    [InlineData(Db.Postgres, "other record")]
    public async Task An_explanation_says_what_the_next_full_sync_does(Db db, string what)
    {
        await using var system = await StartAsync(db);
        await system.ConfigureAsync(s => s with { Map = s.Map with { Barcode = new IdMapping(IdSource.UserIdType, "Card") } });
        system.Sandbox.Person("p1", "Ada", "Byron", phone: "1", barcode: "C-1");
        system.Sandbox.Person("p2", "Ada", "Byron", phone: "2", barcode: "C-2");
        system.Sandbox.Person("p3", "Ben", "Carver", barcode: "C-3");
        await system.SyncAsync();
        await system.Get<PatronMerge>().MergeAsync(system.District.Id, "C-1", "C-2", "librarian");
        await system.SyncAsync();
        switch (what)
        {
            case "taken barcode":
                system.Sandbox.Person("p1", "Ada", "Byron", phone: "1", barcode: "C-3");
                break;
            case "bare tombstone":
                foreach (var id in (string[])["p1", "p2"])
                {
                    system.Sandbox.Overrides.Put(
                        "users",
                        new System.Text.Json.Nodes.JsonObject { ["sourcedId"] = id, ["status"] = "tobedeleted" }
                    );
                }

                break;
            default:
                system.Sandbox.Person("p1", "Ada", "Byron", phone: "1", barcode: "C-1", status: "tobedeleted");
                break;
        }

        var told = await system.Get<PatronExplain>().ExplainAsync(system.District, "C-1", askRoster: true);
        Assert.Null(told.RosterProblem);
        var next = told.Fields.ToDictionary(f => f.Field, f => f.Next);
        await system.SyncAsync();
        var patron = (await system.PatronsByGuidAsync())["p1"];
        switch (what)
        {
            case "taken barcode":
                Assert.Equal(("stays while another patron has the roster's", "C-1"), (next["barcode"], patron.Barcode));
                break;
            case "bare tombstone":
                Assert.Equal(("will become Transferred", PatronStatus.Transferred), (next["status"], patron.Status));
                break;
            default:
                Assert.Equal(("stays", "will become 2"), (next["status"], next["phone"]));
                Assert.Equal((PatronStatus.Active, "2"), (patron.Status, patron.Phone));
                break;
        }
    }

    internal static async Task<Operation> RunAsync(Installation system, string person, bool preview = false, bool fails = false)
    {
        var (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.PersonSync,
            IntegrationKind.ClassLink,
            preview,
            "test",
            PersonOptions.For(person)
        );
        var ended = await system.Follower.RunAsync(system.District.Id, id, null, CancellationToken.None);
        Assert.Equal(fails, ended.Error is not null);
        return ended;
    }

    private async Task<Installation> StartAsync(Db db)
    {
        var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) } });
        return system;
    }
}
