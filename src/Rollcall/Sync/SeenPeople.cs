using System.Collections.Frozen;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using Rollcall.Integrations;
using Rollcall.Operations;

namespace Rollcall.Sync;

/// <summary>Whom a sync of changes, or of one person, read. A full one read everybody, and has nobody here.</summary>
internal sealed class SeenPeople
{
    /// <summary>The name among a preview's options.</summary>
    public const string Name = "seen";

    // A preview of more is as one of everybody.
    private const int MostKept = 1000;

    private readonly FrozenSet<ulong> _read;

    private SeenPeople(IReadOnlyList<long> alive, IReadOnlyList<string>? ids, IEnumerable<ulong> read) =>
        (Alive, Ids, _read) = (alive, ids, read.ToFrozenSet());

    /// <param name="alive">Patrons who are in the roster, not deleted.</param>
    /// <param name="read">The ids of all whom it read, whatever came of them: deleted, skipped, sent to Review.</param>
    public SeenPeople(IReadOnlyList<long> alive, IReadOnlyList<string> read)
        : this(alive, read, read.Select(Key)) { }

    /// <summary>Patrons who are in the roster, not deleted.</summary>
    public IReadOnlyList<long> Alive { get; }

    /// <summary>The ids of all; null where only their hashes are known.</summary>
    public IReadOnlyList<string>? Ids { get; }

    public int Count => _read.Count;

    public bool HasRead(string? id) => id is not null && _read.Contains(Key(id));

    /// <summary>What a preview keeps until it is approved: hashes, which name nobody. Null where they are too many.</summary>
    public object? Kept =>
        _read.Count > MostKept || Alive.Count > MostKept ? null : new { alive = Alive, read = _read.Select(r => (long)r) };

    /// <summary>Whom a preview saw; null where that is not known.</summary>
    public static SeenPeople? Of(Operation preview) =>
        JsonNode.Parse(preview.Options) is JsonObject options && options[Name].Deserialize<Stored>(IntegrationService.Json) is { } stored
            ? new SeenPeople(stored.Alive, null, stored.Read.Select(r => (ulong)r))
            : null;

    private static ulong Key(string id) => XxHash3.HashToUInt64(MemoryMarshal.AsBytes(id.AsSpan()));

    private sealed record Stored(IReadOnlyList<long> Alive, IReadOnlyList<long> Read);
}
