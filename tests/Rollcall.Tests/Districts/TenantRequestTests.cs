using Microsoft.EntityFrameworkCore;
using Rollcall.Audit;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Storage;
using Rollcall.Sync.Undo;
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

    /// <summary>Whoever was given the wrong tenant gives it back, and reads nothing by it from then on.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_tenant_that_the_wrong_district_was_given_is_taken_back(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        var districts = system.Get<DistrictService>();
        var tenant = system.Sandbox.Options.TenantId;
        var lake = await districts.AddAsync("LAKE", "Lake", "UTC", "test");
        async Task RefusedAsync(Func<Task> act, string says) =>
            Assert.Contains(says, (await Assert.ThrowsAsync<RollcallException>(act)).Message, StringComparison.Ordinal);

        await RefusedAsync(() => districts.DisallowTenantAsync(system.District, tenant, "operator"), "Disconnect it first");
        await RefusedAsync(() => districts.DisallowTenantAsync(lake, tenant, "operator"), "Lake is not allowed tenant");
        await RefusedAsync(() => districts.DisallowTenantAsync(lake, " x ", "operator"), "Lake is not allowed tenant x.");
        Assert.Equal([tenant], (await districts.TenantsAsync())[system.District.Id]);
        await system.Integrations.TestAsync(system.District, IntegrationKind.ClassLink);

        // Off, it may keep its connection: that opens nothing any more.
        await system.Integrations.TurnOffAsync(system.District.Id, IntegrationKind.ClassLink, "test");
        await districts.DisallowTenantAsync(system.District, $" {tenant} ", "operator");
        Assert.Contains(
            await AuditAsync(system, "took tenant"),
            l => l.Actor == "operator" && l.Details.EndsWith($"{tenant} back", StringComparison.Ordinal)
        );
        Assert.Empty((await districts.TenantsAsync())[system.District.Id]);
        await RefusedAsync(() => system.Integrations.TestAsync(system.District, IntegrationKind.ClassLink), "took it back");
        await RefusedAsync(() => system.Integrations.OrgsAsync(system.District, IntegrationKind.ClassLink), "took it back");
        await RefusedAsync(
            async () => await system.Integrations.TurnOnAsync(system.District.Id, IntegrationKind.ClassLink, clear: false, "test"),
            "took it back"
        );
        await districts.AllowTenantAsync(lake, tenant, "operator");
        await RefusedAsync(() => system.Integrations.TestAsync(system.District, IntegrationKind.ClassLink), "took it back");

        // And back again.
        await districts.DisallowTenantAsync(lake, tenant, "operator");
        await districts.AllowTenantAsync(system.District, tenant, "operator");
        await system.Integrations.TurnOnAsync(system.District.Id, IntegrationKind.ClassLink, clear: false, "test");
        Assert.Null((await system.SyncAsync()).Error);
    }

    /// <summary>Sign-in goes by the tenants of services that are on: an undo turns none on that is another district's by now.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_switch_that_is_undone_turns_no_tenant_on_that_was_taken_back_since(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        var (river, districts, undo) = (system.District, system.Get<DistrictService>(), system.Get<UndoService>());
        var tenant = system.Sandbox.Options.TenantId;
        var lake = await districts.AddAsync("LAKE", "Lake", "UTC", "test");
        await system.ConfigureAsync(s => s with { Login = s.Login with { On = true } });
        Assert.Null((await system.SyncAsync()).Error);
        var elsewhere = Rollcall.Tests.Sync.FailureTests.Elsewhere(system);
        var switched = (await system.Integrations.ConnectAsync(river, IntegrationKind.ClassLink, elsewhere, true, true, "test"))
            .Cleared!
            .Value;
        await districts.DisallowTenantAsync(river, tenant, "operator");
        await districts.AllowTenantAsync(lake, tenant, "operator");

        var refused = await Assert.ThrowsAsync<RollcallException>(() => undo.EnqueueAsync(river.Id, switched, null, "test"));
        Assert.Contains(
            $"ClassLink read tenant {tenant}, which this installation's operator took back",
            refused.Message,
            StringComparison.Ordinal
        );
        Assert.Contains("ask the operator", refused.Message, StringComparison.Ordinal);
        Assert.Equal(elsewhere.TenantId, (await RowAsync()).Settings.TenantId);

        // Taken back while the undo is at work, patrons come back and the service stays off.
        await districts.DisallowTenantAsync(lake, tenant, "operator");
        await districts.AllowTenantAsync(river, tenant, "operator");
        var id = await undo.EnqueueAsync(river.Id, switched, null, "test");
        var taken = false;
        var ended = await system.Follower.RunAsync(
            river.Id,
            id,
            (_, text, done, _) =>
            {
                if (text == "Writing changes" && done > 0 && !taken)
                {
                    taken = true;
                    Task.Run(() => districts.DisallowTenantAsync(river, tenant, "operator")).GetAwaiter().GetResult();
                }
            },
            CancellationToken.None
        );
        Assert.True(taken);
        Assert.Equal((OperationStatus.CompletedWithWarnings, null), (ended.Status, ended.Error));
        var told = Assert.Single(OperationQueue.WarningsOf(ended), w => w.Code == "tenant-taken-back");
        Assert.Contains($"took tenant {tenant} back while the undo ran", told.Message, StringComparison.Ordinal);
        Assert.Contains("Ask the operator", told.Hint, StringComparison.Ordinal);
        Assert.Equal(OperationQueue.WarningsOf(ended).Sum(w => w.Count), OperationQueue.CountsOf(ended).Warnings);
        Assert.Equal((false, tenant), ((await RowAsync()).Enabled, (await RowAsync()).Settings.TenantId));
        Assert.NotEmpty(await system.PatronsByGuidAsync());

        async Task<(bool Enabled, IntegrationSettings Settings)> RowAsync()
        {
            var row = await system.Integrations.FindAsync(river.Id, IntegrationKind.ClassLink);
            return (row!.Enabled, IntegrationService.SettingsOf(row));
        }
    }

    /// <summary>The one credential of the list is the partner key, however ClassLink refuses it.</summary>
    [Theory]
    [InlineData("401:applications")]
    [InlineData("disabled-403:applications")]
    public async Task A_partner_key_that_is_refused_is_the_operators_matter(string fault)
    {
        await using var system = await Installation.StartAsync(cluster, Db.Sqlite);
        system.Sandbox.Faults.Set(fault);
        var e = await Assert.ThrowsAsync<RollcallException>(() =>
            system.Integrations.TestAsync(system.District, IntegrationKind.ClassLink)
        );
        Assert.StartsWith("ClassLink refuses this installation's partner key.", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Of_several_applications_somebody_chooses_one_and_it_stays_chosen(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, connect: false);
        await system.Integrations.StorePartnerKeyAsync(system.Sandbox.Options.PartnerKey, "test");
        var request = new ConnectRequest(ConnectionMode.Proxy, Sandbox.SandboxTenants.TwoApplications, system.Sandbox.Url.ToString());
        Task<ConnectResult> ConnectAsync(string? application) =>
            system.Integrations.ConnectAsync(
                system.District,
                IntegrationKind.ClassLink,
                request with
                {
                    ApplicationId = application,
                },
                asOperator: true,
                clear: false,
                "test"
            );
        async Task<string?> ChosenAsync() =>
            IntegrationService.SettingsOf(await system.Integrations.FindAsync(system.District.Id, IntegrationKind.ClassLink)).ApplicationId;

        var asked = await Assert.ThrowsAsync<ApplicationChoiceException>(() => ConnectAsync(null));
        Assert.Equal(["Rollcall", "Rollcall for libraries"], asked.Choices.Select(c => c.Name));
        Assert.All(asked.Choices, c => Assert.Contains($"{c.Name} ({c.Id})", asked.Message, StringComparison.Ordinal));
        Assert.DoesNotContain("c1a5b8d0", asked.Message, StringComparison.Ordinal);
        var chosen = asked.Choices[1].Id;
        await ConnectAsync(chosen);
        system.Sandbox.ClearRequests();
        Assert.NotEmpty(await system.Integrations.OrgsAsync(system.District, IntegrationKind.ClassLink));
        Assert.Contains(system.Sandbox.Requests, r => r.Path.StartsWith($"/{chosen}/", StringComparison.Ordinal));

        // Connected once more it is still that one; gone, it is said, and asked for anew.
        await ConnectAsync(null);
        Assert.Equal(chosen, await ChosenAsync());
        await system.ConfigureAsync(s => s with { ApplicationId = "gone%3D" });
        var gone = await Assert.ThrowsAsync<ApplicationChoiceException>(() =>
            system.Integrations.TestAsync(system.District, IntegrationKind.ClassLink)
        );
        Assert.True(gone.IsGone);
        Assert.Contains("shares its roster no more", gone.Message, StringComparison.Ordinal);
        Assert.False((await Assert.ThrowsAsync<ApplicationChoiceException>(() => ConnectAsync(null))).IsGone);
        Assert.True((await Assert.ThrowsAsync<ApplicationChoiceException>(() => ConnectAsync("other%3D"))).IsGone);
        await ConnectAsync(asked.Choices[0].Id);
        Assert.Equal(asked.Choices[0].Id, await ChosenAsync());
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
