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
                        Assert.True(
                            !index.IsUnique || made.Contains(index.Table) || index.Name == "ix_operations_district_id_daily_date",
                            $"{id}: {index.Name}"
                        );
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
