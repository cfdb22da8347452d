using System.Net;
using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Server.Pages.Parts;
using Rollcall.SignIn;
using Rollcall.Storage;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Pages;

public sealed class ClassLinkSignInTests(SignInLibrary library) : ClassLinkSignIns(library), IClassFixture<SignInLibrary>;

public sealed class PostgresClassLinkSignInTests(PostgresSignInLibrary library)
    : ClassLinkSignIns(library),
        IClassFixture<PostgresSignInLibrary>;

/// <summary>Sign-in with ClassLink, and what attackers make of it.</summary>
public abstract class ClassLinkSignIns(SignInLibrary library)
{
    private const string Callback = "/signin/classlink/callback";

    private static readonly HttpClientHandler s_still = new() { AllowAutoRedirect = false };

    private static readonly HttpClient s_classLink = new(s_still);

    [Fact]
    public async Task A_student_signs_in_by_the_button_and_the_next_one_on_the_same_machine_is_themselves()
    {
        var (first, second) = (Student(0), Student(1));
        using var visitor = new Visitor(library.Url, null);
        Assert.Contains("Sign in with ClassLink", await visitor.PageAsync("/signin"), StringComparison.Ordinal);
        Assert.Equal("/", await SignInAsync(visitor, first));
        Assert.Contains(first.FamilyName, WebUtility.HtmlDecode(await visitor.PageAsync("/me")), StringComparison.Ordinal);
        var before = visitor.Session;

        Assert.Equal("/", await SignInAsync(visitor, second));
        Assert.NotEqual(before, visitor.Session);
        var own = WebUtility.HtmlDecode(await visitor.PageAsync("/me"));
        Assert.Contains(second.GivenName, own, StringComparison.Ordinal);
        Assert.DoesNotContain(await BarcodeAsync(first), own, StringComparison.Ordinal);

        // The first one's session is over, not only out of sight.
        using var thief = new Visitor(library.Url, before);
        Assert.StartsWith("/signin", (await thief.GetAsync("/me")).Response.Headers.Location!.ToString(), StringComparison.Ordinal);

        // Out everywhere here is not out of LaunchPad.
        using var everywhere = await visitor.PostAsync("/account?handler=EndAll", Visitor.TokenOf(await visitor.PageAsync("/me")));
        Assert.Equal("/signin", everywhere.Headers.Location!.ToString());
        var said = await visitor.PageAsync("/signin");
        Assert.Contains("You are signed out everywhere.", said, StringComparison.Ordinal);
        Assert.Contains("sign out of ClassLink LaunchPad too", said, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_tile_is_begun_anew_so_that_a_planted_code_is_worth_nothing()
    {
        using var victim = new Visitor(library.Url, null);
        var planted = await CodeOfTileAsync(Student(2));
        var (status, _, response) = await victim.GetAsync($"{Callback}?code={planted}&response_type=code");
        Assert.Equal(HttpStatusCode.Redirect, status);
        Assert.StartsWith(library.Sandbox.Url.ToString(), response.Headers.Location!.ToString(), StringComparison.Ordinal);
        Assert.Null(victim.Session);
        Assert.Equal("/", await ReturnAsync(victim, response.Headers.Location!, Student(3)));
        Assert.Contains(await BarcodeAsync(Student(3)), await victim.PageAsync("/me"), StringComparison.Ordinal);
    }

    /// <summary>On a shared computer sign-ins are begun and left; that breaks no tile. One that ClassLink keeps sending back without a state is broken.</summary>
    [Fact]
    public async Task Sign_ins_that_were_left_do_not_count_as_tiles_that_go_round()
    {
        using var visitor = new Visitor(library.Url, null);
        for (var i = 0; i < 4; i++)
        {
            await visitor.GetAsync("/signin/classlink");
        }

        for (var i = 0; i < 3; i++)
        {
            var (status, _, response) = await visitor.GetAsync($"{Callback}?code=left-{i}-{Guid.NewGuid():N}");
            Assert.Equal((i, HttpStatusCode.Redirect), (i, status));
            Assert.StartsWith(library.Sandbox.Url.ToString(), response.Headers.Location!.ToString(), StringComparison.Ordinal);
        }

        using var log = Tape();
        await RefusedAsync(visitor, $"{Callback}?code=left-{Guid.NewGuid():N}", "This tile leads nowhere");
        Assert.Contains(
            log.Lines,
            l => l.Contains("3 times from 127.0.0.1", StringComparison.Ordinal) && l.Contains("--tiles accept", StringComparison.Ordinal)
        );
    }

    [Fact]
    public async Task A_session_ends_with_the_id_that_it_was_opened_for()
    {
        var student = Student(21);
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        using var visitor = new Visitor(library.Url, null);
        foreach (var now in (string?[])["somebody-else", null])
        {
            Assert.Equal("/", await SignInAsync(visitor, student));
            await visitor.PageAsync("/me");
            await context.Patrons.Where(p => p.Guid == student.SourcedId).ExecuteUpdateAsync(s => s.SetProperty(p => p.Guid, now));
            Assert.StartsWith("/signin", (await visitor.GetAsync("/me")).Response.Headers.Location!.ToString(), StringComparison.Ordinal);
            await context
                .Patrons.Where(p => p.DistrictId == library.District.Id && p.CommunityId == student.Identifier)
                .ExecuteUpdateAsync(s => s.SetProperty(p => p.Guid, student.SourcedId));
        }
    }

    [Fact]
    public async Task An_accepted_tile_never_takes_the_place_of_somebody_else()
    {
        await TilesAsync(accept: true);
        try
        {
            using var visitor = new Visitor(library.Url, null);
            var code = await CodeOfTileAsync(Student(4));
            Assert.Equal("/", (await visitor.GetAsync($"{Callback}?code={code}&response_type=code")).Response.Headers.Location!.ToString());
            var session = visitor.Session;
            Assert.Contains(await BarcodeAsync(Student(4)), await visitor.PageAsync("/me"), StringComparison.Ordinal);

            await RefusedAsync(visitor, $"{Callback}?code={code}&response_type=code", "This sign-in was used already");
            await RefusedAsync(visitor, $"{Callback}?code={await CodeOfTileAsync(Student(5))}", "Somebody else is signed in here");
            Assert.Equal(session, visitor.Session);
        }
        finally
        {
            await TilesAsync(accept: false);
        }
    }

    [Fact]
    public async Task Whoever_begins_many_sign_ins_and_ends_none_waits_and_a_school_that_signs_in_does_not()
    {
        var throttle = library.Service<Throttle>();
        using var visitor = new Visitor(library.Url, null);
        var taken = 0;
        while (throttle.Begins("127.0.0.1"))
        {
            taken++;
        }

        try
        {
            Assert.InRange(taken, 1_500, Throttle.MostBegun);
            using var log = Tape();
            var (_, _, response) = await visitor.GetAsync("/signin/classlink");
            Assert.Equal("/signin", response.Headers.Location!.ToString());
            Assert.Contains("Too many sign-ins with ClassLink", await visitor.PageAsync("/signin"), StringComparison.Ordinal);
            await TilesAsync(true);
            await RefusedAsync(visitor, "/signin/classlink/callback?code=guessed", "Too many at once");
            Assert.Equal(2, log.Lines.Count(l => l.Contains("were begun from 127.0.0.1 and not ended", StringComparison.Ordinal)));
        }
        finally
        {
            await TilesAsync(false);
            for (var i = 0; i < taken; i++)
            {
                throttle.Succeeded("127.0.0.1");
            }
        }

        // Those that succeed do not count: a large school has come by then.
        for (var i = 0; i < Throttle.MostBegun * 2; i++)
        {
            Assert.True(throttle.Begins("192.0.2.7"));
            throttle.Succeeded("192.0.2.7");
        }

        Assert.Equal("/", await SignInAsync(visitor, Student(7)));
    }

    [Theory]
    [InlineData("consent-refused", "You are not signed in")]
    [InlineData("wrong-tenant", "Your school does not use this library here")]
    [InlineData("unknown-person", "The library does not know you yet")]
    [InlineData("invalid-scope", "ClassLink did not sign you in")]
    [InlineData("unauthorized-client", "ClassLink did not sign you in")]
    [InlineData("server-error", "ClassLink did not sign you in")]
    [InlineData("no-user", "ClassLink could not say who you are")]
    [InlineData("half-a-character", "ClassLink could not say who you are")]
    [InlineData("nul-sourcedid", "ClassLink could not say who you are")]
    [InlineData("no-kid,forged-signature", "ClassLink could not say who you are")]
    [InlineData("no-kid,alg-hs256", "ClassLink could not say who you are")]
    [InlineData("unknown-kid", "ClassLink could not say who you are")]
    [InlineData("unknown-kid,odd-keys", "ClassLink could not say who you are")]
    [InlineData("unknown-kid,odd-key", "ClassLink could not say who you are")]
    [InlineData("wrong-audience", "ClassLink could not say who you are")]
    [InlineData("wrong-issuer", "ClassLink could not say who you are")]
    [InlineData("wrong-nonce", "ClassLink could not say who you are")]
    [InlineData("no-nonce", "ClassLink could not say who you are")]
    [InlineData("id-token-expired", "ClassLink could not say who you are")]
    [InlineData("alg-none", "ClassLink could not say who you are")]
    [InlineData("alg-hs256", "ClassLink could not say who you are")]
    [InlineData("forged-signature", "ClassLink could not say who you are")]
    [InlineData("other-user", "ClassLink could not say who you are")]
    [InlineData("code-expired", "ClassLink could not say who you are")]
    public async Task What_proves_nothing_signs_nobody_in(string fault, string words)
    {
        using var visitor = new Visitor(library.Url, null);
        using var log = Tape();
        library.Sandbox.Faults.Set(fault);
        try
        {
            var to = (await visitor.GetAsync("/signin/classlink")).Response.Headers.Location!;
            await RefusedAsync(visitor, await BackAsync(to, Student(6)), words);
        }
        finally
        {
            library.Sandbox.Faults.Clear();
        }

        Assert.Null(visitor.Session);
        if (words == "ClassLink did not sign you in")
        {
            Assert.Contains(log.Lines, l => l.Contains($"the error '{fault.Replace('-', '_')}'", StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task A_ClassLink_that_does_not_answer_is_nobodys_fault()
    {
        using var visitor = new Visitor(library.Url, null);
        var back = await BackAsync((await visitor.GetAsync("/signin/classlink")).Response.Headers.Location!, Student(6));
        try
        {
            await ClientAsync("http://127.0.0.1:9");
            await RefusedAsync(visitor, back, "ClassLink does not answer");
        }
        finally
        {
            await ClientAsync(library.Sandbox.Url.GetLeftPart(UriPartial.Authority));
        }

        Assert.Null(visitor.Session);
        Assert.Equal("/", await SignInAsync(visitor, Student(6)));

        Task ClientAsync(string launchpad) =>
            library
                .Service<ClassLinkSignIn>()
                .StoreClientAsync(null, library.Sandbox.Options.ClientSecret, launchpad, null, acceptTiles: null, "test");
    }

    /// <summary>The operator is told that people came whom no district lets in, and no other district's number.</summary>
    [Fact]
    public async Task People_of_a_tenant_that_nobody_here_has_are_counted_for_the_operator()
    {
        const string page = "/preferences/sis/classlink/signin";
        const string words = "came from ClassLink districts that sign in nobody here";
        using var visitor = new Visitor(library.Url, null);
        library.Sandbox.Faults.Set("wrong-tenant");
        try
        {
            var to = (await visitor.GetAsync("/signin/classlink")).Response.Headers.Location!;
            await RefusedAsync(visitor, await BackAsync(to, Student(6)), "Your school does not use this library here");
        }
        finally
        {
            library.Sandbox.Faults.Clear();
        }

        using var administrator = new Visitor(library.Url);
        Assert.Contains(words, await administrator.PageAsync(page), StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_an_address_says_of_an_error_is_not_believed_word_for_word()
    {
        using var visitor = new Visitor(library.Url, null);
        using var log = Tape();
        await RefusedAsync(visitor, $"{Callback}?error={Uri.EscapeDataString("x\nAccount 1 signed in")}", "ClassLink did not sign you in");
        await RefusedAsync(visitor, $"{Callback}?response_type=code", "ClassLink did not sign you in");
        Assert.DoesNotContain(log.Lines, l => l.Contains("\nAccount", StringComparison.Ordinal));
        Assert.Contains(log.Lines, l => l.Contains("'x?Account?1?signed?in'", StringComparison.Ordinal));
        await RefusedAsync(visitor, $"{Callback}?error=access_denied", "You are not signed in");
    }

    /// <summary>Staff come with a list of schools where students have a text.</summary>
    [Fact]
    public async Task A_teacher_signs_in()
    {
        var teacher = library.Sandbox.District.People.First(p =>
            p is { Role: "teacher", Presence: SandboxPresence.Present, Enabled: true }
        );
        using var visitor = new Visitor(library.Url, null);
        Assert.Equal("/", await SignInAsync(visitor, teacher));
        Assert.Contains(await BarcodeAsync(teacher), await visitor.PageAsync("/me"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("no-email")]
    [InlineData("no-kid")]
    [InlineData("same-kid-new-key")]
    [InlineData("ids-as-text")]
    [InlineData("other-sub")]
    [InlineData("blank-sourcedid")]
    public async Task Every_shape_of_who_somebody_is_finds_them(string fault)
    {
        using var visitor = new Visitor(library.Url, null);
        library.Sandbox.Faults.Set(fault);
        try
        {
            Assert.Equal("/", await SignInAsync(visitor, Student(7)));
        }
        finally
        {
            library.Sandbox.Faults.Clear();
        }

        Assert.Contains(await BarcodeAsync(Student(7)), await visitor.PageAsync("/me"), StringComparison.Ordinal);

        // And the keys that were there before are taken again.
        Assert.Equal("/", await SignInAsync(visitor, Student(7)));
    }

    [Fact]
    public async Task States_are_one_browsers_and_serve_once()
    {
        using var attacker = new Visitor(library.Url, null);
        using var victim = new Visitor(library.Url, null);
        var to = (await attacker.GetAsync("/signin/classlink")).Response.Headers.Location!;
        var back = await BackAsync(to, Student(8));

        // The attacker's own callback in the victim's browser, with and without a sign-in of the victim's under way.
        await RefusedAsync(victim, back, "That took too long");
        await victim.GetAsync("/signin/classlink");
        await RefusedAsync(victim, back, "That took too long");
        await RefusedAsync(victim, $"{Callback}?code=x&state=", "That took too long");
        await RefusedAsync(victim, $"{Callback}?code=x&state=forged", "That took too long");
        Assert.Null(victim.Session);

        // A code of the attacker's, slipped into a sign-in that the victim began: it was made for another one.
        using var hasty = new Visitor(library.Url, null);
        var own = (await hasty.GetAsync("/signin/classlink")).Response.Headers.Location!;
        var theirs = await BackAsync((await attacker.GetAsync("/signin/classlink")).Response.Headers.Location!, Student(8));
        var state = Microsoft.AspNetCore.WebUtilities.QueryHelpers.ParseQuery(own.Query)["state"].ToString();
        var code = Microsoft.AspNetCore.WebUtilities.QueryHelpers.ParseQuery(theirs.Split('?')[1])["code"].ToString();
        await RefusedAsync(
            hasty,
            $"{Callback}?code={Uri.EscapeDataString(code)}&state={Uri.EscapeDataString(state)}",
            "ClassLink could not say who you are"
        );
        Assert.Null(hasty.Session);

        // A code that was guessed, under a state of one's own.
        own = (await hasty.GetAsync("/signin/classlink")).Response.Headers.Location!;
        state = Microsoft.AspNetCore.WebUtilities.QueryHelpers.ParseQuery(own.Query)["state"].ToString();
        await RefusedAsync(hasty, $"{Callback}?code=guessed&state={Uri.EscapeDataString(state)}", "ClassLink could not say who you are");
        Assert.Null(hasty.Session);

        // Tried elsewhere, it is used up at home too.
        await RefusedAsync(attacker, back, "That took too long");
        Assert.Null(attacker.Session);

        var again = await BackAsync((await attacker.GetAsync("/signin/classlink")).Response.Headers.Location!, Student(8));
        Assert.Equal("/", (await attacker.GetAsync(again)).Response.Headers.Location!.ToString());
        await RefusedAsync(attacker, again, "That took too long");
    }

    [Theory]
    [InlineData("/me?x=1", "/me?x=1")]
    [InlineData("//evil.example/", "/")]
    [InlineData("/\\evil.example", "/")]
    [InlineData("https://evil.example/", "/")]
    [InlineData("/\t/evil.example", "/")]
    [InlineData("/me?x=é", "/")]
    [InlineData("/me?x=%C3%A9", "/me?x=%C3%A9")]
    [InlineData("/operations/5/download?format=csv&outcome=created", "/operations/5?outcome=created")]
    [InlineData("/patron/export?format=csv&status=Active", "/patrons?status=Active")]
    [InlineData("/patron/export?format=csv&removal=7", "/operations/7")]
    [InlineData("/patron/data?barcode=P1", "/patron/erase?barcode=P1")]
    [InlineData("/operations/events?district=DEMO", "/operations")]
    public async Task After_signing_in_people_stay_here(string back, string to)
    {
        using var visitor = new Visitor(library.Url, null);
        var begin = (await visitor.GetAsync($"/signin/classlink?back={Uri.EscapeDataString(back)}")).Response.Headers.Location!;
        Assert.Equal(to, await ReturnAsync(visitor, begin, Student(9)));
    }

    [Fact]
    public async Task New_keys_are_taken_and_a_planted_session_is_not()
    {
        using var visitor = new Visitor(library.Url, "planted-by-somebody-else");
        library.Sandbox.RotateSigningKey();
        Assert.Equal("/", await SignInAsync(visitor, Student(10)));
        Assert.NotEqual("planted-by-somebody-else", visitor.Session);
    }

    /// <summary>An answer that begins and does not end holds up whoever waits for it, and nobody for ever.</summary>
    [Theory]
    [InlineData("info-stall=20000")]
    [InlineData("unknown-kid,keys-stall=20000")]
    public async Task An_answer_that_never_ends_is_no_answer_and_holds_up_nobody_else(string fault)
    {
        var signIn = library.Service<ClassLinkSignIn>();
        using var visitor = new Visitor(library.Url, null);
        using var other = new Visitor(library.Url, null);
        Assert.Equal("/", await SignInAsync(other, Student(12)));
        signIn.AnswerTime = TimeSpan.FromSeconds(1);
        try
        {
            // A key that is not known yet makes us ask for the list; everybody else has keys that fit.
            var path = await BeginAndBackAsync(visitor, Student(11));
            var asked = Asked();
            library.Sandbox.Faults.Set(fault);
            var waits = RefusedAsync(visitor, path, "ClassLink does not answer");
            while (fault.Contains("keys", StringComparison.Ordinal) && Asked() == asked)
            {
                await Task.Delay(1);
            }

            if (Asked() > asked)
            {
                library.Sandbox.Faults.Clear();
                Assert.Equal("/", await SignInAsync(other, Student(12)));
            }

            await waits;
        }
        finally
        {
            library.Sandbox.Faults.Clear();
            signIn.AnswerTime = TimeSpan.FromSeconds(30);
        }

        int Asked() => library.Sandbox.Requests.Count(r => r.Path == "/oauth2/v2/jwks");
    }

    [Fact]
    public async Task A_password_opens_a_session_of_its_own_and_leads_nowhere_else()
    {
        var accounts = library.Service<Accounts>();
        var (_, code) = await accounts.AddAsync(
            "fixed@library.example",
            library.District,
            SecurityGroup.LibraryAdministrator,
            null,
            false,
            "test"
        );
        await accounts.UseAsync(code, null, "a long enough sentence");
        foreach (
            var (back, to) in (KeyValuePair<string, string>[])
                [new("/sites", "/sites"), new("//evil.example/", "/"), new("/\\evil.example", "/"), new("https://evil.example/", "/")]
        )
        {
            using var visitor = new Visitor(library.Url, "planted-by-somebody-else");
            var page = $"/signin?back={Uri.EscapeDataString(back)}";
            Assert.Equal(
                to,
                await visitor.SubmitAsync(
                    page,
                    "name=\"password\"",
                    page,
                    [("email", "fixed@library.example"), ("password", "a long enough sentence"), ("back", back)]
                )
            );
            Assert.NotEqual("planted-by-somebody-else", visitor.Session);
            using var planter = new Visitor(library.Url, "planted-by-somebody-else");
            Assert.StartsWith(
                "/signin",
                (await planter.GetAsync("/sites")).Response.Headers.Location!.ToString(),
                StringComparison.Ordinal
            );
        }
    }

    [Fact]
    public async Task Leavers_and_the_disabled_are_refused_and_so_is_everybody_once_it_is_off()
    {
        var patrons = library.Service<PatronService>();
        var student = Student(11);
        using var visitor = new Visitor(library.Url, null);
        Assert.Equal("/", await SignInAsync(visitor, student));
        await patrons.EditAsync(library.District.Id, await BarcodeAsync(student), [new("status", "Transferred")], "test");
        Assert.StartsWith("/signin", (await visitor.GetAsync("/me")).Response.Headers.Location!.ToString(), StringComparison.Ordinal);
        await RefusedAsync(visitor, await BeginAndBackAsync(visitor, student), "Your library record is closed");
        await patrons.EditAsync(library.District.Id, await BarcodeAsync(student), [new("status", "Suspended")], "test");
        Assert.Equal("/", await SignInAsync(visitor, student));

        await using (var context = library.Service<RollcallDatabase>().CreateContext())
        {
            var id = (await patrons.GetAsync(library.District.Id, await BarcodeAsync(student))).Patron.Id;
            await context.PatronLinks.Where(l => l.PatronId == id).ExecuteUpdateAsync(s => s.SetProperty(l => l.LoginDisabled, true));
        }

        Assert.StartsWith("/signin", (await visitor.GetAsync("/me")).Response.Headers.Location!.ToString(), StringComparison.Ordinal);
        await RefusedAsync(visitor, await BeginAndBackAsync(visitor, student), "Your school account is switched off");

        using var other = new Visitor(library.Url, null);
        Assert.Equal("/", await SignInAsync(other, Student(12)));
        var back = await BeginAndBackAsync(other, Student(12));
        await library.Service<ClassLinkSignIn>().TurnAsync(library.District.Id, false, null, "test");
        try
        {
            Assert.StartsWith("/signin", (await other.GetAsync("/me")).Response.Headers.Location!.ToString(), StringComparison.Ordinal);
            await RefusedAsync(other, back, "Your school does not use this library here");
            Assert.DoesNotContain("Sign in with ClassLink", await other.PageAsync("/signin"), StringComparison.Ordinal);
        }
        finally
        {
            await library.Service<ClassLinkSignIn>().TurnAsync(library.District.Id, true, null, "test");
        }
    }

    [Fact]
    public async Task An_e_mail_address_finds_somebody_only_where_the_district_allows_it_and_only_one()
    {
        var student = Student(14);
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        var patron = await context.Patrons.SingleAsync(p => p.Guid == student.SourcedId);
        await context.PatronLinks.Where(l => l.PatronId == patron.Id).ExecuteUpdateAsync(s => s.SetProperty(l => l.Username, "another"));
        var patrons = library.Service<PatronService>();
        await patrons.EditAsync(library.District.Id, patron.Barcode, [new("email", student.Email)], "test");
        library.Sandbox.Faults.Set("blank-sourcedid");
        try
        {
            using var visitor = new Visitor(library.Url, null);
            await RefusedAsync(visitor, await BeginAndBackAsync(visitor, student), "The library does not know you yet");
            await library.Service<ClassLinkSignIn>().TurnAsync(library.District.Id, true, byEmail: true, "test");
            Assert.Equal("/", await SignInAsync(visitor, student));
            Assert.Contains(patron.Barcode, await visitor.PageAsync("/me"), StringComparison.Ordinal);

            // Not to a record above Patron, and not to one of two.
            await patrons.EditAsync(library.District.Id, patron.Barcode, [new("group", "Student Aide")], "test");
            await RefusedAsync(visitor, await BeginAndBackAsync(visitor, student), "The library does not know you yet");
            await patrons.EditAsync(library.District.Id, patron.Barcode, [new("group", "Patron")], "test");
            await patrons.AddAsync(
                library.District.Id,
                [new("barcode", "TWIN-MAIL"), new("lastName", "Twin"), new("email", student.Email)],
                "test"
            );
            await RefusedAsync(visitor, await BeginAndBackAsync(visitor, student), "The library is not sure who you are");
        }
        finally
        {
            library.Sandbox.Faults.Clear();
            await library.Service<ClassLinkSignIn>().TurnAsync(library.District.Id, true, byEmail: false, "test");
        }
    }

    [Fact]
    public async Task A_login_name_in_other_case_finds_who_alone_has_it_and_the_exact_one_goes_first()
    {
        var (student, other) = (Student(18), Student(19));
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        var patron = await context.Patrons.AsNoTracking().SingleAsync(p => p.Guid == student.SourcedId);
        var twin = await context.Patrons.AsNoTracking().SingleAsync(p => p.Guid == other.SourcedId);
        var (own, others) = (await NameAsync(patron), await NameAsync(twin));
        Assert.NotEqual(own, own!.ToUpperInvariant());
        using var visitor = new Visitor(library.Url, null);
        library.Sandbox.Faults.Set("blank-sourcedid");
        try
        {
            await CalledAsync(patron, own.ToUpperInvariant());
            Assert.Equal("/", await SignInAsync(visitor, student));
            Assert.Contains(patron.Barcode, await visitor.PageAsync("/me"), StringComparison.Ordinal);

            // Two whose names differ by case alone: nobody guesses. The exact one is no guess.
            await CalledAsync(twin, own[..1].ToUpperInvariant() + own[1..^1] + own[^1..].ToUpperInvariant());
            await CalledAsync(patron, own.ToUpperInvariant());
            await RefusedAsync(visitor, await BeginAndBackAsync(visitor, student), "The library is not sure who you are");
            await CalledAsync(patron, own);
            Assert.Equal("/", await SignInAsync(visitor, student));
            Assert.Contains(patron.Barcode, await visitor.PageAsync("/me"), StringComparison.Ordinal);
        }
        finally
        {
            library.Sandbox.Faults.Clear();
            await CalledAsync(patron, own);
            await CalledAsync(twin, others!);
        }

        Task<string?> NameAsync(Patron who) => context.PatronLinks.Where(l => l.PatronId == who.Id).Select(l => l.Username).SingleAsync();
        Task CalledAsync(Patron who, string name) =>
            context.PatronLinks.Where(l => l.PatronId == who.Id).ExecuteUpdateAsync(s => s.SetProperty(l => l.Username, name));
    }

    [Fact]
    public async Task A_second_id_of_the_same_person_signs_the_same_patron_in_and_a_part_of_an_id_does_not()
    {
        var student = Student(15);
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        var patron = await context.Patrons.AsNoTracking().SingleAsync(p => p.Guid == student.SourcedId);
        async Task LinkAsync(string guid, string aliases)
        {
            await context.Patrons.Where(p => p.Id == patron.Id).ExecuteUpdateAsync(s => s.SetProperty(p => p.Guid, guid));
            await context
                .PatronLinks.Where(l => l.PatronId == patron.Id)
                .ExecuteUpdateAsync(s => s.SetProperty(l => l.Aliases, aliases).SetProperty(l => l.Username, "another"));
        }

        using var visitor = new Visitor(library.Url, null);
        await LinkAsync("other-id", $"first\n{student.SourcedId}");
        Assert.Equal("/", await SignInAsync(visitor, student));
        Assert.Contains(patron.Barcode, await visitor.PageAsync("/me"), StringComparison.Ordinal);
        await LinkAsync("other-id", $"first\n{student.SourcedId}-2");
        await RefusedAsync(visitor, await BeginAndBackAsync(visitor, student), "The library does not know you yet");
        await LinkAsync(student.SourcedId, "");
    }

    /// <summary>Directories give the name of somebody who left to somebody who comes.</summary>
    [Fact]
    public async Task A_login_name_that_was_given_out_again_opens_nothing_of_whoever_had_it_before()
    {
        var comes = Student(20);
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        var before = await context.Patrons.AsNoTracking().SingleAsync(p => p.Guid == comes.SourcedId);

        // The record is another person's who had this name.
        await PutAsync("of-somebody-else", SecurityGroup.Librarian, absent: false);
        using var visitor = new Visitor(library.Url, null);
        try
        {
            await RefusedAsync(visitor, await BeginAndBackAsync(visitor, comes), "The library does not know you yet");

            // Where ClassLink gives no id, nothing speaks against it; unless the record's person has left.
            library.Sandbox.Faults.Set("blank-sourcedid");
            Assert.Equal("/", await SignInAsync(visitor, comes));
            await PutAsync("of-somebody-else", SecurityGroup.Librarian, absent: true);
            await RefusedAsync(visitor, await BeginAndBackAsync(visitor, comes), "The library does not know you yet");
            await library.Service<ClassLinkSignIn>().TurnAsync(library.District.Id, true, byEmail: true, "test");
            await PutAsync("of-somebody-else", SecurityGroup.Patron, absent: true);
            await RefusedAsync(visitor, await BeginAndBackAsync(visitor, comes), "The library does not know you yet");
            library.Sandbox.Faults.Clear();
            await RefusedAsync(visitor, await BeginAndBackAsync(visitor, comes), "The library does not know you yet");

            // Of a record that opens nothing but itself, and is in the roster, the name is taken where ids are others than the roster's.
            await PutAsync("of-somebody-else", SecurityGroup.Patron, absent: false);
            Assert.Equal("/", await SignInAsync(visitor, comes));
        }
        finally
        {
            library.Sandbox.Faults.Clear();
            await library.Service<ClassLinkSignIn>().TurnAsync(library.District.Id, true, byEmail: false, "test");
            await PutAsync(comes.SourcedId, before.Group, absent: false);
        }

        async Task PutAsync(string guid, SecurityGroup group, bool absent)
        {
            await context
                .Patrons.Where(p => p.Id == before.Id)
                .ExecuteUpdateAsync(s => s.SetProperty(p => p.Guid, guid).SetProperty(p => p.Group, group));
            await context.PatronLinks.Where(l => l.PatronId == before.Id).ExecuteUpdateAsync(s => s.SetProperty(l => l.Absent, absent));
        }
    }

    [Fact]
    public async Task Where_nothing_vouches_for_the_tenant_an_id_has_to_before_a_login_name_counts()
    {
        var (byLogin, byId) = (Student(16), Student(17));
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        var row = await context.Integrations.SingleAsync(i => i.DistrictId == library.District.Id && i.Kind == IntegrationKind.ClassLink);
        var before = row.Settings;
        var settings = IntegrationService.SettingsOf(row);
        row.Settings = System.Text.Json.JsonSerializer.Serialize(
            settings with
            {
                Mode = ConnectionMode.Direct,
                Login = settings.Login with { ConfirmedTenant = null },
            },
            IntegrationService.Json
        );
        await context.SaveChangesAsync();
        try
        {
            using var visitor = new Visitor(library.Url, null);
            library.Sandbox.Faults.Set("blank-sourcedid");
            await RefusedAsync(visitor, await BeginAndBackAsync(visitor, byLogin), "The library does not know you yet");
            library.Sandbox.Faults.Clear();
            Assert.Equal("/", await SignInAsync(visitor, byId));
            library.Sandbox.Faults.Set("blank-sourcedid");
            Assert.Equal("/", await SignInAsync(visitor, byLogin));
            Assert.Contains(await BarcodeAsync(byLogin), await visitor.PageAsync("/me"), StringComparison.Ordinal);
        }
        finally
        {
            library.Sandbox.Faults.Clear();
            await context
                .Integrations.Where(i => i.DistrictId == library.District.Id)
                .ExecuteUpdateAsync(s => s.SetProperty(i => i.Settings, before));
        }
    }

    [Fact]
    public async Task A_district_that_enters_anothers_tenant_gets_nobody_of_it()
    {
        var thief = await library.Service<DistrictService>().AddAsync("THIEF", "Thief", null, "test");
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        var real = await context
            .Integrations.AsNoTracking()
            .SingleAsync(i => i.DistrictId == library.District.Id && i.Kind == IntegrationKind.ClassLink);

        // As if every check before this one had failed.
        var copy = new Integration
        {
            DistrictId = thief.Id,
            Kind = IntegrationKind.ClassLink,
            Enabled = true,
            Settings = real.Settings,
        };
        context.Integrations.Add(copy);
        await context.SaveChangesAsync();
        try
        {
            using var visitor = new Visitor(library.Url, null);
            await RefusedAsync(visitor, await BeginAndBackAsync(visitor, Student(13)), "Your school does not use this library here");
            Assert.Null(visitor.Session);
        }
        finally
        {
            context.Integrations.Remove(copy);
            await context.SaveChangesAsync();
        }
    }

    /// <summary>What the server logs from now on.</summary>
    private LogTape Tape()
    {
        var tape = new LogTape();
        library.Service<Microsoft.Extensions.Logging.ILoggerFactory>().AddProvider(tape);
        return tape;
    }

    private SandboxPerson Student(int number) =>
        library
            .Sandbox.District.People.Where(p => p is { Role: "student", Presence: SandboxPresence.Present, Enabled: true })
            .ElementAt(number);

    private async Task<string> BarcodeAsync(SandboxPerson person)
    {
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        return await context.Patrons.Where(p => p.Guid == person.SourcedId).Select(p => p.Barcode).SingleAsync();
    }

    private Task TilesAsync(bool accept) => library.Service<ClassLinkSignIn>().StoreClientAsync(null, null, null, null, accept, "test");

    private async Task<string> SignInAsync(Visitor visitor, SandboxPerson person) =>
        await ReturnAsync(visitor, (await visitor.GetAsync("/signin/classlink")).Response.Headers.Location!, person);

    private async Task<string> BeginAndBackAsync(Visitor visitor, SandboxPerson person) =>
        await BackAsync((await visitor.GetAsync("/signin/classlink")).Response.Headers.Location!, person);

    /// <summary>Says at ClassLink who one is, and comes back.</summary>
    private static async Task<string> ReturnAsync(Visitor visitor, Uri authorize, SandboxPerson person) =>
        (await visitor.GetAsync(await BackAsync(authorize, person))).Response.Headers.Location!.ToString();

    private static async Task<string> BackAsync(Uri authorize, SandboxPerson person)
    {
        using var answer = await s_classLink.GetAsync(new Uri($"{authorize}&person={Uri.EscapeDataString(person.SourcedId)}"));
        Assert.Equal(HttpStatusCode.Redirect, answer.StatusCode);
        return answer.Headers.Location!.PathAndQuery;
    }

    private async Task<string> CodeOfTileAsync(SandboxPerson person)
    {
        using var answer = await s_classLink.GetAsync(
            new Uri(library.Sandbox.Url, $"/oauth2/v2/auth?tile=1&person={Uri.EscapeDataString(person.SourcedId)}")
        );
        return answer.Headers.Location!.Query.Split('&')[0]["?code=".Length..];
    }

    private static async Task RefusedAsync(Visitor visitor, string path, string words)
    {
        var (status, body, _) = await visitor.GetAsync(path);
        Assert.Equal(HttpStatusCode.OK, status);
        Assert.Contains($"<h1>{words}</h1>", WebUtility.HtmlDecode(body), StringComparison.Ordinal);
    }
}
