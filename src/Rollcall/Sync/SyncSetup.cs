using System.IO.Hashing;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Patrons;

namespace Rollcall.Sync;

/// <summary>All that a run needs to know of the district before it reads the roster.</summary>
internal sealed class SyncSetup
{
    /// <summary>Raised when the planner would decide differently on the same data, so that nobody is left as he was by an old hash.</summary>
    private const int PlannerVersion = 1;

    public required District District { get; init; }
    public required IntegrationKind Kind { get; init; }
    public required IntegrationSettings Settings { get; init; }
    public required IReadOnlyDictionary<int, Site> Sites { get; init; }
    public required IReadOnlyList<SiteDefault> SiteDefaults { get; init; }

    /// <summary>Org → site.</summary>
    public required IReadOnlyDictionary<string, int> OrgSites { get; init; }

    /// <summary>The date where the district is.</summary>
    public required DateOnly Today { get; init; }

    public Mapper Mapper => field ??= new Mapper(Settings.Map);

    /// <summary>Hash of everything that decides what the same roster record does.</summary>
    public long ConfigHash => field != 0 ? field : field = ComputeConfigHash();

    public bool IsTicked(RoleGroup group) => Settings.Roles.Contains(group);

    private long ComputeConfigHash()
    {
        var hash = new XxHash3();
        Hashing.Append(hash, PlannerVersion);
        var map = Settings.Map;
        Hashing.Append(hash, $"{map.Barcode}|{map.CommunityId}|{map.Location}|{map.NicknameFromPreferredName}|{map.SiteFrom}");
        foreach (var (from, to) in map.Grades.OrderBy(g => g.Key, StringComparer.Ordinal))
        {
            Hashing.Append(hash, from);
            Hashing.Append(hash, to);
        }

        foreach (var (field, rule) in map.Rules.OrderBy(r => r.Key))
        {
            Hashing.Append(hash, $"{field}{rule}");
        }

        foreach (var (org, site) in OrgSites.OrderBy(o => o.Key, StringComparer.Ordinal))
        {
            Hashing.Append(hash, org);
            Hashing.Append(hash, site);
        }

        return (long)hash.GetCurrentHashAsUInt64() | 1;
    }
}
