namespace Rollcall.OneRoster.Rest;

/// <summary>An address that paths are appended to as text. Nothing in it is decoded or encoded again: ClassLink's application ids
/// arrive percent-encoded and work only exactly so, and signatures cover the text that is sent.</summary>
internal sealed class BaseAddress
{
    private static readonly UriCreationOptions Verbatim = new() { DangerousDisablePathAndQueryCanonicalization = true };
    private readonly string text;

    /// <exception cref="RosterException">The address is unusable or refused (<see cref="RosterFault.Unreachable"/>).</exception>
    public BaseAddress(string address, AddressGuard guard)
    {
        if (guard.Refusal(address) is { } refusal)
        {
            throw new RosterException(RosterFault.Unreachable, refusal);
        }

        var trimmed = address.Trim();
        var uri = new Uri(trimmed, UriKind.Absolute);
        var slash = trimmed.IndexOf('/', trimmed.IndexOf("//", StringComparison.Ordinal) + 2);
        Host = uri.HostNameType == UriHostNameType.IPv6 ? uri.Host : uri.IdnHost.ToLowerInvariant();
        var port = uri.IsDefaultPort ? "" : ":" + uri.Port;
        text = $"{uri.Scheme}://{Host}{port}{(slash < 0 ? "" : trimmed[slash..].TrimEnd('/'))}";
        HasServicePath = text.Contains("/ims/oneroster/", StringComparison.OrdinalIgnoreCase);
    }

    /// <summary>The host, for messages.</summary>
    public string Host { get; }

    /// <summary>The address was given with the path of the service, as some screens show it.</summary>
    public bool HasServicePath { get; }

    /// <summary>The address followed by <paramref name="rest"/>, verbatim.</summary>
    public string With(string rest) => text + rest;

    /// <summary>The URI that is sent, proven to be the very text.</summary>
    public static Uri ToUri(string url)
    {
        if (!Uri.TryCreate(url, Verbatim, out var uri) || !string.Equals(uri.AbsoluteUri, url, StringComparison.Ordinal))
        {
            throw new RosterException(
                RosterFault.NotARoster,
                "The address cannot be sent as it was entered. Copy it again from the roster server's page."
            );
        }

        return uri;
    }

    /// <summary>A <c>sourcedId</c> as a path segment.</summary>
    public static string Segment(string id) =>
        // Encoding leaves dots alone, and a segment of dots alone means another path.
        id is "." or ".."
            ? id.Replace(".", "%2E", StringComparison.Ordinal)
            : Uri.EscapeDataString(id);
}
