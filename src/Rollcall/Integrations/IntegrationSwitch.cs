using System.Globalization;
using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Storage;
using Rollcall.Sync;

namespace Rollcall.Integrations;

/// <summary>What a switch of the roster service cleared beside patrons and links, kept so that it can be undone. Secrets in it stay
/// protected.</summary>
public sealed class SwitchRecord
{
    public int DistrictId { get; set; }
    public long OperationId { get; set; }

    /// <summary><see cref="SwitchedOff"/> as JSON.</summary>
    public string Data { get; set; } = "{}";
}

/// <summary>What a switch clears.</summary>
internal enum SwitchScope
{
    /// <summary>The service on which people were linked is connected elsewhere: patrons, links, matches and connections of every service.</summary>
    All,

    /// <summary>The service is turned on in the place of one that had linked people: the same, but its own connection and matches stay.</summary>
    Others,

    /// <summary>The service is turned on, and what patrons carry is its own: connections and matches of the others.</summary>
    OthersMatches,

    /// <summary>A service that is only prepared is connected elsewhere: its own connection and matches.</summary>
    OwnMatches,
}

/// <summary>The district as it was before a switch, patrons and links aside: those stand in the operation's change rows.</summary>
internal sealed record SwitchedOff
{
    /// <summary>The service whose own connection and matches the switch left alone; null when it cleared those of every one.</summary>
    public IntegrationKind? Except { get; init; }

    /// <summary>The service whose connection and matches alone the switch cleared; null when it cleared those of others.</summary>
    public IntegrationKind? Only { get; init; }

    /// <summary>The switch left patrons, links and Review alone: they were those of the service that was on.</summary>
    public bool PatronsStayed { get; init; }
    public List<Integration> Integrations { get; init; } = [];
    public List<SiteOrg> Matches { get; init; } = [];
    public Dictionary<int, string> SiteGuids { get; init; } = [];
    public List<ReviewItem> Reviews { get; init; } = [];
}

/// <summary>Clears what the roster service that is left behind put on patrons and sites, as an operation, and brings it back.</summary>
internal static class IntegrationSwitch
{
    private const int BatchSize = 1000;

    /// <summary>Clears the identifiers.</summary>
    /// <param name="database">The database.</param>
    /// <param name="work">The district's transaction; the caller commits.</param>
    /// <param name="kind">The service that is turned to.</param>
    /// <param name="scope">What is cleared.</param>
    /// <param name="impact">What is there to clear.</param>
    /// <param name="actor">Who asked.</param>
    /// <param name="time">The clock.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>The operation.</returns>
    /// <exception cref="RollcallException">Something is at work in the district.</exception>
    public static async Task<long> ClearAsync(
        RollcallDatabase database,
        DistrictTransaction work,
        int districtId,
        IntegrationKind kind,
        SwitchScope scope,
        SwitchImpact impact,
        string actor,
        TimeProvider time,
        CancellationToken cancellationToken
    )
    {
        var context = work.Context.AllowLong();
        var matchesAlone = scope is SwitchScope.OthersMatches or SwitchScope.OwnMatches;
        IntegrationKind? except = scope is SwitchScope.Others or SwitchScope.OthersMatches ? kind : null;
        IntegrationKind? only = scope == SwitchScope.OwnMatches ? kind : null;
        var open = await context
            .Operations.Where(o => o.DistrictId == districtId && (only == null || o.Integration == only))
            .Where(o => o.Status == OperationStatus.Running || o.Status == OperationStatus.Waiting)
            // It writes nobody, and notices by itself that it reads a roster that is left.
            .Where(o => o.Kind != OperationKind.Readiness)
            .Select(o => (long?)o.Id)
            .FirstOrDefaultAsync(cancellationToken);
        if (open is not null)
        {
            throw AtWork(open.Value);
        }

        var now = time.GetUtcNow();
        var operation = new Operation
        {
            DistrictId = districtId,
            Kind = OperationKind.Switch,
            Integration = kind,
            Status = OperationStatus.Completed,
            Stage = OperationStage.Finished,
            RequestedBy = actor,
            CreatedAt = now,
            StartedAt = now,
            FinishedAt = now,
            Planned = true,
            Options = JsonSerializer.Serialize(
                new
                {
                    to = kind.ToString(),
                    guids = impact.Guids,
                    links = impact.Links,
                    siteGuids = impact.SiteGuids,
                    matches = impact.Matches,
                },
                OperationQueue.Json
            ),
        };
        context.Operations.Add(operation);
        await context.SaveChangesAsync(cancellationToken);
        context.Add(
            new SwitchRecord
            {
                DistrictId = districtId,
                OperationId = operation.Id,
                Data = JsonSerializer.Serialize(
                    await ReadAsync(context, districtId, except, only, matchesAlone, cancellationToken),
                    IntegrationService.Json
                ),
            }
        );

        var rows = matchesAlone ? 0 : await WriteRowsAsync(database, work, districtId, operation.Id, cancellationToken);
        operation.PlanSize = rows;
        operation.AppliedTo = rows;
        operation.Counts = JsonSerializer.Serialize(new SyncCounts { Read = rows, Updated = rows }, OperationQueue.Json);
        // What waits was planned from the roster that is left behind.
        await OlderPlans.EndAsync(
            context,
            context
                .Operations.Where(o =>
                    o.DistrictId == districtId && (!matchesAlone || (only == null ? o.Integration != kind : o.Integration == kind))
                )
                .Where(o => o.Kind == OperationKind.FullSync || o.Kind == OperationKind.ChangesSync || o.Kind == OperationKind.PersonSync)
                .Where(o => o.Status == OperationStatus.NeedsApproval || o.Status == OperationStatus.Preview),
            matchesAlone
                ? $"Its site matches were cleared by operation {operation.Id}."
                : $"The service was switched by operation {operation.Id}.",
            now,
            cancellationToken
        );
        if (!matchesAlone)
        {
            await context.PatronLinks.Where(l => l.DistrictId == districtId).ExecuteDeleteAsync(cancellationToken);
            await context.HomeroomParts.Where(h => h.DistrictId == districtId).ExecuteDeleteAsync(cancellationToken);
            await context.ReviewItems.Where(r => r.DistrictId == districtId).ExecuteDeleteAsync(cancellationToken);

            // At the very last: whoever follows changes looks back no longer than this may take.
            work.AtLast = () => ClearGuidsAsync(context, districtId, time.GetUtcNow(), cancellationToken);
        }

        await context
            .SiteOrgs.Where(o => o.DistrictId == districtId && (except == null || o.Kind != except) && (only == null || o.Kind == only))
            .ExecuteDeleteAsync(cancellationToken);
        if (only is null)
        {
            await IntegrationService.SetSiteGuidsAsync(context, districtId, kind, cancellationToken);
        }

        foreach (
            var row in await context
                .Integrations.Where(i => i.DistrictId == districtId && i.Kind != except && (only == null || i.Kind == only))
                .ToListAsync(cancellationToken)
        )
        {
            row.State = "{}";
            row.Settings = JsonSerializer.Serialize(
                IntegrationService.SettingsOf(row) with
                {
                    TenantId = null,
                    ApplicationId = null,
                    DistrictName = null,
                    Mode = null,
                    NotServed = [],
                },
                IntegrationService.Json
            );
            row.Secret = null;
        }

        return operation.Id;
    }

    public static RollcallException AtWork(long operation) =>
        new(
            $"Operation {operation} is at work and would link people to the roster that is left behind. Wait for its end or cancel it, then switch."
        );

    private static Task<int> ClearGuidsAsync(
        RollcallContext context,
        int districtId,
        DateTimeOffset now,
        CancellationToken cancellationToken
    ) =>
        context
            .Patrons.Where(p => p.DistrictId == districtId && p.Guid != null)
            .ExecuteUpdateAsync(
                s =>
                    s.SetProperty(p => p.Guid, (string?)null)
                        .SetProperty(p => p.Version, p => p.Version + 1)
                        .SetProperty(p => p.UpdatedAt, now),
                cancellationToken
            );

    /// <summary>The last switch after an operation that cleared what patrons had of a roster and was not taken back; null when there is none.</summary>
    public static Task<long?> ClearedSinceAsync(RollcallContext context, Operation operation, CancellationToken cancellationToken) =>
        context
            .Operations.Where(o => o.DistrictId == operation.DistrictId && o.Id > operation.Id && o.Kind == OperationKind.Switch)
            // One that left patrons alone has no rows.
            .Where(o => o.Status != OperationStatus.Undone && o.AppliedTo > 0)
            .MaxAsync(o => (long?)o.Id, cancellationToken);

    /// <summary>The last merge since a switch that took out somebody whom the switch had cleared, as long as it can be taken back: their id of the
    /// roster would come back to nobody.</summary>
    private static Task<long?> MergedSinceAsync(RollcallContext context, Operation operation, CancellationToken cancellationToken)
    {
        var cleared = context.Changes.Where(c => c.DistrictId == operation.DistrictId && c.OperationId == operation.Id);
        return context
            .Operations.Where(o => o.DistrictId == operation.DistrictId && o.Id > operation.Id && o.Kind == OperationKind.Merge)
            .Where(o => o.Status != OperationStatus.Undone && !o.Expired)
            .Where(o =>
                context.Changes.Any(c =>
                    c.DistrictId == o.DistrictId
                    && c.OperationId == o.Id
                    && c.Kind == ChangeKind.Remove
                    && cleared.Any(s => s.PatronId == c.PatronId)
                )
            )
            .MaxAsync(o => (long?)o.Id, cancellationToken);
    }

    /// <summary>A service beside the one that was turned to, whose connection the switch cleared and which somebody has connected again since,
    /// by the same address perhaps but with a newer secret.</summary>
    private static async Task<IntegrationKind?> ConnectedAgainAsync(
        RollcallContext context,
        Operation operation,
        SwitchedOff was,
        CancellationToken cancellationToken
    )
    {
        foreach (
            var row in await context
                .Integrations.AsNoTracking()
                .Where(i => i.DistrictId == operation.DistrictId && i.Kind != operation.Integration)
                .ToListAsync(cancellationToken)
        )
        {
            if (IsConnected(row) && IsConnected(was.Integrations.Find(i => i.Kind == row.Kind)))
            {
                return row.Kind;
            }
        }

        return null;
    }

    private static Task<bool> IsOnAsync(RollcallContext context, int district, IntegrationKind kind, CancellationToken cancellationToken) =>
        context.Integrations.AnyAsync(i => i.DistrictId == district && i.Kind == kind && i.Enabled, cancellationToken);

    /// <summary>The roster under a service that is on is not exchanged by an undo: people sign in by it, and nights read it.</summary>
    private static string OnSince(Operation operation, IntegrationKind kind) =>
        $"{IntegrationWords.Name(kind)} has been turned on since operation {operation.Id}. Turn it off first, then undo: it would be on with the connection from before.";

    private static bool IsConnected(Integration? row) => IntegrationService.SettingsOf(row).Mode is not null;

    /// <summary>The tenant that ClassLink would be on with after the undo and that the district may not read any more: sign-in goes by the tenants
    /// of services that are on, and would let nobody in where two districts had one. Null when there is none.</summary>
    private static async Task<string?> ForeignTenantAsync(
        RollcallContext context,
        int district,
        SwitchedOff was,
        CancellationToken cancellationToken
    )
    {
        if (was.Only is not null || was.Integrations.Find(i => i is { Enabled: true, Kind: IntegrationKind.ClassLink }) is not { } then)
        {
            return null;
        }

        var row =
            was.Except == IntegrationKind.ClassLink
                ? await context
                    .Integrations.AsNoTracking()
                    .SingleOrDefaultAsync(i => i.DistrictId == district && i.Kind == IntegrationKind.ClassLink, cancellationToken)
                : then;
        return
            IntegrationService.SettingsOf(row).TenantId is { } tenant
            && !await context.DistrictTenants.AnyAsync(t => t.TenantId == tenant && t.DistrictId == district, cancellationToken)
            ? tenant
            : null;
    }

    /// <summary>Why a switch cannot be taken back now; null when it can.</summary>
    public static async Task<string?> RefusalAsync(RollcallContext context, Operation operation, CancellationToken cancellationToken)
    {
        var district = operation.DistrictId;
        if (!await context.Set<SwitchRecord>().AnyAsync(r => r.DistrictId == district && r.OperationId == operation.Id, cancellationToken))
        {
            return $"Operation {operation.Id} kept no record of what it cleared: it cannot be undone.";
        }

        var was = await RecordAsync(context, operation, cancellationToken);
        if (await ForeignTenantAsync(context, district, was, cancellationToken) is { } foreign)
        {
            return $"Before operation {operation.Id}, ClassLink read tenant {foreign}, which this installation's operator took back since: it cannot be turned on with that one again. Stay with what is connected now, or ask the operator to allow this district the tenant, then undo.";
        }

        if (was.PatronsStayed)
        {
            var later = await context
                .Operations.Where(o =>
                    o.DistrictId == district && o.Kind == OperationKind.Switch && o.Id > operation.Id && o.Status != OperationStatus.Undone
                )
                .MaxAsync(o => (long?)o.Id, cancellationToken);
            if (was.Only is { } own)
            {
                if (await IsOnAsync(context, district, own, cancellationToken))
                {
                    return OnSince(operation, own);
                }

                var linking = await context
                    .Operations.Where(o =>
                        o.DistrictId == district && o.Id > operation.Id && o.Integration == own && o.Status != OperationStatus.Undone
                    )
                    .Where(o => o.AppliedTo > 0 || o.HeldAppliedTo > 0)
                    // An undo of one is done: it is not to be undone itself.
                    .Where(o =>
                        o.Kind == OperationKind.FullSync || o.Kind == OperationKind.ChangesSync || o.Kind == OperationKind.PersonSync
                    )
                    .MaxAsync(o => (long?)o.Id, cancellationToken);
                var after = later ?? linking;
                return after is null
                    ? null
                    : $"Since operation {operation.Id}, people were linked or services switched. Undo operation {after} first, then this one.";
            }

            if (later is not null)
            {
                return $"Since operation {operation.Id}, another service was turned on. Undo operation {later} first, then this one.";
            }
        }

        if (await ConnectedAgainAsync(context, operation, was, cancellationToken) is { } again)
        {
            return $"{IntegrationWords.Name(again)} has been connected again since operation {operation.Id}: what that one cleared cannot come back over it.";
        }

        if (was.PatronsStayed)
        {
            return null;
        }

        if (await MergedSinceAsync(context, operation, cancellationToken) is { } merged)
        {
            return $"Since operation {operation.Id}, operation {merged} made one record of two that it had cleared. Undo operation {merged} first, then this one.";
        }

        // Whom an undo of this switch brought back before it was stopped is linked to no other roster.
        var undos = context.Operations.Where(o =>
            o.DistrictId == district && o.Kind == OperationKind.Undo && o.SubjectId == operation.Id && o.AppliedTo > 0
        );
        var linked = await context.Patrons.CountAsync(
            p =>
                p.DistrictId == district
                && p.Guid != null
                && !context.Changes.Any(c =>
                    c.DistrictId == district
                    && c.PatronId == p.Id
                    && c.RosterId == p.Guid
                    && !c.Stale
                    && undos.Any(o => o.Id == c.OperationId && c.Number <= o.AppliedTo)
                ),
            cancellationToken
        );
        if (linked == 0 && !await undos.AnyAsync(cancellationToken))
        {
            return null;
        }

        var since = await context
            .Operations.AsNoTracking()
            .Where(o => o.DistrictId == district && o.Id > operation.Id && o.AppliedTo > 0 && o.Status != OperationStatus.Undone)
            .Where(o =>
                o.Kind == OperationKind.FullSync
                || o.Kind == OperationKind.ChangesSync
                || o.Kind == OperationKind.PersonSync
                || o.Kind == OperationKind.Switch
            )
            .OrderByDescending(o => o.Id)
            .Select(o => (long?)o.Id)
            .FirstOrDefaultAsync(cancellationToken);
        return linked == 0 && since is null
            ? null
            : $"Since operation {operation.Id}, "
                + (
                    linked == 0
                        ? "syncs have read another roster. "
                        : string.Create(CultureInfo.InvariantCulture, $"{linked} patrons were linked to another roster. ")
                )
                + (since is { } last ? $"Undo operation {last} first, then this one." : "Take those links off first.");
    }

    /// <summary>Brings back connection, matches, site GUIDs and what waited in Review, in the transaction that ends the undo.</summary>
    /// <param name="context">The context.</param>
    /// <param name="operation">The switch.</param>
    /// <param name="now">The time.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>The tenant with which ClassLink was not turned on, because the operator has taken it back; null for none.</returns>
    public static async Task<string?> RestoreAsync(
        RollcallContext context,
        Operation operation,
        DateTimeOffset now,
        CancellationToken cancellationToken
    )
    {
        var district = operation.DistrictId;
        var was = await RecordAsync(context, operation, cancellationToken);
        await EndPlansAsync(
            context,
            district,
            was.Only,
            $"Operation {operation.Id}, a switch of the roster service, was undone.",
            now,
            cancellationToken
        );
        if (was.Only is { } own)
        {
            await RestoreOwnAsync(context, operation, own, was, cancellationToken);
            return null;
        }

        var rows = await context.Integrations.Where(i => i.DistrictId == district).ToListAsync(cancellationToken);
        var on = was.Integrations.Find(i => i.Enabled)?.Kind;
        var foreign = await ForeignTenantAsync(context, district, was, cancellationToken);
        if (foreign is not null)
        {
            // The operator took it back while this was at work: what was linked is brought back, and nothing is read or let in by it.
            on = null;
        }

        // Where the switch found no connection it took none: what somebody has prepared there since stays. Where it took one, a newer one was looked
        // for before this began: whoever connected while it was at work has the last word.
        var prepared = rows.Where(r => r.Kind != operation.Integration && IsConnected(r)).Select(r => r.Kind).ToList();
        foreach (var row in rows)
        {
            if (row.Kind != on)
            {
                await OperationQueue.StopSyncsAsync(
                    context,
                    row,
                    $"Operation {operation.Id}, which turned this service on, was undone.",
                    now,
                    cancellationToken
                );
            }

            row.Enabled = false;
        }

        // At most one is on, at every moment.
        await context.SaveChangesAsync(cancellationToken);
        foreach (var old in was.Integrations)
        {
            var row = rows.Find(r => r.Kind == old.Kind);
            if (row is null)
            {
                row = new Integration
                {
                    DistrictId = district,
                    Kind = old.Kind,
                    Settings = old.Settings,
                };
                context.Integrations.Add(row);
            }

            row.Enabled = old.Kind == on;
            if (old.Kind != was.Except && !prepared.Contains(old.Kind))
            {
                BringBack(row, old);
            }
            else if (!was.PatronsStayed && old.Kind == was.Except)
            {
                // Nobody is linked by it any more: what its syncs remember is of no use.
                row.State = "{}";
            }

            if (row.Enabled)
            {
                IntegrationService.Begin(row, now);
            }

            IntegrationService.RequireFull(row, $"operation {operation.Id} was undone");
        }

        await context
            .SiteOrgs.Where(o => o.DistrictId == district && (was.Except == null || o.Kind != was.Except) && !prepared.Contains(o.Kind))
            .ExecuteDeleteAsync(cancellationToken);
        var sites = await context.Sites.Where(s => s.DistrictId == district).ToListAsync(cancellationToken);
        var known = sites.Select(s => s.Id).ToHashSet();
        context.SiteOrgs.AddRange(was.Matches.Where(m => known.Contains(m.SiteId) && !prepared.Contains(m.Kind)));
        foreach (var site in sites)
        {
            var former = was.SiteGuids.GetValueOrDefault(site.Id);
            site.Guid = was.PatronsStayed ? site.Guid ?? former : former;
        }

        if (!was.PatronsStayed)
        {
            await context.ReviewItems.Where(r => r.DistrictId == district).ExecuteDeleteAsync(cancellationToken);
            context.ReviewItems.AddRange(was.Reviews);
        }

        return foreign;
    }

    /// <summary>Ends what waits and was planned from the roster that is left behind.</summary>
    /// <param name="context">The context.</param>
    /// <param name="district">The district.</param>
    /// <param name="only">The service whose syncs alone these are; null for those of every one.</param>
    /// <param name="why">What they say.</param>
    /// <param name="now">The time.</param>
    /// <param name="cancellationToken">Gives up.</param>
    private static async Task EndPlansAsync(
        RollcallContext context,
        int district,
        IntegrationKind? only,
        string why,
        DateTimeOffset now,
        CancellationToken cancellationToken
    )
    {
        var syncs = context
            .Operations.Where(o => o.DistrictId == district && (only == null || o.Integration == only))
            .Where(o => o.Kind == OperationKind.FullSync || o.Kind == OperationKind.ChangesSync || o.Kind == OperationKind.PersonSync);
        await OlderPlans.EndAsync(
            context,
            syncs.Where(o => o.Status == OperationStatus.NeedsApproval || o.Status == OperationStatus.Preview),
            why,
            now,
            cancellationToken
        );
        foreach (
            var one in await syncs
                .AsNoTracking()
                .Where(o => o.Status == OperationStatus.Waiting && o.Planned)
                .OrderBy(o => o.Id)
                .ToListAsync(cancellationToken)
        )
        {
            var counts = await OlderPlans.WrittenAsync(context, one, cancellationToken);
            await syncs
                .Where(o => o.Id == one.Id && o.Status == OperationStatus.Waiting)
                .ExecuteUpdateAsync(
                    s =>
                        s.SetProperty(o => o.Status, OperationStatus.Superseded)
                            .SetProperty(o => o.NotBefore, (DateTimeOffset?)null)
                            .SetProperty(o => o.Error, $"{why} What still waited here was not written.")
                            .SetProperty(o => o.Counts, counts)
                            .SetProperty(o => o.FinishedAt, now),
                    cancellationToken
                );
        }
    }

    /// <summary>Connection and matches of a service that was only prepared. Which one is on, and what it wrote, is none of its business.</summary>
    private static async Task RestoreOwnAsync(
        RollcallContext context,
        Operation operation,
        IntegrationKind own,
        SwitchedOff was,
        CancellationToken cancellationToken
    )
    {
        var district = operation.DistrictId;
        if (await IsOnAsync(context, district, own, cancellationToken))
        {
            // Turned on while this was at work.
            throw new RollcallException(OnSince(operation, own));
        }

        foreach (var old in was.Integrations)
        {
            if (
                await context.Integrations.SingleOrDefaultAsync(i => i.DistrictId == district && i.Kind == old.Kind, cancellationToken) is
                { } row
            )
            {
                BringBack(row, old);
                IntegrationService.RequireFull(row, $"operation {operation.Id} was undone");
            }
        }

        await context.SiteOrgs.Where(o => o.DistrictId == district && o.Kind == own).ExecuteDeleteAsync(cancellationToken);
        var known = (await context.Sites.Where(s => s.DistrictId == district).Select(s => s.Id).ToListAsync(cancellationToken)).ToHashSet();
        context.SiteOrgs.AddRange(was.Matches.Where(m => known.Contains(m.SiteId)));
        if (!await context.Integrations.AnyAsync(i => i.DistrictId == district && i.Enabled && i.Kind != own, cancellationToken))
        {
            await context.SaveChangesAsync(cancellationToken);
            await IntegrationService.SetSiteGuidsAsync(context, district, own, cancellationToken);
        }
    }

    /// <summary>The connection that a switch took, with what syncs by it remembered. Everything else that somebody has set since stays: a switch
    /// takes none of it.</summary>
    private static void BringBack(Integration row, Integration old)
    {
        var then = IntegrationService.SettingsOf(old);
        var back = IntegrationService.WithConnection(IntegrationService.SettingsOf(row), then);
        row.Settings = JsonSerializer.Serialize(
            back with
            {
                NotServed = then.NotServed,
                Login = back.Login with { ConfirmedTenant = then.Login.ConfirmedTenant },
            },
            IntegrationService.Json
        );
        (row.Secret, row.State) = (old.Secret, old.State);
    }

    private static async Task<SwitchedOff> RecordAsync(RollcallContext context, Operation operation, CancellationToken cancellationToken)
    {
        var record = await context
            .Set<SwitchRecord>()
            .AsNoTracking()
            .SingleAsync(r => r.DistrictId == operation.DistrictId && r.OperationId == operation.Id, cancellationToken);
        return JsonSerializer.Deserialize<SwitchedOff>(record.Data, IntegrationService.Json)!;
    }

    private static async Task<SwitchedOff> ReadAsync(
        RollcallContext context,
        int districtId,
        IntegrationKind? except,
        IntegrationKind? only,
        bool matchesAlone,
        CancellationToken cancellationToken
    )
    {
        var integrations = await context
            .Integrations.AsNoTracking()
            .Where(i => i.DistrictId == districtId && (only == null || i.Kind == only))
            .ToListAsync(cancellationToken);

        // What is set aside is kept for long.
        integrations.ForEach(ReadinessService.Forget);
        return new()
        {
            Except = except,
            Only = only,
            PatronsStayed = matchesAlone,
            Integrations = integrations,
            Matches = await context
                .SiteOrgs.AsNoTracking()
                .Where(o => o.DistrictId == districtId && (except == null || o.Kind != except) && (only == null || o.Kind == only))
                .ToListAsync(cancellationToken),
            SiteGuids = await context
                .Sites.AsNoTracking()
                .Where(s => s.DistrictId == districtId && s.Guid != null)
                .ToDictionaryAsync(s => s.Id, s => s.Guid!, cancellationToken),
            Reviews = await context.ReviewItems.AsNoTracking().Where(r => r.DistrictId == districtId).ToListAsync(cancellationToken),
        };
    }

    /// <summary>One change row for each patron who has a GUID or a link.</summary>
    private static async Task<long> WriteRowsAsync(
        RollcallDatabase database,
        DistrictTransaction work,
        int districtId,
        long operationId,
        CancellationToken cancellationToken
    )
    {
        var after = long.MinValue;
        long number = 0;
        while (true)
        {
            var batch = await work
                .Context.Patrons.AsNoTracking()
                .Where(p => p.DistrictId == districtId && p.Id > after)
                .GroupJoin(
                    work.Context.PatronLinks.AsNoTracking().Where(l => l.DistrictId == districtId),
                    p => p.Id,
                    l => l.PatronId,
                    (p, l) => new { Patron = p, Links = l }
                )
                .SelectMany(
                    x => x.Links.DefaultIfEmpty(),
                    (x, l) =>
                        new
                        {
                            x.Patron.Id,
                            x.Patron.Guid,
                            x.Patron.SiteId,
                            Link = l,
                        }
                )
                .Where(x => x.Guid != null || x.Link != null)
                .OrderBy(x => x.Id)
                .Take(BatchSize)
                .ToListAsync(cancellationToken);
            if (batch.Count == 0)
            {
                return number;
            }

            after = batch[^1].Id;
            var rows = new List<Change>(batch.Count);
            foreach (var patron in batch)
            {
                var values = new ChangeValues();
                if (patron.Guid is not null)
                {
                    values.Add(PatronFields.Guid, patron.Guid, null);
                }

                rows.Add(
                    new Change
                    {
                        DistrictId = districtId,
                        OperationId = operationId,
                        Number = ++number,
                        Kind = ChangeKind.Update,
                        Outcome = Outcome.Updated,
                        PatronId = patron.Id,
                        RosterId = patron.Guid,
                        SiteId = patron.SiteId,
                        RoleGroup = patron.Link?.RoleGroup ?? RoleGroup.None,
                        Values = values.ToJson(),
                        Link = patron.Link is null ? null : LinkState.Removed,
                        LinkBefore = patron.Link is null ? null : LinkState.Of(patron.Link).ToJson(),
                        Reason = "The roster service was switched: no longer linked to the one that was left",
                    }
                );
            }

            await database.Bulk.InsertAsync(work.Connection, work.Transaction, BulkTables.Changes, rows, cancellationToken);
        }
    }
}
