using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Patrons;
using Rollcall.Server.Api;
using Rollcall.Server.Tests.Pages;
using Rollcall.SignIn;
using Rollcall.Storage;

namespace Rollcall.Server.Tests.Api;

/// <summary>What an administrator's screens do, over the API.</summary>
public sealed class SqliteApiAdministrationTests(SyncedLibrary library) : ApiAdministrationTests(library), IClassFixture<SyncedLibrary>;

/// <inheritdoc cref="SqliteApiAdministrationTests"/>
public sealed class PostgresApiAdministrationTests(PostgresLibrary library)
    : ApiAdministrationTests(library),
        IClassFixture<PostgresLibrary>;

public abstract class ApiAdministrationTests(Library library)
{
    private const string Root = "/api/v1";

    [Fact]
    public async Task Many_patrons_are_changed_and_removed_as_previews_that_somebody_approves()
    {
        using var http = await ClientAsync();
        foreach (var name in (string[])["BULK-1", "BULK-2"])
        {
            await SentAsync(
                await http.PostAsJsonAsync(
                    $"{Root}/patrons",
                    new
                    {
                        fields = new
                        {
                            barcode = name,
                            lastName = "Bulk",
                            status = "Transferred",
                        },
                    }
                )
            );
        }

        // Nobody in particular is nobody.
        foreach (var body in (object[])[new { patrons = new { } }, new { patrons = new { barcodes = Array.Empty<string>() } }])
        {
            await RefusedAsync(
                await http.PostAsJsonAsync($"{Root}/patrons/removal", body),
                HttpStatusCode.UnprocessableEntity,
                body.ToString()!.Contains("barcodes", StringComparison.Ordinal) ? "1 to 1000" : "Say which patrons"
            );
        }

        await RefusedAsync(
            await http.PostAsJsonAsync(
                $"{Root}/patrons/change",
                new { patrons = new { search = "Bulk" }, fields = new { lastName = "X" } }
            ),
            HttpStatusCode.UnprocessableEntity,
            "differs from patron to patron"
        );
        await RefusedAsync(
            await http.PostAsJsonAsync($"{Root}/patrons/removal", new { patrons = new { barcodes = (string[])["BULK-1", "NOBODY"] } }),
            HttpStatusCode.UnprocessableEntity,
            "NOBODY"
        );

        var change = await StartedAsync(
            await http.PostAsJsonAsync(
                $"{Root}/patrons/change",
                new { patrons = new { search = "Bulk", status = "Transferred" }, fields = new { notes = "left" } }
            )
        );
        Assert.Equal(("preview", 2L), await EndAsync(http, change));
        await SentAsync(await http.PostAsync(new Uri($"{Root}/operations/{change}/approve", UriKind.Relative), null));
        await EndAsync(http, change);
        Assert.Equal("left", (await http.GetFromJsonAsync<JsonElement>($"{Root}/patrons/BULK-2")).GetProperty("notes").GetString());

        // End of year: counted, exported, removed.
        var counts = await http.GetFromJsonAsync<JsonElement>($"{Root}/patron-counts");
        Assert.Equal(
            (await library.Service<PatronService>().PageAsync(library.District.Id, new(), PatronSort.Name, false, 1, 1)).Total,
            counts.EnumerateArray().Sum(c => c.GetProperty("count").GetInt32())
        );
        var csv = await http.GetStringAsync(new Uri($"{Root}/patrons.csv?search=Bulk", UriKind.Relative));
        Assert.Equal(3, csv.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length);
        Assert.Contains(
            "\"BULK-1\"",
            (await http.GetStringAsync(new Uri($"{Root}/patrons.jsonl?search=Bulk", UriKind.Relative))),
            StringComparison.Ordinal
        );
        var removal = await StartedAsync(
            await http.PostAsJsonAsync($"{Root}/patrons/removal", new { patrons = new { barcodes = (string[])["bulk-1", "BULK-2"] } })
        );
        Assert.Equal("preview", (await EndAsync(http, removal)).Status);
        await SentAsync(await http.GetAsync(new Uri($"{Root}/patrons/BULK-1", UriKind.Relative)));
        await SentAsync(await http.PostAsync(new Uri($"{Root}/operations/{removal}/approve", UriKind.Relative), null));
        await EndAsync(http, removal);
        await RefusedAsync(await http.GetAsync(new Uri($"{Root}/patrons/BULK-1", UriKind.Relative)), HttpStatusCode.NotFound, "BULK-1");

        // The lists that a school prints, in pages.
        var all = await http.GetFromJsonAsync<JsonElement>($"{Root}/lists/arrivals?limit=1000");
        Assert.True(all.GetProperty("items").GetArrayLength() > 50);
        var first = await http.GetFromJsonAsync<JsonElement>($"{Root}/lists/arrivals?limit=30");
        var second = await http.GetFromJsonAsync<JsonElement>(
            $"{Root}/lists/arrivals?limit=30&cursor={first.GetProperty("next").GetString()}"
        );
        Assert.Equal(Barcodes(all).Take(60), Barcodes(first).Concat(Barcodes(second)));
        await RefusedAsync(
            await http.GetAsync(new Uri($"{Root}/lists/arrivals?cursor=MTIz", UriKind.Relative)),
            HttpStatusCode.UnprocessableEntity,
            "cursor"
        );

        // Whoever leaves stands in the other one, by homeroom, page by page.
        Assert.Empty(Barcodes(await http.GetFromJsonAsync<JsonElement>($"{Root}/lists/leavers?site=S01&since=2000-01-01")));
        var (some, _) = await library
            .Service<PatronService>()
            .PageAsync(library.District.Id, new() { Linked = true, RoleGroup = RoleGroup.Student }, PatronSort.Barcode, false, 2, 3);
        library.Sandbox.Overrides.Remove("users", some.Select(p => p.Guid!));
        try
        {
            await library.SyncAsync();
            var left = new List<string?>();
            var pages = 0;
            string? next = null;
            do
            {
                var page = await http.GetFromJsonAsync<JsonElement>(
                    $"{Root}/lists/leavers?limit=2{(next is null ? "" : $"&cursor={next}")}"
                );
                left.AddRange(Barcodes(page));
                next = page.GetProperty("next").GetString();
                pages++;
            } while (next is not null);
            Assert.Equal(2, pages);
            Assert.Equal(
                some.OrderBy(p => p.Location, StringComparer.Ordinal).ThenBy(p => p.NameKey, StringComparer.Ordinal).Select(p => p.Barcode),
                left
            );
        }
        finally
        {
            library.Sandbox.Overrides.Clear();
            await library.SyncAsync();
        }

        static IEnumerable<string?> Barcodes(JsonElement page) =>
            page.GetProperty("items").EnumerateArray().Select(p => p.GetProperty("barcode").GetString());
    }

    [Fact]
    public async Task Preferences_and_the_audit_are_read_and_changed_without_showing_a_secret()
    {
        using var http = await ClientAsync();
        var notices = await PatchAsync(
            http,
            "notices/settings",
            new
            {
                emails = (string[])["desk@library.example"],
                events = (string[])["failed", "completed"],
                webhook = library.Sandbox.Url.ToString(),
                webhookSecret = "sixteen-or-more-characters",
            }
        );
        Assert.Equal(["failed", "completed"], notices.GetProperty("events").EnumerateArray().Select(e => e.GetString()));
        var shown = await http.GetStringAsync(new Uri($"{Root}/notices/settings", UriKind.Relative));
        Assert.Contains("desk@library.example", shown, StringComparison.Ordinal);
        Assert.DoesNotContain("sixteen", shown, StringComparison.Ordinal);
        await RefusedAsync(
            await http.PatchAsJsonAsync($"{Root}/notices/settings", new { events = (string[])["never"] }),
            HttpStatusCode.UnprocessableEntity,
            "'never' is no event"
        );
        for (var i = 0; i < 3; i++)
        {
            await SentAsync(await http.PostAsync(new Uri($"{Root}/notices/test", UriKind.Relative), null));
        }

        var told = await http.GetFromJsonAsync<JsonElement>($"{Root}/notices?limit=1000");
        Assert.Equal(JsonValueKind.Null, told.GetProperty("next").ValueKind);
        var pages = new List<string>();
        for (string? next = ""; next is not null; )
        {
            var page = await http.GetFromJsonAsync<JsonElement>($"{Root}/notices?limit=2{(next.Length == 0 ? "" : $"&cursor={next}")}");
            pages.AddRange(page.GetProperty("items").EnumerateArray().Select(n => n.GetRawText()));
            next = page.GetProperty("next").GetString();
        }

        Assert.True(pages.Count >= 3);
        Assert.Equal(told.GetProperty("items").EnumerateArray().Select(n => n.GetRawText()), pages);
        await PatchAsync(http, "notices/settings", new { emails = Array.Empty<string>(), webhook = "" });
        await RefusedAsync(
            await http.PostAsync(new Uri($"{Root}/notices/test", UriKind.Relative), null),
            HttpStatusCode.UnprocessableEntity,
            "Nobody is told"
        );
        await SentAsync(await http.GetAsync(new Uri($"{Root}/notices", UriKind.Relative)));

        await RefusedAsync(
            await http.PatchAsJsonAsync($"{Root}/integrations/classlink/sign-in", new { on = true }),
            HttpStatusCode.UnprocessableEntity,
            "does not know this installation yet"
        );
        using (var operators = Client(await TokenAsync(null, default, default)))
        {
            Assert.Equal(
                """{"clientId":null,"hasSecret":false,"acceptTiles":false}""",
                await operators.GetStringAsync(new Uri($"{Root}/classlink-application", UriKind.Relative))
            );
            var stored = await operators.PatchAsJsonAsync(
                $"{Root}/classlink-application",
                new
                {
                    clientId = "c1",
                    clientSecret = "client-secret-value",
                    acceptTiles = true,
                }
            );
            Assert.Equal(HttpStatusCode.NoContent, stored.StatusCode);
            Assert.Equal(
                """{"clientId":"c1","hasSecret":true,"acceptTiles":true}""",
                await operators.GetStringAsync(new Uri($"{Root}/classlink-application", UriKind.Relative))
            );
        }

        var signIn = await PatchAsync(http, "integrations/classlink/sign-in", new { on = true });
        Assert.True(signIn.GetProperty("on").GetBoolean());
        Assert.Equal("/signin/classlink/callback", signIn.GetProperty("redirectPath").GetString());
        Assert.False((await PatchAsync(http, "integrations/classlink/sign-in", new { on = false })).GetProperty("on").GetBoolean());
        Assert.Equal(
            "Europe/Berlin",
            (await PatchAsync(http, "district", new { timeZone = "Europe/Berlin" })).GetProperty("timeZone").GetString()
        );
        var own = await PatchAsync(
            http,
            "integrations/classlink",
            new
            {
                thresholdsOfSite = "s01",
                thresholds = new Dictionary<string, object> { ["transfers"] = new { percent = 2.5, count = 5 } },
            }
        );
        var atSite = own.GetProperty("siteThresholds").GetProperty("S01");
        Assert.Equal(2.5, atSite.GetProperty("transfers").GetProperty("percent").GetDouble());
        Assert.Equal(own.GetProperty("thresholds").GetProperty("updates").GetRawText(), atSite.GetProperty("updates").GetRawText());
        var forgotten = await PatchAsync(http, "integrations/classlink", new { thresholdsOfSite = "S01", forgetThresholds = true });
        Assert.Empty(forgotten.GetProperty("siteThresholds").EnumerateObject());
        await RefusedAsync(
            await http.PatchAsJsonAsync($"{Root}/integrations/classlink", new { forgetThresholds = true }),
            HttpStatusCode.UnprocessableEntity,
            "thresholdsOfSite"
        );
        await RefusedAsync(
            await http.PatchAsJsonAsync(
                $"{Root}/integrations/classlink",
                new { schedule = new { pauseFrom = "2020-12-20", pauseTo = "2021-01-03" } }
            ),
            HttpStatusCode.UnprocessableEntity,
            "These days are over"
        );
        await PatchAsync(http, "integrations/classlink", new { schedule = new { pauseFrom = "2126-12-20", pauseTo = "2127-01-03" } });
        var rest = await PatchAsync(
            http,
            "integrations/classlink",
            new
            {
                schedule = new
                {
                    pauseFrom = "2126-12-20",
                    pauseTo = "2127-01-03",
                    unpause = true,
                },
            }
        );
        Assert.Equal(0, rest.GetProperty("daily").GetProperty("pauses").GetArrayLength());

        // The audit, line by line over the pages, the newest first.
        var lines = new List<JsonElement>();
        string? cursor = null;
        do
        {
            var page = await http.GetFromJsonAsync<JsonElement>($"{Root}/audit?limit=3{(cursor is null ? "" : $"&cursor={cursor}")}");
            lines.AddRange(page.GetProperty("items").EnumerateArray());
            cursor = page.GetProperty("next").GetString();
        } while (cursor is not null);

        var ids = lines.ConvertAll(l => l.GetProperty("id").GetInt64());
        Assert.Equal(ids.Distinct().OrderDescending(), ids);
        Assert.Contains(
            lines,
            l =>
                l.GetProperty("action").GetString() == "log-in with ClassLink"
                && l.GetProperty("actor").GetString()!.Contains("(token ", StringComparison.Ordinal)
        );
        var found = await http.GetFromJsonAsync<JsonElement>($"{Root}/audit?action=log-in%20with%20ClassLink&search=off");
        Assert.All(found.GetProperty("items").EnumerateArray(), l => Assert.Equal("off", l.GetProperty("details").GetString()));
        Assert.DoesNotContain(lines, l => l.ToString().Contains("client-secret-value", StringComparison.Ordinal));
    }

    [Fact]
    public async Task An_operators_token_keeps_the_partner_key_and_puts_requests_for_tenants_aside()
    {
        var integrations = library.Service<Integrations.IntegrationService>();
        var requests = library.Service<Districts.TenantRequests>();
        var code = $"ASK{Guid.NewGuid():N}"[..12];
        var asking = await library.Service<Districts.DistrictService>().AddAsync(code, "Asking", null, "test");
        using var http = Client(await TokenAsync(null, default, default));
        var key = new Uri($"{Root}/partner-key", UriKind.Relative);
        var request = new Uri($"{Root}/districts/{code.ToLowerInvariant()}/tenant-request", UriKind.Relative);

        // The tests beside this one sync with the key: it is back at the end.
        var kept = library.Sandbox.Options.PartnerKey;
        try
        {
            Assert.True((await SentAsync(await http.GetAsync(key))).GetProperty("stored").GetBoolean());
            Assert.Equal(HttpStatusCode.NoContent, (await http.DeleteAsync(key)).StatusCode);
            Assert.False((await SentAsync(await http.GetAsync(key))).GetProperty("stored").GetBoolean());
            Assert.False(await integrations.HasPartnerKeyAsync());
            await RefusedAsync(await http.DeleteAsync(key), HttpStatusCode.NotFound, "No partner key");
            foreach (var wrong in (string[])["", " ", "two words"])
            {
                await RefusedAsync(
                    await http.PutAsJsonAsync(key, new { key = wrong }),
                    HttpStatusCode.UnprocessableEntity,
                    "empty or more than one word"
                );
            }

            await RefusedAsync(await http.PutAsJsonAsync(key, new { }), HttpStatusCode.BadRequest, "The body does not fit at $.key.");
            Assert.False(await integrations.HasPartnerKeyAsync());
        }
        finally
        {
            var stored = await http.PutAsJsonAsync(key, new { key = kept });
            Assert.Equal(HttpStatusCode.NoContent, stored.StatusCode);
        }

        Assert.Equal("{\"stored\":true}", await http.GetStringAsync(key));
        using (var districts = await ClientAsync())
        {
            // It is the key that the districts connect with.
            await SentAsync(await districts.PostAsync(new Uri($"{Root}/integrations/classlink/test", UriKind.Relative), null));
        }

        await RefusedAsync(await http.DeleteAsync(request), HttpStatusCode.NotFound, "asks for no tenant");
        await requests.AskAsync(asking.Id, "771", "somebody");
        Assert.Equal("771", await AsksAsync());
        Assert.Equal(HttpStatusCode.NoContent, (await http.DeleteAsync(request)).StatusCode);
        Assert.Null(await AsksAsync());
        Assert.Null(await requests.FindAsync(asking.Id));
        await RefusedAsync(
            await http.DeleteAsync(new Uri($"{Root}/districts/NOWHERE/tenant-request", UriKind.Relative)),
            HttpStatusCode.NotFound,
            "There is no district NOWHERE"
        );

        // Both decisions are told to the district, by whom.
        await SentAsync(await http.PostAsJsonAsync($"{Root}/districts/{code}/tenants", new { tenantId = "772" }));
        var audit = (await library.Service<Audit.AuditLog>().PageAsync(asking.Id, new Audit.AuditFilter(Action: "tenant"), 1, 10)).Lines;
        Assert.Equal(
            ["The operator allowed tenant 772", "The operator put aside what was asked for", "Asked the operator to allow tenant 771"],
            audit.Select(l => l.Details)
        );
        Assert.All(audit.Take(2), l => Assert.Contains("token", l.Actor, StringComparison.Ordinal));

        // A tenant of the wrong district is taken back.
        var given = new Uri($"{Root}/districts/{code}/tenants/772", UriKind.Relative);
        Assert.Equal(HttpStatusCode.NoContent, (await http.DeleteAsync(given)).StatusCode);
        await RefusedAsync(await http.DeleteAsync(given), HttpStatusCode.NotFound, "is not allowed tenant 772");

        async Task<string?> AsksAsync() =>
            (await http.GetFromJsonAsync<JsonElement>($"{Root}/districts"))
                .EnumerateArray()
                .Single(d => d.GetProperty("code").GetString() == code)
                .GetProperty("asksForTenant")
                .GetString();
    }

    [Fact]
    public async Task A_revoked_token_leaves_no_link_behind_and_says_which_accounts_it_added()
    {
        using var http = await ClientAsync();
        var accounts = library.Service<Accounts>();
        var (row, secret) = await library
            .Service<AccessTokens>()
            .CreateAsync(
                library.District,
                "provisioning",
                SecurityGroup.DistrictAdministrator,
                AccessTokens.AllOfDistrict,
                TimeSpan.FromDays(2),
                "test"
            );
        using var program = Client(secret);
        string Address(string name) => $"{name}-{Guid.NewGuid():N}@library.example";
        var (added, byChild, owned, removed) = (Address("b-added"), Address("a-by-child"), Address("owned"), Address("removed"));
        async Task<string> AddAsync(HttpClient by, string email) => new Uri((
                    await SentAsync(
                        await by.PostAsJsonAsync(
                            $"{Root}/accounts",
                            new
                            {
                                email,
                                group = "Librarian",
                                sites = (string[])["S01"],
                            }
                        )
                    )
                ).GetProperty("link").GetString()!).Query["?code=".Length..];
        async Task<long> IdAsync(string email) =>
            (await http.GetFromJsonAsync<JsonElement>($"{Root}/accounts?limit=1000"))
                .GetProperty("items")
                .EnumerateArray()
                .Single(a => a.GetProperty("email").GetString() == email)
                .GetProperty("id")
                .GetInt64();

        var first = await AddAsync(program, added);
        var child = await SentAsync(
            await program.PostAsJsonAsync(
                $"{Root}/tokens",
                new
                {
                    name = "child",
                    scopes = (string[])["all"],
                    days = 1,
                }
            )
        );
        using var childs = Client(child.GetProperty("secret").GetString()!);
        var second = await AddAsync(childs, byChild);
        await AddAsync(program, removed);
        await SentAsync(await http.DeleteAsync(new Uri($"{Root}/accounts/{await IdAsync(removed)}", UriKind.Relative)));

        // Somebody else's account, and a link to it that the token got; and one that it has nothing to do with.
        await AddAsync(http, owned);
        var got = await SentAsync(
            await program.PostAsync(new Uri($"{Root}/accounts/{await IdAsync(owned)}/password-link", UriKind.Relative), null)
        );
        var third = new Uri(got.GetProperty("link").GetString()!).Query["?code=".Length..];
        var apart = await AddAsync(http, Address("apart"));
        foreach (var code in (string[])[first, second, third, apart])
        {
            Assert.NotNull(await accounts.PeekAsync(code));
        }

        var revoked = await SentAsync(await http.DeleteAsync(new Uri($"{Root}/tokens/{row.Id}", UriKind.Relative)));
        Assert.Equal([byChild, added], revoked.GetProperty("accountsItAdded").EnumerateArray().Select(a => a.GetString()));
        foreach (var code in (string[])[first, second, third])
        {
            Assert.Null(await accounts.PeekAsync(code));
            await Assert.ThrowsAsync<RollcallException>(() => accounts.UseAsync(code, null, "four words that nobody knows"));
        }

        Assert.NotNull(await accounts.PeekAsync(apart));
        Assert.NotEqual(0, await IdAsync(added));
        Assert.Null(await library.Service<AccessTokens>().FindAsync(secret));
        Assert.Null(await library.Service<AccessTokens>().FindAsync(child.GetProperty("secret").GetString()!));
    }

    [Fact]
    public async Task No_token_makes_an_account_or_a_token_that_opens_more_than_itself()
    {
        var accounts = library.Service<Accounts>();
        var (maker, _) = await accounts.AddAsync(
            $"maker-{Guid.NewGuid():N}@library.example",
            library.District,
            SecurityGroup.DistrictAdministrator,
            null,
            false,
            "test"
        );
        using var whole = Client(
            await TokenAsync(library.District, SecurityGroup.DistrictAdministrator, AccessTokens.AllOfDistrict, maker.Id)
        );
        var most = AccessTokens.AllOfDistrict & ~TokenScopes.AuditRead;
        using var part = Client(await TokenAsync(library.District, SecurityGroup.DistrictAdministrator, most, maker.Id));
        var email = $"new-{Guid.NewGuid():N}@library.example";

        // An account may do all that its group may, the least of them too.
        foreach (var group in (string[])["Student Aide", "District Administrator"])
        {
            await RefusedAsync(
                await part.PostAsJsonAsync(
                    $"{Root}/accounts",
                    new
                    {
                        email,
                        group,
                        sites = (string[])["S01"],
                    }
                ),
                HttpStatusCode.Forbidden,
                "lacks the scope audit:read."
            );
        }

        var made = await SentAsync(
            await whole.PostAsJsonAsync(
                $"{Root}/accounts",
                new
                {
                    email,
                    group = "Librarian",
                    sites = (string[])["S01"],
                }
            )
        );
        var link = new Uri(made.GetProperty("link").GetString()!);
        Assert.Equal(email, (await accounts.PeekAsync(link.Query["?code=".Length..]))!.Value.Email);
        var row = (await http()).GetProperty("items").EnumerateArray().Single(a => a.GetProperty("email").GetString() == email);
        Assert.Equal("Librarian", row.GetProperty("group").GetString());
        var id = row.GetProperty("id").GetInt64();
        foreach (var (method, path) in ((HttpMethod, string)[])[(HttpMethod.Post, "password-link"), (HttpMethod.Delete, "second-factor")])
        {
            using var request = new HttpRequestMessage(method, $"{Root}/accounts/{id}/{path}");
            await RefusedAsync(await part.SendAsync(request), HttpStatusCode.Forbidden, "lacks the scope audit:read.");
        }

        // What only takes away is for whoever looks after accounts.
        await SentAsync(await part.PostAsync(new Uri($"{Root}/accounts/{id}/lock", UriKind.Relative), null));
        Assert.True(
            (await http())
                .GetProperty("items")
                .EnumerateArray()
                .Single(a => a.GetProperty("id").GetInt64() == id)
                .GetProperty("locked")
                .GetBoolean()
        );
        await RefusedAsync(
            await whole.PostAsync(new Uri($"{Root}/accounts/{id}/password-link", UriKind.Relative), null),
            HttpStatusCode.UnprocessableEntity,
            "locked"
        );

        // A locked account that is opened again is one that can be signed in with.
        await RefusedAsync(
            await part.PostAsync(new Uri($"{Root}/accounts/{id}/unlock", UriKind.Relative), null),
            HttpStatusCode.Forbidden,
            "lacks the scope audit:read."
        );
        await SentAsync(await whole.PostAsync(new Uri($"{Root}/accounts/{id}/unlock", UriKind.Relative), null));
        await SentAsync(await whole.PostAsync(new Uri($"{Root}/accounts/{id}/password-link", UriKind.Relative), null));
        await SentAsync(await part.DeleteAsync(new Uri($"{Root}/accounts/{id}/sessions", UriKind.Relative)));
        await SentAsync(await part.DeleteAsync(new Uri($"{Root}/accounts/{id}", UriKind.Relative)));
        await RefusedAsync(
            await part.DeleteAsync(new Uri($"{Root}/accounts/{id}", UriKind.Relative)),
            HttpStatusCode.NotFound,
            "no account"
        );
        await RefusedAsync(
            await part.DeleteAsync(new Uri($"{Root}/accounts/{maker.Id}", UriKind.Relative)),
            HttpStatusCode.UnprocessableEntity,
            "your own account"
        );

        // A token hands on a part of what it has, for no longer, and the new one ends with it and makes none.
        await RefusedAsync(
            await part.PostAsJsonAsync(
                $"{Root}/tokens",
                new
                {
                    name = "more",
                    scopes = (string[])["audit:read"],
                    days = 1,
                }
            ),
            HttpStatusCode.UnprocessableEntity,
            "it lacks audit:read"
        );
        await RefusedAsync(
            await part.PostAsJsonAsync(
                $"{Root}/tokens",
                new
                {
                    name = "longer",
                    scopes = (string[])["patrons:read"],
                    days = 90,
                }
            ),
            HttpStatusCode.UnprocessableEntity,
            "longer than it lives"
        );
        var child = await SentAsync(
            await part.PostAsJsonAsync(
                $"{Root}/tokens",
                new
                {
                    name = "child",
                    scopes = (string[])["patrons:read", "accounts:write"],
                    days = 1,
                    group = "District Administrator",
                }
            )
        );
        var secret = child.GetProperty("secret").GetString()!;
        using var below = Client(secret);
        await SentAsync(await below.GetAsync(new Uri($"{Root}/patrons?limit=1", UriKind.Relative)));
        await RefusedAsync(
            await below.PostAsJsonAsync(
                $"{Root}/tokens",
                new
                {
                    name = "grandchild",
                    scopes = (string[])["patrons:read"],
                    days = 0,
                }
            ),
            HttpStatusCode.UnprocessableEntity,
            ""
        );
        await RefusedAsync(
            await below.PostAsJsonAsync(
                $"{Root}/tokens",
                new
                {
                    name = "grandchild",
                    scopes = (string[])["patrons:read"],
                    days = 1,
                }
            ),
            HttpStatusCode.UnprocessableEntity,
            "makes none itself"
        );
        var tokens = await whole.GetStringAsync(new Uri($"{Root}/tokens?limit=1000", UriKind.Relative));
        Assert.Contains("\"child\"", tokens, StringComparison.Ordinal);

        // Lists of accounts and tokens go page by page to their ends, and are searched.
        foreach (var list in (string[])["accounts", "tokens"])
        {
            var ids = new List<long>();
            string? next = null;
            do
            {
                var page = await whole.GetFromJsonAsync<JsonElement>($"{Root}/{list}?limit=1{(next is null ? "" : $"&cursor={next}")}");
                ids.AddRange(page.GetProperty("items").EnumerateArray().Select(a => a.GetProperty("id").GetInt64()));
                next = page.GetProperty("next").GetString();
            } while (next is not null);
            var all = (await whole.GetFromJsonAsync<JsonElement>($"{Root}/{list}?limit=1000")).GetProperty("items");
            Assert.True(ids.Count > 1);
            Assert.Equal(all.EnumerateArray().Select(a => a.GetProperty("id").GetInt64()), ids);
            Assert.Empty(
                (await whole.GetFromJsonAsync<JsonElement>($"{Root}/{list}?search=nobody-at-all")).GetProperty("items").EnumerateArray()
            );
        }

        Assert.DoesNotContain(secret, tokens, StringComparison.Ordinal);
        var parent = (await library.Service<AccessTokens>().FindAsync(part.DefaultRequestHeaders.Authorization!.Parameter!))!.TokenId;
        await SentAsync(await whole.DeleteAsync(new Uri($"{Root}/tokens/{parent}", UriKind.Relative)));
        foreach (var ended in (HttpClient[])[part, below])
        {
            Assert.Equal(HttpStatusCode.Unauthorized, (await ended.GetAsync(new Uri($"{Root}/patrons", UriKind.Relative))).StatusCode);
        }

        // A key would keep no answer with a secret: it is refused, before anything is made.
        using var keyed = new HttpRequestMessage(HttpMethod.Post, $"{Root}/tokens")
        {
            Content = JsonContent.Create(
                new
                {
                    name = "keyed",
                    scopes = (string[])["patrons:read"],
                    days = 1,
                }
            ),
        };
        keyed.Headers.Add("Idempotency-Key", "secret-1");
        await RefusedAsync(await whole.SendAsync(keyed), HttpStatusCode.BadRequest, "takes no Idempotency-Key");
        await using (var context = library.Service<RollcallDatabase>().CreateContext())
        {
            Assert.Empty(await context.IdempotentRequests.Where(r => r.Key == "secret-1").ToListAsync());
        }

        // Saved filters are those of whoever made the token, and of nobody else.
        Assert.Equal(
            "status=Active&site=S01",
            (
                await SentAsync(
                    await whole.PutAsJsonAsync($"{Root}/filters", new { name = "Mine", query = "site=S01&status=active&nonsense=1" })
                )
            )
                .GetProperty("query")
                .GetString()
                is { } saved
                ? string.Join('&', saved.Split('&').OrderDescending())
                : null
        );
        Assert.Single(await library.Service<SavedFilters>().ListAsync(library.District.Id, SavedFilters.OwnerOfAccount(maker.Id), default));
        using var nobodys = await ClientAsync();
        await RefusedAsync(
            await nobodys.GetAsync(new Uri($"{Root}/filters", UriKind.Relative)),
            HttpStatusCode.UnprocessableEntity,
            "a person's own"
        );
        await SentAsync(await whole.DeleteAsync(new Uri($"{Root}/filters/Mine", UriKind.Relative)));
        Assert.Equal("[]", await whole.GetStringAsync(new Uri($"{Root}/filters", UriKind.Relative)));

        Task<JsonElement> http() => whole.GetFromJsonAsync<JsonElement>($"{Root}/accounts?limit=1000");
    }

    /// <summary>A body may take its time to arrive: what counts is what its token may do when all of it is there.</summary>
    [Theory]
    [InlineData("accounts", false)]
    [InlineData("commands", false)]
    [InlineData("import", false)]
    [InlineData("import", true)]
    public async Task What_arrives_after_its_token_ended_is_not_carried_out(string what, bool withKey)
    {
        var tokens = library.Service<AccessTokens>();
        var name = $"LATE-{what}-{withKey}".ToUpperInvariant();
        var (row, token) = await tokens.CreateAsync(
            library.District,
            "late",
            SecurityGroup.DistrictAdministrator,
            AccessTokens.AllOfDistrict,
            TimeSpan.FromDays(2),
            "test"
        );
        using var http = new HttpClient(LateContent.Handler()) { BaseAddress = library.Url };
        http.DefaultRequestHeaders.Authorization = new("Bearer", token);
        HttpContent body = what switch
        {
            "accounts" => JsonContent.Create(new { email = $"{name}@library.example", group = "District Administrator" }),
            "commands" => JsonContent.Create(new { arguments = (string[])["patron", "add", $"barcode={name}", "lastName=Late"] }),
            _ => new StringContent($"barcode,lastName\n{name},Late\n", Encoding.UTF8, "text/csv"),
        };
        var path = what == "import" ? $"{Root}/patrons/import?preview=false" : $"{Root}/{what}";
        await body.LoadIntoBufferAsync();

        using (var request = new HttpRequestMessage(HttpMethod.Post, path))
        {
            var asked = false;
            request.Content = new LateContent(
                body,
                async () =>
                {
                    asked = true;
                    await tokens.RevokeAsync(library.District.Id, row.Id, "test");
                }
            );
            request.Headers.ExpectContinue = true;
            if (withKey)
            {
                request.Headers.Add("Idempotency-Key", name);
            }

            await RefusedAsync(await http.SendAsync(request), HttpStatusCode.Unauthorized, "revoked");
            Assert.True(asked);
        }

        Assert.DoesNotContain(
            await library.Service<Accounts>().ListAsync(null),
            a => a.Email.Contains(name, StringComparison.OrdinalIgnoreCase)
        );
        Assert.Equal(0, await library.Service<PatronService>().CountAsync(library.District.Id, new PatronFilter(Search: name)));
        await using var context = library.Service<RollcallDatabase>().CreateContext();
        Assert.False(await context.Operations.AnyAsync(o => o.RequestedBy == $"late (token {row.Id})"));
        Assert.False(await context.IdempotentRequests.AnyAsync(r => r.TokenId == row.Id));
    }

    [Fact]
    public async Task What_arrives_after_its_token_has_less_rights_goes_by_those()
    {
        var accounts = library.Service<Accounts>();
        var (account, _) = await accounts.AddAsync(
            "lessened@library.example",
            library.District,
            SecurityGroup.DistrictAdministrator,
            null,
            false,
            "test"
        );
        using var http = new HttpClient(LateContent.Handler()) { BaseAddress = library.Url };
        http.DefaultRequestHeaders.Authorization = new(
            "Bearer",
            await TokenAsync(library.District, SecurityGroup.DistrictAdministrator, AccessTokens.AllOfDistrict, account.Id)
        );
        foreach (
            var (path, body) in (IEnumerable<(string, HttpContent)>)
                [
                    ("accounts", JsonContent.Create(new { email = "of-less@library.example", group = "District Administrator" })),
                    ("commands", JsonContent.Create(new { arguments = (string[])["retention", "set", "--log-days", "77"] })),
                ]
        )
        {
            await accounts.AddAsync("lessened@library.example", library.District, SecurityGroup.DistrictAdministrator, null, false, "test");
            await body.LoadIntoBufferAsync();
            using var request = new HttpRequestMessage(HttpMethod.Post, $"{Root}/{path}")
            {
                Content = new LateContent(
                    body,
                    () =>
                        accounts.AddAsync(
                            "lessened@library.example",
                            library.District,
                            SecurityGroup.LibraryAdministrator,
                            null,
                            false,
                            "test"
                        )
                ),
            };
            request.Headers.ExpectContinue = true;
            await RefusedAsync(await http.SendAsync(request), HttpStatusCode.Forbidden, "District Administrator");
        }

        Assert.DoesNotContain(await accounts.ListAsync(null), a => a.Email == "of-less@library.example");
        Assert.NotEqual(77, (await library.Service<Rollcall.Retention.RetentionService>().FindAsync(library.District.Id)).LogDays);
    }

    [Fact]
    public async Task A_token_fills_no_memory_with_commands_that_it_never_ends()
    {
        var token = await TokenAsync(library.District, SecurityGroup.LibraryAdministrator, AccessTokens.AllOfDistrict);
        using var http = Client(token);

        // Room is kept for what somebody says that they will send; who says nothing is counted as it comes.
        var endless = new List<Task<HttpResponseMessage>>();
        await EventuallyRefusedAsync(() =>
        {
            // One of them gets in, as soon as none of those below is there.
            endless.Add(SendAsync(http, new EndlessContent(ApiRoom.MostBytes)));
            return SendAsync(http, Large(said: true));
        });
        await EventuallyRefusedAsync(() => SendAsync(http, Large(said: false)));

        // A word gets through beside it; and of those, so many.
        Assert.Equal(HttpStatusCode.OK, (await CommandAsync(http)).StatusCode);
        var waiting = new List<Task<HttpResponseMessage>>();
        await EventuallyRefusedAsync(() =>
        {
            waiting.Add(SendAsync(http, new EndlessContent(ApiRoom.Small)));
            return CommandAsync(http);
        });

        // Another token is not its victim.
        using var other = Client(await TokenAsync(library.District, SecurityGroup.LibraryAdministrator, AccessTokens.AllOfDistrict));
        Assert.Equal(HttpStatusCode.OK, (await CommandAsync(other)).StatusCode);

        // Whoever hangs up gives the room back.
        http.CancelPendingRequests();
        await Task.WhenAll(endless.Concat(waiting).Select(w => w.ContinueWith(_ => { }, TaskScheduler.Default)));
        HttpStatusCode status;
        do
        {
            status = (await CommandAsync(http)).StatusCode;
            Assert.True(status is HttpStatusCode.OK or HttpStatusCode.TooManyRequests, status.ToString());
        } while (status != HttpStatusCode.OK);

        Task<HttpResponseMessage> CommandAsync(HttpClient client) =>
            client.PostAsJsonAsync($"{Root}/commands", new { arguments = (string[])["site", "list"] });

        static Task<HttpResponseMessage> SendAsync(HttpClient client, HttpContent content) =>
            client.PostAsync(new Uri($"{Root}/commands", UriKind.Relative), content);

        static HttpContent Large(bool said)
        {
            var body = new StreamContent(new MemoryStream(Encoding.ASCII.GetBytes(new string(' ', (int)ApiRoom.Small + 1))));
            body.Headers.ContentType = new("application/json");
            if (!said)
            {
                return new UnsaidContent(body);
            }

            return body;
        }

        // The requests before have to arrive first: until then this one is merely wrong.
        static async Task EventuallyRefusedAsync(Func<Task<HttpResponseMessage>> send)
        {
            for (var tries = 0; tries < 200; tries++)
            {
                using var response = await send();
                if (response.StatusCode == HttpStatusCode.TooManyRequests)
                {
                    Assert.Contains("worked on at once", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
                    Assert.Equal(TimeSpan.FromSeconds(5), response.Headers.RetryAfter!.Delta);
                    return;
                }
            }

            Assert.Fail("It was never refused.");
        }
    }

    /// <summary>A body whose length is not said.</summary>
    private sealed class UnsaidContent : HttpContent
    {
        private readonly HttpContent _inner;

        public UnsaidContent(HttpContent inner)
        {
            _inner = inner;
            Headers.ContentType = inner.Headers.ContentType;
        }

        protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) => _inner.CopyToAsync(stream);

        protected override bool TryComputeLength(out long length)
        {
            length = 0;
            return false;
        }
    }

    /// <summary>A body that takes its time.</summary>
    private sealed class EndlessContent : HttpContent
    {
        private readonly long _length;

        public EndlessContent(long length)
        {
            _length = length;
            Headers.ContentType = new("application/json");
        }

        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
        {
            await stream.WriteAsync("{"u8.ToArray(), cancellationToken);
            await stream.FlushAsync(cancellationToken);

            // The server hangs up on whoever sends less than a kilobyte a second.
            for (long sent = 1; sent < _length - 1200; sent += 1200)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(500), cancellationToken);
                await stream.WriteAsync(
                    new byte[1200]
                        .Select(_ => (byte)' ')
                        .ToArray(),
                    cancellationToken
                );
                await stream.FlushAsync(cancellationToken);
            }
        }

        protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) =>
            SerializeToStreamAsync(stream, context, CancellationToken.None);

        protected override bool TryComputeLength(out long length)
        {
            length = _length;
            return true;
        }
    }

    private async Task<(string? Status, long Updated)> EndAsync(HttpClient http, long id)
    {
        await library.EndOfAsync(id);
        var operation = await http.GetFromJsonAsync<JsonElement>($"{Root}/operations/{id}");
        return (operation.GetProperty("status").GetString(), operation.GetProperty("updated").GetInt64());
    }

    private static async Task<long> StartedAsync(HttpResponseMessage response) =>
        (await SentAsync(response)).GetProperty("operation").GetInt64();

    private static async Task<JsonElement> PatchAsync(HttpClient http, string path, object body) =>
        await SentAsync(await http.PatchAsJsonAsync($"{Root}/{path}", body));

    private static async Task<JsonElement> SentAsync(HttpResponseMessage response)
    {
        var body = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, $"{response.StatusCode} from {response.RequestMessage?.RequestUri}: {body}");
        return body.Length == 0 ? default : JsonDocument.Parse(body).RootElement;
    }

    private static async Task RefusedAsync(HttpResponseMessage response, HttpStatusCode status, string words)
    {
        var body = await response.Content.ReadAsStringAsync();
        Assert.True(status == response.StatusCode, $"{response.StatusCode} from {response.RequestMessage?.RequestUri}: {body}");
        Assert.Contains(words, JsonDocument.Parse(body).RootElement.GetProperty("detail").GetString()!, StringComparison.Ordinal);
    }

    private HttpClient Client(string token)
    {
        var http = new HttpClient { BaseAddress = library.Url };
        http.DefaultRequestHeaders.Authorization = new("Bearer", token);
        return http;
    }

    private async Task<HttpClient> ClientAsync() =>
        Client(await TokenAsync(library.District, SecurityGroup.DistrictAdministrator, AccessTokens.AllOfDistrict));

    private async Task<string> TokenAsync(Districts.District? district, SecurityGroup group, TokenScopes scopes, long? accountId = null) =>
        (await library.Service<AccessTokens>().CreateAsync(district, "test", group, scopes, TimeSpan.FromDays(2), "test", accountId)).Token;
}
