using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Rollcall.Sandbox.Serving;

/// <summary>
/// The way in. Kestrel decodes and normalises paths, and this service must tell <c>%2F</c> from <c>%252F</c> and from a slash: it routes by
/// the target as it was sent.
/// </summary>
internal sealed class Front(SandboxServer server)
{
    private const string Forbidden = "ForbiddenError: \"Application API Disabled by User\"";

    private static readonly JsonSerializerOptions LedgerJson = new(JsonSerializerDefaults.Web)
    {
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        Converters = { new JsonStringEnumConverter() },
    };

    private readonly RosterService _roster = new();
    private readonly TokenFront _tokens = new(server);

    public async Task HandleAsync(HttpContext context)
    {
        var target = context.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget;
        if (target.StartsWith("http", StringComparison.OrdinalIgnoreCase) && target.IndexOf('/', 8) is > 0 and var start)
        {
            target = target[start..];
        }

        var mark = target.IndexOf('?', StringComparison.Ordinal);
        var path = mark < 0 ? target : target[..mark];
        var query = mark < 0 ? "" : target[(mark + 1)..];
        var segments = path.TrimStart('/').Split('/');
        var log = server.Log(context.Request.Method, path, query, CollectionOf(segments));
        context.Features.Set(log);
        Date(context, TimeSpan.Zero);
        context.Response.OnStarting(() =>
        {
            // Before the first byte, so that whoever has the answer finds it in the log.
            log.Status = context.Response.StatusCode;
            return Task.CompletedTask;
        });
        try
        {
            if (server.BeforeAnswer is { } wait)
            {
                await wait(context.RequestAborted);
            }

            await RouteAsync(context, path, query, segments);
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested) { }
    }

    private Task RouteAsync(HttpContext context, string path, string query, string[] segments) =>
        segments switch
        {
            [""] => HomeAsync(context),
            ["sandbox", var verb] => ControlAsync(context, verb, query),
            ["applications"] => ApplicationsAsync(context, query),
            ["applications", var id, "server"] => ServerAsync(context, id),
            ["launchpad"]
            or [".well-known", "openid-configuration"]
            or ["oauth2", "v2", "auth" or "token" or "jwks"]
            or ["v2", "my", "info" or "profileinfo"] => server.SignIn.HandleAsync(context, segments, query),
            ["token"] or ["campus", "oauth2", "token"] => _tokens.HandleAsync(context, segments, query),
            ["ims", .. var rest] => RosterAsync(context, server.Main, Door.Direct, path, query, rest),
            ["proxy", "v1p0", var id, "ims", .. var rest] => RosterAsync(context, TenantBy(id), Door.Proxy, path, query, rest),
            [var id, "ims", .. var rest] => RosterAsync(context, TenantBy(id), Door.Proxy, path, query, rest),
            _ => PlainAsync(context, 404, "Not Found"),
        };

    private void Date(HttpContext context, TimeSpan behind) =>
        context.Response.Headers.Date = (server.Options.Clock.GetUtcNow() - behind).ToString("r", CultureInfo.InvariantCulture);

    private static string CollectionOf(string[] segments)
    {
        if (segments[0] == "applications")
        {
            return "applications";
        }

        var version = Array.FindIndex(segments, s => s is "v1p1" or "v1p2");
        return version > 0 && version + 1 < segments.Length ? segments[version + 1] : "";
    }

    // Verbatim: an id that was encoded once more is another id.
    private Tenant? TenantBy(string id) => Array.Find(server.Tenants, tenant => tenant.ApplicationId == id);

    private async Task RosterAsync(HttpContext context, Tenant? tenant, Door door, string path, string query, string[] rest)
    {
        string[]? inside = rest switch
        {
            ["oneroster", "v1p1", .. var tail] => tail,
            ["oneroster", "rostering", "v1p2", .. var tail] when server.Options.Api == SandboxApi.OneRoster12 => tail,
            _ => null,
        };
        if (tenant is null || inside is null or [] || !Catalog.Envelopes.ContainsKey(inside[0]))
        {
            await PlainAsync(context, 404, "Not Found");
            return;
        }

        var met = server.Faults.Meet(inside[0], single: inside.Length == 2);
        var wait = server.Options.RequestDelay + TimeSpan.FromMilliseconds(met.GetValueOrDefault("slow"));
        if (wait > TimeSpan.Zero)
        {
            await Task.Delay(wait, server.Options.Clock, context.RequestAborted);
        }

        if (met.ContainsKey("rotate-bearer-at"))
        {
            tenant.Rotate();
        }

        if (met.ContainsKey("rotate-token-at"))
        {
            _tokens.Rotate();
        }

        var behind = TimeSpan.FromMinutes(met.GetValueOrDefault("clock-behind"));
        Date(context, behind);

        if (!HttpMethods.IsGet(context.Request.Method))
        {
            await PlainAsync(context, 405, "Method Not Allowed");
            return;
        }

        var errors = new Errors(server.Options.Api);
        if (Unauthorized(context, tenant, door, path, query, behind, signs: rest[1] == "v1p1") is { } reason)
        {
            await errors.WriteAsync(context, 401, "unauthorized", $"This request requires authorization: {reason}");
        }
        else if (!tenant.Enabled || met.ContainsKey("disabled-403"))
        {
            await PlainAsync(context, 403, Forbidden);
        }
        else if (inside[0] == "demographics" && door == Door.Direct && _tokens.IsCoreOnly(context.Request.Headers.Authorization.ToString()))
        {
            await errors.WriteAsync(context, 403, "forbidden", "the token's scope holds no demographics");
        }
        else
        {
            await _roster.ServeAsync(context, tenant.Catalog, met, inside, query, errors);
        }
    }

    private string? Unauthorized(HttpContext context, Tenant tenant, Door door, string path, string query, TimeSpan behind, bool signs)
    {
        var header = context.Request.Headers.Authorization.ToString();
        if (door == Door.Direct && header.StartsWith("OAuth ", StringComparison.OrdinalIgnoreCase))
        {
            if (!signs)
            {
                return "1.2 knows no signed requests";
            }

            var host = context.Request.Host;
            var standard = host.Port is null or 80 && !context.Request.IsHttps || host.Port is null or 443 && context.Request.IsHttps;
            var address = $"{context.Request.Scheme}://{host.Host.ToLowerInvariant()}{(standard ? "" : $":{host.Port}")}{path}";
            return server.OAuth.Refuse(header, address, query, behind);
        }

        if (!header.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase))
        {
            return "no credentials";
        }

        var given = header["Bearer ".Length..].Trim();
        return (door == Door.Direct ? _tokens.Knows(given) : tenant.Bearer is { } bearer && given == bearer) ? null : "unknown bearer";
    }

    private async Task ApplicationsAsync(HttpContext context, string query)
    {
        if (await PassAsync(context) is not { } met)
        {
            return;
        }

        var old = met.ContainsKey("old-form");
        var parameters = OAuthCheck.ParseQuery(query);
        var limit = Number(parameters, "limit", 100);
        var offset = Number(parameters, "offset", 0);
        context.Response.ContentType = "application/json; charset=utf-8";
        await using var json = new Utf8JsonWriter(context.Response.BodyWriter, RowWriter.Json);
        json.WriteStartObject();
        json.WriteNumber("status", 1);
        json.WriteStartArray("applications");
        foreach (var (tenant, index) in server.Tenants.Select((tenant, index) => (tenant, index)).Skip(offset).Take(limit))
        {
            json.WriteStartObject();
            json.WriteNumber("id", 12_340 + index);
            json.WriteNumber("application_id", 67_890);
            json.WriteNumber("tenant_id", long.Parse(tenant.Id, CultureInfo.InvariantCulture));
            json.WriteString("bearer", tenant.Bearer);
            json.WriteString("tenant_name", tenant.Name);
            if (!old)
            {
                json.WriteString("enabled", tenant.Enabled ? "true" : "false");
                json.WriteString("tenant_status", tenant.Status);
            }

            json.WriteString("oneroster_application_id", tenant.ApplicationId);
            json.WriteString("name", tenant.Application);
            if (!old)
            {
                json.WriteString("version", "");
            }

            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    private async Task ServerAsync(HttpContext context, string id)
    {
        if (await PassAsync(context) is null)
        {
            return;
        }

        if (TenantBy(id) is not { } tenant)
        {
            await PlainAsync(context, 404, "Not Found");
            return;
        }

        var main = tenant == server.Main;
        context.Response.ContentType = "application/json; charset=utf-8";
        await using var json = new Utf8JsonWriter(context.Response.BodyWriter, RowWriter.Json);
        json.WriteStartObject();
        json.WriteNumber("status", 1);
        json.WriteStartObject("server");
        json.WriteString("client_id", main ? server.Options.ConsumerKey : "");
        json.WriteString("client_secret", main ? server.Options.ConsumerSecret : "");
        json.WriteString("endpoint_url", $"{context.Request.Scheme}://{context.Request.Host}");
        json.WriteEndObject();
        json.WriteString("message", "");
        json.WriteEndObject();
    }

    /// <summary>The faults that the request meets; null when it has been answered.</summary>
    private async Task<Dictionary<string, int>?> PassAsync(HttpContext context)
    {
        var met = server.Faults.Meet("applications");
        if (met.TryGetValue("slow", out var milliseconds))
        {
            await Task.Delay(TimeSpan.FromMilliseconds(milliseconds), server.Options.Clock, context.RequestAborted);
        }

        if (context.Request.Headers.Authorization.ToString() != $"Bearer {server.Options.PartnerKey}")
        {
            await PlainAsync(context, 401, "{\"status\":0,\"message\":\"Unauthorized\"}", "application/json");
            return null;
        }

        if (met.ContainsKey("disabled-403"))
        {
            await PlainAsync(context, 403, Forbidden);
            return null;
        }

        return await RosterService.FailAsync(context, met, "applications", 0, new Errors(server.Options.Api)) ? null : met;
    }

    private async Task ControlAsync(HttpContext context, string verb, string query)
    {
        var parameters = OAuthCheck.ParseQuery(query);
        string? Get(string name) => parameters.Find(p => p.Name == name).Value;
        var post = HttpMethods.IsPost(context.Request.Method);
        try
        {
            switch (verb)
            {
                case "day" when post:
                    server.SetDay(Get("day") is "next" or null ? server.District.Day + 1 : Day(Get("day")!));
                    await StateAsync(context);
                    break;
                case "faults" when post:
                    server.Faults.Set(Get("set") ?? "");
                    await StateAsync(context);
                    break;
                case "vanish" when post:
                    var share = double.Parse(Get("share") ?? "0.3", CultureInfo.InvariantCulture);
                    var gone = server.Overrides.RemoveShare(Get("school") ?? "", share);
                    await PlainAsync(context, 200, $$"""{"removed":{{gone.Count}}}""", "application/json");
                    break;
                case "restore" when post:
                    server.Overrides.Clear();
                    await StateAsync(context);
                    break;
                case "rotate" when post:
                    server.RotateBearer();
                    await StateAsync(context);
                    break;
                case "day" or "faults" or "state":
                    await StateAsync(context);
                    break;
                case "ledger":
                    var day = Get("day") is { } text ? Day(text) : server.District.Day;
                    await LinesAsync(context, Known(day).People);
                    break;
                case "events":
                    await LinesAsync(context, server.District.Events);
                    break;
                default:
                    await PlainAsync(context, 404, "Not Found");
                    break;
            }
        }
        catch (Exception e) when (e is ArgumentException or FormatException)
        {
            await PlainAsync(context, 400, e.Message);
        }
    }

    private static int Day(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var day)
            ? day
            : throw new ArgumentException($"'{text}' is no day: a number from 0, or next.", nameof(text));

    private SandboxDistrict Known(int day) => day == server.District.Day ? server.District : SandboxDistrict.At(server.Options, day);

    private Task StateAsync(HttpContext context) =>
        PlainAsync(
            context,
            200,
            JsonSerializer.Serialize(
                new
                {
                    day = server.District.Day,
                    date = server.District.World.Today.AddDays(server.District.Day).ToString("yyyy-MM-dd", CultureInfo.InvariantCulture),
                    faults = server.Faults.Active,
                    bearer = server.Bearer,
                },
                LedgerJson
            ),
            "application/json"
        );

    private static async Task LinesAsync<T>(HttpContext context, IEnumerable<T> items)
    {
        context.Response.ContentType = "application/x-ndjson; charset=utf-8";
        var body = context.Response.BodyWriter;
        await using var json = new Utf8JsonWriter(body, RowWriter.Json);
        foreach (var item in items)
        {
            JsonSerializer.Serialize(json, item, LedgerJson);
            json.Flush();
            json.Reset();
            body.Write("\n"u8);
            if (body.UnflushedBytes > 65_536)
            {
                await body.FlushAsync(context.RequestAborted);
            }
        }
    }

    private Task HomeAsync(HttpContext context)
    {
        var options = server.Options;
        var origin = $"{context.Request.Scheme}://{context.Request.Host}";
        var faults = string.Concat(
            SandboxFaults.Names.Select(f => $"<tr><td><code>{Html(f.Key)}</code></td><td>{Html(f.Value)}</td></tr>")
        );
        var tenants = string.Concat(
            server.Tenants.Select(t =>
                $"<tr><td>{Html(t.Id)}</td><td>{Html(t.Name)}</td><td>{(t.Enabled ? "enabled" : "disabled")}, {Html(t.Status)}"
                + $"{(t.Bearer is null ? ", no bearer" : "")}</td><td><code>{Html(t.ApplicationId)}</code></td></tr>"
            )
        );
        return PlainAsync(
            context,
            200,
            $$"""
            <!doctype html>
            <html lang="en"><head><meta charset="utf-8"><title>Rollcall sandbox</title></head><body>
            <h1>Rollcall sandbox</h1>
            <p>A pretend roster service. Everybody in it is invented. Today is day {{server.District.Day}} of {{Html(options.TenantName)}}
            with {{options.Students}} students on day 0, seed {{options.Seed}}.</p>
            <h2>Tenants</h2><table><tr><th>Tenant ID</th><th>Name</th><th>State</th><th>Application id</th></tr>{{tenants}}</table>
            <h2>Ways in</h2><ul>
            <li>Proxy with the partner key: <code>{{Html(origin)}}</code>, key <code>{{Html(options.PartnerKey)}}</code></li>
            <li>Pasted prefix: <code>{{Html(origin)}}/{{Html(options.ApplicationId)}}/ims/oneroster/v1p1/</code>, token
            <code>{{Html(server.Bearer)}}</code></li>
            <li>Direct, OAuth 1.0a: <code>{{Html(origin)}}</code>, key <code>{{Html(options.ConsumerKey)}}</code>, secret
            <code>{{Html(options.ConsumerSecret)}}</code></li>
            <li>Client credentials: <code>{{Html(origin)}}/token</code> with the same key and secret</li>
            <li>Signing in: application <code>{{Html(options.ClientId)}}</code>, secret <code>{{Html(
                options.ClientSecret
            )}}</code></li></ul>
            <h2>Driving it</h2><ul>
            <li><code>POST /sandbox/day?day=N</code> or <code>day=next</code></li>
            <li><code>POST /sandbox/faults?set=429@2,clamp=500:users</code>; empty switches all off</li>
            <li><code>POST /sandbox/vanish?school=ORG&amp;share=0.3</code>, <code>POST /sandbox/restore</code></li>
            <li><code>POST /sandbox/rotate</code> changes the bearer</li>
            <li><code>GET /sandbox/state</code>, <code>GET /sandbox/ledger?day=N</code>, <code>GET /sandbox/events</code></li></ul>
            <h2>Faults</h2><p>On: {{Html(server.Faults.Active.Count == 0 ? "none" : string.Join(", ", server.Faults.Active))}}.
            Written <code>name[=value][:collection][@n|@n-m|@n+]</code>.</p><table>{{faults}}</table>
            </body></html>
            """,
            "text/html"
        );
    }

    private static string Html(string text) => HtmlEncoder.Default.Encode(text);

    private static int Number(List<(string Name, string Value)> parameters, string name, int otherwise) =>
        int.TryParse(parameters.Find(p => p.Name == name).Value, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            ? number
            : otherwise;

    internal static Task PlainAsync(HttpContext context, int status, string text, string type = "text/plain")
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = $"{type}; charset=utf-8";
        var bytes = Encoding.UTF8.GetBytes(text);
        context.Response.ContentLength = bytes.Length;
        return context.Response.Body.WriteAsync(bytes).AsTask();
    }

    private enum Door
    {
        Proxy,
        Direct,
    }
}

/// <summary>Error bodies in the form of the version.</summary>
internal sealed class Errors(SandboxApi api)
{
    public SandboxApi Api => api;

    public Task WriteAsync(HttpContext context, int status, string minor, string description)
    {
        var text =
            api == SandboxApi.OneRoster11
                ? JsonSerializer.Serialize(
                    new
                    {
                        statusInfoSet = new[]
                        {
                            new
                            {
                                imsx_codeMajor = "failure",
                                imsx_severity = "error",
                                imsx_codeMinor = minor,
                                imsx_description = description,
                            },
                        },
                    }
                )
                : JsonSerializer.Serialize(
                    new
                    {
                        imsx_codeMajor = "failure",
                        imsx_severity = "error",
                        imsx_description = description,
                        imsx_CodeMinor = new
                        {
                            imsx_codeMinorField = new[]
                            {
                                new
                                {
                                    imsx_codeMinorFieldName = "TargetEndSystem",
                                    imsx_codeMinorFieldValue = minor switch
                                    {
                                        "unauthorized" => "unauthorisedrequest",
                                        "unknown object" => "unknownobject",
                                        "invalid data" => "invaliddata",
                                        "invalid_blank_selection_field" => "invalid_selection_field",
                                        "internal server error" => "internal_server_error",
                                        _ => minor,
                                    },
                                },
                            },
                        },
                    }
                );
        return Front.PlainAsync(context, status, text, "application/json");
    }
}
