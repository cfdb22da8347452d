using Rollcall.Patrons;

namespace Rollcall.SignIn;

/// <summary>What an access token may be used for. Its security group says how far: a scope never opens what the group does not.</summary>
[Flags]
public enum TokenScopes
{
    None = 0,
    PatronsRead = 1,
    PatronsWrite = 2,
    OperationsRead = 4,

    /// <summary>Starts and cancels syncs, previews and undos, approves and discards.</summary>
    OperationsWrite = 8,

    /// <summary>People in Review: who waits, and what becomes of them.</summary>
    ReviewRead = 16,
    ReviewWrite = 32,
    PreferencesRead = 64,
    PreferencesWrite = 128,

    /// <summary>Districts and tenants; for the operator's tokens alone.</summary>
    Installation = 256,
    AuditRead = 512,

    /// <summary>Accounts and access tokens of the district.</summary>
    AccountsRead = 1024,
    AccountsWrite = 2048,
}

/// <summary>A program's way in to the REST API. Only its hash is kept: who reads this table cannot use any.</summary>
public sealed class AccessToken
{
    public long Id { get; set; }

    /// <summary>The one district that it opens; null for the operator's, which opens the installation and no district.</summary>
    public int? DistrictId { get; set; }

    /// <summary>What it is for, in its maker's words.</summary>
    public string Name { get; set; } = "";

    /// <summary>SHA-256 of the token.</summary>
    public string Hash { get; set; } = "";

    /// <summary>The most that it may do in the district. Who made it bounds it too, for as long as it lives.</summary>
    public SecurityGroup Group { get; set; }

    public TokenScopes Scopes { get; set; }
    public string CreatedBy { get; set; } = "";

    /// <summary>The account that made it; with it, or with its place in the district, the token ends. Null for patrons and the command line.</summary>
    public long? AccountId { get; set; }

    /// <summary>The patron who made it; null for accounts and the command line.</summary>
    public long? PatronId { get; set; }

    /// <summary>SHA-256 of the GUID that the patron had, as sessions keep it: with another one, or none, the record is somebody else's. Null of
    /// other makers, and of tokens that are older than this.</summary>
    public string? Stamp { get; set; }

    /// <summary>The token that made it, and with which it ends; null for people and the command line.</summary>
    public long? ParentId { get; set; }

    public DateTimeOffset CreatedAt { get; set; }
    public DateTimeOffset ExpiresAt { get; set; }

    /// <summary>To the minute; null before the first use.</summary>
    public DateTimeOffset? LastUsedAt { get; set; }

    /// <summary>Ended by hand then; null while it serves.</summary>
    public DateTimeOffset? RevokedAt { get; set; }
}

/// <summary>A request that starts something, and what it was answered: sent again with the same key it starts nothing.</summary>
public sealed class IdempotentRequest
{
    /// <summary>How long a repetition gets the first answer.</summary>
    public static readonly TimeSpan Kept = TimeSpan.FromHours(24);

    public long TokenId { get; set; }

    /// <summary>The header's value.</summary>
    public string Key { get; set; } = "";

    /// <summary>SHA-256 of method, address and body: the same key for another request is a mistake.</summary>
    public string Request { get; set; } = "";

    /// <summary>The answer's status code; 0 while the first one is still being worked on.</summary>
    public int Status { get; set; }

    /// <summary>The answer's JSON, behind a line <c>Location: …</c> where it named one; it may be the record of a person who was added. Null while
    /// there is no answer, of one that was too long to be kept, and once somebody of the district was erased.</summary>
    public string? Body { get; set; }

    public DateTimeOffset CreatedAt { get; set; }
}
