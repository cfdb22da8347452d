using System.Collections.Frozen;
using Rollcall.OneRoster.Model;
using Rollcall.Patrons;

namespace Rollcall.Mapping;

/// <summary>Which role group a roster role belongs to.</summary>
public static class RoleGroups
{
    private static readonly FrozenDictionary<string, RoleGroup> s_groups = new Dictionary<string, RoleGroup>(
        StringComparer.OrdinalIgnoreCase
    )
    {
        ["student"] = RoleGroup.Student,
        ["teacher"] = RoleGroup.Teacher,
        ["administrator"] = RoleGroup.Admin,
        ["aide"] = RoleGroup.Admin,
        ["proctor"] = RoleGroup.Admin,
        ["principal"] = RoleGroup.Admin,
        ["counselor"] = RoleGroup.Admin,
        ["districtAdministrator"] = RoleGroup.Admin,
        ["siteAdministrator"] = RoleGroup.Admin,
        ["systemAdministrator"] = RoleGroup.Admin,
    }.ToFrozenDictionary(StringComparer.OrdinalIgnoreCase);

    private static readonly FrozenSet<string> s_guardians = new[] { "parent", "guardian", "relative" }.ToFrozenSet(
        StringComparer.OrdinalIgnoreCase
    );

    /// <summary>The group of a role; <see cref="RoleGroup.None"/> for guardians and for roles this program does not know.</summary>
    public static RoleGroup Of(string role) => s_groups.GetValueOrDefault(role);

    /// <summary>True for <c>parent</c>, <c>guardian</c> and <c>relative</c>, who never become patrons.</summary>
    public static bool IsGuardian(string role) => s_guardians.Contains(role);

    /// <summary>What screens call a group.</summary>
    public static string Label(RoleGroup group) => group == RoleGroup.Admin ? "Admin (Staff)" : group.ToString();

    /// <summary>The people of a group in a sentence.</summary>
    public static string People(RoleGroup group) =>
        group switch
        {
            RoleGroup.Student => "students",
            RoleGroup.Teacher => "teachers",
            RoleGroup.Admin => "staff",
            _ => "people",
        };

    /// <summary>What a user's roles mean for a district that has ticked <paramref name="ticked"/>.</summary>
    /// <param name="user">The roster user.</param>
    /// <param name="ticked">The ticked groups.</param>
    /// <param name="today">The district's date: a role with an end up to today has ended, one with a later begin is still to come.</param>
    public static Standing StandingOf(User user, IReadOnlyList<RoleGroup> ticked, DateOnly today)
    {
        RoleGroup current = RoleGroup.None;
        RoleGroup tickedCurrent = RoleGroup.None;
        RoleGroup tickedEnded = RoleGroup.None;
        RoleGroup ended = RoleGroup.None;
        RoleGroup toCome = RoleGroup.None;
        var guardian = false;
        var anyCurrent = false;
        string? unknown = null;
        foreach (var role in user.Roles)
        {
            var group = Of(role.Role);
            if (group == RoleGroup.None)
            {
                if (IsGuardian(role.Role))
                {
                    guardian |= IsCurrent(role, today);
                }
                else
                {
                    unknown ??= role.Role;
                }

                anyCurrent |= IsCurrent(role, today);
                continue;
            }

            var isTicked = ticked.Contains(group);
            if (IsCurrent(role, today))
            {
                anyCurrent = true;
                current = Prefer(current, group);
                if (isTicked)
                {
                    tickedCurrent = Prefer(tickedCurrent, group);
                }
            }
            else if (user.Status == RecordStatus.Active && (role.End is not { } end || end > today))
            {
                toCome = Prefer(toCome, group);
            }
            else
            {
                ended = Prefer(ended, group);
                if (isTicked)
                {
                    tickedEnded = Prefer(tickedEnded, group);
                }
            }
        }

        if (tickedCurrent != RoleGroup.None)
        {
            return new Standing(tickedCurrent, Ticked: true, Ended: false, guardian, unknown);
        }

        if (current != RoleGroup.None)
        {
            return new Standing(current, Ticked: false, Ended: false, guardian, unknown);
        }

        // Between two roles, or before the first one: nobody has left, and nobody is here yet.
        if (toCome != RoleGroup.None)
        {
            return new Standing(toCome, Ticked: false, Ended: false, guardian, unknown);
        }

        // All roles ended: as to be deleted, in the group they had.
        if (!anyCurrent && tickedEnded != RoleGroup.None)
        {
            return new Standing(tickedEnded, Ticked: true, Ended: true, guardian, unknown);
        }

        return new Standing(anyCurrent ? RoleGroup.None : ended, Ticked: false, Ended: ended != RoleGroup.None, guardian, unknown);
    }

    public static bool IsCurrent(UserRole role, DateOnly today) =>
        (role.End is not { } end || end > today) && (role.Begin is not { } begin || begin <= today);

    // The first of Student, Teacher, Admin, so that the order sent does not matter.
    private static RoleGroup Prefer(RoleGroup have, RoleGroup next) => have == RoleGroup.None || next < have ? next : have;
}

/// <summary>What a user's roles mean.</summary>
/// <param name="Group">The role group; none for guardians and unknown roles.</param>
/// <param name="Ticked">The group is synced.</param>
/// <param name="Ended">No role is current any more.</param>
/// <param name="Guardian">One of the current roles is a guardian's.</param>
/// <param name="UnknownRole">A role that this program does not know; null when there is none.</param>
public readonly record struct Standing(RoleGroup Group, bool Ticked, bool Ended, bool Guardian, string? UnknownRole);
