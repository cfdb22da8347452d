using System.Text;
using Microsoft.AspNetCore.Http;
using Rollcall.OneRoster.Auth;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.Tests.Client;

/// <summary>What people are given is an address, a key and a secret: the rest is found out.</summary>
public class RosterServersTests
{
    private const string Orgs = """{"orgs":[{"sourcedId":"1","status":"active","name":"North","type":"school"}]}""";
    private readonly TestTime time = new();

    [Theory]
    [InlineData("https://h.example", "https://h.example")]
    [InlineData("https://h.example/", "https://h.example")]
    [InlineData("https://h.example/ims/oneroster/v1p1", "https://h.example")]
    [InlineData("https://h.example/ims/oneroster/rostering/v1p2/", "https://h.example")]
    [InlineData("https://h.example/ims/oneroster/rostering/v1p2/orgs", "https://h.example")]
    [InlineData("https://h.example/campus/api/ims/oneroster/", "https://h.example/campus/api")]
    [InlineData("https://h.example/imsx", "https://h.example/imsx")]
    public void An_address_has_one_root(string address, string root) => Assert.Equal(root, RosterServers.Root(address));

    [Theory]
    [InlineData(
        "https://h.example/x",
        null,
        false,
        "https://h.example/x/ims/oneroster/rostering/v1p2",
        "https://h.example/x/ims/oneroster/v1p1",
        "https://h.example/x/ims/oneroster/v1p2",
        "https://h.example/x"
    )]
    [InlineData("https://h.example", OneRosterVersion.V11, false, "https://h.example/ims/oneroster/v1p1", "https://h.example")]
    [InlineData("https://h.example/ims/oneroster/v1p1/orgs/", null, false, "https://h.example/ims/oneroster/v1p1")]
    [InlineData("https://h.example/odd/v1p2", null, true, "https://h.example/odd/v1p2")]
    public void Places_to_look_at(string address, OneRosterVersion? version, bool signed, params string[] places) =>
        Assert.Equal(places, RosterServers.Candidates(address, version, signed).Select(c => c.Address));

    [Fact]
    public void Signed_requests_are_tried_at_1_1_first() =>
        Assert.Equal(OneRosterVersion.V11, RosterServers.Candidates("https://h.example", null, signed: true)[0].Version);

    [Theory]
    [InlineData("basic", TokenRequestForm.Basic)]
    [InlineData("body", TokenRequestForm.Body)]
    [InlineData("json", TokenRequestForm.Json)]
    public async Task The_form_of_token_request_is_found(string wanted, TokenRequestForm form)
    {
        await using var server = await ScriptedServer.StartAsync(
            async (http, seen, _) =>
            {
                if (seen.Path == "/token")
                {
                    var body = await new StreamReader(http.Request.Body).ReadToEndAsync();
                    var had =
                        seen.Authorization == "Basic " + Convert.ToBase64String(Encoding.ASCII.GetBytes("k:s")) ? "basic"
                        : body.Contains("client_secret=s", StringComparison.Ordinal) ? "body"
                        : body.Contains("\"client_secret\":\"s\"", StringComparison.Ordinal) ? "json"
                        : "";
                    await (had == wanted ? http.Json("""{"access_token":"t"}""") : http.Text(401, """{"error":"invalid_client"}"""));
                }
                else
                {
                    await (
                        seen.Authorization != "Bearer t" ? http.Text(401, "")
                        : seen.Path == "/ims/oneroster/rostering/v1p2/orgs" ? http.Json(Orgs)
                        : http.Text(404, "")
                    );
                }
            }
        );
        var found = await RosterServers.FindAsync(ByToken(server), Reading.Options(time), TestContext.Current.CancellationToken);
        Assert.Equal((OneRosterVersion.V12, form), (found.Version!.Value, found.Form!.Value));
        Assert.DoesNotContain(server.Requests, r => r.Target.Contains("client_secret", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(
        "https://purl.imsglobal.org/spec/or/v1p2/scope/roster-core.readonly https://purl.imsglobal.org/spec/or/v1p2/scope/roster-demographics.readonly"
    )]
    [InlineData("https://purl.imsglobal.org/spec/or/v1p2/scope/roster-core.readonly")]
    [InlineData("https://purl.imsglobal.org/spec/or/v1p2/scope/roster.readonly")]
    [InlineData("")]
    public async Task The_scope_that_is_granted_is_found(string granted)
    {
        await using var server = await ScriptedServer.StartAsync(
            async (http, seen, _) =>
            {
                if (seen.Path == "/token")
                {
                    var body = await new StreamReader(http.Request.Body).ReadToEndAsync();
                    var scope = Uri.UnescapeDataString(
                        body.Split('&').FirstOrDefault(p => p.StartsWith("scope=", StringComparison.Ordinal))?[6..].Replace('+', ' ') ?? ""
                    );
                    await (
                        seen.Authorization.StartsWith("Basic", StringComparison.Ordinal) && scope == granted
                            ? http.Json("""{"access_token":"t"}""")
                            : http.Text(400, """{"error":"invalid_scope"}""")
                    );
                }
                else
                {
                    await (seen.Path == "/ims/oneroster/rostering/v1p2/orgs" ? http.Json(Orgs) : http.Text(404, ""));
                }
            }
        );
        var found = await RosterServers.FindAsync(ByToken(server), Reading.Options(time), TestContext.Current.CancellationToken);
        Assert.Equal(granted, found.Scope);
    }

    [Theory]
    [InlineData("/ims/oneroster/v1p1", OneRosterVersion.V11)]
    [InlineData("/ims/oneroster/v1p2", OneRosterVersion.V12)]
    [InlineData("", null)]
    public async Task The_place_of_the_service_is_found(string place, OneRosterVersion? version)
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) => seen.Path == place + "/orgs" ? http.Json(Orgs) : http.Text(404, "<html>Not Found</html>", "text/html")
        );
        var found = await RosterServers.FindAsync(
            new RosterServerQuery { Address = server.Url + "/", Token = "t" },
            Reading.Options(time),
            TestContext.Current.CancellationToken
        );
        Assert.Equal((server.Url + place, version), (found.Address.TrimEnd('/'), found.Version));
    }

    [Fact]
    public async Task The_hash_of_signatures_is_found()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) => seen.Authorization.Contains("HMAC-SHA1", StringComparison.Ordinal) ? http.Json(Orgs) : http.Text(401, "")
        );
        var found = await RosterServers.FindAsync(
            new RosterServerQuery
            {
                Address = server.Url,
                Key = "k",
                Secret = "s",
            },
            Reading.Options(time) with
            {
                Time = TimeProvider.System,
            },
            TestContext.Current.CancellationToken
        );
        Assert.Equal(OAuthSignature.HmacSha1, found.Signature);
    }

    [Theory]
    [InlineData(401, RosterFault.CredentialsRefused, "refuses the credentials")]
    [InlineData(403, RosterFault.AccessDisabled, "denies access")]
    [InlineData(404, RosterFault.NotARoster, "no OneRoster service")]
    [InlineData(302, RosterFault.NotARoster, "redirects to")]
    public async Task What_is_said_is_the_most_telling_answer(int status, RosterFault fault, string says)
    {
        // One place knows the caller, the others are not there.
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) => http.Text(seen.Path.StartsWith("/ims/oneroster/v1p1", StringComparison.Ordinal) ? status : 404, "")
        );
        var e = await Assert.ThrowsAsync<RosterException>(() =>
            RosterServers.FindAsync(
                new RosterServerQuery { Address = server.Url, Token = "t" },
                Reading.Options(time),
                TestContext.Current.CancellationToken
            )
        );
        Assert.Equal(fault, e.Fault);
        Assert.Contains(says, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Wrong_keys_are_not_tried_at_every_place()
    {
        await using var server = await ScriptedServer.StartAsync((http, _, _) => http.Text(401, """{"error":"invalid_client"}"""));
        var e = await Assert.ThrowsAsync<RosterException>(() =>
            RosterServers.FindAsync(ByToken(server), Reading.Options(time), TestContext.Current.CancellationToken)
        );
        Assert.Equal(RosterFault.CredentialsRefused, e.Fault);
        Assert.Equal(3, server.Requests.Count);
    }

    [Theory]
    [InlineData("https://h.example/ims/oneroster/v1p1", OneRosterVersion.V12, "Leave one of them out")]
    [InlineData("http://h.example", null, "https")]
    [InlineData("https://127.0.0.1", null, "refused")]
    [InlineData("https://h.example?x=1", null, "?")]
    public async Task Addresses_that_cannot_be_meant_are_refused(string address, OneRosterVersion? version, string says)
    {
        var e = await Assert.ThrowsAsync<RosterException>(() =>
            RosterServers.FindAsync(
                new RosterServerQuery
                {
                    Address = address,
                    Version = version,
                    Token = "t",
                },
                null,
                TestContext.Current.CancellationToken
            )
        );
        Assert.Contains(says, e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("https://127.0.0.1/token")]
    [InlineData("https://169.254.169.254/latest")]
    [InlineData("http://h.example/token")]
    public async Task A_token_address_is_guarded_like_any_other(string tokenUrl)
    {
        var e = await Assert.ThrowsAsync<RosterException>(() =>
            RosterServers.FindAsync(
                new RosterServerQuery
                {
                    Address = "https://h.example",
                    TokenUrl = tokenUrl,
                    Key = "k",
                    Secret = "s",
                },
                null,
                TestContext.Current.CancellationToken
            )
        );
        Assert.Contains("token address", e.Message, StringComparison.Ordinal);
    }

    private static RosterServerQuery ByToken(ScriptedServer server) =>
        new()
        {
            Address = server.Url,
            TokenUrl = server.Url + "/token",
            Key = "k",
            Secret = "s",
        };
}
