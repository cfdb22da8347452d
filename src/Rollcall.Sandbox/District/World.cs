using System.Globalization;

namespace Rollcall.Sandbox.District;

/// <summary>The state of a district on one day. Built once, never changed afterwards.</summary>
internal sealed partial class World
{
    public const string DistrictOrg = "4957";
    public const int LastDay = 3660;
    public const string DepartmentOrg = "4957_CO";

    public static readonly string[] Grades = ["KG", .. Enumerable.Range(1, 12).Select(grade => grade.ToString("D2"))];

    public static readonly string[] Subjects = ["Reading", "Mathematics", "Science", "Social Studies"];
    public static readonly string[] SubjectCodes = ["ELA", "MAT", "SCI", "SOC"];

    public readonly SandboxOptions Options;
    public readonly DateOnly Today;
    public readonly Blocks<PersonRecord> Persons = new();
    public readonly Blocks<HouseholdRecord> Households = new();
    public readonly Blocks<KlassRecord> Klasses = new();
    public readonly List<Course> Courses = [];
    public School[] Schools = [];
    public Session[] Sessions = [];
    private readonly List<int> _students = [];
    private readonly List<int> _staff = [];
    private readonly List<int> _leavers = [];
    private readonly Dictionary<int, List<Person>> _purges = [];
    private readonly Dictionary<int, List<Person>> _laterGuardians = [];
    private readonly Dictionary<string, Name> _joined = new(StringComparer.Ordinal);
    private readonly List<Name> _joinedNames = [];
    private readonly int[][] _schoolsOfGrade = new int[13][];
    private readonly Lazy<int[]> _byId;
    private readonly Lazy<long[]> _taught;
    private readonly ulong _seed;
    private int _studentIds;
    private int _guardianIds;
    private int _staffIds;

    public World(SandboxOptions options, int day)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(day);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(day, LastDay);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Students, 1);
        Options = options;
        Today = options.StartDate;
        _seed = Chance.Mix((ulong)(uint)options.Seed + 0x5eed);
        BuildFirstDay(new Chance(Chance.Mix(_seed ^ 0xd157)));
        for (Day = 1; Day <= day; Day++)
        {
            LiveThroughDay(new Chance(Chance.Mix(_seed + ((ulong)Day * 0x9e3779b97f4a7c15))));
        }

        Day = day;
        Sessions = BuildSessions();
        _byId = new(() => SourcedIds.Sorted(People, Persons.Count));
        _taught = new(BuildTaught);
    }

    public int Day { get; private set; }

    /// <summary>Everybody who was ever here.</summary>
    public IEnumerable<Person> People => Enumerable.Range(1, Persons.Count).Select(number => new Person(this, number));

    /// <summary>Numbers of all people in the order of their ids.</summary>
    public int[] ById => _byId.Value;

    public IEnumerable<Klass> Classes => Enumerable.Range(1, Klasses.Count).Select(number => new Klass(this, number));

    public int YearStart => Today.Month >= 8 ? Today.Year : Today.Year - 1;

    public DateTime TimeOf(int day, int number) =>
        Today.AddDays(day).ToDateTime(new TimeOnly(2, 0), DateTimeKind.Utc).AddMilliseconds(Hash(number, 1) % 7_200_000);

    public Name NameOf(int number) => number < Names.All.Count ? Names.All[number] : _joinedNames[number - Names.All.Count];

    /// <summary>Guardians who came to a household after it was added.</summary>
    public IEnumerable<Person> LaterGuardians(int household) =>
        _laterGuardians.TryGetValue(household, out var later) ? later : Enumerable.Empty<Person>();

    /// <summary>The person with this sourcedId.</summary>
    public Person? Find(string id)
    {
        var (low, high) = (0, ById.Length - 1);
        while (low <= high)
        {
            var middle = (low + high) / 2;
            var person = new Person(this, ById[middle]);
            switch (string.CompareOrdinal(person.Id, id))
            {
                case 0:
                    return person;
                case < 0:
                    low = middle + 1;
                    break;
                default:
                    high = middle - 1;
                    break;
            }
        }

        return null;
    }

    /// <summary>The classes that a person teaches, alone or beside another, by number.</summary>
    public IEnumerable<Klass> Taught(Person person)
    {
        var taught = _taught.Value;
        var at = Array.BinarySearch(taught, (long)person.Number << 32);
        for (at = at < 0 ? ~at : at; at < taught.Length && taught[at] >> 32 == person.Number; at++)
        {
            yield return new Klass(this, (int)taught[at]);
        }
    }

    public static string Email(Person p)
    {
        if (p.Email == EmailForm.Blank)
        {
            return "";
        }

        if (p.Email == EmailForm.Household && p.Household is { } home)
        {
            return $"{home.Family.Login}.home{home.Number}@mail.example";
        }

        var domain = p.Role switch
        {
            Role.Student => "students.riverbend.example",
            Role.Teacher or Role.Administrator or Role.Aide => "riverbend.example",
            _ => "mail.example",
        };
        return p.EmailRevision == 0
            ? $"{p.Given.Login}.{p.FirstFamily.Login}{p.Number}@{domain}"
            : $"{p.Given.Login}.{p.FirstFamily.Login}{p.Number}-{p.EmailRevision}@{domain}";
    }

    public string Phone(Person p)
    {
        if (!p.HasPhone)
        {
            return "";
        }

        var hash = Hash(p.Number, 2 + (p.PhoneRevision * 100));
        return $"({201 + (int)(hash % 780)}) 555-{(int)(hash / 1024 % 10_000):D4}";
    }

    public static string Username(Person p) => p.IsGuardian ? "" : $"{p.Given.Login[0]}{p.FirstFamily.Login}{p.Number}";

    public string Identifier(Person p) =>
        p.IsGuardian || Hash(p.Number, 3) % 30 == 0 ? ""
        : p.Role == Role.Student ? $"{100_000 + p.Number}"
        : $"E{p.Number:D6}";

    public bool Enabled(Person p) => p.IsGuardian || Hash(p.Number, 4) % 90 != 0;

    /// <summary>Older exports write <c>toBeDeleted</c>.</summary>
    public string Status(Person p) =>
        p.Presence == SandboxPresence.Present ? "active"
        : Hash(p.Number, 5) % 3 == 0 ? "toBeDeleted"
        : "tobedeleted";

    /// <summary>The ids by type; a null identifier means that the entry is not there.</summary>
    public (string? State, string? Local, string? Barcode) Ids(Person p)
    {
        if (p.IsGuardian)
        {
            return (null, null, null);
        }

        var hash = Hash(p.Number, 6);
        var barcode =
            hash % 50 == 1 ? null
            : hash % 50 == 2 ? ""
            : $"24957{p.Number:D8}";
        var local =
            hash / 64 % 90 == 1 ? ""
            : p.Role == Role.Student ? $"{100_000 + p.Number}"
            : $"E{p.Number:D6}";
        var state = p.Role != Role.Student || hash / 8192 % 50 == 1 ? null : $"{4_000_000_000L + (p.Number * 7919L % 1_000_000_007L)}";
        return (state, local, barcode);
    }

    public bool HasDemographics(Person p) => p.Role == Role.Student && Hash(p.Number, 7) % 120 != 0;

    public DateOnly? BirthDate(Person p) => HasDemographics(p) && p.Birth != 0 ? DateOnly.FromDayNumber(p.Birth) : null;

    public string Sex(Person p) =>
        !HasDemographics(p) ? ""
        : p.Sex == 1 ? "male"
        : p.Sex == 2 ? "female"
        : Options.Api == SandboxApi.OneRoster11 ? ""
        : p.Sex == 3 ? "other"
        : "unspecified";

    public string Grade(Person p) => p.Grade < 0 || Hash(p.Number, 8) % 400 == 0 ? "" : Grades[p.Grade];

    public string OrgId(int school) => school < 0 ? DistrictOrg : Schools[school].Id;

    /// <summary>Half of the people of two schools have the lesser one first, as districts do not order them.</summary>
    public (int First, int Second) Orgs(Person p) =>
        p.Other < 0 ? (p.School, -1)
        : Hash(p.Number, 9) % 2 == 0 ? (p.School, p.Other)
        : (p.Other, p.School);

    public static bool IsServed(Person p) => p.Presence != SandboxPresence.Gone;

    /// <summary>Scheduled classes follow from school, grade and number; they are not held.</summary>
    public IEnumerable<Klass> ScheduledClasses(Person p)
    {
        var school = p.School < 0 ? null : Schools[p.School];
        var (first, count) = school is null ? (0, 0) : (school.FirstRoom[p.Grade], school.RoomCount[p.Grade]);
        for (var subject = 0; subject < Subjects.Length && count > 0; subject++)
        {
            yield return new Klass(this, first + ((1 + subject) * count) + (int)(Hash(p.Number, 10 + subject) % (ulong)count));
        }
    }

    private long[] BuildTaught()
    {
        var taught = new List<long>(Klasses.Count);
        foreach (var klass in Classes)
        {
            Add(klass.Teacher, klass);
            Add(klass.SecondTeacher, klass);
        }

        long[] sorted = [.. taught];
        Array.Sort(sorted);
        return sorted;

        void Add(Person? teacher, Klass klass)
        {
            if (teacher is { Number: var number })
            {
                taught.Add(((long)number << 32) | (uint)klass.Number);
            }
        }
    }

    public ulong Hash(int number, int salt) =>
        Chance.Mix(_seed + ((ulong)(uint)number * 0x9e3779b97f4a7c15) + ((ulong)(uint)salt * 0xd1342543de82ef95));

    public DateOnly YearEnd
    {
        get
        {
            // Whether the reader's clock moves with the days or stands still, "today" lies inside the school year.
            var end = new DateOnly(YearStart + 1, 8, 1);
            var late = Today.AddDays(Day + 90);
            return end > late ? end : late;
        }
    }

    private Session[] BuildSessions()
    {
        var year = YearStart + 1;
        var start = new DateOnly(YearStart, 8, 1);
        var middle = new DateOnly(year, 1, 15);
        var end = YearEnd;
        return
        [
            new($"SY{year - 1}", $"{year - 2}-{year - 1}", "schoolYear", start.AddYears(-1), start, null, [$"LY{year - 1}"], year - 1),
            new($"LY{year - 1}", "Last Year", "term", start.AddYears(-1), start, $"SY{year - 1}", [], year - 1),
            new($"SY{year}", $"{year - 1}-{year}", "schoolYear", start, end, null, ["FY", "S1", "S2"], year),
            new("FY", "Full Year", "term", start, end, $"SY{year}", [], year),
            new("S1", "Semester 1", "semester", start, middle, $"SY{year}", ["Q1", "Q2"], year),
            new("S2", "Semester 2", "semester", middle, end, $"SY{year}", ["Q3", "Q4"], year),
            new("Q1", "Quarter 1", "gradingPeriod", start, start.AddMonths(2), "S1", [], year),
            new("Q2", "Quarter 2", "gradingPeriod", start.AddMonths(2), middle, "S1", [], year),
            new("Q3", "Quarter 3", "gradingPeriod", middle, middle.AddMonths(2), "S2", [], year),
            new("Q4", "Quarter 4", "gradingPeriod", middle.AddMonths(2), end, "S2", [], year),
        ];
    }

    private void BuildFirstDay(Chance chance)
    {
        BuildSchools();
        while (_students.Count < Options.Students)
        {
            AddHousehold(chance, Options.Students - _students.Count, school: -1);
        }

        foreach (var school in Schools)
        {
            AddStaff(chance, school);
        }

        for (var i = 0; i < 2 + (Schools.Length / 10); i++)
        {
            AddStaffMember(chance, Role.Administrator, null);
        }

        BuildClasses();
        foreach (var number in _students)
        {
            Seat(new Person(this, number), chance);
        }

        // The roster does not begin clean: some who left before are still listed.
        for (var i = 0; i < Math.Max(_students.Count > 20 ? 1 : 0, _students.Count / 250); i++)
        {
            var student = new Person(this, _students[chance.Below(_students.Count)]);
            if (student.Presence == SandboxPresence.Present && student.Other < 0)
            {
                Delete(student, -chance.Below(4), 2 + chance.Below(9), quiet: true);
            }
        }
    }

    private void BuildSchools()
    {
        var count = Math.Min(Options.SchoolCount, 2000);
        var high = Math.Max(1, (int)Math.Round(count * 0.2));
        var middle = Math.Max(1, (int)Math.Round(count * 0.25));
        Schools = new School[count];
        for (var i = 0; i < count; i++)
        {
            var (low, top, kind) =
                count == 1 ? (0, 12, "School")
                : count == 2 ? (i == 0 ? (0, 6, "Elementary School") : (7, 12, "High School"))
                : i < high ? (9, 12, "High School")
                : i < high + middle ? (6, 8, "Middle School")
                : (0, 5, "Elementary School");
            var name = Names.Schools[i % Names.Schools.Length];
            var round = i / Names.Schools.Length;
            var id = i == 6 ? $"{DistrictOrg}|{101 + i}" : $"{101 + i}";
            Schools[i] = new School(i, id, round == 0 ? $"{name} {kind}" : $"{name} {kind} No. {round + 1}", low, top);
        }

        for (var grade = 0; grade < _schoolsOfGrade.Length; grade++)
        {
            _schoolsOfGrade[grade] = [.. Schools.Where(s => grade >= s.Low && grade <= s.High).Select(s => s.Index)];
        }
    }

    private void AddHousehold(Chance chance, int most, int school)
    {
        var family = chance.Percent(10) ? chance.Of(Names.UnusualFamilies) : chance.Of(Names.Families);
        if (chance.Percent(4))
        {
            family = Join(family, chance.Of(Names.Families));
        }

        if (Households.Count == 19 || chance.Percent(0.03))
        {
            family = Names.LongFamily;
        }

        // Where in town: siblings go to the same schools.
        var quarter = chance.Below(1 << 20);

        // The children have no addresses of their own.
        var sharesEmail = chance.Percent(6);
        Households.Add(new HouseholdRecord { Family = family.Number, First = Persons.Count + 1 });
        var home = new Household(this, Households.Count);
        var roll = chance.Below(100);
        var children =
            roll < 45 ? 1
            : roll < 80 ? 2
            : roll < 95 ? 3
            : 4;
        children = Math.Min(children, most);
        var guardians = AddGuardians(home, chance);
        var kids = new Person[children];
        var grade = chance.Below(13);
        for (var i = 0; i < children; i++)
        {
            if (school >= 0)
            {
                grade = Schools[school].Low + chance.Below(Schools[school].High - Schools[school].Low + 1);
            }
            else if (i > 0 && !chance.Percent(4))
            {
                grade = (grade + 1 + chance.Below(4)) % 13;
            }

            kids[i] = AddStudent(home, sharesEmail, grade, school >= 0 ? school : SchoolFor(quarter, grade), chance);
            var twin = Array.FindIndex(kids, 0, i, kid => kid.Grade == grade);
            if (twin >= 0 && kids[twin].Birth != 0)
            {
                kids[i].Birth = kids[twin].Birth;
            }
        }

        ref var record = ref Households.Change(home.Number - 1);
        record.Guardians = (byte)guardians;
        record.Children = (byte)children;
    }

    private int SchoolFor(int quarter, int grade)
    {
        var fitting = _schoolsOfGrade[grade];
        return fitting[quarter % fitting.Length];
    }

    private Person AddStudent(Household home, bool sharesEmail, int grade, int school, Chance chance)
    {
        var sex = chance.Below(1000) switch
        {
            < 490 => 1,
            < 980 => 2,
            < 988 => 3,
            < 993 => 4,
            _ => 0,
        };
        var sequence = ++_studentIds;
        var given = GivenName(sex, chance);
        if (chance.Percent(0.03) || sequence == 41)
        {
            given = Names.LongGiven;
        }

        var family = home.Family.Number;
        var student = new PersonRecord
        {
            Sequence = sequence,
            Role = Role.Student,
            Given = (ushort)given.Number,
            Family = family,
            FirstFamily = family,
            Household = home.Number,
            Grade = (sbyte)grade,
            School = (short)school,
            Other = -1,
            Sex = (byte)sex,
            Birth = chance.Percent(0.6) ? 0 : new DateOnly(YearStart - 6 - grade, 9, 1).AddDays(chance.Below(365)).DayNumber,
            Email =
                chance.Percent(7) ? EmailForm.Blank
                : sharesEmail ? EmailForm.Household
                : EmailForm.Own,
            HasPhone = chance.Percent(20),
            Middle = (ushort)(MiddleName(sex, chance)?.Number ?? 0),
            Modified = (short)(Day == 0 ? -1 - chance.Below(150) : Day),
            EnrolledOn = (short)(Day == 0 ? -1 - chance.Below(100) : Day),
            DemographicsModified = (short)(Day == 0 ? -1 - chance.Below(200) : Day),
        };
        if (Schools.Length > 1 && chance.Percent(0.8))
        {
            student.Other = (short)((school + 1 + chance.Below(Schools.Length - 1)) % Schools.Length);
        }

        Persons.Add(student);
        _students.Add(Persons.Count);
        Schools[school].Present[(int)SandboxRoleGroup.Student]++;
        return new Person(this, Persons.Count);
    }

    private int AddGuardians(Household home, Chance chance)
    {
        var roll = chance.Below(100);
        var count =
            roll < 3 ? 0
            : roll < 41 ? 1
            : roll < 96 ? 2
            : 3;
        for (var i = 0; i < count; i++)
        {
            AddGuardian(home, i, chance);
        }

        return count;
    }

    private Person AddGuardian(Household home, int place, Chance chance)
    {
        var sex = 1 + chance.Below(2);
        var role =
            place == 2 ? Role.Relative
            : chance.Percent(82) ? Role.Parent
            : Role.Guardian;
        var family =
            chance.Percent(75) ? home.Family
            : chance.Percent(10) ? chance.Of(Names.UnusualFamilies)
            : chance.Of(Names.Families);
        var given = GivenName(sex, chance);
        var guardian = new PersonRecord
        {
            Sequence = ++_guardianIds,
            Role = role,
            Given = (ushort)given.Number,
            Family = family.Number,
            FirstFamily = family.Number,
            Household = home.Number,
            Grade = -1,
            School = -1,
            Other = -1,
            HasPhone = chance.Percent(90),
            Email = chance.Below(100) switch
            {
                < 85 => EmailForm.Own,
                < 93 => EmailForm.Household,
                _ => EmailForm.Blank,
            },
            Modified = (short)(Day == 0 ? -1 - chance.Below(150) : Day),
        };
        Persons.Add(guardian);
        return new Person(this, Persons.Count);
    }

    private void AddStaff(Chance chance, School school)
    {
        var students = school.Present[(int)SandboxRoleGroup.Student];
        for (var i = 0; i < Math.Max(2, (int)Math.Round(students / 16.0)); i++)
        {
            AddStaffMember(chance, Role.Teacher, school);
        }

        for (var i = 0; i < 2 + (students / 500); i++)
        {
            AddStaffMember(chance, Role.Administrator, school);
        }

        for (var i = 0; i < 1 + (students / 150); i++)
        {
            AddStaffMember(chance, Role.Aide, school);
        }
    }

    private Person AddStaffMember(Chance chance, Role role, School? school)
    {
        var sex = chance.Percent(70) ? 2 : 1;
        var family = chance.Percent(8) ? chance.Of(Names.UnusualFamilies) : chance.Of(Names.Families);
        var given = GivenName(sex, chance);
        var record = new PersonRecord
        {
            Sequence = ++_staffIds,
            Role = role,
            Given = (ushort)given.Number,
            Family = family.Number,
            FirstFamily = family.Number,
            Grade = -1,
            School = (short)(school?.Index ?? -1),
            Other = -1,
            HasPhone = chance.Percent(50),
            Email = chance.Percent(2) ? EmailForm.Blank : EmailForm.Own,
            Middle = (ushort)(MiddleName(sex, chance)?.Number ?? 0),
            Modified = (short)(Day == 0 ? -1 - chance.Below(150) : Day),
            EnrolledOn = (short)(Day == 0 ? -1 - chance.Below(100) : Day),
        };
        if (school is not null && Schools.Length > 1 && chance.Percent(6))
        {
            record.Other = (short)((school.Index + 1 + chance.Below(Schools.Length - 1)) % Schools.Length);
        }

        Persons.Add(record);
        _staff.Add(Persons.Count);
        var person = new Person(this, Persons.Count);
        if (school is not null)
        {
            school.Present[(int)person.Group]++;
            if (role == Role.Teacher)
            {
                school.Teachers.Add(person.Number);
            }
        }

        return person;
    }

    private void BuildClasses()
    {
        var sizes = new int[Schools.Length, 13];
        foreach (var number in _students)
        {
            var student = new Person(this, number);
            sizes[student.School, student.Grade]++;
        }

        var chance = new Chance(Chance.Mix(_seed ^ 0xc1a55));
        foreach (var school in Schools)
        {
            var turn = 0;
            school.FirstClass = Klasses.Count + 1;
            AddClass(school, KlassKind.LastYear, school.Low, -1, 1, chance, ref turn);
            Courses.Add(new Course($"{school.Id}_HR", "Homeroom", "HR", null, "Homeroom", school));
            for (var grade = school.Low; grade <= school.High; grade++)
            {
                var rooms = Math.Max(1, (sizes[school.Index, grade] + 24) / 25);
                school.FirstRoom[grade] = Klasses.Count + 1;
                school.RoomCount[grade] = rooms;
                for (var i = 0; i < rooms; i++)
                {
                    AddClass(school, KlassKind.Homeroom, grade, -1, i + 1, chance, ref turn);
                }

                for (var subject = 0; subject < Subjects.Length; subject++)
                {
                    Courses.Add(
                        new Course(
                            $"{school.Id}_{SubjectCodes[subject]}{Grades[grade]}",
                            $"{Subjects[subject]} {Grades[grade]}",
                            $"{SubjectCodes[subject]}{Grades[grade]}",
                            Grades[grade],
                            Subjects[subject],
                            school
                        )
                    );
                    for (var i = 0; i < rooms; i++)
                    {
                        AddClass(school, KlassKind.Scheduled, grade, subject, i + 1, chance, ref turn);
                    }
                }
            }
        }
    }

    private void AddClass(School school, KlassKind kind, int grade, int subject, int section, Chance chance, ref int turn)
    {
        var klass = new KlassRecord
        {
            School = (short)school.Index,
            Kind = kind,
            Grade = (sbyte)grade,
            Subject = (sbyte)subject,
            Section = section,
            Letter =
                chance.Percent(12) ? '\0'
                : kind == KlassKind.Scheduled ? (char)('A' + chance.Below(26))
                : (char)('A' + (school.ClassCount % 26)),
        };
        if (!chance.Percent(5))
        {
            klass.Building = (char)('A' + chance.Below(4));
            klass.Location = (short)(100 + chance.Below(60));
        }

        klass.Teacher = school.Teachers[turn % school.Teachers.Count];
        klass.Modified = (short)(-1 - chance.Below(150));
        klass.TeacherSince = (short)(-1 - chance.Below(100));
        if (kind == KlassKind.Homeroom && school.Teachers.Count > 1 && chance.Percent(10))
        {
            klass.SecondTeacher = school.Teachers[(turn + 1) % school.Teachers.Count];
        }

        turn++;
        Klasses.Add(klass);
        school.ClassCount++;
    }

    private void Seat(Person student, Chance chance)
    {
        var school = Schools[student.School];
        student.Room = chance.Percent(1) ? null : RoomOf(school, student.Grade, chance);
        student.RoomSince = student.OtherRoomsSince = student.EnrolledOn;
        if (student.Other >= 0 && Schools[student.Other] is var other && other.RoomCount[student.Grade] > 0 && chance.Percent(50))
        {
            student.SecondRoom = RoomOf(other, student.Grade, chance);
        }

        if (chance.Percent(2))
        {
            student.LastYearRoom = new Klass(this, school.FirstClass);
        }
    }

    private Klass RoomOf(School school, int grade, Chance chance) =>
        new(this, school.FirstRoom[grade] + chance.Below(school.RoomCount[grade]));

    private static Name GivenName(int sex, Chance chance) =>
        chance.Percent(8) ? chance.Of(Names.UnusualGiven)
        : sex == 1 || (sex != 2 && chance.Percent(50)) ? chance.Of(Names.Boys)
        : chance.Of(Names.Girls);

    private static Name? MiddleName(int sex, Chance chance) =>
        chance.Percent(35) ? null
        : chance.Percent(20) ? chance.Of(Names.Initials)
        : GivenName(sex, chance);

    private Name Join(Name first, Name second)
    {
        var text = $"{first.Text}-{second.Text}";
        if (!_joined.TryGetValue(text, out var name))
        {
            name = new Name(Names.All.Count + _joinedNames.Count, text, first.Login + second.Login);
            _joinedNames.Add(name);
            _joined.Add(text, name);
        }

        return name;
    }
}
