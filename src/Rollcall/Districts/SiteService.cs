using Microsoft.EntityFrameworkCore;
using Rollcall.Audit;
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
public sealed class SiteService(RollcallDatabase database, TimeProvider time)
{
    /// <summary>In characters of Unicode.</summary>
    public const int LongestName = 255;

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
    public Task<Site> AddAsync(
        int districtId,
        string code,
        SiteChange change,
        string actor,
        CancellationToken cancellationToken = default
    ) => AddAsync(districtId, code, [change], actor, cancellationToken);

    /// <summary>Adds a site with all that is set on it, or nothing.</summary>
    /// <param name="changes">First the site's own, with its name; then those of single role groups.</param>
    /// <exception cref="RollcallException">The code is taken, or a value does not fit.</exception>
    public async Task<Site> AddAsync(
        int districtId,
        string code,
        IReadOnlyList<SiteChange> changes,
        string actor,
        CancellationToken cancellationToken = default
    )
    {
        await using var work = await DistrictTransaction.BeginAsync(database, districtId, cancellationToken);
        var sites = await work.Context.Sites.Where(s => s.DistrictId == districtId).ToListAsync(cancellationToken);
        var site = Add(
            work.Context,
            districtId,
            sites,
            code,
            Text.Clean(changes[0].Name) ?? throw RollcallException.OfValue("A site needs a name: add --name NAME.")
        );
        foreach (var change in changes)
        {
            await ApplyAsync(work.Context, site, change, cancellationToken);
        }

        AddAudit(work.Context, site, "added", changes, actor);
        await work.CommitAsync(cancellationToken);
        return site;
    }

    /// <exception cref="RollcallException">There is no such site, or a value does not fit.</exception>
    public Task<Site> SetAsync(
        int districtId,
        string code,
        SiteChange change,
        string actor,
        CancellationToken cancellationToken = default
    ) => SetAsync(districtId, code, [change], actor, cancellationToken);

    /// <summary>Writes all of the changes, or none.</summary>
    /// <exception cref="RollcallException">There is no such site, or a value does not fit.</exception>
    public async Task<Site> SetAsync(
        int districtId,
        string code,
        IReadOnlyList<SiteChange> changes,
        string actor,
        CancellationToken cancellationToken = default
    )
    {
        await using var work = await DistrictTransaction.BeginAsync(database, districtId, cancellationToken);
        var site = await FindAsync(work.Context, districtId, code, cancellationToken);
        foreach (var change in changes)
        {
            if (change.Name is not null)
            {
                site.Name = CleanName(Text.Clean(change.Name) ?? throw RollcallException.OfValue("A site's name may not be blank."));
            }

            await ApplyAsync(work.Context, site, change, cancellationToken);
        }

        AddAudit(work.Context, site, "changed", changes, actor);
        await work.CommitAsync(cancellationToken);
        return site;
    }

    /// <summary>Puts a new site beside the <paramref name="sites"/> that the district has, and into that list. Saves nothing.</summary>
    /// <exception cref="RollcallException">The code is taken or cannot be one, or the name is too long.</exception>
    internal static Site Add(RollcallContext context, int districtId, List<Site> sites, string code, string name)
    {
        code = DistrictService.CleanCode(code, "site");
        if (sites.Exists(s => string.Equals(s.Code, code, StringComparison.OrdinalIgnoreCase)))
        {
            throw new RollcallException($"There is a site {code} already. Choose another code, or change the site that has it.");
        }

        var site = new Site
        {
            DistrictId = districtId,
            Id = sites.Count == 0 ? 1 : sites.Max(s => s.Id) + 1,
            Code = code,
            Name = CleanName(name),
            NextBarcode = Barcodes.FirstFor(code),
        };
        context.Sites.Add(site);
        sites.Add(site);
        return site;
    }

    private void AddAudit(RollcallContext context, Site site, string how, IReadOnlyList<SiteChange> changes, string actor)
    {
        var words = changes.Select(InWords).Where(w => w.Length > 0).ToList();
        if (how == "changed" && words.Count == 0)
        {
            return;
        }

        context.AuditEntries.Add(
            new AuditEntry
            {
                DistrictId = site.DistrictId,
                At = time.GetUtcNow(),
                Actor = actor,
                Action = "site",
                Details = $"site {site.Code} {how}{(words.Count == 0 ? "" : $": {string.Join("; ", words)}")}",
            }
        );
    }

    /// <summary>What a change sets, for the audit; nothing when it leaves all as it is.</summary>
    private static string InWords(SiteChange change)
    {
        var said = string.Join(
            ", ",
            new[]
            {
                ("name", change.Name),
                ("Next Barcode", change.NextBarcode),
                ("policy", change.Policy),
                ("security group", change.Group),
            }
                .Where(f => f.Item2 is not null)
                .Select(f => $"{f.Item1} {Text.Clean(f.Item2) ?? "taken away"}")
        );
        return said.Length == 0 || change.RoleGroup is not { } role ? said : $"{role} {said}";
    }

    private static string CleanName(string name) =>
        Text.IsLonger(name, LongestName)
            ? throw RollcallException.OfValue($"A site's name has at most {LongestName} characters: shorten '{Text.Cut(name, 40)}…'.")
            : name;

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
                throw RollcallException.OfValue("The security group of new patrons is Patron or Patron Limited.");
            }
        }

        if (
            !string.IsNullOrWhiteSpace(change.NextBarcode)
            && (Barcodes.Problem(change.NextBarcode) is not null || Barcodes.Next(change.NextBarcode) is null)
        )
        {
            throw RollcallException.OfValue(
                $"Next Barcode '{change.NextBarcode}' cannot be used: {Barcodes.Problem(change.NextBarcode) ?? "it has to end in a digit"}."
            );
        }

        if (Text.Clean(change.Policy) is { } policy)
        {
            policy = PolicyService.CleanCode(policy);
            if (
                !context.Policies.Local.Any(p => p.DistrictId == site.DistrictId && p.Code == policy)
                && !await context.Policies.AnyAsync(p => p.DistrictId == site.DistrictId && p.Code == policy, cancellationToken)
            )
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
