using Microsoft.EntityFrameworkCore;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.Districts;

/// <summary>What can be set on a site; null leaves it as it is, a blank text takes it away.</summary>
/// <param name="Name">The school's name.</param>
/// <param name="NextBarcode">The barcode of the next new patron.</param>
/// <param name="Policy">The policy of new patrons.</param>
/// <param name="Group">The security group of new patrons.</param>
/// <param name="RoleGroup">Sets barcode, policy and group for new patrons of this role group alone.</param>
public sealed record SiteChange(string? Name, string? NextBarcode, string? Policy, string? Group, RoleGroup? RoleGroup);

/// <summary>The district's sites and the defaults that new patrons get.</summary>
public sealed class SiteService(RollcallDatabase database)
{
    public async Task<IReadOnlyList<Site>> ListAsync(int districtId, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        return await context
            .Sites.AsNoTracking()
            .Where(s => s.DistrictId == districtId)
            .OrderBy(s => s.Code)
            .ToListAsync(cancellationToken);
    }

    public async Task<IReadOnlyList<SiteDefault>> DefaultsAsync(int districtId, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        return await context.SiteDefaults.AsNoTracking().Where(s => s.DistrictId == districtId).ToListAsync(cancellationToken);
    }

    /// <exception cref="RollcallException">The code is taken, or a value does not fit.</exception>
    public async Task<Site> AddAsync(int districtId, string code, SiteChange change, CancellationToken cancellationToken = default)
    {
        code = DistrictService.CleanCode(code, "site");
        if (Text.Clean(change.Name) is not { } name)
        {
            throw new RollcallException("A site needs a name: add --name NAME.");
        }

        await using var context = database.CreateContext();
        var sites = await context.Sites.Where(s => s.DistrictId == districtId).ToListAsync(cancellationToken);
        if (sites.Exists(s => string.Equals(s.Code, code, StringComparison.OrdinalIgnoreCase)))
        {
            throw new RollcallException(
                $"There is a site {code} already. Choose another code, or change it with 'rollcall site set {code}'."
            );
        }

        var site = new Site
        {
            DistrictId = districtId,
            Id = sites.Count == 0 ? 1 : sites.Max(s => s.Id) + 1,
            Code = code,
            Name = name,
            NextBarcode = Barcodes.FirstFor(code),
        };
        context.Sites.Add(site);
        await ApplyAsync(context, site, change, cancellationToken);
        await context.SaveChangesAsync(cancellationToken);
        return site;
    }

    /// <exception cref="RollcallException">There is no such site, or a value does not fit.</exception>
    public async Task<Site> SetAsync(int districtId, string code, SiteChange change, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        var site = await FindAsync(context, districtId, code, cancellationToken);
        if (change.Name is not null)
        {
            site.Name = Text.Clean(change.Name) ?? throw new RollcallException("A site's name may not be blank.");
        }

        await ApplyAsync(context, site, change, cancellationToken);
        await context.SaveChangesAsync(cancellationToken);
        return site;
    }

    internal static async Task<Site> FindAsync(RollcallContext context, int districtId, string code, CancellationToken cancellationToken)
    {
        var sites = await context.Sites.Where(s => s.DistrictId == districtId).ToListAsync(cancellationToken);
        return sites.Find(s => string.Equals(s.Code, code.Trim(), StringComparison.OrdinalIgnoreCase))
            ?? throw new RollcallException($"There is no site {code}. 'rollcall site list' shows those there are.");
    }

    private static async Task ApplyAsync(RollcallContext context, Site site, SiteChange change, CancellationToken cancellationToken)
    {
        SecurityGroup? group = null;
        if (!string.IsNullOrWhiteSpace(change.Group))
        {
            group = PatronFields.ParseGroup(change.Group);
            if (group is not (SecurityGroup.Patron or SecurityGroup.PatronLimited))
            {
                throw new RollcallException("The security group of new patrons is Patron or Patron Limited.");
            }
        }

        if (
            !string.IsNullOrWhiteSpace(change.NextBarcode)
            && (Barcodes.Problem(change.NextBarcode) is not null || Barcodes.Next(change.NextBarcode) is null)
        )
        {
            throw new RollcallException(
                $"Next Barcode '{change.NextBarcode}' cannot be used: {Barcodes.Problem(change.NextBarcode) ?? "it has to end in a digit"}."
            );
        }

        if (Text.Clean(change.Policy) is { } policy)
        {
            if (policy.Length > 4)
            {
                throw new RollcallException("A policy code has 1 to 4 characters.");
            }

            if (!await context.Policies.AnyAsync(p => p.DistrictId == site.DistrictId && p.Code == policy, cancellationToken))
            {
                context.Policies.Add(
                    new Policy
                    {
                        DistrictId = site.DistrictId,
                        Code = policy,
                        Name = policy,
                    }
                );
            }
        }

        if (change.RoleGroup is { } role)
        {
            var own = await context.SiteDefaults.FindAsync([site.DistrictId, site.Id, role], cancellationToken);
            if (own is null && string.IsNullOrWhiteSpace(change.NextBarcode + change.Policy + change.Group))
            {
                return;
            }

            if (own is null)
            {
                own = new SiteDefault
                {
                    DistrictId = site.DistrictId,
                    SiteId = site.Id,
                    RoleGroup = role,
                };
                context.SiteDefaults.Add(own);
            }

            own.NextBarcode = change.NextBarcode is null ? own.NextBarcode : Text.Clean(change.NextBarcode);
            own.Policy = change.Policy is null ? own.Policy : Text.Clean(change.Policy);
            own.Group = change.Group is null ? own.Group : group;
            if (own is { NextBarcode: null, Policy: null, Group: null })
            {
                context.SiteDefaults.Remove(own);
            }

            return;
        }

        if (change.NextBarcode is not null && Text.Clean(change.NextBarcode) is null)
        {
            throw new RollcallException($"A site needs a Next Barcode: give {site.Code} one that ends in a digit.");
        }

        site.NextBarcode = change.NextBarcode ?? site.NextBarcode;
        site.DefaultPolicy = change.Policy is null ? site.DefaultPolicy : Text.Clean(change.Policy);
        site.DefaultGroup = change.Group is null ? site.DefaultGroup : group ?? SecurityGroup.Patron;
    }
}
