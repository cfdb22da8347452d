using System.Buffers;
using System.Globalization;
using System.Text.Json;
using Rollcall.Sandbox.District;

namespace Rollcall.Sandbox.Serving;

/// <summary>
/// The values of a record by path (<c>orgs.sourcedId</c>), for filters and sorting. What consumers ask often is read from the record; all
/// else from its JSON.
/// </summary>
internal sealed class RowReader(World world, RowWriter writer)
{
    public void Values(Row row, string path, List<string> into)
    {
        into.Clear();
        if (row.Json is null && Known(row, path, into))
        {
            return;
        }

        var buffer = new ArrayBufferWriter<byte>(1024);
        using (var json = new Utf8JsonWriter(buffer, RowWriter.Json))
        {
            writer.Write(json, row, Fields.All);
        }

        using var document = JsonDocument.Parse(buffer.WrittenMemory);
        Walk(document.RootElement, path, into);
    }

    public DateTime? Modified(Row row)
    {
        switch (row.Kind)
        {
            case >= RowKind.Seat:
                return writer.EnrollmentTime(row);
            case RowKind.Demographics:
                return world.TimeOf(row.Person.DemographicsModified, row.Person.Number);
            case RowKind.User when !row.Stale:
                return world.TimeOf(row.Person.Modified, row.Person.Number);
            case RowKind.Class:
                return world.TimeOf(row.Class.Modified, -row.Class.Number);
            default:
                var values = new List<string>();
                Values(row, "dateLastModified", values);
                return values.Count == 1 && TryTime(values[0], out var time) ? time : null;
        }
    }

    public static bool TryTime(string text, out DateTime time) =>
        DateTime.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AdjustToUniversal | DateTimeStyles.AssumeUniversal, out time)
        && text.Contains('-', StringComparison.Ordinal);

    private bool Known(Row row, string path, List<string> into)
    {
        if (row.Kind is RowKind.Thing or RowKind.Class || row.Stale)
        {
            return false;
        }

        var p = row.Person;
        if (row.IsEnrollment)
        {
            var klass = row.Class;
            switch (path.ToLowerInvariant())
            {
                case "user.sourcedid":
                    into.Add(p.Id);
                    return true;
                case "class.sourcedid":
                    into.Add(klass.Id);
                    return true;
                case "school.sourcedid":
                    into.Add(klass.School.Id);
                    return true;
                case "role":
                    into.Add(row.Kind is RowKind.Seat or RowKind.FormerSeat ? "student" : "teacher");
                    return true;
                default:
                    return false;
            }
        }

        switch (path.ToLowerInvariant())
        {
            case "sourcedid":
                into.Add(p.Id);
                return true;
            case "status":
                into.Add(world.Status(p));
                return true;
            case "givenname" when row.Kind == RowKind.User:
                into.Add(p.Given.Text);
                return true;
            case "familyname" when row.Kind == RowKind.User:
                into.Add(p.Family.Text);
                return true;
            case "email" when row.Kind == RowKind.User:
                into.Add(World.Email(p));
                return true;
            case "role" when row.Kind == RowKind.User && world.Options.Api == SandboxApi.OneRoster11:
                into.Add(p.Role.ToString());
                return true;
            case "orgs.sourcedid" when row.Kind == RowKind.User && world.Options.Api == SandboxApi.OneRoster11:
                var (first, second) = world.Orgs(p);
                into.Add(world.OrgId(first));
                if (second >= 0)
                {
                    into.Add(world.OrgId(second));
                }

                return true;
            default:
                return false;
        }
    }

    private static void Walk(JsonElement element, string path, List<string> into)
    {
        if (element.ValueKind == JsonValueKind.Array)
        {
            foreach (var item in element.EnumerateArray())
            {
                Walk(item, path, into);
            }
        }
        else if (path.Length == 0)
        {
            if (element.ValueKind is not (JsonValueKind.Object or JsonValueKind.Null))
            {
                into.Add(element.ToString());
            }
        }
        else if (element.ValueKind == JsonValueKind.Object)
        {
            var dot = path.IndexOf('.', StringComparison.Ordinal);
            var name = dot < 0 ? path : path[..dot];
            foreach (var property in element.EnumerateObject())
            {
                if (string.Equals(property.Name, name, StringComparison.OrdinalIgnoreCase))
                {
                    Walk(property.Value, dot < 0 ? "" : path[(dot + 1)..], into);
                }
            }
        }
    }
}
