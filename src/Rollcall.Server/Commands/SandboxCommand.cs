using System.CommandLine;
using Rollcall.Sandbox;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall sandbox</c>.</summary>
internal static class SandboxCommand
{
    private const string DefaultUrl = "http://127.0.0.1:5090";

    private sealed record Started(
        string Url,
        string TenantId,
        string TenantName,
        string PartnerKey,
        string Prefix,
        string Token,
        string Key,
        string Secret,
        int Students,
        int Seed,
        int Day
    );

    /// <summary>More than any district has, and what a machine can still hold.</summary>
    public const int MostStudents = 5_000_000;

    private const int MostSchools = 20_000;
    private const int MostDays = 20_000;

    public static Command Build(Terminal terminal)
    {
        var urls = new Option<string?>("--urls") { Description = $"Where to listen; {DefaultUrl} without being told", HelpName = "URL" };
        var students = new Option<int>("--students")
        {
            Description = "Students on day 0",
            HelpName = "N",
            DefaultValueFactory = _ => 2000,
        };
        var schools = new Option<int?>("--schools")
        {
            Description = "Schools; a number that suits the students without being told",
            HelpName = "N",
        };
        var seed = new Option<int>("--seed")
        {
            Description = "Another seed is another district",
            HelpName = "S",
            DefaultValueFactory = _ => 1,
        };
        var day = new Option<int>("--day") { Description = "The same district so many days later", HelpName = "D" };
        var api = new Option<string>("--api")
        {
            Description = "oneroster-1.1 or oneroster-1.2",
            HelpName = "API",
            DefaultValueFactory = _ => "oneroster-1.1",
        };
        api.AcceptOnlyFromAmong("oneroster-1.1", "oneroster-1.2", "1.1", "1.2");
        var csv = new Option<string?>("--csv")
        {
            Description = "Write one OneRoster CSV package of the day into this folder instead of serving",
            HelpName = "DIR",
        };
        var csvVersion = new Option<string?>("--csv-version") { Description = "1.0, 1.1 or 1.2; without being told, that of --api" };
        csvVersion.AcceptOnlyFromAmong("1.0", "1.1", "1.2");
        var delta = new Option<bool>("--delta") { Description = "With --csv: only what changed since the day before" };
        var faults = new Option<string?>("--faults")
        {
            Description = "Faults by name, joined by commas, such as 429@2,clamp=500:users; the start page lists them",
            HelpName = "LIST",
        };
        var redirect = new Option<string?>("--redirect-uri")
        {
            Description = "Where sign-ins and tiles lead back to: the server's address and /signin/classlink/callback",
            HelpName = "URL",
        };
        var command = new Command("sandbox", "Play a whole pretend district: a roster service to try everything with")
        {
            urls,
            students,
            schools,
            seed,
            day,
            api,
            faults,
            csv,
            csvVersion,
            delta,
            redirect,
        };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                if (
                    result.GetValue(students) is < 1 or > MostStudents
                    || result.GetValue(schools) is < 1 or > MostSchools
                    || result.GetValue(day) is < 0 or > MostDays
                )
                {
                    throw new UsageException(
                        $"--students is from 1 to {MostStudents}, --schools from 1 to {MostSchools}, --day from 0 to {MostDays}."
                    );
                }

                var options = new SandboxOptions
                {
                    Students = result.GetValue(students),
                    Schools = result.GetValue(schools) ?? 0,
                    Seed = result.GetValue(seed),
                    Day = result.GetValue(day),
                    Api = result.GetRequiredValue(api).EndsWith("1.2", StringComparison.Ordinal)
                        ? SandboxApi.OneRoster12
                        : SandboxApi.OneRoster11,
                };
                if (GlobalOptions.Given(result.GetValue(csv)) is { } folder)
                {
                    return await WriteCsvAsync(
                        terminal,
                        result.GetValue(GlobalOptions.Json),
                        options,
                        new SandboxCsvOptions
                        {
                            Version = result.GetValue(csvVersion) ?? (options.Api == SandboxApi.OneRoster12 ? "1.2" : "1.1"),
                            Delta = result.GetValue(delta),
                            Faults =
                            [
                                .. (result.GetValue(faults) ?? "").Split(
                                    ',',
                                    StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries
                                ),
                            ],
                        },
                        folder
                    );
                }

                if (result.GetValue(csvVersion) is not null || result.GetValue(delta))
                {
                    throw new UsageException("--csv-version and --delta belong to --csv DIR.");
                }

                var url = GlobalOptions.Given(result.GetValue(urls)) ?? DefaultUrl;
                Listening.Check(url);
                try
                {
                    await using var server = await Listening.StartAsync(
                        url,
                        () => SandboxServer.StartAsync(options, url, cancellationToken)
                    );
                    server.RedirectUri = GlobalOptions.Given(result.GetValue(redirect));
                    server.Faults.Set(result.GetValue(faults) ?? "");
                    await TellAsync(terminal, result.GetValue(GlobalOptions.Json), server);
                    await Listening.UntilStoppedAsync(terminal, cancellationToken);
                }
                catch (ArgumentException e)
                {
                    // What the sandbox says of options and faults, without the name of its parameter.
                    throw new UsageException(
                        e.ParamName is null ? e.Message : e.Message.Replace($" (Parameter '{e.ParamName}')", "", StringComparison.Ordinal)
                    );
                }

                return ExitCode.Done;
            }
        );
        return command;
    }

    private sealed record Written(string File, string Version, bool Delta, int Day);

    private static async Task<int> WriteCsvAsync(Terminal terminal, bool json, SandboxOptions options, SandboxCsvOptions csv, string folder)
    {
        string path;
        try
        {
            path = await Task.Run(() => SandboxCsv.Write(options, options.Day, csv, folder));
        }
        catch (ArgumentException e)
        {
            throw new UsageException(
                e.ParamName is null ? e.Message : e.Message.Replace($" (Parameter '{e.ParamName}')", "", StringComparison.Ordinal)
            );
        }

        if (json)
        {
            await JsonText.WriteAsync(terminal, new Written(path, csv.Version, csv.Delta, options.Day));
        }
        else
        {
            await terminal.Out.WriteLineAsync($"Wrote {path}");
        }

        return ExitCode.Done;
    }

    private static async Task TellAsync(Terminal terminal, bool json, SandboxServer server)
    {
        var options = server.Options;
        var origin = server.Url.GetLeftPart(UriPartial.Authority);
        if (json)
        {
            await JsonText.WriteAsync(
                terminal,
                new Started(
                    origin,
                    options.TenantId,
                    options.TenantName,
                    options.PartnerKey,
                    server.ProxyPrefix,
                    server.Bearer,
                    options.ConsumerKey,
                    options.ConsumerSecret,
                    options.Students,
                    options.Seed,
                    server.District.Day
                )
            );
        }
        else
        {
            var text = terminal.Out;
            await text.WriteLineAsync(
                $"{options.TenantName}, tenant {options.TenantId}, day {server.District.Day}: {OperationText.N(options.Students)} invented students at {origin}"
            );
            terminal.WritePairs([
                ("Proxy", $"{origin}   partner key {options.PartnerKey}"),
                ("Direct", $"{origin}   key {options.ConsumerKey}, secret {options.ConsumerSecret}"),
                ("Prefix", $"{server.ProxyPrefix}   token {server.Bearer}"),
                ("Sign-in", $"{origin}   application {options.ClientId}, secret {options.ClientSecret}"),
                ("Next day", $"curl -X POST '{origin}/sandbox/day?day=next'"),
            ]);
            await text.WriteLineAsync(
                "Set ROLLCALL_ALLOW_PRIVATE_ADDRESSES=true where 'rollcall serve' runs and connect on its pages, with the partner key under All districts. Or here, with the key in a file:"
            );
            await text.WriteLineAsync(
                $"  rollcall classlink connect --tenant-id {options.TenantId} --proxy {origin} --partner-key-file FILE"
            );
            await text.WriteLineAsync("Sign in with it once people are synced, the application's secret in a file:");
            await text.WriteLineAsync(
                $"  rollcall classlink login on --client-id {options.ClientId} --client-secret-file FILE --launchpad {origin} --api {origin}"
            );
            await text.WriteLineAsync("Ctrl-C stops it.");
        }

        await terminal.Out.FlushAsync();
    }
}
