using System.CommandLine;
using Rollcall.Server.Worker;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall serve</c>.</summary>
internal static class ServeCommand
{
    public const string DefaultUrl = "http://127.0.0.1:5080";

    private sealed record Serving(string Url, string? Data, string Database);

    public static Command Build(Terminal terminal)
    {
        var urls = new Option<string?>("--urls") { Description = $"Where to listen; {DefaultUrl} without being told", HelpName = "URL" };
        var command = new Command("serve", "Run the web server and work on operations") { urls };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                var url = GlobalOptions.Given(result.GetValue(urls)) ?? DefaultUrl;
                Listening.Check(url);
                Listening.CheckLoopback(url);
                var options = GlobalOptions.Read(result, terminal);
                await using var server = await ServerProcess.StartAsync(options, url, cancellationToken);
                var folder = Path.GetFullPath(options.Storage.DataFolder);
                if (result.GetValue(GlobalOptions.Json))
                {
                    await JsonText.WriteAsync(
                        terminal,
                        new Serving(server.Url, folder, options.Storage.Connection is null ? "sqlite" : "postgresql")
                    );
                }
                else
                {
                    await terminal.Out.WriteLineAsync(
                        $"Rollcall is at {server.Url} with {(options.Storage.Connection is null ? $"the data in {folder}" : "the data in PostgreSQL")}. Ctrl-C stops it."
                    );
                }

                await terminal.Out.FlushAsync(cancellationToken);
                await Listening.UntilStoppedAsync(cancellationToken);
                return ExitCode.Done;
            }
        );
        return command;
    }
}
