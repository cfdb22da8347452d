using System.Data.Common;
using Rollcall.Patrons;
using Rollcall.Storage;
using Rollcall.Sync.Pull;

namespace Rollcall.Sync.Plan;

/// <summary>A patron as the planner's first pass needs it, in 72 bytes. Texts are keys, 0 where blank.</summary>
[System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Auto)]
internal struct IndexedPatron
{
    private const int BirthDayBits = 22;
    private const int StatusAt = BirthDayBits;
    private const int GroupAt = StatusAt + 3;
    private const int FlagsAt = GroupAt + 2;

    public long Id;
    public ulong Guid;
    public ulong Student;
    public ulong Barcode;
    public ulong Email;
    public ulong Last;
    public ulong First;
    public long SyncHash;
    public int SiteId;

    // Day number of the birthdate, status, role group and five flags.
    private uint _rest;

    /// <summary>Day number of the birthdate; 0 when unknown.</summary>
    public int BirthDay
    {
        readonly get => (int)Get(0, BirthDayBits);
        set => Set(0, BirthDayBits, (uint)value);
    }

    public PatronStatus Status
    {
        readonly get => (PatronStatus)Get(StatusAt, 3);
        set => Set(StatusAt, 3, (uint)value);
    }

    public RoleGroup RoleGroup
    {
        readonly get => (RoleGroup)Get(GroupAt, 2);
        set => Set(GroupAt, 2, (uint)value);
    }

    public bool AbovePatron
    {
        readonly get => Get(FlagsAt, 1) != 0;
        set => Set(FlagsAt, 1, value ? 1u : 0);
    }

    public bool DoNotTransfer
    {
        readonly get => Get(FlagsAt + 1, 1) != 0;
        set => Set(FlagsAt + 1, 1, value ? 1u : 0);
    }

    public bool Linked
    {
        readonly get => Get(FlagsAt + 2, 1) != 0;
        set => Set(FlagsAt + 2, 1, value ? 1u : 0);
    }

    public bool Absent
    {
        readonly get => Get(FlagsAt + 3, 1) != 0;
        set => Set(FlagsAt + 3, 1, value ? 1u : 0);
    }

    private readonly uint Get(int at, int bits) => (_rest >> at) & ((1u << bits) - 1);

    private void Set(int at, int bits, uint value) => _rest = (_rest & ~(((1u << bits) - 1) << at)) | (value << at);
}

/// <summary>All patrons of a district in sorted arrays: what takes objects and texts 600 bytes a patron fits in 120 here. Keys of
/// texts can be shared: a patron found here is confirmed when it is loaded.</summary>
internal sealed class PatronIndex
{
    private readonly Rows<IndexedPatron> _patrons;
    private readonly Lookup _guids;
    private readonly Lookup _aliases;
    private readonly Lookup _students;
    private readonly Lookup _barcodes;
    private readonly Lookup _emails;
    private readonly Dictionary<int, List<ulong>> _aliasesOf;

    private PatronIndex(Rows<IndexedPatron> patrons, List<(ulong Key, int Patron)> aliases)
    {
        _patrons = patrons;
        _guids = Lookup.Of(patrons, static (in IndexedPatron p) => p.Guid);
        _students = Lookup.Of(patrons, static (in IndexedPatron p) => p.Student);
        _barcodes = Lookup.Of(patrons, static (in IndexedPatron p) => p.Barcode);
        _emails = Lookup.Of(patrons, static (in IndexedPatron p) => p.Email);
        _aliases = new Lookup([.. aliases.Select(a => a.Key)], [.. aliases.Select(a => a.Patron)]);
        _aliasesOf = aliases.GroupBy(a => a.Patron).ToDictionary(g => g.Key, g => g.Select(a => a.Key).ToList());
    }

    public int Count => _patrons.Count;

    public ref readonly IndexedPatron this[int index] => ref _patrons[index];

    public ReadOnlySpan<int> ByGuid(ulong guid) => _guids.Find(guid);

    public ReadOnlySpan<int> ByAlias(ulong guid) => _aliases.Find(guid);

    public ReadOnlySpan<int> ByStudent(ulong number) => _students.Find(number);

    public ReadOnlySpan<int> ByBarcode(ulong key) => _barcodes.Find(key);

    public ReadOnlySpan<int> ByEmail(ulong key) => _emails.Find(key);

    public IReadOnlyList<ulong> AliasesOf(int patron) => _aliasesOf.TryGetValue(patron, out var aliases) ? aliases : [];

    public static async Task<PatronIndex> LoadAsync(DbConnection connection, int districtId, Keys keys, CancellationToken cancellationToken)
    {
        await using var command = connection.CreateCommand();
        command.CommandText = """
            SELECT p.id, p.guid, p.community_id, p.barcode_key, p.email_key, p.last_name, p.first_name, p.birthdate, p.status, p.site_id,
                   p."group", p.do_not_transfer, l.role_group, l.sync_hash, l.absent, l.aliases
            FROM patrons p LEFT JOIN patron_links l ON l.district_id = p.district_id AND l.patron_id = p.id
            WHERE p.district_id = @district ORDER BY p.id
            """;
        var parameter = command.CreateParameter();
        parameter.ParameterName = "@district";
        parameter.Value = districtId;
        command.Parameters.Add(parameter);
        await using var reader = await command.ExecuteReaderAsync(cancellationToken);
        var builder = new Builder(keys);
        while (await reader.ReadAsync(cancellationToken))
        {
            builder.Add(
                reader.GetInt64(0),
                Text(reader, 1),
                Text(reader, 2),
                Text(reader, 3),
                Text(reader, 4),
                Text(reader, 5),
                Text(reader, 6),
                PatronFields.ParseDate(Text(reader, 7)),
                (PatronStatus)reader.GetInt32(8),
                reader.IsDBNull(9) ? null : reader.GetInt32(9),
                (SecurityGroup)reader.GetInt32(10),
                reader.GetBoolean(11),
                reader.IsDBNull(12) ? null : (RoleGroup)reader.GetInt32(12),
                reader.IsDBNull(13) ? 0 : reader.GetInt64(13),
                !reader.IsDBNull(14) && reader.GetBoolean(14),
                Text(reader, 15)
            );
        }

        return builder.Build();
    }

    private static string? Text(DbDataReader reader, int ordinal) => reader.IsDBNull(ordinal) ? null : reader.GetString(ordinal);

    private sealed class Builder(Keys keys)
    {
        private readonly List<(ulong, int)> _aliases = [];
        private readonly Rows<IndexedPatron> _rows = new();

        public void Add(
            long id,
            string? guid,
            string? communityId,
            string? barcodeKey,
            string? emailKey,
            string? lastName,
            string? firstName,
            DateOnly? birthdate,
            PatronStatus status,
            int? siteId,
            SecurityGroup group,
            bool doNotTransfer,
            RoleGroup? roleGroup,
            long syncHash,
            bool absent,
            string? aliases
        )
        {
            foreach (var alias in aliases?.Split('\n', StringSplitOptions.RemoveEmptyEntries) ?? [])
            {
                _aliases.Add((keys.Of(alias), _rows.Count));
            }

            _rows.Add(
                new IndexedPatron
                {
                    Id = id,
                    Guid = keys.Of(guid),
                    Student = keys.Of(Patrons.Text.Clean(communityId)),
                    Barcode = keys.Of(barcodeKey),
                    Email = keys.Of(emailKey),
                    Last = keys.Of(Patrons.Text.NameKey(lastName)),
                    First = keys.Of(Patrons.Text.NameKey(firstName)),
                    BirthDay = birthdate?.DayNumber ?? 0,
                    Status = status,
                    SiteId = siteId ?? 0,
                    AbovePatron = group > SecurityGroup.Patron,
                    DoNotTransfer = doNotTransfer,
                    Linked = roleGroup is not null,
                    RoleGroup = roleGroup ?? RoleGroup.None,
                    SyncHash = syncHash,
                    Absent = absent,
                }
            );
        }

        public PatronIndex Build() => new(_rows, _aliases);
    }
}

/// <summary>Hash → positions, as two sorted arrays.</summary>
internal sealed class Lookup
{
    private readonly ulong[] _keys;
    private readonly int[] _items;

    public Lookup(ulong[] keys, int[] items)
    {
        _keys = keys;
        _items = items;
        Array.Sort(_keys, _items);
    }

    /// <summary>Reads a row's key.</summary>
    public delegate ulong KeyOf<T>(in T row);

    /// <summary>Blank keys (0) are left out: blank never matches anything.</summary>
    public static Lookup Of<T>(Rows<T> rows, KeyOf<T> key)
        where T : struct
    {
        var count = 0;
        foreach (ref var row in rows)
        {
            if (key(row) != 0)
            {
                count++;
            }
        }

        var keys = new ulong[count];
        var items = new int[count];
        count = 0;
        for (var i = 0; i < rows.Count; i++)
        {
            if (key(rows[i]) is not 0 and var value)
            {
                keys[count] = value;
                items[count++] = i;
            }
        }

        return new Lookup(keys, items);
    }

    public ReadOnlySpan<int> Find(ulong key)
    {
        if (key == 0)
        {
            return [];
        }

        var (from, count) = Sorted.Range(_keys, key);
        return _items.AsSpan(from, count);
    }
}
