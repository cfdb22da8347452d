using System.Globalization;
using Microsoft.Data.Sqlite;
using Rollcall.Storage;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Bench;

/// <summary>What one size read without a database.</summary>
/// <remarks>Null is what is not measured at this size.</remarks>
internal sealed record Reading(int Size, long Ticked, Measured? Bare, Measured? Users);

/// <summary>What one size on one database measured.</summary>
/// <remarks>Null is what is not measured at this size.</remarks>
internal sealed record Result(Reading Reading, string Database, Measured First, Measured Unchanged, Measured Changed)
{
    public Measured? Floor { get; init; }
    public Measured? Vanished { get; init; }
    public Measured? Delta { get; init; }
    public Measured? Again { get; init; }
    public Measured? Many { get; init; }
    public Measured? Undo { get; init; }
    public Measured? Pages { get; init; }
}

/// <summary>All measurements, one after the other: two at a time would measure each other.</summary>
internal sealed class BenchRun(BenchOptions options)
{
    /// <summary>Of the students of each school, when a feed is broken.</summary>
    private const double VanishedShare = 0.4;

    public async Task RunAsync()
    {
        var cluster = options.Databases.Contains(BenchOptions.Postgres) ? new PostgresCluster() : null;
        await using (cluster)
        {
            if (cluster is not null)
            {
                await cluster.InitializeAsync();
            }

            var versions = await VersionsAsync(cluster);
            var readings = new List<Reading>();
            var results = new List<Result>();
            foreach (var size in options.People)
            {
                await MeasureSizeAsync(size, cluster, readings, results);
            }

            if (options.PagesAlone)
            {
                return;
            }

            var table = Report.Table(options, versions, readings, results);
            Console.WriteLine(table);
            if (options.UpdateReadme)
            {
                Report.UpdateReadme(table);
            }
        }
    }

    private async Task MeasureSizeAsync(int size, PostgresCluster? cluster, List<Reading> readings, List<Result> results)
    {
        Reading? reading = null;
        foreach (var database in options.Databases)
        {
            // Each database meets the same district from its first day.
            Say($"{size} people, {database}: starting the sandbox");
            var (sandbox, ready) = await Child.StartAsync<SandboxReady>(new Order { Task = Tasks.Sandbox, People = size });
            await using (sandbox)
            {
                var read = new Order
                {
                    Task = Tasks.Bare,
                    Url = ready.Url,
                    Homerooms = options.Homerooms,
                };

                if (options.PagesAlone)
                {
                    await PagesAsync(database, cluster, size, read);
                    continue;
                }

                if (size > BenchOptions.Many)
                {
                    reading ??= new Reading(size, ready.Ticked, null, null);
                    results.Add(await MeasureAsync(reading, database, cluster, ready, read));
                    continue;
                }

                // The first reader pays for what the sandbox makes on demand: nobody's time but its own.
                await Child.MeasureAsync(read);
                if (reading is null)
                {
                    Say($"{size} people: reading alone");
                    reading = new Reading(
                        size,
                        ready.Ticked,
                        await Child.MeasureAsync(read),
                        await Child.MeasureAsync(read with { Task = Tasks.Users })
                    );
                    readings.Add(reading);
                }

                results.Add(await MeasureAsync(reading, database, cluster, ready, read));
            }
        }
    }

    private static async Task<Result> MeasureAsync(
        Reading reading,
        string database,
        PostgresCluster? cluster,
        SandboxReady ready,
        Order read
    )
    {
        var size = reading.Size;
        using var folder = new TempFolder();
        using var floorFolder = new TempFolder();
        var postgres = database == BenchOptions.Postgres;
        var order = read with
        {
            Task = Tasks.Sync,
            Folder = folder.Path,
            Connection = postgres ? await cluster!.CreateDatabaseAsync() : null,
            TargetFolder = floorFolder.Path,
            TargetConnection = postgres ? await cluster!.CreateDatabaseAsync() : null,
        };
        await SyncTasks.PrepareAsync(order, ready.Schools);

        Say($"{size} people, {database}: first");
        var first = await Child.MeasureAsync(order);
        Checks.First(first, ready.Ticked);
        Say(first);
        Measured? floor = null;
        if (size <= BenchOptions.Many)
        {
            Say($"{size} people, {database}: floor");
            floor = await Child.MeasureAsync(order with { Task = Tasks.Floor });
            Checks.Floor(floor, first);
        }

        Say($"{size} people, {database}: unchanged");
        var unchanged = await Child.MeasureAsync(order);
        Checks.Unchanged(unchanged, first);
        Say(unchanged);
        Measured? vanished = null;
        if (size <= BenchOptions.Many)
        {
            Say($"{size} people, {database}: four in ten vanished");
            var gone = await SandboxTask.VanishAsync(ready.Url, ready.Schools, VanishedShare);
            await Child.MeasureAsync(read);
            vanished = await Child.MeasureAsync(order with { Task = Tasks.Vanished });
            Checks.Vanished(vanished, unchanged, gone);
            Say(vanished);
            await SandboxTask.RestoreAsync(ready.Url);
        }

        Say($"{size} people, {database}: two days later");
        // A day changes about 0.7 % of the people.
        await LaterAsync(ready, read, 2, warm: size <= BenchOptions.Many);
        order = order with { Day = 2 };
        var changed = await Child.MeasureAsync(order);
        Checks.Changed(changed, unchanged);
        Say(changed);
        var result = new Result(reading, database, first, unchanged, changed) { Floor = floor, Vanished = vanished };
        if (size > BenchOptions.Many)
        {
            return result;
        }

        // Two days after the last sync: a day changes fewer people than the target is about.
        Say($"{size} people, {database}: changes");
        await LaterAsync(ready, read, 4);
        var delta = await Child.MeasureAsync(order with { ChangesOnly = true, Day = 4 });
        Checks.Changes(delta, size);
        Say(delta);
        Say($"{size} people, {database}: changes, in a server that runs");
        await LaterAsync(ready, read, 5);
        var again = await Child.MeasureAsync(order with { ChangesOnly = true, Day = 5, AgainOnDay = 7 });
        Checks.Changes(again, size);
        Say(again);
        Say($"{size} people, {database}: a tenth changed, and undone");
        await LaterAsync(ready, read, 35);
        order = order with { Day = 35 };
        var many = await Child.MeasureAsync(order);
        var undo = await Child.MeasureAsync(order with { Task = Tasks.Undo, Subject = many.OperationId });
        Checks.Undo(undo, many);
        Say(undo);

        if (postgres)
        {
            // PostgreSQL would tidy up behind all this while visitors wait.
            await cluster!.DropDatabaseAsync(order.Connection!);
            await cluster.DropDatabaseAsync(order.TargetConnection!);
        }

        var pages = await PagesAsync(database, cluster, size, order);
        return result with { Delta = delta, Again = again, Many = many, Undo = undo, Pages = pages };
    }

    private static async Task<Measured> PagesAsync(string database, PostgresCluster? cluster, int size, Order order)
    {
        Say($"{size} people, {database}: first and later, with visitors");
        var (sandbox, ready) = await Child.StartAsync<SandboxReady>(
            new Order
            {
                Task = Tasks.Sandbox,
                People = size,
                IsTrueClock = true,
            }
        );
        await using var own = sandbox;
        await Child.MeasureAsync(order with { Task = Tasks.Bare, Url = ready.Url });
        using var folder = new TempFolder();
        var visited = order with
        {
            Task = Tasks.Pages,
            Url = ready.Url,
            Day = 0,
            Folder = folder.Path,
            Connection = database == BenchOptions.Postgres ? await cluster!.CreateDatabaseAsync() : null,
        };
        await SyncTasks.PrepareAsync(visited, ready.Schools);
        var pages = await Child.MeasureAsync(visited);
        Say(pages);
        foreach (
            var (page, waits) in pages.Pages.Concat(
                pages.PagesLater.Select(p => new KeyValuePair<string, Waits>($"later, {p.Key}", p.Value))
            )
        )
        {
            Say(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"  {page}: {waits.Times} times, median {waits.Median:F0} ms, p99 {waits.P99:F0}, longest {waits.Longest:F0}"
                )
            );
        }

        foreach (var wait in pages.LongWaits)
        {
            Say(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"    {wait.Milliseconds:F0} ms, {wait.Page}, after {wait.At:F2} s, {wait.Stage} ({wait.Collecting:F0} ms collecting)"
                )
            );
        }

        return pages;
    }

    /// <summary>Lets days pass. The first reader afterwards pays for what the sandbox makes on demand.</summary>
    private static async Task LaterAsync(SandboxReady ready, Order read, int day, bool warm = true)
    {
        await SandboxTask.GoToAsync(ready.Url, day);
        if (warm)
        {
            await Child.MeasureAsync(read);
        }
    }

    private static async Task<string> VersionsAsync(PostgresCluster? cluster)
    {
        await using var sqlite = new SqliteConnection("Data Source=:memory:");
        await sqlite.OpenAsync();
        var versions = $"SQLite {sqlite.ServerVersion}";
        if (cluster is not null)
        {
            using var folder = new TempFolder();
            await using var database = new RollcallDatabase(new StorageOptions(folder.Path, await cluster.CreateDatabaseAsync()));
            await using var connection = await database.OpenAsync();
            versions += $", PostgreSQL {connection.ServerVersion.Split(' ')[0]}";
        }

        return versions;
    }

    /// <summary>What came out, at once: a long bench that is ended early has still told something.</summary>
    private static void Say(Measured run) =>
        Say(
            string.Create(
                CultureInfo.InvariantCulture,
                $"  {run.Counts.Read:N0} people, {run.Seconds:F1} s, own CPU {run.Cpu:F1} s, peak {run.Peak:F0} MB{(run.FullBecause is { } why ? $" (became full: {why})" : "")}"
            )
        );

    private static void Say(string text) => Console.Error.WriteLine(text);
}
