using System.Data.Common;
using System.Globalization;
using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Diagnostics;
using Microsoft.EntityFrameworkCore.Metadata;
using Npgsql;

namespace Rollcall.Storage;

/// <summary>The district that everything is confined to which runs on behalf of one request. Held by the request's flow: whatever it calls
/// finds the same one, however deep.</summary>
public sealed class Confinement : IAsyncDisposable
{
    private static readonly AsyncLocal<Confinement?> s_current = new();
    private const int Free = 0;
    private const int Lent = 1;
    private const int Over = 2;
    private NpgsqlConnection? _kept;
    private SemaphoreSlim? _place;
    private int? _keptFor;
    private int _state = Over;

    /// <summary>Of the flow that asks; null outside of requests: the worker, the command line.</summary>
    internal static Confinement? Current => s_current.Value;

    /// <summary>Null as long as it is not known who asks: what looks for that works as the owner.</summary>
    public int? DistrictId { get; private set; }

    /// <summary>Begins a request. Whoever begins it disposes what is returned when the request is over.</summary>
    public static Confinement Begin() => s_current.Value = new Confinement();

    /// <summary>From now on this request reads and writes one district alone. Without a request nothing is confined.</summary>
    public static void To(int districtId)
    {
        if (s_current.Value is { } here)
        {
            here.DistrictId = districtId;
        }
    }

    /// <summary>This request is short and asks much: it keeps one connection to its end, so that not each question has to say again whose
    /// rows it may see. For PostgreSQL alone.</summary>
    public static void KeepConnection()
    {
        if (s_current.Value is { } here)
        {
            Interlocked.CompareExchange(ref here._state, Free, Over);
        }
    }

    /// <summary>The request's own connection, which opens by itself and then stays open; null where none is kept, another context has it
    /// now, or it shows another district. <see cref="GiveBack"/> ends it.</summary>
    /// <param name="source">Makes it.</param>
    /// <param name="places">For so many requests at once, that there are always connections left for those that need a second.</param>
    internal NpgsqlConnection? Borrow(NpgsqlDataSource source, SemaphoreSlim places)
    {
        if (Interlocked.CompareExchange(ref _state, Lent, Free) != Free)
        {
            return null;
        }

        if (_kept is null && places.Wait(0))
        {
            (_kept, _keptFor, _place) = (source.CreateConnection(), DistrictId, places);
        }

        if (_kept is null || _keptFor != DistrictId)
        {
            GiveBack();
            return null;
        }

        return _kept;
    }

    internal void GiveBack() => Interlocked.CompareExchange(ref _state, Free, Lent);

    /// <summary>The connection stays with the request: nobody closes it but its end.</summary>
    internal bool Keeps(DbConnection connection) => ReferenceEquals(connection, _kept) && Volatile.Read(ref _state) != Over;

    /// <summary>The request is over.</summary>
    public async ValueTask DisposeAsync()
    {
        Volatile.Write(ref _state, Over);
        if (Interlocked.Exchange(ref _kept, null) is { } kept)
        {
            await kept.DisposeAsync();
            _place!.Release();
        }
    }
}

/// <summary>PostgreSQL's row-level security: the second lock between districts. Requests that know their district work under a role whose
/// policies show them its rows alone, whatever a query asks for. Everything else is the owner, whom no policy binds.</summary>
internal static class RowSecurity
{
    /// <summary>The role of confined connections.</summary>
    public const string Role = "rollcall_web";

    private const string Policy = "own_district";

    private const string Districts = "districts";
    private const string Audit = "audit_entries";

    /// <summary>The tables that belong to districts: all that name one.</summary>
    public static IReadOnlyList<string> Tables(IModel model) =>
        [
            .. model
                .GetEntityTypes()
                .Where(e => e.FindProperty("DistrictId") is not null && e.GetTableName() is not null)
                .Select(e => e.GetTableName()!)
                .Distinct()
                .Order(StringComparer.Ordinal),
        ];

    /// <summary>A connection string whose connections are the role from their first moment, and again after every reset of the pool.</summary>
    public static string ConnectionString(string owner)
    {
        var builder = new NpgsqlConnectionStringBuilder(owner);
        builder.Options = $"{builder.Options} -c role={Role}".Trim();
        return builder.ToString();
    }

    /// <summary>This connection is the role's. COPY into a table with policies is refused to it.</summary>
    public static bool IsConfined(NpgsqlConnection connection) =>
        connection.ConnectionString.Contains($"role={Role}", StringComparison.Ordinal);

    /// <summary>Makes sure that a connection that asked for the role has it. A pooler between can drop what is asked for at the start, and pages would
    /// see every district without anybody noticing.</summary>
    /// <exception cref="RollcallException">It is somebody else's.</exception>
    public static async Task EnsureConfinedAsync(DbConnection confined, CancellationToken cancellationToken)
    {
        await using var command = confined.CreateCommand();
        command.CommandText = "SELECT current_user";
        var user = (string?)await command.ExecuteScalarAsync(cancellationToken);
        if (!string.Equals(user, Role, StringComparison.Ordinal))
        {
            throw new RollcallException(
                $"A connection that asks PostgreSQL for the role {Role} is the user {user}'s instead: districts would not be kept apart. A pooler in between drops what a connection asks for; name PostgreSQL itself in --database (ROLLCALL_DATABASE)."
            );
        }
    }

    /// <summary>Says whose rows a connection of the role sees. Said anew by everybody who opens one, so that nothing is left of the last.</summary>
    public static async Task ConfineAsync(DbConnection connection, int districtId, CancellationToken cancellationToken)
    {
        await using var command = Statement(connection, districtId);
        await command.ExecuteNonQueryAsync(cancellationToken);
    }

    private static DbCommand Statement(DbConnection connection, int districtId)
    {
        var command = connection.CreateCommand();
        command.CommandText = string.Create(CultureInfo.InvariantCulture, $"SET rollcall.district = '{districtId}'");
        return command;
    }

    /// <summary>Makes the role where it is missing.</summary>
    /// <exception cref="RollcallException">The user may not; the message says who has to do what.</exception>
    public static async Task EnsureRoleAsync(NpgsqlConnection connection, CancellationToken cancellationToken)
    {
        try
        {
            if (await Sql.ScalarAsync(connection, null, $"SELECT COUNT(*) FROM pg_roles WHERE rolname = '{Role}'", cancellationToken) == 0)
            {
                try
                {
                    await Sql.ExecuteAsync(connection, null, $"CREATE ROLE {Role} NOLOGIN", cancellationToken);
                }
                catch (PostgresException e) when (e.SqlState is PostgresErrorCodes.DuplicateObject or PostgresErrorCodes.UniqueViolation)
                {
                    // Another installation on this server was faster.
                }
            }

            try
            {
                await Sql.ExecuteAsync(connection, null, $"SET ROLE {Role}", cancellationToken);
                await Sql.ExecuteAsync(connection, null, "RESET ROLE", cancellationToken);
            }
            catch (PostgresException e) when (e.SqlState == PostgresErrorCodes.InsufficientPrivilege)
            {
                await Sql.ExecuteAsync(connection, null, $"GRANT {Role} TO CURRENT_USER", cancellationToken);
            }
        }
        catch (PostgresException e) when (e.SqlState == PostgresErrorCodes.InsufficientPrivilege)
        {
            var user = new NpgsqlConnectionStringBuilder(connection.ConnectionString).Username;
            throw new RollcallException(
                $"PostgreSQL does not let the user {user} make the role {Role}, which keeps districts apart. Let an administrator run 'CREATE ROLE {Role} NOLOGIN; GRANT {Role} TO \"{user}\";' once, then run 'rollcall db migrate' again.",
                e
            );
        }
    }

    /// <summary>Turns the lock on at every table that has none yet.</summary>
    public static async Task ApplyAsync(NpgsqlConnection connection, IModel model, CancellationToken cancellationToken)
    {
        if (
            await Sql.ScalarAsync(
                connection,
                null,
                $"SELECT has_schema_privilege('{Role}', current_schema(), 'USAGE')::int",
                cancellationToken
            ) == 0
        )
        {
            await Sql.ExecuteAsync(
                connection,
                null,
                $"DO $$ BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO {Role}', current_schema()); END $$",
                cancellationToken
            );
        }

        // What belongs to the whole installation is asked for by the owner.
        await Sql.ExecuteAsync(connection, null, $"REVOKE ALL ON installation_settings FROM {Role}", cancellationToken);
        foreach (var table in await UnlockedAsync(connection, Locked(model), cancellationToken))
        {
            var (column, rights) = table switch
            {
                Districts => ("id", "SELECT, UPDATE"),
                Audit => ("district_id", "SELECT, INSERT"),
                _ => ("district_id", "SELECT, INSERT, UPDATE, DELETE"),
            };
            await Sql.ExecuteAsync(
                connection,
                null,
                $"""
                ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
                DROP POLICY IF EXISTS {Policy} ON {table};
                CREATE POLICY {Policy} ON {table} TO {Role}
                    USING ({column} = NULLIF(current_setting('rollcall.district', true), '')::integer);
                GRANT {rights} ON {table} TO {Role};
                """,
                cancellationToken
            );
        }

        // Requests add to the audit and read it. What an erasure takes out of it, and retention, is the worker's, who is the owner.
        await Sql.ExecuteAsync(connection, null, $"REVOKE UPDATE, DELETE, TRUNCATE ON {Audit} FROM {Role}", cancellationToken);
    }

    /// <summary>Why confined connections cannot be had; null when they can.</summary>
    public static async Task<string?> ProblemAsync(NpgsqlConnection connection, IModel model, CancellationToken cancellationToken) =>
        (await UnlockedAsync(connection, Locked(model), cancellationToken)).Count > 0
        || await Sql.ScalarAsync(
            connection,
            null,
            $"SELECT COALESCE((SELECT pg_has_role(oid, 'MEMBER')::int FROM pg_roles WHERE rolname = '{Role}'), 0)",
            cancellationToken
        ) == 0
            ? "The lock between districts is not set up in this database. Run 'rollcall db migrate' once, then start again."
            : null;

    /// <summary>Why this user is shown no rows of districts: the policies are the role's, so that whoever is neither the owner nor above all
    /// policies sees empty tables, and no error. Null when it sees them.</summary>
    public static async Task<string?> StrangerAsync(NpgsqlConnection connection, CancellationToken cancellationToken)
    {
        await using var command = connection.CreateCommand();
        command.CommandText = $"""
            SELECT current_user::text, c.relname::text, pg_get_userbyid(c.relowner)::text
            FROM pg_class c JOIN pg_policy p ON p.polrelid = c.oid AND p.polname = '{Policy}'
            WHERE c.relnamespace = current_schema()::regnamespace AND c.relrowsecurity
              AND NOT pg_has_role(c.relowner, 'USAGE')
              AND NOT (SELECT rolbypassrls FROM pg_roles WHERE rolname = current_user)
            ORDER BY c.relname LIMIT 1
            """;
        await using var reader = await command.ExecuteReaderAsync(cancellationToken);
        if (!await reader.ReadAsync(cancellationToken))
        {
            return null;
        }

        var (user, table, owner) = (reader.GetString(0), reader.GetString(1), reader.GetString(2));
        return $"The tables of this database belong to the user {owner} (the first is {table}), and PostgreSQL shows none of their rows to {user}: every district would seem to be gone. Name {owner} in --database (ROLLCALL_DATABASE), or let an administrator run 'ALTER TABLE {table} OWNER TO \"{user}\";' and the same for every other table.";
    }

    private static IReadOnlyList<string> Locked(IModel model) => [.. Tables(model), Districts];

    /// <summary>Tables without the policy, or whose policy the role cannot use.</summary>
    private static async Task<IReadOnlyList<string>> UnlockedAsync(
        NpgsqlConnection connection,
        IReadOnlyList<string> tables,
        CancellationToken cancellationToken
    )
    {
        var locked = new HashSet<string>(StringComparer.Ordinal);
        await using var command = connection.CreateCommand();
        command.CommandText = $"""
            SELECT p.tablename FROM pg_policies p JOIN pg_class c ON c.relname = p.tablename AND c.relnamespace = p.schemaname::regnamespace
            WHERE p.schemaname = current_schema() AND p.policyname = '{Policy}' AND c.relrowsecurity
              AND '{Role}' = ANY(p.roles)
            """;
        await using var reader = await command.ExecuteReaderAsync(cancellationToken);
        while (await reader.ReadAsync(cancellationToken))
        {
            locked.Add(reader.GetString(0));
        }

        return [.. tables.Where(t => !locked.Contains(t))];
    }

    /// <summary>Confines what EF opens.</summary>
    internal sealed class Interceptor : DbConnectionInterceptor
    {
        public static readonly Interceptor Instance = new();

        public override void ConnectionOpened(DbConnection connection, ConnectionEndEventData eventData)
        {
            using var command = Statement(connection, DistrictOf(eventData));
            command.ExecuteNonQuery();
        }

        public override Task ConnectionOpenedAsync(
            DbConnection connection,
            ConnectionEndEventData eventData,
            CancellationToken cancellationToken = default
        ) => ConfineAsync(connection, DistrictOf(eventData), cancellationToken);

        public override InterceptionResult ConnectionClosing(
            DbConnection connection,
            ConnectionEventData eventData,
            InterceptionResult result
        ) => IsKept(connection, eventData) ? InterceptionResult.Suppress() : result;

        public override ValueTask<InterceptionResult> ConnectionClosingAsync(
            DbConnection connection,
            ConnectionEventData eventData,
            InterceptionResult result
        ) => ValueTask.FromResult(IsKept(connection, eventData) ? InterceptionResult.Suppress() : result);

        private static bool IsKept(DbConnection connection, ConnectionEventData eventData) =>
            (eventData.Context as RollcallContext)?.Lender?.Keeps(connection) == true;

        private static int DistrictOf(ConnectionEndEventData eventData) =>
            (eventData.Context as RollcallContext)?.ConfinedTo
            ?? throw new InvalidOperationException("A confined connection needs its district.");
    }
}
