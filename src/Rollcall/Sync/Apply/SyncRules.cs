using System.Text.Json;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sync.Plan;

namespace Rollcall.Sync.Apply;

/// <summary>What a sync's rows go by when they are written: the settings as they are now, and what of them was otherwise at the plan.</summary>
internal sealed class SyncRules
{
    private readonly FieldMap? _planned;
    private readonly IReadOnlyCollection<RoleGroup> _unticked;
    private readonly bool _rematched;

    private SyncRules(FieldMap map, FieldMap? planned, IReadOnlyCollection<RoleGroup> unticked, bool rematched) =>
        (Map, _planned, _unticked, _rematched) = (map, planned, unticked, rematched);

    /// <summary>The field mapping as it is now.</summary>
    public FieldMap Map { get; }

    /// <summary>The newest operation that the plan knew; null in a plan that keeps none.</summary>
    public long? Knows { get; private init; }

    /// <summary>When the plan began to read the patrons; null in a plan that keeps no such time.</summary>
    public DateTimeOffset? ReadAt { get; private init; }

    /// <param name="setup">The settings as they are now.</param>
    /// <param name="operation">The sync, whose options tell the settings of its plan.</param>
    public static SyncRules Of(SyncSetup setup, Operation operation)
    {
        var planned = JsonSerializer.Deserialize<Settings>(operation.Options, IntegrationService.Json);
        return new SyncRules(
            setup.Settings.Map,
            planned?.Map,
            [.. (planned?.Roles ?? []).Where(r => !setup.IsTicked(r))],
            planned?.Matches is { } matches && !string.Equals(matches, setup.MatchesHash, StringComparison.Ordinal)
        )
        {
            Knows = planned?.Knows,
            ReadAt = planned?.ReadAt,
        };
    }

    /// <summary>Why the settings that hold now leave no part of a row as it was planned; null where they do.</summary>
    public string? Refusal(Change row, ChangeValues values)
    {
        if (_unticked.Count > 0 && _unticked.Contains(LinkState.Parse(row.Link)?.RoleGroup ?? row.RoleGroup))
        {
            return "Left out as stale: the person's role is no longer synced since the plan";
        }

        if (_rematched && (row.Kind == ChangeKind.Create || values.Has(PatronFields.Site) || row.Reason is PersonPlan.LeftAllSchools))
        {
            return "Left out as stale: other organizations are matched to sites since the plan";
        }

        return
            row.Kind == ChangeKind.Create
            && values.Items.Any(v =>
                v.Field != PatronFields.LastName
                && FieldMap.SyncedFields.Contains(v.Field)
                && !(row.BarcodeDrawn && v.Field == PatronFields.Barcode)
                && (!Map.IsForNewPatrons(v.Field) || (_planned is not null && IsFromElsewhere(v.Field, _planned)))
            )
            ? "Left out as stale: the field mapping changed since the plan"
            : null;
    }

    /// <summary>The library keeps the field since the plan, or another part of the roster decides it now, or none.</summary>
    public bool Keeps(int field, string? old, string? value) =>
        Map.PolicyOf(field) switch
        {
            FieldPolicy.LibraryKeeps => true,
            FieldPolicy.FillIfEmpty when old is not null => true,
            _ => _planned is not null
                && (
                    IsFromElsewhere(field, _planned)
                    || (value is null && Map.BlankOf(field) == BlankRule.Keep && _planned.BlankOf(field) == BlankRule.Clear)
                ),
        };

    private bool IsFromElsewhere(int field, FieldMap planned) =>
        field switch
        {
            PatronFields.Barcode => Map.Barcode != planned.Barcode,
            PatronFields.CommunityId => Map.CommunityId != planned.CommunityId,
            PatronFields.Location => Map.Location != planned.Location,
            PatronFields.Nickname => Map.NicknameFromPreferredName != planned.NicknameFromPreferredName,
            PatronFields.Site => Map.SiteFrom != planned.SiteFrom,
            PatronFields.Level => Map.Grades.Count != planned.Grades.Count || Map.Grades.Except(planned.Grades).Any(),
            _ => false,
        };

    /// <summary>The part of a plan's options that says by which settings it was made.</summary>
    private sealed record Settings
    {
        /// <summary>Null in a one-person sync of an earlier version.</summary>
        public IReadOnlyList<RoleGroup>? Roles { get; init; }
        public FieldMap? Map { get; init; }

        /// <summary>Null in a plan of an earlier version.</summary>
        public string? Matches { get; init; }
        public long? Knows { get; init; }
        public DateTimeOffset? ReadAt { get; init; }
    }
}
