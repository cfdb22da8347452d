using System.Diagnostics;
using System.Net;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;
using Rollcall.Server.Watch;
using Rollcall.Server.Worker;
using Rollcall.SignIn;
using Rollcall.Storage;

namespace Rollcall.Bench;

/// <summary>How long people wait for pages while the same process does the district's first sync: the server as it is installed, asked
/// over HTTP by one visitor after the other.</summary>
internal static class PageTask
{
    private static readonly (string Name, string Path)[] s_pages =
    [
        ("dashboard", "/"),
        ("patron", "/patrons/" + SyncTasks.FirstBarcode),
        ("patron list", "/patrons"),
        ("search", "/patrons?q=mar"),
        ("operations", "/operations"),
    ];

    // So many are told of one by one.
    private const int LongWaits = 20;

    public static async Task<Measured> RunAsync(Order order)
    {
        var options = new RollcallOptions(new StorageOptions(order.Folder, order.Connection), AllowPrivateAddresses: true);
        await using var server = await ServerProcess.StartAsync(
            options,
            "http://127.0.0.1:0",
            CancellationToken.None,
            new Watching(Least: LogLevel.Warning)
        );
        var database = server.Services.GetRequiredService<RollcallDatabase>();
        var queue = server.Services.GetRequiredService<OperationQueue>();
        using var http = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false, UseCookies = false })
        {
            BaseAddress = new Uri(server.Url),
            DefaultRequestHeaders = { { "Cookie", $"{SessionCookie.PlainName}={await SignInAsync(server.Services)}" } },
        };

        await ShowOnceAsync(server.Services, database, http);
        var before = await SyncTasks.StateAsync(database);
        var waits = s_pages.ToDictionary(p => p.Name, _ => new List<double>(), StringComparer.Ordinal);
        var slow = new List<LongWait>();
        using var gauge = new Gauge();
        var begin = Stopwatch.GetTimestamp();
        var (id, _) = await queue.EnqueueAsync(1, OperationKind.FullSync, IntegrationKind.ClassLink, preview: false, "bench");
        var operation = await queue.GetAsync(1, id);
        while (operation.Status is OperationStatus.Waiting or OperationStatus.Running)
        {
            foreach (var (name, path) in s_pages)
            {
                var start = Stopwatch.GetTimestamp();
                var paused = GC.GetTotalPauseDuration();
                using var answer = await http.GetAsync(new Uri(path, UriKind.Relative));
                await answer.Content.ReadAsByteArrayAsync();
                var waited = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
                waits[name].Add(waited);
                slow.Add(
                    new LongWait(
                        name,
                        waited,
                        Stopwatch.GetElapsedTime(begin, start).TotalSeconds,
                        $"{operation.Stage}: {operation.StageText}",
                        (GC.GetTotalPauseDuration() - paused).TotalMilliseconds
                    )
                );

                // The patron is not there before his time.
                BenchFailedException.ThrowUnless(
                    answer.StatusCode == HttpStatusCode.OK || (name == "patron" && answer.StatusCode == HttpStatusCode.NotFound),
                    $"{path} answers {(int)answer.StatusCode} during a sync."
                );
                await Task.Delay(15);
            }

            operation = await queue.GetAsync(1, id);
            gauge.See(operation.Stage.ToString(), operation.StageText);
        }

        var measured = await SyncTasks.CheckedAsync(database, operation, gauge.Stop(), before);
        var all = waits.Values.SelectMany(w => w).ToList();
        return measured with
        {
            Pages = waits.Append(new("all", all)).ToDictionary(w => w.Key, w => Of(w.Value), StringComparer.Ordinal),
            LongWaits = [.. slow.OrderByDescending(w => w.Milliseconds).Take(LongWaits)],
        };
    }

    /// <summary>The first call of each page compiles it, with somebody to show on it: nobody is measured by what happens once in a server's life.</summary>
    private static async Task ShowOnceAsync(IServiceProvider services, RollcallDatabase database, HttpClient http)
    {
        var shown = await services
            .GetRequiredService<PatronService>()
            .AddAsync(1, [new("lastName", "Marlow"), new("firstName", "Mary"), new("barcode", "SHOWN-1"), new("site", "S1")], "bench");
        foreach (var path in s_pages.Select(p => p.Path).Append("/patrons/" + shown.Barcode))
        {
            using var answer = await http.GetAsync(new Uri(path, UriKind.Relative));
        }

        await using var context = database.CreateContext();
        await context.Patrons.Where(p => p.Id == shown.Id).ExecuteDeleteAsync();
    }

    /// <summary>A librarian of every site, signed in past the form.</summary>
    private static async Task<string> SignInAsync(IServiceProvider services)
    {
        var district = await services.GetRequiredService<DistrictService>().ResolveAsync("BENCH");
        var (account, _) = await services
            .GetRequiredService<Accounts>()
            .AddAsync("librarian@library.example", district, SecurityGroup.LibraryAdministrator, null, isOperator: false, "bench");
        return await services.GetRequiredService<Sessions>().OpenAsync(account, SignInMethod.Password, null, new Device("bench", null));
    }

    private static Waits Of(List<double> times)
    {
        times.Sort();
        double At(double share) => times.Count == 0 ? 0 : times[Math.Min(times.Count - 1, (int)(share * times.Count))];
        return new Waits(times.Count, At(0.5), At(0.99), At(1));
    }
}
