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
    public readonly List<Person> People = [];
    public readonly List<SandboxEvent> Events = [];
    public readonly List<Klass> Classes = [];
    public readonly List<Course> Courses = [];
    public School[] Schools = [];
    public Session[] Sessions = [];
    private readonly List<Person> _students = [];
    private readonly List<Person> _staff = [];
    private readonly List<Person> _leavers = [];
    private readonly Dictionary<int, List<Person>> _purges = [];
    private readonly Dictionary<string, Name> _joined = new(StringComparer.Ordinal);
    private readonly ulong _seed;
    private int _studentIds;
    private int _guardianIds;
    private int _staffIds;
    private int _households;

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
    }

    public int Day { get; private set; }

    public int YearStart => Today.Month >= 8 ? Today.Year : Today.Year - 1;

    public DateTime TimeOf(int day, int number) =>
        Today.AddDays(day).ToDateTime(new TimeOnly(2, 0), DateTimeKind.Utc).AddMilliseconds(Hash(number, 1) % 7_200_000);

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
            ? $"{p.FirstGiven.Login}.{p.FirstFamily.Login}{p.Number}@{domain}"
            : $"{p.FirstGiven.Login}.{p.FirstFamily.Login}{p.Number}-{p.EmailRevision}@{domain}";
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

    public static string Username(Person p) => p.IsGuardian ? "" : $"{p.FirstGiven.Login[0]}{p.FirstFamily.Login}{p.Number}";

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
        if (p.School < 0 || Schools[p.School].Sections[p.Grade] is not { } subjects)
        {
            yield break;
        }

        for (var subject = 0; subject < subjects.Length; subject++)
        {
            var sections = subjects[subject];
            yield return sections[(int)(Hash(p.Number, 10 + subject) % (ulong)sections.Length)];
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
        foreach (var student in _students)
        {
            Seat(student, chance);
        }

        // The roster does not begin clean: some who left before are still listed.
        for (var i = 0; i < Math.Max(_students.Count > 20 ? 1 : 0, _students.Count / 250); i++)
        {
            var student = _students[chance.Below(_students.Count)];
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
    }

    private void AddHousehold(Chance chance, int most, int school)
    {
        var family = chance.Percent(10) ? chance.Of(Names.UnusualFamilies) : chance.Of(Names.Families);
        if (chance.Percent(4))
        {
            family = Join(family, chance.Of(Names.Families));
        }

        if (_households == 19 || chance.Percent(0.03))
        {
            family = Names.LongFamily;
        }

        var home = new Household(++_households, family, chance.Below(1 << 20)) { SharesEmail = chance.Percent(6) };
        var roll = chance.Below(100);
        var children =
            roll < 45 ? 1
            : roll < 80 ? 2
            : roll < 95 ? 3
            : 4;
        children = Math.Min(children, most);
        AddGuardians(home, chance);
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

            kids[i] = AddStudent(home, grade, school >= 0 ? school : SchoolFor(home, grade), chance);
            var twin = Array.Find(kids, kid => kid is not null && kid != kids[i] && kid.Grade == kids[i].Grade);
            if (twin is not null && twin.Birth != 0)
            {
                kids[i].Birth = twin.Birth;
            }
        }

        home.Children = kids;
    }

    private int SchoolFor(Household home, int grade)
    {
        var fitting = 0;
        foreach (var school in Schools)
        {
            fitting += grade >= school.Low && grade <= school.High ? 1 : 0;
        }

        var wanted = home.Quarter % fitting;
        foreach (var school in Schools)
        {
            if (grade >= school.Low && grade <= school.High && wanted-- == 0)
            {
                return school.Index;
            }
        }

        return 0;
    }

    private Person AddStudent(Household home, int grade, int school, Chance chance)
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

        var student = new Person(People.Count + 1, StudentId(sequence), Role.Student, given, home.Family)
        {
            Household = home,
            Grade = (sbyte)grade,
            School = (short)school,
            Sex = (byte)sex,
            Birth = chance.Percent(0.6) ? 0 : new DateOnly(YearStart - 6 - grade, 9, 1).AddDays(chance.Below(365)).DayNumber,
            Email =
                chance.Percent(7) ? EmailForm.Blank
                : home.SharesEmail ? EmailForm.Household
                : EmailForm.Own,
            HasPhone = chance.Percent(20),
            Middle = MiddleName(sex, chance),
            Modified = Day == 0 ? -1 - chance.Below(150) : Day,
            EnrolledOn = Day == 0 ? -1 - chance.Below(100) : Day,
            DemographicsModified = Day == 0 ? -1 - chance.Below(200) : Day,
            Arrived = Day,
        };
        if (Schools.Length > 1 && chance.Percent(0.8))
        {
            student.Other = (short)((school + 1 + chance.Below(Schools.Length - 1)) % Schools.Length);
        }

        People.Add(student);
        _students.Add(student);
        Schools[school].Present[(int)SandboxRoleGroup.Student]++;
        return student;
    }

    private void AddGuardians(Household home, Chance chance)
    {
        var roll = chance.Below(100);
        var count =
            roll < 3 ? 0
            : roll < 41 ? 1
            : roll < 96 ? 2
            : 3;
        var people = new Person[count];
        for (var i = 0; i < count; i++)
        {
            people[i] = AddGuardian(home, i, chance);
        }

        Array.Sort(people, static (a, b) => string.CompareOrdinal(a.Id, b.Id));
        home.Guardians = people;
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
        var guardian = new Person(People.Count + 1, $"4957_G4957-{++_guardianIds:D4}", role, GivenName(sex, chance), family)
        {
            Household = home,
            HasPhone = chance.Percent(90),
            Email = chance.Below(100) switch
            {
                < 85 => EmailForm.Own,
                < 93 => EmailForm.Household,
                _ => EmailForm.Blank,
            },
            Modified = Day == 0 ? -1 - chance.Below(150) : Day,
            Arrived = Day,
        };
        People.Add(guardian);
        return guardian;
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
        var letter = role switch
        {
            Role.Teacher => 'T',
            Role.Aide => 'D',
            _ => 'A',
        };
        var person = new Person(People.Count + 1, $"4957_{letter}4957-{++_staffIds:D4}", role, GivenName(sex, chance), family)
        {
            School = (short)(school?.Index ?? -1),
            HasPhone = chance.Percent(50),
            Email = chance.Percent(2) ? EmailForm.Blank : EmailForm.Own,
            Middle = MiddleName(sex, chance),
            Modified = Day == 0 ? -1 - chance.Below(150) : Day,
            EnrolledOn = Day == 0 ? -1 - chance.Below(100) : Day,
            Arrived = Day,
        };
        if (school is not null && Schools.Length > 1 && chance.Percent(6))
        {
            person.Other = (short)((school.Index + 1 + chance.Below(Schools.Length - 1)) % Schools.Length);
        }

        People.Add(person);
        _staff.Add(person);
        if (school is not null)
        {
            school.Present[(int)person.Group]++;
            if (role == Role.Teacher)
            {
                school.Teachers.Add(person);
            }
        }

        return person;
    }

    private void BuildClasses()
    {
        var sizes = new int[Schools.Length, 13];
        foreach (var student in _students)
        {
            sizes[student.School, student.Grade]++;
        }

        var chance = new Chance(Chance.Mix(_seed ^ 0xc1a55));
        foreach (var school in Schools)
        {
            var turn = 0;
            school.LastYear = AddClass(school, KlassKind.LastYear, school.Low, -1, "Homeroom (last year)", chance, ref turn);
            Courses.Add(new Course($"{school.Id}_HR", "Homeroom", "HR", null, "Homeroom", school));
            for (var grade = school.Low; grade <= school.High; grade++)
            {
                var rooms = Math.Max(1, (sizes[school.Index, grade] + 24) / 25);
                school.Rooms[grade] = new Klass[rooms];
                for (var i = 0; i < rooms; i++)
                {
                    school.Rooms[grade][i] = AddClass(
                        school,
                        KlassKind.Homeroom,
                        grade,
                        -1,
                        $"Homeroom {Grades[grade]}-{i + 1}",
                        chance,
                        ref turn
                    );
                }

                school.Sections[grade] = new Klass[Subjects.Length][];
                for (var subject = 0; subject < Subjects.Length; subject++)
                {
                    var title = $"{Subjects[subject]} {Grades[grade]}";
                    Courses.Add(
                        new Course(
                            $"{school.Id}_{SubjectCodes[subject]}{Grades[grade]}",
                            title,
                            $"{SubjectCodes[subject]}{Grades[grade]}",
                            Grades[grade],
                            Subjects[subject],
                            school
                        )
                    );
                    school.Sections[grade][subject] = new Klass[rooms];
                    for (var i = 0; i < rooms; i++)
                    {
                        school.Sections[grade][subject][i] = AddClass(
                            school,
                            KlassKind.Scheduled,
                            grade,
                            subject,
                            $"{title} ({i + 1})",
                            chance,
                            ref turn
                        );
                    }
                }
            }
        }
    }

    private Klass AddClass(School school, KlassKind kind, int grade, int subject, string title, Chance chance, ref int turn)
    {
        var klass = new Klass(Classes.Count + 1, $"{school.Id}_{1001 + school.Classes.Count}", school, kind, grade, subject)
        {
            Title = title,
            Code =
                chance.Percent(12) ? ""
                : kind == KlassKind.Scheduled ? $"{SubjectCodes[subject]}{Grades[grade]}-{(char)('A' + chance.Below(26))}"
                : $"HR{Grades[grade]}{(char)('A' + (school.Classes.Count % 26))}",
            Location = chance.Percent(5) ? "" : $"{(char)('A' + chance.Below(4))}{100 + chance.Below(60)}",
            Teacher = school.Teachers[turn % school.Teachers.Count],
            Modified = -1 - chance.Below(150),
            TeacherSince = -1 - chance.Below(100),
        };
        if (kind == KlassKind.Homeroom && school.Teachers.Count > 1 && chance.Percent(10))
        {
            klass.SecondTeacher = school.Teachers[(turn + 1) % school.Teachers.Count];
        }

        turn++;
        Classes.Add(klass);
        school.Classes.Add(klass);
        return klass;
    }

    private void Seat(Person student, Chance chance)
    {
        var school = Schools[student.School];
        var rooms = school.Rooms[student.Grade];
        student.Rooms = new Homerooms(chance.Percent(1) ? null : rooms[chance.Below(rooms.Length)], student.EnrolledOn);
        if (student.Other >= 0 && Schools[student.Other].Rooms[student.Grade] is { } others && chance.Percent(50))
        {
            student.Rooms.Second = others[chance.Below(others.Length)];
        }

        if (chance.Percent(2))
        {
            student.Rooms.LastYear = school.LastYear;
        }
    }

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
            name = new Name(text, first.Login + second.Login);
            _joined.Add(text, name);
        }

        return name;
    }

    /// <summary>Most ids look alike. Some hold what breaks paths, and one differs from another by case alone.</summary>
    private static string StudentId(int sequence)
    {
        var id = string.Create(CultureInfo.InvariantCulture, $"4957_S4957-{sequence:D4}");
        if (sequence >= 200 ? sequence % 400 != 0 : sequence % 12 != 0)
        {
            return id;
        }

        return ((sequence < 200 ? sequence / 12 : sequence / 400) % 7) switch
        {
            0 => $"4957|S|{sequence}",
            1 => $"S/{sequence}",
            2 => $"late entry {sequence}",
            3 => $"50%{sequence}",
            4 => $"élève-{sequence}",
            5 => string.Create(CultureInfo.InvariantCulture, $"4957_s4957-{sequence - 1:D4}"),
            _ => $"{sequence}+a&b=c?#",
        };
    }
}
