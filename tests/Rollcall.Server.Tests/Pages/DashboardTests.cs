using System.Net;
using System.Text;
using System.Text.RegularExpressions;
using Microsoft.EntityFrameworkCore;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Server.Commands;
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
    public async Task What_runs_says_how_fast_and_how_long_still()
    {
        var id = await AddAsync(Running(1437.2));
        try
        {
            using var visitor = new Visitor(library.Url);
            const string words = "1,400 a second, about 2 minutes left";
            foreach (var page in (string[])["/operations", $"/operations/{id}"])
            {
                Assert.Contains(words, await visitor.PageAsync(page), StringComparison.Ordinal);
            }

            var stream = WebUtility.HtmlDecode(Connect().Match(await visitor.PageAsync("/operations")).Groups[1].Value);
            Assert.Contains(words, await FirstAsync(stream, id), StringComparison.Ordinal);

            var details = OperationDetails.Of(await library.Service<OperationQueue>().GetAsync(library.District.Id, id));
            Assert.Equal((1437.2, 119), (details.Progress!.Rate, details.Progress.SecondsLeft));
            Assert.Contains($"Now: Reading users 0 of 170,000, {words}", await ShownAsync(id), StringComparison.Ordinal);
        }
        finally
        {
            await RemoveAsync(id);
        }

        Operation Running(double rate) =>
            new()
            {
                // No worker takes one of these up.
                Kind = OperationKind.Export,
                Status = OperationStatus.Running,
                Stage = OperationStage.Pulling,
                StageText = "Reading users",
                Total = 170_000,
                Rate = rate,
                StartedAt = TimeProvider.System.GetUtcNow(),
                LeaseUntil = long.MaxValue,
            };
    }

    [Fact]
    public async Task A_night_that_failed_and_waits_for_its_next_try_is_not_shown_as_calm()
    {
        var next = TimeProvider.System.GetUtcNow().AddMinutes(30);
        var id = await AddAsync(
            new Operation
            {
                Kind = OperationKind.FullSync,
                Integration = Rollcall.Integrations.IntegrationKind.ClassLink,
                Status = OperationStatus.Waiting,
                Attempts = 1,
                NotBefore = next,
                Error = "The roster service cannot be reached.",
            }
        );
        try
        {
            var zone = TimeZoneInfo.FindSystemTimeZoneById(library.District.TimeZone);
            var at = TimeZoneInfo.ConvertTime(next, zone).ToString("HH:mm", System.Globalization.CultureInfo.InvariantCulture);
            using var visitor = new Visitor(library.Url);
            foreach (var address in (string[])["/", "/operations", $"/operations/{id}"])
            {
                var page = WebUtility.HtmlDecode(await visitor.PageAsync(address));
                Assert.Matches($"Failed; tried again (at|tomorrow) {at}", page);
                Assert.Contains("Failed for now", page, StringComparison.Ordinal);
                Assert.Contains("The roster service cannot be reached.", page, StringComparison.Ordinal);
                Assert.DoesNotContain("Waiting for its turn", page, StringComparison.Ordinal);
                Assert.DoesNotContain("Nothing waits for you", page, StringComparison.Ordinal);
            }

            var stream = WebUtility.HtmlDecode(Connect().Match(await visitor.PageAsync("/operations")).Groups[1].Value);
            Assert.Contains("Failed; tried again", await FirstAsync(stream, id), StringComparison.Ordinal);

            var details = OperationDetails.Of(await library.Service<OperationQueue>().GetAsync(library.District.Id, id));
            Assert.Equal(next.ToUnixTimeMilliseconds(), details.NextTryAt?.ToUnixTimeMilliseconds());
            var shown = await ShownAsync(id);
            Assert.Contains(": failed for now", shown, StringComparison.Ordinal);
            Assert.Contains("Failed: The roster service cannot be reached.", shown, StringComparison.Ordinal);
            Assert.Contains("Tried again by itself at ", shown, StringComparison.Ordinal);
        }
        finally
        {
            await RemoveAsync(id);
        }
    }

    [Fact]
    public async Task The_chart_has_nothing_that_is_held_or_was_undone()
    {
        var before = TimeProvider.System.GetUtcNow();
        var counts = new SyncCounts
        {
            Read = 9,
            Created = 5,
            Updated = 4,
            Transferred = 3,
            Absent = 3,
            Held = 4,
        };
        var id = await AddAsync(
            new Operation
            {
                Kind = OperationKind.FullSync,
                Integration = Rollcall.Integrations.IntegrationKind.ClassLink,
                Status = OperationStatus.NeedsApproval,
                Planned = true,
                AppliedTo = 12,
                Counts = System.Text.Json.JsonSerializer.Serialize(counts, OperationQueue.Json),
            }
        );
        try
        {
            await using var context = library.Service<RollcallDatabase>().CreateContext();
            context.Changes.AddRange(
                Held(1, ChangeKind.Create, Outcome.Created),
                Held(2, ChangeKind.Create, Outcome.Created),
                Held(3, ChangeKind.Update, Outcome.Absent),
                Held(4, ChangeKind.Update, Outcome.Absent)
            );
            await context.SaveChangesAsync();
            Assert.Equal((3, 4, 1), await ChartAsync());

            // One of those who wait is erased: of the others nobody is taken off twice.
            await context.Changes.Where(c => c.OperationId == id && c.Number == 4).ExecuteDeleteAsync();
            var fewer = System.Text.Json.JsonSerializer.Serialize(
                counts with
                {
                    Transferred = 2,
                    Absent = 2,
                    Held = 3,
                },
                OperationQueue.Json
            );
            await context.Operations.Where(o => o.Id == id).ExecuteUpdateAsync(s => s.SetProperty(o => o.Counts, fewer));
            Assert.Equal((3, 4, 1), await ChartAsync());

            // What is undone did not happen.
            await context.Operations.Where(o => o.Id == id).ExecuteUpdateAsync(s => s.SetProperty(o => o.Status, OperationStatus.Undone));
            Assert.Equal((0, 0, 0), await ChartAsync());
        }
        finally
        {
            await using var context = library.Service<RollcallDatabase>().CreateContext();
            await context.Changes.Where(c => c.OperationId == id).ExecuteDeleteAsync();
            await RemoveAsync(id);
        }

        async Task<(long, long, long)> ChartAsync()
        {
            var shown = (await library.Service<Reading>().SyncCountsAsync(library.District.Id, before, CancellationToken.None)).ToList();
            return (shown.Sum(c => c.Counts.Created), shown.Sum(c => c.Counts.Updated), shown.Sum(c => c.Counts.Transferred));
        }

        Change Held(int number, ChangeKind kind, Outcome outcome) =>
            new()
            {
                DistrictId = library.District.Id,
                OperationId = id,
                Number = number,
                Kind = kind,
                Outcome = outcome,
                Held = true,
                Values = "{}",
            };
    }

    /// <summary>Why it failed is of the whole district; that it did is everybody's.</summary>
    [Fact]
    public async Task Librarians_are_told_that_syncs_fail_and_what_syncs_did_with_their_people()
    {
        using var librarian = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.Librarian, "S01"));
        Assert.DoesNotContain("failed", await librarian.PageAsync("/"), StringComparison.Ordinal);
        var now = TimeProvider.System.GetUtcNow();
        var id = await AddAsync(
            new Operation
            {
                Kind = OperationKind.FullSync,
                Status = OperationStatus.Failed,
                StartedAt = now,
                FinishedAt = now,
                Error = "The secret words of the technician.",
            }
        );
        try
        {
            var page = WebUtility.HtmlDecode(await librarian.PageAsync("/"));
            Assert.Matches("The last sync, (today|yesterday) [0-9:]+, failed: patrons may be behind the roster. Tell a", page);
            Assert.DoesNotContain("Nothing waits for you", page, StringComparison.Ordinal);
            Assert.DoesNotContain("secret words", page, StringComparison.Ordinal);
            await using var context = library.Service<RollcallDatabase>().CreateContext();
            context.Notices.Add(
                new Notice
                {
                    DistrictId = library.District.Id,
                    OperationId = id,
                    Channel = NoticeChannel.Email,
                    Event = NoticeEvents.Failed,
                    Target = "technician@example.org",
                    Status = NoticeStatus.Sent,
                    CreatedAt = now,
                }
            );
            await context.SaveChangesAsync();
            page = WebUtility.HtmlDecode(await librarian.PageAsync("/"));
            Assert.Contains("Those who look after syncs have been told.", page, StringComparison.Ordinal);
            Assert.DoesNotContain("technician@", page, StringComparison.Ordinal);
            await context.Notices.Where(n => n.OperationId == id).ExecuteDeleteAsync();
        }
        finally
        {
            await RemoveAsync(id);
        }

        // The totals in the list are those of the own site.
        var site = (await library.Service<Rollcall.Districts.SiteService>().ListAsync(library.District.Id)).First(s => s.Code == "S01").Id;
        await using var changes = library.Service<RollcallDatabase>().CreateContext();
        var own = await changes.Changes.CountAsync(c =>
            c.DistrictId == library.District.Id && c.OperationId == 1 && c.SiteId == site && c.Outcome == Outcome.Created
        );
        Assert.Contains($"{Words.Count(own)} created", await librarian.PageAsync("/operations"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_plan_in_the_making_is_not_called_failed()
    {
        var id = await AddAsync(PlannedOperation.Begin(0, OperationKind.Edit, true, "test", "{}", TimeProvider.System));
        try
        {
            using var visitor = new Visitor(library.Url);
            foreach (var address in (string[])[$"/operations/{id}", "/operations?type=Edit"])
            {
                var page = await visitor.PageAsync(address);
                Assert.Contains(">Plan unfinished<", page, StringComparison.Ordinal);
                Assert.DoesNotContain(">Failed<", page, StringComparison.Ordinal);
            }
        }
        finally
        {
            await RemoveAsync(id);
        }
    }

    [Fact]
    public void Lines_of_progress_say_how_fast_it_goes()
    {
        var clock = new HandClock();
        using var error = new StringWriter();
        var lines = new ProgressLines(new Terminal(TextWriter.Null, error, () => Stream.Null, _ => null, false, false), clock);
        lines.Report(OperationStage.Pulling, "Reading users", 0, 170_000);
        clock.Pass(TimeSpan.FromSeconds(10));
        lines.Report(OperationStage.Pulling, "Reading users", 14_000, 170_000);

        // While the roster service keeps it waiting the step is the same.
        clock.Pass(TimeSpan.FromSeconds(10));
        lines.Report(OperationStage.Pulling, "Reading users: waiting for the roster service, 20 seconds now", 14_000, 170_000);
        clock.Pass(TimeSpan.FromSeconds(10));
        lines.Report(OperationStage.Planning, "Comparing people", 0, 170_000);
        Assert.Equal(
            [
                "Reading users: 14,000 of 170,000, 1,400 a second, about 2 minutes left",
                "Reading users: waiting for the roster service, 20 seconds now: 14,000 of 170,000, 700 a second, about 4 minutes left",
                "Comparing people: 0 of 170,000",
            ],
            error.ToString().Split(Environment.NewLine, StringSplitOptions.RemoveEmptyEntries)
        );
    }

    private sealed class HandClock : TimeProvider
    {
        private long _now;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => _now;

        public void Pass(TimeSpan time) => _now += time.Ticks;
    }

    /// <summary>An operation as the command line shows it.</summary>
    private async Task<string> ShownAsync(long id)
    {
        using var text = new StringWriter();
        var operation = await library.Service<OperationQueue>().GetAsync(library.District.Id, id);
        await OperationCommands.WriteHeaderAsync(text, operation, library.District);
        return text.ToString();
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
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        var spared = context.Patrons.Where(p => p.DistrictId == library.District.Id && p.Guid == gone[0]);
        var at = (await spared.SingleAsync()).SiteId;
        var sites = await library.Service<Rollcall.Districts.SiteService>().ListAsync(library.District.Id);
        var other = sites.First(s => s.Id != at);
        var stays = await context.Patrons.FirstAsync(p => p.DistrictId == library.District.Id && p.SiteId == other.Id && p.Guid != null);
        try
        {
            foreach (var name in (string[])["First", "Second"])
            {
                library.Sandbox.Overrides.Change("users", stays.Guid!, r => r["givenName"] = name);
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

            // Whoever is marked "do not transfer" since waits no more: a librarian is told of the others, as administrators are.
            using var own = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.Librarian, sites.First(s => s.Id == at).Code));
            Assert.Contains($"{gone.Count} of your people wait", await own.PageAsync("/"), StringComparison.Ordinal);
            await spared.ExecuteUpdateAsync(s => s.SetProperty(p => p.DoNotTransfer, true));
            Assert.Contains($"{gone.Count - 1} changes wait", await visitor.PageAsync("/"), StringComparison.Ordinal);
            Assert.Contains($"{gone.Count - 1} of your people wait", await own.PageAsync("/"), StringComparison.Ordinal);

            // That the operation is held concerns those alone who have somebody in what is held.
            var holds = await context
                .Operations.Where(o => o.DistrictId == library.District.Id && o.Status == OperationStatus.NeedsApproval)
                .Select(o => o.Id)
                .ToListAsync();
            var hold = $"/operations/{Assert.Single(holds)}";
            Assert.Contains("What is held waits for approval", await own.PageAsync(hold), StringComparison.Ordinal);
            using var others = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.Librarian, other.Code));
            Assert.DoesNotContain("What is held waits for approval", await others.PageAsync(hold), StringComparison.Ordinal);
            Assert.DoesNotContain("of your people wait", await others.PageAsync("/"), StringComparison.Ordinal);
        }
        finally
        {
            await spared.ExecuteUpdateAsync(s => s.SetProperty(p => p.DoNotTransfer, false));
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
