using Microsoft.EntityFrameworkCore;
using Rollcall.Audit;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.Districts;

/// <summary>A policy and who has it.</summary>
/// <param name="Code">Up to four characters.</param>
/// <param name="Name">What people call it.</param>
/// <param name="Patrons">Patrons who have it.</param>
/// <param name="Sites">Sites that give it to new patrons, for a role group or for all.</param>
public sealed record PolicyUse(string Code, string Name, int Patrons, int Sites);

/// <summary>The policies of a district. Rollcall gives new patrons that of their site and never syncs it.</summary>
public sealed class PolicyService(RollcallDatabase database, TimeProvider time)
{
    private const int LongestCode = 4;
    private const int LongestName = 100;

    /// <summary>All policies by code, with who has them.</summary>
    public async Task<IReadOnlyList<PolicyUse>> ListAsync(int districtId, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        var policies = await context
            .Policies.AsNoTracking()
            .Where(p => p.DistrictId == districtId)
            .OrderBy(p => p.Code)
            .ToListAsync(cancellationToken);
        var patrons = await context
            .Patrons.Where(p => p.DistrictId == districtId && p.Policy != null)
            .GroupBy(p => p.Policy!)
            .Select(g => new { g.Key, Count = g.Count() })
            .ToDictionaryAsync(g => g.Key, g => g.Count, cancellationToken);
        var sites = (await SitesAsync(context, districtId, cancellationToken)).ToLookup(s => s.Policy, s => s.Site);
        return
        [
            .. policies
                .Select(p => new PolicyUse(p.Code, p.Name, patrons.GetValueOrDefault(p.Code), sites[p.Code].Distinct().Count()))
                // What an import or a hand edit gave patrons without anybody having made it one.
                .Concat(
                    patrons
                        .Where(g => policies.All(p => p.Code != g.Key))
                        .Select(g => new PolicyUse(g.Key, "", g.Value, sites[g.Key].Distinct().Count()))
                )
                .OrderBy(p => p.Code, StringComparer.Ordinal),
        ];
    }

    /// <summary>Adds a policy, or gives one another name.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="code">Which.</param>
    /// <param name="name">Blank: the code. Null: the one it has, or the code.</param>
    /// <param name="actor">Who.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <param name="onlyNew">One that there is already is left as it is.</param>
    /// <exception cref="RollcallException">The code or the name cannot be one, or there is one where only a new one was meant; nothing was
    /// changed.</exception>
    public async Task<PolicyUse> SetAsync(
        int districtId,
        string? code,
        string? name,
        string actor,
        bool onlyNew = false,
        CancellationToken cancellationToken = default
    )
    {
        var clean = CleanCode(code);
        var called = Text.Clean(name);
        if (called?.Length > LongestName)
        {
            throw RollcallException.OfValue($"The name of a policy has {LongestName} characters at most.");
        }

        await using (var work = await DistrictTransaction.BeginAsync(database, districtId, cancellationToken))
        {
            var policy = await work.Context.Policies.FindAsync([districtId, clean], cancellationToken);
            if (onlyNew && policy is not null)
            {
                throw new RollcallException(
                    $"There is a policy {clean} already: {policy.Name}. Take another code, or give that one another name in the list."
                );
            }

            called ??= name is null ? policy?.Name ?? clean : clean;
            if (policy?.Name != called)
            {
                if (policy is null)
                {
                    policy = new Policy { DistrictId = districtId, Code = clean };
                    work.Context.Policies.Add(policy);
                }

                policy.Name = called;
                Note(work.Context, districtId, actor, $"{clean} is {called}");
                await work.CommitAsync(cancellationToken);
            }
        }

        return (await ListAsync(districtId, cancellationToken)).First(p => p.Code == clean);
    }

    /// <summary>Takes a policy away that nobody has.</summary>
    /// <exception cref="RollcallException">There is none, a patron or a site has it, or it is the one that all others fall back to; nothing
    /// was changed.</exception>
    public async Task RemoveAsync(int districtId, string? code, string actor, CancellationToken cancellationToken = default)
    {
        var clean = CleanCode(code);
        await using var work = await DistrictTransaction.BeginAsync(database, districtId, cancellationToken);
        var policy =
            await work.Context.Policies.FindAsync([districtId, clean], cancellationToken)
            ?? throw new RollcallException($"There is no policy {clean}.");
        if (clean == Policy.Standard)
        {
            throw new RollcallException($"{Policy.Standard} is what a site without a policy gives: it stays. It can have another name.");
        }

        var patrons = await work.Context.Patrons.CountAsync(p => p.DistrictId == districtId && p.Policy == clean, cancellationToken);
        var sites = (await SitesAsync(work.Context, districtId, cancellationToken)).Where(s => s.Policy == clean).ToList();
        if (patrons > 0 || sites.Count > 0)
        {
            throw new RollcallException(
                patrons > 0
                    ? $"{(patrons == 1 ? "A patron has" : $"{patrons} patrons have")} the policy {clean}. Give them another one first."
                    : $"A site gives the policy {clean} to new patrons. Give the site another one first."
            );
        }

        work.Context.Policies.Remove(policy);
        Note(work.Context, districtId, actor, $"{clean} removed");
        await work.CommitAsync(cancellationToken);
    }

    /// <summary>A code as it is kept.</summary>
    /// <exception cref="RollcallException">It is blank or too long.</exception>
    internal static string CleanCode(string? code) =>
        Text.Clean(code) is { Length: <= LongestCode } clean
            ? clean
            : throw RollcallException.OfValue($"A policy code has 1 to {LongestCode} characters.");

    private static async Task<IReadOnlyList<(string Policy, int Site)>> SitesAsync(
        RollcallContext context,
        int districtId,
        CancellationToken cancellationToken
    )
    {
        var own = await context
            .Sites.Where(s => s.DistrictId == districtId && s.DefaultPolicy != null)
            .Select(s => new { Policy = s.DefaultPolicy!, s.Id })
            .ToListAsync(cancellationToken);
        var groups = await context
            .SiteDefaults.Where(s => s.DistrictId == districtId && s.Policy != null)
            .Select(s => new { Policy = s.Policy!, Id = s.SiteId })
            .ToListAsync(cancellationToken);
        // Who is of a site without a policy of its own gets the standard one.
        var standard = await context
            .Sites.Where(s => s.DistrictId == districtId && s.DefaultPolicy == null)
            .Select(s => new { Policy = Policy.Standard, s.Id })
            .ToListAsync(cancellationToken);
        return [.. own.Concat(groups).Concat(standard).Select(s => (s.Policy, s.Id))];
    }

    private void Note(RollcallContext context, int districtId, string actor, string details) =>
        context.AuditEntries.Add(
            new AuditEntry
            {
                DistrictId = districtId,
                At = time.GetUtcNow(),
                Actor = actor,
                Action = "policy",
                Details = details,
            }
        );
}
