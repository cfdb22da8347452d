using System.Globalization;
using System.Text.Json;
using Microsoft.AspNetCore.Mvc;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.OneRoster.Csv;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;
using Rollcall.Sync;
using Rollcall.Sync.Person;
using Rollcall.Sync.Undo;
using ServerWords = Rollcall.Server.Pages.Parts.Words;

namespace Rollcall.Server.Pages;

/// <summary>One operation: how it was set up, what came of it, and its log line by line.</summary>
internal sealed class OperationModel(
    Here here,
    OperationQueue queue,
    OperationLog log,
    Reading reading,
    SiteService sites,
    UndoService undo,
    NoticeService notices,
    IntegrationService integrations,
    RollcallOptions options
) : RollcallPage(here)
{
    public const int Size = 100;

    public Operation Operation { get; private set; } = null!;
    public IReadOnlyList<WarningGroup> Warnings { get; private set; } = [];
    public IReadOnlyList<(string Label, string Value)> Options { get; private set; } = [];

    /// <summary>Why people were skipped.</summary>
    public IReadOnlyList<SkipCount> Skips { get; private set; } = [];

    /// <summary>Reasons name organizations: of a roster with hundreds that nobody matched the most frequent are told.</summary>
    public const int MostSkips = 30;

    /// <summary>What was found in the OneRoster CSV packages that it read.</summary>
    public IReadOnlyList<CsvImportReport> Imported { get; private set; } = [];

    /// <summary>Who was told of it, and who could not be.</summary>
    public IReadOnlyList<Notice> Notices { get; private set; } = [];

    /// <summary>A letter that was not tried yet, where no server sends one.</summary>
    public bool CannotMail(Notice notice) =>
        options.Mail is null && notice is { Status: NoticeStatus.Waiting, Error: null, Channel: NoticeChannel.Email };

    public LogFilter Filter { get; private set; } = new();
    public string? SiteCode { get; private set; }
    public IReadOnlyList<Site> Sites { get; private set; } = [];
    public IReadOnlyList<LogRow> Rows { get; private set; } = [];
    public int Total { get; private set; }
    public int Number { get; private set; }

    /// <summary>The lines by site; null stands for people of no site.</summary>
    public IReadOnlyList<(Site? Site, IReadOnlyList<LogCount> Counts)> BySite { get; private set; } = [];

    /// <summary>The outcomes that the table by site has a column for.</summary>
    public static readonly IReadOnlyList<(string Label, Outcome[] Outcomes)> Columns =
    [
        ("Created", [Outcome.Created]),
        ("Updated", [Outcome.Updated]),
        ("Transferred", [Outcome.Transferred, Outcome.Absent]),
        ("Reactivated", [Outcome.Reactivated]),
        ("Removed", [Outcome.Removed]),
        ("Skipped", [Outcome.Skipped]),
        ("Review", [Outcome.Review]),
        ("Unchanged", [Outcome.Unchanged]),
    ];

    /// <summary>What an undo changes it takes back.</summary>
    public static string ColumnLabel(Operation operation, string label) =>
        operation.Kind == OperationKind.Undo && label == "Updated" ? "Taken back" : label;

    /// <summary>Which lines the table by site counts as held.</summary>
    /// <param name="waits">Some of them still wait. Whoever has been left out of a hold since does not.</param>
    public static Func<LogCount, bool> IsHeld(bool waits) => c => c.Held && !(waits && c.Dropped);

    /// <summary>Which lines it counts as not written. A link that stayed as it was is nobody's outcome.</summary>
    public static bool IsNotWritten(LogCount line) => line is { Dropped: true, Outcome: not (Outcome.None or Outcome.Unchanged) };

    /// <summary>Why the table by site says less, or other, than the totals of the whole.</summary>
    /// <param name="operation">Whose log it is.</param>
    /// <param name="wereHeld">Lines waited once that do not any more.</param>
    /// <param name="notWritten">Lines were left out or not reached.</param>
    /// <param name="unchanged">People who stayed as they were have a line, for their link to the roster or for a warning.</param>
    public static string BySiteFootnote(Operation operation, bool wereHeld, bool notWritten, bool unchanged) =>
        string.Join(
            ' ',
            new[]
            {
                !IsOfRoster(operation.Kind) ? null
                : unchanged
                    ? "Who stayed as they were has a line in the log only where their link to the roster is new or changed, or something is to be said of them: “Unchanged” counts these alone, and sites have no “Read”."
                : "Who was read and stayed as they were has no line in the log: sites have neither “Read” nor “Unchanged”.",
                wereHeld ? "Whoever was held is counted under what became of them, too." : null,
                notWritten
                    ? "Whoever was left out or not reached counts as skipped in the totals of the whole, unless they are no longer in the roster."
                    : null,
            }.OfType<string>()
        );

    public bool IsLive => Operation.Status is OperationStatus.Waiting or OperationStatus.Running;
    public bool Decidable =>
        Here.Can("/Operation PostApprove") && Operation.Status is OperationStatus.NeedsApproval or OperationStatus.Preview;

    /// <summary>Something was written that can be taken back.</summary>
    public bool Undoable { get; private set; }

    /// <summary>Why nothing runs by itself since this undo, and where that is changed; null for others, and once somebody has resumed.</summary>
    public (string Because, string Link)? Stopped { get; private set; }

    /// <summary>The service whose roster this is of, where it is off by now: an approval would be refused. Null while nothing stands in the way.</summary>
    public string? Off { get; private set; }

    /// <summary>People whom it left to Review, as far as the visitor sees them.</summary>
    public long Reviews =>
        Here.Sites is null
            ? OperationQueue.CountsOf(Operation).Review
            : BySite.Sum(s => s.Counts.Where(c => c is { Outcome: Outcome.Review, Dropped: false }).Sum(c => c.Lines));

    /// <summary>The steps of a one-person sync; empty for others.</summary>
    public IReadOnlyList<PersonStep> Steps => Operation.Kind == OperationKind.PersonSync ? PersonOptions.Of(Operation).Steps : [];

    public bool Filtered => Filter with { Sites = null } != new LogFilter();

    /// <summary>Leavers of what waits who are marked "do not transfer" since: an approval leaves them out.</summary>
    public long Spared { get; private set; }

    /// <summary>How many of the visitor's people wait for somebody else's approval.</summary>
    public long HeldHere { get; private set; }

    /// <summary>How many lines an approval would apply. Who is skipped stays so.</summary>
    public long Waiting =>
        OperationQueue.CountsOf(Operation) is var counts && Operation.Status != OperationStatus.Preview
            ? Math.Max(0, counts.Held - Spared)
            : Math.Max(0, Operation.PlanSize - counts.Skipped);

    private bool IsSync => IsOfRoster(Operation.Kind);

    private static bool IsOfRoster(OperationKind kind) =>
        kind is OperationKind.FullSync or OperationKind.ChangesSync or OperationKind.PersonSync;

    /// <summary>What an approval would do, in words. Lines of a sync's preview that change no patron are not counted.</summary>
    public string WhatWaits
    {
        get
        {
            var counts = OperationQueue.CountsOf(Operation);
            var changes =
                Operation.Status == OperationStatus.Preview && IsSync
                    ? counts.Created + counts.Updated + counts.Transferred + counts.Reactivated
                    : Waiting;
            return changes == 0 ? "it" : Words.Count(changes, "change", "changes");
        }
    }

    public async Task<IActionResult> OnGetAsync(long id, [FromQuery(Name = "page")] int? page)
    {
        try
        {
            Operation = await queue.GetAsync(DistrictId, id, Gone);
        }
        catch (RollcallException)
        {
            return Missing($"There is no operation {id} in this district. The list of operations shows those there are.");
        }

        var own = new LogFilter { Sites = Here.Sites };
        if (Here.Sites is not null && (await log.PageAsync(DistrictId, id, own, 1, 1, cancellationToken: Gone)).Total == 0)
        {
            return Missing($"There is no operation {id} that concerns your sites. The list of operations shows those there are.");
        }

        Undoable =
            Here.Can("/Operation PostUndo")
            && !IsLive
            && (Operation.Kind != OperationKind.Switch || Here.May(Need.DistrictAdministrator))
            && await undo.RefusalAsync(Operation, Gone) is null;

        // Warnings and options speak of the whole district.
        Warnings = Here.Sites is null ? OperationQueue.WarningsOf(Operation) : [];
        Options = Here.Sites is null ? [.. OptionsOf(Operation)] : [];
        Imported = Here.Sites is null ? ImportReports.Of(Operation) : [];
        Stopped = Here.Can("/Index PostSync") ? await StoppedAsync() : null;
        Notices = Here.Sites is null ? await notices.ListAsync(DistrictId, id, cancellationToken: Gone) : [];
        Sites =
        [
            .. (await sites.ListAsync(DistrictId, Gone)).Where(s => Here.Sees(s.Id)).OrderBy(s => s.Name, StringComparer.OrdinalIgnoreCase),
        ];
        Filter = LogQuery.Filter(Request.Query, Sites) with { Sites = Here.Sites };
        SiteCode = Filter.NoSite ? PatronQuery.NoSiteWord : Sites.FirstOrDefault(s => s.Id == Filter.SiteId)?.Code;
        Off =
            Decidable
            && Operation is { Integration: { } kind, Kind: not OperationKind.Switch }
            && await integrations.FindAsync(DistrictId, kind, Gone) is not { Enabled: true }
                ? IntegrationWords.Name(kind)
                : null;
        Spared = Decidable && Operation.Status == OperationStatus.NeedsApproval ? await reading.SparedAsync(DistrictId, id, null, Gone) : 0;
        HeldHere =
            Operation.Status == OperationStatus.NeedsApproval && !Here.Can("/Operation PostApprove")
                ? await reading.HeldAsync(Operation, Here, Gone)
                : 0;
        if (Operation.Planned)
        {
            var counts = await reading.LogCountsAsync(Operation, Gone);
            Skips = Here.Sites is null && OperationQueue.CountsOf(Operation).Skipped > 0 ? await reading.SkipsAsync(Operation, Gone) : [];
            BySite =
            [
                .. Sites
                    .Select(s => (Site: (Site?)s, Counts: (IReadOnlyList<LogCount>)[.. counts.Where(c => c.SiteId == s.Id)]))
                    .Append((null, [.. counts.Where(c => Here.Sites is null && Sites.All(s => s.Id != c.SiteId))]))
                    .Where(s => s.Counts.Count > 0),
            ];
            Number = Math.Clamp(page ?? 1, 1, 1_000_000);
            (Rows, Total) = await log.PageAsync(DistrictId, id, Filter, Number, Size, Decidable, Gone);
            if (Rows.Count == 0 && Total > 0)
            {
                Number = PageWithin(page, Size, Total);
                (Rows, Total) = await log.PageAsync(DistrictId, id, Filter, Number, Size, Decidable, Gone);
            }
        }

        return Page();
    }

    public Task<IActionResult> OnPostApproveAsync(long id) =>
        ActAsync(
            $"/operations/{id}",
            async () =>
            {
                await queue.ApproveAsync(DistrictId, id, Here.Actor, Gone);
                return "Approved. The changes are being written.";
            }
        );

    public Task<IActionResult> OnPostDiscardAsync(long id) =>
        ActAsync(
            $"/operations/{id}",
            async () =>
            {
                var was = await queue.GetAsync(DistrictId, id, Gone);
                await queue.DiscardAsync(DistrictId, id, Here.Actor.Name, Gone);
                return (
                        was.Status == OperationStatus.NeedsApproval
                            ? "Discarded. What waited was not written, the rest of it was"
                            : "Discarded. Nothing of it was written"
                    ) + (IsOfRoster(was.Kind) ? "; the next sync looks at these people again." : ".");
            }
        );

    /// <summary>The service that is on, and the one whose run was taken back where that is another: the undo stopped both.</summary>
    private async Task<(string, string)?> StoppedAsync()
    {
        if (Operation is not { Kind: OperationKind.Undo, SubjectId: { } subject, Integration: { } kind })
        {
            return null;
        }

        foreach (
            var row in (Integration?[])
                [await integrations.EnabledAsync(DistrictId, Gone), await integrations.FindAsync(DistrictId, kind, Gone)]
        )
        {
            if (
                row is not null
                && IntegrationService.StateOf(row).UndoneRun == subject
                && IntegrationService.SettingsOf(row).Daily is { At: not null, StoppedBecause: { } because, StoppedByFailures: false }
            )
            {
                return (because, $"/preferences/sis/{IntegrationWords.Verb(row.Kind)}/schedule");
            }
        }

        return null;
    }

    public Task<IActionResult> OnPostCancelAsync(long id) =>
        ActAsync(
            $"/operations/{id}",
            async () =>
            {
                await queue.CancelAsync(DistrictId, id, Here.Actor.Name, Gone);
                return await queue.GetAsync(DistrictId, id, Gone) is { PreviewOnly: true, ApprovedAt: null }
                    ? "It is being cancelled. A preview writes nothing."
                    : "It is being cancelled. What was written before stays.";
            }
        );

    public async Task<IActionResult> OnPostUndoAsync(long id, string? barcode, string? seen)
    {
        long? queued = null;
        var result = await ActAsync(
            $"/operations/{id}",
            async () =>
            {
                var one = string.IsNullOrWhiteSpace(barcode) ? null : barcode;
                SeenPatron? looked = one is null
                    ? null
                    : SeenPatron.Parse(seen) ?? throw new RollcallException("Look at the patron, then undo it on their page.");
                queued = await undo.EnqueueAsync(DistrictId, id, one, Here.Actor, looked, Gone);
                return $"Operation {id} is being taken back.";
            }
        );
        return queued is { } other ? LocalRedirect($"/operations/{other}") : result;
    }

    /// <summary>What would change something, in words.</summary>
    public static string Noun(OperationKind kind) =>
        kind switch
        {
            OperationKind.Import => "the import",
            OperationKind.Edit => "the edit",
            OperationKind.Remove => "the removal",
            _ => "a sync",
        };

    /// <summary>False for a person of a plan who is no patron yet, and for one who was removed.</summary>
    public bool IsPatron(LogRow row)
    {
        var written = !row.Stale && row.Number <= (row.Held ? Operation.HeldAppliedTo : Operation.AppliedTo);
        return row is { PatronId: not null, Barcode: not null }
            && (
                row.Kind switch
                {
                    "create" => written,
                    "remove" => !written || Operation.Status == OperationStatus.Undone,
                    _ => true,
                }
            );
    }

    /// <summary>The address of a download with the filter of the page.</summary>
    public string Download(string format) =>
        Microsoft.AspNetCore.WebUtilities.QueryHelpers.AddQueryString(
            $"/operations/{Operation.Id}/download",
            new Dictionary<string, string?>
            {
                ["format"] = format,
                ["outcome"] = Filter.Outcome is { } outcome ? OperationLog.OutcomeWord(outcome) : null,
                ["site"] = SiteCode,
                ["warnings"] = Filter.WarningsOnly ? "on" : null,
                ["held"] = Filter.HeldOnly ? "on" : null,
                ["q"] = Filter.Search,
            }
        );

    /// <summary>How it was set up, in words. Operations of other kinds keep other options: what is not known is left out.</summary>
    private static IEnumerable<(string, string)> OptionsOf(Operation operation)
    {
        using var document = JsonDocument.Parse(operation.Options);
        var root = document.RootElement;
        if (root.ValueKind != JsonValueKind.Object)
        {
            yield break;
        }

        if (Words("districtName") is { } name)
        {
            yield return ("Roster", Words("tenantId") is { } tenant ? $"{name} (tenant {tenant})" : name);
        }

        if (root.TryGetProperty("roles", out var roles) && roles.ValueKind == JsonValueKind.Array && roles.GetArrayLength() > 0)
        {
            yield return (
                "Synced",
                string.Join(
                    ", ",
                    roles
                        .EnumerateArray()
                        .Select(r => Enum.TryParse<RoleGroup>(r.ToString(), out var group) ? RoleGroups.Label(group) : r.ToString())
                )
            );
        }

        if (root.TryGetProperty("map", out var map) && map.Deserialize<FieldMap>(IntegrationService.Json) is { } fields)
        {
            foreach (var field in (int[])[PatronFields.CommunityId, PatronFields.Barcode, PatronFields.Location, PatronFields.Site])
            {
                yield return (
                    PatronFields.ByNumber(field).Label,
                    PatronExplain.SourceOf(field, fields) is { } source ? ServerWords.Source(source) : "Not Mapped"
                );
            }
        }

        if (Words("fullBecause") is { } because)
        {
            yield return ("Read in full", $"because {because}");
        }

        if (Words("note") is { } note)
        {
            yield return ("Note", note);
        }

        if (Words("file") is { } file)
        {
            yield return ("File", file);
        }

        if (Words("which") is { } which)
        {
            yield return ("Which patrons", which);
        }

        string? Words(string property) =>
            root.TryGetProperty(property, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
    }
}
