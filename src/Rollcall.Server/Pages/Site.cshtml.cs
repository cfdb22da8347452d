using Microsoft.AspNetCore.Mvc;
using Rollcall.Districts;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>One site: its name and what new patrons get there, for all and for single role groups. Without a code, a new one.</summary>
internal sealed class SiteModel(Here here, SiteService sites) : RollcallPage(here)
{
    public static readonly IReadOnlyList<RoleGroup> Groups = [RoleGroup.Student, RoleGroup.Teacher, RoleGroup.Admin];

    /// <summary>The site; null while it is new.</summary>
    public Site? Site { get; private set; }
    public string? Problem { get; private set; }

    /// <summary>What the fields show: as stored, or as typed when that was refused.</summary>
    public IReadOnlyDictionary<string, string?> Values { get; private set; } = new Dictionary<string, string?>();

    public string? this[string name] => Values.GetValueOrDefault(name);

    /// <summary>What a field held when the form was opened.</summary>
    public string? Was(string name) => Values.TryGetValue($"was.{name}", out var was) ? was : this[name];

    /// <summary>Where one came from: the list of sites, or the page that asked for a site for a school of the roster.</summary>
    public string Back => this["back"] is { } back && Url.IsLocalUrl(back) ? back : "/sites";

    public async Task<IActionResult> OnGetAsync([FromRoute] string? code, [FromQuery] string? back)
    {
        if (!await FindAsync(code))
        {
            return Missing($"There is no site {code}. The list of sites shows those there are.");
        }

        var values = new Dictionary<string, string?>(StringComparer.Ordinal)
        {
            ["name"] = Site?.Name,
            ["back"] = Text.Clean(back),
            ["nextBarcode"] = Site?.NextBarcode,
            ["policy"] = Site?.DefaultPolicy,
            ["group"] = Site is null ? null : PatronFields.GroupWord(Site.DefaultGroup),
        };
        foreach (var own in (await sites.DefaultsAsync(DistrictId, Gone)).Where(d => d.SiteId == Site?.Id))
        {
            values[$"{own.RoleGroup}.nextBarcode"] = own.NextBarcode;
            values[$"{own.RoleGroup}.policy"] = own.Policy;
            values[$"{own.RoleGroup}.group"] = own.Group is { } group ? PatronFields.GroupWord(group) : null;
        }

        Values = values;
        return Page();
    }

    public async Task<IActionResult> OnPostAsync([FromRoute] string? code)
    {
        if (!await FindAsync(code))
        {
            return Missing($"There is no site {code}. The list of sites shows those there are.");
        }

        Values = Request.Form.Where(f => !f.Key.StartsWith('_')).ToDictionary(f => f.Key, f => Text.Clean(f.Value), StringComparer.Ordinal);
        try
        {
            if (Site is not null && this["nextBarcode"] is null && this["was.nextBarcode"] is not null)
            {
                throw new RollcallException(
                    "A site has a Next Barcode: every new patron without a barcode of the roster takes it. Give the one that comes next."
                );
            }

            SiteChange[] changes =
            [
                new(
                    Changed("name"),
                    this["nextBarcode"] is null ? null : Changed("nextBarcode"),
                    Changed("policy"),
                    this["group"] is null ? null : Changed("group"),
                    null
                ),
                .. Groups.Select(group => new SiteChange(
                    null,
                    Changed($"{group}.nextBarcode"),
                    Changed($"{group}.policy"),
                    Changed($"{group}.group"),
                    group
                )),
            ];
            var isNew = Site is null;
            Site = isNew
                ? await sites.AddAsync(DistrictId, this["code"] ?? "", changes, Here.Actor.Name, Gone)
                : await sites.SetAsync(DistrictId, Site!.Code, changes, Here.Actor.Name, Gone);
            TempData["Said"] = isNew ? $"{Site.Name} is added." : $"{Site.Name} is saved.";
            return LocalRedirect(Back);
        }
        catch (RollcallException e)
        {
            Problem = e.Message;
            return Page();
        }
    }

    /// <summary>
    /// What was typed over what stood there; null where nothing was. A sync moves Next Barcode on, and another window may have changed the
    /// rest, while the form is open.
    /// </summary>
    private string? Changed(string name) => this[name] == this[$"was.{name}"] ? null : this[name] ?? "";

    private async Task<bool> FindAsync(string? code)
    {
        if (code is null)
        {
            return true;
        }

        Site = (await sites.ListAsync(DistrictId, Gone)).FirstOrDefault(s =>
            string.Equals(s.Code, code, StringComparison.OrdinalIgnoreCase)
        );
        return Site is not null;
    }
}
