using System.Globalization;
using Microsoft.AspNetCore.Mvc;
using Rollcall.Districts;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>Lists that a school prints: arrivals who need a card, leavers by homeroom.</summary>
internal sealed class ListsModel(Here here, SiteService sites, Reading reading) : RollcallPage(here)
{
    /// <summary>A printed list has an end.</summary>
    public const int Most = 5000;

    /// <summary>So many are there at once; whoever prints asks for all.</summary>
    public const int AtFirst = 500;

    // Where there are more, a list of all of them is no school's.
    private const int FewSites = 10;

    /// <summary>Whose list it is to be is not chosen yet.</summary>
    public bool ChooseSiteFirst { get; private set; }

    /// <summary>As many as a printed list may have.</summary>
    public bool All { get; private set; }

    /// <summary>There are more than are shown.</summary>
    public bool HasMore { get; private set; }

    /// <summary><c>arrivals</c>, <c>leavers</c> or <c>transferred</c>; null while none is chosen.</summary>
    public string? List { get; private set; }

    /// <summary>Those who have left: lately by a sync, or at any time and by anybody.</summary>
    public bool Left => List is "leavers" or "transferred";

    /// <summary>Whoever is marked Transferred, since when and by whom it may be.</summary>
    public bool Ever => List == "transferred";

    /// <summary>Of arrivals those alone who have no card yet.</summary>
    public bool Cardless { get; private set; }
    public DateOnly Since { get; private set; }
    public Site? Site { get; private set; }
    public IReadOnlyList<Site> Sites { get; private set; } = [];
    public int Total { get; private set; }

    /// <summary>Sites, and in each its homerooms with their people. A homeroom is null where patrons have none.</summary>
    public IReadOnlyList<(string Site, IReadOnlyList<(string? Homeroom, IReadOnlyList<Patron> People)> Homerooms)> Groups
    {
        get;
        private set;
    } = [];

    public async Task<IActionResult> OnGetAsync(string? list, string? since, string? site, string? card, string? all)
    {
        if (list is not (null or "arrivals" or "leavers" or "transferred"))
        {
            return Missing("There is no such list.");
        }

        List = list;
        Cardless = list == "arrivals" && card != "all";
        Sites = [.. (await sites.ListAsync(DistrictId, Gone)).Where(s => Here.Sees(s.Id))];
        Site = Sites.FirstOrDefault(s => string.Equals(s.Code, site?.Trim(), StringComparison.OrdinalIgnoreCase));
        Since =
            DateOnly.TryParseExact(since, "yyyy-MM-dd", CultureInfo.InvariantCulture, DateTimeStyles.None, out var date)
            && date.Year is >= 1990 and <= 2200
                ? date
                : Here.Today.AddDays(-30);
        if (list is null)
        {
            return Page();
        }

        All = all == "yes";
        var isOpen = Site is null && !All && Sites.Count > 1;
        ChooseSiteFirst = isOpen && Sites.Count > FewSites;
        if (ChooseSiteFirst)
        {
            return Page();
        }

        var most = All ? Most : AtFirst;
        var people = Ever
            ? await reading.TransferredAsync(DistrictId, Site?.Id, Here.Sites, most + 1, Gone)
            : await reading.MovedAsync(DistrictId, Left, Here.StartOf(Since), Site?.Id, Here.Sites, most + 1, Gone, cardless: Cardless);
        HasMore = people.Count > most;
        if (isOpen && HasMore)
        {
            // The first of all sites are a part of each, and no school's list.
            ChooseSiteFirst = true;
            return Page();
        }

        people = [.. people.Take(most)];
        Total = people.Count;
        var names = Sites.ToDictionary(s => s.Id, s => s.Name);
        Groups =
        [
            .. people
                .GroupBy(p => p.SiteId is { } id ? names.GetValueOrDefault(id, "No site") : "No site")
                .OrderBy(g => g.Key, StringComparer.OrdinalIgnoreCase)
                .Select(g =>
                    (
                        g.Key,
                        (IReadOnlyList<(string?, IReadOnlyList<Patron>)>)
                            [
                                .. g.GroupBy(p => p.Location)
                                    .OrderBy(h => h.Key is null)
                                    .ThenBy(h => h.Key, StringComparer.OrdinalIgnoreCase)
                                    .Select(h => (h.Key, (IReadOnlyList<Patron>)[.. h])),
                            ]
                    )
                ),
        ];
        return Page();
    }
}
