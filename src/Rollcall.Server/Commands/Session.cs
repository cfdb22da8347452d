using System.CommandLine;
using Microsoft.Extensions.DependencyInjection;
using Rollcall.Districts;
using Rollcall.Storage;

namespace Rollcall.Server.Commands;

/// <summary>The installation as one command sees it.</summary>
internal sealed class Session : IAsyncDisposable
{
    /// <summary>Who changes things here: the command line on the installation's own machine is the operator's.</summary>
    public const string Actor = "command line";

    private readonly ServiceProvider _services;
    private readonly string? _districtCode;

    private Session(ServiceProvider services, ParseResult result)
    {
        _services = services;
        _districtCode = result.GetValue(GlobalOptions.District);
        Json = result.GetValue(GlobalOptions.Json);
    }

    /// <summary>JSON is wanted.</summary>
    public bool Json { get; }

    /// <summary>Opens the installation that the options name; its database is ready to be used.</summary>
    public static async Task<Session> OpenAsync(ParseResult result, Terminal terminal, CancellationToken cancellationToken)
    {
        var session = OpenUnchecked(result, terminal);
        try
        {
            await session.Get<RollcallDatabase>().EnsureReadyAsync(cancellationToken);
            return session;
        }
        catch
        {
            await session.DisposeAsync();
            throw;
        }
    }

    /// <summary>Opens the installation as it is: its database may be old, or not be there.</summary>
    public static Session OpenUnchecked(ParseResult result, Terminal terminal) => Of(result, GlobalOptions.Read(result, terminal));

    /// <summary>Opens an installation other than the one that the options name.</summary>
    public static Session Of(ParseResult result, RollcallOptions options) =>
        new(new ServiceCollection().AddRollcall(options).BuildServiceProvider(), result);

    public T Get<T>()
        where T : notnull => _services.GetRequiredService<T>();

    /// <summary>The district that is meant.</summary>
    public Task<District> DistrictAsync(CancellationToken cancellationToken) =>
        Get<DistrictService>().ResolveAsync(_districtCode, cancellationToken);

    /// <summary>The district's sites by id.</summary>
    public async Task<Dictionary<int, Site>> SitesAsync(District district, CancellationToken cancellationToken) =>
        (await Get<SiteService>().ListAsync(district.Id, cancellationToken)).ToDictionary(s => s.Id);

    public ValueTask DisposeAsync() => _services.DisposeAsync();
}
