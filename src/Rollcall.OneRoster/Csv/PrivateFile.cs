namespace Rollcall.OneRoster.Csv;

/// <summary>A file that nobody else can read, and of which nothing is left however the process ends.</summary>
internal static class PrivateFile
{
    public static FileStream Open()
    {
        var path = Path.Combine(Path.GetTempPath(), $"rollcall-{Guid.NewGuid():N}");
        var options = new FileStreamOptions
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.ReadWrite,
            Share = FileShare.Delete,
            BufferSize = 0,
            Options = FileOptions.DeleteOnClose | FileOptions.RandomAccess,
        };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        }

        var file = new FileStream(path, options);
        if (!OperatingSystem.IsWindows())
        {
            File.Delete(path);
        }

        return file;
    }
}
