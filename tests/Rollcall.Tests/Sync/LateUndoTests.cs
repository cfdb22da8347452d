using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Storage;
using Rollcall.Sync;
using Rollcall.Sync.Apply;
using Rollcall.Sync.Undo;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>What is taken back late, when syncs, merges and decisions came after it: one id of the roster is never two patrons', and nobody is
/// lost.</summary>
public sealed class LateUndoTests(PostgresCluster cluster)
{
    private async Task<Installation> StartAsync(Db db)
    {
        var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) } });
        return system;
    }

    private static async Task<Operation> SyncAsync(Installation system)
    {
        var operation = await system.SyncAsync();
        Assert.Null(operation.Error);
        Assert.True(OperationQueue.CountsOf(operation).AddUp, operation.Counts);
        await SoundAsync(system);
        return operation;
    }

    private static async Task<Operation> UndoAsync(Installation system, long id)
    {
        var undo = await UndoTests.UndoAsync(system, id);
        Assert.True(OperationQueue.CountsOf(undo).AddUp, undo.Counts);
        await SoundAsync(system);
        return undo;
    }

    private static Task<long> MergeAsync(Installation system, Patron keep, Patron other) =>
        system.Get<PatronMerge>().MergeAsync(system.District.Id, keep.Barcode, other.Barcode, "librarian");

    /// <summary>The login of somebody in the roster changes, so that a sync changes the link and no field.</summary>
    private static void Rename(Installation system, string id) =>
        system.Sandbox.Overrides.Change("users", id, u => u["username"] = id + ".other");

    private static async Task<Dictionary<long, PatronLink>> LinksAsync(Installation system)
    {
        await using var context = system.Database.CreateContext();
        return await context.PatronLinks.AsNoTracking().ToDictionaryAsync(l => l.PatronId);
    }

    /// <summary>One id of the roster is one patron's, and whoever has no GUID has no link.</summary>
    private static async Task SoundAsync(Installation system)
    {
        var patrons = await system.AllPatronsAsync();
        var links = await LinksAsync(system);
        var ids = patrons
            .Where(p => p.Guid is not null)
            .Select(p => p.Guid!)
            .Concat(links.Values.Where(l => l.Aliases is not null).SelectMany(l => l.Aliases!.Split('\n')))
            .ToList();
        Assert.Equal(ids.Count, ids.Distinct(StringComparer.Ordinal).Count());
        Assert.All(links.Keys, id => Assert.NotNull(Assert.Single(patrons, p => p.Id == id).Guid));
    }

    private static async Task RefusedAsync(Func<Task> act, string words)
    {
        var refused = await Assert.ThrowsAsync<RollcallException>(act);
        Assert.Contains(words, refused.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_undone_merge_takes_its_alias_off_though_a_sync_changed_the_link_since(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("p1", "Ada", "Byron");
        system.Sandbox.Person("p2", "Ada", "Byron");
        await SyncAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        var merge = await MergeAsync(system, patrons["p1"], patrons["p2"]);
        Rename(system, "p1");
        await SyncAsync(system);
        var undo = await UndoAsync(system, merge);
        Assert.Equal(OperationStatus.Completed, undo.Status);
        patrons = await system.PatronsByGuidAsync();
        var links = await LinksAsync(system);
        Assert.Equal(
            ((string?)null, "p1.other", "p2.login"),
            (links[patrons["p1"].Id].Aliases, links[patrons["p1"].Id].Username, links[patrons["p2"].Id].Username)
        );

        // Each is one's own person again: the one who goes is transferred, the other stays.
        system.Sandbox.Overrides.Remove("users", "p1");
        Assert.Equal(1, OperationQueue.CountsOf(await SyncAsync(system)).Absent);
        patrons = await system.PatronsByGuidAsync();
        Assert.Equal((PatronStatus.Transferred, PatronStatus.Active), (patrons["p1"].Status, patrons["p2"].Status));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_merge_whose_record_was_merged_further_is_undone_after_that(Db db)
    {
        await using var system = await StartAsync(db);
        foreach (var id in (string[])["a", "b", "c"])
        {
            system.Sandbox.Person(id, "Pat", "Of " + id);
        }

        await SyncAsync(system);
        var before = await UndoTests.PictureAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        var first = await MergeAsync(system, patrons["a"], patrons["b"]);
        var second = await MergeAsync(system, patrons["c"], patrons["a"]);
        Rename(system, "c");
        await SyncAsync(system);
        await RefusedAsync(() => UndoTests.UndoAsync(system, first), $"undo operation {second} first");
        Assert.Single(await system.AllPatronsAsync());

        await UndoAsync(system, second);
        patrons = await system.PatronsByGuidAsync();
        var links = await LinksAsync(system);
        Assert.Equal(("b", null), (links[patrons["a"].Id].Aliases, links[patrons["c"].Id].Aliases));
        await UndoAsync(system, first);
        var counts = OperationQueue.CountsOf(await SyncAsync(system));
        Assert.Equal((0, 0, 0), (counts.Created, counts.Review, counts.Absent));
        Assert.Equal(before.Keys, (await UndoTests.PictureAsync(system)).Keys);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_undone_merge_that_nothing_can_free_the_id_for_brings_the_record_back_without_it(Db db)
    {
        await using var system = await StartAsync(db);
        foreach (var id in (string[])["a", "b", "c"])
        {
            system.Sandbox.Person(id, "Pat", "Of " + id);
        }

        await SyncAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        var first = await MergeAsync(system, patrons["a"], patrons["b"]);
        var second = await MergeAsync(system, patrons["c"], patrons["a"]);
        await using (var context = system.Database.CreateContext())
        {
            await context.Operations.Where(o => o.Id == second).ExecuteUpdateAsync(s => s.SetProperty(o => o.Expired, true));
        }

        var undo = await UndoAsync(system, first);
        Assert.Equal(OperationStatus.CompletedWithWarnings, undo.Status);
        var back = Assert.Single(await system.AllPatronsAsync(), p => p.LastName == "Of b");
        Assert.Null(back.Guid);
        Assert.Contains(
            await system.LogAsync(undo.Id),
            r => r.Warning?.Contains("brought back without GUID and link", StringComparison.Ordinal) == true
        );
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Merges_into_one_record_are_undone_in_any_order(Db db)
    {
        await using var system = await StartAsync(db);
        foreach (var id in (string[])["a", "b", "c"])
        {
            system.Sandbox.Person(id, "Pat", "Of " + id);
        }

        await SyncAsync(system);
        await SyncAsync(system);
        var before = await UndoTests.PictureAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        var first = await MergeAsync(system, patrons["a"], patrons["b"]);
        var second = await MergeAsync(system, patrons["a"], patrons["c"]);
        await UndoAsync(system, first);
        Assert.Equal("c", (await LinksAsync(system))[patrons["a"].Id].Aliases);
        await UndoAsync(system, second);
        Assert.Equal(before, await UndoTests.PictureAsync(system));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_merge_that_linked_the_record_is_undone_after_those_that_built_on_the_link(Db db)
    {
        await using var system = await StartAsync(db);
        Assert.Null((await system.ImportAsync("barcode,lastName,firstName,site\nOLD1,Byron,Augusta,S1\n")).Error);
        system.Sandbox.Person("p1", "Ada", "Byron");
        system.Sandbox.Person("p2", "Ada", "Byron");
        await SyncAsync(system);
        var before = await UndoTests.PictureAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        var old = Assert.Single(await system.AllPatronsAsync(), p => p.Barcode == "OLD1");
        var first = await MergeAsync(system, old, patrons["p1"]);
        var second = await MergeAsync(system, old, patrons["p2"]);
        await RefusedAsync(() => UndoTests.UndoAsync(system, first), $"undo operation {second} first");
        await UndoAsync(system, second);
        await UndoAsync(system, first);
        Assert.Equal(before, await UndoTests.PictureAsync(system));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_person_linked_in_Review_by_mistake_is_asked_about_again_though_a_sync_changed_the_link(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("p1", "Ada", "Byron", number: "77");
        await SyncAsync(system);
        system.Sandbox.Person("p2", "Ada", "Byron", number: "77");
        await SyncAsync(system);
        var review = system.Get<ReviewService>();
        var decisions = system.Get<ReviewDecisions>();
        var item = Assert.Single(await review.ListAsync(system.District.Id));
        await decisions.LinkAsync(system.District.Id, item.Id, item.Candidates[0], "librarian");
        Rename(system, "p1");
        await SyncAsync(system);
        var back = await decisions.ReopenAsync(system.District.Id, item.Id, "librarian");
        var undo = await system.Follower.RunAsync(system.District.Id, back.OperationId, null, CancellationToken.None);
        Assert.Equal(OperationStatus.Completed, undo.Status);
        Assert.Equal(item.Id, Assert.Single(await review.ListAsync(system.District.Id)).Id);

        // The pupil gets a record after all, as the roster says it now, and both stay as they are.
        await SyncAsync(system);
        await decisions.CreateAsync(system.District.Id, item.Id, "librarian");
        await SyncAsync(system);
        Assert.Equal(["p1", "p2"], (await system.PatronsByGuidAsync()).Keys.Order(StringComparer.Ordinal));
        Assert.Equal(0, await review.OpenCountAsync(system.District.Id));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_decision_whose_patron_was_merged_further_is_taken_back_after_that(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("p1", "Ada", "Byron", number: "77");
        system.Sandbox.Person("p3", "Eve", "Other");
        await SyncAsync(system);
        system.Sandbox.Person("p2", "Ada", "Byron", number: "77");
        await SyncAsync(system);
        var review = system.Get<ReviewService>();
        var decisions = system.Get<ReviewDecisions>();
        var item = Assert.Single(await review.ListAsync(system.District.Id));
        await decisions.LinkAsync(system.District.Id, item.Id, item.Candidates[0], "librarian");
        var patrons = await system.PatronsByGuidAsync();
        var merge = await MergeAsync(system, patrons["p3"], patrons["p1"]);
        await RefusedAsync(() => decisions.ReopenAsync(system.District.Id, item.Id, "librarian"), $"undo operation {merge} first");
        await UndoAsync(system, merge);
        var back = await decisions.ReopenAsync(system.District.Id, item.Id, "librarian");
        await system.Follower.RunAsync(system.District.Id, back.OperationId, null, CancellationToken.None);
        await SoundAsync(system);
        Assert.Equal(1, await review.OpenCountAsync(system.District.Id));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_decision_that_could_not_be_taken_back_asks_nobody_again(Db db)
    {
        await using var system = await StartAsync(db);
        Assert.Null(
            (
                await system.ImportAsync(
                    "barcode,communityId,lastName,firstName,site\nCARD-1,1001,Alpha,Ann,S1\nCARD-2,1001,Alpha,Anna,S1\n"
                )
            ).Error
        );
        system.Sandbox.Person("ask", "Ann", "Alpha", number: "1001");
        await SyncAsync(system);
        var review = system.Get<ReviewService>();
        var decisions = system.Get<ReviewDecisions>();
        var item = Assert.Single(await review.ListAsync(system.District.Id));
        var created = await decisions.CreateAsync(system.District.Id, item.Id, "librarian");
        await system.Patrons.EditAsync(system.District.Id, created.Barcode!, [new("notes", "has books")], "librarian");
        var back = await decisions.ReopenAsync(system.District.Id, item.Id, "librarian");
        var undo = await system.Follower.RunAsync(system.District.Id, back.OperationId, null, CancellationToken.None);
        Assert.Equal(OperationStatus.CompletedWithWarnings, undo.Status);
        Assert.Contains("ask", (await system.PatronsByGuidAsync()).Keys);
        Assert.Equal(0, await review.OpenCountAsync(system.District.Id));
    }

    [Theory]
    [InlineData(Db.Sqlite, "")]
    [InlineData(Db.Postgres, "")]
    [InlineData(Db.Sqlite, "reads a lot")]
    [InlineData(Db.Postgres, "reads a lot")]
    public async Task Whoever_another_record_was_merged_into_outlives_the_undo_of_the_run_that_made_them(Db db, string notes)
    {
        await using var system = await StartAsync(db);
        Assert.Null((await system.ImportAsync($"barcode,lastName,firstName,notes,site\nOLD1,Byron,Augusta,{notes},S1\n")).Error);
        system.Sandbox.Person("p1", "Ada", "Byron", email: "ada@example.org");
        var run = await SyncAsync(system);
        var made = (await system.PatronsByGuidAsync())["p1"];
        var old = Assert.Single(await system.AllPatronsAsync(), p => p.Barcode == "OLD1");
        var merge = await MergeAsync(system, made, old);
        var undo = await UndoAsync(system, run.Id);
        Assert.Equal(made.Id, Assert.Single(await system.AllPatronsAsync()).Id);
        Assert.Contains(
            await system.LogAsync(undo.Id),
            r =>
                r.Reason!.Contains(
                    notes.Length == 0 ? $"merged into it by operation {merge}" : "The patron stays",
                    StringComparison.Ordinal
                )
        );

        // The merge can still be taken back.
        await UndoAsync(system, merge);
        Assert.Equal(2, (await system.AllPatronsAsync()).Count);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_merge_that_was_undone_keeps_nobody_from_being_taken_out(Db db)
    {
        await using var system = await StartAsync(db);
        Assert.Null((await system.ImportAsync("barcode,lastName,firstName,site\nOLD1,Byron,Augusta,S1\n")).Error);
        system.Sandbox.Person("p1", "Ada", "Byron", email: "ada@example.org");
        var run = await SyncAsync(system);
        var old = Assert.Single(await system.AllPatronsAsync(), p => p.Barcode == "OLD1");
        var merge = await MergeAsync(system, (await system.PatronsByGuidAsync())["p1"], old);
        await UndoAsync(system, merge);
        Assert.Equal(OperationStatus.Completed, (await UndoAsync(system, run.Id)).Status);
        Assert.Equal("OLD1", Assert.Single(await system.AllPatronsAsync()).Barcode);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_link_goes_with_the_GUID_though_a_later_sync_changed_it(Db db)
    {
        await using var system = await StartAsync(db);
        Assert.Null((await system.ImportAsync("barcode,communityId,lastName,firstName,site\nOLD1,77,Byron,Ada,S1\n")).Error);
        system.Sandbox.Person("p1", "Ada", "Byron", number: "77");
        var first = await SyncAsync(system);
        Assert.Equal("p1", Assert.Single(await system.AllPatronsAsync()).Guid);
        Rename(system, "p1");
        var second = await SyncAsync(system);
        var undo = await UndoAsync(system, first.Id);
        Assert.Equal(OperationStatus.Completed, undo.Status);
        Assert.Null(Assert.Single(await system.AllPatronsAsync()).Guid);
        Assert.Empty(await LinksAsync(system));

        // What the second run did went with the link; taking it back brings none.
        await UndoAsync(system, second.Id);
        Assert.Empty(await LinksAsync(system));
        await SyncAsync(system);
        Assert.Equal("p1", Assert.Single(await system.AllPatronsAsync()).Guid);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_link_that_another_record_was_merged_into_stays_with_its_GUID(Db db)
    {
        await using var system = await StartAsync(db);
        Assert.Null((await system.ImportAsync("barcode,communityId,lastName,firstName,site\nOLD1,77,Byron,Ada,S1\n")).Error);
        system.Sandbox.Person("p1", "Ada", "Byron", number: "77");
        var run = await SyncAsync(system);
        system.Sandbox.Person("p2", "Ada", "Byron");
        await SyncAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        var merge = await MergeAsync(system, patrons["p1"], patrons["p2"]);
        var undo = await UndoAsync(system, run.Id);
        var patron = Assert.Single(await system.AllPatronsAsync());
        Assert.Equal(("p1", "p2"), (patron.Guid, (await LinksAsync(system))[patron.Id].Aliases));
        Assert.Contains(
            await system.LogAsync(undo.Id),
            r => r.Warning?.Contains($"GUID stays (operation {merge} linked another record", StringComparison.Ordinal) == true
        );
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_a_later_run_changed_of_a_link_stays_and_the_rest_goes_back(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("p1", "Ada", "Byron", agents: ["g1"]);
        system.Sandbox.Person("g1", "Anne", "Byron", role: "parent", phone: "9");
        system.Sandbox.Person("g2", "Bert", "Byron", role: "parent", phone: "8");
        await SyncAsync(system);
        system.Sandbox.Person("p1", "Ada", "Byron", agents: ["g1", "g2"]);
        Rename(system, "p1");
        var run = await SyncAsync(system);
        system.Sandbox.Overrides.Change("users", "p1", u => u["username"] = "third");
        var later = await SyncAsync(system);
        var undo = await UndoAsync(system, run.Id);
        var link = Assert.Single(await LinksAsync(system)).Value;
        Assert.Equal(("g1", "third"), (link.Guardians, link.Username));
        Assert.Contains(
            await system.LogAsync(undo.Id),
            r => r.Warning?.Contains($"Username stays (changed since by operation {later.Id})", StringComparison.Ordinal) == true
        );

        // The later run, taken back after it, has nothing older to go to than what is there now.
        await UndoAsync(system, later.Id);
        Assert.Equal(("g1", "p1.other"), Assert.Single(await LinksAsync(system)).Value is var l ? (l.Guardians, l.Username) : default);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_record_whose_barcode_is_taken_since_comes_back_with_the_next_one_and_the_operation_says_so(Db db)
    {
        await using var system = await StartAsync(db);
        Assert.Null((await system.ImportAsync("barcode,lastName,firstName,site\nKEEP1,Byron,Ada,S1\nOLD1,Byron,Augusta,\n")).Error);
        var merge = system.Get<PatronMerge>();
        var operation = await merge.MergeAsync(system.District.Id, "KEEP1", "OLD1", "librarian");
        await system.Patrons.AddAsync(system.District.Id, [new("lastName", "Quick"), new("barcode", "OLD1")], "librarian");
        var undo = await UndoAsync(system, operation);
        Assert.Equal(OperationStatus.CompletedWithWarnings, undo.Status);
        Assert.Contains(OperationQueue.WarningsOf(undo), w => w.Code == "undo-barcode" && w.Count == 1);
        var back = Assert.Single(await system.AllPatronsAsync(), p => p.FirstName == "Augusta");
        Assert.Equal(((int?)null, "P100001"), (back.SiteId, back.Barcode));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_record_that_no_site_gives_a_barcode_stays_where_it_is_until_there_is_one(Db db)
    {
        await using var system = await StartAsync(db);
        Assert.Null((await system.ImportAsync("barcode,lastName,firstName\nKEEP1,Byron,Ada\nOLD1,Byron,Augusta\n")).Error);
        var operation = await system.Get<PatronMerge>().MergeAsync(system.District.Id, "KEEP1", "OLD1", "librarian");
        await system.Patrons.AddAsync(system.District.Id, [new("lastName", "Quick"), new("barcode", "OLD1")], "librarian");
        var id = await system.Get<UndoService>().EnqueueAsync(system.District.Id, operation, null, "librarian");
        var failed = await system.Follower.RunAsync(system.District.Id, id, null, CancellationToken.None);
        Assert.Equal(OperationStatus.Failed, failed.Status);
        Assert.Contains("OLD1 belongs to another patron", failed.Error, StringComparison.Ordinal);
        Assert.Equal(2, (await system.AllPatronsAsync()).Count);

        await system.Patrons.EditAsync(system.District.Id, "OLD1", [new("barcode", "NEW1")], "librarian");
        Assert.Equal(OperationStatus.Completed, (await UndoAsync(system, operation)).Status);
        Assert.Contains(await system.AllPatronsAsync(), p => p is { Barcode: "OLD1", FirstName: "Augusta" });
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_merge_whose_record_could_not_come_back_can_be_undone_again(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("a", "Ann", "Alpha");
        system.Sandbox.Person("b", "Ben", "Beta");
        await SyncAsync(system);
        var before = await UndoTests.PictureAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        var merge = await MergeAsync(system, patrons["a"], patrons["b"]);
        var id = await system.Get<UndoService>().EnqueueAsync(system.District.Id, merge, null, "librarian");
        var once = false;
        var first = await system.Follower.RunAsync(
            system.District.Id,
            id,
            (stage, _, done, _) =>
            {
                if (stage == OperationStage.Planning && done > 0 && !once)
                {
                    // Somebody enters the roster's id on a card of their own between plan and writing.
                    once = true;
                    Task.Run(async () =>
                        {
                            await using var context = system.Database.CreateContext();
                            await context
                                .Patrons.Where(p => p.Id == patrons["a"].Id)
                                .ExecuteUpdateAsync(s => s.SetProperty(p => p.Guid, "b"));
                        })
                        .GetAwaiter()
                        .GetResult();
                }
            },
            CancellationToken.None
        );
        Assert.True(once);
        Assert.Null(first.Error);
        Assert.Equal(OperationStatus.CompletedWithWarnings, first.Status);
        await using (var context = system.Database.CreateContext())
        {
            await context.Patrons.Where(p => p.Id == patrons["a"].Id).ExecuteUpdateAsync(s => s.SetProperty(p => p.Guid, "a"));
        }

        Assert.Equal(OperationStatus.Completed, (await UndoAsync(system, merge)).Status);
        Assert.Equal(before, await UndoTests.PictureAsync(system));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_merge_is_undone_as_a_whole_and_one_patron_only_where_something_was_written(Db db)
    {
        await using var system = await StartAsync(db);
        for (var i = 1; i <= 20; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", $"Person{i:00}");
        }

        await SyncAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        var merge = await MergeAsync(system, patrons["p19"], patrons["p20"]);
        await RefusedAsync(() => UndoTests.UndoAsync(system, merge, patrons["p19"].Barcode), "undone as a whole");
        await UndoAsync(system, merge);

        system.Sandbox.Overrides.Remove("users", Enumerable.Range(1, 12).Select(i => $"p{i:00}"));
        system.Sandbox.Person("p18", "Patricia", "Person18");
        var held = await SyncAsync(system);
        Assert.Equal(OperationStatus.NeedsApproval, held.Status);
        await RefusedAsync(() => UndoTests.UndoAsync(system, held.Id, patrons["p01"].Barcode), "wrote nothing for the patron");
        await UndoTests.UndoAsync(system, held.Id, patrons["p18"].Barcode);
        Assert.Equal("Pat", (await system.PatronsByGuidAsync())["p18"].FirstName);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task After_an_undo_that_touched_a_link_the_next_sync_is_a_full_one(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("p1", "Ada", "Byron");
        system.Sandbox.Person("p2", "Ben", "Carver");
        await SyncAsync(system);
        await SyncAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        system.Sandbox.Person("p1", "Adah", "Byron");
        var (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.PersonSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test",
            Rollcall.Sync.Person.PersonOptions.For("p1")
        );
        Assert.Null((await system.Follower.RunAsync(system.District.Id, id, null, CancellationToken.None)).Error);
        Assert.Null(await FullDueAsync());
        await UndoAsync(system, id);
        Assert.Contains($"operation {id} was undone", await FullDueAsync(), StringComparison.Ordinal);
        await SyncAsync(system);
        Assert.Null(await FullDueAsync());

        var merge = await MergeAsync(system, patrons["p1"], patrons["p2"]);
        await UndoAsync(system, merge);
        Assert.Contains($"operation {merge} was undone", await FullDueAsync(), StringComparison.Ordinal);

        async Task<string?> FullDueAsync() =>
            IntegrationService.StateOf(await system.Integrations.FindAsync(system.District.Id, IntegrationKind.ClassLink)).FullDue;
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_further_id_of_one_patron_is_nobody_elses_GUID_by_hand_or_by_a_file(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("p1", "Ada", "Byron");
        system.Sandbox.Person("p2", "Ada", "Byron");
        await SyncAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        await MergeAsync(system, patrons["p1"], patrons["p2"]);
        Assert.Null((await system.ImportAsync("barcode,lastName,firstName,site\nOLD1,Carver,Ben,S1\n")).Error);
        await RefusedAsync(
            () => system.Patrons.EditAsync(system.District.Id, "OLD1", [new("guid", "p2")], "librarian"),
            "belongs to another patron"
        );
        await RefusedAsync(
            () =>
                system.Patrons.AddAsync(system.District.Id, [new("lastName", "X"), new("barcode", "XX01"), new("guid", "p2")], "librarian"),
            "belongs to another patron"
        );
        foreach (var file in (string[])["barcode,guid,lastName\nOLD1,p2,Carver\n", "barcode,guid,lastName\nNEW1,p2,Carver\n"])
        {
            var refused = await Assert.ThrowsAsync<ImportRefusedException>(() => system.ImportAsync(file));
            Assert.Contains(refused.Problems, p => p.Contains(patrons["p1"].Barcode, StringComparison.Ordinal));
        }

        await SoundAsync(system);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_was_written_before_a_night_that_had_to_wait_comes_back_when_that_night_is_undone(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("p1", "Ada", "Byron", phone: "1");
        await SyncAsync(system);
        var barcode = (await system.PatronsByGuidAsync())["p1"].Barcode;
        var night = await EnqueueAsync(system);
        await system.Patrons.EditAsync(system.District.Id, barcode, [new("phone", "by hand")], "librarian");
        Rename(system, "p1");
        await PersonAsync(system, "p1", phone: "2");
        await system.Patrons.EditAsync(system.District.Id, barcode, [new("phone", "by hand")], "librarian");
        system.Sandbox.Person("p1", "Ada", "Byron", phone: "3");
        system.Sandbox.Overrides.Change("users", "p1", u => u["username"] = "third");
        await RunAsync(system, night);
        Assert.Equal("3", (await system.PatronsByGuidAsync())["p1"].Phone);
        var explained = await system.Get<Rollcall.Sync.Person.PatronExplain>().ExplainAsync(system.District, barcode, askRoster: false);
        Assert.Contains(
            $" #{night},",
            Assert.Single(explained.Fields, f => f.Number == PatronFields.Phone).Origin,
            StringComparison.Ordinal
        );
        Assert.Equal(
            night,
            (await system.Get<OperationLog>().HistoryAsync(system.District.Id, (await system.PatronsByGuidAsync())["p1"].Id))[0]
                .Operation
                .Id
        );

        var undo = await UndoAsync(system, night);
        Assert.Equal(OperationStatus.Completed, undo.Status);
        Assert.Equal("by hand", (await system.PatronsByGuidAsync())["p1"].Phone);
        Assert.Equal("p1.other", Assert.Single(await LinksAsync(system)).Value.Username);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Whom_an_operation_with_a_smaller_number_linked_since_is_not_taken_out(Db db)
    {
        await using var system = await StartAsync(db);
        var night = await EnqueueAsync(system);
        var import = await system.ImportAsync("barcode,communityId,lastName,firstName,site\nOLD1,77,Byron,Ada,S1\n");
        system.Sandbox.Person("p1", "Ada", "Byron", number: "77");
        await RunAsync(system, night);
        Assert.Equal("p1", Assert.Single(await system.AllPatronsAsync()).Guid);
        var undo = await UndoAsync(system, import.Id);
        Assert.Equal("p1", Assert.Single(await system.AllPatronsAsync()).Guid);
        Assert.Contains(
            await system.LogAsync(undo.Id),
            r => r.Reason?.Contains($"changed since by operation {night}", StringComparison.Ordinal) == true
        );

        // What linked the patron is taken back first; then nothing keeps it.
        await UndoAsync(system, night);
        var again = await UndoAsync(system, await ReimportAsync(system));
        Assert.Equal(OperationStatus.Completed, again.Status);
        Assert.DoesNotContain(await system.AllPatronsAsync(), p => p.Barcode == "OLD2");

        static async Task<long> ReimportAsync(Installation system) =>
            (await system.ImportAsync("barcode,lastName,firstName,site\nOLD2,Carver,Ben,S1\n")).Id;
    }

    [Theory]
    [InlineData(Db.Sqlite, "note")]
    [InlineData(Db.Postgres, "note")]
    [InlineData(Db.Sqlite, "merge")]
    [InlineData(Db.Postgres, "merge")]
    [InlineData(Db.Sqlite, "review")]
    [InlineData(Db.Postgres, "review")]
    public async Task Who_gets_something_between_the_plan_of_an_undo_and_its_writing_stays_and_can_go_later(Db db, string what)
    {
        await using var system = await StartAsync(db);
        Assert.Null((await system.ImportAsync("barcode,communityId,lastName,firstName,site\nHAVE1,77,Byron,Ann,S1\n")).Error);
        var import = await system.ImportAsync(
            "barcode,communityId,lastName,firstName,phone,site\nOLD1,77,Byron,Ada,1,S1\nOLD2,,Carver,Ben,,S1\n"
        );
        if (what == "review")
        {
            system.Sandbox.Person("p1", "Ada", "Byron", number: "77");
            await SyncAsync(system);
        }

        var undo = await UndoWithAsync(
            system,
            import.Id,
            async () =>
            {
                switch (what)
                {
                    case "note":
                        await system.Patrons.EditAsync(system.District.Id, "OLD1", [new("notes", "owes a book")], "librarian");
                        break;
                    case "merge":
                        await system.Get<PatronMerge>().MergeAsync(system.District.Id, "OLD1", "HAVE1", "librarian");
                        break;
                    default:
                        var item = Assert.Single(await system.Get<ReviewService>().ListAsync(system.District.Id));
                        await system.Get<ReviewDecisions>().LinkAsync(system.District.Id, item.Id, "OLD1", "librarian");
                        break;
                }
            }
        );
        Assert.Equal(OperationStatus.CompletedWithWarnings, undo.Status);
        var there = await system.AllPatronsAsync();
        Assert.Contains(there, p => p.Barcode == "OLD1");
        Assert.DoesNotContain(there, p => p.Barcode == "OLD2");
        Assert.Contains(await system.LogAsync(undo.Id), r => r is { Stale: true, Barcode: "OLD1" });

        // The undo left somebody out: it can be repeated for them when what stood in the way is gone.
        Assert.Equal(OperationStatus.Undone, (await system.Queue.GetAsync(system.District.Id, import.Id)).Status);
        if (what == "review")
        {
            var item = Assert.Single((await system.Get<ReviewService>().DecidedAsync(system.District.Id, null, 1, 50)).Rows);
            var back = await system.Get<ReviewDecisions>().ReopenAsync(system.District.Id, item.Id, "librarian");
            await RunAsync(system, back.OperationId);
        }
        else
        {
            await UndoAsync(system, (await system.Queue.ListAsync(system.District.Id, 1, withEdits: true))[0].Id);
        }

        Assert.Equal(OperationStatus.Completed, (await UndoAsync(system, import.Id)).Status);
        Assert.Equal("HAVE1", Assert.Single(await system.AllPatronsAsync()).Barcode);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_link_that_somebody_adds_to_while_it_is_being_taken_off_stays(Db db)
    {
        await using var system = await StartAsync(db);
        Assert.Null((await system.ImportAsync("barcode,communityId,lastName,firstName,site\nOLD1,77,Byron,Ada,S1\n")).Error);
        system.Sandbox.Person("p2", "Ada", "Byron");
        await SyncAsync(system);
        system.Sandbox.Person("p1", "Ada", "Byron", number: "77");
        var run = await SyncAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        await UndoWithAsync(system, run.Id, () => MergeAsync(system, patrons["p1"], patrons["p2"]));
        var patron = Assert.Single(await system.AllPatronsAsync());
        Assert.Equal(("p1", "p2"), (patron.Guid, (await LinksAsync(system))[patron.Id].Aliases));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Whose_link_is_added_to_in_the_middle_of_a_chain_keeps_the_barcode_and_fails_nobody(Db db)
    {
        await using var system = await StartAsync(db);
        await system.ConfigureAsync(s => s with { Map = new FieldMap { Barcode = new IdMapping(IdSource.UserIdType, "Card") } });
        system.Sandbox.Person("p1", "Ada", "Byron", barcode: "C-1");
        system.Sandbox.Person("p2", "Ben", "Carver", barcode: "C-2");
        system.Sandbox.Person("p9", "Ada", "Byron", barcode: "C-9");
        await SyncAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        var (first, second) = (patrons["p1"], patrons["p2"]);
        var planned = LinkState.Of((await LinksAsync(system))[first.Id]);
        await MergeAsync(system, first, patrons["p9"]);

        // As an undo planned them before that merge.
        var operation = new Operation { DistrictId = system.District.Id, Kind = OperationKind.Undo };
        Change[] rows = [Row(1, first, "C-0", LinkState.Removed), Row(2, second, "C-1", null)];
        await using (var connection = await system.Database.OpenAsync())
        {
            await using var transaction = await system.Database.Bulk.BeginWriteAsync(connection, CancellationToken.None);
            await using var context = system.Database.CreateContext(connection, transaction);
            context.Operations.Add(operation);
            await context.SaveChangesAsync();
            foreach (var row in rows)
            {
                row.OperationId = operation.Id;
            }

            await system.Database.Bulk.InsertAsync(connection, transaction, BulkTables.Changes, rows, CancellationToken.None);
            var writer = new SliceWriter(
                system.Database,
                system.District.Id,
                operation.Id,
                null,
                SecurityGroup.DistrictAdministrator,
                TimeProvider.System
            )
            {
                Waited = OperationKind.Undo,
            };
            await writer.ApplyAsync(connection, transaction, rows, approval: true, CancellationToken.None);
            await transaction.CommitAsync();
        }

        Assert.True(rows[0].Stale);
        Assert.Contains(SliceWriter.BarcodeTaken, rows[1].Warning, StringComparison.Ordinal);
        patrons = await system.PatronsByGuidAsync();
        Assert.Equal(("C-1", "C-2"), (patrons["p1"].Barcode, patrons["p2"].Barcode));
        await SoundAsync(system);

        Change Row(int number, Patron patron, string barcode, string? link)
        {
            var values = new ChangeValues();
            values.Add(PatronFields.Barcode, patron.Barcode, barcode);
            return new Change
            {
                DistrictId = patron.DistrictId,
                Number = number,
                Kind = ChangeKind.Update,
                Outcome = Outcome.Updated,
                PatronId = patron.Id,
                Chained = true,
                Values = values.ToJson(),
                Link = link,
                LinkBefore = link is null ? null : planned.ToJson(),
            };
        }
    }

    /// <summary>Who has an id of the roster since, or whom the roster has and the library no longer, did not change there.</summary>
    [Theory]
    [InlineData(Db.Sqlite, "file")]
    [InlineData(Db.Postgres, "file")]
    [InlineData(Db.Sqlite, "hand")]
    [InlineData(Db.Postgres, "hand")]
    [InlineData(Db.Sqlite, "removal")]
    [InlineData(Db.Postgres, "removal")]
    public async Task A_new_patron_with_an_id_of_the_roster_and_a_removed_one_make_the_next_sync_a_full_one(Db db, string what)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("p1", "Ada", "Byron");
        await SyncAsync(system);
        var barcode = (await system.PatronsByGuidAsync())["p1"].Barcode;
        Assert.Null((await system.ImportAsync("barcode,lastName,firstName,site\nOLD1,Carver,Ben,S1\n")).Error);
        await system.Patrons.AddAsync(system.District.Id, [new("barcode", "OLD2"), new("lastName", "Delta")], "librarian");
        await RunAsync(system, await system.Get<PatronBulk>().PlanRemovalAsync(system.District.Id, ["OLD1"], preview: false, "librarian"));
        Assert.Null(await FullDueAsync(system));
        switch (what)
        {
            case "file":
                Assert.Null((await system.ImportAsync("barcode,guid,lastName,firstName,site\nOLD3,p2,Carver,Ben,S1\n")).Error);
                break;
            case "hand":
                await system.Patrons.AddAsync(
                    system.District.Id,
                    [new("barcode", "OLD3"), new("lastName", "Carver"), new("guid", "p2")],
                    "librarian"
                );
                break;
            default:
                await RunAsync(
                    system,
                    await system.Get<PatronBulk>().PlanRemovalAsync(system.District.Id, [barcode], preview: false, "librarian")
                );
                break;
        }

        Assert.NotNull(await FullDueAsync(system));
    }

    [Theory]
    [InlineData(Db.Sqlite, "guid")]
    [InlineData(Db.Postgres, "guid")]
    [InlineData(Db.Sqlite, "phone")]
    [InlineData(Db.Postgres, "phone")]
    public async Task An_import_that_ends_half_way_makes_the_next_sync_a_full_one_where_it_gave_ids_of_the_roster(Db db, string field)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("p1", "Ada", "Byron");
        await SyncAsync(system);
        using var file = new MemoryStream(
            System.Text.Encoding.UTF8.GetBytes(
                $"barcode,lastName,{field},site\n" + string.Concat(Enumerable.Range(1, 450).Select(i => $"OLD{i:000},Byron,x{i:000},S1\n"))
            )
        );
        var id = await system.Get<PatronImport>().PlanAsync(system.District.Id, file, "patrons.csv", preview: false, "librarian");
        var ended = await CancelledAsync(system, id);
        Assert.Equal(OperationStatus.Cancelled, ended.Status);
        Assert.InRange(ended.AppliedTo, 1, 449);
        Assert.Equal(field == "guid" ? $"operation {id} changed GUIDs" : null, await FullDueAsync(system));

        // The log tells what was written from what was not.
        Assert.All(await system.LogAsync(id), r => Assert.Equal(r.Number > ended.AppliedTo, r.NotWritten));
        var lines = await system.Get<OperationLog>().CountsAsync(system.District.Id, id);
        Assert.Equal(450 - ended.AppliedTo, lines.Where(c => c.NotWritten).Sum(c => c.Lines));
        Assert.Equal(ended.AppliedTo, lines.Where(c => !c.Dropped).Sum(c => c.Lines));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Of_an_undone_operation_what_was_left_out_can_still_be_taken_back(Db db)
    {
        await using var system = await StartAsync(db);
        var import = await system.ImportAsync(
            "barcode,lastName,firstName,group,site\nOLD1,Byron,Ada,Patron,S1\nOLD2,Carver,Ben,Patron,S1\n"
        );
        var edit = await system.ImportAsync("barcode,lastName,firstName,site\nOLD1,Byron,Augusta,S1\nOLD2,Carver,Benny,S1\n");
        Assert.Null((import.Error, edit.Error).Item2);
        await system.Patrons.EditAsync(system.District.Id, "OLD1", [new("group", "Librarian")], "setup");
        var by = new Actor("clerk", SecurityGroup.LibraryAdministrator);
        var service = system.Get<UndoService>();
        var first = await RunAsync(system, await service.EnqueueAsync(system.District.Id, edit.Id, null, by));
        Assert.Equal(OperationStatus.CompletedWithWarnings, first.Status);
        Assert.Equal(["Augusta", "Ben"], (await system.AllPatronsAsync()).OrderBy(p => p.Barcode).Select(p => p.FirstName));

        // One of those who were not left out goes back no further, whoever asks again.
        await system.Patrons.EditAsync(system.District.Id, "OLD2", [new("firstName", "Benjamin")], "librarian");
        await UndoAsync(system, edit.Id);
        Assert.Equal(["Ada", "Benjamin"], (await system.AllPatronsAsync()).OrderBy(p => p.Barcode).Select(p => p.FirstName));
        Assert.Equal(OperationStatus.Undone, (await system.Queue.GetAsync(system.District.Id, edit.Id)).Status);

        // One patron alone, as often as somebody asks.
        await UndoTests.UndoAsync(system, edit.Id, "OLD1");
        Assert.Equal(OperationStatus.Undone, (await system.Queue.GetAsync(system.District.Id, edit.Id)).Status);
        Assert.Equal(["Ada", "Benjamin"], (await system.AllPatronsAsync()).OrderBy(p => p.Barcode).Select(p => p.FirstName));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_undo_that_left_nobody_out_is_not_repeated(Db db)
    {
        await using var system = await StartAsync(db);
        var import = await system.ImportAsync("barcode,lastName,firstName,site\nOLD1,Byron,Ada,S1\n");
        await UndoAsync(system, import.Id);
        await RefusedAsync(() => UndoTests.UndoAsync(system, import.Id), "undone already");
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_decision_whose_patron_has_to_stay_is_opened_by_asking_once_more(Db db)
    {
        await using var system = await StartAsync(db);
        Assert.Null(
            (
                await system.ImportAsync(
                    "barcode,communityId,lastName,firstName,site\nCARD-1,1001,Alpha,Ann,S1\nCARD-2,1001,Alpha,Anna,S1\n"
                )
            ).Error
        );
        system.Sandbox.Person("ask", "Ann", "Alpha", number: "1001");
        await SyncAsync(system);
        var review = system.Get<ReviewService>();
        var decisions = system.Get<ReviewDecisions>();
        var item = Assert.Single(await review.ListAsync(system.District.Id));
        var created = await decisions.CreateAsync(system.District.Id, item.Id, "librarian");
        await system.Patrons.EditAsync(system.District.Id, created.Barcode!, [new("notes", "has books")], "librarian");
        var back = await decisions.ReopenAsync(system.District.Id, item.Id, "librarian");
        Assert.Contains("A patron who was changed since stays as they are", back.Message, StringComparison.Ordinal);
        await RunAsync(system, back.OperationId);
        Assert.Equal(0, await review.OpenCountAsync(system.District.Id));
        var again = await decisions.ReopenAsync(system.District.Id, item.Id, "librarian");
        Assert.Contains("had to stay", again.Message, StringComparison.Ordinal);
        Assert.Equal(1, await review.OpenCountAsync(system.District.Id));
        await RefusedAsync(() => UndoTests.UndoAsync(system, again.OperationId), "opened a question again");
        Assert.Equal("S1", Assert.Single(await system.LogAsync(again.OperationId)).Site);

        // Whoever is linked is no question: the next full sync says so.
        await SyncAsync(system);
        Assert.Equal(0, await review.OpenCountAsync(system.District.Id));
        Assert.Contains("ask", (await system.PatronsByGuidAsync()).Keys);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_question_that_is_opened_again_while_a_full_sync_is_at_work_outlives_it(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("p1", "Ada", "Byron", number: "77");
        await SyncAsync(system);
        system.Sandbox.Person("p2", "Ada", "Byron", number: "77");
        await SyncAsync(system);
        var review = system.Get<ReviewService>();
        var decisions = system.Get<ReviewDecisions>();
        var item = Assert.Single(await review.ListAsync(system.District.Id));
        var ignored = await decisions.IgnoreAsync(system.District.Id, item.Id, "librarian");
        Assert.Equal("S1", Assert.Single(await system.LogAsync(ignored.OperationId)).Site);
        await using (var context = system.Database.CreateContext())
        {
            await context.Operations.Where(o => o.Id == ignored.OperationId).ExecuteUpdateAsync(s => s.SetProperty(o => o.Expired, true));
        }

        var id = await EnqueueAsync(system);
        var done = false;
        var full = await system.Follower.RunAsync(
            system.District.Id,
            id,
            (_, text, _, _) =>
            {
                if (text == "Comparing people" && !done)
                {
                    done = true;
                    Task.Run(() => decisions.ReopenAsync(system.District.Id, item.Id, "librarian")).GetAwaiter().GetResult();
                }
            },
            CancellationToken.None
        );
        Assert.True(done);
        Assert.Null(full.Error);
        Assert.Equal(item.Id, Assert.Single(await review.ListAsync(system.District.Id)).Id);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_undo_says_who_merged_or_removed_whom_the_run_had_created(Db db)
    {
        await using var system = await StartAsync(db);
        Assert.Null((await system.ImportAsync("barcode,lastName,firstName,site\nHAVE1,Byron,Ann,S1\n")).Error);
        var import = await system.ImportAsync(
            "barcode,lastName,firstName,site\nOLD1,Byron,Ada,S1\nOLD2,Carver,Ben,S1\nOLD3,Dunn,Cleo,S1\n"
        );
        var merge = await system.Get<PatronMerge>().MergeAsync(system.District.Id, "HAVE1", "OLD1", "librarian");
        var removal = await RunAsync(
            system,
            await system.Get<PatronBulk>().PlanRemovalAsync(system.District.Id, ["OLD2"], preview: false, "librarian")
        );
        var undo = await UndoAsync(system, import.Id);
        var reasons = (await system.LogAsync(undo.Id)).Select(r => r.Reason).ToList();
        Assert.Contains(
            reasons,
            r => r?.Contains($"merged into another one by operation {merge}: undo that first", StringComparison.Ordinal) == true
        );
        Assert.Contains(reasons, r => r?.Contains($"removed by operation {removal.Id}", StringComparison.Ordinal) == true);
        Assert.Equal("HAVE1", Assert.Single(await system.AllPatronsAsync()).Barcode);

        // As the words say: the merge first, then this one again. Nothing is left for a third time: what was removed is gone for good.
        await UndoAsync(system, merge);
        Assert.Equal(2, (await system.AllPatronsAsync()).Count);
        await UndoAsync(system, import.Id);
        Assert.Equal("HAVE1", Assert.Single(await system.AllPatronsAsync()).Barcode);
        await RefusedAsync(() => UndoTests.UndoAsync(system, import.Id), "undone already");
    }

    /// <summary>Who takes back that one patron has left says that they are the library's, as who sets the status by hand: no night goes against that.</summary>
    [Theory]
    [InlineData(Db.Sqlite, false)]
    [InlineData(Db.Postgres, false)]
    [InlineData(Db.Postgres, true)]
    public async Task A_leaver_who_is_taken_back_alone_is_transferred_by_no_later_night(Db db, bool deleted)
    {
        await using var system = await StartAsync(db);
        for (var i = 1; i <= 5; i++)
        {
            system.Sandbox.Person($"p{i}", "Pat", $"Person{i}", phone: "1");
        }

        await SyncAsync(system);
        var barcode = (await system.PatronsByGuidAsync())["p1"].Barcode;
        if (deleted)
        {
            system.Sandbox.Person("p1", "Pat", "Person1", status: "tobedeleted");
        }
        else
        {
            system.Sandbox.Overrides.Remove("users", "p1");
        }

        system.Sandbox.Person("p2", "Pat", "Person2", phone: "2");
        var run = await SyncAsync(system);
        Assert.Equal(1, OperationQueue.CountsOf(run).Transferred);
        var undo = await UndoTests.UndoAsync(system, run.Id, barcode);
        Assert.Equal((OperationStatus.Completed, PatronStatus.Active), (undo.Status, await StatusAsync("p1")));
        var next = await SyncAsync(system);
        Assert.Equal((0, PatronStatus.Active), (OperationQueue.CountsOf(next).Transferred, await StatusAsync("p1")));
        Assert.Equal(1, Assert.Single(OperationQueue.WarningsOf(next), w => w.Code == "active-and-gone").Count);

        // What is in the roster comes again, and that is said.
        undo = await UndoTests.UndoAsync(system, run.Id, (await system.PatronsByGuidAsync())["p2"].Barcode);
        Assert.Equal(1, Assert.Single(OperationQueue.WarningsOf(undo), w => w.Code == "undo-again").Count);
        Assert.Equal("1", (await system.PatronsByGuidAsync())["p2"].Phone);
        await SyncAsync(system);
        Assert.Equal("2", (await system.PatronsByGuidAsync())["p2"].Phone);

        // Whoever is in the roster again leaves once more like everybody.
        system.Sandbox.Person("p1", "Pat", "Person1", phone: "1");
        await SyncAsync(system);
        system.Sandbox.Overrides.Remove("users", "p1");
        Assert.Equal(1, OperationQueue.CountsOf(await SyncAsync(system)).Transferred);

        async Task<PatronStatus> StatusAsync(string id) => (await system.PatronsByGuidAsync())[id].Status;
    }

    /// <summary>What the library keeps since is its own: an undo brings no older value under the mark, from where no sync would take it away.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_the_library_keeps_since_stays_when_the_run_is_taken_back(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("p1", "Pat", "Person1", phone: "1");
        system.Sandbox.Person("p2", "Pat", "Person2", phone: "1");
        await SyncAsync(system);
        system.Sandbox.Person("p1", "Patricia", "Person1", phone: "2");
        system.Sandbox.Person("p2", "Pat", "Person2", phone: "2");
        var run = await SyncAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        await system.Patrons.EditAsync(system.District.Id, patrons["p1"].Barcode, [new("keptFields", "phone")], "librarian");
        await system.Patrons.EditAsync(system.District.Id, patrons["p2"].Barcode, [new("keptFields", "phone")], "librarian");
        await system.Patrons.EditAsync(system.District.Id, patrons["p2"].Barcode, [new("keptFields", null)], "librarian");
        var undo = await UndoAsync(system, run.Id);
        Assert.Equal(OperationStatus.CompletedWithWarnings, undo.Status);
        var after = await system.PatronsByGuidAsync();
        Assert.Equal(("Pat", "2", "1"), (after["p1"].FirstName, after["p1"].Phone, after["p2"].Phone));
        Assert.Contains(
            await system.LogAsync(undo.Id),
            r => r.Warning?.Contains("Phone Number stays (the library keeps it since operation", StringComparison.Ordinal) == true
        );
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_GUID_that_is_emptied_or_changed_by_hand_or_by_a_file_takes_the_link_along_and_an_undo_brings_both_back(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("p1", "Ada", "Byron");
        system.Sandbox.Person("p2", "Ada", "Byron");
        await SyncAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        await MergeAsync(system, patrons["p1"], patrons["p2"]);
        await SyncAsync(system);
        Assert.Null(await FullDueAsync(system));
        await system.ConfigureAsync(s => s with { Login = s.Login with { On = true } });
        await SyncAsync(system);
        Assert.True(await MayComeInAsync());
        var before = await UndoTests.PictureAsync(system);
        var barcode = patrons["p1"].Barcode;
        foreach (var change in (Func<Task<long>>[])[() => EditAsync(null), () => EditAsync("p9"), () => ImportAsync("p9")])
        {
            var operation = await change();
            Assert.Empty(await LinksAsync(system));
            Assert.False(await MayComeInAsync());
            Assert.Contains($"operation {operation}", await FullDueAsync(system), StringComparison.Ordinal);
            await UndoAsync(system, operation);
            Assert.Equal(before, await UndoTests.PictureAsync(system));
            await SyncAsync(system);
            Assert.Null(await FullDueAsync(system));
            Assert.Equal(before, await UndoTests.PictureAsync(system));
        }

        async Task<bool> MayComeInAsync()
        {
            await using var context = system.Database.CreateContext();
            var id = patrons["p1"].Id;
            return await Rollcall.SignIn.Sessions.ComingInAsync(context, system.District.Id, id, byClassLink: true, CancellationToken.None)
                is not null;
        }

        async Task<long> EditAsync(string? guid)
        {
            await system.Patrons.EditAsync(system.District.Id, barcode, [new("guid", guid)], "librarian");
            return (await system.Queue.ListAsync(system.District.Id, 1, withEdits: true))[0].Id;
        }

        async Task<long> ImportAsync(string guid)
        {
            var import = await system.ImportAsync($"barcode,guid,lastName\n{barcode},{guid},Byron\n");
            Assert.Null(import.Error);
            return import.Id;
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_merge_that_moves_an_id_of_the_roster_makes_the_next_sync_a_full_one(Db db)
    {
        await using var system = await StartAsync(db);
        Assert.Null((await system.ImportAsync("barcode,lastName,firstName,site\nOLD1,Byron,Ann,S1\nOLD2,Byron,Ada,S1\n")).Error);
        system.Sandbox.Person("p1", "Ada", "Byron");
        await SyncAsync(system);
        await SyncAsync(system);
        var merges = system.Get<PatronMerge>();
        var first = await merges.MergeAsync(system.District.Id, "OLD1", "OLD2", "librarian");
        Assert.Null(await FullDueAsync(system));

        // Whoever presses once more hears that it is done.
        await RefusedAsync(
            () => merges.MergeAsync(system.District.Id, "OLD1", "OLD2", "librarian"),
            $"are one record already: operation {first} merged them"
        );
        await merges.MergeAsync(system.District.Id, (await system.PatronsByGuidAsync())["p1"].Barcode, "OLD1", "librarian");
        Assert.Null(await FullDueAsync(system));
        Assert.Null((await system.ImportAsync("barcode,lastName,firstName,site\nOLD3,Byron,Ann,S1\n")).Error);
        var operation = await merges.MergeAsync(system.District.Id, "OLD3", (await system.PatronsByGuidAsync())["p1"].Barcode, "librarian");
        Assert.Contains($"operation {operation}", await FullDueAsync(system), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_hand_edit_that_is_taken_back_on_the_patrons_page_is_undone(Db db)
    {
        await using var system = await StartAsync(db);
        Assert.Null((await system.ImportAsync("barcode,lastName,firstName,site\nOLD1,Byron,Ada,S1\n")).Error);
        await system.Patrons.EditAsync(system.District.Id, "OLD1", [new("firstName", "Augusta")], "librarian");
        var edit = (await system.Queue.ListAsync(system.District.Id, 1, withEdits: true))[0].Id;
        await UndoTests.UndoAsync(system, edit, "OLD1");
        Assert.Equal(OperationStatus.Undone, (await system.Queue.GetAsync(system.District.Id, edit)).Status);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_undo_that_ends_half_way_makes_the_next_sync_a_full_one(Db db)
    {
        await using var system = await StartAsync(db);
        Assert.Null(
            (
                await system.ImportAsync(
                    "barcode,lastName,firstName,site\n" + string.Concat(Enumerable.Range(1, 450).Select(i => $"OLD{i:000},Byron,Ada,S1\n"))
                )
            ).Error
        );
        var edit = await system.ImportAsync(
            "barcode,lastName,firstName,site\n" + string.Concat(Enumerable.Range(1, 450).Select(i => $"OLD{i:000},Byron,Ann,S1\n"))
        );
        system.Sandbox.Person("p1", "Ada", "Byron");
        await SyncAsync(system);
        Assert.Null(await FullDueAsync(system));
        var id = await system.Get<UndoService>().EnqueueAsync(system.District.Id, edit.Id, null, "librarian");
        var ended = await CancelledAsync(system, id);
        Assert.Equal(OperationStatus.Cancelled, ended.Status);
        Assert.InRange(ended.AppliedTo, 1, 449);
        Assert.Contains($"operation {id}", await FullDueAsync(system), StringComparison.Ordinal);
        await UndoAsync(system, edit.Id);
        Assert.All(await system.AllPatronsAsync(), p => Assert.Equal("Ada", p.FirstName));
    }

    [Theory]
    [InlineData(Db.Sqlite, true)]
    [InlineData(Db.Postgres, true)]
    [InlineData(Db.Sqlite, false)]
    [InlineData(Db.Postgres, false)]
    public async Task An_undo_of_a_run_that_ends_half_way_stops_the_nights_as_a_complete_one_does(Db db, bool cancelled)
    {
        await using var system = await Installation.StartAsync(
            cluster,
            db,
            new Rollcall.Sandbox.SandboxOptions { Students = 450, Schools = 2 }
        );
        await system.ConfigureAsync(s => s with { Daily = s.Daily with { At = new TimeOnly(4, 0) } });
        var run = await SyncAsync(system);
        var undo = await system.Get<UndoService>().EnqueueAsync(system.District.Id, run.Id, null, "librarian");
        var (night, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.ChangesSync,
            IntegrationKind.ClassLink,
            preview: false,
            DailySchedule.Actor,
            dailyDate: new DateOnly(2026, 9, 2)
        );
        var ended = cancelled
            ? await CancelledAsync(system, undo)
            : await system.Follower.RunAsync(
                system.District.Id,
                undo,
                (stage, _, done, _) =>
                {
                    if (stage == OperationStage.Applying && done > 0)
                    {
                        throw new RollcallException("The disk is full.");
                    }
                },
                CancellationToken.None
            );
        Assert.Equal(cancelled ? OperationStatus.Cancelled : OperationStatus.Failed, ended.Status);
        Assert.InRange(ended.AppliedTo, 1, ended.PlanSize - 1);
        var daily = IntegrationService.SettingsOf(await system.Integrations.FindAsync(system.District.Id, IntegrationKind.ClassLink)).Daily;
        Assert.StartsWith($"Operation {run.Id} was undone in part by librarian.", daily.StoppedBecause, StringComparison.Ordinal);
        var stopped = await system.Queue.GetAsync(system.District.Id, night);
        Assert.Equal(OperationStatus.Cancelled, stopped.Status);
        Assert.Contains($"Operation {run.Id} was undone in part", stopped.Error, StringComparison.Ordinal);
        Assert.NotNull(await FullDueAsync(system));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_undo_of_one_patron_or_one_that_wrote_nothing_stops_no_night(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("p1", "Ada", "Byron");
        system.Sandbox.Person("p2", "Ben", "Carver");
        var run = await SyncAsync(system);
        var barcode = (await system.PatronsByGuidAsync())["p1"].Barcode;
        var undo = await system.Get<UndoService>().EnqueueAsync(system.District.Id, run.Id, null, "librarian");
        await system.Queue.CancelAsync(system.District.Id, undo);
        await AssertGoOnAsync();

        // One that is cancelled while it plans, and one that takes the patron back.
        undo = await system.Get<UndoService>().EnqueueAsync(system.District.Id, run.Id, barcode, "librarian");
        var asked = false;
        var stopped = await system.Follower.RunAsync(
            system.District.Id,
            undo,
            (stage, _, _, _) =>
            {
                if (stage == OperationStage.Planning && !asked)
                {
                    asked = true;
                    Task.Run(() => system.Queue.CancelAsync(system.District.Id, undo)).GetAwaiter().GetResult();
                }
            },
            CancellationToken.None
        );
        Assert.Equal((OperationStatus.Cancelled, 0), (stopped.Status, stopped.AppliedTo));
        Assert.Equal(2, (await system.AllPatronsAsync()).Count);
        await AssertGoOnAsync();
        undo = await system.Get<UndoService>().EnqueueAsync(system.District.Id, run.Id, barcode, "librarian");
        await RunAsync(system, undo);
        Assert.DoesNotContain(await system.AllPatronsAsync(), p => p.Barcode == barcode);
        await AssertGoOnAsync();

        async Task AssertGoOnAsync() =>
            Assert.Null(
                IntegrationService
                    .SettingsOf(await system.Integrations.FindAsync(system.District.Id, IntegrationKind.ClassLink))
                    .Daily.StoppedBecause
            );
    }

    /// <summary>Runs an operation and cancels it when it has written a part.</summary>
    internal static async Task<Operation> CancelledAsync(Installation system, long id)
    {
        var asked = false;
        return await system.Follower.RunAsync(
            system.District.Id,
            id,
            (stage, _, done, _) =>
            {
                if (stage == OperationStage.Applying && done > 0 && !asked)
                {
                    asked = true;
                    Task.Run(() => system.Queue.CancelAsync(system.District.Id, id)).GetAwaiter().GetResult();
                }
            },
            CancellationToken.None
        );
    }

    private static async Task<long> EnqueueAsync(Installation system) =>
        (await system.Queue.EnqueueAsync(system.District.Id, OperationKind.FullSync, IntegrationKind.ClassLink, preview: false, "test")).Id;

    private static async Task<Operation> RunAsync(Installation system, long id)
    {
        var operation = await system.Follower.RunAsync(system.District.Id, id, null, CancellationToken.None);
        Assert.Null(operation.Error);
        Assert.True(OperationQueue.CountsOf(operation).AddUp, operation.Counts);
        return operation;
    }

    private static async Task PersonAsync(Installation system, string guid, string phone)
    {
        system.Sandbox.Overrides.Change("users", guid, u => u["phone"] = phone);
        var (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.PersonSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test",
            Rollcall.Sync.Person.PersonOptions.For(guid)
        );
        await RunAsync(system, id);
    }

    /// <summary>Undoes an operation, and does something when the undo is planned and has written nothing.</summary>
    private static async Task<Operation> UndoWithAsync(Installation system, long of, Func<Task> meanwhile)
    {
        var id = await system.Get<UndoService>().EnqueueAsync(system.District.Id, of, null, "librarian");
        var done = false;
        var undo = await system.Follower.RunAsync(
            system.District.Id,
            id,
            (stage, _, at, _) =>
            {
                if (stage == OperationStage.Planning && at > 0 && !done)
                {
                    done = true;
                    Task.Run(meanwhile).GetAwaiter().GetResult();
                }
            },
            CancellationToken.None
        );
        Assert.True(done);
        Assert.Null(undo.Error);
        Assert.True(OperationQueue.CountsOf(undo).AddUp, undo.Counts);
        await SoundAsync(system);
        return undo;
    }

    private static async Task<string?> FullDueAsync(Installation system) =>
        IntegrationService.StateOf(await system.Integrations.FindAsync(system.District.Id, IntegrationKind.ClassLink)).FullDue;
}
