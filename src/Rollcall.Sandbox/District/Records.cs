namespace Rollcall.Sandbox.District;

internal enum Role : byte
{
    Student,
    Teacher,
    Administrator,
    Aide,
    Parent,
    Guardian,
    Relative,
}

internal enum EmailForm : byte
{
    Blank,
    Own,
    Household,
}

/// <summary>
/// A user of the roster. A district holds hundreds of thousands, so what can be computed from the number (ids, logins, addresses, phones) is
/// not held.
/// </summary>
internal sealed class Person(int number, string id, Role role, Name given, Name family)
{
    public readonly int Number = number;
    public readonly string Id = id;
    public readonly Name FirstGiven = given;
    public readonly Name FirstFamily = family;
    public Name Given = given;
    public Name Family = family;
    public Name? Middle;
    public Household? Household;
    public Homerooms? Rooms;
    public int Birth;
    public int Modified;

    /// <summary>Day since when the scheduled classes are what they are.</summary>
    public int EnrolledOn;
    public int DemographicsModified;
    public int Arrived;

    /// <summary>Day on which a deleted row is purged.</summary>
    public int PurgeOn;
    public short School = -1;

    /// <summary>The second school, or -1.</summary>
    public short Other = -1;
    public sbyte Grade = -1;
    public readonly Role Role = role;
    public SandboxPresence Presence;
    public EmailForm Email;
    public byte EmailRevision;
    public byte PhoneRevision;
    public bool HasPhone;
    public byte Sex;

    public bool IsGuardian => Role >= Role.Parent;

    public SandboxRoleGroup Group =>
        Role switch
        {
            Role.Student => SandboxRoleGroup.Student,
            Role.Teacher => SandboxRoleGroup.Teacher,
            Role.Administrator or Role.Aide => SandboxRoleGroup.Admin,
            _ => SandboxRoleGroup.Guardian,
        };
}

/// <summary>The homerooms of one student. Most have only the first.</summary>
internal sealed class Homerooms(Klass? current, int day)
{
    public Klass? Current = current;

    /// <summary>Day since when the current one is.</summary>
    public int Since = day;

    /// <summary>Day since when the others are.</summary>
    public int OthersSince = day;

    /// <summary>A second one at the student's second school.</summary>
    public Klass? Second;

    /// <summary>The one before a change: served as a deleted enrollment for some days.</summary>
    public Klass? Former;

    /// <summary>Last year's: still an active enrollment, of a session that is over.</summary>
    public Klass? LastYear;
}

internal sealed class Household(int number, Name family, int quarter)
{
    public readonly int Number = number;
    public readonly Name Family = family;

    /// <summary>Where in town: siblings go to the same schools.</summary>
    public readonly int Quarter = quarter;
    public Person[] Children = [];

    /// <summary>Ordered by sourcedId.</summary>
    public Person[] Guardians = [];

    /// <summary>The children have no addresses of their own.</summary>
    public bool SharesEmail;
}

internal sealed class School(int index, string id, string name, int low, int high)
{
    public readonly int Index = index;
    public readonly string Id = id;
    public readonly string Name = name;
    public readonly int Low = low;
    public readonly int High = high;
    public readonly List<Person> Teachers = [];
    public readonly List<Klass> Classes = [];
    public readonly Klass[][] Rooms = new Klass[13][];
    public readonly Klass[][][] Sections = new Klass[13][][];
    public Klass? LastYear;

    /// <summary>Present people by role group.</summary>
    public readonly int[] Present = new int[4];

    /// <summary>Days on which somebody of a role group left lately.</summary>
    public readonly Queue<int>[] Leaves = [new(), new(), new(), new()];
}

internal enum KlassKind : byte
{
    Homeroom,
    Scheduled,
    LastYear,
}

internal sealed class Klass(int number, string id, School school, KlassKind kind, int grade, int subject)
{
    public readonly int Number = number;
    public readonly string Id = id;
    public readonly School School = school;
    public readonly KlassKind Kind = kind;
    public readonly int Grade = grade;
    public readonly int Subject = subject;
    public string Title = "";
    public string Code = "";
    public string Location = "";
    public Person? Teacher;
    public Person? SecondTeacher;
    public int Modified;
    public int TeacherSince;
}

internal sealed record Course(string Id, string Title, string Code, string? Grade, string Subject, School School);

internal sealed record Session(
    string Id,
    string Title,
    string Type,
    DateOnly Start,
    DateOnly End,
    string? Parent,
    string[] Children,
    int SchoolYear
);
