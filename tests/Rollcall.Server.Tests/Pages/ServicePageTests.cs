using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Server.Commands;
using Rollcall.SignIn;

namespace Rollcall.Server.Tests.Pages;

/// <summary>What the pages of roster services do beside ClassLink's way in: a folder of CSV, sign-in, notices.</summary>
public sealed class ServicePageTests(SyncedLibrary library) : IClassFixture<SyncedLibrary>
{
    private const string Csv = "/preferences/sis/oneroster-csv";
    private const string SignIn = "/preferences/sis/classlink/signin";
    private const string Notices = "/preferences/notices";

    [Fact]
    public async Task A_folder_of_CSV_is_connected_by_an_operator_alone()
    {
        using var visitor = new Visitor(library.Url);
        var folder = Path.Combine(Path.GetTempPath(), $"feed-{Guid.NewGuid():N}");
        try
        {
            Assert.Contains("Not connected", await visitor.PageAsync("/preferences/sis"), StringComparison.Ordinal);
            async Task<string> TryAsync(string at) =>
                await visitor.RefusedAsync(Csv, $"{Csv}?handler=Connect", ("mode", "Folder"), ("url", at));
            Assert.Contains("The folder is missing", await TryAsync(""), StringComparison.Ordinal);
            Assert.Contains("with its whole path", await TryAsync("feeds/riverbend"), StringComparison.Ordinal);
            Assert.Contains("notice-bad", await TryAsync(folder), StringComparison.Ordinal);

            // People are linked to ClassLink's roster: what connecting changes is for the switch to say, not for the folder.
            SandboxCsv.Write(library.Sandbox.Options, 0, new SandboxCsvOptions(), folder);
            var district = await library.SignInAsync(SecurityGroup.DistrictAdministrator, district: library.District);
            Assert.NotNull(district);
            await visitor.SubmitAsync(Csv, $"{Csv}?handler=Connect", ("mode", "Folder"), ("url", folder + "/"));
            Assert.Equal(
                folder,
                IntegrationService
                    .SettingsOf(await library.Service<IntegrationService>().FindAsync(library.District.Id, IntegrationKind.OneRosterCsv))
                    .Url
            );
            await visitor.SubmitAsync(Csv, $"{Csv}?handler=Test");
            Assert.Contains("organizations", await visitor.PageAsync($"{Csv}/sites"), StringComparison.Ordinal);
            Assert.DoesNotContain("Sign-in</a>", await visitor.PageAsync(Csv), StringComparison.Ordinal);

            // A District Administrator who is no operator reads where it is, and cannot name another.
            var (account, _) = await library
                .Service<Accounts>()
                .AddAsync("office@library.example", library.District, SecurityGroup.DistrictAdministrator, null, false, "test");
            using var office = new Visitor(
                library.Url,
                await library.Service<Sessions>().OpenAsync(account, SignInMethod.Password, null, new Device("test", null))
            );
            var page = await office.PageAsync(Csv);
            Assert.Contains("an operator of this installation chooses it", page, StringComparison.Ordinal);
            Assert.Contains(
                "Only an operator",
                await office.RefusedAsync(Csv, $"{Csv}?handler=Connect", ("mode", "Folder"), ("url", "/etc")),
                StringComparison.Ordinal
            );
            Assert.DoesNotContain("This installation at ClassLink", await office.PageAsync(SignIn), StringComparison.Ordinal);
        }
        finally
        {
            if (Directory.Exists(folder))
            {
                Directory.Delete(folder, recursive: true);
            }
        }
    }

    /// <summary>A prepared service has matches alone, and turning to it costs the other its connection: each is said by its name.</summary>
    [Fact]
    public async Task What_a_switch_clears_is_said_as_what_it_is()
    {
        const string Server = "/preferences/sis/oneroster";
        using var visitor = new Visitor(library.Url);
        var integrations = library.Service<IntegrationService>();
        var options = library.Sandbox.Options;
        await integrations.ConnectAsync(
            library.District,
            IntegrationKind.OneRoster,
            new ConnectRequest(ConnectionMode.Direct, null, library.Sandbox.Url.ToString(), options.ConsumerKey, options.ConsumerSecret),
            asOperator: true,
            clear: false,
            "test"
        );
        var site = (await library.Service<Districts.SiteService>().ListAsync(library.District.Id))[0].Code;
        var school = library.Sandbox.District.Schools.First().SourcedId;
        await integrations.MatchAsync(library.District, IntegrationKind.OneRoster, site, school, "test");
        var asked = await visitor.RefusedAsync(
            Server,
            $"{Server}?handler=Connect",
            ("mode", "Direct"),
            ("url", "https://elsewhere.example"),
            ("key", "k"),
            ("secret", "s")
        );
        Assert.Contains("Sites are matched to another roster.", asked, StringComparison.Ordinal);
        Assert.DoesNotContain("People are linked", asked, StringComparison.Ordinal);
        var services = await visitor.PageAsync("/preferences/sis");
        Assert.Contains("The connection and secret of ClassLink", services, StringComparison.Ordinal);
        Assert.Contains("ClassLink is turned off, and what ", services, StringComparison.Ordinal);
        Assert.DoesNotContain("other service", services, StringComparison.Ordinal);

        // What patrons carry is ClassLink's own: turning it on clears the matches of the other one, and finds people by their links.
        await integrations.TurnOffAsync(library.District.Id, IntegrationKind.ClassLink, "test");
        try
        {
            services = await visitor.PageAsync("/preferences/sis");
            Assert.Contains("its next sync finds them by these", services, StringComparison.Ordinal);
            Assert.DoesNotContain("0 patron GUIDs", services, StringComparison.Ordinal);
            var dashboard = await visitor.PageAsync("/");
            Assert.Contains(
                "No sync can run now.</strong> ClassLink is off. Turn it on to sync again.",
                dashboard,
                StringComparison.Ordinal
            );
            Assert.DoesNotContain("Connect one", dashboard, StringComparison.Ordinal);
        }
        finally
        {
            await integrations.TurnOnAsync(library.District.Id, IntegrationKind.ClassLink, clear: true, "test");
        }
    }

    /// <summary>A new secret for the roster that is read already makes no first sync of the next one.</summary>
    [Fact]
    public async Task A_secret_that_is_typed_again_forgets_no_sync()
    {
        const string ClassLink = "/preferences/sis/classlink";
        using var visitor = new Visitor(library.Url);
        await visitor.SubmitAsync(
            ClassLink,
            $"{ClassLink}?handler=Connect",
            ("mode", "Proxy"),
            ("tenantId", library.Sandbox.Options.TenantId),
            ("url", library.Sandbox.Url.ToString())
        );
        Assert.DoesNotContain("The way to the first sync", await visitor.PageAsync(ClassLink), StringComparison.Ordinal);
        var state = IntegrationService.StateOf(
            await library.Service<IntegrationService>().FindAsync(library.District.Id, IntegrationKind.ClassLink)
        );
        Assert.NotNull(state.LastFullAt);
        Assert.NotNull(state.FullDue);
    }

    [Fact]
    public async Task Sign_in_with_ClassLink_is_turned_on_and_off_here()
    {
        using var visitor = new Visitor(library.Url);
        Assert.Contains("does not know this installation yet", await visitor.PageAsync(SignIn), StringComparison.Ordinal);
        Assert.Contains(
            $"{library.Url.GetLeftPart(UriPartial.Authority)}/signin/classlink/callback",
            await visitor.PageAsync(SignIn),
            StringComparison.Ordinal
        );
        var unknown = await visitor.RefusedAsync(SignIn, $"{SignIn}?handler=SignIn", ("on", "yes"));
        Assert.Contains("does not know this installation yet. Give the application's id and secret", unknown, StringComparison.Ordinal);
        Assert.DoesNotContain("--client", unknown, StringComparison.Ordinal);
        Assert.False((await LoginAsync()).On);

        await visitor.SubmitAsync(
            SignIn,
            $"{SignIn}?handler=Client",
            ("clientId", "app-1"),
            ("clientSecret", "a-secret-of-the-application"),
            ("tiles", "accept")
        );
        var client = await library.Service<ClassLinkSignIn>().ClientAsync();
        Assert.Equal(("app-1", true), (client!.ClientId, client.AcceptTiles));
        await visitor.SubmitAsync(SignIn, $"{SignIn}?handler=SignIn", ("on", "yes"), ("byEmail", "yes"));
        Assert.Equal((true, true), ((await LoginAsync()).On, (await LoginAsync()).ByEmail));
        var page = await visitor.PageAsync(SignIn);
        Assert.DoesNotContain("a-secret-of-the-application", page, StringComparison.Ordinal);
        Assert.Contains("value=\"app-1\"", page, StringComparison.Ordinal);

        // Another window turned it off meanwhile: saving the other tick does not turn it on again.
        (string, string)[] was = [("opened", "yes"), ("wasOn", "yes"), ("wasByEmail", "yes")];
        Assert.All(was, f => Assert.Contains($"name=\"{f.Item1}\" value=\"{f.Item2}\"", page, StringComparison.Ordinal));
        await visitor.SubmitAsync(SignIn, $"{SignIn}?handler=SignIn", [.. was, ("byEmail", "yes")]);
        await visitor.SubmitAsync(SignIn, $"{SignIn}?handler=SignIn", [.. was, ("on", "yes")]);
        Assert.Equal((false, false), ((await LoginAsync()).On, (await LoginAsync()).ByEmail));
        await visitor.SubmitAsync(SignIn, $"{SignIn}?handler=SignIn", [.. was, ("on", "yes"), ("byEmail", "yes")]);
        Assert.Contains("nothing was changed", await visitor.PageAsync(SignIn), StringComparison.Ordinal);
        await visitor.SubmitAsync(SignIn, $"{SignIn}?handler=SignIn", ("on", "yes"), ("byEmail", "yes"));
        Assert.Equal((true, true), ((await LoginAsync()).On, (await LoginAsync()).ByEmail));

        // A blank secret keeps the one there is.
        await visitor.SubmitAsync(SignIn, $"{SignIn}?handler=Client", ("clientId", "app-2"), ("tiles", "restart"));
        var kept = await library.Service<ClassLinkSignIn>().ClientAsync();
        Assert.Equal(("app-2", client.Secret, false), (kept!.ClientId, kept.Secret, kept.AcceptTiles));
        await visitor.SubmitAsync(SignIn, $"{SignIn}?handler=SignIn");
        Assert.Equal((false, false), ((await LoginAsync()).On, (await LoginAsync()).ByEmail));
    }

    [Fact]
    public async Task Notices_are_set_tested_and_listed()
    {
        using var visitor = new Visitor(library.Url);
        Assert.Contains("Nothing has been sent yet", await visitor.PageAsync(Notices), StringComparison.Ordinal);
        var odd = await visitor.RefusedAsync(
            Notices,
            Notices,
            ("emails", "office"),
            ("events", nameof(NoticeEvents.Completed)),
            ("webhook", "https://hook.example/typed"),
            ("secret", "not-to-be-shown-again")
        );
        Assert.Contains("no email address", odd, StringComparison.Ordinal);
        Assert.Contains(">office</textarea>", odd, StringComparison.Ordinal);
        Assert.Contains("https://hook.example/typed", odd, StringComparison.Ordinal);
        Assert.Contains("value=\"Completed\" checked", odd, StringComparison.Ordinal);
        Assert.DoesNotContain("value=\"Failed\" checked", odd, StringComparison.Ordinal);
        Assert.DoesNotContain("not-to-be-shown-again", odd, StringComparison.Ordinal);
        var lacking = await visitor.RefusedAsync(Notices, Notices, ("emails", ""), ("webhook", "https://hook.example/typed"));
        Assert.Contains("A webhook needs a secret", lacking, StringComparison.Ordinal);
        Assert.DoesNotContain("--webhook", lacking, StringComparison.Ordinal);
        await visitor.SubmitAsync(
            Notices,
            Notices,
            ("emails", "office@school.example\r\nlibrary@school.example"),
            ("events", nameof(NoticeEvents.Failed)),
            ("events", nameof(NoticeEvents.Warnings))
        );
        var setting = await library.Service<NoticeService>().FindAsync(library.District.Id);
        Assert.Equal(["office@school.example", "library@school.example"], setting.Addresses);
        Assert.Equal(NoticeEvents.Failed | NoticeEvents.Warnings, setting.Events);

        // Two windows: each adds an address and a tick, and takes away what it saw; neither undoes the other.
        var form = System.Net.WebUtility.HtmlDecode(await visitor.PageAsync(Notices));
        (string, string)[] was =
        [
            ("opened", "yes"),
            ("wasEmails", "office@school.example\nlibrary@school.example"),
            ("wasEvents", nameof(NoticeEvents.Failed)),
            ("wasEvents", nameof(NoticeEvents.Warnings)),
            ("wasWebhook", ""),
        ];
        Assert.All(was, f => Assert.Contains($"name=\"{f.Item1}\" value=\"{f.Item2}\"", form, StringComparison.Ordinal));
        (string, string) failed = ("events", nameof(NoticeEvents.Failed));
        await visitor.SubmitAsync(
            Notices,
            Notices,
            [.. was, failed, ("emails", "office@school.example\r\nlibrary@school.example\r\nfirst@school.example")]
        );
        await visitor.SubmitAsync(
            Notices,
            Notices,
            [
                .. was,
                failed,
                ("events", nameof(NoticeEvents.Warnings)),
                ("events", nameof(NoticeEvents.Held)),
                ("emails", "library@school.example\r\nsecond@school.example"),
            ]
        );
        setting = await library.Service<NoticeService>().FindAsync(library.District.Id);
        Assert.Equal(["library@school.example", "first@school.example", "second@school.example"], setting.Addresses);
        Assert.Equal(NoticeEvents.Failed | NoticeEvents.Held, setting.Events);
        await visitor.SubmitAsync(
            Notices,
            Notices,
            [.. was, failed, ("events", nameof(NoticeEvents.Warnings)), ("emails", "office@school.example\nlibrary@school.example")]
        );
        Assert.Contains("nothing was changed", await visitor.PageAsync(Notices), StringComparison.Ordinal);
        await visitor.SubmitAsync(Notices, Notices, ("emails", "office@school.example\r\nlibrary@school.example"), failed);

        // No mail server is known to this installation: the test says so, and the list keeps it.
        await visitor.SubmitAsync(Notices, $"{Notices}?handler=Test");
        var page = await visitor.PageAsync(Notices);
        Assert.Contains("2 tests of 2 did not arrive", page, StringComparison.Ordinal);
        Assert.Contains("a test of notices", await visitor.PageAsync(Notices), StringComparison.Ordinal);
        await visitor.SubmitAsync(Notices, Notices, ("emails", ""));
        Assert.Empty((await library.Service<NoticeService>().FindAsync(library.District.Id)).Addresses);
    }

    private async Task<ClassLinkLogin> LoginAsync() =>
        IntegrationService
            .SettingsOf(await library.Service<IntegrationService>().FindAsync(library.District.Id, IntegrationKind.ClassLink))
            .Login;
}
