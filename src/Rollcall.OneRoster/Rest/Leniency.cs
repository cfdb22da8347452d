using System.Text;

namespace Rollcall.OneRoster.Rest;

/// <summary>Each way in which the reader accepts something that OneRoster does not say. Counted by name.</summary>
internal enum Leniency
{
    /// <summary>The array stood under another key than the specified one.</summary>
    OtherEnvelope,

    /// <summary>The array stood bare at the root.</summary>
    BareArray,

    /// <summary>The server refused <c>sort</c>, so the walk went on without it.</summary>
    Unsorted,

    /// <summary>A count header was no number.</summary>
    UnreadableCount,

    /// <summary>A field came under another name.</summary>
    FieldAlias,

    /// <summary>A boolean that was not the text <c>true</c> or <c>false</c>.</summary>
    BooleanForm,

    /// <summary>A boolean that could not be read.</summary>
    UnreadableBoolean,

    /// <summary>A number or boolean where a text belongs.</summary>
    NumberAsText,

    /// <summary>A list or object where a text belongs; read as not sent.</summary>
    UnreadableText,

    /// <summary>A list that came as one text.</summary>
    ListAsText,

    /// <summary>A list that came as one object.</summary>
    ListAsObject,

    /// <summary>A single value that came as a list.</summary>
    SingleAsList,

    /// <summary>An entry of a list that could not be read.</summary>
    UnreadableEntry,

    /// <summary>A reference that came as a bare text.</summary>
    RefAsText,

    /// <summary>A reference that said <c>sourceId</c>.</summary>
    RefSourceId,

    /// <summary>A reference that could not be read.</summary>
    UnreadableRef,

    /// <summary>A date in another form than ISO 8601.</summary>
    DateForm,

    /// <summary>A date that could not be read.</summary>
    UnreadableDate,

    /// <summary>A status in another spelling.</summary>
    StatusSpelling,

    /// <summary>A status that nobody knows; read as active.</summary>
    UnknownStatus,

    /// <summary>A sex in another spelling.</summary>
    SexSpelling,

    /// <summary>A sex that could not be read.</summary>
    UnreadableSex,

    /// <summary>A <c>sourcedId</c> of blanks only.</summary>
    BlankSourcedId,

    /// <summary>NUL or half a surrogate pair in a text, replaced by U+FFFD.</summary>
    ReplacedCharacter,

    /// <summary>Bytes that are no UTF-8, replaced by U+FFFD.</summary>
    InvalidUtf8,
}

/// <summary>Counts of leniencies.</summary>
internal sealed class LeniencyCounts
{
    private static readonly string[] Names = [.. Enum.GetNames<Leniency>().Select(Kebab)];
    private readonly long[] counts = new long[Names.Length];

    public void Add(Leniency rule) => counts[(int)rule]++;

    public void Add(LeniencyCounts other)
    {
        for (var i = 0; i < counts.Length; i++)
        {
            counts[i] += other.counts[i];
        }
    }

    public void Clear() => Array.Clear(counts);

    /// <summary>Becomes a copy.</summary>
    public void Take(LeniencyCounts other) => other.counts.AsSpan().CopyTo(counts);

    public IReadOnlyDictionary<string, long> ToDictionary()
    {
        var result = new Dictionary<string, long>(StringComparer.Ordinal);
        for (var i = 0; i < counts.Length; i++)
        {
            if (counts[i] > 0)
            {
                result.Add(Names[i], counts[i]);
            }
        }

        return result;
    }

    private static string Kebab(string name)
    {
        var text = new StringBuilder();
        foreach (var c in name)
        {
            if (char.IsAsciiLetterUpper(c) && text.Length > 0)
            {
                text.Append('-');
            }

            text.Append(char.ToLowerInvariant(c));
        }

        return text.ToString();
    }
}
