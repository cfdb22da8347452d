using System.Globalization;
using Rollcall.Storage;

namespace Rollcall.Server.Watch;

/// <summary>One thing that a node needs to be of use.</summary>
/// <param name="Name">Database, clock, disk, schedule or worker.</param>
/// <param name="Trouble">What is wrong, for the operator alone; null when nothing is.</param>
/// <param name="Serves">Pages can be asked of the node all the same: a balancer that is to take it away would take away all, where it is the database's
/// clock that is wrong.</param>
internal sealed record ReadyCheck(string Name, string? Trouble, bool Serves = false);

/// <summary>Whether this node is of use, as opposed to merely alive. Anybody may ask as often as they like: it looks once in two seconds.</summary>
internal sealed class NodeHealth(RollcallDatabase database, Pulse pulse, Watching watching, TimeProvider time) : IDisposable
{
    private static readonly TimeSpan s_fresh = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_writeEvery = TimeSpan.FromSeconds(30);
    private readonly SemaphoreSlim _gate = new(1);
    private (long At, IReadOnlyList<ReadyCheck> Checks)? _last;
    private (long At, bool Works)? _written;
    private readonly NodeClock _clock = new(database, time);

    public void Dispose() => _gate.Dispose();

    public async Task<IReadOnlyList<ReadyCheck>> LookAsync(CancellationToken cancellationToken)
    {
        await _gate.WaitAsync(cancellationToken);
        try
        {
            if (_last is { } last && time.GetElapsedTime(last.At) < s_fresh)
            {
                return last.Checks;
            }

            var trouble = await DatabaseAsync();
            List<ReadyCheck> checks =
            [
                new("database", trouble),
                .. database.IsPostgres
                    ? [new ReadyCheck("clock", trouble is null ? await ClockAsync() : null, Serves: true)]
                    : Array.Empty<ReadyCheck>(),
                new("disk", Disk()),
                .. pulse
                    .Parts()
                    .Select(p => new ReadyCheck(
                        p.Part,
                        p.SilentFor is { } silence
                            ? string.Create(CultureInfo.InvariantCulture, $"silent for {silence.TotalSeconds:0} seconds")
                            : null
                    )),
            ];
            _last = (time.GetTimestamp(), checks);
            return checks;
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>Room where the data folder is, in bytes; null when the system does not say.</summary>
    public long? FreeBytes()
    {
        try
        {
            return new DriveInfo(database.DataFolder).AvailableFreeSpace;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return null;
        }
    }

    private async Task<string?> ClockAsync()
    {
        using var patience = new CancellationTokenSource(s_patience, time);
        try
        {
            return await _clock.TroubleAsync(patience.Token).WaitAsync(s_patience, time, CancellationToken.None);
        }
        catch (Exception e) when (DatabaseErrors.IsFault(e) || e is TimeoutException or OperationCanceledException)
        {
            // The database tells of itself, at the next look.
            return null;
        }
    }

    private async Task<string?> DatabaseAsync()
    {
        // Whoever asks may go away; the answer is for the next one too.
        using var patience = new CancellationTokenSource(s_patience, time);
        try
        {
            if (database.FilePath is { } file && !File.Exists(file))
            {
                return "the file is gone";
            }

            if ((await database.PendingMigrationsAsync(patience.Token).WaitAsync(s_patience, time, CancellationToken.None)).Count > 0)
            {
                return "not migrated to this version";
            }

            return
                await database.IsReadOnlyAsync(patience.Token).WaitAsync(s_patience, time, CancellationToken.None)
                || !await CanWriteAsync(patience.Token).WaitAsync(s_patience, time, CancellationToken.None)
                ? "takes no writes"
                : null;
        }
        catch (Exception e)
            when (DatabaseErrors.IsFault(e)
                || e is TimeoutException or InvalidOperationException or OperationCanceledException or IOException
            )
        {
            return "does not answer";
        }
    }

    /// <summary>Tried by writing, twice a minute: a disk that is full, and a file system that has become read-only, let everything be read.</summary>
    private async Task<bool> CanWriteAsync(CancellationToken cancellationToken)
    {
        if (_written is { } written && time.GetElapsedTime(written.At) < s_writeEvery)
        {
            return written.Works;
        }

        var works = true;
        try
        {
            await database.TryWritingAsync(cancellationToken);
        }
        catch (Exception e) when (DatabaseErrors.IsFault(e))
        {
            works = false;
        }

        _written = (time.GetTimestamp(), works);
        return works;
    }

    private string? Disk() =>
        FreeBytes() is not { } free ? "the data folder cannot be read"
        : free < watching.LeastFreeMegabytes * 1024 * 1024
            ? string.Create(CultureInfo.InvariantCulture, $"{free / 1024 / 1024} MB are free, {watching.LeastFreeMegabytes} are wanted")
        : null;
}
