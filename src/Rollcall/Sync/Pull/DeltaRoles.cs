using Rollcall.Mapping;
using Rollcall.OneRoster.Csv;
using Rollcall.OneRoster.Model;
using Rollcall.Patrons;

namespace Rollcall.Sync.Pull;

/// <summary>What a patron and the link know of a person.</summary>
internal sealed record KnownPerson(
    RoleGroup Group,
    int? Site,
    PatronStatus Status,
    bool Absent,
    string? Username,
    string? Guardians,
    bool LoginDisabled
)
{
    public static KnownPerson Of(Patron patron, PatronLink link) =>
        new(link.RoleGroup, patron.SiteId, patron.Status, link.Absent, link.Username, link.Guardians, link.LoginDisabled);
}

/// <summary>What a delta of CSV says of the roles of people who are known, where the package that it changes is not at hand. What it does not
/// say stays as the patron and the link have it.</summary>
internal sealed class DeltaRoles(SyncSetup setup, CsvRosterSource source)
{
    private readonly HashSet<ulong> _placeless = [];
    private readonly HashSet<ulong> _statusStays = [];

    /// <summary>People whose roles changed in a way that the package does not make clear.</summary>
    public long Unclear { get; private set; }

    /// <summary>People of whom neither the package nor the matching tells the school.</summary>
    public IReadOnlySet<ulong> Placeless => _placeless;

    /// <summary>People who had left, and of whom the package does not say that they are at a school of the library again.</summary>
    public IReadOnlySet<ulong> StatusStays => _statusStays;

    /// <summary>The roles of somebody of whom a delta names some. What it does not name is as it was, so that neither an end nor a place follows from
    /// the others: only a main role that is current now, at a school of this library, takes the place of the one that is known.</summary>
    public UserRole[] Settled(ulong id, KnownPerson link, IReadOnlyList<UserRole> named)
    {
        if (source.HasAllRoles)
        {
            return named.Count == 0 ? RolesOf(id, link) : [.. named];
        }

        UserRole[] main =
        [
            .. named.Where(r =>
                r.Primary
                && RoleGroups.IsCurrent(r, setup.Today)
                && RoleGroups.Of(r.Role) != RoleGroup.None
                && r.Org is { } org
                && setup.OrgSites.ContainsKey(org)
            ),
        ];
        Unclear += named.Count > main.Length ? 1 : 0;
        return main.Length > 0 ? main : RolesOf(id, link);
    }

    /// <summary>Leaves somebody as they are of whom the package names roles alone; the others are not known, unless the package has them all.</summary>
    public void Leave() => Unclear += source.HasAllRoles ? 0 : 1;

    /// <summary>Somebody of whom no row of their own came, with the roles that the package names; null where it names none.</summary>
    public User Unchanged(string id, KnownPerson link, IReadOnlyList<UserRole>? named)
    {
        var key = setup.Keys.Of(id);
        return new()
        {
            SourcedId = id,
            HasRoleList = true,
            Roles = named is null ? RolesOf(key, link) : Settled(key, link, named),
            Username = link.Username,
            Agents = link.Guardians?.Split('\n'),
            Enabled = !link.LoginDisabled,
        };
    }

    /// <summary>The role that the link knows, at the organization of the patron's site.</summary>
    private UserRole[] RolesOf(ulong id, KnownPerson link)
    {
        var org = link.Site is { } site
            ? setup.OrgSites.Where(o => o.Value == site).Select(o => o.Key).Order(StringComparer.Ordinal).FirstOrDefault()
            : null;
        if (org is null)
        {
            _placeless.Add(id);
        }

        // That a row of theirs changed brings nobody back: a new phone number is no role.
        if (link.Absent || link.Status == PatronStatus.Transferred)
        {
            _statusStays.Add(id);
        }

        var role = link.Group switch
        {
            RoleGroup.Teacher => "teacher",
            RoleGroup.Admin => "administrator",
            _ => "student",
        };
        return [new UserRole(role, org, Primary: true, null, null)];
    }
}
