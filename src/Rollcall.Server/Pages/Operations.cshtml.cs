using System.Globalization;
using Microsoft.AspNetCore.Mvc;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>Operations Management: the queue and what it has done, by day and type.</summary>
internal sealed class OperationsModel(Here here, Reading reading, NoticeService notices, IntegrationService integrations)
    : RollcallPage(here)
{
    public const int Size = 50;

    public DateOnly From { get; private set; }
    public DateOnly To { get; private set; }
    public OperationKind? Kind { get; private set; }

    /// <summary>Who asked; null for everybody.</summary>
    public string? By { get; private set; }
    public IReadOnlyList<string> Askers { get; private set; } = [];
    public int Number { get; private set; }
    public int Total { get; private set; }

    /// <summary>Those of the list that are of none of the days chosen: they wait, run or need a decision.</summary>
    public int OtherDays { get; private set; }
    public IReadOnlyList<Operation> List { get; private set; } = [];

    /// <summary>A roster service is on.</summary>
    public bool CanSync { get; private set; }

    private IReadOnlyDictionary<long, IReadOnlyList<Total>> _did = new Dictionary<long, IReadOnlyList<Total>>();

    /// <summary>What an operation did, with the people whom the visitor sees.</summary>
    public IEnumerable<Total> Did(Operation operation) =>
        (Here.Sites is null ? Totals.Of(operation) : _did.GetValueOrDefault(operation.Id, [])).Where(t =>
            t.Count > 0 && t.Label is not ("Read" or "Unchanged")
        );

    /// <summary>Operations of which somebody who was to be told has not been.</summary>
    public IReadOnlySet<long> Untold { get; private set; } = new HashSet<long>();

    public async Task OnGetAsync(string? from, string? to, string? type, string? by, [FromQuery(Name = "page")] int? page)
    {
        From = Date(from) ?? Here.Today;
        To = Date(to) ?? Here.Today;
        if (To < From)
        {
            (From, To) = (To, From);
        }

        Kind = Words
            .Kinds.Where(k => k.Kind.ToString().Equals(type, StringComparison.OrdinalIgnoreCase))
            .Select(k => (OperationKind?)k.Kind)
            .FirstOrDefault();
        By = string.IsNullOrWhiteSpace(by) ? null : by;
        var (first, last) = (Here.StartOf(From), Here.StartOf(To.AddDays(1)));
        Askers = Here.Sites is not null ? [] : await reading.AskersAsync(DistrictId, first, last, Gone);
        var filter = new QueueFilter(first, last, Kind, Here.Sites, By);
        Number = Math.Clamp(page ?? 1, 1, 1_000_000);
        (List, Total, OtherDays) = await reading.QueueAsync(DistrictId, filter, Number, Size, Gone);
        if (List.Count == 0 && Total > 0)
        {
            Number = PageWithin(page, Size, Total);
            (List, Total, OtherDays) = await reading.QueueAsync(DistrictId, filter, Number, Size, Gone);
        }

        if (Here.Sites is not null)
        {
            // The totals of the whole are those of all sites.
            var did = new Dictionary<long, IReadOnlyList<Total>>();
            foreach (var operation in List.Where(o => o.Planned))
            {
                var lines = (await reading.LogCountsAsync(operation, Gone)).Where(c => Here.Sees(c.SiteId));
                did[operation.Id] = [.. Totals.Of(operation, lines)];
            }

            _did = did;
        }

        CanSync = Total > 0 || await integrations.EnabledAsync(DistrictId, Gone) is not null;
        Untold = Here.Sites is null ? await notices.UntoldAsync(DistrictId, [.. List.Select(o => o.Id)], Gone) : Untold;
    }

    /// <summary>What came of a sync that has nothing to count.</summary>
    public static string Nothing(Operation operation) =>
        operation.Kind switch
        {
            OperationKind.FullSync or OperationKind.ChangesSync => "Nothing to change",
            OperationKind.PersonSync => OperationQueue.CountsOf(operation).Read == 0 ? "Not found in the roster" : "Nothing to change",
            _ => "",
        };

    /// <summary>The address of other days with the same filter.</summary>
    /// <param name="from">The first; null is today.</param>
    /// <param name="to">The last; null is today.</param>
    public string Days(DateOnly? from, DateOnly? to) =>
        Microsoft.AspNetCore.WebUtilities.QueryHelpers.AddQueryString(
            "/operations",
            new Dictionary<string, string?>
            {
                ["from"] = from is { } first ? Day(first) : null,
                ["to"] = to is { } last ? Day(last) : null,
                ["type"] = Kind?.ToString(),
                ["by"] = By,
            }
        );

    public static string Day(DateOnly date) => date.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);

    /// <summary>Years that no installation has would overflow the calendar.</summary>
    private static DateOnly? Date(string? text) =>
        DateOnly.TryParseExact(text, "yyyy-MM-dd", CultureInfo.InvariantCulture, DateTimeStyles.None, out var date)
        && date.Year is >= 1990 and <= 2200
            ? date
            : null;
}
