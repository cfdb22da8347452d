using System.Data.Common;
using Microsoft.EntityFrameworkCore;
using Npgsql;

namespace Rollcall.Storage;

/// <summary>Statements over all patrons of a district, or over a whole table. In a very large district they take PostgreSQL minutes; given up after
/// the half minute that others get, they would be given up each time anew. SQLite's statements have no such end.</summary>
internal static class LongStatements
{
    /// <summary>Shorter than the time that whoever follows changes looks back: what such a statement stamps is found once it is committed.</summary>
    public static readonly TimeSpan Limit = TimeSpan.FromMinutes(10);

    /// <summary>The statements of this context may take so long, whatever the connection says.</summary>
    public static T AllowLong<T>(this T context)
        where T : RollcallContext
    {
        if (context is PostgresRollcallContext)
        {
            context.Database.SetCommandTimeout(Limit);
        }

        return context;
    }

    /// <summary>This one may take so long.</summary>
    public static DbCommand AllowLong(this DbCommand command)
    {
        if (command is NpgsqlCommand)
        {
            command.CommandTimeout = (int)Limit.TotalSeconds;
        }

        return command;
    }

    /// <summary>Whatever is asked on a connection of this text may.</summary>
    public static string Allowed(string connection) =>
        new NpgsqlConnectionStringBuilder(connection) { CommandTimeout = (int)Limit.TotalSeconds }.ToString();
}
