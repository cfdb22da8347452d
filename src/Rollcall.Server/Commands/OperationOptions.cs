using System.Text.Json;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;

namespace Rollcall.Server.Commands;

/// <summary>How an operation was set up, in words.</summary>
internal static class OperationOptions
{
    private static readonly int[] s_mapped = [PatronFields.Barcode, PatronFields.CommunityId, PatronFields.Location, PatronFields.Site];

    /// <summary>A line for each thing that somebody chose.</summary>
    public static IEnumerable<string> Lines(Operation operation)
    {
        using var document = JsonDocument.Parse(operation.Options);
        var options = document.RootElement;
        var lines = new List<string>();
        if (Text(options, "file") is { } file)
        {
            lines.Add($"File: {file}");
        }

        if (Text(options, "note") is { } note)
        {
            lines.Add(note);
        }

        if (Text(options, "fullBecause") is { } because)
        {
            lines.Add($"Read in full, because {because}");
        }

        if (Text(options, "tenantId") is { } tenant)
        {
            lines.Add($"Tenant: {tenant} {Text(options, "districtName")}".TrimEnd() + $", by {Text(options, "mode")?.ToLowerInvariant()}");
        }

        if (options.TryGetProperty("roles", out var roles) && roles.ValueKind == JsonValueKind.Array)
        {
            lines.Add($"Roles: {string.Join(", ", roles.EnumerateArray().Select(r => r.ToString().ToLowerInvariant()))}");
        }

        if (
            options.TryGetProperty("map", out var stored)
            && stored.ValueKind == JsonValueKind.Object
            && stored.Deserialize<FieldMap>(IntegrationService.Json) is { } map
        )
        {
            lines.Add(
                $"Mapping: {string.Join(", ", s_mapped.Select(f => $"{PatronFields.ByNumber(f).Label}: {Sync.Person.PatronExplain.SourceOf(f, map) ?? "Not Mapped"}"))}"
            );
            if (map.Grades.Count > 0)
            {
                lines.Add($"Grades: {string.Join(", ", map.Grades.Select(g => $"{g.Key} → {g.Value}"))}");
            }

            if (map.Rules.Count > 0)
            {
                lines.Add(
                    $"Fields: {string.Join(", ", map.Rules.Keys.Order().Select(f => $"{PatronFields.ByNumber(f).Label} {MapArguments.Word(map.PolicyOf(f))}, a blank {MapArguments.Word(map.BlankOf(f))}s"))}"
                );
            }
        }

        if (options.TryGetProperty("leniencies", out var leniencies) && leniencies.ValueKind == JsonValueKind.Object)
        {
            var said = string.Join(", ", leniencies.EnumerateObject().Select(l => $"{l.Name} ({l.Value})"));
            if (said.Length > 0)
            {
                lines.Add($"Deviations from OneRoster that were understood: {said}");
            }
        }

        return lines;
    }

    private static string? Text(JsonElement options, string name) =>
        options.ValueKind == JsonValueKind.Object && options.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String
            ? value.GetString()
            : null;
}
