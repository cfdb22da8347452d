using System.Text.Json.Serialization;
using Rollcall.Patrons;

namespace Rollcall.Operations;

/// <summary>What an operation does.</summary>
public enum OperationKind
{
    FullSync = 1,
    ChangesSync = 2,
    Undo = 3,
    Import = 4,
    Export = 5,
    Edit = 6,
    Merge = 7,
    Remove = 8,
    Switch = 9,
    Review = 10,
    PersonSync = 11,

    /// <summary>Takes one person out everywhere.</summary>
    Erase = 12,

    /// <summary>Removes what is older than the district keeps it.</summary>
    Retention = 13,

    /// <summary>Counts what a first sync would meet; changes nobody.</summary>
    Readiness = 14,
}

/// <summary>Where an operation stands.</summary>
public enum OperationStatus
{
    Waiting = 0,
    Running = 1,
    NeedsApproval = 2,
    Preview = 3,
    Completed = 4,
    CompletedWithWarnings = 5,
    Failed = 6,
    Cancelled = 7,
    Discarded = 8,
    Superseded = 9,
    Undone = 10,
}

/// <summary>What a running operation is doing.</summary>
public enum OperationStage
{
    Waiting = 0,
    Pulling = 1,
    Planning = 2,
    Applying = 3,
    Finished = 4,
}

/// <summary>An entry of Operations Management; the table is the queue that workers claim from.</summary>
public sealed class Operation
{
    public long Id { get; set; }
    public int DistrictId { get; set; }
    public OperationKind Kind { get; set; }
    public Integrations.IntegrationKind? Integration { get; set; }
    public OperationStatus Status { get; set; }

    /// <summary>The plan is made and nothing of it is applied before somebody approves.</summary>
    public bool PreviewOnly { get; set; }

    /// <summary>The operation that this one undoes; null for all others.</summary>
    public long? SubjectId { get; set; }

    /// <summary>The local date whose Daily Operations this is; null for all others. Unique in the district.</summary>
    public DateOnly? DailyDate { get; set; }

    /// <summary>Who asked: a person's name, or "Daily Operations", or "command line".</summary>
    public string RequestedBy { get; set; } = "";

    /// <summary>The security group of whoever asked, or of whoever approved since: what their own decision may change. Syncs are nobody's.</summary>
    public SecurityGroup ActingGroup { get; set; } = SecurityGroup.DistrictAdministrator;

    public DateTimeOffset CreatedAt { get; set; }
    public DateTimeOffset? StartedAt { get; set; }
    public DateTimeOffset? FinishedAt { get; set; }

    /// <summary>Unix milliseconds by the database's clock until which a worker holds the operation; 0 when nobody does.</summary>
    public long LeaseUntil { get; set; }

    /// <summary>Raised by every claim; every write of a worker names the one it got.</summary>
    public long Fence { get; set; }

    /// <summary>The process that works on it.</summary>
    public string? Node { get; set; }

    public OperationStage Stage { get; set; }

    /// <summary>What is being counted in words, for the progress line; null outside of work.</summary>
    public string? StageText { get; set; }
    public long Done { get; set; }

    /// <summary>0 when unknown.</summary>
    public long Total { get; set; }

    /// <summary>How much of it is done a second; null while that cannot be said.</summary>
    public double? Rate { get; set; }

    /// <summary>How the operation was set up (roles, mapping, tenant, file), as JSON, for the log's header.</summary>
    public string Options { get; set; } = "{}";

    /// <summary><see cref="SyncCounts"/> as JSON.</summary>
    public string Counts { get; set; } = "{}";

    /// <summary>Grouped warnings (<see cref="WarningGroup"/>) as a JSON array.</summary>
    public string Warnings { get; set; } = "[]";

    /// <summary>Why it failed, in one line; null otherwise.</summary>
    public string? Error { get; set; }

    /// <summary>The plan is complete: its rows count. Before that a worker that takes over deletes them.</summary>
    public bool Planned { get; set; }

    /// <summary>Rows of the plan.</summary>
    public long PlanSize { get; set; }

    /// <summary>Rows with this number or a lower one that are not held are applied.</summary>
    public long AppliedTo { get; set; }

    /// <summary>Held rows with this number or a lower one are applied, after an approval.</summary>
    public long HeldAppliedTo { get; set; }

    public string? ApprovedBy { get; set; }
    public DateTimeOffset? ApprovedAt { get; set; }

    /// <summary>Unix milliseconds by the database's clock at which its worker took it up, or put it back to wait for another one; null when nobody has
    /// had it since it ended, or ever.</summary>
    public long? TakenAt { get; set; }

    /// <summary>Milliseconds that workers have worked on it so far, those that died included; null where nobody counted.</summary>
    public long? WorkedFor { get; set; }

    /// <summary>How long it worked; null while it does. What it waited for an approval, or to be tried again, is not work. Where nobody counted, it
    /// is the time from its start, or from the approval.</summary>
    public TimeSpan? Worked =>
        FinishedAt is not { } end ? null
        : WorkedFor is { } counted ? TimeSpan.FromMilliseconds(counted)
        : (ApprovedAt is { } approved && approved <= end ? approved : StartedAt) is { } start && end >= start ? end - start
        : null;

    /// <summary>When a row was written. What was not held went in before somebody approved the rest, or in a preview after that. An operation may have
    /// waited long for its turn, or for an approval.</summary>
    /// <param name="held">The row had to wait for the approval.</param>
    public DateTimeOffset WrittenAt(bool held) =>
        (ApprovedAt is not null && !held && !PreviewOnly ? StartedAt : FinishedAt ?? StartedAt) ?? CreatedAt;

    /// <summary>Somebody asked to stop it.</summary>
    public bool CancelRequested { get; set; }

    /// <summary>How often it failed and was put back to be tried again by itself.</summary>
    public int Attempts { get; set; }

    /// <summary>How often a worker was taken over from since the operation last got further: since it was planned, wrote a slice, or ended in
    /// words. One that parks it is not counted.</summary>
    public int Takeovers { get; set; }

    /// <summary>A waiting operation is not claimed before; null when it may be at once.</summary>
    public DateTimeOffset? NotBefore { get; set; }

    /// <summary>It failed for now, and is tried again by itself: it looks like any other that waits for its turn.</summary>
    public bool FailedForNow => Status == OperationStatus.Waiting && Error is not null;

    /// <summary>Its plan is being made still, or whatever made it was interrupted: nothing ran, and nothing failed.</summary>
    public bool IsUnfinished => Status == OperationStatus.Failed && !Planned && Error == PlannedOperation.Unfinished;

    /// <summary>What follows from its end is done: notices are queued, trouble that repeats is acted on.</summary>
    public bool Settled { get; set; }

    /// <summary>Its log is older than the district keeps logs: what is left of it is the history of patrons who are still here.</summary>
    public bool Expired { get; set; }
}

/// <summary>The totals of a sync. Every roster person of a ticked role has one outcome.</summary>
public sealed record SyncCounts
{
    public long Read { get; init; }
    public long Created { get; init; }
    public long Updated { get; init; }
    public long Unchanged { get; init; }

    /// <summary>Deleted and absent together.</summary>
    public long Transferred { get; init; }

    /// <summary>Those of <see cref="Transferred"/> whom a verified full pull no longer has.</summary>
    public long Absent { get; init; }

    public long Reactivated { get; init; }
    public long Skipped { get; init; }
    public long Review { get; init; }

    /// <summary>Patrons taken out: by an undo of their creation, a merge or a removal. Never by a sync.</summary>
    public long Removed { get; init; }

    /// <summary>Rows that wait for an approval. They are counted among the outcomes too.</summary>
    public long Held { get; init; }

    /// <summary>Those of <see cref="Created"/> whom the plan held.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long HeldCreated { get; init; }

    /// <summary>Those of <see cref="Updated"/> whom the plan held.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long HeldUpdated { get; init; }

    /// <summary>Those of <see cref="Transferred"/> whom the plan held, absent ones too.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long HeldTransferred { get; init; }

    /// <summary>Those of <see cref="Absent"/> whom the plan held.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long HeldAbsent { get; init; }

    /// <summary>Those of <see cref="Reactivated"/> whom the plan held.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long HeldReactivated { get; init; }

    /// <summary>Those of <see cref="HeldCreated"/> who have been left out of the hold since.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long HeldCreatedLeftOut { get; init; }

    /// <summary>Those of <see cref="HeldUpdated"/> who have been left out of the hold since.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long HeldUpdatedLeftOut { get; init; }

    /// <summary>Those of <see cref="HeldTransferred"/> who have been left out of the hold since, absent ones too.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long HeldTransferredLeftOut { get; init; }

    /// <summary>Those of <see cref="HeldReactivated"/> who have been left out of the hold since.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long HeldReactivatedLeftOut { get; init; }

    /// <summary>Those of <see cref="HeldAbsent"/> who have been left out of the hold since: as they are no more in the roster, they are not counted as
    /// skipped.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long HeldAbsentLeftOut { get; init; }

    public long LinkedGuid { get; init; }
    public long LinkedStudentNumber { get; init; }
    public long LinkedBarcode { get; init; }
    public long LinkedEmail { get; init; }

    /// <summary>The sum of all warnings.</summary>
    public long Warnings { get; init; }

    /// <summary>True when the outcomes add up to the people read.</summary>
    public bool AddUp => Read == Created + Updated + Unchanged + Reactivated + Skipped + Review + Removed + (Transferred - Absent);

    /// <summary>The outcomes without the rows that wait for an approval: <see cref="Held"/> stands beside them. Whoever was held and has been left
    /// out since counts as skipped.</summary>
    public SyncCounts HeldApart() =>
        Held == 0
            ? this
            : this with
            {
                Created = Created - HeldCreated,
                Updated = Updated - HeldUpdated,
                Transferred = Transferred - HeldTransferred,
                Absent = Absent - HeldAbsent,
                Reactivated = Reactivated - HeldReactivated,
                Skipped = Skipped + Math.Max(0, HeldCreated + HeldUpdated + HeldTransferred + HeldReactivated - HeldAbsentLeftOut - Held),
            };

    /// <summary>Of an earlier version, which did not say what the rows would have been that it held.</summary>
    [JsonIgnore]
    internal bool IsOfOldForm => Held > 0 && HeldCreated + HeldUpdated + HeldTransferred + HeldReactivated == 0;

    /// <summary>With these rows, and no others, held by the plan.</summary>
    /// <param name="held">How many, by outcome.</param>
    internal SyncCounts WithHeld(IReadOnlyDictionary<Outcome, long> held)
    {
        var absent = held.GetValueOrDefault(Outcome.Absent);
        return this with
        {
            HeldCreated = held.GetValueOrDefault(Outcome.Created),
            HeldUpdated = held.GetValueOrDefault(Outcome.Updated),
            HeldTransferred = held.GetValueOrDefault(Outcome.Transferred) + absent,
            HeldAbsent = absent,
            HeldReactivated = held.GetValueOrDefault(Outcome.Reactivated),
            HeldCreatedLeftOut = 0,
            HeldUpdatedLeftOut = 0,
            HeldTransferredLeftOut = 0,
            HeldReactivatedLeftOut = 0,
            HeldAbsentLeftOut = 0,
        };
    }

    /// <summary>With these rows left out of the hold since, and those before them.</summary>
    /// <param name="rows">How many, by outcome.</param>
    internal SyncCounts WithLeftOut(IReadOnlyDictionary<Outcome, long> rows)
    {
        var absent = rows.GetValueOrDefault(Outcome.Absent);
        return this with
        {
            HeldCreatedLeftOut = HeldCreatedLeftOut + rows.GetValueOrDefault(Outcome.Created),
            HeldUpdatedLeftOut = HeldUpdatedLeftOut + rows.GetValueOrDefault(Outcome.Updated),
            HeldTransferredLeftOut = HeldTransferredLeftOut + rows.GetValueOrDefault(Outcome.Transferred) + absent,
            HeldReactivatedLeftOut = HeldReactivatedLeftOut + rows.GetValueOrDefault(Outcome.Reactivated),
            HeldAbsentLeftOut = HeldAbsentLeftOut + absent,
        };
    }
}

/// <summary>Warnings of one kind.</summary>
/// <param name="Code">Stable name of the kind.</param>
/// <param name="Message">What is wrong, one line.</param>
/// <param name="Count">How often.</param>
/// <param name="Hint">What to do; null when nothing is to be done.</param>
public sealed record WarningGroup(string Code, string Message, long Count, string? Hint)
{
    /// <summary>The code of what says why changes wait.</summary>
    public const string Held = "held";
}

/// <summary>What one change does. The numbers are stored.</summary>
public enum ChangeKind
{
    Create = 1,
    Update = 2,
    Transfer = 3,
    Reactivate = 4,

    /// <summary>Only the link changes (a first match without differing fields, an absence noted).</summary>
    Link = 5,
    Skip = 6,
    Review = 7,

    /// <summary>Nothing is written, there is something to say.</summary>
    Note = 8,
    Edit = 9,
    Remove = 10,
}

/// <summary>The outcome a person is counted under. The numbers are stored.</summary>
public enum Outcome
{
    None = 0,
    Created = 1,
    Updated = 2,
    Unchanged = 3,
    Transferred = 4,
    Absent = 5,
    Reactivated = 6,
    Skipped = 7,
    Review = 8,
    Removed = 9,
}

/// <summary>The key that matched. The numbers are stored.</summary>
public enum MatchKey
{
    None = 0,
    Guid = 1,
    StudentNumber = 2,
    Barcode = 3,
    Email = 4,

    /// <summary>A re-issued id: the old GUID is gone, a second key and a name or birthdate agree.</summary>
    Reissued = 5,
    Decision = 6,
}

/// <summary>The threshold that a change counts to. The numbers are stored.</summary>
public enum Risk
{
    None = 0,
    Transfers = 1,
    Updates = 2,
    Creates = 3,
}

/// <summary>One row of the one record of plan, log and history.</summary>
public sealed class Change
{
    public int DistrictId { get; set; }
    public long OperationId { get; set; }

    /// <summary>1, 2, 3 … within the operation.</summary>
    public long Number { get; set; }

    public ChangeKind Kind { get; set; }
    public Outcome Outcome { get; set; }

    /// <summary>Null for people who are no patron.</summary>
    public long? PatronId { get; set; }

    /// <summary>The roster's <c>sourcedId</c>; null for hand edits and imports.</summary>
    public string? RosterId { get; set; }

    /// <summary>The patron's site before the run (the new one's for a new patron).</summary>
    public int? SiteId { get; set; }

    public RoleGroup RoleGroup { get; set; }
    public MatchKey MatchedBy { get; set; }

    /// <summary>Waits for an approval.</summary>
    public bool Held { get; set; }

    /// <summary>Takes a barcode that another row of this plan gives up: applied in one slice with it.</summary>
    public bool Chained { get; set; }

    /// <summary>The new patron's barcode is the next one of the site: the site goes on behind it. One that the roster, a file or a person
    /// brought moves no sequence, however much it looks like it.</summary>
    public bool BarcodeDrawn { get; set; }

    /// <summary>The threshold that this change counts to.</summary>
    public Risk Risk { get; set; }

    /// <summary>Ids of the patrons in question, a JSON array, for Review alone.</summary>
    public string? Candidates { get; set; }

    /// <summary>Left out when it was applied, because the patron had changed since the plan.</summary>
    public bool Stale { get; set; }

    /// <summary>Old and new values of the differing fields: JSON keyed by field number, <c>[old, new]</c>.</summary>
    public string Values { get; set; } = "{}";

    /// <summary>The link after this change, as JSON; null when the link does not change.</summary>
    public string? Link { get; set; }

    /// <summary>The link before this change, as JSON, for undo; null when there was none or it does not change.</summary>
    public string? LinkBefore { get; set; }

    public string? Reason { get; set; }
    public string? Warning { get; set; }
}
