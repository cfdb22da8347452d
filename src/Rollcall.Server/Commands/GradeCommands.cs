using System.CommandLine;
using Rollcall.Districts;
using Rollcall.Patrons;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall grade</c>: the Grade Table.</summary>
internal static class GradeCommands
{
    private sealed record Table(IReadOnlyList<string> Levels, IReadOnlyList<string> Usual);

    public static Command Build(Terminal terminal) =>
        new("grade", "The Grade Table: the order of the grades, for sorting and filters") { Set(terminal), List(terminal) };

    private static Command Set(Terminal terminal)
    {
        var levels = new Argument<string[]>("levels")
        {
            Description = "All grades, the first first: PK KG 01 02 …",
            HelpName = "GRADE",
            Arity = ArgumentArity.ZeroOrMore,
        };
        var usual = new Option<bool>("--usual") { Description = "Go back to the usual order of schools" };
        var command = new Command("set", "Replace the order. Grades that are left out come after those that are named") { levels, usual };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                var given = (result.GetValue(levels) ?? []).Where(l => Text.Clean(l) is not null).ToArray();
                if (result.GetValue(usual) == given.Length > 0)
                {
                    throw new UsageException("Name the grades in their order, or say --usual.");
                }

                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                await WriteAsync(
                    session,
                    terminal,
                    await session.Get<GradeTable>().SetAsync(district.Id, given, session.Actor.Name, cancellationToken: cancellationToken)
                );
            }
        );
        return command;
    }

    private static Command List(Terminal terminal)
    {
        var command = new Command("list", "Show the order");
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                await WriteAsync(session, terminal, await session.Get<GradeTable>().ListAsync(district.Id, cancellationToken));
            }
        );
        return command;
    }

    private static async Task WriteAsync(Session session, Terminal terminal, IReadOnlyList<string> levels)
    {
        if (session.Json)
        {
            await JsonText.WriteAsync(terminal, new Table(levels, GradeTable.Usual));
            return;
        }

        await terminal.Out.WriteLineAsync(
            levels.Count == 0
                ? "Grades are in the usual order of schools: IT PR PK TK KG K, then by number, PS, UG."
                : $"Grades are in this order: {string.Join(' ', levels)}"
        );
    }
}
