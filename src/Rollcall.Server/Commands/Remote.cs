using System.Collections.Frozen;
using System.CommandLine;
using System.CommandLine.Parsing;
using System.Text.Json.Serialization;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;
using Rollcall.SignIn;

namespace Rollcall.Server.Commands;

/// <summary>Who sent a command over the API.</summary>
/// <param name="Services">The server's.</param>
/// <param name="District">The token's district; null for the operator's.</param>
/// <param name="Actor">As operations and the audit name them, and their right.</param>
internal sealed record RemoteCaller(IServiceProvider Services, District? District, Actor Actor);

/// <summary>Follows an operation that a command started.</summary>
internal interface IWatcher
{
    /// <summary>The operation is there.</summary>
    void Began(long operation);

    /// <summary>Where it stands.</summary>
    void Report(OperationStage stage, string? text, long done, long total);
}

/// <summary>A command as it is sent over the API.</summary>
internal sealed record CommandBody
{
    /// <summary>The words behind <c>rollcall</c>, as a shell splits them; without <c>--server</c> and its token.</summary>
    public required IReadOnlyList<string> Arguments { get; init; }

    /// <summary>What the files hold that the command reads, by the names that it gives them; base64. <c>-</c> is what is piped in.</summary>
    public IReadOnlyDictionary<string, byte[]>? Files { get; init; }

    /// <summary>Columns of the window that a person reads results in; null where a program reads them.</summary>
    public int? Width { get; init; }

    /// <summary>What the files that the command writes are called in full where it was typed, by the names that it gives them.</summary>
    public IReadOnlyDictionary<string, string>? FullNames { get; init; }

    /// <summary>The operation that this command started before the connection broke: it is followed, and nothing is started.</summary>
    public long? Follow { get; init; }

    /// <summary>The window shows bold text by escapes.</summary>
    public bool? Ansi { get; init; }
}

/// <summary>A line of the answer to a command. One without anything says that the server is still at work.</summary>
internal sealed record CommandFrame
{
    /// <summary>A piece of the results.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Out { get; init; }

    /// <summary>A piece of what a command says beside its results.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Error { get; init; }

    /// <summary>The file that <see cref="Text"/> belongs to; by the name that the command gave.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? File { get; init; }

    /// <summary>A piece of a file; null says that it is whole.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Text { get; init; }

    /// <summary>The operation that the command started.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public long? Operation { get; init; }

    /// <summary>Where that operation stands.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public OperationProgress? Progress { get; init; }

    /// <summary>The exit code: the last line.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public int? Exit { get; init; }
}

/// <summary>
/// The one table of commands that go over the API, and what their token needs: the same as the addresses that do the same. A command that is
/// not in it is for the server's own machine.
/// </summary>
internal static class Remote
{
    public const string Path = "/commands";

    /// <summary>The largest file that a command may bring along.</summary>
    public const int LargestFile = 32 * 1024 * 1024;

    /// <summary>The largest request: such a file in base64, and the words.</summary>
    public const long LargestBody = (LargestFile / 3 * 4) + (1024 * 1024);

    private static readonly FrozenDictionary<string, (Need Need, TokenScopes Scope)> s_commands = Table();

    /// <summary>Every command that goes over the API.</summary>
    public static IEnumerable<string> Commands => s_commands.Keys;

    /// <summary>What a command's token needs; null for one that does not go over the API.</summary>
    public static (Need Need, TokenScopes Scope)? Of(string path) => s_commands.TryGetValue(path, out var needed) ? needed : null;

    /// <summary>What a command as it was typed needs: what only shows something needs to read alone.</summary>
    public static (Need Need, TokenScopes Scope)? Of(ParseResult typed)
    {
        var given = typed.CommandResult.Children.OfType<OptionResult>().Where(o => !o.Implicit && !o.Option.Recursive).ToList();
        var needed = Of(CommandLine.PathOf(typed));
        return typed.CommandResult.Command.Name switch
        {
            "schedule" when given.Count == 0 => needed is { } schedule ? (schedule.Need, TokenScopes.PreferencesRead) : null,
            "erase" when given.All(o => o.Option.Name != "--yes") => needed is { } erase ? (erase.Need, TokenScopes.PatronsRead) : null,
            _ => needed,
        };
    }

    /// <summary>What is said of a command that does not go over the API.</summary>
    public static string OnlyThere(string path) =>
        $"'rollcall {path}' does not go over the API: run it on the machine that it is about, without --server.";

    private static FrozenDictionary<string, (Need, TokenScopes)> Table()
    {
        var commands = new Dictionary<string, (Need, TokenScopes)>(StringComparer.Ordinal);
        void Add(Need need, TokenScopes scope, params ReadOnlySpan<string> paths)
        {
            foreach (var path in paths)
            {
                commands.Add(path, (need, scope));
            }
        }

        Add(Need.Operator, TokenScopes.Installation, "district add", "district list", "district allow-tenant", "district disallow-tenant");
        Add(Need.LibraryAdministrator, TokenScopes.PreferencesRead, "site list", "grade list", "policy list");
        Add(Need.DistrictAdministrator, TokenScopes.PreferencesRead, "notice show", "notice list", "retention show");
        Add(
            Need.DistrictAdministrator,
            TokenScopes.PreferencesWrite,
            "site add",
            "site set",
            "grade set",
            "policy set",
            "policy remove",
            "notice set",
            "notice test",
            "retention set",
            "retention run",
            "classlink login"
        );
        foreach (var service in Enum.GetValues<IntegrationKind>().Select(IntegrationWords.Verb))
        {
            foreach (var verb in (string[])["show", "test", "orgs", "probe", "readiness"])
            {
                Add(Need.DistrictAdministrator, TokenScopes.PreferencesRead, $"{service} {verb}");
            }

            string[] changing =
            [
                "on",
                "off",
                "add-sites",
                "match",
                "unmatch",
                "not-served",
                "roles",
                "map",
                "site-from",
                "grade",
                "field",
                "threshold",
                "schedule",
            ];
            foreach (var verb in changing)
            {
                Add(Need.DistrictAdministrator, TokenScopes.PreferencesWrite, $"{service} {verb}");
            }

            if (service != IntegrationWords.Verb(IntegrationKind.OneRosterCsv))
            {
                // A folder is a place on the server's own machine.
                Add(Need.DistrictAdministrator, TokenScopes.PreferencesWrite, $"{service} connect");
            }
        }

        Add(Need.LibraryAdministrator, TokenScopes.OperationsRead, "operation list", "operation show", "operation log");
        Add(
            Need.LibraryAdministrator,
            TokenScopes.OperationsWrite,
            "sync",
            "operation approve",
            "operation discard",
            "operation undo",
            "operation continue",
            "operation cancel"
        );
        Add(Need.LibraryAdministrator, TokenScopes.ReviewRead, "review list");
        Add(Need.LibraryAdministrator, TokenScopes.ReviewWrite, "review link", "review create", "review ignore", "review reopen");
        Add(Need.LibraryAdministrator, TokenScopes.PatronsRead, "patron list", "patron show", "patron explain", "patron export");
        Add(
            Need.LibraryAdministrator,
            TokenScopes.PatronsWrite,
            "patron set",
            "patron set-all",
            "patron merge",
            "patron import",
            "patron remove"
        );
        Add(Need.DistrictAdministrator, TokenScopes.PatronsRead, "patron data");
        Add(Need.DistrictAdministrator, TokenScopes.PatronsWrite, "patron erase");
        return commands.ToFrozenDictionary(StringComparer.Ordinal);
    }
}
