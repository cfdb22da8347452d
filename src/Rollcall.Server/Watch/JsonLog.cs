using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging.Console;
using Rollcall.Operations;

namespace Rollcall.Server.Watch;

/// <summary>The log for programs: one object a line, in the form of .NET's own. Of what surrounds a line, its operation is written and nothing else: a
/// request's address may hold somebody's barcode or name.</summary>
internal sealed class JsonLog(TimeProvider time) : ConsoleFormatter(FormatterName)
{
    public const string FormatterName = "rollcall-json";

    private static readonly JsonWriterOptions s_options = new()
    {
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    public override void Write<TState>(in LogEntry<TState> logEntry, IExternalScopeProvider? scopeProvider, TextWriter textWriter)
    {
        var message = logEntry.Formatter(logEntry.State, logEntry.Exception);
        if (string.IsNullOrEmpty(message) && logEntry.Exception is null)
        {
            return;
        }

        var buffer = new ArrayBufferWriter<byte>(512);
        using (var json = new Utf8JsonWriter(buffer, s_options))
        {
            json.WriteStartObject();
            json.WriteString("Timestamp", time.GetUtcNow().UtcDateTime.ToString("yyyy-MM-ddTHH:mm:ss.fffZ", CultureInfo.InvariantCulture));
            json.WriteNumber("EventId", logEntry.EventId.Id);
            json.WriteString("LogLevel", logEntry.LogLevel.ToString());
            json.WriteString("Category", logEntry.Category);
            json.WriteString("Message", message);
            if (logEntry.Exception is { } exception)
            {
                json.WriteString("Exception", exception.ToString());
            }

            if (logEntry.State is IReadOnlyList<KeyValuePair<string, object?>> state)
            {
                json.WriteStartObject("State");
                Write(json, state);
                json.WriteEndObject();
            }

            WriteScopes(json, scopeProvider);
            json.WriteEndObject();
        }

        textWriter.WriteLine(Encoding.UTF8.GetString(buffer.WrittenSpan));
    }

    private static void WriteScopes(Utf8JsonWriter json, IExternalScopeProvider? scopes)
    {
        json.WriteStartArray("Scopes");
        scopes?.ForEachScope(
            static (scope, writer) =>
            {
                if (scope is IReadOnlyList<KeyValuePair<string, object?>> named && named.Any(n => n.Key == OperationWorker.ScopeKey))
                {
                    writer.WriteStartObject();
                    writer.WriteString("Message", scope.ToString());
                    Write(writer, named);
                    writer.WriteEndObject();
                }
            },
            json
        );
        json.WriteEndArray();
    }

    private static void Write(Utf8JsonWriter json, IReadOnlyList<KeyValuePair<string, object?>> values)
    {
        foreach (var (name, value) in values)
        {
            switch (value)
            {
                case null:
                    json.WriteNull(name);
                    break;
                case bool yes:
                    json.WriteBoolean(name, yes);
                    break;
                case int or long or short or byte or uint:
                    json.WriteNumber(name, Convert.ToInt64(value, CultureInfo.InvariantCulture));
                    break;
                case double number when double.IsFinite(number):
                    json.WriteNumber(name, number);
                    break;
                default:
                    json.WriteString(name, Convert.ToString(value, CultureInfo.InvariantCulture));
                    break;
            }
        }
    }
}
