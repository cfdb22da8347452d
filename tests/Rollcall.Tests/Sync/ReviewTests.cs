using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>Decisions in Review apply at once, are remembered, and can be taken back; two records of one person become one.</summary>
public sealed class ReviewTests(PostgresCluster cluster)
{
    private const string Ada = "barcode,lastName,firstName,email,site,status\nA1001,Byron,Ada,ada@example.org,S1,Suspended\n";

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_linked_person_takes_the_patron_over_and_stays_linked(Db db)
    {
        await using var system = await StartAsync(db);
        await system.ImportAsync(Ada);
        system.Sandbox.Person("p1", "Ada", "Lovelace", email: "ADA@example.org", phone: "7");
        var item = Assert.Single(await WaitingAsync(system));
        var decisions = system.Get<ReviewDecisions>();
        await Refused(() => decisions.LinkAsync(system.District.Id, item.Id, "NOBODY", "librarian"), "no patron with the barcode NOBODY");
        await Refused(() => decisions.LinkAsync(system.District.Id, 99, "A1001", "librarian"), "nobody in Review under 99");

        var done = await decisions.LinkAsync(system.District.Id, item.Id, "a1001", "librarian");
        Assert.Equal("A1001", done.Barcode);

        // People are told of people: an id of the roster says nothing to them.
        Assert.Equal("Byron, Ada (A1001) is linked to Lovelace, Ada of the roster.", done.Message);
        Assert.StartsWith(
            "Linked to Lovelace, Ada of the roster",
            Assert.Single(await system.LogAsync(done.OperationId)).Reason,
            StringComparison.Ordinal
        );
        var patron = (await system.PatronsByGuidAsync())["p1"];
        Assert.Equal(("Lovelace", "7", PatronStatus.Suspended), (patron.LastName, patron.Phone, patron.Status));
        Assert.Empty(await system.Get<ReviewService>().ListAsync(system.District.Id));
        await Refused(() => decisions.IgnoreAsync(system.District.Id, item.Id, "other"), "decided already: linked by librarian");

        var counts = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((1, 0, 1), (counts.Unchanged + counts.Updated, counts.Review, counts.LinkedGuid));
        Assert.Single(await system.AllPatronsAsync());
    }

    /// <summary>A preview that is approved is a full sync, too: whom it does not ask about nobody has to decide on any more.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_approved_preview_settles_what_is_no_question_any_more_and_nothing_newer(Db db)
    {
        await using var system = await StartAsync(db);
        await system.ImportAsync(Ada);
        await system.ImportAsync("barcode,lastName,firstName,email,site\nB1001,Carver,Ben,ben@example.org,S1\n");
        system.Sandbox.Person("p1", "Ada", "Lovelace", email: "ada@example.org");
        system.Sandbox.Person("p2", "Ben", "Dunn", email: "ben@example.org");
        var waiting = (await WaitingAsync(system)).ToDictionary(i => i.Guid, i => i.Id, StringComparer.Ordinal);
        Assert.Equal(["p1", "p2"], waiting.Keys.Order(StringComparer.Ordinal));
        var decisions = system.Get<ReviewDecisions>();
        await decisions.IgnoreAsync(system.District.Id, waiting["p2"], "librarian");
        system.Sandbox.Overrides.Remove("users", "p1");
        var preview = await system.SyncAsync(preview: true);

        // Asked again between the plan and its approval: that is new to it.
        var reopened = await decisions.ReopenAsync(system.District.Id, waiting["p2"], "librarian");
        await system.Follower.RunAsync(system.District.Id, reopened.OperationId, null, CancellationToken.None);
        Assert.Null((await system.ApproveAsync(preview.Id)).Error);
        Assert.Equal(["p2"], (await system.Get<ReviewService>().ListAsync(system.District.Id)).Select(i => i.Guid));
    }

    /// <summary>A page that was opened before names a number: it shall never be another person's.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Numbers_of_those_who_are_gone_are_nobodys_again(Db db)
    {
        await using var system = await StartAsync(db);
        await system.ImportAsync(
            "barcode,lastName,firstName,email,site\nB1001,Carver,Ben,ben@example.org,S1\nC1001,Doe,Cid,cid@example.org,S1\n"
        );
        system.Sandbox.Person("p2", "Ben", "Dunn", email: "ben@example.org");
        var gone = Assert.Single(await WaitingAsync(system)).Id;
        await system.Follower.RunAsync(
            system.District.Id,
            await system.Get<Rollcall.Patrons.Erasure.PatronErasure>().EnqueueAsync(system.District.Id, "p2", "test"),
            null,
            CancellationToken.None
        );
        Assert.Empty(await system.Get<ReviewService>().ListAsync(system.District.Id));
        system.Sandbox.Overrides.Remove("users", "p2");
        system.Sandbox.Person("p3", "Cid", "Dunn", email: "cid@example.org");
        Assert.Equal(("p3", gone + 1), Assert.Single(await WaitingAsync(system)) is var now ? (now.Guid, now.Id) : default);
        var refused = await Assert.ThrowsAsync<RollcallException>(() =>
            system.Get<ReviewDecisions>().IgnoreAsync(system.District.Id, gone, "librarian")
        );
        Assert.Contains("nobody in Review", refused.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_decision_taken_back_leaves_no_trace_and_asks_again(Db db)
    {
        await using var system = await StartAsync(db);
        await system.ImportAsync(Ada);
        system.Sandbox.Person("p1", "Ada", "Lovelace", email: "ada@example.org");
        var item = Assert.Single(await WaitingAsync(system));
        var before = await UndoTests.PictureAsync(system);
        var decisions = system.Get<ReviewDecisions>();
        foreach (
            var decide in (Func<Task<ReviewDecision>>[])
                [
                    () => decisions.LinkAsync(system.District.Id, item.Id, "A1001", "librarian"),
                    () => decisions.CreateAsync(system.District.Id, item.Id, "librarian"),
                    () => decisions.IgnoreAsync(system.District.Id, item.Id, "librarian"),
                ]
        )
        {
            await decide();
            Assert.Empty(await system.Get<ReviewService>().ListAsync(system.District.Id));
            var back = await decisions.ReopenAsync(system.District.Id, item.Id, "librarian");
            var undo = await system.Follower.RunAsync(system.District.Id, back.OperationId, null, CancellationToken.None);
            Assert.Equal(OperationStatus.Completed, undo.Status);
            Assert.Equal(before, await UndoTests.PictureAsync(system));
            var open = Assert.Single(await system.Get<ReviewService>().ListAsync(system.District.Id));
            Assert.Equal((item.Id, "Lovelace, Ada"), (open.Id, open.Name));

            // What the roster said was kept until somebody decided: the next sync, a full one, says it again.
            Assert.Contains("Opened again", open.Reason, StringComparison.Ordinal);
            await Refused(() => decisions.CreateAsync(system.District.Id, item.Id, "librarian"), "comes with the next full sync");
            await Refused(() => decisions.LinkAsync(system.District.Id, item.Id, "A1001", "librarian"), "comes with the next full sync");
            var next = await system.SyncAsync(kind: OperationKind.ChangesSync);
            Assert.Equal((OperationKind.FullSync, 1), (next.Kind, OperationQueue.CountsOf(next).Review));
            open = Assert.Single(await system.Get<ReviewService>().ListAsync(system.District.Id));
            Assert.Equal((item.Id, item.Reason), (open.Id, open.Reason));
            Assert.Equal(item.Values, open.Values);
        }

        await Refused(() => decisions.ReopenAsync(system.District.Id, item.Id, "librarian"), "is open");
    }

    /// <summary>Mapped values are kept until somebody decides, or a sync does.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Of_who_is_decided_on_the_name_is_kept_and_of_who_is_settled_nothing(Db db)
    {
        await using var system = await StartAsync(db);
        string[] ids = ["link", "create", "ignore", "settle"];
        await system.ImportAsync(
            "barcode,lastName,firstName,email,site\n" + string.Concat(ids.Select((id, i) => $"A{i}00,Old,Ada,{id}@example.org,S1\n"))
        );
        foreach (var id in ids)
        {
            system.Sandbox.Person(id, "Ada", "Lovelace", email: $"{id}@example.org", phone: "555", number: id);
        }

        var waiting = (await WaitingAsync(system)).ToDictionary(w => w.Guid);
        Assert.Equal(4, waiting.Count);
        var decisions = system.Get<ReviewDecisions>();
        await decisions.LinkAsync(system.District.Id, waiting["link"].Id, waiting["link"].Candidates[0], "librarian");
        await decisions.CreateAsync(system.District.Id, waiting["create"].Id, "librarian");
        var ignored = await decisions.IgnoreAsync(system.District.Id, waiting["ignore"].Id, "librarian");
        system.Sandbox.Overrides.Remove("users", "settle");
        await system.SyncAsync();
        Assert.Empty(await system.Get<ReviewService>().ListAsync(system.District.Id));
        Assert.Equal(
            ["create", "ignore", "link"],
            (await system.Get<ReviewService>().DecidedAsync(system.District.Id, null, 1, 50))
                .Rows.Where(d => d is { Name: "Lovelace, Ada", Site: "S1" })
                .Select(d => d.Guid)
                .Order()
        );
        await using var context = system.Database.CreateContext();
        var items = context.ReviewItems.ToList();
        Assert.Equal(4, items.Count);
        Assert.All(items, i => Assert.DoesNotContain("555", i.Values, StringComparison.Ordinal));
        Assert.All(items, i => Assert.Null(i.Link));
        Assert.Equal("{}", items.Single(i => i.RosterId == "settle").Values);
        var log = Assert.Single(await system.LogAsync(ignored.OperationId));
        Assert.Equal(["firstName", "lastName", "site"], log.Changes.Select(c => c.Field).Order());
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Created_and_ignored_are_remembered_by_later_syncs(Db db)
    {
        await using var system = await StartAsync(db);
        await system.ImportAsync(Ada + "A1002,Carver,Ben,ben@example.org,S1,Active\n");
        system.Sandbox.Person("p1", "Ada", "Lovelace", email: "ada@example.org");
        system.Sandbox.Person("p2", "Ben", "Dunn", email: "ben@example.org");
        var items = await WaitingAsync(system);
        Assert.Equal(2, items.Count);
        var decisions = system.Get<ReviewDecisions>();
        var created = await decisions.CreateAsync(system.District.Id, items.Single(i => i.Guid == "p1").Id, "librarian");
        await decisions.IgnoreAsync(system.District.Id, items.Single(i => i.Guid == "p2").Id, "librarian");
        Assert.Equal("P100001", created.Barcode);

        var counts = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.True(counts.AddUp);
        Assert.Equal((0, 1, 0), (counts.Review, counts.Skipped, counts.Created));
        Assert.Equal(3, (await system.AllPatronsAsync()).Count);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task The_same_person_twice_in_the_roster_becomes_an_alias(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("p1", "Ada", "Byron", number: "77", phone: "1");
        await system.SyncAsync();
        system.Sandbox.Person("p2", "Ada", "Byron", number: "77", phone: "2");
        var item = Assert.Single(await WaitingAsync(system));
        Assert.Contains("perhaps the same person twice", item.Reason, StringComparison.Ordinal);
        Assert.Equal(
            [(await system.PatronsByGuidAsync())["p1"].Id],
            await system.Get<ReviewDecisions>().FollowingAsync(system.District.Id, await system.AllPatronsAsync())
        );
        var done = await system.Get<ReviewDecisions>().LinkAsync(system.District.Id, item.Id, item.Candidates[0], "librarian");
        Assert.EndsWith("Byron, Ada there is another record of the same person.", done.Message, StringComparison.Ordinal);
        Assert.Equal(
            "Byron, Ada is another record of this person in the roster",
            Assert.Single(await system.LogAsync(done.OperationId)).Reason
        );
        Assert.Equal(
            item.Candidates[0],
            Assert.Single(await system.Get<ReviewService>().DecidedPatronsAsync(system.District.Id, [done.OperationId])).Value
        );
        var patron = Assert.Single(await system.AllPatronsAsync());
        Assert.Equal(("p1", "1"), (patron.Guid, patron.Phone));

        var counts = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((1, 1, 0), (counts.Unchanged, counts.Skipped, counts.Review));

        // The first record goes: the person goes on under the second one and is no leaver.
        system.Sandbox.Overrides.Remove("users", "p1");
        counts = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((0, 0), (counts.Absent, counts.Created));
        patron = Assert.Single(await system.AllPatronsAsync());
        Assert.Equal((PatronStatus.Active, "2"), (patron.Status, patron.Phone));
    }

    /// <summary>Who comes back at a school that is none of the library's is not back: a decision says who it is, and nothing of that.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_patron_who_left_is_linked_to_somebody_of_no_matched_school_and_stays_transferred(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("p1", "Ada", "Byron", email: "ada@example.org");
        system.Sandbox.Person("p2", "Ben", "Carver");
        await system.SyncAsync();
        system.Sandbox.Overrides.Remove("users", "p1");
        Assert.Equal(1, OperationQueue.CountsOf(await system.SyncAsync()).Absent);
        system.Sandbox.Person("p9", "Ada", "Lovelace", email: "ada@example.org", phone: "7", orgs: ["nowhere"]);
        var item = Assert.Single(await WaitingAsync(system));
        await system.Get<ReviewDecisions>().LinkAsync(system.District.Id, item.Id, item.Candidates[0], "librarian");
        var patron = (await system.PatronsByGuidAsync())["p9"];
        Assert.Equal((PatronStatus.Transferred, "Lovelace", "7"), (patron.Status, patron.LastName, patron.Phone));
        for (var night = 0; night < 2; night++)
        {
            var counts = OperationQueue.CountsOf(await system.SyncAsync());
            Assert.Equal((0, 0, 0, 0), (counts.Reactivated, counts.Transferred, counts.Created, counts.Review));
            Assert.Equal(PatronStatus.Transferred, (await system.PatronsByGuidAsync())["p9"].Status);
        }

        system.Sandbox.Person("p9", "Ada", "Lovelace", email: "ada@example.org", phone: "7");
        Assert.Equal(1, OperationQueue.CountsOf(await system.SyncAsync()).Reactivated);
        Assert.Equal(PatronStatus.Active, (await system.PatronsByGuidAsync())["p9"].Status);
    }

    /// <summary>Who left all schools of the library is in the roster all the same: a record of them at one of these brings them back, and the other one
    /// stays known as theirs.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_second_record_of_somebody_who_left_all_schools_becomes_an_alias_and_brings_them_back(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("p1", "Ada", "Byron", number: "77", phone: "1");
        await system.SyncAsync();
        system.Sandbox.Person("p1", "Ada", "Byron", number: "77", phone: "1", orgs: ["nowhere"]);
        Assert.Equal(1, OperationQueue.CountsOf(await system.SyncAsync()).Transferred);
        system.Sandbox.Person("p2", "Ada", "Byron", number: "77", phone: "2");
        var item = Assert.Single(await WaitingAsync(system));
        Assert.Contains("perhaps the same person twice", item.Reason, StringComparison.Ordinal);
        var before = await UndoTests.PictureAsync(system);
        var decisions = system.Get<ReviewDecisions>();
        var done = await decisions.LinkAsync(system.District.Id, item.Id, item.Candidates[0], "librarian");
        Assert.EndsWith(
            "another record of the same person. By that one they are back at a school of the library, and have what it says of them.",
            done.Message,
            StringComparison.Ordinal
        );
        var patron = Assert.Single(await system.AllPatronsAsync());
        Assert.Equal(("p1", PatronStatus.Active, "2"), (patron.Guid, patron.Status, patron.Phone));
        for (var night = 0; night < 2; night++)
        {
            var counts = OperationQueue.CountsOf(await system.SyncAsync());
            Assert.Equal((1, 1, 0, 0), (counts.Unchanged, counts.Skipped, counts.Review, counts.Created));
            Assert.Equal(patron.Version, Assert.Single(await system.AllPatronsAsync()).Version);
        }

        await UndoTests.UndoAsync(system, done.OperationId);
        Assert.Equal(before, await UndoTests.PictureAsync(system));
        Assert.Equal(1, OperationQueue.CountsOf(await system.SyncAsync()).Review);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task The_same_person_twice_among_the_new_becomes_one_patron_and_a_question(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("p1", "Ada", "Byron", number: "77");
        system.Sandbox.Person("p2", "Ada", "BYRON", number: "77");
        system.Sandbox.Person("p3", "Ada", "Byron", number: "77");

        // Others may share a number: another name, or another role group, is another person.
        system.Sandbox.Person("q1", "Ben", "Carver", number: "78");
        system.Sandbox.Person("q2", "Cleo", "Dunn", number: "78");
        system.Sandbox.Person("r1", "Dan", "Ellis", number: "79");
        system.Sandbox.Person("r2", "Dora", "Ellis", number: "79", role: "teacher");

        // Upper and lower case of an id are two ids.
        system.Sandbox.Person("s1", "Eve", "Ford", number: "a80");
        system.Sandbox.Person("s2", "Eve", "Ford", number: "A80");
        var preview = OperationQueue.CountsOf(await system.SyncAsync(preview: true));
        Assert.Equal((7, 2), (preview.Created, preview.Review));
        var counts = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((7, 2, true), (counts.Created, counts.Review, counts.AddUp));
        var kept = (await system.PatronsByGuidAsync())["p1"];
        var waiting = await WaitingAsync(system);
        Assert.Equal(["p2", "p3"], waiting.Select(w => w.Guid).Order());
        foreach (var item in waiting)
        {
            Assert.Contains("perhaps the same person twice", item.Reason, StringComparison.Ordinal);
            Assert.Equal([kept.Barcode], item.Candidates);
        }

        // One is linked, of the other somebody says that it is another person after all.
        await system.Get<ReviewDecisions>().LinkAsync(system.District.Id, waiting[0].Id, kept.Barcode, "librarian");
        await system.Get<ReviewDecisions>().CreateAsync(system.District.Id, waiting[1].Id, "librarian");
        Assert.Equal(8, (await system.AllPatronsAsync()).Count);
        counts = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((8, 1, 0, 0), (counts.Unchanged, counts.Skipped, counts.Review, counts.Created));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Merging_fills_blanks_takes_the_link_over_and_can_be_undone(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("p1", "Ada", "Byron", phone: "5");
        await system.SyncAsync();
        await system.ImportAsync("barcode,lastName,firstName,notes,site\nOLD001,Byron,Augusta,reads a lot,S2\n");
        var synced = (await system.PatronsByGuidAsync())["p1"].Barcode;
        var before = await UndoTests.PictureAsync(system);
        var merge = system.Get<PatronMerge>();
        await Refused(() => merge.MergeAsync(system.District.Id, "OLD001", "old001", "librarian"), "same patron");

        var operation = await merge.MergeAsync(system.District.Id, "OLD001", synced, "librarian");
        var kept = Assert.Single(await system.AllPatronsAsync());
        Assert.Equal(("OLD001", "Augusta", "5", "reads a lot", "p1"), (kept.Barcode, kept.FirstName, kept.Phone, kept.Notes, kept.Guid));
        await UndoTests.UndoAsync(system, operation);
        Assert.Equal(before, await UndoTests.PictureAsync(system));

        await merge.MergeAsync(system.District.Id, "OLD001", synced, "librarian");
        var counts = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((1, 0, 0), (counts.Updated, counts.Created, counts.Review));
        kept = Assert.Single(await system.AllPatronsAsync());
        Assert.Equal(("OLD001", "Ada", PatronStatus.Active), (kept.Barcode, kept.FirstName, kept.Status));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Two_linked_records_merge_into_one_with_an_alias(Db db)
    {
        await using var system = await StartAsync(db);
        system.Sandbox.Person("p1", "Ada", "Byron");
        system.Sandbox.Person("p2", "Ada", "Byron");
        await system.SyncAsync();
        var patrons = await system.PatronsByGuidAsync();
        var before = await UndoTests.PictureAsync(system);
        var operation = await system
            .Get<PatronMerge>()
            .MergeAsync(system.District.Id, patrons["p1"].Barcode, patrons["p2"].Barcode, "librarian");
        var counts = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((1, 1, 0, 0), (counts.Unchanged, counts.Skipped, counts.Created, counts.Absent));
        await UndoTests.UndoAsync(system, operation);
        Assert.Equal(before, await UndoTests.PictureAsync(system));
    }

    [Fact]
    public async Task Two_people_who_decide_at_once_do_not_both_win()
    {
        foreach (var db in Enum.GetValues<Db>())
        {
            await using var system = await StartAsync(db);
            await system.ImportAsync(Ada);
            system.Sandbox.Person("p1", "Ada", "Lovelace", email: "ada@example.org");
            var item = Assert.Single(await WaitingAsync(system));
            var decisions = system.Get<ReviewDecisions>();
            var tries = await Task.WhenAll(
                Enumerable
                    .Range(0, 8)
                    .Select(i =>
                        Task.Run(async () =>
                        {
                            try
                            {
                                _ =
                                    i % 2 == 0
                                        ? await decisions.CreateAsync(system.District.Id, item.Id, "one")
                                        : await decisions.LinkAsync(system.District.Id, item.Id, "A1001", "two");
                                return true;
                            }
                            catch (RollcallException)
                            {
                                return false;
                            }
                        })
                    )
            );
            Assert.Equal(1, tries.Count(t => t));
            Assert.InRange((await system.AllPatronsAsync()).Count, 1, 2);
            Assert.Single(await system.PatronsByGuidAsync());
        }
    }

    private async Task<Installation> StartAsync(Db db)
    {
        var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) } });
        return system;
    }

    private static async Task<IReadOnlyList<ReviewRow>> WaitingAsync(Installation system)
    {
        var operation = await system.SyncAsync();
        Assert.Null(operation.Error);
        return await system.Get<ReviewService>().ListAsync(system.District.Id);
    }

    private static async Task Refused(Func<Task> act, string words)
    {
        var refused = await Assert.ThrowsAsync<RollcallException>(act);
        Assert.Contains(words, refused.Message, StringComparison.Ordinal);
    }
}
