using System.Text.Json.Nodes;
using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Sandbox;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>Changes syncs beside full ones: what they bring, what they leave to the next full one, and what forces one.</summary>
public sealed class ChangesTests(PostgresCluster cluster)
{
    private static readonly DateOnly s_start = new(2026, 10, 1);

    [Theory]
    [InlineData(Db.Sqlite, LocationSource.TeacherName, 1)]
    [InlineData(Db.Postgres, LocationSource.ClassCode, 2)]
    [InlineData(Db.Sqlite, LocationSource.NotMapped, 3)]
    [InlineData(Db.Postgres, LocationSource.TeacherName, 3)]
    [InlineData(Db.Postgres, LocationSource.NotMapped, 1)]
    [InlineData(Db.Sqlite, LocationSource.TeacherName, 2)]
    public async Task A_full_sync_after_changes_syncs_equals_a_full_one_alone(Db db, LocationSource location, int seed)
    {
        var clock = new ShiftedTime(At(0));
        await using var changes = await StartAsync(db, clock, location, seed);
        await using var full = await StartAsync(Db.Sqlite, clock, location, seed);
        var first = await changes.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal(OperationKind.FullSync, first.Kind);
        Assert.Contains("this is the first sync", first.Options, StringComparison.Ordinal);
        await full.SyncAsync();
        await MergePairsAsync(changes);
        await MergePairsAsync(full);
        var seen = 0L;
        var ofChanges = 0;
        for (var day = 1; day <= 8; day++)
        {
            clock.MoveTo(At(day));
            changes.Sandbox.SetDay(day);
            full.Sandbox.SetDay(day);
            changes.Sandbox.ClearRequests();
            var operation = await changes.SyncAsync(kind: OperationKind.ChangesSync);
            Assert.Null(operation.Error);
            var counts = OperationQueue.CountsOf(operation);
            Assert.True(counts.AddUp, operation.Counts);
            if (operation.Kind == OperationKind.ChangesSync)
            {
                ofChanges++;
                Assert.DoesNotContain(changes.Sandbox.Requests, IsWhole);
                Assert.True(counts.Read < 100, operation.Counts);
                Assert.Equal(0, counts.Absent);
            }

            seen += counts.Created + counts.Updated + counts.Transferred + counts.Reactivated;
            await full.SyncAsync();
            await WorkAsync(changes, day);
            await WorkAsync(full, day);
        }

        Assert.True(ofChanges >= 3, $"{ofChanges}");
        Assert.True(seen > 20, $"{seen}");
        await changes.SyncAsync();
        await full.SyncAsync();
        Assert.Equal(await WithoutBarcodesAsync(full), await WithoutBarcodesAsync(changes));
    }

    /// <summary>Records are dated by the server's clock: what changes right after a sync is dated before it where that clock is behind.</summary>
    [Fact]
    public async Task What_is_asked_for_counts_from_the_servers_clock_where_it_is_behind()
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(Db.Sqlite, clock, LocationSource.NotMapped);
        system.Sandbox.Faults.Set("clock-behind=180");
        var began = clock.GetUtcNow();
        Assert.Null((await system.SyncAsync()).Error);
        system.Sandbox.ClearRequests();
        var changes = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal(OperationKind.ChangesSync, changes.Kind);
        var asked = Uri.UnescapeDataString(system.Sandbox.Requests.First(r => r.Collection == "users").Query);
        var from = DateTimeOffset.Parse(asked.Split('\'')[1], System.Globalization.CultureInfo.InvariantCulture);
        Assert.InRange(began - from, TimeSpan.FromMinutes(180 + 14), TimeSpan.FromMinutes(180 + 16));
    }

    [Fact]
    public async Task People_whose_surroundings_changed_come_along()
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(Db.Sqlite, clock, LocationSource.TeacherName);
        await system.SyncAsync();
        clock.MoveTo(At(1));
        var patrons = await system.PatronsByGuidAsync();
        await using var context = system.Database.CreateContext();
        var student = patrons.Values.First(p =>
            p.Location is not null && p.AdditionalContact is not null && p.Birthdate is not null && p.Status == PatronStatus.Active
        );
        var link = context.PatronLinks.Single(l => l.PatronId == student.Id);
        var guardian = link.Guardians!.Split('\n')[0];
        Now("users", guardian, u => u["phone"] = "555-CHANGED");
        Now("demographics", student.Guid!, d => d["birthDate"] = "2012-02-03");
        Now("classes", link.HomeroomClass!, c => c["title"] = "Renamed class");
        var teacher = patrons.Values.First(p => $"{p.LastName}, {p.FirstName}" == student.Location);
        Now("users", teacher.Guid!, u => u["familyName"] = "Newname");

        var (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.ChangesSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test"
        );
        var said = new List<string?>();
        var operation = await system.Follower.RunAsync(system.District.Id, id, (_, text, _, _) => said.Add(text), CancellationToken.None);
        Assert.Null(operation.Error);
        Assert.Equal(OperationKind.ChangesSync, operation.Kind);

        // What takes a large district its time is called by its name.
        Assert.Equal(
            ["Reading academic sessions", "Putting homerooms together", "Looking up whom changes concern"],
            said.Distinct().SkipWhile(t => t != "Reading academic sessions").Take(3)
        );
        var after = (await system.PatronsByGuidAsync())[student.Guid!];
        Assert.Contains("555-CHANGED", after.AdditionalContact, StringComparison.Ordinal);
        Assert.Equal(new DateOnly(2012, 2, 3), after.Birthdate);
        Assert.StartsWith("Newname, ", after.Location, StringComparison.Ordinal);
        var versions = (await system.AllPatronsAsync()).ToDictionary(p => p.Id, p => p.Version);
        var full = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((0, 0, 0), (full.Updated, full.Created, full.Transferred));
        Assert.Equal(versions, (await system.AllPatronsAsync()).ToDictionary(p => p.Id, p => p.Version));

        void Now(string collection, string id, Action<System.Text.Json.Nodes.JsonObject> change) =>
            system.Sandbox.Overrides.Change(
                collection,
                id,
                row =>
                {
                    change(row);
                    row["dateLastModified"] = Modified(1);
                }
            );
    }

    [Fact]
    public async Task A_teacher_or_class_that_changes_elsewhere_concerns_no_student()
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(Db.Sqlite, clock, LocationSource.TeacherName);
        await system.SyncAsync();
        clock.MoveTo(At(1));
        await using var context = system.Database.CreateContext();
        var student = (await system.PatronsByGuidAsync()).Values.First(p => p.Location is not null && p.Status == PatronStatus.Active);
        var homeroom = context.PatronLinks.Single(l => l.PatronId == student.Id).HomeroomClass!;
        var teacher = (await system.PatronsByGuidAsync()).Values.First(p => $"{p.LastName}, {p.FirstName}" == student.Location);
        var modified = Modified(1);
        system.Sandbox.Overrides.Change(
            "users",
            teacher.Guid!,
            u =>
            {
                u["email"] = "new@school.example";
                u["dateLastModified"] = modified;
            }
        );
        system.Sandbox.Overrides.Change(
            "classes",
            homeroom,
            c =>
            {
                c["title"] = "Another title";
                c["dateLastModified"] = modified;
            }
        );
        var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Null(operation.Error);
        Assert.Equal(OperationKind.ChangesSync, operation.Kind);
        var counts = OperationQueue.CountsOf(operation);
        Assert.Equal((1, 1), (counts.Read, counts.Updated));
        var full = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((0, 0, 0), (full.Updated, full.Created, full.Transferred));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_student_who_changes_homerooms_concerns_no_classmate(bool bareTombstone)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(Db.Sqlite, clock, LocationSource.ClassTitle);
        await system.SyncAsync();
        clock.MoveTo(At(1));
        var patrons = await system.PatronsByGuidAsync();
        await using var context = system.Database.CreateContext();
        var homerooms = context.PatronLinks.Where(l => l.HomeroomClass != null).ToList().GroupBy(l => l.HomeroomClass!).ToList();
        var (from, to) = (homerooms[0], homerooms.First(h => h.Key != homerooms[0].Key));
        var mover = patrons.Values.Single(p => p.Id == from.First().PatronId);
        var classmates = to.Concat(from.Skip(1)).Count();
        Assert.True(classmates > 5, $"{classmates}");

        var old = await EnrollmentAsync(system, mover.Guid!, from.Key);
        var modified = Modified(1);
        var row = system.Sandbox.Overrides.Read("enrollments", old)!;
        row["sourcedId"] = "moved";
        row["class"]!["sourcedId"] = to.Key;
        row["dateLastModified"] = modified;
        system.Sandbox.Overrides.Put("enrollments", row);
        system.Sandbox.Overrides.Change(
            "enrollments",
            old,
            e =>
            {
                e["status"] = "tobedeleted";
                e["dateLastModified"] = modified;
                if (bareTombstone)
                {
                    e.Remove("class");
                    e.Remove("user");
                    e.Remove("role");
                }
            }
        );

        var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Null(operation.Error);
        Assert.Equal(OperationKind.ChangesSync, operation.Kind);
        var counts = OperationQueue.CountsOf(operation);
        Assert.Equal((1, 1), (counts.Read, counts.Updated));
        var classmate = patrons.Values.Single(p => p.Id == to.First().PatronId);
        Assert.Equal(classmate.Location, (await system.PatronsByGuidAsync())[mover.Guid!].Location);
        var full = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((0, 0, 0), (full.Updated, full.Created, full.Transferred));
    }

    private static async Task<string> EnrollmentAsync(Installation system, string user, string homeroom)
    {
        using var source = await system.Integrations.OpenAsync(
            system.District.Id,
            IntegrationKind.ClassLink,
            TestContext.Current.CancellationToken
        );
        await foreach (var page in source.Enrollments().ReadAsync())
        {
            if (page.Records.FirstOrDefault(e => e.User == user && e.Class == homeroom) is { SourcedId: { } id })
            {
                return id;
            }
        }

        throw new InvalidOperationException($"{user} is not in {homeroom}.");
    }

    [Fact]
    public async Task What_only_a_whole_roster_can_tell_waits_for_the_next_full_sync()
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(Db.Sqlite, clock, LocationSource.NotMapped);
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) } });
        system.Sandbox.Person("p1", "Ada", "Byron", number: "1");
        await system.SyncAsync();
        await system.ImportAsync("barcode,lastName,firstName,email,site\nOLD001,Carver,Ben,ben@example.org,S1\n");
        clock.MoveTo(At(1));
        system.Sandbox.Person("p2", "Ada", "Byron", number: "1");
        system.Sandbox.Person("p3", "Ben", "Carver", email: "ben@example.org");
        system.Sandbox.Person("p4", "Cleo", "Dunn", email: "cleo@example.org");
        foreach (var id in (string[])["p2", "p3", "p4"])
        {
            system.Sandbox.Overrides.Change("users", id, u => u["dateLastModified"] = "2026-10-02T03:00:00.000Z");
        }

        system.Sandbox.Overrides.Remove("users", "p1");
        var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Null(operation.Error);
        var counts = OperationQueue.CountsOf(operation);
        Assert.Equal((3, 1, 2, 0, 0), (counts.Read, counts.Created, counts.Skipped, counts.Absent, counts.Review));
        Assert.Equal(3, (await system.AllPatronsAsync()).Count);

        counts = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((0, 0), (counts.Created, counts.Transferred));
        Assert.Equal(["p2", "p3", "p4"], (await system.PatronsByGuidAsync()).Keys.Order());
    }

    /// <summary>An id that is deleted may have been re-issued: who goes on under another one is no leaver, and a whole roster tells.</summary>
    [Theory]
    [InlineData(Db.Sqlite, "p1", "p2", "1", null)]
    [InlineData(Db.Postgres, "p1", "p2", "1", null)]
    [InlineData(Db.Sqlite, "p9", "p2", "1", null)]
    [InlineData(Db.Sqlite, "p1", "p2", null, "ada@example.org")]
    [InlineData(Db.Postgres, "p1", "p2", null, "ada@example.org")]
    [InlineData(Db.Sqlite, "p9", "p2", null, "ada@example.org")]
    [InlineData(Db.Sqlite, "p1", "p2", null, "ada@example.org", true)]
    [InlineData(Db.Postgres, "p9", "p2", null, "ada@example.org", true)]
    public async Task Whose_id_may_have_been_reissued_is_transferred_by_no_changes_sync(
        Db db,
        string old,
        string now,
        string? number,
        string? email,
        bool relative = false
    )
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(db, clock, LocationSource.NotMapped);
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) } });
        system.Sandbox.Person(old, "Ada", "Byron", number: number, email: email);
        system.Sandbox.Person("p3", "Ben", "Carver", number: "3");
        await system.SyncAsync();
        if (relative)
        {
            // Somebody else of the address is nobody's yet.
            await system.ImportAsync($"barcode,lastName,firstName,email,site\nOLD001,Milbanke,Anne,{email},S1\n");
        }

        clock.MoveTo(At(1));
        system.Sandbox.Person(old, "Ada", "Byron", number: number, email: email, status: "tobedeleted", modified: Modified(1));
        system.Sandbox.Person(now, "Ada", "Byron", number: number, email: email, modified: Modified(1));
        system.Sandbox.Person("p3", "Ben", "Carver", number: "3", status: "tobedeleted", modified: Modified(1));
        var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal((OperationKind.ChangesSync, null), (operation.Kind, operation.Error));
        var counts = OperationQueue.CountsOf(operation);
        Assert.Equal((3, 2, 1), (counts.Read, counts.Skipped, counts.Transferred));
        var patrons = await system.PatronsByGuidAsync();
        Assert.Equal((PatronStatus.Active, PatronStatus.Transferred), (patrons[old].Status, patrons["p3"].Status));

        operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal(OperationKind.FullSync, operation.Kind);
        counts = OperationQueue.CountsOf(operation);
        Assert.Equal((0, 0, 0), (counts.Created, counts.Transferred, counts.Review));
        patrons = await system.PatronsByGuidAsync();
        Assert.Equal(PatronStatus.Active, patrons[now].Status);
        Assert.Equal(["p2", "p3"], patrons.Keys.Order());
    }

    /// <summary>A SIS that moves sends new ids once and clears the old ones away: no later sync of changes hears of it.</summary>
    [Theory]
    [InlineData(Db.Sqlite, "number")]
    [InlineData(Db.Postgres, "number")]
    [InlineData(Db.Sqlite, "email")]
    [InlineData(Db.Sqlite, "email of a file")]
    [InlineData(Db.Postgres, "former id")]
    public async Task Who_waits_for_a_full_sync_brings_one(Db db, string how)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(db, clock, LocationSource.NotMapped);
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) } });
        var (number, email) = how is "number" or "former id" ? ("1", null) : ((string?)null, "ada@example.org");
        var isLinked = how is "number" or "email";
        if (isLinked)
        {
            system.Sandbox.Person("p1", "Ada", "Byron", number: number, email: email);
        }
        else
        {
            await system.ImportAsync(
                $"barcode,lastName,firstName,communityId,email,site,guid\nOLD001,Byron,Ada,{number},{email},S1,{(how == "former id" ? "f1" : "")}\n"
            );
        }

        system.Sandbox.Person("p3", "Ben", "Carver", number: "3");
        await system.SyncAsync();
        clock.MoveTo(At(1));
        system.Sandbox.Overrides.Remove("users", "p1");
        system.Sandbox.Person("p2", "Ada", "Byron", number: number, email: email, modified: Modified(1));
        var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal((OperationKind.ChangesSync, null), (operation.Kind, operation.Error));
        var counts = OperationQueue.CountsOf(operation);
        Assert.Equal((1, 1), (counts.Read, counts.Skipped));
        Assert.Equal("S1", Assert.Single(await system.LogAsync(operation.Id)).Site);
        operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal((OperationKind.FullSync, null), (operation.Kind, operation.Error));
        Assert.Equal(2, (await system.AllPatronsAsync()).Count);
        Assert.Equal(PatronStatus.Active, (await system.PatronsByGuidAsync())["p2"].Status);
        Assert.Equal(OperationKind.ChangesSync, (await system.SyncAsync(kind: OperationKind.ChangesSync)).Kind);
    }

    /// <summary>Who else could be the same patron, or the same person, need not have changed today.</summary>
    [Theory]
    [InlineData(Db.Sqlite, "asked")]
    [InlineData(Db.Postgres, "asked")]
    [InlineData(Db.Sqlite, "alike")]
    [InlineData(Db.Postgres, "alike")]
    [InlineData(Db.Sqlite, "kept")]
    [InlineData(Db.Postgres, "kept")]
    public async Task Whom_others_could_be_too_waits_for_a_full_sync_which_comes_next(Db db, string how)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(db, clock, LocationSource.NotMapped);
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) } });
        await system.ImportAsync("barcode,lastName,firstName,communityId,site\nOLD001,Carver,Ben,5,S1\n");
        system.Sandbox.Person("linked", "Ada", "Byron", number: "77");
        if (how == "asked")
        {
            system.Sandbox.Person("x1", "Ben", "Carver", number: "5");
            system.Sandbox.Person("x2", "Bob", "Carver", number: "5");
        }

        var first = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((1, how == "asked" ? 2 : 0), (first.Created, first.Review));
        if (how == "kept")
        {
            // The library has its own number for her, and for nobody else.
            var patron = (await system.PatronsByGuidAsync())["linked"];
            await system.Patrons.EditAsync(
                system.District.Id,
                patron.Barcode,
                [new("communityId", "own"), new("keptFields", "communityId")],
                "test"
            );
            await system.SyncAsync();
        }

        clock.MoveTo(At(1));
        switch (how)
        {
            case "asked":
                system.Sandbox.Person("x3", "Ben", "Carver", number: "5", modified: Modified(1));
                break;
            case "alike":
                system.Sandbox.Person("y1", "Cleo", "Dunn", number: "9", modified: Modified(1));
                system.Sandbox.Person("y2", "Cleo", "Dunn", number: "9", modified: Modified(1));
                break;
            default:
                system.Sandbox.Person("z1", "Ada", "Byron", number: "77", modified: Modified(1));
                break;
        }

        var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal((OperationKind.ChangesSync, null), (operation.Kind, operation.Error));
        var counts = OperationQueue.CountsOf(operation);
        Assert.Equal((how == "alike" ? 1 : 0, 1), (counts.Created, counts.Skipped));
        Assert.Equal(how == "alike" ? 3 : 2, (await system.AllPatronsAsync()).Count);

        operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal(OperationKind.FullSync, operation.Kind);
        counts = OperationQueue.CountsOf(operation);
        Assert.Equal((0, how == "asked" ? 3 : 1), (counts.Created, counts.Review));
    }

    /// <summary>What a service has known of somebody for long comes with them when they are new here, or back.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task New_people_come_with_demographics_that_are_older_than_the_last_sync(Db db)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(db, clock, LocationSource.NotMapped);
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) } });
        await system.ImportAsync("barcode,lastName,firstName,communityId,site\nOLD001,Carver,Ben,5,S1\n");
        system.Sandbox.Person("p1", "Ada", "Byron");
        system.Sandbox.Person("back", "Eve", "Ellis", status: "tobedeleted");
        await system.SyncAsync();

        clock.MoveTo(At(1));
        Born("p1");
        Born("p2");
        Born("p3");
        system.Sandbox.Person("p1", "Adah", "Byron", modified: Modified(1));
        system.Sandbox.Person("p2", "Ben", "Carver", number: "5", modified: Modified(1));
        system.Sandbox.Person("p3", "Cleo", "Dunn", modified: Modified(1));
        system.Sandbox.Person("p4", "Dan", "Evans", modified: Modified(1));
        system.Sandbox.Person("p5", "Mum", "Evans", role: "parent", modified: Modified(1));
        system.Sandbox.ClearRequests();
        var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal((OperationKind.ChangesSync, null), (operation.Kind, operation.Error));
        Assert.Equal(
            ["p2", "p3", "p4"],
            system
                .Sandbox.Requests.Where(r => r.Path.Contains("/demographics/", StringComparison.Ordinal))
                .Select(r => r.Path[(r.Path.LastIndexOf('/') + 1)..])
                .Order(StringComparer.Ordinal)
        );
        var patrons = await system.PatronsByGuidAsync();
        var born = new DateOnly(2014, 3, 2);
        Assert.Equal(
            [(null, "Adah"), (born, "Ben"), (born, "Cleo"), (null, "Dan")],
            ((string[])["p1", "p2", "p3", "p4"]).Select(i => (patrons[i].Birthdate, patrons[i].FirstName))
        );
        Assert.Equal("OLD001", patrons["p2"].Barcode);

        // More than may be asked for one by one are read with all others.
        clock.MoveTo(At(2));
        for (var i = 0; i < 51; i++)
        {
            system.Sandbox.Person($"q{i}", "Quinn", $"Name{i}", modified: Modified(2));
        }

        operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal((OperationKind.FullSync, null), (operation.Kind, operation.Error));
        Assert.Contains("51 people would have to be read one by one", operation.Options, StringComparison.Ordinal);

        void Born(string id) =>
            system.Sandbox.Overrides.Put(
                "demographics",
                new System.Text.Json.Nodes.JsonObject
                {
                    ["sourcedId"] = id,
                    ["status"] = "active",
                    ["dateLastModified"] = "2026-01-01T00:00:00.000Z",
                    ["birthDate"] = "2014-03-02",
                    ["sex"] = "female",
                }
            );
    }

    /// <summary>Whoever had left for the library is not among those whose demographics are kept up: they come with them when they come back.</summary>
    [Theory]
    [InlineData(Db.Sqlite, "deleted")]
    [InlineData(Db.Postgres, "deleted")]
    [InlineData(Db.Sqlite, "gone")]
    [InlineData(Db.Postgres, "gone")]
    public async Task Whoever_comes_back_comes_with_what_demographics_became_meanwhile(Db db, string how)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(db, clock, LocationSource.NotMapped);
        system.Sandbox.OnlyMine();
        for (var i = 1; i <= 8; i++)
        {
            system.Sandbox.Person($"p{i}", "Pat", $"Person{i}");
            Born($"p{i}", "2014-03-02", "2026-01-01T00:00:00.000Z");
        }

        await system.SyncAsync();
        clock.MoveTo(At(1));
        if (how == "gone")
        {
            system.Sandbox.Overrides.Remove("users", "p1");
            system.Sandbox.Overrides.Remove("demographics", "p1");
        }
        else
        {
            system.Sandbox.Person("p1", "Pat", "Person1", status: "tobedeleted", modified: Modified(1));
        }

        Assert.Equal(1, OperationQueue.CountsOf(await system.SyncAsync()).Transferred);

        // What is corrected while nobody asks is older than the last sync when somebody does.
        clock.MoveTo(At(2));
        Assert.Null((await system.SyncAsync()).Error);
        clock.MoveTo(At(3));
        system.Sandbox.Overrides.Restore("users", ["p1"]);
        system.Sandbox.Overrides.Restore("demographics", ["p1"]);
        Born("p1", "2014-03-20", "2026-01-02T00:00:00.000Z");
        system.Sandbox.Person("p1", "Pat", "Person1", modified: Modified(3));
        system.Sandbox.ClearRequests();
        var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal((OperationKind.ChangesSync, null), (operation.Kind, operation.Error));
        Assert.Equal(1, OperationQueue.CountsOf(operation).Reactivated);
        Assert.Equal(
            ["p1"],
            system
                .Sandbox.Requests.Where(r => r.Path.Contains("/demographics/", StringComparison.Ordinal))
                .Select(r => r.Path[(r.Path.LastIndexOf('/') + 1)..])
        );
        var back = (await system.PatronsByGuidAsync())["p1"];
        Assert.Equal((PatronStatus.Active, new DateOnly(2014, 3, 20)), (back.Status, back.Birthdate));

        void Born(string id, string date, string modified) =>
            system.Sandbox.Overrides.Put(
                "demographics",
                new System.Text.Json.Nodes.JsonObject
                {
                    ["sourcedId"] = id,
                    ["status"] = "active",
                    ["dateLastModified"] = modified,
                    ["birthDate"] = date,
                    ["sex"] = "female",
                }
            );
    }

    /// <summary>Of people whom the library will never have nothing is asked, however many of them change.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Nothing_is_asked_about_people_of_unmatched_schools_or_whom_somebody_ignores(Db db)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(db, clock, LocationSource.NotMapped);
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) } });
        await system.ImportAsync("barcode,lastName,firstName,email,site\nOLD001,Carver,Ben,ben@example.org,S1\n");
        system.Sandbox.Person("p1", "Ada", "Byron");
        system.Sandbox.Person("other", "Bert", "Dunn", email: "ben@example.org");
        await system.SyncAsync();
        var waits = Assert.Single(await system.Get<ReviewService>().ListAsync(system.District.Id));
        await system.Get<ReviewDecisions>().IgnoreAsync(system.District.Id, waits.Id, "librarian");

        clock.MoveTo(At(1));
        system.Sandbox.Person("other", "Bert", "Dunn", email: "ben@example.org", modified: Modified(1));
        system.Sandbox.Person("p2", "Cleo", "Evans", modified: Modified(1));
        for (var i = 0; i < 60; i++)
        {
            system.Sandbox.Person($"q{i}", "Quinn", $"Name{i}", orgs: ["nowhere"], modified: Modified(1));
        }

        system.Sandbox.ClearRequests();
        var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal((OperationKind.ChangesSync, null), (operation.Kind, operation.Error));
        Assert.Equal((1, 61), (OperationQueue.CountsOf(operation).Created, OperationQueue.CountsOf(operation).Skipped));
        Assert.EndsWith(
            "/demographics/p2",
            Assert.Single(system.Sandbox.Requests, r => r.Path.Contains("/demographics/", StringComparison.Ordinal)).Path,
            StringComparison.Ordinal
        );
    }

    public static TheoryData<Db, string, string> OtherRecords()
    {
        var cases = new TheoryData<Db, string, string>();
        foreach (var how in (string[])["changes", "barcode", "p1", "p2"])
        {
            foreach (var what in (string[])["p2 changes", "p2 is deleted", "p1 is deleted", "p1 is a bare tombstone", "p1 is gone", "both"])
            {
                cases.Add(Db.Sqlite, how, what);
            }

            cases.Add(Db.Postgres, how, "p2 changes");
            cases.Add(Db.Postgres, how, "p1 is deleted");
        }

        return cases;
    }

    /// <summary>Some people have a record for each school: whichever of them is read, it is one person, of whom a whole roster says the same.</summary>
    [Theory]
    [MemberData(nameof(OtherRecords))]
    public async Task One_of_two_records_of_a_person_does_what_a_full_sync_does(Db db, string how, string what)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(db, clock, LocationSource.NotMapped);
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) } });
        string[] elsewhere = [system.Sandbox.District.Schools.ElementAt(1).SourcedId];
        system.Sandbox.Person("p1", "Ada", "Byron", number: "77", phone: "1");
        system.Sandbox.Person("x1", "Ben", "Carver", phone: "1");
        await system.SyncAsync();
        system.Sandbox.Person("p2", "Ada", "Byron", number: "77", phone: "2", orgs: elsewhere);
        await system.SyncAsync();
        var item = Assert.Single(await system.Get<ReviewService>().ListAsync(system.District.Id));
        await system.Get<ReviewDecisions>().LinkAsync(system.District.Id, item.Id, item.Candidates[0], "librarian");
        await system.SyncAsync();
        clock.MoveTo(At(1));
        var modified = Modified(1);
        var status = what is "p2 is deleted" or "both" ? "tobedeleted" : "active";
        if (what is "p2 changes" or "p2 is deleted" or "both" or "p1 is gone")
        {
            system.Sandbox.Person("p2", "Ada", "Byron", "77", phone: "3", status: status, orgs: elsewhere, modified: modified);
        }

        if (what is "p1 is deleted" or "both")
        {
            system.Sandbox.Person("p1", "Ada", "Byron", number: "77", phone: "1", status: "tobedeleted", modified: modified);
        }
        else if (what == "p1 is gone")
        {
            system.Sandbox.Overrides.Remove("users", "p1");
        }
        else if (what == "p1 is a bare tombstone")
        {
            system.Sandbox.Overrides.Put(
                "users",
                new System.Text.Json.Nodes.JsonObject
                {
                    ["sourcedId"] = "p1",
                    ["status"] = "tobedeleted",
                    ["dateLastModified"] = modified,
                }
            );
        }

        var barcode = (await system.PatronsByGuidAsync())["p1"].Barcode;
        var operation =
            how == "changes"
                ? await system.SyncAsync(kind: OperationKind.ChangesSync)
                : await PersonTests.RunAsync(system, how == "barcode" ? barcode : how);
        Assert.Null(operation.Error);
        Assert.Equal(how == "changes" ? OperationKind.ChangesSync : OperationKind.PersonSync, operation.Kind);
        var patron = (await system.PatronsByGuidAsync())["p1"];
        Assert.Equal(
            what switch
            {
                "p2 changes" or "p2 is deleted" => (PatronStatus.Active, "1", 1),
                "p1 is gone" => (PatronStatus.Active, "3", 2),
                "both" => (PatronStatus.Transferred, "1", 1),
                _ => (PatronStatus.Active, "2", 2),
            },
            (patron.Status, patron.Phone, patron.SiteId)
        );

        var picture = await UndoTests.PictureAsync(system);
        var full = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((0, 0, 0, 0), (full.Updated, full.Created, full.Transferred, full.Reactivated));
        Assert.Equal(picture, await UndoTests.PictureAsync(system));
    }

    /// <summary>Who has another record at a school of the library has not left all schools.</summary>
    [Theory]
    [InlineData(Db.Sqlite, "full")]
    [InlineData(Db.Postgres, "changes")]
    [InlineData(Db.Sqlite, "p1")]
    [InlineData(Db.Sqlite, "p2")]
    public async Task Of_two_records_the_one_at_a_matched_school_counts(Db db, string how)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(db, clock, LocationSource.NotMapped);
        system.Sandbox.OnlyMine();
        string[] elsewhere = [system.Sandbox.District.Schools.ElementAt(1).SourcedId];
        system.Sandbox.Person("p1", "Ada", "Byron", phone: "1");
        system.Sandbox.Person("p2", "Ada", "Byron", phone: "2", orgs: elsewhere);
        system.Sandbox.Person("x1", "Ben", "Carver");
        await system.SyncAsync();
        var patrons = await system.PatronsByGuidAsync();
        await system.Get<PatronMerge>().MergeAsync(system.District.Id, patrons["p1"].Barcode, patrons["p2"].Barcode, "librarian");
        await system.SyncAsync();
        clock.MoveTo(At(1));
        system.Sandbox.Person("p1", "Ada", "Byron", phone: "1", orgs: ["nowhere"], modified: Modified(1));
        var operation = how switch
        {
            "full" => await system.SyncAsync(),
            "changes" => await system.SyncAsync(kind: OperationKind.ChangesSync),
            _ => await PersonTests.RunAsync(system, how),
        };
        Assert.Null(operation.Error);
        var patron = (await system.PatronsByGuidAsync())["p1"];
        Assert.Equal((PatronStatus.Active, "2", 2), (patron.Status, patron.Phone, patron.SiteId));
        Assert.Equal(0, OperationQueue.CountsOf(await system.SyncAsync()).Updated);
    }

    [Fact]
    public async Task Settings_an_undo_a_discard_and_a_week_force_a_full_sync()
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(Db.Sqlite, clock, LocationSource.NotMapped);
        await system.SyncAsync();
        await KindAsync(OperationKind.ChangesSync, null);
        await system.ConfigureAsync(s => s with { Roles = [RoleGroup.Student, RoleGroup.Teacher] });
        await KindAsync(OperationKind.FullSync, "settings changed");
        await KindAsync(OperationKind.ChangesSync, null);

        var someone = system.Sandbox.District.People.First(p =>
            p.Group == SandboxRoleGroup.Student && p.Presence == SandboxPresence.Present
        );
        system.Sandbox.Overrides.Change("users", someone.SourcedId, u => u["givenName"] = "Renamed");
        var run = await system.SyncAsync();
        await UndoTests.UndoAsync(system, run.Id);
        await KindAsync(OperationKind.FullSync, $"operation {run.Id} was undone");

        var gone = system.Sandbox.Overrides.RemoveShare(system.Sandbox.District.Schools.First().SourcedId, 0.6);
        var held = await system.SyncAsync();
        Assert.Equal(OperationStatus.NeedsApproval, held.Status);
        await KindAsync(OperationKind.ChangesSync, null);
        Assert.Equal(OperationStatus.NeedsApproval, (await system.Queue.GetAsync(system.District.Id, held.Id)).Status);
        await system.Queue.DiscardAsync(system.District.Id, held.Id, "test");
        system.Sandbox.Overrides.Restore("users", gone);
        await KindAsync(OperationKind.FullSync, $"operation {held.Id} was discarded");
        clock.MoveTo(At(8));
        await KindAsync(OperationKind.FullSync, "a week old");

        async Task KindAsync(OperationKind kind, string? because)
        {
            var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
            Assert.Null(operation.Error);
            Assert.Equal(kind, operation.Kind);
            if (because is not null)
            {
                Assert.Contains(because, operation.Options, StringComparison.Ordinal);
            }
        }
    }

    /// <summary>What begins at the same hour each night does not begin at the same second: seven days on is the day, not the moment.</summary>
    [Theory]
    [InlineData("UTC")]
    [InlineData("America/Los_Angeles")]
    public async Task A_week_ends_with_its_seventh_night(string zone)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(Db.Sqlite, clock, LocationSource.NotMapped);
        await system.Get<DistrictService>().SetTimeZoneAsync(system.District, zone, "test");
        await system.SyncAsync();
        foreach (var day in (int[])[1, 6])
        {
            clock.MoveTo(At(day));
            Assert.Equal(OperationKind.ChangesSync, (await system.SyncAsync(kind: OperationKind.ChangesSync)).Kind);
        }

        clock.MoveTo(At(7).AddMinutes(-1));
        var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal((OperationKind.FullSync, null), (operation.Kind, operation.Error));
        Assert.Contains("a week old", operation.Options, StringComparison.Ordinal);
    }

    /// <summary>No record changes on the day on which a role begins or ends.</summary>
    [Theory]
    [InlineData(Db.Sqlite, "UTC")]
    [InlineData(Db.Postgres, "America/Los_Angeles")]
    public async Task Roles_that_begin_or_end_by_the_calendar_need_no_week(Db db, string zone)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await Installation.StartAsync(
            cluster,
            db,
            new SandboxOptions
            {
                Students = 40,
                Schools = 2,
                Today = s_start,
                Api = SandboxApi.OneRoster12,
            },
            clock
        );
        await system.Get<DistrictService>().SetTimeZoneAsync(system.District, zone, "test");
        var people = system
            .Sandbox.District.People.Where(p => p is { Group: SandboxRoleGroup.Student, Presence: SandboxPresence.Present, Orgs.Count: 1 })
            .Where(p => p.Orgs[0] == system.Sandbox.District.Schools.First().SourcedId)
            .Select(p => p.SourcedId)
            .Order(StringComparer.Ordinal)
            .Take(5)
            .ToArray();
        var other = system.Sandbox.District.Schools.ElementAt(1).SourcedId;

        // The first one ends; the second begins; the third has another role that makes no difference; the fourth changes schools.
        Date(people[0], "endDate", 3);
        Date(people[1], "beginDate", 5);
        var more = system.Sandbox.Overrides.Read("users", people[2])!["roles"]![0]!.DeepClone();
        (more["roleType"], more["endDate"]) = ("secondary", Day(2));
        system.Sandbox.Overrides.Change("users", people[2], u => ((JsonArray)u["roles"]!).Add(more));
        Assert.Null((await system.SyncAsync()).Error);
        Assert.DoesNotContain(people[1], (await system.PatronsByGuidAsync()).Keys);
        await NightAsync(2, OperationKind.ChangesSync, null);
        await NightAsync(3, OperationKind.FullSync, Day(3));
        Assert.Equal(PatronStatus.Transferred, (await system.PatronsByGuidAsync())[people[0]].Status);

        // What a sync of changes reads of dates counts as well, and so does what an earlier one has read.
        Date(people[3], "endDate", 7);
        system.Sandbox.Overrides.Change("users", people[3], u => u["dateLastModified"] = Modified(4));
        await NightAsync(4, OperationKind.ChangesSync, null);
        await NightAsync(5, OperationKind.FullSync, Day(5));
        Assert.Contains(people[1], (await system.PatronsByGuidAsync()).Keys);
        await NightAsync(6, OperationKind.ChangesSync, null);
        var next = system.Sandbox.Overrides.Read("users", people[4])!["roles"]![0]!.DeepClone();
        (next["beginDate"], next["org"]!["sourcedId"]) = (Day(8), other);
        Date(people[4], "endDate", 8);
        system.Sandbox.Overrides.Change(
            "users",
            people[4],
            u =>
            {
                ((JsonArray)u["roles"]!).Add(next);
                u.Remove("primaryOrg");
                u["dateLastModified"] = Modified(7);
            }
        );
        await NightAsync(7, OperationKind.FullSync, Day(7));
        Assert.Equal(PatronStatus.Transferred, (await system.PatronsByGuidAsync())[people[3]].Status);
        await NightAsync(8, OperationKind.FullSync, Day(8));
        var moved = (await system.PatronsByGuidAsync())[people[4]];
        Assert.Equal((PatronStatus.Active, 2), (moved.Status, moved.SiteId));

        string Day(int day) =>
            DateOnly
                .FromDateTime(TimeZoneInfo.ConvertTime(At(day), TimeZoneInfo.FindSystemTimeZoneById(zone)).DateTime)
                .ToString("yyyy-MM-dd", System.Globalization.CultureInfo.InvariantCulture);

        void Date(string id, string what, int day) => system.Sandbox.Overrides.Change("users", id, u => u["roles"]![0]![what] = Day(day));

        async Task NightAsync(int day, OperationKind kind, string? because)
        {
            clock.MoveTo(At(day));
            var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
            Assert.Equal((kind, null), (operation.Kind, operation.Error));
            if (because is not null)
            {
                Assert.Contains($"began or ended on {because} by their dates", operation.Options, StringComparison.Ordinal);
            }
        }
    }

    /// <summary>In July everybody's role is still to come: the roster has them all the same, and three who have left are three.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Between_two_school_years_those_who_are_to_come_are_there(Db db)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await Installation.StartAsync(
            cluster,
            db,
            new SandboxOptions
            {
                Students = 40,
                Schools = 2,
                Today = s_start,
                Api = SandboxApi.OneRoster12,
            },
            clock
        );
        Assert.Null((await system.SyncAsync()).Error);
        var students = (await system.PatronsByGuidAsync())
            .Keys.Where(id => system.Sandbox.District.People.Any(p => p.SourcedId == id && p.Group == SandboxRoleGroup.Student))
            .Order(StringComparer.Ordinal)
            .ToList();
        Assert.InRange(students.Count, 30, 40);
        foreach (var id in students)
        {
            system.Sandbox.Overrides.Change(
                "users",
                id,
                u =>
                {
                    foreach (var role in (JsonArray)u["roles"]!)
                    {
                        role!["beginDate"] = "2099-08-15";
                    }
                }
            );
        }

        foreach (var id in students.Take(3))
        {
            system.Sandbox.Overrides.Change("users", id, u => u["status"] = "tobedeleted");
        }

        var operation = await system.SyncAsync();
        var counts = OperationQueue.CountsOf(operation);
        Assert.Equal((null, 0, 3), (operation.Error, counts.Held, counts.Transferred));
    }

    /// <summary>Whom a full sync leaves out as well, since their school is none of the library's, makes none of it necessary.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Whom_a_full_sync_leaves_out_too_waits_for_none(Db db)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(db, clock, LocationSource.NotMapped);
        system.Sandbox.OnlyMine();
        await system.ImportAsync("barcode,lastName,firstName,email,site\nMUM001,Milbanke,Anne,home@example.org,S1\n");
        system.Sandbox.Person("here", "Ben", "Carver");
        foreach (var id in (string[])["one", "two"])
        {
            system.Sandbox.Person(id, id, "Byron", email: "home@example.org", orgs: ["elsewhere"]);
        }

        Assert.Equal(2, OperationQueue.CountsOf(await system.SyncAsync()).Skipped);
        for (var day = 1; day < 4; day++)
        {
            clock.MoveTo(At(day));
            system.Sandbox.Person("one", $"one{day}", "Byron", email: "home@example.org", orgs: ["elsewhere"], modified: Modified(day));
            var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
            Assert.Equal(
                (OperationKind.ChangesSync, null, 1),
                (operation.Kind, operation.Error, OperationQueue.CountsOf(operation).Skipped)
            );
        }
    }

    [Fact]
    public async Task What_a_changes_sync_missed_is_reported_as_drift()
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(Db.Sqlite, clock, LocationSource.NotMapped);
        await system.SyncAsync();
        clock.MoveTo(At(1));
        var someone = system.Sandbox.District.People.First(p =>
            p.Group == SandboxRoleGroup.Student && p.Presence == SandboxPresence.Present
        );
        system.Sandbox.Overrides.Change("users", someone.SourcedId, u => u["givenName"] = "Silently renamed");
        var changes = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal(0, OperationQueue.CountsOf(changes).Updated);
        clock.MoveTo(At(2));
        var full = await system.SyncAsync();
        Assert.Equal(1, OperationQueue.CountsOf(full).Updated);
        Assert.Equal(1, OperationQueue.WarningsOf(full).Single(w => w.Code == "drift").Count);
        Assert.DoesNotContain(OperationQueue.WarningsOf(await system.SyncAsync()), w => w.Code == "drift");
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_unchanged_revision_spares_the_whole_pull_until_something_changes_here_or_there(Db db)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(db, clock, LocationSource.NotMapped);
        system.Sandbox.Faults.Set("perm-rev");
        await system.SyncAsync();
        await SkippedAsync(true);
        var patron = (await system.AllPatronsAsync()).First(p => p.Guid is not null);
        await system.Patrons.EditAsync(system.District.Id, patron.Barcode, [new("firstName", "By hand")], "librarian");
        await SkippedAsync(false);
        Assert.Equal(patron.FirstName, (await system.PatronsByGuidAsync())[patron.Guid!].FirstName);
        await SkippedAsync(true);
        system.Sandbox.Overrides.Change("users", patron.Guid!, u => u["givenName"] = "By the roster");
        await SkippedAsync(false);
        await SkippedAsync(true);
        await system.ConfigureAsync(s => s with { Roles = [RoleGroup.Student] });
        await SkippedAsync(false);
        clock.MoveTo(At(1));
        await SkippedAsync(false);

        async Task SkippedAsync(bool skipped)
        {
            var operation = await system.SyncAsync();
            Assert.Null(operation.Error);
            Assert.Equal(skipped, operation.Options.Contains("Nothing was read", StringComparison.Ordinal));
            Assert.Equal(skipped, OperationQueue.CountsOf(operation).Read == 0);
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Homerooms_are_read_whole_only_where_what_is_known_does_not_tell(Db db)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(db, clock, LocationSource.TeacherName);
        await system.SyncAsync();
        await ChangesAsync(day: 1, whole: false);

        // Forgotten, as when somebody's data is erased: read once more, and known again.
        await using (var context = system.Database.CreateContext())
        {
            Assert.True(context.HomeroomParts.Count(h => h.DistrictId == system.District.Id) >= 2);
            await context.HomeroomParts.ExecuteDeleteAsync(TestContext.Current.CancellationToken);
        }

        await ChangesAsync(day: 2, whole: true);
        await ChangesAsync(day: 3, whole: false);

        // A class that was no homeroom before: whoever has been in it all the time is in no change.
        var scheduled = await RowAsync("classes", c => (string?)c["classType"] == "scheduled");
        system.Sandbox.Overrides.Change(
            "classes",
            scheduled,
            c =>
            {
                c["classType"] = "homeroom";
                c["dateLastModified"] = Modified(4);
            }
        );
        await ChangesAsync(day: 4, whole: true);

        // Not shared for a while: what changed meanwhile is not known.
        system.Sandbox.Faults.Set("no-classes-403");
        await ChangesAsync(day: 5, whole: false);
        system.Sandbox.Faults.Set("");
        await ChangesAsync(day: 6, whole: true);

        // A preview reads, and keeps nothing.
        var parts = await PartsAsync();
        await system.SyncAsync(preview: true);
        await system.SyncAsync(preview: true, kind: OperationKind.ChangesSync);
        Assert.Equal(parts, await PartsAsync());
        clock.MoveTo(At(6).AddHours(1));
        var full = await system.SyncAsync();
        Assert.Equal([full.Id], (await PartsAsync()).Select(p => p.OperationId).Distinct());

        async Task ChangesAsync(int day, bool whole)
        {
            clock.MoveTo(At(day));
            system.Sandbox.SetDay(day);
            system.Sandbox.ClearRequests();
            var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
            Assert.Null(operation.Error);
            Assert.Equal(OperationKind.ChangesSync, operation.Kind);
            Assert.Equal(whole, system.Sandbox.Requests.Where(IsWhole).Any(r => r.Collection == "enrollments"));
        }

        async Task<string> RowAsync(string collection, Predicate<System.Text.Json.Nodes.JsonObject> holds)
        {
            using var source = await system.Integrations.OpenAsync(
                system.District.Id,
                IntegrationKind.ClassLink,
                TestContext.Current.CancellationToken
            );
            await foreach (var page in source.Classes().ReadAsync())
            {
                if (page.Records.FirstOrDefault(c => holds(system.Sandbox.Overrides.Read(collection, c.SourcedId!)!)) is { } row)
                {
                    return row.SourcedId!;
                }
            }

            throw new InvalidOperationException("None is like that.");
        }

        async Task<List<(long OperationId, int Part)>> PartsAsync()
        {
            await using var context = system.Database.CreateContext();
            return
            [
                .. context
                    .HomeroomParts.Select(h => new { h.OperationId, h.Part })
                    .AsEnumerable()
                    .Select(h => (h.OperationId, h.Part))
                    .Order(),
            ];
        }
    }

    /// <summary>What librarians do between two syncs: the same in both libraries, to patrons whom both have. Nothing of a field that a roster may
    /// blank: who read the value before that has it, and who did not keeps the librarian's.</summary>
    private static async Task WorkAsync(Installation system, int day)
    {
        var patrons = await system.PatronsByGuidAsync();
        var students = system
            .Sandbox.District.People.Where(p => p.Role == "student" && patrons.ContainsKey(p.SourcedId))
            .OrderBy(p => p.SourcedId, StringComparer.Ordinal)
            .ToList();
        Task EditAsync(int at, string field, string? value) =>
            system.Patrons.EditAsync(
                system.District.Id,
                patrons[students[at % students.Count].SourcedId].Barcode,
                [new(field, value)],
                "librarian"
            );
        await EditAsync(day, "lastName", "Edited");
        await EditAsync(day + 10, "status", "Suspended");
        await EditAsync(day + 30, "keptFields", "firstName");
        await EditAsync(day + 30, "firstName", "Kept");
        await system.ImportAsync($"barcode,lastName,firstName,email,site\nOLD{day:000},Hand{day},Made,hand{day}@example.org,S1\n");
    }

    /// <summary>A tenth of the people turn out to have two records, as the librarian says.</summary>
    private static async Task MergePairsAsync(Installation system)
    {
        var people = (await system.PatronsByGuidAsync()).OrderBy(p => p.Key, StringComparer.Ordinal).Select(p => p.Value.Barcode).ToList();
        foreach (var pair in people.Take(people.Count / 10 * 2).Chunk(2))
        {
            await system.Get<PatronMerge>().MergeAsync(system.District.Id, pair[0], pair[1], "librarian");
        }
    }

    /// <summary>Half-siblings share a parent: who is read for the one is not all that the other has.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_guardian_read_for_one_student_tells_nothing_of_anothers(Db db)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(db, clock, LocationSource.NotMapped);
        system.Sandbox.OnlyMine();
        system.Sandbox.Person("m", "Mum", "Byron", role: "parent", phone: "1");
        system.Sandbox.Person("f", "Dad", "Byron", role: "parent", phone: "2");
        system.Sandbox.Person("s", "Sam", "Smith", role: "parent", phone: "3");
        system.Sandbox.Person("b", "Ben", "Byron", agents: ["m", "f"]);
        await system.SyncAsync();
        Assert.Equal("Dad Byron 2; Mum Byron 1", await ContactAsync("b"));
        clock.MoveTo(At(1));
        system.Sandbox.Person("b", "Benjamin", "Byron", agents: ["m", "f"], modified: Modified(1));
        system.Sandbox.Person("a", "Ann", "Smith", agents: ["m", "s"], modified: Modified(1));
        await ChangesAsync();
        Assert.Equal("Dad Byron 2; Mum Byron 1", await ContactAsync("b"));
        Assert.Equal("Benjamin", (await system.PatronsByGuidAsync())["b"].FirstName);
        Assert.Equal("Mum Byron 1; Sam Smith 3", await ContactAsync("a"));

        // Whoever was taken off the student is gone from the contact, and so is whoever was deleted.
        clock.MoveTo(At(2));
        system.Sandbox.Person("b", "Benjamin", "Byron", agents: ["m"], modified: Modified(2));
        system.Sandbox.Person("s", "Sam", "Smith", role: "parent", phone: "3", status: "tobedeleted", modified: Modified(2));
        await ChangesAsync();
        Assert.Equal(("Mum Byron 1", "Mum Byron 1"), (await ContactAsync("b"), await ContactAsync("a")));
        clock.MoveTo(At(3));
        system.Sandbox.Person("b", "Benjamin", "Byron", agents: [], modified: Modified(3));
        await ChangesAsync();
        Assert.Null(await ContactAsync("b"));

        async Task ChangesAsync()
        {
            var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
            Assert.Null(operation.Error);
            Assert.Equal(OperationKind.ChangesSync, operation.Kind);
        }

        async Task<string?> ContactAsync(string guid) => (await system.PatronsByGuidAsync())[guid].AdditionalContact;
    }

    [Theory]
    [InlineData("404:users/{id}", "the server does not give people one by one")]
    [InlineData("html:users/{id}", "the server does not give people one by one")]
    [InlineData("refuse-filter", "the server does not filter by date")]
    public async Task Where_changes_cannot_be_asked_for_everything_is_read(string fault, string because)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(Db.Sqlite, clock, LocationSource.NotMapped);
        await system.SyncAsync();
        clock.MoveTo(At(1));
        var student = (await system.PatronsByGuidAsync()).Values.First(p => p.Birthdate is not null && p.Status == PatronStatus.Active);
        Born(system, student.Guid!, "2012-02-03", day: 1);
        system.Sandbox.Faults.Set(fault);
        var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Null(operation.Error);
        Assert.Equal(OperationKind.FullSync, operation.Kind);
        Assert.Contains(because, operation.Options, StringComparison.Ordinal);
        Assert.Equal(new DateOnly(2012, 2, 3), (await system.PatronsByGuidAsync())[student.Guid!].Birthdate);
    }

    /// <summary>That somebody is gone without a trace is for a full sync to conclude; it does not make every sync of changes one.</summary>
    [Theory]
    [InlineData("gone")]
    [InlineData("a/1 gone")]
    public async Task Somebody_who_is_gone_makes_no_changes_sync_a_full_one(string gone)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(Db.Sqlite, clock, LocationSource.ClassTitle);
        system.Sandbox.OnlyMine();
        system.Sandbox.Homeroom("h", "Seven");
        system.Sandbox.Person(gone, "Ada", "Byron");
        system.Sandbox.Person("b/2", "Ben", "Carver");
        system.Sandbox.Enroll("e1", gone, "h");
        system.Sandbox.Enroll("e2", "b/2", "h");
        await system.SyncAsync();
        await system.Patrons.EditAsync(
            system.District.Id,
            (await system.PatronsByGuidAsync())[gone].Barcode,
            [new("doNotTransfer", "true")],
            "librarian"
        );
        clock.MoveTo(At(1));
        system.Sandbox.Overrides.Remove("users", gone);
        system.Sandbox.Enroll("e1", gone, "h", status: "tobedeleted", modified: Modified(1));
        await ChangesAsync(asks: true);
        await system.SyncAsync();
        clock.MoveTo(At(2));
        await ChangesAsync(asks: true);

        // Known to be gone, nobody asks again.
        await system.Patrons.EditAsync(
            system.District.Id,
            (await system.PatronsByGuidAsync())[gone].Barcode,
            [new("doNotTransfer", "false")],
            "librarian"
        );
        Assert.Equal(1, OperationQueue.CountsOf(await system.SyncAsync()).Absent);
        clock.MoveTo(At(3));
        await ChangesAsync(asks: false);

        async Task ChangesAsync(bool asks)
        {
            system.Sandbox.ClearRequests();
            var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
            Assert.Null(operation.Error);
            Assert.Equal(OperationKind.ChangesSync, operation.Kind);
            Assert.Equal(asks, system.Sandbox.Requests.Any(r => r.Collection == "users" && r.Query.Length == 0));
        }
    }

    /// <summary>No sync touches whoever left or is not ticked any more: the homeroom that they had last is nobody's concern.</summary>
    [Theory]
    [InlineData(Db.Sqlite, "deleted")]
    [InlineData(Db.Postgres, "deleted")]
    [InlineData(Db.Sqlite, "unticked")]
    [InlineData(Db.Postgres, "unticked")]
    public async Task Whoever_left_or_is_not_ticked_any_more_is_not_asked_for_again(Db db, string how)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(db, clock, LocationSource.ClassTitle);
        system.Sandbox.OnlyMine();
        system.Sandbox.Homeroom("h", "Seven");
        var role = how == "unticked" ? "teacher" : "student";
        for (var i = 0; i < 60; i++)
        {
            system.Sandbox.Person($"p{i}", "Ada", $"Byron {i}", role: role);
            system.Sandbox.Enroll($"e{i}", $"p{i}", "h", role: role);
        }

        system.Sandbox.Person("b", "Ben", "Carver");
        await system.SyncAsync();
        Assert.Equal(60, (await system.AllPatronsAsync()).Count(p => p.Location == "Seven"));
        clock.MoveTo(At(1));
        for (var i = 0; i < 60 && how == "deleted"; i++)
        {
            system.Sandbox.Person($"p{i}", "Ada", $"Byron {i}", status: "tobedeleted", modified: Modified(0));
        }

        if (how == "unticked")
        {
            await system.ConfigureAsync(s => s with { Roles = [RoleGroup.Student] });
        }

        await system.ConfigureAsync(s => s with { Thresholds = new() { Transfers = new(100, 100000) } });
        var full = await system.SyncAsync();
        Assert.Null(full.Error);
        Assert.Equal(how == "deleted" ? 60 : 0, OperationQueue.CountsOf(full).Transferred);
        clock.MoveTo(At(2));
        for (var i = 0; i < 60; i++)
        {
            system.Sandbox.Enroll($"e{i}", $"p{i}", "h", role: role, status: "tobedeleted", modified: Modified(2));
        }

        system.Sandbox.ClearRequests();
        var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Null(operation.Error);
        Assert.Equal(OperationKind.ChangesSync, operation.Kind);
        Assert.DoesNotContain(system.Sandbox.Requests, r => r.Collection == "users" && r.Query.Length == 0);
    }

    /// <summary>A guardian whom the roster lists and does not share hides none of the others, whichever sync it is.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_guardian_who_is_not_shared_hides_no_other(Db db)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(db, clock, LocationSource.NotMapped);
        system.Sandbox.OnlyMine();
        system.Sandbox.Person("m", "Mum", "Byron", role: "parent", phone: "1");
        system.Sandbox.Person("b", "Ben", "Byron", agents: ["m", "nobody"]);
        system.Sandbox.Person("c", "Cid", "Carver");
        await system.SyncAsync();
        Assert.Equal("Mum Byron 1", (await system.PatronsByGuidAsync())["b"].AdditionalContact);
        clock.MoveTo(At(1));
        system.Sandbox.Person("m", "Mum", "Byron", role: "parent", phone: "2", modified: Modified(1));
        system.Sandbox.Person("a", "Ann", "Byron", agents: ["m", "nobody"], modified: Modified(1));
        system.Sandbox.Person("c", "Cid", "Carver", agents: ["nobody"], modified: Modified(1));
        var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Null(operation.Error);
        Assert.Equal(OperationKind.ChangesSync, operation.Kind);
        var patrons = await system.PatronsByGuidAsync();
        Assert.Equal(
            ("Mum Byron 2", "Mum Byron 2", null),
            (patrons["b"].AdditionalContact, patrons["a"].AdditionalContact, patrons["c"].AdditionalContact)
        );
        var full = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((0, 0, 0), (full.Updated, full.Created, full.Transferred));
    }

    /// <summary>What moved between pages may be on none of them: who sits where is not known from it.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Homerooms_that_were_not_all_read_are_read_again(Db db)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(db, clock, LocationSource.TeacherName);
        await system.SyncAsync();
        await using (var context = system.Database.CreateContext())
        {
            await context.HomeroomParts.ExecuteDeleteAsync(TestContext.Current.CancellationToken);
        }

        await ChangesAsync(1, "shift-rows:enrollments,clamp=20:enrollments,no-totals:enrollments", whole: true);
        await ChangesAsync(2, "", whole: true);
        await ChangesAsync(3, "", whole: false);

        async Task ChangesAsync(int day, string faults, bool whole)
        {
            clock.MoveTo(At(day));
            system.Sandbox.Faults.Set(faults);
            system.Sandbox.ClearRequests();
            var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
            Assert.Null(operation.Error);
            Assert.Equal(OperationKind.ChangesSync, operation.Kind);
            Assert.Equal(faults.Length > 0, OperationQueue.WarningsOf(operation).Any(w => w.Code == "rows-shifted"));
            Assert.Equal(whole, system.Sandbox.Requests.Where(IsWhole).Any(r => r.Collection == "enrollments"));
        }
    }

    /// <summary>Who is on no page of those that shifted, or on a row that nobody can read, has not left the homeroom for that.</summary>
    [Theory]
    [InlineData(Db.Sqlite, OperationKind.FullSync, "enrollments", LocationSource.ClassTitle, true)]
    [InlineData(Db.Postgres, OperationKind.FullSync, "enrollments", LocationSource.TeacherName, true)]
    [InlineData(Db.Sqlite, OperationKind.FullSync, "classes", LocationSource.ClassTitle, true)]
    [InlineData(Db.Sqlite, OperationKind.ChangesSync, "enrollments", LocationSource.ClassTitle, true)]
    [InlineData(Db.Postgres, OperationKind.ChangesSync, "classes", LocationSource.TeacherName, true)]
    [InlineData(Db.Postgres, OperationKind.PersonSync, "enrollments", LocationSource.ClassTitle, true)]
    [InlineData(Db.Sqlite, OperationKind.PersonSync, "enrollments", LocationSource.TeacherName, true)]
    [InlineData(Db.Sqlite, OperationKind.PersonSync, "classes", LocationSource.ClassTitle, true)]
    [InlineData(Db.Postgres, OperationKind.FullSync, "enrollments", LocationSource.ClassTitle, false)]
    [InlineData(Db.Sqlite, OperationKind.FullSync, "classes", LocationSource.TeacherName, false)]
    [InlineData(Db.Sqlite, OperationKind.ChangesSync, "enrollments", LocationSource.ClassTitle, false)]
    [InlineData(Db.Sqlite, OperationKind.PersonSync, "enrollments", LocationSource.ClassTitle, false)]
    public async Task Nobody_loses_a_homeroom_to_rows_that_shifted_or_could_not_be_read(
        Db db,
        OperationKind kind,
        string collection,
        LocationSource location,
        bool shifted
    )
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(db, clock, location);
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s =>
            s with
            {
                Map = s.Map with
                {
                    Rules = new Dictionary<int, FieldRule> { [PatronFields.Location] = new FieldRule(Blank: BlankRule.Clear) },
                },
            }
        );

        system.Sandbox.Person("p", "Ada", "Byron");
        system.Sandbox.Person("q", "Ben", "Carver");
        system.Sandbox.Person("t", "Tess", "Tutor", role: "teacher");
        system.Sandbox.Homeroom("aaa", "First room");
        system.Sandbox.Enroll("aa1", "q", "aaa");
        system.Sandbox.Enroll("aa2", "t", "aaa", role: "teacher");
        system.Sandbox.Homeroom("zzz", "Last room");
        var (student, teacher) = location == LocationSource.TeacherName ? ("zz1", "zz2") : ("zz2", "zz1");
        system.Sandbox.Enroll(student, "p", "zzz");
        system.Sandbox.Enroll(teacher, "t", "zzz", role: "teacher");
        await system.SyncAsync();
        var before = await HomeroomAsync();
        Assert.Equal((location == LocationSource.TeacherName ? "Tutor, Tess" : "Last room", "zzz"), before);
        clock.MoveTo(At(1));
        if (kind == OperationKind.ChangesSync)
        {
            await using var context = system.Database.CreateContext();
            await context.HomeroomParts.ExecuteDeleteAsync(TestContext.Current.CancellationToken);
        }

        if (shifted)
        {
            // What moved is on no page.
            system.Sandbox.Faults.Set($"shift-rows:{collection},clamp=20:{collection},no-totals:{collection}");
            system.Sandbox.Overrides.Remove(collection, collection == "classes" ? "zzz" : "zz2");
        }
        else
        {
            system.Sandbox.Faults.Set($"null-last-row:{collection}");
        }

        var operation = kind == OperationKind.PersonSync ? await PersonTests.RunAsync(system, "p") : await system.SyncAsync(kind: kind);
        Assert.Equal((kind, null), (operation.Kind, operation.Error));
        Assert.Equal(before, await HomeroomAsync());
        if (!shifted && kind != OperationKind.PersonSync)
        {
            var warning = Assert.Single(OperationQueue.WarningsOf(operation), w => w.Code == "unreadable-rows");
            Assert.Contains(
                $"Rows of {collection} could not be read for certain: who is in no homeroom",
                warning.Message,
                StringComparison.Ordinal
            );
            Assert.Equal(1, warning.Count);

            // The changes after it go on from nothing that was not whole.
            clock.MoveTo(At(1).AddHours(1));
            var next = await system.SyncAsync(kind: OperationKind.ChangesSync);
            Assert.Null(next.Error);
            Assert.Equal(before, await HomeroomAsync());
        }

        // Who is in none any more loses it when all could be read.
        system.Sandbox.Faults.Clear();
        system.Sandbox.Homeroom("zzz", "Last room");
        system.Sandbox.Enroll(student, "p", "zzz", status: "tobedeleted", modified: Modified(2));
        clock.MoveTo(At(2));
        Assert.Null((await system.SyncAsync()).Error);
        Assert.Equal((null, null), await HomeroomAsync());

        async Task<(string? Location, string? Homeroom)> HomeroomAsync()
        {
            await using var context = system.Database.CreateContext();
            var patron = (await system.PatronsByGuidAsync())["p"];
            return (patron.Location, context.PatronLinks.Single(l => l.PatronId == patron.Id).HomeroomClass);
        }
    }

    /// <summary>A row that nobody can read any night costs one more read of all, and leaves nobody in the homeroom of a school that they left.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task One_row_that_can_never_be_read_keeps_nobody_in_the_homeroom_of_another_school(Db db)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(db, clock, LocationSource.ClassTitle);
        system.Sandbox.OnlyMine();
        system.Sandbox.Homeroom("aaa", "First room");
        system.Sandbox.Homeroom("zzz", "Last room");
        foreach (var (id, homeroom) in ((string, string)[])[("p", "aaa"), ("q", "aaa"), ("r", "zzz")])
        {
            system.Sandbox.Person(id, "Pat", "Name" + id);
            system.Sandbox.Enroll("z-" + id, id, homeroom);
        }

        await system.SyncAsync();
        clock.MoveTo(At(1));
        system.Sandbox.Faults.Set("null-last-row:enrollments");
        system.Sandbox.Person("p", "Pat", "Namep", orgs: [system.Sandbox.District.Schools.ElementAt(1).SourcedId]);
        system.Sandbox.Overrides.Remove("enrollments", "z-p");
        Assert.Null((await system.SyncAsync()).Error);
        var patrons = await system.PatronsByGuidAsync();
        Assert.Equal(
            [("p", null, 2), ("q", "First room", 1), ("r", "Last room", 1)],
            patrons.OrderBy(p => p.Key).Select(p => (p.Key, p.Value.Location, p.Value.SiteId))
        );

        foreach (var whole in (bool[])[true, false, false])
        {
            clock.MoveTo(clock.GetUtcNow().AddHours(1));
            system.Sandbox.ClearRequests();
            var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
            Assert.Equal((OperationKind.ChangesSync, null), (operation.Kind, operation.Error));
            Assert.Equal(whole, system.Sandbox.Requests.Where(IsWhole).Any(r => r.Collection == "enrollments"));
            Assert.Equal("Last room", (await system.PatronsByGuidAsync())["r"].Location);
        }

        // Once it can be read, the next sync that reads everything knows all again.
        system.Sandbox.Faults.Clear();
        system.Sandbox.Enroll("z-r", "r", "aaa");
        Assert.Null((await system.SyncAsync()).Error);
        Assert.Equal("First room", (await system.PatronsByGuidAsync())["r"].Location);
    }

    /// <summary>A server that refuses the filter of one collection shares it all the same.</summary>
    [Theory]
    [InlineData(Db.Sqlite, "demographics")]
    [InlineData(Db.Postgres, "demographics")]
    [InlineData(Db.Sqlite, "classes")]
    [InlineData(Db.Sqlite, "enrollments")]
    public async Task A_refused_filter_is_no_collection_that_is_not_shared(Db db, string collection)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(db, clock, LocationSource.ClassTitle);
        await system.SyncAsync();
        clock.MoveTo(At(1));
        var student = (await system.PatronsByGuidAsync()).Values.First(p => p.Birthdate is not null && p.Status == PatronStatus.Active);
        Born(system, student.Guid!, "2012-02-03", day: 1);
        system.Sandbox.Faults.Set($"404:{collection}@1");
        var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Null(operation.Error);
        Assert.Equal(OperationKind.FullSync, operation.Kind);
        Assert.Contains($"the server does not filter {collection} by date", operation.Options, StringComparison.Ordinal);
        Assert.Equal(new DateOnly(2012, 2, 3), (await system.PatronsByGuidAsync())[student.Guid!].Birthdate);

        // What is refused either way is not shared.
        system.Sandbox.Faults.Set($"404:{collection}");
        clock.MoveTo(At(2));
        operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Null(operation.Error);
        Assert.Equal(OperationKind.ChangesSync, operation.Kind);
    }

    private static void Born(Installation system, string guid, string date, int day) =>
        system.Sandbox.Overrides.Change(
            "demographics",
            guid,
            d =>
            {
                d["birthDate"] = date;
                d["dateLastModified"] = Modified(day);
            }
        );

    [Fact]
    public async Task What_a_changes_sync_leaves_out_is_counted()
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(Db.Sqlite, clock, LocationSource.NotMapped);
        await system.SyncAsync();
        clock.MoveTo(At(1));
        system.Sandbox.Person("p1", "Ada", "Byron", role: "wizard", modified: Modified(1));
        system.Sandbox.Person("p2", "Ben", "Carver", role: "", modified: Modified(1));
        system.Sandbox.Person("p3", "Cleo", "Dunn", modified: Modified(1));
        system.Sandbox.Overrides.Change("users", "p3", u => u["enabledUser"] = "perhaps");
        var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Null(operation.Error);
        Assert.Equal(OperationKind.ChangesSync, operation.Kind);
        Assert.Equal((1, 1), (OperationQueue.CountsOf(operation).Read, OperationQueue.CountsOf(operation).Created));
        Assert.Equal(
            ["leniency", "role-missing", "role-unknown"],
            OperationQueue.WarningsOf(operation).Select(w => w.Code).Order(StringComparer.Ordinal)
        );
        Assert.Contains("'wizard'", operation.Warnings, StringComparison.Ordinal);
        Assert.Contains("changed people: unreadable-boolean", operation.Options, StringComparison.Ordinal);
    }

    /// <summary>What could not be read is asked for again.</summary>
    [Theory]
    [InlineData("null-row", "unreadable-rows")]
    [InlineData("shift-rows,clamp=20,no-totals", "rows-shifted")]
    public async Task Changes_that_were_not_all_read_are_read_again(string fault, string code)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(Db.Sqlite, clock, LocationSource.NotMapped);
        await system.SyncAsync();
        var cursor = await SinceAsync();
        clock.MoveTo(At(1));
        foreach (
            var person in system
                .Sandbox.District.People.Where(p => p.Group == SandboxRoleGroup.Student && p.Presence == SandboxPresence.Present)
                .OrderBy(p => p.SourcedId, StringComparer.Ordinal)
                .Take(45)
        )
        {
            system.Sandbox.Overrides.Change("users", person.SourcedId, u => u["dateLastModified"] = Modified(1));
        }

        system.Sandbox.Faults.Set(fault);
        if (fault == "null-row")
        {
            // The third of all has to be among those who changed.
            using var source = await system.Integrations.OpenAsync(
                system.District.Id,
                IntegrationKind.ClassLink,
                TestContext.Current.CancellationToken
            );
            system.Sandbox.Faults.Clear();
            await foreach (var page in source.Users().ReadAsync(TestContext.Current.CancellationToken))
            {
                system.Sandbox.Overrides.Change("users", page.Records[2].SourcedId!, u => u["dateLastModified"] = Modified(1));
                break;
            }

            system.Sandbox.Faults.Set(fault);
        }

        var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Null(operation.Error);
        Assert.Equal(OperationKind.ChangesSync, operation.Kind);
        Assert.Contains(OperationQueue.WarningsOf(operation), w => w.Code == code);
        Assert.Equal(cursor, await SinceAsync());
        system.Sandbox.Faults.Clear();
        operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal(OperationKind.ChangesSync, operation.Kind);
        Assert.DoesNotContain(OperationQueue.WarningsOf(operation), w => w.Code == code);
        Assert.True(cursor < await SinceAsync());

        async Task<DateTimeOffset?> SinceAsync() =>
            IntegrationService.StateOf(await system.Integrations.FindAsync(system.District.Id, IntegrationKind.ClassLink)).ChangesSince;
    }

    [Fact]
    public async Task An_unchanged_revision_spares_nothing_after_a_pull_that_was_not_whole()
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(Db.Sqlite, clock, LocationSource.NotMapped);
        system.Sandbox.Faults.Set("shift-rows,clamp=20,no-totals,perm-rev");
        var shifted = await system.SyncAsync();
        Assert.Contains(OperationQueue.WarningsOf(shifted), w => w.Code == "rows-shifted");
        system.Sandbox.Faults.Set("perm-rev");
        var again = await system.SyncAsync();
        Assert.Null(again.Error);
        Assert.True(OperationQueue.CountsOf(again).Read > 100, again.Options);
        Assert.Equal(0, OperationQueue.CountsOf(await system.SyncAsync()).Read);

        // Somebody may have been on no page at all: a sync of changes would not bring them.
        system.Sandbox.Overrides.Change("users", (await system.PatronsByGuidAsync()).Keys.First(), u => u["givenName"] = "Other");
        system.Sandbox.Faults.Set("shift-rows,clamp=20,no-totals,perm-rev");
        await system.SyncAsync();
        system.Sandbox.Faults.Set("perm-rev");
        var full = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal(OperationKind.FullSync, full.Kind);
        Assert.Contains("rows moved between pages", full.Options, StringComparison.Ordinal);
        Assert.Equal(OperationKind.ChangesSync, (await system.SyncAsync(kind: OperationKind.ChangesSync)).Kind);
    }

    private static readonly string[] WholeCollections = ["users", "demographics", "classes", "enrollments"];

    private static bool IsWhole(SandboxRequest request) =>
        WholeCollections.Contains(request.Collection, StringComparer.Ordinal)
        && request.Query.Contains("limit", StringComparison.Ordinal)
        && !Uri.UnescapeDataString(request.Query).Contains("dateLastModified", StringComparison.Ordinal);

    private static string Modified(int day) =>
        At(day).ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", System.Globalization.CultureInfo.InvariantCulture);

    private static DateTimeOffset At(int day) => new(s_start.AddDays(day).ToDateTime(new TimeOnly(5, 0)), TimeSpan.Zero);

    private async Task<Installation> StartAsync(Db db, TimeProvider clock, LocationSource location, int? seed = null)
    {
        var options = new SandboxOptions();
        var system = await Installation.StartAsync(
            cluster,
            db,
            new SandboxOptions
            {
                Students = 300,
                Schools = 3,
                Today = s_start,
                Seed = seed ?? options.Seed,
            },
            clock
        );
        await system.ConfigureAsync(s =>
            s with
            {
                Map = new FieldMap { Location = location, CommunityId = new IdMapping(IdSource.UserIdType, "StateID") },
            }
        );
        return system;
    }

    private static async Task<Dictionary<string, string>> WithoutBarcodesAsync(Installation system) =>
        (await UndoTests.PictureAsync(system)).ToDictionary(
            p => p.Key,
            p => p.Value[p.Value.IndexOf('\n', StringComparison.Ordinal)..],
            StringComparer.Ordinal
        );

    /// <summary>That somebody else reaches the same patron only a whole roster shows.</summary>
    [Theory]
    [InlineData(Db.Sqlite, OperationKind.ChangesSync)]
    [InlineData(Db.Postgres, OperationKind.ChangesSync)]
    [InlineData(Db.Sqlite, OperationKind.PersonSync)]
    [InlineData(Db.Postgres, OperationKind.PersonSync)]
    public async Task Nobody_who_waits_in_review_is_linked_without_those_who_wait_beside(Db db, OperationKind kind)
    {
        var clock = new ShiftedTime(At(0));
        await using var system = await StartAsync(db, clock, LocationSource.NotMapped);
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) } });
        await system.ImportAsync("barcode,communityId,lastName,firstName,site\nOLD001,1001,Alpha,Ann,S1\n");
        foreach (var id in (string[])["p1", "p2"])
        {
            system.Sandbox.Person(id, "Ann", "Alpha", number: "1001");
        }

        system.Sandbox.Person("p3", "Ben", "Beta");
        Assert.Equal(2, OperationQueue.CountsOf(await system.SyncAsync()).Review);
        clock.MoveTo(At(1));
        system.Sandbox.Person("p1", "Ann", "Alpha", number: "1001", phone: "2", modified: Modified(1));
        var operation = kind == OperationKind.PersonSync ? await PersonTests.RunAsync(system, "p1") : await system.SyncAsync(kind: kind);
        Assert.Equal((kind, null), (operation.Kind, operation.Error));
        var line = Assert.Single(await system.LogAsync(operation.Id), r => r.Guid == "p1");
        Assert.Equal(("skipped", "Waits in Review: the next full sync decides"), (line.Outcome, line.Reason));
        Assert.Equal(["p3"], (await system.PatronsByGuidAsync()).Keys);
        Assert.Equal(2, (await system.Get<ReviewService>().ListAsync(system.District.Id)).Count);

        // Where one of the two is gone, the other is the patron.
        system.Sandbox.Overrides.Remove("users", "p2");
        await system.SyncAsync();
        Assert.Equal("OLD001", (await system.PatronsByGuidAsync())["p1"].Barcode);
        Assert.Empty(await system.Get<ReviewService>().ListAsync(system.District.Id));
    }

    /// <summary>A full sync settles what it does not ask, also where the question has the number of an operation that was asked for after it.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_full_sync_settles_what_ran_before_it_whatever_its_number(Db db)
    {
        await using var system = await StartAsync(db, TimeProvider.System, LocationSource.NotMapped);
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) } });
        system.Sandbox.Person("p3", "Ben", "Beta");
        await system.SyncAsync();
        await system.ImportAsync("barcode,communityId,lastName,firstName,site\nOLD001,1001,Alpha,Ann,S1\nOLD002,1001,Alpha,Anna,S1\n");
        var (full, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test"
        );
        system.Sandbox.Person("p1", "Ann", "Alpha", number: "1001", modified: "2099-01-01T00:00:00.000Z");
        var changes = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal((OperationKind.ChangesSync, 1), (changes.Kind, OperationQueue.CountsOf(changes).Review));
        await system.Patrons.EditAsync(system.District.Id, "OLD002", [new("communityId", "1002")], "librarian");
        var after = await system.Follower.RunAsync(system.District.Id, full, null, CancellationToken.None);
        Assert.Null(after.Error);
        Assert.Equal("OLD001", (await system.PatronsByGuidAsync())["p1"].Barcode);
        Assert.Empty(await system.Get<ReviewService>().ListAsync(system.District.Id));
    }
}
