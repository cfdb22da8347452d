using System.CommandLine;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Rollcall.Server.Pages.Parts;
using Rollcall.Server.Watch;
using Rollcall.Server.Worker;
using Rollcall.SignIn;
using Rollcall.Storage;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall serve</c>.</summary>
internal static class ServeCommand
{
    public const string DefaultUrl = "http://127.0.0.1:5080";

    /// <summary>The address that people type, in the environment.</summary>
    public const string PublicUrlVariable = "ROLLCALL_PUBLIC_URL";

    private const string Urls = "--urls";
    private const string PublicUrl = "--public-url";
    private const string ProxyAddress = "--proxy-address";
    private const string ProxyVariable = "ROLLCALL_PROXY_ADDRESS";
    private const string AllowPlainHttp = "--allow-plain-http";

    /// <param name="Setup">The link that makes the first account; null once there is one.</param>
    /// <param name="Metrics">Where metrics are; null for nowhere.</param>
    private sealed record Serving(string Url, string? Data, string Database, string? Setup, string? Metrics);

    public static Command Build(Terminal terminal)
    {
        var urls = new Option<string?>(Urls) { Description = $"Where to listen; {DefaultUrl} without being told", HelpName = "URL" };
        var publicUrl = new Option<string?>(PublicUrl)
        {
            Description =
                $"The address that people type ({PublicUrlVariable}), such as https://library.example.org; without it only this computer may ask",
            HelpName = "URL",
        };
        var proxies = new Option<string[]>(ProxyAddress)
        {
            Description =
                $"A computer in front, or a network of them such as 10.0.0.0/24, whose X-Forwarded-For is believed, beside this one ({ProxyVariable}, joined by commas); may be said several times",
            HelpName = "IP",
        };
        var plain = new Option<bool>(AllowPlainHttp)
        {
            Description = "Take passwords over unencrypted http from other computers. For a closed network with TLS ended elsewhere",
        };
        var metrics = new Option<string?>("--metrics-url")
        {
            Description =
                $"Where monitoring asks for metrics and health ({Watching.MetricsUrlVariable}), such as http://127.0.0.1:9464; without it nowhere",
            HelpName = "URL",
        };
        var command = new Command("serve", "Run the web server and work on operations") { urls, publicUrl, proxies, plain, metrics };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                var (url, reach) = Read(result, terminal);
                var options = GlobalOptions.Read(result, terminal);

                // Links in notices lead where people are told to go.
                options = options with
                {
                    PublicUrl = reach.PublicUrl?.GetLeftPart(UriPartial.Authority) ?? options.PublicUrl,
                };
                await using var server = await ServerProcess.StartAsync(
                    options,
                    url,
                    cancellationToken,
                    Watching.Read(GlobalOptions.Given(result.GetValue(metrics)), terminal),
                    reach
                );
                var logger = server.Services.GetRequiredService<ILoggerFactory>().CreateLogger("Rollcall.Settings");
                foreach (var unknown in GlobalOptions.Unknown(Environment.GetEnvironmentVariables().Keys.Cast<string>()))
                {
                    logger.LogWarning("{Variable} is no setting that there is, and does nothing", unknown);
                }

                if (OpenToAll(server.Services.GetRequiredService<KeyRing>().KeyFile) is { } key)
                {
                    logger.LogWarning(
                        "Everybody on this machine can read the master key in {File}, and with it what is encrypted in the database: chmod 600 closes it",
                        key
                    );
                }

                var setup = await server.Services.GetRequiredService<Accounts>().SetupLinkAsync(cancellationToken) is { } code
                    ? AccountCommands.Link(terminal, reach.PublicUrl?.GetLeftPart(UriPartial.Authority) ?? server.Url, code)
                    : null;
                var folder = Path.GetFullPath(options.Storage.DataFolder);
                if (result.GetValue(GlobalOptions.Json))
                {
                    await JsonText.WriteAsync(
                        terminal,
                        new Serving(
                            server.Url,
                            folder,
                            options.Storage.Connection is null ? "sqlite" : "postgresql",
                            setup,
                            server.WatchUrl
                        )
                    );
                }
                else
                {
                    await terminal.Out.WriteLineAsync(
                        $"Rollcall is at {server.Url} with {(options.Storage.Connection is null ? $"the data in {folder}" : "the data in PostgreSQL")}. Ctrl-C stops it."
                    );
                    if (setup is not null)
                    {
                        await terminal.Out.WriteLineAsync(
                            $"There is no account yet. This link makes the first one; it serves once, within a day:\n{setup}"
                        );
                    }
                }

                await Listening.UntilStoppedAsync(terminal, cancellationToken);
                return ExitCode.Done;
            }
        );
        return command;
    }

    /// <summary>Where the server is to listen and how people reach it.</summary>
    /// <exception cref="UsageException">An address is none.</exception>
    /// <exception cref="RollcallException">Others could reach what only this computer may, or passwords would travel unencrypted.</exception>
    internal static (string Url, Reach Reach) Read(ParseResult result, Terminal terminal)
    {
        var url = GlobalOptions.Given(result.GetValue<string?>(Urls)) ?? DefaultUrl;
        Listening.Check(url);
        return (
            url,
            ReachOf(
                url,
                GlobalOptions.Given(result.GetValue<string?>(PublicUrl)) ?? GlobalOptions.Given(terminal.Variable(PublicUrlVariable)),
                result.GetValue<string[]>(ProxyAddress) is { Length: > 0 } given
                    ? given
                    : terminal.Variable(ProxyVariable)?.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
                        ?? [],
                result.GetValue<bool>(AllowPlainHttp)
            )
        );
    }

    /// <summary>How people reach the server, with everything that would let passwords travel unencrypted refused.</summary>
    private static Reach ReachOf(string urls, string? publicUrl, string[] proxies, bool plain)
    {
        var addresses = proxies
            .Select(p =>
                Reach.TryRead(p, out var network)
                    ? network
                    : throw new UsageException(
                        $"'{p}' of --proxy-address ({ProxyVariable}) is no IP address and no network, such as 10.0.0.5 or 10.0.0.0/24."
                    )
            )
            .ToList();
        if (publicUrl is null)
        {
            Listening.CheckLoopback(urls);
            return new Reach(null, addresses);
        }

        var url = Address(publicUrl, $"{PublicUrl} ({PublicUrlVariable})");
        if (url.Scheme == Uri.UriSchemeHttp && !url.IsLoopback && !plain)
        {
            throw new RollcallException(
                $"Passwords and children's records would travel unencrypted to {url.Authority}. Put a server with TLS in front and say --public-url https://..., or say --allow-plain-http."
            );
        }

        if (!plain)
        {
            Listening.CheckEncrypted(urls);
        }

        return new Reach(url, addresses);
    }

    /// <summary>The file, where users who are neither its owner nor of its group may read it.</summary>
    private static string? OpenToAll(string file) =>
        !OperatingSystem.IsWindows() && File.Exists(file) && File.GetUnixFileMode(file).HasFlag(UnixFileMode.OtherRead) ? file : null;

    /// <summary>The address of a server, as people type it.</summary>
    /// <exception cref="UsageException">It is none.</exception>
    public static Uri Address(string text, string option) =>
        Uri.TryCreate(text.Trim(), UriKind.Absolute, out var url)
        && (url.Scheme == Uri.UriSchemeHttps || url.Scheme == Uri.UriSchemeHttp)
        && url.PathAndQuery == "/"
        && url.UserInfo.Length == 0
        && url.Fragment.Length == 0
            ? url
            : throw new UsageException($"'{text}' of {option} is no address of a server: write it like https://library.example.org");
}
