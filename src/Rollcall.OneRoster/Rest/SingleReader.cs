using System.Text.Json;

namespace Rollcall.OneRoster.Rest;

/// <summary>Reads the answer to a request for one record: in its envelope, in a list of one, or bare.</summary>
internal static class SingleReader
{
    /// <exception cref="NotAPageException">There is no record in it.</exception>
    /// <exception cref="JsonException">It is no JSON.</exception>
    public static T Read<T>(ReadOnlySpan<byte> json, ReadOnlySpan<byte> one, ReadOnlySpan<byte> many, RecordParser<T> parse)
    {
        if (json.StartsWith("\uFEFF"u8))
        {
            json = json[3..];
        }

        // Checked as a whole first, so that the parser below never meets an end of data inside a value.
        var options = new JsonReaderOptions { MaxDepth = 512, AllowTrailingCommas = true };
        var check = new Utf8JsonReader(json, options);
        while (check.Read()) { }

        var context = new ReadContext();
        var reader = new Utf8JsonReader(json, options);
        reader.Read();
        var start = reader;
        var bare = false;
        if (reader.TokenType == JsonTokenType.StartObject)
        {
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                var name = context.Bytes(ref reader);
                var enveloped = name.SequenceEqual(one) || name.SequenceEqual(many);
                bare |= name.SequenceEqual("sourcedId"u8);
                reader.Read();
                if (enveloped && reader.TokenType == JsonTokenType.StartArray)
                {
                    reader.Read();
                }

                if (enveloped && reader.TokenType == JsonTokenType.StartObject)
                {
                    return parse(ref reader, context);
                }

                ReadContext.Skip(ref reader);
            }
        }

        return bare ? parse(ref start, context) : throw new NotAPageException("answered without the record that was asked for");
    }
}
