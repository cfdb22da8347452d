using System.Text.Json;
using System.Text.Json.Serialization;
using Rollcall.Operations;

namespace Rollcall.Bench;

/// <summary>What a child process is asked to do. Fields that a task does not need stay at their defaults.</summary>
internal sealed record Order
{
    public required string Task { get; init; }

    /// <summary>The sandbox's address.</summary>
    public string Url { get; init; } = "";

    /// <summary>The installation's data folder.</summary>
    public string Folder { get; init; } = "";

    /// <summary>A PostgreSQL connection; null is SQLite in the folder.</summary>
    public string? Connection { get; init; }

    /// <summary>Another folder and connection, for the floor's own database.</summary>
    public string TargetFolder { get; init; } = "";
    public string? TargetConnection { get; init; }

    /// <summary>Roster people of ticked roles that the sandbox shall have.</summary>
    public int People { get; init; }

    /// <summary>The sandbox's day, for the clock.</summary>
    public int Day { get; init; }

    /// <summary>The sandbox goes by the machine's clock, as the server does that visitors ask: a sign-in compares both.</summary>
    public bool IsTrueClock { get; init; }

    /// <summary>Only what changed is pulled.</summary>
    public bool ChangesOnly { get; init; }

    /// <summary>The same kind of sync is done before, in this process, and then the sandbox goes to this day: how long a server takes that
    /// has been running. Zero: the sync is the first thing that the process does.</summary>
    public int AgainOnDay { get; init; }

    /// <summary>The operation that is taken back.</summary>
    public long Subject { get; init; }

    /// <summary>Homerooms are mapped too, so that sessions, classes and enrollments are read.</summary>
    public bool Homerooms { get; init; }
}

/// <summary>Where the sandbox listens and what it has.</summary>
internal sealed record SandboxReady(string Url, long Ticked, IReadOnlyList<School> Schools, double Seconds);

internal sealed record School(string SourcedId, string Name);

/// <summary>A whole database's patrons in a few numbers: equal numbers mean that no row was written.</summary>
internal sealed record PatronState(long Patrons, long People, long Links, long Versions, long LastUpdate);

/// <summary>What a child process measured.</summary>
internal sealed record Measured
{
    public double Seconds { get; init; }

    /// <summary>Processor time of the measuring process alone, over the measured span.</summary>
    public double Cpu { get; init; }

    /// <summary>The most memory that the process ever held, in MB.</summary>
    public double Peak { get; init; }

    /// <summary>The largest managed heap seen at any report of progress, in MB.</summary>
    public double Heap { get; init; }

    /// <summary>Allocated in all, in MB.</summary>
    public double Allocated { get; init; }

    public long Rows { get; init; }
    public long Bytes { get; init; }

    /// <summary>Seconds until the first page of users was there.</summary>
    public double FirstPage { get; init; }

    /// <summary>Seconds by stage, and by what a stage said that it was doing.</summary>
    public Dictionary<string, double> Parts { get; init; } = [];

    /// <summary>Seconds by what writing changes is made of.</summary>
    public Dictionary<string, double> PartsWriting { get; init; } = [];

    /// <summary>Processor time of this process by what a stage said that it was doing.</summary>
    public Dictionary<string, double> PartsCpu { get; init; } = [];

    /// <summary>The most memory that was resident, in MB, by what a stage said that it was doing.</summary>
    public Dictionary<string, double> PartsMemory { get; init; } = [];

    /// <summary>How long pages took while the work went on, in milliseconds, by page.</summary>
    public Dictionary<string, Waits> Pages { get; init; } = [];

    /// <summary>The same during a later sync, with everybody there.</summary>
    public Dictionary<string, Waits> PagesLater { get; init; } = [];

    /// <summary>The pages that were waited for longest, the longest first.</summary>
    public IReadOnlyList<LongWait> LongWaits { get; init; } = [];

    /// <summary>Why a sync of changes became a full one; null when it did not.</summary>
    public string? FullBecause { get; init; }

    public long OperationId { get; init; }
    public long PlanSize { get; init; }
    public SyncCounts Counts { get; init; } = new();
    public PatronState? Before { get; init; }
    public PatronState? After { get; init; }
}

/// <summary>How long something took, in milliseconds.</summary>
internal sealed record Waits(int Times, double Median, double P99, double Longest);

/// <summary>One wait for a page.</summary>
/// <param name="Milliseconds">How long it took.</param>
/// <param name="At">Seconds since the sync was asked for.</param>
/// <param name="Stage">What the sync was doing before.</param>
/// <param name="Collecting">Milliseconds of it in which the process stood still for its garbage collector.</param>
internal sealed record LongWait(string Page, double Milliseconds, double At, string Stage, double Collecting);

internal static class Wire
{
    public static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web)
    {
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    };
}
