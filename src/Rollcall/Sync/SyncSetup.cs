using System.IO.Hashing;
using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.Sync;

/// <summary>All that a run needs to know of the district before it reads the roster.</summary>
internal sealed class SyncSetup
{
    /// <summary>Raised when the planner would decide differently on the same data, so that nobody is left as he was by an old hash.</summary>
    private const int PlannerVersion = 2;

    public required District District { get; init; }
    public required IntegrationKind Kind { get; init; }
    public required IntegrationSettings Settings { get; init; }

    /// <summary>What earlier syncs have learnt.</summary>
    public required IntegrationState State { get; init; }

    /// <summary>The service is on.</summary>
    public required bool Enabled { get; init; }
    public required IReadOnlyDictionary<int, Site> Sites { get; init; }
    public required IReadOnlyList<SiteDefault> SiteDefaults { get; init; }

    /// <summary>Org → site.</summary>
    public required IReadOnlyDictionary<string, int> OrgSites { get; init; }

    /// <summary>The date where the district is.</summary>
    public required DateOnly Today { get; init; }

    /// <summary>Reads the settings as they are now; whether a sync may run is the caller's question.</summary>
    public static async Task<SyncSetup> LoadAsync(
        RollcallContext context,
        int districtId,
        IntegrationKind kind,
        TimeProvider time,
        CancellationToken cancellationToken
    )
    {
        var district = await context.Districts.AsNoTracking().SingleAsync(d => d.Id == districtId, cancellationToken);
        var row = await context
            .Integrations.AsNoTracking()
            .SingleOrDefaultAsync(i => i.DistrictId == districtId && i.Kind == kind, cancellationToken);
        return new SyncSetup
        {
            District = district,
            Kind = kind,
            Enabled = row is { Enabled: true },
            Settings = IntegrationService.SettingsOf(row),
            State = IntegrationService.StateOf(row),
            Sites = await context
                .Sites.AsNoTracking()
                .Where(s => s.DistrictId == districtId)
                .ToDictionaryAsync(s => s.Id, cancellationToken),
            SiteDefaults = await context.SiteDefaults.AsNoTracking().Where(s => s.DistrictId == districtId).ToListAsync(cancellationToken),
            OrgSites = await context
                .SiteOrgs.AsNoTracking()
                .Where(o => o.DistrictId == districtId && o.Kind == kind)
                .ToDictionaryAsync(o => o.OrgId, o => o.SiteId, StringComparer.Ordinal, cancellationToken),
            Today = DistrictService.Today(district, time),
        };
    }

    /// <summary>Refuses a sync that could not be right.</summary>
    /// <exception cref="RollcallException">The service is off or not connected, no site is matched, or nobody is ticked.</exception>
    public void EnsureReady()
    {
        var (name, verb) = (IntegrationWords.Name(Kind), IntegrationWords.Verb(Kind));
        var problem =
            !Enabled ? $"{name} is off. Turn it on first: under SIS Integrations, or with 'rollcall {verb} on'."
            : Settings.Mode is null
                ? $"{name} is not connected. Connect it first: on its page under SIS Integrations, or with 'rollcall {verb} connect'."
            : OrgSites.Count == 0
                ? $"No site is matched to the roster. Match at least one: under Site Mapping, or with 'rollcall {verb} match SITE ORG-SOURCEDID'."
            : Settings.Roles.Count == 0
                ? $"Nobody is ticked for syncing. Say who: under Syncing, or with 'rollcall {verb} roles student,teacher,admin'."
            : null;
        if (problem is not null)
        {
            throw new RollcallException(problem);
        }
    }

    /// <summary>The keys of this run.</summary>
    public Keys Keys { get; set; } = new(Random.Shared.NextInt64());

    /// <summary>Organizations of which nobody is missed.</summary>
    public IReadOnlySet<string> NotServed => field ??= Settings.NotServed.ToHashSet(StringComparer.Ordinal);

    public Mapper Mapper => field ??= new Mapper(Settings.Map);

    /// <summary>Hash of everything that decides what the same roster record does.</summary>
    public long ConfigHash => field != 0 ? field : field = ComputeConfigHash();

    /// <summary>Tells whether other organizations are matched to other sites by now.</summary>
    public string MatchesHash
    {
        get
        {
            var hash = new XxHash3();
            AppendMatches(hash);
            return hash.GetCurrentHashAsUInt64().ToString("x16", System.Globalization.CultureInfo.InvariantCulture);
        }
    }

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

        AppendMatches(hash);
        foreach (var org in NotServed.Order(StringComparer.Ordinal))
        {
            Hashing.Append(hash, org);
        }

        return (long)hash.GetCurrentHashAsUInt64() | 1;
    }

    private void AppendMatches(XxHash3 hash)
    {
        foreach (var (org, site) in OrgSites.OrderBy(o => o.Key, StringComparer.Ordinal))
        {
            Hashing.Append(hash, org);
            Hashing.Append(hash, site);
        }
    }
}
