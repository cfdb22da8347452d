using System.Runtime.InteropServices;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.Probe;

/// <summary>How often each value stands in a field. Only fields whose values many records share are counted; a value beyond the
/// hundredth is counted without its name, since such a field may hold what is a person's own.</summary>
public sealed class ValueCounts
{
    private const int MostValues = 100;
    private const int LongestValue = 40;
    private readonly Dictionary<string, long> counts = new(StringComparer.Ordinal);

    /// <summary>Values and counts, the most frequent first. A blank value is <c>(blank)</c>.</summary>
    public IReadOnlyList<KeyValuePair<string, long>> Values =>
        [.. counts.OrderByDescending(c => c.Value).ThenBy(c => c.Key, StringComparer.Ordinal)];

    /// <summary>How often a value came that is not named.</summary>
    public long Others { get; private set; }

    internal void Add(string? value)
    {
        var text = value?.Trim() ?? "";
        text =
            text.Length == 0 ? "(blank)"
            : text.Length > LongestValue ? text[..LongestValue] + "…"
            : text;
        if (counts.Count < MostValues || counts.ContainsKey(text))
        {
            CollectionsMarshal.GetValueRefOrAddDefault(counts, text, out _)++;
        }
        else
        {
            Others++;
        }
    }

    internal long this[string value] => counts.GetValueOrDefault(value);
}

/// <summary>How many people lack a field.</summary>
/// <param name="NotSent">The field was not sent.</param>
/// <param name="Blank">It was sent and is blank.</param>
public sealed record Lacking(long NotSent, long Blank);

/// <summary>What a roster's records hold, counted without keeping them.</summary>
public sealed class RosterCensus
{
    private static readonly HashSet<string> KnownRoles = new(StringComparer.OrdinalIgnoreCase)
    {
        "administrator",
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
    };

    private static readonly HashSet<string> Guardians = new(StringComparer.OrdinalIgnoreCase) { "guardian", "parent", "relative" };

    private readonly Dictionary<string, (long NotSent, long Blank)> lacking = new(StringComparer.Ordinal);
    private readonly SeenIds identifiers = new(withTimes: false);
    private readonly SeenIds users = new(withTimes: false);
    private readonly SeenIds orgs = new(withTimes: false);
    private readonly SeenIds homerooms = new(withTimes: false);

    internal RosterCensus() { }

    /// <summary>Types of organizations.</summary>
    public ValueCounts OrgTypes { get; } = new();

    /// <summary>Types of classes.</summary>
    public ValueCounts ClassTypes { get; } = new();

    /// <summary>Roles in classes.</summary>
    public ValueCounts EnrollmentRoles { get; } = new();

    /// <summary>People of every role that is not deleted.</summary>
    public long People { get; private set; }

    /// <summary>People who are no guardians: those whom the fields below are about.</summary>
    public long Members { get; private set; }

    /// <summary>People by each role that they have.</summary>
    public ValueCounts Roles { get; } = new();

    /// <summary>Roles that OneRoster does not know, with people.</summary>
    public ValueCounts UnknownRoles { get; } = new();

    /// <summary>People without any role.</summary>
    public long WithoutRole { get; private set; }

    /// <summary>Members without any organization.</summary>
    public long WithoutOrg { get; private set; }

    /// <summary>Members with several organizations.</summary>
    public long SeveralOrgs { get; private set; }

    /// <summary>Members whose first organization is not among the organizations read.</summary>
    public long UnknownOrg { get; private set; }

    /// <summary>People whose login is disabled.</summary>
    public long Disabled { get; private set; }

    /// <summary>Members whose <c>identifier</c> another member has too.</summary>
    public long SharedIdentifiers { get; private set; }

    /// <summary>Students that name guardians.</summary>
    public long StudentsWithAgents { get; private set; }

    /// <summary>Members by type of id.</summary>
    public ValueCounts UserIdTypes { get; } = new();

    /// <summary>Students by first grade as sent.</summary>
    public ValueCounts Grades { get; } = new();

    /// <summary>Members that lack a field, by field.</summary>
    public IReadOnlyDictionary<string, Lacking> Lacks =>
        lacking
            .Where(l => l.Value is not (0, 0))
            .ToDictionary(l => l.Key, l => new Lacking(l.Value.NotSent, l.Value.Blank), StringComparer.Ordinal);

    /// <summary>Members with a primary organization of their own: 1.2 <c>primaryOrg</c> or <c>metadata.primaryOrg</c>.</summary>
    public long WithPrimaryOrg { get; private set; }

    /// <summary>Classes without a title, of all; likewise code and location.</summary>
    public long Classes { get; private set; }

    /// <summary>Classes without a title.</summary>
    public long ClassesWithoutTitle { get; private set; }

    /// <summary>Classes without a code.</summary>
    public long ClassesWithoutCode { get; private set; }

    /// <summary>Enrollments in homerooms.</summary>
    public long HomeroomEnrollments { get; private set; }

    /// <summary>Enrollments of people who are not among the people read.</summary>
    public long EnrollmentsOfUnknown { get; private set; }

    /// <summary>Demographics with a birthdate.</summary>
    public long WithBirthDate { get; private set; }

    /// <summary>Demographics by sex.</summary>
    public ValueCounts Sexes { get; } = new();

    /// <summary><c>1.2</c> when people carry a list of roles; <see langword="null"/> before one was read.</summary>
    public string? Version { get; private set; }

    internal void Take(Org org)
    {
        OrgTypes.Add(org.Type);
        _ = org.SourcedId is { } id && orgs.Add(id, 0, null, out _, out _);
    }

    internal void Take(Class one)
    {
        Classes++;
        ClassTypes.Add(one.ClassType);
        ClassesWithoutTitle += Blank.Is(one.Title) ? 1 : 0;
        ClassesWithoutCode += Blank.Is(one.ClassCode) ? 1 : 0;
        if (string.Equals(one.ClassType, "homeroom", StringComparison.OrdinalIgnoreCase) && one.SourcedId is { } id)
        {
            homerooms.Add(id, 0, null, out _, out _);
        }
    }

    internal void Take(User user)
    {
        Version = user.HasRoleList ? "1.2" : Version ?? (user.Roles.Count > 0 ? "1.1" : null);
        _ = user.SourcedId is { } id && users.Add(id, 0, null, out _, out _);
        if (user.Status != RecordStatus.Active)
        {
            return;
        }

        People++;
        foreach (var role in user.Roles.Select(r => r.Role).Distinct(StringComparer.OrdinalIgnoreCase))
        {
            Roles.Add(role);
            if (!KnownRoles.Contains(role))
            {
                UnknownRoles.Add(role);
            }
        }

        Disabled += user.Enabled ? 0 : 1;
        WithoutRole += user.Roles.Count == 0 ? 1 : 0;
        if (user.Roles.Count > 0 && user.Roles.All(r => Guardians.Contains(r.Role)))
        {
            return;
        }

        Members++;
        var own = user.Roles.Select(r => r.Org).Append(user.PrimaryOrg).OfType<string>().Distinct(StringComparer.Ordinal).ToList();
        WithoutOrg += own.Count == 0 ? 1 : 0;
        SeveralOrgs += own.Count > 1 ? 1 : 0;
        UnknownOrg += own.Count > 0 && !own.Exists(o => orgs.Contains(o)) ? 1 : 0;
        WithPrimaryOrg += user.PrimaryOrg is not null || user.MetadataPrimaryOrg is not null ? 1 : 0;
        var student = user.Roles.Any(r => string.Equals(r.Role, "student", StringComparison.OrdinalIgnoreCase));
        if (student)
        {
            Grades.Add(user.Grades is { Count: > 0 } grades ? grades[0] : null);
            StudentsWithAgents += user.Agents is { Count: > 0 } ? 1 : 0;
        }

        foreach (var type in (user.UserIds ?? []).Select(i => i.Type).Distinct(StringComparer.Ordinal))
        {
            UserIdTypes.Add(type);
        }

        if (!Blank.Is(user.Identifier) && !identifiers.Add(user.Identifier!.Trim(), 0, null, out _, out _))
        {
            SharedIdentifiers++;
        }

        Lack("givenName", user.GivenName);
        Lack("familyName", user.FamilyName);
        Lack("username", user.Username);
        Lack("identifier", user.Identifier);
        Lack("email", user.Email);
        Lack("phone", user.Phone);
        Lack(
            "userIds",
            user.UserIds is null ? null
                : user.UserIds.Any(i => !Blank.Is(i.Identifier)) ? "some"
                : ""
        );
        if (student)
        {
            Lack(
                "grades",
                user.Grades is null ? null
                    : user.Grades.Any(g => !Blank.Is(g)) ? "some"
                    : ""
            );
        }
    }

    internal void Take(Enrollment enrollment)
    {
        EnrollmentRoles.Add(enrollment.Role);
        HomeroomEnrollments += enrollment.Class is { } one && homerooms.Contains(one) ? 1 : 0;
        EnrollmentsOfUnknown += enrollment.User is { } user && !users.Contains(user) ? 1 : 0;
    }

    internal void Take(Demographics demographics)
    {
        WithBirthDate += demographics.BirthDate is null ? 0 : 1;
        Sexes.Add(demographics.Sex);
    }

    private void Lack(string field, string? value)
    {
        ref var count = ref CollectionsMarshal.GetValueRefOrAddDefault(lacking, field, out _);
        if (value is null)
        {
            count.NotSent++;
        }
        else if (Blank.Is(value))
        {
            count.Blank++;
        }
    }
}
