using Microsoft.AspNetCore.Antiforgery;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.DataProtection;
using Microsoft.AspNetCore.Mvc;
using Microsoft.EntityFrameworkCore;
using Rollcall.Server.Api;
using Rollcall.Server.Commands;
using Rollcall.Server.Pages.Parts;
using Rollcall.Server.Watch;

namespace Rollcall.Server;

/// <summary>Puts the web server together.</summary>
internal static class RollcallWeb
{
    /// <summary>What every web server of this program begins with. It reads and watches nothing of the folder that it happens to be started in.</summary>
    public static WebApplicationBuilder Begin() =>
        WebApplication.CreateSlimBuilder(
            new WebApplicationOptions
            {
                // Pages are found by this name, whichever program is the entry point.
                ApplicationName = typeof(RollcallWeb).Assembly.GetName().Name,
                ContentRootPath = AppContext.BaseDirectory,

                // No variable of the machine may turn on pages with stack traces.
                EnvironmentName = Environments.Production,
                Args = ["--hostBuilder:reloadConfigOnChange=false"],
            }
        );

    /// <summary>Builds the server; the caller starts it. The database has to be migrated before.</summary>
    /// <param name="options">Where the data is.</param>
    /// <param name="urls">Addresses to listen on, separated by semicolons.</param>
    /// <param name="configure">Adds what runs beside the pages, such as the worker.</param>
    /// <param name="reach">Under which address people come; null when only this machine asks.</param>
    public static WebApplication Create(
        RollcallOptions options,
        string urls,
        Action<IServiceCollection>? configure = null,
        Reach? reach = null
    )
    {
        Watching.KeepTracesHere();
        var builder = Begin();
        builder.WebHost.UseUrls(urls);
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = 1024 * 1024;
            kestrel.Limits.MinRequestBodyDataRate = new(Arrival.LeastSpeed, Arrival.Grace);
        });
        builder.Logging.AddFilter("Microsoft", LogLevel.Warning);
        builder.Services.AddRollcall(options);
        builder.Services.AddMemoryCache();
        builder.Services.AddRazorPages().AddMvcOptions(mvc => mvc.Filters.Add<HereFilter>());
        builder.Services.AddAntiforgery(antiforgery =>
        {
            antiforgery.Cookie.Name = "rollcall-form";
            antiforgery.Cookie.SameSite = SameSiteMode.Strict;
            antiforgery.Cookie.SecurePolicy = CookieSecurePolicy.SameAsRequest;
        });
        builder.Services.AddSingleton<IAntiforgeryAdditionalDataProvider, FormBinding>();
        builder.Services.Configure<CookieTempDataProviderOptions>(temp =>
        {
            temp.Cookie.Name = "rollcall-said";
            temp.Cookie.SecurePolicy = CookieSecurePolicy.SameAsRequest;
        });
        builder.Services.AddSingleton(reach ?? new Reach());
        builder.Services.AddSingleton(new Watching());
        builder.Services.AddSingleton<Pulse>();
        builder.Services.AddSingleton<NodeHealth>();
        builder.Services.AddSingleton<Throttle>();
        builder.Services.AddSingleton<Assets>();
        builder.Services.AddSingleton<Reading>();
        builder.Services.AddSingleton<LiveOperations>();
        builder.Services.AddScoped<Here>();
        builder.Services.ConfigureHttpJsonOptions(json =>
        {
            json.SerializerOptions.Converters.Add(JsonText.Instants);
            json.SerializerOptions.NumberHandling = System.Text.Json.Serialization.JsonNumberHandling.Strict;
            json.SerializerOptions.UnmappedMemberHandling = System.Text.Json.Serialization.JsonUnmappedMemberHandling.Disallow;
        });
        builder.Services.Configure<RouteHandlerOptions>(routes => routes.ThrowOnBadRequest = true);
        OpenApiShape.Add(builder.Services);
        builder.Services.AddSingleton<ApiQuery>();
        PasskeyCeremony.Add(builder.Services);
        configure?.Invoke(builder.Services);

        var app = builder.Build();
        app.UseMiddleware<Gate>();
        app.UseMiddleware<Arrival>();
        app.UseExceptionHandler("/error");
        app.UseStatusCodePagesWithReExecute("/error/{0}");
        app.UseRouting();
        app.UseMiddleware<ApiGate>();
        app.UseMiddleware<SignedIn>();
        app.MapRazorPages();
        app.MapGet("/assets/{print}/{**path}", (string path, Assets assets, HttpContext http) => assets.ServeAsync(path, http));
        app.MapGet("/favicon.ico", (Assets assets, HttpContext http) => assets.ServeAsync("icon.svg", http));
        app.MapGet("/health/live", WatchServer.Live);
        app.MapGet("/health/ready", (NodeHealth health, CancellationToken gone) => WatchServer.ReadyAsync(health, withWords: false, gone));
        app.MapGet(LiveEvents.Path, LiveEvents.StreamAsync);
        app.MapGet("/operations/{id:long}/download", LogDownload.SendAsync);
        app.MapGet("/patron/export", PatronDownload.SendAsync);
        app.MapGet("/patron/data", PatronDownload.SendOneAsync);
        ApiRoutes.Map(app);
        return app;
    }
}
