using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Globalization;
using System.IO.Compression;
using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using System.Text.RegularExpressions;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Npgsql;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Retention;
using Rollcall.Sandbox;
using Rollcall.Server.Commands;
using Rollcall.Server.Tests.Commands;
using Rollcall.Server.Watch;
using Rollcall.Server.Worker;
using Rollcall.Storage;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Watch;

/// <summary>What the operator sees of a server: metrics, traces, logs, readiness and the support bundle. None of it names a person or holds
/// a secret.</summary>
public sealed class WatchTests(PostgresCluster postgres)
{
    private const string Token = "a-token-for-those-who-watch";

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    /// <summary>What may be nowhere: a secret of each kind, and every field of the people here.</summary>
    private static async Task<List<string>> PlantedAsync(Cli cli, SandboxServer sandbox)
    {
        var patrons = (await cli.OkAsync("patron", "export", "--format", "jsonl"))
            .Out.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(l => JsonSerializer.Deserialize<JsonElement>(l))
            .ToList();
        Assert.NotEmpty(patrons);
        string[] shared = ["site", "status", "policy", "sex", "grade", "level", "role", "roleGroup", "group"];
        IEnumerable<string> all =
        [
            Token,
            sandbox.Options.ConsumerSecret,
            sandbox.Options.ConsumerKey,
            .. sandbox.District.Schools.Select(s => s.Name),
            .. sandbox.District.Schools.Select(s => s.SourcedId),
            .. patrons
                .SelectMany(p => p.EnumerateObject())
                .Where(f => f.Value.ValueKind == JsonValueKind.String && !shared.Contains(f.Name))
                .Select(f => f.Value.GetString()!),
        ];
        // A short number is now and then what somebody counted or measured.
        string[] planted = [.. all.Where(v => v.Length >= (v.All(char.IsAsciiDigit) ? 8 : 5)).Distinct(StringComparer.Ordinal)];
        Assert.Contains(planted, v => v.All(char.IsAsciiDigit));
        return [.. planted];
    }

    /// <summary>A connected district whose barcodes are numbers that nothing else is.</summary>
    private static async Task<Cli> ConnectedAsync(SandboxServer sandbox, PostgresCluster? postgres = null)
    {
        var cli = await Cli.ConnectedAsync(sandbox, postgres);
        for (var number = 1; number <= sandbox.District.Schools.Count(); number++)
        {
            await cli.OkAsync("site", "set", $"S{number}", "--next-barcode", $"{number}70012340001");
        }

        return cli;
    }

    private static void AssertNoneOf(List<string> planted, string text)
    {
        Assert.True(planted.Count > 50);
        Assert.DoesNotContain(
            planted,
            p =>
                text.Contains(p, StringComparison.OrdinalIgnoreCase)
                // Some digits of a measured time are nobody's number.
                && (!p.All(char.IsAsciiDigit) || Regex.IsMatch(text, $@"(?<!\d|\d\.){p}(?!\d|\.\d)"))
        );
    }

    /// <summary>Has the server do a sync, and waits for its end. On PostgreSQL a command would do it itself.</summary>
    private static async Task SyncThereAsync(Cli cli)
    {
        await using var database = new RollcallDatabase(new StorageOptions(cli.Data, cli.Database));
        var queue = new OperationQueue(database, TimeProvider.System);
        var district = await new DistrictService(database, TimeProvider.System).ResolveAsync("RIVER", Stop);
        var (id, _) = await queue.EnqueueAsync(
            district.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test",
            cancellationToken: Stop
        );
        while ((await queue.GetAsync(district.Id, id, Stop)).Status is OperationStatus.Waiting or OperationStatus.Running)
        {
            await Task.Delay(50, Stop);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Metrics_traces_and_logs_tell_of_a_night_and_of_nobody(bool onPostgres)
    {
        await using var sandbox = await SandboxServer.StartAsync(new SandboxOptions { Students = 60, Schools = 2 });
        await using var collector = await HookServer.StartAsync();
        await using var cli = await ConnectedAsync(sandbox, onPostgres ? postgres : null);
        cli.Variables["ROLLCALL_METRICS_TOKEN_FILE"] = cli.File("token", Token + "\n");
        cli.Variables["ROLLCALL_LOG"] = "json";
        cli.Variables["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf";
        cli.Variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = new Uri(collector.Url).GetLeftPart(UriPartial.Authority);
        await cli.OkAsync("classlink", "schedule", "--daily", "default");
        var (process, said) = await RealProcess.ServeAsync(cli, "--metrics-url", "http://127.0.0.1:0");
        using var server = process;
        var logs = server.StandardError.ReadToEndAsync(Stop);
        using var http = new HttpClient { BaseAddress = new Uri(said.GetProperty("metrics").GetString()!) };

        Assert.Equal("ok\n", await http.GetStringAsync("/health/live", Stop));
        Assert.Equal(
            $"database: ok\n{(onPostgres ? "clock: ok\n" : "")}disk: ok\nschedule: ok\nworker: ok\n",
            await http.GetStringAsync("/health/ready", Stop)
        );
        using (var refused = await http.GetAsync("/metrics", Stop))
        {
            Assert.Equal(HttpStatusCode.Unauthorized, refused.StatusCode);
            Assert.Equal("", await refused.Content.ReadAsStringAsync(Stop));
        }

        await SyncThereAsync(cli);
        http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", Token);
        var created = (await cli.OkAsync("operation", "list", "--json")).Json[0].GetProperty("created").GetInt64();
        string metrics;
        do
        {
            // Counted a moment after the end is written; and an answer is kept for a moment, too.
            await Task.Delay(100, Stop);
            metrics = await http.GetStringAsync("/metrics", Stop);
        } while (!metrics.Contains("rollcall_operations_ended", StringComparison.Ordinal));

        string[] expected =
        [
            $"rollcall_people_total{{otel_scope_name=\"Rollcall\",district=\"RIVER\",outcome=\"created\"}} {created} ",
            "rollcall_operations_ended_total{otel_scope_name=\"Rollcall\",district=\"RIVER\",kind=\"full\",status=\"completed",
            "rollcall_stage_duration_seconds_count{otel_scope_name=\"Rollcall\",kind=\"full\",stage=\"pull\"} 1",
            "rollcall_stage_duration_seconds_count{otel_scope_name=\"Rollcall\",kind=\"full\",stage=\"plan\"} 1",
            "rollcall_stage_duration_seconds_count{otel_scope_name=\"Rollcall\",kind=\"full\",stage=\"apply\"} 1",
            "rollcall_ready{otel_scope_name=\"Rollcall\",check=\"database\"} 1",
            "rollcall_disk_free_bytes",
            "rollcall_queue{otel_scope_name=\"Rollcall\",state=\"left alone\"} ",
            "rollcall_queue_wait_seconds{otel_scope_name=\"Rollcall\"} ",
            "rollcall_notices{otel_scope_name=\"Rollcall\",status=\"failed\"} ",
            "rollcall_district_held{otel_scope_name=\"Rollcall\",district=\"RIVER\"} ",
            "rollcall_district_stopped{otel_scope_name=\"Rollcall\",district=\"RIVER\"} 0",
            "rollcall_district_missing_seconds{otel_scope_name=\"Rollcall\",district=\"RIVER\"} 0",
        ];
        Assert.Matches(
            "http_client_request_duration_seconds_count\\{[^}]*http_response_status_code=\"200\"[^}]*server_address=\"127.0.0.1\"",
            metrics
        );
        Assert.All(expected, e => Assert.Contains(e.TrimEnd(), metrics, StringComparison.Ordinal));

        // Pools are called by name, and not by the connection with its host and user.
        Assert.DoesNotContain("Host=", metrics, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("Username=", metrics, StringComparison.OrdinalIgnoreCase);
        Assert.Equal(onPostgres, metrics.Contains("pool_name=\"rollcall pages\"", StringComparison.Ordinal));
        await RealProcess.SignalAsync(server, "TERM");
        await server.WaitForExitAsync(Stop);
        var planted = await PlantedAsync(cli, sandbox);
        AssertNoneOf(planted, metrics);

        // What is under way when the server ends is sent before it does.
        var sent = string.Concat(collector.Posts.Select(p => p.Body));
        Assert.Contains("operation full", sent, StringComparison.Ordinal);
        Assert.Contains("rollcall.people", sent, StringComparison.Ordinal);
        AssertNoneOf(planted, sent);

        var lines = (await logs).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        var ended = lines
            .Select(l => JsonSerializer.Deserialize<JsonElement>(l))
            .Single(l => l.GetProperty("Message").GetString()!.Contains("ended", StringComparison.Ordinal));
        Assert.Contains("\"District\":\"RIVER\"", ended.GetRawText(), StringComparison.Ordinal);
        AssertNoneOf(planted, string.Concat(lines));

        // A command that syncs in its own process tells as much before it ends.
        var before = collector.Posts.Count;
        using var own = RealProcess.Start(cli, "sync", "--json");
        Assert.Equal(0, (await RealProcess.EndAsync(own)).Code);
        sent = string.Concat(collector.Posts.Skip(before).Select(p => p.Body));
        Assert.Contains("operation full", sent, StringComparison.Ordinal);
        Assert.Contains("rollcall.people", sent, StringComparison.Ordinal);
        AssertNoneOf(planted, sent);
    }

    [Fact]
    public async Task People_are_counted_as_they_are_written_and_refusals_of_a_roster_service_by_their_code()
    {
        await using var sandbox = await SandboxServer.StartAsync(new SandboxOptions { Students = 120, Schools = 2 });
        await using var cli = await Cli.ConnectedAsync(sandbox);
        var (process, said) = await RealProcess.ServeAsync(cli, "--metrics-url", "http://127.0.0.1:0");
        using var server = process;
        using var http = new HttpClient { BaseAddress = new Uri(said.GetProperty("metrics").GetString()!) };
        var ended = 0;

        var preview = await cli.OkAsync("sync", "--preview", "--json");
        Assert.Empty(await PeopleAsync());
        var first = await cli.OkAsync("operation", "approve", $"{preview.Number("operation")}", "--json");
        Assert.True(first.Number("created") > 100);
        var people = await PeopleAsync();
        Assert.Equal((first.Number("read"), first.Number("created")), (people["read"], people["created"]));

        // What is held is not written: it counts once it is.
        sandbox.Overrides.RemoveShare(sandbox.District.Schools.First().SourcedId, 0.5);
        var held = await cli.RunAsync("sync", "--json");
        Assert.Equal(3, held.Code);
        var (waiting, gone) = (held.Number("held"), held.Number("absent"));
        people = await PeopleAsync();
        Assert.Equal((waiting, gone - waiting), (people["held"], people.GetValueOrDefault("transferred")));
        var read = people["read"];
        await cli.OkAsync("operation", "approve", $"{held.Number("operation")}", "--json");
        people = await PeopleAsync();
        Assert.Equal((waiting, gone, read), (people["held"], people["transferred"], people["read"]));

        // Imports are planned before a worker has them.
        var file = cli.File("new.csv", "barcode,lastName,site\nIMPORTED1,Zander,S1\nIMPORTED2,Zobel,S1\n");
        var imported = await cli.OkAsync("patron", "import", file, "--json");
        Assert.Equal(2, imported.Number("created"));
        Assert.Equal(first.Number("created") + 2, (await PeopleAsync())["created"]);

        sandbox.Faults.Set("disabled-403");
        Assert.Equal(1, (await cli.RunAsync("sync")).Code);
        Assert.Equal(first.Number("created") + 2, (await PeopleAsync())["created"]);
        Assert.Matches(
            "http_client_request_duration_seconds_count\\{[^}]*http_response_status_code=\"403\"[^}]*server_address=\"127.0.0.1\"",
            await http.GetStringAsync("/metrics", Stop)
        );
        await RealProcess.SignalAsync(server, "TERM");
        await server.WaitForExitAsync(Stop);

        // By outcome, once the next operation that ended is counted.
        async Task<Dictionary<string, long>> PeopleAsync()
        {
            ended++;
            while (true)
            {
                var metrics = await http.GetStringAsync("/metrics", Stop);
                if (
                    Regex
                        .Matches(metrics, @"rollcall_operations_ended_total\{[^}]*\} (\d+)")
                        .Sum(m => int.Parse(m.Groups[1].Value, CultureInfo.InvariantCulture)) >= ended
                )
                {
                    return Regex
                        .Matches(metrics, @"rollcall_people_total\{[^}]*outcome=""([^""]+)""\} (\d+)")
                        .ToDictionary(
                            m => m.Groups[1].Value,
                            m => long.Parse(m.Groups[2].Value, CultureInfo.InvariantCulture),
                            StringComparer.Ordinal
                        );
                }

                await Task.Delay(100, Stop);
            }
        }
    }

    [Fact]
    public async Task A_server_neither_reads_nor_watches_the_folder_that_it_is_started_in()
    {
        await using var cli = await Cli.OpenAsync();
        cli.Folder = Directory.CreateDirectory(Path.Combine(cli.Data, "elsewhere")).FullName;
        for (var number = 0; number < 50; number++)
        {
            Directory.CreateDirectory(Path.Combine(cli.Folder, $"below-{number}"));
        }

        // Somebody else's, and none that could be read.
        await File.WriteAllTextAsync(Path.Combine(cli.Folder, "appsettings.json"), "{", Stop);
        var (process, _) = await RealProcess.ServeAsync(cli, "--metrics-url", "http://127.0.0.1:0");
        using var server = process;
        var watched = 0;
        foreach (var file in Directory.GetFiles($"/proc/{server.Id}/fdinfo"))
        {
            watched += (await File.ReadAllLinesAsync(file, Stop)).Count(l => l.StartsWith("inotify ", StringComparison.Ordinal));
        }

        Assert.InRange(watched, 0, 10);
        await RealProcess.SignalAsync(server, "KILL");
        await server.WaitForExitAsync(Stop);
    }

    [Fact]
    public async Task A_worker_whose_lease_is_renewed_lives_however_long_its_roster_service_keeps_it_waiting()
    {
        await using var system = await Installation.StartAsync(postgres, Db.Sqlite, connect: false);
        var (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test",
            cancellationToken: Stop
        );
        var operation = await system.Queue.ClaimAsync("one", id, aloneHere: true, Stop);
        var time = new FakeTimeProvider();
        using var stop = new CancellationTokenSource();
        using var alive = new SemaphoreSlim(0);
        await using var run = new OperationRun(operation!, system.Queue, time, stop) { Alive = () => alive.Release() };
        run.Start();
        var heard = 0;
        for (var moment = 0; moment < 600 && heard < 2; moment++)
        {
            time.Advance(TimeSpan.FromSeconds(5));
            heard += await alive.WaitAsync(TimeSpan.FromMilliseconds(100), Stop) ? 1 : 0;
        }

        Assert.Equal(2, heard);
    }

    [Fact]
    public async Task A_node_says_what_it_lacks_and_strangers_hear_no_more_than_that()
    {
        await using var cli = await Cli.OpenAsync(postgres);
        cli.Variables["ROLLCALL_LEAST_FREE_MB"] = "1048576";
        var (process, said) = await RealProcess.ServeAsync(cli, "--metrics-url", "http://127.0.0.1:0");
        using var server = process;
        using var http = new HttpClient();
        async Task<(HttpStatusCode, string)> AskAsync(string name, string path, string? host = null)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, said.GetProperty(name).GetString() + path);
            request.Headers.Host = host;
            using var response = await http.SendAsync(request, Stop);
            return (response.StatusCode, await response.Content.ReadAsStringAsync(Stop));
        }

        var (status, text) = await AskAsync("metrics", "/health/ready");
        Assert.Equal(HttpStatusCode.ServiceUnavailable, status);
        Assert.Matches("^database: ok\nclock: ok\ndisk: [0-9]+ MB are free, 1048576 are wanted\nschedule: ok\nworker: ok\n$", text);
        Assert.Equal(
            (HttpStatusCode.ServiceUnavailable, "database: ok\nclock: ok\ndisk: not ready\nschedule: ok\nworker: ok\n"),
            await AskAsync("url", "/health/ready")
        );
        Assert.Equal(HttpStatusCode.NotFound, (await AskAsync("url", "/metrics")).Item1);

        // Without a token a foreign name is how a page elsewhere would reach in through a browser here.
        Assert.Equal(HttpStatusCode.BadRequest, (await AskAsync("metrics", "/metrics", "evil.example")).Item1);
        Assert.Equal(HttpStatusCode.OK, (await AskAsync("metrics", "/metrics")).Item1);

        // One that can be read and not written is of no use either: a standby, or a database that somebody has closed.
        var name = new NpgsqlConnectionStringBuilder(cli.Database!).Database;
        await using (var connection = new NpgsqlConnection(cli.Database + ";Pooling=false"))
        {
            await connection.OpenAsync(Stop);
            await using var close = new NpgsqlCommand(
                $"ALTER DATABASE \"{name}\" SET default_transaction_read_only = on; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
                connection
            );
            await close.ExecuteNonQueryAsync(Stop);
        }

        do
        {
            await Task.Delay(100, Stop);
            (_, text) = await AskAsync("metrics", "/health/ready");
        } while (!text.StartsWith("database: takes no writes\n", StringComparison.Ordinal));

        NpgsqlConnection.ClearAllPools();
        await postgres.DropDatabaseAsync(cli.Database!);
        do
        {
            await Task.Delay(100, Stop);
            (status, text) = await AskAsync("url", "/health/ready");
        } while (text.StartsWith("database: ok", StringComparison.Ordinal));

        Assert.StartsWith("database: not ready", text, StringComparison.Ordinal);
        Assert.Equal((HttpStatusCode.OK, "ok\n"), await AskAsync("url", "/health/live"));
        await RealProcess.SignalAsync(server, "KILL");
        await server.WaitForExitAsync(Stop);
    }

    [Fact]
    public async Task A_part_that_is_silent_for_long_is_missed_and_an_old_schema_too()
    {
        using var folder = new TempFolder();
        var time = new FakeTimeProvider();
        await using var database = new RollcallDatabase(new StorageOptions(folder.Path));
        var pulse = new Pulse(time);
        pulse.Expect(Pulse.Worker, TimeSpan.FromMinutes(20));
        pulse.Expect(Pulse.Schedule, TimeSpan.FromSeconds(90));
        using var health = new NodeHealth(database, pulse, new Watching(), time);
        async Task<List<string>> TroubleAsync()
        {
            time.Advance(TimeSpan.FromSeconds(3));
            return [.. (await health.LookAsync(Stop)).Where(c => c.Trouble is not null).Select(c => $"{c.Name}: {c.Trouble}")];
        }

        Assert.Equal(["database: the file is gone"], await TroubleAsync());
        await File.WriteAllBytesAsync(database.FilePath!, [], Stop);
        Assert.Equal(["database: not migrated to this version"], await TroubleAsync());
        await database.MigrateAsync(Stop);
        Assert.Empty(await TroubleAsync());

        time.Advance(TimeSpan.FromSeconds(100));
        Assert.StartsWith("schedule: silent for 1", Assert.Single(await TroubleAsync()), StringComparison.Ordinal);
        pulse.Beat(Pulse.Schedule);
        Assert.Empty(await TroubleAsync());
        time.Advance(TimeSpan.FromMinutes(21));
        Assert.Equal(2, (await TroubleAsync()).Count);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_database_that_can_be_read_and_not_written_is_of_no_use(Db db)
    {
        var fault = new StatementFault();
        var time = new FakeTimeProvider();
        await using var like = await Installation.StartAsync(postgres, db, connect: false);
        await using var database = new RollcallDatabase(
            new StorageOptions(like.Database.DataFolder, db == Db.Postgres ? like.Database.ConnectionString : null)
            {
                MakeSqlite = connection => new FaultySqliteConnection(connection, fault),
            }
        );
        using var health = new NodeHealth(database, new Pulse(time), new Watching(), time);
        async Task<string?> LookAsync(int seconds)
        {
            time.Advance(TimeSpan.FromSeconds(seconds));
            return (await health.LookAsync(Stop)).Single(c => c.Name == "database").Trouble;
        }

        fault.Arm(FaultKind.Before, 0);
        Assert.Null(await LookAsync(31));
        var written = fault.Seen;
        fault.Arm(FaultKind.Before, written);
        await DiskAsync(full: true);

        // It is not tried more often than twice a minute, whoever asks.
        Assert.Null(await LookAsync(10));
        fault.Arm(FaultKind.Before, written);
        Assert.Equal("takes no writes", await LookAsync(21));
        Assert.Equal("takes no writes", await LookAsync(10));
        fault.Disarm();
        await DiskAsync(full: false);
        Assert.Null(await LookAsync(21));

        // Who is kept waiting by another one's writing has proved nothing.
        await using var connection = await like.Database.OpenAsync(Stop);
        await using var held = await like.Database.Bulk.BeginWriteAsync(connection, Stop);
        await Sql.ExecuteAsync(connection, held, "UPDATE installation_settings SET value = 'elsewhere'", Stop);
        Assert.Null(await LookAsync(31));

        async Task DiskAsync(bool full)
        {
            if (db == Db.Postgres)
            {
                await using var owner = await like.Database.OpenAsync(Stop);
                await Sql.ExecuteAsync(
                    owner,
                    null,
                    full
                        ? "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION USING ERRCODE = ''53100''; END'; CREATE TRIGGER full_disk BEFORE INSERT ON installation_settings EXECUTE FUNCTION full_disk()"
                        : "DROP FUNCTION full_disk CASCADE",
                    Stop
                );
            }
        }
    }

    [Theory]
    [InlineData(-20, "behind the database's", true)]
    [InlineData(5, "ahead of the database's", false)]
    public async Task A_clock_that_is_wrong_is_told_of_and_begins_no_night(int minutes, string says, bool beginsNothing)
    {
        var time = new ShiftedTime(TimeProvider.System.GetUtcNow().AddMinutes(minutes));
        await using var system = await Installation.StartAsync(postgres, Db.Postgres, connect: false);
        using var health = new NodeHealth(system.Database, new Pulse(time), new Watching(LeastFreeMegabytes: 0), time);
        var checks = await health.LookAsync(Stop);
        Assert.Contains(says, checks.Single(c => c.Trouble is not null).Trouble, StringComparison.Ordinal);
        Assert.Equal(beginsNothing, await new NodeClock(system.Database, time).WhyNotAsync(Stop) is not null);

        // Pages can be had of it all the same.
        var answer = await WatchServer.ReadyAsync(health, withWords: true, Stop);
        Assert.Equal(200, ((Microsoft.AspNetCore.Http.IStatusCodeHttpResult)answer).StatusCode);
    }

    [Fact]
    public async Task The_schedule_is_alive_while_what_is_tidied_away_waits_for_a_district()
    {
        // Before anything else is due.
        var start = new DateTimeOffset(2026, 3, 2, 1, 0, 0, TimeSpan.Zero);
        var clock = new ShiftedTime(start);
        await using var system = await Installation.StartAsync(postgres, Db.Postgres, time: clock);
        await system.Get<ReadinessService>().ReadAsync(system.District, IntegrationKind.ClassLink, cancellationToken: Stop);
        clock.MoveTo(start.AddMinutes(20));
        await using var connection = await system.Database.OpenAsync(Stop);
        await using var held = await connection.BeginTransactionAsync(Stop);
        await system.Database.Bulk.LockDistrictAsync(connection, held, system.District.Id, Stop);
        var time = new FakeTimeProvider();
        var pulse = new Pulse(time);
        pulse.Expect(Pulse.Schedule, DailyService.Silent);
        time.Advance(TimeSpan.FromSeconds(100));
        using var daily = new DailyService(
            system.Get<DailySchedule>(),
            system.Get<RetentionService>(),
            system.Get<ReadinessService>(),
            new StalledCopies(system.Database, clock),
            new NodeClock(system.Database, TimeProvider.System),
            pulse,
            clock,
            NullLogger<DailyService>.Instance
        );
        await daily.StartAsync(Stop);
        await using (var other = await system.Database.OpenAsync(Stop))
        {
            // Until the tidying waits for the district.
            const string waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            while (await Sql.ScalarAsync(other, null, waiting, Stop) == 0)
            {
                await Task.Delay(50, Stop);
            }
        }

        Assert.Null(pulse.Parts().Single().SilentFor);
        await daily.StopAsync(Stop);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task The_queue_s_wait_is_of_what_could_run_and_begins_when_it_could(Db db)
    {
        await using var system = await Installation.StartAsync(postgres, db, connect: false);
        Assert.Equal(0, await WaitAsync(system.Database));
        var id = await AskAsync(OperationKind.FullSync, 1000);
        Assert.InRange(await WaitAsync(system.Database), 1000, 1200);

        // One that runs waits for nothing, and what waits for its own district's turn waits for no node.
        var operation = await system.Queue.ClaimAsync("one", id, aloneHere: false, Stop);
        var behind = await AskAsync(OperationKind.ChangesSync, 5000);
        Assert.Equal(0, await WaitAsync(system.Database));
        await system.Queue.CancelAsync(system.District.Id, behind, "test", Stop);

        // What is put back waits from then on; to be tried later, from when it is due or somebody wants it.
        await system.Queue.ParkAsync(operation!, Stop);
        Assert.InRange(await WaitAsync(system.Database), 0, 200);
        operation = await system.Queue.ClaimAsync("one", id, aloneHere: false, Stop);
        Assert.True(await system.Queue.RetryLaterAsync(operation!, TimeSpan.FromHours(1), "No.", Stop));
        Assert.Equal(0, await WaitAsync(system.Database));
        await system.Queue.HurryAsync(system.District.Id, id, "test", Stop);
        Assert.InRange(await WaitAsync(system.Database), 0, 200);

        // What was approved today did not wait before.
        operation = await system.Queue.ClaimAsync("one", id, aloneHere: false, Stop);
        Assert.True(await system.Queue.FinishAsync(operation!, OperationStatus.NeedsApproval, null, null, null, Stop));
        Assert.Equal(0, await WaitAsync(system.Database));
        await using (var context = system.Database.CreateContext())
        {
            await context.Operations.Where(o => o.Id == id).ExecuteUpdateAsync(s => s.SetProperty(o => o.Planned, true), Stop);
            await context
                .Operations.Where(o => o.Id == id)
                .ExecuteUpdateAsync(
                    s =>
                        s.SetProperty(o => o.Status, OperationStatus.Waiting)
                            .SetProperty(o => o.ApprovedAt, TimeProvider.System.GetUtcNow().AddSeconds(-300)),
                    Stop
                );
        }

        Assert.InRange(await WaitAsync(system.Database), 300, 500);

        async Task<long> AskAsync(OperationKind kind, int secondsAgo)
        {
            var (asked, _) = await system.Queue.EnqueueAsync(
                system.District.Id,
                kind,
                IntegrationKind.ClassLink,
                preview: false,
                "test",
                cancellationToken: Stop
            );
            await using var context = system.Database.CreateContext();
            var at = TimeProvider.System.GetUtcNow().AddSeconds(-secondsAgo);
            await context.Operations.Where(o => o.Id == asked).ExecuteUpdateAsync(s => s.SetProperty(o => o.CreatedAt, at), Stop);
            return asked;
        }
    }

    private static async Task<double> WaitAsync(RollcallDatabase database) =>
        (await GaugesAsync(database, TimeProvider.System))["rollcall.queue.wait"];

    /// <summary>What the gauges show, by name and tag.</summary>
    private static async Task<Dictionary<string, double>> GaugesAsync(RollcallDatabase database, TimeProvider time)
    {
        var pulse = new Pulse(time);
        using var health = new NodeHealth(database, pulse, new Watching(), time);
        using var gauges = new Gauges(database, health, time, NullLogger<Gauges>.Instance);
        var seen = new Dictionary<string, double>(StringComparer.Ordinal);
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, l) =>
        {
            if (gauges.Owns(instrument))
            {
                l.EnableMeasurementEvents(instrument);
            }
        };
        string Name(Instrument instrument, ReadOnlySpan<KeyValuePair<string, object?>> tags) =>
            tags.Length == 0 ? instrument.Name : $"{instrument.Name} {tags[0].Value}";
        listener.SetMeasurementEventCallback<double>((instrument, value, tags, _) => seen[Name(instrument, tags)] = value);
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => seen[Name(instrument, tags)] = value);
        listener.Start();
        await gauges.StartAsync(Stop);
        while (!seen.ContainsKey("rollcall.queue.wait"))
        {
            await Task.Delay(20, Stop);
            listener.RecordObservableInstruments();
        }

        await gauges.StopAsync(Stop);
        return seen;
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_stands_in_the_database_is_shown_as_numbers_and_a_night_is_missing_when_it_is(Db db)
    {
        var start = new DateTimeOffset(2026, 3, 2, 3, 0, 0, TimeSpan.Zero);
        var clock = new ShiftedTime(start);
        await using var system = await Installation.StartAsync(postgres, db, time: clock);
        var schedule = system.Get<DailySchedule>();
        var worker = system.Get<OperationWorker>();
        async Task<double?> MissingAsync()
        {
            var gauges = await GaugesAsync(system.Database, clock);
            return gauges.TryGetValue("rollcall.district.missing RIVER", out var missing) ? Math.Round(missing / 3600) : null;
        }

        // Before there are nights none can be missing; with a time of day there can, though no sync ever was.
        Assert.Null(await MissingAsync());
        await system.ConfigureAsync(s => SettingsChange.Daily(s, "04:00", "changes", start));
        Assert.Equal(0, await MissingAsync());
        clock.MoveTo(start.AddHours(13));
        Assert.Equal(12, await MissingAsync());
        Assert.DoesNotContain("rollcall.district.synced RIVER", (await GaugesAsync(system.Database, clock)).Keys);
        Assert.Single(await schedule.EnqueueDueAsync(cancellationToken: Stop));
        Assert.True(await worker.WorkAsync(null, null, Stop));
        Assert.Equal(0, await MissingAsync());

        // A night that fails is missing as well, and its successors add to that.
        system.Sandbox.Faults.Set("disabled-403");
        for (var day = 1; day <= 2; day++)
        {
            clock.MoveTo(start.AddDays(day).AddHours(2));
            Assert.Single(await schedule.EnqueueDueAsync(cancellationToken: Stop));
            Assert.True(await worker.WorkAsync(null, null, Stop));
            Assert.Equal(((day - 1) * 24) + 1, await MissingAsync());
        }

        // Days that are paused are not missing; those before them are, until somebody syncs.
        await system.ConfigureAsync(s => SettingsChange.Pause(s, "2026-03-04", "2026-03-20", default));
        clock.MoveTo(start.AddDays(9));
        Assert.Equal(191, await MissingAsync());
        system.Sandbox.Faults.Set("");
        Assert.Null((await system.SyncAsync()).Error);
        Assert.Equal(0, await MissingAsync());
        clock.MoveTo(start.AddDays(18));
        Assert.Equal(0, await MissingAsync());
        clock.MoveTo(start.AddDays(19).AddHours(2));
        Assert.Equal(1, await MissingAsync());

        // A night whose changes wait for somebody had its sync.
        var night = Assert.Single(await schedule.EnqueueDueAsync(cancellationToken: Stop));
        await using (var context = system.Database.CreateContext())
        {
            await context
                .Operations.Where(o => o.Id == night)
                .ExecuteUpdateAsync(
                    s =>
                        s.SetProperty(o => o.Status, OperationStatus.NeedsApproval)
                            .SetProperty(o => o.FinishedAt, clock.GetUtcNow())
                            .SetProperty(o => o.Counts, "{\"held\":7}"),
                    Stop
                );
            context.Notices.AddRange(
                Enumerable
                    .Range(1, 5)
                    .Select(n => new Notice
                    {
                        DistrictId = system.District.Id,
                        Channel = NoticeChannel.Email,
                        Event = NoticeEvents.Held,
                        Target = "office@school.example",
                        Subject = "",
                        Body = "",
                        CreatedAt = clock.GetUtcNow(),
                        DueAt = clock.GetUtcNow(),
                        Status =
                            n <= 2 ? NoticeStatus.Waiting
                            : n == 3 ? NoticeStatus.Sent
                            : NoticeStatus.Failed,
                    })
            );
            await context.SaveChangesAsync(Stop);
        }

        var (waits, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test",
            cancellationToken: Stop
        );
        await AssertAsync(("rollcall.queue waiting", 1), ("rollcall.queue needs approval", 1), ("rollcall.district.held RIVER", 7));
        var claimed = await system.Queue.ClaimAsync("one", waits, aloneHere: false, Stop);
        await AssertAsync(("rollcall.queue waiting", 0), ("rollcall.queue running", 1), ("rollcall.queue left alone", 0));
        await using (var connection = await system.Database.OpenAsync(Stop))
        {
            await Sql.ExecuteAsync(connection, null, "UPDATE operations SET lease_until = 0", Stop);
        }

        await AssertAsync(("rollcall.queue running", 0), ("rollcall.queue left alone", 1));
        Assert.True(await system.Queue.RetryLaterAsync(claimed!, TimeSpan.FromMinutes(10), "The service is away.", Stop));
        await AssertAsync(
            ("rollcall.queue tried later", 1),
            ("rollcall.queue left alone", 0),
            ("rollcall.notices waiting", 2),
            ("rollcall.notices failed", 2),
            ("rollcall.district.missing RIVER", 0),
            ("rollcall.district.stopped RIVER", 0)
        );
        await system.ConfigureAsync(s => s with { Daily = s.Daily with { StoppedBecause = "Somebody looks into it." } });
        await AssertAsync(("rollcall.district.stopped RIVER", 1));
        Assert.Null(await MissingAsync());

        async Task AssertAsync(params (string Name, double Value)[] expected)
        {
            var gauges = await GaugesAsync(system.Database, clock);
            Assert.Equal(expected, expected.Select(e => (e.Name, gauges.GetValueOrDefault(e.Name, -1))));
        }
    }

    [Theory]
    [InlineData(LogLevel.Information, "info")]
    [InlineData(LogLevel.Error, "fail")]
    public void A_line_for_people_says_which_operation_it_is_of_and_nothing_else_that_surrounds_it(LogLevel level, string word)
    {
        var scopes = new LoggerExternalScopeProvider();
        using var request = scopes.Push(
            new Dictionary<string, object?>(StringComparer.Ordinal) { ["RequestPath"] = "/patrons/10001" }.ToList()
        );
        Assert.Equal(
            $"{word}: Rollcall.Some[0]{Environment.NewLine}      Twice{Environment.NewLine}      said{Environment.NewLine}",
            Line()
        );
        using var operation = scopes.Push(new Scope("RIVER", 7));
        Assert.Equal(
            $"{word}: Rollcall.Some[0]{Environment.NewLine}      District RIVER, operation 7: Twice{Environment.NewLine}      said{Environment.NewLine}",
            Line()
        );

        string Line()
        {
            using var writer = new StringWriter();
            new TextLog().Write(new LogEntry<string>(level, "Rollcall.Some", default, "", null, (_, _) => "Twice\nsaid"), scopes, writer);
            return writer
                .ToString()
                .Replace("\e[32m", "", StringComparison.Ordinal)
                .Replace("\e[31m", "", StringComparison.Ordinal)
                .Replace("\e[0m", "", StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_line_for_programs_says_the_same_and_nothing_else_that_surrounds_it()
    {
        var scopes = new LoggerExternalScopeProvider();
        using var request = scopes.Push(
            new Dictionary<string, object?>(StringComparer.Ordinal) { ["RequestPath"] = "/patrons/UNMISTAKABLE-7" }.ToList()
        );
        using var text = scopes.Push("UNMISTAKABLE-8");
        Assert.Equal(0, Line().GetProperty("Scopes").GetArrayLength());
        using var operation = scopes.Push(new Scope("RIVER", 7));
        var line = Line();
        Assert.DoesNotContain("UNMISTAKABLE", line.GetRawText(), StringComparison.Ordinal);
        var scope = Assert.Single(line.GetProperty("Scopes").EnumerateArray());
        Assert.Equal(
            ("District RIVER, operation 7", "RIVER", 7),
            (scope.GetProperty("Message").GetString(), scope.GetProperty("District").GetString(), scope.GetProperty("Operation").GetInt64())
        );
        Assert.Equal("Twice\nsaid 3.5", line.GetProperty("Message").GetString());
        Assert.Equal(("Warning", 12), (line.GetProperty("LogLevel").GetString(), line.GetProperty("EventId").GetInt32()));
        Assert.Equal(3.5, line.GetProperty("State").GetProperty("Often").GetDouble());
        Assert.Contains("broken", line.GetProperty("Exception").GetString(), StringComparison.Ordinal);
        Assert.Equal("2026-03-01T04:05:06.007Z", line.GetProperty("Timestamp").GetString());

        JsonElement Line()
        {
            using var writer = new StringWriter();
            new JsonLog(new FakeTimeProvider(new DateTimeOffset(2026, 3, 1, 4, 5, 6, 7, TimeSpan.Zero))).Write(
                new LogEntry<List<KeyValuePair<string, object?>>>(
                    LogLevel.Warning,
                    "Rollcall.Some",
                    12,
                    [new("Often", 3.5), new("Nothing", null)],
                    new InvalidOperationException("broken"),
                    (_, _) => "Twice\nsaid 3.5"
                ),
                scopes,
                writer
            );
            return JsonSerializer.Deserialize<JsonElement>(Assert.Single(writer.ToString().TrimEnd().Split('\n')));
        }
    }

    /// <summary>As a logger's own.</summary>
    private sealed class Scope(string district, long operation)
        : List<KeyValuePair<string, object?>>([new("District", district), new("Operation", operation)])
    {
        public override string ToString() => $"District {this[0].Value}, operation {this[1].Value}";
    }

    [Fact]
    public async Task What_would_show_metrics_to_strangers_or_cannot_be_understood_is_refused()
    {
        await using var cli = await Cli.OpenAsync();
        string[] serve = ["serve", "--urls", "http://127.0.0.1:0", "--metrics-url"];
        await cli.RefusedAsync(1, "ROLLCALL_METRICS_TOKEN_FILE", [.. serve, "http://0.0.0.0:0"]);
        await cli.RefusedAsync(2, "no address", [.. serve, "metrics"]);
        cli.Variables["ROLLCALL_METRICS_TOKEN_FILE"] = cli.File("short", "short");
        await cli.RefusedAsync(1, "too short", [.. serve, "http://127.0.0.1:0"]);
        cli.Variables["ROLLCALL_METRICS_TOKEN_FILE"] = cli.File("token", Token);
        cli.Variables["ROLLCALL_LOG"] = "xml";
        await cli.RefusedAsync(1, "text and json", [.. serve, "http://127.0.0.1:0"]);
        cli.Variables["ROLLCALL_LOG"] = "text";
        cli.Variables["ROLLCALL_LOG_LEVEL"] = "loud";
        await cli.RefusedAsync(1, "ROLLCALL_LOG_LEVEL", [.. serve, "http://127.0.0.1:0"]);
        cli.Variables["ROLLCALL_LOG_LEVEL"] = "warning";
        cli.Variables["ROLLCALL_LEAST_FREE_MB"] = "much";
        await cli.RefusedAsync(1, "ROLLCALL_LEAST_FREE_MB", [.. serve, "http://127.0.0.1:0"]);
        cli.Variables["ROLLCALL_LEAST_FREE_MB"] = "1048577";
        await cli.RefusedAsync(1, "from 0 to 1048576", [.. serve, "http://127.0.0.1:0"]);
    }

    [Fact]
    public async Task Other_services_are_not_told_how_this_one_traces_itself()
    {
        await using var other = await HookServer.StartAsync();
        Watching.KeepTracesHere();
        using var http = new HttpClient();
        using var trace = new Activity("sync").Start();
        using var answer = await http.PostAsync(new Uri(other.Url), null, Stop);
        Assert.DoesNotContain("traceparent", Assert.Single(other.Posts).Headers.Keys);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_support_bundle_holds_numbers_and_nobody(bool onPostgres)
    {
        await using var sandbox = await SandboxServer.StartAsync(new SandboxOptions { Students = 60, Schools = 2 });
        await using var cli = await ConnectedAsync(sandbox, onPostgres ? postgres : null);
        Assert.Equal(0, (await cli.RunAsync("sync")).Code);
        await cli.OkAsync("account", "add", "head.librarian@school.example", "--group", "DistrictAdministrator");
        await cli.OkAsync("operator", "partner-key", "--file", cli.File("key", "partner-key-of-this-installation"));
        await cli.OkAsync(
            "notice",
            "set",
            "--email",
            "office@school.example",
            "--webhook",
            "https://hooks.example/way-in",
            "--webhook-secret-file",
            cli.File("hook", "a-secret-of-enough-length")
        );
        sandbox.Faults.Set("401");
        Assert.Equal(1, (await cli.RunAsync("sync")).Code);
        sandbox.Faults.Set("");
        await using (var database = new RollcallDatabase(new StorageOptions(cli.Data, cli.Database)))
        {
            await using var context = database.CreateContext();
            await context.Operations.Where(o => o.Id == 1).ExecuteUpdateAsync(s => s.SetProperty(o => o.Node, "OAKWOOD-PRIMARY:77"), Stop);
        }

        var planted = await PlantedAsync(cli, sandbox);
        planted.AddRange([
            "librarian@",
            "partner-key-of",
            "office@",
            "hooks.example",
            "way-in",
            "a-secret-of-enough",
            "Riverbend",
            "OAKWOOD",
            sandbox.Options.TenantId,
            cli.Data,
        ]);

        // Others' tables, and those of a moment, are none of the installation's.
        await using var beside = onPostgres ? new Npgsql.NpgsqlConnection(cli.Database) : null;
        if (beside is not null)
        {
            await beside.OpenAsync(Stop);
            await using var make = beside.CreateCommand();
            make.CommandText = """
                CREATE TEMP TABLE stage_patrons (x int); INSERT INTO stage_patrons VALUES (1);
                CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.riverbend_things (x int); INSERT INTO elsewhere.riverbend_things VALUES (1);
                """;
            await make.ExecuteNonQueryAsync(Stop);
        }

        var path = Path.Combine(cli.Data, "support.zip");
        var said = await cli.OkAsync("support-bundle", path);
        Assert.Contains("no personal data", said.Out, StringComparison.Ordinal);
        await using (var archive = await ZipFile.OpenReadAsync(path, Stop))
        {
            Assert.Equal(
                [
                    "README.txt",
                    "about.json",
                    "check.json",
                    "districts.json",
                    "notices.json",
                    "operations.json",
                    "settings.json",
                    "tables.json",
                ],
                archive.Entries.Select(e => e.FullName).Order(StringComparer.Ordinal)
            );
            foreach (var entry in archive.Entries)
            {
                using var reader = new StreamReader(await entry.OpenAsync(Stop));
                var text = await reader.ReadToEndAsync(Stop);
                AssertNoneOf(planted, text);
                if (entry.Name == "operations.json")
                {
                    // A machine may have the school's name: which of them were the same is all that matters.
                    var nodes = JsonSerializer.Deserialize<JsonElement>(text).EnumerateArray().Select(o => o.GetProperty("node"));
                    Assert.Equal([2, 1], nodes.Where(n => n.ValueKind != JsonValueKind.Null).Select(n => n.GetInt32()));
                }
            }
        }

        if (!OperatingSystem.IsWindows())
        {
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
        }

        await cli.RefusedAsync(1, "exists already", "support-bundle", path);
        await cli.RefusedAsync(1, "cannot be written", "support-bundle", Path.Combine(cli.Data, "no", "such", "folder.zip"));
    }

    [Theory]
    [InlineData("No user has the sourcedId 'a-1' any more.", "No user has the sourcedId [..] any more.")]
    [InlineData(
        "https://river.oneroster.com/ims/x?token=abc does not answer (HTTP 503).",
        "river.oneroster.com does not answer (HTTP 503)."
    )]
    [InlineData("Maria Gómez (maria@school.example, 2004-05-06) twice", "[..] [..] ([..] [..]) twice")]
    [InlineData("/srv/riverbend/users.csv, line 12: no barcode 10023", "[..] line 12: no barcode [..]")]
    [InlineData("Nobody has the sourcedId or barcode 'maria lopez', neither in", "[..] has the sourcedId or barcode [..], neither in")]
    [InlineData(
        "The package 'river bend o'brien.zip' is refused: users.csv: row 12 has no sourcedId. See 'rollcall oneroster-csv check /srv/river bend/x.zip', and",
        "The package [..] is refused: [..]: row 12 has no sourcedId. See [..], and"
    )]
    [InlineData("riverbend.zip holds riverbend_users.csv, and river.bend.ZIP.", "[..] holds [..], and [..].")]
    [InlineData("'/srv/river bend' holds neither CSV files nor archives.", "[..] holds neither CSV files nor archives.")]
    [InlineData("two of 王小明 and محمد أحمد, of ひらがな2", "two of [..] and [..] [..], of [..]")]
    [InlineData("It isn't the users' 'alpha' that's so.", "It isn't the users' [..] that's so.")]
    [InlineData(null, null)]
    public void An_error_is_kept_without_what_may_be_somebodys(string? error, string? kept) =>
        Assert.Equal(kept, SupportBundleCommand.Scrub(error));
}
