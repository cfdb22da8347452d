using Microsoft.AspNetCore.Mvc;
using Rollcall.Districts;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages.Preferences;

/// <summary>The Grade Table: the order of the district's grades.</summary>
internal sealed class GradesModel(Here here, GradeTable grades, Reading reading) : RollcallPage(here)
{
    /// <summary>What the field shows: the grades, each on a line of its own.</summary>
    public string Lines { get; private set; } = "";

    /// <summary>The order that the page was made from, as one text.</summary>
    public string Was { get; private set; } = "";

    /// <summary>The district has an order of its own.</summary>
    public bool Own { get; private set; }

    /// <summary>Grades that patrons have and the district's own order does not name.</summary>
    public IReadOnlyList<string> Unlisted { get; private set; } = [];

    /// <summary>Why nothing was saved; null otherwise.</summary>
    public string? Refused { get; private set; }

    /// <summary>What somebody else made of the order meanwhile, in a sentence; null when nobody did.</summary>
    public string? Meanwhile { get; private set; }

    public Task OnGetAsync() => ShowAsync();

    public async Task<IActionResult> OnPostAsync(string? lines, string? was, bool usual)
    {
        try
        {
            var levels = usual ? [] : Split(lines);
            await grades.SetAsync(DistrictId, levels, Here.Actor.Name, Split(was), Gone);
            reading.ForgetLevels(DistrictId);
            TempData["Said"] = levels.Length == 0 ? "Grades are in the usual order again." : "Saved. Lists and filters go by it.";
            return LocalRedirect("/preferences/grades");
        }
        catch (RollcallException e)
        {
            await ShowAsync();
            Refused = e.Message;
            Lines = lines ?? "";

            // Whoever saves once more takes the other's away: they have to see it.
            Meanwhile =
                Split(was).SequenceEqual(Split(Was)) ? null
                : Own ? $"The order is now: {string.Join(", ", Split(Was))}."
                : "The district has no order of its own any more: grades are in the usual one.";
            return Page();
        }
    }

    private async Task ShowAsync()
    {
        var own = await grades.ListAsync(DistrictId, Gone);
        var present = await reading.LevelsAsync(DistrictId, Gone);
        Own = own.Count > 0;
        Lines = string.Join('\n', Own ? own : present);
        Was = string.Join('\n', own);
        Unlisted = Own ? [.. present.Where(l => !own.Contains(l, StringComparer.OrdinalIgnoreCase))] : [];
    }

    private static string[] Split(string? lines) => (lines ?? "").Split(['\n', '\r'], StringSplitOptions.RemoveEmptyEntries);
}
