using Microsoft.AspNetCore.Mvc;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>Roster people who could not be matched safely.</summary>
internal sealed class ReviewModel(Here here, ReviewDecisions decisions, PatronService patrons, Reading reading) : RollcallPage(here)
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
        var all = await reading.ReviewAsync(Here, Gone);
        Total = all.Count;
        Number = PageWithin(page, Size, Total);
        List = [.. all.Skip((Number - 1) * Size).Take(Size)];
        Decided = await reading.ReviewAsync(Here, Gone, decided: true);
        Names = await reading.NamesAsync(DistrictId, List.SelectMany(r => r.Candidates), Gone, Here.Sites);
    }

    /// <summary>A decision on somebody whom the visitor may see.</summary>
    private Task<IActionResult> DecideAsync(int id, Func<Task<string>> decide) =>
        ActAsync(
            "/review",
            async () =>
            {
                if (
                    Here.Sites is not null
                    && !(await reading.ReviewAsync(Here, Gone))
                        .Concat(await reading.ReviewAsync(Here, Gone, decided: true))
                        .Any(r => r.Id == id)
                )
                {
                    throw new RollcallException("Nobody of your sites waits in Review under this number.");
                }

                return await decide();
            }
        );

    public Task<IActionResult> OnPostLinkAsync(int id, string barcode) =>
        DecideAsync(
            id,
            async () =>
            {
                var (target, _) = await patrons.GetAsync(DistrictId, barcode ?? "", Gone);
                if (!Here.Sees(target.SiteId))
                {
                    throw PatronService.Nobody(barcode ?? "");
                }

                return (await decisions.LinkAsync(DistrictId, id, barcode ?? "", Here.Actor, Gone)).Message;
            }
        );

    public Task<IActionResult> OnPostCreateAsync(int id) =>
        DecideAsync(id, async () => (await decisions.CreateAsync(DistrictId, id, Here.Actor, Gone)).Message);

    public Task<IActionResult> OnPostIgnoreAsync(int id) =>
        DecideAsync(id, async () => (await decisions.IgnoreAsync(DistrictId, id, Here.Actor, Gone)).Message);

    public Task<IActionResult> OnPostReopenAsync(int id) =>
        DecideAsync(id, async () => (await decisions.ReopenAsync(DistrictId, id, Here.Actor, Gone)).Message);

    public static IEnumerable<(string Label, string Value)> Telling(ReviewRow row) =>
        s_telling.Where(row.Values.ContainsKey).Select(n => (PatronFields.ByNumber(n).Label, row.Values[n]));
}
