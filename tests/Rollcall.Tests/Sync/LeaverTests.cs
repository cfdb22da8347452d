using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Sync.Person;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>That somebody has left is acted on once: what the library does with them afterwards stays, and is said.</summary>
public sealed class LeaverTests(PostgresCluster cluster)
{
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Whoever_left_and_is_active_again_is_counted_explained_and_found(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 20, Schools = 2 });
        system.Sandbox.OnlyMine();
        for (var i = 1; i <= 20; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", $"Person{i:00}");
        }

        await system.SyncAsync();
        var barcodes = (await system.PatronsByGuidAsync()).ToDictionary(p => p.Key, p => p.Value.Barcode);

        // Before a full sync has seen that somebody is gone, and after it.
        system.Sandbox.Overrides.Remove("users", "p01", "p02", "p03", "p04");
        Assert.Contains("The next full sync marks them Transferred", await ProblemAsync("p01"), StringComparison.Ordinal);
        await MarkAsync("p04", true);
        Assert.Contains("marked 'do not transfer': no sync transfers them", await ProblemAsync("p04"), StringComparison.Ordinal);
        Assert.Equal(3, OperationQueue.CountsOf(await system.SyncAsync()).Absent);
        Assert.Contains("No sync changes the patron until it has them again", await ProblemAsync("p01"), StringComparison.Ordinal);
        Assert.Equal(0, await CountedAsync());

        // By hand, and by a file.
        await SetAsync("p01", "Active");
        Assert.Null((await system.ImportAsync($"barcode,status\n{barcodes["p02"]},Active\n")).Error);
        Assert.Equal(2, await CountedAsync());
        foreach (var id in (string[])["p01", "p02"])
        {
            Assert.Equal(PatronStatus.Active, (await system.PatronsByGuidAsync())[id].Status);
            var told = await ExplainAsync(id);
            Assert.DoesNotContain("full sync decides", told.RosterProblem, StringComparison.Ordinal);
            Assert.Contains("no sync changes it until the roster has them again", told.RosterProblem, StringComparison.Ordinal);
            Assert.Contains("the status was set since", told.Standing, StringComparison.Ordinal);
        }

        var (found, total) = await system.Patrons.PageAsync(
            system.District.Id,
            new PatronFilter(Status: PatronStatus.Active) { Gone = true },
            PatronSort.Name,
            false,
            1,
            10
        );
        Assert.Equal(2, total);
        Assert.Equal(["p01", "p02"], found.Select(p => p.Guid));
        Assert.Equal(3, await system.Patrons.CountAsync(system.District.Id, new PatronFilter { Gone = true }));

        // Whom the library keeps on purpose nobody has to be told of every night; one who is gone for the library is no question either.
        await MarkAsync("p02", true);
        Assert.Equal(1, await CountedAsync());
        await SetAsync("p01", "Inactive");
        Assert.Equal(0, await CountedAsync());
        await SetAsync("p01", "Active");
        await MarkAsync("p02", false);

        // Whose roles are not synced any more are left alone in every respect; nor is a status spoken of that the roster does not write.
        await system.ConfigureAsync(s => SettingsChange.Field(s, "status", "library", null));
        Assert.Equal(0, await CountedAsync());
        await system.ConfigureAsync(s => SettingsChange.Field(s, "status", "roster", null));
        Assert.Equal(2, await CountedAsync());

        // Back in the roster.
        system.Sandbox.Overrides.Restore("users", ["p01"]);
        system.Sandbox.Person("p01", "Pat", "Person01");
        Assert.Equal(1, await CountedAsync());
        Assert.Null((await ExplainAsync("p01")).RosterProblem);

        async Task<long> CountedAsync() =>
            OperationQueue.WarningsOf(await system.SyncAsync()).SingleOrDefault(w => w.Code == "active-and-gone")?.Count ?? 0;

        Task<PatronExplanation> ExplainAsync(string id) =>
            system.Get<PatronExplain>().ExplainAsync(system.District, barcodes[id], askRoster: true);

        async Task<string> ProblemAsync(string id) => (await ExplainAsync(id)).RosterProblem ?? "";

        Task SetAsync(string id, string status) =>
            system.Patrons.EditAsync(system.District.Id, barcodes[id], [new("status", status)], "mrs. reed");

        Task MarkAsync(string id, bool marked) =>
            system.Patrons.EditAsync(system.District.Id, barcodes[id], [new("doNotTransfer", marked ? "true" : "false")], "mrs. reed");
    }

    /// <summary>A deleted row stands in the roster for months, and says no more on its second night than on its first.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Whoever_is_deleted_and_active_again_is_transferred_no_second_time(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 20, Schools = 2 });
        system.Sandbox.OnlyMine();
        for (var i = 1; i <= 20; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", $"Person{i:00}");
        }

        await system.SyncAsync();
        var barcodes = (await system.PatronsByGuidAsync()).ToDictionary(p => p.Key, p => p.Value.Barcode);
        await EditAsync("p04", "doNotTransfer", "true");
        Put("tobedeleted", "p01", "p02", "p03", "p04");
        await ExpectAsync(transferred: 3, counted: 0);
        await EditAsync("p01", "status", "Active");
        Assert.Null((await system.ImportAsync($"barcode,status\n{barcodes["p02"]},Active\n")).Error);
        await ExpectAsync(transferred: 0, counted: 2);
        await ExpectAsync(transferred: 0, counted: 2);

        // Nor by a sync of changes, by one of that person, or when the row is gone for good.
        Put("tobedeleted", "p01");
        Assert.Equal(0, OperationQueue.CountsOf(await system.SyncAsync(kind: OperationKind.ChangesSync)).Transferred);
        Assert.Null((await PersonAsync("p01")).Error);
        system.Sandbox.Overrides.Remove("users", "p02");
        await ExpectAsync(transferred: 0, counted: 2);
        var patrons = await system.PatronsByGuidAsync();
        Assert.Equal((PatronStatus.Active, PatronStatus.Active), (patrons["p01"].Status, patrons["p02"].Status));

        var told = await system.Get<PatronExplain>().ExplainAsync(system.District, barcodes["p01"], askRoster: true);
        Assert.Contains("the status was set since", told.Standing, StringComparison.Ordinal);
        Assert.StartsWith(
            "stays: a sync has marked the person Transferred once",
            told.Fields.Single(f => f.Field == "status").Next,
            StringComparison.Ordinal
        );
        var gone = new PatronFilter(Status: PatronStatus.Active) { Gone = true };
        Assert.Equal(2, await system.Patrons.CountAsync(system.District.Id, gone));

        // Whom the library keeps on purpose is no question; whose mark is taken off leaves like others.
        await EditAsync("p02", "doNotTransfer", "true");
        await ExpectAsync(transferred: 0, counted: 1);
        await EditAsync("p04", "doNotTransfer", "false");
        await ExpectAsync(transferred: 1, counted: 1);

        // Whoever is in the roster again, and deleted once more, has left once more.
        Put("active", "p01", "p03");
        Assert.Equal(1, OperationQueue.CountsOf(await system.SyncAsync()).Reactivated);
        Assert.Equal(PatronStatus.Active, (await system.PatronsByGuidAsync())["p03"].Status);
        Put("tobedeleted", "p01");
        await ExpectAsync(transferred: 1, counted: 0);

        async Task ExpectAsync(int transferred, int counted)
        {
            var operation = await system.SyncAsync();
            Assert.Null(operation.Error);
            Assert.Equal(transferred, OperationQueue.CountsOf(operation).Transferred);
            Assert.Equal(counted, OperationQueue.WarningsOf(operation).SingleOrDefault(w => w.Code == "active-and-gone")?.Count ?? 0);
        }

        void Put(string status, params string[] ids)
        {
            foreach (var id in ids)
            {
                system.Sandbox.Person(id, "Pat", "Person" + id[1..], status: status, modified: "2099-01-01T00:00:00.000Z");
            }
        }

        Task EditAsync(string id, string field, string value) =>
            system.Patrons.EditAsync(system.District.Id, barcodes[id], [new(field, value)], "mrs. reed");

        async Task<Operation> PersonAsync(string id)
        {
            var (number, _) = await system.Queue.EnqueueAsync(
                system.District.Id,
                OperationKind.PersonSync,
                IntegrationKind.ClassLink,
                preview: false,
                "mrs. reed",
                PersonOptions.For(id)
            );
            return await system.Follower.RunAsync(system.District.Id, number, null, CancellationToken.None);
        }
    }
}
