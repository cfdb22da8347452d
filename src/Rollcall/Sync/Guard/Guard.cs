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
internal sealed record Hold(int Site, RoleGroup Group, Risk Risk, int Count, int Of);

/// <summary>Compares what a plan would do with the thresholds. Pure.</summary>
internal static class Guard
{
    private const int AllOfThem = 3;

    public static IReadOnlyList<Hold> Check(Thresholds thresholds, RiskTally tally)
    {
        var holds = new List<Hold>();
        foreach (var ((site, group, risk), count) in tally.Changes)
        {
            var linked = tally.Linked.GetValueOrDefault((site, group));
            var matched = tally.Matched.GetValueOrDefault((site, group));
            var people = matched + tally.Created.GetValueOrDefault((site, group));

            // Whom no sync transfers stays, and would hide that all others go.
            var all = tally.Transferable.GetValueOrDefault((site, group));
            var (held, of) = risk switch
            {
                Risk.Transfers => (Exceeds(thresholds.At(site, risk), count, linked) || (count >= AllOfThem && count >= all), linked),
                Risk.Updates => (Exceeds(thresholds.At(site, risk), count, matched), matched),
                Risk.Creates => (Exceeds(thresholds.At(site, risk), count, people), people),
                _ => (false, 0),
            };
            if (held)
            {
                holds.Add(new Hold(site, group, risk, count, of));
            }
        }

        return [.. holds.OrderBy(h => h.Site).ThenBy(h => h.Group).ThenBy(h => h.Risk)];
    }

    private static bool Exceeds(Threshold threshold, int count, int of) =>
        count >= threshold.Count && count * 100.0 > threshold.Percent * of;
}
