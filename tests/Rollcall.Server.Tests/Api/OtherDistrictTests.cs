using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Microsoft.AspNetCore.Mvc.RazorPages;
using Microsoft.AspNetCore.Mvc.RazorPages.Infrastructure;
using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Retention;
using Rollcall.Review;
using Rollcall.Server.Pages.Parts;
using Rollcall.Server.Tests.Pages;
using Rollcall.SignIn;
using Rollcall.Storage;

namespace Rollcall.Server.Tests.Api;

/// <summary>Every form and every address with what it does not expect: ids of another district, and bodies that do not fit. All are made from
/// the server's own routes and document, so that none is forgotten.</summary>
public sealed class SqliteOtherDistrictTests(SyncedLibrary library) : OtherDistrictTests(library), IClassFixture<SyncedLibrary>;

/// <inheritdoc cref="SqliteOtherDistrictTests"/>
public sealed class PostgresOtherDistrictTests(PostgresLibrary library) : OtherDistrictTests(library), IClassFixture<PostgresLibrary>;

public abstract partial class OtherDistrictTests(Library library)
{
    [Fact]
    public async Task Nothing_that_another_districts_administrator_sends_changes_this_one()
    {
        var other = await AddDistrictAsync();
        var victim = await library.SignInAsync(SecurityGroup.Librarian, "S01");
        var theirs = await TheirsAsync();
        await CalmAsync();

        var before = await RowsAsync(library.District.Id);
        var reached = 0;
        var pages = new PageRoutes(library);

        foreach (var (page, handler) in Handlers(pages))
        {
            foreach (var id in theirs.Ids)
            {
                // A session for each: some of what is sent ends one's own.
                using var visitor = new Visitor(
                    library.Url,
                    await library.SignInAsync(SecurityGroup.DistrictAdministrator, district: other)
                );
                var token = TokenField().Match(await visitor.PageAsync("/account")).Groups["token"].Value;
                var fields = handler.Parameters.Select(p => (p.Name, Value(p.Name, p.ParameterType, id, theirs))).ToList();
                fields.Add(("__RequestVerificationToken", token));
                var path = pages.Address(page, name => Part(name, theirs.Barcode, id));
                using var response = await visitor.PostAsync(handler.Name is null ? path : $"{path}?handler={handler.Name}", [.. fields]);
                Assert.True((int)response.StatusCode < 500, $"{response.StatusCode} from {path} {handler.Name} with {id}");
                reached +=
                    response.StatusCode is HttpStatusCode.OK
                    || (response.StatusCode == HttpStatusCode.Redirect && response.Headers.Location!.ToString() != "/signin")
                        ? 1
                        : 0;
                if (!handler.Parameters.Any(p => p.Name.Contains("id", StringComparison.OrdinalIgnoreCase)))
                {
                    break;
                }
            }
        }

        Assert.InRange(reached, 40, 1000);
        using var document = await DocumentAsync();
        var ofIds = 0;
        foreach (var (path, method, content) in Methods(document.RootElement))
        {
            using var http = Client(await TokenAsync(other));
            var isOfId = path.Contains("{id}", StringComparison.Ordinal);
            foreach (var id in isOfId ? theirs.Ids : theirs.Ids.Take(1))
            {
                using var request = new HttpRequestMessage(
                    method,
                    Fill(path, theirs.Barcode, id.ToString(CultureInfo.InvariantCulture), library.District.Code)
                );
                if (content is { Name: "application/json" })
                {
                    var body = Body(document.RootElement, content.Value.Value.GetProperty("schema"), name => Word(name, theirs));
                    request.Content = new StringContent(body!.ToJsonString(), Encoding.UTF8, "application/json");
                }
                else if (content is { } of)
                {
                    Assert.Equal("text/csv", of.Name);
                    request.Content = new StringContent($"barcode,notes\n{theirs.Barcode},of another\n", Encoding.UTF8, of.Name);
                }

                using var response = await http.SendAsync(request);
                Assert.True((int)response.StatusCode < 500, $"{response.StatusCode} from {method} {path}");
                var answer = await response.Content.ReadAsStringAsync();
                if (isOfId && theirs.IsOf(path, id))
                {
                    Assert.True(
                        response.StatusCode == HttpStatusCode.NotFound,
                        $"{response.StatusCode} from {method} {path} with {id}: {answer}"
                    );
                    ofIds++;
                }

                // A barcode that was sent comes back in the refusal, or as the other district's own patron of that barcode.
                Assert.DoesNotContain(theirs.Words, w => answer.Contains(w, StringComparison.Ordinal));
            }
        }

        Assert.InRange(ofIds, 15, 1000);
        Same(before, await RowsAsync(library.District.Id));
        Assert.NotNull(await library.Service<Sessions>().FindAsync(victim));

        // It is looked at: what their own administrator changes is seen.
        await library.Service<PatronService>().EditAsync(library.District.Id, theirs.Barcode, [new("notes", "seen")], "test");
        var after = await RowsAsync(library.District.Id);
        Assert.NotEqual(before["patrons"], after["patrons"]);
    }

    /// <summary>Two tabs, and the district is changed in one of them: what the other one shows belongs to the district before.</summary>
    [Fact]
    public async Task No_form_of_one_district_is_carried_out_in_another_that_was_chosen_since()
    {
        var other = await AddDistrictAsync();
        const string both = "both@library.example";
        await library.Service<Accounts>().AddAsync(both, library.District, SecurityGroup.DistrictAdministrator, null, false, "test");
        var theirs = await TheirsAsync();
        var patrons = library.Service<PatronService>();
        await library.Service<SiteService>().AddAsync(other.Id, "S01", new SiteChange("Their school", null, null, null, null), "test");
        await patrons.AddAsync(other.Id, [new("barcode", theirs.Barcode), new("lastName", "Theirs"), new("site", "S01")], "test");
        await library.Service<Accounts>().AddAsync(both, other, SecurityGroup.DistrictAdministrator, null, false, "test");
        var edit = $"/patron/edit?barcode={Uri.EscapeDataString(theirs.Barcode)}";
        (string, string)[] typed =
        [
            ("lastName", "Typed for the first"),
            ("firstName", "Ada"),
            ("barcode", theirs.Barcode),
            ("status", "Active"),
        ];

        using (var visitor = await BothAsync(library.District))
        {
            var form = await visitor.PageAsync(edit);
            var token = Visitor.TokenOf(form);
            typed = [.. typed, ("seen", SeenField().Match(form).Groups["seen"].Value)];
            await visitor.PageAsync($"/?district={other.Code}");
            using var refused = await visitor.PostAsync(edit, [.. typed, token]);
            var words = WebUtility.HtmlDecode(await refused.Content.ReadAsStringAsync());
            Assert.Equal(HttpStatusCode.BadRequest, refused.StatusCode);
            Assert.Equal("Theirs", (await patrons.GetAsync(other.Id, theirs.Barcode)).Patron.LastName);

            // It is said whose it is. One press sends it there, and to no other.
            Assert.Contains($"This form belongs to {library.District.Name}", words, StringComparison.Ordinal);
            Assert.Contains($"href=\"{edit}&district={library.District.Code}\"", words, StringComparison.Ordinal);
            Assert.DoesNotContain("Send it again", words, StringComparison.Ordinal);
            var to = $"{edit}&district={library.District.Code}";
            Assert.Contains($"action=\"{to}\"", words, StringComparison.Ordinal);
            using var stray = await visitor.PostAsync(edit, [.. typed, Visitor.TokenOf(words)]);
            Assert.Equal(HttpStatusCode.BadRequest, stray.StatusCode);
            using var sent = await visitor.PostAsync(to, [.. typed, Visitor.TokenOf(words)]);
            Assert.Equal(HttpStatusCode.Redirect, sent.StatusCode);
            Assert.Equal("Theirs", (await patrons.GetAsync(other.Id, theirs.Barcode)).Patron.LastName);
            Assert.Equal("Typed for the first", (await patrons.GetAsync(library.District.Id, theirs.Barcode)).Patron.LastName);
        }

        // The same when the sign-in ended in between, and another district was chosen after the next one.
        using (var visitor = await BothAsync(library.District))
        {
            var token = Visitor.TokenOf(await visitor.PageAsync(edit));
            await library.Service<Sessions>().EndAsync(visitor.Session!);
            using var ended = await visitor.PostAsync(edit, [.. typed, token]);
            var again = Visitor.TokenOf(await ended.Content.ReadAsStringAsync());
            Assert.Equal(HttpStatusCode.Unauthorized, ended.StatusCode);
            foreach (var kept in new[] { token, again })
            {
                visitor.Enter((await BothAsync(other)).Session!);
                await visitor.PageAsync($"/?district={other.Code}");
                using var refused = await visitor.PostAsync(edit, [.. typed, kept]);
                var words = WebUtility.HtmlDecode(await refused.Content.ReadAsStringAsync());
                Assert.Contains($"This form belongs to {library.District.Name}", words, StringComparison.Ordinal);
                Assert.Contains($"action=\"{edit}&district={library.District.Code}\"", words, StringComparison.Ordinal);
            }

            // Whoever has no place there is not offered to send it.
            visitor.Enter(await library.SignInAsync(SecurityGroup.DistrictAdministrator, district: other));
            using var stranger = await visitor.PostAsync(edit, [.. typed, token]);
            var said = WebUtility.HtmlDecode(await stranger.Content.ReadAsStringAsync());
            Assert.Equal(HttpStatusCode.BadRequest, stranger.StatusCode);
            Assert.Contains("This form belongs to another district", said, StringComparison.Ordinal);
            Assert.DoesNotContain("Typed for the first", said, StringComparison.Ordinal);
            Assert.DoesNotContain(library.District.Name, said, StringComparison.Ordinal);
        }

        await CalmAsync();

        // Every form there is.
        var before = await RowsAsync(other.Id);
        var refusals = 0;
        var pages = new PageRoutes(library);
        using (var visitor = await BothAsync(library.District))
        {
            var token = Visitor.TokenOf(await visitor.PageAsync("/account"));
            await visitor.PageAsync($"/?district={other.Code}");
            foreach (var (page, handler) in Handlers(pages))
            {
                var fields = handler.Parameters.Select(p => (p.Name, Value(p.Name, p.ParameterType, 1, theirs))).Append(token);
                var path = pages.Address(page, name => Part(name, "S01", 1));
                if (path is "/account")
                {
                    continue;
                }

                using var response = await visitor.PostAsync(handler.Name is null ? path : $"{path}?handler={handler.Name}", [.. fields]);
                Assert.Equal((path, handler.Name, HttpStatusCode.BadRequest), (path, handler.Name, response.StatusCode));
                refusals++;
            }

            // What is of no district goes on: the account, the theme, signing out.
            using var theme = await visitor.PostAsync("/theme", ("theme", "dark"), ("back", "/account"), token);
            using var account = await visitor.PostAsync("/account?handler=EndAll", token);
            Assert.Equal((HttpStatusCode.Redirect, HttpStatusCode.Redirect), (theme.StatusCode, account.StatusCode));
        }

        Assert.InRange(refusals, 40, 1000);
        Same(before, await RowsAsync(other.Id));

        async Task<Visitor> BothAsync(District first)
        {
            var (account, _) = await library
                .Service<Accounts>()
                .AddAsync(both, first, SecurityGroup.DistrictAdministrator, null, false, "test");
            var visitor = new Visitor(
                library.Url,
                await library.Service<Sessions>().OpenAsync(account, SignInMethod.Password, null, new Device("test", null))
            );
            await visitor.PageAsync($"/?district={first.Code}");
            return visitor;
        }
    }

    /// <summary>A live page fetches parts of itself anew: they stay those of its district, and choose none for other tabs.</summary>
    [Fact]
    public async Task Live_parts_of_a_page_stay_with_its_district()
    {
        var other = await AddDistrictAsync();
        const string both = "live@library.example";
        await library.Service<Accounts>().AddAsync(both, library.District, SecurityGroup.DistrictAdministrator, null, false, "test");
        var (account, _) = await library
            .Service<Accounts>()
            .AddAsync(both, other, SecurityGroup.DistrictAdministrator, null, false, "test");
        using var visitor = new Visitor(
            library.Url,
            await library.Service<Sessions>().OpenAsync(account, SignInMethod.Password, null, new Device("test", null))
        );
        var page = await visitor.PageAsync($"/?district={library.District.Code}");
        Assert.Contains(
            $"hx-headers='{{\"Rollcall-District\":\"{library.District.Code}\"}}'",
            WebUtility.HtmlDecode(page),
            StringComparison.Ordinal
        );
        Assert.Contains($"/operations/events?district={library.District.Code}&", WebUtility.HtmlDecode(page), StringComparison.Ordinal);
        await visitor.PageAsync($"/?district={other.Code}");

        foreach (var address in new[] { "/", $"/?district={library.District.Code}" })
        {
            var (_, part, response) = await visitor.GetAsync(
                address,
                headers: [("HX-Request", "true"), ("Rollcall-District", library.District.Code)]
            );
            Assert.Contains($"<span class=\"topbar-district\" dir=\"auto\">{library.District.Name}", part, StringComparison.Ordinal);
            Assert.DoesNotContain(
                response.Headers.TryGetValues("Set-Cookie", out var set) ? set : [],
                c => c.StartsWith("rollcall-district", StringComparison.Ordinal)
            );
        }

        var after = await visitor.PageAsync("/");
        Assert.Contains($"<span class=\"topbar-district\" dir=\"auto\">{other.Name}", after, StringComparison.Ordinal);
    }

    /// <summary>Whatever an address names, in each of its parts: a program tells by the status that it is not there, or not its own.</summary>
    [Fact]
    public async Task What_an_address_names_and_is_not_there_is_answered_with_404()
    {
        var other = await AddDistrictAsync();
        using var document = await DocumentAsync();
        var (account, _) = await library
            .Service<Accounts>()
            .AddAsync($"{other.Code}@library.example", other, SecurityGroup.DistrictAdministrator, null, false, "test");
        using var operators = Client(await TokenAsync(null));
        using var http = Client(await TokenAsync(other, account.Id));
        var asked = 0;
        foreach (var (path, method, content) in Methods(document.RootElement))
        {
            // Whose number is new adds a policy.
            var parts = PathPart().Matches(path).Select(m => m.Value).ToList();
            if ((path, method.Method) is ("/api/v1/policies/{code}", "PUT"))
            {
                continue;
            }

            foreach (var part in IsOfOrg(path) ? [.. parts, "?org"] : parts)
            {
                if (part == "?org" && method != HttpMethod.Delete)
                {
                    continue;
                }

                var named = part == "?org" ? path : path.Replace(part, part == "{id}" ? "999999999" : "NOBODY", StringComparison.Ordinal);
                using var request = new HttpRequestMessage(
                    method,
                    Fill(named, "NOBODY", "999999999", other.Code).Replace("{tenantId}", "1", StringComparison.Ordinal)
                        + (IsOfOrg(path) && method == HttpMethod.Delete ? "?org=NOBODY" : "")
                );
                if (content is { Name: "application/json" })
                {
                    request.Content = new StringContent(
                        Body(document.RootElement, content.Value.Value.GetProperty("schema"), _ => "NOBODY")!.ToJsonString(),
                        Encoding.UTF8,
                        "application/json"
                    );
                }

                using var response = await (path.Contains("/districts/", StringComparison.Ordinal) ? operators : http).SendAsync(request);
                Assert.True(
                    response.StatusCode == HttpStatusCode.NotFound,
                    $"{response.StatusCode} from {method} {request.RequestUri} for {part}: {await response.Content.ReadAsStringAsync()}"
                );
                Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
                asked++;
            }
        }

        Assert.InRange(asked, 40, 1000);

        // What is taken off an organization names it behind the question mark.
        static bool IsOfOrg(string path) =>
            path.EndsWith("/matches", StringComparison.Ordinal) || path.EndsWith("/not-served", StringComparison.Ordinal);
    }

    [Fact]
    public async Task No_body_that_does_not_fit_makes_the_server_fail()
    {
        var other = await AddDistrictAsync();
        using var document = await DocumentAsync();
        var sent = 0;
        foreach (var (path, method, schema) in Bodies(document.RootElement))
        {
            var isOperators = document
                .RootElement.GetProperty("paths")
                .GetProperty(path)
                .GetProperty(method.Method.ToLowerInvariant())
                .GetProperty("description")
                .GetString()!
                .Contains("installation", StringComparison.Ordinal);
            using var http = Client(await TokenAsync(isOperators ? null : other));
            foreach (var body in Misfits(document.RootElement, schema!.Value))
            {
                using var request = new HttpRequestMessage(method, Fill(path, "NOBODY", "999999", other.Code))
                {
                    Content = new StringContent(body, Encoding.UTF8, "application/json"),
                };
                using var response = await http.SendAsync(request);
                var answer = await response.Content.ReadAsStringAsync();
                Assert.True(
                    response.StatusCode != HttpStatusCode.InternalServerError,
                    $"{method} {path} failed at {body[..Math.Min(200, body.Length)]}"
                );
                if (!response.IsSuccessStatusCode)
                {
                    Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
                    Assert.DoesNotContain(
                        "Exception",
                        JsonDocument.Parse(answer).RootElement.GetProperty("detail").GetString()!,
                        StringComparison.Ordinal
                    );
                }

                sent++;
            }
        }

        Assert.InRange(sent, 300, 5000);
        using var operators = Client(await TokenAsync(null));
        using var empty = new StringContent("{}", Encoding.UTF8, "application/json");
        using var lacking = await operators.PutAsync(new Uri("/api/v1/partner-key", UriKind.Relative), empty);
        Assert.Equal(HttpStatusCode.BadRequest, lacking.StatusCode);
        Assert.Contains("The body does not fit at $.key.", await lacking.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        await library.Service<Rollcall.Integrations.IntegrationService>().StorePartnerKeyAsync(library.Sandbox.Options.PartnerKey, "test");
    }

    [Fact]
    public async Task A_NUL_in_an_address_a_form_or_deep_in_a_body_is_refused_in_words()
    {
        using var visitor = new Visitor(library.Url);
        foreach (
            var address in (string[])
                [
                    "/patrons?level=%00x",
                    "/patrons?homeroom=a%00b",
                    "/patron/edit?barcode=%00x",
                    "/patron/merge?keep=x%00",
                    "/patron/erase?barcode=%00x",
                    "/patron/data?barcode=%00x",
                    "/patron/export?level=%00x",
                    "/operations?by=%00",
                ]
        )
        {
            var (status, body, _) = await visitor.GetAsync(address);
            Assert.Equal((address, HttpStatusCode.BadRequest), (address, status));
            Assert.Contains("NUL", body, StringComparison.Ordinal);
        }

        var form = Visitor.TokenOf(await visitor.PageAsync("/account"));
        using (var undo = await visitor.PostAsync("/operations/1?handler=Undo", ("barcode", "\0x"), form))
        {
            Assert.Equal(HttpStatusCode.BadRequest, undo.StatusCode);
        }

        using var document = await DocumentAsync();
        using var http = Client(await TokenAsync(library.District));
        var asked = 0;
        foreach (var path in document.RootElement.GetProperty("paths").EnumerateObject())
        {
            if (!path.Value.TryGetProperty("get", out var get) || !get.TryGetProperty("parameters", out var parameters))
            {
                continue;
            }

            foreach (var parameter in parameters.EnumerateArray().Where(p => p.GetProperty("in").GetString() == "query"))
            {
                var address = $"{Fill(path.Name, "NOBODY", "999999", "S01")}?{parameter.GetProperty("name").GetString()}=a%00b";
                using var response = await http.GetAsync(new Uri(address, UriKind.Relative));
                Assert.Equal((address, HttpStatusCode.BadRequest), (address, response.StatusCode));
                asked++;
            }
        }

        Assert.InRange(asked, 10, 500);
        foreach (
            var (path, body, where) in ((string, string, string)[])
                [
                    ("/api/v1/patrons/NOBODY/merge", """{"other":"\u0000x"}""", "$.other"),
                    ("/api/v1/patrons/change", """{"patrons":{"barcodes":["a\u0000"]},"fields":{"notes":"x"}}""", "$.patrons.barcodes[0]"),
                    ("/api/v1/patrons/change", """{"patrons":{"level":"a\u0000"},"fields":{"notes":"x"}}""", "$.patrons.level"),
                ]
        )
        {
            using var content = new StringContent(body, Encoding.UTF8, "application/json");
            using var response = await http.PostAsync(new Uri(path, UriKind.Relative), content);
            var answer = await response.Content.ReadAsStringAsync();
            Assert.Equal((path, HttpStatusCode.BadRequest), (path, response.StatusCode));
            Assert.Contains(where, answer, StringComparison.Ordinal);
            Assert.Contains("NUL", answer, StringComparison.Ordinal);
        }
    }

    /// <param name="Words">What stands in this district's rows alone, and in no address or body that is sent.</param>
    private sealed record Theirs(
        string Barcode,
        string Second,
        string Org,
        string Session,
        IReadOnlyList<long> Ids,
        IReadOnlyList<string> Words
    )
    {
        private static readonly string[] s_kinds = ["operations", "operations", "review", "accounts", "tokens"];

        /// <summary>Whether an id is of what an address names: of other things the other district may have one of the same number.</summary>
        public bool IsOf(string path, long id) =>
            s_kinds.Zip(Ids).Any(k => k.Second == id && path.Contains($"/{k.First}/", StringComparison.Ordinal));
    }

    /// <summary>What another district could know of this one.</summary>
    private async Task<Theirs> TheirsAsync()
    {
        var district = library.District.Id;
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        var patrons = await context.Patrons.Where(p => p.DistrictId == district && p.Guid != null).OrderBy(p => p.Id).Take(2).ToListAsync();
        var (token, _) = await library
            .Service<AccessTokens>()
            .CreateAsync(
                library.District,
                "theirs",
                SecurityGroup.LibraryAdministrator,
                TokenScopes.PatronsRead,
                TimeSpan.FromDays(1),
                "test"
            );
        var account = (await library.Service<Accounts>().ListAsync(district)).First(a => !a.IsOperator);

        // A preview that can be approved or discarded, and somebody in Review who can be linked.
        var preview = await library.SyncAsync(preview: true);
        Assert.Equal(OperationStatus.Preview, preview.Status);
        if (!await context.ReviewItems.AnyAsync(r => r.DistrictId == district && r.Id == ReviewId))
        {
            context.ReviewItems.Add(
                new ReviewItem
                {
                    DistrictId = district,
                    Id = ReviewId,
                    RosterId = "theirs-1",
                    RoleGroup = RoleGroup.Student,
                    Status = ReviewStatus.Open,
                    Reason = "test",
                    Values = $$"""{"{{PatronFields.LastName}}":[null,"Waitingperson"],"{{PatronFields.FirstName}}":[null,"Ada"]}""",
                    OperationId = preview.Id,
                }
            );
            await context.SaveChangesAsync();
        }

        return new(
            patrons[0].Barcode,
            patrons[1].Barcode,
            library.Sandbox.District.Schools.First().SourcedId,
            await context.SignInSessions.Select(s => s.Id).FirstAsync(),
            [
                await context.Operations.Where(o => o.DistrictId == district).Select(o => o.Id).FirstAsync(),
                preview.Id,
                ReviewId,
                account.Id,
                token.Id,
            ],
            [
                "Waitingperson",
                account.Email,
                library.District.Name,
                .. patrons.Select(p => p.Guid!),
                .. patrons.Select(p => p.Email).OfType<string>().Where(e => e.Length > 0),
            ]
        );
    }

    private static string Value(string name, Type type, long id, Theirs theirs) =>
        type == typeof(bool) || type == typeof(bool?) ? "true"
        : type.IsEnum ? Enum.GetNames(type)[^1]
        : type == typeof(long) || type == typeof(int) || type == typeof(long?) || type == typeof(int?)
            ? id.ToString(CultureInfo.InvariantCulture)
        : Word(name, theirs);

    private static string Word(string name, Theirs theirs) =>
        name.ToUpperInvariant() switch
        {
            "SITE" or "CODE" or "THRESHOLDSOFSITE" => "S01",
            "ORG" => theirs.Org,
            "OTHER" or "SECOND" => theirs.Second,
            "SESSION" => theirs.Session,
            "DISTRICT" => "DEMO",
            "GROUP" => "Librarian",
            "CONFIRM" or "SURE" or "CLEAR" => "yes",
            _ => theirs.Barcode,
        };

    /// <summary>What the server does by itself, after a sync and once a day, is none of what is looked for: it is done.</summary>
    private async Task CalmAsync()
    {
        await library.Service<RetentionService>().EnqueueDueAsync();
        while (await library.Service<Aftermath>().SettleAsync() > 0) { }
    }

    private const int ReviewId = 7_000_001;

    private static string? Part(string name, string barcode, long id) =>
        name switch
        {
            "barcode" => barcode,
            "id" => id.ToString(CultureInfo.InvariantCulture),
            "code" => "S01",
            "service" => "classlink",
            _ => null,
        };

    private static IEnumerable<(PageActionDescriptor Page, HandlerMethodDescriptor Handler)> Handlers(PageRoutes pages) =>
        pages.All.SelectMany(page =>
            pages
                .HandlersOf(page)
                .Where(h => h.HttpMethod == "Post")
                .Where(h => Access.Of($"{page.ViewEnginePath} Post{h.Name}") is { } need and not Need.Operator && need != Need.Anyone)
                .Select(h => (page, h))
        );

    /// <summary>All rows that name a district, table by table.</summary>
    private async Task<Dictionary<string, List<string>>> RowsAsync(int districtId)
    {
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        var connection = context.Database.GetDbConnection();
        await connection.OpenAsync();
        var all = new Dictionary<string, List<string>>(StringComparer.Ordinal);
        foreach (var table in RowSecurity.Tables(context.Model))
        {
            await using var command = connection.CreateCommand();
            command.CommandText = $"SELECT * FROM {table} WHERE district_id = {districtId}";
            await using var reader = await command.ExecuteReaderAsync();
            var rows = new List<string>();
            while (await reader.ReadAsync())
            {
                rows.Add(string.Join('|', Enumerable.Range(0, reader.FieldCount).Select(i => $"{reader.GetName(i)}={reader.GetValue(i)}")));
            }

            rows.Sort(StringComparer.Ordinal);
            all[table] = rows;
        }

        return all;
    }

    private static void Same(Dictionary<string, List<string>> before, Dictionary<string, List<string>> after)
    {
        foreach (var (table, rows) in before)
        {
            Assert.True(
                rows.SequenceEqual(after[table]),
                $"{table}: {string.Join("; ", rows.Except(after[table]).Concat(after[table].Except(rows)).Take(4))}"
            );
        }
    }

    private async Task<JsonDocument> DocumentAsync()
    {
        using var http = new HttpClient { BaseAddress = library.Url };
        return JsonDocument.Parse(await http.GetStringAsync(new Uri("/api/v1/openapi.json", UriKind.Relative)));
    }

    private static IEnumerable<(string Path, HttpMethod Method, JsonElement? Schema)> Bodies(JsonElement document) =>
        from path in document.GetProperty("paths").EnumerateObject()
        from method in path.Value.EnumerateObject()
        where method.Value.ValueKind == JsonValueKind.Object && method.Value.TryGetProperty("requestBody", out _)
        let content = method.Value.GetProperty("requestBody").GetProperty("content")
        where content.TryGetProperty("application/json", out _)
        select (
            path.Name,
            HttpMethod.Parse(method.Name.ToUpperInvariant()),
            (JsonElement?)content.GetProperty("application/json").GetProperty("schema")
        );

    /// <summary>Every method of every address, with the one kind of content that it takes.</summary>
    private static IEnumerable<(string Path, HttpMethod Method, JsonProperty? Content)> Methods(JsonElement document) =>
        from path in document.GetProperty("paths").EnumerateObject()
        from method in path.Value.EnumerateObject()
        where method.Value.ValueKind == JsonValueKind.Object
        select (
            path.Name,
            HttpMethod.Parse(method.Name.ToUpperInvariant()),
            method.Value.TryGetProperty("requestBody", out var body)
                ? (JsonProperty?)body.GetProperty("content").EnumerateObject().First()
                : null
        );

    private static string Fill(string path, string barcode, string id, string code) =>
        path.Replace("{barcode}", Uri.EscapeDataString(barcode), StringComparison.Ordinal)
            .Replace("{id}", id, StringComparison.Ordinal)
            .Replace("{service}", "classlink", StringComparison.Ordinal)
            .Replace("/districts/{code}", $"/districts/{code}", StringComparison.Ordinal)
            .Replace("{code}", "S01", StringComparison.Ordinal)
            .Replace("{name}", "none", StringComparison.Ordinal);

    /// <summary>A body of the right shape.</summary>
    private static JsonNode? Body(JsonElement document, JsonElement schema, Func<string, string> word, string name = "")
    {
        if (schema.TryGetProperty("$ref", out var reference))
        {
            var part = reference.GetString()!.Split('/')[^1];
            return Body(document, document.GetProperty("components").GetProperty("schemas").GetProperty(part), word, name);
        }

        if (schema.TryGetProperty("allOf", out var all))
        {
            return Body(document, all[0], word, name);
        }

        switch (schema.TryGetProperty("type", out var type) ? type.GetString() : "object")
        {
            case "object":
                var body = new JsonObject();
                if (schema.TryGetProperty("properties", out var properties))
                {
                    foreach (var property in properties.EnumerateObject())
                    {
                        body[property.Name] = Body(document, property.Value, word, property.Name);
                    }
                }
                else if (schema.TryGetProperty("additionalProperties", out var more) && more.ValueKind == JsonValueKind.Object)
                {
                    body["notes"] = Body(document, more, word, "notes");
                }

                return body;
            case "array":
                return new JsonArray(Body(document, schema.GetProperty("items"), word, name));
            case "boolean":
                return true;
            case "integer" or "number":
                return 1;
            default:
                return word(name);
        }
    }

    /// <summary>Bodies that do not fit: of another kind, empty, and the right one with one member that is something else.</summary>
    private static IEnumerable<string> Misfits(JsonElement document, JsonElement schema)
    {
        foreach (var whole in (string[])["{}", "[]", "null", "\"x\"", "1", "{\"unknown\":1}", "{", ""])
        {
            yield return whole;
        }

        if (Body(document, schema, _ => "x") is not JsonObject right)
        {
            yield break;
        }

        JsonNode?[] others =
        [
            null,
            1,
            -1e300,
            true,
            "",
            " ",
            "\0",
            new string('x', 20_000),
            "😀\u202e",
            new JsonArray(),
            new JsonArray((JsonNode?)null),
            new JsonObject(),
        ];
        foreach (var name in right.Select(p => p.Key).ToList())
        {
            foreach (var value in others)
            {
                var body = right.DeepClone().AsObject();
                body[name] = value?.DeepClone();
                yield return body.ToJsonString();
            }

            var without = right.DeepClone().AsObject();
            without.Remove(name);
            yield return without.ToJsonString();
        }
    }

    private async Task<District> AddDistrictAsync() =>
        await library.Service<DistrictService>().AddAsync($"OD{Guid.NewGuid():N}"[..12], "Another district", null, "test");

    private async Task<string> TokenAsync(District? district, long? account = null) =>
        (
            await library
                .Service<AccessTokens>()
                .CreateAsync(
                    district,
                    "test",
                    SecurityGroup.DistrictAdministrator,
                    AccessTokens.AllOfDistrict,
                    TimeSpan.FromDays(1),
                    "test",
                    account
                )
        ).Token;

    private HttpClient Client(string token)
    {
        var http = new HttpClient { BaseAddress = library.Url };
        http.DefaultRequestHeaders.Authorization = new("Bearer", token);
        return http;
    }

    [GeneratedRegex(@"\{\w+\}", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex PathPart();

    [GeneratedRegex("name=\"seen\" value=\"(?<seen>[^\"]+)\"", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex SeenField();

    [GeneratedRegex("name=\"__RequestVerificationToken\" type=\"hidden\" value=\"(?<token>[^\"]+)\"", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex TokenField();
}
