using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Rollcall.Sandbox;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Commands;

/// <summary>Whom a district tells, by the command line.</summary>
public sealed class NoticeStoryTests
{
    [Fact]
    public async Task Notices_are_set_shown_tested_and_bad_places_are_refused()
    {
        await using var cli = await Cli.OpenAsync();
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend");
        Assert.Contains("nobody", (await cli.OkAsync("notice", "show")).Out, StringComparison.Ordinal);
        await cli.RefusedAsync(2, "what to change", "notice", "set");
        await cli.RefusedAsync(2, "no event", "notice", "set", "--events", "failed,sometimes");
        await cli.RefusedAsync(2, "no email address", "notice", "set", "--email", "office");
        await cli.RefusedAsync(1, "secret", "notice", "set", "--webhook", "https://hooks.example/x");
        await cli.RefusedAsync(1, "Nobody", "notice", "test");

        var set = await cli.OkAsync(
            "notice",
            "set",
            "--email",
            "office@school.example, tech@school.example",
            "--events",
            "held,warnings",
            "--webhook",
            "https://hooks.example/x",
            "--webhook-secret-file",
            cli.File("hook", "a-secret-of-enough-length"),
            "--json"
        );
        Assert.Equal(2, set.Json.GetProperty("emails").GetArrayLength());
        Assert.Equal(["held", "warnings"], set.Json.GetProperty("events").EnumerateArray().Select(e => e.GetString()));
        Assert.DoesNotContain("a-secret", set.Out, StringComparison.Ordinal);

        await cli.OkAsync("notice", "set", "--webhook", "none");
        var tested = await cli.RunAsync("notice", "test");
        Assert.Equal(1, tested.Code);
        Assert.Contains("ROLLCALL_SMTP_HOST", tested.Out, StringComparison.Ordinal);
        Assert.Contains("those of the server too", tested.Out, StringComparison.Ordinal);
        Assert.Equal(2, (await cli.OkAsync("notice", "list", "--json")).Json.GetArrayLength());
        await cli.OkAsync("notice", "set", "--email", "none");
        Assert.Equal(0, (await cli.OkAsync("notice", "show", "--json")).Json.GetProperty("emails").GetArrayLength());
    }

    [Fact]
    public async Task A_webhook_whose_certificate_is_not_believed_is_told_with_the_reason()
    {
        using var authority = new TestAuthority();
        await using var cli = await Cli.OpenAsync();
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend");
        foreach (var (name, why) in ((string?, string)[])[(null, ""), ("hooks.other.example", "it is made out to another name")])
        {
            using var certificate = authority.Sign(name);
            await using var hook = await HookServer.StartAsync(certificate);
            await cli.OkAsync(
                "notice",
                "set",
                "--webhook",
                hook.Url,
                "--webhook-secret-file",
                cli.File("hook", "a-secret-of-enough-length")
            );
            var tested = await cli.RunAsync("notice", "test");
            Assert.Equal(1, tested.Code);
            Assert.Contains($"a certificate that is not trusted: {why}", tested.Out, StringComparison.Ordinal);
            Assert.DoesNotContain("inner exception", tested.Out, StringComparison.Ordinal);
            Assert.Empty(hook.Posts);
        }
    }

    [Fact]
    public async Task A_mail_server_that_says_nothing_keeps_no_webhook_and_no_operation_waiting()
    {
        using var silent = new TcpListener(IPAddress.Loopback, 0);
        silent.Start();
        await using var hook = await HookServer.StartAsync();
        await using var sandbox = await SandboxServer.StartAsync(new SandboxOptions { Students = 20, Schools = 1 });
        await using var cli = await Cli.ConnectedAsync(sandbox);
        await cli.OkAsync(
            "notice",
            "set",
            "--email",
            string.Join(',', Enumerable.Range(1, 9).Select(i => $"office{i}@school.example")),
            "--events",
            "failed",
            "--webhook",
            hook.Url,
            "--webhook-secret-file",
            cli.File("hook", "a-secret-of-enough-length")
        );
        cli.Variables["ROLLCALL_SMTP_HOST"] = "127.0.0.1";
        cli.Variables["ROLLCALL_SMTP_PORT"] = ((IPEndPoint)silent.LocalEndpoint).Port.ToString(CultureInfo.InvariantCulture);
        cli.Variables["ROLLCALL_SMTP_FROM"] = "rollcall@school.example";
        cli.Variables["ROLLCALL_SMTP_TLS"] = "off";
        cli.Variables["ROLLCALL_PUBLIC_URL"] = "https://library.example";
        var (server, _) = await RealProcess.ServeAsync(cli);
        using var __ = server;
        sandbox.Faults.Set("disabled-403");
        for (var told = 1; told <= 2; told++)
        {
            Assert.NotEqual(0, (await cli.RunAsync("sync")).Code);
            while (hook.Posts.Count < told)
            {
                await Task.Delay(50, TestContext.Current.CancellationToken);
            }
        }

        // Whoever looks after several districts comes to the right one.
        Assert.Contains("\"url\":\"https://library.example/operations/1?district=RIVER\"", hook.Posts[0].Body, StringComparison.Ordinal);

        // Of the first round of e-mails none has come to its end.
        var mails = (await cli.OkAsync("notice", "list", "--json"))
            .Json.EnumerateArray()
            .Where(n => n.GetProperty("channel").GetString() == "email")
            .ToList();
        Assert.Equal(18, mails.Count);
        Assert.All(mails, n => Assert.Equal("waiting", n.GetProperty("status").GetString()));
        Assert.Contains(mails, n => n.GetProperty("attempts").GetInt32() == 1);
        Assert.All(
            mails,
            n => Assert.False(n.TryGetProperty("error", out var error) && error.ValueKind != System.Text.Json.JsonValueKind.Null)
        );
    }

    [Theory]
    [InlineData("start")]
    [InlineData("turn")]
    public async Task Email_goes_out_encrypted_and_signed_in_and_to_no_server_that_cannot_be_trusted(string tls)
    {
        const string password = "the-password-of-mail";
        using var authority = new TestAuthority();
        using var mail = new MailServer(authority.Sign(), fromStart: tls == "start", password);
        await using var cli = await MailCliAsync(mail.Port);
        cli.Variables["ROLLCALL_SMTP_TLS"] = tls;

        Assert.Contains("certificate that is not trusted", await TestedAsync(cli), StringComparison.Ordinal);
        using (var stranger = new TestAuthority())
        {
            cli.Variables["ROLLCALL_SMTP_CA_FILE"] = cli.File("ca", stranger.Pem);
            Assert.Contains("certificate that is not trusted", await TestedAsync(cli), StringComparison.Ordinal);
        }

        cli.Variables["ROLLCALL_SMTP_CA_FILE"] = cli.File("ca", authority.Pem);
        Assert.Contains("Set ROLLCALL_SMTP_USER", await TestedAsync(cli), StringComparison.Ordinal);
        cli.Variables["ROLLCALL_SMTP_USER"] = "rollcall";
        cli.Variables["ROLLCALL_SMTP_PASSWORD_FILE"] = cli.File("password", "not-the-password\n");
        var refused = await TestedAsync(cli);
        Assert.Contains("refuses the sign-in of rollcall", refused, StringComparison.Ordinal);
        Assert.DoesNotContain("not-the-password", refused, StringComparison.Ordinal);
        Assert.Empty(mail.Messages);

        cli.Variables["ROLLCALL_SMTP_PASSWORD_FILE"] = cli.File("password", password + "\n");
        cli.Variables["ROLLCALL_SMTP_FROM"] = "Library of Riverbend <library@school.example>";
        Assert.StartsWith("sent", await TestedAsync(cli, 0), StringComparison.Ordinal);
        var sent = Assert.Single(mail.Envelopes);
        Assert.Equal(("library@school.example", "office@school.example"), (sent.From, Assert.Single(sent.To)));
        Assert.Contains("From: Library of Riverbend <library@school.example>", sent.Text, StringComparison.Ordinal);
        Assert.Contains("To: office@school.example", sent.Text, StringComparison.Ordinal);
        Assert.All(mail.InTheClear, l => Assert.Contains(l.Split(' ')[0], (string[])["EHLO", "STARTTLS"]));

        mail.RefusesSender = true;
        Assert.Contains("Look at ROLLCALL_SMTP_FROM", await TestedAsync(cli), StringComparison.Ordinal);
        mail.RefusesSender = false;
        mail.Refuses = true;
        Assert.Contains(
            "takes no mail for office@school.example: 550 no such mailbox. Look whether the address is right.",
            await TestedAsync(cli),
            StringComparison.Ordinal
        );

        // A certificate of that authority for another server is none.
        using var other = new MailServer(authority.Sign("mail.other.example"), fromStart: tls == "start", password);
        cli.Variables["ROLLCALL_SMTP_PORT"] = other.Port.ToString(CultureInfo.InvariantCulture);
        Assert.Contains("made out to another name", await TestedAsync(cli), StringComparison.Ordinal);
        Assert.Empty(other.Messages);
    }

    [Fact]
    public async Task What_is_wrong_with_the_mail_server_is_said_in_words_with_what_to_do()
    {
        using var plain = new MailServer();
        await using var cli = await MailCliAsync(plain.Port);
        Assert.Contains("offers no TLS", await TestedAsync(cli), StringComparison.Ordinal);
        cli.Variables["ROLLCALL_SMTP_TLS"] = "start";
        Assert.Contains("does not speak TLS", await TestedAsync(cli), StringComparison.Ordinal);
        cli.Variables["ROLLCALL_SMTP_TLS"] = "off";
        cli.Variables["ROLLCALL_SMTP_USER"] = "rollcall";
        cli.Variables["ROLLCALL_SMTP_PASSWORD_FILE"] = cli.File("password", "a password");
        Assert.Contains("takes no sign-in", await TestedAsync(cli), StringComparison.Ordinal);
        cli.Variables.Remove("ROLLCALL_SMTP_USER");
        cli.Variables.Remove("ROLLCALL_SMTP_PASSWORD_FILE");
        Assert.StartsWith("sent", await TestedAsync(cli, 0), StringComparison.Ordinal);

        using (var web = new TcpListener(IPAddress.Loopback, 0))
        {
            web.Start();
            cli.Variables["ROLLCALL_SMTP_PORT"] = ((IPEndPoint)web.LocalEndpoint).Port.ToString(CultureInfo.InvariantCulture);
            var answering = AnswerAsync(web);
            Assert.Contains("is no mail server", await TestedAsync(cli), StringComparison.Ordinal);
            await answering;
        }

        Assert.Contains("cannot be reached at port", await TestedAsync(cli), StringComparison.Ordinal);
        cli.Variables["ROLLCALL_SMTP_TLS"] = "on";
        cli.Variables["ROLLCALL_SMTP_HOST"] = "mail.nowhere.invalid";
        Assert.Contains("no computer mail.nowhere.invalid", await TestedAsync(cli), StringComparison.Ordinal);

        foreach (var odd in (string[])["school", "rollcall@", "Rollcall", "a@school.example, b@school.example"])
        {
            cli.Variables["ROLLCALL_SMTP_FROM"] = odd;
            await cli.RefusedAsync(1, $"ROLLCALL_SMTP_FROM '{odd}' is no address", "notice", "test");
        }

        cli.Variables["ROLLCALL_SMTP_FROM"] = "rollcall@school.example";
        cli.Variables["ROLLCALL_SMTP_TLS"] = "perhaps";
        await cli.RefusedAsync(1, "ROLLCALL_SMTP_TLS 'perhaps'", "notice", "test");
        cli.Variables["ROLLCALL_SMTP_TLS"] = "off";
        await cli.RefusedAsync(1, "only a server on this machine", "notice", "test");
        cli.Variables["ROLLCALL_SMTP_TLS"] = "on";
        cli.Variables["ROLLCALL_SMTP_CA_FILE"] = cli.File("ca", "no certificate");
        await cli.RefusedAsync(1, "ROLLCALL_SMTP_CA_FILE", "notice", "test");
    }

    private static async Task AnswerAsync(TcpListener web)
    {
        using var client = await web.AcceptTcpClientAsync(TestContext.Current.CancellationToken);
        await client.GetStream().WriteAsync("HTTP/1.1 400 Bad Request\r\n\r\n"u8.ToArray(), TestContext.Current.CancellationToken);
    }

    private static async Task<Cli> MailCliAsync(int port)
    {
        var cli = await Cli.OpenAsync();
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend");
        await cli.OkAsync("notice", "set", "--email", "office@school.example");
        cli.Variables["ROLLCALL_SMTP_HOST"] = "127.0.0.1";
        cli.Variables["ROLLCALL_SMTP_PORT"] = port.ToString(CultureInfo.InvariantCulture);
        cli.Variables["ROLLCALL_SMTP_FROM"] = "rollcall@school.example";
        return cli;
    }

    private static async Task<string> TestedAsync(Cli cli, int code = 1)
    {
        var ran = await cli.RunAsync("notice", "test");
        Assert.True(code == ran.Code, ran.Out + ran.Error);
        return Assert.Single(ran.Out.TrimEnd('\n').Split('\n'));
    }
}
