using System.CommandLine;
using Rollcall.Audit;
using Rollcall.Operations;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall operation log</c>.</summary>
internal static class LogCommand
{
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
                await session
                    .Get<AuditLog>()
                    .AddAsync(
                        district.Id,
                        session.Actor.Name,
                        "export",
                        $"Log of operation {operation.Id} as {chosen ?? (session.Json ? "json" : "text")}",
                        cancellationToken
                    );

                var rows = session.Get<OperationLog>().ReadAsync(district.Id, operation.Id, cancellationToken: cancellationToken);
                await (
                    chosen is null && session.Json
                        ? JsonText.WriteArrayAsync(terminal.Out, rows.Select(LogWriter.Of), cancellationToken)
                        : LogWriter.WriteAsync(terminal.Out, chosen ?? "text", operation, district, rows)
                );
            }
        );
        return command;
    }
}
