using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.Auth;

/// <summary>How a roster server is told who asks. Never prints its secrets.</summary>
public abstract class RosterCredentials
{
    private protected RosterCredentials() { }

    /// <summary>Makes the signer for one source.</summary>
    internal abstract IRequestSigner CreateSigner(AddressGuard guard, RosterClientOptions options);

    /// <summary>A header value made of anything but visible ASCII could smuggle in a second header, or fail deep inside the HTTP stack.</summary>
    private protected static string Clean(string? value, string what)
    {
        var trimmed = value?.Trim() ?? "";
        if (trimmed.Length == 0)
        {
            throw new RosterException(RosterFault.CredentialsRefused, $"The {what} is missing. Enter it and try again.");
        }

        if (trimmed.AsSpan().ContainsAnyExceptInRange('!', '~'))
        {
            throw new RosterException(
                RosterFault.CredentialsRefused,
                $"The {what} contains spaces or characters that cannot be part of it. Copy it again, without anything around it."
            );
        }

        return trimmed;
    }
}

/// <summary>A fixed token (<c>Authorization: Bearer</c>), as ClassLink's proxy uses it.</summary>
public sealed class BearerCredentials : RosterCredentials
{
    private readonly string token;
    private readonly Func<CancellationToken, Task<string?>>? refresh;

    /// <summary>Takes the token; blanks around it are removed.</summary>
    /// <param name="token">The token without the word <c>Bearer</c>.</param>
    /// <param name="refresh">Called after a 401 to read the token again; its answer is used once if it differs from the refused
    /// one. <see langword="null"/>, or an answer of <see langword="null"/>, means that there is no other token.</param>
    /// <exception cref="RosterException">The token is blank or cannot be a token (<see cref="RosterFault.CredentialsRefused"/>).</exception>
    public BearerCredentials(string token, Func<CancellationToken, Task<string?>>? refresh = null)
    {
        this.token = Clean(token, "access token");
        this.refresh = refresh;
    }

    /// <summary>What it means that the token stays refused, for a token that nobody here entered.</summary>
    internal string? Refusal { get; init; }

    internal override IRequestSigner CreateSigner(AddressGuard guard, RosterClientOptions options) =>
        new BearerSigner(token, refresh, Refusal);
}

/// <summary>The hash behind an OAuth 1.0a signature.</summary>
public enum OAuthSignature
{
    /// <summary><c>HMAC-SHA256</c>, what OneRoster 1.1 and ClassLink name.</summary>
    HmacSha256,

    /// <summary><c>HMAC-SHA1</c>, for older servers.</summary>
    HmacSha1,
}

/// <summary>Key and secret of two-legged OAuth 1.0a (RFC 5849).</summary>
public sealed class OAuth1Credentials : RosterCredentials
{
    private readonly string key;
    private readonly string secret;

    /// <summary>Takes key and secret; blanks around them are removed.</summary>
    /// <exception cref="RosterException">Either is blank or contains impossible characters (<see cref="RosterFault.CredentialsRefused"/>).</exception>
    public OAuth1Credentials(string key, string secret, OAuthSignature signature = OAuthSignature.HmacSha256)
    {
        this.key = Clean(key, "key");
        this.secret = Clean(secret, "secret");
        Signature = signature;
    }

    /// <summary>The hash used.</summary>
    public OAuthSignature Signature { get; }

    /// <summary>Sends <c>oauth_version=1.0</c>. ClassLink's own libraries leave it out, which RFC 5849 allows.</summary>
    public bool SendVersion { get; init; }

    internal override IRequestSigner CreateSigner(AddressGuard guard, RosterClientOptions options) =>
        new OAuth1Signer(key, secret, Signature, SendVersion, options.Time);
}
