using System.CommandLine;
using Rollcall.Operations;
using Rollcall.Retention;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall retention</c>.</summary>
internal static class RetentionCommands
{
    private sealed record Kept(int LogDays, int AuditDays, int SignInDays);

    public static Command Build(Terminal terminal) =>
        new("retention", "How long logs, audit and sign-ins are kept. Patrons are never removed by themselves")
        {
            Set(terminal),
            Show(terminal),
            Run(terminal),
        };

    private static Command Set(Terminal terminal)
    {
        var log = Days("--log-days", "Logs of operations, 30 to 3660. What they say of patrons who are here stays as history");
        var audit = Days("--audit-days", "The audit, 365 to 36600");
        var signIns = Days("--sign-in-days", "Sign-ins in the audit, 7 to 3660");
        var command = new Command("set", "Change how long; what is left out stays") { log, audit, signIns };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                if (result.GetValue(log) is null && result.GetValue(audit) is null && result.GetValue(signIns) is null)
                {
                    throw new UsageException("Say what to change: --log-days, --audit-days, --sign-in-days.");
                }

                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                await WriteAsync(
                    session,
                    terminal,
                    await session
                        .Get<RetentionService>()
                        .SetAsync(
                            district.Id,
                            result.GetValue(log),
                            result.GetValue(audit),
                            result.GetValue(signIns),
                            session.Actor.Name,
                            cancellationToken
                        )
                );
            }
        );
        return command;
    }

    private static Command Show(Terminal terminal)
    {
        var command = new Command("show", "Show how long");
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                await WriteAsync(session, terminal, await session.Get<RetentionService>().FindAsync(district.Id, cancellationToken));
            }
        );
        return command;
    }

    private static Command Run(Terminal terminal)
    {
        var command = new Command("run", "Remove now what is older. The server does so every night");
        command.SetAction(
            (result, cancellationToken) =>
                OperationRunner.RunAsync(
                    result,
                    terminal,
                    OperationKind.Retention,
                    (session, district) => session.Get<RetentionService>().EnqueueAsync(district.Id, session.Actor.Name, cancellationToken),
                    cancellationToken
                )
        );
        return command;
    }

    private static Option<int?> Days(string name, string description) => new(name) { Description = description, HelpName = "N" };

    private static async Task WriteAsync(Session session, Terminal terminal, RetentionSetting setting)
    {
        if (session.Json)
        {
            await JsonText.WriteAsync(terminal, new Kept(setting.LogDays, setting.AuditDays, setting.SignInDays));
            return;
        }

        terminal.WritePairs([
            ("Logs", $"{setting.LogDays} days"),
            ("Audit", $"{setting.AuditDays} days"),
            ("Sign-ins", $"{setting.SignInDays} days"),
        ]);
    }
}
