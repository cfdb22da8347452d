using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using Rollcall.Operations;

namespace Rollcall.Bench;

/// <summary>Numbers → Markdown.</summary>
internal static class Report
{
    private const string Begin = "<!-- table: written by --update-readme -->";
    private const string End = "<!-- end of table -->";

    /// <summary>Users from a server and from an archive.</summary>
    public static string Reading(
        IReadOnlyList<(string From, Measured Run)> rows,
        IReadOnlyList<(SandboxReady Ready, Measured Users, Measured All, double Peak)> sandboxes
    )
    {
        var text = new StringBuilder();
        var date = TimeProvider.System.GetUtcNow().ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);
        Line(text, $"{date}, {Environment.ProcessorCount} cores, {RuntimeInformation.FrameworkDescription}.");
        text.AppendLine();
        Line(text, $"| users | from | total s | of it checking s | users/s | own CPU s | bytes allocated per user | heap MB | peak MB |");
        Line(text, $"|---:|---|---:|---:|---:|---:|---:|---:|---:|");
        foreach (var (from, run) in rows)
        {
            var checking = run.Parts.TryGetValue("Checking", out var seconds) ? seconds.ToString("F2", CultureInfo.InvariantCulture) : "";
            Line(
                text,
                $"| {run.Rows:N0} | {from} | {run.Seconds:F2} | {checking} | {run.Rows / run.Seconds:N0} | {run.Cpu:F2} | {run.Allocated * 1e6 / run.Rows:N0} | {run.Heap:F0} | {run.Peak:F0} |"
            );
        }

        text.AppendLine();
        Line(text, $"The sandbox's side of it, while all collections are read with nobody looking at them.");
        text.AppendLine();
        Line(text, $"| users | rows, all collections | start s | first page of users s | all rows s | rows/s | peak MB |");
        Line(text, $"|---:|---:|---:|---:|---:|---:|---:|");
        foreach (var (ready, users, all, peak) in sandboxes)
        {
            Line(
                text,
                $"| {users.Rows:N0} | {all.Rows:N0} | {ready.Seconds:F2} | {all.FirstPage:F2} | {all.Seconds:F2} | {all.Rows / all.Seconds:N0} | {peak:F0} |"
            );
        }

        return text.ToString().TrimEnd();
    }

    public static string Table(BenchOptions options, string versions, IReadOnlyList<Reading> readings, IReadOnlyList<Result> results)
    {
        var text = new StringBuilder();
        var date = TimeProvider.System.GetUtcNow().ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);
        var memory = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / (1024.0 * 1024 * 1024);
        Line(
            text,
            $"{date}, {Environment.ProcessorCount} cores, {memory:F0} GB memory, {RuntimeInformation.FrameworkDescription}, {versions}, {(options.Homerooms ? "homerooms mapped" : "homerooms not mapped")}."
        );
        text.AppendLine();
        Line(text, $"Full syncs. *Floor*: the bare HTTP read and, for the first sync, the plain write of its rows.");
        text.AppendLine();
        Line(
            text,
            $"| people read | database | run | total s | pull s | plan s | apply s | people/s | own CPU s | peak MB | heap MB | written | × floor |"
        );
        Line(text, $"|---:|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
        foreach (var result in results)
        {
            var bare = result.Reading.Bare?.Seconds;
            Run(text, result, "first", result.First, result.Floor is null ? null : bare + result.Floor.Seconds);
            Run(text, result, "unchanged", result.Unchanged, bare);
            Run(text, result, "1 % changed", result.Changed, bare);
            if (result.Many is not null)
            {
                Run(text, result, "10 % changed", result.Many, bare);
            }
        }

        Others(text, results);

        text.AppendLine();
        Line(text, $"The floor: rows of the first sync (patrons, links, changes) by plain prepared insert or binary COPY.");
        text.AppendLine();
        Line(text, $"| people read | database | rows | write s | rows/s | first sync × write | plan and apply × write |");
        Line(text, $"|---:|---|---:|---:|---:|---:|---:|");
        foreach (var result in results)
        {
            if (result.Floor is not { } floor)
            {
                continue;
            }

            var writing = Stage(result.First, OperationStage.Planning) + Stage(result.First, OperationStage.Applying);
            Line(
                text,
                $"| {result.First.Counts.Read:N0} | {result.Database} | {floor.Rows:N0} | {floor.Seconds:F2} | {floor.Rows / floor.Seconds:N0} | {result.First.Seconds / floor.Seconds:F1} | {writing / floor.Seconds:F1} |"
            );
        }

        text.AppendLine();
        Line(text, $"Reading alone, no database. *Bare*: all pages that a sync reads, as bytes. *Client*: users parsed and checked.");
        text.AppendLine();
        Line(text, $"| people of ticked roles | users served | rows, all collections | MB | bare s | client users s | users/s | peak MB |");
        Line(text, $"|---:|---:|---:|---:|---:|---:|---:|---:|");
        foreach (var reading in readings)
        {
            if (reading is not { Bare: { } bare, Users: { } users })
            {
                continue;
            }

            Line(
                text,
                $"| {reading.Ticked:N0} | {users.Rows:N0} | {bare.Rows:N0} | {bare.Bytes / 1e6:N0} | {bare.Seconds:F2} | {users.Seconds:F2} | {users.Rows / users.Seconds:N0} | {users.Peak:F0} |"
            );
        }

        if (results.Count > 0)
        {
            text.AppendLine();
            var timed = results.Where(r => r.Reading.Size <= BenchOptions.Many).Select(r => r.Reading.Size).DefaultIfEmpty().Max();
            Parts(text, "Where the time goes, in seconds", [.. results.Where(r => r.Reading.Size == timed)], m => m.Parts, "F2");
            Parts(
                text,
                "What writing changes is made of, in seconds",
                [.. results.Where(r => r.Reading.Size == timed)],
                m => m.PartsWriting,
                "F2",
                isPart: _ => true
            );
            Parts(text, "Its own processor time, in seconds", [.. results.Where(r => r.Reading.Size == timed)], m => m.PartsCpu, "F2");
            Parts(
                text,
                "The most memory that was resident, in MB",
                [.. results.Where(r => r.Reading.Size == results.Max(other => other.Reading.Size))],
                m => m.PartsMemory,
                "F0"
            );
        }

        return text.ToString().TrimEnd();
    }

    /// <param name="table">The table.</param>
    /// <param name="name">Of the place where it stands.</param>
    /// <param name="file">The document, from the bench's folder on.</param>
    public static void UpdateReadme(string table, string name = "table", string file = "README.md")
    {
        var (begin, end) = (
            Begin.Replace("table:", name + ":", StringComparison.Ordinal),
            End.Replace("table", name, StringComparison.Ordinal)
        );
        var path = Path.Combine(Path.GetDirectoryName(SourceFile())!, "..", file);
        var text = File.ReadAllText(path);
        var from = text.IndexOf(begin, StringComparison.Ordinal);
        var to = text.IndexOf(end, StringComparison.Ordinal);
        BenchFailedException.ThrowUnless(from >= 0 && to > from, $"bench/{file} has no place for the table.");
        File.WriteAllText(path, $"{text[..from]}{begin}\n\n{table.ReplaceLineEndings("\n")}\n\n{text[to..]}");
    }

    private static void Run(StringBuilder text, Result result, string name, Measured run, double? floor)
    {
        var counts = run.Counts;
        var written = counts.Created + counts.Updated + counts.Transferred + counts.Reactivated;
        Line(
            text,
            $"| {counts.Read:N0} | {result.Database} | {name} | {run.Seconds:F2} | {Stage(run, OperationStage.Pulling):F2} | {Stage(run, OperationStage.Planning):F2} | {Stage(run, OperationStage.Applying):F2} | {counts.Read / run.Seconds:N0} | {run.Cpu:F1} | {run.Peak:F0} | {run.Heap:F0} | {written:N0} | {(floor is { } f ? (run.Seconds / f).ToString("F1", CultureInfo.InvariantCulture) : "")} |"
        );
    }

    private static void Others(StringBuilder text, IReadOnlyList<Result> results)
    {
        text.AppendLine();
        Line(
            text,
            $"Other work. *Vanished*: four in ten students of each school are missing from the feed; rows are those that are held. *Changes*: a sync of what changed in two days, by a process that has just started; *again*: by one that did one before. *Undo*: of the sync in which 10 % changed."
        );
        text.AppendLine();
        Line(text, $"| people read | database | work | rows | total s | own CPU s | peak MB |");
        Line(text, $"|---:|---|---|---:|---:|---:|---:|");
        foreach (var result in results)
        {
            foreach (
                var (name, run) in ((string, Measured?)[])
                    [
                        ("vanished", result.Vanished),
                        (Became("changes", result.Delta), result.Delta),
                        (Became("changes, again", result.Again), result.Again),
                        ("undo", result.Undo),
                    ]
            )
            {
                if (run is not null)
                {
                    Line(
                        text,
                        $"| {result.First.Counts.Read:N0} | {result.Database} | {name} | {(run == result.Vanished ? run.Rows : run.Counts.Read):N0} | {run.Seconds:F2} | {run.Cpu:F1} | {run.Peak:F0} |"
                    );
                }
            }
        }

        text.AppendLine();
        Line(
            text,
            $"Pages, in milliseconds, asked for one after the other while the same process does a sync: the first, and one a month later."
        );
        text.AppendLine();
        Line(text, $"| people | database | sync | page | times | median | p99 | longest |");
        Line(text, $"|---:|---|---|---|---:|---:|---:|---:|");
        foreach (var result in results)
        {
            foreach (var (sync, pages) in new[] { ("first", result.Pages?.Pages), ("10 % changed", result.Pages?.PagesLater) })
            {
                foreach (var (page, waits) in pages ?? [])
                {
                    Line(
                        text,
                        $"| {result.First.Counts.Read:N0} | {result.Database} | {sync} | {page} | {waits.Times:N0} | {waits.Median:F0} | {waits.P99:F0} | {waits.Longest:F0} |"
                    );
                }
            }
        }
    }

    private static string Became(string name, Measured? run) => run?.FullBecause is { } why ? $"{name} (became full: {why})" : name;

    private static void Parts(
        StringBuilder text,
        string title,
        IReadOnlyList<Result> results,
        Func<Measured, Dictionary<string, double>> parts,
        string format,
        Func<string, bool>? isPart = null
    )
    {
        if (results.Count == 0)
        {
            return;
        }

        (string Name, Measured Run)[] runs =
        [
            .. results.SelectMany(r =>
                new (string, Measured?)[]
                {
                    ($"{r.Database} first", r.First),
                    ($"{r.Database} unchanged", r.Unchanged),
                    ($"{r.Database} vanished", r.Vanished),
                    ($"{r.Database} changes", r.Delta),
                    ($"{r.Database} changes, again", r.Again),
                    ($"{r.Database} undo", r.Undo),
                }
                    .Where(n => n.Item2 is not null)
                    .Select(n => (n.Item1, n.Item2!))
            ),
        ];
        Line(text, $"{title}: {results[0].First.Counts.Read:N0} people.");
        text.AppendLine();
        Line(text, $"| | {string.Join(" | ", runs.Select(r => r.Name))} |");
        Line(text, $"|---|{string.Concat(Enumerable.Repeat("---:|", runs.Length))}");
        foreach (
            var part in runs.SelectMany(r => parts(r.Run).Keys)
                .Where(p => isPart?.Invoke(p) ?? p.Contains(':', StringComparison.Ordinal))
                .Distinct(StringComparer.Ordinal)
        )
        {
            Line(
                text,
                $"| {part} | {string.Join(" | ", runs.Select(r => parts(r.Run).TryGetValue(part, out var s) ? s.ToString(format, CultureInfo.InvariantCulture) : ""))} |"
            );
        }

        text.AppendLine();
    }

    private static double Stage(Measured run, OperationStage stage) => run.Parts.GetValueOrDefault(stage.ToString());

    private static void Line(StringBuilder text, FormattableString line) =>
        text.Append(line.ToString(CultureInfo.InvariantCulture)).Append('\n');

    private static string SourceFile([CallerFilePath] string path = "") => path;
}
