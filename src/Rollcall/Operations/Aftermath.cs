using System.Globalization;
using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Storage;

namespace Rollcall.Operations;

/// <summary>What follows from the end of an operation, whoever worked on it: notices are queued, and a district whose nights keep failing
/// is set aside until a sync succeeds. An operation is settled once, on any number of nodes, and a crash loses nothing.</summary>
public sealed class Aftermath(RollcallDatabase database, RollcallOptions options, TimeProvider time)
{
    /// <summary>Nights in a row that fail before Daily Operations of a district stop by themselves.</summary>
    internal const int FailedNights = 5;

    private const int MostAtOnce = 100;

    /// <summary>Settles what has ended. One that cannot be settled keeps no other from it.</summary>
    /// <returns>How many operations.</returns>
    /// <exception cref="AggregateException">Some could not be settled.</exception>
    public Task<int> SettleAsync(CancellationToken cancellationToken = default) => SettleSomeAsync(null, cancellationToken);

    /// <summary>Settles all of a district's that has ended.</summary>
    /// <exception cref="AggregateException">Some could not be settled.</exception>
    public async Task SettleAsync(int districtId, CancellationToken cancellationToken)
    {
        while (await SettleSomeAsync(districtId, cancellationToken) == MostAtOnce) { }
    }

    private async Task<int> SettleSomeAsync(int? districtId, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        var all = context.Operations.Where(o => !o.Settled && o.FinishedAt != null && (districtId == null || o.DistrictId == districtId));
        await all.Where(o => o.Kind != OperationKind.FullSync && o.Kind != OperationKind.ChangesSync)
            .ExecuteUpdateAsync(s => s.SetProperty(o => o.Settled, true), cancellationToken);
        var ended = await all.AsNoTracking()
            .OrderBy(o => o.Id)
            .Take(MostAtOnce)
            .Select(o => new { o.Id, o.DistrictId })
            .ToListAsync(cancellationToken);
        var failed = new List<Exception>();
        foreach (var operation in ended)
        {
            try
            {
                await SettleAsync(operation.DistrictId, operation.Id, cancellationToken);
            }
            catch (Exception e) when (e is not OperationCanceledException)
            {
                failed.Add(new InvalidOperationException($"Operation {operation.Id} could not be settled: {e.Message}", e));
            }
        }

        return failed.Count == 0 ? ended.Count : throw new AggregateException(failed);
    }

    private async Task SettleAsync(int districtId, long id, CancellationToken cancellationToken)
    {
        await using var connection = await database.OpenAsync(cancellationToken);
        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
        await database.Bulk.LockDistrictAsync(connection, transaction, districtId, cancellationToken);
        await using var context = database.CreateContext(connection, transaction);
        var mine = await context
            .Operations.Where(o => o.Id == id && !o.Settled && o.FinishedAt != null)
            .ExecuteUpdateAsync(s => s.SetProperty(o => o.Settled, true), cancellationToken);
        if (mine == 1)
        {
            var operation = await context.Operations.AsNoTracking().SingleAsync(o => o.Id == id, cancellationToken);
            var district = await context.Districts.AsNoTracking().SingleAsync(d => d.Id == districtId, cancellationToken);
            var integration = await context.Integrations.SingleOrDefaultAsync(
                i => i.DistrictId == districtId && i.Kind == operation.Integration,
                cancellationToken
            );
            var stopped = integration is not null && await JudgeNightsAsync(context, operation, integration, cancellationToken);
            await QueueNoticesAsync(context, operation, district, stopped, cancellationToken);
            await context.SaveChangesAsync(cancellationToken);
        }

        await transaction.CommitAsync(cancellationToken);
    }

    /// <returns>Daily Operations have just been stopped.</returns>
    private async Task<bool> JudgeNightsAsync(
        RollcallContext context,
        Operation operation,
        Integration integration,
        CancellationToken cancellationToken
    )
    {
        if (
            operation is
            {
                PreviewOnly: false,
                // What is approved was read before: that it can be written proves nothing of the nights.
                ApprovedAt: null,
                Status: OperationStatus.Completed or OperationStatus.CompletedWithWarnings or OperationStatus.NeedsApproval
            }
        )
        {
            if (IntegrationService.ResumeAfterFailures(integration, time.GetUtcNow()))
            {
                Audit(context, operation, "resume", $"Operation {operation.Id} succeeded: Daily Operations go on");
            }

            return false;
        }

        if (
            operation is not { Status: OperationStatus.Failed, DailyDate: not null }
            || StaleFeed.Since(operation.Options) is not null
            || !integration.Enabled
            || IntegrationService.SettingsOf(integration).Daily.StoppedBecause is not null
        )
        {
            return false;
        }

        var nights = await context
            .Operations.AsNoTracking()
            .Where(o => o.DistrictId == operation.DistrictId && o.Integration == operation.Integration && o.Id <= operation.Id)
            .Where(o => o.Kind == OperationKind.FullSync || o.Kind == OperationKind.ChangesSync)
            .Where(o => !o.PreviewOnly && o.FinishedAt != null && o.Status != OperationStatus.Cancelled)
            // That somebody tried between two nights, and failed too, brings nobody back.
            .Where(o => o.DailyDate != null || o.Status != OperationStatus.Failed)
            .OrderByDescending(o => o.Id)
            .Take(FailedNights)
            .Select(o => new { Failed = o.Status == OperationStatus.Failed && o.DailyDate != null, o.Options })
            .ToListAsync(cancellationToken);

        // A folder that could be looked into, and in which nothing had come, is no fault that lasts.
        if (nights.Count < FailedNights || nights.Exists(n => !n.Failed || StaleFeed.Since(n.Options) is not null))
        {
            return false;
        }

        IntegrationService.StopDaily(
            integration,
            $"{FailedNights} nights in a row failed, the last one because: {operation.Error?.TrimEnd('.')}. Mend that, then run Sync Now: when it succeeds, the nights go on by themselves.",
            byFailures: true
        );
        Audit(context, operation, "stop", $"{FailedNights} nights in a row failed: Daily Operations are stopped");
        return true;
    }

    private void Audit(RollcallContext context, Operation operation, string action, string details) =>
        context.AuditEntries.Add(
            new Audit.AuditEntry
            {
                DistrictId = operation.DistrictId,
                At = time.GetUtcNow(),
                Actor = DailySchedule.Actor,
                Action = action,
                Details = details,
            }
        );

    private static NoticeEvents EventOf(Operation operation) =>
        operation switch
        {
            { PreviewOnly: true, ApprovedAt: null } => NoticeEvents.None,
            { Status: OperationStatus.Failed } => NoticeEvents.Failed,
            { Status: OperationStatus.NeedsApproval } => NoticeEvents.Held,
            { Status: OperationStatus.CompletedWithWarnings } => NoticeEvents.Warnings,
            { Status: OperationStatus.Completed, DailyDate: not null } => NoticeEvents.Completed,
            _ => NoticeEvents.None,
        };

    private async Task QueueNoticesAsync(
        RollcallContext context,
        Operation operation,
        District district,
        bool stopped,
        CancellationToken cancellationToken
    )
    {
        var told = EventOf(operation);
        var setting = await context.NoticeSettings.AsNoTracking().SingleOrDefaultAsync(n => n.DistrictId == district.Id, cancellationToken);
        if (setting is null || told == NoticeEvents.None || (setting.Events & told) == NoticeEvents.None)
        {
            return;
        }

        var now = time.GetUtcNow();
        Notice Of(NoticeChannel channel, string target, string body) =>
            new()
            {
                DistrictId = district.Id,
                OperationId = operation.Id,
                Channel = channel,
                Target = target,
                Event = told,
                Subject = Subject(operation, district, told, stopped),
                Body = body,
                DueAt = now,
                CreatedAt = now,
            };
        var have =
            told == NoticeEvents.Held ? await HaveHeardAsync(context, operation, cancellationToken)
            : told == NoticeEvents.Failed && StaleFeed.Since(operation.Options) is { } since
                ? await HaveHeardOfStaleAsync(context, operation, since, cancellationToken)
            : [];
        context.Notices.AddRange(
            setting
                .Addresses.Where(a => !have.Contains((NoticeChannel.Email, a)))
                .Select(a => Of(NoticeChannel.Email, a, Letter(operation, district, told, stopped, options.PublicUrl)))
        );
        if (setting.WebhookUrl is { } url && !have.Contains((NoticeChannel.Webhook, url)))
        {
            context.Notices.Add(Of(NoticeChannel.Webhook, url, Payload(operation, district, told, stopped, options.PublicUrl)));
        }
    }

    /// <summary>Where nothing of a hold is news: all of it waits with what older operations hold, and of each of these the place was told, by its own
    /// notice or by that of a night between. What was given up told nobody.</summary>
    private static async Task<HashSet<(NoticeChannel, string)>> HaveHeardAsync(
        RollcallContext context,
        Operation operation,
        CancellationToken cancellationToken
    )
    {
        var holds = HeldWith(operation.Options);
        if (holds.Count == 0)
        {
            return [];
        }

        var sent = await context
            .Notices.Where(n => n.DistrictId == operation.DistrictId && n.Event == NoticeEvents.Held && n.Status != NoticeStatus.Failed)
            .Where(n => n.OperationId >= holds.Min() && n.OperationId < operation.Id)
            .Select(n => new
            {
                Of = n.OperationId!.Value,
                n.Channel,
                n.Target,
            })
            .ToListAsync(cancellationToken);
        var operations = sent.Select(n => n.Of).Distinct().ToArray();
        var tell = await context
            .Operations.Where(o => operations.Contains(o.Id))
            .Select(o => new { o.Id, o.Options })
            .ToDictionaryAsync(o => o.Id, o => HeldWith(o.Options), cancellationToken);
        return
        [
            .. sent.GroupBy(n => (n.Channel, n.Target))
                .Where(place => holds.All(h => place.Any(n => n.Of == h || tell.GetValueOrDefault(n.Of, []).Contains(h))))
                .Select(place => place.Key),
        ];
    }

    /// <summary>Who was told that a folder brings nothing new hears of it again when something has come and it rests once more. What was given up told
    /// nobody.</summary>
    private static async Task<HashSet<(NoticeChannel, string)>> HaveHeardOfStaleAsync(
        RollcallContext context,
        Operation operation,
        DateTimeOffset since,
        CancellationToken cancellationToken
    )
    {
        var sent = await context
            .Notices.Where(n => n.DistrictId == operation.DistrictId && n.Event == NoticeEvents.Failed && n.Status != NoticeStatus.Failed)
            .Where(n => n.OperationId < operation.Id && n.CreatedAt >= since)
            .Join(
                context.Operations.Where(o => o.DistrictId == operation.DistrictId),
                n => n.OperationId,
                o => o.Id,
                (n, o) =>
                    new
                    {
                        n.Channel,
                        n.Target,
                        o.Options,
                    }
            )
            .ToListAsync(cancellationToken);
        return [.. sent.Where(s => StaleFeed.Since(s.Options) == since).Select(s => (s.Channel, s.Target))];
    }

    private static IReadOnlyList<long> HeldWith(string planOptions) =>
        JsonSerializer.Deserialize<PlanOptions>(planOptions, OperationQueue.Json)?.HeldWith ?? [];

    /// <summary>The part of a plan's options that notices need.</summary>
    private sealed record PlanOptions(IReadOnlyList<long>? HeldWith);

    private static string Subject(Operation operation, District district, NoticeEvents told, bool stopped) =>
        $"{district.Name}: "
        + told switch
        {
            _ when stopped => $"nightly syncs are stopped after {FailedNights} failed nights",
            NoticeEvents.Failed => "the sync failed",
            NoticeEvents.Held => OperationQueue.CountsOf(operation).Held is var held and not 1
                ? $"{N(held)} changes wait for your approval"
                : "1 change waits for your approval",
            NoticeEvents.Warnings => "the sync ended with warnings",
            _ => "the sync is done",
        };

    private static string Letter(Operation operation, District district, NoticeEvents told, bool stopped, string? publicUrl)
    {
        var counts = OperationQueue.CountsOf(operation);
        var zone = district.Zone;
        var lines = new List<string>
        {
            $"{OperationQueue.Title(operation)} of {district.Name}, operation {operation.Id}, "
                + $"{TimeZoneInfo.ConvertTime(operation.FinishedAt ?? operation.CreatedAt, zone).ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture)}.",
            "",
        };
        switch (told)
        {
            case NoticeEvents.Failed:
                lines.Add(operation.Error ?? "It failed.");
                lines.Add(
                    operation.AppliedTo > 0 || operation.HeldAppliedTo > 0
                        ? "What had been written before stays, each patron whole; the next sync does the rest."
                        : "No patron was changed by what failed."
                );
                if (stopped)
                {
                    lines.Add(
                        $"{FailedNights} nights in a row failed, so nothing runs by itself any more. Mend the cause, then run Sync Now: when it succeeds, the nights go on by themselves."
                    );
                }

                break;
            case NoticeEvents.Held:
                lines.Add(
                    $"{(counts.Held == 1 ? "1 change is more than is usual at once and was" : $"{N(counts.Held)} changes are more than is usual at once and were")} not written. Everything else was. Look at {(counts.Held == 1 ? "it" : "them")}, then approve or discard."
                );
                break;
            default:
                break;
        }

        if (told != NoticeEvents.Failed)
        {
            lines.Add(Totals.Sentence(operation));
            foreach (
                var group in OperationQueue
                    .WarningsOf(operation)
                    .Where(w => w.Code != WarningGroup.Held || told == NoticeEvents.Held)
                    .Take(20)
            )
            {
                lines.Add($"- {(group.Count > 1 ? $"{N(group.Count)} x " : "")}{group.Message}");
            }
        }

        if (publicUrl is not null)
        {
            lines.Add("");
            lines.Add(Url(publicUrl, operation, district));
        }

        return string.Join('\n', lines) + "\n";
    }

    private static string Payload(Operation operation, District district, NoticeEvents told, bool stopped, string? publicUrl)
    {
        var counts = OperationQueue.CountsOf(operation);
        return JsonSerializer.Serialize(
            new
            {
                @event = told.ToString().ToLowerInvariant(),
                district = district.Code,
                operation = operation.Id,
                kind = OperationQueue.KindWord(operation.Kind),
                status = OperationQueue.StatusWord(operation.Status),
                finishedAt = operation.FinishedAt,
                counts.Read,
                counts.Created,
                counts.Updated,
                counts.Unchanged,
                counts.Transferred,
                counts.Absent,
                counts.Reactivated,
                counts.Skipped,
                counts.Review,
                counts.Held,
                warnings = counts.Warnings,
                error = operation.Error,
                dailyOperationsStopped = stopped,
                url = publicUrl is null ? null : Url(publicUrl, operation, district),
            },
            OperationQueue.Json
        );
    }

    /// <summary>Each district counts its operations, and whoever follows this may have been in another one last.</summary>
    private static string Url(string publicUrl, Operation operation, District district) =>
        string.Create(
            CultureInfo.InvariantCulture,
            $"{publicUrl.TrimEnd('/')}/operations/{operation.Id}?district={Uri.EscapeDataString(district.Code)}"
        );

    private static string N(long number) => number.ToString("#,0", CultureInfo.InvariantCulture);
}
