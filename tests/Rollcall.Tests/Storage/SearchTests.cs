using Microsoft.EntityFrameworkCore;
using Npgsql;
using Rollcall.Districts;
using Rollcall.Patrons;
using Rollcall.Storage;
using Rollcall.Sync;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Storage;

/// <summary>What a search finds, by whichever way the database looks.</summary>
public sealed class SearchTests(PostgresCluster cluster)
{
    private const string Index =
        "SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass('ix_patrons_search_key_trgm') AND indisvalid";

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_search_finds_parts_of_names_and_numbers_in_the_own_district_alone(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new() { Students = 1, Schools = 1 }, connect: false);
        var other = (await system.Get<DistrictService>().AddAsync("OTHER", "Another", "UTC", "test")).Id;
        var patrons = system.Get<PatronService>();
        string[] names = ["Marín", "O'Hara", "Tamar 50%", "Under_score", "Back\\slash", "Zoë", "Lee", "García-López"];
        foreach (var district in (int[])[system.District.Id, other])
        {
            for (var i = 0; i < names.Length; i++)
            {
                await patrons.AddAsync(
                    district,
                    [
                        KeyValuePair.Create("barcode", (string?)$"D{district}-{i}"),
                        KeyValuePair.Create("lastName", (string?)names[i]),
                        KeyValuePair.Create("firstName", (string?)(i == 0 ? "Żaneta" : null)),
                    ],
                    new Actor("test", SecurityGroup.DistrictAdministrator)
                );
            }
        }

        var everybody = (await system.AllPatronsAsync()).Where(p => p.DistrictId == system.District.Id).ToList();

        // As the owner, and as a request that is confined to its district.
        foreach (var confined in (bool[])[false, true])
        {
            await using var request = Confinement.Begin();
            if (confined)
            {
                Confinement.To(system.District.Id);
            }

            async Task FindsAsync(string search, params string[] found)
            {
                var (page, total) = await patrons.PageAsync(system.District.Id, new PatronFilter(search), PatronSort.Name, false, 1, 50);
                Assert.Equal(
                    (search, string.Join(", ", found.Order(StringComparer.Ordinal)), found.Length),
                    (search, string.Join(", ", page.Select(p => p.LastName).Order(StringComparer.Ordinal)), total)
                );
                Assert.All(page, p => Assert.Equal(system.District.Id, p.DistrictId));
                var one = page.Select(p => p.Id).ToHashSet();
                Assert.All(everybody, p => Assert.Equal(one.Contains(p.Id), PatronService.Finds(search, p)));
            }

            await FindsAsync("mar", "Marín", "Tamar 50%");
            await FindsAsync("MARIN", "Marín");
            await FindsAsync("ö", "García-López", "O'Hara", "Under_score", "Zoë");
            await FindsAsync("zoe", "Zoë");
            await FindsAsync("50%", "Tamar 50%");
            await FindsAsync("%", "Tamar 50%");
            await FindsAsync("_", "Under_score");
            await FindsAsync("r_s", "Under_score");
            await FindsAsync("k\\s", "Back\\slash");
            await FindsAsync("o'h", "O'Hara");
            await FindsAsync("ee", "Lee");

            // However a name is written: as lists have it, as people say it, and without its hyphen.
            await FindsAsync("Marin, Zaneta", "Marín");
            await FindsAsync("Marín Żaneta", "Marín");
            await FindsAsync("  zaneta   marin ", "Marín");
            await FindsAsync("garcia lopez", "García-López");
            await FindsAsync("marin lopez", []);
            await FindsAsync($"zaneta d{system.District.Id}-0", "Marín");
            await FindsAsync(" , ", []);
            await FindsAsync($"d{system.District.Id}-6", "Lee");
            await FindsAsync($"d{other}-6", []);
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_search_that_finds_thousands_is_counted_and_read_page_by_page(Db db)
    {
        const int Found = 2100;
        await using var system = await Installation.StartAsync(cluster, db, new() { Students = 1, Schools = 1 }, connect: false);
        await using (var context = system.Database.CreateContext())
        {
            // No search finds the last one.
            context.Patrons.AddRange(
                Enumerable
                    .Range(1, Found + 1)
                    .Select(i =>
                    {
                        var patron = new Patron
                        {
                            DistrictId = system.District.Id,
                            Id = i,
                            Barcode = $"{i:D5}",
                            LastName = i > Found ? "Zoo" : $"Ada{i * 7 % 1000:D4}",
                        };
                        patron.SetKeys();
                        return patron;
                    })
            );
            await context.SaveChangesAsync();
        }

        var expected = (await system.AllPatronsAsync())
            .Where(p => p.LastName != "Zoo")
            .OrderBy(p => p.NameKey, StringComparer.Ordinal)
            .ThenBy(p => p.Id)
            .Select(p => p.Id)
            .ToList();
        foreach (var page in (int[])[1, 2, 40, 42, 43])
        {
            var (list, total) = await system.Patrons.PageAsync(system.District.Id, new PatronFilter("a"), PatronSort.Name, false, page, 50);
            Assert.Equal(Found, total);
            Assert.Equal(expected.Skip((page - 1) * 50).Take(50), list.Select(p => p.Id));
        }

        var (first, all) = await system.Patrons.PageAsync(system.District.Id, new PatronFilter("A 0"), PatronSort.Barcode, true, 1, 50);
        Assert.Equal((Found, "02100"), (all, first[0].Barcode));
    }

    [Fact]
    public async Task PostgreSQL_compiles_no_statement_and_lends_none_its_helpers_unless_the_connection_says_so()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Postgres, new() { Students = 1, Schools = 1 }, connect: false);
        Assert.Equal(("off", "0"), await SaysAsync(system.Database));
        await using (Confinement.Begin())
        {
            Confinement.To(system.District.Id);
            Assert.Equal(("off", "0"), await SaysAsync(system.Database));
        }

        using var folder = new TempFolder();
        var own = new NpgsqlConnectionStringBuilder(system.Database.ConnectionString) { Options = "-c jit=on" }.ToString();
        await using var database = new RollcallDatabase(new StorageOptions(folder.Path, own));
        Assert.Equal(("on", "0"), await SaysAsync(database));

        static async Task<(string, string)> SaysAsync(RollcallDatabase database)
        {
            await using var context = database.CreateContext();
            var says = context.Database.SqlQueryRaw<string>(
                "SELECT current_setting('jit') || ' ' || current_setting('max_parallel_workers_per_gather') AS \"Value\""
            );
            return (await says.SingleAsync()).Split(' ') is [var jit, var helpers] ? (jit, helpers) : default;
        }
    }

    [Fact]
    public async Task The_index_is_made_where_it_is_missing_or_broken_and_a_search_works_without_it()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Postgres, new() { Students = 1, Schools = 1 }, connect: false);
        var actor = new Actor("test", SecurityGroup.DistrictAdministrator);
        var patrons = system.Get<PatronService>();
        await patrons.AddAsync(
            system.District.Id,
            [KeyValuePair.Create("barcode", (string?)"A100"), KeyValuePair.Create("lastName", (string?)"Marín")],
            actor
        );
        await using var connection = (NpgsqlConnection)await system.Database.OpenAsync();
        Task<long> ValidAsync() => Sql.ScalarAsync(connection, null, Index, CancellationToken.None);
        async Task<int> FoundAsync() =>
            (await patrons.PageAsync(system.District.Id, new PatronFilter("ari"), PatronSort.Name, false, 1, 50)).Total;
        Assert.Equal(1, await ValidAsync());

        // A build that was killed leaves an index that nobody uses.
        await Sql.ExecuteAsync(
            connection,
            null,
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass('ix_patrons_search_key_trgm')",
            CancellationToken.None
        );
        Assert.Equal(0, await ValidAsync());
        Assert.Equal(1, await FoundAsync());
        await system.Database.MigrateAsync();
        Assert.Equal(1, await ValidAsync());

        // Somebody else's user may not install it.
        await Sql.ExecuteAsync(connection, null, "DROP EXTENSION pg_trgm CASCADE", CancellationToken.None);
        Assert.Equal(1, await FoundAsync());
        await Sql.ExecuteAsync(connection, null, "CREATE ROLE search_nobody NOLOGIN; SET ROLE search_nobody", CancellationToken.None);
        Assert.False(await PostgresSearchIndex.EnsureAsync(connection, CancellationToken.None));
        await Sql.ExecuteAsync(connection, null, "RESET ROLE; DROP ROLE search_nobody", CancellationToken.None);
        await system.Database.MigrateAsync();
        Assert.Equal(1, await ValidAsync());
        Assert.Equal(1, await FoundAsync());
    }
}
