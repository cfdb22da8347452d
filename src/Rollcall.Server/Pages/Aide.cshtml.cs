using Microsoft.AspNetCore.Mvc;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>What a Student Aide, who is a child, may see of other children: name, barcode, homeroom and status of the own site.</summary>
internal sealed class AideModel(Here here, PatronService patrons) : RollcallPage(here)
{
    public const int Size = 50;

    public string? Search { get; private set; }
    public int Number { get; private set; }
    public int Total { get; private set; }

    /// <summary>Only these four are read out of a record: nothing else reaches the page.</summary>
    public IReadOnlyList<(string Name, string Barcode, string? Homeroom, PatronStatus Status)> List { get; private set; } = [];

    public async Task OnGetAsync(string? q, [FromQuery(Name = "page")] int? page)
    {
        Search = Text.Clean(q) is { } search ? Text.Cut(search, 200) : null;
        var filter = new PatronFilter(Search) { Sites = Here.Sites, NamesOnly = true };
        Number = Math.Clamp(page ?? 1, 1, 1_000_000);
        (var found, Total) = await patrons.PageAsync(DistrictId, filter, PatronSort.Name, false, Number, Size, Gone);
        if (found.Count == 0 && Total > 0)
        {
            Number = PageWithin(page, Size, Total);
            (found, Total) = await patrons.PageAsync(DistrictId, filter, PatronSort.Name, false, Number, Size, Gone);
        }

        List = [.. found.Select(p => (p.DisplayName, p.Barcode, p.Location, p.Status))];
    }
}
