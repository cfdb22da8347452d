using System.CommandLine;
using Rollcall.Districts;
using Rollcall.Operations;
using Rollcall.Review;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall review</c>.</summary>
internal static class ReviewCommands
{
    public static Command Build(Terminal terminal)
    {
        var list = new Command("list", "Show roster people who could not be matched safely");
        list.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var rows = await session.Get<ReviewService>().ListAsync(district.Id, cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteArrayAsync(terminal, rows, cancellationToken);
                }
                else if (rows.Count == 0)
                {
                    await terminal.Out.WriteLineAsync("Nobody waits for Review.");
                }
                else
                {
                    terminal.WriteTable(
                        ["Id", "Name", "Role", "Site", "GUID", "Perhaps", "Why"],
                        rows.Select(r =>
                            (string?[])[$"{r.Id}", r.Name, r.RoleGroup, r.Site, r.Guid, string.Join(", ", r.Candidates), r.Reason]
                        ),
                        0
                    );
                }
            }
        );
        var barcode = new Argument<string>("BARCODE") { Description = "The patron who is this person" };
        return new Command("review", "People who wait for a decision")
        {
            list,
            Decision(
                terminal,
                "link",
                "The person is this patron",
                barcode,
                (session, result, district, id, token) =>
                    session
                        .Get<ReviewDecisions>()
                        .LinkAsync(district.Id, id, result.GetRequiredValue(barcode), session.Actor, cancellationToken: token)
            ),
            Decision(
                terminal,
                "create",
                "The person is none of the patrons: make a new one",
                null,
                (session, _, district, id, token) => session.Get<ReviewDecisions>().CreateAsync(district.Id, id, session.Actor, token)
            ),
            Decision(
                terminal,
                "ignore",
                "Do not sync this person",
                null,
                (session, _, district, id, token) => session.Get<ReviewDecisions>().IgnoreAsync(district.Id, id, session.Actor, token)
            ),
            Reopen(terminal),
        };
    }

    private static Argument<int> Id() => new("ID") { Description = "The number that 'review list' shows" };

    private static Command Decision(
        Terminal terminal,
        string verb,
        string description,
        Argument<string>? barcode,
        Func<Session, ParseResult, District, int, CancellationToken, Task<ReviewDecision>> decide
    )
    {
        var id = Id();
        var command = new Command(verb, description) { id };
        if (barcode is not null)
        {
            command.Add(barcode);
        }

        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var done = await decide(session, result, district, result.GetRequiredValue(id), cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, new Decided(done.OperationId, done.Barcode, done.Message));
                }
                else
                {
                    await terminal.Out.WriteLineAsync(Terminal.Plain($"{done.Message} Operation {done.OperationId}."));
                }
            }
        );
        return command;
    }

    private static Command Reopen(Terminal terminal)
    {
        var id = Id();
        var command = new Command(
            "reopen",
            "Take a decision back: what it wrote is undone, and the person waits again for what the next full sync says"
        )
        {
            id,
        };
        command.SetAction(
            (result, cancellationToken) =>
                OperationRunner.RunAsync(
                    result,
                    terminal,
                    OperationKind.Undo,
                    async (session, district) =>
                        (
                            await session
                                .Get<ReviewDecisions>()
                                .ReopenAsync(district.Id, result.GetRequiredValue(id), session.Actor, cancellationToken)
                        ).OperationId,
                    cancellationToken
                )
        );
        return command;
    }

    private sealed record Decided(long Operation, string? Barcode, string Message);
}
