using Rollcall.Tests.Infrastructure;

namespace Rollcall.Bench;

/// <summary>Users read from a server on this machine and from an archive of the same district, each by a process of its own.</summary>
internal sealed class ReadingRun(BenchOptions options)
{
    public async Task RunAsync()
    {
        var rows = new List<(string From, Measured Run)>();
        var sandboxes = new List<(SandboxReady Ready, Measured Users, Measured All, double Peak)>();
        foreach (var size in options.People)
        {
            Console.Error.WriteLine($"{size} people: from a server");
            var (sandbox, ready) = await Child.StartAsync<SandboxReady>(new Order { Task = Tasks.Sandbox, People = size });
            await using (sandbox)
            {
                // The first reader pays for what the sandbox makes on demand.
                var order = new Order
                {
                    Task = Tasks.Bare,
                    Url = ready.Url,
                    Homerooms = true,
                };
                var all = await Child.MeasureAsync(order);
                var users = await Child.MeasureAsync(order with { Task = Tasks.Users });
                rows.Add(("server", users));
                sandboxes.Add((ready, users, all, sandbox.Peak));
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

        var table = Report.Reading(rows, sandboxes);
        Console.WriteLine(table);
        if (options.UpdateReadme)
        {
            Report.UpdateReadme(table, "reading");
        }
    }
}
