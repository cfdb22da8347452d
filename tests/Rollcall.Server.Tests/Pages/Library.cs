using Microsoft.Extensions.DependencyInjection;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Sandbox;
using Rollcall.Server.Commands;
using Rollcall.Server.Worker;
using Rollcall.Storage;

namespace Rollcall.Server.Tests.Pages;

/// <summary>A whole installation on this machine: the pretend district, the server with its worker, and nothing in between left out.</summary>
public abstract class Library : IAsyncLifetime
{
    private readonly string _folder = Directory.CreateTempSubdirectory("rollcall-pages-").FullName;
    private SandboxServer? _sandbox;
    private ServerProcess? _server;

    public SandboxServer Sandbox => _sandbox ?? throw new InvalidOperationException("Not started.");

    public Uri Url => new(Server.Url);

    internal ServerProcess Server => _server ?? throw new InvalidOperationException("Not started.");

    internal District District { get; private set; } = null!;

    protected virtual SandboxOptions Options => new() { Students = 240, Schools = 3 };

    internal T Service<T>()
        where T : notnull => Server.Services.GetRequiredService<T>();

    public async ValueTask InitializeAsync()
    {
        _sandbox = await SandboxServer.StartAsync(Options);
        _server = await ServerProcess.StartAsync(
            new RollcallOptions(new StorageOptions(_folder, null), AllowPrivateAddresses: true),
            "http://127.0.0.1:0",
            CancellationToken.None
        );
        await SetUpAsync();
    }

    public async ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        if (_server is not null)
        {
            await _server.DisposeAsync();
        }

        if (_sandbox is not null)
        {
            await _sandbox.DisposeAsync();
        }

        Microsoft.Data.Sqlite.SqliteConnection.ClearAllPools();
        Directory.Delete(_folder, recursive: true);
    }

    protected abstract Task SetUpAsync();

    internal async Task AddDistrictAsync() =>
        District = await Service<DistrictService>().AddAsync("DEMO", Sandbox.Options.TenantName, null, CancellationToken.None);

    internal Task ConnectAsync() => DemoCommand.SetUpAsync(Server.Services, District, Sandbox, CancellationToken.None);

    /// <summary>Lets a sync run to its end.</summary>
    internal async Task<Operation> SyncAsync(bool preview = false)
    {
        var (id, _) = await Service<OperationQueue>()
            .EnqueueAsync(District.Id, OperationKind.FullSync, IntegrationKind.ClassLink, preview, "test");
        return await EndOfAsync(id);
    }

    /// <summary>An operation as it ended.</summary>
    internal Task<Operation> EndOfAsync(long id) => Service<OperationFollower>().RunAsync(District.Id, id, null, CancellationToken.None);
}

/// <summary>A library that is connected, matched and synced once.</summary>
public sealed class SyncedLibrary : Library
{
    /// <summary>A last name that a spreadsheet would run.</summary>
    public const string Formula = "=HYPERLINK(\"https://example.org\")";

    protected override async Task SetUpAsync()
    {
        var student = Sandbox.District.People.First(p => p.Role == "student");
        Sandbox.Overrides.Change("users", student.SourcedId, r => r["familyName"] = Formula);
        await AddDistrictAsync();
        await ConnectAsync();
        await SyncAsync();
    }
}

/// <summary>A server that has just been installed.</summary>
public sealed class EmptyLibrary : Library
{
    protected override Task SetUpAsync() => Task.CompletedTask;
}
