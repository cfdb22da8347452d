using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Retention;
using Rollcall.Storage;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Operations;

/// <summary>Whose turn it is.</summary>
public sealed class QueueTests(PostgresCluster cluster)
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_district_with_much_to_do_keeps_no_other_one_waiting_and_people_go_before_the_night(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        var harbor = await system.Get<DistrictService>().AddAsync("HARBOR", "Harbor Point", "UTC", "test");
        var river = system.District.Id;
        async Task<long> AskAsync(int district, OperationKind kind, bool preview = false, DateOnly? night = null) =>
            (
                await system.Queue.EnqueueAsync(
                    district,
                    kind,
                    IntegrationKind.ClassLink,
                    preview,
                    night is null ? "test" : DailySchedule.Actor,
                    dailyDate: night,
                    cancellationToken: Stop
                )
            ).Id;
        Task<Operation?> ClaimAsync(bool nights = true) => system.Queue.ClaimAsync("one", null, aloneHere: false, Stop, nights);
        async Task<long?> NextAsync()
        {
            if (await ClaimAsync() is not { } operation)
            {
                return null;
            }

            Assert.True(await system.Queue.FinishAsync(operation, OperationStatus.Completed, null, null, null, Stop));
            return operation.Id;
        }

        // Of one district there is one at a time, whoever asks.
        long[] rivers =
        [
            await AskAsync(river, OperationKind.FullSync),
            await AskAsync(river, OperationKind.ChangesSync),
            await AskAsync(river, OperationKind.FullSync, preview: true),
        ];
        var first = await ClaimAsync();
        Assert.Equal(rivers[0], first!.Id);
        Assert.Null(await ClaimAsync());
        Assert.True(await system.Queue.FinishAsync(first, OperationStatus.Completed, null, null, null, Stop));

        // What only a newer node knows is left to it.
        Assert.Null(await system.Queue.ClaimAsync("one", null, aloneHere: false, Stop, kinds: [OperationKind.Import]));

        // The other district came last and is served next.
        var theirs = await AskAsync(harbor.Id, OperationKind.FullSync);
        Assert.Equal([theirs, rivers[1], rivers[2], null], [await NextAsync(), await NextAsync(), await NextAsync(), await NextAsync()]);

        // A night that waits longer gives way to what somebody asked for, and a worker for people leaves it alone.
        var night = await AskAsync(river, OperationKind.FullSync, night: new DateOnly(2026, 3, 2));
        Assert.Null(await ClaimAsync(nights: false));
        var asked = await AskAsync(harbor.Id, OperationKind.ChangesSync);
        Assert.Equal([asked, night], [await NextAsync(), await NextAsync()]);

        // What somebody asks for is theirs, though the night asked first; so it stays when the night asks after them.
        night = await AskAsync(river, OperationKind.FullSync, night: new DateOnly(2026, 3, 3));
        Assert.Equal(night, await AskAsync(river, OperationKind.FullSync));
        var theirNight = await AskAsync(harbor.Id, OperationKind.FullSync);
        Assert.Equal(theirNight, await AskAsync(harbor.Id, OperationKind.FullSync, night: new DateOnly(2026, 3, 3)));
        foreach (var id in new[] { night, theirNight }.Order())
        {
            var claimed = await ClaimAsync(nights: false);
            Assert.NotNull(claimed);
            Assert.Equal("test", claimed.RequestedBy);
            Assert.Equal(new DateOnly(2026, 3, 3), claimed.DailyDate);
            Assert.True(await system.Queue.FinishAsync(claimed, OperationStatus.NeedsApproval, null, null, null, Stop));
        }

        // What the schedule clears away is a night's work, too; what somebody has cleared away is theirs.
        var retention = system.Get<RetentionService>();
        var clearing = await retention.EnqueueAsync(river, RetentionService.Actor, Stop);
        Assert.Null(await ClaimAsync(nights: false));
        Assert.Equal(clearing, await NextAsync());
        clearing = await retention.EnqueueAsync(river, "anna", Stop);
        var cleared = await ClaimAsync(nights: false);
        Assert.Equal(clearing, cleared?.Id);
        Assert.True(await system.Queue.FinishAsync(cleared!, OperationStatus.Completed, null, null, null, Stop));

        // So is what somebody approves of a night.
        night = await AskAsync(river, OperationKind.FullSync, night: new DateOnly(2026, 3, 4));
        var held = await ClaimAsync();
        Assert.Equal(night, held!.Id);
        Assert.True(await system.Queue.FinishAsync(held, OperationStatus.NeedsApproval, null, null, null, Stop));
        await PlannedAsync(system, night);
        await system.Queue.ApproveAsync(river, night, "anna", Stop);
        Assert.Equal(night, (await ClaimAsync(nights: false))!.Id);
    }

    /// <summary>What has no plan cannot be approved.</summary>
    private static async Task PlannedAsync(Installation system, long id)
    {
        await using var context = system.Database.CreateContext();
        await context.Operations.Where(o => o.Id == id).ExecuteUpdateAsync(s => s.SetProperty(o => o.Planned, true), Stop);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_an_operation_took_is_its_work_and_none_of_its_pauses(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        var district = system.District.Id;
        var (id, _) = await system.Queue.EnqueueAsync(district, OperationKind.FullSync, IntegrationKind.ClassLink, false, "test");
        async Task<Operation> ClaimAsync() => (await system.Queue.ClaimAsync("one", id, aloneHere: true, Stop))!;

        // Whatever passes between two claims is of no account: here it is made hours by moving what was written.
        Task LetHoursPassAsync() => SqlAsync("started_at = started_at - 30000000");
        Task WorkASecondAsync() => SqlAsync("taken_at = taken_at - 1000, lease_until = lease_until - 1000");
        async Task SqlAsync(string set)
        {
            await using var connection = await system.Database.OpenAsync(Stop);
            await Sql.ExecuteAsync(connection, null, $"UPDATE operations SET {set} WHERE id = @id", Stop, ("@id", id));
        }

        var operation = await ClaimAsync();
        await WorkASecondAsync();
        Assert.True(await system.Queue.RetryLaterAsync(operation, TimeSpan.FromHours(-1), "The service is away.", Stop));
        await LetHoursPassAsync();
        Assert.Null((await system.Queue.GetAsync(district, id, Stop)).Worked);

        // Its worker dies after a second, and another takes over.
        await ClaimAsync();
        await WorkASecondAsync();
        await SqlAsync("lease_until = taken_at + 31000");
        operation = await ClaimAsync();
        await WorkASecondAsync();
        await system.Queue.ParkAsync(operation, Stop);
        operation = await ClaimAsync();
        await WorkASecondAsync();
        Assert.True(await system.Queue.FinishAsync(operation, OperationStatus.NeedsApproval, null, null, null, Stop));
        await LetHoursPassAsync();
        await AssertTookAsync(4);
        await PlannedAsync(system, id);
        await system.Queue.ApproveAsync(district, id, "test", Stop);
        operation = await ClaimAsync();
        await WorkASecondAsync();
        Assert.True(await system.Queue.FinishAsync(operation, OperationStatus.Completed, null, null, null, Stop));
        await AssertTookAsync(5);

        async Task AssertTookAsync(int seconds)
        {
            var worked = (await system.Queue.GetAsync(district, id, Stop)).Worked;
            Assert.InRange(worked!.Value, TimeSpan.FromSeconds(seconds), TimeSpan.FromMinutes(1));
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_another_node_has_just_put_back_to_be_tried_later_is_not_taken_up(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, connect: false);
        var (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            DailySchedule.Actor,
            cancellationToken: Stop
        );

        // Two nodes see that it waits. One has it, fails, and puts it back before the other comes to it.
        var operation = await system.Queue.ClaimAsync("one", id, aloneHere: false, Stop);
        Assert.True(await system.Queue.RetryLaterAsync(operation!, TimeSpan.FromMinutes(10), "The service is away.", Stop));
        await using var connection = await system.Database.OpenAsync(Stop);
        Assert.False(await system.Queue.TakeAsync(connection, "two", id, system.District.Id, "1 = 0", Stop));
        await Sql.ExecuteAsync(connection, null, "UPDATE operations SET not_before = not_before - 600001", Stop);
        Assert.True(await system.Queue.TakeAsync(connection, "two", id, system.District.Id, "1 = 0", Stop));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_ends_its_worker_five_times_without_getting_any_further_is_begun_no_more_and_says_so(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        var (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test",
            cancellationToken: Stop
        );
        await using var connection = await system.Database.OpenAsync(Stop);
        async Task<Operation> DiesAsync()
        {
            var operation = await system.Queue.ClaimAsync("one", id, aloneHere: false, Stop);
            await Sql.ExecuteAsync(connection, null, "UPDATE operations SET lease_until = 0", Stop);
            return operation!;
        }

        for (var death = 0; death < OperationWorker.MostTakeovers; death++)
        {
            Assert.Equal(death, (await DiesAsync()).Takeovers);
        }

        // A stop in order counts for nothing; nor does what the operation itself says went wrong, or what got further.
        await system.Queue.ParkAsync(await DiesAsync(), Stop);
        Assert.Equal(OperationWorker.MostTakeovers, (await DiesAsync()).Takeovers);
        await Sql.ExecuteAsync(connection, null, "UPDATE operations SET takeovers = 2", Stop);
        Assert.True(await system.Queue.RetryLaterAsync(await DiesAsync(), TimeSpan.FromHours(-1), "The service is away.", Stop));
        Assert.Equal(0, (await DiesAsync()).Takeovers);

        await Sql.ExecuteAsync(connection, null, $"UPDATE operations SET takeovers = {OperationWorker.MostTakeovers - 1}", Stop);
        var requests = system.Sandbox.Requests.Count;
        Assert.True(await system.Get<OperationWorker>().WorkAsync(null, null, Stop));
        var ended = await system.Queue.GetAsync(system.District.Id, id, Stop);
        Assert.Equal(OperationStatus.Failed, ended.Status);
        Assert.Contains("five times in a row", ended.Error, StringComparison.Ordinal);
        Assert.Equal(requests, system.Sandbox.Requests.Count);
        Assert.False(await system.Get<OperationWorker>().WorkAsync(null, null, Stop));

        // With one death fewer it is worked on, and what it writes starts the count anew.
        (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test",
            cancellationToken: Stop
        );
        await DiesAsync();
        await Sql.ExecuteAsync(
            connection,
            null,
            $"UPDATE operations SET takeovers = {OperationWorker.MostTakeovers - 2} WHERE id = {id}",
            Stop
        );
        Assert.True(await system.Get<OperationWorker>().WorkAsync(null, null, Stop));
        ended = await system.Queue.GetAsync(system.District.Id, id, Stop);
        Assert.Equal((null, 0), (ended.Error, ended.Takeovers));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_is_cancelled_while_a_worker_takes_it_up_is_cancelled_all_the_same(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, connect: false);
        var district = system.District.Id;
        for (var round = 0; round < 60; round++)
        {
            var (id, _) = await system.Queue.EnqueueAsync(
                district,
                OperationKind.FullSync,
                IntegrationKind.ClassLink,
                preview: false,
                "test",
                cancellationToken: Stop
            );
            var claim = Task.Run(async () => await system.Queue.ClaimAsync("one", null, aloneHere: false, Stop), Stop);
            if (round % 3 > 0)
            {
                await Task.Delay(round % 3, Stop);
            }

            await system.Queue.CancelAsync(district, id, Stop);
            var claimed = await claim;
            var operation = await system.Queue.GetAsync(district, id, Stop);
            Assert.True(
                operation is { Status: OperationStatus.Cancelled } or { Status: OperationStatus.Running, CancelRequested: true },
                $"round {round}: {operation.Status}, {operation.CancelRequested}"
            );
            if (claimed is not null)
            {
                Assert.True(await system.Queue.FinishAsync(claimed, OperationStatus.Cancelled, null, null, null, Stop));
            }
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task The_audit_says_who_cancelled_what_waited_or_ran(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, connect: false);
        var district = system.District.Id;
        var lines = new List<(string, string)>();
        foreach (var (running, who) in (IEnumerable<(bool, string)>)[(false, "Byron, Ada"), (true, "Carver, Ben")])
        {
            var (id, _) = await system.Queue.EnqueueAsync(
                district,
                OperationKind.FullSync,
                IntegrationKind.ClassLink,
                preview: false,
                "test",
                cancellationToken: Stop
            );
            if (running)
            {
                Assert.Equal(id, (await system.Queue.ClaimAsync("one", null, aloneHere: false, Stop))!.Id);
            }

            await system.Queue.CancelAsync(district, id, who, Stop);
            lines.Add((who, $"Operation {id}"));
        }

        var audit = system.Get<Audit.AuditLog>();
        Assert.Equal(
            lines,
            (await audit.PageAsync(district, new Audit.AuditFilter(Action: "cancel"), 1, 10, Stop))
                .Lines.Select(l => (l.Actor, l.Details))
                .Reverse()
        );
        await Assert.ThrowsAsync<RollcallException>(() =>
            system.Queue.CancelAsync(district, long.Parse(lines[0].Item2.Split(' ')[1], null), "again", Stop)
        );
        Assert.Equal(2, (await audit.PageAsync(district, new Audit.AuditFilter(Action: "cancel"), 1, 10, Stop)).Total);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_operation_says_that_the_roster_service_keeps_it_waiting(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, connect: false);
        var (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test",
            cancellationToken: Stop
        );
        var operation = await system.Queue.ClaimAsync("one", id, aloneHere: true, Stop);
        var clock = new HandTime();
        using var stop = new CancellationTokenSource();
        await using var run = new OperationRun(operation!, system.Queue, clock, stop);
        run.Start();
        await run.ReportAsync(OperationStage.Pulling, "Reading users", 1000, 2000);
        await SaysAsync("Reading users");
        clock.Pass(TimeSpan.FromSeconds(10));
        await SaysAsync("Reading users");
        clock.Pass(TimeSpan.FromSeconds(10));
        await SaysAsync("Reading users: waiting for the roster service, 20 seconds now");
        clock.Pass(TimeSpan.FromMinutes(3));
        await SaysAsync("Reading users: waiting for the roster service, 3 minutes now");
        await run.ReportAsync(OperationStage.Pulling, "Reading users", 2000, 2000);
        await SaysAsync("Reading users");

        // Its own work takes as long as it takes.
        await run.ReportAsync(OperationStage.Planning, "Comparing people", 0, 2000);
        clock.Pass(TimeSpan.FromMinutes(1));
        await SaysAsync("Comparing people");

        async Task SaysAsync(string text)
        {
            for (var tries = 0; (await TextAsync()) != text && tries < 200; tries++)
            {
                await Task.Delay(50, Stop);
                clock.Pass(TimeSpan.Zero);
            }

            Assert.Equal(text, await TextAsync());
        }

        async Task<string?> TextAsync() => (await system.Queue.GetAsync(system.District.Id, id, Stop)).StageText;
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_operation_says_how_fast_it_goes(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, connect: false);
        var (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test",
            cancellationToken: Stop
        );
        var operation = await system.Queue.ClaimAsync("one", id, aloneHere: true, Stop);
        var clock = new HandTime();
        using var stop = new CancellationTokenSource();
        await using (var run = new OperationRun(operation!, system.Queue, clock, stop))
        {
            await ReportAsync("Reading users", 10_000, null);
            clock.Pass(TimeSpan.FromSeconds(4));
            await ReportAsync("Reading users", 16_000, null);
            clock.Pass(TimeSpan.FromSeconds(16));
            await ReportAsync("Reading users", 38_000, 1400);

            // Another step begins anew, and so does one that counts again.
            await ReportAsync("Reading demographics", 0, null);
            clock.Pass(TimeSpan.FromSeconds(10));
            await ReportAsync("Reading demographics", 5000, 500);
            clock.Pass(TimeSpan.FromSeconds(1));
            await ReportAsync("Reading demographics", 1000, null);

            async Task ReportAsync(string step, long done, double? rate)
            {
                await run.ReportAsync(OperationStage.Pulling, step, done, 100_000);
                Assert.Equal(rate, (await system.Queue.GetAsync(system.District.Id, id, Stop)).Rate);
            }
        }

        // Another worker begins without.
        await system.Queue.BeatAsync(operation!, OperationStage.Pulling, "Reading users", 10, 20, 5, Stop);
        await system.Queue.ParkAsync(operation!, Stop);
        Assert.Null((await system.Queue.ClaimAsync("two", id, aloneHere: true, Stop))!.Rate);
    }

    [Theory]
    [InlineData(null, 10, 100, null)]
    [InlineData(1437.2, 0, 170_000, "1,400 a second, about 2 minutes left")]
    [InlineData(1437.2, 170_000, 170_000, "1,400 a second")]
    [InlineData(1437.2, 180_000, 170_000, "1,400 a second")]
    [InlineData(1437.2, 10, 0, "1,400 a second")]
    [InlineData(0.5, 10, 200, "30 a minute, about 6 minutes left")]
    [InlineData(0.001, 10, 200, "about 2 days left")]
    [InlineData(1e-9, 10, 200, null)]
    [InlineData(99.6, 0, 1000, "100 a second, a few seconds left")]
    [InlineData(10.0, 0, 400, "10 a second, less than a minute left")]
    [InlineData(10.0, 0, 700, "10 a second, about a minute left")]
    [InlineData(10.0, 0, 22_000, "10 a second, about 35 minutes left")]
    [InlineData(10.0, 0, 54_000, "10 a second, about 2 hours left")]
    [InlineData(10.0, 0, 200_000, "10 a second, about 6 hours left")]
    public void How_long_it_takes_is_said_coarsely(double? rate, long done, long total, string? words) =>
        Assert.Equal(words, Pace.Words(rate, done, total));

    /// <param name="how">What its session is doing: it waits for the node's next statement, or for more rows of a COPY.</param>
    /// <param name="named">The session bears the node's name, as it does unless the connection names it otherwise.</param>
    [Theory]
    [InlineData("idle", true)]
    [InlineData("copy", true)]
    [InlineData("idle", false)]
    public async Task A_node_that_hangs_in_the_middle_of_a_transaction_is_replaced_and_keeps_nobody_waiting(string how, bool named)
    {
        await using var system = await Installation.StartAsync(cluster, Db.Postgres, connect: false, silentAfter: TimeSpan.FromSeconds(2));
        var harbor = await system.Get<DistrictService>().AddAsync("HARBOR", "Harbor Point", "UTC", "test");
        async Task<long> AskAsync(int district) =>
            (
                await system.Queue.EnqueueAsync(
                    district,
                    OperationKind.FullSync,
                    IntegrationKind.ClassLink,
                    preview: false,
                    "test",
                    cancellationToken: Stop
                )
            ).Id;
        var stuck = await AskAsync(system.District.Id);
        Assert.Equal(stuck, (await system.Queue.ClaimAsync("elsewhere:7", null, aloneHere: false, Stop))!.Id);
        var theirs = await AskAsync(harbor.Id);
        var connection = new NpgsqlConnectionStringBuilder(system.Database.ConnectionString)
        {
            ApplicationName = named ? "rollcall elsewhere:7" : "something else",
        };
        var storage = new StorageOptions(system.Database.DataFolder, connection.ToString());
        await using var node = new RollcallDatabase(named ? storage : storage with { HungAfter = TimeSpan.FromSeconds(2) });
        await using var hung = (NpgsqlConnection)await node.OpenAsOwnerAsync(Stop);
        await Sql.ExecuteAsync(hung, null, "UPDATE operations SET lease_until = 0", Stop);
        await using var transaction = await hung.BeginTransactionAsync(Stop);
        await Sql.ExecuteAsync(hung, transaction, "UPDATE operations SET applied_to = 7 WHERE id = @id", Stop, ("@id", stuck));
        await using var copy =
            how == "copy" ? await hung.BeginBinaryImportAsync("COPY audit_entries (id) FROM STDIN (FORMAT BINARY)", Stop) : null;

        // The other district's is behind it in the queue, and waits for nothing.
        var claimed = await system.Queue.ClaimAsync("here:1", null, aloneHere: false, Stop).WaitAsync(TimeSpan.FromSeconds(5), Stop);
        Assert.Equal(theirs, claimed!.Id);
        Assert.True(await system.Queue.FinishAsync(claimed, OperationStatus.Completed, null, null, null, Stop));
        Operation? taken;
        using var minute = CancellationTokenSource.CreateLinkedTokenSource(Stop);
        minute.CancelAfter(TimeSpan.FromMinutes(1));
        while ((taken = await system.Queue.ClaimAsync("here:1", null, aloneHere: false, minute.Token)) is null)
        {
            await Task.Delay(250, minute.Token);
        }

        // What the one that hung had not committed never was.
        Assert.Equal((stuck, 0, "here:1"), (taken.Id, taken.AppliedTo, taken.Node));
        await Assert.ThrowsAnyAsync<Exception>(async () =>
        {
            if (copy is not null)
            {
                await copy.CompleteAsync(Stop);
            }

            await transaction.CommitAsync(Stop);
        });
    }

    [Fact]
    public async Task A_node_that_stops_in_the_middle_of_what_a_person_writes_keeps_their_district_waiting_for_less_than_half_a_minute()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Postgres, connect: false, silentAfter: TimeSpan.FromSeconds(2));
        await using var node = Elsewhere(system);
        await using var hung = (NpgsqlConnection)await node.OpenAsOwnerAsync(Stop);
        await using var transaction = await hung.BeginTransactionAsync(Stop);
        await system.Database.Bulk.LockDistrictAsync(hung, transaction, system.District.Id, Stop);
        await using var copy = await hung.BeginBinaryImportAsync("COPY audit_entries (id) FROM STDIN (FORMAT BINARY)", Stop);
        var stalled = new StalledCopies(system.Database, TimeProvider.System);
        var ended = new List<string>();

        // Nobody has to ask twice.
        var asking = EditAsync(system, system.District.Id);
        while (!asking.IsCompleted)
        {
            ended.AddRange(await stalled.EndAsync(Stop));
            await Task.Delay(250, Stop);
        }

        await asking;
        Assert.Equal(["rollcall elsewhere:7"], ended);
        await Assert.ThrowsAnyAsync<Exception>(async () => await copy.CompleteAsync(Stop));
    }

    [Fact]
    public async Task A_node_that_sends_rows_slowly_or_keeps_nobody_waiting_is_left_its_work()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Postgres, connect: false, silentAfter: TimeSpan.FromSeconds(6));
        var harbor = await system.Get<DistrictService>().AddAsync("HARBOR", "Harbor Point", "UTC", "test");
        await using var node = Elsewhere(system);

        // Nothing comes on this one, and nobody waits for it.
        await using var quiet = (NpgsqlConnection)await node.OpenAsOwnerAsync(Stop);
        await using var alone = await quiet.BeginTransactionAsync(Stop);
        await system.Database.Bulk.LockDistrictAsync(quiet, alone, harbor.Id, Stop);
        await Sql.ExecuteAsync(quiet, alone, "CREATE TEMPORARY TABLE wide (x text)", Stop);
        await using var nothing = await quiet.BeginBinaryImportAsync("COPY wide FROM STDIN (FORMAT BINARY)", Stop);

        await using var slow = (NpgsqlConnection)await node.OpenAsOwnerAsync(Stop);
        await using var transaction = await slow.BeginTransactionAsync(Stop);
        await system.Database.Bulk.LockDistrictAsync(slow, transaction, system.District.Id, Stop);
        await Sql.ExecuteAsync(slow, transaction, "CREATE TEMPORARY TABLE wide (x text)", Stop);
        await using var copy = await slow.BeginBinaryImportAsync("COPY wide FROM STDIN (FORMAT BINARY)", Stop);
        var stalled = new StalledCopies(system.Database, TimeProvider.System);
        var asking = EditAsync(system, system.District.Id);
        for (var second = 0; second < 9; second++)
        {
            if (second % 3 == 0)
            {
                await copy.StartRowAsync(Stop);
                await copy.WriteAsync(new string('x', 100_000), Stop);
            }

            Assert.Empty(await stalled.EndAsync(Stop));
            await Task.Delay(TimeSpan.FromSeconds(1), Stop);
        }

        Assert.False(asking.IsCompleted);
        Assert.Equal(3ul, await copy.CompleteAsync(Stop));
        await copy.DisposeAsync();
        await transaction.CommitAsync(Stop);
        await asking;
        await nothing.CompleteAsync(Stop);
        await nothing.DisposeAsync();
        await alone.CommitAsync(Stop);
    }

    private static RollcallDatabase Elsewhere(Installation system) =>
        new(
            new StorageOptions(
                system.Database.DataFolder,
                new NpgsqlConnectionStringBuilder(system.Database.ConnectionString) { ApplicationName = "rollcall elsewhere:7" }.ToString()
            )
        );

    private static Task<(long Id, bool IsNew)> EditAsync(Installation system, int district) =>
        system.Queue.EnqueueAsync(district, OperationKind.Edit, null, preview: false, "test", cancellationToken: Stop);

    [Fact]
    public async Task What_a_node_that_hangs_does_beside_is_left_to_it()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Postgres, connect: false, silentAfter: TimeSpan.FromSeconds(2));
        var (stuck, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test",
            cancellationToken: Stop
        );
        Assert.Equal(stuck, (await system.Queue.ClaimAsync("elsewhere:7", null, aloneHere: false, Stop))!.Id);
        var connection = new NpgsqlConnectionStringBuilder(system.Database.ConnectionString) { ApplicationName = "rollcall elsewhere:7" };
        await using var node = new RollcallDatabase(
            new StorageOptions(system.Database.DataFolder, connection.ToString()) { HungAfter = TimeSpan.FromMinutes(5) }
        );
        await using var hung = await node.OpenAsOwnerAsync(Stop);
        await Sql.ExecuteAsync(hung, null, "UPDATE operations SET lease_until = 0", Stop);
        await using var stopped = await hung.BeginTransactionAsync(Stop);
        await Sql.ExecuteAsync(hung, stopped, "UPDATE operations SET applied_to = 7 WHERE id = @id", Stop, ("@id", stuck));

        // Another lane of the same node thinks for as long, and is in nobody's way.
        await using var lane = await node.OpenAsOwnerAsync(Stop);
        await using var healthy = await lane.BeginTransactionAsync(Stop);
        await Sql.ExecuteAsync(lane, healthy, "UPDATE districts SET name = 'Riverside'", Stop);
        using var minute = CancellationTokenSource.CreateLinkedTokenSource(Stop);
        minute.CancelAfter(TimeSpan.FromMinutes(1));
        while (await system.Queue.ClaimAsync("here:1", null, aloneHere: false, minute.Token) is null)
        {
            await Task.Delay(250, minute.Token);
        }

        await healthy.CommitAsync(Stop);
        await Assert.ThrowsAnyAsync<Exception>(async () => await stopped.CommitAsync(Stop));
    }

    [Fact]
    public async Task A_node_that_is_slow_is_left_its_work()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Postgres, connect: false, silentAfter: TimeSpan.FromSeconds(2));
        var (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test",
            cancellationToken: Stop
        );
        await system.Queue.ClaimAsync("elsewhere:7", null, aloneHere: false, Stop);
        await using var node = new RollcallDatabase(
            new StorageOptions(
                system.Database.DataFolder,
                new NpgsqlConnectionStringBuilder(system.Database.ConnectionString) { ApplicationName = "rollcall elsewhere:7" }.ToString()
            )
        );
        await using var slow = await node.OpenAsOwnerAsync(Stop);
        await Sql.ExecuteAsync(slow, null, "UPDATE operations SET lease_until = 0", Stop);
        await using var transaction = await slow.BeginTransactionAsync(Stop);
        await Sql.ExecuteAsync(slow, transaction, "UPDATE operations SET applied_to = 7 WHERE id = @id", Stop, ("@id", id));

        // The server itself is at work for it, for longer than anybody is waited for.
        var working = Sql.ExecuteAsync(slow, transaction, "SELECT pg_sleep(5)", Stop);
        while (!working.IsCompleted)
        {
            Assert.Null(await system.Queue.ClaimAsync("here:1", null, aloneHere: false, Stop));
            await Task.Delay(250, Stop);
        }

        await working;
        await transaction.CommitAsync(Stop);
        Assert.Equal(7, (await system.Queue.ClaimAsync("here:1", null, aloneHere: false, Stop))!.AppliedTo);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_a_node_gives_up_is_counted_by_why(Db db)
    {
        var work = new Working();
        await using var system = await Installation.StartAsync(
            cluster,
            db,
            connect: false,
            configure: services => services.Insert(0, ServiceDescriptor.Singleton<IOperationHandler>(work))
        );
        var code = $"METERED-{db}".ToUpperInvariant();
        var district = (await system.Get<DistrictService>().AddAsync(code, "Metered", "UTC", "test")).Id;
        var counted = new ConcurrentQueue<string?>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, l) =>
        {
            if (instrument.Name is "rollcall.operations.put_back" or "rollcall.operations.ended")
            {
                l.EnableMeasurementEvents(instrument);
            }
        };
        listener.SetMeasurementEventCallback<long>(
            (_, _, tags, _) =>
            {
                var by = tags.ToArray().ToDictionary(t => t.Key, t => (string?)t.Value);
                if (by["district"] == code)
                {
                    counted.Enqueue(by.GetValueOrDefault("why") ?? by["status"]);
                }
            }
        );
        listener.Start();

        // Another node takes it while this one works.
        Operation? theirs = null;
        await AskAsync(
            "test",
            async run =>
            {
                await using var connection = await system.Database.OpenAsync(Stop);
                await Sql.ExecuteAsync(connection, null, "UPDATE operations SET lease_until = 0", Stop);
                theirs = await system.Queue.ClaimAsync("elsewhere:7", run.Operation.Id, aloneHere: false, Stop);
                throw new Rollcall.Sync.Apply.FencedOffException();
            }
        );
        Assert.Equal(["taken over"], counted);
        Assert.True(await system.Queue.FinishAsync(theirs!, OperationStatus.Completed, null, null, null, Stop));

        // It is even done by the time this one looks up.
        await AskAsync(
            "test",
            async run =>
            {
                await using var connection = await system.Database.OpenAsync(Stop);
                await Sql.ExecuteAsync(connection, null, "UPDATE operations SET lease_until = 0", Stop);
                theirs = await system.Queue.ClaimAsync("elsewhere:7", run.Operation.Id, aloneHere: false, Stop);
                Assert.True(await system.Queue.FinishAsync(theirs!, OperationStatus.Completed, null, null, null, Stop));
                throw new Rollcall.Sync.Apply.FencedOffException();
            }
        );
        Assert.Equal(["taken over", "taken over"], counted);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Stop);
        await AskAsync(
            "test",
            async _ =>
            {
                await stop.CancelAsync();
                stop.Token.ThrowIfCancellationRequested();
            },
            stop.Token
        );
        Assert.Equal("parked", counted.Last());
        var parked = Assert.Single(
            await system.Queue.ListAsync(district, cancellationToken: Stop),
            o => o.Status == OperationStatus.Waiting
        );
        await system.Queue.CancelAsync(district, parked.Id, Stop);
        await AskAsync(DailySchedule.Actor, _ => throw new IOException("No room."));
        Assert.Equal("tried later", counted.Last());
        await AskAsync("test", run => system.Queue.FinishAsync(run.Operation, OperationStatus.Completed, null, null, null, Stop));
        Assert.Equal("completed", counted.Last());
        Assert.Equal(5, counted.Count);

        async Task AskAsync(string by, Func<OperationRun, Task> act, CancellationToken? until = null)
        {
            work.Act = act;
            var (id, _) = await system.Queue.EnqueueAsync(
                district,
                OperationKind.Export,
                null,
                preview: false,
                by,
                cancellationToken: Stop
            );
            Assert.True(await system.Get<OperationWorker>().WorkAsync(id, null, until ?? Stop));
        }
    }

    private sealed class Working : IOperationHandler
    {
        public Func<OperationRun, Task> Act { get; set; } = _ => Task.CompletedTask;

        public bool Handles(OperationKind kind) => true;

        public Task ExecuteAsync(OperationRun run, CancellationToken cancellationToken) => Act(run);
    }

    /// <summary>Time that passes when it is told to; timers run then.</summary>
    private sealed class HandTime : TimeProvider
    {
        private readonly List<Action> _timers = [];
        private long _now;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => _now;

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            _timers.Add(() => callback(state));
            return new NoTimer();
        }

        public void Pass(TimeSpan time)
        {
            _now += time.Ticks;
            _timers.ForEach(t => t());
        }

        private sealed class NoTimer : ITimer
        {
            public bool Change(TimeSpan dueTime, TimeSpan period) => true;

            public void Dispose() { }

            public ValueTask DisposeAsync() => ValueTask.CompletedTask;
        }
    }
}
