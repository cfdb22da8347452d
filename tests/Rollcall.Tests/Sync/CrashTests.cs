using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>A run that ends in the middle goes on to the result of an undisturbed one.</summary>
public sealed class CrashTests(PostgresCluster cluster)
{
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_run_that_is_stopped_again_and_again_comes_to_the_same_end(Db db)
    {
        var options = new SandboxOptions { Students = 600, Schools = 4 };
        await using var calm = await Installation.StartAsync(cluster, db, options);
        await using var rough = await Installation.StartAsync(cluster, db, options);
        for (var day = 0; day <= 1; day++)
        {
            calm.Sandbox.SetDay(day);
            rough.Sandbox.SetDay(day);
            await calm.SyncAsync();
            var (id, _) = await rough.Queue.EnqueueAsync(
                rough.District.Id,
                OperationKind.FullSync,
                IntegrationKind.ClassLink,
                preview: false,
                "test"
            );
            var worker = rough.Get<OperationWorker>();
            for (var steps = 1; steps < 400; steps = (steps * 3 / 2) + 1)
            {
                // Progress is reported at each page, batch and slice: the run dies at the n-th of them.
                using var stop = new CancellationTokenSource();
                var seen = 0;
                await worker.WorkAsync(
                    id,
                    (_, _, _, _) =>
                    {
                        if (++seen == steps)
                        {
                            stop.Cancel();
                        }
                    },
                    stop.Token
                );
                await AssertWholeAsync(rough);
            }

            var end = await rough.Follower.RunAsync(rough.District.Id, id, null, CancellationToken.None);
            Assert.Null(end.Error);
            Assert.True(OperationQueue.CountsOf(end).AddUp);
            Assert.Equal(await DescribeAsync(calm), await DescribeAsync(rough));
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Whoever_lost_the_operation_writes_nothing_more(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 300, Schools = 2 });
        var (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test"
        );
        var taken = false;
        await system
            .Get<OperationWorker>()
            .WorkAsync(
                id,
                (stage, _, done, _) =>
                {
                    if (stage == OperationStage.Applying && !taken)
                    {
                        // Another worker raises the fence while this one believes that it still works.
                        taken = true;
                        using var context = system.Database.CreateContext();
                        context.Operations.Where(o => o.Id == id).ExecuteUpdate(s => s.SetProperty(o => o.Fence, o => o.Fence + 1));
                    }
                },
                CancellationToken.None
            );
        Assert.True(taken);
        var stopped = await system.Queue.GetAsync(system.District.Id, id);
        Assert.Equal(OperationStatus.Running, stopped.Status);
        Assert.True(stopped.AppliedTo < stopped.PlanSize || (await system.AllPatronsAsync()).Count <= stopped.AppliedTo);

        await using (var context = system.Database.CreateContext())
        {
            await context.Operations.Where(o => o.Id == id).ExecuteUpdateAsync(s => s.SetProperty(o => o.LeaseUntil, 0));
        }

        var end = await system.Follower.RunAsync(system.District.Id, id, null, CancellationToken.None);
        Assert.Null(end.Error);
        Assert.Equal(OperationQueue.CountsOf(end).Created, (await system.AllPatronsAsync()).Count);
    }

    [Fact]
    public async Task A_cancelled_run_keeps_what_it_applied_and_the_next_one_finishes_the_work()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Sqlite, new SandboxOptions { Students = 600, Schools = 4 });
        var (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test"
        );
        var asked = false;
        await system
            .Get<OperationWorker>()
            .WorkAsync(
                id,
                (stage, _, _, _) =>
                {
                    // The first word of a stage looks whether somebody has cancelled, when the first slice is written.
                    if (stage == OperationStage.Applying && !asked)
                    {
                        asked = true;
                        using var context = system.Database.CreateContext();
                        context.Operations.Where(o => o.Id == id).ExecuteUpdate(s => s.SetProperty(o => o.CancelRequested, true));
                    }
                },
                CancellationToken.None
            );
        var cancelled = await system.Queue.GetAsync(system.District.Id, id);
        Assert.Equal(OperationStatus.Cancelled, cancelled.Status);
        Assert.InRange(cancelled.AppliedTo, 1, cancelled.PlanSize - 1);
        Assert.NotEmpty(await system.AllPatronsAsync());
        await AssertWholeAsync(system);
        var end = await system.SyncAsync();
        Assert.Null(end.Error);
        await AssertWholeAsync(system);
    }

    private static async Task AssertWholeAsync(Installation system)
    {
        var patrons = await system.AllPatronsAsync();
        Assert.Equal(patrons.Count, patrons.Select(p => p.Guid).Distinct().Count());
        Assert.Equal(patrons.Count, patrons.Select(p => p.BarcodeKey).Distinct().Count());
        Assert.All(patrons, p => Assert.True(p.LastName.Length > 0 && p.SiteId is not null && p.Guid is not null));
        await using var context = system.Database.CreateContext();
        Assert.Equal(patrons.Count, await context.PatronLinks.CountAsync());
    }

    private static async Task<List<string>> DescribeAsync(Installation system) =>
        [
            .. (await system.AllPatronsAsync())
                .Select(p => $"{p.Guid}|{p.Barcode}|{p.NameKey}|{p.Level}|{p.SiteId}|{p.Status}|{p.Email}|{p.AdditionalContact}")
                .Order(StringComparer.Ordinal),
        ];
}
