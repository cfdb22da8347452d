using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc.Infrastructure;
using Microsoft.AspNetCore.Mvc.RazorPages;
using Microsoft.AspNetCore.Mvc.RazorPages.Infrastructure;
using Microsoft.AspNetCore.Routing.Patterns;
using Microsoft.AspNetCore.Routing.Template;

namespace Rollcall.Server.Tests.Pages;

/// <summary>The pages that a server really has, and the addresses that lead to them.</summary>
internal sealed class PageRoutes
{
    private readonly PageLoader _loader;
    private readonly List<(RouteTemplate Template, PageActionDescriptor Page)> _pages;

    public PageRoutes(Library library)
    {
        _loader = library.Service<PageLoader>();
        _pages =
        [
            .. library
                .Service<IActionDescriptorCollectionProvider>()
                .ActionDescriptors.Items.OfType<PageActionDescriptor>()
                .Select(p => (new RouteTemplate(RoutePatternFactory.Parse(p.AttributeRouteInfo?.Template ?? "")), p)),
        ];
    }

    public IEnumerable<PageActionDescriptor> All => _pages.Select(p => p.Page);

    public IList<HandlerMethodDescriptor> HandlersOf(PageActionDescriptor page) =>
        _loader.LoadAsync(page, EndpointMetadataCollection.Empty).GetAwaiter().GetResult().HandlerMethods;

    /// <summary>The page that a path leads to, such as "/Patron"; null where there is none.</summary>
    public string? PageOf(string path) =>
        _pages
            .Where(p => new TemplateMatcher(p.Template, []).TryMatch(path, []))
            .OrderByDescending(p => p.Template.Segments.Count(s => s.Parts.All(t => t.IsLiteral)))
            .ThenBy(p => p.Template.Parameters.Count)
            .Select(p => p.Page.ViewEnginePath)
            .FirstOrDefault();

    /// <summary>An address of a page. Whoever fills a part with what leads to another page tries that one instead, and sees nothing
    /// wrong: so it fails.</summary>
    /// <param name="page">The page.</param>
    /// <param name="value">What stands for a part of the template, by its name; null leaves it out.</param>
    public string Address(PageActionDescriptor page, Func<string, string?> value)
    {
        var (template, _) = _pages.Single(p => p.Page == page);
        var parts = template.Segments.Select(s =>
            s.Parts[0].IsLiteral ? s.Parts[0].Text
            : value(s.Parts[0].Name!) is { } given ? Uri.EscapeDataString(given)
            : null
        );
        var path = "/" + string.Join('/', parts.TakeWhile(p => p is not null));
        Assert.Equal((path, page.ViewEnginePath), (path, PageOf(path)));
        return path;
    }
}
