using System.Diagnostics;
using System.Net;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Sandbox;
using Rollcall.Server.Pages.Parts;
using Rollcall.Server.Watch;
using Rollcall.Server.Worker;
using Rollcall.SignIn;
using Rollcall.Storage;

namespace Rollcall.Bench;

/// <summary>How long people wait for pages while the same process does the district's first sync, and then one in which much has changed, with
/// everybody there: the server as it is installed, asked over HTTP by one visitor after the other.</summary>
internal static class PageTask
{
    private const string Patron = "patron";

    private static readonly (string Name, string Path)[] s_pages =
    [
        ("dashboard", "/"),
        (Patron, "/patrons/" + SyncTasks.FirstBarcode),
        ("patron list", "/patrons"),
        ("search", "/patrons?q=mar"),
        ("operations", "/operations"),
    ];

    /// <summary>All other pages, a few in each round. Those that ask the roster something wait for the roster: they are not among them.</summary>
    private static readonly string[] s_others =
    [
        "/patrons?sort=grade",
        "/patrons?sort=grade&order=down",
        "/patrons?sort=number",
        "/patrons?sort=site",
        "/patrons?sort=status",
        "/patrons?sort=changed&order=down",
        "/patrons?q=a",
        "/patrons?q=a&status=Active&sort=grade&order=down&page=2",
        "/patrons?page=400",
        "/patrons?site=S1&page=20",
        "/patrons/" + SyncTasks.FirstBarcode + "?tab=history",
        "/patrons/" + SyncTasks.FirstBarcode + "?tab=roster",
        "/patron/edit",
        "/patron/edit?barcode=" + SyncTasks.FirstBarcode,
        "/patron/explain?barcode=" + SyncTasks.FirstBarcode,
        "/patron/merge?keep=" + SyncTasks.FirstBarcode,
        "/patron/erase?barcode=" + SyncTasks.FirstBarcode,
        "/patron/bulk?do=edit",
        "/patron/bulk?do=remove&status=Transferred",
        "/patron/import",
        "/operations?from=2020-01-01&to=2020-01-02",
        "/operations/1",
        "/operations/1?q=mar",
        "/operations/1?outcome=created&page=500",
        "/review",
        "/review?q=mar&sort=name",
        "/review?site=S1&page=20",
        "/sites",
        "/sites?q=s&sort=patrons&order=down",
        "/sites/edit/S1",
        "/end-of-year",
        "/lists",
        "/lists/arrivals",
        "/lists/leavers",
        "/lists/transferred",
        "/preferences/sis",
        "/preferences/sis/classlink",
        "/preferences/sis/classlink/syncing",
        "/preferences/sis/classlink/mapping",
        "/preferences/sis/classlink/schedule",
        "/preferences/sis/classlink/holds",
        "/preferences/grades",
        "/preferences/policies",
        "/preferences/notices",
        "/preferences/retention",
        "/preferences/tokens",
        "/accounts",
        "/account",
        "/audit",
        "/about",
    ];

    private const int LaterOnDay = 35;
    private const string Others = "every other page";
    private const int OthersARound = 5;

    /// <summary>So many wait in Review all the while.</summary>
    private const int Waiting = 3000;

    private const string SignIn = "ClassLink callback";

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

        using var comer = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false }) { BaseAddress = new Uri(server.Url) };
        await ShowOnceAsync(server.Services, database, http);
        await OpenAsync(server.Services, order);
        string? comes = null;
        var before = await SyncTasks.StateAsync(database);
        var turn = 0;
        var slow = new List<LongWait>();
        Dictionary<string, List<double>> waits = [];
        var operation = new Operation();
        var begin = Stopwatch.GetTimestamp();
        using var gauge = new Gauge();
        var first = await VisitAsync("first", gauge);
        var measured = await SyncTasks.CheckedAsync(database, operation, gauge.Stop(), before);

        // A month later about a tenth has changed.
        await SandboxTask.GoToAsync(order.Url, LaterOnDay);
        await ReadTasks.BareAsync(order);
        var later = await VisitAsync("later", null);
        BenchFailedException.ThrowUnless(
            operation.Status is OperationStatus.Completed or OperationStatus.CompletedWithWarnings,
            $"The second sync ended: {operation.Status} {operation.Error}"
        );
        return measured with
        {
            Pages = first,
            PagesLater = later,
            LongWaits = [.. slow.OrderByDescending(w => w.Milliseconds).Take(LongWaits)],
        };

        async Task<Dictionary<string, Waits>> VisitAsync(string when, Gauge? seen)
        {
            waits = s_pages
                .Select(p => p.Name)
                .Concat([Others, SignIn])
                .ToDictionary(n => n, _ => new List<double>(), StringComparer.Ordinal);
            begin = Stopwatch.GetTimestamp();
            var (id, _) = await queue.EnqueueAsync(1, OperationKind.FullSync, IntegrationKind.ClassLink, preview: false, "bench");
            operation = await queue.GetAsync(1, id);
            while (operation.Status is OperationStatus.Waiting or OperationStatus.Running)
            {
                await RoundAsync(when);
                operation = await queue.GetAsync(1, id);
                seen?.See(operation.Stage.ToString(), operation.StageText);
            }

            var all = waits.Values.SelectMany(w => w).ToList();
            return waits.Append(new("all", all)).ToDictionary(w => w.Key, w => Of(w.Value), StringComparer.Ordinal);
        }

        async Task RoundAsync(string when)
        {
            var others = Enumerable.Range(turn, OthersARound).Select(i => (Name: Others, Path: s_others[i % s_others.Length]));
            turn += OthersARound;
            foreach (var (name, path) in s_pages.Concat(others))
            {
                // The patron is not there before his time, and that nobody is there is said faster than who is.
                var status = await WaitAsync(http, name, new Uri(path, UriKind.Relative), $"{when} {(name == Others ? path : name)}");
                BenchFailedException.ThrowUnless(
                    status == HttpStatusCode.OK
                        || (path.Contains(SyncTasks.FirstBarcode, StringComparison.Ordinal) && status == HttpStatusCode.NotFound),
                    $"{path} answers {(int)status} during a sync."
                );
                if (name == Patron && status == HttpStatusCode.OK && comes is null)
                {
                    // The first one is what happens once in a server's life.
                    comes = await GuidAsync(database);
                    using var once = await comer.GetAsync(await ComeBackAsync(comer, comes));
                }

                await Task.Delay(15);
            }

            if (comes is not null)
            {
                // Somebody says at ClassLink who they are, and comes back: what this server then asks ClassLink is part of the wait.
                var status = await WaitAsync(comer, SignIn, await ComeBackAsync(comer, comes), $"{when} {SignIn}");
                BenchFailedException.ThrowUnless(status == HttpStatusCode.Redirect, $"A sign-in ends with {(int)status} during a sync.");
                await Task.Delay(15);
            }
        }

        async Task<HttpStatusCode> WaitAsync(HttpClient client, string name, Uri address, string told)
        {
            var start = Stopwatch.GetTimestamp();
            var paused = GC.GetTotalPauseDuration();
            using var answer = await client.GetAsync(address);
            await answer.Content.ReadAsByteArrayAsync();
            var waited = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            if (answer.StatusCode == HttpStatusCode.NotFound)
            {
                return answer.StatusCode;
            }

            waits[name].Add(waited);
            slow.Add(
                new LongWait(
                    told,
                    waited,
                    Stopwatch.GetElapsedTime(begin, start).TotalSeconds,
                    $"{operation.Stage}: {operation.StageText}",
                    (GC.GetTotalPauseDuration() - paused).TotalMilliseconds
                )
            );
            return answer.StatusCode;
        }
    }

    /// <summary>The district's people sign in with ClassLink, which the sandbox plays.</summary>
    private static async Task OpenAsync(IServiceProvider services, Order order)
    {
        var (sandbox, signIn) = (new SandboxOptions(), services.GetRequiredService<ClassLinkSignIn>());
        var address = new Uri(order.Url).GetLeftPart(UriPartial.Authority);
        await signIn.StoreClientAsync(sandbox.ClientId, sandbox.ClientSecret, address, address, acceptTiles: false, "bench");
        await signIn.TurnAsync(1, true, null, "bench");
    }

    private static async Task<string> GuidAsync(RollcallDatabase database)
    {
        await using var context = database.CreateContext();
        return (await context.Patrons.SingleAsync(p => p.Barcode == SyncTasks.FirstBarcode)).Guid!;
    }

    /// <summary>Begins a sign-in and says at ClassLink who one is.</summary>
    /// <returns>Where ClassLink sends the browser.</returns>
    private static async Task<Uri> ComeBackAsync(HttpClient client, string person)
    {
        using var begun = await client.GetAsync(new Uri("/signin/classlink", UriKind.Relative));
        using var answer = await client.GetAsync(new Uri($"{begun.Headers.Location}&person={Uri.EscapeDataString(person)}"));
        return answer.Headers.Location ?? throw new BenchFailedException($"ClassLink answers {(int)answer.StatusCode} to a sign-in.");
    }

    /// <summary>The first call of each page compiles it, with somebody to show on it: nobody is measured by what happens once in a server's life.</summary>
    private static async Task ShowOnceAsync(IServiceProvider services, RollcallDatabase database, HttpClient http)
    {
        var shown = await services
            .GetRequiredService<PatronService>()
            .AddAsync(1, [new("lastName", "Marlow"), new("firstName", "Mary"), new("barcode", "SHOWN-1"), new("site", "S1")], "bench");
        await using (var waiting = database.CreateContext())
        {
            waiting.ReviewItems.AddRange(
                Enumerable
                    .Range(1, Waiting)
                    .Select(i => new ReviewItem
                    {
                        DistrictId = 1,
                        Id = i,
                        RosterId = $"waiting-{i}",
                        RoleGroup = RoleGroup.Student,
                        Reason = "Several patrons have this Student #",
                        Values = $$"""{"{{PatronFields.LastName}}":[null,"Marlow{{i}}"],"{{PatronFields.Site}}":[null,"1"]}""",
                        CreatedAt = DateTimeOffset.UnixEpoch,
                    })
            );
            await waiting.SaveChangesAsync();
        }

        foreach (var path in s_pages.Select(p => p.Path).Concat(s_others).Append("/patrons/" + shown.Barcode))
        {
            using var answer = await http.GetAsync(new Uri(path, UriKind.Relative));
        }

        await using var context = database.CreateContext();
        await context.Patrons.Where(p => p.Id == shown.Id).ExecuteDeleteAsync();
    }

    /// <summary>Whoever may look at every page, signed in past the form.</summary>
    private static async Task<string> SignInAsync(IServiceProvider services)
    {
        var district = await services.GetRequiredService<DistrictService>().ResolveAsync("BENCH");
        var (account, _) = await services
            .GetRequiredService<Accounts>()
            .AddAsync("office@library.example", district, SecurityGroup.DistrictAdministrator, null, isOperator: false, "bench");
        return await services.GetRequiredService<Sessions>().OpenAsync(account, SignInMethod.Password, null, new Device("bench", null));
    }

    private static Waits Of(List<double> times)
    {
        times.Sort();
        double At(double share) => times.Count == 0 ? 0 : times[Math.Min(times.Count - 1, (int)(share * times.Count))];
        return new Waits(times.Count, At(0.5), At(0.99), At(1));
    }
}
