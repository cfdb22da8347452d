using System.Net;
using System.Text;
using Rollcall.Districts;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Storage;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Pages;

/// <summary>The way back, and people who wait in Review, on the pages.</summary>
public sealed class DecisionPageTests(SyncedLibrary library) : DecisionPages(library), IClassFixture<SyncedLibrary>;

/// <summary>The same on PostgreSQL, where every page works under row-level security.</summary>
public sealed class DecisionPageOnPostgresTests(PostgresLibrary library) : DecisionPages(library), IClassFixture<PostgresLibrary>;

public abstract class DecisionPages(SyncedLibrary library)
{
    [Fact]
    public async Task A_notice_that_reached_nobody_is_shown_where_people_look_until_its_place_is_mended()
    {
        const string lost = "could not be delivered";
        using var visitor = new Visitor(library.Url);
        await using var hook = await HookServer.StartAsync();
        var notices = library.Service<NoticeService>();
        await notices.SetAsync(library.District.Id, [], NoticeEvents.Failed, hook.Url, "a secret of enough length", "test");
        var sync = (await library.Service<OperationQueue>().ListAsync(library.District.Id)).Last(o => o.Kind == OperationKind.FullSync);
        Assert.DoesNotContain("id=\"notices\"", await visitor.PageAsync($"/operations/{sync.Id}"), StringComparison.Ordinal);
        await using (var context = library.Service<RollcallDatabase>().CreateContext())
        {
            context.Notices.Add(
                new Notice
                {
                    DistrictId = library.District.Id,
                    OperationId = sync.Id,
                    Channel = NoticeChannel.Webhook,
                    Event = NoticeEvents.Warnings,
                    Target = hook.Url,
                    Status = NoticeStatus.Failed,
                    Attempts = 5,
                    Error = "The webhook answered 500.",
                    CreatedAt = TimeProvider.System.GetUtcNow(),
                }
            );
            context.Notices.Add(
                new Notice
                {
                    DistrictId = library.District.Id,
                    OperationId = sync.Id,
                    Channel = NoticeChannel.Email,
                    Event = NoticeEvents.Warnings,
                    Target = "office@school.example",
                    Status = NoticeStatus.Waiting,
                    DueAt = TimeProvider.System.GetUtcNow().AddHours(1),
                    CreatedAt = TimeProvider.System.GetUtcNow(),
                }
            );
            await context.SaveChangesAsync();
        }

        Assert.Contains(lost, await visitor.PageAsync("/operations"), StringComparison.Ordinal);
        var page = await visitor.PageAsync($"/operations/{sync.Id}");
        Assert.Contains("Who was told", page, StringComparison.Ordinal);
        Assert.Contains("that it ended, with warnings", page, StringComparison.Ordinal);
        Assert.Contains("The webhook answered 500.", page, StringComparison.Ordinal);
        Assert.Contains("No email can be sent from this server", page, StringComparison.Ordinal);
        Assert.Contains($"1 notice of the last seven days {lost}", await visitor.PageAsync("/"), StringComparison.Ordinal);

        // The test button reaches the place: the dashboard is calm again, and the operation still says what became of its notice.
        await visitor.SubmitAsync("/preferences/notices", "/preferences/notices?handler=Test");
        Assert.Contains("\"event\":\"test\"", Assert.Single(hook.Posts).Body, StringComparison.Ordinal);
        Assert.DoesNotContain(lost, await visitor.PageAsync("/"), StringComparison.Ordinal);
        Assert.Contains("The webhook answered 500.", await visitor.PageAsync($"/operations/{sync.Id}"), StringComparison.Ordinal);
        await notices.SetAsync(library.District.Id, [], null, "", null, "test");
    }

    [Fact]
    public async Task An_import_is_undone_from_its_page_and_a_person_in_Review_is_linked_and_reopened()
    {
        using var visitor = new Visitor(library.Url);
        using var stream = new MemoryStream(
            Encoding.UTF8.GetBytes("barcode,lastName,firstName,email\nREV001,Otherwise,Olga,olga.review@example.org\n")
        );
        var import = await library.Service<PatronImport>().PlanAsync(library.District.Id, stream, "one.csv", preview: false, "test");
        await library.EndOfAsync(import);

        // Undo by the page of the operation; the patron is gone, and the page says what happened.
        var undo = await visitor.SubmitAsync($"/operations/{import}", $"/operations/{import}?handler=Undo");
        var ended = await library.EndOfAsync(long.Parse(undo.Split('/')[^1], System.Globalization.CultureInfo.InvariantCulture));
        Assert.Equal((OperationKind.Undo, 1L), (ended.Kind, OperationQueue.CountsOf(ended).Removed));
        Assert.Contains($"operation {import}", await visitor.PageAsync(undo), StringComparison.Ordinal);
        Assert.DoesNotContain("handler=Undo", await visitor.PageAsync($"/operations/{import}"), StringComparison.Ordinal);
        var taken = await visitor.PageAsync(undo);
        Assert.DoesNotContain("handler=Undo", taken, StringComparison.Ordinal);
        Assert.Contains("REV001", taken, StringComparison.Ordinal);
        Assert.DoesNotContain("href=\"/patrons/REV001\"", taken, StringComparison.Ordinal);

        // The same address under another last name: Review asks.
        using var again = new MemoryStream(
            Encoding.UTF8.GetBytes("barcode,lastName,firstName,email\nREV002,Otherwise,Olga,olga.review@example.org\n")
        );
        await library.EndOfAsync(
            await library.Service<PatronImport>().PlanAsync(library.District.Id, again, "two.csv", preview: false, "test")
        );
        library.Sandbox.Overrides.Put(
            "users",
            new System.Text.Json.Nodes.JsonObject
            {
                ["sourcedId"] = "review-1",
                ["status"] = "active",
                ["dateLastModified"] = "2026-01-01T00:00:00.000Z",
                ["username"] = "olga",
                ["enabledUser"] = "true",
                ["givenName"] = "Olga",
                ["familyName"] = "Married",
                ["role"] = "student",
                ["email"] = "olga.review@example.org",
                ["orgs"] = new System.Text.Json.Nodes.JsonArray(
                    new System.Text.Json.Nodes.JsonObject
                    {
                        ["sourcedId"] = library.Sandbox.District.Schools.First().SourcedId,
                        ["type"] = "org",
                    }
                ),
                ["grades"] = new System.Text.Json.Nodes.JsonArray("05"),
            }
        );
        var sync = await visitor.SubmitAsync("/", "/?handler=Sync");
        await library.EndOfAsync(long.Parse(sync.Split('/')[^1], System.Globalization.CultureInfo.InvariantCulture));
        var row = Assert.Single(await library.Service<ReviewService>().ListAsync(library.District.Id), r => r.Guid == "review-1");
        var review = await visitor.PageAsync("/review");
        Assert.Contains("REV002", review, StringComparison.Ordinal);

        // Overnight a barcode changes hands, or the patron is another one by now: nobody is linked who was not looked at.
        (string Name, string Value) Seen(string page) => Visitor.FieldsOf(page, "barcode").Single(f => f.Name == "seen");
        (string, string)[] link = [("id", $"{row.Id}"), ("barcode", "REV002")];
        var seen = Seen(review);
        await library.Service<PatronService>().EditAsync(library.District.Id, "REV002", [new("notes", "meanwhile")], "test");
        foreach (
            var form in ((string, string)[][])
                [
                    [.. link, seen],
                    link,
                ]
        )
        {
            await visitor.SubmitAsync("/review", "/review?handler=Link", form);
            Assert.Contains("Look at the patron", await visitor.PageAsync("/review"), StringComparison.Ordinal);
            Assert.Null((await library.Service<PatronService>().GetAsync(library.District.Id, "REV002")).Patron.Guid);
        }

        // Whoever has rights here is linked by a District Administrator alone: nobody else is offered it.
        await library.Service<PatronService>().EditAsync(library.District.Id, "REV002", [new("group", "Librarian")], "test");
        using (var some = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.LibraryAdministrator)))
        {
            Assert.DoesNotContain("handler=Link", await some.PageAsync("/review"), StringComparison.Ordinal);
        }

        Assert.Contains("handler=Link", await visitor.PageAsync("/review"), StringComparison.Ordinal);
        await library.Service<PatronService>().EditAsync(library.District.Id, "REV002", [new("group", "Patron")], "test");
        await visitor.SubmitAsync("/review", "/review?handler=Link", [.. link, Seen(await visitor.PageAsync("/review"))]);
        Assert.Contains("is linked to Married, Olga of the roster", await visitor.PageAsync("/review"), StringComparison.Ordinal);
        var (patron, _) = await library.Service<PatronService>().GetAsync(library.District.Id, "REV002");
        Assert.Equal(("review-1", "Married"), (patron.Guid, patron.LastName));

        // The person is of the one site, the patron of another by now: a librarian of the first does not change them by taking this back.
        var elsewhere = (await library.Service<SiteService>().ListAsync(library.District.Id)).First(s => s.Code != row.Site).Code;
        await library.Service<PatronService>().EditAsync(library.District.Id, "REV002", [new("site", elsewhere)], "test");
        using (var librarian = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.Librarian, row.Site)))
        {
            await librarian.SubmitAsync("/review", "/review?handler=Reopen", ("id", $"{row.Id}"));
            Assert.Contains(
                "A patron of another site came of this decision",
                await librarian.PageAsync("/review"),
                StringComparison.Ordinal
            );
            Assert.Equal("review-1", (await library.Service<PatronService>().GetAsync(library.District.Id, "REV002")).Patron.Guid);
        }

        await library.Service<PatronService>().EditAsync(library.District.Id, "REV002", [new("site", row.Site)], "test");
        await visitor.SubmitAsync("/review", "/review?handler=Reopen", ("id", $"{row.Id}"));
        var back = (await library.Service<OperationQueue>().ListAsync(library.District.Id)).First(o => o.Kind == OperationKind.Undo);
        await library.EndOfAsync(back.Id);
        (patron, _) = await library.Service<PatronService>().GetAsync(library.District.Id, "REV002");
        Assert.Equal((null, "Otherwise"), (patron.Guid, patron.LastName));
        await visitor.SubmitAsync("/review", "/review?handler=Ignore", ("id", $"{row.Id}"));
        Assert.DoesNotContain(await library.Service<ReviewService>().ListAsync(library.District.Id), r => r.Guid == "review-1");
    }

    [Fact]
    public async Task A_removal_that_waits_offers_its_patrons_as_a_file_that_brings_them_back()
    {
        using var visitor = new Visitor(library.Url);
        const string file =
            "barcode,lastName,firstName,email,notes,status,doNotTransfer\nREM001,Removable,Rita,rita@example.org,\"two\nlines\",Transferred,yes\nREM002,Removable,Rolf,,stays,Active,\n";
        await library.EndOfAsync(await ImportAsync(file));
        var removal = await library
            .Service<PatronBulk>()
            .PlanRemovalAsync(
                library.District.Id,
                new PatronFilter("Removable", Status: PatronStatus.Transferred),
                preview: true,
                new Actor("test", SecurityGroup.DistrictAdministrator)
            );
        await library.EndOfAsync(removal);
        var page = await visitor.PageAsync($"/operations/{removal}");
        var link = System
            .Text.RegularExpressions.Regex.Match(page, "href=\"(?<to>[^\"]*)\" download>Download these patrons")
            .Groups["to"]
            .Value;
        var (_, csv, _) = await visitor.GetAsync(System.Net.WebUtility.HtmlDecode(link));
        Assert.Contains("REM001", csv, StringComparison.Ordinal);
        Assert.DoesNotContain("REM002", csv, StringComparison.Ordinal);
        var export = (await library.Service<OperationQueue>().ListAsync(library.District.Id)).First(o => o.Kind == OperationKind.Export);
        Assert.Equal(1, OperationQueue.CountsOf(export).Read);
        Assert.Contains($"operation {removal} is to remove", export.Options, StringComparison.Ordinal);

        var patrons = library.Service<PatronService>();
        var (before, _) = await patrons.GetAsync(library.District.Id, "REM001");
        await visitor.SubmitAsync($"/operations/{removal}", $"/operations/{removal}?handler=Approve");
        await library.EndOfAsync(removal);
        await Assert.ThrowsAsync<RollcallException>(() => patrons.GetAsync(library.District.Id, "REM001"));
        await library.EndOfAsync(await ImportAsync(csv));
        var (after, _) = await patrons.GetAsync(library.District.Id, "REM001");
        Assert.All(PatronFields.All, f => Assert.Equal((f.Name, f.Get(before)), (f.Name, f.Get(after))));

        async Task<long> ImportAsync(string text)
        {
            using var stream = new MemoryStream(Encoding.UTF8.GetBytes(text));
            return await library
                .Service<PatronImport>()
                .PlanAsync(library.District.Id, stream, "r.csv", false, new Actor("test", SecurityGroup.DistrictAdministrator));
        }
    }

    /// <summary>Whoever does not see who comes into question does not say that it is nobody.</summary>
    [Fact]
    public async Task Whose_possible_patrons_are_of_other_sites_is_for_others_to_decide()
    {
        var (site, other) = (await SiteIdAsync("S01"), await SiteIdAsync("S02"));
        var people = (
            await library.Service<PatronService>().PageAsync(library.District.Id, new(), PatronSort.Name, false, 1, 1000)
        ).Patrons;
        var (own, theirs) = (people.First(p => p.SiteId == site), people.First(p => p.SiteId == other));
        await using (var context = library.Service<RollcallDatabase>().CreateContext())
        {
            long[][] candidates =
            [
                [theirs.Id],
                [own.Id, theirs.Id],
                [own.Id],
                [],
            ];
            for (var i = 0; i < candidates.Length; i++)
            {
                context.ReviewItems.Add(
                    new ReviewItem
                    {
                        DistrictId = library.District.Id,
                        Id = 6000 + i,
                        RosterId = $"hidden-{i}",
                        RoleGroup = RoleGroup.Student,
                        Status = ReviewStatus.Open,
                        Reason = "test",
                        Values = $$"""{"{{PatronFields.LastName}}":[null,"Hidden{{i}}"],"{{PatronFields.Site}}":[null,"{{site}}"]}""",
                        Candidates = $"[{string.Join(',', candidates[i])}]",
                    }
                );
            }

            await context.SaveChangesAsync();
        }

        const string words = "1 patron of a site that you do not see may be this person: whoever sees all sites decides.";
        using var librarian = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.Librarian, "S01"));
        var page = await librarian.PageAsync("/review");
        Assert.DoesNotContain(theirs.Barcode, page, StringComparison.Ordinal);
        string Part(string of, int i) => of[of.IndexOf($"id=\"person-{6000 + i}\"", StringComparison.Ordinal)..].Split("</li>", 2)[0];
        for (var i = 0; i < 4; i++)
        {
            var part = Part(page, i);
            Assert.Equal((i, i < 2), (i, part.Contains(words, StringComparison.Ordinal)));
            Assert.Equal((i, i >= 2), (i, part.Contains("handler=Create", StringComparison.Ordinal)));
            Assert.Equal((i, i >= 2), (i, part.Contains("handler=Ignore", StringComparison.Ordinal)));
            Assert.Equal((i, i is 1 or 2), (i, part.Contains("handler=Link", StringComparison.Ordinal)));
        }

        foreach (var what in (string[])["Create", "Ignore"])
        {
            await librarian.SubmitAsync("/review", "reviews", $"/review?handler={what}", [("id", "6000")]);
            Assert.Contains(words, await librarian.PageAsync("/review"), StringComparison.Ordinal);
        }

        Assert.Contains(await library.Service<ReviewService>().ListAsync(library.District.Id), r => r.Id == 6000);

        // Whoever sees all sites sees who it may be.
        using var administrator = new Visitor(library.Url);
        var all = Part(await administrator.PageAsync("/review"), 0);
        Assert.Contains("handler=Create", all, StringComparison.Ordinal);
        Assert.Contains(theirs.Barcode, all, StringComparison.Ordinal);
        await administrator.SubmitAsync("/review", "reviews", "/review?handler=Ignore", [("id", "6000")]);
        Assert.DoesNotContain(await library.Service<ReviewService>().ListAsync(library.District.Id), r => r.Id == 6000);
        await using var after = library.Service<RollcallDatabase>().CreateContext();
        await Microsoft.EntityFrameworkCore.EntityFrameworkQueryableExtensions.ExecuteDeleteAsync(
            after.ReviewItems.Where(r => r.Id >= 6000 && r.Id < 6010)
        );
    }

    [Fact]
    public async Task Review_goes_on_where_it_was_and_pages_what_is_decided()
    {
        var (site, other) = (await SiteIdAsync("S01"), await SiteIdAsync("S02"));
        await using (var context = library.Service<RollcallDatabase>().CreateContext())
        {
            for (var i = 0; i < 180; i++)
            {
                var open = i < 60;
                context.ReviewItems.Add(
                    new ReviewItem
                    {
                        DistrictId = library.District.Id,
                        Id = 7000 + i,
                        RosterId = $"paged-{i}",
                        RoleGroup = RoleGroup.Student,
                        Status = open ? ReviewStatus.Open : ReviewStatus.Ignored,
                        Reason = "test",
                        Values =
                            $$"""{"{{PatronFields.LastName}}":[null,"Paged{{i}}"],"{{PatronFields.Site}}":[null,"{{(i % 3 == 0 ? other : site)}}"]}""",
                        DecidedBy = open ? null : "test",
                        DecidedAt = open ? null : TimeProvider.System.GetUtcNow().AddMinutes(i),
                    }
                );
            }

            await context.SaveChangesAsync();
        }

        using var visitor = new Visitor(library.Url);
        var second = await visitor.PageAsync("/review?page=2");
        Assert.Contains("name=\"at\" value=\"2\"", second, StringComparison.Ordinal);
        var last = await visitor.SubmitAsync("/review?page=2", "/review?handler=Ignore", ("id", "7059"), ("next", ""), ("at", "2"));
        Assert.Equal("/review?page=2", last);

        // The newest decision comes first; the rest is on other pages.
        var first = await visitor.PageAsync("/review");
        Assert.Contains("Paged179", first, StringComparison.Ordinal);
        Assert.DoesNotContain("Paged100<", first, StringComparison.Ordinal);
        Assert.Contains("/review?decided=2", first, StringComparison.Ordinal);
        Assert.Contains("Paged100<", await visitor.PageAsync("/review?decided=2"), StringComparison.Ordinal);

        // Somebody in particular is looked for, of one site, for one reason, in another order; buttons lead back to the same list.
        await using (var some = library.Service<RollcallDatabase>().CreateContext())
        {
            var one = await some.ReviewItems.FindAsync(library.District.Id, 7001);
            one!.Reason = "Several patrons have this Student #";
            one.Values = one.Values.Replace("Paged1", "Zoë Paged1", StringComparison.Ordinal);
            await some.SaveChangesAsync();
        }

        static IReadOnlyList<int> Shown(string page) =>
            [
                .. System
                    .Text.RegularExpressions.Regex.Matches(page, "id=\"person-([0-9]+)\"")
                    .Select(m => int.Parse(m.Groups[1].Value, System.Globalization.CultureInfo.InvariantCulture)),
            ];
        Assert.Equal([7001], Shown(await visitor.PageAsync("/review?q=zoe+paged")));
        Assert.Equal([7001], Shown(await visitor.PageAsync("/review?q=PAGED-1+zoe")));
        Assert.Equal([7001], Shown(await visitor.PageAsync("/review?reason=Several+patrons+have+this+Student+%23")));
        Assert.All(Shown(await visitor.PageAsync("/review?site=S02&q=paged")), id => Assert.Equal(0, id % 3 == 1 ? 0 : 1));
        Assert.Equal(20, Shown(await visitor.PageAsync("/review?site=S02&q=paged")).Count);
        Assert.Equal(7058, Shown(await visitor.PageAsync("/review?sort=newest&q=paged"))[0]);
        Assert.Equal(7001, Shown(await visitor.PageAsync("/review?sort=name&page=2&q=paged"))[^1]);
        Assert.Contains("Nobody of those who wait fits", await visitor.PageAsync("/review?q=nobody-at-all"), StringComparison.Ordinal);
        Assert.Contains("Nobody of those who wait fits", await visitor.PageAsync("/review?q=%2C"), StringComparison.Ordinal);
        Assert.Equal(
            "/review?next=7002&q=paged#person-7002",
            await visitor.SubmitAsync("/review?q=paged", "/review?handler=Ignore&q=paged", ("id", "7001"), ("next", "7002"), ("at", "1"))
        );

        // A decision leads to whom it names, once: from there the pages turn as ever.
        var led = await visitor.PageAsync("/review?next=7002&q=paged");
        Assert.Contains(7002, Shown(led));
        Assert.Contains("href=\"/review?q=paged&amp;page=2\"", led, StringComparison.Ordinal);
        Assert.DoesNotContain(7002, Shown(await visitor.PageAsync("/review?next=7002&q=paged&page=2")));
        Assert.Equal(
            "/review?decided=2#decided",
            await visitor.SubmitAsync("/review?decided=2", "/review?handler=Reopen", ("id", "7100"), ("decided", "2"))
        );

        // Sites go by their names, and a librarian counts those of the own ones.
        var name = (await library.Service<Rollcall.Districts.SiteService>().ListAsync(library.District.Id)).First(s => s.Id == site).Name;
        Assert.Contains(name, first, StringComparison.Ordinal);
        using var librarian = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.Librarian, "S01"));

        // The count is kept for seconds; another test may have asked for it just before.
        library.Service<Microsoft.Extensions.Caching.Memory.IMemoryCache>().Remove(("review", library.District.Id));
        var own = await librarian.PageAsync("/patrons");
        var waiting = (await library.Service<ReviewService>().ListAsync(library.District.Id)).Count(r => r.Site == "S01");
        Assert.InRange(waiting, 38, 44);
        Assert.Contains($"{waiting}<span class=\"visually-hidden\"> waiting", own, StringComparison.Ordinal);
        await using var after = library.Service<RollcallDatabase>().CreateContext();
        await Microsoft.EntityFrameworkCore.EntityFrameworkQueryableExtensions.ExecuteDeleteAsync(
            after.ReviewItems.Where(r => r.Id >= 7000)
        );
    }

    [Fact]
    public async Task A_merge_that_Review_asked_for_leads_back_to_whoever_waits_and_a_link_says_which_card_number_it_changes()
    {
        const string next = "/review?next=6100#person-6100";
        using var visitor = new Visitor(library.Url);
        var (patrons, database) = (library.Service<PatronService>(), library.Service<RollcallDatabase>());
        var site = await SiteIdAsync("S01");
        var ids = new List<long>();
        foreach (var barcode in (string[])["WAIT1", "WAIT2", "WAIT3", "WAIT4"])
        {
            await patrons.AddAsync(
                library.District.Id,
                [new("barcode", barcode), new("lastName", "Waitingfor"), new("site", "S01")],
                "test"
            );
            ids.Add((await patrons.GetAsync(library.District.Id, barcode)).Patron.Id);
        }

        await using (var context = database.CreateContext())
        {
            foreach (var (id, card) in ((int, string)[])[(6100, "NEWCARD1"), (6101, "WAIT4")])
            {
                context.ReviewItems.Add(
                    new ReviewItem
                    {
                        DistrictId = library.District.Id,
                        Id = id,
                        RosterId = $"waits-{id}",
                        RoleGroup = RoleGroup.Student,
                        Status = ReviewStatus.Open,
                        Reason = "test",
                        Values =
                            $$"""{"{{PatronFields.LastName}}":[null,"Waitingfor"],"{{PatronFields.Barcode}}":[null,"{{card}}"],"{{PatronFields.Site}}":[null,"{{site}}"]}""",
                        Candidates = $"[{ids[0]},{ids[1]},{ids[2]}]",
                    }
                );
            }

            await context.SaveChangesAsync();
        }

        // Before the button is pressed. A number that another patron has would not be taken.
        string Part(string page, int id) =>
            WebUtility.HtmlDecode(page[page.IndexOf($"id=\"person-{id}\"", StringComparison.Ordinal)..].Split("</li>", 2)[0]);
        var review = await visitor.PageAsync("/review?q=waitingfor");
        Assert.Contains(
            "Card number changes from <span class=\"code\">WAIT1</span> to <span class=\"code\">NEWCARD1</span>",
            Part(review, 6100),
            StringComparison.Ordinal
        );
        Assert.DoesNotContain("Card number changes", Part(review, 6101), StringComparison.Ordinal);

        // There and back again, also where the records change places or nothing is merged.
        const string merge = "/patron/merge?keep=WAIT1&other=WAIT2&review=6100";
        Assert.Contains($"href=\"{merge}\"", Part(review, 6100), StringComparison.Ordinal);
        var page = WebUtility.HtmlDecode(await visitor.PageAsync(merge));
        Assert.Contains("href=\"/patron/merge?keep=WAIT2&other=WAIT1&review=6100\"", page, StringComparison.Ordinal);
        Assert.Contains($"href=\"{next}\">Cancel", page, StringComparison.Ordinal);
        Assert.Equal(next, await visitor.SubmitAsync(merge, merge, [.. Visitor.FieldsOf(page, "kept")]));
        var after = WebUtility.HtmlDecode(await visitor.PageAsync("/review?next=6100"));
        Assert.Contains("Waitingfor still waits below: link to WAIT1 if it is that person.", after, StringComparison.Ordinal);
        Assert.Contains("id=\"person-6100\"", after, StringComparison.Ordinal);

        // What was said is what the link does.
        var seen = $"{SeenPatron.Of((await patrons.GetAsync(library.District.Id, "WAIT1")).Patron)}";
        await visitor.SubmitAsync(
            "/review?next=6100",
            "reviews",
            "/review?handler=Link",
            [("id", "6100"), ("barcode", "WAIT1"), ("seen", seen)]
        );
        Assert.Equal(ids[0], (await patrons.GetAsync(library.District.Id, "NEWCARD1")).Patron.Id);

        // Whoever is decided on meanwhile waits no more.
        const string late = "/patron/merge?keep=NEWCARD1&other=WAIT3&review=6100";
        page = await visitor.PageAsync(late);
        Assert.Equal("/review", await visitor.SubmitAsync(late, late, [.. Visitor.FieldsOf(page, "kept")]));
        Assert.Contains("does not wait in Review any more", await visitor.PageAsync("/review"), StringComparison.Ordinal);
        await using var end = database.CreateContext();
        await Microsoft.EntityFrameworkCore.EntityFrameworkQueryableExtensions.ExecuteDeleteAsync(
            end.ReviewItems.Where(r => r.Id >= 6100 && r.Id < 6110)
        );
    }

    /// <summary>A brother's or sister's card is a click away: who follows somebody already is said, and asked about.</summary>
    [Fact]
    public async Task Review_offers_a_link_at_once_only_where_it_is_likely_and_free()
    {
        using var visitor = new Visitor(library.Url);
        var (patrons, database) = (library.Service<PatronService>(), library.Service<RollcallDatabase>());
        var site = await SiteIdAsync("S01");
        var follows = (
            await patrons.PageAsync(library.District.Id, new PatronFilter { Linked = true }, PatronSort.Barcode, false, 1, 1)
        ).Patrons[0];
        foreach (var (barcode, first) in ((string, string)[])[("FREE1", "Hank"), ("FREE2", "Jake")])
        {
            await patrons.AddAsync(
                library.District.Id,
                [new("barcode", barcode), new("lastName", "Sibling"), new("firstName", first), new("site", "S01")],
                "test"
            );
        }

        var ids = new List<long> { follows.Id };
        foreach (var barcode in (string[])["FREE1", "FREE2"])
        {
            ids.Add((await patrons.GetAsync(library.District.Id, barcode)).Patron.Id);
        }

        // Who has left all schools follows their former record still: another one brings them back.
        var left = (
            await patrons.PageAsync(library.District.Id, new PatronFilter { Linked = true }, PatronSort.Barcode, false, 2, 1)
        ).Patrons[0];
        ids.Add(left.Id);
        await LeaveAsync(PatronStatus.Transferred, true);
        await using (var context = database.CreateContext())
        {
            foreach (var (id, reason) in ((int, string)[])[(6200, "test"), (6201, ReviewItem.OpenedAgain)])
            {
                context.ReviewItems.Add(
                    new ReviewItem
                    {
                        DistrictId = library.District.Id,
                        Id = id,
                        RosterId = $"sibling-{id}",
                        RoleGroup = RoleGroup.Student,
                        Status = ReviewStatus.Open,
                        Reason = reason,
                        Values =
                            $$"""{"{{PatronFields.LastName}}":[null,"Sibling"],"{{PatronFields.FirstName}}":[null,"Hank"],"{{PatronFields.Site}}":[null,"{{site}}"]}""",
                        Candidates = $"[{string.Join(',', ids)}]",
                    }
                );
            }

            await context.SaveChangesAsync();
        }

        string Part(string page, int id) =>
            WebUtility.HtmlDecode(page[page.IndexOf($"id=\"person-{id}\"", StringComparison.Ordinal)..].Split("</li>", 2)[0]);
        var review = await visitor.PageAsync("/review?q=sibling");
        var open = Part(review, 6200);
        Assert.Contains("Follows somebody in the roster already", open, StringComparison.Ordinal);
        Assert.Contains("Same person twice in the roster…", open, StringComparison.Ordinal);
        Assert.DoesNotContain($"Link to {follows.Barcode}", open, StringComparison.Ordinal);
        Assert.Contains("btn-primary btn-small\" type=\"submit\">Link to FREE1", open, StringComparison.Ordinal);
        Assert.Contains("btn-quiet btn-small\" type=\"submit\">Link to FREE2", open, StringComparison.Ordinal);

        // What would be refused is greyed, and says why; that somebody is there twice can be said without the roster's values.
        var again = Part(review, 6201);
        Assert.Contains("type=\"submit\" disabled=\"disabled\">Create as new", again, StringComparison.Ordinal);
        Assert.Contains("type=\"submit\" disabled=\"disabled\">Link to FREE1", again, StringComparison.Ordinal);
        Assert.Contains("comes with the next full sync", again, StringComparison.Ordinal);
        Assert.Contains("Yes, they are one person", again, StringComparison.Ordinal);
        const string stays = "nothing is read from that record while the other one is there.";
        const string comesBack = "By this record they are back at a school and have what it says.";
        Assert.Equal((2, 2), (open.Split(stays).Length, open.Split(comesBack).Length));
        Assert.Contains($"<span dir=\"auto\">{left.DisplayName}</span>: no card of their own. {comesBack}", open, StringComparison.Ordinal);
        Assert.DoesNotContain(comesBack, again, StringComparison.Ordinal);
        await LeaveAsync(left.Status, false);

        // What was decided says of whom, and when.
        await visitor.SubmitAsync(
            "/review?q=sibling",
            "reviews",
            "/review?handler=Link",
            [("id", "6200"), ("barcode", follows.Barcode), ("seen", $"{SeenPatron.Of(follows)}")]
        );
        var decided = WebUtility.HtmlDecode(await visitor.PageAsync("/review"));
        Assert.Contains("Sibling, Hank there is another record of the same person", decided, StringComparison.Ordinal);
        var row = decided[decided.IndexOf("id=\"decided\"", StringComparison.Ordinal)..];
        row = row[row.IndexOf("Sibling, Hank", StringComparison.Ordinal)..].Split("</tr>", 2)[0];
        Assert.Contains(
            $"Linked to <a href=\"{Rollcall.Server.Pages.Parts.Words.PatronUrl(follows.Barcode)}\"",
            row,
            StringComparison.Ordinal
        );
        Assert.Contains("<time", row, StringComparison.Ordinal);
        var history = WebUtility.HtmlDecode(
            await visitor.PageAsync(Rollcall.Server.Pages.Parts.Words.PatronUrl(follows.Barcode, "tab=history"))
        );
        Assert.Contains("Sibling, Hank is another record of this person in the roster", history, StringComparison.Ordinal);
        await visitor.SubmitAsync("/review", "decided", "/review?handler=Reopen", [("id", "6200")]);
        var undo = (await library.EndOfLastAsync(OperationKind.Undo)).Id;
        Assert.Contains(
            $"<a href=\"/operations/{undo}\">Operation {undo}</a>",
            await visitor.PageAsync("/review"),
            StringComparison.Ordinal
        );
        await using var end = database.CreateContext();
        await Microsoft.EntityFrameworkCore.EntityFrameworkQueryableExtensions.ExecuteDeleteAsync(
            end.ReviewItems.Where(r => r.Id >= 6200 && r.Id < 6210)
        );

        async Task LeaveAsync(PatronStatus status, bool schools)
        {
            await using var context = database.CreateContext();
            await Microsoft.EntityFrameworkCore.EntityFrameworkQueryableExtensions.ExecuteUpdateAsync(
                context.Patrons.Where(p => p.DistrictId == library.District.Id && p.Id == left.Id),
                s => s.SetProperty(p => p.Status, status)
            );
            await Microsoft.EntityFrameworkCore.EntityFrameworkQueryableExtensions.ExecuteUpdateAsync(
                context.PatronLinks.Where(l => l.DistrictId == library.District.Id && l.PatronId == left.Id),
                s => s.SetProperty(l => l.LeftSchools, schools)
            );
        }
    }

    [Fact]
    public async Task A_log_that_retention_removed_is_not_said_to_be_empty()
    {
        using var visitor = new Visitor(library.Url);
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        var gone = new Operation
        {
            DistrictId = library.District.Id,
            Kind = OperationKind.FullSync,
            Status = OperationStatus.Completed,
            Planned = true,
            Expired = true,
            RequestedBy = "test",
            CreatedAt = TimeProvider.System.GetUtcNow(),
        };
        context.Operations.Add(gone);
        await context.SaveChangesAsync();
        var page = await visitor.PageAsync($"/operations/{gone.Id}");
        Assert.Contains("older than logs are kept", page, StringComparison.Ordinal);
        Assert.DoesNotContain("nobody was changed", page, StringComparison.Ordinal);
    }

    private async Task<int> SiteIdAsync(string code) =>
        (await library.Service<Rollcall.Districts.SiteService>().ListAsync(library.District.Id)).First(s => s.Code == code).Id;
}
