using System.Collections.Concurrent;
using System.Net;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;

namespace Rollcall.OneRoster.Tests.Client;

/// <summary>A request as it came over the wire.</summary>
public sealed record Seen(string Target, string Path, string Authorization, IReadOnlyDictionary<string, string> Headers)
{
    public int Limit => Number("limit");
    public int Offset => Number("offset");

    public string? Query(string name) =>
        Target.Contains('?', StringComparison.Ordinal)
            ? Target[(Target.IndexOf('?', StringComparison.Ordinal) + 1)..]
                .Split('&')
                .Select(p => p.Split('=', 2))
                .Where(p => p[0] == name)
                .Select(p => Uri.UnescapeDataString(p[1]))
                .FirstOrDefault()
            : null;

    private int Number(string name) => Query(name) is { } text ? int.Parse(text) : -1;
}

/// <summary>A real HTTP server on loopback that answers as the test says.</summary>
public sealed class ScriptedServer : IAsyncDisposable
{
    private readonly WebApplication app;
    private readonly ConcurrentQueue<Seen> requests = new();

    private ScriptedServer(WebApplication app) => this.app = app;

    public string Url { get; private set; } = "";

    public IReadOnlyList<Seen> Requests => [.. requests];

    public static async Task<ScriptedServer> StartAsync(Func<HttpContext, Seen, int, Task> answer)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(k => k.Listen(IPAddress.Loopback, 0));
        var built = builder.Build();
        var server = new ScriptedServer(built);
        built.Run(async http =>
        {
            var target = http.Features.Get<IHttpRequestFeature>()!.RawTarget;
            var seen = new Seen(
                target,
                target.Split('?')[0],
                http.Request.Headers.Authorization.ToString(),
                http.Request.Headers.ToDictionary(h => h.Key, h => h.Value.ToString(), StringComparer.OrdinalIgnoreCase)
            );
            int number;
            lock (server.requests)
            {
                server.requests.Enqueue(seen);
                number = server.requests.Count;
            }

            await answer(http, seen, number);
        });
        await built.StartAsync();
        server.Url = built.Urls.First();
        return server;
    }

    public async ValueTask DisposeAsync()
    {
        await app.StopAsync(new CancellationToken(canceled: true));
        await app.DisposeAsync();
    }
}

public static class Answers
{
    public static Task Json(this HttpContext http, string json, params (string Name, string Value)[] headers) =>
        http.Text(200, json, "application/json", headers);

    public static async Task Text(
        this HttpContext http,
        int status,
        string text,
        string type = "application/json",
        params (string Name, string Value)[] headers
    )
    {
        http.Response.StatusCode = status;
        http.Response.ContentType = type;
        foreach (var (name, value) in headers)
        {
            http.Response.Headers[name] = value;
        }

        await http.Response.Body.WriteAsync(Encoding.UTF8.GetBytes(text));
    }

    /// <summary>An array of users with these keys.</summary>
    public static string Users(params IEnumerable<string> ids) =>
        $$"""{"users":[{{string.Join(',', ids.Select(i => $$"""{"sourcedId":"{{i}}","status":"active","role":"student","orgs":[{"sourcedId":"7"}]}"""))}}]}""";
}
