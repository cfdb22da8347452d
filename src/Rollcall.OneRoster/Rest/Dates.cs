namespace Rollcall.OneRoster.Rest;

/// <summary>Reads dates as providers write them. ISO 8601 first; month before day where slashes leave it open, since the providers
/// that write slashes are American.</summary>
internal static class Dates
{
    /// <summary>A calendar day. A time after it is ignored: the day that is written is the day that is meant.</summary>
    public static bool TryDay(ReadOnlySpan<byte> text, out DateOnly day, out bool strict)
    {
        text = Trim(text);
        strict = text.Length == 10 && text[4] == '-' && text[7] == '-';
        return TryDayPrefix(text, out day, out var length)
            && (length == text.Length || text[length] is (byte)'T' or (byte)'t' or (byte)' ');
    }

    /// <summary>A point in time, in UTC. Without a zone it is taken as UTC; a day alone is its first moment.</summary>
    public static bool TryTime(ReadOnlySpan<byte> text, out DateTimeOffset time, out bool strict)
    {
        time = default;
        strict = false;
        text = Trim(text);
        if (!TryDayPrefix(text, out var day, out var at))
        {
            return false;
        }

        var ticks = day.DayNumber * TimeSpan.TicksPerDay;
        if (at == text.Length)
        {
            time = new DateTimeOffset(ticks, TimeSpan.Zero);
            return true;
        }

        strict = text[at] == 'T' && text[4] == '-';
        if (text[at] is not ((byte)'T' or (byte)'t' or (byte)' '))
        {
            return false;
        }

        at++;
        if (
            !TryNumber(text, ref at, 1, 2, out var hour)
            || hour > 24
            || !Eat(text, ref at, ':')
            || !TryNumber(text, ref at, 2, 2, out var minute)
            || minute > 59
        )
        {
            return false;
        }

        ticks += (hour * TimeSpan.TicksPerHour) + (minute * TimeSpan.TicksPerMinute);
        if (Eat(text, ref at, ':'))
        {
            if (!TryNumber(text, ref at, 2, 2, out var second) || second > 60)
            {
                return false;
            }

            ticks += second * TimeSpan.TicksPerSecond;
            if (Eat(text, ref at, '.') || Eat(text, ref at, ','))
            {
                var unit = TimeSpan.TicksPerSecond;
                var digits = 0;
                for (; at < text.Length && text[at] is >= (byte)'0' and <= (byte)'9'; at++, digits++)
                {
                    unit /= 10;
                    ticks += (text[at] - '0') * unit;
                }

                if (digits == 0)
                {
                    return false;
                }
            }
        }

        if (at == text.Length)
        {
            strict = false;
        }
        else if (text[at] is (byte)'Z' or (byte)'z')
        {
            at++;
        }
        else if (text[at] is (byte)'+' or (byte)'-')
        {
            var sign = text[at++] == '+' ? 1 : -1;
            var start = at;
            if (!TryNumber(text, ref at, 1, 2, out var zoneHours) || zoneHours > 14)
            {
                return false;
            }

            strict &= at - start == 2;
            var zoneMinutes = 0;
            Eat(text, ref at, ':');
            if (at < text.Length && (!TryNumber(text, ref at, 2, 2, out zoneMinutes) || zoneMinutes > 59))
            {
                return false;
            }

            ticks -= sign * ((zoneHours * TimeSpan.TicksPerHour) + (zoneMinutes * TimeSpan.TicksPerMinute));
        }

        if (at != text.Length || ticks < 0 || ticks > DateTime.MaxValue.Ticks)
        {
            return false;
        }

        time = new DateTimeOffset(ticks, TimeSpan.Zero);
        return true;
    }

    private static bool TryDayPrefix(ReadOnlySpan<byte> text, out DateOnly day, out int length)
    {
        day = default;
        length = 0;
        if (!TryNumber(text, ref length, 1, 8, out var first))
        {
            return false;
        }

        int year,
            month,
            dayOfMonth;
        if (length == 8)
        {
            (year, month, dayOfMonth) = (first / 10000, first / 100 % 100, first % 100);
        }
        else
        {
            var leading = length;
            if (length >= text.Length || text[length] is not ((byte)'-' or (byte)'/' or (byte)'.'))
            {
                return false;
            }

            var separator = (char)text[length++];
            if (
                !TryNumber(text, ref length, 1, 2, out var second)
                || !Eat(text, ref length, separator)
                || !TryNumber(text, ref length, 1, 4, out var third)
            )
            {
                return false;
            }

            if (leading == 4)
            {
                (year, month, dayOfMonth) = (first, second, third);
            }
            else if (leading <= 2 && separator != '-')
            {
                // 13/05/2023 can only be day first; a dot is never American.
                (year, month, dayOfMonth) = separator == '.' || first > 12 ? (third, second, first) : (third, first, second);
            }
            else
            {
                return false;
            }
        }

        // 0001-01-01 is what some systems write for "none".
        if (year is < 1000 or > 9999 || month is < 1 or > 12 || dayOfMonth < 1 || dayOfMonth > DateTime.DaysInMonth(year, month))
        {
            return false;
        }

        day = new DateOnly(year, month, dayOfMonth);
        return true;
    }

    private static bool TryNumber(ReadOnlySpan<byte> text, ref int at, int least, int most, out int value)
    {
        value = 0;
        var start = at;
        for (; at < text.Length && at - start < most && text[at] is >= (byte)'0' and <= (byte)'9'; at++)
        {
            value = (value * 10) + (text[at] - '0');
        }

        return at - start >= least;
    }

    private static bool Eat(ReadOnlySpan<byte> text, ref int at, char expected)
    {
        if (at < text.Length && text[at] == expected)
        {
            at++;
            return true;
        }

        return false;
    }

    private static ReadOnlySpan<byte> Trim(ReadOnlySpan<byte> text) => text.Trim(" \t\r\n"u8);
}
