using Rollcall.Patrons;
using Rollcall.Sync;

namespace Rollcall.Server.Api;

/// <summary>One page of a list.</summary>
/// <param name="Items">In order.</param>
/// <param name="Next">Give this as <c>cursor</c> for the next page; null at the end.</param>
internal sealed record Page<T>(IReadOnlyList<T> Items, string? Next);

/// <summary>One page of patrons.</summary>
/// <param name="Items">In order of their last change when <c>changedSince</c> is given, else in an order that does not change.</param>
/// <param name="Next">Give this as <c>cursor</c> for the next page; null at the end.</param>
/// <param name="AsOf">Give this as <c>changedSince</c> the next time, once all pages are read: no change is missed, a few come twice.</param>
internal sealed record PatronPage(IReadOnlyList<PatronDocument> Items, string? Next, DateTimeOffset AsOf);

/// <summary>A patron: the fields by their names, and how they hang together with the roster.</summary>
internal sealed class PatronDocument(IDictionary<string, object?> values) : Dictionary<string, object?>(values, StringComparer.Ordinal);

/// <summary>A district.</summary>
internal sealed record DistrictView(string Code, string Name, string TimeZone);

internal sealed record NewDistrict(string Code, string Name, string? TimeZone);

internal sealed record AllowedTenant(string TenantId);

/// <summary>A site.</summary>
internal sealed record SiteView(string Code, string Name, string? Guid, string? NextBarcode, string? DefaultPolicy, string? DefaultGroup);

/// <summary>A new site.</summary>
internal sealed record NewSite(string Code, string Name, string? NextBarcode, string? Policy, string? Group, string? RoleGroup);

/// <summary>What to change of a site; what is left out stays.</summary>
internal sealed record SitePatch(string? Name, string? NextBarcode, string? Policy, string? Group, string? RoleGroup);

/// <summary>Days that a district keeps things.</summary>
internal sealed record RetentionView(int LogDays, int AuditDays, int SignInDays);

/// <summary>Days to change; what is left out stays.</summary>
internal sealed record RetentionPatch(int? LogDays, int? AuditDays, int? SignInDays);

/// <summary>A connection. Secrets go in and never come out.</summary>
internal sealed record ConnectBody
{
    /// <summary><c>proxy</c>, <c>prefix</c>, <c>direct</c>, <c>client-credentials</c> or <c>bearer</c>.</summary>
    public required string Mode { get; init; }
    public string? TenantId { get; init; }
    public string? Url { get; init; }

    /// <summary>OAuth consumer key or client id.</summary>
    public string? Key { get; init; }

    /// <summary>OAuth secret, or the token of a prefix or a bearer connection.</summary>
    public string? Secret { get; init; }

    /// <summary><c>HMAC-SHA256</c> or <c>HMAC-SHA1</c>.</summary>
    public string? Signature { get; init; }
    public string? TokenUrl { get; init; }

    /// <summary>Clearing what another roster left behind is agreed to.</summary>
    public bool? Clear { get; init; }
}

internal sealed record ConnectedView(string Mode, string? TenantId, string? DistrictName, bool Confirmed, string Message, long? Cleared);

/// <summary>Whether clearing what another roster left behind is agreed to.</summary>
internal sealed record TurnOnBody(bool? Clear);

internal sealed record TurnedOn(bool Enabled, long? Cleared);

internal sealed record OrgView(string SourcedId, string? Name, string? Type, string? Site, string? SuggestedSite);

internal sealed record MatchBody(string Site, string Org);

/// <summary>What to change of an integration's settings; what is left out stays. Words are those of the command line.</summary>
internal sealed record SettingsPatch
{
    /// <summary>Who is synced: <c>student</c>, <c>teacher</c>, <c>admin</c>.</summary>
    public IReadOnlyList<string>? Roles { get; init; }

    /// <summary><c>barcode</c>, <c>community-id</c> or <c>location</c> → its source, such as <c>user-id:TYPE</c>.</summary>
    public IReadOnlyDictionary<string, string>? Map { get; init; }

    /// <summary><c>first-org</c>, <c>first-matched</c> or <c>primary-org</c>.</summary>
    public string? SiteFrom { get; init; }

    /// <summary>Grade of the roster → grade to write; a blank takes the translation away.</summary>
    public IReadOnlyDictionary<string, string?>? Grades { get; init; }

    /// <summary>Field → who wins, and what a blank does.</summary>
    public IReadOnlyDictionary<string, FieldRuleBody>? Fields { get; init; }

    /// <summary><c>transfers</c>, <c>updates</c> or <c>creates</c> → when changes wait.</summary>
    public IReadOnlyDictionary<string, ThresholdBody>? Thresholds { get; init; }

    /// <summary>A site's code: the thresholds are this site's alone.</summary>
    public string? ThresholdsOfSite { get; init; }
    public ScheduleBody? Schedule { get; init; }
}

internal sealed record FieldRuleBody(string? Policy, string? Blank);

internal sealed record ThresholdBody(double? Percent, int? Count);

/// <summary>When the district is synced by itself.</summary>
internal sealed record ScheduleBody
{
    /// <summary><c>HH:mm</c> where the district is; <c>off</c> for never.</summary>
    public string? Daily { get; init; }

    /// <summary><c>full</c> or <c>changes</c>.</summary>
    public string? Mode { get; init; }

    /// <summary>The first day, <c>YYYY-MM-DD</c>, on which nothing runs by itself.</summary>
    public string? PauseFrom { get; init; }
    public string? PauseTo { get; init; }

    /// <summary>Pauses and what an undo put in the way are taken away.</summary>
    public bool? Resume { get; init; }
}

/// <summary>A sync to start.</summary>
internal sealed record SyncBody
{
    /// <summary><c>full</c>, <c>changes</c> or <c>person</c>; a full one when it is left out.</summary>
    public string? Kind { get; init; }

    /// <summary>For <c>person</c>: a sourcedId, or the barcode of a linked patron.</summary>
    public string? Person { get; init; }

    /// <summary>Stop at the plan and write nothing; the plan can be approved.</summary>
    public bool? Preview { get; init; }
}

/// <summary>An undo.</summary>
/// <param name="Patron">Of one patron alone, by barcode; null for all.</param>
internal sealed record UndoBody(string? Patron);

/// <summary>An operation that was started.</summary>
/// <param name="Operation">Its id.</param>
/// <param name="IsNew">False when an equal sync waited or ran already: this is it.</param>
internal sealed record Started(long Operation, bool IsNew);

/// <summary>A roster person who waits in Review, or was decided on.</summary>
/// <param name="Values">What the roster says, field → value.</param>
/// <param name="Candidates">Barcodes of the patrons in question.</param>
internal sealed record ReviewItemView(
    int Id,
    string Guid,
    string? Name,
    string RoleGroup,
    string Status,
    string Reason,
    string? Site,
    IReadOnlyList<string> Candidates,
    string? DecidedBy,
    IReadOnlyDictionary<string, string> Values
);

internal sealed record LinkBody(string Barcode);

/// <summary>What came of a decision in Review.</summary>
internal sealed record Decided(long Operation, string? Barcode, string Message);

/// <summary>Fields of a patron by name, number or label; null empties one.</summary>
/// <param name="Fields">Field → value.</param>
/// <param name="Version">The patron's version that was looked at: refused when somebody changed it since. Null does not check.</param>
internal sealed record PatronPatch(IReadOnlyDictionary<string, string?> Fields, long? Version);

internal sealed record NewPatronBody(IReadOnlyDictionary<string, string?> Fields);

/// <summary>Says again who is meant, so that nobody is erased by a slip.</summary>
/// <param name="Barcode">The same as in the address.</param>
internal sealed record EraseBody(string Barcode);

/// <param name="Other">Barcode of the record that goes.</param>
internal sealed record MergeBody(string Other);

/// <summary>One change of a patron.</summary>
internal sealed record HistoryItem(
    long Operation,
    string Title,
    DateTimeOffset At,
    string By,
    string Kind,
    IReadOnlyList<Operations.LogField> Changes,
    string? Reason,
    string? Warning
);

/// <summary>Whether the server answers.</summary>
internal sealed record HealthView(string Status, string Version);
