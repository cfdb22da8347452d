using Rollcall.Sandbox;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Commands;

/// <summary>A disk that is full in the middle of a sync. With ROLLCALL_SMALL_DISK=FOLDER, an empty folder on a file system of its own with 150 to
/// 300 MB: mount -t tmpfs -o size=200m tmpfs FOLDER. What every single statement that fails does is in FailureTests, always.</summary>
public sealed class FullDiskTests
{
    private static readonly string s_folder = Environment.GetEnvironmentVariable("ROLLCALL_SMALL_DISK") is { Length: > 0 } folder
        ? folder
        : throw new InvalidOperationException("Set ROLLCALL_SMALL_DISK to an empty folder on a small file system.");

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Theory(Explicit = true)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_sync_that_fills_the_disk_fails_in_words_and_the_next_one_ends_as_if_nothing_had_been(bool onPostgres)
    {
        await using var sandbox = await SandboxServer.StartAsync(new SandboxOptions { Students = 4_000, Schools = 4 });
        await using var calm = await Cli.ConnectedAsync(sandbox);
        await calm.RunAsync("sync");
        var cluster = onPostgres ? await PostgresCluster.OwnAsync(Directory.CreateDirectory(Path.Combine(s_folder, "pg")).FullName) : null;
        try
        {
            await using var rough = await Cli.ConnectedAsync(sandbox, cluster, onPostgres ? null : s_folder);
            var failed = 0;
            foreach (var room in (long[])[500_000, 2_000_000, 6_000_000])
            {
                var filler = Path.Combine(s_folder, "filler");
                await FillAsync(filler, room);
                using (var sync = RealProcess.Start(rough, "sync", "--json"))
                {
                    var ran = await RealProcess.EndAsync(sync);
                    TestContext.Current.TestOutputHelper?.WriteLine($"{room} bytes left: {ran.Code} {ran.Error}");
                    Assert.Contains(ran.Code, (int[])[0, 1, 3]);
                    Assert.DoesNotContain("unexpected", ran.Error, StringComparison.OrdinalIgnoreCase);
                    Assert.DoesNotContain("   at ", ran.Error, StringComparison.Ordinal);
                    failed += ran.Code == 1 ? 1 : 0;
                }

                File.Delete(filler);
                if (cluster is not null)
                {
                    await cluster.RestartAsync("fast", TimeSpan.Zero);
                }

                await rough.OkAsync("db", "check");
            }

            Assert.True(failed > 0);
            Assert.Contains((await rough.RunAsync("sync", "--json")).Code, (int[])[0, 3]);
            Assert.Equal(await PatronsAsync(calm), await PatronsAsync(rough));
        }
        finally
        {
            if (cluster is not null)
            {
                await cluster.DisposeAsync();
            }
        }
    }

    /// <summary>Leaves so much room.</summary>
    private static async Task FillAsync(string path, long room)
    {
        await using var file = File.Create(path);
        var block = new byte[64 * 1024];
        while (new DriveInfo(path).AvailableFreeSpace > room + block.Length)
        {
            await file.WriteAsync(block, Stop);
            await file.FlushAsync(Stop);
        }
    }

    private static async Task<List<string>> PatronsAsync(Cli cli) =>
        [.. (await cli.OkAsync("patron", "export", "--format", "csv")).Out.Split('\n').Order(StringComparer.Ordinal)];
}
