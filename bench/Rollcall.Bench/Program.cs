using System.Text.Json;
using Rollcall.Bench;

try
{
    if (args is [Child.Switch, var json])
    {
        await RunAsChildAsync(JsonSerializer.Deserialize<Order>(json, Wire.Json)!);
        return 0;
    }

    if (BenchOptions.Parse(args) is not { } options)
    {
        Console.Error.WriteLine(BenchOptions.Usage);
        return 2;
    }

    await (
        options.Districts > 0 ? new NightRun(options).RunAsync()
        : options.Migrated > 0 ? new MigrationRun(options).RunAsync()
        : options.ReadingAlone ? new ReadingRun(options).RunAsync()
        : new BenchRun(options).RunAsync()
    );
    return 0;
}
catch (BenchFailedException e)
{
    Console.Error.WriteLine($"FAILED: {e.Message}");
    return 1;
}

static async Task RunAsChildAsync(Order order)
{
    if (order.Task == Tasks.Sandbox)
    {
        await SandboxTask.RunAsync(order);
        return;
    }

    var measured = order.Task switch
    {
        Tasks.Sync => await SyncTasks.SyncAsync(order),
        Tasks.Bare => await ReadTasks.BareAsync(order),
        Tasks.Users => await ReadTasks.UsersAsync(order),
        Tasks.WriteZip => ReadTasks.WriteZip(order),
        Tasks.ReadZip => await ReadTasks.ZipAsync(order),
        Tasks.Undo => await SyncTasks.UndoAsync(order),
        Tasks.Vanished => await SyncTasks.VanishedAsync(order),
        Tasks.Pages => await PageTask.RunAsync(order),
        Tasks.Migrate => await MigrationRun.MigrateAsync(order),
        Tasks.Floor => await FloorTask.RunAsync(order),
        _ => throw new BenchFailedException($"No task '{order.Task}'."),
    };
    Console.WriteLine(JsonSerializer.Serialize(measured, Wire.Json));
}
