using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Rollcall.OneRoster.Auth;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.Tests.Client;

public class OAuth2Tests
{
    private const string Key = "key/1+2";
    private const string Secret = "s3cret:=%&x";
    private readonly TestTime time = new();
    private readonly List<(string Target, string Authorization, string Type, string Body)> asked = [];

    /// <summary>A server that hands out t1, t2, … and takes only the tokens that <paramref name="takes"/> says.</summary>
    private Task<ScriptedServer> StartAsync(
        Func<HttpContext, int, Task>? token = null,
        Func<string, bool>? takes = null,
        Func<HttpContext, Seen, Task>? roster = null
    ) =>
        ScriptedServer.StartAsync(
            async (http, seen, _) =>
            {
                if (!seen.Path.StartsWith("/ims/oneroster/v1p1/", StringComparison.Ordinal))
                {
                    using var reader = new StreamReader(http.Request.Body);
                    var body = await reader.ReadToEndAsync();
                    Assert.Equal("POST", http.Request.Method);
                    asked.Add((seen.Target, seen.Authorization, http.Request.ContentType ?? "", body));
                    await (token ?? ((h, n) => h.Json($$"""{"access_token":"t{{n}}","token_type":"bearer","expires_in":3600}""")))(
                        http,
                        asked.Count
                    );
                }
                else if (takes?.Invoke(seen.Authorization) == false)
                {
                    await http.Text(401, "{}");
                }
                else
                {
                    await (roster?.Invoke(http, seen) ?? http.Json(Answers.Users(seen.Offset > 0 ? [] : ["a"])));
                }
            }
        );

    private RestRosterSource Open(
        ScriptedServer server,
        string path = "/token",
        TokenRequestForm form = TokenRequestForm.Basic,
        string? scope = "one two"
    ) =>
        new(
            new RosterEndpoint(server.Url, new OAuth2Credentials(server.Url + path, Key, Secret, form) { Scope = scope }),
            Reading.Options(time)
        );

    private static IEnumerable<string> RosterTokens(ScriptedServer server) =>
        server.Requests.Where(r => r.Path.StartsWith("/ims/", StringComparison.Ordinal)).Select(r => r.Authorization);

    [Theory]
    [InlineData("/token")]
    [InlineData("/oauth/token/")]
    [InlineData("/campus/oauth2/token?appName=x%20y")]
    public async Task The_token_address_is_used_as_it_is_and_basic_carries_encoded_credentials(string path)
    {
        await using var server = await StartAsync();
        using var source = Open(server, path);
        await source.Users().PullAsync();
        var (target, authorization, type, body) = Assert.Single(asked);
        Assert.Equal(path, target);
        Assert.Equal("Basic " + Convert.ToBase64String(Encoding.ASCII.GetBytes("key%2F1%2B2:s3cret%3A%3D%25%26x")), authorization);
        Assert.Equal(("application/x-www-form-urlencoded", "grant_type=client_credentials&scope=one+two"), (type, body));
        Assert.Equal(["Bearer t1", "Bearer t1"], RosterTokens(server));
    }

    /// <summary>Some servers never heard that both are encoded before they are joined.</summary>
    [Fact]
    public async Task After_a_refusal_basic_carries_the_credentials_as_they_are_and_that_stays()
    {
        var plain = "Basic " + Convert.ToBase64String(Encoding.ASCII.GetBytes($"{Key}:{Secret}"));
        await using var server = await StartAsync(
            (http, n) =>
                asked[^1].Authorization == plain
                    ? http.Json($$"""{"access_token":"t{{n}}","expires_in":{{(n == 2 ? 1 : 3600)}}}""")
                    : http.Text(401, "{}")
        );
        using var source = Open(server);
        await source.Users().PullAsync();
        Assert.Equal([false, true], asked.Take(2).Select(a => a.Authorization == plain));
        time.Set(time.GetUtcNow().AddHours(2));
        await source.Users().PullAsync();
        Assert.All(asked.Skip(1), a => Assert.Equal(plain, a.Authorization));
    }

    [Theory]
    [InlineData("key", 1)]
    [InlineData("key+", 2)]
    public async Task A_wrong_secret_is_tried_in_both_forms_only_where_they_differ(string key, int requests)
    {
        await using var server = await StartAsync((http, _) => http.Text(401, """{"error":"a2V5KzpzZWNyZXQ= is refused"}"""));
        using var source = new RestRosterSource(
            new RosterEndpoint(server.Url, new OAuth2Credentials(server.Url + "/token", key, "secret")),
            Reading.Options(time)
        );
        var e = await source.Users().FaultAsync(RosterFault.CredentialsRefused);
        Assert.Equal(requests, asked.Count);
        if (requests == 2)
        {
            Assert.DoesNotContain("a2V5KzpzZWNyZXQ=", e.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Credentials_in_the_body()
    {
        await using var server = await StartAsync();
        using var source = Open(server, form: TokenRequestForm.Body, scope: " ");
        await source.Users().PullAsync();
        Assert.Equal(
            ("/token", "", "grant_type=client_credentials&client_id=key%2F1%2B2&client_secret=s3cret%3A%3D%25%26x"),
            (asked[0].Target, asked[0].Authorization, asked[0].Body)
        );
    }

    [Theory]
    [InlineData("/token", "/token?")]
    [InlineData("/token?", "/token?")]
    [InlineData("/token?a=b", "/token?a=b&")]
    public async Task Credentials_in_the_query(string path, string start)
    {
        await using var server = await StartAsync();
        using var source = Open(server, path, TokenRequestForm.Query);
        await source.Users().PullAsync();
        Assert.Equal(
            (start + "grant_type=client_credentials&scope=one%20two&client_id=key%2F1%2B2&client_secret=s3cret%3A%3D%25%26x", "", ""),
            (asked[0].Target, asked[0].Authorization, asked[0].Body)
        );
    }

    [Fact]
    public async Task Credentials_as_json()
    {
        await using var server = await StartAsync();
        using var source = Open(server, form: TokenRequestForm.Json, scope: null);
        await source.Users().PullAsync();
        Assert.StartsWith("application/json", asked[0].Type, StringComparison.Ordinal);
        using var json = JsonDocument.Parse(asked[0].Body);
        Assert.Equal(
            [("grant_type", "client_credentials"), ("client_id", Key), ("client_secret", Secret)],
            json.RootElement.EnumerateObject().Select(p => (p.Name, p.Value.GetString()!))
        );
    }

    [Theory]
    [InlineData("""{"access_token":"t1","token_type":"BEARER","expires_in":"1000"}""", 900)]
    [InlineData("""{"access_token":"t1","expires_in":1000.0}""", 900)]
    [InlineData("""{"access_token":"t1","token_type":""}""", 540)]
    [InlineData("""{"access_token":"t1","token_type":"Bearer","expires_in":null}""", 540)]
    [InlineData("""{"access_token":"t1","expires_in":0}""", 540)]
    [InlineData("""{"access_token":"t1","expires_in":"soon"}""", 540)]
    [InlineData("""{"access_token":"t1","expires_in":1e300}""", 77760)]
    [InlineData("\uFEFF{\"access_token\":\" t1 \",\"expires_in\":1000}", 900)]
    public async Task A_token_is_renewed_at_nine_tenths_of_its_life(string answer, int seconds)
    {
        await using var server = await StartAsync((http, n) => http.Json(n == 1 ? answer : """{"access_token":"t2"}"""));
        using var source = Open(server);
        var start = time.GetUtcNow();
        await source.ProbeAsync(TestContext.Current.CancellationToken);
        time.Set(start.AddSeconds(seconds - 1));
        await source.ProbeAsync(TestContext.Current.CancellationToken);
        time.Set(start.AddSeconds(seconds));
        await source.ProbeAsync(TestContext.Current.CancellationToken);
        Assert.Equal(["Bearer t1", "Bearer t1", "Bearer t2"], RosterTokens(server));
    }

    [Fact]
    public async Task A_token_withdrawn_in_the_middle_of_a_run_is_fetched_again_and_the_run_goes_on()
    {
        var served = 0;
        await using var server = await StartAsync(
            takes: a => a == "Bearer t2" || (a == "Bearer t1" && served < 2),
            roster: (http, seen) =>
            {
                served++;
                return http.Json(Answers.Users(seen.Offset < 4 ? ["u" + seen.Offset] : []));
            }
        );
        using var source = Open(server);
        Assert.Equal(["u0", "u1", "u2", "u3"], (await source.Users().PullAsync()).Records.Select(r => r.SourcedId));
        Assert.Equal(2, asked.Count);
    }

    /// <summary>What the token's address says is about the token. Taken for an answer about records, it would end the list in the middle.</summary>
    [Theory]
    [InlineData(204, RosterFault.NotARoster)]
    [InlineData(302, RosterFault.NotARoster)]
    [InlineData(404, RosterFault.NotARoster)]
    [InlineData(408, RosterFault.Unreachable)]
    [InlineData(418, RosterFault.Refused)]
    [InlineData(500, RosterFault.Unreachable)]
    public async Task A_token_endpoint_that_fails_in_the_middle_of_a_run_ends_no_list(int status, RosterFault fault)
    {
        var served = 0;
        await using var server = await StartAsync(
            (http, n) => n == 1 ? http.Json("""{"access_token":"t1"}""") : Bare(http, status),
            takes: _ => served < 2,
            roster: (http, seen) =>
            {
                served++;
                return http.Json(Answers.Users(seen.Offset < 4 ? ["u" + seen.Offset] : []), ("x-total-count", "2"));
            }
        );
        using var source = Open(server);
        var e = await source.Users().FaultAsync(fault);
        Assert.Null(e.StatusCode);
        Assert.Equal(2, served);
        Assert.Null((await Reading.FaultAsync(() => source.UserAsync("u0"), fault)).StatusCode);

        static Task Bare(HttpContext http, int status)
        {
            http.Response.StatusCode = status;
            return Task.CompletedTask;
        }
    }

    [Fact]
    public async Task A_fresh_token_that_is_refused_too_ends_the_run()
    {
        await using var server = await StartAsync(takes: _ => false);
        using var source = Open(server);
        await source.Users().FaultAsync(RosterFault.CredentialsRefused);
        Assert.Equal(["Bearer t1", "Bearer t2"], RosterTokens(server));
    }

    [Theory]
    [InlineData(401, "", RosterFault.CredentialsRefused, "refuses the credentials")]
    [InlineData(
        400,
        """{"error":"invalid_client","error_description":"no such s3cret:=%&x"}""",
        RosterFault.CredentialsRefused,
        "no such …"
    )]
    [InlineData(400, """{"error":"invalid_scope"}""", RosterFault.CredentialsRefused, "invalid_scope")]
    [InlineData(403, "no", RosterFault.CredentialsRefused, "denies an access token")]
    [InlineData(404, "no", RosterFault.NotARoster, "Check the token address")]
    [InlineData(200, "<html>Sign in</html>", RosterFault.NotARoster, "no usable access token")]
    [InlineData(200, """{"access_token":null}""", RosterFault.NotARoster, "no usable access token")]
    [InlineData(200, """{"access_token":"a\r\nX: y"}""", RosterFault.NotARoster, "no usable access token")]
    [InlineData(200, """{"access_token":"\ud800"}""", RosterFault.NotARoster, "no usable access token")]
    [InlineData(200, """{"access_token":"t1","token_type":"mac"}""", RosterFault.NotARoster, "no usable access token")]
    [InlineData(200, """["t1"]""", RosterFault.NotARoster, "no usable access token")]
    public async Task Without_a_token_the_roster_is_not_asked(int status, string answer, RosterFault fault, string says)
    {
        await using var server = await StartAsync((http, _) => http.Text(status, answer));
        using var source = Open(server);

        // Demographics may be missing where they are not shared; a token that is denied must not look like that.
        var e = await source.Demographics().FaultAsync(fault);
        Assert.Contains(says, e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(Secret, e.Message, StringComparison.Ordinal);
        Assert.Empty(RosterTokens(server));
        Assert.Equal(status == 401 ? 2 : 1, asked.Count);
        await Reading.FaultAsync(() => source.UserAsync("a"), fault);
    }

    [Fact]
    public async Task An_endless_token_answer_is_not_read()
    {
        await using var server = await StartAsync((http, _) => http.Json("{\"access_token\":\"" + new string('a', 100_000) + "\"}"));
        using var source = Open(server);
        await source.Users().FaultAsync(RosterFault.NotARoster);
    }

    [Fact]
    public async Task A_busy_token_endpoint_is_waited_for()
    {
        await using var server = await StartAsync((http, n) => n < 3 ? http.Text(503, "busy") : http.Json("""{"access_token":"t"}"""));
        using var source = Open(server);
        Assert.Single((await source.Users().PullAsync()).Records);
        Assert.Equal([1d, 2d], time.Waits.Select(w => w.TotalSeconds));
    }

    [Fact]
    public async Task Credentials_do_not_follow_a_redirect()
    {
        await using var other = await StartAsync();
        await using var server = await StartAsync((http, _) => http.Text(307, "", "text/plain", ("Location", other.Url + "/token")));
        using var source = Open(server, form: TokenRequestForm.Body);
        Assert.Contains("redirects", (await source.Users().FaultAsync(RosterFault.NotARoster)).Message, StringComparison.Ordinal);
        Assert.Empty(other.Requests);
    }

    [Theory]
    [InlineData("")]
    [InlineData("http://x.example/token")]
    [InlineData("https://127.0.0.1/token?a=b")]
    [InlineData("https://me@x.example/token")]
    [InlineData("https://x.example/token?a#b")]
    public void The_token_address_is_guarded_like_the_roster(string tokenUrl)
    {
        var e = Assert.Throws<RosterException>(() =>
            new RestRosterSource(new RosterEndpoint("https://x.example", new OAuth2Credentials(tokenUrl, Key, Secret)))
        );
        Assert.Equal(RosterFault.Unreachable, e.Fault);
        Assert.StartsWith("The token address ", e.Message, StringComparison.Ordinal);
    }
}
