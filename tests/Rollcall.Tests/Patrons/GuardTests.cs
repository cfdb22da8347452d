using System.Text;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Sync;
using Rollcall.Sync.Undo;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Patrons;

/// <summary>Every way in × every group of the record × every group of whoever comes: product §8, in the domain, whatever screens show.</summary>
public sealed class GuardTests(PostgresCluster cluster)
{
    /// <summary>The group of the record, and of whoever comes to change it: by every way in.</summary>
    private static readonly (SecurityGroup Record, SecurityGroup Right)[] s_pairs =
    [
        (SecurityGroup.Patron, SecurityGroup.LibraryAdministrator),
        (SecurityGroup.Librarian, SecurityGroup.LibraryAdministrator),
        (SecurityGroup.LibraryAdministrator, SecurityGroup.DistrictAdministrator),
    ];

    [Fact]
    public void Each_group_may_change_the_records_that_it_should()
    {
        var values = new ChangeValues();
        values.Add(PatronFields.Notes, null, "x");
        foreach (var kind in Enum.GetValues<ChangeKind>())
        {
            foreach (var right in Enum.GetValues<SecurityGroup>())
            {
                foreach (var record in Enum.GetValues<SecurityGroup>())
                {
                    var refusal = PatronGuard.Refusal(right, new Patron { LastName = "Reed", Group = record }, kind, values);
                    Assert.Equal(record > SecurityGroup.Patron && right < SecurityGroup.DistrictAdministrator, refusal is not null);
                }
            }
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_record_above_patron_is_a_district_administrators_in_every_way_in(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = s.Map with { CommunityId = new(IdSource.Identifier) } });
        List<(SecurityGroup Group, string Way, Func<Case, Task> Act, Case Case)> cases =
        [
            .. s_pairs.SelectMany(p =>
                Ways.Select(w =>
                    (p.Record, w.Name, w.Way, new Case(system, new Actor("somebody", p.Right), $"{p.Record}/{p.Right}/{w.Name}"))
                )
            ),
        ];
        var number = 1000;
        var csv = new StringBuilder("barcode,lastName,site,group,communityId\n");
        foreach (var (group, way, _, c) in cases)
        {
            c.Barcode = $"G{++number}";
            c.Other = $"G{++number}";
            var student = way == "review" ? c.Barcode : "";
            csv.Append(
                System.Globalization.CultureInfo.InvariantCulture,
                $"{c.Barcode},Reed,S1,{PatronFields.GroupWord(group)},{student}\n"
            );
            csv.Append(System.Globalization.CultureInfo.InvariantCulture, $"{c.Other},Reed,S1,Patron,{student}\n");
            if (way == "review")
            {
                // One Student #, two patrons: nobody knows which is meant.
                system.Sandbox.Person($"r-{c.Barcode}", "Ann", "Reed", number: c.Barcode);
            }
        }

        await system.ImportAsync(csv.ToString());
        await system.SyncAsync();
        foreach (var (group, _, act, c) in cases)
        {
            await act(c);
            var found = (await system.Patrons.PageAsync(c.District, Only(c), PatronSort.Name, false, 1, 1)).Patrons.SingleOrDefault();
            var changed = found is not { Notes: null, Phone: null, Guid: null };
            var allowed = group <= SecurityGroup.Patron || c.By.Right == SecurityGroup.DistrictAdministrator;
            Assert.True(changed == allowed, $"{c.Name}: changed is {changed}");
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Nobody_below_gives_rights_away(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        var by = new Actor("somebody", SecurityGroup.LibraryAdministrator);
        await system.Patrons.AddAsync(system.District.Id, [new("barcode", "R1001"), new("lastName", "Reed")], "setup");
        foreach (
            var (field, value) in (KeyValuePair<string, string>[])
                [new("group", "Librarian"), new("group", "Patron Limited"), new("siteAccess", "S1"), new("guid", "mine")]
        )
        {
            await RefusedAsync(() => system.Patrons.EditAsync(system.District.Id, "R1001", [new(field, value)], by));
            await RefusedAsync(() =>
                system.Patrons.AddAsync(system.District.Id, [new("lastName", "New"), new("barcode", "R1002"), new(field, value)], by)
            );
            if (field != "guid")
            {
                await RefusedAsync(() =>
                    system.Get<PatronBulk>().PlanEditAsync(system.District.Id, new PatronFilter(), [new(field, value)], true, by)
                );
            }

            foreach (var barcode in (string[])["R1001", "R1003"])
            {
                using var file = new MemoryStream(Encoding.UTF8.GetBytes($"barcode,lastName,{field}\n{barcode},Reed,{value}\n"));
                if (barcode == "R1003" && value == "Patron Limited")
                {
                    // A new patron of the least group is what a site's default may be, too.
                    continue;
                }

                var refused = await Assert.ThrowsAsync<ImportRefusedException>(() =>
                    system.Get<PatronImport>().PlanAsync(system.District.Id, file, "x.csv", false, by)
                );
                Assert.Contains("District Administrator", refused.Message, StringComparison.Ordinal);
            }
        }

        var patron = Assert.Single(await system.AllPatronsAsync());
        Assert.Equal((SecurityGroup.Patron, null, null), (patron.Group, patron.SiteAccess, patron.Guid));

        // What was taken from somebody does not come back by an undo.
        await system.Patrons.EditAsync(system.District.Id, "R1001", [new("group", "District Administrator")], "setup");
        await system.Patrons.EditAsync(system.District.Id, "R1001", [new("group", "Patron"), new("notes", "left")], "setup");
        var last = (await system.Queue.ListAsync(system.District.Id, 1, withEdits: true))[0];
        var undo = await system.Get<UndoService>().EnqueueAsync(system.District.Id, last.Id, null, by);
        var end = await system.Follower.RunAsync(system.District.Id, undo, null, CancellationToken.None);
        Assert.Equal(OperationStatus.CompletedWithWarnings, end.Status);
        Assert.Equal(PatronGuard.WarningCode, Assert.Single(OperationQueue.WarningsOf(end)).Code);
        Assert.True(OperationQueue.CountsOf(end).AddUp, end.Counts);
        Assert.Equal(SecurityGroup.Patron, (await system.Patrons.GetAsync(system.District.Id, "R1001")).Patron.Group);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_group_that_rises_after_the_plan_counts_and_a_hold_is_a_decision(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        foreach (var i in Enumerable.Range(1, 12))
        {
            system.Sandbox.Person($"p{i}", "Ada", $"Byron{(char)('A' + i)}");
        }

        await system.SyncAsync();
        var patrons = await system.PatronsByGuidAsync();
        var librarian = patrons["p1"].Barcode;
        await system.Patrons.EditAsync(system.District.Id, librarian, [new("group", "Librarian")], "setup");
        var by = new Actor("somebody", SecurityGroup.LibraryAdministrator);

        // A preview names whom it leaves out, and an approval leaves out who has risen since.
        var bulk = await system
            .Get<PatronBulk>()
            .PlanEditAsync(system.District.Id, new PatronFilter { Linked = true }, [new("notes", "x")], true, by);
        var preview = await system.Follower.RunAsync(system.District.Id, bulk, null, CancellationToken.None);
        Assert.Equal((11, 1), (OperationQueue.CountsOf(preview).Updated, OperationQueue.CountsOf(preview).Skipped));
        await system.Patrons.EditAsync(system.District.Id, patrons["p2"].Barcode, [new("group", "Student Aide")], "setup");
        await system.Queue.ApproveAsync(system.District.Id, bulk, by);
        var done = await system.Follower.RunAsync(system.District.Id, bulk, null, CancellationToken.None);
        Assert.Equal((10, 2), (OperationQueue.CountsOf(done).Updated, OperationQueue.CountsOf(done).Skipped));
        Assert.True(OperationQueue.CountsOf(done).AddUp, done.Counts);
        Assert.Equal(10, (await system.AllPatronsAsync()).Count(p => p.Notes == "x"));

        // Nothing happened to whoever was left out, neither by the plan nor by its writing.
        foreach (var (id, times) in ((string, int)[])[("p1", 0), ("p2", 0), ("p3", 1)])
        {
            var history = await system.Get<OperationLog>().HistoryAsync(system.District.Id, patrons[id].Id, 20);
            Assert.Equal(times, history.Count(h => h.Operation.Id == bulk));
        }

        // The whole school is renamed: held. The approval of a Library Administrator does not reach the two above Patron.
        foreach (var i in Enumerable.Range(1, 12))
        {
            system.Sandbox.Overrides.Change("users", $"p{i}", r => r["familyName"] = $"New{i}");
        }

        var held = await system.SyncAsync();
        Assert.Equal(OperationStatus.NeedsApproval, held.Status);
        Assert.Null(await FullDueAsync());
        await system.Queue.ApproveAsync(system.District.Id, held.Id, by);
        var approved = await system.Follower.RunAsync(system.District.Id, held.Id, null, CancellationToken.None);
        Assert.Contains(OperationQueue.WarningsOf(approved), w => w.Code == PatronGuard.WarningCode && w.Count == 2);
        Assert.Equal(10, (await system.AllPatronsAsync()).Count(p => p.LastName.StartsWith("New", StringComparison.Ordinal)));
        Assert.Equal($"operation {held.Id} left changes out", await FullDueAsync());

        // A sync is nobody's decision: it is applied by itself, to everybody.
        system.Sandbox.Overrides.Change("users", "p1", r => r["phone"] = "555");
        await system.SyncAsync();
        Assert.Equal("555", (await system.Patrons.GetAsync(system.District.Id, librarian)).Patron.Phone);
        Assert.Equal(SecurityGroup.Librarian, (await system.Patrons.GetAsync(system.District.Id, librarian)).Patron.Group);

        async Task<string?> FullDueAsync() =>
            Rollcall
                .Integrations.IntegrationService.StateOf(
                    await system.Integrations.FindAsync(system.District.Id, Rollcall.Integrations.IntegrationKind.ClassLink)
                )
                .FullDue;
    }

    private sealed record Case(Installation System, Actor By, string Name)
    {
        public int District => System.District.Id;
        public string Barcode { get; set; } = "";
        public string Other { get; set; } = "";
    }

    private static (string Name, Func<Case, Task> Way)[] Ways =>
        [
            ("edit", c => TryAsync(() => c.System.Patrons.EditAsync(c.District, c.Barcode, [new("notes", "x")], c.By))),
            ("merge into it", c => TryAsync(() => MergeAsync(c))),
            ("merge it away", c => TryAsync(() => c.System.Get<PatronMerge>().MergeAsync(c.District, c.Other, c.Barcode, c.By))),
            (
                "bulk edit",
                c => PlannedAsync(c, () => c.System.Get<PatronBulk>().PlanEditAsync(c.District, Only(c), [new("notes", "x")], false, c.By))
            ),
            (
                "approved bulk edit",
                async c =>
                {
                    // Planned by somebody who may, approved by somebody who may not.
                    var id = await c.System.Get<PatronBulk>().PlanEditAsync(c.District, Only(c), [new("notes", "x")], true, "setup");
                    await c.System.Follower.RunAsync(c.District, id, null, CancellationToken.None);
                    await c.System.Queue.ApproveAsync(c.District, id, c.By);
                    await RunAllAsync(c.System);
                }
            ),
            ("bulk removal", c => PlannedAsync(c, () => c.System.Get<PatronBulk>().PlanRemovalAsync(c.District, Only(c), false, c.By))),
            (
                "removal by barcode",
                c => PlannedAsync(c, () => c.System.Get<PatronBulk>().PlanRemovalAsync(c.District, [c.Barcode], false, c.By))
            ),
            (
                "import",
                c =>
                    PlannedAsync(
                        c,
                        async () =>
                        {
                            using var file = new MemoryStream(Encoding.UTF8.GetBytes($"barcode,notes\n{c.Barcode},x\n"));
                            return await c.System.Get<PatronImport>().PlanAsync(c.District, file, "x.csv", false, c.By);
                        }
                    )
            ),
            ("undo", c => UndoAsync(c, null)),
            ("undo of one patron", c => UndoAsync(c, c.Barcode)),
            ("review", ReviewAsync),
        ];

    private static PatronFilter Only(Case c) => new() { Barcodes = [c.Barcode] };

    private static async Task MergeAsync(Case c)
    {
        await c.System.Patrons.EditAsync(c.District, c.Other, [new("phone", "555")], "setup");
        await c.System.Get<PatronMerge>().MergeAsync(c.District, c.Barcode, c.Other, c.By);
    }

    private static async Task UndoAsync(Case c, string? barcode)
    {
        // What is taken back here is that there are no notes.
        await c.System.Patrons.EditAsync(c.District, c.Barcode, [new("notes", "x")], "setup");
        await c.System.Patrons.EditAsync(c.District, c.Barcode, [new("notes", null)], "setup");
        var id = (await c.System.Queue.ListAsync(c.District, 1, withEdits: true))[0].Id;
        await PlannedAsync(c, () => c.System.Get<UndoService>().EnqueueAsync(c.District, id, barcode, c.By));
    }

    private static async Task ReviewAsync(Case c)
    {
        var item = (await c.System.Get<ReviewService>().ListAsync(c.District)).Single(i => i.Guid == $"r-{c.Barcode}");
        await TryAsync(() => c.System.Get<ReviewDecisions>().LinkAsync(c.District, item.Id, c.Barcode, c.By));
    }

    private static async Task TryAsync(Func<Task> act)
    {
        try
        {
            await act();
        }
        catch (RollcallException e)
        {
            Assert.Contains("only a District Administrator changes", e.Message, StringComparison.Ordinal);
        }
    }

    private static async Task PlannedAsync(Case c, Func<Task<long>> plan)
    {
        try
        {
            await plan();
        }
        catch (Exception e) when (e is RollcallException or ImportRefusedException)
        {
            Assert.Contains("only a District Administrator changes", e.Message, StringComparison.Ordinal);
        }

        await RunAllAsync(c.System);
    }

    private static async Task RunAllAsync(Installation system)
    {
        foreach (
            var waiting in (await system.Queue.ListAsync(system.District.Id, 3, withEdits: true)).Where(o =>
                o.Status == OperationStatus.Waiting
            )
        )
        {
            var end = await system.Follower.RunAsync(system.District.Id, waiting.Id, null, CancellationToken.None);
            Assert.True(OperationQueue.CountsOf(end).AddUp, end.Counts);
            Assert.NotEqual(OperationStatus.Failed, end.Status);
        }
    }

    private static async Task RefusedAsync(Func<Task> act) =>
        Assert.Contains(
            "only a District Administrator changes",
            (await Assert.ThrowsAsync<RollcallException>(act)).Message,
            StringComparison.Ordinal
        );
}
