using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace Rollcall.Operations;

/// <summary>What whoever watches over an installation can count and trace of its operations. Districts are named by their codes; nothing
/// here names a person, a school or an address.</summary>
public static class OperationMeters
{
    /// <summary>The name of the meter and of the source of traces.</summary>
    public const string Name = "Rollcall";

    internal static readonly Meter Meter = new(Name);
    private static readonly ActivitySource s_source = new(Name);

    private static readonly InstrumentAdvice<double> s_seconds = new()
    {
        HistogramBucketBoundaries = [0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200],
    };

    private static readonly Counter<long> s_ended = Meter.CreateCounter<long>(
        "rollcall.operations.ended",
        description: "Operations that came to an end or to an approval, by district, kind and status"
    );

    private static readonly Counter<long> s_people = Meter.CreateCounter<long>(
        "rollcall.people",
        description: "People of operations that this node brought to an end, by district and outcome as they were written; what waits is 'held' until it is approved, and a preview counts nobody. 'read' are those of the roster or the file"
    );

    private static readonly Counter<long> s_putBack = Meter.CreateCounter<long>(
        "rollcall.operations.put_back",
        description: "Operations that this node gave up without an end: parked at a stop, to be tried later, or taken over by another node"
    );

    private static readonly Histogram<double> s_duration = Meter.CreateHistogram(
        "rollcall.operation.duration",
        "s",
        "How long a node worked on an operation",
        tags: null,
        advice: s_seconds
    );

    private static readonly Histogram<double> s_stage = Meter.CreateHistogram(
        "rollcall.stage.duration",
        "s",
        "How long the stages of operations took",
        tags: null,
        advice: s_seconds
    );

    internal static Work Begin(Operation operation, string district, TimeProvider time) => new(operation, district, time);

    /// <summary>One node's work on one operation, from the claim on.</summary>
    internal sealed class Work : IDisposable
    {
        private readonly SyncCounts _before;
        private readonly string _district;
        private readonly string _kind;
        private readonly TimeProvider _time;
        private readonly (string? Node, long Fence) _claim;
        private readonly long _began;
        private readonly Activity? _trace;
        private Activity? _stageTrace;
        private OperationStage _stage;
        private long _stageBegan;

        public Work(Operation operation, string district, TimeProvider time)
        {
            _before = CountedBefore(operation);
            _district = district;
            _kind = OperationQueue.KindWord(operation.Kind);
            _time = time;
            _claim = (operation.Node, operation.Fence);
            _began = time.GetTimestamp();
            _trace = s_source.StartActivity($"operation {_kind}", ActivityKind.Internal, default(ActivityContext));
            _trace?.SetTag("rollcall.district", district);
            _trace?.SetTag("rollcall.operation", operation.Id);
            _trace?.SetTag(
                "rollcall.requested",
                operation.RequestedBy is DailySchedule.Actor or Retention.RetentionService.Actor ? "by the schedule" : "by a person"
            );
        }

        /// <summary>What has been counted of it already: when the rest of it was held. Plans are counted nowhere: those of imports and bulk work are made
        /// before anybody claims them, and one that is taken over was planned by whoever has ended.</summary>
        private static SyncCounts CountedBefore(Operation operation) =>
            operation is { ApprovedAt: not null, PreviewOnly: false } && OperationQueue.CountsOf(operation) is { Held: > 0 } counts
                ? counts.HeldApart()
                : new SyncCounts();

        public void Enter(OperationStage stage)
        {
            if (stage == _stage)
            {
                return;
            }

            EndStage();
            _stage = stage;
            _stageBegan = _time.GetTimestamp();
            _stageTrace = s_source.StartActivity(Word(stage), ActivityKind.Internal, _trace?.Context ?? default);
        }

        /// <summary>The operation as it stands after the work.</summary>
        public void Left(Operation operation)
        {
            // Whoever sees that it ended sees how long each part of it took.
            EndStage();
            if (operation.Status is not OperationStatus.Waiting && (operation.Node, operation.Fence) != _claim)
            {
                // Whoever took it over counts its end.
                _trace?.SetTag("rollcall.status", "taken over");
                s_putBack.Add(1, Tag("district", _district), Tag("why", "taken over"));
                return;
            }

            var status = OperationQueue.StatusWord(operation.Status);
            _trace?.SetTag("rollcall.status", status);
            if (operation.Status is OperationStatus.Failed)
            {
                _trace?.SetStatus(ActivityStatusCode.Error);
            }

            if (operation.Status is OperationStatus.Waiting)
            {
                var why = operation.NotBefore is null ? "parked" : "tried later";
                s_putBack.Add(1, Tag("district", _district), Tag("why", why));
                return;
            }

            s_ended.Add(1, Tag("district", _district), Tag("kind", _kind), Tag("status", status));
            s_duration.Record(_time.GetElapsedTime(_began).TotalSeconds, Tag("kind", _kind), Tag("status", status));
            if (
                operation.Status
                is not (OperationStatus.NeedsApproval or OperationStatus.Completed or OperationStatus.CompletedWithWarnings)
            )
            {
                // A plan that nobody has approved, or that was not carried out.
                return;
            }

            var after = OperationQueue.CountsOf(operation).HeldApart();
            foreach (
                var (outcome, was, now) in (ReadOnlySpan<(string, long, long)>)
                    [
                        ("read", _before.Read, after.Read),
                        ("created", _before.Created, after.Created),
                        ("updated", _before.Updated, after.Updated),
                        ("unchanged", _before.Unchanged, after.Unchanged),
                        ("transferred", _before.Transferred, after.Transferred),
                        ("reactivated", _before.Reactivated, after.Reactivated),
                        ("removed", _before.Removed, after.Removed),
                        ("skipped", _before.Skipped, after.Skipped),
                        ("review", _before.Review, after.Review),
                        ("held", _before.Held, after.Held),
                    ]
            )
            {
                // Once more after an approval: what was counted when it began to wait is not counted again.
                if (now > was)
                {
                    s_people.Add(now - was, Tag("district", _district), Tag("outcome", outcome));
                }
            }
        }

        public void Dispose()
        {
            EndStage();
            _trace?.Dispose();
        }

        private void EndStage()
        {
            if (_stage is not (OperationStage.Waiting or OperationStage.Finished))
            {
                s_stage.Record(_time.GetElapsedTime(_stageBegan).TotalSeconds, Tag("kind", _kind), Tag("stage", Word(_stage)));
            }

            _stageTrace?.Dispose();
            _stageTrace = null;
            _stage = OperationStage.Waiting;
        }

        private static string Word(OperationStage stage) =>
            stage switch
            {
                OperationStage.Pulling => "pull",
                OperationStage.Planning => "plan",
                OperationStage.Applying => "apply",
                _ => "end",
            };

        private static KeyValuePair<string, object?> Tag(string name, string value) => new(name, value);
    }
}
