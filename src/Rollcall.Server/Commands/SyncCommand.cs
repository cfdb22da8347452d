using System.CommandLine;
using Rollcall.Integrations;
using Rollcall.Operations;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall sync</c>.</summary>
internal static class SyncCommand
{
    public static Command Build(Terminal terminal)
    {
        var full = new Option<bool>("--full") { Description = "Read the whole roster. This is what a sync does without being told" };
        var preview = new Option<bool>("--preview") { Description = "Stop at the plan and write nothing. The plan can be approved" };
        var command = new Command("sync", "Bring the patrons in step with the roster, here or in the server that runs") { full, preview };
        command.SetAction(
            (result, cancellationToken) =>
                OperationRunner.RunAsync(
                    result,
                    terminal,
                    OperationKind.FullSync,
                    async (session, district) =>
                    {
                        var on =
                            await session.Get<IntegrationService>().EnabledAsync(district.Id, cancellationToken)
                            ?? throw new RollcallException(
                                "No roster service is on. Connect one with 'rollcall classlink connect' and turn it on with 'rollcall classlink on'."
                            );
                        var (id, _) = await session
                            .Get<OperationQueue>()
                            .EnqueueAsync(
                                district.Id,
                                OperationKind.FullSync,
                                on.Kind,
                                result.GetValue(preview),
                                Session.Actor,
                                cancellationToken: cancellationToken
                            );
                        return id;
                    },
                    cancellationToken
                )
        );
        return command;
    }
}
