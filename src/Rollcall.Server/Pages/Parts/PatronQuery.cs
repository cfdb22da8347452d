using Microsoft.AspNetCore.WebUtilities;
using Rollcall.Districts;
using Rollcall.Mapping;
using Rollcall.Patrons;

namespace Rollcall.Server.Pages.Parts;

/// <summary>Which patrons, as an address holds it: list, bulk work, export and lists to print read the same.</summary>
internal sealed record PatronQuery
{
    public string? Search { get; private init; }
    public Site? Site { get; private init; }

    /// <summary>Patrons who have no site. No site's code can be the word by which addresses say so.</summary>
    public bool NoSite { get; private init; }
    public const string NoSiteWord = "(none)";
    public PatronStatus? Status { get; private init; }
    public string? Level { get; private init; }
    public string? Location { get; private init; }
    public RoleGroup? RoleGroup { get; private init; }
    public bool? Linked { get; private init; }

    /// <summary>Linked, and no longer in the roster.</summary>
    public bool Gone { get; private init; }
    private const string GoneWord = "gone";

    /// <summary>These patrons alone; empty when everybody who fits is meant.</summary>
    public IReadOnlyList<string> Barcodes { get; init; } = [];

    /// <summary>Under this name, with <see cref="Ticks"/>, a list says that whoever is ticked is meant, and not everybody whom it shows.</summary>
    public const string Meant = "meant";
    public const string Ticks = "ticked";

    /// <summary>Something beyond search, site, status and grade is asked for.</summary>
    public bool More => Location is not null || RoleGroup is not null || Linked is not null || Gone;

    public bool Any =>
        Search is not null
        || Site is not null
        || NoSite
        || Status is not null
        || Level is not null
        || More
        || Barcodes.Count > 0
        || Unknown.Count > 0;

    /// <summary>Values of filters that there are none of, each in a sentence: nobody has them.</summary>
    public IReadOnlyList<(string Name, string Value, string Words)> Unknown { get; init; } = [];

    public static PatronQuery Of(IQueryCollection query, IReadOnlyList<Site> sites) =>
        new()
        {
            Search = Text.Clean(query["q"]) is { } search ? Text.Cut(search, 200) : null,
            Site = sites.FirstOrDefault(s => string.Equals(s.Code, query["site"].ToString().Trim(), StringComparison.OrdinalIgnoreCase)),
            NoSite = query["site"].ToString() == NoSiteWord,
            Status = PatronFields.ParseStatus(query["status"].ToString()),
            Level = Blank(query["level"]),
            Location = Text.Clean(query["homeroom"]),
            RoleGroup = query["role"].ToString() switch
            {
                "student" => Patrons.RoleGroup.Student,
                "teacher" => Patrons.RoleGroup.Teacher,
                "admin" => Patrons.RoleGroup.Admin,
                _ => null,
            },
            Linked = query["linked"].ToString() switch
            {
                "yes" => true,
                "no" => false,
                _ => null,
            },
            Gone = query["linked"].ToString() == GoneWord,
            Unknown = [.. Unheard(query, sites)],
            Barcodes = Ticked(query["b"]),
        };

    public PatronFilter Filter =>
        new(Search, Site?.Id, Status, Level)
        {
            NoSite = NoSite,
            Location = Location,
            RoleGroup = RoleGroup,
            Linked = Linked,
            Gone = Gone ? true : null,
            Barcodes =
                Unknown.Count > 0 ? []
                : Barcodes.Count == 0 ? null
                : Barcodes,
        };

    /// <summary>Name and value of everything that is asked for.</summary>
    public IEnumerable<KeyValuePair<string, string?>> Values
    {
        get
        {
            (string, string?)[] all =
            [
                ("q", Search),
                ("site", NoSite ? NoSiteWord : Site?.Code),
                ("status", Status is { } status ? PatronFields.StatusWord(status) : null),
                ("level", Level),
                ("homeroom", Location),
                ("role", RoleGroup?.ToString().ToLowerInvariant()),
                (
                    "linked",
                    Gone ? GoneWord
                    : Linked is { } linked ? (linked ? "yes" : "no")
                    : null
                ),
                .. Unknown.Select(u => (u.Name, (string?)u.Value)),
                .. Barcodes.Select(b => ("b", (string?)b)),
            ];
            return all.Where(v => v.Item2 is not null).Select(v => KeyValuePair.Create(v.Item1, v.Item2));
        }
    }

    /// <summary>The address of a page for these patrons.</summary>
    public string Address(string path, params (string Name, string? Value)[] more) =>
        QueryHelpers.AddQueryString(
            path,
            Values.Concat(more.Where(m => m.Value is not null).Select(m => KeyValuePair.Create(m.Name, m.Value)))
        );

    /// <summary>Who is meant, in words; empty for everybody.</summary>
    public string InWords => Filter.InWords(Site?.Name);

    private static IEnumerable<(string Name, string Value, string Words)> Unheard(IQueryCollection query, IReadOnlyList<Site> sites)
    {
        var site = query["site"].ToString().Trim();
        if (site.Length > 0 && site != NoSiteWord && !sites.Any(s => string.Equals(s.Code, site, StringComparison.OrdinalIgnoreCase)))
        {
            yield return ("site", site, $"There is no site {Text.Cut(site, 50)}.");
        }

        var status = query["status"].ToString();
        if (!string.IsNullOrWhiteSpace(status) && PatronFields.ParseStatus(status) is null)
        {
            yield return ("status", status, $"There is no status {Text.Cut(status.Trim(), 50)}.");
        }

        if (query["role"].ToString() is not ("" or "student" or "teacher" or "admin") and var role)
        {
            yield return ("role", role, $"There is no role {Text.Cut(role, 50)}.");
        }

        if (query["linked"].ToString() is not ("" or "yes" or "no" or GoneWord) and var linked)
        {
            yield return ("linked", linked, $"Linked is yes, no or gone, and not {Text.Cut(linked, 50)}.");
        }
    }

    private static IReadOnlyList<string> Ticked(Microsoft.Extensions.Primitives.StringValues barcodes) =>
        [.. barcodes.Where(b => !string.IsNullOrWhiteSpace(b)).Select(b => b!).Take(1000)];

    private static string? Blank(Microsoft.Extensions.Primitives.StringValues value) =>
        string.IsNullOrWhiteSpace(value.ToString()) ? null : value.ToString();
}
