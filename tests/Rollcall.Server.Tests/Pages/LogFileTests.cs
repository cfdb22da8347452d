using System.Net.Http.Headers;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Server.Commands;
using Rollcall.SignIn;

namespace Rollcall.Server.Tests.Pages;

/// <summary>The log of an operation as a file: the same from a page, from the API and on the command line.</summary>
public sealed class LogFileTests(SyncedLibrary library) : IClassFixture<SyncedLibrary>
{
    [Fact]
    public async Task A_log_for_a_spreadsheet_runs_no_formula()
    {
        using var visitor = new Visitor(library.Url);
        var first = (await library.Service<OperationQueue>().ListAsync(library.District.Id))[^1];
        var csv = (await visitor.GetAsync($"/operations/{first.Id}/download?format=csv")).Body;
        var guarded = SyncedLibrary.Formula.Replace("\"", "\"\"", StringComparison.Ordinal);
        Assert.Contains($"\"'{guarded}", csv, StringComparison.Ordinal);
        Assert.DoesNotMatch("(^|[,\"\n])[=+@]", csv);
    }

    [Fact]
    public async Task A_log_says_who_approved_it_how_it_was_set_up_and_who_was_left_out()
    {
        using var visitor = new Visitor(library.Url);
        library.Sandbox.Overrides.RemoveShare(library.Sandbox.District.Schools.First().SourcedId, 0.5);
        var held = await library.SyncAsync();
        Assert.Equal(OperationStatus.NeedsApproval, held.Status);
        var rows = new List<LogRow>();
        await foreach (var row in library.Service<OperationLog>().ReadAsync(library.District.Id, held.Id))
        {
            rows.Add(row);
        }

        var gone = rows.Where(r => r.Held).ToList();

        // One of them is changed by hand before the approval: the row is stale then.
        await library.Service<PatronService>().EditAsync(library.District.Id, gone[0].Barcode!, [new("status", "Inactive")], "test");
        await visitor.SubmitAsync($"/operations/{held.Id}", $"/operations/{held.Id}?handler=Approve");
        var ended = await library.EndOfAsync(held.Id);
        var address = $"/operations/{held.Id}/download?format=";

        var text = (await visitor.GetAsync($"{address}text")).Body;
        Assert.Contains("Approved by operator@library.example at ", text, StringComparison.Ordinal);
        Assert.Contains($"Tenant: {library.Sandbox.Options.TenantId}", text, StringComparison.Ordinal);
        Assert.Contains("Roles: student", text, StringComparison.Ordinal);
        Assert.Contains("Mapping: Barcode: ", text, StringComparison.Ordinal);
        Assert.Contains("STALE", text, StringComparison.Ordinal);
        Assert.Contains($"{OperationQueue.CountsOf(ended).Transferred} transferred", text, StringComparison.Ordinal);

        var csv = (await visitor.GetAsync($"{address}csv")).Body.TrimStart('\uFEFF');
        var lines = csv.Split("\r\n", StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(
            "number,kind,outcome,guid,name,barcode,site,roleGroup,matchedBy,changes,reason,warning,held,stale,notWritten",
            lines[0]
        );
        Assert.Equal(rows.Count + 1, lines.Length);
        Assert.Single(lines, l => l.EndsWith(",true,true,", StringComparison.Ordinal));
        Assert.Equal(
            gone.Count,
            lines.Count(l => l.Contains(",student,", StringComparison.Ordinal) && l.Contains(",true", StringComparison.Ordinal))
        );

        var json = (await visitor.GetAsync($"{address}jsonl")).Body.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Single(json, l => l.Contains("\"stale\":true", StringComparison.Ordinal));
        Assert.DoesNotContain(json, l => l.Contains("patronId", StringComparison.Ordinal));

        // The API and the command line give the same lines.
        var (_, token) = await library
            .Service<AccessTokens>()
            .CreateAsync(
                library.District,
                "log",
                SecurityGroup.LibraryAdministrator,
                TokenScopes.OperationsRead,
                TimeSpan.FromDays(1),
                "test"
            );
        using var http = new HttpClient { BaseAddress = library.Url };
        http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
        Assert.Equal(csv, (await http.GetStringAsync($"/api/v1/operations/{held.Id}/log.csv")).TrimStart('\uFEFF'));
        Assert.Equal(
            json,
            (await http.GetStringAsync($"/api/v1/operations/{held.Id}/log.jsonl")).Split('\n', StringSplitOptions.RemoveEmptyEntries)
        );

        // Who is absent is transferred, in the filter as in the total.
        var after = await visitor.PageAsync($"/operations/{held.Id}?outcome=transferred");
        Assert.Contains($"{gone.Count} lines", after, StringComparison.Ordinal);
        library.Sandbox.Overrides.Clear();
    }
}
