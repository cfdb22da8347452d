using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.DependencyInjection;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Storage;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Operations;

/// <summary>Nights that go wrong: tried again, given up, set aside, told of.</summary>
public sealed class TroubleTests(PostgresCluster cluster)
{
    private static readonly DateTimeOffset s_start = new(2026, 3, 2, 4, 0, 30, TimeSpan.Zero);
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    private static Task<bool> WorkAsync(Installation system) => system.Get<OperationWorker>().WorkAsync(null, null, Stop);

    private static async Task<int> SendDueAsync(NoticeService notices) =>
        (await Task.WhenAll(Enum.GetValues<NoticeChannel>().Select(c => notices.SendDueAsync(c, Stop)))).Sum();

    private async Task<(Installation System, ShiftedTime Clock)> NightAsync(
        Db db,
        MailOptions? mail = null,
        Action<IServiceCollection>? configure = null
    )
    {
        var clock = new ShiftedTime(s_start);
        var system = await Installation.StartAsync(cluster, db, time: clock, mail: mail, configure: configure);
        await system.ConfigureAsync(s => SettingsChange.Daily(s, "04:00", "full", s_start.AddDays(-1)));
        return (system, clock);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_night_that_fails_is_tried_again_with_growing_pauses_and_succeeds_once(Db db)
    {
        var (system, clock) = await NightAsync(db);
        await using var _ = system;
        var id = Assert.Single(await system.Get<DailySchedule>().EnqueueDueAsync(cancellationToken: Stop));
        system.Sandbox.Faults.Set("revision-changes");
        var waited = TimeSpan.Zero;
        for (var attempt = 1; attempt <= 3; attempt++)
        {
            Assert.True(await WorkAsync(system));
            var operation = await system.Queue.GetAsync(system.District.Id, id, Stop);
            Assert.Equal((OperationStatus.Waiting, attempt), (operation.Status, operation.Attempts));
            Assert.NotNull(operation.Error);
            var pause = operation.NotBefore!.Value - clock.GetUtcNow();
            Assert.True(pause > waited, $"{pause} after {waited}");
            waited = pause;

            // Not a moment earlier, and nothing else is queued for the date.
            Assert.False(await WorkAsync(system));
            Assert.Empty(await system.Get<DailySchedule>().EnqueueDueAsync(cancellationToken: Stop));
            clock.MoveTo(operation.NotBefore.Value.AddSeconds(1));
        }

        system.Sandbox.Faults.Set("");
        Assert.True(await WorkAsync(system));
        var ended = await system.Queue.GetAsync(system.District.Id, id, Stop);
        Assert.True(ended.Status is OperationStatus.Completed or OperationStatus.CompletedWithWarnings, $"{ended.Status} {ended.Error}");
        Assert.Null(ended.Error);
        Assert.Single(await system.Queue.ListAsync(system.District.Id, cancellationToken: Stop), o => o.DailyDate is not null);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task The_log_has_one_line_of_how_each_operation_was_left_and_names_nobody(Db db)
    {
        var tape = new LogTape();
        var (system, _) = await NightAsync(db, configure: tape.AddTo);
        await using var _ = system;
        var taken = 0;

        // A line is of one operation alone, and nothing more was said of how it ended.
        string Left(long id) => Assert.Single(Since(), l => l.StartsWith($"Operation {id} (", StringComparison.Ordinal));
        List<string> Since()
        {
            var lines = tape.Lines.Skip(taken).ToList();
            taken += lines.Count;
            return lines;
        }

        void Says(long id, string level, params string[] parts)
        {
            var line = Left(id);
            Assert.All(parts, p => Assert.Contains(p, line, StringComparison.Ordinal));
            Assert.EndsWith($"level={level}", line, StringComparison.Ordinal);
        }

        system.Sandbox.Faults.Set("revision-changes");
        var night = Assert.Single(await system.Get<DailySchedule>().EnqueueDueAsync(cancellationToken: Stop));
        Assert.True(await WorkAsync(system));
        Says(night, "Information", "(full) failed for now", "again at 2026-03-02 04:10", "the roster could not be read whole");

        system.Sandbox.Faults.Set("disabled-403");
        var asked = await system.SyncAsync();
        Assert.Equal(OperationStatus.Failed, asked.Status);
        Says(asked.Id, "Warning", "(full) failed: ", "denies access (status 403)");

        // The barcode that nothing follows may be somebody's.
        system.Sandbox.Faults.Set("");
        await using (var context = system.Database.CreateContext())
        {
            var site = await context.Sites.AsNoTracking().OrderBy(s => s.Id).FirstAsync(Stop);
            await context.Sites.ExecuteUpdateAsync(s => s.SetProperty(x => x.NextBarcode, "ENDS-HERE"), Stop);
            var stuck = await system.SyncAsync();
            Assert.Contains("No barcode follows ENDS-HERE", stuck.Error, StringComparison.Ordinal);
            var line = Left(stuck.Id);
            Assert.Contains($"(full) failed: 'rollcall operation show {stuck.Id}'", line, StringComparison.Ordinal);
            Assert.DoesNotContain("ENDS-HERE", line, StringComparison.Ordinal);
            await context.Sites.ExecuteUpdateAsync(s => s.SetProperty(x => x.NextBarcode, site.NextBarcode), Stop);
        }

        // Why it failed says whom it was about.
        var unknown = await Sync.PersonTests.RunAsync(system, "nobody-4711", fails: true);
        Assert.Contains("nobody-4711", unknown.Error, StringComparison.Ordinal);
        Says(unknown.Id, "Warning", "(person) failed: ", $"rollcall operation show {unknown.Id}");

        using (var stop = CancellationTokenSource.CreateLinkedTokenSource(Stop))
        {
            var (parked, _) = await system.Queue.EnqueueAsync(
                system.District.Id,
                OperationKind.FullSync,
                IntegrationKind.ClassLink,
                false,
                "test"
            );
            Assert.True(await system.Get<OperationWorker>().WorkAsync(parked, (stage, _, _, _) => stop.Cancel(), stop.Token));
            Assert.Equal(OperationStatus.Waiting, (await system.Queue.GetAsync(system.District.Id, parked, Stop)).Status);
            Says(parked, "Information", "(full) is parked");
            Assert.True(await system.Get<OperationWorker>().WorkAsync(parked, null, Stop));
            var ended = await system.Queue.GetAsync(system.District.Id, parked, Stop);
            var counts = OperationQueue.CountsOf(ended);
            Says(
                parked,
                "Information",
                $"(full) ended: {OperationQueue.StatusWord(ended.Status)}; {counts.Read} read, {counts.Created} created"
            );
        }

        var import = await system.ImportAsync("barcode,lastName,site\nL4712,Zanzibarian,S1\n");
        Says(import.Id, "Information", "(import) ended: completed; 1 read, 1 created");
        Assert.All(
            tape.Lines,
            line =>
                Assert.All(
                    (string[])["nobody-4711", "L4712", "Zanzibarian"],
                    word => Assert.DoesNotContain(word, line, StringComparison.OrdinalIgnoreCase)
                )
        );
    }

    [Fact]
    public async Task What_does_not_pass_by_itself_fails_at_once_and_a_person_need_not_wait_for_a_retry()
    {
        var (system, clock) = await NightAsync(Db.Sqlite);
        await using var _ = system;
        system.Sandbox.Faults.Set("disabled-403");
        var id = Assert.Single(await system.Get<DailySchedule>().EnqueueDueAsync(cancellationToken: Stop));
        Assert.True(await WorkAsync(system));
        Assert.Equal(OperationStatus.Failed, (await system.Queue.GetAsync(system.District.Id, id, Stop)).Status);

        clock.MoveTo(s_start.AddDays(1));
        system.Sandbox.Faults.Set("revision-changes");
        id = Assert.Single(await system.Get<DailySchedule>().EnqueueDueAsync(cancellationToken: Stop));
        Assert.True(await WorkAsync(system));
        Assert.False(await WorkAsync(system));
        system.Sandbox.Faults.Set("");
        var ended = await system.SyncAsync();
        Assert.Equal((id, "test"), (ended.Id, ended.RequestedBy));
        Assert.Null(ended.Error);

        // Asked for by a person, it fails before their eyes.
        system.Sandbox.Faults.Set("revision-changes");
        system.Sandbox.SetDay(1);
        Assert.Equal(OperationStatus.Failed, (await system.SyncAsync()).Status);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Sync_Now_in_an_outage_fails_before_their_eyes_and_the_night_goes_on_trying(Db db)
    {
        var (system, clock) = await NightAsync(db);
        await using var _ = system;
        var id = Assert.Single(await system.Get<DailySchedule>().EnqueueDueAsync(cancellationToken: Stop));
        system.Sandbox.Faults.Set("revision-changes");
        Assert.True(await WorkAsync(system));
        var failed = await system.SyncAsync();
        Assert.Equal((id, OperationStatus.Failed, "test", null), (failed.Id, failed.Status, failed.RequestedBy, failed.DailyDate));
        Assert.NotNull(failed.Error);
        var night = Assert.Single(await system.Queue.ListAsync(system.District.Id, cancellationToken: Stop), o => o.DailyDate is not null);
        Assert.Equal(
            (OperationStatus.Waiting, 1, DailySchedule.Actor, new DateOnly(2026, 3, 2)),
            (night.Status, night.Attempts, night.RequestedBy, night.DailyDate)
        );
        Assert.Empty(await system.Get<DailySchedule>().EnqueueDueAsync(cancellationToken: Stop));
        Assert.False(await WorkAsync(system));

        // The outage is over: the night is caught up without anybody.
        system.Sandbox.Faults.Set("");
        clock.MoveTo(night.NotBefore!.Value.AddSeconds(1));
        Assert.True(await WorkAsync(system));
        var ended = await system.Queue.GetAsync(system.District.Id, night.Id, Stop);
        Assert.True(ended.Status is OperationStatus.Completed or OperationStatus.CompletedWithWarnings, $"{ended.Status} {ended.Error}");
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task However_often_somebody_asks_in_an_outage_the_night_has_as_many_tries_left(Db db)
    {
        var (system, clock) = await NightAsync(db);
        await using var _ = system;
        await system
            .Get<NoticeService>()
            .SetAsync(system.District.Id, ["office@school.example"], NoticeEvents.Failed, null, null, "test", Stop);
        Assert.Single(await system.Get<DailySchedule>().EnqueueDueAsync(cancellationToken: Stop));
        system.Sandbox.Faults.Set("revision-changes");
        var asked = new List<long>();
        for (var tried = 0; tried <= OperationWorker.RetryPauses.Count; tried++)
        {
            for (var press = 0; press < 6; press++)
            {
                var failed = await system.SyncAsync();
                Assert.Equal((OperationStatus.Failed, "test", null), (failed.Status, failed.RequestedBy, failed.DailyDate));
                asked.Add(failed.Id);
                Assert.Equal(tried, (await TheNightAsync()).Attempts);
            }

            // The last of its tries is the night's too.
            var night = await TheNightAsync();
            Assert.Equal((OperationStatus.Waiting, DailySchedule.Actor), (night.Status, night.RequestedBy));
            Assert.InRange(night.NotBefore!.Value - clock.GetUtcNow(), TimeSpan.FromMinutes(9), TimeSpan.FromHours(4));
            Assert.Empty(await system.Get<DailySchedule>().EnqueueDueAsync(cancellationToken: Stop));
            if (tried < OperationWorker.RetryPauses.Count)
            {
                clock.MoveTo(night.NotBefore.Value.AddSeconds(1));
                Assert.True(await WorkAsync(system));
            }
        }

        await system.Get<Aftermath>().SettleAsync(Stop);
        Assert.All(
            await system.Get<NoticeService>().ListAsync(system.District.Id, cancellationToken: Stop),
            n => Assert.Contains(n.OperationId!.Value, asked)
        );
        system.Sandbox.Faults.Set("");
        clock.MoveTo((await TheNightAsync()).NotBefore!.Value.AddSeconds(1));
        Assert.True(await WorkAsync(system));
        Assert.Null((await TheNightAsync()).Error);

        async Task<Operation> TheNightAsync()
        {
            await using var context = system.Database.CreateContext();
            return await context.Operations.AsNoTracking().SingleAsync(o => o.DailyDate != null, Stop);
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_night_that_joins_a_sync_at_work_has_its_tries_left_when_that_fails(Db db)
    {
        var (system, _) = await NightAsync(db);
        await using var installation = system;
        system.Sandbox.Faults.Set("revision-changes");
        var (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test",
            cancellationToken: Stop
        );
        var joined = false;
        var failed = await system.Follower.RunAsync(
            system.District.Id,
            id,
            (stage, _, _, _) =>
            {
                if (stage == OperationStage.Pulling && !joined)
                {
                    joined = true;
                    Task.Run(() => system.Get<DailySchedule>().EnqueueDueAsync(cancellationToken: Stop)).GetAwaiter().GetResult();
                }
            },
            Stop
        );
        Assert.True(joined);
        Assert.Equal((OperationStatus.Failed, null), (failed.Status, failed.DailyDate));
        var night = Assert.Single(await system.Queue.ListAsync(system.District.Id, cancellationToken: Stop), o => o.DailyDate is not null);
        Assert.Equal((OperationStatus.Waiting, DailySchedule.Actor), (night.Status, night.RequestedBy));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_night_that_waits_does_not_begin_once_it_is_paused_stopped_or_switched_off(Db db)
    {
        var (system, clock) = await NightAsync(db);
        await using var _ = system;
        var day = 0;
        await EndsAsync("paused", () => system.ConfigureAsync(s => SettingsChange.Pause(s, "2026-03-02", "2026-03-02", default)));
        await EndsAsync("switched off", () => system.ConfigureAsync(s => SettingsChange.Daily(s, "off", null, clock.GetUtcNow())));
        await system.ConfigureAsync(s => SettingsChange.Daily(s, "04:00", null, s_start.AddDays(-1)));
        await EndsAsync(
            "Somebody looks into it",
            () => system.ConfigureAsync(s => s with { Daily = s.Daily with { StoppedBecause = "Somebody looks into it." } })
        );
        await system.ConfigureAsync(s => s with { Daily = s.Daily with { StoppedBecause = null } });
        await EndsAsync("off", () => system.Integrations.TurnOffAsync(system.District.Id, IntegrationKind.ClassLink, "test", Stop));
        await system.Integrations.TurnOnAsync(system.District.Id, IntegrationKind.ClassLink, clear: false, "test", cancellationToken: Stop);

        // Nobody is told that anything failed, and five of these are no five failed nights.
        await system.Get<Aftermath>().SettleAsync(Stop);
        Assert.Empty(await system.Get<NoticeService>().ListAsync(system.District.Id, cancellationToken: Stop));

        // What somebody asks for runs, though the night had asked first.
        clock.MoveTo(s_start.AddDays(day));
        var night = Assert.Single(await system.Get<DailySchedule>().EnqueueDueAsync(cancellationToken: Stop));
        await system.ConfigureAsync(s => SettingsChange.Pause(s, "2026-03-01", "2026-03-30", default));
        var asked = await system.SyncAsync();
        Assert.Equal((night, "test", null), (asked.Id, asked.RequestedBy, asked.Error));

        async Task EndsAsync(string says, Func<Task> act)
        {
            foreach (var tried in (bool[])[false, true])
            {
                clock.MoveTo(s_start.AddDays(day));
                await using (var context = system.Database.CreateContext())
                {
                    await context.Operations.ExecuteDeleteAsync(Stop);
                }

                var id = Assert.Single(await system.Get<DailySchedule>().EnqueueDueAsync(cancellationToken: Stop));
                if (tried)
                {
                    system.Sandbox.Faults.Set("revision-changes");
                    Assert.True(await WorkAsync(system));
                    system.Sandbox.Faults.Set("");
                }

                await act();
                clock.MoveTo(s_start.AddDays(day).AddHours(1));
                await WorkAsync(system);
                var operation = await system.Queue.GetAsync(system.District.Id, id, Stop);
                Assert.Equal((OperationStatus.Cancelled, false), (operation.Status, operation.Planned));
                Assert.Contains(says, operation.Error, StringComparison.Ordinal);
                Assert.NotNull(operation.FinishedAt);
                Assert.False(await WorkAsync(system));
                await UndoAsync();
            }

            day++;
        }

        async Task UndoAsync()
        {
            await system.Integrations.TurnOnAsync(
                system.District.Id,
                IntegrationKind.ClassLink,
                clear: false,
                "test",
                cancellationToken: Stop
            );
            await system.ConfigureAsync(s =>
                s with
                {
                    Daily = s.Daily with { At = new TimeOnly(4, 0), Since = s_start.AddDays(-1), StoppedBecause = null, Pauses = [] },
                }
            );
        }
    }

    [Fact]
    public async Task A_fault_of_the_database_that_comes_wrapped_may_pass_too()
    {
        var clock = new HurriedTime(s_start);
        await using var system = await Installation.StartAsync(
            cluster,
            Db.Sqlite,
            time: clock,
            configure: services => services.Insert(0, ServiceDescriptor.Singleton<IOperationHandler>(new Failing()))
        );
        await system.ConfigureAsync(s => SettingsChange.Daily(s, "04:00", "full", s_start.AddDays(-1)));
        var id = Assert.Single(await system.Get<DailySchedule>().EnqueueDueAsync(cancellationToken: Stop));
        Assert.True(await WorkAsync(system));
        var operation = await system.Queue.GetAsync(system.District.Id, id, Stop);
        Assert.Equal((OperationStatus.Waiting, 1), (operation.Status, operation.Attempts));
    }

    private sealed class Failing : IOperationHandler
    {
        public bool Handles(OperationKind kind) => true;

        public Task ExecuteAsync(OperationRun run, CancellationToken cancellationToken) =>
            throw new DbUpdateException("The rows could not be saved", new Microsoft.Data.Sqlite.SqliteException("disk I/O error", 10));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_undo_that_stops_the_nights_ends_one_that_waits_and_not_what_somebody_asked_for(Db db)
    {
        var (system, clock) = await NightAsync(db);
        await using var _ = system;
        var run = await system.SyncAsync();
        clock.MoveTo(s_start.AddDays(1));
        system.Sandbox.SetDay(1);
        var night = Assert.Single(await system.Get<DailySchedule>().EnqueueDueAsync(cancellationToken: Stop));
        system.Sandbox.Faults.Set("revision-changes");
        Assert.True(await WorkAsync(system));
        Assert.Equal(OperationStatus.Waiting, (await system.Queue.GetAsync(system.District.Id, night, Stop)).Status);
        system.Sandbox.Faults.Set("");
        var before = (await system.AllPatronsAsync()).Count;
        var undo = await system
            .Get<Rollcall.Sync.Undo.UndoService>()
            .EnqueueAsync(system.District.Id, run.Id, null, "somebody", cancellationToken: Stop);
        var (asked, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.ChangesSync,
            IntegrationKind.ClassLink,
            preview: false,
            "somebody",
            cancellationToken: Stop
        );
        await system.Follower.RunAsync(system.District.Id, undo, null, Stop);
        Assert.NotEqual(before, (await system.AllPatronsAsync()).Count);
        var ended = await system.Queue.GetAsync(system.District.Id, night, Stop);
        Assert.Equal((OperationStatus.Cancelled, null), (ended.Status, ended.NotBefore));
        Assert.Contains($"Operation {run.Id} was undone by somebody", ended.Error, StringComparison.Ordinal);
        Assert.NotNull(ended.FinishedAt);
        Assert.Equal(OperationStatus.Waiting, (await system.Queue.GetAsync(system.District.Id, asked, Stop)).Status);

        // Nothing of the night comes back by itself, and what somebody resumes begins with the next one.
        await system.Queue.CancelAsync(system.District.Id, asked, Stop);
        clock.MoveTo(s_start.AddDays(1).AddHours(2));
        Assert.False(await WorkAsync(system));
        Assert.Empty(await system.Get<DailySchedule>().EnqueueDueAsync(cancellationToken: Stop));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Five_failed_nights_set_a_district_aside_and_a_sync_that_succeeds_brings_it_back(Db db)
    {
        var (system, clock) = await NightAsync(db);
        await using var _ = system;
        system.Sandbox.Faults.Set("disabled-403");
        for (var night = 0; night < 5; night++)
        {
            clock.MoveTo(s_start.AddDays(night));
            Assert.Single(await system.Get<DailySchedule>().EnqueueDueAsync(cancellationToken: Stop));
            Assert.True(await WorkAsync(system));
            Assert.Null(await StoppedAsync());
            await system.Get<Aftermath>().SettleAsync(Stop);
            if (night == 2)
            {
                // Somebody tries by day, and is no luckier.
                Assert.Equal(OperationStatus.Failed, (await system.SyncAsync()).Status);
                await system.Get<Aftermath>().SettleAsync(Stop);
            }
        }

        var why = await StoppedAsync();
        Assert.Contains("5 nights", why, StringComparison.Ordinal);
        Assert.Contains("Sync Now", why, StringComparison.Ordinal);
        clock.MoveTo(s_start.AddDays(5));
        Assert.Empty(await system.Get<DailySchedule>().EnqueueDueAsync(cancellationToken: Stop));

        // Approving what an earlier night held proves nothing of the roster service.
        await using (var context = system.Database.CreateContext())
        {
            context.Operations.Add(
                new Operation
                {
                    DistrictId = system.District.Id,
                    Kind = OperationKind.FullSync,
                    Integration = IntegrationKind.ClassLink,
                    Status = OperationStatus.Completed,
                    CreatedAt = s_start.AddDays(-1),
                    ApprovedAt = clock.GetUtcNow(),
                    FinishedAt = clock.GetUtcNow(),
                }
            );
            await context.SaveChangesAsync(Stop);
        }

        await system.Get<Aftermath>().SettleAsync(Stop);
        Assert.Equal(why, await StoppedAsync());

        system.Sandbox.Faults.Set("");
        Assert.Null((await system.SyncAsync()).Error);
        await system.Get<Aftermath>().SettleAsync(Stop);
        Assert.Null(await StoppedAsync());
        clock.MoveTo(s_start.AddDays(6));
        Assert.Single(await system.Get<DailySchedule>().EnqueueDueAsync(cancellationToken: Stop));

        async Task<string?> StoppedAsync() =>
            IntegrationService
                .SettingsOf((await system.Integrations.FindAsync(system.District.Id, IntegrationKind.ClassLink, Stop))!)
                .Daily.StoppedBecause;
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Notices_reach_mail_and_webhook_once_signed_and_without_a_persons_name(Db db)
    {
        using var mail = new MailServer();
        await using var hook = await HookServer.StartAsync();
        var (system, _) = await NightAsync(db, new MailOptions("127.0.0.1", mail.Port, "rollcall@school.example", Plain: true));
        await using var __ = system;
        var notices = system.Get<NoticeService>();
        await notices.SetAsync(
            system.District.Id,
            ["office@school.example", "tech@school.example"],
            NoticeEvents.Failed | NoticeEvents.Warnings | NoticeEvents.Held,
            hook.Url,
            "a secret of enough length",
            "test",
            Stop
        );
        await system.SyncAsync();
        system.Sandbox.Faults.Set("disabled-403");
        system.Sandbox.SetDay(1);
        var failed = await system.SyncAsync();
        Assert.Equal(OperationStatus.Failed, failed.Status);

        // Three nodes at once.
        await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => system.Get<Aftermath>().SettleAsync(Stop)));
        await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => SendDueAsync(notices)));
        var told = await notices.ListAsync(system.District.Id, cancellationToken: Stop);
        Assert.All(told, n => Assert.Equal((NoticeStatus.Sent, null), (n.Status, n.Error)));
        Assert.Equal(3, told.Count(n => n.OperationId == failed.Id));
        Assert.Equal(told.Count(n => n.Channel == NoticeChannel.Email), mail.Messages.Count);
        Assert.Equal(told.Count(n => n.Channel == NoticeChannel.Webhook), hook.Posts.Count);
        Assert.Contains(mail.Messages, m => m.Contains("Subject: Riverbend: the sync failed", StringComparison.Ordinal));

        // To everybody who is told, each by a mail of their own, and from the address of the settings.
        Assert.All(mail.Envelopes, e => Assert.Equal("rollcall@school.example", e.From));
        Assert.Equal(
            told.Where(n => n.Channel == NoticeChannel.Email).Select(n => n.Target).Order(StringComparer.Ordinal),
            mail.Envelopes.Select(e => Assert.Single(e.To)).Order(StringComparer.Ordinal)
        );
        Assert.Equal(
            ["office@school.example", "tech@school.example"],
            mail.Envelopes.SelectMany(e => e.To).Distinct().Order(StringComparer.Ordinal)
        );

        foreach (var (headers, body) in hook.Posts)
        {
            using var hmac = IncrementalHash.CreateHMAC(HashAlgorithmName.SHA256, Encoding.ASCII.GetBytes("a secret of enough length"));
            hmac.AppendData(Encoding.UTF8.GetBytes(headers["Rollcall-Timestamp"] + "." + body));
            Assert.Equal("sha256=" + Convert.ToHexString(hmac.GetHashAndReset()).ToLowerInvariant(), headers["Rollcall-Signature"]);
        }

        // Nodes send beside each other, so in any order.
        var last = hook
            .Posts.Select(p => JsonDocument.Parse(p.Body).RootElement)
            .Single(b => b.GetProperty("operation").GetInt64() == failed.Id);
        Assert.Equal(("failed", failed.Id), (last.GetProperty("event").GetString(), last.GetProperty("operation").GetInt64()));
        var names = (await system.AllPatronsAsync()).Select(p => p.LastName).Where(n => n.Length > 5).ToHashSet();
        Assert.DoesNotContain(
            mail.Messages.Concat(hook.Posts.Select(p => p.Body)),
            text => names.Any(n => text.Contains(n, StringComparison.Ordinal))
        );
        Assert.Equal(0, await SendDueAsync(notices));

        // One that failed half-way has written something, and says so.
        Assert.Contains(mail.Messages, m => m.Contains("No patron was changed by what failed", StringComparison.Ordinal));
        await using (var context = system.Database.CreateContext())
        {
            await context
                .Operations.Where(o => o.Id == failed.Id)
                .ExecuteUpdateAsync(s => s.SetProperty(o => o.Settled, false).SetProperty(o => o.AppliedTo, 7), Stop);
        }

        await system.Get<Aftermath>().SettleAsync(Stop);
        await SendDueAsync(notices);
        Assert.Contains("What had been written before stays", mail.Messages[^1], StringComparison.Ordinal);
        Assert.DoesNotContain("No patron was changed", mail.Messages[^1], StringComparison.Ordinal);

        // One is one.
        await using (var context = system.Database.CreateContext())
        {
            await context
                .Operations.Where(o => o.Id == failed.Id)
                .ExecuteUpdateAsync(
                    s =>
                        s.SetProperty(o => o.Settled, false)
                            .SetProperty(o => o.Status, OperationStatus.NeedsApproval)
                            .SetProperty(o => o.Counts, """{"held":1}""")
                            .SetProperty(
                                o => o.Warnings,
                                """[{"code":"a","message":"Something small","count":3},{"code":"held","message":"14 of 60 would go","count":1}]"""
                            ),
                    Stop
                );
        }

        await system.Get<Aftermath>().SettleAsync(Stop);
        await SendDueAsync(notices);
        Assert.Contains("1 change waits for your approval", mail.Messages[^1], StringComparison.Ordinal);
        Assert.Contains("1 change is more than is usual at once and was not written", mail.Messages[^1], StringComparison.Ordinal);
        Assert.Contains("0 people read: 1 held.", mail.Messages[^1], StringComparison.Ordinal);
        Assert.Matches(@"(?s)14 of 60 would go.*Something small", mail.Messages[^1]);
        Assert.Matches(@"Message-Id: <[^>]+@school\.example>", mail.Messages[^1]);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task People_who_wait_in_a_hold_that_was_told_are_not_told_of_every_night(Db db)
    {
        await using var hook = await HookServer.StartAsync();
        var (system, clock) = await NightAsync(db);
        await using var _ = system;
        await system
            .Get<NoticeService>()
            .SetAsync(system.District.Id, [], NoticeEvents.Held, hook.Url, "a secret of enough length", "test", Stop);
        system.Sandbox.OnlyMine();
        for (var i = 1; i <= 60; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", $"Person{i:00}", phone: "1");
        }

        await system.SyncAsync();
        Rename(1, 14, "2026-01-01T00:00:00.000Z", "1");
        var hold = await system.SyncAsync();
        Assert.Equal((OperationStatus.NeedsApproval, 14), (hold.Status, OperationQueue.CountsOf(hold).Held));
        Assert.Equal([hold.Id], await ToldAsync());
        for (var night = 2; night <= 3; night++)
        {
            clock.MoveTo(clock.GetUtcNow().AddHours(20));
            Rename(1, 8, "2099-01-01T00:00:00.000Z", $"{night}");
            var changes = await system.SyncAsync(kind: OperationKind.ChangesSync);
            Assert.Equal(
                (OperationKind.ChangesSync, OperationStatus.NeedsApproval, 8L),
                (changes.Kind, changes.Status, OperationQueue.CountsOf(changes).Held)
            );
            Assert.Equal([hold.Id], await ToldAsync());
        }

        // What nobody has heard of is told.
        Rename(20, 40, "2099-01-01T00:00:00.000Z", "1");
        var more = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal(OperationStatus.NeedsApproval, more.Status);
        Assert.Equal([hold.Id, more.Id], await ToldAsync());

        void Rename(int from, int to, string modified, string phone)
        {
            for (var i = from; i <= to; i++)
            {
                system.Sandbox.Person($"p{i:00}", "Pat", $"Renamed{i:00}", phone: phone, modified: modified);
            }
        }

        async Task<IEnumerable<long>> ToldAsync()
        {
            await system.Get<Aftermath>().SettleAsync(Stop);
            return (await system.Get<NoticeService>().ListAsync(system.District.Id, cancellationToken: Stop))
                .Select(n => n.OperationId!.Value)
                .Order();
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_place_that_never_heard_of_a_hold_hears_of_it_with_the_next_night(Db db)
    {
        using var mail = new MailServer();
        await using var hook = await HookServer.StartAsync();
        var (system, clock) = await NightAsync(db, new MailOptions("127.0.0.1", mail.Port, "rollcall@school.example", Plain: true));
        await using var _ = system;
        var notices = system.Get<NoticeService>();
        await notices.SetAsync(system.District.Id, [], NoticeEvents.Held, hook.Url, "a secret of enough length", "test", Stop);
        system.Sandbox.OnlyMine();
        for (var i = 1; i <= 60; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", $"Person{i:00}", phone: "1");
        }

        await system.SyncAsync();
        Rename(14, "2026-01-01T00:00:00.000Z", "1");
        hook.Status = 500;
        var hold = await system.SyncAsync();
        Assert.Equal(OperationStatus.NeedsApproval, hold.Status);
        await system.Get<Aftermath>().SettleAsync(Stop);
        for (var attempt = 1; attempt <= 5; attempt++)
        {
            Assert.Equal(1, await SendDueAsync(notices));
            clock.MoveTo((await notices.ListAsync(system.District.Id, cancellationToken: Stop))[0].DueAt.AddSeconds(1));
        }

        Assert.Equal([(hold.Id, hook.Url, NoticeStatus.Failed)], await ToldAsync());

        // It was given up: nobody has heard of it. Then once is enough.
        hook.Status = 200;
        var night = await PassNightAsync(2);
        List<(long, string, NoticeStatus)> told = [(hold.Id, hook.Url, NoticeStatus.Failed), (night, hook.Url, NoticeStatus.Sent)];
        Assert.Equal(told, await ToldAsync());
        await PassNightAsync(3);
        Assert.Equal(told, await ToldAsync());

        // Somebody who is told since then has heard of nothing, and nobody else hears of it again.
        await notices.SetAsync(system.District.Id, ["office@school.example"], null, null, null, "test", Stop);
        night = await PassNightAsync(4);
        told.Add((night, "office@school.example", NoticeStatus.Sent));
        Assert.Equal(told, await ToldAsync());

        // Where only a place was told that is told no more, nobody was.
        await using var other = await HookServer.StartAsync();
        await notices.SetAsync(system.District.Id, null, null, other.Url, "another secret of enough length", "test", Stop);
        night = await PassNightAsync(5);
        told.Add((night, other.Url, NoticeStatus.Sent));
        Assert.Equal(told, await ToldAsync());
        await PassNightAsync(6);
        Assert.Equal(told, await ToldAsync());

        async Task<long> PassNightAsync(int number)
        {
            clock.MoveTo(clock.GetUtcNow().AddHours(20));
            Rename(8, "2099-01-01T00:00:00.000Z", $"{number}");
            var changes = await system.SyncAsync(kind: OperationKind.ChangesSync);
            Assert.Equal(
                (OperationKind.ChangesSync, OperationStatus.NeedsApproval, 8L),
                (changes.Kind, changes.Status, OperationQueue.CountsOf(changes).Held)
            );
            await system.Get<Aftermath>().SettleAsync(Stop);
            await SendDueAsync(notices);
            return changes.Id;
        }

        void Rename(int to, string modified, string phone)
        {
            for (var i = 1; i <= to; i++)
            {
                system.Sandbox.Person($"p{i:00}", "Pat", $"Renamed{i:00}", phone: phone, modified: modified);
            }
        }

        async Task<IEnumerable<(long, string, NoticeStatus)>> ToldAsync() =>
            (await notices.ListAsync(system.District.Id, cancellationToken: Stop))
                .OrderBy(n => n.Id)
                .Select(n => (n.OperationId!.Value, n.Target, n.Status));
    }

    [Fact]
    public async Task A_place_that_does_not_answer_is_tried_with_pauses_given_up_and_shown()
    {
        await using var hook = await HookServer.StartAsync();
        hook.Status = 500;
        var (system, clock) = await NightAsync(Db.Sqlite);
        await using var _ = system;
        var notices = system.Get<NoticeService>();
        await notices.SetAsync(system.District.Id, [], NoticeEvents.Warnings, hook.Url, "a secret of enough length", "test", Stop);
        await system.SyncAsync();
        await system.Get<Aftermath>().SettleAsync(Stop);
        for (var attempt = 1; attempt <= 5; attempt++)
        {
            Assert.Equal(1, await SendDueAsync(notices));
            Assert.Equal(0, await SendDueAsync(notices));
            var notice = Assert.Single(await notices.ListAsync(system.District.Id, cancellationToken: Stop));
            Assert.Equal((attempt, attempt < 5 ? NoticeStatus.Waiting : NoticeStatus.Failed), (notice.Attempts, notice.Status));
            Assert.Contains("500", notice.Error, StringComparison.Ordinal);
            clock.MoveTo(notice.DueAt.AddSeconds(1));
        }

        Assert.Equal(0, await SendDueAsync(notices));
        Assert.Equal(5, hook.Posts.Count);

        // Where nobody is told any more nothing is sent, and nothing signed with what another place knows.
        await system.SyncAsync();
        await system.Get<Aftermath>().SettleAsync(Stop);
        Assert.Equal(1, await SendDueAsync(notices));
        await using var other = await HookServer.StartAsync();
        await notices.SetAsync(system.District.Id, null, null, other.Url, "another secret of enough length", "test", Stop);
        var again = (await notices.ListAsync(system.District.Id, cancellationToken: Stop))[0];
        clock.MoveTo(again.DueAt.AddSeconds(1));
        Assert.Equal(1, await SendDueAsync(notices));
        again = (await notices.ListAsync(system.District.Id, cancellationToken: Stop))[0];
        Assert.Equal((NoticeStatus.Failed, 2), (again.Status, again.Attempts));
        Assert.Contains("Nobody is told there any more", again.Error, StringComparison.Ordinal);
        Assert.Equal((6, 0), (hook.Posts.Count, other.Posts.Count));
        await notices.SetAsync(system.District.Id, null, null, hook.Url, "a secret of enough length", "test", Stop);

        // A redirect is not followed anywhere.
        hook.Status = 302;
        var tested = Assert.Single(await notices.TestAsync(system.District, Stop));
        Assert.Contains("redirect", tested.Error, StringComparison.Ordinal);

        // Whoever tries it for ever is asked to wait.
        for (var i = 1; i < 60; i++)
        {
            await notices.TestAsync(system.District, Stop);
        }

        var many = await Assert.ThrowsAsync<RollcallException>(() => notices.TestAsync(system.District, Stop));
        Assert.Contains("Many tests", many.Message, StringComparison.Ordinal);
        clock.MoveTo(clock.GetUtcNow().AddMinutes(11));
        await notices.TestAsync(system.District, Stop);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_night_that_is_cancelled_as_it_fails_is_cancelled_and_not_tried_again(Db db)
    {
        var (system, _) = await NightAsync(db);
        await using var __ = system;
        var id = Assert.Single(await system.Get<DailySchedule>().EnqueueDueAsync(cancellationToken: Stop));
        var claimed = await system.Queue.ClaimAsync("one", null, aloneHere: false, Stop);
        await system.Queue.CancelAsync(system.District.Id, id, Stop);
        Assert.False(await system.Queue.RetryLaterAsync(claimed!, TimeSpan.FromMinutes(10), "No answer.", Stop));
        Assert.Equal(OperationStatus.Running, (await system.Queue.GetAsync(system.District.Id, id, Stop)).Status);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_failed_before_a_place_was_named_is_no_news_to_it(Db db)
    {
        await using var hook = await HookServer.StartAsync();
        var (system, _) = await NightAsync(db);
        await using var __ = system;
        var notices = system.Get<NoticeService>();
        system.Sandbox.Faults.Set("disabled-403");
        Assert.Equal(OperationStatus.Failed, (await system.SyncAsync()).Status);

        // No server ran meanwhile, and settled it.
        await notices.SetAsync(system.District.Id, [], NoticeEvents.Failed, hook.Url, "a secret of enough length", "test", Stop);
        await system.Get<Aftermath>().SettleAsync(Stop);
        Assert.Empty(await notices.ListAsync(system.District.Id, cancellationToken: Stop));

        // What fails from now on is, and what failed until then is told to whoever was named then.
        var failed = await system.SyncAsync();
        await using var other = await HookServer.StartAsync();
        await notices.SetAsync(system.District.Id, null, null, other.Url, "another secret of enough length", "test", Stop);
        await system.Get<Aftermath>().SettleAsync(Stop);
        var notice = Assert.Single(await notices.ListAsync(system.District.Id, cancellationToken: Stop));
        Assert.Equal((failed.Id, hook.Url), (notice.OperationId, notice.Target));
    }

    [Fact]
    public async Task Places_that_cannot_be_told_are_refused_in_words()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Sqlite);
        var notices = system.Get<NoticeService>();
        Task Set(string[]? emails = null, string? hook = null, string? secret = null) =>
            notices.SetAsync(system.District.Id, emails, null, hook, secret, "test", Stop);
        foreach (
            var odd in (string[])
                ["office", "a@b", "a b@school.example", "x@school.example\r\nBcc: y@z.example", "<a@school.example>", "a@school.example."]
        )
        {
            var refused = await Assert.ThrowsAsync<RollcallException>(() => Set([odd]));
            Assert.Contains("no email address", refused.Message, StringComparison.Ordinal);
        }

        await RefusedAsync("secret", () => Set(hook: "https://hooks.example/x"));
        await RefusedAsync("16 characters", () => Set(hook: "https://hooks.example/x", secret: "short"));
        await RefusedAsync("https", () => Set(hook: "ftp://hooks.example/x", secret: "a secret of enough length"));
        await RefusedAsync("no webhook", () => Set(secret: "a secret of enough length"));
        await RefusedAsync("Nobody", () => notices.TestAsync(system.District, Stop));
        Assert.Equal(
            ("", null),
            ((await notices.FindAsync(system.District.Id, Stop)).Emails, (await notices.FindAsync(system.District.Id, Stop)).WebhookUrl)
        );

        // Without a mail server of the installation, who tries is told so.
        await Set(["office@school.example"]);
        Assert.Contains(
            "ROLLCALL_SMTP_HOST",
            Assert.Single(await notices.TestAsync(system.District, Stop)).Error,
            StringComparison.Ordinal
        );

        // A public installation calls no private address, by name or number.
        await using var strict = new RollcallDatabase(new StorageOptions(system.Database.DataFolder));
        using var guarded = new NoticeService(
            strict,
            system.Get<Secrets>(),
            new RollcallOptions(new StorageOptions(system.Database.DataFolder)),
            TimeProvider.System
        );
        foreach (
            var inside in (string[])
                ["https://127.0.0.1/x", "https://localhost/x", "https://169.254.169.254/x", "http://hooks.example/x", "https://[::1]/x"]
        )
        {
            await Assert.ThrowsAsync<RollcallException>(() =>
                guarded.SetAsync(system.District.Id, null, null, inside, "a secret of enough length", "test", Stop)
            );
        }

        static async Task RefusedAsync(string says, Func<Task> act) =>
            Assert.Contains(says, (await Assert.ThrowsAsync<RollcallException>(act)).Message, StringComparison.Ordinal);
    }
}
