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
}
