using Microsoft.AspNetCore.Mvc;
using Rollcall.Districts;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>Many patrons edited or removed at once: who, what, then a preview that somebody approves.</summary>
internal sealed class PatronBulkModel(Here here, PatronService patrons, PatronBulk bulk, SiteService sites, Reading reading)
    : RollcallPage(here)
{
    /// <summary>Fields that make sense to be the same for many.</summary>
    private static readonly int[] s_fields =
    [
        PatronFields.Status,
        PatronFields.Site,
        PatronFields.Level,
        PatronFields.Location,
        PatronFields.SecondLocation,
        PatronFields.Policy,
        PatronFields.Expiration,
        PatronFields.GraduationDate,
        PatronFields.DoNotTransfer,
        PatronFields.Stamps,
        PatronFields.Notes,
    ];

    public bool Removal { get; private set; }
    public PatronQuery Query { get; private set; } = new();
    public int Total { get; private set; }
    public IReadOnlyList<Patron> Some { get; private set; } = [];
    public IReadOnlyList<FieldInput> Inputs { get; private set; } = [];

    /// <summary>Names of the fields that are ticked to be changed.</summary>
    public IReadOnlySet<string> Chosen { get; private set; } = new HashSet<string>();
    public string? Problem { get; private set; }

    public async Task<IActionResult> OnGetAsync()
    {
        await LoadAsync([]);
        if (Request.Query[PatronQuery.Meant] == PatronQuery.Ticks && Query.Barcodes.Count == 0)
        {
            TempData["Refused"] = "Nobody is ticked: nothing was begun. Tick patrons, or take all that are found.";
            return LocalRedirect(Query.Address("/patrons"));
        }

        return Page();
    }

    public async Task<IActionResult> OnPostAsync()
    {
        var form = await Request.ReadFormAsync(Gone);
        var typed = PatronForm.Read(form);
        Chosen = form["change"].OfType<string>().ToHashSet(StringComparer.Ordinal);
        await LoadAsync(typed);
        if (Total == 0)
        {
            Problem = "Nobody is meant: choose other patrons.";
            return Page();
        }

        // A choice that nobody touched is sent too; what was typed was meant.
        var lost = s_fields
            .Where(n => PatronForm.ControlOf(n) is FieldControl.Text or FieldControl.Lines or FieldControl.Date)
            .Where(n => !string.IsNullOrWhiteSpace(typed.GetValueOrDefault(n)))
            .Select(PatronFields.ByNumber)
            .Where(f => !Chosen.Contains(f.Name))
            .Select(f => f.Label)
            .ToList();
        if (!Removal && lost.Count > 0)
        {
            Problem =
                $"{string.Join(" and ", lost)} {(lost.Count == 1 ? "was" : "were")} typed and not ticked. Tick what is to change, and empty what is not.";
            return Page();
        }

        try
        {
            var id = Removal
                ? await bulk.PlanRemovalAsync(DistrictId, Query.Filter, preview: true, Here.Actor, Gone)
                : await bulk.PlanEditAsync(
                    DistrictId,
                    Query.Filter,
                    [
                        .. s_fields
                            .Select(PatronFields.ByNumber)
                            .Where(f => Chosen.Contains(f.Name))
                            .Select(f => KeyValuePair.Create(f.Name, typed.GetValueOrDefault(f.Number))),
                    ],
                    preview: true,
                    Here.Actor,
                    Gone
                );
            TempData["Said"] = "This is the preview. Nothing is written before you approve it.";
            return LocalRedirect($"/operations/{id}");
        }
        catch (RollcallException e)
        {
            Problem = e.Message;
            return Page();
        }
    }

    private async Task LoadAsync(Dictionary<int, string?> typed)
    {
        Removal = Request.Query["do"] == "remove";
        var all = await sites.ListAsync(DistrictId, Gone);
        Query = PatronQuery.Of(Request.Query, all);
        (Some, Total) = await patrons.PageAsync(DistrictId, Query.Filter, PatronSort.Name, false, 1, 5, Gone);
        var policies = await reading.PoliciesAsync(DistrictId, Gone);
        Inputs =
        [
            .. s_fields.Select(n =>
            {
                var value = typed.GetValueOrDefault(n);
                return new FieldInput(
                    PatronFields.ByNumber(n),
                    PatronForm.ControlOf(n),
                    value,
                    PatronForm.ChoicesOf(n, value, all, policies, isNew: false),
                    null,
                    false
                );
            }),
        ];
    }
}
