using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Audit;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Storage;
using Rollcall.Sync;

namespace Rollcall.Patrons;

/// <summary>One field of two records that may become one, as canonical text.</summary>
/// <param name="Field">Which.</param>
/// <param name="Kept">Of the record that stays; null when empty.</param>
/// <param name="Gone">Of the record that goes; null when empty.</param>
/// <param name="Filled">The kept record has none and takes the other's.</param>
public sealed record MergedField(PatronField Field, string? Kept, string? Gone, bool Filled)
{
    /// <summary>What the kept record has then.</summary>
    public string? After { get; init; } = Filled ? Gone : Kept;
}

/// <summary>A patron as somebody looked at it.</summary>
/// <param name="Id">Which: barcodes change hands.</param>
/// <param name="Version">Moves with every change.</param>
[StructLayout(LayoutKind.Auto)]
public readonly record struct SeenPatron(long Id, long Version)
{
    public static SeenPatron Of(Patron patron) => new(patron.Id, patron.Version);

    /// <summary>Reads what <see cref="ToString"/> wrote; null when it is something else.</summary>
    public static SeenPatron? Parse(string? text) =>
        text?.Split('.') is [var id, var version]
        && long.TryParse(id, NumberStyles.None, CultureInfo.InvariantCulture, out var which)
        && long.TryParse(version, NumberStyles.None, CultureInfo.InvariantCulture, out var at)
            ? new(which, at)
            : null;

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Id}.{Version}");
}

/// <summary>Two records of one person become one.</summary>
public sealed class PatronMerge(RollcallDatabase database, TimeProvider time)
{
    /// <summary>What a merge does with each field that one of the two has.</summary>
    public static IReadOnlyList<MergedField> Compare(Patron kept, Patron gone)
    {
        List<MergedField> fields =
        [
            .. PatronFields
                .All.Select(f => (Field: f, Kept: f.Get(kept), Gone: f.Get(gone)))
                .Where(f => f.Kept is not null || f.Gone is not null)
                .Select(f => new MergedField(f.Field, f.Kept, f.Gone, f.Kept is null)),
        ];

        // A mark says of one value that it is the library's: it comes with that value, and not without it.
        var marks = fields.FindIndex(f => f.Field.Number == PatronFields.KeptFields);
        if (marks >= 0)
        {
            var filled = fields.Where(f => f.Filled).Select(f => f.Field.Number).ToHashSet();
            var own = Marks(fields[marks].Kept);
            var after = own.Union(Marks(fields[marks].Gone).Where(filled.Contains)).Order().ToList();
            fields[marks] = fields[marks] with
            {
                Filled = after.Count > own.Count,
                After = after.Count == 0 ? null : string.Join(',', after),
            };
        }

        return fields;

        static List<int> Marks(string? list) =>
            list is { Length: > 0 } ? [.. list.Split(',').Select(f => int.Parse(f, CultureInfo.InvariantCulture))] : [];
    }

    /// <summary>Keeps one record, fills its blanks from the other, takes over the other's link, and takes the other out.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="keep">Barcode of the record that stays.</param>
    /// <param name="other">Barcode of the record that goes.</param>
    /// <param name="actor">Who.</param>
    /// <param name="seen">Both as they were compared; null when nobody looked.</param>
    /// <param name="cancellationToken">Gives up; nothing is written then.</param>
    /// <returns>The operation; it can be undone.</returns>
    /// <exception cref="RollcallException">One of them does not exist, is not the actor's to change or was changed since it was looked at, or both are the same; nothing was written.</exception>
    public async Task<long> MergeAsync(
        int districtId,
        string keep,
        string other,
        Actor actor,
        (SeenPatron Kept, SeenPatron Gone)? seen = null,
        CancellationToken cancellationToken = default
    )
    {
        await using var work = await DistrictTransaction.BeginAsync(database, districtId, cancellationToken);
        var context = work.Context;
        var keptId = await IdAsync(keep, null);
        var otherId = await IdAsync(other, keptId);
        if (keptId == otherId)
        {
            throw new RollcallException("Both barcodes are the same patron. Name the one to keep, then the other one.");
        }

        long[] ids = [keptId, otherId];
        await database.Bulk.LockPatronsAsync(work.Connection, work.Transaction, districtId, ids, cancellationToken);
        var patrons = await context
            .Patrons.AsNoTracking()
            .Where(p => p.DistrictId == districtId && ids.Contains(p.Id))
            .ToDictionaryAsync(p => p.Id, cancellationToken);
        var links = await context
            .PatronLinks.AsNoTracking()
            .Where(l => l.DistrictId == districtId && ids.Contains(l.PatronId))
            .ToDictionaryAsync(l => l.PatronId, cancellationToken);
        var (kept, gone) = (patrons[keptId], patrons[otherId]);
        if (seen is var (keptSeen, goneSeen) && (SeenPatron.Of(kept) != keptSeen || SeenPatron.Of(gone) != goneSeen))
        {
            throw new RollcallException("One of the two records was changed since you looked at them. Look again, then merge.");
        }

        var (keptLink, goneLink) = (links.GetValueOrDefault(keptId), links.GetValueOrDefault(otherId));

        var removed = new ChangeValues();
        var filled = new ChangeValues();
        foreach (var merged in Compare(kept, gone))
        {
            if (merged.Gone is null)
            {
                continue;
            }

            removed.Add(merged.Field.Number, merged.Gone, null);
            if (merged.Filled)
            {
                filled.Add(merged.Field.Number, merged.Kept, merged.After);
            }
        }

        var link = Join(kept, keptLink, gone, goneLink);
        Change[] rows =
        [
            new()
            {
                Kind = ChangeKind.Remove,
                Outcome = Outcome.Removed,
                PatronId = otherId,
                RosterId = gone.Guid,
                SiteId = gone.SiteId,
                RoleGroup = goneLink?.RoleGroup ?? RoleGroup.None,
                Values = removed.ToJson(),
                Link = goneLink is null ? null : LinkState.Removed,
                LinkBefore = goneLink is null ? null : LinkState.Of(goneLink).ToJson(),
                Reason = $"Merged into {kept.Barcode}",
            },
            new()
            {
                Kind = ChangeKind.Update,
                Outcome = filled.Count > 0 ? Outcome.Updated : Outcome.Unchanged,
                PatronId = keptId,
                RosterId = kept.Guid ?? gone.Guid,
                SiteId = kept.SiteId,
                RoleGroup = link?.RoleGroup ?? RoleGroup.None,
                Values = filled.ToJson(),
                Link = link?.ToJson(),
                LinkBefore = keptLink is null ? null : LinkState.Of(keptLink).ToJson(),
                Reason = $"Merged with {gone.Barcode} ({gone.DisplayName})",
                Warning =
                    gone.Group > kept.Group
                        ? $"The other record had the security group {PatronFields.GroupWord(gone.Group)}; this one keeps {PatronFields.GroupWord(kept.Group)}"
                        : null,
            },
        ];
        var operation = await ImmediateOperation.RunAsync(
            database,
            work.Connection,
            work.Transaction,
            context,
            new Operation
            {
                DistrictId = districtId,
                Kind = OperationKind.Merge,
                Options = JsonSerializer.Serialize(new { keep = kept.Barcode, other = gone.Barcode }, OperationQueue.Json),
            },
            actor,
            rows,
            time,
            cancellationToken
        );
        context.AuditEntries.Add(
            new AuditEntry
            {
                DistrictId = districtId,
                At = time.GetUtcNow(),
                Actor = actor.Name,
                Action = "merge",
                Details = $"Operation {operation.Id}: {gone.Barcode} into {kept.Barcode}",
            }
        );
        if (goneLink is not null || gone.Guid is not null)
        {
            // How this person is in the roster under the other id, a sync of changes does not see.
            await IntegrationService.RequireFullAsync(
                context,
                districtId,
                $"operation {operation.Id} merged two records",
                cancellationToken
            );
        }

        await work.CommitAsync(cancellationToken);
        return operation.Id;

        async Task<long> IdAsync(string barcode, long? into)
        {
            var key = Text.BarcodeKey(barcode.Trim());
            return await context
                    .Patrons.Where(p => p.DistrictId == districtId && p.BarcodeKey == key)
                    .Select(p => (long?)p.Id)
                    .SingleOrDefaultAsync(cancellationToken)
                ?? throw new RollcallException(await DoneAsync(into) ?? $"There is no patron with the barcode {Text.Cut(barcode, 40)}.");
        }

        // Whoever presses twice, or after somebody else, has what they wanted.
        async Task<string?> DoneAsync(long? into)
        {
            if (into is null)
            {
                return null;
            }

            var otherKey = Text.BarcodeKey(other.Trim());
            var merges = await context
                .Operations.AsNoTracking()
                .Where(o => o.DistrictId == districtId && o.Kind == OperationKind.Merge && o.Status != OperationStatus.Undone)
                .Where(o => context.Changes.Any(c => c.DistrictId == districtId && c.OperationId == o.Id && c.PatronId == into))
                .OrderByDescending(o => o.Id)
                .ToListAsync(cancellationToken);
            return
                merges.Find(o =>
                    JsonSerializer.Deserialize<MergeOptions>(o.Options, OperationQueue.Json) is { Other: { } gone }
                    && Text.BarcodeKey(gone) == otherKey
                )
                    is { } merge
                ? $"{Text.Cut(keep, 40)} and {Text.Cut(other, 40)} are one record already: operation {merge.Id} merged them."
                : null;
        }
    }

    /// <summary>What a merge says of itself, as barcodes were then.</summary>
    private sealed record MergeOptions(string? Other);

    /// <summary>The kept record's link; the other's ids go on as aliases, so that the roster's rows still find this patron.</summary>
    private static LinkState? Join(Patron kept, PatronLink? keptLink, Patron gone, PatronLink? goneLink)
    {
        if (goneLink is null && (gone.Guid is null || kept.Guid is null))
        {
            // Who gets the other's GUID keeps no link of somebody before.
            return keptLink is null || gone.Guid is not null ? null : LinkState.Of(keptLink) with { SyncHash = 0 };
        }

        if (kept.Guid is null)
        {
            return LinkState.Of(goneLink!) with { SyncHash = 0 };
        }

        var link = keptLink is null ? new LinkState { RoleGroup = goneLink?.RoleGroup ?? RoleGroup.None } : LinkState.Of(keptLink);
        string[] aliases =
        [
            .. link.Aliases?.Split('\n') ?? [],
            .. gone.Guid is null ? [] : new[] { gone.Guid },
            .. goneLink?.Aliases?.Split('\n') ?? [],
        ];
        return link with
        {
            Aliases = aliases.Length == 0 ? null : string.Join('\n', aliases.Distinct(StringComparer.Ordinal)),
            SyncHash = 0,
        };
    }
}
