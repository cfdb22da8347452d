using System.Net;
using Rollcall.Patrons;

namespace Rollcall.Server.Tests.Pages;

/// <summary>What no form of a page would send is refused or ignored in words, never by a fault.</summary>
public sealed class OddPostTests(SyncedLibrary library) : IClassFixture<SyncedLibrary>
{
    [Fact]
    public async Task Forms_without_their_fields_or_with_odd_ones_break_nothing()
    {
        using var visitor = new Visitor(library.Url);
        var pages = new PageRoutes(library);
        var barcode = (
            await library.Service<PatronService>().PageAsync(library.District.Id, new PatronFilter(), PatronSort.Name, false, 1, 1)
        )
            .Patrons[0]
            .Barcode;
        (string, string)[] odd =
        [
            .. new[]
            {
                "id",
                "barcode",
                "site",
                "org",
                "kind",
                "mode",
                "roles",
                "was",
                "from",
                "to",
                "percent",
                "count",
                "zone",
                "at",
                "events",
                "days",
                "group",
                "scope",
                "communityId",
                "location",
                "siteFrom",
                "nickname",
                "emails",
                "webhook",
                "district",
                "code",
                "name",
                "filter",
                "next",
                "tab",
            }.Select(name => (name, "\u200b9999999999999999999'<")),
        ];
        foreach (var page in pages.All)
        {
            if (page.ViewEnginePath is "/Error" or "/SignOut" or "/Account" or "/SignIn" or "/Link" or "/Theme")
            {
                continue;
            }

            foreach (var handler in pages.HandlersOf(page).Where(h => h.HttpMethod == "Post"))
            {
                foreach (
                    var fields in ((string, string)[][])
                        [
                            [],
                            odd,
                        ]
                )
                {
                    var path =
                        pages.Address(page, name => PartOf(name, handler.Name)) + (handler.Name is null ? "" : $"?handler={handler.Name}");
                    using var response = await visitor.PostAsync(path, [.. fields, Visitor.TokenOf(await visitor.PageAsync("/account"))]);
                    Assert.True(
                        response.StatusCode < HttpStatusCode.InternalServerError,
                        $"{path} with {fields.Length} fields: {(int)response.StatusCode}"
                    );
                }
            }
        }

        string? PartOf(string name, string? handler) =>
            name switch
            {
                "id" => "1",
                "barcode" => barcode,
                "service" => "classlink",
                "tab" => handler == "Map" ? "mapping" : null,
                _ => null,
            };
    }
}
