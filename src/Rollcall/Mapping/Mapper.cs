using System.Globalization;
using Rollcall.OneRoster.Model;
using Rollcall.Patrons;

namespace Rollcall.Mapping;

/// <summary>What the roster says of one field.</summary>
public enum MappedState
{
    /// <summary>Not mapped, not sent or unreadable: the patron's value stays.</summary>
    NotSent = 0,

    /// <summary>Sent and blank.</summary>
    Blank = 1,

    /// <summary>Sent.</summary>
    Value = 2,
}

/// <summary>One mapped value.</summary>
public readonly record struct MappedValue(MappedState State, string? Text)
{
    public static readonly MappedValue NotSent = new(MappedState.NotSent, null);
    public static readonly MappedValue Blank = new(MappedState.Blank, null);

    public static MappedValue Of(string text) => new(MappedState.Value, text);
}

/// <summary>What a guardian contributes to a student's record.</summary>
public sealed record Guardian(string SourcedId, string? Given, string? Family, string? Phone, string? Email);

/// <summary>A person's homeroom. Texts are null when the roster leaves them blank.</summary>
public sealed record Homeroom(string ClassId, string? Code, string? Title, string? Location, string? Teacher);

/// <summary>What of the rest of the roster concerns one person.</summary>
public sealed record PersonContext
{
    /// <summary>Birthdate as ISO text.</summary>
    public MappedValue Birthdate { get; init; }

    /// <summary><c>M</c>, <c>F</c>, <c>X</c>.</summary>
    public MappedValue Sex { get; init; }

    /// <summary>The person's own guardians that could be read, sorted by <c>sourcedId</c>.</summary>
    public IReadOnlyList<Guardian> Guardians { get; init; } = [];

    /// <summary>At least one listed agent was found among the users, whatever its role.</summary>
    public bool AgentsReadable { get; init; }

    /// <summary>Null when the person has none.</summary>
    public Homeroom? Homeroom { get; init; }

    /// <summary>Classes and enrollments are shared, so that having no homeroom means something.</summary>
    public bool HomeroomsShared { get; init; }
}

/// <summary>Roster person → patron fields. Pure: no storage, no clock, no I/O.</summary>
public sealed class Mapper(FieldMap map)
{
    private readonly Dictionary<string, string> _grades = GradesOf(map);

    public FieldMap Map { get; } = map;

    /// <summary>True when classes, enrollments and sessions have to be read.</summary>
    public bool NeedsHomerooms => Map.Location != LocationSource.NotMapped;

    /// <summary>The Student # that the roster says; NotSent when unmapped.</summary>
    public MappedValue CommunityId(User user) => Id(Map.CommunityId, user);

    /// <summary>The barcode that the roster says; NotSent when unmapped.</summary>
    public MappedValue Barcode(User user) => Id(Map.Barcode, user);

    /// <summary>False for a field that can have no value for anybody of the group, whatever the roster says: it is not mapped, or not for
    /// this group.</summary>
    public bool CanHave(RoleGroup group, int field) => CanHave(Map, group, field);

    /// <inheritdoc cref="CanHave(RoleGroup, int)"/>
    public static bool CanHave(FieldMap map, RoleGroup group, int field) =>
        field switch
        {
            PatronFields.Barcode => map.Barcode.Source != IdSource.NotMapped,
            PatronFields.CommunityId => map.CommunityId.Source != IdSource.NotMapped,
            PatronFields.AdditionalContact or PatronFields.OtherEmails => group == RoleGroup.Student,
            PatronFields.Location => map.Location != LocationSource.NotMapped,
            PatronFields.Nickname => map.NicknameFromPreferredName,
            _ => true,
        };

    /// <summary>Whether syncs look at the people of a group at all. Of somebody whom no sync has met yet nothing is known: they may.</summary>
    public static bool Reaches(IReadOnlyCollection<RoleGroup> ticked, RoleGroup group) => group == RoleGroup.None || ticked.Contains(group);

    /// <summary>All synced fields in the order of <see cref="FieldMap.SyncedFields"/>.</summary>
    /// <param name="user">The person.</param>
    /// <param name="group">The person's role group: contacts are for students only.</param>
    /// <param name="context">The rest of the roster, as far as it concerns the person.</param>
    /// <param name="values">Receives the values.</param>
    public void Fill(User user, RoleGroup group, PersonContext context, Span<MappedValue> values)
    {
        var fields = FieldMap.SyncedFields;
        for (var i = 0; i < fields.Count; i++)
        {
            values[i] = fields[i] switch
            {
                PatronFields.Barcode => Barcode(user),
                PatronFields.CommunityId => Short(CommunityId(user), 255),
                PatronFields.FirstName => Plain(user.GivenName),
                PatronFields.MiddleName => Plain(user.MiddleName),
                PatronFields.LastName => Plain(user.FamilyName),
                PatronFields.Birthdate => context.Birthdate,
                PatronFields.Sex => context.Sex,
                PatronFields.Phone => Plain(user.Phone),
                PatronFields.Email => Short(Key(user.Email), 320),
                PatronFields.AdditionalContact => group == RoleGroup.Student ? Contacts(user, context) : MappedValue.NotSent,
                PatronFields.OtherEmails => group == RoleGroup.Student ? OtherEmails(user, context) : MappedValue.NotSent,
                PatronFields.Location => Location(context),
                PatronFields.Level => Level(user),
                PatronFields.Nickname => Map.NicknameFromPreferredName ? Plain(user.PreferredFirstName) : MappedValue.NotSent,
                _ => MappedValue.NotSent,
            };
        }
    }

    /// <summary>The org that decides the site, and all orgs in deciding order.</summary>
    /// <param name="user">The person.</param>
    /// <param name="today">Roles that are not current do not count while another one is.</param>
    /// <param name="isMatched">Whether an org is matched to a site.</param>
    /// <param name="orgs">Receives the person's orgs, the deciding one first; emptied before.</param>
    public void Orgs(User user, DateOnly today, Func<string, bool> isMatched, List<string> orgs)
    {
        orgs.Clear();
        var anyCurrent = false;
        foreach (var role in user.Roles)
        {
            anyCurrent |= IsOwn(role) && RoleGroups.IsCurrent(role, today);
        }

        foreach (var role in user.Roles)
        {
            if (role.Org is { } org && Counts(role) && !orgs.Contains(org))
            {
                orgs.Add(org);
            }
        }

        if (user.HasRoleList)
        {
            // The order of a 1.2 list means nothing and changes between pulls.
            orgs.Sort(string.CompareOrdinal);
            string? primary = null;
            foreach (var role in user.Roles)
            {
                if (role is { Primary: true, Org: { } org } && Counts(role) && (primary is null || string.CompareOrdinal(org, primary) < 0))
                {
                    primary = org;
                }
            }

            First(orgs, primary);
            First(orgs, Text.Clean(user.PrimaryOrg) is null ? null : user.PrimaryOrg);
        }

        if (Map.SiteFrom == SiteFrom.PrimaryOrg)
        {
            First(orgs, Text.Clean(user.MetadataPrimaryOrg) is null ? user.PrimaryOrg : user.MetadataPrimaryOrg);
        }
        else if (Map.SiteFrom == SiteFrom.FirstMatched)
        {
            var matched = orgs.Find(o => isMatched(o));
            First(orgs, matched);
        }

        bool Counts(UserRole role) => IsOwn(role) && (!anyCurrent || RoleGroups.IsCurrent(role, today));

        // A teacher who is a parent at another school belongs to the one where they teach.
        static bool IsOwn(UserRole role) => !RoleGroups.IsGuardian(role.Role);
    }

    /// <summary>Whether somebody may be at other schools than those that could be read: nothing follows from none of these being matched.</summary>
    public static bool MayBeElsewhere(User user, DateOnly today)
    {
        if (user.OrgsPartial)
        {
            return true;
        }

        foreach (var role in user.Roles)
        {
            if (
                Text.Clean(user.PrimaryOrg) is null
                && role.Org is null
                && !RoleGroups.IsGuardian(role.Role)
                && RoleGroups.IsCurrent(role, today)
            )
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Whether an entry that could not be read may have named the school that decides.</summary>
    public bool MayBePlacedElsewhere(User user) =>
        user.OrgsPartial
        && !(Map.SiteFrom != SiteFrom.FirstMatched && user.HasRoleList && Text.Clean(user.PrimaryOrg) is not null)
        && !(Map.SiteFrom == SiteFrom.PrimaryOrg && (Text.Clean(user.MetadataPrimaryOrg) ?? Text.Clean(user.PrimaryOrg)) is not null);

    private static void First(List<string> orgs, string? org)
    {
        if (org is null)
        {
            return;
        }

        orgs.Remove(org);
        orgs.Insert(0, org);
    }

    private static MappedValue Id(IdMapping mapping, User user)
    {
        switch (mapping.Source)
        {
            case IdSource.UserIdType:
                if (user.UserIds is null)
                {
                    return MappedValue.NotSent;
                }

                foreach (var id in user.UserIds)
                {
                    if (
                        string.Equals(id.Type, mapping.Type, StringComparison.OrdinalIgnoreCase)
                        && Text.CleanKey(id.Identifier) is { } value
                    )
                    {
                        return MappedValue.Of(value);
                    }
                }

                return MappedValue.Blank;
            case IdSource.Identifier:
                return Key(user.Identifier);
            case IdSource.Username:
                return Key(user.Username);
            default:
                return MappedValue.NotSent;
        }
    }

    private static MappedValue Plain(string? sent) => Sent(sent, Text.Clean(sent));

    private static MappedValue Key(string? sent) => Sent(sent, Text.CleanKey(sent));

    private static MappedValue Sent(string? sent, string? clean) =>
        sent is null ? MappedValue.NotSent
        : clean is null ? MappedValue.Blank
        : MappedValue.Of(Text.Cut(clean, 255));

    private static MappedValue Short(MappedValue value, int length) =>
        value.Text is { } text && text.Length > length ? MappedValue.Of(Text.Cut(text, length)) : value;

    private static Dictionary<string, string> GradesOf(FieldMap map)
    {
        var grades = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (from, to) in map.Grades)
        {
            grades[Text.Clean(from)?.ToLowerInvariant() ?? ""] = to;
        }

        return grades;
    }

    private MappedValue Level(User user)
    {
        if (user.Grades is null)
        {
            return MappedValue.NotSent;
        }

        if (user.Grades.Select(Text.Clean).FirstOrDefault(g => g is not null) is not { } grade)
        {
            return MappedValue.Blank;
        }

        return MappedValue.Of(
            _grades.Count > 0 && _grades.TryGetValue(grade.ToLowerInvariant(), out var translated) ? translated : Text.Cut(grade, 255)
        );
    }

    private static MappedValue Contacts(User user, PersonContext context)
    {
        if (Unreadable(user, context))
        {
            return MappedValue.NotSent;
        }

        List<string>? parts = null;
        foreach (var guardian in context.Guardians)
        {
            var part = string.Join(
                ' ',
                new[] { Text.Clean(guardian.Given), Text.Clean(guardian.Family), Text.Clean(guardian.Phone) }.Where(p => p is not null)
            );
            if (part.Length > 0)
            {
                (parts ??= []).Add(part);
            }
        }

        return parts is null ? MappedValue.Blank : MappedValue.Of(Text.Cut(string.Join("; ", parts), 2000));
    }

    private static MappedValue OtherEmails(User user, PersonContext context)
    {
        if (Unreadable(user, context))
        {
            return MappedValue.NotSent;
        }

        List<string>? parts = null;
        foreach (var guardian in context.Guardians)
        {
            if (Text.Clean(guardian.Email) is { } email && parts?.Contains(email, StringComparer.OrdinalIgnoreCase) != true)
            {
                (parts ??= []).Add(email);
            }
        }

        return parts is null ? MappedValue.Blank : MappedValue.Of(Text.Cut(string.Join("; ", parts), 2000));
    }

    // Agents that are listed while none of them came along were not shared: that is no reason to clear a contact.
    private static bool Unreadable(User user, PersonContext context) =>
        user.Agents is null || (user.Agents.Count > 0 && !context.AgentsReadable);

    private MappedValue Location(PersonContext context)
    {
        if (Map.Location == LocationSource.NotMapped || !context.HomeroomsShared)
        {
            return MappedValue.NotSent;
        }

        return LocationOf(context.Homeroom) is { } text ? MappedValue.Of(text) : MappedValue.Blank;
    }

    /// <summary>What Location is for people of a homeroom; null when it is blank.</summary>
    public string? LocationOf(Homeroom? homeroom)
    {
        var text = Map.Location switch
        {
            LocationSource.ClassCode => homeroom?.Code,
            LocationSource.ClassTitle => homeroom?.Title,
            LocationSource.ClassLocation => homeroom?.Location,
            _ => homeroom?.Teacher,
        };
        return Text.Clean(text) is { } clean ? Text.Cut(clean, 255) : null;
    }

    /// <summary>The library's letter for a roster sex; NotSent when the word is unknown.</summary>
    public static MappedValue Sex(string? sent) =>
        sent is null
            ? MappedValue.NotSent
            : Text.Clean(sent)?.ToLowerInvariant() switch
            {
                null or "unspecified" => MappedValue.Blank,
                "male" or "m" => MappedValue.Of("M"),
                "female" or "f" => MappedValue.Of("F"),
                "other" or "x" => MappedValue.Of("X"),
                _ => MappedValue.NotSent,
            };

    /// <summary>A birthdate as the patron record holds it.</summary>
    public static MappedValue Birthdate(DateOnly? date, bool blank) =>
        date is { } value ? MappedValue.Of(value.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture))
        : blank ? MappedValue.Blank
        : MappedValue.NotSent;
}
