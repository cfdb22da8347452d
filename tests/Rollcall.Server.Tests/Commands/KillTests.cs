using System.Data.Common;
using System.Diagnostics;
using System.Globalization;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Sandbox;
using Rollcall.Storage;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Commands;

/// <summary>Syncs of a real process that is killed at any moment: whoever comes next ends where an undisturbed run ends, and at no moment is
/// a patron there twice, gone or half-written. ROLLCALL_KILLS=N kills that often, with 20,000 students instead of a few hundred.</summary>
public sealed class KillTests(PostgresCluster postgres)
{
    private static readonly int s_kills = int.TryParse(
        Environment.GetEnvironmentVariable("ROLLCALL_KILLS"),
        CultureInfo.InvariantCulture,
        out var kills
    )
        ? kills
        : 0;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(false, 1)]
    [InlineData(true, 2)]
    public async Task A_sync_that_is_killed_at_any_moment_ends_as_if_it_had_not_been(bool onPostgres, int seed)
    {
        var random = new Random(seed);
        var killed = 0;
        var hits = new Dictionary<Hit, int>();
        for (var round = 0; killed < Math.Max(s_kills, 3); round++)
        {
            await using var sandbox = await SandboxServer.StartAsync(
                new SandboxOptions
                {
                    Students = s_kills > 0 ? 20_000 : 600,
                    Schools = 4,
                    Seed = seed + round,
                }
            );
            await using var calm = await Cli.ConnectedAsync(sandbox, onPostgres ? postgres : null);
            await using var rough = await Cli.ConnectedAsync(sandbox, onPostgres ? postgres : null);
            for (var day = 0; day <= 1; day++)
            {
                sandbox.SetDay(day);
                var before = await WholeAsync(calm);
                var watch = Stopwatch.StartNew();
                using (var sync = RealProcess.Start(calm, "sync", "--json"))
                {
                    Assert.Contains((await RealProcess.EndAsync(sync)).Code, (int[])[0, 3]);
                }

                // Any moment of its life is as good as another.
                var life = watch.Elapsed;
                var states = new States(before, await WholeAsync(calm));
                for (var kill = 0; kill < (s_kills > 0 ? 4 : 2) && killed < Math.Max(s_kills, 3); kill++, killed++)
                {
                    // Two of them take their moment from the database, so that no run misses the sync; the others take any.
                    Hit? at = (killed % 4) switch
                    {
                        0 => Hit.Reading,
                        1 => Hit.Writing,
                        _ => null,
                    };
                    var hit = await KillAsync(rough, states, at, TimeSpan.FromTicks(random.NextInt64(life.Ticks)), served: kill % 2 == 1);
                    hits[hit] = hits.GetValueOrDefault(hit) + 1;
                }

                var end = await rough.RunAsync("sync", "--json");
                Assert.Contains(end.Code, (int[])[0, 3]);
                Assert.Equal(await PatronsAsync(calm), await PatronsAsync(rough));
                Assert.Subset(await OperationsAsync(rough), await OperationsAsync(calm));
                await rough.OkAsync("db", "check");
            }
        }

        TestContext.Current.TestOutputHelper?.WriteLine($"{killed} kills: {string.Join(", ", hits.Select(h => $"{h.Value} {h.Key}"))}");
        Assert.True(hits.GetValueOrDefault(Hit.Reading) > 0, "No kill hit a sync that read");
        Assert.True(hits.GetValueOrDefault(Hit.Writing) > 0, "No kill hit a sync between its slices");
    }

    /// <summary>What a kill found the process at.</summary>
    private enum Hit
    {
        /// <summary>No sync was at work: not yet, or no more.</summary>
        Nothing,

        /// <summary>Nothing was written yet.</summary>
        Reading,

        /// <summary>Some slices were written.</summary>
        Writing,
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_server_that_is_asked_to_end_while_it_writes_parks_within_seconds_and_the_sync_goes_on_where_it_was(bool onPostgres)
    {
        await using var sandbox = await SandboxServer.StartAsync(new SandboxOptions { Students = 300, Schools = 2 });
        await using var calm = await Cli.ConnectedAsync(sandbox, onPostgres ? postgres : null);
        await using var rough = await Cli.ConnectedAsync(sandbox, onPostgres ? postgres : null);
        await calm.OkAsync("sync", "--json");
        await using var connection = await OpenAsync(rough);

        // Each patron takes a moment to be written.
        await ExecuteAsync(
            connection,
            onPostgres
                ? """
                CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.01); RETURN NULL; END $$;
                CREATE TRIGGER slow AFTER INSERT ON patrons FOR EACH ROW EXECUTE FUNCTION slow()
                """
                : "CREATE TRIGGER slow AFTER INSERT ON patrons BEGIN SELECT length(hex(randomblob(1000000))); END"
        );
        var (server, _) = await RealProcess.ServeAsync(rough);
        using var first = server;
        var id = await EnqueueAsync(rough);
        while (await ExecuteAsync(connection, $"SELECT count(*) FROM operations WHERE id = {id} AND status = 1 AND applied_to > 0") == 0)
        {
            await Task.Delay(10, Stop);
        }

        await RealProcess.SignalAsync(first, "TERM");
        using (var patience = CancellationTokenSource.CreateLinkedTokenSource(Stop))
        {
            patience.CancelAfter(TimeSpan.FromSeconds(10));
            await first.WaitForExitAsync(patience.Token);
        }

        Assert.Equal(0, first.ExitCode);
        Assert.Equal(
            1,
            await ExecuteAsync(
                connection,
                $"SELECT count(*) FROM operations WHERE id = {id} AND status = 0 AND lease_until = 0 AND applied_to > 0 AND applied_to < plan_size"
            )
        );
        var written = await ExecuteAsync(connection, "SELECT count(*) FROM patrons");
        Assert.InRange(written, 1, (await PatronsAsync(calm)).Count - 3);
        await ExecuteAsync(connection, onPostgres ? "DROP TRIGGER slow ON patrons" : "DROP TRIGGER slow");

        var (again, _) = await RealProcess.ServeAsync(rough);
        using var second = again;
        while (await ExecuteAsync(connection, $"SELECT count(*) FROM operations WHERE id = {id} AND status IN (0, 1)") > 0)
        {
            await Task.Delay(50, Stop);
        }

        await RealProcess.SignalAsync(second, "TERM");
        Assert.Equal(0, (await RealProcess.EndAsync(second)).Code);
        Assert.Equal(await PatronsAsync(calm), await PatronsAsync(rough));
        Assert.Equal(await OperationsAsync(calm), await OperationsAsync(rough));
        Assert.Equal(1, await ExecuteAsync(connection, "SELECT count(*) FROM operations WHERE kind = 1"));
        await rough.OkAsync("db", "check");
    }

    /// <summary>Lets a process sync for a while, and kills it. Meanwhile nobody is there twice, lost or half-written.</summary>
    /// <param name="cli">The installation.</param>
    /// <param name="states">Before and after.</param>
    /// <param name="at">At what it is killed; null for any moment.</param>
    /// <param name="after">That moment.</param>
    /// <param name="served">A server works, and not the command.</param>
    private static async Task<Hit> KillAsync(Cli cli, States states, Hit? at, TimeSpan after, bool served)
    {
        var hit = Hit.Nothing;
        Process worker;
        Process? follower = null;
        if (served)
        {
            worker = RealProcess.Start(cli, "serve", "--urls", "http://127.0.0.1:0", "--json");
            while (await worker.StandardOutput.ReadLineAsync(Stop) is { } line && line != "}") { }

            if (cli.Database is null)
            {
                follower = RealProcess.Start(cli, "sync", "--json");
            }
            else
            {
                // A command would take the sync for itself before the server looks.
                await EnqueueAsync(cli);
            }
        }
        else
        {
            worker = RealProcess.Start(cli, "sync", "--json");
        }

        using (worker)
        {
            var watch = Stopwatch.StartNew();
            await using (var connection = await OpenAsync(cli))
            {
                if (at is { } moment)
                {
                    await HoldAtAsync(worker, connection, moment, watch);
                }

                while (at is null && watch.Elapsed < after && !worker.HasExited)
                {
                    await AssertWholeAsync(connection, states);
                    await Task.Delay(TimeSpan.FromMilliseconds(50), Stop);
                }

                await RealProcess.SignalAsync(worker, "KILL");
                await worker.WaitForExitAsync(Stop);
                await AssertWholeAsync(connection, states);
                hit =
                    await NumberAsync(connection, Working(Hit.Writing)) > 0 ? Hit.Writing
                    : await NumberAsync(connection, Working(Hit.Reading)) > 0 ? Hit.Reading
                    : Hit.Nothing;
                if (cli.Database is not null)
                {
                    // The lease of half a minute runs out at once.
                    await ExecuteAsync(connection, "UPDATE operations SET lease_until = 0");
                }
            }
        }

        if (follower is not null)
        {
            // It takes over what the server left behind.
            using (follower)
            {
                Assert.Contains((await RealProcess.EndAsync(follower)).Code, (int[])[0, 3]);
            }
        }

        return hit;
    }

    /// <summary>Counts the syncs that are at work so.</summary>
    private static string Working(Hit hit) =>
        $"SELECT count(*) FROM operations WHERE kind = 1 AND status = 1 AND applied_to {(hit == Hit.Writing ? "> 0" : "= 0")}";

    /// <summary>Lets a process work in short steps until it is at that, and leaves it standing still.</summary>
    private static async Task HoldAtAsync(Process worker, DbConnection connection, Hit moment, Stopwatch watch)
    {
        while (!worker.HasExited && watch.Elapsed < TimeSpan.FromMinutes(1))
        {
            // Looked at while it is held: a moment later it could have gone on.
            await RealProcess.SignalAsync(worker, "STOP");
            if (await NumberAsync(connection, Working(moment)) > 0)
            {
                return;
            }

            await RealProcess.SignalAsync(worker, "CONT");
            await Task.Delay(TimeSpan.FromMilliseconds(2), Stop);
        }
    }

    private static async Task<long> EnqueueAsync(Cli cli)
    {
        var services = new ServiceCollection();
        services.AddSingleton(TimeProvider.System);
        services.AddRollcall(new RollcallOptions(new StorageOptions(cli.Data, cli.Database), AllowPrivateAddresses: true));
        await using var provider = services.BuildServiceProvider();
        var (id, _) = await provider
            .GetRequiredService<OperationQueue>()
            .EnqueueAsync(1, OperationKind.FullSync, IntegrationKind.ClassLink, preview: false, "test", cancellationToken: Stop);
        return id;
    }

    private static async Task<DbConnection> OpenAsync(Cli cli)
    {
        DbConnection connection = cli.Database is null
            ? new SqliteConnection($"Data Source={Path.Combine(cli.Data, "rollcall.db")};Default Timeout=30;Pooling=False")
            : new NpgsqlConnection(cli.Database);
        await connection.OpenAsync(Stop);
        return connection;
    }

    /// <summary>What a sync starts from and what it ends with, by the roster's ids, and who has been seen.</summary>
    private sealed record States(Dictionary<string, string> Before, Dictionary<string, string> After)
    {
        public HashSet<string> Seen { get; } = [.. Before.Keys];
    }

    private static async Task<Dictionary<string, string>> WholeAsync(Cli cli)
    {
        await using var connection = await OpenAsync(cli);
        return await WholeAsync(connection);
    }

    /// <summary>All patrons come from the roster: each has a GUID and a link of its own.</summary>
    private static async Task<Dictionary<string, string>> WholeAsync(DbConnection connection)
    {
        await using var command = connection.CreateCommand();
        command.CommandText = """
            SELECT p.guid, p.barcode, p.barcode_key, p.community_id, p.first_name, p.middle_name, p.last_name, p.birthdate, p.sex, p.phone, p.email,
              p.additional_contact, p.other_emails, p.location, p.level, p.site_id, p.status, l.role_group, l.absent, l.status_before
            FROM patrons p LEFT JOIN patron_links l ON l.district_id = p.district_id AND l.patron_id = p.id
            """;
        var whole = new Dictionary<string, string>(StringComparer.Ordinal);
        await using var reader = await command.ExecuteReaderAsync(Stop);
        while (await reader.ReadAsync(Stop))
        {
            Assert.False(await reader.IsDBNullAsync(0, Stop), "A patron has no GUID");
            Assert.False(await reader.IsDBNullAsync(17, Stop), "A patron has no link");
            var fields = Enumerable
                .Range(1, reader.FieldCount - 1)
                .Select(i => Convert.ToString(reader.GetValue(i), CultureInfo.InvariantCulture));
            Assert.True(whole.TryAdd(reader.GetString(0), string.Join('|', fields)), "A patron is there twice");
        }

        return whole;
    }

    /// <summary>Nobody is there twice, nobody who was seen is gone, and each is as before the sync or as after it, whole.</summary>
    private static async Task AssertWholeAsync(DbConnection connection, States states)
    {
        var now = await WholeAsync(connection);
        Assert.Empty(states.Seen.Except(now.Keys));
        states.Seen.UnionWith(now.Keys);
        Assert.DoesNotContain(
            now,
            p => p.Value != states.Before.GetValueOrDefault(p.Key) && p.Value != states.After.GetValueOrDefault(p.Key)
        );
    }

    private static Task<long> NumberAsync(DbConnection connection, string sql) => ExecuteAsync(connection, sql);

    private static async Task<long> ExecuteAsync(DbConnection connection, string sql)
    {
        await using var command = connection.CreateCommand();
        command.CommandText = sql;
        return Convert.ToInt64(await command.ExecuteScalarAsync(Stop) ?? 0L, CultureInfo.InvariantCulture);
    }

    private static async Task<List<string>> PatronsAsync(Cli cli)
    {
        var export = await cli.OkAsync("patron", "export", "--format", "csv");
        return [.. export.Out.Split('\n').Order(StringComparer.Ordinal)];
    }

    /// <summary>What syncs said. One that was killed after its end is followed by another one that finds nothing.</summary>
    private static async Task<HashSet<string>> OperationsAsync(Cli cli)
    {
        var operations = await cli.OkAsync("operation", "list", "--json");
        return
        [
            .. operations
                .Json.EnumerateArray()
                .Select(o => $"{o.GetProperty("kind")} {string.Join(' ', s_counts.Select(c => $"{c} {o.GetProperty(c)}"))}"),
        ];
    }

    private static readonly string[] s_counts = ["read", "created", "review", "transferred", "reactivated", "held"];
}
