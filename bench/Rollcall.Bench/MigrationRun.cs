using System.Globalization;
using Rollcall.Storage;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Bench;

/// <summary>A database as the first version made it, with so many patrons and a link and a change of each, migrated by this one in a process of its
/// own.</summary>
internal sealed class MigrationRun(BenchOptions options)
{
    public async Task RunAsync()
    {
        var cluster = options.Databases.Contains(BenchOptions.Postgres) ? new PostgresCluster() : null;
        await using (cluster)
        {
            if (cluster is not null)
            {
                await cluster.InitializeAsync();
            }

            Console.WriteLine("| patrons of the first version | database | migrations | s | own CPU s | peak MB | MB before | MB after |");
            Console.WriteLine("|---|---|---|---|---|---|---|---|");
            foreach (var database in options.Databases)
            {
                using var folder = new TempFolder();
                var order = new Order
                {
                    Task = Tasks.Migrate,
                    Folder = folder.Path,
                    Connection = database == BenchOptions.Postgres ? await cluster!.CreateEmptyDatabaseAsync() : null,
                };
                Console.Error.WriteLine($"{options.Migrated} patrons, {database}: filling the tables of the first version");
                await using (var first = new RollcallDatabase(new StorageOptions(order.Folder, order.Connection)))
                {
                    await FirstSchema.MakeAsync(first, default);
                    await FirstSchema.FillAsync(first, options.Migrated, secret: null, default);
                    Console.Error.WriteLine($"{options.Migrated} patrons, {database}: migrating");
                }

                var before = await SizeAsync(order);
                var measured = await Child.MeasureAsync(order);
                await CheckAsync(order);
                var after = await SizeAsync(order);
                Console.WriteLine(
                    string.Create(
                        CultureInfo.InvariantCulture,
                        $"| {options.Migrated:#,0} | {database} | {measured.Rows} | {measured.Seconds:0.0} | {measured.Cpu:0.0} | {measured.Peak:0} | {before:0} | {after:0} |"
                    )
                );
            }
        }
    }

    /// <summary>What <c>rollcall db migrate</c> does, or the first start on SQLite, with the backup that comes before.</summary>
    public static async Task<Measured> MigrateAsync(Order order)
    {
        using var gauge = new Gauge();
        await using var database = new RollcallDatabase(new StorageOptions(order.Folder, order.Connection));
        var applied = await database.MigrateAsync();
        return gauge.Stop() with { Rows = applied.Count };
    }

    private async Task CheckAsync(Order order)
    {
        await using var database = new RollcallDatabase(new StorageOptions(order.Folder, order.Connection));
        var pending = await database.PendingMigrationsAsync();
        if (pending.Count > 0)
        {
            throw new BenchFailedException($"{pending.Count} migrations are missing.");
        }

        foreach (var table in (string[])["patrons", "patron_links", "changes"])
        {
            await using var connection = await database.OpenAsync(default);
            await using var command = connection.CreateCommand();
            command.CommandTimeout = 0;
            command.CommandText = $"SELECT count(*) FROM {table}";
            var rows = Convert.ToInt64(await command.ExecuteScalarAsync(), CultureInfo.InvariantCulture);

            // Beside the change of each patron there are those that wait.
            if (table == "changes" ? rows < options.Migrated : rows != options.Migrated)
            {
                throw new BenchFailedException($"{table} has {rows} rows after the migration.");
            }
        }
    }

    private static async Task<double> SizeAsync(Order order)
    {
        if (order.Connection is null)
        {
            return new FileInfo(Path.Combine(order.Folder, "rollcall.db")).Length / 1e6;
        }

        await using var database = new RollcallDatabase(new StorageOptions(order.Folder, order.Connection));
        await using var connection = await database.OpenAsync(default);
        await using var command = connection.CreateCommand();
        command.CommandText = "SELECT pg_database_size(current_database())";
        return Convert.ToInt64(await command.ExecuteScalarAsync(), CultureInfo.InvariantCulture) / 1e6;
    }
}
