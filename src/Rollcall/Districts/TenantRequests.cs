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
        var now = time.GetUtcNow();
        var value = JsonSerializer.Serialize(new Stored(tenantId, now));
        var row = await context.InstallationSettings.FindAsync([Key(districtId)], cancellationToken);
        if (row is null)
        {
            context.InstallationSettings.Add(new InstallationSetting { Key = Key(districtId), Value = value });
        }
        else
        {
            row.Value = value;
        }

        context.AuditEntries.Add(
            new Audit.AuditEntry
            {
                DistrictId = districtId,
                At = now,
                Actor = actor,
                Action = "tenant",
                Details = $"Asked the operator to allow tenant {tenantId}",
            }
        );
        await context.SaveChangesAsync(cancellationToken);
    }

    /// <summary>The operator has decided, or the district has what it asked for.</summary>
    public async Task DropAsync(int districtId, CancellationToken cancellationToken = default)
    {
        var key = Key(districtId);
        await using var context = database.CreateContextAsOwner();
        await context.InstallationSettings.Where(s => s.Key == key).ExecuteDeleteAsync(cancellationToken);
    }

    internal static string Key(int districtId) => string.Create(CultureInfo.InvariantCulture, $"{Prefix}{districtId}");
}
