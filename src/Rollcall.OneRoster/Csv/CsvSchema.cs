using System.Collections.Frozen;

namespace Rollcall.OneRoster.Csv;

/// <summary>The files of a package that are looked into.</summary>
internal enum CsvFile
{
    Orgs,
    AcademicSessions,
    Courses,
    Classes,
    Users,
    UserProfiles,
    Roles,
    Enrollments,
    Demographics,
    UserResources,
}

/// <summary>The versions that differ in what a file holds. 1.2.1 says 1.2 of itself.</summary>
internal enum CsvVersion
{
    V10,
    V11,
    V12,
}

internal enum CsvType
{
    Text,

    /// <summary>The record's own key.</summary>
    Id,
    Reference,
    References,
    Status,
    Time,
    Day,
    Year,
    Boolean,
    Word,
    UserIds,
    List,
}

/// <summary>A column as the specification has it.</summary>
/// <param name="Name">Its header.</param>
/// <param name="Type">What its values are.</param>
/// <param name="Required">Every row needs a value.</param>
/// <param name="To">What a reference refers to.</param>
/// <param name="Words">The words it may hold.</param>
/// <param name="Since">The first version that has it.</param>
/// <param name="Until">The last version that has it.</param>
internal sealed record CsvColumn(
    string Name,
    CsvType Type = CsvType.Text,
    bool Required = false,
    CsvFile? To = null,
    CsvWords? Words = null,
    CsvVersion Since = CsvVersion.V10,
    CsvVersion Until = CsvVersion.V12
)
{
    public bool In(CsvVersion version) => version >= Since && version <= Until;
}

/// <summary>An enumeration. From 1.2 on most may be extended by words that begin with <c>ext:</c>.</summary>
internal sealed record CsvWords(string[] Words, string[]? Words12 = null, bool Extensible = false)
{
    public string[] Of(CsvVersion version) => version == CsvVersion.V12 ? Words12 ?? Words : Words;
}

/// <summary>What OneRoster 1.0, 1.1 and 1.2 say of files and columns.</summary>
internal static class CsvSchema
{
    /// <summary>Files in the order in which they are checked: what others refer to comes first.</summary>
    public static readonly CsvFile[] InOrder = Enum.GetValues<CsvFile>();

    /// <summary>Files without which, when they are there and cannot be read, nothing of the package is believed.</summary>
    public static bool IsNeeded(CsvFile file) => file is not (CsvFile.Courses or CsvFile.UserProfiles or CsvFile.UserResources);

    /// <summary>Files of the specification that a library has no use for.</summary>
    public static readonly FrozenSet<string> Unused = new[]
    {
        "resources",
        "classResources",
        "courseResources",
        "categories",
        "lineItems",
        "results",
        "scoreScales",
        "lineItemScoreScales",
        "resultScoreScales",
        "lineItemLearningObjectiveIds",
        "resultLearningObjectiveIds",
    }.ToFrozenSet(StringComparer.OrdinalIgnoreCase);

    private static readonly CsvWords s_orgTypes = new(["department", "district", "local", "national", "school", "state"], Extensible: true);
    private static readonly CsvWords s_sessionTypes = new(["gradingPeriod", "semester", "schoolYear", "term"], Extensible: true);
    private static readonly CsvWords s_classTypes = new(["homeroom", "scheduled"], Extensible: true);
    private static readonly CsvWords s_enrollmentRoles = new(["administrator", "proctor", "student", "teacher"], Extensible: true);
    private static readonly CsvWords s_roleTypes = new(["primary", "secondary"]);
    private static readonly CsvWords s_sexes = new(["male", "female"], ["male", "female", "unspecified", "other"], Extensible: true);
    private static readonly CsvWords s_residence = new(["01652", "01653", "01654", "01655", "01656"], Extensible: true);
    private static readonly CsvWords s_roles = new(
        ["administrator", "aide", "guardian", "parent", "proctor", "relative", "student", "teacher"],
        [
            "aide",
            "counselor",
            "districtAdministrator",
            "guardian",
            "parent",
            "principal",
            "proctor",
            "relative",
            "siteAdministrator",
            "student",
            "systemAdministrator",
            "teacher",
        ],
        Extensible: true
    );

    private static readonly CsvColumn[] s_head =
    [
        new("sourcedId", CsvType.Id, Required: true),
        new("status", CsvType.Status),
        new("dateLastModified", CsvType.Time),
    ];

    private static readonly CsvColumn[][] s_columns = [.. InOrder.Select(f => (CsvColumn[])[.. s_head, .. Own(f)])];

    /// <summary>Headers that are written otherwise, by the file they come in; the key <c>null</c> holds for all.</summary>
    private static readonly (CsvFile? File, string Alias, string Name, bool Of10)[] s_aliases =
    [
        (null, "sourceId", "sourcedId", false),
        (null, "dataLastModified", "dateLastModified", false),
        (null, "dateLastModifed", "dateLastModified", false),
        (null, "lastModified", "dateLastModified", false),
        (CsvFile.Users, "prefferedGivenName", "preferredGivenName", false),
        (CsvFile.Users, "prefferedMiddleName", "preferredMiddleName", false),
        (CsvFile.Users, "prefferedFamilyName", "preferredFamilyName", false),
        (CsvFile.Users, "preferredFirstName", "preferredGivenName", false),
        (CsvFile.Users, "preferredLastName", "preferredFamilyName", false),
        (CsvFile.Users, "primaryOrg", "primaryOrgSourcedId", false),
        (CsvFile.Users, "orgSourcedId", "orgSourcedIds", false),
        (CsvFile.Users, "userId", "userIds", true),
        (CsvFile.Users, "agents", "agentSourcedIds", true),
        (CsvFile.Users, "agentSourceIds", "agentSourcedIds", false),
        (CsvFile.Users, "grade", "grades", true),
        (CsvFile.Classes, "grade", "grades", true),
        (CsvFile.Classes, "termSourcedId", "termSourcedIds", true),
        (CsvFile.Classes, "subject", "subjects", false),
        (CsvFile.Courses, "grade", "grades", true),
        (CsvFile.Courses, "schoolYearId", "schoolYearSourcedId", true),
        (CsvFile.Courses, "subject", "subjects", false),
        (CsvFile.Demographics, "userSourcedId", "sourcedId", true),
        (CsvFile.Demographics, "birthdate", "birthDate", true),
        (CsvFile.AcademicSessions, "parentSourceId", "parentSourcedId", false),
        (CsvFile.Orgs, "parentSourceId", "parentSourcedId", false),
    ];

    public static CsvColumn[] Columns(CsvFile file) => s_columns[(int)file];

    public static string FileName(CsvFile file) => Name(file) + ".csv";

    public static string Name(CsvFile file) =>
        file switch
        {
            CsvFile.AcademicSessions => "academicSessions",
            CsvFile.UserProfiles => "userProfiles",
            CsvFile.UserResources => "userResources",
            _ => file.ToString().ToLowerInvariant(),
        };

    /// <summary>The files that a bulk file refers to and therefore has to come with.</summary>
    public static IEnumerable<CsvFile> Companions(CsvFile file, CsvVersion version)
    {
        CsvFile[] others = file switch
        {
            CsvFile.Users => [CsvFile.Orgs, CsvFile.Roles],
            CsvFile.Roles => [CsvFile.Orgs, CsvFile.Users],
            CsvFile.Courses => [CsvFile.Orgs],
            CsvFile.Classes => [CsvFile.Orgs, CsvFile.AcademicSessions, CsvFile.Courses],
            CsvFile.Enrollments => [CsvFile.Orgs, CsvFile.AcademicSessions, CsvFile.Courses, CsvFile.Classes, CsvFile.Users, CsvFile.Roles],
            CsvFile.Demographics => [CsvFile.Orgs, CsvFile.Users, CsvFile.Roles],
            CsvFile.UserProfiles => [CsvFile.Users],
            _ => [],
        };
        return others.Where(o => o != CsvFile.Roles || version == CsvVersion.V12);
    }

    /// <summary>The specified name of a header; null when it is another way of writing nothing that is known.</summary>
    /// <param name="file">The file.</param>
    /// <param name="header">The header as it stands, trimmed.</param>
    /// <param name="of10">It is 1.0's own name.</param>
    public static string? Alias(CsvFile file, string header, out bool of10)
    {
        foreach (var (where, alias, name, own) in s_aliases)
        {
            if ((where is null || where == file) && string.Equals(alias, header, StringComparison.OrdinalIgnoreCase))
            {
                of10 = own;
                return name;
            }
        }

        of10 = false;
        return null;
    }

    private static CsvColumn[] Own(CsvFile file) =>
        file switch
        {
            CsvFile.AcademicSessions =>
            [
                new("title", Required: true),
                new("type", CsvType.Word, Required: true, Words: s_sessionTypes),
                new("startDate", CsvType.Day, Required: true),
                new("endDate", CsvType.Day, Required: true),
                new("parentSourcedId", CsvType.Reference, To: CsvFile.AcademicSessions),
                new("schoolYear", CsvType.Year, Required: true, Since: CsvVersion.V11),
            ],
            CsvFile.Orgs =>
            [
                new("name", Required: true),
                new("type", CsvType.Word, Required: true, Words: s_orgTypes),
                new("identifier"),
                new("parentSourcedId", CsvType.Reference, To: CsvFile.Orgs),
            ],
            CsvFile.Courses =>
            [
                new("schoolYearSourcedId", CsvType.Reference, To: CsvFile.AcademicSessions),
                new("title", Required: true),
                new("courseCode"),
                new("grades", CsvType.List),
                new("orgSourcedId", CsvType.Reference, Required: true, To: CsvFile.Orgs),
                new("subjects", CsvType.List),
                new("subjectCodes", CsvType.List, Since: CsvVersion.V11),
            ],
            CsvFile.Classes =>
            [
                new("title", Required: true),
                new("grades", CsvType.List),
                new("courseSourcedId", CsvType.Reference, Required: true, To: CsvFile.Courses),
                new("classCode"),
                new("classType", CsvType.Word, Required: true, Words: s_classTypes),
                new("location"),
                new("schoolSourcedId", CsvType.Reference, Required: true, To: CsvFile.Orgs),
                new("termSourcedIds", CsvType.References, Required: true, To: CsvFile.AcademicSessions),
                new("subjects", CsvType.List),
                new("subjectCodes", CsvType.List, Since: CsvVersion.V11),
                new("periods", CsvType.List, Since: CsvVersion.V11),
            ],
            CsvFile.Enrollments =>
            [
                new("classSourcedId", CsvType.Reference, Required: true, To: CsvFile.Classes),
                new("schoolSourcedId", CsvType.Reference, Required: true, To: CsvFile.Orgs),
                new("userSourcedId", CsvType.Reference, Required: true, To: CsvFile.Users),
                new("role", CsvType.Word, Required: true, Words: s_enrollmentRoles),
                new("primary", CsvType.Boolean),
                new("beginDate", CsvType.Day, Since: CsvVersion.V11),
                new("endDate", CsvType.Day, Since: CsvVersion.V11),
            ],
            CsvFile.Demographics =>
            [
                new("birthDate", CsvType.Day),
                new("sex", CsvType.Word, Words: s_sexes),
                new("americanIndianOrAlaskaNative", CsvType.Boolean),
                new("asian", CsvType.Boolean),
                new("blackOrAfricanAmerican", CsvType.Boolean),
                new("nativeHawaiianOrOtherPacificIslander", CsvType.Boolean),
                new("white", CsvType.Boolean),
                new("demographicRaceTwoOrMoreRaces", CsvType.Boolean),
                new("hispanicOrLatinoEthnicity", CsvType.Boolean),
                new("countryOfBirthCode"),
                new("stateOfBirthAbbreviation"),
                new("cityOfBirth"),
                new("publicSchoolResidenceStatus", CsvType.Word, Words: s_residence),
            ],
            CsvFile.Users =>
            [
                new("enabledUser", CsvType.Boolean, Required: true, Since: CsvVersion.V11),
                new("orgSourcedIds", CsvType.References, Required: true, To: CsvFile.Orgs, Until: CsvVersion.V11),
                new("role", CsvType.Word, Required: true, Words: s_roles, Until: CsvVersion.V11),
                new("username", Required: true),
                new("userIds", CsvType.UserIds),
                new("givenName", Required: true),
                new("familyName", Required: true),
                new("middleName", Since: CsvVersion.V11),
                new("identifier"),
                new("email"),
                new("sms"),
                new("phone"),
                new("agentSourcedIds", CsvType.References, To: CsvFile.Users),
                new("grades", CsvType.List, Since: CsvVersion.V11),
                new("password", Since: CsvVersion.V11),
                new("userMasterIdentifier", Since: CsvVersion.V12),
                new("preferredGivenName", Since: CsvVersion.V12),
                new("preferredMiddleName", Since: CsvVersion.V12),
                new("preferredFamilyName", Since: CsvVersion.V12),
                new("primaryOrgSourcedId", CsvType.Reference, To: CsvFile.Orgs, Since: CsvVersion.V12),
                new("pronouns", Since: CsvVersion.V12),
            ],
            CsvFile.Roles =>
            [
                new("userSourcedId", CsvType.Reference, Required: true, To: CsvFile.Users),
                new("roleType", CsvType.Word, Required: true, Words: s_roleTypes),
                new("role", CsvType.Word, Required: true, Words: s_roles),
                new("beginDate", CsvType.Day),
                new("endDate", CsvType.Day),
                new("orgSourcedId", CsvType.Reference, Required: true, To: CsvFile.Orgs),
                new("userProfileSourcedId", CsvType.Reference, To: CsvFile.UserProfiles),
            ],
            CsvFile.UserProfiles =>
            [
                new("userSourcedId", CsvType.Reference, Required: true, To: CsvFile.Users),
                new("profileType", Required: true),
                new("vendorId", Required: true),
                new("applicationId"),
                new("description"),
                new("credentialType", Required: true),
                new("username", Required: true),
                new("password"),
            ],
            _ =>
            [
                new("userSourcedId", CsvType.Reference, Required: true, To: CsvFile.Users),
                new("orgSourcedId", CsvType.Reference, To: CsvFile.Orgs),
                new("classSourcedId", CsvType.Reference, To: CsvFile.Classes),
                new("resourceSourcedId", CsvType.Reference, Required: true),
            ],
        };
}
