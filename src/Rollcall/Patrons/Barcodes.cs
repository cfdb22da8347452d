using System.Globalization;

namespace Rollcall.Patrons;

/// <summary>What a barcode may be, and how the next one follows.</summary>
public static class Barcodes
{
    public const int MinLength = 3;
    public const int MaxLength = 32;

    /// <summary>Why a barcode cannot be used, in words; null when it can.</summary>
    public static string? Problem(string? barcode)
    {
        if (string.IsNullOrEmpty(barcode))
        {
            return "a barcode is required";
        }

        foreach (var c in barcode)
        {
            if (!(char.IsAsciiLetterOrDigit(c) || c is '-' or '.' or '/'))
            {
                return "a barcode has letters, digits, '-', '.' and '/' only";
            }
        }

        if (IsReserved(barcode))
        {
            return "the numbers 1 to 50 are reserved";
        }

        return barcode.Length switch
        {
            < MinLength => $"a barcode has at least {MinLength} characters",
            > MaxLength => $"a barcode has at most {MaxLength} characters",
            _ => null,
        };
    }

    /// <summary>The barcode after this one: the digits at its end count up and keep their width. Null when it does not end in a
    /// digit or the next one would be too long.</summary>
    public static string? Next(string barcode)
    {
        var digits = barcode.Length;
        while (digits > 0 && char.IsAsciiDigit(barcode[digits - 1]))
        {
            digits--;
        }

        if (digits == barcode.Length)
        {
            return null;
        }

        Span<char> tail = stackalloc char[barcode.Length - digits];
        barcode.AsSpan(digits).CopyTo(tail);
        for (var i = tail.Length - 1; i >= 0; i--)
        {
            if (tail[i] != '9')
            {
                tail[i]++;
                return string.Concat(barcode.AsSpan(0, digits), tail);
            }

            tail[i] = '0';
        }

        return barcode.Length + 1 > MaxLength ? null : string.Concat(barcode.AsSpan(0, digits), "1", tail);
    }

    /// <summary>Where a site's sequence starts when nobody chose: the site's code and a number.</summary>
    public static string FirstFor(string siteCode)
    {
        var prefix = new string([.. siteCode.Where(char.IsAsciiLetterOrDigit).Take(12)]).ToUpperInvariant();
        return prefix + "-00001";
    }

    /// <summary>True when <paramref name="other"/> comes later in the same sequence.</summary>
    public static bool IsLater(string barcode, string other)
    {
        var (prefix, number) = Split(barcode);
        var (otherPrefix, otherNumber) = Split(other);
        return string.Equals(prefix, otherPrefix, StringComparison.OrdinalIgnoreCase)
            && (otherNumber.Length != number.Length ? otherNumber.Length > number.Length : string.CompareOrdinal(otherNumber, number) > 0);
    }

    private static bool IsReserved(string barcode) =>
        barcode.TrimStart('0') is { Length: > 0 and <= 2 } digits
        && int.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
        && number is >= 1 and <= 50;

    private static (string Prefix, string Number) Split(string barcode)
    {
        var digits = barcode.Length;
        while (digits > 0 && char.IsAsciiDigit(barcode[digits - 1]))
        {
            digits--;
        }

        return (barcode[..digits], barcode[digits..].TrimStart('0'));
    }
}
