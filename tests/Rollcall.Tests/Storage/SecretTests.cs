using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.SignIn;
using Rollcall.Storage;
using Rollcall.Tests.Infrastructure;
using Rollcall.Tests.SignIn;

namespace Rollcall.Tests.Storage;

/// <summary>Every kind of secret that an installation is told or makes: in no table, no log and no backup.</summary>
public sealed class SecretTests(PostgresCluster cluster)
{
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task No_secret_is_ever_found_again(Db db)
    {
        var log = new LogTape();
        var made = new SandboxOptions
        {
            Students = 20,
            Schools = 2,
            PartnerKey = "planted-partner-key-7781",
            Bearer = "planted-bearer-token-7782",
            ConsumerKey = "planted-key",
            ConsumerSecret = "planted-consumer-secret-7783",
            ClientSecret = "planted-client-secret-7784",
        };
        await using var system = await Installation.StartAsync(cluster, db, made, configure: log.AddTo);
        var sandbox = system.Sandbox;
        var origin = sandbox.Url.GetLeftPart(UriPartial.Authority);
        var secrets = new List<string> { made.PartnerKey, made.Bearer, made.ConsumerSecret, made.ClientSecret };
        await system.SyncAsync();
        ConnectRequest[] ways =
        [
            new(ConnectionMode.Prefix, made.TenantId, sandbox.ProxyPrefix, Secret: made.Bearer),
            new(ConnectionMode.Direct, made.TenantId, origin, made.ConsumerKey, made.ConsumerSecret),
        ];
        foreach (var way in ways)
        {
            await system.Integrations.ConnectAsync(system.District, IntegrationKind.ClassLink, way, true, true, "test");
        }

        await system.Integrations.ConnectAsync(
            system.District,
            IntegrationKind.OneRoster,
            new ConnectRequest(ConnectionMode.ClientCredentials, null, origin, made.ConsumerKey, made.ConsumerSecret)
            {
                TokenUrl = origin + "/token",
            },
            true,
            true,
            "test"
        );

        // What is refused is not written down either.
        await Assert.ThrowsAnyAsync<Exception>(() =>
            system.Integrations.ConnectAsync(
                system.District,
                IntegrationKind.ClassLink,
                ways[0] with
                {
                    Secret = Plant("planted-wrong-token-7785"),
                },
                true,
                true,
                "test"
            )
        );
        await system
            .Get<NoticeService>()
            .SetAsync(system.District.Id, null, null, $"{origin}/hook", Plant("planted-webhook-secret-7786"), "test");
        await system.Get<ClassLinkSignIn>().StoreClientAsync(made.ClientId, made.ClientSecret, origin, origin, null, "test");

        var accounts = system.Get<Accounts>();
        Plant((await accounts.SetupLinkAsync())!);
        var (account, code) = await accounts.AddAsync(
            "anna@library.example",
            system.District,
            SecurityGroup.DistrictAdministrator,
            null,
            true,
            "test"
        );
        var password = Plant("planted password of anna 7787");
        await accounts.UseAsync(Plant(code!), null, password);
        Plant(await accounts.ResetAsync("anna@library.example", "test"));
        Plant(await accounts.SignInLinkAsync(account.Id));
        await accounts.CheckAsync("anna@library.example", Plant("planted wrong password 7788"), null);
        var (key, _) = await accounts.BeginSecondFactorAsync(account.Id, password);
        Plant(key.Replace(" ", "", StringComparison.Ordinal));
        secrets.AddRange(await accounts.TurnSecondFactorOnAsync(account.Id, Authenticator.Code(key)));
        Plant(await system.Get<Sessions>().OpenAsync(account, SignInMethod.Password, null, new Device("test", null)));
        Plant(
            (
                await system
                    .Get<AccessTokens>()
                    .CreateAsync(
                        system.District,
                        "planted",
                        SecurityGroup.LibraryAdministrator,
                        TokenScopes.PatronsRead,
                        TimeSpan.FromDays(1),
                        "test"
                    )
            ).Token
        );
        var browser = Plant("planted-browser-cookie-7789");
        var to = await system.Get<ClassLinkSignIn>().BeginAsync($"{origin}/back", browser, null);
        Plant(to!.Split("state=")[1].Split('&')[0]);

        // Somebody signs in: what ClassLink sends for it passes through here.
        var person = sandbox.District.People.First(p => p is { Role: "student", Presence: SandboxPresence.Present, Enabled: true });
        using (var http = new HttpClient(new HttpClientHandler { AllowAutoRedirect = false }))
        {
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
                .TakeAsync(
                    $"{origin}/back",
                    browser,
                    parts["state"],
                    Plant(parts["code"]),
                    null,
                    null,
                    TestContext.Current.CancellationToken
                );

            // Whoever it is may come in or not: it was asked for with these.
            Assert.NotEqual(SignInRefusal.NotProved, taken.Refusal);
            Assert.NotEqual(SignInRefusal.Unreachable, taken.Refusal);
            Plant(Assert.Single(sandbox.IssuedTokens));
        }

        await system.Get<Backup>().WriteAsync(Path.Combine(system.Database.DataFolder, "backup.db"));
        Assert.All(secrets, s => Assert.True(s.Length > 8, s));
        Assert.Equal([], await Leftovers.FindAsync(system, log, [.. secrets]));

        // The search would find one: a name that is none is there.
        Assert.NotEmpty(await Leftovers.FindAsync(system, log, "anna@library.example"));

        string Plant(string secret)
        {
            secrets.Add(secret);
            return secret;
        }
    }
}
