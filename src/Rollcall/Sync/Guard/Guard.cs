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
/// <param name="Returning">How many new people of the site and group have the name of somebody whom the roster lacks.</param>
internal sealed record Hold(int Site, RoleGroup Group, Risk Risk, int Count, int Of, int Returning);

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
            var returning = tally.Returning.GetValueOrDefault((site, group));
            bool TooManyLeave(int leavers) =>
                Exceeds(thresholds.At(site, Risk.Transfers), leavers, linked) || (leavers >= AllOfThem && leavers >= all);

            // Who leaves and comes at once under a new id does neither: of such people both halves wait, or none.
            var (held, of) = risk switch
            {
                Risk.Transfers => (
                    TooManyLeave(count) || (returning > 0 && Exceeds(thresholds.At(site, Risk.Creates), returning, people)),
                    linked
                ),
                Risk.Updates => (Exceeds(thresholds.At(site, risk), count, matched), matched),
                Risk.Creates => (
                    Exceeds(thresholds.At(site, risk), count, people)
                        || (returning > 0 && TooManyLeave(tally.Changes.GetValueOrDefault((site, group, Risk.Transfers)))),
                    people
                ),
                _ => (false, 0),
            };
            if (held)
            {
                holds.Add(new Hold(site, group, risk, count, of, returning));
            }
        }

        return [.. holds.OrderBy(h => h.Site).ThenBy(h => h.Group).ThenBy(h => h.Risk)];
    }

    private static bool Exceeds(Threshold threshold, int count, int of) =>
        count >= threshold.Count && count * 100.0 > threshold.Percent * of;
}
