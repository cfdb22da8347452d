using System.Diagnostics;
using System.Globalization;
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
public sealed class NodesTests
{
    private static readonly int s_rounds = int.TryParse(
        Environment.GetEnvironmentVariable("ROLLCALL_NODE_ROUNDS"),
        CultureInfo.InvariantCulture,
        out var rounds
    )
        ? rounds
        : 0;

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
            (_process, _) = await RealProcess.ServeAsync(cli);
            _ended = false;
            Name = $"{Environment.MachineName}:{_process.Id}";
            _logs.Add(_process.StandardError.ReadToEndAsync(Stop));
        }

        /// <summary>As operations have it.</summary>
        public string Name { get; private set; } = "";

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
            nodes = [new Node(rough), new Node(rough), new Node(rough)];
            await Task.WhenAll(nodes.Select(n => n.StartAsync()));
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

                await rough.OkAsync("db", "check");
                TestContext.Current.TestOutputHelper?.WriteLine(
                    $"seed {seed}, day {day}: {troubles} troubles so far, the longest time without a worker {slowest.TotalSeconds:0.0} s"
                );
            }

            // Whatever they went through, they end in order, and nothing they met was unexpected.
            Assert.All(await Task.WhenAll(nodes.Select(n => n.EndAsync())), code => Assert.Equal(0, code));
            var logs = string.Concat(await Task.WhenAll(nodes.Select(n => n.LogAsync())));
            Assert.DoesNotContain("unexpected fault", logs, StringComparison.OrdinalIgnoreCase);
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

    [Fact]
    public async Task A_node_that_stops_in_the_middle_of_a_slice_is_replaced_within_a_minute_and_writes_nothing_when_it_goes_on()
    {
        await using var cluster = await PostgresCluster.OwnAsync();
        await using var sandbox = await SandboxServer.StartAsync(new SandboxOptions { Students = 80, Schools = 2 });
        await using var cli = await Cli.OpenAsync(cluster);
        await SetUpAsync(cli, "D0", sandbox);
        await WatchAsync(cli);

        // A slice waits in the middle of what it writes for as long as somebody holds this lock.
        await SqlAsync(
            cli,
            """
            CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NULL; END $$;
            CREATE TRIGGER hold AFTER INSERT ON patrons FOR EACH STATEMENT EXECUTE FUNCTION hold()
            """
        );
        Node[] nodes = [new(cli), new(cli)];
        try
        {
            await using var holder = await OpenAsync(cli);
            await using (var hold = new NpgsqlCommand("SELECT pg_advisory_lock(42)", holder))
            {
                await hold.ExecuteNonQueryAsync(Stop);
            }

            await nodes[0].StartAsync();
            var id = await EnqueueAsync(cli, "D0");
            while (await NumberAsync(cli, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == 0)
            {
                await Task.Delay(50, Stop);
            }

            await nodes[0].SignalAsync("STOP");
            await holder.CloseAsync();
            await nodes[1].StartAsync();
            while (await NumberAsync(cli, $"SELECT count(*) FROM operations WHERE id = {id} AND status IN (0, 1)") > 0)
            {
                await Task.Delay(200, Stop);
            }

            Assert.Equal(
                1,
                await NumberAsync(
                    cli,
                    $"SELECT count(*) FROM operations WHERE id = {id} AND status IN (4, 5) AND node = '{nodes[1].Name}' AND fence = 2"
                )
            );
            Assert.InRange(await AssertWatchedAsync(cli), TimeSpan.FromSeconds(5), TimeSpan.FromMinutes(1));
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

        while (await IsBusyAsync(cli))
        {
            await Task.Delay(200, Stop);
        }

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

    private static async Task<long> EnqueueAsync(Cli cli, string code)
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
                    "test",
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
        while (await NumberAsync(cli, $"SELECT count(*) FROM operations WHERE id = {id} AND status IN (0, 1)") > 0)
        {
            await Task.Delay(50, Stop);
        }

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
