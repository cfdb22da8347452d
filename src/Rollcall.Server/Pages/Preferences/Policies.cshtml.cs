using Microsoft.AspNetCore.Mvc;
using Rollcall.Districts;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages.Preferences;

/// <summary>The policies of the district and who has them.</summary>
internal sealed class PoliciesModel(Here here, PolicyService policies) : RollcallPage(here)
{
    private const string Address = "/preferences/policies";

    public IReadOnlyList<PolicyUse> List { get; private set; } = [];

    /// <summary>What was typed and refused, and why; null otherwise.</summary>
    public (string? Code, string? Name, bool Added, string Because)? Refused { get; private set; }

    public async Task OnGetAsync() => List = await policies.ListAsync(DistrictId, Gone);

    /// <summary>Gives a policy another name, or adds one.</summary>
    public async Task<IActionResult> OnPostAsync(string? code, string? name, string? add)
    {
        try
        {
            var policy = await policies.SetAsync(DistrictId, code, name ?? "", Here.Actor.Name, add == "yes", Gone);
            TempData["Said"] = $"Saved: {policy.Code} is {policy.Name}.";
            return LocalRedirect(Address);
        }
        catch (RollcallException e)
        {
            await OnGetAsync();
            Refused = (code, name, add == "yes", e.Message);
            return Page();
        }
    }

    public Task<IActionResult> OnPostRemoveAsync(string? code) =>
        ActAsync(
            Address,
            async () =>
            {
                await policies.RemoveAsync(DistrictId, code, Here.Actor.Name, Gone);
                return $"Policy {code} is removed.";
            }
        );
}
