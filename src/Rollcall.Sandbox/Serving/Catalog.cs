using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using Rollcall.Sandbox.District;

namespace Rollcall.Sandbox.Serving;

/// <summary>What is served on one day with one set of overrides: the sorted collections, made when first asked for.</summary>
internal sealed class Catalog
{
    /// <summary>Envelope key by collection; the key names the type, not the address.</summary>
    public static readonly Dictionary<string, string> Envelopes = new(StringComparer.Ordinal)
    {
        ["orgs"] = "orgs",
        ["schools"] = "orgs",
        ["academicSessions"] = "academicSessions",
        ["terms"] = "academicSessions",
        ["gradingPeriods"] = "academicSessions",
        ["courses"] = "courses",
        ["classes"] = "classes",
        ["users"] = "users",
        ["students"] = "users",
        ["teachers"] = "users",
        ["enrollments"] = "enrollments",
        ["demographics"] = "demographics",
    };

    private readonly ConcurrentDictionary<string, Lazy<View>> _views = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, Lazy<View>> _selections = new(StringComparer.Ordinal);
    private static int _revisions;
    private readonly OverrideSet _overrides;

    public Catalog(SandboxDistrict district, OverrideSet overrides)
    {
        District = district;
        World = district.World;
        _overrides = overrides;
        Writer = new RowWriter(World);
        Reader = new RowReader(World, Writer);
    }

    public SandboxDistrict District { get; }

    public World World { get; }

    /// <summary>Another one for every state that was ever served.</summary>
    public string Revision { get; } = $"r{Interlocked.Increment(ref _revisions)}";

    public RowWriter Writer { get; }

    public RowReader Reader { get; }

    public View Get(string collection) => _views.GetOrAdd(collection, name => new Lazy<View>(() => Build(name))).Value;

    /// <summary>A view by a key that stands for a filter, an order or a parent; kept, so that the next page need not search again.</summary>
    public View Select(string key, Func<View> make)
    {
        if (_selections.Count > 6)
        {
            _selections.Clear();
        }

        return _selections.GetOrAdd(key, _ => new Lazy<View>(make)).Value;
    }

    /// <summary>The record with this id, or null.</summary>
    public Row? Find(string collection, string id)
    {
        var rows = Get(collection).Rows;
        var low = 0;
        var high = rows.Count - 1;
        while (low <= high)
        {
            var middle = (low + high) / 2;
            var order = string.CompareOrdinal(rows[middle].Id, id);
            if (order == 0)
            {
                return rows[middle];
            }

            if (order < 0)
            {
                low = middle + 1;
            }
            else
            {
                high = middle - 1;
            }
        }

        return null;
    }

    /// <summary>The rows of a view for which a path has this value.</summary>
    public Row[] Where(View view, string path, string value)
    {
        var scratch = new List<string>();
        return Found(
            view.Rows,
            row =>
            {
                Reader.Values(row, path, scratch);
                return scratch.Contains(value, StringComparer.Ordinal);
            }
        );
    }

    public Row[] Where(View view, string path, HashSet<string> values)
    {
        var scratch = new List<string>();
        return Found(
            view.Rows,
            row =>
            {
                Reader.Values(row, path, scratch);
                return scratch.Exists(values.Contains);
            }
        );
    }

    private View Build(string collection) =>
        collection switch
        {
            "schools" => Part("orgs", "type", "school"),
            "terms" => new(
                "academicSessions",
                [.. Get("academicSessions").Rows.Where(row => TypeIs(row, "term") || TypeIs(row, "semester"))]
            ),
            "gradingPeriods" => Part("academicSessions", "type", "gradingPeriod"),
            "students" => World.Options.Api == SandboxApi.OneRoster11
                ? Part("users", "role", "student")
                : Part("users", "roles.role", "student"),
            "teachers" => World.Options.Api == SandboxApi.OneRoster11
                ? Part("users", "role", "teacher")
                : Part("users", "roles.role", "teacher"),
            _ => new(Envelopes[collection], Overridden(collection)),
        };

    private bool TypeIs(Row row, string type)
    {
        var values = new List<string>();
        Reader.Values(row, "type", values);
        return values.Contains(type, StringComparer.Ordinal);
    }

    private View Part(string collection, string path, string value)
    {
        var whole = Get(collection);
        if (collection != "users" || path != "role")
        {
            return new(whole.Envelope, Where(whole, path, value));
        }

        var role = value == "student" ? Role.Student : Role.Teacher;
        return new(
            whole.Envelope,
            Found(
                whole.Rows,
                row =>
                    row.Main is Person person
                        ? person.Role == role
                        : row.Json is { } json && json["role"] is JsonValue text && text.TryGetValue<string>(out var name) && name == value
            )
        );
    }

    private IReadOnlyList<Row> Overridden(string collection)
    {
        if (_overrides.Emptied.Contains(collection))
        {
            return [];
        }

        var own = Own(collection);
        if (!_overrides.Records.TryGetValue(collection, out var records) || records.Count == 0)
        {
            return own;
        }

        List<Row> rows = [.. own.Where(row => !records.ContainsKey(row.Id))];
        rows.AddRange(records.Values.Where(json => json is not null).Select(json => new Row(json!)));
        return [.. rows.Select(row => (row.Id, row)).OrderBy(pair => pair.Id, StringComparer.Ordinal).Select(pair => pair.row)];
    }

    private IReadOnlyList<Row> Own(string collection) =>
        collection switch
        {
            "orgs" => Sorted(District.Orgs.Select(org => new Row(org))),
            "academicSessions" => Sorted(World.Sessions.Select(session => new Row(session))),
            "courses" => Sorted(World.Courses.Select(course => new Row(course))),
            "classes" => Sorted(World.Classes.Select(klass => new Row(klass))),
            "users" => Sorted(World.People.Where(World.IsServed).Select(person => new Row(person))),
            "demographics" => Sorted(
                World
                    .People.Where(person => World.IsServed(person) && World.HasDemographics(person))
                    .Select(person => new Row(person, Kind: RowKind.Demographics))
            ),
            _ => new Enrollments(World),
        };

    /// <summary>The rows for which something holds.</summary>
    public static Row[] Found(IReadOnlyList<Row> rows, Predicate<Row> holds)
    {
        var found = new List<Row>();
        foreach (var row in rows)
        {
            if (holds(row))
            {
                found.Add(row);
            }
        }

        return [.. found];
    }

    private static Row[] Sorted(IEnumerable<Row> source)
    {
        var rows = source.ToArray();
        var keys = Array.ConvertAll(rows, row => row.Id);
        Array.Sort(keys, rows, StringComparer.Ordinal);
        return rows;
    }
}

/// <summary>What tests changed, as it stood when a catalog was made. A null record is a removed one.</summary>
internal sealed record OverrideSet(Dictionary<string, Dictionary<string, JsonObject?>> Records, HashSet<string> Emptied)
{
    public static readonly OverrideSet None = new([], []);
}
