using System.CommandLine;
using System.Text.Json.Serialization;
using Rollcall.Audit;
using Rollcall.Operations;
using Rollcall.Patrons;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall operation log</c>.</summary>
internal static class LogCommand
{
    private sealed record Line(
        long Number,
        string Kind,
        string? Outcome,
        string? Guid,
        string? Name,
        string? Barcode,
        string? Site,
        string? RoleGroup,
        string? MatchedBy,
        IReadOnlyList<LogField> Changes,
        string? Reason,
        string? Warning,
        [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)] bool Held,
        [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)] bool Stale
    );

    public static Command Build(Terminal terminal, Argument<long> id)
    {
        var format = new Option<string?>("--format") { Description = "text (without being told), csv or jsonl" };
        format.AcceptOnlyFromAmong("text", "csv", "jsonl");
        var command = new Command("log", "Show what an operation did, person by person; who was unchanged is not listed") { id, format };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                var chosen = result.GetValue(format);
                if (result.GetValue(GlobalOptions.Json) && chosen is "text" or "csv")
                {
                    throw new UsageException($"--json and --format {chosen} exclude each other.");
                }

                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var operation = await session.Get<OperationQueue>().GetAsync(district.Id, result.GetRequiredValue(id), cancellationToken);
                if (chosen is "csv" or "jsonl")
                {
                    await session
                        .Get<AuditLog>()
                        .AddAsync(
                            district.Id,
                            session.Actor.Name,
                            "export",
                            $"Log of operation {operation.Id} as {chosen}",
                            cancellationToken
                        );
                }

                var rows = session.Get<OperationLog>().ReadAsync(district.Id, operation.Id, cancellationToken: cancellationToken);
                switch (chosen)
                {
                    case "jsonl":
                        await foreach (var row in rows)
                        {
                            await terminal.Out.WriteLineAsync(JsonText.Line(Of(row)));
                        }

                        break;
                    case null when session.Json:
                        await JsonText.WriteArrayAsync(terminal.Out, rows.Select(Of), cancellationToken);
                        break;
                    case "csv":
                        await WriteCsvAsync(terminal.Out, rows);
                        break;
                    default:
                        await OperationCommands.WriteHeaderAsync(terminal, operation, district);
                        await terminal.Out.WriteLineAsync();
                        await foreach (var row in rows)
                        {
                            await terminal.Out.WriteLineAsync(Terminal.Plain(Sentence(row)));
                        }

                        await terminal.Out.WriteLineAsync();
                        await OperationText.WriteSummaryAsync(terminal.Out, operation);
                        await OperationText.WriteImportReportsAsync(terminal.Out, operation);
                        break;
                }
            }
        );
        return command;
    }

    private static async Task WriteCsvAsync(TextWriter text, IAsyncEnumerable<LogRow> rows)
    {
        await text.WriteLineAsync("number,kind,outcome,guid,name,barcode,site,roleGroup,matchedBy,changes,reason,warning,held,stale");
        await foreach (var row in rows)
        {
            string?[] cells =
            [
                $"{row.Number}",
                row.Kind,
                row.Outcome,
                row.Guid,
                row.Name,
                row.Barcode,
                row.Site,
                row.RoleGroup,
                row.MatchedBy,
                Changes(row, row.Changes),
                row.Reason,
                row.Warning,
                row.Held ? "true" : null,
                row.Stale ? "true" : null,
            ];
            await text.WriteLineAsync(string.Join(',', cells.Select(PatronWords.CsvCell)));
        }
    }

    private static string Sentence(LogRow row)
    {
        var who = string.Join(
            ", ",
            new[]
            {
                row.Name,
                row.Barcode,
                row.Site,
                row.RoleGroup,
                row.MatchedBy is null ? null : $"by {KeyWord(row.MatchedBy)}",
                row.Held ? "HELD" : null,
                row.Stale ? "STALE" : null,
            }.OfType<string>()
        );
        // Of those who are no patron the values are only there to name them.
        var changes = row.Kind == "skip" ? "" : Changes(row, row.Changes);
        return $"{row.Number, 6} {row.Kind, -10} {(who.Length == 0 ? row.Guid : who)}{(changes.Length == 0 ? "" : $": {changes}")}{(row.Reason is null ? "" : $" [{row.Reason}]")}{(row.Warning is null ? "" : $" (warning: {row.Warning})")}";
    }

    /// <summary>Old → new, field by field; of a new patron only what it has.</summary>
    private static string Changes(LogRow row, IReadOnlyList<LogField> changes) =>
        string.Join(
            "; ",
            changes.Select(c =>
                row.Kind is "create" or "review" ? $"{c.Field} {c.New}"
                : row.Kind == "remove" ? $"{c.Field} {c.Old}"
                : $"{c.Field} {c.Old ?? "(empty)"} → {c.New ?? "(empty)"}"
            )
        );

    private static string KeyWord(string key) =>
        key switch
        {
            "guid" => "GUID",
            "studentNumber" => "Student #",
            "email" => "email",
            "reissued" => "a re-issued id",
            _ => key,
        };

    private static Line Of(LogRow row) =>
        new(
            row.Number,
            row.Kind,
            row.Outcome,
            row.Guid,
            row.Name,
            row.Barcode,
            row.Site,
            row.RoleGroup,
            row.MatchedBy,
            row.Changes,
            row.Reason,
            row.Warning,
            row.Held,
            row.Stale
        );
}
