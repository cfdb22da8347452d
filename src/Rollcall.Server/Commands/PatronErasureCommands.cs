using System.CommandLine;
using Rollcall.Operations;
using Rollcall.Patrons.Erasure;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall patron data</c> and <c>rollcall patron erase</c>: what is kept of one person, and out of everything for good.</summary>
internal static class PatronErasureCommands
{
    private const string Whose =
        "A patron's barcode, that of a patron who was removed, or a roster id or planned barcode of somebody who never became one";

    private sealed record Written(string File);

    public static Command Data(Terminal terminal)
    {
        var who = new Argument<string>("BARCODE") { Description = Whose };
        var output = new FileOption("--output", "-o")
        {
            Description = "Write to this file, whole or not at all",
            HelpName = "FILE",
            IsWritten = true,
        };
        var command = new Command("data", "Write everything that is kept of one person as JSON, for them") { who, output };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var data = await session
                    .Get<PatronErasure>()
                    .DataAsync(district, result.GetRequiredValue(who), session.Actor, cancellationToken);
                if (GlobalOptions.Given(result.GetValue(output)) is not { } file)
                {
                    await terminal.Out.WriteLineAsync(data);
                    return;
                }

                await WriteAsync(terminal, file, data);
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, new Written(terminal.Files.FullName(file)));
                }
                else
                {
                    await terminal.Out.WriteLineAsync($"Everything that is kept of this person is written to {file}.");
                }
            }
        );
        return command;
    }

    public static Command Erase(Terminal terminal)
    {
        var who = new Argument<string>("BARCODE") { Description = Whose };
        var export = new Option<string?>("--export")
        {
            Description = "Write everything that is kept of the person to this file first",
            HelpName = "FILE",
        };
        var yes = new Option<bool>("--yes") { Description = "Erase. Without it, what would go is shown and nothing happens" };
        var command = new Command("erase", "Take one person out of everything, logs and audit included, for good") { who, export, yes };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                if (!result.GetValue(yes))
                {
                    return await ShowAsync(result, terminal, result.GetRequiredValue(who), cancellationToken);
                }

                return await OperationRunner.RunAsync(
                    result,
                    terminal,
                    OperationKind.Erase,
                    async (session, district) =>
                    {
                        var erasure = session.Get<PatronErasure>();
                        var asked = result.GetRequiredValue(who);
                        if (GlobalOptions.Given(result.GetValue(export)) is { } file)
                        {
                            session.RefuseHere(
                                "--export",
                                "Keep what the person may ask for with 'rollcall patron data BARCODE -o FILE', look at it, then erase."
                            );
                            await WriteAsync(terminal, file, await erasure.DataAsync(district, asked, session.Actor, cancellationToken));
                        }

                        return await erasure.EnqueueAsync(district.Id, asked, session.Actor, cancellationToken: cancellationToken);
                    },
                    cancellationToken
                );
            }
        );
        return command;
    }

    private static async Task<int> ShowAsync(ParseResult result, Terminal terminal, string asked, CancellationToken cancellationToken)
    {
        await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
        var district = await session.DistrictAsync(cancellationToken);
        var preview = await session.Get<PatronErasure>().PreviewAsync(district.Id, asked, session.Actor, cancellationToken);
        if (session.Json)
        {
            await JsonText.WriteAsync(terminal, preview);
        }
        else
        {
            await terminal.Out.WriteLineAsync($"{preview.Name ?? "Somebody without a name"} ({preview.Barcode}). This would go, for good:");
            terminal.WriteTable(["What", "Count"], preview.Goes.Select(g => (string?[])[g.What, OperationText.N(g.Count)]), 1);
            foreach (var line in PatronErasureWords.About(preview))
            {
                await terminal.Out.WriteLineAsync(line);
            }
        }

        await CommandLine.WriteErrorAsync(
            terminal,
            preview.Refusal
                ?? "Nothing was erased. --yes erases; 'rollcall patron data' or --export FILE keeps what the person may ask for first."
        );
        return preview.Refusal is null ? ExitCode.Usage : ExitCode.Failed;
    }

    private static Task<long> WriteAsync(Terminal terminal, string file, string data) =>
        terminal.Files.WriteAsync(
            file,
            async writer =>
            {
                await writer.WriteLineAsync(data);
                return 1;
            }
        );
}

/// <summary>What an erasure cannot do, in words of every face.</summary>
internal static class PatronErasureWords
{
    public static IEnumerable<string> About(ErasurePreview preview)
    {
        if (preview.InRoster)
        {
            yield return "The roster still sends this person: the next sync makes a new patron of them, with nothing of what was here. To keep them out, have the school stop sharing them first.";
        }

        if (preview.MentionedBy.Count > 0)
        {
            var shown = preview.MentionedBy.Take(10).ToList();
            yield return $"Records of others name this person and stay as they are (a homeroom's teacher, a relative's contact, a note): {string.Join(", ", shown)}{(preview.MentionedBy.Count > shown.Count ? " and more" : "")}. Change them by hand where they should not.";
        }

        if (preview.AccountStays is { } account)
        {
            yield return $"The account {account} signs in with this person's address and stays, because it is not this district's alone. The operator of this installation looks after it.";
        }

        if (preview.Copies.Count > 0)
        {
            yield return $"Backups in the data folder still hold this person: {string.Join(", ", preview.Copies)}. So do backups elsewhere, files that were exported, and files that a roster was delivered in.";
        }
        else
        {
            yield return "Backups, files that were exported and files that a roster was delivered in are not touched.";
        }
    }
}
