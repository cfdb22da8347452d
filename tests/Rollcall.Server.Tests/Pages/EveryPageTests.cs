using System.Net;
using Rollcall.Patrons;

namespace Rollcall.Server.Tests.Pages;

/// <summary>All pages of a library that has been synced.</summary>
public sealed class EveryPageTests(SyncedLibrary library) : EveryPage(library), IClassFixture<SyncedLibrary>;

/// <summary>The same on PostgreSQL, where every page works under row-level security.</summary>
public sealed class EveryPageOnPostgresTests(PostgresLibrary library) : EveryPage(library), IClassFixture<PostgresLibrary>;

public abstract class EveryPage(SyncedLibrary library)
{
    [Fact]
    public async Task Every_page_answers_and_keeps_to_the_content_policy()
    {
        using var visitor = new Visitor(library.Url);
        var barcode = (
            await library.Service<PatronService>().PageAsync(library.District.Id, new PatronFilter(), PatronSort.Name, false, 1, 1)
        )
            .Patrons[0]
            .Barcode;
        string[] paths =
        [
            "/",
            "/patrons",
            "/patrons?q=a&status=Active&sort=grade&order=down&page=2",
            "/patrons?q=nobody-is-called-this",
            "/patrons?sort=number",
            "/patrons?sort=number&order=down",
            "/patrons?sort=site",
            "/patrons?sort=site&order=down&q=a",
            "/patrons?sort=status",
            "/patrons?sort=status&order=down",
            "/sites?q=s&sort=school&order=down",
            "/accounts?q=library&sort=group",
            "/accounts?sort=signed-in&order=down",
            "/preferences/tokens?q=nobody&sort=used",
            "/audit?page=9999",
            "/review?q=a&site=S01&sort=name",
            $"/patrons/{barcode}",
            $"/patrons/{barcode}?tab=history",
            $"/patrons/{barcode}?tab=roster",
            "/sites",
            "/sites/edit",
            "/sites/edit/S01",
            "/preferences/sis",
            "/preferences/sis/classlink",
            "/preferences/sis/classlink/sites",
            "/preferences/sis/classlink/syncing",
            "/preferences/sis/classlink/readiness",
            "/preferences/sis/classlink/mapping",
            "/preferences/sis/classlink/schedule",
            "/preferences/sis/classlink/holds",
            "/preferences/sis/oneroster",
            "/preferences/sis/oneroster/sites",
            "/preferences/sis/oneroster-csv",
            "/preferences/grades",
            "/preferences/policies",
            "/operations",
            "/operations?from=2020-01-01&to=2020-01-02",
            "/operations/1",
            "/operations/1?outcome=created&page=9999",
            "/review",
            "/patron/edit",
            $"/patron/edit?barcode={barcode}",
            $"/patron/explain?barcode={barcode}",
            $"/patron/merge?keep={barcode}",
            "/patron/bulk?do=edit",
            "/patron/bulk?do=remove&status=Transferred",
            "/patron/import",
            "/end-of-year",
            "/lists",
            "/lists/arrivals",
            "/lists/leavers",
            "/lists/transferred",
            "/about",
            "/account",
            "/accounts",
            "/audit",
            "/preferences/sis/classlink/signin",
            "/preferences/tokens",
            "/preferences/notices",
            "/preferences/retention",
            $"/patron/erase?barcode={barcode}",
            $"/patron/erase?barcode={barcode}&look=yes",
        ];
        // Of an operator who has a district: those that only lead elsewhere, and those that people without these rights see.
        string[] elsewhere =
        [
            "/Aide",
            "/Error",
            "/Link",
            "/Me",
            "/SignIn",
            "/SignInBegin",
            "/SignInCallback",
            "/SignOut",
            "/Theme",
            "/Welcome",
        ];
        var pages = new PageRoutes(library);
        Assert.Equal(
            pages.All.Select(p => p.ViewEnginePath).Distinct().Order(StringComparer.Ordinal),
            paths.Select(p => pages.PageOf(p.Split('?')[0])!).Concat(elsewhere).Distinct().Order(StringComparer.Ordinal)
        );
        foreach (var path in paths)
        {
            var (status, body, response) = await visitor.GetAsync(path);
            Assert.Equal((path, HttpStatusCode.OK), (path, status));
            Assert.Single(body.Split("<h1").Skip(1));
            Assert.DoesNotContain(" style=", body, StringComparison.Ordinal);
            Assert.DoesNotContain("<style", body, StringComparison.Ordinal);
            Assert.DoesNotContain(" onclick=", body, StringComparison.Ordinal);
            Assert.All(body.Split("<script").Skip(1), s => Assert.StartsWith(" src=\"/assets/", s, StringComparison.Ordinal));
            var policy = response.Headers.GetValues("Content-Security-Policy").Single();
            Assert.DoesNotContain("unsafe", policy, StringComparison.Ordinal);
            Assert.Equal("nosniff", response.Headers.GetValues("X-Content-Type-Options").Single());
            Assert.Equal("DENY", response.Headers.GetValues("X-Frame-Options").Single());
            Assert.True(response.Headers.CacheControl!.NoStore);
            Assert.False(response.Headers.Contains("Server"));
        }
    }
}
