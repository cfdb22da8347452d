using System.Collections.Concurrent;
using System.Data.Common;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.Storage;

namespace Rollcall.Operations;

/// <summary>Which operations to list; null leaves a filter open.</summary>
/// <param name="From">Asked for at or after this instant.</param>
/// <param name="To">Asked for before it.</param>
/// <param name="Kind">Of this kind alone, changes by hand too.</param>
/// <param name="By">Whoever asked, exactly.</param>
public sealed record OperationFilter(DateTimeOffset? From = null, DateTimeOffset? To = null, OperationKind? Kind = null, string? By = null);

/// <summary>The queue that people see. A worker holds an operation by a lease on the database's clock and a fence that every one of
/// its writes names: whoever comes late writes nothing.</summary>
public sealed class OperationQueue(RollcallDatabase database, TimeProvider time)
{
    internal static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web)
    {
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>When this process last took up an operation of each district, counted in claims.</summary>
    private readonly ConcurrentDictionary<int, long> _served = [];
    private long _claims;

    /// <summary>How long a worker may be silent before another one takes over.</summary>
    public static readonly TimeSpan Lease = TimeSpan.FromSeconds(30);

    /// <summary>Adds a waiting operation. An equal sync that waits or runs already is returned instead of a second one.</summary>
    /// <returns>The operation's id, and whether it is new.</returns>
    public async Task<(long Id, bool IsNew)> EnqueueAsync(
        int districtId,
        OperationKind kind,
        IntegrationKind? integration,
        bool preview,
        string requestedBy,
        string options = "{}",
        DateOnly? dailyDate = null,
        CancellationToken cancellationToken = default
    )
    {
        await using var connection = await database.OpenAsync(cancellationToken);
        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
        await database.Bulk.LockDistrictAsync(connection, transaction, districtId, cancellationToken);
        await using var context = database.CreateContext(connection, transaction);
        if (kind is OperationKind.FullSync or OperationKind.ChangesSync or OperationKind.Readiness)
        {
            Operation? equal = null;
            foreach (
                var one in await context
                    .Operations.AsNoTracking()
                    .Where(o => o.DistrictId == districtId && o.Kind == kind && o.PreviewOnly == preview)
                    .Where(o => o.Status == OperationStatus.Waiting || o.Status == OperationStatus.Running)
                    .Where(o => !o.Planned && !o.CancelRequested)
                    .Where(o => kind != OperationKind.Readiness || o.Integration == integration)
                    .OrderBy(o => o.Id)
                    .ToListAsync(cancellationToken)
            )
            {
                if (await IsByTheseSettingsAsync(context, one, cancellationToken))
                {
                    equal = one;
                    break;
                }
            }

            if (equal is not null)
            {
                if (dailyDate is null)
                {
                    await HurryAsync(context.Operations.Where(o => o.Id == equal.Id), requestedBy, cancellationToken);
                    await transaction.CommitAsync(cancellationToken);
                }
                else
                {
                    // It does the night's work: there is no second one for this date.
                    await context
                        .Operations.Where(o => o.Id == equal.Id && o.DailyDate == null)
                        .ExecuteUpdateAsync(s => s.SetProperty(o => o.DailyDate, dailyDate), cancellationToken);
                    await transaction.CommitAsync(cancellationToken);
                }

                return (equal.Id, false);
            }
        }

        var operation = new Operation
        {
            DistrictId = districtId,
            Kind = kind,
            Integration = integration,
            PreviewOnly = preview,
            RequestedBy = requestedBy,
            Options = options,
            DailyDate = dailyDate,
            CreatedAt = time.GetUtcNow(),
        };
        context.Operations.Add(operation);
        await context.SaveChangesAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);
        return (operation.Id, true);
    }

    private const string ConfigVersion = "configVersion";

    /// <summary>The options of a sync that begins to read by the settings of this version.</summary>
    internal static string WithConfigVersion(Operation operation, long version)
    {
        var options = JsonNode.Parse(operation.Options) as JsonObject ?? [];
        options[ConfigVersion] = version;
        return options.ToJsonString();
    }

    /// <summary>Whether an operation reads by the settings that hold now. One that is at work has read those it began with.</summary>
    private static async Task<bool> IsByTheseSettingsAsync(RollcallContext context, Operation one, CancellationToken cancellationToken)
    {
        if (
            one.Status != OperationStatus.Running
            || JsonNode.Parse(one.Options) is not JsonObject options
            || options[ConfigVersion] is not JsonValue began
            || !began.TryGetValue<long>(out var version)
        )
        {
            return true;
        }

        var row = await context
            .Integrations.AsNoTracking()
            .SingleOrDefaultAsync(i => i.DistrictId == one.DistrictId && i.Kind == one.Integration, cancellationToken);
        return IntegrationService.StateOf(row).ConfigVersion == version;
    }

    /// <summary>Claims the next operation that waits, or whose worker has gone silent.</summary>
    /// <param name="node">Name of this worker.</param>
    /// <param name="only">Claims this operation alone; null for any.</param>
    /// <param name="aloneHere">This process is the only one that can work (SQLite's lock): a running operation is a dead process's.</param>
    /// <param name="cancellationToken">Gives up; nothing is claimed.</param>
    /// <param name="nights">Daily Operations too; otherwise what people wait for alone.</param>
    /// <param name="kinds">What this program can work on; null for everything. Beside newer nodes, theirs is left to them.</param>
    /// <returns>The operation as claimed; null when there is none.</returns>
    internal async Task<Operation?> ClaimAsync(
        string node,
        long? only,
        bool aloneHere,
        CancellationToken cancellationToken,
        bool nights = true,
        IReadOnlyCollection<OperationKind>? kinds = null
    )
    {
        await using var connection = await database.OpenAsync(cancellationToken);

        var silent = aloneHere ? "1 = 1" : $"lease_until < {database.Bulk.NowMilliseconds}";
        foreach (var candidate in await CandidatesAsync(connection, only, silent, nights, kinds, cancellationToken))
        {
            try
            {
                if (await TakeAsync(connection, node, candidate.Id, candidate.DistrictId, silent, cancellationToken))
                {
                    _served[candidate.DistrictId] = Interlocked.Increment(ref _claims);
                    await using var context = database.CreateContext(connection, null);
                    return await context.Operations.AsNoTracking().SingleAsync(o => o.Id == candidate.Id, cancellationToken);
                }
            }
            catch (DbException e) when (DatabaseErrors.IsUniqueViolation(e) || DatabaseErrors.IsLockTimeout(e))
            {
                // Another node was faster with another operation of the same district, or is about to be.
            }

            if (database.IsPostgres)
            {
                await HungNode.EndAsync(connection, candidate.Id, database.SilentAfter, cancellationToken);
            }
        }

        return null;
    }

    /// <summary>Takes an operation up, unless it is no longer to be had. One whose row somebody holds is passed by: a node that hangs in the
    /// middle of a slice would have every other one wait for it, with all that is behind. Between the look at what there is and this, another node
    /// may have had it, and put it back to be tried later.</summary>
    internal async Task<bool> TakeAsync(
        DbConnection connection,
        string node,
        long id,
        int district,
        string silent,
        CancellationToken cancellationToken
    )
    {
        await using var transaction = database.IsPostgres ? await database.Bulk.BeginWriteAsync(connection, cancellationToken) : null;
        if (transaction is not null)
        {
            // The index that allows one running operation of a district can be waited for, too.
            await Sql.ExecuteAsync(connection, transaction, "SET LOCAL lock_timeout = 1000", cancellationToken);
        }

        // One that is taken over was worked on until its last sign of life.
        var lease = (long)Lease.TotalMilliseconds;
        var taken = await Sql.ExecuteAsync(
            connection,
            transaction,
            $"""
            UPDATE operations SET status = {(int)OperationStatus.Running}, fence = fence + 1, node = @node,
                lease_until = {database.Bulk.NowMilliseconds} + {(long)Lease.TotalMilliseconds},
                not_before = NULL, error = NULL, rate = NULL,
                started_at = COALESCE(started_at, {database.Bulk.NowMilliseconds}),
                worked_for = CASE WHEN status = {(int)OperationStatus.Running} AND lease_until - {lease} > taken_at
                    THEN COALESCE(worked_for, 0) + lease_until - {lease} - taken_at ELSE worked_for END,
                taken_at = {database.Bulk.NowMilliseconds},
                takeovers = CASE WHEN status = {(int)OperationStatus.Running} THEN takeovers + 1 ELSE takeovers END
            WHERE id = {(transaction is null ? "@id" : "(SELECT id FROM operations WHERE id = @id FOR NO KEY UPDATE SKIP LOCKED)")}
              AND ((status = {(int)OperationStatus.Waiting} AND (not_before IS NULL OR not_before <= @now))
                OR (status = {(int)OperationStatus.Running} AND {silent}))
              AND NOT EXISTS (SELECT 1 FROM operations o WHERE o.district_id = @district AND o.id <> @id AND o.status = {(int)
                OperationStatus.Running})
            """,
            cancellationToken,
            ("@node", node),
            ("@id", id),
            ("@district", district),
            ("@now", time.GetUtcNow().ToUnixTimeMilliseconds())
        );
        if (transaction is not null)
        {
            await transaction.CommitAsync(cancellationToken);
        }

        return taken == 1;
    }

    /// <summary>The schedule's work, for which nobody waits. What somebody asked for or approved is theirs, though it does the night's work too.</summary>
    private static readonly string s_atNight =
        $"(daily_date IS NOT NULL AND approved_at IS NULL AND requested_by = '{DailySchedule.Actor}' OR kind = {(int)OperationKind.Retention} AND requested_by = '{Retention.RetentionService.Actor}')";

    /// <summary>What could be claimed, in the order in which it should be: what a person waits for goes before the night's work; within each
    /// the district that has waited longest for its turn here, so that one with much to do keeps nobody waiting; within it first come, first
    /// served.</summary>
    private async Task<IEnumerable<(long Id, int DistrictId)>> CandidatesAsync(
        DbConnection connection,
        long? only,
        string silent,
        bool nights,
        IReadOnlyCollection<OperationKind>? kinds,
        CancellationToken cancellationToken
    )
    {
        await using var command = connection.CreateCommand();
        command.CommandText = $"""
            SELECT id, district_id, CASE WHEN {s_atNight} THEN 1 ELSE 0 END FROM operations w
            WHERE {(kinds is null ? "" : $"kind IN ({string.Join(", ", kinds.Select(k => (int)k))}) AND")} (status = {(int)OperationStatus.Running} AND {silent}
                OR status = {(int)OperationStatus.Waiting} AND (not_before IS NULL OR not_before <= @now)
                  AND NOT EXISTS (SELECT 1 FROM operations o WHERE o.district_id = w.district_id AND o.id <> w.id AND o.status = {(int)
                    OperationStatus.Running}))
              {(only is null ? "" : "AND id = @only")} {(nights ? "" : $"AND NOT {s_atNight}")}
            """;
        Sql.Add(command, "@now", time.GetUtcNow().ToUnixTimeMilliseconds());
        if (only is not null)
        {
            Sql.Add(command, "@only", only);
        }

        var found = new List<(long Id, int DistrictId, int Night)>();
        await using var reader = await command.ExecuteReaderAsync(cancellationToken);
        while (await reader.ReadAsync(cancellationToken))
        {
            found.Add((reader.GetInt64(0), reader.GetInt32(1), reader.GetInt32(2)));
        }

        return found
            .OrderBy(o => o.Night)
            .ThenBy(o => _served.GetValueOrDefault(o.DistrictId))
            .ThenBy(o => o.Id)
            .Select(o => (o.Id, o.DistrictId));
    }

    /// <summary>The code of an operation's district.</summary>
    internal async Task<string> DistrictCodeAsync(Operation operation, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        return await context.Districts.Where(d => d.Id == operation.DistrictId).Select(d => d.Code).SingleAsync(cancellationToken);
    }

    /// <summary>Why a claimed operation that is a night's, and nobody's else, is not to begin; null when it may.</summary>
    internal async Task<string?> ForbiddenNightAsync(Operation operation, CancellationToken cancellationToken)
    {
        if (
            operation is not { DailyDate: { } night, ApprovedAt: null, Planned: false, Integration: { } kind }
            || !string.Equals(operation.RequestedBy, DailySchedule.Actor, StringComparison.Ordinal)
        )
        {
            return null;
        }

        await using var context = database.CreateContext();
        var district = await context.Districts.AsNoTracking().SingleAsync(d => d.Id == operation.DistrictId, cancellationToken);
        var row = await context
            .Integrations.AsNoTracking()
            .SingleOrDefaultAsync(i => i.DistrictId == operation.DistrictId && i.Kind == kind, cancellationToken);
        return DailySchedule.ForbiddenBecause(row, kind, night, Districts.DistrictService.Today(district, time));
    }

    /// <summary>Stops the syncs of a service that is turned off: those that wait end, and those at work are asked to.</summary>
    /// <param name="context">In the district's transaction; the caller commits.</param>
    /// <param name="row">The service.</param>
    /// <param name="why">What those that end say.</param>
    /// <param name="now">The time.</param>
    /// <param name="cancellationToken">Gives up.</param>
    internal static async Task StopSyncsAsync(
        RollcallContext context,
        Integration row,
        string why,
        DateTimeOffset now,
        CancellationToken cancellationToken
    )
    {
        var syncs = context
            .Operations.Where(o => o.DistrictId == row.DistrictId && o.Integration == row.Kind)
            .Where(o => o.Kind == OperationKind.FullSync || o.Kind == OperationKind.ChangesSync || o.Kind == OperationKind.PersonSync);
        foreach (var ended in await EndWaitingAsync(context, syncs, why, now, cancellationToken))
        {
            if (LeftBehind(ended) is { } behind)
            {
                IntegrationService.RequireFull(row, behind);
            }
        }

        // One that a worker has taken up since is among these.
        await syncs
            .Where(o => o.Status == OperationStatus.Running)
            .ExecuteUpdateAsync(s => s.SetProperty(o => o.CancelRequested, true), cancellationToken);
    }

    /// <summary>Renews the lease and stores progress. On PostgreSQL it fails at once while the row is locked, as it is by the worker's own slice, which
    /// renews the lease itself: one that waited would renew that of a worker which hangs, as soon as its session is ended.</summary>
    /// <returns>False when the operation is no longer this worker's; whether somebody asked to cancel it.</returns>
    internal async Task<(bool Mine, bool Cancel)> BeatAsync(
        Operation operation,
        OperationStage stage,
        string? text,
        long done,
        long total,
        double? rate,
        CancellationToken cancellationToken
    )
    {
        await using var connection = await database.OpenAsync(cancellationToken);
        await using var command = connection.CreateCommand();
        command.CommandText = $"""
            UPDATE operations SET lease_until = {database.Bulk.NowMilliseconds} + {(long)Lease.TotalMilliseconds},
                stage = @stage, stage_text = @text, done = @done, total = @total, rate = @rate
            WHERE id = {(database.IsPostgres ? "(SELECT id FROM operations WHERE id = @id FOR NO KEY UPDATE NOWAIT)" : "@id")}
              AND fence = @fence AND status = {(int)OperationStatus.Running}
            RETURNING cancel_requested
            """;
        Sql.Add(command, "@stage", (int)stage);
        Sql.Add(command, "@text", text);
        Sql.Add(command, "@done", done);
        Sql.Add(command, "@total", total);
        Sql.Add(command, "@rate", rate);
        Sql.Add(command, "@id", operation.Id);
        Sql.Add(command, "@fence", operation.Fence);
        var cancel = await command.ExecuteScalarAsync(cancellationToken);
        return cancel is null ? (false, false) : (true, Convert.ToBoolean(cancel, CultureInfo.InvariantCulture));
    }

    /// <summary>Writes the end of an operation. False when it is no longer this worker's.</summary>
    internal async Task<bool> FinishAsync(
        Operation operation,
        OperationStatus status,
        SyncCounts? counts,
        IReadOnlyList<WarningGroup>? warnings,
        string? error,
        CancellationToken cancellationToken
    )
    {
        await using var connection = await database.OpenAsync(cancellationToken);
        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
        await database.Bulk.LockDistrictAsync(connection, transaction, operation.DistrictId, cancellationToken);
        var done = await FinishAsync(connection, transaction, operation, status, counts, warnings, error, cancellationToken);
        if (done && status is OperationStatus.Failed or OperationStatus.Cancelled)
        {
            await using var context = database.CreateContext(connection, transaction);
            await GiveUpAsync(context, operation.DistrictId, operation.Id, cancellationToken);
            if (status == OperationStatus.Cancelled)
            {
                await LeaveNightAsync(context, operation.Id, cancellationToken);
            }

            await context.SaveChangesAsync(cancellationToken);
        }

        await transaction.CommitAsync(cancellationToken);
        return done;
    }

    /// <summary>Ends an operation and writes what follows from its end, in one transaction of the district's.</summary>
    /// <param name="operation">The operation, as claimed.</param>
    /// <param name="status">How it ends.</param>
    /// <param name="counts">Its totals.</param>
    /// <param name="warnings">Its warnings.</param>
    /// <param name="after">Writes what follows; what the context holds is saved.</param>
    /// <param name="cancellationToken">Gives up; nothing is written.</param>
    /// <exception cref="Sync.Apply.FencedOffException">It is no longer this worker's; nothing is written.</exception>
    internal async Task FinishWithAsync(
        Operation operation,
        OperationStatus status,
        SyncCounts counts,
        IReadOnlyList<WarningGroup> warnings,
        Func<RollcallContext, Task> after,
        CancellationToken cancellationToken
    )
    {
        await using var connection = await database.OpenAsync(cancellationToken);
        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
        await database.Bulk.LockDistrictAsync(connection, transaction, operation.DistrictId, cancellationToken);
        if (!await FinishAsync(connection, transaction, operation, status, counts, warnings, null, cancellationToken))
        {
            throw new Sync.Apply.FencedOffException();
        }

        await using var context = database.CreateContext(connection, transaction).AllowLong();
        await after(context);
        await context.SaveChangesAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);
    }

    /// <summary>SQL that counts the time since the worker took the operation up.</summary>
    private string WorkEnds => $"{WorkCounted}, taken_at = NULL";

    /// <summary>As <see cref="WorkEnds"/>, where it waits for another worker from now on.</summary>
    private string WorkPauses => $"{WorkCounted}, taken_at = {database.Bulk.NowMilliseconds}";

    private string WorkCounted =>
        $"worked_for = COALESCE(worked_for, 0) + CASE WHEN taken_at < {database.Bulk.NowMilliseconds} THEN {database.Bulk.NowMilliseconds} - taken_at ELSE 0 END";

    private async Task<bool> FinishAsync(
        DbConnection connection,
        DbTransaction? transaction,
        Operation operation,
        OperationStatus status,
        SyncCounts? counts,
        IReadOnlyList<WarningGroup>? warnings,
        string? error,
        CancellationToken cancellationToken
    )
    {
        var done = await Sql.ExecuteAsync(
            connection,
            transaction,
            $"""
            UPDATE operations SET status = @status, stage = {(int)
                OperationStage.Finished}, stage_text = NULL, lease_until = 0, finished_at = @now,
                counts = COALESCE(@counts, counts), warnings = COALESCE(@warnings, warnings), error = @error, cancel_requested = @false,
                {WorkEnds}
            WHERE id = @id AND fence = @fence AND status = {(int)OperationStatus.Running}
            """,
            cancellationToken,
            ("@status", (int)status),
            ("@now", time.GetUtcNow().ToUnixTimeMilliseconds()),
            ("@counts", counts is null ? null : JsonSerializer.Serialize(counts, Json)),
            ("@warnings", warnings is null ? null : JsonSerializer.Serialize(warnings, Json)),
            ("@error", error),
            ("@false", false),
            ("@id", operation.Id),
            ("@fence", operation.Fence)
        );
        return done == 1;
    }

    /// <summary>Proves, and holds until the transaction ends, that the operation is still this worker's.</summary>
    /// <exception cref="Sync.Apply.FencedOffException">Another worker has it.</exception>
    internal static async Task EnsureMineAsync(
        DbConnection connection,
        DbTransaction transaction,
        long id,
        long fence,
        CancellationToken cancellationToken
    )
    {
        var mine = await Sql.ExecuteAsync(
            connection,
            transaction,
            $"UPDATE operations SET fence = fence WHERE id = @id AND fence = @fence AND status = {(int)OperationStatus.Running}",
            cancellationToken,
            ("@id", id),
            ("@fence", fence)
        );
        if (mine != 1)
        {
            throw new Sync.Apply.FencedOffException();
        }
    }

    /// <summary>Deletes what an earlier worker planned of an operation whose plan is made anew.</summary>
    /// <exception cref="Sync.Apply.FencedOffException">Another worker has it.</exception>
    internal async Task DeletePlanAsync(Operation operation, CancellationToken cancellationToken)
    {
        await using var connection = await database.OpenAsync(cancellationToken);
        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
        await EnsureMineAsync(connection, transaction, operation.Id, operation.Fence, cancellationToken);
        await using var context = database.CreateContext(connection, transaction).AllowLong();
        await context
            .Changes.Where(c => c.DistrictId == operation.DistrictId && c.OperationId == operation.Id)
            .ExecuteDeleteAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);
    }

    /// <summary>Puts an operation back for another worker, as a process does that is asked to end.</summary>
    internal async Task ParkAsync(Operation operation, CancellationToken cancellationToken)
    {
        await using var connection = await database.OpenAsync(cancellationToken);
        await Sql.ExecuteAsync(
            connection,
            null,
            $"UPDATE operations SET status = {(int)OperationStatus.Waiting}, lease_until = 0, fence = fence + 1, {WorkPauses} WHERE id = @id AND fence = @fence AND status = {(int)OperationStatus.Running}",
            cancellationToken,
            ("@id", operation.Id),
            ("@fence", operation.Fence)
        );
    }

    /// <summary>Puts a failed operation back to be tried again by itself.</summary>
    /// <returns>False when it is no longer this worker's.</returns>
    internal async Task<bool> RetryLaterAsync(Operation operation, TimeSpan pause, string error, CancellationToken cancellationToken)
    {
        await using var connection = await database.OpenAsync(cancellationToken);
        return await Sql.ExecuteAsync(
                connection,
                null,
                $"""
                UPDATE operations SET status = {(int)OperationStatus.Waiting}, stage = {(int)
                    OperationStage.Waiting}, stage_text = NULL, done = 0, total = 0,
                    lease_until = 0, fence = fence + 1, attempts = attempts + 1, takeovers = 0, not_before = @due, error = @error, {WorkPauses}
                WHERE id = @id AND fence = @fence AND status = {(int)OperationStatus.Running} AND NOT cancel_requested
                """,
                cancellationToken,
                ("@due", (time.GetUtcNow() + pause).ToUnixTimeMilliseconds()),
                ("@error", error),
                ("@id", operation.Id),
                ("@fence", operation.Fence)
            ) == 1;
    }

    /// <summary>Ends as failed what somebody asked for that did the night's work too, and leaves that to be tried again by itself. It is none of the
    /// night's own tries: however often somebody asks in an outage, the night has as many left as before.</summary>
    internal async Task FailBesideNightAsync(Operation operation, TimeSpan pause, string error, CancellationToken cancellationToken)
    {
        await using var connection = await database.OpenAsync(cancellationToken);
        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
        await database.Bulk.LockDistrictAsync(connection, transaction, operation.DistrictId, cancellationToken);
        if (!await FinishAsync(connection, transaction, operation, OperationStatus.Failed, null, null, error, cancellationToken))
        {
            return;
        }

        await using var context = database.CreateContext(connection, transaction);
        await GiveUpAsync(context, operation.DistrictId, operation.Id, cancellationToken);

        // The night may have joined while it was at work.
        var date = await context.Operations.Where(o => o.Id == operation.Id).Select(o => o.DailyDate).SingleAsync(cancellationToken);
        if (date is null)
        {
            await context.SaveChangesAsync(cancellationToken);
            await transaction.CommitAsync(cancellationToken);
            return;
        }

        await context
            .Operations.Where(o => o.Id == operation.Id)
            .ExecuteUpdateAsync(s => s.SetProperty(o => o.DailyDate, (DateOnly?)null), cancellationToken);
        var now = time.GetUtcNow();
        context.Operations.Add(
            new Operation
            {
                DistrictId = operation.DistrictId,
                Kind = operation.Kind,
                Integration = operation.Integration,
                RequestedBy = DailySchedule.Actor,
                DailyDate = date,
                Attempts = operation.Attempts,
                NotBefore = now + pause,
                Error = error,
                CreatedAt = now,
            }
        );
        await context.SaveChangesAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);
    }

    /// <summary>Approves what waits in an operation: it is queued again and applies the rest.</summary>
    /// <exception cref="RollcallException">Nothing of it waits for an approval.</exception>
    public Task ApproveAsync(int districtId, long id, Actor by, CancellationToken cancellationToken = default) =>
        DecideAsync(
            districtId,
            id,
            by.Name,
            "approve",
            operation =>
            {
                operation.Status = OperationStatus.Waiting;
                operation.ApprovedBy = by.Name;
                operation.ActingGroup = by.Right;
                operation.ApprovedAt = time.GetUtcNow();
                operation.FinishedAt = null;
                operation.Settled = false;
                operation.Takeovers = 0;
            },
            cancellationToken
        );

    /// <summary>Drops what waits in an operation. What was applied before stays.</summary>
    /// <exception cref="RollcallException">Nothing of it waits for an approval.</exception>
    public Task DiscardAsync(int districtId, long id, string by, CancellationToken cancellationToken = default) =>
        DecideAsync(
            districtId,
            id,
            by,
            "discard",
            operation =>
            {
                // Its work ended when it began to wait.
                operation.Status = OperationStatus.Discarded;
                operation.FinishedAt ??= time.GetUtcNow();
            },
            cancellationToken
        );

    /// <summary>Somebody wants an operation to go on that was interrupted, or waits to be tried again: it waits for no later try.</summary>
    /// <exception cref="RollcallException">It has ended, or waits for something else.</exception>
    public async Task HurryAsync(int districtId, long id, string by, CancellationToken cancellationToken = default)
    {
        await using var connection = await database.OpenAsync(cancellationToken);
        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
        await database.Bulk.LockDistrictAsync(connection, transaction, districtId, cancellationToken);
        await using var context = database.CreateContext(connection, transaction);
        var operation = await FindAsync(context.Operations.AsNoTracking(), districtId, id, cancellationToken);
        if (operation.Status is not (OperationStatus.Waiting or OperationStatus.Running))
        {
            throw new RollcallException(
                $"Operation {id} is {StatusWord(operation.Status).Replace('-', ' ')}: there is nothing to go on with."
            );
        }

        await HurryAsync(context.Operations.Where(o => o.Id == id), by, cancellationToken);
        await transaction.CommitAsync(cancellationToken);
    }

    /// <summary>Whoever wants it now has it, and goes before the night's work. What a night has planned, or somebody approved, stays the night's all the
    /// same: should it fail once more, it is tried again by itself, with its plan.</summary>
    private static async Task HurryAsync(IQueryable<Operation> one, string by, CancellationToken cancellationToken)
    {
        one = one.Where(o => o.Status == OperationStatus.Waiting);
        await one.Where(o => !o.Planned && o.ApprovedAt == null)
            .Where(o => o.NotBefore != null || (o.DailyDate != null && o.RequestedBy == DailySchedule.Actor))
            .ExecuteUpdateAsync(s => s.SetProperty(o => o.RequestedBy, by), cancellationToken);
        await one.Where(o => o.NotBefore != null)
            .ExecuteUpdateAsync(s => s.SetProperty(o => o.NotBefore, (DateTimeOffset?)null), cancellationToken);
    }

    /// <summary>Asks a waiting or running operation to stop. The audit says who did.</summary>
    /// <exception cref="RollcallException">It has ended already.</exception>
    public async Task CancelAsync(int districtId, long id, string actor, CancellationToken cancellationToken = default)
    {
        await using var connection = await database.OpenAsync(cancellationToken);
        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
        await database.Bulk.LockDistrictAsync(connection, transaction, districtId, cancellationToken);
        await using var context = database.CreateContext(connection, transaction);
        while (true)
        {
            var operation = await FindAsync(context.Operations.AsNoTracking(), districtId, id, cancellationToken);
            if (operation.Status is not (OperationStatus.Waiting or OperationStatus.Running))
            {
                throw new RollcallException(
                    $"Operation {id} is {StatusWord(operation.Status).Replace('-', ' ')}: there is nothing to cancel."
                );
            }

            var now = time.GetUtcNow();
            var mine = context.Operations.Where(o => o.DistrictId == districtId && o.Id == id);
            var cancelled = await mine.Where(o => o.Status == OperationStatus.Waiting)
                .ExecuteUpdateAsync(
                    s => s.SetProperty(o => o.Status, OperationStatus.Cancelled).SetProperty(o => o.FinishedAt, now),
                    cancellationToken
                );
            if (cancelled == 1)
            {
                await GiveUpAsync(context, districtId, id, cancellationToken);
                await LeaveNightAsync(context, id, cancellationToken);
                break;
            }

            var asked = await mine.Where(o => o.Status == OperationStatus.Running)
                .ExecuteUpdateAsync(s => s.SetProperty(o => o.CancelRequested, true), cancellationToken);
            if (asked == 1)
            {
                break;
            }

            // A worker has taken it up, put it back or ended it between the two.
        }

        context.AuditEntries.Add(
            new Audit.AuditEntry
            {
                DistrictId = districtId,
                At = time.GetUtcNow(),
                Actor = actor,
                Action = "cancel",
                Details = $"Operation {id}",
            }
        );
        await context.SaveChangesAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);
    }

    /// <summary>Who cancels what they asked for cancels no night that had joined it: the schedule finds its date free again. A night that somebody
    /// cancels as such stays so.</summary>
    private static Task<int> LeaveNightAsync(RollcallContext context, long id, CancellationToken cancellationToken) =>
        context
            .Operations.Where(o => o.Id == id && o.DailyDate != null && o.RequestedBy != DailySchedule.Actor && o.ApprovedAt == null)
            .ExecuteUpdateAsync(s => s.SetProperty(o => o.DailyDate, (DateOnly?)null), cancellationToken);

    /// <summary>What was approved and then not written is still so in the roster, but did not change there: only a full sync sees it again. So is
    /// what a full sync planned, and what waited in the hold that its plan replaced. The totals are left with what was written.</summary>
    private async Task GiveUpAsync(RollcallContext context, int districtId, long id, CancellationToken cancellationToken)
    {
        // The row alone tells: a worker that the database failed for a moment may have planned since it took the operation up.
        var operation = await FindAsync(context.Operations.AsNoTracking(), districtId, id, cancellationToken);
        await CountWrittenAsync(context, operation, cancellationToken);
        if (
            LeftBehind(operation) is { } why
            && operation.Integration is { } kind
            && await context.Integrations.SingleOrDefaultAsync(
                i => i.DistrictId == operation.DistrictId && i.Kind == kind,
                cancellationToken
            )
                is { } row
        )
        {
            IntegrationService.RequireFull(row, why);
        }

        if (operation is { Kind: OperationKind.Import or OperationKind.Remove, AppliedTo: > 0 })
        {
            await PlannedHandler.RequireFullAsync(context, operation, operation.AppliedTo, cancellationToken);
        }

        if (operation is { Kind: OperationKind.Undo, AppliedTo: > 0 })
        {
            // What an undo that comes to its end demands, one that does not needs as well: a part is as it was then.
            foreach (
                var affected in await Sync.Undo.UndoHandler.ConcernedAsync(context, districtId, operation.Integration, cancellationToken)
            )
            {
                IntegrationService.RequireFull(affected, $"operation {id} took back a part");
            }

            if (operation.SubjectId is { } of)
            {
                var subject = await FindAsync(context.Operations.AsNoTracking(), districtId, of, cancellationToken);
                await Sync.Undo.UndoHandler.StopNightsAsync(
                    context,
                    operation,
                    subject,
                    complete: false,
                    time.GetUtcNow(),
                    cancellationToken
                );
            }
        }
    }

    /// <summary>Cancels those that wait for their turn. Each is left with what it had written.</summary>
    /// <returns>Those that it ended, as they were.</returns>
    internal static async Task<IReadOnlyList<Operation>> EndWaitingAsync(
        RollcallContext context,
        IQueryable<Operation> operations,
        string why,
        DateTimeOffset now,
        CancellationToken cancellationToken
    )
    {
        var waiting = operations.Where(o => o.Status == OperationStatus.Waiting);
        var all = new List<Operation>();
        foreach (var operation in await waiting.AsNoTracking().ToListAsync(cancellationToken))
        {
            var ended = await waiting
                .Where(o => o.Id == operation.Id)
                .ExecuteUpdateAsync(
                    s =>
                        s.SetProperty(o => o.Status, OperationStatus.Cancelled)
                            .SetProperty(o => o.FinishedAt, now)
                            .SetProperty(o => o.NotBefore, (DateTimeOffset?)null)
                            .SetProperty(o => o.Error, why),
                    cancellationToken
                );
            if (ended == 1)
            {
                await CountWrittenAsync(context, operation, cancellationToken);
                all.Add(operation);
            }
        }

        return all;
    }

    private static async Task CountWrittenAsync(RollcallContext context, Operation ended, CancellationToken cancellationToken)
    {
        if (ended.Planned)
        {
            context.AllowLong();
            var counts = await Sync.OlderPlans.WrittenAsync(context, ended, cancellationToken);
            await context
                .Operations.Where(o => o.Id == ended.Id)
                .ExecuteUpdateAsync(s => s.SetProperty(o => o.Counts, counts), cancellationToken);
        }
    }

    /// <summary>Why the next sync is a full one when this one ends now; null when it need not be. A preview that was approved has replaced what
    /// waited before it.</summary>
    private static string? LeftBehind(Operation operation) =>
        operation is { ApprovedAt: not null } or { PreviewOnly: false, Kind: OperationKind.FullSync, Planned: true }
            ? $"operation {operation.Id} ended before all that was {(operation.ApprovedAt is null ? "planned" : "approved")} was written"
            : null;

    /// <summary>The operation; throws when the district has none of that id.</summary>
    public async Task<Operation> GetAsync(int districtId, long id, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        return (await ToldApartAsync(context, [await FindAsync(context, districtId, id, cancellationToken)], cancellationToken))[0];
    }

    /// <summary>Holds of an earlier version, which did not say what the rows would have been that it held: their log says it.</summary>
    internal static async Task<IReadOnlyList<Operation>> ToldApartAsync(
        RollcallContext context,
        IReadOnlyList<Operation> operations,
        CancellationToken cancellationToken
    )
    {
        foreach (
            var operation in operations.Where(o =>
                o.Status is OperationStatus.NeedsApproval or OperationStatus.Preview or OperationStatus.Waiting or OperationStatus.Running
            )
        )
        {
            var counts = CountsOf(operation);
            if (!counts.IsOfOldForm)
            {
                continue;
            }

            var (district, id) = (operation.DistrictId, operation.Id);
            counts = counts
                .WithHeld(await HeldOutcomesAsync(context, district, id, all: false, cancellationToken))
                .WithLeftOut(
                    await context
                        .Changes.Where(c => c.DistrictId == district && c.OperationId == id && c.Held && c.Stale)
                        .GroupBy(c => c.Outcome)
                        .Select(g => new { g.Key, Count = g.LongCount() })
                        .ToDictionaryAsync(g => g.Key, g => g.Count, cancellationToken)
                );
            operation.Counts = JsonSerializer.Serialize(counts, Json);
        }

        return operations;
    }

    /// <summary>All but edits of one patron by hand, which are done at once. A bulk edit says in its options what it sets.</summary>
    internal static readonly System.Linq.Expressions.Expression<Func<Operation, bool>> NotByHand = o =>
        o.Kind != OperationKind.Edit || o.Options != "{}";

    /// <summary>The newest operations first. Hand edits are left out unless asked for.</summary>
    public async Task<IReadOnlyList<Operation>> ListAsync(
        int districtId,
        int take = 200,
        bool withEdits = false,
        CancellationToken cancellationToken = default
    ) => await BeforeAsync(districtId, null, take, withEdits, cancellationToken: cancellationToken);

    /// <summary>Those before an operation, the newest first; before null, the newest of all.</summary>
    public async Task<IReadOnlyList<Operation>> BeforeAsync(
        int districtId,
        long? before,
        int take,
        bool withEdits,
        OperationFilter? filter = null,
        CancellationToken cancellationToken = default
    )
    {
        var (from, to, kind, by) = filter ?? new();
        await using var context = database.CreateContext();
        var operations = context.Operations.AsNoTracking().Where(o => o.DistrictId == districtId);
        return await ToldApartAsync(
            context,
            await (withEdits || kind is not null ? operations : operations.Where(NotByHand))
                .Where(o => before == null || o.Id < before)
                .Where(o => from == null || o.CreatedAt >= from)
                .Where(o => to == null || o.CreatedAt < to)
                .Where(o => kind == null || o.Kind == kind)
                .Where(o => by == null || o.RequestedBy == by)
                .OrderByDescending(o => o.Id)
                .Take(take)
                .ToListAsync(cancellationToken),
            cancellationToken
        );
    }

    /// <summary>The newest operations of one kind first.</summary>
    public async Task<IReadOnlyList<Operation>> OfKindAsync(
        int districtId,
        OperationKind kind,
        int take,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        return await context
            .Operations.AsNoTracking()
            .Where(o => o.DistrictId == districtId && o.Kind == kind)
            .OrderByDescending(o => o.Id)
            .Take(take)
            .ToListAsync(cancellationToken);
    }

    /// <summary>The status as JSON and the command line say it.</summary>
    public static string StatusWord(OperationStatus status) =>
        status switch
        {
            OperationStatus.NeedsApproval => "needs-approval",
            OperationStatus.CompletedWithWarnings => "completed-with-warnings",
            _ => status.ToString().ToLowerInvariant(),
        };

    /// <summary>The kind as JSON and the command line say it.</summary>
    public static string KindWord(OperationKind kind) =>
        kind switch
        {
            OperationKind.FullSync => "full",
            OperationKind.ChangesSync => "changes",
            OperationKind.PersonSync => "person",
            _ => kind.ToString().ToLowerInvariant(),
        };

    /// <summary>The name people see, such as "ClassLink Full Sync".</summary>
    public static string Title(Operation operation)
    {
        var service = operation.Integration is { } kind ? IntegrationWords.Name(kind) + " " : "";
        var preview = operation is { PreviewOnly: true, ApprovedAt: null } ? " (preview)" : "";
        return operation.Kind switch
        {
            OperationKind.FullSync => $"{service}Full Sync{preview}",
            OperationKind.ChangesSync => $"{service}Changes Sync{preview}",
            OperationKind.PersonSync => $"{service}One-person Sync{preview}",
            OperationKind.Undo => $"Undo (of operation {operation.SubjectId})",
            OperationKind.Merge => "Patron Merge",
            OperationKind.Remove => $"Patron Removal{preview}",
            OperationKind.Erase => "Patron Erasure",
            OperationKind.Retention => "Retention",
            OperationKind.Readiness => $"{service}Readiness",
            OperationKind.Review => "Review Decision",
            OperationKind.Import => $"Patron Import{preview}",
            OperationKind.Export => "Patron Export",
            OperationKind.Edit => $"Patron Edit{preview}",
            OperationKind.Switch => $"{service}Switch",
            _ => operation.Kind.ToString(),
        };
    }

    /// <summary>The name with the number that the pages and the command line know it by, such as "ClassLink Full Sync #12".</summary>
    public static string Numbered(Operation operation) =>
        string.Create(CultureInfo.InvariantCulture, $"{Title(operation)} #{operation.Id}");

    public static SyncCounts CountsOf(Operation operation) => CountsOf(operation.Counts);

    /// <summary>Totals as they are stored.</summary>
    internal static SyncCounts CountsOf(string counts) => JsonSerializer.Deserialize<SyncCounts>(counts, Json) ?? new SyncCounts();

    /// <summary>How many rows of a plan a hold keeps back, by outcome.</summary>
    internal async Task<IReadOnlyDictionary<Outcome, long>> HeldOutcomesAsync(int districtId, long id, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        return await HeldOutcomesAsync(context, districtId, id, all: false, cancellationToken);
    }

    public static IReadOnlyList<WarningGroup> WarningsOf(Operation operation) =>
        // Why something waits is what whoever reads has to decide on: it comes before what is only to be known.
        // Once that is done, nothing is left to do about it.
        [
            .. (JsonSerializer.Deserialize<List<WarningGroup>>(operation.Warnings, Json) ?? [])
                .OrderBy(w => w.Code != WarningGroup.Held)
                .Select(w => w.Code == WarningGroup.Held && CountsOf(operation).Held == 0 ? w with { Hint = null } : w),
        ];

    private async Task DecideAsync(
        int districtId,
        long id,
        string by,
        string verb,
        Action<Operation> change,
        CancellationToken cancellationToken
    )
    {
        await using var connection = await database.OpenAsync(cancellationToken);
        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
        await database.Bulk.LockDistrictAsync(connection, transaction, districtId, cancellationToken);
        await using var context = database.CreateContext(connection, transaction).AllowLong();
        var operation = await FindAsync(context, districtId, id, cancellationToken);
        if (operation.Status is not (OperationStatus.NeedsApproval or OperationStatus.Preview))
        {
            throw new RollcallException(
                $"Operation {id} is {StatusWord(operation.Status).Replace('-', ' ')}: nothing of it waits for an approval."
            );
        }

        if (
            await context.Operations.AnyAsync(
                o =>
                    o.DistrictId == districtId
                    && o.SubjectId == id
                    && (o.Status == OperationStatus.Waiting || o.Status == OperationStatus.Running),
                cancellationToken
            )
        )
        {
            throw new RollcallException($"Operation {id} is being undone: nothing of it can be decided any more.");
        }

        if (verb == "approve" && !operation.Planned)
        {
            throw new RollcallException(
                $"Operation {id} read nothing, because nothing had changed: there is nothing to approve. Run a sync, and it reads what is so now."
            );
        }

        if (verb == "approve" && operation is { Integration: { } kind, Kind: not OperationKind.Switch })
        {
            // What cannot be written now would be lost with the attempt.
            (await Sync.SyncSetup.LoadAsync(context, districtId, kind, time, cancellationToken)).EnsureReady();
        }

        if (verb == "approve" && operation is { Status: OperationStatus.Preview, Integration: not null })
        {
            await Sync.OlderPlans.GiveWayAsync(context, operation, time.GetUtcNow(), cancellationToken);
        }

        var was = operation.Status;
        change(operation);

        // Only the one who still finds it waiting decides; the claim of a second one finds no row.
        var decided = await Sql.ExecuteAsync(
            connection,
            transaction,
            "UPDATE operations SET fence = fence + 1 WHERE id = @id AND status = @was",
            cancellationToken,
            ("@id", id),
            ("@was", (int)was)
        );
        if (decided != 1)
        {
            throw new RollcallException($"Operation {id} has just been decided by somebody else.");
        }

        operation.Fence++;
        if (verb == "discard")
        {
            var counts = CountsOf(operation);
            var dropped = await HeldOutcomesAsync(context, districtId, id, was == OperationStatus.Preview, cancellationToken);
            operation.Counts = JsonSerializer.Serialize(Drop(counts, dropped) with { Held = 0 }, Json);
            var row = await context.Integrations.SingleOrDefaultAsync(
                i => i.DistrictId == districtId && i.Kind == operation.Integration,
                cancellationToken
            );
            if (row is not null && was == OperationStatus.NeedsApproval)
            {
                // What was dropped is still so in the roster: only a full sync sees it again.
                IntegrationService.RequireFull(row, $"operation {id} was discarded");
            }
        }

        context.AuditEntries.Add(
            new Audit.AuditEntry
            {
                DistrictId = districtId,
                At = time.GetUtcNow(),
                Actor = by,
                Action = verb,
                Details = $"Operation {id}",
            }
        );
        await context.SaveChangesAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);
    }

    internal static async Task<Dictionary<Outcome, long>> HeldOutcomesAsync(
        RollcallContext context,
        int districtId,
        long id,
        bool all,
        CancellationToken cancellationToken
    ) =>
        await context
            .Changes.Where(c => c.DistrictId == districtId && c.OperationId == id && (all || c.Held))
            .GroupBy(c => c.Outcome)
            .Select(g => new { g.Key, Count = g.LongCount() })
            .ToDictionaryAsync(g => g.Key, g => g.Count, cancellationToken);

    /// <summary>Takes changes out of the totals that did not come about: the people count as skipped, absent ones not at all.</summary>
    internal static SyncCounts Drop(SyncCounts counts, IReadOnlyDictionary<Outcome, long> dropped)
    {
        long Of(Outcome outcome) => dropped.GetValueOrDefault(outcome);
        return counts with
        {
            Created = counts.Created - Of(Outcome.Created),
            Updated = counts.Updated - Of(Outcome.Updated),
            Reactivated = counts.Reactivated - Of(Outcome.Reactivated),
            Transferred = counts.Transferred - Of(Outcome.Transferred) - Of(Outcome.Absent),
            Absent = counts.Absent - Of(Outcome.Absent),
            Removed = counts.Removed - Of(Outcome.Removed),
            Review = counts.Review - Of(Outcome.Review),
            Skipped =
                counts.Skipped
                + Of(Outcome.Removed)
                + Of(Outcome.Review)
                + Of(Outcome.Created)
                + Of(Outcome.Updated)
                + Of(Outcome.Reactivated)
                + Of(Outcome.Transferred),
        };
    }

    private static Task<Operation> FindAsync(RollcallContext context, int districtId, long id, CancellationToken cancellationToken) =>
        FindAsync(context.Operations, districtId, id, cancellationToken);

    private static async Task<Operation> FindAsync(
        IQueryable<Operation> operations,
        int districtId,
        long id,
        CancellationToken cancellationToken
    ) =>
        await operations.SingleOrDefaultAsync(o => o.DistrictId == districtId && o.Id == id, cancellationToken)
        ?? throw new RollcallException($"There is no operation {id}. 'rollcall operation list' shows those there are.");
}
