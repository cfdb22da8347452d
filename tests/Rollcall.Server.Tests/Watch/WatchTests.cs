using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.IO.Compression;
using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using System.Text.RegularExpressions;
using Microsoft.EntityFrameworkCore;
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
        var (process, said) = await RealProcess.ServeAsync(cli, "--metrics-url", "http://127.0.0.1:0");
        using var server = process;
        var logs = server.StandardError.ReadToEndAsync(Stop);
        using var http = new HttpClient { BaseAddress = new Uri(said.GetProperty("metrics").GetString()!) };

        Assert.Equal("ok\n", await http.GetStringAsync("/health/live", Stop));
        Assert.Equal("database: ok\ndisk: ok\nschedule: ok\nworker: ok\n", await http.GetStringAsync("/health/ready", Stop));
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
            "http_client_request_duration_seconds_count{",
        ];
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
        Assert.Matches("^database: ok\ndisk: [0-9]+ MB are free, 1048576 are wanted\nschedule: ok\nworker: ok\n$", text);
        Assert.Equal(
            (HttpStatusCode.ServiceUnavailable, "database: ok\ndisk: not ready\nschedule: ok\nworker: ok\n"),
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

    [Fact]
    public async Task The_schedule_is_alive_while_what_is_tidied_away_waits_for_a_district()
    {
        // Before anything else is due.
        var start = new DateTimeOffset(2026, 3, 2, 1, 0, 0, TimeSpan.Zero);
        var clock = new ShiftedTime(start);
        await using var system = await Installation.StartAsync(postgres, Db.Postgres, time: clock);
        await system.Get<ReadinessService>().ReadAsync(system.District, IntegrationKind.ClassLink, Stop);
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

    private static async Task<double> WaitAsync(RollcallDatabase database)
    {
        var pulse = new Pulse(TimeProvider.System);
        using var health = new NodeHealth(database, pulse, new Watching(), TimeProvider.System);
        using var gauges = new Gauges(database, health, TimeProvider.System, NullLogger<Gauges>.Instance);
        double? wait = null;
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, l) =>
        {
            if (instrument.Name == "rollcall.queue.wait")
            {
                l.EnableMeasurementEvents(instrument);
            }
        };
        listener.SetMeasurementEventCallback<double>((_, value, _, _) => wait = value);
        listener.Start();
        await gauges.StartAsync(Stop);
        while (wait is null)
        {
            await Task.Delay(20, Stop);
            listener.RecordObservableInstruments();
        }

        await gauges.StopAsync(Stop);
        return wait.Value;
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
    [InlineData(null, null)]
    public void An_error_is_kept_without_what_may_be_somebodys(string? error, string? kept) =>
        Assert.Equal(kept, SupportBundleCommand.Scrub(error));
}
