using System.Net;
using Rollcall.OneRoster.Auth;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.Tests.Client;

public class AddressGuardTests
{
    [Theory]
    [InlineData("127.0.0.1")]
    [InlineData("0.0.0.0")]
    [InlineData("10.1.2.3")]
    [InlineData("172.16.0.1")]
    [InlineData("172.31.255.255")]
    [InlineData("192.168.1.1")]
    [InlineData("169.254.169.254")]
    [InlineData("100.100.100.200")]
    [InlineData("168.63.129.16")]
    [InlineData("192.0.0.192")]
    [InlineData("198.18.0.1")]
    [InlineData("224.0.0.1")]
    [InlineData("255.255.255.255")]
    [InlineData("::1")]
    [InlineData("::")]
    [InlineData("::ffff:8.8.8.8")]
    [InlineData("::8.8.8.8")]
    [InlineData("fe80::1")]
    [InlineData("fec0::1")]
    [InlineData("fc00::1")]
    [InlineData("fd00:ec2::254")]
    [InlineData("ff02::1")]
    [InlineData("64:ff9b::10.0.0.1")]
    [InlineData("2002:0a00:0001::1")]
    [InlineData("2001::1")]
    [InlineData("2001:db8::1")]
    public void Addresses_that_are_no_public_hosts(string ip) => Assert.True(AddressGuard.IsRefused(IPAddress.Parse(ip)));

    [Theory]
    [InlineData("8.8.8.8")]
    [InlineData("172.32.0.1")]
    [InlineData("100.128.0.1")]
    [InlineData("192.0.1.1")]
    [InlineData("2606:4700::1111")]
    [InlineData("2001:4860:4860::8888")]
    [InlineData("64:ff9b::8.8.8.8")]
    public void Public_hosts(string ip) => Assert.False(AddressGuard.IsRefused(IPAddress.Parse(ip)));

    [Theory]
    [InlineData("https://x-v2.rosterserver.com", true)]
    [InlineData(" https://proxy.example:8443/MoYP%3D/ ", true)]
    [InlineData("http://x-v2.rosterserver.com", false)]
    [InlineData("ftp://x.example", false)]
    [InlineData("x-v2.rosterserver.com", false)]
    [InlineData("/ims", false)]
    [InlineData("", false)]
    [InlineData(null, false)]
    [InlineData("https://me:pw@x.example", false)]
    [InlineData("https://x.example/?a=b", false)]
    [InlineData("https://x.example/#a", false)]
    [InlineData("https://x.example/a b", false)]
    [InlineData("https://x.example\\@y", false)]
    [InlineData("https://localhost", false)]
    [InlineData("https://a.localhost.", false)]
    [InlineData("https://127.0.0.1", false)]
    [InlineData("https://2130706433", false)]
    [InlineData("https://0x7f.1", false)]
    [InlineData("https://[::1]", false)]
    [InlineData("https://[::ffff:10.0.0.1]/", false)]
    [InlineData("https://[::ffff:7f00:1]/", false)]
    [InlineData("https://[64:ff9b::a9fe:a9fe]/", false)]
    [InlineData("https://[64:ff9b:1::a9fe:a9fe]/", false)]
    [InlineData("https://[2002:a9fe:a9fe::]/", false)]
    [InlineData("https://[fe80::1%25eth0]/", false)]
    [InlineData("https://0177.0.0.1", false)]
    [InlineData("https://017700000001", false)]
    [InlineData("https://0x7f000001", false)]
    [InlineData("https://127.1", false)]
    [InlineData("https://127.0.0.1.", false)]
    [InlineData("https://0", false)]
    [InlineData("https://169.254.169.254/latest", false)]
    [InlineData("https://0xa9.0xfe.0xa9.0xfe", false)]
    [InlineData("https://2852039166", false)]
    [InlineData("https://LOCALHOST..", false)]
    [InlineData("https://\uFF11\uFF12\uFF17.0.0.1", false)]
    [InlineData("https://127\u30020.0.1", false)]
    [InlineData("https://\u24DB\u24DE\u24D2\u24D0\u24DB\u24D7\u24DE\u24E2\u24E3", false)]
    [InlineData("https://x.example%40127.0.0.1", false)]
    [InlineData("https://x.example/\r\nHost: y", false)]
    [InlineData("file:///etc/passwd", false)]
    [InlineData("//x.example", false)]
    [InlineData("https://xn--mnchen-3ya.example", true)]
    [InlineData("https://m\u00FCnchen.example", true)]
    public void Typed_addresses(string? address, bool accepted) =>
        Assert.Equal(accepted, new AddressGuard(allowPrivate: false).Refusal(address) is null);

    [Fact]
    public void For_development_private_addresses_can_be_allowed()
    {
        Assert.Contains("AllowPrivateAddresses", new AddressGuard(false).Refusal("https://127.0.0.1")!, StringComparison.Ordinal);
        Assert.Contains(
            "Ask the office.",
            new AddressGuard(false, "Ask the office.").Refusal("http://x.example")!,
            StringComparison.Ordinal
        );
        Assert.Null(new AddressGuard(true).Refusal("http://localhost:5000/x"));
        Assert.NotNull(new AddressGuard(true).Refusal("http://a@localhost"));
    }

    [Fact]
    public async Task A_name_is_checked_again_where_it_resolves_to()
    {
        // The name of this computer is no literal address, so only the check at connection time can refuse it.
        var name = Dns.GetHostName();
        var addresses = await Dns.GetHostAddressesAsync(name, TestContext.Current.CancellationToken);
        Assert.SkipUnless(Array.Exists(addresses, AddressGuard.IsRefused), "This computer's name does not resolve to a private address.");
        var time = new TestTime();
        using var source = new RestRosterSource(
            new RosterEndpoint("https://" + name + ":1", new BearerCredentials("t")),
            Reading.Options(time) with
            {
                AllowPrivateAddresses = false,
            }
        );
        var e = await Reading.FaultAsync(() => source.ProbeAsync(), RosterFault.Unreachable);
        Assert.Contains("refused", e.Message, StringComparison.Ordinal);
        Assert.Empty(time.Waits);
    }
}
