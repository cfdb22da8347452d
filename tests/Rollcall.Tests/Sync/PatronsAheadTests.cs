using Rollcall.Integrations;
using Rollcall.Patrons;
using Rollcall.Sync;
using Rollcall.Sync.Plan;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>Patrons that are read while the roster still is.</summary>
public sealed class PatronsAheadTests(PostgresCluster cluster)
{
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Who_is_added_or_changed_meanwhile_is_seen(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new() { Students = 1, Schools = 1 }, connect: false);
        var actor = new Actor("test", SecurityGroup.DistrictAdministrator);
        var service = system.Get<PatronService>();
        Task AddAsync(string barcode) =>
            service.AddAsync(
                system.District.Id,
                [KeyValuePair.Create("barcode", (string?)barcode), KeyValuePair.Create("lastName", (string?)"Byron")],
                actor
            );
        await AddAsync("A100");
        SyncSetup setup;
        await using (var context = system.Database.CreateContext())
        {
            setup = await SyncSetup.LoadAsync(
                context,
                system.District.Id,
                IntegrationKind.ClassLink,
                TimeProvider.System,
                CancellationToken.None
            );
        }

        await using var connection = await system.Database.OpenAsync();
        async Task<PatronIndex> TakenAsync(Func<PatronsAhead, Task> meanwhile)
        {
            await using var ahead = new PatronsAhead(system.Database, setup);
            ahead.Begin();
            await ahead.Reading!;
            await meanwhile(ahead);
            return await ahead.TakeAsync(connection, CancellationToken.None);
        }

        PatronIndex? read = null;
        Assert.Same(await TakenAsync(async ahead => read = (await ahead.Reading!).Patrons), read);
        Assert.Equal(1, read!.Count);
        Assert.Equal(2, (await TakenAsync(_ => AddAsync("A101"))).Count);
        var number = setup.Keys.Of("7001");
        var changed = await TakenAsync(_ =>
            service.EditAsync(system.District.Id, "A100", [KeyValuePair.Create("communityId", (string?)"7001")], actor)
        );
        Assert.Equal(1, changed.LookUp().ByStudent(number).Length);
        Assert.Equal(2, (await TakenAsync(ahead => ahead.DropAsync())).Count);

        // Never begun, it reads when it is asked.
        await using var late = new PatronsAhead(system.Database, setup);
        await AddAsync("A102");
        Assert.Equal(3, (await late.TakeAsync(connection, CancellationToken.None)).Count);
    }
}
