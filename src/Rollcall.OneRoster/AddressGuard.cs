using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster;

/// <summary>Decides which addresses typed by customers may be called: public https hosts only, unless private ones are allowed
/// for development. Names are checked again when the connection is made, for every address they resolve to.</summary>
/// <param name="allowPrivate">Allows plain http, loopback and private networks.</param>
/// <param name="hint">A sentence that tells people how they are allowed; without one, refusals name the option of this package.</param>
public sealed class AddressGuard(bool allowPrivate, string? hint = null)
{
    internal AddressGuard(RosterClientOptions options)
        : this(options.AllowPrivateAddresses, options.PrivateAddressHint) { }

    private string Hint => hint ?? "For development, AllowPrivateAddresses allows it.";

    /// <summary>Why the address may not be called, as one sentence for the person who typed it; <see langword="null"/> when it may.</summary>
    /// <param name="address">An absolute URL without user name, query and fragment.</param>
    public string? Refusal(string? address)
    {
        var text = address?.Trim() ?? "";
        if (text.Length == 0)
        {
            return "The address is missing. Enter it as https://host.";
        }

        if (!Uri.TryCreate(text, UriKind.Absolute, out var uri) || uri.Host.Length == 0)
        {
            return "The address is not complete. Enter it as https://host, as the roster server's page shows it.";
        }

        if (uri.Scheme != Uri.UriSchemeHttps && !(allowPrivate && uri.Scheme == Uri.UriSchemeHttp))
        {
            return uri.Scheme == Uri.UriSchemeHttp
                ? $"The address of {uri.Host} begins with http://; only https:// is accepted. {Hint}"
                : "The address must begin with https://.";
        }

        if (uri.UserInfo.Length > 0 || text.Contains('@', StringComparison.Ordinal))
        {
            return "The address contains a user name (an @). Enter the address alone; key and secret have their own fields.";
        }

        if (text.Contains('?', StringComparison.Ordinal) || text.Contains('#', StringComparison.Ordinal))
        {
            return "The address contains a ? or #. Enter it only up to the end of its path.";
        }

        if (text.AsSpan().IndexOfAny("\\\"<>") >= 0 || PathIsOdd(text))
        {
            return "The address contains blanks or characters that an address cannot have. Copy it again.";
        }

        if (HasLookalikes(uri.Host))
        {
            return "The address contains characters that only look like letters or digits. Type the host again in plain characters.";
        }

        if (allowPrivate)
        {
            return null;
        }

        var host = uri.IdnHost.TrimEnd('.');
        if (host.Equals("localhost", StringComparison.OrdinalIgnoreCase) || host.EndsWith(".localhost", StringComparison.OrdinalIgnoreCase))
        {
            return $"The address {uri.Host} is this computer itself and is refused. {Hint}";
        }

        return IPAddress.TryParse(host, out var ip) && IsRefused(ip) ? RefusedMessage(uri.Host) : null;
    }

    /// <summary>Whether an IP address is loopback, private, link-local, a cloud's metadata service, multicast, reserved or anything
    /// else that is no public host.</summary>
    public static bool IsRefused(IPAddress address)
    {
        ArgumentNullException.ThrowIfNull(address);
        Span<byte> b = stackalloc byte[16];
        if (!address.TryWriteBytes(b, out var length))
        {
            return true;
        }

        if (length == 4)
        {
            return IsRefused4(b[..4]);
        }

        // NAT64 is how networks without IPv4 reach public hosts; what counts is the address inside.
        if (b[..12].SequenceEqual((ReadOnlySpan<byte>)[0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0]))
        {
            return IsRefused4(b.Slice(12, 4));
        }

        // Only 2000::/3 is handed out to hosts; loopback, IPv4-mapped, unique local, link-local and multicast all lie outside.
        if ((b[0] & 0xe0) != 0x20)
        {
            return true;
        }

        var first = (b[0] << 8) | b[1];
        var second = (b[2] << 8) | b[3];
        return first switch
        {
            0x2001 => second is 0 or 2 or 0xdb8 || second is >= 0x10 and <= 0x2f, // Teredo, benchmarking, documentation, ORCHID
            0x2002 => IsRefused4(b.Slice(2, 4)), // 6to4 carries an IPv4 address
            0x3fff => second <= 0x0fff, // documentation
            _ => false,
        };
    }

    /// <summary>Opens the connection of an HTTP request after checking every address that the host name resolves to.</summary>
    public async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken cancellationToken)
    {
        var target = context.DnsEndPoint;
        var addresses = IPAddress.TryParse(target.Host, out var literal)
            ? [literal]
            : await Dns.GetHostAddressesAsync(target.Host, cancellationToken);
        if (!allowPrivate)
        {
            // With an outgoing proxy, set by whoever runs this computer, the connection goes to the proxy, which may well be private.
            // The customer's host is checked instead, as far as it resolves here.
            var wanted = context.InitialRequestMessage.RequestUri?.IdnHost ?? target.Host;
            var viaProxy = !wanted.Equals(target.Host, StringComparison.OrdinalIgnoreCase);
            var judged = viaProxy ? await ResolveOrNothingAsync(wanted, cancellationToken) : addresses;
            if (Array.Exists(judged, IsRefused))
            {
                throw new RosterException(RosterFault.Unreachable, RefusedMessage(wanted));
            }
        }

        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(addresses, target.Port, cancellationToken);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private string RefusedMessage(string host) =>
        $"The address {host} belongs to this computer or a private network and is refused. {Hint}";

    /// <summary>Wide digits, circled letters and the like, which a resolver may turn into a plain name or number after it was judged.
    /// Letters and accents of any script are names in their own right.</summary>
    private static bool HasLookalikes(string host) =>
        host.Any(c =>
            c > '\u007F'
            && (
                c is (>= '\u2100' and <= '\u214F') or (>= '\uFB00' and <= '\uFB06') or (>= '\uFF00' and <= '\uFFEF')
                || !(
                    char.IsLetter(c) || char.GetUnicodeCategory(c) is UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark
                )
            )
        );

    private static bool PathIsOdd(string text)
    {
        var slash = text.IndexOf('/', text.IndexOf("//", StringComparison.Ordinal) + 2);
        return slash >= 0 && text.AsSpan(slash).ContainsAnyExceptInRange('!', '~');
    }

    private static async ValueTask<IPAddress[]> ResolveOrNothingAsync(string host, CancellationToken cancellationToken)
    {
        if (IPAddress.TryParse(host, out var literal))
        {
            return [literal];
        }

        try
        {
            return await Dns.GetHostAddressesAsync(host, cancellationToken);
        }
        catch (SocketException)
        {
            return [];
        }
    }

    private static bool IsRefused4(ReadOnlySpan<byte> b) =>
        b[0] switch
        {
            0 or 10 or 127 => true,
            100 => b[1] is >= 64 and <= 127, // carrier-grade NAT, and some clouds' metadata
            168 => b[1] == 63 && b[2] == 129 && b[3] == 16, // Azure's host service
            169 => b[1] == 254,
            172 => b[1] is >= 16 and <= 31,
            192 => b[1] == 168 || (b[1] == 0 && (b[2] is 0 or 2)) || (b[1] == 88 && b[2] == 99),
            198 => b[1] is 18 or 19 || (b[1] == 51 && b[2] == 100),
            203 => b[1] == 0 && b[2] == 113,
            >= 224 => true,
            _ => false,
        };
}
