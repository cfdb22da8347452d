using System.CommandLine;
using System.Globalization;
using Rollcall.Districts;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall policy</c>.</summary>
internal static class PolicyCommands
{
    private sealed record Row(string Code, string Name, int Patrons, int Sites);

    public static Command Build(Terminal terminal) =>
        new("policy", "The policies that new patrons get from their site. They are never synced")
        {
            Set(terminal),
            Remove(terminal),
            List(terminal),
        };

    private static Argument<string> Code() => new("code") { Description = "1 to 4 characters", HelpName = "CODE" };

    private static Command Set(Terminal terminal)
    {
        var code = Code();
        var name = new Option<string?>("--name") { Description = "What people call it", HelpName = "NAME" };
        var command = new Command("set", "Add a policy, or give one another name") { code, name };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var policy = await session
                    .Get<PolicyService>()
                    .SetAsync(
                        district.Id,
                        result.GetRequiredValue(code),
                        result.GetValue(name),
                        session.Actor.Name,
                        onlyNew: false,
                        cancellationToken
                    );
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, Of(policy));
                }
                else
                {
                    await terminal.Out.WriteLineAsync($"Policy {policy.Code} is {policy.Name}.");
                }
            }
        );
        return command;
    }

    private static Command Remove(Terminal terminal)
    {
        var code = Code();
        var command = new Command("remove", "Take a policy away that nobody has") { code };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var given = result.GetRequiredValue(code);
                await session.Get<PolicyService>().RemoveAsync(district.Id, given, session.Actor.Name, cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, new { removed = given });
                }
                else
                {
                    await terminal.Out.WriteLineAsync($"Policy {given} is removed.");
                }
            }
        );
        return command;
    }

    private static Command List(Terminal terminal)
    {
        var command = new Command("list", "Show all policies and who has them");
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var rows = (await session.Get<PolicyService>().ListAsync(district.Id, cancellationToken)).Select(Of).ToList();
                if (session.Json)
                {
                    await JsonText.WriteArrayAsync(terminal, rows, cancellationToken);
                }
                else
                {
                    terminal.WriteTable(
                        ["Code", "Name", "Patrons", "Sites"],
                        rows.Select(r =>
                            (string?[])
                                [
                                    r.Code,
                                    r.Name,
                                    r.Patrons.ToString(CultureInfo.InvariantCulture),
                                    r.Sites.ToString(CultureInfo.InvariantCulture),
                                ]
                        )
                    );
                }
            }
        );
        return command;
    }

    private static Row Of(PolicyUse policy) => new(policy.Code, policy.Name, policy.Patrons, policy.Sites);
}
