using System.CommandLine;
using Rollcall.Patrons;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall patron remove</c>.</summary>
internal static class PatronRemoveCommand
{
    private sealed record Removed(long? Operation, bool Preview, IReadOnlyList<RemovedPatron> Patrons);

    private sealed record RemovedPatron(string Barcode, string Name, string Status, bool Linked);

    public static Command Build(Terminal terminal)
    {
        var barcodes = new Argument<string[]>("BARCODE") { Description = "The patrons' barcodes", Arity = ArgumentArity.OneOrMore };
        var preview = new Option<bool>("--preview") { Description = "Show who it would be and remove nobody" };
        var export = new Option<string?>("--export")
        {
            Description = "Write these patrons to a CSV file first; it can be imported again",
            HelpName = "FILE",
        };
        var command = new Command("remove", "Remove patrons for good, all of those named or none. There is no way back but an export")
        {
            barcodes,
            preview,
            export,
        };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var patrons = session.Get<PatronService>();
                var named = result.GetRequiredValue(barcodes);
                var found = await patrons.FindAllAsync(district.Id, named, cancellationToken);
                if (GlobalOptions.Given(result.GetValue(export)) is { } file)
                {
                    var sites = await session.SitesAsync(district, cancellationToken);
                    await PatronExportCommand.WriteFileAsync(
                        file,
                        async writer =>
                        {
                            await writer.WriteLineAsync(PatronWords.CsvHeader);
                            foreach (var (patron, _) in found)
                            {
                                await writer.WriteLineAsync(PatronWords.CsvLine(patron, sites));
                            }

                            return found.Count;
                        }
                    );
                }

                var only = result.GetValue(preview);
                var id = only
                    ? (long?)null
                    : await patrons.RemoveAsync(district.Id, [.. found.Select(f => f.Patron.Id)], Session.Actor, cancellationToken);
                var rows = found
                    .Select(f => new RemovedPatron(
                        f.Patron.Barcode,
                        f.Patron.DisplayName,
                        PatronFields.StatusWord(f.Patron.Status),
                        f.Link is not null
                    ))
                    .ToList();
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, new Removed(id, only, rows));
                    return;
                }

                terminal.WriteTable(
                    ["Barcode", "Name", "Status", "Linked to the roster"],
                    rows.Select(r => (string?[])[r.Barcode, r.Name, r.Status, r.Linked ? "yes" : "no"])
                );
                await terminal.Out.WriteLineAsync(
                    id is null
                        ? $"{OperationText.Count(rows.Count, "patron", "patrons")} would be removed. Nothing has been written."
                        : $"{OperationText.Count(rows.Count, "patron is", "patrons are")} removed, operation {id}."
                );
                if (rows.Exists(r => r.Linked && r.Status != "Transferred"))
                {
                    await terminal.Out.WriteLineAsync(
                        "Linked patrons who are still in the roster come back as new ones with the next sync. To stop that, end their record in the roster first."
                    );
                }
            }
        );
        return command;
    }
}
