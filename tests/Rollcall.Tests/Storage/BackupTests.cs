using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.SignIn;
using Rollcall.Storage;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Storage;

/// <summary>Backups hold everything, go from either database to either, and are refused rather than half restored.</summary>
public sealed class BackupTests(PostgresCluster cluster)
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    /// <summary>Every row of every table of the model, as text.</summary>
    private static async Task<Dictionary<string, List<string>>> DumpAsync(RollcallDatabase database)
    {
        var dump = new Dictionary<string, List<string>>(StringComparer.Ordinal);
        await using var context = database.CreateContext();
        foreach (var entity in context.Model.GetEntityTypes().Where(e => !e.IsOwned()))
        {
            var set =
                (IQueryable<object>)
                    typeof(DbContext).GetMethod(nameof(DbContext.Set), [])!.MakeGenericMethod(entity.ClrType).Invoke(context, null)!;
            var rows = new List<string>();
            await foreach (var row in set.AsNoTracking().AsAsyncEnumerable().WithCancellation(Stop))
            {
                rows.Add(
                    JsonSerializer.Serialize(
                        entity
                            .GetProperties()
                            .Where(p => !p.IsShadowProperty())
                            .OrderBy(p => p.Name, StringComparer.Ordinal)
                            .Select(p => p.PropertyInfo!.GetValue(row)?.ToString())
                    )
                );
            }

            rows.Sort(StringComparer.Ordinal);
            dump[entity.GetTableName()!] = rows;
        }

        return dump;
    }

    [Theory]
    [InlineData(Db.Sqlite, Db.Sqlite)]
    [InlineData(Db.Sqlite, Db.Postgres)]
    [InlineData(Db.Postgres, Db.Sqlite)]
    [InlineData(Db.Postgres, Db.Postgres)]
    public async Task A_backup_restores_everything_and_the_next_sync_is_right(Db from, Db to)
    {
        using var folder = new TempFolder();
        var file = Path.Combine(folder.Path, "district.bak");
        await using var system = await Installation.StartAsync(cluster, from);
        await system.SyncAsync();
        var written = await system.Get<Backup>().WriteAsync(file, Stop);
        Assert.Equal(1, written.Districts);
        Assert.True(written.Patrons > 100);
        if (!OperatingSystem.IsWindows())
        {
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file));
        }

        Assert.Equal([file], Directory.GetFiles(folder.Path));
        await using var other = await Installation.StartAsync(cluster, to, connect: false);
        var given = await GiveOutAsync(30);
        await using (var context = other.Database.CreateContext())
        {
            await context.Operations.ExecuteDeleteAsync(Stop);
        }

        var refused = await Assert.ThrowsAsync<RollcallException>(() => other.Get<Backup>().RestoreAsync(file, replace: false, Stop));
        Assert.Contains("--yes", refused.Message, StringComparison.Ordinal);
        var restored = await other.Get<Backup>().RestoreAsync(file, replace: true, Stop);
        Assert.Equal(written, restored.Content);
        Assert.Empty(restored.Unfinished);
        Assert.Equal(await DumpAsync(system.Database), await DumpAsync(other.Database));
        Assert.Equal(0, (await Backup.InspectAsync(restored.Kept!, Stop)).Patrons);

        // Numbers go on far beyond those of the backup and those that were given out here: what a worker has, who was stopped before the restore and
        // goes on after it, is nobody else's.
        var before = (await other.Queue.ListAsync(system.District.Id, cancellationToken: Stop)).Max(o => o.Id);
        Assert.True(before < given);
        var next = await GiveOutAsync(1);
        Assert.InRange(next, given + 1000, given + 10_000);
        Assert.Equal(next + 1, await GiveOutAsync(1));

        async Task<long> GiveOutAsync(int count)
        {
            long last = 0;
            for (var i = 0; i < count; i++)
            {
                (last, _) = await other.Queue.EnqueueAsync(
                    system.District.Id,
                    OperationKind.Export,
                    null,
                    false,
                    "test",
                    cancellationToken: Stop
                );
            }

            return last;
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_backup_taken_during_a_sync_is_whole_and_the_sync_goes_on_in_it(Db db)
    {
        using var folder = new TempFolder();
        await using var system = await Installation.StartAsync(cluster, db);
        var (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            false,
            "test",
            cancellationToken: Stop
        );
        var files = new List<string>();
        var busy = false;
        var run = system.Follower.RunAsync(
            system.District.Id,
            id,
            (stage, _, _, _) =>
            {
                busy |= stage == OperationStage.Applying;
            },
            Stop
        );
        while (!run.IsCompleted)
        {
            var file = Path.Combine(folder.Path, $"{files.Count}.bak");
            await system.Get<Backup>().WriteAsync(file, Stop);
            files.Add(file);
        }

        await run;
        Assert.True(busy);
        var undisturbed = (await system.AllPatronsAsync()).Select(p => (p.Barcode, p.Guid, p.LastName)).Order().ToList();
        foreach (var file in (string[])[files[0], files[files.Count / 2], files[^1]])
        {
            using var there = new TempFolder();
            await using var restored = new RollcallDatabase(new StorageOptions(there.Path));
            await new Backup(restored, TimeProvider.System).RestoreAsync(file, replace: false, Stop);
            await using var context = restored.CreateContext();
            var operation = await context.Operations.SingleAsync(o => o.Id == id, Stop);

            // What a slice wrote and how far it says it is are of the same moment.
            var applied = await context.Changes.CountAsync(c => c.OperationId == id && c.Number <= operation.AppliedTo, Stop);
            Assert.Equal(
                operation.AppliedTo == 0
                    ? 0
                    : applied
                        - await context.Changes.CountAsync(
                            c => c.OperationId == id && c.Number <= operation.AppliedTo && c.Kind != ChangeKind.Create,
                            Stop
                        ),
                await context.Patrons.CountAsync(Stop)
            );
            Assert.Subset(
                undisturbed.Select(p => p.Guid).ToHashSet(),
                (await context.Patrons.Select(p => p.Guid).ToListAsync(Stop)).ToHashSet()
            );
        }
    }

    [Fact]
    public async Task A_restore_lets_nobody_in_who_was_shut_out_since_and_tells_what_goes_on()
    {
        using var folder = new TempFolder();
        var file = Path.Combine(folder.Path, "district.bak");
        await using var system = await Installation.StartAsync(cluster, Db.Sqlite, connect: false);
        var later = TimeProvider.System.GetUtcNow().AddDays(9);
        await using (var context = system.Database.CreateContext())
        {
            context.SignInSessions.Add(
                new SignInSession
                {
                    Id = "s",
                    AccountId = 1,
                    ExpiresAt = later,
                }
            );
            context.OneTimeLinks.Add(new OneTimeLink { Id = "l", ExpiresAt = later });
            context.PendingSignIns.Add(new PendingSignIn { Id = "p", ExpiresAt = later });
            context.AccessTokens.AddRange(
                new AccessToken
                {
                    Name = "good",
                    Hash = "g",
                    ExpiresAt = later,
                },
                new AccessToken
                {
                    Name = "revoked",
                    Hash = "r",
                    ExpiresAt = later,
                    RevokedAt = later,
                },
                new AccessToken
                {
                    Name = "over",
                    Hash = "o",
                    ExpiresAt = TimeProvider.System.GetUtcNow().AddDays(-1),
                }
            );
            await context.SaveChangesAsync(Stop);
        }

        async Task<long> AskAsync(OperationKind kind) =>
            (
                await system.Queue.EnqueueAsync(system.District.Id, kind, IntegrationKind.ClassLink, false, "test", cancellationToken: Stop)
            ).Id;
        var running = await AskAsync(OperationKind.FullSync);
        var waiting = await AskAsync(OperationKind.ChangesSync);
        await system.Queue.ClaimAsync("one", running, aloneHere: true, Stop);
        await system.Get<Backup>().WriteAsync(file, Stop);
        await using var other = await Installation.StartAsync(cluster, Db.Postgres, connect: false);
        var restored = await other.Get<Backup>().RestoreAsync(file, replace: true, Stop);
        Assert.Equal(
            [new(running, "RIVER", "ClassLink Full Sync", true), new(waiting, "RIVER", "ClassLink Changes Sync", false)],
            restored.Unfinished
        );
        Assert.Equal((1, 1), (restored.SessionsEnded, restored.Tokens));
        await using var there = other.Database.CreateContext();
        Assert.Empty(await there.SignInSessions.ToListAsync(Stop));
        Assert.Empty(await there.OneTimeLinks.ToListAsync(Stop));
        Assert.Empty(await there.PendingSignIns.ToListAsync(Stop));
        Assert.Equal(3, await there.AccessTokens.CountAsync(Stop));
        Assert.Equal(running, (await other.Queue.ClaimAsync("two", null, aloneHere: false, Stop))!.Id);
    }

    [Theory]
    [InlineData("header")]
    [InlineData("pages")]
    [InlineData("newer")]
    public async Task A_file_that_cannot_be_used_any_more_is_kept_as_it_is_and_replaced(string trouble)
    {
        using var folder = new TempFolder();
        var file = Path.Combine(folder.Path, "district.bak");
        await using var system = await Installation.StartAsync(cluster, Db.Sqlite);
        await system.SyncAsync();
        await system.Get<Backup>().WriteAsync(file, Stop);
        var before = await DumpAsync(system.Database);
        var path = system.Database.FilePath!;
        await using (var connection = await system.Database.OpenAsync(Stop))
        {
            await Sql.ExecuteAsync(
                connection,
                null,
                trouble == "newer" ? "INSERT INTO \"__EFMigrationsHistory\" VALUES ('29990101000000_Later', '99')" : "SELECT 1",
                Stop
            );
            await Sql.ExecuteAsync(connection, null, "PRAGMA wal_checkpoint(TRUNCATE)", Stop);
        }

        Microsoft.Data.Sqlite.SqliteConnection.ClearAllPools();
        var bytes = await File.ReadAllBytesAsync(path, Stop);
        if (trouble == "header")
        {
            Array.Fill(bytes, (byte)0x5A, 0, 4096);
        }
        else if (trouble == "pages")
        {
            Array.Fill(bytes, (byte)0x5A, 8192, bytes.Length - 8192);
        }

        await File.WriteAllBytesAsync(path, bytes, Stop);
        var backup = system.Get<Backup>();
        var refused = await Assert.ThrowsAsync<RollcallException>(() => backup.RestoreAsync(file, replace: false, Stop));
        Assert.Contains("--yes", refused.Message, StringComparison.Ordinal);
        Assert.Equal(bytes, await File.ReadAllBytesAsync(path, Stop));

        // Whenever the process might be killed, there is a file in the database's place: a server that starts would make an empty one.
        var clock = new Looking(path);
        var restored = await new Backup(system.Database, clock).RestoreAsync(file, replace: true, Stop);
        Assert.True(clock.Looks > 1);
        Assert.Equal(0, clock.Missing);
        Assert.Equal(before, await DumpAsync(system.Database));
        Assert.Equal(bytes, await File.ReadAllBytesAsync(restored.Kept!, Stop));
        Assert.StartsWith("rollcall-before-restore-", Path.GetFileName(restored.Kept), StringComparison.Ordinal);
        if (!OperatingSystem.IsWindows())
        {
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(restored.Kept!));
        }
    }

    /// <summary>Looks for a file each time that somebody asks what time it is.</summary>
    private sealed class Looking(string file) : TimeProvider
    {
        public int Looks { get; private set; }
        public int Missing { get; private set; }

        public override DateTimeOffset GetUtcNow()
        {
            Looks++;
            Missing += File.Exists(file) ? 0 : 1;
            return base.GetUtcNow();
        }
    }

    [Fact]
    public async Task A_restore_beside_somebody_who_reads_is_refused_and_nothing_is_lost()
    {
        using var folder = new TempFolder();
        var file = Path.Combine(folder.Path, "district.bak");
        await using var system = await Installation.StartAsync(cluster, Db.Sqlite, connect: false);
        await system.Get<Backup>().WriteAsync(file, Stop);
        await using (var reader = await system.Database.OpenAsync(Stop))
        {
            await using var reading = ((Microsoft.Data.Sqlite.SqliteConnection)reader).BeginTransaction(deferred: true);
            await using var look = reader.CreateCommand();
            look.Transaction = reading;
            look.CommandText = "SELECT COUNT(*) FROM districts";
            await look.ExecuteScalarAsync(Stop);
            await system.ImportAsync("barcode,lastName\nLATER1,Later\n");
            var refused = await Assert.ThrowsAsync<RollcallException>(() => system.Get<Backup>().RestoreAsync(file, replace: true, Stop));
            Assert.Contains("still reads", refused.Message, StringComparison.Ordinal);
        }

        Assert.Equal("Later", (await system.Patrons.GetAsync(system.District.Id, "LATER1", Stop)).Patron.LastName);
        await system.Get<Backup>().RestoreAsync(file, replace: true, Stop);
        Assert.Empty(await system.AllPatronsAsync());
    }

    [Theory]
    [InlineData("circulation desk")]
    [InlineData("rollcall desk")]
    public async Task A_node_whose_connection_has_a_name_of_its_own_is_seen_by_a_restore(string name)
    {
        using var folder = new TempFolder();
        var file = Path.Combine(folder.Path, "district.bak");
        await using var system = await Installation.StartAsync(cluster, Db.Postgres, connect: false);
        await system.Get<Backup>().WriteAsync(file, Stop);
        await using var node = Installation.Open(
            folder.Path,
            $"{system.Database.ConnectionString};Application Name={name}",
            system,
            TimeProvider.System
        );
        await node.AllPatronsAsync();
        var refused = await Assert.ThrowsAsync<RollcallException>(() => system.Get<Backup>().RestoreAsync(file, replace: true, Stop));
        Assert.Contains($"{RollcallDatabase.ApplicationName} {name}", refused.Message, StringComparison.Ordinal);
        Assert.Contains("Stop every node", refused.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Copies_of_the_database_are_named_wherever_in_the_data_folder_and_those_of_killed_processes_go(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, connect: false);
        var data = system.Database.DataFolder;
        Assert.Empty(system.Database.CopiesInDataFolder());
        await system.Get<Backup>().WriteAsync(Path.Combine(data, "before-summer.bak"), Stop);
        Directory.CreateDirectory(Path.Combine(data, "old"));
        File.Copy(Path.Combine(data, "before-summer.bak"), Path.Combine(data, "old", "x"));
        await File.WriteAllTextAsync(Path.Combine(data, "notes.db"), "no database", Stop);
        const string kept = "rollcall-before-restore-20260101-000000.db";
        await File.WriteAllTextAsync(Path.Combine(data, kept), "set aside because it is damaged", Stop);
        var killed = $"rollcall-restore-{Guid.NewGuid():N}.db";
        var draft = $"night.bak.{Guid.NewGuid():N}.part";
        var now = $"now.bak.{Guid.NewGuid():N}.part";
        foreach (var name in (string[])[killed, draft, now])
        {
            File.Copy(Path.Combine(data, "before-summer.bak"), Path.Combine(data, name));
        }

        foreach (var name in (string[])[killed, draft])
        {
            File.SetLastWriteTimeUtc(Path.Combine(data, name), TimeProvider.System.GetUtcNow().UtcDateTime.AddHours(-2));
        }

        await File.WriteAllTextAsync(Path.Combine(data, killed + "-journal"), "x", Stop);
        var rehearsal = Path.Combine("rollcall-rehearsal-killed", "rollcall.db");
        Directory.CreateDirectory(Path.Combine(data, "rollcall-rehearsal-killed"));
        File.Copy(Path.Combine(data, "before-summer.bak"), Path.Combine(data, rehearsal));
        await File.WriteAllTextAsync(Path.Combine(data, "rollcall-rehearsal-killed", "master.key"), "secret", Stop);
        Assert.Equal(
            new[] { "before-summer.bak", kept, killed, draft, now, Path.Combine("old", "x"), rehearsal }.Order(StringComparer.Ordinal),
            system.Database.CopiesInDataFolder()
        );

        // Whoever becomes the worker clears what is nobody's any more; a backup that is being written goes on.
        using (system.Get<OperationWorker>().TryBecomeWorker()) { }

        Assert.Equal(
            new[] { "before-summer.bak", kept, now, Path.Combine("old", "x") }.Order(StringComparer.Ordinal),
            system.Database.CopiesInDataFolder()
        );
        Assert.False(File.Exists(Path.Combine(data, killed + "-journal")));
        Assert.Empty(Directory.GetDirectories(data, "rollcall-rehearsal-*"));

        // One that is under way goes on.
        using (var under = system.Database.BeginRehearsal())
        {
            await File.WriteAllTextAsync(Path.Combine(under.Folder, "x"), "x", Stop);
            using (system.Get<OperationWorker>().TryBecomeWorker()) { }

            Assert.True(File.Exists(Path.Combine(under.Folder, "x")));
            Assert.Contains(
                "Another process",
                Assert.Throws<RollcallException>(system.Database.BeginRehearsal).Message,
                StringComparison.Ordinal
            );
        }

        Assert.Empty(Directory.GetDirectories(data, "rollcall-rehearsal-*"));
    }

    [Fact]
    public async Task What_is_no_backup_is_refused_and_nothing_is_touched()
    {
        using var folder = new TempFolder();
        await using var system = await Installation.StartAsync(cluster, Db.Sqlite);
        await system.SyncAsync();
        var good = Path.Combine(folder.Path, "good.bak");
        var backup = system.Get<Backup>();
        var killed = $"{good}.{Guid.NewGuid():N}.part";
        var younger = $"{good}.{Guid.NewGuid():N}.part";
        foreach (var draft in (string[])[killed, younger])
        {
            await File.WriteAllTextAsync(draft, "what a killed backup left", Stop);
        }

        File.SetLastWriteTimeUtc(killed, TimeProvider.System.GetUtcNow().UtcDateTime.AddHours(-2));
        await backup.WriteAsync(good, Stop);
        Assert.False(File.Exists(killed));
        File.Delete(younger);
        await RefusedAsync("exists already", () => backup.WriteAsync(good, Stop));
        await RefusedAsync("cannot be written", () => backup.WriteAsync(Path.Combine(folder.Path, "no", "such.bak"), Stop));

        var text = Path.Combine(folder.Path, "text.bak");
        await File.WriteAllTextAsync(text, "barcode,lastName\n1,A\n", Stop);
        var cut = Path.Combine(folder.Path, "cut.bak");
        var bytes = await File.ReadAllBytesAsync(good, Stop);
        await File.WriteAllBytesAsync(cut, bytes[..(bytes.Length / 2)], Stop);
        var spoilt = Path.Combine(folder.Path, "spoilt.bak");
        var hurt = bytes.ToArray();
        Array.Fill(hurt, (byte)0x5A, bytes.Length / 2, 8192);
        await File.WriteAllBytesAsync(spoilt, hurt, Stop);
        var newer = Path.Combine(folder.Path, "newer.bak");
        File.Copy(good, newer);
        await using (var future = new RollcallDatabase(new StorageOptions(Path.Combine(folder.Path, "future"))))
        {
            File.Copy(good, future.FilePath!);
            await using var connection = await future.OpenAsync(Stop);
            await Sql.ExecuteAsync(
                connection,
                null,
                "INSERT INTO \"__EFMigrationsHistory\" VALUES ('29990101000000_Later', '99'); PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode=DELETE",
                Stop
            );
            File.Copy(future.FilePath!, newer, overwrite: true);
        }

        var before = await DumpAsync(system.Database);
        await RefusedAsync("no file", () => backup.RestoreAsync(Path.Combine(folder.Path, "missing.bak"), true, Stop));
        await RefusedAsync("no backup", () => backup.RestoreAsync(text, true, Stop));
        await RefusedAsync("cut.bak", () => backup.RestoreAsync(cut, true, Stop));
        await RefusedAsync("spoilt.bak", () => backup.RestoreAsync(spoilt, true, Stop));
        await RefusedAsync("newer version", () => backup.RestoreAsync(newer, true, Stop));
        using (system.Get<OperationWorker>().TryBecomeWorker())
        {
            await RefusedAsync("Stop the server", () => backup.RestoreAsync(good, true, Stop));
        }

        Assert.Equal(before, await DumpAsync(system.Database));
        Assert.DoesNotContain(Directory.GetFiles(system.Database.DataFolder), f => f.Contains("restore", StringComparison.Ordinal));
        Assert.DoesNotContain(Directory.GetFiles(folder.Path), f => f.EndsWith(".part", StringComparison.Ordinal));

        static async Task RefusedAsync(string says, Func<Task> act) =>
            Assert.Contains(says, (await Assert.ThrowsAsync<RollcallException>(act)).Message, StringComparison.Ordinal);
    }
}
