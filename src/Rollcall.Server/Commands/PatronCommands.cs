using System.CommandLine;
using Rollcall.Districts;
using Rollcall.Operations;
using Rollcall.Patrons;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall patron</c>.</summary>
internal static class PatronCommands
{
    private const int ShownToPeople = 50;
    private const int HistoryShown = 10;

    public static Command Build(Terminal terminal) =>
        new("patron", "The library's patrons")
        {
            List(terminal),
            Show(terminal),
            PatronExplainCommand.Build(terminal),
            Set(terminal),
            PatronBulkCommands.SetAll(terminal),
            Merge(terminal),
            PatronExportCommand.Build(terminal),
            Import(terminal),
            PatronBulkCommands.Remove(terminal),
            PatronErasureCommands.Data(terminal),
            PatronErasureCommands.Erase(terminal),
        };

    private static Command List(Terminal terminal)
    {
        var search = new Option<string?>("--search") { Description = "Part of a name, barcode, Student # or email", HelpName = "TEXT" };
        var site = new Option<string?>("--site") { Description = "A site's code", HelpName = "CODE" };
        var noSite = WhichPatrons.NoSite();
        var status = new Option<string?>("--status") { Description = "Active, \"Card Lost\", Suspended, Transferred, Inactive or Other" };
        var level = new Option<string?>("--level") { Description = "A grade, exactly as stored" };
        var gone = WhichPatrons.Gone();
        var limit = new Option<int?>("--limit")
        {
            Description = $"At most so many; {ShownToPeople} in a table, all in JSON",
            HelpName = "N",
        };
        var command = new Command("list", "Show patrons, sorted by name") { search, site, noSite, status, level, gone, limit };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                if (result.GetValue(limit) is < 1)
                {
                    throw new UsageException("--limit is 1 or more.");
                }

                WhichPatrons.Check(result.GetValue(site), result.GetValue(noSite));
                PatronStatus? wanted = result.GetValue(status) is { } word
                    ? PatronFields.ParseStatus(word)
                        ?? throw new UsageException(
                            $"'{word}' is no status: there is Active, Card Lost, Suspended, Transferred, Inactive and Other."
                        )
                    : null;
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var sites = await session.SitesAsync(district, cancellationToken);
                var filter = new PatronFilter(
                    result.GetValue(search),
                    FindSite(sites, result.GetValue(site)),
                    wanted,
                    result.GetValue(level)
                )
                {
                    NoSite = result.GetValue(noSite),
                    Gone = result.GetValue(gone) ? true : null,
                };
                var patrons = session.Get<PatronService>();
                if (session.Json)
                {
                    var all = patrons.AllAsync(district.Id, filter, cancellationToken).Take(result.GetValue(limit) ?? int.MaxValue);
                    await JsonText.WriteArrayAsync(terminal.Out, all.Select(p => PatronWords.Of(p, sites)), cancellationToken);
                    return;
                }

                var (page, total) = await patrons.PageAsync(
                    district.Id,
                    filter,
                    PatronSort.Name,
                    false,
                    1,
                    result.GetValue(limit) ?? ShownToPeople,
                    cancellationToken
                );
                if (total == 0)
                {
                    await terminal.Out.WriteLineAsync(
                        filter == new PatronFilter()
                            ? "There is no patron yet. 'rollcall sync' brings them from the roster, 'rollcall patron import FILE' from a file."
                            : "No patron is like that."
                    );
                    return;
                }

                terminal.WriteTable(
                    ["Barcode", "Name", "Grade", "Homeroom", "Site", "Status", "Student #"],
                    page.Select(p =>
                        (string?[])
                            [
                                p.Barcode,
                                p.DisplayName,
                                p.Level,
                                p.Location,
                                SiteCode(p, sites),
                                PatronFields.StatusWord(p.Status),
                                p.CommunityId,
                            ]
                    )
                );
                if (total > page.Count)
                {
                    await terminal.Out.WriteLineAsync(
                        $"{OperationText.N(page.Count)} of {OperationText.N(total)} are shown; --limit shows more."
                    );
                }
            }
        );
        return command;
    }

    private static Command Show(Terminal terminal)
    {
        var barcode = new Argument<string>("BARCODE") { Description = "The patron's barcode" };
        var command = new Command("show", "Show one patron") { barcode };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                await WriteAsync(session, terminal, district, result.GetRequiredValue(barcode), withHistory: true, cancellationToken);
            }
        );
        return command;
    }

    private static Command Set(Terminal terminal)
    {
        var barcode = new Argument<string>("BARCODE") { Description = "The patron's barcode" };
        var fields = new Argument<string[]>("FIELD=VALUE")
        {
            Description = "A field's name or number, and its new value; without a value it is emptied",
            Arity = ArgumentArity.OneOrMore,
        };
        var command = new Command("set", "Change fields of a patron") { barcode, fields };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                var changes = result.GetRequiredValue(fields).Select(Pair).ToList();
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var patrons = session.Get<PatronService>();
                var (before, _) = await patrons.GetAsync(district.Id, result.GetRequiredValue(barcode), cancellationToken);
                var patron = await patrons.EditAsync(
                    district.Id,
                    before.Barcode,
                    changes,
                    session.Actor,
                    cancellationToken: cancellationToken
                );
                if (await patrons.DoubtAsync(patron, before, cancellationToken) is { } doubt)
                {
                    await terminal.Error.WriteLineAsync($"warning: {Terminal.Plain(doubt)}");
                }

                await WriteAsync(session, terminal, district, patron.Barcode, withHistory: false, cancellationToken);
            }
        );
        return command;
    }

    /// <summary>A change as it is typed.</summary>
    /// <exception cref="UsageException">It has no '='.</exception>
    public static KeyValuePair<string, string?> Pair(string text)
    {
        var at = text.IndexOf('=', StringComparison.Ordinal);
        return at < 1
            ? throw new UsageException($"'{text}' is no change: write FIELD=VALUE, such as level=05.")
            : new(text[..at].Trim(), text[(at + 1)..]);
    }

    private static Command Merge(Terminal terminal)
    {
        var keep = new Argument<string>("KEEP") { Description = "Barcode of the record that stays" };
        var other = new Argument<string>("OTHER") { Description = "Barcode of the record that goes" };
        var command = new Command("merge", "Make two records of one person one: blanks are filled, the roster's link is taken over")
        {
            keep,
            other,
        };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var id = await session
                    .Get<PatronMerge>()
                    .MergeAsync(
                        district.Id,
                        result.GetRequiredValue(keep),
                        result.GetRequiredValue(other),
                        session.Actor,
                        cancellationToken: cancellationToken
                    );
                if (!session.Json)
                {
                    await terminal.Out.WriteLineAsync($"Merged, operation {id}. 'rollcall operation undo {id}' takes it back.");
                }

                await WriteAsync(session, terminal, district, result.GetRequiredValue(keep), withHistory: false, cancellationToken);
            }
        );
        return command;
    }

    private static Command Import(Terminal terminal)
    {
        var file = new FileArgument("FILE") { Description = "CSV with a header of field names or numbers; '-' reads what is piped in" };
        var preview = new Option<bool>("--preview") { Description = "Stop at the plan and write nothing. The plan can be approved" };
        var command = new Command("import", "Add and change patrons from a file. A file with a mistake is refused as a whole")
        {
            file,
            preview,
        };
        command.SetAction(
            (result, cancellationToken) =>
                OperationRunner.RunAsync(
                    result,
                    terminal,
                    OperationKind.Import,
                    async (session, district) =>
                    {
                        var path = result.GetRequiredValue(file);
                        await using var content = path == "-" ? terminal.In() : Open(terminal, path);
                        return await session
                            .Get<PatronImport>()
                            .PlanAsync(
                                district.Id,
                                content,
                                path,
                                result.GetValue(preview),
                                session.Actor,
                                cancellationToken: cancellationToken
                            );
                    },
                    cancellationToken
                )
        );
        return command;
    }

    private static Stream Open(Terminal terminal, string path)
    {
        if (Directory.Exists(path))
        {
            throw new RollcallException($"{path} is a folder. Name a CSV file.");
        }

        try
        {
            return terminal.Files.OpenRead(path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new RollcallException($"The file {path} does not exist.", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new RollcallException($"The file {path} cannot be read: {e.Message}", e);
        }
    }

    private static async Task WriteAsync(
        Session session,
        Terminal terminal,
        District district,
        string barcode,
        bool withHistory,
        CancellationToken cancellationToken
    )
    {
        var (patron, link) = await session.Get<PatronService>().GetAsync(district.Id, barcode, cancellationToken);
        var sites = await session.SitesAsync(district, cancellationToken);
        if (session.Json)
        {
            var words = PatronWords.Of(patron, sites);
            words["roleGroup"] = link is null or { RoleGroup: RoleGroup.None } ? null : Arguments.Word(link.RoleGroup);
            words["linked"] = link is not null;
            words["aliases"] = Aliases(link);
            await JsonText.WriteAsync(terminal, words);
            return;
        }

        terminal.WritePairs(
            PatronFields
                .All.Select(f => (f.Label, PatronWords.Value(patron, f, sites)))
                .Where(p => p.Item2 is not null)
                .Append(
                    (
                        "Linked",
                        link is null
                            ? "no"
                            : $"yes, as {Arguments.Word(link.RoleGroup)}{(link.LoginDisabled ? ", login disabled in the roster" : "")}"
                    )
                )
                .Concat(Aliases(link).Select(a => ("Alias", (string?)a)))
        );
        if (!withHistory)
        {
            return;
        }

        var history = await session
            .Get<OperationLog>()
            .HistoryAsync(district.Id, patron.Id, HistoryShown, cancellationToken: cancellationToken);
        if (history.Count == 0)
        {
            return;
        }

        await terminal.Out.WriteLineAsync();
        terminal.WriteTable(
            ["When", "By", "What"],
            history.Select(h =>
                (string?[])
                    [
                        OperationText.When(h.Operation.WrittenAt(h.Row.Held), district),
                        h.Operation.Kind == OperationKind.Edit ? h.Operation.RequestedBy : OperationQueue.Numbered(h.Operation),
                        $"{h.Row.Kind}{(h.Row.Kind is "create" || h.Row.Changes.Count == 0 ? "" : ": " + string.Join("; ", h.Row.Changes.Select(c => $"{c.Label} {c.Old ?? "(empty)"} → {c.New ?? "(empty)"}")))}",
                    ]
            )
        );
    }

    /// <summary>The id of a site's code; null for none.</summary>
    /// <exception cref="RollcallException">There is no such site.</exception>
    public static int? FindSite(Dictionary<int, Site> sites, string? code) =>
        code is null
            ? null
            : sites.Values.FirstOrDefault(s => string.Equals(s.Code, code.Trim(), StringComparison.OrdinalIgnoreCase))?.Id
                ?? throw new RollcallException($"There is no site {code}. 'rollcall site list' shows those there are.");

    private static string? SiteCode(Patron patron, Dictionary<int, Site> sites) =>
        patron.SiteId is { } id ? sites.GetValueOrDefault(id)?.Code : null;

    private static string[] Aliases(PatronLink? link) => link?.Aliases?.Split('\n', StringSplitOptions.RemoveEmptyEntries) ?? [];
}
