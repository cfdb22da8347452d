using System.Text;
using Rollcall.OneRoster.Csv;

namespace Rollcall.OneRoster.Tests.Csv;

/// <summary>Every way in which a package can be wrong that the specification or the field knows, and what is said of it.</summary>
public sealed class FaultTests
{
    private static readonly DateTimeOffset s_now = new(2026, 9, 1, 6, 0, 0, TimeSpan.Zero);

    private sealed record Case(string Version, bool Delta, Func<Bundle, Bundle> Spoil, CsvSeverity Severity, string Rule, string Says);

    private static Case Bulk11(Func<Bundle, Bundle> spoil, CsvSeverity severity, string rule, string says) =>
        new("1.1", false, spoil, severity, rule, says);

    private static Case Bulk12(Func<Bundle, Bundle> spoil, CsvSeverity severity, string rule, string says) =>
        new("1.2", false, spoil, severity, rule, says);

    private static Case Delta12(Func<Bundle, Bundle> spoil, CsvSeverity severity, string rule, string says) =>
        new("1.2", true, spoil, severity, rule, says);

    private static Bundle Foreign(Bundle b, string file, Encoding encoding, bool mark = false)
    {
        var text = b.Files[file].Replace("Amy", "Zoë", StringComparison.Ordinal);
        b.Raw[file] = mark ? [.. encoding.GetPreamble(), .. encoding.GetBytes(text)] : encoding.GetBytes(text);
        return b;
    }

    private static readonly Dictionary<string, Case> s_cases = new(StringComparer.Ordinal)
    {
        // In the wild, understood all the same (§4.3).
        ["columns out of order"] = Bulk11(
            b =>
                b.Put(
                    "orgs.csv",
                    "name,sourcedId,status,dateLastModified,type,identifier,parentSourcedId\r\nLake,d1,,,district,,\r\nN,s1,,,school,,d1\r\nS,s2,,,school,,d1\r\n"
                ),
            CsvSeverity.Deviation,
            "header-order",
            "orgs.csv: has its columns in another order (line 1)"
        ),
        ["dataLastModified"] = Bulk11(
            b => b.With("users.csv", "dateLastModified", "dataLastModified"),
            CsvSeverity.Deviation,
            "header-alias",
            "users.csv: dateLastModified is called dataLastModified in the header (line 1)"
        ),
        ["prefferedGivenName"] = Bulk12(
            b => b.With("users.csv", "preferredGivenName", "prefferedGivenName"),
            CsvSeverity.Deviation,
            "header-alias",
            "preferredGivenName is called prefferedGivenName"
        ),
        ["stateofBirthAbbreviation"] = Bulk11(
            b => b.With("demographics.csv", "stateOfBirth", "stateofBirth"),
            CsvSeverity.Deviation,
            "header-case",
            "stateOfBirthAbbreviation is written stateofBirthAbbreviation"
        ),
        ["termSourcedId"] = Bulk11(
            b => b.With("classes.csv", "termSourcedIds", "termSourcedId"),
            CsvSeverity.Deviation,
            "header-alias",
            "termSourcedIds is called termSourcedId"
        ),
        ["header in capitals"] = Bulk11(
            b => b.With("users.csv", "givenName", "GIVENNAME"),
            CsvSeverity.Deviation,
            "header-case",
            "givenName is written GIVENNAME"
        ),
        ["blank trailing headers"] = Bulk11(
            b => b.With("users.csv", "grades,password\r\n", "grades,password,,\r\n"),
            CsvSeverity.Deviation,
            "blank-header",
            "columns without a header"
        ),
        ["extra column"] = Bulk11(
            b =>
                b.Put(
                    "orgs.csv",
                    "sourcedId,status,dateLastModified,name,type,identifier,parentSourcedId,color\r\nd1,,,Lake,district,,,red\r\ns1,,,N,school,,d1,\r\ns2,,,S,school,,d1,\r\n"
                ),
            CsvSeverity.Deviation,
            "extra-column",
            "not called metadata"
        ),
        ["manifest header twice"] = Bulk11(
            b => b.With("manifest.csv", "propertyName,value\r\n", "propertyName,value\r\npropertyName,value\r\n"),
            CsvSeverity.Deviation,
            "duplicate-header",
            "manifest.csv: has its header more than once (line 2)"
        ),
        ["blank modes"] = Bulk11(
            b => b.With("manifest.csv", "file.users,bulk", "file.users,"),
            CsvSeverity.Deviation,
            "blank-mode",
            "file.users says neither absent, bulk nor delta"
        ),
        ["manifest.version 1"] = Bulk11(
            b => b.With("manifest.csv", "manifest.version,1.0", "manifest.version,1"),
            CsvSeverity.Deviation,
            "manifest-version",
            "1 instead of 1.0"
        ),
        ["file name in another case"] = Bulk11(
            b =>
            {
                b.Files["ORGS.CSV"] = b.Files["orgs.csv"];
                return b.Without("orgs.csv");
            },
            CsvSeverity.Deviation,
            "file-name-case",
            "ORGS.CSV: is written orgs.csv"
        ),
        ["roles in userprofiles.csv"] = Bulk12(
            b =>
            {
                b.Files["userprofiles.csv"] = b.Files["roles.csv"].Replace(",p1", ",", StringComparison.Ordinal);
                return b.Without("roles.csv").Without("userProfiles.csv").With("manifest.csv", "file.roles,bulk", "file.roles,absent");
            },
            CsvSeverity.Deviation,
            "roles-in-user-profiles",
            "holds roles, and is read as roles.csv"
        ),
        ["status filled in bulk"] = Bulk11(
            b => b.With("users.csv", "u1,,,", "u1,active,2026-02-03T04:05:06.000Z,"),
            CsvSeverity.Deviation,
            "bulk-with-status",
            "is bulk, and says status and date"
        ),
        ["TRUE"] = Bulk11(
            b => b.With("users.csv", "u1,,,true", "u1,,,TRUE"),
            CsvSeverity.Deviation,
            "word-case",
            "enabledUser is written in another case"
        ),
        ["1/05/2023"] = Bulk11(
            b => b.With("demographics.csv", "2018-03-04", "1/05/2018"),
            CsvSeverity.Deviation,
            "date-form",
            "birthDate is not written as YYYY-MM-DD"
        ),
        ["CRLF and LF mixed"] = Bulk11(
            b => b.With("users.csv", "\r\nu2", "\nu2"),
            CsvSeverity.Deviation,
            "line-ends",
            "users.csv: mixes ways of ending lines"
        ),
        ["Windows-1252"] = Bulk11(
            b => Foreign(b, "users.csv", Encoding.Latin1),
            CsvSeverity.Deviation,
            "encoding",
            "users.csv: has bytes that are no UTF-8"
        ),
        ["UTF-16"] = Bulk11(
            b => Foreign(b, "users.csv", Encoding.Unicode, mark: true),
            CsvSeverity.Deviation,
            "encoding",
            "written in UTF-16"
        ),
        ["unknown file"] = Bulk11(
            b => b.Put("lunches.csv", "a,b\r\n1,2\r\n"),
            CsvSeverity.Deviation,
            "unknown-file",
            "lunches.csv: is no file"
        ),
        ["there though absent"] = Bulk11(
            b => b.With("manifest.csv", "file.demographics,bulk", "file.demographics,absent"),
            CsvSeverity.Deviation,
            "mode-contradicted",
            "demographics.csv: is there although the manifest says that it is absent"
        ),
        ["1.2 data under a 1.1 manifest"] = Bulk12(
            b => b.With("manifest.csv", "oneroster.version,1.2", "oneroster.version,1.1"),
            CsvSeverity.Deviation,
            "version-contradicted",
            "states OneRoster 1.1, but the data is of 1.2"
        ),
        ["no manifest for 1.1 data"] = Bulk11(
            b => b.Without("manifest.csv"),
            CsvSeverity.Deviation,
            "no-manifest",
            "there is no manifest.csv"
        ),
        ["enumeration in another case"] = Bulk11(
            b => b.With("demographics.csv", "female", "Female"),
            CsvSeverity.Deviation,
            "word-case",
            "sex is written in another case"
        ),
        ["status in another spelling"] = Bulk11(
            b => b.With("users.csv", "u1,,", "u1,to_be_deleted,"),
            CsvSeverity.Deviation,
            "word-form",
            "status is written otherwise than tobedeleted, as which it is read"
        ),
        ["sex as a letter"] = Bulk11(
            b => b.With("demographics.csv", "female", "X"),
            CsvSeverity.Deviation,
            "word-form",
            "sex is written otherwise than other, as which it is read"
        ),

        // Rules of values (§4.1, §4.2).
        ["blank sourcedId"] = Bulk11(
            b =>
                b.With("users.csv", "u1,,,true", ",,,true")
                    .With("enrollments.csv", "u1", "u2")
                    .With("demographics.csv", "u1", "u2")
                    .With("users.csv", "555-2,u1", "555-2,u2"),
            CsvSeverity.Error,
            "missing-value",
            "users.csv: sourcedId is blank (line 2)"
        ),
        ["duplicate sourcedId"] = Bulk11(
            b => b.Append("users.csv", "u2,,,true,s2,student,ben2,,Ben,Baker,,,,,,,,"),
            CsvSeverity.Error,
            "duplicate-id",
            "sourcedId stands on more than one row; the later date counts, else the last row (line 6)"
        ),
        ["sourcedId with a blank in it"] = Bulk11(
            b => b.Append("users.csv", "u 9,,,true,s2,student,zed,,Zed,Zorn,,,,,,,,"),
            CsvSeverity.Error,
            "id-characters",
            "sourcedId has characters other than"
        ),
        ["sourcedId of 256"] = Bulk11(
            b => b.Append("users.csv", new string('x', 256) + ",,,true,s2,student,zed,,Zed,Zorn,,,,,,,,"),
            CsvSeverity.Error,
            "id-too-long",
            "sourcedId is longer than 255"
        ),
        ["blank username"] = Bulk11(
            b => b.With("users.csv", ",amy,", ",,"),
            CsvSeverity.Error,
            "missing-value",
            "username is blank (line 2)"
        ),
        ["blank givenName"] = Bulk11(b => b.With("users.csv", ",Amy,", ",,"), CsvSeverity.Error, "missing-value", "givenName is blank"),
        ["blank familyName"] = Bulk11(
            b => b.With("users.csv", "Ben,Baker", "Ben,"),
            CsvSeverity.Error,
            "missing-value",
            "familyName is blank"
        ),
        ["blank enabledUser"] = Bulk11(
            b => b.With("users.csv", "u1,,,true", "u1,,,"),
            CsvSeverity.Error,
            "missing-value",
            "enabledUser is blank"
        ),
        ["blank role"] = Bulk11(b => b.With("users.csv", "s2,student,ben", "s2,,ben"), CsvSeverity.Error, "missing-value", "role is blank"),
        ["blank orgs of a user"] = Bulk11(
            b => b.With("users.csv", "false,s2,", "false,,"),
            CsvSeverity.Error,
            "missing-value",
            "orgSourcedIds is blank"
        ),
        ["unknown role"] = Bulk11(
            b => b.With("users.csv", "s1,teacher", "s1,professor"),
            CsvSeverity.Error,
            "unknown-word",
            "role is none of administrator, aide, guardian"
        ),
        ["1.2 role name in 1.1"] = Bulk11(
            b => b.With("users.csv", "s1,teacher", "s1,principal"),
            CsvSeverity.Error,
            "unknown-word",
            "role is none of"
        ),
        ["1.1 role name in 1.2"] = Bulk12(
            b => b.With("roles.csv", "primary,teacher", "primary,administrator"),
            CsvSeverity.Error,
            "unknown-word",
            "roles.csv: role is none of aide, counselor"
        ),
        ["ext: in 1.1"] = Bulk11(
            b => b.With("orgs.csv", "school,100", "ext:annex,100"),
            CsvSeverity.Error,
            "unknown-word",
            "type is none of"
        ),
        ["unknown org type"] = Bulk11(
            b => b.With("orgs.csv", "school,100", "college,100"),
            CsvSeverity.Error,
            "unknown-word",
            "orgs.csv: type is none of"
        ),
        ["unknown session type"] = Bulk11(
            b => b.With("academicSessions.csv", "term", "trimester"),
            CsvSeverity.Error,
            "unknown-word",
            "academicSessions.csv: type"
        ),
        ["unknown class type"] = Bulk11(
            b => b.With("classes.csv", "homeroom,", "advisory,"),
            CsvSeverity.Error,
            "unknown-word",
            "classType is none of homeroom, scheduled"
        ),
        ["unknown enrollment role"] = Bulk11(
            b => b.With("enrollments.csv", "u1,student", "u1,pupil"),
            CsvSeverity.Error,
            "unknown-word",
            "enrollments.csv: role"
        ),
        ["unknown roleType"] = Bulk12(
            b => b.With("roles.csv", "u1,primary", "u1,main"),
            CsvSeverity.Error,
            "unknown-word",
            "roleType is none of primary, secondary"
        ),
        ["unknown sex"] = Bulk11(
            b => b.With("demographics.csv", "female", "0"),
            CsvSeverity.Error,
            "unknown-word",
            "sex is none of male, female"
        ),
        ["sex of 1.2 in 1.1"] = Bulk11(
            b => b.With("demographics.csv", "female", "other"),
            CsvSeverity.Error,
            "unknown-word",
            "sex is none of male, female"
        ),
        ["unknown residence status"] = Bulk11(
            b => b.With("demographics.csv", "01652", "01999"),
            CsvSeverity.Error,
            "unknown-word",
            "publicSchoolResidenceStatus"
        ),
        ["unknown status"] = Bulk11(
            b => b.With("users.csv", "u1,,", "u1,gone,"),
            CsvSeverity.Error,
            "unknown-word",
            "status is neither active nor tobedeleted"
        ),
        ["a boolean that is none"] = Bulk11(
            b => b.With("users.csv", "u1,,,true", "u1,,,maybe"),
            CsvSeverity.Error,
            "bad-boolean",
            "enabledUser is neither true nor false"
        ),
        ["a boolean of 1"] = Bulk11(
            b => b.With("users.csv", "u1,,,true", "u1,,,1"),
            CsvSeverity.Error,
            "bad-boolean",
            "what it means was understood"
        ),
        ["a date that is none"] = Bulk11(
            b => b.With("demographics.csv", "2018-03-04", "2018-02-30"),
            CsvSeverity.Error,
            "bad-date",
            "birthDate is no date"
        ),
        ["a date of words"] = Bulk11(
            b => b.With("academicSessions.csv", "2026-12-20", "Christmas"),
            CsvSeverity.Error,
            "bad-date",
            "endDate is no date"
        ),
        ["a bad dateLastModified"] = Bulk11(
            b => b.With("users.csv", "u1,,", "u1,,yesterday"),
            CsvSeverity.Error,
            "bad-date",
            "dateLastModified is no date and time"
        ),
        ["a school year of two"] = Bulk11(
            b => b.With("academicSessions.csv", "y1,2027", "y1,26-27"),
            CsvSeverity.Error,
            "bad-year",
            "schoolYear is no year"
        ),
        ["end before start"] = Bulk11(
            b => b.With("academicSessions.csv", "2026-12-20", "2026-01-20"),
            CsvSeverity.Error,
            "dates-reversed",
            "endDate is before startDate"
        ),
        ["userIds without braces"] = Bulk11(
            b => b.With("users.csv", "{Local:18}", "18"),
            CsvSeverity.Error,
            "bad-user-id",
            "userIds is not written as {type:id}"
        ),
        ["an empty place in a list"] = Bulk11(
            b => b.With("users.csv", "\"s1,s2\"", "\"s1,,s2\""),
            CsvSeverity.Error,
            "bad-list",
            "orgSourcedIds has an empty place"
        ),
        ["a line break in a field"] = Bulk11(
            b => b.With("users.csv", ",Amy,", ",\"A\r\nmy\","),
            CsvSeverity.Error,
            "line-break",
            "a line break inside a field (line 2)"
        ),
        ["NUL"] = Bulk11(b => b.With("users.csv", ",Amy,", ",A\0my,"), CsvSeverity.Error, "nul", "NUL characters"),
        ["optional column missing"] = Bulk11(
            b =>
                b.Put(
                    "orgs.csv",
                    "sourcedId,status,dateLastModified,name,type,parentSourcedId\r\nd1,,,L,district,\r\ns1,,,N,school,d1\r\ns2,,,S,school,d1\r\n"
                ),
            CsvSeverity.Error,
            "missing-column",
            "orgs.csv: identifier is missing in the header"
        ),
        ["header without rows"] = Bulk11(
            b => b.Put("demographics.csv", b.Files["demographics.csv"].Split("\r\n")[0] + "\r\n"),
            CsvSeverity.Error,
            "no-rows",
            "demographics.csv: has a header and no rows"
        ),
        ["delta row without status"] = Delta12(
            b => b.With("users.csv", "u1,active,", "u1,,"),
            CsvSeverity.Error,
            "delta-without-status",
            "status is blank"
        ),
        ["delta row without date"] = Delta12(
            b => b.With("users.csv", "u1,active,2026-02-03T04:05:06.000Z", "u1,active,"),
            CsvSeverity.Error,
            "delta-without-date",
            "dateLastModified is blank"
        ),
        ["two primary roles"] = Bulk12(
            b => b.Append("roles.csv", "r9,,,u1,primary,student,,,s1,"),
            CsvSeverity.Error,
            "several-primary-roles",
            "roleType is primary more than once"
        ),
        ["a user without a role"] = Bulk12(
            b => b.With("roles.csv", "r4,,,u3,primary,teacher,,,s1,\r\n", ""),
            CsvSeverity.Error,
            "no-role",
            "has people without a row in roles.csv (line 4)"
        ),
        ["present, not named in the manifest"] = Bulk11(
            b => b.With("manifest.csv", "file.demographics,bulk\r\n", ""),
            CsvSeverity.Error,
            "not-in-manifest",
            "the manifest does not name it"
        ),
        ["unknown version"] = Bulk11(
            b => b.With("manifest.csv", "oneroster.version,1.1", "oneroster.version,2.0"),
            CsvSeverity.Error,
            "oneroster-version",
            "other than 1.1 and 1.2"
        ),
        ["no version"] = Bulk11(
            b => b.With("manifest.csv", "oneroster.version,1.1\r\n", ""),
            CsvSeverity.Error,
            "oneroster-version",
            "states no oneroster.version"
        ),
        ["unknown manifest version"] = Bulk11(
            b => b.With("manifest.csv", "manifest.version,1.0", "manifest.version,3.0"),
            CsvSeverity.Error,
            "manifest-version",
            "other than 1.0"
        ),
        ["unknown mode"] = Bulk11(
            b => b.With("manifest.csv", "file.courses,bulk", "file.courses,full"),
            CsvSeverity.Error,
            "unknown-mode",
            "file.courses is none of absent, bulk and delta"
        ),
        ["manifest without header"] = Bulk11(
            b => b.With("manifest.csv", "propertyName,value\r\n", ""),
            CsvSeverity.Error,
            "manifest-header",
            "does not begin with the header"
        ),

        // References (bulk is closed).
        ["class of an enrollment"] = Bulk11(
            b => b.With("enrollments.csv", "k1,s1,u1", "k9,s1,u1"),
            CsvSeverity.Error,
            "dangling-reference",
            "enrollments.csv: classSourcedId refers to a row that classes.csv does not have (line 2)"
        ),
        ["person of an enrollment"] = Bulk11(
            b => b.With("enrollments.csv", "u1,student", "u9,student"),
            CsvSeverity.Error,
            "dangling-reference",
            "userSourcedId refers to a row that users.csv"
        ),
        ["school of an enrollment"] = Bulk11(
            b => b.With("enrollments.csv", "k1,s1,u1", "k1,s9,u1"),
            CsvSeverity.Error,
            "dangling-reference",
            "schoolSourcedId"
        ),
        ["org of a user"] = Bulk11(
            b => b.With("users.csv", "\"s1,s2\"", "\"s1,s9\""),
            CsvSeverity.Error,
            "dangling-reference",
            "orgSourcedIds refers to a row that orgs.csv"
        ),
        ["agent of a user"] = Bulk11(
            b => b.With("users.csv", "555-1,u4", "555-1,u8"),
            CsvSeverity.Error,
            "dangling-reference",
            "agentSourcedIds refers to a row that users.csv"
        ),
        ["oneself as agent"] = Bulk11(
            b => b.With("users.csv", "555-1,u4", "555-1,u1"),
            CsvSeverity.Error,
            "self-reference",
            "agentSourcedIds refers to the row itself"
        ),
        ["parent of an org"] = Bulk11(
            b => b.With("orgs.csv", "school,100,d1", "school,100,d9"),
            CsvSeverity.Error,
            "dangling-reference",
            "parentSourcedId refers to a row that orgs.csv"
        ),
        ["parent of a session"] = Bulk11(
            b => b.With("academicSessions.csv", "12-20,y1", "12-20,y9"),
            CsvSeverity.Error,
            "dangling-reference",
            "academicSessions.csv: parentSourcedId"
        ),
        ["course of a class"] = Bulk11(
            b => b.With("classes.csv", "01,c1,HR1", "01,c9,HR1"),
            CsvSeverity.Error,
            "dangling-reference",
            "courseSourcedId"
        ),
        ["term of a class"] = Bulk11(
            b => b.With("classes.csv", "\"y1,t1\"", "\"y1,t9\""),
            CsvSeverity.Error,
            "dangling-reference",
            "termSourcedIds"
        ),
        ["person of demographics"] = Bulk11(
            b => b.Append("demographics.csv", "u9,,,2018-03-04,female,,,,,,,,,,,"),
            CsvSeverity.Error,
            "dangling-reference",
            "demographics.csv: sourcedId refers to a row that users.csv"
        ),
        ["person of a role"] = Bulk12(
            b => b.Append("roles.csv", "r9,,,u9,primary,student,,,s1,"),
            CsvSeverity.Error,
            "dangling-reference",
            "roles.csv: userSourcedId"
        ),
        ["org of a role"] = Bulk12(
            b => b.With("roles.csv", ",,s2,", ",,s9,"),
            CsvSeverity.Error,
            "dangling-reference",
            "roles.csv: orgSourcedId"
        ),
        ["profile of a role"] = Bulk12(
            b => b.With("roles.csv", "s1,p1", "s1,p9"),
            CsvSeverity.Error,
            "dangling-reference",
            "userProfileSourcedId"
        ),
        ["primary org of a user"] = Bulk12(
            b => b.With("users.csv", ",s1,she", ",s9,she"),
            CsvSeverity.Error,
            "dangling-reference",
            "primaryOrgSourcedId"
        ),
        ["bulk enrollments without classes"] = Bulk11(
            b => b.Without("classes.csv").With("manifest.csv", "file.classes,bulk", "file.classes,absent"),
            CsvSeverity.Error,
            "missing-companion",
            "enrollments.csv: is bulk and needs classes.csv"
        ),

        // What cannot be trusted is refused whole.
        ["unclosed quote"] = Bulk11(
            b => b.With("users.csv", ",Amy,", ",\"Amy,"),
            CsvSeverity.Refusal,
            "broken-quoting",
            "users.csv: text follows the closing quotation mark"
        ),
        ["unclosed quote at the end"] = Bulk11(
            b => b.With("users.csv", "dan@example.org", "\"dan@example.org"),
            CsvSeverity.Refusal,
            "unclosed-quote",
            "a quotation mark is not closed, or the end is missing (line 5)"
        ),
        ["quote inside a field"] = Bulk11(
            b => b.With("users.csv", ",Amy,", ",A\"my,"),
            CsvSeverity.Refusal,
            "broken-quoting",
            "inside a field that does not begin with one (line 2)"
        ),
        ["short row"] = Bulk11(
            b => b.With("users.csv", "dan@example.org,,555-2,u1,,\r\n", "dan@exa"),
            CsvSeverity.Refusal,
            "short-row",
            "users.csv: a row has 13 fields where the header has 18 (line 5)"
        ),
        ["long row"] = Bulk11(
            b => b.With("users.csv", ",Ben,Baker", ",Ben,Ba,ker"),
            CsvSeverity.Refusal,
            "long-row",
            "a row has 19 fields where the header has 18, and its values have slipped into other columns (line 3)"
        ),
        ["bulk file missing"] = Bulk11(
            b => b.Without("users.csv"),
            CsvSeverity.Refusal,
            "missing-file",
            "users.csv is there, but it is missing"
        ),
        ["delta file missing"] = Delta12(
            b => b.Without("users.csv"),
            CsvSeverity.Refusal,
            "missing-file",
            "users.csv is there, but it is missing"
        ),
        ["empty users file"] = Bulk11(b => b.Put("users.csv", ""), CsvSeverity.Refusal, "empty-file", "users.csv: the file is empty"),
        ["users without rows"] = Bulk11(
            b => b.Put("users.csv", b.Files["users.csv"].Split("\r\n")[0] + "\r\n"),
            CsvSeverity.Refusal,
            "no-rows",
            "users.csv: has a header and no rows: everybody would be gone"
        ),
        ["no sourcedId column"] = Bulk11(
            b => b.With("users.csv", "sourcedId,status", "id,status"),
            CsvSeverity.Refusal,
            "missing-column",
            "users.csv: sourcedId is missing in the header"
        ),
        ["no role column"] = Bulk11(
            b => b.With("users.csv", "role,username", "kind,username"),
            CsvSeverity.Refusal,
            "missing-column",
            "role is missing in the header"
        ),
        ["no header line"] = Bulk11(
            b => b.Put("users.csv", "u1,,,true,s1,student,amy,,Amy,Archer,,,,,,,,\r\n"),
            CsvSeverity.Refusal,
            "no-header",
            "the first line is no header"
        ),
        ["column twice"] = Bulk11(
            b => b.With("users.csv", "sms,phone", "phone,phone"),
            CsvSeverity.Refusal,
            "duplicate-header",
            "phone stands in the header twice"
        ),
        ["1.2 users without roles"] = Bulk12(
            b => b.Without("roles.csv").With("manifest.csv", "file.roles,bulk", "file.roles,absent"),
            CsvSeverity.Refusal,
            "missing-companion",
            "without it nobody has a role"
        ),
        ["1.2 users whole, roles as changes"] = Bulk12(
            b =>
                b.Put("roles.csv", Bundle.Of("1.2", delta: true).Files["roles.csv"])
                    .With("roles.csv", "r4,active,2026-02-03T04:05:06.000Z,u3,primary,teacher,,,s1,\r\n", "")
                    .With("manifest.csv", "file.roles,bulk", "file.roles,delta"),
            CsvSeverity.Refusal,
            "companion-delta",
            "users.csv: is bulk, and roles.csv holds changes alone: which roles its people have now cannot be told"
        ),
        ["1.2 users whole, roles perhaps as changes"] = Bulk12(
            b =>
                b.Put("roles.csv", Bundle.Of("1.2", delta: true).Files["roles.csv"])
                    .With("roles.csv", "r4,active,2026-02-03T04:05:06.000Z,u3,primary,teacher,,,s1,\r\n", "")
                    .With("manifest.csv", "file.roles,bulk\r\n", ""),
            CsvSeverity.Refusal,
            "companion-delta",
            "holds changes alone"
        ),
        ["blanks around a reference"] = Bulk11(
            b => b.With("enrollments.csv", "k1,s1,u1", "k1,s1, u1 "),
            CsvSeverity.Deviation,
            "padded-id",
            "enrollments.csv: userSourcedId has blanks around it, which do not count (line 2)"
        ),
        ["blanks around a key"] = Bulk11(
            b => b.With("users.csv", "\nu2,", "\nu2 ,"),
            CsvSeverity.Deviation,
            "padded-id",
            "users.csv: sourcedId has blanks around it, which do not count (line 3)"
        ),
        ["delta without a status column"] = Delta12(
            b => b.With("orgs.csv", "sourcedId,status", "sourcedId,state"),
            CsvSeverity.Refusal,
            "missing-column",
            "status is missing in the header"
        ),
        ["manifest that contradicts itself"] = Bulk11(
            b => b.Append("manifest.csv", "file.users,delta"),
            CsvSeverity.Refusal,
            "manifest-duplicate",
            "two different things"
        ),
        ["no OneRoster at all"] = Bulk11(
            b =>
            {
                b.Files.Clear();
                return b.Put("books.csv", "title\r\nIt\r\n");
            },
            CsvSeverity.Refusal,
            "no-files",
            "there is no file of OneRoster"
        ),
        ["users.csv alone without a manifest"] = Bulk11(
            b =>
            {
                foreach (var file in b.Files.Keys.Where(f => f != "users.csv").ToList())
                {
                    b.Files.Remove(file);
                }

                return b;
            },
            CsvSeverity.Refusal,
            "missing-file",
            "neither a manifest.csv nor an orgs.csv"
        ),
    };

    public static TheoryData<string> Cases => [.. s_cases.Keys];

    [Theory]
    [MemberData(nameof(Cases))]
    public void Each_fault_is_found_and_said(string name)
    {
        var it = s_cases[name];
        using var folder = new Folder();
        var path = folder.Write("faulty.zip", it.Spoil(Bundle.Of(it.Version, it.Delta)).ToZip());
        using var package = CsvPackage.Read(path, s_now, cancellationToken: TestContext.Current.CancellationToken);
        var report = package.Report;
        var finding = Assert.Single(package.Findings, f => f.Rule == it.Rule && f.ToString().Contains(it.Says, StringComparison.Ordinal));
        Assert.Equal(it.Severity, finding.Severity);
        Assert.Contains(finding.ToString(), report.Comment, StringComparison.Ordinal);

        // One fault is one finding, save where it takes more with it.
        Assert.Equal(it.Severity, package.Findings.Max(f => f.Severity));
        Assert.Equal(it.Severity == CsvSeverity.Deviation ? "Success" : "Fail", report.Status);
        Assert.Equal(it.Severity != CsvSeverity.Refusal, package.IsUsable);
        Assert.Equal(it.Severity == CsvSeverity.Deviation, report.CsvFilesRejected.Count == 0 && report.CsvFilesImported.Count > 0);
        Assert.DoesNotContain("hunter2", report.Comment, StringComparison.Ordinal);
        if (it.Severity == CsvSeverity.Refusal)
        {
            Assert.Empty(report.CsvFilesImported);
        }
    }

    [Theory]
    [InlineData("1.0", false)]
    [InlineData("1.1", false)]
    [InlineData("1.2", false)]
    [InlineData("1.1", true)]
    [InlineData("1.2", true)]
    public void A_package_that_is_right_has_no_findings(string version, bool delta)
    {
        using var folder = new Folder();
        var bundle = Bundle.Of(version, delta);
        var zip = folder.Write("right.zip", bundle.ToZip());
        bundle.ToFolder(Path.Combine(folder.Path, "right"));
        foreach (var path in new[] { zip, Path.Combine(folder.Path, "right") })
        {
            using var package = CsvPackage.Read(path, s_now, cancellationToken: TestContext.Current.CancellationToken);
            Assert.Equal([], package.Findings.Select(f => f.ToString()));
            Assert.Equal("Success", package.Report.Status);
            Assert.Equal(Path.GetFileName(path), package.Report.TestIdentifier);
            Assert.Equal(s_now, package.Report.TestDate);
            Assert.Equal(
                bundle.Files.Keys.Where(f => f != "manifest.csv").Order(StringComparer.Ordinal),
                package.Report.CsvFilesImported.Order(StringComparer.Ordinal)
            );
            Assert.Empty(package.Report.CsvFilesRejected);
            Assert.Equal(!delta, package.HasAllPeople);
        }
    }

    /// <summary>What a file is in the end is what the report says of it.</summary>
    [Fact]
    public void Roles_of_everybody_that_looked_like_changes_are_reported_as_what_they_are_read_as()
    {
        using var folder = new Folder();
        var bundle = Bundle.Of("1.2").Without("manifest.csv").Put("roles.csv", Bundle.Of("1.2", delta: true).Files["roles.csv"]);
        using var package = CsvPackage.Read(
            folder.Write("a.zip", bundle.ToZip()),
            s_now,
            cancellationToken: TestContext.Current.CancellationToken
        );
        Assert.True(package.HasAllPeople);
        Assert.DoesNotContain(package.Findings, f => f.Rule == "mode-unknown");
        var finding = Assert.Single(package.Findings, f => f.File == "roles.csv");
        Assert.Equal(("bulk-with-status", 5), (finding.Rule, finding.Count));
    }

    [Fact]
    public void Commas_behind_a_single_row_are_harmless_unless_values_slipped()
    {
        using var folder = new Folder();
        var bundle = Bundle.Of("1.1").With("users.csv", "dan@example.org,,555-2,u1,,\r\n", "dan@example.org,,555-2,u1,,,\r\n");
        using var package = CsvPackage.Read(
            folder.Write("a.zip", bundle.ToZip()),
            s_now,
            cancellationToken: TestContext.Current.CancellationToken
        );
        Assert.Equal("users.csv: has commas behind the last column (line 5)", Assert.Single(package.Findings).ToString());
    }

    [Fact]
    public void Another_format_is_called_by_its_name()
    {
        using var folder = new Folder();
        var bundle = new Bundle();
        bundle.Put("orgs.csv", "sourcedId,name,type,parentSourcedId\r\n1,Ministry,ministryofeducation,\r\n2,School,school,1\r\n");
        bundle.Put(
            "users.csv",
            "sourcedId,orgSourcedIds,givenName,familyName,username,password,role,grade\r\n3,2,Ora,Klein,ora,x,Student,6\r\n"
        );
        bundle.Put("classes.csv", "sourcedId,orgSourcedId,title\r\n4,2,Math\r\n");
        bundle.Put("enrollments.csv", "classSourcedId,userSourcedId,role\r\n4,3,Student\r\n");
        using var package = CsvPackage.Read(
            folder.Write("sds.zip", bundle.ToZip()),
            s_now,
            cancellationToken: TestContext.Current.CancellationToken
        );
        Assert.False(package.IsUsable);
        Assert.StartsWith("this looks like Microsoft School Data Sync's own CSV", package.Report.Comment, StringComparison.Ordinal);
    }

    [Fact]
    public void A_manifest_alone_says_that_nothing_changed()
    {
        using var folder = new Folder();
        var bundle = Bundle.Of("1.1");
        var manifest = bundle.Files["manifest.csv"].Replace(",bulk", ",absent", StringComparison.Ordinal);
        bundle.Files.Clear();
        var path = folder.Write("nothing.zip", bundle.Put("manifest.csv", manifest).ToZip());
        using var package = CsvPackage.Read(path, s_now, cancellationToken: TestContext.Current.CancellationToken);
        Assert.Empty(package.Findings);
        Assert.Equal("Success", package.Report.Status);
    }

    [Fact]
    public void Many_rows_with_one_fault_are_one_line_with_the_first_few()
    {
        using var folder = new Folder();
        var bundle = Bundle.Of("1.1");
        for (var i = 0; i < 40; i++)
        {
            bundle.Append("enrollments.csv", $"x{i},,,k9,s1,u1,student,,,");
        }

        var path = folder.Write("many.zip", bundle.ToZip());
        using var package = CsvPackage.Read(path, s_now, cancellationToken: TestContext.Current.CancellationToken);
        var finding = Assert.Single(package.Findings);
        Assert.Equal(40, finding.Count);
        Assert.EndsWith("(lines 4, 5, 6, 7, 8 and 35 more)", finding.ToString(), StringComparison.Ordinal);
        Assert.Equal(["enrollments.csv"], package.Report.CsvFilesRejected);
    }
}
