using Microsoft.AspNetCore.Mvc;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;
using Rollcall.Sync.Person;

namespace Rollcall.Server.Pages;

/// <summary>Why each value of a patron is as it is.</summary>
internal sealed class PatronExplainModel(Here here, PatronExplain explain, IntegrationService integrations, SiteService sites)
    : RollcallPage(here)
{
    public PatronExplanation Told { get; private set; } = null!;

    /// <summary>The roster was asked what it says now.</summary>
    public bool Asked { get; private set; }

    /// <summary>There is somebody to ask, and about whom.</summary>
    public bool CanAsk { get; private set; }

    public async Task<IActionResult> OnGetAsync(string? barcode, string? roster)
    {
        try
        {
            Asked = roster == "ask";
            Told = await explain.ExplainAsync(Here.District, barcode ?? "", Asked, Gone);
        }
        catch (RollcallException e)
        {
            return Missing(e.Message);
        }

        _names = (await sites.ListAsync(DistrictId, Gone)).ToDictionary(s => s.Code, s => s.Name);
        CanAsk = Told.Guid is not null && await integrations.EnabledAsync(DistrictId, Gone) is not null;
        Asked &= Told.RosterProblem is null && CanAsk;
        return Page();
    }

    private IReadOnlyDictionary<string, string> _names = new Dictionary<string, string>();

    /// <summary>A value as screens say it: a site by its name.</summary>
    public string? Say(int field, string? value) =>
        field == PatronFields.Site && value is not null ? _names.GetValueOrDefault(value, value) : Words.Value(field, value);

    /// <summary>When a value was written and by whom.</summary>
    public string When((string Operation, DateTimeOffset At, string By) written) =>
        $"{Words.When(written.At, Here.Zone, Here.Now)}, {written.By}";
}
