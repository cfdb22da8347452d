using System.Globalization;
using System.Text.Json.Nodes;

namespace Rollcall.Operations;

/// <summary>That a sync failed since a folder of CSV has brought nothing new for long, kept among its options. A folder that rests for a summer is
/// nothing to be mended here: whoever heard of it once has heard of it, and the night after the next package syncs.</summary>
internal static class StaleFeed
{
    private const string Name = "nothingSince";

    /// <summary>When something last came; null for an operation that did not fail for that.</summary>
    public static DateTimeOffset? Since(string options) =>
        JsonNode.Parse(options) is JsonObject all && all[Name] is JsonValue since
            ? DateTimeOffset.Parse(since.GetValue<string>(), CultureInfo.InvariantCulture)
            : null;

    /// <summary>The options with that; without it where it is null.</summary>
    public static string With(string options, DateTimeOffset? since)
    {
        var all = JsonNode.Parse(options) as JsonObject ?? [];
        all.Remove(Name);
        if (since is { } last)
        {
            all[Name] = last.ToString("O", CultureInfo.InvariantCulture);
        }

        return all.ToJsonString();
    }
}
