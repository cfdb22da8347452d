using System.Net;

namespace Rollcall.Server.Pages.Parts;

/// <summary>Under which address people reach the server, and who stands in between.</summary>
/// <param name="PublicUrl">The address that people type; null when only this machine asks.</param>
/// <param name="Proxies">Machines and networks whose word on the visitor's address is taken, beside this machine itself.</param>
internal sealed record Reach(Uri? PublicUrl = null, IReadOnlyList<IPNetwork>? Proxies = null)
{
    /// <summary>The address of the server as a visitor's browser has to call it, without a slash at the end.</summary>
    public string Origin(HttpRequest request) =>
        PublicUrl is null ? $"{request.Scheme}://{request.Host}" : PublicUrl.GetLeftPart(UriPartial.Authority);

    public bool IsProxy(IPAddress? address) =>
        address is null || IPAddress.IsLoopback(address) || Proxies?.Any(n => n.Contains(Plain(address))) == true;

    /// <summary>Whose request it is: each of the machines in front adds at the end of the list whom it was asked by, so it is read from there for as
    /// long as a machine is known. What stands before that may have been written by anybody.</summary>
    /// <param name="asked">Who is connected.</param>
    /// <param name="forwarded">The values of <c>X-Forwarded-For</c>.</param>
    public IPAddress? Visitor(IPAddress? asked, IEnumerable<string?> forwarded)
    {
        var list = string.Join(',', forwarded).Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        var visitor = asked;

        // Some write the port behind the address.
        for (var at = list.Length - 1; at >= 0 && IsProxy(visitor) && IPEndPoint.TryParse(list[at], out var from); at--)
        {
            visitor = Plain(from.Address);
        }

        return visitor;
    }

    /// <summary>A machine (<c>10.0.0.5</c>) or a network (<c>10.0.0.0/24</c>).</summary>
    public static bool TryRead(string text, out IPNetwork network)
    {
        if (IPNetwork.TryParse(text.Trim(), out network))
        {
            return true;
        }

        if (!IPAddress.TryParse(text.Trim(), out var address))
        {
            return false;
        }

        address = Plain(address);
        network = new IPNetwork(address, address.AddressFamily == System.Net.Sockets.AddressFamily.InterNetwork ? 32 : 128);
        return true;
    }

    private static IPAddress Plain(IPAddress address) => address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;
}
