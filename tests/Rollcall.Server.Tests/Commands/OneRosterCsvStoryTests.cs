using System.Text.Json;
using Rollcall.Sandbox;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Commands;

/// <summary>CSV packages by the command line alone: written, checked, connected, synced.</summary>
public sealed class OneRosterCsvStoryTests
{
    [Fact]
    public async Task Packages_are_written_checked_connected_and_synced()
    {
        await using var cli = await Cli.OpenAsync(null);
        using var folder = new TempFolder();
        var feed = Path.Combine(folder.Path, "feed");
        string[] sandbox = ["sandbox", "--students", "60", "--schools", "2", "--csv", feed];
        var written = (await cli.OkAsync([.. sandbox, "--day", "0"])).Out;
        Assert.Equal($"Wrote {Path.Combine(feed, "bulk-day-0000.zip")}\n", written);
        await cli.RefusedAsync(2, "There is no fault 'nonsense'", [.. sandbox, "--faults", "nonsense"]);
        await cli.RefusedAsync(2, "no delta of day 0", [.. sandbox, "--delta"]);
        await cli.RefusedAsync(2, "belong to --csv DIR", "sandbox", "--delta");
        Age(feed);

        var report = (await cli.OkAsync("oneroster-csv", "check", feed)).Out;
        foreach (
            var field in (string[])
                [
                    "Test Identifier: bulk-day-0000.zip",
                    "Test Date: ",
                    "Status: Success",
                    "CSV Files Imported: ",
                    "CSV Files Rejected: none",
                    "Comment: ",
                ]
        )
        {
            Assert.Contains(field, report, StringComparison.Ordinal);
        }

        await cli.RefusedAsync(1, "There is no file or folder", "oneroster-csv", "check", Path.Combine(folder.Path, "nowhere"));
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend");
        await cli.RefusedAsync(1, "does not exist", "oneroster-csv", "connect", "--folder", Path.Combine(folder.Path, "nowhere"));
        Assert.Contains(
            "bulk-day-0000.zip is a complete package",
            (await cli.OkAsync("oneroster-csv", "connect", "--folder", feed)).Out,
            StringComparison.Ordinal
        );
        Assert.Equal("OneRoster CSV is on.\n", (await cli.OkAsync("oneroster-csv", "on")).Out);
        Assert.StartsWith("Connected to ", (await cli.OkAsync("oneroster-csv", "test")).Out, StringComparison.Ordinal);
        using var orgs = JsonDocument.Parse((await cli.OkAsync("oneroster-csv", "orgs", "--json")).Out);
        var number = 0;
        foreach (var org in orgs.RootElement.EnumerateArray().Where(o => o.GetProperty("type").GetString() == "school"))
        {
            var code = $"S{++number}";
            await cli.OkAsync("site", "add", code, "--name", code, "--next-barcode", $"{code}0001");
            await cli.OkAsync("oneroster-csv", "match", code, org.GetProperty("sourcedId").GetString()!);
        }

        Assert.Equal(2, number);
        await cli.OkAsync("oneroster-csv", "roles", "student,teacher,admin");
        await cli.OkAsync("oneroster-csv", "readiness");
        await cli.OkAsync("sync", "--preview");
        using var first = JsonDocument.Parse((await cli.OkAsync("sync", "--json")).Out);
        Assert.True(first.RootElement.GetProperty("created").GetInt32() >= 60);

        // The same feed again is not read again.
        using var again = JsonDocument.Parse((await cli.OkAsync("sync", "--json")).Out);
        Assert.Equal(0, again.RootElement.GetProperty("read").GetInt32());

        SandboxCsv.Write(new SandboxOptions { Students = 60, Schools = 2 }, 1, new SandboxCsvOptions { Faults = ["short-row"] }, feed);
        Age(feed, "bulk-day-0001.zip");
        var ran = await cli.RunAsync("oneroster-csv", "check", feed, "--json");
        Assert.Equal(1, ran.Code);
        Assert.Equal("", ran.Error);
        using var reports = JsonDocument.Parse(ran.Out);
        var bad = reports.RootElement.EnumerateArray().Last();
        Assert.Equal("bulk-day-0001.zip", bad.GetProperty("testIdentifier").GetString());
        Assert.Equal("Fail", bad.GetProperty("status").GetString());
        Assert.Contains("users.csv: a row has", bad.GetProperty("comment").GetString(), StringComparison.Ordinal);
        Assert.Empty(bad.GetProperty("csvFilesImported").EnumerateArray());
        await cli.RefusedAsync(1, "The package bulk-day-0001.zip is refused: users.csv: a row has", "sync");
    }

    private static void Age(string feed, string? name = null)
    {
        foreach (var file in Directory.EnumerateFiles(feed).Where(f => name is null || Path.GetFileName(f) == name))
        {
            File.SetLastWriteTimeUtc(file, TimeProvider.System.GetUtcNow().UtcDateTime.AddMinutes(name is null ? -60 : -30));
        }
    }
}
