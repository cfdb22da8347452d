using Rollcall.Sandbox;
using Rollcall.SignIn;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.SignIn;

/// <summary>The keys that ClassLink signs with are kept for a while, and no longer.</summary>
public sealed class ClassLinkKeyTests(PostgresCluster cluster)
{
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_key_that_is_listed_no_more_proves_nothing_ten_minutes_later(Db db)
    {
        var time = new ShiftedTime(TimeProvider.System.GetUtcNow());
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 20, Schools = 2 }, time);
        var sandbox = system.Sandbox;
        var origin = sandbox.Url.GetLeftPart(UriPartial.Authority);
        await system
            .Get<ClassLinkSignIn>()
            .StoreClientAsync(sandbox.Options.ClientId, sandbox.Options.ClientSecret, origin, origin, null, "test");
        var person = sandbox.District.People.First(p => p is { Role: "student", Presence: SandboxPresence.Present, Enabled: true });

        // Whether somebody comes in is not asked here, but whether it is proved who they are.
        Assert.NotEqual(SignInRefusal.NotProved, await ComeAsync());
        sandbox.Faults.Set("withdrawn-key");
        time.MoveTo(time.GetUtcNow() + TimeSpan.FromMinutes(9));
        Assert.NotEqual(SignInRefusal.NotProved, await ComeAsync());
        time.MoveTo(time.GetUtcNow() + TimeSpan.FromMinutes(2));
        Assert.Equal(SignInRefusal.NotProved, await ComeAsync());
        sandbox.Faults.Clear();
        Assert.NotEqual(SignInRefusal.NotProved, await ComeAsync());

        async Task<SignInRefusal> ComeAsync()
        {
            var to = await system.Get<ClassLinkSignIn>().BeginAsync($"{origin}/back", "browser", null);
            using var http = new HttpClient(new HttpClientHandler { AllowAutoRedirect = false });
            using var answer = await http.GetAsync(
                new Uri($"{to}&person={Uri.EscapeDataString(person.SourcedId)}"),
                TestContext.Current.CancellationToken
            );
            var parts = answer
                .Headers.Location!.Query.TrimStart('?')
                .Split('&')
                .Select(p => p.Split('='))
                .ToDictionary(p => p[0], p => p[1]);
            var taken = await system
                .Get<ClassLinkSignIn>()
                .TakeAsync($"{origin}/back", "browser", parts["state"], parts["code"], null, null, TestContext.Current.CancellationToken);
            Assert.NotEqual(SignInRefusal.Unreachable, taken.Refusal);
            return taken.Refusal;
        }
    }
}
