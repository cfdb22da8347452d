using System.Collections.Frozen;
using System.Globalization;
using System.Text;

namespace Rollcall.Patrons;

/// <summary>Unicode normal forms (UAX #15). The program runs without the machine's culture data, so that it behaves the same everywhere
/// and needs nothing installed; the runtime then leaves every text as it is. So the forms are computed here, from a table of its own.</summary>
internal static class UnicodeForms
{
    private const int HangulBase = 0xAC00;
    private const int LeadBase = 0x1100;
    private const int VowelBase = 0x1161;
    private const int TailBase = 0x11A7;
    private const int Vowels = 21;
    private const int Tails = 28;
    private const int Syllables = 11172;

    private static readonly Tables s_tables = Read();

    /// <summary>Composed, canonical: NFC.</summary>
    public static string Compose(string text)
    {
        // Below U+0300 nothing combines and nothing decomposes for good.
        return text.AsSpan().IndexOfAnyExceptInRange('\0', '\u02FF') < 0 ? text : Text(Joined(Decomposed(text, s_tables.Canonical)));
    }

    /// <summary>Decomposed for compatibility: NFKD.</summary>
    public static string Decompose(string text) => Ascii.IsValid(text) ? text : Text(Decomposed(text, s_tables.Compatible));

    private static string Text(List<Rune> runes)
    {
        var builder = new StringBuilder(runes.Count + 8);
        foreach (var rune in runes)
        {
            builder.Append(rune.ToString());
        }

        return builder.ToString();
    }

    private static List<Rune> Decomposed(string text, FrozenDictionary<int, Rune[]> parts)
    {
        var runes = new List<Rune>(text.Length + 8);
        foreach (var rune in text.EnumerateRunes())
        {
            var syllable = rune.Value - HangulBase;
            if (syllable is >= 0 and < Syllables)
            {
                runes.Add(new Rune(LeadBase + (syllable / (Vowels * Tails))));
                runes.Add(new Rune(VowelBase + (syllable % (Vowels * Tails) / Tails)));
                if (syllable % Tails > 0)
                {
                    runes.Add(new Rune(TailBase + (syllable % Tails)));
                }
            }
            else if (parts.TryGetValue(rune.Value, out var several))
            {
                runes.AddRange(several);
            }
            else
            {
                runes.Add(rune);
            }
        }

        // Marks on one letter stand in the order of their classes; those of one class keep theirs.
        for (var i = 1; i < runes.Count; i++)
        {
            var mark = runes[i];
            var order = s_tables.Class(mark);
            var at = i;
            while (order > 0 && at > 0 && s_tables.Class(runes[at - 1]) > order)
            {
                runes[at] = runes[at - 1];
                at--;
            }

            runes[at] = mark;
        }

        return runes;
    }

    private static List<Rune> Joined(List<Rune> runes)
    {
        var joined = new List<Rune>(runes.Count);
        var starter = -1;
        foreach (var rune in runes)
        {
            var order = s_tables.Class(rune);
            if (starter >= 0)
            {
                // What stands between with the same class or a higher one keeps the two apart.
                var last = joined.Count - 1 > starter ? s_tables.Class(joined[^1]) : -1;
                if ((last < order || last == -1) && Pair(joined[starter], rune) is { } one)
                {
                    joined[starter] = one;
                    continue;
                }
            }

            joined.Add(rune);
            if (order == 0)
            {
                starter = joined.Count - 1;
            }
        }

        return joined;
    }

    private static Rune? Pair(Rune first, Rune second)
    {
        var lead = first.Value - LeadBase;
        var vowel = second.Value - VowelBase;
        if (lead is >= 0 and < 19 && vowel is >= 0 and < Vowels)
        {
            return new Rune(HangulBase + (((lead * Vowels) + vowel) * Tails));
        }

        var syllable = first.Value - HangulBase;
        var tail = second.Value - TailBase;
        return syllable is >= 0 and < Syllables && syllable % Tails == 0 && tail is > 0 and < Tails ? new Rune(first.Value + tail)
            : s_tables.Pairs.TryGetValue(((ulong)first.Value << 32) | (uint)second.Value, out var one) ? one
            : null;
    }

    private static Tables Read()
    {
        using var stream = typeof(UnicodeForms).Assembly.GetManifestResourceStream("UnicodeForms.txt")!;
        using var reader = new StreamReader(stream, Encoding.ASCII);
        var canonical = new Dictionary<int, Rune[]>();
        var compatible = new Dictionary<int, Rune[]>();
        var pairs = new Dictionary<ulong, Rune>();
        var classes = new Dictionary<int, int>();
        while (reader.ReadLine() is { } line)
        {
            if (line[0] == '#')
            {
                continue;
            }

            var words = line.Split(' ');
            var code = Hex(words[1]);
            switch (line[0])
            {
                case 'c':
                    canonical[code] = [.. words.Skip(2).Select(w => new Rune(Hex(w)))];
                    break;
                case 'k':
                    compatible[code] = [.. words.Skip(2).Select(w => new Rune(Hex(w)))];
                    break;
                case 'p':
                    pairs[((ulong)Hex(words[2]) << 32) | (uint)Hex(words[3])] = new Rune(code);
                    break;
                default:
                    classes[code] = int.Parse(words[2], CultureInfo.InvariantCulture);
                    break;
            }
        }

        foreach (var (code, parts) in canonical)
        {
            compatible.TryAdd(code, parts);
        }

        return new Tables(
            canonical.ToFrozenDictionary(),
            compatible.ToFrozenDictionary(),
            pairs.ToFrozenDictionary(),
            classes.ToFrozenDictionary()
        );
    }

    private static int Hex(string text) => int.Parse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);

    private sealed record Tables(
        FrozenDictionary<int, Rune[]> Canonical,
        FrozenDictionary<int, Rune[]> Compatible,
        FrozenDictionary<ulong, Rune> Pairs,
        FrozenDictionary<int, int> Classes
    )
    {
        /// <summary>0 for what others combine with.</summary>
        public int Class(Rune rune) => rune.Value < 0x300 ? 0 : Classes.GetValueOrDefault(rune.Value);
    }
}
