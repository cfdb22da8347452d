using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Microsoft.Data.Sqlite;
using Rollcall.Audit;
using Rollcall.Storage;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall db</c>.</summary>
internal static class DatabaseCommands
{
    private sealed record Compacted(long Bytes);

    private sealed record Migrated(IReadOnlyList<string> Applied);

    private sealed record RestoredBackup(
        BackupContent Backup,
        string? Kept,
        IReadOnlyList<UnfinishedOperation> Unfinished,
        long SessionsEnded,
        long Tokens,
        IReadOnlyList<string> Problems
    );

    private sealed record Rehearsed(BackupContent Backup, double Seconds, IReadOnlyList<string> Problems);

    /// <param name="KeyFile">Where the master key is.</param>
    /// <param name="Lost">What cannot be read with it.</param>
    private sealed record Adopted(string KeyFile, IReadOnlyList<string> Lost);

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
        var compact = new Command("compact", "Rebuild SQLite's file: what was deleted leaves no trace in it, and room is given back");
        compact.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var database = session.Get<RollcallDatabase>();
                if (database.IsPostgres)
                {
                    throw new RollcallException("PostgreSQL looks after its files by itself: there is nothing to do.");
                }

                if (await database.ClearRemainsAsync(cancellationToken) is { } problem)
                {
                    throw new RollcallException($"The file could not be rebuilt: {problem} Make room, or try again when less is going on.");
                }

                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, new Compacted(new FileInfo(database.FilePath!).Length));
                }
                else
                {
                    await terminal.Out.WriteLineAsync(
                        $"{database.FilePath} is rebuilt: {new FileInfo(database.FilePath!).Length:#,0} bytes."
                    );
                }
            }
        );
        return new Command("db", "The database")
        {
            migrate,
            check,
            compact,
            BackUp(terminal),
            Restore(terminal),
            Rehearse(terminal),
            AdoptKey(terminal),
        };
    }

    private static Command AdoptKey(Terminal terminal)
    {
        var yes = new Option<bool>("--yes") { Description = "Do it; without, say what cannot be read any more" };
        var command = new Command(
            "adopt-key",
            "Go on with another master key, where the one of this database is lost. Stop the servers first"
        )
        {
            yes,
        };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var ring = session.Get<KeyRing>();
                if (ring.Fits())
                {
                    throw new RollcallException($"The master key in {ring.KeyFile} fits this database: there is nothing to do.");
                }

                var lost = await new DatabaseCheck(session.Get<RollcallDatabase>(), session.Get<Secrets>()).UnreadableAsync(
                    cancellationToken
                );
                if (!result.GetValue(yes))
                {
                    var what = lost.Count == 0 ? "nothing" : string.Join("; ", lost);
                    throw new RollcallException(
                        ring.IsMissing
                            ? $"The master key {ring.KeyFile} is missing. These cannot be read without it and have to be set up again: {what}. Nothing was changed; --yes makes another one there."
                            : $"These cannot be read with the master key in {ring.KeyFile} and have to be set up again: {what}. Nothing was changed; --yes goes on with that key."
                    );
                }

                using var alone = await AloneAsync(session.Get<RollcallDatabase>(), cancellationToken);
                ring.Adopt();
                await session
                    .Get<AuditLog>()
                    .AddAsync(0, session.Actor.Name, "master key", "Another master key is adopted", cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, new Adopted(ring.KeyFile, lost));
                    return;
                }

                await terminal.Out.WriteLineAsync($"The master key in {ring.KeyFile} is this database's from now on. Keep a copy of it.");
                await terminal.Out.WriteLineAsync(lost.Count == 0 ? "Nothing has to be set up again." : "To be set up again:");
                foreach (var what in lost)
                {
                    await terminal.Out.WriteLineAsync($"  {Terminal.Plain(what)}");
                }
            }
        );
        return command;
    }

    /// <summary>A server that runs goes on with the key that it has read: what it stores after this, nobody could read who has the other one.</summary>
    /// <exception cref="RollcallException">Another process works on the database. One that runs may have the key that is thought lost.</exception>
    private static async Task<FileLock?> AloneAsync(RollcallDatabase database, CancellationToken cancellationToken)
    {
        const string then = "If it runs with the original key file, that is not lost: copy it. If not, stop every server, then adopt.";
        if (!database.IsPostgres)
        {
            return FileLock.TryAcquire(Path.Combine(database.DataFolder, Operations.OperationWorker.LockFile))
                ?? throw new RollcallException($"Another rollcall process works on the data folder {database.DataFolder}. {then}");
        }

        await using var connection = await database.OpenAsync(cancellationToken);
        return await Backup.OtherProcessAsync(connection, cancellationToken) is { } other
            ? throw new RollcallException($"{other} is connected to this database. {then}")
            : null;
    }

    private static Command BackUp(Terminal terminal)
    {
        var file = new Argument<string>("FILE") { Description = "Where to; must not exist" };
        var command = new Command("backup", "Write everything but the master key to one file, while the server goes on working") { file };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var content = await session.Get<Backup>().WriteAsync(result.GetRequiredValue(file), cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, content);
                    return;
                }

                await terminal.Out.WriteLineAsync($"Written: {content.File}, {InWords(content)}.");
                await terminal.Out.WriteLineAsync(
                    "It holds personal data: keep it as safe as the database. The master key is not in it; keep that elsewhere: "
                        + (
                            GlobalOptions.Given(Environment.GetEnvironmentVariable("ROLLCALL_KEY_FILE"))
                            ?? Path.Combine(session.Get<RollcallDatabase>().DataFolder, "master.key")
                        )
                );
            }
        );
        return command;
    }

    private static Command Restore(Terminal terminal)
    {
        var file = new Argument<string>("FILE") { Description = "A file that 'rollcall db backup' wrote, on either database" };
        var yes = new Option<bool>("--yes")
        {
            Description = "Replace the districts that are here; a backup of them is kept in the data folder",
        };
        var command = new Command("restore", "Put a backup in the place of the database. Stop the server first") { file, yes };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                RestoreResult restore;
                bool json;
                await using (var session = Session.OpenUnchecked(result, terminal))
                {
                    json = session.Json;
                    restore = await DatabaseCheck.GuardAsync(
                        session.Get<RollcallDatabase>(),
                        () => session.Get<Backup>().RestoreAsync(result.GetRequiredValue(file), result.GetValue(yes), cancellationToken)
                    );
                }

                // Opened anew: what this process had read of the old database is not to answer for the new one.
                await using var restored = Session.OpenUnchecked(result, terminal);

                // Without its key a backup brings back the rest: the key that is here counts, and the other one once it is put back.
                restored.Get<KeyRing>().Adopt();
                var problems = await ProblemsAsync(restored, cancellationToken);
                if (json)
                {
                    await JsonText.WriteAsync(
                        terminal,
                        new RestoredBackup(
                            restore.Content,
                            restore.Kept,
                            restore.Unfinished,
                            restore.SessionsEnded,
                            restore.Tokens,
                            problems
                        )
                    );
                    return;
                }

                await terminal.Out.WriteLineAsync($"Restored: {InWords(restore.Content)}.");
                foreach (var line in Consequences(restore))
                {
                    await terminal.Out.WriteLineAsync(Terminal.Plain(line));
                }

                await WriteProblemsAsync(terminal, problems);
            }
        );
        return command;
    }

    private static Command Rehearse(Terminal terminal)
    {
        var file = new Argument<string>("FILE") { Description = "A file that 'rollcall db backup' wrote" };
        var command = new Command("rehearse", "Restore a backup into a folder of its own, check it there, and throw it away") { file };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                var options = GlobalOptions.Read(result, terminal);
                using var here = new RollcallDatabase(options.Storage);
                using var rehearsed = here.BeginRehearsal();

                var started = Stopwatch.GetTimestamp();

                // Its secrets are tried with the master key of this installation, as a real restore would need it.
                await using var rehearsal = Session.Of(
                    result,
                    options with
                    {
                        Storage = new StorageOptions(rehearsed.Folder),
                        KeyFolder = here.DataFolder,
                    }
                );
                var content = (
                    await rehearsal.Get<Backup>().RestoreAsync(result.GetRequiredValue(file), replace: false, cancellationToken)
                ).Content;
                var problems = await ProblemsAsync(rehearsal, cancellationToken);
                var seconds = Math.Round(Stopwatch.GetElapsedTime(started).TotalSeconds, 1);
                if (rehearsal.Json)
                {
                    await JsonText.WriteAsync(terminal, new Rehearsed(content, seconds, problems));
                }
                else
                {
                    await terminal.Out.WriteLineAsync(
                        $"It can be restored: {InWords(content)}. That took {seconds.ToString(CultureInfo.InvariantCulture)} seconds; nothing here was touched."
                    );
                    await WriteProblemsAsync(terminal, problems);
                }

                return problems.Count == 0 ? ExitCode.Done : ExitCode.Failed;
            }
        );
        return command;
    }

    private static async Task<IReadOnlyList<string>> ProblemsAsync(Session session, CancellationToken cancellationToken) =>
        [
            .. (await new DatabaseCheck(session.Get<RollcallDatabase>(), session.Get<Secrets>()).RunAsync(cancellationToken)).SelectMany(
                f => f.Problems
            ),
        ];

    private static async Task WriteProblemsAsync(Terminal terminal, IReadOnlyList<string> problems)
    {
        await terminal.Out.WriteLineAsync(problems.Count == 0 ? "Everything in it checks out." : "What to look at:");
        foreach (var problem in problems)
        {
            await terminal.Out.WriteLineAsync($"  {Terminal.Plain(problem)}");
        }
    }

    /// <summary>What is not as it was a moment ago, or not as it was when the backup was taken.</summary>
    private static IEnumerable<string> Consequences(RestoreResult restore)
    {
        if (restore.Kept is { } kept)
        {
            yield return $"What was here is kept in {kept}.";
        }

        foreach (var left in restore.Unfinished)
        {
            yield return $"Operation {left.Operation} of {left.District}, {left.Title}, {(left.Begun ? "was at work and goes on" : "waits and begins")} when a server starts; 'rollcall operation cancel {left.Operation} --district {left.District}' drops it.";
        }

        if (restore.SessionsEnded > 0)
        {
            yield return "Everybody signs in anew: sign-ins of the time before the backup are not taken over, nor are links that had been sent.";
        }

        if (restore.Tokens > 0)
        {
            yield return $"{Many(restore.Tokens, "access token")} of the backup can be used again; revoke what had been revoked since: 'rollcall token list'.";
        }
    }

    private static string Many(long count, string one) =>
        string.Create(CultureInfo.InvariantCulture, $"{count:#,0} {one}{(count == 1 ? "" : "s")}");

    private static string InWords(BackupContent content)
    {
        var newest = content.LatestAt is { } at
            ? string.Create(CultureInfo.InvariantCulture, $", the newest of {at:yyyy-MM-dd HH:mm} UTC")
            : "";
        return $"{Many(content.Districts, "district")}, {Many(content.Patrons, "patron")}, {Many(content.Operations, "operation")}{newest}";
    }
}
