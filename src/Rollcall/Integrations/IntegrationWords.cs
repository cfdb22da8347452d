namespace Rollcall.Integrations;

/// <summary>What roster services are called.</summary>
public static class IntegrationWords
{
    /// <summary>The name that people see.</summary>
    public static string Name(IntegrationKind kind) =>
        kind switch
        {
            IntegrationKind.OneRosterCsv => "OneRoster CSV",
            _ => kind.ToString(),
        };

    /// <summary>The word of the command line.</summary>
    public static string Verb(IntegrationKind kind) =>
        kind switch
        {
            IntegrationKind.ClassLink => "classlink",
            IntegrationKind.OneRoster => "oneroster",
            _ => "oneroster-csv",
        };

    /// <summary>Where a district sets what it shares, for hints.</summary>
    public static string Where(IntegrationKind kind) =>
        kind switch
        {
            IntegrationKind.ClassLink => "in ClassLink",
            IntegrationKind.OneRoster => "in its roster server",
            _ => "in its export",
        };

    /// <summary>Whom to ask about data that are wrong, for hints.</summary>
    public static string Support(IntegrationKind kind) => kind == IntegrationKind.ClassLink ? "ClassLink or SIS support" : "SIS support";
}
