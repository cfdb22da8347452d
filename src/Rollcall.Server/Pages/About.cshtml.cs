using System.Reflection;
using System.Runtime.InteropServices;
using Rollcall.Server.Pages.Parts;
using Rollcall.Storage;

namespace Rollcall.Server.Pages;

/// <summary>Which version this is, and whether all is well with it.</summary>
internal sealed class AboutModel(Here here, RollcallDatabase database, Reading reading) : RollcallPage(here)
{
    /// <summary>The program's version.</summary>
    public static string ProgramVersion { get; } = VersionOf(typeof(AboutModel).Assembly);

    public string Database => database.IsPostgres ? "PostgreSQL" : "SQLite, in the data folder";
    public string System { get; } = $"{RuntimeInformation.FrameworkDescription} on {RuntimeInformation.OSDescription.Trim()}";
    public (long Patrons, long Operations, bool Migrated) Facts { get; private set; }

    /// <summary>Looking at the district's numbers tells that the database answers.</summary>
    public async Task OnGetAsync() => Facts = await reading.FactsAsync(DistrictId, Gone);

    private static string VersionOf(Assembly assembly) =>
        (assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "unknown").Split('+')[0];
}
