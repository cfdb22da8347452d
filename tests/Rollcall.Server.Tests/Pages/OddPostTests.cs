using System.Net;
using Microsoft.AspNetCore.Mvc.Infrastructure;
using Microsoft.AspNetCore.Mvc.RazorPages;
using Microsoft.AspNetCore.Mvc.RazorPages.Infrastructure;

namespace Rollcall.Server.Tests.Pages;

/// <summary>What no form of a page would send is refused or ignored in words, never by a fault.</summary>
public sealed class OddPostTests(SyncedLibrary library) : IClassFixture<SyncedLibrary>
{
    [Fact]
    public async Task Forms_without_their_fields_or_with_odd_ones_break_nothing()
    {
        using var visitor = new Visitor(library.Url);
        var loader = library.Service<PageLoader>();
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
        foreach (var page in library.Service<IActionDescriptorCollectionProvider>().ActionDescriptors.Items.OfType<PageActionDescriptor>())
        {
            if (page.ViewEnginePath is "/Error" or "/SignOut" or "/Account" or "/SignIn" or "/Link" or "/Theme")
            {
                continue;
            }

            var compiled = await loader.LoadAsync(page, Microsoft.AspNetCore.Http.EndpointMetadataCollection.Empty);
            foreach (var handler in compiled.HandlerMethods.Where(h => h.HttpMethod == "Post"))
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
                        "/"
                        + page.AttributeRouteInfo!.Template!.Replace("{service}", "classlink", StringComparison.Ordinal)
                            .Replace("{id:long}", "1", StringComparison.Ordinal)
                            .Split("/{")[0]
                        + TabOf(handler.Name)
                        + (handler.Name is null ? "" : $"?handler={handler.Name}");
                    using var response = await visitor.PostAsync(path, [.. fields, Visitor.TokenOf(await visitor.PageAsync("/account"))]);
                    Assert.True(
                        response.StatusCode < HttpStatusCode.InternalServerError,
                        $"{path} with {fields.Length} fields: {(int)response.StatusCode}"
                    );
                }
            }
        }

        string TabOf(string? handler) => handler == "Map" ? "/mapping" : "";
    }
}
