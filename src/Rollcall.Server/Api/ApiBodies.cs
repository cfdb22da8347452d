using Microsoft.AspNetCore.Mvc;
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
internal class PatronDocument(IDictionary<string, object?> values) : Dictionary<string, object?>(values, StringComparer.Ordinal);

/// <summary>A patron as it was just written, with <c>warnings</c>: what to look at, though it is written and may be right.</summary>
internal sealed class SavedPatron : PatronDocument
{
    public SavedPatron(PatronDocument patron, string? doubt)
        : base(patron) => this["warnings"] = doubt is null ? [] : new[] { doubt };
}

/// <summary>A district.</summary>
/// <param name="Code">Its code.</param>
/// <param name="Name">Its name.</param>
/// <param name="TimeZone">IANA name.</param>
/// <param name="Tenants">The ClassLink tenants that the operator has allowed it.</param>
/// <param name="AsksForTenant">The tenant that it waits for; null when it waits for none.</param>
internal sealed record DistrictView(string Code, string Name, string TimeZone, IReadOnlyList<string> Tenants, string? AsksForTenant);

internal sealed record NewDistrict(string Code, string Name, string? TimeZone);

internal sealed record AllowedTenant(string TenantId);

/// <summary>A site.</summary>
/// <param name="Code">Its code.</param>
/// <param name="Name">Its name.</param>
/// <param name="Guid">The <c>sourcedId</c> of the first organization that is matched to it; null when none is.</param>
/// <param name="NextBarcode">What the next new patron gets.</param>
/// <param name="DefaultPolicy">What new patrons get; null is the Standard Patron policy.</param>
/// <param name="DefaultGroup">What new patrons get.</param>
/// <param name="RoleGroups">What new patrons of single role groups get instead; the others are not in it.</param>
internal sealed record SiteView(
    string Code,
    string Name,
    string? Guid,
    string? NextBarcode,
    string? DefaultPolicy,
    string? DefaultGroup,
    IReadOnlyList<SiteRoleGroupView> RoleGroups
);

/// <summary>What differs at a site for one role group; null is as at the site.</summary>
internal sealed record SiteRoleGroupView(string RoleGroup, string? NextBarcode, string? Policy, string? Group);

/// <summary>A new site.</summary>
internal sealed record NewSite(string Code, string Name, string? NextBarcode, string? Policy, string? Group, string? RoleGroup);

/// <summary>What to change of the token's own district.</summary>
/// <param name="TimeZone">An IANA name, such as <c>America/New_York</c>: days and Daily Operations are its.</param>
internal sealed record DistrictPatch(string TimeZone);

/// <summary>What to change of a site; what is left out stays.</summary>
internal sealed record SitePatch(string? Name, string? NextBarcode, string? Policy, string? Group, string? RoleGroup);

/// <summary>The Grade Table: the district's own order, empty where it goes by the usual one, and the usual one.</summary>
internal sealed record GradesView(IReadOnlyList<string> Levels, IReadOnlyList<string> Usual);

/// <summary>The order of the grades, the first first; an empty list goes back to the usual order.</summary>
internal sealed record GradesBody(IReadOnlyList<string> Levels);

/// <summary>A policy, and how many patrons and sites have it.</summary>
internal sealed record PolicyView(string Code, string Name, int Patrons, int Sites);

/// <summary>The name of a policy; null names it by its code.</summary>
internal sealed record PolicyBody(string? Name);

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

    /// <summary>Which application of a tenant the proxy reads, where there are several: its id, as the refusal without one names it.</summary>
    public string? Application { get; init; }
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

/// <param name="ProposedCode">The code of a site that could be made for it; null unless it is a school without a site, matched or suggested.</param>
internal sealed record OrgView(
    string SourcedId,
    string? Name,
    string? Type,
    string? Site,
    string? SuggestedSite,
    string? ProposedCode,
    bool NotServed
);

/// <param name="Sites">The organizations that get a site; left out: every school without a site, matched or suggested.</param>
internal sealed record NewSitesBody(IReadOnlyList<NewSiteOfOrg>? Sites);

/// <param name="Org">The organization's <c>sourcedId</c>.</param>
/// <param name="Code">Left out: as proposed.</param>
/// <param name="Name">Left out: the organization's own.</param>
internal sealed record NewSiteOfOrg(string Org, string? Code, string? Name);

internal sealed record AddedSite(string Site, string Name, string Org, string NextBarcode);

internal sealed record MatchBody(string Site, string Org);

internal sealed record OrgBody(string Org);

/// <summary>What to change of an integration's settings; what is left out stays. Words are those of the command line.</summary>
internal sealed record SettingsPatch
{
    /// <summary>Who is synced: <c>student</c>, <c>teacher</c>, <c>admin</c>.</summary>
    public IReadOnlyList<string>? Roles { get; init; }

    /// <summary><c>barcode</c>, <c>community-id</c>, <c>location</c> or <c>nickname</c> → its source, such as <c>user-id:TYPE</c>; a nickname's is
    /// <c>preferred-name</c> or <c>none</c>.</summary>
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

    /// <summary>With <c>thresholdsOfSite</c>: the site follows the district's numbers again.</summary>
    public bool? ForgetThresholds { get; init; }
    public ScheduleBody? Schedule { get; init; }
}

internal sealed record FieldRuleBody(string? Policy, string? Blank);

internal sealed record ThresholdBody(double? Percent, int? Count);

/// <summary>When the district is synced by itself.</summary>
internal sealed record ScheduleBody
{
    /// <summary><c>HH:mm</c> where the district is; <c>default</c> for the time that is proposed to it, <c>off</c> for never.</summary>
    public string? Daily { get; init; }

    /// <summary><c>full</c> or <c>changes</c>.</summary>
    public string? Mode { get; init; }

    /// <summary>The first day, <c>YYYY-MM-DD</c>, on which nothing runs by itself.</summary>
    public string? PauseFrom { get; init; }
    public string? PauseTo { get; init; }

    /// <summary>The pause of these days is taken away, and no other.</summary>
    public bool? Unpause { get; init; }

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
/// <param name="Version">The patron's, as it was read: it says who was meant by the barcode. Needed with a patron.</param>
internal sealed record UndoBody(string? Patron, string? Version = null);

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
/// <param name="Version">That of the patron that was looked at: refused when somebody changed it since, or when the barcode is another person's by now. Null does not check.</param>
internal sealed record PatronPatch(IReadOnlyDictionary<string, string?> Fields, string? Version);

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

/// <summary>Which patrons: those whom every member that is given fits. At least one is.</summary>
internal sealed record PatronChoice
{
    public string? Search { get; init; }

    /// <summary>A site's code; <c>(none)</c> for patrons who have no site.</summary>
    public string? Site { get; init; }
    public string? Status { get; init; }
    public string? Level { get; init; }
    public string? Homeroom { get; init; }

    /// <summary><c>student</c>, <c>teacher</c> or <c>admin</c>.</summary>
    public string? RoleGroup { get; init; }
    public bool? Linked { get; init; }

    /// <summary>True for linked ones who have left the roster, as syncs saw, false for all others.</summary>
    public bool? Gone { get; init; }
    public IReadOnlyList<string>? Barcodes { get; init; }
}

/// <summary>Which patrons, in an address; everybody when nothing is given.</summary>
internal sealed record ChoiceQuery(
    [FromQuery(Name = "search")] string? Search,
    [FromQuery(Name = "site")] string? Site,
    [FromQuery(Name = "status")] string? Status,
    [FromQuery(Name = "level")] string? Level,
    [FromQuery(Name = "homeroom")] string? Homeroom,
    [FromQuery(Name = "roleGroup")] string? RoleGroup,
    [FromQuery(Name = "linked")] bool? Linked,
    [FromQuery(Name = "gone")] bool? Gone
)
{
    public PatronChoice Choice =>
        new()
        {
            Search = Search,
            Site = Site,
            Status = Status,
            Level = Level,
            Homeroom = Homeroom,
            RoleGroup = RoleGroup,
            Linked = Linked,
            Gone = Gone,
        };
}

/// <summary>Which lines of an operation's log, in an address; all of them when nothing is given.</summary>
internal sealed record LogQuery(
    [FromQuery(Name = "outcome")] string? Outcome,
    [FromQuery(Name = "site")] string? Site,
    [FromQuery(Name = "warnings")] bool Warnings = false,
    [FromQuery(Name = "held")] bool Held = false,
    [FromQuery(Name = "q")] string? Q = null
);

/// <summary>The same change for many patrons.</summary>
internal sealed record BulkChangeBody
{
    public required PatronChoice Patrons { get; init; }

    /// <summary>Field → value; null empties one.</summary>
    public required IReadOnlyDictionary<string, string?> Fields { get; init; }

    /// <summary>Stops at the plan, which can be approved; true when it is left out.</summary>
    public bool? Preview { get; init; }
}

/// <summary>Patrons who are removed for good.</summary>
internal sealed record BulkRemovalBody
{
    public required PatronChoice Patrons { get; init; }

    /// <summary>Stops at the plan, which can be approved; true when it is left out.</summary>
    public bool? Preview { get; init; }
}

/// <summary>How many patrons of a site have a status.</summary>
/// <param name="Site">Its code; null for patrons without a site.</param>
internal sealed record PatronCount(string? Site, string Status, int Count);

/// <summary>A saved filter of the list of patrons.</summary>
/// <param name="Query">What the list's address holds behind the question mark.</param>
internal sealed record FilterView(string Name, string Query);

/// <summary>A filter to save, such as <c>status=Active&amp;site=NORTH</c>, in the words of the list's address.</summary>
internal sealed record NewFilter(string Name, string Query);

/// <summary>Whom the district tells.</summary>
/// <param name="Events"><c>failed</c>, <c>held</c>, <c>warnings</c>, <c>completed</c>.</param>
internal sealed record NoticeSettingView(IReadOnlyList<string> Emails, IReadOnlyList<string> Events, string? Webhook);

/// <summary>What to change; what is left out stays. An empty list or text takes away.</summary>
/// <param name="WebhookSecret">What webhooks are signed with; goes in and never comes out.</param>
internal sealed record NoticeSettingPatch(
    IReadOnlyList<string>? Emails,
    IReadOnlyList<string>? Events,
    string? Webhook,
    string? WebhookSecret
);

/// <summary>A notice and what became of it.</summary>
internal sealed record NoticeView(
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
    string? Error
);

/// <summary>Sign-in with ClassLink.</summary>
/// <param name="On">People of the district may sign in with it.</param>
/// <param name="ByEmail">Whom no id finds may be found by an e-mail address that only one patron has.</param>
/// <param name="ApplicationKnown">The operator has stored the application by which ClassLink knows this installation.</param>
/// <param name="RedirectPath">Behind the server's address: the redirect URI to register there.</param>
internal sealed record ClassLinkSignInView(bool On, bool ByEmail, bool ApplicationKnown, string RedirectPath);

/// <summary>What to change; what is left out stays.</summary>
internal sealed record ClassLinkSignInPatch(bool? On, bool? ByEmail);

/// <summary>The application by which ClassLink knows this installation, without its secret.</summary>
/// <param name="ClientId">Its id; null when none is stored.</param>
/// <param name="HasSecret">A secret is stored. It is never shown.</param>
/// <param name="AcceptTiles">A tile's code is used as it comes; else the sign-in is begun anew from here.</param>
internal sealed record ClassLinkApplicationView(string? ClientId, bool HasSecret, bool AcceptTiles);

/// <summary>What to change of the application; what is left out stays.</summary>
/// <param name="AcceptTiles">A LaunchPad tile is taken as it comes; false begins the sign-in anew from here.</param>
internal sealed record ClassLinkApplicationPatch(string? ClientId, string? ClientSecret, bool? AcceptTiles);

/// <summary>The key by which ClassLink's proxy knows this installation. It is never shown.</summary>
/// <param name="Stored">There is one.</param>
internal sealed record PartnerKeyView(bool Stored);

/// <summary>The partner key to store.</summary>
/// <param name="Key">As the ClassLink Partner Portal shows it.</param>
internal sealed record NewPartnerKey(string Key);

/// <summary>A line of the audit.</summary>
internal sealed record AuditView(long Id, DateTimeOffset At, string Actor, string Action, string Details);

/// <summary>An account of the district.</summary>
internal sealed record AccountView(
    long Id,
    string Email,
    string Group,
    IReadOnlyList<string> Sites,
    bool HasPassword,
    bool SecondFactor,
    int Passkeys,
    bool Locked,
    int Sessions
);

/// <summary>A new account, or another place for one that exists.</summary>
/// <param name="Sites">Codes of the sites that a librarian or an aide works at.</param>
internal sealed record NewAccount(string Email, string Group, IReadOnlyList<string>? Sites);

/// <summary>A link that sets a password, once, within a day.</summary>
/// <param name="Link">Give it to the account's owner; null when the account has a password already, or is not this district's alone.</param>
internal sealed record AccountLink(string Email, string? Link);

/// <summary>An access token, without its secret.</summary>
internal sealed record TokenView(
    long Id,
    string Name,
    string Group,
    IReadOnlyList<string> Scopes,
    string CreatedBy,
    DateTimeOffset CreatedAt,
    DateTimeOffset ExpiresAt,
    DateTimeOffset? LastUsedAt,
    DateTimeOffset? RevokedAt
);

/// <summary>An access token to make. It has at most the scopes, the group and the life of the token that makes it.</summary>
/// <param name="Group">Library Administrator or District Administrator; that of the token that makes it when it is left out.</param>
internal sealed record NewToken(string Name, IReadOnlyList<string> Scopes, int Days, string? Group);

/// <summary>A token that has ended.</summary>
/// <param name="AccountsItAdded">Addresses of accounts that it added or changed the group of. They stay: lock or remove those that should not.</param>
internal sealed record RevokedToken(long Id, IReadOnlyList<string> AccountsItAdded);

/// <summary>A token that was made. It is shown this once.</summary>
internal sealed record MadeToken(TokenView Token, string Secret);
