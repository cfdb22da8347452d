using System.Net;
using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Time.Testing;
using Rollcall.Sandbox;
using Rollcall.Sandbox.Serving;

namespace Rollcall.OneRoster.Tests.Sandbox;

/// <summary>Who gets in, and how addresses are read.</summary>
public sealed class SandboxAccessTests(SharedSandbox shared) : IClassFixture<SharedSandbox>
{
    private static readonly (string, string)[] Page = [("limit", "1000"), ("offset", "0"), ("sort", "sourcedId"), ("orderBy", "asc")];
    private readonly SandboxServer _server = shared.Server;

    public static TheoryData<string, bool, string> Vectors =>
        new()
        {
            { "", false, "e/hqsCM8GpBlxv5Mp1N42pAzU+oiY9wlBcBM2HYZScE=" },
            { "dateLastModified>'2026-01-15T00:00:00.000Z'", false, "cWefk8jjS6wP2amelqYOTEZdgP4HBo9uuBH9plK/4Ck=" },
            { "", true, "yBcdZ8HtbtmoeI3v8T2TvXIpYB8=" },
        };

    [Theory]
    [MemberData(nameof(Vectors))]
    public void Known_signatures_are_accepted(string filter, bool sha1, string signature)
    {
        const string address = "https://example.rosterserver.com/ims/oneroster/v1p1/users";
        (string, string)[] query = filter.Length == 0 ? Page : [.. Page, ("filter", filter)];
        var header = SandboxClient.Sign(address, query, "key123", "secret456", 1_700_000_000, "abcdefghij", sha1, version: sha1);
        var check = new OAuthCheck("key123", "secret456", new FakeTimeProvider(DateTimeOffset.FromUnixTimeSeconds(1_700_000_000)));

        Assert.Contains(Uri.EscapeDataString(signature), header, StringComparison.Ordinal);
        var text = string.Join('&', query.Select(p => $"{p.Item1}={Uri.EscapeDataString(p.Item2)}"));
        Assert.Null(check.Refuse(header, address, text));
        Assert.Equal("nonce used before", check.Refuse(header, address, text));
        Assert.Equal("signature does not match", check.Refuse(header, address, text + "&fields=sourcedId"));
    }

    [Theory]
    [InlineData(-44, null)]
    [InlineData(44, null)]
    [InlineData(-46, "timestamp too far from the server's clock")]
    [InlineData(46, "timestamp too far from the server's clock")]
    public void Clocks_may_differ_a_little(int minutes, string? refusal)
    {
        var clock = new FakeTimeProvider(DateTimeOffset.FromUnixTimeSeconds(1_700_000_000));
        var header = SandboxClient.Sign("http://h/ims", [], "k", "s", 1_700_000_000 + (minutes * 60), "n1");

        Assert.Equal(refusal, new OAuthCheck("k", "s", clock).Refuse(header, "http://h/ims", ""));
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public async Task Direct_access_takes_a_signed_request_and_no_other(bool sha1, bool version)
    {
        var address = _server.Url.GetLeftPart(UriPartial.Authority) + "/ims/oneroster/v1p1/users";
        var now = TimeProvider.System.GetUtcNow().ToUnixTimeSeconds();
        var header = SandboxClient.Sign(
            address,
            [("filter", "givenName='Zoë' OR familyName='O Neil'"), ("limit", "5")],
            _server.Options.ConsumerKey,
            _server.Options.ConsumerSecret,
            now,
            Guid.NewGuid().ToString("N"),
            sha1,
            version
        );
        var url = $"{address}?limit=5&filter={Uri.EscapeDataString("givenName='Zoë' OR familyName='O Neil'")}";

        using (var other = await SandboxClient.GetAsync(url + "&offset=5", oauth: header))
        {
            Assert.Equal(HttpStatusCode.Unauthorized, other.StatusCode);
            Assert.Equal(
                "unauthorized",
                JsonElement.Parse(await other.Content.ReadAsStringAsync()).GetProperty("statusInfoSet")[0].Text("imsx_codeMinor")
            );
        }

        using (var first = await SandboxClient.GetAsync(url, oauth: header))
        {
            Assert.Equal(HttpStatusCode.OK, first.StatusCode);
        }

        using var again = await SandboxClient.GetAsync(url, oauth: header);
        Assert.Equal(HttpStatusCode.Unauthorized, again.StatusCode);
    }

    [Fact]
    public async Task The_application_id_is_taken_verbatim_and_the_bearer_belongs_to_the_tenant()
    {
        var origin = _server.Url.GetLeftPart(UriPartial.Authority);
        var id = _server.Options.ApplicationId;
        async Task<HttpStatusCode> Ask(string path, string? bearer)
        {
            using var response = await SandboxClient.GetAsync(origin + path, bearer);
            return response.StatusCode;
        }

        Assert.Equal(HttpStatusCode.OK, await Ask($"/{id}/ims/oneroster/v1p1/orgs", _server.Bearer));
        Assert.Equal(HttpStatusCode.OK, await Ask($"/proxy/v1p0/{id}/ims/oneroster/v1p1/orgs", _server.Bearer));
        Assert.Equal(HttpStatusCode.NotFound, await Ask($"/{Uri.EscapeDataString(id)}/ims/oneroster/v1p1/orgs", _server.Bearer));
        Assert.Equal(HttpStatusCode.NotFound, await Ask($"/{Uri.UnescapeDataString(id)}/ims/oneroster/v1p1/orgs", _server.Bearer));
        Assert.Equal(HttpStatusCode.Unauthorized, await Ask($"/{id}/ims/oneroster/v1p1/orgs", SandboxTenants.OtherBearer));
        Assert.Equal(HttpStatusCode.Unauthorized, await Ask($"/{id}/ims/oneroster/v1p1/orgs", null));
        Assert.Equal(
            HttpStatusCode.OK,
            await Ask($"/{SandboxTenants.OtherApplicationId}/ims/oneroster/v1p1/users", SandboxTenants.OtherBearer)
        );
        Assert.Equal(
            HttpStatusCode.Unauthorized,
            await Ask($"/{SandboxTenants.OtherApplicationId}/ims/oneroster/v1p1/users", _server.Bearer)
        );
    }

    [Fact]
    public async Task Applications_are_paged_without_counts()
    {
        var origin = _server.Url.GetLeftPart(UriPartial.Authority);
        var found = new List<JsonElement>();
        while (true)
        {
            using var response = await SandboxClient.GetAsync(
                $"{origin}/applications?limit=2&offset={found.Count}",
                _server.Options.PartnerKey
            );
            Assert.Equal("", response.Header("x-total-count"));
            var page = JsonElement.Parse(await response.Content.ReadAsStringAsync()).GetProperty("applications");
            if (page.GetArrayLength() == 0)
            {
                break;
            }

            found.AddRange(page.EnumerateArray());
        }

        string Of(string tenant, string name) =>
            found.Single(a => a.GetProperty("tenant_id").GetRawText() == tenant).GetProperty(name).ToString();
        Assert.Equal("true", Of("2284", "enabled"));
        Assert.Equal(_server.Bearer, Of("2284", "bearer"));
        Assert.Equal("false", Of(SandboxTenants.Disabled, "enabled"));
        Assert.NotEqual("Active", Of(SandboxTenants.Inactive, "tenant_status"));
        Assert.Equal("", Of(SandboxTenants.WithoutBearer, "bearer"));
        Assert.DoesNotContain(found, a => a.GetProperty("tenant_id").GetRawText() == SandboxTenants.NeverAdded);
        using var refused = await SandboxClient.GetAsync($"{origin}/applications", "wrong");
        Assert.Equal(HttpStatusCode.Unauthorized, refused.StatusCode);
        using var server = await SandboxClient.GetAsync(
            $"{origin}/applications/{_server.Options.ApplicationId}/server",
            _server.Options.PartnerKey
        );
        Assert.Equal(
            _server.Options.ConsumerKey,
            JsonElement.Parse(await server.Content.ReadAsStringAsync()).GetProperty("server").Text("client_id")
        );
    }

    [Fact]
    public async Task Tokens_come_for_basic_credentials_only()
    {
        var origin = _server.Url.GetLeftPart(UriPartial.Authority);
        using var body = new FormUrlEncodedContent(
            new Dictionary<string, string>
            {
                ["grant_type"] = "client_credentials",
                ["client_id"] = _server.Options.ConsumerKey,
                ["client_secret"] = _server.Options.ConsumerSecret,
            }
        );
        using var refused = await SandboxClient.Http.PostAsync(new Uri(origin + "/token"), body);
        Assert.Equal(HttpStatusCode.Unauthorized, refused.StatusCode);

        using var request = new HttpRequestMessage(HttpMethod.Post, origin + "/token");
        var pair = Convert.ToBase64String(Encoding.UTF8.GetBytes($"{_server.Options.ConsumerKey}:{_server.Options.ConsumerSecret}"));
        request.Headers.TryAddWithoutValidation("Authorization", $"Basic {pair}");
        request.Content = new FormUrlEncodedContent([new("grant_type", "client_credentials")]);
        using var granted = await SandboxClient.Http.SendAsync(request);
        foreach (
            var other in (HttpContent[])
                [
                    new FormUrlEncodedContent([new("grant_type", "password")]),
                    new StringContent("grant_type=client_credentials", Encoding.UTF8, "text/plain"),
                ]
        )
        {
            using var odd = new HttpRequestMessage(HttpMethod.Post, origin + "/token") { Content = other };
            odd.Headers.TryAddWithoutValidation("Authorization", $"Basic {pair}");
            using var no = await SandboxClient.Http.SendAsync(odd);
            Assert.Equal(HttpStatusCode.BadRequest, no.StatusCode);
        }

        var token = JsonElement.Parse(await granted.Content.ReadAsStringAsync()).Text("access_token");
        using var roster = await SandboxClient.GetAsync(origin + "/ims/oneroster/v1p1/orgs", token);
        Assert.Equal(HttpStatusCode.OK, roster.StatusCode);
    }

    /// <summary>1.1 has no place among the paths of 1.2, and 1.2 no signatures.</summary>
    [Theory]
    [InlineData(SandboxApi.OneRoster11, "v1p1", HttpStatusCode.OK, HttpStatusCode.OK)]
    [InlineData(SandboxApi.OneRoster11, "rostering/v1p2", HttpStatusCode.NotFound, HttpStatusCode.NotFound)]
    [InlineData(SandboxApi.OneRoster12, "v1p1", HttpStatusCode.OK, HttpStatusCode.OK)]
    [InlineData(SandboxApi.OneRoster12, "rostering/v1p2", HttpStatusCode.OK, HttpStatusCode.Unauthorized)]
    public async Task Each_version_has_its_paths(SandboxApi api, string path, HttpStatusCode byToken, HttpStatusCode signed)
    {
        await using var server = await SandboxServer.StartAsync(
            new SandboxOptions
            {
                Students = 20,
                Schools = 1,
                Api = api,
            }
        );
        using var proxied = await SandboxClient.GetAsync(
            server.ProxyPrefix.Replace("v1p1", path, StringComparison.Ordinal) + "orgs",
            server.Bearer
        );
        Assert.Equal(byToken, proxied.StatusCode);
        var address = $"{server.Url.GetLeftPart(UriPartial.Authority)}/ims/oneroster/{path}/orgs";
        var header = SandboxClient.Sign(
            address,
            [],
            server.Options.ConsumerKey,
            server.Options.ConsumerSecret,
            TimeProvider.System.GetUtcNow().ToUnixTimeSeconds(),
            Guid.NewGuid().ToString("N")
        );
        using var direct = await SandboxClient.GetAsync(address, oauth: header);
        Assert.Equal(signed, direct.StatusCode);
    }

    [Fact]
    public async Task Single_records_are_found_by_their_encoded_id()
    {
        foreach (
            var person in _server.District.People.Where(p =>
                p.Presence != SandboxPresence.Gone && !p.SourcedId.StartsWith("4957_", StringComparison.Ordinal)
            )
        )
        {
            var body = await _server.JsonAsync($"users/{Uri.EscapeDataString(person.SourcedId)}");
            Assert.Equal(person.SourcedId, body.GetProperty("user").Text("sourcedId"));
        }

        using var unknown = await _server.RosterAsync("users/nobody");
        Assert.Equal(HttpStatusCode.NotFound, unknown.StatusCode);
        using var collection = await _server.RosterAsync("lineItems");
        Assert.Equal(HttpStatusCode.NotFound, collection.StatusCode);
    }
}
