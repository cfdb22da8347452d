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

    public async Task OnGetAsync()
    {
        Setting = await notices.FindAsync(DistrictId, Gone);
        Sent = await notices.ListAsync(DistrictId, take: 30, cancellationToken: Gone);
    }

    public Task<IActionResult> OnPostAsync(string? emails, NoticeEvents[] events, string? webhook, string? secret) =>
        ActAsync(
            "/preferences/notices",
            async () =>
            {
                await notices.SetAsync(
                    DistrictId,
                    (emails ?? "").Split([',', ';', '\n', '\r', ' '], StringSplitOptions.RemoveEmptyEntries),
                    events.Aggregate(NoticeEvents.None, (all, one) => all | (one & (NoticeEvents)15)),
                    webhook ?? "",
                    Text.Clean(secret),
                    Here.Actor.Name,
                    Gone
                );
                return "Saved.";
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
