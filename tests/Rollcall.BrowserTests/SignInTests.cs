using Microsoft.EntityFrameworkCore;
using Microsoft.Playwright;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Server.Tests.Pages;
using Rollcall.SignIn;
using Rollcall.Storage;

namespace Rollcall.BrowserTests;

/// <summary>Signing in with ClassLink as people do it, from the button or the tile to their own record, and what they read when it does not work.</summary>
public sealed class SignInTests(Browser browser, SignInLibrary library) : IClassFixture<SignInLibrary>
{
    [Fact]
    public async Task Two_people_in_a_row_on_a_shared_machine_each_come_to_their_own_record()
    {
        var (first, second) = (Student(0), Student(1));
        await using var visit = await browser.OpenAsync(library.Url, signedIn: false);
        await visit.GoAsync("/");
        await visit.LookAsync("signin");
        await ByButtonAsync(visit, first);
        await SeesOwnRecordAsync(visit, first);
        await visit.LookAsync("me");

        // Gone without signing out: the next one comes by the tile of their own LaunchPad.
        await ByTileAsync(visit, second);
        await SeesOwnRecordAsync(visit, second);
        await Assertions.Expect(visit.Page.GetByText(await BarcodeAsync(first))).ToHaveCountAsync(0);

        // Back by the browser's own button shows nothing of the first one.
        await visit.GoAsync("/patrons");
        await Assertions.Expect(visit.Page.Locator("h1")).Not.ToHaveTextAsync("Patrons");
        await visit.GoAsync("/me");
        await visit.Button("Sign out").First.ClickAsync();
        await Assertions.Expect(visit.Heading("Sign in")).ToBeVisibleAsync();
        await visit.Page.GoBackAsync();
        await Assertions.Expect(visit.Page.GetByText(await BarcodeAsync(second))).ToHaveCountAsync(0);
    }

    [Fact]
    public async Task Whoever_does_not_agree_or_is_not_known_reads_what_to_do()
    {
        var (leaver, doubled, stranger) = (Student(2), Student(3), Student(4));
        var patrons = library.Service<PatronService>();
        var district = library.District.Id;
        await using var visit = await browser.OpenAsync(library.Url, Look.Phone, signedIn: false);

        await visit.GoAsync("/signin");
        await visit.Link("Sign in with ClassLink").ClickAsync();
        await visit.Link("Do not allow").ClickAsync();
        await RefusedAsync(visit, "You are not signed in");
        await visit.LookAsync("signin-refused");

        await patrons.EditAsync(district, await BarcodeAsync(leaver), [new("status", "Transferred")], "test");
        await ByButtonAsync(visit, leaver);
        await RefusedAsync(visit, "Your library record is closed");

        await WithFaultAsync("unknown-person", () => ByButtonAsync(visit, stranger));
        await RefusedAsync(visit, "The library does not know you yet");
        await WithFaultAsync("wrong-tenant", () => ByButtonAsync(visit, stranger));
        await RefusedAsync(visit, "Your school does not use this library here");

        // Found by an e-mail address alone, and there are two.
        await UnknownLoginAsync(doubled);
        await patrons.EditAsync(district, await BarcodeAsync(doubled), [new("email", doubled.Email)], "test");
        await patrons.AddAsync(district, [new("barcode", "TWIN-2"), new("lastName", "Twin"), new("email", doubled.Email)], "test");
        await library.Service<ClassLinkSignIn>().TurnAsync(district, true, byEmail: true, "test");
        await WithFaultAsync("blank-sourcedid", () => ByButtonAsync(visit, doubled));
        await RefusedAsync(visit, "The library is not sure who you are");
        await library.Service<ClassLinkSignIn>().TurnAsync(district, true, byEmail: false, "test");

        await visit.GoAsync("/me");
        await visit.SeesAsync("Sign in");
    }

    [Fact]
    public async Task A_login_name_is_enough_and_rights_come_from_the_group_alone()
    {
        var (byLogin, librarian) = (Student(5), Student(6));
        // Without scripts, as on a library's machine that forbids them.
        await using (var visit = await browser.OpenAsync(library.Url, script: false, signedIn: false))
        {
            await WithFaultAsync("blank-sourcedid", () => ByButtonAsync(visit, byLogin));
            await SeesOwnRecordAsync(visit, byLogin);
        }

        // ClassLink says that this is a student; the library's record says what they do here.
        await library
            .Service<PatronService>()
            .EditAsync(library.District.Id, await BarcodeAsync(librarian), [new("group", "Librarian"), new("siteAccess", "S01")], "test");
        await using var desk = await browser.OpenAsync(library.Url, script: false, signedIn: false);
        await ByButtonAsync(desk, librarian);
        await Assertions.Expect(desk.Link("Patrons").First).ToBeVisibleAsync();
        await Assertions.Expect(desk.Link("Preferences")).ToHaveCountAsync(0);
        await desk.Link("Patrons").First.ClickAsync();
        await Assertions.Expect(desk.Heading("Patrons")).ToBeVisibleAsync();
        await desk.GoAsync("/preferences/sis");
        await Assertions.Expect(desk.Heading("Preferences")).ToHaveCountAsync(0);
    }

    private SandboxPerson Student(int number) =>
        library
            .Sandbox.District.People.Where(p => p is { Role: "student", Presence: SandboxPresence.Present })
            .Take(30)
            .Where(p => p.Enabled)
            .ElementAt(number);

    private async Task<string> BarcodeAsync(SandboxPerson person)
    {
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        return await context.Patrons.Where(p => p.Guid == person.SourcedId).Select(p => p.Barcode).SingleAsync();
    }

    private async Task UnknownLoginAsync(SandboxPerson person)
    {
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        var id = await context.Patrons.Where(p => p.Guid == person.SourcedId).Select(p => p.Id).SingleAsync();
        await context.PatronLinks.Where(l => l.PatronId == id).ExecuteUpdateAsync(s => s.SetProperty(l => l.Username, "another"));
    }

    private async Task WithFaultAsync(string fault, Func<Task> act)
    {
        library.Sandbox.Faults.Set(fault);
        try
        {
            await act();
        }
        finally
        {
            library.Sandbox.Faults.Clear();
        }
    }

    private static async Task ByButtonAsync(Visit visit, SandboxPerson person)
    {
        await visit.GoAsync("/signin");
        await visit.Link("Sign in with ClassLink").ClickAsync();
        await IAmAsync(visit, person);
    }

    /// <summary>The tile's code is dropped and the sign-in begun anew, so ClassLink is asked again; it would know them, the sandbox asks.</summary>
    private async Task ByTileAsync(Visit visit, SandboxPerson person)
    {
        await visit.Page.GotoAsync(new Uri(library.Sandbox.Url, "/launchpad").ToString());
        await visit.Page.Locator($"a.tile[href$='person={person.SourcedId}']").ClickAsync();
        await IAmAsync(visit, person);
    }

    private static async Task IAmAsync(Visit visit, SandboxPerson person)
    {
        await visit.Page.Locator($"li a[href$='person={person.SourcedId}']").ClickAsync();
        await visit.Page.WaitForURLAsync(url => !url.Contains("/oauth2/", StringComparison.Ordinal));
    }

    private async Task SeesOwnRecordAsync(Visit visit, SandboxPerson person)
    {
        await Assertions.Expect(visit.Page.Locator("h1")).ToContainTextAsync(person.GivenName);
        await visit.SeesAsync(await BarcodeAsync(person));
    }

    private static Task RefusedAsync(Visit visit, string words) => Assertions.Expect(visit.Heading(words)).ToBeVisibleAsync();
}
