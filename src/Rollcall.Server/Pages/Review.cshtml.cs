using System.Globalization;
using Microsoft.AspNetCore.Mvc;
using Rollcall.Districts;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>Roster people who could not be matched safely.</summary>
internal sealed class ReviewModel(
    Here here,
    ReviewDecisions decisions,
    ReviewService review,
    PatronService patrons,
    SiteService sites,
    Reading reading
) : RollcallPage(here)
{
    public const int Size = 50;

    /// <summary>Values that help to tell people apart.</summary>
    private static readonly int[] s_telling =
    [
        PatronFields.LastName,
        PatronFields.FirstName,
        PatronFields.MiddleName,
        PatronFields.Birthdate,
        PatronFields.CommunityId,
        PatronFields.Barcode,
        PatronFields.Email,
        PatronFields.Level,
        PatronFields.Location,
        PatronFields.Site,
    ];

    private IReadOnlyDictionary<string, string> _names = new Dictionary<string, string>(StringComparer.Ordinal);
    private IReadOnlyDictionary<string, string> _byCode = new Dictionary<string, string>(StringComparer.Ordinal);
    private IReadOnlySet<(int Review, long Patron)> _returning = new HashSet<(int, long)>();
    private IReadOnlyDictionary<(int Review, long Patron), string> _newBarcodes = new Dictionary<(int, long), string>();
    private IReadOnlyDictionary<string, Patron> _people = new Dictionary<string, Patron>(StringComparer.Ordinal);
    private IReadOnlySet<long> _following = new HashSet<long>();
    private IReadOnlyDictionary<long, string> _decidedPatrons = new Dictionary<long, string>();

    /// <summary>A field of the roster person beside the same field of each patron in question.</summary>
    /// <param name="Number">The field.</param>
    /// <param name="Label">What it is called.</param>
    /// <param name="Roster">What the roster says; null for nothing.</param>
    /// <param name="Patrons">What each patron has, in the order of the row's candidates; null for nothing.</param>
    internal sealed record Compared(int Number, string Label, string? Roster, IReadOnlyList<string?> Patrons)
    {
        /// <summary>Whether a patron's value is the roster's: null where one side is blank and nothing can be said.</summary>
        public bool? Agrees(string? patron) =>
            Roster is null || patron is null ? null : string.Equals(Roster, patron, StringComparison.OrdinalIgnoreCase);
    }

    public IReadOnlyList<ReviewRow> List { get; private set; } = [];
    public IReadOnlyList<ReviewRow> Decided { get; private set; } = [];
    public int DecidedNumber { get; private set; }
    public int DecidedTotal { get; private set; }
    public int Total { get; private set; }
    public int Number { get; private set; }

    /// <summary>How many wait in all, whatever is filtered.</summary>
    public int Waiting { get; private set; }
    public string? Search { get; private set; }
    public Site? Site { get; private set; }
    public string? Reason { get; private set; }
    public string Sort { get; private set; } = "oldest";
    public IReadOnlyList<Site> Sites { get; private set; } = [];
    public IReadOnlyList<string> Reasons { get; private set; } = [];

    /// <summary>Less than everybody is asked for.</summary>
    public bool IsFiltered => Search is not null || Site is not null || Reason is not null;

    /// <summary>The present address with what is filtered, and these values besides; null ones are left out.</summary>
    public string Address(params (string Name, string? Value)[] more) =>
        Addresses.Of(
            "/review",
            [.. more, ("q", Search), ("site", Site?.Code), ("reason", Reason), ("sort", Sort == "oldest" ? null : Sort)]
        );

    /// <summary>What the address filters by and sorts.</summary>
    private async Task<ReviewFilter> FilterAsync()
    {
        var query = Request.Query;
        Sites = [.. (await sites.ListAsync(DistrictId, Gone)).Where(s => Here.Sees(s.Id))];
        Search = Text.Clean(query["q"]) is { } asked ? Text.Cut(asked, 200) : null;
        Site = Sites.FirstOrDefault(s => string.Equals(s.Code, query["site"], StringComparison.OrdinalIgnoreCase));
        Reason = Text.Clean(query["reason"]) is { } reason ? Text.Cut(reason, 400) : null;
        Sort = query["sort"].ToString() is "newest" or "name" ? query["sort"].ToString() : "oldest";
        return new(Search, Reason, Site is null ? null : [Site.Id]);
    }

    public async Task OnGetAsync([FromQuery(Name = "page")] int? page, int? next, [FromQuery(Name = "decided")] int? decided)
    {
        var filter = await FilterAsync();
        var sort = Sort switch
        {
            "newest" => ReviewSort.Newest,
            "name" => ReviewSort.Name,
            _ => ReviewSort.Oldest,
        };
        (Waiting, Reasons) = await reading.ReviewReasonsAsync(Here, Gone);
        var all = Waiting == 0 ? [] : await reading.ReviewAsync(Here, filter, sort, Gone);
        Total = all.Count;
        // Whom the last decision leads to may be on any page.
        var at = page is null && next is { } asked ? all.ToList().IndexOf(asked) : -1;
        Number = at >= 0 ? (at / Size) + 1 : PageWithin(page, Size, Total);
        List = await reading.ReviewAsync(Here, [.. all.Skip((Number - 1) * Size).Take(Size)], Gone);
        DecidedNumber = Math.Clamp(decided ?? 1, 1, 1_000_000);
        (Decided, DecidedTotal) = await reading.DecidedAsync(Here, DecidedNumber, Size, Gone);
        if (Decided.Count == 0 && DecidedTotal > 0)
        {
            DecidedNumber = PageWithin(decided, Size, DecidedTotal);
            (Decided, DecidedTotal) = await reading.DecidedAsync(Here, DecidedNumber, Size, Gone);
        }

        _decidedPatrons = await review.DecidedPatronsAsync(
            DistrictId,
            [.. Decided.Where(r => r.Status != "ignored").Select(r => r.DecisionOperationId).OfType<long>()],
            Gone
        );
        _people = await reading.PeopleAsync(
            DistrictId,
            List.SelectMany(r => r.Candidates).Concat(_decidedPatrons.Values).Distinct(StringComparer.Ordinal),
            Gone,
            Here.Sites
        );
        var candidates = List.SelectMany(r => r.Candidates).ToHashSet(StringComparer.Ordinal);
        _following = await decisions.FollowingAsync(DistrictId, [.. _people.Values.Where(p => candidates.Contains(p.Barcode))], Gone);
        _returning = await decisions.ReturningAsync(DistrictId, [.. List.Select(r => r.Id)], Gone);
        _newBarcodes = await decisions.NewBarcodesAsync(DistrictId, [.. List.Select(r => r.Id)], Gone);
        var known = await sites.ListAsync(DistrictId, Gone);
        _names = known.ToDictionary(s => s.Id.ToString(CultureInfo.InvariantCulture), s => s.Name, StringComparer.Ordinal);
        _byCode = known.ToDictionary(s => s.Code, s => s.Name, StringComparer.Ordinal);
    }

    /// <summary>What people call a site.</summary>
    public string SiteOf(string code) => _byCode.GetValueOrDefault(code, code);

    /// <summary>Says that somebody else decides, where patrons come into question whom the visitor does not see; null where none do.</summary>
    public static string? HiddenSentence(ReviewRow row) =>
        row.Hidden switch
        {
            0 => null,
            1 => "1 patron of a site that you do not see may be this person: whoever sees all sites decides.",
            _ => string.Create(
                CultureInfo.InvariantCulture,
                $"{row.Hidden} patrons of sites that you do not see may be this person: whoever sees all sites decides."
            ),
        };

    /// <summary>A decision on somebody whom the visitor may see; the one after is shown next.</summary>
    private async Task<IActionResult> DecideAsync(
        int id,
        int? next,
        Func<Task<string>> decide,
        int? page = null,
        bool isNobody = false,
        int? decided = null
    )
    {
        await FilterAsync();
        return await ActAsync(
            next is not null
                ? $"{Address(("next", Word(next)))}#person-{Word(next)}"
                : Address(("page", page > 1 ? Word(page) : null), ("decided", decided > 1 ? Word(decided) : null))
                    + (decided > 1 ? "#decided" : ""),
            async () =>
            {
                if (Here.Sites is not null)
                {
                    var row =
                        (await reading.ReviewAsync(Here, [id], Gone)).FirstOrDefault(r => r.Status != "settled")
                        ?? throw new RollcallException("Nobody of your sites waits in Review under this number.");
                    if (isNobody && HiddenSentence(row) is { } refusal)
                    {
                        throw new RollcallException(refusal);
                    }
                }

                return await decide();
            }
        );

        static string Word(int? number) => string.Create(CultureInfo.InvariantCulture, $"{number}");
    }

    /// <param name="id">Who waits.</param>
    /// <param name="barcode">The patron's.</param>
    /// <param name="seen">The patron as the page showed it.</param>
    /// <param name="next">Who is shown next.</param>
    /// <param name="at">The page of the list.</param>
    public Task<IActionResult> OnPostLinkAsync(int id, string barcode, string? seen, int? next, int? at) =>
        DecideAsync(
            id,
            next,
            async () =>
            {
                var (target, _) = await patrons.GetAsync(DistrictId, barcode ?? "", Gone);
                if (!Here.Sees(target.SiteId))
                {
                    throw PatronService.Nobody(barcode ?? "");
                }

                var looked = SeenPatron.Parse(seen) ?? throw new RollcallException("Look at the patron beside the person, then link.");
                return (await decisions.LinkAsync(DistrictId, id, barcode ?? "", Here.Actor, looked, Gone)).Message;
            },
            at
        );

    public Task<IActionResult> OnPostCreateAsync(int id, int? next, int? at) =>
        DecideAsync(id, next, async () => (await decisions.CreateAsync(DistrictId, id, Here.Actor, Gone)).Message, at, isNobody: true);

    public Task<IActionResult> OnPostIgnoreAsync(int id, int? next, int? at) =>
        DecideAsync(id, next, async () => (await decisions.IgnoreAsync(DistrictId, id, Here.Actor, Gone)).Message, at, isNobody: true);

    public Task<IActionResult> OnPostReopenAsync(int id, int? decided) =>
        DecideAsync(
            id,
            null,
            async () =>
            {
                // The person may be of one's site and the patron that they were linked to of another one.
                if (
                    Here.Sites is not null
                    && await decisions.SubjectsAsync(DistrictId, id, Gone) is var subjects
                    && subjects.Any(s => !Here.Sees(s))
                )
                {
                    throw new RollcallException("A patron of another site came of this decision. Whoever sees that site takes it back.");
                }

                return (await decisions.ReopenAsync(DistrictId, id, Here.Actor, Gone)).Message;
            },
            decided: decided
        );

    /// <summary>A patron in question as the page shows it; null when there is none any more.</summary>
    public Patron? PatronOf(string barcode) => _people.GetValueOrDefault(barcode);

    /// <summary>The patron that a decision linked or made, if the visitor may see them; null where there is none any more.</summary>
    public Patron? PatronOf(ReviewRow decided) =>
        decided.DecisionOperationId is { } operation && _decidedPatrons.TryGetValue(operation, out var barcode) ? PatronOf(barcode) : null;

    /// <summary>The patron follows somebody who is in the roster: whoever waits can be another record of that one, and nobody else.</summary>
    public bool Follows(Patron candidate) => _following.Contains(candidate.Id);

    /// <summary>The patron follows somebody, but has left all schools: as another record of that one whoever waits brings them back.</summary>
    public bool Returns(ReviewRow row, Patron candidate) => _returning.Contains((row.Id, candidate.Id));

    /// <summary>What rarely differs where it is one person does: brothers and sisters share the rest.</summary>
    /// <param name="fields">The roster person beside the patrons in question.</param>
    /// <param name="candidate">Which of these.</param>
    public static bool IsDoubtful(IEnumerable<Compared> fields, int candidate) =>
        fields.Any(f => f.Number is PatronFields.FirstName or PatronFields.Birthdate && f.Agrees(f.Patrons[candidate]) == false);

    /// <summary>The card number that the patron would have once linked; null where it stays.</summary>
    public string? NewBarcodeOf(ReviewRow row, Patron candidate) => _newBarcodes.GetValueOrDefault((row.Id, candidate.Id));

    public string NameOf(string barcode) => _people.TryGetValue(barcode, out var patron) ? patron.DisplayName : barcode;

    /// <summary>The roster person beside the patrons in question, field by field. A field that all of them leave blank is left out.</summary>
    public IEnumerable<Compared> Compare(ReviewRow row) =>
        s_telling
            .Select(PatronFields.ByNumber)
            .Select(field => new Compared(
                field.Number,
                field.Label,
                Say(field, row.Values.GetValueOrDefault(field.Number)),
                [.. row.Candidates.Select(b => Say(field, _people.TryGetValue(b, out var patron) ? field.Get(patron) : null))]
            ))
            .Where(c => c.Roster is not null || c.Patrons.Any(p => p is not null));

    private string? Say(PatronField field, string? value) => OperationLog.Display(field.Number, value, _names);
}
