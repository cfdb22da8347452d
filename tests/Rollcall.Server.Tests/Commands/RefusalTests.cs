using Rollcall.Sandbox;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Commands;

/// <summary>Wrong input and a world that does not answer: one line, an honest exit code, nothing half-written.</summary>
public sealed class RefusalTests(PostgresCluster postgres)
{
    private const string NoDatabase = "Host=127.0.0.1;Port=1;Username=x;Database=y";

    private static Task<SandboxServer> SandboxAsync() => SandboxServer.StartAsync(new SandboxOptions { Students = 40, Schools = 2 });

    [Fact]
    public async Task A_refused_connection_stores_nothing()
    {
        await using var sandbox = await SandboxAsync();
        await using var cli = await Cli.OpenAsync();
        var origin = sandbox.Url.GetLeftPart(UriPartial.Authority);
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend");
        var good = cli.File("good.key", sandbox.Options.PartnerKey);
        var bad = cli.File("bad.key", "wrong");
        string[] Proxy(string tenant, string url, string key) =>
            ["classlink", "connect", "--tenant-id", tenant, "--proxy", url, "--partner-key-file", key];

        await cli.RefusedAsync(1, "partner key", Proxy("2284", origin, bad));
        await cli.RefusedAsync(1, "no ClassLink partner key", "classlink", "connect", "--tenant-id", "2284", "--proxy", origin);
        await cli.RefusedAsync(1, "no district 3999", Proxy(SandboxTenants.NeverAdded, origin, good));
        await cli.RefusedAsync(1, "enable", Proxy(SandboxTenants.Disabled, origin, good));
        await cli.RefusedAsync(1, "Tenant ID is a number", Proxy("abc", origin, good));
        await cli.RefusedAsync(1, "cannot be reached", Proxy("2284", "http://127.0.0.1:1", good));
        await cli.RefusedAsync(1, "address", Proxy("2284", "nonsense", good));
        await cli.RefusedAsync(1, "does not exist", Proxy("2284", origin, Path.Combine(cli.Data, "missing")));
        await cli.RefusedAsync(1, "is empty", Proxy("2284", origin, cli.File("empty", "")));
        await cli.RefusedAsync(2, "--secret-file", "classlink", "connect", "--tenant-id", "1", "--direct", origin, "--key", "k");
        await cli.RefusedAsync(1, "No roster is connected", "classlink", "test");
        Assert.Equal("off", (await cli.OkAsync("classlink", "show")).Out.Split('\n')[0].Split(' ')[^1]);

        await cli.OkAsync(Proxy("2284", origin, good));
        await cli.RefusedAsync(1, "partner key", Proxy("2284", origin, bad));
        await cli.OkAsync("classlink", "test");
        await cli.OkAsync("district", "add", "LAKE", "--name", "Lakeside");
        await cli.RefusedAsync(1, "used by another district", [.. Proxy("2284", origin, good), "--district", "LAKE"]);
    }

    [Fact]
    public async Task A_roster_is_asked_for_as_many_rows_at_once_as_the_setting_says()
    {
        await using var sandbox = await SandboxAsync();
        await using var cli = await Cli.ConnectedAsync(sandbox);
        foreach (var wrong in new[] { "99", "10001", "many", "-5" })
        {
            cli.Variables["ROLLCALL_PAGE_SIZE"] = wrong;
            await cli.RefusedAsync(1, "ROLLCALL_PAGE_SIZE", "sync");
        }

        cli.Variables["ROLLCALL_PAGE_SIZE"] = "150";
        sandbox.ClearRequests();
        await cli.OkAsync("sync", "--json");
        var users = sandbox.Requests.Where(r => r.Collection == "users").ToList();
        Assert.NotEmpty(users);
        Assert.All(users, r => Assert.Contains("limit=150&", r.Query, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_roster_that_cannot_be_read_fails_the_sync_and_changes_nobody()
    {
        await using var sandbox = await SandboxAsync();
        await using var cli = await Cli.ConnectedAsync(sandbox);
        await cli.OkAsync("sync", "--json");
        var before = (await cli.OkAsync("patron", "list", "--json")).Out;
        foreach (
            var (fault, says) in new[]
            {
                ("html", "web page"),
                ("no-array", "no list"),
                ("empty-users", "no users"),
                ("empty-orgs", "no orgs"),
                ("401", "credentials"),
                ("disabled-403", "switched"),
            }
        )
        {
            sandbox.Faults.Set(fault);
            var ran = await cli.RunAsync("sync", "--json");
            Assert.Equal(1, ran.Code);
            Assert.Equal("failed", ran.Word("status"));
            Assert.Contains(says, ran.Word("error"), StringComparison.Ordinal);
            Assert.Contains(says, Assert.Single(ran.Error.TrimEnd('\n').Split('\n')), StringComparison.Ordinal);
        }

        sandbox.Faults.Set("duplicate-rows");
        await cli.OkAsync("sync");
        Assert.Equal(before, (await cli.OkAsync("patron", "list", "--json")).Out);
        sandbox.Faults.Set("malformed-user");
        Assert.Equal("completed-with-warnings", (await cli.OkAsync("sync", "--json")).Word("status"));
    }

    [Fact]
    public async Task A_sync_that_is_not_set_up_says_what_is_missing()
    {
        await using var sandbox = await SandboxAsync();
        await using var cli = await Cli.OpenAsync();
        await cli.RefusedAsync(1, "district add", "sync");
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend");
        await cli.RefusedAsync(1, "classlink connect", "sync");
        await cli.RefusedAsync(1, "Connect it first", "classlink", "on");
        await cli.ConnectAsync(sandbox);
        await cli.OkAsync("classlink", "on");
        var school = sandbox.District.Schools.First();
        await cli.RefusedAsync(1, "No site is matched", "sync");
        await cli.OkAsync("site", "add", "S1", "--name", school.Name);
        await cli.RefusedAsync(1, "no organization NOPE", "classlink", "match", "S1", "NOPE");
        await cli.RefusedAsync(1, "no site NOPE", "classlink", "match", "NOPE", school.SourcedId);
        await cli.OkAsync("classlink", "match", "S1", school.SourcedId);
        await cli.RefusedAsync(1, "roles", "sync");
        await cli.OkAsync("classlink", "roles", "student");
        await cli.OkAsync("sync");
    }

    [Theory]
    [InlineData(2, "--no-such", "sync", "--no-such")]
    [InlineData(2, "is no verb", "patron", "destroy")]
    [InlineData(2, "Say what to do", "patron")]
    [InlineData(2, "BARCODE", "patron", "show")]
    [InlineData(2, "'x' is no number", "operation", "show", "x")]
    [InlineData(2, "'x' of --limit is no number", "patron", "list", "--limit", "x")]
    [InlineData(2, "1 or more", "patron", "list", "--limit", "0")]
    [InlineData(1, "1 to 366 days", "token", "create", "X", "--scope", "all", "--days", "2147483647")]
    [InlineData(1, "1 to 366 days", "token", "create", "X", "--scope", "all", "--days", "-2147483648")]
    [InlineData(1, "days", "retention", "set", "--log-days", "2147483647")]
    [InlineData(1, "no operation 9223372036854775807", "operation", "show", "9223372036854775807")]
    [InlineData(2, "is no number", "operation", "show", "9223372036854775808")]
    [InlineData(1, "2147483647", "review", "ignore", "2147483647")]
    [InlineData(1, "9223372036854775807", "token", "revoke", "9223372036854775807")]
    [InlineData(2, "from 1 to", "sandbox", "--students", "2147483647")]
    [InlineData(2, "from 1 to", "sandbox", "--day", "2147483647")]
    [InlineData(2, "from 1 to", "demo", "--students", "2147483647")]
    [InlineData(1, "no site", "patron", "remove", "--site", "", "--yes")]
    [InlineData(2, "no status", "patron", "set-all", "--status", "", "notes=x")]
    [InlineData(2, "there is text, csv, jsonl", "operation", "log", "1", "--format", "pdf")]
    [InlineData(2, "FIELD=VALUE", "patron", "set", "A100", "level")]
    [InlineData(2, "no status", "patron", "list", "--status", "gone")]
    [InlineData(2, "teecher", "classlink", "roles", "teecher")]
    [InlineData(2, "cannot be mapped", "classlink", "map", "email", "none")]
    [InlineData(2, "--name", "district", "add", "X")]
    [InlineData(1, "no patron with the barcode", "patron", "show", "NOPE")]
    [InlineData(1, "no site NOPE", "patron", "list", "--site", "NOPE")]
    [InlineData(1, "no site NOPE", "site", "set", "NOPE", "--name", "x")]
    [InlineData(1, "no operation 99", "operation", "log", "99")]
    [InlineData(1, "no operation 99", "operation", "approve", "99")]
    [InlineData(1, "time zone", "district", "add", "X", "--name", "x", "--time-zone", "Mars/Base")]
    [InlineData(1, "end in a digit", "site", "add", "X", "--name", "x", "--next-barcode", "ABC")]
    [InlineData(1, "NOPE", "patron", "list", "--district", "NOPE")]
    public async Task What_is_written_wrongly_is_named(int code, string says, params string[] args)
    {
        await using var cli = await Cli.OpenAsync();
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend");
        await cli.RefusedAsync(code, says, args);
    }

    [Theory]
    [InlineData(false, "policy", "remove", "NOPE")]
    [InlineData(false, "account", "remove", "nobody@example.org")]
    [InlineData(false, "policy", "remove")]
    [InlineData(true, "patron", "remove", "NOPE")]
    [InlineData(true, "patron", "remove", "--no-such")]
    [InlineData(true, "operation", "undo", "99")]
    public async Task A_refusal_as_JSON_has_an_operations_numbers_only_where_the_command_reports_one(bool hasReport, params string[] args)
    {
        await using var cli = await Cli.OpenAsync();
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend");
        var ran = await cli.RunAsync([.. args, "--json"]);
        Assert.NotEqual(0, ran.Code);
        Assert.NotEmpty(ran.Word("error")!);
        Assert.Equal(hasReport, ran.Json.TryGetProperty("kind", out _));
        Assert.Equal(hasReport, ran.Json.EnumerateObject().Count() > 1);
    }

    [Fact]
    public async Task A_database_that_is_not_there_is_named_and_not_made()
    {
        await using var cli = await Cli.OpenAsync(postgres);
        await cli.RefusedAsync(1, "cannot be reached", "sync", "--database", NoDatabase);
        await cli.RefusedAsync(1, "cannot be reached", "db", "migrate", "--database", NoDatabase);
        await cli.RefusedAsync(1, "'hst' is no option", "patron", "list", "--database", "Hst=x");
        await cli.RefusedAsync(1, "not readable", "patron", "list", "--database", "rollcall");
        var typo = new Npgsql.NpgsqlConnectionStringBuilder(await postgres.CreateDatabaseAsync()) { Database = "rolcall" }.ToString();
        await cli.RefusedAsync(1, "\"rolcall\" does not exist", "db", "migrate", "--database", typo);
        await cli.RefusedAsync(1, "\"rolcall\" does not exist", "district", "list", "--database", typo);
        var empty = new Npgsql.NpgsqlConnectionStringBuilder(typo) { Database = "template1" }.ToString();
        await cli.RefusedAsync(1, "rollcall db migrate", "district", "list", "--database", empty);
    }

    [Fact]
    public async Task A_data_folder_that_cannot_be_used_is_named()
    {
        await using var cli = await Cli.OpenAsync();
        var file = cli.File("file", "x");
        await cli.RefusedAsync(1, "cannot be made", "district", "list", "--data", Path.Combine(file, "below"));
        var folder = Directory.CreateDirectory(Path.Combine(cli.Data, "broken")).FullName;
        await File.WriteAllTextAsync(Path.Combine(folder, "rollcall.db"), new string('x', 5000), TestContext.Current.CancellationToken);
        await cli.RefusedAsync(1, "rollcall.db", "district", "list", "--data", folder);
    }
}
