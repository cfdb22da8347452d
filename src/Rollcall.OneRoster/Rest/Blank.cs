using System.Globalization;
using System.Text;

namespace Rollcall.OneRoster.Rest;

/// <summary>What counts as blank: nothing that a person could see. Everything that asks this of a text asks it here.</summary>
public static class Blank
{
    /// <summary>Nothing in the text could be seen.</summary>
    public static bool Is(ReadOnlySpan<char> text)
    {
        foreach (var rune in text.EnumerateRunes())
        {
            if (!Is(rune))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Nobody could see it: blanks of every width, controls, marks of direction, joiners, fillers, and what only says how the
    /// character before it looks.</summary>
    public static bool Is(Rune rune) =>
        rune.IsAscii
            ? rune.Value is <= ' ' or 0x7F
            : Rune.GetUnicodeCategory(rune) switch
            {
                UnicodeCategory.Control
                or UnicodeCategory.SpaceSeparator
                or UnicodeCategory.LineSeparator
                or UnicodeCategory.ParagraphSeparator => true,

                // Signs that stand before Arabic and Syriac numbers, and are seen.
                UnicodeCategory.Format => rune.Value
                    is not ((>= 0x0600 and <= 0x0605) or 0x06DD or 0x070F or 0x0890 or 0x0891 or 0x08E2 or 0x110BD or 0x110CD),
                _ => rune.Value is 0x034F or 0x115F or 0x1160 or 0x17B4 or 0x17B5 or 0x2800 or 0x3164 or 0xFFA0 || SaysHow(rune),
            };

    /// <summary>Without what nobody could see before and after it. What says how the last character looks, as of a picture or a flag, stays
    /// with it.</summary>
    public static string Trim(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var (from, to) = (0, text.Length);
        while (from < to && Rune.DecodeFromUtf16(text.AsSpan(from), out var first, out var length) is var _ && Is(first))
        {
            from += length;
        }

        while (to > from && Rune.DecodeLastFromUtf16(text.AsSpan(from, to - from), out var last, out var length) is var _ && Is(last))
        {
            to -= length;
        }

        while (
            to > from && to < text.Length && Rune.DecodeFromUtf16(text.AsSpan(to), out var next, out var length) is var _ && SaysHow(next)
        )
        {
            to += length;
        }

        return to - from == text.Length ? text : text[from..to];
    }

    /// <summary>Without what nobody could see before and after it: for words of a list and for numbers, in which nothing says how a character looks.</summary>
    internal static ReadOnlySpan<char> Trim(ReadOnlySpan<char> text)
    {
        while (!text.IsEmpty && Rune.DecodeFromUtf16(text, out var first, out var length) is var _ && Is(first))
        {
            text = text[length..];
        }

        while (!text.IsEmpty && Rune.DecodeLastFromUtf16(text, out var last, out var length) is var _ && Is(last))
        {
            text = text[..^length];
        }

        return text;
    }

    /// <summary>Says how the character before it looks: selectors of a variant, and the tags that make a flag.</summary>
    private static bool SaysHow(Rune rune) =>
        rune.Value
            is (>= 0xFE00 and <= 0xFE0F)
                or (>= 0x180B and <= 0x180D)
                or 0x180F
                or (>= 0xE0020 and <= 0xE007F)
                or (>= 0xE0100 and <= 0xE01EF);
}
