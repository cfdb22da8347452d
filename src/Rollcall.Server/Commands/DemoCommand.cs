using System.CommandLine;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Server.Watch;
using Rollcall.Server.Worker;
using Rollcall.SignIn;
using Rollcall.Storage;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall demo</c>: everything at once, with nothing to set up.</summary>
internal static class DemoCommand
{
    private const string DistrictCode = "DEMO";

    /// <summary>The demo's own account.</summary>
    private const string Administrator = "admin@demo.example";

    /// <param name="SignIn">A link that signs in as District Administrator, once.</param>
    private sealed record Running(string Url, string SignIn, string Sandbox, string Data, OperationResult Sync);

    public static Command Build(Terminal terminal)
    {
        var urls = new Option<string?>("--urls")
        {
            Description = $"Where to listen; {ServeCommand.DefaultUrl} or a free port without being told",
            HelpName = "URL",
        };
        var students = new Option<int>("--students")
        {
            Description = "Students of the pretend district",
            HelpName = "N",
            DefaultValueFactory = _ => 2000,
        };
        var command = new Command("demo", "Start a pretend district and a library that is synced with it, and show them")
        {
            urls,
            students,
        };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                if (result.GetValue(students) is < 1 or > SandboxCommand.MostStudents)
                {
                    throw new UsageException($"--students is from 1 to {SandboxCommand.MostStudents}.");
                }

                var url = GlobalOptions.Given(result.GetValue(urls));
                if (url is not null)
                {
                    Listening.Check(url);
                    Listening.CheckLoopback(url);
                }

                // The environment's installation is somebody's real one: a demo goes there only when told so in so many words.
                var given = GlobalOptions.Given(result.GetValue(GlobalOptions.Data));
                var folder = given ?? Directory.CreateTempSubdirectory("rollcall-demo-").FullName;
                try
                {
                    var options = GlobalOptions.Read(result, terminal) with
                    {
                        Storage = new StorageOptions(folder, GlobalOptions.Given(result.GetValue(GlobalOptions.Database))),
                        AllowPrivateAddresses = true,
                        PublicUrl = null,
                    };
                    return await RunAsync(
                        terminal,
                        options,
                        url,
                        result.GetValue(students),
                        result.GetValue(GlobalOptions.Json),
                        keeps: given is not null,
                        cancellationToken
                    );
                }
                finally
                {
                    if (given is null)
                    {
                        Directory.Delete(folder, recursive: true);
                    }
                }
            }
        );
        return command;
    }

    private static async Task<int> RunAsync(
        Terminal terminal,
        RollcallOptions options,
        string? url,
        int students,
        bool json,
        bool keeps,
        CancellationToken cancellationToken
    )
    {
        async Task SayAsync(string line)
        {
            if (!json)
            {
                await terminal.Out.WriteLineAsync(line);
                await terminal.Out.FlushAsync(cancellationToken);
            }
        }

        await SayAsync($"Inventing a district with {OperationText.N(students)} students …");
        await using var sandbox = await SandboxServer.StartAsync(
            new SandboxOptions { Students = students },
            cancellationToken: cancellationToken
        );
        await using var server = await StartServerAsync(options, url, cancellationToken);
        var district = await DistrictAsync(server.Services, sandbox, cancellationToken);
        await SayAsync("Connecting ClassLink, matching schools, choosing fields …");
        var schools = await SetUpAsync(server.Services, district, sandbox, cancellationToken);
        sandbox.RedirectUri = $"{server.Url}/signin/classlink/callback";
        var login = server.Services.GetRequiredService<ClassLinkSignIn>();
        var classLink = sandbox.Url.GetLeftPart(UriPartial.Authority);
        await login.StoreClientAsync(
            sandbox.Options.ClientId,
            sandbox.Options.ClientSecret,
            classLink,
            classLink,
            acceptTiles: false,
            "demo",
            cancellationToken
        );
        await login.TurnAsync(district.Id, true, null, "demo", cancellationToken);
        var link = AccountCommands.Link(terminal, server.Url, await SignInLinkAsync(server.Services, district, cancellationToken));
        await SayAsync("Syncing for the first time …");
        var operation = await SyncAsync(terminal, server.Services, district, cancellationToken);
        if (json)
        {
            await JsonText.WriteAsync(
                terminal,
                new Running(
                    server.Url,
                    link,
                    sandbox.Url.GetLeftPart(UriPartial.Authority),
                    options.Storage.DataFolder,
                    OperationResult.Of(operation, operation.Worked?.TotalSeconds)
                )
            );
        }
        else
        {
            await OperationText.WriteSummaryAsync(terminal.Out, operation);
        }

        if (OperationText.ExitCodeOf(operation.Status) == ExitCode.Failed)
        {
            throw new RollcallException(operation.Error ?? $"The first sync ended as {OperationText.Status(operation.Status)}.");
        }

        var origin = sandbox.Url.GetLeftPart(UriPartial.Authority);
        var onPostgres = options.Storage.Connection is not null;

        // The connection is shown as what it is called, not with the password that is in it.
        var where = $"--data {options.Storage.DataFolder}{(onPostgres ? " --database CONNECTION" : "")}";
        if (!json)
        {
            await terminal.Out.WriteLineAsync();
            await terminal.Out.WriteLineAsync(
                $"{sandbox.Options.TenantName}: {OperationText.Count(OperationQueue.CountsOf(operation).Read, "person", "people")} of {OperationText.Count(schools, "school", "schools")}, synced in {operation.Worked?.TotalSeconds:0.0} s. Everybody is invented."
            );
            await terminal.Out.WriteLineAsync();
            terminal.WritePairs([
                ("Open", link),
                ("Signs in", "as District Administrator; the link serves once"),
                ("Again", $"{Program(terminal)} account reset-password {Administrator} --url {server.Url} {where}"),
                ("Look at", "Patrons, one patron's history, and the log of the first sync under Operations"),
                ("Be somebody", $"{origin}/launchpad has a tile for each of the pretend people"),
                ("Let a day pass", $"curl -X POST '{origin}/sandbox/day?day=next'"),
                ("Then sync", $"Sync Now on the first page, or: {Program(terminal)} sync {where}"),
                ("The roster", $"{origin} shows what else it can pretend"),
                (
                    "Stop",
                    (keeps, onPostgres) switch
                    {
                        (true, false) => $"Ctrl-C; the data stays in {options.Storage.DataFolder}",
                        (true, true) =>
                            $"Ctrl-C; the database keeps what is in it, and {options.Storage.DataFolder} the key that its secrets need",
                        (false, false) => "Ctrl-C; the data goes with it (--data DIR keeps it)",
                        (false, true) =>
                            "Ctrl-C; the database keeps what is in it, but the key that its secrets need goes (--data DIR keeps it)",
                    }
                ),
            ]);
        }

        await Listening.UntilStoppedAsync(terminal, cancellationToken);
        return ExitCode.Done;
    }

    /// <summary>How to call this program: by its name where that is found, else by its file.</summary>
    private static string Program(Terminal terminal)
    {
        var found = (terminal.Variable("PATH") ?? "")
            .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Any(folder => File.Exists(Path.Combine(folder, "rollcall")));
        return found ? "rollcall"
            : Environment.ProcessPath is not { } path ? "rollcall"
            // Started through the SDK's own program, which needs to be told of which one.
            : Path.GetFileNameWithoutExtension(path) == "dotnet" ? $"{path} {Environment.GetCommandLineArgs()[0]}"
            : path;
    }

    /// <summary>The usual address; another free port when somebody has it and no address was asked for.</summary>
    private static async Task<ServerProcess> StartServerAsync(RollcallOptions options, string? url, CancellationToken cancellationToken)
    {
        if (options.Storage.Connection is not null)
        {
            await using var database = new RollcallDatabase(options.Storage);
            await DatabaseCheck.GuardAsync(database, () => database.MigrateAsync(cancellationToken));
        }

        try
        {
            return await ServerProcess.StartAsync(
                options,
                url ?? ServeCommand.DefaultUrl,
                cancellationToken,
                new Watching(Least: LogLevel.Warning)
            );
        }
        catch (RollcallException e) when (url is null && Listening.IsInUse(e.InnerException))
        {
            return await ServerProcess.StartAsync(options, "http://127.0.0.1:0", cancellationToken, new Watching(Least: LogLevel.Warning));
        }
    }

    private static async Task<District> DistrictAsync(IServiceProvider services, SandboxServer sandbox, CancellationToken cancellationToken)
    {
        var districts = services.GetRequiredService<DistrictService>();
        var there = await districts.ListAsync(cancellationToken);
        if (there.Any(d => d.Code != DistrictCode))
        {
            throw new RollcallException(
                services.GetRequiredService<RollcallDatabase>().IsPostgres
                    ? "The database holds an installation with districts of its own. A demo takes a database of its own: leave --database out, or name an empty one."
                    : "The data folder holds an installation with districts of its own. A demo takes a folder of its own: leave --data out, or name an empty one."
            );
        }

        return there.Count > 0
            ? there[0]
            : await districts.AddAsync(DistrictCode, sandbox.Options.TenantName, null, "demo", cancellationToken);
    }

    /// <summary>Connects ClassLink, makes a site of each school, ticks everybody and turns the service on.</summary>
    /// <returns>How many schools there are.</returns>
    internal static async Task<int> SetUpAsync(
        IServiceProvider services,
        District district,
        SandboxServer sandbox,
        CancellationToken cancellationToken
    )
    {
        const IntegrationKind kind = IntegrationKind.ClassLink;
        const string actor = "demo";
        var integrations = services.GetRequiredService<IntegrationService>();
        var sites = services.GetRequiredService<SiteService>();
        await integrations.StorePartnerKeyAsync(sandbox.Options.PartnerKey, actor, cancellationToken);
        var request = new ConnectRequest(ConnectionMode.Proxy, sandbox.Options.TenantId, sandbox.Url.GetLeftPart(UriPartial.Authority));
        await integrations.ConnectAsync(
            district,
            kind,
            request,
            asOperator: true,
            clear: false,
            actor,
            cancellationToken: cancellationToken
        );
        var schools = (await integrations.OrgsAsync(district, kind, cancellationToken)).Where(o => o.Type == "school").ToList();
        var number = 0;
        foreach (var school in schools)
        {
            number++;
            if (school.SiteCode is not null)
            {
                continue;
            }

            var code = $"S{number:D2}";
            if (school.SuggestedSite is null)
            {
                await sites.AddAsync(
                    district.Id,
                    code,
                    new SiteChange(school.Name ?? code, $"{number * 100_000L + 1:D8}", null, null, null),
                    actor,
                    cancellationToken
                );
            }

            await integrations.MatchAsync(district, kind, school.SuggestedSite ?? code, school.SourcedId, actor, cancellationToken);
        }

        await integrations.ConfigureAsync(
            district.Id,
            kind,
            actor,
            "all roles, Student # from identifier, homeroom from its teacher",
            s =>
                s with
                {
                    Roles = [RoleGroup.Student, RoleGroup.Teacher, RoleGroup.Admin],
                    Map = s.Map with { CommunityId = new IdMapping(IdSource.Identifier), Location = LocationSource.TeacherName },
                },
            cancellationToken
        );
        await integrations.TurnOnAsync(district.Id, kind, clear: false, actor, cancellationToken: cancellationToken);
        return schools.Count;
    }

    private static async Task<string> SignInLinkAsync(IServiceProvider services, District district, CancellationToken cancellationToken)
    {
        var accounts = services.GetRequiredService<Accounts>();
        var (account, _) = await accounts.AddAsync(
            Administrator,
            district,
            SecurityGroup.DistrictAdministrator,
            null,
            isOperator: true,
            "demo",
            cancellationToken: cancellationToken
        );
        return await accounts.SignInLinkAsync(account.Id, cancellationToken);
    }

    private static async Task<Operation> SyncAsync(
        Terminal terminal,
        IServiceProvider services,
        District district,
        CancellationToken cancellationToken
    )
    {
        var (id, _) = await services
            .GetRequiredService<OperationQueue>()
            .EnqueueAsync(
                district.Id,
                OperationKind.FullSync,
                IntegrationKind.ClassLink,
                preview: false,
                "demo",
                cancellationToken: cancellationToken
            );
        var follower = services.GetRequiredService<OperationFollower>();
        return terminal.ErrorIsTerminal
            ? await ProgressBar.ShowAsync(terminal, report => follower.RunAsync(district.Id, id, report, cancellationToken))
            : await follower.RunAsync(district.Id, id, new ProgressLines(terminal, TimeProvider.System).Report, cancellationToken);
    }
}
