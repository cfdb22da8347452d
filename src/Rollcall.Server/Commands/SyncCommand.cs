using System.CommandLine;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Sync.Person;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall sync</c>.</summary>
internal static class SyncCommand
{
    public static Command Build(Terminal terminal)
    {
        var full = new Option<bool>("--full") { Description = "Read the whole roster. This is what a sync does without being told" };
        var changes = new Option<bool>("--changes") { Description = "Read what changed since the last run, and whom it concerns" };
        var person = new Option<string?>("--person")
        {
            Description =
                "One person, by sourcedId or by the barcode of a linked patron; where a text is both, by guid:ID or barcode:CODE. Each step is told",
            HelpName = "ID",
        };
        var preview = new Option<bool>("--preview") { Description = "Stop at the plan and write nothing. The plan can be approved" };
        var command = new Command("sync", "Bring the patrons in step with the roster, here or in the server that runs")
        {
            full,
            changes,
            person,
            preview,
        };
        command.SetAction(
            (result, cancellationToken) =>
            {
                var one = GlobalOptions.Given(result.GetValue(person));
                if ((result.GetValue(full) ? 1 : 0) + (result.GetValue(changes) ? 1 : 0) + (one is null ? 0 : 1) > 1)
                {
                    throw new UsageException("Say one of --full, --changes and --person ID.");
                }

                var kind =
                    one is not null ? OperationKind.PersonSync
                    : result.GetValue(changes) ? OperationKind.ChangesSync
                    : OperationKind.FullSync;
                return OperationRunner.RunAsync(
                    result,
                    terminal,
                    kind,
                    async (session, district) =>
                    {
                        var on =
                            await session.Get<IntegrationService>().EnabledAsync(district.Id, cancellationToken)
                            ?? throw new RollcallException(
                                "No roster service is on. Connect one, like 'rollcall classlink connect', and turn it on, like 'rollcall classlink on'; the others are oneroster and oneroster-csv."
                            );
                        var (id, _) = await session
                            .Get<OperationQueue>()
                            .EnqueueAsync(
                                district.Id,
                                kind,
                                on.Kind,
                                result.GetValue(preview),
                                session.Actor.Name,
                                one is null ? "{}" : PersonOptions.For(one),
                                cancellationToken: cancellationToken
                            );
                        return id;
                    },
                    cancellationToken
                );
            }
        );
        return command;
    }
}
