using System.Text.Json;
using System.Text.Json.Nodes;

namespace Rollcall.Server.Tests.Commands;

/// <summary>A real provider's records and manners, from connecting to the second pull and a pupil who moves.</summary>
public sealed class EdFiTests
{
    private static readonly string[] s_synced = ["student", "teacher", "principal"];

    private static async Task<Cli> ConnectedAsync(EdFiServer server)
    {
        var cli = await Cli.OpenAsync();
        await cli.OkAsync("district", "add", "GRAND", "--name", "Grand Bend");
        var token = cli.File("token", EdFiServer.Token);
        Assert.Contains(
            "OneRoster 1.2 server",
            (await cli.OkAsync("oneroster", "connect", "--url", server.Url, "--token-file", token)).Out,
            StringComparison.Ordinal
        );
        await cli.OkAsync("oneroster", "on");
        foreach (var school in server.Rows["orgs"].Where(o => (string?)o["type"] == "school"))
        {
            var code = (string)school["identifier"]!;
            await cli.OkAsync("site", "add", code, "--name", (string)school["name"]!, "--next-barcode", $"{code}0001");
            await cli.OkAsync("oneroster", "match", code, (string)school["sourcedId"]!);
        }

        await cli.OkAsync("oneroster", "roles", "student,teacher,admin");
        await cli.OkAsync("oneroster", "map", "community-id", "identifier");
        await cli.OkAsync("oneroster", "site-from", "primary-org");
        return cli;
    }

    [Fact]
    public async Task Its_people_are_read_whole_and_stay_as_they_are()
    {
        await using var server = await EdFiServer.StartAsync();
        await using var cli = await ConnectedAsync(server);
        var people = server.Rows["users"].Where(u => EdFiServer.HasRole(u, s_synced)).ToList();
        Assert.True(people.Count > people.DistinctBy(u => (string)u["identifier"]!).Count(), "somebody stands there twice");

        // It is busy for a moment: plain text, and a header that says how long.
        server.Busy = 2;
        var first = await cli.OkAsync("sync", "--json");
        Assert.StartsWith("completed", first.Word("status"), StringComparison.Ordinal);
        Assert.Equal(people.Count, first.Number("read"));

        // A pupil of two schools is two records there, with one number: one patron, and a question about the other record.
        var persons = people.DistinctBy(u => (string)u["identifier"]!).Count();
        Assert.Equal((persons, people.Count - persons), (first.Number("created"), first.Number("review")));
        var waiting = JsonDocument.Parse((await cli.OkAsync("review", "list", "--json")).Out).RootElement;
        Assert.Equal(people.Count - persons, waiting.GetArrayLength());
        Assert.NotEmpty(waiting[0].GetProperty("reason").GetString()!);

        // The school of the primary role, in whatever order the roles came.
        var schools = server.Rows["orgs"].ToDictionary(o => (string)o["sourcedId"]!, o => (string)o["identifier"]!);
        var patrons = (await cli.OkAsync("patron", "export", "--format", "jsonl")).Out;
        var byGuid = patrons
            .Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(l => JsonNode.Parse(l)!.AsObject())
            .ToDictionary(p => (string)p["guid"]!);
        Assert.Equal(persons, byGuid.Count);
        foreach (var person in people.Where(p => byGuid.ContainsKey((string)p["sourcedId"]!)))
        {
            var primary = person["roles"]!.AsArray().Single(r => (string?)r!["roleType"] == "primary")!;
            var patron = byGuid[(string)person["sourcedId"]!];
            Assert.Equal(schools[(string)primary["org"]!["sourcedId"]!], (string?)patron["site"]);
            Assert.Equal((string?)person["familyName"], (string?)patron["lastName"]);
            Assert.Equal((string?)person["identifier"], (string?)patron["communityId"]);
        }

        // The next pull has roles in another order, and nobody changes; nor does anybody in one of changes.
        var second = await cli.OkAsync("sync", "--json");
        Assert.Equal((0, 0, 0), (second.Number("created"), second.Number("updated"), second.Number("transferred")));
        Assert.Equal((persons, people.Count - persons), (second.Number("unchanged"), second.Number("review")));
        var changes = await cli.OkAsync("sync", "--changes", "--json");
        Assert.Equal((0, 0), (changes.Number("updated"), changes.Number("transferred")));

        // Who moves is gone there, and a stranger comes with the same number.
        var mover = server.Rows["users"].First(u => EdFiServer.HasRole(u, "student") && people.Count(p => Same(p, u)) == 1);
        var roles = mover["roles"]!.AsArray();
        var elsewhere = server
            .Rows["orgs"]
            .First(o => (string?)o["type"] == "school" && (string?)o["sourcedId"] != (string?)roles[0]!["org"]!["sourcedId"]);
        var old = (string)mover["sourcedId"]!;
        mover["sourcedId"] = "ffff13d2b103b68dc27379b275edb0e0";
        roles[0]!["org"]!["sourcedId"] = (string)elsewhere["sourcedId"]!;
        var moved = await cli.OkAsync("sync", "--json");
        Assert.Equal((0, 1, 0), (moved.Number("created"), moved.Number("updated"), moved.Number("transferred")));
        var now = (await cli.OkAsync("patron", "show", (string)byGuid[old]["barcode"]!, "--json")).Json;
        Assert.Equal("ffff13d2b103b68dc27379b275edb0e0", now.GetProperty("guid").GetString());
        Assert.Equal((string?)elsewhere["identifier"], now.GetProperty("site").GetString());
        Assert.NotEqual(old, now.GetProperty("guid").GetString());
    }

    private static bool Same(JsonObject one, JsonObject other) => (string?)one["identifier"] == (string?)other["identifier"];

    [Fact]
    public async Task What_it_lacks_is_said_and_what_it_refuses_is_quoted()
    {
        await using var server = await EdFiServer.StartAsync();
        await using var cli = await ConnectedAsync(server);
        server.SharesDemographics = false;
        var synced = await cli.OkAsync("sync", "--json");
        Assert.Equal("completed-with-warnings", synced.Word("status"));
        Assert.Contains("emographics", (await cli.OkAsync("operation", "show", "1")).Out, StringComparison.Ordinal);

        server.SharesDemographics = true;
        var probe = (await cli.OkAsync("oneroster", "probe", "--json")).Json;
        foreach (var collection in probe.GetProperty("collections").EnumerateArray())
        {
            var name = collection.GetProperty("name").GetString()!;
            Assert.Equal(server.Rows[name].Count, collection.GetProperty("rows").GetInt64());
            Assert.Equal(System.Text.Json.JsonValueKind.Null, collection.GetProperty("statedTotal").ValueKind);
        }

        var log = probe.GetProperty("log").EnumerateArray().ToDictionary(t => t.GetProperty("testIdentifier").GetString()!);
        Assert.Equal("Success", log["users limit=0"].GetProperty("status").GetString());
        Assert.Equal("Success", log["users filter AND"].GetProperty("status").GetString());
        Assert.Equal("Success", log["users filter contains"].GetProperty("status").GetString());
        Assert.Equal("Success", log["users filter, unknown field"].GetProperty("status").GetString());
        Assert.Equal("Success", log["users/{unknown id}"].GetProperty("status").GetString());
        Assert.Equal("Fail", log["schools/{id}/students"].GetProperty("status").GetString());
        Assert.Contains("404", log["schools/{id}/students"].GetProperty("comment").GetString(), StringComparison.Ordinal);
        var text = (await cli.OkAsync("oneroster", "probe")).Out.ReplaceLineEndings(" ");
        Assert.Contains("Totals are not stated", text, StringComparison.Ordinal);
        Assert.Contains($"{EdFiServer.Clamp} rows at most", text, StringComparison.Ordinal);
        Assert.Contains("No class is a homeroom", text, StringComparison.Ordinal);

        await cli.RefusedAsync(
            1,
            "Invalid or expired token.",
            "oneroster",
            "connect",
            "--url",
            server.Url,
            "--token-file",
            cli.File("wrong", "another-token")
        );
    }
}
