using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Sandbox;
using Rollcall.Storage;

namespace Rollcall.Tests.Infrastructure;

/// <summary>The databases that every storage test runs on.</summary>
public enum Db
{
    Sqlite,
    Postgres,
}

/// <summary>A whole installation on a database of its own, beside a sandbox district.</summary>
public sealed class Installation : IAsyncDisposable
{
    /// <summary>An SQLite database as all migrations leave it: a copy is made in no time, and migrating takes every test a tenth of a
    /// second. Migrations have tests of their own, and the command line's tests migrate.</summary>
    private static readonly Lazy<Task<byte[]>> s_migrated = new(MigrateAsync);
    private readonly TempFolder _folder;
    private readonly ServiceProvider _services;

    private Installation(ServiceProvider services, TempFolder folder)
    {
        _services = services;
        _folder = folder;
    }

    private bool _visiting;

    public District District { get; private set; } = null!;
    public SandboxServer Sandbox { get; private set; } = null!;
    public RollcallDatabase Database => Get<RollcallDatabase>();
    public OperationQueue Queue => Get<OperationQueue>();
    public PatronService Patrons => Get<PatronService>();
    public IntegrationService Integrations => Get<IntegrationService>();
    internal OperationFollower Follower => Get<OperationFollower>();

    public T Get<T>()
        where T : notnull => _services.GetRequiredService<T>();

    public static async Task<Installation> StartAsync(
        PostgresCluster cluster,
        Db db,
        SandboxOptions? sandbox = null,
        TimeProvider? time = null,
        bool connect = true,
        MailOptions? mail = null,
        Action<IServiceCollection>? configure = null,
        TimeSpan? silentAfter = null
    )
    {
        var folder = new TempFolder();
        var connection = db == Db.Postgres ? await cluster.CreateDatabaseAsync() : null;
        var services = new ServiceCollection();
        services.AddSingleton(time ?? TimeProvider.System);
        var storage = new StorageOptions(folder.Path, connection);
        storage = silentAfter is { } silent ? storage with { SilentAfter = silent } : storage;
        services.AddRollcall(new RollcallOptions(storage, AllowPrivateAddresses: true, Mail: mail));
        configure?.Invoke(services);
        var installation = new Installation(services.BuildServiceProvider(), folder);
        if (installation.Database.FilePath is { } file)
        {
            await File.WriteAllBytesAsync(file, await s_migrated.Value);
        }

        await installation.Database.EnsureReadyAsync();
        installation.District = await installation.Get<DistrictService>().AddAsync("RIVER", "Riverbend", "UTC", "test");
        sandbox ??= new SandboxOptions { Students = 200, Schools = 4 };

        // Both sides have one time, unless a test wants it otherwise.
        installation.Sandbox = await SandboxServer.StartAsync(
            time is null || sandbox.Clock != TimeProvider.System ? sandbox : sandbox with { Clock = time }
        );
        if (connect)
        {
            await installation.ConnectAsync();
        }

        return installation;
    }

    private static async Task<byte[]> MigrateAsync()
    {
        using var folder = new TempFolder();
        var services = new ServiceCollection();
        services.AddSingleton(TimeProvider.System);
        services.AddRollcall(new RollcallOptions(new StorageOptions(folder.Path, null)));
        await using var provider = services.BuildServiceProvider();
        var database = provider.GetRequiredService<RollcallDatabase>();
        await database.EnsureReadyAsync();
        var copy = Path.Combine(folder.Path, "copy.db");
        await using (var context = database.CreateContext())
        {
            await context.Database.ExecuteSqlAsync($"VACUUM INTO {copy}");
        }

        return await File.ReadAllBytesAsync(copy);
    }

    /// <summary>Another process on data that are there already. Data and sandbox stay when it is disposed.</summary>
    public static Installation Open(
        string folder,
        string? connection,
        Installation like,
        TimeProvider time,
        Func<string, Microsoft.Data.Sqlite.SqliteConnection>? makeSqlite = null,
        Action<IServiceCollection>? configure = null
    )
    {
        var services = new ServiceCollection();
        services.AddSingleton(time);
        services.AddRollcall(
            new RollcallOptions(new StorageOptions(folder, connection) { MakeSqlite = makeSqlite }, AllowPrivateAddresses: true)
        );
        configure?.Invoke(services);
        return new Installation(services.BuildServiceProvider(), new TempFolder())
        {
            District = like.District,
            Sandbox = like.Sandbox,
            _visiting = true,
        };
    }

    /// <summary>Sites for all schools, connected by proxy, matched, everybody ticked.</summary>
    public async Task ConnectAsync(Func<IntegrationSettings, IntegrationSettings>? settings = null)
    {
        var number = 0;
        foreach (var school in Sandbox.District.Schools)
        {
            await Get<SiteService>()
                .AddAsync(District.Id, $"S{++number}", new SiteChange(school.Name, $"P{number}00001", null, null, null), "test");
        }

        await Integrations.StorePartnerKeyAsync(Sandbox.Options.PartnerKey, "test");
        await Integrations.ConnectAsync(
            District,
            IntegrationKind.ClassLink,
            new ConnectRequest(ConnectionMode.Proxy, Sandbox.Options.TenantId, Sandbox.Url.ToString()),
            asOperator: true,
            clear: false,
            "test"
        );
        await Integrations.TurnOnAsync(District.Id, IntegrationKind.ClassLink, clear: false, "test");
        number = 0;
        foreach (var school in Sandbox.District.Schools)
        {
            await Integrations.MatchAsync(District, IntegrationKind.ClassLink, $"S{++number}", school.SourcedId, "test");
        }

        await ConfigureAsync(s => s with { Roles = [RoleGroup.Student, RoleGroup.Teacher, RoleGroup.Admin] });
        if (settings is not null)
        {
            await ConfigureAsync(settings);
        }
    }

    public Task ConfigureAsync(Func<IntegrationSettings, IntegrationSettings> change, IntegrationKind kind = IntegrationKind.ClassLink) =>
        Integrations.ConfigureAsync(District.Id, kind, "test", "settings", change);

    /// <summary>Runs a sync to its end.</summary>
    public async Task<Operation> SyncAsync(bool preview = false, OperationKind kind = OperationKind.FullSync)
    {
        var (id, _) = await Queue.EnqueueAsync(District.Id, kind, IntegrationKind.ClassLink, preview, "test");
        return await Follower.RunAsync(District.Id, id, null, CancellationToken.None);
    }

    public async Task<Operation> ApproveAsync(long id)
    {
        await Queue.ApproveAsync(District.Id, id, "test");
        return await Follower.RunAsync(District.Id, id, null, CancellationToken.None);
    }

    /// <summary>Imports CSV text to its end.</summary>
    public async Task<Operation> ImportAsync(string csv)
    {
        using var stream = new MemoryStream(System.Text.Encoding.UTF8.GetBytes(csv));
        var id = await Get<PatronImport>().PlanAsync(District.Id, stream, "patrons.csv", preview: false, "test");
        return await Follower.RunAsync(District.Id, id, null, CancellationToken.None);
    }

    public async Task<List<Patron>> AllPatronsAsync()
    {
        var all = new List<Patron>();
        await foreach (var patron in Patrons.AllAsync(District.Id, new PatronFilter()))
        {
            all.Add(patron);
        }

        return all;
    }

    public async Task<Dictionary<string, Patron>> PatronsByGuidAsync() =>
        (await AllPatronsAsync()).Where(p => p.Guid is not null).ToDictionary(p => p.Guid!, StringComparer.Ordinal);

    public async Task<IReadOnlyList<LogRow>> LogAsync(long id)
    {
        var rows = new List<LogRow>();
        await foreach (var row in Get<OperationLog>().ReadAsync(District.Id, id))
        {
            rows.Add(row);
        }

        return rows;
    }

    public async ValueTask DisposeAsync()
    {
        if (!_visiting)
        {
            await Sandbox.DisposeAsync();
        }

        await _services.DisposeAsync();
        _folder.Dispose();
    }
}
