using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Operations;
using Rollcall.Review;
using Rollcall.Storage;
using Rollcall.Sync.Person;

namespace Rollcall.Retention;

/// <summary>Removes what is older than a district keeps it, in slices as short as those of a sync. Whoever takes over goes on: what is gone
/// is not found again.</summary>
internal sealed class RetentionHandler(RollcallDatabase database, OperationQueue queue, RetentionService retention, TimeProvider time)
    : IOperationHandler
{
    // What a clock that is wrong removes does not come back. A node whose clock is wrong asks for no retention; whichever works on it does not go
    // far beyond the time at which it was asked for.
    private static readonly TimeSpan s_mayWait = TimeSpan.FromDays(1);

    public bool Handles(OperationKind kind) => kind == OperationKind.Retention;

    private static DateTimeOffset Sooner(DateTimeOffset one, DateTimeOffset other) => one < other ? one : other;

    public async Task ExecuteAsync(OperationRun run, CancellationToken cancellationToken)
    {
        var operation = run.Operation;
        var district = operation.DistrictId;
        var (log, audit, signIns) = RetentionService.Before(
            await retention.FindAsync(district, cancellationToken),
            Sooner(time.GetUtcNow(), operation.CreatedAt + s_mayWait)
        );
        var removed =
            operation.Options == "{}"
                ? new Removed()
                : JsonSerializer.Deserialize<RetentionReport>(operation.Options, OperationQueue.Json)!.Removed;
        while (true)
        {
            Operation? old;
            await using (var context = database.CreateContext().AllowLong())
            {
                old = await RetentionService
                    .Old(context, district, log)
                    .AsNoTracking()
                    .OrderBy(o => o.Id)
                    .FirstOrDefaultAsync(cancellationToken);
            }

            if (old is null)
            {
                break;
            }

            removed = await ExpireAsync(run, old, removed, cancellationToken);
            await ReportAsync(operation, removed, log, cancellationToken);
        }

        await ForgetExpiredAsync(district, cancellationToken);
        await ForgetDecidedAsync(district, cancellationToken);
        removed = await CutAuditAsync(run, removed, audit, signIns, cancellationToken);
        await using (var context = database.CreateContext().AllowLong())
        {
            removed = removed with
            {
                Notices =
                    removed.Notices
                    + await context
                        .Notices.Where(n => n.DistrictId == district && n.CreatedAt < log && n.Status != NoticeStatus.Waiting)
                        .ExecuteDeleteAsync(cancellationToken),
                Reviews =
                    removed.Reviews
                    + await context
                        .ReviewItems.Where(r => r.DistrictId == district && r.Status == ReviewStatus.Settled && r.CreatedAt < log)
                        .ExecuteDeleteAsync(cancellationToken),
                Tokens =
                    removed.Tokens
                    + await context
                        .AccessTokens.Where(t =>
                            t.DistrictId == district && (t.ExpiresAt < log || (t.RevokedAt != null && t.RevokedAt < log))
                        )
                        .ExecuteDeleteAsync(cancellationToken),
            };
        }

        await ReportAsync(operation, removed, log, cancellationToken);
        await queue.FinishAsync(operation, OperationStatus.Completed, new SyncCounts(), [], null, cancellationToken);
    }

    /// <summary>Of an operation whose log is too old only what is history of patrons is left. Once the last of them is gone, so is it; and what a
    /// one-person sync told of the person's values went with its log. Earlier versions kept both.</summary>
    private async Task ForgetExpiredAsync(int district, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext().AllowLong();
        var expired = context.Operations.Where(o => o.DistrictId == district && o.Expired);
        await expired
            .Where(o => !context.Changes.Any(c => c.DistrictId == district && c.OperationId == o.Id))
            .ExecuteDeleteAsync(cancellationToken);
        foreach (
            var told in await expired
                .AsNoTracking()
                .Where(o => o.Kind == OperationKind.PersonSync && !o.Options.Contains("\"steps\":[]"))
                .ToListAsync(cancellationToken)
        )
        {
            var options = PersonOptions.For(PersonOptions.Of(told).Person);
            await expired.Where(o => o.Id == told.Id).ExecuteUpdateAsync(s => s.SetProperty(o => o.Options, options), cancellationToken);
        }
    }

    /// <summary>Mapped values of people in Review are kept until somebody decides. Earlier versions kept them longer.</summary>
    private async Task ForgetDecidedAsync(int district, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext().AllowLong();
        var decided = context.ReviewItems.Where(r => r.DistrictId == district && r.Status != ReviewStatus.Open);
        foreach (var (id, status, values) in (
                await decided
                    .Select(r => new
                    {
                        r.Id,
                        r.Status,
                        r.Values,
                        r.Link,
                    })
                    .ToListAsync(cancellationToken)
            ).Where(r => r.Link is not null || r.Values != "{}").Select(r => (r.Id, r.Status, r.Values)))
        {
            var kept = status == ReviewStatus.Settled ? "{}" : ReviewItem.NameOf(values);
            await decided
                .Where(r => r.Id == id && r.Status == status && (r.Link != null || r.Values != kept))
                .ExecuteUpdateAsync(s => s.SetProperty(r => r.Values, kept).SetProperty(r => r.Link, (string?)null), cancellationToken);
        }
    }

    /// <summary>Takes out of an operation's log what is nobody's history: lines about people who are no patrons (any more), and lines that were
    /// never applied. Of a patron who was removed in it, what older operations still have goes as well.</summary>
    private async Task<Removed> ExpireAsync(OperationRun run, Operation old, Removed removed, CancellationToken cancellationToken)
    {
        await using var connection = await database.OpenAsync(cancellationToken);
        if (!await CloseAsync(connection, run, old, cancellationToken))
        {
            return removed;
        }

        const string gone = "NOT EXISTS (SELECT 1 FROM patrons p WHERE p.district_id = changes.district_id AND p.id = changes.patron_id)";
        long last;
        await using (var context = database.CreateContext(connection, null))
        {
            last =
                await context
                    .Changes.Where(c => c.DistrictId == old.DistrictId && c.OperationId == old.Id)
                    .MaxAsync(c => (long?)c.Number, cancellationToken)
                ?? 0;
        }

        var lines = 0L;
        var size = 500;
        for (long from = 0, to; from < last; from = to)
        {
            cancellationToken.ThrowIfCancellationRequested();
            to = from + size;
            (string, object?)[] range = [("@district", old.DistrictId), ("@operation", old.Id), ("@from", from), ("@to", to)];
            var watch = Stopwatch.GetTimestamp();
            lines += await Sql.ExecuteAsync(
                connection,
                null,
                $"""
                DELETE FROM changes WHERE district_id = @district AND operation_id <= @operation AND patron_id IN (
                    SELECT r.patron_id FROM changes r
                    WHERE r.district_id = @district AND r.operation_id = @operation AND r.number > @from AND r.number <= @to
                      AND r.kind = {(int)ChangeKind.Remove} AND r.patron_id IS NOT NULL)
                  AND {gone}
                """,
                cancellationToken,
                range
            );
            lines += await Sql.ExecuteAsync(
                connection,
                null,
                $"""
                DELETE FROM changes WHERE district_id = @district AND operation_id = @operation AND number > @from AND number <= @to
                  AND (patron_id IS NULL OR stale = @true OR kind IN ({(int)ChangeKind.Skip}, {(int)ChangeKind.Review}, {(int)
                    ChangeKind.Note})
                    OR number > CASE WHEN held = @true THEN @held ELSE @applied END
                    OR {gone})
                """,
                cancellationToken,
                [.. range, ("@applied", old.AppliedTo), ("@held", old.HeldAppliedTo), ("@true", true)]
            );
            size = database.Bulk.NextSlice(size, Stopwatch.GetElapsedTime(watch));
            await run.ReportAsync(OperationStage.Applying, "Removing lines of old logs", removed.LogLines + lines, null);
            if (database.Bulk.PauseBetweenSlices > TimeSpan.Zero)
            {
                await Task.Delay(database.Bulk.PauseBetweenSlices, time, cancellationToken);
            }
        }

        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
        await OperationQueue.EnsureMineAsync(connection, transaction, run.Operation.Id, run.Operation.Fence, cancellationToken);
        await using var closing = database.CreateContext(connection, transaction);
        await closing
            .SwitchRecords.Where(r => r.DistrictId == old.DistrictId && r.OperationId == old.Id)
            .ExecuteDeleteAsync(cancellationToken);
        if (await closing.Changes.AnyAsync(c => c.DistrictId == old.DistrictId && c.OperationId == old.Id, cancellationToken))
        {
            var options = old.Kind == OperationKind.PersonSync ? PersonOptions.For(PersonOptions.Of(old).Person) : old.Options;
            await closing
                .Operations.Where(o => o.Id == old.Id)
                .ExecuteUpdateAsync(s => s.SetProperty(o => o.Expired, true).SetProperty(o => o.Options, options), cancellationToken);
        }
        else
        {
            await closing.Operations.Where(o => o.Id == old.Id).ExecuteDeleteAsync(cancellationToken);
        }

        await transaction.CommitAsync(cancellationToken);
        return removed with { Operations = removed.Operations + 1, LogLines = removed.LogLines + lines };
    }

    /// <summary>A preview whose log goes cannot be approved any more: first that, then its lines.</summary>
    /// <returns>False where somebody was faster, and it waits to be written.</returns>
    private async Task<bool> CloseAsync(
        System.Data.Common.DbConnection connection,
        OperationRun run,
        Operation old,
        CancellationToken cancellationToken
    )
    {
        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
        await database.Bulk.LockDistrictAsync(connection, transaction, old.DistrictId, cancellationToken);
        await OperationQueue.EnsureMineAsync(connection, transaction, run.Operation.Id, run.Operation.Fence, cancellationToken);
        await using var context = database.CreateContext(connection, transaction);
        var same = await context
            .Operations.Where(o => o.Id == old.Id && o.Status == old.Status)
            .ExecuteUpdateAsync(
                s => s.SetProperty(o => o.Status, o => o.Status == OperationStatus.Preview ? OperationStatus.Discarded : o.Status),
                cancellationToken
            );
        await transaction.CommitAsync(cancellationToken);
        return same == 1;
    }

    private async Task<Removed> CutAuditAsync(
        OperationRun run,
        Removed removed,
        DateTimeOffset audit,
        DateTimeOffset signIns,
        CancellationToken cancellationToken
    )
    {
        var district = run.Operation.DistrictId;
        var latest = audit > signIns ? audit : signIns;
        var from = 0L;
        var size = 500;
        while (true)
        {
            await using var context = database.CreateContext();
            var chunk = await context
                .AuditEntries.AsNoTracking()
                .Where(a => a.DistrictId == district && a.Id > from)
                .OrderBy(a => a.Id)
                .Take(size)
                .Select(a => new { a.Id, a.At })
                .ToListAsync(cancellationToken);
            if (chunk.Count == 0 || chunk[0].At >= latest)
            {
                return removed;
            }

            var to = chunk[^1].Id;
            var watch = Stopwatch.GetTimestamp();
            var range = context.AuditEntries.Where(a => a.DistrictId == district && a.Id > from && a.Id <= to);
            removed = removed with
            {
                SignIns =
                    removed.SignIns
                    + await range
                        .Where(a => a.Action == RetentionService.SignInAction && a.At < signIns)
                        .ExecuteDeleteAsync(cancellationToken),
                AuditLines =
                    removed.AuditLines
                    + await range
                        .Where(a => a.Action != RetentionService.SignInAction && a.At < audit)
                        .ExecuteDeleteAsync(cancellationToken),
            };
            size = database.Bulk.NextSlice(chunk.Count, Stopwatch.GetElapsedTime(watch));
            from = to;
            await run.ReportAsync(OperationStage.Applying, "Removing lines of the audit", removed.SignIns + removed.AuditLines, null);
            if (database.Bulk.PauseBetweenSlices > TimeSpan.Zero)
            {
                await Task.Delay(database.Bulk.PauseBetweenSlices, time, cancellationToken);
            }
        }
    }

    /// <summary>Says so far what was removed, so that whoever takes over counts on.</summary>
    private async Task ReportAsync(Operation operation, Removed removed, DateTimeOffset log, CancellationToken cancellationToken)
    {
        (long Count, string One, string Many)[] parts =
        [
            (removed.LogLines, "line of logs", "lines of logs"),
            (removed.Operations, "operation closed", "operations closed"),
            (removed.AuditLines, "line of the audit", "lines of the audit"),
            (removed.SignIns, "sign-in", "sign-ins"),
            (removed.Notices, "notice", "notices"),
            (removed.Reviews, "settled entry in Review", "settled entries in Review"),
            (removed.Tokens, "ended access token", "ended access tokens"),
        ];
        var said = string.Join(
            ", ",
            parts
                .Where(p => p.Count > 0)
                .Select(p => $"{p.Count.ToString("#,0", CultureInfo.InvariantCulture)} {(p.Count == 1 ? p.One : p.Many)}")
        );
        var note =
            said.Length == 0
                ? "Nothing was old enough."
                : $"Removed: {said}. Logs from before {log:yyyy-MM-dd} are history of patrons alone.";
        operation.Options = JsonSerializer.Serialize(new RetentionReport(removed, note), OperationQueue.Json);
        await using var context = database.CreateContext();
        await context
            .Operations.Where(o => o.Id == operation.Id && o.Fence == operation.Fence)
            .ExecuteUpdateAsync(s => s.SetProperty(o => o.Options, operation.Options), cancellationToken);
    }
}
