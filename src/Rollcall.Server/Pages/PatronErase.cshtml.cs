using Microsoft.AspNetCore.Mvc;
using Rollcall.Patrons;
using Rollcall.Patrons.Erasure;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>One person out of everything: what goes, what stays, and the file to keep first. What is kept of them is looked for when somebody asks:
/// every text of the district is read for it, which takes seconds in a large library.</summary>
internal sealed class PatronEraseModel(Here here, PatronErasure erasure, PatronService patrons) : RollcallPage(here)
{
    /// <summary>What was found; null before somebody looked.</summary>
    public ErasurePreview? Preview { get; private set; }

    /// <summary>Whose record it is; null once it is known from <see cref="Preview"/>, and of those who are no patrons any more.</summary>
    public Patron? Patron { get; private set; }

    /// <summary>The barcode or roster id that was asked for.</summary>
    public string Asked { get; private set; } = "";

    /// <summary>There is a record to go back to.</summary>
    public bool IsPatron => Patron is not null || Preview?.Goes.Any(g => g.What == "The patron's record") == true;

    public async Task<IActionResult> OnGetAsync(string? barcode, string? look)
    {
        try
        {
            if (look is null && Text.Clean(barcode) is { } asked)
            {
                Patron = await patrons.WithBarcodeAsync(DistrictId, asked, Gone);
                Asked = Patron?.Barcode ?? asked;
                return Page();
            }

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
            return LocalRedirect($"/patron/erase?barcode={Uri.EscapeDataString(asked)}&look=yes");
        }
    }
}
