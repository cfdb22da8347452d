using System.CommandLine;
using Rollcall.Integrations;
using Rollcall.SignIn;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall classlink login</c>: people sign in with ClassLink.</summary>
internal static class LoginCommand
{
    private sealed record Turned(string District, bool Login, string? RedirectPath);

    public static Command Build(Terminal terminal)
    {
        var state = new Argument<string>("STATE") { Description = "on or off" };
        state.AcceptOnlyFromAmong("on", "off");
        var id = new Option<string?>("--client-id")
        {
            Description = "This installation's application id from the ClassLink Partner Portal",
            HelpName = "ID",
        };
        var secret = new FileOption("--client-secret-file")
        {
            Description = "A file with the application's secret alone; kept encrypted",
            HelpName = "F",
        };
        var launchpad = new Option<string?>("--launchpad")
        {
            Description = "ClassLink's LaunchPad, for a sandbox; https://launchpad.classlink.com without being told",
            HelpName = "URL",
        };
        var api = new Option<string?>("--api")
        {
            Description = "ClassLink's API, for a sandbox; https://nodeapi.classlink.com without being told",
            HelpName = "URL",
        };
        var tiles = new Option<string?>("--tiles")
        {
            Description = "A LaunchPad tile is begun anew from here (restart, without being told) or taken as it comes (accept)",
            HelpName = "HOW",
        };
        tiles.AcceptOnlyFromAmong("restart", "accept");
        var email = new Option<string?>("--by-email")
        {
            Description = "on: whom no id finds may be found by an email address that only one patron has; off without being told",
            HelpName = "STATE",
        };
        email.AcceptOnlyFromAmong("on", "off");
        var command = new Command("login", "Let the district's people sign in with ClassLink, or stop it")
        {
            state,
            id,
            secret,
            launchpad,
            api,
            tiles,
            email,
        };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                string? Given(Option<string?> option) => GlobalOptions.Given(result.GetValue(option));
                var on = result.GetRequiredValue(state) == "on";
                var file = Given(secret);
                var stored = file is null ? null : await Arguments.SecretAsync(terminal.Files, file, "client secret", cancellationToken);
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var signIn = session.Get<ClassLinkSignIn>();
                if (new[] { id, launchpad, api, tiles }.Any(o => Given(o) is not null) || stored is not null)
                {
                    session.RefuseHere("The application of ClassLink", "It is the installation's: its operator stores it there.");
                    await signIn.StoreClientAsync(
                        Given(id),
                        stored,
                        Given(launchpad),
                        Given(api),
                        Given(tiles) is { } how ? how == "accept" : null,
                        session.Actor.Name,
                        cancellationToken
                    );
                }

                await signIn.TurnAsync(
                    district.Id,
                    on,
                    Given(email) is { } word ? word == "on" : null,
                    session.Actor.Name,
                    cancellationToken
                );
                const string path = "/signin/classlink/callback";
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, new Turned(district.Code, on, on ? path : null));
                }
                else
                {
                    await terminal.Out.WriteLineAsync(
                        on
                            ? $"People of district {district.Code} may sign in with ClassLink. Register the redirect URI there: the server's address and {path}"
                            : $"Nobody of district {district.Code} signs in with ClassLink any more; those who did are signed out."
                    );
                }
            }
        );
        return command;
    }
}
