using System.Globalization;
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

    /// <summary>A time as its field shows it.</summary>
    public string? Days(string name, int stored) => Typed("", name, stored.ToString(CultureInfo.InvariantCulture));

    public async Task OnGetAsync()
    {
        Setting = await retention.FindAsync(DistrictId, Gone);
        Runs = [.. (await queue.OfKindAsync(DistrictId, OperationKind.Retention, 10, Gone))];
    }

    public async Task<IActionResult> OnPostAsync()
    {
        var form = await Request.ReadFormAsync(Gone);
        return await SaveAsync(
            Address,
            OnGetAsync,
            async () =>
            {
                await retention.SetAsync(DistrictId, Changed("logs"), Changed("audit"), Changed("signIns"), Here.Actor.Name, Gone);
                return "Saved. The next night goes by it.";
            }
        );

        // Another window may have changed the rest while the form was open.
        int? Changed(string name) =>
            form[name].ToString().Trim() is var typed && form.TryGetValue($"was.{name}", out var was) && typed == was.ToString() ? null
            : int.TryParse(typed, NumberStyles.None, CultureInfo.InvariantCulture, out var days) ? days
            : throw new RollcallException("Each time is a whole number of days. Nothing was changed.");
    }

    public async Task<IActionResult> OnPostRunAsync() =>
        LocalRedirect($"/operations/{await retention.EnqueueAsync(DistrictId, Here.Actor.Name, Gone)}");
}
