using System.Globalization;

namespace Rollcall.Sandbox.Serving;

/// <summary>
/// A filter of OneRoster: comparisons joined by AND and OR, AND first, no parentheses. Texts compare without regard to case;
/// on lists a comma list means "all of" with = and "any of" with ~.
/// </summary>
internal sealed class Filter
{
    private static readonly string[] Operators = ["!=", ">=", "<=", "=", ">", "<", "~"];
    private readonly List<List<Comparison>> _any = [];

    private Filter() { }

    /// <summary>Null and a reason if the text is no filter.</summary>
    public static Filter? Parse(string text, out string error)
    {
        var filter = new Filter();
        error = "";
        foreach (var alternative in Split(text, "OR"))
        {
            var all = new List<Comparison>();
            foreach (var part in Split(alternative, "AND"))
            {
                if (Comparison.Parse(part.Trim()) is not { } comparison)
                {
                    error = $"'{part.Trim()}' is no comparison";
                    return null;
                }

                all.Add(comparison);
            }

            filter._any.Add(all);
        }

        return filter;
    }

    public IEnumerable<string> Paths => _any.SelectMany(all => all).Select(comparison => comparison.Path);

    public bool Matches(Row row, RowReader reader, List<string> scratch)
    {
        foreach (var all in _any)
        {
            var matches = true;
            foreach (var comparison in all)
            {
                if (!comparison.Matches(row, reader, scratch))
                {
                    matches = false;
                    break;
                }
            }

            if (matches)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>One comparison over the values that a path gives; for the tests of meaning.</summary>
    internal static bool Holds(string text, Func<string, string[]> values) =>
        Parse(text, out _) is { } filter
        && filter._any.Exists(all => all.TrueForAll(comparison => comparison.Holds([.. values(comparison.Path)])));

    private static List<string> Split(string text, string word)
    {
        var parts = new List<string>();
        var quoted = false;
        var start = 0;
        for (var i = 0; i < text.Length; i++)
        {
            if (text[i] == '\'')
            {
                quoted = !quoted;
            }
            else if (
                !quoted
                && text[i] == ' '
                && string.Compare(text, i + 1, word, 0, word.Length, StringComparison.OrdinalIgnoreCase) == 0
                && i + 1 + word.Length < text.Length
                && text[i + 1 + word.Length] == ' '
            )
            {
                parts.Add(text[start..i]);
                start = i + 1 + word.Length;
                i = start - 1;
            }
        }

        parts.Add(text[start..]);
        return parts;
    }

    private sealed class Comparison(string path, string predicate, string value)
    {
        private readonly DateTime? _time = RowReader.TryTime(value, out var time) ? time : null;
        private readonly string[] _items = [.. value.Split(',').Select(item => item.Trim())];
        private readonly bool _modified = string.Equals(path, "dateLastModified", StringComparison.OrdinalIgnoreCase);

        public string Path => path;

        public static Comparison? Parse(string text)
        {
            var end = text.IndexOfAny(['!', '=', '<', '>', '~']);
            if (end <= 0)
            {
                return null;
            }

            var predicate = Array.Find(Operators, o => string.CompareOrdinal(text, end, o, 0, o.Length) == 0);
            if (predicate is null)
            {
                return null;
            }

            var value = text[(end + predicate.Length)..].Trim();
            var quotes = value.Count(c => c == '\'');
            if (quotes != 0)
            {
                if (quotes < 2 || value[0] != '\'' || value[^1] != '\'')
                {
                    return null;
                }

                value = value[1..^1];
            }

            var path = text[..end].Trim();
            return path.Contains(' ', StringComparison.Ordinal) ? null : new Comparison(path, predicate, value);
        }

        public bool Matches(Row row, RowReader reader, List<string> scratch)
        {
            if (_modified && _time is { } bound && predicate != "~")
            {
                return reader.Modified(row) is { } time && Decide(time.CompareTo(bound));
            }

            reader.Values(row, path, scratch);
            return Holds(scratch);
        }

        public bool Holds(List<string> values) =>
            predicate switch
            {
                "!=" => !Equal(values),
                "=" => Equal(values),
                "~" => values.Exists(v =>
                    v.Contains(value, StringComparison.OrdinalIgnoreCase) || Array.Exists(_items, item => Same(v, item))
                ),
                _ => values.Exists(v => Decide(Compare(v))),
            };

        private bool Equal(List<string> values) =>
            values.Exists(v => Same(v, value))
            || (_items.Length > 1 && Array.TrueForAll(_items, item => values.Exists(v => Same(v, item))));

        private bool Same(string actual, string wanted) =>
            string.Equals(actual, wanted, StringComparison.OrdinalIgnoreCase)
            || (_time is { } time && RowReader.TryTime(actual, out var other) && other == time);

        private int Compare(string actual)
        {
            if (_time is { } time && RowReader.TryTime(actual, out var other))
            {
                return other.CompareTo(time);
            }

            return
                decimal.TryParse(actual, NumberStyles.Number, CultureInfo.InvariantCulture, out var left)
                && decimal.TryParse(value, NumberStyles.Number, CultureInfo.InvariantCulture, out var right)
                ? left.CompareTo(right)
                : string.Compare(actual, value, StringComparison.OrdinalIgnoreCase);
        }

        private bool Decide(int order) =>
            predicate switch
            {
                ">" => order > 0,
                ">=" => order >= 0,
                "<" => order < 0,
                "<=" => order <= 0,
                "=" => order == 0,
                _ => order != 0,
            };
    }
}
