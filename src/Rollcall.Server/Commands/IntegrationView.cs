using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Patrons;
using Rollcall.Sync;

namespace Rollcall.Server.Commands;

/// <summary>An integration's settings once it is turned on.</summary>
[method: System.Diagnostics.CodeAnalysis.SetsRequiredMembers]
internal sealed record TurnedOnView(IntegrationView View, long? Cleared) : IntegrationView(View)
{
    [System.Text.Json.Serialization.JsonIgnore]
    public IntegrationView View { get; } = View;

    /// <summary>The operation that cleared what another roster had left, to be undone; null when nothing was cleared.</summary>
    public long? Cleared { get; } = Cleared;
}

/// <summary>An integration's settings as commands show them; secrets are not among them.</summary>
internal record IntegrationView
{
    public required string Integration { get; init; }
    public required bool Enabled { get; init; }
    public required string? Mode { get; init; }
    public required string? TenantId { get; init; }

    /// <summary>The application that was chosen where the tenant has several.</summary>
    public string? Application { get; init; }
    public required string? DistrictName { get; init; }
    public required string? Url { get; init; }
    public required string? Version { get; init; }
    public required IReadOnlyList<string> Roles { get; init; }
    public required IReadOnlyDictionary<string, string> Map { get; init; }
    public required string SiteFrom { get; init; }
    public required IReadOnlyDictionary<string, string> Grades { get; init; }
    public required IReadOnlyDictionary<string, FieldRuleView> Fields { get; init; }
    public required IReadOnlyDictionary<string, Threshold> Thresholds { get; init; }

    /// <summary>By the code of each site that has numbers of its own: what holds there.</summary>
    public required IReadOnlyDictionary<string, IReadOnlyDictionary<string, Threshold>> SiteThresholds { get; init; }
    public required DailyOperations Daily { get; init; }
    public required DateTimeOffset? LastFullAt { get; init; }

    public static IntegrationView Of(IntegrationKind kind, Integration? row, IEnumerable<Site> sites)
    {
        var settings = IntegrationService.SettingsOf(row);
        var map = settings.Map;
        return new IntegrationView
        {
            Integration = IntegrationWords.Verb(kind),
            Enabled = row?.Enabled ?? false,
            Mode = settings.Mode?.ToString().ToLowerInvariant(),
            TenantId = settings.TenantId,
            Application = settings.ApplicationId,
            DistrictName = settings.DistrictName,
            Url = settings.Url,
            Version = settings.Version,
            Roles = [.. settings.Roles.Select(Arguments.Word)],
            Map = new Dictionary<string, string>(StringComparer.Ordinal)
            {
                ["barcode"] = Word(map.Barcode),
                ["communityId"] = Word(map.CommunityId),
                ["location"] = MapArguments.Word(map.Location),
                ["nickname"] = map.NicknameFromPreferredName ? MapArguments.PreferredName : "none",
            },
            SiteFrom = MapArguments.Word(map.SiteFrom),
            Grades = map.Grades,
            Fields = SettingsChange.FieldsWithPolicy.ToDictionary(
                f => PatronFields.ByNumber(f).Name,
                f => new FieldRuleView(MapArguments.Word(map.PolicyOf(f)), MapArguments.Word(map.BlankOf(f)))
            ),
            Thresholds = new Dictionary<string, Threshold>(StringComparer.Ordinal)
            {
                ["transfers"] = settings.Thresholds.Transfers,
                ["updates"] = settings.Thresholds.Updates,
                ["creates"] = settings.Thresholds.Creates,
            },
            SiteThresholds = sites
                .Where(s => settings.Thresholds.Sites.ContainsKey(s.Id))
                .OrderBy(s => s.Code, StringComparer.OrdinalIgnoreCase)
                .ToDictionary(
                    s => s.Code,
                    IReadOnlyDictionary<string, Threshold> (s) =>
                        new Dictionary<string, Threshold>(StringComparer.Ordinal)
                        {
                            ["transfers"] = settings.Thresholds.At(s.Id, Operations.Risk.Transfers),
                            ["updates"] = settings.Thresholds.At(s.Id, Operations.Risk.Updates),
                            ["creates"] = settings.Thresholds.At(s.Id, Operations.Risk.Creates),
                        }
                ),
            Daily = settings.Daily,
            LastFullAt = IntegrationService.StateOf(row).LastFullAt,
        };
    }

    private static string Word(IdMapping mapping) => MapArguments.Word(mapping);
}

/// <summary>Who wins when roster and library differ, and what a blank of the roster does.</summary>
internal sealed record FieldRuleView(string Policy, string Blank);

/// <summary>The words of the mapping, both ways.</summary>
internal static class MapArguments
{
    /// <summary>The source of a nickname: OneRoster's <c>preferredFirstName</c>.</summary>
    public const string PreferredName = "preferred-name";

    private const string TypePrefix = "user-id:";

    public static string Word(IdMapping mapping) =>
        mapping.Source switch
        {
            IdSource.UserIdType => TypePrefix + mapping.Type,
            IdSource.Identifier => "identifier",
            IdSource.Username => "username",
            _ => "none",
        };

    public static string Word(LocationSource source) =>
        source switch
        {
            LocationSource.ClassCode => "homeroom:code",
            LocationSource.ClassTitle => "homeroom:title",
            LocationSource.ClassLocation => "homeroom:location",
            LocationSource.TeacherName => "homeroom:teacher",
            _ => "none",
        };

    public static string Word(SiteFrom from) =>
        from switch
        {
            SiteFrom.FirstMatched => "first-matched",
            SiteFrom.PrimaryOrg => "primary-org",
            _ => "first-org",
        };

    public static string Word(FieldPolicy policy) =>
        policy switch
        {
            FieldPolicy.FillIfEmpty => "fill",
            FieldPolicy.LibraryKeeps => "library",
            _ => "roster",
        };

    public static string Word(BlankRule rule) => rule == BlankRule.Clear ? "clear" : "keep";

    /// <summary>The change that <c>map FIELD SOURCE</c> means.</summary>
    /// <exception cref="UsageException">The field cannot be mapped, or not from there.</exception>
    public static Func<FieldMap, FieldMap> Parse(string field, string source)
    {
        var text = source.Trim();
        switch (field.Trim().ToLowerInvariant())
        {
            case "barcode":
                var barcode = Id(text);
                return barcode is { Source: IdSource.NotMapped or IdSource.UserIdType }
                    ? map => map with { Barcode = barcode }
                    : throw new UsageException($"The barcode cannot come from '{text}': none or user-id:TYPE.");
            case "community-id":
                var number =
                    Id(text)
                    ?? throw new UsageException($"The Student # cannot come from '{text}': none, user-id:TYPE, identifier or username.");
                return map => map with { CommunityId = number };
            case "location":
                var location =
                    Enum.GetValues<LocationSource>()
                        .Where(l => string.Equals(Word(l), text, StringComparison.OrdinalIgnoreCase))
                        .Select(l => (LocationSource?)l)
                        .FirstOrDefault()
                    ?? throw new UsageException(
                        $"The homeroom cannot come from '{text}': none, homeroom:code, homeroom:title, homeroom:location or homeroom:teacher."
                    );
                return map => map with { Location = location };
            case "nickname":
                var preferred = text.ToLowerInvariant() switch
                {
                    PreferredName => true,
                    "none" => false,
                    _ => throw new UsageException($"The nickname cannot come from '{text}': none or {PreferredName}."),
                };
                return map => map with { NicknameFromPreferredName = preferred };
            default:
                throw new UsageException($"'{field}' cannot be mapped: there is barcode, community-id, location and nickname.");
        }
    }

    /// <summary>The type of id that a source names; null when it names none.</summary>
    public static string? TypeOf(string text) =>
        text.StartsWith(TypePrefix, StringComparison.OrdinalIgnoreCase) && text[TypePrefix.Length..].Trim() is { Length: > 0 } type
            ? type
            : null;

    private static IdMapping? Id(string text)
    {
        if (text.StartsWith(TypePrefix, StringComparison.OrdinalIgnoreCase))
        {
            return TypeOf(text) is { } type ? new IdMapping(IdSource.UserIdType, type) : null;
        }

        return text.ToLowerInvariant() switch
        {
            "none" => new IdMapping(),
            "identifier" => new IdMapping(IdSource.Identifier),
            "username" => new IdMapping(IdSource.Username),
            _ => null,
        };
    }
}
