using System.Globalization;
using Microsoft.AspNetCore.Mvc;
using Rollcall.Districts;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>Two records of one person, side by side, before they become one.</summary>
internal sealed class PatronMergeModel(Here here, PatronService patrons, PatronMerge merge, SiteService sites, ReviewService review)
    : RollcallPage(here)
{
    private const int Most = 20;

    public Patron Kept { get; private set; } = null!;

    /// <summary>The record that goes; null while it is looked for.</summary>
    public Patron? Other { get; private set; }
    public string? Search { get; private set; }
    public string? Problem { get; private set; }
    public IReadOnlyList<Patron> Candidates { get; private set; } = [];
    public int Total { get; private set; }

    /// <summary>Who of Review waits to be told apart from both; null where nobody does.</summary>
    public ReviewRow? Asker { get; private set; }
    public IReadOnlyList<(string Label, string? Kept, string? Gone, string? After, bool Filled, Likeness? Same)> Rows
    {
        get;
        private set;
    } = [];

    /// <summary>What speaks against their being one person, a sentence each; whoever merges them all the same says that they know better.</summary>
    public IReadOnlyList<string> Doubts { get; private set; } = [];

    /// <summary>What happens to the roster's ids, in words; null when nothing does.</summary>
    public string? Link { get; private set; }

    /// <summary>This page's address for these two records.</summary>
    public string Address(string keep, string? other) =>
        Addresses.Of("/patron/merge", [("keep", keep), ("other", other), ("review", Asker?.Id.ToString(CultureInfo.InvariantCulture))]);

    /// <summary>Where somebody in Review is.</summary>
    public static string AddressOf(ReviewRow row) => string.Create(CultureInfo.InvariantCulture, $"/review?next={row.Id}#person-{row.Id}");

    private async Task<ReviewRow?> AskerAsync(int? id) =>
        id is { } asked && Here.Can("/Review Get") && await review.RowsAsync(DistrictId, [asked], Gone) is [var row, ..] ? row : null;

    public async Task<IActionResult> OnGetAsync(string? keep, string? other, string? q, [FromQuery(Name = "review")] int? asker)
    {
        Asker = await AskerAsync(asker);
        PatronLink? keptLink;
        PatronLink? otherLink = null;
        try
        {
            (Kept, keptLink) = await patrons.GetAsync(DistrictId, keep ?? "", Gone);
        }
        catch (RollcallException e)
        {
            return Missing(e.Message);
        }

        if (Here.Refusal(Kept) is { } refusal)
        {
            return Forbidden(refusal);
        }

        if (!string.IsNullOrWhiteSpace(other))
        {
            try
            {
                (Other, otherLink) = await patrons.GetAsync(DistrictId, other, Gone);
                if (Other.Id == Kept.Id)
                {
                    Problem = "Both are the same record. Choose another one.";
                    Other = null;
                }
                else if (Here.Refusal(Other) is { } guarded)
                {
                    Problem = guarded;
                    Other = null;
                }
            }
            catch (RollcallException e)
            {
                Problem = e.Message;
            }
        }

        if (Other is null)
        {
            // People with the same last name come first to mind, and among them the one with the same first name.
            var asked = Text.Clean(q);
            Search = asked ?? Kept.LastName;
            var filter = new PatronFilter(Text.Cut(Search, 200));
            var (found, total) = await patrons.PageAsync(DistrictId, filter, PatronSort.Name, false, 1, Most + 1, Gone);
            var namesakes = asked is null ? await patrons.NamesakesAsync(Kept, Most, Gone) : [];
            Candidates = [.. namesakes.Concat(found).Where(p => p.Id != Kept.Id).DistinctBy(p => p.Id).Take(Most)];
            Total = Math.Max(Candidates.Count, PatronService.Finds(filter.Search, Kept) ? total - 1 : total);
            return Page();
        }

        var codes = (await sites.ListAsync(DistrictId, Gone)).ToDictionary(
            s => s.Id.ToString(CultureInfo.InvariantCulture),
            s => s.Name,
            StringComparer.Ordinal
        );
        Rows =
        [
            .. PatronMerge
                .Compare(Kept, Other)
                .Select(f =>
                    (f.Field.Label, Say(f.Field, f.Kept), Say(f.Field, f.Gone), Say(f.Field, f.After), f.Filled, LikenessOf(f.Kept, f.Gone))
                ),
        ];
        Doubts = [.. DoubtsOf((Kept, keptLink), (Other, otherLink))];
        Link =
            Other.Guid is null ? null
            : Kept.Guid is null
                ? "The record that goes is linked to the roster. The kept one takes its link over: the next sync writes into it."
            : "Both are linked to the roster. The kept record keeps its GUID; the other's is remembered as a further one, so that the roster's second entry makes no new patron.";
        return Page();

        string? Say(PatronField field, string? value) => Words.Value(field.Number, OperationLog.Display(field.Number, value, codes));
    }

    /// <summary>How two values of one field agree.</summary>
    internal enum Likeness
    {
        Same,

        /// <summary>But for accents, case or blanks: of the two spellings one is lost.</summary>
        Spelling,
        Differs,
    }

    private static Likeness? LikenessOf(string? kept, string? gone) =>
        kept is null || gone is null ? null
        : string.Equals(kept, gone, StringComparison.Ordinal) ? Likeness.Same
        : Text.Fold(kept) == Text.Fold(gone) ? Likeness.Spelling
        : Likeness.Differs;

    private static IEnumerable<string> DoubtsOf((Patron Patron, PatronLink? Link) kept, (Patron Patron, PatronLink? Link) gone)
    {
        if (Text.Fold(kept.Patron.LastName) != Text.Fold(gone.Patron.LastName))
        {
            yield return "Their last names differ.";
        }

        if (kept.Patron.Birthdate is { } one && gone.Patron.Birthdate is { } other && one != other)
        {
            yield return "Their birthdates differ.";
        }

        // Whoever got another id is there under that one alone: the former id is gone from the roster, or marked deleted in it.
        if (
            ReviewDecisions.IsLive(kept.Patron, kept.Link)
            && ReviewDecisions.IsLive(gone.Patron, gone.Link)
            && kept.Patron.Guid != gone.Patron.Guid
        )
        {
            yield return "The roster has both, as two people.";
        }
    }

    public async Task<IActionResult> OnPostAsync(
        [FromQuery] string? keep,
        [FromQuery] string? other,
        string? kept,
        string? gone,
        string? sure,
        [FromQuery(Name = "review")] int? asker
    )
    {
        Asker = await AskerAsync(asker);
        try
        {
            var seen =
                SeenPatron.Parse(kept) is { } keptSeen && SeenPatron.Parse(gone) is { } goneSeen
                    ? (keptSeen, goneSeen)
                    : throw new RollcallException("Look at both records, then merge.");
            if (sure != "yes")
            {
                // Whoever is another one by now is refused below.
                var (one, two) = (
                    await patrons.GetAsync(DistrictId, keep ?? "", Gone),
                    await patrons.GetAsync(DistrictId, other ?? "", Gone)
                );
                if (SeenPatron.Of(one.Patron) == seen.keptSeen && SeenPatron.Of(two.Patron) == seen.goneSeen && DoubtsOf(one, two).Any())
                {
                    throw new RollcallException("These seem to be two people. Tick that you know it is one person, then merge.");
                }
            }

            var id = await merge.MergeAsync(DistrictId, keep ?? "", other ?? "", Here.Actor, seen, Gone);
            TempData["Said"] = $"Both records are one now. Operation {id} can be undone.{Waits(keep!)}";
            return LocalRedirect(
                Asker is null ? Words.PatronUrl(keep!)
                : Asker.Status == "open" ? AddressOf(Asker)
                : "/review"
            );
        }
        catch (RollcallException e)
        {
            TempData["Refused"] = e.Message;
            return LocalRedirect(Address(keep ?? "", other ?? ""));
        }
    }

    /// <summary>What the merge means for whoever it was begun from.</summary>
    private string Waits(string kept) =>
        Asker is null ? ""
        : Asker.Status == "open" ? $" {Asker.Name ?? Asker.Guid} still waits below: link to {kept} if it is that person."
        : $" {Asker.Name ?? Asker.Guid} does not wait in Review any more.";
}
