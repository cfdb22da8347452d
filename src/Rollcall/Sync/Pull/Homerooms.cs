using Rollcall.Mapping;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;
using Rollcall.Patrons;

namespace Rollcall.Sync.Pull;

internal enum HomeroomRole
{
    Student,
    Teacher,
}

/// <summary>Takes sessions, classes and enrollments, and keeps what makes homerooms.</summary>
/// <param name="today">The date where the district is.</param>
/// <param name="keys">The run's keys.</param>
/// <param name="log">Takes down what is read for the runs to come; null where nothing is kept.</param>
internal sealed class HomeroomIntake(DateOnly today, Keys keys, HomeroomLog? log = null)
{
    public const string HomeroomType = "homeroom";

    /// <summary>The key of nobody.</summary>
    private const ulong Gone = 0;
    private readonly HashSet<string> _currentSessions = new(StringComparer.Ordinal);
    private readonly List<HomeroomClass> _classes = [];
    private readonly Dictionary<string, int> _byId = new(StringComparer.Ordinal);
    private readonly Rows<ulong> _members = new();
    private readonly Rows<ulong> _memberships = new();
    private readonly Dictionary<string, List<HomeroomClass>> _teachers = new(StringComparer.Ordinal);
    private HomeroomIndex? _index;

    /// <summary>Where each enrollment's membership is, and whom it makes the class's teacher; null in a first read, where none comes twice.</summary>
    private Dictionary<(ulong, uint), (int Place, int Class, string? Teacher, bool Primary)>? _byEnrollment;

    /// <summary>Enrollments in the log since reading began anew.</summary>
    private readonly HashSet<(ulong, uint)> _logged = [];

    public bool SessionsShared { get; set; }

    /// <summary>Rows shifted between pages, or could not be read: who is in no homeroom by those that were may be in one.</summary>
    public bool RowsShifted { get; set; }

    public HomeroomLog? Log => log;

    public static bool IsHomeroom(Class row) => IsWord(row.ClassType, HomeroomType);

    /// <summary>What the enrollment makes of a person in a homeroom; null when nothing.</summary>
    public static HomeroomRole? RoleOf(Enrollment row) =>
        IsWord(row.Role, "teacher") ? HomeroomRole.Teacher
        : IsWord(row.Role, "student") ? HomeroomRole.Student
        : null;

    private static bool IsWord(string? text, string word) =>
        text is not null && string.Equals(Blank.Trim(text), word, StringComparison.OrdinalIgnoreCase);

    public void ClearSessions() => _currentSessions.Clear();

    public void Session(AcademicSession session)
    {
        if (
            session is { SourcedId: { } id, Status: RecordStatus.Active }
            && (session.Start is not { } start || start <= today)
            && (session.End is not { } end || end > today)
        )
        {
            _currentSessions.Add(id);
        }
        else if (session.SourcedId is { } past)
        {
            // One that comes twice counts as its later row has it.
            _currentSessions.Remove(past);
        }
    }

    /// <summary>What is read from here on is all that counts, for the runs to come as well.</summary>
    public void ClearClasses()
    {
        _classes.Clear();
        _byId.Clear();
        log?.Reset();
    }

    public void Class(Class row)
    {
        if (row.SourcedId is not { } id)
        {
            return;
        }

        log?.Class(row);
        if (
            row.Status != RecordStatus.Active
            || !IsHomeroom(row)
            || (SessionsShared && row.Terms is { Count: > 0 } terms && !terms.Any(_currentSessions.Contains))
        )
        {
            // A class that comes twice counts as its later row has it.
            _byId.Remove(id);
            return;
        }

        if (_byId.TryGetValue(id, out var at))
        {
            _classes[at] = Make(row, id);
            return;
        }

        _byId[id] = _classes.Count;
        _classes.Add(Make(row, id));
    }

    public void ClearEnrollments()
    {
        _members.Clear();
        _memberships.Clear();
        _index = null;
        _byEnrollment = [];
        _logged.Clear();
        log?.ResetEnrollments();
        foreach (var homeroom in _classes)
        {
            homeroom.TeacherId = null;
            homeroom.TeacherPrimary = false;
        }
    }

    public void Enrollment(Enrollment row)
    {
        var logged = log?.Enrollment(row) == true;
        if (_byEnrollment is null || row.SourcedId is not { } id)
        {
            Membership(row);
            return;
        }

        // Where reading began anew, rows shift, and one that comes twice counts as its later row has it.
        var key = (keys.Of(id), keys.Check(id));
        if (logged)
        {
            _logged.Add(key);
        }
        else if (_logged.Remove(key))
        {
            log!.Gone(row);
        }

        if (_byEnrollment.Remove(key, out var before))
        {
            Forget(before.Place, before.Class, before.Teacher is not null);
        }

        var place = _members.Count;
        Membership(row);
        if (_members.Count > place)
        {
            _byEnrollment.Add(key, (place, _byId[row.Class!], RoleOf(row) == HomeroomRole.Teacher ? row.User : null, row.Primary));
        }
    }

    /// <summary>Somebody belongs to a class no more.</summary>
    private void Forget(int place, int classAt, bool taught)
    {
        _members[place] = Gone;
        if (!taught)
        {
            return;
        }

        (_classes[classAt].TeacherId, _classes[classAt].TeacherPrimary) = (null, false);
        foreach (var (_, at, teacher, primary) in _byEnrollment!.Values)
        {
            if (at == classAt && teacher is not null)
            {
                Teaches(_classes[at], teacher, primary);
            }
        }
    }

    private void Membership(Enrollment row)
    {
        if (row is { User: { } user, Class: { } classId, Status: RecordStatus.Active } && RoleOf(row) is { } role)
        {
            Membership(
                classId,
                keys.Of(user),
                keys.Check(user),
                row.Begin,
                row.End,
                role == HomeroomRole.Teacher ? user : null,
                row.Primary
            );
        }
    }

    /// <summary>Somebody belongs to a class, as a student, or as a teacher where the id is given.</summary>
    public void Membership(string classId, ulong user, uint check, DateOnly? begin, DateOnly? end, string? teacherId, bool primary)
    {
        if (!_byId.TryGetValue(classId, out var at) || begin > today || end <= today)
        {
            return;
        }

        _members.Add(user);
        _memberships.Add(HomeroomIndex.Pack(check, at));
        if (teacherId is null)
        {
            return;
        }

        Teaches(_classes[at], teacherId, primary);
    }

    private static void Teaches(HomeroomClass homeroom, string teacherId, bool primary)
    {
        if (
            homeroom.TeacherId is null
            || (primary && !homeroom.TeacherPrimary)
            || (primary == homeroom.TeacherPrimary && string.CompareOrdinal(teacherId, homeroom.TeacherId) < 0)
        )
        {
            homeroom.TeacherId = teacherId;
            homeroom.TeacherPrimary = primary;
        }
    }

    public void ClearTeachers()
    {
        foreach (var homeroom in _classes)
        {
            homeroom.Teacher = null;
        }
    }

    /// <summary>The name as the mapping writes it; null when there is none.</summary>
    public static string? NameOf(User teacher) =>
        (Text.Clean(teacher.FamilyName), Text.Clean(teacher.GivenName)) switch
        {
            (null, var first) => first,
            (var last, null) => last,
            var (last, first) => $"{last}, {first}",
        };

    /// <returns>False when the person teaches no homeroom.</returns>
    public bool Teacher(User user)
    {
        if (Taught(user.SourcedId!) is not { } own)
        {
            return false;
        }

        Name(own, NameOf(user));
        return true;
    }

    /// <summary>A teacher's name as an earlier run knew it; empty when there was none.</summary>
    public void Teacher(string id, string name)
    {
        if (Taught(id) is { } own)
        {
            Name(own, name.Length == 0 ? null : name);
        }
    }

    /// <summary>Takes down the teachers' names that became known.</summary>
    public void LogTeachers()
    {
        foreach (var homeroom in _classes.Where(c => c is { TeacherId: not null, Teacher: not null }).DistinctBy(c => c.TeacherId))
        {
            log?.Teacher(homeroom.TeacherId!, homeroom.Teacher!);
        }
    }

    private static void Name(List<HomeroomClass> classes, string? name)
    {
        foreach (var homeroom in classes)
        {
            homeroom.Teacher = name;
        }
    }

    /// <summary>The homerooms that somebody teaches; null when none.</summary>
    private List<HomeroomClass>? Taught(string id)
    {
        if (_teachers.Count == 0)
        {
            foreach (var homeroom in _classes)
            {
                if (homeroom.TeacherId is { } teacher)
                {
                    (_teachers.TryGetValue(teacher, out var list) ? list : _teachers[teacher] = []).Add(homeroom);
                }
            }

            // A key that no user has marks the table as built when there are no teachers at all.
            _teachers.TryAdd("", []);
        }

        return _teachers.GetValueOrDefault(id);
    }

    /// <summary>The class is a current homeroom.</summary>
    public bool Knows(string classId) => _byId.ContainsKey(classId);

    /// <summary>Homerooms that these people teach.</summary>
    public IEnumerable<string> ClassesOfTeachers(IEnumerable<string> people)
    {
        var wanted = people.ToHashSet(StringComparer.Ordinal);
        return _classes.Where(c => c.TeacherId is not null && wanted.Contains(c.TeacherId)).Select(c => c.Id);
    }

    /// <summary>Teachers of these homerooms, and of those that these people are in, whose names are not known; each once.</summary>
    public IReadOnlyList<string> Unnamed(IEnumerable<string> classes, IEnumerable<(ulong Key, uint Check)> people)
    {
        var index = Build();
        return
        [
            .. classes
                .Where(_byId.ContainsKey)
                .Select(c => _classes[_byId[c]])
                .Concat(people.SelectMany(p => index.ClassesOf(p.Key, p.Check)))
                .Where(c => c.Teacher is null)
                .Select(c => c.TeacherId)
                .OfType<string>()
                .Distinct(StringComparer.Ordinal),
        ];
    }

    /// <summary>Who is where, once all enrollments have been taken.</summary>
    public HomeroomIndex Build()
    {
        if (_index is null)
        {
            var (people, memberships) = (_members.Take(), _memberships.Take());
            if (_byEnrollment is not null)
            {
                memberships = [.. memberships.Where((_, i) => people[i] != Gone)];
                people = [.. people.Where(p => p != Gone)];
            }

            Array.Sort(people, memberships);
            _index = new HomeroomIndex(_classes, people, memberships) { RowsShifted = RowsShifted };
        }

        return _index;
    }

    private static HomeroomClass Make(Class row, string id) =>
        new()
        {
            Id = id,
            Code = row.ClassCode,
            Title = row.Title,
            Location = row.Location,
            School = row.School,
        };
}

/// <summary>Which homerooms a person has, in 16 bytes a membership.</summary>
/// <param name="classes">The homerooms.</param>
/// <param name="people">The members' keys, sorted.</param>
/// <param name="memberships">Beside each key the person's check and the homeroom's position.</param>
internal sealed class HomeroomIndex(IReadOnlyList<HomeroomClass> classes, ulong[] people, ulong[] memberships)
{
    /// <summary>A membership in one number.</summary>
    public static ulong Pack(uint check, int homeroom) => ((ulong)check << 32) | (uint)homeroom;

    /// <summary>All homerooms of a person.</summary>
    public IEnumerable<HomeroomClass> ClassesOf(ulong person, uint check)
    {
        var (from, count) = Sorted.Range(people, person);
        for (var at = from; at < from + count; at++)
        {
            if ((uint)(memberships[at] >> 32) == check)
            {
                yield return classes[(int)(uint)memberships[at]];
            }
        }
    }

    /// <summary>Not all rows may have been read: what is missing here means nothing.</summary>
    public bool RowsShifted { get; init; }

    /// <summary>People who have several homerooms that are equally good.</summary>
    public long Several { get; private set; }

    /// <summary>The person's homeroom: one at the given site before others, then the lowest class id.</summary>
    public Homeroom? Of(in RosterPerson person, int? site, IReadOnlyDictionary<string, int> orgSites, bool counted)
    {
        HomeroomClass? best = null;
        var bestAtSite = false;
        var equal = false;
        var (from, count) = Sorted.Range(people, person.Guid);
        for (var at = from; at < from + count; at++)
        {
            if ((uint)(memberships[at] >> 32) != person.Check)
            {
                continue;
            }

            var candidate = classes[(int)(uint)memberships[at]];
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

        if (equal && counted)
        {
            Several++;
        }

        return best?.Homeroom;
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

    /// <summary>The teacher's name; null until it has been read.</summary>
    public string? Teacher
    {
        get;
        set
        {
            field = value;
            _homeroom = null;
        }
    }

    public Homeroom Homeroom => _homeroom ??= new Homeroom(Id, Code, Title, Location, Teacher);

    private Homeroom? _homeroom;
}
