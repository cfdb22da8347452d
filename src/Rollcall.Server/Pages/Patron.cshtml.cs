using Microsoft.AspNetCore.Mvc;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>One patron: the fields by theme, whose they are, and everything that ever happened to them.</summary>
internal sealed class PatronModel(Here here, PatronService patrons, SiteService sites, IntegrationService integrations, OperationLog log)
    : RollcallPage(here)
{
    public const int HistoryLength = 200;

    private static readonly (string Heading, int[] Fields)[] s_groups =
    [
        (
            "Person",
            [
                PatronFields.LastName,
                PatronFields.FirstName,
                PatronFields.MiddleName,
                PatronFields.Nickname,
                PatronFields.Birthdate,
                PatronFields.Sex,
            ]
        ),
        (
            "At school",
            [
                PatronFields.CommunityId,
                PatronFields.Level,
                PatronFields.Location,
                PatronFields.SecondLocation,
                PatronFields.Site,
                PatronFields.GraduationDate,
            ]
        ),
        ("Contact", [PatronFields.Email, PatronFields.Phone, PatronFields.AdditionalContact, PatronFields.OtherEmails]),
        (
            "In the library",
            [
                PatronFields.Barcode,
                PatronFields.Status,
                PatronFields.Policy,
                PatronFields.Group,
                PatronFields.SiteAccess,
                PatronFields.Expiration,
                PatronFields.GovernmentId,
                PatronFields.Stamps,
                PatronFields.DoNotTransfer,
                PatronFields.Notes,
            ]
        ),
    ];

    public Patron Patron { get; private set; } = null!;
    public PatronLink? Link { get; private set; }
    public string? SiteName { get; private set; }
    public IReadOnlyList<(string Heading, IReadOnlyList<Row> Rows)> Groups { get; private set; } = [];
    public IReadOnlyList<(LogRow Row, Operation Operation)> History { get; private set; } = [];

    /// <summary>The service that fills roster-owned fields; null when the patron is not linked or none is on.</summary>
    public string? Service { get; private set; }

    /// <summary>One field in words.</summary>
    /// <param name="Number">The field's number.</param>
    /// <param name="Label">What screens call it.</param>
    /// <param name="Value">Null when empty.</param>
    /// <param name="Owner">What a sync does to it; null when nothing.</param>
    /// <param name="Hint">The same in a sentence.</param>
    internal sealed record Row(int Number, string Label, string? Value, string? Owner, string? Hint);

    public async Task<IActionResult> OnGetAsync(string barcode)
    {
        // A barcode that a browser would fold as a path comes in the query.
        var asked = barcode == "-" ? Request.Query["barcode"].ToString() : barcode;
        try
        {
            (Patron, Link) = await patrons.GetAsync(DistrictId, asked, Gone);
        }
        catch (RollcallException e)
        {
            return Missing($"{e.Message} It may have got another barcode since: search by name.");
        }

        var byId = (await sites.ListAsync(DistrictId, Gone)).ToDictionary(s => s.Id);
        SiteName = Patron.SiteId is { } id ? byId.GetValueOrDefault(id)?.Name : null;
        var service = Patron.Guid is null ? null : await integrations.EnabledAsync(DistrictId, Gone);
        Service = service is null ? null : Words.Service(service.Kind);
        var map = IntegrationService.SettingsOf(service).Map;
        var kept = (Patron.KeptFields ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries).ToHashSet(StringComparer.Ordinal);
        Groups =
        [
            .. s_groups.Select(g =>
                (
                    g.Heading,
                    (IReadOnlyList<Row>)
                        [
                            .. g.Fields.Select(n =>
                            {
                                var field = PatronFields.ByNumber(n);
                                var value =
                                    n == PatronFields.Site && SiteName is not null ? SiteName
                                    : n == PatronFields.DoNotTransfer ? (Patron.DoNotTransfer ? "Yes" : null)
                                    : PatronWords.Value(Patron, field, byId);
                                var (owner, hint) = Service is null
                                    ? (null, null)
                                    : Owner(n, map, kept.Contains(n.ToString(System.Globalization.CultureInfo.InvariantCulture)));
                                return new Row(
                                    n,
                                    field.Label,
                                    n == PatronFields.Sex && value is not null ? Words.Capital(value) : value,
                                    owner,
                                    hint
                                );
                            }),
                        ]
                )
            ),
        ];
        History = await log.HistoryAsync(DistrictId, Patron.Id, HistoryLength, Gone);
        return Page();
    }

    /// <summary>What the roster does to a field of a linked patron.</summary>
    private static (string? Owner, string? Hint) Owner(int field, FieldMap map, bool kept)
    {
        var mapped = field switch
        {
            PatronFields.Barcode => map.Barcode.Source != IdSource.NotMapped,
            PatronFields.CommunityId => map.CommunityId.Source != IdSource.NotMapped,
            PatronFields.Location => map.Location != LocationSource.NotMapped,
            PatronFields.Nickname => map.NicknameFromPreferredName,
            PatronFields.Site => true,
            _ => FieldMap.SyncedFields.Contains(field),
        };
        if (field == PatronFields.Status)
        {
            return ("Shared", "The roster marks leavers Transferred and brings them back. Every other status is the library's.");
        }

        return !mapped ? (null, null)
            : kept ? ("Library keeps", "The library keeps this value whatever the roster says.")
            : field == PatronFields.Site ? ("Roster", "A sync overwrites a change made here.")
            : map.PolicyOf(field) switch
            {
                FieldPolicy.FillIfEmpty => ("Filled if empty", "The roster fills this field only while it is empty."),
                FieldPolicy.LibraryKeeps => (null, null),
                _ => ("Roster", "A sync overwrites a change made here."),
            };
    }
}
