using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Microsoft.Playwright;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Server.Tests.Pages;

namespace Rollcall.BrowserTests;

/// <summary>Whole stories of a librarian's desk.</summary>
public sealed partial class DeskTests(Browser browser, SyncedLibrary library) : IClassFixture<SyncedLibrary>
{
    private static async Task SettledAsync(Visit visit, Regex status)
    {
        var mark = visit.Page.Locator(".page-head .mark").First;
        if (visit.IsScriptless)
        {
            // The page does not find out by itself: it offers to be loaded again.
            for (var tries = 0; tries < 200 && !status.IsMatch((await mark.InnerTextAsync()).Trim()); tries++)
            {
                await Task.Delay(100);
                if (await visit.Link("Reload").CountAsync() > 0)
                {
                    await visit.Link("Reload").ClickAsync();
                }
            }
        }

        await Assertions.Expect(mark).ToHaveTextAsync(status);
    }

    private static async Task ApproveAsync(Visit visit)
    {
        await visit.UseAsync(visit.Page.Locator("summary", new PageLocatorOptions { HasText = "Approve…" }));
        await visit.UseAsync(visit.Page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { NameRegex = ApplySure() }));
        await SettledAsync(visit, Completed());
    }

    private static async Task UndoAsync(Visit visit)
    {
        await visit.UseAsync(visit.Page.Locator("summary", new PageLocatorOptions { HasText = "Undo…" }));
        await visit.UseAsync(visit.Page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { NameRegex = UndoSure() }));
        // That it is on its way is said until the page has renewed itself, which may be at once.
        await Assertions.Expect(visit.Page.Locator("h1")).ToContainTextAsync("Undo (of operation");
        await SettledAsync(visit, Completed());
    }

    private async Task<Patron> PupilAsync(int number) =>
        (
            await library
                .Service<PatronService>()
                .PageAsync(
                    library.District.Id,
                    new PatronFilter { RoleGroup = RoleGroup.Student, Linked = true },
                    PatronSort.Barcode,
                    false,
                    number,
                    1
                )
        ).Patrons[0];

    [Fact]
    public async Task By_keyboard_alone_a_patron_is_found_corrected_and_kept()
    {
        var pupil = await PupilAsync(7);
        await using var visit = await browser.OpenAsync(library.Url);
        var page = visit.Page;
        await visit.GoAsync("/patrons");
        await visit.TabToAsync(page.GetByLabel("Search"));
        await page.Keyboard.TypeAsync(pupil.Barcode);
        await page.Keyboard.PressAsync("Enter");
        await visit.TabToAsync(page.Locator("table.list tbody th a").First);
        await page.Keyboard.PressAsync("Enter");
        await Assertions.Expect(visit.Heading(pupil.DisplayName).First).ToBeVisibleAsync();
        await visit.TabToAsync(visit.Link("Edit"));
        await page.Keyboard.PressAsync("Enter");
        await visit.TabToAsync(page.Locator("#firstName"));
        await page.Keyboard.PressAsync("Control+A");
        await page.Keyboard.TypeAsync("Corrected");
        await visit.TabToAsync(page.Locator($"input[name=kept][value='{PatronFields.FirstName}']"));
        await page.Keyboard.PressAsync("Space");
        await visit.LookAsync("patron-edit");
        await visit.TabToAsync(visit.Button("Save"));
        await page.Keyboard.PressAsync("Enter");
        await visit.SeesAsync("Saved.");
        await visit.SeesAsync("Library keeps");

        // The sheet of a button opens, and Escape closes it and gives the focus back.
        var sheet = page.Locator("details.drop summary");
        await visit.TabToAsync(sheet);
        await page.Keyboard.PressAsync("Enter");
        await Assertions.Expect(visit.Button("Sync now")).ToBeVisibleAsync();
        await page.Keyboard.PressAsync("Escape");
        await Assertions.Expect(visit.Button("Sync now")).ToBeHiddenAsync();
        await Assertions.Expect(sheet).ToBeFocusedAsync();
        await page.Keyboard.PressAsync("Enter");
        await visit.TabToAsync(visit.Button("Sync now"));
        await page.Keyboard.PressAsync("Enter");
        await SettledAsync(visit, Completed());
        await visit.SeesAsync("Step by step");
        Assert.Equal("Corrected", (await library.Service<PatronService>().GetAsync(library.District.Id, pupil.Barcode)).Patron.FirstName);

        // On a phone, too, whoever has no mouse chooses the order.
        await page.SetViewportSizeAsync(390, 844);
        await visit.GoAsync("/patrons");
        var order = page.Locator("thead .sort").Nth(1);
        var column = (await order.InnerTextAsync()).Split('\n')[0];
        await visit.TabToAsync(order);
        await page.Keyboard.PressAsync("Enter");
        await Assertions.Expect(page.Locator("th[aria-sort]")).ToContainTextAsync(column);
    }

    [Fact]
    public async Task Two_clicks_open_what_one_opens_and_whoever_is_signed_out_does_not_look_at_what_stands_still()
    {
        await using var visit = await browser.OpenAsync(library.Url, @as: await library.SignInAsync(SecurityGroup.LibraryAdministrator));
        await visit.GoAsync("/operations/1");
        var undo = visit.Page.Locator("details.drop");
        await undo.Locator("summary").DblClickAsync();
        await Assertions.Expect(undo).ToHaveJSPropertyAsync("open", true);
        await undo.Locator("summary").ClickAsync();
        await Assertions.Expect(undo).ToHaveJSPropertyAsync("open", false);

        // The stream of a live page is refused: the session is over.
        await visit.GoAsync("/operations");
        await visit.Page.Context.ClearCookiesAsync();
        await visit.Page.EvaluateAsync(
            "() => document.body.dispatchEvent(new CustomEvent('htmx:sseError', { bubbles: true, detail: { source: { readyState: EventSource.CLOSED } } }))"
        );
        await Assertions.Expect(visit.Page).ToHaveURLAsync(SignInAddress());
    }

    [Theory]
    [InlineData(Hand.Mouse)]
    [InlineData(Hand.Keyboard)]
    [InlineData(Hand.NoScript)]
    public async Task A_held_sync_is_discarded_held_again_approved_and_undone_and_a_preview_approved(Hand hand)
    {
        await using var visit = await browser.OpenAsync(library.Url, hand: hand);
        var page = visit.Page;
        var school = library.Sandbox.District.Schools.Last().SourcedId;
        library.Sandbox.Overrides.RemoveShare(school, 0.6);
        try
        {
            await SyncAsync();
            await visit.UseAsync(page.Locator("summary", new PageLocatorOptions { HasText = "Discard…" }));
            await visit.UseAsync(page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { NameRegex = Discard() }));
            await SettledAsync(visit, Discarded());
            await visit.SeesAsync("What waited was not written");
            var before = await TransferredAsync();

            await SyncAsync();
            await visit.UseAsync(visit.Link("Show these people in the log"));
            await Assertions.Expect(page).ToHaveURLAsync(HeldAddress());
            await ApproveAsync(visit);
            Assert.InRange(await TransferredAsync(), before + 10, int.MaxValue);

            await UndoAsync(visit);
            Assert.Equal(before, await TransferredAsync());

            // The same looked at first: nothing is written before the yes.
            await visit.GoAsync("/");
            await visit.UseAsync(visit.Button("Preview"));
            await SettledAsync(visit, Preview());
            Assert.Equal(before, await TransferredAsync());
            await ApproveAsync(visit);
            Assert.InRange(await TransferredAsync(), before + 10, int.MaxValue);
            await UndoAsync(visit);
            Assert.Equal(before, await TransferredAsync());
        }
        finally
        {
            library.Sandbox.Overrides.Clear();
        }

        async Task SyncAsync()
        {
            await visit.GoAsync("/");
            await visit.UseAsync(visit.Button("Sync Now"));
            await SettledAsync(visit, NeedsApproval());
        }

        async Task<long> TransferredAsync() =>
            (
                await library
                    .Service<PatronService>()
                    .PageAsync(library.District.Id, new PatronFilter { Status = PatronStatus.Transferred }, PatronSort.Name, false, 1, 1)
            ).Total;
    }

    [Theory]
    [InlineData(Hand.Mouse)]
    [InlineData(Hand.Keyboard)]
    [InlineData(Hand.NoScript)]
    public async Task People_in_Review_are_linked_made_and_ignored_one_after_the_other(Hand hand)
    {
        // Three who share an address with a patron of another last name.
        string[] names = [$"Linkman-{hand}", $"Newman-{hand}", $"Nobody-{hand}"];
        foreach (var (i, name) in names.Index())
        {
            var email = $"{name}@example.org".ToLowerInvariant();
            await library
                .Service<PatronService>()
                .AddAsync(
                    library.District.Id,
                    [new("barcode", $"REV{(int)hand}{i}"), new("lastName", "Before"), new("firstName", "Bea"), new("email", email)],
                    "test"
                );
            library.Sandbox.Overrides.Put(
                "users",
                new JsonObject
                {
                    ["sourcedId"] = $"review-{hand}-{i}",
                    ["status"] = "active",
                    ["dateLastModified"] = "2026-01-01T00:00:00.000Z",
                    ["username"] = email,
                    ["enabledUser"] = "true",
                    ["givenName"] = "Bea",
                    ["familyName"] = name,
                    ["role"] = "student",
                    ["email"] = email,
                    ["orgs"] = new JsonArray(
                        new JsonObject { ["sourcedId"] = library.Sandbox.District.Schools.First().SourcedId, ["type"] = "org" }
                    ),
                }
            );
        }

        await library.SyncAsync();
        await using var visit = await browser.OpenAsync(library.Url, hand: hand);
        var page = visit.Page;
        await visit.GoAsync("/");
        await visit.UseAsync(visit.Link("Open Review"));
        await Assertions.Expect(Card(names[0]).GetByText("differs").First).ToBeVisibleAsync();
        await Assertions.Expect(Card(names[0]).GetByText("same").First).ToBeVisibleAsync();
        await visit.LookAsync("review-people");

        // On to the next without a decision, and a decision there leads to the one after.
        await visit.UseAsync(Card(names[0]).GetByText("Next"));
        await visit.UseAsync(Card(names[1]).GetByText("Create as new"));
        await visit.SeesAsync($"A new patron was made for {names[1]}, Bea.");
        await Assertions.Expect(Card(names[2])).ToBeInViewportAsync();
        await visit.UseAsync(Card(names[2]).GetByText("Ignore"));
        await visit.SeesAsync("is ignored from now on");
        await visit.UseAsync(Card(names[0]).GetByText($"Link to REV{(int)hand}0"));
        await visit.SeesAsync("is linked to");
        await Assertions.Expect(page.Locator(".reviews")).ToHaveCountAsync(0);
        await Assertions.Expect(page.GetByRole(AriaRole.Row, new PageGetByRoleOptions { Name = names[2] })).ToContainTextAsync("Ignored");

        var patrons = library.Service<PatronService>();
        Assert.Equal(names[0], (await patrons.GetAsync(library.District.Id, $"REV{(int)hand}0")).Patron.LastName);
        Assert.Equal("Before", (await patrons.GetAsync(library.District.Id, $"REV{(int)hand}1")).Patron.LastName);
        Assert.Equal(1, await CalledAsync(names[1]));
        Assert.Equal(0, await CalledAsync(names[2]));

        async Task<int> CalledAsync(string name) =>
            (await patrons.PageAsync(library.District.Id, new PatronFilter(name), PatronSort.Name, false, 1, 10)).Patrons.Count(p =>
                p.LastName == name
            );

        ILocator Card(string name) => page.Locator(".reviews > li", new PageLocatorOptions { HasText = name });
    }

    /// <summary>Beside each organization stands a button that marks it: Enter presses none of these.</summary>
    [Fact]
    public async Task Enter_matches_the_chosen_pair_and_marks_no_organization()
    {
        await using var visit = await browser.OpenAsync(library.Url);
        var page = visit.Page;
        await visit.GoAsync("/preferences/sis/classlink/sites");
        await page.GetByLabel("Undo the match of").First.ClickAsync();
        await visit.SeesAsync("1 site is not matched yet");
        await page.Locator("input[name=site]").First.CheckAsync();
        var org = page.Locator(".pick", new PageLocatorOptions { HasText = "suggested" }).Locator("input");
        await org.CheckAsync();
        await org.PressAsync("Enter");
        await visit.SeesAsync("Every site is matched");
        await Assertions.Expect(page.Locator("#not-served")).ToHaveCountAsync(0);

        // In the list that stays on the screen an empty box to tick on paper is none to see.
        await page.SetViewportSizeAsync(390, 844);
        await visit.GoAsync("/lists/arrivals?site=S01&card=all&since=2000-01-01");
        Assert.NotEqual(0, await page.Locator("td.on-paper").CountAsync());
        await Assertions.Expect(page.Locator("td.on-paper").First).ToBeHiddenAsync();
    }

    [Fact]
    public async Task Without_scripts_a_roster_is_connected_matched_set_up_previewed_and_approved()
    {
        var pupil = await PupilAsync(11);
        library.Sandbox.Overrides.Change("users", pupil.Guid!, r => r["givenName"] = "Scriptless");
        await using var visit = await browser.OpenAsync(library.Url, script: false);
        var page = visit.Page;
        await visit.GoAsync("/preferences/sis/classlink");
        await page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { Name = "Save", Exact = true }).ClickAsync();
        await visit.SeesAsync("Connected to");
        await visit.Link("Site Mapping").ClickAsync();
        await page.GetByLabel("Undo the match of").First.ClickAsync();
        await visit.SeesAsync("1 site is not matched yet");
        await page.Locator("input[name=site]").First.CheckAsync();
        await page.Locator(".pick", new PageLocatorOptions { HasText = "suggested" }).Locator("input").CheckAsync();
        await page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { Name = "Match", Exact = true }).ClickAsync();
        await visit.SeesAsync("Every site is matched");
        await visit.Link("Holds").ClickAsync();
        await page.GetByLabel("Leavers: people").First.FillAsync("12");
        await visit.Button("Save").First.ClickAsync();
        await Assertions.Expect(page.GetByLabel("Leavers: people").First).ToHaveValueAsync("12");
        await visit.GoAsync("/");
        await visit.Button("Preview").ClickAsync();
        await ReadyAsync("Preview");
        await page.GetByText("Approve…").ClickAsync();
        await page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { NameRegex = ApplySure() }).ClickAsync();
        await ReadyAsync("Completed");
        Assert.Equal("Scriptless", (await library.Service<PatronService>().GetAsync(library.District.Id, pupil.Barcode)).Patron.FirstName);

        // The page does not find out by itself: it offers to be loaded again.
        async Task ReadyAsync(string status)
        {
            await library.EndOfAsync(long.Parse(new Uri(page.Url).Segments[^1], CultureInfo.InvariantCulture));
            if (await visit.Link("Reload").CountAsync() > 0)
            {
                await visit.Link("Reload").ClickAsync();
            }

            await Assertions.Expect(page.Locator(".page-head .mark").First).ToContainTextAsync(status);
        }
    }

    [Theory]
    [InlineData(Hand.Mouse)]
    [InlineData(Hand.Keyboard)]
    [InlineData(Hand.NoScript)]
    public async Task A_class_list_is_imported_taken_back_and_last_years_leavers_are_removed(Hand hand)
    {
        await using var visit = await browser.OpenAsync(library.Url, hand: hand);
        var page = visit.Page;

        // Import: the file's own headers are matched by hand, looked at, approved.
        await visit.GoAsync("/patrons");
        await visit.UseAsync(visit.Link("Import"));
        await visit.GiveAsync(
            page.GetByLabel("CSV file"),
            new FilePayload
            {
                Name = "class list.csv",
                MimeType = "text/csv",
                Buffer = Encoding.UTF8.GetBytes(
                    "Card no.,Surname,Given,state\nDESK1,Desmond,Ida,Transferred\nDESK2,Desmond,Ivo,Transferred\n"
                ),
            }
        );
        await visit.UseAsync(visit.Button("Continue"));
        await visit.SeesAsync("2 rows");
        foreach (
            var (column, field) in new[] { ("Card no.", "barcode"), ("Surname", "lastName"), ("Given", "firstName"), ("state", "status") }
        )
        {
            await visit.ChooseAsync(page.GetByLabel($"Field for the column {column}"), field);
        }

        await visit.LookAsync("import-columns");
        await visit.UseAsync(visit.Button("Preview the import"));
        await SettledAsync(visit, Preview());
        await ApproveAsync(visit);
        var operation = page.Url.Split('?')[0];

        // Taken back, and done again.
        await UndoAsync(visit);
        await visit.GoAsync("/patrons?q=desmond");
        await visit.SeesAsync("No patron fits");
        await visit.GoAsync(new Uri(operation).PathAndQuery);
        await SettledAsync(visit, Undone());
        await library
            .Service<PatronService>()
            .AddAsync(library.District.Id, [new("barcode", "DESK1"), new("lastName", "Desmond"), new("status", "Transferred")], "test");

        // End of year: export first, then a preview, then it is final.
        await visit.GoAsync("/end-of-year");
        await visit.LookAsync("end-of-year");
        var download = await page.RunAndWaitForDownloadAsync(() => visit.UseAsync(visit.Link("Export as CSV")));
        Assert.Contains("DESK1", await File.ReadAllTextAsync(await download.PathAsync()), StringComparison.Ordinal);

        // All of them get a note, which is taken back; all of them would be removed, which nobody wants.
        await visit.UseAsync(page.GetByRole(AriaRole.Link, new PageGetByRoleOptions { NameRegex = EditAll() }));
        await visit.TickAsync(page.Locator("input[name=change][value=notes]"));
        await visit.WriteAsync(page.GetByLabel("New Notes"), "Left school");
        await visit.UseAsync(visit.Button("Preview the change"));
        await SettledAsync(visit, Preview());
        await ApproveAsync(visit);
        Assert.Equal("Left school", (await library.Service<PatronService>().GetAsync(library.District.Id, "DESK1")).Patron.Notes);
        await UndoAsync(visit);
        Assert.Null((await library.Service<PatronService>().GetAsync(library.District.Id, "DESK1")).Patron.Notes);
        await visit.GoAsync("/end-of-year");
        await visit.UseAsync(page.GetByRole(AriaRole.Link, new PageGetByRoleOptions { NameRegex = RemoveAll() }));
        await visit.TickAsync(page.GetByLabel("I have the export"));
        await visit.UseAsync(visit.Button("Preview the removal"));
        await SettledAsync(visit, Preview());
        await visit.UseAsync(page.Locator("summary", new PageLocatorOptions { HasText = "Discard…" }));
        await visit.UseAsync(page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { NameRegex = Discard() }));
        await SettledAsync(visit, PreviewDiscarded());

        // One school alone, or those of none; and whoever is ticked in the list.
        await visit.GoAsync("/end-of-year");
        await visit.UseAsync(page.GetByRole(AriaRole.Link, new PageGetByRoleOptions { NameRegex = RemoveNoSite() }));
        await visit.SeesAsync("Desmond");
        await visit.UseAsync(visit.Link("Cancel"));
        await visit.SeesAsync("Tick patrons to edit");
        await visit.GoAsync("/patrons?q=desmond");
        if (visit.IsScriptless)
        {
            await visit.TickAsync(page.Locator("input[name=b]").First);
        }
        else
        {
            await visit.TickAsync(page.GetByLabel("Tick all on this page"));
            await visit.SeesAsync("Ticked: 1");
        }

        await visit.UseAsync(visit.Button("Remove…"));
        await visit.SeesAsync("A removal is final");
        await visit.LookAsync("removal");
        await visit.TickAsync(page.GetByLabel("I have the export"));
        await visit.UseAsync(visit.Button("Preview the removal"));
        await SettledAsync(visit, Preview());
        await ApproveAsync(visit);
        await visit.GoAsync("/patrons?q=desmond");
        await visit.SeesAsync("No patron fits");
    }

    [Fact]
    public async Task Changes_that_are_not_saved_are_warned_about()
    {
        var pupil = await PupilAsync(9);
        await using var visit = await browser.OpenAsync(library.Url);
        var asked = 0;
        visit.Page.Dialog += (_, dialog) =>
        {
            asked++;
            Assert.Equal("beforeunload", dialog.Type);
            _ = dialog.AcceptAsync();
        };
        await visit.GoAsync($"/patron/edit?barcode={pupil.Barcode}");
        await visit.Link("Cancel").ClickAsync();
        await Assertions.Expect(visit.Link("History")).ToBeVisibleAsync();
        Assert.Equal(0, asked);
        await visit.GoAsync($"/patron/edit?barcode={pupil.Barcode}");
        await visit.Page.Locator("#nickname").PressSequentiallyAsync("x");
        await visit.Link("Cancel").ClickAsync();
        await Assertions.Expect(visit.Link("History")).ToBeVisibleAsync();
        Assert.Equal(1, asked);
    }

    [Fact]
    public async Task Each_form_that_is_not_saved_is_warned_about_whatever_else_is_sent_from_the_page()
    {
        await using var visit = await browser.OpenAsync(library.Url);
        var page = visit.Page;
        var (asked, stay) = (0, true);
        page.Dialog += (_, dialog) =>
        {
            asked++;
            Assert.Equal("beforeunload", dialog.Type);
            _ = stay ? dialog.DismissAsync() : dialog.AcceptAsync();
        };
        const string schedule = "/preferences/sis/classlink/schedule";
        await visit.GoAsync(schedule);
        await page.GetByLabel("Time of day").FillAsync("03:15");
        await page.GetByLabel("From").FillAsync("2030-06-01");
        await page.GetByLabel("To", new PageGetByLabelOptions { Exact = true }).FillAsync("2030-05-01");

        // The other form is not saved: whoever stays finds everything as it was typed, and may go on at once.
        await visit.Button("Add a pause").ClickAsync();
        await Assertions.Expect(page.GetByLabel("Time of day")).ToHaveValueAsync("03:15");
        Assert.Equal(1, asked);
        stay = false;
        await visit.Button("Add a pause").ClickAsync();
        await visit.SeesAsync("Give the earlier date first");
        Assert.Equal(2, asked);

        // What was refused stands there again, and is not saved either.
        await Assertions.Expect(page.GetByLabel("From")).ToHaveValueAsync("2030-06-01");
        await visit.LookAsync("schedule-refused");
        await visit.Link("Holds").ClickAsync();
        await Assertions.Expect(page.GetByText("All sites").First).ToBeVisibleAsync();
        Assert.Equal(3, asked);

        // A form that is sent by itself asks nothing.
        await page.GetByLabel("Leavers: people").First.FillAsync("14");
        await visit.Button("Save").First.ClickAsync();
        await visit.SeesAsync("Saved for all sites");
        Assert.Equal(3, asked);
        await page.GetByLabel("Leavers: people").First.FillAsync("10");
        await visit.Button("Save").First.ClickAsync();
        await visit.SeesAsync("Saved for all sites");
    }

    [GeneratedRegex("/signin")]
    private static partial Regex SignInAddress();

    [GeneratedRegex("^Completed", RegexOptions.None, 1000)]
    private static partial Regex Completed();

    [GeneratedRegex("^Needs approval", RegexOptions.None, 1000)]
    private static partial Regex NeedsApproval();

    [GeneratedRegex("^Preview", RegexOptions.None, 1000)]
    private static partial Regex Preview();

    [GeneratedRegex("^Hold discarded", RegexOptions.None, 1000)]
    private static partial Regex Discarded();

    [GeneratedRegex("^Discarded", RegexOptions.None, 1000)]
    private static partial Regex PreviewDiscarded();

    [GeneratedRegex("^Edit all", RegexOptions.None, 1000)]
    private static partial Regex EditAll();

    [GeneratedRegex(@"^Remove…\s*: No site", RegexOptions.None, 1000)]
    private static partial Regex RemoveNoSite();

    [GeneratedRegex("^Remove all", RegexOptions.None, 1000)]
    private static partial Regex RemoveAll();

    [GeneratedRegex("^Undone", RegexOptions.None, 1000)]
    private static partial Regex Undone();

    [GeneratedRegex("held=on", RegexOptions.None, 1000)]
    private static partial Regex HeldAddress();

    [GeneratedRegex("^Yes, discard", RegexOptions.None, 1000)]
    private static partial Regex Discard();

    [GeneratedRegex("^(?:Yes, apply|Remove .* for good)", RegexOptions.None, 1000)]
    private static partial Regex ApplySure();

    [GeneratedRegex("^Yes, undo", RegexOptions.None, 1000)]
    private static partial Regex UndoSure();
}

/// <summary>A new library is connected in a browser, with the mistakes that people make.</summary>
public sealed partial class ConnectTests(Browser browser)
{
    [Theory]
    [InlineData(Hand.Mouse)]
    [InlineData(Hand.Keyboard)]
    public async Task From_a_wrong_tenant_over_the_first_sync_to_another_service(Hand hand)
    {
        await using var library = new EmptyLibrary();
        await library.InitializeAsync();
        await library.AddDistrictAsync();
        await library.Service<Integrations.IntegrationService>().StorePartnerKeyAsync(library.Sandbox.Options.PartnerKey, "test");
        var schools = library.Sandbox.District.Schools.ToList();
        await library
            .Service<Districts.SiteService>()
            .AddAsync(library.District.Id, "S01", new Districts.SiteChange(schools[0].Name, null, null, null, null), "test");

        await using var visit = await browser.OpenAsync(library.Url, hand: hand);
        var page = visit.Page;
        await visit.GoAsync("/");
        await visit.SeesAsync("The way to the first sync");
        await visit.LookAsync("dashboard-first");
        await visit.UseAsync(visit.Link("Connect the roster"));
        var origin = library.Sandbox.Url.GetLeftPart(UriPartial.Authority);
        await ConnectAsync(SandboxTenants.NeverAdded);
        await visit.SeesAsync("lists no district");
        await visit.LookAsync("connect-wrong-tenant");
        await ConnectAsync(library.Sandbox.Options.TenantId);
        await visit.SeesAsync("Connected to");

        // The way in, tab by tab.
        await visit.UseAsync(visit.Link("Site Mapping"));
        await visit.UseAsync(visit.Button("Match as suggested"));
        await visit.SeesAsync("matched as suggested");
        await visit.UseAsync(page.Locator("summary", new PageLocatorOptions { HasText = "Add sites…" }));
        var code = page.GetByLabel($"Code of the site for {schools[1].Name}");
        await visit.WriteAsync(code, "s01");
        await visit.UseAsync(visit.Button("Add and match"));
        await visit.SeesAsync($"The code s01 cannot be {schools[1].Name}'s");
        await visit.LookAsync("classlink-add-sites");
        await visit.WriteAsync(code, "OURS");
        await visit.UseAsync(visit.Button("Add and match"));
        await visit.SeesAsync("Every site is matched");
        Assert.Equal(schools.Count, (await library.Service<Districts.SiteService>().ListAsync(library.District.Id)).Count);
        await visit.UseAsync(visit.Link("Syncing"));
        await visit.TickAsync(page.GetByLabel("Student", new PageGetByLabelOptions { Exact = true }));
        await visit.UseAsync(visit.Button("Save"));
        await visit.SeesAsync("Synced from now on");
        await visit.UseAsync(visit.Link("Field Mapping"));
        await visit.UseAsync(visit.Button("Read the roster"));
        await visit.UseAsync(page.Locator("summary", new PageLocatorOptions { HasText = "Modify…" }));
        await visit.ChooseAsync(page.GetByLabel("1001 Student #"), "identifier");
        await visit.TickAsync(page.GetByLabel("I have looked at Readiness"));
        await visit.LookAsync("mapping-modify");
        await visit.UseAsync(page.Locator("form[action$='handler=Map']").GetByText("Save"));
        await visit.SeesAsync("The next sync is a full one");
        await visit.GoAsync("/preferences/sis");
        await visit.UseAsync(page.Locator("summary", new PageLocatorOptions { HasText = "Turn on…" }));
        await visit.UseAsync(visit.Button("Yes, turn it on"));
        await visit.SeesAsync("ClassLink is on");
        await visit.GoAsync("/");
        await visit.UseAsync(visit.Button("Sync Now"));
        await Assertions.Expect(page.Locator(".page-head .mark").First).ToHaveTextAsync(Completed());
        await visit.SeesAsync("By site");

        // Another tenant while people are linked: counts first, and nothing happens before somebody agrees.
        await visit.GoAsync("/preferences/sis/classlink");
        await ConnectAsync(SandboxTenants.Other);
        await visit.SeesAsync("People are linked to another roster");
        await visit.SeesAsync("patron GUIDs");
        await visit.LookAsync("switch-counts");
        var linked = await library
            .Service<PatronService>()
            .PageAsync(library.District.Id, new PatronFilter { Linked = true }, PatronSort.Name, false, 1, 1);
        Assert.True(linked.Total > 100);

        // Another service: it says what goes, and is turned on when somebody agrees.
        await visit.GoAsync("/preferences/sis/oneroster");
        await visit.WriteAsync(page.Locator("#url"), origin);
        await visit.TickAsync(page.GetByLabel("sign each request"));
        await visit.WriteAsync(page.Locator("#key"), library.Sandbox.Options.ConsumerKey);
        await visit.WriteAsync(page.Locator("#secret"), library.Sandbox.Options.ConsumerSecret);
        await visit.UseAsync(page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { Name = "Save", Exact = true }));
        await visit.SeesAsync("Connected");
        await visit.UseAsync(visit.Link("Turn it on"));
        await visit.UseAsync(page.Locator("summary", new PageLocatorOptions { HasText = "Turn on…" }));
        await visit.SeesAsync($"{linked.Total.ToString("N0", CultureInfo.InvariantCulture)} patron GUIDs");
        await visit.LookAsync("switch-service");
        await visit.UseAsync(visit.Button("Yes, turn it on"));
        await visit.SeesAsync("OneRoster is on");
        Assert.Equal(
            0,
            (
                await library
                    .Service<PatronService>()
                    .PageAsync(library.District.Id, new PatronFilter { Linked = true }, PatronSort.Name, false, 1, 1)
            ).Total
        );

        async Task ConnectAsync(string tenant)
        {
            await visit.WriteAsync(page.Locator("#tenantId"), tenant);
            await visit.WriteAsync(page.GetByLabel("Address", new PageGetByLabelOptions { Exact = true }), origin);
            await visit.UseAsync(page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { Name = "Save", Exact = true }));
        }
    }

    [Theory]
    [InlineData(Hand.Mouse)]
    [InlineData(Hand.Keyboard)]
    public async Task A_folder_of_files_is_connected_and_then_the_districts_own_server(Hand hand)
    {
        await using var library = new EmptyLibrary();
        await library.InitializeAsync();
        await library.AddDistrictAsync();
        var folder = Directory.CreateTempSubdirectory("rollcall-feed-").FullName;
        try
        {
            SandboxCsv.Write(library.Sandbox.Options, 0, new SandboxCsvOptions(), folder);
            await using var visit = await browser.OpenAsync(library.Url, hand: hand);
            var page = visit.Page;
            ILocator Save() => page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { Name = "Save", Exact = true });
            await visit.GoAsync("/preferences/sis/oneroster-csv");
            await visit.WriteAsync(page.GetByLabel("Folder", new PageGetByLabelOptions { Exact = true }), "feeds/riverbend");
            await visit.UseAsync(Save());
            await visit.SeesAsync("with its whole path");
            await visit.WriteAsync(page.GetByLabel("Folder", new PageGetByLabelOptions { Exact = true }), folder);
            await visit.UseAsync(Save());
            await visit.SeesAsync("Connected");
            await visit.LookAsync("csv-connected");
            await visit.UseAsync(visit.Link("Site Mapping"));
            await visit.SeesAsync(library.Sandbox.District.Schools.First().Name);

            // ClassLink's roster server of the district itself, past the proxy.
            await visit.GoAsync("/preferences/sis/classlink");
            await visit.WriteAsync(page.Locator("#tenantId"), library.Sandbox.Options.TenantId);
            await visit.TickAsync(page.GetByLabel("Directly, with a key and a secret"));
            await visit.WriteAsync(page.Locator("#url"), library.Sandbox.Url.GetLeftPart(UriPartial.Authority) + "/ims/oneroster/v1p1");
            await visit.WriteAsync(page.Locator("#key"), library.Sandbox.Options.ConsumerKey);
            await visit.WriteAsync(page.Locator("#secret"), "not-the-secret");
            await visit.UseAsync(Save());
            await Assertions.Expect(page.Locator(".notice-bad")).ToBeVisibleAsync();
            await visit.LookAsync("connect-direct-refused");
            await visit.WriteAsync(page.Locator("#secret"), library.Sandbox.Options.ConsumerSecret);
            await visit.UseAsync(Save());
            await visit.SeesAsync("Connected");
            Assert.Equal(
                Integrations.ConnectionMode.Direct,
                Integrations
                    .IntegrationService.SettingsOf(
                        await library
                            .Service<Integrations.IntegrationService>()
                            .FindAsync(library.District.Id, Integrations.IntegrationKind.ClassLink)
                    )
                    .Mode
            );
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [GeneratedRegex("^Completed", RegexOptions.None, 1000)]
    private static partial Regex Completed();
}
