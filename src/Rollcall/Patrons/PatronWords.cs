using System.Globalization;
using System.Text;
using Rollcall.Districts;

namespace Rollcall.Patrons;

/// <summary>A patron in words, as JSON, files and the command line have it: names of the contract, words for status and sex, a site's code.</summary>
public static class PatronWords
{
    private static readonly System.Buffers.SearchValues<char> s_quoted = System.Buffers.SearchValues.Create("\",;\t\r\n");

    /// <summary>Field name → value, in the order of the contract; empty values are null.</summary>
    public static Dictionary<string, object?> Of(Patron patron, IReadOnlyDictionary<int, Site> sites)
    {
        var words = new Dictionary<string, object?>(StringComparer.Ordinal);
        foreach (var field in PatronFields.All)
        {
            words[field.Name] = field.Number == PatronFields.DoNotTransfer ? patron.DoNotTransfer : Value(patron, field, sites);
        }

        return words;
    }

    /// <summary>One field in words; null when empty.</summary>
    public static string? Value(Patron patron, PatronField field, IReadOnlyDictionary<int, Site> sites) =>
        field.Number switch
        {
            PatronFields.Status => PatronFields.StatusWord(patron.Status),
            PatronFields.Group => PatronFields.GroupWord(patron.Group),
            PatronFields.Sex => PatronFields.SexWord(patron.Sex),
            PatronFields.Site => patron.SiteId is { } id ? sites.GetValueOrDefault(id)?.Code : null,
            _ => field.Get(patron),
        };

    /// <summary>The header of an export, as programs read it.</summary>
    public static string CsvHeader => string.Join(',', PatronFields.All.Select(f => f.Name));

    /// <summary>The header of an export for people: fields as screens call them. An import reads both.</summary>
    public static string CsvLabels => string.Join(',', PatronFields.All.Select(f => CsvCell(f.Label)));

    /// <summary>A line of an export that can be imported again.</summary>
    public static string CsvLine(Patron patron, IReadOnlyDictionary<int, Site> sites) =>
        string.Join(',', PatronFields.All.Select(f => CsvCell(Value(patron, f, sites))));

    /// <summary>A CSV cell. A text that a spreadsheet would run as a formula gets an apostrophe in front; <see cref="Unguard"/> takes it off.</summary>
    public static string CsvCell(string? value)
    {
        if (string.IsNullOrEmpty(value))
        {
            return "";
        }

        var text = NeedsGuard(value) ? "'" + value : value;
        if (text.AsSpan().IndexOfAny(s_quoted) < 0)
        {
            return text;
        }

        return new StringBuilder(text.Length + 8)
            .Append('"')
            .Append(text.Replace("\"", "\"\"", StringComparison.Ordinal))
            .Append('"')
            .ToString();
    }

    /// <summary>Takes off the apostrophe that <see cref="CsvCell"/> put in front: what was exported comes back as it was.</summary>
    public static string Unguard(string cell) => cell.StartsWith('\'') && NeedsGuard(cell.AsSpan(1)) ? cell[1..] : cell;

    /// <summary>Apostrophes before the formula count as part of it: a text that has one of its own gets a second, so that one is left.</summary>
    private static bool NeedsGuard(ReadOnlySpan<char> text)
    {
        var bare = text.TrimStart('\'');
        return bare.Length > 0
            && bare[0] is '=' or '+' or '-' or '@' or '\t' or '\r' or '\uFF1D' or '\uFF0B' or '\uFF0D' or '\uFF20'
            && !decimal.TryParse(bare, NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out _);
    }
}
