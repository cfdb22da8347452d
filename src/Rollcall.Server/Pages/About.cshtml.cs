using System.Reflection;
using System.Runtime.InteropServices;
using Rollcall.Server.Pages.Parts;
using Rollcall.Server.Watch;
using Rollcall.Storage;

namespace Rollcall.Server.Pages;

/// <summary>Which version this is, and whether all is well with it.</summary>
internal sealed class AboutModel(Here here, RollcallDatabase database, Reading reading, NodeHealth health) : RollcallPage(here)
{
    /// <summary>The program's version.</summary>
    public static string ProgramVersion { get; } = VersionOf(typeof(AboutModel).Assembly);

    public string Database => database.IsPostgres ? "PostgreSQL" : "SQLite, in the data folder";
    public string System { get; } = $"{RuntimeInformation.FrameworkDescription} on {RuntimeInformation.OSDescription.Trim()}";
    public (long Patrons, long Operations) Facts { get; private set; }

    /// <summary>What monitoring is told of this server. Whoever is no operator sees that something is wrong, and not what.</summary>
    public IReadOnlyList<ReadyCheck> Checks { get; private set; } = [];

    /// <summary>The visitor is told of the installation and of the whole district, and not of the version alone.</summary>
    public bool Details => Here.May(Need.LibraryAdministrator);

    public async Task OnGetAsync()
    {
        if (Details)
        {
            Facts = await reading.FactsAsync(DistrictId, Gone);
            Checks = await health.LookAsync(Gone);
        }
    }

    private static string VersionOf(Assembly assembly) =>
        (assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "unknown").Split('+')[0];
}
