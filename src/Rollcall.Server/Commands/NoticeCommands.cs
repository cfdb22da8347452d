using System.CommandLine;
using Rollcall.Operations;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall notice</c>.</summary>
internal static class NoticeCommands
{
    private sealed record Setting(IReadOnlyList<string> Emails, IReadOnlyList<string> Events, string? Webhook);

    private sealed record Row(
        long Id,
        long? Operation,
        string Channel,
        string Target,
        string Event,
        string Subject,
        string Status,
        int Attempts,
        DateTimeOffset CreatedAt,
        DateTimeOffset? SentAt,
        DateTimeOffset? NextTryAt,
        string? Error
    );

    private static readonly (string Word, NoticeEvents Event)[] s_events =
    [
        ("failed", NoticeEvents.Failed),
        ("held", NoticeEvents.Held),
        ("warnings", NoticeEvents.Warnings),
        ("completed", NoticeEvents.Completed),
    ];

    public static Command Build(Terminal terminal) =>
        new("notice", "Whom the district tells when a sync failed, is held, or is done")
        {
            Set(terminal),
            Show(terminal),
            Test(terminal),
            List(terminal),
        };

    private static Command Set(Terminal terminal)
    {
        var emails = new Option<string?>("--email") { Description = "All addresses, joined by commas; none for nobody", HelpName = "LIST" };
        var events = new Option<string?>("--events")
        {
            Description = "What is told, joined by commas: failed, held, warnings, completed. Without being told: failed,held",
            HelpName = "LIST",
        };
        var webhook = new Option<string?>("--webhook")
        {
            Description = "An address that gets a signed POST; none for nobody",
            HelpName = "URL",
        };
        var secret = new FileOption("--webhook-secret-file")
        {
            Description = "A file with the secret that webhooks are signed with alone",
            HelpName = "F",
        };
        var command = new Command("set", "Change whom the district tells, and of what") { emails, events, webhook, secret };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                var list = GlobalOptions.Given(result.GetValue(emails));
                var address = GlobalOptions.Given(result.GetValue(webhook));
                var file = GlobalOptions.Given(result.GetValue(secret));
                var told = GlobalOptions.Given(result.GetValue(events));
                if (list is null && address is null && file is null && told is null)
                {
                    throw new UsageException("Say what to change: --email, --events, --webhook or --webhook-secret-file.");
                }

                NoticeEvents? wanted = told is null ? null : Events(told);
                var key = file is null ? null : await Arguments.SecretAsync(terminal.Files, file, "webhook secret", cancellationToken);
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                await session
                    .Get<NoticeService>()
                    .SetAsync(
                        district.Id,
                        list is null ? null
                            : list == "none" ? []
                            : list.Split(','),
                        wanted,
                        address == "none" ? "" : address,
                        key,
                        session.Actor.Name,
                        cancellationToken
                    );
                await WriteAsync(session, terminal, district.Id, cancellationToken);
            }
        );
        return command;
    }

    private static Command Show(Terminal terminal)
    {
        var command = new Command("show", "Show whom the district tells, and of what");
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                await WriteAsync(session, terminal, (await session.DistrictAsync(cancellationToken)).Id, cancellationToken);
            }
        );
        return command;
    }

    private static Command Test(Terminal terminal)
    {
        var command = new Command("test", "Send a test to every place now, and say what came of it");
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var notices = await session.Get<NoticeService>().TestAsync(district, cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteArrayAsync(terminal, notices.Select(RowOf), cancellationToken);
                }
                else
                {
                    foreach (var notice in notices)
                    {
                        await terminal.Out.WriteLineAsync(
                            Terminal.Plain(notice.Error is null ? $"sent    {notice.Target}" : $"FAILED  {notice.Target}: {notice.Error}")
                        );
                    }
                }

                return notices.Any(n => n.Error is not null) ? ExitCode.Failed : ExitCode.Done;
            }
        );
        return command;
    }

    private static Command List(Terminal terminal)
    {
        var command = new Command("list", "Show the newest notices and what became of them");
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var notices = await session.Get<NoticeService>().ListAsync(district.Id, cancellationToken: cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteArrayAsync(terminal, notices.Select(RowOf), cancellationToken);
                    return;
                }

                terminal.WriteTable(
                    ["When", "To", "Subject", "Status", "Why"],
                    notices.Select(n =>
                        (string?[])[OperationText.When(n.CreatedAt, district), n.Target, n.Subject, Status(n.Status), n.Error]
                    )
                );
            }
        );
        return command;
    }

    private static async Task WriteAsync(Session session, Terminal terminal, int districtId, CancellationToken cancellationToken)
    {
        var setting = await session.Get<NoticeService>().FindAsync(districtId, cancellationToken);
        var words = s_events.Where(e => setting.Events.HasFlag(e.Event)).Select(e => e.Word).ToList();
        if (session.Json)
        {
            await JsonText.WriteAsync(terminal, new Setting(setting.Addresses, words, setting.WebhookUrl));
            return;
        }

        terminal.WritePairs([
            ("Email to", setting.Addresses.Count == 0 ? "nobody" : string.Join(", ", setting.Addresses)),
            ("Webhook", setting.WebhookUrl ?? "none"),
            ("When", words.Count == 0 ? "never" : string.Join(", ", words)),
        ]);
    }

    private static Row RowOf(Notice notice) =>
        new(
            notice.Id,
            notice.OperationId,
            notice.Channel.ToString().ToLowerInvariant(),
            notice.Target,
            notice.Event == NoticeEvents.None ? "test" : notice.Event.ToString().ToLowerInvariant(),
            notice.Subject,
            Status(notice.Status),
            notice.Attempts,
            notice.CreatedAt,
            notice.SentAt,
            notice.Status == NoticeStatus.Waiting ? notice.DueAt : null,
            notice.Error
        );

    private static string Status(NoticeStatus status) => status.ToString().ToLowerInvariant();

    private static NoticeEvents Events(string list)
    {
        var events = NoticeEvents.None;
        foreach (
            var word in list.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries).Where(w => w != "none")
        )
        {
            var known = Array.Find(s_events, e => string.Equals(e.Word, word, StringComparison.OrdinalIgnoreCase));
            events |=
                known.Event == NoticeEvents.None
                    ? throw new UsageException($"'{word}' is no event: there is failed, held, warnings and completed.")
                    : known.Event;
        }

        return events;
    }
}
