using System.Data.Common;
using Microsoft.EntityFrameworkCore;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Storage;

namespace Rollcall.Sync.Apply;

/// <summary>What came of some rows.</summary>
/// <param name="StaleOutcomes">The outcomes that rows had in the plan which were left out.</param>
/// <param name="ChangedSincePlan">Rows whose patron had changed since the plan.</param>
/// <param name="Guarded">Rows that were left out because they are not theirs to decide who asked; they count among the stale ones too.</param>
internal sealed record SliceResult(IReadOnlyList<Outcome> StaleOutcomes, long ChangedSincePlan, long Guarded);

/// <summary>Change rows → patrons, links and Review, in one transaction of the caller's. The only code that writes a patron by a change
/// row, whoever asked: a sync, an import, an undo, a decision, a librarian.</summary>
internal sealed class SliceWriter(
    RollcallDatabase database,
    int districtId,
    long operationId,
    SyncRules? rules,
    SecurityGroup right,
    TimeProvider time
)
{
    // A chain is one slice, however long; SQLite takes 32,766 parameters in a statement.
    private const int AtOnce = 5000;

    /// <summary>Words of a row whose barcode somebody else had when it was written.</summary>
    public const string BarcodeTaken = "barcode was taken meanwhile";

    /// <summary>The warning of a row whose patron was changed between plan and writing.</summary>
    public const string ChangedSincePlan = "Changed since plan";

    // Two barcodes of one key cost a number that nobody gets.
    private static readonly Keys s_keys = new(seed: 0);
    private KeySet? _promised;

    /// <summary>A barcode that was not drawn says who somebody is, as in a file: whoever has it now is no new patron.</summary>
    public bool BarcodeTells { get; init; }

    /// <summary>The keys that patrons got since the plan, where those tell who somebody is; null where they do not.</summary>
    public KeysSince? Keys { get; init; }

    /// <summary>When somebody looked at whom a removal would take: whoever was written since is left out, since a removal's row has not all that goes
    /// with the person. Null where no look comes before.</summary>
    public DateTimeOffset? LookedAt { get; init; }

    /// <summary>What kind of operation it is whose plan waited for its turn or for an approval; null where it was made a moment ago.</summary>
    public OperationKind? Waited { get; init; }

    /// <summary>Applies rows inside the caller's transaction.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="transaction">A transaction that began to write.</param>
    /// <param name="rows">Rows of the operation, stored already, in order.</param>
    /// <param name="approval">A row whose patron changed since the plan is left out; otherwise the field policy decides.</param>
    /// <param name="cancellationToken">Gives up; the caller rolls back.</param>
    public async Task<SliceResult> ApplyAsync(
        DbConnection connection,
        DbTransaction transaction,
        IReadOnlyList<Change> rows,
        bool approval,
        CancellationToken cancellationToken
    )
    {
        await database.Bulk.LockDistrictAsync(connection, transaction, districtId, cancellationToken);
        var part = WritingTrace.Begin("what is there read");
        var slice = new Slice();
        await using var context = database.CreateContext(connection, transaction);

        var ids = rows.Where(r => r.PatronId is not null && r.Kind != ChangeKind.Create)
            .Select(r => r.PatronId!.Value)
            .Distinct()
            .ToArray();
        await database.Bulk.LockPatronsAsync(connection, transaction, districtId, ids, cancellationToken);
        foreach (var patron in await LoadPatronsAsync(context, ids, cancellationToken))
        {
            slice.Patrons[patron.Id] = patron;
        }

        foreach (var some in ids.Chunk(AtOnce))
        {
            foreach (
                var link in await context
                    .PatronLinks.AsNoTracking()
                    .Where(l => l.DistrictId == districtId && some.Contains(l.PatronId))
                    .ToListAsync(cancellationToken)
            )
            {
                slice.Links[link.PatronId] = link;
            }
        }

        var parsed = rows.Select(r => (Row: r, Values: ChangeValues.Parse(r.Values))).ToList();
        parsed.RemoveAll(p => IsOutOfDate(slice, p.Row, p.Values) || IsGuarded(slice, p.Row, p.Values));
        await LoadTakenAsync(context, parsed, slice, cancellationToken);
        await LoadTouchedAsync(context, parsed, slice, cancellationToken);
        if (Keys is not null)
        {
            slice.Rekeyed = await Keys.ChangedAsync(context, parsed, slice.Patrons, cancellationToken);
        }

        var sites = new SiteSequences(districtId, context);
        if (parsed.Exists(p => p.Row.Kind == ChangeKind.Create))
        {
            await sites.LoadAsync(cancellationToken);
        }

        Turn(ref part, "worked out");
        ReleaseChain(slice, parsed, approval);
        foreach (var (row, values) in parsed)
        {
            switch (row.Kind)
            {
                case ChangeKind.Review:
                    slice.Reviews.Add((row, values));
                    break;
                case ChangeKind.Create:
                    await CreateAsync(context, slice, sites, row, values, cancellationToken);
                    break;
                case ChangeKind.Remove:
                    Remove(slice, row, values, approval);
                    break;
                default:
                    Update(slice, row, values, approval);
                    break;
            }
        }

        part?.Dispose();
        await WriteAsync(connection, transaction, context, slice, cancellationToken);
        await sites.SaveAsync(connection, transaction, cancellationToken);
        return new SliceResult(slice.StaleOutcomes, slice.ChangedSincePlan, slice.Guarded);
    }

    /// <summary>Leaves a row out of which it is known before any patron is looked at that it is not so any more.</summary>
    private bool IsOutOfDate(Slice slice, Change row, ChangeValues values)
    {
        if (row.Stale)
        {
            // A newer sync has said so, and why.
            slice.StaleOutcomes.Add(row.Outcome);
            return true;
        }

        if (rules?.Refusal(row, values) is { } refusal)
        {
            slice.LeaveOut(row, refusal);
            return true;
        }

        return false;
    }

    /// <summary>Leaves a row out that is not theirs to decide who asked for it, by the group that the patron has now.</summary>
    private bool IsGuarded(Slice slice, Change row, ChangeValues values)
    {
        if (
            row.Kind == ChangeKind.Review
            || PatronGuard.Refusal(right, slice.Patrons.GetValueOrDefault(row.PatronId ?? 0), row.Kind, values) is not { } refusal
        )
        {
            return false;
        }

        slice.LeaveOut(row, refusal);
        slice.Guarded++;
        return true;
    }

    private async Task<List<Patron>> LoadPatronsAsync(RollcallContext context, long[] ids, CancellationToken cancellationToken)
    {
        var patrons = new List<Patron>(ids.Length);
        foreach (var some in ids.Chunk(AtOnce))
        {
            patrons.AddRange(
                await context
                    .Patrons.AsNoTracking()
                    .Where(p => p.DistrictId == districtId && some.Contains(p.Id))
                    .ToListAsync(cancellationToken)
            );
        }

        return patrons;
    }

    /// <summary>A chain's barcodes are let go before any of them is taken. A row that cannot take its new one keeps the old one, and so
    /// do those behind it.</summary>
    private void ReleaseChain(Slice slice, List<(Change Row, ChangeValues Values)> rows, bool approval)
    {
        var chain = rows.Where(r => r.Row.Chained && r.Values.Has(PatronFields.Barcode) && r.Row.PatronId is not null)
            .Where(r => slice.Patrons.TryGetValue(r.Row.PatronId!.Value, out var patron) && GivesUp(r.Row, r.Values, patron))
            .ToDictionary(r => r.Row.PatronId!.Value, r => Text.BarcodeKey(r.Values.New(PatronFields.Barcode)!));
        var moving = chain.Keys.ToHashSet();
        BarcodeChain.Break(
            moving,
            [.. chain.Select(c => (c.Key, Holder: slice.Barcodes.GetValueOrDefault(c.Value, c.Key))).Where(c => c.Holder != c.Key)],
            _ => false
        );
        foreach (var patron in moving)
        {
            slice.Barcodes.Remove(slice.Patrons[patron].BarcodeKey);
        }

        // A row that will be left out, or whose barcode will, gives nothing up.
        bool GivesUp(Change row, ChangeValues values, Patron patron)
        {
            if (rules is not null)
            {
                var kept = Meanwhile.Kept(patron, values, rules);
                var before = LinkState.Parse(row.LinkBefore);
                if (
                    slice.Rekeyed.Contains(patron.Id)
                    || Meanwhile.Refusal(row, values, patron, before, slice.Links.GetValueOrDefault(patron.Id)) is not null
                    || kept.Contains(PatronFields.Barcode)
                    || (approval && kept.Count > 0)
                )
                {
                    return false;
                }
            }

            return !(approval && (HasMoved(patron, values) || HasOthers(row, slice.Links.GetValueOrDefault(patron.Id))))
                && !(values.New(PatronFields.Guid) is { } guid && slice.Guids.TryGetValue(guid, out var linked) && linked != patron.Id);
        }
    }

    private static bool HasMoved(Patron patron, ChangeValues values) =>
        values.Items.Any(v => !string.Equals(PatronFields.ByNumber(v.Field).Get(patron), v.Old, StringComparison.Ordinal));

    /// <summary>Who holds, as of now, the barcodes and GUIDs that this slice wants to give.</summary>
    private async Task LoadTakenAsync(
        RollcallContext context,
        List<(Change Row, ChangeValues Values)> rows,
        Slice slice,
        CancellationToken cancellationToken
    )
    {
        var barcodes = rows.Select(r => r.Values.New(PatronFields.Barcode))
            .Where(b => b is not null)
            .Select(b => Text.BarcodeKey(b!))
            .Distinct()
            .ToArray();
        foreach (var some in barcodes.Chunk(AtOnce))
        {
            foreach (
                var holder in await context
                    .Patrons.Where(p => p.DistrictId == districtId && some.Contains(p.BarcodeKey))
                    .Select(p => new { p.BarcodeKey, p.Id })
                    .ToListAsync(cancellationToken)
            )
            {
                slice.Barcodes[holder.BarcodeKey] = holder.Id;
            }
        }

        // Who was linked as another record of somebody since the plan is no new patron, and nobody else either.
        if (
            rows.Exists(r => r.Values.New(PatronFields.Guid) is not null)
            && await context.Operations.AnyAsync(
                o =>
                    o.DistrictId == districtId
                    && o.Id > operationId
                    && (o.Kind == OperationKind.Review || o.Kind == OperationKind.Merge || o.Kind == OperationKind.Undo),
                cancellationToken
            )
        )
        {
            foreach (
                var link in await context
                    .PatronLinks.Where(l => l.DistrictId == districtId && l.Aliases != null)
                    .Select(l => new { l.PatronId, l.Aliases })
                    .ToListAsync(cancellationToken)
            )
            {
                foreach (var alias in link.Aliases!.Split('\n'))
                {
                    slice.Guids[alias] = link.PatronId;
                }
            }
        }

        var guids = rows.Select(r => r.Values.New(PatronFields.Guid)).Where(g => g is not null).Distinct().ToArray();
        if (Keys is not null)
        {
            await Keys.ReadAsync(context, rows, cancellationToken);
        }

        foreach (var some in guids.Chunk(AtOnce))
        {
            foreach (
                var holder in await context
                    .Patrons.Where(p => p.DistrictId == districtId && some.Contains(p.Guid))
                    .Select(p => new { p.Guid, p.Id })
                    .ToListAsync(cancellationToken)
            )
            {
                slice.Guids[holder.Guid!] = holder.Id;
            }
        }
    }

    /// <summary>Who of those whom the slice takes out was changed since the plan in what its row does not name: a merge that had nothing to fill
    /// leaves no trace on the record that stays, and what it stands for would go with it.</summary>
    private async Task LoadTouchedAsync(
        RollcallContext context,
        List<(Change Row, ChangeValues Values)> rows,
        Slice slice,
        CancellationToken cancellationToken
    )
    {
        var ids = rows.Where(r => r.Row.Kind == ChangeKind.Remove).Select(r => r.Row.PatronId!.Value).ToArray();
        if (ids.Length == 0 || Waited is not (OperationKind.Undo or OperationKind.Remove))
        {
            return;
        }

        var any = Waited == OperationKind.Undo;
        foreach (var some in ids.Chunk(AtOnce))
        {
            foreach (
                var touched in await context
                    .Changes.Where(c => c.DistrictId == districtId && some.Contains(c.PatronId!.Value) && c.OperationId > operationId)
                    .Where(c => !c.Stale && Undo.UndoPlanner.Writing.Contains(c.Kind))
                    .Join(context.Operations, c => c.OperationId, o => o.Id, (c, o) => new { Change = c, Operation = o })
                    .Where(x =>
                        x.Operation.DistrictId == districtId
                        && x.Change.Number <= (x.Change.Held ? x.Operation.HeldAppliedTo : x.Operation.AppliedTo)
                    )
                    // What was taken back again is as if it had not been.
                    .Where(x => x.Operation.Status != OperationStatus.Undone)
                    .Where(x => !(x.Operation.Kind == OperationKind.Undo && x.Operation.SubjectId > operationId))
                    .Where(x => any || x.Operation.Kind == OperationKind.Merge || x.Operation.Kind == OperationKind.Review)
                    .OrderBy(x => x.Operation.Id)
                    .Select(x => new { Patron = x.Change.PatronId!.Value, x.Operation.Id })
                    .ToListAsync(cancellationToken)
            )
            {
                slice.Touched[touched.Patron] = touched.Id;
            }
        }
    }

    private async Task CreateAsync(
        RollcallContext context,
        Slice slice,
        SiteSequences sites,
        Change row,
        ChangeValues values,
        CancellationToken cancellationToken
    )
    {
        if (values.New(PatronFields.Guid) is { } guid && slice.Guids.ContainsKey(guid))
        {
            // Somebody linked this person meanwhile; the next sync finds the match.
            slice.LeaveOut(row, "Somebody else was linked to this person since the plan");
            return;
        }

        if (values.New(PatronFields.Site) is { } site && !sites.Exists(int.Parse(site, System.Globalization.CultureInfo.InvariantCulture)))
        {
            slice.LeaveOut(row, "The site is gone since the plan");
            return;
        }

        if (Keys?.Refusal(row, values) is { } known)
        {
            slice.LeaveOut(row, known);
            return;
        }

        var barcode = values.New(PatronFields.Barcode)!;
        var drawn = row.BarcodeDrawn;
        if (BarcodeTells && !drawn && slice.Barcodes.ContainsKey(Text.BarcodeKey(barcode)))
        {
            slice.LeaveOut(row, "There is a patron with this barcode since the plan");
            return;
        }

        if (slice.Barcodes.ContainsKey(Text.BarcodeKey(barcode)))
        {
            var promised = _promised ??= await LoadPromisedAsync(context, cancellationToken);
            barcode = await sites.NextFreeAsync(
                row.SiteId,
                row.RoleGroup,
                key => slice.Barcodes.ContainsKey(key) || promised.Contains(s_keys.Of(key)),
                cancellationToken
            );
            drawn = row.BarcodeDrawn = true;
            values.SetNew(PatronFields.Barcode, null, barcode);
            row.Values = values.ToJson();
            row.Warning = Join(row.Warning, $"The planned {BarcodeTaken}; the next one was given");
            slice.Rewritten.Add(row);
        }

        var patron = new Patron
        {
            DistrictId = districtId,
            Id = row.PatronId!.Value,
            CreatedAt = time.GetUtcNow(),
        };
        foreach (var (field, _, value) in values.Items)
        {
            PatronFields.ByNumber(field).Set(patron, value);
        }

        Stamp(patron);
        slice.Created.Add(patron);
        slice.Barcodes[patron.BarcodeKey] = patron.Id;
        if (patron.Guid is not null)
        {
            slice.Guids[patron.Guid] = patron.Id;
        }

        if (LinkState.Parse(row.Link) is { } link)
        {
            slice.LinkWrites[patron.Id] = link.ToLink(districtId, patron.Id);
        }

        if (drawn)
        {
            sites.Advance(row.SiteId, row.RoleGroup, barcode);
        }
    }

    /// <summary>The barcodes that rows of the operation give: one that is drawn anew takes none of them, or the next row would have to draw, too,
    /// and so would every one behind it.</summary>
    private async Task<KeySet> LoadPromisedAsync(RollcallContext context, CancellationToken cancellationToken)
    {
        var field = $"\"{PatronFields.Barcode}\":";
        var promised = new KeySet();
        await foreach (
            var values in context
                .Changes.Where(c => c.DistrictId == districtId && c.OperationId == operationId && !c.Stale)
                .Where(c => c.Kind != ChangeKind.Skip && c.Kind != ChangeKind.Note && c.Values.Contains(field))
                .Select(c => c.Values)
                .AsAsyncEnumerable()
                .WithCancellation(cancellationToken)
        )
        {
            if (ChangeValues.Parse(values).New(PatronFields.Barcode) is { } barcode)
            {
                promised.Add(s_keys.Of(Text.BarcodeKey(barcode)));
            }
        }

        return promised;
    }

    private void Update(Slice slice, Change row, ChangeValues values, bool approval)
    {
        if (!slice.Patrons.TryGetValue(row.PatronId!.Value, out var patron))
        {
            slice.LeaveOut(row, "The patron was removed since the plan");
            return;
        }

        var present = slice.Links.GetValueOrDefault(patron.Id);
        var before = LinkState.Parse(row.LinkBefore);
        if (rules is not null && Meanwhile.Refusal(row, values, patron, before, present) is { } refusal)
        {
            slice.LeaveOut(row, refusal);
            return;
        }

        if (slice.Rekeyed.Contains(patron.Id))
        {
            slice.LeaveOut(row, "Left out as stale: what the patron was matched by changed since the plan");
            return;
        }

        var kept = rules is null ? [] : Meanwhile.Kept(patron, values, rules);
        var moved = HasMoved(patron, values) || kept.Count > 0;
        if (approval && (moved || HasOthers(row, present)))
        {
            slice.LeaveOut(row, "Left out as stale: the patron changed since the plan");
            return;
        }

        var link = LinkState.Parse(row.Link);
        var dropped = false;
        var applied = new ChangeValues();
        foreach (var (field, old, value) in values.Items)
        {
            var access = PatronFields.ByNumber(field);
            var current = access.Get(patron);
            if (string.Equals(current, value, StringComparison.Ordinal))
            {
                continue;
            }

            if (
                kept.Contains(field)
                || (!string.Equals(current, old, StringComparison.Ordinal) && !StillWins(field, patron, current, value, ref link))
            )
            {
                if (field == PatronFields.Status)
                {
                    // What goes with the status is not so either.
                    link = link is null
                        ? null
                        : link with
                        {
                            StatusBefore = before?.StatusBefore,
                            LeftSchools = before?.LeftSchools ?? false,
                            Absent = before?.Absent ?? false,
                        };
                }

                continue;
            }

            if (field == PatronFields.Barcode && slice.Barcodes.TryGetValue(Text.BarcodeKey(value!), out var holder) && holder != patron.Id)
            {
                row.Warning = Join(row.Warning, $"The {BarcodeTaken}; the present one stays");
                dropped = true;
                link = link is null ? null : link with { SyncHash = 0 };
                continue;
            }

            if (field == PatronFields.Guid && value is not null && slice.Guids.TryGetValue(value, out var other) && other != patron.Id)
            {
                slice.LeaveOut(row, "Another patron was linked to this person since the plan");
                return;
            }

            applied.Add(field, current, value);
        }

        if (moved || dropped)
        {
            // The row tells what was written: history and undo go by it.
            row.Values = applied.ToJson();
            slice.Rewritten.Add(row);
        }

        if (moved)
        {
            row.Warning = Join(row.Warning, ChangedSincePlan);
            slice.ChangedSincePlan++;
        }

        if (applied.Count > 0)
        {
            slice.BarcodeBefore.TryAdd(patron.Id, patron.BarcodeKey);
            if (slice.Barcodes.TryGetValue(patron.BarcodeKey, out var own) && own == patron.Id)
            {
                slice.Barcodes.Remove(patron.BarcodeKey);
            }

            if (patron.Guid is not null && applied.Has(PatronFields.Guid))
            {
                slice.Guids.Remove(patron.Guid);
            }

            foreach (var (field, _, value) in applied.Items)
            {
                PatronFields.ByNumber(field).Set(patron, value);
            }

            Changed(slice, patron);
            slice.Barcodes[patron.BarcodeKey] = patron.Id;
            if (patron.Guid is not null)
            {
                slice.Guids[patron.Guid] = patron.Id;
            }
        }

        if (row.Link is null && present is not null && applied.Has(PatronFields.Guid))
        {
            // A link says what the roster knows of the person with that id. The row tells, so that an undo brings both back.
            (row.LinkBefore, row.Link) = (LinkState.Of(present).ToJson(), LinkState.Removed);
            slice.Rewritten.Add(row);
        }

        if (row.Link == LinkState.Removed)
        {
            slice.LinkWrites.Remove(patron.Id);
            slice.LinksGone.Add(patron.Id);
            slice.LetGo(present, null);
            ShowsAnother(null);
        }
        else if (link is not null && (present is not null || before is null))
        {
            var written = Meanwhile.Merge(before, link, present, late: approval && rules is not null).ToLink(districtId, patron.Id);
            slice.LinkWrites[patron.Id] = written;
            slice.LetGo(present, written);
            ShowsAnother(written);
        }
        else if (
            applied.Count > 0
            && present is not null
            && (present.SyncHash != 0 || (present is not { StatusBefore: null, LeftSchools: false } && applied.Has(PatronFields.Status)))
        )
        {
            // Not a sync: what the roster says has to be compared again.
            var was = LinkState.Of(present);
            present.SyncHash = 0;
            if (applied.Has(PatronFields.Status) && present is not { StatusBefore: null, LeftSchools: false })
            {
                // The row tells, so that an undo brings it back.
                (present.StatusBefore, present.LeftSchools) = (null, false);
                (row.LinkBefore, row.Link) = (was.ToJson(), LinkState.Of(present).ToJson());
                slice.Rewritten.Add(row);
            }

            slice.LinkWrites[patron.Id] = present;
        }

        // A patron shows of its link whether there is one, the role group and the aliases: whoever follows changes has to see these too.
        void ShowsAnother(PatronLink? next)
        {
            if (
                !slice.Updated.ContainsKey(patron.Id)
                && (present?.RoleGroup != next?.RoleGroup || !string.Equals(present?.Aliases, next?.Aliases, StringComparison.Ordinal))
            )
            {
                slice.BarcodeBefore.TryAdd(patron.Id, patron.BarcodeKey);
                Changed(slice, patron);
            }
        }
    }

    private void Changed(Slice slice, Patron patron)
    {
        Stamp(patron);
        slice.Updated[patron.Id] = patron;
    }

    /// <summary>Whether the link that the row takes off stands for other records than it did at the time of the plan. A removal that an earlier version
    /// planned does not say which those were.</summary>
    private static bool HasOthers(Change row, PatronLink? present) =>
        row.Link == LinkState.Removed
        && (row.Kind != ChangeKind.Remove || row.LinkBefore is not null)
        && !string.Equals(LinkState.Parse(row.LinkBefore)?.Aliases, present?.Aliases, StringComparison.Ordinal);

    private void Remove(Slice slice, Change row, ChangeValues values, bool approval)
    {
        if (!slice.Patrons.TryGetValue(row.PatronId!.Value, out var patron))
        {
            slice.LeaveOut(row, "The patron had been removed already");
            return;
        }

        if (slice.Touched.TryGetValue(patron.Id, out var touched))
        {
            slice.LeaveOut(row, $"Left out as stale: operation {touched} changed the patron since the plan");
            return;
        }

        if (
            approval
            && (
                HasMoved(patron, values)
                || patron.UpdatedAt >= LookedAt
                || HasOthers(row, slice.Links.GetValueOrDefault(patron.Id))
                || HasMore()
            )
        )
        {
            slice.LeaveOut(row, "Left out as stale: the patron changed since the plan");
            return;
        }

        slice.Gone.Add(patron.Id);
        slice.Patrons.Remove(patron.Id);
        slice.Barcodes.Remove(patron.BarcodeKey);
        if (patron.Guid is not null)
        {
            slice.Guids.Remove(patron.Guid);
        }

        // An undo names all that the patron had.
        bool HasMore() =>
            Waited == OperationKind.Undo
            && PatronFields.All.Any(f =>
                f.Get(patron) is { } value && !string.Equals(values.Old(f.Number), value, StringComparison.Ordinal)
            );
    }

    /// <summary>Whether a planned value still goes in, although somebody changed the field since.</summary>
    private bool StillWins(int field, Patron patron, string? current, string? value, ref LinkState? link)
    {
        if (field == PatronFields.Status && rules is not null)
        {
            var wanted = (PatronStatus)int.Parse(value!, System.Globalization.CultureInfo.InvariantCulture);
            if (wanted == PatronStatus.Transferred)
            {
                if (patron.Status is PatronStatus.Inactive or PatronStatus.Transferred)
                {
                    return false;
                }

                link = link is null ? null : link with { StatusBefore = patron.Status };
                return true;
            }

            return patron.Status == PatronStatus.Transferred;
        }

        return rules is null
            || rules.Map.PolicyOf(field) == FieldPolicy.RosterWins
            || (rules.Map.PolicyOf(field) == FieldPolicy.FillIfEmpty && current is null);
    }

    private async Task WriteAsync(
        DbConnection connection,
        DbTransaction transaction,
        RollcallContext context,
        Slice slice,
        CancellationToken cancellationToken
    )
    {
        var part = WritingTrace.Begin("patrons written");
        foreach (var some in slice.Gone.Concat(slice.LinksGone).Chunk(AtOnce))
        {
            await context
                .PatronLinks.Where(l => l.DistrictId == districtId && some.Contains(l.PatronId))
                .ExecuteDeleteAsync(cancellationToken);
        }

        foreach (var some in slice.Gone.Chunk(AtOnce))
        {
            await context.Patrons.Where(p => p.DistrictId == districtId && some.Contains(p.Id)).ExecuteDeleteAsync(cancellationToken);
        }

        var letGo = slice.Updated.Values.Where(p => slice.BarcodeBefore[p.Id] != p.BarcodeKey).Select(p => p.Id).ToArray();
        foreach (var some in letGo.Length > 1 ? letGo.Chunk(AtOnce) : [])
        {
            // '~' is no barcode character, so these keys are nobody's.
            await context
                .Patrons.Where(p => p.DistrictId == districtId && some.Contains(p.Id))
                .ExecuteUpdateAsync(s => s.SetProperty(p => p.BarcodeKey, p => "~" + p.Id), cancellationToken);
        }

        await database.Bulk.UpdateAsync(connection, transaction, BulkTables.Patrons, slice.Updated.Values, cancellationToken);
        await database.Bulk.InsertAsync(connection, transaction, BulkTables.Patrons, slice.Created, cancellationToken);
        Turn(ref part, "links written");
        var created = slice.Created.Select(p => p.Id).ToHashSet();
        await database.Bulk.InsertAsync(
            connection,
            transaction,
            BulkTables.Links,
            [.. slice.LinkWrites.Values.Where(l => created.Contains(l.PatronId))],
            cancellationToken
        );
        await database.Bulk.UpsertAsync(
            connection,
            transaction,
            BulkTables.Links,
            [.. slice.LinkWrites.Values.Where(l => !created.Contains(l.PatronId))],
            cancellationToken
        );
        Turn(ref part, "the rest written");
        await database.Bulk.UpdateAsync(connection, transaction, BulkTables.Changes, [.. slice.Rewritten.Distinct()], cancellationToken);
        await WriteReviewsAsync(context, slice, cancellationToken);
        await context.SaveChangesAsync(cancellationToken);
        part?.Dispose();
    }

    private static void Turn(ref System.Diagnostics.Activity? part, string next)
    {
        part?.Dispose();
        part = WritingTrace.Begin(next);
    }

    private async Task WriteReviewsAsync(RollcallContext context, Slice slice, CancellationToken cancellationToken)
    {
        if (slice.Reviews.Count == 0)
        {
            return;
        }

        var ids = slice.Reviews.Select(r => r.Row.RosterId!).ToArray();
        var began = await context.Operations.Where(o => o.Id == operationId).Select(o => o.StartedAt).SingleAsync(cancellationToken);
        var present = await context
            .ReviewItems.Where(r => r.DistrictId == districtId && ids.Contains(r.RosterId))
            .ToDictionaryAsync(r => r.RosterId, StringComparer.Ordinal, cancellationToken);
        var first = Math.Max(
            await context.Districts.Where(d => d.Id == districtId).Select(d => d.NextReviewId).SingleAsync(cancellationToken),
            1 + (await context.ReviewItems.Where(r => r.DistrictId == districtId).MaxAsync(r => (int?)r.Id, cancellationToken) ?? 0)
        );
        var next = first;
        foreach (var (row, _) in slice.Reviews)
        {
            if (!present.TryGetValue(row.RosterId!, out var item))
            {
                item = new ReviewItem
                {
                    DistrictId = districtId,
                    Id = next++,
                    RosterId = row.RosterId!,
                    CreatedAt = time.GetUtcNow(),
                };
                context.ReviewItems.Add(item);
            }

            if (item.Status != ReviewStatus.Open && item.DecidedAt >= began)
            {
                // Decided while the sync ran: its plan did not know.
                continue;
            }

            // A decision to ignore or create would have kept the person out of Review; a link has been taken off by hand.
            item.Status = ReviewStatus.Open;
            item.DecidedAt = null;
            item.DecidedBy = null;
            item.DecisionOperationId = null;

            item.RoleGroup = row.RoleGroup;
            item.Reason = row.Reason ?? "";
            item.Values = row.Values;
            item.Link = row.Link;
            item.Candidates = row.Candidates ?? "[]";
            item.OperationId = operationId;
        }

        if (next > first)
        {
            await context
                .Districts.Where(d => d.Id == districtId)
                .ExecuteUpdateAsync(s => s.SetProperty(d => d.NextReviewId, next), cancellationToken);
        }
    }

    private void Stamp(Patron patron)
    {
        patron.UpdatedAt = time.GetUtcNow();
        patron.Version++;
        patron.SetKeys();
    }

    private static string Join(string? have, string more) => have is null ? more : $"{have}; {more}";

    /// <summary>What one transaction works on.</summary>
    private sealed class Slice
    {
        public Dictionary<long, Patron> Patrons { get; } = [];
        public Dictionary<long, PatronLink> Links { get; } = [];
        public Dictionary<string, long> Barcodes { get; } = new(StringComparer.Ordinal);
        public Dictionary<string, long> Guids { get; } = new(StringComparer.Ordinal);
        public Dictionary<long, string> BarcodeBefore { get; } = [];
        public List<Patron> Created { get; } = [];
        public HashSet<long> Gone { get; } = [];

        /// <summary>The operation that last changed a patron since the plan, of those that are taken out.</summary>
        public Dictionary<long, long> Touched { get; } = [];

        /// <summary>Those whom a row links by what somebody has changed since the plan.</summary>
        public HashSet<long> Rekeyed { get; set; } = [];
        public HashSet<long> LinksGone { get; } = [];
        public Dictionary<long, Patron> Updated { get; } = [];
        public Dictionary<long, PatronLink> LinkWrites { get; } = [];
        public List<Change> Rewritten { get; } = [];
        public List<Outcome> StaleOutcomes { get; } = [];
        public List<(Change Row, ChangeValues Values)> Reviews { get; } = [];
        public long ChangedSincePlan { get; set; }
        public long Guarded { get; set; }

        /// <summary>Further ids that a patron no longer has are free for whoever comes after in this slice.</summary>
        public void LetGo(PatronLink? before, PatronLink? after)
        {
            foreach (var alias in before?.Aliases?.Split('\n').Except(after?.Aliases?.Split('\n') ?? []) ?? [])
            {
                if (
                    Guids.TryGetValue(alias, out var holder)
                    && holder == before!.PatronId
                    && !string.Equals(Patrons[holder].Guid, alias, StringComparison.Ordinal)
                )
                {
                    Guids.Remove(alias);
                }
            }
        }

        public void LeaveOut(Change row, string why)
        {
            StaleOutcomes.Add(row.Outcome);
            row.Stale = true;
            row.Warning = Join(row.Warning, why);
            Rewritten.Add(row);
        }
    }
}
