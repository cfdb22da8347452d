using System.Text.RegularExpressions;
using Microsoft.EntityFrameworkCore;
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
public sealed partial class SecretTests(PostgresCluster cluster)
{
    /// <summary>Where secrets are kept, encrypted or hashed. The test below fills every one of them.</summary>
    private static readonly string[] s_kept =
    [
        "access_tokens.hash",
        "account_tokens.value",
        "accounts.password_hash",
        "data_protection_keys.xml",
        "installation_settings.value",
        "integrations.secret",
        "notice_settings.webhook_secret",
        "one_time_links.id",
        "pending_sign_ins.browser",
        "pending_sign_ins.id",
        "sign_in_sessions.id",
        "switch_records.data",
        "used_codes.id",
    ];

    /// <summary>What is called like a secret and is none: names of things, keys of rows, and what only says that something is as it was.</summary>
    private static readonly string[] s_none =
    [
        "access_tokens.stamp",
        "account_claims.claim_value",
        "account_logins.provider_key",
        "account_passkeys.credential_id",
        "accounts.concurrency_stamp",
        "accounts.security_stamp",
        "homeroom_parts.data",
        "idempotent_requests.key",
        "installation_settings.key",
        "patrons.barcode_key",
        "patrons.email_key",
        "patrons.name_key",
        "patrons.search_key",
        "patrons.stamps",
        "pending_sign_ins.nonce",
        "sign_in_sessions.browser",
        "sign_in_sessions.stamp",
    ];

    [Fact]
    public async Task Every_column_that_may_hold_a_secret_is_known()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Sqlite);
        await using var context = system.Database.CreateContext();

        // A new one: does it hold a secret? Then it belongs among those that are kept, and the test below has to put one there.
        Assert.Equal(
            s_kept.Concat(s_none).Order(StringComparer.Ordinal),
            context
                .Model.GetEntityTypes()
                .SelectMany(e => e.GetProperties().Select(p => (Entity: e, Property: p, Column: $"{e.GetTableName()}.{p.GetColumnName()}")))
                .Where(c => c.Property.ClrType == typeof(string) || c.Property.ClrType == typeof(byte[]))
                .Where(c => LikeASecret().IsMatch(c.Column) || c.Property.IsPrimaryKey() && c.Property.Name == "Id")
                .Select(c => c.Column)
                .Order(StringComparer.Ordinal)
        );
    }

    [GeneratedRegex("secret|passw|token[^s.]*$|hash|stamp|nonce|credential|xml|browser$|(?:[._]key|value|data)$", RegexOptions.None, 1000)]
    private static partial Regex LikeASecret();

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

        // A switch sets the connection aside that was there before.
        await system.Integrations.ConnectAsync(
            system.District,
            IntegrationKind.ClassLink,
            Sync.FailureTests.Elsewhere(system),
            true,
            true,
            "test"
        );
        ConnectRequest[] others =
        [
            new(ConnectionMode.Direct, null, origin, made.ConsumerKey, made.ConsumerSecret),
            new(ConnectionMode.Bearer, null, sandbox.ProxyPrefix, Secret: made.Bearer),
            new(ConnectionMode.ClientCredentials, null, origin, made.ConsumerKey, made.ConsumerSecret) { TokenUrl = origin + "/token" },
        ];
        foreach (var way in others)
        {
            await system.Integrations.ConnectAsync(system.District, IntegrationKind.OneRoster, way, true, true, "test");
        }

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
        var recovery = await accounts.TurnSecondFactorOnAsync(account.Id, Authenticator.Code(key));
        secrets.AddRange(recovery);
        Assert.Equal(PasswordAnswer.Right, (await accounts.CheckAsync("anna@library.example", password, recovery[0])).Answer);
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

        // One that waits for its way back.
        var waiting = await system.Get<ClassLinkSignIn>().BeginAsync($"{origin}/back", browser, null);
        Plant(waiting!.Split("state=")[1].Split('&')[0]);
        foreach (var column in s_kept)
        {
            var (table, name) = (column.Split('.')[0], column.Split('.')[1]);
            await using var connection = await system.Database.OpenAsync();
            var rows = await Sql.ScalarAsync(
                connection,
                null,
                $"SELECT COUNT(*) FROM {table} WHERE {name} IS NOT NULL",
                TestContext.Current.CancellationToken
            );
            Assert.True(rows > 0, $"Nothing was put into {column}");
        }

        await system.Get<Backup>().WriteAsync(Path.Combine(system.Database.DataFolder, "backup.db"));
        Assert.All(secrets, s => Assert.True(s.Length > 8, s));
        Assert.Equal([], await Leftovers.FindAsync(system, log, [.. secrets]));

        // Nor in what is given out of everything that is kept.
        await using (var context = system.Database.CreateContext())
        {
            var somebody = await context.Patrons.FirstAsync(p => p.DistrictId == system.District.Id);
            var file = await system.Get<Rollcall.Patrons.Erasure.PatronErasure>().DataAsync(system.District, somebody.Barcode, "test");
            Assert.Equal([], Leftovers.Find(secrets, ("what is kept of one person", System.Text.Encoding.UTF8.GetBytes(file))));
        }

        // The search would find one: a name that is none is there.
        Assert.NotEmpty(await Leftovers.FindAsync(system, log, "anna@library.example"));

        string Plant(string secret)
        {
            secrets.Add(secret);
            return secret;
        }
    }
}
