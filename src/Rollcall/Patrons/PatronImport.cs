using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Microsoft.EntityFrameworkCore;
using Rollcall.Audit;
using Rollcall.Districts;
using Rollcall.Operations;
using Rollcall.Patrons.Erasure;
using Rollcall.Storage;
using Rollcall.Sync;
using Rollcall.Sync.Apply;
using Rollcall.Sync.Plan;
using Sylvan.Data.Csv;

namespace Rollcall.Patrons;

/// <summary>A file that cannot be imported: what is wrong, row by row. Nothing was written.</summary>
public sealed partial class ImportRefusedException(string message, IReadOnlyList<string> problems) : Exception(message)
{
    private const int Named = 3;

    /// <summary>So many kinds of problem are listed, and so many rows of each.</summary>
    private const int Listed = 50;
    private const int RowsOfEach = 10;

    /// <summary>All that was found: a line for each problem, with the rows of the file that have it, in the order of the rows. Empty when the message
    /// says all.</summary>
    public IReadOnlyList<string> Problems { get; } = problems;

    /// <summary>The message beside a list of all problems, which it does not repeat; null where it names them all itself.</summary>
    public string? BesideProblems { get; private init; }

    /// <summary>One line that names the first problems and what to do.</summary>
    internal static ImportRefusedException Of(string lead, IReadOnlyList<string> problems, string advice)
    {
        var (said, kinds, isAll) = Grouped(problems);
        var count = string.Create(CultureInfo.InvariantCulture, $"{(isAll ? "" : "at least ")}{kinds:N0}");
        var rest = string.Create(CultureInfo.InvariantCulture, $"{(isAll ? "" : "at least ")}{kinds - Named:N0}");
        var more =
            kinds > Named ? $" … and {rest} more."
            : said.Count > kinds ? $" {Unread}"
            : "";
        var listed = isAll && kinds <= Listed ? "each listed" : $"{Math.Min(kinds, Listed)} of them listed";
        return new($"{lead}: {string.Join(' ', said.Take(Math.Min(kinds, Named)))}{more} {advice}", said)
        {
            BesideProblems = said.Count > Named ? $"{lead}: {count} problems, {listed}. {advice}" : null,
        };
    }

    /// <summary>The refusal of a file that cannot be read to its end.</summary>
    internal static ImportRefusedException Of(string message, IReadOnlyList<string> problems) => new(message, Grouped(problems).Said);

    /// <summary>Said once more problems than anybody reads have been found: the rest of the file is left.</summary>
    internal const string Unread = "… and perhaps more.";

    /// <summary>What many rows have in common is said once.</summary>
    /// <returns>The lines, how many kinds of problem there are, and whether the whole file was looked through.</returns>
    private static (List<string> Said, int Kinds, bool IsAll) Grouped(IReadOnlyList<string> found)
    {
        // Some are found as the file is read, and others when it is compared.
        List<string> problems = [.. found.Where(p => p != Unread).OrderBy(RowOf)];
        var isAll = problems.Count == found.Count;
        var groups = new List<(string What, List<int> Rows)>();
        var places = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var problem in problems)
        {
            var row = RowOf(problem);
            var what = row == 0 ? problem : AtRow().Replace(problem, "", 1);
            if (!places.TryGetValue(what, out var place))
            {
                places[what] = place = groups.Count;
                groups.Add((what, []));
            }

            if (row > 0)
            {
                groups[place].Rows.Add(row);
            }
        }

        var said = groups.Take(Listed).Select(g => $"{RowsInWords(g.Rows)}{g.What}").ToList();
        if (groups.Count > Listed)
        {
            said.Add(string.Create(CultureInfo.InvariantCulture, $"… and {(isAll ? "" : "at least ")}{groups.Count - Listed:N0} more."));
        }
        else if (!isAll)
        {
            said.Add(Unread);
        }

        return (said, groups.Count, isAll);
    }

    private static string RowsInWords(List<int> rows)
    {
        var named = rows.Take(RowsOfEach).Select(r => r.ToString(CultureInfo.InvariantCulture)).ToList();
        return rows.Count == 0 ? ""
            : rows.Count == 1 ? $"Row {named[0]}"
            : rows.Count > RowsOfEach
                ? string.Create(CultureInfo.InvariantCulture, $"Rows {string.Join(", ", named)} and {rows.Count - RowsOfEach:N0} more")
            : $"Rows {string.Join(", ", named[..^1])} and {named[^1]}";
    }

    private static int RowOf(string problem) =>
        AtRow().Match(problem) is { Success: true } at ? int.Parse(at.Groups["row"].Value, CultureInfo.InvariantCulture) : 0;

    [GeneratedRegex("^Row (?<row>[0-9]{1,9})\\b", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex AtRow();
}

/// <summary>One column of a file that may be imported.</summary>
/// <param name="Header">As the file has it.</param>
/// <param name="Field">The field it means; null when its header is no field's.</param>
/// <param name="Samples">The first values that are not blank.</param>
public sealed record ImportColumn(string Header, PatronField? Field, IReadOnlyList<string> Samples);

/// <summary>Patrons from a CSV file. The whole file is checked first; then it is a plan like any other, applied in slices.</summary>
public sealed class PatronImport(RollcallDatabase database, TimeProvider time)
{
    /// <summary>Words of a new patron's row who looks like somebody who is here.</summary>
    private const string SecondRecord = "this row makes a second record";

    private static readonly System.Buffers.SearchValues<char> s_mantissa = System.Buffers.SearchValues.Create("0123456789.,");

    /// <summary>Many rows with one and the same mistake are one to mend: so many are looked for before the rest of the file is left.</summary>
    private const int MaxProblems = 2000;
    private const int MaxRows = 5_000_000;

    /// <summary>How a row is warned of that gives a Student # which another patron has.</summary>
    internal static string NumberIsTaken(string number) => $"Student # {number} is that of the patron ";

    /// <summary>Checks a file and stores what it would change as a waiting operation.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="content">The file: CSV in UTF-8 (or Windows-1252) with a header of field names, numbers or labels.</param>
    /// <param name="fileName">For the log.</param>
    /// <param name="preview">Stop at the plan; it can be approved.</param>
    /// <param name="actor">Who.</param>
    /// <param name="columns">The field's name of each column, blank to leave it out; null takes the file's own header.</param>
    /// <param name="arrived">Asked once the whole file is here, which may take its time: by whose right it is planned then.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>The operation.</returns>
    /// <exception cref="ImportRefusedException">A column is unknown or rows are broken; nothing was written.</exception>
    public async Task<long> PlanAsync(
        int districtId,
        Stream content,
        string fileName,
        bool preview,
        Actor actor,
        IReadOnlyList<string>? columns = null,
        Func<Task<Actor>>? arrived = null,
        CancellationToken cancellationToken = default
    )
    {
        var rows = await ReadAsync(content, columns, cancellationToken);
        if (arrived is not null)
        {
            actor = await arrived();
        }

        await using var connection = await database.OpenAsync(cancellationToken);
        await using var context = database.CreateContext(connection, null);
        var erased = await Erasures.SoFarAsync(context, districtId, cancellationToken);
        var sites = await context.Sites.AsNoTracking().Where(s => s.DistrictId == districtId).ToListAsync(cancellationToken);
        var plan = await CompareAsync(context, districtId, actor, rows, sites, cancellationToken);
        var warnings = await WarnOfDoublesAsync(context, districtId, plan.Changes, cancellationToken);

        var options = JsonSerializer.Serialize(new { file = Path.GetFileName(fileName), rows = rows.Lines.Count }, OperationQueue.Json);
        var operation = PlannedOperation.Begin(districtId, OperationKind.Import, preview, actor, options, time);
        context.Operations.Add(operation);
        await context.SaveChangesAsync(cancellationToken);

        var writer = new ChangeWriter(database, connection, districtId, operation.Id);
        var ids = new PatronIds(database, connection, districtId);
        foreach (var change in plan.Changes)
        {
            if (change.Kind == ChangeKind.Create)
            {
                change.PatronId = await ids.NextAsync(cancellationToken);
            }

            await writer.AddAsync(change, cancellationToken);
        }

        await writer.FlushAsync(cancellationToken);
        context.AuditEntries.Add(
            new AuditEntry
            {
                DistrictId = districtId,
                At = time.GetUtcNow(),
                Actor = actor.Name,
                Action = preview ? "import preview" : "import patrons",
                Details = string.Create(
                    CultureInfo.InvariantCulture,
                    $"Operation {operation.Id}: {(preview ? "a preview, nothing is imported yet; it would change" : "changes")} {plan.Counts.Created + plan.Counts.Updated:N0} of {rows.Lines.Count:N0}"
                ),
            }
        );
        await PlannedOperation.CompleteAsync(
            database,
            connection,
            context,
            operation,
            erased,
            writer.Count,
            plan.Counts,
            warnings,
            cancellationToken
        );
        return operation.Id;
    }

    /// <summary>Looks at a file before it is imported: its text, its columns with the fields they mean, and how many rows there are.</summary>
    /// <exception cref="ImportRefusedException">It is no CSV.</exception>
    public static async Task<(string Text, IReadOnlyList<ImportColumn> Columns, int Rows)> InspectAsync(
        Stream content,
        CancellationToken cancellationToken = default
    )
    {
        const int most = 3;
        var text = await TextAsync(content, cancellationToken);
        try
        {
            using var csv = await ReaderAsync(text, cancellationToken);
            if (!await csv.ReadAsync(cancellationToken))
            {
                throw Empty();
            }

            var headers = Enumerable.Range(0, csv.RowFieldCount).Select(i => csv.GetString(i).Trim('\uFEFF', ' ')).ToList();
            var samples = headers.ConvertAll(_ => new List<string>());
            var rows = 0;
            while (await csv.ReadAsync(cancellationToken))
            {
                rows += csv.RowFieldCount == 1 && csv.GetString(0).Trim().Length == 0 ? 0 : 1;
                for (var i = 0; i < Math.Min(csv.RowFieldCount, headers.Count); i++)
                {
                    if (
                        samples[i].Count < most
                        && Text.Clean(csv.GetString(i)) is { } value
                        && (Text.IsLonger(value, 60) ? $"{Text.Cut(value, 60)}…" : value) is var sample
                        && !samples[i].Contains(sample)
                    )
                    {
                        samples[i].Add(sample);
                    }
                }
            }

            return (text, [.. headers.Select((h, i) => new ImportColumn(h, PatronFields.Find(h), samples[i]))], rows);
        }
        catch (CsvFormatException e)
        {
            throw NoCsv(e, []);
        }
    }

    private sealed record Rows(IReadOnlyList<PatronField> Fields, List<(int Line, string?[] Values)> Lines, List<string> Problems);

    private static ImportRefusedException Empty() =>
        new("The file is empty. It needs a header line with field names and a line for each patron.", []);

    private static ImportRefusedException NoCsv(CsvFormatException e, IReadOnlyList<string> problems) =>
        ImportRefusedException.Of(
            $"Nothing was imported, the file is not readable as CSV at row {e.RowNumber}. Check its quotation marks.",
            problems
        );

    private static async Task<string> TextAsync(Stream content, CancellationToken cancellationToken)
    {
        using var buffer = new MemoryStream();
        await content.CopyToAsync(buffer, cancellationToken);
        var text = Decode(buffer.GetBuffer().AsSpan(0, (int)buffer.Length));
        return string.IsNullOrWhiteSpace(text) ? throw Empty() : text;
    }

    /// <summary>A long number as spreadsheets show it, 1.23E+11, and save it: nobody's number is written so.</summary>
    private static bool IsShortened(string value)
    {
        var at = value.IndexOf("E+", StringComparison.OrdinalIgnoreCase);
        return at > 0
            && at + 2 < value.Length
            && char.IsAsciiDigit(value[0])
            && value.AsSpan(0, at).IndexOfAnyExcept(s_mantissa) < 0
            && value.AsSpan(at + 2).IndexOfAnyExceptInRange('0', '9') < 0;
    }

    private static Task<CsvDataReader> ReaderAsync(string text, CancellationToken cancellationToken) =>
        CsvDataReader.CreateAsync(
            new StringReader(text),
            new CsvDataReaderOptions
            {
                HasHeaders = false,
                Delimiter = Delimiter(text),

                // A line of a list of people is never a remark, whatever it begins with; no text that is read here has a NUL.
                Comment = '\0',
                MaxBufferSize = 1 << 20,
                BufferSize = 1 << 16,
            },
            cancellationToken
        );

    private static async Task<Rows> ReadAsync(Stream content, IReadOnlyList<string>? columns, CancellationToken cancellationToken)
    {
        var text = await TextAsync(content, cancellationToken);

        var problems = new List<string>();
        var lines = new List<(int, string?[])>();
        var fields = new List<PatronField>();

        // Where the columns that are taken stand in a row.
        var taken = new List<int>();
        try
        {
            using var csv = await ReaderAsync(text, cancellationToken);
            if (!await csv.ReadAsync(cancellationToken))
            {
                throw Empty();
            }

            var width = csv.RowFieldCount;
            for (var i = 0; i < width; i++)
            {
                var header = columns is null ? csv.GetString(i).Trim('\uFEFF', ' ') : columns.ElementAtOrDefault(i)?.Trim() ?? "";
                if (columns is not null && header.Length == 0)
                {
                    continue;
                }

                var field = PatronFields.Find(header);
                if (field is null)
                {
                    problems.Add($"Column {i + 1} '{Text.Cut(header, 60)}' is not known.");
                }
                else if (fields.Contains(field))
                {
                    var first = columns?[taken[fields.IndexOf(field)]] ?? csv.GetString(taken[fields.IndexOf(field)]).Trim('\uFEFF', ' ');
                    problems.Add(
                        $"Columns {taken[fields.IndexOf(field)] + 1} '{Text.Cut(first, 60)}' and {i + 1} '{Text.Cut(header, 60)}' are both {field.Label}: leave one of them out."
                    );
                }
                else
                {
                    fields.Add(field);
                    taken.Add(i);
                }
            }

            if (fields.Count == 0 && problems.Count == 0)
            {
                throw new ImportRefusedException("Nothing was imported: every column is left out. Choose a field for at least one.", []);
            }

            if (problems.Count > 0)
            {
                throw ImportRefusedException.Of(
                    "Nothing was imported, the header cannot be used",
                    problems,
                    $"Columns are: {string.Join(", ", PatronFields.All.Select(f => f.Name))}."
                );
            }

            while (await csv.ReadAsync(cancellationToken))
            {
                var line = csv.RowNumber;
                if (csv.RowFieldCount == 1 && csv.GetString(0).Trim().Length == 0)
                {
                    continue;
                }

                if (csv.RowFieldCount != width)
                {
                    problems.Add($"Row {line}: {csv.RowFieldCount} columns where the header has {width}.");
                    if (problems.Count >= MaxProblems)
                    {
                        problems.Add(ImportRefusedException.Unread);
                        break;
                    }

                    continue;
                }

                var values = new string?[fields.Count];
                for (var i = 0; i < values.Length; i++)
                {
                    values[i] = PatronFields.Clean(fields[i], PatronWords.Unguard(csv.GetString(taken[i])));
                }

                lines.Add((line, values));
                if (lines.Count > MaxRows)
                {
                    throw new ImportRefusedException($"The file has more than {MaxRows} rows. Split it.", []);
                }
            }
        }
        catch (CsvFormatException e)
        {
            throw NoCsv(e, problems);
        }

        return lines.Count == 0 && problems.Count == 0
            ? throw new ImportRefusedException("The file has a header but no patrons. Give each patron a line below it.", [])
            : new Rows(fields, lines, problems);
    }

    private static async Task<(List<Change> Changes, SyncCounts Counts)> CompareAsync(
        RollcallContext context,
        int districtId,
        Actor actor,
        Rows rows,
        List<Site> sites,
        CancellationToken cancellationToken
    )
    {
        var problems = rows.Problems;
        var at = rows.Fields.Select((f, i) => (f.Number, i)).ToDictionary(p => p.Number, p => p.i);
        var byBarcode = await KeysAsync(context, districtId, rows, at, PatronFields.Barcode, cancellationToken);
        var byGuid = await KeysAsync(context, districtId, rows, at, PatronFields.Guid, cancellationToken);
        var byAlias = at.ContainsKey(PatronFields.Guid) ? await AliasesAsync(context, districtId, cancellationToken) : [];
        var codes = sites.ToDictionary(
            s => s.Code.ToLowerInvariant(),
            s => s.Id.ToString(CultureInfo.InvariantCulture),
            StringComparer.Ordinal
        );
        var names = sites.ToLookup(s => Text.Fold(s.Name), s => s.Id.ToString(CultureInfo.InvariantCulture), StringComparer.Ordinal);
        var fileBarcodes = rows
            .Lines.Select(l => Value(l.Values, PatronFields.Barcode))
            .Where(b => b is not null)
            .Select(b => Text.BarcodeKey(b!))
            .ToHashSet(StringComparer.Ordinal);
        var defaults = await context.SiteDefaults.AsNoTracking().Where(s => s.DistrictId == districtId).ToListAsync(cancellationToken);
        HashSet<string>? taken = null;
        BarcodeSequences? sequences = null;
        var seenBarcodes = new Dictionary<string, int>(StringComparer.Ordinal);
        var seenGuids = new Dictionary<string, int>(StringComparer.Ordinal);
        var seenPatrons = new Dictionary<long, int>();
        var changes = new List<Change>();
        long created = 0;
        long updated = 0;
        long unchanged = 0;
        long reactivated = 0;
        long transferred = 0;
        foreach (var (line, values) in rows.Lines)
        {
            if (problems.Count >= MaxProblems)
            {
                problems.Add(ImportRefusedException.Unread);
                break;
            }

            var canonical = new string?[values.Length];
            var before = problems.Count;
            for (var i = 0; i < values.Length; i++)
            {
                if (values[i] is null)
                {
                    continue;
                }

                var field = rows.Fields[i];
                if (field.Number == PatronFields.Site)
                {
                    // Lists of other programs have a school's name where ours have its code.
                    if (
                        !codes.TryGetValue(values[i]!.ToLowerInvariant(), out canonical[i])
                        && (canonical[i] = names[Text.Fold(values[i])].Distinct().Take(2).ToList() is [var only] ? only : null) is null
                    )
                    {
                        problems.Add($"Row {line}: there is no site with the code or the name '{Text.Cut(values[i]!, 60)}'.");
                    }
                }
                else if (
                    field.Number is PatronFields.Barcode or PatronFields.CommunityId or PatronFields.GovernmentId
                    && IsShortened(values[i]!)
                )
                {
                    problems.Add(
                        $"Row {line}: a spreadsheet has shortened {field.Label} to {Text.Cut(values[i]!, 20)}, and the digits that it left out are not in the file. Make that column text, or a number without decimals, where the list comes from, and save it anew."
                    );
                }
                else if (!PatronFields.TryCanonical(field, values[i], out canonical[i], out var problem))
                {
                    problems.Add($"Row {line}: {problem}; got '{Text.Cut(values[i]!, 60)}'.");
                }
            }

            var barcode = Value(canonical, PatronFields.Barcode);
            var guid = Value(canonical, PatronFields.Guid);
            Once(seenBarcodes, barcode is null ? null : Text.BarcodeKey(barcode), "barcode", barcode, line);
            Once(seenGuids, guid, "GUID", guid, line);
            if (problems.Count > before)
            {
                continue;
            }

            var patron = barcode is not null && byBarcode.TryGetValue(Text.BarcodeKey(barcode), out var same) ? same : null;
            var holder = guid is not null && byGuid.TryGetValue(guid, out var has) ? has : null;
            if (patron is null && barcode is null)
            {
                patron = holder;
            }
            else if (holder is not null && holder.Id != patron?.Id)
            {
                problems.Add($"Row {line}: GUID {guid} belongs to the patron with the barcode {holder.Barcode}.");
                continue;
            }

            if (guid is not null && byAlias.TryGetValue(guid, out var known) && known.Id != patron?.Id)
            {
                problems.Add(
                    $"Row {line}: GUID {guid} belongs to the patron with the barcode {known.Barcode}, as another record of theirs."
                );
                continue;
            }

            if (patron is not null && !seenPatrons.TryAdd(patron.Id, line))
            {
                problems.Add($"Row {line}: the same patron as row {seenPatrons[patron.Id]}.");
                continue;
            }

            var change = patron is null ? await NewAsync(line, canonical) : Difference(patron, values, canonical);
            if (change is not null && Refusal(patron, change) is { } refusal)
            {
                problems.Add($"Row {line}: {refusal}.");
            }
            else if (change is not null)
            {
                changes.Add(change);
            }
        }

        if (problems.Count > 0)
        {
            throw ImportRefusedException.Of("Nothing was imported, rows are broken", problems, "Mend them and import again.");
        }

        return (
            changes,
            new SyncCounts
            {
                Read = rows.Lines.Count,
                Created = created,
                Updated = updated,
                Unchanged = unchanged,
                Reactivated = reactivated,
                Transferred = transferred,
            }
        );

        string? Refusal(Patron? patron, Change change)
        {
            var values = ChangeValues.Parse(change.Values);
            return PatronGuard.Refusal(actor.Right, patron, change.Kind, values)
                ?? rows
                    // A new patron always has a group, its site's: that one is looked at above.
                    .Fields.Where(f => values.Has(f.Number) && f.Number != PatronFields.Group)
                    .Select(f => PatronGuard.FieldRefusal(actor.Right, f))
                    .FirstOrDefault(r => r is not null);
        }

        string? Value(string?[] row, int field) => at.TryGetValue(field, out var i) ? row[i] : null;

        void Once(Dictionary<string, int> seen, string? key, string what, string? value, int line)
        {
            if (key is not null && !seen.TryAdd(key, line))
            {
                problems.Add($"Row {line}: {what} {value} stands in row {seen[key]} already.");
            }
        }

        Change? Difference(Patron patron, string?[] written, string?[] canonical)
        {
            var values = new ChangeValues();
            for (var i = 0; i < canonical.Length; i++)
            {
                // A blank of the file leaves the patron's value as it is. A word that says no, or unknown, is none.
                var field = rows.Fields[i];
                var old = field.Get(patron);
                if (written[i] is not null && !string.Equals(old, canonical[i], StringComparison.Ordinal))
                {
                    values.Add(field.Number, old, canonical[i]);
                }
            }

            if (values.Count == 0)
            {
                unchanged++;
                return null;
            }

            updated++;
            return new Change
            {
                Kind = ChangeKind.Update,
                Outcome = Outcome.Updated,
                PatronId = patron.Id,
                SiteId = patron.SiteId,
                Values = values.ToJson(),
            };
        }

        async Task<Change?> NewAsync(int line, string?[] canonical)
        {
            if (Value(canonical, PatronFields.LastName) is null)
            {
                problems.Add($"Row {line}: a new patron needs a last name.");
                return null;
            }

            var siteId = Value(canonical, PatronFields.Site) is { } id ? int.Parse(id, CultureInfo.InvariantCulture) : (int?)null;
            var site = siteId is null ? null : sites.Find(s => s.Id == siteId);
            var values = new ChangeValues();
            for (var i = 0; i < canonical.Length; i++)
            {
                if (canonical[i] is not null)
                {
                    values.Add(rows.Fields[i].Number, null, canonical[i]);
                }
            }

            var drawn = !values.Has(PatronFields.Barcode);
            if (drawn)
            {
                if (site is null)
                {
                    problems.Add($"Row {line}: a new patron needs a barcode, or a site that gives one.");
                    return null;
                }

                taken ??=
                [
                    .. await context
                        .Patrons.Where(p => p.DistrictId == districtId)
                        .Select(p => p.BarcodeKey)
                        .ToListAsync(cancellationToken),
                    .. fileBarcodes,
                ];
                sequences ??= new BarcodeSequences(sites, defaults, key => taken.Contains(key));
                var next = sequences.Take(site.Id, RoleGroup.None);
                taken.Add(Text.BarcodeKey(next));
                values.Add(PatronFields.Barcode, null, next);
            }

            NewPatron.AddDefaults(values, site, null);
            created++;
            return new Change
            {
                Kind = ChangeKind.Create,
                Outcome = Outcome.Created,
                SiteId = siteId,
                BarcodeDrawn = drawn,
                Values = values.ToJson(),
            };
        }
    }

    /// <summary>New patrons who look like somebody who is here, or who comes twice in the file: that they would be second records of one
    /// person is said where the row stands. Nothing is refused: two people with one number are possible, and the next sync asks about them.</summary>
    private static async Task<IReadOnlyList<WarningGroup>> WarnOfDoublesAsync(
        RollcallContext context,
        int districtId,
        List<Change> changes,
        CancellationToken cancellationToken
    )
    {
        var rows = changes
            .Select(c => (Change: c, Values: ChangeValues.Parse(c.Values)))
            .Select(r =>
                (
                    r.Change,
                    IsNew: r.Change.Kind == ChangeKind.Create,
                    Number: r.Values.New(PatronFields.CommunityId),
                    Renumbers: r.Values.Has(PatronFields.CommunityId),
                    Barcode: r.Change.BarcodeDrawn ? null : r.Values.New(PatronFields.Barcode),
                    Name: Text.Fold(
                        $"{r.Values.New(PatronFields.LastName)}\u0001{r.Values.New(PatronFields.FirstName)}\u0001{r.Values.New(PatronFields.MiddleName)}"
                    ),
                    Birthdate: r.Values.New(PatronFields.Birthdate)
                )
            )
            .ToList();
        var numbers = rows.Where(r => r.Number is not null).ToLookup(r => r.Number!, StringComparer.Ordinal);

        // Whose own row gives them another number has it no more.
        var renumbered = rows.Where(r => !r.IsNew && r.Renumbers && r.Change.PatronId is not null)
            .Select(r => r.Change.PatronId!.Value)
            .ToHashSet();
        var holders = new Dictionary<string, (long Id, string Barcode)>(StringComparer.Ordinal);
        foreach (var chunk in numbers.Select(n => n.Key).Chunk(1000))
        {
            foreach (
                var p in await context
                    .Patrons.AsNoTracking()
                    .Where(p => p.DistrictId == districtId && chunk.Contains(p.CommunityId))
                    .Select(p => new
                    {
                        p.Id,
                        p.CommunityId,
                        p.Barcode,
                    })
                    .ToListAsync(cancellationToken)
            )
            {
                if (!renumbered.Contains(p.Id))
                {
                    holders.TryAdd(p.CommunityId!, (p.Id, p.Barcode));
                }
            }
        }

        // Spreadsheets take what is made of digits for a number.
        var all = context.Patrons.AsNoTracking().Where(p => p.DistrictId == districtId);
        var barcodes = await OtherZerosAsync(
            rows.Where(r => r is { IsNew: true, Barcode: not null }).Select(r => Text.BarcodeKey(r.Barcode!)),
            all.Where(p => EF.Functions.Like(p.BarcodeKey, "0%")).Select(p => new Holder(p.Id, p.BarcodeKey, p.Barcode)),
            some => all.Where(p => some.Contains(p.BarcodeKey)).Select(p => new Holder(p.Id, p.BarcodeKey, p.Barcode)),
            [],
            cancellationToken
        );
        var zeros = await OtherZerosAsync(
            rows.Where(r => r.IsNew && r.Number is { } n && !holders.ContainsKey(n)).Select(r => r.Number!),
            all.Where(p => EF.Functions.Like(p.CommunityId!, "0%")).Select(p => new Holder(p.Id, p.CommunityId!, p.Barcode)),
            some => all.Where(p => some.Contains(p.CommunityId)).Select(p => new Holder(p.Id, p.CommunityId!, p.Barcode)),
            renumbered,
            cancellationToken
        );
        var people = rows.Where(r => r.IsNew)
            .ToLookup(r => r.Name, r => new Person(r.Change.SiteId, r.Number, r.Birthdate, ""), StringComparer.Ordinal);
        var namesakes = await NamesakesAsync(context, districtId, people, cancellationToken);

        long known = 0;
        long shared = 0;
        long twice = 0;
        long bare = 0;
        long bareNumbers = 0;
        long namedAlike = 0;
        long namedTwice = 0;
        foreach (var row in rows)
        {
            var words = new List<string>();
            if (row.Number is { } number)
            {
                if (holders.TryGetValue(number, out var holder) && holder.Id != row.Change.PatronId)
                {
                    (known, shared) = row.IsNew ? (known + 1, shared) : (known, shared + 1);
                    words.Add($"{NumberIsTaken(number)}{holder.Barcode} already{(row.IsNew ? $": {SecondRecord}" : "")}");
                }
                else if (row.IsNew && zeros.TryGetValue(number, out var alike))
                {
                    bareNumbers++;
                    words.Add($"Student # {number} is, but for leading zeros, {alike.Key} of the patron {alike.Barcode}: {SecondRecord}");
                }
                else if (numbers[number].Count() > 1)
                {
                    twice++;
                    words.Add($"Student # {number} stands in another row of the file too");
                }
            }

            if (row is { IsNew: true, Barcode: { } code } && barcodes.TryGetValue(Text.BarcodeKey(code), out var card))
            {
                bare++;
                words.Add($"The barcode {code} is, but for leading zeros, that of the patron {card.Barcode}: {SecondRecord}");
            }

            // Whoever has been warned of by a number need not be by the name.
            if (row.IsNew && words.Count == 0)
            {
                var person = new Person(row.Change.SiteId, row.Number, row.Birthdate, "");
                if (namesakes[row.Name].FirstOrDefault(person.MayBe) is { } namesake)
                {
                    namedAlike++;
                    words.Add($"The patron {namesake.Barcode} has this name at this site already: if it is one person, {SecondRecord}");
                }
                else if (people[row.Name].Count(person.MayBe) > 1)
                {
                    namedTwice++;
                    words.Add("This name stands in another row of the file for this site too");
                }
            }

            if (words.Count > 0)
            {
                row.Change.Warning = string.Join("; ", words);
            }
        }

        WarningGroup[] groups =
        [
            new(
                "student-number-known",
                "New patrons have a Student # that another patron has already",
                known,
                "If it is the same person, give the row that patron's barcode, or leave it out: this import would make a second record."
            ),
            new(
                "student-number-shared",
                "Patrons would get a Student # that another patron has already",
                shared,
                "Two patrons would have one number then, and the next sync asks which of them is meant: look which row is right."
            ),
            new(
                "student-number-twice",
                "Rows share their Student # with another row of the file",
                twice,
                "If it is one person, leave one of the rows out."
            ),
            new(
                "leading-zeros",
                "New patrons have the barcode of somebody who is here but for leading zeros",
                bare,
                "A spreadsheet takes barcodes for numbers, and their zeros away. Format the column as text, and make the file again."
            ),
            new(
                "leading-zeros-number",
                "New patrons have the Student # of somebody who is here but for leading zeros",
                bareNumbers,
                "A spreadsheet takes Student # for a number, and its zeros away. Format the column as text, and make the file again."
            ),
            new(
                "name-known",
                "New patrons have the name of a patron of their site",
                namedAlike,
                "If it is the same person, give the row that patron's barcode, or leave it out: this import would make a second record."
            ),
            new(
                "name-twice",
                "Rows share their name and site with another row of the file",
                namedTwice,
                "If it is one person, leave one of the rows out."
            ),
        ];
        return [.. groups.Where(g => g.Count > 0)];
    }

    /// <summary>What tells two of one name apart.</summary>
    private sealed record Person(int? SiteId, string? Number, string? Birthdate, string Barcode)
    {
        /// <summary>Nothing that both have says that they are two.</summary>
        public bool MayBe(Person other) => SiteId == other.SiteId && Agree(Number, other.Number) && Agree(Birthdate, other.Birthdate);

        private static bool Agree(string? one, string? other) => one is null || other is null || one == other;
    }

    /// <summary>Patrons who have one of these names.</summary>
    private static async Task<ILookup<string, Person>> NamesakesAsync(
        RollcallContext context,
        int districtId,
        ILookup<string, Person> people,
        CancellationToken cancellationToken
    )
    {
        var found = new List<(string Name, Person Person)>();
        foreach (var chunk in people.Select(p => p.Key).Chunk(1000))
        {
            foreach (
                var p in await context
                    .Patrons.AsNoTracking()
                    .Where(p => p.DistrictId == districtId && chunk.Contains(p.NameKey))
                    .Select(p => new
                    {
                        p.NameKey,
                        p.SiteId,
                        p.CommunityId,
                        p.Birthdate,
                        p.Barcode,
                    })
                    .ToListAsync(cancellationToken)
            )
            {
                var birthdate = p.Birthdate?.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);
                found.Add((p.NameKey, new Person(p.SiteId, p.CommunityId, birthdate, p.Barcode)));
            }
        }

        return found.ToLookup(f => f.Name, f => f.Person, StringComparer.Ordinal);
    }

    /// <summary>Who has a key.</summary>
    private sealed record Holder(long Id, string Key, string Barcode);

    /// <summary>Whose key one of these is but for leading zeros.</summary>
    /// <param name="keys">Of new patrons.</param>
    /// <param name="padded">Those whose key begins with a zero.</param>
    /// <param name="of">Those who have one of some keys.</param>
    /// <param name="except">Who has theirs no more.</param>
    /// <param name="cancellationToken">Ends it.</param>
    private static async Task<Dictionary<string, Holder>> OtherZerosAsync(
        IEnumerable<string> keys,
        IQueryable<Holder> padded,
        Func<string[], IQueryable<Holder>> of,
        HashSet<long> except,
        CancellationToken cancellationToken
    )
    {
        static string Bare(string key) => key.TrimStart('0');
        var alike = keys.Distinct(StringComparer.Ordinal).ToLookup(Bare, StringComparer.Ordinal);
        var found = new Dictionary<string, Holder>(StringComparer.Ordinal);
        if (alike.Count > 0)
        {
            await NoteAsync(padded);
        }

        foreach (var some in alike.Where(a => a.Any(k => k != a.Key)).Select(a => a.Key).Chunk(1000))
        {
            await NoteAsync(of(some));
        }

        return found;

        async Task NoteAsync(IQueryable<Holder> holders)
        {
            await foreach (var holder in holders.AsAsyncEnumerable().WithCancellation(cancellationToken))
            {
                foreach (var key in alike[Bare(holder.Key)].Where(k => k != holder.Key && !except.Contains(holder.Id)))
                {
                    found.TryAdd(key, holder);
                }
            }
        }
    }

    private static async Task<Dictionary<string, Patron>> KeysAsync(
        RollcallContext context,
        int districtId,
        Rows rows,
        Dictionary<int, int> at,
        int field,
        CancellationToken cancellationToken
    )
    {
        var found = new Dictionary<string, Patron>(StringComparer.Ordinal);
        if (!at.TryGetValue(field, out var column))
        {
            return found;
        }

        foreach (
            var chunk in rows
                .Lines.Select(l => l.Values[column])
                .Where(v => v is not null)
                .Select(v => field == PatronFields.Barcode ? Text.BarcodeKey(v!) : v!)
                .Distinct()
                .Chunk(1000)
        )
        {
            var query = context.Patrons.AsNoTracking().Where(p => p.DistrictId == districtId);
            query =
                field == PatronFields.Barcode ? query.Where(p => chunk.Contains(p.BarcodeKey)) : query.Where(p => chunk.Contains(p.Guid));
            foreach (var patron in await query.ToListAsync(cancellationToken))
            {
                found[field == PatronFields.Barcode ? patron.BarcodeKey : patron.Guid!] = patron;
            }
        }

        return found;
    }

    /// <summary>Whose another record an id of the roster is.</summary>
    private static async Task<Dictionary<string, (long Id, string Barcode)>> AliasesAsync(
        RollcallContext context,
        int districtId,
        CancellationToken cancellationToken
    )
    {
        var found = new Dictionary<string, (long Id, string Barcode)>(StringComparer.Ordinal);
        foreach (
            var link in await context
                .PatronLinks.AsNoTracking()
                .Where(l => l.DistrictId == districtId && l.Aliases != null)
                .Join(
                    context.Patrons.AsNoTracking().Where(p => p.DistrictId == districtId),
                    l => l.PatronId,
                    p => p.Id,
                    (l, p) =>
                        new
                        {
                            p.Id,
                            p.Barcode,
                            l.Aliases,
                        }
                )
                .ToListAsync(cancellationToken)
        )
        {
            foreach (var alias in link.Aliases!.Split('\n'))
            {
                found[alias] = (link.Id, link.Barcode);
            }
        }

        return found;
    }

    private static char Delimiter(string text)
    {
        var end = text.AsSpan().IndexOfAny('\r', '\n');
        var header = end < 0 ? text : text[..end];
        return header.Contains('\t', StringComparison.Ordinal) ? '\t'
            : header.Contains(';', StringComparison.Ordinal) && !header.Contains(',', StringComparison.Ordinal) ? ';'
            : ',';
    }

    /// <summary>UTF-8, UTF-16 with its mark, or Windows-1252 where the bytes are not UTF-8: as spreadsheets write it.</summary>
    private static string Decode(ReadOnlySpan<byte> bytes)
    {
        string text;
        if (bytes.StartsWith((ReadOnlySpan<byte>)[0xFF, 0xFE]))
        {
            text = Encoding.Unicode.GetString(bytes[2..]);
        }
        else if (bytes.StartsWith((ReadOnlySpan<byte>)[0xFE, 0xFF]))
        {
            text = Encoding.BigEndianUnicode.GetString(bytes[2..]);
        }
        else
        {
            try
            {
                text = new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(bytes);
            }
            catch (DecoderFallbackException)
            {
                text = CodePagesEncodingProvider.Instance.GetEncoding(1252)!.GetString(bytes);
            }
        }

        return text.Contains('\0', StringComparison.Ordinal)
            ? throw new ImportRefusedException("The file is no text. Save it as CSV, best as 'CSV UTF-8', and import that.", [])
            : text.TrimStart('\uFEFF');
    }
}
