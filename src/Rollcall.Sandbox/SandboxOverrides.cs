using System.Buffers;
using System.Text.Json;
using System.Text.Json.Nodes;
using Rollcall.Sandbox.District;
using Rollcall.Sandbox.Serving;

namespace Rollcall.Sandbox;

/// <summary>
/// Changes of single records for tests. They stay over days until restored, and the ledger knows nothing of them. Collections are the seven
/// bulk ones: <c>orgs academicSessions courses classes users enrollments demographics</c>; students and teachers follow users.
/// </summary>
public sealed class SandboxOverrides
{
    private static readonly string[] Bulk = ["orgs", "academicSessions", "courses", "classes", "users", "enrollments", "demographics"];

    private readonly SandboxServer _server;
    private readonly Lock _gate = new();
    private OverrideSet _set = OverrideSet.None;

    internal SandboxOverrides(SandboxServer server) => _server = server;

    internal OverrideSet Current
    {
        get
        {
            lock (_gate)
            {
                return _set;
            }
        }
    }

    /// <summary>Adds a record, or puts it in the place of the one with its sourcedId. It is served as given, however wrong.</summary>
    public void Put(string collection, JsonObject record) =>
        Update(collection, records => records[Row.IdOf(record)] = (JsonObject)record.DeepClone());

    /// <summary>Lets <paramref name="change"/> edit the JSON of a record as it is served now.</summary>
    /// <exception cref="ArgumentException">Nothing is served under this sourcedId.</exception>
    public void Change(string collection, string sourcedId, Action<JsonObject> change)
    {
        var json = Read(collection, sourcedId) ?? throw new ArgumentException($"'{sourcedId}' is not in {collection}.", nameof(sourcedId));
        change(json);
        Update(
            collection,
            records =>
            {
                // A change of the id itself leaves nothing under the old one.
                records[sourcedId] = null;
                records[Row.IdOf(json)] = json;
            }
        );
    }

    /// <summary>The JSON of a record as it is served now, or null.</summary>
    public JsonObject? Read(string collection, string sourcedId)
    {
        Check(collection);
        var catalog = _server.Catalog;
        if (catalog.Find(collection, sourcedId) is not { } row)
        {
            return null;
        }

        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer, RowWriter.Json))
        {
            catalog.Writer.Write(writer, row, Fields.All);
        }

        return (JsonObject)JsonNode.Parse(buffer.WrittenSpan)!;
    }

    /// <summary>Serves these records no longer.</summary>
    public void Remove(string collection, params IEnumerable<string> sourcedIds)
    {
        string[] ids = [.. sourcedIds];
        Update(
            collection,
            records =>
            {
                foreach (var id in ids)
                {
                    records[id] = null;
                }
            }
        );
    }

    /// <summary>Lets a share of a school's present people vanish, with their demographics.</summary>
    /// <param name="orgSourcedId">The school they mainly belong to.</param>
    /// <param name="share">0 to 1, rounded up to whole people.</param>
    /// <param name="group">Of which role group.</param>
    /// <returns>Their sourcedIds.</returns>
    /// <exception cref="ArgumentException">No such org.</exception>
    public IReadOnlyList<string> RemoveShare(string orgSourcedId, double share, SandboxRoleGroup group = SandboxRoleGroup.Student)
    {
        var world = _server.District.World;
        if (!_server.District.Orgs.Any(org => org.SourcedId == orgSourcedId))
        {
            throw new ArgumentException($"'{orgSourcedId}' is no org of the district.", nameof(orgSourcedId));
        }

        string[] all =
        [
            .. world
                .People.Where(p => p.Presence == SandboxPresence.Present && p.Group == group && world.OrgId(p.School) == orgSourcedId)
                .Select(p => p.Id),
        ];
        var going = all[..Math.Min(all.Length, (int)Math.Ceiling(all.Length * share))];
        Remove("users", going);
        Remove("demographics", going);
        return going;
    }

    /// <summary>The records are served as the district has them again.</summary>
    public void Restore(string collection, params IEnumerable<string> sourcedIds)
    {
        string[] ids = [.. sourcedIds];
        Update(
            collection,
            records =>
            {
                foreach (var id in ids)
                {
                    records.Remove(id);
                }
            }
        );
    }

    /// <summary>Serves the collection without rows.</summary>
    public void Empty(string collection)
    {
        Check(collection);
        lock (_gate)
        {
            _set = _set with { Emptied = new HashSet<string>(_set.Emptied, StringComparer.Ordinal) { collection } };
        }

        _server.Refresh();
    }

    /// <summary>All as the district has it.</summary>
    public void Clear()
    {
        lock (_gate)
        {
            _set = OverrideSet.None;
        }

        _server.Refresh();
    }

    private void Update(string collection, Action<Dictionary<string, JsonObject?>> update)
    {
        Check(collection);
        lock (_gate)
        {
            // Catalogs in use keep the set they were made with.
            var all = new Dictionary<string, Dictionary<string, JsonObject?>>(_set.Records, StringComparer.Ordinal);
            var records = all.TryGetValue(collection, out var old)
                ? new Dictionary<string, JsonObject?>(old, StringComparer.Ordinal)
                : new Dictionary<string, JsonObject?>(StringComparer.Ordinal);
            update(records);
            all[collection] = records;
            _set = _set with { Records = all };
        }

        _server.Refresh();
    }

    private static void Check(string collection)
    {
        if (!Bulk.Contains(collection, StringComparer.Ordinal))
        {
            throw new ArgumentException($"'{collection}' is not one of {string.Join(", ", Bulk)}.", nameof(collection));
        }
    }
}
