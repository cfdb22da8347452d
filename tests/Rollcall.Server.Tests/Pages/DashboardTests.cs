using System.Net;
using System.Text;
using System.Text.RegularExpressions;
using Microsoft.EntityFrameworkCore;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;
using Rollcall.Storage;

namespace Rollcall.Server.Tests.Pages;

/// <summary>The dashboard, and how it and the queue keep up with what goes on.</summary>
public sealed partial class DashboardTests(SyncedLibrary library) : IClassFixture<SyncedLibrary>
{
    [Theory]
    [InlineData("/")]
    [InlineData("/operations")]
    [InlineData("/operations?type=Undo")]
    [InlineData("/operations?page=2")]
    public async Task A_page_is_not_told_again_and_again_of_what_it_does_not_show(string path)
    {
        var waiting = await AddAsync(
            new Operation
            {
                Kind = OperationKind.Import,
                Status = OperationStatus.Waiting,
                NotBefore = TimeProvider.System.GetUtcNow().AddHours(1),
            }
        );
        try
        {
            using var visitor = new Visitor(library.Url);
            var stream = WebUtility.HtmlDecode(Connect().Match(await visitor.PageAsync(path)).Groups[1].Value);
            Assert.Contains($"{waiting}-", stream, StringComparison.Ordinal);

            // The first look tells of the operation: what the page does not know would be told with it.
            Assert.DoesNotContain("settled", await FirstAsync(stream, waiting), StringComparison.Ordinal);

            // One that has ended since the page was made is told of.
            Assert.Contains(
                "settled",
                await FirstAsync(stream.Replace("open=", "open=9999-1,", StringComparison.Ordinal), waiting),
                StringComparison.Ordinal
            );
        }
        finally
        {
            await RemoveAsync(waiting);
        }
    }

    [Fact]
    public async Task A_live_page_is_told_of_its_own_district_however_much_waits_in_others()
    {
        var later = TimeProvider.System.GetUtcNow().AddHours(1);
        var crowd = await library.Service<Rollcall.Districts.DistrictService>().AddAsync("CROWD", "Crowd", null, "test");
        await using (var context = library.Service<RollcallDatabase>().CreateContext())
        {
            context.Operations.AddRange(
                Enumerable
                    .Range(0, 1001)
                    .Select(_ => new Operation
                    {
                        DistrictId = crowd.Id,
                        Kind = OperationKind.Import,
                        Status = OperationStatus.Waiting,
                        NotBefore = later,
                        CreatedAt = later,
                        RequestedBy = "test",
                        Settled = true,
                    })
            );
            await context.SaveChangesAsync();
        }

        var waiting = await AddAsync(
            new Operation
            {
                Kind = OperationKind.Import,
                Status = OperationStatus.Waiting,
                NotBefore = later,
            }
        );
        try
        {
            using var visitor = new Visitor(library.Url);
            var stream = WebUtility.HtmlDecode(Connect().Match(await visitor.PageAsync("/operations?district=DEMO")).Groups[1].Value);
            Assert.DoesNotContain("settled", await FirstAsync(stream, waiting), StringComparison.Ordinal);
        }
        finally
        {
            await RemoveAsync(waiting);
            await using var context = library.Service<RollcallDatabase>().CreateContext();
            await context.Operations.Where(o => o.DistrictId == crowd.Id).ExecuteDeleteAsync();
        }
    }

    [Fact]
    public async Task A_sync_whose_clocks_disagree_is_listed()
    {
        var now = TimeProvider.System.GetUtcNow();
        var odd = await AddAsync(
            new Operation
            {
                Kind = OperationKind.FullSync,
                Status = OperationStatus.Completed,
                StartedAt = now,
                FinishedAt = now.AddSeconds(-1),
            }
        );
        try
        {
            using var visitor = new Visitor(library.Url);
            Assert.Contains($"#{odd}<", await visitor.PageAsync("/"), StringComparison.Ordinal);
        }
        finally
        {
            await RemoveAsync(odd);
        }
    }

    [Fact]
    public async Task What_a_hold_keeps_back_is_not_counted_as_done()
    {
        using var visitor = new Visitor(library.Url);
        var before = await LeaversAsync();
        var gone = library.Sandbox.Overrides.RemoveShare(library.Sandbox.District.Schools.First().SourcedId, 0.5);
        try
        {
            for (var night = 0; night < 2; night++)
            {
                Assert.Equal(OperationStatus.NeedsApproval, (await library.SyncAsync()).Status);
                Assert.Equal(before, await LeaversAsync());
            }

            Assert.Contains($"{gone.Count} changes wait", await visitor.PageAsync("/"), StringComparison.Ordinal);

            // A librarian of one site decides nothing: the dashboard sends them nowhere that they may not look.
            using var librarian = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.Librarian, "S02"));
            var page = await librarian.PageAsync("/");
            Assert.DoesNotContain("changes wait", page, StringComparison.Ordinal);
            foreach (Match link in Operation().Matches(page))
            {
                Assert.Equal(HttpStatusCode.OK, (await librarian.GetAsync(link.Groups[1].Value)).Status);
            }
        }
        finally
        {
            library.Sandbox.Overrides.Clear();
            await library.SyncAsync();
        }
    }

    private async Task<long> LeaversAsync() =>
        (await library.Service<Reading>().SyncCountsAsync(library.District.Id, DateTimeOffset.MinValue, CancellationToken.None)).Sum(c =>
            c.Counts.Transferred
        );

    private async Task<string> FirstAsync(string stream, long waiting)
    {
        using var http = new HttpClient { BaseAddress = library.Url };
        http.DefaultRequestHeaders.Add("Cookie", $"rollcall-session={Library.SessionOf(library.Url)}");
        using var response = await http.GetAsync(stream, HttpCompletionOption.ResponseHeadersRead);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        await using var body = await response.Content.ReadAsStreamAsync();
        var text = new StringBuilder();
        var buffer = new byte[4096];
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        while (!text.ToString().Contains($"event: operation-{waiting}\n", StringComparison.Ordinal))
        {
            var read = await body.ReadAsync(buffer, patience.Token);
            Assert.NotEqual(0, read);
            text.Append(Encoding.UTF8.GetString(buffer, 0, read));
        }

        return text.ToString();
    }

    private async Task<long> AddAsync(Operation operation)
    {
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        operation.DistrictId = library.District.Id;
        operation.CreatedAt = TimeProvider.System.GetUtcNow();
        operation.RequestedBy = "test";
        operation.Settled = true;
        context.Operations.Add(operation);
        await context.SaveChangesAsync();
        return operation.Id;
    }

    private async Task RemoveAsync(long id)
    {
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        await context.Operations.Where(o => o.Id == id).ExecuteDeleteAsync();
    }

    [GeneratedRegex("sse-connect=\"([^\"]+)\"")]
    private static partial Regex Connect();

    [GeneratedRegex("href=\"(/operations/[0-9]+)\"")]
    private static partial Regex Operation();
}
