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

        // What was found in the package stands with the operation that read it.
        var id = first.RootElement.GetProperty("operation").GetRawText();
        foreach (var verb in (string[])["show", "log"])
        {
            var shown = (await cli.OkAsync("operation", verb, id)).Out;
            Assert.Contains("\n\nTest Identifier: bulk-day-0000.zip\nTest Date: ", shown, StringComparison.Ordinal);
            Assert.Contains("\nStatus: Success\nCSV Files Imported: ", shown, StringComparison.Ordinal);
            Assert.Contains("\nCSV Files Rejected: none\nComment: ", shown, StringComparison.Ordinal);
        }

        var details = (await cli.OkAsync("operation", "show", id, "--json")).Json;
        var imported = Assert.Single(details.GetProperty("importReports").EnumerateArray());
        Assert.Equal("bulk-day-0000.zip", imported.GetProperty("testIdentifier").GetString());
        Assert.Contains("users.csv", imported.GetProperty("csvFilesImported").EnumerateArray().Select(f => f.GetString()));
        Assert.False(details.GetProperty("options").TryGetProperty("imported", out _));

        // Support looks at the folder as at a server.
        var probe = (await cli.OkAsync("oneroster-csv", "probe", "--json")).Json;
        Assert.Equal("1.1", probe.GetProperty("version").GetString());
        Assert.True(probe.GetProperty("people").GetProperty("members").GetInt64() >= 60);
        Assert.Equal("Success", Assert.Single(probe.GetProperty("log").EnumerateArray()).GetProperty("status").GetString());
        var log = cli.File("log.csv", "");
        var examined = (await cli.OkAsync("oneroster-csv", "probe", "--log", log)).Out;
        Assert.All(examined.Split('\n'), line => Assert.True(line.Length <= 80 || !line.Contains(' ', StringComparison.Ordinal), line));
        Assert.Contains("Tests: 1 of 1 as specified", examined, StringComparison.Ordinal);
        Assert.DoesNotContain("Headers of paging", examined, StringComparison.Ordinal);
        Assert.StartsWith(
            "Test Identifier,Test Date,Status,CSV Files Imported,CSV Files Rejected,Comment\r\nbulk-day-0000.zip,",
            await File.ReadAllTextAsync(log, TestContext.Current.CancellationToken),
            StringComparison.Ordinal
        );

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
        await cli.RefusedAsync(1, "The package 'bulk-day-0001.zip' is refused: users.csv: a row has", "sync");

        // Whoever has to have it mended finds all that is wrong with it at the sync that failed.
        var failed = (await cli.OkAsync("operation", "list", "--json")).Json.EnumerateArray().First();
        Assert.Equal("failed", failed.GetProperty("status").GetString());
        Assert.Contains(
            "\n\nTest Identifier: bulk-day-0001.zip\n",
            (await cli.OkAsync("operation", "show", failed.GetProperty("operation").GetRawText())).Out,
            StringComparison.Ordinal
        );
        var doubtful = (await cli.OkAsync("oneroster-csv", "probe")).Out;
        Assert.Contains("PROBLEM  users.csv: a row has", doubtful, StringComparison.Ordinal);
        Assert.Contains("Tests: 0 of 1 as specified", doubtful, StringComparison.Ordinal);
        Assert.DoesNotContain("People:", doubtful, StringComparison.Ordinal);
    }

    private static void Age(string feed, string? name = null)
    {
        foreach (var file in Directory.EnumerateFiles(feed).Where(f => name is null || Path.GetFileName(f) == name))
        {
            File.SetLastWriteTimeUtc(file, TimeProvider.System.GetUtcNow().UtcDateTime.AddMinutes(name is null ? -60 : -30));
        }
    }
}
