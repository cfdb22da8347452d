using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc.RazorPages;
using Microsoft.AspNetCore.Routing;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Rollcall.Audit;
using Rollcall.Districts;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Server.Api;
using Rollcall.Server.Pages.Parts;
using Rollcall.Server.Tests.Pages;
using Rollcall.SignIn;
using Rollcall.Storage;

namespace Rollcall.Server.Tests.Api;

public sealed class SqliteApiTests(SyncedLibrary library) : ApiTests(library), IClassFixture<SyncedLibrary>;

public sealed class PostgresApiTests(PostgresLibrary library) : ApiTests(library), IClassFixture<PostgresLibrary>
{
    private readonly PostgresLibrary _library = library;

    [Fact]
    public async Task A_disk_that_is_full_is_no_fault_of_the_program()
    {
        const string table = "retention_settings";
        var database = _library.Service<RollcallDatabase>();
        await using var owner = await database.OpenAsync();
        await Sql.ExecuteAsync(
            owner,
            null,
            $"CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION USING ERRCODE = ''53100''; END'; CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON {table} EXECUTE FUNCTION full_disk()",
            default
        );
        try
        {
            var token = await _library
                .Service<AccessTokens>()
                .CreateAsync(
                    _library.District,
                    "full",
                    SecurityGroup.DistrictAdministrator,
                    AccessTokens.AllOfDistrict,
                    TimeSpan.FromDays(1),
                    "test"
                );
            using var http = new HttpClient { BaseAddress = _library.Url };
            http.DefaultRequestHeaders.Authorization = new("Bearer", token.Token);
            using var change = JsonContent.Create(new { logDays = 321 });
            using var answer = await http.PatchAsync(new Uri("/api/v1/retention", UriKind.Relative), change);
            Assert.Equal(HttpStatusCode.ServiceUnavailable, answer.StatusCode);
            Assert.Contains("takes no writes", await answer.Content.ReadAsStringAsync(), StringComparison.Ordinal);

            using var visitor = new Visitor(_library.Url);
            const string page = "/preferences/retention";
            var fields = Visitor.FieldsOf(await visitor.PageAsync(page), "logs");
            Visitor.Put(fields, "logs", "321");
            using var posted = await visitor.PostAsync(page, [.. fields, Visitor.TokenOf(await visitor.PageAsync(page))]);
            Assert.Equal(HttpStatusCode.ServiceUnavailable, posted.StatusCode);
            Assert.Contains("takes no writes", await posted.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        }
        finally
        {
            await Sql.ExecuteAsync(owner, null, "DROP FUNCTION full_disk CASCADE", default);
        }
    }
}

/// <summary>The REST API: who gets in, and what it answers.</summary>
public abstract class ApiTests(SyncedLibrary library)
{
    private const string Root = "/api/v1";

    [Fact]
    public async Task No_token_gets_more_than_its_group_and_scopes_and_no_other_district()
    {
        var other = await library.Service<DistrictService>().AddAsync($"API{Guid.NewGuid():N}"[..12], "Another district", null, "test");
        var mine = library.District;
        var gone = await TokenAsync(mine, SecurityGroup.DistrictAdministrator, AccessTokens.AllOfDistrict);
        var rows = await library.Service<AccessTokens>().ListAsync(mine.Id);
        await library.Service<AccessTokens>().RevokeAsync(mine.Id, rows[0].Id, "test");
        (string Who, SecurityGroup? Group, TokenScopes Scopes, bool Mine, string? Token)[] callers =
        [
            ("nobody", null, TokenScopes.None, false, null),
            ("a forged token", null, TokenScopes.None, false, AccessTokens.Prefix + new string('A', 43)),
            ("a revoked token", null, TokenScopes.None, false, gone),
            .. AccessTokens
                .Words.Where(w => w.Scope != TokenScopes.Installation)
                .Select(w =>
                    (
                        w.Word,
                        (SecurityGroup?)SecurityGroup.DistrictAdministrator,
                        w.Scope,
                        true,
                        (string?)TokenAsync(mine, SecurityGroup.DistrictAdministrator, w.Scope).GetAwaiter().GetResult()
                    )
                ),
            (
                "library administrator",
                SecurityGroup.LibraryAdministrator,
                AccessTokens.AllOfDistrict,
                true,
                await TokenAsync(mine, SecurityGroup.LibraryAdministrator, AccessTokens.AllOfDistrict)
            ),
            (
                "another district",
                SecurityGroup.DistrictAdministrator,
                AccessTokens.AllOfDistrict,
                false,
                await TokenAsync(other, SecurityGroup.DistrictAdministrator, AccessTokens.AllOfDistrict)
            ),
            ("operator", null, TokenScopes.Installation, false, await TokenAsync(null, default, default)),
        ];
        var barcode = (await library.Service<PatronService>().PageAsync(mine.Id, new(), PatronSort.Name, false, 1, 1)).Patrons[0].Barcode;
        foreach (var (who, group, scopes, isMine, token) in callers)
        {
            using var http = Client(token);
            foreach (var (route, path, method) in Routes(barcode))
            {
                var need = Access.Of(route)!.Value;
                var scope = Access.ScopeOf(route);
                using var request = new HttpRequestMessage(method, path);
                if (method != HttpMethod.Get)
                {
                    // No body: whoever gets in is told that it is missing, and nothing happens.
                    request.Content = new StringContent(
                        "",
                        Encoding.UTF8,
                        path.EndsWith("import", StringComparison.Ordinal) ? "text/csv" : "application/json"
                    );
                }

                using var response = await http.SendAsync(request);
                var body = await response.Content.ReadAsStringAsync();
                var expected =
                    need == Need.Anyone ? (HttpStatusCode?)null
                    : token is null || (group is null && scopes == TokenScopes.None) ? HttpStatusCode.Unauthorized
                    : need == Need.SignedIn ? null
                    : need == Need.Operator ? (scopes == TokenScopes.Installation ? null : HttpStatusCode.Forbidden)
                    : group >= Access.Group(need) && scopes.HasFlag(scope!.Value) ? null
                    : HttpStatusCode.Forbidden;
                if (expected is { } status)
                {
                    Assert.True(status == response.StatusCode, $"{who} got {response.StatusCode} from {route}");
                    Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
                }
                else
                {
                    Assert.True(
                        response.StatusCode
                            is not (HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden or HttpStatusCode.InternalServerError),
                        $"{who} got {response.StatusCode} from {route}: {body}"
                    );
                }

                if (!isMine)
                {
                    Assert.DoesNotContain(
                        barcode,
                        body.Replace($"barcode {barcode}", "", StringComparison.Ordinal),
                        StringComparison.Ordinal
                    );
                    Assert.DoesNotContain(
                        mine.Name,
                        group is null && scopes == TokenScopes.Installation ? "" : body,
                        StringComparison.Ordinal
                    );
                }
            }
        }

        // Who may turn the roster service off, or remove the partner key, has done so: the tests that come after, in whatever order, find it on.
        await library.Service<Rollcall.Integrations.IntegrationService>().StorePartnerKeyAsync(library.Sandbox.Options.PartnerKey, "test");
        await library
            .Service<Rollcall.Integrations.IntegrationService>()
            .TurnOnAsync(mine.Id, Rollcall.Integrations.IntegrationKind.ClassLink, clear: true, "test");

        // A browser's session opens nothing here: no page elsewhere can call with it.
        using var browser = new Visitor(library.Url);
        Assert.Equal(HttpStatusCode.Unauthorized, (await browser.GetAsync($"{Root}/patrons")).Status);
    }

    [Fact]
    public async Task No_route_passes_a_parameter_over_that_it_does_not_know()
    {
        var own = await TokenAsync(library.District, SecurityGroup.DistrictAdministrator, AccessTokens.AllOfDistrict);
        var operators = await TokenAsync(null, default, default);
        var described = JsonDocument
            .Parse(await (await Client(null).GetAsync(new Uri($"{Root}/openapi.json", UriKind.Relative))).Content.ReadAsStringAsync())
            .RootElement.GetProperty("paths");
        var routes = Routes("none");
        Assert.True(routes.Count > 90);
        foreach (var (route, path, method) in routes)
        {
            using var http = Client(Access.Of(route) == Need.Operator ? operators : own);
            using var request = new HttpRequestMessage(method, $"{path}?sit=S01");
            using var response = await http.SendAsync(request);
            var problem = await ProblemAsync(response, HttpStatusCode.BadRequest, "no parameter 'sit'");

            // It names what there is: all that the document has.
            var address = route.Split(' ')[0].Replace(":long", "", StringComparison.Ordinal).Replace(":int", "", StringComparison.Ordinal);
            var known =
                described.TryGetProperty($"/{address.TrimStart('/')}", out var item)
                && item.GetProperty(method.Method.ToLowerInvariant()).TryGetProperty("parameters", out var parameters)
                    ? parameters.EnumerateArray().Where(p => p.GetProperty("in").GetString() == "query").Select(p => p.GetProperty("name"))
                    : [];
            Assert.Contains(
                known.Any() ? $": it takes {string.Join(", ", known)}." : ": it takes none.",
                problem.GetProperty("detail").GetString(),
                StringComparison.Ordinal
            );
        }

        // The case of a name decides nothing, and a stranger is not told what there is.
        using var mine = Client(own);
        Assert.Equal(HttpStatusCode.OK, (await mine.GetAsync(new Uri($"{Root}/patrons.csv?SITE=S01", UriKind.Relative))).StatusCode);
        await ProblemAsync(
            await Client(null).GetAsync(new Uri($"{Root}/patrons.csv?sit=S01", UriKind.Relative)),
            HttpStatusCode.Unauthorized,
            "token"
        );
    }

    [Fact]
    public async Task A_token_never_does_more_than_whoever_made_it()
    {
        var (account, _) = await library
            .Service<Accounts>()
            .AddAsync("maker@library.example", library.District, SecurityGroup.DistrictAdministrator, null, false, "test");
        var tokens = library.Service<AccessTokens>();
        var (_, token) = await tokens.CreateAsync(
            library.District,
            "by an account",
            SecurityGroup.DistrictAdministrator,
            AccessTokens.AllOfDistrict,
            TimeSpan.FromDays(1),
            new Actor("maker", SecurityGroup.DistrictAdministrator),
            account.Id
        );
        using var http = Client(token);
        Assert.Equal(HttpStatusCode.OK, (await http.GetAsync($"{Root}/integrations")).StatusCode);
        await library
            .Service<Accounts>()
            .AddAsync("maker@library.example", library.District, SecurityGroup.LibraryAdministrator, null, false, "test");
        Assert.Equal(HttpStatusCode.Forbidden, (await http.GetAsync($"{Root}/integrations")).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await http.GetAsync($"{Root}/operations")).StatusCode);
        await library
            .Service<Accounts>()
            .AddAsync("maker@library.example", library.District, SecurityGroup.Librarian, "S01", false, "test");
        Assert.Equal(HttpStatusCode.Forbidden, (await http.GetAsync($"{Root}/operations")).StatusCode);
        await using (var context = library.Service<RollcallDatabase>().CreateContext())
        {
            await context.Memberships.Where(m => m.AccountId == account.Id).ExecuteDeleteAsync();
        }

        Assert.Equal(HttpStatusCode.Unauthorized, (await http.GetAsync($"{Root}/operations")).StatusCode);
        await Assert.ThrowsAsync<RollcallException>(() =>
            tokens.CreateAsync(
                library.District,
                "above",
                SecurityGroup.DistrictAdministrator,
                TokenScopes.PatronsRead,
                TimeSpan.FromDays(1),
                new Actor("x", SecurityGroup.LibraryAdministrator)
            )
        );

        // What is stored opens nothing, and the secret is nowhere.
        await using var all = library.Service<RollcallDatabase>().CreateContext();
        var row = await all.AccessTokens.AsNoTracking().SingleAsync(t => t.AccountId == account.Id);
        Assert.DoesNotContain(token[AccessTokens.Prefix.Length..], row.Hash, StringComparison.Ordinal);
        using var thief = Client(row.Hash);
        Assert.Equal(HttpStatusCode.Unauthorized, (await thief.GetAsync($"{Root}/patrons")).StatusCode);
        Assert.NotNull(row.LastUsedAt);
        Assert.DoesNotContain(
            (await library.Service<AuditLog>().PageAsync(library.District.Id, new AuditFilter(), 1, 1000)).Lines,
            l => l.Details.Contains(token, StringComparison.Ordinal)
        );
    }

    [Fact]
    public async Task Records_above_patron_are_closed_to_a_library_administrators_token()
    {
        await library
            .Service<PatronService>()
            .AddAsync(library.District.Id, [new("barcode", "API-LIB"), new("lastName", "Reed"), new("group", "Librarian")], "test");
        await library.Service<PatronService>().AddAsync(library.District.Id, [new("barcode", "API-PAT"), new("lastName", "Reed")], "test");
        using var http = Client(await TokenAsync(library.District, SecurityGroup.LibraryAdministrator, AccessTokens.AllOfDistrict));
        foreach (
            var (path, body) in (KeyValuePair<string, object>[])
                [
                    new("API-LIB", new { fields = new { email = "mine@x.example" } }),
                    new("API-PAT", new { fields = new { group = "District Administrator" } }),
                    new("API-PAT", new { fields = new { guid = "mine" } }),
                ]
        )
        {
            await ProblemAsync(
                await http.PatchAsJsonAsync($"{Root}/patrons/{path}", body),
                HttpStatusCode.UnprocessableEntity,
                "only a District Administrator"
            );
        }

        foreach (var (keep, gone) in (KeyValuePair<string, string>[])[new("API-LIB", "API-PAT"), new("API-PAT", "API-LIB")])
        {
            await ProblemAsync(
                await http.PostAsJsonAsync($"{Root}/patrons/{keep}/merge", new { other = gone }),
                HttpStatusCode.UnprocessableEntity,
                "only a District Administrator"
            );
        }

        using var file = new StringContent("barcode,notes\nAPI-LIB,x\n", Encoding.UTF8, "text/csv");
        var refused = await ProblemAsync(
            await http.PostAsync(new Uri($"{Root}/patrons/import", UriKind.Relative), file),
            HttpStatusCode.UnprocessableEntity,
            "only a District Administrator"
        );
        Assert.Equal(1, refused.GetProperty("problems").GetArrayLength());
    }

    [Fact]
    public async Task The_same_key_starts_a_thing_once()
    {
        using var http = Client(await TokenAsync(library.District, SecurityGroup.LibraryAdministrator, AccessTokens.AllOfDistrict));
        Task<HttpResponseMessage> Add(string key, string name)
        {
            var request = new HttpRequestMessage(HttpMethod.Post, $"{Root}/patrons")
            {
                Content = JsonContent.Create(new { fields = new Dictionary<string, string> { ["lastName"] = name, ["site"] = "S01" } }),
            };
            request.Headers.Add("Idempotency-Key", key);
            return http.SendAsync(request);
        }

        var answers = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Add("one", "Idem")));
        Assert.Contains(answers, a => a.StatusCode == HttpStatusCode.Created);
        Assert.All(answers, a => Assert.True(a.StatusCode is HttpStatusCode.Created or HttpStatusCode.Conflict, a.StatusCode.ToString()));
        var again = await Add("one", "Idem");
        Assert.Equal(HttpStatusCode.Created, again.StatusCode);
        Assert.Equal(["true"], again.Headers.GetValues("Idempotent-Replayed"));
        Assert.NotNull(again.Headers.Location);
        Assert.Equal(answers.First(a => a.StatusCode == HttpStatusCode.Created).Headers.Location, again.Headers.Location);
        Assert.Equal(
            await answers.First(a => a.StatusCode == HttpStatusCode.Created).Content.ReadAsStringAsync(),
            await again.Content.ReadAsStringAsync()
        );
        Assert.Equal(
            1,
            (
                await library
                    .Service<PatronService>()
                    .PageAsync(library.District.Id, new PatronFilter("Idem"), PatronSort.Name, false, 1, 9)
            ).Total
        );
        await ProblemAsync(await Add("one", "Other"), HttpStatusCode.UnprocessableEntity, "another request");
        await ProblemAsync(await Add("a key", "Idem"), HttpStatusCode.BadRequest, "Idempotency-Key");

        // Where it is not heeded it is not taken either.
        var unheeded = new HttpRequestMessage(HttpMethod.Post, $"{Root}/sites") { Content = JsonContent.Create(new { code = "X9" }) };
        unheeded.Headers.Add("Idempotency-Key", "three");
        using var administrator = Client(
            await TokenAsync(library.District, SecurityGroup.DistrictAdministrator, AccessTokens.AllOfDistrict)
        );
        await ProblemAsync(await administrator.SendAsync(unheeded), HttpStatusCode.BadRequest, "takes no Idempotency-Key");
        Assert.DoesNotContain(await library.Service<SiteService>().ListAsync(library.District.Id), s => s.Code == "X9");

        // What was refused started nothing, and may be sent again.
        await ProblemAsync(await Add("two", " "), HttpStatusCode.UnprocessableEntity, "");
        Assert.Equal(HttpStatusCode.UnprocessableEntity, (await Add("two", " ")).StatusCode);

        // The keys of another token are its own.
        using var other = Client(await TokenAsync(library.District, SecurityGroup.LibraryAdministrator, AccessTokens.AllOfDistrict));
        var another = new HttpRequestMessage(HttpMethod.Post, $"{Root}/operations/sync")
        {
            Content = JsonContent.Create(new { preview = true }),
        };
        another.Headers.Add("Idempotency-Key", "one");
        Assert.Equal(HttpStatusCode.Accepted, (await other.SendAsync(another)).StatusCode);
    }

    /// <summary>What the screens filter by, programs filter by; and a filter that there is none of is not taken for none.</summary>
    [Fact]
    public async Task Operations_logs_histories_and_the_installation_are_asked_for_as_the_screens_do()
    {
        using var http = Client(await TokenAsync(library.District, SecurityGroup.LibraryAdministrator, AccessTokens.AllOfDistrict));
        var mark = $"F{Guid.NewGuid():N}"[..8];
        var patrons = library.Service<PatronService>();
        await patrons.AddAsync(library.District.Id, [new("barcode", mark), new("lastName", "Filtered"), new("site", "S01")], mark);
        for (var i = 0; i < 4; i++)
        {
            await patrons.EditAsync(library.District.Id, mark, [new("nickname", $"n{i}")], "somebody else");
        }

        // By hand, and by whom.
        Assert.Single(await ItemsAsync($"/operations?edits=true&by={mark}"));
        Assert.Single(await ItemsAsync($"/operations?kind=edit&by={mark}"));
        Assert.Empty(await ItemsAsync($"/operations?kind=full&by={mark}"));
        Assert.Empty(await ItemsAsync($"/operations?kind=edit&by={mark}&to=2020-01-01"));
        Assert.Single(await ItemsAsync($"/operations?kind=edit&by={mark}&from=2020-01-01&to=2999-01-01"));
        await ProblemAsync(
            await http.GetAsync(new Uri($"{Root}/operations?kind=odd", UriKind.Relative)),
            HttpStatusCode.UnprocessableEntity,
            "changes"
        );

        var sync = (await ItemsAsync("/operations?kind=full"))[^1].GetProperty("operation").GetInt64();
        var all = await ItemsAsync($"/operations/{sync}/log?limit=1000");
        var mine = await ItemsAsync($"/operations/{sync}/log?limit=1000&site=S01&outcome=created");
        Assert.InRange(mine.Count, 1, all.Count - 1);
        Assert.All(mine, m => Assert.Equal("created", m.GetProperty("outcome").GetString()));
        var name = mine[0].GetProperty("barcode").GetString()!;
        Assert.Equal(name, Assert.Single(await ItemsAsync($"/operations/{sync}/log?q={name}")).GetProperty("barcode").GetString());
        Assert.Empty(await ItemsAsync($"/operations/{sync}/log?held=true"));
        var lines = await http.GetStringAsync(new Uri($"{Root}/operations/{sync}/log.jsonl?site=S01&outcome=created", UriKind.Relative));
        Assert.Equal(mine.Count, lines.TrimEnd().Split('\n').Length);
        foreach (var form in (string[])["log", "log.csv", "log.jsonl"])
        {
            await ProblemAsync(
                await http.GetAsync(new Uri($"{Root}/operations/{sync}/{form}?outcome=odd", UriKind.Relative)),
                HttpStatusCode.UnprocessableEntity,
                "is no outcome"
            );
            await ProblemAsync(
                await http.GetAsync(new Uri($"{Root}/operations/{sync}/{form}?site=NOWHERE", UriKind.Relative)),
                HttpStatusCode.NotFound,
                "no site"
            );
        }

        var skips = JsonDocument.Parse(await http.GetStringAsync(new Uri($"{Root}/operations/{sync}/skips", UriKind.Relative))).RootElement;
        Assert.Equal(
            all.Count(l => l.GetProperty("outcome").GetString() == "skipped"),
            skips.EnumerateArray().Sum(s => s.GetProperty("people").GetInt32())
        );

        // A history comes in pages.
        var (seen, cursor, pages) = (new List<long>(), (string?)null, 0);
        do
        {
            var page = JsonDocument
                .Parse(
                    await http.GetStringAsync(
                        new Uri($"{Root}/patrons/{mark}/history?limit=2{(cursor is null ? "" : $"&cursor={cursor}")}", UriKind.Relative)
                    )
                )
                .RootElement;
            seen.AddRange(page.GetProperty("items").EnumerateArray().Select(i => i.GetProperty("operation").GetInt64()));
            cursor = page.GetProperty("next").GetString();
            pages++;
        } while (cursor is not null);

        Assert.Equal((5, 3), (seen.Distinct().Count(), pages));
        Assert.Equal(seen.OrderDescending(), seen);
        await ProblemAsync(
            await http.GetAsync(new Uri($"{Root}/patrons/{mark}/history?cursor=odd", UriKind.Relative)),
            HttpStatusCode.UnprocessableEntity,
            ""
        );

        // What is of no district is the operator's to read.
        await library.Service<AuditLog>().AddAsync(0, mark, "account", "looked after");
        using var operators = Client(await TokenAsync(null, default, default));
        var audit = JsonDocument
            .Parse(await operators.GetStringAsync(new Uri($"{Root}/installation/audit?search={mark}", UriKind.Relative)))
            .RootElement.GetProperty("items");
        Assert.Equal("looked after", Assert.Single(audit.EnumerateArray()).GetProperty("details").GetString());
        Assert.Equal(HttpStatusCode.Forbidden, (await http.GetAsync(new Uri($"{Root}/installation/audit", UriKind.Relative))).StatusCode);

        async Task<List<JsonElement>> ItemsAsync(string path) =>
            [
                .. JsonDocument
                    .Parse(await http.GetStringAsync(new Uri(Root + path, UriKind.Relative)))
                    .RootElement.GetProperty("items")
                    .EnumerateArray(),
            ];
    }

    [Fact]
    public async Task What_is_given_out_after_an_erasure_names_nobody_who_was_erased()
    {
        using var http = Client(await TokenAsync(library.District, SecurityGroup.DistrictAdministrator, AccessTokens.AllOfDistrict));
        var mark = $"G{Guid.NewGuid():N}"[..9].ToUpperInvariant();
        string[] marks = [mark, "Vanishington", "Quentina", "quentina.v@example.org"];
        var patrons = library.Service<PatronService>();
        await patrons.AddAsync(
            library.District.Id,
            [new("barcode", mark), new("lastName", marks[1]), new("firstName", marks[2]), new("email", marks[3]), new("site", "S01")],
            "test"
        );
        await patrons.EditAsync(library.District.Id, mark, [new("nickname", "Q")], "test");
        await library.Service<AuditLog>().AddAsync(library.District.Id, "Vanishington, Quentina", "sites", $"S01 for {mark}");
        var before = await EverythingAsync();
        Assert.All(marks, m => Assert.Contains(m, before, StringComparison.OrdinalIgnoreCase));
        var started = await http.PostAsync(
            new Uri($"{Root}/patrons/{mark}/erasure", UriKind.Relative),
            JsonContent.Create(new { barcode = mark })
        );
        Assert.Equal(HttpStatusCode.Accepted, started.StatusCode);
        var id = JsonDocument.Parse(await started.Content.ReadAsStringAsync()).RootElement.GetProperty("operation").GetInt64();
        Assert.Equal(OperationStatus.Completed, (await library.EndOfAsync(id)).Status);
        var after = await EverythingAsync();
        Assert.All(marks, m => Assert.DoesNotContain(m, after, StringComparison.OrdinalIgnoreCase));

        async Task<string> EverythingAsync()
        {
            var text = new StringBuilder();
            var operations = JsonDocument
                .Parse(await ReadAsync("/operations?edits=true&limit=1000"))
                .RootElement.GetProperty("items")
                .EnumerateArray()
                .Select(o => o.GetProperty("operation").GetInt64());
            foreach (
                var path in operations
                    .SelectMany(o =>
                        new[]
                        {
                            $"/operations/{o}/log.csv",
                            $"/operations/{o}/log.jsonl",
                            $"/operations/{o}/log?limit=1000",
                            $"/operations/{o}",
                        }
                    )
                    .Concat(["/patrons.csv", "/patrons.jsonl", "/audit?limit=1000", "/review", "/notices", "/lists/arrivals?limit=1000"])
                    .ToList()
            )
            {
                text.AppendLine(await ReadAsync(path));
            }

            return text.ToString();
        }

        Task<string> ReadAsync(string path) => http.GetStringAsync(new Uri(Root + path, UriKind.Relative));
    }

    [Fact]
    public async Task Erasing_somebody_carries_nothing_out_twice()
    {
        var token = await TokenAsync(library.District, SecurityGroup.LibraryAdministrator, AccessTokens.AllOfDistrict);
        using var http = Client(token);
        Task<HttpResponseMessage> Add(string key, string barcode)
        {
            var request = new HttpRequestMessage(HttpMethod.Post, $"{Root}/patrons")
            {
                Content = JsonContent.Create(
                    new
                    {
                        fields = new Dictionary<string, string>
                        {
                            ["barcode"] = barcode,
                            ["lastName"] = "Answered",
                            ["site"] = "S01",
                        },
                    }
                ),
            };
            request.Headers.Add("Idempotency-Key", key);
            return http.SendAsync(request);
        }

        var mark = $"E{Guid.NewGuid():N}"[..9];
        Assert.Equal(HttpStatusCode.Created, (await Add("of-another", $"{mark}1")).StatusCode);
        Assert.Equal(HttpStatusCode.Created, (await Add("of-the-person", $"{mark}2")).StatusCode);
        Assert.Equal(HttpStatusCode.Created, (await Add($"add-{mark}2", $"{mark}3")).StatusCode);
        var grant = (await library.Service<AccessTokens>().FindAsync(token))!;
        await using (var context = library.Service<RollcallDatabase>().CreateContext())
        {
            var one = await context.IdempotentRequests.AsNoTracking().SingleAsync(r => r.TokenId == grant.TokenId && r.Key == "of-another");
            context.IdempotentRequests.Add(
                new IdempotentRequest
                {
                    TokenId = grant.TokenId,
                    Key = "at-work",
                    Request = one.Request,
                    CreatedAt = one.CreatedAt,
                }
            );
            await context.SaveChangesAsync();
        }

        await library.EndOfAsync(
            await library.Service<Rollcall.Patrons.Erasure.PatronErasure>().EnqueueAsync(library.District.Id, $"{mark}2", "test")
        );
        await using (var context = library.Service<RollcallDatabase>().CreateContext())
        {
            Assert.Equal(
                [("at-work", 0), ("of-another", 201), ("of-the-person", 201)],
                (await context.IdempotentRequests.Where(r => r.TokenId == grant.TokenId).ToListAsync())
                    .Select(r => (r.Key, r.Status))
                    .OrderBy(r => r.Key, StringComparer.Ordinal)
            );
            Assert.False(await context.IdempotentRequests.AnyAsync(r => r.TokenId == grant.TokenId && r.Body != null));
        }

        // Whoever was erased does not come back with a repetition.
        await ProblemAsync(await Add("of-another", $"{mark}1"), HttpStatusCode.Conflict, "erased");
        await ProblemAsync(await Add("of-the-person", $"{mark}2"), HttpStatusCode.Conflict, "erased");
        await ProblemAsync(await Add("at-work", $"{mark}1"), HttpStatusCode.Conflict, "being worked on");
        Assert.Equal(HttpStatusCode.NotFound, (await http.GetAsync(new Uri($"{Root}/patrons/{mark}2", UriKind.Relative))).StatusCode);
    }

    [Fact]
    public async Task Lists_come_in_pages_that_neither_skip_nor_repeat_and_changes_are_followed()
    {
        using var http = Client(await TokenAsync(library.District, SecurityGroup.LibraryAdministrator, AccessTokens.AllOfDistrict));
        async Task<(List<JsonElement> Items, JsonElement Last)> AllAsync(string path)
        {
            var items = new List<JsonElement>();
            JsonElement page;
            string? cursor = null;
            do
            {
                page = await http.GetFromJsonAsync<JsonElement>($"{path}{(cursor is null ? "" : $"&cursor={cursor}")}");
                items.AddRange(page.GetProperty("items").EnumerateArray());
                cursor = page.GetProperty("next").GetString();
            } while (cursor is not null);

            return (items, page);
        }

        var total = (await library.Service<PatronService>().PageAsync(library.District.Id, new(), PatronSort.Name, false, 1, 1)).Total;
        var (byId, _) = await AllAsync($"{Root}/patrons?limit=37");
        Assert.Equal(total, byId.Select(p => p.GetProperty("barcode").GetString()).Distinct().Count());
        var (byChange, last) = await AllAsync($"{Root}/patrons?limit=37&changedSince=2000-01-01");
        Assert.Equal(total, byChange.Select(p => p.GetProperty("barcode").GetString()).Distinct().Count());
        var asOf = last.GetProperty("asOf").GetString();

        // What a long statement is still writing is stamped with the time that it began.
        Assert.InRange(
            TimeProvider.System.GetUtcNow() - last.GetProperty("asOf").GetDateTimeOffset(),
            TimeSpan.FromMinutes(14),
            TimeSpan.FromMinutes(17)
        );

        var some = byId[5].GetProperty("barcode").GetString()!;
        var saved = await http.PatchAsJsonAsync($"{Root}/patrons/{some}", new { fields = new { notes = "followed" } });
        Assert.Equal(HttpStatusCode.OK, saved.StatusCode);
        var version = (await saved.Content.ReadFromJsonAsync<JsonElement>()).GetProperty("version").GetString()!;
        var (changed, _) = await AllAsync($"{Root}/patrons?limit=1000&changedSince={asOf}");
        Assert.Contains(changed, p => p.GetProperty("notes").GetString() == "followed" && p.GetProperty("barcode").GetString() == some);

        // Whoever saw an older version changes nothing.
        await ProblemAsync(
            await http.PatchAsJsonAsync($"{Root}/patrons/{some}", new { fields = new { notes = "lost" }, version = Older(version) }),
            HttpStatusCode.UnprocessableEntity,
            "Somebody changed this patron"
        );

        // Nor does whoever saw another person, who had the barcode then.
        await ProblemAsync(
            await http.PatchAsJsonAsync(
                $"{Root}/patrons/{some}",
                new { fields = new { notes = "lost" }, version = byId[6].GetProperty("version").GetString() }
            ),
            HttpStatusCode.UnprocessableEntity,
            "belongs to another person since you looked"
        );
        await ProblemAsync(
            await http.PatchAsJsonAsync($"{Root}/patrons/{some}", new { fields = new { notes = "lost" }, version = "7" }),
            HttpStatusCode.UnprocessableEntity,
            "'7' is no version"
        );
        var same = await http.PatchAsJsonAsync($"{Root}/patrons/{some}", new { fields = new { notes = "followed on" }, version });
        Assert.Equal(HttpStatusCode.OK, same.StatusCode);

        static string Older(string version) =>
            SeenPatron.Parse(version) is { } seen ? $"{seen with { Version = seen.Version - 1 }}" : throw new FormatException(version);

        foreach (var bad in (string[])["limit=0", "limit=1001", "cursor=zzz", "cursor=MS4y", "status=Nonsense", "changedSince=yesterday"])
        {
            await ProblemAsync(await http.GetAsync($"{Root}/patrons?{bad}"), HttpStatusCode.UnprocessableEntity, "");
        }

        await ProblemAsync(await http.GetAsync($"{Root}/patrons?limit=x"), HttpStatusCode.BadRequest, "openapi.json");
        await ProblemAsync(await http.GetAsync($"{Root}/patrons?site=NOPE"), HttpStatusCode.NotFound, "no site NOPE");
        await ProblemAsync(await http.GetAsync($"{Root}/patrons/NOPE"), HttpStatusCode.NotFound, "no patron with the barcode NOPE");
        await ProblemAsync(await http.GetAsync($"{Root}/operations/999999"), HttpStatusCode.NotFound, "no operation 999999");
        await ProblemAsync(await http.GetAsync("/api/v1/nothing"), HttpStatusCode.NotFound, "nothing at this address");
        await ProblemAsync(await http.GetAsync("/api/v2/patrons"), HttpStatusCode.NotFound, "nothing at this address");
        await ProblemAsync(await http.DeleteAsync($"{Root}/patrons"), HttpStatusCode.MethodNotAllowed, "no such request");
        using var broken = new StringContent("{\"kind\":", Encoding.UTF8, "application/json");
        await ProblemAsync(
            await http.PostAsync(new Uri($"{Root}/operations/sync", UriKind.Relative), broken),
            HttpStatusCode.BadRequest,
            "openapi.json"
        );
        await ProblemAsync(
            await http.PostAsJsonAsync($"{Root}/operations/sync", new { kindd = "full" }),
            HttpStatusCode.BadRequest,
            "openapi.json"
        );

        // A barcode may hold a slash.
        await http.PostAsJsonAsync($"{Root}/patrons", new { fields = new { barcode = "A/1/2", lastName = "Slash" } });
        Assert.Equal("Slash", (await http.GetFromJsonAsync<JsonElement>($"{Root}/patrons/A%2F1%2F2")).GetProperty("lastName").GetString());
    }

    [Fact]
    public async Task A_token_with_a_part_of_the_scopes_hands_no_rights_out()
    {
        var patrons = library.Service<PatronService>();
        await patrons.AddAsync(
            library.District.Id,
            [new("barcode", "PART-ADM"), new("lastName", "Reed"), new("group", "District Administrator")],
            "test"
        );
        await patrons.AddAsync(library.District.Id, [new("barcode", "PART-PAT"), new("lastName", "Reed")], "test");
        var part = AccessTokens.AllOfDistrict & ~TokenScopes.AccountsWrite;
        using var http = Client(await TokenAsync(library.District, SecurityGroup.DistrictAdministrator, part));
        foreach (
            var (path, body) in (KeyValuePair<string, object>[])
                [
                    new("PART-PAT", new { fields = new { group = "District Administrator" } }),
                    new("PART-PAT", new { fields = new { siteAccess = "S01" } }),
                    new("PART-ADM", new { fields = new { guid = "mine" } }),
                    new("PART-ADM", new { fields = new { email = "mine@x.example" } }),
                ]
        )
        {
            await ProblemAsync(
                await http.PatchAsJsonAsync($"{Root}/patrons/{path}", body),
                HttpStatusCode.UnprocessableEntity,
                "A token needs every scope"
            );
        }

        using var file = new StringContent("barcode,group\nPART-PAT,District Administrator\n", Encoding.UTF8, "text/csv");
        await ProblemAsync(
            await http.PostAsync(new Uri($"{Root}/patrons/import", UriKind.Relative), file),
            HttpStatusCode.UnprocessableEntity,
            "only a District Administrator"
        );
        await ProblemAsync(
            await http.PostAsJsonAsync(
                $"{Root}/patrons/change",
                new { patrons = new { barcodes = (string[])["PART-PAT"] }, fields = new { group = "District Administrator" } }
            ),
            HttpStatusCode.UnprocessableEntity,
            "only a District Administrator"
        );
        using var command = await http.PostAsJsonAsync(
            $"{Root}/commands",
            new { arguments = (string[])["patron", "set", "PART-PAT", "group=District Administrator"] }
        );
        Assert.Contains("only a District Administrator", await command.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        Assert.Equal(SecurityGroup.Patron, (await patrons.GetAsync(library.District.Id, "PART-PAT")).Patron.Group);
        var notes = await http.PatchAsJsonAsync($"{Root}/patrons/PART-PAT", new { fields = new { notes = "its work" } });
        Assert.Equal(HttpStatusCode.OK, notes.StatusCode);

        using var whole = Client(await TokenAsync(library.District, SecurityGroup.DistrictAdministrator, AccessTokens.AllOfDistrict));
        var given = await whole.PatchAsJsonAsync(
            $"{Root}/patrons/PART-PAT",
            new { fields = new { group = "Librarian", siteAccess = "S01" } }
        );
        Assert.Equal(HttpStatusCode.OK, given.StatusCode);
    }

    /// <summary>What goes in as a secret is in no answer, neither to that nor to any other request; and no answer has room for one that is not told of.</summary>
    [Fact]
    public async Task A_secret_that_was_given_is_in_no_answer()
    {
        using var http = Client(await TokenAsync(library.District, SecurityGroup.DistrictAdministrator, AccessTokens.AllOfDistrict));
        using var operators = Client(await TokenAsync(null, default, default));
        using var document = JsonDocument.Parse(await http.GetStringAsync(new Uri($"{Root}/openapi.json", UriKind.Relative)));
        Assert.Equal(
            [
                "ClassLinkApplicationPatch.clientSecret",
                "ConnectBody.key",
                "ConnectBody.secret",
                "NewPartnerKey.key",
                "NoticeSettingPatch.webhookSecret",
            ],
            Members("requestBody")
        );
        Assert.Equal(
            ["AccountLink.link", "AccountView.hasPassword", "ClassLinkApplicationView.hasSecret", "MadeToken.secret", "MadeToken.token"],
            Members("responses")
        );

        const string planted = "planted-over-the-api-";
        var origin = library.Sandbox.Url.GetLeftPart(UriPartial.Authority);
        var answers = new StringBuilder();
        await SaidAsync(operators.PutAsJsonAsync($"{Root}/partner-key", new { key = planted + "partner" }));
        await SaidAsync(
            operators.PatchAsJsonAsync($"{Root}/classlink-application", new { clientId = "x", clientSecret = planted + "client" })
        );
        await SaidAsync(
            http.PatchAsJsonAsync($"{Root}/notices/settings", new { webhook = $"{origin}/hook", webhookSecret = planted + "hook" })
        );
        foreach (
            var (service, mode) in ((string, string)[])
                [
                    ("oneroster", "bearer"),
                    ("oneroster", "direct"),
                    ("oneroster", "client-credentials"),
                    ("classlink", "prefix"),
                    ("classlink", "direct"),
                    ("classlink", "proxy"),
                    ("classlink", "none"),
                ]
        )
        {
            await SaidAsync(
                http.PostAsJsonAsync(
                    $"{Root}/integrations/{service}/connect",
                    new
                    {
                        mode,
                        url = service == "oneroster" ? origin : library.Sandbox.ProxyPrefix,
                        tenantId = service == "oneroster" ? null : library.Sandbox.Options.TenantId,
                        tokenUrl = mode == "client-credentials" ? $"{origin}/token" : null,
                        key = planted + "key",
                        secret = planted + "secret",
                    }
                )
            );
        }

        var barcode = (await library.Service<PatronService>().PageAsync(library.District.Id, new(), PatronSort.Name, false, 1, 1))
            .Patrons[0]
            .Barcode;
        var operation = (await library.Service<OperationQueue>().OfKindAsync(library.District.Id, OperationKind.FullSync, 1))[0].Id;
        foreach (var (route, path, method) in Routes(barcode).Where(r => r.Method == HttpMethod.Get))
        {
            var there = path.Replace(
                "999999",
                operation.ToString(System.Globalization.CultureInfo.InvariantCulture),
                StringComparison.Ordinal
            );
            await SaidAsync((Access.Of(route) == Need.Operator ? operators : http).GetAsync(new Uri(there, UriKind.Relative)));
        }

        Assert.DoesNotContain(planted, answers.ToString(), StringComparison.OrdinalIgnoreCase);
        Assert.Contains(barcode, answers.ToString(), StringComparison.Ordinal);
        await library.Service<Rollcall.Integrations.IntegrationService>().StorePartnerKeyAsync(library.Sandbox.Options.PartnerKey, "test");
        await http.PatchAsJsonAsync($"{Root}/notices/settings", new { webhook = "" });

        async Task SaidAsync(Task<HttpResponseMessage> request)
        {
            using var response = await request;
            answers.AppendLine(response.Headers.ToString()).AppendLine(await response.Content.ReadAsStringAsync());
        }

        // Members called like a secret, of every body that is sent or answered with.
        string[] Members(string where)
        {
            var schemas = document.RootElement.GetProperty("components").GetProperty("schemas");
            var reached = new SortedSet<string>(StringComparer.Ordinal);
            foreach (var method in document.RootElement.GetProperty("paths").EnumerateObject().SelectMany(p => p.Value.EnumerateObject()))
            {
                if (method.Value.ValueKind == JsonValueKind.Object && method.Value.TryGetProperty(where, out var part))
                {
                    Reach(part);
                }
            }

            return
            [
                .. reached
                    .Where(name => schemas.GetProperty(name).TryGetProperty("properties", out _))
                    .SelectMany(name =>
                        schemas
                            .GetProperty(name)
                            .GetProperty("properties")
                            .EnumerateObject()
                            .Select(m => m.Name)
                            .Where(m =>
                                Regex.IsMatch(m, "(?i:secret|passw|token$|hash)|^key$|^link$", RegexOptions.None, TimeSpan.FromSeconds(1))
                            )
                            .Order(StringComparer.Ordinal)
                            .Select(m => $"{name}.{m}")
                    ),
            ];

            void Reach(JsonElement part)
            {
                foreach (Match name in Regex.Matches(part.GetRawText(), "#/components/schemas/(?<name>[^\"]+)"))
                {
                    if (reached.Add(name.Groups["name"].Value))
                    {
                        Reach(schemas.GetProperty(name.Groups["name"].Value));
                    }
                }
            }
        }
    }

    /// <summary>Forms send what was left blank as an empty text.</summary>
    [Fact]
    public async Task A_choice_that_says_nothing_is_nobody()
    {
        using var http = Client(await TokenAsync(library.District, SecurityGroup.DistrictAdministrator, AccessTokens.AllOfDistrict));
        var total = await library.Service<PatronService>().CountAsync(library.District.Id, new PatronFilter());
        foreach (var member in (string[])["search", "site", "status", "level", "homeroom", "roleGroup"])
        {
            foreach (var blank in (string[])["", "  ", "\u200b", "\u0301"])
            {
                var choice = new Dictionary<string, string> { [member] = blank };
                var removal = await http.PostAsJsonAsync($"{Root}/patrons/removal", new { patrons = choice, preview = false });
                var change = await http.PostAsJsonAsync(
                    $"{Root}/patrons/change",
                    new
                    {
                        patrons = choice,
                        fields = new { notes = "everybody" },
                        preview = false,
                    }
                );
                Assert.True((int)removal.StatusCode is >= 400 and < 500, $"{removal.StatusCode} from a removal by {member}");
                Assert.True((int)change.StatusCode is >= 400 and < 500, $"{change.StatusCode} from a change by {member}");
            }
        }

        Assert.Equal(total, await library.Service<PatronService>().CountAsync(library.District.Id, new PatronFilter()));
    }

    /// <summary>Whoever hangs up has not undone what was being written, and the key knows. A file that came with a key lies on no disk.</summary>
    [Fact]
    public async Task A_key_keeps_the_answer_for_whoever_hung_up()
    {
        var token = await TokenAsync(library.District, SecurityGroup.LibraryAdministrator, AccessTokens.AllOfDistrict);
        var endpoint = library
            .Service<EndpointDataSource>()
            .Endpoints.OfType<RouteEndpoint>()
            .Single(e =>
                e.RoutePattern.RawText == "/api/v1/patrons/import"
                && e.Metadata.GetMetadata<HttpMethodMetadata>()!.HttpMethods.Contains("POST")
            );
        var body = new string('x', 200_000);
        var written = 0;
        for (var sent = 1; sent <= 2; sent++)
        {
            using var hangUp = new CancellationTokenSource();
            using var gate = new ApiGate(
                async http =>
                {
                    Assert.True(Assert.IsType<Microsoft.AspNetCore.WebUtilities.FileBufferingReadStream>(http.Request.Body).InMemory);
                    await hangUp.CancelAsync();
                    written++;
                    http.RequestAborted.ThrowIfCancellationRequested();
                    await http.Response.WriteAsJsonAsync(new { written }, http.RequestAborted);
                },
                library.Service<RollcallDatabase>(),
                library.Service<ApiQuery>(),
                TimeProvider.System,
                library.Service<ILogger<ApiGate>>()
            );
            await using var confined = Confinement.Begin();
            using var scope = library.Server.Services.CreateScope();
            using var request = new MemoryStream(Encoding.UTF8.GetBytes(body));
            using var answer = new MemoryStream();
            var http = new DefaultHttpContext { RequestServices = scope.ServiceProvider, RequestAborted = hangUp.Token };
            http.SetEndpoint(endpoint);
            http.Request.Method = "POST";
            http.Request.Path = "/api/v1/patrons/import";
            http.Request.Body = System.IO.Pipelines.PipeReader.Create(request).AsStream();
            http.Request.ContentLength = request.Length;
            http.Request.Headers.Authorization = $"Bearer {token}";
            http.Request.Headers["Idempotency-Key"] = "hung-up";
            http.Response.Body = answer;
            try
            {
                await gate.InvokeAsync(http, library.Service<AccessTokens>(), library.Service<DistrictService>());
            }
            catch (OperationCanceledException)
            {
                Assert.Equal(1, sent);
            }

            Assert.Equal(1, written);
            if (sent == 2)
            {
                Assert.Equal("true", http.Response.Headers["Idempotent-Replayed"].ToString());
                Assert.Equal("{\"written\":1}", Encoding.UTF8.GetString(answer.ToArray()));
            }
        }
    }

    /// <summary>A fault tells nobody whether the commit went through: only what says that nothing was done frees a key.</summary>
    [Theory]
    [InlineData("fault", 409)]
    [InlineData("hung up", 409)]
    [InlineData("unavailable", 409)]
    [InlineData("refused", 422)]
    [InlineData("not found", 404)]
    [InlineData("long", 409)]
    public async Task A_key_is_free_again_only_where_nothing_was_done(string how, int second)
    {
        var token = await TokenAsync(library.District, SecurityGroup.LibraryAdministrator, AccessTokens.AllOfDistrict);
        var endpoint = library
            .Service<EndpointDataSource>()
            .Endpoints.OfType<RouteEndpoint>()
            .Single(e =>
                e.RoutePattern.RawText == "/api/v1/patrons/import"
                && e.Metadata.GetMetadata<HttpMethodMetadata>()!.HttpMethods.Contains("POST")
            );
        var carriedOut = 0;
        for (var sent = 1; sent <= 2; sent++)
        {
            using var gate = new ApiGate(
                async http =>
                {
                    carriedOut++;
                    http.Response.StatusCode = how is "unavailable" ? 503 : 202;
                    if (how is "unavailable" or "long")
                    {
                        await http.Response.WriteAsync(new string('x', 300_000));
                        return;
                    }

                    throw how switch
                    {
                        "refused" => new RollcallException("Not like this."),
                        "not found" => new NotFoundException("Not here."),
                        "hung up" => new OperationCanceledException(),
                        _ => new IOException("The answer of the commit was lost."),
                    };
                },
                library.Service<RollcallDatabase>(),
                library.Service<ApiQuery>(),
                TimeProvider.System,
                library.Service<ILogger<ApiGate>>()
            );
            await using var confined = Confinement.Begin();
            using var scope = library.Server.Services.CreateScope();
            using var request = new MemoryStream([1]);
            using var answer = new MemoryStream();
            var http = new DefaultHttpContext { RequestServices = scope.ServiceProvider };
            http.SetEndpoint(endpoint);
            http.Request.Method = "POST";
            http.Request.Path = "/api/v1/patrons/import";
            http.Request.Body = request;
            http.Request.ContentLength = request.Length;
            http.Request.Headers.Authorization = $"Bearer {token}";
            http.Request.Headers["Idempotency-Key"] = how.Replace(' ', '-');
            http.Response.Body = answer;
            await gate.InvokeAsync(http, library.Service<AccessTokens>(), library.Service<DistrictService>());
            var text = Encoding.UTF8.GetString(answer.ToArray());
            if (sent == 2)
            {
                Assert.Equal(second, http.Response.StatusCode);
            }
            else if (how is "fault" or "hung up")
            {
                Assert.Equal(500, http.Response.StatusCode);
                Assert.Contains("may have been carried out", text, StringComparison.Ordinal);
                Assert.DoesNotContain("Try again", text, StringComparison.Ordinal);
            }
        }

        Assert.Equal(second == 409 ? 1 : 2, carriedOut);
    }

    private static async Task<JsonElement> ProblemAsync(HttpResponseMessage response, HttpStatusCode status, string words)
    {
        var body = await response.Content.ReadAsStringAsync();
        Assert.True(status == response.StatusCode, $"{response.StatusCode} from {response.RequestMessage?.RequestUri}: {body}");
        Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
        var problem = JsonDocument.Parse(body).RootElement;
        Assert.Equal((int)status, problem.GetProperty("status").GetInt32());
        var detail = problem.GetProperty("detail").GetString()!;
        Assert.Contains(words, detail, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', detail);
        Assert.DoesNotContain("Exception", detail, StringComparison.Ordinal);
        return problem;
    }

    private HttpClient Client(string? token)
    {
        var http = new HttpClient { BaseAddress = library.Url };
        if (token is not null)
        {
            http.DefaultRequestHeaders.Authorization = new("Bearer", token);
        }

        return http;
    }

    [Fact]
    public async Task Patrons_without_a_site_are_asked_for_like_those_of_a_site()
    {
        var patrons = library.Service<PatronService>();
        await patrons.AddAsync(library.District.Id, [new("barcode", "PLACELESS1"), new("lastName", "Placeless")], "test");
        await patrons.AddAsync(
            library.District.Id,
            [new("barcode", "PLACELESS2"), new("lastName", "Placeless"), new("site", "S01")],
            "test"
        );
        using var http = new HttpClient { BaseAddress = library.Url };
        http.DefaultRequestHeaders.Authorization = new(
            "Bearer",
            await TokenAsync(library.District, SecurityGroup.LibraryAdministrator, AccessTokens.AllOfDistrict)
        );
        foreach (var path in (string[])["patrons?", "patrons.csv?", "patrons.jsonl?"])
        {
            var found = await http.GetStringAsync($"{Root}/{path}search=placeless&site=(none)");
            Assert.Contains("PLACELESS1", found, StringComparison.Ordinal);
            Assert.DoesNotContain("PLACELESS2", found, StringComparison.Ordinal);
        }

        using var request = new HttpRequestMessage(HttpMethod.Post, $"{Root}/patrons/change")
        {
            Content = JsonContent.Create(
                new
                {
                    patrons = new { site = "(none)", search = "placeless" },
                    fields = new Dictionary<string, string> { ["notes"] = "Where?" },
                    preview = false,
                }
            ),
        };
        request.Headers.Add("Idempotency-Key", "placeless");
        using var changed = await http.SendAsync(request);
        Assert.Equal(HttpStatusCode.Accepted, changed.StatusCode);
        var started = await changed.Content.ReadFromJsonAsync<JsonElement>();
        var ended = await library.EndOfAsync(started.GetProperty("operation").GetInt64());
        Assert.Equal(1, OperationQueue.CountsOf(ended).Updated);
        using var unknown = await http.GetAsync($"{Root}/patrons?site=NOWHERE");
        Assert.Equal(HttpStatusCode.NotFound, unknown.StatusCode);
    }

    [Fact]
    public async Task A_token_whose_time_is_over_opens_nothing()
    {
        var token = await TokenAsync(library.District, SecurityGroup.DistrictAdministrator, AccessTokens.AllOfDistrict);
        var id = (await library.Service<AccessTokens>().FindAsync(token))!.TokenId;
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        var past = TimeProvider.System.GetUtcNow() - TimeSpan.FromSeconds(1);
        await context.AccessTokens.Where(t => t.Id == id).ExecuteUpdateAsync(s => s.SetProperty(t => t.ExpiresAt, past));
        using var http = Client(token);
        Assert.Equal(HttpStatusCode.Unauthorized, (await http.GetAsync(new Uri($"{Root}/patrons", UriKind.Relative))).StatusCode);
    }

    private async Task<string> TokenAsync(District? district, SecurityGroup group, TokenScopes scopes) =>
        (await library.Service<AccessTokens>().CreateAsync(district, "test", group, scopes, TimeSpan.FromDays(1), "test")).Token;

    private List<(string Route, string Path, HttpMethod Method)> Routes(string barcode) =>
        [
            .. library
                .Service<EndpointDataSource>()
                .Endpoints.OfType<RouteEndpoint>()
                .Where(e =>
                    e.Metadata.GetMetadata<PageActionDescriptor>() is null
                    && e.RoutePattern.RawText!.StartsWith(ApiGate.Root, StringComparison.Ordinal)
                )
                .SelectMany(e =>
                    e.Metadata.GetMetadata<HttpMethodMetadata>()!
                        .HttpMethods.Select(m =>
                            (
                                Access.Route(e, m),
                                e.RoutePattern.RawText!.Replace("{barcode}", barcode, StringComparison.Ordinal)
                                    .Replace("{service}", "classlink", StringComparison.Ordinal)
                                    .Replace("{code}", "S01", StringComparison.Ordinal)
                                    .Replace("{id:long}", "999999", StringComparison.Ordinal)
                                    .Replace("{id:int}", "999999", StringComparison.Ordinal)
                                    .Replace("{name}", "none", StringComparison.Ordinal),
                                HttpMethod.Parse(m)
                            )
                        )
                ),
        ];
}
