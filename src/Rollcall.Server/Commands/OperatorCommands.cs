using System.CommandLine;
using Rollcall.Integrations;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall operator</c>.</summary>
internal static class OperatorCommands
{
    private sealed record Stored(bool PartnerKey);

    public static Command Build(Terminal terminal)
    {
        var file = new Option<string?>("--file") { Description = "A file that holds the key alone", HelpName = "F" };
        var remove = new Option<bool>("--remove") { Description = "Remove it: districts that connect with it do so no more" };
        var key = new Command("partner-key", "Store this installation's ClassLink partner key. It is kept encrypted and never shown again")
        {
            file,
            remove,
        };
        key.Validators.Add(result =>
        {
            if (result.GetValue(remove) == (result.GetValue(file) is not null))
            {
                result.AddError(
                    "Say one of the two: --file F stores the key that is in the file, --remove removes the one that is stored."
                );
            }
        });
        key.SetAction(
            async (result, cancellationToken) =>
            {
                var secret = result.GetValue(file) is { } from
                    ? await Arguments.SecretAsync(terminal.Files, from, "partner key", cancellationToken)
                    : null;
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var integrations = session.Get<IntegrationService>();
                if (secret is not null)
                {
                    await integrations.StorePartnerKeyAsync(secret, session.Actor.Name, cancellationToken);
                }
                else if (!await integrations.RemovePartnerKeyAsync(session.Actor.Name, cancellationToken))
                {
                    throw new RollcallException("No partner key is stored.");
                }

                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, new Stored(secret is not null));
                }
                else
                {
                    await terminal.Out.WriteLineAsync(
                        secret is not null
                            ? "The partner key is stored. Districts can connect by proxy now."
                            : "The partner key is removed. Districts that connected with it do so no more."
                    );
                }
            }
        );
        return new Command("operator", "What the operator of this installation keeps") { key };
    }
}
