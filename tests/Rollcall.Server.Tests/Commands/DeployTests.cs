using System.Net;
using System.Text.Json;
using System.Text.RegularExpressions;
using Rollcall.Server.Commands;

namespace Rollcall.Server.Tests.Commands;

/// <summary>What lies in <c>deploy</c> is what the program accepts.</summary>
public sealed class DeployTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public void The_servers_of_the_compose_file_may_listen_where_it_says()
    {
        var file = File.ReadAllText(Path.Combine(DocumentTests.Root(), "deploy", "compose.yaml"));
        var commands = Regex
            .Matches(file, @"^ +command: \[(?<words>.*)\]$", RegexOptions.Multiline)
            .Select(m => Words(m.Groups["words"].Value))
            .ToList();
        Assert.Equal(["db", "serve"], commands.Select(c => c[0]));
        var terminal = Surroundings(
            Regex
                .Matches(file, "^ +(?<name>ROLLCALL_[A-Z_]+): (?<value>.+)$", RegexOptions.Multiline)
                .ToDictionary(m => m.Groups["name"].Value, m => m.Groups["value"].Value, StringComparer.Ordinal)
        );
        var result = ServeCommand.Build(terminal).Parse(commands[1][1..]);
        Assert.Empty(result.Errors);
        var (url, reach) = ServeCommand.Read(result, terminal);
        Assert.Equal(("http://0.0.0.0:8080", "https://library.example.org/"), (url, reach.PublicUrl?.ToString()));

        // Whom the server in front names is believed, and nobody else.
        Assert.True(reach.IsProxy(IPAddress.Parse("172.30.80.2")));
        Assert.False(reach.IsProxy(IPAddress.Parse("172.30.80.3")));

        // The others' addresses are of a part of the network that its own is none of.
        Assert.Contains("subnet: 172.30.80.0/24, ip_range: 172.30.80.128/25", file, StringComparison.Ordinal);
        Assert.False(IPNetwork.Parse("172.30.80.128/25").Contains(IPAddress.Parse("172.30.80.2")));

        static string[] Words(string list) => [.. list.Split(',').Select(w => w.Trim().Trim('"'))];
    }

    [Fact]
    public void What_others_wrote_is_named_with_its_version_and_licence()
    {
        using var program = JsonDocument.Parse(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "rollcall.deps.json")));
        var shipped = program
            .RootElement.GetProperty("targets")
            .EnumerateObject()
            .Single()
            .Value.EnumerateObject()
            .Where(l => l.Value.TryGetProperty("runtime", out _) || l.Value.TryGetProperty("runtimeTargets", out _))
            .Select(l => l.Name)
            .Where(n => program.RootElement.GetProperty("libraries").GetProperty(n).GetProperty("type").GetString() == "package")
            .Select(n => n.Split('/'))
            .Select(n => (n[0], n[1]))
            .Order();
        var text = File.ReadAllText(Path.Combine(DocumentTests.Root(), "THIRD-PARTY.md"));
        var named = Regex
            .Matches(
                text,
                @"^\| (?<name>[A-Za-z0-9._]+) \| (?<version>[0-9][^ |]*) \| (?<licence>[^|]+) \| [^|]+ \|$",
                RegexOptions.Multiline
            )
            .ToList();
        Assert.All(named, m => Assert.Contains($"\n## {m.Groups["licence"].Value}\n", text, StringComparison.Ordinal));
        Assert.Equal(
            shipped,
            named
                .Select(m => (m.Groups["name"].Value, m.Groups["version"].Value))
                .Where(m => m.Item1 is not ("Bootstrap" or "htmx"))
                .Order()
        );
    }

    [Fact]
    public void The_unit_starts_a_server_that_only_its_machine_reaches()
    {
        var unit = File.ReadAllLines(Path.Combine(DocumentTests.Root(), "deploy", "rollcall.service"));
        string[] Values(string name) =>
            [.. unit.Where(l => l.StartsWith(name + "=", StringComparison.Ordinal)).Select(l => l[(name.Length + 1)..])];
        var words = Assert.Single(Values("ExecStart")).Split(' ');
        Assert.Equal("serve", words[1]);
        var terminal = Surroundings(
            Values("Environment").Select(v => v.Split('=', 2)).ToDictionary(v => v[0], v => v[1], StringComparer.Ordinal)
        );
        var result = ServeCommand.Build(terminal).Parse(words[2..]);
        Assert.Empty(result.Errors);
        Assert.Equal(
            (ServeCommand.DefaultUrl, null),
            (ServeCommand.Read(result, terminal).Url, ServeCommand.Read(result, terminal).Reach.PublicUrl)
        );
    }

    [Fact]
    public async Task Whoever_balances_between_nodes_asks_for_their_health_under_any_name_and_for_nothing_else()
    {
        await using var cli = await Cli.OpenAsync();
        var (process, said) = await RealProcess.ServeAsync(cli, "--public-url", "https://library.example.org");
        using var server = process;
        using var http = new HttpClient();
        async Task<(HttpStatusCode, string)> AskAsync(string path)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, said.GetProperty("url").GetString() + path);
            request.Headers.Host = "10.0.0.7:8080";
            using var response = await http.SendAsync(request, Stop);
            return (response.StatusCode, await response.Content.ReadAsStringAsync(Stop));
        }

        Assert.Equal((HttpStatusCode.OK, "ok\n"), await AskAsync("/health/live"));
        Assert.Equal((HttpStatusCode.OK, "database: ok\ndisk: ok\nschedule: ok\nworker: ok\n"), await AskAsync("/health/ready"));
        Assert.Equal(HttpStatusCode.BadRequest, (await AskAsync("/")).Item1);
        Assert.Equal(HttpStatusCode.BadRequest, (await AskAsync("/api/v1/health")).Item1);
        await RealProcess.SignalAsync(server, "TERM");
        await server.WaitForExitAsync(Stop);
    }

    private static Terminal Surroundings(Dictionary<string, string> variables) =>
        new(TextWriter.Null, TextWriter.Null, () => Stream.Null, name => variables.GetValueOrDefault(name), false, false);
}
