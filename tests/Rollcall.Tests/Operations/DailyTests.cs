using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.DependencyInjection;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Retention;
using Rollcall.Storage;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Operations;

/// <summary>Daily Operations over simulated weeks: each date once, at the right hour, over clock changes, downtime and pauses.</summary>
public sealed class DailyTests(PostgresCluster cluster)
{
    private static readonly DateTimeOffset s_before = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    [Theory]
    [InlineData("America/New_York", "2026-03-01", "02:30")]
    [InlineData("America/New_York", "2026-10-25", "01:30")]
    [InlineData("Europe/Berlin", "2026-03-22", "02:00")]
    [InlineData("Australia/Lord_Howe", "2026-09-27", "02:15")]
    [InlineData("Asia/Kolkata", "2026-03-22", "00:00")]
    [InlineData("America/St_Johns", "2026-10-25", "23:45")]
    public void Each_date_is_due_once_and_not_before_its_time(string zoneName, string from, string at)
    {
        var zone = TimeZoneInfo.FindSystemTimeZoneById(zoneName);
        var time = TimeOnly.ParseExact(at, "HH:mm");
        var daily = new DailyOperations { At = time, Since = s_before };
        var seen = new List<DateOnly>();
        var start = new DateTimeOffset(
            DateOnly.Parse(from, System.Globalization.CultureInfo.InvariantCulture).ToDateTime(default),
            TimeSpan.Zero
        );
        for (var now = start; now < start.AddDays(21); now = now.AddMinutes(1))
        {
            var due = DailySchedule.Due(daily, zone, now)!.Value;
            if (seen.Count > 0 && seen[^1] == due)
            {
                continue;
            }

            // A new date comes right at its time, or at the end of a gap that swallowed it.
            if (seen.Count > 0)
            {
                Assert.Equal(seen[^1].AddDays(1), due);
                var local = TimeZoneInfo.ConvertTime(now, zone).DateTime;
                Assert.InRange(local - due.ToDateTime(time), TimeSpan.Zero, TimeSpan.FromMinutes(60));
                Assert.True(local - due.ToDateTime(time) == TimeSpan.Zero || zone.IsInvalidTime(due.ToDateTime(time)), $"{local}");
            }

            seen.Add(due);
        }

        Assert.InRange(seen.Count, 21, 22);
    }

    [Fact]
    public void Each_district_is_proposed_a_minute_after_four_and_neighbours_have_others()
    {
        var proposed = Enumerable.Range(1, 60).Select(DailySchedule.Proposed).ToList();
        Assert.Equal(new TimeOnly(4, 0), proposed[0]);
        Assert.All(proposed, p => Assert.InRange(p, new TimeOnly(4, 0), new TimeOnly(4, 59)));
        Assert.Equal(60, proposed.Distinct().Count());

        var settings = SettingsChange.Daily(new IntegrationSettings(), "Default ", "changes", s_before, proposed[2]);
        Assert.Equal((proposed[2], s_before, true), (settings.Daily.At, settings.Daily.Since, settings.Daily.ChangesOnly));
        Assert.Null(SettingsChange.Daily(settings, "off", null, s_before, proposed[2]).Daily.At);
        Assert.Contains(
            "'default'",
            Assert.Throws<RollcallException>(() => SettingsChange.Daily(settings, "four", null, s_before, proposed[2])).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Nothing_is_due_before_it_was_set_while_paused_or_stopped()
    {
        var zone = TimeZoneInfo.Utc;
        var now = new DateTimeOffset(2026, 5, 5, 9, 0, 0, TimeSpan.Zero);
        var daily = new DailyOperations { At = new TimeOnly(4, 0), Since = now };
        Assert.Null(DailySchedule.Due(daily, zone, now));
        Assert.Null(DailySchedule.Due(daily, zone, now.AddHours(18)));
        Assert.Equal(new DateOnly(2026, 5, 6), DailySchedule.Due(daily, zone, now.AddHours(19)));
        daily = daily with { Pauses = [new PauseDates(new DateOnly(2026, 5, 6), new DateOnly(2026, 5, 7))] };
        Assert.Null(DailySchedule.Due(daily, zone, now.AddHours(19)));
        Assert.Null(DailySchedule.Due(daily, zone, now.AddDays(2).AddHours(10)));
        Assert.Equal(new DateOnly(2026, 5, 8), DailySchedule.Due(daily, zone, now.AddDays(2).AddHours(19)));
        Assert.Null(DailySchedule.Due(daily with { StoppedBecause = "undone" }, zone, now.AddDays(9)));
        Assert.Null(DailySchedule.Due(daily with { At = null }, zone, now.AddDays(9)));
    }

    [Fact]
    public void What_is_promised_next_is_what_the_schedule_does()
    {
        var zone = TimeZoneInfo.FindSystemTimeZoneById("America/New_York");
        var daily = new DailyOperations { At = new TimeOnly(2, 30), Since = s_before };
        DateTime? Next(DailyOperations settings, string local, params string[] taken)
        {
            var now = DateTime.Parse(local, System.Globalization.CultureInfo.InvariantCulture);
            return
                DailySchedule.Next(
                    settings,
                    zone,
                    new DateTimeOffset(now, zone.GetUtcOffset(now)),
                    taken.Select(t => DateOnly.ParseExact(t, "yyyy-MM-dd")).ToHashSet()
                )
                    is { } next
                ? TimeZoneInfo.ConvertTime(next, zone).DateTime
                : null;
        }

        static DateTime At(string local) => DateTime.Parse(local, System.Globalization.CultureInfo.InvariantCulture);
        Assert.Equal(At("2026-03-05 02:30"), Next(daily, "2026-03-05 01:00", "2026-03-04"));

        // The clocks go from two to three.
        Assert.Equal(At("2026-03-08 03:00"), Next(daily, "2026-03-08 01:00", "2026-03-07"));

        // The date has had its night: by Sync Now before its hour, or before the hour was moved.
        Assert.Equal(At("2026-03-06 02:30"), Next(daily, "2026-03-05 01:00", "2026-03-04", "2026-03-05"));
        Assert.Equal(At("2026-03-06 22:00"), Next(daily with { At = new TimeOnly(22, 0) }, "2026-03-05 12:00", "2026-03-04", "2026-03-05"));

        // Due and not there yet: at once.
        Assert.Equal(At("2026-03-05 09:00"), Next(daily, "2026-03-05 09:00", "2026-03-04"));
        Assert.Equal(At("2026-03-06 02:30"), Next(daily, "2026-03-05 09:00", "2026-03-05"));

        // Over pauses, and not where nothing runs.
        var paused = daily with
        {
            Pauses = [new PauseDates(new DateOnly(2026, 3, 4), new DateOnly(2026, 3, 9))],
        };
        Assert.Equal(At("2026-03-10 02:30"), Next(paused, "2026-03-04 09:00"));
        Assert.Null(Next(daily with { Pauses = [new PauseDates(default, DateOnly.MaxValue)] }, "2026-03-04 09:00"));
        Assert.Null(Next(daily with { StoppedBecause = "undone" }, "2026-03-04 09:00"));
        Assert.Null(Next(daily with { At = null }, "2026-03-04 09:00"));

        // What a clock wrote that had jumped ahead holds nothing up; one that is a little ahead is believed.
        var far = new DateTimeOffset(2027, 1, 1, 0, 0, 0, TimeSpan.Zero);
        Assert.Equal(At("2026-03-05 09:00"), Next(daily with { Since = far }, "2026-03-05 09:00", "2026-03-04"));
        Assert.Equal(At("2026-03-06 02:30"), Next(daily with { Since = far }, "2026-03-05 09:00", "2026-03-05"));
        var soon = new DateTimeOffset(2026, 3, 5, 14, 0, 5, TimeSpan.Zero);
        Assert.Equal(At("2026-03-06 02:30"), Next(daily with { Since = soon }, "2026-03-05 09:00", "2026-03-04"));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_night_that_is_still_open_at_the_next_ones_hour_is_queued_by_nobody_and_followed_by_it(Db db)
    {
        var clock = new ShiftedTime(s_before.AddHours(5));
        await using var system = await Installation.StartAsync(cluster, db, time: clock, connect: false);
        await OnAsync(system);
        var night = Assert.Single(await system.Get<DailySchedule>().EnqueueDueAsync());
        clock.MoveTo(s_before.AddDays(1).AddHours(5));
        Assert.Empty(await system.Get<DailySchedule>().EnqueueDueAsync());
        await using (var context = system.Database.CreateContext())
        {
            await context.Operations.ExecuteUpdateAsync(s => s.SetProperty(o => o.Status, OperationStatus.Completed));
        }

        Assert.True(Assert.Single(await system.Get<DailySchedule>().EnqueueDueAsync()) > night);
        Assert.Empty(await system.Get<DailySchedule>().EnqueueDueAsync());
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Who_cancels_what_they_asked_for_cancels_no_night_that_had_joined_it(Db db)
    {
        var clock = new ShiftedTime(s_before.AddHours(3));
        await using var system = await Installation.StartAsync(cluster, db, time: clock, connect: false);
        await OnAsync(system);
        var district = system.District.Id;
        for (var day = 0; day < 2; day++)
        {
            clock.MoveTo(s_before.AddDays(day).AddHours(3));
            var (asked, _) = await system.Queue.EnqueueAsync(district, OperationKind.FullSync, IntegrationKind.ClassLink, false, "anna");
            clock.MoveTo(s_before.AddDays(day).AddHours(5));
            Assert.Equal([asked], await system.Get<DailySchedule>().EnqueueDueAsync());
            var claimed = day == 0 ? null : await system.Queue.ClaimAsync("one", asked, aloneHere: true, CancellationToken.None);
            await system.Queue.CancelAsync(district, asked);
            if (claimed is not null)
            {
                Assert.Empty(await system.Get<DailySchedule>().EnqueueDueAsync());
                Assert.True(
                    await system.Queue.FinishAsync(claimed, OperationStatus.Cancelled, null, null, "Cancelled.", CancellationToken.None)
                );
            }

            var night = Assert.Single(await system.Get<DailySchedule>().EnqueueDueAsync());
            Assert.NotEqual(asked, night);
            Assert.Equal(DailySchedule.Actor, (await system.Queue.GetAsync(district, night)).RequestedBy);

            // A night that somebody cancels as such stays so.
            await system.Queue.CancelAsync(district, night);
            Assert.Empty(await system.Get<DailySchedule>().EnqueueDueAsync());
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_clock_that_had_once_jumped_ahead_holds_neither_nights_nor_retention_up(Db db)
    {
        var clock = new ShiftedTime(s_before.AddYears(3));
        await using var system = await Installation.StartAsync(cluster, db, time: clock, connect: false);
        var retention = system.Get<RetentionService>();
        await OnAsync(system, s_before.AddYears(3));
        await retention.EnqueueDueAsync();
        async Task<DateOnly?> LookedAsync()
        {
            await using var context = system.Database.CreateContext();
            return (await context.RetentionSettings.AsNoTracking().SingleAsync()).LookedOn;
        }

        clock.MoveTo(s_before.AddHours(5));
        Assert.Single(await system.Get<DailySchedule>().EnqueueDueAsync());
        await retention.EnqueueDueAsync();
        Assert.Equal(new DateOnly(2026, 1, 1), await LookedAsync());
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_fell_into_a_time_when_the_service_was_off_or_paused_is_not_caught_up_in_the_middle_of_the_day(Db db)
    {
        var clock = new ShiftedTime(s_before);
        await using var system = await Installation.StartAsync(cluster, db, time: clock);
        var schedule = system.Get<DailySchedule>();
        var district = system.District.Id;
        await system.ConfigureAsync(s => SettingsChange.Daily(s, "04:00", "full", s_before));
        await system.Integrations.TurnOffAsync(district, IntegrationKind.ClassLink, "test");
        clock.MoveTo(s_before.AddDays(3).AddHours(10));
        await system.Integrations.TurnOnAsync(district, IntegrationKind.ClassLink, clear: false, "test");
        Assert.Empty(await schedule.EnqueueDueAsync());

        // Pressed once more it moves nothing; the next night is due.
        clock.MoveTo(s_before.AddDays(4).AddHours(10));
        await system.Integrations.TurnOnAsync(district, IntegrationKind.ClassLink, clear: false, "test");
        await EndAsync(Assert.Single(await schedule.EnqueueDueAsync()));

        var now = clock.GetUtcNow();
        var (from, to) = ($"{now:yyyy-MM-dd}", $"{now.AddDays(9):yyyy-MM-dd}");
        await system.ConfigureAsync(s => SettingsChange.Pause(s, from, to, default));
        clock.MoveTo(now.AddDays(2));
        Assert.Empty(await schedule.EnqueueDueAsync());
        await system.ConfigureAsync(s => SettingsChange.Unpause(s, "2026-01-01", "2026-01-02", clock.GetUtcNow()));
        Assert.Empty(await schedule.EnqueueDueAsync());
        await system.ConfigureAsync(s => SettingsChange.Unpause(s, from, to, clock.GetUtcNow()));
        Assert.Empty(await schedule.EnqueueDueAsync());
        clock.MoveTo(now.AddDays(3));
        await EndAsync(Assert.Single(await schedule.EnqueueDueAsync()));

        async Task EndAsync(long id) => await system.Queue.CancelAsync(district, id);
    }

    [Theory]
    [InlineData(Db.Sqlite, false)]
    [InlineData(Db.Postgres, false)]
    [InlineData(Db.Sqlite, true)]
    public async Task Time_of_day_and_pauses_are_the_districts_whichever_service_is_on(Db db, bool ownTime)
    {
        var clock = new ShiftedTime(s_before);
        await using var system = await Installation.StartAsync(cluster, db, time: clock);
        var district = system.District.Id;
        await system.ConfigureAsync(s =>
            SettingsChange.Pause(SettingsChange.Daily(s, "03:15", "changes", s_before), "2026-12-20", "2027-01-03", default)
        );
        await using (var context = system.Database.CreateContext())
        {
            context.Integrations.Add(
                new Integration
                {
                    DistrictId = district,
                    Kind = IntegrationKind.OneRoster,
                    Settings = """{"mode":"Bearer","url":"https://roster.example.org"}""",
                }
            );
            await context.SaveChangesAsync();
        }

        if (ownTime)
        {
            await system.ConfigureAsync(s => SettingsChange.Daily(s, "05:00", "full", s_before), IntegrationKind.OneRoster);
        }

        clock.MoveTo(s_before.AddDays(3));
        await system.Integrations.TurnOnAsync(district, IntegrationKind.OneRoster, clear: true, "test");
        var daily = IntegrationService.SettingsOf(await system.Integrations.EnabledAsync(district)).Daily;
        if (ownTime)
        {
            Assert.Equal((new TimeOnly(5, 0), false, 0), (daily.At, daily.ChangesOnly, daily.Pauses.Count));
            return;
        }

        Assert.Equal((new TimeOnly(3, 15), true), (daily.At, daily.ChangesOnly));
        Assert.InRange(daily.Since!.Value, s_before.AddDays(3), s_before.AddDays(3).AddMinutes(5));
        Assert.Equal(new PauseDates(new DateOnly(2026, 12, 20), new DateOnly(2027, 1, 3)), Assert.Single(daily.Pauses));
    }

    /// <summary>ClassLink is on, at four in the morning, though it leads nowhere.</summary>
    private static async Task OnAsync(Installation system, DateTimeOffset? since = null)
    {
        await using var context = system.Database.CreateContext();
        context.Integrations.Add(
            new Integration
            {
                DistrictId = system.District.Id,
                Kind = IntegrationKind.ClassLink,
                Enabled = true,
            }
        );
        await context.SaveChangesAsync();
        await system.ConfigureAsync(s => SettingsChange.Daily(s, "04:00", "full", since ?? s_before));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Three_nodes_queue_each_date_of_each_district_once_and_of_its_kind_over_weeks_with_downtime(Db db)
    {
        // New York goes forward on March 8th, Lord Howe back by half an hour on April 5th: both at the districts' very times of day.
        var start = new DateTimeOffset(2026, 3, 1, 0, 0, 0, TimeSpan.Zero);
        var clock = new ShiftedTime(start);
        await using var system = await Installation.StartAsync(cluster, db, time: clock);
        await system.ConfigureAsync(s => SettingsChange.Daily(s, "04:00", "full", start));
        (int District, TimeZoneInfo Zone, TimeOnly At, OperationKind Kind)[] districts =
        [
            (system.District.Id, system.District.Zone, new(4, 0), OperationKind.FullSync),
            (
                await AddAsync("YORK", "America/New_York", "02:30", "changes"),
                Zone("America/New_York"),
                new(2, 30),
                OperationKind.ChangesSync
            ),
            (
                await AddAsync("HOWE", "Australia/Lord_Howe", "01:45", "full"),
                Zone("Australia/Lord_Howe"),
                new(1, 45),
                OperationKind.FullSync
            ),
        ];
        var random = new Random(7);
        var down = 0;
        var looked = new List<DateTimeOffset>();
        for (var hour = 0; hour < 24 * 40; hour += 2)
        {
            var now = start.AddHours(hour).AddMinutes(random.Next(120));
            clock.MoveTo(now);
            down =
                down > 0 ? down - 1
                : random.Next(20) == 0 ? random.Next(1, 30)
                : 0;
            if (down > 0)
            {
                continue;
            }

            looked.Add(now);
            await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => system.Get<DailySchedule>().EnqueueDueAsync()));
            await using var context = system.Database.CreateContext();
            var waiting = await context.Operations.Where(o => o.Status == OperationStatus.Waiting).Select(o => o.DistrictId).ToListAsync();
            Assert.Equal(waiting.Distinct(), waiting);
            await context
                .Operations.Where(o => o.Status == OperationStatus.Waiting)
                .ExecuteUpdateAsync(s => s.SetProperty(o => o.Status, OperationStatus.Completed));
        }

        await using var after = system.Database.CreateContext();
        foreach (var (district, zone, at, kind) in districts)
        {
            // Whoever looks is told the last date whose time has passed: those that came and went while nobody looked are not made up for.
            var due = looked
                .Select(now =>
                    Enumerable.Range(-1, 43).Select(d => new DateOnly(2026, 3, 1).AddDays(d)).Last(d => Instant(d, at, zone) <= now)
                )
                .Where(d => Instant(d, at, zone) >= start)
                .Distinct()
                .ToList();
            Assert.InRange(due.Count, 20, 40);
            Assert.Equal(
                due.Select(d => (d, kind)),
                (
                    await after
                        .Operations.Where(o => o.DistrictId == district && o.DailyDate != null)
                        .OrderBy(o => o.Id)
                        .Select(o => new { o.DailyDate, o.Kind })
                        .ToListAsync()
                ).Select(o => (o.DailyDate!.Value, o.Kind))
            );
        }

        async Task<int> AddAsync(string code, string zone, string at, string kind) =>
            (await AddNightlyAsync(system, code, zone, at, kind, start)).Id;
    }

    private static TimeZoneInfo Zone(string name) => TimeZoneInfo.FindSystemTimeZoneById(name);

    /// <summary>When a local time of day comes, said without the code that is tested.</summary>
    private static DateTimeOffset Instant(DateOnly date, TimeOnly at, TimeZoneInfo zone)
    {
        var local = date.ToDateTime(at);
        while (zone.IsInvalidTime(local))
        {
            local = local.AddMinutes(1);
        }

        return new(local, zone.IsAmbiguousTime(local) ? zone.GetAmbiguousTimeOffsets(local).Max() : zone.GetUtcOffset(local));
    }

    /// <summary>One more district with the first one's service, and a night of its own.</summary>
    private static async Task<District> AddNightlyAsync(
        Installation system,
        string code,
        string zone,
        string at,
        string kind,
        DateTimeOffset since
    )
    {
        var district = await system.Get<DistrictService>().AddAsync(code, code, zone, "test");
        await using var context = system.Database.CreateContext();
        var first = await context.Integrations.AsNoTracking().SingleAsync(i => i.DistrictId == system.District.Id);
        context.Integrations.Add(
            new Integration
            {
                DistrictId = district.Id,
                Kind = first.Kind,
                Enabled = true,
                Settings = first.Settings,
            }
        );
        await context.SaveChangesAsync();
        await system.Integrations.ConfigureAsync(
            district.Id,
            first.Kind,
            "test",
            "settings",
            s => SettingsChange.Daily(s, at, kind, since)
        );
        return district;
    }

    /// <summary>A roster service that is away for hours or days now and then, by the clock of the test.</summary>
    private sealed class Fickle(
        OperationQueue queue,
        TimeProvider clock,
        IEnumerable<(int District, DateTimeOffset From, DateTimeOffset To)> away
    ) : IOperationHandler
    {
        public bool Handles(OperationKind kind) => kind is OperationKind.FullSync or OperationKind.ChangesSync;

        public async Task ExecuteAsync(OperationRun run, CancellationToken cancellationToken)
        {
            var now = clock.GetUtcNow();
            if (away.Any(a => a.District == run.Operation.DistrictId && a.From <= now && now < a.To))
            {
                throw new IOException("The service is away");
            }

            await queue.FinishAsync(run.Operation, OperationStatus.Completed, null, null, null, cancellationToken);
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task No_night_is_without_an_end_for_a_day_whatever_is_away_whoever_asks_and_whichever_node_goes(Db db)
    {
        var start = new DateTimeOffset(2026, 3, 1, 0, 0, 0, TimeSpan.Zero);
        var clock = new ShiftedTime(start);
        var away = new List<(int District, DateTimeOffset From, DateTimeOffset To)>();
        void Stub(IServiceCollection services) =>
            services.Insert(
                0,
                ServiceDescriptor.Singleton<IOperationHandler>(p => new Fickle(p.GetRequiredService<OperationQueue>(), clock, away))
            );
        await using var system = await Installation.StartAsync(cluster, db, time: clock, connect: false, configure: Stub);
        await OnAsync(system, start);
        // Clocks change on March 8th in New York, by half an hour on April 5th on Lord Howe, at these very times of day.
        (District District, TimeOnly At, OperationKind Kind)[] districts =
        [
            (system.District, new(4, 0), OperationKind.FullSync),
            (await AddNightlyAsync(system, "LAKE", "America/New_York", "02:30", "changes", start), new(2, 30), OperationKind.ChangesSync),
            (await AddNightlyAsync(system, "HILL", "Australia/Lord_Howe", "01:45", "full", start), new(1, 45), OperationKind.FullSync),
        ];
        var days = db == Db.Sqlite ? 40 : 12;

        // Three nodes, each with services and pools of its own.
        Installation Open() =>
            Installation.Open(
                system.Database.DataFolder,
                db == Db.Postgres ? system.Database.ConnectionString : null,
                system,
                clock,
                configure: Stub
            );
        var nodes = new[] { Open(), Open(), Open() };
        var random = new Random(11);
        var due = new HashSet<(int, DateOnly)>();
        var (reopened, died, longest) = (0, 0, TimeSpan.Zero);
        try
        {
            for (var now = start; now < start.AddDays(days); now = now.AddMinutes(random.Next(60)))
            {
                if (random.Next(60) == 0)
                {
                    // Nobody is there.
                    now = now.AddHours(random.Next(1, 8));
                }

                clock.MoveTo(now);
                var which = random.Next(nodes.Length);
                if (random.Next(12) == 0)
                {
                    reopened++;
                    await nodes[which].DisposeAsync();
                    nodes[which] = Open();
                }

                var node = nodes[which];
                var district = districts[random.Next(districts.Length)].District;
                if (random.Next(25) == 0)
                {
                    away.Add((district.Id, now, now.AddHours(random.Next(1, 40))));
                }

                if (random.Next(20) == 0)
                {
                    await node.Queue.EnqueueAsync(district.Id, OperationKind.FullSync, IntegrationKind.ClassLink, preview: false, "anna");
                }

                await node.Get<DailySchedule>().EnqueueDueAsync();
                foreach (var (one, at, _) in districts)
                {
                    // The last date whose time has passed.
                    var today = DateOnly.FromDateTime(clock.GetUtcNow().UtcDateTime);
                    var last = Enumerable
                        .Range(-3, 5)
                        .Select(d => today.AddDays(d))
                        .Last(d => Instant(d, at, one.Zone) <= clock.GetUtcNow());
                    if (Instant(last, at, one.Zone) >= start)
                    {
                        due.Add((one.Id, last));
                    }
                }

                if (random.Next(8) == 0 && await node.Queue.ClaimAsync("dead:1", null, aloneHere: false, default) is not null)
                {
                    // A process died with it.
                    died++;
                    await using var connection = await node.Database.OpenAsync();
                    await Sql.ExecuteAsync(connection, null, "UPDATE operations SET lease_until = 0 WHERE status = 1", default);
                }

                while (await nodes[random.Next(nodes.Length)].Get<OperationWorker>().WorkAsync(null, null, default)) { }

                await using var context = node.Database.CreateContext();
                foreach (var open in await context.Operations.Where(o => o.DailyDate != null && o.FinishedAt == null).ToListAsync())
                {
                    var (of, at, _) = districts.Single(d => d.District.Id == open.DistrictId);
                    var age = clock.GetUtcNow() - Instant(open.DailyDate!.Value, at, of.Zone);
                    longest = age > longest ? age : longest;
                    Assert.True(age < TimeSpan.FromDays(1), $"operation {open.Id} of {open.DailyDate}: {age}, {open.Attempts} tries");
                }
            }

            // Everything is back, and a day has passed.
            away.Clear();
            for (var hour = 0; hour < 10; hour++)
            {
                clock.MoveTo(clock.GetUtcNow().AddHours(1));
                while (await nodes[0].Get<OperationWorker>().WorkAsync(null, null, default)) { }
            }
        }
        finally
        {
            foreach (var node in nodes)
            {
                await node.DisposeAsync();
            }
        }

        await using var after = system.Database.CreateContext();
        var all = await after.Operations.AsNoTracking().ToListAsync();
        Assert.All(all, o => Assert.Contains(o.Status, (OperationStatus[])[OperationStatus.Completed, OperationStatus.Failed]));
        Assert.All(all.Where(o => o.Status == OperationStatus.Failed), o => Assert.Contains("is away", o.Error, StringComparison.Ordinal));
        var nights = all.Where(o => o.DailyDate is not null).ToList();
        Assert.Equal(
            due.OrderBy(d => d.Item1).ThenBy(d => d.Item2),
            nights.Select(o => (o.DistrictId, o.DailyDate!.Value)).OrderBy(d => d.Item1).ThenBy(d => d.Item2)
        );

        Assert.All(nights, o => Assert.Equal(districts.Single(d => d.District.Id == o.DistrictId).Kind, o.Kind));

        // A night that failed had all its tries, whoever asked beside it; and all of this has come about.
        Assert.All(nights.Where(o => o.Status == OperationStatus.Failed), o => Assert.Equal(OperationWorker.RetryPauses.Count, o.Attempts));
        Assert.Contains(nights, o => o.Status == OperationStatus.Failed);
        Assert.Contains(nights, o => o is { Status: OperationStatus.Completed, Attempts: > 0 });
        Assert.Contains(all, o => o is { RequestedBy: "anna", Status: OperationStatus.Failed });
        Assert.True(reopened > 5 && died > 5 && longest > TimeSpan.FromHours(6), $"{reopened} opened anew, {died} died, {longest}");
    }

    [Fact]
    public async Task A_district_whose_time_zone_this_machine_does_not_know_keeps_no_other_one_waiting()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Sqlite, time: new ShiftedTime(s_before.AddHours(5)));
        await system.ConfigureAsync(s => SettingsChange.Daily(s, "04:00", "full", s_before));
        await using (var context = system.Database.CreateContext())
        {
            await context.Districts.ExecuteUpdateAsync(s => s.SetProperty(d => d.TimeZone, "Mars/Olympus"), default);
        }

        Assert.Single(await system.Get<DailySchedule>().EnqueueDueAsync());
        Assert.Empty(await system.Get<RetentionService>().EnqueueDueAsync());
        Assert.Equal(TimeZoneInfo.Utc, (await system.Get<DistrictService>().ListAsync()).Single().Zone);
    }

    [Fact]
    public async Task A_look_at_the_clock_asks_as_much_for_fifty_districts_as_for_one_and_tells_of_each_that_it_lives()
    {
        var fault = new StatementFault();
        var clock = new ShiftedTime(s_before.AddHours(5));
        await using var like = await Installation.StartAsync(cluster, Db.Sqlite, time: clock);
        await like.ConfigureAsync(s => SettingsChange.Daily(s, "04:00", "full", s_before));
        await using var system = Installation.Open(
            like.Database.DataFolder,
            null,
            like,
            clock,
            connection => new FaultySqliteConnection(connection, fault)
        );
        var one = await LookAsync(1);
        await using (var context = like.Database.CreateContext())
        {
            var first = await context.Integrations.AsNoTracking().SingleAsync();
            for (var number = 2; number <= 50; number++)
            {
                var district = await like.Get<DistrictService>().AddAsync($"D{number}", $"District {number}", "UTC", "test");
                context.Integrations.Add(
                    new Integration
                    {
                        DistrictId = district.Id,
                        Kind = first.Kind,
                        Enabled = true,
                        Settings = first.Settings,
                    }
                );
            }

            await context.SaveChangesAsync();
        }

        var heard = 0;
        Assert.Equal(49, (await system.Get<DailySchedule>().EnqueueDueAsync(() => heard++)).Count);
        Assert.Equal(50, heard);
        Assert.Equal(one, await LookAsync(50));

        // Statements of a look after which nothing is due any more.
        async Task<int> LookAsync(int districts)
        {
            await system.Get<DailySchedule>().EnqueueDueAsync();
            await system.Get<RetentionService>().EnqueueDueAsync();
            fault.Arm(FaultKind.Before, 0);
            var alive = 0;
            Assert.Empty(await system.Get<DailySchedule>().EnqueueDueAsync(() => alive++));
            Assert.Empty(await system.Get<RetentionService>().EnqueueDueAsync(() => alive++));
            Assert.Equal(districts * 2, alive);
            fault.Disarm();
            return fault.Seen;
        }
    }

    [Fact]
    public async Task A_time_zone_that_the_machine_does_not_know_is_warned_of_once()
    {
        var tape = new LogTape();
        await using var system = await Installation.StartAsync(
            cluster,
            Db.Sqlite,
            time: new ShiftedTime(s_before.AddHours(2)),
            configure: tape.AddTo
        );
        await system.ConfigureAsync(s => SettingsChange.Daily(s, "04:00", "full", s_before));
        await using (var context = system.Database.CreateContext())
        {
            await context.Districts.ExecuteUpdateAsync(s => s.SetProperty(d => d.TimeZone, "Mars/Base"));
            Assert.Equal("UTC: Mars/Base is not known on this machine", (await context.Districts.AsNoTracking().SingleAsync()).ZoneWords);
        }

        for (var look = 0; look < 2; look++)
        {
            Assert.Empty(await system.Get<DailySchedule>().EnqueueDueAsync());
        }

        Assert.Contains(
            "Mars/Base of district RIVER",
            Assert.Single(tape.Lines, l => l.Contains("tzdata", StringComparison.Ordinal)),
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_is_wrong_with_one_district_keeps_no_other_one_waiting(Db db)
    {
        var tape = new LogTape();
        await using var system = await Installation.StartAsync(
            cluster,
            db,
            time: new ShiftedTime(s_before.AddHours(5)),
            configure: tape.AddTo
        );
        await system.ConfigureAsync(s => SettingsChange.Daily(s, "04:00", "full", s_before));
        var second = await system.Get<DistrictService>().AddAsync("LAKE", "Lake", "UTC", "test");
        await using (var context = system.Database.CreateContext())
        {
            var good = await context.Integrations.AsNoTracking().SingleAsync();
            context.Integrations.Add(
                new Integration
                {
                    DistrictId = second.Id,
                    Kind = good.Kind,
                    Enabled = true,
                    Settings = good.Settings,
                }
            );
            await context
                .Integrations.Where(i => i.DistrictId == system.District.Id)
                .ExecuteUpdateAsync(s => s.SetProperty(i => i.Settings, "{\"daily\":7}"));
            await context.SaveChangesAsync();
        }

        var night = Assert.Single(await system.Get<DailySchedule>().EnqueueDueAsync());
        Assert.Equal(second.Id, (await system.Queue.GetAsync(second.Id, night)).DistrictId);
        Assert.Contains(tape.Lines, l => l.Contains("District RIVER: it cannot be seen what is due", StringComparison.Ordinal));

        // When nobody's can be seen, it is said so: that is no trouble of one district.
        await using (var context = system.Database.CreateContext())
        {
            await context.Integrations.ExecuteUpdateAsync(s => s.SetProperty(i => i.Settings, "{\"daily\":7}"));
        }

        await Assert.ThrowsAsync<InvalidOperationException>(() => system.Get<DailySchedule>().EnqueueDueAsync());
    }

    [Fact]
    public async Task Sync_Now_at_the_time_is_the_nights_run_and_the_run_itself_syncs()
    {
        var clock = new ShiftedTime(s_before.AddHours(5));
        await using var system = await Installation.StartAsync(cluster, Db.Sqlite, time: clock);
        await system.ConfigureAsync(s => SettingsChange.Daily(s, "04:00", "full", s_before));
        var (byHand, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            "librarian"
        );
        Assert.Equal([byHand], await system.Get<DailySchedule>().EnqueueDueAsync());
        var ended = await system.Follower.RunAsync(system.District.Id, byHand, null, CancellationToken.None);
        Assert.Null(ended.Error);
        Assert.Empty(await system.Get<DailySchedule>().EnqueueDueAsync());
        clock.MoveTo(s_before.AddDays(1).AddHours(4.5));
        var night = Assert.Single(await system.Get<DailySchedule>().EnqueueDueAsync());
        ended = await system.Follower.RunAsync(system.District.Id, night, null, CancellationToken.None);
        Assert.Equal((DailySchedule.Actor, null), (ended.RequestedBy, ended.Error));
        await UndoStopsAsync(system, night, clock);
    }

    private static async Task UndoStopsAsync(Installation system, long night, ShiftedTime clock)
    {
        system.Sandbox.SetDay(2);
        var run = await system.SyncAsync();
        await Sync.UndoTests.UndoAsync(system, run.Id);
        clock.MoveTo(s_before.AddDays(2).AddHours(4.5));
        Assert.Empty(await system.Get<DailySchedule>().EnqueueDueAsync());
        await system.ConfigureAsync(s => SettingsChange.Resume(s, clock.GetUtcNow()));
        Assert.Empty(await system.Get<DailySchedule>().EnqueueDueAsync());
        clock.MoveTo(s_before.AddDays(3).AddHours(4.5));
        Assert.True(Assert.Single(await system.Get<DailySchedule>().EnqueueDueAsync()) > night);
    }
}
