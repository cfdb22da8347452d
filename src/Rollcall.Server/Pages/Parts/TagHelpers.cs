using System.Globalization;
using Microsoft.AspNetCore.Html;
using Microsoft.AspNetCore.Mvc.Rendering;
using Microsoft.AspNetCore.Mvc.ViewFeatures;
using Microsoft.AspNetCore.Razor.TagHelpers;
using Microsoft.AspNetCore.WebUtilities;
using Rollcall.Operations;
using Rollcall.Patrons;

namespace Rollcall.Server.Pages.Parts;

/// <summary>A status: a coloured mark and its word. Write <c>&lt;badge operation="…"/&gt;</c>, <c>patron="…"</c>, or tone and text.</summary>
[HtmlTargetElement("badge", TagStructure = TagStructure.NormalOrSelfClosing)]
public sealed class BadgeTagHelper : TagHelper
{
    public Operation? Operation { get; set; }
    public PatronStatus? Patron { get; set; }
    public string? Tone { get; set; }
    public string? Text { get; set; }

    public override void Process(TagHelperContext context, TagHelperOutput output)
    {
        var (tone, text) =
            Operation is { } operation ? (Words.Tone(operation), Words.Status(operation))
            : Patron is { } status ? (Words.Tone(status), PatronFields.StatusWord(status))
            : (Tone ?? "quiet", Text ?? "");
        output.TagName = "span";
        output.TagMode = TagMode.StartTagAndEndTag;
        output.Attributes.SetAttribute("class", $"mark mark-{tone}");
        output.Content.SetContent(text);
    }
}

/// <summary>A picture of the small set of this program, for decoration: the text beside it says what it means.</summary>
[HtmlTargetElement("icon", TagStructure = TagStructure.NormalOrSelfClosing)]
public sealed class IconTagHelper : TagHelper
{
    public string Name { get; set; } = "";

    public override void Process(TagHelperContext context, TagHelperOutput output)
    {
        output.TagName = null;
        output.Content.SetHtmlContent(Svg(Name));
    }

    /// <summary>The markup of a picture.</summary>
    internal static string Svg(string name) =>
        $"<svg class=\"icon\" viewBox=\"0 0 24 24\" aria-hidden=\"true\" focusable=\"false\">{Shape(name)}</svg>";

    private static string Shape(string name) =>
        name switch
        {
            "dashboard" => "<path d='M4 5h7v8H4zM13 5h7v5h-7zM13 12h7v7h-7zM4 15h7v4H4z'/>",
            "patrons" =>
                "<circle cx='9' cy='8' r='3.5'/><path d='M2.5 20c.5-4 3-6 6.5-6s6 2 6.5 6M16 5a3 3 0 0 1 0 6.5M17.5 14.5c2.3.6 3.7 2.5 4 5.5'/>",
            "sites" => "<path d='M3 20h18M5 20V9l7-5 7 5v11M9.5 20v-6h5v6'/>",
            "operations" => "<path d='M20 12a8 8 0 0 1-14.5 4.6M4 12a8 8 0 0 1 14.5-4.6M18.8 3v4.6h-4.6M5.2 21v-4.6h4.6'/>",
            "review" => "<path d='M5 4h14v16H5zM8.5 9h7M8.5 13h3.5'/><circle cx='15.5' cy='15' r='1.2'/>",
            "preferences" =>
                "<path d='M4 7h9M18 7h2M4 12h2M11 12h9M4 17h9M18 17h2'/><circle cx='15.5' cy='7' r='2.2'/><circle cx='8.5' cy='12' r='2.2'/><circle cx='15.5' cy='17' r='2.2'/>",
            "lists" => "<path d='M9 6h11M9 12h11M9 18h11M4.5 6h.1M4.5 12h.1M4.5 18h.1'/>",
            "about" => "<circle cx='12' cy='12' r='8.5'/><path d='M12 11v5M12 7.6v.4'/>",
            "help" => "<circle cx='12' cy='12' r='8.5'/><path d='M9.6 9.4a2.5 2.5 0 1 1 3.5 2.3c-.8.4-1.1.9-1.1 1.8M12 16.3v.3'/>",
            "print" => "<path d='M7 9V4h10v5M5 9h14v8h-3M8 17H5V9M8 14h8v6H8z'/>",
            "menu" => "<path d='M4 7h16M4 12h16M4 17h16'/>",
            "search" => "<circle cx='10.5' cy='10.5' r='6'/><path d='m15 15 5 5'/>",
            "download" => "<path d='M12 4v11m-4.5-4L12 15.5 16.5 11M5 20h14'/>",
            "alert" => "<path d='M12 4 2.5 20h19zM12 10v5M12 17.3v.4'/>",
            "check" => "<circle cx='12' cy='12' r='8.5'/><path d='m8 12.2 2.8 2.8L16 9.5'/>",
            "sun" =>
                "<circle cx='12' cy='12' r='4'/><path d='M12 2.5v3M12 18.5v3M2.5 12h3M18.5 12h3M5.3 5.3l2.1 2.1M16.6 16.6l2.1 2.1M5.3 18.7l2.1-2.1M16.6 7.4l2.1-2.1'/>",
            "lock" => "<path d='M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3'/>",
            _ => "",
        };
}

/// <summary>An instant where the district is. <c>&lt;at time="…"/&gt;</c></summary>
[HtmlTargetElement("at", TagStructure = TagStructure.NormalOrSelfClosing)]
public sealed class AtTagHelper(IServiceProvider services) : TagHelper
{
    public DateTimeOffset? Time { get; set; }

    public override void Process(TagHelperContext context, TagHelperOutput output)
    {
        if (Time is not { } at)
        {
            output.SuppressOutput();
            return;
        }

        var here = services.GetRequiredService<Here>();
        output.TagName = "time";
        output.TagMode = TagMode.StartTagAndEndTag;
        output.Attributes.SetAttribute("datetime", at.UtcDateTime.ToString("yyyy-MM-ddTHH:mm:ssZ", CultureInfo.InvariantCulture));
        output.Attributes.SetAttribute(
            "title",
            $"{TimeZoneInfo.ConvertTime(at, here.Zone).ToString("dddd, MMMM d, yyyy, HH:mm:ss", CultureInfo.InvariantCulture)} ({(here.Grant is null ? "UTC" : here.District.ZoneWords)})"
        );
        output.Content.SetContent(Words.When(at, here.Zone, here.Now));
    }
}

/// <summary>The live progress of an operation. It updates inside an element that is connected to the stream.</summary>
[HtmlTargetElement("live", TagStructure = TagStructure.NormalOrSelfClosing)]
public sealed class LiveTagHelper(IServiceProvider services) : TagHelper
{
    public Operation Operation { get; set; } = null!;

    public override void Process(TagHelperContext context, TagHelperOutput output)
    {
        output.TagName = "div";
        output.TagMode = TagMode.StartTagAndEndTag;
        output.Attributes.SetAttribute("class", "live");
        output.Attributes.SetAttribute("sse-swap", $"operation-{Operation.Id}");
        output.Content.SetHtmlContent(Progress.Html(Operation, services.GetRequiredService<Here>()));
    }
}

/// <summary>A link of the side bar; the one of the present module says so.</summary>
[HtmlTargetElement("module", TagStructure = TagStructure.NormalOrSelfClosing)]
public sealed class ModuleTagHelper : TagHelper
{
    [ViewContext, HtmlAttributeNotBound]
    public ViewContext View { get; set; } = null!;
    public string Href { get; set; } = "";
    public string Icon { get; set; } = "";
    public string Label { get; set; } = "";

    /// <summary>Other beginnings of addresses that belong to the module, with blanks between them; null or empty when there is none.</summary>
    public string? Also { get; set; }

    /// <summary>How much waits there; 0 shows nothing.</summary>
    public int Waiting { get; set; }

    public override void Process(TagHelperContext context, TagHelperOutput output)
    {
        var path = View.HttpContext.Request.Path;
        var inside =
            Href == "/"
                ? path == "/"
                : $"{Href} {Also}"
                    .Split(' ', StringSplitOptions.RemoveEmptyEntries)
                    .Any(h => path.StartsWithSegments(h, StringComparison.OrdinalIgnoreCase));
        output.TagName = "a";
        output.TagMode = TagMode.StartTagAndEndTag;
        output.Attributes.SetAttribute("class", "module");
        output.Attributes.SetAttribute("href", Href);
        if (inside)
        {
            output.Attributes.SetAttribute("aria-current", path == Href ? "page" : "true");
        }

        output.Content.AppendHtml(IconTagHelper.Svg(Icon));
        output.Content.AppendHtml("<span>").Append(Label).AppendHtml("</span>");
        if (Waiting > 0)
        {
            output.Content.AppendHtml(
                $"<span class=\"waiting\">{Words.Count(Waiting)}<span class=\"visually-hidden\"> waiting</span></span>"
            );
        }
    }
}

/// <summary>Builds addresses of the present page with other values in the query.</summary>
internal static class Addresses
{
    /// <summary>An address with these values in its query; null ones are left out.</summary>
    public static string Of(string path, params IEnumerable<(string Name, string? Value)> values) =>
        QueryHelpers.AddQueryString(path, values.Where(v => v.Value is not null).Select(v => KeyValuePair.Create(v.Name, v.Value)));

    /// <summary>The present address with some values replaced; null takes a value out. Whom a decision led to is not part of where one goes from
    /// there.</summary>
    public static string With(HttpRequest request, params (string Name, string? Value)[] changes)
    {
        var values = request
            .Query.Where(q => q.Key is not ("district" or "next") && !changes.Any(c => c.Name == q.Key))
            .SelectMany(q => q.Value.Where(v => !string.IsNullOrEmpty(v)).Select(v => KeyValuePair.Create(q.Key, v)))
            .Concat(changes.Where(c => c.Value is not null).Select(c => KeyValuePair.Create(c.Name, c.Value)));
        return QueryHelpers.AddQueryString(request.PathBase + request.Path, values);
    }
}

/// <summary>A column head that sorts. Going to it again turns the order round.</summary>
[HtmlTargetElement("th", Attributes = "sort")]
public sealed class SortTagHelper : TagHelper
{
    [ViewContext, HtmlAttributeNotBound]
    public ViewContext View { get; set; } = null!;
    public string Sort { get; set; } = "";

    /// <summary>The column that sorts now.</summary>
    public string SortedBy { get; set; } = "";
    public bool SortedDown { get; set; }

    public override async Task ProcessAsync(TagHelperContext context, TagHelperOutput output)
    {
        var mine = Sort == SortedBy;
        output.Attributes.SetAttribute("scope", "col");
        if (mine)
        {
            output.Attributes.SetAttribute("aria-sort", SortedDown ? "descending" : "ascending");
        }

        var down = mine && !SortedDown;
        var link = new TagBuilder("a");
        link.AddCssClass("sort");
        link.Attributes["href"] = Addresses.With(View.HttpContext.Request, ("sort", Sort), ("order", down ? "down" : null), ("page", null));
        link.InnerHtml.AppendHtml(await output.GetChildContentAsync());
        link.InnerHtml.AppendHtml($"<span class=\"arrow\" aria-hidden=\"true\">{(mine ? (SortedDown ? "▼" : "▲") : "↕")}</span>");
        output.Content.SetHtmlContent(link);
    }
}

/// <summary>Where in a long list one is, with links to its other pages.</summary>
[HtmlTargetElement("pager", TagStructure = TagStructure.NormalOrSelfClosing)]
public sealed class PagerTagHelper : TagHelper
{
    [ViewContext, HtmlAttributeNotBound]
    public ViewContext View { get; set; } = null!;
    public int Number { get; set; }
    public int Size { get; set; }
    public int Total { get; set; }

    /// <summary>What of the address says the page.</summary>
    public string Parameter { get; set; } = "page";

    /// <summary>What the links are, for those who do not see them.</summary>
    public string Label { get; set; } = "Pages of the list";

    public override void Process(TagHelperContext context, TagHelperOutput output)
    {
        var last = Math.Max(1, (Total + Size - 1) / Size);
        if (last == 1)
        {
            output.SuppressOutput();
            return;
        }

        output.TagName = "nav";
        output.TagMode = TagMode.StartTagAndEndTag;
        output.Attributes.SetAttribute("class", "pager");
        output.Attributes.SetAttribute("aria-label", Label);
        Link(Number - 1, "Previous", "rel=\"prev\"", Number > 1);
        var previous = 0;
        foreach (var page in new[] { 1, Number - 1, Number, Number + 1, last }.Where(p => p >= 1 && p <= last).Distinct().Order())
        {
            if (page > previous + 1)
            {
                output.Content.AppendHtml("<span class=\"gap\" aria-hidden=\"true\">…</span>");
            }

            if (page == Number)
            {
                output.Content.AppendHtml(
                    $"<span class=\"here\" aria-current=\"page\"><span class=\"visually-hidden\">Page </span>{Words.Count(page)}</span>"
                );
            }
            else
            {
                Link(page, Words.Count(page), "", true);
            }

            previous = page;
        }

        Link(Number + 1, "Next", "rel=\"next\"", Number < last);

        void Link(int page, string text, string rel, bool there)
        {
            if (!there)
            {
                return;
            }

            var link = new TagBuilder("a");
            link.Attributes["href"] = Addresses.With(
                View.HttpContext.Request,
                (Parameter, page == 1 ? null : page.ToString(CultureInfo.InvariantCulture))
            );
            if (rel.Length > 0)
            {
                link.Attributes["rel"] = rel.Split('"')[1];
            }
            else
            {
                link.Attributes["aria-label"] = $"Page {text}";
            }

            link.InnerHtml.Append(text);
            output.Content.AppendHtml(link);
        }
    }
}

/// <summary>Parts of a whole as a drawn bar. The numbers stand beside it in the table.</summary>
[HtmlTargetElement("bar", TagStructure = TagStructure.NormalOrSelfClosing)]
public sealed class BarTagHelper : TagHelper
{
    /// <summary>What the full width stands for.</summary>
    public int Of { get; set; }

    /// <summary>Lengths with their tones, from the left.</summary>
    public IReadOnlyList<(string Tone, int Count)> Parts { get; set; } = [];

    public override void Process(TagHelperContext context, TagHelperOutput output)
    {
        output.TagName = "svg";
        output.TagMode = TagMode.StartTagAndEndTag;
        output.Attributes.SetAttribute("class", "bar");
        output.Attributes.SetAttribute("viewBox", "0 0 1000 10");
        output.Attributes.SetAttribute("preserveAspectRatio", "none");
        output.Attributes.SetAttribute("aria-hidden", "true");
        output.Attributes.SetAttribute("focusable", "false");
        output.Content.AppendHtml("<rect class=\"bar-ground\" width=\"1000\" height=\"10\"/>");
        double at = 0;
        foreach (var (tone, count) in Parts)
        {
            var width = Of == 0 ? 0 : Math.Round(1000.0 * count / Of, 1);
            output.Content.AppendHtml($"<rect class=\"bar-{tone}\" x=\"{at}\" width=\"{width}\" height=\"10\"/>");
            at += width;
        }
    }
}
