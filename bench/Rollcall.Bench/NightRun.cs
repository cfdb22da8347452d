using System.Diagnostics;
using System.Globalization;
using System.Text;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Storage;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Bench;

/// <summary>Nights of many districts on several servers and one PostgreSQL. The sandboxes of all districts answer at a rate that they share, as a
/// roster service does; the servers are processes of their own, started as they are installed, and queue the nights themselves. PostgreSQL's
/// commits wait for the disk.</summary>
internal sealed class NightRun(BenchOptions options)
{
    private const string By = "bench";

    private readonly List<SandboxServer> _sandboxes = [];
    private readonly Lock _gate = new();
    private long _rate = options.Rate;
    private int _nights;
    private long _next;
    private long _answers;

    private sealed record Node(Process Process)
    {
        public string Name => $"{Environment.MachineName}:{Process.Id}";
    }

    public async Task RunAsync()
    {
        var disk = Directory.CreateTempSubdirectory("rollcall-night-");
        var cluster = await PostgresCluster.OwnAsync(disk.FullName, durable: true);
        using var folder = new TempFolder();
        var nodes = new List<Node>();
        try
        {
            var connection = await cluster.CreateDatabaseAsync();
            await SetUpAsync(folder.Path, connection);
            await using (var source = NpgsqlDataSource.Create(connection))
            await using (var off = source.CreateCommand("UPDATE integrations SET enabled = false"))
            {
                await off.ExecuteNonQueryAsync();
            }

            var people = _sandboxes.Select(s => SandboxTask.Ticked(s.District)).Order().ToList();
            Console.Error.WriteLine($"{people.Count} districts with {people.Sum():#,0} people are set up");
            for (var i = 0; i < options.Nodes; i++)
            {
                nodes.Add(await StartAsync(folder.Path, connection));
            }

            var table = new StringBuilder();
            table.AppendLine(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{people.Count} districts with {people.Sum():#,0} people of ticked roles: half of them under {people[people.Count / 2]:#,0}, one in ten over {people[people.Count * 9 / 10]:#,0}, the largest {people[^1]:#,0}. {options.Nodes} nodes, {options.Parallel} operations at once on each, at most {options.Rate} answers a second from the roster services together. {Environment.ProcessorCount} cores for nodes, PostgreSQL and roster services."
                )
            );
            table.AppendLine();
            table.AppendLine(
                "| night | minutes | districts/min | people/s | answers/s | plan rows | median s | 95 % s | longest s | node CPU s | PostgreSQL MB |"
            );
            table.AppendLine("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
            table.AppendLine(await NightAsync(connection, "first, everybody new", day: 0, options.Rate, nodes));
            table.AppendLine(await NightAsync(connection, "a day later", day: 1, options.Rate, nodes));
            table.AppendLine(await NightAsync(connection, "the same once more", day: 1, options.Rate, nodes));
            table.AppendLine(await NightAsync(connection, "and from services a quarter as fast", day: 1, options.Rate / 4, nodes));

            table.AppendLine();
            table.AppendLine(
                $"Most memory of a node: {string.Join(", ", nodes.Select(n => $"{PeakMegabytes(n.Process):0} MB"))}. Operations by node in all: {string.Join(", ", await SharesAsync(connection, nodes))}."
            );
            Console.WriteLine(table.ToString());
            if (options.UpdateReadme)
            {
                Report.UpdateReadme(table.ToString().TrimEnd(), "night", Path.Combine("..", "docs", "scale.md"));
            }
        }
        finally
        {
            foreach (var node in nodes)
            {
                node.Process.Kill();
                await node.Process.WaitForExitAsync();
                node.Process.Dispose();
            }

            foreach (var sandbox in _sandboxes)
            {
                await sandbox.DisposeAsync();
            }

            await cluster.DisposeAsync();
            if (disk.Exists)
            {
                disk.Delete(recursive: true);
            }
        }
    }

    /// <summary>All districts due at once, as at four in the morning of one time zone; until the last has ended.</summary>
    private async Task<string> NightAsync(string connection, string name, int day, int rate, List<Node> nodes)
    {
        foreach (var sandbox in _sandboxes)
        {
            sandbox.SetDay(day);
        }

        await using var source = NpgsqlDataSource.Create(connection);
        var before = await NumberAsync(source, "SELECT coalesce(max(id), 0) FROM operations");
        var ours = $"WHERE id > {before}";
        var cpu = nodes.Sum(n => n.Process.TotalProcessorTime.TotalSeconds);
        lock (_gate)
        {
            _rate = rate;
        }

        Interlocked.Exchange(ref _answers, 0);
        var watch = Stopwatch.StartNew();

        // What has run today was long ago: the servers, which look at the clock three times a minute, find every district due.
        await using (
            var due = source.CreateCommand(
                $"UPDATE operations SET daily_date = to_char(daily_date::date - 100 * {++_nights}, 'YYYY-MM-DD') WHERE daily_date >= to_char(now() - interval '2 days', 'YYYY-MM-DD'); UPDATE integrations SET enabled = true"
            )
        )
        {
            await due.ExecuteNonQueryAsync();
        }

        while (await NumberAsync(source, $"SELECT count(*) FROM operations {ours} AND status NOT IN (0, 1)") < _sandboxes.Count)
        {
            await Task.Delay(500);
            foreach (var node in nodes)
            {
                BenchFailedException.ThrowUnless(!node.Process.HasExited, $"{node.Name} ended");
            }
        }

        var seconds = watch.Elapsed.TotalSeconds;
        cpu = nodes.Sum(n => n.Process.TotalProcessorTime.TotalSeconds) - cpu;
        var failed = await NumberAsync(source, "SELECT count(*) FROM operations WHERE status NOT IN (4, 5)");
        BenchFailedException.ThrowUnless(
            failed == 0,
            $"{failed} operations did not complete: {(failed == 0 ? "" : await WhyAsync(source))}"
        );
        var expected = _sandboxes.Sum(s => SandboxTask.Ticked(s.District));
        var read = await NumberAsync(source, $"SELECT sum((counts::json ->> 'read')::bigint) FROM operations {ours}");
        BenchFailedException.ThrowUnless(read == expected, $"{read} people were read of {expected}");
        var lasted = new List<double>();
        await using (var command = source.CreateCommand($"SELECT (finished_at - started_at) / 1000.0 FROM operations {ours} ORDER BY 1"))
        await using (var reader = await command.ExecuteReaderAsync())
        {
            while (await reader.ReadAsync())
            {
                lasted.Add((double)reader.GetDecimal(0));
            }
        }

        var written = await NumberAsync(source, $"SELECT sum(plan_size) FROM operations {ours}");
        var size = await NumberAsync(source, "SELECT pg_database_size(current_database())") / 1024 / 1024;
        Console.Error.WriteLine($"{name}: {seconds:0} s");
        return string.Create(
            CultureInfo.InvariantCulture,
            $"| {name} | {seconds / 60:0.0} | {_sandboxes.Count / seconds * 60:0} | {read / seconds:#,0} | {Interlocked.Read(ref _answers) / seconds:0} | {written:#,0} | {lasted[lasted.Count / 2]:0.0} | {lasted[lasted.Count * 95 / 100]:0.0} | {lasted[^1]:0.0} | {cpu:0} | {size:#,0} |"
        );
    }

    /// <summary>Districts as they are: many small ones, few large ones. The same every time.</summary>
    private async Task SetUpAsync(string folder, string connection)
    {
        await using var services = Services(folder, connection);
        await services.GetRequiredService<RollcallDatabase>().EnsureReadyAsync();
        var districts = services.GetRequiredService<DistrictService>();
        var sites = services.GetRequiredService<SiteService>();
        var integrations = services.GetRequiredService<IntegrationService>();
        for (var i = 0; i < options.Districts; i++)
        {
            // The quantiles of a log-normal distribution, in an order in which large and small ones alternate.
            var rank = (i * 37 % options.Districts + 0.5) / options.Districts;
            var students = (int)Math.Clamp(options.Median * Math.Exp(1.1 * Quantile(rank)), 30, 60_000);
            var sandbox = await SandboxServer.StartAsync(
                new SandboxOptions
                {
                    Students = students,
                    Schools = Math.Clamp(students / 400, 1, 80),
                    Seed = i + 1,
                    TenantId = $"{500_000 + i}",
                }
            );
            sandbox.BeforeAnswer = WaitAsync;
            _sandboxes.Add(sandbox);
            var district = await districts.AddAsync($"D{i + 1}", $"District {i + 1}", "UTC", "bench");
            await integrations.ConnectAsync(
                district,
                IntegrationKind.ClassLink,
                new ConnectRequest(
                    ConnectionMode.Direct,
                    sandbox.Options.TenantId,
                    sandbox.Url.GetLeftPart(UriPartial.Authority),
                    sandbox.Options.ConsumerKey,
                    sandbox.Options.ConsumerSecret
                ),
                asOperator: true,
                clear: false,
                By
            );
            await integrations.TurnOnAsync(district.Id, IntegrationKind.ClassLink, clear: false, By);
            var number = 0;
            foreach (var school in sandbox.District.Schools)
            {
                var code = $"S{++number}";
                await sites.AddAsync(district.Id, code, new SiteChange(school.Name, $"P{number}000001", null, null, null), "bench");
                await integrations.MatchAsync(district, IntegrationKind.ClassLink, code, school.SourcedId, By);
            }

            await integrations.ConfigureAsync(
                district.Id,
                IntegrationKind.ClassLink,
                By,
                "settings",
                s =>
                    s with
                    {
                        Roles = [RoleGroup.Student, RoleGroup.Teacher, RoleGroup.Admin],
                        Map = new FieldMap
                        {
                            CommunityId = new IdMapping(IdSource.UserIdType, "StateID"),
                            Location = options.Homerooms ? LocationSource.TeacherName : LocationSource.NotMapped,
                        },
                        Thresholds = SyncTasks.NoThresholds,

                        // Due since an hour ago, once they are on.
                        Daily = s.Daily with
                        {
                            At = TimeOnly.FromDateTime(TimeProvider.System.GetUtcNow().AddHours(-1).UtcDateTime),
                            Since = TimeProvider.System.GetUtcNow().AddDays(-2),
                        },
                    }
            );
        }
    }

    /// <summary>The next answer's turn.</summary>
    private async ValueTask WaitAsync(CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _answers);
        TimeSpan wait;
        lock (_gate)
        {
            var now = Stopwatch.GetTimestamp();
            _next = Math.Max(now, _next) + (Stopwatch.Frequency / _rate);
            wait = Stopwatch.GetElapsedTime(now, _next);
        }

        await Task.Delay(wait, cancellationToken);
    }

    private static ServiceProvider Services(string folder, string connection)
    {
        var services = new ServiceCollection();
        services.AddRollcall(new RollcallOptions(new StorageOptions(folder, connection), AllowPrivateAddresses: true));
        return services.BuildServiceProvider();
    }

    private async Task<Node> StartAsync(string folder, string connection)
    {
        var start = new ProcessStartInfo(Path.Combine(AppContext.BaseDirectory, "rollcall"))
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
        };
        foreach (var argument in (string[])["serve", "--urls", "http://127.0.0.1:0", "--json", "--data", folder, "--database", connection])
        {
            start.ArgumentList.Add(argument);
        }

        start.Environment["ROLLCALL_ALLOW_PRIVATE_ADDRESSES"] = "true";
        start.Environment["ROLLCALL_LOG_LEVEL"] = "warning";
        start.Environment["ROLLCALL_PARALLEL"] = options.Parallel.ToString(CultureInfo.InvariantCulture);
        var process = Process.Start(start)!;
        while (await process.StandardOutput.ReadLineAsync() is { } line && line != "}") { }

        return new Node(process);
    }

    private static async Task<IEnumerable<long>> SharesAsync(string connection, List<Node> nodes)
    {
        await using var source = NpgsqlDataSource.Create(connection);
        var shares = new List<long>();
        foreach (var node in nodes)
        {
            shares.Add(await NumberAsync(source, $"SELECT count(*) FROM operations WHERE node = '{node.Name}'"));
        }

        return shares;
    }

    private static double PeakMegabytes(Process process) =>
        File.ReadLines($"/proc/{process.Id}/status").First(l => l.StartsWith("VmHWM:", StringComparison.Ordinal)) is var line
            ? long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) / 1024.0
            : 0;

    private static async Task<string> WhyAsync(NpgsqlDataSource source)
    {
        await using var command = source.CreateCommand(
            "SELECT status || ' ' || coalesce(error, '') FROM operations WHERE status NOT IN (4, 5) ORDER BY id LIMIT 1"
        );
        return (string)(await command.ExecuteScalarAsync())!;
    }

    private static async Task<long> NumberAsync(NpgsqlDataSource source, string sql)
    {
        await using var command = source.CreateCommand(sql);
        return Convert.ToInt64(await command.ExecuteScalarAsync(), CultureInfo.InvariantCulture);
    }

    /// <summary>Of the normal distribution, to three figures (Abramowitz and Stegun 26.2.23).</summary>
    private static double Quantile(double p)
    {
        var tail = Math.Min(p, 1 - p);
        var t = Math.Sqrt(-2 * Math.Log(tail));
        var z = t - ((2.515517 + (0.802853 * t) + (0.010328 * t * t)) / (1 + (1.432788 * t) + (0.189269 * t * t) + (0.001308 * t * t * t)));
        return p < 0.5 ? -z : z;
    }
}
