using Microsoft.EntityFrameworkCore;
using Npgsql;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Storage;
using Rollcall.Tests.Infrastructure;
using Rollcall.Tests.Sync;

namespace Rollcall.Tests.Storage;

/// <summary>PostgreSQL alone: what goes over all patrons of a very large district, or a whole table, takes longer than others get. Here
/// others get a second, and such a statement takes two.</summary>
public sealed class LongStatementTests(PostgresCluster cluster)
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_switch_takes_its_time_and_stamps_patrons_at_the_very_last()
    {
        await using var system = await StartAsync();
        await using var hurried = Hurried(system);
        await SlowAsync(system, "patrons", "UPDATE");
        await SlowAsync(system, "patron_links", "DELETE");
        string[] tables = ["patrons", "patron_links", "integrations", "site_orgs", "sites", "audit_entries", "operations", "changes"];
        await ExecuteAsync(
            system,
            $"""
            CREATE TABLE seen (number serial, name text);
            CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen (name) VALUES (TG_TABLE_NAME); RETURN NULL; END $$;
            {string.Join('\n', tables.Select(t => $"CREATE TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON {t} EXECUTE FUNCTION see();"))}
            """
        );
        var connected = await hurried.Integrations.ConnectAsync(
            system.District,
            IntegrationKind.ClassLink,
            FailureTests.Elsewhere(system),
            true,
            clear: true,
            "test",
            cancellationToken: Stop
        );
        Assert.NotNull(connected.Cleared);
        await using var context = system.Database.CreateContext();
        Assert.False(await context.Patrons.AnyAsync(p => p.Guid != null, Stop));
        var seen = await context.Database.SqlQueryRaw<string>("SELECT name AS \"Value\" FROM seen ORDER BY number").ToListAsync(Stop);
        Assert.Contains("audit_entries", seen);
        Assert.Equal("patrons", seen[^1]);
    }

    [Fact]
    public async Task A_hold_marks_as_many_rows_as_there_are()
    {
        await using var system = await StartAsync();
        await using var hurried = Hurried(system);
        system.Sandbox.Overrides.Remove("users", "p2", "p3", "p4");
        await SlowAsync(system, "changes", "UPDATE");
        var held = await hurried.SyncAsync(preview: true);
        Assert.Equal((OperationStatus.Preview, null), (held.Status, held.Error));
        Assert.True(OperationQueue.CountsOf(held).Held > 0, held.Counts);
    }

    [Fact]
    public async Task A_restore_ends_a_table_of_any_size()
    {
        await using var system = await StartAsync();
        await using var hurried = Hurried(system);
        using var folder = new TempFolder();
        var file = Path.Combine(folder.Path, "a.bak");
        await new Backup(hurried.Database, TimeProvider.System).WriteAsync(file, Stop);
        await SlowAsync(system, "patrons", "INSERT");
        await ExecuteAsync(system, "UPDATE operations SET status = 3 WHERE status IN (0, 1)");
        var restored = await new Backup(hurried.Database, TimeProvider.System).RestoreAsync(file, replace: true, Stop);
        Assert.Equal(4, restored.Content.Patrons);
    }

    [Fact]
    public async Task A_migration_makes_an_index_of_any_size()
    {
        await using var system = await StartAsync();
        await using var hurried = Hurried(system);
        await ExecuteAsync(
            system,
            $"""
            DROP INDEX {PostgresSearchIndex.Name};
            CREATE FUNCTION slowly() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(2); END $$;
            CREATE EVENT TRIGGER slowly ON ddl_command_start WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION slowly();
            """
        );
        await hurried.Database.MigrateAsync(Stop);
        await using var context = system.Database.CreateContext();
        Assert.Equal(
            1,
            await context
                .Database.SqlQueryRaw<int>("SELECT count(*)::int AS \"Value\" FROM pg_class WHERE relname = {0}", PostgresSearchIndex.Name)
                .SingleAsync(Stop)
        );
    }

    [Fact]
    public async Task An_operation_of_any_size_comes_to_its_end_whichever_it_is()
    {
        await using var system = await StartAsync();
        await using var hurried = Hurried(system);
        var district = system.District.Id;

        // What an earlier worker planned is deleted.
        var operation = await ClaimAsync();
        await SlowlyAsync(() => hurried.Queue.DeletePlanAsync(operation, Stop));

        // What was written before the end is counted: of one that fails, is cancelled at work or before, or fails beside the night.
        await SlowlyAsync(async () =>
            Assert.True(await hurried.Queue.FinishAsync(operation, OperationStatus.Failed, null, null, "No.", Stop))
        );
        operation = await ClaimAsync();
        await SlowlyAsync(() => hurried.Queue.FailBesideNightAsync(operation, TimeSpan.FromMinutes(10), "No.", Stop));
        operation = await ClaimAsync();
        await hurried.Queue.ParkAsync(operation, Stop);
        await SlowlyAsync(() => hurried.Queue.CancelAsync(district, operation.Id, Stop));

        // So is what waits when its service is turned off.
        operation = await ClaimAsync();
        await hurried.Queue.ParkAsync(operation, Stop);
        await SlowlyAsync(async () =>
        {
            await using var work = await DistrictTransaction.BeginAsync(hurried.Database, district, Stop);
            var row = await work.Context.Integrations.SingleAsync(i => i.DistrictId == district, Stop);
            await OperationQueue.StopSyncsAsync(work.Context, row, "Off.", DateTimeOffset.UnixEpoch, Stop);
            await work.CommitAsync(Stop);
        });
        Assert.Equal(OperationStatus.Cancelled, (await hurried.Queue.GetAsync(district, operation.Id, Stop)).Status);

        // What an earlier worker had left out counts.
        operation = await ClaimAsync();
        operation.AppliedTo = 1;
        await SlowlyAsync(() =>
            new Rollcall.Sync.Apply.Applier(hurried.Database, operation, null, TimeProvider.System).RunAsync(
                held: false,
                approval: false,
                _ => ValueTask.CompletedTask,
                Stop
            )
        );
        Assert.True(await hurried.Queue.FinishAsync(operation, OperationStatus.Completed, null, null, null, Stop));

        async Task<Operation> ClaimAsync()
        {
            var (id, _) = await hurried.Queue.EnqueueAsync(
                district,
                OperationKind.FullSync,
                IntegrationKind.ClassLink,
                preview: false,
                "test",
                cancellationToken: Stop
            );
            await ExecuteAsync(system, $"UPDATE operations SET planned = true WHERE id = {id}");
            return (await hurried.Queue.ClaimAsync("one", id, aloneHere: false, Stop))!;
        }

        Task SlowlyAsync(Func<Task> act) => WhileLockedAsync(system, act);
    }

    [Fact]
    public async Task A_plan_of_any_size_is_decided_on()
    {
        await using var system = await StartAsync();
        await using var hurried = Hurried(system);
        var district = system.District.Id;
        system.Sandbox.Overrides.Remove("users", "p2", "p3", "p4");
        var hold = await system.SyncAsync();
        Assert.Equal(OperationStatus.NeedsApproval, hold.Status);
        var preview = await system.SyncAsync(preview: true);
        Assert.Equal(OperationStatus.Preview, preview.Status);

        // Whoever has been read since is left out of what waits.
        await using (var connection = await hurried.Database.OpenAsync(Stop))
        {
            await using var transaction = await connection.BeginTransactionAsync(Stop);
            await using var context = hurried.Database.CreateContext(connection, transaction);
            await WhileLockedAsync(
                system,
                () =>
                    Rollcall.Sync.OlderPlans.ContradictAsync(
                        context,
                        new Operation
                        {
                            Id = preview.Id + 1,
                            DistrictId = district,
                            Kind = OperationKind.PersonSync,
                            Integration = IntegrationKind.ClassLink,
                        },
                        new Rollcall.Sync.SeenPeople([], ["p1"]),
                        DateTimeOffset.UnixEpoch,
                        Stop
                    )
            );
        }

        await WhileLockedAsync(system, () => hurried.Queue.ApproveAsync(district, preview.Id, "test", Stop));
        Assert.Equal(OperationStatus.Superseded, (await system.Queue.GetAsync(district, hold.Id, Stop)).Status);
        await system.Queue.CancelAsync(district, preview.Id, Stop);
        hold = await system.SyncAsync();
        Assert.Equal(OperationStatus.NeedsApproval, hold.Status);
        await WhileLockedAsync(system, () => hurried.Queue.DiscardAsync(district, hold.Id, "test", Stop));
    }

    /// <summary>Does it while what it reads or deletes among changes takes two seconds.</summary>
    private static async Task WhileLockedAsync(Installation system, Func<Task> act)
    {
        await using var connection = await system.Database.OpenAsync(Stop);
        await using var transaction = await connection.BeginTransactionAsync(Stop);
        await Sql.ExecuteAsync(connection, transaction, "LOCK TABLE changes IN ACCESS EXCLUSIVE MODE", Stop);
        var acting = act();
        await Task.Delay(TimeSpan.FromSeconds(2), Stop);
        await transaction.CommitAsync(Stop);
        await acting;
    }

    private static Installation Hurried(Installation system) =>
        Installation.Open(
            system.Database.DataFolder,
            new NpgsqlConnectionStringBuilder(system.Database.ConnectionString) { CommandTimeout = 1 }.ToString(),
            system,
            TimeProvider.System
        );

    private static Task SlowAsync(Installation system, string table, string what) =>
        ExecuteAsync(
            system,
            $"""
            CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(2); RETURN NULL; END $$;
            CREATE TRIGGER slow AFTER {what} ON {table} EXECUTE FUNCTION slow();
            """
        );

    private static async Task ExecuteAsync(Installation system, string sql)
    {
        await using var connection = await system.Database.OpenAsync(Stop);
        await Sql.ExecuteAsync(connection, null, sql, Stop);
    }

    private async Task<Installation> StartAsync()
    {
        var system = await Installation.StartAsync(
            cluster,
            Db.Postgres,
            new Rollcall.Sandbox.SandboxOptions { Students = 20, Schools = 2 }
        );
        system.Sandbox.OnlyMine();
        for (var i = 1; i <= 4; i++)
        {
            system.Sandbox.Person($"p{i}", $"Ann{i}", $"Alpha{i}");
        }

        await system.SyncAsync();
        await system.ConfigureAsync(s => SettingsChange.Threshold(s, "transfers", 1, 1, null));
        return system;
    }
}
