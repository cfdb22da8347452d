using Microsoft.AspNetCore.Mvc;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>Roster people who could not be matched safely.</summary>
internal sealed class ReviewModel(Here here, ReviewService review, ReviewDecisions decisions, Reading reading) : RollcallPage(here)
{
    public const int Size = 50;

    /// <summary>Values that help to tell people apart.</summary>
    private static readonly int[] s_telling = [PatronFields.CommunityId, PatronFields.Email, PatronFields.Level, PatronFields.Birthdate];

    public IReadOnlyList<ReviewRow> List { get; private set; } = [];
    public IReadOnlyDictionary<string, string> Names { get; private set; } = new Dictionary<string, string>(StringComparer.Ordinal);
    public IReadOnlyList<ReviewRow> Decided { get; private set; } = [];
    public int Total { get; private set; }
    public int Number { get; private set; }

    public async Task OnGetAsync([FromQuery(Name = "page")] int? page)
    {
        var all = await review.ListAsync(DistrictId, Gone);
        Total = all.Count;
        Number = PageWithin(page, Size, Total);
        List = [.. all.Skip((Number - 1) * Size).Take(Size)];
        Decided = await review.DecidedAsync(DistrictId, Gone);
        Names = await reading.NamesAsync(DistrictId, List.SelectMany(r => r.Candidates), Gone);
    }

    public Task<IActionResult> OnPostLinkAsync(int id, string barcode) =>
        ActAsync("/review", async () => (await decisions.LinkAsync(DistrictId, id, barcode ?? "", Here.Actor, Gone)).Message);

    public Task<IActionResult> OnPostCreateAsync(int id) =>
        ActAsync("/review", async () => (await decisions.CreateAsync(DistrictId, id, Here.Actor, Gone)).Message);

    public Task<IActionResult> OnPostIgnoreAsync(int id) =>
        ActAsync("/review", async () => (await decisions.IgnoreAsync(DistrictId, id, Here.Actor, Gone)).Message);

    public Task<IActionResult> OnPostReopenAsync(int id) =>
        ActAsync("/review", async () => (await decisions.ReopenAsync(DistrictId, id, Here.Actor, Gone)).Message);

    public static IEnumerable<(string Label, string Value)> Telling(ReviewRow row) =>
        s_telling.Where(row.Values.ContainsKey).Select(n => (PatronFields.ByNumber(n).Label, row.Values[n]));
}
