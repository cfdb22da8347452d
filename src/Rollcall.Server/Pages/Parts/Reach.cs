using System.Net;

namespace Rollcall.Server.Pages.Parts;

/// <summary>Under which address people reach the server, and who stands in between.</summary>
/// <param name="PublicUrl">The address that people type; null when only this machine asks.</param>
/// <param name="Proxies">Machines whose word on the visitor's address is taken, beside this machine itself.</param>
internal sealed record Reach(Uri? PublicUrl = null, IReadOnlyList<IPAddress>? Proxies = null)
{
    /// <summary>The address of the server as a visitor's browser has to call it, without a slash at the end.</summary>
    public string Origin(HttpRequest request) =>
        PublicUrl is null ? $"{request.Scheme}://{request.Host}" : PublicUrl.GetLeftPart(UriPartial.Authority);

    public bool IsProxy(IPAddress? address) =>
        address is null
        || IPAddress.IsLoopback(address)
        || Proxies?.Contains(address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address) == true;
}
