namespace Rollcall.Storage;

/// <summary>An exclusive lock of the operating system on a file: freed with its process, even by a kill.</summary>
public sealed class FileLock : IDisposable
{
    private readonly FileStream _stream;

    private FileLock(FileStream stream) => _stream = stream;

    /// <summary>Takes the lock; null when another process has it.</summary>
    public static FileLock? TryAcquire(string path)
    {
        try
        {
            return new FileLock(new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None));
        }
        catch (IOException e) when (IsTaken(e))
        {
            return null;
        }
        catch (IOException e) when (e is not (DirectoryNotFoundException or PathTooLongException))
        {
            throw new RollcallException($"{path} cannot be written: {e.Message.TrimEnd('.')}. Check the disk of the data folder.", e);
        }
        catch (UnauthorizedAccessException e)
        {
            throw new RollcallException($"{path} cannot be written: {e.Message} Check who owns the data folder.", e);
        }
    }

    /// <summary>Somebody else has the file, as opposed to a disk that is full or read-only.</summary>
    private static bool IsTaken(IOException e) =>
        OperatingSystem.IsWindows()
            // ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION.
            ? (e.HResult & 0xFFFF) is 32 or 33
            // EWOULDBLOCK of Linux, and of the BSDs.
            : e.HResult is 11 or 35;

    /// <summary>Waits for the lock.</summary>
    public static FileLock Acquire(string path, TimeSpan patience)
    {
        var deadline = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        while (true)
        {
            if (TryAcquire(path) is { } taken)
            {
                return taken;
            }

            if (Environment.TickCount64 > deadline)
            {
                throw new RollcallException($"Another process holds {path} for too long. End it, then try again.");
            }

            using var pause = new ManualResetEventSlim();
            pause.Wait(50);
        }
    }

    public void Dispose() => _stream.Dispose();
}
