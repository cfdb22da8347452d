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

        // By key nobody vouches for the tenant, and no test of the connection can.
        var options = library.Sandbox.Options;
        var integrations = library.Service<IntegrationService>();
        var direct = new ConnectRequest(
            ConnectionMode.Direct,
            options.TenantId,
            library.Sandbox.Url.GetLeftPart(UriPartial.Authority),
            options.ConsumerKey,
            options.ConsumerSecret
        );
        async Task<ConnectResult> ConnectAsync(ConnectRequest request) =>
            await integrations.ConnectAsync(library.District, IntegrationKind.ClassLink, request, asOperator: true, clear: false, "test");
        Assert.False((await ConnectAsync(direct)).Confirmed);
        var tried = await integrations.TestAsync(library.District, IntegrationKind.ClassLink);
        Assert.False(tried.Confirmed);
        Assert.Contains("unconfirmed until the first sign-in", tried.Message, StringComparison.Ordinal);

        // Nothing has proved the number: another one by the same key is a correction, which clears nothing; one by another key is none.
        var mistyped = await ConnectAsync(direct with { TenantId = "99991" });
        Assert.Null(mistyped.Cleared);
        await Assert.ThrowsAsync<RollcallException>(() =>
            ConnectAsync(direct with { TenantId = "99992", Key = options.ConsumerKey + "x" })
        );
        Assert.Null((await ConnectAsync(direct)).Cleared);
        var person = library.Sandbox.District.People.First(p => p is { Role: "student", Presence: SandboxPresence.Present, Enabled: true });

        using var visitor = new Visitor(library.Url, session);
        await visitor.PageAsync("/patrons");
        var authorize = (await visitor.GetAsync("/signin/classlink")).Response.Headers.Location!;
        using var answer = await s_classLink.GetAsync(new Uri($"{authorize}&person={Uri.EscapeDataString(person.SourcedId)}"));
        var back = await visitor.GetAsync(answer.Headers.Location!.PathAndQuery);
        Assert.Equal("/", back.Response.Headers.Location?.ToString());
        Assert.Contains(person.FamilyName, System.Net.WebUtility.HtmlDecode(await visitor.PageAsync("/me")), StringComparison.Ordinal);
        Assert.Equal(library.Sandbox.Options.TenantId, await ConfirmedAsync());

        // It is said from then on, until what was proved is no longer what is connected.
        tried = await integrations.TestAsync(library.District, IntegrationKind.ClassLink);
        Assert.True(tried.Confirmed);
        Assert.DoesNotContain("unconfirmed", tried.Message, StringComparison.Ordinal);
        Assert.Contains("a sign-in with ClassLink has confirmed", tried.Message, StringComparison.Ordinal);
        Assert.True((await ConnectAsync(direct)).Confirmed);
        Assert.Contains(
            "another roster",
            (await Assert.ThrowsAsync<RollcallException>(() => ConnectAsync(direct with { TenantId = "99991" }))).Message,
            StringComparison.Ordinal
        );
        var prefix = direct with { Mode = ConnectionMode.Prefix, Url = library.Sandbox.ProxyPrefix, Secret = options.Bearer };
        Assert.False((await ConnectAsync(prefix)).Confirmed);
    }

    private async Task<string?> ConfirmedAsync()
    {
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        var row = await context.Integrations.SingleAsync(i => i.DistrictId == library.District.Id && i.Kind == IntegrationKind.ClassLink);
        return IntegrationService.SettingsOf(row).Login.ConfirmedTenant;
    }
}
