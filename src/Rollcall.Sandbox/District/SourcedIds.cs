using System.Globalization;

namespace Rollcall.Sandbox.District;

/// <summary>sourcedIds of people follow from their role and a number.</summary>
internal static class SourcedIds
{
    private const string Alike = "4957_?4957-";

    public static string Of(Role role, int sequence)
    {
        if (role == Role.Student && IsOdd(sequence))
        {
            return Odd(sequence);
        }

        Span<char> text = stackalloc char[Alike.Length + 10];
        Alike.CopyTo(text);
        text[Alike.IndexOf('?', StringComparison.Ordinal)] = Letter(role);
        sequence.TryFormat(text[Alike.Length..], out var digits, "D4", CultureInfo.InvariantCulture);
        return text[..(Alike.Length + digits)].ToString();
    }

    /// <summary>The order of the ids of people of one letter, odd ones aside.</summary>
    public static int CompareAlike(int a, int b) => Digits(a).CompareTo(Digits(b));

    /// <summary>Numbers of all people in the order of their ids.</summary>
    public static int[] Sorted(IEnumerable<Person> people, int count)
    {
        var keys = new ulong[count];
        var numbers = new int[count];
        var alike = 0;
        var odd = new List<(string Id, int Number)>();
        foreach (var person in people)
        {
            var (role, sequence) = (person.Role, person.Sequence);
            if (role == Role.Student && IsOdd(sequence))
            {
                odd.Add((Odd(sequence), person.Number));
            }
            else
            {
                keys[alike] = ((ulong)Letter(role) << 56) | Digits(sequence);
                numbers[alike++] = person.Number;
            }
        }

        Array.Sort(keys, numbers, 0, alike);
        odd.Sort(static (a, b) => string.CompareOrdinal(a.Id, b.Id));

        // From behind, so that each odd one moves what comes after it but once.
        for (var (to, from) = (count - 1, alike - 1); odd.Count > 0; to--)
        {
            var (id, number) = odd[^1];
            if (from >= 0 && string.CompareOrdinal(IdAt(keys[from]), id) > 0)
            {
                numbers[to] = numbers[from--];
            }
            else
            {
                numbers[to] = number;
                odd.RemoveAt(odd.Count - 1);
            }
        }

        return numbers;
    }

    private static char Letter(Role role) =>
        role switch
        {
            Role.Student => 'S',
            Role.Teacher => 'T',
            Role.Aide => 'D',
            Role.Administrator => 'A',
            _ => 'G',
        };

    // Four bits a digit, from the left; the end is less than any digit.
    private static ulong Digits(int sequence)
    {
        Span<char> text = stackalloc char[16];
        sequence.TryFormat(text, out var length, "D4", CultureInfo.InvariantCulture);
        var key = 0UL;
        for (var i = 0; i < length; i++)
        {
            key |= (ulong)(text[i] - '0' + 1) << (52 - (4 * i));
        }

        return key;
    }

    private static string IdAt(ulong key)
    {
        Span<char> digits = stackalloc char[14];
        var length = 0;
        for (var shift = 52; shift >= 0 && ((key >> shift) & 15) is var digit and not 0; shift -= 4)
        {
            digits[length++] = (char)('0' + digit - 1);
        }

        return $"{Alike.Replace('?', (char)(key >> 56))}{digits[..length]}";
    }

    /// <summary>Most ids look alike. Some hold what breaks paths, and one differs from another by case alone.</summary>
    private static bool IsOdd(int sequence) => sequence >= 200 ? sequence % 400 == 0 : sequence % 12 == 0;

    private static string Odd(int sequence) =>
        ((sequence < 200 ? sequence / 12 : sequence / 400) % 7) switch
        {
            0 => $"4957|S|{sequence}",
            1 => $"S/{sequence}",
            2 => $"late entry {sequence}",
            3 => $"50%{sequence}",
            4 => $"élève-{sequence}",
            5 => string.Create(CultureInfo.InvariantCulture, $"4957_s4957-{sequence - 1:D4}"),
            _ => $"{sequence}+a&b=c?#",
        };
}
