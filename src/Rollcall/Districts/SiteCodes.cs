using Rollcall.Patrons;

namespace Rollcall.Districts;

/// <summary>Codes for sites that are made from the roster's schools.</summary>
internal static class SiteCodes
{
    private const int Longest = 20;

    /// <summary>A <c>sourcedId</c> up to this long is a number that people know the school by, and no key of a database.</summary>
    private const int ShortId = 10;

    /// <summary>
    /// A code that no other site has: the school's own number where it can be a code, else its <c>sourcedId</c> where that is short, else its
    /// name without "School"; with a number behind where that is taken.
    /// </summary>
    /// <param name="taken">Codes that are taken, ignoring case. The proposed one is added.</param>
    public static string Propose(string? identifier, string? name, string sourcedId, HashSet<string> taken)
    {
        var code = Number(identifier, Longest) ?? Number(sourcedId, ShortId) ?? FromWords(name) ?? FromWords(sourcedId) ?? "SITE";
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

    private static string? FromWords(string? text)
    {
        var words = new string([
            .. Text.Fold(text)
                .ToUpperInvariant()
                .Select(c =>
                    char.IsAsciiLetterOrDigit(c) ? c
                    : c is '\'' or '.' ? '\0'
                    : ' '
                ),
        ]).Replace("\0", "", StringComparison.Ordinal).Split(' ', StringSplitOptions.RemoveEmptyEntries).Where(w => w != "SCHOOL");
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
}
