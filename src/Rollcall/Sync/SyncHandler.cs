using System.Data.Common;
using System.Globalization;
using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.Logging;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.OneRoster;
using Rollcall.OneRoster.Csv;
using Rollcall.OneRoster.Rest;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Storage;
using Rollcall.Sync.Apply;
using Rollcall.Sync.Guard;
using Rollcall.Sync.Plan;
using Rollcall.Sync.Pull;

namespace Rollcall.Sync;

/// <summary>The way of a sync: pull, verify, plan, guard, apply, finish.</summary>
internal sealed class SyncHandler(
    RollcallDatabase database,
    IntegrationService integrations,
    OperationQueue queue,
    TimeProvider time,
    ILogger<SyncHandler> logger
) : IOperationHandler
{
    private const int DaysBetweenFullSyncs = 7;
    private static readonly TimeSpan s_staleAfter = TimeSpan.FromDays(14);

    private string SpoolFolder => Path.Combine(database.DataFolder, "spool");

    /// <summary>Makes a run's keys; null for the usual ones. Tests make keys that people share.</summary>
    internal Func<Keys>? MakeKeys { get; set; }

    public bool Handles(OperationKind kind) => kind is OperationKind.FullSync or OperationKind.ChangesSync;

    public async Task ExecuteAsync(OperationRun run, CancellationToken cancellationToken)
    {
        var operation = run.Operation;
        if (!operation.Planned)
        {
            await BeginAsync(operation, cancellationToken);
        }

        var setup = await LoadSetupAsync(operation, cancellationToken);
        setup.EnsureReady();
        var refreshes = new Rows<HashRefresh>();
        var justPlanned = !operation.Planned;
        if (!operation.Planned)
        {
            var (planned, unread) = await PlanAsync(run, setup, cancellationToken);
            if (planned is null)
            {
                await EndUnchangedAsync(operation, setup, unread!, cancellationToken);
                return;
            }

            refreshes = planned;
            operation = run.Operation;
            if (operation.PreviewOnly)
            {
                var counts = OperationQueue.CountsOf(operation);
                await EndAsync(operation, OperationStatus.Preview, counts, OperationQueue.WarningsOf(operation), cancellationToken);
                return;
            }

            // Whatever was saved while it read counts as of the writing, too.
            setup = await LoadSetupAsync(operation, cancellationToken);
        }

        var approved = operation.ApprovedAt is not null;
        if (operation.PreviewOnly && !approved)
        {
            // Taken over after the plan was complete, before its end was written.
            await EndAsync(
                operation,
                OperationStatus.Preview,
                OperationQueue.CountsOf(operation),
                OperationQueue.WarningsOf(operation),
                cancellationToken
            );
            return;
        }

        var applier = new Applier(database, operation, SyncRules.Of(setup, operation), time) { JustPlanned = justPlanned };
        Func<long, ValueTask> Report(string step, long total) => done => run.ReportAsync(OperationStage.Applying, step, done, total);
        if (!approved || operation.PreviewOnly)
        {
            await applier.RunAsync(held: false, approval: approved, Report("Writing changes", operation.PlanSize), cancellationToken);
        }

        if (approved)
        {
            var waiting = OperationQueue.CountsOf(operation).Held;
            await applier.RunAsync(held: true, approval: true, Report("Writing what was held", waiting), cancellationToken);
        }

        await RefreshHashesAsync(operation, refreshes, cancellationToken);
        await FinishAsync(operation, applier, approved, cancellationToken);
    }

    private async Task<SyncSetup> LoadSetupAsync(Operation operation, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        var kind = operation.Integration ?? throw new RollcallException("The operation names no roster service.");
        var setup = await SyncSetup.LoadAsync(context, operation.DistrictId, kind, time, cancellationToken);
        if (MakeKeys is not null)
        {
            setup.Keys = MakeKeys();
        }

        return setup;
    }

    /// <summary>Says by which settings it reads, so that whoever changed them since and asks for a sync gets another one.</summary>
    private async Task BeginAsync(Operation operation, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        var row = await context
            .Integrations.AsNoTracking()
            .SingleOrDefaultAsync(i => i.DistrictId == operation.DistrictId && i.Kind == operation.Integration, cancellationToken);
        await KeepOptionsAsync(
            operation,
            OperationQueue.WithConfigVersion(operation, IntegrationService.StateOf(row).ConfigVersion),
            cancellationToken
        );
    }

    /// <summary>Why a changes sync cannot be one now; null when it can.</summary>
    private static string? FullBecause(SyncSetup setup, IRosterSource source, long? unfinished) =>
        setup.State switch
        {
            { LastFullAt: null } or { ChangesSince: null } => "this is the first sync",
            { FullDue: { } why } => why,
            _ when unfinished is not null => $"operation {unfinished}, a full one, was put aside before it was done",
            // By the calendar: what runs each night at the same hour begins a little earlier or later, and a week is to be seven nights.
            { LastFullAt: { } last } when DistrictService.DateAt(setup.District, last).AddDays(DaysBetweenFullSyncs) <= setup.Today =>
                "the last full sync is a week old",
            { RolesTurn: { } turn } when turn <= setup.Today => string.Create(
                CultureInfo.InvariantCulture,
                $"roles of people began or ended on {turn:yyyy-MM-dd} by their dates"
            ),
            _ => source is RestRosterSource ? null : "a CSV package is always read whole",
        };

    private async Task<(Roster? Roster, ChangesPull? Pull, string? FullBecause)> PullChangesAsync(
        OperationRun run,
        SyncSetup setup,
        IRosterSource source,
        PatronsAhead ahead,
        WarningLog warnings,
        CancellationToken cancellationToken
    )
    {
        long? unfinished = null;
        if (!run.Operation.PreviewOnly)
        {
            await using var context = database.CreateContext();
            unfinished = await OlderPlans.UnfinishedFullAsync(context, run.Operation, cancellationToken);
        }

        if (FullBecause(setup, source, unfinished) is { } why)
        {
            return (null, null, why);
        }

        if (setup.State.Homerooms is { } known && MakeKeys is null)
        {
            setup.Keys = new Keys(known.Seed);
        }

        await using var connection = await database.OpenAsync(cancellationToken);
        var pull = new ChangesPull(
            setup,
            (RestRosterSource)source,
            run.Operation,
            database,
            connection,
            SpoolFolder,
            warnings,
            ahead,
            (text, done, total) => run.ReportAsync(OperationStage.Pulling, text, done, total)
        );
        var (roster, fullBecause) = await pull.ReadAsync(setup.State.ChangesSince!.Value, cancellationToken);
        return (roster, pull, fullBecause);
    }

    /// <summary>The provider says that nothing changed since the last full sync, and nothing changed here either. A new day can end roles
    /// and sessions without any change, so it is read again then.</summary>
    private async Task<bool> IsUnchangedAsync(SyncSetup setup, IRosterSource source, CancellationToken cancellationToken)
    {
        if (
            setup.State is not { Revision: { } revision, FullDue: null, LastFullAt: { } last, FullEndedAt: { } ended }
            || DistrictService.DateAt(setup.District, last) != setup.Today
        )
        {
            return false;
        }

        await using (var context = database.CreateContext())
        {
            // What waits for an approval, or half-done, is to be planned anew, and to be said again.
            if (
                await context.Patrons.AnyAsync(p => p.DistrictId == setup.District.Id && p.UpdatedAt >= ended, cancellationToken)
                || await context.Operations.AnyAsync(
                    o => o.DistrictId == setup.District.Id && s_byOthers.Contains(o.Kind) && o.FinishedAt >= last,
                    cancellationToken
                )
                || await context.Operations.AnyAsync(
                    o =>
                        o.DistrictId == setup.District.Id
                        && o.Integration == setup.Kind
                        && (o.Status == OperationStatus.NeedsApproval || (o.Status == OperationStatus.Waiting && o.Planned)),
                    cancellationToken
                )
            )
            {
                return false;
            }
        }

        return string.Equals(await source.RevisionAsync(cancellationToken), revision, StringComparison.Ordinal);
    }

    /// <summary>What leaves no patron behind whose last change could be looked at, or changes one while a full sync runs that has read them
    /// already.</summary>
    private static readonly OperationKind[] s_byOthers =
    [
        OperationKind.Edit,
        OperationKind.Import,
        OperationKind.Remove,
        OperationKind.Erase,
        OperationKind.Merge,
        OperationKind.Undo,
        OperationKind.Review,
    ];

    /// <summary>A folder that nobody fills any more looks like a roster in which nothing happens.</summary>
    private async Task EnsureFreshAsync(Operation operation, SyncSetup setup, CsvFeedSource feed, CancellationToken cancellationToken)
    {
        if (
            feed is { NothingNew: true, LastNewAt: { } last }
            && (setup.State.FullDue is null || !feed.HasAllPeople)
            && time.GetUtcNow() - last > s_staleAfter
        )
        {
            await KeepOptionsAsync(operation, StaleFeed.With(operation.Options, last), cancellationToken);

            // Another try in an hour would find no more.
            throw new RollcallException(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{setup.Settings.Url} has brought nothing new since {last:yyyy-MM-dd}. See whether the district's export still runs; nothing was changed. The night after the next package syncs by itself. Where the export rests for the holidays, pause dates keep these nights quiet (Daily Operations, or 'rollcall oneroster-csv schedule --pause FROM TO'): no night of a pause syncs, so end it when packages come again."
                )
            );
        }
    }

    /// <summary>Says of a folder in which nothing new has come that its files are those of an earlier sync.</summary>
    private static string? NothingNew(SyncSetup setup, CsvFeedSource feed) =>
        feed is { NothingNew: true, LastNewAt: { } last }
            ? string.Create(
                CultureInfo.InvariantCulture,
                $"the files are those that were first read on {TimeZoneInfo.ConvertTime(last, setup.District.Zone):yyyy-MM-dd HH:mm}, and nothing has come since"
            )
            : null;

    /// <returns>What only links have to remember; or why there is nothing to read: the provider's revision is that of the last full sync.</returns>
    private async Task<(Rows<HashRefresh>? Planned, string? Unread)> PlanAsync(
        OperationRun run,
        SyncSetup setup,
        CancellationToken cancellationToken
    )
    {
        var operation = run.Operation;
        var began = time.GetUtcNow();
        await queue.DeletePlanAsync(operation, cancellationToken);
        if (ImportReports.Of(operation).Count > 0 || StaleFeed.Since(operation.Options) is not null)
        {
            // Of an earlier try, which read another folder perhaps.
            await KeepOptionsAsync(operation, StaleFeed.With(ImportReports.With(operation, []), null), cancellationToken);
        }

        var warnings = new WarningLog();
        Roster? roster = null;
        IReadOnlyDictionary<string, long> leniencies = new Dictionary<string, long>();
        string? fullBecause = null;
        string? nothingNew = null;
        IReadOnlyDictionary<string, long> understood = new Dictionary<string, long>(StringComparer.Ordinal);
        FeedState? feedState = null;
        KnownHomerooms? homerooms = null;
        ChangesPull? changes = null;
        IReadOnlyList<CsvImportReport>? reports = null;
        DateTimeOffset cursor;
        await using var ahead = new PatronsAhead(database, setup);
        using (var source = await integrations.OpenAsync(operation.DistrictId, setup.Kind, cancellationToken))
        {
            if (source is CsvFeedSource feed)
            {
                await run.ReportAsync(OperationStage.Pulling, "Checking the CSV package", 0, null);
                try
                {
                    nothingNew = NothingNew(setup, feed);
                    if (feed.Passed.Count == 0 && await IsUnchangedAsync(setup, feed, cancellationToken))
                    {
                        return (null, nothingNew ?? "the files say what those of the last full sync said");
                    }

                    await EnsureFreshAsync(operation, setup, feed, cancellationToken);
                    understood = CsvFindingsLog.Report(feed, warnings);
                }
                catch (RosterException) when (feed.Read.Count > 0)
                {
                    // Whoever has to have the package mended needs all that is wrong with it, not the first lines that fit an error.
                    await KeepOptionsAsync(operation, ImportReports.With(operation, feed.Reports), cancellationToken);
                    throw;
                }

                reports = feed.Reports;
                feedState = feed.State;
                if (feed.HasAllPeople)
                {
                    fullBecause = operation.Kind == OperationKind.ChangesSync ? "the last complete CSV package is at hand" : null;
                    operation.Kind = OperationKind.FullSync;
                }
                else
                {
                    operation.Kind = OperationKind.ChangesSync;
                    await using var connection = await database.OpenAsync(cancellationToken);
                    roster = await new CsvChangesPull(
                        setup,
                        feed.Source,
                        connection,
                        SpoolFolder,
                        warnings,
                        (text, done, total) => run.ReportAsync(OperationStage.Pulling, text, done, total)
                    ).ReadAsync(cancellationToken);
                }
            }
            else if (operation.Kind == OperationKind.ChangesSync)
            {
                (roster, changes, fullBecause) = await PullChangesAsync(run, setup, source, ahead, warnings, cancellationToken);
                homerooms = changes?.Homerooms;
            }
            else if (await IsUnchangedAsync(setup, source, cancellationToken))
            {
                return (null, "the roster is the same as at the last full sync, by the service's own word");
            }

            if (fullBecause is not null && feedState is null)
            {
                // A whole read takes its time and its memory.
                await ahead.DropAsync();
                operation.Kind = OperationKind.FullSync;
                warnings.Clear();
            }

            // A package is always read whole, and what a preview read is not gone on from.
            var store = source is RestRosterSource && !operation.PreviewOnly ? new HomeroomStore(database, operation, operation.Id) : null;
            var pull = new RosterPull(
                setup,
                source,
                SpoolFolder,
                warnings,
                (text, done, total) => run.ReportAsync(OperationStage.Pulling, text, done, total),
                store
            );
            if (roster is null)
            {
                roster = await pull.ReadAsync(cancellationToken);
                homerooms =
                    store is null || roster.Homerooms is null or { RowsShifted: true }
                        ? null
                        : new KnownHomerooms(operation.Id, setup.Keys.Seed);
            }

            // Records are dated by the server's clock: where it is behind, what changes next is dated before this moment.
            cursor = source is RestRosterSource { ServerTime: { } theirs } && theirs < began ? theirs : began;
            if (fullBecause is null && changes is { Unclear: true })
            {
                // What could not be read is asked for again.
                cursor = setup.State.ChangesSince!.Value;
            }

            var forgiven = fullBecause is null && changes is not null ? changes.Leniencies : pull.Leniencies;
            leniencies =
                understood.Count == 0
                    ? forgiven
                    : forgiven.Concat(understood).ToDictionary(l => l.Key, l => l.Value, StringComparer.Ordinal);
        }

        using (roster)
        {
            GiveBackMemory(roster.Persons.Count);
            await run.ReportAsync(OperationStage.Planning, "Reading patrons", 0, null);
            await using var connection = await database.OpenAsync(cancellationToken);

            // Before the patrons: what comes in between is new to the plan at worst.
            var knows = await NewestAsync(operation.DistrictId, cancellationToken);
            var readAt = time.GetUtcNow();
            var patrons = await ahead.TakeAsync(connection, cancellationToken);
            GiveBackMemory(patrons.Count);
            var decisions = await LoadDecisionsAsync(database, operation.DistrictId, setup.Keys, cancellationToken);
            await run.ReportAsync(OperationStage.Planning, "Matching people", 0, roster.Persons.Count);
            var asked = roster.ChangesOnly ? await LoadAskedAsync(database, operation.DistrictId, cancellationToken) : new HashSet<long>();
            var matches = Matcher.Run(patrons, roster, setup, decisions, asked);
            GiveBackMemory(patrons.Count);
            var planner = new Planner(
                database,
                connection,
                setup,
                roster,
                patrons,
                matches,
                operation,
                warnings,
                (text, done, total) => run.ReportAsync(OperationStage.Planning, text, done, total)
            );
            var plan = await planner.RunAsync(cancellationToken);
            var now = await LoadSetupAsync(operation, cancellationToken);
            var holds = Guard.Guard.Check(now.Settings.Thresholds, plan.Risks);
            warnings.Add(
                "drift",
                "Changes came to light that the changes syncs since the last full one had not seen",
                "Some rosters do not mark every change with a date. Full syncs find them; nothing has to be done.",
                plan.Drift
            );
            await CommitPlanAsync(
                run,
                setup,
                connection,
                plan,
                holds,
                warnings,
                began,
                cursor,
                roster.Revision,
                roster.FullDue,
                roster.RolesTurn,
                fullBecause,
                leniencies,
                feedState,
                homerooms,
                reports,
                knows,
                readAt,
                nothingNew is null ? null : $"Read again: {nothingNew}.",
                cancellationToken
            );
            return (plan.Refreshes, null);
        }
    }

    private async Task KeepOptionsAsync(Operation operation, string options, CancellationToken cancellationToken)
    {
        operation.Options = options;
        await using var connection = await database.OpenAsync(cancellationToken);
        await Sql.ExecuteAsync(
            connection,
            null,
            $"UPDATE operations SET options = @options WHERE id = @id AND fence = @fence AND status = {(int)OperationStatus.Running}",
            cancellationToken,
            ("@options", operation.Options),
            ("@id", operation.Id),
            ("@fence", operation.Fence)
        );
    }

    /// <summary>What a stage of a large run leaves behind is collected before the next one asks for more: the collector on its own waits
    /// for it to have grown by half. Nearly all that lives is arrays without references, so that it takes milliseconds.</summary>
    private static void GiveBackMemory(int rows)
    {
        const int Large = 100_000;
        if (rows >= Large)
        {
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Forced, blocking: true);
        }
    }

    private async Task CommitPlanAsync(
        OperationRun run,
        SyncSetup setup,
        DbConnection connection,
        PlanResult plan,
        IReadOnlyList<Hold> holds,
        WarningLog warnings,
        DateTimeOffset began,
        DateTimeOffset cursor,
        string? revision,
        string? fullDue,
        DateOnly? rolesTurn,
        string? fullBecause,
        IReadOnlyDictionary<string, long> leniencies,
        FeedState? feed,
        KnownHomerooms? homerooms,
        IReadOnlyList<CsvImportReport>? imported,
        long knows,
        DateTimeOffset readAt,
        string? note,
        CancellationToken cancellationToken
    )
    {
        var operation = run.Operation;
        var held = await new Guard.HoldMarks(database, operation, time).SetAsync(connection, holds, cancellationToken);
        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
        await database.Bulk.LockDistrictAsync(connection, transaction, operation.DistrictId, cancellationToken);
        await using var context = database.CreateContext(connection, transaction).AllowLong();

        // What this one shows to be wrong keeps nobody waiting any more.
        var full = operation.Kind == OperationKind.ChangesSync ? await FullHoldsAsync(context, operation, cancellationToken) : [];
        var now = time.GetUtcNow();
        await OlderPlans.ReplaceAsync(context, operation, now, cancellationToken);
        if (!operation.PreviewOnly)
        {
            full.ExceptWith(await OlderPlans.ContradictAsync(context, operation, plan.Seen, now, cancellationToken));
        }

        foreach (var hold in holds)
        {
            var siteName = setup.Sites.TryGetValue(hold.Site, out var known) ? known.Name : "patrons without a site";
            warnings.Add(
                WarningGroup.Held,
                hold.Risk switch
                {
                    Risk.Transfers =>
                        $"{N(hold.Count)} of {N(hold.Of)} {RoleGroups.People(hold.Group)} at {siteName} would be marked Transferred{(hold.Vanished ? ", and the roster has nobody of their kind at any school" : "")}: held for approval",
                    Risk.Updates =>
                        $"{N(hold.Count)} of {N(hold.Of)} {RoleGroups.People(hold.Group)} at {siteName} would change last name, barcode or Student #: held for approval",
                    _ when hold.Returning == 0 =>
                        $"{N(hold.Count)} new {RoleGroups.People(hold.Group)} at {siteName} have the same name as patrons who are not linked: held for approval",
                    _ =>
                        $"{N(hold.Returning)} new {RoleGroups.People(hold.Group)} at {siteName} have the name of somebody who is {(operation.Kind == OperationKind.ChangesSync ? "linked under another id" : "missing from the roster")}: the ids may have been given anew. {N(hold.Count)} new people held for approval",
                },
                hold.Returning > 0
                        ? "Find out whether the district gave people new ids. If it did, discard: with a Student #, a barcode or e-mail addresses in the roster, the next sync finds them again. Approve only if the new ones are others."
                    : hold.Vanished
                        ? $"Find out whether the district still shares its {RoleGroups.People(hold.Group)}. If it does not, discard, and untick them under Syncing. Approve only if all of them have left."
                    : "Look at them, then approve or discard.",
                1,
                $"{hold.Site}/{hold.Group}/{hold.Risk}"
            );
        }

        List<long> heldWith = [];
        if (full.Count > 0 && await HoldWhoWaitAsync(context, operation, full, cancellationToken) is { Count: > 0 } waiting)
        {
            var still = waiting.Holds.Intersect(await FullHoldsAsync(context, operation, cancellationToken)).ToList();
            if (held == 0 && still.Count == waiting.Holds.Count)
            {
                heldWith = still;
            }

            held += waiting.Count;
            warnings.Add(
                WarningGroup.Held,
                $"{N(waiting.Count)} changes are of people whose changes {(still.Count > 0 ? "wait" : "waited")} in operation {string.Join(", ", waiting.Holds)}: held for approval {(still.Count > 0 ? "with them" : "as they were")}",
                still.Count > 0
                    ? $"Decide on operation {still[0]} first: what it writes is not written again here."
                    : "Look at them, then approve or discard.",
                1,
                "waiting"
            );
        }

        if (held > 0 && await HoldWholeChainsAsync(context, operation, cancellationToken) is > 0 and var along)
        {
            held += along;
            warnings.Add(
                WarningGroup.Held,
                $"{N(along)} changes take over a barcode from somebody whose change is held, or give theirs up to them: held for approval with them",
                "Look at them, then approve or discard.",
                1,
                "chain"
            );
        }

        var counts = plan.Counts with { Held = held, Warnings = warnings.Count };
        if (held > 0)
        {
            counts = counts.WithHeld(
                await OperationQueue.HeldOutcomesAsync(context, operation.DistrictId, operation.Id, all: false, cancellationToken)
            );
        }

        var options = new
        {
            roles = setup.Settings.Roles,
            mode = setup.Settings.Mode,
            tenantId = setup.Settings.TenantId,
            districtName = setup.Settings.DistrictName,
            note,
            map = setup.Settings.Map,
            began,
            cursor,
            revision,
            fullDue,
            rolesTurn,
            fullBecause,
            since = operation.Kind == OperationKind.ChangesSync ? setup.State.ChangesSince : null,
            shared = plan.Shared,
            configVersion = setup.State.ConfigVersion,
            fullAsked = setup.State.FullAsked,
            knows,
            readAt,
            matches = setup.MatchesHash,
            seen = operation is { PreviewOnly: true, Kind: OperationKind.ChangesSync } ? plan.Seen.Kept : null,
            leniencies,
            feed,
            homerooms,
            imported,
            heldWith,
        };
        var planned = await Sql.ExecuteAsync(
            connection,
            transaction,
            $"""
            UPDATE operations SET kind = @kind, planned = @true, plan_size = @size, counts = @counts, warnings = @warnings, options = @options,
                approved_at = NULL, approved_by = NULL, takeovers = 0
            WHERE id = @id AND fence = @fence AND status = {(int)OperationStatus.Running}
            """,
            cancellationToken,
            ("@kind", (int)operation.Kind),
            ("@true", true),
            ("@size", plan.Rows),
            ("@counts", JsonSerializer.Serialize(counts, OperationQueue.Json)),
            ("@warnings", JsonSerializer.Serialize(warnings.Groups, OperationQueue.Json)),
            ("@options", JsonSerializer.Serialize(options, IntegrationService.Json)),
            ("@id", operation.Id),
            ("@fence", operation.Fence)
        );
        if (planned != 1)
        {
            throw new FencedOffException();
        }

        await transaction.CommitAsync(cancellationToken);
        (operation.Planned, operation.PlanSize) = (true, plan.Rows);

        // Nobody can have approved what nobody has seen.
        (operation.ApprovedAt, operation.ApprovedBy) = (null, null);
        operation.Counts = JsonSerializer.Serialize(counts, OperationQueue.Json);
        operation.Warnings = JsonSerializer.Serialize(warnings.Groups, OperationQueue.Json);
        operation.Options = JsonSerializer.Serialize(options, IntegrationService.Json);
    }

    /// <summary>Holds of full syncs. Those of changes are replaced by a newer plan of changes.</summary>
    private static async Task<HashSet<long>> FullHoldsAsync(
        RollcallContext context,
        Operation operation,
        CancellationToken cancellationToken
    ) =>
        await context
            .Operations.Where(o => o.DistrictId == operation.DistrictId && o.Integration == operation.Integration)
            .Where(o => o.Id != operation.Id && o.Kind == OperationKind.FullSync && o.Status == OperationStatus.NeedsApproval)
            .Select(o => o.Id)
            .ToHashSetAsync(cancellationToken);

    /// <summary>Whose change waits for an approval is not changed unasked because some of those who wait came again, fewer than a threshold.</summary>
    /// <returns>How many rows are held for that, and the holds in question.</returns>
    private static async Task<(int Count, List<long> Holds)> HoldWhoWaitAsync(
        RollcallContext context,
        Operation operation,
        HashSet<long> holds,
        CancellationToken cancellationToken
    )
    {
        var own = context.Changes.Where(c => c.DistrictId == operation.DistrictId && c.OperationId == operation.Id);
        var theirs = context.Changes.Where(c => c.DistrictId == operation.DistrictId && holds.Contains(c.OperationId) && c.Held);
        // Whoever is new waits whatever this pull makes of them: fewer people tell less of who may be somebody else.
        var mine = await own.Where(c => (c.Risk != Risk.None || c.Kind == ChangeKind.Create) && !c.Held)
            .Select(c => new
            {
                c.Number,
                c.Kind,
                c.PatronId,
                c.RosterId,
            })
            .ToListAsync(cancellationToken);
        var count = 0;
        var named = new HashSet<long>();

        // Who is to be created has another id in each plan, and there may be a district of those who wait.
        var people = mine.Where(r => r.Kind == ChangeKind.Create).Select(r => r.RosterId).ToHashSet(StringComparer.Ordinal);
        var coming = new HashSet<string?>(StringComparer.Ordinal);
        if (people.Count > 0)
        {
            var created = theirs.Where(c => c.Kind == ChangeKind.Create).Select(c => new { c.OperationId, c.RosterId });
            await foreach (var waits in created.AsAsyncEnumerable().WithCancellation(cancellationToken))
            {
                if (people.Contains(waits.RosterId))
                {
                    coming.Add(waits.RosterId);
                    named.Add(waits.OperationId);
                }
            }
        }

        foreach (var some in mine.Where(r => r.Kind != ChangeKind.Create || coming.Contains(r.RosterId)).Chunk(500))
        {
            var patrons = some.Where(r => r.Kind != ChangeKind.Create).Select(r => r.PatronId).ToArray();
            var known = await theirs
                .Where(c => c.Kind != ChangeKind.Create && patrons.Contains(c.PatronId))
                .Select(c => new { c.OperationId, c.PatronId })
                .ToListAsync(cancellationToken);
            named.UnionWith(known.Select(k => k.OperationId));
            var waiting = known.Select(k => k.PatronId).ToHashSet();
            var numbers = some.Where(r => r.Kind == ChangeKind.Create || waiting.Contains(r.PatronId)).Select(r => r.Number).ToArray();
            count += await own.Where(c => numbers.Contains(c.Number))
                .ExecuteUpdateAsync(s => s.SetProperty(c => c.Held, true), cancellationToken);
        }

        return (count, [.. named.Order()]);
    }

    private static readonly string s_barcode = $"\"{PatronFields.Barcode}\":";

    /// <summary>Barcodes that change hands do so together: where one of a chain is held, nobody of it can be written.</summary>
    /// <returns>How many rows are held for that alone.</returns>
    private static async Task<long> HoldWholeChainsAsync(RollcallContext context, Operation operation, CancellationToken cancellationToken)
    {
        var changes = context.Changes.AsNoTracking().Where(c => c.DistrictId == operation.DistrictId && c.OperationId == operation.Id);
        if (!await changes.AnyAsync(c => c.Chained && !c.Held, cancellationToken))
        {
            return 0;
        }

        // Whoever takes a free barcode is in no chain, but may be the one whom a chain waits for.
        var links = (
            await changes
                .Where(c => c.Chained || (c.Held && c.Values.Contains(s_barcode)))
                .OrderBy(c => c.Number)
                .Select(c => new
                {
                    c.Number,
                    c.Held,
                    c.Values,
                })
                .ToListAsync(cancellationToken)
        ).Select(r => (Row: r, Values: ChangeValues.Parse(r.Values))).Where(r => r.Values.Old(PatronFields.Barcode) is not null && r.Values.New(PatronFields.Barcode) is not null).Select(r => (r.Row.Number, r.Row.Held, From: Text.BarcodeKey(r.Values.Old(PatronFields.Barcode)!), To: Text.BarcodeKey(r.Values.New(PatronFields.Barcode)!))).ToList();
        var byBarcode = links
            .SelectMany(l => ((string Key, long Number)[])[(l.From, l.Number), (l.To, l.Number)])
            .ToLookup(l => l.Key, l => l.Number);
        var ends = links.ToDictionary(l => l.Number, l => (l.From, l.To));
        var held = links.Where(l => l.Held).Select(l => l.Number).ToHashSet();
        var next = new Queue<long>(held);
        var along = new List<long>();
        while (next.TryDequeue(out var number))
        {
            var (from, to) = ends[number];
            foreach (var other in byBarcode[from].Concat(byBarcode[to]).Where(held.Add))
            {
                along.Add(other);
                next.Enqueue(other);
            }
        }

        foreach (var some in along.Chunk(500))
        {
            await context
                .Changes.Where(c => c.DistrictId == operation.DistrictId && c.OperationId == operation.Id && some.Contains(c.Number))
                .ExecuteUpdateAsync(s => s.SetProperty(c => c.Held, true), cancellationToken);
        }

        return along.Count;
    }

    private async Task<long> NewestAsync(int districtId, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        return await context.Operations.Where(o => o.DistrictId == districtId).MaxAsync(o => o.Id, cancellationToken);
    }

    /// <summary>Who was decided about in Review, and who waits there.</summary>
    internal static async Task<Dictionary<(ulong Id, uint Check), ReviewStatus>> LoadDecisionsAsync(
        RollcallDatabase database,
        int districtId,
        Keys keys,
        CancellationToken cancellationToken
    )
    {
        await using var context = database.CreateContext();
        var decided = await context
            .ReviewItems.Where(r =>
                r.DistrictId == districtId
                && (r.Status == ReviewStatus.Open || r.Status == ReviewStatus.Ignored || r.Status == ReviewStatus.Created)
            )
            .Select(r => new { r.RosterId, r.Status })
            .ToListAsync(cancellationToken);
        var decisions = new Dictionary<(ulong Id, uint Check), ReviewStatus>();
        foreach (var decision in decided)
        {
            decisions[(keys.Of(decision.RosterId), keys.Check(decision.RosterId))] = decision.Status;
        }

        return decisions;
    }

    /// <summary>Patrons whom somebody reaches who waits in Review.</summary>
    internal static async Task<HashSet<long>> LoadAskedAsync(RollcallDatabase database, int districtId, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        var open = await context
            .ReviewItems.Where(r => r.DistrictId == districtId && r.Status == ReviewStatus.Open)
            .Select(r => r.Candidates)
            .ToListAsync(cancellationToken);
        return [.. open.SelectMany(c => JsonSerializer.Deserialize<long[]>(c) ?? [])];
    }

    /// <summary>Links of people who turned out to agree with the roster. Not a change: it only spares the next run a comparison.</summary>
    private async Task RefreshHashesAsync(Operation operation, Rows<HashRefresh> refreshes, CancellationToken cancellationToken)
    {
        if (refreshes.Count == 0)
        {
            return;
        }

        await using var connection = await database.OpenAsync(cancellationToken);
        for (var from = 0; from < refreshes.Count; from += 500)
        {
            cancellationToken.ThrowIfCancellationRequested();
            await using (var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken))
            {
                // Whoever edits one of these at this moment has not committed: the version that is seen here would still be the one before, and the
                // next full syncs would skip them.
                await database.Bulk.LockDistrictAsync(connection, transaction, operation.DistrictId, cancellationToken);
                await using var command = connection.CreateCommand();
                command.Transaction = transaction;
                command.CommandText = """
                    UPDATE patron_links SET sync_hash = @hash WHERE district_id = @district AND patron_id = @id
                      AND EXISTS (SELECT 1 FROM patrons p WHERE p.district_id = @district AND p.id = @id AND p.version = @version)
                    """;
                Sql.Add(command, "@hash", 0L);
                Sql.Add(command, "@district", operation.DistrictId);
                Sql.Add(command, "@id", 0L);
                Sql.Add(command, "@version", 0L);
                await command.PrepareAsync(cancellationToken);
                for (var i = from; i < Math.Min(from + 500, refreshes.Count); i++)
                {
                    var refresh = refreshes[i];
                    command.Parameters["@hash"].Value = refresh.Hash;
                    command.Parameters["@id"].Value = refresh.PatronId;
                    command.Parameters["@version"].Value = refresh.Version;
                    await command.ExecuteNonQueryAsync(cancellationToken);
                }

                await transaction.CommitAsync(cancellationToken);
            }

            await Task.Delay(database.Bulk.PauseBetweenSlices, time, cancellationToken);
        }
    }

    private async Task FinishAsync(Operation operation, Applier applier, bool approved, CancellationToken cancellationToken)
    {
        var counts = OperationQueue.CountsOf(operation);
        var warnings = OperationQueue.WarningsOf(operation).ToList();
        counts = OperationQueue.Drop(counts, applier.Stale);
        AddLeftOut(warnings, applier);
        if (approved)
        {
            warnings.RemoveAll(w => w.Code == WarningGroup.Held);
            counts = counts.WithHeld(new Dictionary<Outcome, long>()) with { Held = 0 };
        }

        counts = counts with { Warnings = warnings.Sum(w => w.Count) };
        if (!counts.AddUp)
        {
            throw new InvalidOperationException($"The outcomes do not add up to the people read: {counts}");
        }

        var status =
            counts.Held > 0 ? OperationStatus.NeedsApproval
            : counts.Warnings > 0 ? OperationStatus.CompletedWithWarnings
            : OperationStatus.Completed;
        await queue.FinishWithAsync(
            operation,
            status,
            counts,
            warnings,
            context =>
                AfterAsync(
                    context,
                    operation,
                    counts,
                    approved,
                    applier.Stale.Count > 0 || ((!approved || operation.PreviewOnly) && Planner.LeftOut(warnings)),
                    cancellationToken
                ),
            cancellationToken
        );
    }

    /// <summary>Says which rows were not written as planned.</summary>
    internal static void AddLeftOut(List<WarningGroup> warnings, Applier applier)
    {
        if (applier.Guarded > 0)
        {
            warnings.Add(PatronGuard.Warning(applier.Guarded));
        }

        if (applier.ChangedMeanwhile > 0)
        {
            warnings.Add(
                new WarningGroup(
                    "stale",
                    "Changes were left out because the patron changed since the plan; the next sync looks at them again",
                    applier.ChangedMeanwhile,
                    null
                )
            );
        }

        if (applier.ChangedSincePlan > 0)
        {
            warnings.Add(
                new WarningGroup(
                    "changed-since-plan",
                    "Patrons were changed while the sync ran; the field policy decided",
                    applier.ChangedSincePlan,
                    null
                )
            );
        }
    }

    /// <summary>What has to be known elsewhere, in the transaction that ends the operation.</summary>
    private async Task AfterAsync(
        RollcallContext context,
        Operation operation,
        SyncCounts counts,
        bool approved,
        bool leftOut,
        CancellationToken cancellationToken
    )
    {
        // What is approved of a hold has settled what it could when the rest of it was written.
        if (operation.Kind == OperationKind.FullSync && (!approved || operation.PreviewOnly))
        {
            // Whoever was not sent to Review again has been settled by this run. A question that was opened since is new to it: days may lie between a
            // preview and its approval. One that an undo opened is as new as the end of that, which may have waited while this was planned.
            var plan = JsonSerializer.Deserialize<PlanOptions>(operation.Options, IntegrationService.Json)!;
            var (knows, readAt) = (plan.Knows ?? operation.Id, plan.ReadAt ?? plan.Began);
            var later = context.Operations.Where(o =>
                o.DistrictId == operation.DistrictId
                && o.Status != OperationStatus.Superseded
                && (o.FinishedAt == null || o.FinishedAt > readAt)
            );
            await context
                .ReviewItems.Where(r =>
                    r.DistrictId == operation.DistrictId
                    && r.Status == ReviewStatus.Open
                    && r.OperationId <= knows
                    && r.OperationId != operation.Id
                    && !later.Any(o => o.Id == r.OperationId)
                )
                .ExecuteUpdateAsync(
                    s =>
                        s.SetProperty(r => r.Status, ReviewStatus.Settled)
                            .SetProperty(r => r.Values, "{}")
                            .SetProperty(r => r.Link, (string?)null),
                    cancellationToken
                );
        }

        var row = await context.Integrations.SingleOrDefaultAsync(
            i => i.DistrictId == operation.DistrictId && i.Kind == operation.Integration,
            cancellationToken
        );
        if (row is null)
        {
            return;
        }

        if (!operation.PreviewOnly && !approved)
        {
            var state = StateAfter(operation, IntegrationService.StateOf(row), counts);
            row.State = JsonSerializer.Serialize(state, IntegrationService.Json);
            await HomeroomStore.DropOthersAsync(context, operation.DistrictId, state.Homerooms, cancellationToken);
        }

        if (approved && operation is { PreviewOnly: true, Kind: OperationKind.FullSync })
        {
            var preview = JsonSerializer.Deserialize<PlanOptions>(operation.Options, IntegrationService.Json)!;
            var state = IntegrationService.StateOf(row);
            row.State = JsonSerializer.Serialize(
                state with
                {
                    LastPreviewAt = preview.Began,
                    UndoneRun = HeardAll(preview, state) ? null : state.UndoneRun,
                },
                IntegrationService.Json
            );
        }

        if (leftOut)
        {
            // Those people did not change in the roster, so that a sync of changes would not look at them again. What had waited before a preview
            // was approved ended with that.
            IntegrationService.RequireFull(row, $"operation {operation.Id} left changes out");
        }
    }

    /// <summary>What the next run goes on from.</summary>
    private IntegrationState StateAfter(Operation operation, IntegrationState state, SyncCounts counts)
    {
        var plan = JsonSerializer.Deserialize<PlanOptions>(operation.Options, IntegrationService.Json)!;
        if (operation.Kind == OperationKind.ChangesSync)
        {
            // What waits for an approval is not done: the next changes sync reads it again.
            return state with
            {
                ChangesRan = true,
                Homerooms = plan.Homerooms,
                RolesTurn = state.RolesTurn is { } known && !(plan.RolesTurn < known) ? known : plan.RolesTurn,
                ChangesSince = counts.Held > 0 ? state.ChangesSince : plan.Cursor ?? plan.Began,
                Feed = counts.Held > 0 ? state.Feed : plan.Feed ?? state.Feed,
            };
        }

        var heardAll = HeardAll(plan, state);
        return state with
        {
            LastFullAt = plan.Began,
            FullEndedAt = time.GetUtcNow(),
            Revision = plan.Revision,
            ChangesSince = plan.Cursor ?? plan.Began,
            ChangesRan = false,
            Shared = plan.Shared,
            Homerooms = plan.Homerooms,
            RolesTurn = plan.RolesTurn,
            Feed = plan.Feed ?? state.Feed,
            // Settings that changed while it ran were not heeded.
            FullDue = state.ConfigVersion == plan.ConfigVersion && heardAll ? plan.FullDue : state.FullDue,
            UndoneRun = heardAll ? null : state.UndoneRun,
        };
    }

    /// <summary>Whoever demanded a full sync since the plan means what it does not know.</summary>
    private static bool HeardAll(PlanOptions plan, IntegrationState state) => state.FullAsked == (plan.FullAsked ?? state.FullAsked);

    /// <summary>The part of a plan's options that its end needs.</summary>
    private sealed record PlanOptions
    {
        public DateTimeOffset Began { get; init; }

        /// <summary>From when on the next changes sync asks; null in a plan of an earlier version.</summary>
        public DateTimeOffset? Cursor { get; init; }
        public string? Revision { get; init; }

        /// <summary>Why this did not read everything, so that the next one has to.</summary>
        public string? FullDue { get; init; }
        public DateOnly? RolesTurn { get; init; }
        public long ConfigVersion { get; init; }

        /// <summary>How often a full sync had been demanded; null in a plan of an earlier version.</summary>
        public long? FullAsked { get; init; }

        /// <summary>The newest operation whose decisions it knows; null in a plan of an earlier version.</summary>
        public long? Knows { get; init; }

        /// <summary>When it began to read the patrons; null in a plan of an earlier version.</summary>
        public DateTimeOffset? ReadAt { get; init; }
        public Dictionary<RoleGroup, long> Shared { get; init; } = [];
        public FeedState? Feed { get; init; }
        public KnownHomerooms? Homerooms { get; init; }
    }

    /// <param name="operation">The operation.</param>
    /// <param name="setup">Its district.</param>
    /// <param name="because">Why nothing was read.</param>
    /// <param name="cancellationToken">Gives up.</param>
    private async Task EndUnchangedAsync(Operation operation, SyncSetup setup, string because, CancellationToken cancellationToken)
    {
        await using (var context = database.CreateContext())
        {
            var options = JsonSerializer.Serialize(new { note = $"Nothing was read: {because}." }, OperationQueue.Json);
            await context
                .Operations.Where(o => o.Id == operation.Id && o.Fence == operation.Fence)
                .ExecuteUpdateAsync(s => s.SetProperty(o => o.Options, options), cancellationToken);
        }

        await EndAsync(
            operation,
            operation.PreviewOnly ? OperationStatus.Preview : OperationStatus.Completed,
            new SyncCounts(),
            [],
            cancellationToken
        );
        logger.LogInformation("The roster of {District} is unchanged since its last full sync", setup.District.Code);
    }

    private async Task EndAsync(
        Operation operation,
        OperationStatus status,
        SyncCounts counts,
        IReadOnlyList<WarningGroup> warnings,
        CancellationToken cancellationToken
    )
    {
        if (!await queue.FinishAsync(operation, status, counts, warnings, null, cancellationToken))
        {
            throw new FencedOffException();
        }
    }

    private static string N(long number) => number.ToString("N0", CultureInfo.InvariantCulture);
}
