using Npgsql;

namespace Rollcall.Storage;

/// <summary>What PostgreSQL leaves out of statements that take milliseconds.</summary>
internal static class ShortStatements
{
    /// <summary>The connection without what is meant for statements of many seconds. Compiling one takes PostgreSQL several times what it saves over a
    /// hundred thousand patrons, and helpers for each page would take processors from a sync that runs. What the connection says of these itself
    /// counts.</summary>
    public static string Of(string connection)
    {
        var builder = new NpgsqlConnectionStringBuilder(connection);
        builder.Options = $"-c jit=off -c max_parallel_workers_per_gather=0 {builder.Options}".TrimEnd();
        return builder.ToString();
    }
}
