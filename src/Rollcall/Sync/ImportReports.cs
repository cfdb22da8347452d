using System.Text.Json;
using System.Text.Json.Nodes;
using Rollcall.Integrations;
using Rollcall.OneRoster.Csv;
using Rollcall.Operations;

namespace Rollcall.Sync;

/// <summary>The import report of each OneRoster CSV package that an operation read, kept among its options.</summary>
public static class ImportReports
{
    private const string Name = "imported";

    /// <summary>The reports in the order in which the packages were laid over each other; none for an operation that read no CSV.</summary>
    public static IReadOnlyList<CsvImportReport> Of(Operation operation)
    {
        ArgumentNullException.ThrowIfNull(operation);
        return JsonNode.Parse(operation.Options) is JsonObject options && options[Name] is JsonArray reports
            ? reports.Deserialize<List<CsvImportReport>>(IntegrationService.Json) ?? []
            : [];
    }

    /// <summary>What an operation was set up with, without the reports, and without whom a preview saw.</summary>
    public static JsonElement OptionsWithout(Operation operation)
    {
        ArgumentNullException.ThrowIfNull(operation);
        var options = JsonNode.Parse(operation.Options);
        (options as JsonObject)?.Remove(Name);
        (options as JsonObject)?.Remove(SeenPeople.Name);
        return JsonSerializer.SerializeToElement(options);
    }

    /// <summary>The operation's options with these reports in place of others.</summary>
    internal static string With(Operation operation, IReadOnlyList<CsvImportReport> reports)
    {
        var options = JsonNode.Parse(operation.Options) as JsonObject ?? [];
        options[Name] = JsonSerializer.SerializeToNode(reports, IntegrationService.Json);
        return options.ToJsonString();
    }

    /// <summary>A report as lines for people: the six fields in their order, the comment's further lines indented.</summary>
    public static IEnumerable<string> Lines(CsvImportReport report)
    {
        ArgumentNullException.ThrowIfNull(report);
        foreach (var (field, value) in Fields(report))
        {
            var lines = value.Split('\n');
            yield return $"{field}: {lines[0]}";
            foreach (var line in lines.Skip(1))
            {
                yield return new string(' ', field.Length + 2) + line;
            }
        }
    }

    /// <summary>The six fields by their names; the comment may have several lines.</summary>
    public static IEnumerable<(string Field, string Value)> Fields(CsvImportReport report)
    {
        ArgumentNullException.ThrowIfNull(report);
        yield return ("Test Identifier", report.TestIdentifier);
        yield return (
            "Test Date",
            report.TestDate.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", System.Globalization.CultureInfo.InvariantCulture)
        );
        yield return ("Status", report.Status);
        yield return ("CSV Files Imported", Files(report.CsvFilesImported));
        yield return ("CSV Files Rejected", Files(report.CsvFilesRejected));
        yield return ("Comment", report.Comment);
    }

    private static string Files(IReadOnlyList<string> files) => files.Count == 0 ? "none" : string.Join(", ", files);
}
