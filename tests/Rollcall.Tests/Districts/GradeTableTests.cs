using Rollcall.Districts;
using Rollcall.Patrons;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Districts;

/// <summary>The order of grades, and the policies.</summary>
public sealed class GradeTableTests(PostgresCluster cluster)
{
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Lists_are_sorted_by_the_grade_table(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new() { Students = 10, Schools = 1 });
        var district = system.District.Id;
        var patrons = system.Get<PatronService>();
        var actor = new Actor("anna", SecurityGroup.DistrictAdministrator);
        var site = (await system.Get<SiteService>().ListAsync(district))[0].Code;
        foreach (var level in (string[])["10", "02", "zebra", "KG", "1", "PK", "", "Adult", "kg", "2"])
        {
            await patrons.AddAsync(district, [new("lastName", $"Of {level}"), new("site", site), new("level", level)], actor);
        }

        async Task<string> LevelsAsync(bool descending, string? search = null) =>
            string.Join(
                ' ',
                (await patrons.PageAsync(district, new PatronFilter(Search: search), PatronSort.Level, descending, 1, 100)).Patrons.Select(
                    p => p.Level ?? "-"
                )
            );

        // That of schools, then what nobody knows the place of, by text; and whoever has none at the end.
        var usual = await LevelsAsync(descending: false);
        Assert.Matches("^PK (KG kg|kg KG) 1 02 2 10 (- )?Adult zebra( -)?$", usual);
        Assert.Equal(usual, await LevelsAsync(descending: false, search: "Of"));
        Assert.Equal("10", (await LevelsAsync(descending: true)).Split(' ')[3]);
        Assert.Equal("PK", (await LevelsAsync(descending: true)).Split(' ')[^1]);

        var table = system.Get<GradeTable>();
        Assert.Empty(await table.ListAsync(district));
        await table.SetAsync(district, ["zebra", " ", "10", "2", " Kg "], "anna");
        Assert.Equal(["zebra", "10", "2", "Kg"], await table.ListAsync(district));
        Assert.Matches("^zebra 10 2 (KG kg|kg KG) PK 1 02 ", await LevelsAsync(descending: false));
        Assert.Equal(
            ["zebra", "10", "KG", "PK", "1", "Adult"],
            GradeTable.Sort(["Adult", "1", "KG", "zebra", "10", "PK"], ["zebra", "10", "2", "Kg"])
        );

        // What cannot be an order changes nothing.
        foreach (
            var wrong in (string[][])
                [
                    ["1", "2", "1"],
                    ["KG", "kg"],
                    [new string('x', 300)],
                    [.. Enumerable.Range(1, 201).Select(n => $"g{n}")],
                ]
        )
        {
            await Assert.ThrowsAsync<RollcallException>(() => table.SetAsync(district, wrong, "anna"));
        }

        // Nor does one that was made from another than there is now.
        var late = await Assert.ThrowsAsync<RollcallException>(() => table.SetAsync(district, ["1"], "ben", was: []));
        Assert.Contains("Somebody changed", late.Message, StringComparison.Ordinal);
        Assert.Equal(["zebra", "10", "2", "Kg"], await table.ListAsync(district));

        // The same grades in another order, written otherwise, and the usual order again.
        await table.SetAsync(district, ["kg", "zebra", "2"], "ben", was: ["zebra", "10", "2", "Kg"]);
        Assert.Equal(["kg", "zebra", "2"], await table.ListAsync(district));
        await table.SetAsync(district, [], "ben");
        Assert.Equal(usual, await LevelsAsync(descending: false));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Grades_with_letters_outside_ASCII_have_their_place(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new() { Students = 10, Schools = 1 });
        var district = system.District.Id;
        var actor = new Actor("anna", SecurityGroup.DistrictAdministrator);
        string[] order = ["Año 2", "Año 10", "Ânul 1", "Straße", "K"];
        await system.Get<GradeTable>().SetAsync(district, order, "anna");
        foreach (var level in (string[])["Straße", "año 10", "K", "Ânul 1", "Zzz", "Año 2"])
        {
            await system.Patrons.AddAsync(
                district,
                [new("lastName", $"Of {level}"), new("barcode", $"G{level.Length}{level[0] + 0}"), new("level", level)],
                actor
            );
        }

        var page = await system.Patrons.PageAsync(district, new PatronFilter(), PatronSort.Level, false, 1, 100);
        string[] sorted = ["Año 2", "año 10", "Ânul 1", "Straße", "K", "Zzz"];
        Assert.Equal(sorted, page.Patrons.Select(p => p.Level));
        Assert.Equal(sorted, GradeTable.Sort(sorted.Reverse(), order));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_policy_goes_only_when_nobody_has_it(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new() { Students = 10, Schools = 1 });
        var district = system.District.Id;
        var policies = system.Get<PolicyService>();
        var sites = system.Get<SiteService>();
        var site = (await sites.ListAsync(district))[0].Code;
        Assert.Equal([Policy.Standard], (await policies.ListAsync(district)).Select(p => p.Code));
        await policies.SetAsync(district, Policy.Standard, "Everybody", "anna");
        await policies.SetAsync(district, " FAC ", "Faculty", "anna");
        await sites.SetAsync(district, site, new SiteChange(null, null, "FAC", null, RoleGroup.Teacher), "anna");
        var patron = await system
            .Get<PatronService>()
            .AddAsync(
                district,
                [new("lastName", "Byron"), new("site", site), new("policy", "OWN")],
                new Actor("anna", SecurityGroup.DistrictAdministrator)
            );
        Assert.Equal(
            [new("FAC", "Faculty", 0, 1), new("OWN", "", 1, 0), new(Policy.Standard, "Everybody", 0, 1)],
            await policies.ListAsync(district)
        );
        foreach (var kept in (string[])["FAC", Policy.Standard, "NONE", "", "LONGER"])
        {
            await Assert.ThrowsAsync<RollcallException>(() => policies.RemoveAsync(district, kept, "anna"));
        }

        await policies.SetAsync(district, "OWN", null, "anna");
        await Assert.ThrowsAsync<RollcallException>(() => policies.RemoveAsync(district, "OWN", "anna"));
        await sites.SetAsync(district, site, new SiteChange(null, null, "", null, RoleGroup.Teacher), "anna");
        await policies.RemoveAsync(district, "FAC", "anna");
        Assert.Equal(["OWN", Policy.Standard], (await policies.ListAsync(district)).Select(p => p.Code));
        Assert.Equal("OWN", patron.Policy);
        await Assert.ThrowsAsync<RollcallException>(() => policies.SetAsync(district, "FIVE5", "x", "anna"));
        await Assert.ThrowsAsync<RollcallException>(() => policies.SetAsync(district, "A", new string('x', 101), "anna"));
    }
}
