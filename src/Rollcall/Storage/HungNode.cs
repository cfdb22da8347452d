using System.Data.Common;
using Npgsql;
using Rollcall.Operations;

namespace Rollcall.Storage;

/// <summary>A node that has stopped in the middle of a transaction: its process hangs, or its machine is gone and PostgreSQL has not noticed.
/// What it has locked would keep everybody else waiting.</summary>
internal static class HungNode
{
    // PostgreSQL cuts names.
    private const int LongestName = 63;

    /// <summary>The connection with PostgreSQL's own means against it: sessions that ask for nothing in the middle of a transaction are ended, and
    /// lines whose other end is gone are noticed within half a minute instead of hours. What the connection says of these itself counts.</summary>
    public static string Guarded(string connection, TimeSpan hungAfter)
    {
        var builder = new NpgsqlConnectionStringBuilder(connection);
        builder.Options = string.Create(
                System.Globalization.CultureInfo.InvariantCulture,
                $"-c idle_in_transaction_session_timeout={(long)hungAfter.TotalMilliseconds} -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 -c tcp_user_timeout=30000 {builder.Options}"
            )
            .TrimEnd();
        return builder.ToString();
    }

    /// <summary>In this transaction whoever asks may take their time between two statements.</summary>
    public static Task AllowPausesAsync(DbConnection connection, DbTransaction transaction, CancellationToken cancellationToken) =>
        Sql.ExecuteAsync(connection, transaction, "SET LOCAL idle_in_transaction_session_timeout = 0", cancellationToken);

    /// <summary>Ends the session that holds this operation's row, of the node that has it and whose lease is over, where it waits in the middle of a
    /// transaction for a node that says nothing. One for which the server itself is at work is slow and not hung, and is left alone; so is what the node
    /// does beside.</summary>
    public static Task EndAsync(DbConnection connection, long operation, TimeSpan silentAfter, CancellationToken cancellationToken) =>
        Sql.ExecuteAsync(
            connection,
            null,
            $"""
            SELECT pg_terminate_backend(a.pid) FROM operations o
            JOIN pg_stat_activity a ON a.application_name = left('{RollcallDatabase.NamePrefix}' || o.node, {LongestName})
              OR starts_with(a.application_name, '{RollcallDatabase.NamePrefix}' || o.node || ' ')
            WHERE o.id = @id AND o.status = {(int)OperationStatus.Running} AND a.backend_xid = o.xmax
              AND o.lease_until < (extract(epoch from clock_timestamp()) * 1000)::bigint
              AND a.datname = current_database() AND a.usename = session_user AND a.pid <> pg_backend_pid()
              AND (a.state LIKE 'idle in transaction%' OR (a.state = 'active' AND a.wait_event_type = 'Client'))
              AND a.state_change < clock_timestamp() - @silent * interval '1 second'
            """,
            cancellationToken,
            ("@id", operation),
            ("@silent", silentAfter.TotalSeconds)
        );
}
