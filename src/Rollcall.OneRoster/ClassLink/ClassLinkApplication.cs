namespace Rollcall.OneRoster.ClassLink;

/// <summary>One district's use of the partner's application, as <c>/applications</c> lists it. A class and not a
/// record, so that printing it cannot print the bearer.</summary>
public sealed class ClassLinkApplication
{
    /// <summary>The Tenant ID as text; <see langword="null"/> when missing.</summary>
    public string? TenantId { get; init; }

    /// <summary>The district's name; <see langword="null"/> when missing.</summary>
    public string? TenantName { get; init; }

    /// <summary>The application's name; <see langword="null"/> when missing.</summary>
    public string? Name { get; init; }

    /// <summary>The id used in proxy paths, percent-encoded as ClassLink sends it: never encode it again.</summary>
    public string? OneRosterApplicationId { get; init; }

    /// <summary>The district's token; <see langword="null"/> or blank when the proxy cannot be used. A secret.</summary>
    public string? Bearer { get; init; }

    /// <summary>The district's switch; <see langword="null"/> in the old form of the answer, which lists no switch, and counts as on.</summary>
    public bool? Enabled { get; init; }

    /// <summary><c>Active</c> or something else; <see langword="null"/> in the old form of the answer, and counts as active.</summary>
    public string? TenantStatus { get; init; }

    internal bool IsOn => Enabled != false;

    internal bool IsActive => TenantStatus is null || TenantStatus.Trim().Equals("Active", StringComparison.OrdinalIgnoreCase);

    internal bool HasProxy => !string.IsNullOrWhiteSpace(Bearer) && !string.IsNullOrWhiteSpace(OneRosterApplicationId);
}

/// <summary>What a district's Tenant ID means to ClassLink.</summary>
public enum TenantState
{
    /// <summary>The district can be read through the proxy.</summary>
    Valid,

    /// <summary>No Tenant ID by its form; ClassLink was not asked.</summary>
    Malformed,

    /// <summary>The district has not added the application.</summary>
    NotAdded,

    /// <summary>The district added the application but has not enabled it.</summary>
    NotEnabled,

    /// <summary>ClassLink does not list the district as active.</summary>
    NotActive,

    /// <summary>Added and enabled, but ClassLink hands out no token or application id, so the proxy cannot be used.</summary>
    NoBearer,

    /// <summary>Several of the partner's applications are enabled for the district; somebody must choose.</summary>
    Ambiguous,

    /// <summary>The application that somebody chose no longer shares the district's roster.</summary>
    ChoiceGone,
}

/// <summary>The answer to "is this our district?".</summary>
/// <param name="State">What was found.</param>
/// <param name="Message">One sentence for the person who typed the Tenant ID.</param>
/// <param name="Application">The district's record; <see langword="null"/> when there is none or several would do.</param>
/// <param name="Candidates">Every usable record; more than one only when <see cref="TenantState.Ambiguous"/> or <see cref="TenantState.ChoiceGone"/>.</param>
public sealed record TenantCheck(
    TenantState State,
    string Message,
    ClassLinkApplication? Application,
    IReadOnlyList<ClassLinkApplication> Candidates
)
{
    /// <summary>The district's name; <see langword="null"/> when ClassLink gave none.</summary>
    public string? TenantName => Application?.TenantName;

    /// <summary>The answer when somebody has chosen an application, by its id as listed; <see langword="null"/> when nobody has.</summary>
    public TenantCheck With(string? oneRosterApplicationId)
    {
        if (oneRosterApplicationId is null || State is not (TenantState.Valid or TenantState.Ambiguous))
        {
            return this;
        }

        var chosen = Candidates.FirstOrDefault(c =>
            string.Equals(c.OneRosterApplicationId, oneRosterApplicationId, StringComparison.Ordinal)
        );
        return chosen is not null
            ? new(TenantState.Valid, $"{chosen.TenantName ?? "District " + chosen.TenantId} shares its roster.", chosen, [chosen])
            : new(
                TenantState.ChoiceGone,
                $"The application that was chosen for district {Candidates[0].TenantId} shares its roster no more. Connect again and choose another one, or have an administrator of the district enable it in Roster Server.",
                null,
                Candidates
            );
    }

    /// <summary>Judges the records of a list. Pure; asks nobody.</summary>
    public static TenantCheck Of(string? tenantId, IEnumerable<ClassLinkApplication> applications)
    {
        if (!ClassLink.TenantId.TryParse(tenantId, out var id))
        {
            return new(
                TenantState.Malformed,
                "A Tenant ID is a number of up to ten digits. It stands at the bottom left of every Roster Server page.",
                null,
                []
            );
        }

        var all = applications.ToList();
        if (all.Count == 0)
        {
            return new(
                TenantState.NotAdded,
                "ClassLink lists no district at all for this partner key: either it is not the key it should be, or no district has added the application yet. The operator of this installation compares it with the one in the ClassLink Partner Portal.",
                null,
                []
            );
        }

        var records = all.Where(a => string.Equals(a.TenantId?.Trim(), id, StringComparison.Ordinal)).ToList();
        if (records.Count == 0)
        {
            return new(
                TenantState.NotAdded,
                $"ClassLink lists no district {id} for this application. Check the number: it stands at the bottom left of every Roster Server page. If it is right, an administrator of the district has yet to add and enable the application there.",
                null,
                []
            );
        }

        var on = records.Where(a => a is { IsOn: true, IsActive: true }).ToList();

        // The same record can come twice when the list changes between two pages.
        var usable = on.Where(a => a.HasProxy).DistinctBy(a => a.OneRosterApplicationId, StringComparer.Ordinal).ToList();
        if (usable.Count == 1)
        {
            return new(TenantState.Valid, $"{usable[0].TenantName ?? "District " + id} shares its roster.", usable[0], usable);
        }

        if (usable.Count > 1)
        {
            return new(
                TenantState.Ambiguous,
                $"District {id} shares its roster with {usable.Count} applications of this partner. Choose one.",
                null,
                usable
            );
        }

        if (on.Count > 0)
        {
            return new(
                TenantState.NoBearer,
                $"District {id} has enabled the application, but ClassLink hands out no access token for it. Use a direct connection, or ask ClassLink.",
                on[0],
                []
            );
        }

        return records.Find(a => a.IsOn) is { } inactive
            ? new(
                TenantState.NotActive,
                $"ClassLink does not list district {id} as active. Check the number, or ask ClassLink.",
                inactive,
                []
            )
            : new(
                TenantState.NotEnabled,
                $"District {id} has added the application but not enabled it. An administrator of the district enables it in Roster Server.",
                records[0],
                []
            );
    }
}

/// <summary>Key and secret of a district's own roster server. A class and not a record, so that printing it
/// cannot print the secret.</summary>
public sealed class ClassLinkServer
{
    /// <summary>The server's address without a path.</summary>
    public required string EndpointUrl { get; init; }

    /// <summary>The key (<c>client_id</c>).</summary>
    public required string Key { get; init; }

    /// <summary>The secret (<c>client_secret</c>).</summary>
    public required string Secret { get; init; }
}
