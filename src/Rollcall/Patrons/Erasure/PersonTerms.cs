using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Rollcall.Patrons.Erasure;

/// <summary>What names one person in texts: ids, addresses, the whole name. Found as whole words, case aside.</summary>
internal sealed class PersonTerms
{
    /// <summary>Stands where a person was named.</summary>
    public const string Erased = "(erased)";

    /// <summary>A number of an operation or the like is nobody's barcode.</summary>
    private const string NoNumberOfOurs = @"(?<!\b(?:operation|review|token|patron|district) )";

    private readonly Regex? _pattern;
    private readonly HashSet<string> _whole;

    /// <param name="terms">Found as words of a text.</param>
    /// <param name="whole">Mean the person where they are all of a text: a last name alone is a word of many.</param>
    public PersonTerms(IEnumerable<string?> terms, IEnumerable<string>? whole = null)
    {
        _whole = (whole ?? []).ToHashSet(StringComparer.Ordinal);
        All =
        [
            .. terms
                .OfType<string>()
                .Select(t => t.Trim())
                .Where(t => t.Length >= 3)
                .Distinct(StringComparer.OrdinalIgnoreCase)
                .OrderByDescending(t => t.Length)
                .ThenBy(t => t, StringComparer.Ordinal),
        ];
        if (All.Count > 0)
        {
            // A text may hold JSON, as what a webhook was sent.
            var written = All.SelectMany(Written).Distinct(StringComparer.OrdinalIgnoreCase).OrderByDescending(t => t.Length);
            _pattern = new Regex(
                $@"{NoNumberOfOurs}(?<![\p{{L}}\p{{N}}])(?:{string.Join('|', written.Select(Regex.Escape))})(?![\p{{L}}\p{{N}}])",
                RegexOptions.IgnoreCase | RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture,
                TimeSpan.FromSeconds(10)
            );
        }
    }

    /// <summary>The longest first.</summary>
    public IReadOnlyList<string> All { get; }

    /// <summary>The terms as both databases' <c>lower</c> leaves them (ASCII alone is lowered), as they are and as JSON writes them.</summary>
    public IEnumerable<string> ForSearch => All.SelectMany(Written).Select(Patrons.Text.AsciiLower).Distinct(StringComparer.Ordinal);

    /// <summary>A term as it is and as JSON writes it.</summary>
    private static string[] Written(string term) =>
        [term, System.Text.Encodings.Web.JavaScriptEncoder.Default.Encode(term), Operations.OperationQueue.Json.Encoder!.Encode(term)];

    /// <summary>What means the person where it is all of a text.</summary>
    public IReadOnlyCollection<string> Whole => _whole;

    public bool In(string? text) => text is not null && (_whole.Contains(text) || _pattern?.IsMatch(text) == true);

    /// <summary>The text without the person.</summary>
    public string? Without(string? text) =>
        text is null ? null
        : _whole.Contains(text) ? Erased
        : _pattern?.Replace(text, Erased) ?? text;

    /// <summary>JSON with the person taken out of every text in it; the same string when nobody is named.</summary>
    public string WithoutInJson(string json)
    {
        if (JsonNode.Parse(json) is not { } root)
        {
            return json;
        }

        var changed = false;
        var clean = Clean(root, ref changed);
        return changed ? clean!.ToJsonString(Operations.OperationQueue.Json) : json;
    }

    private JsonNode? Clean(JsonNode? node, ref bool changed)
    {
        switch (node)
        {
            case JsonObject o:
                foreach (var name in o.Select(p => p.Key).ToList())
                {
                    if (In(name))
                    {
                        // A file of findings may be keyed by who they are about.
                        o.Remove(name);
                        changed = true;
                        continue;
                    }

                    Replace(o[name], n => o[name] = n, ref changed);
                }

                return o;
            case JsonArray a:
                for (var i = 0; i < a.Count; i++)
                {
                    var at = i;
                    Replace(a[at], n => a[at] = n, ref changed);
                }

                return a;
            case JsonValue v when v.TryGetValue<string>(out var text) && In(text):
                changed = true;
                return JsonValue.Create(Without(text));
            default:
                return node;
        }

        void Replace(JsonNode? child, Action<JsonNode?> set, ref bool any)
        {
            var next = Clean(child, ref any);
            if (!ReferenceEquals(next, child))
            {
                set(next);
            }
        }
    }
}
