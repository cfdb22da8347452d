using System.Globalization;
using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.Storage;
using Rollcall.Sync;

namespace Rollcall.Patrons;

/// <summary>What a new patron gets beside the values that are known: id, status, policy and security group from the site's defaults.</summary>
internal static class NewPatron
{
    /// <summary>Fills what is missing.</summary>
    /// <param name="values">New values; old ones are null.</param>
    /// <param name="site">The patron's site; null for none.</param>
    /// <param name="own">What differs for the role group at that site; null when nothing does.</param>
    public static void AddDefaults(ChangeValues values, Site? site, SiteDefault? own)
    {
        Default(PatronFields.Status, Number((int)PatronStatus.Active));
        Default(PatronFields.Policy, own?.Policy ?? site?.DefaultPolicy ?? Policy.Standard);
        Default(PatronFields.Group, Number((int)(own?.Group ?? site?.DefaultGroup ?? SecurityGroup.Patron)));

        void Default(int field, string value)
        {
            if (!values.Has(field))
            {
                values.Add(field, null, value);
            }
        }
    }

    /// <summary>An id of the district's that nobody ever had, inside the caller's transaction.</summary>
    public static async Task<long> TakeIdAsync(RollcallContext context, int districtId, CancellationToken cancellationToken)
    {
        var district = await context.Districts.SingleAsync(d => d.Id == districtId, cancellationToken);
        await context
            .Districts.Where(d => d.Id == districtId)
            .ExecuteUpdateAsync(s => s.SetProperty(d => d.NextPatronId, d => d.NextPatronId + 1), cancellationToken);
        await context.Entry(district).ReloadAsync(cancellationToken);
        return district.NextPatronId - 1;
    }

    private static string Number(int value) => value.ToString(CultureInfo.InvariantCulture);
}
