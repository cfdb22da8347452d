using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.WebUtilities;
using Rollcall.Districts;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>The list of patrons. Search, filters, order and page are all in the address, so that a view can be sent to a colleague.</summary>
internal sealed class PatronsModel(Here here, PatronService patrons, SiteService sites, Reading reading, SavedFilters saved)
    : RollcallPage(here)
{
    public const int Size = 50;

    /// <summary>With more sites than these, homerooms are listed once a site is chosen: thousands in one list help nobody.</summary>
    private const int FewSites = 10;

    public PatronQuery Query { get; private set; } = new();
    public string Sort { get; private set; } = "name";
    public bool Down { get; private set; }
    public int Number { get; private set; }
    public int Total { get; private set; }
    public IReadOnlyList<Patron> List { get; private set; } = [];
    public IReadOnlyList<Site> Sites { get; private set; } = [];
    public IReadOnlyList<string> Levels { get; private set; } = [];
    public IReadOnlyList<string> Homerooms { get; private set; } = [];
    public IReadOnlyList<SavedFilter> Saved { get; private set; } = [];

    /// <summary>What is shown now, as a saved filter holds it; empty for everybody in order of name.</summary>
    public string Current => QueryOf(Query, Sort, Down);

    /// <summary>The homerooms are too many to list until a site is chosen.</summary>
    public bool ChooseSiteFirst => Query.Site is null && Sites.Count > FewSites;
    public IReadOnlyDictionary<int, Site> SiteById { get; private set; } = new Dictionary<int, Site>();

    public async Task OnGetAsync(string? sort, string? order, [FromQuery(Name = "page")] int? page)
    {
        Sites = [.. (await sites.ListAsync(DistrictId, Gone)).Where(s => Here.Sees(s.Id))];
        SiteById = Sites.ToDictionary(s => s.Id);
        Levels = await reading.LevelsAsync(DistrictId, Gone);
        Query = PatronQuery.Of(Request.Query, Sites);
        Homerooms = await HomeroomsAsync();
        (Sort, Down) = (SortOf(sort), order == "down");
        Saved = await saved.ListAsync(DistrictId, Owner, Gone);
        var by = Sort switch
        {
            "barcode" => PatronSort.Barcode,
            "grade" => PatronSort.Level,
            "changed" => PatronSort.Updated,
            "number" => PatronSort.StudentNumber,
            "site" => PatronSort.Site,
            "status" => PatronSort.Status,
            _ => PatronSort.Name,
        };
        var filter = Query.Filter with { Sites = Here.Sites };
        Number = Math.Clamp(page ?? 1, 1, 1_000_000);
        (List, Total) = await patrons.PageAsync(DistrictId, filter, by, Down, Number, Size, Gone);
        if (List.Count == 0 && Total > 0)
        {
            Number = PageWithin(page, Size, Total);
            (List, Total) = await patrons.PageAsync(DistrictId, filter, by, Down, Number, Size, Gone);
        }
    }

    public async Task<IActionResult> OnPostSaveAsync(string? name, string? filter)
    {
        var kept = Kept(filter, [.. (await sites.ListAsync(DistrictId, Gone)).Where(s => Here.Sees(s.Id))]);
        return await ActAsync(
            $"/patrons{kept}",
            async () =>
            {
                await saved.SaveAsync(DistrictId, Owner, name, kept, Gone);
                return $"Saved as “{Text.Clean(name)}”.";
            }
        );
    }

    public Task<IActionResult> OnPostForgetAsync(string? name) =>
        ActAsync(
            "/patrons",
            async () =>
            {
                await saved.RemoveAsync(DistrictId, Owner, name, Gone);
                return "The saved filter was removed. No patron was touched.";
            }
        );

    /// <summary>A filter as it is saved: read as an address is, so that nothing is saved which the list does not know.</summary>
    public static string Kept(string? filter, IReadOnlyList<Site> sites)
    {
        var asked = QueryHelpers.ParseQuery(filter);
        var query = PatronQuery.Of(new QueryCollection(asked), sites);
        return QueryOf(query, SortOf(asked.GetValueOrDefault("sort")), asked.GetValueOrDefault("order") == "down");
    }

    private string Owner => SavedFilters.OwnerOf(Here.Who!, DistrictId);

    private static string SortOf(string? sort) =>
        sort is "barcode" or "grade" or "changed" or "number" or "site" or "status" ? sort : "name";

    private static string QueryOf(PatronQuery query, string sort, bool down) =>
        (query with { Barcodes = [], Unknown = [] }).Address("", ("sort", sort == "name" ? null : sort), ("order", down ? "down" : null));

    /// <summary>A homeroom is called after its teacher often: those of other people's sites are not told.</summary>
    private async Task<IReadOnlyList<string>> HomeroomsAsync()
    {
        if (ChooseSiteFirst)
        {
            return [];
        }

        if (Query.Site is not null || Here.Sites is null)
        {
            return await reading.HomeroomsAsync(DistrictId, Query.Site?.Id, Gone);
        }

        var homerooms = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var site in Here.Sites)
        {
            homerooms.UnionWith(await reading.HomeroomsAsync(DistrictId, site, Gone));
        }

        return [.. homerooms];
    }
}
