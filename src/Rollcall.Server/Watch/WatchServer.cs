using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OpenTelemetry.Metrics;
using Rollcall.Server.Commands;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Watch;

/// <summary>
/// What the operator's monitoring asks, at an address of its own, so that no mistake in front of the pages shows it to the world: metrics for
/// whoever knows the token (without one, this machine alone), and health.
/// </summary>
internal sealed class WatchServer : IAsyncDisposable
{
    private readonly WebApplication _app;

    private WatchServer(WebApplication app) => _app = app;

    public string Url => _app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First();

    /// <returns>Null when nobody asked for it.</returns>
    public static async Task<WatchServer?> StartAsync(Watching watching, IServiceProvider services, CancellationToken cancellationToken)
    {
        if (services.GetService<Gauges>() is { } gauges)
        {
            await gauges.StartAsync(cancellationToken);
        }

        if (watching.MetricsUrl is not { } url)
        {
            return null;
        }

        var builder = RollcallWeb.Begin();
        builder.WebHost.UseUrls(url);
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.AddServerHeader = false);
        builder.Logging.ClearProviders();
        var app = builder.Build();
        if (watching.MetricsToken is { } token)
        {
            var wanted = SHA256.HashData(Encoding.UTF8.GetBytes($"Bearer {token}"));
            app.Use(
                (http, next) =>
                {
                    if (http.Request.Path.StartsWithSegments("/health"))
                    {
                        return next(http);
                    }

                    var given = SHA256.HashData(Encoding.UTF8.GetBytes(http.Request.Headers.Authorization.ToString()));
                    if (CryptographicOperations.FixedTimeEquals(given, wanted))
                    {
                        return next(http);
                    }

                    http.Response.StatusCode = StatusCodes.Status401Unauthorized;
                    http.Response.Headers.WWWAuthenticate = "Bearer";
                    return Task.CompletedTask;
                }
            );
        }
        else
        {
            app.UseMiddleware<Gate>(new Reach());
        }

        app.UseRouting();
        app.MapGet("/health/live", Live);
        app.MapGet(
            "/health/ready",
            (CancellationToken gone) => ReadyAsync(services.GetRequiredService<NodeHealth>(), withWords: true, gone)
        );
        app.UseOpenTelemetryPrometheusScrapingEndpoint(
            services.GetRequiredService<MeterProvider>(),
            predicate: null,
            path: "/metrics",
            configureBranchedPipeline: null,
            optionsName: null
        );
        try
        {
            await Listening.StartAsync(
                url,
                async () =>
                {
                    await app.StartAsync(cancellationToken);
                    return true;
                },
                "--metrics-url"
            );
            return new WatchServer(app);
        }
        catch
        {
            await app.DisposeAsync();
            throw;
        }
    }

    /// <summary>The process answers, whatever else is the matter. Whoever gets no answer starts it anew.</summary>
    public static IResult Live() => Results.Text("ok\n");

    /// <summary>The node is of use. Strangers are told what is missing and no more.</summary>
    public static async Task<IResult> ReadyAsync(NodeHealth health, bool withWords, CancellationToken cancellationToken)
    {
        var checks = await health.LookAsync(cancellationToken);
        var text = new StringBuilder();
        foreach (var check in checks)
        {
            var words =
                check.Trouble is null ? "ok"
                : withWords ? check.Trouble
                : "not ready";
            text.Append(CultureInfo.InvariantCulture, $"{check.Name}: {words}\n");
        }

        return Results.Text(
            text.ToString(),
            statusCode: checks.Any(c => c.Trouble is not null && !c.Serves)
                ? StatusCodes.Status503ServiceUnavailable
                : StatusCodes.Status200OK
        );
    }

    public async ValueTask DisposeAsync()
    {
        await _app.StopAsync(CancellationToken.None);
        await _app.DisposeAsync();
    }
}
