using System.Text.Json;
using System.Text.Json.Serialization;
using Rollcall.Mapping;
using Rollcall.Patrons;

namespace Rollcall.Integrations;

/// <summary>The roster services that a district can turn on. At most one is on.</summary>
public enum IntegrationKind
{
    ClassLink = 1,
    OneRoster = 2,
    OneRosterCsv = 3,
}

/// <summary>How the roster is reached.</summary>
public enum ConnectionMode
{
    /// <summary>ClassLink proxy with the installation's partner key.</summary>
    Proxy = 1,

    /// <summary>ClassLink proxy with a pasted prefix and token.</summary>
    Prefix = 2,

    /// <summary>Directly, requests signed with OAuth 1.0a.</summary>
    Direct = 3,

    /// <summary>A OneRoster server with OAuth 2 client credentials.</summary>
    ClientCredentials = 4,

    /// <summary>A OneRoster server with a fixed bearer token.</summary>
    Bearer = 5,

    /// <summary>A folder with OneRoster CSV.</summary>
    Folder = 6,
}

/// <summary>A district's settings for one roster service.</summary>
public sealed class Integration
{
    public int DistrictId { get; set; }
    public IntegrationKind Kind { get; set; }
    public bool Enabled { get; set; }

    /// <summary><see cref="IntegrationSettings"/> as JSON.</summary>
    public string Settings { get; set; } = "{}";

    /// <summary>Secrets of the connection, protected; null when it needs none. Never shown again.</summary>
    public string? Secret { get; set; }

    /// <summary><see cref="IntegrationState"/> as JSON: what syncs have learnt.</summary>
    public string State { get; set; } = "{}";
}

/// <summary>Everything a person chose on the integration's page, secrets aside.</summary>
public sealed record IntegrationSettings
{
    /// <summary>What a newer version wrote, beside which this one works during an upgrade: it is written back as it was.</summary>
    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Unknown { get; init; }

    public ConnectionMode? Mode { get; init; }

    /// <summary>ClassLink's number of the district; null for other services.</summary>
    public string? TenantId { get; init; }

    /// <summary>The application of ClassLink's list that somebody chose, where the tenant has several; null where there is nothing to choose.</summary>
    public string? ApplicationId { get; init; }

    /// <summary>The proxy's address, a pasted prefix, a server's address or a folder.</summary>
    public string? Url { get; init; }

    /// <summary>OAuth consumer key or client id; no secret.</summary>
    public string? Key { get; init; }

    /// <summary><c>HMAC-SHA256</c> or <c>HMAC-SHA1</c>.</summary>
    public string? Signature { get; init; }

    /// <summary><c>1.1</c> or <c>1.2</c>, as the server's path says; null for other services and where it does not say.</summary>
    public string? Version { get; init; }

    /// <summary>Where client credentials are exchanged for a token; null in other modes.</summary>
    public string? TokenUrl { get; init; }

    /// <summary>How a token is asked for; null in other modes.</summary>
    public OneRoster.Auth.TokenRequestForm? TokenForm { get; init; }

    /// <summary>The scopes asked for; blank for none.</summary>
    public string? Scope { get; init; }

    /// <summary>The district's name as the roster service gave it.</summary>
    public string? DistrictName { get; init; }

    public IReadOnlyList<RoleGroup> Roles { get; init; } = [];

    /// <summary>Ids of organizations that somebody said the library does not serve: that nobody of them is taken in is no warning.</summary>
    public IReadOnlyList<string> NotServed { get; init; } = [];
    public FieldMap Map { get; init; } = new();
    public Thresholds Thresholds { get; init; } = new();
    public DailyOperations Daily { get; init; } = new();
    public ClassLinkLogin Login { get; init; } = new();
}

/// <summary>Sign-in with ClassLink as one district has it.</summary>
public sealed record ClassLinkLogin
{
    /// <summary>What a newer version wrote, beside which this one works during an upgrade: it is written back as it was.</summary>
    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Unknown { get; init; }

    public bool On { get; init; }

    /// <summary>A person whom neither SourcedId nor LoginId finds may be found by an e-mail address that only one patron has.</summary>
    public bool ByEmail { get; init; }

    /// <summary>The tenant that a sign-in of a linked person has proved to belong to this roster; null before.</summary>
    public string? ConfirmedTenant { get; init; }
}

/// <summary>When a district's roster is synced by itself.</summary>
public sealed record DailyOperations
{
    /// <summary>What a newer version wrote, beside which this one works during an upgrade: it is written back as it was.</summary>
    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Unknown { get; init; }

    /// <summary>Time of day where the district is; null while nothing runs by itself.</summary>
    public TimeOnly? At { get; init; }

    /// <summary>The time of day that somebody chose, kept while nothing runs by itself; null where none was chosen.</summary>
    public TimeOnly? Chosen { get; init; }

    /// <summary>When this was set or resumed: what would have been due before is not caught up.</summary>
    public DateTimeOffset? Since { get; init; }

    /// <summary>Changes since the last run only; a full one still comes at least weekly.</summary>
    public bool ChangesOnly { get; init; }

    /// <summary>Dates on which nothing runs by itself.</summary>
    public IReadOnlyList<PauseDates> Pauses { get; init; } = [];

    /// <summary>Why nothing runs until somebody resumes; null when nothing stands in the way.</summary>
    public string? StoppedBecause { get; init; }

    /// <summary>Somebody said that nothing is to run by itself: nobody is reminded of it.</summary>
    public bool ByHand { get; init; }

    /// <summary>It stopped by itself after night upon night had failed: a sync that succeeds resumes it.</summary>
    public bool StoppedByFailures { get; init; }
}

/// <summary>Both days are in it.</summary>
public sealed record PauseDates(DateOnly From, DateOnly To);

/// <summary>When changes wait for a person.</summary>
public sealed record Thresholds
{
    /// <summary>What a newer version wrote, beside which this one works during an upgrade: it is written back as it was.</summary>
    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Unknown { get; init; }

    public Threshold Transfers { get; init; } = new(10, 10);
    public Threshold Updates { get; init; } = new(10, 10);
    public Threshold Creates { get; init; } = new(0, 10);

    /// <summary>Those that differ at a site, by site id.</summary>
    public IReadOnlyDictionary<int, SiteThresholds> Sites { get; init; } = new Dictionary<int, SiteThresholds>();

    /// <summary>What holds at a site.</summary>
    public Threshold At(int site, Operations.Risk risk)
    {
        var own = Sites.GetValueOrDefault(site);
        return risk switch
        {
            Operations.Risk.Transfers => own?.Transfers ?? Transfers,
            Operations.Risk.Updates => own?.Updates ?? Updates,
            _ => own?.Creates ?? Creates,
        };
    }
}

/// <summary>Thresholds of one site; null takes the district's.</summary>
public sealed record SiteThresholds(Threshold? Transfers = null, Threshold? Updates = null, Threshold? Creates = null);

/// <summary>Held when at least <paramref name="Count"/> people and more than <paramref name="Percent"/> percent.</summary>
public sealed record Threshold(double Percent, int Count);

/// <summary>What syncs have learnt about a roster.</summary>
public sealed record IntegrationState
{
    /// <summary>What a newer version wrote, beside which this one works during an upgrade: it is written back as it was.</summary>
    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Unknown { get; init; }

    /// <summary>Raised by every change of connection, roles, matches, mapping or policies.</summary>
    public long ConfigVersion { get; init; } = 1;

    /// <summary>When the last verified full pull began; null before the first.</summary>
    public DateTimeOffset? LastFullAt { get; init; }

    /// <summary>When the last full preview was read that was approved and written; null before the first. Syncs do not go on from it: whoever
    /// looks at a preview may take days, and what the roster said meanwhile is not in it.</summary>
    public DateTimeOffset? LastPreviewAt { get; init; }

    /// <summary>The whole roster has been written once, by a sync or by a preview that was approved.</summary>
    [JsonIgnore]
    public bool WasWritten => LastFullAt is not null || LastPreviewAt is not null;

    /// <summary>The provider's revision at that pull; null when it sends none.</summary>
    public string? Revision { get; init; }

    /// <summary>When the last run began that read at least all changes; null before the first.</summary>
    public DateTimeOffset? ChangesSince { get; init; }

    /// <summary>A changes sync ran since the last full one.</summary>
    public bool ChangesRan { get; init; }

    /// <summary>When the last full sync ended.</summary>
    public DateTimeOffset? FullEndedAt { get; init; }

    /// <summary>The fields that the last full pull shared, by role group, as bits in the order of <see cref="FieldMap.SyncedFields"/>.</summary>
    public IReadOnlyDictionary<RoleGroup, long> Shared { get; init; } = new Dictionary<RoleGroup, long>();

    /// <summary>Why the next sync has to be a full one; null when it need not.</summary>
    public string? FullDue { get; init; }

    /// <summary>The first day on which somebody is another by the dates of their roles alone, as far as it was to come when they were read: no
    /// record changes then. Null when there is none.</summary>
    public DateOnly? RolesTurn { get; init; }

    /// <summary>How often a full sync was demanded: one that is at work meets only the demands from before its plan.</summary>
    public long FullAsked { get; init; }

    /// <summary>The run that was taken back, all of it or as far as that came, since the roster was last written whole; null when none was.</summary>
    public long? UndoneRun { get; init; }

    /// <summary>The homerooms that changes syncs go on from; null when they have to read all enrollments.</summary>
    public KnownHomerooms? Homerooms { get; init; }

    /// <summary>How far a CSV feed has been read; null for other services, and before the first sync.</summary>
    public FeedState? Feed { get; init; }

    /// <summary>What Readiness said last; null when nobody asked of late.</summary>
    public KeptReadiness? Readiness { get; init; }
}

/// <summary>An answer of Readiness, for those who look at it a little later.</summary>
/// <param name="At">When it was read.</param>
/// <param name="Settings">A hash of the settings that it was read by.</param>
/// <param name="Value">The answer. Ids of people are in it as examples: an erasure takes it away whole, and nobody keeps it for long.</param>
public sealed record KeptReadiness(DateTimeOffset At, string Settings, Readiness Value);

/// <summary>Where the homerooms of a whole read are kept.</summary>
/// <param name="OperationId">Whose <see cref="Sync.Pull.HomeroomPart"/>s they are.</param>
/// <param name="Seed">The seed of the keys in them.</param>
/// <param name="Gaps">Rows could not be read: who is in no homeroom by the others may be in one.</param>
public sealed record KnownHomerooms(long OperationId, long Seed, bool Gaps = false);
