using System.Data.Common;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.Logging;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Storage;

namespace Rollcall.Operations;

/// <summary>Daily Operations: looks at the clock and queues what is due, once for each local date of a district. The date's row in the
/// operation table is the judge, so that any number of nodes may look, and one that was down catches up once.</summary>
public sealed class DailySchedule(RollcallDatabase database, OperationQueue queue, TimeProvider time, ILogger<DailySchedule> logger)
{
    private readonly System.Collections.Concurrent.ConcurrentDictionary<int, string> _unknownZones = new();

    /// <summary>Who asks, in logs and lists.</summary>
    public const string Actor = "Daily Operations";

    /// <summary>The time proposed to a district that has none: around four in the morning, each at another minute, so that a vendor's many
    /// districts do not all begin at once.</summary>
    public static TimeOnly Proposed(int districtId) => new TimeOnly(4, 0).AddMinutes((districtId - 1) * 7 % 60);

    /// <summary>Queues every district's run that is due and not there yet.</summary>
    /// <param name="alive">Hears of each district that was looked at: when many are due at once, queueing them takes its time.</param>
    /// <param name="cancellationToken">Gives up; what is queued stays so.</param>
    /// <returns>The operations queued by this call.</returns>
    public async Task<IReadOnlyList<long>> EnqueueDueAsync(Action? alive = null, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        var enabled = await context
            .Integrations.AsNoTracking()
            .Where(i => i.Enabled)
            .Join(context.Districts.AsNoTracking(), i => i.DistrictId, d => d.Id, (i, d) => new { Integration = i, District = d })
            .OrderBy(x => x.District.Id)
            .ToListAsync(cancellationToken);
        var now = time.GetUtcNow();
        var queued = new List<long>();

        // Asked once for all of them: most have had their night. No zone's yesterday is further back than this.
        var districts = enabled.ConvertAll(x => x.District.Id);
        var since = DateOnly.FromDateTime(now.UtcDateTime).AddDays(-2);
        var taken = (
            await context
                .Operations.Where(o => districts.Contains(o.DistrictId) && o.DailyDate >= since)
                .Select(o => new { o.DistrictId, o.DailyDate })
                .ToListAsync(cancellationToken)
        )
            .Select(o => (o.DistrictId, o.DailyDate))
            .ToHashSet();
        await EveryDistrict.DoAsync(
            enabled,
            x => x.District,
            x => LookAsync(x.District, x.Integration),
            logger,
            "what is due",
            cancellationToken,
            alive
        );
        return queued;

        async Task LookAsync(District district, Integration integration)
        {
            var daily = IntegrationService.SettingsOf(integration).Daily;
            if (!district.KnowsZone(out _) && _unknownZones.TryAdd(district.Id, district.TimeZone))
            {
                logger.LogWarning(
                    "The time zone {Zone} of district {District} is not known on this machine: its nights and times are in UTC. Install the system's time zone data (tzdata)",
                    district.TimeZone,
                    district.Code
                );
            }

            if (Due(daily, district.Zone, now) is not { } date || taken.Contains((district.Id, date)))
            {
                return;
            }

            try
            {
                var (id, isNew) = await queue.EnqueueAsync(
                    district.Id,
                    daily.ChangesOnly ? OperationKind.ChangesSync : OperationKind.FullSync,
                    integration.Kind,
                    preview: false,
                    Actor,
                    cancellationToken: cancellationToken,
                    dailyDate: date
                );

                // What is still at work may be yesterday's night: then today's begins when that has ended.
                if (isNew || await context.Operations.AnyAsync(o => o.Id == id && o.DailyDate == date, cancellationToken))
                {
                    queued.Add(id);
                }
            }
            catch (Exception e)
                when ((e as DbException ?? e.InnerException as DbException) is { } fault && DatabaseErrors.IsUniqueViolation(fault))
            {
                // Another node was faster.
            }
        }
    }

    /// <summary>The local date whose run is due: the last time of day that has passed. A time that a clock change skips is due when the
    /// gap ends, one that comes twice the first time.</summary>
    /// <param name="daily">The district's settings.</param>
    /// <param name="zone">The district's time zone.</param>
    /// <param name="now">The instant.</param>
    /// <returns>Null when nothing is due, whatever has run.</returns>
    public static DateOnly? Due(DailyOperations daily, TimeZoneInfo zone, DateTimeOffset now)
    {
        if (daily.At is not { } at || daily.StoppedBecause is not null)
        {
            return null;
        }

        var local = TimeZoneInfo.ConvertTime(now, zone).DateTime;
        var date = DateOnly.FromDateTime(local);
        if (Instant(date, at, zone) > now)
        {
            date = date.AddDays(-1);
        }

        return IsPaused(daily, date) || Instant(date, at, zone) < SinceOf(daily, now) ? null : date;
    }

    /// <summary>When Daily Operations run next, beyond what is done or under way: at once where something is due.</summary>
    /// <param name="daily">The district's settings.</param>
    /// <param name="zone">The district's time zone.</param>
    /// <param name="now">The instant.</param>
    /// <param name="taken">The local dates that have had their night, or have it now; of those since the day before, all.</param>
    /// <returns>Null when they do not run.</returns>
    public static DateTimeOffset? Next(DailyOperations daily, TimeZoneInfo zone, DateTimeOffset now, IReadOnlySet<DateOnly> taken)
    {
        if (daily is not { At: { } at, StoppedBecause: null })
        {
            return null;
        }

        if (Due(daily, zone, now) is { } due && !taken.Contains(due))
        {
            return now;
        }

        var date = DateOnly.FromDateTime(TimeZoneInfo.ConvertTime(now, zone).DateTime);
        while (true)
        {
            if (daily.Pauses.FirstOrDefault(p => p.From <= date && date <= p.To) is { } pause)
            {
                // Years that no calendar plans for are of settings that were made before they were refused.
                if (pause.To.Year > 2200)
                {
                    return null;
                }

                date = pause.To.AddDays(1);
                continue;
            }

            var instant = Instant(date, at, zone);
            if (instant > now && !(instant < SinceOf(daily, now)) && !taken.Contains(date))
            {
                return instant;
            }

            if (date.Year > 2200)
            {
                return null;
            }

            date = date.AddDays(1);
        }
    }

    /// <summary>When the first of the nights was due of which none has succeeded since.</summary>
    /// <param name="daily">The district's settings.</param>
    /// <param name="zone">The district's time zone.</param>
    /// <param name="now">The instant.</param>
    /// <param name="good">The local date of the last night that came to a good end; null when there was none lately.</param>
    /// <param name="synced">When the last complete sync began, whoever had asked; null when there was none.</param>
    /// <returns>Null when no night is missing.</returns>
    public static DateTimeOffset? MissingSince(
        DailyOperations daily,
        TimeZoneInfo zone,
        DateTimeOffset now,
        DateOnly? good,
        DateTimeOffset? synced
    )
    {
        if (daily is not { At: { } at, StoppedBecause: null })
        {
            return null;
        }

        // A series of nights longer than this is missing either way.
        var from = now.AddDays(-60);
        foreach (var other in (ReadOnlySpan<DateTimeOffset?>)[SinceOf(daily, now), synced])
        {
            from = other > from ? other.Value : from;
        }

        var date = DateOnly.FromDateTime(TimeZoneInfo.ConvertTime(from, zone).DateTime);
        date = good >= date ? good.Value.AddDays(1) : date;
        for (; Instant(date, at, zone) <= now; date = date.AddDays(1))
        {
            if (!IsPaused(daily, date) && Instant(date, at, zone) >= from)
            {
                return Instant(date, at, zone);
            }
        }

        return null;
    }

    private static bool IsPaused(DailyOperations daily, DateOnly date) => daily.Pauses.Any(p => p.From <= date && date <= p.To);

    /// <summary>A clock that had once jumped ahead wrote a time that is still to come: that is none. Clocks of several nodes differ a little.</summary>
    private static DateTimeOffset? SinceOf(DailyOperations daily, DateTimeOffset now) =>
        daily.Since is { } since && since > now.AddDays(1) ? null : daily.Since;

    /// <summary>Why a night that was queued is not to begin any more; null when it may. Between the two lies a line of other work, or hours until
    /// it is tried again.</summary>
    /// <param name="integration">The service as it is now; null when its row is gone.</param>
    /// <param name="kind">The service.</param>
    /// <param name="night">The local date whose night it is.</param>
    /// <param name="today">The date where the district is.</param>
    public static string? ForbiddenBecause(Integration? integration, IntegrationKind kind, DateOnly night, DateOnly today)
    {
        var daily = IntegrationService.SettingsOf(integration).Daily;
        return integration is not { Enabled: true } ? $"{IntegrationWords.Name(kind)} is off: this night did not begin."
            : daily.At is null ? "Daily Operations were switched off before this night began."
            : daily.StoppedBecause is { } why ? $"Daily Operations were stopped before this night began. {why}"
            : daily.Pauses.FirstOrDefault(p => (p.From <= night && night <= p.To) || (p.From <= today && today <= p.To)) is { } pause
                ? string.Create(
                    System.Globalization.CultureInfo.InvariantCulture,
                    $"Daily Operations are paused from {pause.From:yyyy-MM-dd} to {pause.To:yyyy-MM-dd}: this night did not begin."
                )
            : null;
    }

    /// <summary>The instant of a local time of day; the end of the gap when clocks skip it, the earlier one when it comes twice.</summary>
    private static DateTimeOffset Instant(DateOnly date, TimeOnly at, TimeZoneInfo zone)
    {
        var local = date.ToDateTime(at);
        if (zone.IsInvalidTime(local))
        {
            // Gaps are whole quarters of an hour.
            local = date.ToDateTime(new TimeOnly(at.Hour, at.Minute / 15 * 15));
            while (zone.IsInvalidTime(local))
            {
                local = local.AddMinutes(15);
            }
        }

        var offset = zone.IsAmbiguousTime(local) ? zone.GetAmbiguousTimeOffsets(local).Max() : zone.GetUtcOffset(local);
        return new DateTimeOffset(local, offset);
    }
}
