using System.CommandLine;
using System.Globalization;
using Rollcall.Integrations;
using Rollcall.OneRoster.Csv;
using Rollcall.Sync;

namespace Rollcall.Server.Commands;

/// <summary>The verbs of <c>oneroster-csv</c> that other services do not have.</summary>
internal static class OneRosterCsvCommands
{
    public static Command Connect(Terminal terminal)
    {
        var folder = new Option<string>("--folder")
        {
            Description = "The folder that the district fills: with the CSV files, or with a zip archive for each delivery",
            HelpName = "DIR",
            Required = true,
        };
        var yes = IntegrationCommands.Yes();
        var command = new Command("connect", "Check a folder and store it; nothing is stored when it is refused") { folder, yes };
        command.SetAction(
            (result, cancellationToken) =>
                IntegrationCommands.ConnectAsync(
                    result,
                    terminal,
                    IntegrationKind.OneRosterCsv,
                    new ConnectRequest(
                        ConnectionMode.Folder,
                        TenantId: null,
                        Path.TrimEndingDirectorySeparator(
                            Path.GetFullPath(
                                GlobalOptions.Given(result.GetRequiredValue(folder)) ?? throw new UsageException("--folder needs a value.")
                            )
                        )
                    ),
                    result.GetValue(yes),
                    cancellationToken
                )
        );
        return command;
    }

    /// <summary>Reads packages and says what is wrong with them; no patron and no setting is touched.</summary>
    public static Command Check(Terminal terminal)
    {
        var path = new Argument<string>("PATH")
        {
            Description = "A zip archive, a folder with the CSV files, or a folder with such archives or folders",
        };
        var command = new Command("check", "Check CSV packages and print an import report of each; touches no patron") { path };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                var given = result.GetRequiredValue(path);
                var packages = PackagesIn(given);
                var json = result.GetValue(GlobalOptions.Json);
                var failed = 0;
                async IAsyncEnumerable<CsvImportReport> Reports()
                {
                    foreach (var package in packages)
                    {
                        cancellationToken.ThrowIfCancellationRequested();
                        var report = await Task.Run(() => Read(package, cancellationToken), cancellationToken);
                        failed += report.Status == "Success" ? 0 : 1;
                        yield return report;
                    }
                }

                if (json)
                {
                    await JsonText.WriteArrayAsync(terminal.Out, Reports(), cancellationToken);
                }
                else
                {
                    await foreach (var report in Reports())
                    {
                        await WriteAsync(terminal.Out, report);
                    }

                    if (packages.Count > 1)
                    {
                        await terminal.Out.WriteLineAsync(
                            string.Create(
                                CultureInfo.InvariantCulture,
                                $"{packages.Count} packages: {packages.Count - failed} Success, {failed} Fail."
                            )
                        );
                    }
                }

                return failed == 0 ? ExitCode.Done : ExitCode.Failed;
            }
        );
        return command;
    }

    /// <summary>An archive or a folder of files is one package; any other folder holds packages.</summary>
    private static List<string> PackagesIn(string path)
    {
        if (File.Exists(path))
        {
            return [path];
        }

        if (!Directory.Exists(path))
        {
            throw new Rollcall.RollcallException($"There is no file or folder {path}.");
        }

        if (Directory.EnumerateFiles(path).Any(f => f.EndsWith(".csv", StringComparison.OrdinalIgnoreCase)))
        {
            return [path];
        }

        List<string> packages =
        [
            .. Directory
                .EnumerateFiles(path)
                .Where(f => f.EndsWith(".zip", StringComparison.OrdinalIgnoreCase))
                .Concat(
                    Directory
                        .EnumerateDirectories(path)
                        .Where(d => Directory.EnumerateFiles(d).Any(f => f.EndsWith(".csv", StringComparison.OrdinalIgnoreCase)))
                )
                .OrderBy(f => f, StringComparer.Ordinal),
        ];
        return packages.Count > 0
            ? packages
            : throw new Rollcall.RollcallException($"{path} holds neither zip archives nor CSV files, nor folders with CSV files.");
    }

    private static CsvImportReport Read(string path, CancellationToken cancellationToken)
    {
        var now = TimeProvider.System.GetUtcNow();
        try
        {
            using var package = CsvPackage.Read(path, now, cancellationToken: cancellationToken);
            return package.Report;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // One that cannot be opened must not hide what is said of the others.
            return new CsvImportReport(Path.GetFileName(path), now, "Fail", [], [], $"The file cannot be read: {e.Message}");
        }
    }

    /// <summary>The six fields, a line each, and an empty line.</summary>
    public static async Task WriteAsync(TextWriter text, CsvImportReport report)
    {
        foreach (var line in ImportReports.Lines(report))
        {
            await text.WriteLineAsync(Terminal.Plain(line));
        }

        await text.WriteLineAsync();
    }
}
