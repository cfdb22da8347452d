using System.CommandLine;
using Rollcall.Districts;
using Rollcall.Operations;
using Rollcall.Sync.Undo;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall operation</c>.</summary>
internal static class OperationCommands
{
    private const int ShownToPeople = 50;

    public static Command Build(Terminal terminal) =>
        new("operation", "Operations Management: syncs, imports and what became of them")
        {
            List(terminal),
            Show(terminal),
            LogCommand.Build(terminal, Id()),
            Approve(terminal),
            Decide(
                terminal,
                "discard",
                "Drop what waits in an operation; what was applied before stays",
                (session, district, id, token) => session.Get<OperationQueue>().DiscardAsync(district.Id, id, session.Actor.Name, token)
            ),
            Undo(terminal),
            Continue(terminal),
            Decide(terminal, "cancel", "Stop an operation that waits or runs; what was applied before stays", CancelAsync),
        };

    private static Argument<long> Id() => new("ID") { Description = "The operation's number, as 'operation list' shows it" };

    private static Command List(Terminal terminal)
    {
        var limit = new Option<int?>("--limit") { Description = "At most so many, the newest first", HelpName = "N" };
        var edits = new Option<bool>("--edits") { Description = "Show edits by hand too" };
        var command = new Command("list", "Show operations, the newest first") { limit, edits };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                if (result.GetValue(limit) is < 1)
                {
                    throw new UsageException("--limit is 1 or more.");
                }

                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var take = result.GetValue(limit) ?? (session.Json ? int.MaxValue : ShownToPeople);
                var operations = await session
                    .Get<OperationQueue>()
                    .ListAsync(district.Id, take, result.GetValue(edits), cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteArrayAsync(terminal, operations.Select(OperationDetails.Of), cancellationToken);
                }
                else if (operations.Count == 0)
                {
                    await terminal.Out.WriteLineAsync("Nothing has been done yet.");
                }
                else
                {
                    terminal.WriteTable(
                        ["No.", "Operation", "Status", "Started", "By", "What came of it"],
                        operations.Select(o => Row(o, district)),
                        0
                    );
                }
            }
        );
        return command;
    }

    private static string?[] Row(Operation operation, District district) =>
        [
            $"{operation.Id}",
            OperationQueue.Title(operation),
            operation.FailedForNow ? "failed for now" : OperationText.Status(operation.Status),
            OperationText.When(operation.StartedAt ?? operation.CreatedAt, district),
            operation.RequestedBy,
            operation.Error ?? (operation.Planned && operation.Kind != OperationKind.Edit ? Totals.Sentence(operation) : ""),
        ];

    private static Command Show(Terminal terminal)
    {
        var id = Id();
        var command = new Command("show", "Show one operation") { id };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var operation = await session.Get<OperationQueue>().GetAsync(district.Id, result.GetRequiredValue(id), cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, OperationDetails.Of(operation));
                }
                else
                {
                    await WriteHeaderAsync(terminal.Out, operation, district);
                    await OperationText.WriteSummaryAsync(terminal.Out, operation);
                    await OperationText.WriteImportReportsAsync(terminal.Out, operation);
                }
            }
        );
        return command;
    }

    /// <summary>Who, when and how it was set up.</summary>
    public static async Task WriteHeaderAsync(TextWriter text, Operation operation, District district)
    {
        await text.WriteLineAsync(
            $"{OperationQueue.Title(operation)}, operation {operation.Id} of {district.Name}: {(operation.FailedForNow ? "failed for now" : OperationText.Status(operation.Status))}"
        );
        await text.WriteLineAsync(
            $"Asked for by {Terminal.Plain(operation.RequestedBy)} at {OperationText.When(operation.CreatedAt, district)} ({district.TimeZone})"
        );
        if (operation.StartedAt is not null)
        {
            var end = operation.FinishedAt is { } finished
                ? $", ended {OperationText.When(finished, district)}{(operation.Worked is { } worked ? $", took {worked.TotalSeconds:0.0} s{(operation.ApprovedAt is null && operation.Attempts == 0 ? "" : " in all")}" : "")}"
                : "";
            await text.WriteLineAsync($"Started {OperationText.When(operation.StartedAt, district)}{end}");
        }

        if (operation.Status == OperationStatus.Running)
        {
            await text.WriteLineAsync(
                $"Now: {operation.StageText} {OperationText.N(operation.Done)}{(operation.Total > 0 ? $" of {OperationText.N(operation.Total)}" : "")}{(Pace.Words(operation.Rate, operation.Done, operation.Total) is { } pace ? $", {pace}" : "")}"
            );
        }

        if (operation.ApprovedBy is not null)
        {
            await text.WriteLineAsync(
                $"Approved by {Terminal.Plain(operation.ApprovedBy)} at {OperationText.When(operation.ApprovedAt, district)}"
            );
        }

        foreach (var line in OperationOptions.Lines(operation))
        {
            await text.WriteLineAsync(Terminal.Plain(line));
        }

        if (operation.Error is not null)
        {
            var lead = operation.Status == OperationStatus.Failed || operation.FailedForNow ? "Failed: " : "";
            await text.WriteLineAsync($"{lead}{Terminal.Plain(operation.Error)}");
        }

        if (operation.FailedForNow)
        {
            await text.WriteLineAsync(
                operation.NotBefore is { } next
                    ? $"Tried again by itself at {OperationText.When(next, district)}; 'rollcall operation continue {operation.Id}' tries at once"
                    : "Tried again by itself as soon as it is its turn"
            );
        }
    }

    private static Command Approve(Terminal terminal) =>
        GoOn(
            terminal,
            "approve",
            "Apply what waits in an operation, here or in the server that runs",
            (session, district, id, token) => session.Get<OperationQueue>().ApproveAsync(district.Id, id, session.Actor, token)
        );

    private static Command Continue(Terminal terminal) =>
        GoOn(
            terminal,
            "continue",
            "Go on with an operation that was interrupted, or waits to be tried again, here or in the server that runs",
            (session, district, id, token) => session.Get<OperationQueue>().HurryAsync(district.Id, id, session.Actor.Name, token)
        );

    /// <summary>A command that lets an operation go on, and follows it to its end.</summary>
    private static Command GoOn(
        Terminal terminal,
        string verb,
        string description,
        Func<Session, District, long, CancellationToken, Task> before
    )
    {
        var id = Id();
        var command = new Command(verb, description) { id };
        command.SetAction(
            (result, cancellationToken) =>
            {
                var number = result.GetRequiredValue(id);
                return OperationRunner.RunAsync(
                    result,
                    terminal,
                    OperationKind.FullSync,
                    async (session, district) =>
                    {
                        await before(session, district, number, cancellationToken);
                        return number;
                    },
                    cancellationToken,
                    known: number
                );
            }
        );
        return command;
    }

    private static Command Undo(Terminal terminal)
    {
        var id = Id();
        var patron = new Option<string?>("--patron")
        {
            Description = "One patron of it alone: a barcode, or guid:ID of the roster",
            HelpName = "BARCODE",
        };
        var command = new Command("undo", "Take an operation back. What something later changed stays, and the log says so") { id, patron };
        command.SetAction(
            (result, cancellationToken) =>
                OperationRunner.RunAsync(
                    result,
                    terminal,
                    OperationKind.Undo,
                    (session, district) =>
                        session
                            .Get<UndoService>()
                            .EnqueueAsync(
                                district.Id,
                                result.GetRequiredValue(id),
                                GlobalOptions.Given(result.GetValue(patron)),
                                session.Actor,
                                cancellationToken: cancellationToken
                            ),
                    cancellationToken
                )
        );
        return command;
    }

    private static Command Decide(
        Terminal terminal,
        string verb,
        string description,
        Func<Session, District, long, CancellationToken, Task> act
    )
    {
        var id = Id();
        var command = new Command(verb, description) { id };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var queue = session.Get<OperationQueue>();
                await act(session, district, result.GetRequiredValue(id), cancellationToken);
                var operation = await queue.GetAsync(district.Id, result.GetRequiredValue(id), cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, OperationDetails.Of(operation));
                }
                else
                {
                    await terminal.Out.WriteLineAsync(
                        operation.Status == OperationStatus.Running
                            ? $"Operation {operation.Id} has been asked to stop."
                            : $"{OperationQueue.Title(operation)}, operation {operation.Id}: {OperationText.Status(operation.Status)}."
                    );
                }
            }
        );
        return command;
    }

    private static Task CancelAsync(Session session, District district, long id, CancellationToken cancellationToken) =>
        session.Get<OperationQueue>().CancelAsync(district.Id, id, session.Actor.Name, cancellationToken);
}
