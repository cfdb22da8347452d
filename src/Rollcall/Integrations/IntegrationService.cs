using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.EntityFrameworkCore;
using Rollcall.Audit;
using Rollcall.Districts;
using Rollcall.Mapping;
using Rollcall.OneRoster;
using Rollcall.OneRoster.Auth;
using Rollcall.OneRoster.ClassLink;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Probe;
using Rollcall.OneRoster.Rest;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Storage;
using Rollcall.Sync;

namespace Rollcall.Integrations;

/// <summary>A connection as a person gives it; the secret is protected before it is stored. A partner key among it becomes the whole
/// installation's, once the service has accepted it.</summary>
public sealed record ConnectRequest(
    ConnectionMode Mode,
    string? TenantId,
    string? Url,
    string? Key = null,
    string? Secret = null,
    string? Signature = null,
    string? PartnerKey = null
)
{
    /// <summary>Which application of a tenant is read by ClassLink's proxy, where there are several; null keeps what was chosen before.</summary>
    public string? ApplicationId { get; init; }

    /// <summary>What was chosen before counts no more: somebody chooses among all there are.</summary>
    public bool ChooseAnew { get; init; }

    /// <summary>Where client credentials are exchanged for a token.</summary>
    public string? TokenUrl { get; init; }

    /// <summary>How a token is asked for; null finds out.</summary>
    public TokenRequestForm? TokenForm { get; init; }

    /// <summary>The scopes asked for, blank for none; null finds out.</summary>
    public string? Scope { get; init; }

    /// <summary>The version of a OneRoster server; null finds out.</summary>
    public OneRosterVersion? Version { get; init; }

    // What a record prints by itself would show the secret.
    private bool PrintMembers(System.Text.StringBuilder text)
    {
        text.Append(System.Globalization.CultureInfo.InvariantCulture, $"Mode = {Mode}, TenantId = {TenantId}, Url = {Url}");
        return true;
    }
}

/// <summary>What came of connecting or testing.</summary>
/// <param name="Mode">How the roster is reached.</param>
/// <param name="TenantId">The tenant; null outside of ClassLink.</param>
/// <param name="DistrictName">The district's name as the service says it; null when it cannot say.</param>
/// <param name="Confirmed">False with a key or a token of the district's own before somebody signed in: no call tells their tenant.</param>
/// <param name="Message">One line for people.</param>
/// <param name="Cleared">The operation that cleared what another roster had left, to be undone; null when nothing was cleared.</param>
public sealed record ConnectResult(
    ConnectionMode Mode,
    string? TenantId,
    string? DistrictName,
    bool Confirmed,
    string Message,
    long? Cleared = null
);

/// <summary>What turning an integration on or connecting it elsewhere would clear.</summary>
/// <param name="Guids">GUIDs of patrons.</param>
/// <param name="Links">Links of patrons.</param>
/// <param name="SiteGuids">GUIDs of sites.</param>
/// <param name="Matches">Matched organizations.</param>
/// <param name="Connections">Connections of other services, which go with the rest, each with its secret.</param>
public sealed record SwitchImpact(int Guids, int Links, int SiteGuids, int Matches, int Connections = 0)
{
    public bool IsEmpty => !IsOfPeople && Matches == 0;

    /// <summary>More of anything goes than by another look.</summary>
    internal bool Exceeds(SwitchImpact other) =>
        Guids > other.Guids
        || Links > other.Links
        || SiteGuids > other.SiteGuids
        || Matches > other.Matches
        || Connections > other.Connections;

    /// <summary>As a form sends it along.</summary>
    internal string Print =>
        string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{Guids}-{Links}-{SiteGuids}-{Matches}-{Connections}");

    /// <summary>What a form sent along; null when that is nothing of the kind.</summary>
    internal static SwitchImpact? Parse(string? print)
    {
        var parts = (print ?? "").Split('-');
        var numbers = new int[5];
        for (var i = 0; i < numbers.Length; i++)
        {
            if (
                parts.Length != numbers.Length
                || !int.TryParse(
                    parts[i],
                    System.Globalization.NumberStyles.None,
                    System.Globalization.CultureInfo.InvariantCulture,
                    out numbers[i]
                )
            )
            {
                return null;
            }
        }

        return new SwitchImpact(numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]);
    }

    /// <summary>More than matches goes.</summary>
    internal bool IsOfPeople => Guids != 0 || Links != 0 || SiteGuids != 0;

    public string InWords =>
        (IsOfPeople ? $"{Of(Guids, "patron GUID")}, {Of(Links, "link")}, {Of(SiteGuids, "site GUID")} and " : "")
        + Of(Matches, "matched organization")
        + (
            Connections == 0 ? ""
            : Connections == 1 ? ", and the connection and secret of another service"
            : ", and the connections and secrets of the other services"
        );

    private static string Of(int number, string one) =>
        string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{number:N0} {one}{(number == 1 ? "" : "s")}");

    /// <summary>What the roster that is left behind is to the library.</summary>
    internal string Joined => IsOfPeople ? "People are linked to another roster" : "Sites are matched to another roster";
}

/// <summary>A connection that can be examined; disposing it closes it.</summary>
internal sealed class OpenProbe(IRosterSource source, IRosterProbe probe) : IDisposable
{
    public Task<ProbeReport> ProbeAsync(ProbeOptions options, IProgress<string>? progress, CancellationToken cancellationToken) =>
        probe.ProbeAsync(options, progress, cancellationToken);

    public void Dispose() => source.Dispose();
}

/// <summary>A roster organization beside the site it is matched to.</summary>
/// <param name="ProposedCode">The code of a site that could be made for it; null unless it is a school without a site, matched or suggested, and is served.</param>
/// <param name="NotServed">Somebody said that the library does not serve it.</param>
public sealed record OrgMatch(
    string SourcedId,
    string? Name,
    string? Type,
    string? SiteCode,
    string? SuggestedSite,
    string? ProposedCode = null,
    bool NotServed = false
);

/// <summary>A site that is to be made for an organization of the roster.</summary>
/// <param name="Org">The organization's <c>sourcedId</c>.</param>
/// <param name="Code">Null: as proposed.</param>
/// <param name="Name">Null: the organization's own.</param>
public sealed record SiteOfOrg(string Org, string? Code = null, string? Name = null);

/// <summary>Which roster service is on, how it is reached, and what it maps.</summary>
public sealed class IntegrationService(
    RollcallDatabase database,
    RosterConnections connections,
    Secrets secrets,
    TenantRequests requests,
    TimeProvider time
)
{
    internal static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web)
    {
        Converters = { new JsonStringEnumConverter() },
    };

    public static IntegrationSettings SettingsOf(Integration? integration) =>
        integration is null
            ? new IntegrationSettings()
            : JsonSerializer.Deserialize<IntegrationSettings>(integration.Settings, Json) ?? new IntegrationSettings();

    public static IntegrationState StateOf(Integration? integration) =>
        integration is null
            ? new IntegrationState()
            : JsonSerializer.Deserialize<IntegrationState>(integration.State, Json) ?? new IntegrationState();

    /// <summary>The integration's row; null when it was never touched.</summary>
    public async Task<Integration?> FindAsync(int districtId, IntegrationKind kind, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        return await context
            .Integrations.AsNoTracking()
            .SingleOrDefaultAsync(i => i.DistrictId == districtId && i.Kind == kind, cancellationToken);
    }

    /// <summary>The integration that is on; null when none is.</summary>
    public async Task<Integration?> EnabledAsync(int districtId, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        return await context
            .Integrations.AsNoTracking()
            .SingleOrDefaultAsync(i => i.DistrictId == districtId && i.Enabled, cancellationToken);
    }

    /// <summary>A partner key is stored for the whole installation.</summary>
    public async Task<bool> HasPartnerKeyAsync(CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        return await context.InstallationSettings.AnyAsync(s => s.Key == RosterConnections.PartnerKeySetting, cancellationToken);
    }

    /// <summary>Stores the partner key of the whole installation, in place of the one before.</summary>
    /// <exception cref="RollcallException">It is empty, or more than a key.</exception>
    public async Task StorePartnerKeyAsync(string key, string actor, CancellationToken cancellationToken = default)
    {
        if (Text.Clean(key) is not { } clean || clean.Any(char.IsWhiteSpace))
        {
            throw new RollcallException(
                "The partner key is empty or more than one word. Give the key alone, as the ClassLink Partner Portal shows it."
            );
        }

        // Before the transaction: the first secret of an installation makes the key ring, over a connection of its own.
        await StoreForAllAsync(secrets.Protect(0, clean), proxy: null, actor, cancellationToken);
    }

    /// <summary>Removes the partner key. Districts that connect with it do so no more; what they have stays.</summary>
    /// <returns>False when there was none.</returns>
    public async Task<bool> RemovePartnerKeyAsync(string actor, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        await using var transaction = await context.Database.BeginTransactionAsync(cancellationToken);
        if (
            await context
                .InstallationSettings.Where(s => s.Key == RosterConnections.PartnerKeySetting)
                .ExecuteDeleteAsync(cancellationToken) == 0
        )
        {
            return false;
        }

        AddAudit(context, 0, actor, "partner key", "removed");
        await context.SaveChangesAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);
        return true;
    }

    /// <summary>What connecting to <paramref name="request"/> would clear: another tenant or endpoint while people are linked.</summary>
    public async Task<SwitchImpact> ImpactOfConnectAsync(
        int districtId,
        IntegrationKind kind,
        ConnectRequest request,
        CancellationToken cancellationToken = default
    )
    {
        if (IsSameRoster(kind, SettingsOf(await FindAsync(districtId, kind, cancellationToken)), request))
        {
            return new SwitchImpact(0, 0, 0, 0);
        }

        await using var context = database.CreateContext();
        return (await MovingAsync(context, districtId, kind, cancellationToken)).Impact;
    }

    /// <summary>Nothing is connected yet, or it is the roster that is: reached in another way perhaps.</summary>
    private static bool IsSameRoster(IntegrationKind kind, IntegrationSettings settings, ConnectRequest request) =>
        settings.Mode is null
        || (kind == IntegrationKind.OneRosterCsv && string.Equals(settings.Url, request.Url, StringComparison.Ordinal))
        || (
            settings.TenantId is not null || request.TenantId is not null
                ? string.Equals(settings.TenantId, Text.Clean(request.TenantId), StringComparison.Ordinal)
                    && !IsElsewhere(settings, request)
                    || IsMistyped(settings, request)
                : IsSameRoot(settings.Url, request.Url)
        );

    /// <summary>A number of a tenant that nothing has proved is what somebody typed. Another one by the same address and key is a correction of it, and
    /// the roster the same (decision 37).</summary>
    private static bool IsMistyped(IntegrationSettings settings, ConnectRequest request) =>
        settings is { Mode: ConnectionMode.Direct, Login.ConfirmedTenant: null, Url: not null, Key: not null }
        && request.Mode == ConnectionMode.Direct
        && string.Equals(settings.Url, request.Url?.Trim().TrimEnd('/'), StringComparison.Ordinal)
        && string.Equals(settings.Key, request.Key?.Trim(), StringComparison.Ordinal);

    /// <summary>What connecting a service to another roster clears. Of one that is off and has linked nobody that is its own matches: what patrons
    /// and sites carry is another service's.</summary>
    private static async Task<(SwitchImpact Impact, SwitchScope Scope)> MovingAsync(
        RollcallContext context,
        int districtId,
        IntegrationKind kind,
        CancellationToken cancellationToken
    )
    {
        if (
            await context.Integrations.AnyAsync(i => i.DistrictId == districtId && i.Kind == kind && i.Enabled, cancellationToken)
            || await HaveLinkedAsync(context, districtId, kind, others: false, cancellationToken)
        )
        {
            return (
                await WithConnectionsAsync(
                    context,
                    districtId,
                    kind,
                    await ImpactAsync(context, districtId, null, new Carried(), cancellationToken),
                    cancellationToken
                ),
                SwitchScope.All
            );
        }

        var matches = await context.SiteOrgs.CountAsync(o => o.DistrictId == districtId && o.Kind == kind, cancellationToken);
        return (new SwitchImpact(0, 0, 0, matches), SwitchScope.OwnMatches);
    }

    /// <summary>The number of the tenant is what somebody typed: another server reached in the same way is another roster, whatever they say. From
    /// one way to another nothing tells; the proxy looks the tenant up itself.</summary>
    private static bool IsElsewhere(IntegrationSettings settings, ConnectRequest request) =>
        settings.Mode == request.Mode
        && settings.Mode is ConnectionMode.Direct or ConnectionMode.Prefix
        && !IsSameRoot(settings.Url, request.Url);

    private static bool IsSameRoot(string? one, string? other) =>
        string.Equals(RosterServers.Root(one ?? ""), RosterServers.Root(other ?? ""), StringComparison.OrdinalIgnoreCase);

    /// <summary>Checks a connection with the service and stores it. Nothing is stored when it is refused.</summary>
    /// <param name="district">The district.</param>
    /// <param name="kind">The service.</param>
    /// <param name="request">The connection.</param>
    /// <param name="asOperator">Whoever connects may allow the tenant: the command line on the installation's own machine.</param>
    /// <param name="clear">Clearing what another tenant left behind was agreed to.</param>
    /// <param name="actor">Who does it, for the audit.</param>
    /// <param name="agreed">What was shown when it was agreed to; null agrees to whatever there is.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="RollcallException">Refused, in words that say what to do.</exception>
    public async Task<ConnectResult> ConnectAsync(
        District district,
        IntegrationKind kind,
        ConnectRequest request,
        bool asOperator,
        bool clear,
        string actor,
        SwitchImpact? agreed = null,
        CancellationToken cancellationToken = default
    )
    {
        string? tenant = null;
        if (kind == IntegrationKind.ClassLink)
        {
            if (!TenantId.TryParse(request.TenantId, out tenant))
            {
                throw new RollcallException(TenantCheck.Of(request.TenantId, []).Message);
            }

            await CheckTenantIsFreeAsync(district, tenant, asOperator, actor, cancellationToken);
            request = await WithOperatorsProxyAsync(request, asOperator, cancellationToken);
        }

        request = request with { TenantId = tenant, Url = request.Url?.Trim().TrimEnd('/') };
        var impact = await ImpactOfConnectAsync(district.Id, kind, request, cancellationToken);
        if (!impact.IsEmpty && !clear)
        {
            throw new RollcallException(
                $"{impact.Joined}. Connecting to this one clears {impact.InWords}; patrons stay. Agree to it to go on (--yes on the command line); it can be undone as an operation."
            );
        }

        EnsureAgreed(impact, agreed);
        var before = SettingsOf(await FindAsync(district.Id, kind, cancellationToken));
        var settings = before with
        {
            Mode = request.Mode,
            TenantId = tenant,
            ApplicationId =
                request.Mode != ConnectionMode.Proxy
                    ? null
                    : request.ApplicationId ?? (before.TenantId == tenant && !request.ChooseAnew ? before.ApplicationId : null),
            Url = request.Url,
            Key = request.Key,
            Signature = request.Signature,
            DistrictName = null,
            Version = null,
            TokenUrl = request.TokenUrl,
            TokenForm = null,
            Scope = null,
        };
        var secret = request.Mode switch
        {
            ConnectionMode.Prefix or ConnectionMode.Bearer => new ConnectionSecret(Token: request.Secret),
            ConnectionMode.Direct or ConnectionMode.ClientCredentials => new ConnectionSecret(Secret: request.Secret),
            _ => null,
        };
        var stored = secret is null ? null : secrets.Protect(district.Id, secret.ToJson());
        if (kind == IntegrationKind.OneRoster)
        {
            settings = await FindServerAsync(settings, request, cancellationToken);
        }

        settings = WithConnection(before, settings);
        var key = request.PartnerKey;
        (string? Name, bool Confirmed, string Message) probed;
        try
        {
            probed = await ProbeAsync(district.Id, kind, settings, stored, key, cancellationToken, connecting: true);
        }
        catch (ApplicationChoiceException e) when (e.IsGone && request.ApplicationId is null)
        {
            // Chosen once, and not now: what there is to choose today is what counts.
            settings = settings with
            {
                ApplicationId = null,
            };
            probed = await ProbeAsync(district.Id, kind, settings, stored, key, cancellationToken, connecting: true);
        }

        var (name, confirmed, message) = probed;
        settings = settings with { DistrictName = name };

        // Before the transaction: the first use of the key ring writes by a connection of its own.
        var partnerKey = request.PartnerKey is null ? null : secrets.Protect(0, request.PartnerKey);

        await using var work = await DistrictTransaction.BeginAsync(database, district.Id, cancellationToken);
        var context = work.Context;
        impact = await ImpactOfConnectAsync(district.Id, kind, request, cancellationToken);
        if (!impact.IsEmpty && !clear)
        {
            throw new RollcallException(
                "People or sites were joined to the present roster meanwhile. Nothing was stored; look again and repeat it."
            );
        }

        EnsureAgreed(impact, agreed);

        if (tenant is not null)
        {
            // Asking ClassLink takes its time, and the operator may have taken the number back in it, for another district.
            await connections.CheckTenantIsOwnAsync(district.Id, tenant, orNobodys: asOperator, cancellationToken);
        }

        long? cleared = null;
        if (!impact.IsEmpty)
        {
            cleared = await IntegrationSwitch.ClearAsync(
                database,
                work,
                district.Id,
                kind,
                (await MovingAsync(context, district.Id, kind, cancellationToken)).Scope,
                impact,
                actor,
                time,
                cancellationToken
            );
        }

        var row = await GetOrAddAsync(context, district.Id, kind, cancellationToken);
        var elsewhere = !IsSameRoster(kind, SettingsOf(row), request);
        var joined = WithConnection(SettingsOf(row), settings);
        row.Settings = JsonSerializer.Serialize(elsewhere ? joined with { NotServed = [] } : joined, Json);
        row.Secret = stored;
        Bump(row, reconnected: true, elsewhere);
        if (tenant is not null && asOperator && !await context.DistrictTenants.AnyAsync(t => t.TenantId == tenant, cancellationToken))
        {
            context.DistrictTenants.Add(
                new DistrictTenant
                {
                    TenantId = tenant,
                    DistrictId = district.Id,
                    AllowedAt = time.GetUtcNow(),
                }
            );
        }

        AddAudit(
            context,
            district.Id,
            actor,
            "connect",
            $"{IntegrationWords.Name(kind)}, {ModeWords(request.Mode)}{(tenant is null ? "" : $", tenant {tenant}")}{(cleared is null ? "" : $"; cleared {impact.InWords}, operation {cleared}")}"
        );
        await work.CommitAsync(cancellationToken);
        await StoreForAllAsync(
            partnerKey,
            asOperator && request is { Mode: ConnectionMode.Proxy, Url: { Length: > 0 } proxy } ? proxy : null,
            actor,
            cancellationToken
        );
        return new ConnectResult(request.Mode, tenant, name, confirmed, message, cleared);
    }

    /// <summary>What the operator entered becomes the installation's. Not in a district's transaction: a request of a district may not write what
    /// all share.</summary>
    private async Task StoreForAllAsync(string? partnerKey, string? proxy, string actor, CancellationToken cancellationToken)
    {
        if (partnerKey is null && proxy is null)
        {
            return;
        }

        await using var context = database.CreateContextAsOwner();
        await using var transaction = await context.Database.BeginTransactionAsync(cancellationToken);
        if (partnerKey is not null)
        {
            await InstallationSettings.PutAsync(context, RosterConnections.PartnerKeySetting, partnerKey, cancellationToken);
            AddAudit(context, 0, actor, "partner key", "stored");
        }

        if (proxy is not null)
        {
            await InstallationSettings.PutAsync(context, RosterConnections.ProxySetting, proxy, cancellationToken);
            AddAudit(context, 0, actor, "partner key", $"is sent to {proxy}");
        }

        await context.SaveChangesAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);
    }

    /// <summary>The partner key is the whole installation's: it goes to ClassLink, or where its operator said, and nowhere else.</summary>
    /// <exception cref="RollcallException">Somebody else names a key or an address for it.</exception>
    private async Task<ConnectRequest> WithOperatorsProxyAsync(ConnectRequest request, bool asOperator, CancellationToken cancellationToken)
    {
        if (asOperator || request.Mode != ConnectionMode.Proxy)
        {
            return request;
        }

        if (request.PartnerKey is not null)
        {
            throw new RollcallException(
                "The partner key is the operator's of this installation to store: rollcall operator partner-key --file F"
            );
        }

        await using var context = database.CreateContextAsOwner();
        var chosen = (await context.InstallationSettings.FindAsync([RosterConnections.ProxySetting], cancellationToken))?.Value;
        var asked = Text.Clean(request.Url)?.TrimEnd('/');
        return
            asked is not null
            && !string.Equals(asked, chosen, StringComparison.OrdinalIgnoreCase)
            && !string.Equals(asked, ClassLinkDirectory.DefaultHost, StringComparison.OrdinalIgnoreCase)
            ? throw new RollcallException(
                "The partner key is sent to ClassLink's proxy alone. Leave the address blank, or have the operator of this installation connect once with another one."
            )
            : request with
            {
                Url = asked ?? chosen,
            };
    }

    /// <summary>The settings as they are now, reached as <paramref name="from"/> says: somebody may have changed others meanwhile.</summary>
    internal static IntegrationSettings WithConnection(IntegrationSettings now, IntegrationSettings from) =>
        now with
        {
            Mode = from.Mode,
            TenantId = from.TenantId,
            ApplicationId = from.ApplicationId,
            Url = from.Url,
            Key = from.Key,
            Signature = from.Signature,
            DistrictName = from.DistrictName,
            Version = from.Version,
            TokenUrl = from.TokenUrl,
            TokenForm = from.TokenForm,
            Scope = from.Scope,

            // That a sign-in proved tenant and roster to be one was said of another connection.
            Login =
                now.Mode == from.Mode && now.Key == from.Key && IsSameRoot(now.Url, from.Url)
                    ? now.Login
                    : now.Login with
                    {
                        ConfirmedTenant = null,
                    },
        };

    /// <summary>Tries the stored connection.</summary>
    /// <exception cref="RollcallException">Refused, in words that say what to do.</exception>
    public async Task<ConnectResult> TestAsync(District district, IntegrationKind kind, CancellationToken cancellationToken = default)
    {
        var row = await FindAsync(district.Id, kind, cancellationToken);
        var settings = SettingsOf(row);
        var (name, confirmed, message) = await ProbeAsync(district.Id, kind, settings, row?.Secret, null, cancellationToken);
        return new ConnectResult(settings.Mode!.Value, settings.TenantId, name ?? settings.DistrictName, confirmed, message);
    }

    /// <summary>What turning each integration on clears: the identifiers that any other one left. Patrons and links are counted once for all.</summary>
    public async Task<IReadOnlyDictionary<IntegrationKind, SwitchImpact>> ImpactsOfTurningOnAsync(
        int districtId,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        var (impacts, carried) = (new Dictionary<IntegrationKind, SwitchImpact>(), new Carried());
        foreach (var kind in Enum.GetValues<IntegrationKind>())
        {
            impacts.Add(kind, (await TurningOnAsync(context, districtId, kind, carried, cancellationToken)).Impact);
        }

        return impacts;
    }

    /// <summary>Whether any patron is linked to somebody of a roster.</summary>
    internal async Task<bool> AnyLinksAsync(int districtId, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        return await context.PatronLinks.AnyAsync(l => l.DistrictId == districtId, cancellationToken);
    }

    /// <summary>What patrons, links and sites carry, whichever service it is of; counted by whoever first asks.</summary>
    private sealed class Carried
    {
        private SwitchImpact? _counted;

        public async Task<SwitchImpact> OfAsync(RollcallContext context, int districtId, CancellationToken cancellationToken) =>
            _counted ??= new SwitchImpact(
                await context.Patrons.CountAsync(p => p.DistrictId == districtId && p.Guid != null, cancellationToken),
                await context.PatronLinks.CountAsync(l => l.DistrictId == districtId, cancellationToken),
                await context.Sites.CountAsync(s => s.DistrictId == districtId && s.Guid != null, cancellationToken),
                0
            );
    }

    private static async Task<(SwitchImpact Impact, bool MatchesAlone)> TurningOnAsync(
        RollcallContext context,
        int districtId,
        IntegrationKind kind,
        Carried carried,
        CancellationToken cancellationToken
    )
    {
        if (await HaveLinkedAsync(context, districtId, kind, others: true, cancellationToken))
        {
            return (
                await WithConnectionsAsync(
                    context,
                    districtId,
                    kind,
                    await ImpactAsync(context, districtId, kind, carried, cancellationToken),
                    cancellationToken
                ),
                false
            );
        }

        // What patrons carry is this service's own, or nobody's: of another one there can be matches alone.
        var matches = await context.SiteOrgs.CountAsync(o => o.DistrictId == districtId && o.Kind != kind, cancellationToken);
        return (await WithConnectionsAsync(context, districtId, kind, new SwitchImpact(0, 0, 0, matches), cancellationToken), true);
    }

    /// <summary>Whether this service's syncs, or those of all others, linked people, or were about to: since the last switch, or as far as their own
    /// memory tells.</summary>
    private static async Task<bool> HaveLinkedAsync(
        RollcallContext context,
        int districtId,
        IntegrationKind kind,
        bool others,
        CancellationToken cancellationToken
    )
    {
        var rows = await context
            .Integrations.AsNoTracking()
            .Where(i => i.DistrictId == districtId && (i.Kind != kind) == others)
            .ToListAsync(cancellationToken);
        if (rows.Exists(o => StateOf(o) is { LastFullAt: not null } or { ChangesSince: not null }))
        {
            return true;
        }

        var operations = context.Operations.AsNoTracking().Where(o => o.DistrictId == districtId && o.Status != OperationStatus.Undone);
        var switched =
            // One that left patrons alone ended nothing.
            await operations.Where(o => o.Kind == OperationKind.Switch && o.AppliedTo > 0).MaxAsync(o => (long?)o.Id, cancellationToken)
            ?? long.MinValue;
        return await operations.AnyAsync(
            o =>
                o.Id > switched
                && o.Integration != null
                && (o.Integration != kind) == others
                && (o.Kind == OperationKind.FullSync || o.Kind == OperationKind.ChangesSync || o.Kind == OperationKind.PersonSync)
                && (o.AppliedTo > 0 || o.HeldAppliedTo > 0),
            cancellationToken
        );
    }

    /// <summary>Turns an integration on, and every other one off.</summary>
    /// <returns>The operation that cleared what another roster had left, to be undone; null when nothing was cleared.</returns>
    /// <exception cref="RollcallException">Nothing is connected, or clearing was not agreed to.</exception>
    /// <param name="districtId">The district.</param>
    /// <param name="kind">The service.</param>
    /// <param name="clear">Clearing what another service left behind was agreed to.</param>
    /// <param name="actor">Who does it, for the audit.</param>
    /// <param name="agreed">What was shown when it was agreed to; null agrees to whatever there is.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<long?> TurnOnAsync(
        int districtId,
        IntegrationKind kind,
        bool clear,
        string actor,
        SwitchImpact? agreed = null,
        CancellationToken cancellationToken = default
    )
    {
        await using var work = await DistrictTransaction.BeginAsync(database, districtId, cancellationToken);
        var context = work.Context;
        var (impact, matchesAlone) = await TurningOnAsync(context, districtId, kind, new Carried(), cancellationToken);
        if (!impact.IsEmpty && !clear)
        {
            throw new RollcallException(
                $"Turning {IntegrationWords.Name(kind)} on turns any other service off and clears {impact.InWords}; patrons stay. Agree to it to go on (--yes on the command line); it can be undone as an operation."
            );
        }

        EnsureAgreed(impact, agreed);

        var row = await GetOrAddAsync(context, districtId, kind, cancellationToken);
        if (SettingsOf(row).Mode is null)
        {
            throw new RollcallException($"{IntegrationWords.Name(kind)} is not connected yet. Connect it first, then turn it on.");
        }

        if (kind == IntegrationKind.ClassLink)
        {
            // Sign-in goes by the tenants of services that are on: one that is another's would be nobody's.
            await connections.CheckTenantIsOwnAsync(districtId, SettingsOf(row).TenantId, orNobodys: false, cancellationToken);
        }

        long? cleared = null;
        if (!impact.IsEmpty)
        {
            cleared = await IntegrationSwitch.ClearAsync(
                database,
                work,
                districtId,
                kind,
                matchesAlone ? SwitchScope.OthersMatches : SwitchScope.Others,
                impact,
                actor,
                time,
                cancellationToken
            );
            RequireFull(row, $"{IntegrationWords.Name(kind)} was turned on");
        }

        var others = await context.Integrations.Where(i => i.DistrictId == districtId && i.Kind != kind).ToListAsync(cancellationToken);
        foreach (var other in others)
        {
            // It would link people to its roster beside this one's.
            var running = await context
                .Operations.Where(o => o.DistrictId == districtId && o.Integration == other.Kind && o.Status == OperationStatus.Running)
                .Where(o => o.Kind == OperationKind.FullSync || o.Kind == OperationKind.ChangesSync || o.Kind == OperationKind.PersonSync)
                .Select(o => (long?)o.Id)
                .FirstOrDefaultAsync(cancellationToken);
            if (running is { } id)
            {
                throw IntegrationSwitch.AtWork(id);
            }

            await OperationQueue.StopSyncsAsync(
                context,
                other,
                $"{IntegrationWords.Name(kind)} was turned on in place of {IntegrationWords.Name(other.Kind)}.",
                time.GetUtcNow(),
                cancellationToken
            );
            if (other.Enabled)
            {
                Inherit(row, other);
            }

            other.Enabled = false;
        }

        if (!row.Enabled)
        {
            Begin(row, time.GetUtcNow());
        }

        row.Enabled = true;
        await SetSiteGuidsAsync(context, districtId, kind, cancellationToken);
        AddAudit(
            context,
            districtId,
            actor,
            "turn on",
            $"{IntegrationWords.Name(kind)}{(cleared is null ? "" : $"; cleared {impact.InWords}, operation {cleared}")}"
        );
        await work.CommitAsync(cancellationToken);
        return cleared;
    }

    /// <summary>Whoever agreed to something agreed to as much as was shown.</summary>
    private static void EnsureAgreed(SwitchImpact impact, SwitchImpact? agreed)
    {
        if (agreed is not null && impact.Exceeds(agreed))
        {
            throw new RollcallException(
                $"More would be cleared by now than you were shown: {impact.InWords}. Nothing was changed; look again, and agree to that if it is right."
            );
        }
    }

    /// <summary>The time of day and the pauses are the district's: a service that has none goes on with those of the one whose place it takes.</summary>
    private static void Inherit(Integration row, Integration other)
    {
        var settings = SettingsOf(row);
        var before = SettingsOf(other).Daily;
        if (settings.Daily is { At: null, Pauses.Count: 0 } && before is not { At: null, Pauses.Count: 0 })
        {
            row.Settings = JsonSerializer.Serialize(
                settings with
                {
                    Daily = settings.Daily with { At = before.At, ChangesOnly = before.ChangesOnly, Pauses = before.Pauses },
                },
                Json
            );
        }
    }

    /// <summary>Nights that would have been due while the service was off are not caught up: somebody looks at a preview first.</summary>
    internal static void Begin(Integration row, DateTimeOffset now)
    {
        var settings = SettingsOf(row);
        if (settings.Daily.At is not null)
        {
            row.Settings = JsonSerializer.Serialize(settings with { Daily = settings.Daily with { Since = now } }, Json);
        }
    }

    /// <summary>Turns an integration off. Identifiers stay; syncs stop.</summary>
    public async Task TurnOffAsync(int districtId, IntegrationKind kind, string actor, CancellationToken cancellationToken = default)
    {
        await using var work = await DistrictTransaction.BeginAsync(database, districtId, cancellationToken);
        var context = work.Context;
        var row = await GetOrAddAsync(context, districtId, kind, cancellationToken);
        row.Enabled = false;
        await OperationQueue.StopSyncsAsync(
            context,
            row,
            $"{IntegrationWords.Name(kind)} was turned off. What had been applied before stays.",
            time.GetUtcNow(),
            cancellationToken
        );
        AddAudit(context, districtId, actor, "turn off", IntegrationWords.Name(kind));
        await work.CommitAsync(cancellationToken);
    }

    /// <summary>The roster's organizations now, each with its site, and a suggestion where name or code agree.</summary>
    public async Task<IReadOnlyList<OrgMatch>> OrgsAsync(
        District district,
        IntegrationKind kind,
        CancellationToken cancellationToken = default
    )
    {
        var orgs = await ReadOrgsAsync(district.Id, kind, cancellationToken);
        await using var context = database.CreateContext();
        var sites = await context.Sites.AsNoTracking().Where(s => s.DistrictId == district.Id).ToListAsync(cancellationToken);
        var matches = await context
            .SiteOrgs.AsNoTracking()
            .Where(o => o.DistrictId == district.Id && o.Kind == kind)
            .ToDictionaryAsync(o => o.OrgId, StringComparer.Ordinal, cancellationToken);
        var codes = sites.ToDictionary(s => s.Id, s => s.Code);
        var taken = TakenCodes(sites);
        var free = Unmatched(sites, matches.Values.Select(m => m.SiteId));
        var row = await context
            .Integrations.AsNoTracking()
            .SingleOrDefaultAsync(i => i.DistrictId == district.Id && i.Kind == kind, cancellationToken);
        var left = SettingsOf(row).NotServed.ToHashSet(StringComparer.Ordinal);
        var result = orgs.Select(o =>
            {
                var site = matches.TryGetValue(o.SourcedId!, out var match) ? codes.GetValueOrDefault(match.SiteId) : null;
                var notServed = match is null && left.Contains(o.SourcedId!);
                var suggested = match is null && !notServed ? Suggest(o, free) : null;
                var lacks = match is null && !notServed && suggested is null && IsSchool(o);
                return new OrgMatch(
                    o.SourcedId!,
                    Text.Clean(o.Name),
                    Text.Clean(o.Type),
                    site,
                    suggested,
                    lacks ? SiteCodes.Propose(o.Identifier, o.Name, o.SourcedId!, taken) : null,
                    notServed
                );
            })
            .ToList();

        // A matched org that the roster no longer has stops every sync: it has to be seen to be unmatched.
        result.AddRange(
            matches
                .Values.Where(m => !orgs.Any(o => o.SourcedId == m.OrgId))
                .Select(m => new OrgMatch(
                    m.OrgId,
                    m.OrgName is null ? null : $"{m.OrgName} (no longer in the roster)",
                    m.OrgType,
                    codes.GetValueOrDefault(m.SiteId),
                    null
                ))
        );
        return result;
    }

    /// <summary>Matches an organization to a site. A site may have several; the first is its GUID.</summary>
    /// <exception cref="RollcallException">There is no such site or organization, or the organization belongs to another site.</exception>
    public async Task MatchAsync(
        District district,
        IntegrationKind kind,
        string siteCode,
        string orgId,
        string actor,
        CancellationToken cancellationToken = default
    )
    {
        var from = await FindAsync(district.Id, kind, cancellationToken);
        var org =
            (await ReadOrgsAsync(district.Id, kind, cancellationToken)).FirstOrDefault(o =>
                string.Equals(o.SourcedId, orgId, StringComparison.Ordinal)
            ) ?? throw UnknownOrg(kind, orgId);
        await using var work = await DistrictTransaction.BeginAsync(database, district.Id, cancellationToken);
        var context = work.Context;
        var site = await SiteService.FindAsync(context, district.Id, siteCode, cancellationToken);
        var matches = await context.SiteOrgs.Where(o => o.DistrictId == district.Id && o.Kind == kind).ToListAsync(cancellationToken);
        var have = matches.Find(m => string.Equals(m.OrgId, orgId, StringComparison.Ordinal));
        if (have is not null && have.SiteId != site.Id)
        {
            var other = await context.Sites.SingleAsync(s => s.DistrictId == district.Id && s.Id == have.SiteId, cancellationToken);
            throw new RollcallException(
                $"Organization {orgId} is matched to site {other.Code}. Unmatch it first: under Site Mapping, or with 'rollcall {IntegrationWords.Verb(kind)} unmatch {orgId}'."
            );
        }

        if (have is not null)
        {
            return;
        }

        var (row, isOn) = await IsOnAsync(context, district.Id, kind, cancellationToken);
        EnsureConnectedAsBefore(row, from);
        Join(context, row, site, org, isOn, [.. matches.Where(m => m.SiteId == site.Id)], actor);
        await work.CommitAsync(cancellationToken);
    }

    /// <summary>Matches every organization for which a site is suggested: all of them, or none. Of several for one site it is the first.</summary>
    /// <returns>How many.</returns>
    public async Task<int> MatchSuggestedAsync(
        District district,
        IntegrationKind kind,
        string actor,
        CancellationToken cancellationToken = default
    )
    {
        var from = await FindAsync(district.Id, kind, cancellationToken);
        var orgs = await ReadOrgsAsync(district.Id, kind, cancellationToken);
        await using var work = await DistrictTransaction.BeginAsync(database, district.Id, cancellationToken);
        var context = work.Context;
        var sites = await context.Sites.Where(s => s.DistrictId == district.Id).ToListAsync(cancellationToken);
        var matches = await context.SiteOrgs.Where(o => o.DistrictId == district.Id && o.Kind == kind).ToListAsync(cancellationToken);
        var free = Unmatched(sites, matches.Select(m => m.SiteId));
        var matched = matches.Select(m => m.OrgId).ToHashSet(StringComparer.Ordinal);
        var (row, isOn) = await IsOnAsync(context, district.Id, kind, cancellationToken);
        EnsureConnectedAsBefore(row, from);
        var taken = new HashSet<int>();
        foreach (var org in orgs.Where(o => !matched.Contains(o.SourcedId!) && !SettingsOf(row).NotServed.Contains(o.SourcedId!)))
        {
            if (free.Find(s => s.Code == Suggest(org, free)) is { } site && taken.Add(site.Id))
            {
                Join(context, row, site, org, isOn, [], actor);
            }
        }

        if (taken.Count > 0)
        {
            await work.CommitAsync(cancellationToken);
        }

        return taken.Count;
    }

    /// <summary>Organizations that were read of one roster are not those of another. Nobody can connect elsewhere any more: the district is locked.</summary>
    private static void EnsureConnectedAsBefore(Integration row, Integration? before)
    {
        var (now, then) = (SettingsOf(row), SettingsOf(before));
        if (
            (now.Mode, now.TenantId, now.ApplicationId, now.Url, now.Key)
            != (then.Mode, then.TenantId, then.ApplicationId, then.Url, then.Key)
        )
        {
            throw new RollcallException(
                $"{IntegrationWords.Name(row.Kind)} was connected otherwise while its organizations were read. Nothing was matched; look at those there are now."
            );
        }
    }

    /// <summary>Matches an organization to a site that has these already. The caller commits.</summary>
    private void Join(
        RollcallContext context,
        Integration row,
        Site site,
        Org org,
        bool isOn,
        IReadOnlyCollection<SiteOrg> own,
        string actor
    )
    {
        context.SiteOrgs.Add(
            new SiteOrg
            {
                DistrictId = row.DistrictId,
                Kind = row.Kind,
                OrgId = org.SourcedId!,
                SiteId = site.Id,
                Position = own.Count == 0 ? 0 : own.Max(m => m.Position) + 1,
                OrgName = Text.Clean(org.Name),
                OrgType = Text.Clean(org.Type),
            }
        );
        if (isOn && own.Count == 0)
        {
            site.Guid = org.SourcedId;
        }

        Serve(row, org.SourcedId!);
        Bump(row);
        AddAudit(context, row.DistrictId, actor, "match", $"organization {org.SourcedId} to site {site.Code}");
    }

    /// <summary>Makes sites for organizations of the roster and matches each to its own: all of them, or none.</summary>
    /// <param name="wanted">Null: every school that has no site and for which none is suggested.</param>
    /// <returns>The new sites, in the order asked for.</returns>
    /// <exception cref="RollcallException">
    /// There is nothing to add; there is no such organization, or it has a site; a code or a name is taken or does not fit.
    /// </exception>
    public async Task<IReadOnlyList<Site>> AddSitesAsync(
        District district,
        IntegrationKind kind,
        IReadOnlyList<SiteOfOrg>? wanted,
        string actor,
        CancellationToken cancellationToken = default
    )
    {
        if (wanted is { Count: 0 })
        {
            throw new RollcallException("Choose at least one school: a site is added for each.");
        }

        var from = await FindAsync(district.Id, kind, cancellationToken);
        var orgs = await ReadOrgsAsync(district.Id, kind, cancellationToken);
        await using var work = await DistrictTransaction.BeginAsync(database, district.Id, cancellationToken);
        var context = work.Context;
        var sites = await context.Sites.Where(s => s.DistrictId == district.Id).ToListAsync(cancellationToken);
        var had = sites.Count;
        var matches = (
            await context.SiteOrgs.Where(o => o.DistrictId == district.Id && o.Kind == kind).ToListAsync(cancellationToken)
        ).ToDictionary(m => m.OrgId, m => m.SiteId, StringComparer.Ordinal);
        var before = Unmatched(sites, matches.Values);
        var (row, isOn) = await IsOnAsync(context, district.Id, kind, cancellationToken);
        var left = SettingsOf(row).NotServed;
        wanted ??=
        [
            .. orgs.Where(o =>
                    IsSchool(o) && !matches.ContainsKey(o.SourcedId!) && !left.Contains(o.SourcedId!) && Suggest(o, before) is null
                )
                .Select(o => new SiteOfOrg(o.SourcedId!)),
        ];
        if (wanted.Count == 0)
        {
            throw new RollcallException(
                "Every school of the roster has a site, or one is suggested for it, or is not served: there is none to add."
            );
        }

        EnsureConnectedAsBefore(row, from);
        var taken = TakenCodes(sites);
        taken.UnionWith(wanted.Select(w => Text.Clean(w.Code)).OfType<string>());
        foreach (var one in wanted)
        {
            var org =
                orgs.FirstOrDefault(o => string.Equals(o.SourcedId, one.Org, StringComparison.Ordinal)) ?? throw UnknownOrg(kind, one.Org);
            var called = Text.Clean(org.Name) ?? one.Org;
            if (matches.TryGetValue(one.Org, out var siteId))
            {
                var other = sites.Find(s => s.Id == siteId)!;
                throw new RollcallException(
                    sites.IndexOf(other) >= had
                        ? $"Organization {one.Org} ({called}) is named twice: one site is added for it."
                        : $"Organization {one.Org} ({called}) is matched to site {other.Code} already: leave it out."
                );
            }

            var name = Text.Clean(one.Name) ?? Text.Cut(called, SiteService.LongestName);
            if (sites.Find(s => Text.Fold(s.Name) == Text.Fold(name)) is { } namesake)
            {
                throw new RollcallException(
                    sites.IndexOf(namesake) >= had
                        ? $"Two of the new sites would be named {name}: give {one.Org} another name."
                        : $"There is a site named {name} already, {namesake.Code}: match it to {one.Org}, or give the new one another name."
                );
            }

            var code = Text.Clean(one.Code) ?? SiteCodes.Propose(org.Identifier, org.Name, one.Org, taken);
            if (sites.Find(s => string.Equals(s.Code, code, StringComparison.OrdinalIgnoreCase)) is { } holder)
            {
                throw new RollcallException(
                    $"The code {code} cannot be {called}'s: {(sites.IndexOf(holder) >= had ? $"another new site, {holder.Name}, has it" : $"site {holder.Name} has it")}. Choose another code."
                );
            }

            Site site;
            try
            {
                site = SiteService.Add(context, district.Id, sites, code, name);
            }
            catch (RollcallException e)
            {
                throw new RollcallException($"{called} ({one.Org}): {e.Message}");
            }

            site.Guid = isOn ? one.Org : null;
            matches.Add(one.Org, site.Id);
            context.SiteOrgs.Add(
                new SiteOrg
                {
                    DistrictId = district.Id,
                    Kind = kind,
                    OrgId = one.Org,
                    SiteId = site.Id,
                    Position = 0,
                    OrgName = Text.Clean(org.Name),
                    OrgType = Text.Clean(org.Type),
                }
            );
            Serve(row, one.Org);
            AddAudit(context, district.Id, actor, "site", $"site {site.Code} added: name {site.Name}, matched to organization {one.Org}");
        }

        Bump(row);
        await work.CommitAsync(cancellationToken);
        return sites[had..];
    }

    /// <summary>Whether an organization is matched to a site.</summary>
    public async Task<bool> IsMatchedAsync(
        int districtId,
        IntegrationKind kind,
        string orgId,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        return await context.SiteOrgs.AnyAsync(o => o.DistrictId == districtId && o.Kind == kind && o.OrgId == orgId, cancellationToken);
    }

    /// <summary>Takes an organization off its site.</summary>
    /// <exception cref="RollcallException">It is not matched.</exception>
    public async Task UnmatchAsync(
        District district,
        IntegrationKind kind,
        string orgId,
        string actor,
        CancellationToken cancellationToken = default
    )
    {
        await using var work = await DistrictTransaction.BeginAsync(database, district.Id, cancellationToken);
        var context = work.Context;
        var matches = await context.SiteOrgs.Where(o => o.DistrictId == district.Id && o.Kind == kind).ToListAsync(cancellationToken);
        var match =
            matches.Find(m => string.Equals(m.OrgId, orgId, StringComparison.Ordinal))
            ?? throw new RollcallException($"Organization {orgId} is not matched to any site.");
        context.SiteOrgs.Remove(match);
        var site = await context.Sites.SingleAsync(s => s.DistrictId == district.Id && s.Id == match.SiteId, cancellationToken);
        var (row, isOn) = await IsOnAsync(context, district.Id, kind, cancellationToken);
        if (isOn)
        {
            site.Guid = matches.Where(m => m.SiteId == site.Id && m != match).OrderBy(m => m.Position).FirstOrDefault()?.OrgId;
        }

        Bump(row);
        AddAudit(context, district.Id, actor, "unmatch", $"organization {orgId} from site {site.Code}");
        await work.CommitAsync(cancellationToken);
    }

    /// <summary>Says of an organization that the library does not serve it, or takes that back. Either way nobody of it is taken in while it is not
    /// matched; one that is not served is left out without a warning.</summary>
    /// <exception cref="RollcallException">The roster has none such, it is matched, or nobody said so of it.</exception>
    public async Task SetServedAsync(
        District district,
        IntegrationKind kind,
        string orgId,
        bool served,
        string actor,
        CancellationToken cancellationToken = default
    )
    {
        var from = await FindAsync(district.Id, kind, cancellationToken);
        if (
            !served
            && !(await ReadOrgsAsync(district.Id, kind, cancellationToken)).Any(o =>
                string.Equals(o.SourcedId, orgId, StringComparison.Ordinal)
            )
        )
        {
            throw UnknownOrg(kind, orgId);
        }

        await using var work = await DistrictTransaction.BeginAsync(database, district.Id, cancellationToken);
        var context = work.Context;
        var (row, _) = await IsOnAsync(context, district.Id, kind, cancellationToken);
        var marked = SettingsOf(row).NotServed.Contains(orgId);
        if (served && !marked)
        {
            throw new RollcallException($"Nobody said of organization {Text.Cut(orgId, 100)} that the library does not serve it.");
        }

        if (!served)
        {
            EnsureConnectedAsBefore(row, from);
            if (await context.SiteOrgs.AnyAsync(o => o.DistrictId == district.Id && o.Kind == kind && o.OrgId == orgId, cancellationToken))
            {
                throw new RollcallException(
                    $"Organization {orgId} is matched to a site. Unmatch it first: under Site Mapping, or with 'rollcall {IntegrationWords.Verb(kind)} unmatch {orgId}'."
                );
            }

            if (marked)
            {
                return;
            }

            row.Settings = JsonSerializer.Serialize(SettingsOf(row) with { NotServed = [.. SettingsOf(row).NotServed, orgId] }, Json);
        }
        else
        {
            Serve(row, orgId);
        }

        // Whom a sync writes is as before: it need not be a full one.
        AddAudit(
            context,
            district.Id,
            actor,
            "not served",
            $"{IntegrationWords.Name(kind)}: organization {orgId} is {(served ? "served again" : "not served by the library")}"
        );
        await work.CommitAsync(cancellationToken);
    }

    /// <summary>What has a site is served.</summary>
    private static void Serve(Integration row, string orgId)
    {
        var settings = SettingsOf(row);
        if (settings.NotServed.Contains(orgId))
        {
            row.Settings = JsonSerializer.Serialize(settings with { NotServed = [.. settings.NotServed.Where(o => o != orgId)] }, Json);
        }
    }

    private static RollcallException UnknownOrg(IntegrationKind kind, string orgId) =>
        new(
            $"The roster has no organization {Text.Cut(orgId, 100)}. Site Mapping and 'rollcall {IntegrationWords.Verb(kind)} orgs' show those there are."
        );

    /// <summary>Changes roles, mapping, policies or thresholds. The next sync is a full one.</summary>
    public async Task ConfigureAsync(
        int districtId,
        IntegrationKind kind,
        string actor,
        string what,
        Func<IntegrationSettings, IntegrationSettings> change,
        CancellationToken cancellationToken = default
    )
    {
        await using var work = await DistrictTransaction.BeginAsync(database, districtId, cancellationToken);
        var context = work.Context;
        var row = await GetOrAddAsync(context, districtId, kind, cancellationToken);
        row.Settings = JsonSerializer.Serialize(change(SettingsOf(row)), Json);
        Bump(row);
        AddAudit(context, districtId, actor, "configure", $"{IntegrationWords.Name(kind)}: {what}");
        await work.CommitAsync(cancellationToken);
    }

    internal async Task<IRosterSource> OpenAsync(
        int districtId,
        IntegrationKind kind,
        CancellationToken cancellationToken,
        bool somebodyWaits = false
    )
    {
        var row = await FindAsync(districtId, kind, cancellationToken);
        return await connections.OpenAsync(
            districtId,
            kind,
            SettingsOf(row),
            row?.Secret,
            cancellationToken,
            somebodyWaits: somebodyWaits,
            feed: StateOf(row).Feed
        );
    }

    /// <summary>Opens the stored connection to be examined.</summary>
    /// <exception cref="RollcallException">Nothing is connected, or what is cannot be examined.</exception>
    internal async Task<OpenProbe> OpenForProbeAsync(int districtId, IntegrationKind kind, CancellationToken cancellationToken)
    {
        var source = await OpenAsync(districtId, kind, cancellationToken);
        if (source is IRosterProbe probe)
        {
            return new OpenProbe(source, probe);
        }

        source.Dispose();
        throw new RollcallException($"A roster of {IntegrationWords.Name(kind)} cannot be examined.");
    }

    internal async Task<IReadOnlyList<Org>> ReadOrgsAsync(int districtId, IntegrationKind kind, CancellationToken cancellationToken)
    {
        using var source = await OpenAsync(districtId, kind, cancellationToken, somebodyWaits: true);
        var orgs = new Dictionary<string, Org>(StringComparer.Ordinal);
        var walk = source.Orgs();
        var attempt = 1;
        await foreach (var page in walk.ReadAsync(cancellationToken))
        {
            if (page.Attempt != attempt)
            {
                attempt = page.Attempt;
                orgs.Clear();
            }

            foreach (var org in page.Records)
            {
                if (org.SourcedId is not null)
                {
                    orgs[org.SourcedId] = org;
                }
            }
        }

        return
        [
            .. orgs
                .Values.Where(o => o.Status == RecordStatus.Active)
                .OrderBy(o => o.Type == "school" ? 0 : 1)
                .ThenBy(o => o.Name, StringComparer.OrdinalIgnoreCase),
        ];
    }

    private async Task CheckTenantIsFreeAsync(
        District district,
        string tenant,
        bool asOperator,
        string actor,
        CancellationToken cancellationToken
    )
    {
        // Whether another district has it is the installation's to know.
        await using var context = database.CreateContextAsOwner();
        var owner = await context.DistrictTenants.AsNoTracking().SingleOrDefaultAsync(t => t.TenantId == tenant, cancellationToken);
        if (owner is not null && owner.DistrictId != district.Id)
        {
            throw new RollcallException(
                $"Tenant {tenant} is used by another district of this installation. One tenant belongs to one district; check the number."
                    + (
                        asOperator
                            ? " If the other one has it by mistake, take it back there: under All districts, or by 'rollcall district disallow-tenant'."
                            : " If it is right, this installation's operator can take it back from the other one."
                    )
            );
        }

        if (owner is null && !asOperator)
        {
            await requests.AskAsync(district.Id, tenant, actor, cancellationToken);
            throw new RollcallException(
                $"Tenant {tenant} is waiting for this installation's operator, who has been asked to allow it: under All districts, or by: rollcall district allow-tenant {district.Code} {tenant}. Connect again when that is done."
            );
        }
    }

    /// <summary>Proves that the roster can be read. The name is null where the service cannot tell it.</summary>
    private async Task<(string? Name, bool Confirmed, string Message)> ProbeAsync(
        int districtId,
        IntegrationKind kind,
        IntegrationSettings settings,
        string? stored,
        string? partnerKey,
        CancellationToken cancellationToken,
        bool connecting = false
    )
    {
        string? name = null;
        if (settings.Mode == ConnectionMode.Proxy)
        {
            using var directory = await connections.OpenDirectoryAsync(settings.Url, cancellationToken, partnerKey, somebodyWaits: true);
            var check = await RosterConnections.CheckTenantAsync(directory, settings, cancellationToken);
            if (check.State != TenantState.Valid)
            {
                throw new RollcallException(check.Message);
            }

            name = Text.Clean(check.TenantName) ?? $"Tenant {settings.TenantId}";
        }

        using var source = await connections.OpenAsync(
            districtId,
            kind,
            settings,
            stored,
            cancellationToken,
            partnerKey,
            somebodyWaits: true,
            connecting: connecting
        );
        if (source is RestRosterSource rest)
        {
            await rest.ProbeAsync(cancellationToken);
        }
        else if (source is CsvFeedSource feed)
        {
            return (null, false, FeedInWords(feed, settings.Url!));
        }

        var proved = settings.TenantId is not null && settings.Login.ConfirmedTenant == settings.TenantId;
        return (
            name,
            name is not null || proved,
            name is not null ? $"Connected to {name}."
            : proved ? $"Connected. That this is the roster of tenant {settings.TenantId} a sign-in with ClassLink has confirmed."
            : settings.TenantId is not null
                ? $"Connected. Tenant {settings.TenantId} is unconfirmed until the first sign-in with ClassLink: compare it with the number in ClassLink's console, for with a wrong one nobody can sign in."
            : kind == IntegrationKind.OneRoster ? ServerInWords(settings)
            : "Connected."
        );
    }

    private static string FeedInWords(CsvFeedSource feed, string folder)
    {
        var packages = feed.Source.Packages;
        var last = packages[^1];
        return $"Connected to {folder}: {last.Name} is a {(last.HasAllPeople ? "complete package" : "package of changes")}{(last.Findings.Count == 0 ? "" : $" with {last.Findings.Count} {(last.Findings.Count == 1 ? "finding" : "findings")}, see 'rollcall oneroster-csv check'")}.";
    }

    private static string ServerInWords(IntegrationSettings settings) =>
        $"Connected to a OneRoster{(settings.Version is { } version ? " " + version : "")} server at {settings.Url}, "
        + settings.Mode switch
        {
            ConnectionMode.ClientCredentials =>
                $"with tokens asked for {InWords(settings.TokenForm)}{(string.IsNullOrEmpty(settings.Scope) ? " and without scopes" : "")}.",
            ConnectionMode.Direct => $"with requests signed by {settings.Signature}.",
            _ => "with a fixed token.",
        };

    private static string InWords(TokenRequestForm? form) =>
        form switch
        {
            TokenRequestForm.Body => "by a form",
            TokenRequestForm.Query => "in the query",
            TokenRequestForm.Json => "by JSON",
            _ => "by Basic",
        };

    /// <summary>Completes the settings with what the server was found to want.</summary>
    private async Task<IntegrationSettings> FindServerAsync(
        IntegrationSettings settings,
        ConnectRequest request,
        CancellationToken cancellationToken
    )
    {
        var bearer = request.Mode == ConnectionMode.Bearer;
        var server = await connections.FindServerAsync(
            new RosterServerQuery
            {
                Address = request.Url ?? "",
                Version = request.Version,
                TokenUrl = request.TokenUrl,
                Key = request.Key,
                Secret = bearer ? null : request.Secret,
                Token = bearer ? request.Secret : null,
                Form = request.TokenForm,
                Scope = request.Scope,
                Signature = request.Signature is null ? null : RosterConnections.Hash(request.Signature),
            },
            cancellationToken
        );
        return settings with
        {
            Url = server.Address,
            Version = server.Version switch
            {
                OneRosterVersion.V11 => "1.1",
                OneRosterVersion.V12 => "1.2",
                _ => null,
            },
            TokenForm = server.Form,
            Scope = server.Scope,
            Signature = server.Signature switch
            {
                OAuthSignature.HmacSha1 => "HMAC-SHA1",
                OAuthSignature.HmacSha256 => "HMAC-SHA256",
                _ => null,
            },
        };
    }

    /// <summary>Where anything is cleared, the other services lose their connections too.</summary>
    private static async Task<SwitchImpact> WithConnectionsAsync(
        RollcallContext context,
        int districtId,
        IntegrationKind kind,
        SwitchImpact impact,
        CancellationToken cancellationToken
    )
    {
        if (impact.IsEmpty)
        {
            return impact;
        }

        var others = await context
            .Integrations.AsNoTracking()
            .Where(i => i.DistrictId == districtId && i.Kind != kind)
            .ToListAsync(cancellationToken);
        return impact with { Connections = others.Count(o => SettingsOf(o).Mode is not null) };
    }

    private static async Task<SwitchImpact> ImpactAsync(
        RollcallContext context,
        int districtId,
        IntegrationKind? except,
        Carried carried,
        CancellationToken cancellationToken
    ) =>
        await carried.OfAsync(context, districtId, cancellationToken) with
        {
            Matches = await context.SiteOrgs.CountAsync(
                o => o.DistrictId == districtId && (except == null || o.Kind != except),
                cancellationToken
            ),
        };

    private static async Task<Integration> GetOrAddAsync(
        RollcallContext context,
        int districtId,
        IntegrationKind kind,
        CancellationToken cancellationToken
    )
    {
        var row = await context.Integrations.SingleOrDefaultAsync(i => i.DistrictId == districtId && i.Kind == kind, cancellationToken);
        if (row is null)
        {
            row = new Integration { DistrictId = districtId, Kind = kind };
            context.Integrations.Add(row);
        }

        return row;
    }

    /// <summary>The service's row, and whether its matches are the GUIDs of sites: those of one that is only prepared leave them to the one that
    /// is on.</summary>
    private static async Task<(Integration Row, bool IsOn)> IsOnAsync(
        RollcallContext context,
        int districtId,
        IntegrationKind kind,
        CancellationToken cancellationToken
    ) =>
        (
            await GetOrAddAsync(context, districtId, kind, cancellationToken),
            !await context.Integrations.AnyAsync(i => i.DistrictId == districtId && i.Enabled && i.Kind != kind, cancellationToken)
        );

    /// <summary>The GUID of a site is its first match with the service that is on.</summary>
    internal static async Task SetSiteGuidsAsync(
        RollcallContext context,
        int districtId,
        IntegrationKind kind,
        CancellationToken cancellationToken
    )
    {
        var matches = await context
            .SiteOrgs.AsNoTracking()
            .Where(o => o.DistrictId == districtId && o.Kind == kind)
            .ToListAsync(cancellationToken);
        var first = matches.GroupBy(o => o.SiteId).ToDictionary(g => g.Key, g => g.MinBy(o => o.Position)!.OrgId);
        foreach (var site in await context.Sites.Where(s => s.DistrictId == districtId).ToListAsync(cancellationToken))
        {
            site.Guid = first.GetValueOrDefault(site.Id);
        }
    }

    /// <summary>The next sync has to read everything. What was read of another roster is forgotten; one that is only reached in another way has
    /// been synced all the same.</summary>
    private static void Bump(Integration row, bool reconnected = false, bool elsewhere = false)
    {
        var state = StateOf(row);
        row.State = JsonSerializer.Serialize(
            state with
            {
                ConfigVersion = state.ConfigVersion + 1,
                Revision = null,
                FullDue = "settings changed",
                LastFullAt = elsewhere ? null : state.LastFullAt,
                LastPreviewAt = elsewhere ? null : state.LastPreviewAt,
                UndoneRun = elsewhere ? null : state.UndoneRun,
                Feed = reconnected ? null : state.Feed,
            },
            Json
        );
    }

    /// <summary>The next sync has to read everything.</summary>
    internal static void RequireFull(Integration row, string why)
    {
        var state = StateOf(row);
        row.State = JsonSerializer.Serialize(state with { FullDue = why, FullAsked = state.FullAsked + 1, Revision = null }, Json);
    }

    /// <summary>The next sync of the service that is on has to read everything.</summary>
    internal static async Task RequireFullAsync(RollcallContext context, int districtId, string why, CancellationToken cancellationToken)
    {
        foreach (var row in await context.Integrations.Where(i => i.DistrictId == districtId && i.Enabled).ToListAsync(cancellationToken))
        {
            RequireFull(row, why);
        }
    }

    /// <summary>Nothing runs by itself until somebody resumes.</summary>
    internal static void StopDaily(Integration row, string why, bool byFailures = false)
    {
        var settings = SettingsOf(row);
        row.Settings = JsonSerializer.Serialize(
            settings with
            {
                Daily = settings.Daily with { StoppedBecause = why, StoppedByFailures = byFailures },
            },
            Json
        );
    }

    /// <summary>Daily Operations that failures had stopped go on. One that somebody or an undo stopped is left alone.</summary>
    /// <returns>Whether anything changed.</returns>
    internal static bool ResumeAfterFailures(Integration row, DateTimeOffset now)
    {
        var settings = SettingsOf(row);
        if (!settings.Daily.StoppedByFailures)
        {
            return false;
        }

        row.Settings = JsonSerializer.Serialize(
            settings with
            {
                Daily = settings.Daily with { StoppedBecause = null, StoppedByFailures = false, Since = now },
            },
            Json
        );
        return true;
    }

    private static string ModeWords(ConnectionMode mode) =>
        mode switch
        {
            ConnectionMode.Proxy => "through ClassLink's proxy with the partner key",
            ConnectionMode.Prefix => "through ClassLink's proxy with a token",
            ConnectionMode.Direct => "directly, with a key and a secret",
            ConnectionMode.ClientCredentials => "with a key and a secret for a token",
            ConnectionMode.Bearer => "with a fixed token",
            _ => "from a folder",
        };

    private void AddAudit(RollcallContext context, int districtId, string actor, string action, string details) =>
        context.AuditEntries.Add(
            new AuditEntry
            {
                DistrictId = districtId,
                At = time.GetUtcNow(),
                Actor = actor,
                Action = action,
                Details = details,
            }
        );

    private static bool IsSchool(Org org) => string.Equals(org.Type, "school", StringComparison.OrdinalIgnoreCase);

    private static HashSet<string> TakenCodes(IEnumerable<Site> sites) =>
        sites.Select(s => s.Code).ToHashSet(StringComparer.OrdinalIgnoreCase);

    private static List<Site> Unmatched(IEnumerable<Site> sites, IEnumerable<int> matched)
    {
        var have = matched.ToHashSet();
        return [.. sites.Where(s => !have.Contains(s.Id))];
    }

    private static string? Suggest(Org org, List<Site> unmatched)
    {
        var name = Words(org.Name);
        return unmatched
            .Find(s =>
                Words(s.Name) == name
                || (Text.Clean(org.Identifier) is { } id && string.Equals(s.Code, id, StringComparison.OrdinalIgnoreCase))
            )
            ?.Code;

        static string Words(string? text) =>
            new([.. Text.Fold(text).Replace("school", "", StringComparison.Ordinal).Where(char.IsLetterOrDigit)]);
    }
}
