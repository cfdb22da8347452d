using Microsoft.AspNetCore.Mvc;
using Rollcall.Patrons.Erasure;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>One person out of everything: what goes, what stays, and the file to keep first.</summary>
internal sealed class PatronEraseModel(Here here, PatronErasure erasure) : RollcallPage(here)
{
    public ErasurePreview Preview { get; private set; } = null!;

    /// <summary>There is a record to go back to.</summary>
    public bool IsPatron => Preview.Goes.Any(g => g.What == "The patron's record");

    public async Task<IActionResult> OnGetAsync(string? barcode)
    {
        try
        {
            Preview = await erasure.PreviewAsync(DistrictId, barcode ?? "", Here.Actor, Gone);
            return Page();
        }
        catch (RollcallException e)
        {
            return Missing(e.Message);
        }
    }

    public async Task<IActionResult> OnPostAsync(string? barcode, string? again, string? seen)
    {
        var asked = (barcode ?? "").Trim();
        try
        {
            if (!string.Equals(asked, again?.Trim(), StringComparison.OrdinalIgnoreCase))
            {
                throw new RollcallException("The barcode that was typed is another one. Nothing was erased.");
            }

            var id = await erasure.EnqueueAsync(DistrictId, asked, Here.Actor, seen, Gone);
            TempData["Said"] = "The person is being erased.";
            return LocalRedirect($"/operations/{id}");
        }
        catch (RollcallException e)
        {
            TempData["Refused"] = e.Message;
            return LocalRedirect($"/patron/erase?barcode={Uri.EscapeDataString(asked)}");
        }
    }
}
