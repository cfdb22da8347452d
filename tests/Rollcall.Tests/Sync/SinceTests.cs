using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Sandbox;
using Rollcall.Sync;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>What became of keys, settings and questions between a plan and its writing.</summary>
public sealed class SinceTests(PostgresCluster cluster)
{
    private static readonly FieldMap s_keys = new()
    {
        CommunityId = new IdMapping(IdSource.Identifier),
        Barcode = new IdMapping(IdSource.UserIdType, "Card"),
    };

    private async Task<Installation> StartAsync(Db db, FieldMap? map = null)
    {
        var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 60, Schools = 2 });
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = map ?? new FieldMap() });
        return system;
    }

    private static Operation Sound(Operation operation)
    {
        Assert.Null(operation.Error);
        Assert.True(OperationQueue.CountsOf(operation).AddUp, operation.Counts);
        return operation;
    }

    private static Task<Patron> EditAsync(Installation system, string barcode, string field, string? value) =>
        system.Patrons.EditAsync(system.District.Id, barcode, [new(field, value)], "librarian");

    private static async Task<string?> FullDueAsync(Installation system) =>
        IntegrationService.StateOf(await system.Integrations.FindAsync(system.District.Id, IntegrationKind.ClassLink)).FullDue;

    private static Task<(long Id, bool IsNew)> EnqueueAsync(Installation system, bool preview = false) =>
        system.Queue.EnqueueAsync(system.District.Id, OperationKind.FullSync, IntegrationKind.ClassLink, preview, "test");

    /// <summary>Runs a sync and does something at one of its steps.</summary>
    private static async Task<Operation> SyncWithAsync(
        Installation system,
        Func<Task> meanwhile,
        bool preview = false,
        string at = "Comparing people"
    )
    {
        var (id, _) = await EnqueueAsync(system, preview);
        var done = false;
        var operation = await system.Follower.RunAsync(
            system.District.Id,
            id,
            (_, text, _, _) =>
            {
                if (text == at && !done)
                {
                    done = true;
                    Task.Run(meanwhile).GetAwaiter().GetResult();
                }
            },
            CancellationToken.None
        );
        Assert.True(done);
        return Sound(operation);
    }

    /// <summary>Two unlinked patrons and the two people who reach them by a key; the roster has another last name or phone for them.</summary>
    private static async Task PutAsync(Installation system, string key)
    {
        Assert.Null(
            (
                await system.ImportAsync(
                    "barcode,communityId,lastName,firstName,email,site\nCARD-1,1001,Smith,Ann,ann@x.example,S1\nCARD-2,1002,Smith,Ben,ben@x.example,S1\n"
                )
            ).Error
        );
        for (var i = 1; i <= 2; i++)
        {
            system.Sandbox.Person(
                $"x{i}",
                i == 1 ? "Ann" : "Ben",
                key == "email" ? "Smith" : "Jones",
                number: key == "communityId" ? $"100{i}" : "",
                email: key == "email" ? (i == 1 ? "ann@x.example" : "ben@x.example") : "",
                barcode: key == "barcode" ? $"CARD-{i}" : null,
                phone: "555-0100"
            );
        }
    }

    [Theory]
    [InlineData(Db.Sqlite, "communityId", "1009")]
    [InlineData(Db.Postgres, "communityId", "1009")]
    [InlineData(Db.Sqlite, "barcode", "CARD-9")]
    [InlineData(Db.Sqlite, "email", "other@x.example")]
    [InlineData(Db.Postgres, "email", "other@x.example")]
    public async Task Nobody_is_linked_by_a_key_that_a_librarian_has_corrected_since(Db db, string key, string corrected)
    {
        await using var system = await StartAsync(db, s_keys);
        await PutAsync(system, key);
        var preview = Sound(await system.SyncAsync(preview: true));
        await EditAsync(system, "CARD-1", key, corrected);
        await EditAsync(system, "CARD-2", "notes", "no other key");
        Sound(await system.ApproveAsync(preview.Id));
        var patrons = await system.AllPatronsAsync();
        var ann = Assert.Single(patrons, p => p.FirstName == "Ann");
        Assert.Equal(("Smith", null, null), (ann.LastName, ann.Guid, ann.Phone));
        Assert.Equal("x2", Assert.Single(patrons, p => p.FirstName == "Ben").Guid);
        Assert.Equal("x1", Assert.Single(await system.LogAsync(preview.Id), r => r.Stale).Guid);
        Assert.NotNull(await FullDueAsync(system));

        // The next sync decides: somebody new, where no key leads to the patron any more.
        Sound(await system.SyncAsync());
        Assert.Equal(
            ("Smith", null),
            ((await system.AllPatronsAsync()).Single(p => p.Id == ann.Id) is var now ? (now.LastName, now.Guid) : default)
        );
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_sync_links_nobody_whose_key_is_corrected_while_it_compares(Db db)
    {
        await using var system = await StartAsync(db, s_keys);
        await PutAsync(system, "communityId");

        // What was known when the patrons were read is no reason.
        await EditAsync(system, "CARD-2", "communityId", "1003");
        await EditAsync(system, "CARD-2", "communityId", "1002");
        var sync = await SyncWithAsync(system, () => EditAsync(system, "CARD-1", "communityId", "1009"));
        Assert.Equal((1, 1), (OperationQueue.CountsOf(sync).Updated, OperationQueue.CountsOf(sync).Skipped));
        Assert.Equal(["x2"], (await system.PatronsByGuidAsync()).Keys);
        Assert.NotNull(await FullDueAsync(system));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Approved_creates_are_no_second_record_of_whom_a_librarian_gave_an_address_or_imported_since(Db db)
    {
        await using var system = await StartAsync(db);
        await system.ImportAsync("barcode,lastName,firstName,site\nOLD-1,Alpha,Ann,S1\n");
        foreach (
            var (id, given, family) in ((string, string, string)[])
                [("a", "Ann", "Alpha"), ("b", "Ben", "Beta"), ("c", "Cid", "Gamma"), ("d", "Dan", "Delta")]
        )
        {
            system.Sandbox.Person(id, given, family, email: $"{given}@x.example", number: "");
        }

        var preview = Sound(await system.SyncAsync(preview: true));
        Assert.Equal(4, OperationQueue.CountsOf(preview).Created);
        await EditAsync(system, "OLD-1", "email", "ANN@x.example");
        await system.Patrons.AddAsync(
            system.District.Id,
            [new("lastName", "Beta"), new("firstName", "Ben"), new("site", "S1"), new("email", "ben@x.example")],
            "librarian"
        );
        await system.ImportAsync("barcode,lastName,firstName,email,site\nNEW-3,Gamma,Cid,cid@x.example,S1\n");
        Sound(await system.ApproveAsync(preview.Id));
        Assert.Equal(["a", "b", "c"], (await system.LogAsync(preview.Id)).Where(r => r.Stale).Select(r => r.Guid).Order());
        Assert.Equal(4, (await system.AllPatronsAsync()).Count);
        Sound(await system.SyncAsync());
        Assert.Equal(["a", "b", "c", "d"], (await system.PatronsByGuidAsync()).Keys.Order());
        Assert.Equal(4, (await system.AllPatronsAsync()).Count);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_sync_makes_nobody_anew_whom_a_librarian_added_by_address_while_it_planned(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("a", "Ann", "Alpha", email: "ann@x.example");
        system.Sandbox.Person("b", "Ben", "Beta", email: "ben@x.example");
        var sync = await SyncWithAsync(
            system,
            () =>
                system.Patrons.AddAsync(
                    system.District.Id,
                    [new("lastName", "Alpha"), new("site", "S1"), new("email", "ann@x.example"), new("barcode", "CARD-1")],
                    "librarian"
                )
        );
        Assert.Equal((1, 1), (OperationQueue.CountsOf(sync).Created, OperationQueue.CountsOf(sync).Skipped));
        Sound(await system.SyncAsync());
        Assert.Equal("CARD-1", (await system.PatronsByGuidAsync())["a"].Barcode);
        Assert.Equal(2, (await system.AllPatronsAsync()).Count);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_import_makes_nobody_anew_whom_a_sync_brought_since_its_preview(Db db)
    {
        await using var system = await StartAsync(db, s_keys);
        await system.ImportAsync("barcode,communityId,lastName,firstName,site\nOLD-3,1003,Gamma,Cid,S1\n");
        using var stream = new MemoryStream(
            "communityId,lastName,firstName,site\n1001,Alpha,Ann,S1\n1002,Beta,Ben,S1\n1003,Twin,Tia,S1\n"u8.ToArray()
        );
        var id = await system.Get<PatronImport>().PlanAsync(system.District.Id, stream, "patrons.csv", preview: true, "test");
        await system.Follower.RunAsync(system.District.Id, id, null, CancellationToken.None);
        system.Sandbox.Person("a", "Ann", "Alpha", number: "1001");
        Sound(await system.SyncAsync());

        // Whom the preview named already, it was approved with.
        await EditAsync(system, "OLD-3", "notes", "edited");
        var import = Sound(await system.ApproveAsync(id));
        Assert.Equal((2, 1), (OperationQueue.CountsOf(import).Created, OperationQueue.CountsOf(import).Skipped));
        Assert.Equal(
            ["Alpha", "Beta", "Gamma", "Twin"],
            (await system.AllPatronsAsync()).Select(p => p.LastName).Order(StringComparer.Ordinal)
        );
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Settings_that_are_saved_while_a_sync_reads_count_when_it_writes(Db db)
    {
        await using var system = await StartAsync(db, s_keys);
        system.Sandbox.Person("s", "Sue", "Student", number: "1", phone: "555-0100");
        system.Sandbox.Person("t", "Tom", "Teacher", number: "2", role: "teacher");
        Sound(await system.SyncAsync());
        system.Sandbox.Person("s", "Sue", "Student", number: "1", phone: "555-0111");
        system.Sandbox.Person("t", "Tom", "Renamed", number: "2", role: "teacher");
        system.Sandbox.Person("u", "Una", "Teacher", number: "3", role: "teacher");
        var (joined, other) = (default((long Id, bool IsNew)), default((long Id, bool IsNew)));
        var sync = await SyncWithAsync(
            system,
            async () =>
            {
                joined = await EnqueueAsync(system);
                await system.ConfigureAsync(s =>
                    s with
                    {
                        Roles = [RoleGroup.Student],
                        Map = s.Map with
                        {
                            Rules = new Dictionary<int, FieldRule> { [PatronFields.Phone] = new(FieldPolicy.LibraryKeeps) },
                        },
                    }
                );
                other = await EnqueueAsync(system);
            }
        );
        var patrons = await system.PatronsByGuidAsync();
        Assert.Equal(["s", "t"], patrons.Keys.Order());
        Assert.Equal(("555-0100", "Teacher"), (patrons["s"].Phone, patrons["t"].LastName));

        // Who asks for a sync after a change of settings gets one of them.
        Assert.Equal((sync.Id, false), joined);
        Assert.True(other.IsNew && other.Id != sync.Id);
        Assert.Equal((other.Id, false), await EnqueueAsync(system));
        Sound(await system.Follower.RunAsync(system.District.Id, other.Id, null, CancellationToken.None));
        Assert.Null(await FullDueAsync(system));
    }

    [Fact]
    public async Task Thresholds_that_are_saved_while_a_sync_reads_hold_what_it_found()
    {
        await using var system = await StartAsync(Db.Sqlite);
        for (var i = 1; i <= 20; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", $"Person{i:00}");
        }

        Sound(await system.SyncAsync());
        system.Sandbox.Overrides.Remove("users", ["p01", "p02"]);
        var sync = await SyncWithAsync(
            system,
            () => system.ConfigureAsync(s => s with { Thresholds = s.Thresholds with { Transfers = new(0, 1) } })
        );
        Assert.Equal((OperationStatus.NeedsApproval, 2), (sync.Status, OperationQueue.CountsOf(sync).Held));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_approved_preview_settles_no_question_that_an_undo_opened_which_waited_while_it_was_read(Db db)
    {
        await using var system = await StartAsync(db, s_keys);
        Assert.Null(
            (
                await system.ImportAsync(
                    "barcode,communityId,lastName,firstName,site\nCARD-1,1001,Alpha,Ann,S1\nCARD-2,1001,Alpha,Anna,S1\n"
                )
            ).Error
        );
        system.Sandbox.Person("ask", "Ann", "Alpha", number: "1001");
        Sound(await system.SyncAsync());
        var review = system.Get<ReviewService>();
        var decisions = system.Get<ReviewDecisions>();
        var item = Assert.Single(await review.ListAsync(system.District.Id));
        await decisions.IgnoreAsync(system.District.Id, item.Id, "librarian");
        long undo = 0;
        var preview = await SyncWithAsync(
            system,
            async () => undo = (await decisions.ReopenAsync(system.District.Id, item.Id, "librarian")).OperationId,
            preview: true,
            at: "Reading patrons"
        );
        await system.Follower.RunAsync(system.District.Id, undo, null, CancellationToken.None);
        Assert.Equal(1, await review.OpenCountAsync(system.District.Id));
        Sound(await system.ApproveAsync(preview.Id));
        Assert.Equal(1, await review.OpenCountAsync(system.District.Id));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_edit_beside_a_full_sync_is_seen_though_the_service_says_that_nothing_changed(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Faults.Set("perm-rev");
        system.Sandbox.Person("a", "Ann", "Alpha", phone: "555-0100");
        Sound(await system.SyncAsync());
        system.Sandbox.Person("b", "Ben", "Beta");
        var barcode = (await system.PatronsByGuidAsync())["a"].Barcode;
        await SyncWithAsync(system, () => EditAsync(system, barcode, "phone", "by hand"));
        Assert.Equal("by hand", (await system.PatronsByGuidAsync())["a"].Phone);
        Assert.Equal(1, OperationQueue.CountsOf(Sound(await system.SyncAsync())).Updated);
        Assert.Equal("555-0100", (await system.PatronsByGuidAsync())["a"].Phone);
        Assert.Equal(0, OperationQueue.CountsOf(Sound(await system.SyncAsync())).Read);
    }
}
