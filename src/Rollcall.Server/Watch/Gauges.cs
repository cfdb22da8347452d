using System.Diagnostics.Metrics;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Storage;

namespace Rollcall.Server.Watch;

/// <summary>What stands in the database, as numbers that go up and down: every node shows the same. Read beside the asking, so that whoever
/// asks for metrics never waits for the database; while it is away, these numbers are missing rather than old.</summary>
internal sealed class Gauges : BackgroundService
{
    private static readonly TimeSpan s_every = TimeSpan.FromSeconds(15);

    private readonly Meter _meter = new(OperationMeters.Name);
    private readonly RollcallDatabase _database;
    private readonly NodeHealth _health;
    private readonly TimeProvider _time;
    private readonly ILogger<Gauges> _logger;
    private volatile Reading? _reading;
    private volatile IReadOnlyList<ReadyCheck> _checks = [];

    public Gauges(RollcallDatabase database, NodeHealth health, TimeProvider time, ILogger<Gauges> logger)
    {
        _database = database;
        _health = health;
        _time = time;
        _logger = logger;
        _meter.CreateObservableGauge("rollcall.queue", Queue, description: "Operations by where they stand");
        _meter.CreateObservableGauge("rollcall.queue.wait", Wait, "s", "How long the operation that could run has waited longest");
        _meter.CreateObservableGauge(
            "rollcall.district.synced",
            () => Each(d => d.SyncedAt is { } at ? at.ToUnixTimeSeconds() : null),
            description: "When a district's last complete sync began, in Unix seconds"
        );
        _meter.CreateObservableGauge(
            "rollcall.district.missing",
            () => Each(d => d.Missing),
            "s",
            "How long ago the first of a district's nights was due of which none has succeeded since; 0 when none is missing"
        );
        _meter.CreateObservableGauge(
            "rollcall.district.held",
            () => Each(d => d.Held),
            description: "Changes of a district that wait for an approval"
        );
        _meter.CreateObservableGauge(
            "rollcall.district.stopped",
            () => Each(d => d.Stopped ? 1 : 0),
            description: "1 when a district's Daily Operations are stopped until somebody sees to it"
        );
        _meter.CreateObservableGauge("rollcall.notices", Notices, description: "Notices that are to be sent, or could not be");
        _meter.CreateObservableGauge("rollcall.ready", Ready, description: "1 for each check of this node's readiness that holds");
        _meter.CreateObservableGauge("rollcall.disk.free", Free, "By", "Room where this node's data folder is");
    }

    /// <param name="Code">The district's.</param>
    /// <param name="SyncedAt">When its last complete sync began.</param>
    /// <param name="Missing">Seconds since the first of its nights was due of which none has succeeded; null where none are wanted.</param>
    /// <param name="Stopped">Its nights are stopped.</param>
    /// <param name="Held">Changes that wait.</param>
    private sealed record DistrictReading(string Code, DateTimeOffset? SyncedAt, long? Missing, bool Stopped, long Held);

    private sealed record Reading(
        IReadOnlyDictionary<string, long> Queue,
        DateTimeOffset? WaitingSince,
        IReadOnlyList<DistrictReading> Districts,
        IReadOnlyDictionary<NoticeStatus, int> Notices
    );

    /// <summary>Another installation of the same process has instruments of the same names.</summary>
    internal bool Owns(Instrument instrument) => instrument.Meter == _meter;

    public override void Dispose()
    {
        _meter.Dispose();
        base.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                _checks = await _health.LookAsync(stoppingToken);
                _reading = await ReadAsync(stoppingToken);
            }
            catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e)
            {
                _reading = null;
                _logger.LogWarning("The numbers for metrics cannot be read, trying again: {Message}", DatabaseErrors.Reason(e));
            }

            await Task.Delay(s_every, _time, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task<Reading> ReadAsync(CancellationToken cancellationToken)
    {
        await using var context = _database.CreateContext();
        var now = _time.GetUtcNow();
        var open = await context
            .Operations.AsNoTracking()
            .Where(o =>
                o.Status == OperationStatus.Waiting || o.Status == OperationStatus.Running || o.Status == OperationStatus.NeedsApproval
            )
            .Select(o => new
            {
                o.DistrictId,
                o.Status,
                o.CreatedAt,
                o.ApprovedAt,
                o.NotBefore,
                o.TakenAt,
                o.Counts,
                o.LeaseUntil,
            })
            .ToListAsync(cancellationToken);

        // By the database's clock, as leases are.
#pragma warning disable EF1002 // The expression is the program's own.
        var clock = await context
            .Database.SqlQueryRaw<long>($"SELECT {_database.Bulk.NowMilliseconds} AS \"Value\"")
            .SingleAsync(cancellationToken);
#pragma warning restore EF1002
        var due = open.Where(o => o.Status == OperationStatus.Waiting && (o.NotBefore is null || o.NotBefore <= now)).ToList();

        // What waits for its own district's turn waits for no node, and what somebody approved or put back today did not wait before.
        var busy = open.Where(o => o.Status == OperationStatus.Running).Select(o => o.DistrictId).ToHashSet();
        var able = due.Where(o => !busy.Contains(o.DistrictId))
            .Select(o =>
                Latest(
                    o.CreatedAt,
                    o.ApprovedAt,
                    o.NotBefore,
                    o.TakenAt is { } putBack ? DateTimeOffset.FromUnixTimeMilliseconds(putBack) : null
                )
            )
            .ToList();
        var held = open.Where(o => o.Status == OperationStatus.NeedsApproval)
            .GroupBy(o => o.DistrictId)
            .ToDictionary(g => g.Key, g => g.Sum(o => OperationQueue.CountsOf(new Operation { Counts = o.Counts }).Held));
        var districts = await context
            .Integrations.AsNoTracking()
            .Where(i => i.Enabled)
            .Join(context.Districts, i => i.DistrictId, d => d.Id, (i, d) => new { Integration = i, District = d })
            .ToListAsync(cancellationToken);

        // A night whose changes wait for somebody, or that was undone since, had come to its end.
        var ids = districts.ConvertAll(d => d.District.Id);
        var lately = DateOnly.FromDateTime(now.UtcDateTime).AddDays(-60);
        var nights = await context
            .Operations.Where(o => ids.Contains(o.DistrictId) && o.DailyDate >= lately && o.FinishedAt != null)
            .Where(o => o.Status != OperationStatus.Failed && o.Status != OperationStatus.Cancelled)
            .GroupBy(o => o.DistrictId)
            .Select(g => new { g.Key, Last = g.Max(o => o.DailyDate) })
            .ToDictionaryAsync(g => g.Key, g => g.Last, cancellationToken);
        var notices = await context
            .Notices.Where(n => n.Status != NoticeStatus.Sent)
            .GroupBy(n => n.Status)
            .Select(g => new { g.Key, Count = g.Count() })
            .ToDictionaryAsync(g => g.Key, g => g.Count, cancellationToken);
        return new Reading(
            new Dictionary<string, long>(StringComparer.Ordinal)
            {
                ["waiting"] = due.Count,
                ["tried later"] = open.Count(o => o.Status == OperationStatus.Waiting) - due.Count,
                ["running"] = open.Count(o => o.Status == OperationStatus.Running && o.LeaseUntil >= clock),
                ["left alone"] = open.Count(o => o.Status == OperationStatus.Running && o.LeaseUntil < clock),
                ["needs approval"] = open.Count(o => o.Status == OperationStatus.NeedsApproval),
            },
            able.Count == 0 ? null : able.Min(),
            [
                .. districts.Select(d =>
                {
                    var state = IntegrationService.StateOf(d.Integration);
                    var daily = IntegrationService.SettingsOf(d.Integration).Daily;
                    var synced = state.ChangesSince ?? state.LastFullAt;
                    var missing = DailySchedule.MissingSince(daily, d.District.Zone, now, nights.GetValueOrDefault(d.District.Id), synced);
                    return new DistrictReading(
                        d.District.Code,
                        synced,
                        daily is not { At: not null, StoppedBecause: null } ? null
                            : missing is { } due ? (long)(now - due).TotalSeconds
                            : 0,
                        daily is { At: not null, StoppedBecause: not null },
                        held.GetValueOrDefault(d.Integration.DistrictId)
                    );
                }),
            ],
            notices
        );
    }

    private static DateTimeOffset Latest(DateTimeOffset first, params ReadOnlySpan<DateTimeOffset?> others)
    {
        foreach (var other in others)
        {
            first = other > first ? other.Value : first;
        }

        return first;
    }

    private IEnumerable<Measurement<long>> Queue() =>
        _reading is { } reading ? reading.Queue.Select(q => new Measurement<long>(q.Value, Tag("state", q.Key))) : [];

    private IEnumerable<Measurement<double>> Wait() =>
        _reading is { } reading
            ? [new Measurement<double>(reading.WaitingSince is { } since ? Math.Max(0, (_time.GetUtcNow() - since).TotalSeconds) : 0)]
            : [];

    private IEnumerable<Measurement<long>> Each(Func<DistrictReading, long?> value) =>
        _reading is { } reading
            ? reading
                .Districts.Select(d => (d.Code, Value: value(d)))
                .Where(d => d.Value is not null)
                .Select(d => new Measurement<long>(d.Value!.Value, Tag("district", d.Code)))
            : [];

    private IEnumerable<Measurement<long>> Notices() =>
        _reading is { } reading
            ?
            [
                new(reading.Notices.GetValueOrDefault(NoticeStatus.Waiting), Tag("status", "waiting")),
                new(reading.Notices.GetValueOrDefault(NoticeStatus.Failed), Tag("status", "failed")),
            ]
            : [];

    private IEnumerable<Measurement<long>> Ready() =>
        _checks.Select(c => new Measurement<long>(c.Trouble is null ? 1 : 0, Tag("check", c.Name)));

    private IEnumerable<Measurement<long>> Free() => _health.FreeBytes() is { } free ? [new Measurement<long>(free)] : [];

    private static KeyValuePair<string, object?> Tag(string name, string value) => new(name, value);
}
