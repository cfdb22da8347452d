using System.Net;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Rollcall.Server.Pages.Parts;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Pages;

/// <summary>Whose request it is, where servers stand in front.</summary>
public sealed class VisitorAddressTests
{
    private static readonly Uri s_public = new("https://library.example");

    private static Reach With(params string[] proxies) =>
        new(s_public, [.. proxies.Select(p => Reach.TryRead(p, out var network) ? network : throw new FormatException(p))]);

    [Theory]
    [InlineData("127.0.0.1", "198.51.100.7", "198.51.100.7")]
    [InlineData("10.0.0.5", "198.51.100.7", "198.51.100.7")]
    [InlineData("::ffff:10.0.0.5", "198.51.100.7", "198.51.100.7")]
    [InlineData("10.1.0.77", "198.51.100.7", "198.51.100.7")]
    // Some write the port, too.
    [InlineData("10.0.0.5", "198.51.100.7:4711", "198.51.100.7")]
    [InlineData("10.0.0.5", "[2001:db8::7]:4711", "2001:db8::7")]
    [InlineData("10.0.0.5", "2001:db8::7", "2001:db8::7")]
    // Two in a row, and what a visitor wrote before them.
    [InlineData("10.0.0.5", "203.0.113.1, 198.51.100.7, 10.1.0.9", "198.51.100.7")]
    [InlineData("10.0.0.5", "127.0.0.1, 198.51.100.7", "198.51.100.7")]
    // Nothing that can be read: as far as it is known.
    [InlineData("10.0.0.5", "unknown", "10.0.0.5")]
    [InlineData("10.0.0.5", "198.51.100.7, unknown, 10.1.0.9", "10.1.0.9")]
    // Whom nobody has named is not believed.
    [InlineData("192.0.2.1", "198.51.100.7", "192.0.2.1")]
    public void The_list_is_read_from_its_end_as_long_as_machines_are_known(string asked, string forwarded, string visitor) =>
        Assert.Equal(IPAddress.Parse(visitor), With("10.0.0.5", "10.1.0.0/24").Visitor(IPAddress.Parse(asked), [forwarded]));

    [Fact]
    public async Task A_server_in_front_that_nobody_has_named_is_told_of_once_in_the_log()
    {
        using var tape = new LogTape();
        using var logs = LoggerFactory.Create(l => l.AddProvider(tape));
        IPAddress? seen = null;
        var gate = new Gate(
            http =>
            {
                seen = http.Connection.RemoteIpAddress;
                return Task.CompletedTask;
            },
            With("10.0.0.5"),
            logs.CreateLogger<Gate>()
        );
        await AskAsync("10.0.0.5", "198.51.100.7");
        Assert.Equal(IPAddress.Parse("198.51.100.7"), seen);
        Assert.Empty(tape.Lines);
        await AskAsync("10.0.0.6", "198.51.100.7");
        await AskAsync("10.0.0.6", "198.51.100.8");
        Assert.Equal(IPAddress.Parse("10.0.0.6"), seen);
        Assert.Contains("10.0.0.6, which is not named by --proxy-address", Assert.Single(tape.Lines), StringComparison.Ordinal);

        async Task AskAsync(string from, string forwarded)
        {
            var http = new DefaultHttpContext();
            http.Connection.RemoteIpAddress = IPAddress.Parse(from);
            http.Request.Host = new HostString(s_public.Host);
            http.Request.Headers["X-Forwarded-For"] = forwarded;
            await gate.InvokeAsync(http);
        }
    }
}
