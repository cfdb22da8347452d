using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.Patrons;
using Rollcall.SignIn;
using Rollcall.Tests.Infrastructure;
using Rollcall.Tests.Sync;

namespace Rollcall.Tests.SignIn;

/// <summary>Access tokens on both databases: with whom they end.</summary>
public sealed class TokenTests(PostgresCluster cluster)
{
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_patrons_token_does_nothing_while_its_maker_could_not_sign_in(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        system.Sandbox.Person("lib", "Ada", "Byron", role: "teacher");
        await system.SyncAsync();
        var district = system.District.Id;
        var patron = (await system.PatronsByGuidAsync())["lib"];
        await system.Patrons.EditAsync(district, patron.Barcode, [new("group", "District Administrator")], "test");
        await LoginAsync(true);
        var tokens = system.Get<AccessTokens>();
        var (_, token) = await tokens.CreateAsync(
            system.District,
            "catalogue",
            SecurityGroup.DistrictAdministrator,
            TokenScopes.PatronsRead,
            TimeSpan.FromDays(1),
            new Actor("Byron, Ada", SecurityGroup.DistrictAdministrator),
            patronId: patron.Id
        );
        await WorksAsync(true);

        // Disabled in the roster, and enabled again.
        await DisableAsync(true);
        await WorksAsync(false);
        await DisableAsync(false);
        await WorksAsync(true);

        // The district turns the way in off, and on again.
        await LoginAsync(false);
        await WorksAsync(false);
        await LoginAsync(true);
        await WorksAsync(true);
        await system.Integrations.TurnOffAsync(district, IntegrationKind.ClassLink, "test");
        await WorksAsync(false);
        await system.Integrations.TurnOnAsync(district, IntegrationKind.ClassLink, clear: false, "test");
        await WorksAsync(true);

        // The record is somebody else's now, or nobody's, and theirs again.
        foreach (var guid in (string?[])["somebody-else", null])
        {
            await GuidAsync(guid);
            await WorksAsync(false);
            var why = Assert.Single(await tokens.LessAsync(await tokens.ListAsync(district))).Value.Why;
            Assert.Equal(guid is not null, why.Contains("another id in the roster", StringComparison.Ordinal));
            await GuidAsync(patron.Guid);
            await WorksAsync(true);
        }

        // The roster does not know them any more.
        await using (var context = system.Database.CreateContext())
        {
            await context.PatronLinks.Where(l => l.PatronId == patron.Id).ExecuteDeleteAsync();
        }

        await WorksAsync(false);

        Task LoginAsync(bool on) => system.ConfigureAsync(s => s with { Login = s.Login with { On = on } });

        async Task DisableAsync(bool disabled)
        {
            await using var context = system.Database.CreateContext();
            var done = await context
                .PatronLinks.Where(l => l.DistrictId == district && l.PatronId == patron.Id)
                .ExecuteUpdateAsync(s => s.SetProperty(l => l.LoginDisabled, disabled));
            Assert.Equal(1, done);
        }

        async Task GuidAsync(string? guid)
        {
            await using var context = system.Database.CreateContext();
            await context.Patrons.Where(p => p.Id == patron.Id).ExecuteUpdateAsync(s => s.SetProperty(p => p.Guid, guid));
        }

        async Task WorksAsync(bool works) => Assert.Equal(works, await tokens.FindAsync(token) is not null);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_patron_who_signed_out_everywhere_leaves_no_token_that_was_under_way(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        system.Sandbox.Person("lib", "Ada", "Byron", role: "teacher");
        await system.SyncAsync();
        await system.ConfigureAsync(s => s with { Login = s.Login with { On = true } });
        var patron = (await system.PatronsByGuidAsync())["lib"];
        await system.Patrons.EditAsync(system.District.Id, patron.Barcode, [new("group", "District Administrator")], "test");
        var (sessions, tokens) = (system.Get<Sessions>(), system.Get<AccessTokens>());
        var cookie = await sessions.OpenAsync(
            system.District.Id,
            patron.Id,
            SignInMethod.ClassLink,
            null,
            new Device("test", null),
            patron.Guid
        );
        var who = (await sessions.FindAsync(cookie))!;
        await MakeAsync();

        // Less rights, none, and no session.
        await system.Patrons.EditAsync(system.District.Id, patron.Barcode, [new("group", "Library Administrator")], "test");
        await Assert.ThrowsAsync<RollcallException>(MakeAsync);
        await system.Patrons.EditAsync(system.District.Id, patron.Barcode, [new("group", "District Administrator")], "test");
        await system.Patrons.EditAsync(system.District.Id, patron.Barcode, [new("status", "Inactive")], "test");
        await Assert.ThrowsAsync<RollcallException>(MakeAsync);
        await system.Patrons.EditAsync(system.District.Id, patron.Barcode, [new("status", "Active")], "test");
        await sessions.EndAsync(who, null);
        await Assert.ThrowsAsync<RollcallException>(MakeAsync);
        Assert.Single(await tokens.ListAsync(system.District.Id));

        Task MakeAsync() =>
            tokens.CreateAsync(
                system.District,
                "catalogue",
                SecurityGroup.DistrictAdministrator,
                TokenScopes.PatronsRead,
                TimeSpan.FromDays(1),
                new Actor(who.Name, SecurityGroup.DistrictAdministrator),
                patronId: patron.Id,
                session: who.SessionId
            );
    }
}
