using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using Microsoft.AspNetCore.Razor.TagHelpers;

namespace Rollcall.Server.Pages.Parts;

/// <summary>What syncs did on one day.</summary>
/// <param name="Date">Where the district is.</param>
/// <param name="Arrivals">Patrons created or back again.</param>
/// <param name="Changes">Patrons updated.</param>
/// <param name="Leavers">Patrons transferred.</param>
internal sealed record DayCount(DateOnly Date, long Arrivals, long Changes, long Leavers)
{
    public long Total => Arrivals + Changes + Leavers;

    /// <summary>The days from one to another, those without a sync too.</summary>
    public static IReadOnlyList<DayCount> Of(
        IEnumerable<(DateTimeOffset At, Operations.SyncCounts Counts)> syncs,
        DateOnly from,
        DateOnly to,
        TimeZoneInfo zone
    )
    {
        var byDay = syncs.ToLookup(s => DateOnly.FromDateTime(TimeZoneInfo.ConvertTime(s.At, zone).DateTime), s => s.Counts);
        var days = new List<DayCount>();
        for (var date = from; date <= to; date = date.AddDays(1))
        {
            var day = byDay[date].ToList();
            days.Add(new DayCount(date, day.Sum(c => c.Created + c.Reactivated), day.Sum(c => c.Updated), day.Sum(c => c.Transferred)));
        }

        return days;
    }
}

/// <summary>A drawn picture of days: a column each, parts one upon another. The table beside it has the numbers.</summary>
[HtmlTargetElement("day-chart", TagStructure = TagStructure.NormalOrSelfClosing)]
public sealed class DayChartTagHelper : TagHelper
{
    private const int Width = 900;
    private const int Height = 190;
    private const int Left = 46;
    private const int Top = 10;
    private const int Bottom = 26;

    /// <summary>The days, the oldest first. An object, because the attributes of a public helper cannot have a type of the inside.</summary>
    public object? Of { get; set; }

    public override void Process(TagHelperContext context, TagHelperOutput output)
    {
        var days = Of as IReadOnlyList<DayCount> ?? [];
        var most = Nice(days.Count == 0 ? 1 : Math.Max(1, days.Max(d => d.Total)));
        output.TagName = "svg";
        output.TagMode = TagMode.StartTagAndEndTag;
        output.Attributes.SetAttribute("class", "chart");
        output.Attributes.SetAttribute("viewBox", $"0 0 {Width} {Height}");
        output.Attributes.SetAttribute("role", "img");
        output.Attributes.SetAttribute("aria-label", Say(days));
        var svg = new StringBuilder();
        const int plot = Height - Top - Bottom;
        foreach (var share in (double[])[0, 0.5, 1])
        {
            var y = Number(Top + (plot * (1 - share)));
            svg.Append(CultureInfo.InvariantCulture, $"<line class=\"chart-line\" x1=\"{Left}\" x2=\"{Width}\" y1=\"{y}\" y2=\"{y}\"/>");
            if (share > 0 && most * share == Math.Floor(most * share))
            {
                svg.Append(
                    CultureInfo.InvariantCulture,
                    $"<text class=\"chart-text\" text-anchor=\"end\" x=\"{Left - 8}\" y=\"{Number(Top + (plot * (1 - share)) + 4)}\">{Words.Count((long)(most * share))}</text>"
                );
            }
        }

        var step = (Width - Left) / (double)Math.Max(1, days.Count);
        for (var i = 0; i < days.Count; i++)
        {
            var x = Left + (i * step) + (step * 0.16);
            double y = Top + plot;
            svg.Append("<g>");
            svg.Append("<title>").Append(HtmlEncoder.Default.Encode(Day(days[i]))).Append("</title>");
            foreach (
                var (tone, count) in ((string, long)[])[("good", days[i].Arrivals), ("info", days[i].Changes), ("warn", days[i].Leavers)]
            )
            {
                if (count == 0)
                {
                    continue;
                }

                // What is there can be seen, however small beside the rest.
                var height = Math.Max(1.5, plot * count / (double)most);
                y -= height;
                svg.Append(
                    CultureInfo.InvariantCulture,
                    $"<rect class=\"bar-{tone}\" x=\"{Number(x)}\" y=\"{Number(Math.Max(Top, y))}\" width=\"{Number(step * 0.68)}\" height=\"{Number(height)}\"/>"
                );
            }

            svg.Append("</g>");
            if ((days.Count - 1 - i) % 7 == 0)
            {
                svg.Append(
                    CultureInfo.InvariantCulture,
                    $"<text class=\"chart-text\" text-anchor=\"middle\" x=\"{Number(Math.Min(Width - 24, x + (step * 0.34)))}\" y=\"{Height - 6}\">{days[i].Date.ToString("MMM d", CultureInfo.InvariantCulture)}</text>"
                );
            }
        }

        output.Content.SetHtmlContent(svg.ToString());
    }

    private static string Day(DayCount day) =>
        $"{day.Date.ToString("MMMM d", CultureInfo.InvariantCulture)}: {Words.Count(day.Arrivals, "arrival or return", "arrivals and returns")}, {Words.Count(day.Changes, "change", "changes")}, {Words.Count(day.Leavers, "leaver", "leavers")}";

    private static string Say(IReadOnlyList<DayCount> days) =>
        days.Count == 0
            ? "No days"
            : $"{days.Count} days to {days[^1].Date.ToString("MMMM d, yyyy", CultureInfo.InvariantCulture)}: {Words.Count(days.Sum(d => d.Arrivals), "arrival or return", "arrivals and returns")}, {Words.Count(days.Sum(d => d.Changes), "change", "changes")}, {Words.Count(days.Sum(d => d.Leavers), "leaver", "leavers")}. The numbers of each day stand in the table below.";

    private static string Number(double value) => value.ToString("0.##", CultureInfo.InvariantCulture);

    /// <summary>The next round number: 1, 2, 5, 10, 20 …</summary>
    private static long Nice(long most)
    {
        long unit = 1;
        while (true)
        {
            foreach (var times in (int[])[1, 2, 5])
            {
                if (unit * times >= most)
                {
                    return unit * times;
                }
            }

            unit *= 10;
        }
    }
}

/// <summary>A question mark that explains a preference in a sentence or two.</summary>
[HtmlTargetElement("help", TagStructure = TagStructure.NormalOrSelfClosing)]
public sealed class HelpTagHelper : TagHelper
{
    /// <summary>What is explained.</summary>
    public string For { get; set; } = "";

    public override async Task ProcessAsync(TagHelperContext context, TagHelperOutput output)
    {
        var text = await output.GetChildContentAsync();
        output.TagName = "details";
        output.TagMode = TagMode.StartTagAndEndTag;
        output.Attributes.SetAttribute("class", "help");
        output.Content.AppendHtml("<summary><span aria-hidden=\"true\">?</span><span class=\"visually-hidden\">Help: ");
        output.Content.Append(For);
        output.Content.AppendHtml("</span></summary><span class=\"help-text\">");
        output.Content.AppendHtml(text);
        output.Content.AppendHtml("</span>");
    }
}
