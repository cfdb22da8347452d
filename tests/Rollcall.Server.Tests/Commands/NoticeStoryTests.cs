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
        await cli.RefusedAsync(1, "no email address", "notice", "set", "--email", "office");
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
        Assert.Equal(2, (await cli.OkAsync("notice", "list", "--json")).Json.GetArrayLength());
        await cli.OkAsync("notice", "set", "--email", "none");
        Assert.Equal(0, (await cli.OkAsync("notice", "show", "--json")).Json.GetProperty("emails").GetArrayLength());
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
}
