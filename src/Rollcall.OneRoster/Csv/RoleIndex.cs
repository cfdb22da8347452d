using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.Csv;

/// <summary>The roles of <c>roles.csv</c> by person: 24 bytes each, and one string for each organization and each kind of role.</summary>
internal sealed class RoleIndex
{
    private const int NoDay = -1;
    private readonly Dictionary<string, int> numbers = new(StringComparer.Ordinal);
    private readonly List<string> texts = [];
    private Entry[] entries = [];
    private ulong[] keys = [];
    private int count;

    private readonly record struct Entry(int Role, int Org, int Begin, int End, bool Primary, bool Deleted);

    public void Take(CsvTable table, CsvPart part, IdSet? replaced, Dictionary<ulong, long>? winners)
    {
        var (id, status) = (table.Column("sourcedId"), table.Column("status"));
        var (user, org) = (table.Column("userSourcedId"), table.Column("orgSourcedId"));
        var (role, type) = (table.Column("role"), table.Column("roleType"));
        var (begin, end) = (table.Column("beginDate"), table.Column("endDate"));
        while (table.Read())
        {
            var state = Words.Status(table.Value(status));
            var key = IdSet.Hash(table.Key(id));
            var name = Blank.Trim(table.Value(role));
            var person = table.Key(user);
            if (
                (state is null && part.Mode == CsvMode.Delta)
                || replaced?.Contains(key) == true
                || (winners?.TryGetValue(key, out var row) == true && row != table.Row)
                || Blank.Is(name)
                || Blank.Is(person)
            )
            {
                continue;
            }

            if (count == entries.Length)
            {
                var size = Math.Max(1024, count * 2);
                Array.Resize(ref entries, size);
                Array.Resize(ref keys, size);
            }

            var place = table.Key(org);
            keys[count] = IdSet.Hash(person);
            entries[count++] = new Entry(
                Number(name),
                Blank.Is(place) ? -1 : Number(place),
                CsvValue.TryDay(table.Value(begin), out var first, out _) ? first.DayNumber : NoDay,
                CsvValue.TryDay(table.Value(end), out var last, out _) ? last.DayNumber : NoDay,
                Blank.Trim(table.Value(type)).Equals("primary", StringComparison.OrdinalIgnoreCase),
                state == RecordStatus.ToBeDeleted
            );
        }
    }

    public void Sort()
    {
        Array.Resize(ref entries, count);
        Array.Resize(ref keys, count);
        Array.Sort(keys, entries);
    }

    /// <summary>The roles of a person, in an order that does not depend on that of the file.</summary>
    /// <param name="user">The person's <c>sourcedId</c>.</param>
    /// <param name="ended">Where only deleted roles are left, gives those as ended: what somebody was still tells whose leaver this is.</param>
    public UserRole[] Of(ReadOnlySpan<char> user, bool ended)
    {
        var key = IdSet.Hash(user);
        var at = Find(key);
        if (at < 0)
        {
            return [];
        }

        var to = at + 1;
        while (to < keys.Length && keys[to] == key)
        {
            to++;
        }

        var live = 0;
        for (var i = at; i < to; i++)
        {
            live += entries[i].Deleted ? 0 : 1;
        }

        if (live == 0 && !ended)
        {
            return [];
        }

        var found = new UserRole[live == 0 ? to - at : live];
        var taken = 0;
        for (var i = at; i < to; i++)
        {
            var entry = entries[i];
            if (entry.Deleted && live > 0)
            {
                continue;
            }

            found[taken++] = new UserRole(
                texts[entry.Role],
                entry.Org < 0 ? null : texts[entry.Org],
                entry.Primary,
                entry.Begin == NoDay ? null : DateOnly.FromDayNumber(entry.Begin),
                entry.Deleted ? DateOnly.MinValue
                    : entry.End == NoDay ? null
                    : DateOnly.FromDayNumber(entry.End)
            );
        }

        if (found.Length > 1)
        {
            Array.Sort(
                found,
                static (a, b) =>
                    a.Primary != b.Primary ? b.Primary.CompareTo(a.Primary)
                    : string.CompareOrdinal(a.Org, b.Org) is not 0 and var org ? org
                    : string.CompareOrdinal(a.Role, b.Role)
            );
        }

        return found;
    }

    private int Find(ulong key)
    {
        var at = Array.BinarySearch(keys, key);
        while (at > 0 && keys[at - 1] == key)
        {
            at--;
        }

        return at;
    }

    private int Number(ReadOnlySpan<char> text)
    {
        var lookup = numbers.GetAlternateLookup<ReadOnlySpan<char>>();
        if (!lookup.TryGetValue(text, out var number))
        {
            number = texts.Count;
            texts.Add(text.ToString());
            numbers[texts[number]] = number;
        }

        return number;
    }
}
