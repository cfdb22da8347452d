namespace Rollcall.Sync.Undo;

/// <summary>What a link is made of, member by member: an undo takes back those that a row changed and leaves the rest. Pure.</summary>
internal static class LinkMembers
{
    /// <summary>Stands for the further ids, which are taken back one by one. No field of a patron has a number below zero.</summary>
    public const int Aliases = -1;

    /// <summary>Stands for a member of a link that there is not.</summary>
    public static readonly object NoLink = new();

    private const int Absent = -7;
    private const int StatusBefore = -8;
    private const int LeftSchools = -9;

    private static readonly Member[] s_members =
    [
        new(-2, "Role", l => l.RoleGroup, (to, from) => to with { RoleGroup = from.RoleGroup }),
        new(-3, "Username", l => l.Username, (to, from) => to with { Username = from.Username }),
        new(-4, "Guardians", l => l.Guardians, (to, from) => to with { Guardians = from.Guardians }),
        new(-5, "Homeroom of the roster", l => l.HomeroomClass, (to, from) => to with { HomeroomClass = from.HomeroomClass }),
        new(-6, "Sign-in", l => l.LoginDisabled, (to, from) => to with { LoginDisabled = from.LoginDisabled }),
        new(Absent, "Whether the roster has them", l => l.Absent, (to, from) => to with { Absent = from.Absent }),
        new(StatusBefore, "Status before the transfer", l => l.StatusBefore, (to, from) => to with { StatusBefore = from.StatusBefore }),
        new(LeftSchools, "Whether they left all schools", l => l.LeftSchools, (to, from) => to with { LeftSchools = from.LeftSchools }),
    ];

    private static readonly int[] s_all = [Aliases, .. s_members.Select(m => m.Number)];

    /// <param name="Number">Below zero.</param>
    /// <param name="Label">What the log calls it.</param>
    /// <param name="Get">Reads it.</param>
    /// <param name="Take">The first link with this member of the second.</param>
    private sealed record Member(int Number, string Label, Func<LinkState, object?> Get, Func<LinkState, LinkState, LinkState> Take);

    public static string[] Ids(string? aliases) => aliases?.Split('\n') ?? [];

    /// <summary>The members that a row changed; all of them when it made the link or took it off.</summary>
    /// <param name="before">As the row holds it.</param>
    /// <param name="after">As the row holds it; null when it leaves the link alone.</param>
    public static IEnumerable<int> Touched(string? before, string? after)
    {
        if (after is null)
        {
            return [];
        }

        if (LinkState.Parse(before) is not { } was || LinkState.Parse(after) is not { } now)
        {
            return s_all;
        }

        IEnumerable<int> aliases = string.Equals(was.Aliases, now.Aliases, StringComparison.Ordinal) ? [] : [Aliases];
        return aliases.Concat(s_members.Where(m => !Equals(m.Get(was), m.Get(now))).Select(m => m.Number));
    }

    /// <summary>A member as a link has it, to be compared with that of another.</summary>
    public static object? Value(LinkState? link, int member) =>
        link is null ? NoLink
        : member == Aliases ? link.Aliases
        : Array.Find(s_members, m => m.Number == member)!.Get(link);

    /// <summary>The present link with what a row changed of it taken back.</summary>
    /// <param name="before">Before the row.</param>
    /// <param name="after">After it.</param>
    /// <param name="present">As of now.</param>
    /// <param name="statusStays">The status does not go back, nor does what goes with it.</param>
    /// <param name="tookBack">Whether an earlier undo took this member back.</param>
    /// <param name="changedBy">The operation that changed this member since, by what it is now; null when none did.</param>
    /// <param name="writtenBy">The operation that wrote what this member is now; null when it is not known.</param>
    /// <param name="mayReturn">Whether a further id that the row took off is nobody else's now.</param>
    /// <param name="kept">Receives what stays, in words.</param>
    public static LinkState Back(
        LinkState before,
        LinkState after,
        LinkState present,
        bool statusStays,
        Func<int, bool> tookBack,
        Func<int, object?, long?> changedBy,
        Func<int, object?, long?> writtenBy,
        Func<string, bool> mayReturn,
        ICollection<string> kept
    )
    {
        var back = present;
        foreach (var member in s_members)
        {
            var (old, set, now) = (member.Get(before), member.Get(after), member.Get(present));
            if (
                Equals(old, set)
                || Equals(now, old)
                || tookBack(member.Number)
                || (statusStays && member.Number is Absent or StatusBefore or LeftSchools)
            )
            {
                continue;
            }

            var since = Equals(now, set) ? changedBy(member.Number, now) : null;
            if (since is null && Equals(now, set))
            {
                back = member.Take(back, before);
            }
            else
            {
                since ??= writtenBy(member.Number, now);
                kept.Add(
                    since is null ? $"{member.Label} stays (changed since)" : $"{member.Label} stays (changed since by operation {since})"
                );
            }
        }

        if (!tookBack(Aliases))
        {
            var gone = Ids(before.Aliases).Except(Ids(after.Aliases), StringComparer.Ordinal).Where(mayReturn);
            back = WithAliases(
                back,
                Ids(present.Aliases)
                    .Except(Ids(after.Aliases).Except(Ids(before.Aliases), StringComparer.Ordinal), StringComparer.Ordinal)
                    .Union(gone, StringComparer.Ordinal)
            );
        }

        return back;
    }

    public static LinkState WithAliases(LinkState link, IEnumerable<string> aliases)
    {
        string[] left = [.. aliases];
        return link with { Aliases = left.Length == 0 ? null : string.Join('\n', left) };
    }
}
