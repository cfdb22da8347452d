using Rollcall.Sandbox;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Commands;

/// <summary>A technician backs up, rehearses, loses the machine, and restores elsewhere.</summary>
public sealed class BackupStoryTests
{
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

        await using var elsewhere = await Cli.OpenAsync();
        var there = await elsewhere.OkAsync("db", "restore", file);
        Assert.Contains("ROLLCALL_KEY_FILE", there.Out, StringComparison.Ordinal);
        Assert.Equal(patrons, (await elsewhere.OkAsync("patron", "list", "--json")).Json.GetArrayLength());
        await elsewhere.RefusedAsync(1, "master key", "sync");

        await cli.RefusedAsync(1, "no file", "db", "rehearse", Path.Combine(folder.Path, "none"));
        await cli.RefusedAsync(1, "no backup", "db", "restore", cli.File("text.bak", "hello"), "--yes");
    }
}
