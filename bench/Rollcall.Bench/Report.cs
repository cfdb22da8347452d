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
            var bare = result.Reading.Bare.Seconds;
            Run(text, result, "first", result.First, bare + result.Floor.Seconds);
            Run(text, result, "unchanged", result.Unchanged, bare);
            Run(text, result, "1 % changed", result.Changed, bare);
        }

        text.AppendLine();
        Line(text, $"The floor: rows of the first sync (patrons, links, changes) by plain prepared insert or binary COPY.");
        text.AppendLine();
        Line(text, $"| people read | database | rows | write s | rows/s | first sync × write | plan and apply × write |");
        Line(text, $"|---:|---|---:|---:|---:|---:|---:|");
        foreach (var result in results)
        {
            var floor = result.Floor;
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
            var (bare, users) = (reading.Bare, reading.Users);
            Line(
                text,
                $"| {reading.Ticked:N0} | {users.Rows:N0} | {bare.Rows:N0} | {bare.Bytes / 1e6:N0} | {bare.Seconds:F2} | {users.Seconds:F2} | {users.Rows / users.Seconds:N0} | {users.Peak:F0} |"
            );
        }

        if (results.Count > 0)
        {
            text.AppendLine();
            Line(text, $"Where the time of the largest runs goes, in seconds.");
            text.AppendLine();
            Parts(text, [.. results.Where(r => r.Reading.Size == results.Max(other => other.Reading.Size))]);
        }

        return text.ToString().TrimEnd();
    }

    public static void UpdateReadme(string table)
    {
        var path = Path.Combine(Path.GetDirectoryName(SourceFile())!, "..", "README.md");
        var text = File.ReadAllText(path);
        var from = text.IndexOf(Begin, StringComparison.Ordinal);
        var to = text.IndexOf(End, StringComparison.Ordinal);
        BenchFailedException.ThrowUnless(from >= 0 && to > from, "bench/README.md has no place for the table.");
        File.WriteAllText(path, $"{text[..from]}{Begin}\n\n{table.ReplaceLineEndings("\n")}\n\n{text[to..]}");
    }

    private static void Run(StringBuilder text, Result result, string name, Measured run, double floor)
    {
        var counts = run.Counts;
        var written = counts.Created + counts.Updated + counts.Transferred + counts.Reactivated;
        Line(
            text,
            $"| {counts.Read:N0} | {result.Database} | {name} | {run.Seconds:F2} | {Stage(run, OperationStage.Pulling):F2} | {Stage(run, OperationStage.Planning):F2} | {Stage(run, OperationStage.Applying):F2} | {counts.Read / run.Seconds:N0} | {run.Cpu:F1} | {run.Peak:F0} | {run.Heap:F0} | {written:N0} | {run.Seconds / floor:F1} |"
        );
    }

    private static void Parts(StringBuilder text, IReadOnlyList<Result> results)
    {
        (string Name, Measured Run)[] runs =
        [
            .. results.SelectMany(r => new[] { ($"{r.Database} first", r.First), ($"{r.Database} unchanged", r.Unchanged) }),
        ];
        Line(text, $"| | {string.Join(" | ", runs.Select(r => r.Name))} |");
        Line(text, $"|---|{string.Concat(Enumerable.Repeat("---:|", runs.Length))}");
        foreach (
            var part in runs.SelectMany(r => r.Run.Parts.Keys)
                .Where(p => p.Contains(':', StringComparison.Ordinal))
                .Distinct(StringComparer.Ordinal)
        )
        {
            Line(
                text,
                $"| {part} | {string.Join(" | ", runs.Select(r => r.Run.Parts.TryGetValue(part, out var s) ? s.ToString("F2", CultureInfo.InvariantCulture) : ""))} |"
            );
        }
    }

    private static double Stage(Measured run, OperationStage stage) => run.Parts.GetValueOrDefault(stage.ToString());

    private static void Line(StringBuilder text, FormattableString line) =>
        text.Append(line.ToString(CultureInfo.InvariantCulture)).Append('\n');

    private static string SourceFile([CallerFilePath] string path = "") => path;
}
