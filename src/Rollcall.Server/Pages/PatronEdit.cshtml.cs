using System.Globalization;
using Microsoft.AspNetCore.Mvc;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>A patron changed or entered by hand.</summary>
internal sealed class PatronEditModel(Here here, PatronService patrons, SiteService sites, IntegrationService integrations, Reading reading)
    : RollcallPage(here)
{
    /// <summary>Null for a new one.</summary>
    public Patron? Patron { get; private set; }

    /// <summary>The service that writes into this patron; null when none does.</summary>
    public string? Service { get; private set; }
    public PatronForm Form { get; private set; } = new();

    /// <summary>Why nothing was saved.</summary>
    public string? Problem { get; private set; }

    public async Task<IActionResult> OnGetAsync(string? barcode) => await LoadAsync(barcode) ?? await ShowAsync(typed: null, kept: null);

    public async Task<IActionResult> OnPostAsync([FromQuery] string? barcode, long? version)
    {
        if (await LoadAsync(barcode) is { } missing)
        {
            return missing;
        }

        var form = await Request.ReadFormAsync(Gone);
        var typed = PatronForm.Read(form);
        var kept = PatronForm.ReadKept(form);
        List<KeyValuePair<string, string?>> changes =
        [
            .. typed.Select(v => KeyValuePair.Create(PatronFields.ByNumber(v.Key).Name, v.Value)),
        ];
        if (!Here.May(Need.DistrictAdministrator))
        {
            changes.RemoveAll(c => c.Key is "group" or "siteAccess" or "guid");
        }

        try
        {
            if (Patron is null)
            {
                // What was left open takes the site's default instead of being emptied.
                changes.RemoveAll(c => string.IsNullOrWhiteSpace(c.Value));
                var added = await patrons.AddAsync(DistrictId, changes, Here.Actor, Gone);
                TempData["Said"] = $"{added.DisplayName} was added with the barcode {added.Barcode}.";
                return LocalRedirect(Words.PatronUrl(added.Barcode));
            }

            if (Service is not null)
            {
                // Marks for fields that the form does not offer stay.
                var offered = FieldGroups.All.SelectMany(g => g.Fields).ToHashSet();
                kept.UnionWith(FieldGroups.Kept(Patron).Where(n => !offered.Contains(n)));
                changes.Add(new("keptFields", string.Join(',', kept.Order().Select(n => n.ToString(CultureInfo.InvariantCulture)))));
            }

            var saved = await patrons.EditAsync(DistrictId, Patron.Barcode, changes, Here.Actor, version, Gone);
            TempData["Said"] = saved.Version == Patron.Version ? "Everything is as it was: nothing was changed." : "Saved.";
            return LocalRedirect(Words.PatronUrl(saved.Barcode));
        }
        catch (RollcallException e)
        {
            Problem = e.Message;
            return await ShowAsync(typed, kept);
        }
    }

    private async Task<IActionResult?> LoadAsync(string? barcode)
    {
        if (string.IsNullOrWhiteSpace(barcode))
        {
            return null;
        }

        try
        {
            (Patron, _) = await patrons.GetAsync(DistrictId, barcode, Gone);
        }
        catch (RollcallException e)
        {
            return Missing($"{e.Message} It may have got another barcode since, or have been removed: search by name.");
        }

        var service = Patron.Guid is null ? null : await integrations.EnabledAsync(DistrictId, Gone);
        Service = service is null ? null : Words.Service(service.Kind);
        return null;
    }

    private async Task<IActionResult> ShowAsync(Dictionary<int, string?>? typed, HashSet<int>? kept)
    {
        var all = await sites.ListAsync(DistrictId, Gone);
        var map = Service is null ? null : IntegrationService.SettingsOf(await integrations.EnabledAsync(DistrictId, Gone)).Map;
        var values = Patron is null
            ? new Dictionary<int, string?> { [PatronFields.Status] = PatronFields.StatusWord(PatronStatus.Active) }
            : PatronForm.ValuesOf(Patron, all.ToDictionary(s => s.Id));
        foreach (var (number, value) in typed ?? [])
        {
            values[number] = value;
        }

        if (Patron is null && typed is null && all.Count == 1)
        {
            values[PatronFields.Site] = all[0].Code;
        }

        Form = PatronForm.Of(
            values,
            kept ?? (Patron is null ? [] : FieldGroups.Kept(Patron)),
            map,
            all,
            await reading.PoliciesAsync(DistrictId, Gone),
            isNew: Patron is null
        );
        return Page();
    }
}
