using System.CommandLine;
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
        return new Command("review", "People who wait for a decision") { list };
    }
}
