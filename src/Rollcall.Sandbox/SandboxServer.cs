using System.Collections.Concurrent;
using System.Globalization;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.DependencyInjection;
using Rollcall.Sandbox.District;
using Rollcall.Sandbox.Serving;

namespace Rollcall.Sandbox;

/// <summary>Tenants that the sandbox lists beside the one of its options.</summary>
public static class SandboxTenants
{
    /// <summary>Added, not enabled.</summary>
    public const string Disabled = "3001";

    /// <summary>Enabled, its <c>tenant_status</c> is not Active.</summary>
    public const string Inactive = "3002";

    /// <summary>Enabled and active, without a bearer.</summary>
    public const string WithoutBearer = "3003";

    /// <summary>A small district of its own (60 students), with its own bearer.</summary>
    public const string Other = "3004";

    /// <summary>The people of <see cref="Other"/>, shared with two applications of the partner.</summary>
    public const string TwoApplications = "3005";

    /// <summary>Never listed: a district that has not added the application.</summary>
    public const string NeverAdded = "3999";

    /// <summary>The bearer of <see cref="Other"/>.</summary>
    public const string OtherBearer = "7be41c52-91f0-4c0f-8a34-5a0e2f9d1c77";

    /// <summary>The application id of <see cref="Other"/>, percent-encoded as listed.</summary>
    public const string OtherApplicationId = "9aTz%2FQw0%2BpE%3D";
}

/// <summary>A request that the server got.</summary>
public sealed class SandboxRequest
{
    internal SandboxRequest(int number, string method, string path, string query, string collection)
    {
        Number = number;
        Method = method;
        Path = path;
        Query = query;
        Collection = collection;
    }

    /// <summary>Counted from 1 since the start.</summary>
    public int Number { get; }

    /// <summary>The HTTP method.</summary>
    public string Method { get; }

    /// <summary>The path as sent, still encoded.</summary>
    public string Path { get; }

    /// <summary>The query as sent, without the question mark.</summary>
    public string Query { get; }

    /// <summary>First segment of a roster path (<c>users</c>), <c>applications</c>, or empty.</summary>
    public string Collection { get; }

    /// <summary>The status answered; 0 while it is being answered or if the connection was broken on purpose.</summary>
    public int Status { get; internal set; }
}

/// <summary>
/// ClassLink's side of a roster connection, for one generated district: <c>/applications</c>, the proxy with bearers, and direct access with
/// OAuth 1.0a. It is driven in the process by these members, or from elsewhere by the addresses under <c>/sandbox</c>.
/// </summary>
public sealed class SandboxServer : IAsyncDisposable
{
    private readonly WebApplication _web;
    private readonly Lock _gate = new();
    private readonly ConcurrentQueue<SandboxRequest> _requests = new();
    private int _requestCount;
    private volatile Catalog _catalog;

    private SandboxServer(SandboxOptions options, WebApplication web)
    {
        _web = web;
        Options = options;
        Overrides = new SandboxOverrides(this);
        _catalog = new Catalog(SandboxDistrict.At(options), OverrideSet.None);
        SignIn = new SignInFront(this);
        OAuth = new OAuthCheck(options.ConsumerKey, options.ConsumerSecret, options.Clock);
        Main = new Tenant(options.TenantId, options.TenantName, true, "Active", options.ApplicationId, options.Bearer, () => _catalog);
        var other = new Lazy<Catalog>(() =>
            new(
                SandboxDistrict.At(
                    options with
                    {
                        Students = 60,
                        Schools = 2,
                        Seed = options.Seed + 7919,
                        Day = 0,
                        TenantName = "Harbor Point Schools",
                        TenantId = SandboxTenants.Other,
                    }
                ),
                OverrideSet.None
            )
        );
        Tenants =
        [
            new(SandboxTenants.Disabled, "Quarry Hills Schools", false, "Active", "MoYPlyQWmG0%3D", Bearers.Disabled, () => other.Value),
            new(SandboxTenants.Inactive, "Old Mill District", true, "Inactive", "b%2BW7xq1dLkU%3D", Bearers.Inactive, () => other.Value),
            Main,
            new(SandboxTenants.WithoutBearer, "Lone Pine Schools", true, "Active", "XHkp%2F1KunU0%3D", null, () => other.Value),
            new(
                SandboxTenants.Other,
                "Harbor Point Schools",
                true,
                "Active",
                SandboxTenants.OtherApplicationId,
                SandboxTenants.OtherBearer,
                () => other.Value
            ),
            new(SandboxTenants.TwoApplications, "Two Rivers Schools", true, "Active", "Vt%2B1aPq0RxE%3D", Bearers.First, () => other.Value),
            new(
                SandboxTenants.TwoApplications,
                "Two Rivers Schools",
                true,
                "Active",
                "Vt%2B2bPq0RxE%3D",
                Bearers.Second,
                () => other.Value,
                "Rollcall for libraries"
            ),
        ];
    }

    /// <summary>Where it listens, with the port.</summary>
    public Uri Url { get; private set; } = new("http://127.0.0.1");

    /// <summary>The proxy's base for the district, as a pasted prefix: <c>{Url}/{application id}/ims/oneroster/v1p1/</c>.</summary>
    public string ProxyPrefix => $"{Url.GetLeftPart(UriPartial.Authority)}/{Options.ApplicationId}/ims/oneroster/v1p1/";

    /// <summary>The options; the date of day 0 is fixed in them.</summary>
    public SandboxOptions Options { get; }

    /// <summary>The district on the day that is being served.</summary>
    public SandboxDistrict District => _catalog.District;

    /// <summary>Faults to switch on and off.</summary>
    public SandboxFaults Faults { get; } = new();

    /// <summary>Waited for before anything is answered: how fast a service is that many districts share. Null for at once.</summary>
    public Func<CancellationToken, ValueTask>? BeforeAnswer { get; set; }

    /// <summary>Single records to change.</summary>
    public SandboxOverrides Overrides { get; }

    /// <summary>What was asked, oldest first; the last 100,000.</summary>
    public IReadOnlyList<SandboxRequest> Requests => [.. _requests];

    /// <summary>The bearer that the district's proxy takes now.</summary>
    public string Bearer => Main.Bearer!;

    /// <summary>Where people are sent back to after signing in, as the application registered it. Null takes any address that is asked for,
    /// and has no tiles.</summary>
    public string? RedirectUri { get; set; }

    internal SignInFront SignIn { get; }

    /// <summary>The access tokens that the sign-in side has handed out: what nobody else should keep.</summary>
    public IReadOnlyCollection<string> IssuedTokens => SignIn.Handed;

    internal Catalog Catalog => _catalog;

    internal Tenant Main { get; }

    internal Tenant[] Tenants { get; }

    internal OAuthCheck OAuth { get; }

    /// <summary>Starts a server.</summary>
    /// <param name="options">The district and the credentials.</param>
    /// <param name="url">Where to listen; port 0 takes a free one. Several are separated by semicolons.</param>
    /// <param name="cancellationToken">Gives up starting.</param>
    /// <exception cref="ArgumentException">Options that no district can have.</exception>
    public static async Task<SandboxServer> StartAsync(
        SandboxOptions options,
        string url = "http://127.0.0.1:0",
        CancellationToken cancellationToken = default
    )
    {
        if (options.TenantId.Length == 0 || !options.TenantId.All(char.IsAsciiDigit))
        {
            throw new ArgumentException($"'{options.TenantId}' is no Tenant ID: digits only.", nameof(options));
        }

        // Empty: no settings file of the host program may reach in, and no file is watched for each of many servers.
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel => kestrel.AddServerHeader = false).UseUrls(url);
        builder.Services.Configure<Microsoft.Extensions.Hosting.HostOptions>(host => host.ShutdownTimeout = TimeSpan.FromSeconds(1));
        var web = builder.Build();
        try
        {
            var server = new SandboxServer(options with { Today = options.StartDate }, web);
            var front = new Front(server);
            web.Run(front.HandleAsync);
            await web.StartAsync(cancellationToken);
            var address = web
                .Services.GetRequiredService<IServer>()
                .Features.GetRequiredFeature<IServerAddressesFeature>()
                .Addresses.First();
            server.Url = new Uri(
                address
                    .Replace("[::]", "127.0.0.1", StringComparison.Ordinal)
                    .Replace("0.0.0.0", "127.0.0.1", StringComparison.Ordinal)
                    .Replace("//+", "//127.0.0.1", StringComparison.Ordinal)
                    .Replace("//*", "//127.0.0.1", StringComparison.Ordinal)
            );
            return server;
        }
        catch
        {
            await web.DisposeAsync();
            throw;
        }
    }

    /// <summary>Serves the district as it is on a day, later or earlier. Overrides stay.</summary>
    public void SetDay(int day)
    {
        lock (_gate)
        {
            if (day != _catalog.District.Day)
            {
                _catalog = new Catalog(SandboxDistrict.At(Options, day), Overrides.Current);
            }
        }
    }

    /// <summary>Gives the district another bearer; the old one is refused, <c>/applications</c> lists the new one.</summary>
    public void RotateBearer() => Main.Rotate();

    /// <summary>Signs who people are with another key from now on; both keys are listed.</summary>
    public void RotateSigningKey() => SignIn.Rotate();

    /// <summary>Forgets the requests so far.</summary>
    public void ClearRequests() => _requests.Clear();

    /// <summary>Runs until the token is cancelled.</summary>
    public Task WaitForShutdownAsync(CancellationToken cancellationToken = default) =>
        Microsoft.Extensions.Hosting.HostingAbstractionsHostExtensions.WaitForShutdownAsync(_web, cancellationToken);

    /// <summary>Stops listening.</summary>
    public async ValueTask DisposeAsync()
    {
        await _web.StopAsync();
        await _web.DisposeAsync();
        SignIn.Dispose();
    }

    internal void Refresh()
    {
        lock (_gate)
        {
            _catalog = new Catalog(_catalog.District, Overrides.Current);
        }
    }

    internal SandboxRequest Log(string method, string path, string query, string collection)
    {
        var request = new SandboxRequest(Interlocked.Increment(ref _requestCount), method, path, query, collection);
        _requests.Enqueue(request);
        if (_requests.Count > 100_000)
        {
            _requests.TryDequeue(out _);
        }

        return request;
    }

    private static class Bearers
    {
        public const string Disabled = "c1a5b8d0-0e35-4f3a-9a7e-0f4bb1d0a001";
        public const string Inactive = "c1a5b8d0-0e35-4f3a-9a7e-0f4bb1d0a002";
        public const string First = "c1a5b8d0-0e35-4f3a-9a7e-0f4bb1d0a003";
        public const string Second = "c1a5b8d0-0e35-4f3a-9a7e-0f4bb1d0a004";
    }
}

/// <summary>An entry of <c>/applications</c>.</summary>
internal sealed class Tenant(
    string id,
    string name,
    bool enabled,
    string status,
    string applicationId,
    string? bearer,
    Func<Catalog> catalog,
    string application = "Rollcall"
)
{
    private int _rotations;
    private volatile string? _bearer = bearer;

    public string Id => id;
    public string Name => name;
    public bool Enabled => enabled;
    public string Status => status;
    public string ApplicationId => applicationId;
    public string Application => application;
    public string? Bearer => _bearer;
    public Catalog Catalog => catalog();

    public void Rotate()
    {
        var number = Interlocked.Increment(ref _rotations);
        _bearer = string.Create(CultureInfo.InvariantCulture, $"5a17e0c4-2b6d-4e19-8f00-{number:D12}");
    }
}
