using System.CommandLine;
using Rollcall.Districts;
using Rollcall.Operations;
using Rollcall.Patrons;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall patron set-all</c> and <c>rollcall patron remove</c>: many patrons at once, as an operation that can be previewed.</summary>
internal static class PatronBulkCommands
{
    public static Command SetAll(Terminal terminal)
    {
        var fields = new Argument<string[]>("FIELD=VALUE")
        {
            Description = "A field's name or number, and its new value; without a value it is emptied",
            Arity = ArgumentArity.OneOrMore,
        };
        var which = new WhichPatrons();
        var preview = Preview();
        var command = new Command("set-all", "Change fields of all patrons that are like this") { fields, preview };
        which.AddTo(command);
        command.SetAction(
            (result, cancellationToken) =>
            {
                var changes = result.GetRequiredValue(fields).Select(PatronCommands.Pair).ToList();
                which.Require(result);
                return OperationRunner.RunAsync(
                    result,
                    terminal,
                    OperationKind.Edit,
                    async (session, district) =>
                        await session
                            .Get<PatronBulk>()
                            .PlanEditAsync(
                                district.Id,
                                await which.FilterAsync(result, session, district, cancellationToken),
                                changes,
                                result.GetValue(preview),
                                session.Actor,
                                cancellationToken
                            ),
                    cancellationToken
                );
            }
        );
        return command;
    }

    public static Command Remove(Terminal terminal)
    {
        var barcodes = new Argument<string[]>("BARCODE") { Description = "The patrons' barcodes", Arity = ArgumentArity.ZeroOrMore };
        var which = new WhichPatrons();
        var preview = Preview();
        var export = new Option<string?>("--export")
        {
            Description = "Write these patrons to a CSV file first; it can be imported again",
            HelpName = "FILE",
        };
        var yes = new Option<bool>("--yes") { Description = "Remove all patrons that the options choose" };
        var command = new Command(
            "remove",
            "Remove patrons for good: those named, or all that are like this. There is no way back but an export"
        )
        {
            barcodes,
            preview,
            export,
            yes,
        };
        which.AddTo(command);
        command.SetAction(
            (result, cancellationToken) =>
            {
                var named = result.GetValue(barcodes) ?? [];
                if (named.Length == 0)
                {
                    which.Require(result);
                    if (!result.GetValue(preview) && !result.GetValue(yes))
                    {
                        throw new UsageException(
                            "This removes all patrons that the options choose, for good. Look first with --preview, then say --yes."
                        );
                    }
                }
                else if (which.IsGiven(result))
                {
                    throw new UsageException("Name barcodes, or choose by --status, --site, --no-site, --level and --gone, not both.");
                }

                return OperationRunner.RunAsync(
                    result,
                    terminal,
                    OperationKind.Remove,
                    async (session, district) =>
                    {
                        var filter = await which.FilterAsync(result, session, district, cancellationToken);
                        if (GlobalOptions.Given(result.GetValue(export)) is { } file)
                        {
                            session.RefuseHere(
                                "--export",
                                "Write the file with 'rollcall patron export -o FILE' and the same options, look at it, then remove."
                            );
                            await ExportAsync(terminal, session, district, named, filter, file, cancellationToken);
                        }

                        var bulk = session.Get<PatronBulk>();
                        return named.Length > 0
                            ? await bulk.PlanRemovalAsync(district.Id, named, result.GetValue(preview), session.Actor, cancellationToken)
                            : await bulk.PlanRemovalAsync(district.Id, filter, result.GetValue(preview), session.Actor, cancellationToken);
                    },
                    cancellationToken
                );
            }
        );
        return command;
    }

    private static async Task ExportAsync(
        Terminal terminal,
        Session session,
        District district,
        string[] named,
        PatronFilter filter,
        string file,
        CancellationToken cancellationToken
    )
    {
        var patrons = session.Get<PatronService>();
        var sites = await session.SitesAsync(district, cancellationToken);
        var byBarcode = named.Length > 0 ? await patrons.FindAllAsync(district.Id, named, cancellationToken) : null;
        var chosen = byBarcode?.Select(f => f.Patron).ToAsyncEnumerable() ?? patrons.AllAsync(district.Id, filter, cancellationToken);
        var which = byBarcode is null ? filter : new PatronFilter { Barcodes = named };
        await patrons.NoteExportAsync(
            district.Id,
            Path.GetFileName(file),
            which.InWords(which.Site is { } site ? sites[site].Name : null, kept: true),
            byBarcode?.Count ?? await patrons.CountAsync(district.Id, filter, cancellationToken),
            session.Actor,
            cancellationToken
        );
        await terminal.Files.WriteAsync(
            file,
            async writer =>
            {
                var count = 0;
                await writer.WriteLineAsync(PatronWords.CsvHeader);
                await foreach (var patron in chosen.WithCancellation(cancellationToken))
                {
                    await writer.WriteLineAsync(PatronWords.CsvLine(patron, sites));
                    count++;
                }

                return count;
            }
        );
    }

    private static Option<bool> Preview() =>
        new("--preview") { Description = "Stop at the plan and write nothing. The plan can be approved" };
}
