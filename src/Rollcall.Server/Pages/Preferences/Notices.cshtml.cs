using Microsoft.AspNetCore.Mvc;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages.Preferences;

/// <summary>Whom the district tells of its syncs, and what became of the last notices.</summary>
internal sealed class NoticesModel(Here here, NoticeService notices, RollcallOptions options) : RollcallPage(here)
{
    /// <summary>What can be told, as the form and people say it.</summary>
    public static readonly IReadOnlyList<(NoticeEvents Event, string Label)> Events =
    [
        (NoticeEvents.Failed, "A sync failed, after the tries of that night"),
        (NoticeEvents.Held, "Changes are held and wait for an approval"),
        (NoticeEvents.Warnings, "A sync ended with warnings"),
        (NoticeEvents.Completed, "A nightly sync ended without any"),
    ];

    /// <summary>What became of a notice, in a word.</summary>
    public static string Outcome(Notice notice) =>
        notice.Status switch
        {
            NoticeStatus.Sent => "Sent",
            NoticeStatus.Failed => "Failed",
            _ => notice.Attempts switch
            {
                0 => "Waiting",
                1 => "Tried once",
                var times => $"Tried {times} times",
            },
        };

    /// <summary>What it tells, in a few words.</summary>
    public static string Of(Notice notice) =>
        notice.Event switch
        {
            NoticeEvents.Failed => "that it failed",
            NoticeEvents.Held => "that changes wait",
            NoticeEvents.Warnings => "that it ended, with warnings",
            NoticeEvents.Completed => "that it ended",
            _ => "a test",
        };

    /// <summary>The colour of that word.</summary>
    public static string Tone(Notice notice) =>
        notice.Status switch
        {
            NoticeStatus.Sent => "good",
            NoticeStatus.Failed => "bad",
            _ => notice.Error is null ? "quiet" : "warn",
        };

    public NoticeSetting Setting { get; private set; } = new();
    public IReadOnlyList<Notice> Sent { get; private set; } = [];

    /// <summary>This installation can send e-mail.</summary>
    public bool CanMail => options.Mail is not null;

    public Task OnGetAsync() => LoadAsync();

    private async Task LoadAsync()
    {
        Setting = await notices.FindAsync(DistrictId, Gone);
        Sent = await notices.ListAsync(DistrictId, take: 30, cancellationToken: Gone);
    }

    /// <summary>What this window did not touch is another's to change: a line of the addresses, a tick, the webhook.</summary>
    public Task<IActionResult> OnPostAsync(
        string? emails,
        NoticeEvents[] events,
        string? webhook,
        string? secret,
        string? opened,
        string? wasEmails,
        NoticeEvents[] wasEvents,
        string? wasWebhook
    ) =>
        SaveAsync(
            "/preferences/notices",
            LoadAsync,
            async () =>
            {
                var (lines, ticks) = (Lines(emails), Sum(events));
                var (wasLines, wasTicks) = (Lines(wasEmails), Sum(wasEvents));
                var hook = webhook ?? "";
                var password = Text.Clean(secret);
                if (opened is null)
                {
                    await notices.SetAsync(DistrictId, lines, ticks, hook, password, Here.Actor.Name, Gone);
                    return "Saved.";
                }

                var moved = !lines.SequenceEqual(wasLines, StringComparer.OrdinalIgnoreCase);
                var turned = ticks ^ wasTicks;
                var hooked = hook != (wasWebhook ?? "");
                if (!moved && turned == NoticeEvents.None && !hooked && password is null)
                {
                    return "Everything is as it was: nothing was changed.";
                }

                var stands = await notices.FindAsync(DistrictId, Gone);
                await notices.SetAsync(
                    DistrictId,
                    moved
                        ?
                        [
                            .. stands
                                .Addresses.Where(a =>
                                    !wasLines.Contains(a, StringComparer.OrdinalIgnoreCase)
                                    || lines.Contains(a, StringComparer.OrdinalIgnoreCase)
                                )
                                .Concat(lines.Except(wasLines, StringComparer.OrdinalIgnoreCase)),
                        ]
                        : null,
                    turned == NoticeEvents.None ? null : (stands.Events & ~turned) | (ticks & turned),
                    hooked ? hook : null,
                    password,
                    Here.Actor.Name,
                    Gone
                );
                return "Saved.";

                static List<string> Lines(string? text) =>
                    [
                        .. (text ?? "").Split(
                            [',', ';', '\n', '\r', ' '],
                            StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries
                        ),
                    ];

                static NoticeEvents Sum(NoticeEvents[] ticks) =>
                    ticks.Aggregate(NoticeEvents.None, (all, one) => all | (one & (NoticeEvents)15));
            }
        );

    public Task<IActionResult> OnPostTestAsync() =>
        ActAsync(
            "/preferences/notices",
            async () =>
            {
                var sent = await notices.TestAsync(Here.District, Gone);
                var failed = sent.Where(n => n.Error is not null).ToList();
                return failed.Count == 0
                    ? $"A test went to {Words.Count(sent.Count, "place", "places")}."
                    : throw new RollcallException(
                        $"{Words.Count(failed.Count, "test", "tests")} of {sent.Count} did not arrive. {failed[0].Target}: {failed[0].Error}"
                    );
            }
        );
}
