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
            Stop
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
