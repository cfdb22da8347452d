using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Operations;

/// <summary>Whose turn it is.</summary>
public sealed class QueueTests(PostgresCluster cluster)
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_district_with_much_to_do_keeps_no_other_one_waiting_and_people_go_before_the_night(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, connect: false);
        var harbor = await system.Get<DistrictService>().AddAsync("HARBOR", "Harbor Point", "UTC");
        var river = system.District.Id;
        async Task<long> AskAsync(int district, OperationKind kind, bool preview = false, DateOnly? night = null) =>
            (
                await system.Queue.EnqueueAsync(
                    district,
                    kind,
                    IntegrationKind.ClassLink,
                    preview,
                    "test",
                    dailyDate: night,
                    cancellationToken: Stop
                )
            ).Id;
        Task<Operation?> ClaimAsync(bool nights = true) => system.Queue.ClaimAsync("one", null, aloneHere: false, Stop, nights);
        async Task<long?> NextAsync()
        {
            if (await ClaimAsync() is not { } operation)
            {
                return null;
            }

            Assert.True(await system.Queue.FinishAsync(operation, OperationStatus.Completed, null, null, null, Stop));
            return operation.Id;
        }

        // Of one district there is one at a time, whoever asks.
        long[] rivers =
        [
            await AskAsync(river, OperationKind.FullSync),
            await AskAsync(river, OperationKind.ChangesSync),
            await AskAsync(river, OperationKind.FullSync, preview: true),
        ];
        var first = await ClaimAsync();
        Assert.Equal(rivers[0], first!.Id);
        Assert.Null(await ClaimAsync());
        Assert.True(await system.Queue.FinishAsync(first, OperationStatus.Completed, null, null, null, Stop));

        // What only a newer node knows is left to it.
        Assert.Null(await system.Queue.ClaimAsync("one", null, aloneHere: false, Stop, kinds: [OperationKind.Import]));

        // The other district came last and is served next.
        var theirs = await AskAsync(harbor.Id, OperationKind.FullSync);
        Assert.Equal([theirs, rivers[1], rivers[2], null], [await NextAsync(), await NextAsync(), await NextAsync(), await NextAsync()]);

        // A night that waits longer gives way to what somebody asked for, and a worker for people leaves it alone.
        var night = await AskAsync(river, OperationKind.FullSync, night: new DateOnly(2026, 3, 2));
        Assert.Null(await ClaimAsync(nights: false));
        var asked = await AskAsync(harbor.Id, OperationKind.ChangesSync);
        Assert.Equal([asked, night], [await NextAsync(), await NextAsync()]);
    }
}
