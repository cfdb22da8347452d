using System.Globalization;
using Microsoft.AspNetCore.Mvc;
using Rollcall.Integrations;
using Rollcall.Server.Pages.Parts;
using Rollcall.SignIn;

namespace Rollcall.Server.Pages.Preferences;

/// <summary>The roster services side by side, and which one is on.</summary>
internal sealed class SisModel(Here here, IntegrationService integrations) : RollcallPage(here)
{
    /// <summary>One service as its card shows it.</summary>
    internal sealed record Service(
        IntegrationKind Kind,
        bool Enabled,
        bool Connected,
        string? TenantId,
        string? DistrictName,
        SwitchImpact Impact,
        bool SignsIn
    );

    /// <summary>The visitor came with ClassLink, and goes with it.</summary>
    public bool CameByClassLink => Here.Who?.Method == SignInMethod.ClassLink;

    /// <summary>What turning ClassLink off does to those who sign in with it.</summary>
    public static string NobodySignsIn(bool youToo) =>
        $"Nobody signs in with ClassLink while it is off: whoever came that way is signed out{(youToo ? ", you too" : "")}.";

    public IReadOnlyList<Service> Services { get; private set; } = [];

    /// <summary>Patrons are linked to a roster.</summary>
    public bool AnyLinks { get; private set; }

    /// <summary>The other services that are connected, by name.</summary>
    public string Others(Service service) =>
        string.Join(" and ", Services.Where(s => s.Kind != service.Kind && s.Connected).Select(s => Words.Service(s.Kind)));

    /// <summary>What turning a service on ends, above the list of what is cleared.</summary>
    public string Clears(Service service) =>
        Services.Where(s => s.Kind != service.Kind && (s.Connected || s.Enabled)).ToList() switch
        {
            [{ Enabled: true } on] => $"{Words.Service(on.Kind)} is turned off, and what it left behind is cleared:",
            [var off] => $"What {Words.Service(off.Kind)} left behind is cleared:",
            var all when all.Find(s => s.Enabled) is { } on =>
                $"{Words.Service(on.Kind)} is turned off, and what was left of another roster is cleared:",
            _ => "What was left of another roster is cleared:",
        };

    public async Task OnGetAsync()
    {
        var services = new List<Service>();
        var impacts = await integrations.ImpactsOfTurningOnAsync(DistrictId, Gone);
        foreach (var kind in Enum.GetValues<IntegrationKind>())
        {
            var row = await integrations.FindAsync(DistrictId, kind, Gone);
            var settings = IntegrationService.SettingsOf(row);
            services.Add(
                new Service(
                    kind,
                    row?.Enabled == true,
                    settings.Mode is not null,
                    settings.TenantId,
                    settings.DistrictName,
                    impacts[kind],
                    settings.Login.On
                )
            );
        }

        Services = services;
        AnyLinks = await integrations.AnyLinksAsync(DistrictId, Gone);
    }

    public Task<IActionResult> OnPostOnAsync(IntegrationKind kind, string? clear, string? agreed) =>
        ActAsync(
            "/preferences/sis",
            async () =>
            {
                var cleared = await integrations.TurnOnAsync(
                    DistrictId,
                    kind,
                    clear == "yes",
                    Here.Actor.Name,
                    SwitchImpact.Parse(agreed),
                    Gone
                );
                var daily = IntegrationService.SettingsOf(await integrations.FindAsync(DistrictId, kind, Gone)).Daily;
                var nights = daily is { At: { } at, StoppedBecause: null }
                    ? string.Create(CultureInfo.InvariantCulture, $" Daily Operations run at {at:HH:mm}, from the next time on.")
                    : "";
                return cleared is null
                    ? $"{Words.Service(kind)} is on. Look at a preview next: the dashboard has the button.{nights}"
                    : $"{Words.Service(kind)} is on. What was left of another roster is cleared; undo operation {cleared} to bring it back.{nights}";
            }
        );

    public Task<IActionResult> OnPostOffAsync(IntegrationKind kind) =>
        ActAsync(
            "/preferences/sis",
            async () =>
            {
                await integrations.TurnOffAsync(DistrictId, kind, Here.Actor.Name, Gone);
                return $"{Words.Service(kind)} is off. Its syncs stop, one that is at work within seconds; patrons and their links stay.";
            }
        );

    public static string About(IntegrationKind kind) =>
        kind switch
        {
            IntegrationKind.ClassLink => "The district's roster in ClassLink Roster Server.",
            IntegrationKind.OneRoster => "Any server that speaks OneRoster 1.1 or 1.2.",
            _ => "Files that the student information system exports.",
        };
}
