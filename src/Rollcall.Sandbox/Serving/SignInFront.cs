using System.Collections.Concurrent;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.WebUtilities;
using Rollcall.Sandbox.District;

namespace Rollcall.Sandbox.Serving;

/// <summary>
/// ClassLink's sign-in side: LaunchPad with tiles, authorize, token, keys, <c>my/info</c> and <c>my/profileinfo</c>, in ClassLink's own
/// dialect: states that are optional, answers without <c>expires_in</c>, tokens without <c>nbf</c>.
/// </summary>
internal sealed class SignInFront(SandboxServer server) : IDisposable
{
    private static readonly TimeSpan s_codeLives = TimeSpan.FromMinutes(5);

    private const string Half = "half-a-character";
    private static readonly string[] s_errors = ["invalid-scope", "unauthorized-client", "server-error"];

    /// <summary>What ClassLink knows, and what whoever opens a tile has allowed the application.</summary>
    private static readonly string[] s_scopes = ["openid", "profile", "email", "oneroster", "full"];

    private sealed record Issued(
        string SourcedId,
        string ClientId,
        string RedirectUri,
        string? Nonce,
        IReadOnlyCollection<string> Scopes,
        DateTimeOffset At
    );

    private sealed record Granted(SandboxPerson Person, IReadOnlyCollection<string> Scopes)
    {
        public bool Has(string scope) => Scopes.Contains(scope) || Scopes.Contains("full");
    }

    private readonly ConcurrentDictionary<string, Issued> _codes = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, Granted> _tokens = new(StringComparer.Ordinal);
    private readonly RSA _key = RSA.Create(2048);
    private readonly RSA _stranger = RSA.Create(2048);
    private readonly RSA _renewed = RSA.Create(2048);
    private RSA? _rotated;

    private string Origin => server.Url.GetLeftPart(UriPartial.Authority);

    /// <summary>Takes a request of the sign-in side.</summary>
    public Task HandleAsync(HttpContext context, string[] segments, string query) =>
        segments switch
        {
            ["launchpad"] => LaunchpadAsync(context),
            [".well-known", _] => JsonAsync(context, Discovery()),
            [.., "auth"] => AuthorizeAsync(context, query),
            [.., "token"] => TokenAsync(context, query),
            [.., "jwks"] => KeysAsync(context),
            [.., var last] => InfoAsync(context, profile: last == "profileinfo"),
            [] => Task.CompletedTask,
        };

    /// <summary>The access tokens that were handed out.</summary>
    public IReadOnlyCollection<string> Handed => [.. _tokens.Keys];

    private Dictionary<string, int> Faults() => server.Faults.Meet("sign-in");

    /// <summary>The page of tiles, and the way in for whoever is not signed in to ClassLink yet: choosing who one is.</summary>
    private Task LaunchpadAsync(HttpContext context)
    {
        var rows = new StringBuilder();
        foreach (var person in Choice())
        {
            // A tile leads straight to the application, with a code and no state.
            rows.Append(
                CultureInfo.InvariantCulture,
                $"<tr><td>{Html($"{person.GivenName} {person.FamilyName}")}</td><td>{Html(person.Role)}</td><td><a class=tile href=\"/oauth2/v2/auth?tile=1&amp;person={Uri.EscapeDataString(person.SourcedId)}\">Open Rollcall</a></td></tr>"
            );
        }

        return PageAsync(
            context,
            $"<h1>LaunchPad of {Html(server.Options.TenantName)}</h1><p>Pretend people. A tile signs in as the person of its line.</p><table><tr><th>Person<th>Role<th>Tile</tr>{rows}</table>"
        );
    }

    /// <summary>People to sign in as: some of the staff, then some students, however many of either there are.</summary>
    private IEnumerable<SandboxPerson> Choice()
    {
        var world = server.District.World;
        return Of(student: false).Take(30).Concat(Of(student: true).Take(30)).Select(server.District.Describe);

        IEnumerable<Person> Of(bool student) =>
            world.People.Where(p => !p.IsGuardian && (p.Role == Role.Student) == student && p.Presence == SandboxPresence.Present);
    }

    private Task AuthorizeAsync(HttpContext context, string query)
    {
        var q = QueryHelpers.ParseQuery(query);
        string? One(string name) => q.TryGetValue(name, out var value) && !string.IsNullOrEmpty(value) ? value.ToString() : null;
        var faults = Faults();
        if (One("tile") is not null)
        {
            if (server.RedirectUri is not { } registered)
            {
                return Front.PlainAsync(context, 400, "No redirect URI is registered: --redirect-uri URL.");
            }

            var tile = Code(One("person") ?? "", server.Options.ClientId, registered, null, s_scopes);
            return Redirect(context, $"{registered}?code={tile}&response_type=code");
        }

        // A redirect URI that is not the registered one is never gone to.
        if (
            One("client_id") != server.Options.ClientId
            || One("response_type") != "code"
            || One("scope")?.Split(' ', ',') is not { } scopes
            || One("redirect_uri") is not { } uri
            || (server.RedirectUri is { } own ? own != uri : !Uri.TryCreate(uri, UriKind.Absolute, out _))
        )
        {
            return Front.PlainAsync(context, 400, "client_id, redirect_uri, response_type=code or scope is missing or not registered.");
        }

        var state = One("state") is { } s ? $"&state={Uri.EscapeDataString(s)}" : "";
        if (faults.ContainsKey("consent-refused") || One("refuse") is not null)
        {
            return Redirect(context, $"{uri}?error=access_denied{state}");
        }

        if (scopes.Except(s_scopes, StringComparer.Ordinal).Any())
        {
            return Redirect(context, $"{uri}?error=invalid_scope{state}");
        }

        if (s_errors.FirstOrDefault(faults.ContainsKey) is { } error)
        {
            return Redirect(context, $"{uri}?error={error.Replace('-', '_')}{state}");
        }

        if (One("person") is { } chosen)
        {
            return Redirect(
                context,
                $"{uri}?code={Code(chosen, server.Options.ClientId, uri, One("nonce"), scopes)}&response_type=code{state}"
            );
        }

        var again = "/oauth2/v2/auth?" + query;
        var rows = new StringBuilder();
        foreach (var person in Choice())
        {
            rows.Append(
                CultureInfo.InvariantCulture,
                $"<li><a href=\"{Html($"{again}&person={Uri.EscapeDataString(person.SourcedId)}")}\">{Html($"{person.GivenName} {person.FamilyName}")}</a> ({Html(person.Role)})</li>"
            );
        }

        return PageAsync(
            context,
            $"<h1>Who are you?</h1><p>Rollcall asks ClassLink who you are. Everybody here is invented.</p><ul>{rows}</ul><p><a href=\"{Html($"{again}&refuse=1")}\">Do not allow</a></p>"
        );
    }

    private string Code(string person, string client, string uri, string? nonce, IReadOnlyCollection<string> scopes)
    {
        var code = $"c{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(20))}";
        _codes[code] = new Issued(person, client, uri, nonce, scopes, server.Options.Clock.GetUtcNow());
        return code;
    }

    /// <summary>Parameters in the body, in the query, or the client in a Basic header: ClassLink takes all three.</summary>
    private async Task TokenAsync(HttpContext context, string query)
    {
        var faults = Faults();
        var values = QueryHelpers.ParseQuery(query).ToDictionary(p => p.Key, p => p.Value.ToString(), StringComparer.Ordinal);
        if (context.Request.HasFormContentType)
        {
            foreach (var (name, value) in await context.Request.ReadFormAsync())
            {
                values[name] = value.ToString();
            }
        }

        var basic = context.Request.Headers.Authorization.ToString();
        if (basic.StartsWith("Basic ", StringComparison.Ordinal))
        {
            var parts = Encoding.UTF8.GetString(Convert.FromBase64String(basic[6..])).Split(':', 2);
            (values["client_id"], values["client_secret"]) = (parts[0], parts[^1]);
        }

        var right =
            context.Request.Method == "POST"
            && values.GetValueOrDefault("client_id") == server.Options.ClientId
            && values.GetValueOrDefault("client_secret") == server.Options.ClientSecret;

        // Taken out: a code serves once, whatever becomes of it.
        if (
            !right
            || !_codes.TryRemove(values.GetValueOrDefault("code") ?? "", out var issued)
            || issued.At + s_codeLives <= server.Options.Clock.GetUtcNow()
            || faults.ContainsKey("code-expired")
            || (values.TryGetValue("redirect_uri", out var uri) && uri != issued.RedirectUri)
        )
        {
            await JsonAsync(context, new { message = "Invalid code or client." }, 401);
            return;
        }

        var person = server.District.Find(issued.SourcedId);
        if (person is null)
        {
            await JsonAsync(context, new { message = "Unknown user." }, 401);
            return;
        }

        var token = $"c{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(24))}";
        var granted = new Granted(person, issued.Scopes);
        _tokens[token] = granted;
        var answer = new Dictionary<string, string>
        {
            ["access_token"] = token,
            ["token_type"] = "Bearer",
            ["response_type"] = "code",
        };
        if (granted.Has("openid"))
        {
            answer["id_token"] = IdToken(person, issued, faults);
        }

        await JsonAsync(context, answer);
    }

    private string IdToken(SandboxPerson person, Issued issued, Dictionary<string, int> faults)
    {
        var now = server.Options.Clock.GetUtcNow().ToUnixTimeSeconds();
        var expired = faults.ContainsKey("id-token-expired");
        var payload = new Dictionary<string, object?>
        {
            ["iss"] = faults.ContainsKey("wrong-issuer") ? "https://launchpad.example" : Origin,
            ["sub"] = Subject(person, faults),
            ["aud"] = faults.ContainsKey("wrong-audience") ? "another-application" : issued.ClientId,
            ["iat"] = expired ? now - 90_000 : now,
            ["exp"] = expired ? now - 3600 : now + 86_400,
            ["email"] = faults.ContainsKey("no-email") ? null : person.Email,
            ["name"] = $"{person.GivenName} {person.FamilyName}",
            ["profile"] = person.Role,
        };
        if (issued.Nonce is not null && !faults.ContainsKey("no-nonce"))
        {
            payload["nonce"] = faults.ContainsKey("wrong-nonce") ? "another-nonce" : issued.Nonce;
        }

        var none = faults.ContainsKey("alg-none");
        var hs = faults.ContainsKey("alg-hs256");
        var header = new Dictionary<string, string>
        {
            ["typ"] = "JWT",
            ["alg"] =
                none ? "none"
                : hs ? "HS256"
                : "RS256",
            ["kid"] =
                faults.ContainsKey("unknown-kid") ? "nobody-knows-it"
                : _rotated is null ? "k1"
                : "k2",
        };
        if (faults.ContainsKey("no-kid"))
        {
            header.Remove("kid");
        }

        var signed = $"{Part(JsonSerializer.SerializeToUtf8Bytes(header))}.{Part(JsonSerializer.SerializeToUtf8Bytes(payload))}";
        var bytes = Encoding.ASCII.GetBytes(signed);
        var key =
            faults.ContainsKey("forged-signature") ? _stranger
            : faults.ContainsKey("same-kid-new-key") ? _renewed
            : _rotated ?? _key;
        return none ? $"{signed}."
            : hs ? $"{signed}.{Part(HMACSHA256.HashData(Encoding.ASCII.GetBytes(_key.ExportSubjectPublicKeyInfoPem()), bytes))}"
            : $"{signed}.{Part(key.SignData(bytes, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1))}";
    }

    /// <summary>Signs with another key from now on.</summary>
    public void Rotate() => _rotated = RSA.Create(2048);

    private Task KeysAsync(HttpContext context)
    {
        if (context.Request.Headers.UserAgent.ToString().StartsWith("Python-urllib", StringComparison.OrdinalIgnoreCase))
        {
            return Front.PlainAsync(context, 401, "Unauthorized");
        }

        var faults = Faults();
        if (faults.ContainsKey("odd-keys"))
        {
            return JsonAsync(context, new { keys = "none" });
        }

        object Key(RSA rsa, string id)
        {
            var p = rsa.ExportParameters(false);
            return new
            {
                kty = "RSA",
                use = "sig",
                alg = "RS256",
                kid = id,
                n = faults.ContainsKey("odd-key") ? "!" : Part(p.Modulus!),
                e = Part(p.Exponent!),
            };
        }

        if (faults.ContainsKey("withdrawn-key"))
        {
            return JsonAsync(context, new { keys = new[] { Key(_renewed, "k9") } });
        }

        if (faults.ContainsKey("same-kid-new-key"))
        {
            return JsonAsync(context, new { keys = new[] { Key(_renewed, _rotated is null ? "k1" : "k2") } });
        }

        object listed = new { keys = _rotated is null ? [Key(_key, "k1")] : new[] { Key(_key, "k1"), Key(_rotated, "k2") } };
        return SlowlyAsync(context, JsonSerializer.Serialize(listed), faults.GetValueOrDefault("keys-stall"));
    }

    private Task InfoAsync(HttpContext context, bool profile)
    {
        var faults = Faults();
        var bearer = context.Request.Headers.Authorization.ToString();
        if (!bearer.StartsWith("Bearer ", StringComparison.Ordinal) || !_tokens.TryGetValue(bearer[7..], out var granted))
        {
            return JsonAsync(context, new { message = "Unauthorized" }, 401);
        }

        if (!granted.Has("profile"))
        {
            return JsonAsync(context, new { message = "Access denied" }, 403);
        }

        var person = granted.Person;

        if (profile)
        {
            return JsonAsync(
                context,
                new
                {
                    sub = faults.ContainsKey("other-user") ? "1" : Subject(person, faults),
                    given_name = person.GivenName,
                    family_name = person.FamilyName,
                    email = person.Email,
                }
            );
        }

        var asText = faults.ContainsKey("ids-as-text");
        object Id(long value) => asText ? value.ToString(CultureInfo.InvariantCulture) : value;
        var tenant = faults.ContainsKey("wrong-tenant") ? 9999 : long.Parse(server.Options.TenantId, CultureInfo.InvariantCulture);
        var teacher = person.Role != "student";
        var info = new Dictionary<string, object?>
        {
            ["UserId"] = Id(faults.ContainsKey("other-user") ? 1 : UserId(person)),
            ["TenantId"] = Id(tenant),
            ["DisplayName"] = $"{person.GivenName} {person.FamilyName}",
            ["FirstName"] = person.GivenName,
            ["LastName"] = person.FamilyName,
            ["Email"] = faults.ContainsKey("half-a-character") ? Half : person.Email,
            ["LoginId"] = faults.ContainsKey("unknown-person") ? "nobody" : person.Username,
            ["Role"] = teacher ? "Teacher" : "Student",
            ["Role_Level"] = teacher ? 3 : 4,
            ["Tenant"] = server.Options.TenantName,
            ["OrgId"] = teacher && granted.Has("oneroster") ? new[] { person.Orgs[0] } : "",
            ["SourcedId"] =
                faults.ContainsKey("unknown-person") ? "nobody"
                : faults.ContainsKey("blank-sourcedid") || !granted.Has("oneroster") ? ""
                : faults.ContainsKey("nul-sourcedid") ? person.SourcedId + '\0'
                : person.SourcedId,
        };
        foreach (var (fault, field) in ((string, string)[])[("no-user", "UserId"), ("no-email", "Email")])
        {
            if (faults.ContainsKey(fault) || (field == "Email" && !granted.Has("email")))
            {
                info.Remove(field);
            }
        }

        // Written by hand: a serializer mends it.
        return SlowlyAsync(
            context,
            JsonSerializer.Serialize(info).Replace(Half, @"\ud800", StringComparison.Ordinal),
            faults.GetValueOrDefault("info-stall")
        );
    }

    private object Discovery() =>
        new
        {
            issuer = Origin,
            authorization_endpoint = $"{Origin}/oauth2/v2/auth",
            token_endpoint = $"{Origin}/oauth2/v2/token",
            userinfo_endpoint = $"{Origin}/v2/my/profileinfo",
            jwks_uri = $"{Origin}/oauth2/v2/jwks",
            id_token_signing_alg_values_supported = new[] { "RS256" },
            token_endpoint_auth_methods_supported = new[] { "client_secret_post", "client_secret_basic" },
        };

    /// <summary>ClassLink's own number of a person: the same on every day, and nothing that a roster knows.</summary>
    private static long UserId(SandboxPerson person) =>
        1_000_000 + (BitConverter.ToUInt32(SHA256.HashData(Encoding.UTF8.GetBytes(person.SourcedId))) % 8_000_000);

    /// <summary>Whom the signed token calls so. That it is the UserId is seen, and promised nowhere.</summary>
    private static string Subject(SandboxPerson person, Dictionary<string, int> faults) =>
        string.Create(CultureInfo.InvariantCulture, $"{(faults.ContainsKey("other-sub") ? "8" : "")}{UserId(person)}");

    private static string Part(byte[] bytes) => WebEncoders.Base64UrlEncode(bytes);

    private static string Html(string text) => System.Net.WebUtility.HtmlEncode(text);

    private static Task Redirect(HttpContext context, string to)
    {
        context.Response.StatusCode = 302;
        context.Response.Headers.Location = to;
        return Task.CompletedTask;
    }

    private static Task PageAsync(HttpContext context, string body) =>
        Front.PlainAsync(
            context,
            200,
            $"<!DOCTYPE html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><link rel=icon href=\"data:,\"><title>Sandbox</title><body>{body}",
            "text/html"
        );

    /// <summary>An answer in the middle of which nothing comes for so many milliseconds.</summary>
    private static async Task SlowlyAsync(HttpContext context, string json, int stall)
    {
        if (stall == 0)
        {
            await Front.PlainAsync(context, 200, json, "application/json");
            return;
        }

        context.Response.ContentType = "application/json; charset=utf-8";
        await context.Response.WriteAsync(json[..(json.Length / 2)], context.RequestAborted);
        await context.Response.Body.FlushAsync(context.RequestAborted);
        await Task.Delay(stall, context.RequestAborted);
        await context.Response.WriteAsync(json[(json.Length / 2)..], context.RequestAborted);
    }

    private static Task JsonAsync(HttpContext context, object value, int status = 200) =>
        Front.PlainAsync(context, status, JsonSerializer.Serialize(value), "application/json");

    public void Dispose()
    {
        _key.Dispose();
        _stranger.Dispose();
        _renewed.Dispose();
        _rotated?.Dispose();
    }
}
