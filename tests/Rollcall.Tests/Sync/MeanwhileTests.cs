using System.Text.Json.Nodes;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Sandbox;
using Rollcall.Storage;
using Rollcall.Sync;
using Rollcall.Sync.Apply;
using Rollcall.Sync.Undo;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>What people do between the plan of a change and its writing: days can lie between where it waits for an approval.</summary>
public sealed class MeanwhileTests(PostgresCluster cluster)
{
    private async Task<Installation> StartAsync(Db db, FieldMap? map = null)
    {
        var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 60, Schools = 2 });
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = map ?? new FieldMap() });
        return system;
    }

    private static async Task<Operation> SyncAsync(Installation system, OperationKind kind = OperationKind.FullSync) =>
        Sound(await system.SyncAsync(kind: kind));

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

    /// <summary>Runs a sync and does something when it has matched people, before it compares them.</summary>
    private static async Task<Operation> SyncWithAsync(Installation system, Func<Task> meanwhile)
    {
        var (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test"
        );
        var done = false;
        var operation = await system.Follower.RunAsync(
            system.District.Id,
            id,
            (_, text, _, _) =>
            {
                if (text == "Comparing people" && !done)
                {
                    done = true;
                    Task.Run(meanwhile).GetAwaiter().GetResult();
                }
            },
            CancellationToken.None
        );
        Assert.True(done);
        return operation;
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_approval_spares_whom_a_librarian_marked_raised_or_merged_since(Db db)
    {
        await using var system = await StartAsync(db);
        for (var i = 1; i <= 30; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", $"Person{i:00}");
        }

        await SyncAsync(system);
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(1, 14).Select(i => $"p{i:00}"));
        system.Sandbox.Person("q04", "Patty", "Person04");
        var held = await SyncAsync(system);
        Assert.Equal(OperationStatus.NeedsApproval, held.Status);
        Assert.Equal(14, OperationQueue.CountsOf(held).Held);

        var patrons = await system.PatronsByGuidAsync();
        await EditAsync(system, patrons["p01"].Barcode, "doNotTransfer", "true");
        await EditAsync(system, patrons["p02"].Barcode, "keptFields", "status");
        await EditAsync(system, patrons["p03"].Barcode, "group", "Librarian");
        await system.Get<PatronMerge>().MergeAsync(system.District.Id, patrons["p04"].Barcode, patrons["q04"].Barcode, "librarian");
        await EditAsync(system, patrons["p05"].Barcode, "notes", "owes a book");

        var approved = Sound(await system.ApproveAsync(held.Id));
        Assert.Equal(10, OperationQueue.CountsOf(approved).Absent);
        var after = await system.PatronsByGuidAsync();
        Assert.All((string[])["p01", "p02", "p03", "p04"], g => Assert.Equal(PatronStatus.Active, after[g].Status));
        Assert.All(Enumerable.Range(5, 10), i => Assert.Equal(PatronStatus.Transferred, after[$"p{i:00}"].Status));
        var log = await system.LogAsync(held.Id);
        Assert.Equal(["p01", "p02", "p03", "p04"], log.Where(r => r.Stale).Select(r => r.Guid!).Order());
        Assert.All(log.Where(r => r.Stale), r => Assert.Contains("stale", r.Warning, StringComparison.Ordinal));

        // The other record of the one who was merged is known from now on, and makes nobody new.
        Assert.NotNull(await FullDueAsync(system));
        var next = await SyncAsync(system);
        Assert.Equal((0, 0), (OperationQueue.CountsOf(next).Created, OperationQueue.CountsOf(next).Absent));
        Assert.Equal(30, (await system.AllPatronsAsync()).Count);
        Assert.Equal(PatronStatus.Active, (await system.PatronsByGuidAsync())["p04"].Status);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Who_was_left_out_for_a_change_while_a_sync_planned_is_looked_at_by_the_next_one(Db db)
    {
        await using var system = await StartAsync(db, new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) });
        system.Sandbox.Person("p1", "Ada", "Byron", number: "77", phone: "1");
        system.Sandbox.Person("p2", "Ben", "Carver", number: "78", phone: "1");
        await SyncAsync(system);
        var barcode = (await system.PatronsByGuidAsync())["p1"].Barcode;
        system.Sandbox.Person("p1", "Ada", "Byron", number: "77", phone: "2");
        var operation = Sound(await SyncWithAsync(system, () => EditAsync(system, barcode, "guid", null)));
        Assert.Equal(1, Assert.Single(OperationQueue.WarningsOf(operation), w => w.Code == "moved-meanwhile").Count);
        Assert.Equal($"operation {operation.Id} left changes out", await FullDueAsync(system));

        // A sync of changes by itself would not see again who did not change in the roster.
        var next = await SyncAsync(system, OperationKind.ChangesSync);
        Assert.Equal(OperationKind.FullSync, next.Kind);
        Assert.Equal("2", (await system.PatronsByGuidAsync())["p1"].Phone);
        Assert.Null(await FullDueAsync(system));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_hand_edit_beside_what_an_approval_writes_is_seen_by_the_next_sync(Db db)
    {
        await using var system = await StartAsync(db);
        for (var i = 1; i <= 20; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", "Before", phone: "555-0100");
        }

        await SyncAsync(system);
        await SyncAsync(system);
        for (var i = 1; i <= 12; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", "After", phone: "555-0100");
        }

        var held = await SyncAsync(system);
        Assert.Equal(OperationStatus.NeedsApproval, held.Status);
        await EditAsync(system, (await system.PatronsByGuidAsync())["p01"].Barcode, "phone", "by hand");
        Sound(await system.ApproveAsync(held.Id));
        var patron = (await system.PatronsByGuidAsync())["p01"];
        Assert.Equal(("After", "by hand"), (patron.LastName, patron.Phone));

        Assert.Equal(1, OperationQueue.CountsOf(await SyncAsync(system)).Updated);
        Assert.Equal("555-0100", (await system.PatronsByGuidAsync())["p01"].Phone);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Barcodes_that_change_hands_skip_nobody_who_stands_between_them(Db db)
    {
        await using var system = await StartAsync(db, new FieldMap { Barcode = new IdMapping(IdSource.UserIdType, "Card") });
        await system.ConfigureAsync(s => s with { Thresholds = new Thresholds { Updates = new Threshold(100, 1000) } });
        const int Before = 185;
        const int InChain = 60;
        string Id(int i) => $"p{i:000}";
        string Card(int i) => $"C-{i:000}";
        for (var i = 0; i < Before + InChain; i++)
        {
            system.Sandbox.Person(Id(i), "Pat", "Person", barcode: Card(i));
        }

        await SyncAsync(system);
        for (var i = 0; i < Before; i++)
        {
            system.Sandbox.Person(Id(i), "Patricia", "Person", barcode: Card(i));
        }

        // Of three: two who swap, and one who wants the card of somebody who keeps it. All have something else to write.
        var wanted = new Dictionary<string, string>(StringComparer.Ordinal);
        for (var i = Before; i < Before + InChain; i += 3)
        {
            wanted[Id(i)] = Card(i + 2);
            wanted[Id(i + 2)] = Card(i);
            wanted[Id(i + 1)] = Card(i + 1);
            system.Sandbox.Person(Id(i), "Patricia", "Person", barcode: Card(i + 2));
            system.Sandbox.Person(Id(i + 1), "Patricia", "Person", barcode: Card(i - Before));
            system.Sandbox.Person(Id(i + 2), "Patricia", "Person", barcode: Card(i));
        }

        var operation = await SyncAsync(system);
        Assert.Equal(Before + InChain, OperationQueue.CountsOf(operation).Updated);
        var after = await system.PatronsByGuidAsync();
        Assert.All(after.Values, p => Assert.Equal("Patricia", p.FirstName));
        Assert.All(wanted, w => Assert.Equal(w.Value, after[w.Key].Barcode));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Whoever_swaps_a_barcode_with_somebody_held_is_held_too(Db db)
    {
        await using var system = await StartAsync(db, new FieldMap { Barcode = new IdMapping(IdSource.UserIdType, "Card") });
        var there = system.Sandbox.District.Schools.Skip(1).First().SourcedId;
        for (var i = 1; i <= 12; i++)
        {
            system.Sandbox.Person($"b{i:00}", "Ben", "Before", barcode: $"B-{i:00}", orgs: [there]);
        }

        system.Sandbox.Person("a", "Ann", "Alpha", barcode: "A-01");
        system.Sandbox.Person("c", "Cid", "Gamma", barcode: "C-01");
        system.Sandbox.Person("d", "Dan", "Delta", barcode: "D-01");
        await SyncAsync(system);
        for (var i = 2; i <= 12; i++)
        {
            system.Sandbox.Person($"b{i:00}", "Ben", "After", barcode: $"B-{i:00}", orgs: [there]);
        }

        system.Sandbox.Person("b01", "Ben", "Before", barcode: "A-01", orgs: [there]);
        system.Sandbox.Person("a", "Ann", "Alpha", barcode: "B-01");
        system.Sandbox.Person("c", "Cid", "Gamma", barcode: "D-01");
        system.Sandbox.Person("d", "Dan", "Delta", barcode: "C-01");
        var held = await SyncAsync(system);
        Assert.Equal(13, OperationQueue.CountsOf(held).Held);
        var patrons = await system.PatronsByGuidAsync();
        Assert.Equal(("A-01", "B-01"), (patrons["a"].Barcode, patrons["b01"].Barcode));

        // A swap that has nothing to do with it is carried out.
        Assert.Equal(("D-01", "C-01"), (patrons["c"].Barcode, patrons["d"].Barcode));
        Sound(await system.ApproveAsync(held.Id));
        patrons = await system.PatronsByGuidAsync();
        Assert.Equal(("B-01", "A-01"), (patrons["a"].Barcode, patrons["b01"].Barcode));
        Assert.Equal(15, OperationQueue.CountsOf(await SyncAsync(system)).Unchanged);
    }

    [Theory]
    [InlineData(Db.Sqlite, "keptFields", "barcode")]
    [InlineData(Db.Postgres, "keptFields", "barcode")]
    [InlineData(Db.Sqlite, "guid", null)]
    [InlineData(Db.Postgres, "guid", null)]
    public async Task One_of_a_swap_who_is_left_out_keeps_the_barcode_and_fails_nobody(Db db, string field, string? value)
    {
        await using var system = await StartAsync(db, new FieldMap { Barcode = new IdMapping(IdSource.UserIdType, "Card") });
        system.Sandbox.Person("a", "Ann", "Alpha", barcode: "A-01");
        system.Sandbox.Person("b", "Ben", "Beta", barcode: "B-01");
        for (var i = 0; i < 12; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", "Before", barcode: $"P-{i:00}");
        }

        await SyncAsync(system);
        system.Sandbox.Person("a", "Anna", "Alpha", barcode: "B-01");
        system.Sandbox.Person("b", "Benno", "Beta", barcode: "A-01");
        for (var i = 0; i < 12; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", "After", barcode: $"P-{i:00}");
        }

        var held = await SyncAsync(system);
        Assert.Equal(14, OperationQueue.CountsOf(held).Held);
        await EditAsync(system, "A-01", field, value);
        Sound(await system.ApproveAsync(held.Id));
        var patrons = (await system.AllPatronsAsync()).ToDictionary(p => p.Barcode);
        Assert.Equal(("Ann", "Benno"), (patrons["A-01"].FirstName, patrons["B-01"].FirstName));
        Assert.Equal(12, patrons.Values.Count(p => p.LastName == "After"));
        var log = await system.LogAsync(held.Id);
        Assert.True(Assert.Single(log, r => r.Guid == "a").Stale);
        Assert.Contains("taken meanwhile", Assert.Single(log, r => r.Guid == "b").Warning, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Whoever_waits_for_the_barcode_of_somebody_held_is_held_too(Db db)
    {
        await using var system = await StartAsync(db, new FieldMap { Barcode = new IdMapping(IdSource.UserIdType, "Card") });
        var there = system.Sandbox.District.Schools.Skip(1).First().SourcedId;
        for (var i = 1; i <= 12; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", "Before", barcode: $"P-{i:00}", orgs: [there]);
        }

        system.Sandbox.Person("b", "Ben", "Beta", barcode: "B-01");
        await SyncAsync(system);
        for (var i = 1; i <= 12; i++)
        {
            // All but the first keep their cards; hers becomes free, and is handed on.
            system.Sandbox.Person($"p{i:00}", "Pat", "After", barcode: i == 1 ? "X-01" : $"P-{i:00}", orgs: [there]);
        }

        system.Sandbox.Person("b", "Benno", "Beta", barcode: "P-01");
        var held = await SyncAsync(system);
        Assert.Equal(13, OperationQueue.CountsOf(held).Held);
        Assert.Equal(("Ben", "B-01"), ((await system.PatronsByGuidAsync())["b"] is var b ? (b.FirstName, b.Barcode) : default));
        Sound(await system.ApproveAsync(held.Id));
        var after = await system.PatronsByGuidAsync();
        Assert.Equal(("X-01", "P-01"), (after["p01"].Barcode, after["b"].Barcode));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Whoever_was_linked_as_another_record_since_a_preview_is_no_new_patron(Db db)
    {
        await using var system = await StartAsync(db, new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) });
        system.Sandbox.Person("a", "Ann", "Alpha", number: "1001");
        await SyncAsync(system);
        system.Sandbox.Person("a2", "Ann", "Alpha", number: "1001");
        await SyncAsync(system);
        var item = Assert.Single(await system.Get<ReviewService>().ListAsync(system.District.Id));
        var patron = Assert.Single(await system.AllPatronsAsync());

        // Without the number, and under another name, nothing tells any more that both are one, until the librarian says so.
        await EditAsync(system, patron.Barcode, "communityId", null);
        system.Sandbox.Person("a2", "Ann", "Married", number: "1001");
        var preview = await system.SyncAsync(preview: true);
        Assert.Equal(1, OperationQueue.CountsOf(preview).Created);
        await system.Get<ReviewDecisions>().LinkAsync(system.District.Id, item.Id, patron.Barcode, "librarian");
        Sound(await system.ApproveAsync(preview.Id));
        Assert.Single(await system.AllPatronsAsync());
        Assert.True(Assert.Single(await system.LogAsync(preview.Id), r => r.Guid == "a2").Stale);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_row_tells_no_value_that_was_not_written(Db db)
    {
        await using var system = await StartAsync(db, new FieldMap { Barcode = new IdMapping(IdSource.UserIdType, "Card") });
        system.Sandbox.Person("a", "Ann", "Alpha", barcode: "C-100");
        await SyncAsync(system);
        system.Sandbox.Person("a", "Anna", "Alpha", barcode: "C-900");
        var preview = await system.SyncAsync(preview: true);
        await system.Patrons.AddAsync(
            system.District.Id,
            [new("lastName", "Quick"), new("site", "S1"), new("barcode", "C-900")],
            "librarian"
        );
        Sound(await system.ApproveAsync(preview.Id));
        var patron = (await system.PatronsByGuidAsync())["a"];
        Assert.Equal(("Anna", "C-100"), (patron.FirstName, patron.Barcode));
        var row = Assert.Single(await system.LogAsync(preview.Id), r => r.Guid == "a");
        Assert.Equal(["firstName"], row.Changes.Select(c => c.Field));
        Assert.Contains("taken meanwhile", row.Warning, StringComparison.Ordinal);

        var undo = await UndoTests.UndoAsync(system, preview.Id);
        Assert.Equal(OperationStatus.Completed, undo.Status);
        Assert.Equal(("Ann", "C-100"), ((await system.PatronsByGuidAsync())["a"] is var p ? (p.FirstName, p.Barcode) : default));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Merges_while_a_sync_compares_fail_nothing_and_transfer_nobody(Db db)
    {
        await using var system = await StartAsync(db);
        foreach (var id in (string[])["gone", "other", "stays", "again"])
        {
            system.Sandbox.Person(id, "Pat", "Of " + id);
        }

        for (var i = 0; i < 20; i++)
        {
            system.Sandbox.Person($"more{i}", "Pat", $"More {i}");
        }

        await SyncAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        system.Sandbox.Overrides.Remove("users", "gone", "stays");
        var merge = system.Get<PatronMerge>();
        var operation = await SyncWithAsync(
            system,
            async () =>
            {
                // One of those who are absent is merged away; the other turns out to go on under another id.
                await merge.MergeAsync(system.District.Id, patrons["other"].Barcode, patrons["gone"].Barcode, "librarian");
                await merge.MergeAsync(system.District.Id, patrons["stays"].Barcode, patrons["again"].Barcode, "librarian");
            }
        );
        Sound(operation);
        Assert.Equal(0, OperationQueue.CountsOf(operation).Absent);
        Sound(await system.SyncAsync());
        var after = await system.AllPatronsAsync();
        Assert.Equal(22, after.Count);
        Assert.All(after, p => Assert.Equal(PatronStatus.Active, p.Status));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_patron_who_is_linked_by_hand_while_a_sync_compares_keeps_that_link(Db db)
    {
        await using var system = await StartAsync(db, new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) });
        system.Sandbox.Person("first", "Ann", "Alpha", number: "");
        await SyncAsync(system);
        Assert.Null((await system.ImportAsync("barcode,communityId,lastName,firstName,site\nCARD-1,1001,Alpha,Ann,S1\n")).Error);
        system.Sandbox.Person("second", "Ann", "Alpha", number: "1001");
        var first = (await system.PatronsByGuidAsync())["first"];
        var operation = await SyncWithAsync(
            system,
            () => system.Get<PatronMerge>().MergeAsync(system.District.Id, "CARD-1", first.Barcode, "librarian")
        );
        Sound(operation);
        var patron = Assert.Single(await system.AllPatronsAsync());
        Assert.Equal(("CARD-1", "first"), (patron.Barcode, patron.Guid));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_approval_that_is_cancelled_lets_the_next_sync_be_a_full_one(Db db)
    {
        await using var system = await StartAsync(db);
        for (var i = 1; i <= 20; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", $"Person{i:00}");
        }

        await SyncAsync(system);
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(1, 12).Select(i => $"p{i:00}"));
        var held = await SyncAsync(system);
        Assert.Equal(OperationStatus.NeedsApproval, held.Status);
        Assert.Null(await FullDueAsync(system));
        await system.Queue.ApproveAsync(system.District.Id, held.Id, "test");
        await system.Queue.CancelAsync(system.District.Id, held.Id);
        var ended = await system.Queue.GetAsync(system.District.Id, held.Id);
        var counts = OperationQueue.CountsOf(ended);
        Assert.Equal(OperationStatus.Cancelled, ended.Status);
        Assert.True(counts.AddUp, ended.Counts);
        Assert.Equal((0L, 0L, 0L), (counts.Transferred, counts.Absent, counts.Held));
        Assert.All(await system.LogAsync(held.Id), r => Assert.Equal((true, true), (r.Held, r.NotWritten)));
        Assert.Equal(12, Assert.Single(await system.Get<OperationLog>().CountsAsync(system.District.Id, held.Id), c => c.NotWritten).Lines);
        Assert.Contains($"{held.Id}", await FullDueAsync(system), StringComparison.Ordinal);

        var next = await SyncAsync(system, OperationKind.ChangesSync);
        Assert.Equal((OperationKind.FullSync, OperationStatus.NeedsApproval), (next.Kind, next.Status));

        // So does one that is cancelled while it writes.
        await system.Queue.ApproveAsync(system.District.Id, next.Id, "test");
        var cancelled = await system.Follower.RunAsync(
            system.District.Id,
            next.Id,
            (stage, _, _, _) =>
            {
                if (stage == OperationStage.Applying)
                {
                    Task.Run(() => system.Queue.CancelAsync(system.District.Id, next.Id)).GetAwaiter().GetResult();
                }
            },
            CancellationToken.None
        );
        if (cancelled.Status == OperationStatus.Cancelled)
        {
            Assert.Contains($"{next.Id}", await FullDueAsync(system), StringComparison.Ordinal);
        }
    }

    /// <summary>The plan of a full sync replaces a hold; where nothing comes of it, what had been held is not forgotten.</summary>
    [Theory]
    [InlineData(Db.Sqlite, true, false)]
    [InlineData(Db.Postgres, true, false)]
    [InlineData(Db.Sqlite, false, false)]
    [InlineData(Db.Sqlite, true, true)]
    [InlineData(Db.Postgres, true, true)]
    [InlineData(Db.Postgres, false, true)]
    public async Task A_hold_whose_successor_ends_before_its_time_is_planned_again(Db db, bool cancelled, bool faulted)
    {
        await using var system = await StartAsync(db);
        for (var i = 1; i <= 40; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", $"Person{i:00}");
        }

        system.Sandbox.Faults.Set("perm-rev");
        await SyncAsync(system);
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(1, 12).Select(i => $"p{i:00}"));
        var held = await SyncAsync(system);
        Assert.Equal(OperationStatus.NeedsApproval, held.Status);
        system.Sandbox.Person("p40", "Patricia", "Person40");
        var (next, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test"
        );
        await system
            .Get<OperationWorker>()
            .WorkAsync(
                next,
                (stage, _, _, _) =>
                {
                    if (stage == OperationStage.Planning && faulted)
                    {
                        // The worker begins again, with what the database says of the operation.
                        faulted = false;
                        throw new Microsoft.Data.Sqlite.SqliteException("disk I/O error, made by a test", 10);
                    }

                    if (stage != OperationStage.Applying)
                    {
                        return;
                    }

                    if (!cancelled)
                    {
                        throw new RollcallException("The disk is full.");
                    }

                    Task.Run(() => system.Queue.CancelAsync(system.District.Id, next)).GetAwaiter().GetResult();
                },
                CancellationToken.None
            );
        var ended = await system.Queue.GetAsync(system.District.Id, next);
        Assert.Equal(cancelled ? OperationStatus.Cancelled : OperationStatus.Failed, ended.Status);
        Assert.Equal(OperationStatus.Superseded, (await system.Queue.GetAsync(system.District.Id, held.Id)).Status);
        Assert.Equal($"operation {next} ended before all that was planned was written", await FullDueAsync(system));
        var again = await SyncAsync(system, OperationKind.ChangesSync);
        Assert.Equal(
            (OperationKind.FullSync, OperationStatus.NeedsApproval, 12),
            (again.Kind, again.Status, OperationQueue.CountsOf(again).Held)
        );
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_deleted_row_without_a_role_transfers_whoever_is_linked_to_it(Db db)
    {
        await using var system = await StartAsync(db);
        foreach (var id in (string[])["a", "b", "c", "d"])
        {
            system.Sandbox.Person(id, "Pat", "Of " + id);
        }

        await SyncAsync(system);
        static JsonObject Tombstone(string id) =>
            new()
            {
                ["sourcedId"] = id,
                ["status"] = "tobedeleted",
                ["dateLastModified"] = TimeProvider
                    .System.GetUtcNow()
                    .ToString("yyyy-MM-ddTHH:mm:ss.fffZ", System.Globalization.CultureInfo.InvariantCulture),
            };
        system.Sandbox.Overrides.Put("users", Tombstone("a"));
        system.Sandbox.Overrides.Put("users", Tombstone("nobody"));
        var counts = OperationQueue.CountsOf(await SyncAsync(system));
        Assert.Equal((4, 1, 3), (counts.Read, counts.Transferred, counts.Unchanged));
        Assert.Equal(PatronStatus.Transferred, (await system.PatronsByGuidAsync())["a"].Status);

        // The same in a sync of changes, and no second time.
        system.Sandbox.Overrides.Put("users", Tombstone("b"));
        await SyncAsync(system, OperationKind.ChangesSync);
        Assert.Equal(PatronStatus.Transferred, (await system.PatronsByGuidAsync())["b"].Status);
        var again = await SyncAsync(system);
        Assert.Equal(0, OperationQueue.CountsOf(again).Transferred);
        Assert.DoesNotContain(OperationQueue.WarningsOf(again), w => w.Code == "role-missing");

        // Not for roles that are not ticked.
        await system.ConfigureAsync(s => s with { Roles = [RoleGroup.Teacher] });
        system.Sandbox.Overrides.Put("users", Tombstone("c"));
        system.Sandbox.Person("t", "Tea", "Cher", role: "teacher");
        Assert.Equal(1, OperationQueue.CountsOf(await SyncAsync(system)).Read);
        Assert.Equal(PatronStatus.Active, (await system.PatronsByGuidAsync())["c"].Status);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_old_id_that_was_deleted_stays_the_patrons_while_its_new_one_is_in_review(Db db)
    {
        await using var system = await StartAsync(db, new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) });
        system.Sandbox.Person("old", "Ann", "Alpha", number: "1001", email: "ann@x.org");
        system.Sandbox.Person("else", "Eve", "Epsilon", number: "1005", email: "eve@x.org");
        await SyncAsync(system);
        Assert.Null((await system.ImportAsync("barcode,lastName,firstName,email,site\nCARD-9,Alpha,Anna,both@x.org,S1\n")).Error);
        system.Sandbox.Person("old", "Ann", "Alpha", number: "1001", status: "tobedeleted");
        system.Sandbox.Person("new", "Ann", "Alpha", number: "1001", email: "both@x.org");
        var operation = await SyncAsync(system);
        Assert.Equal(1, OperationQueue.CountsOf(operation).Review);
        var log = await system.LogAsync(operation.Id);
        Assert.Equal("transferred", Assert.Single(log, r => r.Guid == "old").Outcome);
        Assert.Equal(PatronStatus.Transferred, (await system.PatronsByGuidAsync())["old"].Status);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_approval_settles_no_question_that_was_opened_again_meanwhile(Db db)
    {
        await using var system = await StartAsync(db, new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) });
        Assert.Null(
            (
                await system.ImportAsync(
                    "barcode,communityId,lastName,firstName,site\nCARD-1,1001,Alpha,Ann,S1\nCARD-2,1001,Alpha,Anna,S1\n"
                )
            ).Error
        );
        system.Sandbox.Person("ask", "Ann", "Alpha", number: "1001");
        for (var i = 1; i <= 20; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", $"Person{i:00}");
        }

        await SyncAsync(system);
        var review = system.Get<ReviewService>();
        var decisions = system.Get<ReviewDecisions>();
        var item = Assert.Single(await review.ListAsync(system.District.Id));
        await decisions.IgnoreAsync(system.District.Id, item.Id, "librarian");
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(1, 12).Select(i => $"p{i:00}"));
        var held = await SyncAsync(system);
        Assert.Equal(OperationStatus.NeedsApproval, held.Status);
        var reopened = await decisions.ReopenAsync(system.District.Id, item.Id, "librarian");
        await system.Follower.RunAsync(system.District.Id, reopened.OperationId, null, CancellationToken.None);
        Assert.Equal(1, await review.OpenCountAsync(system.District.Id));
        Sound(await system.ApproveAsync(held.Id));
        Assert.Equal(1, await review.OpenCountAsync(system.District.Id));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_second_undo_takes_back_what_the_first_one_had_to_leave(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("a", "Ann", "Alpha", phone: "1");
        system.Sandbox.Person("b", "Ben", "Beta", phone: "1");
        await SyncAsync(system);
        system.Sandbox.Person("a", "Anna", "Alpha", phone: "2");
        system.Sandbox.Person("b", "Benno", "Beta", phone: "2");
        var run = await SyncAsync(system);
        var patron = (await system.PatronsByGuidAsync())["a"];
        await EditAsync(system, patron.Barcode, "phone", "3");
        var edit = (await system.Queue.ListAsync(system.District.Id, withEdits: true))[0];

        await UndoTests.UndoAsync(system, run.Id, patron.Barcode);
        var half = (await system.PatronsByGuidAsync())["a"];
        Assert.Equal(("Ann", "3"), (half.FirstName, half.Phone));
        await UndoTests.UndoAsync(system, edit.Id);
        Assert.Equal("2", (await system.PatronsByGuidAsync())["a"].Phone);
        await UndoTests.UndoAsync(system, run.Id);
        var after = await system.PatronsByGuidAsync();
        Assert.Equal(("Ann", "1"), (after["a"].FirstName, after["a"].Phone));
        Assert.Equal(("Ben", "1"), (after["b"].FirstName, after["b"].Phone));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_undone_edit_of_the_status_brings_back_what_a_return_to_the_roster_restores(Db db)
    {
        await using var system = await StartAsync(db);
        foreach (var id in (string[])["one", "many", "stays"])
        {
            system.Sandbox.Person(id, "Pat", "Of " + id);
        }

        await SyncAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        await EditAsync(system, patrons["one"].Barcode, "status", "Suspended");
        await EditAsync(system, patrons["many"].Barcode, "status", "Suspended");
        system.Sandbox.Overrides.Remove("users", "one", "many");
        Assert.Equal(2, OperationQueue.CountsOf(await SyncAsync(system)).Absent);
        await EditAsync(system, patrons["one"].Barcode, "status", "Inactive");
        var bulk = await system
            .Get<PatronBulk>()
            .PlanEditAsync(
                system.District.Id,
                new PatronFilter { Search = "Of many" },
                [new("status", "Inactive")],
                preview: false,
                "librarian"
            );
        Sound(await system.Follower.RunAsync(system.District.Id, bulk, null, CancellationToken.None));
        Assert.Equal(PatronStatus.Inactive, (await system.PatronsByGuidAsync())["many"].Status);
        foreach (var edit in (await system.Queue.ListAsync(system.District.Id, withEdits: true)).Take(2).ToList())
        {
            await UndoTests.UndoAsync(system, edit.Id);
        }

        Assert.Equal(PatronStatus.Transferred, (await system.PatronsByGuidAsync())["one"].Status);
        system.Sandbox.Person("one", "Pat", "Of one");
        system.Sandbox.Person("many", "Pat", "Of many");
        await SyncAsync(system);
        patrons = await system.PatronsByGuidAsync();
        Assert.Equal((PatronStatus.Suspended, PatronStatus.Suspended), (patrons["one"].Status, patrons["many"].Status));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_hold_ends_when_a_sync_of_changes_sees_those_whom_it_would_transfer(Db db)
    {
        await using var system = await StartAsync(db);
        static string Now() =>
            TimeProvider.System.GetUtcNow().ToString("yyyy-MM-ddTHH:mm:ss.fffZ", System.Globalization.CultureInfo.InvariantCulture);
        for (var i = 1; i <= 30; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", $"Person{i:00}");
        }

        await SyncAsync(system);
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(1, 14).Select(i => $"p{i:00}"));
        var held = await SyncAsync(system);
        Assert.Equal(OperationStatus.NeedsApproval, held.Status);

        // Who has nothing to do with it leaves it as it is.
        system.Sandbox.Person("p30", "Patricia", "Person30", modified: Now());
        await SyncAsync(system, OperationKind.ChangesSync);
        Assert.Equal(OperationStatus.NeedsApproval, (await system.Queue.GetAsync(system.District.Id, held.Id)).Status);

        system.Sandbox.Person("p07", "Pat", "Person07", modified: Now());
        Assert.Equal(OperationKind.ChangesSync, (await SyncAsync(system, OperationKind.ChangesSync)).Kind);
        Assert.Equal(OperationStatus.Superseded, (await system.Queue.GetAsync(system.District.Id, held.Id)).Status);
        Assert.NotNull(await FullDueAsync(system));
        var next = await SyncAsync(system, OperationKind.ChangesSync);
        Assert.Equal((OperationKind.FullSync, 13), (next.Kind, (int)OperationQueue.CountsOf(next).Held));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_undone_merge_brings_the_other_record_back_whatever_was_decided_since(Db db)
    {
        await using var system = await StartAsync(db);
        foreach (var id in (string[])["a", "b", "c", "d"])
        {
            system.Sandbox.Person(id, "Pat", "Of " + id);
        }

        await SyncAsync(system);
        var before = await UndoTests.PictureAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        var merge = system.Get<PatronMerge>();
        var first = await merge.MergeAsync(system.District.Id, patrons["a"].Barcode, patrons["b"].Barcode, "librarian");
        var undo = await system.Get<UndoService>().EnqueueAsync(system.District.Id, first, null, "test");
        var second = await merge.MergeAsync(system.District.Id, patrons["c"].Barcode, patrons["d"].Barcode, "librarian");
        Assert.Equal(
            OperationStatus.Completed,
            Sound(await system.Follower.RunAsync(system.District.Id, undo, null, CancellationToken.None)).Status
        );
        await UndoTests.UndoAsync(system, second);
        Assert.Equal(before, await UndoTests.PictureAsync(system));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_removed_patron_comes_again_though_the_service_says_that_nothing_changed(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Faults.Set("perm-rev");
        system.Sandbox.Person("a", "Ann", "Alpha");
        system.Sandbox.Person("b", "Ben", "Beta");
        await SyncAsync(system);
        Assert.Equal(0, OperationQueue.CountsOf(await SyncAsync(system)).Read);
        var gone = (await system.PatronsByGuidAsync())["a"];
        var removal = await system.Get<PatronBulk>().PlanRemovalAsync(system.District.Id, [gone.Barcode], preview: false, "librarian");
        await system.Follower.RunAsync(system.District.Id, removal, null, CancellationToken.None);
        Assert.Equal(1, OperationQueue.CountsOf(await SyncAsync(system)).Created);
    }

    /// <summary>Of a link, what somebody changed since the plan is newer than a plan that waited, and older than one that is being written.</summary>
    [Fact]
    public void A_link_that_changed_since_stays_as_it_is_where_a_plan_waited()
    {
        var before = new LinkState { Username = "first", HomeroomClass = "c1" };
        var planned = before with { Username = "second" };
        var present = (before with { Username = "third", HomeroomClass = "c2" }).ToLink(1, 1);
        Assert.Equal(
            before with
            {
                Username = "third",
                HomeroomClass = "c2",
            },
            Rollcall.Sync.Apply.Meanwhile.Merge(before, planned, present, late: true)
        );
        Assert.Equal(
            before with
            {
                Username = "second",
                HomeroomClass = "c2",
            },
            Rollcall.Sync.Apply.Meanwhile.Merge(before, planned, present, late: false)
        );
    }

    /// <summary>Seconds lie between plan and writing, without any approval.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_sync_makes_nobody_anew_whom_a_librarian_added_while_it_planned(Db db)
    {
        await using var system = await StartAsync(db, new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) });
        system.Sandbox.Person("a", "Ann", "Alpha", number: "1001");
        system.Sandbox.Person("b", "Ben", "Beta", number: "1002");
        var operation = Sound(
            await SyncWithAsync(
                system,
                () =>
                    system.Patrons.AddAsync(
                        system.District.Id,
                        [new("lastName", "Alpha"), new("site", "S1"), new("communityId", "1001"), new("barcode", "CARD-1")],
                        "librarian"
                    )
            )
        );
        Assert.Equal((1, 1), (OperationQueue.CountsOf(operation).Created, OperationQueue.CountsOf(operation).Skipped));
        Assert.NotNull(await FullDueAsync(system));
        await SyncAsync(system);
        Assert.Equal(2, (await system.AllPatronsAsync()).Count);
        Assert.Equal("CARD-1", (await system.PatronsByGuidAsync())["a"].Barcode);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_approved_import_gives_nobody_an_id_that_was_linked_as_a_further_one_since(Db db)
    {
        await using var system = await StartAsync(db, new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) });
        await system.ImportAsync("barcode,lastName,firstName,site\nOLD1,Carver,Ben,S1\n");
        system.Sandbox.Person("p1", "Ada", "Byron", number: "77");
        await SyncAsync(system);
        using var file = new MemoryStream(System.Text.Encoding.UTF8.GetBytes("barcode,guid,lastName\nOLD1,p2,Carver\n"));
        var import = await system.Get<PatronImport>().PlanAsync(system.District.Id, file, "patrons.csv", preview: true, "librarian");
        await system.Follower.RunAsync(system.District.Id, import, null, CancellationToken.None);
        system.Sandbox.Person("p2", "Ada", "Byron", number: "77");
        await SyncAsync(system);
        var item = Assert.Single(await system.Get<ReviewService>().ListAsync(system.District.Id));
        await system.Get<ReviewDecisions>().LinkAsync(system.District.Id, item.Id, item.Candidates[0], "librarian");
        Sound(await system.ApproveAsync(import));
        Assert.Null(Assert.Single(await system.AllPatronsAsync(), p => p.Barcode == "OLD1").Guid);
        Assert.Contains(await system.LogAsync(import), r => r.Stale);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_barcode_that_is_taken_since_a_preview_costs_one_new_patron_theirs_and_no_other(Db db)
    {
        await using var system = await StartAsync(db, new FieldMap { Barcode = new IdMapping(IdSource.UserIdType, "Card") });
        for (var i = 1; i <= 30; i++)
        {
            // One of them has a card that the site would give next.
            system.Sandbox.Person($"p{i:00}", "Pat", $"Person{i:00}", barcode: i == 12 ? "P100031" : null);
        }

        var preview = Sound(await system.SyncAsync(preview: true));
        var planned = (await system.LogAsync(preview.Id))
            .Where(r => r.Kind == "create")
            .ToDictionary(r => r.Guid!, r => r.Barcode!, StringComparer.Ordinal);
        Assert.Equal((30, "P100031"), (planned.Count, planned["p12"]));
        var added = await system.Patrons.AddAsync(system.District.Id, [new("lastName", "Hand"), new("site", "S1")], "librarian");
        Assert.Contains(added.Barcode, planned.Values);

        var approved = Sound(await system.ApproveAsync(preview.Id));
        Assert.Equal(30, OperationQueue.CountsOf(approved).Created);
        var after = await system.PatronsByGuidAsync();
        var other = Assert.Single(after.Values, p => p.Barcode != planned[p.Guid!]);
        Assert.Equal(added.Barcode, planned[other.Guid!]);
        Assert.DoesNotContain(other.Barcode, planned.Values);
        Assert.Equal(other.Guid, Assert.Single(await system.LogAsync(preview.Id), r => r.Warning is not null).Guid);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_barcode_of_a_file_is_given_to_nobody_else_of_it(Db db)
    {
        await using var system = await StartAsync(db);
        using var file = new MemoryStream(
            "lastName,firstName,barcode,site\nAlpha,Ann,,S1\nBeta,Ben,P100002,S1\nGamma,Cid,,S1\n"u8.ToArray()
        );
        var id = await system.Get<PatronImport>().PlanAsync(system.District.Id, file, "patrons.csv", preview: true, "librarian");
        await system.Follower.RunAsync(system.District.Id, id, null, CancellationToken.None);
        var planned = (await system.LogAsync(id)).ToDictionary(r => r.Name!, r => r.Barcode!, StringComparer.Ordinal);
        var added = await system.Patrons.AddAsync(system.District.Id, [new("lastName", "Hand"), new("site", "S1")], "librarian");
        Assert.Equal(added.Barcode, planned["Alpha, Ann"]);
        var approved = Sound(await system.ApproveAsync(id));
        Assert.Equal(3, OperationQueue.CountsOf(approved).Created);
        var after = (await system.AllPatronsAsync()).ToDictionary(p => p.LastName, p => p.Barcode, StringComparer.Ordinal);
        Assert.Equal(("P100002", planned["Gamma, Cid"]), (after["Beta"], after["Gamma"]));
        Assert.DoesNotContain(after["Alpha"], planned.Values);
    }

    /// <summary>A row that is warned of for something else was approved without knowing of the number.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_number_that_somebody_got_since_a_preview_of_an_import_makes_no_second_record(Db db)
    {
        await using var system = await StartAsync(db);
        Assert.Null((await system.ImportAsync("barcode,communityId,lastName,site\n00942,9,Alpha,S1\n00943,7,Beta,S1\n")).Error);
        using var file = new MemoryStream("barcode,communityId,lastName,site\n942,1001,Gamma,S1\n944,7,Delta,S1\n"u8.ToArray());
        var id = await system.Get<PatronImport>().PlanAsync(system.District.Id, file, "patrons.csv", preview: true, "librarian");
        await system.Follower.RunAsync(system.District.Id, id, null, CancellationToken.None);
        Assert.Equal(2, (await system.LogAsync(id)).Count(r => r.Warning is not null));
        await system.Patrons.AddAsync(
            system.District.Id,
            [new("barcode", "HAND"), new("communityId", "1001"), new("lastName", "Gamma"), new("site", "S1")],
            "librarian"
        );
        var approved = await system.ApproveAsync(id);
        Assert.Equal(1, OperationQueue.CountsOf(approved).Created);
        Assert.Single(await system.AllPatronsAsync(), p => p.CommunityId == "1001");
        Assert.Equal(2, (await system.AllPatronsAsync()).Count(p => p.CommunityId == "7"));
    }

    /// <summary>All of them hand on their barcodes at once: more rows in one transaction than SQLite takes parameters in a statement.</summary>
    [Fact]
    public async Task A_chain_however_long_is_written_in_one_transaction()
    {
        const int Many = 33_000;
        await using var system = await StartAsync(Db.Sqlite);
        var district = system.District.Id;
        static string Card(int i) => $"C-{(i - 1) % Many:00000}";
        var patrons = Enumerable
            .Range(1, Many)
            .Select(i =>
            {
                var patron = new Patron
                {
                    DistrictId = district,
                    Id = i,
                    LastName = "Person",
                    Barcode = Card(i),
                    Version = 1,
                };
                patron.SetKeys();
                return patron;
            })
            .ToList();
        var operation = new Operation
        {
            DistrictId = district,
            Kind = OperationKind.Import,
            Planned = true,
            PlanSize = Many,
            Counts = System.Text.Json.JsonSerializer.Serialize(new SyncCounts { Read = Many, Updated = Many }, OperationQueue.Json),
        };
        await using (var connection = await system.Database.OpenAsync())
        {
            await using var transaction = await system.Database.Bulk.BeginWriteAsync(connection, CancellationToken.None);
            await using var context = system.Database.CreateContext(connection, transaction);
            context.Operations.Add(operation);
            await context.SaveChangesAsync();
            var bulk = system.Database.Bulk;
            await bulk.InsertAsync(connection, transaction, BulkTables.Patrons, patrons, CancellationToken.None);
            await bulk.InsertAsync(
                connection,
                transaction,
                BulkTables.Changes,
                [
                    .. Enumerable
                        .Range(1, Many)
                        .Select(i =>
                        {
                            var values = new ChangeValues();
                            values.Add(PatronFields.Barcode, Card(i), Card(i + 1));
                            return new Change
                            {
                                DistrictId = district,
                                OperationId = operation.Id,
                                Number = i,
                                Kind = ChangeKind.Update,
                                Outcome = Outcome.Updated,
                                PatronId = i,
                                Chained = true,
                                Values = values.ToJson(),
                                LinkBefore = new LinkState().ToJson(),
                                Link = LinkState.Removed,
                            };
                        }),
                ],
                CancellationToken.None
            );
            await transaction.CommitAsync();
        }

        var done = Sound(await system.Follower.RunAsync(district, operation.Id, null, CancellationToken.None));
        Assert.Equal(OperationStatus.Completed, done.Status);
        Assert.Equal(
            Enumerable.Range(1, Many).Select(i => Card(i + 1)),
            (await system.AllPatronsAsync()).OrderBy(p => p.Id).Select(p => p.Barcode)
        );
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_hold_that_an_approved_preview_replaces_says_so(Db db)
    {
        await using var system = await StartAsync(db);
        for (var i = 1; i <= 20; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", $"Person{i:00}");
        }

        await SyncAsync(system);
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(1, 12).Select(i => $"p{i:00}"));
        var held = await SyncAsync(system);
        var preview = Sound(await system.SyncAsync(preview: true));
        await system.Queue.ApproveAsync(system.District.Id, held.Id, "librarian");
        await system.Queue.ApproveAsync(system.District.Id, preview.Id, "librarian");
        var ended = await system.Queue.GetAsync(system.District.Id, held.Id);
        Assert.Equal(OperationStatus.Superseded, ended.Status);
        Assert.Equal(
            $"Operation {preview.Id}, a preview that was approved after this one, had read the roster later and says what is so now. Nothing was written.",
            ended.Error?.Replace("What had been written before stays.", "Nothing was written.", StringComparison.Ordinal)
        );
    }
}
