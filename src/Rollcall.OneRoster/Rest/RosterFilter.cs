using System.Globalization;
using System.Text;

namespace Rollcall.OneRoster.Rest;

/// <summary>Writes filters (OneRoster 1.1 §3.4.3): comparisons of a field with a quoted value, joined by AND.</summary>
internal sealed class RosterFilter
{
    private static readonly string[] Predicates = ["=", "!=", ">", ">=", "<", "<=", "~"];
    private readonly StringBuilder text = new();

    /// <summary>The filter as it is before it is encoded.</summary>
    public string Text => text.ToString();

    /// <summary>The filter as it stands in a URL: every byte encoded that is not unreserved, so that a signature covers what is sent.</summary>
    public string Encoded => Uri.EscapeDataString(Text);

    /// <summary>Adds a comparison.</summary>
    /// <param name="field">A field's name, with dots into objects.</param>
    /// <param name="predicate">One of <c>= != &gt; &gt;= &lt; &lt;= ~</c>.</param>
    /// <param name="value">The value. A quotation mark ends it, and OneRoster knows no way to write one inside.</param>
    /// <exception cref="ArgumentException">It cannot be written.</exception>
    public RosterFilter And(string field, string predicate, string value)
    {
        if (field.Length == 0 || !field.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-'))
        {
            throw new ArgumentException("Not the name of a field.", nameof(field));
        }

        if (!Predicates.Contains(predicate, StringComparer.Ordinal))
        {
            throw new ArgumentException("Not a predicate.", nameof(predicate));
        }

        if (!IsWritable(value))
        {
            throw new ArgumentException("A filter's value can hold neither a quotation mark nor a control character.", nameof(value));
        }

        text.Append(text.Length == 0 ? "" : " AND ").Append(field).Append(predicate).Append('\'').Append(value).Append('\'');
        return this;
    }

    /// <inheritdoc cref="And(string, string, string)"/>
    public RosterFilter And(string field, string predicate, DateTimeOffset value) =>
        And(field, predicate, value.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture));

    private static bool IsWritable(string value)
    {
        for (var i = 0; i < value.Length; i++)
        {
            if (char.IsHighSurrogate(value[i]) && i + 1 < value.Length && char.IsLowSurrogate(value[i + 1]))
            {
                i++;
            }
            else if (value[i] == '\'' || char.IsControl(value[i]) || char.IsSurrogate(value[i]))
            {
                return false;
            }
        }

        return true;
    }
}
