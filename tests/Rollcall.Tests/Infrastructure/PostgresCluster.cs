using System.Diagnostics;
using Npgsql;

namespace Rollcall.Tests.Infrastructure;

/// <summary>One throw-away PostgreSQL cluster a test run, on a Unix socket in a temporary folder. Without PostgreSQL the tests fail:
/// a database that is not tested is a database that does not work.</summary>
public sealed class PostgresCluster : IAsyncLifetime
{
    private readonly SemaphoreSlim _templateGate = new(1);
    private string? _folder;
    private string? _binaries;
    private bool _asPostgres;
    private int _databases;
    private bool _templateReady;
    private string? _given;
    private bool _durable;

    public async ValueTask InitializeAsync()
    {
        _given = Environment.GetEnvironmentVariable("ROLLCALL_TEST_POSTGRES");
        if (string.IsNullOrWhiteSpace(_given))
        {
            _given = null;
            await StartAsync(NewFolder());
        }
    }

    /// <summary>One more cluster, for a test that does to it what others could not bear.</summary>
    /// <param name="folder">Where its data are to be; null for a temporary folder.</param>
    /// <param name="durable">Whether a commit waits for the disk, as where people's data are.</param>
    public static async Task<PostgresCluster> OwnAsync(string? folder = null, bool durable = false)
    {
        var cluster = new PostgresCluster { _durable = durable };
        await cluster.StartAsync(folder ?? NewFolder());
        return cluster;
    }

    /// <summary>Ends the server in this mode of pg_ctl, and starts it after a pause. One that has ended by itself is started.</summary>
    public async Task RestartAsync(string mode, TimeSpan pause)
    {
        try
        {
            await ServerAsync("pg_ctl", "-D", Path.Combine(_folder!, "data"), "-m", mode, "-w", "stop");
        }
        catch (InvalidOperationException)
        {
            // A full disk ends it.
        }

        await Task.Delay(pause);
        await ServerAsync(
            "pg_ctl",
            "-D",
            Path.Combine(_folder!, "data"),
            "-w",
            "-l",
            Path.Combine(_folder!, "log"),
            "-o",
            Options,
            "start"
        );
    }

    // In memory where there is room for it: a copy of a database is a thousand files, which a disk takes half a second for.
    private static string NewFolder()
    {
        const string memory = "/dev/shm";
        const long room = 2L << 30;
        if (!Directory.Exists(memory) || new DriveInfo(memory).AvailableFreeSpace < room)
        {
            return Directory.CreateTempSubdirectory("rollcall-pg-").FullName;
        }

        return Directory.CreateDirectory(Path.Combine(memory, $"rollcall-pg-{Path.GetRandomFileName()}")).FullName;
    }

    private string Options =>
        $"-c listen_addresses='' -c unix_socket_directories='{_folder}' -c max_connections=300{(_durable ? "" : " -c fsync=off -c full_page_writes=off")}";

    private async Task StartAsync(string folder)
    {
        _folder = folder;
        _binaries = Directory.Exists("/usr/lib/postgresql")
            ? Directory
                .GetDirectories("/usr/lib/postgresql")
                .Select(d => Path.Combine(d, "bin"))
                .Where(d => File.Exists(Path.Combine(d, "initdb")))
                .OrderDescending(StringComparer.Ordinal)
                .FirstOrDefault()
            : null;
        if (_binaries is null)
        {
            throw new InvalidOperationException(
                "PostgreSQL is not installed. ./test installs it; or set ROLLCALL_TEST_POSTGRES to a server that tests may fill."
            );
        }

        _asPostgres = Environment.UserName == "root";
        if (_asPostgres)
        {
            await RunAsync("chown", "postgres", _folder);
        }

        await ServerAsync("initdb", "-D", Path.Combine(_folder, "data"), "-U", "rollcall", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8");
        await ServerAsync("pg_ctl", "-D", Path.Combine(_folder, "data"), "-w", "-l", Path.Combine(_folder, "log"), "-o", Options, "start");
    }

    /// <summary>A fresh, migrated database of its own.</summary>
    public async Task<string> CreateDatabaseAsync()
    {
        await _templateGate.WaitAsync();
        try
        {
            if (!_templateReady)
            {
                await SqlAsync("postgres", "DROP DATABASE IF EXISTS rollcall_template");
                await SqlAsync("postgres", "CREATE DATABASE rollcall_template");
                using var folder = new TempFolder();
                await using (
                    var database = new Rollcall.Storage.RollcallDatabase(
                        new Rollcall.Storage.StorageOptions(folder.Path, Connection("rollcall_template"))
                    )
                )
                {
                    await database.MigrateAsync();
                }

                NpgsqlConnection.ClearAllPools();
                _templateReady = true;
            }

            var name = $"rollcall_{Environment.ProcessId}_{Interlocked.Increment(ref _databases)}";
            await SqlAsync("postgres", $"CREATE DATABASE {name} TEMPLATE rollcall_template");
            return Connection(name);
        }
        finally
        {
            _templateGate.Release();
        }
    }

    /// <summary>A fresh database without anything in it.</summary>
    public async Task<string> CreateEmptyDatabaseAsync()
    {
        var name = $"rollcall_{Environment.ProcessId}_{Interlocked.Increment(ref _databases)}";
        await SqlAsync("postgres", $"CREATE DATABASE {name}");
        return Connection(name);
    }

    /// <summary>A copy of a database. Whoever is connected to it is thrown out.</summary>
    public async Task<string> CopyDatabaseAsync(string connection)
    {
        var from = new NpgsqlConnectionStringBuilder(connection).Database;
        var name = $"rollcall_{Environment.ProcessId}_{Interlocked.Increment(ref _databases)}";
        for (var attempt = 1; ; attempt++)
        {
            await SqlAsync("postgres", $"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{from}'");
            try
            {
                await SqlAsync("postgres", $"CREATE DATABASE {name} TEMPLATE {from}");
                return Connection(name);
            }
            catch (PostgresException e) when (e.SqlState == PostgresErrorCodes.ObjectInUse && attempt < 20)
            {
                // A session that has just been thrown out is still on its way.
                await Task.Delay(50);
            }
        }
    }

    /// <summary>Takes a database away, whoever is connected to it.</summary>
    public Task DropDatabaseAsync(string connection) =>
        SqlAsync("postgres", $"DROP DATABASE {new NpgsqlConnectionStringBuilder(connection).Database} WITH (FORCE)");

    private string Connection(string database) =>
        new NpgsqlConnectionStringBuilder(_given ?? $"Host={_folder};Username=rollcall")
        {
            Database = database,
            MaxPoolSize = 20,
        }.ToString();

    private async Task SqlAsync(string database, string sql)
    {
        await using var connection = new NpgsqlConnection(
            new NpgsqlConnectionStringBuilder(Connection(database)) { Pooling = false }.ToString()
        );
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync();
    }

    private Task ServerAsync(string program, params string[] arguments)
    {
        var path = Path.Combine(_binaries!, program);
        return _asPostgres ? RunAsync("runuser", ["-u", "postgres", "--", path, .. arguments]) : RunAsync(path, arguments);
    }

    private static async Task RunAsync(string program, params string[] arguments)
    {
        // The server inherits the streams it is started with; /dev/null keeps this call from waiting for it to end.
        var start = new ProcessStartInfo("/bin/sh") { WorkingDirectory = "/" };
        start.ArgumentList.Add("-c");
        start.ArgumentList.Add("exec \"$@\" >/dev/null 2>&1 </dev/null");
        start.ArgumentList.Add("sh");
        start.ArgumentList.Add(program);
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        using var process = Process.Start(start)!;
        await process.WaitForExitAsync();
        if (process.ExitCode != 0)
        {
            throw new InvalidOperationException($"{program} ended with {process.ExitCode}");
        }
    }

    public async ValueTask DisposeAsync()
    {
        _templateGate.Dispose();
        if (_folder is null)
        {
            return;
        }

        NpgsqlConnection.ClearAllPools();
        await ServerAsync("pg_ctl", "-D", Path.Combine(_folder, "data"), "-m", "immediate", "stop");
        Directory.Delete(_folder, recursive: true);
    }
}

/// <summary>A folder that goes when the test does.</summary>
/// <param name="parent">Where it is made; null for where temporary folders are.</param>
public sealed class TempFolder(string? parent = null) : IDisposable
{
    public string Path { get; } =
        parent is null
            ? Directory.CreateTempSubdirectory("rollcall-test-").FullName
            : Directory.CreateDirectory(System.IO.Path.Combine(parent, $"rollcall-test-{Guid.NewGuid():N}")).FullName;

    public void Dispose()
    {
        Microsoft.Data.Sqlite.SqliteConnection.ClearAllPools();
        try
        {
            Directory.Delete(Path, recursive: true);
        }
        catch (IOException)
        {
            // A file that a killed worker still holds goes with the temporary folder.
        }
    }
}
