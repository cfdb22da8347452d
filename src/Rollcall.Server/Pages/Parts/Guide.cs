using Rollcall.Integrations;
using Rollcall.Mapping;

namespace Rollcall.Server.Pages.Parts;

/// <summary>A step on the way to the first sync.</summary>
/// <param name="Label">What is to be done.</param>
/// <param name="Link">Where.</param>
/// <param name="Hint">A sentence about it.</param>
/// <param name="Done">It is done.</param>
/// <param name="Optional">Nothing waits for it.</param>
internal sealed record GuideStep(string Label, string Link, string Hint, bool Done, bool Optional = false);

/// <summary>The last step, which stays when the first sync is done: until it is done or set aside.</summary>
/// <param name="Link">Where it is done.</param>
/// <param name="Aside">Where it is set aside.</param>
internal sealed record NightStep(string Link, string Aside);

/// <summary>What a sync lacks, though a service is on.</summary>
internal static class Hindrances
{
    /// <summary>In words, with the tab where it is mended, what that is called, and in short beside greyed buttons; null when nothing is lacking.</summary>
    public static (string Words, string Tab, string Label, string Short)? Of(IntegrationSettings settings, bool anyMatch) =>
        settings.Roles.Count == 0
            ? ("Nobody is ticked for syncing. Say who.", "syncing", "Syncing", "Greyed: nobody is ticked under Syncing.")
        : !anyMatch
            ? (
                "No site is matched to the roster yet. Match them.",
                "sites",
                "Site Mapping",
                "Greyed: no site is matched under Site Mapping."
            )
        : null;
}

/// <summary>The way to the first sync: the same steps wherever they are shown.</summary>
internal static class Guide
{
    /// <summary>What comes next; null when all that is needed is done.</summary>
    public static GuideStep? Next(IReadOnlyList<GuideStep> steps) => steps.FirstOrDefault(s => s is { Done: false, Optional: false });

    /// <summary>What is left of the way when the first sync is done; null when nothing is.</summary>
    /// <param name="service">The service that is on; null where none is.</param>
    public static NightStep? Nights(Integration? service)
    {
        if (service is not { Enabled: true } || !IntegrationService.StateOf(service).WasWritten)
        {
            return null;
        }

        var page = $"/preferences/sis/{IntegrationWords.Verb(service.Kind)}";
        return IntegrationService.SettingsOf(service).Daily is { At: null, ByHand: false }
            ? new($"{page}/schedule", $"{page}/schedule?handler=Aside")
            : null;
    }

    /// <param name="kind">The service that somebody has begun with.</param>
    /// <param name="service">Its row; null when it was never touched.</param>
    /// <param name="sites">How many the library has.</param>
    /// <param name="patrons">How many it has.</param>
    /// <param name="matched">An organization of the roster is matched to a site.</param>
    public static IReadOnlyList<GuideStep> Of(IntegrationKind kind, Integration? service, int sites, int patrons, bool matched)
    {
        var page = $"/preferences/sis/{IntegrationWords.Verb(kind)}";
        var settings = IntegrationService.SettingsOf(service);
        var connected = settings.Mode is not null;
        return
        [
            new("Connect the roster", page, "ClassLink, or another roster service.", connected),
            new(
                "Add the sites",
                connected ? $"{page}/sites" : "/sites",
                connected
                    ? "One for each school library: Site Mapping makes them of the roster's schools."
                    : "One for each school library. Once the roster is connected, Site Mapping makes them of its schools.",
                sites > 0
            ),
            new("Match the sites", $"{page}/sites", "Say which school of the roster each site is.", matched),
            new(
                "Import the patrons you have",
                "/patron/import",
                "If there are any: the first sync then finds them instead of making them twice.",
                patrons > 0,
                Optional: true
            ),
            new("Choose who is synced", $"{page}/syncing", "Students, teachers, other staff.", settings.Roles.Count > 0),
            new(
                "Map Student #",
                $"{page}/mapping",
                "Readiness shows which id of the roster is the one you have.",
                settings.Map.CommunityId.Source != IdSource.NotMapped
            ),
            new("Turn it on", "/preferences/sis", "From then on a sync can run.", service?.Enabled == true),
            new(
                "Preview, then sync",
                "/#sync-now",
                "The buttons are on top of the dashboard.",
                IntegrationService.StateOf(service).WasWritten
            ),
            new("Let it run by night", $"{page}/schedule", "Daily Operations sync by themselves.", settings.Daily.At is not null),
        ];
    }
}
