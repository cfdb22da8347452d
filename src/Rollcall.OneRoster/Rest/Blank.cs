using System.Globalization;

namespace Rollcall.OneRoster.Rest;

/// <summary>What counts as blank: nothing that a person could see.</summary>
internal static class Blank
{
    public static bool Is(ReadOnlySpan<char> text)
    {
        foreach (var c in text)
        {
            if (!IsInvisible(c))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Without what nobody could see before and after it.</summary>
    public static string Trim(string text)
    {
        var (from, to) = (0, text.Length);
        while (from < to && IsInvisible(text[from]))
        {
            from++;
        }

        while (to > from && IsInvisible(text[to - 1]))
        {
            to--;
        }

        return to - from == text.Length ? text : text[from..to];
    }

    private static bool IsInvisible(char c) =>
        char.IsWhiteSpace(c)
        || char.GetUnicodeCategory(c) is UnicodeCategory.Format or UnicodeCategory.Control
        || c is '\u115F' or '\u1160' or '\u2800' or '\u3164' or '\uFFA0' or '\u034F';
}
