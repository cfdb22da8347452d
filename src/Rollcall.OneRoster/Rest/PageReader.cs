using System.Buffers;
using System.Text;
using System.Text.Json;
using Rollcall.OneRoster.Model;

namespace Rollcall.OneRoster.Rest;

/// <summary>What one response held.</summary>
internal sealed class ParsedPage<T>
{
    public List<T> Records { get; set; } = [];

    /// <summary>Entries of the array, unreadable ones included.</summary>
    public int Rows { get; set; }

    public int Unreadable { get; set; }
}

/// <summary>The body ended before its JSON did: the connection was cut, so asking again may help.</summary>
internal sealed class TruncatedBodyException() : IOException("The response ended early.");

/// <summary>The body is no roster page. The message completes "The server at HOST …".</summary>
internal sealed class NotAPageException(string message) : Exception(message);

/// <summary>Finds the array of records in a response and reads it while it arrives, holding no more of the body than one record
/// or one buffer. One contiguous buffer instead of a pipe's segments: the JSON reader is markedly quicker on it.</summary>
/// <param name="key">The envelope key of the specification.</param>
/// <param name="parse">Reads one record.</param>
/// <param name="context">Counts leniencies; cleared at the start of a page.</param>
internal sealed class PageReader<T>(string key, RecordParser<T> parse, ReadContext context)
{
    private const int FirstBuffer = 1024 * 1024;

    // What does not end within this is no record, and a server must not decide how much memory is taken.
    private const int MostRecord = 16 * 1024 * 1024;

    // Hardly any record is larger: with so much left in the buffer it is parsed without looking for its end first.
    private const int Ample = 32 * 1024;
    private static readonly JsonReaderOptions Options = new() { MaxDepth = 512, AllowTrailingCommas = true };
    private readonly byte[] specified = Encoding.UTF8.GetBytes(key);
    private readonly LeniencyCounts saved = new();

    private ParsedPage<T>? proper;
    private ParsedPage<T>? other;
    private int otherArrays;
    private ParsedPage<T>? filling;
    private bool bare;
    private bool repeats;
    private Where where;
    private JsonReaderState state;

    private enum Where
    {
        Start,
        Root,
        Value,
        SpecifiedValue,
        IgnoredValue,
        Records,
        End,
    }

    /// <summary>Reads the whole response.</summary>
    /// <exception cref="TruncatedBodyException">The JSON did not end.</exception>
    /// <exception cref="NotAPageException">It is no JSON, or holds no array of records.</exception>
    public ValueTask<ParsedPage<T>> ReadAsync(Stream body, CancellationToken cancellationToken) =>
        ReadAsync(body, repeats: false, Task.CompletedTask, received: null, cancellationToken);

    /// <summary>Reads the whole response, and looks at it only when it may: until then this reader may be busy with another.</summary>
    /// <param name="body">The response.</param>
    /// <param name="repeats">Its first row is the last one of the page before, whose leniencies were counted there.</param>
    /// <param name="turn">Ends when it may be looked at.</param>
    /// <param name="received">Called when all of it has been received and it may be looked at, before the last of it is.</param>
    /// <param name="cancellationToken">Stops the reading and the wait.</param>
    /// <exception cref="TruncatedBodyException">The JSON did not end.</exception>
    /// <exception cref="NotAPageException">It is no JSON, or holds no array of records.</exception>
    public async ValueTask<ParsedPage<T>> ReadAsync(
        Stream body,
        bool repeats,
        Task turn,
        Action? received,
        CancellationToken cancellationToken
    )
    {
        var buffer = ArrayPool<byte>.Shared.Rent(FirstBuffer);
        try
        {
            var filled = 0;
            var atStart = true;
            while (true)
            {
                // Filled to the brim before it is read: a record larger than the buffer is then scanned once per doubling, not once per packet.
                var ended = false;
                while (filled < buffer.Length)
                {
                    var got = await body.ReadAsync(buffer.AsMemory(filled), cancellationToken);
                    if (got == 0)
                    {
                        ended = true;
                        break;
                    }

                    filled += got;
                }

                if (!ended && !turn.IsCompleted && buffer.Length <= MostRecord)
                {
                    // Received now, so that the server is done with it.
                    buffer = Larger(buffer, filled);
                    continue;
                }

                var skip = 0;
                if (atStart)
                {
                    await turn.WaitAsync(cancellationToken);
                    Begin(repeats);
                    atStart = false;
                    skip = CheckStart(buffer.AsSpan(0, filled));
                }

                if (ended)
                {
                    received?.Invoke();
                }

                int used;
                try
                {
                    used = skip + Consume(buffer.AsSpan(skip, filled - skip));
                }
                catch (JsonException e)
                {
                    throw new NotAPageException(
                        $"answered with something that is not valid JSON (near byte {e.BytePositionInLine ?? 0} of a line)"
                    );
                }

                if (ended)
                {
                    return where == Where.End ? Finish() : throw new TruncatedBodyException();
                }

                if (used == 0)
                {
                    if (buffer.Length > MostRecord)
                    {
                        throw new NotAPageException(
                            $"sent a record that is larger than the {MostRecord / (1024 * 1024)} MB that are accepted"
                        );
                    }

                    buffer = Larger(buffer, filled);
                }
                else
                {
                    buffer.AsSpan(used, filled - used).CopyTo(buffer);
                    filled -= used;
                }
            }
        }
        finally
        {
            // Passwords that the server sent may still lie in it.
            ArrayPool<byte>.Shared.Return(buffer, clearArray: true);
        }
    }

    private static byte[] Larger(byte[] buffer, int filled)
    {
        var larger = ArrayPool<byte>.Shared.Rent(buffer.Length * 2);
        buffer.AsSpan(0, filled).CopyTo(larger);
        ArrayPool<byte>.Shared.Return(buffer, clearArray: true);
        return larger;
    }

    private void Begin(bool firstRowRepeats)
    {
        context.Counts.Clear();
        repeats = firstRowRepeats;
        (proper, other, filling, otherArrays, bare) = (null, null, null, 0, false);
        where = Where.Start;
        state = new JsonReaderState(Options);
    }

    private static int CheckStart(ReadOnlySpan<byte> data)
    {
        var skip = data.StartsWith("\uFEFF"u8) ? 3 : 0;
        var text = data[skip..].TrimStart(" \t\r\n"u8);
        if (text.IsEmpty)
        {
            throw new NotAPageException("answered with an empty page");
        }

        return text[0] switch
        {
            (byte)'{' or (byte)'[' => skip,
            (byte)'<' => throw new NotAPageException("answered with a web page instead of a roster"),
            _ => throw new NotAPageException("answered with something that is not JSON"),
        };
    }

    /// <summary>Reads as far as whole tokens and whole records go; returns the bytes that are done with.</summary>
    private int Consume(ReadOnlySpan<byte> data)
    {
        var reader = new Utf8JsonReader(data, isFinalBlock: false, state);
        while (true)
        {
            var before = reader;
            if (!reader.Read())
            {
                break;
            }

            switch (where)
            {
                case Where.Start:
                    bare = reader.TokenType == JsonTokenType.StartArray;
                    where = bare ? Where.Records : Where.Root;
                    filling = bare ? proper = new ParsedPage<T>() : null;
                    break;
                case Where.Root:
                    where = reader.TokenType == JsonTokenType.EndObject ? Where.End : Classify(ref reader);
                    break;
                case Where.Value or Where.SpecifiedValue or Where.IgnoredValue:
                    if (reader.CurrentDepth == 1 && reader.TokenType == JsonTokenType.StartArray && where != Where.IgnoredValue)
                    {
                        Open();
                        where = Where.Records;
                    }
                    else if (reader.CurrentDepth == 1 && reader.TokenType is not (JsonTokenType.StartObject or JsonTokenType.StartArray))
                    {
                        where = Where.Root;
                    }
                    else
                    {
                        // Inside something that is not ours: tokens pass until its end.
                        where = Where.IgnoredValue;
                    }

                    break;
                case Where.Records:
                    if (reader.TokenType == JsonTokenType.EndArray)
                    {
                        where = bare ? Where.End : Where.Root;
                        break;
                    }

                    if (!Record(ref reader, data.Length))
                    {
                        state = before.CurrentState;
                        return (int)before.BytesConsumed;
                    }

                    break;
                default:
                    break;
            }
        }

        state = reader.CurrentState;
        return (int)reader.BytesConsumed;
    }

    private Where Classify(ref Utf8JsonReader reader)
    {
        var name = context.Bytes(ref reader);
        return name.SequenceEqual(specified) ? Where.SpecifiedValue
            : IsAboutTheAnswer(name) ? Where.IgnoredValue
            : Where.Value;
    }

    /// <summary>Keys under which servers report about the request; an array there is never the roster.</summary>
    private static bool IsAboutTheAnswer(ReadOnlySpan<byte> name) =>
        name.StartsWith("imsx_"u8)
        || Ascii.EqualsIgnoreCase(name, "statusInfoSet"u8)
        || Ascii.EqualsIgnoreCase(name, "statusInfo"u8)
        || Ascii.EqualsIgnoreCase(name, "error"u8)
        || Ascii.EqualsIgnoreCase(name, "errors"u8)
        || Ascii.EqualsIgnoreCase(name, "warning"u8)
        || Ascii.EqualsIgnoreCase(name, "warnings"u8)
        || Ascii.EqualsIgnoreCase(name, "message"u8)
        || Ascii.EqualsIgnoreCase(name, "messages"u8)
        || Ascii.EqualsIgnoreCase(name, "details"u8)
        || Ascii.EqualsIgnoreCase(name, "links"u8);

    private void Open()
    {
        if (where == Where.SpecifiedValue)
        {
            filling = proper ??= new ParsedPage<T>();
            return;
        }

        // Read on the chance that it is the only array; what a second one brings is thrown away.
        otherArrays++;
        filling = new ParsedPage<T>();
        other = filling;
    }

    private bool Record(ref Utf8JsonReader reader, int length)
    {
        var isObject = reader.TokenType == JsonTokenType.StartObject;
        if (isObject && length - reader.BytesConsumed >= Ample)
        {
            var start = reader;
            saved.Take(context.Counts);
            var record = parse(ref reader, context);
            if (reader.TokenType == JsonTokenType.EndObject && reader.CurrentDepth == start.CurrentDepth)
            {
                filling!.Records.Add(record);
                Counted(filling);
                return true;
            }

            // It is larger after all and goes on behind the buffer: what was forgiven so far is counted when it is read whole.
            reader = start;
            context.Counts.Take(saved);
        }

        if (isObject || reader.TokenType == JsonTokenType.StartArray)
        {
            var ahead = reader;
            if (!ahead.TrySkip())
            {
                return false;
            }

            if (!isObject)
            {
                reader = ahead;
            }
        }

        var page = filling!;
        if (isObject)
        {
            page.Records.Add(parse(ref reader, context));
        }
        else
        {
            page.Unreadable++;
        }

        Counted(page);
        return true;
    }

    private void Counted(ParsedPage<T> page)
    {
        if (++page.Rows == 1 && repeats)
        {
            context.Counts.Clear();
        }
    }

    private ParsedPage<T> Finish()
    {
        if (bare)
        {
            context.Count(Leniency.BareArray);
        }

        if (proper is not null)
        {
            return proper;
        }

        if (other is not null && otherArrays == 1)
        {
            context.Count(Leniency.OtherEnvelope);
            return other;
        }

        throw new NotAPageException(
            otherArrays > 1 ? $"answered without \"{key}\" and with several other lists" : $"answered with JSON that holds no list of {key}"
        );
    }
}
