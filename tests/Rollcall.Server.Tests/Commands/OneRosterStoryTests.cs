using System.Text.Json;
using Rollcall.Sandbox;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Commands;

/// <summary>A roster server that is not ClassLink's, from connecting to undo, by the command line alone.</summary>
public sealed class OneRosterStoryTests(PostgresCluster postgres)
{
    private static Task<SandboxServer> SandboxAsync(SandboxApi api = SandboxApi.OneRoster12) =>
        SandboxServer.StartAsync(
            new SandboxOptions
            {
                Students = 80,
                Schools = 2,
                Api = api,
            }
        );

    [Theory]
    [InlineData("token", false)]
    [InlineData("token", true)]
    [InlineData("signed", false)]
    [InlineData("bearer", false)]
    public async Task A_server_is_connected_in_each_way_and_synced(string way, bool onPostgres)
    {
        await using var sandbox = await SandboxAsync(way == "signed" ? SandboxApi.OneRoster11 : SandboxApi.OneRoster12);
        await using var cli = await Cli.OpenAsync(onPostgres ? postgres : null);
        if (onPostgres)
        {
            await cli.OkAsync("db", "migrate");
        }

        var origin = sandbox.Url.GetLeftPart(UriPartial.Authority);
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend");
        string[] connect = way switch
        {
            "token" => ["--url", origin, "--token-url", origin + "/token", .. KeyAndSecret(cli, sandbox)],
            "signed" => ["--url", origin, .. KeyAndSecret(cli, sandbox)],
            _ => ["--url", sandbox.ProxyPrefix, "--token-file", cli.File("token", sandbox.Bearer)],
        };
        var connected = (await cli.OkAsync(["oneroster", "connect", .. connect])).Out;
        Assert.Contains(way == "token" ? "OneRoster 1.2 server" : "OneRoster 1.1 server", connected, StringComparison.Ordinal);
        Assert.Contains("'rollcall oneroster on'", connected, StringComparison.Ordinal);
        Assert.DoesNotContain(
            sandbox.Options.ConsumerSecret,
            (await cli.OkAsync("oneroster", "show", "--json")).Out,
            StringComparison.Ordinal
        );
        Assert.StartsWith("Connected", (await cli.OkAsync("oneroster", "test")).Out, StringComparison.Ordinal);

        Assert.Equal("OneRoster is on.\n", (await cli.OkAsync("oneroster", "on")).Out);
        await cli.RefusedAsync(1, "rollcall oneroster match", "sync");
        await cli.RefusedAsync(1, "'rollcall oneroster orgs'", "oneroster", "match", await SiteAsync(cli, "S0"), "nowhere");
        var schools = sandbox.District.Schools.ToList();
        await cli.OkAsync("oneroster", "match", await SiteAsync(cli, "S1"), schools[0].SourcedId);
        Assert.Contains("1 school has no site", (await cli.OkAsync("oneroster", "orgs")).Out, StringComparison.Ordinal);
        await cli.RefusedAsync(2, "one of the two", "oneroster", "add-sites");
        await cli.RefusedAsync(2, "one of the two", "oneroster", "add-sites", schools[1].SourcedId, "--all");
        await cli.RefusedAsync(1, "The code s1 cannot be", "oneroster", "add-sites", $"{schools[1].SourcedId}=s1");
        var added = (await cli.OkAsync("oneroster", "add-sites", "--all", "--json")).Out;
        Assert.Contains($"\"org\":{System.Text.Json.JsonSerializer.Serialize(schools[1].SourcedId)}", added, StringComparison.Ordinal);
        await cli.RefusedAsync(1, "there is none to add", "oneroster", "add-sites", "--all");

        await cli.RefusedAsync(1, "rollcall oneroster roles", "sync");
        await cli.OkAsync("oneroster", "roles", "student,teacher,admin");
        await cli.OkAsync("oneroster", "map", "community-id", "identifier");
        await cli.RefusedAsync(2, "none or preferred-name", "oneroster", "map", "nickname", "username");
        Assert.Contains(
            "nickname from preferred-name",
            (await cli.OkAsync("oneroster", "map", "nickname", "preferred-name")).Out,
            StringComparison.Ordinal
        );
        Assert.Equal(
            "preferred-name",
            (await cli.OkAsync("oneroster", "show", "--json")).Json.GetProperty("map").GetProperty("nickname").GetString()
        );
        await cli.OkAsync("oneroster", "map", "nickname", "none");
        Assert.Equal(0, (await cli.OkAsync("sync", "--preview", "--json")).Number("unchanged"));

        var first = await cli.OkAsync("sync", "--json");
        Assert.True(first.Number("created") > 60);
        Assert.Equal(first.Number("read"), first.Number("created") + first.Number("skipped"));
        var operation = await cli.OkAsync(
            "operation",
            "show",
            first.Number("operation").ToString(System.Globalization.CultureInfo.InvariantCulture)
        );
        Assert.StartsWith("OneRoster Full Sync", operation.Out, StringComparison.Ordinal);
        Assert.Equal(first.Number("created"), (await cli.OkAsync("sync", "--json")).Number("unchanged"));

        sandbox.SetDay(3);
        var changes = await cli.OkAsync("sync", "--changes", "--json");
        Assert.StartsWith("completed", changes.Word("status"), StringComparison.Ordinal);

        // Another spelling of the same server is no other roster, another server is.
        await cli.OkAsync(["oneroster", "connect", .. connect]);
        await using var other = await SandboxAsync();
        var elsewhere = other.Url.GetLeftPart(UriPartial.Authority);
        await cli.RefusedAsync(
            1,
            "--yes on the command line",
            ["oneroster", "connect", "--url", elsewhere, "--token-url", elsewhere + "/token", .. KeyAndSecret(cli, other)]
        );
        await cli.OkAsync("operation", "undo", first.Number("operation").ToString(System.Globalization.CultureInfo.InvariantCulture));
    }

    [Fact]
    public async Task A_wrong_connection_is_refused_and_stores_nothing()
    {
        await using var sandbox = await SandboxAsync();
        await using var cli = await Cli.OpenAsync();
        var origin = sandbox.Url.GetLeftPart(UriPartial.Authority);
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend");
        var good = KeyAndSecret(cli, sandbox);
        string[] bad = ["--key", sandbox.Options.ConsumerKey, "--secret-file", cli.File("bad", "wrong")];
        string[] connect = ["oneroster", "connect", "--url", origin];

        await cli.RefusedAsync(2, "Say how to sign in", connect);
        await cli.RefusedAsync(2, "--key needs --secret-file", [.. connect, "--key", "k"]);
        await cli.RefusedAsync(2, "--token-url needs --key", [.. connect, "--token-url", origin]);
        await cli.RefusedAsync(
            2,
            "--signature does not belong to --token-url",
            [.. connect, "--token-url", origin, .. good, "--signature", "HMAC-SHA1"]
        );
        await cli.RefusedAsync(2, "--key does not belong to --token-file", [.. connect, "--token-file", cli.File("t", "t"), .. good]);
        await cli.RefusedAsync(
            2,
            "contradicts",
            ["oneroster", "connect", "--url", origin + "/ims/oneroster/v1p1", "--version", "1.2", .. good]
        );
        await cli.RefusedAsync(1, "does not exist", [.. connect, "--key", "k", "--secret-file", Path.Combine(cli.Data, "missing")]);
        await cli.RefusedAsync(1, "refuses the credentials", [.. connect, .. bad]);
        await cli.RefusedAsync(1, "refuses the credentials", [.. connect, "--token-url", origin + "/token", .. bad]);
        await cli.RefusedAsync(1, "refuses the credentials", [.. connect, "--token-file", cli.File("t", "t")]);
        await cli.RefusedAsync(1, "hands out no tokens at this address", [.. connect, "--token-url", origin + "/oauth/token", .. good]);
        await cli.RefusedAsync(1, "cannot be reached", ["oneroster", "connect", "--url", "http://127.0.0.1:1", .. good]);
        await cli.RefusedAsync(1, "address", ["oneroster", "connect", "--url", "nonsense", .. good]);
        await cli.RefusedAsync(
            1,
            "no OneRoster service",
            ["oneroster", "connect", "--url", origin + "/elsewhere", "--token-file", cli.File("t", "t")]
        );
        await cli.RefusedAsync(1, "not connected", "oneroster", "on");
        await cli.RefusedAsync(1, "rollcall oneroster connect", "oneroster", "test");
        Assert.Equal("off", (await cli.OkAsync("oneroster", "show")).Out.Split('\n')[0].Split(' ')[^1]);
    }

    [Fact]
    public async Task Turning_it_on_turns_the_other_service_off_and_clears_it_once_that_was_agreed_to()
    {
        await using var sandbox = await SandboxAsync();
        await using var cli = await Cli.ConnectedAsync(sandbox);
        await cli.OkAsync("sync", "--json");
        var origin = sandbox.Url.GetLeftPart(UriPartial.Authority);
        await cli.OkAsync(["oneroster", "connect", "--url", origin, .. KeyAndSecret(cli, sandbox), "--yes"]);
        await cli.RefusedAsync(1, "--yes on the command line", "oneroster", "on");
        var turned = (await cli.OkAsync("oneroster", "on", "--yes", "--json")).Json;
        Assert.True(turned.GetProperty("enabled").GetBoolean());
        Assert.Equal(
            "switch",
            (await cli.OkAsync("operation", "show", $"{turned.GetProperty("cleared").GetInt64()}", "--json")).Word("kind")
        );
        Assert.Equal(JsonValueKind.Null, (await cli.OkAsync("oneroster", "on", "--json")).Json.GetProperty("cleared").ValueKind);
        Assert.Equal("off", (await cli.OkAsync("classlink", "show")).Out.Split('\n')[0].Split(' ')[^1]);
        Assert.DoesNotContain("\"guid\":\"", (await cli.OkAsync("patron", "list", "--json")).Out, StringComparison.Ordinal);
    }

    private static async Task<string> SiteAsync(Cli cli, string code)
    {
        await cli.OkAsync("site", "add", code, "--name", "School " + code);
        return code;
    }

    private static string[] KeyAndSecret(Cli cli, SandboxServer sandbox) =>
        ["--key", sandbox.Options.ConsumerKey, "--secret-file", cli.File("secret", sandbox.Options.ConsumerSecret)];
}
