using Microsoft.AspNetCore.Mvc;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;
using Rollcall.Sync.Person;
using Rollcall.Sync.Undo;

namespace Rollcall.Server.Pages;

/// <summary>One patron: the fields by theme, whose they are, and everything that ever happened to them.</summary>
internal sealed class PatronModel(
    Here here,
    PatronService patrons,
    SiteService sites,
    IntegrationService integrations,
    OperationLog log,
    OperationQueue queue,
    Reading reading
) : RollcallPage(here)
{
    public const int HistorySize = 50;

    /// <summary>Which part of the record is shown: <c>record</c>, <c>history</c> or <c>roster</c>.</summary>
    public string Tab { get; private set; } = "record";
    public int HistoryTotal { get; private set; }
    public int HistoryNumber { get; private set; } = 1;
    private IReadOnlySet<long> _undone = new HashSet<long>();

    public Patron Patron { get; private set; } = null!;
    public PatronLink? Link { get; private set; }
    public string? SiteName { get; private set; }
    public IReadOnlyList<(string Heading, IReadOnlyList<Row> Rows)> Groups { get; private set; } = [];
    public IReadOnlyList<(LogRow Row, Operation Operation)> History { get; private set; } = [];

    /// <summary>What a hold keeps back for this patron.</summary>
    public IReadOnlyList<(LogRow Row, Operation Operation)> Waiting { get; private set; } = [];

    /// <summary>An approval leaves this patron out of what waits.</summary>
    public bool IsSpared(LogRow row) => Patron?.DoNotTransfer == true && (row.Outcome is "transferred" or "absent");

    /// <summary>Operations of the history that the visitor may look at.</summary>
    public IReadOnlySet<long> Followed { get; private set; } = new HashSet<long>();

    /// <summary>The service that fills roster-owned fields; null when the patron is not linked or none is on.</summary>
    public string? Service { get; private set; }

    /// <summary>Why that service writes nothing here: the role group that is not ticked; null when it does.</summary>
    public RoleGroup? LeftAlone { get; private set; }

    /// <summary>One field in words.</summary>
    /// <param name="Number">The field's number.</param>
    /// <param name="Label">What screens call it.</param>
    /// <param name="Value">Null when empty.</param>
    /// <param name="Owner">What a sync does to it; null when nothing.</param>
    /// <param name="Hint">The same in a sentence.</param>
    internal sealed record Row(int Number, string Label, string? Value, string? Owner, string? Hint);

    public async Task<IActionResult> OnGetAsync(string barcode, string? tab, [FromQuery(Name = "page")] int? page)
    {
        try
        {
            (Patron, Link) = await patrons.GetAsync(DistrictId, Asked(barcode), Gone);
            if (!Here.Sees(Patron.SiteId))
            {
                // The same words as for nobody: whether a barcode exists elsewhere is not told.
                throw PatronService.Nobody(Asked(barcode));
            }
        }
        catch (RollcallException e)
        {
            return Missing($"{e.Message} It may have got another barcode since, or have been removed: search by name.");
        }

        var byId = (await sites.ListAsync(DistrictId, Gone)).ToDictionary(s => s.Id);
        ViewData["SiteNames"] = byId.Values.ToDictionary(s => s.Code, s => s.Name);
        SiteName = Patron.SiteId is { } id ? byId.GetValueOrDefault(id)?.Name : null;
        var service = Patron.Guid is null ? null : await integrations.EnabledAsync(DistrictId, Gone);
        Service = service is null ? null : Words.Service(service.Kind);
        var settings = IntegrationService.SettingsOf(service);
        var group = Link?.RoleGroup ?? RoleGroup.None;
        LeftAlone = service is null || Mapper.Reaches(settings.Roles, group) ? null : group;
        var policies = (await reading.PoliciesAsync(DistrictId, Gone)).ToDictionary(p => p.Code, p => p.Name, StringComparer.Ordinal);
        var kept = FieldGroups.Kept(Patron);
        Groups =
        [
            .. FieldGroups.All.Select(g =>
                (
                    g.Heading,
                    (IReadOnlyList<Row>)
                        [
                            .. g.Fields.Select(n =>
                            {
                                var field = PatronFields.ByNumber(n);
                                var value =
                                    n == PatronFields.Site && SiteName is not null ? SiteName
                                    : n == PatronFields.Policy && Patron.Policy is { } policy ? policies.GetValueOrDefault(policy, policy)
                                    : n == PatronFields.DoNotTransfer ? (Patron.DoNotTransfer ? "Yes" : null)
                                    : PatronWords.Value(Patron, field, byId);
                                var owner = Service is null ? null : FieldOwner.Of(n, settings, group, kept.Contains(n));
                                return new Row(n, field.Label, Words.Value(n, value), owner?.Mark, owner?.Hint);
                            }),
                        ]
                )
            ),
        ];
        Tab = tab is "history" or "roster" ? tab : "record";
        if (Tab == "history")
        {
            (HistoryTotal, _undone) = await log.HistoryFactsAsync(DistrictId, Patron.Id, Gone);
            HistoryNumber = PageWithin(page, HistorySize, HistoryTotal);
            History = await log.HistoryAsync(DistrictId, Patron.Id, HistorySize, (HistoryNumber - 1) * HistorySize, Gone);
        }

        Waiting = Here.Queue.Any(o => o.Status == OperationStatus.NeedsApproval) ? await log.WaitingAsync(DistrictId, Patron.Id, Gone) : [];
        Followed = await reading.ConcerningAsync(DistrictId, [.. History.Select(h => h.Operation.Id).Distinct()], Here.Sites, Gone);
        return Page();
    }

    /// <summary>Syncs this one person, or shows what that would do.</summary>
    public async Task<IActionResult> OnPostSyncAsync(string barcode, string? preview, string? seen)
    {
        var asked = Asked(barcode);
        long? queued = null;
        var result = await ActAsync(
            Words.PatronUrl(asked),
            async () =>
            {
                var (patron, _) = await patrons.GetAsync(DistrictId, asked, Gone);
                if ((SeenPatron.Parse(seen) ?? throw new RollcallException("Look at the patron, then sync them.")).Id != patron.Id)
                {
                    throw PatronService.AnotherPerson(asked);
                }

                var service =
                    await integrations.EnabledAsync(DistrictId, Gone)
                    ?? throw new RollcallException("No roster service is on. Connect one and turn it on, then sync.");
                (var id, _) = await queue.EnqueueAsync(
                    DistrictId,
                    OperationKind.PersonSync,
                    service.Kind,
                    preview == "yes",
                    Here.Actor.Name,
                    PersonOptions.ForPatron(patron),
                    cancellationToken: Gone
                );
                queued = id;
                return preview == "yes" ? "Reading this person from the roster. Nothing is written." : "This person is being synced.";
            }
        );
        return queued is { } operation ? LocalRedirect($"/operations/{operation}") : result;
    }

    /// <summary>Whether one line of the history can be taken back from here: for this patron alone, also where the undo of the whole left it out,
    /// or, of a merge, as a whole. What came back does not do so twice.</summary>
    public bool Undoable(LogRow row, Operation operation) =>
        row.Kind != "link"
        && operation.Kind != OperationKind.Switch
        && UndoService.Refusal(operation, again: operation.Kind != OperationKind.Merge) is null
        && !_undone.Contains(operation.Id);

    /// <summary>A barcode that a browser would fold as a path comes in the query.</summary>
    private string Asked(string barcode) => barcode == "-" ? Request.Query["barcode"].ToString() : barcode;
}
