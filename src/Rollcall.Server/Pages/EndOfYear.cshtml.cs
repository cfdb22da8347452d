using Rollcall.Districts;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>Who has left, by site, and what can be done with them.</summary>
internal sealed class EndOfYearModel(Here here, PatronService patrons, SiteService sites) : RollcallPage(here)
{
    /// <summary>Code and name are null for patrons without a site.</summary>
    public IReadOnlyList<(string? Code, string? Name, int Count)> Sites { get; private set; } = [];
    public int Total { get; private set; }

    public async Task OnGetAsync()
    {
        var left = (await patrons.CountsAsync(DistrictId, Gone)).Where(c => c.Status == PatronStatus.Transferred).ToList();
        var all = await sites.ListAsync(DistrictId, Gone);
        Sites =
        [
            .. all.Select(s => ((string?)s.Code, (string?)s.Name, left.Where(c => c.SiteId == s.Id).Sum(c => c.Count)))
                .Where(s => s.Item3 > 0),
        ];
        if (left.Where(c => c.SiteId is null).Sum(c => c.Count) is > 0 and var none)
        {
            Sites = [.. Sites, (null, null, none)];
        }

        Total = left.Sum(c => c.Count);
    }
}
