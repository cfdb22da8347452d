using System.Globalization;
using System.Text;
using Rollcall.OneRoster.Rest;

namespace Rollcall.Patrons;

/// <summary>How texts are cleaned, keyed and folded. One implementation for both databases: neither compares for itself.</summary>
public static class Text
{
    /// <summary>Trimmed and in normal form C; null when nothing visible is left. What cannot be seen stays inside a text: joiners and marks of
    /// direction say how names are written.</summary>
    public static string? Clean(string? value)
    {
        if (value is null || Blank.Trim(value) is not { Length: > 0 } trimmed)
        {
            return null;
        }

        return Ascii.IsValid(trimmed) && !HasControl(trimmed) ? trimmed : UnicodeForms.Compose(Sanitise(trimmed));
    }

    /// <summary>As <see cref="Clean"/>, and nothing inside it that cannot be seen, but blanks between words: a number, a barcode or an address
    /// that looks the same is the same.</summary>
    public static string? CleanKey(string? value)
    {
        var clean = Clean(value);
        if (clean is null || Ascii.IsValid(clean))
        {
            return clean;
        }

        var builder = new StringBuilder(clean.Length);
        foreach (var rune in clean.EnumerateRunes())
        {
            if (!IsUnseen(rune))
            {
                builder.Append(rune);
            }
        }

        return builder.Length == clean.Length ? clean : builder.ToString();
    }

    /// <summary>As <see cref="Clean"/>, but ends of lines stay, as <c>\n</c>.</summary>
    public static string? CleanLines(string? value)
    {
        if (value is null || value.AsSpan().IndexOfAny('\r', '\n') < 0)
        {
            return Clean(value);
        }

        var lines = value.Replace("\r\n", "\n", StringComparison.Ordinal).Split('\n', '\r').Select(l => Clean(l) ?? "").ToList();
        var (first, last) = (lines.FindIndex(l => l.Length > 0), lines.FindLastIndex(l => l.Length > 0));
        return first < 0 ? null : string.Join('\n', lines.Skip(first).Take(last - first + 1));
    }

    /// <summary>At most <paramref name="length"/> UTF-16 units, never cutting a character in two.</summary>
    public static string Cut(string value, int length)
    {
        var end = 0;
        while (length-- > 0 && end < value.Length)
        {
            end += end + 1 < value.Length && char.IsSurrogatePair(value[end], value[end + 1]) ? 2 : 1;
        }

        return value[..end];
    }

    /// <summary>Has more characters of Unicode than this.</summary>
    public static bool IsLonger(string value, int length) => value.Length > length && Cut(value, length).Length < value.Length;

    /// <summary>What a search looks for: each of these somewhere, in whatever order people write a name, with a comma or without.</summary>
    /// <returns>Folded; none where nothing can be seen. At most ten, so that no search is without end.</returns>
    public static IReadOnlyList<string> Words(string search) =>
        [
            .. Fold(search)
                .Split([' ', ',', '\t', '\n'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
                .Distinct()
                .Take(10),
        ];

    /// <summary>Case and accents aside, for names and search.</summary>
    public static string Fold(string? value)
    {
        if (string.IsNullOrEmpty(value))
        {
            return "";
        }

        if (Ascii.IsValid(value))
        {
            return value.ToLowerInvariant();
        }

        var builder = new StringBuilder(value.Length);
        foreach (var rune in UnicodeForms.Decompose(value).EnumerateRunes())
        {
            if (Rune.GetUnicodeCategory(rune) is UnicodeCategory.NonSpacingMark or UnicodeCategory.Format || IsUnseen(rune))
            {
                continue;
            }

            // Letters that Unicode does not decompose but people write without.
            switch (rune.Value)
            {
                case 'ł' or 'Ł':
                    builder.Append('l');
                    break;
                case 'ø' or 'Ø':
                    builder.Append('o');
                    break;
                case 'đ' or 'Đ' or 'ð' or 'Ð':
                    builder.Append('d');
                    break;
                case 'ı':
                    builder.Append('i');
                    break;
                case 'ß':
                    builder.Append("ss");
                    break;
                case 'æ' or 'Æ':
                    builder.Append("ae");
                    break;
                case 'œ' or 'Œ':
                    builder.Append("oe");
                    break;
                case 0x2019 or 0x02BC or 0x2018:
                    builder.Append('\'');
                    break;
                default:
                    builder.Append(Rune.ToLowerInvariant(rune).ToString());
                    break;
            }
        }

        return builder.ToString();
    }

    /// <summary>Key of a name for matching: folded, cleaned; null when blank.</summary>
    public static string? NameKey(string? value) => Clean(value) is { } clean ? Fold(clean) : null;

    /// <summary>Key of an e-mail address: cleaned, case aside; null when blank.</summary>
    public static string? EmailKey(string? value) => CleanKey(value)?.ToLowerInvariant();

    /// <summary>Key of a barcode: case aside.</summary>
    public static string BarcodeKey(string value) => value.ToLowerInvariant();

    /// <summary>As both databases' <c>lower</c> leaves a text: ASCII alone is lowered.</summary>
    internal static string AsciiLower(string text)
    {
        var builder = new StringBuilder(text.Length);
        foreach (var c in text)
        {
            builder.Append(char.IsAsciiLetterUpper(c) ? (char)(c | 0x20) : c);
        }

        return builder.ToString();
    }

    /// <summary>The ways in which a text that is searched for may stand in a column that both databases' <c>lower</c> has lowered: those write more
    /// than ASCII as it is.</summary>
    /// <param name="search">As typed.</param>
    /// <param name="asStored">How the column writes a text; null when it writes it as it is.</param>
    internal static SearchedText Searched(string search, Func<string, string>? asStored = null)
    {
        var title = CultureInfo.InvariantCulture.TextInfo.ToTitleCase(search.ToLowerInvariant());
        string[] ways =
        [
            .. new[] { search, search.ToLowerInvariant(), search.ToUpperInvariant(), title, Fold(search) }
                .Select(w => AsciiLower(asStored is null ? w : asStored(w)))
                .Distinct(StringComparer.Ordinal),
        ];
        string Way(int at) => ways[Math.Min(at, ways.Length - 1)];
        return new SearchedText(Way(0), Way(1), Way(2), Way(3), Way(4), ways.Length > 1);
    }

    /// <summary>Cannot be seen, and does not part words either.</summary>
    private static bool IsUnseen(Rune rune) => Blank.Is(rune) && !Rune.IsWhiteSpace(rune) && !Rune.IsControl(rune);

    private static bool HasControl(string value)
    {
        foreach (var c in value)
        {
            if (c is < ' ' or '\u007f')
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Control characters become blanks, lone surrogates U+FFFD: both would end a batch on PostgreSQL or break a log line.</summary>
    private static string Sanitise(string value)
    {
        var builder = new StringBuilder(value.Length);
        for (var i = 0; i < value.Length; i++)
        {
            var c = value[i];
            if (char.IsControl(c))
            {
                builder.Append(' ');
            }
            else if (char.IsHighSurrogate(c) && i + 1 < value.Length && char.IsLowSurrogate(value[i + 1]))
            {
                builder.Append(c).Append(value[++i]);
            }
            else
            {
                builder.Append(char.IsSurrogate(c) ? '\uFFFD' : c);
            }
        }

        return builder.ToString();
    }
}

/// <summary>One text in the ways in which a column may have it.</summary>
/// <param name="One">The only one, where there is one alone.</param>
/// <param name="Two">Another, or one of the others once more.</param>
/// <param name="Three">Another.</param>
/// <param name="Four">Another.</param>
/// <param name="Five">Another.</param>
/// <param name="Several">There are more than <paramref name="One"/>.</param>
internal sealed record SearchedText(string One, string Two, string Three, string Four, string Five, bool Several);
