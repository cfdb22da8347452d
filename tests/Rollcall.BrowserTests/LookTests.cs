using Rollcall.Patrons;
using Rollcall.Server.Tests.Pages;

namespace Rollcall.BrowserTests;

/// <summary>Every page in both themes and on a phone: usable by everybody, and a picture of it beside the tests.</summary>
public sealed class LookTests(Browser browser, SyncedLibrary library) : IClassFixture<SyncedLibrary>
{
    [Fact]
    public async Task The_name_of_a_field_breaks_between_its_words_alone()
    {
        var two = (
            await library
                .Service<PatronService>()
                .PageAsync(library.District.Id, new PatronFilter { RoleGroup = RoleGroup.Student }, PatronSort.Barcode, false, 1, 2)
        ).Patrons;
        await using var visit = await browser.OpenAsync(library.Url);
        foreach (
            var path in new[]
            {
                $"/patron/explain?barcode={two[0].Barcode}&roster=ask",
                $"/patron/merge?keep={two[0].Barcode}&other={two[1].Barcode}",
            }
        )
        {
            await visit.GoAsync(path);
            foreach (var width in (int[])[1440, 1024, 760])
            {
                await visit.Page.SetViewportSizeAsync(width, 900);
                Assert.Empty(
                    await visit.Page.EvaluateAsync<string[]>(
                        """
                        () => [...document.querySelectorAll('tbody th[scope=row]')].flatMap(th => {
                          const text = th.firstChild, broken = [];
                          for (const word of text.data.matchAll(/[^\s\/]+/g)) {
                            const range = document.createRange();
                            range.setStart(text, word.index);
                            range.setEnd(text, word.index + word[0].length);
                            if (range.getClientRects().length > 1) broken.push(word[0]);
                          }
                          return broken;
                        })
                        """
                    )
                );
            }
        }
    }

    [Fact]
    public async Task Every_page_can_be_used_by_everybody()
    {
        var patron = (
            await library.Service<PatronService>().PageAsync(library.District.Id, new PatronFilter(), PatronSort.Barcode, false, 1, 1)
        ).Patrons[0];
        await using var visit = await browser.OpenAsync(library.Url);
        foreach (
            var (name, path) in new[]
            {
                ("dashboard", "/"),
                ("patrons", "/patrons"),
                ("patrons-none", "/patrons?q=nobody-is-called-this"),
                ("patron", $"/patrons/{patron.Barcode}"),
                ("sites", "/sites"),
                ("site", "/sites/edit/S01"),
                ("operations", "/operations"),
                ("operation", "/operations/1"),
                ("review", "/review"),
                ("sis", "/preferences/sis"),
                ("classlink", "/preferences/sis/classlink"),
                ("classlink-sites", "/preferences/sis/classlink/sites"),
                ("classlink-syncing", "/preferences/sis/classlink/syncing"),
                ("classlink-readiness", "/preferences/sis/classlink/readiness"),
                ("classlink-mapping", "/preferences/sis/classlink/mapping"),
                ("classlink-schedule", "/preferences/sis/classlink/schedule"),
                ("classlink-holds", "/preferences/sis/classlink/holds"),
                ("classlink-signin", "/preferences/sis/classlink/signin"),
                ("csv", "/preferences/sis/oneroster-csv"),
                ("notices", "/preferences/notices"),
                ("oneroster", "/preferences/sis/oneroster"),
                ("patron-edit", $"/patron/edit?barcode={patron.Barcode}"),
                ("patron-new", "/patron/edit"),
                ("patron-explain", $"/patron/explain?barcode={patron.Barcode}&roster=ask"),
                ("patron-merge", $"/patron/merge?keep={patron.Barcode}"),
                ("patron-erase", $"/patron/erase?barcode={patron.Barcode}"),
                ("account", "/account"),
                ("accounts", "/accounts"),
                ("audit", "/audit"),
                ("grades", "/preferences/grades"),
                ("policies", "/preferences/policies"),
                ("retention", "/preferences/retention"),
                ("tokens", "/preferences/tokens"),
                ("bulk-edit", "/patron/bulk?do=edit&status=Active"),
                ("bulk-remove", "/patron/bulk?do=remove&status=Active"),
                ("import", "/patron/import"),
                ("end-of-year", "/end-of-year"),
                ("lists", "/lists"),
                ("arrivals", "/lists/arrivals"),
                ("transferred", "/lists/transferred"),
                ("districts", "/welcome"),
                ("about", "/about"),
                ("error", "/nothing-here"),
            }
        )
        {
            await visit.GoAsync(path);
            foreach (var look in new[] { Look.Wide, Look.Dark, Look.Phone })
            {
                await visit.LookAsync(look);
                await visit.ScreenshotAsync(name);
                await visit.IsAccessibleAsync();
            }

            // A screen of 1280 pixels at 200 % is one of 640.
            await visit.Page.SetViewportSizeAsync(640, 512);
            await visit.FitsAsync();
            await visit.LookAsync(Look.Wide);
        }

        // On paper nothing can be unfolded: the log of an operation shows what it wrote.
        await visit.GoAsync("/operations/1");
        var written = visit.Page.Locator("details.values dl").First;
        await Microsoft.Playwright.Assertions.Expect(written).ToBeHiddenAsync();
        await visit.Page.EmulateMediaAsync(new() { Media = Microsoft.Playwright.Media.Print });
        Assert.True(
            await written.EvaluateAsync<bool>(
                "e => e.checkVisibility({ contentVisibilityAuto: true }) && e.getBoundingClientRect().height > 0"
            )
        );
        await visit.ScreenshotAsync("log-printed");

        // Paper is narrow and light: tables stay tables on it, whatever theme was chosen.
        await visit.Page.SetViewportSizeAsync(600, 800);
        await visit.Page.EvaluateAsync("document.documentElement.dataset.bsTheme = 'dark'");
        Assert.Equal(
            ["table-header-group", "rgb(23, 32, 43)", "rgb(255, 255, 255)"],
            await visit.Page.EvaluateAsync<string[]>(
                """
                () => [
                  getComputedStyle(document.querySelector('.stack thead')).display,
                  getComputedStyle(document.body).color,
                  getComputedStyle(document.querySelector('.card-box')).backgroundColor]
                """
            )
        );
        await visit.Page.EvaluateAsync("delete document.documentElement.dataset.bsTheme");
        await visit.Page.EmulateMediaAsync(new() { Media = Microsoft.Playwright.Media.Screen });

        // What was filled in while the sign-in ended.
        await visit.LookAsync(Look.Wide);
        await visit.GoAsync("/patron/edit");
        await visit.Page.Locator("#lastName").FillAsync("Kept");
        var cookies = await visit.Page.Context.CookiesAsync();
        await visit.Page.Context.ClearCookiesAsync(new() { Name = "rollcall-session" });
        await visit.Button("Add patron").ClickAsync();
        await visit.SeesAsync("You have been signed out");
        foreach (var look in new[] { Look.Wide, Look.Dark, Look.Phone })
        {
            await visit.LookAsync(look);
            await visit.LookAsync("form-kept");
        }

        await visit.Page.Context.AddCookiesAsync([
            .. cookies.Select(c => new Microsoft.Playwright.Cookie
            {
                Name = c.Name,
                Value = c.Value,
                Url = library.Url.ToString(),
            }),
        ]);
        await visit.GoAsync("/");
        await visit.Page.GetByText("Menu").ClickAsync();
        await visit.ScreenshotAsync("menu");
        await visit.IsAccessibleAsync();
        await visit.Page.Locator(".menu-sheet").GetByText("Patrons").ClickAsync();
        await visit.SeesAsync("Search");
    }
}

/// <summary>Names as long as they may be, on every page that shows them.</summary>
public sealed class LongNameTests(Browser browser, SyncedLibrary library) : IClassFixture<SyncedLibrary>
{
    [Fact]
    public async Task Nothing_sticks_out_of_a_page_because_of_a_name()
    {
        var name = new string('W', 200);
        var district = library.District.Id;
        await library
            .Service<Rollcall.Districts.SiteService>()
            .AddAsync(district, "LONG", new Rollcall.Districts.SiteChange(name, null, null, null, null), "test");
        await library
            .Service<PatronService>()
            .AddAsync(
                district,
                [
                    new("lastName", name),
                    new("firstName", name),
                    new("barcode", "LONG/1"),
                    new("site", "LONG"),
                    new("status", "Transferred"),
                ],
                "test"
            );
        await using var visit = await browser.OpenAsync(library.Url);
        var outside = new List<string>();

        // The button that takes a saved filter away has its name.
        await visit.GoAsync("/patrons?q=www");
        await visit.Page.GetByText("Save this filter").ClickAsync();
        await visit.Page.GetByLabel("Name", new() { Exact = true }).FillAsync(name[..60]);
        await visit.Button("Save").ClickAsync();
        await visit.SeesAsync("Saved as");
        foreach (
            var (shot, path) in new[]
            {
                ("long-patron", "/patrons/LONG/1"),
                ("long-patrons", "/patrons?q=www"),
                ("long-edit", "/patron/edit?barcode=LONG%2F1"),
                ("long-merge", "/patron/merge?keep=LONG%2F1"),
                ("long-erase", "/patron/erase?barcode=LONG%2F1"),
                ("long-site", "/sites/edit/LONG"),
                ("long-sites", "/sites"),
                ("long-mapping", "/preferences/sis/classlink/sites"),
                ("long-holds", "/preferences/sis/classlink/holds"),
                ("long-end", "/end-of-year"),
                ("long-list", "/lists/transferred"),
                ("long-bulk", "/patron/bulk?do=edit&b=LONG%2F1"),
                ("long-dashboard", "/"),
            }
        )
        {
            await visit.GoAsync(path);
            foreach (var look in new[] { Look.Wide, Look.Phone })
            {
                await visit.LookAsync(look);
                await visit.ScreenshotAsync(shot);
                outside.AddRange(await visit.OutsideAsync());
            }
        }

        Assert.True(outside.Count == 0, string.Join('\n', outside));
    }
}

/// <summary>The first page of a new installation.</summary>
public sealed class FirstLookTests(Browser browser, EmptyLibrary library) : IClassFixture<EmptyLibrary>
{
    [Fact]
    public async Task A_new_installation_says_what_to_do()
    {
        await using var visit = await browser.OpenAsync(library.Url);
        await visit.GoAsync("/");
        await visit.SeesAsync("Welcome to Rollcall");
        await visit.ScreenshotAsync("welcome");
        await visit.IsAccessibleAsync();
        await library.AddDistrictAsync();
        foreach (var (name, path) in new[] { ("dashboard-empty", "/"), ("patrons-empty", "/patrons"), ("sites-empty", "/sites") })
        {
            await visit.GoAsync(path);
            await visit.ScreenshotAsync(name);
            await visit.IsAccessibleAsync();
        }
    }
}
