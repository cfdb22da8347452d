using Microsoft.EntityFrameworkCore;
using Rollcall.SignIn;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.SignIn;

/// <summary>The application by which ClassLink knows the installation.</summary>
public sealed class ClassLinkApplicationTests(PostgresCluster cluster)
{
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task The_audit_says_who_changed_what_of_it_and_never_the_secret(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, connect: false);
        var signIn = system.Get<ClassLinkSignIn>();

        // Nothing is written of what is refused: an id alone is no application.
        await Assert.ThrowsAsync<RollcallException>(() => signIn.StoreClientAsync("c1", null, null, null, null, "somebody"));
        await signIn.StoreClientAsync("c1", "secret-number-1", null, null, null, "anna");
        await signIn.StoreClientAsync(null, null, null, null, true, "ben");

        // The same again is no change, but a secret is one that nobody can compare.
        await signIn.StoreClientAsync("c1", null, null, null, true, "ben");
        await signIn.StoreClientAsync(null, "secret-number-1", null, null, null, "carla");
        await signIn.StoreClientAsync("c2", "secret-number-2", "https://launchpad.example/", null, false, "anna");

        await using var context = system.Database.CreateContext();
        var lines = await context
            .AuditEntries.Where(a => a.DistrictId == 0 && a.Action == "ClassLink application")
            .OrderBy(a => a.Id)
            .Select(a => a.Actor + ": " + a.Details)
            .ToListAsync();
        Assert.Equal(
            [
                "anna: id c1, secret stored",
                "ben: tiles are taken as they come",
                "carla: secret stored",
                "anna: id c2, secret stored, LaunchPad at https://launchpad.example, tiles begin anew",
            ],
            lines
        );
    }
}
