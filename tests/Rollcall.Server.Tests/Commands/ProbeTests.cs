using Rollcall.Sandbox;

namespace Rollcall.Server.Tests.Commands;

/// <summary>What support asks for first.</summary>
public sealed class ProbeTests
{
    private static async Task<(SandboxServer Sandbox, Cli Cli)> StartAsync(SandboxApi api)
    {
        var sandbox = await SandboxServer.StartAsync(
            new SandboxOptions
            {
                Students = 120,
                Schools = 2,
                Api = api,
            }
        );
        var cli = await Cli.OpenAsync();
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend");
        var origin = sandbox.Url.GetLeftPart(UriPartial.Authority);
        await cli.OkAsync(
            "oneroster",
            "connect",
            "--url",
            origin,
            "--token-url",
            origin + "/token",
            "--key",
            sandbox.Options.ConsumerKey,
            "--secret-file",
            cli.File("secret", sandbox.Options.ConsumerSecret)
        );
        return (sandbox, cli);
    }

    [Theory]
    [InlineData(SandboxApi.OneRoster11, "1.1")]
    [InlineData(SandboxApi.OneRoster12, "1.2")]
    public async Task A_roster_is_examined_in_eighty_columns_and_without_any_person(SandboxApi api, string version)
    {
        var (sandbox, cli) = await StartAsync(api);
        await using var _ = sandbox;
        await using var __ = cli;
        sandbox.Faults.Set("no-totals,clamp=50");
        var log = Path.Combine(cli.Data, "log.csv");
        var text = (await cli.OkAsync("oneroster", "probe", "--log", log)).Out;
        Assert.All(text.Split('\n'), line => Assert.True(line.Length <= 80, line));
        Assert.Contains($"OneRoster {version}", text.ReplaceLineEndings(" "), StringComparison.Ordinal);
        Assert.Contains("Totals are not stated", text, StringComparison.Ordinal);
        Assert.Contains("50 rows at most", text, StringComparison.Ordinal);

        var json = (await cli.OkAsync("oneroster", "probe", "--json")).Json;
        var users = json.GetProperty("collections").EnumerateArray().Single(c => c.GetProperty("name").GetString() == "users");
        var people = sandbox.District.People;
        Assert.Equal(people.Count(p => p.Presence != SandboxPresence.Gone), users.GetProperty("rows").GetInt64());
        Assert.Equal(50, users.GetProperty("largestPage").GetInt64());
        Assert.Equal(System.Text.Json.JsonValueKind.Null, users.GetProperty("statedTotal").ValueKind);
        Assert.True(json.GetProperty("people").GetProperty("userIdTypes").GetProperty("StateID").GetInt64() > 100);
        Assert.Equal(version, json.GetProperty("version").GetString());

        var lines = await File.ReadAllLinesAsync(log, TestContext.Current.CancellationToken);
        Assert.Equal("Test Identifier,Test Date,Status,Records Read,Records Rejected,Comment", lines[0]);
        Assert.Contains(
            lines,
            l => l.StartsWith("users filter AND,", StringComparison.Ordinal) && l.Contains(",Success,", StringComparison.Ordinal)
        );
        foreach (var output in new[] { text, json.ToString(), string.Join('\n', lines) })
        {
            Assert.DoesNotContain(
                people,
                p => p.Email is { Length: > 0 } email && output.Contains(email, StringComparison.OrdinalIgnoreCase)
            );
            Assert.DoesNotContain(people, p => output.Contains(p.SourcedId, StringComparison.Ordinal));
            Assert.DoesNotContain(sandbox.Options.ConsumerSecret, output, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task What_stands_in_the_way_is_said_first()
    {
        var (sandbox, cli) = await StartAsync(SandboxApi.OneRoster12);
        await using var _ = sandbox;
        await using var __ = cli;
        sandbox.Faults.Set("no-sourcedid,no-demographics-403,html:classes");
        var lines = (await cli.OkAsync("oneroster", "probe")).Out.Split('\n');
        var first = Array.FindIndex(lines, l => l.StartsWith("What matters", StringComparison.Ordinal)) + 1;
        Assert.StartsWith("  PROBLEM", lines[first], StringComparison.Ordinal);
        var text = string.Join(' ', lines.Select(l => l.Trim()));
        Assert.Contains("classes cannot be read", text, StringComparison.Ordinal);
        Assert.Contains("1 rows of users have no sourcedId", text, StringComparison.Ordinal);
        Assert.Contains("demographics is empty or not shared", text, StringComparison.Ordinal);

        sandbox.Faults.Set("401");
        await cli.RefusedAsync(1, "credentials", "oneroster", "probe");
    }
}
