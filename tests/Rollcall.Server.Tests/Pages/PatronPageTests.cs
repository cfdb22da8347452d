using System.Net;
using System.Text;
using System.Text.RegularExpressions;
using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;
using Rollcall.Storage;

namespace Rollcall.Server.Tests.Pages;

/// <summary>A librarian's work on one patron and on many, on the pages.</summary>
public sealed class PatronPageTests(SyncedLibrary library) : PatronPages(library), IClassFixture<SyncedLibrary>;

/// <summary>The same on PostgreSQL, where every page works under row-level security.</summary>
public sealed class PatronPageOnPostgresTests(PostgresLibrary library) : PatronPages(library), IClassFixture<PostgresLibrary>;

public abstract partial class PatronPages(SyncedLibrary library)
{
    private static long IdOf(string location) =>
        long.Parse(location.Split('/')[^1].Split('?')[0], System.Globalization.CultureInfo.InvariantCulture);

    private async Task<Patron> LinkedAsync(int skip) =>
        (
            await library
                .Service<PatronService>()
                .PageAsync(
                    library.District.Id,
                    new PatronFilter { Linked = true, RoleGroup = RoleGroup.Student },
                    PatronSort.Barcode,
                    false,
                    skip,
                    1
                )
        ).Patrons[0];

    private async Task<Patron> GetAsync(string barcode) =>
        (await library.Service<PatronService>().GetAsync(library.District.Id, barcode)).Patron;

    private async Task<(string Name, string Value)> SeenAsync(string barcode) => ("seen", $"{SeenPatron.Of(await GetAsync(barcode))}");

    [Fact]
    public async Task A_patron_is_edited_kept_synced_alone_explained_and_taken_back()
    {
        using var visitor = new Visitor(library.Url);
        var patron = await LinkedAsync(3);
        var url = $"/patrons/{patron.Barcode}";
        var edit = $"/patron/edit?barcode={patron.Barcode}";
        var form = WebUtility.HtmlDecode(await visitor.PageAsync(edit));
        Assert.Contains("The library keeps this field", form, StringComparison.Ordinal);
        Assert.Contains($"value=\"{SeenPatron.Of(patron)}\"", form, StringComparison.Ordinal);

        // A value that does not fit is refused in words, and what was typed stays.
        var refused = await visitor.RefusedAsync(
            edit,
            edit,
            ("lastName", " "),
            ("notes", "typed <b>"),
            ("seen", $"{SeenPatron.Of(patron)}")
        );
        Assert.Contains("Last Name may not be blank", refused, StringComparison.Ordinal);
        Assert.Contains("typed <b>", refused, StringComparison.Ordinal);

        // Kept by the library: a sync of this person leaves it, and says each step.
        Assert.Equal(
            url,
            await visitor.SubmitAsync(
                edit,
                edit,
                ("firstName", "Kept"),
                ("notes", "Likes horses"),
                ("doNotTransfer", "true"),
                ("doNotTransfer", "false"),
                ("kept", $"{PatronFields.FirstName}"),
                ("seen", $"{SeenPatron.Of(patron)}")
            )
        );
        var saved = await GetAsync(patron.Barcode);
        Assert.Equal(("Kept", "Likes horses", true, "1007"), (saved.FirstName, saved.Notes, saved.DoNotTransfer, saved.KeptFields));
        Assert.Equal(patron.LastName, saved.LastName);
        var stale = await visitor.RefusedAsync(edit, edit, ("notes", "later"), ("seen", $"{SeenPatron.Of(patron)}"));
        Assert.Contains("Somebody changed this patron", stale, StringComparison.Ordinal);
        var sync = await visitor.SubmitAsync(url, $"{url}?handler=Sync", ("seen", $"{SeenPatron.Of(patron)}"));
        await library.EndOfAsync(IdOf(sync));
        Assert.Contains("Step by step", await visitor.PageAsync(sync), StringComparison.Ordinal);
        Assert.Equal("Kept", (await GetAsync(patron.Barcode)).FirstName);
        var told = WebUtility.HtmlDecode(await visitor.PageAsync($"/patron/explain?barcode={patron.Barcode}&roster=ask"));
        Assert.Contains("library keeps, for this patron", told, StringComparison.Ordinal);
        Assert.Contains("Next full sync", told, StringComparison.Ordinal);

        // Given back to the roster: the next sync of the person writes it.
        await visitor.SubmitAsync(edit, edit, ("notes", "Likes horses"), ("seen", $"{SeenPatron.Of(await GetAsync(patron.Barcode))}"));
        await library.EndOfAsync(IdOf(await visitor.SubmitAsync(url, $"{url}?handler=Sync", ("seen", $"{SeenPatron.Of(patron)}"))));
        Assert.Equal(patron.FirstName, (await GetAsync(patron.Barcode)).FirstName);

        // One step of one patron is taken back from the history.
        var history = await library.Service<OperationLog>().HistoryAsync(library.District.Id, patron.Id);
        var first = history.Last(h => h.Operation.Kind == OperationKind.Edit).Operation.Id;
        var past = $"{url}?tab=history";
        var undo = await visitor.SubmitAsync(
            past,
            $"/operations/{first}?handler=Undo",
            ("barcode", patron.Barcode),
            ("seen", $"{SeenPatron.Of(patron)}")
        );
        await library.EndOfAsync(IdOf(undo));
        Assert.Null((await GetAsync(patron.Barcode)).Notes);

        // It is offered once: it was all of that edit.
        Assert.DoesNotContain($"/operations/{first}?handler=Undo", await visitor.PageAsync(past), StringComparison.Ordinal);

        // The record says who decides a field and where it came from; how the roster knows the patron has a part of its own.
        var record = await visitor.PageAsync(url);
        Assert.Contains($"/patron/explain?barcode={patron.Barcode}#field-{PatronFields.LastName}", record, StringComparison.Ordinal);
        Assert.DoesNotContain("class=\"history\"", record, StringComparison.Ordinal);
        Assert.Contains(">Standard Patron<", record, StringComparison.Ordinal);
        Assert.Contains($"id=\"field-{PatronFields.LastName}\"", told, StringComparison.Ordinal);
        Assert.Contains(patron.Guid!, await visitor.PageAsync($"{url}?tab=roster"), StringComparison.Ordinal);
        Assert.Equal(OperationStatus.Undone, (await library.Service<OperationQueue>().GetAsync(library.District.Id, first)).Status);
    }

    [Fact]
    public async Task Two_windows_on_one_patron_keep_each_others_changes()
    {
        using var visitor = new Visitor(library.Url);
        var patrons = library.Service<PatronService>();
        var patron = await LinkedAsync(12);
        var edit = $"/patron/edit?barcode={patron.Barcode}";
        var opened = Visitor.FieldsOf(await visitor.PageAsync(edit));

        // A colleague writes a note, changes the phone and keeps a field meanwhile; the form that was open still sends all of its fields.
        var colleague = Visitor.FieldsOf(await visitor.PageAsync(edit));
        Visitor.Put(colleague, "notes", "From the colleague");
        Visitor.Put(colleague, "phone", "555-1");
        colleague.Add(("kept", $"{PatronFields.FirstName}"));
        await visitor.SubmitAsync(edit, edit, [.. colleague]);
        var mine = opened.ToList();
        Visitor.Put(mine, "nickname", "Mine");
        mine.Add(("kept", $"{PatronFields.LastName}"));
        await visitor.SubmitAsync(edit, edit, [.. mine]);
        var both = await GetAsync(patron.Barcode);
        Assert.Equal(("From the colleague", "555-1", "Mine", "1006,1007"), (both.Notes, both.Phone, both.Nickname, both.KeptFields));

        // Both changed the same field: nothing is saved, both values are shown, and the form as it comes back touches nothing else.
        mine = [.. opened];
        Visitor.Put(mine, "phone", "555-2");
        Visitor.Put(mine, "email", "mine@example.org");
        var shown = await visitor.RefusedAsync(edit, edit, [.. mine]);
        Assert.Contains("Somebody changed this patron", shown, StringComparison.Ordinal);
        Assert.Contains("Meanwhile somebody wrote “555-1”", shown, StringComparison.Ordinal);
        Assert.Equal("555-1", (await GetAsync(patron.Barcode)).Phone);
        var returned = Visitor.FieldsOf(shown);
        Assert.Contains(("notes", "From the colleague"), returned);
        Assert.Contains(("phone", "555-2"), returned);
        await visitor.SubmitAsync(edit, edit, [.. returned]);
        var after = await GetAsync(patron.Barcode);
        Assert.Equal(
            ("From the colleague", "555-2", "mine@example.org", "Mine", "1006,1007"),
            (after.Notes, after.Phone, after.Email, after.Nickname, after.KeptFields)
        );

        // A mark is taken away by whoever saw it.
        mine = Visitor.FieldsOf(await visitor.PageAsync(edit));
        mine.RemoveAll(f => f == ("kept", $"{PatronFields.FirstName}"));
        await visitor.SubmitAsync(edit, edit, [.. mine]);
        Assert.Equal("1006", (await GetAsync(patron.Barcode)).KeptFields);

        // Marks of fields that the roster does not write for now outlive any edit, of old forms too.
        await patrons.EditAsync(library.District.Id, patron.Barcode, [new("keptFields", "1006,1070")], "test");
        await visitor.SubmitAsync(edit, edit, [.. Visitor.FieldsOf(await visitor.PageAsync(edit))]);
        Assert.Equal("1006,1070", (await GetAsync(patron.Barcode)).KeptFields);
        await visitor.SubmitAsync(edit, edit, ("notes", "x"), ("seen", $"{SeenPatron.Of(await GetAsync(patron.Barcode))}"));
        Assert.Equal("1070", (await GetAsync(patron.Barcode)).KeptFields);
        await patrons.EditAsync(
            library.District.Id,
            patron.Barcode,
            [new("keptFields", null), new("notes", null), new("nickname", null), new("phone", patron.Phone), new("email", patron.Email)],
            "test"
        );
    }

    [Fact]
    public async Task What_was_open_while_barcodes_changed_hands_does_nothing_to_anybody_else()
    {
        using var visitor = new Visitor(library.Url);
        var patrons = library.Service<PatronService>();
        await patrons.AddAsync(library.District.Id, [new("barcode", "SWAP1"), new("lastName", "Swapone")], "test");
        await patrons.AddAsync(library.District.Id, [new("barcode", "SWAP2"), new("lastName", "Swaptwo")], "test");
        const string edit = "/patron/edit?barcode=SWAP1";
        var mine = Visitor.FieldsOf(await visitor.PageAsync(edit));
        var seen = mine.Single(f => f.Name == "seen");
        foreach (var (from, to) in ((string, string)[])[("SWAP1", "SWAPX"), ("SWAP2", "SWAP1"), ("SWAPX", "SWAP2")])
        {
            await patrons.EditAsync(library.District.Id, from, [new("barcode", to)], "test");
        }

        Visitor.Put(mine, "status", "Inactive");
        var shown = await visitor.RefusedAsync(edit, edit, [.. mine]);
        Assert.Contains("This patron has got the barcode SWAP2 since you opened the page", shown, StringComparison.Ordinal);
        await LastAsync(("Swapone", "SWAP2", PatronStatus.Active), ("Swaptwo", "SWAP1", PatronStatus.Active));

        // Nor do the buttons of the page, which name the barcode.
        var edited = (await library.Service<OperationLog>().HistoryAsync(library.District.Id, (await GetAsync("SWAP1")).Id))[0]
            .Operation
            .Id;
        foreach (
            var (action, fields) in ((string, (string, string)[])[])
                [
                    ("/patrons/SWAP1?handler=Sync", [seen]),
                    ($"/operations/{edited}?handler=Undo", [("barcode", "SWAP1"), seen]),
                    ($"/operations/{edited}?handler=Undo", [("barcode", "SWAP1")]),
                ]
        )
        {
            var back = await visitor.SubmitAsync(edit, "Save", action, fields);
            Assert.Contains(
                fields.Length == 1 && action.Contains("Undo", StringComparison.Ordinal)
                    ? "Look at the patron"
                    : "The barcode SWAP1 belongs to another person since you looked",
                await visitor.PageAsync(back),
                StringComparison.Ordinal
            );
        }

        await LastAsync(("Swapone", "SWAP2", PatronStatus.Active), ("Swaptwo", "SWAP1", PatronStatus.Active));

        // What came back is the form of the one it was opened for, with what was typed and nothing else.
        await visitor.SubmitAsync("/patron/edit?barcode=SWAP2", "/patron/edit?barcode=SWAP2", [.. Visitor.FieldsOf(shown)]);
        await LastAsync(("Swapone", "SWAP2", PatronStatus.Inactive), ("Swaptwo", "SWAP1", PatronStatus.Active));

        // Whoever is gone is saved into nobody.
        var gone = Visitor.FieldsOf(await visitor.PageAsync(edit));
        await library.EndOfAsync(
            await library.Service<PatronBulk>().PlanRemovalAsync(library.District.Id, ["SWAP1"], preview: false, "test")
        );
        await patrons.EditAsync(library.District.Id, "SWAP2", [new("barcode", "SWAP1"), new("status", "Active")], "test");
        using (var answer = await visitor.PostAsync(edit, [.. gone, Visitor.TokenOf(await visitor.PageAsync(edit))]))
        {
            Assert.Contains("was removed", await answer.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        }

        await LastAsync(("Swapone", "SWAP1", PatronStatus.Active));

        async Task LastAsync(params (string Name, string Barcode, PatronStatus Status)[] expected)
        {
            foreach (var one in expected)
            {
                var patron = await GetAsync(one.Barcode);
                Assert.Equal(one, (patron.LastName, patron.Barcode, patron.Status));
            }
        }
    }

    [Fact]
    public async Task Notes_keep_their_lines_on_the_page_and_through_a_file()
    {
        using var visitor = new Visitor(library.Url);
        var patrons = library.Service<PatronService>();
        await patrons.AddAsync(library.District.Id, [new("barcode", "LINES1"), new("lastName", "Linesworth")], "test");
        const string edit = "/patron/edit?barcode=LINES1";
        var fields = Visitor.FieldsOf(await visitor.PageAsync(edit));
        Visitor.Put(fields, "notes", "Owes a book.\r\nLikes horses.");
        await visitor.SubmitAsync(edit, edit, [.. fields]);
        Assert.Equal("Owes a book.\nLikes horses.", (await GetAsync("LINES1")).Notes);
        Assert.Contains("class=\"lines\"", await visitor.PageAsync("/patrons/LINES1"), StringComparison.Ordinal);
        var (_, csv, _) = await visitor.GetAsync("/patron/export?q=linesworth&format=csv");
        Assert.Contains("\"Owes a book.\nLikes horses.\"", csv, StringComparison.Ordinal);
        await patrons.EditAsync(library.District.Id, "LINES1", [new("notes", null)], "test");
        using var file = new MemoryStream(Encoding.UTF8.GetBytes(csv));
        await library.EndOfAsync(
            await library.Service<PatronImport>().PlanAsync(library.District.Id, file, "patrons.csv", preview: false, "test")
        );
        Assert.Equal("Owes a book.\nLikes horses.", (await GetAsync("LINES1")).Notes);
    }

    [Fact]
    public async Task A_merge_and_an_erasure_are_of_those_who_were_looked_at()
    {
        using var visitor = new Visitor(library.Url);
        var patrons = library.Service<PatronService>();
        foreach (var (barcode, last) in ((string, string)[])[("SEEN1", "Seenworth"), ("SEEN2", "Seenworth"), ("SEEN3", "Otherman")])
        {
            await patrons.AddAsync(library.District.Id, [new("barcode", barcode), new("lastName", last)], "test");
        }

        // The card that was compared is somebody else's by now.
        const string merge = "/patron/merge?keep=SEEN1&other=SEEN2";
        const string erase = "/patron/erase?barcode=SEEN2&look=yes";
        var compared = Visitor.FieldsOf(await visitor.PageAsync(merge), "kept");
        var previewed = Visitor.FieldsOf(await visitor.PageAsync(erase), "seen");
        await patrons.EditAsync(library.District.Id, "SEEN2", [new("barcode", "SEEN4")], "test");
        await patrons.EditAsync(library.District.Id, "SEEN3", [new("barcode", "SEEN2")], "test");
        Assert.Equal(merge, await visitor.SubmitAsync(merge, merge, [.. compared]));
        Assert.Contains("changed since you looked", await visitor.PageAsync(merge), StringComparison.Ordinal);
        Visitor.Put(previewed, "again", "SEEN2");
        Assert.Equal(erase, await visitor.SubmitAsync(erase, erase, [.. previewed]));
        Assert.Contains("somebody else than when you looked", await visitor.PageAsync(erase), StringComparison.Ordinal);
        Assert.Equal("Otherman", (await GetAsync("SEEN2")).LastName);

        // A change of the same two counts too.
        const string again = "/patron/merge?keep=SEEN1&other=SEEN4";
        compared = Visitor.FieldsOf(await visitor.PageAsync(again), "kept");
        await patrons.EditAsync(library.District.Id, "SEEN4", [new("nickname", "Later")], "test");
        Assert.Equal(again, await visitor.SubmitAsync(again, again, [.. compared]));
        await visitor.SubmitAsync(again, again, [.. Visitor.FieldsOf(await visitor.PageAsync(again), "kept")]);
        Assert.Equal("Later", (await GetAsync("SEEN1")).Nickname);
    }

    [Fact]
    public async Task Two_people_are_merged_only_by_whoever_says_that_they_are_one()
    {
        using var visitor = new Visitor(library.Url);
        var patrons = library.Service<PatronService>();
        foreach (var (barcode, born) in ((string, string)[])[("DOUBT1", "2012-03-04"), ("DOUBT2", "2012-03-05"), ("DOUBT3", "2012-03-04")])
        {
            await patrons.AddAsync(
                library.District.Id,
                [new("barcode", barcode), new("lastName", "Doubtman"), new("birthdate", born)],
                "test"
            );
        }

        const string plain = "/patron/merge?keep=DOUBT1&other=DOUBT3";
        Assert.DoesNotContain("name=\"sure\"", await visitor.PageAsync(plain), StringComparison.Ordinal);
        const string merge = "/patron/merge?keep=DOUBT1&other=DOUBT2";
        var page = await visitor.PageAsync(merge);
        Assert.Contains("Their birthdates differ.", page, StringComparison.Ordinal);
        Assert.Contains("differs</span>", page, StringComparison.Ordinal);
        Assert.Contains("same</span>", page, StringComparison.Ordinal);

        // Of two spellings one is lost.
        await patrons.EditAsync(library.District.Id, "DOUBT3", [new("lastName", "Döubtman")], "test");
        Assert.Contains("same, spelled otherwise</span>", await visitor.PageAsync(plain), StringComparison.Ordinal);
        Assert.Equal(merge, await visitor.SubmitAsync(merge, merge, [.. Visitor.FieldsOf(page, "kept").Where(f => f.Name != "sure")]));
        Assert.Contains("Tick that you know", await visitor.PageAsync(merge), StringComparison.Ordinal);
        Assert.Equal("DOUBT2", (await GetAsync("DOUBT2")).Barcode);
        Assert.Equal(
            "/patrons/DOUBT1",
            await visitor.SubmitAsync(merge, merge, [.. Visitor.FieldsOf(page, "kept").Where(f => f.Name != "sure"), ("sure", "yes")])
        );
    }

    [Fact]
    public async Task A_former_id_is_no_second_person_of_the_roster()
    {
        using var visitor = new Visitor(library.Url);
        var patrons = library.Service<PatronService>();
        var ids = new List<long>();
        foreach (var barcode in (string[])["FORMER1", "FORMER2"])
        {
            var added = await patrons.AddAsync(
                library.District.Id,
                [new("barcode", barcode), new("lastName", "Formerly"), new("guid", $"guid-{barcode}")],
                "test"
            );
            ids.Add(added.Id);
        }

        await using var context = library.Service<RollcallDatabase>().CreateContextAsOwner();
        context.PatronLinks.AddRange(ids.Select(id => new PatronLink { DistrictId = library.District.Id, PatronId = id }));
        await context.SaveChangesAsync();
        const string merge = "/patron/merge?keep=FORMER1&other=FORMER2";
        Assert.Contains("as two people", await visitor.PageAsync(merge), StringComparison.Ordinal);
        var second = context.PatronLinks.Where(l => l.DistrictId == library.District.Id && l.PatronId == ids[1]);

        // No longer in the roster; deleted in it.
        await second.ExecuteUpdateAsync(s => s.SetProperty(l => l.Absent, true));
        Assert.DoesNotContain("name=\"sure\"", await visitor.PageAsync(merge), StringComparison.Ordinal);
        await second.ExecuteUpdateAsync(s => s.SetProperty(l => l.Absent, false).SetProperty(l => l.StatusBefore, PatronStatus.Active));
        Assert.Contains("as two people", await visitor.PageAsync(merge), StringComparison.Ordinal);
        await context
            .Patrons.Where(p => p.DistrictId == library.District.Id && p.Id == ids[1])
            .ExecuteUpdateAsync(s => s.SetProperty(p => p.Status, PatronStatus.Transferred));
        var page = await visitor.PageAsync(merge);
        Assert.DoesNotContain("name=\"sure\"", page, StringComparison.Ordinal);
        Assert.Equal("/patrons/FORMER1", await visitor.SubmitAsync(merge, merge, [.. Visitor.FieldsOf(page, "kept")]));
        await context.PatronLinks.Where(l => l.DistrictId == library.District.Id && ids.Contains(l.PatronId)).ExecuteDeleteAsync();
        await context.Patrons.Where(p => p.DistrictId == library.District.Id && ids.Contains(p.Id)).ExecuteDeleteAsync();
    }

    [Fact]
    public async Task A_long_history_is_read_to_its_end()
    {
        using var visitor = new Visitor(library.Url);
        var patrons = library.Service<PatronService>();
        await patrons.AddAsync(library.District.Id, [new("barcode", "LONGPAST"), new("lastName", "Longpast")], "test");
        Assert.Contains("Not linked to the roster", await visitor.PageAsync("/patrons/LONGPAST?tab=roster"), StringComparison.Ordinal);
        for (var i = 1; i <= 55; i++)
        {
            await patrons.EditAsync(library.District.Id, "LONGPAST", [new("notes", $"past {i}.")], "test");
        }

        var first = await visitor.PageAsync("/patrons/LONGPAST?tab=history");
        Assert.Contains("56 entries", first, StringComparison.Ordinal);
        Assert.Contains("past 55.", first, StringComparison.Ordinal);
        Assert.DoesNotContain("past 3.", first, StringComparison.Ordinal);
        Assert.Contains("/patrons/LONGPAST?tab=history&amp;page=2", first, StringComparison.Ordinal);
        var second = await visitor.PageAsync("/patrons/LONGPAST?tab=history&page=2");
        Assert.Contains("past 1.", second, StringComparison.Ordinal);
        Assert.Contains("51 to 56 shown", second, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Who_leaves_stands_in_the_list_of_leavers_until_they_come_back()
    {
        using var visitor = new Visitor(library.Url);
        var leaver = await LinkedAsync(5);
        var other = await LinkedAsync(6);
        const string leavers = "/lists/leavers";
        Assert.DoesNotContain($">{leaver.Barcode}<", await visitor.PageAsync(leavers), StringComparison.Ordinal);
        library.Sandbox.Overrides.Remove("users", leaver.Guid!);
        try
        {
            var sync = await library.SyncAsync();
            var list = WebUtility.HtmlDecode(await visitor.PageAsync(leavers));
            Assert.Contains($">{leaver.Barcode}<", list, StringComparison.Ordinal);
            Assert.Contains(leaver.Location!, list, StringComparison.Ordinal);
            Assert.DoesNotContain($">{other.Barcode}<", list, StringComparison.Ordinal);
            Assert.DoesNotContain($">{leaver.Barcode}<", await visitor.PageAsync($"{leavers}?since=2200-01-01"), StringComparison.Ordinal);

            // What was asked for long ago and waited for somebody's yes was done when they gave it.
            await using var context = library.Service<RollcallDatabase>().CreateContextAsOwner();
            var run = context.Operations.Where(o => o.DistrictId == library.District.Id && o.Id == sync.Id);
            var changes = context.Changes.Where(c => c.DistrictId == library.District.Id && c.OperationId == sync.Id);
            await run.ExecuteUpdateAsync(s => s.SetProperty(o => o.CreatedAt, sync.CreatedAt.AddDays(-40)));
            Assert.DoesNotContain($">{leaver.Barcode}<", await visitor.PageAsync(leavers), StringComparison.Ordinal);
            await changes.ExecuteUpdateAsync(s => s.SetProperty(c => c.Held, true));
            await run.ExecuteUpdateAsync(s =>
                s.SetProperty(o => o.ApprovedAt, sync.CreatedAt).SetProperty(o => o.HeldAppliedTo, sync.AppliedTo)
            );
            Assert.Contains($">{leaver.Barcode}<", await visitor.PageAsync(leavers), StringComparison.Ordinal);

            // The chart has them on the day of the approval, and of what was stopped what had been written.
            foreach (var status in (OperationStatus[])[OperationStatus.Completed, OperationStatus.Failed, OperationStatus.Cancelled])
            {
                await run.ExecuteUpdateAsync(s => s.SetProperty(o => o.Status, status));
                var counted = await library
                    .Service<Reading>()
                    .SyncCountsAsync(library.District.Id, sync.CreatedAt.AddDays(-1), CancellationToken.None);
                Assert.Equal((status, 1L), (status, counted.Where(c => c.At == sync.CreatedAt).Sum(c => c.Counts.Transferred)));
                Assert.Equal((status, 0L), (status, counted.Where(c => c.At < sync.CreatedAt).Sum(c => c.Counts.Transferred)));
            }
        }
        finally
        {
            library.Sandbox.Overrides.Clear();
            await library.SyncAsync();
        }

        Assert.DoesNotContain($">{leaver.Barcode}<", await visitor.PageAsync(leavers), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_list_to_print_begins_with_the_site_where_there_are_many_and_has_an_end()
    {
        const int First = 90_000;
        const int Many = 501;
        var district = library.District.Id;
        using var visitor = new Visitor(library.Url);
        try
        {
            await using (var context = library.Service<RollcallDatabase>().CreateContext())
            {
                context.Patrons.AddRange(
                    Enumerable
                        .Range(0, Many)
                        .Select(i =>
                        {
                            var patron = new Patron
                            {
                                DistrictId = district,
                                Id = First + i,
                                Barcode = $"GONE{i:D3}",
                                LastName = $"Zz{i:D3}",
                                Location = "Zz",
                                Status = PatronStatus.Transferred,
                                SiteId = i == 0 ? First : null,
                            };
                            patron.SetKeys();
                            return patron;
                        })
                );
                await context.SaveChangesAsync();
            }

            // The first of all sites are a part of each: whose list it is to be is asked, or all are shown.
            var list = WebUtility.HtmlDecode(await visitor.PageAsync("/lists/transferred"));
            Assert.Contains("more than 500 people", list, StringComparison.Ordinal);
            Assert.Contains("Choose a site", list, StringComparison.Ordinal);
            Assert.DoesNotContain("GONE000", list, StringComparison.Ordinal);
            Assert.Contains("href=\"/lists/transferred?all=yes\"", list, StringComparison.Ordinal);
            var all = await visitor.PageAsync("/lists/transferred?all=yes");
            Assert.Contains($">GONE{Many - 1}<", all, StringComparison.Ordinal);
            Assert.DoesNotContain("are shown, and printed", all, StringComparison.Ordinal);

            // With more than ten sites, each prints its own.
            await using (var context = library.Service<RollcallDatabase>().CreateContext())
            {
                context.Sites.AddRange(
                    Enumerable
                        .Range(0, 11)
                        .Select(i => new Site
                        {
                            DistrictId = district,
                            Id = First + i,
                            Code = $"ZZ{i:D2}",
                            Name = $"Zz school {i}",
                        })
                );
                await context.SaveChangesAsync();
            }

            var choose = WebUtility.HtmlDecode(await visitor.PageAsync("/lists/transferred"));
            Assert.Contains("Choose a site", choose, StringComparison.Ordinal);
            Assert.DoesNotContain("GONE000", choose, StringComparison.Ordinal);
            Assert.Contains("href=\"/lists/transferred?all=yes\"", choose, StringComparison.Ordinal);
            Assert.Contains($">GONE{Many - 1}<", await visitor.PageAsync("/lists/transferred?all=yes"), StringComparison.Ordinal);
            var one = await visitor.PageAsync("/lists/transferred?site=ZZ00");
            Assert.Contains(">GONE000<", one, StringComparison.Ordinal);
            Assert.DoesNotContain(">GONE001<", one, StringComparison.Ordinal);
        }
        finally
        {
            await using var context = library.Service<RollcallDatabase>().CreateContext();
            await context.Patrons.Where(p => p.DistrictId == district && p.Id >= First).ExecuteDeleteAsync();
            await context.Sites.Where(s => s.DistrictId == district && s.Id >= First).ExecuteDeleteAsync();
        }
    }

    [Fact]
    public async Task A_filter_that_there_is_none_of_finds_nobody_and_says_so()
    {
        using var visitor = new Visitor(library.Url);
        foreach (
            var (filter, words) in ((string, string)[])
                [("site=NOPE", "There is no site NOPE."), ("status=99", "There is no status 99."), ("role=cook", "There is no role cook.")]
        )
        {
            var page = await visitor.PageAsync($"/patrons?{filter}");
            Assert.Contains(words, page, StringComparison.Ordinal);
            Assert.Contains("No patron fits", page, StringComparison.Ordinal);
            var (_, csv, _) = await visitor.GetAsync($"/patron/export?{filter}&format=csv");
            Assert.Single(csv.Split("\r\n", StringSplitOptions.RemoveEmptyEntries));
        }
    }

    [Fact]
    public async Task What_cannot_be_saved_is_said_at_each_field_all_at_once()
    {
        using var visitor = new Visitor(library.Url);
        const string add = "/patron/edit";
        var refused = WebUtility.HtmlDecode(
            await visitor.RefusedAsync(
                add,
                add,
                ("lastName", "Manyfaults"),
                ("barcode", "x"),
                ("birthdate", "2190-01-01"),
                ("status", "Active"),
                ("expiration", "soon")
            )
        );
        Assert.Contains("3 fields do not fit", refused, StringComparison.Ordinal);
        Assert.Contains("id=\"birthdate-problem\"><strong>Birthdate lies in the future.", refused, StringComparison.Ordinal);
        Assert.Contains("id=\"barcode-problem\"", refused, StringComparison.Ordinal);
        Assert.Contains("id=\"expiration-problem\"", refused, StringComparison.Ordinal);
        Assert.DoesNotContain("got '", refused, StringComparison.Ordinal);
        await Assert.ThrowsAsync<RollcallException>(() =>
            library
                .Service<PatronService>()
                .AddAsync(
                    library.District.Id,
                    [new("barcode", "OLD001"), new("lastName", "Methuselah"), new("birthdate", "1899-12-31")],
                    "test"
                )
        );
    }

    [Fact]
    public async Task The_database_check_knows_ids_that_two_patrons_have()
    {
        var one = await LinkedAsync(20);
        var two = await LinkedAsync(21);
        var check = new Rollcall.Server.Commands.DatabaseCheck(
            library.Service<Rollcall.Storage.RollcallDatabase>(),
            library.Service<Rollcall.Storage.Secrets>()
        );
        async Task<List<string>> ProblemsAsync() => [.. (await check.RunAsync(CancellationToken.None)).SelectMany(f => f.Problems)];
        async Task PutAsync(Patron patron, string? aliases)
        {
            await using var context = library.Service<Rollcall.Storage.RollcallDatabase>().CreateContextAsOwner();
            await context
                .PatronLinks.Where(l => l.DistrictId == library.District.Id && l.PatronId == patron.Id)
                .ExecuteUpdateAsync(s => s.SetProperty(l => l.Aliases, aliases));
        }

        Assert.Empty(await ProblemsAsync());
        await PutAsync(one, $"alias-a\n{two.Guid}");
        Assert.Contains(two.Guid!, Assert.Single(await ProblemsAsync()), StringComparison.Ordinal);
        await PutAsync(one, "alias-a\nalias-b");
        await PutAsync(two, "alias-b");
        Assert.Contains("alias-b", Assert.Single(await ProblemsAsync()), StringComparison.Ordinal);
        await PutAsync(one, null);
        await PutAsync(two, null);
        await using var owner = library.Service<Rollcall.Storage.RollcallDatabase>().CreateContextAsOwner();
        var district = owner.Districts.Where(d => d.Id == library.District.Id);
        var next = await district.Select(d => d.NextPatronId).SingleAsync();
        try
        {
            await district.ExecuteUpdateAsync(s => s.SetProperty(d => d.NextPatronId, two.Id));
            Assert.Contains("next patron", Assert.Single(await ProblemsAsync()), StringComparison.Ordinal);
        }
        finally
        {
            await district.ExecuteUpdateAsync(s => s.SetProperty(d => d.NextPatronId, next));
        }

        Assert.Empty(await ProblemsAsync());
    }

    [Fact]
    public async Task Small_forms_take_what_was_changed_and_refuse_what_is_no_number()
    {
        using var visitor = new Visitor(library.Url);
        const string page = "/preferences/retention";
        var opened = Visitor.FieldsOf(await visitor.PageAsync(page), "logs");
        var other = opened.ToList();
        Visitor.Put(other, "audit", "900");
        await visitor.SubmitAsync(page, page, [.. other]);
        Visitor.Put(opened, "logs", "500");
        await visitor.SubmitAsync(page, page, [.. opened]);
        var retention = library.Service<Rollcall.Retention.RetentionService>();
        var setting = await retention.FindAsync(library.District.Id);
        Assert.Equal((500, 900), (setting.LogDays, setting.AuditDays));
        foreach (var nonsense in (string[])["abc", "", "12.5", "99999999999"])
        {
            var typed = Visitor.FieldsOf(await visitor.PageAsync(page), "logs");
            Visitor.Put(typed, "logs", nonsense);
            Visitor.Put(typed, "signIns", "77");
            var answer = await visitor.RefusedAsync(page, page, [.. typed]);
            Assert.Equal("77", Visitor.FieldsOf(answer, "logs").Single(f => f.Name == "signIns").Value);
            Assert.Contains("whole number of days", answer, StringComparison.Ordinal);
            Assert.DoesNotContain("Saved.", answer, StringComparison.Ordinal);
        }

        await retention.SetAsync(library.District.Id, 400, setting.AuditDays, null, "test");

        // A field without a name is nothing.
        const string site = "/sites/edit/S01";
        var fields = Visitor.FieldsOf(await visitor.PageAsync(site), "nextBarcode");
        fields.Add(("", "x"));
        Assert.Equal("/sites", await visitor.SubmitAsync(site, "name=\"nextBarcode\"", site, [.. fields]));
    }

    [Fact]
    public async Task Whoever_comes_back_out_of_a_merge_is_no_arrival()
    {
        using var visitor = new Visitor(library.Url);
        var patron = await library
            .Service<PatronService>()
            .AddAsync(library.District.Id, [new("barcode", "BACK1"), new("lastName", "Comesback"), new("site", "S01")], "test");
        await using var context = library.Service<RollcallDatabase>().CreateContextAsOwner();
        var undo = new Operation
        {
            DistrictId = library.District.Id,
            Kind = OperationKind.Undo,
            Status = OperationStatus.Completed,
            Planned = true,
            AppliedTo = 1,
            CreatedAt = TimeProvider.System.GetUtcNow(),
            RequestedBy = "test",
            Settled = true,
        };
        context.Operations.Add(undo);
        await context.SaveChangesAsync();
        context.Changes.Add(
            new Change
            {
                DistrictId = library.District.Id,
                OperationId = undo.Id,
                Number = 1,
                Kind = ChangeKind.Create,
                Outcome = Outcome.Created,
                PatronId = patron.Id,
                RosterId = "back-1",
                Values = "{}",
            }
        );
        await context.SaveChangesAsync();
        Assert.DoesNotContain(">BACK1<", await visitor.PageAsync("/lists/arrivals?card=all&all=yes"), StringComparison.Ordinal);

        // As a sync it would be one.
        await context.Operations.Where(o => o.Id == undo.Id).ExecuteUpdateAsync(s => s.SetProperty(o => o.Kind, OperationKind.FullSync));
        Assert.Contains(">BACK1<", await visitor.PageAsync("/lists/arrivals?card=all&all=yes"), StringComparison.Ordinal);
        await context.Changes.Where(c => c.OperationId == undo.Id).ExecuteDeleteAsync();
        await context.Operations.Where(o => o.Id == undo.Id).ExecuteDeleteAsync();
    }

    [Fact]
    public async Task Whoever_is_gone_from_the_roster_is_said_to_be_written_by_no_sync()
    {
        using var visitor = new Visitor(library.Url);
        var gone = await LinkedAsync(7);
        await using var context = library.Service<RollcallDatabase>().CreateContextAsOwner();
        var link = context.PatronLinks.Where(l => l.DistrictId == library.District.Id && l.PatronId == gone.Id);
        await link.ExecuteUpdateAsync(s => s.SetProperty(l => l.Absent, true));
        try
        {
            foreach (var path in (string[])[$"/patrons/{gone.Barcode}", $"/patron/edit?barcode={gone.Barcode}"])
            {
                var page = await visitor.PageAsync(path);
                Assert.Contains("No longer in the roster", page, StringComparison.Ordinal);
                Assert.DoesNotContain("Correct them at school", page, StringComparison.Ordinal);
            }
        }
        finally
        {
            await link.ExecuteUpdateAsync(s => s.SetProperty(l => l.Absent, false));
        }
    }

    [Fact]
    public async Task A_form_that_is_sent_twice_adds_one_person_and_a_namesake_when_told_so()
    {
        using var visitor = new Visitor(library.Url);
        const string add = "/patron/edit";
        (string, string)[] typed = [("lastName", "Twice"), ("firstName", "Tom"), ("site", "S01")];
        var first = await visitor.SubmitAsync(add, add, typed);
        var barcode = first["/patrons/".Length..];
        var again = await visitor.RefusedAsync(add, add, typed);
        Assert.Contains($"Twice, Tom was added at this site a moment ago, with the barcode {barcode}.", again, StringComparison.Ordinal);
        Assert.Contains($"name=\"twin\" value=\"{barcode}\"", again, StringComparison.Ordinal);
        Assert.Contains("value=\"Tom\"", again, StringComparison.Ordinal);

        Assert.Contains("Add all the same", again, StringComparison.Ordinal);
        Assert.DoesNotContain("Nothing was saved", again, StringComparison.Ordinal);

        // Somebody else of that name, and another site, are no second press.
        var namesake = await visitor.SubmitAsync(add, add, [.. typed, ("twin", barcode)]);
        Assert.NotEqual(first, namesake);
        await visitor.SubmitAsync(add, add, [.. typed[..2], ("site", "S02")]);

        // Who has been there for long is told of too, though a card was typed and a middle name given; whoever is born on another day is not.
        await using (var context = library.Service<RollcallDatabase>().CreateContextAsOwner())
        {
            await context
                .Patrons.Where(p => p.DistrictId == library.District.Id && p.LastName == "Twice")
                .ExecuteUpdateAsync(s =>
                    s.SetProperty(p => p.CreatedAt, TimeProvider.System.GetUtcNow().AddYears(-1))
                        .SetProperty(p => p.Birthdate, new DateOnly(2012, 3, 4))
                );
        }

        (string, string)[] card = [.. typed, ("barcode", "TWICE3"), ("middleName", "Q")];
        Assert.Contains(
            "Twice, Tom is a patron at this site already",
            await visitor.RefusedAsync(add, add, card),
            StringComparison.Ordinal
        );
        Assert.Equal("/patrons/TWICE3", await visitor.SubmitAsync(add, add, [.. card, ("birthdate", "2013-03-04")]));
    }

    [Fact]
    public async Task A_patron_is_added_by_hand_and_merged_with_the_double()
    {
        using var visitor = new Visitor(library.Url);
        var refused = await visitor.RefusedAsync("/patron/edit", "/patron/edit", ("lastName", ""), ("firstName", "No"));
        Assert.Contains("needs a last name", refused, StringComparison.Ordinal);
        var linked = await LinkedAsync(5);
        var added = await visitor.SubmitAsync(
            "/patron/edit",
            "/patron/edit",
            ("lastName", linked.LastName),
            ("firstName", "Double"),
            ("nickname", "Dee"),
            ("barcode", "BY/HAND.1"),
            ("group", "")
        );
        Assert.Equal("/patrons/BY/HAND.1", added);

        // The barcode is a field like any other: the address names the patron, the form the new barcode.
        const string rename = "/patron/edit?barcode=BY%2FHAND.1";
        Assert.Equal(
            "/patrons/BY/HAND.2",
            await visitor.SubmitAsync(rename, rename, ("barcode", "BY/HAND.2"), await SeenAsync("BY/HAND.1"))
        );
        const string back = "/patron/edit?barcode=BY%2FHAND.2";
        Assert.Contains(
            "belongs to another",
            await visitor.RefusedAsync(back, back, ("barcode", linked.Barcode), await SeenAsync("BY/HAND.2")),
            StringComparison.Ordinal
        );
        await visitor.SubmitAsync(back, back, ("barcode", "BY/HAND.1"), await SeenAsync("BY/HAND.2"));
        var candidates = await visitor.PageAsync($"/patron/merge?keep={linked.Barcode}");
        Assert.Contains("BY/HAND.1", candidates, StringComparison.Ordinal);
        var address = $"/patron/merge?keep={linked.Barcode}&other=BY%2FHAND.1";
        var compared = WebUtility.HtmlDecode(await visitor.PageAsync(address));
        Assert.Contains("filled", compared, StringComparison.Ordinal);
        Assert.Equal(linked.FirstName, (await GetAsync(linked.Barcode)).FirstName);
        Assert.Equal(
            $"/patrons/{linked.Barcode}",
            await visitor.SubmitAsync(address, address, [.. Visitor.FieldsOf(await visitor.PageAsync(address), "kept")])
        );
        var merged = await GetAsync(linked.Barcode);
        Assert.Equal((linked.FirstName, "Dee", linked.Guid), (merged.FirstName, merged.Nickname, merged.Guid));
        Assert.Equal(HttpStatusCode.NotFound, (await visitor.GetAsync("/patrons/BY/HAND.1")).Status);

        // From the page of the one that stayed, the merge is taken back whole.
        var page = WebUtility.HtmlDecode(await visitor.PageAsync($"/patrons/{linked.Barcode}?tab=history"));
        Assert.Contains("Yes, undo the merge", page, StringComparison.Ordinal);
        var history = await library.Service<OperationLog>().HistoryAsync(library.District.Id, linked.Id);
        var merge = history.First(h => h.Operation.Kind == OperationKind.Merge).Operation.Id;
        Assert.DoesNotContain(
            "undone as a whole",
            await visitor.PageAsync(
                await visitor.SubmitAsync($"/patrons/{linked.Barcode}?tab=history", $"/operations/{merge}?handler=Undo")
            ),
            StringComparison.Ordinal
        );
        var undo = (await library.Service<OperationQueue>().ListAsync(library.District.Id)).First(o => o.SubjectId == merge);
        await library.EndOfAsync(undo.Id);
        Assert.Null((await GetAsync(linked.Barcode)).Nickname);
        Assert.Equal("Dee", (await GetAsync("BY/HAND.1")).Nickname);
        Assert.DoesNotContain(
            "Yes, undo the merge",
            await visitor.PageAsync($"/patrons/{linked.Barcode}?tab=history"),
            StringComparison.Ordinal
        );
        Assert.Contains(
            "same record",
            await visitor.PageAsync($"/patron/merge?keep={linked.Barcode}&other={linked.Barcode}"),
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData(
        "SiteShortName,Barcode,DistrictID,LastName,FirstName,MiddleName,Nickname,Gender,Status,CardExpires,GradeLevel,Homeroom,BirthDate,EmailPrimary",
        "site barcode communityId lastName firstName middleName nickname sex status expiration level location birthdate email"
    )]
    [InlineData(
        "cardnumber,surname,firstname,email,phone,mobile,dateofbirth,branchcode,dateexpiry,contactname,borrowernotes,sex",
        "barcode lastName firstName email phone - birthdate site expiration additionalContact notes sex"
    )]
    [InlineData(
        "Patron Number,AlternateId,Surname,GivenName,Email,EmailCC,MobilePhone,HomePhone,HomeLibrary,LocalAddress,ExpireDate",
        "barcode communityId lastName firstName email otherEmails phone - site location expiration"
    )]
    [InlineData("1000\t1006\tCommunity ID\tSecond Location\tLevel", "barcode lastName communityId secondLocation level")]
    public async Task Columns_of_what_other_library_systems_export_are_known(string header, string fields)
    {
        using var visitor = new Visitor(library.Url);
        var separator = header.Contains('\t', StringComparison.Ordinal) ? '\t' : ',';
        var file = $"{header}\n{string.Join(separator, header.Split(separator).Select((_, i) => $"v{i}"))}\n";
        var page = await visitor.UploadAsync("/patron/import", "/patron/import?handler=File", "export.csv", file);
        var chosen = ChosenColumn().Matches(page).Select(m => m.Groups["field"].Value is { Length: > 0 } field ? field : "-");
        Assert.Equal(fields, string.Join(' ', chosen));
    }

    [GeneratedRegex(
        "<select[^>]*name=\"column\"(?:(?!</select>).)*?(?:<option value=\"(?<field>[^\"]*)\" selected|</select>)",
        RegexOptions.Singleline | RegexOptions.ExplicitCapture,
        1000
    )]
    private static partial Regex ChosenColumn();

    [Fact]
    public async Task Many_patrons_are_imported_by_matched_columns_edited_exported_and_removed()
    {
        using var visitor = new Visitor(library.Url);
        const string file = "Card;Surname;Given;Junk\nBULK1;Bulkley;Ada;x\nBULK2;Bulkley;=1+1;y\n";
        var inspected = await visitor.UploadAsync("/patron/import", "/patron/import?handler=File", "class list.csv", file);
        Assert.Contains("2 rows", inspected, StringComparison.Ordinal);
        Assert.Contains("Bulkley", inspected, StringComparison.Ordinal);
        (string, string)[] columns = [("column", "barcode"), ("column", "lastName"), ("column", "firstName"), ("column", "")];
        (string, string)[] content = [("content", file), ("fileName", "class list.csv")];
        var twice = await visitor.RefusedAsync(
            "/patron/import",
            "/patron/import?handler=Match",
            [.. content, ("column", "barcode"), ("column", "barcode"), ("column", ""), ("column", "")]
        );
        Assert.Contains("are both Barcode: leave one of them out", twice, StringComparison.Ordinal);
        var empty = await visitor.UploadAsync("/patron/import", "/patron/import?handler=File", "empty.csv", " ");
        Assert.Contains("The file is empty", empty, StringComparison.Ordinal);
        var preview = await visitor.SubmitAsync(
            "/patron/import",
            "/patron/import",
            "/patron/import?handler=Match",
            [.. content, .. columns]
        );
        Assert.Equal(OperationStatus.Preview, (await library.EndOfAsync(IdOf(preview))).Status);
        await visitor.SubmitAsync(preview, $"{preview}?handler=Approve");
        await library.EndOfAsync(IdOf(preview));
        Assert.Equal("Ada", (await GetAsync("BULK1")).FirstName);

        // The export holds exactly these, and nothing that a spreadsheet would run.
        var (_, csv, response) = await visitor.GetAsync("/patron/export?q=bulkley&format=csv");
        Assert.Equal(3, csv.Split("\r\n", StringSplitOptions.RemoveEmptyEntries).Length);
        Assert.Contains("'=1+1", csv, StringComparison.Ordinal);
        Assert.Equal("text/csv", response.Content.Headers.ContentType!.MediaType);

        // It speaks as the screens do, and an import finds every field again.
        Assert.StartsWith("Barcode,Student #,", csv, StringComparison.Ordinal);
        Assert.Equal(PatronFields.All, csv.Split("\r\n")[0].Split(',').Select(h => PatronFields.Find(h)!));
        using var back = new MemoryStream(Encoding.UTF8.GetBytes(csv));
        var again = await library.Service<PatronImport>().PlanAsync(library.District.Id, back, "again.csv", preview: true, "test");
        var same = OperationQueue.CountsOf(await library.EndOfAsync(again));
        Assert.Equal((2L, 2L), (same.Read, same.Unchanged));

        // What was typed and not ticked is neither written nor lost.
        Assert.Contains(
            "Notes was typed and not ticked",
            await visitor.RefusedAsync(
                "/patron/bulk?do=edit&q=bulkley&b=BULK2",
                "/patron/bulk?q=bulkley&b=BULK2&do=edit",
                ("change", "status"),
                ("status", "Transferred"),
                ("notes", "not ticked")
            ),
            StringComparison.Ordinal
        );

        // One ticked patron, then all that fit.
        var one = await visitor.SubmitAsync(
            "/patron/bulk?do=edit&q=bulkley&b=BULK2",
            "/patron/bulk?q=bulkley&b=BULK2&do=edit",
            ("change", "status"),
            ("status", "Transferred"),
            ("notes", "")
        );
        Assert.Equal(1, OperationQueue.CountsOf(await library.EndOfAsync(IdOf(one))).Updated);
        Assert.Contains($"href=\"{one.Split('?')[0]}\"", await visitor.PageAsync("/operations"), StringComparison.Ordinal);
        await visitor.SubmitAsync(one, $"{one}?handler=Approve");
        await library.EndOfAsync(IdOf(one));
        Assert.Equal(
            (PatronStatus.Transferred, (string?)null, PatronStatus.Active),
            ((await GetAsync("BULK2")).Status, (await GetAsync("BULK2")).Notes, (await GetAsync("BULK1")).Status)
        );
        const string nothing = "/patron/bulk?q=bulkley&do=edit";
        Assert.Contains("Choose at least one field to change", await visitor.RefusedAsync(nothing, nothing), StringComparison.Ordinal);

        Assert.Contains("1 patron is", await visitor.PageAsync("/end-of-year"), StringComparison.Ordinal);
        const string removal = "/patron/bulk?q=bulkley&status=Transferred&do=remove";
        Assert.Contains("A removal is final", await visitor.PageAsync(removal), StringComparison.Ordinal);
        var remove = await visitor.SubmitAsync(removal, removal);
        await library.EndOfAsync(IdOf(remove));
        Assert.Contains("A removal is final", await visitor.PageAsync(remove), StringComparison.Ordinal);
        Assert.Equal("BULK2", (await GetAsync("BULK2")).Barcode);
        await visitor.SubmitAsync(remove, $"{remove}?handler=Approve");
        await library.EndOfAsync(IdOf(remove));
        await Assert.ThrowsAsync<RollcallException>(() => GetAsync("BULK2"));
        Assert.Equal("BULK1", (await GetAsync("BULK1")).Barcode);
    }

    [Fact]
    public async Task A_bulk_edit_that_is_refused_comes_back_with_the_ticks_that_it_was_sent_with()
    {
        using var visitor = new Visitor(library.Url);
        const string page = "/patron/bulk?status=Active&do=edit";
        (string, string)[] sent =
        [
            ("status", "Active"),
            ("doNotTransfer", "true"),
            ("notes", ""),
            ("change", "notes"),
            ("expiration", "soon"),
            ("change", "expiration"),
        ];
        var refused = await visitor.RefusedAsync(page, page, sent);
        Assert.Contains("Nothing was changed.", refused, StringComparison.Ordinal);
        Assert.Equal(["expiration", "notes"], TickedChange().Matches(refused).Select(m => m.Groups["field"].Value).Order());
        var nothing = await visitor.RefusedAsync(page, page, ("status", "Active"), ("doNotTransfer", "true"));
        Assert.Empty(TickedChange().Matches(nothing));
    }

    [GeneratedRegex("name=\"change\" value=\"(?<field>[^\"]*)\" checked", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex TickedChange();

    [Fact]
    public async Task In_a_list_of_ticked_patrons_one_tick_means_that_one_and_sorting_keeps_them_all()
    {
        using var visitor = new Visitor(library.Url);
        var (one, two) = ((await LinkedAsync(8)).Barcode, (await LinkedAsync(9)).Barcode);
        var list = WebUtility.HtmlDecode(await visitor.PageAsync($"/patrons?b={one}&b={two}"));
        Assert.Contains("2 patrons", list, StringComparison.Ordinal);
        Assert.Contains($"/patrons?b={one}&b={two}&sort=barcode", list, StringComparison.Ordinal);

        // As a browser sends what the list holds: with a tick that one, without any nobody. All of them are meant where that is said.
        var hidden = HiddenField().Matches(list).Select(m => $"{m.Groups["name"].Value}={m.Groups["value"].Value}");
        var sent = string.Join('&', hidden.Where(h => !h.StartsWith("__", StringComparison.Ordinal)).Append("do=edit"));
        var nobody = await visitor.GetAsync($"/patron/bulk?{sent}");
        Assert.Equal((HttpStatusCode.Redirect, "/patrons"), (nobody.Status, nobody.Response.Headers.Location?.OriginalString));
        Assert.Contains("Nobody is ticked", await visitor.PageAsync("/patrons"), StringComparison.Ordinal);
        Assert.Contains($"/patron/bulk?b={one}&b={two}&do=edit\"", list, StringComparison.Ordinal);
        Assert.Contains(
            "<strong>2 patrons</strong>",
            await visitor.PageAsync($"/patron/bulk?b={one}&b={two}&do=edit"),
            StringComparison.Ordinal
        );
        var ticked = WebUtility.HtmlDecode(await visitor.PageAsync($"/patron/bulk?{sent}&b={two}"));
        Assert.Contains("<strong>1 patron</strong>", ticked, StringComparison.Ordinal);
        Assert.Contains($"/patron/bulk?b={two}&do=edit\"", ticked, StringComparison.Ordinal);
    }

    [GeneratedRegex("<input type=\"hidden\" name=\"(?<name>b|meant)\" value=\"(?<value>[^\"]*)\"", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex HiddenField();

    [Fact]
    public async Task Patrons_without_a_site_are_found_exported_edited_and_removed_like_those_of_a_site()
    {
        using var visitor = new Visitor(library.Url);
        var patrons = library.Service<PatronService>();
        await patrons.AddAsync(
            library.District.Id,
            [new("barcode", "STRAY1"), new("lastName", "Strayson"), new("status", "Transferred")],
            "test"
        );
        await patrons.AddAsync(
            library.District.Id,
            [new("barcode", "STRAY2"), new("lastName", "Strayson"), new("status", "Transferred"), new("site", "S01")],
            "test"
        );
        var ways = WebUtility.HtmlDecode(await visitor.PageAsync("/end-of-year"));
        foreach (var way in new[] { "/patrons?", "/patron/export?", "/patron/bulk?do=edit&", "/patron/bulk?do=remove&" })
        {
            Assert.Contains($"href=\"{way}status=Transferred&site=%28none%29", ways, StringComparison.Ordinal);
        }

        const string strays = "status=Transferred&site=%28none%29&q=strayson";
        var list = WebUtility.HtmlDecode(await visitor.PageAsync($"/patrons?{strays}"));
        Assert.Contains("1 patron", list, StringComparison.Ordinal);
        Assert.Contains("STRAY1", list, StringComparison.Ordinal);
        Assert.Contains("without a site", list, StringComparison.Ordinal);
        Assert.Contains("STRAY1", (await visitor.GetAsync($"/patron/export?{strays}&format=csv")).Body, StringComparison.Ordinal);
        var removal = $"/patron/bulk?do=remove&{strays}";
        var remove = await visitor.SubmitAsync(removal, "Preview the removal", removal, []);
        await library.EndOfAsync(IdOf(remove));
        await visitor.SubmitAsync(remove, $"{remove}?handler=Approve");
        await library.EndOfAsync(IdOf(remove));
        await Assert.ThrowsAsync<RollcallException>(() => patrons.GetAsync(library.District.Id, "STRAY1"));
        await patrons.GetAsync(library.District.Id, "STRAY2");

        // What is printed by homeroom is whoever is marked, by hand too.
        Assert.Contains("href=\"/lists/transferred\"", ways, StringComparison.Ordinal);
        var printed = await visitor.PageAsync("/lists/transferred?site=S01");
        Assert.Contains("Strayson", printed, StringComparison.Ordinal);
        Assert.DoesNotContain("name=\"since\"", printed, StringComparison.Ordinal);
        Assert.DoesNotContain("Strayson", await visitor.PageAsync("/lists/leavers"), StringComparison.Ordinal);

        // Who works at some sites alone sees nobody so, as before.
        using var other = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.Librarian, "S01"));
        var none = WebUtility.HtmlDecode(await other.PageAsync("/patrons?site=%28none%29"));
        Assert.Contains("No patron fits", none, StringComparison.Ordinal);
        Assert.DoesNotContain("value=\"(none)\"", none, StringComparison.Ordinal);
        await patrons.EditAsync(library.District.Id, "STRAY2", [new("status", "Active")], "test");
    }

    [Fact]
    public async Task A_person_is_given_out_and_erased_after_the_barcode_is_typed_again()
    {
        using var visitor = new Visitor(library.Url);
        await library
            .Service<PatronService>()
            .AddAsync(library.District.Id, [new("lastName", "Vanisher"), new("barcode", "VAN/1"), new("site", "S01")], "test");
        const string first = "/patron/erase?barcode=VAN%2F1";
        const string page = $"{first}&look=yes";
        Assert.Contains(first, await visitor.PageAsync("/patrons/VAN/1"), StringComparison.Ordinal);

        // What goes is looked for when somebody asks: it takes its time in a large library.
        var question = await visitor.PageAsync(first);
        Assert.Contains("there is no undo", question, StringComparison.Ordinal);
        Assert.Contains("Vanisher", question, StringComparison.Ordinal);
        Assert.Contains(page, System.Net.WebUtility.HtmlDecode(question), StringComparison.Ordinal);
        Assert.DoesNotContain("name=\"again\"", question, StringComparison.Ordinal);
        Assert.Contains("there is no undo", await visitor.PageAsync(page), StringComparison.Ordinal);
        var data = await visitor.GetAsync("/patron/data?barcode=VAN%2F1");
        Assert.Contains("Vanisher", data.Body, StringComparison.Ordinal);
        Assert.Equal("attachment", data.Response.Content.Headers.ContentDisposition!.DispositionType);
        Assert.Equal(HttpStatusCode.NotFound, (await visitor.GetAsync("/patron/data?barcode=NOBODY")).Status);
        Assert.Equal(page, await visitor.SubmitAsync(page, page, ("again", "VAN/2")));
        Assert.Contains("Nothing was erased", await visitor.PageAsync(page), StringComparison.Ordinal);
        var operation = await visitor.SubmitAsync(page, page, ("again", "van/1"));
        Assert.Equal(OperationStatus.Completed, (await library.EndOfAsync(IdOf(operation))).Status);
        Assert.Contains("Patron Erasure", await visitor.PageAsync(operation), StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.NotFound, (await visitor.GetAsync(page)).Status);
        Assert.DoesNotContain("Vanisher", await visitor.PageAsync("/operations?edits=on"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_filter_is_saved_found_again_replaced_and_removed_by_its_owner_alone()
    {
        using var visitor = new Visitor(library.Url);
        Assert.DoesNotContain("Save this filter", await visitor.PageAsync("/patrons"), StringComparison.Ordinal);
        Assert.Contains("Save this filter", await visitor.PageAsync("/patrons?status=Active"), StringComparison.Ordinal);

        // What the list does not know is not kept, nor who was ticked; what it knows leads there again.
        const string filter = "?level=05&status=active&sort=grade&order=down&b=1&nonsense=%3Cb%3E&site=NOWHERE";
        Assert.Equal(
            "/patrons?status=Active&level=05&sort=grade&order=down",
            await visitor.SubmitAsync("/patrons?level=05", "/patrons?handler=Save", ("name", " <Fifth> grade "), ("filter", filter))
        );
        var page = await visitor.PageAsync("/patrons?status=Active&level=05&sort=grade&order=down");
        Assert.Contains(
            "aria-current=\"true\"",
            page[page.IndexOf("class=\"chips\"", StringComparison.Ordinal)..],
            StringComparison.Ordinal
        );
        Assert.Contains("&lt;Fifth&gt; grade", page, StringComparison.Ordinal);
        await visitor.SubmitAsync("/patrons?level=05", "/patrons?handler=Save", ("name", "<Fifth> grade"), ("filter", "?level=06"));
        page = await visitor.PageAsync("/patrons");
        Assert.Contains("href=\"/patrons?level=06\"", page, StringComparison.Ordinal);
        Assert.DoesNotContain("level=05", page, StringComparison.Ordinal);

        foreach (
            var (name, asked, words) in ((string, string, string)[])
                [
                    (" ", "?level=05", "needs a name"),
                    (new string('x', 61), "?level=05", "at most 60 characters"),
                    ("Everybody", "?nonsense=1", "no filter to save"),
                    ("Everybody", "", "no filter to save"),
                ]
        )
        {
            var then = await visitor.SubmitAsync("/patrons?level=05", "/patrons?handler=Save", ("name", name), ("filter", asked));
            Assert.Contains(words, await visitor.PageAsync(then), StringComparison.Ordinal);
        }

        using var other = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.Librarian, "S01"));
        Assert.DoesNotContain("grade</a>", await other.PageAsync("/patrons"), StringComparison.Ordinal);
        await other.SubmitAsync("/patrons?level=05", "Save this filter", "/patrons?handler=Forget", [("name", "<Fifth> grade")]);
        Assert.Contains("level=06", await visitor.PageAsync("/patrons"), StringComparison.Ordinal);
        await visitor.SubmitAsync("/patrons?level=06", "/patrons?handler=Forget", ("name", "<Fifth> grade"));
        Assert.DoesNotContain("Saved filters", await visitor.PageAsync("/patrons"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Lists_turn_their_pages_filter_by_role_and_show_who_came()
    {
        using var visitor = new Visitor(library.Url);
        var first = await visitor.PageAsync("/patrons");
        var second = await visitor.PageAsync("/patrons?page=2");
        Assert.Contains("51 to 100 shown", second, StringComparison.Ordinal);
        Assert.DoesNotContain("51 to 100 shown", first, StringComparison.Ordinal);
        Assert.Contains("101 to 200 shown", await visitor.PageAsync("/operations/1?page=2"), StringComparison.Ordinal);
        var teachers = await visitor.PageAsync("/patrons?role=teacher");
        var students = await visitor.PageAsync("/patrons?role=student&linked=yes");
        Assert.NotEqual(Count(teachers), Count(students));
        Assert.Contains("No patron fits", await visitor.PageAsync("/patrons?role=teacher&linked=no"), StringComparison.Ordinal);
        var gone = await visitor.PageAsync("/patrons?linked=gone");
        Assert.Contains("<option value=\"gone\" selected", gone, StringComparison.Ordinal);
        Assert.DoesNotContain("Linked is yes", gone, StringComparison.Ordinal);
        var homeroom = (await LinkedAsync(1)).Location!;
        Assert.Contains(
            "<option value=\"Nobody's\" selected",
            WebUtility.HtmlDecode(await visitor.PageAsync("/patrons?level=Nobody%27s")),
            StringComparison.Ordinal
        );
        Assert.Contains(
            $"<option value=\"{homeroom}\" selected",
            WebUtility.HtmlDecode(await visitor.PageAsync($"/patrons?homeroom={Uri.EscapeDataString(homeroom)}")),
            StringComparison.Ordinal
        );
        var arrivals = WebUtility.HtmlDecode(await visitor.PageAsync("/lists/arrivals"));
        Assert.Contains(homeroom, arrivals, StringComparison.Ordinal);
        Assert.Contains("Nobody has arrived", await visitor.PageAsync("/lists/arrivals?since=2200-01-01"), StringComparison.Ordinal);
        Assert.Contains("Nobody has left", await visitor.PageAsync("/lists/leavers"), StringComparison.Ordinal);

        // A card is printed for whoever got a number here and still has it: not for somebody who was given a card with another one, nor for whoever
        // came with a number of the roster's own.
        var (given, known, still) = (await LinkedAsync(11), await LinkedAsync(12), await LinkedAsync(13));
        await library.Service<PatronService>().EditAsync(library.District.Id, given.Barcode, [new("barcode", "HASCARD1")], "test");
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        var brought = context.Changes.Where(c =>
            c.DistrictId == library.District.Id && c.PatronId == known.Id && c.Kind == ChangeKind.Create
        );
        await brought.ExecuteUpdateAsync(s => s.SetProperty(c => c.BarcodeDrawn, false));
        var (cardless, all) = (await visitor.PageAsync("/lists/arrivals"), await visitor.PageAsync("/lists/arrivals?card=all"));
        Assert.Equal(((false, true), (false, true), (true, true)), (Both("HASCARD1"), Both(known.Barcode), Both(still.Barcode)));
        await library.Service<PatronService>().EditAsync(library.District.Id, "HASCARD1", [new("barcode", given.Barcode)], "test");
        await brought.ExecuteUpdateAsync(s => s.SetProperty(c => c.BarcodeDrawn, true));

        (bool, bool) Both(string barcode) =>
            (cardless.Contains($">{barcode}<", StringComparison.Ordinal), all.Contains($">{barcode}<", StringComparison.Ordinal));

        static string Count(string page) => page.Split("class=\"count\"")[1].Split("</p>")[0];
    }
}
