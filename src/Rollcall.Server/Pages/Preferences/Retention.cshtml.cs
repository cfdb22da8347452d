using Microsoft.AspNetCore.Mvc;
using Rollcall.Operations;
using Rollcall.Retention;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages.Preferences;

/// <summary>How long the district keeps logs, the audit and sign-ins, and what the last runs removed.</summary>
internal sealed class RetentionModel(Here here, RetentionService retention, OperationQueue queue) : RollcallPage(here)
{
    private const string Address = "/preferences/retention";

    public RetentionSetting Setting { get; private set; } = new();
    public IReadOnlyList<Operation> Runs { get; private set; } = [];

    public async Task OnGetAsync()
    {
        Setting = await retention.FindAsync(DistrictId, Gone);
        Runs = [.. (await queue.OfKindAsync(DistrictId, OperationKind.Retention, 10, Gone))];
    }

    public Task<IActionResult> OnPostAsync(int? logs, int? audit, int? signIns) =>
        ActAsync(
            Address,
            async () =>
            {
                await retention.SetAsync(DistrictId, logs, audit, signIns, Here.Actor.Name, Gone);
                return "Saved. The next night goes by it.";
            }
        );

    public async Task<IActionResult> OnPostRunAsync() =>
        LocalRedirect($"/operations/{await retention.EnqueueAsync(DistrictId, Here.Actor.Name, Gone)}");
}
