using Microsoft.EntityFrameworkCore;
using Rollcall.Audit;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Storage;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Districts;

/// <summary>What districts ask the operator for, and what the operator keeps for all of them, on both databases.</summary>
public sealed class TenantRequestTests(PostgresCluster cluster)
{
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Administrators_who_ask_at_the_same_instant_all_ask(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, connect: false);
        var requests = system.Get<TenantRequests>();
        for (var round = 1; round <= 5; round++)
        {
            await TogetherAsync(i => requests.AskAsync(system.District.Id, $"{i}", $"administrator {i}"));
            var asked = Assert.Single(await requests.ListAsync());
            Assert.Equal(asked, await requests.FindAsync(system.District.Id));
            Assert.InRange(int.Parse(asked.TenantId, System.Globalization.CultureInfo.InvariantCulture), 1, 8);
            Assert.Equal(8, (await AuditAsync(system, "Asked the operator")).Select(l => l.Actor).Distinct().Count());

            // Of two operators who put it aside at once, one did.
            var refused = await Task.WhenAll(
                Enumerable.Range(0, 2).Select(_ => Task.Run(() => requests.RefuseAsync(system.District.Id, "operator")))
            );
            Assert.Single(refused, r => r);
            Assert.Empty(await requests.ListAsync());
            Assert.Equal(round, (await AuditAsync(system, "put aside")).Count);
        }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_partner_key_is_stored_replaced_and_removed_and_the_audit_says_by_whom(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, connect: false);
        Assert.False(await system.Integrations.HasPartnerKeyAsync());
        Assert.False(await system.Integrations.RemovePartnerKeyAsync("operator"));
        await TogetherAsync(i => system.Integrations.StorePartnerKeyAsync($"key-number-{i}", $"operator {i}"));
        Assert.True(await system.Integrations.HasPartnerKeyAsync());
        Assert.True(await system.Integrations.RemovePartnerKeyAsync("operator"));
        Assert.False(await system.Integrations.HasPartnerKeyAsync());

        // Whoever connects with one stores it, too.
        var options = system.Sandbox.Options;
        await system.Integrations.ConnectAsync(
            system.District,
            IntegrationKind.ClassLink,
            new ConnectRequest(ConnectionMode.Proxy, options.TenantId, system.Sandbox.Url.ToString(), PartnerKey: options.PartnerKey),
            asOperator: true,
            clear: false,
            "connector"
        );
        Assert.True(await system.Integrations.HasPartnerKeyAsync());
        await using var context = system.Database.CreateContext();
        var lines = await context.AuditEntries.Where(a => a.DistrictId == 0 && a.Action == "partner key").ToListAsync();
        Assert.Equal(
            2,
            lines.Count(l =>
                l.Actor == "connector" && (l.Details == "stored" || l.Details.StartsWith("is sent to", StringComparison.Ordinal))
            )
        );
        Assert.Equal(9, lines.Where(l => l.Details == "stored").Select(l => l.Actor).Distinct().Count());
        Assert.Single(lines, l => l is { Details: "removed", Actor: "operator" });
    }

    private static async Task<IReadOnlyList<AuditEntry>> AuditAsync(Installation system, string words) =>
        (await system.Get<AuditLog>().PageAsync(system.District.Id, new AuditFilter(Search: words), 1, 100)).Lines;

    /// <summary>Eight at once, who all stand ready before the first begins.</summary>
    private static Task TogetherAsync(Func<int, Task> act)
    {
        var ready = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var all = Task.WhenAll(
            Enumerable
                .Range(1, 8)
                .Select(async i =>
                {
                    await ready.Task;
                    await act(i);
                })
        );
        ready.SetResult();
        return all;
    }
}
