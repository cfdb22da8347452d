using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Retention;
using Rollcall.Server.Commands;
using Rollcall.Server.Pages.Parts;
using Rollcall.Server.Watch;
using Rollcall.Storage;

namespace Rollcall.Server.Worker;

/// <summary>Web server and worker of one process, started in the order in which they need each other and stopped in the reverse.</summary>
internal sealed class ServerProcess : IAsyncDisposable
{
    private readonly WebApplication _web;
    private readonly IDisposable _workerLock;
    private readonly WorkerService _worker;
    private readonly DailyService _daily;
    private readonly NoticeWorker _notices;
    private readonly WatchServer? _watch;

    private ServerProcess(
        WebApplication web,
        IDisposable workerLock,
        WorkerService worker,
        DailyService daily,
        NoticeWorker notices,
        WatchServer? watch
    )
    {
        _web = web;
        _workerLock = workerLock;
        _worker = worker;
        _daily = daily;
        _notices = notices;
        _watch = watch;
    }

    public IServiceProvider Services => _web.Services;

    /// <summary>Where pages can be reached, with the port.</summary>
    public string Url =>
        _web.Services.GetRequiredService<IServer>().Features.GetRequiredFeature<IServerAddressesFeature>().Addresses.First();

    /// <summary>Where metrics are; null when nobody asked for them.</summary>
    public string? WatchUrl => _watch?.Url;

    /// <summary>Starts both. On SQLite this process alone works on the data folder from now on.</summary>
    /// <param name="options">Where the data is.</param>
    /// <param name="urls">Where to listen.</param>
    /// <param name="cancellationToken">Gives up starting.</param>
    /// <param name="watching">What is logged, measured and traced.</param>
    /// <param name="reach">Under which address people come; null when only this machine asks.</param>
    /// <exception cref="RollcallException">Another process does so already, the database is not ready, its master key is another one, or the address cannot be used.</exception>
    public static async Task<ServerProcess> StartAsync(
        RollcallOptions options,
        string urls,
        CancellationToken cancellationToken,
        Watching? watching = null,
        Reach? reach = null
    )
    {
        watching ??= new Watching();
        var web = RollcallWeb.Create(options, urls, watching.Configure, reach);
        IDisposable? workerLock = null;
        WatchServer? watch = null;
        try
        {
            var database = web.Services.GetRequiredService<RollcallDatabase>();
            var worker = web.Services.GetRequiredService<OperationWorker>();
            workerLock =
                worker.TryBecomeWorker()
                ?? throw new RollcallException(
                    $"Another rollcall process works on the data folder {database.DataFolder}: a server, or a sync that somebody runs. End it, or choose another folder with --data."
                );
            await database.EnsureReadyAsync(cancellationToken);
            await database.EnsureConfinableAsync(cancellationToken);
            web.Services.GetRequiredService<KeyRing>().EnsureFits();
            await Listening.StartAsync(
                urls,
                async () =>
                {
                    await web.StartAsync(cancellationToken);
                    return true;
                }
            );
            var pulse = web.Services.GetRequiredService<Pulse>();
            pulse.Expect(Pulse.Schedule, DailyService.Silent);
            var service = new WorkerService(
                worker,
                pulse,
                watching.Parallel(database.IsPostgres),
                web.Services.GetRequiredService<TimeProvider>(),
                web.Services.GetRequiredService<ILogger<WorkerService>>()
            );
            watch = await WatchServer.StartAsync(watching, web.Services, cancellationToken);
            await service.StartAsync(cancellationToken);
            var daily = new DailyService(
                web.Services.GetRequiredService<DailySchedule>(),
                web.Services.GetRequiredService<RetentionService>(),
                web.Services.GetRequiredService<ReadinessService>(),
                new StalledCopies(database, web.Services.GetRequiredService<TimeProvider>()),
                new NodeClock(database, web.Services.GetRequiredService<TimeProvider>()),
                pulse,
                web.Services.GetRequiredService<TimeProvider>(),
                web.Services.GetRequiredService<ILogger<DailyService>>()
            );
            await daily.StartAsync(cancellationToken);
            var notices = new NoticeWorker(
                web.Services.GetRequiredService<Aftermath>(),
                web.Services.GetRequiredService<NoticeService>(),
                web.Services.GetRequiredService<TimeProvider>(),
                web.Services.GetRequiredService<ILogger<NoticeWorker>>()
            );
            await notices.StartAsync(cancellationToken);
            return new ServerProcess(web, workerLock, service, daily, notices, watch);
        }
        catch
        {
            if (watch is not null)
            {
                await watch.DisposeAsync();
            }

            workerLock?.Dispose();
            await web.DisposeAsync();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        // The worker first: parking is short, open pages would keep the web server waiting.
        await _daily.StopAsync(CancellationToken.None);
        _daily.Dispose();
        await _notices.StopAsync(CancellationToken.None);
        _notices.Dispose();
        await _worker.StopAsync(CancellationToken.None);
        _worker.Dispose();
        if (_watch is not null)
        {
            await _watch.DisposeAsync();
        }

        await _web.StopAsync(CancellationToken.None);
        await _web.DisposeAsync();
        _workerLock.Dispose();
    }
}
