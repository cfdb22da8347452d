using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.WebUtilities;
using Rollcall.OneRoster.Tests.Client;
using Rollcall.Sandbox;

namespace Rollcall.OneRoster.Tests.Sandbox;

/// <summary>The sandbox's sign-in side, as ClassLink documents its own.</summary>
public sealed class SandboxSignInTests : IAsyncLifetime
{
    private const string All = "openid%20profile%20email%20oneroster";
    private const string Callback = "http://127.0.0.1:9/signin/classlink/callback";

    private readonly TestTime _time = new();
    private SandboxServer _server = null!;

    private string Origin => _server.Url.GetLeftPart(UriPartial.Authority);

    private SandboxPerson Student =>
        _server.District.People.First(p => p is { Role: "student", Presence: SandboxPresence.Present, Enabled: true });

    public async ValueTask InitializeAsync()
    {
        _server = await SandboxServer.StartAsync(
            new SandboxOptions
            {
                Students = 60,
                Schools = 2,
                Clock = _time,
            }
        );
        _server.RedirectUri = Callback;
    }

    public ValueTask DisposeAsync() => _server.DisposeAsync();

    [Fact]
    public async Task Discovery_says_where_everything_is()
    {
        var said = await ReadAsync($"{Origin}/.well-known/openid-configuration");
        Assert.Equal(Origin, said.Text("issuer"));
        Assert.Equal($"{Origin}/oauth2/v2/auth", said.Text("authorization_endpoint"));
        Assert.Equal($"{Origin}/oauth2/v2/token", said.Text("token_endpoint"));
        Assert.Equal($"{Origin}/oauth2/v2/jwks", said.Text("jwks_uri"));
        Assert.Equal(["RS256"], said.GetProperty("id_token_signing_alg_values_supported").EnumerateArray().Select(a => a.GetString()));
    }

    [Fact]
    public async Task Nobody_is_sent_to_an_address_that_is_not_registered()
    {
        using var elsewhere = await SandboxClient.GetAsync(Authorize("https://evil.example/callback"));
        Assert.Equal(HttpStatusCode.BadRequest, elsewhere.StatusCode);
        Assert.Null(elsewhere.Headers.Location);
        using var here = await SandboxClient.GetAsync(Authorize(Callback, "&state=a%26b"));
        Assert.StartsWith($"{Callback}?code=", here.Headers.Location!.ToString(), StringComparison.Ordinal);
        Assert.EndsWith("&response_type=code&state=a%26b", here.Headers.Location.ToString(), StringComparison.Ordinal);

        // A tile leads to the registered one, without a state that anybody began.
        using var tile = await SandboxClient.GetAsync($"{Origin}/oauth2/v2/auth?tile=1&person={Uri.EscapeDataString(Student.SourcedId)}");
        Assert.StartsWith($"{Callback}?code=", tile.Headers.Location!.ToString(), StringComparison.Ordinal);
        Assert.DoesNotContain("state=", tile.Headers.Location.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("consent-refused", "access_denied")]
    [InlineData("invalid-scope", "invalid_scope")]
    [InlineData("unauthorized-client", "unauthorized_client")]
    [InlineData("server-error", "server_error")]
    public async Task What_goes_wrong_comes_back_as_an_error(string fault, string word)
    {
        _server.Faults.Set(fault);
        using var answer = await SandboxClient.GetAsync(Authorize(Callback, "&state=s"));
        Assert.Equal($"{Callback}?error={word}&state=s", answer.Headers.Location!.ToString());
    }

    [Theory]
    [InlineData("body")]
    [InlineData("query")]
    [InlineData("basic")]
    public async Task A_code_serves_once_whichever_way_it_is_sent(string way)
    {
        var code = await CodeAsync();
        Assert.Equal(HttpStatusCode.Unauthorized, (await TokenAsync(way, await CodeAsync(), "wrong")).Status);
        var (status, token) = await TokenAsync(way, code);
        Assert.Equal(HttpStatusCode.OK, status);
        Assert.Equal(
            ["access_token", "id_token", "response_type", "token_type"],
            token.EnumerateObject().Select(p => p.Name).Order(StringComparer.Ordinal)
        );
        Assert.Equal(HttpStatusCode.Unauthorized, (await TokenAsync(way, code)).Status);
    }

    [Theory]
    [InlineData(299, HttpStatusCode.OK)]
    [InlineData(300, HttpStatusCode.Unauthorized)]
    public async Task A_code_lives_for_five_minutes(int seconds, HttpStatusCode expected)
    {
        var code = await CodeAsync();
        _time.Set(_time.GetUtcNow() + TimeSpan.FromSeconds(seconds));
        Assert.Equal(expected, (await TokenAsync("body", code)).Status);
    }

    [Fact]
    public async Task A_code_is_for_the_address_that_it_was_asked_with()
    {
        var code = await CodeAsync();
        Assert.Equal(HttpStatusCode.Unauthorized, (await TokenAsync("body", code, redirectUri: "https://evil.example/callback")).Status);
    }

    [Fact]
    public async Task A_token_is_signed_by_a_listed_key_and_says_who_it_is_and_no_nbf()
    {
        var (_, token) = await TokenAsync("body", await CodeAsync("&nonce=n1"));
        var (header, claims) = await VerifyAsync(token.Text("id_token"));
        Assert.Equal(("RS256", "k1"), (header.Text("alg"), header.Text("kid")));
        Assert.False(claims.TryGetProperty("nbf", out _));
        Assert.Equal((Origin, _server.Options.ClientId, "n1"), (claims.Text("iss"), claims.Text("aud"), claims.Text("nonce")));
        var now = _time.GetUtcNow().ToUnixTimeSeconds();
        Assert.Equal((now, now + 86_400), (claims.GetProperty("iat").GetInt64(), claims.GetProperty("exp").GetInt64()));

        // The number of a person is a text here, and a number in my/info.
        var bearer = token.Text("access_token");
        var info = await ReadAsync($"{Origin}/v2/my/info", bearer);
        Assert.Equal(claims.Text("sub"), info.GetProperty("UserId").GetInt64().ToString(CultureInfo.InvariantCulture));
        Assert.Equal((Student.SourcedId, Student.Username), (info.Text("SourcedId"), info.Text("LoginId")));
        Assert.Equal(_server.Options.TenantId, info.GetProperty("TenantId").GetInt64().ToString(CultureInfo.InvariantCulture));
        var profile = await ReadAsync($"{Origin}/v2/my/profileinfo", bearer);
        Assert.Equal(
            (claims.Text("sub"), Student.GivenName, Student.FamilyName),
            (profile.Text("sub"), profile.Text("given_name"), profile.Text("family_name"))
        );
        using var stranger = await SandboxClient.GetAsync($"{Origin}/v2/my/info", "another");
        Assert.Equal(HttpStatusCode.Unauthorized, stranger.StatusCode);
        Assert.Equal("Unauthorized", JsonElement.Parse(await stranger.Content.ReadAsStringAsync()).Text("message"));
    }

    /// <summary>Each scope opens what it is for.</summary>
    [Theory]
    [InlineData("profile%20oneroster", false, true, true, false)]
    [InlineData("openid%20profile", true, true, false, false)]
    [InlineData("openid%20profile%20email", true, true, false, true)]
    [InlineData("openid%20oneroster", true, false, false, false)]
    [InlineData("full", true, true, true, true)]
    public async Task A_scope_that_was_not_asked_for_opens_nothing(string scope, bool signed, bool info, bool roster, bool email)
    {
        var (_, token) = await TokenAsync("body", await CodeAsync(scope: scope));
        Assert.Equal(signed, token.TryGetProperty("id_token", out _));
        using var answer = await SandboxClient.GetAsync($"{Origin}/v2/my/info", token.Text("access_token"));
        Assert.Equal(info ? HttpStatusCode.OK : HttpStatusCode.Forbidden, answer.StatusCode);
        if (info)
        {
            var said = JsonElement.Parse(await answer.Content.ReadAsStringAsync());
            Assert.Equal(roster, said.Text("SourcedId").Length > 0);
            Assert.Equal(email, said.TryGetProperty("Email", out _));
        }

        using var unknown = await SandboxClient.GetAsync(Authorize(Callback, scope: "openid%20everything"));
        Assert.Equal($"{Callback}?error=invalid_scope", unknown.Headers.Location!.ToString());
    }

    [Fact]
    public async Task A_new_key_is_listed_beside_the_one_before_or_under_its_name()
    {
        _server.RotateSigningKey();
        var (_, token) = await TokenAsync("body", await CodeAsync());
        Assert.Equal("k2", (await VerifyAsync(token.Text("id_token"))).Header.Text("kid"));
        Assert.Equal(["k1", "k2"], (await KeysAsync()).Select(k => k.Text("kid")));
        _server.Faults.Set("same-kid-new-key");
        var before = (await KeysAsync()).Single().Text("n");
        (_, token) = await TokenAsync("body", await CodeAsync());
        Assert.Equal("k2", (await VerifyAsync(token.Text("id_token"))).Header.Text("kid"));
        _server.Faults.Set("no-kid");
        (_, token) = await TokenAsync("body", await CodeAsync());
        Assert.False((await VerifyAsync(token.Text("id_token"))).Header.TryGetProperty("kid", out _));
        Assert.DoesNotContain(await KeysAsync(), k => k.Text("n") == before);
    }

    [Theory]
    [InlineData("Python-urllib/3.12", HttpStatusCode.Unauthorized)]
    [InlineData("Rollcall", HttpStatusCode.OK)]
    [InlineData(null, HttpStatusCode.OK)]
    public async Task Keys_are_kept_from_one_program_alone(string? agent, HttpStatusCode expected)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, $"{Origin}/oauth2/v2/jwks");
        if (agent is not null)
        {
            request.Headers.UserAgent.ParseAdd(agent);
        }

        using var answer = await SandboxClient.Http.SendAsync(request);
        Assert.Equal(expected, answer.StatusCode);
    }

    [Fact]
    public async Task Staff_have_a_list_of_schools_where_students_have_a_text_and_numbers_may_be_texts()
    {
        var teacher = _server.District.People.First(p => p is { Role: "teacher", Presence: SandboxPresence.Present });
        var info = await InfoAsync(teacher);
        Assert.Equal((JsonValueKind.Array, "Teacher", 3), (info.GetProperty("OrgId").ValueKind, info.Text("Role"), Level(info)));
        info = await InfoAsync(Student);
        Assert.Equal((JsonValueKind.String, "Student", 4), (info.GetProperty("OrgId").ValueKind, info.Text("Role"), Level(info)));
        _server.Faults.Set("ids-as-text");
        info = await InfoAsync(Student);
        Assert.Equal(
            (JsonValueKind.String, JsonValueKind.String),
            (info.GetProperty("UserId").ValueKind, info.GetProperty("TenantId").ValueKind)
        );
        _server.Faults.Set("no-email,no-user,blank-sourcedid");
        info = await InfoAsync(Student);
        Assert.Equal("", info.Text("SourcedId"));
        Assert.False(info.TryGetProperty("Email", out _));
        Assert.False(info.TryGetProperty("UserId", out _));

        static int Level(JsonElement info) => info.GetProperty("Role_Level").GetInt32();
    }

    private string Authorize(string redirectUri, string more = "", SandboxPerson? person = null, string scope = All) =>
        $"{Origin}/oauth2/v2/auth?client_id={_server.Options.ClientId}&redirect_uri={Uri.EscapeDataString(redirectUri)}&response_type=code&scope={scope}"
        + $"&person={Uri.EscapeDataString((person ?? Student).SourcedId)}{more}";

    private async Task<string> CodeAsync(string more = "", SandboxPerson? person = null, string scope = All)
    {
        using var answer = await SandboxClient.GetAsync(Authorize(Callback, more, person, scope));
        return QueryHelpers.ParseQuery(answer.Headers.Location!.Query)["code"].ToString();
    }

    private async Task<JsonElement> InfoAsync(SandboxPerson person)
    {
        var (_, token) = await TokenAsync("body", await CodeAsync(person: person));
        return await ReadAsync($"{Origin}/v2/my/info", token.Text("access_token"));
    }

    private async Task<(HttpStatusCode Status, JsonElement Body)> TokenAsync(
        string way,
        string code,
        string? secret = null,
        string redirectUri = Callback
    )
    {
        secret ??= _server.Options.ClientSecret;
        var values = new Dictionary<string, string?>
        {
            ["code"] = code,
            ["grant_type"] = "authorization_code",
            ["redirect_uri"] = redirectUri,
        };
        if (way != "basic")
        {
            (values["client_id"], values["client_secret"]) = (_server.Options.ClientId, secret);
        }

        var address = $"{Origin}/oauth2/v2/token";
        using var request = new HttpRequestMessage(
            HttpMethod.Post,
            way == "query" ? QueryHelpers.AddQueryString(address, values) : address
        );
        if (way != "query")
        {
            request.Content = new FormUrlEncodedContent(values);
        }

        if (way == "basic")
        {
            request.Headers.Authorization = new AuthenticationHeaderValue(
                "Basic",
                Convert.ToBase64String(Encoding.UTF8.GetBytes($"{_server.Options.ClientId}:{secret}"))
            );
        }

        using var answer = await SandboxClient.Http.SendAsync(request);
        return (answer.StatusCode, JsonElement.Parse(await answer.Content.ReadAsStringAsync()));
    }

    private async Task<List<JsonElement>> KeysAsync() =>
        [.. (await ReadAsync($"{Origin}/oauth2/v2/jwks")).GetProperty("keys").EnumerateArray()];

    /// <summary>Header and claims of a token that one of the listed keys has signed.</summary>
    private async Task<(JsonElement Header, JsonElement Claims)> VerifyAsync(string token)
    {
        var parts = token.Split('.');
        var header = JsonElement.Parse(Encoding.UTF8.GetString(WebEncoders.Base64UrlDecode(parts[0])));
        var signed = false;
        foreach (var key in await KeysAsync())
        {
            using var rsa = RSA.Create(
                new RSAParameters
                {
                    Modulus = WebEncoders.Base64UrlDecode(key.Text("n")),
                    Exponent = WebEncoders.Base64UrlDecode(key.Text("e")),
                }
            );
            signed |=
                (!header.TryGetProperty("kid", out var kid) || kid.GetString() == key.Text("kid"))
                && rsa.VerifyData(
                    Encoding.ASCII.GetBytes($"{parts[0]}.{parts[1]}"),
                    WebEncoders.Base64UrlDecode(parts[2]),
                    HashAlgorithmName.SHA256,
                    RSASignaturePadding.Pkcs1
                );
        }

        Assert.True(signed);
        return (header, JsonElement.Parse(Encoding.UTF8.GetString(WebEncoders.Base64UrlDecode(parts[1]))));
    }

    private static async Task<JsonElement> ReadAsync(string address, string? bearer = null)
    {
        using var answer = await SandboxClient.GetAsync(address, bearer);
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        return JsonElement.Parse(await answer.Content.ReadAsStringAsync());
    }
}
