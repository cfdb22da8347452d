using System.Net;
using System.Text.RegularExpressions;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.Caching.Memory;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.SignIn;
using Rollcall.Storage;

namespace Rollcall.Server.Tests.Pages;

/// <summary>Pages offer what whoever looks at them may do, count what it would do, and lead to where it is.</summary>
public sealed partial class OfferTests(SyncedLibrary library) : IClassFixture<SyncedLibrary>
{
    private static readonly Actor s_libraryAdministrator = new("library", SecurityGroup.LibraryAdministrator);

    [Fact]
    public async Task A_form_offers_no_rights_that_are_not_given_by_it_and_opens_no_record_that_it_could_not_save()
    {
        await AddAsync(new("barcode", "PLAIN1"), new("lastName", "Plainfield"));
        await AddAsync(new("barcode", "ABOVE1"), new("lastName", "Abovefield"), new("group", "Librarian"), new("siteAccess", "S01"));
        await library.Service<PatronService>().EditAsync(library.District.Id, "ABOVE1", [new("notes", "written")], "test");
        using var all = new Visitor(library.Url);
        using var some = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.LibraryAdministrator));
        const string edit = "/patron/edit?barcode=PLAIN1";
        foreach (var address in (string[])[edit, "/patron/edit"])
        {
            Assert.Matches("name=\"group\"", await all.PageAsync(address));
            Assert.Matches("name=\"siteAccess\"", await all.PageAsync(address));
            var form = await some.PageAsync(address);
            Assert.DoesNotMatch("name=\"(was.)?(group|siteAccess)\"", form);
            Assert.Contains("Security Group", form, StringComparison.Ordinal);
            Assert.Contains("Site Access", form, StringComparison.Ordinal);
        }

        // Sent all the same, it is refused in words and nothing is said to be saved.
        (string, string)[] rights = [("lastName", "Plainfield"), ("group", "Librarian")];
        var seen = Visitor.FieldsOf(await some.PageAsync(edit)).Single(f => f.Name == "seen");
        Assert.Contains(
            "only a District Administrator changes",
            await some.RefusedAsync(edit, edit, [.. rights, seen]),
            StringComparison.Ordinal
        );
        Assert.Contains(
            "only a District Administrator changes",
            await some.RefusedAsync("/patron/edit", "/patron/edit", rights),
            StringComparison.Ordinal
        );
        var fields = Visitor.FieldsOf(await some.PageAsync(edit));
        Visitor.Put(fields, "notes", "by the library");
        await some.SubmitAsync(edit, edit, [.. fields]);
        var (saved, _) = await library.Service<PatronService>().GetAsync(library.District.Id, "PLAIN1");
        Assert.Equal(("by the library", SecurityGroup.Patron), (saved.Notes, saved.Group));

        // The record of somebody with rights here: looked at, and left.
        string[] ways = ["/patron/edit?barcode=ABOVE1", "/patron/merge?keep=ABOVE1", "handler=Undo"];
        var (mine, theirs) = (await all.PageAsync("/patrons/ABOVE1?tab=history"), await some.PageAsync("/patrons/ABOVE1?tab=history"));
        Assert.All(ways, w => Assert.Contains(w, mine, StringComparison.Ordinal));
        Assert.All(ways, w => Assert.DoesNotContain(w, theirs, StringComparison.Ordinal));
        foreach (var way in ways[..2])
        {
            var (status, body, _) = await some.GetAsync(way);
            Assert.Equal((way, HttpStatusCode.Forbidden), (way, status));
            Assert.Contains("only a District Administrator changes such a record", WebUtility.HtmlDecode(body), StringComparison.Ordinal);
        }

        Assert.Contains(
            "only a District Administrator changes such a record",
            WebUtility.HtmlDecode(await some.PageAsync("/patron/merge?keep=PLAIN1&other=ABOVE1")),
            StringComparison.Ordinal
        );

        // A roster service switched is a preference: so is switching back.
        var switched = await AddAsync(new Operation { Kind = OperationKind.Switch, Status = OperationStatus.Completed });
        Assert.Contains("handler=Undo", await all.PageAsync($"/operations/{switched}"), StringComparison.Ordinal);
        Assert.DoesNotContain("handler=Undo", await some.PageAsync($"/operations/{switched}"), StringComparison.Ordinal);
        await RemoveAsync(switched);
    }

    [Fact]
    public async Task A_preview_counts_those_whom_an_approval_changes()
    {
        await AddAsync(new("barcode", "COUNT1"), new("lastName", "Countfield"));
        await AddAsync(new("barcode", "COUNT2"), new("lastName", "Countfield"), new("group", "Librarian"));
        using var visitor = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.LibraryAdministrator));
        var bulk = library.Service<PatronBulk>();
        foreach (
            var (removal, barcodes, yes) in ((bool, string[], string?)[])
                [
                    (false, ["COUNT1", "COUNT2"], "Yes, apply 1 change<"),
                    (true, ["COUNT1", "COUNT2"], "Remove 1 patron for good<"),
                    (false, ["COUNT2"], null),
                ]
        )
        {
            var filter = new PatronFilter { Barcodes = barcodes };
            var id = removal
                ? await bulk.PlanRemovalAsync(library.District.Id, filter, true, s_libraryAdministrator)
                : await bulk.PlanEditAsync(library.District.Id, filter, [new("notes", "counted")], true, s_libraryAdministrator);
            Assert.Equal(OperationStatus.Preview, (await library.EndOfAsync(id)).Status);
            var address = $"/operations/{id}";
            var page = await visitor.PageAsync(address);
            if (yes is null)
            {
                Assert.DoesNotContain("handler=Approve", page, StringComparison.Ordinal);
                Assert.DoesNotContain("Everything is so already", page, StringComparison.Ordinal);
            }
            else
            {
                Assert.Contains(yes, page, StringComparison.Ordinal);
            }

            // What waits can be put away, and is said to have written nothing. No sync looks at these people because of it.
            await visitor.SubmitAsync(address, $"{address}?handler=Discard");
            page = await visitor.PageAsync(address);
            Assert.Contains("Nothing of it was written.", page, StringComparison.Ordinal);
            Assert.DoesNotContain("next sync", page, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task What_waits_for_a_decision_is_in_the_list_whatever_the_days()
    {
        var old = TimeProvider.System.GetUtcNow().AddDays(-9);
        var preview = await AddAsync(
            new Operation
            {
                Kind = OperationKind.Import,
                Status = OperationStatus.Preview,
                PreviewOnly = true,
                RequestedBy = "clerk",
                CreatedAt = old,
            }
        );
        var held = await AddAsync(
            new Operation
            {
                Kind = OperationKind.ChangesSync,
                Status = OperationStatus.NeedsApproval,
                CreatedAt = old,
            }
        );
        var done = await AddAsync(new Operation { Kind = OperationKind.Import, Status = OperationStatus.Completed });
        try
        {
            using var visitor = new Visitor(library.Url);
            var page = await visitor.PageAsync("/operations");
            var places = new[] { held, preview, done }.Select(id => page.IndexOf($"#{id}<", StringComparison.Ordinal)).ToArray();
            Assert.All(places, p => Assert.True(p > 0));
            Assert.Equal(places.Order(), places);

            // They are told apart from those of the days that were chosen.
            var longAgo = WebUtility.HtmlDecode(await visitor.PageAsync("/operations?from=2001-01-01&to=2001-01-02&type=Import&by=clerk"));
            Assert.Contains("No operation of these days: 1 of other days is here because it waits", longAgo, StringComparison.Ordinal);
            Assert.DoesNotContain("1 operation<", longAgo, StringComparison.Ordinal);
            Assert.Contains("of today, and ", WebUtility.HtmlDecode(page), StringComparison.Ordinal);

            // More days with the same filter, and words for what a filter hides.
            var filtered = WebUtility.HtmlDecode(await visitor.PageAsync("/operations?type=Import&by=clerk"));
            Assert.Contains($"#{preview}<", filtered, StringComparison.Ordinal);
            Assert.DoesNotContain($"#{held}<", filtered, StringComparison.Ordinal);
            foreach (Match link in DaysLink().Matches(filtered))
            {
                Assert.Contains("type=Import", link.Groups[1].Value, StringComparison.Ordinal);
                Assert.Contains("by=clerk", link.Groups[1].Value, StringComparison.Ordinal);
            }

            Assert.Equal(2, DaysLink().Count(filtered));
            var none = await visitor.PageAsync("/operations?type=Erase");
            Assert.DoesNotContain("Nothing has run today", none, StringComparison.Ordinal);
            Assert.Contains("Nothing of this kind has run today", none, StringComparison.Ordinal);
        }
        finally
        {
            await RemoveAsync(preview, held, done);
        }
    }

    [Fact]
    public async Task Site_Mapping_without_its_roster_shows_the_matches_and_counts_nothing()
    {
        using var visitor = new Visitor(library.Url);
        const string page = "/preferences/sis/classlink/sites";
        var integrations = library.Service<IntegrationService>();
        Task<string> MoveAsync(string? to) => MovedAsync(integrations, to);
        var was = await MoveAsync("http://127.0.0.1:9");
        try
        {
            var shown = await visitor.PageAsync(page);
            Assert.Contains("notice-bad", shown, StringComparison.Ordinal);
            Assert.Contains("id=\"matched\"", shown, StringComparison.Ordinal);
            Assert.Equal(
                (await library.Service<SiteService>().ListAsync(library.District.Id)).Count(s => s.Guid is not null),
                shown.Split("handler=Unmatch").Length - 1
            );
            Assert.DoesNotContain("not matched", shown, StringComparison.Ordinal);
            Assert.DoesNotContain("is matched", shown, StringComparison.Ordinal);
            Assert.DoesNotContain("handler=Match", shown, StringComparison.Ordinal);
        }
        finally
        {
            await MoveAsync(was);
        }
    }

    [Fact]
    public async Task Sites_that_are_matched_are_shown_so_before_their_service_is_on()
    {
        using var visitor = new Visitor(library.Url);
        async Task TurnAsync(bool on)
        {
            await using var context = library.Service<RollcallDatabase>().CreateContext();
            await context
                .Integrations.Where(i => i.DistrictId == library.District.Id && i.Kind == IntegrationKind.ClassLink)
                .ExecuteUpdateAsync(s => s.SetProperty(i => i.Enabled, on), TestContext.Current.CancellationToken);
        }

        await TurnAsync(false);
        try
        {
            var sites = await visitor.PageAsync("/sites");
            Assert.Contains("ClassLink is off.", sites, StringComparison.Ordinal);
            Assert.DoesNotContain("No roster service is on", sites, StringComparison.Ordinal);
            Assert.Contains(library.Sandbox.District.Schools.First().SourcedId, sites, StringComparison.Ordinal);
        }
        finally
        {
            await TurnAsync(true);
        }
    }

    private async Task<string> MovedAsync(IntegrationService integrations, string? to)
    {
        string? was = null;
        await integrations.ConfigureAsync(
            library.District.Id,
            IntegrationKind.ClassLink,
            "test",
            "moved",
            s =>
            {
                was = s.Url;
                return s with { Url = to };
            }
        );
        return was!;
    }

    [Fact]
    public async Task Whoever_syncs_reads_that_nothing_runs_by_itself_any_more()
    {
        var undone = await AddAsync(new Operation { Kind = OperationKind.FullSync, Status = OperationStatus.Undone });
        var undo = await AddAsync(
            new Operation
            {
                Kind = OperationKind.Undo,
                Status = OperationStatus.Completed,
                SubjectId = undone,
                Integration = IntegrationKind.ClassLink,
                FinishedAt = TimeProvider.System.GetUtcNow(),
            }
        );
        Task StopAsync(string? because) =>
            library
                .Service<IntegrationService>()
                .ConfigureAsync(
                    library.District.Id,
                    IntegrationKind.ClassLink,
                    "test",
                    "stop",
                    s => s with { Daily = s.Daily with { At = because is null ? null : new TimeOnly(4, 0), StoppedBecause = because } }
                );
        async Task MarkAsync(long? run)
        {
            await using var context = library.Service<RollcallDatabase>().CreateContext();
            var row = await context.Integrations.SingleAsync(i => i.DistrictId == library.District.Id && i.Enabled);
            row.State = System.Text.Json.JsonSerializer.Serialize(
                IntegrationService.StateOf(row) with
                {
                    UndoneRun = run,
                },
                IntegrationService.Json
            );
            await context.SaveChangesAsync();
        }

        await StopAsync($"Operation {undone} was undone by somebody. Resume when it is mended.");
        await MarkAsync(undone);
        try
        {
            using var all = new Visitor(library.Url);
            using var some = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.LibraryAdministrator));
            foreach (var address in (string[])["/", $"/operations/{undo}"])
            {
                var theirs = await some.PageAsync(address);
                Assert.Contains("Daily Operations have stopped", theirs, StringComparison.Ordinal);
                Assert.Contains("A District Administrator resumes them", theirs, StringComparison.Ordinal);
                Assert.DoesNotContain("classlink/schedule", theirs, StringComparison.Ordinal);
                var mine = await all.PageAsync(address);
                Assert.Contains("Daily Operations have stopped", mine, StringComparison.Ordinal);
                Assert.Contains(
                    address == "/" ? "classlink/schedule?handler=Resume\"" : "/preferences/sis/classlink/schedule\"",
                    mine,
                    StringComparison.Ordinal
                );
            }
        }
        finally
        {
            await StopAsync(null);
            await MarkAsync(null);
            await RemoveAsync(undo, undone);
        }
    }

    [Fact]
    public async Task A_librarian_reads_and_follows_what_is_of_the_own_sites_alone()
    {
        var sites = (await library.Service<SiteService>().ListAsync(library.District.Id)).ToDictionary(s => s.Code, s => s.Id);
        await AddAsync(new("barcode", "MOVED1"), new("lastName", "Movefield"), new("site", "S01"));
        var (patron, _) = await library.Service<PatronService>().GetAsync(library.District.Id, "MOVED1");
        var sync = await AddAsync(
            new Operation
            {
                Kind = OperationKind.FullSync,
                Status = OperationStatus.Completed,
                FinishedAt = TimeProvider.System.GetUtcNow(),
                Planned = true,
                PlanSize = 5,
                AppliedTo = 5,
                Counts = """{"read":9,"review":5}""",
            }
        );
        var elsewhere = await AddAsync(
            new Operation
            {
                Kind = OperationKind.Import,
                Status = OperationStatus.Completed,
                FinishedAt = TimeProvider.System.GetUtcNow(),
                Planned = true,
                PlanSize = 1,
                AppliedTo = 1,
            }
        );
        await using (var context = library.Service<RollcallDatabase>().CreateContext())
        {
            for (var i = 1; i <= 5; i++)
            {
                context.Changes.Add(Row(sync, i, i == 1 ? "S01" : "S02", ChangeKind.Review, Outcome.Review));
            }

            var written = Row(elsewhere, 1, "S02", ChangeKind.Edit, Outcome.Updated);
            written.PatronId = patron.Id;
            context.Changes.Add(written);
            context.ReviewItems.Add(
                new ReviewItem
                {
                    DistrictId = library.District.Id,
                    Id = 8800,
                    RosterId = "offer-1",
                    RoleGroup = RoleGroup.Student,
                    Status = ReviewStatus.Open,
                    Reason = "test",
                    Values = $$"""{"{{PatronFields.LastName}}":[null,"Offered"],"{{PatronFields.Site}}":[null,"{{sites["S01"]}}"]}""",
                }
            );
            await context.SaveChangesAsync();
        }

        try
        {
            using var all = new Visitor(library.Url);
            using var librarian = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.Librarian, "S01"));
            Assert.Contains("5 roster people could not be matched", await all.PageAsync($"/operations/{sync}"), StringComparison.Ordinal);
            Assert.Contains(
                "1 roster person could not be matched",
                await librarian.PageAsync($"/operations/{sync}"),
                StringComparison.Ordinal
            );

            // The history names what happened elsewhere, and leads nobody to where they may not look.
            Assert.Contains(
                $"href=\"/operations/{elsewhere}\"",
                await all.PageAsync("/patrons/MOVED1?tab=history"),
                StringComparison.Ordinal
            );
            var history = await librarian.PageAsync("/patrons/MOVED1?tab=history");
            Assert.Contains("Patron Import", history, StringComparison.Ordinal);
            foreach (Match link in OperationLink().Matches(history))
            {
                Assert.Equal(HttpStatusCode.OK, (await librarian.GetAsync(link.Groups[1].Value)).Status);
            }

            Assert.DoesNotContain($"/operations/{elsewhere}\"", history, StringComparison.Ordinal);
        }
        finally
        {
            await RemoveAsync(sync, elsewhere);
            await using var context = library.Service<RollcallDatabase>().CreateContext();
            await context.ReviewItems.Where(r => r.Id == 8800).ExecuteDeleteAsync();
        }

        Change Row(long operation, int number, string site, ChangeKind kind, Outcome outcome) =>
            new()
            {
                DistrictId = library.District.Id,
                OperationId = operation,
                Number = number,
                Kind = kind,
                Outcome = outcome,
                SiteId = sites[site],
                Values = $$"""{"{{PatronFields.Notes}}":[null,"x"]}""",
            };
    }

    [Fact]
    public async Task A_file_of_patrons_offers_nobody_columns_that_are_not_theirs_to_set()
    {
        using var some = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.LibraryAdministrator));
        const string content = "barcode,lastName,guid,group\nOWN1,Own,g-1,Patron\n";
        var page = WebUtility.HtmlDecode(await some.UploadAsync("/patron/import", "/patron/import?handler=File", "own.csv", content));
        Assert.Contains("2 left out so far. GUID, Security Group: a District Administrator sets them.", page, StringComparison.Ordinal);
        Assert.DoesNotContain("<option value=\"guid\"", page, StringComparison.Ordinal);
        using var all = new Visitor(library.Url);
        var theirs = WebUtility.HtmlDecode(await all.UploadAsync("/patron/import", "/patron/import?handler=File", "own.csv", content));
        Assert.Contains("<option value=\"guid\" selected", theirs, StringComparison.Ordinal);
        Assert.DoesNotContain("a District Administrator sets", theirs, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Turning_ClassLink_off_says_who_is_signed_out_with_it()
    {
        using var visitor = new Visitor(library.Url);
        const string words = "Nobody signs in with ClassLink while it is off: whoever came that way is signed out.";
        Assert.DoesNotContain(words, await visitor.PageAsync("/preferences/sis"), StringComparison.Ordinal);
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        var row = context.Integrations.Single(i =>
            i.DistrictId == library.District.Id && i.Kind == Rollcall.Integrations.IntegrationKind.ClassLink
        );
        var before = row.Settings;
        var settings = Rollcall.Integrations.IntegrationService.SettingsOf(row);
        row.Settings = System.Text.Json.JsonSerializer.Serialize(
            settings with
            {
                Login = settings.Login with { On = true },
            },
            Rollcall.Integrations.IntegrationService.Json
        );
        await context.SaveChangesAsync();
        try
        {
            Assert.Contains(words, await visitor.PageAsync("/preferences/sis"), StringComparison.Ordinal);
        }
        finally
        {
            row.Settings = before;
            await context.SaveChangesAsync();
        }
    }

    [Fact]
    public async Task The_namesake_is_the_first_who_may_be_the_same_person()
    {
        for (var i = 0; i < 25; i++)
        {
            await AddAsync(new("barcode", $"MANY{i:D2}"), new("lastName", "Manyfield"), new("firstName", $"Ada{i:D2}"));
        }

        await AddAsync(new("barcode", "TWIN1"), new("lastName", "Manyfield"), new("firstName", "Zoe"), new("sex", "female"));
        await AddAsync(new("barcode", "TWIN2"), new("lastName", "MANYFIELD"), new("firstName", "Zoë"), new("middleName", "Ann"));
        await AddAsync(new("barcode", "LATER1"), new("lastName", "Aab"), new("firstName", "Manyfield"));
        using var visitor = new Visitor(library.Url);
        var page = await visitor.PageAsync("/patron/merge?keep=TWIN1");
        var (twin, first, later) = (Place("TWIN2"), Place("MANY00"), page.IndexOf(">LATER1<", StringComparison.Ordinal));
        Assert.True(twin < first);
        Assert.True(later < 0, "people of another last name come after the twenty");
        Assert.Contains("The first 20 of 27 others", page, StringComparison.Ordinal);

        // A search is in the order of lists.
        Assert.DoesNotContain(">TWIN2<", await visitor.PageAsync("/patron/merge?keep=TWIN1&q=manyfield"), StringComparison.Ordinal);

        // One word for a value on all pages.
        foreach (var address in (string[])["/patrons/TWIN1", "/patron/merge?keep=TWIN1&other=TWIN2", "/patron/explain?barcode=TWIN1"])
        {
            var shown = await visitor.PageAsync(address);
            Assert.Contains(">Female<", shown, StringComparison.Ordinal);
            Assert.DoesNotContain(">female<", shown, StringComparison.Ordinal);
        }

        int Place(string barcode)
        {
            var at = page.IndexOf($">{barcode}<", StringComparison.Ordinal);
            Assert.True(at > 0, barcode);
            return at;
        }
    }

    [Fact]
    public async Task A_field_is_called_the_rosters_where_a_sync_writes_it()
    {
        using var visitor = new Visitor(library.Url);
        var (student, teacher) = (await LinkedAsync(RoleGroup.Student), await LinkedAsync(RoleGroup.Teacher));
        const string contact = "Parent/guardian <details class=\"help whose\"";
        Assert.Contains(contact, await visitor.PageAsync($"/patrons/{student}"), StringComparison.Ordinal);
        var page = await visitor.PageAsync($"/patrons/{teacher}");
        Assert.DoesNotContain(contact, page, StringComparison.Ordinal);
        Assert.Contains("First Name <details class=\"help whose\"", page, StringComparison.Ordinal);
        Assert.DoesNotContain(
            $"value=\"{PatronFields.AdditionalContact}\"",
            await visitor.PageAsync($"/patron/edit?barcode={teacher}"),
            StringComparison.Ordinal
        );
        Assert.Contains(
            $"value=\"{PatronFields.AdditionalContact}\"",
            await visitor.PageAsync($"/patron/edit?barcode={student}"),
            StringComparison.Ordinal
        );
        var explain = library.Service<Rollcall.Sync.Person.PatronExplain>();
        async Task<IReadOnlyList<string?>> WhoWinsAsync(string barcode) =>
            [
                .. (await explain.ExplainAsync(library.District, barcode, askRoster: false))
                    .Fields.Where(f => f.Number is PatronFields.AdditionalContact or PatronFields.FirstName)
                    .OrderBy(f => f.Number)
                    .Select(f => f.Policy),
            ];
        Assert.Equal(["roster wins", "roster wins"], await WhoWinsAsync(student));
        Assert.Equal(["roster wins"], await WhoWinsAsync(teacher));

        // Whose role is not ticked no sync writes to.
        var integrations = library.Service<IntegrationService>();
        Task TickAsync(params RoleGroup[] roles) =>
            integrations.ConfigureAsync(library.District.Id, IntegrationKind.ClassLink, "test", "roles", s => s with { Roles = roles });
        await TickAsync(RoleGroup.Student);
        try
        {
            page = await visitor.PageAsync($"/patrons/{teacher}");
            Assert.DoesNotContain("class=\"owner\"", page, StringComparison.Ordinal);
            Assert.DoesNotContain("lasts until the next sync", page, StringComparison.Ordinal);
            Assert.Contains("No sync writes to this patron", page, StringComparison.Ordinal);
            page = await visitor.PageAsync($"/patron/edit?barcode={teacher}");
            Assert.DoesNotContain("class=\"owner\"", page, StringComparison.Ordinal);
            Assert.Contains("No sync writes to this patron", page, StringComparison.Ordinal);
            Assert.Equal([null], await WhoWinsAsync(teacher));
            Assert.Contains("class=\"owner\"", await visitor.PageAsync($"/patrons/{student}"), StringComparison.Ordinal);
        }
        finally
        {
            await TickAsync(RoleGroup.Student, RoleGroup.Teacher, RoleGroup.Admin);
        }
    }

    private async Task<string> LinkedAsync(RoleGroup group) =>
        (
            await library
                .Service<PatronService>()
                .PageAsync(library.District.Id, new PatronFilter { Linked = true, RoleGroup = group }, PatronSort.Barcode, false, 1, 1)
        )
            .Patrons[0]
            .Barcode;

    [Fact]
    public async Task What_Readiness_read_is_there_on_every_node()
    {
        using var visitor = new Visitor(library.Url);
        const string page = "/preferences/sis/classlink/readiness";
        await visitor.SubmitAsync(page, $"{page}?handler=Read");
        var counting = await library.EndOfLastAsync(OperationKind.Readiness);
        Assert.Equal((OperationStatus.Completed, IntegrationKind.ClassLink), (counting.Status, counting.Integration));
        Assert.Contains("stands under Readiness", await visitor.PageAsync($"/operations/{counting.Id}"), StringComparison.Ordinal);
        Assert.DoesNotContain("handler=Undo", await visitor.PageAsync($"/operations/{counting.Id}"), StringComparison.Ordinal);

        // What it found stands where the id is chosen.
        Assert.Contains(
            "equal a Student # here)",
            WebUtility.HtmlDecode(await visitor.PageAsync("/preferences/sis/classlink/mapping")),
            StringComparison.Ordinal
        );

        // Another node remembers nothing.
        ((MemoryCache)library.Service<IMemoryCache>()).Clear();
        Assert.Contains("Roster people", await visitor.PageAsync(page), StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_address_of_another_way_to_the_roster_is_not_taken_for_the_proxys()
    {
        // The form kept the address of the connection by key: the partner key does not go there, and nothing is refused because of it.
        var integrations = library.Service<IntegrationService>();
        string? was = null;
        async Task MoveAsync(ConnectionMode mode, string? url) =>
            await integrations.ConfigureAsync(
                library.District.Id,
                IntegrationKind.ClassLink,
                "test",
                "moved",
                s =>
                {
                    was ??= s.Url;
                    return s with { Mode = mode, Url = url };
                }
            );
        await MoveAsync(ConnectionMode.Direct, "http://127.0.0.1:9/ims/oneroster/v1p1");
        try
        {
            // No operator: theirs is the proxy that the operator chose.
            var (account, _) = await library
                .Service<Accounts>()
                .AddAsync("moving@library.example", library.District, SecurityGroup.DistrictAdministrator, null, false, "test");
            using var office = new Visitor(
                library.Url,
                await library.Service<Sessions>().OpenAsync(account, SignInMethod.Password, null, new Device("test", null))
            );
            const string page = "/preferences/sis/classlink";
            await office.SubmitAsync(
                page,
                $"{page}?handler=Connect",
                ("mode", "Proxy"),
                ("tenantId", library.Sandbox.Options.TenantId),
                ("url", "http://127.0.0.1:9/ims/oneroster/v1p1/")
            );
            Assert.Equal(
                (ConnectionMode.Proxy, was),
                await integrations.FindAsync(library.District.Id, IntegrationKind.ClassLink) is var row
                    ? (IntegrationService.SettingsOf(row).Mode, IntegrationService.SettingsOf(row).Url)
                    : default
            );
        }
        finally
        {
            await MoveAsync(ConnectionMode.Proxy, was);
        }
    }

    [Fact]
    public async Task A_file_that_is_too_large_is_called_so()
    {
        using var patient = new SocketsHttpHandler { UseCookies = false, Expect100ContinueTimeout = TimeSpan.FromMinutes(1) };
        using var http = new HttpClient(patient) { BaseAddress = library.Url };
        using var request = new HttpRequestMessage(HttpMethod.Post, "/patron/import?handler=File")
        {
            Content = new MultipartFormDataContent { { new ByteArrayContent(new byte[33 * 1024 * 1024]), "file", "all.csv" } },
        };
        request.Headers.Add("Cookie", $"rollcall-session={Library.SessionOf(library.Url)}");
        request.Headers.Add("Sec-Fetch-Site", "same-origin");

        // The server answers before the file is on its way.
        request.Headers.ExpectContinue = true;
        using var response = await http.SendAsync(request);
        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, response.StatusCode);
        var body = await response.Content.ReadAsStringAsync();
        Assert.Contains("8 MB", body, StringComparison.Ordinal);
        Assert.DoesNotContain("open for too long", body, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_connection_that_is_refused_keeps_the_version_that_was_chosen()
    {
        using var visitor = new Visitor(library.Url);
        const string page = "/preferences/sis/oneroster";
        var refused = await visitor.RefusedAsync(
            page,
            $"{page}?handler=Connect",
            ("mode", "Bearer"),
            ("url", "http://127.0.0.1:9"),
            ("secret", "a-token"),
            ("version", "1.1")
        );
        Assert.Contains("notice-bad", refused, StringComparison.Ordinal);
        Assert.Contains("<option value=\"1.1\" selected", refused, StringComparison.Ordinal);
    }

    [Fact]
    public async Task About_says_how_this_server_is_and_to_operators_what_is_wrong()
    {
        using var all = new Visitor(library.Url);
        using var some = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.LibraryAdministrator));
        var well = await all.PageAsync("/about");
        Assert.Matches("<dt>Database</dt><dd><span class=\"mark mark-good\">Well", well);
        Assert.Matches("<dt>Disk</dt>", well);
        Assert.Matches("<dt>Worker</dt>", well);
        library.Service<Rollcall.Server.Watch.Pulse>().Expect("tests", TimeSpan.Zero);
        await Task.Delay(TimeSpan.FromSeconds(2.5), CancellationToken.None);
        foreach (var visitor in (Visitor[])[all, some])
        {
            var ill = await visitor.PageAsync("/about");
            Assert.Matches("<dt>Tests</dt><dd><span class=\"mark mark-bad\">Not well", ill);
            Assert.Equal(visitor == all, ill.Contains("silent for", StringComparison.Ordinal));
        }

        library.Service<Rollcall.Server.Watch.Pulse>().Expect("tests", TimeSpan.FromDays(1));
    }

    [Fact]
    public async Task A_service_that_is_on_is_previewed_and_synced_from_its_own_page()
    {
        const string page = "/preferences/sis/classlink";
        using var visitor = new Visitor(library.Url);
        var operation = await visitor.SubmitAsync(page, "/?handler=Preview");
        var ended = await library.EndOfAsync(long.Parse(operation.Split('/')[^1], System.Globalization.CultureInfo.InvariantCulture));
        Assert.True(ended.PreviewOnly);
        Assert.Contains("action=\"/?handler=Sync\"", await visitor.PageAsync($"{page}/mapping"), StringComparison.Ordinal);
        Assert.DoesNotContain("handler=Sync", await visitor.PageAsync("/preferences/sis/oneroster"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Readiness_is_read_in_the_queue_where_its_progress_is_seen_and_it_can_be_stopped()
    {
        const string page = "/preferences/sis/classlink/readiness";
        using var visitor = new Visitor(library.Url);
        var waiting = await AddAsync(
            new Operation
            {
                Kind = OperationKind.Readiness,
                Integration = IntegrationKind.ClassLink,
                Status = OperationStatus.Waiting,
                NotBefore = TimeProvider.System.GetUtcNow().AddHours(1),
            }
        );
        var tab = await visitor.PageAsync(page);
        Assert.Contains($"sse-swap=\"operation-{waiting}\"", tab, StringComparison.Ordinal);
        Assert.DoesNotContain("handler=Read", tab, StringComparison.Ordinal);
        Assert.Contains($"/operations/{waiting}", await visitor.PageAsync("/preferences/sis/classlink/mapping"), StringComparison.Ordinal);
        await visitor.SubmitAsync($"/operations/{waiting}", $"/operations/{waiting}?handler=Cancel");
        Assert.Contains("handler=Read", await visitor.PageAsync(page), StringComparison.Ordinal);

        // While it is read the operation says so, and nothing says it once that is over.
        await visitor.SubmitAsync(page, $"{page}?handler=Read");
        await library.EndOfLastAsync(OperationKind.Readiness);
        Assert.DoesNotContain("roster is being read", await visitor.PageAsync(page), StringComparison.Ordinal);

        // What goes wrong stands where it was asked for.
        library.Sandbox.Faults.Set("disabled-403:users");
        try
        {
            await visitor.SubmitAsync(page, $"{page}?handler=Read");
            Assert.Equal(OperationStatus.Failed, (await library.EndOfLastAsync(OperationKind.Readiness)).Status);
            Assert.Contains("The roster could not be read.", await visitor.PageAsync(page), StringComparison.Ordinal);
        }
        finally
        {
            library.Sandbox.Faults.Clear();
        }
    }

    private Task<Patron> AddAsync(params KeyValuePair<string, string?>[] fields) =>
        library.Service<PatronService>().AddAsync(library.District.Id, fields, "test");

    private async Task<long> AddAsync(Operation operation)
    {
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        operation.DistrictId = library.District.Id;
        operation.CreatedAt = operation.CreatedAt == default ? TimeProvider.System.GetUtcNow() : operation.CreatedAt;
        operation.RequestedBy = operation.RequestedBy is { Length: > 0 } by ? by : "test";
        operation.Settled = true;
        context.Operations.Add(operation);
        await context.SaveChangesAsync();
        return operation.Id;
    }

    private async Task RemoveAsync(params long[] ids)
    {
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        await context.Changes.Where(c => ids.Contains(c.OperationId)).ExecuteDeleteAsync();
        await context.Operations.Where(o => ids.Contains(o.Id)).ExecuteDeleteAsync();
    }

    [GeneratedRegex("href=\"([^\"]+)\">Last [0-9]+ days<")]
    private static partial Regex DaysLink();

    [GeneratedRegex("href=\"(/operations/[0-9]+)\"")]
    private static partial Regex OperationLink();
}

/// <summary>What pages say where there is nothing yet.</summary>
public sealed class FirstWordsTests(EmptyLibrary library) : IClassFixture<EmptyLibrary>
{
    [Fact]
    public async Task The_steps_to_the_first_sync_are_those_of_the_service_that_is_connected()
    {
        await library.AddDistrictAsync();
        using var visitor = new Visitor(library.Url);
        Assert.Contains("href=\"/preferences/sis/classlink/mapping\"", await visitor.PageAsync("/"), StringComparison.Ordinal);
        await library
            .Service<IntegrationService>()
            .ConfigureAsync(
                library.District.Id,
                IntegrationKind.OneRoster,
                "test",
                "connected",
                s => s with { Mode = ConnectionMode.Bearer, Url = "http://127.0.0.1:9", Version = "1.1" }
            );
        var page = await visitor.PageAsync("/");
        Assert.Contains("href=\"/preferences/sis/oneroster/mapping\"", page, StringComparison.Ordinal);
        Assert.DoesNotContain("href=\"/preferences/sis/classlink", page, StringComparison.Ordinal);

        // Nothing is matched where nothing is.
        var mapping = await visitor.PageAsync("/preferences/sis/oneroster/sites");
        Assert.DoesNotContain("Every site is matched", mapping, StringComparison.Ordinal);
        Assert.Contains("cannot be shown now", mapping, StringComparison.Ordinal);

        await library.Service<IntegrationService>().StorePartnerKeyAsync(library.Sandbox.Options.PartnerKey, "test");
        foreach (var school in library.Sandbox.District.Schools)
        {
            library.Sandbox.Overrides.Change("orgs", school.SourcedId, r => r["type"] = "district");
        }

        await library
            .Service<IntegrationService>()
            .ConnectAsync(
                library.District,
                IntegrationKind.ClassLink,
                new ConnectRequest(
                    ConnectionMode.Proxy,
                    library.Sandbox.Options.TenantId,
                    library.Sandbox.Url.GetLeftPart(UriPartial.Authority)
                ),
                asOperator: true,
                clear: false,
                "test"
            );
        Assert.Contains(
            "The library has no site yet, and",
            await visitor.PageAsync("/preferences/sis/classlink/sites"),
            StringComparison.Ordinal
        );

        // Nobody is told to press a button that they have not got.
        await library.Service<SiteService>().AddAsync(library.District.Id, "S01", new SiteChange("One", null, null, null, null), "test");
        using var librarian = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.Librarian, "S01"));
        const string first = "The steps above come first";
        var theirs = await librarian.PageAsync("/");
        Assert.DoesNotContain(first, theirs, StringComparison.Ordinal);
        Assert.DoesNotContain("Start with a preview", theirs, StringComparison.Ordinal);
        Assert.Contains(first, await visitor.PageAsync("/"), StringComparison.Ordinal);
    }
}
