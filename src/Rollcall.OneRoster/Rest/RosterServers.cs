using System.Text.RegularExpressions;
using Rollcall.OneRoster.Auth;

namespace Rollcall.OneRoster.Rest;

/// <summary>The versions of OneRoster whose services have a path of their own.</summary>
public enum OneRosterVersion
{
    /// <summary>1.1, <c>/ims/oneroster/v1p1</c>.</summary>
    V11,

    /// <summary>1.2, <c>/ims/oneroster/rostering/v1p2</c>.</summary>
    V12,
}

/// <summary>What is known of a roster server before it is asked. Whatever is <see langword="null"/> is found out. Not a record: nothing
/// may print its secrets.</summary>
public sealed class RosterServerQuery
{
    /// <summary>The server's address, with the path of the service, with a part of it, or without.</summary>
    public required string Address { get; init; }

    /// <summary>The version to use; <see langword="null"/> takes the one that answers, 1.2 before 1.1 except where requests are signed.</summary>
    public OneRosterVersion? Version { get; init; }

    /// <summary>The address of the token endpoint; <see langword="null"/> signs requests with OAuth 1.0a, or sends <see cref="Token"/>.</summary>
    public string? TokenUrl { get; init; }

    /// <summary>Client id or consumer key.</summary>
    public string? Key { get; init; }

    /// <summary>Client secret or consumer secret.</summary>
    public string? Secret { get; init; }

    /// <summary>A fixed bearer token; <see langword="null"/> when key and secret are given.</summary>
    public string? Token { get; init; }

    /// <summary>How a token is asked for. <see cref="TokenRequestForm.Query"/> is used only when it is named here.</summary>
    public TokenRequestForm? Form { get; init; }

    /// <summary>Scopes asked for; empty asks for none.</summary>
    public string? Scope { get; init; }

    /// <summary>The hash of OAuth 1.0a.</summary>
    public OAuthSignature? Signature { get; init; }
}

/// <summary>A roster server that answered.</summary>
/// <param name="Address">The whole base of the service, to be used with a blank <see cref="RosterClientOptions.ServicePath"/>.</param>
/// <param name="Version">The version of its path; <see langword="null"/> when the path says none.</param>
/// <param name="Form">How a token was had; <see langword="null"/> without client credentials.</param>
/// <param name="Scope">With which scopes; empty for none, <see langword="null"/> without client credentials.</param>
/// <param name="Signature">The hash that was accepted; <see langword="null"/> unless requests are signed.</param>
public sealed record RosterServer(
    string Address,
    OneRosterVersion? Version,
    TokenRequestForm? Form,
    string? Scope,
    OAuthSignature? Signature
);

/// <summary>Finds out where and how a OneRoster server wants to be asked: what administrators are given is an address, a key and a secret.</summary>
public static partial class RosterServers
{
    private static readonly string[] CoreScopes = ["roster-core.readonly", "roster.readonly"];

    /// <summary>Tries the places and ways that servers are known to have, until one sends organizations.</summary>
    /// <exception cref="RosterException">None does. The message is about the most telling answer.</exception>
    public static async Task<RosterServer> FindAsync(
        RosterServerQuery query,
        RosterClientOptions? options = null,
        CancellationToken cancellationToken = default
    )
    {
        ArgumentNullException.ThrowIfNull(query);
        var search = new Search(query, (options ?? RosterClientOptions.Default) with { ServicePath = "" }, cancellationToken);
        return await search.RunAsync();
    }

    /// <summary>The address without the path of the service, by which two spellings of one server are the same.</summary>
    public static string Root(string address)
    {
        var text = (address ?? "").Trim();
        var service = Service().Match(text);
        return (service.Success ? text[..service.Index] : text).TrimEnd('/');
    }

    /// <summary>The version that the path of an address names; <see langword="null"/> when it names none.</summary>
    public static OneRosterVersion? VersionOf(string? address) =>
        Versioned().Match(address ?? "") is { Success: true } match
            ? match.Groups["minor"].ValueSpan is "2"
                ? OneRosterVersion.V12
                : OneRosterVersion.V11
            : null;

    /// <summary>Where the service may be, best first.</summary>
    internal static IReadOnlyList<(string Address, OneRosterVersion? Version)> Candidates(
        string address,
        OneRosterVersion? version,
        bool signed
    )
    {
        var text = address.Trim();
        if (Versioned().Match(text) is { Success: true } whole)
        {
            // What follows the version is a collection that somebody copied along.
            var path = whole.Groups["path"];
            return [(text[..(path.Index + path.Length)], VersionOf(text))];
        }

        text = text.TrimEnd('/');
        var root = Root(text);
        List<(string, OneRosterVersion?)> all =
        [
            (root + "/ims/oneroster/rostering/v1p2", OneRosterVersion.V12),
            (root + "/ims/oneroster/v1p1", OneRosterVersion.V11),
            (root + "/ims/oneroster/v1p2", OneRosterVersion.V12),
            (text, null),
        ];
        if (signed)
        {
            // 1.2 knows no signed requests.
            (all[0], all[1]) = (all[1], all[0]);
        }

        return [.. all.Where(c => version is null || c.Item2 is null || c.Item2 == version)];
    }

    [GeneratedRegex(@"^[^?#]*?(?<path>/v1p(?<minor>[012]))(?=/|$)", RegexOptions.CultureInvariant)]
    private static partial Regex Versioned();

    [GeneratedRegex(
        @"/ims(/oneroster(/rostering)?(/v1p[012](/.*)?)?)?/*$",
        RegexOptions.CultureInvariant | RegexOptions.IgnoreCase | RegexOptions.ExplicitCapture
    )]
    private static partial Regex Service();

    private sealed class Search(RosterServerQuery query, RosterClientOptions options, CancellationToken cancellationToken)
    {
        private readonly List<RosterException> failures = [];
        private TokenRequestForm? form = query.Form;

        private bool Signed => query.TokenUrl is null && query.Token is null;

        public async Task<RosterServer> RunAsync()
        {
            if (query.Version is { } asked && VersionOf(query.Address) is { } named && asked != named)
            {
                throw new RosterException(
                    RosterFault.NotARoster,
                    $"The address is that of OneRoster {Word(named)}, but version {Word(asked)} was asked for. Leave one of them out."
                );
            }

            if (new AddressGuard(options).Refusal(query.Address) is { } refusal)
            {
                throw new RosterException(RosterFault.Unreachable, refusal);
            }

            var candidates = Candidates(query.Address, query.Version, Signed);
            foreach (var (address, version) in candidates)
            {
                var found =
                    query.Token is not null ? await TryAsync(address, version, new BearerCredentials(query.Token), null, null, null)
                    : Signed ? await SignedAsync(address, version)
                    : await ByTokenAsync(address, version);
                if (found is not null)
                {
                    return found;
                }

                // Without a token no place can answer; only the scopes of the other version may still bring one.
                if (failures.TrueForAll(f => f.AtToken && f.TokenStatus is not (400 or 403 or 422)))
                {
                    break;
                }
            }

            throw Worst(candidates.Count);
        }

        private async Task<RosterServer?> SignedAsync(string address, OneRosterVersion? version)
        {
            OAuthSignature[] ways = query.Signature is { } one ? [one] : [OAuthSignature.HmacSha256, OAuthSignature.HmacSha1];
            foreach (var way in ways)
            {
                var credentials = new OAuth1Credentials(query.Key ?? "", query.Secret ?? "", way) { SendVersion = true };
                if (await TryAsync(address, version, credentials, null, null, way) is { } found)
                {
                    return found;
                }

                // The hash matters only to a server that looks at the signature.
                if (failures[^1].StatusCode is not (400 or 401 or 403))
                {
                    break;
                }
            }

            return null;
        }

        private async Task<RosterServer?> ByTokenAsync(string address, OneRosterVersion? version)
        {
            var scopes = query.Scope is { } given ? [given] : Scopes(version ?? OneRosterVersion.V12);

            // Not the query: a secret in an address ends in the logs of every machine on the way, so it is sent there only if asked for.
            TokenRequestForm[] forms = form is { } known ? [known] : [TokenRequestForm.Basic, TokenRequestForm.Body, TokenRequestForm.Json];
            foreach (var way in forms)
            {
                foreach (var scope in scopes)
                {
                    var credentials = new OAuth2Credentials(query.TokenUrl!, query.Key ?? "", query.Secret ?? "", way) { Scope = scope };
                    if (await TryAsync(address, version, credentials, way, scope, null) is { } found)
                    {
                        return found;
                    }

                    var failure = failures[^1];
                    if (!failure.AtToken)
                    {
                        // This way of asking brought a token: no other is needed. What the token may read depends on its scope.
                        form ??= way;
                        if (failure.StatusCode is not (401 or 403))
                        {
                            return null;
                        }
                    }
                    else if (failure.TokenStatus is not (400 or 403 or 422))
                    {
                        break;
                    }
                }

                if (form is not null && query.Form is null)
                {
                    return null;
                }
            }

            return null;
        }

        private async Task<RosterServer?> TryAsync(
            string address,
            OneRosterVersion? version,
            RosterCredentials credentials,
            TokenRequestForm? way,
            string? scope,
            OAuthSignature? signature
        )
        {
            using var source = new RestRosterSource(new RosterEndpoint(address, credentials), options);
            try
            {
                await source.ProbeAsync(cancellationToken);
                return new RosterServer(address, version, way, scope, signature);
            }
            catch (RosterException e) when (MayBeOtherwise(e))
            {
                failures.Add(e);
                return null;
            }
        }

        /// <summary>Whether another place or way might succeed where this one failed.</summary>
        private bool MayBeOtherwise(RosterException e) =>
            e.AtToken
                ? e.TokenStatus is 400 or 401 or 403 or 415 or 422 or 500 || (failures.Count > 0 && e.TokenStatus is not (null or 429))
                : e.Fault is not (RosterFault.ClockSkew or RosterFault.TooLarge) && e.StatusCode is not (null or 429);

        /// <summary>Of all failures the one that says most: a server that knows the way but not the caller is right, the rest is guesses.</summary>
        private RosterException Worst(int places)
        {
            var best = failures.OrderBy(Rank).First();
            return Rank(best) < 4
                ? best
                : new RosterException(
                    RosterFault.NotARoster,
                    places == 1
                        ? best.Message
                        : $"{HostOf(best)} has no OneRoster service at this address, at /ims/oneroster/rostering/v1p2 or at /ims/oneroster/v1p1. "
                            + "Check the address, or give it with the path of the service as the server's page shows it.",
                    best
                )
                {
                    StatusCode = best.StatusCode,
                };

            static int Rank(RosterException e) =>
                e.AtToken
                    ? e.TokenStatus == 401
                        ? 0
                        : 1
                    : e.StatusCode == 403
                        ? 0
                        : e.StatusCode == 401
                            ? 1
                            : e.StatusCode is 400 or 422
                                ? 2
                                : e.StatusCode >= 500
                                    ? 3
                                    : e.StatusCode is 200 or (>= 300 and < 400)
                                        ? 3
                                        : 4;
        }

        private string HostOf(RosterException e) =>
            Uri.TryCreate(query.Address.Trim(), UriKind.Absolute, out var uri) ? uri.Host : e.Message;

        private static string Word(OneRosterVersion version) => version == OneRosterVersion.V12 ? "1.2" : "1.1";

        /// <summary>All that is useful first, then what a server may grant that refuses the rest, then none.</summary>
        private static string[] Scopes(OneRosterVersion version)
        {
            var prefix = $"https://purl.imsglobal.org/spec/or/{(version == OneRosterVersion.V12 ? "v1p2" : "v1p1")}/scope/";
            return
            [
                version == OneRosterVersion.V12 ? OAuth2Scopes.Rostering12 : OAuth2Scopes.Rostering11,
                .. CoreScopes.Select(s => prefix + s),
                "",
            ];
        }
    }
}
