using Microsoft.AspNetCore.Mvc;
using Rollcall.Districts;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>A patron's own record, and nobody else's: it is found by the session, never by the address.</summary>
internal sealed class MeModel(Here here, PatronService patrons, SiteService sites, Reading reading) : RollcallPage(here)
{
    private static readonly int[] s_limited = [PatronFields.Barcode, PatronFields.Site];

    /// <summary>What everybody looks for; it stands there though it is empty.</summary>
    private static readonly int[] s_fields =
    [
        PatronFields.Barcode,
        PatronFields.Status,
        PatronFields.Site,
        PatronFields.Level,
        PatronFields.Location,
        PatronFields.CommunityId,
        PatronFields.Birthdate,
        PatronFields.Email,
        PatronFields.Phone,
        PatronFields.Expiration,
    ];

    /// <summary>The rest of one's own record, where there is something. Notes are what staff write to each other, and how the record is kept (group,
    /// site access, marks for syncs) is no field of the person's.</summary>
    private static readonly int[] s_more =
    [
        PatronFields.LastName,
        PatronFields.FirstName,
        PatronFields.MiddleName,
        PatronFields.Nickname,
        PatronFields.GovernmentId,
        PatronFields.Sex,
        PatronFields.GraduationDate,
        PatronFields.SecondLocation,
        PatronFields.OtherEmails,
        PatronFields.AdditionalContact,
        PatronFields.Policy,
        PatronFields.Guid,
    ];

    public Patron Patron { get; private set; } = null!;

    public IReadOnlyList<(string Label, string? Value)> Rows { get; private set; } = [];

    public async Task<IActionResult> OnGetAsync()
    {
        if (Here.Grant?.PatronId is not { } id || await patrons.FindAsync(DistrictId, id, Gone) is not { } patron)
        {
            return LocalRedirect("/account");
        }

        Patron = patron;
        var byId = (await sites.ListAsync(DistrictId, Gone)).ToDictionary(s => s.Id);
        var policies = await reading.PoliciesAsync(DistrictId, Gone);
        Rows =
        [
            .. (
                Here.Grant.Group == SecurityGroup.PatronLimited
                    ? s_limited
                    : [.. s_fields, .. s_more.Where(n => PatronFields.ByNumber(n).Get(patron) is not null)]
            ).Select(n =>
                (
                    n == PatronFields.Guid ? "Id in the school's roster" : PatronFields.ByNumber(n).Label,
                    n == PatronFields.Site && patron.SiteId is { } site && byId.TryGetValue(site, out var found) ? found.Name
                    : n == PatronFields.Policy && policies.FirstOrDefault(p => p.Code == patron.Policy) is { } policy ? policy.Name
                    : Words.Value(n, PatronWords.Value(patron, PatronFields.ByNumber(n), byId))
                )
            ),
        ];
        return Page();
    }
}
