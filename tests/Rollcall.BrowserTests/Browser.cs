using System.Globalization;
using Deque.AxeCore.Commons;
using Microsoft.Playwright;
using Rollcall.Server.Tests.Pages;

[assembly: AssemblyFixture(typeof(Rollcall.BrowserTests.Browser))]
[assembly: AssemblyFixture(typeof(Rollcall.Tests.Infrastructure.PostgresCluster))]

namespace Rollcall.BrowserTests;

/// <summary>How a visitor looks at pages.</summary>
public enum Look
{
    Wide,
    Phone,
    Dark,
}

/// <summary>What a visitor works the pages with.</summary>
public enum Hand
{
    Mouse,

    /// <summary>Tab, Shift+Tab, Enter, Space and arrows, and nothing else but the keys of a text.</summary>
    Keyboard,

    /// <summary>The mouse, in a browser that runs no script.</summary>
    NoScript,
}

/// <summary>One Chromium for all tests, the system's own.</summary>
public sealed class Browser : IAsyncLifetime
{
    /// <summary>Wherever <c>./test</c> takes it to be there.</summary>
    private static readonly IEnumerable<string> s_places = ((string[])["chromium", "chromium-browser", "google-chrome"]).SelectMany(name =>
        (Environment.GetEnvironmentVariable("PATH") ?? "")
            .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Append("/usr/bin")
            .Select(f => Path.Combine(f, name))
    );

    private IPlaywright? _playwright;
    private IBrowser? _browser;

    /// <summary>Where screenshots are left; null: nobody wants any.</summary>
    public static string? Screens { get; } =
        Environment.GetEnvironmentVariable("ROLLCALL_SCREENS") is { Length: > 0 } folder
            ? Directory.CreateDirectory(folder).FullName
            : null;

    /// <summary>The pictures that are wanted, by what their names begin with; none named: all of them.</summary>
    private static readonly string[] s_wanted = (Environment.GetEnvironmentVariable("ROLLCALL_SCREENS_ONLY") ?? "").Split(
        ' ',
        StringSplitOptions.RemoveEmptyEntries
    );

    /// <summary>Pictures show what lies below the screen's edge, too.</summary>
    internal static bool Whole { get; } = Environment.GetEnvironmentVariable("ROLLCALL_SCREENS_WHOLE") is { Length: > 0 };

    /// <summary>Somebody wants a picture of this name.</summary>
    internal static bool Wants(string name) => s_wanted.Length == 0 || s_wanted.Any(w => name.StartsWith(w, StringComparison.Ordinal));

    public async ValueTask InitializeAsync()
    {
        // Patient: the machine may be busy with other things.
        Assertions.SetDefaultExpectTimeout(20_000);
        _playwright = await Playwright.CreateAsync();
        _browser = await _playwright.Chromium.LaunchAsync(
            new BrowserTypeLaunchOptions
            {
                ExecutablePath =
                    s_places.FirstOrDefault(File.Exists)
                    ?? throw new InvalidOperationException("There is no Chromium: './test' installs it."),
                Args =
                [
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-quic",
                    "--no-first-run",
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--disable-sync",
                ],
            }
        );
    }

    /// <summary>A new visitor. Whatever the browser complains about on the console fails the test when the visitor leaves.</summary>
    /// <param name="server">Where the pages are.</param>
    /// <param name="look">How the visitor looks at them.</param>
    /// <param name="script">JavaScript runs.</param>
    /// <param name="signedIn">As the library's operator and District Administrator; else as nobody.</param>
    /// <param name="hand">What the visitor works the pages with.</param>
    /// <param name="as">The session of somebody else than the operator; null is nobody else's.</param>
    /// <param name="still">Things do not move, as the visitor has asked the browser.</param>
    public async Task<Visit> OpenAsync(
        Uri server,
        Look look = Look.Wide,
        bool script = true,
        bool signedIn = true,
        Hand hand = Hand.Mouse,
        string? @as = null,
        bool still = true
    )
    {
        var context = await _browser!.NewContextAsync(
            new BrowserNewContextOptions
            {
                BaseURL = server.ToString(),
                JavaScriptEnabled = script && hand != Hand.NoScript,
                ColorScheme = look == Look.Dark ? ColorScheme.Dark : ColorScheme.Light,
                ReducedMotion = still ? ReducedMotion.Reduce : ReducedMotion.NoPreference,
                ViewportSize =
                    look == Look.Phone ? new ViewportSize { Width = 390, Height = 844 } : new ViewportSize { Width = 1400, Height = 900 },
            }
        );
        if ((@as ?? (signedIn ? Library.SessionOf(server) : null)) is { } session)
        {
            await context.AddCookiesAsync([
                new Cookie
                {
                    Name = "rollcall-session",
                    Value = session,
                    Url = server.ToString(),
                },
            ]);
        }

        return new Visit(context, await context.NewPageAsync(), look, hand);
    }

    public async ValueTask DisposeAsync()
    {
        if (_browser is not null)
        {
            await _browser.DisposeAsync();
        }

        _playwright?.Dispose();
    }
}

/// <summary>One visitor's tab.</summary>
public sealed class Visit : IAsyncDisposable
{
    private static readonly string s_axe = new BundledAxeScriptProvider().GetScript();
    private static readonly string[] s_colours = ["color-contrast"];
    private static readonly string[] s_standards = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

    private readonly IBrowserContext _context;
    private readonly Hand _hand;
    private readonly List<string> _complaints = [];

    internal Visit(IBrowserContext context, IPage page, Look look, Hand hand)
    {
        _context = context;
        _hand = hand;
        Page = page;
        Look = look;
        page.Console += (_, message) =>
        {
            // A page that is meant to be missing or closed is reported here too, and so is the live stream of a page that is being left.
            if (
                message.Type is "error" or "warning"
                && !message.Text.Contains("status of 404", StringComparison.Ordinal)
                && !message.Text.Contains("status of 403", StringComparison.Ordinal)
                && !message.Text.Contains("status of 401", StringComparison.Ordinal)
                && message.Text != "[object Event]"
            )
            {
                _complaints.Add($"{page.Url}: {message.Text}");
            }
        };
        page.PageError += (_, error) => _complaints.Add($"{page.Url}: {error}");
    }

    public IPage Page { get; }

    /// <summary>No script of the page runs.</summary>
    public bool IsScriptless => _hand == Hand.NoScript;

    /// <summary>How the visitor looks at the page now.</summary>
    public Look Look { get; private set; }

    public Task GoAsync(string path) => Page.GotoAsync(path);

    public ILocator Button(string name) => Page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { Name = name });

    public ILocator Link(string name) => Page.GetByRole(AriaRole.Link, new PageGetByRoleOptions { Name = name });

    public ILocator Heading(string name) => Page.GetByRole(AriaRole.Heading, new PageGetByRoleOptions { Name = name });

    public Task SeesAsync(string text) => Assertions.Expect(Page.GetByText(text).First).ToBeVisibleAsync();

    /// <summary>Presses a button, follows a link or opens what a summary hides.</summary>
    public async Task UseAsync(ILocator control)
    {
        if (_hand != Hand.Keyboard)
        {
            await control.ClickAsync();
            return;
        }

        await TabToAsync(control);
        await Page.Keyboard.PressAsync("Enter");
    }

    /// <summary>Writes a text into a field, in place of what stands there.</summary>
    public async Task WriteAsync(ILocator field, string text)
    {
        if (_hand != Hand.Keyboard)
        {
            await field.FillAsync(text);
            return;
        }

        // The Tab key selects what a field holds.
        await TabToAsync(field);
        await Page.Keyboard.TypeAsync(text);
        Assert.Equal(text, await field.InputValueAsync());
    }

    /// <summary>Ticks a box, or chooses one of a group of radio buttons.</summary>
    public async Task TickAsync(ILocator box)
    {
        if (_hand != Hand.Keyboard)
        {
            await box.CheckAsync();
            return;
        }

        if (await box.EvaluateAsync<string>("e => e.type") == "radio")
        {
            // The Tab key stops once at a group; arrows go on within it.
            await TabAsync(box, "e => document.activeElement.form === e.form && document.activeElement.name === e.name");
            for (var presses = 0; presses < 40 && !await HasFocusAsync(box); presses++)
            {
                await Page.Keyboard.PressAsync("ArrowDown");
            }
        }
        else
        {
            await TabToAsync(box);
        }

        if (!await box.IsCheckedAsync())
        {
            await Page.Keyboard.PressAsync("Space");
        }

        Assert.True(await box.IsCheckedAsync(), $"{box} was not ticked on {Page.Url}");
    }

    /// <summary>Chooses an entry of a list by its value.</summary>
    public async Task ChooseAsync(ILocator list, string value)
    {
        if (_hand != Hand.Keyboard)
        {
            await list.SelectOptionAsync(value);
            return;
        }

        await TabToAsync(list);
        var steps = await list.EvaluateAsync<int>(
            "(e, value) => [...e.options].findIndex(o => o.value === value) - e.selectedIndex",
            value
        );
        for (; steps != 0; steps -= Math.Sign(steps))
        {
            await Page.Keyboard.PressAsync(steps > 0 ? "ArrowDown" : "ArrowUp");
        }

        Assert.Equal(value, await list.InputValueAsync());
    }

    /// <summary>Gives a file to a field that asks for one.</summary>
    public async Task GiveAsync(ILocator field, FilePayload file)
    {
        var chooser = await Page.RunAndWaitForFileChooserAsync(() => UseAsync(field));
        await chooser.SetFilesAsync(file);
    }

    /// <summary>Goes on with the Tab key, or back with Shift, until this has the focus and can be seen. What the key cannot reach
    /// fails the test, with the stops that it made.</summary>
    public async Task TabToAsync(ILocator locator)
    {
        await TabAsync(locator, "e => e === document.activeElement");
        Assert.True(
            await locator.EvaluateAsync<bool>(
                """
                e => {
                  const box = e.getBoundingClientRect();
                  const top = document.elementFromPoint(
                    Math.min(Math.max(box.x + box.width / 2, 0), innerWidth - 1),
                    Math.min(Math.max(box.y + box.height / 2, 0), innerHeight - 1));
                  return box.bottom > 0 && box.top < innerHeight && (e.contains(top) || top?.contains(e));
                }
                """
            ),
            $"{locator} has the focus on {Page.Url}, but cannot be seen"
        );

        // Whoever works by keyboard has to see where they are: the element itself shows it, or the line of a list that it stands in.
        Assert.True(
            await locator.EvaluateAsync<bool>(
                """
                e => [e, e.closest('label, tr, li, .pick')].some(shown => {
                  if (!shown) return false;
                  const style = getComputedStyle(shown);
                  return (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== 'none';
                })
                """
            ),
            $"{locator} has the focus on {Page.Url}, and nothing shows it"
        );
    }

    private static Task<bool> HasFocusAsync(ILocator locator) => locator.EvaluateAsync<bool>("e => e === document.activeElement");

    /// <summary>Presses Tab or Shift+Tab until the condition holds of the element.</summary>
    private async Task TabAsync(ILocator locator, string condition)
    {
        var stops = new List<string>();

        // From the top of a page the first stop leads past the side bar.
        if (await locator.EvaluateAsync<bool>("e => document.activeElement === document.body && e.closest('main') !== null"))
        {
            await Page.Keyboard.PressAsync("Tab");
            if (await Page.EvaluateAsync<bool>("document.activeElement.matches('.skip')"))
            {
                await Page.Keyboard.PressAsync("Enter");
            }
        }

        for (var presses = 0; presses < 150; )
        {
            // Half of what seems to lie between is pressed without looking: a stop too many would be seen, and gone back from.
            var way = await locator.EvaluateAsync<string>(
                $$"""
                e => {
                  const at = document.activeElement;
                  if (({{condition}})(e)) return "";
                  const behind = at !== document.body && (at.compareDocumentPosition(e) & Node.DOCUMENT_POSITION_PRECEDING) !== 0;
                  const stops = [...document.querySelectorAll('a[href], button, input, select, textarea, summary')].filter(
                    s => !s.disabled && s.checkVisibility());
                  const between = Math.abs(stops.indexOf(e) - stops.indexOf(at));
                  return `${behind ? "Shift+Tab" : "Tab"} ${Math.max(1, Math.floor(between / 2))} ${at.tagName} ${(at.ariaLabel ?? at.labels?.[0]?.textContent ?? at.textContent).trim().slice(0, 30)}`;
                }
                """
            );
            if (way.Length == 0)
            {
                return;
            }

            stops.Add(way);
            for (var often = int.Parse(way.Split(' ')[1], CultureInfo.InvariantCulture); often > 0; often--, presses++)
            {
                await Page.Keyboard.PressAsync(way.Split(' ')[0]);
            }
        }

        Assert.Fail($"The Tab key does not reach {locator} on {Page.Url}. It pressed and was at: {string.Join(" · ", stops)}");
    }

    /// <summary>Nothing sticks out of the page sideways, and no table has a scroll bar of its own beside the page's.</summary>
    public async Task FitsAsync() => Assert.Empty(await OutsideAsync());

    /// <summary>What sticks out of the page sideways, and tables with a scroll bar of their own: the page and how each begins.</summary>
    public async Task<string[]> OutsideAsync() =>
        [
            .. (
                await Page.EvaluateAsync<string[]>(
                    """
                    () => {
                      const width = document.documentElement.clientWidth;
                      const out = document.documentElement.scrollWidth > width
                        ? [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > width + 1).slice(-3)
                        : [];
                      const scrolled = [...document.querySelectorAll('.table-box')].filter(
                        box => box.scrollHeight > box.clientHeight && getComputedStyle(box).overflowY === 'auto');
                      if (document.documentElement.scrollWidth > width && !out.length) out.push(document.documentElement);
                      return [...out, ...scrolled].map(e => e.outerHTML.slice(0, 120));
                    }
                    """
                )
            ).Select(e => $"{Look} {new Uri(Page.Url).PathAndQuery}: {e}"),
        ];

    /// <summary>Tables of which a part is out of sight until somebody moves it sideways.</summary>
    public async Task<string[]> WideTablesAsync() =>
        [
            .. (
                await Page.EvaluateAsync<string[]>(
                    """
                    () => [...document.querySelectorAll('.table-box')]
                      .filter(box => box.scrollWidth > box.clientWidth + 1)
                      .map(box => `${box.scrollWidth} in ${box.clientWidth}: ${box.innerText.slice(0, 60)}`)
                    """
                )
            ).Select(e => $"{Look} {new Uri(Page.Url).PathAndQuery}: {e}"),
        ];

    /// <summary>Everybody can use the page as it stands, and nothing sticks out of it.</summary>
    public async Task IsAccessibleAsync()
    {
        // The script is half a megabyte and one document is looked at several times: it is brought once. Dark differs from light
        // in colours alone: everything else has been looked at there. Of a long list the first dozen rows are looked at: the same lines
        // of a page make the rest of them. Where rows differ among themselves all are.
        if (!await Page.EvaluateAsync<bool>("typeof axe === 'object'"))
        {
            await Page.EvaluateAsync(s_axe);
        }

        var violations = await Page.EvaluateAsync<string[]>(
            """
            async only => (await axe.run(
              { exclude: [['table.list:not(.mapping):not(.varied) > tbody > tr:nth-child(n + 13)']] },
              { runOnly: only, resultTypes: ['violations'] })).violations.map(
              v => `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map(n => n.html).join(' | ')}`)
            """,
            Look == Look.Dark ? s_colours : s_standards
        );
        Assert.True(violations.Length == 0, string.Join('\n', violations.Select(v => $"{Look} {new Uri(Page.Url).PathAndQuery} {v}")));
        await FitsAsync();
    }

    /// <summary>The page as it stands can be used by everybody, wide, in the dark and on a phone, and is kept as pictures. By keyboard the same
    /// pages come by again: once is enough.</summary>
    public async Task LookAsync(string name)
    {
        if (_hand != Hand.Mouse)
        {
            return;
        }

        var before = Look;
        foreach (var look in (Look[])[Look.Wide, Look.Dark, Look.Phone])
        {
            await LookAsync(look);
            await ScreenshotAsync(name);
            await IsAccessibleAsync();
        }

        await LookAsync(before);
    }

    /// <summary>Pages, each as it stands, wide, in the dark and on a phone, and on a screen that is magnified.</summary>
    public async Task LookAtAsync(params IEnumerable<(string Name, string Path)> pages)
    {
        foreach (var (name, path) in pages)
        {
            await GoAsync(path);
            await LookAsync(name);

            // A screen of 1280 pixels at 200 % is one of 640.
            await Page.SetViewportSizeAsync(640, 512);
            await FitsAsync();
            await LookAsync(Look.Wide);
        }
    }

    /// <summary>Looks at the page that is open in another way.</summary>
    public async Task LookAsync(Look look)
    {
        Look = look;
        await Page.EmulateMediaAsync(
            new PageEmulateMediaOptions { ColorScheme = look == Look.Dark ? ColorScheme.Dark : ColorScheme.Light }
        );
        await Page.SetViewportSizeAsync(look == Look.Phone ? 390 : 1400, look == Look.Phone ? 844 : 900);
    }

    /// <summary>A picture, where somebody asked for pictures: they take longer than all the rest.</summary>
    public Task ScreenshotAsync(string name) =>
        Browser.Screens is { } folder && Browser.Wants(name)
            ? Page.ScreenshotAsync(
                new PageScreenshotOptions
                {
                    Path = Path.Combine(folder, $"{name}-{Look.ToString().ToLowerInvariant()}.png"),
                    FullPage = Browser.Whole,
                }
            )
            : Task.CompletedTask;

    public async ValueTask DisposeAsync()
    {
        await _context.DisposeAsync();
        Assert.Empty(_complaints);
    }
}
