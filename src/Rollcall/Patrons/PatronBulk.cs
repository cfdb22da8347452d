using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Audit;
using Rollcall.Operations;
using Rollcall.Patrons.Erasure;
using Rollcall.Storage;
using Rollcall.Sync;
using Rollcall.Sync.Plan;

namespace Rollcall.Patrons;

/// <summary>Many patrons at once, as an operation that is planned first: previewed, logged, applied in slices.</summary>
public sealed class PatronBulk(RollcallDatabase database, TimeProvider time)
{
    /// <summary>The warning of somebody whose removal the roster knows nothing of.</summary>
    internal const string StillThere = "Still in the roster: the next sync makes a new patron of this person";

    private const int Batch = 1000;

    private static readonly int[] s_notInBulk = [PatronFields.Barcode, PatronFields.Guid, PatronFields.LastName];

    /// <summary>Plans the same change of fields for all patrons of a filter.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="filter">Whose.</param>
    /// <param name="changes">Field name, number or label → new value; a blank empties the field; a site is its code.</param>
    /// <param name="preview">Stop at the plan; it can be approved.</param>
    /// <param name="actor">Who.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>The operation, waiting.</returns>
    /// <exception cref="RollcallException">A field or value is not possible; nothing was planned.</exception>
    public async Task<long> PlanEditAsync(
        int districtId,
        PatronFilter filter,
        IReadOnlyList<KeyValuePair<string, string?>> changes,
        bool preview,
        Actor actor,
        CancellationToken cancellationToken = default
    )
    {
        var wanted = new Dictionary<PatronField, string?>();
        await using (var context = database.CreateContext())
        {
            foreach (var (name, value) in changes)
            {
                var field = PatronService.Known(name);
                if (s_notInBulk.Contains(field.Number))
                {
                    throw RollcallException.OfValue($"{field.Label} differs from patron to patron: change it on each patron's record.");
                }

                PatronService.CheckRight(actor, field);
                wanted[field] = await PatronService.CanonicalAsync(context, districtId, field, value, cancellationToken);
            }
        }

        if (wanted.Count == 0)
        {
            throw RollcallException.OfValue("Choose at least one field to change, and its new value.");
        }

        var options = new { fields = wanted.ToDictionary(w => w.Key.Name, w => w.Value) };
        return await PlanAsync(
            districtId,
            OperationKind.Edit,
            preview,
            actor,
            JsonSerializer.Serialize(options, OperationQueue.Json),
            Patrons(districtId, filter, cancellationToken),
            (patron, link) =>
            {
                var values = new ChangeValues();
                foreach (var (field, value) in wanted)
                {
                    var old = field.Get(patron);
                    if (!string.Equals(old, value, StringComparison.Ordinal))
                    {
                        values.Add(field.Number, old, value);
                    }
                }

                return values.Count == 0
                    ? null
                    : new Change
                    {
                        Kind = ChangeKind.Edit,
                        Outcome = Outcome.Updated,
                        Values = values.ToJson(),
                    };
            },
            null,
            cancellationToken
        );
    }

    /// <summary>Plans the removal of all patrons of a filter. A removal is final: export them first.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="filter">Whose.</param>
    /// <param name="preview">Stop at the plan; it can be approved.</param>
    /// <param name="actor">Who.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>The operation, waiting.</returns>
    public Task<long> PlanRemovalAsync(
        int districtId,
        PatronFilter filter,
        bool preview,
        Actor actor,
        CancellationToken cancellationToken = default
    ) => RemoveAsync(districtId, Patrons(districtId, filter, cancellationToken), preview, actor, null, cancellationToken);

    /// <summary>Plans the removal of patrons by barcode.</summary>
    /// <inheritdoc cref="PlanRemovalAsync(int, PatronFilter, bool, string, CancellationToken)"/>
    /// <exception cref="RollcallException">A barcode is nobody's; nothing was planned.</exception>
    public async Task<long> PlanRemovalAsync(
        int districtId,
        IReadOnlyCollection<string> barcodes,
        bool preview,
        Actor actor,
        CancellationToken cancellationToken = default
    )
    {
        var written = barcodes.Select(b => b.Trim()).DistinctBy(Text.BarcodeKey).ToDictionary(Text.BarcodeKey);
        var keys = written.Keys.ToArray();
        var found = new List<Patron>();
        Erasures erased;
        await using (var context = database.CreateContext())
        {
            erased = await Erasures.SoFarAsync(context, districtId, cancellationToken);
            foreach (var chunk in keys.Chunk(Batch))
            {
                found.AddRange(
                    await context
                        .Patrons.AsNoTracking()
                        .Where(p => p.DistrictId == districtId && chunk.Contains(p.BarcodeKey))
                        .ToListAsync(cancellationToken)
                );
            }
        }

        var missing = keys.Except(found.Select(p => p.BarcodeKey)).ToList();
        return missing.Count > 0
            ? throw new RollcallException(
                $"There is no patron with the barcode {string.Join(", ", missing.Take(5).Select(k => Text.Cut(written[k], 40)))}{(missing.Count > 5 ? $" and {missing.Count - 5} more" : "")}. Nothing was removed."
            )
            : await RemoveAsync(districtId, found.ToAsyncEnumerable(), preview, actor, erased, cancellationToken);
    }

    private Task<long> RemoveAsync(
        int districtId,
        IAsyncEnumerable<Patron> patrons,
        bool preview,
        Actor actor,
        Erasures? erased,
        CancellationToken cancellationToken
    ) =>
        PlanAsync(
            districtId,
            OperationKind.Remove,
            preview,
            actor,
            "{}",
            patrons,
            (patron, link) =>
            {
                // Who it was, for the log; everything else goes with the person.
                var values = new ChangeValues();
                foreach (
                    var field in (int[])
                        [PatronFields.Barcode, PatronFields.LastName, PatronFields.FirstName, PatronFields.Status, PatronFields.Site]
                )
                {
                    values.Add(field, PatronFields.ByNumber(field).Get(patron), null);
                }

                return new Change
                {
                    Kind = ChangeKind.Remove,
                    Outcome = Outcome.Removed,
                    Values = values.ToJson(),
                    Link = link is null ? null : LinkState.Removed,

                    // Which records it stands for; everything else of the link goes with the person.
                    LinkBefore = link is null ? null : new LinkState { RoleGroup = link.RoleGroup, Aliases = link.Aliases }.ToJson(),
                    Warning =
                        // Whom no sync has marked a leaver is there, whatever somebody has marked them by hand.
                        link is { Absent: false, StatusBefore: var before }
                        && patron.Guid is not null
                        && (patron.Status != PatronStatus.Transferred || before is null)
                            ? StillThere
                            : null,
                };
            },
            erased,
            cancellationToken
        );

    private IAsyncEnumerable<Patron> Patrons(int districtId, PatronFilter filter, CancellationToken cancellationToken) =>
        new PatronService(database, time).AllAsync(districtId, filter, cancellationToken);

    private async Task<long> PlanAsync(
        int districtId,
        OperationKind kind,
        bool preview,
        Actor actor,
        string options,
        IAsyncEnumerable<Patron> patrons,
        Func<Patron, PatronLink?, Change?> change,
        Erasures? erased,
        CancellationToken cancellationToken
    )
    {
        await using var connection = await database.OpenAsync(cancellationToken);
        await using var context = database.CreateContext(connection, null);

        // Before any of these patrons is read; whoever has read them already says what was so then.
        erased ??= await Erasures.SoFarAsync(context, districtId, cancellationToken);
        var operation = PlannedOperation.Begin(districtId, kind, preview, actor, options, time);
        context.Operations.Add(operation);
        await context.SaveChangesAsync(cancellationToken);
        var writer = new ChangeWriter(database, connection, districtId, operation.Id);
        long read = 0;
        long warnings = 0;
        long guarded = 0;
        await foreach (var chunk in patrons.Chunk(Batch).WithCancellation(cancellationToken))
        {
            var ids = chunk.Select(p => p.Id).ToArray();
            var links = await context
                .PatronLinks.AsNoTracking()
                .Where(l => l.DistrictId == districtId && ids.Contains(l.PatronId))
                .ToDictionaryAsync(l => l.PatronId, cancellationToken);
            foreach (var patron in chunk)
            {
                read++;
                var link = links.GetValueOrDefault(patron.Id);
                if (change(patron, link) is not { } row)
                {
                    continue;
                }

                if (PatronGuard.Refusal(actor.Right, patron, row.Kind, ChangeValues.Parse(row.Values)) is { } refusal)
                {
                    guarded++;
                    row = new Change
                    {
                        Kind = ChangeKind.Skip,
                        Outcome = Outcome.Skipped,
                        Reason = refusal,
                    };
                }

                row.PatronId = patron.Id;
                row.RosterId = patron.Guid;
                row.SiteId = patron.SiteId;
                row.RoleGroup = link?.RoleGroup ?? RoleGroup.None;
                warnings += row.Warning is null ? 0 : 1;
                await writer.AddAsync(row, cancellationToken);
            }
        }

        await writer.FlushAsync(cancellationToken);
        context.AuditEntries.Add(
            new AuditEntry
            {
                DistrictId = districtId,
                At = time.GetUtcNow(),
                Actor = actor.Name,
                Action = kind == OperationKind.Remove ? "remove patrons" : "edit patrons",
                Details = $"Operation {operation.Id}: {writer.Count - guarded} of {read}",
            }
        );
        await PlannedOperation.CompleteAsync(
            database,
            connection,
            context,
            operation,
            erased,
            writer.Count,
            new SyncCounts
            {
                Read = read,
                Updated = kind == OperationKind.Edit ? writer.Count - guarded : 0,
                Removed = kind == OperationKind.Remove ? writer.Count - guarded : 0,
                Skipped = guarded,
                Unchanged = read - writer.Count,
            },
            [
                .. warnings == 0
                    ? Array.Empty<WarningGroup>()
                    :
                    [
                        new WarningGroup(
                            "removed-in-roster",
                            "People to be removed are still in the roster",
                            warnings,
                            "The next sync makes new patrons of them. Leave them out, or wait until the roster has let them go."
                        ),
                    ],
                .. guarded == 0 ? Array.Empty<WarningGroup>() : [PatronGuard.Warning(guarded)],
            ],
            cancellationToken
        );
        return operation.Id;
    }
}
