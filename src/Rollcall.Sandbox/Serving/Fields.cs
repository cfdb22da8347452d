using System.Text.Json;

namespace Rollcall.Sandbox.Serving;

/// <summary>A top-level property of a record; the bit says whether a request's <c>fields</c> wants it.</summary>
internal sealed class Field(string name, int number)
{
    public readonly string Name = name;
    public readonly JsonEncodedText Json = JsonEncodedText.Encode(name);
    public readonly ulong Bit = 1UL << number;
}

internal static class Fields
{
    public const ulong All = ulong.MaxValue;

    private static int _count;

    public static readonly Field SourcedId = New("sourcedId");
    public static readonly Field Status = New("status");
    public static readonly Field DateLastModified = New("dateLastModified");
    public static readonly Field Metadata = New("metadata");
    public static readonly Field Username = New("username");
    public static readonly Field UserIds = New("userIds");
    public static readonly Field EnabledUser = New("enabledUser");
    public static readonly Field GivenName = New("givenName");
    public static readonly Field FamilyName = New("familyName");
    public static readonly Field MiddleName = New("middleName");
    public static readonly Field Role = New("role");
    public static readonly Field Roles = New("roles");
    public static readonly Field Identifier = New("identifier");
    public static readonly Field Email = New("email");
    public static readonly Field Sms = New("sms");
    public static readonly Field Phone = New("phone");
    public static readonly Field Agents = New("agents");
    public static readonly Field Orgs = New("orgs");
    public static readonly Field PrimaryOrg = New("primaryOrg");
    public static readonly Field Grades = New("grades");
    public static readonly Field Password = New("password");
    public static readonly Field PreferredFirstName = New("preferredFirstName");
    public static readonly Field Name = New("name");
    public static readonly Field Type = New("type");
    public static readonly Field Parent = New("parent");
    public static readonly Field Children = New("children");
    public static readonly Field Title = New("title");
    public static readonly Field StartDate = New("startDate");
    public static readonly Field EndDate = New("endDate");
    public static readonly Field SchoolYear = New("schoolYear");
    public static readonly Field CourseCode = New("courseCode");
    public static readonly Field Subjects = New("subjects");
    public static readonly Field SubjectCodes = New("subjectCodes");
    public static readonly Field Org = New("org");
    public static readonly Field Resources = New("resources");
    public static readonly Field ClassCode = New("classCode");
    public static readonly Field ClassType = New("classType");
    public static readonly Field Location = New("location");
    public static readonly Field Course = New("course");
    public static readonly Field School = New("school");
    public static readonly Field Terms = New("terms");
    public static readonly Field Periods = New("periods");
    public static readonly Field User = New("user");
    public static readonly Field Class = New("class");
    public static readonly Field Primary = New("primary");
    public static readonly Field BeginDate = New("beginDate");
    public static readonly Field BirthDate = New("birthDate");
    public static readonly Field Sex = New("sex");
    public static readonly Field[] Races =
    [
        New("americanIndianOrAlaskaNative"),
        New("asian"),
        New("blackOrAfricanAmerican"),
        New("nativeHawaiianOrOtherPacificIslander"),
        New("white"),
        New("demographicRaceTwoOrMoreRaces"),
        New("hispanicOrLatinoEthnicity"),
    ];

    public static readonly Field[] Origins =
    [
        New("countryOfBirthCode"),
        New("stateOfBirthAbbreviation"),
        New("cityOfBirth"),
        New("publicSchoolResidenceStatus"),
    ];

    private static readonly Field[] Base = [SourcedId, Status, DateLastModified, Metadata];

    private static readonly Dictionary<string, Field[]> ByEnvelope = new(StringComparer.Ordinal)
    {
        ["orgs"] = [.. Base, Name, Type, Identifier, Parent, Children],
        ["academicSessions"] = [.. Base, Title, StartDate, EndDate, Type, Parent, Children, SchoolYear],
        ["courses"] = [.. Base, Title, SchoolYear, CourseCode, Grades, Subjects, Org, SubjectCodes, Resources],
        ["classes"] =
        [
            .. Base,
            Title,
            ClassCode,
            ClassType,
            Location,
            Grades,
            Subjects,
            Course,
            School,
            Terms,
            SubjectCodes,
            Periods,
            Resources,
        ],
        ["users"] =
        [
            .. Base,
            Username,
            UserIds,
            EnabledUser,
            GivenName,
            FamilyName,
            MiddleName,
            Role,
            Roles,
            Identifier,
            Email,
            Sms,
            Phone,
            Agents,
            Orgs,
            PrimaryOrg,
            Grades,
            Password,
            PreferredFirstName,
        ],
        ["enrollments"] = [.. Base, User, Class, School, Role, Primary, BeginDate, EndDate],
        ["demographics"] = [.. Base, BirthDate, Sex, .. Races, .. Origins],
    };

    /// <summary>The property of this name in records of an envelope, or null.</summary>
    public static Field? Find(string envelope, string name) =>
        Array.Find(ByEnvelope[envelope], field => string.Equals(field.Name, name, StringComparison.OrdinalIgnoreCase));

    /// <summary>The bit of a property in records of any kind; 0 if unknown.</summary>
    public static ulong BitOf(string name)
    {
        foreach (var fields in ByEnvelope.Values)
        {
            if (Array.Find(fields, field => string.Equals(field.Name, name, StringComparison.Ordinal)) is { } found)
            {
                return found.Bit;
            }
        }

        return 0;
    }

    private static Field New(string name) => new(name, _count++);
}
