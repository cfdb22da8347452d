using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;
using Rollcall.Sandbox;

namespace Rollcall.OneRoster.Tests.Sandbox;

/// <summary>Each fault does what its name says, when it is said to, and nothing remains of it afterwards.</summary>
public sealed class SandboxFaultTests : IAsyncLifetime
{
    private SandboxServer _server = null!;

    public async ValueTask InitializeAsync() => _server = await SandboxServer.StartAsync(new SandboxOptions { Students = 300 });

    public ValueTask DisposeAsync() => _server.DisposeAsync();

    [Theory]
    [InlineData("nonsense")]
    [InlineData("clamp")]
    [InlineData("clamp=many")]
    [InlineData("429@x")]
    [InlineData("429:nothing")]
    [InlineData("429, nonsense")]
    public void Unknown_faults_are_refused_and_change_nothing(string faults)
    {
        _server.Faults.Set("slow=1");

        Assert.Throws<ArgumentException>(() => _server.Faults.Set(faults));
        Assert.Equal(["slow=1"], _server.Faults.Active);
    }

    [Theory]
    [InlineData("429", HttpStatusCode.TooManyRequests)]
    [InlineData("429-no-retry-after", HttpStatusCode.TooManyRequests)]
    [InlineData("401", HttpStatusCode.Unauthorized)]
    [InlineData("404", HttpStatusCode.NotFound)]
    [InlineData("500", HttpStatusCode.InternalServerError)]
    [InlineData("500-at=1", HttpStatusCode.InternalServerError)]
    [InlineData("502", HttpStatusCode.BadGateway)]
    [InlineData("502-over=99", HttpStatusCode.BadGateway)]
    [InlineData("503", HttpStatusCode.ServiceUnavailable)]
    [InlineData("disabled-403", HttpStatusCode.Forbidden)]
    [InlineData("no-demographics-403", HttpStatusCode.Forbidden)]
    [InlineData("rotate-bearer-at=1", HttpStatusCode.Unauthorized)]
    public async Task Statuses(string fault, HttpStatusCode status)
    {
        var bearer = _server.Bearer;
        _server.Faults.Set(fault);
        using (var response = await SandboxClient.GetAsync(_server.ProxyPrefix + "demographics", bearer))
        {
            Assert.Equal(status, response.StatusCode);
            Assert.Equal(fault == "429" ? "1" : "", response.Header("Retry-After"));
        }

        _server.Faults.Clear();
        using var after = await _server.RosterAsync("demographics");
        Assert.Equal(HttpStatusCode.OK, after.StatusCode);
    }

    [Fact]
    public async Task Faults_count_their_own_requests_and_know_their_collection()
    {
        async Task<int> Ask(string path)
        {
            using var response = await _server.RosterAsync(path);
            return (int)response.StatusCode;
        }

        _server.Faults.Set("503:users@2-3, 404:orgs@2+");
        var answers = new List<int>();
        foreach (var collection in new[] { "classes", "users", "users", "orgs", "users", "users", "orgs", "orgs" })
        {
            answers.Add(await Ask(collection));
        }

        Assert.Equal([200, 200, 503, 200, 503, 200, 404, 404], answers);
    }

    [Fact]
    public async Task Headers_and_sizes()
    {
        async Task<(string Total, string Count, string Revision, int Rows)> Ask(string faults, string query = "limit=50")
        {
            _server.Faults.Set(faults);
            using var response = await _server.RosterAsync($"users?{query}");
            var rows = JsonElement.Parse(await response.Content.ReadAsStringAsync()).GetProperty("users").GetArrayLength();
            return (response.Header("x-total-count"), response.Header("x-count"), response.Header("x-perm-rev"), rows);
        }

        var (total, _, none, _) = await Ask("");
        Assert.Equal("", none);
        Assert.Equal(("", "", "", 50), await Ask("no-totals"));
        Assert.Equal((total, "20", "", 20), await Ask("clamp=20"));
        Assert.Equal((total, "25", "", 25), await Ask("short-page"));
        Assert.Equal(("0", "0", "", 0), await Ask("empty-users"));
        Assert.Equal(total, (await Ask("total-changes")).Total);
        Assert.NotEqual(total, (await Ask("total-changes", "limit=50&offset=50")).Total);
        Assert.NotEqual(total, (await Ask("total-too-high")).Total);
        Assert.Equal((total, "51", "", 50), await Ask("count-too-high"));
        var (_, _, revision, _) = await Ask("perm-rev");
        Assert.Equal(revision, (await Ask("perm-rev", "limit=1")).Revision);
        _server.SetDay(1);
        Assert.NotEqual(revision, (await Ask("perm-rev")).Revision);
        Assert.NotEqual((await Ask("revision-changes")).Revision, (await Ask("revision-changes")).Revision);
        _server.Faults.Set("link");
        using var linked = await _server.RosterAsync("users?limit=5");
        Assert.Contains(
            $"{_server.Options.ApplicationId}/ims/oneroster/v1p1/users?limit=5&offset=5",
            linked.Header("Link"),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task Rows_that_mislead()
    {
        var truth = (await _server.AllAsync("users", 100)).Select(u => u.Text("sourcedId")).ToList();
        async Task<List<JsonElement>> Page(int offset, int limit = 100) =>
            [.. (await _server.JsonAsync($"users?limit={limit}&offset={offset}")).EnumerateObject().Single().Value.EnumerateArray()];

        _server.Faults.Set("ignore-offset");
        Assert.Equal(truth[..100], (await Page(100)).Select(u => u.Text("sourcedId")));
        _server.Faults.Set("shift-rows");
        Assert.Equal(truth[99..199], (await Page(100)).Select(u => u.Text("sourcedId")));
        _server.Faults.Set("offset-rounds-up");
        Assert.Equal(truth[100..200], (await Page(99)).Select(u => u.Text("sourcedId")));
        Assert.Equal(truth[100..200], (await Page(100)).Select(u => u.Text("sourcedId")));
        _server.Faults.Set("row-vanishes");
        Assert.Equal(truth[..100], (await Page(0)).Select(u => u.Text("sourcedId")));
        Assert.Equal(truth[101..201], (await Page(100)).Select(u => u.Text("sourcedId")));
        _server.Faults.Set("duplicate-rows");
        var page = await Page(0);
        var twice = page.GroupBy(u => u.Text("sourcedId"), StringComparer.Ordinal).Single(g => g.Count() == 2).ToList();
        Assert.True(string.CompareOrdinal(twice[0].Text("dateLastModified"), twice[1].Text("dateLastModified")) > 0);
        Assert.Equal(truth, (await _server.AllAsync("users", 100)).Select(u => u.Text("sourcedId")).Distinct(StringComparer.Ordinal));
        _server.Faults.Set("malformed-user");
        Assert.Single(await Page(0), u => !u.TryGetProperty("familyName", out _));
        _server.Faults.Set("no-sourcedid");
        Assert.Single(await Page(0), u => !u.TryGetProperty("sourcedId", out _));
        _server.Faults.Set("null-text");
        Assert.Single(await Page(0), u => u.GetProperty("email").ValueKind == JsonValueKind.Null);
        _server.Faults.Set("bare-array");
        Assert.Equal(JsonValueKind.Array, (await _server.JsonAsync("users")).ValueKind);
        _server.Faults.Set("no-array");
        Assert.DoesNotContain((await _server.JsonAsync("users")).EnumerateObject(), p => p.Name == "users");
        _server.Faults.Set("endpoint-envelope");
        Assert.Equal("terms", (await _server.JsonAsync("terms")).EnumerateObject().Single().Name);
        _server.Faults.Set("cut-json");
        using (var cut = await _server.RosterAsync("users"))
        {
            var text = await cut.Content.ReadAsStringAsync();
            Assert.ThrowsAny<JsonException>(() => JsonElement.Parse(text));
        }

        _server.Faults.Set("html");
        using var html = await _server.RosterAsync("users");
        Assert.Equal("text/html", html.Content.Headers.ContentType!.MediaType);
    }

    [Fact]
    public async Task A_connection_breaks_in_the_middle()
    {
        _server.Faults.Set("drop-connection-at=2");
        await _server.JsonAsync("users");
        await Assert.ThrowsAnyAsync<HttpRequestException>(() => _server.JsonAsync("users"));
        await _server.JsonAsync("users");
        Assert.Equal([200, 0, 200], _server.Requests.Where(r => r.Collection == "users").Select(r => r.Status));
    }

    [Fact]
    public async Task Rotated_bearers_are_listed()
    {
        var old = _server.Bearer;
        _server.RotateBearer();
        using var refused = await SandboxClient.GetAsync(_server.ProxyPrefix + "orgs", old);
        Assert.Equal(HttpStatusCode.Unauthorized, refused.StatusCode);
        using var list = await SandboxClient.GetAsync($"{_server.Url}applications", _server.Options.PartnerKey);
        Assert.Contains(_server.Bearer, await list.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        _server.Faults.Set("500:applications");
        using var broken = await SandboxClient.GetAsync($"{_server.Url}applications", _server.Options.PartnerKey);
        Assert.Equal(HttpStatusCode.InternalServerError, broken.StatusCode);
    }

    [Fact]
    public async Task Records_can_be_changed_for_a_test()
    {
        var student = _server.District.People.First(p => p is { Group: SandboxRoleGroup.Student, Presence: SandboxPresence.Present });
        var truth = await _server.AllAsync("users");

        _server.Overrides.Change("users", student.SourcedId, json => json["givenName"] = "Changed");
        _server.Overrides.Put(
            "users",
            new JsonObject
            {
                ["sourcedId"] = "~new",
                ["role"] = "teacher",
                ["givenName"] = "New",
            }
        );
        var body = await _server.JsonAsync($"students/{Uri.EscapeDataString(student.SourcedId)}");
        Assert.Equal("Changed", body.GetProperty("user").Text("givenName"));
        Assert.Equal("~new", (await _server.AllAsync("teachers")).Single(t => t.Text("givenName") == "New").Text("sourcedId"));
        _server.SetDay(2);
        Assert.Equal("Changed", _server.Overrides.Read("users", student.SourcedId)!["givenName"]!.GetValue<string>());
        _server.SetDay(0);

        var school = _server.District.Schools.First().SourcedId;
        var gone = _server.Overrides.RemoveShare(school, 0.3);
        Assert.NotEmpty(gone);
        Assert.DoesNotContain(await _server.AllAsync("students"), u => gone.Contains(u.Text("sourcedId"), StringComparer.Ordinal));
        _server.Overrides.Restore("users", gone);
        Assert.Equal(truth.Count + 1, (await _server.AllAsync("users")).Count);
        _server.Overrides.Remove("orgs", school);
        Assert.DoesNotContain(await _server.AllAsync("schools"), o => o.Text("sourcedId") == school);
        _server.Overrides.Empty("demographics");
        Assert.Empty(await _server.AllAsync("demographics"));

        _server.Overrides.Clear();
        Assert.Equal(truth.Select(u => u.ToString()), (await _server.AllAsync("users")).Select(u => u.ToString()));
        Assert.Throws<ArgumentException>(() => _server.Overrides.Remove("students", "x"));
    }

    [Fact]
    public async Task It_can_be_driven_from_outside()
    {
        async Task<(int Status, string Text)> Do(HttpMethod method, string path)
        {
            using var request = new HttpRequestMessage(method, $"{_server.Url}{path}");
            using var response = await SandboxClient.Http.SendAsync(request);
            return ((int)response.StatusCode, await response.Content.ReadAsStringAsync());
        }

        Assert.Equal(200, (await Do(HttpMethod.Post, "sandbox/day?day=4")).Status);
        Assert.Equal(4, _server.District.Day);
        Assert.Equal(200, (await Do(HttpMethod.Post, "sandbox/day?day=next")).Status);
        Assert.Equal(5, _server.District.Day);
        Assert.Equal(200, (await Do(HttpMethod.Post, "sandbox/faults?set=no-totals,clamp%3D5")).Status);
        Assert.Equal(["no-totals", "clamp=5"], _server.Faults.Active);
        var (status, text) = await Do(HttpMethod.Post, "sandbox/faults?set=oops");
        Assert.Equal(400, status);
        Assert.Contains("oops", text, StringComparison.Ordinal);
        Assert.Equal(400, (await Do(HttpMethod.Post, "sandbox/day?day=-1")).Status);
        Assert.Equal(400, (await Do(HttpMethod.Post, "sandbox/day?day=999999")).Status);
        Assert.Equal(400, (await Do(HttpMethod.Post, "sandbox/vanish?school=none")).Status);
        var lines = (await Do(HttpMethod.Get, "sandbox/ledger?day=2")).Text.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        var people = SandboxDistrict.At(_server.Options, 2).People.ToList();
        Assert.Equal(people.Select(p => p.SourcedId), lines.Select(l => JsonElement.Parse(l).Text("sourcedId")));
        Assert.Equal(people.Select(p => p.FamilyName), lines.Select(l => JsonElement.Parse(l).Text("familyName")));
        Assert.Equal(200, (await Do(HttpMethod.Post, "sandbox/faults")).Status);
        Assert.Empty(_server.Faults.Active);
        Assert.Contains("Rollcall sandbox", (await Do(HttpMethod.Get, "")).Text, StringComparison.Ordinal);
    }
}
