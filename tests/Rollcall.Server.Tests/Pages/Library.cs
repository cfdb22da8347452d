using Microsoft.Extensions.DependencyInjection;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Server.Commands;
using Rollcall.Server.Worker;
using Rollcall.SignIn;
using Rollcall.Storage;

namespace Rollcall.Server.Tests.Pages;

/// <summary>A whole installation on this machine: the pretend district, the server with its worker, and nothing in between left out.</summary>
public abstract class Library : IAsyncLifetime
{
    private readonly string _folder = Directory.CreateTempSubdirectory("rollcall-pages-").FullName;
    private const string Operator = "operator@library.example";
    private static readonly System.Collections.Concurrent.ConcurrentDictionary<Uri, string> s_all = new();
    private SandboxServer? _sandbox;
    private ServerProcess? _server;

    public SandboxServer Sandbox => _sandbox ?? throw new InvalidOperationException("Not started.");

    public Uri Url => new(Server.Url);

    internal ServerProcess Server => _server ?? throw new InvalidOperationException("Not started.");

    internal District District { get; private set; } = null!;

    /// <summary>PostgreSQL's connection; null is SQLite.</summary>
    protected virtual Task<string?> ConnectionAsync() => Task.FromResult<string?>(null);

    /// <summary>Pictures are taken of a larger district than tests need.</summary>
    protected virtual SandboxOptions Options =>
        int.TryParse(Environment.GetEnvironmentVariable("ROLLCALL_SCREENS_STUDENTS"), out var students)
            ? new() { Students = students }
            : new() { Students = 240, Schools = 3 };

    /// <summary>Accounts have to have a second factor.</summary>
    protected virtual bool IsStrict => false;

    internal T Service<T>()
        where T : notnull => Server.Services.GetRequiredService<T>();

    public async ValueTask InitializeAsync()
    {
        _sandbox = await SandboxServer.StartAsync(Options);
        var connection = await ConnectionAsync();
        _server = await ServerProcess.StartAsync(
            new RollcallOptions(new StorageOptions(_folder, connection), AllowPrivateAddresses: true, RequireSecondFactor: IsStrict),
            "http://127.0.0.1:0",
            CancellationToken.None
        );
        await SetUpAsync();
        s_all[Url] = await SignInAsync(SecurityGroup.DistrictAdministrator);
    }

    /// <summary>The session that visitors of a library have unless a test says otherwise: an operator who administers its district.</summary>
    internal static string? SessionOf(Uri url) => s_all.GetValueOrDefault(url);

    /// <summary>Signs in as the product does it, past the form: an account of this group, and a session of it.</summary>
    /// <returns>What the browser's cookie holds.</returns>
    internal async Task<string> SignInAsync(SecurityGroup group, string? sites = null, District? district = null)
    {
        district ??= District;
        var isOperator = group == SecurityGroup.DistrictAdministrator && (district is null || district == District);
        var (account, _) = await Service<Accounts>()
            .AddAsync(
                isOperator ? Operator : $"{group}-{sites}-{district?.Code}@library.example".ToLowerInvariant(),
                district,
                group,
                sites,
                isOperator,
                "test"
            );
        return await Service<Sessions>().OpenAsync(account, SignInMethod.Password, null, new Device("test", null));
    }

    /// <summary>Signs a patron in, as coming back from ClassLink does it.</summary>
    internal Task<string> SignInAsync(Patron patron) =>
        Service<Sessions>().OpenAsync(patron.DistrictId, patron.Id, SignInMethod.ClassLink, null, new Device("test", null), patron.Guid);

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

    internal async Task AddDistrictAsync()
    {
        District = await Service<DistrictService>().AddAsync("DEMO", Sandbox.Options.TenantName, null, "test");
        await Service<Accounts>().AddAsync(Operator, District, SecurityGroup.DistrictAdministrator, null, true, "test");
    }

    internal Task ConnectAsync() => DemoCommand.SetUpAsync(Server.Services, District, Sandbox, CancellationToken.None);

    /// <summary>Lets a sync run to its end.</summary>
    internal async Task<Operation> SyncAsync(bool preview = false)
    {
        var (id, _) = await Service<OperationQueue>()
            .EnqueueAsync(District.Id, OperationKind.FullSync, IntegrationKind.ClassLink, preview, "test");
        return await EndOfAsync(id);
    }

    /// <summary>The last operation of a kind as it ended.</summary>
    internal async Task<Operation> EndOfLastAsync(OperationKind kind) =>
        await EndOfAsync((await Service<OperationQueue>().OfKindAsync(District.Id, kind, 1))[0].Id);

    /// <summary>An operation as it ended.</summary>
    internal Task<Operation> EndOfAsync(long id) => EndOfAsync(District.Id, id);

    /// <summary>An operation of any district as it ended.</summary>
    internal Task<Operation> EndOfAsync(int districtId, long id) =>
        Service<OperationFollower>().RunAsync(districtId, id, null, CancellationToken.None);
}

/// <summary>A library that is connected, matched and synced once.</summary>
public class SyncedLibrary : Library
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

/// <summary>A synced library where accounts have to have a second factor.</summary>
public sealed class StrictLibrary : SignInLibrary
{
    protected override bool IsStrict => true;
}

/// <summary>A server that has just been installed.</summary>
public class EmptyLibrary : Library
{
    protected override Task SetUpAsync() => Task.CompletedTask;
}

/// <summary>A server that has just been installed, where accounts have to have a second factor.</summary>
public sealed class StrictEmptyLibrary : EmptyLibrary
{
    protected override bool IsStrict => true;
}

/// <summary>A synced library whose people sign in with ClassLink.</summary>
public class SignInLibrary : Library
{
    protected override async Task SetUpAsync()
    {
        await AddDistrictAsync();
        await ConnectAsync();
        await SyncAsync();
        Sandbox.RedirectUri = new Uri(Url, "/signin/classlink/callback").ToString();
        await Service<ClassLinkSignIn>()
            .StoreClientAsync(
                Sandbox.Options.ClientId,
                Sandbox.Options.ClientSecret,
                Sandbox.Url.GetLeftPart(UriPartial.Authority),
                Sandbox.Url.GetLeftPart(UriPartial.Authority),
                acceptTiles: false,
                "test"
            );
        await Service<ClassLinkSignIn>().TurnAsync(District.Id, true, null, "test");
    }
}
