using System.Data.Common;
using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.Mapping;
using Rollcall.OneRoster.Model;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Storage;
using Rollcall.Sync.Pull;

namespace Rollcall.Sync.Plan;

/// <summary>What a plan came to.</summary>
internal sealed record PlanResult(SyncCounts Counts, long Rows, RiskTally Risks, Rows<HashRefresh> Refreshes)
{
    /// <summary>The fields that this pull shares, by role group, as bits.</summary>
    public required IReadOnlyDictionary<RoleGroup, long> Shared { get; init; }

    /// <summary>Changes that earlier runs should have seen and did not.</summary>
    public required long Drift { get; init; }

    public required SeenPeople Seen { get; init; }
}

/// <summary>A patron who turned out to agree with the roster: the link remembers it, unless the patron changed meanwhile.</summary>
[System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Auto)]
internal readonly record struct HashRefresh(long PatronId, long Version, long Hash);

/// <summary>People per site before the run, role group and kind of risk, beside what they are measured against.</summary>
internal sealed class RiskTally
{
    public Dictionary<(int Site, RoleGroup Group, Risk Risk), int> Changes { get; } = [];

    /// <summary>Linked and not yet Transferred before the run.</summary>
    public Dictionary<(int Site, RoleGroup Group), int> Linked { get; } = [];

    /// <summary>Those of them whom this one could transfer: neither Inactive, nor spared by the library, nor gone since an earlier one; with staff
    /// rights only where a deleted row says so.</summary>
    public Dictionary<(int Site, RoleGroup Group), int> Transferable { get; } = [];

    /// <summary>Patrons of before the run who matched.</summary>
    public Dictionary<(int Site, RoleGroup Group), int> Matched { get; } = [];

    /// <summary>Those who become patrons.</summary>
    public Dictionary<(int Site, RoleGroup Group), int> Created { get; } = [];

    /// <summary>Those of them who have the name of somebody whom this roster lacks, of the same site and group.</summary>
    public Dictionary<(int Site, RoleGroup Group), int> Returning { get; } = [];

    /// <summary>Those who are no such ones, and have the name of somebody who left the site before, or whom this roster lacks at another.</summary>
    public Dictionary<(int Site, RoleGroup Group), int> Former { get; } = [];

    /// <summary>Those who are neither, and have the name of somebody of another site of whom a sync of changes knows no more.</summary>
    public Dictionary<(int Site, RoleGroup Group), int> Elsewhere { get; } = [];

    /// <summary>Those of the first two for whom more speaks than a name: a birthdate, or that this whole roster lacks somebody of the very site.</summary>
    public Dictionary<(int Site, RoleGroup Group), int> Likely { get; } = [];

    /// <summary>Those of all three for whom nothing else speaks, nor a patron who is not linked: of years of leavers, of a district's people, and of all whom a
    /// sync of changes does not have, chance makes some namesakes.</summary>
    public Dictionary<(int Site, RoleGroup Group), int> ByNameAlone { get; } = [];

    /// <summary>Those of them whom the roster lacks at another site, by that site.</summary>
    public Dictionary<(int Site, RoleGroup Group, int From), int> Movers { get; } = [];

    /// <summary>Groups that are synced and of whom a whole roster has nobody.</summary>
    public HashSet<RoleGroup> Vanished { get; } = [];

    public void Count(int site, RoleGroup group, Risk risk)
    {
        if (risk != Risk.None)
        {
            Changes[(site, group, risk)] = Changes.GetValueOrDefault((site, group, risk)) + 1;
        }
    }
}

/// <summary>The second pass: people in order from the spool, mapped, compared, and written as change rows.</summary>
internal sealed class Planner
{
    private const int BatchSize = 1000;

    // Warnings of people who were left out: only a sync that reads everybody looks at them again.
    private const string MovedWarning = "moved-meanwhile";
    private const string OtherRecordWarning = "other-record";

    private readonly RollcallDatabase _database;
    private readonly DbConnection _connection;
    private readonly SyncSetup _setup;
    private readonly Roster _roster;
    private readonly PatronIndex _patrons;
    private readonly Matches _matches;
    private readonly WarningLog _warnings;
    private readonly Func<string, long, long?, ValueTask> _progress;
    private readonly ChangeWriter _writer;
    private readonly PatronIds _ids;
    private readonly SharedFields _shared;
    private readonly RiskTally _risks = new();
    private readonly Keys _keys;
    private readonly KeySet _claimedBarcodes = new();

    // New people of this run by the keys that several of them have, and by last name or birthdate: the first of each. A number that stands for
    // none is that of many.
    private readonly Dictionary<(int Field, string Key, RoleGroup Group, bool IsBirthdate, string Value), long> _newByKey = [];
    private readonly KeySet _rosterBarcodes = new();
    private readonly KeySet _unlinkedNames = new();

    // Patrons whom the roster lacks and whose name a new person has: at a site, and wherever they are.
    private readonly Rows<(ulong Name, int Patron, bool Gone)> _missing = new();
    private Lookup<(ulong Name, int Patron, bool Gone)>? _missingByName;

    private long _activeAndGone;
    private readonly HashSet<int> _sitesWithPatrons = [];
    private readonly HashSet<int> _matchedSites;
    private readonly BarcodeSequences _sequences;
    private readonly Rows<HashRefresh> _refreshes = new();
    private readonly List<Comparison> _batch = new(BatchSize);
    private int _compared;
    private int _collectAt = 4000;
    private readonly List<(Comparison Comparison, PersonDifference Difference, int Holder)> _barcodeChain = [];
    private readonly HashSet<int> _barcodeReleased = [];
    private readonly long[] _outcomes = new long[Enum.GetValues<Outcome>().Length];
    private readonly long[] _linkedBy = new long[Enum.GetValues<MatchKey>().Length];
    private long _read;
    private readonly List<long> _seenAlive = [];
    private readonly List<string> _seen = [];
    private SpoolReader? _twins;
    private long _withoutHomeroom;
    private long _drift;

    public Planner(
        RollcallDatabase database,
        DbConnection connection,
        SyncSetup setup,
        Roster roster,
        PatronIndex patrons,
        Matches matches,
        Operation operation,
        WarningLog warnings,
        Func<string, long, long?, ValueTask> progress
    )
    {
        (_database, _connection, _setup, _roster, _patrons, _matches, _warnings, _progress) = (
            database,
            connection,
            setup,
            roster,
            patrons,
            matches,
            warnings,
            progress
        );
        _keys = setup.Keys;
        _shared = roster.ChangesOnly ? SharedFields.Of(setup.State.Shared) : new SharedFields();
        _writer = new ChangeWriter(database, connection, setup.District.Id, operation.Id, operation.Fence);
        _ids = new PatronIds(database, connection, setup.District.Id);
        _matchedSites = [.. setup.OrgSites.Values];
        _sequences = new BarcodeSequences(setup.Sites.Values, setup.SiteDefaults, IsBarcodeTaken);
    }

    /// <summary>Sees each person as mapped; null for nobody.</summary>
    public Action<MappedPerson>? Mapped { get; init; }

    public async Task<PlanResult> RunAsync(CancellationToken cancellationToken)
    {
        TallyPatrons();
        if (!_roster.ChangesOnly)
        {
            await FindSharedFieldsAsync(cancellationToken);
        }

        var reader = _roster.OpenPeople();
        var persons = _roster.Persons;
        for (var i = 0; i < persons.Count; i++)
        {
            if (persons[i].Replaced || !persons[i].Ticked)
            {
                continue;
            }

            _read++;
            var user = reader.Read(persons[i].Position);
            if (_roster.ChangesOnly && user.SourcedId is { } id)
            {
                _seen.Add(id);
            }

            await PlanAsync(i, user, cancellationToken);
            if (_read % 2000 == 0)
            {
                await _progress("Comparing people", _read, persons.Count);
                cancellationToken.ThrowIfCancellationRequested();
            }
        }

        await CompareBatchAsync(cancellationToken);
        await PlanAbsentAsync(cancellationToken);
        await ResolveBarcodeChainAsync(cancellationToken);
        await _writer.FlushAsync(cancellationToken);
        if (_setup.Mapper.NeedsHomerooms && !_roster.ChangesOnly && _roster.Homerooms is { } homerooms)
        {
            _warnings.Add(
                "homeroom-missing",
                "Students have no homeroom in the roster",
                "Homerooms are classes of the type 'homeroom' in a current session.",
                _withoutHomeroom
            );
            _warnings.Add(
                "homeroom-several",
                "People have several homerooms; the one at their site, then the lowest id, was taken",
                null,
                homerooms.Several
            );
        }

        _warnings.Add(
            "active-and-gone",
            "Patrons are Active and no longer in the roster: somebody has set their status since a sync marked them Transferred",
            "No sync changes them until they are in the roster again. The list of patrons shows them with the filters 'No longer in the roster' and Active: set those who have left to Transferred, and mark with 'do not transfer' whom the library keeps.",
            _activeAndGone
        );
        var counts = new SyncCounts
        {
            Read = _read,
            Created = _outcomes[(int)Outcome.Created],
            Updated = _outcomes[(int)Outcome.Updated],
            Unchanged = _outcomes[(int)Outcome.Unchanged],
            Transferred = _outcomes[(int)Outcome.Transferred] + _outcomes[(int)Outcome.Absent],
            Absent = _outcomes[(int)Outcome.Absent],
            Reactivated = _outcomes[(int)Outcome.Reactivated],
            Skipped = _outcomes[(int)Outcome.Skipped],
            Review = _outcomes[(int)Outcome.Review],
            LinkedGuid = _linkedBy[(int)MatchKey.Guid],
            LinkedStudentNumber = _linkedBy[(int)MatchKey.StudentNumber],
            LinkedBarcode = _linkedBy[(int)MatchKey.Barcode],
            LinkedEmail = _linkedBy[(int)MatchKey.Email],
        };
        if (!counts.AddUp)
        {
            throw new InvalidOperationException($"The outcomes do not add up to the people read: {counts}");
        }

        return new PlanResult(counts, _writer.Count, _risks, _refreshes)
        {
            Shared = Enum.GetValues<RoleGroup>().Where(g => g != RoleGroup.None).ToDictionary(g => g, _shared.Bits),
            Drift = _drift,
            Seen = new SeenPeople(_seenAlive, _seen),
        };
    }

    private void TallyPatrons()
    {
        var owned = new System.Collections.BitArray(_patrons.Count);
        var deleted = new System.Collections.BitArray(_patrons.Count);
        for (var i = 0; i < _matches.Count; i++)
        {
            if (_matches[i] is { Decision: Decision.Match, Patron: var patron })
            {
                owned[patron] = true;
                deleted[patron] = _roster.Persons[i].Deleted;
            }
        }

        // Of a row under whatever role nobody is said to be gone, and only a whole roster says so at all.
        var writesStatus =
            _roster is { ChangesOnly: false, AbsenceUsable: true }
            && _setup.Settings.Map.PolicyOf(PatronFields.Status) != FieldPolicy.LibraryKeeps;
        for (var i = 0; i < _patrons.Count; i++)
        {
            ref readonly var patron = ref _patrons[i];
            if (patron.SiteId != 0)
            {
                _sitesWithPatrons.Add(patron.SiteId);
            }

            if (patron.Linked && patron.Status != PatronStatus.Transferred)
            {
                _risks.Linked[(patron.SiteId, patron.RoleGroup)] = _risks.Linked.GetValueOrDefault((patron.SiteId, patron.RoleGroup)) + 1;
                // A deleted row transfers staff too, and nothing else does; whoever has been absent for long has been acted on.
                if (
                    patron is { Spared: false, Status: not PatronStatus.Inactive }
                    && (deleted[i] ? !patron.Absent : !patron.AbovePatron && (!patron.Absent || owned[i]))
                )
                {
                    _risks.Transferable[(patron.SiteId, patron.RoleGroup)] =
                        _risks.Transferable.GetValueOrDefault((patron.SiteId, patron.RoleGroup)) + 1;
                }

                if (_roster.ChangesOnly)
                {
                    // Those who did not change are not in the pull, but they are what a change is measured against.
                    _risks.Matched[(patron.SiteId, patron.RoleGroup)] =
                        _risks.Matched.GetValueOrDefault((patron.SiteId, patron.RoleGroup)) + 1;
                }
            }

            if (
                writesStatus
                && patron is { Absent: true, Spared: false, Status: PatronStatus.Active }
                && _setup.IsTicked(patron.RoleGroup)
                && (owned[i] ? deleted[i] : !_roster.Has(patron.Guid) && !_patrons.AliasesOf(i).Any(_roster.Has))
            )
            {
                _activeAndGone++;
            }

            if (patron is { Linked: false, Last: not 0 } && !owned[i] && (patron.Guid == 0 || !_roster.Has(patron.Guid)))
            {
                _unlinkedNames.Add(NameAt(patron.SiteId, patron.Last, patron.First));
            }
        }

        FindMissing(owned, deleted);
        if (!_roster.ChangesOnly)
        {
            _risks.Vanished.UnionWith(_setup.Settings.Roles);
        }

        foreach (ref var person in _roster.Persons)
        {
            _rosterBarcodes.Add(person.Barcode);
            // Whose role is still to come is there too: between two school years that can be everybody.
            if (!person.Deleted)
            {
                _risks.Vanished.Remove(person.Group);
            }
        }
    }

    /// <summary>Where a roster gives all ids anew, half of the plan takes people off, and the other half would add them once more. Whom it takes off
    /// does not matter: some are Inactive, were marked Transferred the night before, or are not in a pull that cannot tell who is gone.</summary>
    private void FindMissing(System.Collections.BitArray owned, System.Collections.BitArray deleted)
    {
        // Nobody else's name is looked for. Of a million who did not change a sync of changes needs none.
        KeySet? wanted = null;
        for (var i = 0; i < _matches.Count && _patrons.Count > 0; i++)
        {
            ref readonly var person = ref _roster.Persons[i];
            if (person.Last != 0 && _matches[i].Decision == Decision.Create)
            {
                (wanted ??= new KeySet()).Add(NameAt(0, person.Last, person.First, person.Group));
            }
        }

        for (var i = 0; i < _patrons.Count && wanted is not null; i++)
        {
            ref readonly var patron = ref _patrons[i];
            if (patron is not { Linked: true, Last: not 0 } || (owned[i] ? !deleted[i] : IsAlive(patron.Guid, i)))
            {
                continue;
            }

            var name = NameAt(0, patron.Last, patron.First, patron.RoleGroup);
            if (!wanted.Contains(name))
            {
                continue;
            }

            // What a sync of changes does not have is there, unless a deleted row says otherwise.
            _missing.Add((name, i, !_roster.ChangesOnly || owned[i]));
        }

        _missingByName = _missing.Count == 0 ? null : new(_missing, static (in m) => m.Name);

        bool IsAlive(ulong guid, int index) => _roster.IsLive(guid) || _patrons.AliasesOf(index).Any(_roster.IsLive);
    }

    /// <summary>Somebody of a new person's name and role group whom the roster lacks, or who left before. Two known birthdates that are two say that
    /// there are two people. Of other sites there are as many names as a district has people: there a birthdate has to agree, or at least the whole
    /// roster has to lack somebody.</summary>
    private Namesake NamesakeOf(RosterPerson row, int site)
    {
        var best = default(Namesake);
        if (_missingByName is null || row.Last == 0)
        {
            return best;
        }

        var birthDay = _roster.Demographics?.BirthDay(row) ?? 0;
        foreach (var at in _missingByName.Find(NameAt(0, row.Last, row.First, row.Group), Matcher.MostCandidates))
        {
            ref readonly var patron = ref _patrons[_missing[at].Patron];
            var left = patron.Status == PatronStatus.Transferred;
            var sameDay = birthDay != 0 && birthDay == patron.BirthDay;
            if (birthDay != 0 && patron.BirthDay != 0 && !sameDay)
            {
                continue;
            }

            var here = patron.SiteId == site;
            var gone = _missing[at].Gone;
            if (here && !left)
            {
                return new(NamesakeKind.Returning, null, sameDay || gone);
            }

            var kind =
                !left && (sameDay || gone) ? NamesakeKind.Mover
                : here || sameDay ? NamesakeKind.Left
                : left ? NamesakeKind.None
                : NamesakeKind.Elsewhere;
            if (kind > best.Kind)
            {
                best = new(kind, kind == NamesakeKind.Mover ? patron.SiteId : null, sameDay);
            }
        }

        return best;
    }

    private enum NamesakeKind
    {
        None,

        /// <summary>Somebody is at another site, of whom a sync of changes knows no more.</summary>
        Elsewhere,

        /// <summary>Somebody left, by an earlier plan.</summary>
        Left,

        /// <summary>Somebody of another site is missing.</summary>
        Mover,

        /// <summary>Somebody of this site is missing.</summary>
        Returning,
    }

    /// <param name="From">The site that lacks a mover.</param>
    /// <param name="IsLikely">More speaks for one person than a name.</param>
    [System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Auto)]
    private readonly record struct Namesake(NamesakeKind Kind, int? From, bool IsLikely);

    private string Missing => _roster.ChangesOnly ? "linked under another id" : "missing from the roster";

    /// <summary>One key of a name at a site; it only counts people for the thresholds.</summary>
    private static ulong NameAt(int site, uint last, uint first, RoleGroup group = RoleGroup.None) =>
        System.IO.Hashing.XxHash3.HashToUInt64(
            System.Runtime.InteropServices.MemoryMarshal.AsBytes<uint>([last, first, (uint)group]),
            site
        );

    private async Task FindSharedFieldsAsync(CancellationToken cancellationToken)
    {
        var reader = _roster.OpenPeople();
        var values = new MappedValue[FieldMap.SyncedFields.Count];
        bool CanHave(RoleGroup group, int field) =>
            _setup.Mapper.CanHave(group, field)
            && (field is not (PatronFields.Birthdate or PatronFields.Sex) || _roster.Demographics is not null)
            && (field != PatronFields.Location || _roster.Homerooms is not null);

        // A few people show all that there is of most rosters; what nobody of a group can have is not waited for.
        var open = Enum.GetValues<RoleGroup>().Select(g => _shared.IsOpen(g, CanHave)).ToArray();
        for (var i = 0; i < _roster.Persons.Count; i++)
        {
            var person = _roster.Persons[i];
            if (!person.Ticked || person.Replaced || person.Deleted || !open[(int)person.Group])
            {
                continue;
            }

            cancellationToken.ThrowIfCancellationRequested();
            var user = reader.Read(person.Position);
            _setup.Mapper.Fill(user, person.Group, PersonMapper.Context(user, person, _roster, _setup, site: null, counted: false), values);
            _shared.See(person.Group, values);
            open[(int)person.Group] = _shared.IsOpen(person.Group, CanHave);
        }

        await _progress("Comparing people", 0, _roster.Persons.Count);
    }

    /// <summary>A plan left people out who did not change in the roster: a sync of changes would not look at them again.</summary>
    public static bool LeftOut(IEnumerable<WarningGroup> warnings) => warnings.Any(w => w.Code is MovedWarning or OtherRecordWarning);

    private MappedPerson Map(User user, RosterPerson person)
    {
        var mapped = PersonMapper.Map(user, person, _roster, _setup);
        Mapped?.Invoke(mapped);
        return mapped;
    }

    private async ValueTask PlanAsync(int index, User user, CancellationToken cancellationToken)
    {
        var person = _roster.Persons[index];
        var match = _matches[index];
        switch (match.Decision)
        {
            case Decision.Skip:
                var site = PersonMapper.SiteOf(user, _setup);
                if (Matcher.WaitsForFull(match, site is not null))
                {
                    WarnOfOtherRecord();
                }

                await SkipAsync(user, person.Group, site, match.Reason!, cancellationToken);
                return;
            case Decision.Review:
                await EmitReviewAsync(
                    Map(user, person),
                    match.Reason!,
                    [.. _matches.Candidates[index].Select(p => _patrons[p].Id).Distinct()],
                    cancellationToken
                );
                return;
            case Decision.Create:
                await CreateAsync(index, Map(user, person), person, cancellationToken);
                return;
        }

        var patron = _patrons[match.Patron];
        _linkedBy[(int)(match.Key == MatchKey.Reissued ? ReissuedBy(person, patron) : match.Key)]++;
        var group = patron.Linked ? patron.RoleGroup : person.Group;
        if (!_roster.ChangesOnly)
        {
            _risks.Matched[(patron.SiteId, group)] = _risks.Matched.GetValueOrDefault((patron.SiteId, group)) + 1;
        }

        if (
            person.Deleted
            && patron is { Linked: true, Status: PatronStatus.Transferred or PatronStatus.Inactive } or { Linked: true, Absent: true }
        )
        {
            Count(Outcome.Unchanged);
            return;
        }

        var mapped = Map(user, person);
        if (person.Group == RoleGroup.Student && !person.Deleted && mapped.HomeroomClass is null)
        {
            _withoutHomeroom++;
        }

        // What a pull of changes leaves out would be missing from the hash: the next full pull compares these people once.
        var hash = _roster.ChangesOnly ? 0 : PersonPlan.ContentHash(mapped, _shared, _setup.ConfigHash);
        if (
            hash != 0
            && hash == patron.SyncHash
            && match.Key == MatchKey.Guid
            && match.Warning is null
            && !person.Deleted
            && patron is { Linked: true, Absent: false }
            && patron.Status != PatronStatus.Transferred
        )
        {
            Count(Outcome.Unchanged);
            return;
        }

        _batch.Add(new Comparison(index, match, mapped, hash));
        if (_batch.Count >= BatchSize)
        {
            await CompareBatchAsync(cancellationToken);
        }
    }

    private static MatchKey ReissuedBy(RosterPerson person, IndexedPatron patron) =>
        person.Student != 0 && person.Student == patron.Student ? MatchKey.StudentNumber
        : person.Barcode != 0 && person.Barcode == patron.Barcode ? MatchKey.Barcode
        : MatchKey.Email;

    private async Task CompareBatchAsync(CancellationToken cancellationToken)
    {
        if (_batch.Count == 0)
        {
            return;
        }

        var stored = await LoadAsync(_batch.Select(c => _patrons[c.Match.Patron].Id), cancellationToken);
        foreach (var comparison in _batch)
        {
            if (
                !stored.TryGetValue(_patrons[comparison.Match.Patron].Id, out var found)
                || !IsConfirmed(comparison, found.Patron, found.Link)
            )
            {
                await LeaveForNextTimeAsync(comparison, cancellationToken);
                continue;
            }

            var (patron, link) = found;
            var difference = PersonPlan.Compare(comparison.Person, patron, link, _setup, _shared, comparison.Hash, _matchedSites.Contains);
            if (_roster.ChangesOnly && !comparison.Person.Deleted && difference.Outcome != Outcome.Transferred)
            {
                _seenAlive.Add(patron.Id);
            }

            if (comparison.Match.Warning is { } warning)
            {
                difference.Warn("key-elsewhere", warning);
            }

            if (difference.Values.Has(PatronFields.Barcode) && BarcodeHolder(comparison, difference) is { } holder)
            {
                if (holder < 0 || !_claimedBarcodes.Add(Key(difference)))
                {
                    PersonPlan.RefuseBarcode(difference, link);
                }
                else
                {
                    // Whether the holder gives it up is known when everybody has been compared.
                    _barcodeChain.Add((comparison with { Stored = patron, StoredLink = link }, difference, holder));
                    continue;
                }
            }
            else if (difference.Values.Has(PatronFields.Barcode))
            {
                _claimedBarcodes.Add(Key(difference));
                _barcodeReleased.Add(comparison.Match.Patron);
            }

            await EmitDifferenceAsync(comparison, difference, patron, link, chained: false, cancellationToken);
        }

        GiveBackMemory(_batch.Count);
        _batch.Clear();
    }

    /// <summary>Beside a roster of a million the collector is in no hurry: what was read to be compared would lie about until the memory has grown
    /// by a fifth. It is told after 4,000 comparisons, and after each twice as many.</summary>
    private void GiveBackMemory(int compared)
    {
        const int Large = 500_000;
        _compared += compared;
        if (_patrons.Count >= Large && _compared >= _collectAt)
        {
            _collectAt *= 2;
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Forced, blocking: true);
        }
    }

    /// <summary>Whether the patron, now that it is loaded, is the one whose key was found: keys can be shared, and librarians work on
    /// while a sync plans.</summary>
    private bool IsConfirmed(Comparison comparison, Patron patron, PatronLink? link)
    {
        var user = comparison.Person.User;
        bool SameStudent() =>
            _setup.Mapper.CommunityId(user).Text is { } number
            && string.Equals(Text.CleanKey(patron.CommunityId), number, StringComparison.Ordinal);
        bool SameBarcode() =>
            _setup.Mapper.Barcode(user).Text is { } barcode
            && string.Equals(patron.BarcodeKey, Text.BarcodeKey(barcode), StringComparison.Ordinal);
        bool IsFree() => patron.Guid is null || string.Equals(patron.Guid, user.SourcedId, StringComparison.Ordinal);
        bool SameEmail() => string.Equals(patron.EmailKey, Text.EmailKey(user.Email), StringComparison.Ordinal);
        bool SameFirstName() => string.Equals(Text.NameKey(patron.FirstName), Text.NameKey(user.GivenName), StringComparison.Ordinal);
        bool SameLastName() => string.Equals(Text.NameKey(patron.LastName), Text.NameKey(user.FamilyName), StringComparison.Ordinal);
        return comparison.Match.Key switch
        {
            MatchKey.Guid => string.Equals(patron.Guid, user.SourcedId, StringComparison.Ordinal)
                || link?.Aliases?.Split('\n').Contains(user.SourcedId, StringComparer.Ordinal) == true,
            MatchKey.StudentNumber => IsFree() && SameStudent(),
            MatchKey.Barcode => IsFree() && SameBarcode(),
            MatchKey.Email => IsFree() && SameEmail() && SameLastName(),
            MatchKey.Reissued => (IsFree() || _keys.Of(patron.Guid) == _patrons[comparison.Match.Patron].Guid)
                && (SameStudent() || SameBarcode() || (SameEmail() && SameLastName() && SameFirstName()))
                && (
                    patron.Birthdate is { } birthdate && comparison.Person.Value(PatronFields.Birthdate).Text is { } born
                        ? string.Equals(PatronFields.Date(birthdate), born, StringComparison.Ordinal)
                        : SameLastName()
                ),
            _ => true,
        };
    }

    private async ValueTask LeaveForNextTimeAsync(Comparison comparison, CancellationToken cancellationToken)
    {
        var match = comparison.Match;
        var key = match.Key == MatchKey.Reissued ? ReissuedBy(_roster.Persons[comparison.Index], _patrons[match.Patron]) : match.Key;
        _linkedBy[(int)key]--;
        Warn(MovedWarning, "Patrons changed while the sync ran, so that the people they belong to were left out", "");
        await SkipAsync(
            comparison.Person.User,
            comparison.Person.Group,
            comparison.Person.Site,
            "The patron changed while the sync ran: the next one looks again",
            cancellationToken
        );
    }

    private ulong Key(PersonDifference difference) => _keys.Of(Text.BarcodeKey(difference.Values.New(PatronFields.Barcode)!));

    /// <summary>Null: the new barcode is free. Negative: taken for good in this plan. Otherwise the patron who has it now.</summary>
    private int? BarcodeHolder(Comparison comparison, PersonDifference difference)
    {
        var key = Key(difference);
        if (_claimedBarcodes.Contains(key))
        {
            return -1;
        }

        foreach (var holder in _patrons.ByBarcode(key))
        {
            if (holder != comparison.Match.Patron)
            {
                return holder;
            }
        }

        return null;
    }

    private async Task ResolveBarcodeChainAsync(CancellationToken cancellationToken)
    {
        // A row is good when the holder of its barcode moves on too; one that breaks takes those behind it along.
        var good = _barcodeChain.Select(c => c.Comparison.Match.Patron).ToHashSet();
        BarcodeChain.Break(good, [.. _barcodeChain.Select(c => (c.Comparison.Match.Patron, c.Holder))], _barcodeReleased.Contains);

        // Those who change hands stand side by side: they are written in one transaction, and nobody else with them.
        await EmitAsync(isGood: false);
        await EmitAsync(isGood: true);

        async Task EmitAsync(bool isGood)
        {
            foreach (var (comparison, difference, _) in _barcodeChain)
            {
                if (good.Contains(comparison.Match.Patron) != isGood)
                {
                    continue;
                }

                if (!isGood)
                {
                    PersonPlan.RefuseBarcode(difference, comparison.StoredLink);
                }

                await EmitDifferenceAsync(comparison, difference, comparison.Stored!, comparison.StoredLink, isGood, cancellationToken);
            }
        }
    }

    private async ValueTask EmitDifferenceAsync(
        Comparison comparison,
        PersonDifference difference,
        Patron patron,
        PatronLink? link,
        bool chained,
        CancellationToken cancellationToken
    )
    {
        foreach (var (code, message, detail) in difference.Warnings)
        {
            Warn(code, message, detail);
        }

        Count(difference.Outcome);
        if (difference.Values.Count == 0 && !difference.LinkChanges)
        {
            if (difference.Warnings.Count > 0)
            {
                await EmitPersonAsync(
                    ChangeKind.Note,
                    Outcome.Unchanged,
                    comparison.Person.User,
                    comparison.Person.Group,
                    patron,
                    null,
                    WarningText(difference),
                    cancellationToken,
                    comparison.Match.Key
                );
            }
            else if (!_roster.ChangesOnly && link is not null && link.SyncHash != difference.Link!.SyncHash)
            {
                _refreshes.Add(new HashRefresh(patron.Id, patron.Version, difference.Link.SyncHash));
            }

            return;
        }

        CountDrift(comparison.Person.User, difference.Outcome);
        var group = link?.RoleGroup ?? comparison.Person.Group;
        var risk =
            difference.Outcome == Outcome.Transferred ? Risk.Transfers
            : difference.Values.Items.Any(v =>
                v.Field is PatronFields.LastName or PatronFields.Barcode or PatronFields.CommunityId && v.Old is not null
            )
                ? Risk.Updates
            : Risk.None;
        _risks.Count(patron.SiteId ?? 0, group, risk);
        await _writer.AddAsync(
            new Change
            {
                Kind = difference.Outcome switch
                {
                    Outcome.Transferred => ChangeKind.Transfer,
                    Outcome.Reactivated => ChangeKind.Reactivate,
                    Outcome.Updated => ChangeKind.Update,
                    _ => ChangeKind.Link,
                },
                Outcome = difference.Outcome,
                PatronId = patron.Id,
                RosterId = comparison.Person.User.SourcedId,
                SiteId = patron.SiteId,
                RoleGroup = group,
                MatchedBy = comparison.Match.Key,
                Risk = risk,
                Chained = chained,
                Values = difference.Values.ToJson(),
                Link = difference.Link?.ToJson(),
                LinkBefore = difference.LinkBefore?.ToJson(),
                Reason =
                    difference.Reason
                    ?? (
                        comparison.Match.Key != MatchKey.Reissued ? null
                        : link is null ? "The roster does not have the GUID that the patron had"
                        : "The roster re-issued the person's id"
                    ),
                Warning = WarningText(difference),
            },
            cancellationToken
        );
    }

    private async Task PlanAbsentAsync(CancellationToken cancellationToken)
    {
        foreach (var chunk in _matches.Absent.Chunk(BatchSize))
        {
            var stored = await LoadAsync(chunk.Select(i => _patrons[i].Id), cancellationToken);
            foreach (var index in chunk)
            {
                // Librarians work on while a sync plans: the patron may be gone, or be somebody else's by now.
                if (
                    !stored.TryGetValue(_patrons[index].Id, out var found)
                    || found is not ({ Guid: { } guid } patron, { Absent: false } link)
                    || _roster.Has(_keys.Of(guid))
                    || link.Aliases?.Split('\n').Any(a => _roster.Has(_keys.Of(a))) == true
                )
                {
                    continue;
                }

                if (patron.Group > SecurityGroup.Patron)
                {
                    Warn("staff-absent", "A patron with staff rights is no longer in the roster: not transferred", "");
                    await EmitPersonAsync(
                        ChangeKind.Note,
                        Outcome.None,
                        null,
                        link.RoleGroup,
                        patron,
                        null,
                        "No longer in the roster, but has staff rights here: not transferred",
                        cancellationToken
                    );
                    continue;
                }

                var difference = PersonPlan.Absent(patron, link, _setup);
                if (patron.DoNotTransfer)
                {
                    Warn("do-not-transfer", "A patron marked 'do not transfer' is no longer in the roster", "");
                    await EmitPersonAsync(
                        ChangeKind.Note,
                        Outcome.None,
                        null,
                        link.RoleGroup,
                        patron,
                        null,
                        WarningText(difference),
                        cancellationToken
                    );
                    continue;
                }

                if (PersonPlan.KeepsStatus(patron, _setup))
                {
                    // Not marked as done: should the roster write the status one day, it is.
                    Warn("status-kept", "Patrons are no longer in the roster, and the library keeps their status", "");
                    continue;
                }

                var transferred = difference.Outcome == Outcome.Transferred;
                if (transferred)
                {
                    Count(Outcome.Absent);
                    _drift += _setup.State.ChangesRan && !_roster.ChangesOnly ? 1 : 0;
                    _risks.Count(patron.SiteId ?? 0, link.RoleGroup, Risk.Transfers);
                }

                await _writer.AddAsync(
                    new Change
                    {
                        Kind = transferred ? ChangeKind.Transfer : ChangeKind.Link,
                        Outcome = transferred ? Outcome.Absent : Outcome.None,
                        PatronId = patron.Id,
                        RosterId = patron.Guid,
                        SiteId = patron.SiteId,
                        RoleGroup = link.RoleGroup,
                        Risk = transferred ? Risk.Transfers : Risk.None,
                        Values = difference.Values.ToJson(),
                        Link = difference.Link!.ToJson(),
                        LinkBefore = difference.LinkBefore!.ToJson(),
                        Reason = difference.Reason ?? "No longer in the roster; the status stays",
                    },
                    cancellationToken
                );
            }
        }
    }

    /// <summary>Who may be the same person as a new one, by what they share, and who that is in words.</summary>
    private (long PatronId, string Key, string Who)? Twin(MappedPerson person, RosterPerson row) =>
        NewTwin(person, row) is var (other, key) ? (other, key, "Another new person")
        : LinkedTwin(person, row) is var (linked, linkedKey) ? (linked, linkedKey, "Somebody who is linked")
        : null;

    /// <summary>The new person of this run who has the same Student # or barcode, and the same last name or birthdate.</summary>
    /// <remarks>Some rosters have a record for each school of a person. Keys alone do not tell: staff and students may be numbered alike.</remarks>
    private (long PatronId, string Key)? NewTwin(MappedPerson person, RosterPerson row)
    {
        foreach (
            var (field, key) in (ReadOnlySpan<(int, ulong)>)[(PatronFields.CommunityId, row.Student), (PatronFields.Barcode, row.Barcode)]
        )
        {
            if (!_matches.SharedByNew.Contains(key) || person.Value(field).Text is not { } text)
            {
                continue;
            }

            foreach (var at in AlikeBy(field, KeyText(field, text), person))
            {
                if (_newByKey.TryGetValue(at, out var other))
                {
                    return (other, field == PatronFields.Barcode ? "barcode" : "Student #");
                }
            }
        }

        return null;
    }

    /// <summary>The patron of a person of this roster who has the same Student # or barcode, and the same last name or birthdate, though nothing here
    /// tells: the library keeps the field, or could not use the value.</summary>
    private (long PatronId, string Key)? LinkedTwin(MappedPerson person, RosterPerson row)
    {
        if (_matches.Resembling.Count == 0)
        {
            return null;
        }

        foreach (var resemblance in Resemblance.Of(row, _roster.Demographics?.BirthDay(row) ?? 0))
        {
            var field = resemblance.IsBarcode ? PatronFields.Barcode : PatronFields.CommunityId;
            if (!_matches.Resembling.TryGetValue(resemblance, out var others) || person.Value(field).Text is not { } text)
            {
                continue;
            }

            // Keys of texts can be shared.
            foreach (var other in others)
            {
                var user = (_twins ??= _roster.OpenPeople(window: 1 << 14)).Read(_roster.Persons[other].Position);
                var value = resemblance.IsBarcode ? _setup.Mapper.Barcode(user).Text : _setup.Mapper.CommunityId(user).Text;
                if (
                    value is not null
                    && string.Equals(KeyText(field, value), KeyText(field, text), StringComparison.Ordinal)
                    && (
                        resemblance.IsBirthday
                        || string.Equals(Text.NameKey(user.FamilyName), Text.NameKey(person.User.FamilyName), StringComparison.Ordinal)
                    )
                )
                {
                    return (_patrons[_matches[other].Patron].Id, resemblance.IsBarcode ? "barcode" : "Student #");
                }
            }
        }

        return null;
    }

    /// <summary>The Student # or barcode of a person by which another record of theirs need not be found here: the library's own counts, or it
    /// cannot be used. Null where there is none.</summary>
    /// <param name="person">The person.</param>
    /// <param name="ofNamesake">The library keeps one of them of somebody of that name.</param>
    private string? KeyNotKept(MappedPerson person, bool ofNamesake)
    {
        var map = _setup.Settings.Map;
        bool IsKept(int field) => map.PolicyOf(field) == FieldPolicy.RosterWins;
        return person.Value(PatronFields.CommunityId).Text is not null && (ofNamesake || !IsKept(PatronFields.CommunityId)) ? "Student #"
            : person.Value(PatronFields.Barcode).Text is { } barcode
            && (ofNamesake || !IsKept(PatronFields.Barcode) || Barcodes.Problem(barcode) is not null)
                ? "barcode"
            : null;
    }

    private void WarnOfOtherRecord() =>
        Warn(OtherRecordWarning, "People may have another record, which was not read: they were left out", "");

    private void RememberNew(MappedPerson person, RosterPerson row, long patronId)
    {
        foreach (
            var (field, key) in (ReadOnlySpan<(int, ulong)>)[(PatronFields.CommunityId, row.Student), (PatronFields.Barcode, row.Barcode)]
        )
        {
            if (_matches.SharedByNew.Contains(key) && person.Value(field).Text is { } text)
            {
                foreach (var at in AlikeBy(field, KeyText(field, text), person))
                {
                    _newByKey.TryAdd(at, patronId);
                }
            }
        }
    }

    /// <summary>What somebody has who is perhaps the same person: role group, key, and last name or birthdate.</summary>
    private static IEnumerable<(int Field, string Key, RoleGroup Group, bool IsBirthdate, string Value)> AlikeBy(
        int field,
        string key,
        MappedPerson person
    )
    {
        yield return (field, key, person.Group, false, Text.Fold(person.Value(PatronFields.LastName).Text ?? ""));
        if (person.Value(PatronFields.Birthdate).Text is { } birthdate)
        {
            yield return (field, key, person.Group, true, birthdate);
        }
    }

    /// <summary>Ids compare exactly, barcodes whatever their case.</summary>
    private static string KeyText(int field, string text) => field == PatronFields.Barcode ? Text.BarcodeKey(text) : text;

    private async ValueTask CreateAsync(int index, MappedPerson person, RosterPerson row, CancellationToken cancellationToken)
    {
        string? skip = null;
        if (person.Value(PatronFields.LastName).Text is null)
        {
            skip = "The person has no last name";
            Warn("no-last-name", "People have no last name and were skipped", "");
        }
        else if (person.Org is null)
        {
            skip = "The person belongs to no organization";
            Warn("no-org-new", "New people belong to no organization and were skipped", "");
        }
        else if (person.Site is null)
        {
            var name = _roster.Orgs.TryGetValue(person.Org, out var org) && Text.Clean(org.Name) is { } called ? called : person.Org;
            var known = _setup.NotServed.Contains(person.Org);
            skip =
                (known ? $"The library does not serve {name}" : $"{name} is not matched to a site")
                + (person.AnySite is { } other ? $"; another school of this person, {_setup.Sites[other].Name}, is" : "");
            if (!known)
            {
                Warn("org-unmatched", "", person.Org);
            }
        }

        if (skip is not null)
        {
            await SkipAsync(person.User, person.Group, person.Site, skip, cancellationToken);
            return;
        }

        if (!_matches.DecidedCreates.Contains(index) && Twin(person, row) is var (lookalike, shared, who))
        {
            if (_roster.ChangesOnly)
            {
                WarnOfOtherRecord();
                await SkipAsync(
                    person.User,
                    person.Group,
                    person.Site,
                    $"{who} has the same {shared} in the roster: the next full sync decides",
                    cancellationToken
                );
                return;
            }

            await EmitReviewAsync(
                person,
                $"{who} has the same {shared} in the roster, and name or birthdate: perhaps the same person twice in the roster",
                [lookalike],
                cancellationToken
            );
            return;
        }

        if (
            !_matches.DecidedCreates.Contains(index)
            && _matches.Namesakes.Contains(index)
            && KeyNotKept(person, _matches.NamesakesOfKept.Contains(index)) is { } notKept
        )
        {
            WarnOfOtherRecord();
            await SkipAsync(
                person.User,
                person.Group,
                person.Site,
                $"Somebody who is linked has the same name or birthdate, and perhaps the same {notKept} in the roster: the next full sync decides",
                cancellationToken
            );
            return;
        }

        var site = _setup.Sites[person.Site!.Value];
        var own = _setup.SiteDefaults.FirstOrDefault(d => d.SiteId == site.Id && d.RoleGroup == person.Group);
        var values = new ChangeValues();
        string? warning = null;
        var map = _setup.Settings.Map;
        var barcode = map.IsForNewPatrons(PatronFields.Barcode) ? person.Value(PatronFields.Barcode).Text : null;
        if (barcode is not null)
        {
            var key = _keys.Of(Text.BarcodeKey(barcode));
            if (Barcodes.Problem(barcode) is { } problem)
            {
                warning = $"The roster's barcode cannot be used: {problem}";
                Warn("barcode-unusable", "", "");
                barcode = null;
            }
            else if (_patrons.ByBarcode(key).Length > 0 || _claimedBarcodes.Contains(key))
            {
                warning = "The roster's barcode belongs to another patron; the next one of the site was given";
                Warn("barcode-taken", "", "");
                barcode = null;
            }
        }

        var drawn = barcode is null;
        barcode ??= _sequences.Take(site.Id, person.Group);
        _claimedBarcodes.Add(_keys.Of(Text.BarcodeKey(barcode)));
        values.Add(PatronFields.Barcode, null, barcode);
        for (var i = 0; i < person.Values.Length; i++)
        {
            var field = FieldMap.SyncedFields[i];
            if (field != PatronFields.Barcode && person.Values[i].Text is { } text && map.IsForNewPatrons(field))
            {
                values.Add(field, null, text);
            }
        }

        values.Add(PatronFields.Site, null, PersonPlan.Number(site.Id));
        values.Add(PatronFields.Guid, null, person.User.SourcedId);
        NewPatron.AddDefaults(values, site, own);
        if (person.Group == RoleGroup.Student && person.HomeroomClass is null)
        {
            _withoutHomeroom++;
        }

        var twin = _sitesWithPatrons.Contains(site.Id) && _unlinkedNames.Contains(NameAt(site.Id, row.Last, row.First));
        var namesake = NamesakeOf(row, site.Id);
        var risk = twin || namesake.Kind != NamesakeKind.None ? Risk.Creates : Risk.None;
        if (namesake.Kind != NamesakeKind.None)
        {
            Tally(
                namesake.Kind switch
                {
                    NamesakeKind.Returning => _risks.Returning,
                    NamesakeKind.Elsewhere => _risks.Elsewhere,
                    _ => _risks.Former,
                },
                (site.Id, person.Group)
            );
            if (namesake.IsLikely)
            {
                Tally(_risks.Likely, (site.Id, person.Group));
            }
            else if (!twin)
            {
                Tally(_risks.ByNameAlone, (site.Id, person.Group));
            }

            if (namesake.From is { } other)
            {
                Tally(_risks.Movers, (site.Id, person.Group, other));
            }
        }

        _risks.Count(site.Id, person.Group, risk);
        _risks.Created[(site.Id, person.Group)] = _risks.Created.GetValueOrDefault((site.Id, person.Group)) + 1;
        Count(Outcome.Created);
        CountDrift(person.User, Outcome.Created);
        var id = await _ids.NextAsync(cancellationToken);
        RememberNew(person, row, id);
        await _writer.AddAsync(
            new Change
            {
                Kind = ChangeKind.Create,
                Outcome = Outcome.Created,
                PatronId = id,
                RosterId = person.User.SourcedId,
                SiteId = site.Id,
                RoleGroup = person.Group,
                Risk = risk,
                BarcodeDrawn = drawn,
                Values = values.ToJson(),
                Link = new LinkState
                {
                    RoleGroup = person.Group,
                    Username = Text.Clean(person.User.Username),
                    Guardians = person.GuardianIds,
                    HomeroomClass = person.HomeroomClass,
                    LoginDisabled = !person.User.Enabled,
                    SyncHash = warning is null && !_roster.ChangesOnly ? PersonPlan.ContentHash(person, _shared, _setup.ConfigHash) : 0,
                }.ToJson(),
                Reason = namesake.Kind switch
                {
                    NamesakeKind.Returning => $"Somebody of this site has the same name and is {Missing}: perhaps the id was given anew",
                    NamesakeKind.Mover => $"Somebody of another site has the same name and is {Missing}: perhaps the id was given anew",
                    NamesakeKind.Elsewhere => "Somebody of another site has the same name: perhaps the id was given anew",
                    NamesakeKind.Left => "Somebody of the same name has left: perhaps they are back under another id",
                    _ => twin ? "An unlinked patron of this site has the same name" : null,
                },
                Warning = warning,
            },
            cancellationToken
        );
    }

    private static void Tally<T>(Dictionary<T, int> counts, T key)
        where T : notnull => counts[key] = counts.GetValueOrDefault(key) + 1;

    private async ValueTask EmitReviewAsync(MappedPerson person, string reason, long[] candidates, CancellationToken cancellationToken)
    {
        Count(Outcome.Review);
        var values = new ChangeValues();
        for (var i = 0; i < person.Values.Length; i++)
        {
            if (person.Values[i].Text is { } text)
            {
                values.Add(FieldMap.SyncedFields[i], null, text);
            }
        }

        if (person.Site is { } site)
        {
            values.Add(PatronFields.Site, null, PersonPlan.Number(site));
        }

        await _writer.AddAsync(
            new Change
            {
                Kind = ChangeKind.Review,
                Outcome = Outcome.Review,
                RosterId = person.User.SourcedId,
                SiteId = person.Site,
                RoleGroup = person.Group,
                Values = values.ToJson(),
                Link = new LinkState
                {
                    RoleGroup = person.Group,
                    Username = Text.Clean(person.User.Username),
                    Guardians = person.GuardianIds,
                    HomeroomClass = person.HomeroomClass,
                    LoginDisabled = !person.User.Enabled,
                }.ToJson(),
                Candidates = JsonSerializer.Serialize(candidates),
                Reason = reason,
            },
            cancellationToken
        );
    }

    /// <summary>Leaves a person out who is no patron, or whose patron is not touched.</summary>
    private ValueTask SkipAsync(User user, RoleGroup group, int? site, string why, CancellationToken cancellationToken)
    {
        Count(Outcome.Skipped);
        return EmitPersonAsync(ChangeKind.Skip, Outcome.Skipped, user, group, null, why, null, cancellationToken, site: site);
    }

    private async ValueTask EmitPersonAsync(
        ChangeKind kind,
        Outcome outcome,
        User? user,
        RoleGroup group,
        Patron? patron,
        string? reason,
        string? warning,
        CancellationToken cancellationToken,
        MatchKey key = MatchKey.None,
        int? site = null
    )
    {
        var values = new ChangeValues();
        if (patron is null && user is not null)
        {
            // Who it is: there is no patron to take the name from.
            foreach (
                var (field, text) in ((int, string?)[])[(PatronFields.LastName, user.FamilyName), (PatronFields.FirstName, user.GivenName)]
            )
            {
                if (Text.Clean(text) is { } clean)
                {
                    values.Add(field, null, Text.Cut(clean, 255));
                }
            }
        }

        await _writer.AddAsync(
            new Change
            {
                Kind = kind,
                Outcome = outcome,
                PatronId = patron?.Id,
                RosterId = user?.SourcedId ?? patron?.Guid,
                SiteId = patron is null ? site : patron.SiteId,
                RoleGroup = group,
                MatchedBy = key,
                Values = values.ToJson(),
                Reason = reason,
                Warning = warning,
            },
            cancellationToken
        );
    }

    private async Task<Dictionary<long, (Patron Patron, PatronLink? Link)>> LoadAsync(
        IEnumerable<long> ids,
        CancellationToken cancellationToken
    )
    {
        await using var context = _database.CreateContext(_connection, null);
        var wanted = ids.ToArray();
        var district = _setup.District.Id;
        var patrons = await context
            .Patrons.AsNoTracking()
            .Where(p => p.DistrictId == district && wanted.Contains(p.Id))
            .ToListAsync(cancellationToken);
        var links = await context
            .PatronLinks.AsNoTracking()
            .Where(l => l.DistrictId == district && wanted.Contains(l.PatronId))
            .ToDictionaryAsync(l => l.PatronId, cancellationToken);
        return patrons.ToDictionary(p => p.Id, p => (p, links.GetValueOrDefault(p.Id)));
    }

    private bool IsBarcodeTaken(string key)
    {
        var hash = _keys.Of(key);
        return _patrons.ByBarcode(hash).Length > 0 || _claimedBarcodes.Contains(hash) || _rosterBarcodes.Contains(hash);
    }

    private void Count(Outcome outcome) => _outcomes[(int)outcome]++;

    /// <summary>A record that was older than the last changes sync, and still brings something new, had been missed by it.</summary>
    private void CountDrift(User user, Outcome outcome)
    {
        if (
            !_roster.ChangesOnly
            && _setup.State is { ChangesRan: true, ChangesSince: { } since }
            && outcome is Outcome.Created or Outcome.Updated or Outcome.Transferred or Outcome.Reactivated
            && (user.LastModified is not { } modified || modified < since - ChangesPull.Overlap)
        )
        {
            _drift++;
        }
    }

    private static string? WarningText(PersonDifference difference) =>
        difference.Warnings.Count == 0 ? null : string.Join("; ", difference.Warnings.Select(w => w.Message));

    /// <summary>Groups a warning under words for all of its kind, with what to do.</summary>
    private void Warn(string code, string message, string detail)
    {
        var (text, hint) = code switch
        {
            "org-unmatched" => (
                $"{(_roster.Orgs.TryGetValue(detail, out var org) && Text.Clean(org.Name) is { } name ? name : "An organization")} ({detail}) is not matched to a site: its new people are skipped, others keep their site",
                "Match it on the Site Mapping page, or mark it there as not served: then this warning ends."
            ),
            "barcode-taken" => (
                "Barcodes of the roster belong to other patrons here",
                "Look the patrons up by those barcodes: perhaps a record stands twice."
            ),
            "barcode-unusable" => (
                "Barcodes of the roster cannot be used here",
                "A barcode has 3 to 32 letters, digits, '-', '.' or '/', and not a number from 1 to 50."
            ),
            "key-elsewhere" => (message, "The GUID decides. Look both patrons up: perhaps a record stands twice."),
            "no-org" => (
                "People have no organization in the roster; their site stays",
                "They get a school in the SIS: whoever keeps it enters it."
            ),
            "orgs-partial" => (
                "Schools of people could not be read whole; their site stays",
                "Whoever runs the service can say why it sends schools without an id."
            ),
            "no-org-new" => (message, "They get a school in the SIS: whoever keeps it enters it."),
            "no-last-name" => (message, "They are completed in the SIS: whoever keeps it enters the name."),
            "staff-absent" or "staff-left" => (
                "Patrons with staff rights have left according to the roster; they were not transferred",
                "Decide yourself: change the status on their patron page."
            ),
            MovedWarning => (message, "The next sync reads everybody and looks at them again; nothing has to be done."),
            OtherRecordWarning => (message, "The next sync that reads everybody decides; nothing has to be done."),
            "do-not-transfer" => (
                "Patrons marked 'do not transfer' have left according to the roster",
                "Take the mark off to let the sync transfer them."
            ),
            _ => (message, (string?)null),
        };
        _warnings.Add(code, text, hint, 1, detail);
    }

    private sealed record Comparison(int Index, Match Match, MappedPerson Person, long Hash)
    {
        public Patron? Stored { get; init; }
        public PatronLink? StoredLink { get; init; }
    }
}
