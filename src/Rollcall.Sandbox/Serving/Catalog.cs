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
        return View.PlaceOf(rows, id) is var place and >= 0 ? rows[place] : null;
    }

    /// <summary>The rows of a view for which a path has this value.</summary>
    public IReadOnlyList<Row> Where(View view, string path, string value)
    {
        var scratch = new List<string>();
        return View.Found(
            view.Rows,
            row =>
            {
                Reader.Values(row, path, scratch);
                return scratch.Contains(value, StringComparer.Ordinal);
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
            View.Found(
                whole.Rows,
                row =>
                    row.Kind == RowKind.User
                        ? row.Person.Role == role
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

        // Of those that are put in, the complement of their place stands among the places of the others.
        Row[] put =
        [
            .. records.Values.Where(json => json is not null).Select(json => new Row(json!)).OrderBy(row => row.Id, StringComparer.Ordinal),
        ];
        var taken = records.Keys.Select(id => View.PlaceOf(own, id)).Where(place => place >= 0).ToHashSet();
        var places = new List<int>(own.Count + put.Length);
        var next = 0;
        foreach (var (i, row) in put.Index())
        {
            var before = View.PlaceOf(own, row.Id);
            Pass(before < 0 ? ~before : before);
            places.Add(~i);
        }

        Pass(own.Count);
        return View.Of([.. places], place => place < 0 ? put[~place] : own[place]);

        void Pass(int end)
        {
            for (; next < end; next++)
            {
                if (!taken.Contains(next))
                {
                    places.Add(next);
                }
            }
        }
    }

    private IReadOnlyList<Row> Own(string collection) =>
        collection switch
        {
            "orgs" => Sorted(District.Orgs.Select(org => new Row(org))),
            "academicSessions" => Sorted(World.Sessions.Select(session => new Row(session))),
            "courses" => Sorted(World.Courses.Select(course => new Row(course))),
            "classes" => Classes(),
            "users" => View.Of(Array.FindAll(World.ById, Served), number => new Row(new Person(World, number))),
            "demographics" => View.Of(
                Array.FindAll(World.ById, number => Served(number) && World.HasDemographics(new Person(World, number))),
                number => new Row(new Person(World, number), RowKind.Demographics)
            ),
            _ => new Enrollments(World),
        };

    private bool Served(int number) => World.IsServed(new Person(World, number));

    private IReadOnlyList<Row> Classes()
    {
        string[] keys = [.. World.Classes.Select(klass => klass.Id)];
        int[] numbers = [.. Enumerable.Range(1, keys.Length)];
        Array.Sort(keys, numbers, StringComparer.Ordinal);
        return View.Of(numbers, number => new Row(new Klass(World, number)));
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
