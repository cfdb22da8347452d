using System.Globalization;
using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Metadata;
using Npgsql;
using Rollcall.Districts;
using Rollcall.Patrons;
using Rollcall.Storage;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Storage;

/// <summary>The second lock between districts: what a request of one cannot see of another, whatever it asks for.</summary>
public sealed class RowSecurityTests(PostgresCluster cluster)
{
    [Fact]
    public async Task A_confined_connection_sees_and_changes_nothing_of_another_district_in_any_table()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Postgres, new() { Students = 1, Schools = 1 }, connect: false);
        var mine = system.District.Id;
        var other = (await system.Get<DistrictService>().AddAsync("OTHER", "Another", "UTC", "test")).Id;
        IReadOnlyList<string> tables;
        await using (var context = system.Database.CreateContext())
        {
            foreach (var entity in context.Model.GetEntityTypes().Where(e => e.FindProperty("DistrictId") is not null))
            {
                foreach (var district in (int[])[mine, other])
                {
                    await AddAsync(system, entity, district);
                }
            }

            tables = RowSecurity.Tables(context.Model);
        }

        Assert.True(tables.Count >= 17, string.Join(", ", tables));
        await ConfinedAsync(
            mine,
            async () =>
            {
                await using var connection = (NpgsqlConnection)await system.Database.OpenAsync();
                Assert.True(RowSecurity.IsConfined(connection));
                foreach (var table in tables)
                {
                    Assert.Equal(
                        (table, 0L),
                        (table, await CountAsync(connection, $"SELECT COUNT(*) FROM {table} WHERE district_id = {other}"))
                    );
                    Assert.True(await CountAsync(connection, $"SELECT COUNT(*) FROM {table}") > 0, table);
                    if (table == "audit_entries")
                    {
                        // Not even one's own: lines are added and read.
                        foreach (var change in (string[])["UPDATE audit_entries SET actor = 'nobody'", "DELETE FROM audit_entries"])
                        {
                            Assert.Equal(
                                PostgresErrorCodes.InsufficientPrivilege,
                                (await Assert.ThrowsAsync<PostgresException>(() => ExecuteAsync(connection, change))).SqlState
                            );
                        }

                        continue;
                    }

                    Assert.Equal(0, await ExecuteAsync(connection, $"UPDATE {table} SET district_id = {mine} WHERE district_id = {other}"));
                    Assert.Equal(0, await ExecuteAsync(connection, $"DELETE FROM {table} WHERE district_id = {other}"));

                    // Nor does anything go over to another one.
                    var refused = await Assert.ThrowsAsync<PostgresException>(() =>
                        ExecuteAsync(connection, $"UPDATE {table} SET district_id = {other}")
                    );
                    Assert.Equal((table, PostgresErrorCodes.InsufficientPrivilege), (table, refused.SqlState));
                }

                // Of the districts there is its own.
                Assert.Equal(mine, await CountAsync(connection, "SELECT MAX(id) + COUNT(*) - 1 FROM districts"));
                Assert.Equal(1, await ExecuteAsync(connection, "UPDATE districts SET name = name"));
                Assert.Equal(0, await ExecuteAsync(connection, $"UPDATE districts SET name = 'Taken' WHERE id = {other}"));

                // What belongs to the installation is closed as a whole.
                foreach (
                    var table in (string[])
                        ["accounts", "account_tokens", "data_protection_keys", "installation_settings", "one_time_links", "used_codes"]
                )
                {
                    await Assert.ThrowsAsync<PostgresException>(() => CountAsync(connection, $"SELECT COUNT(*) FROM {table}"));
                }

                await Assert.ThrowsAsync<PostgresException>(() => ExecuteAsync(connection, "CREATE TABLE mine (id int)"));
            }
        );
        await using var owner = (NpgsqlConnection)await system.Database.OpenAsync();
        foreach (var table in tables)
        {
            Assert.True(await CountAsync(owner, $"SELECT COUNT(*) FROM {table} WHERE district_id = {other}") > 0, table);
        }
    }

    [Fact]
    public async Task Connections_from_the_pool_carry_no_district_over()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Postgres, new() { Students = 1, Schools = 1 }, connect: false);
        var other = (await system.Get<DistrictService>().AddAsync("OTHER", "Another", "UTC", "test")).Id;
        int[] districts = [system.District.Id, other];
        foreach (var district in districts)
        {
            await AddPatronsAsync(system, district, district * 10);
        }

        // Many requests at once, on fewer connections than there are requests.
        await Task.WhenAll(
            Enumerable
                .Range(0, 200)
                .Select(i =>
                    ConfinedAsync(
                        districts[i % 2],
                        async () =>
                        {
                            await using var context = system.Database.CreateContext();
                            Assert.Equal(districts[i % 2] * 10, await context.Patrons.CountAsync());
                            await Task.Yield();
                            await using var connection = await system.Database.OpenAsync();
                            Assert.Equal(
                                districts[i % 2] * 10,
                                await CountAsync((NpgsqlConnection)connection, "SELECT COUNT(*) FROM patrons")
                            );
                        }
                    )
                )
        );
        await using var all = system.Database.CreateContext();
        Assert.Equal(districts.Sum() * 10, await all.Patrons.CountAsync());
    }

    [Fact]
    public async Task A_request_that_keeps_its_connection_asks_over_it_alone_and_leaves_nothing_there()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Postgres, new() { Students = 1, Schools = 1 }, connect: false);
        var other = (await system.Get<DistrictService>().AddAsync("OTHER", "Another", "UTC", "test")).Id;
        int[] districts = [system.District.Id, other];
        foreach (var district in districts)
        {
            await AddPatronsAsync(system, district, district * 10);
        }

        var pool = new NpgsqlConnectionStringBuilder(system.Database.ConnectionString).MaxPoolSize;
        await Task.WhenAll(
            Enumerable
                .Range(0, pool / 2)
                .Select(i =>
                    ConfinedAsync(
                        districts[i % 2],
                        async () =>
                        {
                            Confinement.KeepConnection();
                            var first = await LookAsync(districts[i % 2]);
                            await using (var held = system.Database.CreateContext())
                            {
                                // While one context has it, the next gets one of its own, as confined.
                                Assert.Equal(first, await BackendAsync(held));
                                Assert.NotEqual(first, await LookAsync(districts[i % 2]));
                            }

                            // A context that failed and one that changed something give it back as it was.
                            await Assert.ThrowsAsync<PostgresException>(async () =>
                            {
                                await using var fails = system.Database.CreateContext();
                                await using var transaction = await fails.Database.BeginTransactionAsync();
                                await fails.Database.ExecuteSqlRawAsync("SELECT 1/0");
                            });
                            await using (var unfinished = system.Database.CreateContext())
                            {
                                await using var transaction = await unfinished.Database.BeginTransactionAsync();
                                await unfinished.Patrons.ExecuteDeleteAsync();
                            }

                            Assert.Equal(first, await LookAsync(districts[i % 2]));

                            // The request turns to another district: what it has shows the first one, and is not used for it.
                            Confinement.To(districts[1 - (i % 2)]);
                            Assert.NotEqual(first, await LookAsync(districts[1 - (i % 2)]));
                        }
                    )
                )
        );
        await using var all = system.Database.CreateContext();
        Assert.Equal(districts.Sum() * 10, await all.Patrons.CountAsync());

        // More requests than connections, each of which needs a second one: none waits for ever.
        await Task.WhenAll(
            Enumerable
                .Range(0, pool * 3)
                .Select(_ =>
                    ConfinedAsync(
                        other,
                        async () =>
                        {
                            Confinement.KeepConnection();
                            await LookAsync(other);
                            await using var held = system.Database.CreateContext();
                            await BackendAsync(held);
                            await LookAsync(other);
                        }
                    )
                )
        );

        // Nobody keeps one beyond the request, nor borrows one then.
        Confinement? over = null;
        await ConfinedAsync(
            other,
            async () =>
            {
                Confinement.KeepConnection();
                over = Confinement.Current;
                await LookAsync(other);
            }
        );
        await using var source = NpgsqlDataSource.Create(system.Database.ConnectionString);
        using var places = new SemaphoreSlim(1);
        Assert.Null(over!.Borrow(source, places));

        async Task<int> LookAsync(int district)
        {
            await using var context = system.Database.CreateContext();
            Assert.Equal(district * 10, await context.Patrons.CountAsync());
            return await BackendAsync(context);
        }

        static Task<int> BackendAsync(RollcallContext context) =>
            context.Database.SqlQueryRaw<int>("SELECT pg_backend_pid() AS \"Value\"").SingleAsync();
    }

    [Fact]
    public async Task A_user_who_may_not_make_the_role_is_told_what_an_administrator_has_to_do()
    {
        var connection = new NpgsqlConnectionStringBuilder(await cluster.CreateEmptyDatabaseAsync());
        await using (var admin = new NpgsqlConnection(connection.ToString()))
        {
            await admin.OpenAsync();
            await ExecuteAsync(admin, "DROP ROLE IF EXISTS plain_user");
            await ExecuteAsync(admin, "CREATE ROLE plain_user LOGIN");
            await ExecuteAsync(admin, $"ALTER DATABASE {connection.Database} OWNER TO plain_user");
            await ExecuteAsync(admin, $"ALTER SCHEMA public OWNER TO plain_user");
        }

        using var folder = new TempFolder();
        await using var database = new RollcallDatabase(
            new StorageOptions(folder.Path, new NpgsqlConnectionStringBuilder(connection.ToString()) { Username = "plain_user" }.ToString())
        );
        var refused = await Assert.ThrowsAsync<RollcallException>(() => database.MigrateAsync());
        Assert.Contains("GRANT rollcall_web TO \"plain_user\";", refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', refused.Message);
        await using (var admin = new NpgsqlConnection(connection.ToString()))
        {
            await admin.OpenAsync();
            await ExecuteAsync(
                admin,
                "DO $$ BEGIN CREATE ROLE rollcall_web NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
            );
            await ExecuteAsync(admin, "GRANT rollcall_web TO plain_user");
        }

        await database.MigrateAsync();
        await database.EnsureConfinableAsync();
        Assert.Empty(await database.MigrateAsync());
    }

    [Fact]
    public async Task A_user_who_owns_no_table_is_told_instead_of_shown_nothing()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Postgres, connect: false);
        await using var owner = (NpgsqlConnection)await system.Database.OpenAsync();
        await ExecuteAsync(owner, "DROP ROLE IF EXISTS stranger_user");
        await ExecuteAsync(owner, "CREATE ROLE stranger_user LOGIN");
        await ExecuteAsync(owner, "GRANT ALL ON ALL TABLES IN SCHEMA public TO stranger_user");
        using var folder = new TempFolder();
        await using var database = new RollcallDatabase(
            new StorageOptions(
                folder.Path,
                new NpgsqlConnectionStringBuilder(system.Database.ConnectionString) { Username = "stranger_user" }.ToString()
            )
        );
        var refused = await Assert.ThrowsAsync<RollcallException>(() => database.EnsureReadyAsync());
        Assert.Contains("OWNER TO \"stranger_user\"", refused.Message, StringComparison.Ordinal);
        Assert.Equal(refused.Message, await database.StrangerAsync(CancellationToken.None));
        await system.Database.EnsureReadyAsync();

        // Whoever stands above all policies sees every row.
        await ExecuteAsync(owner, "ALTER ROLE stranger_user BYPASSRLS");
        await database.EnsureReadyAsync();
        await ExecuteAsync(owner, "DROP OWNED BY stranger_user");
        await ExecuteAsync(owner, "DROP ROLE stranger_user");
    }

    [Fact]
    public async Task A_connection_that_has_not_the_role_it_asked_for_is_told_of()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Postgres, connect: false);
        await system.Database.EnsureConfinableAsync();

        // What comes through a pooler that drops the request is the owner's.
        await using var owner = await system.Database.OpenAsync();
        var refused = await Assert.ThrowsAsync<RollcallException>(() => RowSecurity.EnsureConfinedAsync(owner, CancellationToken.None));
        Assert.Contains("pooler", refused.Message, StringComparison.Ordinal);
    }

    private static async Task ConfinedAsync(int district, Func<Task> work) =>
        await Task.Run(async () =>
        {
            await using var request = Confinement.Begin();
            Confinement.To(district);
            await work();
        });

    /// <summary>One row of whatever table, of this district.</summary>
    private static async Task AddAsync(Installation system, IEntityType entity, int district)
    {
        await using var context = system.Database.CreateContext();
        var row = Activator.CreateInstance(entity.ClrType)!;
        foreach (var property in entity.GetProperties().Where(p => p.PropertyInfo is not null && p.ValueGenerated == ValueGenerated.Never))
        {
            if (property.ClrType == typeof(string) && (property.IsKey() || property.IsIndex()))
            {
                property.PropertyInfo!.SetValue(row, string.Create(CultureInfo.InvariantCulture, $"x{district}"));
            }
        }

        entity.FindProperty("DistrictId")!.PropertyInfo!.SetValue(row, district);
        context.Add(row);
        await context.SaveChangesAsync();
    }

    private static async Task AddPatronsAsync(Installation system, int district, int count)
    {
        await using var context = system.Database.CreateContext();
        for (var i = 1; i <= count; i++)
        {
            var patron = new Patron
            {
                DistrictId = district,
                Id = i,
                Barcode = string.Create(CultureInfo.InvariantCulture, $"B{i:000}"),
                LastName = "Byron",
            };
            patron.SetKeys();
            context.Patrons.Add(patron);
        }

        await context.SaveChangesAsync();
    }

    private static async Task<long> CountAsync(NpgsqlConnection connection, string sql)
    {
        await using var command = new NpgsqlCommand(sql, connection);
        return Convert.ToInt64(await command.ExecuteScalarAsync(), CultureInfo.InvariantCulture);
    }

    private static async Task<int> ExecuteAsync(NpgsqlConnection connection, string sql)
    {
        await using var command = new NpgsqlCommand(sql, connection);
        return await command.ExecuteNonQueryAsync();
    }
}
