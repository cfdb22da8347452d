using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.DependencyInjection;
using Rollcall.Districts;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Server.Pages;
using Rollcall.Server.Pages.Parts;
using Rollcall.Server.Worker;
using Rollcall.SignIn;
using Rollcall.Storage;

namespace Rollcall.Server.Tests.Pages;

/// <summary>What the buttons of the pages do to a library.</summary>
public sealed class SyncPageTests(SyncedLibrary library) : SyncPages(library), IClassFixture<SyncedLibrary>;

/// <summary>The same on PostgreSQL, where every page works under row-level security.</summary>
public sealed class SyncPageOnPostgresTests(PostgresLibrary library) : SyncPages(library), IClassFixture<PostgresLibrary>;

public abstract class SyncPages(SyncedLibrary library)
{
    private async Task<int> TransferredAsync() =>
        (
            await library
                .Service<PatronService>()
                .PageAsync(library.District.Id, new PatronFilter(Status: PatronStatus.Transferred), PatronSort.Name, false, 1, 1)
        ).Total;

    private static string Tile(string page, string label) => page.Split($"<dt>{label}</dt><dd>")[1].Split('<')[0];

    private static long IdOf(string location) => long.Parse(location.Split('/')[^1], System.Globalization.CultureInfo.InvariantCulture);

    [Fact]
    public async Task Leavers_beyond_the_usual_wait_are_discarded_then_approved()
    {
        using var visitor = new Visitor(library.Url);
        var gone = library.Sandbox.Overrides.RemoveShare(library.Sandbox.District.Schools.First().SourcedId, 0.5);
        Assert.True(gone.Count >= 10);

        // A preview shows them and touches nobody.
        var preview = await visitor.SubmitAsync("/", "/?handler=Preview");
        Assert.Equal(OperationStatus.Preview, (await library.EndOfAsync(IdOf(preview))).Status);
        var shown = await visitor.PageAsync(preview);
        Assert.Contains("This is a preview", shown, StringComparison.Ordinal);
        Assert.Contains($"Yes, apply {gone.Count} changes", shown, StringComparison.Ordinal);
        Assert.Equal(0, await TransferredAsync());
        Assert.Equal(preview, await visitor.SubmitAsync(preview, $"{preview}?handler=Discard"));
        Assert.Contains(
            "Nothing of it was written; the next sync looks at these people again.",
            await visitor.PageAsync(preview),
            StringComparison.Ordinal
        );

        // Sync Now holds them.
        var held = await visitor.SubmitAsync("/", "/?handler=Sync");
        Assert.Equal(OperationStatus.NeedsApproval, (await library.EndOfAsync(IdOf(held))).Status);
        var dashboard = await visitor.PageAsync("/");
        Assert.Contains($"{gone.Count} changes wait", dashboard, StringComparison.Ordinal);
        Assert.Contains("written before somebody has looked; everything else is.", dashboard, StringComparison.Ordinal);

        // What waits is not done: it stands apart, for whoever sees all sites and for a librarian.
        var school = library.Sandbox.District.Schools.First().SourcedId;
        var site = (await library.Service<SiteService>().ListAsync(library.District.Id)).Single(s => s.Guid == school).Code;
        using var librarian = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.Librarian, site));
        foreach (
            var page in (string[])
                [dashboard, await visitor.PageAsync(held), await librarian.PageAsync("/"), await librarian.PageAsync(held)]
        )
        {
            Assert.Equal(("0", $"{gone.Count}"), (Tile(page, "Transferred"), Tile(page, "Held")));
        }

        // A librarian hears of their own people, and that others decide; who has none of them is in peace.
        var own = await librarian.PageAsync("/");
        Assert.Contains($"{gone.Count} of your people wait for approval.", own, StringComparison.Ordinal);
        Assert.Contains("A Library Administrator decides", own, StringComparison.Ordinal);
        Assert.Contains(">Your sites<", own, StringComparison.Ordinal);
        Assert.DoesNotContain("Nothing waits for you", own, StringComparison.Ordinal);
        Assert.Contains("A Library Administrator decides", await librarian.PageAsync(held), StringComparison.Ordinal);
        var elsewhere = (await library.Service<SiteService>().ListAsync(library.District.Id)).First(s => s.Code != site).Code;
        using (var other = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.Librarian, elsewhere)))
        {
            Assert.DoesNotContain("for approval", await other.PageAsync("/"), StringComparison.Ordinal);
        }

        Assert.Contains($"{gone.Count} held", await visitor.PageAsync("/operations"), StringComparison.Ordinal);

        // Who was not read is told beside what was, so that the boxes add up; sites say why theirs do not.
        foreach (var page in (string[])[dashboard, await visitor.PageAsync(held)])
        {
            Assert.Contains($"{gone.Count} held: to be transferred, no longer in the roster.", page, StringComparison.Ordinal);
            Assert.Contains("Whoever is no longer in the roster is not among those who were read.", page, StringComparison.Ordinal);
        }

        Assert.Contains(
            "sites have neither “Read” nor “Unchanged”",
            System.Net.WebUtility.HtmlDecode(await visitor.PageAsync(held)),
            StringComparison.Ordinal
        );

        // After a switch everybody is linked anew and has a line though nothing of them changes: then the sites count them.
        var relinked = OperationModel.BySiteFootnote(new Operation { Kind = OperationKind.FullSync }, false, false, unchanged: true);
        Assert.Contains("where their link to the roster is new or changed", relinked, StringComparison.Ordinal);
        Assert.Contains(OperationModel.Columns, c => c.Label == "Unchanged");

        // A hold of an earlier version, which did not say of what kind the changes are that wait.
        await using (var context = library.Service<RollcallDatabase>().CreateContext())
        {
            var stored = await context.Operations.SingleAsync(o => o.Id == IdOf(held));
            var counts = System.Text.Json.Nodes.JsonNode.Parse(stored.Counts)!.AsObject();
            foreach (
                var name in counts.Select(c => c.Key).Where(k => k.StartsWith("held", StringComparison.Ordinal) && k != "held").ToList()
            )
            {
                counts.Remove(name);
            }

            Assert.NotEqual(stored.Counts, counts.ToJsonString());
            stored.Counts = counts.ToJsonString();
            await context.SaveChangesAsync();
        }

        Assert.DoesNotContain($"{gone.Count} transferred", await visitor.PageAsync("/operations"), StringComparison.Ordinal);
        foreach (var page in (string[])[await visitor.PageAsync("/"), await visitor.PageAsync(held)])
        {
            Assert.Equal(("0", $"{gone.Count}"), (Tile(page, "Transferred"), Tile(page, "Held")));
        }

        Assert.Contains($"Yes, apply {gone.Count} changes", await visitor.PageAsync(held), StringComparison.Ordinal);
        Assert.Contains($"{gone.Count} lines", await visitor.PageAsync($"{held}?held=on"), StringComparison.Ordinal);
        var log = await visitor.PageAsync($"{held}?held=on");
        var waits = System.Text.RegularExpressions.Regex.Match(log, """href="(/patrons/[^"]+)" dir""").Groups[1].Value;
        Assert.Contains("A change waits for approval", await visitor.PageAsync(waits), StringComparison.Ordinal);
        Assert.DoesNotContain("Not written", log, StringComparison.Ordinal);

        // Who is marked since is left out, and both pages say so beforehand.
        var patrons = library.Service<PatronService>();
        var barcode = Uri.UnescapeDataString(waits["/patrons/".Length..]);
        Task MarkAsync(bool marked) =>
            patrons.EditAsync(library.District.Id, barcode, [new("doNotTransfer", marked ? "true" : "false")], "test");
        await MarkAsync(true);
        Assert.Contains("leaves this patron out", await visitor.PageAsync(waits), StringComparison.Ordinal);
        var lessened = await visitor.PageAsync(held);
        Assert.Contains("1 person has that mark by now and is left out.", lessened, StringComparison.Ordinal);
        Assert.Contains($"Yes, apply {gone.Count - 1} changes", lessened, StringComparison.Ordinal);
        await MarkAsync(false);
        await visitor.SubmitAsync(held, $"{held}?handler=Discard");
        var discarded = await visitor.PageAsync($"{held}?held=on");
        Assert.Contains(
            "Discarded. What waited was not written, the rest of it was; the next sync looks at these people again.",
            discarded,
            StringComparison.Ordinal
        );
        Assert.Contains("Hold discarded", discarded, StringComparison.Ordinal);
        Assert.DoesNotContain("then approve or discard", discarded, StringComparison.Ordinal);
        Assert.Equal("0", Tile(await librarian.PageAsync(held), "Held"));
        Assert.Contains("Not written", discarded, StringComparison.Ordinal);
        Assert.Contains($"""data-label="Not written">{gone.Count}<""", discarded, StringComparison.Ordinal);
        Assert.DoesNotContain("A change waits for approval", await visitor.PageAsync(waits), StringComparison.Ordinal);
        Assert.Equal(0, await TransferredAsync());

        // Deciding twice is answered in words.
        using (var again = new Visitor(library.Url))
        {
            held = await again.SubmitAsync("/", "/?handler=Sync");
            await library.EndOfAsync(IdOf(held));
            await again.SubmitAsync(held, $"{held}?handler=Approve");
        }

        var approved = await library.EndOfAsync(IdOf(held));
        Assert.Equal(gone.Count, OperationQueue.CountsOf(approved).Transferred);
        Assert.Equal(gone.Count, await TransferredAsync());
        Assert.Equal("operator@library.example", approved.ApprovedBy);
        var after = await visitor.PageAsync(held);
        foreach (var page in (string[])[after, await librarian.PageAsync("/"), await librarian.PageAsync(held)])
        {
            Assert.Equal(($"{gone.Count}", "0"), (Tile(page, "Transferred"), Tile(page, "Held")));
        }

        Assert.DoesNotContain("handler=Approve", after, StringComparison.Ordinal);
        Assert.Contains(" in all", after, StringComparison.Ordinal);
        Assert.Contains("Were held", after, StringComparison.Ordinal);

        // After an undo nobody is told that the library is as the roster says.
        await library.EndOfAsync(IdOf(await visitor.SubmitAsync(held, $"{held}?handler=Undo")));
        var undone = await visitor.PageAsync("/");
        Assert.Contains($"Operation {IdOf(held)} was undone: the roster and the library differ.", undone, StringComparison.Ordinal);
        Assert.DoesNotContain("agree as of", undone, StringComparison.Ordinal);

        // Somebody has seen what a full sync would write, and let it: both are as one again.
        preview = await visitor.SubmitAsync("/", "/?handler=Preview");
        await library.EndOfAsync(IdOf(preview));
        await visitor.SubmitAsync(preview, $"{preview}?handler=Approve");
        Assert.Equal(gone.Count, OperationQueue.CountsOf(await library.EndOfAsync(IdOf(preview))).Transferred);
        Assert.DoesNotContain("the roster and the library differ", await visitor.PageAsync("/"), StringComparison.Ordinal);

        // Days of waiting for an approval are not work.
        var (start, end) = (approved.CreatedAt, approved.CreatedAt.AddDays(3));
        var days = new Operation
        {
            StartedAt = start,
            ApprovedAt = end.AddSeconds(-2),
            FinishedAt = end,
        };
        Assert.Equal(TimeSpan.FromSeconds(2), days.Worked);
    }
}

/// <summary>What pages and files say of an operation that ended before all of it was written.</summary>
public sealed class EndedEarlyTests(SyncedLibrary library) : IClassFixture<SyncedLibrary>
{
    [Theory]
    [InlineData(OperationStatus.Cancelled, 1, 0)]
    [InlineData(OperationStatus.Undone, 1, 2)]
    [InlineData(OperationStatus.Discarded, 3, 0)]
    public async Task Lines_that_were_never_written_are_not_told_as_done(OperationStatus status, int to, int heldTo)
    {
        // Four new people of one site: 1 and 3 as usual, 2 and 4 held. The last is left out.
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        var site = (await library.Service<SiteService>().ListAsync(library.District.Id)).Single(s => s.Code == "S01").Id;
        var operation = new Operation
        {
            DistrictId = library.District.Id,
            Kind = OperationKind.FullSync,
            Integration = Rollcall.Integrations.IntegrationKind.ClassLink,
            Status = status,
            RequestedBy = "test",
            CreatedAt = TimeProvider.System.GetUtcNow(),
            StartedAt = TimeProvider.System.GetUtcNow(),
            FinishedAt = TimeProvider.System.GetUtcNow(),
            Planned = true,
            PlanSize = 4,
            AppliedTo = to,
            HeldAppliedTo = heldTo,
        };
        context.Operations.Add(operation);
        await context.SaveChangesAsync();
        for (var i = 1; i <= 4; i++)
        {
            context.Changes.Add(
                new Change
                {
                    DistrictId = library.District.Id,
                    OperationId = operation.Id,
                    Number = i,
                    Kind = i == 3 ? ChangeKind.Skip : ChangeKind.Create,
                    Outcome = i == 3 ? Outcome.Skipped : Outcome.Created,
                    SiteId = site,
                    Held = i % 2 == 0,
                    Stale = i == 4 && status != OperationStatus.Discarded,
                    Values = $$"""{"1006":[null,"Early{{i}}"]}""",
                }
            );
        }

        await context.SaveChangesAsync();
        var log = library.Service<OperationLog>();
        var expected =
            status == OperationStatus.Cancelled ? (long[])[2]
            : status == OperationStatus.Discarded ? [2, 4]
            : [];
        var lines = new List<LogRow>();
        await foreach (var row in log.ReadAsync(library.District.Id, operation.Id))
        {
            lines.Add(row);
        }

        Assert.Equal(expected, lines.Where(l => l.NotWritten).Select(l => l.Number));
        Assert.Equal(
            expected.Length,
            (await log.CountsAsync(library.District.Id, operation.Id)).Where(c => c.NotWritten).Sum(c => c.Lines)
        );

        using var visitor = new Visitor(library.Url);
        var page = await visitor.PageAsync($"/operations/{operation.Id}");
        Assert.Equal(expected.Length, page.Split(">Not written</span>").Length - 1);
        var dropped = lines.Count(l => l.NotWritten || l.Stale);
        Assert.Contains($"""data-label="Not written">{dropped}<""", page, StringComparison.Ordinal);
        Assert.Contains($"""data-label="Created">{3 - dropped}<""", page, StringComparison.Ordinal);
        var (_, csv, _) = await visitor.GetAsync($"/operations/{operation.Id}/download?format=csv");
        Assert.Contains("stale,notWritten", csv, StringComparison.Ordinal);
        var (_, json, _) = await visitor.GetAsync($"/operations/{operation.Id}/download?format=jsonl");
        Assert.Equal(expected.Length, json.Split("\"notWritten\":true").Length - 1);
        var (_, text, _) = await visitor.GetAsync($"/operations/{operation.Id}/download?format=text");
        Assert.Equal(expected.Length, text.Split("NOT WRITTEN").Length - 1);

        // The totals of one's own sites say the same.
        using var librarian = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.Librarian, "S01"));
        var own = await librarian.PageAsync($"/operations/{operation.Id}");
        Assert.Contains($"<dt>Created</dt><dd>{3 - dropped}</dd>", own, StringComparison.Ordinal);
        Assert.Contains($"<dt>Skipped</dt><dd>{1 + dropped}</dd>", own, StringComparison.Ordinal);
        Assert.Contains("<dt>Held</dt><dd>0</dd>", own, StringComparison.Ordinal);
    }
}

/// <summary>A server that has just been started, before its link made the first account.</summary>
public sealed class NoAccountTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("rollcall-new-").FullName;

    [Fact]
    public async Task Whoever_comes_without_the_link_reads_where_it_is()
    {
        await using var server = await ServerProcess.StartAsync(
            new RollcallOptions(new StorageOptions(_folder, null)),
            "http://127.0.0.1:0",
            CancellationToken.None
        );
        using var visitor = new Visitor(new Uri(server.Url), session: null);
        Assert.Contains("There is no account yet", await visitor.PageAsync("/signin"), StringComparison.Ordinal);
        await server
            .Services.GetRequiredService<Accounts>()
            .AddAsync("a@library.example", null, SecurityGroup.DistrictAdministrator, null, true, "test");
        Assert.DoesNotContain("There is no account yet", await visitor.PageAsync("/signin"), StringComparison.Ordinal);
    }

    public void Dispose()
    {
        Microsoft.Data.Sqlite.SqliteConnection.ClearAllPools();
        Directory.Delete(_folder, recursive: true);
    }
}

/// <summary>A server that knows nobody yet.</summary>
public sealed class EmptyPageTests(EmptyLibrary library) : IClassFixture<EmptyLibrary>
{
    [Fact]
    public async Task Every_page_says_what_to_do_first()
    {
        using var visitor = new Visitor(library.Url);
        foreach (var path in (string[])["/", "/patrons", "/sites", "/operations", "/review"])
        {
            Assert.Equal("/welcome", (await visitor.GetAsync(path)).Response.Headers.Location?.ToString());
        }

        Assert.Contains("rollcall district add", await visitor.PageAsync("/welcome"), StringComparison.Ordinal);
        await library.AddDistrictAsync();
        Assert.Contains("No sync can run yet", await visitor.PageAsync("/"), StringComparison.Ordinal);
        Assert.Contains("There are no patrons yet", await visitor.PageAsync("/patrons"), StringComparison.Ordinal);
        Assert.Contains("There are no sites yet", await visitor.PageAsync("/sites"), StringComparison.Ordinal);
        Assert.Contains("Nothing has run today", await visitor.PageAsync("/operations"), StringComparison.Ordinal);
        Assert.Contains("Nobody waits in Review", await visitor.PageAsync("/review"), StringComparison.Ordinal);

        // What the operator keeps for all districts.
        const string connect = "/preferences/sis/classlink";
        Assert.Contains("store it under All districts first", await visitor.PageAsync(connect), StringComparison.Ordinal);
        await visitor.SubmitAsync("/welcome", "/welcome?handler=PartnerKey", ("key", "a-partner-key"));
        Assert.DoesNotContain("store it under All districts first", await visitor.PageAsync(connect), StringComparison.Ordinal);
        var two = await visitor.RefusedAsync("/welcome", "/welcome?handler=PartnerKey", ("key", "two words"));
        Assert.Contains("The partner key is empty or more than one word", two, StringComparison.Ordinal);
        (string, string)[] tenant = [("district", "DEMO"), ("tenantId", "7001")];
        await visitor.SubmitAsync("/welcome", "/welcome?handler=Tenant", tenant);
        var other = await library.Service<DistrictService>().AddAsync("OTHER", "Other", null, "test");
        var taken = await visitor.RefusedAsync("/welcome", "/welcome?handler=Tenant", ("district", other.Code), ("tenantId", "7001"));
        Assert.Contains("belongs to another district", taken, StringComparison.Ordinal);
    }
}
