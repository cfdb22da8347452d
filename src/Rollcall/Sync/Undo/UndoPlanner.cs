using System.Data.Common;
using System.Globalization;
using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
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
    internal static readonly ChangeKind[] Writing =
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

    // Who has an id of the roster besides the GUID, as far as the plan has come.
    private readonly Dictionary<string, long> _aliases = new(StringComparer.Ordinal);
    private readonly List<Change> _chain = [];

    // The operation since which the ids that patrons had are those of a roster that was left.
    private long? _switched;
    private long _read;

    public UndoPlanner(RollcallDatabase database, DbConnection connection, Operation undo, Operation subject, long? onlyPatron)
    {
        (_database, _connection, _subject, _onlyPatron) = (database, connection, subject, onlyPatron);
        _writer = new ChangeWriter(database, connection, undo.DistrictId, undo.Id, undo.Fence);
    }

    /// <summary>Fields that stay because something later touched them.</summary>
    public long KeptFields { get; private set; }

    /// <summary>Fields of the one patron that go back, and that the roster's next sync writes again.</summary>
    public long ComeAgain { get; private set; }

    public long Rows => _writer.Count;

    private bool IsOfOne =>
        _subject.Kind == OperationKind.PersonSync
        || (_onlyPatron is not null && _subject.Kind is OperationKind.FullSync or OperationKind.ChangesSync);

    public async Task<SyncCounts> RunAsync(Func<long, ValueTask> progress, CancellationToken cancellationToken)
    {
        await FindGivenUpAsync(cancellationToken);
        await FindAliasesAsync(cancellationToken);
        await using (var context = _database.CreateContext(_connection, null))
        {
            _switched = await IntegrationSwitch.ClearedSinceAsync(context, _subject, cancellationToken);
        }

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
            .Where(c => c.DistrictId == _subject.DistrictId && c.OperationId == _subject.Id && !c.Stale && Writing.Contains(c.Kind))
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

    private async Task FindAliasesAsync(CancellationToken cancellationToken)
    {
        await using var context = _database.CreateContext(_connection, null);
        foreach (
            var link in await context
                .PatronLinks.Where(l => l.DistrictId == _subject.DistrictId && l.Aliases != null)
                .Select(l => new { l.PatronId, l.Aliases })
                .ToListAsync(cancellationToken)
        )
        {
            Holds(link.PatronId, null, link.Aliases);
        }
    }

    /// <summary>Notes which further ids a patron has from here on.</summary>
    private void Holds(long patron, string? before, string? after)
    {
        foreach (var alias in LinkMembers.Ids(before))
        {
            if (_aliases.TryGetValue(alias, out var holder) && holder == patron)
            {
                _aliases.Remove(alias);
            }
        }

        foreach (var alias in LinkMembers.Ids(after))
        {
            _aliases[alias] = patron;
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
        var created = batch.Where(r => r.Kind == ChangeKind.Create).Select(r => r.PatronId!.Value).Distinct().ToArray();
        var later = await LaterAsync(context, ids, created, cancellationToken);
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
                ChangeKind.Remove => Recreate(row, values, patrons, barcodes, guids),
                _ => Restore(row, values, patrons.GetValueOrDefault(id), links.GetValueOrDefault(id), touched, barcodes, guids),
            };
            if (change is null)
            {
                Count(Outcome.Unchanged);
                continue;
            }

            Count(change.Outcome);
            if (change.Link is not null)
            {
                Holds(id, links.GetValueOrDefault(id)?.Aliases, LinkState.Parse(change.Link)?.Aliases);
            }

            change.PatronId = id;
            change.RosterId = row.RosterId;
            change.SiteId ??= patrons.GetValueOrDefault(id)?.SiteId ?? row.SiteId;
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

    /// <summary>How the words begin that say that a patron is gone for good.</summary>
    internal const string Removed = "The patron was removed";

    /// <summary>Why a patron is not there any more.</summary>
    private static string GoneBecause(Later? later) =>
        later?.Gone switch
        {
            (var operation, true) =>
                $"The patron was merged into another one by operation {operation}: undo that first, then this operation again",
            (var operation, false) => $"{Removed} by operation {operation}",
            null => $"{Removed} since",
        };

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
            return later is { TookOut: true } ? null : Skipped(GoneBecause(later));
        }

        if (later is { Any: true })
        {
            return Skipped($"The patron stays: changed since by operation {later.LastOperation}");
        }

        if (later?.Merge is { } merge)
        {
            // It had nothing to fill, but the other record lives on in this one alone.
            return Skipped($"The patron stays: another record was merged into it by operation {merge}");
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
        Dictionary<long, Patron> patrons,
        Dictionary<string, long> barcodes,
        Dictionary<string, long> guids
    )
    {
        var id = row.PatronId!.Value;
        if (patrons.ContainsKey(id))
        {
            return null;
        }

        var back = new ChangeValues();
        var link = _switched is null ? LinkState.Parse(row.LinkBefore) : null;
        var site = row.SiteId;
        string? warning = null;
        foreach (var (field, old, _) in values.Items)
        {
            if (field == PatronFields.Guid && _switched is not null)
            {
                warning = $"Since then operation {_switched} switched the roster service: brought back without GUID and link";
                KeptFields++;
                continue;
            }

            if (field == PatronFields.Guid && old is not null && IsTaken(guids, old, id))
            {
                warning = "The GUID belongs to another patron now: brought back without GUID and link";
                link = null;
                KeptFields++;
                continue;
            }

            if (field == PatronFields.Barcode && old is not null && HeldByOther(barcodes, _barcodesGivenUp, Text.BarcodeKey(old), id))
            {
                // The next one is given when it is written, by the site that one of the two has.
                site ??=
                    patrons.Values.Select(p => p.SiteId).FirstOrDefault(s => s is not null)
                    ?? throw new RollcallException(
                        $"The barcode {old} belongs to another patron now, and neither record has a site that gives the next one. "
                            + "Give that patron another barcode, or the record that was kept a site, then undo again."
                    );
            }

            back.Add(field, null, old);
        }

        if (link?.Aliases is not null)
        {
            var free = LinkMembers.Ids(link.Aliases).Where(a => !IsTaken(guids, a, id)).ToList();
            if (free.Count < LinkMembers.Ids(link.Aliases).Length)
            {
                warning = "Further GUIDs that belong to another patron now stay there";
                link = LinkMembers.WithAliases(link, free);
                KeptFields++;
            }
        }

        return new Change
        {
            Kind = ChangeKind.Create,
            Outcome = Outcome.Created,
            SiteId = site,
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
            return Skipped(GoneBecause(later));
        }

        var back = new ChangeValues();
        var kept = new List<string>();
        var chained = false;
        var stay = new HashSet<int>();
        foreach (var (number, old, @new) in values.Items)
        {
            var field = PatronFields.ByNumber(number);
            var current = field.Get(patron);
            if (string.Equals(current, old, StringComparison.Ordinal) || later?.TookBack(number) == true)
            {
                continue;
            }

            var theirs = string.Equals(current, @new, StringComparison.Ordinal);
            string? why =
                (theirs ? later?.OperationOf(number, current) : later?.WriterOf(number, current)) is { } operation
                    ? $"changed since by operation {operation}"
                : !theirs ? "changed since"
                : null;
            if (why is null && later?.KeptSince(number, patron.KeptFields) is { } marked)
            {
                why = $"the library keeps it since operation {marked}";
            }

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

            if (why is null && number == PatronFields.Guid)
            {
                why =
                    old is null ? LinkedSince(row, link, later)
                    : _switched is not null ? $"since then operation {_switched} switched the roster service"
                    : IsTaken(guids, old, patron.Id) ? "the former one belongs to another patron now"
                    : null;
            }

            if (why is not null)
            {
                kept.Add($"{field.Label} stays ({why})");
                stay.Add(number);
                if (number == PatronFields.Guid && @new is not null)
                {
                    _guidsGivenUp.Remove(@new);
                }

                continue;
            }

            back.Add(number, current, old);
        }

        if (IsOfOne && !IsDeparture(row))
        {
            ComeAgain += back.Count;
        }

        // A chain is one of barcodes that change hands: whoever gives one up in it belongs to it.
        chained |= back.Has(PatronFields.Barcode) && row.Chained;
        var guidAfter = back.Has(PatronFields.Guid) ? back.New(PatronFields.Guid) : patron.Guid;
        var linkAfter = RestoreLink(row, values.Has(PatronFields.Guid), guidAfter, stay, link, later, guids, kept);
        if (linkAfter is null && link is not null && guidAfter is not null && back.Has(PatronFields.Guid))
        {
            // It is of the person whom the patron was before as well: said, because a GUID that goes takes the link along.
            linkAfter = (LinkState.Of(link) with { SyncHash = 0 }).ToJson();
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

    /// <summary>A sync took somebody off who is not in the roster, or deleted there.</summary>
    private static bool IsDeparture(Change row) =>
        row.Kind == ChangeKind.Transfer
        && LinkState.Parse(row.Link) is { Absent: true }
        && LinkState.Parse(row.LinkBefore) is { Absent: false };

    /// <summary>Why a GUID stays although nobody touched it: who linked another record to the patron took it for this person.</summary>
    private static string? LinkedSince(Change row, PatronLink? link, Later? later) =>
        later?.OperationOf(LinkMembers.Aliases, link?.Aliases) is { } operation && FurtherIds(row, link).Any()
            ? $"operation {operation} linked another record to the patron"
            : null;

    /// <summary>The further ids that did not come by this row.</summary>
    private static IEnumerable<string> FurtherIds(Change row, PatronLink? link) =>
        LinkMembers.Ids(link?.Aliases).Except(LinkMembers.Ids(LinkState.Parse(row.Link)?.Aliases), StringComparer.Ordinal);

    /// <summary>The link after the undo as a row holds it: what the row changed of it and nobody since goes back; null when it stays as it is.</summary>
    private string? RestoreLink(
        Change row,
        bool guidChanged,
        string? guidAfter,
        HashSet<int> stay,
        PatronLink? link,
        Later? later,
        Dictionary<string, long> guids,
        List<string> kept
    )
    {
        var before = LinkState.Parse(row.LinkBefore);
        if (guidAfter is null && before is null && link is not null && (guidChanged || row.Link is not null))
        {
            // Whoever is nobody's in the roster has no link, whatever later syncs wrote into it.
            return FurtherIds(row, link).Any() ? null : LinkState.Removed;
        }

        if (row.Link is null || stay.Contains(PatronFields.Guid))
        {
            return null;
        }

        var current = link is null ? null : LinkState.Of(link);
        var since = LinkMembers.Touched(null, row.Link).Select(m => later?.OperationOf(m, LinkMembers.Value(current, m))).Max();
        if (link is null)
        {
            if (later is { LinkTakenBack: true } || before is null || (guidAfter is null && row.Link != LinkState.Removed))
            {
                return null;
            }

            if (since is not null)
            {
                kept.Add($"The link stays off (changed since by operation {since})");
                return null;
            }

            return Free(before).ToJson();
        }

        if (LinkState.Parse(row.Link) is not { } after)
        {
            if (later is not { LinkTakenBack: true })
            {
                kept.Add(since is null ? "The link stays (changed since)" : $"The link stays (changed since by operation {since})");
            }

            return null;
        }

        var present = LinkState.Of(link);
        if (before is null)
        {
            if (since is null && later is not { LinkTakenBack: true } && !FurtherIds(row, link).Any())
            {
                return LinkState.Removed;
            }

            // The link is somebody's work by now; what must not stay of it are ids that another record gets back.
            if (later is not { LinkTakenBack: true })
            {
                kept.Add(since is null ? "The link stays (changed since)" : $"The link stays (changed since by operation {since})");
            }

            before = after with { Aliases = null };
        }

        if (IsOfOne && IsDeparture(row))
        {
            // Somebody says of this one patron that they are still the library's. As with a status that is set by hand, no sync goes against that.
            before = before with
            {
                Absent = after.Absent,
            };
        }

        var back = LinkMembers.Back(
            before,
            after,
            present,
            stay.Contains(PatronFields.Status),
            member => later?.TookBack(member) == true,
            (member, now) => later?.OperationOf(member, now),
            (member, now) => later?.WriterOf(member, now),
            alias => !IsTaken(guids, alias, link.PatronId),
            kept
        );
        return back == present ? null : (back with { SyncHash = 0 }).ToJson();

        LinkState Free(LinkState state) =>
            LinkMembers.WithAliases(state, LinkMembers.Ids(state.Aliases).Where(a => !IsTaken(guids, a, row.PatronId!.Value))) with
            {
                SyncHash = 0,
            };
    }

    /// <summary>Whether another patron has this id of the roster, as GUID or as a further one, and keeps it.</summary>
    private bool IsTaken(Dictionary<string, long> guids, string id, long patron) =>
        HeldByOther(guids, _guidsGivenUp, id, patron) || (_aliases.TryGetValue(id, out var holder) && holder != patron);

    private static bool HeldByOther(Dictionary<string, long> holders, Dictionary<string, long> givenUp, string key, long patron) =>
        holders.TryGetValue(key, out var holder) && holder != patron && !(givenUp.TryGetValue(key, out var givesUp) && givesUp == holder);

    /// <summary>Who has, as of now, the old values of a unique field; of GUIDs also what had been further ids.</summary>
    private async Task<Dictionary<string, long>> HoldersAsync(
        RollcallContext context,
        List<(Change Row, ChangeValues Values)> rows,
        int field,
        CancellationToken cancellationToken
    )
    {
        var wanted = rows.Select(r => r.Values.Old(field))
            .Concat(
                field == PatronFields.Guid
                    ? rows.SelectMany(r => LinkMembers.Ids(r.Row.Link is null ? null : LinkState.Parse(r.Row.LinkBefore)?.Aliases))
                    : []
            )
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

    /// <summary>What other operations did to these patrons, less what has been taken back again. A number is given when an operation is asked for;
    /// one that had to wait may write after those that were asked for later. Whoever was created had nothing before that, so that all others came
    /// after it; elsewhere those with a greater number are looked at, and what a field is now tells which of them came after.</summary>
    private async Task<Dictionary<long, Later>> LaterAsync(
        RollcallContext context,
        long[] ids,
        long[] created,
        CancellationToken cancellationToken
    )
    {
        var district = _subject.DistrictId;
        var subject = _subject.Id;
        var rows = await context
            .Changes.AsNoTracking()
            .Where(c => c.DistrictId == district && c.PatronId != null && ids.Contains(c.PatronId!.Value))
            .Where(c => c.OperationId > subject || (c.OperationId < subject && created.Contains(c.PatronId!.Value)))
            .Where(c => !c.Stale && Writing.Contains(c.Kind))
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
                Change = x.Change.Kind,
                x.Change.Values,
                x.Change.Link,
                x.Change.LinkBefore,
                x.Operation.Kind,
                x.Operation.Status,
                x.Operation.SubjectId,
            })
            .ToListAsync(cancellationToken);
        var result = new Dictionary<long, Later>();
        foreach (var row in rows)
        {
            var patron = row.PatronId!.Value;
            var later = result.TryGetValue(patron, out var have) ? have : result[patron] = new Later();
            var link = LinkState.Parse(row.Link);
            var values = ChangeValues.Parse(row.Values);
            later.Mark(row.OperationId, values);
            (int Field, object? Value)[] fields =
            [
                .. values.Items.Select(i => (i.Field, (object?)i.New)),
                .. LinkMembers.Touched(row.LinkBefore, row.Link).Select(m => (m, LinkMembers.Value(link, m))),
            ];
            if (row.Kind == OperationKind.Undo && row.SubjectId == subject)
            {
                later.Undone(fields.Select(f => f.Field), row.Link is not null, row.Change == ChangeKind.Remove);
            }
            else if (row.Kind == OperationKind.Undo && later.Knows(row.SubjectId))
            {
                later.TakeBack(row.SubjectId!.Value, fields.Select(f => f.Field));
            }
            else
            {
                later.Touch(row.OperationId, fields);
                if (row is { Change: ChangeKind.Remove, Status: not OperationStatus.Undone })
                {
                    later.Gone = (row.OperationId, row.Kind == OperationKind.Merge);
                }

                if (row is { Kind: OperationKind.Merge, Change: not ChangeKind.Remove, Status: not OperationStatus.Undone })
                {
                    later.Merge = row.OperationId;
                }
            }
        }

        return result;
    }

    /// <summary>What other operations wrote of one patron: fields, and members of the link below zero.</summary>
    private sealed class Later
    {
        private readonly SortedDictionary<long, Dictionary<int, object?>> _fields = [];

        private readonly HashSet<int> _takenBack = [];
        private readonly Dictionary<int, long> _keptSince = [];

        /// <summary>An earlier undo of this very operation took the link back.</summary>
        public bool LinkTakenBack { get; private set; }

        /// <summary>An earlier undo of this very operation took the patron out.</summary>
        public bool TookOut { get; private set; }

        /// <summary>The last merge of another record into this one that was not taken back.</summary>
        public long? Merge { get; set; }

        /// <summary>The operation that took the patron out, and whether it was by a merge.</summary>
        public (long Operation, bool Merged)? Gone { get; set; }

        /// <summary>An earlier undo of this very operation took the field back.</summary>
        public bool TookBack(int field) => _takenBack.Contains(field);

        /// <summary>Notes what an earlier undo of this very operation did.</summary>
        public void Undone(IEnumerable<int> fields, bool link, bool gone)
        {
            _takenBack.UnionWith(fields);
            LinkTakenBack |= link;
            TookOut |= gone;
        }

        /// <summary>Notes which fields an operation marked as the library's own.</summary>
        public void Mark(long operation, ChangeValues values)
        {
            if (values.Has(PatronFields.KeptFields))
            {
                foreach (var field in Marks(values.New(PatronFields.KeptFields)).Except(Marks(values.Old(PatronFields.KeptFields))))
                {
                    _keptSince[field] = operation;
                }
            }
        }

        /// <summary>The operation since which the library keeps a field: what it was before is none of the library's any more.</summary>
        public long? KeptSince(int field, string? kept) =>
            _keptSince.TryGetValue(field, out var operation) && Marks(kept).Contains(field) ? operation : null;

        private static IEnumerable<int> Marks(string? kept) =>
            kept is { Length: > 0 } ? kept.Split(',').Select(f => int.Parse(f, CultureInfo.InvariantCulture)) : [];

        public bool Any => _fields.Values.Any(f => f.Count > 0);

        public long LastOperation => _fields.Where(f => f.Value.Count > 0).Select(f => f.Key).DefaultIfEmpty().Max();

        public bool Knows(long? operation) => operation is { } id && _fields.ContainsKey(id);

        /// <summary>The operation that last wrote a field, if what it wrote is what is there: otherwise that was overwritten, and came before.
        /// Further ids are added and taken off one by one: whoever touched them last counts.</summary>
        public long? OperationOf(int field, object? present)
        {
            foreach (var (operation, fields) in _fields.Reverse())
            {
                if (fields.TryGetValue(field, out var wrote))
                {
                    var counts = field == LinkMembers.Aliases ? present != LinkMembers.NoLink : Equals(wrote, present);
                    return counts || Equals(wrote, present) ? operation : null;
                }
            }

            return null;
        }

        /// <summary>The operation that wrote what is there; null when it is not known.</summary>
        public long? WriterOf(int field, object? present)
        {
            foreach (var (operation, fields) in _fields.Reverse())
            {
                if (fields.TryGetValue(field, out var wrote) && Equals(wrote, present))
                {
                    return operation;
                }
            }

            return null;
        }

        public void Touch(long operation, IEnumerable<(int Field, object? Value)> fields)
        {
            if (!_fields.TryGetValue(operation, out var set))
            {
                set = _fields[operation] = [];
            }

            foreach (var (field, value) in fields)
            {
                set[field] = value;
            }
        }

        public void TakeBack(long operation, IEnumerable<int> fields)
        {
            foreach (var field in fields)
            {
                _fields[operation].Remove(field);
            }
        }
    }
}
