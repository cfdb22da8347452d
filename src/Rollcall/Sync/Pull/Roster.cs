using Rollcall.Mapping;
using Rollcall.OneRoster.Model;
using Rollcall.Patrons;

namespace Rollcall.Sync.Pull;

/// <summary>What the planner's first pass needs of a roster person, in 56 bytes. Texts are keys, 0 where blank.</summary>
internal struct RosterPerson
{
    /// <summary>Where the person lies in the spool; -1 for people of roles that are not ticked. A deleted row without a role has its place:
    /// its group is the link's, where somebody is linked to it.</summary>
    public long Position;
    public ulong Guid;
    public ulong Student;
    public ulong Barcode;
    public ulong Email;
    public uint Last;
    public uint First;

    /// <summary>Beside <see cref="Guid"/> it tells the person from everybody else in the roster.</summary>
    public uint Check;
    private byte _group;
    public bool Ticked;

    /// <summary><c>tobedeleted</c>, <c>inactive</c>, or all roles ended.</summary>
    public bool Deleted;

    /// <summary>A later row with the same <c>sourcedId</c> took its place.</summary>
    public bool Replaced;

    public RoleGroup Group
    {
        readonly get => (RoleGroup)_group;
        set => _group = (byte)value;
    }
}

/// <summary>A read and verified roster.</summary>
internal sealed class Roster : IDisposable
{
    private readonly Keys _keys;
    private readonly SpoolReader _guardianReader;
    private readonly ulong[] _guardianKeys;
    private readonly long[] _guardianPositions;
    private readonly ulong[] _ids;
    private readonly ulong[] _deadIds;
    private readonly Spool _people;
    private readonly Spool _guardians;

    /// <param name="keys">The run's keys.</param>
    /// <param name="intake">What was read; it is used up.</param>
    /// <param name="people">The people's spool.</param>
    /// <param name="guardians">The guardians' spool.</param>
    public Roster(Keys keys, UserIntake intake, Spool people, Spool guardians)
    {
        _keys = keys;
        Persons = intake.Finish();
        _people = people;
        _guardians = guardians;
        _ids = intake.Ids.Take();
        Array.Sort(_ids);
        _deadIds = intake.DeadIds.Take();
        Array.Sort(_deadIds);
        _guardianKeys = intake.GuardianKeys.Take();
        _guardianPositions = intake.GuardianPositions.Take();
        Array.Sort(_guardianKeys, _guardianPositions);
        _guardianReader = guardians.OpenReader(4096);
    }

    /// <summary>People of patron roles, ticked or not, in the order read.</summary>
    public Rows<RosterPerson> Persons { get; init; }

    public required IReadOnlyDictionary<string, Org> Orgs { get; init; }
    public required DemographicsIndex? Demographics { get; init; }
    public required HomeroomIndex? Homerooms { get; init; }

    /// <summary>False when a row had no <c>sourcedId</c> or rows shifted: then nobody's absence may be concluded.</summary>
    public required bool AbsenceUsable { get; init; }

    /// <summary>The provider's revision; null when it sends none, and when not all of it came, so that it is to be read again.</summary>
    public required string? Revision { get; init; }

    /// <summary>Why the next sync has to read everything again; null when it does not.</summary>
    public string? FullDue { get; init; }

    /// <summary>The first day to come on which somebody of those read is another by the dates of their roles alone; null when there is none.</summary>
    public DateOnly? RolesTurn { get; init; }

    /// <summary>People of whom only the role is known, and not at which school.</summary>
    public IReadOnlySet<ulong> Placeless { get; init; } = new HashSet<ulong>();

    /// <summary>People who had left and of whom nothing read says that they are back.</summary>
    public IReadOnlySet<ulong> StatusStays { get; init; } = new HashSet<ulong>();

    /// <summary>Only what changed was read: nothing follows from what is not here.</summary>
    public bool ChangesOnly { get; init; }

    /// <summary>Of what is no whole roster: the ids that it was asked for one by one. Who is among them and not here, is not there.</summary>
    public IReadOnlySet<ulong> AskedFor { get; init; } = new HashSet<ulong>();

    /// <summary>Not all guardians are at hand, so contacts are told only where all of a student's are, or are known not to be there.</summary>
    public bool GuardiansPartial { get; init; }

    /// <summary>The <c>sourcedId</c> is in a user row, whatever its role and state.</summary>
    public bool Has(ulong id) => Sorted.Find(_ids, id) >= 0;

    /// <summary>The <c>sourcedId</c> is in a user row that is not deleted.</summary>
    public bool IsLive(ulong id) => Sorted.Range(_ids, id).Count > Sorted.Range(_deadIds, id).Count;

    /// <summary>Whether what this says of an id, and be it nothing, is what the roster says.</summary>
    public bool Knows(ulong id) => !ChangesOnly || Has(id) || AskedFor.Contains(id);

    /// <summary>Reads the people by position.</summary>
    /// <param name="window">Bytes read at once: many for all in order, few for some here and there.</param>
    public SpoolReader OpenPeople(int window = 1 << 20) => _people.OpenReader(window);

    /// <summary>The guardians among a student's agents, and whether any agent could be read at all.</summary>
    public (IReadOnlyList<Guardian> Guardians, bool Readable) GuardiansOf(User user)
    {
        if (user.Agents is not { Count: > 0 } agents)
        {
            return ([], false);
        }

        if (GuardiansPartial && agents.Select(_keys.Of).Any(a => !Has(a) && !AskedFor.Contains(a)))
        {
            return ([], false);
        }

        List<Guardian>? found = null;
        var readable = false;
        foreach (var agent in agents.Distinct(StringComparer.Ordinal))
        {
            var key = _keys.Of(agent);
            var (from, count) = Sorted.Range(_guardianKeys, key);
            readable = readable || count > 0 || Has(key);

            // Of several rows of one person the latest counts.
            User? row = null;
            var latest = -1L;
            for (var at = from; at < from + count; at++)
            {
                if (
                    _guardianPositions[at] > latest
                    && _guardianReader.Read(_guardianPositions[at]) is var candidate
                    && string.Equals(candidate.SourcedId, agent, StringComparison.Ordinal)
                )
                {
                    (row, latest) = (candidate, _guardianPositions[at]);
                }
            }

            if (row is { Status: RecordStatus.Active })
            {
                (found ??= []).Add(new Guardian(agent, row.GivenName, row.FamilyName, row.Phone, row.Email));
            }
        }

        found?.Sort((a, b) => string.CompareOrdinal(a.SourcedId, b.SourcedId));
        return (found ?? (IReadOnlyList<Guardian>)[], readable);
    }

    public void Dispose()
    {
        _people.Dispose();
        _guardians.Dispose();
    }
}

/// <summary>Where a key stands in a sorted array.</summary>
internal static class Sorted
{
    /// <summary>Where a key is; negative when nowhere. Keys are spread evenly, so that a key tells about where it stands: a few steps from
    /// there cost less than halving a million, each half far from the last.</summary>
    public static int Find(ulong[] keys, ulong key)
    {
        if (keys.Length == 0)
        {
            return -1;
        }

        var guess = (int)(((UInt128)key * (uint)keys.Length) >> 64);
        var (from, to) = (guess, guess);
        for (var step = 8; from > 0 && keys[from] >= key; step *= 2)
        {
            from = Math.Max(0, from - step);
        }

        for (var step = 8; to < keys.Length - 1 && keys[to] <= key; step *= 2)
        {
            to = Math.Min(keys.Length - 1, to + step);
        }

        return Array.BinarySearch(keys, from, to - from + 1, key);
    }

    /// <summary>The first position of a key and how often it is there.</summary>
    public static (int From, int Count) Range(ulong[] keys, ulong key)
    {
        var at = Find(keys, key);
        if (at < 0)
        {
            return (0, 0);
        }

        var from = at;
        while (from > 0 && keys[from - 1] == key)
        {
            from--;
        }

        while (at + 1 < keys.Length && keys[at + 1] == key)
        {
            at++;
        }

        return (from, at - from + 1);
    }

    /// <summary>Keys that stand in the list more than once. Hardly ever does one: a sorted copy tells it in an eighth of what a table of all
    /// takes.</summary>
    public static HashSet<ulong> Twice(Rows<ulong> keys)
    {
        var copy = new ulong[keys.Count];
        for (var i = 0; i < copy.Length; i++)
        {
            copy[i] = keys[i];
        }

        Array.Sort(copy);
        var twice = new HashSet<ulong>();
        for (var i = 1; i < copy.Length; i++)
        {
            if (copy[i] == copy[i - 1])
            {
                twice.Add(copy[i]);
            }
        }

        return twice;
    }
}

/// <summary>Takes demographics as they come.</summary>
internal sealed class DemographicsIntake(Keys keys)
{
    private readonly Rows<ulong> _keys = new();
    private readonly Rows<ulong> _values = new();

    public void Clear()
    {
        _keys.Clear();
        _values.Clear();
    }

    public void Take(Demographics row)
    {
        if (row.SourcedId is { } id)
        {
            // What is deleted says nothing, and takes the place of what was said before.
            var kept = row.Status == RecordStatus.Active ? row : new Demographics();
            _keys.Add(keys.Of(id));
            _values.Add(DemographicsIndex.Pack(kept, keys.Check(id)));
        }
    }

    /// <summary>The index; nothing is left here. Of several rows of one person the last counts.</summary>
    public DemographicsIndex Build()
    {
        var twice = Sorted.Twice(_keys);
        if (twice.Count == 0)
        {
            return new(_keys.Take(), _values.Take());
        }

        var (people, values) = (new Rows<ulong>(), new Rows<ulong>());
        var places = new Dictionary<(ulong, uint), int>();
        for (var i = 0; i < _keys.Count; i++)
        {
            if (twice.Contains(_keys[i]))
            {
                if (places.TryGetValue((_keys[i], (uint)(_values[i] >> 32)), out var place))
                {
                    values[place] = _values[i];
                    continue;
                }

                places.Add((_keys[i], (uint)(_values[i] >> 32)), people.Count);
            }

            people.Add(_keys[i]);
            values.Add(_values[i]);
        }

        return new(people.Take(), values.Take());
    }
}

/// <summary>Birthdate and sex by person: 16 bytes each.</summary>
internal sealed class DemographicsIndex
{
    private const int SexBits = 3;
    private readonly ulong[] _keys;
    private readonly ulong[] _values;

    public DemographicsIndex(ulong[] keys, ulong[] values)
    {
        _keys = keys;
        _values = values;
        Array.Sort(_keys, _values);
    }

    /// <summary>The person's check, the day and the sex in one number.</summary>
    public static ulong Pack(Demographics row, uint check)
    {
        var sex = Mapper.Sex(row.Sex);
        ulong sexBits = sex.State switch
        {
            MappedState.NotSent => 0,
            MappedState.Blank => 1,
            _ => sex.Text switch
            {
                "M" => 2,
                "F" => 3,
                _ => 4,
            },
        };
        var dateBits =
            row.BirthDate is { } date ? (ulong)date.DayNumber + 2
            : row.BirthDateBlank ? 1u
            : 0u;
        return ((ulong)check << 32) | (dateBits << SexBits) | sexBits;
    }

    public (MappedValue Birthdate, MappedValue Sex) Of(in RosterPerson person)
    {
        if (Find(person) is not { } packed)
        {
            return (MappedValue.NotSent, MappedValue.NotSent);
        }

        var date = packed >> SexBits;
        var birthdate =
            date == 0 ? MappedValue.NotSent
            : date == 1 ? MappedValue.Blank
            : Mapper.Birthdate(DateOnly.FromDayNumber((int)(date - 2)), blank: false);
        var sex = (packed & ((1 << SexBits) - 1)) switch
        {
            0 => MappedValue.NotSent,
            1 => MappedValue.Blank,
            2 => MappedValue.Of("M"),
            3 => MappedValue.Of("F"),
            _ => MappedValue.Of("X"),
        };
        return (birthdate, sex);
    }

    /// <summary>The day number of the birthdate; 0 when unknown.</summary>
    public int BirthDay(in RosterPerson person) =>
        Find(person) is { } packed && packed >> SexBits is > 1 and var date ? (int)(date - 2) : 0;

    private uint? Find(in RosterPerson person)
    {
        var (from, count) = Sorted.Range(_keys, person.Guid);
        for (var at = from; at < from + count; at++)
        {
            if ((uint)(_values[at] >> 32) == person.Check)
            {
                return (uint)_values[at];
            }
        }

        return null;
    }
}
