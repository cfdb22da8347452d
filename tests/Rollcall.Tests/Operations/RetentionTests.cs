using System.Globalization;
using Microsoft.EntityFrameworkCore;
using Rollcall.Audit;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Retention;
using Rollcall.Review;
using Rollcall.SignIn;
using Rollcall.Sync.Person;
using Rollcall.Sync.Undo;
using Rollcall.Tests.Infrastructure;
using Rollcall.Tests.Sync;

namespace Rollcall.Tests.Operations;

/// <summary>What is older than a district keeps it goes by night; the history of patrons who are here stays.</summary>
public sealed class RetentionTests(PostgresCluster cluster)
{
    private static readonly DateTimeOffset s_begin = new(2026, 9, 1, 12, 0, 0, TimeSpan.Zero);

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Old_logs_go_but_the_history_of_patrons_who_are_here(Db db)
    {
        var time = new ShiftedTime(s_begin);
        await using var system = await Installation.StartAsync(cluster, db, time: time);
        var district = system.District.Id;
        var retention = system.Get<RetentionService>();
        system.Sandbox.OnlyMine();
        system.Sandbox.Person("stays", "Ada", "Byron", phone: "1");
        system.Sandbox.Person("goes", "Ben", "Carver", phone: "1");
        system.Sandbox.Person("nowhere", "Cleo", "Dunn", orgs: ["no-such-org"]);
        var first = await system.SyncAsync();
        system.Sandbox.Person("stays", "Ada", "Byron", phone: "2");
        system.Sandbox.Person("goes", "Ben", "Carver", phone: "2");
        var preview = await system.SyncAsync(preview: true);
        var second = await system.SyncAsync();
        var people = await system.PatronsByGuidAsync();
        system.Sandbox.Overrides.Remove("users", "goes");
        await EndAsync(system, await system.Get<PatronBulk>().PlanRemovalAsync(district, [people["goes"].Barcode], false, "test"));
        await using (var context = system.Database.CreateContext())
        {
            foreach (var (days, action) in new[] { (0, "sign-in"), (0, "merge") })
            {
                context.AuditEntries.Add(
                    new AuditEntry
                    {
                        DistrictId = district,
                        At = time.GetUtcNow().AddDays(-days),
                        Actor = "anna",
                        Action = action,
                    }
                );
            }

            await context.SaveChangesAsync();
        }

        // Nothing is old: no operation at all, however often and from however many nodes somebody looks.
        time.MoveTo(s_begin.AddDays(80));
        Assert.Empty(await retention.EnqueueDueAsync());

        // Sign-ins have a time of their own.
        time.MoveTo(s_begin.AddDays(91));
        var looks = await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => retention.EnqueueDueAsync()));
        var run = await EndAsync(system, Assert.Single(looks.SelectMany(l => l)));
        Assert.Equal((OperationStatus.Completed, new Removed(SignIns: 1)), (run.Status, RetentionService.RemovedBy(run)));
        Assert.Equal((3, 3), await CountAsync(system, first.Id, second.Id));

        time.MoveTo(s_begin.AddDays(401));
        run = await EndAsync(system, Assert.Single(await retention.EnqueueDueAsync()));
        var removed = RetentionService.RemovedBy(run)!;
        Assert.True(removed is { Operations: >= 4, LogLines: >= 6, AuditLines: 0 }, run.Options);

        // Of everything, the two lines are left that say what became of her.
        Assert.Equal((1, 1), await CountAsync(system, first.Id, second.Id));
        await using (var context = system.Database.CreateContext())
        {
            var stays = people["stays"].Id;
            Assert.False(await context.Changes.AnyAsync(c => c.PatronId != stays));
            Assert.False(await context.Operations.AnyAsync(o => o.Id == preview.Id));
            Assert.True(await context.AuditEntries.AnyAsync(a => a.Action == "merge"));
        }

        var history = await system.Get<OperationLog>().HistoryAsync(district, people["stays"].Id);
        Assert.Equal(["update", "create"], history.Select(h => h.Row.Kind));
        var refused = await Assert.ThrowsAsync<RollcallException>(() => UndoTests.UndoAsync(system, second.Id));
        Assert.Contains("older than logs are kept", refused.Message, StringComparison.Ordinal);

        // The next night there is nothing to do, and the patron who transferred is still here.
        time.MoveTo(s_begin.AddDays(402));
        Assert.Empty(await retention.EnqueueDueAsync());
        Assert.Single(await system.AllPatronsAsync());
        time.MoveTo(s_begin.AddDays(1097));
        run = await EndAsync(system, Assert.Single(await retention.EnqueueDueAsync()));
        Assert.True(RetentionService.RemovedBy(run)!.AuditLines > 0);
    }

    /// <summary>A one-person sync tells each step with all values of the person.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_a_sync_of_one_person_told_goes_with_its_log_and_the_operation_with_its_patron(Db db)
    {
        var time = new ShiftedTime(s_begin);
        await using var system = await Installation.StartAsync(cluster, db, time: time);
        var district = system.District.Id;
        system.Sandbox.OnlyMine();
        system.Sandbox.Person("one", "Ada", "Byron", phone: "555-0171");
        system.Sandbox.Person("two", "Ben", "Carver", phone: "555-0172");
        await system.SyncAsync();
        system.Sandbox.Person("one", "Ada", "Byron", phone: "555-0173");
        var told = await PersonTests.RunAsync(system, "one");
        Assert.Contains("555-0173", told.Options, StringComparison.Ordinal);

        time.MoveTo(s_begin.AddDays(401));
        await EndAsync(system, Assert.Single(await system.Get<RetentionService>().EnqueueDueAsync()));
        var kept = await system.Queue.GetAsync(district, told.Id);
        Assert.True(kept.Expired);
        Assert.DoesNotContain("555", kept.Options, StringComparison.Ordinal);
        Assert.Equal("one", PersonOptions.Of(kept).Person);

        // As earlier versions left it.
        await using (var context = system.Database.CreateContext())
        {
            var options = told.Options;
            await context.Operations.Where(o => o.Id == told.Id).ExecuteUpdateAsync(s => s.SetProperty(o => o.Options, options));
        }

        await EndAsync(system, await system.Get<RetentionService>().EnqueueAsync(district, "test"));
        Assert.DoesNotContain("555", (await system.Queue.GetAsync(district, told.Id)).Options, StringComparison.Ordinal);

        // She is removed, and one day that is old too: nothing of her is left.
        var barcode = (await system.PatronsByGuidAsync())["one"].Barcode;
        await EndAsync(system, await system.Get<PatronBulk>().PlanRemovalAsync(district, [barcode], false, "test"));
        time.MoveTo(s_begin.AddDays(803));
        await EndAsync(system, Assert.Single(await system.Get<RetentionService>().EnqueueDueAsync()));
        await using (var context = system.Database.CreateContext())
        {
            Assert.False(await context.Operations.AnyAsync(o => o.Id == told.Id));
            Assert.False(
                await context.Operations.AnyAsync(o =>
                    o.Expired && !context.Changes.Any(c => c.DistrictId == district && c.OperationId == o.Id)
                )
            );
        }
    }

    /// <summary>Whoever was ignored once is not out for good.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_decision_in_Review_can_be_taken_back_when_its_log_is_gone(Db db)
    {
        var time = new ShiftedTime(s_begin);
        await using var system = await Installation.StartAsync(cluster, db, time: time);
        var district = system.District.Id;
        system.Sandbox.OnlyMine();
        string[] ids = ["link", "create", "ignore"];
        await system.ImportAsync(
            "barcode,lastName,firstName,email,site\n" + string.Concat(ids.Select((id, i) => $"A{i}00,Old,Ada,{id}@example.org,S1\n"))
        );
        foreach (var id in ids)
        {
            system.Sandbox.Person(id, "Ada", "Lovelace", email: $"{id}@example.org", phone: "555");
        }

        await system.SyncAsync();
        var waiting = (await system.Get<ReviewService>().ListAsync(district)).ToDictionary(w => w.Guid);
        var decisions = system.Get<ReviewDecisions>();
        await decisions.LinkAsync(district, waiting["link"].Id, waiting["link"].Candidates[0], "librarian");
        await decisions.CreateAsync(district, waiting["create"].Id, "librarian");
        await decisions.IgnoreAsync(district, waiting["ignore"].Id, "librarian");
        await using (var context = system.Database.CreateContext())
        {
            // As earlier versions kept them.
            await context.ReviewItems.ExecuteUpdateAsync(s =>
                s.SetProperty(r => r.Values, "{\"1006\":[null,\"Lovelace\"],\"1017\":[null,\"555\"]}").SetProperty(r => r.Link, "{}")
            );
        }

        time.MoveTo(s_begin.AddDays(401));
        await EndAsync(system, Assert.Single(await system.Get<RetentionService>().EnqueueDueAsync()));
        Assert.Empty(await system.Get<RetentionService>().EnqueueDueAsync());
        await using (var context = system.Database.CreateContext())
        {
            var kept = await context.ReviewItems.Select(r => new { r.Values, r.Link }).ToListAsync();
            Assert.All(kept, k => Assert.Null(k.Link));
            Assert.All(kept, k => Assert.Contains("Lovelace", k.Values, StringComparison.Ordinal));
            Assert.All(kept, k => Assert.DoesNotContain("555", k.Values, StringComparison.Ordinal));
        }

        foreach (var id in ids)
        {
            var back = await decisions.ReopenAsync(district, waiting[id].Id, "librarian");
            Assert.Equal(id != "ignore", back.Message.Contains("what it wrote stays", StringComparison.Ordinal));
            var operation = await system.Queue.GetAsync(district, back.OperationId);
            Assert.Equal((OperationKind.Review, OperationStatus.Completed), (operation.Kind, operation.Status));
        }

        Assert.Equal(3, (await system.Get<ReviewService>().ListAsync(district)).Count);
        var next = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal((OperationKind.FullSync, 1), (next.Kind, OperationQueue.CountsOf(next).Review));
        var open = Assert.Single(await system.Get<ReviewService>().ListAsync(district));
        Assert.Equal("ignore", open.Guid);
        await decisions.CreateAsync(district, open.Id, "librarian");
        Assert.Equal(["create", "ignore", "link"], (await system.PatronsByGuidAsync()).Keys.Order());
        await using (var context = system.Database.CreateContext())
        {
            Assert.Equal(3, await context.AuditEntries.CountAsync(a => a.Details.Contains("reopened")));
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_button_that_is_pressed_twice_at_once_does_it_once(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, connect: false);
        var district = system.District.Id;
        var retention = system.Get<RetentionService>();
        var filters = system.Get<Rollcall.Patrons.SavedFilters>();
        await AtOnceAsync(_ => retention.SetAsync(district, 500, null, null, "test"));
        Assert.Equal(500, (await retention.FindAsync(district)).LogDays);
        await AtOnceAsync(i => filters.SaveAsync(district, "account 1", "Fifth grade", $"?level=0{i}", CancellationToken.None));
        Assert.Single(await filters.ListAsync(district, "account 1", CancellationToken.None));
        var refused = 0;
        await AtOnceAsync(async _ =>
        {
            try
            {
                await system.Get<Rollcall.Districts.DistrictService>().AddAsync("TWICE", "Twice", null, "test");
            }
            catch (RollcallException e) when (e.Message.Contains("already", StringComparison.Ordinal))
            {
                Interlocked.Increment(ref refused);
            }
        });
        Assert.Equal(7, refused);

        static async Task AtOnceAsync(Func<int, Task> act)
        {
            using var gate = new Barrier(8);
            await Task.WhenAll(
                Enumerable
                    .Range(0, 8)
                    .Select(i =>
                        Task.Factory.StartNew(
                                () =>
                                {
                                    gate.SignalAndWait(TimeSpan.FromSeconds(10));
                                    return act(i);
                                },
                                TaskCreationOptions.LongRunning
                            )
                            .Unwrap()
                    )
                    .ToList()
            );
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Large_logs_go_in_slices_and_times_have_bounds(Db db)
    {
        var rows = int.Parse(Environment.GetEnvironmentVariable("ROLLCALL_RETENTION_ROWS") ?? "3000", CultureInfo.InvariantCulture);
        var time = new ShiftedTime(s_begin);
        await using var system = await Installation.StartAsync(
            cluster,
            db,
            new Sandbox.SandboxOptions { Students = 1, Schools = 1 },
            time,
            connect: false
        );
        await using (var connection = await system.Database.OpenAsync())
        await using (var context = system.Database.CreateContext(connection, null))
        {
            var operation = new Operation
            {
                DistrictId = system.District.Id,
                Kind = OperationKind.FullSync,
                Status = OperationStatus.Completed,
                Planned = true,
                PlanSize = rows,
                AppliedTo = rows,
                CreatedAt = s_begin,
                FinishedAt = s_begin,
            };
            context.Operations.Add(operation);
            await context.SaveChangesAsync();
            foreach (var chunk in Enumerable.Range(1, rows).Chunk(50_000))
            {
                await using var transaction = await system.Database.Bulk.BeginWriteAsync(connection, CancellationToken.None);
                await system.Database.Bulk.InsertAsync(
                    connection,
                    transaction,
                    Rollcall.Storage.BulkTables.Changes,
                    [
                        .. chunk.Select(n => new Change
                        {
                            DistrictId = system.District.Id,
                            OperationId = operation.Id,
                            Number = n,
                            Kind = ChangeKind.Update,
                            PatronId = n,
                            Values = "{\"1017\":[\"555-0100\",\"555-0199\"]}",
                        }),
                    ],
                    CancellationToken.None
                );
                await transaction.CommitAsync();
            }
        }

        time.MoveTo(s_begin.AddDays(401));
        var run = await EndAsync(system, Assert.Single(await system.Get<RetentionService>().EnqueueDueAsync()));
        Assert.Equal(new Removed(Operations: 1, LogLines: rows), RetentionService.RemovedBy(run));
        TestContext.Current.TestOutputHelper?.WriteLine($"{rows} rows: {run.StartedAt} to {run.FinishedAt}");
        foreach (
            var (logs, audit, signIns) in new (int?, int?, int?)[]
            {
                (29, null, null),
                (null, 364, null),
                (null, null, 6),
                (9999, null, null),
            }
        )
        {
            await Assert.ThrowsAsync<RollcallException>(() =>
                system.Get<RetentionService>().SetAsync(system.District.Id, logs, audit, signIns, "test")
            );
        }

        await system.Get<RetentionService>().SetAsync(system.District.Id, 30, null, 7, "test");
        var setting = await system.Get<RetentionService>().FindAsync(system.District.Id);
        Assert.Equal((30, 1096, 7), (setting.LogDays, setting.AuditDays, setting.SignInDays));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_import_that_was_interrupted_while_it_was_read_goes_like_other_logs(Db db)
    {
        var time = new ShiftedTime(s_begin);
        await using var system = await Installation.StartAsync(
            cluster,
            db,
            new Sandbox.SandboxOptions { Students = 1, Schools = 1 },
            time,
            connect: false
        );
        await using (var context = system.Database.CreateContext())
        {
            // As a process leaves it that is killed while it reads the file.
            var operation = PlannedOperation.Begin(system.District.Id, OperationKind.Import, false, "test", "{}", time);
            context.Operations.Add(operation);
            await context.SaveChangesAsync();
            context.Changes.Add(
                new Change
                {
                    DistrictId = system.District.Id,
                    OperationId = operation.Id,
                    Number = 1,
                    Kind = ChangeKind.Create,
                    PatronId = 1,
                    Values = "{\"1006\":[null,\"Byron\"]}",
                }
            );
            await context.SaveChangesAsync();
        }

        time.MoveTo(s_begin.AddDays(399));
        Assert.Empty(await system.Get<RetentionService>().EnqueueDueAsync());
        time.MoveTo(s_begin.AddDays(401));
        var run = await EndAsync(system, Assert.Single(await system.Get<RetentionService>().EnqueueDueAsync()));
        Assert.Equal(new Removed(Operations: 1, LogLines: 1), RetentionService.RemovedBy(run));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_is_the_installations_goes_in_its_time_and_answers_to_programs_with_their_tokens(Db db)
    {
        var time = new ShiftedTime(s_begin);
        await using var system = await Installation.StartAsync(
            cluster,
            db,
            new Sandbox.SandboxOptions { Students = 1, Schools = 1 },
            time,
            connect: false
        );
        var tokens = system.Get<AccessTokens>();
        async Task<long> TokenAsync() =>
            (
                await tokens.CreateAsync(
                    system.District,
                    "catalogue",
                    SecurityGroup.LibraryAdministrator,
                    TokenScopes.PatronsWrite,
                    TimeSpan.FromDays(30),
                    "test"
                )
            )
                .Row
                .Id;
        var (stays, goes) = (await TokenAsync(), await TokenAsync());
        await using var context = system.Database.CreateContext();
        void Answer(long token, string key) =>
            context.IdempotentRequests.Add(
                new IdempotentRequest
                {
                    TokenId = token,
                    Key = key,
                    Body = "{\"lastName\":\"Byron\"}",
                    CreatedAt = time.GetUtcNow(),
                }
            );
        foreach (var token in new[] { stays, goes, goes + 1000 })
        {
            Answer(token, "added");
        }

        foreach (var action in new[] { "sign-in", "district" })
        {
            context.AuditEntries.Add(
                new AuditEntry
                {
                    DistrictId = 0,
                    At = time.GetUtcNow(),
                    Actor = "operator",
                    Action = action,
                }
            );
        }

        await context.SaveChangesAsync();
        async Task<string> LeftAsync() =>
            string.Join(
                ' ',
                (await context.IdempotentRequests.AsNoTracking().OrderBy(r => r.TokenId).Select(r => r.TokenId).ToListAsync())
                    .Select(t =>
                        t == stays ? "stays"
                        : t == goes ? "goes"
                        : "nobody's"
                    )
                    .Concat(await context.AuditEntries.Where(a => a.DistrictId == 0).OrderBy(a => a.Id).Select(a => a.Action).ToListAsync())
            );

        // With its token, or when there is no token to it.
        await tokens.RevokeAsync(system.District.Id, goes, "test");
        Assert.Equal("stays nobody's sign-in district", await LeftAsync());
        await system.Get<RetentionService>().TidyAsync();
        Assert.Equal("stays sign-in district", await LeftAsync());

        // By their age.
        time.MoveTo(s_begin.AddHours(25));
        await system.Get<RetentionService>().TidyAsync();
        Assert.Equal("sign-in district", await LeftAsync());
        time.MoveTo(s_begin.AddDays(91));
        await system.Get<RetentionService>().TidyAsync();
        Assert.Equal("district", await LeftAsync());
        time.MoveTo(s_begin.AddDays(1097));
        await system.Get<RetentionService>().TidyAsync();
        Assert.Equal("", await LeftAsync());
    }

    private static async Task<(int First, int Second)> CountAsync(Installation system, long first, long second) =>
        ((await system.LogAsync(first)).Count, (await system.LogAsync(second)).Count);

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_preview_whose_log_goes_is_not_approved_meanwhile(Db db)
    {
        var time = new ShiftedTime(s_begin);
        await using var system = await Installation.StartAsync(cluster, db, time: time);
        var district = system.District.Id;
        system.Sandbox.OnlyMine();
        system.Sandbox.Person("a", "Ada", "Byron");
        var preview = await system.SyncAsync(preview: true);
        time.MoveTo(s_begin.AddDays(401));
        var run = await system.Get<RetentionService>().EnqueueAsync(district, "test");
        Exception? refused = null;
        var asked = false;
        await system.Follower.RunAsync(
            district,
            run,
            (_, text, _, _) =>
            {
                if (text == "Removing lines of old logs" && !asked)
                {
                    asked = true;
                    refused = Task.Run(async () =>
                            await Record.ExceptionAsync(() => system.Queue.ApproveAsync(district, preview.Id, "test"))
                        )
                        .GetAwaiter()
                        .GetResult();
                }
            },
            CancellationToken.None
        );
        Assert.True(asked);
        Assert.Contains("is discarded", Assert.IsType<RollcallException>(refused).Message, StringComparison.Ordinal);
        Assert.Empty(await system.AllPatronsAsync());
    }

    private static Task<Operation> EndAsync(Installation system, long id) =>
        system.Follower.RunAsync(system.District.Id, id, null, CancellationToken.None);
}
