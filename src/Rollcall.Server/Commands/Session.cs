using System.CommandLine;
using Microsoft.Extensions.DependencyInjection;
using Rollcall.Districts;
using Rollcall.Storage;

namespace Rollcall.Server.Commands;

/// <summary>The installation as one command sees it.</summary>
internal sealed class Session : IAsyncDisposable
{
    /// <summary>Who changes things here: the command line on the installation's own machine is the operator's.</summary>
    public const string OwnActor = "command line";

    private readonly IServiceProvider _services;
    private readonly ServiceProvider? _own;
    private readonly District? _district;
    private readonly string? _districtCode;

    private Session(IServiceProvider services, ParseResult result, RemoteCaller? caller)
    {
        _services = services;
        _own = caller is null ? (ServiceProvider)services : null;
        _district = caller?.District;
        _districtCode = result.GetValue(GlobalOptions.District);
        IsRemote = caller is not null;
        Actor = caller?.Actor ?? OwnActor;
        Json = result.GetValue(GlobalOptions.Json);
    }

    /// <summary>The command came over the API: it has the right of its token, and a server works on what it starts.</summary>
    public bool IsRemote { get; }

    /// <summary>Who changes things.</summary>
    public Actor Actor { get; }

    /// <summary>JSON is wanted.</summary>
    public bool Json { get; }

    /// <summary>Opens the installation that the options name; its database is ready to be used.</summary>
    public static async Task<Session> OpenAsync(ParseResult result, Terminal terminal, CancellationToken cancellationToken)
    {
        if (terminal.Caller is { } caller)
        {
            return new Session(caller.Services, result, caller);
        }

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
    public static Session OpenUnchecked(ParseResult result, Terminal terminal) =>
        terminal.Caller is null
            ? Of(result, GlobalOptions.Read(result, terminal))
            : throw new InvalidOperationException("Nobody chooses an installation over the API.");

    /// <summary>Opens an installation other than the one that the options name.</summary>
    public static Session Of(ParseResult result, RollcallOptions options) =>
        new(new ServiceCollection().AddRollcall(options).BuildServiceProvider(), result, caller: null);

    public T Get<T>()
        where T : notnull => _services.GetRequiredService<T>();

    /// <summary>The district that is meant.</summary>
    /// <exception cref="RollcallException">There is none, or over the API it is not the token's.</exception>
    public Task<District> DistrictAsync(CancellationToken cancellationToken) =>
        !IsRemote ? Get<DistrictService>().ResolveAsync(_districtCode, cancellationToken)
        : _district is null ? throw new RollcallException("This needs a token of a district; the operator's opens none.")
        : GlobalOptions.Given(_districtCode)?.Trim() is { } code && !string.Equals(code, _district.Code, StringComparison.OrdinalIgnoreCase)
            ? throw new RollcallException(
                $"This token opens district {_district.Code} and no other. Leave --district {code} out, or take a token of that district."
            )
        : Task.FromResult(_district);

    /// <summary>Refuses over the API what belongs to the installation or to files on its machine.</summary>
    /// <exception cref="RollcallException">The command came over the API.</exception>
    public void RefuseHere(string what, string instead)
    {
        if (IsRemote)
        {
            throw new RollcallException($"{what} does not go over the API. {instead}");
        }
    }

    /// <summary>The district's sites by id.</summary>
    public async Task<Dictionary<int, Site>> SitesAsync(District district, CancellationToken cancellationToken) =>
        (await Get<SiteService>().ListAsync(district.Id, cancellationToken)).ToDictionary(s => s.Id);

    public ValueTask DisposeAsync() => _own?.DisposeAsync() ?? ValueTask.CompletedTask;
}
