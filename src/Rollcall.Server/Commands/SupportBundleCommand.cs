using System.CommandLine;
using System.Globalization;
using System.IO.Compression;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Storage;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall support-bundle</c>: what somebody who helps has to know, and nobody's name.</summary>
internal static partial class SupportBundleCommand
{
    private const int Operations = 500;

    private const string Readme = """
        What is in here: version and system, names of the settings that are set, the database's check and sizes, each district's
        mapping, schedule and counts, and the last operations with their counts and the kinds of their warnings.
        What is not: names, numbers, addresses or any other field of a person; names of schools and districts; keys, tokens, passwords;
        addresses of roster services beyond their host; file names. Words that could be any of these are left out of errors.
        The server's own log is not in it either: look at what you add.
        """;

    private static readonly JsonSerializerOptions s_json = new(JsonSerializerDefaults.Web)
    {
        WriteIndented = true,
        Converters = { JsonText.Instants, new System.Text.Json.Serialization.JsonStringEnumConverter() },
    };

    private sealed record Bundle(string File);

    public static Command Build(Terminal terminal)
    {
        var file = new Argument<string>("FILE") { Description = "The archive to write, such as support.zip" };
        var command = new Command("support-bundle", "Collect what somebody who helps has to know, without personal data or secrets")
        {
            file,
        };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                var path = Path.GetFullPath(result.GetRequiredValue(file));
                await using var session = Session.OpenUnchecked(result, terminal);
                var database = session.Get<RollcallDatabase>();
                var parts = new List<(string Name, object Content)>
                {
                    ("about", About(database, session.Get<RollcallOptions>(), session.Get<TimeProvider>().GetUtcNow())),
                    ("settings", Settings()),
                };
                // A database that cannot be read is what help is asked for: what can be, is told.
                await AddAsync(
                    "check",
                    async () =>
                        (await new DatabaseCheck(database, session.Get<Secrets>()).RunAsync(cancellationToken)).Select(f => new
                        {
                            f.Check,
                            Problems = f.Problems.Count,
                        })
                );
                await AddAsync("tables", () => TablesAsync(database, cancellationToken));
                await AddAsync("districts", () => ReadAsync(DistrictsAsync));
                await AddAsync("operations", () => ReadAsync(OperationsAsync));
                await AddAsync("notices", () => ReadAsync(NoticesAsync));

                async Task<object> ReadAsync(Func<RollcallContext, CancellationToken, Task<object>> part)
                {
                    await using var context = database.CreateContext().AllowLong();
                    return await part(context, cancellationToken);
                }

                async Task AddAsync(string name, Func<Task<object>> part)
                {
                    try
                    {
                        parts.Add((name, await part()));
                    }
                    catch (Exception e) when (e is RollcallException or System.Data.Common.DbException or InvalidOperationException)
                    {
                        parts.Add(($"{name}-trouble", new { Database = Scrub(e.Message) }));
                    }
                }

                await WriteAsync(path, parts, cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, new Bundle(path));
                }
                else
                {
                    await terminal.Out.WriteLineAsync(
                        $"{path} is written. It holds no personal data and no secrets; look into it before you send it."
                    );
                }
            }
        );
        return command;
    }

    /// <summary>Writes the archive whole or not at all.</summary>
    /// <exception cref="RollcallException">There is such a file already, or it cannot be written: then there is none.</exception>
    internal static async Task WriteAsync(
        string path,
        IEnumerable<(string Name, object Content)> parts,
        CancellationToken cancellationToken
    )
    {
        FileStream stream;
        try
        {
            stream = new FileStream(path, FileMode.CreateNew, FileAccess.Write);
            RollcallDatabase.RestrictFile(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RollcallException(
                File.Exists(path) ? $"{path} exists already. Choose another name." : $"{path} cannot be written: {e.Message}",
                e
            );
        }

        var whole = false;
        try
        {
            await using (stream)
            {
                await using var archive = new ZipArchive(stream, ZipArchiveMode.Create);
                await AddAsync(archive, "README.txt", Encoding.UTF8.GetBytes(Readme.ReplaceLineEndings("\n") + "\n"));
                foreach (var (name, content) in parts)
                {
                    await AddAsync(archive, $"{name}.json", JsonSerializer.SerializeToUtf8Bytes(content, content.GetType(), s_json));
                }
            }

            whole = true;
        }
        catch (IOException e)
        {
            throw new RollcallException($"{path} cannot be written: {e.Message.TrimEnd('.')}. Make room, or choose another place.", e);
        }
        finally
        {
            if (!whole)
            {
                // Half an archive is of no use, and would keep its name taken.
                File.Delete(path);
            }
        }

        async Task AddAsync(ZipArchive archive, string name, byte[] bytes)
        {
            await using var entry = await archive.CreateEntry(name).OpenAsync(cancellationToken);
            await entry.WriteAsync(bytes, cancellationToken);
        }
    }

    private static object About(RollcallDatabase database, RollcallOptions options, DateTimeOffset now)
    {
        var drive = new DriveInfo(database.DataFolder);
        return new
        {
            Version = Pages.AboutModel.ProgramVersion,
            WrittenAt = now,
            Runtime = RuntimeInformation.FrameworkDescription,
            System = RuntimeInformation.OSDescription.Trim(),
            Architecture = RuntimeInformation.ProcessArchitecture,
            Processors = Environment.ProcessorCount,
            MemoryMegabytes = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 1024 / 1024,
            Database = database.IsPostgres ? "PostgreSQL" : "SQLite",
            DatabaseMegabytes = database.FilePath is { } file && File.Exists(file) ? new FileInfo(file).Length / 1024 / 1024 : (long?)null,
            DataFolderFreeMegabytes = drive.AvailableFreeSpace / 1024 / 1024,
            Mail = options.Mail is not null,
            options.AllowPrivateAddresses,
            options.RequireSecondFactor,
            TimeZone = TimeZoneInfo.Local.Id,
        };
    }

    /// <summary>Which variables are set; what they hold is nobody's business.</summary>
    private static IEnumerable<string> Settings() =>
        Environment
            .GetEnvironmentVariables()
            .Keys.Cast<string>()
            .Where(k =>
                k.StartsWith("ROLLCALL_", StringComparison.Ordinal)
                || k.StartsWith("OTEL_", StringComparison.Ordinal)
                || k.StartsWith("DOTNET_", StringComparison.Ordinal)
            )
            .Order(StringComparer.Ordinal);

    private static async Task<object> TablesAsync(RollcallDatabase database, CancellationToken cancellationToken)
    {
        await using var connection = await database.OpenAsync(cancellationToken);
        var tables = new SortedDictionary<string, long?>(StringComparer.Ordinal);
        await using (var list = connection.CreateCommand())
        {
            list.CommandText = database.IsPostgres
                ? "SELECT relname, pg_total_relation_size(relid) FROM pg_stat_user_tables WHERE schemaname = current_schema()"
                : "SELECT name, NULL FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'";
            await using var reader = await list.ExecuteReaderAsync(cancellationToken);
            while (await reader.ReadAsync(cancellationToken))
            {
                tables[reader.GetString(0)] = await reader.IsDBNullAsync(1, cancellationToken) ? null : reader.GetInt64(1);
            }
        }

        var rows = new List<object>();
        foreach (var (table, bytes) in tables)
        {
            await using var count = connection.CreateCommand().AllowLong();
            count.CommandText = $"SELECT COUNT(*) FROM \"{table.Replace("\"", "\"\"", StringComparison.Ordinal)}\"";
            rows.Add(
                new
                {
                    Table = table,
                    Rows = Convert.ToInt64(await count.ExecuteScalarAsync(cancellationToken), CultureInfo.InvariantCulture),
                    Megabytes = bytes / 1024 / 1024,
                }
            );
        }

        await using var version = connection.CreateCommand();
        version.CommandText = database.IsPostgres ? "SHOW server_version" : "SELECT sqlite_version()";
        return new { Version = (string?)await version.ExecuteScalarAsync(cancellationToken), Tables = rows };
    }

    private static async Task<object> DistrictsAsync(RollcallContext context, CancellationToken cancellationToken)
    {
        var patrons = await context
            .Patrons.GroupBy(p => new { p.DistrictId, p.Status })
            .Select(g => new
            {
                g.Key.DistrictId,
                g.Key.Status,
                Count = g.LongCount(),
            })
            .ToListAsync(cancellationToken);
        var sites = await context
            .Sites.GroupBy(s => s.DistrictId)
            .Select(g => new { g.Key, Count = g.Count() })
            .ToListAsync(cancellationToken);
        var integrations = await context.Integrations.AsNoTracking().OrderBy(i => i.Kind).ToListAsync(cancellationToken);
        var districts = await context.Districts.AsNoTracking().OrderBy(d => d.Id).ToListAsync(cancellationToken);
        return districts.Select(d => new
        {
            District = d.Id,
            d.TimeZone,
            Sites = sites.Find(s => s.Key == d.Id)?.Count ?? 0,
            Patrons = patrons.Where(p => p.DistrictId == d.Id).ToDictionary(p => p.Status.ToString(), p => p.Count),
            Integrations = integrations.Where(i => i.DistrictId == d.Id).Select(Integration),
        });
    }

    private static object Integration(Integration integration)
    {
        var settings = IntegrationService.SettingsOf(integration);
        var state = IntegrationService.StateOf(integration);
        return new
        {
            integration.Kind,
            integration.Enabled,
            settings.Mode,
            Host = Uri.TryCreate(settings.Url, UriKind.Absolute, out var url) && !url.IsFile ? url.Host : null,
            settings.Signature,
            settings.Version,
            settings.TokenForm,
            HasSecret = integration.Secret is not null,
            settings.Roles,
            settings.Map,
            settings.Thresholds,
            Daily = settings.Daily with
            {
                StoppedBecause = Scrub(settings.Daily.StoppedBecause),
            },
            SignIn = settings.Login.On,
            state.ConfigVersion,
            state.LastFullAt,
            state.FullEndedAt,
            state.ChangesSince,
            state.ChangesRan,
            FullDue = Scrub(state.FullDue),
            HasRevision = state.Revision is not null,
        };
    }

    private static async Task<object> OperationsAsync(RollcallContext context, CancellationToken cancellationToken)
    {
        var operations = await context
            .Operations.AsNoTracking()
            .OrderByDescending(o => o.Id)
            .Take(Operations)
            .ToListAsync(cancellationToken);

        // A machine may be called as the school is: which operations were of one process is all that matters.
        var nodes = operations
            .OrderBy(o => o.Id)
            .Select(o => o.Node)
            .OfType<string>()
            .Distinct(StringComparer.Ordinal)
            .Select((node, at) => (node, Number: at + 1))
            .ToDictionary(n => n.node, n => n.Number, StringComparer.Ordinal);
        return operations.Select(o => new
        {
            o.Id,
            District = o.DistrictId,
            o.Kind,
            o.Integration,
            o.Status,
            o.PreviewOnly,
            o.SubjectId,
            o.DailyDate,
            RequestedBy = o.RequestedBy is DailySchedule.Actor or Session.OwnActor ? o.RequestedBy : "a person",
            o.CreatedAt,
            o.StartedAt,
            o.FinishedAt,
            o.Fence,
            Node = o.Node is null ? (int?)null : nodes[o.Node],
            o.Stage,
            o.Done,
            o.Total,
            o.Attempts,
            o.NotBefore,
            o.Planned,
            o.PlanSize,
            o.AppliedTo,
            o.HeldAppliedTo,
            Counts = OperationQueue.CountsOf(o),
            Warnings = OperationQueue.WarningsOf(o).Select(w => new { w.Code, w.Count }),
            // What is said of one person may name them in words that look like any other.
            Error = o.Kind is OperationKind.PersonSync or OperationKind.Erase or OperationKind.Merge or OperationKind.Review
                ? (o.Error is null ? null : "[..]")
                : Scrub(o.Error),
        });
    }

    private static async Task<object> NoticesAsync(RollcallContext context, CancellationToken cancellationToken) =>
        await context
            .Notices.GroupBy(n => new
            {
                n.DistrictId,
                n.Channel,
                n.Event,
                n.Status,
            })
            .Select(g => new
            {
                g.Key.DistrictId,
                g.Key.Channel,
                g.Key.Event,
                g.Key.Status,
                Count = g.Count(),
            })
            .ToListAsync(cancellationToken);

    /// <summary>An error without what might be somebody's or a secret: quoted words, addresses, paths and files, everything with a figure that is longer
    /// than a status, and every word that begins with a capital and is none of the program's own.</summary>
    internal static string? Scrub(string? text)
    {
        if (text is null)
        {
            return null;
        }

        text = Quoted().Replace(text, "[..]");
        text = Address().Replace(text, m => Uri.TryCreate(m.Value, UriKind.Absolute, out var url) ? url.Host : "[..]");
        text = Telling().Replace(text, "[..]");
        return Capital().Replace(text, m => s_own.Contains(m.Value) ? m.Value : "[..]");
    }

    /// <summary>Words of the program that begin with a capital wherever they stand.</summary>
    private static readonly HashSet<string> s_own = new(
        [
            "ClassLink",
            "OneRoster",
            "PostgreSQL",
            "SQLite",
            "Npgsql",
            "HTTP",
            "HTTPS",
            "TLS",
            "SSL",
            "JSON",
            "CSV",
            "API",
            "OAuth",
            "URL",
            "Daily",
            "Operations",
            "Operation",
            "Sync",
            "Now",
            "Review",
            "Tenant",
            "ID",
            "Rollcall",
            "UTC",
            "The",
            "A",
            "Check",
            "See",
            "Have",
            "Nothing",
            "Run",
            "Ask",
            "Mend",
            "Match",
            "Tick",
            "Connect",
            "Try",
            "Its",
            "It",
            "They",
            "One",
            "No",
            "Not",
            "Is",
            "In",
            "SIS",
            "Integrations",
            "Site",
            "Mapping",
            "Exception",
            "IOException",
            "DbException",
        ],
        StringComparer.Ordinal
    );

    // An apostrophe within a word, as in O'Brien, neither opens a quotation nor ends one.
    [GeneratedRegex(@"(?<!\w)'(?:[^']|'(?=\w))*'|""[^""]*""|“[^”]*”|‘[^’]*’", RegexOptions.None, 1000)]
    private static partial Regex Quoted();

    [GeneratedRegex(@"\w+://\S+", RegexOptions.None, 1000)]
    private static partial Regex Address();

    // What has a figure; a file's name; a word of a script that has no capitals, in which nothing of the program's own is written.
    [GeneratedRegex(
        @"[^\s()]*@[^\s()]*|[^\s()]*[/\\][^\s()]*|\b[\w.-]+\.(?i:zip|csv)\b|\w*[\p{Lo}\p{Lm}\p{Lt}][\w-]*|\b(?=\w*\d)[\w-]{4,}\b",
        RegexOptions.None,
        1000
    )]
    private static partial Regex Telling();

    [GeneratedRegex(@"\b\p{Lu}[\w'’-]*", RegexOptions.None, 1000)]
    private static partial Regex Capital();
}
