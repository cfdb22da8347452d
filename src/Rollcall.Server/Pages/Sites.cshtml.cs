using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>The libraries, the schools of the roster they are matched to, and what new patrons get there.</summary>
internal sealed class SitesModel(Here here, SiteService sites, PatronService patrons, IntegrationService integrations, Reading reading)
    : RollcallPage(here)
{
    public IReadOnlyList<Site> List { get; private set; } = [];
    public ILookup<int, SiteDefault> Defaults { get; private set; } = Array.Empty<SiteDefault>().ToLookup(d => d.SiteId);
    public ILookup<int, SiteOrg> Orgs { get; private set; } = Array.Empty<SiteOrg>().ToLookup(o => o.SiteId);
    public IReadOnlyDictionary<int, int> Counts { get; private set; } = new Dictionary<int, int>();
    public string? Service { get; private set; }

    /// <summary>The service as addresses name it.</summary>
    public string ServiceSlug { get; private set; } = "classlink";

    public async Task OnGetAsync()
    {
        List = await sites.ListAsync(DistrictId, Gone);
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
    }
}
