using System.Data.Common;

namespace Rollcall.Storage;

/// <summary>Sessions in which PostgreSQL waits in the middle of a statement for rows that do not come: the process that sends them is stopped, or
/// its machine is, and no time-out of PostgreSQL's own is for that. Where one holds what others wait for, it is ended. A slow one sends something
/// now and then, and is left alone; so is one that is in nobody's way.</summary>
internal sealed class StalledCopies(RollcallDatabase database, TimeProvider time)
{
    /// <summary>How often somebody has to look: whoever waits gives up after half a minute.</summary>
    public static readonly TimeSpan Every = TimeSpan.FromSeconds(5);

    // The same for as long as nothing has come. What waits for a whole table waits for a backup or a restore, which may take their time.
    private const string Stalled = $"""
        SELECT a.pid, a.application_name,
            concat_ws('/', a.pid, a.backend_start, a.xact_start, a.state_change, p.bytes_processed, p.tuples_processed) AS stand,
            EXISTS (
                SELECT 1 FROM pg_stat_activity w
                WHERE w.datname = current_database() AND starts_with(w.application_name, '{RollcallDatabase.NamePrefix}')
                  AND w.wait_event_type = 'Lock' AND w.wait_event IN ('transactionid', 'tuple') AND a.pid = ANY (pg_blocking_pids(w.pid))
            ) AS awaited
        FROM pg_stat_activity a LEFT JOIN pg_stat_progress_copy p ON p.pid = a.pid
        WHERE a.datname = current_database() AND starts_with(a.application_name, '{RollcallDatabase.NamePrefix}') AND a.usename = session_user
          AND a.pid <> pg_backend_pid() AND a.state = 'active' AND a.wait_event_type = 'Client' AND a.wait_event = 'ClientRead'
        """;

    private Dictionary<string, long> _since = new(StringComparer.Ordinal);

    /// <summary>Looks once.</summary>
    /// <returns>Whose sessions it ended, as PostgreSQL calls them.</returns>
    public async Task<IReadOnlyList<string>> EndAsync(CancellationToken cancellationToken)
    {
        if (!database.IsPostgres)
        {
            return [];
        }

        await using var connection = await database.OpenAsOwnerAsync(cancellationToken);
        var seen = new Dictionary<string, long>(StringComparer.Ordinal);
        var hung = new List<(string Name, string Stand)>();
        await using (var look = connection.CreateCommand())
        {
            look.CommandText = Stalled;
            await using var rows = await look.ExecuteReaderAsync(cancellationToken);
            while (await rows.ReadAsync(cancellationToken))
            {
                var stand = rows.GetString(2);
                var since = _since.TryGetValue(stand, out var known) ? known : time.GetTimestamp();
                seen[stand] = since;
                if (rows.GetBoolean(3) && time.GetElapsedTime(since) >= database.SilentAfter)
                {
                    hung.Add((rows.GetString(1), stand));
                }
            }
        }

        _since = seen;
        var ended = new List<string>();
        foreach (var (name, stand) in hung)
        {
            if (await EndAsync(connection, stand, cancellationToken))
            {
                ended.Add(name);
            }
        }

        return ended;
    }

    /// <summary>Ends it unless something has come this very moment.</summary>
    private static async Task<bool> EndAsync(DbConnection connection, string stand, CancellationToken cancellationToken)
    {
        await using var end = connection.CreateCommand();
        end.CommandText = $"SELECT pg_terminate_backend(pid) FROM ({Stalled}) stalled WHERE stand = @stand AND awaited";
        Sql.Add(end, "@stand", stand);
        return await end.ExecuteScalarAsync(cancellationToken) is true;
    }
}
