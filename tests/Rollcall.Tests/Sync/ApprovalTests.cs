using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Sync;
using Rollcall.Sync.Person;
using Rollcall.Sync.Undo;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>A plan that is older than what is known by now: approved late, approved twice, or gone on with after a newer read.</summary>
public sealed class ApprovalTests(PostgresCluster cluster)
{
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

    private static async Task<Operation> SyncAsync(
        Installation system,
        OperationKind kind = OperationKind.FullSync,
        bool preview = false
    ) => Sound(await system.SyncAsync(preview, kind));

    private static async Task<Operation> PersonAsync(Installation system, string person, bool preview = false)
    {
        var (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.PersonSync,
            IntegrationKind.ClassLink,
            preview,
            "test",
            PersonOptions.For(person)
        );
        return Sound(await system.Follower.RunAsync(system.District.Id, id, null, CancellationToken.None));
    }

    private static Task<Patron> EditAsync(Installation system, string barcode, string field, string? value) =>
        system.Patrons.EditAsync(system.District.Id, barcode, [new(field, value)], "librarian");

    private static async Task<string?> FullDueAsync(Installation system) =>
        IntegrationService.StateOf(await system.Integrations.FindAsync(system.District.Id, IntegrationKind.ClassLink)).FullDue;

    private static Task<Operation> GetAsync(Installation system, Operation operation) =>
        system.Queue.GetAsync(system.District.Id, operation.Id);

    private static async Task<Operation> PlanImportAsync(Installation system, string csv, bool preview)
    {
        using var stream = new MemoryStream(System.Text.Encoding.UTF8.GetBytes(csv));
        var id = await system.Get<PatronImport>().PlanAsync(system.District.Id, stream, "patrons.csv", preview, "test");
        return preview
            ? await system.Follower.RunAsync(system.District.Id, id, null, CancellationToken.None)
            : await system.Queue.GetAsync(system.District.Id, id);
    }

    private static void Put(
        Installation system,
        int from,
        int to,
        string given = "Pat",
        string? family = null,
        string phone = "",
        string role = "student",
        string? modified = null
    )
    {
        for (var i = from; i <= to; i++)
        {
            system.Sandbox.Person($"p{i:000}", given, family ?? $"Person{i:000}", phone: phone, role: role, modified: modified ?? Now());
        }
    }

    private static string Now() =>
        TimeProvider.System.GetUtcNow().ToString("yyyy-MM-ddTHH:mm:ss.fffZ", System.Globalization.CultureInfo.InvariantCulture);

    private static string Id(int i) => $"p{i:000}";

    /// <summary>Puts a sync aside when it has written its first slice, as a server does that is asked to end.</summary>
    private static async Task<Operation> ParkAsync(Installation system)
    {
        var (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            DailySchedule.Actor
        );
        using var stop = new CancellationTokenSource();
        await system
            .Get<OperationWorker>()
            .WorkAsync(
                id,
                (stage, _, _, _) =>
                {
                    if (stage == OperationStage.Applying)
                    {
                        stop.Cancel();
                    }
                },
                stop.Token
            );
        var parked = await system.Queue.GetAsync(system.District.Id, id);
        Assert.Equal((OperationStatus.Waiting, true), (parked.Status, parked.Planned));
        Assert.InRange(parked.AppliedTo, 1, parked.PlanSize - 1);
        return parked;
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_approval_counts_what_was_held_and_not_what_it_passes_over(Db db)
    {
        await using var system = await StartAsync(db);
        Put(system, 1, 60);
        await SyncAsync(system);
        Put(system, 1, 30, family: "Renamed");
        Put(system, 61, 65);
        var hold = await SyncAsync(system);
        Assert.Equal((30, 5), (OperationQueue.CountsOf(hold).Held, OperationQueue.CountsOf(hold).HeldApart().Created));
        var said = new List<(string? Text, long Done, long Total)>();
        await system.Queue.ApproveAsync(system.District.Id, hold.Id, "test");
        Sound(
            await system.Follower.RunAsync(
                system.District.Id,
                hold.Id,
                (stage, text, done, total) =>
                {
                    if (stage == OperationStage.Applying)
                    {
                        said.Add((text, done, total));
                    }
                },
                CancellationToken.None
            )
        );
        Assert.All(said, s => Assert.Equal(("Writing what was held", 30), (s.Text, s.Total)));
        Assert.Equal(30, said[^1].Done);
        Assert.All(said, s => Assert.InRange(s.Done, 1, 30));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_was_discarded_before_it_had_written_anything_is_not_undone(Db db)
    {
        await using var system = await StartAsync(db);
        Put(system, 1, 60);
        await SyncAsync(system);
        Put(system, 1, 30, family: "Renamed");
        var hold = await SyncAsync(system);
        await system.Queue.DiscardAsync(system.District.Id, hold.Id, "test");
        var refused = await Assert.ThrowsAsync<RollcallException>(() =>
            system.Get<UndoService>().EnqueueAsync(system.District.Id, hold.Id, null, "test")
        );
        Assert.Contains("was discarded before it had written anything", refused.Message, StringComparison.Ordinal);

        // What had been written before the rest was put aside can be taken back.
        Put(system, 61, 65);
        hold = await SyncAsync(system);
        Assert.Equal(5, OperationQueue.CountsOf(hold).HeldApart().Created);
        await system.Queue.DiscardAsync(system.District.Id, hold.Id, "test");
        var undo = await system.Get<UndoService>().EnqueueAsync(system.District.Id, hold.Id, null, "test");
        Assert.Equal(
            5,
            OperationQueue.CountsOf(await system.Follower.RunAsync(system.District.Id, undo, null, CancellationToken.None)).Removed
        );
    }

    [Theory]
    [InlineData(Db.Sqlite, "S1", true)]
    [InlineData(Db.Postgres, "S1", true)]
    [InlineData(Db.Sqlite, "", true)]
    [InlineData(Db.Postgres, "", true)]
    [InlineData(Db.Sqlite, "S1", false)]
    [InlineData(Db.Postgres, "", false)]
    public async Task A_file_that_is_imported_twice_brings_its_patrons_once(Db db, string site, bool preview)
    {
        await using var system = await StartAsync(db);
        var csv =
            "barcode,lastName,firstName,site\n"
            + string.Concat(Enumerable.Range(1, 5).Select(i => $"CARD-{i},Last{i},First,{site}\n"))
            + "CARD-6,Byhand,First,S1\n";
        var first = await PlanImportAsync(system, csv, preview);
        var second = await PlanImportAsync(system, csv, preview);
        await system.Patrons.AddAsync(
            system.District.Id,
            [new("lastName", "Byhand"), new("site", "S1"), new("barcode", "card-6")],
            "librarian"
        );
        foreach (var import in (Operation[])[first, second])
        {
            Sound(
                preview
                    ? await system.ApproveAsync(import.Id)
                    : await system.Follower.RunAsync(system.District.Id, import.Id, null, CancellationToken.None)
            );
        }

        Assert.Equal(
            ["CARD-1", "CARD-2", "CARD-3", "CARD-4", "CARD-5", "card-6"],
            (await system.AllPatronsAsync()).Select(p => p.Barcode).Order(StringComparer.OrdinalIgnoreCase)
        );
        var counts = OperationQueue.CountsOf(await GetAsync(system, second));
        Assert.Equal((0, 6), (counts.Created, counts.Skipped));
        Assert.Equal(OperationStatus.CompletedWithWarnings, (await GetAsync(system, second)).Status);
        Assert.All(await system.LogAsync(second.Id), r => Assert.True(r.Stale));
        Assert.Equal(5, OperationQueue.CountsOf(await GetAsync(system, first)).Created);
    }

    [Theory]
    [InlineData(Db.Sqlite, false)]
    [InlineData(Db.Postgres, false)]
    [InlineData(Db.Sqlite, true)]
    [InlineData(Db.Postgres, true)]
    public async Task What_is_approved_while_a_full_sync_is_at_work_gives_way_to_what_that_one_reads(Db db, bool preview)
    {
        await using var system = await StartAsync(db);
        Put(system, 1, 30);
        await SyncAsync(system);
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(1, 14).Select(Id));
        var held = await SyncAsync(system, preview: preview);
        Put(system, 1, 14);
        var (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test"
        );
        var done = false;
        var newer = Sound(
            await system.Follower.RunAsync(
                system.District.Id,
                id,
                (stage, _, _, _) =>
                {
                    if (stage == OperationStage.Planning && !done)
                    {
                        done = true;
                        Task.Run(() => system.Queue.ApproveAsync(system.District.Id, held.Id, "colleague")).GetAwaiter().GetResult();
                    }
                },
                CancellationToken.None
            )
        );
        Assert.True(done);
        Assert.Equal(30, OperationQueue.CountsOf(newer).Unchanged);
        held = await GetAsync(system, held);
        Assert.Equal((OperationStatus.Superseded, "colleague"), (held.Status, held.ApprovedBy));
        Assert.Contains($"Operation {newer.Id}", held.Error, StringComparison.Ordinal);
        Assert.NotNull(held.FinishedAt);
        Assert.Equal((0, 0), (OperationQueue.CountsOf(held).Transferred, OperationQueue.CountsOf(held).Held));
        Assert.False(await system.Get<OperationWorker>().WorkAsync(null, null, CancellationToken.None));
        Assert.All(await system.AllPatronsAsync(), p => Assert.Equal(PatronStatus.Active, p.Status));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Approved_creates_are_no_second_record_of_whom_a_librarian_numbered_or_added_since(Db db)
    {
        await using var system = await StartAsync(
            db,
            new FieldMap { CommunityId = new IdMapping(IdSource.Identifier), Barcode = new IdMapping(IdSource.UserIdType, "Card") }
        );
        Assert.Null(
            (
                await system.ImportAsync(
                    "barcode,lastName,firstName,site\n"
                        + string.Concat(Enumerable.Range(1, 14).Select(i => $"OLD-{i:00},Person{i:00},Pat,S1\n"))
                )
            ).Error
        );
        for (var i = 1; i <= 14; i++)
        {
            system.Sandbox.Person(
                $"n{i:00}",
                "Pat",
                $"Person{i:00}",
                number: i == 14 ? "" : $"10{i:00}",
                barcode: i is 3 or 4 ? $"NEW-{i:00}" : null
            );
        }

        // Numbered alike, as staff and students may be: no reason to leave either out.
        system.Sandbox.Person("twin", "Tia", "Twin", number: "1010");
        var held = await SyncAsync(system);
        Assert.Equal(14, OperationQueue.CountsOf(held).Held);
        await EditAsync(system, "OLD-01", "communityId", "1001");
        await system.Patrons.AddAsync(
            system.District.Id,
            [new("lastName", "Person02"), new("site", "S1"), new("communityId", "\u00a01002 ")],
            "librarian"
        );
        await EditAsync(system, "OLD-03", "barcode", "new-03");
        await EditAsync(system, "OLD-05", "communityId", "999");
        await EditAsync(system, "OLD-14", "notes", "has no number either");

        var approved = Sound(await system.ApproveAsync(held.Id));
        Assert.Equal(["n01", "n02", "n03"], (await system.LogAsync(held.Id)).Where(r => r.Stale).Select(r => r.Guid).Order());
        Assert.Equal(12, OperationQueue.CountsOf(approved).Created);
        Assert.NotNull(await FullDueAsync(system));
        var next = await SyncAsync(system);
        Assert.Equal(0, OperationQueue.CountsOf(next).Created);
        var linked = await system.PatronsByGuidAsync();
        Assert.Equal(("OLD-01", "new-03"), (linked["n01"].Barcode, linked["n03"].Barcode.ToLowerInvariant()));
        Assert.Equal("1002", Text.Clean(linked["n02"].CommunityId));
    }

    [Theory]
    [InlineData(Db.Sqlite, "Last Name")]
    [InlineData(Db.Postgres, "Last Name")]
    [InlineData(Db.Sqlite, "Status")]
    [InlineData(Db.Postgres, "Status")]
    [InlineData(Db.Sqlite, "roles")]
    [InlineData(Db.Postgres, "roles")]
    [InlineData(Db.Sqlite, "mapping")]
    [InlineData(Db.Postgres, "mapping")]
    public async Task An_approval_heeds_roles_policies_and_mapping_that_changed_since(Db db, string what)
    {
        await using var system = await StartAsync(db, new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) });
        void People(int from, int to, string family, string number)
        {
            for (var i = from; i <= to; i++)
            {
                system.Sandbox.Person(Id(i), "Pat", family, role: "teacher", number: $"{number}{i}");
            }
        }

        People(1, 40, "Before", "10");
        await SyncAsync(system);
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(1, 12).Select(Id));
        People(13, 28, "After", "10");
        People(29, 40, "Before", "20");
        var held = await SyncAsync(system);
        Assert.Equal(40, OperationQueue.CountsOf(held).Held);
        await system.ConfigureAsync(s =>
            what switch
            {
                "roles" => s with { Roles = [RoleGroup.Student] },
                "mapping" => s with { Map = s.Map with { CommunityId = new IdMapping() } },
                _ => SettingsChange.Field(s, what, "library", null),
            }
        );
        var approved = Sound(await system.ApproveAsync(held.Id));
        var patrons = await system.AllPatronsAsync();
        Assert.Equal(what is "Status" or "roles" ? 0 : 12, patrons.Count(p => p.Status == PatronStatus.Transferred));
        Assert.Equal(what is "Last Name" or "roles" ? 0 : 16, patrons.Count(p => p.LastName == "After"));
        Assert.Equal(what is "mapping" or "roles" ? 0 : 12, patrons.Count(p => p.CommunityId!.StartsWith("20", StringComparison.Ordinal)));
        Assert.Equal(
            what switch
            {
                "roles" => 40,
                "Last Name" => 16,
                _ => 12,
            },
            (await system.LogAsync(held.Id)).Count(r => r.Stale)
        );
        Assert.Contains(OperationQueue.WarningsOf(approved), w => w.Code == "stale");
        Assert.NotNull(await FullDueAsync(system));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_preview_leaves_new_people_and_questions_of_roles_that_are_no_longer_ticked(Db db)
    {
        await using var system = await StartAsync(db, new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) });
        Assert.Null((await system.ImportAsync("barcode,communityId,lastName,site\nCARD-1,1001,Alpha,S1\nCARD-2,1001,Alpha,S1\n")).Error);
        system.Sandbox.Person("ask", "Ann", "Alpha", number: "1001", role: "teacher");
        system.Sandbox.Person("new", "Tea", "Cher", role: "teacher");
        system.Sandbox.Person("pupil", "Pu", "Pil");
        var preview = await SyncAsync(system, preview: true);
        Assert.Equal((2, 1), (OperationQueue.CountsOf(preview).Created, OperationQueue.CountsOf(preview).Review));
        await system.ConfigureAsync(s => s with { Roles = [RoleGroup.Student] });
        var approved = OperationQueue.CountsOf(Sound(await system.ApproveAsync(preview.Id)));
        Assert.Equal((1, 0, 2), (approved.Created, approved.Review, approved.Skipped));
        Assert.Equal(["pupil"], (await system.PatronsByGuidAsync()).Keys);
        Assert.Equal(0, await system.Get<Rollcall.Review.ReviewService>().OpenCountAsync(system.District.Id));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Whom_a_one_person_sync_saw_since_is_left_out_of_a_hold(Db db)
    {
        await using var system = await StartAsync(db);
        Put(system, 1, 30);
        await SyncAsync(system);
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(1, 14).Select(Id));
        var held = await SyncAsync(system);
        Assert.Equal(OperationStatus.NeedsApproval, held.Status);
        Put(system, 7, 8);
        Assert.Equal(14, OperationQueue.CountsOf(held).Held);
        Assert.Equal(1, OperationQueue.CountsOf(await PersonAsync(system, Id(7))).Unchanged);

        // What is offered for approval is what would be written.
        var left = OperationQueue.CountsOf(await GetAsync(system, held));
        Assert.True(left.AddUp);
        Assert.Equal((13L, 14L), (left.Held, left.Transferred));

        // A preview proves nothing to others.
        await PersonAsync(system, Id(8), preview: true);
        Assert.Equal(OperationStatus.NeedsApproval, (await GetAsync(system, held)).Status);
        var approved = Sound(await system.ApproveAsync(held.Id));
        Assert.Equal(13, OperationQueue.CountsOf(approved).Absent);
        var patrons = await system.PatronsByGuidAsync();
        Assert.Equal(PatronStatus.Active, patrons[Id(7)].Status);
        Assert.Equal(13, patrons.Values.Count(p => p.Status == PatronStatus.Transferred));
        Assert.Contains(OperationQueue.WarningsOf(approved), w => w is { Code: "stale", Count: 1 });
        Assert.NotNull(await FullDueAsync(system));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_hold_of_whom_newer_syncs_saw_one_by_one_ends_with_the_last(Db db)
    {
        await using var system = await StartAsync(db);
        Put(system, 1, 20, phone: "1");
        await SyncAsync(system);
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(7, 14).Select(Id));
        var held = await SyncAsync(system);
        Put(system, 7, 20, phone: "1");
        for (var i = 7; i < 20; i++)
        {
            await PersonAsync(system, Id(i));
        }

        Assert.Equal((OperationStatus.NeedsApproval, 1L), ((await GetAsync(system, held)).Status, await HeldAsync()));
        var last = await PersonAsync(system, Id(20));
        var ended = await GetAsync(system, held);
        Assert.Equal(OperationStatus.Superseded, ended.Status);
        Assert.Contains($"Operation {last.Id}", ended.Error, StringComparison.Ordinal);
        var counts = OperationQueue.CountsOf(ended);
        Assert.True(counts.AddUp, ended.Counts);
        Assert.Equal((0L, 0L), (counts.Held, counts.Transferred));

        async Task<long> HeldAsync() => OperationQueue.CountsOf(await GetAsync(system, held)).Held;
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_waits_for_a_patron_is_told_where_the_patron_is_explained(Db db)
    {
        await using var system = await StartAsync(db);
        Put(system, 1, 20, phone: "1");
        await SyncAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        var (stays, leaves) = (patrons[Id(1)], patrons[Id(8)]);
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(7, 14).Select(Id));
        var held = await SyncAsync(system);

        var log = system.Get<OperationLog>();
        var (row, operation) = Assert.Single(await log.WaitingAsync(system.District.Id, leaves.Id));
        Assert.Equal((held.Id, "absent", true), (operation.Id, row.Outcome, row.Held));
        Assert.Empty(await log.WaitingAsync(system.District.Id, stays.Id));
        var told = await system.Get<PatronExplain>().ExplainAsync(system.District, leaves.Barcode, askRoster: false);
        Assert.Contains(
            $"Full Sync #{held.Id} waits for approval and would write: Status 'Active' → 'Transferred'.",
            told.Standing,
            StringComparison.Ordinal
        );

        await system.ApproveAsync(held.Id);
        Assert.Empty(await log.WaitingAsync(system.District.Id, leaves.Id));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_was_written_before_an_approval_has_the_time_of_its_own_writing(Db db)
    {
        await using var system = await StartAsync(db);
        Put(system, 1, 20, phone: "1");
        await SyncAsync(system);
        Put(system, 1, 1, phone: "2");
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(7, 14).Select(Id));
        var held = await SyncAsync(system);
        await system.ApproveAsync(held.Id);
        var (began, ended) = (
            new DateTimeOffset(2026, 1, 5, 12, 0, 0, TimeSpan.Zero),
            new DateTimeOffset(2026, 1, 8, 12, 0, 0, TimeSpan.Zero)
        );
        await using (var context = system.Database.CreateContext())
        {
            await context
                .Operations.Where(o => o.Id == held.Id)
                .ExecuteUpdateAsync(s => s.SetProperty(o => o.StartedAt, began).SetProperty(o => o.FinishedAt, ended));
        }

        var patrons = await system.PatronsByGuidAsync();
        foreach (
            var (patron, field, when) in (IEnumerable<(Patron, int, DateTimeOffset)>)
                [(patrons[Id(1)], PatronFields.Phone, began), (patrons[Id(8)], PatronFields.Status, ended)]
        )
        {
            var told = await system.Get<PatronExplain>().ExplainAsync(system.District, patron.Barcode, askRoster: false);
            Assert.Contains($"{when:yyyy-MM-dd}", Assert.Single(told.Fields, f => f.Number == field).Origin, StringComparison.Ordinal);
            var history = await system.Get<OperationLog>().HistoryAsync(system.District.Id, patron.Id);
            Assert.Equal(when, history.Where(h => h.Operation.Id == held.Id).Select(h => h.Operation.WrittenAt(h.Row.Held)).Single());
        }
    }

    [Theory]
    [InlineData(Db.Sqlite, OperationKind.ChangesSync)]
    [InlineData(Db.Postgres, OperationKind.ChangesSync)]
    [InlineData(Db.Sqlite, OperationKind.PersonSync)]
    [InlineData(Db.Postgres, OperationKind.PersonSync)]
    public async Task A_held_value_that_the_roster_took_back_is_not_written(Db db, OperationKind kind)
    {
        await using var system = await StartAsync(db);
        Put(system, 1, 20, family: "Before");
        await SyncAsync(system);
        await SyncAsync(system);
        Put(system, 1, 12, family: "After", modified: "2026-01-01T00:00:00.000Z");
        var held = await SyncAsync(system);
        Assert.Equal(12, OperationQueue.CountsOf(held).Held);
        Put(system, 5, 5, family: "Before");
        var between =
            kind == OperationKind.PersonSync ? await PersonAsync(system, Id(5)) : await SyncAsync(system, OperationKind.ChangesSync);
        Assert.Equal((kind, 0L), (between.Kind, OperationQueue.CountsOf(between).Updated));
        var approved = Sound(await system.ApproveAsync(held.Id));
        var patrons = await system.PatronsByGuidAsync();
        Assert.Equal("Before", patrons[Id(5)].LastName);
        Assert.Equal(11, patrons.Values.Count(p => p.LastName == "After"));
        Assert.Equal(OperationStatus.CompletedWithWarnings, approved.Status);
        Assert.NotNull(await FullDueAsync(system));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Previews_give_way_to_what_is_known_since(Db db)
    {
        await using var system = await StartAsync(db);
        Put(system, 1, 30, phone: "1");
        await SyncAsync(system);
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(1, 14).Select(Id));
        var suspect = await SyncAsync(system, preview: true);
        Put(system, 1, 14, phone: "1");
        await SyncAsync(system, OperationKind.ChangesSync);
        Assert.Equal(OperationStatus.Superseded, (await GetAsync(system, suspect)).Status);

        // Where nothing looks like an accident, those who were seen are left out.
        system.Sandbox.Overrides.Remove("users", Id(1), Id(2));
        var preview = await SyncAsync(system, preview: true);
        Assert.Equal(2, OperationQueue.CountsOf(preview).Absent);
        Put(system, 1, 1, phone: "1");
        await PersonAsync(system, Id(1));
        Assert.Equal(1, OperationQueue.CountsOf(Sound(await system.ApproveAsync(preview.Id))).Absent);
        Assert.Equal(PatronStatus.Active, (await system.PatronsByGuidAsync())[Id(1)].Status);

        // Of one person.
        Put(system, 20, 21, phone: "2");
        var person = await PersonAsync(system, Id(20), preview: true);
        var other = await PersonAsync(system, Id(21), preview: true);
        var again = await PersonAsync(system, Id(20), preview: true);
        Assert.Equal(OperationStatus.Superseded, (await GetAsync(system, person)).Status);
        Assert.Equal(OperationStatus.Preview, (await GetAsync(system, other)).Status);
        Put(system, 20, 21, phone: "1");
        await SyncAsync(system);
        Assert.Equal(OperationStatus.Superseded, (await GetAsync(system, again)).Status);
        Assert.Equal(OperationStatus.Superseded, (await GetAsync(system, other)).Status);
    }

    [Theory]
    [InlineData(Db.Sqlite, OperationKind.FullSync)]
    [InlineData(Db.Postgres, OperationKind.FullSync)]
    [InlineData(Db.Sqlite, OperationKind.ChangesSync)]
    [InlineData(Db.Postgres, OperationKind.ChangesSync)]
    public async Task A_sync_that_was_put_aside_writes_nothing_over_a_newer_one(Db db, OperationKind kind)
    {
        await using var system = await StartAsync(db);
        Put(system, 1, 400, phone: "1");
        await SyncAsync(system);
        Put(system, 1, 390, phone: "2");
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(391, 5).Select(Id));
        var parked = await ParkAsync(system);
        Put(system, 1, 400, phone: "3");
        var newer = await SyncAsync(system, kind);
        Assert.Equal(OperationKind.FullSync, newer.Kind);
        var state = await FullDueAsync(system);
        Assert.Null(state);

        var old = await GetAsync(system, parked);
        Assert.Equal(OperationStatus.Superseded, old.Status);
        Assert.Contains($"Operation {newer.Id}", old.Error, StringComparison.Ordinal);
        Assert.Contains("stays", old.Error, StringComparison.Ordinal);
        var counts = OperationQueue.CountsOf(old);
        Assert.True(counts.AddUp, old.Counts);
        Assert.Equal((parked.AppliedTo, 0L), (counts.Updated, counts.Transferred));
        Assert.False(await system.Get<OperationWorker>().WorkAsync(null, null, CancellationToken.None));
        Assert.All(await system.AllPatronsAsync(), p => Assert.Equal(("3", PatronStatus.Active), (p.Phone, p.Status)));

        // What it had written is history, and can be taken back.
        var first = (await system.LogAsync(old.Id))[0].PatronId!.Value;
        Assert.Contains(
            await system.Get<OperationLog>().HistoryAsync(system.District.Id, first),
            h => h.Operation.Id == old.Id && h.Row.Changes.Any(c => c.New == "2")
        );
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_sync_that_goes_on_leaves_out_whom_a_one_person_sync_saw_meanwhile(Db db)
    {
        await using var system = await StartAsync(db);
        Put(system, 1, 400, phone: "1");
        await SyncAsync(system);
        Put(system, 1, 390, phone: "2");
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(391, 5).Select(Id));
        var parked = await ParkAsync(system);

        // One whose row is not written yet, one who is back, and one whose row is.
        Put(system, 390, 391, phone: "3");
        Put(system, 1, 1, phone: "3");
        foreach (var i in (int[])[390, 391, 1])
        {
            await PersonAsync(system, Id(i));
        }

        var ended = Sound(await system.Follower.RunAsync(system.District.Id, parked.Id, null, CancellationToken.None));
        var patrons = await system.PatronsByGuidAsync();
        Assert.All((int[])[390, 391, 1], i => Assert.Equal(("3", PatronStatus.Active), (patrons[Id(i)].Phone, patrons[Id(i)].Status)));
        Assert.Equal(
            (388, 4),
            (patrons.Values.Count(p => p.Phone == "2"), patrons.Values.Count(p => p.Status == PatronStatus.Transferred))
        );
        Assert.Contains(OperationQueue.WarningsOf(ended), w => w is { Code: "stale", Count: 2 });
        Assert.NotNull(await FullDueAsync(system));
    }

    [Theory]
    [InlineData(Db.Sqlite, "Phone")]
    [InlineData(Db.Postgres, "Phone")]
    [InlineData(Db.Sqlite, "mapping")]
    [InlineData(Db.Sqlite, "card")]
    [InlineData(Db.Postgres, "card")]
    [InlineData(Db.Sqlite, "matches")]
    [InlineData(Db.Postgres, "matches")]
    [InlineData(Db.Sqlite, "Status")]
    public async Task New_people_of_a_preview_are_made_by_the_settings_that_hold_now(Db db, string what)
    {
        await using var system = await StartAsync(
            db,
            new FieldMap { CommunityId = new IdMapping(IdSource.Identifier), Barcode = new IdMapping(IdSource.UserIdType, "Card") }
        );
        string[] schools = [.. system.Sandbox.District.Schools.Select(s => s.SourcedId)];
        system.Sandbox.Person("stays", "Pat", "Stays", phone: "1");
        system.Sandbox.Person("moves", "Pat", "Moves", phone: "1");
        system.Sandbox.Person("leaves", "Pat", "Leaves", phone: "1");
        await SyncAsync(system);
        system.Sandbox.Person("stays", "Pat", "Stays", phone: "2");
        system.Sandbox.Person("moves", "Pat", "Moves", phone: "1", orgs: [schools[1]]);
        system.Sandbox.Person("leaves", "Pat", "Leaves", phone: "1", orgs: ["elsewhere"]);
        system.Sandbox.Person("numbered", "Ann", "Numbered", number: "1001", phone: "1");
        system.Sandbox.Person("carded", "Ann", "Carded", barcode: "CARD-1");
        system.Sandbox.Person("bare", "Ann", "Bare");
        var preview = await SyncAsync(system, preview: true);
        Assert.Equal(3, OperationQueue.CountsOf(preview).Created);
        if (what == "matches")
        {
            await system.Integrations.UnmatchAsync(system.District, IntegrationKind.ClassLink, schools[1], "test");
        }

        await system.ConfigureAsync(s =>
            what switch
            {
                "mapping" => s with { Map = s.Map with { CommunityId = new IdMapping(IdSource.Username) } },
                "card" => s with { Map = s.Map with { Barcode = new IdMapping(IdSource.UserIdType, "Other") } },
                "matches" => s,
                _ => SettingsChange.Field(s, what, "library", null),
            }
        );
        var approved = Sound(await system.ApproveAsync(preview.Id));
        string[] left = what switch
        {
            "Phone" => ["numbered", "stays"],
            "mapping" => ["numbered"],
            "card" => ["carded"],
            "Status" => ["leaves"],
            _ => ["bare", "carded", "leaves", "moves", "numbered"],
        };
        Assert.Equal(left, (await system.LogAsync(preview.Id)).Where(r => r.Stale).Select(r => r.Guid).Order(StringComparer.Ordinal));
        Assert.Equal(left.Length, OperationQueue.WarningsOf(approved).Single(w => w.Code == "stale").Count);
        await SyncAsync(system);
        var patrons = await system.PatronsByGuidAsync();
        Assert.Equal(6, patrons.Count);
        Assert.Equal(what == "Phone" ? null : "1", patrons["numbered"].Phone);
        Assert.Equal(what == "mapping" ? "numbered.login" : "1001", patrons["numbered"].CommunityId);
        Assert.Equal(what != "card", patrons["carded"].Barcode == "CARD-1");
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_sync_that_goes_on_makes_nobody_anew_whom_a_librarian_added_meanwhile(Db db)
    {
        await using var system = await StartAsync(db, new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) });
        Put(system, 1, 3);
        await SyncAsync(system);
        Put(system, 4, 400);
        for (var i = 1; i <= 3; i++)
        {
            system.Sandbox.Person($"x{i}", "Nel", $"New{i}", number: $"100{i}");
        }

        var parked = await ParkAsync(system);
        await system.Patrons.AddAsync(
            system.District.Id,
            [new("lastName", "New1"), new("site", "S1"), new("communityId", "1001"), new("notes", "librarian")],
            "librarian"
        );
        await EditAsync(system, (await system.PatronsByGuidAsync())[Id(3)].Barcode, "communityId", "1002");
        var ended = Sound(await system.Follower.RunAsync(system.District.Id, parked.Id, null, CancellationToken.None));
        var counts = OperationQueue.CountsOf(ended);
        Assert.Equal((398L, 3L, 2L), (counts.Created, counts.Unchanged, counts.Skipped));
        Assert.Equal(["x1", "x2"], (await system.LogAsync(parked.Id)).Where(r => r.Stale).Select(r => r.Guid).Order());
        Assert.NotNull(await FullDueAsync(system));
        await SyncAsync(system);
        Assert.Equal(402, (await system.AllPatronsAsync()).Count);
        Assert.Equal("librarian", (await system.PatronsByGuidAsync())["x1"].Notes);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_night_that_an_undo_ends_half_written_counts_what_it_wrote(Db db)
    {
        await using var system = await StartAsync(db);
        Put(system, 1, 400, phone: "1");
        await SyncAsync(system);
        Put(system, 399, 400, phone: "9");
        var undone = await SyncAsync(system);
        Put(system, 1, 390, phone: "2");
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(391, 5).Select(Id));
        var night = await ParkAsync(system);
        await using (var context = system.Database.CreateContext())
        {
            await context
                .Operations.Where(o => o.Id == night.Id)
                .ExecuteUpdateAsync(s => s.SetProperty(o => o.DailyDate, new DateOnly(2026, 3, 1)));
        }

        await system.ConfigureAsync(s => s with { Daily = s.Daily with { At = new TimeOnly(4, 0) } });
        await UndoTests.UndoAsync(system, undone.Id);
        var ended = await GetAsync(system, night);
        var counts = OperationQueue.CountsOf(ended);
        Assert.Equal(OperationStatus.Cancelled, ended.Status);
        Assert.True(counts.AddUp, ended.Counts);
        Assert.Equal((night.AppliedTo, 0L), (counts.Updated, counts.Transferred));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_ends_before_its_time_counts_what_it_wrote(Db db)
    {
        await using var system = await StartAsync(db);
        Put(system, 1, 400, phone: "1");
        await SyncAsync(system);
        Put(system, 1, 390, phone: "2");
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(391, 5).Select(Id));
        var parked = await ParkAsync(system);
        await using (var context = system.Database.CreateContext())
        {
            // As if it had been left out when its turn came.
            var first = await context.Changes.SingleAsync(c => c.OperationId == parked.Id && c.Number == 1);
            first.Stale = true;
            await context.SaveChangesAsync();
        }

        await system.Queue.CancelAsync(system.District.Id, parked.Id);
        var cancelled = await GetAsync(system, parked);
        var counts = OperationQueue.CountsOf(cancelled);
        Assert.True(counts.AddUp, cancelled.Counts);
        Assert.Equal((parked.AppliedTo - 1, 0L, 0L), (counts.Updated, counts.Transferred, counts.Held));

        // A preview that was approved, and waits when the service is turned off.
        var preview = await SyncAsync(system, preview: true);
        Assert.NotEqual(0, OperationQueue.CountsOf(preview).Updated);
        await system.Queue.ApproveAsync(system.District.Id, preview.Id, "test");
        await system.Integrations.TurnOffAsync(system.District.Id, IntegrationKind.ClassLink, "test");
        preview = await GetAsync(system, preview);
        counts = OperationQueue.CountsOf(preview);
        Assert.Equal(OperationStatus.Cancelled, preview.Status);
        Assert.True(counts.AddUp, preview.Counts);
        Assert.Equal((0L, 0L), (counts.Updated, counts.Transferred));
        Assert.Contains($"{preview.Id}", await FullDueAsync(system), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_full_sync_that_is_demanded_while_one_is_at_work_is_not_forgotten(Db db)
    {
        await using var system = await StartAsync(db);
        Put(system, 1, 30);
        await SyncAsync(system);
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(1, 14).Select(Id));
        var held = await SyncAsync(system);
        Assert.Equal(OperationStatus.NeedsApproval, held.Status);
        Put(system, 1, 14);
        var (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test"
        );
        var done = false;
        Sound(
            await system.Follower.RunAsync(
                system.District.Id,
                id,
                (stage, _, _, _) =>
                {
                    if (stage == OperationStage.Planning && !done)
                    {
                        done = true;
                        Task.Run(() => system.Queue.DiscardAsync(system.District.Id, held.Id, "colleague")).GetAwaiter().GetResult();
                    }
                },
                CancellationToken.None
            )
        );
        Assert.Equal($"operation {held.Id} was discarded", await FullDueAsync(system));
        Assert.Equal(OperationKind.FullSync, (await SyncAsync(system, OperationKind.ChangesSync)).Kind);
        Assert.Null(await FullDueAsync(system));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_preview_that_read_nothing_cannot_be_approved(Db db)
    {
        await using var system = await StartAsync(db);
        Put(system, 1, 3);
        system.Sandbox.Faults.Set("perm-rev");
        await SyncAsync(system);
        var preview = await SyncAsync(system, preview: true);
        Assert.Equal((OperationStatus.Preview, false), (preview.Status, preview.Planned));
        var refused = await Assert.ThrowsAsync<RollcallException>(() => system.ApproveAsync(preview.Id));
        Assert.Contains("nothing to approve", refused.Message, StringComparison.Ordinal);
        Assert.Equal(OperationStatus.Preview, (await GetAsync(system, preview)).Status);

        // One that an earlier version let through writes nothing that nobody has seen.
        await using (var context = system.Database.CreateContext())
        {
            var row = await context.Operations.SingleAsync(o => o.Id == preview.Id);
            (row.Status, row.ApprovedAt, row.ApprovedBy) = (OperationStatus.Waiting, row.CreatedAt, "colleague");
            await context.SaveChangesAsync();
        }

        system.Sandbox.Faults.Set("");
        Put(system, 1, 1, phone: "2");
        var done = await system.Follower.RunAsync(system.District.Id, preview.Id, null, CancellationToken.None);
        Assert.Equal((OperationStatus.Preview, true, null), (done.Status, done.Planned, done.ApprovedAt));
        Assert.All(await system.AllPatronsAsync(), p => Assert.Null(p.Phone));
    }

    [Theory]
    [InlineData(Db.Sqlite, false)]
    [InlineData(Db.Postgres, false)]
    [InlineData(Db.Sqlite, true)]
    [InlineData(Db.Postgres, true)]
    public async Task An_approved_preview_of_everybody_replaces_what_waited_before_it(Db db, bool cancelled)
    {
        await using var system = await StartAsync(db);
        Put(system, 1, 30, phone: "1");
        await SyncAsync(system);
        Put(system, 30, 30, phone: "2");
        var ofPerson = await PersonAsync(system, Id(30), preview: true);
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(1, 14).Select(Id));
        var held = await SyncAsync(system);
        Assert.Equal(14, OperationQueue.CountsOf(held).Held);
        Put(system, 1, 14, phone: "1");
        Put(system, 15, 15, phone: "3");
        var preview = await SyncAsync(system, preview: true);
        Assert.Equal(OperationStatus.NeedsApproval, (await GetAsync(system, held)).Status);
        await system.Queue.ApproveAsync(system.District.Id, preview.Id, "test");
        foreach (var operation in (Operation[])[held, ofPerson])
        {
            var ended = await GetAsync(system, operation);
            Assert.Equal(OperationStatus.Superseded, ended.Status);
            Assert.True(OperationQueue.CountsOf(ended).AddUp, ended.Counts);
            Assert.Equal((0L, 0L), (OperationQueue.CountsOf(ended).Held, OperationQueue.CountsOf(ended).Transferred));
        }

        Assert.Contains($"Operation {preview.Id}", (await GetAsync(system, held)).Error, StringComparison.Ordinal);
        if (cancelled)
        {
            // What had waited is with nobody now.
            Assert.Null(await FullDueAsync(system));
            await system.Queue.CancelAsync(system.District.Id, preview.Id);
            Assert.Contains($"operation {preview.Id}", await FullDueAsync(system), StringComparison.Ordinal);
            return;
        }

        Sound(await system.Follower.RunAsync(system.District.Id, preview.Id, null, CancellationToken.None));
        await Assert.ThrowsAsync<RollcallException>(() => system.ApproveAsync(held.Id));
        var patrons = await system.PatronsByGuidAsync();
        Assert.Equal("3", patrons[Id(15)].Phone);
        Assert.All(patrons.Values, p => Assert.Equal(PatronStatus.Active, p.Status));
        Assert.Null(await FullDueAsync(system));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_approved_preview_of_some_speaks_of_those_it_saw(Db db)
    {
        await using var system = await StartAsync(db);
        Put(system, 1, 30, phone: "1", modified: "2026-01-01T00:00:00.000Z");
        await SyncAsync(system);
        await SyncAsync(system);
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(1, 14).Select(Id));
        var held = await SyncAsync(system);
        Assert.Equal(14, OperationQueue.CountsOf(held).Held);

        // One person, found as before: nothing to write, but not gone either.
        Put(system, 7, 7, phone: "1", modified: "2026-01-01T00:00:00.000Z");
        var person = await PersonAsync(system, Id(7), preview: true);
        Assert.Equal(14, OperationQueue.CountsOf(await GetAsync(system, held)).Held);
        Sound(await system.ApproveAsync(person.Id));
        var left = await GetAsync(system, held);
        Assert.Equal((OperationStatus.NeedsApproval, 13L), (left.Status, OperationQueue.CountsOf(left).Held));

        // Changes, of whom one is back: the hold is wrong about who has left.
        Put(system, 8, 8, phone: "1");
        Put(system, 20, 20, phone: "2");
        var changes = await SyncAsync(system, OperationKind.ChangesSync, preview: true);
        Assert.Equal((OperationKind.ChangesSync, 1L), (changes.Kind, OperationQueue.CountsOf(changes).Updated));
        Assert.DoesNotContain("seen", ImportReports.OptionsWithout(changes).ToString(), StringComparison.Ordinal);
        Assert.Equal(OperationStatus.NeedsApproval, (await GetAsync(system, held)).Status);
        Sound(await system.ApproveAsync(changes.Id));
        Assert.Equal(OperationStatus.Superseded, (await GetAsync(system, held)).Status);
        Assert.Contains($"operation {held.Id}", await FullDueAsync(system), StringComparison.Ordinal);
        Assert.All(await system.AllPatronsAsync(), p => Assert.Equal(PatronStatus.Active, p.Status));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_preview_replaces_nothing_that_was_read_after_it(Db db)
    {
        await using var system = await StartAsync(db);
        Put(system, 1, 30, family: "Before", modified: "2026-01-01T00:00:00.000Z");
        await SyncAsync(system);
        await SyncAsync(system);
        Put(system, 30, 30, family: "Before", phone: "2", modified: "2026-01-01T00:00:00.000Z");
        var preview = await SyncAsync(system, preview: true);
        Put(system, 1, 12, family: "After");
        var held = await SyncAsync(system, OperationKind.ChangesSync);
        Assert.Equal((OperationKind.ChangesSync, 12L), (held.Kind, OperationQueue.CountsOf(held).Held));
        Assert.Equal(1, OperationQueue.CountsOf(Sound(await system.ApproveAsync(preview.Id))).Updated);
        Assert.Equal(
            (OperationStatus.NeedsApproval, 12L),
            ((await GetAsync(system, held)).Status, OperationQueue.CountsOf(await GetAsync(system, held)).Held)
        );
        Sound(await system.ApproveAsync(held.Id));
        Assert.Equal(12, (await system.AllPatronsAsync()).Count(p => p.LastName == "After"));
    }

    [Theory]
    [InlineData(Db.Sqlite, OperationKind.ChangesSync)]
    [InlineData(Db.Postgres, OperationKind.ChangesSync)]
    [InlineData(Db.Sqlite, OperationKind.PersonSync)]
    [InlineData(Db.Postgres, OperationKind.PersonSync)]
    public async Task Whoever_was_read_since_is_left_out_whatever_came_of_them(Db db, OperationKind kind)
    {
        await using var system = await StartAsync(db, new FieldMap { CommunityId = new IdMapping(IdSource.Identifier) });
        Assert.Null((await system.ImportAsync("barcode,communityId,lastName,site\nCARD-1,1001,Alpha,S1\nCARD-2,1001,Alpha,S1\n")).Error);
        Put(system, 1, 30, modified: "2026-01-01T00:00:00.000Z");
        await SyncAsync(system);
        await SyncAsync(system);
        system.Sandbox.Overrides.Remove("users", Id(1), Id(2));
        Assert.Equal(2, OperationQueue.CountsOf(await SyncAsync(system)).Absent);
        Put(system, 1, 2, modified: "2026-01-01T00:00:00.000Z");
        foreach (var id in (string[])["new1", "new2", "new3"])
        {
            system.Sandbox.Person(id, "Nel", "New");
        }

        system.Sandbox.Person("ask", "Ann", "Alpha", number: "1001");
        var preview = await SyncAsync(system, preview: true);
        var counts = OperationQueue.CountsOf(preview);
        Assert.Equal((3L, 2L, 1L), (counts.Created, counts.Reactivated, counts.Review));

        // Deleted; of a number that only a whole roster can tell; known by now.
        var (patrons, now) = (await system.PatronsByGuidAsync(), Now());
        await EditAsync(system, patrons[Id(9)].Barcode, "communityId", "1009");
        await EditAsync(system, "CARD-2", "communityId", "1002");
        system.Sandbox.Person("new1", "Nel", "New", status: "tobedeleted", modified: now);
        system.Sandbox.Person("new2", "Nel", "New", number: "1009", modified: now);
        system.Sandbox.Person("ask", "Ann", "Alpha", number: "1001", modified: now);
        system.Sandbox.Person(Id(1), "Pat", "Person001", status: "tobedeleted", modified: now);
        if (kind == OperationKind.ChangesSync)
        {
            var between = await SyncAsync(system, kind);
            Assert.Equal((kind, 4L), (between.Kind, OperationQueue.CountsOf(between).Read));
        }
        else
        {
            foreach (var id in (string[])["new1", "new2", "ask", Id(1)])
            {
                await PersonAsync(system, id);
            }
        }

        var approved = Sound(await system.ApproveAsync(preview.Id));
        Assert.Equal(
            ["ask", "new1", "new2", Id(1)],
            (await system.LogAsync(preview.Id)).Where(r => r.Stale).Select(r => r.Guid).Order(StringComparer.Ordinal)
        );
        counts = OperationQueue.CountsOf(approved);
        Assert.Equal((1L, 1L, 0L), (counts.Created, counts.Reactivated, counts.Review));
        patrons = await system.PatronsByGuidAsync();
        Assert.Equal(["ask", "new3"], patrons.Keys.Where(k => !k.StartsWith('p')).Order());
        Assert.Equal((PatronStatus.Transferred, PatronStatus.Active), (patrons[Id(1)].Status, patrons[Id(2)].Status));
        Assert.Equal(0, await system.Get<Rollcall.Review.ReviewService>().OpenCountAsync(system.District.Id));
        Assert.NotNull(await FullDueAsync(system));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_newer_change_of_the_link_alone_is_not_written_over(Db db)
    {
        await using var system = await StartAsync(db);
        Put(system, 1, 20);
        await SyncAsync(system);
        await SyncAsync(system);
        void Name(int i, string username, string modified) =>
            system.Sandbox.Overrides.Change("users", Id(i), u => (u["username"], u["dateLastModified"]) = (username, modified));
        Name(1, "first", "2026-01-01T00:00:00.000Z");
        Name(2, "same", Now());
        var preview = await SyncAsync(system, preview: true);
        Assert.Equal(20, OperationQueue.CountsOf(preview).Unchanged);
        Name(1, "second", Now());
        Assert.Equal(OperationKind.ChangesSync, (await SyncAsync(system, OperationKind.ChangesSync)).Kind);
        Assert.Equal(("second", "same"), (await UsernameAsync(1), await UsernameAsync(2)));
        Sound(await system.ApproveAsync(preview.Id));
        Assert.Equal(("second", "same"), (await UsernameAsync(1), await UsernameAsync(2)));
        Assert.Equal([Id(1)], (await system.LogAsync(preview.Id)).Where(r => r.Stale).Select(r => r.Guid));

        async Task<string?> UsernameAsync(int i)
        {
            var patron = (await system.PatronsByGuidAsync())[Id(i)];
            await using var context = system.Database.CreateContext();
            return await context.PatronLinks.Where(l => l.PatronId == patron.Id).Select(l => l.Username).SingleAsync();
        }
    }

    /// <summary>The order in which newer syncs see the same person does not decide what becomes of the others.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_hold_is_wrong_about_who_has_left_also_where_a_one_person_sync_saw_them_first(Db db)
    {
        await using var system = await StartAsync(db);
        Put(system, 1, 30, phone: "1", modified: "2026-01-01T00:00:00.000Z");
        await SyncAsync(system);
        await SyncAsync(system);
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(1, 14).Select(Id));
        var held = await SyncAsync(system);
        Put(system, 7, 7, phone: "2");
        await PersonAsync(system, Id(7));
        Assert.Equal(OperationStatus.NeedsApproval, (await GetAsync(system, held)).Status);
        var changes = await SyncAsync(system, OperationKind.ChangesSync);
        Assert.Equal((OperationKind.ChangesSync, 1L), (changes.Kind, OperationQueue.CountsOf(changes).Read));
        Assert.Equal(OperationStatus.Superseded, (await GetAsync(system, held)).Status);
        Assert.NotNull(await FullDueAsync(system));
    }
}
