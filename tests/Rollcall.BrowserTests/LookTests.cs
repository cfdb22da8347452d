using Microsoft.Playwright;
using Rollcall.Patrons;
using Rollcall.Server.Tests.Pages;

namespace Rollcall.BrowserTests;

/// <summary>The pages that are looked at, each with the name of its pictures.</summary>
internal static class Looks
{
    public static (string Name, string Path)[] Desk(string barcode) =>
        [
            ("dashboard", "/"),
            ("patrons", "/patrons"),
            ("patrons-none", "/patrons?q=nobody-is-called-this"),
            ("patron", $"/patrons/{barcode}"),
            ("patron-history", $"/patrons/{barcode}?tab=history"),
            ("patron-roster", $"/patrons/{barcode}?tab=roster"),
            ("sites", "/sites"),
            ("site", "/sites/edit/S01"),
            ("operations", "/operations"),
            ("operation", "/operations/1"),
            ("review", "/review"),
            ("patron-edit", $"/patron/edit?barcode={barcode}"),
            ("patron-new", "/patron/edit"),
            ("patron-explain", $"/patron/explain?barcode={barcode}&roster=ask"),
            ("patron-merge", $"/patron/merge?keep={barcode}"),
            ("patron-erase-first", $"/patron/erase?barcode={barcode}"),
            ("patron-erase", $"/patron/erase?barcode={barcode}&look=yes"),
            ("bulk-edit", "/patron/bulk?do=edit&status=Active"),
            ("bulk-remove", "/patron/bulk?do=remove&status=Active"),
            ("import", "/patron/import"),
            ("error", "/nothing-here"),
        ];

    public static readonly (string Name, string Path)[] Preferences =
    [
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
        ("account", "/account"),
        ("accounts", "/accounts"),
        ("audit", "/audit"),
        ("grades", "/preferences/grades"),
        ("policies", "/preferences/policies"),
        ("retention", "/preferences/retention"),
        ("tokens", "/preferences/tokens"),
        ("end-of-year", "/end-of-year"),
        ("lists", "/lists"),
        ("arrivals", "/lists/arrivals?site=S01"),
        ("leavers", "/lists/leavers?site=S01"),
        ("transferred", "/lists/transferred?site=S01"),
        ("districts", "/welcome"),
        ("about", "/about"),
    ];

    public static (string Name, string Path)[] Librarian(string barcode) =>
        [
            ("librarian-dashboard", "/"),
            ("librarian-patrons", "/patrons"),
            ("librarian-patron", $"/patrons/{barcode}"),
            ("librarian-operations", "/operations"),
            ("librarian-operation", "/operations/1"),
            ("librarian-review", "/review"),
            ("librarian-lists", "/lists"),
            ("librarian-arrivals", "/lists/arrivals"),
            ("librarian-refused", "/preferences/sis"),
        ];

    public static readonly (string Name, string Path)[] Aide = [("aide", "/aide"), ("aide-found", "/aide?q=a")];

    public static readonly (string Name, string Path)[] Pupil = [("me", "/me")];

    public static (string Name, string Path)[] Nobody(string code) =>
        [("signin-plain", "/signin"), ("link", $"/link?code={code}"), ("link-used", "/link?code=used")];

    /// <summary>What redirects, or takes a form alone, is no page to look at.</summary>
    public static readonly string[] NoPages = ["/SignOut", "/SignInBegin", "/SignInCallback", "/Theme"];
}

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
    public void No_page_is_left_out()
    {
        var routes = new PageRoutes(library);
        var looked = new[] { Looks.Desk("ANY1"), Looks.Preferences, Looks.Librarian("ANY1"), Looks.Aide, Looks.Pupil, Looks.Nobody("any") }
            .SelectMany(l => l)
            .Select(l => routes.PageOf(l.Path.Split('?')[0]) ?? "/Error");
        Assert.Empty(routes.All.Select(p => p.ViewEnginePath).Except(looked).Except(Looks.NoPages));
    }

    [Fact]
    public async Task Every_page_can_be_used_by_everybody()
    {
        var patron = (
            await library.Service<PatronService>().PageAsync(library.District.Id, new PatronFilter(), PatronSort.Barcode, false, 1, 1)
        ).Patrons[0];
        await using var visit = await browser.OpenAsync(library.Url);
        await visit.LookAtAsync(Looks.Desk(patron.Barcode));

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
        await visit.LookAsync("form-kept");
        await visit.Page.Context.AddCookiesAsync([
            .. cookies.Select(c => new Microsoft.Playwright.Cookie
            {
                Name = c.Name,
                Value = c.Value,
                Url = library.Url.ToString(),
            }),
        ]);
        await visit.LookAsync(Look.Phone);
        await visit.GoAsync("/");
        await visit.Page.GetByText("Menu").ClickAsync();
        await visit.ScreenshotAsync("menu");
        await visit.IsAccessibleAsync();
        await visit.Page.Locator(".menu-sheet").GetByText("Patrons").ClickAsync();
        await visit.SeesAsync("Search");
    }
}

/// <summary>What question marks say, on every page that has some.</summary>
public sealed class HelpLookTests(Browser browser, SyncedLibrary library) : IClassFixture<SyncedLibrary>
{
    [Fact]
    public async Task Every_bubble_can_be_read_from_edge_to_edge()
    {
        var patron = (
            await library
                .Service<PatronService>()
                .PageAsync(library.District.Id, new PatronFilter { Linked = true }, PatronSort.Barcode, false, 1, 1)
        ).Patrons[0];
        await using var visit = await browser.OpenAsync(library.Url);
        var (bad, count) = (new List<string>(), 0);
        foreach (var (_, path) in Looks.Desk(patron.Barcode).Concat(Looks.Preferences))
        {
            await visit.GoAsync(path);
            if (await visit.Page.Locator("details.help").CountAsync() == 0)
            {
                continue;
            }

            foreach (var width in (int[])[1400, 1280, 1024, 390])
            {
                await visit.Page.SetViewportSizeAsync(width, 900);
                var said = await visit.Page.EvaluateAsync<string[]>(
                    """
                    async () => {
                      const said = [];
                      for (const hidden of document.querySelectorAll('main details:not(.help, .drop, .menu)')) hidden.open = true;
                      for (const help of document.querySelectorAll('details.help')) {
                        if (!help.checkVisibility()) continue;
                        help.scrollIntoView({ block: 'center' });
                        const opened = new Promise(done => help.addEventListener('toggle', done, { once: true }));
                        help.open = true;
                        await opened;
                        const text = help.querySelector('.help-text');
                        const box = text.getBoundingClientRect();
                        const [width, height] = [document.documentElement.clientWidth, innerHeight];
                        const corners = [[box.left, box.top], [box.right, box.top], [box.left, box.bottom], [box.right, box.bottom]].every(([x, y]) =>
                          text.contains(document.elementFromPoint(x + (x === box.left ? 9 : -9), y + (y === box.top ? 9 : -9))));
                        const whole = box.left >= 0 && box.top >= 0 && box.right <= width && box.bottom <= height
                          && text.scrollWidth <= text.clientWidth + 1 && text.scrollHeight <= text.clientHeight + 1;
                        const mark = help.querySelector('summary').getBoundingClientRect();
                        const near = width < 704 || Math.min(Math.abs(box.top - mark.bottom), Math.abs(mark.top - box.bottom)) < 20;
                        said.push(whole && corners && near ? '' : `${text.textContent.slice(0, 60)} ${JSON.stringify(box)} whole ${whole} uncovered ${corners} near ${near}`);
                        help.open = false;
                      }
                      return said;
                    }
                    """
                );
                count += said.Length;
                bad.AddRange(said.Where(s => s.Length > 0).Select(s => $"{path} at {width}: {s}"));
            }
        }

        Assert.True(count > 100, $"{count} bubbles were opened");
        Assert.True(bad.Count == 0, string.Join('\n', bad));
    }
}

/// <summary>The pages of preferences, and the lists that a school prints.</summary>
public sealed class PreferenceLookTests(Browser browser, SyncedLibrary library) : IClassFixture<SyncedLibrary>
{
    [Fact]
    public async Task Every_preference_and_list_can_be_used_by_everybody()
    {
        // Somebody has left.
        var (left, _) = await library
            .Service<PatronService>()
            .PageAsync(
                library.District.Id,
                new PatronFilter { RoleGroup = RoleGroup.Student, Linked = true },
                PatronSort.Barcode,
                false,
                1,
                3
            );
        library.Sandbox.Overrides.Remove("users", left.Select(p => p.Guid!));
        await library.SyncAsync();
        await using var visit = await browser.OpenAsync(library.Url);
        await visit.LookAtAsync(Looks.Preferences);
        await visit.GoAsync("/lists/leavers?site=S01");
        await visit.SeesAsync(left[0].Barcode);
    }
}

/// <summary>What others than the operator see: a librarian, an aide, a patron, and whoever comes by a link.</summary>
public sealed class RoleLookTests(Browser browser, SyncedLibrary library) : IClassFixture<SyncedLibrary>
{
    [Fact]
    public async Task Pages_of_every_role_can_be_used_by_everybody()
    {
        var (some, _) = await library
            .Service<PatronService>()
            .PageAsync(
                library.District.Id,
                new PatronFilter
                {
                    RoleGroup = RoleGroup.Student,
                    Linked = true,
                    Site = (await library.Service<Rollcall.Districts.SiteService>().ListAsync(library.District.Id))
                        .First(s => s.Code == "S01")
                        .Id,
                },
                PatronSort.Barcode,
                false,
                1,
                1
            );
        var patron = some[0];
        await using (var librarian = await browser.OpenAsync(library.Url, @as: await library.SignInAsync(SecurityGroup.Librarian, "S01")))
        {
            await librarian.LookAtAsync(Looks.Librarian(patron.Barcode));
        }

        await using (var aide = await browser.OpenAsync(library.Url, @as: await library.SignInAsync(SecurityGroup.StudentAide, "S01")))
        {
            await aide.LookAtAsync(Looks.Aide);
        }

        await using (var pupil = await browser.OpenAsync(library.Url, @as: await library.SignInAsync(patron)))
        {
            await pupil.LookAtAsync(Looks.Pupil);
        }

        var (_, code) = await library
            .Service<Rollcall.SignIn.Accounts>()
            .AddAsync("new@library.example", library.District, SecurityGroup.Librarian, "S01", false, "test");
        await using var nobody = await browser.OpenAsync(library.Url, signedIn: false);
        await nobody.LookAtAsync(Looks.Nobody(code!));
    }
}

/// <summary>What pages show for a moment: a preview, a failure, the way back, and what is shown once and never again.</summary>
public sealed class MomentLookTests(Browser browser, SyncedLibrary library) : IClassFixture<SyncedLibrary>
{
    [Fact]
    public async Task What_comes_of_operations_can_be_used_by_everybody()
    {
        var patrons = library.Service<PatronService>();
        await using var visit = await browser.OpenAsync(library.Url);
        library.Sandbox.SetDay(1);
        await LookAsync("operation-preview", (await library.SyncAsync(preview: true)).Id);
        library.Sandbox.Faults.Set("disabled-403");
        var failed = await library.SyncAsync();
        library.Sandbox.Faults.Clear();
        Assert.Equal(Operations.OperationStatus.Failed, failed.Status);
        await LookAsync("operation-failed", failed.Id);
        using (var file = new MemoryStream("barcode,lastName\nMOMENT1,Moment\n"u8.ToArray()))
        {
            var import = await library.Service<PatronImport>().PlanAsync(library.District.Id, file, "moment.csv", preview: false, "test");
            await library.EndOfAsync(import);
            var undo = await library.Service<Sync.Undo.UndoService>().EnqueueAsync(library.District.Id, import, null, "test");
            await library.EndOfAsync(undo);
            await LookAsync("operation-undo", undo);
        }

        // One person's sync tells its steps.
        var (some, _) = await patrons.PageAsync(
            library.District.Id,
            new PatronFilter { RoleGroup = RoleGroup.Student, Linked = true },
            PatronSort.Barcode,
            false,
            1,
            1
        );
        await visit.GoAsync($"/patrons/{some[0].Barcode}");
        await visit.Page.Locator("details.drop summary").ClickAsync();
        await visit.Button("Sync now").ClickAsync();
        await visit.SeesAsync("Step by step");
        await visit.LookAsync("operation-person");

        Task LookAsync(string name, long id) => visit.LookAtAsync([(name, $"/operations/{id}")]);
    }

    [Fact]
    public async Task What_is_shown_once_can_be_used_by_everybody()
    {
        await using var visit = await browser.OpenAsync(library.Url);
        var page = visit.Page;
        await visit.GoAsync("/preferences/tokens");
        await page.Locator("input[name=name]").FillAsync("The catalogue");
        await page.Locator("input[name=scope]").First.CheckAsync();
        await page.Locator("form[action*='handler=Create'] button[type=submit]").ClickAsync();
        await Microsoft.Playwright.Assertions.Expect(page.Locator("#new-token")).ToBeVisibleAsync();
        await visit.LookAsync("token-made");
        await visit.GoAsync("/accounts");
        await page.Locator("input[name=email]").FillAsync("moment@library.example");
        await page.Locator("select[name=group]").SelectOptionAsync("LibraryAdministrator");
        await page.Locator("form[action*='handler=Add'] button[type=submit]").ClickAsync();
        var link = new Uri(await page.Locator("#new-link").InnerTextAsync());
        await visit.LookAsync("account-link");

        // Whose account it is sets a password, and a second factor with its codes.
        const string password = "eleven purple walruses";
        await using var owner = await browser.OpenAsync(library.Url, signedIn: false);
        await owner.GoAsync(link.PathAndQuery);
        await owner.Page.Locator("input[name=password]").FillAsync(password);
        await owner.Page.Locator("input[name=again]").FillAsync(password);
        await owner.Page.Locator("main form button[type=submit]").First.ClickAsync();
        await owner.GoAsync("/account");
        var setUp = owner.Page.Locator("form[action='/account?handler=SecondFactor']");
        await setUp.Locator("input[type=password]").FillAsync(password);
        await setUp.Locator("button").ClickAsync();
        await owner.SeesAsync("Second factor: the last step");
        await owner.LookAsync("second-factor");
        var key = await owner.Page.Locator("section[aria-labelledby=setup] p.code").InnerTextAsync();
        await owner.Page.Locator("#code").FillAsync(Rollcall.Tests.Infrastructure.Authenticator.Code(key));
        await owner.Button("Turn it on").ClickAsync();
        await owner.SeesAsync("The second factor is on");
        await owner.LookAsync("recovery-codes");
    }
}

/// <summary>Names as long as they may be, on every page that shows them.</summary>
public sealed class LongNameLookTests(Browser browser, SyncedLibrary library) : IClassFixture<SyncedLibrary>
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
        var other = await library.Service<Rollcall.Server.Pages.Parts.Reading>().NewestLinkedAsync(district, CancellationToken.None);
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
                ("long-merged", $"/patron/merge?keep=LONG%2F1&other={other}"),
                ("long-explain", "/patron/explain?barcode=LONG%2F1"),
                ("long-erase", "/patron/erase?barcode=LONG%2F1&look=yes"),
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
                outside.AddRange(await visit.WideTablesAsync());
            }
        }

        // Nor because of a sheet that a button opens, wherever the button stands.
        await visit.LookAsync(Look.Phone);
        foreach (var path in (string[])["/operations/1", "/patrons", "/patrons?q=www", $"/patrons/{other}"])
        {
            await visit.GoAsync(path);
            var buttons = visit.Page.Locator("details.drop > summary:visible");
            Assert.NotEqual(0, await buttons.CountAsync());
            foreach (var button in await buttons.AllAsync())
            {
                await button.ClickAsync();
                await Assertions.Expect(visit.Page.Locator("details.drop[open] > .drop-sheet")).ToBeVisibleAsync();
                outside.AddRange(await visit.OutsideAsync());
                await visit.Page.Keyboard.PressAsync("Escape");
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
        await visit.LookAsync("welcome");
        await library.AddDistrictAsync();
        await visit.LookAtAsync([
            ("dashboard-empty", "/"),
            ("patrons-empty", "/patrons"),
            ("sites-empty", "/sites"),
            ("operations-empty", "/operations"),
            ("review-empty", "/review"),
            ("lists-empty", "/lists"),
            ("arrivals-empty", "/lists/arrivals"),
            ("leavers-empty", "/lists/leavers"),
            ("transferred-empty", "/lists/transferred"),
            ("end-of-year-empty", "/end-of-year"),
            ("sis-empty", "/preferences/sis"),
            ("classlink-empty", "/preferences/sis/classlink"),
            ("mapping-empty", "/preferences/sis/classlink/mapping"),
            ("notices-empty", "/preferences/notices"),
            ("tokens-empty", "/preferences/tokens"),
            ("accounts-empty", "/accounts"),
            ("audit-empty", "/audit?from=2020-01-01&to=2020-01-02"),
        ]);
    }
}
