using System.Net;
using System.Text.RegularExpressions;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;
using Rollcall.SignIn;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Pages;

/// <summary>Where the operator demands a second factor of accounts.</summary>
public sealed partial class StrictTests(StrictLibrary library) : IClassFixture<StrictLibrary>
{
    private const string Password = "eleven purple walruses";

    [Fact]
    public async Task Without_a_second_factor_nothing_opens_where_it_is_demanded()
    {
        var accounts = library.Service<Accounts>();
        var (_, code) = await accounts.AddAsync(
            "desk@library.example",
            library.District,
            SecurityGroup.DistrictAdministrator,
            null,
            isOperator: true,
            "test"
        );
        using var visitor = new Visitor(library.Url, null);
        await visitor.SubmitAsync($"/link?code={code}", "/link", ("code", code!), ("password", Password), ("again", Password));

        // Every page leads to the account's, and everything else is refused: files and live progress too.
        foreach (var path in (string[])["/", "/patrons", "/preferences/sis/classlink", "/accounts", "/audit", "/welcome", "/me"])
        {
            var (status, _, response) = await visitor.GetAsync(path);
            Assert.Equal((path, HttpStatusCode.Redirect, "/account"), (path, status, response.Headers.Location?.ToString()));
        }

        foreach (var path in (string[])["/patron/export?format=csv", "/operations/1/download?format=csv", "/operations/events"])
        {
            Assert.Equal((path, HttpStatusCode.Forbidden), (path, (await visitor.GetAsync(path)).Status));
        }

        var page = await visitor.PageAsync("/account");
        Assert.Contains("One more step", page, StringComparison.Ordinal);
        Assert.DoesNotContain("href=\"/patrons\"", page, StringComparison.Ordinal);
        var token = FormToken().Match(page).Groups["token"].Value;
        using (var sync = await visitor.PostAsync("/?handler=Sync", ("__RequestVerificationToken", token)))
        {
            Assert.Equal(HttpStatusCode.Forbidden, sync.StatusCode);
        }

        // The way out is on the page, and with it all opens.
        var asked = await visitor.RefusedAsync("/account", "/account?handler=SecondFactor", ("password", Password));
        Assert.DoesNotContain("One more step", asked, StringComparison.Ordinal);
        var key = Key().Match(asked).Groups["key"].Value;
        var shown = await visitor.RefusedAsync("/account", "/account?handler=SecondFactorOn", ("code", Authenticator.Code(key)));
        Assert.Contains("The second factor is on", shown, StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.OK, (await visitor.GetAsync("/patrons")).Status);
        Assert.DoesNotContain("One more step", await visitor.PageAsync("/account"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Passkeys_and_ClassLink_bring_their_own()
    {
        var (account, _) = await library
            .Service<Accounts>()
            .AddAsync("key@library.example", library.District, SecurityGroup.Librarian, "S01", isOperator: false, "test");
        var sessions = library.Service<Sessions>();
        using var byPasskey = new Visitor(
            library.Url,
            await sessions.OpenAsync(account, SignInMethod.Passkey, null, new Device("test", null))
        );
        Assert.Equal(HttpStatusCode.OK, (await byPasskey.GetAsync("/patrons")).Status);
        using var byLink = new Visitor(library.Url, await sessions.OpenAsync(account, SignInMethod.Link, null, new Device("test", null)));
        Assert.Equal(HttpStatusCode.Redirect, (await byLink.GetAsync("/patrons")).Status);
        var (patron, _) = (
            await library
                .Service<PatronService>()
                .NextAsync(library.District.Id, new PatronFilter(Status: PatronStatus.Active), null, byChange: false, take: 50)
        ).First(p => p.Link is { LoginDisabled: false });
        using var student = new Visitor(library.Url, await library.SignInAsync(patron));
        Assert.Equal(HttpStatusCode.OK, (await student.GetAsync("/me")).Status);
    }

    [GeneratedRegex("name=\"__RequestVerificationToken\" type=\"hidden\" value=\"(?<token>[^\"]+)\"")]
    private static partial Regex FormToken();

    [GeneratedRegex("<p class=\"code\">(?<key>[A-Z2-7 ]+)</p>")]
    private static partial Regex Key();
}

/// <summary>A new installation that demands a second factor of its first operator: there is no district yet.</summary>
public sealed partial class StrictFirstTests(StrictEmptyLibrary library) : IClassFixture<StrictEmptyLibrary>
{
    [Fact]
    public async Task The_first_operator_sets_the_second_factor_up_and_goes_on_to_the_first_district()
    {
        const string password = "eleven purple walruses";
        var (_, code) = await library
            .Service<Accounts>()
            .AddAsync("first@library.example", null, SecurityGroup.DistrictAdministrator, null, isOperator: true, "test");
        using var visitor = new Visitor(library.Url, null);
        await visitor.SubmitAsync($"/link?code={code}", "/link", ("code", code!), ("password", password), ("again", password));
        Assert.Equal("/account", (await visitor.GetAsync("/welcome")).Response.Headers.Location?.ToString());
        var page = await visitor.PageAsync("/account");
        Assert.Contains("One more step", page, StringComparison.Ordinal);
        Assert.Contains("(UTC)", page, StringComparison.Ordinal);
        var asked = await visitor.RefusedAsync("/account", "/account?handler=SecondFactor", ("password", password));
        var key = Key().Match(asked).Groups["key"].Value;
        await visitor.RefusedAsync("/account", "/account?handler=SecondFactorOn", ("code", Authenticator.Code(key)));
        Assert.Contains("Add the first district", await visitor.PageAsync("/welcome"), StringComparison.Ordinal);
    }

    [GeneratedRegex("<p class=\"code\">(?<key>[A-Z2-7 ]+)</p>")]
    private static partial Regex Key();
}
