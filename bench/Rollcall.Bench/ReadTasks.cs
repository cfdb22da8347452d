using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using Rollcall.OneRoster.ClassLink;
using Rollcall.OneRoster.Csv;
using Rollcall.OneRoster.Rest;
using Rollcall.Sandbox;

namespace Rollcall.Bench;

/// <summary>Reading alone, without any database.</summary>
internal static class ReadTasks
{
    private const int PageSize = 1000;

    private static string Prefix(Order order) => $"{order.Url.TrimEnd('/')}/{new SandboxOptions().ApplicationId}/ims/oneroster/v1p1";

    /// <summary>The pages that a sync reads, as bytes that nobody looks at but for the end: the floor of every pull.</summary>
    public static async Task<Measured> BareAsync(Order order)
    {
        using var client = new HttpClient(new SocketsHttpHandler { AutomaticDecompression = DecompressionMethods.GZip });
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", new SandboxOptions().Bearer);
        string[] collections = order.Homerooms
            ? ["orgs", "academicSessions", "classes", "enrollments", "demographics", "users"]
            : ["orgs", "demographics", "users"];
        var buffer = new byte[128 * 1024];
        long rows = 0;
        long bytes = 0;
        double firstPage = 0;
        using var gauge = new Gauge();
        foreach (var collection in collections)
        {
            gauge.See("Reading", collection);
            var start = Stopwatch.GetTimestamp();
            for (long offset = 0, total = 1; offset < total; offset += PageSize)
            {
                var url = new Uri(
                    string.Create(
                        CultureInfo.InvariantCulture,
                        $"{Prefix(order)}/{collection}?limit={PageSize}&offset={offset}&sort=sourcedId&orderBy=asc"
                    )
                );
                using var response = await client.GetAsync(url, HttpCompletionOption.ResponseHeadersRead);
                response.EnsureSuccessStatusCode();
                total = long.Parse(response.Headers.GetValues("x-total-count").Single(), CultureInfo.InvariantCulture);
                if (offset == 0)
                {
                    rows += total;
                }

                await using var body = await response.Content.ReadAsStreamAsync();
                for (int read; (read = await body.ReadAsync(buffer)) > 0; )
                {
                    bytes += read;
                }

                if (offset == 0 && collection == "users")
                {
                    firstPage = Stopwatch.GetElapsedTime(start).TotalSeconds;
                }
            }
        }

        return gauge.Stop() with
        {
            Rows = rows,
            Bytes = bytes,
            FirstPage = firstPage,
        };
    }

    /// <summary>Users as the client reads them: parsed and checked, kept nowhere.</summary>
    public static async Task<Measured> UsersAsync(Order order)
    {
        var connections = new ClassLinkConnections(RosterClientOptions.Default with { AllowPrivateAddresses = true });
        using var source = connections.OpenPasted(Prefix(order), new SandboxOptions().Bearer);
        var walk = source.Users();
        long users = 0;
        using var gauge = new Gauge();
        await foreach (var page in walk.ReadAsync())
        {
            users += page.Records.Count;
            gauge.See("Reading", "users");
        }

        var measured = gauge.Stop();
        BenchFailedException.ThrowUnless(
            walk.Result is { UnreadableRows: 0, RowsShifted: false } && walk.Result.Rows == users,
            $"Users were not read cleanly: {walk.Result}"
        );
        return measured with { Rows = users };
    }

    /// <summary>Writes the district of the first day as an archive. Nobody's time is measured.</summary>
    public static Measured WriteZip(Order order)
    {
        using var gauge = new Gauge();
        var path = SandboxCsv.Write(SandboxTask.Options(order.People), 0, new SandboxCsvOptions(), order.Folder);
        return gauge.Stop() with { Bytes = new FileInfo(path).Length };
    }

    /// <summary>The archive as a sync takes it: judged whole, then its users read and kept nowhere.</summary>
    public static async Task<Measured> ZipAsync(Order order)
    {
        long users = 0;
        using var gauge = new Gauge();
        gauge.See("Checking", "package");
        var path = Directory.EnumerateFiles(order.Folder, "*.zip").Single();
        using var package = CsvPackage.Read(path, TimeProvider.System.GetUtcNow());
        BenchFailedException.ThrowUnless(
            package is { IsUsable: true, HasAllPeople: true, Report.Status: "Success" },
            $"The archive has faults that nobody put there: {package.Report.Comment}"
        );
        gauge.See("Reading", "users");
        using var source = new CsvRosterSource([package]);
        var walk = source.Users();
        await foreach (var page in walk.ReadAsync())
        {
            users += page.Records.Count;
            gauge.See("Reading", "users");
        }

        var measured = gauge.Stop();
        BenchFailedException.ThrowUnless(
            walk.Result is { UnreadableRows: 0, RowsShifted: false } && walk.Result.Rows == users,
            $"Users were not read cleanly: {walk.Result}"
        );
        return measured with { Rows = users, Bytes = new FileInfo(path).Length };
    }
}
