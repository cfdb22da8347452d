using System.Text;
using Rollcall.OneRoster.Model;

namespace Rollcall.OneRoster.Rest;

/// <summary>The words of an enumeration in every way in which they are written, the same for servers and for files.</summary>
internal static class Words
{
    /// <summary>What a word begins with that is no one's but the sender's (1.2).</summary>
    public const string Extension = "ext:";

    /// <summary>Case, dashes, underscores and what nobody could see do not count.</summary>
    /// <returns><see langword="null"/> for a word that nobody knows, and for none.</returns>
    public static RecordStatus? Status(ReadOnlySpan<char> text)
    {
        Span<char> kept = stackalloc char[16];
        var length = 0;
        foreach (var c in text)
        {
            if (c is '-' or '_' || (Rune.TryCreate(c, out var rune) && Blank.Is(rune)))
            {
                continue;
            }

            if (length == kept.Length)
            {
                return null;
            }

            kept[length++] = char.ToLowerInvariant(c);
        }

        return kept[..length] switch
        {
            "active" => RecordStatus.Active,
            "tobedeleted" or "inactive" or "deleted" => RecordStatus.ToBeDeleted,
            _ => null,
        };
    }

    /// <summary>The word of OneRoster for a sex; case and what nobody could see around it do not count.</summary>
    /// <returns><see langword="null"/> for a word that nobody knows, and for none.</returns>
    public static string? Sex(ReadOnlySpan<char> text)
    {
        text = Blank.Trim(text);
        Span<char> lower = stackalloc char[16];
        return text.StartsWith(Extension, StringComparison.OrdinalIgnoreCase) ? "other"
            : text.Length > lower.Length ? null
            : lower[..text.ToLowerInvariant(lower)] switch
            {
                "male" or "m" => "male",
                "female" or "f" => "female",
                "other" or "o" or "x" => "other",
                "unspecified" or "u" => "unspecified",
                _ => null,
            };
    }
}
