using System.Net;
using System.Text.RegularExpressions;
using Microsoft.AspNetCore.Mvc.Infrastructure;
using Microsoft.AspNetCore.Mvc.RazorPages;
using Microsoft.AspNetCore.Mvc.RazorPages.Infrastructure;
using Microsoft.AspNetCore.Routing;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.DependencyInjection;
using Rollcall.Districts;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Pages;

public sealed class SqliteAccessTests(SignInLibrary library) : AccessTests(library), IClassFixture<SignInLibrary>;

public sealed class PostgresAccessTests(PostgresSignInLibrary library) : AccessTests(library), IClassFixture<PostgresSignInLibrary>
{
    // The table is the same program's; what PostgreSQL adds is its lock between districts.
    protected override bool IsOfStrangersAlone => true;
}

/// <summary>Every route × every group × another district, from the routes that the server really has.</summary>
public abstract partial class AccessTests(SignInLibrary library)
{
    private sealed record Route(string Name, string Path, HttpMethod Method);

    /// <summary>Only those are tried who belong to another district, or are limited to a site.</summary>
    protected virtual bool IsOfStrangersAlone => false;

    [Fact]
    public void Every_route_of_the_server_is_in_the_table_and_every_line_of_the_table_is_a_route()
    {
        // A route that is missing here is refused to everybody: add a line to Access.
        Assert.Equal(Access.Routes.Order(StringComparer.Ordinal), Routes().Select(r => r.Name).Distinct().Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task Nobody_gets_what_the_table_does_not_give_them()
    {
        var other = await library.Service<DistrictService>().AddAsync($"OTHER{Guid.NewGuid():N}"[..12], "Another district", null, "test");
        (string Who, Need Most, string? Session)[] people =
        [
            ("nobody", Need.Anyone, null),
            ("a forged session", Need.Anyone, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            ("a session that is over", Need.Anyone, await OverAsync()),
            ("student aide by ClassLink", Need.StudentAide, await LinkedAsync(SecurityGroup.StudentAide)),
            ("librarian by ClassLink", Need.Librarian, await LinkedAsync(SecurityGroup.Librarian)),
            ("district administrator by ClassLink", Need.DistrictAdministrator, await LinkedAsync(SecurityGroup.DistrictAdministrator)),
            ("patron limited", Need.PatronLimited, await PatronAsync(SecurityGroup.PatronLimited)),
            ("patron", Need.PatronLimited, await PatronAsync(SecurityGroup.Patron)),
            ("student aide", Need.StudentAide, await library.SignInAsync(SecurityGroup.StudentAide, "S01")),
            ("librarian", Need.Librarian, await library.SignInAsync(SecurityGroup.Librarian, "S01")),
            ("library administrator", Need.LibraryAdministrator, await library.SignInAsync(SecurityGroup.LibraryAdministrator)),
            (
                "administrator of another district",
                Need.DistrictAdministrator,
                await library.SignInAsync(SecurityGroup.DistrictAdministrator, district: other)
            ),
        ];
        var names = (
            await library.Service<PatronService>().PageAsync(library.District.Id, new PatronFilter(), PatronSort.Name, false, 1, 1000)
        ).Patrons;
        var files = 0;
        foreach (
            var (who, most, session) in people.Where(p =>
                !IsOfStrangersAlone || p.Who is "librarian" or "patron" || p.Who.Contains("another", StringComparison.Ordinal)
            )
        )
        {
            foreach (var route in Pages().Where(r => r.Method == HttpMethod.Get && r.Name != "/operations/events Get"))
            {
                using var visitor = new Visitor(library.Url, session);
                var need = Access.Of(route.Name)!.Value;
                var (status, body, response) = await visitor.GetAsync($"{route.Path}{(route.Path.Contains('?') ? '&' : '?')}district=DEMO");
                var allowed =
                    need == Need.Anyone
                    || (
                        session is not null
                        && most != Need.Anyone
                        && (need == Need.SignedIn || (need >= Need.PatronLimited && most >= need))
                    );
                if (!allowed)
                {
                    var to = response.Headers.Location?.ToString();
                    Assert.True(
                        (
                            status == HttpStatusCode.Forbidden
                            || (
                                status == HttpStatusCode.Redirect
                                && to is not null
                                && (to.StartsWith("/signin", StringComparison.Ordinal) || to is "/me" or "/aide" or "/welcome")
                            )
                        ),
                        $"{who} got {status} {to} from {route.Name}"
                    );
                }
                else
                {
                    Assert.True(
                        (status is HttpStatusCode.OK or HttpStatusCode.Redirect or HttpStatusCode.NotFound)
                            && (
                                need == Need.Anyone
                                || response.Headers.Location?.ToString().StartsWith("/signin", StringComparison.Ordinal) != true
                            ),
                        $"{who} got {status} {response.Headers.Location} from {route.Name}"
                    );
                }

                if (most is Need.Anyone || who.Contains("another", StringComparison.Ordinal))
                {
                    Nothing(body, response);
                    if (allowed)
                    {
                        // In their own district the same addresses lead to their own.
                        var (_, theirs, answer) = await visitor.GetAsync(route.Path);
                        Nothing(theirs, answer);
                    }
                }
            }

            // The stream has no end: what it begins with tells.
            using (var http = new HttpClient(new HttpClientHandler { AllowAutoRedirect = false }) { BaseAddress = library.Url })
            {
                using var request = new HttpRequestMessage(HttpMethod.Get, "/operations/events?district=DEMO&open=");
                request.Headers.Add("Cookie", $"rollcall-session={session}");
                request.Headers.Add("Accept", "text/event-stream");
                using var stream = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
                var sees = most >= Need.Librarian && !who.Contains("another", StringComparison.Ordinal);
                Assert.True(
                    sees
                        ? stream.StatusCode == HttpStatusCode.OK
                        : stream.StatusCode is HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden or HttpStatusCode.NotFound,
                    $"{who} got {stream.StatusCode} from the stream"
                );
            }

            foreach (var route in Pages().Where(r => r.Method == HttpMethod.Post))
            {
                var need = Access.Of(route.Name)!.Value;
                if (
                    need == Need.Anyone
                    || (
                        session is not null
                        && most != Need.Anyone
                        && (need == Need.SignedIn || (need >= Need.PatronLimited && most >= need))
                    )
                )
                {
                    continue;
                }

                using var visitor = new Visitor(library.Url, session);
                var token = await TokenAsync(visitor);
                using var response = await visitor.PostAsync(route.Path, ("__RequestVerificationToken", token));
                Assert.True(
                    response.StatusCode is HttpStatusCode.Forbidden or HttpStatusCode.Unauthorized
                        || (
                            response.StatusCode == HttpStatusCode.Redirect
                            && response.Headers.Location?.ToString() is "/signin" or "/welcome"
                        ),
                    $"{who} got {response.StatusCode} {response.Headers.Location} from {route.Name}"
                );
            }
        }

        // Files, as the links of pages ask for them: of their own district, in which nobody is, and none that names somebody of this one.
        using (var another = new Visitor(library.Url, people[^1].Session))
        {
            foreach (
                var path in (string[])
                    [
                        "/patron/export?format=csv",
                        "/patron/export?format=jsonl",
                        "/operations/1/download?format=csv",
                        "/patron/data?barcode=ACCESS-1",
                    ]
            )
            {
                var (_, body, response) = await another.GetAsync(path);
                Nothing(body, response);
            }
        }

        Assert.True(files > 0, "Another district's administrator got no file that could be looked into.");

        void Nothing(string body, HttpResponseMessage response)
        {
            Assert.DoesNotContain(library.District.Name, body, StringComparison.Ordinal);
            Assert.DoesNotContain(names, n => body.Contains($">{n.Barcode}<", StringComparison.Ordinal));
            if (response.Content.Headers.ContentDisposition is null)
            {
                return;
            }

            // A file has no tags around what it says.
            files++;
            var words = body.Split([',', ';', '"', ' ', '\t', '\r', '\n', ':']).ToHashSet(StringComparer.Ordinal);
            Assert.DoesNotContain(names, n => words.Contains(n.Barcode));
        }
    }

    [Fact]
    public async Task Librarians_and_aides_see_people_of_their_own_sites_alone()
    {
        var all = (
            await library.Service<PatronService>().PageAsync(library.District.Id, new PatronFilter(), PatronSort.Name, false, 1, 1000)
        ).Patrons;
        var sites = (await library.Service<SiteService>().ListAsync(library.District.Id)).ToDictionary(s => s.Id, s => s.Code);
        var mine = all.First(p => p.SiteId is { } id && sites[id] == "S01" && p is { Birthdate: not null, CommunityId: not null });
        var theirs = all.First(p => p.SiteId is { } id && sites[id] == "S02" && p is { Email: not null, CommunityId: not null });

        using var librarian = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.Librarian, "S01"));
        Assert.Contains(mine.CommunityId!, await librarian.PageAsync($"/patrons/{mine.Barcode}"), StringComparison.Ordinal);
        var (status, hidden, _) = await librarian.GetAsync($"/patrons/{theirs.Barcode}");
        Assert.Equal(HttpStatusCode.NotFound, status);
        var (_, nobody, _) = await librarian.GetAsync("/patrons/NOSUCH");
        Assert.Equal(Content(nobody).Replace("NOSUCH", theirs.Barcode, StringComparison.Ordinal), Content(hidden));
        foreach (
            var path in (string[])
                [
                    "/",
                    $"/patrons?q={theirs.Barcode}",
                    "/patrons?site=S02",
                    "/operations/1",
                    "/operations/1?site=S02",
                    "/review",
                    "/lists/arrivals",
                    "/lists/arrivals?site=S02",
                ]
        )
        {
            Assert.DoesNotContain($">{theirs.Barcode}<", await librarian.PageAsync(path), StringComparison.Ordinal);
        }

        // A school prints its own lists, and is told which version this is, but not of the installation.
        Assert.Contains($">{mine.Barcode}<", await librarian.PageAsync("/lists/arrivals"), StringComparison.Ordinal);
        Assert.DoesNotContain("S02", await librarian.PageAsync("/lists/leavers"), StringComparison.Ordinal);
        var about = await librarian.PageAsync("/about");
        Assert.Contains("Version", about, StringComparison.Ordinal);
        Assert.DoesNotContain("Runs on", about, StringComparison.Ordinal);
        Assert.DoesNotContain("Operations on record", about, StringComparison.Ordinal);
        Assert.DoesNotContain("a change made here", await librarian.PageAsync($"/patrons/{mine.Barcode}"), StringComparison.Ordinal);
        Assert.DoesNotContain("Sync Now", await librarian.PageAsync("/"), StringComparison.Ordinal);
        Assert.DoesNotContain("Preferences", await librarian.PageAsync("/"), StringComparison.Ordinal);
        Assert.DoesNotContain("type=\"checkbox\" name=\"b\"", await librarian.PageAsync("/patrons"), StringComparison.Ordinal);

        using var aide = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.StudentAide, "S01"));
        var list = await aide.PageAsync($"/aide?q={mine.Barcode}");
        Assert.Contains($">{mine.Barcode}<", list, StringComparison.Ordinal);
        Assert.DoesNotContain(mine.CommunityId!, list, StringComparison.Ordinal);
        Assert.DoesNotContain("/patrons/", list, StringComparison.Ordinal);

        // What is not shown is not found either.
        var searched = await aide.PageAsync($"/aide?q={Uri.EscapeDataString(mine.CommunityId!)}");
        Assert.DoesNotContain($">{mine.Barcode}<", searched, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_patron_sees_their_own_record_and_a_limited_one_less_of_it()
    {
        using var patron = new Visitor(library.Url, await PatronAsync(SecurityGroup.Patron));
        Assert.Contains("Birthdate", await patron.PageAsync("/me"), StringComparison.Ordinal);

        // All that is theirs, where there is something, and not what staff write to each other.
        Assert.DoesNotContain("Nickname", await patron.PageAsync("/me"), StringComparison.Ordinal);
        await library
            .Service<PatronService>()
            .EditAsync(library.District.Id, "ACCESS-1", [new("nickname", "Acci"), new("notes", "owes a book")], "test");
        Assert.Contains("Acci", await patron.PageAsync("/me"), StringComparison.Ordinal);
        Assert.DoesNotContain("owes a book", await patron.PageAsync("/me"), StringComparison.Ordinal);
        Assert.Equal("/me", (await patron.GetAsync("/")).Response.Headers.Location?.ToString());
        using var limited = new Visitor(library.Url, await PatronAsync(SecurityGroup.PatronLimited));
        var own = await limited.PageAsync("/me");
        Assert.Contains("ACCESS-2", own, StringComparison.Ordinal);
        Assert.DoesNotContain("Birthdate", own, StringComparison.Ordinal);
        Assert.DoesNotContain("ACCESS-1", own, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Rights_are_read_anew_and_sessions_end()
    {
        var session = await PatronAsync(SecurityGroup.Patron);
        using var patron = new Visitor(library.Url, session);
        await patron.PageAsync("/me");
        await library.Service<PatronService>().EditAsync(library.District.Id, "ACCESS-1", [new("status", "Transferred")], "test");
        Assert.StartsWith("/signin", (await patron.GetAsync("/me")).Response.Headers.Location!.ToString(), StringComparison.Ordinal);
        await library.Service<PatronService>().EditAsync(library.District.Id, "ACCESS-1", [new("status", "Active")], "test");
        await patron.PageAsync("/me");
        Assert.Equal("/signin", await patron.SubmitAsync("/me", "/signout"));
        Assert.Null(patron.Session);
        using var thief = new Visitor(library.Url, session);
        Assert.StartsWith("/signin", (await thief.GetAsync("/me")).Response.Headers.Location!.ToString(), StringComparison.Ordinal);
    }

    /// <summary>Whose rights come from their own record sees by it: an aide the site that they are of, a librarian those of their site access.</summary>
    [Theory]
    [InlineData(SecurityGroup.StudentAide, "/aide")]
    [InlineData(SecurityGroup.Librarian, "/patrons")]
    public async Task Whoever_comes_by_ClassLink_sees_people_of_their_own_sites_alone(SecurityGroup group, string list)
    {
        using var visitor = new Visitor(library.Url, await LinkedAsync(group));
        var all = (
            await library.Service<PatronService>().PageAsync(library.District.Id, new PatronFilter(), PatronSort.Name, false, 1, 1000)
        ).Patrons;
        var sites = (await library.Service<SiteService>().ListAsync(library.District.Id)).ToDictionary(s => s.Id, s => s.Code);
        var mine = all.First(p => p.SiteId is { } id && sites[id] == "S01");
        var theirs = all.First(p => p.SiteId is { } id && sites[id] == "S02");
        Assert.Contains($">{mine.Barcode}<", await visitor.PageAsync($"{list}?q={mine.Barcode}"), StringComparison.Ordinal);
        Assert.DoesNotContain($">{theirs.Barcode}<", await visitor.PageAsync($"{list}?q={theirs.Barcode}"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_operator_leaves_a_district_again_by_themselves()
    {
        var other = await library.Service<DistrictService>().AddAsync($"LEAVE{Guid.NewGuid():N}"[..12], "Entered", null, "test");
        using var visitor = new Visitor(library.Url);
        await visitor.SubmitAsync("/welcome", "/welcome?handler=Enter", ("district", other.Code));
        Assert.Contains("Entered", await visitor.PageAsync($"/?district={other.Code}"), StringComparison.Ordinal);

        // It says before what goes with it.
        await visitor.RefusedAsync(
            "/preferences/tokens",
            "/preferences/tokens?handler=Create",
            ("name", "Left behind"),
            ("group", "LibraryAdministrator"),
            ("scope", "patrons:read"),
            ("days", "3")
        );
        Assert.Contains("1 access token that you made there ends.", await visitor.PageAsync("/welcome"), StringComparison.Ordinal);
        Assert.Equal("/welcome", await visitor.SubmitAsync("/welcome", "/welcome?handler=Leave", ("district", other.Code)));
        Assert.DoesNotContain(await library.Service<Rollcall.SignIn.Accounts>().ListAsync(other.Id), a => a.Memberships.Count > 0);
        var (lines, _) = await library.Service<Audit.AuditLog>().PageAsync(other.Id, new Audit.AuditFilter(Search: "no more"), 1, 5);
        Assert.Single(lines);

        // Nobody else goes that way.
        using var admin = new Visitor(library.Url, await library.SignInAsync(SecurityGroup.LibraryAdministrator));
        using var refused = await admin.PostAsync("/welcome?handler=Leave", ("district", "DEMO"));
        Assert.NotEqual(HttpStatusCode.OK, refused.StatusCode);
    }

    [Fact]
    public async Task A_page_that_stands_open_keeps_nobody_signed_in()
    {
        var session = await library.SignInAsync(SecurityGroup.LibraryAdministrator);
        await using var context = library.Service<Storage.RollcallDatabase>().CreateContext();
        var id = Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(session)));
        var seen = TimeProvider.System.GetUtcNow() - TimeSpan.FromMinutes(29);
        await context.SignInSessions.Where(s => s.Id == id).ExecuteUpdateAsync(s => s.SetProperty(x => x.SeenAt, seen));
        var before = await SeenAsync();
        using var visitor = new Visitor(library.Url, session);
        foreach (var path in (string[])["/", "/operations"])
        {
            var (status, _, _) = await visitor.GetAsync(path, null, ("HX-Request", "true"));
            Assert.Equal(HttpStatusCode.OK, status);
            Assert.Equal(before, await SeenAsync());
        }

        // The stream answers at once, though it has nothing to tell for its first 15 seconds.
        using (var http = new HttpClient { BaseAddress = library.Url, Timeout = TimeSpan.FromSeconds(12) })
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, "/operations/events?district=DEMO&open=");
            request.Headers.Add("Cookie", $"rollcall-session={session}");
            request.Headers.Add("Accept", "text/event-stream");
            using var stream = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
            Assert.Equal(HttpStatusCode.OK, stream.StatusCode);
            Assert.Equal("no", Assert.Single(stream.Headers.GetValues("X-Accel-Buffering")));
            Assert.Equal(before, await SeenAsync());
        }

        // Whoever opens a page does use it.
        await visitor.PageAsync("/");
        Assert.True(before < await SeenAsync());

        Task<DateTimeOffset> SeenAsync() => context.SignInSessions.Where(s => s.Id == id).Select(s => s.SeenAt).SingleAsync();
    }

    /// <summary>A form may take its time to arrive: what counts is who its sender is when all of it is there.</summary>
    [Theory]
    [InlineData("signed out", HttpStatusCode.Unauthorized)]
    [InlineData("locked", HttpStatusCode.Unauthorized)]
    [InlineData("no place", HttpStatusCode.Forbidden)]
    [InlineData("less rights", HttpStatusCode.Forbidden)]
    public async Task A_form_that_arrives_after_the_rights_behind_it_ended_is_not_carried_out(string how, HttpStatusCode answer)
    {
        var sessions = library.Service<Rollcall.SignIn.Sessions>();
        var accounts = library.Service<Rollcall.SignIn.Accounts>();
        var desk = library.Service<Rollcall.SignIn.AccountDesk>();
        var email = $"leaving-{how.Replace(' ', '-')}@library.example";
        var (account, _) = await accounts.AddAsync(email, library.District, SecurityGroup.DistrictAdministrator, null, false, "test");
        var session = await sessions.OpenAsync(
            account,
            Rollcall.SignIn.SignInMethod.Password,
            null,
            new Rollcall.SignIn.Device("test", null)
        );
        var by = (await sessions.FindAsync(await library.SignInAsync(SecurityGroup.DistrictAdministrator)))!;
        using var visitor = new Visitor(library.Url, session);
        var asked = false;
        using var response = await visitor.PostLateAsync(
            "/accounts",
            "/accounts?handler=Add",
            async () =>
            {
                asked = true;
                switch (how)
                {
                    case "signed out":
                        await sessions.EndAsync(session);
                        break;
                    case "locked":
                        await desk.LockAsync(library.District, account.Id, by);
                        break;
                    case "no place":
                        await desk.RemoveAsync(library.District, account.Id, by);
                        break;
                    default:
                        await accounts.AddAsync(email, library.District, SecurityGroup.Librarian, "S01", false, "test");
                        break;
                }
            },
            ("email", $"heir-of-{email}"),
            ("group", nameof(SecurityGroup.DistrictAdministrator))
        );
        Assert.True(asked);
        Assert.DoesNotContain("/link?code=", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        Assert.Equal(answer, response.StatusCode);
        Assert.DoesNotContain(await accounts.ListAsync(null), a => a.Email == $"heir-of-{email}");
    }

    [Fact]
    public async Task A_password_that_arrives_after_its_session_ended_opens_no_other_one()
    {
        const string password = "a password for those who leave";
        var sessions = library.Service<Rollcall.SignIn.Sessions>();
        var accounts = library.Service<Rollcall.SignIn.Accounts>();
        var (_, code) = await accounts.AddAsync(
            "late@library.example",
            library.District,
            SecurityGroup.LibraryAdministrator,
            null,
            false,
            "test"
        );
        var account = await accounts.UseAsync(code, null, password);
        var session = await sessions.OpenAsync(
            account,
            Rollcall.SignIn.SignInMethod.Password,
            null,
            new Rollcall.SignIn.Device("test", null)
        );
        var who = (await sessions.FindAsync(session))!;
        using var visitor = new Visitor(library.Url, session);
        using var response = await visitor.PostLateAsync(
            "/account",
            "/account?handler=Password",
            () => sessions.EndAsync(who, null),
            ("present", password),
            ("password", "another one of those who leave"),
            ("again", "another one of those who leave")
        );
        Assert.Equal(HttpStatusCode.Unauthorized, response.StatusCode);
        Assert.Equal(Rollcall.SignIn.PasswordAnswer.Right, (await accounts.CheckAsync("late@library.example", password, null)).Answer);
        Assert.Empty(await sessions.ListAsync(who));
    }

    /// <summary>A page that stands open all day is one request, whose rights are looked at as those of any other.</summary>
    [Theory]
    [InlineData("signed out")]
    [InlineData("less rights")]
    [InlineData("idle")]
    public async Task A_live_page_ends_with_the_rights_of_whoever_opened_it(string how)
    {
        var sessions = library.Service<Rollcall.SignIn.Sessions>();
        var accounts = library.Service<Rollcall.SignIn.Accounts>();
        var email = $"live-{how.Replace(' ', '-')}@library.example";
        var (account, _) = await accounts.AddAsync(email, library.District, SecurityGroup.Librarian, "S01", false, "test");
        var device = new Rollcall.SignIn.Device("test", null);
        var token = await sessions.OpenAsync(account, Rollcall.SignIn.SignInMethod.Password, null, device);
        await using var confined = Rollcall.Storage.Confinement.Begin();
        using var scope = library.Server.Services.CreateScope();
        using var left = new CancellationTokenSource();
        using var body = new MemoryStream();
        var http = new Microsoft.AspNetCore.Http.DefaultHttpContext
        {
            RequestServices = scope.ServiceProvider,
            RequestAborted = left.Token,
        };
        http.Request.Path = LiveEvents.Path;
        http.Request.QueryString = new($"?district={library.District.Code}&open=");
        http.Request.Headers.Cookie = $"{SessionCookie.PlainName}={token}";
        http.Response.Body = body;
        http.Features.Set((await sessions.FindAsync(token))!);
        var time = new ShiftedTime(TimeProvider.System.GetUtcNow());
        var stream = LiveEvents.StreamAsync(
            http,
            scope.ServiceProvider.GetRequiredService<Here>(),
            library.Service<LiveOperations>(),
            sessions,
            library.Service<Microsoft.Extensions.Hosting.IHostApplicationLifetime>(),
            time
        );
        time.MoveTo(time.GetUtcNow() + TimeSpan.FromMinutes(2));
        await Task.Delay(TimeSpan.FromSeconds(1.5));
        Assert.False(stream.IsCompleted);
        await using (var context = library.Service<Rollcall.Storage.RollcallDatabase>().CreateContextAsOwner())
        {
            switch (how)
            {
                case "signed out":
                    await sessions.EndAsync(token);
                    break;
                case "less rights":
                    await accounts.AddAsync(email, library.District, SecurityGroup.StudentAide, "S01", false, "test");
                    break;
                default:
                    // An open page is no use of a session.
                    var seen = TimeProvider.System.GetUtcNow() - Rollcall.SignIn.Sessions.Idle;
                    await context
                        .SignInSessions.Where(s => s.AccountId == account.Id)
                        .ExecuteUpdateAsync(s => s.SetProperty(x => x.SeenAt, seen));
                    break;
            }
        }

        time.MoveTo(time.GetUtcNow() + TimeSpan.FromMinutes(2));
        await stream.WaitAsync(TimeSpan.FromSeconds(20));
        Assert.False(left.IsCancellationRequested);
    }

    [Fact]
    public async Task What_was_typed_while_the_sign_in_ended_is_sent_again_by_whoever_signed_in_since()
    {
        const string page = "/patron/edit";
        (string, string)[] typed = [("lastName", "Überlang & <Söhne>"), ("barcode", "AGAIN-1"), ("secret", "not-to-be-shown")];
        var session = await library.SignInAsync(SecurityGroup.LibraryAdministrator);
        using var visitor = new Visitor(library.Url, session);
        var token = Visitor.TokenOf(await visitor.PageAsync(page));
        await library.Service<Rollcall.SignIn.Sessions>().EndAsync(session);
        var ended = await ReadAsync(await visitor.PostAsync(page, [.. typed, token]), HttpStatusCode.Unauthorized);
        Assert.Contains("You have been signed out", ended, StringComparison.Ordinal);
        Assert.Contains("value=\"Überlang & <Söhne>\"", ended, StringComparison.Ordinal);
        Assert.Contains("Passwords and secrets are not kept", ended, StringComparison.Ordinal);
        Assert.DoesNotContain("not-to-be-shown", ended, StringComparison.Ordinal);

        // The form of the old sign-in is not taken by itself: whoever is signed in now is asked.
        visitor.Enter(await library.SignInAsync(SecurityGroup.LibraryAdministrator));
        var asked = await ReadAsync(await visitor.PostAsync(page, [.. typed, token]), HttpStatusCode.BadRequest);
        Assert.Contains("Send it again as ", asked, StringComparison.Ordinal);
        Assert.Contains("value=\"AGAIN-1\"", asked, StringComparison.Ordinal);
        using (var sent = await visitor.PostAsync(page, [.. typed, Visitor.TokenOf(asked)]))
        {
            Assert.Equal(HttpStatusCode.Redirect, sent.StatusCode);
        }

        Assert.Equal(
            "Überlang & <Söhne>",
            (await library.Service<PatronService>().GetAsync(library.District.Id, "AGAIN-1")).Patron.LastName
        );

        // What another site sends does not wait here for a press of our own button.
        foreach (var site in new[] { "cross-site", "same-site" })
        {
            var foreign = await ReadAsync(await visitor.PostFromAsync(site, page, typed), HttpStatusCode.BadRequest);
            Assert.DoesNotContain("Send it again", foreign, StringComparison.Ordinal);
        }

        static async Task<string> ReadAsync(HttpResponseMessage response, HttpStatusCode status)
        {
            using (response)
            {
                Assert.Equal(status, response.StatusCode);
                return WebUtility.HtmlDecode(await response.Content.ReadAsStringAsync());
            }
        }
    }

    [Fact]
    public async Task A_link_sets_a_password_and_the_second_factor_is_asked_all_the_same()
    {
        var accounts = library.Service<Rollcall.SignIn.Accounts>();
        var (account, code) = await accounts.AddAsync(
            "factor@library.example",
            library.District,
            SecurityGroup.LibraryAdministrator,
            null,
            false,
            "test"
        );
        await using (var context = library.Service<Rollcall.Storage.RollcallDatabase>().CreateContextAsOwner())
        {
            await context.Accounts.Where(a => a.Id == account.Id).ExecuteUpdateAsync(s => s.SetProperty(a => a.TwoFactorEnabled, true));
        }

        using var visitor = new Visitor(library.Url, null);
        const string password = "a password by a link";
        var to = await visitor.SubmitAsync(
            $"/link?code={code}",
            "The same again",
            "/link",
            [("code", code!), ("password", password), ("again", password)]
        );
        Assert.Equal("/signin", to);
        Assert.Null(visitor.Session);
        Assert.Contains("The password is set", await visitor.PageAsync("/signin"), StringComparison.Ordinal);

        // The operator sees what is of no district; nobody else does.
        using (var runs = new Visitor(library.Url))
        {
            var welcome = await runs.PageAsync("/welcome");
            Assert.Contains("factor@library.example", welcome, StringComparison.Ordinal);
            Assert.Contains("set by a link; every session ended", welcome, StringComparison.Ordinal);
        }

        // A link that signs in sets none.
        var into = await accounts.SignInLinkAsync(account.Id);
        Assert.Equal("/signin", await visitor.SubmitAsync($"/link?code={into}", "/link", "/link", [("code", into)]));
        Assert.Null(visitor.Session);
        var said = await visitor.PageAsync("/signin");
        Assert.DoesNotContain("The password is set", said, StringComparison.Ordinal);
        Assert.Contains("asks for a second factor", said, StringComparison.Ordinal);
        Assert.Equal(
            Rollcall.SignIn.PasswordAnswer.CodeNeeded,
            (await accounts.CheckAsync("factor@library.example", password, null)).Answer
        );
    }

    [Fact]
    public async Task An_account_that_is_locked_on_its_page_is_out_and_the_audit_says_who_did_it()
    {
        var session = await library.SignInAsync(SecurityGroup.LibraryAdministrator, district: library.District);
        var id = (await library.Service<Rollcall.SignIn.Accounts>().ListAsync(library.District.Id))
            .Single(a => a.Email.StartsWith("libraryadministrator-", StringComparison.Ordinal))
            .Id;
        using var victim = new Visitor(library.Url, session);
        await victim.PageAsync("/patrons");
        using var admin = new Visitor(library.Url);
        await admin.SubmitAsync(
            "/accounts",
            "/accounts?handler=Lock",
            ("id", id.ToString(System.Globalization.CultureInfo.InvariantCulture))
        );
        Assert.StartsWith("/signin", (await victim.GetAsync("/patrons")).Response.Headers.Location!.ToString(), StringComparison.Ordinal);
        var audit = await admin.PageAsync("/audit?what=account&q=locked");
        Assert.Contains("libraryadministrator-", audit, StringComparison.Ordinal);
        await admin.SubmitAsync(
            "/accounts",
            "/accounts?handler=Unlock",
            ("id", id.ToString(System.Globalization.CultureInfo.InvariantCulture))
        );

        // A token is shown once, and ends when it is revoked.
        var made = await admin.RefusedAsync(
            "/preferences/tokens",
            "/preferences/tokens?handler=Create",
            ("name", "By the page"),
            ("group", "LibraryAdministrator"),
            ("scope", "patrons:read"),
            ("days", "3")
        );
        var token = MadeToken().Match(made).Groups["token"].Value;
        var listed = await admin.PageAsync("/preferences/tokens");
        Assert.DoesNotContain(token, listed, StringComparison.Ordinal);

        // The newest first, and said so; a search keeps the order, and stands where one is in force.
        Assert.Matches("aria-sort=\"descending\"[^>]*><a[^>]*>Made", listed);
        var searched = await admin.PageAsync("/preferences/tokens?q=page&sort=used&order=down");
        Assert.Contains("name=\"q\"", searched, StringComparison.Ordinal);
        Assert.Contains("<input type=\"hidden\" name=\"sort\" value=\"used\">", searched, StringComparison.Ordinal);
        Assert.Contains("href=\"/preferences/tokens?sort=used&amp;order=down\">Clear", searched, StringComparison.Ordinal);
        Assert.Contains("name=\"q\"", await admin.PageAsync("/accounts?q=library"), StringComparison.Ordinal);
        Assert.Contains("name=\"q\"", await admin.PageAsync("/sites?q=s"), StringComparison.Ordinal);
        var tokens = library.Service<Rollcall.SignIn.AccessTokens>();
        var grant = (await tokens.FindAsync(token))!;
        Assert.Equal((SecurityGroup.LibraryAdministrator, Rollcall.SignIn.TokenScopes.PatronsRead), (grant.Group, grant.Scopes));
        await admin.SubmitAsync(
            "/preferences/tokens",
            "/preferences/tokens?handler=Revoke",
            ("id", grant.TokenId.ToString(System.Globalization.CultureInfo.InvariantCulture))
        );
        Assert.Null(await tokens.FindAsync(token));
    }

    private static string Content(string page) => page[page.IndexOf("<main", StringComparison.Ordinal)..];

    private async Task<string> PatronAsync(SecurityGroup group)
    {
        var barcode = group == SecurityGroup.Patron ? "ACCESS-1" : "ACCESS-2";
        var patrons = library.Service<PatronService>();
        var fields = new Dictionary<string, string?>
        {
            ["barcode"] = barcode,
            ["lastName"] = "Access",
            ["site"] = "S01",
            ["group"] = PatronFields.GroupWord(group),
        };
        Patron patron;
        try
        {
            (patron, _) = await patrons.GetAsync(library.District.Id, barcode);
        }
        catch (RollcallException)
        {
            patron = await patrons.AddAsync(library.District.Id, [.. fields], "test");
        }

        return await library
            .Service<Rollcall.SignIn.Sessions>()
            .OpenAsync(patron.DistrictId, patron.Id, Rollcall.SignIn.SignInMethod.Link, null, new Rollcall.SignIn.Device("test", null));
    }

    /// <summary>Somebody of the roster, with this group, who came by ClassLink.</summary>
    private async Task<string> LinkedAsync(SecurityGroup group)
    {
        var patrons = library.Service<PatronService>();
        await using var context = library.Service<Storage.RollcallDatabase>().CreateContext();
        var site = (await library.Service<SiteService>().ListAsync(library.District.Id)).Single(s => s.Code == "S01").Id;
        var patron = await context
            .Patrons.AsNoTracking()
            .Where(p => p.DistrictId == library.District.Id && p.Guid != null && p.SiteId == site && p.Status == PatronStatus.Active)
            .Where(p => !context.PatronLinks.Any(l => l.PatronId == p.Id && l.LoginDisabled))
            .OrderBy(p => p.Id)
            .Skip((int)group)
            .FirstAsync();
        await patrons.EditAsync(
            library.District.Id,
            patron.Barcode,
            [new("group", PatronFields.GroupWord(group)), new("siteAccess", group == SecurityGroup.Librarian ? "S01" : null)],
            "test"
        );
        return await library.SignInAsync(patron);
    }

    private async Task<string> OverAsync()
    {
        var session = await library.SignInAsync(SecurityGroup.LibraryAdministrator);
        await using var context = library.Service<Storage.RollcallDatabase>().CreateContext();
        var id = Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(session)));
        var past = TimeProvider.System.GetUtcNow() - TimeSpan.FromSeconds(1);
        await context.SignInSessions.Where(s => s.Id == id).ExecuteUpdateAsync(s => s.SetProperty(x => x.ExpiresAt, past));
        return session;
    }

    private static async Task<string> TokenAsync(Visitor visitor)
    {
        var page = await visitor.PageAsync("/signin");
        return TokenField().Match(page).Groups["token"].Value;
    }

    /// <summary>Those that browsers take; the API's are tried with tokens, in its own tests.</summary>
    private IEnumerable<Route> Pages() => Routes().Where(r => !r.Name.StartsWith("/api/", StringComparison.Ordinal));

    private List<Route> Routes()
    {
        var routes = new List<Route>();
        var pages = new PageRoutes(library);
        foreach (var page in pages.All)
        {
            var handlers = pages.HandlersOf(page);
            var path = pages.Address(page, Part);
            if (page.ViewEnginePath == "/Error")
            {
                routes.Add(new Route("/Error *", path, HttpMethod.Get));
                continue;
            }

            foreach (var handler in handlers)
            {
                var name = handler.HttpMethod + handler.Name;
                routes.Add(
                    new Route(
                        $"{page.ViewEnginePath} {name}",
                        handler.Name is null ? path : $"{path}?handler={handler.Name}",
                        handler.HttpMethod == "Get" ? HttpMethod.Get : HttpMethod.Post
                    )
                );
            }

            if (handlers.All(h => h.HttpMethod != "Get") && page.ViewEnginePath != "/SignOut")
            {
                routes.Add(new Route($"{page.ViewEnginePath} Get", path, HttpMethod.Get));
            }
        }

        foreach (var endpoint in library.Service<EndpointDataSource>().Endpoints.OfType<RouteEndpoint>())
        {
            if (endpoint.Metadata.GetMetadata<PageActionDescriptor>() is null)
            {
                foreach (var method in endpoint.Metadata.GetMetadata<HttpMethodMetadata>()?.HttpMethods ?? ["GET"])
                {
                    var get = method == "GET";
                    routes.Add(
                        new Route(
                            Access.Route(endpoint, method),
                            Fill(endpoint.RoutePattern.RawText!.Replace("{print}/{**path}", "x/icon.svg", StringComparison.Ordinal)),
                            get ? HttpMethod.Get : HttpMethod.Post
                        )
                    );
                }
            }
        }

        return routes;
    }

    /// <summary>What stands for a part of an address.</summary>
    private static string? Part(string name) =>
        name switch
        {
            "id" => "1",
            "barcode" => "ACCESS-1",
            "service" => "classlink",
            "print" => "x",
            _ => null,
        };

    private static string Fill(string template) =>
        Parameter().Replace(template, m => Part(m.Value.Trim('{', '}', '*').Split(':')[0]) ?? "").TrimEnd('/');

    [GeneratedRegex(@"\{[^}]*\}", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Parameter();

    [GeneratedRegex("id=\"new-token\">(?<token>[^<]+)<", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex MadeToken();

    [GeneratedRegex("name=\"__RequestVerificationToken\" type=\"hidden\" value=\"(?<token>[^\"]+)\"", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex TokenField();
}
