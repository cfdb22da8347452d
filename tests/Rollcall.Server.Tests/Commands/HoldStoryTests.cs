using Rollcall.Sandbox;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Commands;

/// <summary>Days pass, a school half vanishes, somebody decides.</summary>
public sealed class HoldStoryTests(PostgresCluster postgres)
{
    private static readonly string[] s_names =
    [
        "operation",
        "kind",
        "status",
        "read",
        "created",
        "updated",
        "unchanged",
        "transferred",
        "absent",
        "reactivated",
        "skipped",
        "review",
        "held",
        "linked",
        "warnings",
        "seconds",
        "error",
    ];

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_mass_departure_waits_and_is_discarded_or_approved(bool onPostgres)
    {
        await using var sandbox = await SandboxServer.StartAsync(new SandboxOptions { Students = 120, Schools = 2 });
        await using var cli = await Cli.ConnectedAsync(sandbox, onPostgres ? postgres : null);
        var first = await cli.OkAsync("sync", "--json");
        Assert.Equal(s_names, first.Json.EnumerateObject().Select(p => p.Name));
        Assert.Equal(["guid", "studentNumber", "barcode", "email"], first.Json.GetProperty("linked").EnumerateObject().Select(p => p.Name));

        Assert.NotEmpty(sandbox.Overrides.RemoveShare(sandbox.District.Schools.First().SourcedId, 0.5));
        var held = await cli.RunAsync("sync", "--json");
        Assert.Equal(3, held.Code);
        Assert.Equal("needs-approval", held.Word("status"));

        // One of them may be of another site, where one alone is no reason to wait.
        var (waiting, gone) = (held.Number("held"), held.Number("absent"));
        Assert.InRange(waiting, 10, gone);
        Assert.Equal(gone - waiting, (await cli.OkAsync("patron", "list", "--status", "Transferred", "--json")).Json.GetArrayLength());

        var text = await cli.OkAsync("operation", "show", $"{held.Number("operation")}");
        Assert.Contains("rollcall operation approve", text.Out, StringComparison.Ordinal);
        Assert.DoesNotContain("{", text.Out, StringComparison.Ordinal);
        Assert.Contains($"{waiting} held (to be transferred, no longer in the roster).", text.Out, StringComparison.Ordinal);
        await cli.OkAsync("operation", "discard", $"{held.Number("operation")}");
        await cli.RefusedAsync(1, "is discarded", "operation", "approve", $"{held.Number("operation")}");
        var refused = await cli.RunAsync("operation", "approve", $"{held.Number("operation")}", "--json");
        Assert.Equal(
            (held.Number("operation"), "discarded", true),
            (refused.Number("operation"), refused.Word("status"), refused.Word("error")!.Contains("is discarded", StringComparison.Ordinal))
        );

        held = await cli.RunAsync("sync");
        Assert.Equal(3, held.Code);
        var id = (await cli.OkAsync("operation", "list", "--json", "--limit", "1")).Json[0].GetProperty("operation").GetInt64();
        var approved = await cli.OkAsync("operation", "approve", $"{id}", "--json");
        Assert.Equal(waiting, approved.Number("transferred"));
        Assert.Equal(0, approved.Number("held"));
        Assert.Equal(gone, (await cli.OkAsync("patron", "list", "--status", "transferred", "--json")).Json.GetArrayLength());

        // Whoever is active again though the roster does not have them is told of, and found.
        var left = (await cli.OkAsync("patron", "list", "--gone", "--json")).Json;
        Assert.Equal(gone, left.GetArrayLength());
        var one = left[0].GetProperty("barcode").GetString()!;
        await cli.OkAsync("patron", "set", one, "status=Active");
        Assert.Contains("Active and no longer in the roster", (await cli.OkAsync("sync")).Out, StringComparison.Ordinal);
        Assert.Equal(
            one,
            (await cli.OkAsync("patron", "list", "--gone", "--status", "Active", "--json")).Json[0].GetProperty("barcode").GetString()
        );
        Assert.DoesNotContain("warning", (await cli.OkAsync("patron", "set", one, "communityId=77")).Error, StringComparison.Ordinal);
        var other = left[1].GetProperty("barcode").GetString()!;
        var told = await cli.RunAsync("patron", "set", other, "communityId=77");
        Assert.Equal(0, told.Code);
        Assert.Contains("warning: Student # 77 is another patron's, too.", told.Error, StringComparison.Ordinal);
        await cli.OkAsync("patron", "set", one, "status=Transferred");

        sandbox.Overrides.Clear();
        Assert.Equal(gone, (await cli.OkAsync("sync", "--json")).Number("reactivated"));
        await cli.OkAsync("db", "check");
    }

    [Fact]
    public async Task A_log_is_the_same_in_every_format()
    {
        await using var sandbox = await SandboxServer.StartAsync(new SandboxOptions { Students = 40, Schools = 2 });
        await using var cli = await Cli.ConnectedAsync(sandbox);
        var preview = await cli.OkAsync("sync", "--preview", "--json");
        Assert.Equal("preview", preview.Word("status"));
        Assert.Equal("[]\n", (await cli.OkAsync("patron", "list", "--json")).Out);
        await cli.OkAsync("operation", "approve", $"{preview.Number("operation")}");

        var id = $"{preview.Number("operation")}";
        var rows = (await cli.OkAsync("operation", "log", id, "--json")).Json.EnumerateArray().ToList();
        Assert.Equal(preview.Number("created"), rows.Count(r => r.GetProperty("outcome").GetString() == "created"));
        string[] names = ["number", "kind", "outcome", "guid", "name", "barcode", "site", "matchedBy", "changes", "reason", "warning"];
        Assert.Empty(names.Except(rows[0].EnumerateObject().Select(p => p.Name)));
        Assert.Equal(["field", "old", "new"], rows[0].GetProperty("changes")[0].EnumerateObject().Select(p => p.Name));
        Assert.Equal(rows.Count, (await cli.OkAsync("operation", "log", id, "--format", "jsonl")).Out.TrimEnd().Split('\n').Length);
        Assert.Equal(rows.Count + 1, (await cli.OkAsync("operation", "log", id, "--format", "csv")).Out.TrimEnd().Split('\n').Length);
        var text = (await cli.OkAsync("operation", "log", id)).Out;
        foreach (var row in rows)
        {
            Assert.Contains(row.GetProperty("name").GetString()!, text, StringComparison.Ordinal);
        }

        await cli.RefusedAsync(2, "exclude each other", "operation", "log", id, "--json", "--format", "csv");

        // Whichever way the names went out, the audit says so.
        await using var connection = new Microsoft.Data.Sqlite.SqliteConnection(
            $"Data Source={Path.Combine(cli.Data, "rollcall.db")};Mode=ReadOnly;Pooling=False"
        );
        await connection.OpenAsync();
        await using var command = connection.CreateCommand();
        command.CommandText = "SELECT details FROM audit_entries WHERE action = 'export' ORDER BY id";
        await using var reader = await command.ExecuteReaderAsync();
        List<string> noted = [];
        while (await reader.ReadAsync())
        {
            noted.Add(reader.GetString(0));
        }

        Assert.Equal(((string[])["json", "jsonl", "csv", "text"]).Select(f => $"Log of operation {id} as {f}"), noted);
    }
}
