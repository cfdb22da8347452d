using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.OneRoster.ClassLink;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.Districts;

/// <summary>Districts of the installation, and the tenants each may use.</summary>
public sealed class DistrictService(RollcallDatabase database, TimeProvider time)
{
    /// <summary>Adds a district with the Standard Patron policy.</summary>
    /// <exception cref="RollcallException">The code is taken or not usable, or the time zone is unknown.</exception>
    public async Task<District> AddAsync(
        string code,
        string name,
        string? timeZone,
        string actor,
        CancellationToken cancellationToken = default
    )
    {
        code = CleanCode(code, "district");
        var cleanName = Text.Clean(name) ?? throw RollcallException.OfValue("A district needs a name: add --name NAME.");
        var zone = CheckTimeZone(timeZone ?? "UTC");
        await using var context = database.CreateContextAsOwner();
        await using var transaction = await context.Database.BeginTransactionAsync(cancellationToken);
        var codes = await context.Districts.Select(d => d.Code).ToListAsync(cancellationToken);
        if (codes.Contains(code, StringComparer.OrdinalIgnoreCase))
        {
            throw Taken();
        }

        RollcallException Taken() => new($"There is a district {code} already. Choose another code.");

        var district = new District
        {
            Code = code,
            Name = cleanName,
            TimeZone = zone,
            CreatedAt = time.GetUtcNow(),
        };
        context.Districts.Add(district);
        try
        {
            await context.SaveChangesAsync(cancellationToken);
        }
        catch (DbUpdateException e) when (e.InnerException is not null && DatabaseErrors.IsUniqueViolation(e.InnerException))
        {
            // Somebody was faster.
            throw Taken();
        }

        context.Policies.Add(
            new Policy
            {
                DistrictId = district.Id,
                Code = Policy.Standard,
                Name = "Standard Patron",
            }
        );
        context.AuditEntries.Add(
            new Audit.AuditEntry
            {
                DistrictId = district.Id,
                At = district.CreatedAt,
                Actor = actor,
                Action = "district",
                Details = $"{code}, {cleanName}, added",
            }
        );
        await context.SaveChangesAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);
        return district;
    }

    /// <summary>Sets the time zone in which the district's days and Daily Operations are counted.</summary>
    /// <exception cref="RollcallException">The time zone is not known; nothing was changed.</exception>
    public async Task SetTimeZoneAsync(District district, string timeZone, string actor, CancellationToken cancellationToken = default)
    {
        var zone = CheckTimeZone(timeZone);
        await using var context = database.CreateContext();
        var row = await context.Districts.SingleAsync(d => d.Id == district.Id, cancellationToken);
        row.TimeZone = zone;
        context.AuditEntries.Add(
            new Audit.AuditEntry
            {
                DistrictId = district.Id,
                At = time.GetUtcNow(),
                Actor = actor,
                Action = "time zone",
                Details = $"{district.TimeZone} to {zone}",
            }
        );
        await context.SaveChangesAsync(cancellationToken);
    }

    /// <summary>All districts of the installation, whoever asks: what somebody sees of them is for the caller to choose.</summary>
    public async Task<IReadOnlyList<District>> ListAsync(CancellationToken cancellationToken = default)
    {
        // An operator decides about other districts from a page of their own.
        await using var context = database.CreateContextAsOwner();
        return await context.Districts.AsNoTracking().OrderBy(d => d.Code).ToListAsync(cancellationToken);
    }

    /// <summary>The district of a code; without a code the only one there is.</summary>
    /// <exception cref="RollcallException">There is none, or it is not clear which one is meant.</exception>
    public async Task<District> ResolveAsync(string? code, CancellationToken cancellationToken = default)
    {
        var districts = await ListAsync(cancellationToken);
        if (code is not null)
        {
            return districts.FirstOrDefault(d => string.Equals(d.Code, code.Trim(), StringComparison.OrdinalIgnoreCase))
                ?? throw new RollcallException($"There is no district {code}. 'rollcall district list' shows those there are.");
        }

        return districts.Count switch
        {
            1 => districts[0],
            0 => throw new RollcallException("There is no district yet. Add one: rollcall district add CODE --name NAME."),
            _ => throw new RollcallException($"There are {districts.Count} districts. Say which one: --district CODE."),
        };
    }

    /// <summary>Lets a district use a ClassLink tenant. The district's audit says so.</summary>
    /// <exception cref="RollcallException">The number is no tenant, or another district has it.</exception>
    public async Task AllowTenantAsync(District district, string tenantId, string actor, CancellationToken cancellationToken = default)
    {
        if (!TenantId.TryParse(tenantId, out var tenant))
        {
            throw RollcallException.OfValue(
                $"'{Text.Cut(tenantId, 20)}' is no Tenant ID: it is a number of up to ten digits, shown at the top of the ClassLink Management Console."
            );
        }

        await using var context = database.CreateContextAsOwner();
        var owner = await context.DistrictTenants.SingleOrDefaultAsync(t => t.TenantId == tenant, cancellationToken);
        if (owner is not null && owner.DistrictId != district.Id)
        {
            throw new RollcallException(
                $"Tenant {tenant} belongs to another district of this installation. One tenant belongs to one district; check the number."
            );
        }

        // What the district asked for is decided by this, whichever tenant it gets.
        var asked = TenantRequests.Key(district.Id);
        await context.InstallationSettings.Where(s => s.Key == asked).ExecuteDeleteAsync(cancellationToken);
        if (owner is null)
        {
            context.DistrictTenants.Add(
                new DistrictTenant
                {
                    TenantId = tenant,
                    DistrictId = district.Id,
                    AllowedAt = time.GetUtcNow(),
                }
            );
            TenantRequests.Note(context, district.Id, time.GetUtcNow(), actor, $"The operator allowed tenant {tenant}");
            try
            {
                await context.SaveChangesAsync(cancellationToken);
            }
            catch (DbUpdateException e) when (e.InnerException is not null && DatabaseErrors.IsUniqueViolation(e.InnerException))
            {
                throw new RollcallException($"Tenant {tenant} has just been given to another district. Check the number.", e);
            }
        }
    }

    /// <summary>Takes a ClassLink tenant back, so that another district can be given it. The district's audit says so.</summary>
    /// <exception cref="RollcallException">The district has no such tenant, or reads its roster with it.</exception>
    public async Task DisallowTenantAsync(District district, string tenantId, string actor, CancellationToken cancellationToken = default)
    {
        // Whatever turns a service on holds the district: it is over and seen below, or finds the tenant gone.
        await using var work = await DistrictTransaction.BeginAsOwnerAsync(database, district.Id, cancellationToken);
        var context = work.Context;
        if (
            !TenantId.TryParse(tenantId, out var tenant)
            || await context
                .DistrictTenants.Where(t => t.TenantId == tenant && t.DistrictId == district.Id)
                .ExecuteDeleteAsync(cancellationToken) == 0
        )
        {
            throw new RollcallException(
                $"{district.Name} is not allowed tenant {Text.Cut(tenantId.Trim(), 20)}. All districts, or 'rollcall district list', show which tenants each may use."
            );
        }

        // Connected and off it may stay: nothing is read with a tenant that is another's, and it is not turned on again.
        var row = await context
            .Integrations.AsNoTracking()
            .SingleOrDefaultAsync(i => i.DistrictId == district.Id && i.Kind == IntegrationKind.ClassLink && i.Enabled, cancellationToken);
        if (IntegrationService.SettingsOf(row).TenantId == tenant)
        {
            throw new RollcallException(
                $"{district.Name} is connected with tenant {tenant}. Disconnect it first: connect it with its own tenant, or turn ClassLink off (rollcall classlink off --district {district.Code}). Its patrons stay."
            );
        }

        TenantRequests.Note(context, district.Id, time.GetUtcNow(), actor, $"The operator took tenant {tenant} back");
        await work.CommitAsync(cancellationToken);
    }

    /// <summary>The tenants that each district may use, by its id.</summary>
    public async Task<ILookup<int, string>> TenantsAsync(CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        return (await context.DistrictTenants.AsNoTracking().OrderBy(t => t.TenantId).ToListAsync(cancellationToken)).ToLookup(
            t => t.DistrictId,
            t => t.TenantId
        );
    }

    public static DateOnly Today(District district, TimeProvider time) => DateAt(district, time.GetUtcNow());

    /// <summary>The date at an instant where the district is.</summary>
    public static DateOnly DateAt(District district, DateTimeOffset instant) =>
        DateOnly.FromDateTime(TimeZoneInfo.ConvertTime(instant, district.Zone).DateTime);

    internal static string CleanCode(string code, string what)
    {
        var clean = Text.Clean(code) ?? "";
        if (clean.Length is 0 or > 32 || !clean.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.'))
        {
            throw RollcallException.OfValue($"A {what} code has 1 to 32 letters, digits, '-', '_' and '.', such as NORTH-HIGH.");
        }

        return clean;
    }

    private static string CheckTimeZone(string zone)
    {
        try
        {
            return TimeZoneInfo.FindSystemTimeZoneById(zone.Trim()).Id;
        }
        catch (Exception e) when (e is TimeZoneNotFoundException or InvalidTimeZoneException)
        {
            throw RollcallException.OfValue($"The time zone '{zone}' is not known. Use a name like America/New_York.", e);
        }
    }
}
