using System.Data.Common;
using Rollcall.Storage;

namespace Rollcall.Sync.Pull;

/// <summary>Which ids of the roster are one person, as links say: some rosters have a record of a person for each school. Few people have
/// several, and only they are kept.</summary>
internal sealed class PersonRecords
{
    private static readonly IReadOnlyList<string> s_none = [];
    private readonly Dictionary<string, IReadOnlyList<string>> _byId = new(StringComparer.Ordinal);

    private PersonRecords() { }

    /// <summary>All ids of a person, the given one among them; empty for people who have no other.</summary>
    public IReadOnlyList<string> Of(string id) => _byId.GetValueOrDefault(id, s_none);

    public static async Task<PersonRecords> LoadAsync(DbConnection connection, int districtId, CancellationToken cancellationToken)
    {
        await using var command = connection.CreateCommand();
        command.CommandText = """
            SELECT coalesce(p.guid, ''), l.aliases FROM patron_links l
            JOIN patrons p ON p.district_id = l.district_id AND p.id = l.patron_id
            WHERE l.district_id = @district AND l.aliases IS NOT NULL
            """;
        Sql.Add(command, "@district", districtId);
        await using var reader = await command.ExecuteReaderAsync(cancellationToken);
        var records = new PersonRecords();
        while (await reader.ReadAsync(cancellationToken))
        {
            string[] ids = [reader.GetString(0), .. reader.GetString(1).Split('\n')];
            ids = [.. ids.Where(i => i.Length > 0).Distinct(StringComparer.Ordinal)];
            foreach (var id in ids)
            {
                records._byId[id] = ids;
            }
        }

        return records;
    }
}
