using Rollcall.Patrons;

namespace Rollcall.Districts;

/// <summary>Codes for sites that are made from the roster's schools.</summary>
internal static class SiteCodes
{
    private const int Longest = 20;

    /// <summary>
    /// A code that no other site has: the school's own number where it can be a code, else its name without "School", else its
    /// <c>sourcedId</c>; with a number behind where that is taken.
    /// </summary>
    /// <param name="taken">Codes that are taken, ignoring case. The proposed one is added.</param>
    public static string Propose(string? identifier, string? name, string sourcedId, HashSet<string> taken)
    {
        var number = Text.Clean(identifier);
        var code =
            number is { Length: <= Longest } && number.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.')
                ? number.ToUpperInvariant()
                : FromWords(name) ?? FromWords(sourcedId) ?? "SITE";
        var proposed = code;
        for (var n = 2; !taken.Add(proposed); n++)
        {
            proposed = $"{code}-{n}";
        }

        return proposed;
    }

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
        var code = string.Join('-', words);
        code = code[..Math.Min(code.Length, Longest)].TrimEnd('-');
        return code.Length == 0 ? null : code;
    }
}
