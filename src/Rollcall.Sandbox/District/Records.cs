using System.Runtime.InteropServices;

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
/// What is held of a person. A district may have millions, so names are numbers, and what can be computed from the number (ids, logins,
/// addresses, phones) is not held.
/// </summary>
[StructLayout(LayoutKind.Auto)]
internal struct PersonRecord
{
    /// <summary>Counted among those whose ids look alike.</summary>
    public int Sequence;
    public int Household;
    public int FirstFamily;
    public int Family;
    public int Birth;
    public int Room;
    public int SecondRoom;
    public int FormerRoom;
    public int LastYearRoom;
    public ushort Given;
    public ushort Middle;
    public short RoomSince;
    public short OtherRoomsSince;
    public short Modified;
    public short EnrolledOn;
    public short DemographicsModified;
    public short PurgeOn;
    public short School;
    public short Other;
    public sbyte Grade;
    public Role Role;
    public SandboxPresence Presence;
    public EmailForm Email;
    public byte EmailRevision;
    public byte PhoneRevision;
    public bool HasPhone;
    public byte Sex;
}

/// <summary>A user of the roster: a number, counted from 1, in a world that knows the rest.</summary>
internal readonly record struct Person(World World, int Number)
{
    public Role Role => Is.Role;

    public bool IsGuardian => Role >= Role.Parent;

    public SandboxRoleGroup Group =>
        Role switch
        {
            Role.Student => SandboxRoleGroup.Student,
            Role.Teacher => SandboxRoleGroup.Teacher,
            Role.Administrator or Role.Aide => SandboxRoleGroup.Admin,
            _ => SandboxRoleGroup.Guardian,
        };

    public int Sequence => Is.Sequence;

    public string Id => SourcedIds.Of(Role, Sequence);

    public Name Given => World.NameOf(Is.Given);

    public Name? Middle => Is.Middle == 0 ? null : World.NameOf(Is.Middle);

    /// <summary>Addresses and logins are made of the name that was the first.</summary>
    public Name FirstFamily => World.NameOf(Is.FirstFamily);

    public Name Family
    {
        get => World.NameOf(Is.Family);
        set => Becomes.Family = value.Number;
    }

    public Household? Household => Is.Household is var number and not 0 ? new(World, number) : null;

    /// <summary>Of a child the guardians, of a guardian the children.</summary>
    public Person[] Relatives =>
        Household is not { } home ? []
        : IsGuardian ? home.Children
        : home.Guardians;

    /// <summary>A day's number, or 0 where none is known.</summary>
    public int Birth
    {
        get => Is.Birth;
        set => Becomes.Birth = value;
    }

    public int Modified
    {
        get => Is.Modified;
        set => Becomes.Modified = (short)value;
    }

    /// <summary>Day since when the scheduled classes are what they are.</summary>
    public int EnrolledOn
    {
        get => Is.EnrolledOn;
        set => Becomes.EnrolledOn = (short)value;
    }

    public int DemographicsModified
    {
        get => Is.DemographicsModified;
        set => Becomes.DemographicsModified = (short)value;
    }

    /// <summary>Day on which a deleted row is purged.</summary>
    public int PurgeOn
    {
        get => Is.PurgeOn;
        set => Becomes.PurgeOn = (short)value;
    }

    /// <summary>The school's place, or -1.</summary>
    public int School
    {
        get => Is.School;
        set => Becomes.School = (short)value;
    }

    /// <summary>The second school, or -1.</summary>
    public int Other
    {
        get => Is.Other;
        set => Becomes.Other = (short)value;
    }

    public int Grade
    {
        get => Is.Grade;
        set => Becomes.Grade = (sbyte)value;
    }

    public SandboxPresence Presence
    {
        get => Is.Presence;
        set => Becomes.Presence = value;
    }

    public EmailForm Email
    {
        get => Is.Email;
        set => Becomes.Email = value;
    }

    public byte EmailRevision
    {
        get => Is.EmailRevision;
        set => Becomes.EmailRevision = value;
    }

    public byte PhoneRevision
    {
        get => Is.PhoneRevision;
        set => Becomes.PhoneRevision = value;
    }

    public bool HasPhone
    {
        get => Is.HasPhone;
        set => Becomes.HasPhone = value;
    }

    public int Sex => Is.Sex;

    /// <summary>A student's homeroom.</summary>
    public Klass? Room
    {
        get => Class(Is.Room);
        set => Becomes.Room = value?.Number ?? 0;
    }

    /// <summary>Day since when it is.</summary>
    public int RoomSince
    {
        get => Is.RoomSince;
        set => Becomes.RoomSince = (short)value;
    }

    /// <summary>Day since when the others are.</summary>
    public int OtherRoomsSince
    {
        get => Is.OtherRoomsSince;
        set => Becomes.OtherRoomsSince = (short)value;
    }

    /// <summary>A second one at the student's second school.</summary>
    public Klass? SecondRoom
    {
        get => Class(Is.SecondRoom);
        set => Becomes.SecondRoom = value?.Number ?? 0;
    }

    /// <summary>The one before a change: served as a deleted enrollment for some days.</summary>
    public Klass? FormerRoom
    {
        get => Class(Is.FormerRoom);
        set => Becomes.FormerRoom = value?.Number ?? 0;
    }

    /// <summary>Last year's: still an active enrollment, of a session that is over.</summary>
    public Klass? LastYearRoom
    {
        get => Class(Is.LastYearRoom);
        set => Becomes.LastYearRoom = value?.Number ?? 0;
    }

    private ref readonly PersonRecord Is => ref World.Persons[Number - 1];

    private ref PersonRecord Becomes => ref World.Persons.Change(Number - 1);

    private Klass? Class(int number) => number == 0 ? null : new(World, number);
}

/// <summary>What is held of a household; its guardians and children were added one after the other.</summary>
[StructLayout(LayoutKind.Auto)]
internal struct HouseholdRecord
{
    public int Family;
    public int First;
    public byte Guardians;
    public byte Children;
}

internal readonly record struct Household(World World, int Number)
{
    public Name Family => World.NameOf(World.Households[Number - 1].Family);

    public Person[] Children
    {
        get
        {
            var home = World.Households[Number - 1];
            return Several(home.First + home.Guardians, home.Children);
        }
    }

    /// <summary>Ordered by sourcedId.</summary>
    public Person[] Guardians
    {
        get
        {
            var home = World.Households[Number - 1];
            Person[] people = [.. Several(home.First, home.Guardians), .. World.LaterGuardians(Number)];
            if (people.Length > 1)
            {
                Array.Sort(people, static (a, b) => SourcedIds.CompareAlike(a.Sequence, b.Sequence));
            }

            return people;
        }
    }

    private Person[] Several(int first, int count)
    {
        var people = new Person[count];
        for (var i = 0; i < count; i++)
        {
            people[i] = new(World, first + i);
        }

        return people;
    }
}

internal sealed class School(int index, string id, string name, int low, int high)
{
    public readonly int Index = index;
    public readonly string Id = id;
    public readonly string Name = name;
    public readonly int Low = low;
    public readonly int High = high;

    /// <summary>Numbers of those present.</summary>
    public readonly List<int> Teachers = [];

    /// <summary>Number of the first class. It is last year's homeroom; for each grade follow its homerooms and, subject by subject, as many
    /// sections of each.</summary>
    public int FirstClass;
    public int ClassCount;

    /// <summary>By grade: number of the first homeroom, and how many there are.</summary>
    public readonly int[] FirstRoom = new int[13];
    public readonly int[] RoomCount = new int[13];

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

/// <summary>What is held of a class.</summary>
[StructLayout(LayoutKind.Auto)]
internal struct KlassRecord
{
    public int Teacher;
    public int SecondTeacher;

    /// <summary>Counted from 1 among its like.</summary>
    public int Section;
    public short School;
    public short Modified;
    public short TeacherSince;

    /// <summary>The room's number, or 0.</summary>
    public short Location;
    public char Building;

    /// <summary>Last letter of the code, or NUL.</summary>
    public char Letter;
    public KlassKind Kind;
    public sbyte Grade;
    public sbyte Subject;
}

/// <summary>A class: a number, counted from 1, in a world that knows the rest.</summary>
internal readonly record struct Klass(World World, int Number)
{
    public string Id => $"{School.Id}_{1001 + Number - School.FirstClass}";

    public School School => World.Schools[Is.School];

    public KlassKind Kind => Is.Kind;

    public int Grade => Is.Grade;

    /// <summary>The subject's place, or -1.</summary>
    public int Subject => Is.Subject;

    public string Title =>
        Kind switch
        {
            KlassKind.LastYear => "Homeroom (last year)",
            KlassKind.Homeroom => $"Homeroom {World.Grades[Grade]}-{Is.Section}",
            _ => $"{World.Subjects[Subject]} {World.Grades[Grade]} ({Is.Section})",
        };

    public string Code =>
        Is.Letter == '\0' ? ""
        : Kind == KlassKind.Scheduled ? $"{World.SubjectCodes[Subject]}{World.Grades[Grade]}-{Is.Letter}"
        : $"HR{World.Grades[Grade]}{Is.Letter}";

    public string Location => Is.Location == 0 ? "" : $"{Is.Building}{Is.Location}";

    public Person? Teacher
    {
        get => Is.Teacher is var number and not 0 ? new(World, number) : null;
        set => Becomes.Teacher = value?.Number ?? 0;
    }

    public Person? SecondTeacher
    {
        get => Is.SecondTeacher is var number and not 0 ? new(World, number) : null;
        set => Becomes.SecondTeacher = value?.Number ?? 0;
    }

    public int Modified => Is.Modified;

    public int TeacherSince
    {
        get => Is.TeacherSince;
        set => Becomes.TeacherSince = (short)value;
    }

    private ref readonly KlassRecord Is => ref World.Klasses[Number - 1];

    private ref KlassRecord Becomes => ref World.Klasses.Change(Number - 1);
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
