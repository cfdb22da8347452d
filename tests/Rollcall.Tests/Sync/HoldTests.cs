using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Storage;
using Rollcall.Sync.Apply;
using Rollcall.Sync.Guard;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>What looks like an accident waits for a person.</summary>
public sealed class HoldTests(PostgresCluster cluster)
{
    /// <summary>A feed that vanishes makes a hold of every site and group: each row is looked at once all the same, in short transactions.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Holds_of_many_sites_are_marked_in_one_pass(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, connect: false);
        const int Sites = 50;
        const int Rows = 5000;
        RoleGroup[] groups = [RoleGroup.Student, RoleGroup.Teacher, RoleGroup.Admin];
        var operation = new Operation
        {
            DistrictId = system.District.Id,
            Kind = OperationKind.FullSync,
            Status = OperationStatus.Running,
            Fence = 7,
        };
        await using (var context = system.Database.CreateContext())
        {
            context.Operations.Add(operation);
            await context.SaveChangesAsync();
        }

        List<Change> rows =
        [
            .. Enumerable
                .Range(1, Rows)
                .Select(i => new Change
                {
                    DistrictId = system.District.Id,
                    OperationId = operation.Id,
                    Number = i,
                    Kind = ChangeKind.Transfer,
                    Outcome = Outcome.Absent,
                    PatronId = i,
                    SiteId = i % Sites == 0 ? null : i % Sites,
                    RoleGroup = groups[i % groups.Length],
                    Risk = i % 7 == 0 ? Risk.None : Risk.Transfers,
                }),
        ];
        await using var connection = await system.Database.OpenAsync();
        await using (var transaction = await system.Database.Bulk.BeginWriteAsync(connection, CancellationToken.None))
        {
            await system.Database.Bulk.InsertAsync(connection, transaction, BulkTables.Changes, rows, CancellationToken.None);
            await transaction.CommitAsync();
        }

        // Every site and group, those without a site too, but for the teachers of one site.
        Hold[] holds =
        [
            .. Enumerable
                .Range(0, Sites)
                .SelectMany(s => groups.Select(g => new Hold(s, g, Risk.Transfers, 1, 1, 0)))
                .Where(h => (h.Site, h.Group) != (3, RoleGroup.Teacher)),
        ];
        var expected = rows.Where(r => r.Risk != Risk.None && (r.SiteId, r.RoleGroup) != (3, RoleGroup.Teacher))
            .Select(r => r.Number)
            .ToList();
        var marks = new HoldMarks(system.Database, operation, TimeProvider.System);
        Assert.Equal(expected.Count, await marks.SetAsync(connection, holds, CancellationToken.None));
        Assert.InRange(marks.Statements, 2, 2 * ((Rows / HoldMarks.AtOnce) + 1));
        await using (var context = system.Database.CreateContext())
        {
            Assert.Equal(expected, await context.Changes.Where(c => c.Held).OrderBy(c => c.Number).Select(c => c.Number).ToListAsync());
        }

        Assert.Equal(
            0,
            await new HoldMarks(system.Database, operation, TimeProvider.System).SetAsync(connection, [], CancellationToken.None)
        );

        // Whoever lost the operation marks nothing.
        operation.Fence--;
        await Assert.ThrowsAsync<FencedOffException>(() =>
            new HoldMarks(system.Database, operation, TimeProvider.System).SetAsync(connection, holds, CancellationToken.None)
        );
    }

    /// <summary>Whom a sync has seen since waits no longer, and is not counted as skipped either: they are not among the people read.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_absent_patron_who_is_left_out_of_a_hold_is_not_skipped(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 20, Schools = 2 });
        system.Sandbox.OnlyMine();
        for (var i = 1; i <= 30; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", $"Person{i:00}");
        }

        await system.SyncAsync();
        var gone = Enumerable.Range(1, 14).Select(i => $"p{i:00}").ToList();
        system.Sandbox.Overrides.Remove("users", gone);
        var held = await system.SyncAsync();
        Assert.Equal((14, 0), Apart(held));
        system.Sandbox.Overrides.Restore("users", ["p01"]);
        system.Sandbox.Person("p01", "Pat", "Person01");
        await PersonTests.RunAsync(system, "p01");
        held = await system.Queue.GetAsync(system.District.Id, held.Id);
        Assert.Equal(OperationStatus.NeedsApproval, held.Status);
        Assert.Equal((13, 0), Apart(held));
        var told = OperationQueue.CountsOf(held).HeldApart();
        Assert.Equal((16, 0, 0), (told.Unchanged, told.Transferred, told.Absent));
        var approved = OperationQueue.CountsOf(await system.ApproveAsync(held.Id));
        Assert.Equal((0, 0, 13, 13), (approved.Held, approved.Skipped, approved.Absent, approved.Transferred));
        Assert.True(approved.AddUp, approved.ToString());

        static (long Held, long Skipped) Apart(Operation operation) =>
            OperationQueue.CountsOf(operation).HeldApart() is var counts ? (counts.Held, counts.Skipped) : default;
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_school_that_shrinks_by_a_third_is_held_then_applied_when_approved(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 400, Schools = 2 });
        await system.SyncAsync();
        var before = await system.PatronsByGuidAsync();
        var school = system.Sandbox.District.Schools.First();
        var gone = system
            .Sandbox.Overrides.RemoveShare(school.SourcedId, 0.3)
            .Where(g => before.TryGetValue(g, out var p) && p.SiteId == 1)
            .ToList();
        system.Sandbox.Overrides.Change(
            "users",
            before.Keys.First(k => !gone.Contains(k) && Present(system, k)),
            u => u["givenName"] = "Renamed"
        );

        var held = await system.SyncAsync();
        Assert.Equal(OperationStatus.NeedsApproval, held.Status);
        var counts = OperationQueue.CountsOf(held);
        Assert.True(counts.Held == gone.Count, counts.ToString());
        Assert.True(counts.AddUp, counts.ToString());
        var after = await system.PatronsByGuidAsync();
        Assert.All(gone, g => Assert.Equal(before[g].Version, after[g].Version));
        Assert.Contains(after.Values, p => p.FirstName == "Renamed");

        var approved = await system.ApproveAsync(held.Id);
        Assert.Contains(approved.Status, (OperationStatus[])[OperationStatus.Completed, OperationStatus.CompletedWithWarnings]);
        after = await system.PatronsByGuidAsync();
        Assert.All(gone, g => Assert.Equal(PatronStatus.Transferred, after[g].Status));
        Assert.Equal(0, OperationQueue.CountsOf(approved).Held);
        await Assert.ThrowsAsync<RollcallException>(() => system.ApproveAsync(held.Id));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_was_applied_beside_a_hold_is_undone_and_the_hold_can_no_longer_be_approved(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 400, Schools = 2 });
        await system.SyncAsync();
        var before = await UndoTests.PictureAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        var gone = system.Sandbox.Overrides.RemoveShare(system.Sandbox.District.Schools.First().SourcedId, 0.3);
        system.Sandbox.Overrides.Change(
            "users",
            patrons.Keys.First(k => !gone.Contains(k) && Present(system, k)),
            u => u["givenName"] = "Renamed"
        );
        var held = await system.SyncAsync();
        Assert.Equal(OperationStatus.NeedsApproval, held.Status);
        Assert.NotEqual(before, await UndoTests.PictureAsync(system));

        await UndoTests.UndoAsync(system, held.Id);
        Assert.Equal(before, await UndoTests.PictureAsync(system));
        var refused = await Assert.ThrowsAsync<RollcallException>(() => system.ApproveAsync(held.Id));
        Assert.Contains("undone", refused.Message, StringComparison.Ordinal);
        Assert.Equal(before, await UndoTests.PictureAsync(system));
        Assert.Equal(OperationStatus.NeedsApproval, (await system.SyncAsync()).Status);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_discarded_hold_changes_nothing_and_the_next_sync_supersedes_one_that_waits(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 400, Schools = 2 });
        await system.SyncAsync();
        var school = system.Sandbox.District.Schools.First().SourcedId;
        var sites = (await system.PatronsByGuidAsync()).ToDictionary(p => p.Key, p => p.Value.SiteId, StringComparer.Ordinal);
        var gone = system.Sandbox.Overrides.RemoveShare(school, 0.3);

        // People of two schools whose site is the other one are no part of this school's group.
        system.Sandbox.Overrides.Restore("users", gone.Where(g => sites.TryGetValue(g, out var site) && site != 1));
        var before = (await system.AllPatronsAsync()).ToDictionary(p => p.Id, p => p.Version);

        var held = await system.SyncAsync();
        await system.Queue.DiscardAsync(system.District.Id, held.Id, "test");
        Assert.Equal(before, (await system.AllPatronsAsync()).ToDictionary(p => p.Id, p => p.Version));
        var discarded = await system.Queue.GetAsync(system.District.Id, held.Id);
        Assert.Equal(OperationStatus.Discarded, discarded.Status);

        // What it waited for somebody was no work.
        Assert.Equal(held.Worked, discarded.Worked);
        Assert.True(OperationQueue.CountsOf(discarded).AddUp);

        var second = await system.SyncAsync();
        Assert.Equal(OperationStatus.NeedsApproval, second.Status);
        var third = await system.SyncAsync();
        Assert.Equal(OperationStatus.NeedsApproval, third.Status);
        var superseded = await system.Queue.GetAsync(system.District.Id, second.Id);
        Assert.Equal((OperationStatus.Superseded, second.Worked), (superseded.Status, superseded.Worked));

        // It tells what it wrote, not what it would have, and why it ended.
        var told = OperationQueue.CountsOf(superseded);
        Assert.True(told.AddUp, superseded.Counts);
        Assert.Equal((0L, 0L), (told.Held, told.Transferred));
        Assert.Contains($"Operation {third.Id} has read the roster anew", superseded.Error, StringComparison.Ordinal);
        Assert.Equal(before, (await system.AllPatronsAsync()).ToDictionary(p => p.Id, p => p.Version));
    }

    [Fact]
    public async Task A_hold_is_planned_anew_though_the_service_says_that_nothing_changed()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Sqlite, new SandboxOptions { Students = 120, Schools = 2 });
        await system.SyncAsync();
        system.Sandbox.Overrides.RemoveShare(system.Sandbox.District.Schools.First().SourcedId, 0.5);
        system.Sandbox.Faults.Set("perm-rev");
        var first = await system.SyncAsync();
        var second = await system.SyncAsync();
        Assert.Equal((OperationStatus.NeedsApproval, OperationStatus.NeedsApproval), (first.Status, second.Status));
        Assert.Equal(OperationStatus.Superseded, (await system.Queue.GetAsync(system.District.Id, first.Id)).Status);
    }

    [Fact]
    public async Task A_patron_who_changed_meanwhile_is_left_out_of_an_approval()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Sqlite, new SandboxOptions { Students = 400, Schools = 2 });
        await system.SyncAsync();
        var gone = system.Sandbox.Overrides.RemoveShare(system.Sandbox.District.Schools.First().SourcedId, 0.3);
        var held = await system.SyncAsync();
        var patrons = await system.PatronsByGuidAsync();
        var edited = patrons[gone.First(g => patrons.ContainsKey(g))];
        await system.Patrons.EditAsync(system.District.Id, edited.Barcode, [new("status", "Suspended")], "librarian");

        var approved = await system.ApproveAsync(held.Id);
        var counts = OperationQueue.CountsOf(approved);
        Assert.True(counts.AddUp, counts.ToString());
        Assert.Equal(OperationQueue.CountsOf(held).Transferred - 1, counts.Transferred);
        Assert.Equal(PatronStatus.Suspended, (await system.PatronsByGuidAsync())[edited.Guid!].Status);
        Assert.Contains(await system.LogAsync(held.Id), r => r.Stale && r.Guid == edited.Guid);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_preview_writes_nothing_and_applies_exactly_what_it_said(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 200, Schools = 2 });
        var preview = await system.SyncAsync(preview: true);
        Assert.Equal(OperationStatus.Preview, preview.Status);
        Assert.Empty(await system.AllPatronsAsync());
        var planned = (await system.LogAsync(preview.Id))
            .Where(r => r.Outcome == "created")
            .Select(r => (r.Guid, r.Barcode, r.Name))
            .ToList();
        Assert.NotEmpty(planned);

        var approved = await system.ApproveAsync(preview.Id);
        Assert.Contains(approved.Status, (OperationStatus[])[OperationStatus.Completed, OperationStatus.CompletedWithWarnings]);
        var patrons = (await system.AllPatronsAsync()).Select(p => (p.Guid, (string?)p.Barcode, (string?)p.DisplayName)).ToHashSet();
        Assert.Equal(planned.ToHashSet(), patrons);

        var again = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal(0, again.Created + again.Updated + again.Transferred + again.Reactivated);
    }

    public static TheoryData<Db, string, string> WhoWaits()
    {
        var cases = new TheoryData<Db, string, string>();
        foreach (var db in Enum.GetValues<Db>())
        {
            cases.Add(db, "deleted", "the hold, then the changes");
            cases.Add(db, "renamed", "the changes, then the hold");
            cases.Add(db, "created", "the hold, then the changes");
        }

        cases.Add(Db.Sqlite, "deleted", "the changes, then the hold");
        cases.Add(Db.Sqlite, "created", "the changes, then the hold");
        cases.Add(Db.Sqlite, "deleted", "neither");
        cases.Add(Db.Sqlite, "renamed", "the hold, then the changes");
        return cases;
    }

    /// <summary>What a full sync held comes again in a pull of changes, too few of it to be held for its number.</summary>
    [Theory]
    [MemberData(nameof(WhoWaits))]
    public async Task Changes_of_people_who_wait_for_an_approval_wait_too(Db db, string what, string decided)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 60, Schools = 2 });
        system.Sandbox.OnlyMine();
        for (var i = 1; i <= 60; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", $"Person{i:00}", phone: "1");
        }

        if (what == "created")
        {
            var rows = Enumerable.Range(1, 14).Select(i => $"OLD{i:00},Other{i:00},Olga,S1\n");
            await system.ImportAsync("barcode,lastName,firstName,site\n" + string.Concat(rows));
        }

        await system.SyncAsync();
        await system.SyncAsync();
        for (var i = 1; i <= 14; i++)
        {
            Change(i, "2026-01-01T00:00:00.000Z", phone: "1");
        }

        var hold = await system.SyncAsync();
        Assert.Equal((OperationStatus.NeedsApproval, 14), (hold.Status, OperationQueue.CountsOf(hold).Held));
        var before = (await system.AllPatronsAsync()).ToDictionary(p => p.Id, p => p.Version);
        for (var i = 1; i <= 8; i++)
        {
            Change(i, "2099-01-01T00:00:00.000Z", phone: "2");
        }

        system.Sandbox.Person("p20", "Pat", "Person20", phone: "2", status: "tobedeleted", modified: "2099-01-01T00:00:00.000Z");
        system.Sandbox.Person("p21", "Pat", "Person21", phone: "2", modified: "2099-01-01T00:00:00.000Z");
        var changes = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal((OperationKind.ChangesSync, OperationStatus.NeedsApproval), (changes.Kind, changes.Status));
        Assert.Equal(8, OperationQueue.CountsOf(changes).Held);
        Assert.Contains(
            OperationQueue.WarningsOf(changes),
            w => w.Message == $"8 changes are of people whose changes wait in operation {hold.Id}: held for approval with them"
        );
        var after = await system.AllPatronsAsync();
        Assert.Equal(["p20", "p21"], after.Where(p => p.Version != before[p.Id]).Select(p => p.Guid!).Order());
        Assert.Equal(OperationStatus.NeedsApproval, (await system.Queue.GetAsync(system.District.Id, hold.Id)).Status);
        if (decided == "neither")
        {
            // One person at a time somebody asks for on purpose.
            var one = await PersonTests.RunAsync(system, "p01");
            Assert.Equal(1, OperationQueue.CountsOf(one).Transferred);
            await system.ApproveAsync(hold.Id);
            Assert.Equal(15, (await system.AllPatronsAsync()).Count(p => p.Status == PatronStatus.Transferred));
            return;
        }

        long[] order = decided.StartsWith("the hold", StringComparison.Ordinal) ? [hold.Id, changes.Id] : [changes.Id, hold.Id];
        foreach (var id in order)
        {
            var approved = await system.ApproveAsync(id);
            Assert.Null(approved.Error);
            Assert.True(OperationQueue.CountsOf(approved).AddUp, approved.Counts);
        }

        await system.SyncAsync();
        after = await system.AllPatronsAsync();
        Assert.Equal(what == "created" ? 88 : 60, after.Count);
        Assert.Equal(what == "deleted" ? 15 : 1, after.Count(p => p.Status == PatronStatus.Transferred));
        Assert.Equal(what == "renamed" ? 14 : 0, after.Count(p => p.LastName.StartsWith("Renamed", StringComparison.Ordinal)));
        Assert.Equal(what == "deleted" ? 1 : 9, after.Count(p => p.Phone == "2"));
        var last = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((0, 0, 0, 0), (last.Created, last.Updated, last.Transferred, last.Reactivated));

        void Change(int i, string modified, string phone)
        {
            var (id, given, family) =
                what == "created"
                    ? ($"q{i:00}", "Olga", $"Other{i:00}")
                    : ($"p{i:00}", "Pat", what == "renamed" ? $"Renamed{i:00}" : $"Person{i:00}");
            system.Sandbox.Person(
                id,
                given,
                family,
                phone: phone,
                status: what == "deleted" ? "tobedeleted" : "active",
                modified: modified
            );
        }
    }

    /// <summary>Who waits because all ids were given anew is one among many to a sync of changes, and waits there too, whatever it makes of them.</summary>
    [Theory]
    [InlineData(Db.Sqlite, true)]
    [InlineData(Db.Postgres, true)]
    [InlineData(Db.Sqlite, false)]
    public async Task New_people_who_wait_for_an_approval_wait_in_a_changes_sync_too(Db db, bool holdFirst)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 60, Schools = 2 });
        system.Sandbox.OnlyMine();
        for (var i = 0; i < 30; i++)
        {
            system.Sandbox.Person($"a{i}", $"First{i}", $"Last{i}");
        }

        await system.SyncAsync();
        for (var i = 0; i < 30; i++)
        {
            system.Sandbox.Overrides.Remove("users", $"a{i}");
            system.Sandbox.Person($"b{i}", $"First{i}", $"Last{i}");
        }

        var hold = await system.SyncAsync();
        Assert.Equal((OperationStatus.NeedsApproval, 60), (hold.Status, OperationQueue.CountsOf(hold).Held));
        var before = (await system.AllPatronsAsync()).ToDictionary(p => p.Id, p => p.Version);

        // One of them is touched, one has another name by now, and somebody else is new.
        system.Sandbox.Person("b5", "First5", "Last5", phone: "2", modified: "2099-01-01T00:00:00.000Z");
        system.Sandbox.Person("b6", "Quite", "Another", phone: "2", modified: "2099-01-01T00:00:00.000Z");
        system.Sandbox.Person("c1", "Newly", "Come", phone: "2", modified: "2099-01-01T00:00:00.000Z");
        var changes = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal((OperationKind.ChangesSync, OperationStatus.NeedsApproval), (changes.Kind, changes.Status));
        Assert.Equal((2, 3), (OperationQueue.CountsOf(changes).Held, OperationQueue.CountsOf(changes).Created));
        Assert.Contains(
            OperationQueue.WarningsOf(changes),
            w => w.Message == $"2 changes are of people whose changes wait in operation {hold.Id}: held for approval with them"
        );
        var after = await system.AllPatronsAsync();
        Assert.Equal(["c1"], after.Where(p => !before.ContainsKey(p.Id)).Select(p => p.Guid!));
        Assert.All(after.Where(p => p.Guid != "c1"), p => Assert.Equal(before[p.Id], p.Version));

        // Approved in whatever order, nobody is there twice by the same id.
        foreach (var id in (long[])(holdFirst ? [hold.Id, changes.Id] : [changes.Id, hold.Id]))
        {
            var approved = await system.ApproveAsync(id);
            Assert.Null(approved.Error);
            Assert.True(OperationQueue.CountsOf(approved).AddUp, approved.Counts);
        }

        Assert.Equal(61, (await system.AllPatronsAsync()).Count);
    }

    [Fact]
    public async Task Mass_renames_are_held_and_first_values_are_not()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Sqlite, new SandboxOptions { Students = 200, Schools = 2 });
        await system.SyncAsync();
        await system.ConfigureAsync(s =>
            s with
            {
                Map = s.Map with { CommunityId = new Rollcall.Mapping.IdMapping(Rollcall.Mapping.IdSource.Identifier) },
            }
        );
        var filled = await system.SyncAsync();
        Assert.NotEqual(OperationStatus.NeedsApproval, filled.Status);
        Assert.True(OperationQueue.CountsOf(filled).Updated > 100);

        foreach (var guid in (await system.PatronsByGuidAsync()).Keys.Where(k => Present(system, k)))
        {
            system.Sandbox.Overrides.Change("users", guid, u => u["familyName"] = "Everybody");
        }

        var held = await system.SyncAsync();
        Assert.Equal(OperationStatus.NeedsApproval, held.Status);
        Assert.True(OperationQueue.CountsOf(held).Held > 100);
        Assert.True((await system.AllPatronsAsync()).Count(p => p.LastName == "Everybody") < 20);
    }

    private static bool Present(Installation system, string guid) =>
        system.Sandbox.District.Find(guid)?.Presence == SandboxPresence.Present;

    /// <summary>The numbers of operations are given when they are asked for; a full sync can run before one of changes that was asked for first.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Changes_that_were_asked_for_before_a_hold_and_run_after_it_wait_too(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 60, Schools = 2 });
        system.Sandbox.OnlyMine();
        void Put(int from, int to, string family, string modified = "2026-01-01T00:00:00.000Z")
        {
            for (var i = from; i <= to; i++)
            {
                system.Sandbox.Person($"p{i:00}", "Pat", $"{family}{i:00}", modified: modified);
            }
        }

        Put(1, 30, "Before");
        await system.SyncAsync();
        await system.SyncAsync();
        var (changes, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.ChangesSync,
            Rollcall.Integrations.IntegrationKind.ClassLink,
            preview: false,
            "test"
        );
        Put(1, 14, "After");
        var hold = await system.SyncAsync();
        Assert.Equal((OperationStatus.NeedsApproval, 14), (hold.Status, OperationQueue.CountsOf(hold).Held));
        Put(1, 1, "After", "2099-01-01T00:00:00.000Z");
        var late = await system.Follower.RunAsync(system.District.Id, changes, null, CancellationToken.None);
        Assert.True(late.Id < hold.Id);
        Assert.Equal((OperationKind.ChangesSync, OperationStatus.NeedsApproval), (late.Kind, late.Status));
        Assert.Equal(1, OperationQueue.CountsOf(late).Held);
        Assert.DoesNotContain(await system.AllPatronsAsync(), p => p.LastName.StartsWith("After", StringComparison.Ordinal));
    }

    /// <summary>What a sync of changes shows to be wrong keeps none of its own changes waiting.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_hold_that_a_sync_of_changes_ends_holds_none_of_its_changes(Db db)
    {
        await using var system = await StartOfThirtyAsync(db);
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(1, 14).Select(i => $"p{i:00}"));
        var hold = await system.SyncAsync();
        Assert.Equal(14, OperationQueue.CountsOf(hold).Held);
        system.Sandbox.Person("p01", "Pat", "Before01", modified: "2099-01-01T00:00:00.000Z");
        system.Sandbox.Person("p02", "Pat", "Before02", status: "tobedeleted", modified: "2099-01-01T00:00:00.000Z");
        var changes = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal((OperationKind.ChangesSync, OperationStatus.Completed), (changes.Kind, changes.Status));
        Assert.Equal((0, 1), (OperationQueue.CountsOf(changes).Held, OperationQueue.CountsOf(changes).Transferred));
        Assert.Equal(OperationStatus.Superseded, (await system.Queue.GetAsync(system.District.Id, hold.Id)).Status);
        Assert.Equal("p02", Assert.Single(await system.AllPatronsAsync(), p => p.Status == PatronStatus.Transferred).Guid);
    }

    /// <summary>Too few are left to be held for their number; nobody has said yes to them either.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task The_last_of_a_hold_who_come_again_otherwise_wait_on(Db db)
    {
        await using var system = await StartOfThirtyAsync(db);
        for (var i = 1; i <= 12; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", $"After{i:00}");
        }

        var hold = await system.SyncAsync();
        Assert.Equal(12, OperationQueue.CountsOf(hold).Held);
        for (var i = 1; i <= 5; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", $"Later{i:00}");
            await PersonTests.RunAsync(system, $"p{i:00}");
        }

        Assert.Equal(7, OperationQueue.CountsOf(await system.Queue.GetAsync(system.District.Id, hold.Id)).Held);
        Assert.Equal(
            7,
            (await system.Get<OperationLog>().PageAsync(system.District.Id, hold.Id, new LogFilter { HeldOnly = true }, 1, 50)).Total
        );
        for (var i = 6; i <= 12; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", $"Later{i:00}", modified: "2099-01-01T00:00:00.000Z");
        }

        var changes = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal((OperationStatus.NeedsApproval, 7), (changes.Status, OperationQueue.CountsOf(changes).Held));
        Assert.Equal(OperationStatus.Superseded, (await system.Queue.GetAsync(system.District.Id, hold.Id)).Status);
        var warning = Assert.Single(OperationQueue.WarningsOf(changes), w => w.Code == "held");
        Assert.Contains($"waited in operation {hold.Id}", warning.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("first", warning.Hint, StringComparison.Ordinal);
        await system.ApproveAsync(changes.Id);
        Assert.Equal(12, (await system.AllPatronsAsync()).Count(p => p.LastName.StartsWith("Later", StringComparison.Ordinal)));
    }

    private async Task<Installation> StartOfThirtyAsync(Db db)
    {
        var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 60, Schools = 2 });
        system.Sandbox.OnlyMine();
        for (var i = 1; i <= 30; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", $"Before{i:00}");
        }

        await system.SyncAsync();
        await system.SyncAsync();
        return system;
    }
}
