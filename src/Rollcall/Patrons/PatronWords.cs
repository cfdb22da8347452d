using System.Globalization;
using System.Text;
using Rollcall.Districts;

namespace Rollcall.Patrons;

/// <summary>A patron in words, as JSON, files and the command line have it: names of the contract, words for status and sex, a site's code.</summary>
public static class PatronWords
{
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

    /// <summary>The header of an export.</summary>
    public static string CsvHeader => string.Join(',', PatronFields.All.Select(f => f.Name));

    /// <summary>A line of an export that can be imported again.</summary>
    public static string CsvLine(Patron patron, IReadOnlyDictionary<int, Site> sites) =>
        string.Join(',', PatronFields.All.Select(f => CsvCell(Value(patron, f, sites))));

    /// <summary>A CSV cell. A text that a spreadsheet would run as a formula gets an apostrophe in front, which spreadsheets hide.</summary>
    public static string CsvCell(string? value)
    {
        if (string.IsNullOrEmpty(value))
        {
            return "";
        }

        var text = value;
        if (text[0] is '=' or '+' or '-' or '@' or '\t' or '\r' && !IsPlainNumber(text))
        {
            text = "'" + text;
        }

        if (text.AsSpan().IndexOfAny("\",\r\n") < 0)
        {
            return text;
        }

        return new StringBuilder(text.Length + 8)
            .Append('"')
            .Append(text.Replace("\"", "\"\"", StringComparison.Ordinal))
            .Append('"')
            .ToString();
    }

    private static bool IsPlainNumber(string text) =>
        decimal.TryParse(text, NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out _);
}
