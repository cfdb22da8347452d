using System.Globalization;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Http;

namespace Rollcall.Sandbox.Serving;

/// <summary>
/// Client credentials at <c>/token</c>. As the one known server of ClassLink does: key and secret by Basic alone, no scope needed. Faults make it
/// one of the others.
/// </summary>
internal sealed class TokenFront(SandboxServer server)
{
    private const string Core = "roster-core.readonly";
    private readonly Lock _gate = new();
    private readonly Dictionary<string, (DateTimeOffset Ends, bool CoreOnly)> _tokens = new(StringComparer.Ordinal);
    private int _handedOut;

    /// <summary>The token opens the roster now.</summary>
    public bool Knows(string token)
    {
        lock (_gate)
        {
            return _tokens.TryGetValue(token, out var known) && known.Ends > server.Options.Clock.GetUtcNow();
        }
    }

    /// <summary>An Authorization header holds a token that was granted no demographics.</summary>
    public bool IsCoreOnly(string authorization)
    {
        lock (_gate)
        {
            return authorization.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase)
                && _tokens.TryGetValue(authorization["Bearer ".Length..].Trim(), out var known)
                && known.CoreOnly;
        }
    }

    /// <summary>Withdraws every token.</summary>
    public void Rotate()
    {
        lock (_gate)
        {
            _tokens.Clear();
        }
    }

    public async Task HandleAsync(HttpContext context, string[] segments, string query)
    {
        var met = server.Faults.Meet("token");
        var errors = new Errors(server.Options.Api);
        if (met.ContainsKey("token-elsewhere") ? segments[0] != "campus" || query.Length == 0 : segments[0] == "campus")
        {
            await Front.PlainAsync(context, 404, "Not Found");
            return;
        }

        if (!HttpMethods.IsPost(context.Request.Method))
        {
            await Front.PlainAsync(context, 405, "Method Not Allowed");
            return;
        }

        if (met.ContainsKey("token-204"))
        {
            context.Response.StatusCode = 204;
            return;
        }

        if (met.ContainsKey("token-500"))
        {
            await Front.PlainAsync(context, 500, "Internal Server Error");
            return;
        }

        using var reader = new StreamReader(context.Request.Body, Encoding.UTF8);
        var body = await reader.ReadToEndAsync(context.RequestAborted);
        var form = OAuthCheck.ParseQuery(
            met.ContainsKey("token-in-query") ? query
            : met.ContainsKey("token-as-json") ? Flat(body)
            : body
        );
        string? Given(string name) => form.Find(p => p.Name == name).Value;
        var plain = met.ContainsKey("token-in-body") || met.ContainsKey("token-in-query") || met.ContainsKey("token-as-json");
        var pair = met.ContainsKey("token-basic-plain")
            ? $"{server.Options.ConsumerKey}:{server.Options.ConsumerSecret}"
            : $"{Uri.EscapeDataString(server.Options.ConsumerKey)}:{Uri.EscapeDataString(server.Options.ConsumerSecret)}";
        var right = plain
            ? Given("client_id") == server.Options.ConsumerKey && Given("client_secret") == server.Options.ConsumerSecret
            : context.Request.Headers.Authorization.ToString() == $"Basic {Convert.ToBase64String(Encoding.UTF8.GetBytes(pair))}";
        if (!right || met.ContainsKey("token-refused"))
        {
            await errors.WriteAsync(context, 401, "unauthorized", "This request requires authorization - GN");
            return;
        }

        // Where everything stands in the query there is no body that could have a type.
        var type = context.Request.ContentType?.Split(';')[0].Trim();
        if (
            Given("grant_type") != "client_credentials"
            || (
                !met.ContainsKey("token-in-query")
                && type != (met.ContainsKey("token-as-json") ? "application/json" : "application/x-www-form-urlencoded")
            )
        )
        {
            await Front.PlainAsync(context, 400, """{"error":"unsupported_grant_type"}""", "application/json");
            return;
        }

        var scope = Given("scope");
        if (
            (met.ContainsKey("token-refuses-scope") && scope is not null)
            || (met.ContainsKey("token-needs-scope") && scope?.Contains(Core, StringComparison.Ordinal) != true)
        )
        {
            await Front.PlainAsync(context, 400, """{"error":"invalid_scope"}""", "application/json");
            return;
        }

        var life = met.TryGetValue("token-life", out var seconds) ? seconds : 3600;
        string token;
        lock (_gate)
        {
            token = string.Create(CultureInfo.InvariantCulture, $"ortk-{++_handedOut:D6}-{Guid.NewGuid():N}");
            _tokens[token] = (server.Options.Clock.GetUtcNow().AddSeconds(life), met.ContainsKey("token-core-only"));
        }

        await Front.PlainAsync(
            context,
            200,
            met.ContainsKey("token-life-unstated") ? $$"""{"access_token":"{{token}}"}"""
                : met.ContainsKey("token-odd-types") ? $$"""{"access_token":"{{token}}","token_type":"BEARER","expires_in":"{{life}}"}"""
                : $$"""{"access_token":"{{token}}","token_type":"bearer","expires_in":{{life}}}""",
            "application/json"
        );
    }

    /// <summary>A JSON object of texts as a form.</summary>
    private static string Flat(string body)
    {
        try
        {
            using var json = JsonDocument.Parse(body);
            return string.Join('&', json.RootElement.EnumerateObject().Select(p => $"{p.Name}={Uri.EscapeDataString(p.Value.ToString())}"));
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return "";
        }
    }
}
