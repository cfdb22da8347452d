using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Rollcall.Server.Tests.Commands;

/// <summary>
/// Plays back what a certified OneRoster 1.2 provider sent, with its manners: no totals, pages cut without a word, roles in another order each
/// time, no nested routes, flat errors, plain text where it is busy. <c>ROLLCALL_EDFI</c> names a folder with the whole recording; without it,
/// excerpts are played.
/// </summary>
internal sealed partial class EdFiServer : IAsyncDisposable
{
    public const string Token = "a-token-of-ed-fi";
    private const string Root = "/ims/oneroster/rostering/v1p2/";

    private static readonly string[] s_filterable =
    [
        "sourcedId",
        "status",
        "dateLastModified",
        "username",
        "enabledUser",
        "givenName",
        "familyName",
        "middleName",
        "preferredFirstName",
        "preferredMiddleName",
        "preferredLastName",
        "roles",
        "identifier",
        "email",
    ];

    private readonly WebApplication _app;
    private readonly Dictionary<string, List<JsonObject>> _rows = new(StringComparer.Ordinal);
    private int _asked;
    private int _busy;

    private EdFiServer(WebApplication app) => _app = app;

    /// <summary>The folder with the whole recording; null without it.</summary>
    public static string? Recording => Environment.GetEnvironmentVariable("ROLLCALL_EDFI") is { Length: > 0 } folder ? folder : null;

    public string Url { get; private set; } = "";

    /// <summary>The rows by collection, to look at and to change.</summary>
    public IReadOnlyDictionary<string, List<JsonObject>> Rows => _rows;

    /// <summary>More rows are never sent at once.</summary>
    public static int Clamp => Recording is null ? 5 : 500;

    /// <summary>The token may read demographics.</summary>
    public bool SharesDemographics { get; set; } = true;

    /// <summary>So many requests are answered with 429 first.</summary>
    public int Busy
    {
        set => _busy = value;
    }

    public static async Task<EdFiServer> StartAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(k => k.Listen(IPAddress.Loopback, 0));
        var server = new EdFiServer(builder.Build());
        server.Load(Recording ?? Path.Combine(AppContext.BaseDirectory, "EdFi"));
        server._app.Run(server.AnswerAsync);
        await server._app.StartAsync();
        server.Url = server._app.Urls.First();
        return server;
    }

    public async ValueTask DisposeAsync()
    {
        await _app.StopAsync(new CancellationToken(canceled: true));
        await _app.DisposeAsync();
    }

    private void Load(string folder)
    {
        foreach (var key in (string[])["orgs", "academicSessions", "courses", "classes", "users", "enrollments", "demographics"])
        {
            _rows[key] = [];
            for (var page = 0; File.Exists(Path.Combine(folder, $"{key}-p{page}.json")); page++)
            {
                var json = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, $"{key}-p{page}.json")))!;
                _rows[key].AddRange(json[key]!.AsArray().Select(r => r!.DeepClone().AsObject()));
            }
        }
    }

    private async Task AnswerAsync(HttpContext http)
    {
        _asked++;
        http.Response.Headers["RateLimit-Policy"] = "100000;w=60";
        if (_busy > 0)
        {
            _busy--;
            http.Response.Headers.RetryAfter = "1";
            await SendAsync(http, 429, "Too many requests, please try again later.", "text/html; charset=utf-8");
            return;
        }

        var path = http.Request.Path.Value!;
        if (path == "/")
        {
            await SendAsync(http, 200, """{"version":"1.0.0","title":"Ed-Fi OneRoster","links":[]}""");
            return;
        }

        if (!path.StartsWith(Root, StringComparison.Ordinal))
        {
            await FailAsync(http, 404, "The specified resource was not found");
            return;
        }

        var bearer = http.Request.Headers.Authorization.ToString();
        if (bearer != $"Bearer {Token}")
        {
            await FailAsync(
                http,
                401,
                bearer.StartsWith("Bearer ", StringComparison.Ordinal)
                    ? "Invalid or expired token."
                    : "Missing or invalid Authorization header.",
                minor: false
            );
            return;
        }

        var route = path[Root.Length..].Split('/');
        if (Collection(route[0]) is not var (key, rows) || route.Length > 2)
        {
            await FailAsync(http, 404, "The specified resource was not found", minor: false);
        }
        else if (route[0] == "demographics" && !SharesDemographics)
        {
            await FailAsync(
                http,
                403,
                "Insufficient scope: your token must have the 'https://purl.imsglobal.org/spec/or/v1p2/scope/roster-demographics.readonly' scope to access this route.",
                minor: false
            );
        }
        else if (route.Length == 2)
        {
            var one = rows.FirstOrDefault(r => (string?)r["sourcedId"] == route[1]);
            await (
                one is null
                    ? FailAsync(http, 404, $"Resource not found: {route[0]}/{route[1]}", minor: false)
                    : SendAsync(
                        http,
                        200,
                        new JsonObject
                        {
                            [
                                key switch
                                {
                                    "demographics" => key,
                                    "classes" => "class",
                                    _ => key[..^1],
                                }
                            ] = Sent(one),
                        }.ToJsonString()
                    )
            );
        }
        else
        {
            await PageAsync(http, key, rows);
        }
    }

    private (string Key, IEnumerable<JsonObject> Rows)? Collection(string route) =>
        route switch
        {
            "schools" => ("orgs", _rows["orgs"].Where(o => (string?)o["type"] == "school")),
            "students" => ("users", _rows["users"].Where(u => HasRole(u, "student"))),
            "teachers" => ("users", _rows["users"].Where(u => HasRole(u, "teacher"))),
            "terms" => ("academicSessions", _rows["academicSessions"].Where(s => (string?)s["type"] == "term")),
            "gradingPeriods" => ("academicSessions", _rows["academicSessions"].Where(s => (string?)s["type"] == "gradingPeriod")),
            _ => _rows.TryGetValue(route, out var rows) ? (route, rows) : null,
        };

    public static bool HasRole(JsonObject user, params string[] roles) =>
        user["roles"]!.AsArray().Any(r => roles.Contains((string?)r!["role"], StringComparer.Ordinal));

    private async Task PageAsync(HttpContext http, string key, IEnumerable<JsonObject> rows)
    {
        var query = http.Request.Query;
        if (!TryNumber(query["limit"], 100, 1, out var limit))
        {
            await FailAsync(http, 400, "Query parameter 'limit' must be 1 or greater");
            return;
        }

        if (!TryNumber(query["offset"], 0, 0, out var offset))
        {
            await FailAsync(http, 400, "Query parameter 'offset' must be 0 or greater");
            return;
        }

        string[]? fields = query["fields"].ToString() is { Length: > 0 } list ? list.Split(',') : null;
        if (fields?.FirstOrDefault(f => !s_filterable.Contains(f, StringComparer.Ordinal)) is { } unknown)
        {
            await FailAsync(http, 400, $"Invalid fields requested: {unknown}. Allowed fields: {string.Join(", ", s_filterable)}");
            return;
        }

        if (query["filter"].ToString() is { Length: > 0 } filter)
        {
            var parts = Operators().Split(filter);
            var tests = new List<Func<JsonObject, bool>>();
            foreach (var part in parts)
            {
                var match = Condition().Match(part);
                var field = match.Success ? match.Groups["field"].Value : part;
                if (!s_filterable.Contains(field, StringComparer.Ordinal))
                {
                    await FailAsync(
                        http,
                        400,
                        $"Field '{field}' is not allowed for filtering. Allowed fields: {string.Join(", ", s_filterable)}"
                    );
                    return;
                }

                var (sign, value) = (match.Groups["sign"].Value, match.Groups["value"].Value);
                var isDate = DateTimeOffset.TryParse(value, CultureInfo.InvariantCulture, out var date);
                if (field == "roles" || (field == "dateLastModified" && !isDate))
                {
                    await FailAsync(http, 500, "An internal server error occurred", minor: false);
                    return;
                }

                tests.Add(r =>
                    field == "dateLastModified"
                        ? Compare(DateTimeOffset.Parse((string)r[field]!, CultureInfo.InvariantCulture).CompareTo(date), sign)
                    : r[field] is not { } text ? false
                    : sign == "~" ? ((string)text!).Contains(value, StringComparison.OrdinalIgnoreCase)
                    : Compare(string.Compare((string)text!, value, StringComparison.OrdinalIgnoreCase), sign)
                );
            }

            var any = filter.Contains(" OR ", StringComparison.Ordinal);
            rows = rows.Where(r => any ? tests.Exists(t => t(r)) : tests.TrueForAll(t => t(r)));
        }

        if (query["sort"].ToString() is { Length: > 0 } sort)
        {
            rows = rows.OrderBy(r => (string?)r[sort], StringComparer.Ordinal);
            rows = query["orderBy"] == "desc" ? rows.Reverse() : rows;
        }

        var page = new JsonArray([.. rows.Skip(offset).Take(Math.Min(limit, Clamp)).Select(Sent)]);
        foreach (var row in fields is null ? [] : page.Select(r => r!.AsObject()))
        {
            foreach (var name in row.Select(p => p.Key).Except(fields!, StringComparer.Ordinal).ToList())
            {
                row.Remove(name);
            }
        }

        await SendAsync(http, 200, new JsonObject { [key] = page }.ToJsonString());
    }

    private static bool Compare(int order, string sign) =>
        sign switch
        {
            ">" => order > 0,
            ">=" => order >= 0,
            "<" => order < 0,
            "<=" => order <= 0,
            "!=" => order != 0,
            _ => order == 0,
        };

    private static bool TryNumber(string? text, int otherwise, int least, out int number)
    {
        number = otherwise;
        return text is null || (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number) && number >= least);
    }

    /// <summary>A record as it goes out: its roles stand in another order every other time.</summary>
    private JsonObject Sent(JsonObject row)
    {
        var sent = row.DeepClone().AsObject();
        if (_asked % 2 == 0 && sent["roles"] is JsonArray { Count: > 1 } roles)
        {
            sent["roles"] = new JsonArray([.. roles.Reverse().Select(r => r!.DeepClone())]);
        }

        return sent;
    }

    private static Task FailAsync(HttpContext http, int status, string description, bool minor = true)
    {
        var body = new JsonObject
        {
            ["imsx_codeMajor"] = "failure",
            ["imsx_severity"] = "error",
            ["imsx_description"] = description,
        };
        if (minor)
        {
            body["imsx_codeMinor"] = "invalid_data";
        }

        return SendAsync(http, status, body.ToJsonString());
    }

    private static async Task SendAsync(HttpContext http, int status, string text, string type = "application/json; charset=utf-8")
    {
        http.Response.StatusCode = status;
        http.Response.ContentType = type;
        await http.Response.Body.WriteAsync(Encoding.UTF8.GetBytes(text));
    }

    [GeneratedRegex(" (?:AND|OR) ", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Operators();

    [GeneratedRegex("^(?<field>[A-Za-z.]+)(?<sign>!=|>=|<=|=|>|<|~)'(?<value>.*)'$", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Condition();
}
