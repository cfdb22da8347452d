using System.Data.Common;
using Microsoft.EntityFrameworkCore;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Storage;
using Rollcall.Sync.Plan;

namespace Rollcall.Sync.Undo;

/// <summary>Change rows of an operation, the last first → rows that take them back. A field that something later touched stays.</summary>
internal sealed class UndoPlanner
{
    private const int BatchSize = 1000;

    /// <summary>The rows that wrote something.</summary>
    private static readonly ChangeKind[] s_writing =
    [
        ChangeKind.Create,
        ChangeKind.Update,
        ChangeKind.Transfer,
        ChangeKind.Reactivate,
        ChangeKind.Link,
        ChangeKind.Edit,
        ChangeKind.Remove,
    ];

    private readonly RollcallDatabase _database;
    private readonly DbConnection _connection;
    private readonly Operation _subject;
    private readonly long? _onlyPatron;
    private readonly ChangeWriter _writer;
    private readonly Dictionary<Outcome, long> _outcomes = [];

    // Patrons whose barcode or GUID this undo takes back: others may have it.
    private readonly Dictionary<string, long> _barcodesGivenUp = new(StringComparer.Ordinal);
    private readonly Dictionary<string, long> _guidsGivenUp = new(StringComparer.Ordinal);
    private readonly List<Change> _chain = [];
    private long _read;

    public UndoPlanner(RollcallDatabase database, DbConnection connection, Operation undo, Operation subject, long? onlyPatron)
    {
        (_database, _connection, _subject, _onlyPatron) = (database, connection, subject, onlyPatron);
        _writer = new ChangeWriter(database, connection, undo.DistrictId, undo.Id, undo.Fence);
    }

    /// <summary>Fields that stay because something later touched them.</summary>
    public long KeptFields { get; private set; }

    public long Rows => _writer.Count;

    public async Task<SyncCounts> RunAsync(Func<long, ValueTask> progress, CancellationToken cancellationToken)
    {
        await FindGivenUpAsync(cancellationToken);
        await foreach (var batch in BatchesAsync(cancellationToken))
        {
            await PlanAsync(batch, cancellationToken);
            await progress(_read);
        }

        // Barcodes that change hands do so together, at the end.
        foreach (var row in _chain)
        {
            row.Chained = true;
            await _writer.AddAsync(row, cancellationToken);
        }

        await _writer.FlushAsync(cancellationToken);
        return new SyncCounts
        {
            Read = _read,
            Created = _outcomes.GetValueOrDefault(Outcome.Created),
            Updated = _outcomes.GetValueOrDefault(Outcome.Updated),
            Unchanged = _outcomes.GetValueOrDefault(Outcome.Unchanged),
            Skipped = _outcomes.GetValueOrDefault(Outcome.Skipped),
            Removed = _outcomes.GetValueOrDefault(Outcome.Removed),
        };
    }

    private IQueryable<Change> Applied(RollcallContext context) =>
        context
            .Changes.AsNoTracking()
            .Where(c => c.DistrictId == _subject.DistrictId && c.OperationId == _subject.Id && !c.Stale && s_writing.Contains(c.Kind))
            .Where(c => c.Held ? c.Number <= _subject.HeldAppliedTo : c.Number <= _subject.AppliedTo)
            .Where(c => _onlyPatron == null || c.PatronId == _onlyPatron);

    private async IAsyncEnumerable<List<Change>> BatchesAsync(
        [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken
    )
    {
        var before = long.MaxValue;
        while (true)
        {
            List<Change> batch;
            await using (var context = _database.CreateContext(_connection, null))
            {
                batch = await Applied(context)
                    .Where(c => c.Number < before)
                    .OrderByDescending(c => c.Number)
                    .Take(BatchSize)
                    .ToListAsync(cancellationToken);
            }

            if (batch.Count == 0)
            {
                yield break;
            }

            before = batch[^1].Number;
            yield return batch;
        }
    }

    /// <summary>Barcodes that the operation gave out and that are still where it put them.</summary>
    private async Task FindGivenUpAsync(CancellationToken cancellationToken)
    {
        await foreach (var batch in BatchesAsync(cancellationToken))
        {
            foreach (var row in batch)
            {
                var values = ChangeValues.Parse(row.Values);
                if (values.New(PatronFields.Barcode) is { } barcode)
                {
                    _barcodesGivenUp[Text.BarcodeKey(barcode)] = row.PatronId!.Value;
                }

                if (values.New(PatronFields.Guid) is { } guid)
                {
                    _guidsGivenUp[guid] = row.PatronId!.Value;
                }
            }
        }
    }

    private async Task PlanAsync(List<Change> batch, CancellationToken cancellationToken)
    {
        var parsed = batch.ConvertAll(r => (Row: r, Values: ChangeValues.Parse(r.Values)));
        var ids = batch.Select(r => r.PatronId!.Value).Distinct().ToArray();
        await using var context = _database.CreateContext(_connection, null);
        var district = _subject.DistrictId;
        var patrons = await context
            .Patrons.AsNoTracking()
            .Where(p => p.DistrictId == district && ids.Contains(p.Id))
            .ToDictionaryAsync(p => p.Id, cancellationToken);
        var links = await context
            .PatronLinks.AsNoTracking()
            .Where(l => l.DistrictId == district && ids.Contains(l.PatronId))
            .ToDictionaryAsync(l => l.PatronId, cancellationToken);
        var later = await LaterAsync(context, ids, cancellationToken);
        var barcodes = await HoldersAsync(context, parsed, PatronFields.Barcode, cancellationToken);
        var guids = await HoldersAsync(context, parsed, PatronFields.Guid, cancellationToken);
        foreach (var (row, values) in parsed)
        {
            _read++;
            var id = row.PatronId!.Value;
            var touched = later.GetValueOrDefault(id);
            var change = row.Kind switch
            {
                ChangeKind.Create => Uncreate(row, values, patrons.GetValueOrDefault(id), links.GetValueOrDefault(id), touched),
                ChangeKind.Remove => Recreate(row, values, patrons.ContainsKey(id), barcodes, guids),
                _ => Restore(row, values, patrons.GetValueOrDefault(id), links.GetValueOrDefault(id), touched, barcodes, guids),
            };
            if (change is null)
            {
                Count(Outcome.Unchanged);
                continue;
            }

            Count(change.Outcome);
            change.PatronId = id;
            change.RosterId = row.RosterId;
            change.SiteId = patrons.GetValueOrDefault(id)?.SiteId ?? row.SiteId;
            change.RoleGroup = row.RoleGroup;
            if (change.Chained)
            {
                _chain.Add(change);
            }
            else
            {
                await _writer.AddAsync(change, cancellationToken);
            }
        }
    }

    private void Count(Outcome outcome) => _outcomes[outcome] = _outcomes.GetValueOrDefault(outcome) + 1;

    private Change Skipped(string why)
    {
        KeptFields++;
        return new Change
        {
            Kind = ChangeKind.Note,
            Outcome = Outcome.Skipped,
            Reason = why,
        };
    }

    /// <summary>Takes a patron out again whom the operation created, unless anything happened to him since.</summary>
    private Change? Uncreate(Change row, ChangeValues values, Patron? patron, PatronLink? link, Later? later)
    {
        if (patron is null)
        {
            return null;
        }

        if (later is { Any: true })
        {
            return Skipped($"The patron stays: changed since by operation {later.LastOperation}");
        }

        var gone = new ChangeValues();
        foreach (var field in PatronFields.All)
        {
            var current = field.Get(patron);
            if (current is not null)
            {
                gone.Add(field.Number, current, null);
            }
        }

        return new Change
        {
            Kind = ChangeKind.Remove,
            Outcome = Outcome.Removed,
            Values = gone.ToJson(),
            Link = link is null ? null : LinkState.Removed,
            LinkBefore = link is null ? null : LinkState.Of(link).ToJson(),
            Reason = $"Created by operation {row.OperationId}",
        };
    }

    /// <summary>Brings a patron back whom a merge took out.</summary>
    private Change? Recreate(
        Change row,
        ChangeValues values,
        bool exists,
        Dictionary<string, long> barcodes,
        Dictionary<string, long> guids
    )
    {
        if (exists)
        {
            return null;
        }

        var back = new ChangeValues();
        var link = LinkState.Parse(row.LinkBefore);
        string? warning = null;
        foreach (var (field, old, _) in values.Items)
        {
            if (field == PatronFields.Guid && old is not null && HeldByOther(guids, _guidsGivenUp, old, row.PatronId!.Value))
            {
                warning = "The GUID belongs to another patron now: brought back without a link";
                link = null;
                KeptFields++;
                continue;
            }

            back.Add(field, null, old);
        }

        return new Change
        {
            Kind = ChangeKind.Create,
            Outcome = Outcome.Created,
            Values = back.ToJson(),
            Link = link is null ? null : (link with { SyncHash = 0 }).ToJson(),
            Reason = $"Removed by operation {row.OperationId}",
            Warning = warning,
        };
    }

    private Change? Restore(
        Change row,
        ChangeValues values,
        Patron? patron,
        PatronLink? link,
        Later? later,
        Dictionary<string, long> barcodes,
        Dictionary<string, long> guids
    )
    {
        if (patron is null)
        {
            return Skipped("The patron has been removed since");
        }

        var back = new ChangeValues();
        var kept = new List<string>();
        var chained = false;
        var guidKept = false;
        foreach (var (number, old, @new) in values.Items)
        {
            var field = PatronFields.ByNumber(number);
            var current = field.Get(patron);
            if (string.Equals(current, old, StringComparison.Ordinal) || later?.TookBack(number) == true)
            {
                continue;
            }

            string? why =
                later?.OperationOf(number) is { } operation ? $"changed since by operation {operation}"
                : !string.Equals(current, @new, StringComparison.Ordinal) ? "changed since"
                : null;
            if (why is null && number == PatronFields.Barcode && old is not null)
            {
                var key = Text.BarcodeKey(old);
                if (HeldByOther(barcodes, _barcodesGivenUp, key, patron.Id))
                {
                    why = $"{old} belongs to another patron now";
                }
                else if (barcodes.TryGetValue(key, out var holder) && holder != patron.Id)
                {
                    chained = true;
                }
            }

            if (why is null && number == PatronFields.Guid && old is not null && HeldByOther(guids, _guidsGivenUp, old, patron.Id))
            {
                why = "the former one belongs to another patron now";
            }

            if (why is not null)
            {
                kept.Add($"{field.Label} stays ({why})");
                guidKept |= number == PatronFields.Guid;
                continue;
            }

            back.Add(number, current, old);
        }

        // A chain is one of barcodes that change hands: whoever gives one up in it belongs to it.
        chained |= back.Has(PatronFields.Barcode) && row.Chained;
        var (linkAfter, linkWhy) = RestoreLink(row, link, later, guidKept);
        if (linkWhy is not null)
        {
            kept.Add(linkWhy);
        }

        KeptFields += kept.Count;
        var warning = kept.Count == 0 ? null : string.Join("; ", kept);
        if (back.Count == 0 && linkAfter is null)
        {
            return warning is null
                ? null
                : new Change
                {
                    Kind = ChangeKind.Note,
                    Outcome = Outcome.Skipped,
                    Reason = "Nothing could be taken back",
                    Warning = warning,
                };
        }

        return new Change
        {
            Kind = back.Count == 0 ? ChangeKind.Link : ChangeKind.Update,
            Outcome = back.Count == 0 ? Outcome.Unchanged : Outcome.Updated,
            Chained = chained,
            Values = back.ToJson(),
            Link = linkAfter,
            LinkBefore = link is null ? null : LinkState.Of(link).ToJson(),
            Warning = warning,
        };
    }

    /// <summary>The link as it was before the row; null when it stays as it is.</summary>
    private static (string? After, string? Kept) RestoreLink(Change row, PatronLink? link, Later? later, bool guidKept)
    {
        if (row.Link is null)
        {
            return (null, null);
        }

        var before = LinkState.Parse(row.LinkBefore);
        if (link is null && before is null)
        {
            return (null, null);
        }

        if (guidKept || later is { LinkTakenBack: true })
        {
            return (null, null);
        }

        if (later?.LinkOperation is { } operation)
        {
            return (null, $"The link stays (changed since by operation {operation})");
        }

        return before is null ? (LinkState.Removed, null)
            : link is not null && LinkState.Of(link) with { SyncHash = 0 } == before with { SyncHash = 0 } ? (null, null)
            : ((before with { SyncHash = 0 }).ToJson(), null);
    }

    private static bool HeldByOther(Dictionary<string, long> holders, Dictionary<string, long> givenUp, string key, long patron) =>
        holders.TryGetValue(key, out var holder) && holder != patron && !(givenUp.TryGetValue(key, out var givesUp) && givesUp == holder);

    /// <summary>Who has, as of now, the old values of a unique field.</summary>
    private async Task<Dictionary<string, long>> HoldersAsync(
        RollcallContext context,
        List<(Change Row, ChangeValues Values)> rows,
        int field,
        CancellationToken cancellationToken
    )
    {
        var wanted = rows.Select(r => r.Values.Old(field))
            .Where(v => v is not null)
            .Select(v => field == PatronFields.Barcode ? Text.BarcodeKey(v!) : v!)
            .Distinct()
            .ToArray();
        if (wanted.Length == 0)
        {
            return [];
        }

        var query = context.Patrons.AsNoTracking().Where(p => p.DistrictId == _subject.DistrictId);
        return field == PatronFields.Barcode
            ? await query
                .Where(p => wanted.Contains(p.BarcodeKey))
                .ToDictionaryAsync(p => p.BarcodeKey, p => p.Id, StringComparer.Ordinal, cancellationToken)
            : await query
                .Where(p => wanted.Contains(p.Guid))
                .ToDictionaryAsync(p => p.Guid!, p => p.Id, StringComparer.Ordinal, cancellationToken);
    }

    /// <summary>What happened to these patrons after the operation, less what has been taken back again.</summary>
    private async Task<Dictionary<long, Later>> LaterAsync(RollcallContext context, long[] ids, CancellationToken cancellationToken)
    {
        var district = _subject.DistrictId;
        var subject = _subject.Id;
        var rows = await context
            .Changes.AsNoTracking()
            .Where(c => c.DistrictId == district && c.PatronId != null && ids.Contains(c.PatronId!.Value) && c.OperationId > subject)
            .Where(c => !c.Stale && s_writing.Contains(c.Kind))
            .Join(context.Operations.AsNoTracking(), c => c.OperationId, o => o.Id, (c, o) => new { Change = c, Operation = o })
            .Where(x =>
                x.Operation.DistrictId == district
                && (x.Change.Held ? x.Change.Number <= x.Operation.HeldAppliedTo : x.Change.Number <= x.Operation.AppliedTo)
            )
            .OrderBy(x => x.Change.OperationId)
            .ThenBy(x => x.Change.Number)
            .Select(x => new
            {
                x.Change.PatronId,
                x.Change.OperationId,
                x.Change.Values,
                x.Change.Link,
                x.Change.LinkBefore,
                x.Operation.Kind,
                x.Operation.SubjectId,
            })
            .ToListAsync(cancellationToken);
        var result = new Dictionary<long, Later>();
        foreach (var row in rows)
        {
            var patron = row.PatronId!.Value;
            var later = result.TryGetValue(patron, out var have) ? have : result[patron] = new Later();
            var fields = ChangeValues.Parse(row.Values).Items.Select(i => i.Field);
            var link =
                row.Link is not null
                && (
                    row.Link == LinkState.Removed
                    || LinkState.Parse(row.Link)! with
                    {
                        SyncHash = 0,
                    } != (LinkState.Parse(row.LinkBefore) ?? new LinkState()) with { SyncHash = 0 }
                );
            if (row.Kind == OperationKind.Undo && row.SubjectId == subject)
            {
                later.Undone(fields, row.Link is not null);
            }
            else if (row.Kind == OperationKind.Undo && row.SubjectId > subject)
            {
                later.TakeBack(row.SubjectId.Value, fields, link);
            }
            else
            {
                later.Touch(row.OperationId, fields, link);
            }
        }

        return result;
    }

    /// <summary>What later operations touched of one patron.</summary>
    private sealed class Later
    {
        private readonly SortedDictionary<long, HashSet<int>> _fields = [];
        private readonly SortedSet<long> _links = [];

        private readonly HashSet<int> _takenBack = [];

        /// <summary>An earlier undo of this very operation took the link back.</summary>
        public bool LinkTakenBack { get; private set; }

        /// <summary>An earlier undo of this very operation took the field back.</summary>
        public bool TookBack(int field) => _takenBack.Contains(field);

        /// <summary>Notes what an earlier undo of this very operation did.</summary>
        public void Undone(IEnumerable<int> fields, bool link)
        {
            _takenBack.UnionWith(fields);
            LinkTakenBack |= link;
        }

        public bool Any => _links.Count > 0 || _fields.Values.Any(f => f.Count > 0);

        public long LastOperation => Math.Max(_links.Max, _fields.Where(f => f.Value.Count > 0).Select(f => f.Key).DefaultIfEmpty().Max());

        public long? LinkOperation => _links.Count > 0 ? _links.Max : null;

        public long? OperationOf(int field)
        {
            foreach (var (operation, fields) in _fields.Reverse())
            {
                if (fields.Contains(field))
                {
                    return operation;
                }
            }

            return null;
        }

        public void Touch(long operation, IEnumerable<int> fields, bool link)
        {
            (_fields.TryGetValue(operation, out var set) ? set : _fields[operation] = []).UnionWith(fields);
            if (link)
            {
                _links.Add(operation);
            }
        }

        public void TakeBack(long operation, IEnumerable<int> fields, bool link)
        {
            if (_fields.TryGetValue(operation, out var set))
            {
                set.ExceptWith(fields);
            }

            if (link)
            {
                _links.Remove(operation);
            }
        }
    }
}
