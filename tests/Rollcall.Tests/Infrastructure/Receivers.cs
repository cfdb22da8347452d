using System.Collections.Concurrent;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Rollcall.Tests.Infrastructure;

/// <summary>An authority, and what it signs for servers of this machine.</summary>
internal sealed class TestAuthority : IDisposable
{
    private readonly X509Certificate2 _authority;

    public TestAuthority()
    {
        using var key = RSA.Create(2048);
        var request = new CertificateRequest("CN=An authority of tests", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        _authority = request.CreateSelfSigned(DateTimeOffset.UnixEpoch.AddYears(50), DateTimeOffset.UnixEpoch.AddYears(100));
    }

    public string Pem => _authority.ExportCertificatePem();

    /// <summary>A certificate of 127.0.0.1, or made out to another name.</summary>
    public X509Certificate2 Sign(string? name = null)
    {
        using var key = RSA.Create(2048);
        var request = new CertificateRequest("CN=mail.test", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        var names = new SubjectAlternativeNameBuilder();
        if (name is null)
        {
            names.AddIpAddress(IPAddress.Loopback);
        }
        else
        {
            names.AddDnsName(name);
        }

        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([new Oid("1.3.6.1.5.5.7.3.1")], false));
        using var signed = request.Create(
            _authority,
            DateTimeOffset.UnixEpoch.AddYears(51),
            DateTimeOffset.UnixEpoch.AddYears(99),
            RandomNumberGenerator.GetBytes(8)
        );
        using var whole = signed.CopyWithPrivateKey(key);
        return X509CertificateLoader.LoadPkcs12(whole.Export(X509ContentType.Pkcs12), null);
    }

    public void Dispose() => _authority.Dispose();
}

/// <summary>A mail as it was handed over: from whom and to whom, whatever stands in its head.</summary>
internal sealed record Envelope(string From, IReadOnlyList<string> To, string Text);

/// <summary>A mail server that takes what it gets, as RFC 5321 has the few words for.</summary>
/// <param name="certificate">With it there is TLS; it is the server's from now on.</param>
/// <param name="fromStart">TLS is there from the start, and not turned to.</param>
/// <param name="password">Nothing is taken without it; null for a server that knows no sign-in. The user is <c>rollcall</c>.</param>
internal sealed class MailServer(X509Certificate2? certificate = null, bool fromStart = false, string? password = null) : IDisposable
{
    private readonly TcpListener _listener = Listen();
    private readonly List<Envelope> _envelopes = [];
    private bool _accepts;

    private static TcpListener Listen()
    {
        var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return listener;
    }

    public int Port
    {
        get
        {
            if (!_accepts)
            {
                _accepts = true;
                _ = AcceptAsync();
            }

            return ((IPEndPoint)_listener.LocalEndpoint).Port;
        }
    }

    /// <summary>Refuses every recipient.</summary>
    public bool Refuses { get; set; }

    /// <summary>Refuses every sender.</summary>
    public bool RefusesSender { get; set; }

    /// <summary>What was said before TLS, or without it.</summary>
    public ConcurrentQueue<string> InTheClear { get; } = [];

    public IReadOnlyList<Envelope> Envelopes
    {
        get
        {
            lock (_envelopes)
            {
                return [.. _envelopes];
            }
        }
    }

    public IReadOnlyList<string> Messages => [.. Envelopes.Select(e => e.Text)];

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                _ = TalkAsync(await _listener.AcceptTcpClientAsync());
            }
        }
        catch (Exception e) when (e is ObjectDisposedException or SocketException)
        {
            // Stopped.
        }
    }

    private async Task TalkAsync(TcpClient client)
    {
        using (client)
        {
            try
            {
                if (certificate is not null && fromStart)
                {
                    await using var wire = await EncryptAsync(client.GetStream());
                    await TalkAsync(wire, greet: true);
                }
                else if (await TalkAsync(client.GetStream(), greet: true))
                {
                    await using var wire = await EncryptAsync(client.GetStream());
                    await TalkAsync(wire, greet: false);
                }
            }
            catch (Exception e) when (e is IOException or AuthenticationException)
            {
                // The other side did not like what it saw.
            }
        }
    }

    private async Task<SslStream> EncryptAsync(Stream wire)
    {
        var encrypted = new SslStream(wire, leaveInnerStreamOpen: true);
        await encrypted.AuthenticateAsServerAsync(certificate!);
        return encrypted;
    }

    /// <returns>The other side turns to TLS.</returns>
    private async Task<bool> TalkAsync(Stream wire, bool greet)
    {
        using var reader = new StreamReader(wire, Encoding.UTF8, leaveOpen: true);
        await using var writer = new StreamWriter(wire, new UTF8Encoding(false), leaveOpen: true) { NewLine = "\r\n", AutoFlush = true };
        if (greet)
        {
            await writer.WriteLineAsync("220 mail.test");
        }

        var known = password is null;
        string? from = null;
        var to = new List<string>();
        while (await reader.ReadLineAsync() is { } line)
        {
            if (wire is not SslStream)
            {
                InTheClear.Enqueue(line);
            }

            var word = line.Split(' ')[0].ToUpperInvariant();
            switch (word)
            {
                case "EHLO":
                    await writer.WriteLineAsync("250-mail.test");
                    if (certificate is not null && wire is not SslStream)
                    {
                        await writer.WriteLineAsync("250-STARTTLS");
                    }

                    await writer.WriteLineAsync(password is null ? "250 8BITMIME" : "250 AUTH PLAIN");
                    break;
                case "STARTTLS":
                    await writer.WriteLineAsync("220 turn");
                    return true;
                case "AUTH":
                    known = line == $"AUTH PLAIN {Convert.ToBase64String(Encoding.UTF8.GetBytes($"\0rollcall\0{password}"))}";
                    await writer.WriteLineAsync(known ? "235 come in" : "535 5.7.8 these are not known here");
                    break;
                case "MAIL" when !known:
                    await writer.WriteLineAsync("530 5.7.0 sign in first");
                    break;
                case "MAIL" when RefusesSender:
                    await writer.WriteLineAsync("553 not from you");
                    break;
                case "MAIL":
                    (from, to) = (Path(line), []);
                    await writer.WriteLineAsync("250 go on");
                    break;
                case "RCPT" when Refuses:
                    await writer.WriteLineAsync("550 no such mailbox");
                    break;
                case "RCPT" when from is not null:
                    to.Add(Path(line));
                    await writer.WriteLineAsync("250 go on");
                    break;
                case "RCPT" or "DATA" when from is null || to.Count == 0:
                    await writer.WriteLineAsync("503 from whom, and to whom?");
                    break;
                case "DATA":
                    await writer.WriteLineAsync("354 go on");
                    var text = new StringBuilder();
                    while (await reader.ReadLineAsync() is { } part && part != ".")
                    {
                        text.AppendLine(part);
                    }

                    lock (_envelopes)
                    {
                        _envelopes.Add(new(from!, to, text.ToString()));
                    }

                    (from, to) = (null, []);
                    await writer.WriteLineAsync("250 taken");
                    break;
                case "QUIT":
                    await writer.WriteLineAsync("221 bye");
                    return false;
                default:
                    await writer.WriteLineAsync("250 ok");
                    break;
            }
        }

        return false;

        static string Path(string line) =>
            line[(line.IndexOf('<', StringComparison.Ordinal) + 1)..line.IndexOf('>', StringComparison.Ordinal)];
    }

    public void Dispose()
    {
        _listener.Dispose();
        certificate?.Dispose();
    }
}

/// <summary>A web server that remembers what is posted to it.</summary>
internal sealed class HookServer : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly List<(Dictionary<string, string> Headers, string Body)> _posts = [];

    private HookServer(WebApplication app) => _app = app;

    public int Status { get; set; } = 200;

    public string Url =>
        _app.Services.GetRequiredService<IServer>().Features.GetRequiredFeature<IServerAddressesFeature>().Addresses.First() + "/hook";

    public IReadOnlyList<(Dictionary<string, string> Headers, string Body)> Posts
    {
        get
        {
            lock (_posts)
            {
                return [.. _posts];
            }
        }
    }

    /// <param name="certificate">With it there is TLS alone.</param>
    public static async Task<HookServer> StartAsync(X509Certificate2? certificate = null)
    {
        var builder = WebApplication.CreateSlimBuilder();
        if (certificate is null)
        {
            builder.WebHost.UseUrls("http://127.0.0.1:0");
        }
        else
        {
            builder
                .WebHost.UseKestrelHttpsConfiguration()
                .ConfigureKestrel(k => k.Listen(IPAddress.Loopback, 0, listen => listen.UseHttps(certificate)));
        }

        builder.Logging.ClearProviders();
        var server = new HookServer(builder.Build());
        server._app.MapPost(
            "/{**path}",
            async (HttpContext http) =>
            {
                using var reader = new StreamReader(http.Request.Body);
                var body = await reader.ReadToEndAsync();
                lock (server._posts)
                {
                    server._posts.Add(
                        (http.Request.Headers.ToDictionary(h => h.Key, h => h.Value.ToString(), StringComparer.OrdinalIgnoreCase), body)
                    );
                }

                http.Response.StatusCode = server.Status;
                if (server.Status is >= 300 and < 400)
                {
                    http.Response.Headers.Location = "http://169.254.169.254/";
                }
            }
        );
        await server._app.StartAsync();
        return server;
    }

    public ValueTask DisposeAsync() => _app.DisposeAsync();
}
