using Microsoft.EntityFrameworkCore;
using Rollcall.Storage;

namespace Rollcall.Audit;

/// <summary>Which lines of the audit to show; null leaves a filter open.</summary>
/// <param name="From">At or after this instant.</param>
/// <param name="To">Before this instant.</param>
/// <param name="Action">One action, exactly.</param>
/// <param name="Search">Part of who did it or of what they did, case aside.</param>
/// <param name="Before">Lines older than the one with this id.</param>
public sealed record AuditFilter(
    DateTimeOffset? From = null,
    DateTimeOffset? To = null,
    string? Action = null,
    string? Search = null,
    long? Before = null
);

/// <summary>Who did what. Lines are added and read; nothing here changes or removes one.</summary>
public sealed class AuditLog(RollcallDatabase database, TimeProvider time)
{
    /// <summary>Adds a line by itself. What changes something adds its line in the same transaction instead.</summary>
    /// <param name="districtId">The district; 0 for the installation.</param>
    /// <param name="actor">Who.</param>
    /// <param name="action">What kind of thing it was, in a word or two.</param>
    /// <param name="details">What happened, without secrets and personal values.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task AddAsync(int districtId, string actor, string action, string details, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        context.AuditEntries.Add(
            new AuditEntry
            {
                DistrictId = districtId,
                At = time.GetUtcNow(),
                Actor = actor,
                Action = action,
                Details = details,
            }
        );
        await context.SaveChangesAsync(cancellationToken);
    }

    /// <summary>The newest lines that are of no district: operators, passwords, what the installation keeps. For its operator alone.</summary>
    public async Task<IReadOnlyList<AuditEntry>> OfInstallationAsync(int most, CancellationToken cancellationToken = default)
    {
        // The operator may be confined to a district that they administer.
        await using var context = database.CreateContextAsOwner();
        return await context
            .AuditEntries.AsNoTracking()
            .Where(a => a.DistrictId == 0)
            .OrderByDescending(a => a.Id)
            .Take(most)
            .ToListAsync(cancellationToken);
    }

    /// <summary>One page, the newest first, and how many lines there are in all.</summary>
    /// <param name="districtId">The district; 0 for the installation.</param>
    /// <param name="filter">Which lines.</param>
    /// <param name="page">1 is the first.</param>
    /// <param name="size">Lines a page.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<(IReadOnlyList<AuditEntry> Lines, int Total)> PageAsync(
        int districtId,
        AuditFilter filter,
        int page,
        int size,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        var query = context.AuditEntries.AsNoTracking().Where(a => a.DistrictId == districtId);
        if (filter.From is { } from)
        {
            query = query.Where(a => a.At >= from);
        }

        if (filter.To is { } to)
        {
            query = query.Where(a => a.At < to);
        }

        if (filter.Before is { } before)
        {
            query = query.Where(a => a.Id < before);
        }

        if (filter.Action is { } action)
        {
            query = query.Where(a => a.Action == action);
        }

        if (Patrons.Text.Clean(filter.Search) is { } search)
        {
            var ways = Patrons.Text.Searched(search);
            var (one, two, three, four, five) = (ways.One, ways.Two, ways.Three, ways.Four, ways.Five);
#pragma warning disable CA1862 // Databases know no StringComparison.
            query = ways.Several
                ? query.Where(a =>
                    a.Actor.ToLower().Contains(one)
                    || a.Actor.ToLower().Contains(two)
                    || a.Actor.ToLower().Contains(three)
                    || a.Actor.ToLower().Contains(four)
                    || a.Actor.ToLower().Contains(five)
                    || a.Details.ToLower().Contains(one)
                    || a.Details.ToLower().Contains(two)
                    || a.Details.ToLower().Contains(three)
                    || a.Details.ToLower().Contains(four)
                    || a.Details.ToLower().Contains(five)
                )
                : query.Where(a => a.Actor.ToLower().Contains(one) || a.Details.ToLower().Contains(one));
#pragma warning restore CA1862
        }

        var total = await query.CountAsync(cancellationToken);
        return (await query.OrderByDescending(a => a.Id).Skip((page - 1) * size).Take(size).ToListAsync(cancellationToken), total);
    }

    /// <summary>The actions that a district's audit has, sorted.</summary>
    public async Task<IReadOnlyList<string>> ActionsAsync(int districtId, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        return await context
            .AuditEntries.Where(a => a.DistrictId == districtId)
            .Select(a => a.Action)
            .Distinct()
            .OrderBy(a => a)
            .ToListAsync(cancellationToken);
    }
}
