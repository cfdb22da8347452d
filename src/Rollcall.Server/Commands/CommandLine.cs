using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Parsing;
using System.Data.Common;
using System.Text.RegularExpressions;
using Rollcall.Integrations;
using Rollcall.OneRoster;

namespace Rollcall.Server.Commands;

/// <summary>What a command returns to the system.</summary>
internal static class ExitCode
{
    public const int Done = 0;
    public const int Failed = 1;
    public const int Usage = 2;
    public const int NeedsApproval = 3;
}

/// <summary>The command was written wrongly, in a way that only its own code can see.</summary>
internal sealed class UsageException(string message) : Exception(message);

/// <summary>The command line: every verb, and what happens when one is misspelt or fails.</summary>
internal static partial class CommandLine
{
    /// <summary>Runs one command.</summary>
    /// <returns>An <see cref="ExitCode"/>.</returns>
    public static async Task<int> RunAsync(string[] args, Terminal terminal, CancellationToken cancellationToken)
    {
        int code;
        try
        {
            code = await InvokeAsync(args, terminal, cancellationToken);
        }
        catch (IOException)
        {
            // Not even what went wrong can be written: there is nobody to tell.
            code = ExitCode.Failed;
        }

        // What is full or gone by now has been written to until here as if nothing were: results are kept together and sent at the end.
        if (await FlushAsync(terminal.Out) is { } why && code is ExitCode.Done or ExitCode.NeedsApproval)
        {
            code = ExitCode.Failed;
            try
            {
                await WriteErrorAsync(terminal, $"It is done, but what it says could not be written: {why}");
            }
            catch (IOException)
            {
                // As above.
            }
        }

        await FlushAsync(terminal.Error);
        return code;
    }

    /// <returns>Why nothing more can be written; null when all is.</returns>
    private static async Task<string?> FlushAsync(TextWriter writer)
    {
        try
        {
            await writer.FlushAsync(CancellationToken.None);
            return null;
        }
        catch (IOException e)
        {
            return e.Message;
        }
    }

    private static async Task<int> InvokeAsync(string[] args, Terminal terminal, CancellationToken cancellationToken)
    {
        // Also where the rest of the line cannot be understood: a program that asked for JSON gets some.
        var json = args.Contains(GlobalOptions.Json.Name, StringComparer.Ordinal);
        var result = Parse(terminal, args);
        if (Swallowed(result, args) is { } hungry)
        {
            await FailAsync(terminal, result, json, $"{hungry} needs a value. See 'rollcall {PathOf(result)} --help'.");
            return ExitCode.Usage;
        }

        if (result.Errors.Count > 0 && result.Action is not HelpAction)
        {
            await FailAsync(terminal, result, json, Misused(result));
            return ExitCode.Usage;
        }

        var configuration = new InvocationConfiguration
        {
            Output = terminal.Out,
            Error = terminal.Error,
            EnableDefaultExceptionHandler = false,

            // Signals are the process's own business: a sync takes the time that parking needs.
            ProcessTerminationTimeout = null,
        };
        try
        {
            RemoteCommand.CheckMeant(result, terminal);
            return RemoteCommand.IsMeant(result, terminal)
                ? await RemoteCommand.RunAsync(result, terminal, cancellationToken)
                : await result.InvokeAsync(configuration, cancellationToken);
        }
        catch (UsageException e)
        {
            await FailAsync(terminal, result, json, e.Message);
            return ExitCode.Usage;
        }
        catch (RollcallException e) when (e.IsOfValue)
        {
            await FailAsync(terminal, result, json, e.Message);
            return ExitCode.Usage;
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            await FailAsync(terminal, result, json, "Interrupted.");
            return ExitCode.Failed;
        }
        catch (Exception e)
        {
            await FailAsync(terminal, result, json, Sentence(e));
            return ExitCode.Failed;
        }
    }

    /// <summary>Understands a line. A value may begin with '@' (a password in a connection): no response files.</summary>
    public static ParseResult Parse(Terminal terminal, IReadOnlyList<string> args) =>
        CommandLineParser.Parse(Build(terminal), args, new ParserConfiguration { ResponseFileTokenReplacer = null });

    /// <summary>The whole tree of verbs.</summary>
    public static RootCommand Build(Terminal terminal)
    {
        var root = new RootCommand("Keeps a school library's patrons in step with a ClassLink or OneRoster roster.")
        {
            GlobalOptions.Data,
            GlobalOptions.Database,
            GlobalOptions.District,
            GlobalOptions.Json,
            GlobalOptions.Server,
            GlobalOptions.TokenFile,
        };
        root.Add(DemoCommand.Build(terminal));
        root.Add(ServeCommand.Build(terminal));
        root.Add(SandboxCommand.Build(terminal));
        root.Add(DistrictCommands.Build(terminal));
        root.Add(SiteCommands.Build(terminal));
        root.Add(GradeCommands.Build(terminal));
        root.Add(PolicyCommands.Build(terminal));
        root.Add(OperatorCommands.Build(terminal));
        root.Add(NoticeCommands.Build(terminal));
        root.Add(RetentionCommands.Build(terminal));
        root.Add(IntegrationCommands.Build(terminal, IntegrationKind.ClassLink));
        root.Add(IntegrationCommands.Build(terminal, IntegrationKind.OneRoster));
        root.Add(IntegrationCommands.Build(terminal, IntegrationKind.OneRosterCsv));
        root.Add(SyncCommand.Build(terminal));
        root.Add(OperationCommands.Build(terminal));
        root.Add(ReviewCommands.Build(terminal));
        root.Add(PatronCommands.Build(terminal));
        root.Add(AccountCommands.Build(terminal));
        root.Add(TokenCommands.Build(terminal));
        root.Add(DatabaseCommands.Build(terminal));
        root.Add(SupportBundleCommand.Build(terminal));
        return root;
    }

    /// <summary>An exception in one line that says what is wrong.</summary>
    public static string Sentence(Exception e) =>
        e switch
        {
            RollcallException or RosterException or Patrons.ImportRefusedException => e.Message,
            _ when Storage.DatabaseErrors.TakesNoWrites(e) => Storage.DatabaseErrors.NoWrites,
            DbException or { InnerException: DbException } when Storage.DatabaseErrors.IsAway(e) =>
                $"The database is away: {Ended(Storage.DatabaseErrors.Reason(e))} Try again when it is back.",
            DbException or { InnerException: DbException } =>
                $"The database refused: {Ended(Storage.DatabaseErrors.Reason(e))} Check it with 'rollcall db check'.",
            IOException or UnauthorizedAccessException => e.Message,
            _ =>
                $"An unexpected fault ({e.GetBaseException().GetType().Name}: {e.GetBaseException().Message.ReplaceLineEndings(" ")}). Please report it.",
        };

    /// <summary>One line, whatever the message holds.</summary>
    public static Task WriteErrorAsync(Terminal terminal, string message) =>
        terminal.Error.WriteLineAsync($"error: {Terminal.Plain(message.ReplaceLineEndings(" "))}");

    /// <summary>The error as a line, and as JSON where that is wanted: the whole object where a command's contract has one.</summary>
    private static async Task FailAsync(Terminal terminal, ParseResult result, bool json, string error)
    {
        try
        {
            if (json && OperationRunner.KindOf(PathOf(result)) is { } kind)
            {
                await JsonText.WriteAsync(terminal, OperationResult.FailedBefore(kind, 0, error));
            }
            else if (json)
            {
                await JsonText.WriteAsync(terminal, new Refusal(error));
            }
        }
        catch (IOException)
        {
            // Where results go nothing can be written, which may be what is wrong.
        }

        await WriteErrorAsync(terminal, error);
    }

    /// <summary>An option that took the next one for its value: a value that is left out would otherwise do something else than was asked for. Whoever
    /// means such a value writes it as one word, <c>--name=--json</c>.</summary>
    private static string? Swallowed(ParseResult result, string[] args)
    {
        var known = new HashSet<string>(StringComparer.Ordinal);
        var given = new List<OptionResult>();
        for (SymbolResult? at = result.CommandResult; at is CommandResult command; at = at.Parent)
        {
            foreach (var option in command.Command.Options.Where(o => o.Recursive || at == result.CommandResult))
            {
                known.UnionWith(option.Aliases.Prepend(option.Name));
            }

            given.AddRange(command.Children.OfType<OptionResult>().Where(o => !o.Implicit));
        }

        return given
            .Find(o =>
                o.Tokens.Any(t =>
                    t.Value.StartsWith("--", StringComparison.Ordinal)
                    && known.Contains(t.Value.Split('=', 2)[0])
                    && args.Contains(t.Value, StringComparer.Ordinal)
                )
            )
            ?.Option.Name;
    }

    private sealed record Refusal(string Error);

    /// <summary>The verbs of a line, such as <c>operation list</c>.</summary>
    public static string PathOf(ParseResult result)
    {
        var path = new List<string>();
        for (SymbolResult? at = result.CommandResult; at is CommandResult { Parent: not null } command; at = at.Parent)
        {
            path.Insert(0, command.Command.Name);
        }

        return string.Join(' ', path);
    }

    private static string Misused(ParseResult result)
    {
        var name = $"rollcall {PathOf(result)}".TrimEnd();
        var children = result.CommandResult.Command.Subcommands.Select(c => c.Name).ToList();
        var stray = result.UnmatchedTokens.Count > 0 ? result.UnmatchedTokens[0] : null;
        var message =
            children.Count > 0 && stray is null && result.Errors.All(e => e.SymbolResult is CommandResult)
                ? $"Say what to do: {name} {string.Join('|', children)}."
            : children.Count > 0 && stray is not null && !stray.StartsWith('-')
                ? $"'{stray}' is no verb of '{name}': there is {string.Join(", ", children)}."
            : stray is not null ? $"'{stray}' is not known here."
            : Reworded(result.Errors[0].Message.ReplaceLineEndings(" "), result.CommandResult.Command);
        return $"{message} See '{name} --help'.";
    }

    /// <summary>The parser's words speak of types and symbols; people want to know what to write.</summary>
    private static string Reworded(string message, Command command)
    {
        if (NotANumber().Match(message) is { Success: true } number)
        {
            return number.Groups["kind"].Value == "option"
                ? $"'{number.Groups["value"].Value}' of {number.Groups["name"].Value} is no number."
                : $"'{number.Groups["value"].Value}' is no number.";
        }

        if (NotAmong().Match(message) is { Success: true } choice)
        {
            var possible = choice
                .Groups["choices"]
                .Value.Split('\'', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
            return $"'{choice.Groups["value"].Value}' is not possible here: there is {string.Join(", ", possible)}.";
        }

        if (message.StartsWith("Required argument missing for command", StringComparison.Ordinal))
        {
            return $"Something is missing: {string.Join(' ', command.Arguments.Select(a => a.Name))}.";
        }

        return NoValue().Match(message) is { Success: true } empty ? $"{empty.Groups["name"].Value} needs a value." : Ended(message);
    }

    [GeneratedRegex(
        "^Cannot parse argument '(?<value>.*)' for (?<kind>option|command) '(?<name>[^']*)' as expected type",
        RegexOptions.ExplicitCapture,
        1000
    )]
    private static partial Regex NotANumber();

    [GeneratedRegex("^Argument '(?<value>.*)' not recognized. Must be one of:(?<choices>.*)$", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex NotAmong();

    [GeneratedRegex("^Required argument missing for option: '(?<name>[^']*)'", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex NoValue();

    private static string Ended(string sentence) => sentence.EndsWith('.') ? sentence : sentence + ".";
}
