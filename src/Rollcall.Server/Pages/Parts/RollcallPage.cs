using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Rollcall.Server.Pages.Parts;

/// <summary>What the pages have in common.</summary>
internal abstract class RollcallPage(Here here) : PageModel
{
    public Here Here { get; } = here;

    public int DistrictId => Here.District.Id;

    public CancellationToken Gone => HttpContext.RequestAborted;

    /// <summary>Answers that there is nothing here, in the words given.</summary>
    protected NotFoundResult Missing(string words)
    {
        HttpContext.Items[ErrorModel.WordsKey] = words;
        return NotFound();
    }

    /// <summary>Does what a button asks, says how it went on the next page, and goes there.</summary>
    protected async Task<IActionResult> ActAsync(string then, Func<Task<string>> act)
    {
        try
        {
            TempData["Said"] = await act();
        }
        catch (Exception e) when (e is RollcallException or OneRoster.RosterException)
        {
            TempData["Refused"] = e.Message;
        }

        return LocalRedirect(then);
    }

    /// <summary>A page number from the address, within the list.</summary>
    protected static int PageWithin(int? asked, int size, int total) => Math.Clamp(asked ?? 1, 1, Math.Max(1, (total + size - 1) / size));
}
