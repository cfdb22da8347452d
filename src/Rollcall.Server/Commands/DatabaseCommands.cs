using System.CommandLine;
using Rollcall.Storage;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall db</c>.</summary>
internal static class DatabaseCommands
{
    private sealed record Migrated(IReadOnlyList<string> Applied);

    private sealed record Checked(bool Ok, IReadOnlyList<DatabaseFinding> Checks);

    public static Command Build(Terminal terminal)
    {
        var migrate = new Command("migrate", "Bring the database to this version. SQLite does so by itself at every start");
        migrate.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = Session.OpenUnchecked(result, terminal);
                var database = session.Get<RollcallDatabase>();
                var applied = await DatabaseCheck.GuardAsync(database, () => database.MigrateAsync(cancellationToken));
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, new Migrated(applied));
                }
                else
                {
                    await terminal.Out.WriteLineAsync(
                        applied.Count == 0
                            ? "The database is up to date."
                            : $"The database is brought up to date: {string.Join(", ", applied)}."
                    );
                }
            }
        );
        var check = new Command("check", "Look for damage in the database");
        check.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = Session.OpenUnchecked(result, terminal);
                var findings = await new DatabaseCheck(session.Get<RollcallDatabase>(), session.Get<Secrets>()).RunAsync(cancellationToken);
                var ok = findings.All(f => f.Problems.Count == 0);
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, new Checked(ok, findings));
                    return ok ? ExitCode.Done : ExitCode.Failed;
                }

                foreach (var finding in findings)
                {
                    await terminal.Out.WriteLineAsync($"{(finding.Problems.Count == 0 ? "ok     " : "PROBLEM")}  {finding.Check}");
                    foreach (var problem in finding.Problems)
                    {
                        await terminal.Out.WriteLineAsync($"         {Terminal.Plain(problem)}");
                    }
                }

                if (!ok)
                {
                    await CommandLine.WriteErrorAsync(
                        terminal,
                        findings.Sum(f => f.Problems.Count) is var count && count == 1
                            ? "1 problem was found."
                            : $"{count} problems were found."
                    );
                }

                return ok ? ExitCode.Done : ExitCode.Failed;
            }
        );
        return new Command("db", "The database") { migrate, check };
    }
}
