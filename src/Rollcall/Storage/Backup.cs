using System.Data;
using System.Data.Common;
using Microsoft.Data.Sqlite;
using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Metadata;
using Npgsql;

namespace Rollcall.Storage;

/// <summary>What a backup holds.</summary>
/// <param name="File">The whole path.</param>
/// <param name="Bytes">Its size.</param>
/// <param name="Districts">Districts in it.</param>
/// <param name="Patrons">Patrons of all districts.</param>
/// <param name="Operations">Operations of all districts, hand edits included.</param>
/// <param name="LatestAt">When the newest operation in it was asked for; null when there is none.</param>
public sealed record BackupContent(string File, long Bytes, long Districts, long Patrons, long Operations, DateTimeOffset? LatestAt);

/// <summary>An operation that a backup caught before its end.</summary>
/// <param name="Operation">Its number.</param>
/// <param name="District">The district's code.</param>
/// <param name="Title">What it is, in words.</param>
/// <param name="Begun">It was at work; otherwise it waited.</param>
public sealed record UnfinishedOperation(long Operation, string District, string Title, bool Begun);

/// <summary>What a restore came to.</summary>
/// <param name="Content">What is there now.</param>
/// <param name="Kept">The file that keeps what was there before; null when nothing was.</param>
/// <param name="Unfinished">What a worker goes on with.</param>
/// <param name="SessionsEnded">Sign-ins that are not taken over: whoever was signed out since the backup stays so.</param>
/// <param name="Tokens">Access tokens that open the door again, those that were revoked since the backup among them.</param>
public sealed record RestoreResult(
    BackupContent Content,
    string? Kept,
    IReadOnlyList<UnfinishedOperation> Unfinished,
    long SessionsEnded,
    long Tokens
);

/// <summary>Backups and restores. A backup is one SQLite file, whichever database it is of, so that it can be looked into with common tools,
/// rehearsed anywhere, and carried from SQLite to PostgreSQL or back. It never contains the master key.</summary>
public sealed class Backup(RollcallDatabase database, TimeProvider time)
{
    private const int Corrupt = 11;
    private const int NotADatabase = 26;

    // A worker that was stopped before a restore, and goes on after it, has a number from before and what it proves itself with. So far beyond all
    // numbers that it can have, nobody else gets it.
    private const int NumbersLeftOut = 5000;

    // Each waits as long as the database is told to wait for others.
    private const int Checkpoints = 2;

    /// <summary>Writes a backup while everything goes on working. The file appears whole or not at all, readable by its owner alone.</summary>
    /// <param name="file">Where to; must not exist.</param>
    /// <param name="cancellationToken">Gives up; nothing is left behind.</param>
    /// <exception cref="RollcallException">The file exists or cannot be written.</exception>
    public async Task<BackupContent> WriteAsync(string file, CancellationToken cancellationToken = default)
    {
        file = Path.GetFullPath(file);
        if (File.Exists(file) || Directory.Exists(file))
        {
            throw new RollcallException($"{file} exists already. Choose another name: a backup is never overwritten.");
        }

        var draft = $"{file}.{Guid.NewGuid():N}.part";
        try
        {
            DeleteDeadDrafts(file);
            RollcallDatabase.CreatePrivate(draft);
            if (database.IsPostgres)
            {
                await CopyFromPostgresAsync(draft, cancellationToken);
            }
            else
            {
                // Compact, and without the free pages in which removed people would still stand.
                await using var connection = await database.OpenAsync(cancellationToken);
                await Sql.ExecuteAsync(connection, null, "VACUUM INTO @file", cancellationToken, ("@file", draft));
            }

            await CheckFileAsync(draft, file, cancellationToken);
            using (var written = new FileStream(draft, FileMode.Open, FileAccess.ReadWrite))
            {
                written.Flush(flushToDisk: true);
            }

            File.Move(draft, file, overwrite: false);
            return await ContentAsync(file, cancellationToken);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RollcallException($"The backup cannot be written: {e.Message} Choose another place, or make room.", e);
        }
        catch (SqliteException e) when (e.SqliteErrorCode is 10 or 13 or 14)
        {
            throw new RollcallException($"The backup {file} cannot be written: {e.Message} Choose another place, or make room.", e);
        }
        finally
        {
            RollcallDatabase.DeleteWithJournals(draft);
        }
    }

    /// <summary>A backup that was killed leaves its draft beside the target: a whole database that nobody restores, and that takes the room of the next
    /// one. Whoever writes one still has written to it within the hour.</summary>
    private void DeleteDeadDrafts(string file)
    {
        if (Path.GetDirectoryName(file) is not { } folder || !Directory.Exists(folder))
        {
            return;
        }

        List<string> drafts;
        try
        {
            drafts = [.. Directory.EnumerateFiles(folder, "*.part").Where(f => RollcallDatabase.IsDeadDraft(f, time.GetUtcNow()))];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A folder that one may write to need not be one that one may look into.
            return;
        }

        foreach (var draft in drafts)
        {
            try
            {
                RollcallDatabase.DeleteWithJournals(draft);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Somebody else's: no backup waits for that.
            }
        }
    }

    /// <summary>Looks into a backup without touching anything: is it whole, and of a version that this program can read.</summary>
    /// <exception cref="RollcallException">It is not; the message says why.</exception>
    public static async Task<BackupContent> InspectAsync(string file, CancellationToken cancellationToken = default)
    {
        file = Path.GetFullPath(file);
        await CheckFileAsync(file, file, cancellationToken);
        return await ContentAsync(file, cancellationToken);
    }

    /// <summary>Puts a backup in the place of the database. What was there is kept as a backup of its own in the data folder. A crash at
    /// any moment leaves the old database or the new one.</summary>
    /// <param name="file">The backup, of either database and of this version or an older one.</param>
    /// <param name="replace">Districts that are here already may be replaced.</param>
    /// <param name="cancellationToken">Gives up; the database stays as it was.</param>
    /// <exception cref="RollcallException">The file is no backup, something works on the database, or <paramref name="replace"/> is needed.</exception>
    public async Task<RestoreResult> RestoreAsync(string file, bool replace, CancellationToken cancellationToken = default)
    {
        var content = await InspectAsync(file, cancellationToken);
        using var worker = database.IsPostgres
            ? null
            : FileLock.TryAcquire(Path.Combine(database.DataFolder, Operations.OperationWorker.LockFile))
                ?? throw new RollcallException(
                    $"Another rollcall process works on the data folder {database.DataFolder}. Stop the server, then restore."
                );
        string? kept;
        long lastNumber = 0;
        var unusable = await WhyUnusableAsync(cancellationToken);
        if (unusable is not null)
        {
            kept = replace
                ? BeforeRestore()
                : throw new RollcallException(
                    $"The database {database.FilePath} {unusable}. --yes puts the backup in its place and keeps the file as it is in the data folder."
                );
        }
        else
        {
            await database.EnsureReadyAsync(cancellationToken);
            await RefuseLiveWorkAsync(cancellationToken);
            kept = await KeepPresentAsync(replace, cancellationToken);
            lastNumber = await LastNumberAsync(cancellationToken);
        }

        var staged = Path.Combine(database.DataFolder, $"{RollcallDatabase.RestoreDraft}{Guid.NewGuid():N}.db");
        try
        {
            RollcallDatabase.CreatePrivate(staged);
            await using (var source = new FileStream(content.File, FileMode.Open, FileAccess.Read, FileShare.Read))
            await using (var target = new FileStream(staged, FileMode.Truncate, FileAccess.Write))
            {
                await source.CopyToAsync(target, cancellationToken);
            }

            var result = await PrepareAsync(staged, new RestoreResult(content, kept, [], 0, 0), lastNumber, cancellationToken);
            if (database.IsPostgres)
            {
                await CopyToPostgresAsync(staged, lastNumber, cancellationToken);
            }
            else if (unusable is not null)
            {
                ReplaceUnusable(staged, kept!);
            }
            else
            {
                await ReplaceFileAsync(staged, cancellationToken);
            }

            return result;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RollcallException($"The backup cannot be restored: {e.Message} The database is as it was.", e);
        }
        finally
        {
            RollcallDatabase.DeleteWithJournals(staged);
        }
    }

    /// <summary>Why the file that is here can neither be worked with nor copied; null when it can. To replace such a one is what backups are for.</summary>
    private async Task<string?> WhyUnusableAsync(CancellationToken cancellationToken)
    {
        if (database.FilePath is not { } file || !File.Exists(file))
        {
            return null;
        }

        try
        {
            await using var connection = await database.OpenAsync(cancellationToken);
            await using (var check = connection.CreateCommand())
            {
                check.CommandText = "PRAGMA integrity_check(1)";
                if (await check.ExecuteScalarAsync(cancellationToken) is not "ok")
                {
                    return "is damaged";
                }
            }

            await using var context = database.CreateContext(connection, null);
            var known = context.Database.GetMigrations().ToHashSet(StringComparer.Ordinal);
            return (await context.Database.GetAppliedMigrationsAsync(cancellationToken)).All(known.Contains)
                ? null
                : "was written by a newer version of Rollcall";
        }
        catch (SqliteException e) when (e.SqliteErrorCode is Corrupt or NotADatabase)
        {
            return "is damaged";
        }
    }

    /// <summary>Keeps the file as it is, with what belongs to it, under another name, and puts the new one in its place in the same step: at no
    /// moment is there none, which a server that starts would take for a new installation.</summary>
    private void ReplaceUnusable(string staged, string kept)
    {
        var file = database.FilePath!;
        SqliteConnection.ClearAllPools();
        RollcallDatabase.DeleteWithJournals(kept);
        var moved = new List<string>();
        try
        {
            // Beside the new file these would be taken for its own.
            foreach (var beside in (string[])["-journal", "-wal", "-shm"])
            {
                if (File.Exists(file + beside))
                {
                    File.Move(file + beside, kept + beside);
                    moved.Add(beside);
                }
            }

            File.Replace(staged, file, kept, ignoreMetadataErrors: true);
        }
        catch
        {
            foreach (var beside in moved)
            {
                File.Move(kept + beside, file + beside);
            }

            throw;
        }

        RollcallDatabase.RestrictFile(kept);
    }

    private string BeforeRestore() =>
        Path.Combine(
            database.DataFolder,
            $"rollcall-before-restore-{time.GetUtcNow().ToString("yyyyMMdd-HHmmss", System.Globalization.CultureInfo.InvariantCulture)}.db"
        );

    private async Task RefuseLiveWorkAsync(CancellationToken cancellationToken)
    {
        if (!database.IsPostgres)
        {
            return;
        }

        await using var connection = await database.OpenAsync(cancellationToken);
        var live = await Sql.ScalarAsync(
            connection,
            null,
            $"SELECT COUNT(*) FROM operations WHERE status = {(int)Operations.OperationStatus.Running} AND lease_until >= {database.Bulk.NowMilliseconds}",
            cancellationToken
        );
        if (live > 0)
        {
            throw new RollcallException("A server is at work on this database. Stop every node, then restore.");
        }

        if (await OtherProcessAsync(connection, cancellationToken) is { } other)
        {
            throw new RollcallException($"{other} is connected to this database. Stop every node, then restore.");
        }
    }

    /// <summary>Another process that PostgreSQL has just heard of: machine and process; null when there is none.</summary>
    internal static async Task<string?> OtherProcessAsync(DbConnection connection, CancellationToken cancellationToken)
    {
        // Whatever connects calls itself so, and what this process connects has one name. A node that has nothing to do looks for work four times a second all the same.
        await using var nodes = connection.CreateCommand();
        nodes.CommandText = """
            SELECT DISTINCT application_name FROM pg_stat_activity
            WHERE datname = current_database() AND application_name LIKE 'rollcall %' AND application_name <> current_setting('application_name')
              AND state_change > clock_timestamp() - interval '20 seconds'
            """;
        return await nodes.ExecuteScalarAsync(cancellationToken) is string name ? $"{name} (machine:process)" : null;
    }

    private async Task<string?> KeepPresentAsync(bool replace, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        var districts = await context.Districts.CountAsync(cancellationToken);
        if (districts == 0 && !await context.Patrons.AnyAsync(cancellationToken))
        {
            return null;
        }

        if (!replace)
        {
            throw new RollcallException(
                $"{districts} district{(districts == 1 ? " is" : "s are")} here already with {await context.Patrons.CountAsync(cancellationToken)} patrons. --yes replaces them and keeps a backup of what is here in the data folder."
            );
        }

        return (await WriteAsync(BeforeRestore(), cancellationToken)).File;
    }

    /// <summary>The last number that an operation was given here, also of one that is gone since.</summary>
    private async Task<long> LastNumberAsync(CancellationToken cancellationToken)
    {
        await using var connection = await database.OpenAsync(cancellationToken);
        return await Sql.ScalarAsync(
            connection,
            null,
            database.IsPostgres
                ? "SELECT GREATEST(pg_sequence_last_value(pg_get_serial_sequence('operations', 'id')::regclass), (SELECT MAX(id) FROM operations), 0)"
                : "SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'operations'",
            cancellationToken
        );
    }

    /// <summary>Brings the copy to this version, and lets no worker of the time before it write under an old claim. What people did since
    /// to keep others out, signing them out or using a link up, is not undone.</summary>
    private async Task<RestoreResult> PrepareAsync(
        string staged,
        RestoreResult result,
        long lastNumber,
        CancellationToken cancellationToken
    )
    {
        await using var context = new SqliteRollcallContext(
            new DbContextOptionsBuilder<SqliteRollcallContext>().UseSqlite(Text(staged)).Options
        );
        await context.Database.MigrateAsync(cancellationToken);
        await context.Database.ExecuteSqlRawAsync(
            $"UPDATE operations SET fence = fence + 1000000, lease_until = 0 WHERE status IN ({(int)Operations.OperationStatus.Waiting}, {(int)Operations.OperationStatus.Running})",
            cancellationToken
        );
        await context.Database.ExecuteSqlAsync(
            $"""
            INSERT INTO sqlite_sequence (name, seq) SELECT 'operations', 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'operations');
            UPDATE sqlite_sequence SET seq = max(seq, {lastNumber}) + {NumbersLeftOut} WHERE name = 'operations'
            """,
            cancellationToken
        );
        await context.PendingSignIns.ExecuteDeleteAsync(cancellationToken);
        await context.OneTimeLinks.ExecuteDeleteAsync(cancellationToken);
        var now = time.GetUtcNow();
        var unfinished = await context
            .Operations.AsNoTracking()
            .Where(o => o.Status == Operations.OperationStatus.Waiting || o.Status == Operations.OperationStatus.Running)
            .Join(context.Districts, o => o.DistrictId, d => d.Id, (o, d) => new { Operation = o, d.Code })
            .OrderBy(x => x.Operation.Id)
            .ToListAsync(cancellationToken);
        return result with
        {
            Unfinished =
            [
                .. unfinished.Select(x => new UnfinishedOperation(
                    x.Operation.Id,
                    x.Code,
                    Operations.OperationQueue.Title(x.Operation),
                    x.Operation.Status == Operations.OperationStatus.Running || x.Operation.Planned
                )),
            ],
            SessionsEnded = await context.SignInSessions.ExecuteDeleteAsync(cancellationToken),
            Tokens = await context.AccessTokens.CountAsync(t => t.RevokedAt == null && t.ExpiresAt > now, cancellationToken),
        };
    }

    private async Task ReplaceFileAsync(string staged, CancellationToken cancellationToken)
    {
        if (File.Exists(database.FilePath))
        {
            await using var connection = await database.OpenAsync(cancellationToken);

            // Whoever reads may keep the newest pages in the file beside the database, which is to be deleted.
            for (
                var attempt = 1;
                await Sql.ScalarAsync(connection, null, "PRAGMA wal_checkpoint(TRUNCATE)", cancellationToken) != 0;
                attempt++
            )
            {
                if (attempt == Checkpoints)
                {
                    throw new RollcallException(
                        $"Another process still reads {database.FilePath}. The database is as it was: end what has it open, then restore."
                    );
                }

                await Task.Delay(200, cancellationToken);
            }
        }

        SqliteConnection.ClearAllPools();
        foreach (var beside in (string[])["-wal", "-shm"])
        {
            if (File.Exists(database.FilePath + beside))
            {
                File.Delete(database.FilePath + beside);
            }
        }

        File.Move(staged, database.FilePath!, overwrite: true);
    }

    private async Task CopyFromPostgresAsync(string draft, CancellationToken cancellationToken)
    {
        await using var target = new SqliteConnection(Text(draft));
        await target.OpenAsync(cancellationToken);
        await Sql.ExecuteAsync(
            target,
            null,
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA foreign_keys=OFF;",
            cancellationToken
        );
        await using var schema = new SqliteRollcallContext(new DbContextOptionsBuilder<SqliteRollcallContext>().UseSqlite(target).Options);
        await schema.Database.MigrateAsync(cancellationToken);
        await using var source = await database.OpenForWholeTablesAsync(cancellationToken);

        // One moment for all tables, whatever is written meanwhile.
        await using var moment = await source.BeginTransactionAsync(IsolationLevel.RepeatableRead, cancellationToken);
        await HungNode.AllowPausesAsync(source, moment, cancellationToken);
        await using var write = (SqliteTransaction)await target.BeginTransactionAsync(cancellationToken);
        foreach (var table in Tables(schema))
        {
            await using var read = new NpgsqlCommand($"SELECT {table.ColumnList} FROM {table.Name}", source, moment);
            await using var rows = await read.ExecuteReaderAsync(cancellationToken);
            await using var insert = target.CreateCommand();
            insert.Transaction = write;
            insert.CommandText =
                $"INSERT INTO {table.Name} ({table.ColumnList}) VALUES ({string.Join(", ", table.Columns.Select((_, i) => $"@p{i}"))})";
            var parameters = table.Columns.Select((_, i) => insert.Parameters.AddWithValue($"@p{i}", DBNull.Value)).ToArray();
            await insert.PrepareAsync(cancellationToken);
            while (await rows.ReadAsync(cancellationToken))
            {
                for (var i = 0; i < parameters.Length; i++)
                {
                    parameters[i].Value = table.Read(rows, i);
                }

                await insert.ExecuteNonQueryAsync(cancellationToken);
            }
        }

        await write.CommitAsync(cancellationToken);
    }

    private async Task CopyToPostgresAsync(string staged, long lastNumber, CancellationToken cancellationToken)
    {
        await using var source = new SqliteConnection(Text(staged));
        await source.OpenAsync(cancellationToken);
        await using var context = database.CreateContext();
        var tables = Tables(context);
        await using var target = await database.OpenForWholeTablesAsync(cancellationToken);
        await using var transaction = await target.BeginTransactionAsync(cancellationToken);
        await HungNode.AllowPausesAsync(target, transaction, cancellationToken);
        await Sql.ExecuteAsync(
            target,
            transaction,
            $"TRUNCATE {string.Join(", ", tables.Select(t => t.Name))} RESTART IDENTITY",
            cancellationToken
        );
        foreach (var table in tables)
        {
            await using (
                var writer = await target.BeginBinaryImportAsync(
                    $"COPY {table.Name} ({table.ColumnList}) FROM STDIN (FORMAT BINARY)",
                    cancellationToken
                )
            )
            {
                await using var read = source.CreateCommand();
                read.CommandText = $"SELECT {table.ColumnList} FROM {table.Name}";
                await using var rows = await read.ExecuteReaderAsync(cancellationToken);
                while (await rows.ReadAsync(cancellationToken))
                {
                    await writer.StartRowAsync(cancellationToken);
                    for (var i = 0; i < table.Columns.Count; i++)
                    {
                        var value = table.Read(rows, i);
                        if (value is DBNull)
                        {
                            await writer.WriteNullAsync(cancellationToken);
                        }
                        else if (table.Columns[i].IsJson)
                        {
                            await writer.WriteAsync((string)value, NpgsqlTypes.NpgsqlDbType.Jsonb, cancellationToken);
                        }
                        else
                        {
                            await writer.WriteAsync(value, cancellationToken);
                        }
                    }
                }

                await writer.CompleteAsync(cancellationToken);
            }

            foreach (var identity in table.Columns.Where(c => c.IsIdentity))
            {
                await Sql.ExecuteAsync(
                    target,
                    transaction,
                    $"SELECT setval(pg_get_serial_sequence('{table.Name}', '{identity.Name}'), COALESCE(MAX({identity.Name}), 1), MAX({identity.Name}) IS NOT NULL) FROM {table.Name}",
                    cancellationToken
                );
            }
        }

        await Sql.ExecuteAsync(
            target,
            transaction,
            "SELECT setval(pg_get_serial_sequence('operations', 'id'), GREATEST((SELECT MAX(id) FROM operations), @last) + @more)",
            cancellationToken,
            ("@last", lastNumber),
            ("@more", (long)NumbersLeftOut)
        );
        await transaction.CommitAsync(cancellationToken);
    }

    private static async Task CheckFileAsync(string file, string shown, CancellationToken cancellationToken)
    {
        if (!File.Exists(file))
        {
            throw new RollcallException($"There is no file {shown}.");
        }

        try
        {
            var start = new byte[RollcallDatabase.Header.Length];
            await using (var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite))
            {
                if (await stream.ReadAtLeastAsync(start, start.Length, throwOnEndOfStream: false, cancellationToken) < start.Length)
                {
                    start = [];
                }
            }

            if (!start.AsSpan().SequenceEqual(RollcallDatabase.Header))
            {
                throw new RollcallException($"{shown} is no backup: 'rollcall db backup FILE' makes one.");
            }

            await using var connection = new SqliteConnection(Text(file, readOnly: true));
            await connection.OpenAsync(cancellationToken);
            await using (var check = connection.CreateCommand())
            {
                check.CommandText = "PRAGMA integrity_check(1)";
                if (await check.ExecuteScalarAsync(cancellationToken) is not "ok")
                {
                    throw new RollcallException($"{shown} is damaged. Take another backup.");
                }
            }

            await using var context = new SqliteRollcallContext(
                new DbContextOptionsBuilder<SqliteRollcallContext>().UseSqlite(connection).Options
            );
            var known = context.Database.GetMigrations().ToHashSet(StringComparer.Ordinal);
            var applied = (await context.Database.GetAppliedMigrationsAsync(cancellationToken)).ToList();
            if (applied.Count == 0)
            {
                throw new RollcallException($"{shown} is no backup of Rollcall: it has none of its tables.");
            }

            if (applied.Any(a => !known.Contains(a)))
            {
                throw new RollcallException($"{shown} was made by a newer version of Rollcall. Install that version, then restore.");
            }
        }
        catch (SqliteException e)
        {
            throw new RollcallException($"{shown} cannot be read as a backup: {e.Message} Take another one.", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RollcallException($"{shown} cannot be read: {e.Message}", e);
        }
    }

    private static async Task<BackupContent> ContentAsync(string file, CancellationToken cancellationToken)
    {
        await using var connection = new SqliteConnection(Text(file, readOnly: true));
        await connection.OpenAsync(cancellationToken);
        async Task<long> CountAsync(string sql) => await Sql.ScalarAsync(connection, null, sql, cancellationToken);
        var latest = await CountAsync("SELECT COALESCE(MAX(created_at), -1) FROM operations");
        return new BackupContent(
            file,
            new FileInfo(file).Length,
            await CountAsync("SELECT COUNT(*) FROM districts"),
            await CountAsync("SELECT COUNT(*) FROM patrons"),
            await CountAsync("SELECT COUNT(*) FROM operations"),
            latest < 0 ? null : DateTimeOffset.FromUnixTimeMilliseconds(latest)
        );
    }

    private static string Text(string file, bool readOnly = false) =>
        new SqliteConnectionStringBuilder
        {
            DataSource = file,
            Pooling = false,
            Mode = readOnly ? SqliteOpenMode.ReadOnly : SqliteOpenMode.ReadWriteCreate,
        }.ToString();

    private sealed record Column(string Name, Type Type, bool IsIdentity, bool IsJson = false);

    private sealed record Table(string Name, IReadOnlyList<Column> Columns)
    {
        public string ColumnList { get; } = string.Join(", ", Columns.Select(c => $"\"{c.Name}\""));

        /// <summary>The value as the model stores it, alike for both databases.</summary>
        public object Read(DbDataReader rows, int column)
        {
            if (rows.IsDBNull(column))
            {
                return DBNull.Value;
            }

            var type = Columns[column].Type;
            return type == typeof(string) ? rows.GetString(column)
                : type == typeof(long) ? rows.GetInt64(column)
                : type == typeof(int) ? rows.GetInt32(column)
                : type == typeof(short) ? rows.GetInt16(column)
                : type == typeof(bool) ? rows.GetBoolean(column)
                : type == typeof(double) ? rows.GetDouble(column)
                : type == typeof(Guid) ? rows.GetGuid(column)
                : type == typeof(byte[]) ? rows.GetFieldValue<byte[]>(column)
                : throw new NotSupportedException($"Column {Name}.{Columns[column].Name} is of {type}, which backups do not carry yet.");
        }
    }

    /// <summary>The tables of the model, those that others point to first.</summary>
    private static List<Table> Tables(RollcallContext context)
    {
        var left = context.Model.GetEntityTypes().Where(e => e.GetTableName() is not null && !e.IsOwned()).ToList();
        var done = new List<Table>();
        var names = new HashSet<string>(StringComparer.Ordinal);
        while (left.Count > 0)
        {
            var next =
                left.FirstOrDefault(e =>
                    e.GetForeignKeys().All(f => f.PrincipalEntityType == e || names.Contains(f.PrincipalEntityType.GetTableName()!))
                ) ?? left[0];
            left.Remove(next);
            var name = next.GetTableName()!;
            if (!names.Add(name))
            {
                continue;
            }

            var table = StoreObjectIdentifier.Table(name);
            done.Add(
                new Table(
                    name,
                    [
                        .. next.GetProperties()
                            .Where(p => p.GetColumnName(table) is not null)
                            .Select(p =>
                            {
                                var stored = p.FindRelationalTypeMapping(table)?.Converter?.ProviderClrType ?? p.ClrType;
                                stored = Nullable.GetUnderlyingType(stored) ?? stored;
                                stored = stored.IsEnum ? Enum.GetUnderlyingType(stored) : stored;
                                return new Column(
                                    p.GetColumnName(table)!,
                                    stored,
                                    p.ValueGenerated == ValueGenerated.OnAdd
                                        && p.IsPrimaryKey()
                                        && (stored == typeof(int) || stored == typeof(long))
                                        && next.FindPrimaryKey()!.Properties.Count == 1
                                );
                            }),
                        .. next.GetNavigations()
                            .Where(n => n.TargetEntityType.IsMappedToJson() && n.TargetEntityType.IsOwned() && !n.IsOnDependent)
                            .Select(n => new Column(n.TargetEntityType.GetContainerColumnName()!, typeof(string), false, IsJson: true)),
                    ]
                )
            );
        }

        return done;
    }
}
