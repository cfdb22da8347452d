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

        async Task WorksAsync(bool works) => Assert.Equal(works, await tokens.FindAsync(token) is not null);
    }
}
