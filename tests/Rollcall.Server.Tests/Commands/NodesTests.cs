using System.Diagnostics;
using System.Globalization;
using Microsoft.EntityFrameworkCore;
using Npgsql;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Sandbox;
using Rollcall.Storage;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Commands;

/// <summary>
/// Three servers on one PostgreSQL, with syncs of several districts to do, while they are killed and stopped, their connections are cut and the
/// database itself is started anew. What they wrote is watched by triggers: no sync beside another of its district, no change twice, every
/// write a slice of its operation; and in the end the patrons are those of an undisturbed run.
/// ROLLCALL_NODE_ROUNDS=N lives N days of more and larger districts, and waits for leases to run out by themselves.
/// </summary>
public sealed class NodesTests(PostgresCluster postgres)
{
    private static readonly int s_rounds = int.TryParse(
        Environment.GetEnvironmentVariable("ROLLCALL_NODE_ROUNDS"),
        CultureInfo.InvariantCulture,
        out var rounds
    )
        ? rounds
        : 0;

    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(3);

    private static readonly string[] s_troubles = ["kill", "stop", "cut", "restart"];

    private static bool Long => s_rounds > 0;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    /// <summary>One of the servers: it comes back whenever it has been killed.</summary>
    private sealed class Node(Cli cli)
    {
        private readonly List<Task<string>> _logs = [];
        private Process _process = null!;
        private bool _ended = true;

        public async Task StartAsync()
        {
            (_process, var said) = await RealProcess.ServeAsync(cli);
            _ended = false;
            Url = said.GetProperty("url").GetString()!;
            Name = $"{Environment.MachineName}:{_process.Id}";
            _logs.Add(_process.StandardError.ReadToEndAsync(Stop));
        }

        /// <summary>As operations have it.</summary>
        public string Name { get; private set; } = "";

        /// <summary>Where its pages are.</summary>
        public string Url { get; private set; } = "";

        public Task SignalAsync(string signal) => RealProcess.SignalAsync(_process, signal);

        public async Task KillAsync()
        {
            await SignalAsync("KILL");
            await _process.WaitForExitAsync(Stop);
            _ended = true;
            _process.Dispose();
        }

        /// <returns>What it ended with.</returns>
        public async Task<int> EndAsync()
        {
            await SignalAsync("TERM");
            await _process.WaitForExitAsync(Stop);
            var code = _process.ExitCode;
            _ended = true;
            _process.Dispose();
            return code;
        }

        /// <summary>Whatever the test came to, nothing stays behind.</summary>
        public void Abandon()
        {
            if (!_ended)
            {
                _process.Kill();
                _process.Dispose();
            }
        }

        public async Task<string> LogAsync() => string.Concat(await Task.WhenAll(_logs));
    }

    [Fact]
    public async Task Three_nodes_end_where_an_undisturbed_run_ends_whatever_happens_to_them()
    {
        var seed = Long ? Environment.TickCount : 5;
        var random = new Random(seed);
        await using var cluster = await PostgresCluster.OwnAsync();
        var sandboxes = new List<SandboxServer>();
        Node[] nodes = [];
        try
        {
            for (var i = 0; i < (Long ? 6 : 2); i++)
            {
                sandboxes.Add(
                    await SandboxServer.StartAsync(
                        new SandboxOptions
                        {
                            Students = Long ? 1500 : 80,
                            Schools = 2,
                            Seed = 40 + i,
                            TenantId = $"90{i}",
                        }
                    )
                );
            }

            await using var calm = await Cli.OpenAsync(cluster);
            for (var i = 0; i < sandboxes.Count; i++)
            {
                await SetUpAsync(calm, $"D{i}", sandboxes[i]);
            }

            NpgsqlConnection.ClearAllPools();
            await using var rough = await Cli.CopyAsync(cluster, calm);
            await WatchAsync(rough);

            // A sequence that was copied takes the numbers back after a crash that it gave out since, unless the copy is on the disk by then.
            await SqlAsync(rough, "CHECKPOINT");
            nodes = [new Node(rough), new Node(rough), new Node(rough)];
            await Task.WhenAll(nodes.Select(n => n.StartAsync()));
            using var visitor = await SignedInAsync(rough, nodes[0].Url);
            using var leave = CancellationTokenSource.CreateLinkedTokenSource(Stop);
            var visits = Task.WhenAll(nodes.Select(n => VisitAsync(n, visitor.Session!, leave.Token)));
            var troubles = 0;
            for (var day = 0; day < Math.Max(s_rounds, 1); day++)
            {
                foreach (var sandbox in sandboxes)
                {
                    sandbox.SetDay(day);
                    sandbox.Faults.Set(Long ? "slow=40" : "slow=100");
                }

                troubles += await LiveAsync(cluster, rough, nodes, sandboxes.Count, random);
                for (var i = 0; i < sandboxes.Count; i++)
                {
                    sandboxes[i].Faults.Set("");
                    Assert.Contains((await calm.RunAsync("sync", "--district", $"D{i}", "--json")).Code, (int[])[0, 3]);
                    await SettleAsync(rough, $"D{i}");
                    Assert.Equal(await PatronsAsync(calm, $"D{i}"), await PatronsAsync(rough, $"D{i}"));
                }

                var slowest = await AssertWatchedAsync(rough);
                if (Long)
                {
                    Assert.True(slowest < TimeSpan.FromMinutes(1), $"An operation was left alone for {slowest}");
                }

                var ends = await AssertEndedAsync(rough);
                await rough.OkAsync("db", "check");
                TestContext.Current.TestOutputHelper?.WriteLine(
                    $"seed {seed}, day {day}: {troubles} troubles so far, the longest time without a worker {slowest.TotalSeconds:0.0} s; no two syncs of a district at once, no change twice; {ends}"
                );
            }

            // Whoever looked on meanwhile got pages, or was told to come later, and gets them from each of the nodes now.
            await leave.CancelAsync();
            var seen = (await visits).SelectMany(v => v).GroupBy(s => s).ToDictionary(g => g.Key, g => g.Count());
            TestContext.Current.TestOutputHelper?.WriteLine(
                string.Join(", ", seen.OrderBy(s => s.Key).Select(s => $"{s.Value} answers {s.Key}"))
            );
            Assert.True(seen.ContainsKey(200));
            foreach (var node in nodes)
            {
                foreach (var path in s_visited)
                {
                    Assert.Equal(200, await AskAsync(node.Url, path, visitor.Session!, Stop));
                }
            }

            // Whatever they went through, they end in order, and nothing they met was unexpected.
            Assert.All(await Task.WhenAll(nodes.Select(n => n.EndAsync())), code => Assert.Equal(0, code));
            var logs = string.Concat(await Task.WhenAll(nodes.Select(n => n.LogAsync())));
            Assert.DoesNotContain("unexpected fault", logs, StringComparison.OrdinalIgnoreCase);

            // A page that failed says in the log what it met.
            var faults = logs.Split("nhandled exception")
                .Skip(1)
                .Select(f =>
                    string.Join(
                        ' ',
                        f.Split('\n').Skip(1).Take(12).Where(l => l.Contains("Exception", StringComparison.Ordinal)).Select(l => l.Trim())
                    )
                )
                .Distinct(StringComparer.Ordinal);
            Assert.True(!seen.Keys.Except([200, 503]).Any(), $"{string.Join(", ", seen.Keys)}\n{string.Join('\n', faults)}");
        }
        finally
        {
            Array.ForEach(nodes, n => n.Abandon());
            foreach (var sandbox in sandboxes)
            {
                await sandbox.DisposeAsync();
            }
        }
    }

    /// <summary>Both beside each other: what they wait for is a lease that runs out.</summary>
    [Fact]
    public Task A_node_that_stops_in_the_middle_of_a_slice_is_replaced_within_a_minute_and_writes_nothing_when_it_goes_on() =>
        Task.WhenAll(ReplacedAsync("STOP"), ReplacedAsync("KILL"));

    private static async Task ReplacedAsync(string trouble)
    {
        await using var cluster = await PostgresCluster.OwnAsync();
        await using var sandbox = await SandboxServer.StartAsync(new SandboxOptions { Students = 80, Schools = 2 });
        await using var cli = await Cli.OpenAsync(cluster);
        await SetUpAsync(cli, "D0", sandbox);
        await WatchAsync(cli);

        Node[] nodes = [new(cli), new(cli)];
        try
        {
            await using var holder = await HoldSlicesAsync(cli);
            await nodes[0].StartAsync();
            var id = await EnqueueAsync(cli, "D0");
            await UntilHeldAsync(cli, 1);
            await (trouble == "KILL" ? nodes[0].KillAsync() : nodes[0].SignalAsync(trouble));
            await holder.CloseAsync();
            await nodes[1].StartAsync();
            await UntilAsync(cli, $"SELECT count(*) FROM operations WHERE id = {id} AND status IN (0, 1)", 0);

            Assert.Equal(
                1,
                await NumberAsync(
                    cli,
                    $"SELECT count(*) FROM operations WHERE id = {id} AND status IN (4, 5) AND node = '{nodes[1].Name}' AND fence = 2"
                )
            );
            Assert.InRange(await AssertWatchedAsync(cli), TimeSpan.FromSeconds(5), TimeSpan.FromMinutes(1));
            if (trouble == "KILL")
            {
                Assert.Equal(0, await nodes[1].EndAsync());
                Assert.Equal(0, (await cli.RunAsync("sync", "--district", "D0", "--json")).Number("created"));
                return;
            }

            var before = await NumberAsync(cli, "SELECT max(seq) FROM watched");
            await nodes[0].SignalAsync("CONT");
            await Task.Delay(TimeSpan.FromSeconds(5), Stop);

            // That the operation is settled is written when it comes to it, whichever node does.
            Assert.Equal(
                0,
                await NumberAsync(
                    cli,
                    $"SELECT count(*) FROM watched WHERE seq > {before} AND (patron IS NOT NULL OR status = 1 OR fence > 2)"
                )
            );

            // It is of use again.
            Assert.All(await Task.WhenAll(nodes.Select(n => n.EndAsync())), code => Assert.Equal(0, code));
            Assert.Contains("taken over by another worker", await nodes[0].LogAsync(), StringComparison.Ordinal);
            Assert.Equal(0, (await cli.RunAsync("sync", "--district", "D0", "--json")).Number("created"));
        }
        finally
        {
            Array.ForEach(nodes, n => n.Abandon());
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public async Task A_node_works_on_as_many_nights_at_once_as_it_is_told_and_never_on_more(int parallel)
    {
        var districts = parallel + 2;
        var sandboxes = new List<SandboxServer>();
        await using var cli = await Cli.OpenAsync(postgres);
        var node = new Node(cli);
        try
        {
            for (var i = 0; i < districts; i++)
            {
                sandboxes.Add(
                    await SandboxServer.StartAsync(
                        new SandboxOptions
                        {
                            Students = 20,
                            Schools = 1,
                            TenantId = $"91{i}",
                        }
                    )
                );
                await SetUpAsync(cli, $"D{i}", sandboxes[i]);
                await cli.OkAsync("classlink", "schedule", "--daily", "default", "--district", $"D{i}");
            }

            await WatchAsync(cli);
            await using (await HoldSlicesAsync(cli))
            {
                for (var i = 0; i < districts; i++)
                {
                    await EnqueueAsync(cli, $"D{i}", night: true);
                }

                cli.Variables["ROLLCALL_PARALLEL"] = $"{parallel}";
                await node.StartAsync();
                await UntilHeldAsync(cli, parallel);

                // The queue is looked at several times meanwhile.
                await Task.Delay(TimeSpan.FromSeconds(2), Stop);
                Assert.Equal(parallel, await RunningAsync(cli));

                // Beside several there is room for one that somebody waits for, and for no second one.
                var waiting = await NumberAsync(cli, "SELECT max(district_id) FROM operations WHERE status = 0");
                var code = await WordAsync(cli, $"SELECT code FROM districts WHERE id = {waiting}");
                await EnqueueAsync(cli, code);
                await UntilHeldAsync(cli, parallel > 1 ? parallel + 1 : parallel);
                await Task.Delay(TimeSpan.FromSeconds(2), Stop);
                Assert.Equal(parallel > 1 ? parallel + 1 : parallel, await RunningAsync(cli));
            }

            await UntilIdleAsync(cli);
            await AssertWatchedAsync(cli);
            TestContext.Current.TestOutputHelper?.WriteLine(await AssertEndedAsync(cli));
            Assert.Equal(parallel > 1 ? parallel + 1 : 1, await MostAtOnceAsync(cli));
            Assert.Equal(
                districts,
                await NumberAsync(cli, "SELECT count(DISTINCT district_id) FROM operations WHERE kind = 1 AND status IN (4, 5)")
            );
            Assert.Equal(0, await node.EndAsync());
        }
        finally
        {
            node.Abandon();
            foreach (var sandbox in sandboxes)
            {
                await sandbox.DisposeAsync();
            }
        }
    }

    /// <summary>SQLite has one writer, so its server works on one at a time, and no page waits for that.</summary>
    [Fact]
    public async Task On_SQLite_two_districts_that_are_due_at_once_come_one_after_the_other_and_pages_answer_meanwhile()
    {
        var sandboxes = new List<SandboxServer>();
        await using var cli = await Cli.OpenAsync();
        var node = new Node(cli);
        try
        {
            for (var i = 0; i < 2; i++)
            {
                sandboxes.Add(
                    await SandboxServer.StartAsync(
                        new SandboxOptions
                        {
                            Students = 300,
                            Schools = 2,
                            TenantId = $"92{i}",
                        }
                    )
                );
                await SetUpAsync(cli, $"D{i}", sandboxes[i]);
                await cli.OkAsync("classlink", "schedule", "--daily", "default", "--district", $"D{i}");
                sandboxes[i].Faults.Set("slow=50");
            }

            cli.Variables["ROLLCALL_PARALLEL"] = "2";
            using (var refused = RealProcess.Start(cli, "serve", "--urls", "http://127.0.0.1:0"))
            {
                var ran = await RealProcess.EndAsync(refused);
                Assert.Equal(1, ran.Code);
                Assert.Contains(
                    "ROLLCALL_PARALLEL is for PostgreSQL",
                    Assert.Single(ran.Error.TrimEnd('\n').Split('\n')),
                    StringComparison.Ordinal
                );
            }

            cli.Variables.Remove("ROLLCALL_PARALLEL");
            await node.StartAsync();
            using var visitor = await SignedInAsync(cli, node.Url);
            using var leave = CancellationTokenSource.CreateLinkedTokenSource(Stop);
            var visits = VisitAsync(node, visitor.Session!, leave.Token);
            await EnqueueAsync(cli, "D0", night: true);
            await EnqueueAsync(cli, "D1", night: true);
            await using var database = new RollcallDatabase(new StorageOptions(cli.Data, null));
            await using var context = database.CreateContext();
            List<Operation> ended;
            do
            {
                await Task.Delay(100, Stop);
                ended = await context
                    .Operations.AsNoTracking()
                    .Where(o => o.FinishedAt != null)
                    .OrderBy(o => o.StartedAt)
                    .ToListAsync(Stop);
            } while (ended.Count < 2);

            await leave.CancelAsync();
            Assert.Equal([200], (await visits).Distinct());
            Assert.All(
                ended,
                o => Assert.Contains(o.Status, (OperationStatus[])[OperationStatus.Completed, OperationStatus.CompletedWithWarnings])
            );
            Assert.Equal(2, ended.Select(o => o.DistrictId).Distinct().Count());
            Assert.True(ended[0].FinishedAt <= ended[1].StartedAt);
            Assert.Equal(0, await node.EndAsync());
            Assert.DoesNotContain("locked", await node.LogAsync(), StringComparison.OrdinalIgnoreCase);
        }
        finally
        {
            node.Abandon();
            foreach (var sandbox in sandboxes)
            {
                await sandbox.DisposeAsync();
            }
        }
    }

    [Fact]
    public async Task Any_node_shows_how_far_an_operation_is_that_another_one_works_on()
    {
        await using var sandbox = await SandboxServer.StartAsync(new SandboxOptions { Students = 300, Schools = 2 });
        await using var cli = await Cli.OpenAsync(postgres);
        await SetUpAsync(cli, "D0", sandbox);
        Node[] nodes = [new(cli), new(cli)];
        try
        {
            await using var holder = await HoldSlicesAsync(cli);

            // And each patron takes a moment, so that there is something to see.
            await SqlAsync(
                cli,
                """
                CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.03); RETURN NULL; END $$;
                CREATE TRIGGER slow AFTER INSERT ON patrons FOR EACH ROW EXECUTE FUNCTION slow()
                """
            );
            await nodes[0].StartAsync();
            var id = await EnqueueAsync(cli, "D0");
            await UntilHeldAsync(cli, 1);
            await nodes[1].StartAsync();
            using var visitor = await SignedInAsync(cli, nodes[1].Url);
            Assert.Contains($"operation-{id}", await visitor.PageAsync($"/operations/{id}"), StringComparison.Ordinal);
            using var http = new HttpClient { BaseAddress = new Uri(nodes[1].Url) };
            http.DefaultRequestHeaders.Add("Cookie", $"rollcall-session={visitor.Session}");
            using var answer = await http.GetAsync(
                new Uri($"/operations/events?district=D0&open={id}-1", UriKind.Relative),
                HttpCompletionOption.ResponseHeadersRead,
                Stop
            );
            using var stream = new StreamReader(await answer.Content.ReadAsStreamAsync(Stop));
            var before = await NextAsync(stream, id);
            Assert.Contains("<progress", before, StringComparison.Ordinal);
            Assert.Equal(1, await NumberAsync(cli, $"SELECT count(*) FROM operations WHERE id = {id} AND node = '{nodes[0].Name}'"));

            // What comes after the lock is let go, until the page is out of date.
            await holder.CloseAsync();
            var shown = new List<string> { before! };
            while (await NextAsync(stream, id) is { } data)
            {
                shown.Add(data);
            }

            Assert.True(shown.Distinct(StringComparer.Ordinal).Count() > 1, string.Join('\n', shown));
            Assert.Contains(shown, s => s.Contains("Writing changes", StringComparison.Ordinal));
            Assert.Equal(
                1,
                await NumberAsync(
                    cli,
                    $"SELECT count(*) FROM operations WHERE id = {id} AND status IN (4, 5) AND fence = 1 AND node = '{nodes[0].Name}'"
                )
            );
            Assert.All(await Task.WhenAll(nodes.Select(n => n.EndAsync())), code => Assert.Equal(0, code));
        }
        finally
        {
            Array.ForEach(nodes, n => n.Abandon());
        }

        static async Task<string?> NextAsync(StreamReader stream, long id)
        {
            var name = "";
            while (await stream.ReadLineAsync(Stop) is { } line)
            {
                if (line == "event: settled")
                {
                    return null;
                }

                if (line.StartsWith("event: ", StringComparison.Ordinal))
                {
                    name = line;
                }
                else if (name == $"event: operation-{id}" && line.StartsWith("data: ", StringComparison.Ordinal))
                {
                    return line;
                }
            }

            throw new InvalidOperationException("The stream ended before the operation did.");
        }
    }

    private static readonly string[] s_visited = ["/", "/operations", "/patrons?q=a"];

    /// <summary>Somebody who looks at pages of a server all the while, wherever it is by now.</summary>
    /// <returns>What they were answered; whatever was no answer, for nobody was there, is left out.</returns>
    private static async Task<List<int>> VisitAsync(Node node, string session, CancellationToken until)
    {
        var answers = new List<int>();
        for (var i = 0; !until.IsCancellationRequested; i++)
        {
            try
            {
                answers.Add(await AskAsync(node.Url, s_visited[i % s_visited.Length], session, until));
            }
            catch (Exception e) when (e is HttpRequestException or OperationCanceledException or IOException)
            {
                // It is down, or hangs: whoever is a person tries again.
            }

            await Task.Delay(100, until).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        return answers;
    }

    private static async Task<int> AskAsync(string url, string path, string session, CancellationToken cancellationToken)
    {
        using var http = new HttpClient(new SocketsHttpHandler { UseCookies = false, AllowAutoRedirect = false })
        {
            BaseAddress = new Uri(url),
            Timeout = TimeSpan.FromSeconds(20),
        };
        http.DefaultRequestHeaders.Add("Cookie", $"rollcall-session={session}");
        using var answer = await http.GetAsync(new Uri(path, UriKind.Relative), cancellationToken);
        await answer.Content.ReadAsStringAsync(cancellationToken);
        return (int)answer.StatusCode;
    }

    /// <summary>A District Administrator of D0 at one of the servers.</summary>
    private static async Task<Pages.Visitor> SignedInAsync(Cli cli, string url)
    {
        string[] place = ["--group", "District Administrator", "--district", "D0"];
        var added = await cli.OkAsync(["account", "add", "watch@library.example", .. place, "--url", url, "--json"]);
        var link = new Uri(added.Word("link")!);
        var visitor = new Pages.Visitor(new Uri(url), null);
        const string password = "a password of theirs";
        await visitor.SubmitAsync(
            link.PathAndQuery,
            "/link",
            ("code", link.Query["?code=".Length..]),
            ("password", password),
            ("again", password)
        );
        return visitor;
    }

    /// <summary>A slice waits in the middle of what it writes for as long as this connection is open.</summary>
    private static async Task<NpgsqlConnection> HoldSlicesAsync(Cli cli)
    {
        await SqlAsync(
            cli,
            """
            CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NULL; END $$;
            CREATE TRIGGER hold AFTER INSERT ON patrons FOR EACH STATEMENT EXECUTE FUNCTION hold()
            """
        );
        var holder = await OpenAsync(cli);
        await using var hold = new NpgsqlCommand("SELECT pg_advisory_lock(42)", holder);
        await hold.ExecuteNonQueryAsync(Stop);
        return holder;
    }

    private static Task UntilHeldAsync(Cli cli, int slices) =>
        UntilAsync(
            cli,
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 42 AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            slices
        );

    private static Task UntilIdleAsync(Cli cli) => UntilAsync(cli, "SELECT count(*) FROM operations WHERE status IN (0, 1)", 0);

    /// <summary>Waits until this number is asked of the database, and says after a while what has not ended.</summary>
    private static async Task UntilAsync(Cli cli, string sql, long number)
    {
        var watch = Stopwatch.StartNew();
        while (await NumberAsync(cli, sql) != number)
        {
            if (watch.Elapsed > s_patience)
            {
                Assert.Fail(
                    $"After {watch.Elapsed}: "
                        + await WordAsync(
                            cli,
                            "SELECT coalesce(string_agg(format('operation %s of district %s: status %s, node %s, fence %s, applied %s of %s, %s', id, district_id, status, node, fence, applied_to, plan_size, error), E'\n' ORDER BY id), 'no operation is open') FROM operations WHERE status IN (0, 1)"
                        )
                );
            }

            await Task.Delay(100, Stop);
        }
    }

    private static Task<long> RunningAsync(Cli cli) => NumberAsync(cli, "SELECT count(*) FROM operations WHERE status = 1");

    /// <summary>Asks for syncs of every district while everything goes wrong, until all have ended.</summary>
    /// <returns>How many things went wrong.</returns>
    private static async Task<int> LiveAsync(PostgresCluster cluster, Cli cli, Node[] nodes, int districts, Random random)
    {
        for (var i = 0; i < districts; i++)
        {
            await EnqueueAsync(cli, $"D{i}");
        }

        var ahead = new Queue<string>(s_troubles.OrderBy(_ => random.Next()));
        var count = 0;
        while (ahead.Count > 0 || (Long && count < 40 && await IsBusyAsync(cli)))
        {
            await Task.Delay(random.Next(100, Long ? 1500 : 400), Stop);
            var node = nodes[random.Next(nodes.Length)];
            count++;
            switch (ahead.TryDequeue(out var trouble) ? trouble : s_troubles[random.Next(s_troubles.Length)])
            {
                case "kill":
                    await node.KillAsync();
                    await LetLeasesRunOutAsync(cli, node);
                    await node.StartAsync();
                    break;
                case "stop":
                    await node.SignalAsync("STOP");
                    await LetLeasesRunOutAsync(cli, node);

                    // Long enough that another one takes over, or not.
                    await Task.Delay(random.Next(100, Long && random.Next(4) == 0 ? 40_000 : 2_000), Stop);
                    await node.SignalAsync("CONT");
                    break;
                case "cut":
                    await SqlAsync(cli, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()");
                    break;
                default:
                    await cluster.RestartAsync(random.Next(2) == 0 ? "immediate" : "fast", TimeSpan.FromMilliseconds(random.Next(2_000)));
                    break;
            }

            if (Long)
            {
                await EnqueueAsync(cli, $"D{random.Next(districts)}");
            }
        }

        await UntilIdleAsync(cli);
        return count;
    }

    private static Task LetLeasesRunOutAsync(Cli cli, Node node) =>
        Long ? Task.CompletedTask : SqlAsync(cli, $"UPDATE operations SET lease_until = 0 WHERE node = '{node.Name}' AND status = 1");

    private static async Task SetUpAsync(Cli cli, string code, SandboxServer sandbox)
    {
        await cli.OkAsync("district", "add", code, "--name", $"District {code}");
        await cli.OkAsync(
            "classlink",
            "connect",
            "--district",
            code,
            "--tenant-id",
            sandbox.Options.TenantId,
            "--direct",
            sandbox.Url.GetLeftPart(UriPartial.Authority),
            "--key",
            sandbox.Options.ConsumerKey,
            "--secret-file",
            cli.File("secret", sandbox.Options.ConsumerSecret)
        );
        await cli.OkAsync("classlink", "on", "--district", code);
        var number = 0;
        foreach (var school in sandbox.District.Schools)
        {
            var site = $"S{++number}";
            await cli.OkAsync("site", "add", site, "--name", school.Name, "--next-barcode", $"{number}0001", "--district", code);
            await cli.OkAsync("classlink", "match", site, school.SourcedId, "--district", code);
        }

        await cli.OkAsync("classlink", "roles", "student,teacher,admin", "--district", code);
    }

    private static async Task<long> EnqueueAsync(Cli cli, string code, bool night = false)
    {
        while (true)
        {
            try
            {
                await using var database = new RollcallDatabase(new StorageOptions(cli.Data, cli.Database));
                var district = await new DistrictService(database, TimeProvider.System).ResolveAsync(code, Stop);
                var (id, _) = await new OperationQueue(database, TimeProvider.System).EnqueueAsync(
                    district.Id,
                    OperationKind.FullSync,
                    IntegrationKind.ClassLink,
                    preview: false,
                    night ? DailySchedule.Actor : "test",
                    dailyDate: night ? DateOnly.FromDateTime(TimeProvider.System.GetUtcNow().DateTime) : null,
                    cancellationToken: Stop
                );
                return id;
            }
            catch (Exception e) when (e is NpgsqlException or InvalidOperationException { InnerException: NpgsqlException })
            {
                // The database is on its way back.
                await Task.Delay(100, Stop);
            }
        }
    }

    /// <summary>One more sync of the district, undisturbed.</summary>
    private static async Task SettleAsync(Cli cli, string code)
    {
        var id = await EnqueueAsync(cli, code);
        await UntilAsync(cli, $"SELECT count(*) FROM operations WHERE id = {id} AND status IN (0, 1)", 0);

        Assert.Equal(0, await NumberAsync(cli, $"SELECT count(*) FROM operations WHERE id = {id} AND status NOT IN (2, 4, 5)"));
    }

    private static async Task<bool> IsBusyAsync(Cli cli) =>
        await NumberAsync(cli, "SELECT count(*) FROM operations WHERE status IN (0, 1)") > 0;

    private static async Task<List<string>> PatronsAsync(Cli cli, string code) =>
        [.. (await cli.OkAsync("patron", "export", "--format", "csv", "--district", code)).Out.Split('\n').Order(StringComparer.Ordinal)];

    /// <summary>Everything that is written to operations and patrons is noted, with its transaction and the database's clock.</summary>
    private static Task WatchAsync(Cli cli) =>
        SqlAsync(
            cli,
            """
            CREATE TABLE watched (seq bigserial, at timestamptz DEFAULT clock_timestamp(), xid bigint DEFAULT txid_current(), district int,
                operation bigint, patron bigint, fence bigint, status int, applied bigint, held bigint, lease bigint);
            CREATE FUNCTION watch_operation() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO watched (district, operation, fence, status, applied, held, lease)
                VALUES (NEW.district_id, NEW.id, NEW.fence, NEW.status, NEW.applied_to, NEW.held_applied_to, NEW.lease_until); RETURN NULL; END $$;
            CREATE FUNCTION watch_patron() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO watched (district, patron) VALUES (NEW.district_id, NEW.id); RETURN NULL; END $$;
            CREATE TRIGGER watch AFTER INSERT OR UPDATE ON operations FOR EACH ROW EXECUTE FUNCTION watch_operation();
            CREATE TRIGGER watch AFTER INSERT OR UPDATE ON patrons FOR EACH ROW EXECUTE FUNCTION watch_patron();
            """
        );

    /// <returns>The longest time between two signs of life of an operation at work.</returns>
    private static async Task<TimeSpan> AssertWatchedAsync(Cli cli)
    {
        // Every write of a patron is in one transaction with the position of one running operation of the district.
        Assert.Equal(
            0,
            await NumberAsync(
                cli,
                """
                SELECT count(*) FROM (SELECT xid, district FROM watched WHERE patron IS NOT NULL GROUP BY xid, district) p
                WHERE (SELECT count(DISTINCT o.operation) FROM watched o WHERE o.xid = p.xid AND o.district = p.district AND o.status = 1) <> 1
                """
            )
        );

        // And no operation writes a patron twice.
        Assert.Equal(
            0,
            await NumberAsync(
                cli,
                """
                SELECT count(*) FROM (SELECT o.operation, p.patron FROM watched p JOIN watched o ON o.xid = p.xid AND o.operation IS NOT NULL
                WHERE p.patron IS NOT NULL GROUP BY o.operation, p.patron HAVING count(DISTINCT p.xid) > 1) twice
                """
            )
        );
        Assert.Equal(
            0,
            await NumberAsync(
                cli,
                """
                SELECT (SELECT count(*) FROM patrons) - (SELECT count(DISTINCT (district_id, guid)) FROM patrons)
                  + (SELECT count(*) FROM patrons p WHERE NOT EXISTS (SELECT 1 FROM patron_links l WHERE l.district_id = p.district_id AND l.patron_id = p.id))
                """
            )
        );
        var slowest = TimeSpan.Zero;
        var last = new Dictionary<long, (int District, DateTime At, long Fence, int Status, long Applied, long Held)>();
        await using var connection = await OpenAsync(cli);
        await using var command = new NpgsqlCommand(
            "SELECT district, operation, at, fence, status, applied, held FROM watched WHERE operation IS NOT NULL ORDER BY seq",
            connection
        );
        await using var reader = await command.ExecuteReaderAsync(Stop);
        while (await reader.ReadAsync(Stop))
        {
            var id = reader.GetInt64(1);
            var now = (
                District: reader.GetInt32(0),
                At: reader.GetDateTime(2),
                Fence: reader.GetInt64(3),
                Status: reader.GetInt32(4),
                Applied: reader.GetInt64(5),
                Held: reader.GetInt64(6)
            );
            if (last.TryGetValue(id, out var before))
            {
                Assert.True(now.Fence >= before.Fence && now.Applied >= before.Applied && now.Held >= before.Held, $"operation {id}");
                if (before.Status == 1 && now.At - before.At > slowest)
                {
                    slowest = now.At - before.At;
                }
            }

            last[id] = now;
            Assert.True(last.Values.Count(o => o.District == now.District && o.Status == 1) <= 1, $"Two syncs of district {now.District}");
        }

        Assert.NotEmpty(last);
        return slowest;
    }

    /// <summary>How every operation ended, asked of the database: none is left, nobody holds one, each says when it ended, nobody was created twice, and
    /// whatever failed did so by what was done to the servers.</summary>
    /// <returns>The ends in words.</returns>
    private static async Task<string> AssertEndedAsync(Cli cli)
    {
        Assert.Equal(
            0,
            await NumberAsync(
                cli,
                "SELECT count(*) FROM operations WHERE status IN (0, 1) OR lease_until <> 0 OR finished_at IS NULL OR started_at IS NULL"
            )
        );
        Assert.Equal(
            0,
            await NumberAsync(
                cli,
                "SELECT count(*) FROM operations WHERE status IN (2, 4, 5) AND (applied_to <> plan_size OR error IS NOT NULL)"
            )
        );

        // What is written as created is there, and once.
        const string created = """
            SELECT c.district_id, c.roster_id FROM changes c JOIN operations o ON o.district_id = c.district_id AND o.id = c.operation_id
            WHERE c.kind = 1 AND NOT c.stale AND ((NOT c.held AND c.number <= o.applied_to) OR (c.held AND c.number <= o.held_applied_to))
            """;
        Assert.Equal(0, await NumberAsync(cli, $"SELECT count(*) FROM ({created}) c GROUP BY district_id, roster_id HAVING count(*) > 1"));
        Assert.Equal(await NumberAsync(cli, "SELECT count(*) FROM patrons"), await NumberAsync(cli, $"SELECT count(*) FROM ({created}) c"));
        var ends = new List<string>();
        await using var connection = await OpenAsync(cli);
        await using var command = new NpgsqlCommand(
            "SELECT status, error, count(*), count(*) FILTER (WHERE fence > 1) FROM operations GROUP BY status, error ORDER BY status, error",
            connection
        );
        await using var reader = await command.ExecuteReaderAsync(Stop);
        while (await reader.ReadAsync(Stop))
        {
            var status = (OperationStatus)reader.GetInt32(0);
            var error = await reader.IsDBNullAsync(1, Stop) ? null : reader.GetString(1);
            Assert.True(
                status
                    is OperationStatus.NeedsApproval
                        or OperationStatus.Completed
                        or OperationStatus.CompletedWithWarnings
                        or OperationStatus.Superseded
                    || (
                        status == OperationStatus.Failed
                        && (
                            error!.StartsWith("The database refused the work", StringComparison.Ordinal)
                            || error.StartsWith("Its worker ended in the middle five times", StringComparison.Ordinal)
                        )
                    ),
                $"{status}: {error}"
            );
            ends.Add(
                $"{reader.GetInt64(2)} {OperationQueue.StatusWord(status)} ({reader.GetInt64(3)} begun more than once){(error is null ? "" : $": {error}")}"
            );
        }

        return string.Join(", ", ends);
    }

    /// <summary>The most operations that were at work at one moment.</summary>
    private static async Task<int> MostAtOnceAsync(Cli cli)
    {
        var running = new HashSet<long>();
        var most = 0;
        await using var connection = await OpenAsync(cli);
        await using var command = new NpgsqlCommand(
            "SELECT operation, status FROM watched WHERE operation IS NOT NULL ORDER BY seq",
            connection
        );
        await using var reader = await command.ExecuteReaderAsync(Stop);
        while (await reader.ReadAsync(Stop))
        {
            if (reader.GetInt32(1) == (int)OperationStatus.Running)
            {
                running.Add(reader.GetInt64(0));
            }
            else
            {
                running.Remove(reader.GetInt64(0));
            }

            most = Math.Max(most, running.Count);
        }

        return most;
    }

    private static async Task<string> WordAsync(Cli cli, string sql)
    {
        await using var connection = await OpenAsync(cli);
        await using var command = new NpgsqlCommand(sql, connection);
        return (string)(await command.ExecuteScalarAsync(Stop))!;
    }

    private static async Task<NpgsqlConnection> OpenAsync(Cli cli)
    {
        while (true)
        {
            var connection = new NpgsqlConnection(new NpgsqlConnectionStringBuilder(cli.Database) { Pooling = false }.ToString());
            try
            {
                await connection.OpenAsync(Stop);
                return connection;
            }
            catch (NpgsqlException)
            {
                await connection.DisposeAsync();
                await Task.Delay(100, Stop);
            }
        }
    }

    private static async Task SqlAsync(Cli cli, string sql) => await NumberAsync(cli, sql);

    private static async Task<long> NumberAsync(Cli cli, string sql)
    {
        await using var connection = await OpenAsync(cli);
        await using var command = new NpgsqlCommand(sql, connection) { CommandTimeout = 120 };
        return Convert.ToInt64(await command.ExecuteScalarAsync(Stop) ?? 0L, CultureInfo.InvariantCulture);
    }
}
