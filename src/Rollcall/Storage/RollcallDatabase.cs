using System.Data.Common;
using System.Globalization;
using System.Reflection;
using System.Text.RegularExpressions;
using Microsoft.Data.Sqlite;
using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Infrastructure;
using Microsoft.EntityFrameworkCore.Migrations;
using Npgsql;

namespace Rollcall.Storage;

/// <summary>Where an installation keeps its data.</summary>
/// <param name="DataFolder">The data folder; made when missing.</param>
/// <param name="Connection">A PostgreSQL connection string or URL; null or empty is SQLite in the data folder.</param>
public sealed record StorageOptions(string DataFolder, string? Connection = null)
{
    /// <summary>Makes the SQLite connections, so that a test can let any statement fail; null makes plain ones.</summary>
    internal Func<string, SqliteConnection>? MakeSqlite { get; init; }

    /// <summary>PostgreSQL ends a session that is in the middle of a transaction and has asked for nothing for so long: its process hangs, or is
    /// gone with its machine, and what it has locked would keep everybody else waiting.</summary>
    internal TimeSpan HungAfter { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>A session of a node whose lease is over, or that others wait for, is ended when it has been silent for so long.</summary>
    internal TimeSpan SilentAfter { get; init; } = TimeSpan.FromSeconds(15);
}

/// <summary>The one place that knows which database is behind.</summary>
public sealed partial class RollcallDatabase : IAsyncDisposable, IDisposable
{
    // On each connection.
    private const int PreparedStatements = 100;

    /// <summary>How the name of a restore's draft begins.</summary>
    internal const string RestoreDraft = "rollcall-restore-";

    /// <summary>How the name of a rehearsal's folder begins: there is a whole database in it.</summary>
    private const string RehearsalFolder = "rollcall-rehearsal-";

    /// <summary>What the names of the files that SQLite keeps beside its own end with.</summary>
    private static readonly string[] s_journals = ["-journal", "-wal", "-shm"];

    private static readonly TimeSpan s_draftsWritten = TimeSpan.FromHours(1);

    private readonly DbContextOptions? _sqlite;
    private readonly DbContextOptions? _postgres;
    private readonly NpgsqlDataSource? _source;
    private readonly NpgsqlDataSource? _wholeTables;

    // A pool of their own: a confined connection is never anything else.
    private readonly DbContextOptions? _confined;
    private readonly NpgsqlDataSource? _confinedSource;
    private readonly SemaphoreSlim? _keptConnections;
    private readonly Func<string, SqliteConnection>? _makeSqlite;

    public RollcallDatabase(StorageOptions options)
    {
        DataFolder = Path.GetFullPath(options.DataFolder);
        SilentAfter = options.SilentAfter;
        try
        {
            CreateFolder(DataFolder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RollcallException($"The data folder {DataFolder} cannot be made: {e.Message} Choose another with --data.", e);
        }

        if (string.IsNullOrWhiteSpace(options.Connection))
        {
            FilePath = Path.Combine(DataFolder, "rollcall.db");
            ConnectionString = new SqliteConnectionStringBuilder
            {
                DataSource = FilePath,
                Pooling = true,
                DefaultTimeout = 30,
            }.ToString();
            Bulk = new SqliteBulk();
            _makeSqlite = options.MakeSqlite;
            _sqlite = new DbContextOptionsBuilder<SqliteRollcallContext>()
                .UseSqlite(ConnectionString)
                .AddInterceptors(SqlitePragmas.Instance)
                .Options;
        }
        else
        {
            IsPostgres = true;
            try
            {
                ConnectionString = Normalise(options.Connection);
            }
            catch (Exception e) when (e is ArgumentException or FormatException)
            {
                throw new RollcallException(
                    $"The database connection is not readable: {(e.Message.StartsWith('\'') ? e.Message : "it has the wrong form.")} Write it like 'Host=localhost;Database=rollcall;Username=rollcall'.",
                    e
                );
            }

            // The name is what metrics call the pool; without it they would show the connection.
            // Nobody leaves anything behind on these that outlives a transaction, and a reset costs more than what follows it. Syncs work on
            // them: a plan that was made for an empty table would last until they have filled it.
            var guarded = ShortStatements.Of(HungNode.Guarded(ConnectionString, options.HungAfter));
            _source = new NpgsqlDataSourceBuilder(new NpgsqlConnectionStringBuilder(guarded) { NoResetOnClose = true }.ToString())
            {
                Name = "rollcall",
            }.Build();
            _wholeTables = new NpgsqlDataSourceBuilder(
                new NpgsqlConnectionStringBuilder(LongStatements.Allowed(guarded)) { Pooling = false }.ToString()
            )
            {
                Name = "rollcall backups",
            }.Build();
            Bulk = new PostgresBulk();
            _postgres = new DbContextOptionsBuilder<PostgresRollcallContext>().UseNpgsql(_source).Options;

            // What a statement of a page costs PostgreSQL is to a good half its planning: those that come again are prepared.
            _confinedSource = new NpgsqlDataSourceBuilder(
                new NpgsqlConnectionStringBuilder(RowSecurity.ConnectionString(guarded)) { MaxAutoPrepare = PreparedStatements }.ToString()
            )
            {
                Name = "rollcall pages",
            }.Build();
            _keptConnections = new SemaphoreSlim(Math.Max(1, new NpgsqlConnectionStringBuilder(ConnectionString).MaxPoolSize / 2));
            _confined = new DbContextOptionsBuilder<PostgresRollcallContext>()
                .UseNpgsql(_confinedSource)
                .AddInterceptors(RowSecurity.Interceptor.Instance)
                .Options;
        }
    }

    /// <summary>With what each SQLite file begins.</summary>
    internal static ReadOnlySpan<byte> Header => "SQLite format 3\0"u8;

    /// <summary>What PostgreSQL's own lists call this process; a name that the connection gives follows it.</summary>
    internal static string ApplicationName { get; } = $"{NamePrefix}{Environment.MachineName}:{Environment.ProcessId}";

    /// <summary>What stands before a node's name there.</summary>
    internal const string NamePrefix = "rollcall ";

    public bool IsPostgres { get; }
    public string DataFolder { get; }
    public string ConnectionString { get; }

    /// <summary>The SQLite file; null on PostgreSQL.</summary>
    public string? FilePath { get; }

    internal IBulkStore Bulk { get; }

    /// <inheritdoc cref="StorageOptions.SilentAfter"/>
    internal TimeSpan SilentAfter { get; }

    /// <summary>How long a migration of PostgreSQL waits for others to let go of a table.</summary>
    internal TimeSpan MigrationPatience { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>A context for ordinary reading and writing, confined to the district of the request that runs, if one does. The caller
    /// disposes it.</summary>
    public RollcallContext CreateContext() =>
        IsPostgres && Confinement.Current is { DistrictId: { } district } request
            ? CreateConfined(request, district)
            : CreateContextAsOwner();

    private PostgresRollcallContext CreateConfined(Confinement request, int district)
    {
        var options = (DbContextOptions<PostgresRollcallContext>)_confined!;
        if (request.Borrow(_confinedSource!, _keptConnections!) is not { } kept)
        {
            return new PostgresRollcallContext(options) { ConfinedTo = district };
        }

        var context = new PostgresRollcallContext(options) { ConfinedTo = district, Lender = request };
        context.Database.SetDbConnection(kept, contextOwnsConnection: false);
        return context;
    }

    /// <summary>A context that is never confined: for finding out who somebody is, which goes across districts, and for what belongs to the
    /// installation. Everything else takes <see cref="CreateContext()"/>.</summary>
    internal RollcallContext CreateContextAsOwner() =>
        IsPostgres
            ? new PostgresRollcallContext((DbContextOptions<PostgresRollcallContext>)_postgres!)
            : new SqliteRollcallContext(
                _makeSqlite is null
                    ? (DbContextOptions<SqliteRollcallContext>)_sqlite!
                    : new DbContextOptionsBuilder<SqliteRollcallContext>()
                        .UseSqlite(_makeSqlite(ConnectionString), contextOwnsConnection: true)
                        .AddInterceptors(SqlitePragmas.Instance)
                        .Options
            );

    /// <summary>A context on an open connection and its transaction, for the bulk paths' reading.</summary>
    internal RollcallContext CreateContext(DbConnection connection, DbTransaction? transaction)
    {
        RollcallContext context = IsPostgres
            ? new PostgresRollcallContext(new DbContextOptionsBuilder<PostgresRollcallContext>().UseNpgsql(connection).Options)
            : new SqliteRollcallContext(new DbContextOptionsBuilder<SqliteRollcallContext>().UseSqlite(connection).Options);
        if (transaction is not null)
        {
            context.Database.UseTransaction(transaction);

            // Whatever fails in here takes the whole transaction back.
            context.Database.AutoSavepointsEnabled = false;
        }

        return context;
    }

    /// <summary>An open connection, set up, and confined as <see cref="CreateContext()"/> is. The caller disposes it.</summary>
    public async Task<DbConnection> OpenAsync(CancellationToken cancellationToken = default)
    {
        if (IsPostgres)
        {
            if (Confinement.Current?.DistrictId is not { } district)
            {
                return await OpenAsOwnerAsync(cancellationToken);
            }

            var confined = await _confinedSource!.OpenConnectionAsync(cancellationToken);
            try
            {
                await RowSecurity.ConfineAsync(confined, district, cancellationToken);
                return confined;
            }
            catch
            {
                await confined.DisposeAsync();
                throw;
            }
        }

        return await OpenAsOwnerAsync(cancellationToken);
    }

    /// <summary>An open connection, set up, that is never confined. The caller disposes it.</summary>
    internal async Task<DbConnection> OpenAsOwnerAsync(CancellationToken cancellationToken = default)
    {
        if (IsPostgres)
        {
            return await _source!.OpenConnectionAsync(cancellationToken);
        }

        var connection = _makeSqlite?.Invoke(ConnectionString) ?? new SqliteConnection(ConnectionString);
        try
        {
            await connection.OpenAsync(cancellationToken);
            await SqlitePragmas.SetAsync(connection, cancellationToken);
            return connection;
        }
        catch
        {
            await connection.DisposeAsync();
            throw;
        }
    }

    /// <summary>An open connection to PostgreSQL whose statements may go over whole tables. The caller disposes it.</summary>
    internal async Task<NpgsqlConnection> OpenForWholeTablesAsync(CancellationToken cancellationToken) =>
        await _wholeTables!.OpenConnectionAsync(cancellationToken);

    /// <summary>Applies pending migrations. SQLite does so by itself at start; PostgreSQL only when asked.</summary>
    /// <returns>The migrations that were applied.</returns>
    public async Task<IReadOnlyList<string>> MigrateAsync(CancellationToken cancellationToken = default)
    {
        KeepPrivate();

        // Opening also proves that the database is there: EF would make one of any name, a misspelt one too.
        var pending = await PendingMigrationsAsync(cancellationToken);
        if (pending.Count == 0 && !IsPostgres)
        {
            return [];
        }

        using var context = CreateContext();
        if (FilePath is not null)
        {
            using var gate = FileLock.Acquire(Path.Combine(DataFolder, "migrate.lock"), TimeSpan.FromMinutes(5));
            pending = await PendingMigrationsAsync(cancellationToken);
            if (pending.Count == 0)
            {
                return [];
            }

            var applied = await context.Database.GetAppliedMigrationsAsync(cancellationToken);
            if (applied.Any())
            {
                await BackUpBeforeMigrationAsync(applied.Last(), cancellationToken);
            }

            // EF keeps a row as its own lock and waits for ever when a killed process left it; ours is the operating system's.
            await ClearMigrationLockAsync(cancellationToken);
            await context.Database.MigrateAsync(cancellationToken);
            RestrictFile(FilePath);
            return pending;
        }

        // Of no pool: what is set here holds for the whole session.
        await using var connection = new NpgsqlConnection(
            new NpgsqlConnectionStringBuilder(LongStatements.Allowed(ConnectionString)) { Pooling = false }.ToString()
        );
        await connection.OpenAsync(cancellationToken);
        try
        {
            // Behind a lock that is waited for, every node's statements wait too: rather not now than that.
            await Sql.ExecuteAsync(
                connection,
                null,
                string.Create(CultureInfo.InvariantCulture, $"SET lock_timeout = {(long)MigrationPatience.TotalMilliseconds}"),
                cancellationToken
            );
            await RowSecurity.EnsureRoleAsync(connection, cancellationToken);
            if (pending.Count > 0)
            {
                await using var migrating = CreateContext(connection, null);
                await migrating.Database.MigrateAsync(cancellationToken);
            }

            await RowSecurity.ApplyAsync(connection, context.Model, cancellationToken);
            await PostgresSearchIndex.EnsureAsync(connection, cancellationToken);
        }
        catch (Exception e)
            when ((e as PostgresException ?? e.InnerException as PostgresException)?.SqlState == PostgresErrorCodes.LockNotAvailable)
        {
            throw new RollcallException(
                "Something holds a table that is to be changed: a backup that is being taken, perhaps. Nodes go on meanwhile; run 'rollcall db migrate' again when it is done.",
                e
            );
        }

        return pending;
    }

    /// <summary>Makes sure that requests can be confined to their district, before a server takes any.</summary>
    /// <exception cref="RollcallException">PostgreSQL's row-level security is not set up, or something in between keeps it from holding.</exception>
    public async Task EnsureConfinableAsync(CancellationToken cancellationToken = default)
    {
        if (IsPostgres)
        {
            await using var context = CreateContext();
            await using var connection = (NpgsqlConnection)await OpenAsync(cancellationToken);
            if (await RowSecurity.ProblemAsync(connection, context.Model, cancellationToken) is { } problem)
            {
                throw new RollcallException(problem);
            }

            await using var confined = await _confinedSource!.OpenConnectionAsync(cancellationToken);
            await RowSecurity.EnsureConfinedAsync(confined, cancellationToken);
        }
    }

    // A damaged file is the last thing to think of: most often there is no room, or no right.
    private static string AdviceFor(int sqliteError) =>
        sqliteError switch
        {
            // SQLITE_IOERR, FULL; PERM, READONLY, CANTOPEN; BUSY, LOCKED.
            10 or 13 => "Make room on its disk, then try again.",
            3 or 8 or 14 => "Check who owns the file and its folder, and that they may be written.",
            5 or 6 => "Another program works on it: try again when that has ended.",
            _ => "Check the file and its rights, or restore a backup.",
        };

    /// <summary>A fault of the database in words that say what to do.</summary>
    internal RollcallException OutOfReach(Exception e)
    {
        // EF has a wrapper for what it might have tried again.
        var fault = e is InvalidOperationException { InnerException: DbException inner } ? inner : e;
        return new(
            IsPostgres
                ? InWords(fault)
                : $"The database {FilePath} cannot be opened: {fault.Message} {AdviceFor((fault as SqliteException)?.SqliteErrorCode ?? 0)}",
            e
        );
    }

    /// <summary>Makes sure that the database can be used: SQLite is migrated, PostgreSQL is checked.</summary>
    /// <exception cref="RollcallException">The database cannot be reached or its schema is not this version's.</exception>
    public async Task EnsureReadyAsync(CancellationToken cancellationToken = default)
    {
        if (!IsPostgres)
        {
            try
            {
                await MigrateAsync(cancellationToken);
            }
            catch (SqliteException e)
            {
                throw OutOfReach(e);
            }

            return;
        }

        try
        {
            if ((await PendingMigrationsAsync(cancellationToken)).Count > 0)
            {
                throw new RollcallException(
                    "The database is not migrated to this version of the program. Run 'rollcall db migrate' once, then start again."
                );
            }

            if (await StrangerAsync(cancellationToken) is { } stranger)
            {
                throw new RollcallException(stranger);
            }
        }
        catch (Exception e) when (e is NpgsqlException or System.Net.Sockets.SocketException)
        {
            throw OutOfReach(e);
        }
    }

    /// <summary>Why this user sees no rows of any district in PostgreSQL; null when it does.</summary>
    internal async Task<string?> StrangerAsync(CancellationToken cancellationToken)
    {
        if (!IsPostgres)
        {
            return null;
        }

        await using var connection = (NpgsqlConnection)await OpenAsOwnerAsync(cancellationToken);
        return await RowSecurity.StrangerAsync(connection, cancellationToken);
    }

    /// <summary>Why PostgreSQL cannot be used, and what to do.</summary>
    public static string InWords(Exception e) =>
        e switch
        {
            PostgresException { SqlState: PostgresErrorCodes.InvalidCatalogName } missing =>
                $"PostgreSQL says: {missing.MessageText}. Check the name in --database (ROLLCALL_DATABASE), or make the database with createdb.",
            PostgresException { SqlState: PostgresErrorCodes.TooManyConnections } full =>
                $"PostgreSQL takes no more connections: {Said(full)}. Raise its max_connections, or bound what each node holds with 'Maximum Pool Size' in --database (ROLLCALL_DATABASE).",
            PostgresException { SqlState: PostgresErrorCodes.InsufficientPrivilege } denied =>
                $"PostgreSQL refuses: {Said(denied)}. The user in --database (ROLLCALL_DATABASE) has to own the database and its tables: name their owner, or let an administrator run 'ALTER DATABASE \"name\" OWNER TO \"user\";', and 'ALTER TABLE' likewise for every table that there is.",
            PostgresException { SqlState: PostgresErrorCodes.UndefinedObject or PostgresErrorCodes.CantChangeRuntimeParam } unknown =>
                $"PostgreSQL refuses: {Said(unknown)}. Check Options in --database (ROLLCALL_DATABASE).",
            PostgresException { SqlState: var state } ended when state.StartsWith("57P", StringComparison.Ordinal) =>
                $"PostgreSQL ended the connection, or takes none yet: {Said(ended)}. Try again in a moment.",
            PostgresException refused =>
                $"PostgreSQL refuses: {Said(refused)}. Check user, password and database in --database (ROLLCALL_DATABASE).",
            NpgsqlException when e.Message.StartsWith("No password has been provided", StringComparison.Ordinal) =>
                "PostgreSQL asks for a password, and there is none. Add Password or Passfile to --database (ROLLCALL_DATABASE), or name a file with it in PGPASSFILE.",
            // Of several hosts each has a reason of its own.
            NpgsqlException { InnerException: AggregateException all } =>
                $"PostgreSQL cannot be reached at any of its hosts: {string.Join("; ", all.Flatten().InnerExceptions.Select(Reason).Distinct(StringComparer.Ordinal))}. Check --database (ROLLCALL_DATABASE) and that a server runs.",
            _ => $"PostgreSQL cannot be reached: {Reason(e)}. Check --database (ROLLCALL_DATABASE) and that the server runs.",
        };

    private static string Said(PostgresException e) => e.MessageText.ReplaceLineEndings(" ").TrimEnd('.');

    private static string Reason(Exception e) => e.Message.ReplaceLineEndings(" ").TrimEnd('.');

    /// <summary>Migrations of this version that the database has not had, the oldest first. Asked past EF, which would make its whole model
    /// for that: every command and every page that asks would wait for it.</summary>
    public async Task<IReadOnlyList<string>> PendingMigrationsAsync(CancellationToken cancellationToken = default)
    {
        var context = IsPostgres ? typeof(PostgresRollcallContext) : typeof(SqliteRollcallContext);
        var pending = context
            .Assembly.GetTypes()
            .Where(t => t.GetCustomAttribute<DbContextAttribute>()?.ContextType == context)
            .Select(t => t.GetCustomAttribute<MigrationAttribute>()?.Id)
            .OfType<string>()
            .Order(StringComparer.Ordinal)
            .ToList();
        // A page asks too, and which migrations there were is behind no district's lock.
        await using var connection = IsPostgres
            ? await _source!.OpenConnectionAsync(cancellationToken)
            : await OpenAsync(cancellationToken);
        await using var exists = connection.CreateCommand();
        exists.CommandText = IsPostgres
            ? "SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname = current_schema() AND tablename = '__EFMigrationsHistory'"
            : "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '__EFMigrationsHistory'";
        if (Convert.ToInt64(await exists.ExecuteScalarAsync(cancellationToken), CultureInfo.InvariantCulture) == 0)
        {
            return pending;
        }

        await using var applied = connection.CreateCommand();
        applied.CommandText = """SELECT "MigrationId" FROM "__EFMigrationsHistory" """;
        await using var reader = await applied.ExecuteReaderAsync(cancellationToken);
        while (await reader.ReadAsync(cancellationToken))
        {
            pending.Remove(reader.GetString(0));
        }

        return pending;
    }

    /// <summary>PostgreSQL answers and takes no writes: a standby, or one that somebody has closed.</summary>
    public async Task<bool> IsReadOnlyAsync(CancellationToken cancellationToken = default)
    {
        if (!IsPostgres)
        {
            return false;
        }

        await using var connection = await OpenAsync(cancellationToken);
        return await Sql.ScalarAsync(
                connection,
                null,
                "SELECT CASE WHEN current_setting('transaction_read_only') = 'on' THEN 1 ELSE 0 END",
                cancellationToken
            ) == 1;
    }

    /// <summary>Writes a line that nobody reads, and commits it: a database whose disk is full, or was made read-only, can be read all the same.
    /// Where somebody else is writing, nothing is proved against it.</summary>
    /// <exception cref="DbException">The database takes no writes.</exception>
    internal async Task TryWritingAsync(CancellationToken cancellationToken)
    {
        await using var connection = await OpenAsOwnerAsync(cancellationToken);
        try
        {
            await using var transaction = IsPostgres ? await connection.BeginTransactionAsync(cancellationToken) : null;
            if (transaction is not null)
            {
                await Sql.ExecuteAsync(connection, transaction, "SET LOCAL lock_timeout = 500", cancellationToken);
            }

            await using var command = connection.CreateCommand();
            command.Transaction = transaction;

            // PostgreSQL is to say itself that it waits for a lock: a wait that ends here first looks like a database that does not answer.
            command.CommandTimeout = IsPostgres ? 5 : 1;
            command.CommandText =
                "INSERT INTO installation_settings (key, value) VALUES (@key, @value) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
            Sql.Add(command, "@key", WrittenKey);
            Sql.Add(command, "@value", ApplicationName);
            await command.ExecuteNonQueryAsync(cancellationToken);
            if (transaction is not null)
            {
                await transaction.CommitAsync(cancellationToken);
            }
        }
        catch (Exception e) when (DatabaseErrors.IsLockTimeout(e) || DatabaseErrors.IsBusy(e))
        {
            // A writer is at work: so it can be written.
        }
    }

    private const string WrittenKey = "written";

    /// <summary>Copies of a whole database in the data folder, whoever left them there: backups, what a migration or a restore kept, drafts of
    /// processes that were killed.</summary>
    public IReadOnlyList<string> CopiesInDataFolder() =>
        [
            .. Directory
                .EnumerateFiles(
                    DataFolder,
                    "*",
                    new EnumerationOptions
                    {
                        RecurseSubdirectories = true,
                        IgnoreInaccessible = true,
                        AttributesToSkip = FileAttributes.None,
                    }
                )
                .Where(f => f != FilePath && (IsKept(f) || IsDatabase(f)))
                .Select(f => Path.GetRelativePath(DataFolder, f))
                .Order(StringComparer.Ordinal),
        ];

    /// <summary>What a restore set aside may be damaged, from its first byte on.</summary>
    private static bool IsKept(string file) =>
        Path.GetFileName(file) is var name
        && name.StartsWith("rollcall-before-", StringComparison.Ordinal)
        && name.EndsWith(".db", StringComparison.Ordinal);

    private static bool IsDatabase(string file)
    {
        try
        {
            Span<byte> start = stackalloc byte[16];
            using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            return stream.ReadAtLeast(start, start.Length, throwOnEndOfStream: false) == start.Length && start.SequenceEqual(Header);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It went just now, or is somebody else's.
            return false;
        }
    }

    /// <summary>Deletes drafts of backups and restores whose process was killed: each is a whole database. Nobody restores beside the worker of
    /// SQLite's file; whoever writes a draft otherwise has done so within the hour.</summary>
    /// <param name="now">The time.</param>
    internal void DeleteDeadDrafts(DateTimeOffset now)
    {
        // As long as somebody rehearses, nobody else does.
        using (var rehearsing = FileLock.TryAcquire(RehearsalLock))
        {
            if (rehearsing is not null)
            {
                DeleteRehearsals();
            }
        }

        foreach (var file in Directory.EnumerateFiles(DataFolder))
        {
            var name = Path.GetFileName(file);
            var isRestore = name.StartsWith(RestoreDraft, StringComparison.Ordinal) && name.EndsWith(".db", StringComparison.Ordinal);
            if ((isRestore && !IsPostgres) || (isRestore && IsOld(file, now)) || IsDeadDraft(file, now))
            {
                DeleteWithJournals(file);
            }
        }
    }

    /// <summary>The draft of a backup that nobody has written to for so long that its process must be gone.</summary>
    internal static bool IsDeadDraft(string file, DateTimeOffset now) =>
        Path.GetFileName(file).Split('.') is [_, .., { Length: 32 } id, "part"] && id.All(char.IsAsciiHexDigitLower) && IsOld(file, now);

    private static bool IsOld(string file, DateTimeOffset now) => File.GetLastWriteTimeUtc(file) < now.UtcDateTime - s_draftsWritten;

    private string RehearsalLock => Path.Combine(DataFolder, "rehearsal.lock");

    private void DeleteRehearsals()
    {
        foreach (var folder in Directory.EnumerateDirectories(DataFolder, RehearsalFolder + "*"))
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>Makes a folder in the data folder in which a restore can be rehearsed, for its owner alone. It goes when it is disposed of, and where
    /// the process was killed before, with the next rehearsal or worker.</summary>
    /// <exception cref="RollcallException">Another process rehearses here.</exception>
    public Rehearsal BeginRehearsal()
    {
        var gate =
            FileLock.TryAcquire(RehearsalLock)
            ?? throw new RollcallException($"Another process rehearses a restore in {DataFolder}. Wait until it is done, then try again.");
        try
        {
            DeleteRehearsals();
            var folder = Path.Combine(DataFolder, $"{RehearsalFolder}{Guid.NewGuid():N}");
            CreateFolder(folder);
            return new Rehearsal(folder, gate);
        }
        catch
        {
            gate.Dispose();
            throw;
        }
    }

    /// <summary>A folder for as long as a restore is rehearsed in it.</summary>
    public sealed class Rehearsal : IDisposable
    {
        private readonly FileLock _gate;

        internal Rehearsal(string folder, FileLock gate)
        {
            Folder = folder;
            _gate = gate;
        }

        public string Folder { get; }

        public void Dispose()
        {
            SqliteConnection.ClearAllPools();
            try
            {
                Directory.Delete(Folder, recursive: true);
            }
            finally
            {
                _gate.Dispose();
            }
        }
    }

    /// <summary>Deletes a database file with what SQLite keeps beside it.</summary>
    internal static void DeleteWithJournals(string path)
    {
        foreach (var file in s_journals.Select(suffix => path + suffix).Prepend(path).Where(File.Exists))
        {
            File.Delete(file);
        }
    }

    /// <summary>Makes a folder, where it is missing, that its owner alone enters. One that is there keeps its rights.</summary>
    private static void CreateFolder(string path)
    {
        if (OperatingSystem.IsWindows())
        {
            Directory.CreateDirectory(path);
        }
        else
        {
            Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }

    /// <summary>Makes SQLite's file before SQLite does, for its owner alone: the journals beside it, in which all that is written comes first, get its
    /// rights. Journals of a process that began with a file that was open to all are closed to whom the file is closed to.</summary>
    private void KeepPrivate()
    {
        if (FilePath is null || OperatingSystem.IsWindows())
        {
            return;
        }

        try
        {
            if (!File.Exists(FilePath))
            {
                CreatePrivate(FilePath);
                return;
            }

            var rights = File.GetUnixFileMode(FilePath);
            foreach (var journal in s_journals.Select(suffix => FilePath + suffix).Where(File.Exists))
            {
                if (File.GetUnixFileMode(journal) is var has && (has & ~rights) != UnixFileMode.None)
                {
                    File.SetUnixFileMode(journal, has & rights);
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Another process made the file at the same moment, as privately, or a journal went. What else there is to say of the disk and its
            // rights, SQLite says when it opens the file.
        }
    }

    /// <summary>Makes an empty file that its owner alone reads.</summary>
    internal static void CreatePrivate(string path)
    {
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        }

        new FileStream(path, options).Dispose();
    }

    /// <summary>Rebuilds SQLite's file, so that no byte of a deleted row is left in it, and gives back the room. Pages go on reading; a save
    /// waits. PostgreSQL takes deleted rows out of the tables, so that no query and no page lists them; what their place held stays in its files
    /// until something else is written there.</summary>
    /// <returns>Why it could not be done; null when it is.</returns>
    public async Task<string?> ClearRemainsAsync(CancellationToken cancellationToken = default)
    {
        if (FilePath is null)
        {
            return await ClearTablesAsync(cancellationToken);
        }

        try
        {
            // On a connection of its own: the copy that is made goes to a file, not to memory.
            await using var connection = new SqliteConnection(
                new SqliteConnectionStringBuilder(ConnectionString) { Pooling = false, DefaultTimeout = 300 }.ToString()
            );
            await connection.OpenAsync(cancellationToken);
            await SqlitePragmas.SetAsync(connection, cancellationToken);
            await Sql.ExecuteAsync(connection, null, "PRAGMA temp_store=FILE", cancellationToken);
            await Sql.ExecuteAsync(connection, null, "VACUUM", cancellationToken);
            for (var attempt = 0; attempt < 50; attempt++)
            {
                // 1: somebody reads or writes just now.
                if (await Sql.ScalarAsync(connection, null, "PRAGMA wal_checkpoint(TRUNCATE)", cancellationToken) == 0)
                {
                    return null;
                }

                await Task.Delay(100, cancellationToken);
            }

            return "somebody kept reading it.";
        }
        catch (SqliteException e)
        {
            return e.Message;
        }
    }

    private async Task<string?> ClearTablesAsync(CancellationToken cancellationToken)
    {
        await using var context = CreateContextAsOwner();
        var tables = context.Model.GetEntityTypes().Select(e => e.GetTableName()).OfType<string>().Distinct().Order(StringComparer.Ordinal);
        try
        {
            await using var connection = await OpenAsOwnerAsync(cancellationToken);
            await using var command = connection.CreateCommand().AllowLong();

            // No vacuum takes out what an open transaction may still see, and it ends as if it had.
            const string Next = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
            var next = unchecked((uint)await Sql.ScalarAsync(connection, null, Next, cancellationToken));
            var seen = true;
            for (var attempt = 0; seen && attempt < 20; attempt++)
            {
                await Task.Delay(attempt == 0 ? TimeSpan.Zero : TimeSpan.FromMilliseconds(250), cancellationToken);
                seen = await IsSeenAsync((NpgsqlConnection)connection, next, cancellationToken);
            }

            // Not FULL: that would keep everybody out, and copy every row. Indexes, too, which are passed over where few rows are dead; and what the
            // planner remembers of columns are values that somebody had.
            command.CommandText = $"VACUUM (ANALYZE, INDEX_CLEANUP ON) {string.Join(", ", tables.Select(t => $"\"{t}\""))}";
            await command.ExecuteNonQueryAsync(cancellationToken);
            return seen ? "a transaction that was open before may still see them, a backup for instance." : null;
        }
        catch (NpgsqlException e)
        {
            return e.Message;
        }
    }

    /// <summary>Whether PostgreSQL keeps what was deleted before a transaction. It says so while it vacuums, in the server's language: the first number
    /// before the word XID, in the words about any table, is the first transaction whose deletions stay.</summary>
    private static async Task<bool> IsSeenAsync(NpgsqlConnection connection, uint transaction, CancellationToken cancellationToken)
    {
        uint? first = null;
        void Listen(object sender, NpgsqlNoticeEventArgs e)
        {
            if (first is null && CutoffOf().Match(e.Notice.MessageText) is { Success: true } said)
            {
                first = uint.Parse(said.Groups["first"].Value, CultureInfo.InvariantCulture);
            }
        }

        connection.Notice += Listen;
        try
        {
            await using var command = connection.CreateCommand().AllowLong();
            command.CommandText = "VACUUM (VERBOSE) installation_settings";
            await command.ExecuteNonQueryAsync(cancellationToken);
        }
        finally
        {
            connection.Notice -= Listen;
        }

        // The numbers go round.
        return first is { } cutoff && unchecked((int)(cutoff - transaction)) < 0;
    }

    [GeneratedRegex(@"^[^\d\n]*(?<first>\d+)[^\d\n]+\d+ XID", RegexOptions.Multiline | RegexOptions.CultureInvariant, 1000)]
    private static partial Regex CutoffOf();

    private async Task BackUpBeforeMigrationAsync(string version, CancellationToken cancellationToken)
    {
        var target = Path.Combine(DataFolder, $"rollcall-before-{version}.db");
        DeleteWithJournals(target);
        CreatePrivate(target);
        await using var source = (SqliteConnection)await OpenAsync(cancellationToken);
        await using var copy = new SqliteConnection(new SqliteConnectionStringBuilder { DataSource = target, Pooling = false }.ToString());
        await copy.OpenAsync(cancellationToken);
        source.BackupDatabase(copy);
    }

    private async Task ClearMigrationLockAsync(CancellationToken cancellationToken)
    {
        await using var connection = await OpenAsync(cancellationToken);
        await using var command = connection.CreateCommand();
        command.CommandText = "DROP TABLE IF EXISTS \"__EFMigrationsLock\"";
        await command.ExecuteNonQueryAsync(cancellationToken);
    }

    internal static void RestrictFile(string path)
    {
        if (!OperatingSystem.IsWindows() && File.Exists(path))
        {
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        }
    }

    /// <summary>Takes an option by the driver's name, or by the one that PostgreSQL's own programs know it by.</summary>
    /// <exception cref="ArgumentException">There is no such option, or it has no such value; named by what was written.</exception>
    private static void Set(NpgsqlConnectionStringBuilder builder, string name, string value)
    {
        var own = name.ToLowerInvariant() switch
        {
            "sslmode" => "SSL Mode",
            "sslrootcert" => "Root Certificate",
            "sslcert" => "SSL Certificate",
            "sslkey" => "SSL Key",
            "sslpassword" => "SSL Password",
            "channel_binding" => "Channel Binding",
            "connect_timeout" => "Timeout",
            "application_name" => "Application Name",
            "target_session_attrs" => "Target Session Attributes",
            "dbname" => "Database",
            "user" => "Username",
            _ => name,
        };
        var meant = own == "SSL Mode" ? value.Replace("-", "", StringComparison.Ordinal) : value;
        if (own == "Root Certificate" && value == "system")
        {
            // That is what is asked without being told.
            return;
        }

        if (!builder.ContainsKey(own))
        {
            throw new ArgumentException($"'{name}' is no option of it.");
        }

        try
        {
            builder[own] = meant;
        }
        catch (ArgumentException e)
        {
            // Not the value itself: it may be a password behind the wrong name.
            throw new ArgumentException($"'{name}' has a value that it cannot have.", e);
        }
    }

    /// <summary>Accepts the URL form that hosting services hand out beside the key=value form.</summary>
    private static string Normalise(string connection)
    {
        if (
            !connection.StartsWith("postgres://", StringComparison.OrdinalIgnoreCase)
            && !connection.StartsWith("postgresql://", StringComparison.OrdinalIgnoreCase)
        )
        {
            var pairs = new NpgsqlConnectionStringBuilder();
            var given = new DbConnectionStringBuilder { ConnectionString = connection };
            foreach (string name in given.Keys)
            {
                Set(pairs, name, (string)given[name]);
            }

            pairs.IncludeErrorDetail = false;
            return Named(pairs);
        }

        var uri = new Uri(connection);
        var builder = new NpgsqlConnectionStringBuilder
        {
            Host = uri.Host,
            Port = uri.Port > 0 ? uri.Port : 5432,
            Database = Uri.UnescapeDataString(uri.AbsolutePath.TrimStart('/')),
        };
        var user = uri.UserInfo.Split(':', 2);
        if (user[0].Length > 0)
        {
            builder.Username = Uri.UnescapeDataString(user[0]);
        }

        if (user.Length > 1)
        {
            builder.Password = Uri.UnescapeDataString(user[1]);
        }

        foreach (var pair in uri.Query.TrimStart('?').Split('&', StringSplitOptions.RemoveEmptyEntries))
        {
            var parts = pair.Split('=', 2);
            Set(builder, Uri.UnescapeDataString(parts[0]), Uri.UnescapeDataString(parts.ElementAtOrDefault(1) ?? ""));
        }

        return Named(builder);

        // Machine and process stand in it already: a connection that was taken from another.
        static bool IsNodes(string name) =>
            name.StartsWith(NamePrefix, StringComparison.Ordinal)
            && name[NamePrefix.Length..].Split(' ')[0].Split(':') is [{ Length: > 0 }, var process]
            && int.TryParse(process, NumberStyles.None, CultureInfo.InvariantCulture, out _);

        static string Named(NpgsqlConnectionStringBuilder builder)
        {
            if (string.IsNullOrWhiteSpace(builder.Host))
            {
                throw new ArgumentException("'Host' is missing.");
            }

            if (!builder.Host.Contains(',', StringComparison.Ordinal))
            {
                // The driver refuses to choose among one. What that one is shows with the first write.
                builder.Remove("Target Session Attributes");
            }

            builder.ApplicationName =
                builder.ApplicationName is not { Length: > 0 } own ? ApplicationName
                : IsNodes(own) ? own
                : $"{ApplicationName} {own}";
            return builder.ToString();
        }
    }

    public void Dispose()
    {
        _source?.Dispose();
        _wholeTables?.Dispose();
        _confinedSource?.Dispose();
        _keptConnections?.Dispose();
    }

    public async ValueTask DisposeAsync()
    {
        if (_source is not null)
        {
            await _source.DisposeAsync();
            await _wholeTables!.DisposeAsync();
            await _confinedSource!.DisposeAsync();
            _keptConnections!.Dispose();
        }
    }
}
