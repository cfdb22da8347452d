using System.Text.RegularExpressions;
using Microsoft.Playwright;
using Rollcall.Server.Tests.Pages;

namespace Rollcall.BrowserTests;

/// <summary>A librarian's days with the pages.</summary>
public sealed partial class StoryTests(Browser browser, SyncedLibrary library) : IClassFixture<SyncedLibrary>
{
    [Fact]
    public async Task From_a_first_look_over_a_sync_to_an_approval()
    {
        await using var visit = await browser.OpenAsync(library.Url);
        var page = visit.Page;
        await visit.GoAsync("/");
        await visit.SeesAsync("Nothing waits for you.");

        // A day passes at school; roster answers come slowly enough to watch.
        library.Sandbox.SetDay(1);
        var pupil = library
            .Sandbox.District.People.Where(p => p is { Role: "student", Presence: Sandbox.SandboxPresence.Present })
            .ElementAt(20);
        library.Sandbox.Overrides.Change("users", pupil.SourcedId, r => r["givenName"] = "Zaphira");
        library.Sandbox.Faults.Set("slow=700");
        await visit.Button("Sync Now").ClickAsync();
        await visit.SeesAsync("The sync is on its way.");
        await Assertions.Expect(page.Locator("progress")).ToBeVisibleAsync();
        await visit.ScreenshotAsync("operation-live");

        // The page finds out by itself: nobody reloads.
        await page.EvaluateAsync("window.stayed = true");
        await visit.Button("Cancel").FocusAsync();
        Assert.Equal(0, await page.EvaluateAsync<int>("document.getAnimations().length"));

        // Whoever has not asked for stillness sees that something goes on.
        await using (var other = await browser.OpenAsync(library.Url, still: false))
        {
            await other.Page.GotoAsync(page.Url);
            await other.Page.EvaluateAsync("document.querySelector('progress').removeAttribute('value')");
            Assert.NotEqual(0, await other.Page.EvaluateAsync<int>("document.getAnimations().length"));
        }

        library.Sandbox.Faults.Clear();
        await Assertions.Expect(page.Locator(".page-head .mark")).ToHaveTextAsync(CompletedText());

        // The button that had the focus is gone: nobody is thrown back to the top of the page.
        await Assertions.Expect(page.GetByRole(AriaRole.Heading, new PageGetByRoleOptions { Level = 1 })).ToBeFocusedAsync();
        await Assertions.Expect(page.Locator("progress")).ToHaveCountAsync(0);
        Assert.True(await page.EvaluateAsync<bool>("window.stayed === true"));
        await Assertions.Expect(visit.Heading("Log")).ToBeVisibleAsync();

        // The log: one outcome, one person, that person's history leads back.
        await page.GetByLabel("Outcome").SelectOptionAsync("updated");
        await visit.Button("Show").ClickAsync();
        var person = page.Locator("table.log tbody th a", new PageLocatorOptions { HasText = "Zaphira" });
        await visit.ScreenshotAsync("log");
        var name = (await person.InnerTextAsync()).Trim();
        await person.ClickAsync();
        await Assertions.Expect(visit.Heading(name)).ToBeVisibleAsync();
        await visit.Link("History").ClickAsync();
        await page.Locator(".history a").First.ClickAsync();
        await page.GetByLabel("With a warning").CheckAsync();
        await visit.Button("Show").ClickAsync();
        await Assertions.Expect(page).ToHaveURLAsync(WarningsAddress());

        await visit.Link("Clear").ClickAsync();

        // Downloads come as files.
        foreach (var (link, ending) in new[] { ("Text", "txt"), ("CSV", "csv"), ("JSON Lines", "jsonl") })
        {
            var download = await page.RunAndWaitForDownloadAsync(() => page.Locator("a[download]").GetByText(link).ClickAsync());
            Assert.EndsWith(ending, download.SuggestedFilename, StringComparison.Ordinal);
            Assert.True(new FileInfo(await download.PathAsync()).Length > 0);
        }

        // Half a school vanishes: held until somebody says yes.
        var gone = library.Sandbox.Overrides.RemoveShare(library.Sandbox.District.Schools.First().SourcedId, 0.5);
        await visit.GoAsync("/");
        await visit.Button("Sync Now").ClickAsync();
        await Assertions.Expect(page.Locator(".page-head .mark")).ToHaveTextAsync("Needs approval");
        await visit.LookAsync("operation-held");
        await visit.Link("Show these people in the log").ClickAsync();
        await Assertions.Expect(page.Locator(".count")).ToHaveTextAsync(LineCount());
        await page.GetByText("Approve…").ClickAsync();
        await visit.LookAsync("operation-approve");
        await visit.Button("Yes, apply").ClickAsync();
        await Assertions.Expect(page.Locator(".page-head .mark")).ToHaveTextAsync(CompletedText());
        await visit.GoAsync("/patrons?status=Transferred");
        var count = await page.Locator(".count").InnerTextAsync();
        Assert.True(int.Parse(count.Split(' ')[0], System.Globalization.CultureInfo.InvariantCulture) >= gone.Count);
    }

    [Fact]
    public async Task Without_scripts_and_with_the_keyboard_alone_a_patron_is_found_and_edited()
    {
        await using var visit = await browser.OpenAsync(library.Url, script: false);
        var page = visit.Page;
        await visit.GoAsync("/");
        await page.Keyboard.PressAsync("Tab");
        await Assertions.Expect(visit.Link("Skip to the content")).ToBeFocusedAsync();
        await visit.GoAsync("/patrons");
        await visit.TabToAsync(page.GetByLabel("Search"));
        await page.Keyboard.TypeAsync("an");
        await page.Keyboard.PressAsync("Enter");
        await Assertions.Expect(page).ToHaveURLAsync(SearchAddress());
        await visit.TabToAsync(page.Locator("table.list tbody th a").First);
        await page.Keyboard.PressAsync("Enter");
        await Assertions.Expect(visit.Link("History")).ToBeVisibleAsync();
        await visit.TabToAsync(visit.Link("Edit"));
        await page.Keyboard.PressAsync("Enter");
        await visit.TabToAsync(page.Locator("#notes"));
        await page.Keyboard.TypeAsync("Owes a book");
        await visit.TabToAsync(visit.Button("Save"));
        await page.Keyboard.PressAsync("Enter");
        await visit.SeesAsync("Saved.");
        await visit.SeesAsync("Owes a book");
    }

    [GeneratedRegex("^Completed", RegexOptions.None, 1000)]
    private static partial Regex CompletedText();

    [GeneratedRegex("warnings=on", RegexOptions.None, 1000)]
    private static partial Regex WarningsAddress();

    [GeneratedRegex(@"^\s*\d+ lines", RegexOptions.None, 1000)]
    private static partial Regex LineCount();

    [GeneratedRegex("q=an", RegexOptions.None, 1000)]
    private static partial Regex SearchAddress();
}
