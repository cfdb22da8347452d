using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Patrons;
using Rollcall.Sandbox;

namespace Rollcall.Server.Tests.Pages;

/// <summary>A district asks for its ClassLink tenant, and the operator decides.</summary>
public sealed class TenantRequestTests(EmptyLibrary library) : TenantRequests(library), IClassFixture<EmptyLibrary>;

/// <summary>The same on PostgreSQL, where an operator who belongs to a district is confined to it on every page but this one.</summary>
public sealed class TenantRequestOnPostgresTests(PostgresEmptyLibrary library)
    : TenantRequests(library),
        IClassFixture<PostgresEmptyLibrary>;

public abstract class TenantRequests(EmptyLibrary library)
{
    private const string Page = "/preferences/sis/classlink";

    [Fact]
    public async Task What_a_district_asks_for_waits_on_the_operators_page_until_it_is_decided()
    {
        await library.AddDistrictAsync();
        var tenant = library.Sandbox.Options.TenantId;
        await library.Service<IntegrationService>().StorePartnerKeyAsync(library.Sandbox.Options.PartnerKey, "test");
        var river = await library.Service<DistrictService>().AddAsync("RIVER", "River & Lake", "UTC", "test");
        using var visitor = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.DistrictAdministrator, district: river));
        using var owner = new Visitor(library.Url);
        Task<string> TryAsync(string number) =>
            visitor.RefusedAsync(
                Page,
                $"{Page}?handler=Connect",
                ("mode", "Direct"),
                ("tenantId", number),
                ("url", library.Sandbox.Url.GetLeftPart(UriPartial.Authority) + "/ims/oneroster/v1p1"),
                ("key", library.Sandbox.Options.ConsumerKey),
                ("secret", "not the secret")
            );

        // A number with a slip, then the right one: only that waits.
        Assert.DoesNotContain("asks to connect", await owner.PageAsync("/welcome"), StringComparison.Ordinal);
        Assert.Contains("who has been asked to allow it", await TryAsync("77"), StringComparison.Ordinal);
        Assert.Contains("who has been asked to allow it", await TryAsync(tenant), StringComparison.Ordinal);
        Assert.Contains($"Tenant {tenant} waits for this installation’s operator", await visitor.PageAsync(Page), StringComparison.Ordinal);
        Assert.Contains("Asked the operator to allow tenant 77", await visitor.PageAsync("/audit"), StringComparison.Ordinal);
        var asked = await owner.PageAsync("/welcome");
        Assert.Contains($"ClassLink tenant <strong>{tenant}</strong>", asked, StringComparison.Ordinal);
        Assert.Contains("River &amp; Lake", asked, StringComparison.Ordinal);
        Assert.DoesNotContain("<strong>77</strong>", asked, StringComparison.Ordinal);
        Assert.Contains("<span class=\"waiting\">1", await owner.PageAsync("/account"), StringComparison.Ordinal);
        Assert.DoesNotContain("@if", asked, StringComparison.Ordinal);
        Assert.DoesNotContain("All districts", await visitor.PageAsync("/account"), StringComparison.Ordinal);

        // Put aside, it may be asked again; allowed, it is no longer in the way.
        await owner.SubmitAsync("/welcome", "/welcome?handler=Refuse", ("district", "RIVER"));
        Assert.DoesNotContain("asks to connect", await owner.PageAsync("/welcome"), StringComparison.Ordinal);
        Assert.DoesNotContain("waits for this installation", await visitor.PageAsync(Page), StringComparison.Ordinal);
        await TryAsync(tenant);
        await owner.SubmitAsync("/welcome", "/welcome?handler=Tenant", ("district", "RIVER"), ("tenantId", tenant));
        var allowed = await owner.PageAsync("/welcome");
        Assert.DoesNotContain("asks to connect", allowed, StringComparison.Ordinal);
        Assert.Contains($"class=\"code\">{tenant}</td>", allowed, StringComparison.Ordinal);
        Assert.DoesNotContain("waits for this installation", await visitor.PageAsync(Page), StringComparison.Ordinal);
        Assert.DoesNotContain("has been asked", await TryAsync(tenant), StringComparison.Ordinal);

        // Given to the wrong district it is taken back, and given again.
        await owner.SubmitAsync("/welcome", "/welcome?handler=TakeBack", ("held", $"RIVER:{tenant}"));
        Assert.Contains(
            "is not allowed tenant",
            await owner.RefusedAsync("/welcome", "/welcome?handler=TakeBack", ("held", $"DEMO:{tenant}")),
            StringComparison.Ordinal
        );
        Assert.DoesNotContain("Take a tenant back", await owner.PageAsync("/welcome"), StringComparison.Ordinal);
        Assert.Contains($"The operator took tenant {tenant} back", await visitor.PageAsync("/audit"), StringComparison.Ordinal);
        await owner.SubmitAsync("/welcome", "/welcome?handler=Tenant", ("district", "RIVER"), ("tenantId", tenant));

        // The partner key is removed where it was stored, and stored again.
        await owner.SubmitAsync("/welcome", "/welcome?handler=ForgetKey");
        Assert.Contains("The partner key is removed", await owner.PageAsync("/welcome"), StringComparison.Ordinal);
        Assert.False(await library.Service<IntegrationService>().HasPartnerKeyAsync());
        Assert.DoesNotContain("ForgetKey", await owner.PageAsync("/welcome"), StringComparison.Ordinal);
        await owner.SubmitAsync("/welcome", "/welcome?handler=PartnerKey", ("key", library.Sandbox.Options.PartnerKey));
        Assert.True(await library.Service<IntegrationService>().HasPartnerKeyAsync());

        // One tenant belongs to one district: the other is told, and asks for nothing.
        var other = await library.Service<DistrictService>().AddAsync("LAKE", "Lake", "UTC", "test");
        using var third = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.DistrictAdministrator, district: other));
        var refused = await third.RefusedAsync(Page, $"{Page}?handler=Connect", ("mode", "Proxy"), ("tenantId", tenant), ("url", ""));
        Assert.Contains("is used by another district", refused, StringComparison.Ordinal);
        Assert.Empty(await library.Service<Rollcall.Districts.TenantRequests>().ListAsync());

        await EntersAsync(owner);
        await ChoosesAsync(owner);
    }

    /// <summary>Of several applications that a tenant shares its roster with, one is chosen by its name.</summary>
    private async Task ChoosesAsync(Visitor owner)
    {
        await owner.PageAsync("/?district=DEMO");
        (string, string)[] form =
        [
            ("mode", "Proxy"),
            ("tenantId", SandboxTenants.TwoApplications),
            ("url", library.Sandbox.Url.ToString()),
        ];

        // Somebody is linked to the tenant that the district has so far.
        var integrations = library.Service<IntegrationService>();
        var here = (await library.Service<DistrictService>().ListAsync()).Single(d => d.Code == "DEMO");
        await integrations.ConnectAsync(
            here,
            IntegrationKind.ClassLink,
            new ConnectRequest(ConnectionMode.Proxy, SandboxTenants.Other, library.Sandbox.Url.ToString()),
            asOperator: true,
            clear: false,
            "test"
        );
        await integrations.TurnOnAsync(here.Id, IntegrationKind.ClassLink, clear: false, "test");
        await library
            .Service<PatronService>()
            .AddAsync(here.Id, [new("barcode", "LINK1"), new("lastName", "Linked"), new("guid", "guid-of-another")], "test");
        var warned = await owner.RefusedAsync(Page, $"{Page}?handler=Connect", form);
        Assert.Contains("1 patron GUID", warned, StringComparison.Ordinal);
        Assert.DoesNotContain("Choose one below", warned, StringComparison.Ordinal);

        // What was agreed to stays agreed to while the application is chosen, and the choice stays while that is asked for.
        var agreed = await owner.RefusedAsync(Page, $"{Page}?handler=Connect", [.. form, ("clear", "yes")]);
        Assert.Matches("name=\"clear\" value=\"yes\" checked", agreed);
        Assert.DoesNotMatch("id=\"application\"[^>]* required", agreed);
        Assert.Contains("Choose one below", agreed, StringComparison.Ordinal);
        var unticked = await owner.RefusedAsync(Page, $"{Page}?handler=Connect", [.. form, ("application", "chosen before")]);
        Assert.Contains("<input type=\"hidden\" name=\"application\" value=\"chosen before\"", unticked, StringComparison.Ordinal);
        form = [.. form, ("clear", "yes")];
        var asked = await owner.RefusedAsync(Page, $"{Page}?handler=Connect", form);
        Assert.Contains("Choose one below", asked, StringComparison.Ordinal);
        var id = System.Text.RegularExpressions.Regex.Match(asked, "<option value=\"([^\"]+)\" *>Rollcall for libraries ").Groups[1].Value;
        Assert.NotEqual("", id);
        await owner.SubmitAsync(Page, $"{Page}?handler=Connect", [.. form, ("application", id)]);
        var district = (await library.Service<DistrictService>().ListAsync()).Single(d => d.Code == "DEMO");
        var row = await library.Service<IntegrationService>().FindAsync(district.Id, IntegrationKind.ClassLink);
        Assert.Equal(id, IntegrationService.SettingsOf(row).ApplicationId);
        var chosen = await owner.PageAsync(Page);
        Assert.DoesNotContain("Choose one below", chosen, StringComparison.Ordinal);

        // It can be seen, and another one be chosen.
        Assert.Contains($"<span class=\"code\">{System.Net.WebUtility.HtmlEncode(id)}</span>", chosen, StringComparison.Ordinal);
        var anew = await owner.RefusedAsync(Page, $"{Page}?handler=Connect", [.. form, ("another", "yes")]);

        // Whoever presses again without choosing is asked again.
        Assert.Contains("name=\"another\" value=\"yes\"", anew, StringComparison.Ordinal);
        var still = await owner.RefusedAsync(Page, $"{Page}?handler=Connect", [.. form, ("another", "yes"), ("application", "")]);
        Assert.Contains("Choose one below", still, StringComparison.Ordinal);
        var others = System.Text.RegularExpressions.Regex.Matches(anew, "<option value=\"([^\"]+)\"");
        var other = others.Select(m => m.Groups[1].Value).First(v => v != id && anew.Contains($"({v})", StringComparison.Ordinal));
        await owner.SubmitAsync(Page, $"{Page}?handler=Connect", [.. form, ("application", other)]);
        row = await library.Service<IntegrationService>().FindAsync(district.Id, IntegrationKind.ClassLink);
        Assert.Equal(other, IntegrationService.SettingsOf(row).ApplicationId);
    }

    /// <summary>The operator, who belongs to one district, enters another and adds a third.</summary>
    private async Task EntersAsync(Visitor owner)
    {
        Assert.Contains("DEMO", await owner.PageAsync("/about"), StringComparison.Ordinal);
        Assert.Equal("/?district=LAKE", await owner.SubmitAsync("/welcome", "/welcome?handler=Enter", ("district", "LAKE")));
        await owner.PageAsync("/?district=LAKE");
        Assert.Contains("the operator became District Administrator", await owner.PageAsync("/audit"), StringComparison.Ordinal);
        Assert.Contains("LAKE, Lake, added", await owner.PageAsync("/audit"), StringComparison.Ordinal);
        Assert.Equal(
            "/?district=HILL",
            await owner.SubmitAsync("/welcome", "/welcome?handler=District", ("code", "HILL"), ("name", "Hill"), ("timeZone", "UTC"))
        );
        var all = await owner.PageAsync("/welcome?district=DEMO");
        Assert.All((string[])["DEMO", "RIVER", "LAKE", "HILL"], d => Assert.Contains(d, all, StringComparison.Ordinal));
    }
}
