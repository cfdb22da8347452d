using Rollcall.Patrons;

namespace Rollcall.Districts;

/// <summary>Codes for sites that are made from the roster's schools.</summary>
internal static class SiteCodes
{
    private const int Longest = 20;

    /// <summary>A <c>sourcedId</c> up to this long is a number that people know the school by, and no key of a database.</summary>
    private const int ShortId = 10;

    /// <summary>
    /// A code that no other site has: the school's own where that has a letter, else its <c>sourcedId</c> where that has one and is short, else the
    /// initials of its name, or the name where it is one word, else a number of it; with a number behind where that is taken. A code is for good,
    /// and a bare number says nothing to those who read it.
    /// </summary>
    /// <param name="taken">Codes that are taken, ignoring case. The proposed one is added.</param>
    public static string Propose(string? identifier, string? name, string sourcedId, HashSet<string> taken)
    {
        var code =
            Lettered(Number(identifier, Longest))
            ?? Lettered(Number(sourcedId, ShortId))
            ?? Initials(name)
            ?? FromWords(name)
            ?? Number(identifier, Longest)
            ?? Number(sourcedId, ShortId)
            ?? FromWords(sourcedId)
            ?? "SITE";
        var proposed = code;
        for (var n = 2; !taken.Add(proposed); n++)
        {
            proposed = $"{code}-{n}";
        }

        return proposed;
    }

    private static string? Number(string? text, int longest) =>
        Text.Clean(text) is { } number
        && number.Length <= longest
        && number.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.')
            ? number.ToUpperInvariant()
            : null;

    private static string? Lettered(string? code) => code is not null && code.Any(char.IsAsciiLetter) ? code : null;

    /// <summary>CRMS of Cedar Ridge Middle School; null of a name of one word.</summary>
    private static string? Initials(string? name)
    {
        var words = WordsOf(name).Where(w => w is not ("OF" or "THE" or "AND" or "FOR")).ToArray();
        return words.Length < 2 || words.All(w => w == "SCHOOL" || char.IsAsciiDigit(w[0]))
            ? null
            : Text.Cut(string.Concat(words.Select(w => char.IsAsciiDigit(w[0]) ? w : w[..1])), ShortId);
    }

    private static string? FromWords(string? text)
    {
        var words = WordsOf(text).Where(w => w != "SCHOOL");
        var code = "";
        foreach (var word in words)
        {
            // A word that is cut says nothing; a single long one has to be.
            if (code.Length == 0)
            {
                code = word[..Math.Min(word.Length, Longest)];
            }
            else if (code.Length + 1 + word.Length <= Longest)
            {
                code += "-" + word;
            }
            else
            {
                break;
            }
        }

        return code.Length == 0 ? null : code;
    }

    private static string[] WordsOf(string? text) => new string([
            .. Text.Fold(text)
                .ToUpperInvariant()
                .Select(c =>
                    char.IsAsciiLetterOrDigit(c) ? c
                    : c is '\'' or '.' ? '\0'
                    : ' '
                ),
        ]).Replace("\0", "", StringComparison.Ordinal).Split(' ', StringSplitOptions.RemoveEmptyEntries);
}
