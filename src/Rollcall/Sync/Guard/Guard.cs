using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sync.Plan;

namespace Rollcall.Sync.Guard;

/// <summary>Changes of one kind at one site that look like an accident.</summary>
/// <param name="Site">The site before the run; 0 for patrons without one.</param>
/// <param name="Group">The role group.</param>
/// <param name="Risk">The threshold that was exceeded.</param>
/// <param name="Count">How many changes wait.</param>
/// <param name="Of">What they were measured against: linked patrons; for creates all people, the new ones among them.</param>
/// <param name="Returning">How many new people of the site and group have the name of somebody whom the roster lacks, or who left before.</param>
internal sealed record Hold(int Site, RoleGroup Group, Risk Risk, int Count, int Of, int Returning)
{
    /// <summary>The whole roster has nobody of that group.</summary>
    public bool Vanished { get; init; }
}

/// <summary>Compares what a plan would do with the thresholds. Pure.</summary>
internal static class Guard
{
    private const int AllOfThem = 3;

    // Of so large a part of a school a name alone is no chance.
    private const double Share = 10;

    public static IReadOnlyList<Hold> Check(Thresholds thresholds, RiskTally tally)
    {
        // Who leaves and comes at once under a new id does neither: of such people both halves wait, or none.
        var anew = tally
            .Changes.Keys.Where(k => k.Risk == Risk.Creates && IdsGivenAnew(k.Site, k.Group))
            .Select(k => (k.Site, k.Group))
            .ToHashSet();

        // One or two namesakes at another school are others.
        var moved = tally
            .Movers.Where(m => anew.Contains((m.Key.Site, m.Key.Group)))
            .GroupBy(m => (m.Key.From, m.Key.Group), m => m.Value)
            .Where(m => m.Sum() >= AllOfThem)
            .Select(m => m.Key)
            .ToHashSet();
        // Two at each school are no group that vanishes, and in a district they are one.
        var vanished = tally
            .Vanished.Where(g => tally.Changes.Where(c => c.Key.Risk == Risk.Transfers && c.Key.Group == g).Sum(c => c.Value) >= AllOfThem)
            .ToHashSet();
        var holds = new List<Hold>();
        foreach (var ((site, group, risk), count) in tally.Changes)
        {
            var linked = tally.Linked.GetValueOrDefault((site, group));
            var returning = tally.Returning.GetValueOrDefault((site, group));
            var (held, of) = risk switch
            {
                Risk.Transfers => (
                    TooManyLeave(site, group)
                        || vanished.Contains(group)
                        || (returning > 0 && anew.Contains((site, group)))
                        || moved.Contains((site, group)),
                    linked
                ),
                Risk.Updates => (
                    Exceeds(thresholds.At(site, risk), count, tally.Matched.GetValueOrDefault((site, group))),
                    tally.Matched.GetValueOrDefault((site, group))
                ),
                Risk.Creates => (
                    anew.Contains((site, group))
                        || Exceeds(
                            thresholds.At(site, risk),
                            count - tally.ByNameAlone.GetValueOrDefault((site, group)),
                            People(site, group)
                        )
                        || (returning > 0 && TooManyLeave(site, group)),
                    People(site, group)
                ),
                _ => (false, 0),
            };
            if (held)
            {
                holds.Add(
                    new Hold(
                        site,
                        group,
                        risk,
                        count,
                        of,
                        risk == Risk.Transfers && moved.Contains((site, group))
                            ? count
                            : returning + Elsewhere(site, group) + tally.Former.GetValueOrDefault((site, group))
                    )
                    {
                        Vanished = risk == Risk.Transfers && vanished.Contains(group),
                    }
                );
            }
        }

        return [.. holds.OrderBy(h => h.Site).ThenBy(h => h.Group).ThenBy(h => h.Risk)];

        int People(int site, RoleGroup group) =>
            tally.Matched.GetValueOrDefault((site, group)) + tally.Created.GetValueOrDefault((site, group));

        // Whom no sync transfers stays, and would hide that all others go.
        bool TooManyLeave(int site, RoleGroup group) =>
            tally.Changes.GetValueOrDefault((site, group, Risk.Transfers)) is var leavers
            && (
                Exceeds(thresholds.At(site, Risk.Transfers), leavers, tally.Linked.GetValueOrDefault((site, group)))
                || (leavers >= AllOfThem && leavers >= tally.Transferable.GetValueOrDefault((site, group)))
            );

        // A district has more namesakes than a school: they count where most of those who come have one.
        int Elsewhere(int site, RoleGroup group) =>
            tally.Elsewhere.GetValueOrDefault((site, group)) is var elsewhere
            && elsewhere * 2 > tally.Created.GetValueOrDefault((site, group))
                ? elsewhere
                : 0;

        // Of a small school all can come anew without being as many as the threshold asks for.
        bool IdsGivenAnew(int site, RoleGroup group)
        {
            var named =
                tally.Returning.GetValueOrDefault((site, group)) + tally.Former.GetValueOrDefault((site, group)) + Elsewhere(site, group);
            var threshold = thresholds.At(site, Risk.Creates);
            var people = People(site, group);
            return Exceeds(threshold, tally.Likely.GetValueOrDefault((site, group)), people)
                || Exceeds(threshold with { Percent = Math.Max(threshold.Percent, Share) }, named, people)
                || (
                    named >= AllOfThem
                    && named >= tally.Transferable.GetValueOrDefault((site, group))
                    && named * 2 > tally.Created.GetValueOrDefault((site, group))
                );
        }
    }

    private static bool Exceeds(Threshold threshold, int count, int of) =>
        count >= threshold.Count && count * 100.0 > threshold.Percent * of;
}
