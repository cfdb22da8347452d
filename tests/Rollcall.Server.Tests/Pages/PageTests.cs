using System.Net;
using System.Text.Json;
using Rollcall.Operations;
using Rollcall.Patrons;

namespace Rollcall.Server.Tests.Pages;

/// <summary>The pages of a library that has been synced, asked as a browser asks.</summary>
public sealed class PageTests(SyncedLibrary library) : IClassFixture<SyncedLibrary>
{
    private async Task<IReadOnlyList<Patron>> PatronsAsync(PatronFilter? filter = null) =>
        (
            await library
                .Service<PatronService>()
                .PageAsync(library.District.Id, filter ?? new PatronFilter(), PatronSort.Name, false, 1, 1000)
        ).Patrons;

    [Fact]
    public async Task Styles_and_scripts_are_served_for_good()
    {
        using var visitor = new Visitor(library.Url);
        var page = await visitor.PageAsync("/");
        var assets = page.Split('"').Where(p => p.StartsWith("/assets/", StringComparison.Ordinal)).Distinct().ToList();
        Assert.True(assets.Count >= 5);
        foreach (var asset in assets)
        {
            var (status, body, response) = await visitor.GetAsync(asset);
            Assert.Equal((asset, HttpStatusCode.OK), (asset, status));
            Assert.NotEmpty(body);
            Assert.Contains("immutable", response.Headers.CacheControl!.ToString(), StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("/nothing-here")]
    [InlineData("/patrons/NOSUCH1")]
    [InlineData("/operations/999999")]
    [InlineData("/sites/edit/NOSUCH")]
    [InlineData("/preferences/sis/classlink/nothing")]
    [InlineData("/patron/edit?barcode=NOSUCH1")]
    [InlineData("/patron/explain?barcode=NOSUCH1")]
    [InlineData("/patron/merge?keep=NOSUCH1")]
    [InlineData("/patron/export?format=exe")]
    [InlineData("/lists/nothing")]
    [InlineData("/operations/1/download?format=exe")]
    [InlineData("/operations/999999/download?format=csv")]
    [InlineData("/assets/x/nothing.css")]
    public async Task What_is_not_there_says_so(string path)
    {
        using var visitor = new Visitor(library.Url);
        var (status, body, response) = await visitor.GetAsync(path);
        Assert.Equal(HttpStatusCode.NotFound, status);
        Assert.Contains("Not found", body, StringComparison.Ordinal);
        Assert.True(response.Headers.Contains("Content-Security-Policy"));
    }

    [Theory]
    [InlineData("evil.example")]
    [InlineData("127.0.0.1.evil.example")]
    [InlineData("localhost.evil.example:80")]
    public async Task A_foreign_name_in_the_host_header_is_refused(string host)
    {
        using var visitor = new Visitor(library.Url);
        var (status, body, _) = await visitor.GetAsync("/patrons", host);
        Assert.Equal(HttpStatusCode.BadRequest, status);
        Assert.DoesNotContain("<table", body, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_api_refuses_a_foreign_name_with_a_problem_document()
    {
        using var visitor = new Visitor(library.Url);
        var (status, body, response) = await visitor.GetAsync("/api/v1/sites", "evil.example");
        Assert.Equal((HttpStatusCode.BadRequest, "application/problem+json"), (status, response.Content.Headers.ContentType?.MediaType));
        Assert.Contains("\"detail\":\"This server answers only", body, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/patron/export?format=csv")]
    [InlineData("/patron/data?barcode=P100001")]
    [InlineData("/operations/1/download?format=csv")]
    public async Task A_file_is_not_given_to_a_page_elsewhere(string path)
    {
        using var visitor = new Visitor(library.Url);
        var before = await LinesAsync();
        foreach (var site in (string[])["cross-site", "same-site"])
        {
            var (status, body, _) = await visitor.GetAsync(path, null, ("Sec-Fetch-Site", site));
            Assert.Equal(HttpStatusCode.Forbidden, status);
            Assert.Contains("page of another site", body, StringComparison.Ordinal);
        }

        Assert.Equal(before, await LinesAsync());
        foreach (var site in (string[])["same-origin", "none"])
        {
            Assert.NotEqual(HttpStatusCode.Forbidden, (await visitor.GetAsync(path, null, ("Sec-Fetch-Site", site))).Status);
        }

        async Task<int> LinesAsync() =>
            (await library.Service<Rollcall.Audit.AuditLog>().PageAsync(library.District.Id, new Rollcall.Audit.AuditFilter(), 1, 1)).Total;
    }

    [Theory]
    [InlineData("/?handler=Sync")]
    [InlineData("/?handler=Preview")]
    [InlineData("/operations/1?handler=Approve")]
    [InlineData("/operations/1?handler=Discard")]
    [InlineData("/operations/1?handler=Cancel")]
    [InlineData("/patron/edit")]
    [InlineData("/patron/bulk?do=remove")]
    [InlineData("/patron/import?handler=Match")]
    [InlineData("/theme")]
    [InlineData("/sites/edit/S01")]
    [InlineData("/preferences/sis?handler=Off")]
    [InlineData("/preferences/sis/classlink?handler=Connect")]
    public async Task A_form_that_did_not_come_from_a_page_is_refused(string action)
    {
        using var visitor = new Visitor(library.Url);
        var before = await CountAsync();
        using var response = await visitor.PostAsync(action);
        Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
        Assert.Equal(before, await CountAsync());

        async Task<int> CountAsync() => (await library.Service<OperationQueue>().ListAsync(library.District.Id, 100)).Count;
    }

    [Fact]
    public async Task The_theme_is_kept_and_leads_back_inside_alone()
    {
        using var visitor = new Visitor(library.Url);
        Assert.Equal("/sites", await visitor.SubmitAsync("/sites", "/theme", ("theme", "dark"), ("back", "/sites")));
        Assert.Contains("data-bs-theme=\"dark\"", await visitor.PageAsync("/sites"), StringComparison.Ordinal);
        Assert.Equal("/", await visitor.SubmitAsync("/", "/theme", ("theme", "auto"), ("back", "//evil.example/")));
        Assert.DoesNotContain("data-bs-theme=", await visitor.PageAsync("/"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Patrons_are_found_by_parts_of_their_name_and_filters_stay_in_the_address()
    {
        using var visitor = new Visitor(library.Url);
        var one = (await PatronsAsync()).First(p =>
            p.LastName.Length > 4 && p.LastName.All(char.IsAsciiLetter) && p.CommunityId is not null
        );
        var found = await visitor.PageAsync($"/patrons?q={Uri.EscapeDataString(one.LastName.ToUpperInvariant())}");
        Assert.Contains($"/patrons/{one.Barcode}\"", found, StringComparison.Ordinal);
        var transferred = await visitor.PageAsync($"/patrons?q={one.CommunityId}&status=Suspended");
        Assert.DoesNotContain($"/patrons/{one.Barcode}\"", transferred, StringComparison.Ordinal);
        Assert.Contains("No patron fits", transferred, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_log_downloads_as_text_csv_and_lines_of_json()
    {
        using var visitor = new Visitor(library.Url);
        var (_, text, asText) = await visitor.GetAsync("/operations/1/download?format=text");
        Assert.Equal("text/plain", asText.Content.Headers.ContentType!.MediaType);
        Assert.Equal("rollcall-operation-1.txt", asText.Content.Headers.ContentDisposition!.FileName!.Trim('"'));
        Assert.Contains("ClassLink Full Sync, operation 1", text, StringComparison.Ordinal);

        var (_, csv, asCsv) = await visitor.GetAsync("/operations/1/download?format=csv");
        Assert.Equal("text/csv", asCsv.Content.Headers.ContentType!.MediaType);
        Assert.Contains("number,kind,outcome,guid,name", csv, StringComparison.Ordinal);
        Assert.Contains("'=HYPERLINK", csv, StringComparison.Ordinal);
        Assert.DoesNotContain(",=HYPERLINK", csv, StringComparison.Ordinal);
        Assert.DoesNotContain("\"=HYPERLINK", csv, StringComparison.Ordinal);

        var (_, lines, _) = await visitor.GetAsync("/operations/1/download?format=jsonl&outcome=created");
        var rows = lines.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal((await PatronsAsync()).Count, rows.Length);
        foreach (var row in rows)
        {
            using var json = JsonDocument.Parse(row);
            Assert.Equal("created", json.RootElement.GetProperty("outcome").GetString());
        }
    }

    [Fact]
    public async Task Sites_are_added_and_changed_with_their_defaults()
    {
        using var visitor = new Visitor(library.Url);
        (string, string)[] site = [("code", "LIB"), ("name", "Main <Library>"), ("nextBarcode", "LIB0001"), ("policy", "STD")];
        await visitor.SubmitAsync("/sites/edit", "Save", "/sites/edit", [.. site, ("Teacher.nextBarcode", "T0001")]);
        var list = await visitor.PageAsync("/sites");
        Assert.Contains("Main &lt;Library&gt;", list, StringComparison.Ordinal);
        Assert.Contains("T0001", list, StringComparison.Ordinal);
        Assert.Contains("already", await visitor.RefusedAsync("/sites/edit", "/sites/edit", site), StringComparison.Ordinal);
        var away = await visitor.SubmitAsync(
            "/sites/edit",
            "Save",
            "/sites/edit",
            [("code", "L2"), ("name", "2"), ("back", "//x.example")]
        );
        Assert.Equal("/sites", away);
        (string, string)[] wrong = [("name", "Main"), ("nextBarcode", "NO-DIGIT")];
        var refused = await visitor.RefusedAsync("/sites/edit/LIB", "/sites/edit/LIB", wrong);
        Assert.Contains("has to end in a digit", refused, StringComparison.Ordinal);
        Assert.Contains("value=\"NO-DIGIT\"", refused, StringComparison.Ordinal);
        await visitor.SubmitAsync("/sites/edit/LIB", "Save", "/sites/edit/LIB", [("name", "Main"), ("group", "Patron Limited")]);
        Assert.Contains("Patron Limited", await visitor.PageAsync("/sites"), StringComparison.Ordinal);
        Assert.Contains("LIB0001", await visitor.PageAsync("/sites"), StringComparison.Ordinal);

        // A site cannot be without: nothing is said to be saved that is not.
        (string, string)[] emptied = [("name", "Main"), ("nextBarcode", ""), ("was.nextBarcode", "LIB0001")];
        var lacking = await visitor.RefusedAsync("/sites/edit/LIB", "/sites/edit/LIB", emptied);
        Assert.Contains("A site has a Next Barcode", lacking, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0.4, "less than a second")]
    [InlineData(1, "1 second")]
    [InlineData(59.4, "59 seconds")]
    [InlineData(59.6, "1 min 0 s")]
    [InlineData(61, "1 min 1 s")]
    [InlineData(3599.9, "59 min 59 s")]
    public void A_span_of_time_is_said_as_people_say_it(double seconds, string words) =>
        Assert.Equal(words, Rollcall.Server.Pages.Parts.Words.Took(TimeSpan.FromSeconds(seconds)));

    [Fact]
    public async Task A_name_that_is_markup_stays_a_name()
    {
        using var visitor = new Visitor(library.Url);
        var page = await visitor.PageAsync("/patrons?q=%3Cscript%3Ealert(1)%3C%2Fscript%3E");
        Assert.DoesNotContain("<script>alert", page, StringComparison.Ordinal);
    }
}
