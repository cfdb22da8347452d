using System.Globalization;
using Microsoft.EntityFrameworkCore;
using Rollcall.Storage;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Commands;

/// <summary>What the first version wrote is there, whole, when this one has migrated it, and this one works with it.</summary>
public sealed class MigrationTests(PostgresCluster postgres)
{
    private static readonly int s_people = int.TryParse(
        Environment.GetEnvironmentVariable("ROLLCALL_MIGRATION_ROWS"),
        CultureInfo.InvariantCulture,
        out var rows
    )
        ? rows
        : 2_000;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Rows_of_the_first_version_are_whole_after_all_migrations(bool onPostgres)
    {
        await using var cli = await Cli.EmptyAsync(onPostgres ? postgres : null);
        Dictionary<string, string[]> columns;
        List<string> before;
        await using (var database = new RollcallDatabase(new StorageOptions(cli.Data, cli.Database)))
        {
            await FirstSchema.MakeAsync(database, Stop);
            await using (var context = database.CreateContext())
            {
                Assert.Single(await context.Database.GetAppliedMigrationsAsync(Stop));
            }

            await FirstSchema.FillAsync(database, s_people, secret: null, Stop);
            (columns, before) = await FirstSchema.ReadAsync(database, null, Stop);
        }

        // Every table has rows, and every column has had a value somewhere: a new one of the first version would be missed.
        Assert.All(FirstSchema.Tables, t => Assert.Contains(before, r => r.StartsWith($"{t}: ", StringComparison.Ordinal)));
        string[] empty = ["stage_text", "candidates", "link_before", "secret"];
        foreach (var (table, names) in columns)
        {
            var rows = before
                .Where(r => r.StartsWith($"{table}: ", StringComparison.Ordinal))
                .Select(r => r[(table.Length + 2)..].Split(" | "));
            Assert.All(
                names.Except(empty),
                name =>
                    Assert.Contains(rows, r => r.Any(v => v.StartsWith($"{name}=", StringComparison.Ordinal) && v.Length > name.Length + 1))
            );
        }

        await cli.OkAsync("db", "migrate");
        await using (var database = new RollcallDatabase(new StorageOptions(cli.Data, cli.Database)))
        {
            Assert.Empty(await database.PendingMigrationsAsync(Stop));
            var (_, after) = await FirstSchema.ReadAsync(database, columns, Stop);
            Assert.Equal(before, after);

            // Everything can be read as this version reads it, what came since with it.
            await using var context = database.CreateContext();
            foreach (var entity in context.Model.GetEntityTypes().Where(e => !e.IsOwned() && e.GetTableName() is not null))
            {
                var set =
                    (IQueryable<object>)
                        typeof(DbContext).GetMethod(nameof(DbContext.Set), [])!.MakeGenericMethod(entity.ClrType).Invoke(context, null)!;
                await set.AsNoTracking().ToListAsync(Stop);
            }
        }

        await cli.OkAsync("db", "check");

        // And it works with them: lists, search, history, a log, an edit, a backup.
        Assert.Equal(s_people, (await cli.OkAsync("patron", "list", "--json")).Json.GetArrayLength());
        Assert.Equal(
            "10000007",
            (await cli.OkAsync("patron", "list", "--search", "sørensen7", "--json")).Json[0].GetProperty("barcode").GetString()
        );
        Assert.Equal(s_people, (await cli.OkAsync("operation", "show", "1", "--json")).Number("created"));
        Assert.Equal(s_people + 1, (await cli.OkAsync("operation", "log", "1", "--format", "csv")).Out.TrimEnd('\n').Split('\n').Length);
        Assert.Contains("A reason", (await cli.OkAsync("operation", "log", "1")).Out, StringComparison.Ordinal);
        Assert.Equal(1, (await cli.OkAsync("review", "list", "--json")).Json.GetArrayLength());
        await cli.OkAsync("patron", "set", "10000007", "nickname=Zozo");
        Assert.Equal("Zozo", (await cli.OkAsync("patron", "show", "10000007", "--json")).Word("nickname"));
        await cli.OkAsync("db", "backup", Path.Combine(cli.Data, "after.bak"));
        await cli.OkAsync("db", "check");

        // What it had held can be approved, and what it had written taken back.
        await cli.OkAsync("operation", "approve", "3");
        Assert.Equal("Renamed", (await cli.OkAsync("patron", "show", "10000005", "--json")).Word("lastName"));
        await cli.OkAsync("operation", "undo", "1", "--patron", "10000009");
        await cli.RefusedAsync(1, "no patron", "patron", "show", "10000009");

        // A node of that version works on beside this one: it leaves out what came since.
        await using (var database = new RollcallDatabase(new StorageOptions(cli.Data, cli.Database)))
        {
            await FirstSchema.AddPatronAsync(database, s_people + 1, Stop);
        }

        Assert.Equal("Zo", (await cli.OkAsync("patron", "show", $"{10_000_001 + s_people}", "--json")).Word("nickname"));
        await cli.OkAsync("patron", "set", $"{10_000_001 + s_people}", "nickname=Zozo");
        await cli.OkAsync("db", "check");
    }
}
