using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging.Console;

namespace Rollcall.Server.Watch;

/// <summary>The log for people: as .NET's own looks, and each line of an operation begins with its district and number. Of what else surrounds a line
/// nothing is written: a request's address may hold somebody's barcode.</summary>
internal sealed class TextLog() : ConsoleFormatter(FormatterName)
{
    public const string FormatterName = "rollcall";

    private const string Indent = "      ";

    private readonly bool _colours = !Console.IsErrorRedirected && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"));

    public override void Write<TState>(in LogEntry<TState> logEntry, IExternalScopeProvider? scopeProvider, TextWriter textWriter)
    {
        var message = logEntry.Formatter(logEntry.State, logEntry.Exception);
        if (string.IsNullOrEmpty(message) && logEntry.Exception is null)
        {
            return;
        }

        var (word, colour) = logEntry.LogLevel switch
        {
            LogLevel.Trace => ("trce", 0),
            LogLevel.Debug => ("dbug", 0),
            LogLevel.Information => ("info", 32),
            LogLevel.Warning => ("warn", 33),
            LogLevel.Error => ("fail", 31),
            _ => ("crit", 31),
        };
        textWriter.Write(_colours && colour > 0 ? $"\e[{colour}m{word}\e[0m" : word);
        textWriter.WriteLine($": {logEntry.Category}[{logEntry.EventId.Id}]");
        textWriter.Write(Indent);
        scopeProvider?.ForEachScope(
            static (scope, writer) =>
            {
                if (
                    scope is IReadOnlyList<KeyValuePair<string, object?>> named
                    && named.Any(n => n.Key == Operations.OperationWorker.ScopeKey)
                )
                {
                    writer.Write($"{scope}: ");
                }
            },
            textWriter
        );
        textWriter.WriteLine(Indented(message));
        if (logEntry.Exception is { } exception)
        {
            textWriter.WriteLine(Indent + Indented(exception.ToString()));
        }
    }

    private static string Indented(string text) => text.ReplaceLineEndings(Environment.NewLine + Indent);
}
