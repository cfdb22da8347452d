using System.CommandLine;
using Rollcall.Storage;

namespace Rollcall.Server.Commands;

/// <summary>The options that every command takes, in any position.</summary>
internal static class GlobalOptions
{
    public static readonly Option<string?> Data = new("--data")
    {
        Description = "The data folder (ROLLCALL_DATA). Without it: rollcall in the user's data folder",
        HelpName = "DIR",
        Recursive = true,
    };

    public static readonly Option<string?> Database = new("--database")
    {
        Description = "A PostgreSQL connection (ROLLCALL_DATABASE). Empty: SQLite in the data folder",
        HelpName = "CONNECTION",
        Recursive = true,
    };

    public static readonly Option<string?> District = new("--district")
    {
        Description = "The district's code; needed only where there are several",
        HelpName = "CODE",
        Recursive = true,
    };

    public static readonly Option<bool> Json = new("--json") { Description = "Print JSON and nothing else", Recursive = true };

    /// <summary>Where the data is and what may be reached, from options and environment.</summary>
    public static RollcallOptions Read(ParseResult result, Terminal terminal) =>
        new(
            new StorageOptions(
                Given(result.GetValue(Data)) ?? Given(terminal.Variable("ROLLCALL_DATA")) ?? DefaultFolder(terminal),
                result.GetResult(Database) is not null ? Given(result.GetValue(Database)) : Given(terminal.Variable("ROLLCALL_DATABASE"))
            ),
            string.Equals(terminal.Variable("ROLLCALL_ALLOW_PRIVATE_ADDRESSES")?.Trim(), "true", StringComparison.OrdinalIgnoreCase)
        );

    public static string? Given(string? text) => string.IsNullOrWhiteSpace(text) ? null : text;

    private static string DefaultFolder(Terminal terminal)
    {
        var root =
            Given(terminal.Variable("XDG_DATA_HOME"))
            ?? Given(Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify))
            ?? throw new RollcallException("There is no home folder to keep data in. Say where: --data DIR.");
        return Path.Combine(root, "rollcall");
    }
}
