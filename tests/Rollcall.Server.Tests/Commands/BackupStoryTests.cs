using Rollcall.Sandbox;
using Rollcall.Storage;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Commands;

/// <summary>A technician backs up, rehearses, loses the machine, and restores elsewhere.</summary>
public sealed class BackupStoryTests(PostgresCluster cluster)
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_backup_is_rehearsed_and_restored_where_the_key_is_missing_and_says_so()
    {
        await using var sandbox = await SandboxServer.StartAsync(new SandboxOptions { Students = 40, Schools = 2 });
        await using var cli = await Cli.ConnectedAsync(sandbox);
        await cli.OkAsync("sync");
        using var folder = new TempFolder();
        var file = Path.Combine(folder.Path, "rollcall.bak");
        var said = await cli.OkAsync("db", "backup", file);
        Assert.Contains("master key is not in it", said.Out, StringComparison.Ordinal);
        await cli.RefusedAsync(1, "exists already", "db", "backup", file);
        var rehearsed = (await cli.OkAsync("db", "rehearse", file, "--json")).Json;
        Assert.Equal(0, rehearsed.GetProperty("problems").GetArrayLength());
        var patrons = rehearsed.GetProperty("backup").GetProperty("patrons").GetInt64();
        Assert.Equal(patrons, (await cli.OkAsync("patron", "list", "--json")).Json.GetArrayLength());

        await cli.RefusedAsync(1, "--yes", "db", "restore", file);
        await cli.OkAsync("site", "set", "S1", "--name", "Renamed");
        var restored = (await cli.OkAsync("db", "restore", file, "--yes", "--json")).Json;
        Assert.Equal(0, restored.GetProperty("problems").GetArrayLength());
        Assert.True(File.Exists(restored.GetProperty("kept").GetString()));
        Assert.DoesNotContain("Renamed", (await cli.OkAsync("site", "list")).Out, StringComparison.Ordinal);
        Assert.Equal(0, (await cli.OkAsync("sync", "--json")).Number("created"));

        // A rehearsal names the key that a restore would need, not a place that is gone by the time that somebody looks, and makes none.
        await using var elsewhere = await Cli.OpenAsync();
        var key = Path.Combine(elsewhere.Data, "master.key");
        await TellsKeyAsync(", which is missing");
        Assert.False(File.Exists(key));
        await elsewhere.OkAsync("district", "add", "LAKE", "--name", "Lake");
        await elsewhere.OkAsync("operator", "partner-key", "--file", elsewhere.File("partner", "planted-partner-key"));
        await TellsKeyAsync("does not open");
        File.Delete(key);
        foreach (var left in Directory.GetFiles(elsewhere.Data, "rollcall.db*"))
        {
            File.Delete(left);
        }

        var there = await elsewhere.OkAsync("db", "restore", file);
        Assert.Contains("ROLLCALL_KEY_FILE", there.Out, StringComparison.Ordinal);
        Assert.Equal(patrons, (await elsewhere.OkAsync("patron", "list", "--json")).Json.GetArrayLength());
        await elsewhere.RefusedAsync(1, "master key", "sync");

        await cli.RefusedAsync(1, "no file", "db", "rehearse", Path.Combine(folder.Path, "none"));
        await cli.RefusedAsync(1, "no backup", "db", "restore", cli.File("text.bak", "hello"), "--yes");

        async Task TellsKeyAsync(string how)
        {
            var ran = await elsewhere.RunAsync("db", "rehearse", file, "--json");
            Assert.Equal(1, ran.Code);
            var problems = ran.Json.GetProperty("problems").EnumerateArray().Select(p => p.GetString()!).ToList();
            Assert.Contains(problems, p => p.Contains(key, StringComparison.Ordinal) && p.Contains(how, StringComparison.Ordinal));
            Assert.DoesNotContain(problems, p => p.Contains("rollcall-rehearsal-", StringComparison.Ordinal));
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_sync_that_a_backup_caught_half_way_ends_elsewhere_as_it_ended_at_home(bool onPostgres)
    {
        var postgres = onPostgres ? cluster : null;
        await using var sandbox = await SandboxServer.StartAsync(new SandboxOptions { Students = 600, Schools = 2 });
        await using var home = await Cli.ConnectedAsync(sandbox, postgres);
        using var folder = new TempFolder();
        string Copy(string moment) => Path.Combine(folder.Path, $"{moment}.bak");

        // Its process is held still while the backup is taken: once while it reads, once when some of its slices are written.
        using var process = RealProcess.Start(home, "sync", "--json");
        var told = RealProcess.EndAsync(process);
        foreach (var (moment, so) in ((string, string)[])[("read", "stage = 1"), ("applied", "applied_to > 0")])
        {
            // Looked at while it is held: a moment later it could have written the rest.
            await RealProcess.SignalAsync(process, "STOP");
            while (await NumberAsync(home, $"SELECT count(*) FROM operations WHERE status = 1 AND {so}") == 0)
            {
                await RealProcess.SignalAsync(process, "CONT");
                Assert.False(process.HasExited, "The sync was faster than this test");
                await Task.Delay(2, Stop);
                await RealProcess.SignalAsync(process, "STOP");
            }

            await home.OkAsync("db", "backup", Copy(moment));
            await RealProcess.SignalAsync(process, "CONT");
        }

        var ended = await told;
        Assert.True(ended.Code == 0, ended.Error);
        var id = ended.Number("operation");
        var atHome = await PatronsAsync(home);
        foreach (var moment in (string[])["read", "applied"])
        {
            await using var elsewhere = await Cli.OpenAsync(postgres);
            if (onPostgres)
            {
                await elsewhere.OkAsync("db", "migrate");
            }

            File.Copy(Path.Combine(home.Data, "master.key"), Path.Combine(elsewhere.Data, "master.key"));
            var restored = await elsewhere.OkAsync("db", "restore", Copy(moment));
            Assert.Contains(
                $"Operation {id} of RIVER, ClassLink Full Sync, was at work and goes on",
                restored.Out,
                StringComparison.Ordinal
            );
            await elsewhere.OkAsync("db", "check");
            var before = (await elsewhere.OkAsync("operation", "show", $"{id}", "--json")).Json;
            Assert.Equal("running", before.GetProperty("status").GetString());
            Assert.InRange(await NumberAsync(elsewhere, "SELECT count(*) FROM patrons"), moment == "read" ? 0 : 1, atHome.Count - 3);

            // Nobody but the next sync is there to take it up: one that was still reading is that sync.
            var next = await elsewhere.OkAsync("sync", "--json");
            Assert.Equal(moment == "read", next.Number("operation") == id);
            Assert.Equal(moment == "read" ? ended.Number("created") : 0, next.Number("created"));
            Assert.Equal(atHome, await PatronsAsync(elsewhere));
            var after = await elsewhere.OkAsync("operation", "show", $"{id}", "--json");
            foreach (var total in (string[])["read", "created", "skipped", "review"])
            {
                Assert.Equal(ended.Number(total), after.Number(total));
            }

            if (moment == "read")
            {
                continue;
            }

            await home.OkAsync("db", "rehearse", Copy(moment));
            sandbox.SetDay(3);
            await home.OkAsync("sync");
            await elsewhere.OkAsync("sync");
            Assert.Equal(await PatronsAsync(home), await PatronsAsync(elsewhere));
            await elsewhere.OkAsync("db", "check");
            if (onPostgres)
            {
                // An idle node is a node too.
                var (server, _) = await RealProcess.ServeAsync(elsewhere);
                try
                {
                    await elsewhere.RefusedAsync(1, "Stop every node", "db", "restore", Copy(moment), "--yes");
                }
                finally
                {
                    await RealProcess.SignalAsync(server, "TERM");
                    await server.WaitForExitAsync(Stop);
                    server.Dispose();
                }

                await elsewhere.OkAsync("db", "restore", Copy(moment), "--yes");
            }
        }
    }

    private static async Task<List<string>> PatronsAsync(Cli cli) =>
        [.. (await cli.OkAsync("patron", "export", "--format", "csv")).Out.Split('\n').Order(StringComparer.Ordinal)];

    private static async Task<long> NumberAsync(Cli cli, string sql)
    {
        await using var database = new RollcallDatabase(new StorageOptions(cli.Data, cli.Database));
        await using var connection = await database.OpenAsync(Stop);
        return await Sql.ScalarAsync(connection, null, sql, Stop);
    }
}
