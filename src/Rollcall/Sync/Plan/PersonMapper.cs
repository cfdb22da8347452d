using Rollcall.Mapping;
using Rollcall.OneRoster.Model;
using Rollcall.Patrons;
using Rollcall.Sync.Pull;

namespace Rollcall.Sync.Plan;

/// <summary>A roster person with all that the roster says of him, mapped and placed.</summary>
internal static class PersonMapper
{
    [ThreadStatic]
    private static List<string>? s_orgs;

    public static MappedPerson Map(User user, in RosterPerson person, Roster roster, SyncSetup setup)
    {
        var orgs = s_orgs ??= [];
        setup.Mapper.Orgs(user, setup.Today, setup.OrgSites.ContainsKey, orgs);
        var site = Site(orgs, setup);
        var anySite = AnySite(orgs, setup);
        var context = Context(user, person, roster, setup, site);
        var values = new MappedValue[FieldMap.SyncedFields.Count];
        setup.Mapper.Fill(user, person.Group, context, values);
        return new MappedPerson
        {
            User = user,
            Group = person.Group,
            Deleted = person.Deleted,
            Values = values,
            Site = site,
            Org = orgs.Count > 0 ? orgs[0] : null,
            AnySite = anySite,
            MayBeElsewhere = anySite is null && Mapper.MayBeElsewhere(user, setup.Today),
            Placeless = roster.Placeless.Contains(person.Guid),
            StatusStays = roster.StatusStays.Contains(person.Guid),
            AbsenceStays = roster.StatusStays.Contains(person.Guid),
            HomeroomClass = context.Homeroom?.ClassId,
            HomeroomsRead = setup.Mapper.NeedsHomerooms && roster.Homerooms is not null,
            HomeroomUnknown =
                setup.Mapper.NeedsHomerooms && (roster.Homerooms is null || (roster.Homerooms.RowsShifted && context.Homeroom is null)),
        };
    }

    /// <summary>Whether an organization of the person is matched to a site.</summary>
    public static bool HasSite(User user, SyncSetup setup)
    {
        var orgs = s_orgs ??= [];
        setup.Mapper.Orgs(user, setup.Today, setup.OrgSites.ContainsKey, orgs);
        return AnySite(orgs, setup) is not null;
    }

    /// <summary>The site that a person's row names; null where it names none of the library's.</summary>
    public static int? SiteOf(User user, SyncSetup setup)
    {
        var orgs = s_orgs ??= [];
        setup.Mapper.Orgs(user, setup.Today, setup.OrgSites.ContainsKey, orgs);
        return Site(orgs, setup);
    }

    private static int? Site(List<string> orgs, SyncSetup setup) =>
        orgs.Count > 0 && setup.OrgSites.TryGetValue(orgs[0], out var first) ? first : null;

    private static int? AnySite(List<string> orgs, SyncSetup setup)
    {
        foreach (var org in orgs)
        {
            if (setup.OrgSites.TryGetValue(org, out var its))
            {
                return its;
            }
        }

        return null;
    }

    /// <summary>What of the rest of the roster concerns the person.</summary>
    public static PersonContext Context(User user, in RosterPerson person, Roster roster, SyncSetup setup, int? site, bool counted = true)
    {
        var (guardians, readable) = person.Group == RoleGroup.Student ? roster.GuardiansOf(user) : ([], false);
        var (birthdate, sex) = roster.Demographics?.Of(person) ?? (MappedValue.NotSent, MappedValue.NotSent);
        var homeroom = roster.Homerooms?.Of(person, site, setup.OrgSites, counted);
        return new PersonContext
        {
            Birthdate = birthdate,
            Sex = sex,
            Guardians = guardians,
            AgentsReadable = readable,
            Homeroom = homeroom,

            // Where rows shifted, what is blank may have stood on one that was not read.
            HomeroomsShared =
                roster.Homerooms is { } homerooms && (!homerooms.RowsShifted || setup.Mapper.LocationOf(homeroom) is not null),
        };
    }
}
