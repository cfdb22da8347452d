using System.Text.Json;
using Microsoft.Extensions.DependencyInjection;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Storage;
using Rollcall.Sync.Undo;

namespace Rollcall.Bench;

/// <summary>An installation as a library has it, set up once and then synced by one process after the other.</summary>
internal static class SyncTasks
{
    private const string By = "bench";

    /// <summary>Somebody who has to be found among the patrons: pages are asked for him.</summary>
    public const string FirstBarcode = "P1000001";

    private static ServiceProvider Services(Order order, Func<int>? day = null)
    {
        var services = new ServiceCollection();
        services.AddSingleton<TimeProvider>(new DayClock(day ?? (() => order.Day)));
        services.AddRollcall(new RollcallOptions(new StorageOptions(order.Folder, order.Connection), AllowPrivateAddresses: true));
        return services.BuildServiceProvider();
    }

    /// <summary>A district with a site for each school, connected by proxy, all roles ticked, nobody in it.</summary>
    public static async Task PrepareAsync(Order order, IReadOnlyList<School> schools)
    {
        await using var services = Services(order);
        await services.GetRequiredService<RollcallDatabase>().EnsureReadyAsync();
        var district = await services.GetRequiredService<DistrictService>().AddAsync("BENCH", "Bench", "UTC", "test");
        var sites = services.GetRequiredService<SiteService>();
        var integrations = services.GetRequiredService<IntegrationService>();
        var sandbox = new SandboxOptions();
        await integrations.StorePartnerKeyAsync(sandbox.PartnerKey, "test");
        await integrations.ConnectAsync(
            district,
            IntegrationKind.ClassLink,
            new ConnectRequest(ConnectionMode.Proxy, sandbox.TenantId, order.Url),
            asOperator: true,
            clear: false,
            By
        );
        await integrations.TurnOnAsync(district.Id, IntegrationKind.ClassLink, clear: false, By);
        for (var i = 0; i < schools.Count; i++)
        {
            var code = $"S{i + 1}";
            await sites.AddAsync(district.Id, code, new SiteChange(schools[i].Name, $"P{i + 1}000001", null, null, null), "bench");
            await integrations.MatchAsync(district, IntegrationKind.ClassLink, code, schools[i].SourcedId, By);
        }

        await integrations.ConfigureAsync(
            district.Id,
            IntegrationKind.ClassLink,
            By,
            "settings",
            s =>
                s with
                {
                    Roles = [RoleGroup.Student, RoleGroup.Teacher, RoleGroup.Admin],
                    Map = new FieldMap
                    {
                        CommunityId = new IdMapping(IdSource.UserIdType, "StateID"),
                        Location = order.Homerooms ? LocationSource.TeacherName : LocationSource.NotMapped,
                    },
                    // A hold would leave work undone, and the next measurement would find other data.
                    Thresholds = NoThresholds,
                }
        );
    }

    public static Thresholds NoThresholds { get; } =
        new()
        {
            Transfers = new(100, int.MaxValue),
            Updates = new(100, int.MaxValue),
            Creates = new(100, int.MaxValue),
        };

    /// <summary>One sync, from the request to its end.</summary>
    public static async Task<Measured> SyncAsync(Order order)
    {
        var day = order.Day;
        await using var services = Services(order, () => day);
        var database = services.GetRequiredService<RollcallDatabase>();
        await database.EnsureReadyAsync();
        var queue = services.GetRequiredService<OperationQueue>();
        var kind = order.ChangesOnly ? OperationKind.ChangesSync : OperationKind.FullSync;
        if (order.AgainOnDay > 0)
        {
            var (earlier, _) = await queue.EnqueueAsync(1, kind, IntegrationKind.ClassLink, preview: false, By);
            await services.GetRequiredService<OperationFollower>().RunAsync(1, earlier, null, CancellationToken.None);
            await SandboxTask.GoToAsync(order.Url, order.AgainOnDay);
            day = order.AgainOnDay;
            await ReadTasks.BareAsync(order);
        }

        var before = await StateAsync(database);
        using var gauge = new Gauge();
        var (id, _) = await queue.EnqueueAsync(1, kind, IntegrationKind.ClassLink, preview: false, By);
        return await FollowAsync(services, id, gauge, before);
    }

    /// <summary>One full sync with the thresholds that a district has, of a feed that lost people. What it holds is discarded afterwards, and nothing
    /// is held from then on.</summary>
    public static async Task<Measured> VanishedAsync(Order order)
    {
        await using var services = Services(order);
        var database = services.GetRequiredService<RollcallDatabase>();
        await database.EnsureReadyAsync();
        var queue = services.GetRequiredService<OperationQueue>();
        await HoldFromAsync(new Thresholds());
        var before = await StateAsync(database);
        using var gauge = new Gauge();
        var (id, _) = await queue.EnqueueAsync(1, OperationKind.FullSync, IntegrationKind.ClassLink, preview: false, By);
        var held = await services
            .GetRequiredService<OperationFollower>()
            .RunAsync(1, id, (stage, text, _, _) => gauge.See(stage.ToString(), text), CancellationToken.None);
        var measured = gauge.Stop();
        BenchFailedException.ThrowUnless(
            held is { Error: null, Status: OperationStatus.NeedsApproval },
            $"A sync of a feed that lost many ended as {held.Status}: {held.Error}"
        );
        var marked = await CountAsync($"SELECT count(*) FROM changes WHERE operation_id = {id} AND held");
        await queue.DiscardAsync(1, id, By);
        await HoldFromAsync(NoThresholds);
        return measured with
        {
            OperationId = id,
            PlanSize = held.PlanSize,
            Counts = OperationQueue.CountsOf(held),
            Rows = marked,
            Before = before,
            After = await StateAsync(database),
        };

        Task HoldFromAsync(Thresholds thresholds) =>
            services
                .GetRequiredService<IntegrationService>()
                .ConfigureAsync(1, IntegrationKind.ClassLink, By, "thresholds", s => s with { Thresholds = thresholds });

        async Task<long> CountAsync(string sql)
        {
            await using var connection = await database.OpenAsync();
            return await Sql.ScalarAsync(connection, null, sql, CancellationToken.None);
        }
    }

    /// <summary>Takes an operation back, from the request to its end.</summary>
    public static async Task<Measured> UndoAsync(Order order)
    {
        await using var services = Services(order);
        var database = services.GetRequiredService<RollcallDatabase>();
        await database.EnsureReadyAsync();
        var before = await StateAsync(database);
        using var gauge = new Gauge();
        var id = await services.GetRequiredService<UndoService>().EnqueueAsync(1, order.Subject, barcode: null, By);
        return await FollowAsync(services, id, gauge, before);
    }

    private static async Task<Measured> FollowAsync(ServiceProvider services, long id, Gauge gauge, PatronState before)
    {
        var database = services.GetRequiredService<RollcallDatabase>();
        var operation = await services
            .GetRequiredService<OperationFollower>()
            .RunAsync(1, id, (stage, text, _, _) => gauge.See(stage.ToString(), text), CancellationToken.None);
        return await CheckedAsync(database, operation, gauge.Stop(), before);
    }

    /// <summary>What was measured of an operation, if it did what it should.</summary>
    public static async Task<Measured> CheckedAsync(RollcallDatabase database, Operation operation, Measured measured, PatronState before)
    {
        var id = operation.Id;
        BenchFailedException.ThrowUnless(
            operation is { Error: null, Status: OperationStatus.Completed or OperationStatus.CompletedWithWarnings },
            $"The operation ended as {operation.Status}: {operation.Error}"
        );
        var counts = OperationQueue.CountsOf(operation);
        BenchFailedException.ThrowUnless(
            operation.Kind == OperationKind.Undo || (counts.AddUp && counts.Held == 0),
            $"The outcomes do not add up: {counts}"
        );
        await using var connection = await database.OpenAsync();
        var changes = await Sql.ScalarAsync(
            connection,
            null,
            "SELECT count(*) FROM changes WHERE operation_id = @id",
            CancellationToken.None,
            ("@id", id)
        );
        BenchFailedException.ThrowUnless(changes == operation.PlanSize, $"{operation.PlanSize} rows were planned, {changes} are stored.");
        return measured with
        {
            OperationId = id,
            PlanSize = operation.PlanSize,
            Counts = counts,
            FullBecause = JsonDocument.Parse(operation.Options).RootElement.TryGetProperty("fullBecause", out var why)
                ? why.GetString()
                : null,
            Before = before,
            After = await StateAsync(database),
        };
    }

    public static async Task<PatronState> StateAsync(RollcallDatabase database)
    {
        await using var connection = await database.OpenAsync();
        Task<long> Count(string sql) => Sql.ScalarAsync(connection, null, sql, CancellationToken.None);
        return new PatronState(
            await Count("SELECT count(*) FROM patrons"),
            await Count("SELECT count(DISTINCT guid) FROM patrons"),
            await Count("SELECT count(*) FROM patron_links"),
            await Count("SELECT coalesce(sum(version), 0) FROM patrons"),
            await Count("SELECT coalesce(max(updated_at), 0) FROM patrons")
        );
    }
}
