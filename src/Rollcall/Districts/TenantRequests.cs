using System.Globalization;
using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Storage;

namespace Rollcall.Districts;

/// <summary>A district entered a ClassLink tenant that nobody has allowed it yet.</summary>
/// <param name="DistrictId">The district.</param>
/// <param name="TenantId">The tenant.</param>
/// <param name="At">When it was entered last.</param>
public sealed record TenantRequest(int DistrictId, string TenantId, DateTimeOffset At);

/// <summary>What districts ask the operator for: one tenant each, the one entered last. Who entered it is in the district's audit.</summary>
public sealed class TenantRequests(RollcallDatabase database, TimeProvider time)
{
    private const string Prefix = "tenant-request:";

    private sealed record Stored(string TenantId, DateTimeOffset At);

    /// <summary>All that wait, the oldest first.</summary>
    public async Task<IReadOnlyList<TenantRequest>> ListAsync(CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        var rows = await context.InstallationSettings.AsNoTracking().Where(s => s.Key.StartsWith(Prefix)).ToListAsync(cancellationToken);
        return
        [
            .. rows.Select(r =>
                    (
                        Id: int.Parse(r.Key[Prefix.Length..], CultureInfo.InvariantCulture),
                        Value: JsonSerializer.Deserialize<Stored>(r.Value)!
                    )
                )
                .Select(r => new TenantRequest(r.Id, r.Value.TenantId, r.Value.At))
                .OrderBy(r => r.At),
        ];
    }

    /// <summary>What this district waits for; null when nothing.</summary>
    public async Task<TenantRequest?> FindAsync(int districtId, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        var row = await context.InstallationSettings.FindAsync([Key(districtId)], cancellationToken);
        return row is null || JsonSerializer.Deserialize<Stored>(row.Value) is not { } stored
            ? null
            : new TenantRequest(districtId, stored.TenantId, stored.At);
    }

    /// <summary>Asks the operator, in place of what the district asked before.</summary>
    public async Task AskAsync(int districtId, string tenantId, string actor, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        await using var transaction = await context.Database.BeginTransactionAsync(cancellationToken);
        var now = time.GetUtcNow();
        await InstallationSettings.PutAsync(
            context,
            Key(districtId),
            JsonSerializer.Serialize(new Stored(tenantId, now)),
            cancellationToken
        );
        Note(context, districtId, now, actor, $"Asked the operator to allow tenant {tenantId}");
        await context.SaveChangesAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);
    }

    /// <summary>The operator puts aside what the district asked for. It may ask again.</summary>
    /// <returns>False when it asked for nothing.</returns>
    public async Task<bool> RefuseAsync(int districtId, string actor, CancellationToken cancellationToken = default)
    {
        var key = Key(districtId);
        await using var context = database.CreateContextAsOwner();
        await using var transaction = await context.Database.BeginTransactionAsync(cancellationToken);
        if (await context.InstallationSettings.Where(s => s.Key == key).ExecuteDeleteAsync(cancellationToken) == 0)
        {
            return false;
        }

        Note(context, districtId, time.GetUtcNow(), actor, "The operator put aside what was asked for");
        await context.SaveChangesAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);
        return true;
    }

    /// <summary>A line of the district's audit about its tenants.</summary>
    internal static void Note(RollcallContext context, int districtId, DateTimeOffset at, string actor, string details) =>
        context.AuditEntries.Add(
            new Audit.AuditEntry
            {
                DistrictId = districtId,
                At = at,
                Actor = actor,
                Action = "tenant",
                Details = details,
            }
        );

    internal static string Key(int districtId) => string.Create(CultureInfo.InvariantCulture, $"{Prefix}{districtId}");
}
