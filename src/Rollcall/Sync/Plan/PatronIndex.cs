using System.Data.Common;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.Sync.Plan;

/// <summary>A patron as the planner's first pass needs it, in 64 bytes. Texts are keys, 0 where blank.</summary>
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
    public long SyncHash;
    public uint Last;
    public uint First;
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

    /// <summary>Marked <em>do not transfer</em>, or the library keeps the status: no sync transfers the patron.</summary>
    public bool Spared
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

    /// <summary>The library keeps this patron's Student # or barcode.</summary>
    public bool KeepsKeys
    {
        readonly get => Get(FlagsAt + 4, 1) != 0;
        set => Set(FlagsAt + 4, 1, value ? 1u : 0);
    }

    private readonly uint Get(int at, int bits) => (_rest >> at) & ((1u << bits) - 1);

    private void Set(int at, int bits, uint value) => _rest = (_rest & ~(((1u << bits) - 1) << at)) | (value << at);
}

/// <summary>All patrons of a district: what takes objects and texts 600 bytes a patron fits in 75 here. Keys of
/// texts can be shared: a patron found here is confirmed when it is loaded.</summary>
internal sealed class PatronIndex
{
    private readonly Rows<IndexedPatron> _patrons;
    private readonly Rows<(ulong Key, int Patron)> _aliases;
    private readonly Lookup<IndexedPatron> _byBarcode;
    private readonly Dictionary<int, List<ulong>> _aliasesOf;

    private PatronIndex(Rows<IndexedPatron> patrons, Rows<(ulong Key, int Patron)> aliases)
    {
        _patrons = patrons;
        _aliases = aliases;
        _byBarcode = new(patrons, static (in p) => p.Barcode);
        _aliasesOf = [];
        foreach (var (key, patron) in aliases)
        {
            (_aliasesOf.TryGetValue(patron, out var own) ? own : _aliasesOf[patron] = []).Add(key);
        }
    }

    public int Count => _patrons.Count;

    public ref readonly IndexedPatron this[int index] => ref _patrons[index];

    public ReadOnlySpan<int> ByBarcode(ulong key) => _byBarcode.Find(key);

    /// <summary>The ways to a patron that only matching goes: 10 bytes for each key of each patron, which nobody needs afterwards.</summary>
    public PatronLookups LookUp() => new(_patrons, _aliases);

    public IReadOnlyList<ulong> AliasesOf(int patron) => _aliasesOf.TryGetValue(patron, out var aliases) ? aliases : [];

    public static async Task<PatronIndex> LoadAsync(DbConnection connection, int districtId, Keys keys, CancellationToken cancellationToken)
    {
        await using var command = connection.CreateCommand().AllowLong();
        // Every column costs calls into the database's library, and on SQLite these are most of the time: nothing is null, and what is small comes
        // as one number.
        command.CommandText = """
            SELECT p.id, coalesce(p.guid, ''), coalesce(p.community_id, ''), p.barcode_key, coalesce(p.email_key, ''), p.last_name,
                   coalesce(p.first_name, ''), coalesce(p.birthdate, ''), coalesce(p.site_id, 0), coalesce(l.sync_hash, 0),
                   coalesce(l.aliases, ''),
                   p.status + 8 * p."group" + CASE WHEN p.do_not_transfer OR p.kept_fields LIKE '%1026%' THEN 64 ELSE 0 END + CASE WHEN l.absent THEN 128 ELSE 0 END
                       + 256 * (coalesce(l.role_group, -1) + 1) + CASE WHEN p.kept_fields LIKE '%1000%' OR p.kept_fields LIKE '%1001%' THEN 2048 ELSE 0 END
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
            var rest = reader.GetInt32(11);
            builder.Add(
                reader.GetInt64(0),
                reader.GetString(1),
                reader.GetString(2),
                reader.GetString(3),
                reader.GetString(4),
                reader.GetString(5),
                reader.GetString(6),
                PatronFields.ParseDate(reader.GetString(7)),
                (PatronStatus)(rest & 7),
                reader.GetInt32(8),
                (SecurityGroup)((rest >> 3) & 7),
                (rest & 64) != 0,
                (rest >> 11) != 0,
                ((rest >> 8) & 7) == 0 ? null : (RoleGroup)(((rest >> 8) & 7) - 1),
                reader.GetInt64(9),
                (rest & 128) != 0,
                reader.GetString(10)
            );
        }

        return builder.Build();
    }

    /// <summary>One patron alone, for questions that nobody else decides.</summary>
    public static PatronIndex Of(Keys keys, Patron patron, PatronLink? link) => Of(keys, [(patron, link)]);

    /// <summary>Patrons that are at hand.</summary>
    public static PatronIndex Of(Keys keys, IEnumerable<(Patron Patron, PatronLink? Link)> patrons)
    {
        var builder = new Builder(keys);
        foreach (var (patron, link) in patrons)
        {
            builder.Add(
                patron.Id,
                patron.Guid ?? "",
                patron.CommunityId ?? "",
                patron.BarcodeKey,
                patron.EmailKey ?? "",
                patron.LastName,
                patron.FirstName ?? "",
                patron.Birthdate,
                patron.Status,
                patron.SiteId ?? 0,
                patron.Group,
                patron.DoNotTransfer || patron.KeptFields?.Contains("1026", StringComparison.Ordinal) == true,
                patron.KeptFields is { } kept
                    && (kept.Contains("1000", StringComparison.Ordinal) || kept.Contains("1001", StringComparison.Ordinal)),
                link?.RoleGroup,
                link?.SyncHash ?? 0,
                link?.Absent ?? false,
                link?.Aliases ?? ""
            );
        }

        return builder.Build();
    }

    private sealed class Builder(Keys keys)
    {
        private readonly Rows<(ulong Key, int Patron)> _aliases = new();
        private readonly Rows<IndexedPatron> _rows = new();

        public void Add(
            long id,
            string guid,
            string communityId,
            string barcodeKey,
            string emailKey,
            string lastName,
            string firstName,
            DateOnly? birthdate,
            PatronStatus status,
            int siteId,
            SecurityGroup group,
            bool spared,
            bool keepsKeys,
            RoleGroup? roleGroup,
            long syncHash,
            bool absent,
            string aliases
        )
        {
            foreach (var alias in aliases.Split('\n', StringSplitOptions.RemoveEmptyEntries))
            {
                _aliases.Add((keys.Of(alias), _rows.Count));
            }

            _rows.Add(
                new IndexedPatron
                {
                    Id = id,
                    Guid = keys.Of(guid),
                    Student = keys.Of(Patrons.Text.CleanKey(communityId)),
                    Barcode = keys.Of(barcodeKey),
                    Email = keys.Of(emailKey),
                    Last = keys.Name(lastName),
                    First = keys.Name(firstName),
                    BirthDay = birthdate?.DayNumber ?? 0,
                    Status = status,
                    SiteId = siteId,
                    AbovePatron = group > SecurityGroup.Patron,
                    Spared = spared,
                    KeepsKeys = keepsKeys,
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

/// <summary>Patrons of an index by every key but the barcode.</summary>
internal sealed class PatronLookups(Rows<IndexedPatron> patrons, Rows<(ulong Key, int Patron)> aliases)
{
    private readonly Lookup<IndexedPatron> _byGuid = new(patrons, static (in p) => p.Guid);
    private readonly Lookup<(ulong Key, int Patron)> _byAlias = new(aliases, static (in a) => a.Key);
    private readonly Lookup<IndexedPatron> _byStudent = new(patrons, static (in p) => p.Student);
    private readonly Lookup<IndexedPatron> _byEmail = new(patrons, static (in p) => p.Email);

    public ReadOnlySpan<int> ByGuid(ulong guid) => _byGuid.Find(guid);

    public ReadOnlySpan<int> ByAlias(ulong guid)
    {
        var found = _byAlias.Find(guid);
        foreach (ref var at in found)
        {
            at = aliases[at].Patron;
        }

        return found;
    }

    /// <param name="number">The key.</param>
    /// <param name="atMost">More are not looked for.</param>
    public ReadOnlySpan<int> ByStudent(ulong number, int atMost = int.MaxValue) => _byStudent.Find(number, atMost);

    /// <inheritdoc cref="ByStudent"/>
    public ReadOnlySpan<int> ByEmail(ulong key, int atMost = int.MaxValue) => _byEmail.Find(key, atMost);

    /// <summary>How many rows have been looked at.</summary>
    public long Steps => _byGuid.Steps + _byAlias.Steps + _byStudent.Steps + _byEmail.Steps;
}

/// <summary>Key → positions of rows, in 8 to 12 bytes a row: chains through two arrays, the keys themselves stay in the rows.</summary>
internal sealed class Lookup<T>
    where T : struct
{
    private readonly Rows<T> _rows;
    private readonly KeyOf _key;
    private readonly int[] _heads;
    private readonly int[] _next;
    private readonly int _shift;
    private int[] _found = new int[4];

    /// <summary>Reads a row's key.</summary>
    public delegate ulong KeyOf(in T row);

    /// <summary>Blank keys (0) are left out: blank never matches anything.</summary>
    public Lookup(Rows<T> rows, KeyOf key)
    {
        (_rows, _key) = (rows, key);
        var count = 0;
        foreach (ref var row in rows)
        {
            count += key(row) == 0 ? 0 : 1;
        }

        var bits = Math.Max(4, System.Numerics.BitOperations.Log2((uint)count) + (System.Numerics.BitOperations.IsPow2(count) ? 0 : 1));
        _shift = 64 - bits;
        _heads = new int[1 << bits];
        _next = count == 0 ? [] : new int[rows.Count];

        // From the last to the first, so that a chain runs from the first to the last.
        for (var i = rows.Count - 1; i >= 0 && count > 0; i--)
        {
            if (key(rows[i]) is not 0 and var value)
            {
                ref var head = ref _heads[Place(value)];
                _next[i] = head;
                head = i + 1;
            }
        }
    }

    /// <summary>How many rows have been looked at.</summary>
    public long Steps { get; private set; }

    /// <summary>Positions of the rows with a key, the first one first. What is returned holds until the next call.</summary>
    /// <param name="key">The key.</param>
    /// <param name="atMost">More are not looked for: a key that stands for none, as a placeholder does, may be that of most rows.</param>
    public Span<int> Find(ulong key, int atMost = int.MaxValue)
    {
        if (key == 0)
        {
            return [];
        }

        var count = 0;
        for (var at = _heads[Place(key)]; at != 0 && count < atMost; at = _next[at - 1])
        {
            Steps++;
            if (_key(_rows[at - 1]) != key)
            {
                continue;
            }

            if (count == _found.Length)
            {
                Array.Resize(ref _found, count * 2);
            }

            _found[count++] = at - 1;
        }

        return _found.AsSpan(0, count);
    }

    private int Place(ulong key) => (int)((key * 0x9E3779B97F4A7C15) >> _shift);
}
