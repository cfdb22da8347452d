using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.Auth;

/// <summary>Where key, secret and the other parameters of a token request go. Servers differ, and most accept one form only.</summary>
public enum TokenRequestForm
{
    /// <summary>Key and secret by <c>Authorization: Basic</c>, the rest as a form (RFC 6749 §2.3.1): what OneRoster 1.2 asks for.</summary>
    Basic,

    /// <summary>Everything as a form in the body, as PowerSchool wants it.</summary>
    Body,

    /// <summary>Everything in the query string of a POST without a body, as Synergy wants it.</summary>
    Query,

    /// <summary>Everything as a JSON object in the body.</summary>
    Json,
}

/// <summary>Scopes of the read-only rostering service, as they are asked for.</summary>
public static class OAuth2Scopes
{
    /// <summary>Collections, single objects and demographics of OneRoster 1.2.</summary>
    public const string Rostering12 =
        "https://purl.imsglobal.org/spec/or/v1p2/scope/roster-core.readonly https://purl.imsglobal.org/spec/or/v1p2/scope/roster-demographics.readonly";

    /// <summary>The same for servers of OneRoster 1.1 that take OAuth 2.</summary>
    public const string Rostering11 =
        "https://purl.imsglobal.org/spec/or/v1p1/scope/roster-core.readonly https://purl.imsglobal.org/spec/or/v1p1/scope/roster-demographics.readonly";
}

/// <summary>Key and secret of OAuth 2 client credentials (RFC 6749 §4.4). A token is fetched before the first request, again when nine
/// tenths of its life are over, and once after a 401.</summary>
public sealed class OAuth2Credentials : RosterCredentials
{
    private readonly string tokenUrl;
    private readonly string key;
    private readonly string secret;

    /// <summary>Takes the whole address of the token endpoint, and key and secret; blanks around them are removed.</summary>
    /// <param name="tokenUrl">Used verbatim, with a query where the server wants one (<c>https://host/token?appName=x</c>). It is
    /// checked like the roster's address when a source is opened.</param>
    /// <param name="key">The client id.</param>
    /// <param name="secret">The client secret.</param>
    /// <param name="form">How the parameters are sent.</param>
    /// <exception cref="RosterException">Key or secret are blank or contain impossible characters
    /// (<see cref="RosterFault.CredentialsRefused"/>).</exception>
    public OAuth2Credentials(string tokenUrl, string key, string secret, TokenRequestForm form = TokenRequestForm.Basic)
    {
        this.tokenUrl = tokenUrl?.Trim() ?? "";
        this.key = Clean(key, "key");
        this.secret = Clean(secret, "secret");
        Form = form;
    }

    /// <summary>How the parameters are sent.</summary>
    public TokenRequestForm Form { get; }

    /// <summary>The scopes asked for, separated by blanks; <see langword="null"/> or blank asks for none, as some servers want it.</summary>
    public string? Scope { get; init; } = OAuth2Scopes.Rostering12;

    internal override IRequestSigner CreateSigner(AddressGuard guard, RosterClientOptions options) =>
        new OAuth2Signer(tokenUrl, key, secret, Form, Scope, guard, options);
}
