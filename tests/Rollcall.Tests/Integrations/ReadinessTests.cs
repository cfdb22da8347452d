using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Patrons;
using Rollcall.Patrons.Erasure;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Integrations;

/// <summary>What a first sync would meet is read once and shown for a while, on any node.</summary>
public sealed class ReadinessTests(PostgresCluster cluster)
{
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_one_district_cannot_tidy_keeps_no_other_from_it(Db db)
    {
        var start = new DateTimeOffset(2026, 10, 1, 9, 0, 0, TimeSpan.Zero);
        var clock = new ShiftedTime(start);
        await using var system = await Installation.StartAsync(cluster, db, time: clock);
        var harbor = await system.Get<DistrictService>().AddAsync("HARBOR", "Harbor Point", "UTC", "test");
        var readiness = system.Get<ReadinessService>();
        await readiness.ReadAsync(system.District, IntegrationKind.ClassLink);
        await using (var context = system.Database.CreateContext())
        {
            var row = await context.Integrations.SingleAsync();
            context.Integrations.Add(
                new Integration
                {
                    DistrictId = harbor.Id,
                    Kind = IntegrationKind.ClassLink,
                    Settings = row.Settings,
                    State = row.State,
                }
            );
            row.State = """{"readiness":{"at":"never"}}""";
            await context.SaveChangesAsync();
        }

        clock.MoveTo(start.AddMinutes(16));
        await readiness.TidyAsync();
        Assert.Null(IntegrationService.StateOf(await system.Integrations.FindAsync(harbor.Id, IntegrationKind.ClassLink)).Readiness);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_answer_is_kept_for_a_while_for_its_settings_and_goes_with_an_erasure(Db db)
    {
        var start = new DateTimeOffset(2026, 10, 1, 9, 0, 0, TimeSpan.Zero);
        var clock = new ShiftedTime(start);
        await using var system = await Installation.StartAsync(cluster, db, time: clock);
        system.Sandbox.OnlyMine();
        system.Sandbox.Person("p1", "Ada", "Byron");
        await system.SyncAsync();
        var readiness = system.Get<ReadinessService>();
        Assert.Null(await KeptAsync());
        var read = await ReadAsync();
        Assert.Equal(JsonSerializer.Serialize(read), JsonSerializer.Serialize(await KeptAsync()));

        // Of other settings it is another roster's, or other people's.
        await ConfigureAsync([RoleGroup.Student]);
        Assert.Null(await KeptAsync());
        await ConfigureAsync([RoleGroup.Student, RoleGroup.Teacher, RoleGroup.Admin]);

        // It is shown for a quarter of an hour, and taken away by whoever tidies next; not before.
        await ReadAsync();
        clock.MoveTo(start.AddMinutes(14));
        await readiness.TidyAsync();
        Assert.NotNull(await KeptAsync());
        clock.MoveTo(start.AddMinutes(16));
        Assert.Null(await KeptAsync());
        Assert.NotNull(IntegrationService.StateOf(await RowAsync()).Readiness);
        await readiness.TidyAsync();
        Assert.Null(IntegrationService.StateOf(await RowAsync()).Readiness);

        // Its examples are somebody's: they are given out with what is kept of them, and go with an erasure. What a switch sets aside has none.
        read = await ReadAsync();
        var example = read.Keys.First(k => k.Source == "username").Example!;
        var patron = (await system.PatronsByGuidAsync())["p1"];
        var data = await system.Get<PatronErasure>().DataAsync(system.District, patron.Barcode, "test");
        using (var document = JsonDocument.Parse(data))
        {
            Assert.Contains(
                document.RootElement.GetProperty("shownByReadiness").EnumerateArray(),
                e => e.GetProperty("example").GetString() == example
            );
        }

        var erased = await system.Get<PatronErasure>().EnqueueAsync(system.District.Id, patron.Barcode, "test");
        await system.Follower.RunAsync(system.District.Id, erased, null, CancellationToken.None);
        Assert.Null(IntegrationService.StateOf(await RowAsync()).Readiness);
        system.Sandbox.Person("p2", "Ben", "Carver");
        await system.SyncAsync();
        await ReadAsync();
        await system.Integrations.ConfigureAsync(
            system.District.Id,
            IntegrationKind.OneRosterCsv,
            "test",
            "connected",
            s => s with { Mode = ConnectionMode.Folder, Url = "/nowhere" }
        );
        await system.Integrations.TurnOnAsync(system.District.Id, IntegrationKind.OneRosterCsv, clear: true, "test");
        await using var context = system.Database.CreateContext();
        var aside = Assert.Single(await context.SwitchRecords.ToListAsync());

        Assert.DoesNotContain("nearMisses", aside.Data, StringComparison.OrdinalIgnoreCase);

        Task<Readiness> ReadAsync() => readiness.ReadAsync(system.District, IntegrationKind.ClassLink);

        Task<Integration?> RowAsync() => system.Integrations.FindAsync(system.District.Id, IntegrationKind.ClassLink);

        async Task<Readiness?> KeptAsync() => readiness.KeptOf(await RowAsync());

        Task ConfigureAsync(RoleGroup[] roles) =>
            system.Integrations.ConfigureAsync(
                system.District.Id,
                IntegrationKind.ClassLink,
                "test",
                "roles",
                s => s with { Roles = roles }
            );
    }
}
