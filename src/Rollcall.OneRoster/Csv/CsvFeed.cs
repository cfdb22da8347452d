namespace Rollcall.OneRoster.Csv;

/// <summary>A package of a feed: where it is, when it came, and what tells its content from others.</summary>
/// <param name="Path">A zip archive, or the feed's folder itself.</param>
/// <param name="Name">Its file name.</param>
/// <param name="Time">When it was last written.</param>
/// <param name="Hash">Hash of its content.</param>
public sealed record CsvFeedPackage(string Path, string Name, DateTimeOffset Time, string Hash);

/// <summary>A folder into which a district puts CSV: either the files themselves, or zip archives, one for each delivery.</summary>
/// <param name="folder">The folder.</param>
/// <param name="time">The clock, for waiting.</param>
/// <param name="settle">How long files must have been left alone before they count as complete.</param>
/// <param name="patience">How long to wait for that.</param>
public sealed class CsvFeed(string folder, TimeProvider time, TimeSpan? settle = null, TimeSpan? patience = null)
{
    private static readonly string[] s_unfinished = [".part", ".partial", ".tmp", ".temp", ".filepart", ".crdownload", ".download", ".swp"];
    private readonly TimeSpan settle = settle ?? TimeSpan.FromSeconds(2);
    private readonly TimeSpan patience = patience ?? TimeSpan.FromSeconds(60);

    /// <summary>What lies in the folder: the packages in the order in which they came, those of one moment by name.</summary>
    /// <exception cref="RosterException">The folder is missing or unreadable, holds nothing, or is still being written.</exception>
    public async Task<IReadOnlyList<CsvFeedPackage>> ListAsync(CancellationToken cancellationToken = default)
    {
        try
        {
            var files = await SettledAsync(cancellationToken);
            var archives = files.Where(f => f.Extension.Equals(".zip", StringComparison.OrdinalIgnoreCase)).ToList();
            var loose = files.Where(f => CsvContainer.IsCsv(f.Name)).ToList();
            if (archives.Count > 0 && loose.Count > 0)
            {
                throw new RosterException(
                    RosterFault.NotARoster,
                    $"'{folder}' holds CSV files and zip archives side by side, so nobody can tell which count. Leave only one kind there."
                );
            }

            if (archives.Count == 0 && loose.Count == 0)
            {
                throw new RosterException(
                    RosterFault.NotARoster,
                    $"'{folder}' holds neither CSV files nor zip archives. Have the district put its OneRoster CSV there, or connect the folder that it uses."
                );
            }

            return loose.Count > 0
                ?
                [
                    new CsvFeedPackage(
                        folder,
                        Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder))),
                        new DateTimeOffset(loose.Max(f => f.LastWriteTimeUtc), TimeSpan.Zero),
                        CsvPackage.HashOf(folder, cancellationToken)
                    ),
                ]
                :
                [
                    .. archives
                        .OrderBy(f => f.LastWriteTimeUtc)
                        .ThenBy(f => f.Name, StringComparer.Ordinal)
                        .Select(f => new CsvFeedPackage(
                            f.FullName,
                            f.Name,
                            new DateTimeOffset(f.LastWriteTimeUtc, TimeSpan.Zero),
                            CsvPackage.HashOf(f.FullName, cancellationToken)
                        )),
                ];
        }
        catch (Exception e) when (e is DirectoryNotFoundException or FileNotFoundException)
        {
            throw new RosterException(
                RosterFault.Unreachable,
                $"The folder '{folder}' does not exist. Check the path, and that the disk or share it lies on is there.",
                e
            );
        }
        catch (Exception e) when (e is UnauthorizedAccessException or IOException)
        {
            throw new RosterException(
                RosterFault.Unreachable,
                $"The folder '{folder}' cannot be read ({e.Message.TrimEnd('.')}). Let the account that Rollcall runs as read it.",
                e
            );
        }
    }

    /// <summary>Whether files of the folder are other than they were.</summary>
    public Func<bool> Watch()
    {
        var before = Snapshot();
        return () => !Same(before, Snapshot());
    }

    /// <summary>The files once none of them was written for a while.</summary>
    private async Task<List<FileInfo>> SettledAsync(CancellationToken cancellationToken)
    {
        var until = time.GetTimestamp();
        var before = Snapshot();
        while (true)
        {
            var age =
                before.Count == 0
                    ? settle
                    : DateTime.UnixEpoch + (time.GetUtcNow() - DateTimeOffset.UnixEpoch) - before.Max(f => f.LastWriteTimeUtc);

            // A time to come is another computer's clock; such files are looked at twice instead.
            var wait = age < TimeSpan.Zero ? settle : settle - age;
            if (wait <= TimeSpan.Zero)
            {
                return before;
            }

            await Task.Delay(wait, time, cancellationToken);
            var now = Snapshot();
            if (Same(before, now))
            {
                return now;
            }

            if (time.GetElapsedTime(until) > patience)
            {
                throw new RosterException(
                    RosterFault.Incomplete,
                    $"Files in '{folder}' are still being written. Run the sync again when the transfer is over."
                );
            }

            before = now;
        }
    }

    private List<FileInfo> Snapshot() =>
        [
            .. new DirectoryInfo(folder)
                .EnumerateFiles()
                .Where(f => !CsvContainer.IsLeftOver(f.Name) && !s_unfinished.Contains(f.Extension, StringComparer.OrdinalIgnoreCase))
                .Where(f => CsvContainer.IsCsv(f.Name) || f.Extension.Equals(".zip", StringComparison.OrdinalIgnoreCase))
                .OrderBy(f => f.Name, StringComparer.Ordinal),
        ];

    private static bool Same(List<FileInfo> a, List<FileInfo> b) =>
        a.Count == b.Count
        && a.Zip(b)
            .All(p =>
                p.First.Name == p.Second.Name && p.First.Length == p.Second.Length && p.First.LastWriteTimeUtc == p.Second.LastWriteTimeUtc
            );
}
