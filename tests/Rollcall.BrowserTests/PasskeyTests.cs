using Microsoft.Playwright;
using Rollcall.Patrons;
using Rollcall.Server.Tests.Pages;
using Rollcall.SignIn;

namespace Rollcall.BrowserTests;

/// <summary>Passkeys as a browser makes them and signs in with them, with a device that Chromium pretends to have.</summary>
public abstract class PasskeyCases(Browser browser, SignInLibrary library)
{
    [Fact]
    public async Task A_passkey_signs_in_alone_until_it_is_taken_away()
    {
        const string email = "passkey@library.example";
        const string password = "a long enough sentence";
        var accounts = library.Service<Accounts>();
        var (account, code) = await accounts.AddAsync(email, library.District, SecurityGroup.LibraryAdministrator, null, false, "test");
        await accounts.UseAsync(code, null, password);

        // A passkey belongs to a name, not to an address of numbers.
        await using var visit = await browser.OpenAsync(new UriBuilder(library.Url) { Host = "localhost" }.Uri, signedIn: false);
        var device = await visit.Page.Context.NewCDPSessionAsync(visit.Page);
        await device.SendAsync("WebAuthn.enable");
        var authenticator = (
            await device.SendAsync(
                "WebAuthn.addVirtualAuthenticator",
                new()
                {
                    ["options"] = new Dictionary<string, object>
                    {
                        ["protocol"] = "ctap2",
                        ["transport"] = "internal",
                        ["hasResidentKey"] = true,
                        ["hasUserVerification"] = true,
                        ["isUserVerified"] = true,
                        ["automaticPresenceSimulation"] = true,
                    },
                }
            )
        )!.Value.GetProperty("authenticatorId");
        Task OwnerIsAskedAsync(bool says) =>
            device.SendAsync(
                "WebAuthn.setUserVerified",
                new() { ["authenticatorId"] = authenticator.GetString()!, ["isUserVerified"] = says }
            );

        await visit.GoAsync("/signin?back=/account");
        await Assertions.Expect(visit.Button("Sign in with a passkey")).ToHaveCountAsync(0);
        await visit.Page.GetByLabel("Email").FillAsync(email);
        await visit.Page.GetByLabel("Password", new() { Exact = true }).FillAsync(password);
        await visit.Button("Sign in").ClickAsync();
        await visit.Page.GetByLabel("Where it is kept").FillAsync("Phone");
        var add = visit.Page.GetByRole(AriaRole.Region, new() { Name = "Add a passkey" });
        await add.GetByLabel("Password").FillAsync("not the password");
        await visit.Button("Add it").ClickAsync();
        await visit.SeesAsync("The present password is not right.");
        await visit.Page.GetByLabel("Where it is kept").FillAsync("Phone");
        await add.GetByLabel("Password").FillAsync(password);
        await visit.Button("Add it").ClickAsync();
        await visit.Button("Make the passkey").ClickAsync();
        await visit.SeesAsync("The passkey is added.");
        await visit.Page.GetByText("Change… Phone").ClickAsync();
        await visit.LookAsync("passkeys");
        await visit.Page.GetByLabel("Name", new() { Exact = true }).FillAsync("Pocket");
        await visit.Button("Save the name").ClickAsync();
        await visit.SeesAsync("Pocket");

        // In again, by the passkey alone; what was sent serves once.
        await visit.Button("Sign out").First.ClickAsync();
        await visit.LookAsync("signin-passkey");
        var sent = visit.Page.WaitForRequestAsync(r => r.Method == "POST");
        await visit.Button("Sign in with a passkey").ClickAsync();
        await Assertions.Expect(visit.Link("Patrons").First).ToBeVisibleAsync();
        var answer = (await sent).PostData!;
        await visit.GoAsync("/account");
        await visit.Button("Sign out").First.ClickAsync();
        var again = await visit.Page.EvaluateAsync<string>(
            "async body => (await fetch('/signin?handler=Passkey', { method: 'POST', body: new URLSearchParams(body) })).text()",
            answer
        );
        Assert.Contains("was answered already", again, StringComparison.Ordinal);
        Assert.Contains(
            (await library.Service<Rollcall.Audit.AuditLog>().PageAsync(library.District.Id, new(Search: email), 1, 20)).Lines,
            a => a.Actor == email && a.Details.StartsWith("with a passkey from", StringComparison.Ordinal)
        );

        // Whoever found the phone, and cannot open it.
        await OwnerIsAskedAsync(says: false);
        await visit.GoAsync("/signin");
        await visit.Button("Sign in with a passkey").ClickAsync();
        await visit.SeesAsync("Nothing came of it");
        await OwnerIsAskedAsync(says: true);

        await accounts.DropSecondFactorAsync(email, "test");
        Assert.Empty(await library.Service<Passkeys>().ListAsync(account.Id));
        await visit.Button("Sign in with a passkey").ClickAsync();
        await visit.SeesAsync("That passkey opens nothing here");
    }
}

/// <summary>The same on SQLite.</summary>
public sealed class PasskeyTests(Browser browser, SignInLibrary library) : PasskeyCases(browser, library), IClassFixture<SignInLibrary>;

/// <summary>The same on PostgreSQL.</summary>
public sealed class PostgresPasskeyTests(Browser browser, PostgresSignInLibrary library)
    : PasskeyCases(browser, library),
        IClassFixture<PostgresSignInLibrary>;
