using Rollcall.Sandbox;
using Rollcall.Server.Commands;

namespace Rollcall.Server.Tests.Commands;

/// <summary>What follows the first sync, by command line: changes, one person, undo, Review, merge, thresholds, schedule, end of year.</summary>
public sealed class EngineStoryTests
{
    [Fact]
    public async Task A_district_lives_on_after_its_first_sync()
    {
        await using var sandbox = await SandboxServer.StartAsync(new SandboxOptions { Students = 60, Schools = 2 });
        await using var cli = await Cli.ConnectedAsync(sandbox);
        await cli.OkAsync("sync");
        sandbox.SetDay(2);
        var changes = await cli.OkAsync("sync", "--changes", "--json");
        Assert.Equal("changes", changes.Json.GetProperty("kind").GetString());
        var undone = await cli.OkAsync("operation", "undo", $"{changes.Number("operation")}", "--json");
        Assert.Equal("undo", undone.Json.GetProperty("kind").GetString());
        await cli.RefusedAsync(1, "undone already", "operation", "undo", $"{changes.Number("operation")}");
        await cli.RefusedAsync(1, "itself an undo", "operation", "undo", $"{undone.Number("operation")}");
        Assert.Contains("was undone", (await cli.OkAsync("classlink", "schedule")).Out, StringComparison.Ordinal);

        var patrons = (await cli.OkAsync("patron", "list", "--json"))
            .Json.EnumerateArray()
            .Select(p => p.GetProperty("barcode").GetString()!)
            .ToList();
        var person = await cli.OkAsync("sync", "--person", patrons[0]);
        Assert.Contains($"By GUID, the patron {patrons[0]}.", person.Out, StringComparison.Ordinal);
        Assert.Equal("person", (await cli.OkAsync("sync", "--person", patrons[0], "--json")).Json.GetProperty("kind").GetString());
        await cli.RefusedAsync(2, "one of --full", "sync", "--full", "--changes");
        var told = await cli.OkAsync("patron", "explain", patrons[0], "--json");
        Assert.Contains(
            told.Json.GetProperty("fields").EnumerateArray(),
            f => f.GetProperty("field").GetString() == "lastName" && f.GetProperty("next").GetString() == "stays"
        );

        await cli.OkAsync("patron", "merge", patrons[0], patrons[1]);
        await cli.RefusedAsync(1, "no patron", "patron", "show", patrons[1]);
        await cli.RefusedAsync(1, "same patron", "patron", "merge", patrons[0], patrons[0]);
        await cli.RefusedAsync(1, "nobody in Review", "review", "ignore", "77");

        await cli.OkAsync("classlink", "schedule", "--daily", "04:00", "--mode", "changes", "--pause", "2126-12-20", "2127-01-06");
        Assert.Contains("04:00", (await cli.OkAsync("classlink", "schedule")).Out, StringComparison.Ordinal);
        Assert.DoesNotContain("Paused", (await cli.OkAsync("classlink", "schedule", "--resume")).Out, StringComparison.Ordinal);
        await cli.RefusedAsync(2, "no time of day", "classlink", "schedule", "--daily", "25:00");
        await cli.RefusedAsync(1, "These days are over", "classlink", "schedule", "--pause", "2020-12-20", "2021-01-06");
        await cli.RefusedAsync(2, "before it begins", "classlink", "schedule", "--pause", "2127-01-06", "2126-12-20");
        var site = (await cli.OkAsync("site", "list", "--json")).Json[0].GetProperty("code").GetString()!;
        Assert.Contains(
            $"transfers at {site} are held from 10 people and above 5 %",
            (await cli.OkAsync("classlink", "threshold", "transfers", "--percent", "5", "--site", site.ToLowerInvariant())).Out,
            StringComparison.Ordinal
        );
        Assert.Contains($"at {site}, transfers", (await cli.OkAsync("classlink", "show")).Out, StringComparison.Ordinal);
        await cli.RefusedAsync(1, "no site", "classlink", "threshold", "transfers", "--percent", "5", "--site", "NOWHERE");

        await cli.OkAsync("patron", "set", patrons[2], "status=Transferred");
        Assert.Equal(
            1,
            (await cli.OkAsync("patron", "set-all", "expiration=2027-06-30", "--status", "Transferred", "--json")).Number("updated")
        );
        await cli.OkAsync("patron", "set", patrons[2], "site=");
        var placeless = (await cli.OkAsync("patron", "list", "--no-site", "--json")).Json.EnumerateArray();
        Assert.Equal(patrons[2], Assert.Single(placeless).GetProperty("barcode").GetString());
        Assert.Equal(1, (await cli.OkAsync("patron", "set-all", "notes=Placeless", "--no-site", "--json")).Number("updated"));
        await cli.RefusedAsync(2, "exclude each other", "patron", "list", "--no-site", "--site", site);
        await cli.RefusedAsync(2, "exclude each other", "patron", "export", "--no-site", "--site", site);
        await cli.RefusedAsync(2, "Look first with --preview", "patron", "remove", "--status", "Transferred");
        await cli.RefusedAsync(2, "Say which patrons", "patron", "remove");
        Assert.Equal(1, (await cli.OkAsync("patron", "remove", "--status", "Transferred", "--yes", "--json")).Number("removed"));
        await cli.RefusedAsync(1, "no patron", "patron", "show", patrons[2]);
        await cli.OkAsync("db", "check");
    }

    [Fact]
    public async Task An_undo_says_that_nothing_runs_by_itself_until_somebody_resumes()
    {
        await using var sandbox = await SandboxServer.StartAsync(new SandboxOptions { Students = 30 });
        await using var cli = await Cli.ConnectedAsync(sandbox);
        var first = await cli.OkAsync("sync", "--json");
        await cli.OkAsync("classlink", "schedule", "--daily", "04:00");
        var undone = await cli.OkAsync("operation", "undo", $"{first.Number("operation")}");
        Assert.Contains("Daily Operations have stopped.", undone.Out, StringComparison.Ordinal);
        Assert.Contains("rollcall classlink schedule --resume", undone.Out, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_file_is_written_where_a_link_leads_and_nothing_takes_the_link_s_place()
    {
        await using var sandbox = await SandboxServer.StartAsync(new SandboxOptions { Students = 5 });
        await using var cli = await Cli.ConnectedAsync(sandbox);
        var target = cli.File("target.csv", "what was here before");
        var link = target + ".link";
        File.CreateSymbolicLink(link, target);
        await cli.OkAsync("patron", "export", "-o", link);
        Assert.Equal(target, new FileInfo(link).LinkTarget);
        Assert.StartsWith("barcode,", await File.ReadAllTextAsync(target, TestContext.Current.CancellationToken), StringComparison.Ordinal);

        // What cannot be written whole leaves there what was there, and a link to nothing yet leads to a new file.
        var before = await File.ReadAllTextAsync(target, TestContext.Current.CancellationToken);
        await Assert.ThrowsAsync<RollcallException>(() =>
            DiskFiles.Instance.WriteAsync(
                link,
                async writer =>
                {
                    await writer.WriteAsync("half of a");
                    await writer.FlushAsync(TestContext.Current.CancellationToken);
                    throw new IOException("No space left on device");
                }
            )
        );
        Assert.Equal(before, await File.ReadAllTextAsync(target, TestContext.Current.CancellationToken));
        Assert.Equal([target, link], Directory.GetFiles(Path.GetDirectoryName(target)!, "target.csv*").Order());
        File.Delete(target);
        await cli.OkAsync("patron", "export", "-o", link);
        Assert.Equal(target, new FileInfo(link).LinkTarget);
        Assert.Equal(before, await File.ReadAllTextAsync(target, TestContext.Current.CancellationToken));
    }
}
