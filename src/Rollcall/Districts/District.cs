using Rollcall.Patrons;

namespace Rollcall.Districts;

/// <summary>One customer. Nothing of one district is ever visible to another.</summary>
public sealed class District
{
    public int Id { get; set; }
    public string Code { get; set; } = "";
    public string Name { get; set; } = "";

    /// <summary>IANA name.</summary>
    public string TimeZone { get; set; } = "UTC";

    /// <summary>The time zone; UTC where this machine does not know it, as after a restore on one without time zone data: one district's
    /// clock must not keep the nights and notices of all others waiting. <c>rollcall db check</c> says so.</summary>
    public TimeZoneInfo Zone => KnowsZone(out var zone) ? zone : TimeZoneInfo.Utc;

    /// <summary>The time zone that times are shown in, in words.</summary>
    public string ZoneWords => KnowsZone(out _) ? TimeZone : $"UTC: {TimeZone} is not known on this machine";

    /// <summary>Whether this machine knows the time zone.</summary>
    public bool KnowsZone([System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out TimeZoneInfo? zone) =>
        TimeZoneInfo.TryFindSystemTimeZoneById(TimeZone, out zone);

    /// <summary>The id that the next patron gets. Plans reserve a range of it; ids that a discarded plan reserved stay unused.</summary>
    public long NextPatronId { get; set; } = 1;

    /// <summary>The number that the next person in Review gets, unless the present ones are beyond it. Numbers never come again: whoever decides
    /// names a number, and may have looked at it a while ago.</summary>
    public int NextReviewId { get; set; } = 1;

    public DateTimeOffset CreatedAt { get; set; }
}

/// <summary>A ClassLink tenant that the operator has allowed a district to use. One tenant belongs to one district.</summary>
public sealed class DistrictTenant
{
    public string TenantId { get; set; } = "";
    public int DistrictId { get; set; }
    public DateTimeOffset AllowedAt { get; set; }
}

/// <summary>A value of the whole installation, such as the partner key (protected).</summary>
public sealed class InstallationSetting
{
    public string Key { get; set; } = "";
    public string Value { get; set; } = "";
}

/// <summary>A lending policy that patrons can have.</summary>
public sealed class Policy
{
    public const string Standard = "STD";

    public int DistrictId { get; set; }

    /// <summary>Up to four characters.</summary>
    public string Code { get; set; } = "";
    public string Name { get; set; } = "";
}

/// <summary>One library: a school.</summary>
public sealed class Site
{
    public int DistrictId { get; set; }
    public int Id { get; set; }
    public string Code { get; set; } = "";
    public string Name { get; set; } = "";

    /// <summary><c>sourcedId</c> of the first org matched to it; null when none is.</summary>
    public string? Guid { get; set; }

    /// <summary>The barcode that the next new patron gets. Ends in a digit.</summary>
    public string NextBarcode { get; set; } = "";

    /// <summary>Null falls back to the Standard Patron policy.</summary>
    public string? DefaultPolicy { get; set; }

    /// <summary><see cref="SecurityGroup.Patron"/> or <see cref="SecurityGroup.PatronLimited"/>.</summary>
    public SecurityGroup DefaultGroup { get; set; } = SecurityGroup.Patron;
}

/// <summary>What differs from the site's defaults for one role group.</summary>
public sealed class SiteDefault
{
    public int DistrictId { get; set; }
    public int SiteId { get; set; }
    public RoleGroup RoleGroup { get; set; }

    /// <summary>Null: the site's own sequence.</summary>
    public string? NextBarcode { get; set; }

    /// <summary>Null: the site's own policy.</summary>
    public string? Policy { get; set; }

    /// <summary>Null: the site's own group.</summary>
    public SecurityGroup? Group { get; set; }
}

/// <summary>A roster organization as last seen, and the site it is matched to.</summary>
public sealed class SiteOrg
{
    public int DistrictId { get; set; }
    public Integrations.IntegrationKind Kind { get; set; }
    public string OrgId { get; set; } = "";
    public int SiteId { get; set; }

    /// <summary>0 is the site's first org: its GUID.</summary>
    public int Position { get; set; }
    public string? OrgName { get; set; }
    public string? OrgType { get; set; }
}
