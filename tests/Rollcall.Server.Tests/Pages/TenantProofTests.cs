using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.SignIn;
using Rollcall.Storage;

namespace Rollcall.Server.Tests.Pages;

/// <summary>The first sign-in of a linked person proves whose roster a tenant is, whoever had the browser before.</summary>
public sealed class TenantProofTests(PostgresSignInLibrary library) : IClassFixture<PostgresSignInLibrary>
{
    private static readonly HttpClientHandler s_still = new() { AllowAutoRedirect = false };

    private static readonly HttpClient s_classLink = new(s_still);

    [Fact]
    public async Task It_is_proved_in_a_browser_where_another_district_is_open()
    {
        var other = await library.Service<DistrictService>().AddAsync("OTHER", "Other", null, "test");
        var (account, _) = await library
            .Service<Accounts>()
            .AddAsync("admin@other.example", other, SecurityGroup.DistrictAdministrator, null, isOperator: false, "test");
        var session = await library.Service<Sessions>().OpenAsync(account, SignInMethod.Password, null, new Device("test", null));
        Assert.Null(await ConfirmedAsync());
        var person = library.Sandbox.District.People.First(p => p is { Role: "student", Presence: SandboxPresence.Present, Enabled: true });

        using var visitor = new Visitor(library.Url, session);
        await visitor.PageAsync("/patrons");
        var authorize = (await visitor.GetAsync("/signin/classlink")).Response.Headers.Location!;
        using var answer = await s_classLink.GetAsync(new Uri($"{authorize}&person={Uri.EscapeDataString(person.SourcedId)}"));
        var back = await visitor.GetAsync(answer.Headers.Location!.PathAndQuery);
        Assert.Equal("/", back.Response.Headers.Location?.ToString());
        Assert.Contains(person.FamilyName, System.Net.WebUtility.HtmlDecode(await visitor.PageAsync("/me")), StringComparison.Ordinal);
        Assert.Equal(library.Sandbox.Options.TenantId, await ConfirmedAsync());
    }

    private async Task<string?> ConfirmedAsync()
    {
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        var row = await context.Integrations.SingleAsync(i => i.DistrictId == library.District.Id && i.Kind == IntegrationKind.ClassLink);
        return IntegrationService.SettingsOf(row).Login.ConfirmedTenant;
    }
}
