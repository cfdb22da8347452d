using System.Buffers;
using System.Numerics;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;

namespace Rollcall.OneRoster.Rest;

/// <summary>Reads single JSON values leniently and counts what it had to forgive. Every method is called with the reader on the
/// first token of a value and leaves it on the last one. All bytes of the value must be in the reader.</summary>
internal sealed class ReadContext
{
    private const int PoolBits = 11;
    private const int LongestPooled = 64;
    private readonly string?[] pool = new string?[1 << PoolBits];
    private char[] scratch = new char[256];

    /// <summary>Counts since the last <see cref="LeniencyCounts.Clear"/>.</summary>
    public LeniencyCounts Counts { get; } = new();

    public void Count(Leniency rule) => Counts.Add(rule);

    /// <summary>Passes over a value. The ordinary skip refuses to work on a reader that might get more data.</summary>
    public static void Skip(ref Utf8JsonReader reader)
    {
        if (reader.TokenType is JsonTokenType.StartObject or JsonTokenType.StartArray)
        {
            reader.TrySkip();
        }
    }

    /// <summary>The bytes of a property name or text, unescaped.</summary>
    public ReadOnlySpan<byte> Bytes(ref Utf8JsonReader reader) =>
        reader.ValueIsEscaped ? Encoding.UTF8.GetBytes(Decode(reader.ValueSpan, escaped: true)) : reader.ValueSpan;

    /// <summary>A text that is likely to come only once.</summary>
    public string? Text(ref Utf8JsonReader reader) => Text(ref reader, pooled: false);

    /// <summary>A text that is likely to come again and again, so that one string serves all.</summary>
    public string? Pooled(ref Utf8JsonReader reader) => Text(ref reader, pooled: true);

    /// <summary>A record's own key: byte for byte, or <see langword="null"/> when there is nothing to see in it.</summary>
    public string? SourcedId(ref Utf8JsonReader reader, bool pooled = false) => Key(Text(ref reader, pooled));

    public bool? Boolean(ref Utf8JsonReader reader)
    {
        switch (reader.TokenType)
        {
            case JsonTokenType.Null:
                return null;
            case JsonTokenType.True:
            case JsonTokenType.False:
                Count(Leniency.BooleanForm);
                return reader.TokenType == JsonTokenType.True;
            case JsonTokenType.String or JsonTokenType.Number:
                var bytes = Bytes(ref reader);
                if (bytes.SequenceEqual("true"u8))
                {
                    return true;
                }

                if (bytes.SequenceEqual("false"u8))
                {
                    return false;
                }

                bytes = Seen(bytes);
                if (bytes.IsEmpty)
                {
                    return null;
                }

                bool? value =
                    bytes.SequenceEqual("1"u8) || Ascii.EqualsIgnoreCase(bytes, "true"u8) || Ascii.EqualsIgnoreCase(bytes, "yes"u8) ? true
                    : bytes.SequenceEqual("0"u8) || Ascii.EqualsIgnoreCase(bytes, "false"u8) || Ascii.EqualsIgnoreCase(bytes, "no"u8)
                        ? false
                    : null;
                Count(value is null ? Leniency.UnreadableBoolean : Leniency.BooleanForm);
                return value;
            default:
                Skip(ref reader);
                Count(Leniency.UnreadableBoolean);
                return null;
        }
    }

    /// <summary>A day; <paramref name="blank"/> tells an empty text from a field that was not sent.</summary>
    public DateOnly? Day(ref Utf8JsonReader reader, out bool blank)
    {
        blank = false;
        switch (reader.TokenType)
        {
            case JsonTokenType.Null:
                return null;
            case JsonTokenType.String or JsonTokenType.Number:
                var bytes = Seen(Bytes(ref reader));
                if (bytes.IsEmpty)
                {
                    blank = true;
                    return null;
                }

                if (Dates.TryDay(bytes, out var day, out var strict))
                {
                    if (!strict)
                    {
                        Count(Leniency.DateForm);
                    }

                    return day;
                }

                Count(Leniency.UnreadableDate);
                return null;
            default:
                Skip(ref reader);
                Count(Leniency.UnreadableDate);
                return null;
        }
    }

    /// <summary>Without what nobody could see around it.</summary>
    private static ReadOnlySpan<byte> Seen(ReadOnlySpan<byte> text)
    {
        text = text.Trim(" \t\r\n"u8);
        return Ascii.IsValid(text) ? text : Encoding.UTF8.GetBytes(Blank.Trim(Encoding.UTF8.GetString(text)));
    }

    public DateTimeOffset? Time(ref Utf8JsonReader reader)
    {
        switch (reader.TokenType)
        {
            case JsonTokenType.Null:
                return null;
            case JsonTokenType.Number:
                // Milliseconds since 1970; seconds would put every date of a living roster before 2001.
                if (reader.TryGetInt64(out var stamp) && stamp is > 0 and < 32_503_680_000_000)
                {
                    Count(Leniency.DateForm);
                    return stamp < 100_000_000_000
                        ? DateTimeOffset.FromUnixTimeSeconds(stamp)
                        : DateTimeOffset.FromUnixTimeMilliseconds(stamp);
                }

                Count(Leniency.UnreadableDate);
                return null;
            case JsonTokenType.String:
                var bytes = Seen(Bytes(ref reader));
                if (bytes.IsEmpty)
                {
                    return null;
                }

                if (Dates.TryTime(bytes, out var time, out var strict))
                {
                    if (!strict)
                    {
                        Count(Leniency.DateForm);
                    }

                    return time;
                }

                Count(Leniency.UnreadableDate);
                return null;
            default:
                Skip(ref reader);
                Count(Leniency.UnreadableDate);
                return null;
        }
    }

    /// <summary>A reference to another record: an object with <c>sourcedId</c> or, as some print it, <c>sourceId</c>, or a bare key.</summary>
    public string? Ref(ref Utf8JsonReader reader)
    {
        switch (reader.TokenType)
        {
            case JsonTokenType.Null:
                return null;
            case JsonTokenType.StartObject:
                return RefObject(ref reader);
            case JsonTokenType.StartArray:
                Count(Leniency.SingleAsList);
                string? first = null;
                while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
                {
                    if (first is null)
                    {
                        first = reader.TokenType == JsonTokenType.StartArray ? SkipUnreadableRef(ref reader) : Ref(ref reader);
                    }
                    else
                    {
                        Skip(ref reader);
                    }
                }

                return first;
            case JsonTokenType.String or JsonTokenType.Number:
                var text = Key(Pooled(ref reader), countBlank: false);
                if (text is not null)
                {
                    Count(Leniency.RefAsText);
                }

                return text;
            default:
                Count(Leniency.UnreadableRef);
                return null;
        }
    }

    /// <summary>Whether what holds no key says nothing either: null, a blank text, or an object with a blank id.</summary>
    /// <param name="reader">On the value; of one that was read and holds no key.</param>
    public static bool IsBlank(Utf8JsonReader reader)
    {
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            return reader.TokenType is JsonTokenType.Null or JsonTokenType.String;
        }

        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            if (reader.ValueTextEquals("sourcedId"u8))
            {
                reader.Read();
                return reader.TokenType is JsonTokenType.Null or JsonTokenType.String;
            }

            if (!reader.Read() || !reader.TrySkip())
            {
                return false;
            }
        }

        return false;
    }

    /// <summary>A list of references; see <see cref="Refs(ref Utf8JsonReader, out bool)"/>.</summary>
    public IReadOnlyList<string>? Refs(ref Utf8JsonReader reader) => Refs(ref reader, out _);

    /// <summary>A list of references. What cannot be read is left out; a list of nothing but that says as little as none.</summary>
    /// <param name="reader">On the value.</param>
    /// <param name="partial">There were entries that say something, and cannot be read. Blank ones are nothing.</param>
    public IReadOnlyList<string>? Refs(ref Utf8JsonReader reader, out bool partial)
    {
        partial = false;
        switch (reader.TokenType)
        {
            case JsonTokenType.Null:
                return null;
            case JsonTokenType.StartArray:
                string? only = null;
                List<string>? more = null;
                var dropped = false;
                while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
                {
                    var at = reader;
                    var key = reader.TokenType == JsonTokenType.StartArray ? SkipUnreadableRef(ref reader) : Ref(ref reader);
                    if (key is null)
                    {
                        dropped = true;
                        partial |= !IsBlank(at);
                        continue;
                    }

                    if (only is null)
                    {
                        only = key;
                    }
                    else
                    {
                        (more ??= [only]).Add(key);
                    }
                }

                return more
                    ?? (
                        only is not null ? [only]
                        : dropped ? null
                        : (IReadOnlyList<string>)[]
                    );
            case JsonTokenType.StartObject:
                Count(Leniency.ListAsObject);
                var single = RefObject(ref reader);
                partial = single is null;
                return single is null ? null : [single];
            case JsonTokenType.String or JsonTokenType.Number:
                return Ref(ref reader) is { } bare ? [bare] : [];
            default:
                Ref(ref reader);
                partial = true;
                return null;
        }
    }

    /// <summary>A list of short texts.</summary>
    public IReadOnlyList<string>? Texts(ref Utf8JsonReader reader)
    {
        switch (reader.TokenType)
        {
            case JsonTokenType.Null:
                return null;
            case JsonTokenType.StartArray:
                string? only = null;
                List<string>? more = null;
                while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
                {
                    if (Pooled(ref reader) is not { } text)
                    {
                        continue;
                    }

                    if (only is null)
                    {
                        only = text;
                    }
                    else
                    {
                        (more ??= [only]).Add(text);
                    }
                }

                return more ?? (IReadOnlyList<string>)(only is null ? [] : [only]);
            case JsonTokenType.String or JsonTokenType.Number:
                var whole = Pooled(ref reader) ?? "";
                if (Blank.Is(whole))
                {
                    return [];
                }

                Count(Leniency.ListAsText);
                return whole.Contains(',', StringComparison.Ordinal)
                    ? whole.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
                    : [whole];
            default:
                Skip(ref reader);
                Count(Leniency.UnreadableText);
                return null;
        }
    }

    /// <summary>The key as it is, or <see langword="null"/> when it is blank, which no record may be known by.</summary>
    public string? Key(string? text, bool countBlank = true)
    {
        if (text is null || !Blank.Is(text))
        {
            return text;
        }

        if (countBlank && text.Length > 0)
        {
            Count(Leniency.BlankSourcedId);
        }

        return null;
    }

    private string? SkipUnreadableRef(ref Utf8JsonReader reader)
    {
        Skip(ref reader);
        Count(Leniency.UnreadableRef);
        return null;
    }

    private string? RefObject(ref Utf8JsonReader reader)
    {
        string? key = null;
        var any = false;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            any = true;
            var name = Bytes(ref reader);
            var proper = name.SequenceEqual("sourcedId"u8);
            var alias = !proper && (name.SequenceEqual("sourceId"u8) || name.SequenceEqual("sourcedID"u8));
            reader.Read();
            if (proper || (alias && key is null))
            {
                key = Pooled(ref reader);
                if (alias)
                {
                    Count(Leniency.RefSourceId);
                }
            }
            else
            {
                Skip(ref reader);
            }
        }

        if (key is null && any)
        {
            Count(Leniency.UnreadableRef);
        }

        return Key(key, countBlank: false);
    }

    private string? Text(ref Utf8JsonReader reader, bool pooled)
    {
        switch (reader.TokenType)
        {
            case JsonTokenType.String:
                var span = reader.ValueSpan;
                return span.IsEmpty ? ""
                    : reader.ValueIsEscaped ? Decode(span, escaped: true)
                    : pooled && span.Length <= LongestPooled ? FromPool(span)
                    : Decode(span, escaped: false);
            case JsonTokenType.Null:
                return null;
            case JsonTokenType.Number:
                Count(Leniency.NumberAsText);
                return FromPool(reader.ValueSpan);
            case JsonTokenType.True:
            case JsonTokenType.False:
                Count(Leniency.NumberAsText);
                return reader.TokenType == JsonTokenType.True ? "true" : "false";
            default:
                Skip(ref reader);
                Count(Leniency.UnreadableText);
                return null;
        }
    }

    private string FromPool(ReadOnlySpan<byte> utf8)
    {
        var hash = (uint)utf8.Length;
        var rest = utf8;
        for (; rest.Length >= sizeof(ulong); rest = rest[sizeof(ulong)..])
        {
            hash = BitOperations.Crc32C(hash, MemoryMarshal.Read<ulong>(rest));
        }

        foreach (var b in rest)
        {
            hash = BitOperations.Crc32C(hash, b);
        }

        ref var slot = ref pool[hash >> (32 - PoolBits)];
        if (slot is not null && Ascii.Equals(utf8, slot))
        {
            return slot;
        }

        return slot = Decode(utf8, escaped: false);
    }

    /// <summary>JSON text to string. The platform's own conversion throws on half surrogate pairs and lets NUL through; databases
    /// take neither, and one odd name must not cost a whole roster.</summary>
    private string Decode(ReadOnlySpan<byte> utf8, bool escaped)
    {
        if (!Utf8.IsValid(utf8))
        {
            Count(Leniency.InvalidUtf8);
        }

        if (!escaped)
        {
            return Encoding.UTF8.GetString(utf8);
        }

        if (scratch.Length < utf8.Length)
        {
            scratch = new char[Math.Max(utf8.Length, scratch.Length * 2)];
        }

        var length = 0;
        while (!utf8.IsEmpty)
        {
            var backslash = utf8.IndexOf((byte)'\\');
            var plain = backslash < 0 ? utf8 : utf8[..backslash];
            length += Encoding.UTF8.GetChars(plain, scratch.AsSpan(length));
            if (backslash < 0)
            {
                break;
            }

            var code = utf8[backslash + 1];
            if (code == 'u')
            {
                scratch[length++] = (char)(
                    (Hex(utf8[backslash + 2]) << 12)
                    | (Hex(utf8[backslash + 3]) << 8)
                    | (Hex(utf8[backslash + 4]) << 4)
                    | Hex(utf8[backslash + 5])
                );
                utf8 = utf8[(backslash + 6)..];
                continue;
            }

            scratch[length++] = code switch
            {
                (byte)'n' => '\n',
                (byte)'r' => '\r',
                (byte)'t' => '\t',
                (byte)'b' => '\b',
                (byte)'f' => '\f',
                _ => (char)code,
            };
            utf8 = utf8[(backslash + 2)..];
        }

        var chars = scratch.AsSpan(0, length);
        for (var i = 0; i < chars.Length; i++)
        {
            if (chars[i] == '\0' || (char.IsLowSurrogate(chars[i]) && (i == 0 || !char.IsHighSurrogate(chars[i - 1]))))
            {
                chars[i] = '\uFFFD';
                Count(Leniency.ReplacedCharacter);
            }
            else if (char.IsHighSurrogate(chars[i]) && (i + 1 == chars.Length || !char.IsLowSurrogate(chars[i + 1])))
            {
                chars[i] = '\uFFFD';
                Count(Leniency.ReplacedCharacter);
            }
        }

        return new string(chars);
    }

    private static int Hex(byte digit) => digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10;
}
