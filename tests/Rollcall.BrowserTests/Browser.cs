using Deque.AxeCore.Commons;
using Microsoft.Playwright;
using Rollcall.Server.Tests.Pages;

[assembly: AssemblyFixture(typeof(Rollcall.BrowserTests.Browser))]

namespace Rollcall.BrowserTests;

/// <summary>How a visitor looks at pages.</summary>
public enum Look
{
    Wide,
    Phone,
    Dark,
}

/// <summary>One Chromium for all tests, the system's own.</summary>
public sealed class Browser : IAsyncLifetime
{
    private static readonly string[] s_places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

    private IPlaywright? _playwright;
    private IBrowser? _browser;

    /// <summary>Where screenshots are left; null: nobody wants any.</summary>
    public static string? Screens { get; } =
        Environment.GetEnvironmentVariable("ROLLCALL_SCREENS") is { Length: > 0 } folder
            ? Directory.CreateDirectory(folder).FullName
            : null;

    public async ValueTask InitializeAsync()
    {
        // Patient: the machine may be busy with other things.
        Assertions.SetDefaultExpectTimeout(20_000);
        _playwright = await Playwright.CreateAsync();
        _browser = await _playwright.Chromium.LaunchAsync(
            new BrowserTypeLaunchOptions
            {
                ExecutablePath =
                    Array.Find(s_places, File.Exists) ?? throw new InvalidOperationException("There is no Chromium: './test' installs it."),
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
    public async Task<Visit> OpenAsync(Uri server, Look look = Look.Wide, bool script = true, bool signedIn = true)
    {
        var context = await _browser!.NewContextAsync(
            new BrowserNewContextOptions
            {
                BaseURL = server.ToString(),
                JavaScriptEnabled = script,
                ColorScheme = look == Look.Dark ? ColorScheme.Dark : ColorScheme.Light,
                ReducedMotion = ReducedMotion.Reduce,
                ViewportSize =
                    look == Look.Phone ? new ViewportSize { Width = 390, Height = 844 } : new ViewportSize { Width = 1400, Height = 900 },
            }
        );
        if (signedIn && Library.SessionOf(server) is { } session)
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

        return new Visit(context, await context.NewPageAsync(), look);
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
    private readonly List<string> _complaints = [];

    internal Visit(IBrowserContext context, IPage page, Look look)
    {
        _context = context;
        Page = page;
        Look = look;
        page.Console += (_, message) =>
        {
            // A page that is meant to be missing is reported here too, and so is the live stream of a page that is being left.
            if (
                message.Type is "error" or "warning"
                && !message.Text.Contains("404", StringComparison.Ordinal)
                && message.Text != "[object Event]"
            )
            {
                _complaints.Add($"{page.Url}: {message.Text}");
            }
        };
        page.PageError += (_, error) => _complaints.Add($"{page.Url}: {error}");
    }

    public IPage Page { get; }

    /// <summary>How the visitor looks at the page now.</summary>
    public Look Look { get; private set; }

    public Task GoAsync(string path) => Page.GotoAsync(path);

    public ILocator Button(string name) => Page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { Name = name });

    public ILocator Link(string name) => Page.GetByRole(AriaRole.Link, new PageGetByRoleOptions { Name = name });

    public ILocator Heading(string name) => Page.GetByRole(AriaRole.Heading, new PageGetByRoleOptions { Name = name });

    public Task SeesAsync(string text) => Assertions.Expect(Page.GetByText(text).First).ToBeVisibleAsync();

    /// <summary>Goes on with the Tab key until this has the focus. What the key cannot reach fails the test.</summary>
    public async Task TabToAsync(ILocator locator)
    {
        for (var presses = 0; presses < 400; presses++)
        {
            if (await locator.EvaluateAsync<bool>("e => e === document.activeElement"))
            {
                return;
            }

            await Page.Keyboard.PressAsync("Tab");
        }

        Assert.Fail($"The Tab key does not reach {locator} on {Page.Url}");
    }

    /// <summary>Nothing sticks out of the page sideways.</summary>
    public async Task FitsAsync()
    {
        var over = await Page.EvaluateAsync<int>("document.documentElement.scrollWidth - document.documentElement.clientWidth");
        Assert.Equal((Page.Url, 0), (Page.Url, over));
    }

    /// <summary>Everybody can use the page as it stands, and nothing sticks out of it.</summary>
    public async Task IsAccessibleAsync()
    {
        // The script is half a megabyte and one document is looked at several times: it is brought once. Dark differs from light
        // in colours alone: everything else has been looked at there.
        if (!await Page.EvaluateAsync<bool>("typeof axe === 'object'"))
        {
            await Page.EvaluateAsync(s_axe);
        }

        var violations = await Page.EvaluateAsync<string[]>(
            """
            async only => (await axe.run({ runOnly: only, resultTypes: ['violations'] })).violations.map(
              v => `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map(n => n.html).join(' | ')}`)
            """,
            Look == Look.Dark ? s_colours : s_standards
        );
        Assert.True(violations.Length == 0, string.Join('\n', violations.Select(v => $"{Look} {new Uri(Page.Url).PathAndQuery} {v}")));
        await FitsAsync();
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
        Browser.Screens is { } folder
            ? Page.ScreenshotAsync(
                new PageScreenshotOptions { Path = Path.Combine(folder, $"{name}-{Look.ToString().ToLowerInvariant()}.png") }
            )
            : Task.CompletedTask;

    public async ValueTask DisposeAsync()
    {
        await _context.DisposeAsync();
        Assert.Empty(_complaints);
    }
}
