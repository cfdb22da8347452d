using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Sync.Pull;

namespace Rollcall.Sync.Plan;

/// <summary>What the matcher decided for a roster person.</summary>
internal enum Decision : byte
{
    /// <summary>Not looked at: the role is not ticked, or another row took the person's place.</summary>
    None,

    /// <summary>The patron is found.</summary>
    Match,
    Create,
    Review,
    Skip,
}

/// <summary>The decision for one person.</summary>
/// <param name="Decision">What is done.</param>
/// <param name="Key">The key that found the patron.</param>
/// <param name="Patron">Index of the patron; meaningful for <see cref="Decision.Match"/>.</param>
/// <param name="Reason">Why, in words, for Review and Skip; null otherwise.</param>
/// <param name="Warning">A weaker key points elsewhere; null when none does.</param>
internal readonly record struct Match(
    Decision Decision,
    MatchKey Key = MatchKey.None,
    int Patron = -1,
    string? Reason = null,
    string? Warning = null
);

/// <summary>All decisions of a run, in 8 bytes a person: there are few reasons and warnings, which stand once each.</summary>
internal sealed class Matches(int people)
{
    private readonly Entry[] _entries = new Entry[people];
    private readonly List<string?> _words = [null];
    private readonly Dictionary<string, byte> _numbers = new(StringComparer.Ordinal);

    public int Count => _entries.Length;

    public Match this[int person]
    {
        get
        {
            var entry = _entries[person];
            return new Match(
                entry.Decision,
                (MatchKey)(entry.Key & 0xF),
                entry.Patron,
                entry.Decision == Decision.Match ? null : _words[entry.Word],
                entry.Decision == Decision.Match ? _words[entry.Word] : null
            );
        }
        set => _entries[person] = new Entry(value.Patron, value.Decision, (byte)value.Key, Number(value.Warning ?? value.Reason));
    }

    /// <summary>Patrons in question, by person, for Review.</summary>
    public Dictionary<int, int[]> Candidates { get; } = [];

    /// <summary>Indexes of patrons whom the roster no longer has.</summary>
    public List<int> Absent { get; } = [];

    /// <summary>People who become patrons because somebody decided so in Review.</summary>
    public HashSet<int> DecidedCreates { get; } = [];

    /// <summary>Student #s and barcodes that several new people have: perhaps the same person twice.</summary>
    public HashSet<ulong> SharedByNew { get; } = [];

    /// <summary>New people of a pull of changes who have the name of somebody who is linked, and is not in that pull.</summary>
    public HashSet<int> Namesakes { get; } = [];

    /// <summary>Those of them whose namesake has a Student # or barcode of the library's own, whatever the district's rule is.</summary>
    public HashSet<int> NamesakesOfKept { get; } = [];

    /// <summary>How many rows were looked at to find patrons and people by their keys.</summary>
    public long Steps { get; set; }

    /// <summary>People who matched, by what a new person has in common with them: perhaps the same person twice, too.</summary>
    public Dictionary<Resemblance, List<int>> Resembling { get; } = [];

    private byte Number(string? word)
    {
        if (word is null)
        {
            return 0;
        }

        if (!_numbers.TryGetValue(word, out var number))
        {
            number = checked((byte)_words.Count);
            _words.Add(word);
            _numbers.Add(word, number);
        }

        return number;
    }

    [System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Auto)]
    private readonly record struct Entry(int Patron, Decision Decision, byte Key, byte Word);
}

/// <summary>What two records of a person have in common: role group, Student # or barcode, and last name or birthdate.</summary>
[System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Auto)]
internal readonly record struct Resemblance(bool IsBarcode, ulong Key, RoleGroup Group, bool IsBirthday, uint Value)
{
    /// <summary>All ways in which another record could resemble a person's.</summary>
    public static IEnumerable<Resemblance> Of(RosterPerson person, int birthDay)
    {
        foreach (var (isBarcode, key) in ((bool, ulong)[])[(false, person.Student), (true, person.Barcode)])
        {
            if (key != 0 && person.Last != 0)
            {
                yield return new Resemblance(isBarcode, key, person.Group, false, person.Last);
            }

            if (key != 0 && birthDay != 0)
            {
                yield return new Resemblance(isBarcode, key, person.Group, true, (uint)birthDay);
            }
        }
    }
}

/// <summary>Who is who: roster people against patrons, on keys alone. Pure; follows the order GUID, Student #, barcode, e-mail.</summary>
internal sealed class Matcher
{
    /// <summary>Why a row is left alone whose person has another record that has not been read.</summary>
    public const string OtherRecord = $"Another record of the person may go on{FullDecides}";

    private const string FullDecides = ": the next full sync decides";

    private const string IdReissued = "The id was re-issued: the person goes on under another record";

    private const string EmailFree = $"A patron who is not linked yet has this email{FullDecides}";

    private const string EmailOfOthers = $"Patrons of other names who are not linked yet have this email{FullDecides}";

    private const string InReview = $"Waits in Review{FullDecides}";

    /// <summary>A row was left alone that may never change again, so that only a sync that reads everybody looks at it. Who waits in Review is asked
    /// about already, and whom it would leave out anyway waits for none: somebody new who is at no school of the library.</summary>
    public static bool WaitsForFull(Match match, bool hasSite) =>
        match is { Decision: Decision.Skip, Reason: { } reason and not InReview }
        && reason.EndsWith(FullDecides, StringComparison.Ordinal)
        && (hasSite || reason is not EmailOfOthers);

    /// <summary>Nobody looks at more patrons to say who somebody is. An address or a number that stands for none is many patrons'.</summary>
    public const int MostCandidates = 50;

    private readonly PatronIndex _patrons;
    private readonly PatronLookups _lookups;
    private readonly Roster _roster;
    private readonly Rows<RosterPerson> _persons;
    private readonly SyncSetup _setup;
    private readonly IReadOnlyDictionary<(ulong Id, uint Check), ReviewStatus> _decisions;
    private readonly IReadOnlySet<long> _asked;
    private readonly Matches _matches;

    // Patron → the person who has it by GUID; -1 when nobody does.
    private readonly int[] _byGuid;

    // Patron → the person who has it in the end.
    private readonly int[] _owner;

    // Patron → the strongest key but the GUID by which somebody reaches it, whatever became of that; 0 when nobody does.
    private readonly byte[] _reached;

    // Holders of an address that many have.
    private readonly Dictionary<ulong, Holders> _shared = [];

    private Matcher(
        PatronIndex patrons,
        Roster roster,
        SyncSetup setup,
        IReadOnlyDictionary<(ulong Id, uint Check), ReviewStatus> decisions,
        IReadOnlySet<long> asked
    )
    {
        _asked = asked;
        _patrons = patrons;
        _lookups = patrons.LookUp();
        _roster = roster;
        _persons = roster.Persons;
        _setup = setup;
        _decisions = decisions;
        _matches = new Matches(_persons.Count);
        _byGuid = new int[patrons.Count];
        _owner = new int[patrons.Count];
        _reached = new byte[patrons.Count];
        Array.Fill(_byGuid, -1);
        Array.Fill(_owner, -1);
    }

    /// <param name="patrons">The district's patrons.</param>
    /// <param name="roster">A verified full pull.</param>
    /// <param name="setup">The district's settings.</param>
    /// <param name="decisions">What people decided in Review, or who waits there, by key and check of the <c>sourcedId</c>.</param>
    /// <param name="asked">Patrons whom somebody reaches who waits in Review.</param>
    public static Matches Run(
        PatronIndex patrons,
        Roster roster,
        SyncSetup setup,
        IReadOnlyDictionary<(ulong Id, uint Check), ReviewStatus> decisions,
        IReadOnlySet<long> asked
    )
    {
        var matcher = new Matcher(patrons, roster, setup, decisions, asked);
        matcher.GiveRolesToDeleted();
        matcher.ByGuid();
        matcher.ByAlias();
        matcher.LeaveHalfKnown();
        matcher.ByStrongKeys();
        matcher.ByEmail();
        matcher.FindSharedByNew();
        matcher.FindNamesakes();
        matcher.FindAbsent();
        return matcher._matches;
    }

    private bool Counts(int person) => _persons[person] is { Ticked: true, Replaced: false };

    /// <summary>A deleted row without a role is of the group of whoever is linked to it; of nobody's, it is nothing.</summary>
    private void GiveRolesToDeleted()
    {
        for (var i = 0; i < _persons.Count; i++)
        {
            ref var person = ref _persons[i];
            if (person is not { Group: RoleGroup.None, Deleted: true, Replaced: false })
            {
                continue;
            }

            var found = _lookups.ByGuid(person.Guid);
            found = found.Length > 0 ? found : _lookups.ByAlias(person.Guid);
            if (found.Length > 0 && _patrons[found[0]] is { Linked: true } patron && _setup.IsTicked(patron.RoleGroup))
            {
                (person.Group, person.Ticked) = (patron.RoleGroup, true);
            }
        }
    }

    private void ByGuid()
    {
        for (var i = 0; i < _persons.Count; i++)
        {
            if (!Counts(i))
            {
                continue;
            }

            if (_persons[i].Guid == 0)
            {
                Skip(i, "The row has no sourcedId");
                continue;
            }

            var found = _lookups.ByGuid(_persons[i].Guid);
            if (found.Length > 0)
            {
                Take(i, found[0], MatchKey.Guid);
                _byGuid[found[0]] = i;
            }
        }
    }

    /// <summary>Of several records of a person one is synced: the GUID's own, unless it is deleted, or at no school of the library, while another
    /// goes on at one.</summary>
    private void ByAlias()
    {
        var (reader, holders) = (Reader(), Reader());
        for (var i = 0; i < _persons.Count; i++)
        {
            if (!Counts(i) || _matches[i].Decision != Decision.None)
            {
                continue;
            }

            var found = _lookups.ByAlias(_persons[i].Guid);
            if (found.Length == 0)
            {
                continue;
            }

            var patron = found[0];
            var holder = _owner[patron];
            if (
                holder >= 0
                && (_persons[i].Deleted || (!_persons[holder].Deleted && (HasSite(holder, holders.Value) || !HasSite(i, reader.Value))))
            )
            {
                Skip(i, "Another record of a person who is already synced");
                continue;
            }

            if (holder >= 0)
            {
                Skip(holder, "The person goes on under another record");
            }

            Take(i, patron, MatchKey.Guid);
            _byGuid[patron] = i;
        }

        Lazy<SpoolReader> Reader() => new(() => _roster.OpenPeople(window: 1 << 14));
    }

    /// <summary>The person belongs to a school of the library, by this row.</summary>
    private bool HasSite(int person, SpoolReader reader) => PersonMapper.HasSite(reader.Read(_persons[person].Position), _setup);

    /// <summary>Which of a person's records counts can only be told where all of them have been read. The GUID's own does while it goes on at a
    /// school of the library, whatever the others say.</summary>
    private void LeaveHalfKnown()
    {
        if (!_roster.ChangesOnly)
        {
            return;
        }

        var reader = new Lazy<SpoolReader>(() => _roster.OpenPeople(window: 1 << 14));
        for (var i = 0; i < _persons.Count; i++)
        {
            if (
                _matches[i] is not { Decision: Decision.Match, Patron: var patron }
                || _patrons.AliasesOf(patron) is not { Count: > 0 } aliases
            )
            {
                continue;
            }

            var own = _patrons[patron].Guid;
            if (
                (own == 0 || _roster.Knows(own))
                && (aliases.All(_roster.Knows) || (_persons[i].Guid == own && !_persons[i].Deleted && HasSite(i, reader.Value)))
            )
            {
                continue;
            }

            Skip(i, OtherRecord);
            _owner[patron] = -1;
            _byGuid[patron] = -1;
        }
    }

    private void ByStrongKeys()
    {
        var claims = new Claims(_patrons.Count, _reached);
        for (var i = 0; i < _persons.Count; i++)
        {
            if (!Counts(i))
            {
                continue;
            }

            if (_matches[i].Decision == Decision.Match)
            {
                WarnOfWeakerKeys(i);
                continue;
            }

            if (_matches[i].Decision != Decision.None)
            {
                continue;
            }

            if (_persons[i].Deleted)
            {
                Skip(i, "Deleted in the roster, or without a role any more, and unknown here");
                continue;
            }

            switch (_decisions.GetValueOrDefault((_persons[i].Guid, _persons[i].Check)))
            {
                case ReviewStatus.Ignored:
                    Skip(i, "Ignored by a decision in Review");
                    continue;
                case ReviewStatus.Created:
                    _matches[i] = new Match(Decision.Create);
                    _matches.DecidedCreates.Add(i);
                    continue;
            }

            var claim = StrongCandidate(i, claims);
            if (_matches[i].Decision == Decision.None && WaitsInReview(i))
            {
                // Who else reaches the patron, or is the same person, only a whole roster can tell.
                Skip(i, InReview);
                if (claim is { } reached)
                {
                    claims.Reach(reached.Patron, reached.Key);
                }
            }
            else if (claim is { } found && _roster.ChangesOnly && _asked.Contains(_patrons[found.Patron].Id))
            {
                // Somebody waits in Review who reaches the same patron, and need not be in this pull.
                Skip(i, OtherRecord);
                claims.Reach(found.Patron, found.Key);
            }
            else if (claim is { } its)
            {
                claims.Add(i, its.Patron, its.Key, its.Reissued);
            }
        }

        foreach (ref var claim in claims.All)
        {
            var (person, patron) = (claim.Person, claim.Patron);
            var (best, winners) = claims.Of(patron);
            if (claim.Key != best)
            {
                Ask(
                    person,
                    $"Another roster person is found as this patron by {Word(best)}, which tells more than {Word(claim.Key)}",
                    patron
                );
            }
            else if (winners > 1)
            {
                Ask(person, $"Several roster people reach the same patron by {Word(claim.Key)}", patron);
            }
            else
            {
                Take(person, patron, claim.Reissued ? MatchKey.Reissued : claim.Key);
            }
        }

        // An e-mail address that only another, free patron holds contradicts the stronger key. Whose patron is nobody's for that is known at the
        // end, so that it is the same for all, in whatever order they come.
        List<(int Patron, int Owner)> released = [];
        foreach (ref var claim in claims.All)
        {
            var (person, patron) = (claim.Person, claim.Patron);
            if (_matches[person].Decision != Decision.Match || _owner[patron] != person)
            {
                continue;
            }

            // Only a deleted row can still hold the old id here.
            var old = _byGuid[patron];
            if (EmailElsewhere(person, patron) is not { Length: > 0 } others)
            {
                if (old >= 0)
                {
                    Skip(old, IdReissued);
                }
            }
            else
            {
                released.Add((patron, old));
                Ask(
                    person,
                    $"{Word(claim.Key)} and email point at {(others.Length == 1 ? "two" : "several")} patrons",
                    [patron, .. others.Take(MostCandidates - 1)]
                );
            }
        }

        foreach (var (patron, owner) in released)
        {
            _owner[patron] = owner;
        }
    }

    /// <summary>The patron's own row of this pull has another Student # now, which will be written: the number went to somebody else. Where last name
    /// or birthdate agree, it may be one person in two records.</summary>
    private bool HasOtherNumber(int patron, int person) =>
        _byGuid[patron] is >= 0 and var own
        && own != person
        && !_persons[own].Deleted
        && _persons[own].Student != 0
        && _persons[own].Student != _persons[person].Student
        && _persons[own].Last != 0
        && _persons[person].Last != 0
        && _persons[own].Last != _persons[person].Last
        && !(_roster.Demographics?.BirthDay(_persons[person]) is { } day and not 0 && day == _roster.Demographics.BirthDay(_persons[own]))
        && _setup.Settings.Map.PolicyOf(PatronFields.CommunityId) == FieldPolicy.RosterWins
        && !_patrons[patron].KeepsKeys;

    private bool WaitsInReview(int person) =>
        _roster.ChangesOnly
        && _decisions.TryGetValue((_persons[person].Guid, _persons[person].Check), out var status)
        && status == ReviewStatus.Open;

    /// <summary>The patron that Student # and barcode agree on, if any; sends the person to Review where they do not. Who goes there reaches the
    /// patrons in question all the same, so that nobody else gets one of them by a weaker key.</summary>
    private (int Patron, MatchKey Key, bool Reissued)? StrongCandidate(int person, Claims claims)
    {
        var byStudent = _lookups.ByStudent(_persons[person].Student, atMost: 2);
        var byBarcode = _patrons.ByBarcode(_persons[person].Barcode);

        // A number that the roster has given on says nothing of who had it. A barcode is waited for: the new person gets it once it is free.
        if (byStudent.Length == 1 && HasOtherNumber(byStudent[0], person))
        {
            byStudent = [];
        }

        if (byStudent.Length > 1)
        {
            // All of them once, however many people have the number.
            var first = byStudent[0];
            if (_reached[first] != (byte)MatchKey.StudentNumber)
            {
                foreach (var holder in _lookups.ByStudent(_persons[person].Student))
                {
                    claims.Reach(holder, MatchKey.StudentNumber);
                }
            }

            // The barcode's holder is somebody's too: nobody else is to get that one by an address.
            var candidates = _lookups.ByStudent(_persons[person].Student, MostCandidates).ToArray();
            if (byBarcode.Length > 0)
            {
                var other = byBarcode[0];
                claims.Reach(other, MatchKey.Barcode);
                candidates = [other, .. candidates.Where(c => c != other)];
            }

            Ask(person, "Several patrons have this Student #", candidates);
            return null;
        }

        if (byStudent.Length == 0 && byBarcode.Length == 0)
        {
            return null;
        }

        if (byStudent.Length == 1 && byBarcode.Length >= 1 && byStudent[0] != byBarcode[0])
        {
            claims.Reach(byStudent[0], MatchKey.StudentNumber);
            claims.Reach(byBarcode[0], MatchKey.Barcode);
            Ask(person, "Student # and barcode point at two patrons", byStudent[0], byBarcode[0]);
            return null;
        }

        var key = byStudent.Length == 1 ? MatchKey.StudentNumber : MatchKey.Barcode;
        var patron = byStudent.Length == 1 ? byStudent[0] : byBarcode[0];
        ref readonly var found = ref _patrons[patron];
        if (found.Guid == 0)
        {
            return (patron, key, false);
        }

        if (_roster.ChangesOnly)
        {
            // Whether the other id is alive, gone or re-issued only a whole roster can tell. Where it is deleted, perhaps for that, it waits too: no
            // leaver is made of somebody who goes on.
            Skip(person, $"The patron found by {Word(key)} {(found.Linked ? "is linked to another id" : "has another GUID")}{FullDecides}");
            LeaveDeleted(patron);
            return null;
        }

        if (_roster.IsLive(found.Guid) || _patrons.AliasesOf(patron).Any(_roster.IsLive))
        {
            // "Live" also means active in the roster while all of the person's roles have ended; then it is no living twin.
            if (_byGuid[patron] < 0 || !_persons[_byGuid[patron]].Deleted)
            {
                claims.Reach(patron, key);
                Ask(
                    person,
                    $"The patron found by {Word(key)} is linked to another person who is in the roster too: perhaps the same person twice in the roster",
                    patron
                );
                return null;
            }
        }

        var gone = _roster.Has(found.Guid) || _roster.AbsenceUsable;
        var sameName = found.Last != 0 && found.Last == _persons[person].Last;
        var sameBirthday = found.BirthDay != 0 && found.BirthDay == (_roster.Demographics?.BirthDay(_persons[person]) ?? 0);
        var otherBirthday = OtherBirthday(person, patron);
        if (gone && IsOfGroup(person, patron) && (sameBirthday || (sameName && !otherBirthday)))
        {
            return (patron, key, true);
        }

        // Somebody of another name is no rival to one who is the patron by the same key, and is to one of a weaker key.
        claims.Reach(patron, key, rival: false);
        Ask(
            person,
            !gone
                    ? $"The patron found by {Word(key)} {(found.Linked ? "is linked to another id" : "has another GUID")}, and this pull cannot tell whether that one is gone"
                : !IsOfGroup(person, patron) ? $"The patron found by {Word(key)} had another role and {GoneId(patron)}"
                : sameName ? $"The patron found by {Word(key)} had {GoneId(patron)}, and another birthdate"
                : $"The patron found by {Word(key)} had {GoneId(patron)}, but neither last name nor birthdate agree",
            patron
        );
        return null;
    }

    /// <summary>Nobody is marked a leaver of whom the next full sync decides whether they go on under another id.</summary>
    private void LeaveDeleted(int patron)
    {
        if (_byGuid[patron] is >= 0 and var old && _persons[old].Deleted)
        {
            Skip(old, OtherRecord);
            (_owner[patron], _byGuid[patron]) = (-1, -1);
        }
    }

    private void WarnOfWeakerKeys(int person)
    {
        var patron = _matches[person].Patron;
        if (_persons[person].Deleted)
        {
            return;
        }

        // One other holder is enough to know: of a key that stands for none there may be as many as people.
        if (_persons[person].Student != _patrons[patron].Student && _lookups.ByStudent(_persons[person].Student, atMost: 1).Length > 0)
        {
            _matches[person] = _matches[person] with { Warning = "The Student # of the roster belongs to another patron here" };
        }
        else if (_persons[person].Barcode != _patrons[patron].Barcode && _patrons.ByBarcode(_persons[person].Barcode).Length > 0)
        {
            _matches[person] = _matches[person] with { Warning = "The barcode of the roster belongs to another patron here" };
        }
        else if (_lookups.ByEmail(_persons[person].Email, atMost: 2) is [var other] && other != patron && _patrons[other].Guid == 0)
        {
            _matches[person] = _matches[person] with { Warning = "The email of the roster belongs to another patron here" };
        }
    }

    /// <summary>Free patrons who hold the person's address while the one that a stronger key found does not.</summary>
    private int[] EmailElsewhere(int person, int patron)
    {
        if (_persons[person].Email == 0 || _patrons[patron].Email == _persons[person].Email)
        {
            return [];
        }

        // A patron whom somebody else has by a stronger key shows that the address is shared, as in families.
        var holders = HoldersOf(_persons[person].Email);
        return holders.Unowned ??= Array.FindAll(holders.Patrons.All, p => _owner[p] < 0);
    }

    /// <summary>Who has an address, among patrons who are not linked yet, and those whose id this roster no longer has.</summary>
    private Holders HoldersOf(ulong email)
    {
        if (_shared.TryGetValue(email, out var known))
        {
            return known;
        }

        var found = _lookups.ByEmail(email);
        if (found.Length == 0)
        {
            return Holders.None;
        }

        var free = new List<int>();
        var gone = new List<int>();
        foreach (var holder in found)
        {
            if (_patrons[holder].Guid == 0)
            {
                free.Add(holder);
            }
            else if (IsGone(holder))
            {
                gone.Add(holder);
            }
        }

        var holders = new Holders(NamedPatrons(free), NamedPatrons(gone));
        if (found.Length > Named.Few)
        {
            _shared.Add(email, holders);
        }

        return holders;

        Named NamedPatrons(List<int> patrons) => new([.. patrons], p => (_patrons[p].Last, _patrons[p].First));
    }

    /// <summary>A patron with a GUID of whose ids this roster has none, or has them deleted. It may never have been this roster's: a former system's
    /// comes with a file. Of a pull of changes, and of one in which rows have no ids or shifted, it is only known that it does not say otherwise.</summary>
    private bool IsGone(int patron) =>
        _patrons[patron].Guid != 0
        && (_owner[patron] < 0 || _persons[_owner[patron]].Deleted)
        && ((_byGuid[patron] >= 0 && _persons[_byGuid[patron]].Deleted) || !_roster.IsLive(_patrons[patron].Guid))
        && !_patrons.AliasesOf(patron).Any(_roster.IsLive);

    /// <summary>The roster says so of whoever <see cref="IsGone"/>.</summary>
    private bool IsSurelyGone(int patron) => _roster.AbsenceUsable || _roster.Has(_patrons[patron].Guid);

    private string GoneId(int patron) =>
        !IsSurelyGone(patron) ? "another id of which this pull cannot tell whether it is gone"
        : _patrons[patron].Linked ? "another id that is gone"
        : "a GUID that the roster does not have";

    /// <summary>Nobody has the patron but perhaps a deleted row of the old id.</summary>
    private bool IsUnclaimed(int patron) => _owner[patron] < 0 || (_owner[patron] == _byGuid[patron] && _persons[_owner[patron]].Deleted);

    /// <summary>Both birthdates are known, and are two.</summary>
    private bool OtherBirthday(int person, int patron) =>
        _patrons[patron].BirthDay is not 0 and var known
        && _roster.Demographics?.BirthDay(_persons[person]) is { } day and not 0
        && day != known;

    /// <summary>Of the patrons who are gone with an address those of a name who could be this person: of the same role group.</summary>
    private int[] GoneAs(int person, int[] patrons) => patrons.Length == 0 ? [] : Array.FindAll(patrons, p => IsOfGroup(person, p));

    /// <summary>Whom no sync has met has no role yet.</summary>
    private bool IsOfGroup(int person, int patron) => !_patrons[patron].Linked || _patrons[patron].RoleGroup == _persons[person].Group;

    private void ByEmail()
    {
        var rosterByEmail = new Lookup<RosterPerson>(_persons, static (in p) => p.Deleted || p.Replaced ? 0 : p.Email);
        var claims = new Claims(_patrons.Count, new byte[_patrons.Count]);
        for (var i = 0; i < _persons.Count; i++)
        {
            if (!Counts(i) || _matches[i].Decision != Decision.None)
            {
                continue;
            }

            // Nothing stronger was found: new, unless the address says otherwise.
            _matches[i] = new Match(Decision.Create);
            if (_persons[i].Email == 0)
            {
                continue;
            }

            var holders = HoldersOf(_persons[i].Email);
            var patrons = holders.Patrons.All;
            if (patrons.Length == 0 && holders.Gone.All.Length == 0)
            {
                continue;
            }

            // Who has been linked under another id, which is gone, is the same person where both names agree: relatives share an address.
            var (last, first) = (_persons[i].Last, _persons[i].First);
            var back = last == 0 || first == 0 ? [] : GoneAs(i, holders.Gone.Of(last, first));
            if (_roster.ChangesOnly)
            {
                // Who else has the address only a whole roster can tell; a new patron now might double an old one.
                if (Array.FindAll(back, p => !OtherBirthday(i, p)) is { Length: > 0 } same)
                {
                    Skip(i, OtherRecord);
                    foreach (var other in same)
                    {
                        LeaveDeleted(other);
                    }
                }
                else if (patrons.Length > 0)
                {
                    Skip(i, last != 0 && holders.Patrons.Of(last).Length > 0 ? EmailFree : EmailOfOthers);
                }

                continue;
            }

            var people = holders.People ??= PeopleOf(_persons[i].Email, holders);
            var sameLast = last == 0 ? [] : holders.Patrons.Of(last);
            if (first != 0 && back.Length == 0 && sameLast.Length is > 0 and <= Named.Few)
            {
                // Brothers and sisters share the address: of whom each that is here is found, nobody is left whom a new one could be.
                var mine = _persons[i];
                sameLast = Array.FindAll(sameLast, p => !IsSibling(mine, p, holders, people));
                if (sameLast.Length == 0)
                {
                    continue;
                }
            }

            if (sameLast.Length == 0 && back.Length == 0)
            {
                if (patrons.Length + holders.Gone.All.Length == 1 && people.All.Length == 1)
                {
                    if (patrons.Length == 1)
                    {
                        Ask(i, "One patron has this email, but under another last name", patrons);
                    }
                    else if (GoneAs(i, holders.Gone.All) is [var one] && !OtherBirthday(i, one))
                    {
                        Ask(i, $"One patron has this email, but under another name and {GoneId(one)}", one);
                    }
                }
                else if (last != 0 && holders.Gone.All.Length + patrons.Length <= Named.Few && people.All.Length <= Named.Few)
                {
                    // An address of more is no family's, and says nothing about who has the same last name.
                    var relatives = Array.FindAll(GoneAs(i, holders.Gone.Of(last)), p => !OtherBirthday(i, p) && IsUnclaimed(p));
                    if (relatives.Length > 0)
                    {
                        Ask(i, $"A patron of this email and last name has another first name and {GoneId(relatives[0])}", relatives);
                    }
                }

                continue;
            }

            if (sameLast.Length + back.Length > 1 || people.Of(last).Length > 1)
            {
                int[] both = [.. first == 0 ? [] : holders.Patrons.Of(last, first), .. back];
                if (both.Length != 1 || people.Of(last, first).Length != 1)
                {
                    Ask(i, "Several people share this email and last name", both.Length > 0 ? both : sameLast);
                    continue;
                }

                sameLast = both;
            }

            var patron = sameLast.Length > 0 ? sameLast[0] : back[0];
            var reissued = _patrons[patron].Guid != 0;
            if (reissued && OtherBirthday(i, patron))
            {
                Ask(i, $"The patron with this email and name had {GoneId(patron)}, but another birthdate", patron);
                continue;
            }

            if (_patrons[patron].AbovePatron)
            {
                Ask(i, "The patron with this email works in the library: not linked by email alone", patron);
            }
            else if (!(reissued ? IsUnclaimed(patron) : _owner[patron] < 0) || _reached[patron] != 0)
            {
                // Who else it is may wait in Review as well: that is no reason to give the patron to whoever comes by the address.
                Ask(i, "Another roster person is found as this patron by more than the email", patron);
            }
            else if (reissued && !IsSurelyGone(patron))
            {
                Ask(i, $"The patron with this email and name is linked to {GoneId(patron)}", patron);
            }
            else
            {
                claims.Add(i, patron, MatchKey.Email, reissued);
            }
        }

        foreach (ref var claim in claims.All)
        {
            if (claims.Of(claim.Patron).Winners > 1)
            {
                Ask(claim.Person, "Several roster people reach the same patron by email", claim.Patron);
            }
            else
            {
                if (claim.Reissued && _byGuid[claim.Patron] is >= 0 and var old)
                {
                    Skip(old, IdReissued);
                }

                Take(claim.Person, claim.Patron, claim.Reissued ? MatchKey.Reissued : MatchKey.Email);
            }
        }

        _matches.Steps = _lookups.Steps + rosterByEmail.Steps;

        // Somebody else of another first name has the patron, and has the address too: by a stronger key, or by being the only one of that name.
        bool IsSibling(RosterPerson person, int patron, Holders holders, Named people)
        {
            var first = _patrons[patron].First;
            if (first == 0 || first == person.First)
            {
                return false;
            }

            return _owner[patron] is >= 0 and var owner
                ? !_persons[owner].Deleted && _persons[owner].Email == person.Email && _persons[owner].First != person.First
                : _reached[patron] == 0
                    && !_patrons[patron].AbovePatron
                    && holders.Patrons.Of(person.Last, first).Length == 1
                    && people.Of(person.Last, first) is [var other]
                    && holders.Gone.Of(person.Last, first).Length == 0
                    && !_matches.DecidedCreates.Contains(other)
                    && _matches[other].Decision is Decision.None or Decision.Create;
        }

        Named PeopleOf(ulong email, Holders holders)
        {
            var people = new Named(rosterByEmail.Find(email).ToArray(), p => (_persons[p].Last, _persons[p].First));
            if (people.All.Length > Named.Few)
            {
                _shared.TryAdd(email, holders);
            }

            return people;
        }
    }

    /// <summary>Whose key nobody here has can still be twice among the new people. A new person can also be another record of somebody who is a
    /// patron already and does not have the key here: the library keeps the field, or the roster's barcode could not be used.</summary>
    private void FindSharedByNew()
    {
        var wanted = new HashSet<Resemblance>();
        var alsoMatched = new HashSet<ulong>();
        foreach (var key in (Func<RosterPerson, ulong>[])[p => p.Student, p => p.Barcode])
        {
            var rows = new Rows<ulong>();
            for (var i = 0; i < _persons.Count; i++)
            {
                if (_matches[i].Decision == Decision.Create && key(_persons[i]) is not 0 and var own)
                {
                    rows.Add(own);
                }
            }

            var keys = rows.Take();
            Array.Sort(keys);
            for (var i = 1; i < keys.Length; i++)
            {
                if (keys[i] == keys[i - 1])
                {
                    _matches.SharedByNew.Add(keys[i]);
                }
            }

            // Few keys are both a new person's and somebody else's. In a first sync nobody matches, and in others few are new.
            var shared = new HashSet<ulong>();
            for (var i = 0; i < _persons.Count && keys.Length > 0; i++)
            {
                if (_matches[i].Decision == Decision.Match && key(_persons[i]) is not 0 and var own && Sorted.Find(keys, own) >= 0)
                {
                    shared.Add(own);
                }
            }

            for (var i = 0; i < _persons.Count && shared.Count > 0; i++)
            {
                if (_matches[i].Decision == Decision.Create && shared.Contains(key(_persons[i])))
                {
                    wanted.UnionWith(ResemblancesOf(i));
                }
            }

            alsoMatched.UnionWith(shared);
        }

        for (var i = 0; i < _persons.Count && wanted.Count > 0; i++)
        {
            if (
                _matches[i].Decision != Decision.Match
                || !(alsoMatched.Contains(_persons[i].Student) || alsoMatched.Contains(_persons[i].Barcode))
            )
            {
                continue;
            }

            foreach (var resemblance in ResemblancesOf(i).Where(wanted.Contains))
            {
                (_matches.Resembling.TryGetValue(resemblance, out var people) ? people : _matches.Resembling[resemblance] = []).Add(i);
            }
        }
    }

    /// <summary>Where not everybody was read, the other record of a new person may be one of those who were not: all that is known of them here is
    /// who is linked to them.</summary>
    private void FindNamesakes()
    {
        if (!_roster.ChangesOnly)
        {
            return;
        }

        var wanted = new Dictionary<(RoleGroup Group, uint Last, bool IsBirthday, uint Value), List<int>>();
        for (var i = 0; i < _persons.Count; i++)
        {
            ref readonly var person = ref _persons[i];
            if (_matches[i].Decision == Decision.Create && person.Last != 0 && (person.Student != 0 || person.Barcode != 0))
            {
                Want(i, (person.Group, person.Last, false, person.First));
                if (_roster.Demographics?.BirthDay(person) is > 0 and var birthDay)
                {
                    Want(i, (person.Group, person.Last, true, (uint)birthDay));
                }
            }
        }

        for (var i = 0; i < _patrons.Count && wanted.Count > 0; i++)
        {
            ref readonly var patron = ref _patrons[i];
            if (patron is { Linked: true, Guid: not 0 } && _owner[i] < 0)
            {
                Find((patron.RoleGroup, patron.Last, false, patron.First), patron.KeepsKeys);
                Find((patron.RoleGroup, patron.Last, true, (uint)patron.BirthDay), patron.KeepsKeys);
            }
        }

        void Want(int person, (RoleGroup, uint, bool, uint) name) =>
            (wanted.TryGetValue(name, out var people) ? people : wanted[name] = []).Add(person);

        void Find((RoleGroup, uint, bool, uint) name, bool keepsKeys)
        {
            if (wanted.TryGetValue(name, out var people))
            {
                _matches.Namesakes.UnionWith(people);
                if (keepsKeys)
                {
                    _matches.NamesakesOfKept.UnionWith(people);
                }
            }
        }
    }

    private IEnumerable<Resemblance> ResemblancesOf(int person) =>
        Resemblance.Of(_persons[person], _roster.Demographics?.BirthDay(_persons[person]) ?? 0);

    private void FindAbsent()
    {
        if (!_roster.AbsenceUsable)
        {
            return;
        }

        for (var i = 0; i < _patrons.Count; i++)
        {
            ref readonly var patron = ref _patrons[i];
            if (
                patron is { Linked: true, Absent: false }
                && patron.Guid != 0
                && _owner[i] < 0
                && _setup.IsTicked(patron.RoleGroup)
                && !_roster.Has(patron.Guid)
                && !_patrons.AliasesOf(i).Any(_roster.Has)
            )
            {
                _matches.Absent.Add(i);
            }
        }
    }

    private void Take(int person, int patron, MatchKey key)
    {
        _matches[person] = new Match(Decision.Match, key, patron);
        _owner[patron] = person;
    }

    private void Skip(int person, string reason) => _matches[person] = new Match(Decision.Skip, Reason: reason);

    private void Ask(int person, string reason, params int[] patrons)
    {
        _matches[person] = new Match(Decision.Review, Reason: reason);
        _matches.Candidates[person] = patrons.Length > MostCandidates ? patrons[..MostCandidates] : patrons;
    }

    private static string Word(MatchKey key) => key == MatchKey.StudentNumber ? "Student #" : "barcode";

    /// <summary>Who reaches which patron. A library's first sync claims nearly every patron, so that these are rows and no lists.</summary>
    /// <param name="patrons">How many there are.</param>
    /// <param name="best">Gets the strongest key by which each patron is reached; 0 by nobody.</param>
    private sealed class Claims(int patrons, byte[] best)
    {
        // How many reach the patron by that key.
        private readonly int[] _winners = new int[patrons];

        /// <summary>In the order of the people.</summary>
        public Rows<Claim> All { get; } = new();

        public void Add(int person, int patron, MatchKey key, bool reissued)
        {
            All.Add(new Claim(person, patron, key, reissued));
            Reach(patron, key);
        }

        /// <summary>Somebody reaches the patron, whether or not the patron can be theirs.</summary>
        /// <param name="patron">Whom.</param>
        /// <param name="key">By what.</param>
        /// <param name="rival">Another one who does so by the same key waits too.</param>
        public void Reach(int patron, MatchKey key, bool rival = true)
        {
            if (best[patron] == 0 || (byte)key < best[patron])
            {
                (best[patron], _winners[patron]) = ((byte)key, 0);
            }

            _winners[patron] += rival && (byte)key == best[patron] ? 1 : 0;
        }

        public (MatchKey Best, int Winners) Of(int patron) => ((MatchKey)best[patron], _winners[patron]);
    }

    /// <summary>Who has an address.</summary>
    private sealed class Holders(Named patrons, Named gone)
    {
        public static readonly Holders None = new(new Named([], _ => default), new Named([], _ => default));

        /// <summary>Those who are not linked yet.</summary>
        public Named Patrons => patrons;

        /// <summary>Those whose ids the roster no longer has.</summary>
        public Named Gone => gone;

        /// <summary>Those of them whom nobody has by a stronger key; null until asked for.</summary>
        public int[]? Unowned { get; set; }

        /// <summary>People of the roster; null until asked for.</summary>
        public Named? People { get; set; }
    }

    /// <summary>Some patrons or people by their names: few are gone through each time, many are put in order once. An address that many have, as one
    /// that stands for none, would else be gone through by all for each of all.</summary>
    private sealed class Named(int[] all, Func<int, (uint Last, uint First)> nameOf)
    {
        public const int Few = 16;
        private Dictionary<uint, int[]>? _byLast;
        private Dictionary<(uint, uint), int[]>? _byBoth;

        public int[] All => all;

        public int[] Of(uint last) =>
            all.Length <= Few
                ? Array.FindAll(all, h => nameOf(h).Last == last)
                : (_byLast ??= Group(h => nameOf(h).Last)).GetValueOrDefault(last, []);

        public int[] Of(uint last, uint first) =>
            all.Length <= Few
                ? Array.FindAll(all, h => nameOf(h) == (last, first))
                : (_byBoth ??= Group(nameOf)).GetValueOrDefault((last, first), []);

        private Dictionary<T, int[]> Group<T>(Func<int, T> key)
            where T : notnull => all.GroupBy(key).ToDictionary(g => g.Key, g => g.ToArray());
    }

    [System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Auto)]
    private readonly record struct Claim(int Person, int Patron, MatchKey Key, bool Reissued);
}
