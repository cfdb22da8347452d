using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using Rollcall.Sandbox.District;

namespace Rollcall.Sandbox.Serving;

/// <summary>
/// Records as JSON in the habits of ClassLink: booleans as strings, absent text empty, references with addresses of another
/// host.
/// </summary>
internal sealed class RowWriter(World world)
{
    private const string Host = "https://riverbend-xx-v2.rosterserver.com/ims/oneroster/v1p1/";

    public static readonly JsonWriterOptions Json = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, SkipValidation = true };

    private readonly bool _roles = world.Options.Api == SandboxApi.OneRoster12;

    public void Write(Utf8JsonWriter json, Row row, ulong fields)
    {
        json.WriteStartObject();
        var o = new Out(json, fields);
        switch (row.Kind)
        {
            case RowKind.User:
                User(o, row.Person, row.Stale);
                break;
            case RowKind.Demographics:
                Demographics(o, row.Person);
                break;
            case RowKind.Class:
                Class(o, row.Class);
                break;
            case RowKind.Thing:
                Thing(o, row, fields);
                break;
            default:
                Enrollment(o, row);
                break;
        }

        json.WriteEndObject();
    }

    private void Thing(Out o, Row row, ulong fields)
    {
        switch (row.Thing)
        {
            case Course course:
                Course(o, course);
                break;
            case Session session:
                Session(o, session);
                break;
            case SandboxOrg org:
                Org(o, org);
                break;
            default:
                Raw(o.Json, row, fields);
                break;
        }
    }

    private void User(Out o, Person p, bool stale)
    {
        o.Text(Fields.SourcedId, p.Id);
        o.Text(Fields.Status, world.Status(p));
        o.Time(Fields.DateLastModified, stale ? world.TimeOf(p.Modified - 40, p.Number) : world.TimeOf(p.Modified, p.Number));
        if (world.Options.PrimaryOrgMetadata && p.School >= 0 && o.Begin(Fields.Metadata))
        {
            o.Json.WriteStartObject();
            o.Json.WriteString("primaryOrg"u8, world.OrgId(p.School));
            o.Json.WriteEndObject();
        }

        o.Text(Fields.Username, World.Username(p));
        if (o.Begin(Fields.UserIds))
        {
            var (state, local, barcode) = world.Ids(p);
            o.Json.WriteStartArray();
            UserId(o.Json, "StateID"u8, state);
            UserId(o.Json, "LocalID"u8, local);
            UserId(o.Json, "Barcode"u8, barcode);
            o.Json.WriteEndArray();
        }

        o.Flag(Fields.EnabledUser, world.Enabled(p));
        o.Text(Fields.GivenName, stale ? "Outdated" : p.Given.Text);
        o.Text(Fields.FamilyName, p.Family.Text);
        o.Text(Fields.MiddleName, p.Middle?.Text ?? "");
        if (!_roles)
        {
            o.Text(Fields.Role, RoleName(p));
        }
        else
        {
            Roles(o, p);
        }

        o.Text(Fields.Identifier, world.Identifier(p));
        o.Text(Fields.Email, World.Email(p));
        o.Text(Fields.Sms, "");
        o.Text(Fields.Phone, world.Phone(p));
        if (o.Begin(Fields.Agents))
        {
            o.Json.WriteStartArray();
            foreach (var other in p.Relatives)
            {
                if (World.IsServed(other))
                {
                    Reference(o.Json, "users", "user"u8, other.Id);
                }
            }

            o.Json.WriteEndArray();
        }

        if (!_roles && o.Begin(Fields.Orgs))
        {
            var (first, second) = world.Orgs(p);
            o.Json.WriteStartArray();
            Reference(o.Json, "orgs", "org"u8, world.OrgId(first));
            if (second >= 0)
            {
                Reference(o.Json, "orgs", "org"u8, world.OrgId(second));
            }

            o.Json.WriteEndArray();
        }

        if (o.Begin(Fields.Grades))
        {
            One(o.Json, world.Grade(p));
        }

        o.Text(Fields.Password, "");
    }

    private void Roles(Out o, Person p)
    {
        if (o.Begin(Fields.Roles))
        {
            var (first, second) = world.Orgs(p);
            o.Json.WriteStartArray();
            Role(first);
            if (second >= 0)
            {
                Role(second);
            }

            o.Json.WriteEndArray();

            void Role(int school)
            {
                o.Json.WriteStartObject();
                o.Json.WriteString("roleType"u8, school == p.School ? "primary"u8 : "secondary"u8);
                o.Json.WriteString("role"u8, RoleName12(p));
                o.Json.WritePropertyName("org"u8);
                Reference(o.Json, "orgs", "org"u8, world.OrgId(school));
                if (world.Options.RoleDates)
                {
                    o.Json.WriteString(
                        "beginDate"u8,
                        new DateOnly(world.YearStart, 8, 15).ToString("yyyy-MM-dd", CultureInfo.InvariantCulture)
                    );
                    o.Json.WriteString("endDate"u8, world.YearEnd.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture));
                }

                o.Json.WriteEndObject();
            }
        }

        // Not everybody has one: a reader falls back to the primary role.
        if (world.Hash(p.Number, 30) % 3 != 0 && o.Begin(Fields.PrimaryOrg))
        {
            Reference(o.Json, "orgs", "org"u8, world.OrgId(p.School));
        }
    }

    private void Demographics(Out o, Person p)
    {
        o.Text(Fields.SourcedId, p.Id);
        o.Text(Fields.Status, world.Status(p));
        o.Time(Fields.DateLastModified, world.TimeOf(p.DemographicsModified, p.Number));
        o.Text(Fields.BirthDate, world.BirthDate(p)?.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture) ?? "");
        o.Text(Fields.Sex, world.Sex(p));
        var race = (int)(world.Hash(p.Number, 31) % (ulong)Fields.Races.Length);
        for (var i = 0; i < Fields.Races.Length; i++)
        {
            o.Flag(Fields.Races[i], i == race);
        }

        foreach (var field in Fields.Origins)
        {
            o.Text(field, "");
        }
    }

    private void Enrollment(Out o, Row row)
    {
        var (p, klass) = (row.Person, row.Class);
        var student = row.Kind is RowKind.Seat or RowKind.FormerSeat;
        o.Text(Fields.SourcedId, row.Id);
        o.Text(Fields.Status, row.Kind == RowKind.FormerSeat ? "tobedeleted" : "active");
        o.Time(Fields.DateLastModified, EnrollmentTime(row));
        o.Text(Fields.Role, student ? "student" : "teacher");
        o.Text(Fields.Primary, row.Kind == RowKind.Teacher ? "true" : "false");
        o.Refer(Fields.User, "users", "user"u8, p.Id);
        o.Refer(Fields.Class, "classes", "class"u8, klass.Id);
        o.Refer(Fields.School, "orgs", "org"u8, klass.School.Id);
        var years = klass.Kind == KlassKind.LastYear ? -1 : 0;
        o.Text(Fields.BeginDate, new DateOnly(world.YearStart + years, 8, 15).ToString("yyyy-MM-dd", CultureInfo.InvariantCulture));
        o.Text(
            Fields.EndDate,
            (years < 0 ? new DateOnly(world.YearStart, 6, 5) : world.YearEnd).ToString("yyyy-MM-dd", CultureInfo.InvariantCulture)
        );
    }

    public DateTime EnrollmentTime(Row row)
    {
        var (p, klass) = (row.Person, row.Class);
        return world.TimeOf(
            row.Kind is RowKind.Teacher or RowKind.SecondTeacher ? Math.Max(klass.TeacherSince, p.EnrolledOn)
                : klass.Kind == KlassKind.Scheduled ? p.EnrolledOn
                : row.Kind == RowKind.FormerSeat || klass == p.Room ? p.RoomSince
                : p.OtherRoomsSince,
            p.Number
        );
    }

    private void Class(Out o, Klass c)
    {
        o.Text(Fields.SourcedId, c.Id);
        o.Text(Fields.Status, "active");
        o.Time(Fields.DateLastModified, world.TimeOf(c.Modified, -c.Number));
        o.Text(Fields.Title, c.Title);
        o.Text(Fields.ClassCode, c.Code);
        o.Text(Fields.ClassType, c.Kind == KlassKind.Scheduled ? "scheduled" : "homeroom");
        o.Text(Fields.Location, c.Location);
        if (o.Begin(Fields.Grades))
        {
            One(o.Json, World.Grades[c.Grade]);
        }

        if (o.Begin(Fields.Subjects))
        {
            One(o.Json, c.Subject < 0 ? "" : World.Subjects[c.Subject]);
        }

        o.Refer(
            Fields.Course,
            "courses",
            "course"u8,
            c.Subject < 0 ? $"{c.School.Id}_HR" : $"{c.School.Id}_{World.SubjectCodes[c.Subject]}{World.Grades[c.Grade]}"
        );
        o.Refer(Fields.School, "orgs", "org"u8, c.School.Id);
        if (o.Begin(Fields.Terms))
        {
            o.Json.WriteStartArray();
            Reference(o.Json, "academicSessions", "academicSession"u8, TermOf(c));
            o.Json.WriteEndArray();
        }

        if (o.Begin(Fields.SubjectCodes))
        {
            One(o.Json, c.Subject < 0 ? "" : World.SubjectCodes[c.Subject]);
        }

        o.Empty(Fields.Periods);
        o.Empty(Fields.Resources);
    }

    public string TermOf(Klass c) =>
        c.Kind switch
        {
            KlassKind.LastYear => $"LY{world.YearStart}",
            KlassKind.Homeroom => "FY",
            _ => c.Number % 3 == 0 ? "S2" : "FY",
        };

    private void Course(Out o, Course c)
    {
        o.Text(Fields.SourcedId, c.Id);
        o.Text(Fields.Status, "active");
        o.Time(Fields.DateLastModified, world.TimeOf(-60, c.School.Index));
        o.Text(Fields.Title, c.Title);
        o.Refer(Fields.SchoolYear, "academicSessions", "academicSession"u8, $"SY{world.YearStart + 1}");
        o.Text(Fields.CourseCode, c.Code);
        if (o.Begin(Fields.Grades))
        {
            One(o.Json, c.Grade ?? "");
        }

        if (o.Begin(Fields.Subjects))
        {
            One(o.Json, c.Subject);
        }

        o.Refer(Fields.Org, "orgs", "org"u8, c.School.Id);
        o.Empty(Fields.SubjectCodes);
        o.Empty(Fields.Resources);
    }

    private void Session(Out o, Session s)
    {
        o.Text(Fields.SourcedId, s.Id);
        o.Text(Fields.Status, "active");
        o.Time(Fields.DateLastModified, world.TimeOf(-90, 0));
        o.Text(Fields.Title, s.Title);
        o.Text(Fields.Type, s.Type);
        o.Text(Fields.StartDate, s.Start.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture));
        o.Text(Fields.EndDate, s.End.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture));
        if (s.Parent is not null)
        {
            o.Refer(Fields.Parent, "academicSessions", "academicSession"u8, s.Parent);
        }

        if (o.Begin(Fields.Children))
        {
            o.Json.WriteStartArray();
            foreach (var child in s.Children)
            {
                Reference(o.Json, "academicSessions", "academicSession"u8, child);
            }

            o.Json.WriteEndArray();
        }

        o.Text(Fields.SchoolYear, s.SchoolYear.ToString(CultureInfo.InvariantCulture));
    }

    private void Org(Out o, SandboxOrg org)
    {
        var top = org.SourcedId == World.DistrictOrg;
        o.Text(Fields.SourcedId, org.SourcedId);
        o.Text(Fields.Status, "active");
        o.Time(Fields.DateLastModified, world.TimeOf(-120, 0));
        o.Text(Fields.Name, org.Name);
        o.Text(Fields.Type, org.Type);
        o.Text(Fields.Identifier, org.Identifier);
        if (!top)
        {
            o.Refer(Fields.Parent, "orgs", "org"u8, World.DistrictOrg);
        }

        if (o.Begin(Fields.Children))
        {
            o.Json.WriteStartArray();
            foreach (var school in top ? world.Schools : [])
            {
                Reference(o.Json, "orgs", "org"u8, school.Id);
            }

            o.Json.WriteEndArray();
        }
    }

    private static void Raw(Utf8JsonWriter json, Row row, ulong fields)
    {
        foreach (var (name, value) in row.Json!)
        {
            if (fields == Fields.All || Wanted(name, fields))
            {
                json.WritePropertyName(name);
                if (value is null)
                {
                    json.WriteNullValue();
                }
                else
                {
                    value.WriteTo(json);
                }
            }
        }
    }

    private static bool Wanted(string name, ulong fields) => Fields.BitOf(name) is var bit && (bit & fields) != 0;

    private static void UserId(Utf8JsonWriter json, ReadOnlySpan<byte> type, string? identifier)
    {
        if (identifier is not null)
        {
            json.WriteStartObject();
            json.WriteString("type"u8, type);
            json.WriteString("identifier"u8, identifier);
            json.WriteEndObject();
        }
    }

    private static void One(Utf8JsonWriter json, string item)
    {
        json.WriteStartArray();
        if (item.Length > 0)
        {
            json.WriteStringValue(item);
        }

        json.WriteEndArray();
    }

    private static void Reference(Utf8JsonWriter json, string collection, ReadOnlySpan<byte> type, string id)
    {
        json.WriteStartObject();
        json.WriteString("href"u8, string.Concat(Host, collection, "/", Uri.EscapeDataString(id)));
        json.WriteString("sourcedId"u8, id);
        json.WriteString("type"u8, type);
        json.WriteEndObject();
    }

    private static string RoleName(Person p) =>
        p.Role switch
        {
            Role.Student => "student",
            Role.Teacher => "teacher",
            Role.Administrator => "administrator",
            Role.Aide => "aide",
            Role.Parent => "parent",
            Role.Guardian => "guardian",
            _ => "relative",
        };

    private static string RoleName12(Person p) =>
        p.Role != Role.Administrator ? RoleName(p)
        : p.School < 0 ? "districtAdministrator"
        : (p.Number % 3) switch
        {
            0 => "principal",
            1 => "siteAdministrator",
            _ => "systemAdministrator",
        };

    /// <summary>Writes those properties that the request asked for.</summary>
    private readonly struct Out(Utf8JsonWriter json, ulong fields)
    {
        public Utf8JsonWriter Json => json;

        public bool Begin(Field field)
        {
            if ((fields & field.Bit) == 0)
            {
                return false;
            }

            json.WritePropertyName(field.Json);
            return true;
        }

        public void Text(Field field, string text)
        {
            if ((fields & field.Bit) != 0)
            {
                json.WriteString(field.Json, text);
            }
        }

        public void Flag(Field field, bool value)
        {
            if ((fields & field.Bit) != 0)
            {
                json.WriteString(field.Json, value ? "true"u8 : "false"u8);
            }
        }

        public void Time(Field field, DateTime time)
        {
            if ((fields & field.Bit) != 0)
            {
                Span<byte> text = stackalloc byte[24];
                time.TryFormat(text, out var length, "yyyy-MM-ddTHH:mm:ss.fffZ", CultureInfo.InvariantCulture);
                json.WriteString(field.Json, text[..length]);
            }
        }

        public void Empty(Field field)
        {
            if (Begin(field))
            {
                json.WriteStartArray();
                json.WriteEndArray();
            }
        }

        public void Refer(Field field, string collection, ReadOnlySpan<byte> type, string id)
        {
            if (Begin(field))
            {
                Reference(json, collection, type, id);
            }
        }
    }
}
