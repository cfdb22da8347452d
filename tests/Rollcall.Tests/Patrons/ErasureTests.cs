using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Patrons.Erasure;
using Rollcall.Review;
using Rollcall.SignIn;
using Rollcall.Sync.Person;
using Rollcall.Tests.Infrastructure;
using Rollcall.Tests.Sync;

namespace Rollcall.Tests.Patrons;

/// <summary>One person's data as a file, and out of everything for good.</summary>
public sealed class ErasureTests(PostgresCluster cluster)
{
    private const string Guid = "zzguid-QX71";
    private const string Barcode = "QXB7781";

    /// <summary>Values that are nobody else's.</summary>
    private static readonly string[] s_marks =
    [
        "Quixalina",
        "Zephyrwöld",
        "zephyrwold",
        Guid,
        "STU88771",
        "quix.zeph@example.org",
        "second.quix@example.org",
        Barcode,
        "QXOLD55",
        "555-0199-77",
        "nutmegallergy",
        "Parentia",
    ];

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_person_is_given_out_whole_and_after_an_erasure_is_nowhere_and_comes_back_as_somebody_new(Db db)
    {
        var log = new LogTape();
        await using var system = await Installation.StartAsync(cluster, db, configure: log.AddTo);
        var before = await LiveAsync(system);
        var erasure = system.Get<PatronErasure>();
        var district = system.District.Id;

        var data = await erasure.DataAsync(system.District, Barcode, "test");
        Assert.All(s_marks.Where(m => m != "zephyrwold"), m => Assert.Contains(m, data, StringComparison.OrdinalIgnoreCase));
        foreach (var other in (string[])["Carver", "OTHER99", "ben@example.org"])
        {
            Assert.DoesNotContain(other, data, StringComparison.OrdinalIgnoreCase);
        }

        var preview = await erasure.PreviewAsync(district, Barcode.ToLowerInvariant(), "test");
        Assert.Null(preview.Refusal);
        Assert.True(preview.InRoster);
        Assert.Equal("Zephyrwöld, Quixalina", preview.Name);
        Assert.All(preview.Goes, g => Assert.True(g.Count > 0, g.What));
        Assert.Equal(11, preview.Goes.Count);
        Assert.Equal(["OTHER99"], preview.MentionedBy);

        // She is wherever a person can be: what is searched for below would be found. A new table that holds people belongs here.
        if (db == Db.Postgres)
        {
            await using (var connection = await system.Database.OpenAsync())
            {
                // As autovacuum does it, and every large sync.
                await using var analyze = connection.CreateCommand();
                analyze.CommandText = "ANALYZE";
                await analyze.ExecuteNonQueryAsync();
            }

            Assert.Contains("Zephyrwöld in statistics", await Leftovers.FindAsync(system, log, s_marks));
            Assert.Equal(
                [
                    "access_tokens",
                    "audit_entries",
                    "changes",
                    "idempotent_requests",
                    "notice_settings",
                    "notices",
                    "operations",
                    "patron_links",
                    "patrons",
                    "review_items",
                    "switch_records",
                ],
                (await Leftovers.FindAsync(system, log, s_marks))
                    .Select(f => f[(f.IndexOf(" in ", StringComparison.Ordinal) + 4)..])
                    .Where(f => f.StartsWith("table ", StringComparison.Ordinal))
                    .Select(f => f["table ".Length..])
                    .Distinct()
                    .Order(StringComparer.Ordinal)
            );
        }

        Assert.NotEmpty(await Leftovers.FindAsync(system, log, s_marks));
        var filters = system.Get<SavedFilters>();
        await filters.SaveAsync(district, "account 7", "Her", $"?q={Uri.EscapeDataString("Zephyrwöld")}", CancellationToken.None);
        await filters.SaveAsync(district, "account 7", "Fifth grade", "?level=05", CancellationToken.None);

        // Whoever took her out as a file searched for her by name.
        await system.Patrons.NoteExportAsync(
            district,
            "patrons.csv",
            new PatronFilter("Zephyrwöld") { Barcodes = [Barcode] }.InWords(null, kept: true),
            1,
            "test"
        );

        // Nobody erases themselves: the audit has to say who did it.
        var own = await Assert.ThrowsAsync<RollcallException>(() =>
            erasure.EnqueueAsync(district, Barcode, new Actor("Zephyrwöld, Quixalina", SecurityGroup.DistrictAdministrator))
        );
        Assert.Contains("your own", own.Message, StringComparison.Ordinal);

        // What another librarian wrote about her into a record of somebody else is theirs to change.
        await system.Patrons.EditAsync(district, "OTHER99", [new("notes", null)], "librarian");
        await EraseAsync(system, Barcode);
        Assert.Equal([], await Leftovers.FindAsync(system, log, s_marks));

        Assert.Equal("Fifth grade", Assert.Single(await filters.ListAsync(district, "account 7", CancellationToken.None)).Name);

        // Nobody else lost anything, and every total still adds up.
        var after = await UndoTests.PictureAsync(system);
        Assert.Equal(before.Where(p => p.Key != Guid), after);
        await using (var context = system.Database.CreateContext())
        {
            foreach (var operation in await context.Operations.ToListAsync())
            {
                Assert.True(OperationQueue.CountsOf(operation).AddUp, $"{operation.Id}: {operation.Counts}");
                _ = await system.LogAsync(operation.Id);
            }

            var line = await context.AuditEntries.SingleAsync(a => a.Action == "erase");
            Assert.Equal("test", line.Actor);
            Assert.DoesNotContain(await context.SignInSessions.ToListAsync(), s => s.PatronId is not null);
        }

        // A plan that held her applies the rest.
        var plan = await PreviewOfAsync(system);
        var approved = await system.ApproveAsync(plan.Id);
        Assert.True(approved.Status is OperationStatus.Completed or OperationStatus.CompletedWithWarnings, approved.Error);
        Assert.Equal("9", (await system.PatronsByGuidAsync())["p2"].Phone);
        Assert.DoesNotContain(await system.AllPatronsAsync(), p => p.Guid == Guid);

        // The roster still has her: she comes back, and nothing of what was here with her.
        await system.SyncAsync();
        var again = (await system.PatronsByGuidAsync())[Guid];
        Assert.NotEqual(Barcode, again.Barcode);
        Assert.Null(again.Notes);
        var history = Assert.Single(await system.Get<OperationLog>().HistoryAsync(district, again.Id));
        Assert.Equal("create", history.Row.Kind);

        // Away from the roster, removed, and only then asked to be forgotten.
        system.Sandbox.Overrides.Remove("users", Guid);
        system.Sandbox.Overrides.Remove("users", "zzguid-TWIN");
        await EndAsync(system, await system.Get<PatronBulk>().PlanRemovalAsync(district, [again.Barcode], false, "test"));
        Assert.NotEmpty(await Leftovers.FindAsync(system, log, s_marks));
        await EraseAsync(system, again.Barcode);
        Assert.Equal([], await Leftovers.FindAsync(system, log, s_marks));
        await Assert.ThrowsAsync<RollcallException>(() => erasure.EnqueueAsync(district, again.Barcode, "test"));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Whoever_has_an_account_or_never_became_a_patron(Db db)
    {
        var log = new LogTape();
        await using var system = await Installation.StartAsync(cluster, db, configure: log.AddTo);
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = s.Map with { CommunityId = new(Mapping.IdSource.Identifier) } });
        system.Sandbox.Person("p1", "Ada", "Byron", number: "77", email: "ada@example.org");
        await system.SyncAsync();
        var patron = (await system.PatronsByGuidAsync())["p1"];
        await system.Get<Accounts>().AddAsync("Ada@example.org", system.District, SecurityGroup.LibraryAdministrator, null, false, "test");
        var erasure = system.Get<PatronErasure>();
        var refused = await Assert.ThrowsAsync<RollcallException>(() => erasure.EnqueueAsync(system.District.Id, patron.Barcode, "test"));
        Assert.Contains("Remove it from the district's accounts", refused.Message, StringComparison.Ordinal);

        // Somebody who only waits in Review is known by the roster's id alone.
        system.Sandbox.Person("zzguid-WAIT", "Waitmar", "Zzolle", number: "77");
        var run = await system.SyncAsync();
        Assert.Equal(1, OperationQueue.CountsOf(run).Review);
        Assert.NotEmpty(await Leftovers.FindAsync(system, log, "zzguid-WAIT", "Waitmar", "Zzolle"));
        await EraseAsync(system, "zzguid-WAIT");
        Assert.Equal([], await Leftovers.FindAsync(system, log, "zzguid-WAIT", "Waitmar", "Zzolle"));
        Assert.Equal("77", (await system.PatronsByGuidAsync())["p1"].CommunityId);
        await Assert.ThrowsAsync<RollcallException>(() => erasure.PreviewAsync(system.District.Id, "NOBODY", "test"));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Whoever_was_in_plans_that_came_to_nothing_is_given_out_and_erased(Db db)
    {
        var log = new LogTape();
        await using var system = await Installation.StartAsync(cluster, db, configure: log.AddTo);
        var district = system.District.Id;
        var erasure = system.Get<PatronErasure>();
        system.Sandbox.OnlyMine();
        system.Sandbox.Person("p1", "Ada", "Byron", email: "ada@example.org");
        await system.SyncAsync();

        // Two previews had him. One was superseded, the other discarded, and the roster has him no more.
        system.Sandbox.Person("zzguid-PLAN", "Plannard", "Zzubert", email: "zz.plan@example.org");
        var preview = await system.SyncAsync(preview: true);
        var proposed = Assert.Single(await system.LogAsync(preview.Id), r => r.Guid == "zzguid-PLAN").Barcode!;
        await system.Queue.DiscardAsync(district, (await system.SyncAsync(preview: true)).Id, "test");
        system.Sandbox.Overrides.Remove("users", "zzguid-PLAN");
        string[] marks = ["zzguid-PLAN", "Plannard", "Zzubert", "zz.plan@example.org"];
        Assert.NotEmpty(await Leftovers.FindAsync(system, log, marks));
        var data = await erasure.DataAsync(system.District, proposed, "test");
        Assert.All(marks, m => Assert.Contains(m, data, StringComparison.Ordinal));
        Assert.Equal(
            data.Split("\"operation\"").Length,
            (await erasure.DataAsync(system.District, "zzguid-PLAN", "test")).Split("\"operation\"").Length
        );

        // The same number was to be somebody else's in a later plan: both are asked about by the roster's id, and the other one's line stays.
        system.Sandbox.Person("other", "Cleo", "Dunn");
        var later = await system.SyncAsync(preview: true);
        Assert.Equal(proposed, Assert.Single(await system.LogAsync(later.Id), r => r.Guid == "other").Barcode);
        var refused = await Assert.ThrowsAsync<RollcallException>(() => erasure.PreviewAsync(district, proposed, "test"));
        Assert.Contains("zzguid-PLAN", refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', refused.Message);
        await EraseAsync(system, "zzguid-PLAN");
        Assert.Equal([], await Leftovers.FindAsync(system, log, marks));
        await system.ApproveAsync(later.Id);
        Assert.Equal(proposed, (await system.PatronsByGuidAsync())["other"].Barcode);

        // An import that nobody approved.
        using (var file = new MemoryStream("barcode,lastName,firstName,site\nQXFILE1,Zzubert,Importia,S1\n"u8.ToArray()))
        {
            var import = await system.Get<PatronImport>().PlanAsync(district, file, "patrons.csv", preview: true, "test");
            Assert.Equal(OperationStatus.Preview, (await EndAsync(system, import)).Status);
        }

        Assert.Equal("Zzubert, Importia", (await erasure.PreviewAsync(district, "qxfile1", "test")).Name);
        await EraseAsync(system, "QXFILE1");
        Assert.Equal([], await Leftovers.FindAsync(system, log, "QXFILE1", "Importia", "Zzubert"));

        // Who is a patron is found by the roster's id as well, whatever plans had of them before.
        Assert.Equal("Byron, Ada", (await erasure.PreviewAsync(district, "p1", "test")).Name);
        await Assert.ThrowsAsync<RollcallException>(() => erasure.PreviewAsync(district, "QXFILE1", "test"));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_erasure_ends_though_others_sign_in_and_work_all_the_while(Db db)
    {
        var log = new LogTape();
        await using var system = await Installation.StartAsync(cluster, db, configure: log.AddTo);
        var district = system.District.Id;
        system.Sandbox.OnlyMine();
        system.Sandbox.Person("zzguid-BUSY", "Busymar", "Zzolle", email: "busy@example.org");
        await system.SyncAsync();
        var patron = (await system.PatronsByGuidAsync())["zzguid-BUSY"];
        var id = await system.Get<PatronErasure>().EnqueueAsync(district, patron.Barcode, "test");
        using var stop = new CancellationTokenSource(TimeSpan.FromMinutes(1));
        var busy = Task.Run(async () =>
        {
            for (var i = 0; !stop.IsCancellationRequested; i++)
            {
                await using var context = system.Database.CreateContext();
                context.AuditEntries.Add(
                    new Audit.AuditEntry
                    {
                        DistrictId = district,
                        At = TimeProvider.System.GetUtcNow(),
                        Actor = i % 10 == 0 ? "Zzolle, Busymar" : "Byron, Ada",
                        Action = "sign-in",
                        Details = "with ClassLink",
                    }
                );
                context.Operations.Add(
                    new Operation
                    {
                        DistrictId = district,
                        Kind = OperationKind.Edit,
                        Status = OperationStatus.Completed,
                        RequestedBy = "librarian",
                        CreatedAt = TimeProvider.System.GetUtcNow(),
                        FinishedAt = TimeProvider.System.GetUtcNow(),
                    }
                );
                await context.SaveChangesAsync();
                await Task.Delay(1);
            }
        });
        var run = await EndAsync(system, id);
        Assert.False(stop.IsCancellationRequested, "It ended only when nobody wrote any more.");
        await stop.CancelAsync();
        await busy;
        Assert.True(run.Status == OperationStatus.Completed, $"{run.Status} {run.Error} {run.Warnings}");
        await using var after = system.Database.CreateContext();
        Assert.False(await after.Patrons.AnyAsync(p => p.Id == patron.Id));

        // Lines that were written before it was over name nobody; what this test went on writing does. SQLite has one writer, and so an order.
        var named = await after.AuditEntries.Where(a => a.Actor == "Zzolle, Busymar").MinAsync(a => (long?)a.Id) ?? long.MaxValue;
        var erased = await after.AuditEntries.Where(a => a.Action == "erase").Select(a => a.Id).SingleAsync();
        Assert.True(db == Db.Postgres || named > erased, $"line {named} names her, line {erased} is the erasure's");
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_relative_who_waits_in_a_plan_with_the_same_address_comes_out_of_it_whole(Db db)
    {
        var log = new LogTape();
        await using var system = await Installation.StartAsync(cluster, db, configure: log.AddTo);
        var district = system.District.Id;
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = s.Map with { CommunityId = new(Mapping.IdSource.Identifier) } });
        system.Sandbox.Person("zzguid-ANN", "Annabellix", "Smith", "QXN1", "smith@home.org", agents: ["g1"], phone: "555-0101");
        system.Sandbox.Person("g1", "Pat", "Smith", role: "parent", phone: "555-0102");
        system.Sandbox.Person("cleo", "Cleo", "Smith", "QXN3", "cleo@home.org");
        await system.SyncAsync();
        var ann = (await system.PatronsByGuidAsync())["zzguid-ANN"];

        // Nobody knows yet whose the address will be too: a brother is to be added, a sister to be changed.
        system.Sandbox.Person("ben", "Ben", "Smith", "QXN2", "smith@home.org", agents: ["g1"], phone: "555-0101");
        system.Sandbox.Person("cleo", "Cleo", "Smith", "QXN3", "smith@home.org");
        var plan = await system.SyncAsync(preview: true);
        var waiting = (await system.LogAsync(plan.Id)).Where(r => r.Guid is "ben" or "cleo").ToList();
        Assert.Equal(["create", "update"], waiting.Select(r => r.Kind).Order(StringComparer.Ordinal));
        using (var file = new MemoryStream("barcode,lastName,firstName,site,email\nQXDAN,Smith,Dan,S1,smith@home.org\n"u8.ToArray()))
        {
            Assert.Equal(
                OperationStatus.Preview,
                (
                    await EndAsync(system, await system.Get<PatronImport>().PlanAsync(district, file, "patrons.csv", preview: true, "test"))
                ).Status
            );
        }

        await EraseAsync(system, ann.Barcode);
        string[] marks = ["zzguid-ANN", "Annabellix", "QXN1"];
        Assert.Equal([], await Leftovers.FindAsync(system, log, marks));

        // First who is to be added: whoever has the address and no link by then may be the same person.
        foreach (
            var open in (await system.Queue.ListAsync(district)).Where(o => o.Status == OperationStatus.Preview).OrderBy(o => o.Id).ToList()
        )
        {
            await system.ApproveAsync(open.Id);
        }

        var people = await system.PatronsByGuidAsync();
        Assert.Equal(
            ("Smith", "Ben", "smith@home.org", "555-0101", "Pat Smith 555-0102"),
            (people["ben"].LastName, people["ben"].FirstName, people["ben"].Email, people["ben"].Phone, people["ben"].AdditionalContact)
        );
        Assert.Equal(("Smith", "smith@home.org"), (people["cleo"].LastName, people["cleo"].Email));
        Assert.Equal(
            ("Smith", "smith@home.org"),
            (await system.Patrons.GetAsync(district, "QXDAN")).Patron is var dan ? (dan.LastName, dan.Email) : default
        );
        Assert.Equal([], await Leftovers.FindAsync(system, log, marks));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_number_that_is_somebody_elses_now_stays_in_their_log(Db db)
    {
        var log = new LogTape();
        await using var system = await Installation.StartAsync(cluster, db, configure: log.AddTo);
        var district = system.District.Id;
        await system.Patrons.AddAsync(
            district,
            [new("barcode", "QXA1"), new("lastName", "Zzolle"), new("communityId", "QXSTU5"), new("governmentId", "QXGOV5")],
            "test"
        );
        await system.Patrons.EditAsync(district, "QXA1", [new("communityId", "QXSTU6"), new("governmentId", "QXGOV6")], "test");
        await system.Patrons.AddAsync(
            district,
            [new("barcode", "OTHER1"), new("lastName", "Zzolle"), new("communityId", "QXSTU5"), new("governmentId", "QXGOV5")],
            "test"
        );
        await EraseAsync(system, "QXA1");
        Assert.Equal([], await Leftovers.FindAsync(system, log, "QXA1", "QXSTU6", "QXGOV6"));
        var other = (await system.Patrons.GetAsync(district, "OTHER1")).Patron;
        var line = Assert.Single(await system.Get<OperationLog>().HistoryAsync(district, other.Id)).Row;
        Assert.Equal("Zzolle", line.Changes.Single(c => c.Field == "lastName").New);
        Assert.Equal("QXSTU5", line.Changes.Single(c => c.Field == "communityId").New);
        Assert.Equal("QXGOV5", line.Changes.Single(c => c.Field == "governmentId").New);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_somebody_of_the_same_name_did_stays_theirs(Db db)
    {
        var log = new LogTape();
        await using var system = await Installation.StartAsync(cluster, db, configure: log.AddTo);
        var district = system.District.Id;
        var erasure = system.Get<PatronErasure>();
        foreach (var (barcode, middle) in ((string, string)[])[("QXN01", "Quill"), ("QXN02", "Rose")])
        {
            await system.Patrons.AddAsync(
                district,
                [new("barcode", barcode), new("lastName", "Namesake"), new("firstName", "Nora"), new("middleName", middle)],
                "test"
            );
        }

        await system.Patrons.AddAsync(district, [new("barcode", "QXN03"), new("lastName", "Dunn")], "test");
        var she = new Actor("Namesake, Nora", SecurityGroup.DistrictAdministrator);
        await system.Patrons.EditAsync(district, "QXN03", [new("nickname", "Do")], she);
        await system.Get<Audit.AuditLog>().AddAsync(district, she.Name, "sites", "S1 renamed");
        await system.Get<Audit.AuditLog>().AddAsync(district, she.Name, "export", "Everything that is kept of QXN01");
        await system
            .Get<AccessTokens>()
            .CreateAsync(
                system.District,
                "reports",
                SecurityGroup.LibraryAdministrator,
                TokenScopes.PatronsRead,
                TimeSpan.FromDays(1),
                she.Name
            );

        // Both sign in: whose line it is stands there by number.
        var signIn = system.Get<ClassLinkSignIn>();
        var ids = (await system.AllPatronsAsync()).ToDictionary(p => p.Barcode, p => p.Id);
        foreach (var (barcode, address) in ((string, string)[])[("QXN01", "192.0.2.171"), ("QXN02", "192.0.2.172")])
        {
            await signIn.NoteSignInAsync(district, ids[barcode], address);
        }

        // Nobody's number begins another one's.
        await system
            .Get<Audit.AuditLog>()
            .AddAsync(district, she.Name, "sign-in", $"patron {ids["QXN01"]}0 with ClassLink from 192.0.2.173");
        var data = await erasure.DataAsync(system.District, "QXN01", "test");
        Assert.Contains("192.0.2.171", data, StringComparison.Ordinal);
        Assert.DoesNotContain("192.0.2.172", data, StringComparison.Ordinal);
        Assert.DoesNotContain("192.0.2.173", data, StringComparison.Ordinal);

        // A namesake's record is not one's own, and one's own is, however one is called.
        Assert.Null((await erasure.PreviewAsync(district, "QXN01", she)).Refusal);
        Assert.Null((await erasure.PreviewAsync(district, "QXN01", she with { PatronId = ids["QXN02"] })).Refusal);
        Assert.Contains(
            "your own",
            (await erasure.PreviewAsync(district, "QXN01", she with { PatronId = ids["QXN01"] })).Refusal,
            StringComparison.Ordinal
        );
        await EraseAsync(system, "QXN01");
        Assert.Equal([], await Leftovers.FindAsync(system, log, "QXN01", "192.0.2.171"));
        await using (var context = system.Database.CreateContext())
        {
            Assert.Equal(
                [
                    ("(erased)", "patron (erased) with ClassLink"),
                    (she.Name, $"patron {ids["QXN02"]} with ClassLink from 192.0.2.172"),
                    (she.Name, $"patron {ids["QXN01"]}0 with ClassLink from 192.0.2.173"),
                ],
                (await context.AuditEntries.Where(a => a.Action == "sign-in").OrderBy(a => a.Id).ToListAsync()).Select(a =>
                    (a.Actor, a.Details)
                )
            );
        }

        await using (var context = system.Database.CreateContext())
        {
            Assert.Equal(she.Name, (await context.AuditEntries.SingleAsync(a => a.Action == "sites")).Actor);
            var export = await context.AuditEntries.SingleAsync(a => a.Action == "export" && a.Actor == she.Name);
            Assert.Equal((she.Name, "Everything that is kept of (erased)"), (export.Actor, export.Details));
            Assert.Equal(1, await context.Operations.CountAsync(o => o.RequestedBy == she.Name));
            Assert.Equal(she.Name, (await context.AccessTokens.SingleAsync()).CreatedBy);
        }

        // Whoever has the name alone is meant by it.
        Assert.Contains("your own", (await erasure.PreviewAsync(district, "QXN02", she)).Refusal, StringComparison.Ordinal);
        await EraseAsync(system, "QXN02");
        Assert.Equal([], await Leftovers.FindAsync(system, log, "QXN02", "Namesake"));
    }

    /// <summary>A text in a text is written otherwise than alone: what a webhook was sent is JSON.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_name_that_JSON_escapes_is_found_where_it_is_escaped(Db db)
    {
        var log = new LogTape();
        await using var system = await Installation.StartAsync(cluster, db, configure: log.AddTo);
        var district = system.District.Id;
        await system.Patrons.AddAsync(
            district,
            [new("barcode", "QXJ01"), new("lastName", "Quottellöw \"Zed\" 😀x"), new("firstName", "Zsannette")],
            "test"
        );
        await system.Patrons.AddAsync(district, [new("barcode", "OTHER1"), new("lastName", "Dunn")], "test");
        const string said = "Quottellöw \"Zed\" 😀x, Zsannette has no site";
        await using (var context = system.Database.CreateContext())
        {
            foreach (var json in new[] { OperationQueue.Json, System.Text.Json.JsonSerializerOptions.Web })
            {
                context.Notices.Add(
                    new Notice
                    {
                        DistrictId = district,
                        Channel = NoticeChannel.Webhook,
                        Target = "https://tech.example.org/hook",
                        Body = System.Text.Json.JsonSerializer.Serialize(new { error = said, operation = 7 }, json),
                        Status = NoticeStatus.Sent,
                    }
                );
            }

            await context.SaveChangesAsync();
        }

        await system.Patrons.EditAsync(district, "OTHER1", [new("notes", said)], "test");
        await system.Patrons.EditAsync(district, "OTHER1", [new("notes", null)], "test");
        string[] marks = ["QXJ01", "Quottellöw", "Zsannette"];
        Assert.NotEmpty(await Leftovers.FindAsync(system, log, marks));
        await EraseAsync(system, "QXJ01");
        Assert.Equal([], await Leftovers.FindAsync(system, log, marks));
        await using (var context = system.Database.CreateContext())
        {
            foreach (var notice in await context.Notices.ToListAsync())
            {
                // It is the same text still, without her.
                var body = System.Text.Json.JsonDocument.Parse(notice.Body).RootElement;
                Assert.Equal("(erased) has no site", body.GetProperty("error").GetString());
            }
        }
    }

    /// <summary>Many have one name alone. It is a word of many texts, but where it says who did something it is all there is.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Somebody_with_one_name_is_not_left_standing_where_they_acted(Db db)
    {
        var log = new LogTape();
        await using var system = await Installation.StartAsync(cluster, db, configure: log.AddTo);
        var district = system.District.Id;
        foreach (var (barcode, name) in ((string, string)[])[("QXM01", "Zukarno"), ("QXM02", "Qi"), ("QXM03", "Qi"), ("QXM04", "Dunn")])
        {
            await system.Patrons.AddAsync(district, [new("barcode", barcode), new("lastName", name)], "test");
        }

        foreach (var name in (string[])["Zukarno", "Qi", "Zukarno, Ann"])
        {
            var actor = new Actor(name, SecurityGroup.DistrictAdministrator);
            await system.Patrons.EditAsync(district, "QXM04", [new("nickname", $"Do{name.Length}")], actor);
            await system.Get<Audit.AuditLog>().AddAsync(district, name, "sites", "S1 renamed");
        }

        await using (var context = system.Database.CreateContext())
        {
            context.ReviewItems.Add(
                new ReviewItem
                {
                    DistrictId = district,
                    RosterId = "somebody",
                    Status = ReviewStatus.Ignored,
                    DecidedBy = "Zukarno",
                    Candidates = "[]",
                    Values = "{}",
                }
            );
            await context.SaveChangesAsync();
            var plan = await context.Operations.OrderByDescending(o => o.Id).FirstAsync();
            plan.ApprovedBy = "Zukarno";
            await context.SaveChangesAsync();
        }

        Assert.Contains(
            "your own",
            (
                await system.Get<PatronErasure>().PreviewAsync(district, "QXM01", new Actor("Zukarno", SecurityGroup.DistrictAdministrator))
            ).Refusal,
            StringComparison.Ordinal
        );
        await EraseAsync(system, "QXM01");
        await EraseAsync(system, "QXM02");
        await using (var context = system.Database.CreateContext())
        {
            Assert.Equal(
                ["(erased)", "Qi", "Zukarno, Ann"],
                await context.AuditEntries.Where(a => a.Action == "sites").OrderBy(a => a.Id).Select(a => a.Actor).ToListAsync()
            );
            Assert.False(await context.Operations.AnyAsync(o => o.RequestedBy == "Zukarno" || o.ApprovedBy == "Zukarno"));
            Assert.True(await context.Operations.AnyAsync(o => o.RequestedBy == "Qi"));
            Assert.Equal("(erased)", (await context.ReviewItems.SingleAsync(r => r.RosterId == "somebody")).DecidedBy);
        }

        // The last one of the name takes it along.
        await EraseAsync(system, "QXM03");
        await using (var context = system.Database.CreateContext())
        {
            Assert.False(await context.Operations.AnyAsync(o => o.RequestedBy == "Qi"));
            Assert.False(await context.AuditEntries.AnyAsync(a => a.Actor == "Qi"));
        }
    }

    /// <summary>What somebody may still see no vacuum takes out, and nobody is told that it did.</summary>
    [Fact]
    public async Task PostgreSQL_is_said_to_keep_deleted_rows_that_an_open_transaction_may_see()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Postgres);
        await LiveAsync(system);
        await using var connection = await system.Database.OpenAsync();
        await using (var open = await connection.BeginTransactionAsync(System.Data.IsolationLevel.RepeatableRead))
        {
            await using var context = system.Database.CreateContext(connection, open);
            Assert.True(await context.Patrons.AnyAsync());
            var operation = await EndAsync(system, await system.Get<PatronErasure>().EnqueueAsync(system.District.Id, Barcode, "test"));
            Assert.Equal(OperationStatus.CompletedWithWarnings, operation.Status);
            Assert.Contains(
                "a transaction that was open before may still see them",
                Assert.Single(OperationQueue.WarningsOf(operation), w => w.Code == "remains").Message,
                StringComparison.Ordinal
            );
        }

        Assert.Null(await system.Database.ClearRemainsAsync());
    }

    [Fact]
    public async Task PostgreSQL_keeps_no_deleted_row_in_its_tables()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Postgres);
        await LiveAsync(system);
        await EraseAsync(system, Barcode);
        await using var connection = await system.Database.OpenAsync();
        await using var command = connection.CreateCommand();

        // Work that came after, of notices and sessions, may have left a few of its own in others.
        command.CommandText =
            "SELECT relname, n_dead_tup, vacuum_count FROM pg_stat_user_tables WHERE relname IN ('patrons', 'patron_links', 'changes', 'review_items')";
        await using var reader = await command.ExecuteReaderAsync();
        var tables = 0;
        while (await reader.ReadAsync())
        {
            tables++;
            Assert.Equal((reader.GetString(0), 0L), (reader.GetString(0), reader.GetInt64(1)));
            Assert.True(reader.GetInt64(2) > 0, reader.GetString(0));
        }

        Assert.Equal(4, tables);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_is_planned_while_somebody_is_erased_does_not_bring_them_back(Db db)
    {
        var log = new LogTape();
        await using var system = await Installation.StartAsync(cluster, db, configure: log.AddTo);
        var district = system.District.Id;
        string[] marks = ["QXPLAN1", "Plannard", "Zzubert"];
        async Task AddAsync() =>
            await system.Patrons.AddAsync(
                district,
                [new("barcode", "QXPLAN1"), new("lastName", "Zzubert"), new("firstName", "Plannard")],
                "test"
            );
        Hurry Erasing() => new(() => EraseAsync(system, "QXPLAN1"));

        // Each has read him, and has not written down yet what is to become of him.
        await AddAsync();
        using (
            var file = new MemoryStream("barcode,lastName,firstName,notes\nQXPLAN1,Zzubert,Plannard,x\nQXPLAN2,Dunn,Cleo,\n"u8.ToArray())
        )
        {
            var import = new PatronImport(system.Database, Erasing());
            var refused = await Assert.ThrowsAsync<RollcallException>(() => import.PlanAsync(district, file, "f.csv", false, "test"));
            Assert.Contains("erased", refused.Message, StringComparison.Ordinal);
        }

        Assert.Equal([], await Leftovers.FindAsync(system, log, marks));
        await AddAsync();
        var bulk = new PatronBulk(system.Database, Erasing());
        await Assert.ThrowsAsync<RollcallException>(() => bulk.PlanRemovalAsync(district, ["QXPLAN1"], true, "test"));
        Assert.Equal([], await Leftovers.FindAsync(system, log, marks));
        Assert.DoesNotContain(await system.Queue.ListAsync(district), o => o.Kind is OperationKind.Import or OperationKind.Remove);

        // An erasure that is over when the plan begins, and one that only waits, are in nobody's way.
        await AddAsync();
        var waiting = await system.Get<PatronErasure>().EnqueueAsync(district, "QXPLAN1", "test");
        using (
            var file = new MemoryStream("barcode,lastName,firstName,notes\nQXPLAN1,Zzubert,Plannard,x\nQXPLAN2,Dunn,Cleo,\n"u8.ToArray())
        )
        {
            var planned = await system.Get<PatronImport>().PlanAsync(district, file, "f.csv", true, "test");
            await EndAsync(system, waiting);
            Assert.Equal([], await Leftovers.FindAsync(system, log, marks));
            Assert.Equal(OperationStatus.Preview, (await EndAsync(system, planned)).Status);
            await system.ApproveAsync(planned);
        }

        Assert.Equal("QXPLAN2", Assert.Single(await system.AllPatronsAsync()).Barcode);
    }

    /// <summary>Does something in between, the first time that somebody asks what time it is.</summary>
    private sealed class Hurry(Func<Task> between) : TimeProvider
    {
        private Func<Task>? _left = between;

        public override DateTimeOffset GetUtcNow()
        {
            if (Interlocked.Exchange(ref _left, null) is { } work)
            {
                Task.Run(work).GetAwaiter().GetResult();
            }

            return base.GetUtcNow();
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Whoever_is_merged_while_an_erasure_waits_is_not_said_to_be_erased(Db db)
    {
        var log = new LogTape();
        await using var system = await Installation.StartAsync(cluster, db, configure: log.AddTo);
        var district = system.District.Id;
        await system.ImportAsync("barcode,lastName,firstName,phone,site\nQXM1,Zzubert,Plannard,555-0177,\nQXM7,Zzubert,Plannard,,\n");
        var waiting = await system.Get<PatronErasure>().EnqueueAsync(district, "QXM1", "test");
        await system.Get<PatronMerge>().MergeAsync(district, "QXM7", "QXM1", "librarian");
        var ended = await EndAsync(system, waiting);
        Assert.Equal(OperationStatus.Failed, ended.Status);
        Assert.Contains("merged the record into another one", ended.Error, StringComparison.Ordinal);
        Assert.Equal(
            ("QXM7", "555-0177"),
            Assert.Single(await system.AllPatronsAsync()) is var kept ? (kept.Barcode, kept.Phone) : default
        );
        await EraseAsync(system, "QXM7");
        Assert.Equal([], await Leftovers.FindAsync(system, log, ["QXM7", "Zzubert", "555-0177"]));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_card_that_several_had_one_after_the_other_joins_nobody(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        var district = system.District.Id;
        var erasure = system.Get<PatronErasure>();
        await LiveAndLeaveAsync("Ada");
        await LiveAndLeaveAsync("Ada");
        Assert.Equal("Byron, Ada", (await erasure.PreviewAsync(district, "qxcard1", "test")).Name);
        await LiveAndLeaveAsync("Ben");
        foreach (
            var ask in new Func<Task>[]
            {
                () => erasure.PreviewAsync(district, "QXCARD1", "test"),
                () => erasure.DataAsync(system.District, "QXCARD1", "test"),
                () => erasure.EnqueueAsync(district, "QXCARD1", "test"),
            }
        )
        {
            var refused = await Assert.ThrowsAsync<RollcallException>(ask);
            Assert.Contains("2 people", refused.Message, StringComparison.Ordinal);
            Assert.DoesNotContain("Ada", refused.Message, StringComparison.Ordinal);
        }

        async Task LiveAndLeaveAsync(string first)
        {
            await system.Patrons.AddAsync(district, [new("barcode", "QXCARD1"), new("lastName", "Byron"), new("firstName", first)], "test");
            await EndAsync(system, await system.Get<PatronBulk>().PlanRemovalAsync(district, ["QXCARD1"], false, "test"));
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Filters_that_search_for_the_erased_go_and_no_others(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        var district = system.District.Id;
        await system.Patrons.AddAsync(
            district,
            [new("barcode", "QXEVE1"), new("lastName", "Li"), new("firstName", "Eve"), new("email", "eve.li@example.org")],
            "test"
        );
        var filters = system.Get<SavedFilters>();
        foreach (
            var (name, query) in ((string, string)[])
                [
                    ("Fifth grade", "?level=05"),
                    ("Every level", "?status=Active&site=LI"),
                    ("Believers", "?q=steven"),
                    ("Room of Oliver", "?homeroom=Oliver%2C%20Ann"),
                    ("Gone 1", "?q=eve+li"),
                    ("Gone 2", "?q=Li"),
                    ("Gone 3", "?level=05&homeroom=Li%2C+Eve"),
                    ("For Éve", "?level=05"),
                    ("Gone 4", "?q=EVE.LI%40example.org"),
                    ("Gone 5", "?q=qxeve1"),
                ]
        )
        {
            await filters.SaveAsync(district, "account 7", name, query, CancellationToken.None);
        }

        await EraseAsync(system, "QXEVE1");
        Assert.Equal(
            ["Believers", "Every level", "Fifth grade", "Room of Oliver"],
            (await filters.ListAsync(district, "account 7", CancellationToken.None)).Select(f => f.Name)
        );
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_account_without_a_place_goes_with_its_person_and_one_that_has_another_is_named(Db db)
    {
        var log = new LogTape();
        await using var system = await Installation.StartAsync(cluster, db, configure: log.AddTo);
        var district = system.District;
        var (accounts, erasure) = (system.Get<Accounts>(), system.Get<PatronErasure>());
        await system.Patrons.AddAsync(
            district.Id,
            [new("barcode", "QXACC1"), new("lastName", "Zzolle"), new("email", "Quix.Acc@example.org")],
            "test"
        );
        var (account, link) = await accounts.AddAsync(
            "quix.acc@example.org",
            district,
            SecurityGroup.LibraryAdministrator,
            null,
            false,
            "test"
        );
        account = await accounts.UseAsync(link, null, "correct horse battery staple");
        await system.Get<Sessions>().OpenAsync(account, SignInMethod.Password, null, new Device("browser", null));
        await accounts.ResetAsync(account.Email!, "test");
        await system
            .Get<AccessTokens>()
            .CreateAsync(
                district,
                "desk",
                SecurityGroup.LibraryAdministrator,
                TokenScopes.PatronsRead,
                TimeSpan.FromDays(1),
                account.Email!,
                account.Id,
                null
            );
        await system
            .Get<SavedFilters>()
            .SaveAsync(district.Id, SavedFilters.OwnerOfAccount(account.Id), "Mine", "?level=05", CancellationToken.None);
        var administrator = new Who("", "test", SignInMethod.Link, null, false, []);
        await Assert.ThrowsAsync<RollcallException>(() => erasure.EnqueueAsync(district.Id, "QXACC1", "test"));
        await system.Get<AccountDesk>().RemoveAsync(district, account.Id, administrator);
        await accounts.NoteSignInAsync(account, SignInMethod.Password, "127.0.0.1");
        var preview = await erasure.PreviewAsync(district.Id, "QXACC1", "test");
        Assert.Null(preview.Refusal);
        Assert.Contains(preview.Goes, g => g is { Count: 1 } && g.What.StartsWith("The account", StringComparison.Ordinal));
        Assert.Contains("quix.acc@example.org", await erasure.DataAsync(district, "QXACC1", "test"), StringComparison.Ordinal);
        await EraseAsync(system, "QXACC1");
        Assert.Equal([], await Leftovers.FindAsync(system, log, "quix.acc@example.org", "QXACC1", "Zzolle"));
        await using (var context = system.Database.CreateContextAsOwner())
        {
            Assert.False(await context.Accounts.AnyAsync(a => a.Id == account.Id));
            Assert.False(await context.SignInSessions.AnyAsync());
            Assert.False(await context.OneTimeLinks.AnyAsync());
            Assert.False(await context.AccessTokens.AnyAsync());
            Assert.False(await context.SavedFilters.AnyAsync());
        }

        // Whoever runs the installation, or works in another district, stays there.
        await system.Patrons.AddAsync(
            district.Id,
            [new("barcode", "QXACC2"), new("lastName", "Zzolle"), new("email", "boss@example.org")],
            "test"
        );
        await accounts.AddAsync("boss@example.org", null, SecurityGroup.Patron, null, isOperator: true, "test");
        preview = await erasure.PreviewAsync(district.Id, "QXACC2", "test");
        Assert.Null(preview.Refusal);
        Assert.Equal("boss@example.org", preview.AccountStays);
        await EraseAsync(system, "QXACC2");
        await using (var context = system.Database.CreateContextAsOwner())
        {
            Assert.True(await context.Accounts.AnyAsync(a => a.Email == "boss@example.org"));
            Assert.True(await context.AuditEntries.AnyAsync(a => a.DistrictId == 0 && a.Details.Contains("boss@example.org")));
        }
    }

    [Fact]
    public void Words_are_taken_out_whole_and_numbers_of_operations_stay()
    {
        var terms = new PersonTerms(["100", "A-1", "Lee, Ann", "x"]);
        Assert.Equal("Operation 100: (erased) into B2", terms.Without("Operation 100: 100 into B2"));
        Assert.Equal("(erased)! A-12 BA-1", terms.Without("a-1! A-12 BA-1"));
        Assert.Equal("by (erased) x", terms.Without("by lee, ann x"));
        Assert.Equal("""{"a":["(erased)",{"b":100}]}""", terms.WithoutInJson("""{"a":["Lee, Ann",{"b":100}]}"""));
    }

    /// <summary>A life that leaves traces everywhere.</summary>
    /// <returns>Everybody as they are at its end.</returns>
    private static async Task<SortedDictionary<string, string>> LiveAsync(Installation system)
    {
        var district = system.District.Id;
        system.Sandbox.OnlyMine();
        system.Sandbox.Person(Guid, "Quixalina", "Zephyrwöld", "STU88771", "quix.zeph@example.org", agents: ["g1"], phone: "1");
        system.Sandbox.Person("g1", "Parentia", "Zephyrwöld", role: "parent", phone: "555-0199-77");
        system.Sandbox.Person("p2", "Ben", "Carver", "S2", "ben@example.org", phone: "1");
        await system.ConfigureAsync(s => s with { Map = s.Map with { CommunityId = new(Mapping.IdSource.Identifier) } });
        await system.SyncAsync();
        var people = await system.PatronsByGuidAsync();
        await system.Patrons.EditAsync(district, people["p2"].Barcode, [new("barcode", "OTHER99")], "librarian");
        await system.Patrons.EditAsync(
            district,
            people[Guid].Barcode,
            [new("barcode", Barcode), new("notes", "nutmegallergy"), new("phone", "555-0199-77"), new("lastName", "Zephyrwold")],
            "librarian"
        );
        await system.Patrons.EditAsync(district, Barcode, [new("lastName", "Zephyrwöld")], "librarian");

        // A second record of her, merged; her address on somebody else by mistake; her own doing on somebody else.
        await system.ImportAsync("barcode,lastName,firstName,site,email\nQXOLD55,Zephyrwöld,Quixalina,S1,second.quix@example.org\n");
        await system.Get<PatronMerge>().MergeAsync(district, Barcode, "QXOLD55", "librarian");
        await system.Patrons.EditAsync(district, "OTHER99", [new("email", "quix.zeph@example.org")], "librarian");
        await system.Patrons.EditAsync(district, "OTHER99", [new("email", "ben@example.org")], "librarian");
        await system.Patrons.EditAsync(
            district,
            "OTHER99",
            [new("nickname", "Benny"), new("notes", "friend of Quixalina Zephyrwöld")],
            new Actor("Zephyrwöld, Quixalina", SecurityGroup.LibraryAdministrator)
        );
        await system.Get<PatronMerge>().MergeAsync(district, "OTHER99", await ExtraAsync(system), "Zephyrwöld, Quixalina");

        // A switch sets aside what waits in Review, and is taken back.
        system.Sandbox.Person("zzguid-TWIN", "Quixalina", "Zephyrwöld", "STU88771");
        Assert.Equal(1, OperationQueue.CountsOf(await system.SyncAsync()).Review);
        var connected = await system.Integrations.ConnectAsync(
            system.District,
            IntegrationKind.ClassLink,
            FailureTests.Elsewhere(system),
            true,
            true,
            "test"
        );
        await UndoTests.UndoAsync(system, connected.Cleared!.Value);
        var (id, _) = await system.Queue.EnqueueAsync(
            district,
            OperationKind.PersonSync,
            IntegrationKind.ClassLink,
            false,
            "test",
            PersonOptions.For(Barcode)
        );
        await EndAsync(system, id);

        await using (var context = system.Database.CreateContext())
        {
            // A program that added her, not a day ago, has its answer kept.
            var (program, _) = await system
                .Get<AccessTokens>()
                .CreateAsync(
                    system.District,
                    "catalogue",
                    SecurityGroup.LibraryAdministrator,
                    TokenScopes.PatronsWrite,
                    TimeSpan.FromDays(1),
                    "test"
                );
            context.IdempotentRequests.Add(
                new IdempotentRequest
                {
                    TokenId = program.Id,
                    Key = "added",
                    Status = 201,
                    Body = "{\"lastName\":\"Zephyrwöld\"}",
                    CreatedAt = TimeProvider.System.GetUtcNow(),
                }
            );
            context.NoticeSettings.Add(new NoticeSetting { DistrictId = district, Emails = "quix.zeph@example.org\nboss@example.org" });
            context.Notices.Add(
                new Notice
                {
                    DistrictId = district,
                    Channel = NoticeChannel.Email,
                    Target = "quix.zeph@example.org",
                    Status = NoticeStatus.Sent,
                }
            );
            await context.SaveChangesAsync();
        }

        var patron = (await system.PatronsByGuidAsync())[Guid];
        await system.Get<Sessions>().OpenAsync(district, patron.Id, SignInMethod.ClassLink, null, new Device("browser", null));
        var (own, _) = await system
            .Get<AccessTokens>()
            .CreateAsync(
                system.District,
                "her own",
                SecurityGroup.LibraryAdministrator,
                TokenScopes.PatronsRead,
                TimeSpan.FromDays(1),
                "Zephyrwöld, Quixalina"
            );
        await using (var context = system.Database.CreateContext())
        {
            // From when she was an administrator.
            await context.AccessTokens.Where(t => t.Id == own.Id).ExecuteUpdateAsync(s => s.SetProperty(t => t.PatronId, (long?)patron.Id));
        }

        // A plan that waits with a change of hers.
        system.Sandbox.Person(Guid, "Quixalina", "Zephyrwöld", "STU88771", "quix.zeph@example.org", agents: ["g1"], phone: "9");
        system.Sandbox.Person("p2", "Ben", "Carver", "S2", "ben@example.org", phone: "9");
        Assert.Equal(OperationStatus.Preview, (await system.SyncAsync(preview: true)).Status);
        await system.Patrons.EditAsync(district, "OTHER99", [new("notes", null)], "librarian");
        var picture = await UndoTests.PictureAsync(system);
        await system.Patrons.EditAsync(district, "OTHER99", [new("notes", "friend of Quixalina Zephyrwöld")], "librarian");
        return picture;
    }

    private static async Task<string> ExtraAsync(Installation system)
    {
        await system.ImportAsync("barcode,lastName,site\nEXTRA1,Extra,S1\n");
        return "EXTRA1";
    }

    private static async Task<Operation> PreviewOfAsync(Installation system) =>
        (await system.Queue.ListAsync(system.District.Id)).First(o => o.Status == OperationStatus.Preview);

    private static async Task EraseAsync(Installation system, string asked)
    {
        var operation = await EndAsync(system, await system.Get<PatronErasure>().EnqueueAsync(system.District.Id, asked, "test"));
        Assert.True(operation.Status == OperationStatus.Completed, $"{operation.Status} {operation.Error} {operation.Warnings}");
        Assert.Equal(1, OperationQueue.CountsOf(operation).Removed);
    }

    private static Task<Operation> EndAsync(Installation system, long id) =>
        system.Follower.RunAsync(system.District.Id, id, null, CancellationToken.None);
}
