namespace Rollcall.Bench;

/// <summary>A measurement counts only when the work was done, all of it and once.</summary>
internal static class Checks
{
    // The target is of 1,000 records in a district of 100,000 people.
    private const double LeastChanged = 0.01;

    public static void First(Measured run, long ticked)
    {
        var counts = run.Counts;
        var after = run.After!;
        Must(run.Before!.Patrons == 0, "The database was not empty before the first sync.");
        Must(counts.Read == ticked, $"The roster has {ticked} ticked people, {counts.Read} were read.");
        Must(
            counts.Created > counts.Read * 0.9 && counts.Created + counts.Skipped + counts.Unchanged + counts.Review == counts.Read,
            $"A first sync creates: {counts}"
        );
        Must(after.Patrons == counts.Created, $"{counts.Created} people were created, {after.Patrons} patrons are there.");
        Must(after.People == after.Patrons && after.Links == after.Patrons, $"Patrons stand twice or without a link: {after}");
    }

    public static void Floor(Measured floor, Measured first) =>
        Must(
            floor.Rows == first.After!.Patrons + first.After.Links + first.PlanSize,
            $"The floor wrote {floor.Rows} rows, which is not what the first sync wrote."
        );

    public static void Unchanged(Measured run, Measured first)
    {
        Must(run.Before == first.After, $"The patrons changed between two syncs: {first.After}, then {run.Before}");
        Must(run.After == run.Before, $"Nothing changed in the roster, but patrons were written: {run.Before}, then {run.After}");
        Must(run.Counts.Read == first.Counts.Read, $"{first.Counts.Read} people the first time, {run.Counts.Read} the second.");
        Must(
            run.Counts.Unchanged + run.Counts.Skipped + run.Counts.Review == run.Counts.Read,
            $"Nothing changed in the roster, but: {run.Counts}"
        );
    }

    public static void Changed(Measured run, Measured before)
    {
        var (then, now, counts) = (run.Before!, run.After!, run.Counts);
        var written = counts.Created + counts.Updated + counts.Transferred + counts.Reactivated;
        Must(then == before.After, $"The patrons changed between two syncs: {before.After}, then {then}");
        Must(written > 0 && written < counts.Read * 0.05, $"Two days change about a hundredth: {counts}");
        Must(
            now.Patrons == then.Patrons + counts.Created,
            $"{counts.Created} people were created, patrons went from {then.Patrons} to {now.Patrons}."
        );
        Must(now.People == now.Patrons && now.Links == now.Patrons, $"Patrons stand twice or without a link: {now}");
        Must(
            now.Versions - then.Versions == written,
            $"{written} patrons were to be written, {now.Versions - then.Versions} times one was."
        );
    }

    /// <summary>A sync of changes reads few people, writes those of them who changed, and leaves everybody else.</summary>
    public static void Changes(Measured run, int people)
    {
        var (then, now, counts) = (run.Before!, run.After!, run.Counts);
        var written = counts.Created + counts.Updated + counts.Transferred + counts.Reactivated;
        Must(run.FullBecause is null, $"A sync of changes became a full one: {run.FullBecause}");
        Must(counts.Read >= people * LeastChanged, $"Two days change more than a hundredth: {counts}");
        Must(counts.Read < people * 0.1 && written > 0 && written <= counts.Read, $"A sync of changes reads few people: {counts}");
        Must(
            now.Patrons == then.Patrons + counts.Created,
            $"{counts.Created} people were created, patrons went from {then.Patrons} to {now.Patrons}."
        );
        Must(now.People == now.Patrons && now.Links == now.Patrons, $"Patrons stand twice or without a link: {now}");
        Must(
            now.Versions - then.Versions == written,
            $"{written} patrons were to be written, {now.Versions - then.Versions} times one was."
        );
    }

    /// <summary>Whoever vanished waits, all of them, and nobody is written.</summary>
    /// <param name="run">The run.</param>
    /// <param name="before">The one before.</param>
    /// <param name="gone">How many people the feed lost.</param>
    public static void Vanished(Measured run, Measured before, long gone)
    {
        var counts = run.Counts;
        Must(run.Before == before.After, $"The patrons changed between two syncs: {before.After}, then {run.Before}");
        Must(run.After == run.Before, $"Everything waits, but patrons were written: {run.Before}, then {run.After}");
        Must(counts.AddUp && counts.Read + gone == before.Counts.Read, $"{gone} of {before.Counts.Read} people vanished: {counts}");
        Must(counts.Absent > gone * 0.9 && counts.Absent <= gone, $"{gone} people vanished: {counts}");
        Must(
            counts.Held == counts.Absent && run.Rows == counts.Held,
            $"{counts.Absent} people are missing, {counts.Held} are said to wait, {run.Rows} are marked."
        );
    }

    public static void Undo(Measured run, Measured many)
    {
        Must(run.Counts.Read > 0, "Nothing was undone.");
        Must(
            run.After!.Patrons == many.Before!.Patrons,
            $"{many.Before.Patrons} patrons before, {run.After.Patrons} after the undo of what came between."
        );
    }

    private static void Must(bool holds, string what) => BenchFailedException.ThrowUnless(holds, what);
}
