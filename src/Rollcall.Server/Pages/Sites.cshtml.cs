using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>The libraries, the schools of the roster they are matched to, and what new patrons get there.</summary>
internal sealed class SitesModel(Here here, SiteService sites, PatronService patrons, IntegrationService integrations, Reading reading)
    : RollcallPage(here)
{
    public const int Size = 100;

    /// <summary>More than these need a search.</summary>
    public const int Few = 12;

    /// <summary>Those of the page that is shown.</summary>
    public IReadOnlyList<Site> List { get; private set; } = [];

    /// <summary>How many there are, whatever is searched for.</summary>
    public int All { get; private set; }
    public int Total { get; private set; }
    public int Number { get; private set; }
    public string? Search { get; private set; }
    public string Sort { get; private set; } = "name";
    public bool Down { get; private set; }

    /// <summary>How many have no school in the roster.</summary>
    public int Unmatched { get; private set; }
    public ILookup<int, SiteDefault> Defaults { get; private set; } = Array.Empty<SiteDefault>().ToLookup(d => d.SiteId);
    public ILookup<int, SiteOrg> Orgs { get; private set; } = Array.Empty<SiteOrg>().ToLookup(o => o.SiteId);
    public IReadOnlyDictionary<int, int> Counts { get; private set; } = new Dictionary<int, int>();
    public string? Service { get; private set; }

    /// <summary>A service that is off, and to whose schools sites are matched; null when one is on, or none is matched.</summary>
    public string? Prepared { get; private set; }

    /// <summary>That service has been on, and was turned off.</summary>
    public bool WasOn { get; private set; }

    /// <summary>The service as addresses name it.</summary>
    public string ServiceSlug { get; private set; } = "classlink";

    public async Task OnGetAsync(string? q, string? sort, string? order, [Microsoft.AspNetCore.Mvc.FromQuery(Name = "page")] int? page)
    {
        var all = await sites.ListAsync(DistrictId, Gone);
        Defaults = (await sites.DefaultsAsync(DistrictId, Gone)).ToLookup(d => d.SiteId);
        Counts = (await patrons.CountsAsync(DistrictId, Gone))
            .Where(c => c.SiteId is not null)
            .GroupBy(c => c.SiteId!.Value)
            .ToDictionary(g => g.Key, g => g.Sum(c => c.Count));
        if (await integrations.EnabledAsync(DistrictId, Gone) is { } service)
        {
            Service = Words.Service(service.Kind);
            ServiceSlug = IntegrationWords.Verb(service.Kind);
            Orgs = await reading.OrgsAsync(DistrictId, service.Kind, Gone);
        }
        else
        {
            await PrepareAsync();
        }

        All = all.Count;
        Unmatched = all.Count(s => !Orgs.Contains(s.Id));
        Search = Text.Clean(q) is { } asked ? Text.Cut(asked, 200) : null;
        (Sort, Down) = (sort is "school" or "barcode" or "policy" or "group" or "patrons" ? sort : "name", order == "down");
        List<Site> found =
        [
            .. all.Where(s => Words.Fits(Search, [s.Name, s.Code, .. Orgs[s.Id].SelectMany(o => new[] { o.OrgName, o.OrgId })]))
                .OrderBy(
                    s =>
                        Sort switch
                        {
                            // Those without a match first: they are what somebody looks for.
                            "school" => Orgs[s.Id].FirstOrDefault() is { } org ? $"1{org.OrgName ?? org.OrgId}" : "0",
                            "barcode" => s.NextBarcode ?? "",
                            "policy" => s.DefaultPolicy ?? "Standard Patron",
                            "group" => PatronFields.GroupWord(s.DefaultGroup),
                            "patrons" => $"{Counts.GetValueOrDefault(s.Id):D9}",
                            _ => s.Name,
                        },
                    StringComparer.OrdinalIgnoreCase
                )
                .ThenBy(s => s.Name, StringComparer.OrdinalIgnoreCase)
                .ThenBy(s => s.Id),
        ];
        if (Down)
        {
            found.Reverse();
        }

        Total = found.Count;
        Number = PageWithin(page, Size, Total);
        List = [.. found.Skip((Number - 1) * Size).Take(Size)];
    }

    /// <summary>What is matched already is shown before the service is on: to turn it on is the step that comes next.</summary>
    private async Task PrepareAsync()
    {
        foreach (var kind in Enum.GetValues<IntegrationKind>())
        {
            if (await reading.OrgsAsync(DistrictId, kind, Gone) is { Count: > 0 } matched)
            {
                Prepared = Words.Service(kind);
                WasOn = IntegrationService.StateOf(await integrations.FindAsync(DistrictId, kind, Gone)).WasWritten;
                ServiceSlug = IntegrationWords.Verb(kind);
                Orgs = matched;
                return;
            }
        }
    }
}
