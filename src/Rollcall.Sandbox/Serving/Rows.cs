using System.Text.Json.Nodes;
using Rollcall.Sandbox.District;

namespace Rollcall.Sandbox.Serving;

/// <summary>One record of a collection. An enrollment is a person and a class.</summary>
internal readonly record struct Row
{
    public Row(Person person, RowKind kind = RowKind.User)
    {
        Person = person;
        Kind = kind;
    }

    public Row(Person person, Klass klass, RowKind kind)
    {
        Person = person;
        Class = klass;
        Kind = kind;
    }

    public Row(Klass klass)
    {
        Class = klass;
        Kind = RowKind.Class;
    }

    /// <param name="thing">A <see cref="Course"/>, <see cref="Session"/> or <see cref="SandboxOrg"/>, or JSON that a test put in the place of
    /// a record.</param>
    public Row(object thing) => Thing = thing;

    public object? Thing { get; }

    public Person Person { get; }

    public Klass Class { get; }

    public RowKind Kind { get; }

    /// <summary>As it was a while ago: what some servers send beside the current one.</summary>
    public bool Stale { get; init; }

    public JsonObject? Json => Thing as JsonObject;

    public bool IsEnrollment => Kind >= RowKind.Seat;

    public string Id =>
        Kind switch
        {
            RowKind.User or RowKind.Demographics => Person.Id,
            RowKind.Class => Class.Id,
            RowKind.Thing => Thing switch
            {
                Course c => c.Id,
                Session s => s.Id,
                SandboxOrg o => o.SourcedId,
                JsonObject json => IdOf(json),
                _ => "",
            },

            // Built so that people's order and classes' order give the order of ids.
            _ => $"E{Person.Number:D8}-{Class.Number:D6}",
        };

    public static string IdOf(JsonObject json) =>
        json.TryGetPropertyValue("sourcedId", out var id) && id is JsonValue value && value.TryGetValue<string>(out var text) ? text : "";
}

/// <summary>What a row is.</summary>
internal enum RowKind : byte
{
    Thing,
    Class,
    User,
    Demographics,

    /// <summary>A student's enrollment.</summary>
    Seat,

    /// <summary>A student's enrollment that ended.</summary>
    FormerSeat,
    Teacher,
    SecondTeacher,
}

/// <summary>A collection as served: sorted by sourcedId.</summary>
internal sealed record View(string Envelope, IReadOnlyList<Row> Rows)
{
    /// <summary>Of large collections only places are held.</summary>
    public static IReadOnlyList<Row> Of(int[] places, Func<int, Row> row) => new Made<Row>(places.Length, i => row(places[i]));

    /// <summary>The rows for which something holds.</summary>
    public static IReadOnlyList<Row> Found(IReadOnlyList<Row> rows, Predicate<Row> holds)
    {
        var places = new List<int>();
        var place = 0;
        foreach (var row in rows)
        {
            if (holds(row))
            {
                places.Add(place);
            }

            place++;
        }

        return Of([.. places], i => rows[i]);
    }

    /// <summary>Where a record is, or the complement of where it would be.</summary>
    public static int PlaceOf(IReadOnlyList<Row> rows, string id)
    {
        var (low, high) = (0, rows.Count - 1);
        while (low <= high)
        {
            var middle = (low + high) / 2;
            switch (string.CompareOrdinal(rows[middle].Id, id))
            {
                case 0:
                    return middle;
                case < 0:
                    low = middle + 1;
                    break;
                default:
                    high = middle - 1;
                    break;
            }
        }

        return ~low;
    }
}
