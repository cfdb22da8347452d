using System.Text;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.Csv;

/// <summary>Single values of a row.</summary>
internal static class CsvValue
{
    private const int LongestDate = 40;

    public static bool TryDay(ReadOnlySpan<char> text, out DateOnly day, out bool strict)
    {
        Span<byte> bytes = stackalloc byte[LongestDate];
        day = default;
        strict = false;
        return TryAscii(text, ref bytes) && Dates.TryDay(bytes, out day, out strict);
    }

    public static bool TryTime(ReadOnlySpan<char> text, out DateTimeOffset time, out bool strict)
    {
        Span<byte> bytes = stackalloc byte[LongestDate];
        time = default;
        strict = false;
        return TryAscii(text, ref bytes) && Dates.TryTime(bytes, out time, out strict);
    }

    public static bool? Boolean(ReadOnlySpan<char> text)
    {
        text = Blank.Trim(text);
        return text is "1"
            || text.Equals("true", StringComparison.OrdinalIgnoreCase)
            || text.Equals("yes", StringComparison.OrdinalIgnoreCase)
                ? true
            : text is "0"
            || text.Equals("false", StringComparison.OrdinalIgnoreCase)
            || text.Equals("no", StringComparison.OrdinalIgnoreCase)
                ? false
            : null;
    }

    /// <summary><c>{type:id},{type:id}</c>. What is not written so is left out and counted.</summary>
    public static IReadOnlyList<UserId> UserIds(ReadOnlySpan<char> text, out int leftOut)
    {
        leftOut = 0;
        var found = new List<UserId>(2);
        text = text.Trim();
        while (!text.IsEmpty)
        {
            var close = text[0] == '{' ? text.IndexOf('}') : -1;
            if (close < 0)
            {
                leftOut++;
                var next = text.IndexOf('{');
                if (next <= 0)
                {
                    break;
                }

                text = text[next..];
                continue;
            }

            var entry = text[1..close];
            var colon = entry.IndexOf(':');
            if (colon <= 0 || entry[..colon].Trim().IsEmpty)
            {
                leftOut++;
            }
            else
            {
                found.Add(new UserId(Blank.Trim(entry[..colon]).ToString(), Blank.Trim(entry[(colon + 1)..]).ToString()));
            }

            text = text[(close + 1)..].TrimStart();
            if (!text.IsEmpty && text[0] == ',')
            {
                text = text[1..].TrimStart();
                if (text.IsEmpty)
                {
                    leftOut++;
                }
            }
            else if (!text.IsEmpty)
            {
                leftOut++;
                var next = text.IndexOf('{');
                text = next < 0 ? default : text[next..];
            }
        }

        return found;
    }

    private static bool TryAscii(ReadOnlySpan<char> text, ref Span<byte> bytes)
    {
        text = Blank.Trim(text);
        if (text.IsEmpty || text.Length > bytes.Length || !Ascii.IsValid(text))
        {
            return false;
        }

        bytes = bytes[..Encoding.ASCII.GetBytes(text, bytes)];
        return true;
    }
}
