using System.Globalization;
using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Audit;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Storage;
using Rollcall.Sync.Person;

namespace Rollcall.Sync.Undo;

/// <summary>Takes an operation back, or one patron of it.</summary>
public sealed class UndoService(RollcallDatabase database, TimeProvider time)
{
    /// <summary>Queues the undo of an operation. What a later change touched stays, and the log says so.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="id">The operation to take back.</param>
    /// <param name="barcode">One patron alone, by barcode as it is now, or by the roster's id as <c>guid:ID</c>; null for all.</param>
    /// <param name="actor">Who asks.</param>
    /// <param name="seen">The patron whom somebody looked at: barcodes change hands. Null where nobody looked.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>The operation that undoes it.</returns>
    /// <exception cref="RollcallException">It cannot be undone; the message says why.</exception>
    public async Task<long> EnqueueAsync(
        int districtId,
        long id,
        string? barcode,
        Actor actor,
        SeenPatron? seen = null,
        CancellationToken cancellationToken = default
    )
    {
        await using var connection = await database.OpenAsync(cancellationToken);
        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
        await database.Bulk.LockDistrictAsync(connection, transaction, districtId, cancellationToken);
        await using var context = database.CreateContext(connection, transaction);
        var subject =
            await context.Operations.AsNoTracking().SingleOrDefaultAsync(o => o.DistrictId == districtId && o.Id == id, cancellationToken)
            ?? throw new RollcallException($"There is no operation {id}. 'rollcall operation list' shows those there are.");
        if (await RefusalAsync(context, subject, barcode is not null, cancellationToken) is { } refusal)
        {
            throw new RollcallException(refusal);
        }

        if (
            subject.Kind == OperationKind.Switch
            && (
                barcode is not null
                    ? $"Operation {id} switched the roster service for the whole district: it is undone as a whole."
                    : await IntegrationSwitch.RefusalAsync(context, subject, cancellationToken)
            )
                is { } switched
        )
        {
            throw new RollcallException(switched);
        }

        if (subject.Kind == OperationKind.Merge && barcode is not null)
        {
            // Half of it would take the id off one record and leave the other one away.
            throw new RollcallException($"Operation {id} made one record of two: it is undone as a whole.");
        }

        if (await MergedSince.RefusalAsync(context, subject, actor.Right, cancellationToken) is { } since)
        {
            throw new RollcallException(since);
        }

        if (
            await context
                .Operations.Where(o => o.DistrictId == districtId && o.SubjectId == id)
                .Where(o => o.Status == OperationStatus.Waiting || o.Status == OperationStatus.Running)
                .Select(o => (long?)o.Id)
                .FirstOrDefaultAsync(cancellationToken) is
            { } open
        )
        {
            throw new RollcallException($"Operation {id} is being undone already, by operation {open}.");
        }

        if (subject.Kind == OperationKind.Switch && actor.Right < SecurityGroup.DistrictAdministrator)
        {
            throw new RollcallException(
                $"Operation {id} switched the roster service, which is a preference of the district: only a District Administrator takes it back."
            );
        }

        long? patron = null;
        if (barcode is not null)
        {
            var found =
                await FindAsync(
                    context.Patrons.AsNoTracking().Where(p => p.DistrictId == districtId),
                    barcode.Trim(),
                    onlyBarcode: seen is not null,
                    cancellationToken
                ) ?? throw PatronService.Nobody(barcode);
            if (seen is { } looked && looked.Id != found.Id)
            {
                throw PatronService.AnotherPerson(barcode);
            }

            if (PatronGuard.Refusal(actor.Right, found, ChangeKind.Update, new ChangeValues()) is { } guarded)
            {
                throw new RollcallException($"{guarded}.");
            }

            patron = found.Id;
            var rows = await context
                .Changes.AsNoTracking()
                .Where(c => c.DistrictId == districtId && c.OperationId == id && c.PatronId == patron)
                .Select(c => new
                {
                    c.Number,
                    c.Held,
                    c.Stale,
                    c.Kind,
                })
                .ToListAsync(cancellationToken);
            if (rows.Count == 0)
            {
                throw new RollcallException($"Operation {id} did nothing to the patron {Text.Cut(barcode, 40)}.");
            }

            if (
                !rows.Exists(r =>
                    UndoPlanner.Writing.Contains(r.Kind) && !r.Stale && r.Number <= (r.Held ? subject.HeldAppliedTo : subject.AppliedTo)
                )
            )
            {
                throw new RollcallException(
                    $"Operation {id} wrote nothing for the patron {Text.Cut(barcode, 40)}: what it planned waits for an approval or was left out."
                );
            }
        }
        else if (
            subject.Kind != OperationKind.Switch
            && !await context.Changes.AnyAsync(c => c.DistrictId == districtId && c.OperationId == id, cancellationToken)
        )
        {
            throw new RollcallException($"Operation {id} has no changes on record: there is nothing to undo.");
        }
        else if (
            subject.Status == OperationStatus.Discarded
            && !await context.Changes.AnyAsync(
                c =>
                    c.DistrictId == districtId
                    && c.OperationId == id
                    && UndoPlanner.Writing.Contains(c.Kind)
                    && !c.Stale
                    && c.Number <= (c.Held ? subject.HeldAppliedTo : subject.AppliedTo),
                cancellationToken
            )
        )
        {
            throw new RollcallException($"Operation {id} was discarded before it had written anything: there is nothing to undo.");
        }

        var operation = new Operation
        {
            DistrictId = districtId,
            Kind = OperationKind.Undo,
            Integration = subject.Integration,
            SubjectId = id,
            RequestedBy = actor.Name,
            ActingGroup = actor.Right,
            Options = JsonSerializer.Serialize(new UndoOptions(id, patron), OperationQueue.Json),
            CreatedAt = time.GetUtcNow(),
        };
        context.Operations.Add(operation);
        context.AuditEntries.Add(
            new AuditEntry
            {
                DistrictId = districtId,
                At = time.GetUtcNow(),
                Actor = actor.Name,
                Action = "undo",
                Details = patron is null
                    ? $"Operation {id}"
                    : string.Create(CultureInfo.InvariantCulture, $"Operation {id}, patron {patron}"),
            }
        );
        await context.SaveChangesAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);
        return operation.Id;
    }

    /// <summary>Why an operation cannot be undone as a whole, as far as it is known without its patrons; null when it can.</summary>
    public async Task<string?> RefusalAsync(Operation operation, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        return await RefusalAsync(context, operation, onePatron: false, cancellationToken);
    }

    /// <summary>As <see cref="Refusal"/>. What an undo left out can be taken back by another, and so can each patron alone: what came back before
    /// does not do so twice.</summary>
    internal static async Task<string?> RefusalAsync(
        RollcallContext context,
        Operation operation,
        bool onePatron,
        CancellationToken cancellationToken
    )
    {
        if (operation is not { Status: OperationStatus.Undone, Kind: not (OperationKind.Switch or OperationKind.Merge) })
        {
            return Refusal(operation);
        }

        var undos = context.Operations.Where(o =>
            o.DistrictId == operation.DistrictId && o.Kind == OperationKind.Undo && o.SubjectId == operation.Id
        );
        var rows = context.Changes.Where(c => c.DistrictId == operation.DistrictId && undos.Any(o => o.Id == c.OperationId));
        var left = rows.Where(c =>
            (c.Stale || c.Warning != null || (c.Kind == ChangeKind.Note && c.Outcome == Outcome.Skipped))
            // What was removed is gone for good.
            && (c.Reason == null || !c.Reason.Contains(UndoPlanner.Removed))
            && !rows.Any(t => t.PatronId == c.PatronId && t.OperationId > c.OperationId && !t.Stale && t.Kind != ChangeKind.Note)
        );
        return Refusal(operation, again: onePatron || await left.AnyAsync(cancellationToken));
    }

    /// <summary>Whoever is meant, as a one-person sync takes it: a barcode, or the roster's id of somebody, each for certain with its word before it.</summary>
    private static async Task<Patron?> FindAsync(
        IQueryable<Patron> patrons,
        string person,
        bool onlyBarcode,
        CancellationToken cancellationToken
    )
    {
        if (person.StartsWith(PersonOptions.ByGuid, StringComparison.OrdinalIgnoreCase))
        {
            var guid = person[PersonOptions.ByGuid.Length..].Trim();
            return await patrons.SingleOrDefaultAsync(p => p.Guid == guid, cancellationToken);
        }

        var certain = person.StartsWith(PersonOptions.ByBarcode, StringComparison.OrdinalIgnoreCase);
        var key = Text.BarcodeKey(certain ? person[PersonOptions.ByBarcode.Length..].Trim() : person);
        var byBarcode = await patrons.SingleOrDefaultAsync(p => p.BarcodeKey == key, cancellationToken);
        var byGuid = certain || onlyBarcode ? null : await patrons.SingleOrDefaultAsync(p => p.Guid == person, cancellationToken);
        return byBarcode is not null && byGuid is not null && byBarcode.Id != byGuid.Id
            ? throw new RollcallException(
                $"'{Text.Cut(person, 60)}' is the barcode of a patron, and the roster's id of another one. Say {PersonOptions.ByBarcode}{byBarcode.Barcode} or {PersonOptions.ByGuid}{Text.Cut(person, 60)}."
            )
            : byBarcode ?? byGuid;
    }

    /// <summary>Why an operation cannot be undone, in words that say what to do; null when it can.</summary>
    /// <param name="operation">The operation.</param>
    /// <param name="again">Also when it has been undone already.</param>
    public static string? Refusal(Operation operation, bool again = false) =>
        operation switch
        {
            { Status: OperationStatus.Undone } when !again => $"Operation {operation.Id} is undone already.",
            { Kind: OperationKind.Undo } =>
                $"Operation {operation.Id} is itself an undo. To bring its changes back, run the sync or the import again.",
            { Kind: OperationKind.Remove } => $"Operation {operation.Id} removed patrons: a removal is final.",
            { Kind: OperationKind.Review } when ReviewDecisions.IsReopening(operation) =>
                $"Operation {operation.Id} opened a question again: there is nothing to undo. Decide on it in Review.",
            { Expired: true } => $"The log of operation {operation.Id} is older than logs are kept: there is nothing to undo from.",
            { Kind: OperationKind.Retention } => $"Operation {operation.Id} removed what was too old to keep: that is final.",
            { Kind: OperationKind.Erase } => $"Operation {operation.Id} erased a person: an erasure is final.",
            { Kind: OperationKind.Readiness } => $"Operation {operation.Id} counted and changed nobody: there is nothing to undo.",
            { Kind: OperationKind.Export } => $"Operation {operation.Id} changed no patron's fields.",
            { Status: OperationStatus.Waiting or OperationStatus.Running } =>
                $"Operation {operation.Id} has not ended. Cancel it first, or wait: rollcall operation cancel {operation.Id}",
            { AppliedTo: 0, HeldAppliedTo: 0, Kind: not OperationKind.Switch } =>
                $"Operation {operation.Id} has written nothing: there is nothing to undo.",
            _ => null,
        };
}

/// <summary>What an undo works on.</summary>
/// <param name="Of">The operation.</param>
/// <param name="Patron">One patron alone, by id; null for all.</param>
internal sealed record UndoOptions(long Of, long? Patron);
