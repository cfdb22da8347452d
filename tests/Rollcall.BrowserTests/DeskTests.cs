using System.Text;
using System.Text.RegularExpressions;
using Microsoft.Playwright;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Server.Tests.Pages;

namespace Rollcall.BrowserTests;

/// <summary>Whole stories of a librarian's desk.</summary>
public sealed partial class DeskTests(Browser browser, SyncedLibrary library) : IClassFixture<SyncedLibrary>
{
    private static Task SettledAsync(IPage page, Regex status) =>
        Assertions.Expect(page.Locator(".page-head .mark").First).ToHaveTextAsync(status);

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
        await visit.ScreenshotAsync("patron-edit");
        await visit.IsAccessibleAsync();
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
        await SettledAsync(page, Completed());
        await visit.SeesAsync("Step by step");
        Assert.Equal("Corrected", (await library.Service<PatronService>().GetAsync(library.District.Id, pupil.Barcode)).Patron.FirstName);
    }

    [Fact]
    public async Task By_keyboard_alone_a_held_sync_is_looked_at_and_discarded()
    {
        await using var visit = await browser.OpenAsync(library.Url);
        var page = visit.Page;
        var school = library.Sandbox.District.Schools.Last().SourcedId;
        library.Sandbox.Overrides.RemoveShare(school, 0.6);
        try
        {
            await visit.GoAsync("/");
            await visit.TabToAsync(visit.Button("Sync Now"));
            await page.Keyboard.PressAsync("Enter");
            await SettledAsync(page, NeedsApproval());
            await visit.TabToAsync(page.Locator("summary", new PageLocatorOptions { HasText = "Discard…" }));
            await page.Keyboard.PressAsync("Enter");
            await visit.TabToAsync(page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { NameRegex = Discard() }));
            await page.Keyboard.PressAsync("Enter");
            await SettledAsync(page, Discarded());
            await visit.SeesAsync("Nothing of it was written");
        }
        finally
        {
            library.Sandbox.Overrides.Clear();
        }
    }

    [Fact]
    public async Task A_class_list_is_imported_taken_back_and_last_years_leavers_are_removed()
    {
        await using var visit = await browser.OpenAsync(library.Url);
        var page = visit.Page;

        // Import: the file's own headers are matched by hand, looked at, approved.
        await visit.GoAsync("/patrons");
        await visit.Link("Import").ClickAsync();
        await page.GetByLabel("CSV file")
            .SetInputFilesAsync(
                new FilePayload
                {
                    Name = "class list.csv",
                    MimeType = "text/csv",
                    Buffer = Encoding.UTF8.GetBytes(
                        "Card no.,Surname,Given,state\nDESK1,Desmond,Ida,Transferred\nDESK2,Desmond,Ivo,Transferred\n"
                    ),
                }
            );
        await visit.Button("Continue").ClickAsync();
        await visit.SeesAsync("2 rows");
        foreach (
            var (column, field) in new[] { ("Card no.", "barcode"), ("Surname", "lastName"), ("Given", "firstName"), ("state", "status") }
        )
        {
            await page.GetByLabel($"Field for the column {column}").SelectOptionAsync(field);
        }

        await visit.ScreenshotAsync("import-columns");
        await visit.IsAccessibleAsync();
        await visit.Button("Preview the import").ClickAsync();
        await SettledAsync(page, Preview());
        await ApproveAsync();
        var operation = page.Url.Split('?')[0];

        // Taken back, and done again.
        await page.GetByText("Undo…").ClickAsync();
        await page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { NameRegex = UndoSure() }).ClickAsync();
        await SettledAsync(page, Completed());
        await visit.GoAsync("/patrons?q=desmond");
        await visit.SeesAsync("No patron fits");
        await visit.GoAsync(new Uri(operation).PathAndQuery);
        await SettledAsync(page, Undone());
        await library
            .Service<PatronService>()
            .AddAsync(library.District.Id, [new("barcode", "DESK1"), new("lastName", "Desmond"), new("status", "Transferred")], "test");

        // End of year: export first, then a preview, then it is final.
        await visit.GoAsync("/end-of-year");
        await visit.ScreenshotAsync("end-of-year");
        await visit.IsAccessibleAsync();
        var download = await page.RunAndWaitForDownloadAsync(() => page.GetByText("Export as CSV").ClickAsync());
        Assert.Contains("DESK1", await File.ReadAllTextAsync(await download.PathAsync()), StringComparison.Ordinal);
        await visit.GoAsync("/patrons?q=desmond");
        await page.GetByLabel("Tick all on this page").CheckAsync();
        await visit.SeesAsync("Ticked: 1");
        await visit.Button("Remove…").ClickAsync();
        await visit.SeesAsync("A removal is final");
        await visit.IsAccessibleAsync();
        await page.GetByLabel("I have the export").CheckAsync();
        await visit.Button("Preview the removal").ClickAsync();
        await SettledAsync(page, Preview());
        await ApproveAsync();
        await visit.GoAsync("/patrons?q=desmond");
        await visit.SeesAsync("No patron fits");

        async Task ApproveAsync()
        {
            await page.GetByText("Approve…").ClickAsync();
            await page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { NameRegex = ApplySure() }).ClickAsync();
            await SettledAsync(page, Completed());
        }
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
        await Assertions.Expect(visit.Heading("History")).ToBeVisibleAsync();
        Assert.Equal(0, asked);
        await visit.GoAsync($"/patron/edit?barcode={pupil.Barcode}");
        await visit.Page.Locator("#nickname").PressSequentiallyAsync("x");
        await visit.Link("Cancel").ClickAsync();
        await Assertions.Expect(visit.Heading("History")).ToBeVisibleAsync();
        Assert.Equal(1, asked);
    }

    [GeneratedRegex("^Completed", RegexOptions.None, 1000)]
    private static partial Regex Completed();

    [GeneratedRegex("^Needs approval", RegexOptions.None, 1000)]
    private static partial Regex NeedsApproval();

    [GeneratedRegex("^Preview", RegexOptions.None, 1000)]
    private static partial Regex Preview();

    [GeneratedRegex("^(?<status>Discarded|Completed)", RegexOptions.None, 1000)]
    private static partial Regex Discarded();

    [GeneratedRegex("^Undone", RegexOptions.None, 1000)]
    private static partial Regex Undone();

    [GeneratedRegex("^Yes, discard", RegexOptions.None, 1000)]
    private static partial Regex Discard();

    [GeneratedRegex("^Yes, apply", RegexOptions.None, 1000)]
    private static partial Regex ApplySure();

    [GeneratedRegex("^Yes, undo", RegexOptions.None, 1000)]
    private static partial Regex UndoSure();
}

/// <summary>A new library is connected in a browser, with the mistakes that people make.</summary>
public sealed partial class ConnectTests(Browser browser, EmptyLibrary library) : IClassFixture<EmptyLibrary>
{
    [Fact]
    public async Task From_a_wrong_tenant_over_the_first_sync_to_another_service()
    {
        await library.AddDistrictAsync();
        await library.Service<Integrations.IntegrationService>().StorePartnerKeyAsync(library.Sandbox.Options.PartnerKey);
        foreach (var (i, school) in library.Sandbox.District.Schools.Index())
        {
            await library
                .Service<Districts.SiteService>()
                .AddAsync(library.District.Id, $"S{i + 1:00}", new(school.Name, null, null, null, null));
        }

        await using var visit = await browser.OpenAsync(library.Url);
        var page = visit.Page;
        await visit.GoAsync("/");
        await visit.SeesAsync("The way to the first sync");
        await visit.ScreenshotAsync("dashboard-first");
        await visit.IsAccessibleAsync();
        await visit.Link("Connect the roster").ClickAsync();
        var origin = library.Sandbox.Url.GetLeftPart(UriPartial.Authority);
        await ConnectAsync(SandboxTenants.NeverAdded);
        await visit.SeesAsync("lists no district");
        await visit.ScreenshotAsync("connect-wrong-tenant");
        await visit.IsAccessibleAsync();
        await ConnectAsync(library.Sandbox.Options.TenantId);
        await visit.SeesAsync("Connected to");

        // The way in, tab by tab.
        await visit.Link("Site Mapping").ClickAsync();
        await visit.Button("Match as suggested").ClickAsync();
        await visit.SeesAsync("matched as suggested");
        await visit.Link("Syncing").ClickAsync();
        await page.GetByLabel("Student", new PageGetByLabelOptions { Exact = true }).CheckAsync();
        await visit.Button("Save").ClickAsync();
        await visit.SeesAsync("Synced from now on");
        await visit.Link("Field Mapping").ClickAsync();
        await visit.Button("Read the roster").ClickAsync();
        await page.GetByText("Modify…").ClickAsync();
        await page.GetByLabel("1001 Student #").SelectOptionAsync("identifier");
        await page.GetByLabel("I have looked at Readiness").CheckAsync();
        await visit.ScreenshotAsync("mapping-modify");
        await visit.IsAccessibleAsync();
        await page.Locator("form[action$='handler=Map']").GetByText("Save").ClickAsync();
        await visit.SeesAsync("The next sync is a full one");
        await visit.GoAsync("/preferences/sis");
        await page.GetByText("Turn on…").ClickAsync();
        await visit.Button("Yes, turn it on").ClickAsync();
        await visit.SeesAsync("ClassLink is on");
        await visit.GoAsync("/");
        await visit.Button("Sync Now").ClickAsync();
        await Assertions.Expect(page.Locator(".page-head .mark").First).ToHaveTextAsync(Completed());
        await visit.SeesAsync("By site");

        // Another tenant while people are linked: counts first, and nothing happens before somebody agrees.
        await visit.GoAsync("/preferences/sis/classlink");
        await ConnectAsync(SandboxTenants.Other);
        await visit.SeesAsync("People are linked to another roster");
        await visit.SeesAsync("patron GUIDs");
        await visit.ScreenshotAsync("switch-counts");
        await visit.IsAccessibleAsync();
        var linked = await library
            .Service<PatronService>()
            .PageAsync(library.District.Id, new PatronFilter { Linked = true }, PatronSort.Name, false, 1, 1);
        Assert.True(linked.Total > 100);

        async Task ConnectAsync(string tenant)
        {
            await page.GetByLabel("Tenant ID").FillAsync(tenant);
            await page.GetByLabel("Address", new PageGetByLabelOptions { Exact = true }).FillAsync(origin);
            await page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { Name = "Save", Exact = true }).ClickAsync();
        }
    }

    [GeneratedRegex("^Completed", RegexOptions.None, 1000)]
    private static partial Regex Completed();
}
