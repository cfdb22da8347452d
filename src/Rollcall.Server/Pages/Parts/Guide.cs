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

/// <summary>The way to the first sync: the same steps wherever they are shown.</summary>
internal static class Guide
{
    /// <summary>What comes next; null when all that is needed is done.</summary>
    public static GuideStep? Next(IReadOnlyList<GuideStep> steps) => steps.FirstOrDefault(s => s is { Done: false, Optional: false });

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
            new("Preview, then sync", "/", "The buttons are on top of the dashboard.", IntegrationService.StateOf(service).WasWritten),
            new("Let it run by night", $"{page}/schedule", "Daily Operations sync by themselves.", settings.Daily.At is not null),
        ];
    }
}
