using Rollcall.Tests.Infrastructure;

namespace Rollcall.Bench;

/// <summary>Users read from a server on this machine and from an archive of the same district, each by a process of its own.</summary>
internal sealed class ReadingRun(BenchOptions options)
{
    public async Task RunAsync()
    {
        var rows = new List<(string From, Measured Run)>();
        foreach (var size in options.People)
        {
            Console.Error.WriteLine($"{size} people: from a server");
            var (sandbox, ready) = await Child.StartAsync<SandboxReady>(new Order { Task = Tasks.Sandbox, People = size });
            await using (sandbox)
            {
                var order = new Order { Task = Tasks.Users, Url = ready.Url };

                // The first reader pays for what the sandbox makes on demand.
                await Child.MeasureAsync(order);
                rows.Add(("server", await Child.MeasureAsync(order)));
            }

            Console.Error.WriteLine($"{size} people: from an archive");
            using var folder = new TempFolder();
            await Child.MeasureAsync(
                new Order
                {
                    Task = Tasks.WriteZip,
                    People = size,
                    Folder = folder.Path,
                }
            );
            rows.Add(("archive", await Child.MeasureAsync(new Order { Task = Tasks.ReadZip, Folder = folder.Path })));
        }

        var table = Report.Reading(rows);
        Console.WriteLine(table);
        if (options.UpdateReadme)
        {
            Report.UpdateReadme(table, "reading");
        }
    }
}
