using System.CommandLine;
using System.Text;

namespace Rollcall.Server.Commands;

/// <summary>The files that a command names: those of this machine, or what came along with a command over the API.</summary>
internal interface IFiles
{
    /// <summary>Opens a file to read it.</summary>
    /// <exception cref="FileNotFoundException">There is none.</exception>
    Stream OpenRead(string path);

    /// <summary>Writes a file whole or not at all, for its owner alone.</summary>
    /// <returns>What <paramref name="write"/> counted.</returns>
    Task<long> WriteAsync(string path, Func<TextWriter, Task<long>> write);

    /// <summary>A file's name as programs want it.</summary>
    string FullName(string path);
}

/// <summary>An option that names a file of whoever typed the command.</summary>
internal sealed class FileOption(string name, params string[] aliases) : Option<string?>(name, aliases)
{
    /// <summary>The command writes it; without being told it reads it.</summary>
    public bool IsWritten { get; init; }
}

/// <summary>An argument that names a file that the command reads; <c>-</c> is what is piped in.</summary>
internal sealed class FileArgument(string name) : Argument<string>(name);

/// <summary>Files of this machine.</summary>
internal sealed class DiskFiles : IFiles
{
    public static readonly DiskFiles Instance = new();

    private DiskFiles() { }

    // Read as a stream: it may be a pipe, which has no length.
    public Stream OpenRead(string path) => new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);

    public string FullName(string path) => Path.GetFullPath(path);

    /// <summary>Written beside and moved: nobody ever finds half a file, and a failure leaves the old one.</summary>
    public async Task<long> WriteAsync(string path, Func<TextWriter, Task<long>> write)
    {
        var target = Path.GetFullPath(path);
        if (Directory.Exists(target))
        {
            throw new RollcallException($"{path} is a folder. Name a file.");
        }

        if (!Directory.Exists(Path.GetDirectoryName(target)))
        {
            throw new RollcallException($"The folder {Path.GetDirectoryName(target)} does not exist. Make it, or name another file.");
        }

        target = Behind(target);
        if (IsNoFile(target))
        {
            return await WriteIntoAsync(path, target, write);
        }

        var draft = $"{target}.{Guid.NewGuid():N}.part";
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write };
        if (!OperatingSystem.IsWindows())
        {
            // Children's data: for the owner alone.
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        }

        try
        {
            long count;
            await using (var writer = new StreamWriter(draft, new UTF8Encoding(false), options))
            {
                count = await write(writer);
            }

            File.Move(draft, target, overwrite: true);
            return count;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RollcallException($"The file {path} cannot be written: {e.Message}", e);
        }
        finally
        {
            File.Delete(draft);
        }
    }

    /// <summary>Where a link leads: what is written goes there, and the link stays. Those of devices lead to a pipe or a terminal, which have no name
    /// of their own.</summary>
    private static string Behind(string target)
    {
        if (IsOfDevices(target) || new FileInfo(target).LinkTarget is null)
        {
            return target;
        }

        try
        {
            return new FileInfo(target).ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? target;
        }
        catch (IOException e)
        {
            throw new RollcallException($"{target} is a link that leads nowhere: {e.Message.TrimEnd('.')}. Name a file.", e);
        }
    }

    /// <summary>A device: it is written to, and nothing takes its place.</summary>
    private static bool IsNoFile(string target) => File.Exists(target) && IsOfDevices(target);

    private static bool IsOfDevices(string target) =>
        target.StartsWith("/dev/", StringComparison.Ordinal) && !target.StartsWith("/dev/shm/", StringComparison.Ordinal)
        || target.StartsWith("/proc/", StringComparison.Ordinal);

    private static async Task<long> WriteIntoAsync(string path, string target, Func<TextWriter, Task<long>> write)
    {
        try
        {
            await using var writer = new StreamWriter(
                target,
                new UTF8Encoding(false),
                new FileStreamOptions { Mode = FileMode.Truncate, Access = FileAccess.Write }
            );
            return await write(writer);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RollcallException($"{path} cannot be written to: {e.Message}", e);
        }
    }
}
