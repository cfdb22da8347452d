using System.CommandLine;
using Rollcall.Integrations;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall operator</c>.</summary>
internal static class OperatorCommands
{
    private sealed record Stored(bool PartnerKey);

    public static Command Build(Terminal terminal)
    {
        var file = new Option<string>("--file")
        {
            Description = "A file that holds the key alone",
            HelpName = "F",
            Required = true,
        };
        var key = new Command("partner-key", "Store this installation's ClassLink partner key. It is kept encrypted and never shown again")
        {
            file,
        };
        key.SetAction(
            async (result, cancellationToken) =>
            {
                var secret = await Arguments.SecretAsync(terminal.Files, result.GetRequiredValue(file), "partner key", cancellationToken);
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                await session.Get<IntegrationService>().StorePartnerKeyAsync(secret, cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, new Stored(true));
                }
                else
                {
                    await terminal.Out.WriteLineAsync("The partner key is stored. Districts can connect by proxy now.");
                }
            }
        );
        return new Command("operator", "What the operator of this installation keeps") { key };
    }
}
