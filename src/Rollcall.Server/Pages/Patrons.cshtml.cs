using Rollcall.Districts;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>The list of patrons. Search, filters, order and page are all in the address, so that a view can be sent to a colleague.</summary>
internal sealed class PatronsModel(Here here, PatronService patrons, SiteService sites, Reading reading) : RollcallPage(here)
{
    public const int Size = 50;

    public string? Search { get; private set; }
    public string? SiteCode { get; private set; }
    public PatronStatus? Status { get; private set; }
    public string? Level { get; private set; }
    public string Sort { get; private set; } = "name";
    public bool Down { get; private set; }
    public int Number { get; private set; }
    public int Total { get; private set; }
    public IReadOnlyList<Patron> List { get; private set; } = [];
    public IReadOnlyList<Site> Sites { get; private set; } = [];
    public IReadOnlyList<string> Levels { get; private set; } = [];
    public IReadOnlyDictionary<int, Site> SiteById { get; private set; } = new Dictionary<int, Site>();

    public bool Filtered => Search is not null || SiteCode is not null || Status is not null || Level is not null;

    public async Task OnGetAsync(string? q, string? site, string? status, string? level, string? sort, string? order, int? page)
    {
        Sites = await sites.ListAsync(DistrictId, Gone);
        SiteById = Sites.ToDictionary(s => s.Id);
        Levels = await reading.LevelsAsync(DistrictId, Gone);
        Search = Text.Clean(q) is { } search ? Text.Cut(search, 200) : null;
        var chosen = Sites.FirstOrDefault(s => string.Equals(s.Code, site?.Trim(), StringComparison.OrdinalIgnoreCase));
        SiteCode = chosen?.Code;
        Status = status is null ? null : PatronFields.ParseStatus(status);
        Level = string.IsNullOrWhiteSpace(level) ? null : level;
        Sort = sort is "barcode" or "grade" or "changed" ? sort : "name";
        Down = order == "down";
        var filter = new PatronFilter(Search, chosen?.Id, Status, Level);
        var by = Sort switch
        {
            "barcode" => PatronSort.Barcode,
            "grade" => PatronSort.Level,
            "changed" => PatronSort.Updated,
            _ => PatronSort.Name,
        };
        Number = Math.Clamp(page ?? 1, 1, 1_000_000);
        (List, Total) = await patrons.PageAsync(DistrictId, filter, by, Down, Number, Size, Gone);
        if (List.Count == 0 && Total > 0)
        {
            Number = PageWithin(page, Size, Total);
            (List, Total) = await patrons.PageAsync(DistrictId, filter, by, Down, Number, Size, Gone);
        }
    }
}
