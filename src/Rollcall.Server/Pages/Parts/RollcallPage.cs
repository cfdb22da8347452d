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

    /// <summary>Answers that this is not for the visitor, in the words given.</summary>
    protected ForbidPageResult Forbidden(string words)
    {
        HttpContext.Items[ErrorModel.WordsKey] = words;
        return new ForbidPageResult();
    }

    /// <summary>Does what a button asks, says how it went on the next page, and goes there.</summary>
    protected async Task<IActionResult> ActAsync(string then, Func<Task<string>> act)
    {
        try
        {
            // A page that shows by itself what came of it needs no words.
            if (await act() is { Length: > 0 } said)
            {
                TempData["Said"] = said;
            }
        }
        catch (Exception e) when (e is RollcallException or OneRoster.RosterException)
        {
            TempData["Refused"] = e.Message;
        }

        return LocalRedirect(then);
    }

    /// <summary>
    /// The same for a form that people type into: what is refused is shown again as they typed it, with the reason, on the page that
    /// <paramref name="load"/> fills.
    /// </summary>
    protected async Task<IActionResult> SaveAsync(string then, Func<Task> load, Func<Task<string>> act)
    {
        ArgumentNullException.ThrowIfNull(load);
        ArgumentNullException.ThrowIfNull(act);
        try
        {
            TempData["Said"] = await act();
            return LocalRedirect(then);
        }
        catch (Exception e) when (e is RollcallException or OneRoster.RosterException)
        {
            ViewData["Refused"] = e.Message;
            _typed = Request.HasFormContentType ? await Request.ReadFormAsync(Gone) : null;
            await load();
            return Page();
        }
    }

    private IFormCollection? _typed;

    /// <summary>The form of this handler was refused and stands here as it was typed.</summary>
    /// <param name="handler">As the form's address names it; empty for the page's only form.</param>
    public bool IsTyped(string handler = "") =>
        _typed is not null && string.Equals(Request.Query["handler"].ToString(), handler, StringComparison.OrdinalIgnoreCase);

    /// <summary>What a field of a refused form held, by its place among fields of the same name; otherwise what is stored.</summary>
    public string? Typed(string handler, string name, string? stored, int place = 0) =>
        IsTyped(handler) ? _typed![name].ElementAtOrDefault(place) : stored;

    /// <summary>Whether a box of a refused form was ticked; otherwise what is stored.</summary>
    public bool Ticked(string handler, string name, string value, bool stored) => IsTyped(handler) ? _typed![name].Contains(value) : stored;

    /// <summary>All that a refused form held under a name; null where none was refused.</summary>
    public IReadOnlyList<string?>? AllTyped(string handler, string name) => IsTyped(handler) ? [.. _typed![name]] : null;

    /// <summary>What <c>data-unsaved</c> of the form says: what was typed before is not saved yet either.</summary>
    public string Unsaved(string handler = "") => IsTyped(handler) ? "typed" : "";

    /// <summary>A page number from the address, within the list.</summary>
    protected static int PageWithin(int? asked, int size, int total) => Math.Clamp(asked ?? 1, 1, Math.Max(1, (total + size - 1) / size));
}
