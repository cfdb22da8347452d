using Microsoft.AspNetCore.Identity;
using Rollcall.Patrons;

namespace Rollcall.SignIn;

/// <summary>The local way in of a person: e-mail address, password, second factor, passkeys. What it may do stands in its memberships.</summary>
public sealed class Account : IdentityUser<long>
{
    /// <summary>Runs the installation: districts, tenants, accounts. Shows nothing of a district by itself: that takes a membership.</summary>
    public bool IsOperator { get; set; }

    public DateTimeOffset CreatedAt { get; set; }
}

/// <summary>What an account may do in one district.</summary>
public sealed class Membership
{
    public int DistrictId { get; set; }
    public long AccountId { get; set; }
    public SecurityGroup Group { get; set; }

    /// <summary>Codes of the sites that a librarian or aide works at, comma separated; null is none. Administrators see every site.</summary>
    public string? SiteAccess { get; set; }
}

/// <summary>How somebody came in.</summary>
public enum SignInMethod
{
    Password = 1,

    /// <summary>By a link that serves once.</summary>
    Link = 2,

    ClassLink = 3,
    Passkey = 4,
}

/// <summary>Somebody who is signed in on one browser: an account or a patron, whichever way they came.</summary>
public sealed class SignInSession
{
    /// <summary>SHA-256 of what the browser's cookie holds. Who reads this table cannot be anybody with it.</summary>
    public string Id { get; set; } = "";

    public long? AccountId { get; set; }

    /// <summary>The patron's district; null for accounts, whose districts are their memberships.</summary>
    public int? DistrictId { get; set; }

    public long? PatronId { get; set; }
    public SignInMethod Method { get; set; }

    /// <summary>The account's security stamp at sign-in; another one since then (a new password) ends the session. Of a patron whom ClassLink named, the
    /// hash of the GUID that the record had: with another one, or none, it may be somebody else's. Null for patrons who came otherwise.</summary>
    public string? Stamp { get; set; }

    public DateTimeOffset CreatedAt { get; set; }
    public DateTimeOffset SeenAt { get; set; }

    /// <summary>Ends then, however busy it is.</summary>
    public DateTimeOffset ExpiresAt { get; set; }

    /// <summary>The browser in its own words, for the list of sessions.</summary>
    public string? Browser { get; set; }

    public string? Address { get; set; }
}

/// <summary>What a link that serves once leads to.</summary>
public enum LinkPurpose
{
    /// <summary>Makes the installation's first account.</summary>
    Setup = 1,

    /// <summary>Sets the account's password.</summary>
    Password = 2,

    /// <summary>Signs in; the demo's way.</summary>
    SignIn = 3,
}

/// <summary>A link that serves once.</summary>
public sealed class OneTimeLink
{
    /// <summary>SHA-256 of the code in the link.</summary>
    public string Id { get; set; } = "";

    public LinkPurpose Purpose { get; set; }

    /// <summary>Null for <see cref="LinkPurpose.Setup"/>.</summary>
    public long? AccountId { get; set; }

    public DateTimeOffset ExpiresAt { get; set; }
}

/// <summary>A sign-in with ClassLink that was begun here and has not come back yet.</summary>
public sealed class PendingSignIn
{
    /// <summary>Where a tile that was begun anew leads to: the first page, which nobody else asks for by its path.</summary>
    public const string OfTile = "/";

    /// <summary>SHA-256 of the state that was sent along.</summary>
    public string Id { get; set; } = "";

    /// <summary>SHA-256 of the cookie of the browser that began.</summary>
    public string Browser { get; set; } = "";

    public string Nonce { get; set; } = "";

    /// <summary>A path of this server to go to afterwards; null is the first page.</summary>
    public string? Back { get; set; }

    public DateTimeOffset ExpiresAt { get; set; }
}

/// <summary>A code that was taken once and never is again.</summary>
public sealed class UsedCode
{
    public string Id { get; set; } = "";
    public DateTimeOffset ExpiresAt { get; set; }
}
