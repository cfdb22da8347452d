using System.Globalization;
using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.Logging;
using Rollcall.Audit;
using Rollcall.Districts;
using Rollcall.Operations;
using Rollcall.Review;
using Rollcall.SignIn;
using Rollcall.Storage;

namespace Rollcall.Retention;

/// <summary>How long things are kept, and the nightly look whether something is older. Patrons are never removed by themselves.</summary>
public sealed class RetentionService(RollcallDatabase database, OperationQueue queue, TimeProvider time, ILogger<RetentionService> logger)
{
    /// <summary>Who asks, in logs and lists.</summary>
    public const string Actor = "Retention";

    /// <summary>The audit's word for a sign-in, which has a time of its own.</summary>
    public const string SignInAction = "sign-in";

    /// <summary>Before the syncs of the night, where the district is.</summary>
    private static readonly TimeOnly s_at = new(2, 0);

    private static readonly (string Name, int Least, int Most)[] s_bounds =
    [
        ("Logs", 30, 3660),
        ("The audit", 365, 36600),
        ("Sign-ins", 7, 3660),
    ];

    /// <summary>The district's times; the defaults where nothing is set.</summary>
    public async Task<RetentionSetting> FindAsync(int districtId, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        return await context.RetentionSettings.AsNoTracking().SingleOrDefaultAsync(r => r.DistrictId == districtId, cancellationToken)
            ?? new RetentionSetting { DistrictId = districtId };
    }

    /// <summary>Changes times; what is null stays.</summary>
    /// <exception cref="RollcallException">A time is too short or too long; nothing was changed.</exception>
    public async Task<RetentionSetting> SetAsync(
        int districtId,
        int? logDays,
        int? auditDays,
        int? signInDays,
        string actor,
        CancellationToken cancellationToken = default
    )
    {
        int?[] days = [logDays, auditDays, signInDays];
        for (var i = 0; i < days.Length; i++)
        {
            var (name, least, most) = s_bounds[i];
            if (days[i] is { } given && (given < least || given > most))
            {
                throw RollcallException.OfValue($"{name} can be kept for {least} to {most} days.");
            }
        }

        await using var work = await DistrictTransaction.BeginAsync(database, districtId, cancellationToken);
        var context = work.Context;
        var setting = await RowAsync(context, districtId, cancellationToken);
        setting.LogDays = logDays ?? setting.LogDays;
        setting.AuditDays = auditDays ?? setting.AuditDays;
        setting.SignInDays = signInDays ?? setting.SignInDays;
        context.AuditEntries.Add(
            new AuditEntry
            {
                DistrictId = districtId,
                At = time.GetUtcNow(),
                Actor = actor,
                Action = "retention",
                Details = string.Create(
                    CultureInfo.InvariantCulture,
                    $"logs {setting.LogDays} days, audit {setting.AuditDays}, sign-ins {setting.SignInDays}"
                ),
            }
        );
        await work.CommitAsync(cancellationToken);
        return setting;
    }

    /// <summary>Queues a run for every district where something is older than it is kept, once a local date whatever the number of nodes.</summary>
    /// <param name="alive">Hears of each district that was looked at.</param>
    /// <param name="cancellationToken">Gives up; what is queued stays so.</param>
    /// <returns>The operations queued by this call.</returns>
    public async Task<IReadOnlyList<long>> EnqueueDueAsync(Action? alive = null, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        var districts = await context.Districts.AsNoTracking().OrderBy(d => d.Id).ToListAsync(cancellationToken);
        var looked = await context
            .RetentionSettings.AsNoTracking()
            .ToDictionaryAsync(r => r.DistrictId, r => r.LookedOn, cancellationToken);
        var queued = new List<long>();
        await EveryDistrict.DoAsync(districts, d => d, LookAsync, logger, "what is older than it is kept", cancellationToken, alive);
        return queued;

        async Task LookAsync(District district)
        {
            var local = TimeZoneInfo.ConvertTime(time.GetUtcNow(), district.Zone).DateTime;
            var date = DateOnly.FromDateTime(local);
            if (TimeOnly.FromDateTime(local) < s_at || HasLooked(looked.GetValueOrDefault(district.Id), date))
            {
                return;
            }

            await using var work = await DistrictTransaction.BeginAsync(database, district.Id, cancellationToken);
            var setting = await RowAsync(work.Context, district.Id, cancellationToken);
            if (HasLooked(setting.LookedOn, date))
            {
                // Another node was faster.
                return;
            }

            setting.LookedOn = date;
            var due = await AnyAsync(work.Context, setting, cancellationToken);
            await work.CommitAsync(cancellationToken);
            if (due)
            {
                queued.Add(await EnqueueAsync(district.Id, Actor, cancellationToken));
            }
        }
    }

    /// <summary>A clock that had once jumped ahead wrote a date that is still to come: that is none. Clocks of several nodes differ a little.</summary>
    private static bool HasLooked(DateOnly? on, DateOnly today) => on >= today && on <= today.AddDays(1);

    /// <summary>Removes what is no district's and has had its time: answers that are kept for repetitions, sessions that ended, and lines of the
    /// installation's own audit, which are kept as long as a district's by default.</summary>
    public async Task TidyAsync(CancellationToken cancellationToken = default)
    {
        var now = time.GetUtcNow();
        var answers = now - IdempotentRequest.Kept;
        var (_, audit, signIns) = Before(new RetentionSetting(), now);
        await using var context = database.CreateContextAsOwner();
        await context
            .IdempotentRequests.Where(r => r.CreatedAt < answers || !context.AccessTokens.Any(t => t.Id == r.TokenId))
            .ExecuteDeleteAsync(cancellationToken);
        await context.SignInSessions.Where(s => s.ExpiresAt <= now).ExecuteDeleteAsync(cancellationToken);
        await context
            .AuditEntries.Where(a => a.DistrictId == 0 && a.At < (a.Action == SignInAction ? signIns : audit))
            .ExecuteDeleteAsync(cancellationToken);
    }

    /// <summary>Queues a run now.</summary>
    public async Task<long> EnqueueAsync(int districtId, string actor, CancellationToken cancellationToken = default) =>
        (
            await queue.EnqueueAsync(districtId, OperationKind.Retention, null, preview: false, actor, cancellationToken: cancellationToken)
        ).Id;

    /// <summary>What a run removed; null of other operations and before the end.</summary>
    public static Removed? RemovedBy(Operation operation) => ReportOf(operation)?.Removed;

    /// <summary>What a run removed, in words; null of other operations and before the end.</summary>
    public static string? NoteOf(Operation operation) => ReportOf(operation)?.Note;

    private static RetentionReport? ReportOf(Operation operation) =>
        operation.Kind == OperationKind.Retention && operation.Options != "{}"
            ? JsonSerializer.Deserialize<RetentionReport>(operation.Options, OperationQueue.Json)
            : null;

    /// <summary>The instants before which things are removed.</summary>
    internal static (DateTimeOffset Log, DateTimeOffset Audit, DateTimeOffset SignIns) Before(
        RetentionSetting setting,
        DateTimeOffset now
    ) => (now.AddDays(-setting.LogDays), now.AddDays(-setting.AuditDays), now.AddDays(-setting.SignInDays));

    /// <summary>Operations whose log is too old, as long as nothing of them waits for somebody. A plan that was interrupted while it was made
    /// never ended.</summary>
    internal static IQueryable<Operation> Old(RollcallContext context, int districtId, DateTimeOffset before) =>
        context.Operations.Where(o =>
            o.DistrictId == districtId
            && !o.Expired
            && (o.FinishedAt < before || (o.FinishedAt == null && o.CreatedAt < before))
            && o.Status != OperationStatus.Waiting
            && o.Status != OperationStatus.Running
            && o.Status != OperationStatus.NeedsApproval
        );

    private async Task<bool> AnyAsync(RollcallContext context, RetentionSetting setting, CancellationToken cancellationToken)
    {
        var (log, audit, signIns) = Before(setting, time.GetUtcNow());
        var id = setting.DistrictId;
        return await Old(context, id, log).AnyAsync(cancellationToken)
            || await context.AuditEntries.AnyAsync(
                a => a.DistrictId == id && ((a.At < audit && a.Action != SignInAction) || (a.At < signIns && a.Action == SignInAction)),
                cancellationToken
            )
            || await context.Notices.AnyAsync(
                n => n.DistrictId == id && n.CreatedAt < log && n.Status != NoticeStatus.Waiting,
                cancellationToken
            )
            || await context.ReviewItems.AnyAsync(
                r =>
                    r.DistrictId == id
                    && (
                        (r.Status == ReviewStatus.Settled && (r.CreatedAt < log || r.Values != "{}"))
                        || (r.Status != ReviewStatus.Open && r.Link != null)
                    ),
                cancellationToken
            )
            || await context.AccessTokens.AnyAsync(
                t => t.DistrictId == id && (t.ExpiresAt < log || (t.RevokedAt != null && t.RevokedAt < log)),
                cancellationToken
            );
    }

    private static async Task<RetentionSetting> RowAsync(RollcallContext context, int districtId, CancellationToken cancellationToken)
    {
        var setting = await context.RetentionSettings.SingleOrDefaultAsync(r => r.DistrictId == districtId, cancellationToken);
        if (setting is null)
        {
            setting = new RetentionSetting { DistrictId = districtId };
            context.RetentionSettings.Add(setting);
        }

        return setting;
    }
}

/// <summary>What a run did, in its operation's options.</summary>
/// <param name="Removed">The numbers.</param>
/// <param name="Note">The same for people.</param>
internal sealed record RetentionReport(Removed Removed, string Note);
