using System.Net;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sandbox;

namespace Rollcall.Server.Tests.Pages;

/// <summary>A district is connected on the pages alone.</summary>
public sealed class PreferencePageTests(EmptyLibrary library) : PreferencePages(library), IClassFixture<EmptyLibrary>;

/// <summary>The same on PostgreSQL, where every page works under row-level security.</summary>
public sealed class PreferencePageOnPostgresTests(PostgresEmptyLibrary library)
    : PreferencePages(library),
        IClassFixture<PostgresEmptyLibrary>;

public abstract class PreferencePages(EmptyLibrary library)
{
    private const string Page = "/preferences/sis/classlink";

    [Fact]
    public async Task From_nothing_to_a_sync_and_off_again()
    {
        await library.AddDistrictAsync();
        using var visitor = new Visitor(library.Url);
        var integrations = library.Service<IntegrationService>();
        var origin = library.Sandbox.Url.GetLeftPart(UriPartial.Authority);
        Assert.Contains("Not connected", await visitor.PageAsync("/preferences/sis"), StringComparison.Ordinal);
        Assert.Contains("Nothing is connected yet", await visitor.PageAsync($"{Page}/mapping"), StringComparison.Ordinal);

        // Each failure has its own words, and what was typed stays.
        async Task<string> TryAsync(string mode, string tenant, string secret = "") =>
            await visitor.RefusedAsync(
                Page,
                $"{Page}?handler=Connect",
                ("mode", mode),
                ("tenantId", tenant),
                ("url", mode == "Direct" ? origin + "/ims/oneroster/v1p1" : origin),
                ("key", library.Sandbox.Options.ConsumerKey),
                ("secret", secret)
            );
        Assert.Contains("no ClassLink partner key", await TryAsync("Proxy", library.Sandbox.Options.TenantId), StringComparison.Ordinal);
        await integrations.StorePartnerKeyAsync(library.Sandbox.Options.PartnerKey, "test");
        Assert.Contains("a number of up to ten digits", await TryAsync("Proxy", "riverbend"), StringComparison.Ordinal);
        Assert.Contains("lists no district", await TryAsync("Proxy", SandboxTenants.NeverAdded), StringComparison.Ordinal);
        var disabled = await TryAsync("Proxy", SandboxTenants.Disabled);
        Assert.Contains("has added the application but not enabled it", disabled, StringComparison.Ordinal);
        var inactive = await TryAsync("Proxy", SandboxTenants.Inactive);
        Assert.Contains($"does not list district {SandboxTenants.Inactive} as active", inactive, StringComparison.Ordinal);
        Assert.DoesNotContain("not enabled it", inactive, StringComparison.Ordinal);
        Assert.Contains("hands out no access token", await TryAsync("Proxy", SandboxTenants.WithoutBearer), StringComparison.Ordinal);
        Assert.Contains($"value=\"{SandboxTenants.Disabled}\"", disabled, StringComparison.Ordinal);
        Assert.Contains("The secret is missing", await TryAsync("Direct", library.Sandbox.Options.TenantId), StringComparison.Ordinal);
        var wrong = await TryAsync("Direct", library.Sandbox.Options.TenantId, "not-the-secret");
        Assert.Contains("notice-bad", wrong, StringComparison.Ordinal);
        Assert.DoesNotContain("not-the-secret", wrong, StringComparison.Ordinal);
        Assert.Null(IntegrationService.SettingsOf(await integrations.FindAsync(library.District.Id, IntegrationKind.ClassLink)).Mode);

        Assert.Equal(
            Page,
            await visitor.SubmitAsync(
                Page,
                $"{Page}?handler=Connect",
                ("mode", "Proxy"),
                ("tenantId", $" {library.Sandbox.Options.TenantId} "),
                ("url", origin)
            )
        );
        Assert.Contains(library.Sandbox.Options.TenantName, await visitor.PageAsync(Page), StringComparison.Ordinal);
        await visitor.SubmitAsync(Page, $"{Page}?handler=Test");

        // Sites: the first made for a ticked school of the roster, the rest matched as suggested, one undone.
        var schools = library.Sandbox.District.Schools.ToList();
        (string, string)[] typed =
        [
            ("org", schools[0].SourcedId),
            ("name", "Our own name"),
            ("code", "S 0"),
            .. schools.Skip(1).SelectMany(s => ((string, string)[])[("org", s.SourcedId), ("name", ""), ("code", "")]),
        ];
        var add = $"{Page}/sites?handler=AddSites";
        var bare = await visitor.PageAsync($"{Page}/sites");
        Assert.Contains("The library has no site yet", bare, StringComparison.Ordinal);
        Assert.DoesNotContain("handler=Match", bare, StringComparison.Ordinal);
        Assert.Contains($"href=\"{Page}/sites\"", await visitor.PageAsync("/"), StringComparison.Ordinal);
        Assert.Contains("Choose at least one school", await visitor.RefusedAsync($"{Page}/sites", add, typed), StringComparison.Ordinal);
        var again = await visitor.RefusedAsync($"{Page}/sites", add, [.. typed, ("b", schools[0].SourcedId)]);
        Assert.Contains($"{schools[0].Name} ({schools[0].SourcedId}): A site code has 1 to 32 letters", again, StringComparison.Ordinal);
        var doubled = await visitor.RefusedAsync($"{Page}/sites", add, [.. typed, .. typed, ("b", schools[0].SourcedId)]);
        Assert.Contains("A site code has 1 to 32 letters", doubled, StringComparison.Ordinal);
        Assert.Contains("value=\"Our own name\"", again, StringComparison.Ordinal);
        Assert.Contains("value=\"S 0\"", again, StringComparison.Ordinal);
        Assert.Empty(await library.Service<SiteService>().ListAsync(library.District.Id));
        typed[1] = ("name", "");
        typed[2] = ("code", "S0");
        Assert.Equal($"{Page}/sites", await visitor.SubmitAsync($"{Page}/sites", add, [.. typed, ("b", schools[0].SourcedId)]));
        var made = Assert.Single(await library.Service<SiteService>().ListAsync(library.District.Id));
        Assert.Equal(("S0", schools[0].Name, schools[0].SourcedId), (made.Code, made.Name, made.Guid));
        for (var i = 1; i < schools.Count; i++)
        {
            await library
                .Service<SiteService>()
                .AddAsync(library.District.Id, $"S{i}", new SiteChange(schools[i].Name, null, null, null, null), "test");
        }

        var sites = $"{Page}/sites";
        await visitor.SubmitAsync(sites, $"{sites}?handler=Suggested");
        var matched = await visitor.PageAsync(sites);
        Assert.Contains("Every site is matched, and 2 organizations", matched, StringComparison.Ordinal);
        await visitor.SubmitAsync(sites, $"{sites}?handler=Unmatch", ("org", schools[0].SourcedId));
        Assert.Contains("1 site is not matched yet, and 3 organizations", await visitor.PageAsync(sites), StringComparison.Ordinal);
        await visitor.SubmitAsync(sites, $"{sites}?handler=Match", ("site", "S0"), ("org", ""));
        Assert.Contains("Choose one site", await visitor.PageAsync(sites), StringComparison.Ordinal);

        // A search of both lists keeps the pair that is chosen, though neither fits.
        var found = await visitor.SubmitAsync(
            $"{sites}?q=x",
            $"{sites}?handler=Find",
            ("q", "nothing fits this"),
            ("site", "S0"),
            ("org", schools[0].SourcedId)
        );
        var searched = WebUtility.HtmlDecode(await visitor.PageAsync(found));
        Assert.Contains("value=\"nothing fits this\"", searched, StringComparison.Ordinal);
        Assert.Contains("name=\"site\" value=\"S0\" checked", searched, StringComparison.Ordinal);
        Assert.Contains($"name=\"org\" value=\"{schools[0].SourcedId}\" checked", searched, StringComparison.Ordinal);
        Assert.DoesNotContain("name=\"site\" value=\"S1\"", searched, StringComparison.Ordinal);
        await visitor.SubmitAsync(sites, $"{sites}?handler=Match", ("site", "S0"), ("org", schools[0].SourcedId));

        // What the library does not serve is marked, and taken back. Search and choice stay; Enter presses the first button, and that marks nobody.
        var open = WebUtility.HtmlDecode(await visitor.PageAsync(sites));
        var form = open[open.IndexOf($"action=\"{sites}?handler=Match\"", StringComparison.Ordinal)..];
        Assert.StartsWith(
            "Match<",
            form[form.IndexOf("type=\"submit\"", StringComparison.Ordinal)..].Split('>', 2)[1],
            StringComparison.Ordinal
        );
        var aside = form.Split("name=\"leave\" value=\"", 2)[1].Split('"', 2)[0];
        (string, string)[] kept = [("q", "Part"), ("site", "S0")];
        var marked = await visitor.SubmitAsync(sites, $"{sites}?handler=NotServed", [.. kept, ("leave", aside), ("org", aside)]);
        Assert.Equal($"{sites}?q=Part&site=S0", marked);
        Assert.Equal([aside], await NotServedAsync());
        var without = WebUtility.HtmlDecode(await visitor.PageAsync(marked));
        Assert.Contains("Not served by the library", without, StringComparison.Ordinal);
        Assert.Contains($"name=\"take\" value=\"{aside}\"", without, StringComparison.Ordinal);
        Assert.Contains("name=\"site\" value=\"S0\" checked", without, StringComparison.Ordinal);
        Assert.DoesNotContain($"name=\"leave\" value=\"{aside}\"", without, StringComparison.Ordinal);
        await visitor.SubmitAsync(sites, $"{sites}?handler=NotServed", ("leave", "nowhere"));
        Assert.Contains("no organization nowhere", await visitor.PageAsync(sites), StringComparison.Ordinal);
        Assert.Equal(marked, await visitor.SubmitAsync(marked, $"{sites}?handler=Serve", [.. kept, ("take", aside), ("org", "")]));
        Assert.Empty(await NotServedAsync());
        async Task<IReadOnlyList<string>> NotServedAsync() =>
            IntegrationService.SettingsOf(await integrations.FindAsync(library.District.Id, IntegrationKind.ClassLink)).NotServed;

        // Another service is prepared before anybody was linked: nobody is said to have links.
        await integrations.ConnectAsync(
            library.District,
            IntegrationKind.OneRoster,
            new ConnectRequest(
                ConnectionMode.Direct,
                null,
                library.Sandbox.Url.ToString(),
                library.Sandbox.Options.ConsumerKey,
                library.Sandbox.Options.ConsumerSecret
            ),
            asOperator: true,
            clear: false,
            "test"
        );
        var services = WebUtility.HtmlDecode(await visitor.PageAsync("/preferences/sis"));
        Assert.Contains("All patrons stay. The first sync with OneRoster finds them by email", services, StringComparison.Ordinal);
        Assert.DoesNotContain("finds them by these", services, StringComparison.Ordinal);
        Assert.Contains("ClassLink is off. Turn it on to sync. ", await visitor.PageAsync("/"), StringComparison.Ordinal);

        // Who, and which fields.
        Assert.Contains(
            "Tick at least one",
            await visitor.RefusedAsync($"{Page}/syncing", $"{Page}/syncing?handler=Roles"),
            StringComparison.Ordinal
        );
        await visitor.SubmitAsync($"{Page}/syncing", $"{Page}/syncing?handler=Roles", ("roles", "Student"), ("roles", "Teacher"));
        await visitor.SubmitAsync($"{Page}/mapping", $"{Page}/mapping?handler=Read", ("tab", "mapping"));
        Assert.Equal(OperationStatus.Completed, (await library.EndOfLastAsync(OperationKind.Readiness)).Status);
        var grades = await visitor.PageAsync($"{Page}/mapping");
        Assert.Contains("value=\"user-id:LocalID\"", grades, StringComparison.Ordinal);

        // Who has no grade has none to translate.
        Assert.Contains("name=\"from\" value=\"05\"", grades, StringComparison.Ordinal);
        Assert.DoesNotContain("(none)", grades, StringComparison.Ordinal);
        (string, string)[] choice = [("barcode", "none"), ("communityId", "user-id:LocalID"), ("location", "homeroom:teacher")];
        await visitor.SubmitAsync($"{Page}/mapping", $"{Page}/mapping?handler=Map", choice);
        var mapping = await visitor.RefusedAsync(
            $"{Page}/mapping",
            $"{Page}/mapping?handler=Map",
            ("barcode", "username"),
            ("communityId", "x"),
            ("location", "y")
        );
        Assert.Contains("The barcode cannot come from", mapping, StringComparison.Ordinal);
        Assert.Contains("User ID of Type LocalID", mapping, StringComparison.Ordinal);

        // Words for people, there and in the audit; what the roster's documents call it stands beside.
        Assert.Matches("Last name\\s+<span class=\"also code\">familyName</span>", mapping);
        var audit = WebUtility.HtmlDecode(await visitor.PageAsync("/audit"));
        Assert.Contains("Student #: User ID of Type LocalID; Homeroom: Homeroom Teacher Name", audit, StringComparison.Ordinal);
        Assert.Contains(">roster settings<", audit, StringComparison.Ordinal);
        Assert.DoesNotContain("community-id", audit, StringComparison.Ordinal);

        // Nobody is linked yet: the example is somebody of the roster, read for whoever asks.
        Assert.Contains("Show an example from the roster", await visitor.PageAsync($"{Page}/mapping"), StringComparison.Ordinal);
        var example = WebUtility.HtmlDecode(await visitor.PageAsync($"{Page}/mapping?ask=roster"));
        Assert.Contains("as the roster has this person at this moment", example, StringComparison.Ordinal);
        Assert.Contains(
            library.Sandbox.District.People,
            p => example.Contains($"<bdi>{p.FamilyName}, {p.GivenName}</bdi> (", StringComparison.Ordinal)
        );
        Assert.Contains(library.Sandbox.District.People, p => example.Contains($"dir=\"auto\">{p.GivenName}<", StringComparison.Ordinal));
        await visitor.SubmitAsync($"{Page}/readiness", $"{Page}/readiness?handler=Read");
        await library.EndOfLastAsync(OperationKind.Readiness);
        var ready = await visitor.PageAsync($"{Page}/readiness");
        Assert.Contains("Near misses", ready, StringComparison.Ordinal);
        Assert.Contains("The library has no patrons yet", ready, StringComparison.Ordinal);

        // On, synced, and the way in is gone.
        Assert.Contains("The way to the first sync", await visitor.PageAsync(Page), StringComparison.Ordinal);
        await visitor.SubmitAsync("/preferences/sis", "/preferences/sis?handler=On", ("kind", "ClassLink"));
        var before = await visitor.PageAsync("/");
        Assert.Contains("Nothing waits for you.</strong> No sync has run yet.", before, StringComparison.Ordinal);
        Assert.Contains("No sync runs by itself", before, StringComparison.Ordinal);

        // The steps are the same on both pages, and what nobody needs to do is never the next one.
        Assert.Equal(Steps(await visitor.PageAsync(Page)), Steps(before));
        Assert.Contains(
            "Preview, then sync",
            Assert.Single(Steps(before), s => s.Contains("aria-current", StringComparison.Ordinal)),
            StringComparison.Ordinal
        );
        var operation = await visitor.SubmitAsync("/", "/?handler=Preview");
        await library.EndOfAsync(long.Parse(operation.Split('/')[^1], System.Globalization.CultureInfo.InvariantCulture));
        Assert.Contains("The way to the first sync", await visitor.PageAsync(Page), StringComparison.Ordinal);
        await visitor.SubmitAsync(operation, $"{operation}?handler=Approve");
        var ended = await library.EndOfAsync(long.Parse(operation.Split('/')[^1], System.Globalization.CultureInfo.InvariantCulture));
        Assert.True(OperationQueue.CountsOf(ended).Created > 100);
        Assert.DoesNotContain("The way to the first sync", await visitor.PageAsync(Page), StringComparison.Ordinal);
        Assert.DoesNotContain("The way to the first sync", await visitor.PageAsync("/"), StringComparison.Ordinal);

        // The last step stays until it is done or set aside.
        const string left = "One step is left";
        Assert.Contains(left, await visitor.PageAsync(Page), StringComparison.Ordinal);
        Assert.Contains(left, await visitor.PageAsync("/"), StringComparison.Ordinal);
        await visitor.SubmitAsync($"{Page}/schedule", $"{Page}/schedule?handler=Daily", ("on", "yes"), ("at", "04:00"), ("wasAt", ""));
        Assert.DoesNotContain(left, await visitor.PageAsync("/"), StringComparison.Ordinal);
        await integrations.ConfigureAsync(
            library.District.Id,
            IntegrationKind.ClassLink,
            "test",
            "test",
            s => s with { Daily = new DailyOperations() }
        );
        Assert.Equal($"{Page}/schedule", await visitor.SubmitAsync("/", $"{Page}/schedule?handler=Aside"));
        Assert.DoesNotContain(left, await visitor.PageAsync("/"), StringComparison.Ordinal);
        Assert.DoesNotContain(left, await visitor.PageAsync(Page), StringComparison.Ordinal);

        // Another tenant while people are linked: asked first, with counts.
        var asked = await visitor.RefusedAsync(
            Page,
            $"{Page}?handler=Connect",
            ("mode", "Proxy"),
            ("tenantId", SandboxTenants.Other),
            ("url", origin)
        );
        Assert.Contains($"{OperationQueue.CountsOf(ended).Created} patron GUIDs", asked, StringComparison.Ordinal);
        Assert.Contains("name=\"clear\"", asked, StringComparison.Ordinal);
        await visitor.SubmitAsync("/preferences/sis", "/preferences/sis?handler=Off", ("kind", "ClassLink"));
        Assert.Contains("Greyed: ClassLink is off.", await visitor.PageAsync("/"), StringComparison.Ordinal);

        // Nobody is asked for values that an integration which is off cannot tell.
        Assert.DoesNotContain("Ask the roster now", await visitor.PageAsync($"{Page}/mapping"), StringComparison.Ordinal);
        var linked = await library
            .Service<PatronService>()
            .PageAsync(library.District.Id, new PatronFilter(), PatronSort.Name, false, 1, 1);
        Assert.NotNull(linked.Patrons[0].Guid);
    }

    /// <summary>The steps of a page's guide, each with its markup.</summary>
    private static List<string> Steps(string page) =>
        [.. page.Split("<ol class=\"checklist\">")[1].Split("</ol>")[0].Split("</li>", StringSplitOptions.TrimEntries)];
}
