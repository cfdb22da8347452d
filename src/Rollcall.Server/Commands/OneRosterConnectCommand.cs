using System.CommandLine;
using Rollcall.Integrations;
using Rollcall.OneRoster.Auth;
using Rollcall.OneRoster.Rest;

namespace Rollcall.Server.Commands;

/// <summary><c>oneroster connect</c>: any server of OneRoster 1.1 or 1.2.</summary>
internal static class OneRosterConnectCommand
{
    public static Command Build(Terminal terminal)
    {
        var url = new Option<string>("--url")
        {
            Description = "The roster server's address, with or without /ims/oneroster/…",
            HelpName = "URL",
            Required = true,
        };
        var version = new Option<string?>("--version") { Description = "Without being told: the one that answers, 1.2 before 1.1" };
        version.AcceptOnlyFromAmong("1.1", "1.2");
        var tokenUrl = new Option<string?>("--token-url")
        {
            Description = "With OAuth 2 client credentials, exchanged for a token at this address",
            HelpName = "URL",
        };
        var key = new Option<string?>("--key")
        {
            Description = "The key: client id with --token-url, consumer key of OAuth 1.0a without it",
            HelpName = "K",
        };
        var secret = new FileOption("--secret-file") { Description = "A file with the secret of the key alone", HelpName = "F" };
        var token = new FileOption("--token-file") { Description = "A file with a fixed bearer token alone", HelpName = "F" };
        var signature = new Option<string?>("--signature")
        {
            Description = "Hash of OAuth 1.0a; without being told: the one that is accepted",
            HelpName = "METHOD",
        };
        signature.AcceptOnlyFromAmong("HMAC-SHA256", "HMAC-SHA1");
        var form = new Option<string?>("--token-form")
        {
            Description =
                "How a token is asked for: basic, body, query or json; without being told the one that is accepted, query excepted",
            HelpName = "FORM",
        };
        form.AcceptOnlyFromAmong("basic", "body", "query", "json");
        var scope = new Option<string?>("--scope")
        {
            Description = "Scopes to ask for, separated by blanks, or none; without being told: the read-only scopes of rostering",
            HelpName = "SCOPES",
        };
        var yes = IntegrationCommands.Yes();
        var command = new Command("connect", "Check a connection and store it; nothing is stored when it is refused")
        {
            url,
            version,
            tokenUrl,
            key,
            secret,
            token,
            signature,
            form,
            scope,
            yes,
        };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                string? Given(Option<string?> option) => GlobalOptions.Given(result.GetValue(option));
                var mode =
                    Given(tokenUrl) is not null ? ConnectionMode.ClientCredentials
                    : Given(token) is not null ? ConnectionMode.Bearer
                    : ConnectionMode.Direct;
                Option<string?>[] needed = mode == ConnectionMode.Bearer ? [token] : [key, secret];
                Option<string?>[] own = mode switch
                {
                    ConnectionMode.ClientCredentials => [tokenUrl, key, secret, form, scope],
                    ConnectionMode.Bearer => [token],
                    _ => [key, secret, signature],
                };
                if (needed.All(o => Given(o) is null) && mode == ConnectionMode.Direct)
                {
                    throw new UsageException(
                        "Say how to sign in, in one way: --token-url URL --key K --secret-file F, or --key K --secret-file F, or --token-file F."
                    );
                }

                if (
                    new[] { tokenUrl, key, secret, token, signature, form, scope }.FirstOrDefault(o =>
                        Given(o) is not null && !own.Contains(o)
                    ) is
                    { } stray
                )
                {
                    var with = mode switch
                    {
                        ConnectionMode.ClientCredentials => "--token-url",
                        ConnectionMode.Bearer => "--token-file",
                        _ => "--key without --token-url",
                    };
                    throw new UsageException($"{stray.Name} does not belong to {with}.");
                }

                if (needed.FirstOrDefault(o => Given(o) is null) is { } missing)
                {
                    var had = mode == ConnectionMode.ClientCredentials ? tokenUrl.Name : needed.First(o => Given(o) is not null).Name;
                    throw new UsageException($"{had} needs {missing.Name} {missing.HelpName} too.");
                }

                OneRosterVersion? asked = Given(version) switch
                {
                    "1.1" => OneRosterVersion.V11,
                    "1.2" => OneRosterVersion.V12,
                    _ => null,
                };
                var address = result.GetRequiredValue(url);
                if (asked is not null && RosterServers.VersionOf(address) is { } named && named != asked)
                {
                    throw new UsageException(
                        $"--version {Given(version)} contradicts the path of --url, which is another version's. Leave --version out."
                    );
                }

                // Files are read before anything is opened: a wrong path is told at once.
                var request = new ConnectRequest(
                    mode,
                    TenantId: null,
                    address,
                    Given(key),
                    mode == ConnectionMode.Bearer
                        ? await Arguments.SecretAsync(terminal.Files, Given(token)!, "token", cancellationToken)
                        : await Arguments.SecretAsync(terminal.Files, Given(secret)!, "secret", cancellationToken),
                    Given(signature)
                )
                {
                    TokenUrl = Given(tokenUrl),
                    TokenForm = Given(form) switch
                    {
                        "basic" => TokenRequestForm.Basic,
                        "body" => TokenRequestForm.Body,
                        "query" => TokenRequestForm.Query,
                        "json" => TokenRequestForm.Json,
                        _ => null,
                    },
                    Scope = Given(scope) is { } scopes
                        ? scopes.Trim().Equals("none", StringComparison.OrdinalIgnoreCase)
                            ? ""
                            : scopes
                        : null,
                    Version = asked,
                };
                await IntegrationCommands.ConnectAsync(
                    result,
                    terminal,
                    IntegrationKind.OneRoster,
                    request,
                    result.GetValue(yes),
                    cancellationToken
                );
            }
        );
        return command;
    }
}
