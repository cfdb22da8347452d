using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Operations;

/// <summary>What screens ask of a log, and of a district's preferences.</summary>
public sealed class LogTests(PostgresCluster cluster)
{
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_plan_is_counted_by_site_searched_and_shows_its_warnings_first(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        system.Sandbox.Person("id-of-ada", "Ada", "Byron");
        system.Sandbox.Person("p2", "Édith", "Çelik");
        await system.SyncAsync();
        var log = system.Get<OperationLog>();
        var bulk = system.Get<PatronBulk>();
        var id = await bulk.PlanRemovalAsync(system.District.Id, new PatronFilter(), true, "lib");
        await system.ImportAsync("barcode,lastName,site\nL1001,Dunn,S2\n");
        var all = await bulk.PlanRemovalAsync(system.District.Id, new PatronFilter(), true, "lib");

        var counts = await log.CountsAsync(system.District.Id, all);
        Assert.Equal((3, 2), (counts.Sum(c => c.Lines), counts.Sum(c => c.Warnings)));
        Assert.All(counts, c => Assert.Equal(Outcome.Removed, c.Outcome));
        Assert.Equal(2, counts.Select(c => c.SiteId).Distinct().Count());
        Assert.Equal(2, (await log.CountsAsync(system.District.Id, id)).Sum(c => c.Lines));

        async Task<string?[]> NamesAsync(string search) =>
            [.. (await log.PageAsync(system.District.Id, all, new LogFilter(Search: search), 1, 10)).Rows.Select(r => r.Name)];
        Assert.Equal(["Çelik, Édith"], await NamesAsync("celik"));
        Assert.Equal(["Byron, Ada"], await NamesAsync("id-of-ada"));
        Assert.Equal(["Dunn"], await NamesAsync("l1001"));
        Assert.Empty(await NamesAsync("nobody"));
        var (rows, _) = await log.PageAsync(system.District.Id, all, null, 1, 10, warningsFirst: true);
        Assert.Null(rows[^1].Warning);
        Assert.All(rows.Take(2), r => Assert.NotNull(r.Warning));
    }

    /// <summary>A line of one's own site stays one's own; what its patron is now, at another site, is not.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_log_tells_whoever_sees_some_sites_nothing_that_patrons_of_others_are_now(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        var import = await system.ImportAsync("barcode,lastName,site,email\nL1001,Dunn,S1,old@x.example\nL1002,Ely,S1,ely@x.example\n");
        await system.Patrons.EditAsync(
            system.District.Id,
            "L1001",
            [new("barcode", "N1001"), new("lastName", "Married"), new("email", "new@x.example"), new("site", "S2")],
            "test"
        );
        var site = (await system.Get<SiteService>().ListAsync(system.District.Id)).First(s => s.Code == "S1").Id;
        var log = system.Get<OperationLog>();
        var own = new LogFilter { Sites = [site] };
        foreach (var search in (string[])["married", "n1001", "new@x"])
        {
            Assert.Equal(1, (await log.PageAsync(system.District.Id, import.Id, new LogFilter(Search: search), 1, 10)).Total);
            Assert.Equal(0, (await log.PageAsync(system.District.Id, import.Id, own with { Search = search }, 1, 10)).Total);
        }

        Assert.Equal(1, (await log.PageAsync(system.District.Id, import.Id, own with { Search = "ely@x" }, 1, 10)).Total);
        var (rows, _) = await log.PageAsync(system.District.Id, import.Id, own, 1, 10);
        Assert.Equal(["Dunn L1001", "Ely L1002"], rows.Select(r => $"{r.Name} {r.Barcode}"));
        Assert.Equal([false, true], rows.Select(r => r.PatronId is not null));
        await foreach (var row in log.ReadAsync(system.District.Id, import.Id, own))
        {
            Assert.NotEqual("N1001", row.Barcode);
        }

        Assert.Equal("N1001", (await log.PageAsync(system.District.Id, import.Id, null, 1, 10)).Rows[0].Barcode);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task People_who_are_no_patrons_are_found_in_a_plan_by_their_names_as_written(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        system.Sandbox.Person("p1", "Édith", "García Núñez");
        system.Sandbox.Person("p2", "Ángel", "O\"Neil");
        system.Sandbox.Person("p3", "Ada", "Byron\\King");
        var plan = await system.SyncAsync(preview: true);
        var log = system.Get<OperationLog>();
        foreach (
            var (search, found) in ((string, string)[])
                [
                    ("García", "p1"),
                    ("garcía", "p1"),
                    ("GARCÍA", "p1"),
                    ("édith", "p1"),
                    ("García Núñez", "p1"),
                    ("ángel", "p2"),
                    ("o\"neil", "p2"),
                    ("byron\\king", "p3"),
                    ("BYRON", "p3"),
                ]
        )
        {
            var (rows, _) = await log.PageAsync(system.District.Id, plan.Id, new LogFilter(Search: search), 1, 10);
            Assert.Equal((search, found), (search, Assert.Single(rows).Guid));
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_search_in_a_log_looks_at_values_and_not_at_how_they_are_stored(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        var import = await system.ImportAsync(
            "barcode,lastName,notes\nL7001,Dunn,room 1001\nL7002,Ely,\nL7003,Null,\nL7004,Fox,\"9\"\"1002\"\":[x\"\nL1007,Gray,\n"
        );
        var log = system.Get<OperationLog>();
        async Task<string> BarcodesAsync(string search) =>
            string.Join(
                ' ',
                (await log.PageAsync(system.District.Id, import.Id, new LogFilter(Search: search), 1, 10)).Rows.Select(r => r.Barcode)
            );

        // Numbers of fields, and the word for nothing, are in every line; what people wrote is not.
        Assert.Equal("L7001", await BarcodesAsync("1001"));
        Assert.Equal("L7004", await BarcodesAsync("1002"));
        Assert.Equal("L1007", await BarcodesAsync("1007"));
        Assert.Equal("L1007", await BarcodesAsync("l1007"));
        Assert.Equal("L7001 L7004 L1007", await BarcodesAsync("100"));
        Assert.Equal("L7003", await BarcodesAsync("null"));
        Assert.Equal("L7003", await BarcodesAsync("NULL"));
        Assert.Equal("L7001 L7003", await BarcodesAsync("n"));
        Assert.Empty(await BarcodesAsync("9006"));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task The_audit_is_searched_by_text_as_it_stands_or_in_another_case(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        var audit = system.Get<Audit.AuditLog>();
        await audit.AddAsync(system.District.Id, "Émile Çelik", "test", "Site “École Ångström”, 100% \"as is\"");
        await audit.AddAsync(system.District.Id, "Somebody", "test", "Else");
        foreach (
            var search in (string[])
                ["Émile", "émile", "ÉMILE", "ÇELIK", "Émile Çelik", "École Ångström", "école", "ångström", "100% \"as", "EMILE"]
        )
        {
            var (lines, total) = await audit.PageAsync(system.District.Id, new Audit.AuditFilter(Action: "test", Search: search), 1, 10);
            Assert.Equal((search, search == "EMILE" ? 0 : 1, search == "EMILE" ? 0 : 1), (search, lines.Count, total));
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_districts_time_zone_is_changed_to_one_that_there_is(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        var districts = system.Get<DistrictService>();
        await districts.SetTimeZoneAsync(system.District, "America/Denver", "lib");
        await Assert.ThrowsAsync<RollcallException>(() => districts.SetTimeZoneAsync(system.District, "America/Nowhere", "lib"));
        Assert.Equal("America/Denver", (await districts.ListAsync()).Single(d => d.Id == system.District.Id).TimeZone);
    }

    [Fact]
    public void Pauses_and_the_numbers_of_a_site_are_taken_away_one_by_one()
    {
        var settings = SettingsChange.Pause(new IntegrationSettings(), "2026-12-20", "2027-01-06", default);
        settings = SettingsChange.Pause(settings, "2026-06-20", "2026-08-20", default);
        Assert.Equal(
            new DateOnly(2026, 12, 20),
            Assert.Single(SettingsChange.Unpause(settings, "2026-06-20", "2026-08-20", DateTimeOffset.UnixEpoch).Daily.Pauses).From
        );
        Assert.Equal(2, SettingsChange.Unpause(settings, "2026-06-20", "2026-08-21", DateTimeOffset.UnixEpoch).Daily.Pauses.Count);
        Assert.Throws<RollcallException>(() => SettingsChange.Unpause(settings, "x", "y", DateTimeOffset.UnixEpoch));
        settings = SettingsChange.Threshold(settings, "transfers", 50, 2, 7);
        Assert.Equal(50, settings.Thresholds.At(7, Risk.Transfers).Percent);
        settings = SettingsChange.ForgetThresholds(settings, 7);
        Assert.Equal(10, settings.Thresholds.At(7, Risk.Transfers).Percent);
        Assert.Empty(settings.Thresholds.Sites);
    }
}
