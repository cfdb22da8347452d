using System.Globalization;
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
    SiteService sites,
    IntegrationService integrations,
    OperationQueue queue,
    NoticeService notices
) : RollcallPage(here)
{
    public const int DaysShown = 30;
    private const string NoSite = "Greyed: there is no site yet.";
    private const int SyncsShown = 8;

    public Integration? Service { get; private set; }

    /// <summary>The newest sync that neither waits nor runs; null where there is none that concerns the visitor.</summary>
    public Operation? Last { get; private set; }

    /// <summary>What <see cref="Last"/> did, with the people whom the visitor sees.</summary>
    public IReadOnlyList<Total> Did { get; private set; } = [];

    /// <summary>What has to be said beside that for it to add up; null for nothing.</summary>
    public string? DidFootnote { get; private set; }

    /// <summary>The sync that waits or runs; null where none does.</summary>
    public Operation? Live { get; private set; }

    /// <summary>The sync that failed and waits for its next try; null where none does.</summary>
    public Operation? Again { get; private set; }

    /// <summary>That the newest sync failed, for those whom its error does not concern: they are told that it did, and what follows. Null where it
    /// did not.</summary>
    public string? Failed { get; private set; }

    /// <summary>How many changes an approval would write. Whom "do not transfer" keeps is none of them.</summary>
    public long Held(Operation operation) => Math.Max(0, OperationQueue.CountsOf(operation).Held - _spared.GetValueOrDefault(operation.Id));

    private readonly Dictionary<long, long> _spared = [];

    /// <summary>How many of the visitor's people wait for others' approval, and in which operation; null where none does.</summary>
    public (IReadOnlyList<long> Operations, long People)? HeldHere { get; private set; }

    /// <summary>What waits for a decision, the newest first.</summary>
    public IReadOnlyList<Operation> Waiting { get; private set; } = [];
    public IReadOnlyList<SiteRow> Sites { get; private set; } = [];
    public SiteRow All { get; private set; } = new(null, null, 0, 0, 0, 0);

    /// <summary>The last thirty days, today the last.</summary>
    public IReadOnlyList<DayCount> Days { get; private set; } = [];

    /// <summary>The last syncs, the newest first.</summary>
    public IReadOnlyList<Operation> Syncs { get; private set; } = [];

    /// <summary>Why Daily Operations have stopped, and where that is changed; null when they have not.</summary>
    public (string Because, string Link)? Stopped { get; private set; }

    /// <summary>When the next sync runs by itself, in words, and where that is changed; null where no service is on.</summary>
    public (string Words, string Link)? Daily { get; private set; }

    /// <summary>Notices of the last days that reached nobody, and why; 0 when all did.</summary>
    public (int Count, string? Error) Untold { get; private set; }

    /// <summary>What a new library does first, and whether it is done; empty once a full sync has been done.</summary>
    public IReadOnlyList<GuideStep> First { get; private set; } = [];

    /// <summary>What is left to do once a full sync has been done; null where nothing is.</summary>
    public NightStep? Nights { get; private set; }

    /// <summary>The run that was undone since the roster was last written whole; null when none was.</summary>
    public long? Undone { get; private set; }

    /// <summary>How the roster and the library stand where nothing waits, in a sentence; empty where that is not known.</summary>
    public string Peace { get; private set; } = "";

    /// <summary>Why no sync can run and where that is changed; null when one can.</summary>
    public (string Words, string Link, string Label, string Short)? Hindrance { get; private set; }

    /// <summary>The patrons of one site by status. Card lost, suspended, inactive and other are one.</summary>
    internal sealed record SiteRow(string? Code, string? Name, int Active, int Other, int Transferred, int Total);

    public async Task OnGetAsync()
    {
        Service = await integrations.EnabledAsync(DistrictId, Gone);
        await QueueAsync();
        var all = (await sites.ListAsync(DistrictId, Gone))
            .Where(s => Here.Sees(s.Id))
            .OrderBy(s => s.Name, StringComparer.OrdinalIgnoreCase)
            .ToList();
        var counts = (await reading.PatronCountsAsync(DistrictId, moving: Live is not null, Gone)).Where(c => Here.Sees(c.SiteId)).ToList();
        var bySite = counts.ToLookup(c => c.SiteId);
        Sites = [.. all.Select(s => Row(s.Code, s.Name, bySite[s.Id]))];
        if (bySite[null].Any())
        {
            Sites = [.. Sites, Row(null, "No site yet", bySite[null])];
        }

        All = Row(null, null, counts);
        Hindrance = Here.Can("/Index PostSync") ? await HindranceAsync(all.Count) : null;
        if (Here.Sites is null)
        {
            // The numbers of a sync are those of all sites.
            var from = Here.Today.AddDays(1 - DaysShown);
            Days = DayCount.Of(await reading.SyncCountsAsync(DistrictId, Here.StartOf(from), Gone), from, Here.Today, Here.Zone);
        }

        if (Here.Can("/Preferences/Notices Get"))
        {
            Untold = await notices.GivenUpAsync(DistrictId, Here.Now.AddDays(-7), Gone);
        }

        if (
            Service is { } service
            && IntegrationService.SettingsOf(service) is { Daily.StoppedBecause: null } settings
            && Hindrance is null
            && Here.Can("/Index PostSync")
        )
        {
            var next = await reading.NextRunAsync(Here, settings.Daily, Gone);
            Daily = (
                next is { } at
                    ? $"The next sync runs by itself on {at.ToString("dddd, MMMM d, HH:mm", CultureInfo.InvariantCulture)}."
                    : "No sync runs by itself: people sync with the buttons above.",
                $"/preferences/sis/{IntegrationWords.Verb(service.Kind)}/schedule"
            );
        }

        if (
            Here.Can("/Index PostSync")
            && Service is { } on
            && IntegrationService.SettingsOf(on).Daily is { At: not null, StoppedBecause: { } because }
        )
        {
            Stopped = (because, $"/preferences/sis/{IntegrationWords.Verb(on.Kind)}/schedule");
        }

        if (Here.Can("/Preferences/Service Get") && Live is null)
        {
            First = await FirstStepsAsync(all.Count);
            Nights = Guide.Nights(Service);
        }

        var state = IntegrationService.StateOf(Service);
        Undone = Here.Sites is null && Service is not null ? state.UndoneRun : null;
        Peace = PeaceOf(state);

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

    /// <summary>The sync at work, the last ones, and what waits for a decision: for those who see all sites. Others see the last sync that
    /// concerned their people, and what it did with them.</summary>
    private async Task QueueAsync()
    {
        var last = await reading.LastSyncsAsync(DistrictId, SyncsShown + 1, Here.Sites, Gone);
        if (Here.Sites is null)
        {
            var open = await reading.OperationsAsync(DistrictId, [.. Here.Queue.Where(IsShown).Select(o => o.Id).Take(50)], Gone);
            Live = open.FirstOrDefault(o => o.Status is OperationStatus.Running or OperationStatus.Waiting && IsSync(o));
            Again = open.FirstOrDefault(o => o.FailedForNow && IsSync(o));
            Waiting = [.. open.Where(o => o.Status is OperationStatus.NeedsApproval or OperationStatus.Preview)];
            foreach (var hold in Waiting.Where(o => o.Status == OperationStatus.NeedsApproval))
            {
                _spared[hold.Id] = await reading.SparedAsync(DistrictId, hold.Id, null, Gone);
            }

            Syncs = [.. last.Where(o => o is { FinishedAt: not null, StartedAt: not null }).Take(SyncsShown)];
        }
        else
        {
            Failed = await FailedAsync();
            HeldHere = await HeldHereAsync();
        }

        Last = last.Count > 0 ? last[0] : null;
        if (Last is not null)
        {
            Did = Here.Sites is null
                ? Totals.Of(Last)
                : Totals.Of(Last, (await reading.LogCountsAsync(Last, Gone)).Where(c => Here.Sees(c.SiteId)));
            DidFootnote = Here.Sites is null ? Totals.Footnote(Last) : null;
        }

        static bool IsSync(Operation operation) => operation.Kind is OperationKind.FullSync or OperationKind.ChangesSync;

        static bool IsShown(OpenOperation operation) => !operation.IsLive || operation.IsSync;
    }

    /// <summary>A hold is one of a whole district; whoever sees some of its sites is told of their own people, and that others decide.</summary>
    private async Task<(IReadOnlyList<long> Operations, long People)?> HeldHereAsync()
    {
        var (operations, all) = (new List<long>(), 0L);
        var open = await reading.OperationsAsync(DistrictId, [.. Here.Queue.Where(o => !o.IsLive).Select(o => o.Id).Take(50)], Gone);
        foreach (var hold in open.Where(o => o.Status == OperationStatus.NeedsApproval))
        {
            if (await reading.HeldAsync(hold, Here, Gone) is var people && people > 0)
            {
                operations.Add(hold.Id);
                all += people;
            }
        }

        return all == 0 ? null : (operations, all);
    }

    private async Task<string?> FailedAsync()
    {
        var open = await reading.OperationsAsync(
            DistrictId,
            [.. Here.Queue.Where(o => o.IsLive && o.IsSync).Select(o => o.Id).Take(50)],
            Gone
        );
        if (open.FirstOrDefault(o => o.FailedForNow) is { } again)
        {
            return $"The sync of {Words.When(again.CreatedAt, Here.Zone, Here.Now)} failed and is tried again by itself"
                + (again.NotBefore is { } next ? $" {Words.When(next, Here.Zone, Here.Now)}." : " as soon as it is its turn.");
        }

        if (await reading.LastSyncsAsync(DistrictId, 1, null, Gone) is not [{ Status: OperationStatus.Failed } failed])
        {
            return null;
        }

        var told = (await notices.ListAsync(DistrictId, failed.Id, cancellationToken: Gone)).Any(n => n.Status == NoticeStatus.Sent);
        return $"The last sync, {Words.When(failed.FinishedAt ?? failed.CreatedAt, Here.Zone, Here.Now)}, failed: patrons may be behind the roster. "
            + (told ? "Those who look after syncs have been told." : "Tell a Library or District Administrator, who sees why.");
    }

    private async Task<IReadOnlyList<GuideStep>> FirstStepsAsync(int siteCount)
    {
        // Before one is on: the one that somebody has begun with.
        var service = Service;
        foreach (var other in Enum.GetValues<IntegrationKind>())
        {
            service ??=
                await integrations.FindAsync(DistrictId, other, Gone) is { } found && IntegrationService.SettingsOf(found).Mode is not null
                    ? found
                    : null;
        }

        if (IntegrationService.StateOf(service).WasWritten)
        {
            return [];
        }

        var kind = service?.Kind ?? IntegrationKind.ClassLink;
        return Guide.Of(kind, service, siteCount, All.Total, (await reading.OrgsAsync(DistrictId, kind, Gone)).Count > 0);
    }

    private string PeaceOf(IntegrationState state)
    {
        if (Last is null)
        {
            return "No sync has run yet.";
        }

        if (
            Last.Status is not (OperationStatus.Completed or OperationStatus.CompletedWithWarnings)
            || Service is null
            || Here.Sites is not null
        )
        {
            return "";
        }

        var counts = OperationQueue.CountsOf(Last);
        return counts.Skipped > 0 ? $"The last sync left {Words.Count(counts.Skipped, "person", "people")} out: its log says whom and why."
            : state.FullDue is { } why ? $"The next sync reads the whole roster, because {why}."
            : counts.Review > 0 ? "Everybody else is as the roster said at the last sync."
            : "The roster and the library agree as of the last sync.";
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
            Here.Actor.Name,
            cancellationToken: Gone
        );
        TempData["Said"] =
            !isNew ? "Such a sync waits or runs already: this is it."
            : preview ? "The preview is on its way. It changes no patron."
            : "The sync is on its way.";
        return LocalRedirect($"/operations/{id}");
    }

    /// <summary>The service that is connected and merely off; of several the one that was synced last. Null where none is connected.</summary>
    private async Task<Integration?> OffAsync()
    {
        var off = new List<Integration>();
        foreach (var kind in Enum.GetValues<IntegrationKind>())
        {
            if (await integrations.FindAsync(DistrictId, kind, Gone) is { } row && IntegrationService.SettingsOf(row).Mode is not null)
            {
                off.Add(row);
            }
        }

        return off.MaxBy(r => IntegrationService.StateOf(r).LastFullAt ?? DateTimeOffset.MinValue);
    }

    private async Task<(string Words, string Link, string Label, string Short)?> HindranceAsync(int siteCount) =>
        siteCount == 0 && Service is { } on
            ? (
                "There is no site yet. Take the schools from the roster.",
                $"/preferences/sis/{IntegrationWords.Verb(on.Kind)}/sites",
                "Site Mapping",
                NoSite
            )
        : siteCount == 0
            ? (
                "There is no site yet. Add the schools, or take them from the roster under Site Mapping.",
                "/sites/edit",
                "Add a site",
                NoSite
            )
        : Service is null && await OffAsync() is { } off
            ? (
                $"{Words.Service(off.Kind)} is off. Turn it on to sync{(IntegrationService.StateOf(off) is { WasWritten: true } or { ChangesSince: not null } ? " again" : "")}.",
                "/preferences/sis",
                "SIS Integrations",
                $"Greyed: {Words.Service(off.Kind)} is off."
            )
        : Service is null
            ? (
                "No roster service is on. Connect one and turn it on.",
                "/preferences/sis",
                "SIS Integrations",
                "Greyed: no roster service is on."
            )
        : Hindrances.Of(IntegrationService.SettingsOf(Service), (await reading.OrgsAsync(DistrictId, Service.Kind, Gone)).Count > 0)
            is { } lack
            ? (lack.Words, $"/preferences/sis/{IntegrationWords.Verb(Service.Kind)}/{lack.Tab}", lack.Label, lack.Short)
        : null;
}
