using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sync.Plan;

namespace Rollcall.Sync.Apply;

/// <summary>What people did to a patron between the plan of a change and its writing, beside the fields that the change is about. Days can
/// lie between where a change waits for an approval. Pure.</summary>
internal static class Meanwhile
{
    /// <summary>Why a sync's row is left to the next sync; null when it may be written.</summary>
    /// <param name="row">The row.</param>
    /// <param name="values">Its values.</param>
    /// <param name="patron">The patron as of now.</param>
    /// <param name="before">The link at the time of the plan; null when there was none.</param>
    /// <param name="present">The link as of now; null when there is none.</param>
    public static string? Refusal(Change row, ChangeValues values, Patron patron, LinkState? before, PatronLink? present)
    {
        if (!IsStillTheirs(row, values, patron, present))
        {
            return "Left out as stale: the patron belongs to another person since the plan";
        }

        var leaves = values.New(PatronFields.Status) == PersonPlan.Number((int)PatronStatus.Transferred);
        if (!leaves && LinkState.Parse(row.Link) is not { Absent: true })
        {
            return null;
        }

        // Somebody found out under which other record the person goes on.
        if (!string.Equals(before?.Aliases, present?.Aliases, StringComparison.Ordinal))
        {
            return "Left out as stale: the person's records were linked since the plan";
        }

        return !leaves ? null
            : patron.DoNotTransfer ? "Left out as stale: marked 'do not transfer' since the plan"
            : patron.Group > SecurityGroup.Patron && row.Reason is PersonPlan.NoLongerThere or PersonPlan.LeftAllSchools
                ? "Left out as stale: has staff rights here since the plan"
            : null;
    }

    /// <summary>The fields among the row's that the library keeps since the plan: of this patron, or of all.</summary>
    public static IReadOnlyCollection<int> Kept(Patron patron, ChangeValues values, SyncRules rules)
    {
        var kept = patron.KeptFields is { Length: > 0 } list ? list.Split(',') : [];
        return
        [
            .. values
                .Items.Where(v =>
                    v.Field != PatronFields.Guid
                    && (rules.Keeps(v.Field, v.Old, v.New) || (kept.Length > 0 && kept.Contains(PersonPlan.Number(v.Field))))
                )
                .Select(v => v.Field),
        ];
    }

    /// <summary>The link after the row: what the row changes of it, and nothing else.</summary>
    /// <remarks>The hash says that patron and roster agree. That is known only where nobody wrote since the plan: every other writer sets it
    /// to zero, so that one which was zero already tells nothing.</remarks>
    /// <param name="before">The link at the plan; null when there was none.</param>
    /// <param name="after">The link as planned.</param>
    /// <param name="present">The link as of now; null when there is none.</param>
    /// <param name="late">Days may lie between plan and writing: what somebody changed since is newer than the plan.</param>
    public static LinkState Merge(LinkState? before, LinkState after, PatronLink? present, bool late)
    {
        if (present is null)
        {
            return after with { SyncHash = 0 };
        }

        var (was, now) = (before ?? new LinkState(), LinkState.Of(present));
        return new LinkState
        {
            Aliases = Aliases(was.Aliases, after.Aliases, now.Aliases),
            RoleGroup = Pick(was.RoleGroup, after.RoleGroup, now.RoleGroup),
            Username = Pick(was.Username, after.Username, now.Username),
            Guardians = Pick(was.Guardians, after.Guardians, now.Guardians),
            HomeroomClass = Pick(was.HomeroomClass, after.HomeroomClass, now.HomeroomClass),
            LoginDisabled = Pick(was.LoginDisabled, after.LoginDisabled, now.LoginDisabled),
            Absent = Pick(was.Absent, after.Absent, now.Absent),
            StatusBefore = Pick(was.StatusBefore, after.StatusBefore, now.StatusBefore),
            LeftSchools = Pick(was.LeftSchools, after.LeftSchools, now.LeftSchools),
            SyncHash = was.SyncHash != 0 && was.SyncHash == now.SyncHash ? after.SyncHash : 0,
        };

        T Pick<T>(T then, T planned, T current)
        {
            var isSame = EqualityComparer<T>.Default;
            return isSame.Equals(then, planned) || (late && !isSame.Equals(then, current)) ? current : planned;
        }
    }

    /// <summary>Whether the patron is the one whom the row is about: linked to that person, or not linked yet where the row links.</summary>
    private static bool IsStillTheirs(Change row, ChangeValues values, Patron patron, PatronLink? present)
    {
        if (values.Has(PatronFields.Guid))
        {
            return string.Equals(patron.Guid, values.Old(PatronFields.Guid), StringComparison.Ordinal)
                || string.Equals(patron.Guid, values.New(PatronFields.Guid), StringComparison.Ordinal);
        }

        return string.Equals(patron.Guid, row.RosterId, StringComparison.Ordinal)
            || Ids(present?.Aliases).Contains(row.RosterId, StringComparer.Ordinal);
    }

    private static string? Aliases(string? was, string? after, string? now)
    {
        if (string.Equals(was, after, StringComparison.Ordinal) || string.Equals(was, now, StringComparison.Ordinal))
        {
            return string.Equals(was, after, StringComparison.Ordinal) ? now : after;
        }

        var gone = Ids(was).Except(Ids(after), StringComparer.Ordinal);
        string[] left = [.. Ids(now).Except(gone, StringComparer.Ordinal).Union(Ids(after), StringComparer.Ordinal)];
        return left.Length == 0 ? null : string.Join('\n', left);
    }

    private static string[] Ids(string? aliases) => aliases?.Split('\n') ?? [];
}
