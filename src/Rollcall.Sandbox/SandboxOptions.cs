namespace Rollcall.Sandbox;

/// <summary>The OneRoster form in which people are served.</summary>
public enum SandboxApi
{
    /// <summary>1.1: <c>role</c> and <c>orgs</c> on a user.</summary>
    OneRoster11,

    /// <summary>1.2: <c>roles[]</c> and <c>primaryOrg</c> on a user, other error bodies. Served under the 1.1 paths too; 1.1 is not served under
    /// those of 1.2.</summary>
    OneRoster12,
}

/// <summary>Which district the sandbox plays and with which credentials. Equal options give an equal district.</summary>
public sealed record SandboxOptions
{
    /// <summary>Students on day 0. Staff and guardians come on top: about as many again.</summary>
    public int Students { get; init; } = 2000;

    /// <summary>Schools; 0 takes a number that suits the students (8 for 2,000, about 150 for 100,000).</summary>
    public int Schools { get; init; }

    /// <summary>Another seed is another district.</summary>
    public int Seed { get; init; } = 1;

    /// <summary>The day at which the server starts; day 0 is the first.</summary>
    public int Day { get; init; }

    /// <summary>The date of day 0. Null takes the clock's date at start. School years and ages follow it.</summary>
    public DateOnly? Today { get; init; }

    /// <summary>The clock for <see cref="Today"/>, for signatures' timestamps and for delays.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;

    /// <summary>ClassLink's number of the district.</summary>
    public string TenantId { get; init; } = "2284";

    /// <summary>What <c>/applications</c> and the district org call it.</summary>
    public string TenantName { get; init; } = "Riverbend Unified School District";

    /// <summary>The bearer for <c>/applications</c>.</summary>
    public string PartnerKey { get; init; } = "sandbox-partner-key";

    /// <summary>The tenant's bearer on the proxy paths, until a fault or a call rotates it.</summary>
    public string Bearer { get; init; } = "0d8f2a1e-6a55-4b2d-9a0d-2b1d3c4e5f60";

    /// <summary>Key of direct access (OAuth 1.0a, and client credentials at <c>/token</c>).</summary>
    public string ConsumerKey { get; init; } = "sandbox-key";

    /// <summary>Secret of direct access.</summary>
    public string ConsumerSecret { get; init; } = "sandbox-secret";

    /// <summary>The application's id for signing in.</summary>
    public string ClientId { get; init; } = "sandbox-client";

    /// <summary>The application's secret for signing in.</summary>
    public string ClientSecret { get; init; } = "sandbox-client-secret";

    /// <summary>The form of people and errors.</summary>
    public SandboxApi Api { get; init; } = SandboxApi.OneRoster11;

    /// <summary>Users carry <c>metadata.primaryOrg</c>, which for some people of two schools is not their first org.</summary>
    public bool PrimaryOrgMetadata { get; init; }

    /// <summary>A new school or e-mail address leaves a person's <c>dateLastModified</c> as it was, as it does with real providers.</summary>
    public bool QuietDates { get; init; }

    /// <summary>Roles of 1.2 last from the beginning of the school year to its end, and say so.</summary>
    public bool RoleDates { get; init; }

    /// <summary>Waited before each roster answer.</summary>
    public TimeSpan RequestDelay { get; init; }

    /// <summary>Percent-encoded, as <c>/applications</c> gives it; holds an encoded slash, plus and equals sign on purpose.</summary>
    public string ApplicationId { get; init; } = "q%2FkpmX1K%2BnU%3D";

    internal int SchoolCount =>
        Schools > 0 ? Schools : Math.Max(Students >= 60 ? 3 : 1, (int)Math.Round(Students / (250 + (Students / 250.0))));

    internal DateOnly StartDate => Today ?? DateOnly.FromDateTime(Clock.GetUtcNow().UtcDateTime);
}
