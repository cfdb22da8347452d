using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;
using Rollcall.Operations;
using Rollcall.Server.Commands;
using Rollcall.Server.Pages.Parts;
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

    private ServerProcess(WebApplication web, IDisposable workerLock, WorkerService worker, DailyService daily, NoticeWorker notices)
    {
        _web = web;
        _workerLock = workerLock;
        _worker = worker;
        _daily = daily;
        _notices = notices;
    }

    public IServiceProvider Services => _web.Services;

    /// <summary>Where pages can be reached, with the port.</summary>
    public string Url =>
        _web.Services.GetRequiredService<IServer>().Features.GetRequiredFeature<IServerAddressesFeature>().Addresses.First();

    /// <summary>Starts both. On SQLite this process alone works on the data folder from now on.</summary>
    /// <param name="options">Where the data is.</param>
    /// <param name="urls">Where to listen.</param>
    /// <param name="cancellationToken">Gives up starting.</param>
    /// <param name="least">What is logged to standard error.</param>
    /// <param name="reach">Under which address people come; null when only this machine asks.</param>
    /// <exception cref="RollcallException">Another process does so already, the database is not ready, or the address cannot be used.</exception>
    public static async Task<ServerProcess> StartAsync(
        RollcallOptions options,
        string urls,
        CancellationToken cancellationToken,
        LogLevel least = LogLevel.Information,
        Reach? reach = null
    )
    {
        var web = RollcallWeb.Create(
            options,
            urls,
            services =>
            {
                // Standard output is for results.
                services.Configure<ConsoleLoggerOptions>(console => console.LogToStandardErrorThreshold = LogLevel.Trace);
                services.AddLogging(logging =>
                    logging
                        .AddFilter("Rollcall", least)
                        // What keeps a server from starting is told in one line, not as a stack trace beside it.
                        .AddFilter("Microsoft.Extensions.Hosting.Internal.Host", LogLevel.None)
                );
            },
            reach
        );
        IDisposable? workerLock = null;
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
            await Listening.StartAsync(
                urls,
                async () =>
                {
                    await web.StartAsync(cancellationToken);
                    return true;
                }
            );
            var service = new WorkerService(
                worker,
                web.Services.GetRequiredService<TimeProvider>(),
                web.Services.GetRequiredService<ILogger<WorkerService>>()
            );
            await service.StartAsync(cancellationToken);
            var daily = new DailyService(
                web.Services.GetRequiredService<DailySchedule>(),
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
            return new ServerProcess(web, workerLock, service, daily, notices);
        }
        catch
        {
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
        await _web.StopAsync(CancellationToken.None);
        await _web.DisposeAsync();
        _workerLock.Dispose();
    }
}
