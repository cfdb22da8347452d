using System.CommandLine;
using Rollcall.Patrons;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall patron export</c>.</summary>
internal static class PatronExportCommand
{
    private sealed record Written(string File, long Patrons);

    public static Command Build(Terminal terminal)
    {
        var format = new Option<string?>("--format") { Description = "csv (without being told), which can be imported again, or jsonl" };
        format.AcceptOnlyFromAmong("csv", "jsonl");
        var since = new Option<string?>("--changed-since")
        {
            Description = "Only patrons changed at or after this time, such as 2026-09-01 or 2026-09-01T04:00:00Z",
            HelpName = "T",
        };
        var output = new FileOption("--output", "-o")
        {
            Description = "Write to this file, whole or not at all",
            HelpName = "FILE",
            IsWritten = true,
        };
        var which = new WhichPatrons();
        var command = new Command("export", "Write patrons out, all of them without being told which") { format, since, output };
        which.AddTo(command);
        command.SetAction(
            async (result, cancellationToken) =>
            {
                var chosen = result.GetValue(format);
                var file = GlobalOptions.Given(result.GetValue(output));
                var json = result.GetValue(GlobalOptions.Json);
                if (json && file is null && chosen == "csv")
                {
                    throw new UsageException("--json and --format csv exclude each other, unless the CSV goes into a file with -o.");
                }

                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var sites = await session.SitesAsync(district, cancellationToken);
                var filter = await which.FilterAsync(result, session, district, cancellationToken) with
                {
                    ChangedSince = result.GetValue(since) is { } text ? Arguments.Instant(text, "--changed-since", district) : null,
                };
                var service = session.Get<PatronService>();
                var patrons = service.AllAsync(district.Id, filter, cancellationToken);
                await service.NoteExportAsync(
                    district.Id,
                    Path.GetFileName(file ?? "standard output"),
                    filter.InWords(filter.Site is { } site ? sites[site].Name : null, kept: true),
                    await service.CountAsync(district.Id, filter, cancellationToken),
                    session.Actor,
                    cancellationToken
                );
                if (file is null && json && chosen is null)
                {
                    await JsonText.WriteArrayAsync(terminal.Out, patrons.Select(p => PatronWords.Of(p, sites)), cancellationToken);
                    return;
                }

                async Task<long> WriteAsync(TextWriter writer)
                {
                    long count = 0;
                    if (chosen != "jsonl")
                    {
                        await writer.WriteLineAsync(PatronWords.CsvHeader);
                    }

                    await foreach (var patron in patrons)
                    {
                        await writer.WriteLineAsync(
                            chosen == "jsonl" ? JsonText.Line(PatronWords.Of(patron, sites)) : PatronWords.CsvLine(patron, sites)
                        );
                        count++;
                    }

                    return count;
                }

                if (file is null)
                {
                    await WriteAsync(terminal.Out);
                    return;
                }

                var written = await terminal.Files.WriteAsync(file, WriteAsync);
                if (json)
                {
                    await JsonText.WriteAsync(terminal, new Written(terminal.Files.FullName(file), written));
                }
                else
                {
                    await terminal.Out.WriteLineAsync($"{OperationText.Count(written, "patron is", "patrons are")} written to {file}.");
                }
            }
        );
        return command;
    }
}
