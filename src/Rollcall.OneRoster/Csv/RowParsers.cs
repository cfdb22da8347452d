using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.Csv;

/// <summary>What all rows have in common. A column that the file does not have is <see langword="null"/>, not blank.</summary>
internal abstract class Rows(CsvTable table)
{
    private const int PoolBits = 11;
    private const int LongestPooled = 64;
    private readonly int id = table.Column("sourcedId");
    private readonly int status = table.Column("status");
    private readonly int time = table.Column("dateLastModified");
    private readonly string?[] pool = new string?[1 << PoolBits];

    protected CsvTable Table => table;

    protected string? Id => table.Key(id) is var key && Blank.Is(key) ? null : key.ToString();

    /// <summary>What bulk files leave blank is active.</summary>
    protected RecordStatus Status => Words.Status(table.Value(status)) ?? RecordStatus.Active;

    protected DateTimeOffset? Time => CsvValue.TryTime(table.Value(time), out var value, out _) ? value : null;

    protected string? Text(int column) => column < 0 ? null : table.Value(column).ToString();

    /// <summary>A text that comes again and again, so that one string serves all.</summary>
    protected string? Pooled(int column) => column < 0 ? null : Pooled(table.Value(column));

    protected string Pooled(ReadOnlySpan<char> text)
    {
        if (text.IsEmpty || text.Length > LongestPooled)
        {
            return text.ToString();
        }

        ref var slot = ref pool[(int)(IdSet.Hash(text) >> (64 - PoolBits))];
        return slot is not null && text.SequenceEqual(slot) ? slot : slot = text.ToString();
    }

    protected string? Reference(int column)
    {
        var value = table.Key(column);
        return Blank.Is(value) ? null : Pooled(value);
    }

    protected DateOnly? Day(int column) => CsvValue.TryDay(table.Value(column), out var day, out _) ? day : null;

    protected bool? Boolean(int column) => CsvValue.Boolean(table.Value(column));

    /// <summary>A list joined by commas, without its blank places; of blank places alone it says as little as none.</summary>
    protected IReadOnlyList<string>? List(int column)
    {
        if (column < 0)
        {
            return null;
        }

        var value = table.Value(column);
        if (Blank.Is(value))
        {
            return [];
        }

        if (!value.Contains(','))
        {
            return [Pooled(value.Trim())];
        }

        var found = new List<string>(2);
        foreach (var range in value.Split(','))
        {
            var one = value[range].Trim();
            if (!Blank.Is(one))
            {
                found.Add(Pooled(one));
            }
        }

        return found.Count == 0 ? null : found;
    }
}

internal sealed class OrgRows(CsvTable table) : Rows(table)
{
    private readonly int name = table.Column("name");
    private readonly int type = table.Column("type");
    private readonly int identifier = table.Column("identifier");
    private readonly int parent = table.Column("parentSourcedId");

    public Org Read() =>
        new()
        {
            SourcedId = Id,
            Status = Status,
            LastModified = Time,
            Name = Text(name),
            Type = Pooled(type),
            Identifier = Text(identifier),
            Parent = Reference(parent),
        };
}

internal sealed class SessionRows(CsvTable table) : Rows(table)
{
    private readonly int title = table.Column("title");
    private readonly int type = table.Column("type");
    private readonly int start = table.Column("startDate");
    private readonly int end = table.Column("endDate");

    public AcademicSession Read() =>
        new()
        {
            SourcedId = Id,
            Status = Status,
            LastModified = Time,
            Title = Text(title),
            Type = Pooled(type),
            Start = Day(start),
            End = Day(end),
        };
}

internal sealed class ClassRows(CsvTable table) : Rows(table)
{
    private readonly int title = table.Column("title");
    private readonly int code = table.Column("classCode");
    private readonly int type = table.Column("classType");
    private readonly int location = table.Column("location");
    private readonly int school = table.Column("schoolSourcedId");
    private readonly int terms = table.Column("termSourcedIds");

    public Class Read() =>
        new()
        {
            SourcedId = Id,
            Status = Status,
            LastModified = Time,
            Title = Text(title),
            ClassCode = Text(code),
            ClassType = Pooled(type),
            Location = Pooled(location),
            School = Reference(school),
            Terms = List(terms),
        };
}

internal sealed class EnrollmentRows(CsvTable table) : Rows(table)
{
    private readonly int user = table.Column("userSourcedId");
    private readonly int inClass = table.Column("classSourcedId");
    private readonly int role = table.Column("role");
    private readonly int primary = table.Column("primary");
    private readonly int begin = table.Column("beginDate");
    private readonly int end = table.Column("endDate");

    public Enrollment Read() =>
        new()
        {
            SourcedId = Id,
            Status = Status,
            LastModified = Time,
            User = Reference(user),
            Class = Reference(inClass),
            Role = Pooled(role),
            Primary = Boolean(primary) ?? false,
            Begin = Day(begin),
            End = Day(end),
        };
}

internal sealed class DemographicsRows(CsvTable table) : Rows(table)
{
    private readonly int birth = table.Column("birthDate");
    private readonly int sex = table.Column("sex");

    /// <summary>What is no sex that OneRoster knows is not sent.</summary>
    public Demographics Read()
    {
        var value = Table.Value(sex).Trim();
        return new Demographics
        {
            SourcedId = Id,
            Status = Status,
            LastModified = Time,
            BirthDate = Day(birth),
            BirthDateBlank = birth >= 0 && Blank.Is(Table.Value(birth)),
            Sex =
                sex < 0 ? null
                : Blank.Is(value) ? ""
                : Words.Sex(value),
        };
    }
}

/// <summary>Users of all versions. Passwords, credentials, demographic columns and everything not named here never become strings.</summary>
/// <param name="table">The file.</param>
/// <param name="roles">The roles of 1.2; null where a user row says its own.</param>
/// <param name="ended">All roles are at hand, so that somebody with deleted ones alone has none any more.</param>
/// <param name="own">The file is of 1.1, and roles of 1.2 came after it: of whom those say nothing, the row says its own.</param>
internal sealed class UserRows(CsvTable table, RoleIndex? roles, bool ended, bool own = false) : Rows(table)
{
    private readonly int enabled = table.Column("enabledUser");
    private readonly int orgs = table.Column("orgSourcedIds");
    private readonly int role = table.Column("role");
    private readonly int username = table.Column("username");
    private readonly int userIds = table.Column("userIds");
    private readonly int given = table.Column("givenName");
    private readonly int family = table.Column("familyName");
    private readonly int middle = table.Column("middleName");
    private readonly int preferred = table.Column("preferredGivenName");
    private readonly int identifier = table.Column("identifier");
    private readonly int email = table.Column("email");
    private readonly int phone = table.Column("phone");
    private readonly int agents = table.Column("agentSourcedIds");
    private readonly int grades = table.Column("grades");
    private readonly int primaryOrg = table.Column("primaryOrgSourcedId");
    private readonly int metadataPrimaryOrg = table.Column("metadata.primaryOrg");

    public User Read()
    {
        var named = roles?.Of(Table.Key(Table.Column("sourcedId")), ended);
        var listed = named is not null && (named.Length > 0 || !own);
        return new()
        {
            SourcedId = Id,
            Status = Status,
            LastModified = Time,
            Enabled = Boolean(enabled) ?? true,
            GivenName = Text(given),
            FamilyName = Text(family),
            MiddleName = Text(middle),
            PreferredFirstName = Text(preferred),
            Username = Text(username),
            Identifier = Text(identifier),
            Email = Text(email),
            Phone = Text(phone),
            UserIds = Ids(),
            Grades = List(grades),
            Roles = listed ? named! : OwnRoles(),
            HasRoleList = listed,
            PrimaryOrg = Reference(primaryOrg),
            MetadataPrimaryOrg = Reference(metadataPrimaryOrg),
            Agents = List(agents),
        };
    }

    private IReadOnlyList<UserId>? Ids()
    {
        if (userIds < 0)
        {
            return null;
        }

        var value = Table.Value(userIds).Trim();
        if (value.IsEmpty)
        {
            return [];
        }

        // 1.0 has one id without a kind.
        return value[0] == '{' ? CsvValue.UserIds(value, out _)
            : Table.Headers[userIds].Equals("userId", StringComparison.OrdinalIgnoreCase) ? [new UserId("userId", value.ToString())]
            : [];
    }

    private IReadOnlyList<UserRole> OwnRoles()
    {
        var name = Blank.Trim(Table.Value(role));
        if (Blank.Is(name))
        {
            return [];
        }

        var kind = Pooled(name);
        return List(orgs) is { Count: > 0 } places
            ? [.. places.Select((org, i) => new UserRole(kind, org, i == 0, null, null))]
            : [new UserRole(kind, null, true, null, null)];
    }
}
