using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.RegularExpressions;
using Microsoft.AspNetCore.Html;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;

namespace Rollcall.Server.Pages.Parts;

/// <summary>How screens say things.</summary>
internal static partial class Words
{
    /// <summary>The kinds of operation that people look for.</summary>
    public static readonly IReadOnlyList<(OperationKind Kind, string Label)> Kinds =
    [
        (OperationKind.FullSync, "Full Sync"),
        (OperationKind.ChangesSync, "Changes Sync"),
        (OperationKind.PersonSync, "One-person Sync"),
        (OperationKind.Import, "Patron Import"),
        (OperationKind.Edit, "Patron Edit"),
        (OperationKind.Undo, "Undo"),
        (OperationKind.Export, "Patron Export"),
        (OperationKind.Merge, "Merge"),
        (OperationKind.Remove, "Remove"),
        (OperationKind.Erase, "Erase"),
        (OperationKind.Retention, "Retention"),
        (OperationKind.Switch, "Switch"),
        (OperationKind.Readiness, "Readiness"),
        (OperationKind.Review, "Review"),
    ];

    public static string Status(OperationStatus status) =>
        status switch
        {
            OperationStatus.NeedsApproval => "Needs approval",
            OperationStatus.CompletedWithWarnings => "Completed with warnings",
            _ => status.ToString(),
        };

    /// <summary>How an operation stands. What a sync held may have been discarded: the rest of it was written.</summary>
    public static string Status(Operation operation) =>
        operation.FailedForNow ? "Failed for now"
        : operation.IsUnfinished ? "Plan unfinished"
        : operation is { Status: OperationStatus.Discarded, PreviewOnly: false } ? "Hold discarded"
        : Status(operation.Status);

    public static string Tone(Operation operation) =>
        operation.FailedForNow ? "warn"
        : operation.IsUnfinished ? "info"
        : Tone(operation.Status);

    /// <summary>That something failed for now, and when it is tried again.</summary>
    /// <param name="next">When; null as soon as it is its turn.</param>
    /// <param name="zone">The district's.</param>
    /// <param name="now">The time.</param>
    public static string Again(DateTimeOffset? next, TimeZoneInfo zone, DateTimeOffset now) =>
        next is { } at
            ? $"Failed; tried again {(When(at, zone, now) is var when && when.StartsWith("today ", StringComparison.Ordinal) ? $"at {when["today ".Length..]}" : when)}"
            : "Failed; tried again as soon as it is its turn";

    /// <summary>Nothing of the operation was written, nor will be: it was a preview.</summary>
    public static bool CameToNothing(Operation operation) =>
        operation is { PreviewOnly: true, ApprovedAt: null, Status: OperationStatus.Discarded or OperationStatus.Superseded };

    /// <summary>The tone a badge takes. The word beside it says the same.</summary>
    public static string Tone(OperationStatus status) =>
        status switch
        {
            OperationStatus.Running or OperationStatus.Waiting or OperationStatus.Preview => "info",
            OperationStatus.Completed => "good",
            OperationStatus.CompletedWithWarnings or OperationStatus.NeedsApproval => "warn",
            OperationStatus.Failed => "bad",
            _ => "quiet",
        };

    public static string Tone(PatronStatus status) =>
        status switch
        {
            PatronStatus.Active => "good",
            PatronStatus.CardLost or PatronStatus.Suspended => "warn",
            _ => "quiet",
        };

    /// <summary>A log line's outcome; lines that count as none say what they do.</summary>
    public static string Outcome(LogRow row) => row.Outcome == "absent" ? "Transferred" : Capital(row.Outcome ?? row.Kind);

    /// <summary>The same in the log of one operation: what an undo changes it takes back.</summary>
    public static string Outcome(LogRow row, OperationKind kind) =>
        kind == OperationKind.Undo && row.Outcome == "updated" ? "Taken back" : Outcome(row);

    public static string OutcomeTone(LogRow row) =>
        (row.Outcome ?? row.Kind) switch
        {
            "created" or "reactivated" => "good",
            "updated" or "link" or "edit" or "unchanged" => "info",
            "transferred" or "absent" or "review" => "warn",
            _ => "quiet",
        };

    public static string MatchedBy(string key) =>
        key switch
        {
            "guid" => "GUID",
            "studentNumber" => "Student #",
            "barcode" => "Barcode",
            "email" => "Email",
            "reissued" => "re-issued id",
            "decision" => "a decision in Review",
            _ => key,
        };

    /// <summary>What kind of thing a line of the audit tells. Lines are never changed: a word of old ones stays as it was written.</summary>
    public static string AuditAction(string action) =>
        action switch
        {
            "configure" => "roster settings",
            "match" => "site matched",
            "unmatch" => "site match undone",
            "log-in with ClassLink" => "sign-in with ClassLink",
            _ => action,
        };

    public static string Service(IntegrationKind kind) => IntegrationWords.Name(kind);

    public static string Count(long number) => number.ToString("N0", CultureInfo.InvariantCulture);

    /// <summary>"1 patron", "2,345 patrons".</summary>
    public static string Count(long number, string one, string many) => $"{Count(number)} {(number == 1 ? one : many)}";

    /// <summary>A number as fields of forms take it.</summary>
    public static string Plain(double number) => number.ToString(CultureInfo.InvariantCulture);

    /// <summary>A value in words as screens have it: beside a field's name, that of a sex begins with a capital.</summary>
    public static string? Value(int field, string? text) => field == PatronFields.Sex && text is not null ? Capital(text) : text;

    /// <summary>What a librarian reads who sees nobody, because no site is theirs.</summary>
    public const string NoSiteYet = "No site is yours yet. A District Administrator enters the sites that you work at in your record.";

    /// <summary>An e-mail address breaks after its sign where it has to, and not in mid-word.</summary>
    public static IHtmlContent Breakable(string? text) =>
        new HtmlString(
            HtmlEncoder
                .Default.Encode(text ?? "")
                .Replace("@", "@<wbr>", StringComparison.Ordinal)
                .Replace(".", ".<wbr>", StringComparison.Ordinal)
        );

    /// <summary>A sentence in which operations that go by their numbers lead to them.</summary>
    /// <param name="text">What is said.</param>
    /// <param name="linked">Whoever reads it may open operations.</param>
    public static IHtmlContent WithOperations(string text, bool linked)
    {
        var html = HtmlEncoder.Default.Encode(text);
        return new HtmlString(linked ? OperationNumber().Replace(html, "<a href=\"/operations/${number}\">$0</a>") : html);
    }

    [GeneratedRegex("\\b[Oo]peration (?<number>[1-9][0-9]{0,17})\\b(?!;)", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex OperationNumber();

    public static string Capital(string text) => text.Length == 0 ? text : char.ToUpperInvariant(text[0]) + text[1..];

    /// <summary>A span of time as people say it.</summary>
    public static string Took(TimeSpan span) =>
        span.TotalSeconds < 1 ? "less than a second"
        : span.TotalSeconds < 59.5 ? Count((long)Math.Round(span.TotalSeconds), "second", "seconds")
        : span.TotalSeconds < 60 ? "1 min 0 s"
        : span.TotalMinutes < 60 ? $"{(int)span.TotalMinutes} min {span.Seconds} s"
        : $"{(int)span.TotalHours} h {span.Minutes} min";

    /// <summary>How long an operation worked; null before it began.</summary>
    public static string? Took(Operation operation) => operation.Worked is { } worked ? Took(worked) : null;

    /// <summary>Where a patron's page is. A barcode whose path a browser would fold goes into the query.</summary>
    /// <param name="barcode">Whose.</param>
    /// <param name="query">What else the address says; null for nothing.</param>
    public static string PatronUrl(string barcode, string? query = null)
    {
        var parts = barcode.Split('/');
        return parts.All(p => p is not ("" or "." or ".."))
            ? "/patrons/" + string.Join('/', parts.Select(Uri.EscapeDataString)) + (query is null ? "" : "?" + query)
            : "/patrons/-?barcode=" + Uri.EscapeDataString(barcode) + (query is null ? "" : "&" + query);
    }

    /// <summary>An id of the roster as screens call it.</summary>
    /// <param name="source">As <c>map</c> takes it.</param>
    public static string Id(string source) => Capital(source.Replace("user-id:", "User ID of Type ", StringComparison.Ordinal));

    /// <summary>Where the roster's value of a field comes from, as people say it who know no roster's columns.</summary>
    /// <param name="source">As the command line says it.</param>
    public static string Source(string source) =>
        source switch
        {
            "sourcedId" => "The roster's id of the person",
            "givenName" => "First name",
            "middleName" => "Middle name",
            "familyName" => "Last name",
            "preferredFirstName" => "Preferred first name",
            "demographics.birthDate" => "Birthdate",
            "demographics.sex" => "Sex",
            "phone" => "Phone",
            "email" => "Email",
            "identifier" => "Identifier",
            "username" => "Username",
            "grades, the first" => "The first of the grades",
            _ when source.StartsWith("status:", StringComparison.Ordinal) => "Status: Transferred where marked as deleted, else Active",
            _ => Capital(source),
        };

    /// <summary>What the roster's own documents call it, for whoever looks it up there; null where that is no other word.</summary>
    public static string? SourceCode(string source) =>
        source is "sourcedId" or "givenName" or "middleName" or "familyName" or "demographics.birthDate" or "demographics.sex"
            ? source
            : null;

    /// <summary>A browser as people call it, "Firefox on Windows"; what it says of itself where that is not known.</summary>
    /// <param name="agent">The header User-Agent; null or empty when there was none.</param>
    public static string Browser(string? agent)
    {
        if (string.IsNullOrEmpty(agent))
        {
            return "Unknown browser";
        }

        // The order matters: nearly everybody claims to be Safari, and most claim to be Chrome.
        var browser = Named(
            ("Edg", "Edge"),
            ("OPR/", "Opera"),
            ("Firefox/", "Firefox"),
            ("FxiOS/", "Firefox"),
            ("Chrome/", "Chrome"),
            ("CriOS/", "Chrome"),
            ("Safari/", "Safari")
        );
        var system = Named(
            ("Windows", "Windows"),
            ("iPhone", "iPhone"),
            ("iPad", "iPad"),
            ("Android", "Android"),
            ("CrOS", "a Chromebook"),
            ("Mac OS X", "Mac"),
            ("Linux", "Linux")
        );
        return browser is null ? agent
            : system is null ? browser
            : $"{browser} on {system}";

        string? Named(params ReadOnlySpan<(string Sign, string Name)> signs)
        {
            foreach (var (sign, name) in signs)
            {
                if (agent.Contains(sign, StringComparison.Ordinal))
                {
                    return name;
                }
            }

            return null;
        }
    }

    /// <summary>Whether each word of a search is somewhere in one of these texts, case and accents aside; without a search everything fits.</summary>
    public static bool Fits(string? search, params IEnumerable<string?> texts)
    {
        if (Text.Clean(search) is not { } asked)
        {
            return true;
        }

        var words = Text.Words(asked);
        var all = Text.Fold(string.Join('\n', texts));
        return words.Count > 0 && words.All(w => all.Contains(w, StringComparison.Ordinal));
    }

    /// <summary>An instant where the district is, short.</summary>
    public static string When(DateTimeOffset at, TimeZoneInfo zone, DateTimeOffset now)
    {
        var local = TimeZoneInfo.ConvertTime(at, zone);
        var today = TimeZoneInfo.ConvertTime(now, zone).Date;
        return local.Date == today ? local.ToString("'today' HH:mm", CultureInfo.InvariantCulture)
            : local.Date == today.AddDays(1) ? local.ToString("'tomorrow' HH:mm", CultureInfo.InvariantCulture)
            : local.Date == today.AddDays(-1) ? local.ToString("'yesterday' HH:mm", CultureInfo.InvariantCulture)
            : local.ToString("MMM d, yyyy, HH:mm", CultureInfo.InvariantCulture);
    }
}
