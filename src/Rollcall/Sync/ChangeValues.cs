using System.Buffers;
using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Rollcall.Patrons;

namespace Rollcall.Sync;

/// <summary>Old and new values of the differing fields, as a change row holds them.</summary>
public sealed class ChangeValues
{
    private static readonly JsonWriterOptions s_writer = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    [ThreadStatic]
    private static ArrayBufferWriter<byte>? s_buffer;

    [ThreadStatic]
    private static Utf8JsonWriter? s_json;

    private readonly List<(int Field, string? Old, string? New)> _items = [];

    public IReadOnlyList<(int Field, string? Old, string? New)> Items => _items;

    public int Count => _items.Count;

    public void Add(int field, string? old, string? @new) => _items.Add((field, old, @new));

    /// <summary>Replaces the new value of a field, or adds it.</summary>
    public void SetNew(int field, string? old, string? @new)
    {
        var at = _items.FindIndex(i => i.Field == field);
        if (at < 0)
        {
            _items.Add((field, old, @new));
        }
        else
        {
            _items[at] = (field, _items[at].Old, @new);
        }
    }

    public void Remove(int field) => _items.RemoveAll(i => i.Field == field);

    public bool Has(int field) => _items.Exists(i => i.Field == field);

    public string? Old(int field) => _items.Find(i => i.Field == field).Old;

    public string? New(int field) => _items.Find(i => i.Field == field).New;

    public string ToJson()
    {
        if (_items.Count == 0)
        {
            return "{}";
        }

        var buffer = s_buffer ??= new ArrayBufferWriter<byte>(1024);
        buffer.ResetWrittenCount();
        var writer = s_json ??= new Utf8JsonWriter(buffer, s_writer);
        writer.Reset(buffer);
        writer.WriteStartObject();
        Span<char> name = stackalloc char[8];
        foreach (var (field, old, @new) in _items)
        {
            field.TryFormat(name, out var length, default, CultureInfo.InvariantCulture);
            writer.WriteStartArray(name[..length]);
            Value(writer, old);
            Value(writer, @new);
            writer.WriteEndArray();
        }

        writer.WriteEndObject();
        writer.Flush();
        return System.Text.Encoding.UTF8.GetString(buffer.WrittenSpan);

        static void Value(Utf8JsonWriter writer, string? value)
        {
            if (value is null)
            {
                writer.WriteNullValue();
            }
            else
            {
                writer.WriteStringValue(value);
            }
        }
    }

    public static ChangeValues Parse(string json)
    {
        var values = new ChangeValues();
        if (json.Length <= 2)
        {
            return values;
        }

        var rented = ArrayPool<byte>.Shared.Rent(System.Text.Encoding.UTF8.GetMaxByteCount(json.Length));
        try
        {
            var size = System.Text.Encoding.UTF8.GetBytes(json, rented);
            var reader = new Utf8JsonReader(rented.AsSpan(0, size));
            reader.Read();
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                var field = int.Parse(reader.ValueSpan, CultureInfo.InvariantCulture);
                reader.Read();
                reader.Read();
                var old = reader.GetString();
                reader.Read();
                var @new = reader.GetString();
                reader.Read();
                values.Add(field, old, @new);
            }

            return values;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(rented);
        }
    }
}

/// <summary>The link as a change row holds it.</summary>
internal sealed record LinkState
{
    /// <summary>Stands in a change row for "no link any more".</summary>
    public const string Removed = "removed";

    public string? Aliases { get; init; }
    public RoleGroup RoleGroup { get; init; }
    public string? Username { get; init; }
    public string? Guardians { get; init; }
    public string? HomeroomClass { get; init; }
    public bool LoginDisabled { get; init; }
    public bool Absent { get; init; }
    public PatronStatus? StatusBefore { get; init; }
    public bool LeftSchools { get; init; }
    public long SyncHash { get; init; }

    public static LinkState Of(PatronLink link) =>
        new()
        {
            Aliases = link.Aliases,
            RoleGroup = link.RoleGroup,
            Username = link.Username,
            Guardians = link.Guardians,
            HomeroomClass = link.HomeroomClass,
            LoginDisabled = link.LoginDisabled,
            Absent = link.Absent,
            StatusBefore = link.StatusBefore,
            LeftSchools = link.LeftSchools,
            SyncHash = link.SyncHash,
        };

    public PatronLink ToLink(int districtId, long patronId) =>
        new()
        {
            DistrictId = districtId,
            PatronId = patronId,
            Aliases = Aliases,
            RoleGroup = RoleGroup,
            Username = Username,
            Guardians = Guardians,
            HomeroomClass = HomeroomClass,
            LoginDisabled = LoginDisabled,
            Absent = Absent,
            StatusBefore = StatusBefore,
            LeftSchools = LeftSchools,
            SyncHash = SyncHash,
        };

    public string ToJson() => JsonSerializer.Serialize(this, LinkJson.Default.LinkState);

    /// <summary>Null when the row leaves the link alone or takes it away.</summary>
    public static LinkState? Parse(string? json) =>
        json is null or Removed ? null : JsonSerializer.Deserialize(json, LinkJson.Default.LinkState);
}

[JsonSerializable(typeof(LinkState))]
[JsonSourceGenerationOptions(DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingDefault)]
internal sealed partial class LinkJson : JsonSerializerContext;
