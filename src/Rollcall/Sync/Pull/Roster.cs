using Rollcall.Mapping;
using Rollcall.OneRoster.Model;
using Rollcall.Patrons;

namespace Rollcall.Sync.Pull;

/// <summary>What the planner's first pass needs of a roster person. Texts are hashes, 0 where blank.</summary>
internal struct RosterPerson
{
    /// <summary>Where the person lies in the spool; -1 for people of roles that are not ticked.</summary>
    public long Position;
    public ulong Guid;
    public ulong Student;
    public ulong Barcode;
    public ulong Email;
    public ulong Last;
    public ulong First;
    public RoleGroup Group;
    public bool Ticked;

    /// <summary><c>tobedeleted</c>, <c>inactive</c>, or all roles ended.</summary>
    public bool Deleted;

    /// <summary>A later row with the same <c>sourcedId</c> took its place.</summary>
    public bool Replaced;
}

/// <summary>A read and verified roster.</summary>
internal sealed class Roster : IDisposable
{
    private readonly SpoolReader _guardianReader;
    private readonly ulong[] _guardianKeys;
    private readonly long[] _guardianPositions;
    private readonly ulong[] _ids;
    private readonly ulong[] _liveIds;
    private readonly Spool _people;
    private readonly Spool _guardians;

    public Roster(
        RosterPerson[] persons,
        Spool people,
        Spool guardians,
        List<(ulong Key, long Position)> guardianIndex,
        List<ulong> ids,
        List<ulong> liveIds
    )
    {
        Persons = persons;
        _people = people;
        _guardians = guardians;
        _ids = [.. ids];
        Array.Sort(_ids);
        _liveIds = [.. liveIds];
        Array.Sort(_liveIds);
        _guardianKeys = [.. guardianIndex.Select(g => g.Key)];
        _guardianPositions = [.. guardianIndex.Select(g => g.Position)];
        Array.Sort(_guardianKeys, _guardianPositions);
        _guardianReader = guardians.OpenReader(4096);
    }

    /// <summary>People of patron roles, ticked or not, in the order read.</summary>
    public RosterPerson[] Persons { get; }

    public required IReadOnlyDictionary<string, Org> Orgs { get; init; }
    public required DemographicsIndex? Demographics { get; init; }
    public required HomeroomIndex? Homerooms { get; init; }

    /// <summary>False when a row had no <c>sourcedId</c> or rows shifted: then nobody's absence may be concluded.</summary>
    public required bool AbsenceUsable { get; init; }

    /// <summary>The provider's revision; null when it sends none.</summary>
    public required string? Revision { get; init; }

    /// <summary>Only what changed was read: nothing follows from what is not here.</summary>
    public bool ChangesOnly { get; init; }

    /// <summary>The <c>sourcedId</c> is in a user row, whatever its role and state.</summary>
    public bool Has(ulong id) => Array.BinarySearch(_ids, id) >= 0;

    /// <summary>The <c>sourcedId</c> is in a user row that is not deleted.</summary>
    public bool IsLive(ulong id) => Array.BinarySearch(_liveIds, id) >= 0;

    public SpoolReader OpenPeople() => _people.OpenReader(1 << 20);

    /// <summary>The guardians among a student's agents, and whether any agent could be read at all.</summary>
    public (IReadOnlyList<Guardian> Guardians, bool Readable) GuardiansOf(User user)
    {
        if (user.Agents is not { Count: > 0 } agents)
        {
            return ([], false);
        }

        List<Guardian>? found = null;
        var readable = false;
        foreach (var agent in agents.Distinct(StringComparer.Ordinal))
        {
            var key = Hashing.Of(agent);
            if (!readable)
            {
                readable = Has(key);
            }

            var at = Array.BinarySearch(_guardianKeys, key);
            if (at < 0)
            {
                continue;
            }

            // The last of equal keys is the latest row of the same person.
            while (at + 1 < _guardianKeys.Length && _guardianKeys[at + 1] == key)
            {
                at++;
            }

            var row = _guardianReader.Read(_guardianPositions[at]);
            if (string.Equals(row.SourcedId, agent, StringComparison.Ordinal) && row.Status == RecordStatus.Active)
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

/// <summary>Birthdate and sex by person: 16 bytes each.</summary>
internal sealed class DemographicsIndex
{
    private readonly ulong[] _keys;
    private readonly long[] _values;

    public DemographicsIndex(List<(ulong Key, long Packed)> rows)
    {
        _keys = [.. rows.Select(r => r.Key)];
        _values = [.. rows.Select(r => r.Packed)];
        Array.Sort(_keys, _values);
    }

    public static long Pack(Demographics row)
    {
        var sex = Mapper.Sex(row.Sex);
        long sexBits = sex.State switch
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
        long dateBits =
            row.BirthDate is { } date ? date.DayNumber + 2L
            : row.BirthDateBlank ? 1
            : 0;
        return (dateBits << 8) | sexBits;
    }

    public (MappedValue Birthdate, MappedValue Sex) Of(ulong person)
    {
        var at = Array.BinarySearch(_keys, person);
        if (at < 0)
        {
            return (MappedValue.NotSent, MappedValue.NotSent);
        }

        var packed = _values[at];
        var date = packed >> 8;
        var birthdate =
            date == 0 ? MappedValue.NotSent
            : date == 1 ? MappedValue.Blank
            : Mapper.Birthdate(DateOnly.FromDayNumber((int)(date - 2)), blank: false);
        var sex = (packed & 0xFF) switch
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
    public int BirthDay(ulong person)
    {
        var at = Array.BinarySearch(_keys, person);
        var date = at < 0 ? 0 : _values[at] >> 8;
        return date > 1 ? (int)(date - 2) : 0;
    }
}

/// <summary>Which homeroom a person has.</summary>
internal sealed class HomeroomIndex(IReadOnlyList<HomeroomClass> classes, ulong[] students, int[] studentClasses)
{
    /// <summary>All homerooms of a person, by class id.</summary>
    public IReadOnlyList<string> ClassesOf(ulong person)
    {
        var at = Array.BinarySearch(students, person);
        if (at < 0)
        {
            return [];
        }

        while (at > 0 && students[at - 1] == person)
        {
            at--;
        }

        var found = new List<string>(1);
        for (; at < students.Length && students[at] == person; at++)
        {
            found.Add(classes[studentClasses[at]].Id);
        }

        return found;
    }

    /// <summary>People who have several homerooms that are equally good.</summary>
    public long Several { get; private set; }

    /// <summary>The person's homeroom: one at the given site before others, then the lowest class id.</summary>
    public Homeroom? Of(ulong person, int? site, IReadOnlyDictionary<string, int> orgSites)
    {
        var at = Array.BinarySearch(students, person);
        if (at < 0)
        {
            return null;
        }

        while (at > 0 && students[at - 1] == person)
        {
            at--;
        }

        HomeroomClass? best = null;
        var bestAtSite = false;
        var equal = false;
        for (; at < students.Length && students[at] == person; at++)
        {
            var candidate = classes[studentClasses[at]];
            var atSite = site is { } s && candidate.School is { } school && orgSites.TryGetValue(school, out var its) && its == s;
            if (best is null || (atSite && !bestAtSite))
            {
                (best, bestAtSite, equal) = (candidate, atSite, false);
            }
            else if (atSite == bestAtSite && !ReferenceEquals(candidate, best))
            {
                equal = true;
                if (string.CompareOrdinal(candidate.Id, best.Id) < 0)
                {
                    best = candidate;
                }
            }
        }

        if (equal)
        {
            Several++;
        }

        return best!.Homeroom;
    }
}

/// <summary>A homeroom class while a roster is read.</summary>
internal sealed class HomeroomClass
{
    public required string Id { get; init; }
    public string? Code { get; init; }
    public string? Title { get; init; }
    public string? Location { get; init; }
    public string? School { get; init; }

    /// <summary>The primary teacher's <c>sourcedId</c>; else the teacher with the lowest one.</summary>
    public string? TeacherId { get; set; }
    public bool TeacherPrimary { get; set; }
    public string? Teacher { get; set; }

    public Homeroom Homeroom => field ??= new Homeroom(Id, Code, Title, Location, Teacher);
}
