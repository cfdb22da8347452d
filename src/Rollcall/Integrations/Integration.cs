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
    public ConnectionMode? Mode { get; init; }

    /// <summary>ClassLink's number of the district; null for other services.</summary>
    public string? TenantId { get; init; }

    /// <summary>The proxy's address, a pasted prefix, a server's address or a folder.</summary>
    public string? Url { get; init; }

    /// <summary>OAuth consumer key or client id; no secret.</summary>
    public string? Key { get; init; }

    /// <summary><c>HMAC-SHA256</c> or <c>HMAC-SHA1</c>.</summary>
    public string? Signature { get; init; }

    /// <summary>The district's name as the roster service gave it.</summary>
    public string? DistrictName { get; init; }

    public IReadOnlyList<RoleGroup> Roles { get; init; } = [];
    public FieldMap Map { get; init; } = new();
    public Thresholds Thresholds { get; init; } = new();
}

/// <summary>When changes wait for a person.</summary>
public sealed record Thresholds
{
    public Threshold Transfers { get; init; } = new(10, 10);
    public Threshold Updates { get; init; } = new(10, 10);
    public Threshold Creates { get; init; } = new(0, 10);
}

/// <summary>Held when at least <paramref name="Count"/> people and more than <paramref name="Percent"/> percent.</summary>
public sealed record Threshold(double Percent, int Count);

/// <summary>What syncs have learnt about a roster.</summary>
public sealed record IntegrationState
{
    /// <summary>Raised by every change of connection, roles, matches, mapping or policies.</summary>
    public long ConfigVersion { get; init; } = 1;

    /// <summary>When the last verified full pull began; null before the first.</summary>
    public DateTimeOffset? LastFullAt { get; init; }

    /// <summary>The provider's revision at that pull; null when it sends none.</summary>
    public string? Revision { get; init; }
}
