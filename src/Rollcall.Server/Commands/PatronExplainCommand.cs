using System.CommandLine;
using Rollcall.Sync.Person;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall patron explain</c>.</summary>
internal static class PatronExplainCommand
{
    public static Command Build(Terminal terminal)
    {
        var barcode = new Argument<string>("BARCODE") { Description = "The patron's barcode" };
        var offline = new Option<bool>("--offline") { Description = "Do not ask the roster what it says now" };
        var command = new Command("explain", "Say why each value is as it is, and what the next full sync would do") { barcode, offline };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var told = await session
                    .Get<PatronExplain>()
                    .ExplainAsync(district, result.GetRequiredValue(barcode), !result.GetValue(offline), cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, told);
                    return;
                }

                await terminal.Out.WriteLineAsync(Terminal.Plain($"{told.Name}, {told.Barcode}. {told.Standing}"));
                if (told.RosterProblem is { } problem)
                {
                    await terminal.Out.WriteLineAsync(Terminal.Plain($"The roster now: {problem}"));
                }

                terminal.WriteTable(
                    ["Field", "Value", "Written by", "From the roster's", "Who wins", "The roster says", "Next full sync"],
                    told.Fields.Select(f => (string?[])[$"{f.Label}", f.Value, f.Origin, f.Source, f.Policy, f.RosterSays, f.Next])
                );
            }
        );
        return command;
    }
}
