using System.Globalization;
using Microsoft.AspNetCore.Mvc;
using Rollcall.Audit;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>Who did what in the district: preferences, approvals, merges, exports, accounts, sign-ins.</summary>
internal sealed class AuditModel(Here here, AuditLog audit) : RollcallPage(here)
{
    public const int Size = 100;

    public DateOnly From { get; private set; }
    public DateOnly To { get; private set; }
    public string? What { get; private set; }
    public string? Search { get; private set; }
    public IReadOnlyList<string> Actions { get; private set; } = [];
    public IReadOnlyList<AuditEntry> Lines { get; private set; } = [];
    public int Total { get; private set; }
    public int Number { get; private set; }

    public async Task OnGetAsync(string? from, string? to, string? what, string? q, [FromQuery(Name = "page")] int? page)
    {
        From = Date(from) ?? Here.Today.AddDays(-30);
        To = Date(to) ?? Here.Today;
        if (To < From)
        {
            (From, To) = (To, From);
        }

        What = Text.Clean(what);
        Search = Text.Clean(q) is { } asked ? Text.Cut(asked, 200) : null;
        Actions = await audit.ActionsAsync(DistrictId, Gone);
        var filter = new AuditFilter(Here.StartOf(From), Here.StartOf(To.AddDays(1)), What, Search);
        Number = Math.Clamp(page ?? 1, 1, 1_000_000);
        (Lines, Total) = await audit.PageAsync(DistrictId, filter, Number, Size, Gone);
        if (Lines.Count == 0 && Total > 0)
        {
            Number = PageWithin(page, Size, Total);
            (Lines, Total) = await audit.PageAsync(DistrictId, filter, Number, Size, Gone);
        }
    }

    public static string Day(DateOnly date) => date.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);

    private static DateOnly? Date(string? text) =>
        DateOnly.TryParseExact(text, "yyyy-MM-dd", CultureInfo.InvariantCulture, DateTimeStyles.None, out var date)
        && date.Year is >= 1990 and <= 2200
            ? date
            : null;
}
