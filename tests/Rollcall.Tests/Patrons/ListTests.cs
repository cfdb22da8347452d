using Rollcall.Districts;
using Rollcall.Patrons;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Patrons;

/// <summary>Lists of patrons, page by page.</summary>
public sealed class ListTests(PostgresCluster cluster)
{
    /// <summary>What a sync asks for each slice: read from end to end it would make a large sync take the square of its time.</summary>
    [Theory]
    [InlineData("barcode_key")]
    [InlineData("guid")]
    [InlineData("id")]
    public async Task Patrons_are_looked_up_by_the_index_of_what_is_asked(string column)
    {
        await using var system = await Installation.StartAsync(cluster, Db.Sqlite, new() { Students = 10, Schools = 1 });
        await using var connection = await system.Database.OpenAsync();
        await using var command = connection.CreateCommand();
#pragma warning disable CA2100 // The columns stand above.
        command.CommandText =
            $"EXPLAIN QUERY PLAN SELECT id, {column} FROM patrons WHERE district_id = 1 AND {column} IN (SELECT value FROM json_each('[1,2]'))";
#pragma warning restore CA2100
        await using var reader = await command.ExecuteReaderAsync();
        var plan = new List<string>();
        while (await reader.ReadAsync())
        {
            plan.Add(reader.GetString(3));
        }

        Assert.Contains(plan, p => p.Contains($"(district_id=? AND {column}=?)", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_list_that_is_read_whole_has_everybody_once_whoever_is_renamed_meanwhile(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, connect: false);
        await system.ImportAsync(
            "barcode,lastName,site\n" + string.Concat(Enumerable.Range(1, 2005).Select(i => $"CARD-{i:0000},Name{i:0000},\n"))
        );
        var seen = new List<string>();
        await foreach (var patron in system.Patrons.AllAsync(system.District.Id, new PatronFilter()))
        {
            if (seen.Count == 0)
            {
                await system.Patrons.EditAsync(system.District.Id, "CARD-0001", [new("lastName", "Zz")], "librarian");
                await system.Patrons.EditAsync(system.District.Id, "CARD-2005", [new("lastName", "Aa")], "librarian");
            }

            seen.Add(patron.Barcode);
        }

        Assert.Equal(Enumerable.Range(1, 2005).Select(i => $"CARD-{i:0000}"), seen);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Pages_of_any_list_are_parts_of_the_whole_in_any_order(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new() { Students = 120, Schools = 2 });
        await system.SyncAsync();
        var all = await system.AllPatronsAsync();
        var search = all.GroupBy(p => p.LastName).OrderByDescending(g => g.Count()).First().Key[..2].ToUpperInvariant();
        var grades = GradeTable.Sort(all.Select(p => p.Level).OfType<string>().Distinct(), []).ToList();
        var sites = (await system.Get<SiteService>().ListAsync(system.District.Id))
            .OrderBy(s => s.Name, StringComparer.OrdinalIgnoreCase)
            .ThenBy(s => s.Id)
            .ToList();
        var level = all.Select(p => p.Level).OfType<string>().First();
        foreach (
            var (filter, matches) in new (PatronFilter, Func<Patron, bool>)[]
            {
                (new(), _ => true),
                (new(Search: search), p => p.SearchKey.Contains(Text.Fold(search), StringComparison.Ordinal)),
                (
                    new(Search: search) { NamesOnly = true },
                    p =>
                        p.NameKey.Contains(Text.Fold(search), StringComparison.Ordinal)
                        || p.BarcodeKey.Contains(Text.Fold(search), StringComparison.Ordinal)
                ),
                (new(Level: level), p => p.Level == level),
                (new(Status: PatronStatus.Active, Level: level), p => p.Level == level && p.Status == PatronStatus.Active),
                (new(Search: "nobody is called so"), _ => false),
            }
        )
        {
            var expected = all.Where(matches).Select(p => p.Id).Order().ToList();
            foreach (var sort in Enum.GetValues<PatronSort>())
            {
                foreach (var descending in (bool[])[false, true])
                {
                    var pages = new List<Patron>();
                    for (var page = 1; ; page++)
                    {
                        var (list, total) = await system.Patrons.PageAsync(system.District.Id, filter, sort, descending, page, 30);
                        Assert.Equal(expected.Count, total);
                        pages.AddRange(list);
                        if (list.Count < 30)
                        {
                            break;
                        }
                    }

                    Assert.Equal(expected, pages.Select(p => p.Id).Order());
                    var keys = pages.Select(p =>
                        sort switch
                        {
                            PatronSort.Barcode => p.BarcodeKey,
                            // As the Grade Table orders them.
                            PatronSort.Level => p.Level is null ? null : $"{grades.IndexOf(p.Level):00000}",
                            PatronSort.Site => p.SiteId is { } id ? $"{sites.FindIndex(s => s.Id == id):00000}" : null,
                            PatronSort.StudentNumber => p.CommunityId,
                            PatronSort.Status => $"{(int)p.Status}",
                            PatronSort.Updated => p.UpdatedAt.ToString("O", null),
                            _ => p.NameKey,
                        }
                    );

                    // Where the blanks come is not looked at.
                    var known = keys.OfType<string>().ToList();
                    Assert.Equal(descending ? known.OrderDescending(StringComparer.Ordinal) : known.Order(StringComparer.Ordinal), known);
                }
            }
        }
    }
}
