using System.Text.Json.Nodes;
using Rollcall.Sandbox.District;

namespace Rollcall.Sandbox.Serving;

/// <summary>
/// One record of a collection: a thing of the district, or JSON that a test put in its place. An enrollment is a person and a class.
/// </summary>
internal readonly record struct Row(object Main, Klass? Class = null, RowKind Kind = RowKind.Plain, bool Stale = false)
{
    public JsonObject? Json => Main as JsonObject;

    public string Id =>
        Main switch
        {
            Person p when Class is null => p.Id,
            Person p => EnrollmentId(p, Class),
            Klass c => c.Id,
            Course c => c.Id,
            Session s => s.Id,
            SandboxOrg o => o.SourcedId,
            JsonObject json => IdOf(json),
            _ => "",
        };

    // Built so that people's order and classes' order give the order of ids.
    public static string EnrollmentId(Person person, Klass klass) => $"E{person.Number:D8}-{klass.Number:D6}";

    public static string IdOf(JsonObject json) =>
        json.TryGetPropertyValue("sourcedId", out var id) && id is JsonValue value && value.TryGetValue<string>(out var text) ? text : "";
}

/// <summary>What a row says of its person.</summary>
internal enum RowKind : byte
{
    Plain,
    Demographics,

    /// <summary>A student's enrollment.</summary>
    Seat,

    /// <summary>A student's enrollment that ended.</summary>
    FormerSeat,
    Teacher,
    SecondTeacher,
}

/// <summary>A collection as served: sorted by sourcedId.</summary>
internal sealed record View(string Envelope, IReadOnlyList<Row> Rows);
