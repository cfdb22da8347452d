using Microsoft.AspNetCore.Mvc;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>What needs attention, how the last sync went, and how many patrons there are.</summary>
internal sealed class IndexModel(
    Here here,
    Reading reading,
    PatronService patrons,
    SiteService sites,
    IntegrationService integrations,
    OperationQueue queue
) : RollcallPage(here)
{
    public Integration? Service { get; private set; }
    public Operation? Last { get; private set; }
    public Operation? Live { get; private set; }
    public IReadOnlyList<Operation> Waiting { get; private set; } = [];
    public IReadOnlyList<SiteRow> Sites { get; private set; } = [];
    public SiteRow All { get; private set; } = new(null, null, 0, 0, 0, 0);

    /// <summary>Why no sync can run and where that is changed; null when one can.</summary>
    public (string Words, string Link, string Label)? Hindrance { get; private set; }

    /// <summary>The patrons of one site by status. Card lost, suspended, inactive and other are one.</summary>
    internal sealed record SiteRow(string? Code, string? Name, int Active, int Other, int Transferred, int Total);

    public async Task OnGetAsync()
    {
        Service = await integrations.EnabledAsync(DistrictId, Gone);
        (Last, Live) = await reading.SyncsAsync(DistrictId, Gone);
        Waiting = await reading.WaitingForApprovalAsync(DistrictId, Gone);
        var all = (await sites.ListAsync(DistrictId, Gone)).Where(s => Here.Sees(s.Id)).ToList();
        var counts = (await patrons.CountsAsync(DistrictId, Gone)).Where(c => Here.Sees(c.SiteId)).ToList();
        var bySite = counts.ToLookup(c => c.SiteId);
        Sites = [.. all.Select(s => Row(s.Code, s.Name, bySite[s.Id]))];
        if (bySite[null].Any())
        {
            Sites = [.. Sites, Row(null, "No site yet", bySite[null])];
        }

        All = Row(null, null, counts);
        Hindrance = Here.Can("/Index PostSync") ? await HindranceAsync(all.Count) : null;

        static SiteRow Row(string? code, string? name, IEnumerable<(int? SiteId, PatronStatus Status, int Count)> counts)
        {
            var list = counts.ToList();
            int Of(Func<PatronStatus, bool> which) => list.Where(c => which(c.Status)).Sum(c => c.Count);
            return new SiteRow(
                code,
                name,
                Of(s => s == PatronStatus.Active),
                Of(s => s is not (PatronStatus.Active or PatronStatus.Transferred)),
                Of(s => s == PatronStatus.Transferred),
                Of(_ => true)
            );
        }
    }

    public Task<IActionResult> OnPostSyncAsync() => StartAsync(preview: false);

    public Task<IActionResult> OnPostPreviewAsync() => StartAsync(preview: true);

    private async Task<IActionResult> StartAsync(bool preview)
    {
        if (await integrations.EnabledAsync(DistrictId, Gone) is not { } service)
        {
            TempData["Refused"] = "No roster service is on. Connect one and turn it on, then sync.";
            return LocalRedirect("/");
        }

        var (id, isNew) = await queue.EnqueueAsync(
            DistrictId,
            OperationKind.FullSync,
            service.Kind,
            preview,
            Here.Actor,
            cancellationToken: Gone
        );
        TempData["Said"] =
            !isNew ? "Such a sync waits or runs already: this is it."
            : preview ? "The preview is on its way. It changes no patron."
            : "The sync is on its way.";
        return LocalRedirect($"/operations/{id}");
    }

    private async Task<(string Words, string Link, string Label)?> HindranceAsync(int siteCount) =>
        siteCount == 0 ? ("There is no site yet. Add the schools first.", "/sites", "Sites")
        : Service is null ? ("No roster service is on. Connect one and turn it on.", "/preferences/sis", "SIS Integrations")
        : IntegrationService.SettingsOf(Service).Roles.Count == 0
            ? ("Nobody is ticked for syncing. Say who.", "/preferences/sis/classlink/syncing", "Syncing")
        : (await reading.OrgsAsync(DistrictId, Service.Kind, Gone)).Count == 0
            ? ("No site is matched to the roster yet. Match them.", "/preferences/sis/classlink/sites", "Site Mapping")
        : null;
}
