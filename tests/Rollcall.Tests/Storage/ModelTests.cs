using System.Text.RegularExpressions;
using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Infrastructure;
using Microsoft.EntityFrameworkCore.Metadata;
using Microsoft.EntityFrameworkCore.Migrations;
using Microsoft.EntityFrameworkCore.Migrations.Operations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Storage;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Storage;

/// <summary>The two databases, their migrations and the bulk paths agree with the model.</summary>
public sealed class ModelTests(PostgresCluster cluster)
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    private async Task<RollcallDatabase> OpenAsync(Db db, TempFolder folder) =>
        new(new StorageOptions(folder.Path, db == Db.Postgres ? await cluster.CreateDatabaseAsync() : null));

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task No_model_change_waits_for_a_migration(Db db)
    {
        using var folder = new TempFolder();
        await using var database = await OpenAsync(db, folder);
        await using var context = database.CreateContext();
        var all = context.Database.GetMigrations().ToList();
        if (db == Db.Sqlite)
        {
            // The cluster's databases come with all tables.
            Assert.Equal(all, await database.PendingMigrationsAsync());
        }

        await database.MigrateAsync();
        Assert.Empty(await database.PendingMigrationsAsync());
        Assert.False(context.Database.HasPendingModelChanges());
        Assert.Empty(await context.Database.GetPendingMigrationsAsync());
        await context.Database.ExecuteSqlAsync($"""DELETE FROM "__EFMigrationsHistory" WHERE "MigrationId" = {all[^1]}""");
        Assert.Equal([all[^1]], await database.PendingMigrationsAsync());
    }

    /// <summary>What <c>dotnet ef dbcontext optimize</c> wrote down spares each command the building of the model; it must be the model.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task The_compiled_model_is_the_model(Db db)
    {
        const MetadataDebugStringOptions Long = MetadataDebugStringOptions.LongDefault;
        using var folder = new TempFolder();
        await using var database = await OpenAsync(db, folder);
        await using var context = database.CreateContext();
        Assert.Equal("Rollcall.Storage.Models." + db, context.Model.GetType().Namespace);
        var built = context
            .GetService<IModelSource>()
            .GetModel(context, context.GetService<ModelCreationDependencies>(), designTime: false);
        Assert.Equal(built.ToDebugString(Long), context.Model.ToDebugString(Long));
        Assert.Equal(built.GetRelationalModel().ToDebugString(Long), context.Model.GetRelationalModel().ToDebugString(Long));
    }

    /// <summary>Nodes go on writing while an index of theirs is made, and one that was left half made is made anew.</summary>
    [Fact]
    public async Task An_index_of_patrons_is_made_while_others_write_them()
    {
        using var folder = new TempFolder();
        await using var database = new RollcallDatabase(new StorageOptions(folder.Path, await cluster.CreateEmptyDatabaseAsync()));
        await FirstSchema.MakeAsync(database, Stop);
        await FirstSchema.FillAsync(database, 20, secret: null, Stop);
        await using var context = database.CreateContext();
        await context.GetService<IMigrator>().MigrateAsync("BoundTokens", Stop);
        await context.Database.ExecuteSqlAsync($"CREATE INDEX ix_patrons_district_id_community_id ON patrons (district_id)", Stop);

        await using var first = await database.OpenAsync(Stop);
        await using var writing = await first.BeginTransactionAsync(Stop);
        await Sql.ExecuteAsync(first, writing, "UPDATE patrons SET nickname = 'Zo' WHERE id = 1", Stop);
        var migrating = database.MigrateAsync(Stop);
        const string Waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INDEX%'";
        await using var other = await database.OpenAsync(Stop);
        while (await Sql.ScalarAsync(other, null, Waiting, Stop) == 0)
        {
            Assert.False(migrating.IsCompleted, "It waited for nobody.");
            await Task.Delay(20, Stop);
        }

        await Sql.ExecuteAsync(other, null, "SET lock_timeout = 1000", Stop);
        await Sql.ExecuteAsync(other, null, "UPDATE patrons SET nickname = 'Zo' WHERE id = 2", Stop);
        await writing.CommitAsync(Stop);
        await migrating;
        Assert.Empty(await database.PendingMigrationsAsync(Stop));
        Assert.Equal(
            2,
            await Sql.ScalarAsync(
                other,
                null,
                "SELECT count(*) FROM pg_indexes JOIN pg_class ON relname = indexname JOIN pg_index ON indexrelid = oid WHERE indisvalid AND (indexdef LIKE '%community_id%' OR indexdef LIKE '%updated_at%') AND tablename = 'patrons'",
                Stop
            )
        );
    }

    /// <summary>What <c>docs/scale.md</c> says of dividing the tables: all keys but those that it names begin with the district, and PostgreSQL takes the
    /// large tables as partitioned ones with all their keys and indexes.</summary>
    [Fact]
    public async Task Tables_can_be_divided_by_district_as_the_page_on_scale_says()
    {
        using var folder = new TempFolder();
        await using var database = await OpenAsync(Db.Postgres, folder);
        await using var context = database.CreateContext();
        var root = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(root, "Rollcall.slnx")))
        {
            root = Path.GetDirectoryName(root.TrimEnd(Path.DirectorySeparatorChar))!;
        }

        var page = (await File.ReadAllTextAsync(Path.Combine(root, "docs", "scale.md"), Stop)).ReplaceLineEndings(" ");
        var named = Regex.Match(page, "with keys of their own: (?<names>[^.]+)\\.").Groups["names"].Value;
        Assert.Equal(
            context
                .Model.GetEntityTypes()
                .Where(t => t.FindProperty("DistrictId") is not null && t.FindPrimaryKey()!.Properties[0].Name != "DistrictId")
                .Select(t => t.GetTableName()!)
                .Order(StringComparer.Ordinal),
            Regex.Matches(named, "`(?<name>[a-z_]+)`").Select(m => m.Groups["name"].Value).Order(StringComparer.Ordinal)
        );

        var large = Regex.Match(page, "\\*\\*Partitions\\.\\*\\* (?<names>.+?) partitioned by hash").Groups["names"].Value;
        var tables = Regex.Matches(large, "`(?<name>[a-z_]+)`").Select(m => m.Groups["name"].Value).ToList();
        Assert.Equal(["patrons", "patron_links", "changes"], tables);
        foreach (var table in tables)
        {
#pragma warning disable EF1002 // Names of tables, from above.
            await context.Database.ExecuteSqlRawAsync(
                $"CREATE TABLE divided_{table} (LIKE {table} INCLUDING ALL) PARTITION BY HASH (district_id); CREATE TABLE divided_{table}_0 PARTITION OF divided_{table} FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
                Stop
            );
            var (whole, divided) = (
                await context.Database.SqlQueryRaw<int>(Indexes(table)).SingleAsync(Stop),
                await context.Database.SqlQueryRaw<int>(Indexes($"divided_{table}")).SingleAsync(Stop)
            );
#pragma warning restore EF1002
            Assert.True(whole > 0);
            Assert.Equal(whole, divided);
        }

        static string Indexes(string table) => $"SELECT count(*)::int AS \"Value\" FROM pg_indexes WHERE tablename = '{table}'";
    }

    /// <summary>Nodes are replaced one after another: whatever a program of the version before reads and writes is still there, and what it
    /// leaves out has a value. What is to go goes a version after the last program that knew it, and is named here then.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Migrations_only_add_so_that_the_version_before_works_on(Db db)
    {
        using var folder = new TempFolder();
        await using var database = await OpenAsync(db, folder);
        await using var context = database.CreateContext();
        var assembly = context.GetService<IMigrationsAssembly>();
        var first = true;
        foreach (var (id, type) in assembly.Migrations)
        {
            var made = new HashSet<string>(StringComparer.Ordinal);
            foreach (var operation in first ? [] : assembly.CreateMigration(type, context.Database.ProviderName!).UpOperations)
            {
                switch (operation)
                {
                    case CreateTableOperation table:
                        made.Add(table.Name);
                        break;
                    case AddColumnOperation column:
                        Assert.True(
                            column.IsNullable || column.DefaultValue is not null || column.DefaultValueSql is not null,
                            $"{id}: {column.Table}.{column.Name}"
                        );
                        break;
                    case CreateIndexOperation index:
                        // Where there are millions of rows, whoever writes would wait until it is made.
                        Assert.True(
                            db == Db.Sqlite
                                || made.Contains(index.Table)
                                || index.Table is not ("patrons" or "patron_links" or "changes")
                                || index["Npgsql:CreatedConcurrently"] is true,
                            $"{id}: {index.Name} keeps writers waiting"
                        );
                        Assert.True(
                            !index.IsUnique || made.Contains(index.Table) || index.Name == "ix_operations_district_id_daily_date",
                            $"{id}: {index.Name}"
                        );
                        break;
                    case SqlOperation sql:
                        Assert.StartsWith("DROP INDEX CONCURRENTLY IF EXISTS ix_", sql.Sql, StringComparison.Ordinal);
                        break;
                    default:
                        Assert.True(operation is DropIndexOperation, $"{id}: {operation.GetType().Name}");
                        break;
                }
            }

            first = false;
        }

        Assert.False(first);
    }

    [Fact]
    public async Task A_migration_that_would_keep_the_nodes_waiting_is_put_off()
    {
        using var folder = new TempFolder();
        await using var database = new RollcallDatabase(new StorageOptions(folder.Path, await cluster.CreateDatabaseAsync()))
        {
            MigrationPatience = TimeSpan.FromMilliseconds(50),
        };
        await using (var context = database.CreateContext())
        {
            // The last migration that touches that table is still to come, with what follows it.
            var all = context.Database.GetMigrations().ToList();
            await context
                .GetService<IMigrator>()
                .MigrateAsync(all[all.FindIndex(m => m.EndsWith("_SavedFilters", StringComparison.Ordinal)) - 1]);
        }

        // A backup reads for as long as it takes, and changes of its tables would queue behind it, with everybody behind them.
        await using (var reading = await database.OpenAsync())
        await using (var moment = await reading.BeginTransactionAsync())
        {
            await Sql.ExecuteAsync(reading, moment, "LOCK TABLE changes IN ACCESS SHARE MODE", default);
            var refused = await Assert.ThrowsAsync<RollcallException>(() => database.MigrateAsync());
            Assert.Contains("db migrate", refused.Message, StringComparison.Ordinal);
        }

        Assert.NotEmpty(await database.MigrateAsync());
        Assert.Empty(await database.PendingMigrationsAsync());
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Bulk_columns_are_the_columns_of_the_model(Db db)
    {
        using var folder = new TempFolder();
        await using var database = await OpenAsync(db, folder);
        await using var context = database.CreateContext();
        Check<Patron>(context, BulkTables.Patrons.Name, BulkTables.Patrons.Columns.Select(c => (c.Name, c.IsKey)));
        Check<PatronLink>(context, BulkTables.Links.Name, BulkTables.Links.Columns.Select(c => (c.Name, c.IsKey)));
        Check<Change>(context, BulkTables.Changes.Name, BulkTables.Changes.Columns.Select(c => (c.Name, c.IsKey)));

        static void Check<T>(RollcallContext context, string table, IEnumerable<(string, bool)> columns)
        {
            var entity = context.Model.FindEntityType(typeof(T))!;
            Assert.Equal(entity.GetTableName(), table);
            var expected = entity
                .GetProperties()
                .Select(p => (p.GetColumnName(StoreObjectIdentifier.Table(table))!, p.IsPrimaryKey()))
                .Order();
            Assert.Equal(expected, columns.Order());
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Bulk_rows_read_back_as_they_were_written(Db db)
    {
        using var folder = new TempFolder();
        await using var database = await OpenAsync(db, folder);
        await database.MigrateAsync();
        var patron = new Patron
        {
            DistrictId = 1,
            Id = 7,
            CreatedAt = DateTimeOffset.FromUnixTimeMilliseconds(1_700_000_000_123),
            UpdatedAt = DateTimeOffset.FromUnixTimeMilliseconds(1_700_000_000_456),
            Version = 3,
            SiteAccess = "A,B",
        };
        foreach (var field in PatronFields.All)
        {
            field.Set(
                patron,
                field.Number switch
                {
                    PatronFields.Birthdate or PatronFields.GraduationDate or PatronFields.Expiration => "2012-02-29",
                    PatronFields.Status => "3",
                    PatronFields.Group => "0",
                    PatronFields.Site => "42",
                    PatronFields.DoNotTransfer => "true",
                    _ => $"{field.Name} '\"\\ Zoë 王 😀",
                }
            );
        }

        patron.SetKeys();
        var link = new PatronLink
        {
            DistrictId = 1,
            PatronId = 7,
            Aliases = "x\ny",
            RoleGroup = RoleGroup.Teacher,
            Absent = true,
            LoginDisabled = true,
            StatusBefore = PatronStatus.Other,
            LeftSchools = true,
            SyncHash = long.MinValue,
        };
        await using (var connection = await database.OpenAsync())
        {
            await using var transaction = await database.Bulk.BeginWriteAsync(connection, default);
            await database.Bulk.InsertAsync(connection, transaction, BulkTables.Patrons, [patron], default);
            await database.Bulk.UpsertAsync(connection, transaction, BulkTables.Links, [link], default);
            link.Username = "second";
            await database.Bulk.UpsertAsync(connection, transaction, BulkTables.Links, [link], default);
            patron.Notes = null;
            await database.Bulk.UpdateAsync(connection, transaction, BulkTables.Patrons, [patron], default);
            await transaction.CommitAsync();
        }

        await using var context = database.CreateContext();
        Assert.Equivalent(patron, await context.Patrons.AsNoTracking().SingleAsync(), strict: true);
        Assert.Equivalent(link, await context.PatronLinks.AsNoTracking().SingleAsync(), strict: true);
    }

    [Fact]
    public async Task A_migration_lock_that_a_killed_process_left_does_not_stop_the_next_start()
    {
        using var folder = new TempFolder();
        await using var database = await OpenAsync(Db.Sqlite, folder);
        await using (var connection = await database.OpenAsync())
        {
            await Sql.ExecuteAsync(
                connection,
                null,
                "CREATE TABLE \"__EFMigrationsLock\" (\"Id\" INTEGER PRIMARY KEY, \"Timestamp\" TEXT NOT NULL); INSERT INTO \"__EFMigrationsLock\" VALUES (1, 'dead')",
                default
            );
        }

        Assert.NotEmpty(await database.MigrateAsync());
    }
}
