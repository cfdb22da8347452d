using System.Data.Common;
using System.Diagnostics;
using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Storage;

namespace Rollcall.Sync.Apply;

/// <summary>Another worker has the operation now: whatever was not committed is rolled back, and this one stops.</summary>
internal sealed class FencedOffException : Exception;

/// <summary>Change rows → patrons, in short slices. A slice is one transaction with the operation's own position, so that a crash
/// between any two statements leaves every patron whole and the next worker in the right place.</summary>
internal sealed class Applier(RollcallDatabase database, Operation operation, FieldMap? map, TimeProvider time)
{
    private const int ReadAhead = 4000;

    private static readonly ChangeKind[] s_writing =
    [
        ChangeKind.Create,
        ChangeKind.Update,
        ChangeKind.Transfer,
        ChangeKind.Reactivate,
        ChangeKind.Link,
        ChangeKind.Review,
        ChangeKind.Edit,
    ];

    private readonly Dictionary<Outcome, long> _stale = [];

    /// <summary>People whose rows were left out, by the outcome they had in the plan.</summary>
    public IReadOnlyDictionary<Outcome, long> Stale => _stale;

    /// <summary>Rows whose patron had changed since the plan.</summary>
    public long ChangedSincePlan { get; private set; }

    /// <summary>Applies what is left of the held or the other rows.</summary>
    /// <param name="held">The held rows, after an approval; otherwise all others.</param>
    /// <param name="approval">A row whose patron changed meanwhile is left out.</param>
    /// <param name="progress">Receives how many rows are done.</param>
    /// <param name="cancellationToken">Stops between two slices.</param>
    public async Task RunAsync(bool held, bool approval, Func<long, ValueTask> progress, CancellationToken cancellationToken)
    {
        await using var connection = await database.OpenAsync(cancellationToken);
        var position = held ? operation.HeldAppliedTo : operation.AppliedTo;
        var size = 200;
        while (true)
        {
            List<Change> rows;
            await using (var context = database.CreateContext(connection, null))
            {
                rows = await context
                    .Changes.AsNoTracking()
                    .Where(c =>
                        c.DistrictId == operation.DistrictId && c.OperationId == operation.Id && c.Number > position && c.Held == held
                    )
                    .Where(c => s_writing.Contains(c.Kind))
                    .OrderBy(c => c.Number)
                    .Take(ReadAhead)
                    .ToListAsync(cancellationToken);
            }

            var last = rows.Count < ReadAhead;
            var at = 0;
            while (at < rows.Count)
            {
                cancellationToken.ThrowIfCancellationRequested();
                var slice = rows.GetRange(at, Math.Min(size, rows.Count - at));
                if (slice[^1].Chained)
                {
                    // Barcodes that change hands do so in one transaction, however many they are.
                    slice = await WithWholeChainAsync(connection, slice, held, cancellationToken);
                    last |= slice[^1].Number >= rows[^1].Number && rows.Count < ReadAhead;
                }

                var watch = Stopwatch.GetTimestamp();
                var end = slice[^1].Number;
                await ApplySliceAsync(connection, slice, held, approval, end, cancellationToken);
                position = end;
                at = rows.FindIndex(at, r => r.Number > end) is >= 0 and var next ? next : rows.Count;
                size = database.Bulk.NextSlice(slice.Count, Stopwatch.GetElapsedTime(watch));
                await progress(position);
                if (database.Bulk.PauseBetweenSlices > TimeSpan.Zero)
                {
                    await Task.Delay(database.Bulk.PauseBetweenSlices, time, cancellationToken);
                }
            }

            if (last)
            {
                break;
            }
        }

        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
        await MoveAsync(connection, transaction, held, operation.PlanSize, cancellationToken);
        await transaction.CommitAsync(cancellationToken);
    }

    private async Task<List<Change>> WithWholeChainAsync(
        DbConnection connection,
        List<Change> slice,
        bool held,
        CancellationToken cancellationToken
    )
    {
        await using var context = database.CreateContext(connection, null);
        var last = slice[^1].Number;
        slice.AddRange(
            await context
                .Changes.AsNoTracking()
                .Where(c =>
                    c.DistrictId == operation.DistrictId && c.OperationId == operation.Id && c.Number > last && c.Held == held && c.Chained
                )
                .OrderBy(c => c.Number)
                .ToListAsync(cancellationToken)
        );
        return slice;
    }

    private async Task MoveAsync(
        DbConnection connection,
        DbTransaction transaction,
        bool held,
        long to,
        CancellationToken cancellationToken
    )
    {
        var column = held ? "held_applied_to" : "applied_to";
        var moved = await Sql.ExecuteAsync(
            connection,
            transaction,
            $"""
            UPDATE operations SET {column} = @to, lease_until = {database.Bulk.NowMilliseconds} + {(long)
                OperationQueue.Lease.TotalMilliseconds}
            WHERE id = @id AND fence = @fence AND status = {(int)OperationStatus.Running} AND {column} <= @to
            """,
            cancellationToken,
            ("@to", to),
            ("@id", operation.Id),
            ("@fence", operation.Fence)
        );
        if (moved != 1)
        {
            throw new FencedOffException();
        }
    }

    private async Task ApplySliceAsync(
        DbConnection connection,
        List<Change> rows,
        bool held,
        bool approval,
        long end,
        CancellationToken cancellationToken
    )
    {
        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
        await MoveAsync(connection, transaction, held, end, cancellationToken);
        var slice = new Slice();
        await using var context = database.CreateContext(connection, transaction);

        var ids = rows.Where(r => r.PatronId is not null && r.Kind != ChangeKind.Create)
            .Select(r => r.PatronId!.Value)
            .Distinct()
            .ToArray();
        await database.Bulk.LockPatronsAsync(connection, transaction, operation.DistrictId, ids, cancellationToken);
        foreach (var patron in await LoadPatronsAsync(context, ids, cancellationToken))
        {
            slice.Patrons[patron.Id] = patron;
        }

        foreach (
            var link in ids.Length == 0
                ? []
                : await context
                    .PatronLinks.AsNoTracking()
                    .Where(l => l.DistrictId == operation.DistrictId && ids.Contains(l.PatronId))
                    .ToListAsync(cancellationToken)
        )
        {
            slice.Links[link.PatronId] = link;
        }

        var parsed = rows.Select(r => (Row: r, Values: ChangeValues.Parse(r.Values))).ToList();
        await LoadTakenAsync(context, parsed, slice, cancellationToken);
        var sites = new SiteSequences(operation.DistrictId, context);
        if (parsed.Exists(p => p.Row.Kind == ChangeKind.Create))
        {
            await sites.LoadAsync(cancellationToken);
        }

        // A chain's barcodes are let go before any of them is taken.
        foreach (var (row, values) in parsed)
        {
            if (row.Chained && values.Has(PatronFields.Barcode) && slice.Patrons.TryGetValue(row.PatronId!.Value, out var patron))
            {
                slice.Barcodes.Remove(patron.BarcodeKey);
            }
        }

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
                default:
                    Update(slice, row, values, approval);
                    break;
            }
        }

        await WriteAsync(connection, transaction, context, slice, cancellationToken);
        await transaction.CommitAsync(cancellationToken);
        foreach (var outcome in slice.StaleOutcomes)
        {
            _stale[outcome] = _stale.GetValueOrDefault(outcome) + 1;
        }

        ChangedSincePlan += slice.ChangedSincePlan;
    }

    private async Task<List<Patron>> LoadPatronsAsync(RollcallContext context, long[] ids, CancellationToken cancellationToken) =>
        ids.Length == 0
            ? []
            : await context
                .Patrons.AsNoTracking()
                .Where(p => p.DistrictId == operation.DistrictId && ids.Contains(p.Id))
                .ToListAsync(cancellationToken);

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
        if (barcodes.Length > 0)
        {
            foreach (
                var holder in await context
                    .Patrons.Where(p => p.DistrictId == operation.DistrictId && barcodes.Contains(p.BarcodeKey))
                    .Select(p => new { p.BarcodeKey, p.Id })
                    .ToListAsync(cancellationToken)
            )
            {
                slice.Barcodes[holder.BarcodeKey] = holder.Id;
            }
        }

        var guids = rows.Select(r => r.Values.New(PatronFields.Guid)).Where(g => g is not null).Distinct().ToArray();
        if (guids.Length > 0)
        {
            foreach (
                var holder in await context
                    .Patrons.Where(p => p.DistrictId == operation.DistrictId && guids.Contains(p.Guid))
                    .Select(p => new { p.Guid, p.Id })
                    .ToListAsync(cancellationToken)
            )
            {
                slice.Guids[holder.Guid!] = holder.Id;
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

        var barcode = values.New(PatronFields.Barcode)!;
        if (slice.Barcodes.ContainsKey(Text.BarcodeKey(barcode)))
        {
            barcode = await sites.NextFreeAsync(row.SiteId, row.RoleGroup, slice.Barcodes, cancellationToken);
            values.SetNew(PatronFields.Barcode, null, barcode);
            row.Values = values.ToJson();
            row.Warning = Join(row.Warning, "The planned barcode was taken meanwhile; the next one was given");
            slice.Rewritten.Add(row);
        }

        var patron = new Patron
        {
            DistrictId = operation.DistrictId,
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
            slice.LinkWrites[patron.Id] = link.ToLink(operation.DistrictId, patron.Id);
        }

        sites.Advance(row.SiteId, row.RoleGroup, barcode);
    }

    private void Update(Slice slice, Change row, ChangeValues values, bool approval)
    {
        if (!slice.Patrons.TryGetValue(row.PatronId!.Value, out var patron))
        {
            slice.LeaveOut(row, "The patron was removed since the plan");
            return;
        }

        var link = LinkState.Parse(row.Link);
        var moved = values
            .Items.Where(v => !string.Equals(PatronFields.ByNumber(v.Field).Get(patron), v.Old, StringComparison.Ordinal))
            .ToList();
        if (moved.Count > 0 && approval)
        {
            slice.LeaveOut(row, "Left out as stale: the patron changed since the plan");
            return;
        }

        var applied = new ChangeValues();
        foreach (var (field, old, value) in values.Items)
        {
            var access = PatronFields.ByNumber(field);
            var current = access.Get(patron);
            if (string.Equals(current, value, StringComparison.Ordinal))
            {
                continue;
            }

            if (!string.Equals(current, old, StringComparison.Ordinal) && !StillWins(field, patron, current, value, ref link))
            {
                continue;
            }

            if (field == PatronFields.Barcode && slice.Barcodes.TryGetValue(Text.BarcodeKey(value!), out var holder) && holder != patron.Id)
            {
                row.Warning = Join(row.Warning, "The roster's barcode was taken meanwhile; the present one stays");
                slice.Rewritten.Add(row);
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

        if (moved.Count > 0)
        {
            row.Values = applied.ToJson();
            row.Warning = Join(row.Warning, "Changed since plan");
            slice.Rewritten.Add(row);
            slice.ChangedSincePlan++;
        }

        if (applied.Count > 0)
        {
            if (!slice.BarcodeBefore.ContainsKey(patron.Id))
            {
                slice.BarcodeBefore[patron.Id] = patron.BarcodeKey;
            }

            foreach (var (field, _, value) in applied.Items)
            {
                PatronFields.ByNumber(field).Set(patron, value);
            }

            Stamp(patron);
            slice.Updated[patron.Id] = patron;
            slice.Barcodes[patron.BarcodeKey] = patron.Id;
        }

        if (link is not null)
        {
            slice.LinkWrites[patron.Id] = link.ToLink(operation.DistrictId, patron.Id);
        }
        else if (applied.Count > 0 && slice.Links.TryGetValue(patron.Id, out var present) && present.SyncHash != 0)
        {
            // Not a sync: what the roster says has to be compared again.
            present.SyncHash = 0;
            if (applied.Has(PatronFields.Status))
            {
                present.StatusBefore = null;
            }

            slice.LinkWrites[patron.Id] = present;
        }
    }

    /// <summary>Whether a planned value still goes in, although somebody changed the field since.</summary>
    private bool StillWins(int field, Patron patron, string? current, string? value, ref LinkState? link)
    {
        if (field == PatronFields.Status && map is not null)
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

        return map is null
            || map.PolicyOf(field) == FieldPolicy.RosterWins
            || (map.PolicyOf(field) == FieldPolicy.FillIfEmpty && current is null);
    }

    private async Task WriteAsync(
        DbConnection connection,
        DbTransaction transaction,
        RollcallContext context,
        Slice slice,
        CancellationToken cancellationToken
    )
    {
        var letGo = slice.Updated.Values.Where(p => slice.BarcodeBefore[p.Id] != p.BarcodeKey).Select(p => p.Id).ToArray();
        if (letGo.Length > 1)
        {
            // '~' is no barcode character, so these keys are nobody's.
            await context
                .Patrons.Where(p => p.DistrictId == operation.DistrictId && letGo.Contains(p.Id))
                .ExecuteUpdateAsync(s => s.SetProperty(p => p.BarcodeKey, p => "~" + p.Id), cancellationToken);
        }

        await database.Bulk.UpdateAsync(connection, transaction, BulkTables.Patrons, slice.Updated.Values, cancellationToken);
        await database.Bulk.InsertAsync(connection, transaction, BulkTables.Patrons, slice.Created, cancellationToken);
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
        await database.Bulk.UpdateAsync(connection, transaction, BulkTables.Changes, [.. slice.Rewritten.Distinct()], cancellationToken);
        await WriteReviewsAsync(context, slice, cancellationToken);
        await context.SaveChangesAsync(cancellationToken);
    }

    private async Task WriteReviewsAsync(RollcallContext context, Slice slice, CancellationToken cancellationToken)
    {
        if (slice.Reviews.Count == 0)
        {
            return;
        }

        var ids = slice.Reviews.Select(r => r.Row.RosterId!).ToArray();
        var present = await context
            .ReviewItems.Where(r => r.DistrictId == operation.DistrictId && ids.Contains(r.RosterId))
            .ToDictionaryAsync(r => r.RosterId, StringComparer.Ordinal, cancellationToken);
        var next =
            1
            + (
                await context.ReviewItems.Where(r => r.DistrictId == operation.DistrictId).MaxAsync(r => (int?)r.Id, cancellationToken) ?? 0
            );
        foreach (var (row, _) in slice.Reviews)
        {
            if (!present.TryGetValue(row.RosterId!, out var item))
            {
                item = new ReviewItem
                {
                    DistrictId = operation.DistrictId,
                    Id = next++,
                    RosterId = row.RosterId!,
                    CreatedAt = time.GetUtcNow(),
                };
                context.ReviewItems.Add(item);
            }

            if (item.Status == ReviewStatus.Settled)
            {
                item.Status = ReviewStatus.Open;
            }

            item.RoleGroup = row.RoleGroup;
            item.Reason = row.Reason ?? "";
            item.Values = row.Values;
            item.Candidates = row.Candidates ?? "[]";
            item.OperationId = operation.Id;
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
        public Dictionary<long, Patron> Updated { get; } = [];
        public Dictionary<long, PatronLink> LinkWrites { get; } = [];
        public List<Change> Rewritten { get; } = [];
        public List<Outcome> StaleOutcomes { get; } = [];
        public List<(Change Row, ChangeValues Values)> Reviews { get; } = [];
        public long ChangedSincePlan { get; set; }

        public void LeaveOut(Change row, string why)
        {
            StaleOutcomes.Add(row.Outcome);
            row.Stale = true;
            row.Warning = Join(row.Warning, why);
            Rewritten.Add(row);
        }
    }
}

/// <summary>The sites' Next Barcode, moved on in the same transaction as the patrons that took from it.</summary>
internal sealed class SiteSequences(int districtId, RollcallContext context)
{
    private Dictionary<int, Site> _sites = [];
    private Dictionary<(int Site, RoleGroup Group), SiteDefault> _defaults = [];

    public async Task LoadAsync(CancellationToken cancellationToken)
    {
        _sites = await context.Sites.Where(s => s.DistrictId == districtId).ToDictionaryAsync(s => s.Id, cancellationToken);
        _defaults = await context
            .SiteDefaults.Where(s => s.DistrictId == districtId && s.NextBarcode != null)
            .ToDictionaryAsync(s => (s.SiteId, s.RoleGroup), cancellationToken);
    }

    public bool Exists(int siteId) => _sites.ContainsKey(siteId);

    /// <summary>A barcode was given: when it is of the sequence, the sequence goes on behind it.</summary>
    public void Advance(int? siteId, RoleGroup group, string given)
    {
        if (siteId is not { } id || !_sites.TryGetValue(id, out var site))
        {
            return;
        }

        var own = _defaults.GetValueOrDefault((id, group));
        var next = own?.NextBarcode ?? site.NextBarcode;
        if (!string.Equals(next, given, StringComparison.OrdinalIgnoreCase) && !Barcodes.IsLater(next, given))
        {
            return;
        }

        if (Barcodes.Next(given) is not { } following)
        {
            return;
        }

        if (own is not null)
        {
            own.NextBarcode = following;
        }
        else
        {
            site.NextBarcode = following;
        }
    }

    public async Task<string> NextFreeAsync(
        int? siteId,
        RoleGroup group,
        IReadOnlyDictionary<string, long> taken,
        CancellationToken cancellationToken
    )
    {
        if (siteId is not { } id || !_sites.TryGetValue(id, out var site))
        {
            throw new RollcallException("A new patron has no site, so no barcode can be given.");
        }

        var candidate = _defaults.GetValueOrDefault((id, group))?.NextBarcode ?? site.NextBarcode;
        while (true)
        {
            var key = Text.BarcodeKey(candidate);
            if (
                Barcodes.Problem(candidate) is null
                && !taken.ContainsKey(key)
                && !await context.Patrons.AnyAsync(p => p.DistrictId == districtId && p.BarcodeKey == key, cancellationToken)
            )
            {
                return candidate;
            }

            candidate =
                Barcodes.Next(candidate)
                ?? throw new RollcallException(
                    $"No barcode follows {candidate}. Give the site {site.Code} another Next Barcode that ends in a digit."
                );
        }
    }
}
