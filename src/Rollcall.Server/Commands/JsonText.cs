using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Rollcall.Server.Commands;

/// <summary>JSON as the command line prints it.</summary>
internal static class JsonText
{
    /// <summary>Instants as <see cref="Instant"/> has them.</summary>
    public static readonly JsonConverter<DateTimeOffset> Instants = new InstantConverter();

    private static readonly JsonSerializerOptions s_line = new(JsonSerializerDefaults.Web)
    {
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        Converters = { Instants },
    };

    private static readonly JsonSerializerOptions s_object = new(s_line) { WriteIndented = true };

    /// <summary>One object, for people to read too.</summary>
    public static Task WriteAsync<T>(Terminal terminal, T value) => terminal.Out.WriteLineAsync(JsonSerializer.Serialize(value, s_object));

    /// <summary>An array with an item a line; it may be longer than memory.</summary>
    public static async Task WriteArrayAsync<T>(TextWriter writer, IAsyncEnumerable<T> items, CancellationToken cancellationToken)
    {
        await writer.WriteAsync('[');
        var first = true;
        await foreach (var item in items.WithCancellation(cancellationToken))
        {
            await writer.WriteAsync(first ? "\n" : ",\n");
            await writer.WriteAsync(Line(item));
            first = false;
        }

        await writer.WriteLineAsync(first ? "]" : "\n]");
    }

    /// <inheritdoc cref="WriteArrayAsync{T}(TextWriter, IAsyncEnumerable{T}, CancellationToken)"/>
    public static Task WriteArrayAsync<T>(Terminal terminal, IEnumerable<T> items, CancellationToken cancellationToken) =>
        WriteArrayAsync(terminal.Out, items.ToAsyncEnumerable(), cancellationToken);

    /// <summary>One value without line breaks.</summary>
    public static string Line<T>(T value) => JsonSerializer.Serialize(value, s_line);

    /// <summary>An instant as JSON and texts have it: ISO 8601, UTC.</summary>
    public static string Instant(DateTimeOffset value) => value.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'");

    private sealed class InstantConverter : JsonConverter<DateTimeOffset>
    {
        public override DateTimeOffset Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
            reader.GetDateTimeOffset();

        public override void Write(Utf8JsonWriter writer, DateTimeOffset value, JsonSerializerOptions options) =>
            writer.WriteStringValue(Instant(value));
    }
}
