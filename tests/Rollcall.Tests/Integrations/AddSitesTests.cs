using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Integrations;

/// <summary>Sites that are made for the roster's schools all at once.</summary>
public sealed class AddSitesTests(PostgresCluster cluster)
{
    private const IntegrationKind Kind = IntegrationKind.ClassLink;

    /// <summary>A code is for good and read every day: it says which school it is.</summary>
    [Theory]
    [InlineData("4957004", "Cedar Ridge Middle School", "4957004", "CRMS")]
    [InlineData(null, "School of the Arts", "105", "SA")]
    [InlineData(null, "P.S. 118", "105", "P118")]
    [InlineData("105", "Lincoln", "105", "LINCOLN")]
    [InlineData("105", "École Élémentaire Zola", "4957004", "EEZ")]
    [InlineData("S01", "Cedar Ridge Middle School", "4957004", "S01")]
    [InlineData(null, "Cedar Ridge Middle School", "crm", "CRM")]
    [InlineData("105", null, "4957004", "105")]
    [InlineData(null, "東京", "4957004", "4957004")]
    [InlineData("105", "Taken Middle School", "4957004", "TMS-2")]
    public void A_site_of_a_school_is_proposed_a_code_that_people_know_it_by(string? identifier, string? name, string id, string code) =>
        Assert.Equal(code, SiteCodes.Propose(identifier, name, id, new(StringComparer.OrdinalIgnoreCase) { "tms" }));

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Every_school_without_a_site_gets_one_of_its_own_and_a_sync_can_follow(Db db)
    {
        await using var system = await StartAsync(db);
        var schools = system.Sandbox.District.Schools.ToList();

        // One school has its site already, and one is suggested for another: neither gets a second.
        await system.Get<SiteService>().AddAsync(system.District.Id, "ONE", new SiteChange("One", null, null, null, null), "test");
        await system.Integrations.MatchAsync(system.District, Kind, "ONE", schools[0].SourcedId, "test");
        await system
            .Get<SiteService>()
            .AddAsync(system.District.Id, "TWO", new SiteChange(schools[1].Name, null, null, null, null), "test");
        var proposed = (await system.Integrations.OrgsAsync(system.District, Kind)).Where(o => o.ProposedCode is not null).ToList();
        Assert.Equal(schools.Skip(2).Select(s => s.SourcedId).Order(), proposed.Select(o => o.SourcedId).Order());

        var added = await system.Integrations.AddSitesAsync(system.District, Kind, null, "librarian");
        Assert.Equal(
            proposed.ConvertAll(o => (o.SourcedId, o.Name, o.ProposedCode)),
            [.. added.Select(s => (s.Guid!, (string?)s.Name, (string?)s.Code))]
        );
        Assert.Equal(added.Count, added.Select(s => s.NextBarcode).Distinct().Count());
        var orgs = await system.Integrations.OrgsAsync(system.District, Kind);
        Assert.All(added, s => Assert.Equal(s.Code, orgs.Single(o => o.SourcedId == s.Guid).SiteCode));
        await using (var context = system.Database.CreateContext())
        {
            Assert.Equal(added.Count, await context.AuditEntries.CountAsync(a => a.Action == "site" && a.Actor == "librarian"));
        }

        await RefusedAsync(system, null, "there is none to add");
        await system.ConfigureAsync(s => s with { Roles = [RoleGroup.Student] });
        var sync = await system.SyncAsync();
        Assert.Null(sync.Error);
        Assert.Contains(await system.AllPatronsAsync(), p => p.SiteId == added[0].Id);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task If_one_cannot_be_made_none_is_and_the_reason_names_it(Db db)
    {
        await using var system = await StartAsync(db);
        var schools = system.Sandbox.District.Schools.ToList();
        var (first, second, third) = (schools[0].SourcedId, schools[1].SourcedId, schools[2].SourcedId);
        await system.Get<SiteService>().AddAsync(system.District.Id, "NORTH", new SiteChange("North High", null, null, null, null), "test");

        await RefusedAsync(system, [], "Choose at least one school");
        await RefusedAsync(system, [new(first), new("nowhere")], "no organization nowhere");
        await RefusedAsync(system, [new(first), new(first, "B", "Bee")], "named twice");
        await RefusedAsync(system, [new(first), new(second, "north")], "The code north", "North High has it");
        await RefusedAsync(system, [new(first), new(second, "B", "NORTH HIGH")], "There is a site named NORTH HIGH already, NORTH");
        await RefusedAsync(system, [new(first, "B"), new(second, "b")], "The code b", "another new site, ");
        await RefusedAsync(system, [new(first, "B", "Same"), new(second, "C", "same")], "Two of the new sites would be named same");
        await RefusedAsync(system, [new(first), new(second, "not a code")], "A site code has 1 to 32 letters");
        await RefusedAsync(system, [new(first), new(second, "B", new string('n', 256))], "at most 255 characters");
        await using (var context = system.Database.CreateContext())
        {
            Assert.Equal("NORTH", Assert.Single(await context.Sites.ToListAsync()).Code);
            Assert.False(await context.SiteOrgs.AnyAsync());
            Assert.Equal(1, await context.AuditEntries.CountAsync(a => a.Action == "site"));
        }

        // A code that somebody chose is not proposed for another school; two windows that ask at once make one site.
        var taken = (await system.Integrations.OrgsAsync(system.District, Kind)).Single(o => o.SourcedId == second).ProposedCode;
        var made = await system.Integrations.AddSitesAsync(system.District, Kind, [new(second), new(first, taken, "First")], "test");
        Assert.Equal([$"{taken}-2", taken!], made.Select(s => s.Code));
        var windows = await Task.WhenAll(Enumerable.Range(0, 2).Select(_ => Task.Run(() => TryAsync(system, third))));
        Assert.Single(windows, w => w is null);
        Assert.Contains("already", Assert.Single(windows, w => w is not null), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_site_is_added_and_changed_with_all_its_defaults_or_not_at_all(Db db)
    {
        await using var system = await StartAsync(db);
        var sites = system.Get<SiteService>();
        SiteChange good = new("North", "N0001", "STU", null, null);
        SiteChange wrong = new(null, "ends-in-a-letter", null, null, RoleGroup.Teacher);
        await Assert.ThrowsAsync<RollcallException>(() => sites.AddAsync(system.District.Id, "NORTH", [good, wrong], "test"));
        Assert.Empty(await sites.ListAsync(system.District.Id));

        // The same new policy for two role groups is one policy.
        var staff = new SiteChange(null, null, "STU", null, RoleGroup.Teacher);
        await sites.AddAsync(system.District.Id, "NORTH", [good, staff, staff with { RoleGroup = RoleGroup.Admin }], "test");
        Assert.Equal(2, (await sites.DefaultsAsync(system.District.Id)).Count);
        await Assert.ThrowsAsync<RollcallException>(() =>
            sites.SetAsync(system.District.Id, "NORTH", [good with { Name = "South" }, wrong], "test")
        );
        Assert.Equal("North", Assert.Single(await sites.ListAsync(system.District.Id)).Name);

        // The audit says what became of it, in the same transaction: nothing of what was refused, and nothing where nothing was changed.
        await sites.SetAsync(
            system.District.Id,
            "NORTH",
            [new(null, null, "", null, null), new(null, null, null, null, RoleGroup.Student)],
            "she"
        );
        await sites.SetAsync(system.District.Id, "NORTH", new SiteChange(null, null, null, null, null), "nobody");
        await using var context = system.Database.CreateContext();
        Assert.Equal(
            [
                "test: site NORTH added: name North, Next Barcode N0001, policy STU; Teacher policy STU; Admin policy STU",
                "she: site NORTH changed: policy taken away",
            ],
            await context
                .AuditEntries.Where(a => a.Action == "site")
                .OrderBy(a => a.Id)
                .Select(a => a.Actor + ": " + a.Details)
                .ToListAsync()
        );
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Suggested_matches_are_made_all_at_once_with_one_look_at_the_roster(Db db)
    {
        await using var system = await StartAsync(db);
        var schools = system.Sandbox.District.Schools.ToList();
        foreach (var (school, i) in schools.Select((s, i) => (s, i)))
        {
            await system
                .Get<SiteService>()
                .AddAsync(system.District.Id, $"S{i}", new SiteChange(school.Name, null, null, null, null), "test");
        }

        var one = await CountAsync(() => system.Integrations.OrgsAsync(system.District, Kind));
        var all = await CountAsync(async () =>
            Assert.Equal(schools.Count, await system.Integrations.MatchSuggestedAsync(system.District, Kind, "librarian"))
        );
        Assert.Equal(one, all);
        var orgs = await system.Integrations.OrgsAsync(system.District, Kind);
        Assert.All(schools.Select((s, i) => (s, i)), p => Assert.Equal($"S{p.i}", orgs.Single(o => o.SourcedId == p.s.SourcedId).SiteCode));
        await using var context = system.Database.CreateContext();
        Assert.Equal(schools.Select(s => s.SourcedId).Order(), (await context.Sites.Select(s => s.Guid!).ToListAsync()).Order());
        Assert.Equal(schools.Count, await context.AuditEntries.CountAsync(a => a.Action == "match" && a.Actor == "librarian"));
        Assert.Equal(0, await system.Integrations.MatchSuggestedAsync(system.District, Kind, "librarian"));

        async Task<int> CountAsync(Func<Task> act)
        {
            var before = system.Sandbox.Requests.Count;
            await act();
            return system.Sandbox.Requests.Skip(before).Count(r => r.Collection == "orgs");
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Organizations_of_another_roster_than_is_connected_by_now_are_matched_to_nothing(Db db)
    {
        await using var system = await StartAsync(db);
        var school = system.Sandbox.District.Schools.First();
        await system.Get<SiteService>().AddAsync(system.District.Id, "ONE", new SiteChange(school.Name, null, null, null, null), "test");
        var tenant = 9990;
        foreach (
            var act in (Func<Task>[])
                [
                    () => system.Integrations.MatchAsync(system.District, Kind, "ONE", school.SourcedId, "test"),
                    () => system.Integrations.MatchSuggestedAsync(system.District, Kind, "test"),
                    () => system.Integrations.AddSitesAsync(system.District, Kind, null, "test"),
                ]
        )
        {
            var left = 1;
            system.Sandbox.BeforeAnswer = async cancellationToken =>
            {
                if (Interlocked.Exchange(ref left, 0) == 1)
                {
                    await system.Integrations.ConnectAsync(
                        system.District,
                        Kind,
                        Sync.FailureTests.Elsewhere(system) with
                        {
                            TenantId = $"{++tenant}",
                        },
                        true,
                        true,
                        "colleague",
                        cancellationToken: cancellationToken
                    );
                }
            };
            var refused = await Assert.ThrowsAsync<RollcallException>(act);
            Assert.Contains("was connected otherwise", refused.Message, StringComparison.Ordinal);
        }

        await using var context = system.Database.CreateContext();
        Assert.False(await context.SiteOrgs.AnyAsync());
        Assert.Equal("ONE", (await context.Sites.SingleAsync()).Code);
    }

    private async Task<Installation> StartAsync(Db db)
    {
        var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 60, Schools = 4 }, connect: false);
        await system.Integrations.StorePartnerKeyAsync(system.Sandbox.Options.PartnerKey, "test");
        await system.Integrations.ConnectAsync(
            system.District,
            Kind,
            new ConnectRequest(ConnectionMode.Proxy, system.Sandbox.Options.TenantId, system.Sandbox.Url.ToString()),
            asOperator: true,
            clear: false,
            "test"
        );
        await system.Integrations.TurnOnAsync(system.District.Id, Kind, clear: false, "test");
        return system;
    }

    private static async Task<string?> TryAsync(Installation system, string org)
    {
        try
        {
            await system.Integrations.AddSitesAsync(system.District, Kind, [new(org)], "test");
            return null;
        }
        catch (RollcallException e)
        {
            return e.Message;
        }
    }

    private static async Task RefusedAsync(Installation system, IReadOnlyList<SiteOfOrg>? wanted, params string[] words)
    {
        var refused = await Assert.ThrowsAsync<RollcallException>(() =>
            system.Integrations.AddSitesAsync(system.District, Kind, wanted, "test")
        );
        Assert.All(words, w => Assert.Contains(w, refused.Message, StringComparison.Ordinal));
        Assert.DoesNotContain('\n', refused.Message);
    }
}
