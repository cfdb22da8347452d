using System.Globalization;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.Csv;

/// <summary>Reads a package once and finds everything that is wrong with it. Nothing is kept of a row but hashes of its keys.</summary>
internal sealed class CsvCheck(string path, CsvLimits limits, DateTimeOffset now, CancellationToken cancellationToken) : IDisposable
{
    private const int MostDuplicates = 100_000;
    private const int LongestId = 255;
    private const string NotOneRoster = "not-oneroster";

    /// <summary>Demographics have the key of their person.</summary>
    private static readonly (string Rule, string Message) s_duplicateId = (
        "duplicate-id",
        "stands on more than one row; the later date counts, else the last row"
    );
    private static readonly CsvColumn s_demographicsUser = new("sourcedId", CsvType.Reference, To: CsvFile.Users);
    private readonly CsvFindings findings = new();
    private readonly Dictionary<CsvFile, CsvPart> parts = [];

    /// <summary>Of the files that do not grow with the people: what others refer to by the million.</summary>
    private readonly Dictionary<CsvFile, IdSet> ids = [];

    /// <summary>Of the other files.</summary>
    private readonly Dictionary<CsvFile, KeyLog> keys = [];

    /// <summary>References to those, by the file they lead to. A use is the place in <see cref="uses"/>.</summary>
    private readonly Dictionary<CsvFile, KeyLog> references = [];
    private readonly List<(CsvFile File, string Column)> uses = [];
    private readonly Dictionary<CsvFile, string[]> headers = [];
    private const string ModeUnknown = "mode-unknown";
    private readonly KeyLog primaryRoles = new();

    /// <summary>People who have a role.</summary>
    private readonly KeyLog withRole = new();
    private readonly List<(ulong Id, int Row)> parents = [];

    /// <summary>Where the keys of a part are put in order.</summary>
    private KeyOnRow[] space = [];
    private KeyOnRow[] otherSpace = [];
    private CsvContainer? container;
    private bool rolesInProfiles;
    private CsvManifest? manifest;
    private CsvVersion version;

    public CsvPackage Run()
    {
        var name = Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(path)));
        try
        {
            container = Directory.Exists(path) ? CsvContainer.OpenFolder(path, limits) : CsvContainer.OpenZip(path, limits, findings);
            ReadAll();
        }
        catch (CsvSyntaxException e)
        {
            findings.Refuse(null, e.Rule, e.Message, row: e.Row);
        }
        catch
        {
            container?.Dispose();
            throw;
        }

        var all = findings.All;
        if (all.Any(f => f.Rule == NotOneRoster))
        {
            // Everything that another format does otherwise is one thing to know.
            all = [.. all.Where(f => f.Severity == CsvSeverity.Refusal).OrderByDescending(f => f.Rule == NotOneRoster)];
        }

        return new CsvPackage(name, container, parts, version, limits, all, Report(name, all));
    }

    public void Dispose()
    {
        foreach (var log in keys.Values.Concat(references.Values))
        {
            log.Dispose();
        }

        primaryRoles.Dispose();
        withRole.Dispose();
    }

    private CsvImportReport Report(string name, IReadOnlyList<CsvFinding> all)
    {
        var wrong = all.Where(f => f.Severity >= CsvSeverity.Error).ToList();
        var files = (container?.Entries ?? [])
            .Where(e => !e.Name.Equals(CsvManifest.FileName, StringComparison.OrdinalIgnoreCase))
            .Where(e => parts.Values.Any(p => p.Entry == e) || wrong.Exists(f => f.File == e.Name))
            .Select(e => e.Name)
            .ToList();
        var rejected = findings.Refused
            ? files
            : [.. (container?.Entries ?? []).Select(e => e.Name).Where(e => wrong.Exists(f => f.File == e))];
        var verdict =
            findings.Refused ? "The package cannot be trusted: a sync refuses it whole and changes nobody."
            : wrong.Count > 0 ? "A sync reads the package and goes on with what could be read."
            : all.Count > 0 ? "Everything was understood all the same."
            : "No errors.";
        return new CsvImportReport(
            name,
            now,
            wrong.Count > 0 ? "Fail" : "Success",
            findings.Refused ? [] : [.. files.Except(rejected, StringComparer.Ordinal)],
            rejected,
            string.Join('\n', all.Select(f => f.ToString()).Append(verdict))
        );
    }

    private void ReadAll()
    {
        Sort();
        if (findings.Refused)
        {
            return;
        }

        version = DetectVersion();
        SetModes();
        var notOneRoster = LooksLikeSchoolDataSync();
        foreach (var file in CsvSchema.InOrder)
        {
            if (parts.TryGetValue(file, out var part))
            {
                container!.ResetBudget();
                Guarded(part, () => CheckFile(part));
            }
        }

        foreach (var (to, log) in references)
        {
            CheckReferences(to, log);
        }

        CheckEverybodyHasARole();
        CheckCompanions();
        if (notOneRoster && findings.Refused)
        {
            findings.Refuse(
                null,
                NotOneRoster,
                "this looks like Microsoft School Data Sync's own CSV, which is another format: have the system export OneRoster 1.1 or 1.2 CSV"
            );
        }
    }

    /// <summary>Which entry is which file.</summary>
    private void Sort()
    {
        foreach (var entry in container!.Entries)
        {
            var name = entry.Name[..^4];
            if (name.Equals("manifest", StringComparison.OrdinalIgnoreCase))
            {
                Case(entry, "manifest");
                try
                {
                    manifest = CsvManifest.Read(container.Open(entry), entry.Name, limits, findings);
                }
                catch (CsvSyntaxException e)
                {
                    findings.Refuse(entry.Name, e.Rule, e.Message, row: e.Row);
                }

                continue;
            }

            var at = Array.FindIndex(CsvSchema.InOrder, f => name.Equals(CsvSchema.Name(f), StringComparison.OrdinalIgnoreCase));
            if (at >= 0)
            {
                var file = CsvSchema.InOrder[at];
                Case(entry, CsvSchema.Name(file));
                parts[file] = new CsvPart(file, entry);
            }
            else if (!CsvSchema.Unused.Contains(name))
            {
                findings.Deviation(entry.Name, "unknown-file", "is no file of OneRoster and was passed over");
            }
        }

        foreach (var part in parts.Values)
        {
            Guarded(
                part,
                () =>
                {
                    using var table = CsvTable.Open(container.Open(part.Entry), part.File, limits);
                    headers[part.File] = table.Headers;
                }
            );
        }

        // Some systems write their roles into the file beside.
        if (
            !parts.ContainsKey(CsvFile.Roles)
            && parts.TryGetValue(CsvFile.UserProfiles, out var profiles)
            && Has(CsvFile.UserProfiles, "roleType")
            && Has(CsvFile.UserProfiles, "role")
        )
        {
            findings.Deviation(profiles.Entry.Name, "roles-in-user-profiles", "holds roles, and is read as roles.csv");
            rolesInProfiles = true;
            parts.Remove(CsvFile.UserProfiles);
            parts[CsvFile.Roles] = new CsvPart(CsvFile.Roles, profiles.Entry);
            headers[CsvFile.Roles] = headers[CsvFile.UserProfiles];
        }

        if (parts.Count == 0 && manifest is null)
        {
            findings.Refuse(null, "no-files", "there is no file of OneRoster in it (orgs.csv, users.csv …)");
        }

        void Case(CsvEntry entry, string proper)
        {
            if (entry.Name != proper + ".csv")
            {
                findings.Deviation(entry.Name, "file-name-case", $"is written {proper}.csv in OneRoster");
            }
        }
    }

    private bool Has(CsvFile file, string header) =>
        headers.TryGetValue(file, out var names) && names.Contains(header, StringComparer.OrdinalIgnoreCase);

    private CsvVersion DetectVersion()
    {
        var roles = parts.ContainsKey(CsvFile.Roles);
        var users = headers.ContainsKey(CsvFile.Users);
        var old = Has(CsvFile.Users, "role") || Has(CsvFile.Users, "orgSourcedIds");
        var newer =
            Has(CsvFile.Users, "userMasterIdentifier")
            || Has(CsvFile.Users, "primaryOrgSourcedId")
            || Has(CsvFile.Users, "preferredGivenName");
        CsvVersion seen;
        if (roles || (users && !old && (newer || manifest?.Version == CsvVersion.V12)))
        {
            seen = CsvVersion.V12;
        }
        else if (!users && manifest?.Version is { } stated)
        {
            seen = stated;
        }
        else
        {
            seen = manifest is null && !Has(CsvFile.Users, "enabledUser") ? CsvVersion.V10 : CsvVersion.V11;
        }

        if (manifest is null && parts.Count > 0)
        {
            if (seen != CsvVersion.V10)
            {
                findings.Deviation(null, "no-manifest", "there is no manifest.csv; version and modes were told from the data");
            }
        }
        else if (manifest is { Version: { } says } && says != seen && parts.Count > 0)
        {
            findings.Deviation(
                CsvManifest.FileName,
                "version-contradicted",
                $"states OneRoster {manifest.StatedVersion}, but the data is of {Number(seen)}: the data counts"
            );
        }

        return seen;
    }

    private static string Number(CsvVersion version) =>
        version == CsvVersion.V10 ? "1.0"
        : version == CsvVersion.V11 ? "1.1"
        : "1.2";

    private void SetModes()
    {
        foreach (var part in parts.Values)
        {
            if (manifest is null)
            {
                continue;
            }

            var stated = manifest.ModeOf(CsvSchema.Name(part.File));
            if (rolesInProfiles && part.File == CsvFile.Roles && stated is CsvMode.Unstated or CsvMode.Absent)
            {
                stated = manifest.ModeOf("userProfiles");
            }

            part.Mode = stated == CsvMode.Absent ? CsvMode.Unstated : stated;
            part.ModeStated = part.Mode != CsvMode.Unstated;
            if (stated == CsvMode.Absent)
            {
                part.Contradicted = true;
                findings.Deviation(
                    part.Entry.Name,
                    "mode-contradicted",
                    "is there although the manifest says that it is absent: the data counts"
                );
            }
            else if (!manifest.Names(CsvSchema.Name(part.File)))
            {
                findings.Error(
                    part.Entry.Name,
                    "not-in-manifest",
                    "is there although the manifest does not name it; the data tells its mode"
                );
            }
        }

        foreach (var file in manifest is null ? [] : CsvSchema.InOrder)
        {
            if (
                parts.ContainsKey(file)
                || (file == CsvFile.UserProfiles && rolesInProfiles)
                || manifest!.ModeOf(CsvSchema.Name(file)) is not (CsvMode.Bulk or CsvMode.Delta)
            )
            {
                continue;
            }

            var message = $"the manifest says that {CsvSchema.FileName(file)} is there, but it is missing";
            if (CsvSchema.IsNeeded(file))
            {
                findings.Refuse(CsvManifest.FileName, "missing-file", message, $"file.{CsvSchema.Name(file)}");
            }
            else
            {
                findings.Error(CsvManifest.FileName, "missing-file", message, $"file.{CsvSchema.Name(file)}");
            }
        }

        if (manifest is null && !parts.ContainsKey(CsvFile.Users))
        {
            findings.Refuse(null, "missing-file", "there is neither a manifest.csv nor a users.csv");
        }
        else if (manifest is null && !parts.ContainsKey(CsvFile.Orgs))
        {
            findings.Refuse(null, "missing-file", "there is neither a manifest.csv nor an orgs.csv");
        }
    }

    private void Guarded(CsvPart part, Action read)
    {
        try
        {
            read();
        }
        catch (CsvSyntaxException e)
        {
            Broken(part, e.Rule, e.Message, e.Row);
        }
    }

    /// <summary>A file that cannot be read. Had it been needed, what it lacks would look as if it were gone.</summary>
    private void Broken(CsvPart part, string rule, string message, long row = 0, string? column = null)
    {
        if (CsvSchema.IsNeeded(part.File))
        {
            findings.Refuse(part.Entry.Name, rule, message, column, row);
        }
        else
        {
            findings.Error(part.Entry.Name, rule, message, column, row);
        }
    }

    private bool LooksLikeSchoolDataSync() =>
        headers.ContainsKey(CsvFile.Users)
        && !Has(CsvFile.Users, "status")
        && !Has(CsvFile.Users, "dateLastModified")
        && ((headers.ContainsKey(CsvFile.Enrollments) && !Has(CsvFile.Enrollments, "sourcedId")) || Has(CsvFile.Roles, "isPrimary"));

    private sealed record Bound(int Field, CsvColumn Column);

    private void CheckFile(CsvPart part)
    {
        using var table = CsvTable.Open(container!.Open(part.Entry), part.File, limits);
        if (CheckHeader(part, table) is not { } bound)
        {
            return;
        }

        var file = part.Entry.Name;
        var reader = table.Reader;
        if (IsLarge(part.File))
        {
            keys[part.File] = new KeyLog();
        }
        else
        {
            ids[part.File] = new IdSet();
        }

        var (idColumn, statusColumn, timeColumn) = (table.Column("sourcedId"), table.Column("status"), table.Column("dateLastModified"));
        long filled = 0,
            blank = 0;
        while (table.Read())
        {
            if ((++part.Rows & 0xFFF) == 0)
            {
                cancellationToken.ThrowIfCancellationRequested();
            }

            CheckWidth(part, table, bound);
            if (reader.HasLineBreak)
            {
                part.DoubtfulRows++;
                findings.Error(file, "line-break", "has a line break inside a field", row: reader.Row);
            }

            var id = table.Key(idColumn);
            CheckPadding(part, "sourcedId", table.Value(idColumn), reader.Row);
            CheckId(part, id, reader.Row);
            if (part.File == CsvFile.Demographics && !Blank.Is(id))
            {
                CheckReference(part, s_demographicsUser, id, reader.Row, default);
            }

            var status = table.Value(statusColumn);
            var time = table.Value(timeColumn);
            var bothFilled = !status.Trim().IsEmpty && !time.Trim().IsEmpty;
            filled += bothFilled ? 1 : 0;
            blank += status.Trim().IsEmpty || time.Trim().IsEmpty ? 1 : 0;
            CheckState(part, status, time, reader.Row);
            foreach (var (field, column) in bound)
            {
                CheckValue(part, column, table.Value(field), reader.Row, id);
            }

            if (part.File == CsvFile.Roles)
            {
                CheckRole(part, table);
            }
            else if (part.File is CsvFile.AcademicSessions)
            {
                CheckDates(part, table, "startDate", "endDate");
            }
            else if (part.File is CsvFile.Enrollments)
            {
                CheckDates(part, table, "beginDate", "endDate");
            }
        }

        if (keys.TryGetValue(part.File, out var log))
        {
            var hashes = part.Duplicates;
            Find(
                part,
                log,
                "sourcedId",
                s_duplicateId,
                key =>
                {
                    hashes.Add(key.Hash);
                    CheckMost(part, key.Row);
                }
            );
            if (part.File == CsvFile.Roles)
            {
                Find(
                    part,
                    primaryRoles,
                    "roleType",
                    ("several-primary-roles", "is primary more than once for one person at one organization")
                );
            }
        }

        if (part.Mode == CsvMode.Unstated)
        {
            // Only bulk may leave them blank.
            part.Mode = filled > 0 && blank == 0 ? CsvMode.Delta : CsvMode.Bulk;
            if (part.Mode == CsvMode.Delta && manifest is null)
            {
                findings.Deviation(
                    file,
                    ModeUnknown,
                    "says status and date of every row and no manifest calls it complete: it is read as changes, and nobody is absent"
                );
            }
        }

        if (part.Rows == 0)
        {
            if (part.Mode == CsvMode.Bulk && part.File is CsvFile.Users or CsvFile.Orgs)
            {
                findings.Refuse(file, "no-rows", "has a header and no rows: everybody would be gone");
            }
            else
            {
                findings.Error(file, "no-rows", "has a header and no rows");
            }
        }

        if (part.Mode == CsvMode.Bulk && filled > 0)
        {
            BulkWithStatus(file, filled);
        }

        CheckText(file, reader);
        if (part.File is CsvFile.Orgs or CsvFile.AcademicSessions)
        {
            CheckParents(part, ids[part.File]);
        }
    }

    private void CheckText(string file, CsvRowReader reader)
    {
        if (reader.Encoding != "UTF-8")
        {
            findings.Deviation(file, "encoding", $"is written in {reader.Encoding} instead of UTF-8");
        }

        findings.Deviation(file, "encoding", "has bytes that are no UTF-8; they were read as Windows-1252", count: reader.ForeignBytes);
        findings.Error(file, "nul", "has NUL characters, which were replaced", count: reader.ReplacedCharacters);
        findings.Deviation(file, "empty-line", "has empty lines between others", count: reader.EmptyRows);
        if (reader.MixedLineEnds)
        {
            findings.Deviation(file, "line-ends", "mixes ways of ending lines");
        }
    }

    private Bound[]? CheckHeader(CsvPart part, CsvTable table)
    {
        var file = part.Entry.Name;
        var columns = CsvSchema.Columns(part.File);
        var known = 0;
        var last = -1;
        var ordered = true;
        var seen = new HashSet<string>(StringComparer.OrdinalIgnoreCase);
        var sawMetadata = false;
        for (var i = 0; i < table.Headers.Length; i++)
        {
            var header = table.Headers[i];
            if (header.Length == 0)
            {
                findings.Deviation(file, "blank-header", "has columns without a header", row: table.Row);
                continue;
            }

            if (!seen.Add(header))
            {
                if (Array.Exists(columns, c => c.Name.Equals(header, StringComparison.OrdinalIgnoreCase)))
                {
                    Broken(
                        part,
                        "duplicate-header",
                        "stands in the header twice, so nobody can tell which counts",
                        table.Row,
                        Known(header)
                    );
                }
                else
                {
                    findings.Error(file, "duplicate-header", "has a header twice", row: table.Row);
                }

                continue;
            }

            if (header.StartsWith("metadata.", StringComparison.OrdinalIgnoreCase))
            {
                sawMetadata = true;
                continue;
            }

            var at = Array.FindIndex(columns, c => c.Name.Equals(header, StringComparison.OrdinalIgnoreCase));
            if (
                at < 0
                && CsvSchema.Alias(part.File, header, out var of10) is { } name
                && !table.Headers.Contains(name, StringComparer.OrdinalIgnoreCase)
            )
            {
                at = Array.FindIndex(columns, c => c.Name == name);
                if (!(of10 && version == CsvVersion.V10))
                {
                    findings.Deviation(file, "header-alias", $"is called {header} in the header", name, table.Row);
                }
            }
            else if (at >= 0 && columns[at].Name != header && !(version == CsvVersion.V10 && header == "birthdate"))
            {
                findings.Deviation(file, "header-case", $"is written {header} in the header", columns[at].Name, table.Row);
            }

            if (at >= 0 && version == CsvVersion.V10 && !columns[at].In(version))
            {
                continue;
            }

            if (at < 0 || !columns[at].In(version))
            {
                if (
                    !(
                        part.File == CsvFile.Users
                        && header.Equals("resourceSourcedIds", StringComparison.OrdinalIgnoreCase)
                        && version == CsvVersion.V12
                    )
                )
                {
                    findings.Deviation(
                        file,
                        "extra-column",
                        "has columns that OneRoster does not know and that are not called metadata",
                        row: table.Row
                    );
                }

                continue;
            }

            known++;
            ordered &= at > last && !sawMetadata;
            last = at;
        }

        if (known == 0)
        {
            Broken(part, "no-header", "the first line is no header of this file", table.Row);
            return null;
        }

        if (!ordered && version != CsvVersion.V10)
        {
            findings.Deviation(file, "header-order", "has its columns in another order", row: table.Row);
        }

        var missing = false;
        foreach (var column in columns.Where(c => c.In(version) && !table.Has(c.Name)))
        {
            var needed =
                (column.Required && column.Name != "enabledUser" && column.Name != "username")
                || (part.Mode == CsvMode.Delta && column.Type is CsvType.Status or CsvType.Time);
            if (needed)
            {
                missing = true;
                Broken(part, "missing-column", "is missing in the header", table.Row, column.Name);
            }
            else if (version != CsvVersion.V10)
            {
                findings.Error(file, "missing-column", "is missing in the header", column.Name, table.Row);
            }
        }

        return missing
            ? null
            :
            [
                .. columns
                    .Where(c => c.In(version) && table.Has(c.Name))
                    .Where(c => c.Type is not (CsvType.Id or CsvType.Status or CsvType.Time))
                    .Where(c => c.Required || c.Type is not (CsvType.Text or CsvType.List))
                    .Select(c => new Bound(table.Column(c.Name), c)),
            ];

        string Known(string header) => Array.Find(columns, c => c.Name.Equals(header, StringComparison.OrdinalIgnoreCase))!.Name;
    }

    private void CheckWidth(CsvPart part, CsvTable table, Bound[] bound)
    {
        var (have, want) = (table.Reader.Count, table.Headers.Length);
        if (part.Rows == 1)
        {
            part.Width = have;
        }

        if (have == want)
        {
            return;
        }

        if (have < want)
        {
            // Columns at the end that have no header need no value either.
            for (var i = have; i < want; i++)
            {
                if (table.Headers[i].Length > 0)
                {
                    throw new CsvSyntaxException("short-row", $"a row has {have} fields where the header has {want}", table.Row);
                }
            }

            return;
        }

        for (var i = want; i < have; i++)
        {
            if (!table.Reader[i].Trim().IsEmpty)
            {
                throw new CsvSyntaxException("long-row", $"a row has {have} fields where the header has {want}", table.Row);
            }
        }

        // Commas behind the last column of every row are harmless. On one row alone they can also mean that a value holds a comma and
        // was not quoted, so that all after it slipped.
        if (have != part.Width && HasSlipped(bound, table))
        {
            throw new CsvSyntaxException(
                "long-row",
                $"a row has {have} fields where the header has {want}, and its values have slipped into other columns",
                table.Row
            );
        }

        findings.Deviation(part.Entry.Name, "trailing-commas", "has commas behind the last column", row: table.Row);
    }

    private bool HasSlipped(Bound[] bound, CsvTable table)
    {
        for (var i = 0; i < table.Reader.Count; i++)
        {
            // What follows an unquoted comma inside a value mostly begins with a blank.
            if (table.Reader[i] is [' ', ..])
            {
                return true;
            }
        }

        var email = table.Value(table.Column("email")).Trim();
        if (!email.IsEmpty && !email.Contains('@'))
        {
            return true;
        }

        foreach (var (field, column) in bound)
        {
            var value = table.Value(field).Trim();
            if (
                !value.IsEmpty
                && column.Type switch
                {
                    CsvType.Boolean => CsvValue.Boolean(value) is null,
                    CsvType.Day => !CsvValue.TryDay(value, out _, out _),
                    CsvType.UserIds => value[0] != '{' && version != CsvVersion.V10,
                    CsvType.Word => !IsWord(column.Words!, value),
                    _ => false,
                }
            )
            {
                return true;
            }
        }

        return false;
    }

    private bool IsWord(CsvWords words, ReadOnlySpan<char> value)
    {
        foreach (var word in words.Of(version))
        {
            if (value.Equals(word, StringComparison.OrdinalIgnoreCase))
            {
                return true;
            }
        }

        return value.StartsWith(Words.Extension, StringComparison.Ordinal);
    }

    /// <summary>Files with a row for each person or more.</summary>
    private static bool IsLarge(CsvFile file) =>
        file
            is CsvFile.Users
                or CsvFile.UserProfiles
                or CsvFile.UserResources
                or CsvFile.Roles
                or CsvFile.Demographics
                or CsvFile.Enrollments;

    private void CheckId(CsvPart part, ReadOnlySpan<char> id, long row)
    {
        if (Blank.Is(id))
        {
            findings.Error(part.Entry.Name, "missing-value", "is blank", "sourcedId", row);
            return;
        }

        CheckIdForm(part, "sourcedId", id, row);
        var hash = IdSet.Hash(id);
        if (keys.TryGetValue(part.File, out var log))
        {
            log.Add(new KeyOnRow(hash, Short(row)));
        }
        else if (!ids[part.File].Add(hash))
        {
            findings.Error(part.Entry.Name, s_duplicateId.Rule, s_duplicateId.Message, "sourcedId", row);
            part.Duplicates.Add(hash);
            CheckMost(part, row);
        }
    }

    private void CheckPadding(CsvPart part, string column, ReadOnlySpan<char> value, long row)
    {
        if (!Blank.Is(value) && value.Trim().Length < value.Length)
        {
            findings.Deviation(part.Entry.Name, "padded-id", "has blanks around it, which do not count", column, row);
        }
    }

    private static int Short(long row) => (int)Math.Min(row, int.MaxValue);

    private static void CheckMost(CsvPart part, long row)
    {
        if (part.Duplicates.Count > MostDuplicates)
        {
            throw new CsvSyntaxException("duplicate-id", "nearly all rows share their sourcedId with others", row);
        }
    }

    private void CheckIdForm(CsvPart part, string column, ReadOnlySpan<char> id, long row)
    {
        if (id.Length > LongestId)
        {
            findings.Error(part.Entry.Name, "id-too-long", "is longer than 255 characters", column, row);
        }

        foreach (var c in id)
        {
            if (!(char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_' or '/' or '@'))
            {
                findings.Error(part.Entry.Name, "id-characters", "has characters other than letters, digits and . - _ / @", column, row);
                return;
            }
        }
    }

    private void CheckState(CsvPart part, ReadOnlySpan<char> status, ReadOnlySpan<char> time, long row)
    {
        var file = part.Entry.Name;
        var trimmed = Blank.Trim(status);
        if (trimmed.IsEmpty)
        {
            if (part.Mode == CsvMode.Delta)
            {
                findings.Error(
                    file,
                    "delta-without-status",
                    "is blank, which a delta file may not be; the row was left out",
                    "status",
                    row
                );
            }
        }
        else if (Words.Status(trimmed) is not { } known)
        {
            findings.Error(
                file,
                "unknown-word",
                part.Mode == CsvMode.Delta
                    ? "is neither active nor tobedeleted; the row was left out"
                    : "is neither active nor tobedeleted; the row is read as active",
                "status",
                row
            );
        }
        else if (trimmed is "inactive" && version == CsvVersion.V12)
        {
            findings.Deviation(file, "withdrawn-word", "is inactive, which 1.2 has no more; it is read as tobedeleted", "status", row);
        }
        else if (!(trimmed is "active" or "tobedeleted" or "inactive"))
        {
            var word = known == Model.RecordStatus.Active ? "active" : "tobedeleted";
            if (trimmed.Equals(word, StringComparison.OrdinalIgnoreCase) || trimmed.Equals("inactive", StringComparison.OrdinalIgnoreCase))
            {
                findings.Deviation(file, "word-case", $"is written in another case than {word}", "status", row);
            }
            else
            {
                findings.Deviation(file, "word-form", $"is written otherwise than {word}, as which it is read", "status", row);
            }
        }

        if (Blank.Is(time))
        {
            if (part.Mode == CsvMode.Delta)
            {
                findings.Error(file, "delta-without-date", "is blank, which a delta file may not be", "dateLastModified", row);
            }
        }
        else if (!CsvValue.TryTime(time, out _, out var strict))
        {
            findings.Error(file, "bad-date", "is no date and time", "dateLastModified", row);
        }
        else if (!strict)
        {
            findings.Deviation(file, "date-form", "is not written as YYYY-MM-DDTHH:mm:ss.sssZ", "dateLastModified", row);
        }
    }

    private void CheckValue(CsvPart part, CsvColumn column, ReadOnlySpan<char> value, long row, ReadOnlySpan<char> id)
    {
        var file = part.Entry.Name;
        var trimmed = Blank.Trim(value);
        if (trimmed.IsEmpty)
        {
            if (column.Required)
            {
                findings.Error(file, "missing-value", "is blank", column.Name, row);
            }

            return;
        }

        switch (column.Type)
        {
            case CsvType.Day:
                if (!CsvValue.TryDay(trimmed, out _, out var strict))
                {
                    findings.Error(file, "bad-date", "is no date; the value was left out", column.Name, row);
                }
                else if (!strict)
                {
                    findings.Deviation(file, "date-form", "is not written as YYYY-MM-DD", column.Name, row);
                }

                break;
            case CsvType.Year:
                if (trimmed.Length != 4 || trimmed.ContainsAnyExceptInRange('0', '9'))
                {
                    findings.Error(file, "bad-year", "is no year of four digits", column.Name, row);
                }

                break;
            case CsvType.Boolean:
                if (trimmed is "true" or "false")
                {
                    break;
                }

                if (CsvValue.Boolean(trimmed) is null)
                {
                    findings.Error(file, "bad-boolean", "is neither true nor false", column.Name, row);
                }
                else if (
                    trimmed.Equals("true", StringComparison.OrdinalIgnoreCase)
                    || trimmed.Equals("false", StringComparison.OrdinalIgnoreCase)
                )
                {
                    findings.Deviation(file, "word-case", "is written in another case than true and false", column.Name, row);
                }
                else
                {
                    findings.Error(file, "bad-boolean", "is neither true nor false; what it means was understood", column.Name, row);
                }

                break;
            case CsvType.Word:
                CheckWord(file, column, trimmed, row);
                break;
            case CsvType.UserIds:
                if (version != CsvVersion.V10 && CsvValue.UserIds(trimmed, out var left) is var _ && left > 0)
                {
                    findings.Error(
                        file,
                        "bad-user-id",
                        "is not written as {type:id}; what could not be read was left out",
                        column.Name,
                        row
                    );
                }

                break;
            case CsvType.Reference:
                CheckPadding(part, column.Name, value, row);
                CheckIdForm(part, column.Name, trimmed, row);
                CheckReference(part, column, trimmed, row, id);
                break;
            case CsvType.References:
                foreach (var range in trimmed.Split(','))
                {
                    var one = trimmed[range].Trim();
                    if (one.IsEmpty)
                    {
                        findings.Error(file, "bad-list", "has an empty place in its list", column.Name, row);
                        continue;
                    }

                    CheckIdForm(part, column.Name, one, row);
                    CheckReference(part, column, one, row, id);
                }

                break;
            default:
                break;
        }
    }

    private void CheckWord(string file, CsvColumn column, ReadOnlySpan<char> word, long row)
    {
        var ignoringCase = false;
        foreach (var known in column.Words!.Of(version))
        {
            if (word.SequenceEqual(known))
            {
                return;
            }

            ignoringCase |= word.Equals(known, StringComparison.OrdinalIgnoreCase);
        }

        if (ignoringCase)
        {
            findings.Deviation(file, "word-case", "is written in another case than its enumeration", column.Name, row);
        }
        else if (column.Name == "sex" && word.Length == 1 && Words.Sex(word) is { } sex)
        {
            findings.Deviation(file, "word-form", $"is written otherwise than {sex}, as which it is read", column.Name, row);
        }
        else if (
            column.Name == "role"
            && column.To is null
            && word is "aide"
            && file.StartsWith("enrollments", StringComparison.OrdinalIgnoreCase)
        )
        {
            findings.Deviation(file, "unknown-word", "is aide, which an enrollment's role may not be", column.Name, row);
        }
        else if (
            column.Name == "publicSchoolResidenceStatus"
            && word.Length == 4
            && column.Words.Words.Contains($"0{word}", StringComparer.Ordinal)
        )
        {
            findings.Deviation(file, "word-form", "lacks its leading zero", column.Name, row);
        }
        else if (
            !column.Words.Extensible
            || version != CsvVersion.V12
            || !word.StartsWith(Words.Extension, StringComparison.Ordinal)
            || word.Length == 4
            || word[4..].IndexOfAnyExcept(s_extension) >= 0
        )
        {
            findings.Error(file, "unknown-word", $"is none of {string.Join(", ", column.Words.Of(version))}", column.Name, row);
        }
    }

    private static readonly System.Buffers.SearchValues<char> s_extension = System.Buffers.SearchValues.Create(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
    );

    private void CheckReference(CsvPart part, CsvColumn column, ReadOnlySpan<char> id, long row, ReadOnlySpan<char> own)
    {
        if (column.To is not { } to)
        {
            return;
        }

        if (to == part.File)
        {
            if (id.SequenceEqual(own))
            {
                findings.Error(part.Entry.Name, "self-reference", "refers to the row itself", column.Name, row);
            }
            else if (IsLarge(to))
            {
                Refer(to, part, column, id, row);
            }
            else
            {
                parents.Add((IdSet.Hash(id), Short(row)));
            }
        }
        else if (IsLarge(to))
        {
            if (keys.ContainsKey(to))
            {
                Refer(to, part, column, id, row);
            }
        }
        else if (parts.TryGetValue(to, out var target) && target.Mode == CsvMode.Bulk && ids.TryGetValue(to, out var known))
        {
            if (!known.Contains(IdSet.Hash(id)))
            {
                Dangling(part.Entry.Name, column.Name, target.Entry.Name, row);
            }
        }
    }

    private void Refer(CsvFile to, CsvPart part, CsvColumn column, ReadOnlySpan<char> id, long row)
    {
        var use = uses.IndexOf((part.File, column.Name));
        if (use < 0)
        {
            use = uses.Count;
            uses.Add((part.File, column.Name));
        }

        if (!references.TryGetValue(to, out var log))
        {
            references[to] = log = new KeyLog();
        }

        log.Add(new KeyOnRow(IdSet.Hash(id), Short(row), use));
    }

    private void Dangling(string file, string column, string target, long row, long count = 1) =>
        findings.Error(file, "dangling-reference", $"refers to a row that {target} does not have", column, row, count);

    /// <summary>References within a file can point forward, so they are looked at when all of it is known.</summary>
    private void CheckParents(CsvPart part, IdSet own)
    {
        if (part.Mode == CsvMode.Bulk)
        {
            foreach (var (id, row) in parents)
            {
                if (!own.Contains(id))
                {
                    Dangling(part.Entry.Name, "parentSourcedId", part.Entry.Name, row);
                }
            }
        }

        parents.Clear();
    }

    /// <summary>References to a large file, when both sides are known.</summary>
    private void CheckReferences(CsvFile to, KeyLog log)
    {
        if (!parts.TryGetValue(to, out var target) || target.Mode != CsvMode.Bulk || !keys.TryGetValue(to, out var known))
        {
            return;
        }

        // A list with two wrong places is one wrong row.
        var found = uses.ConvertAll(_ => new KeyLog());
        try
        {
            Without(log, known, key => found[key.Use].Add(key with { Hash = (ulong)key.Row * 0x9e3779b97f4a7c15, Use = 0 }));
            foreach (var ((file, column), rows) in uses.Zip(found))
            {
                var first = new FirstRows();
                Each(rows, (key, again) => first.Add(again ? 0 : key.Row));
                first.Tell((row, count) => Dangling(parts[file].Entry.Name, column, target.Entry.Name, row, count));
            }
        }
        finally
        {
            found.ForEach(f => f.Dispose());
        }
    }

    /// <summary>Keys that stand on several rows.</summary>
    private void Find(CsvPart part, KeyLog log, string column, (string Rule, string Message) what, Action<KeyOnRow>? also = null)
    {
        var first = new FirstRows();
        Each(
            log,
            (key, again) =>
            {
                if (again)
                {
                    first.Add(key.Row);
                    also?.Invoke(key);
                }
            }
        );
        first.Tell((row, count) => findings.Error(part.Entry.Name, what.Rule, what.Message, column, row, count));
    }

    /// <summary>All keys in their order, each with whether the same came before.</summary>
    private void Each(KeyLog log, Action<KeyOnRow, bool> see)
    {
        for (var part = 0; part < KeyLog.Parts; part++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var sorted = log.Sorted(part, ref space);
            for (var i = 0; i < sorted.Length; i++)
            {
                see(sorted[i], i > 0 && sorted[i].Hash == sorted[i - 1].Hash);
            }
        }
    }

    /// <summary>Those of the one log whose keys the other does not have.</summary>
    private void Without(KeyLog log, KeyLog known, Action<KeyOnRow> see)
    {
        for (var part = 0; part < KeyLog.Parts; part++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var sorted = log.Sorted(part, ref space);
            var others = known.Sorted(part, ref otherSpace);
            var at = 0;
            foreach (var key in sorted)
            {
                while (at < others.Length && others[at].Hash < key.Hash)
                {
                    at++;
                }

                if (at == others.Length || others[at].Hash != key.Hash)
                {
                    see(key);
                }
            }
        }
    }

    /// <summary>How many rows, and the first of them.</summary>
    private sealed class FirstRows
    {
        private readonly SortedSet<int> rows = [];
        private long count;

        /// <param name="row">0 is none.</param>
        public void Add(int row)
        {
            if (row == 0)
            {
                return;
            }

            count++;
            rows.Add(row);
            if (rows.Count > CsvFindings.RowsShown)
            {
                rows.Remove(rows.Max);
            }
        }

        public void Tell(Action<long, long> say)
        {
            foreach (var row in rows)
            {
                say(row, 1);
            }

            say(0, count - rows.Count);
        }
    }

    private void CheckRole(CsvPart part, CsvTable table)
    {
        CheckDates(part, table, "beginDate", "endDate");
        var user = table.Value(table.Column("userSourcedId")).Trim();
        if (user.IsEmpty || Words.Status(table.Value(table.Column("status"))) == Model.RecordStatus.ToBeDeleted)
        {
            return;
        }

        var hash = IdSet.Hash(user);
        withRole.Add(new KeyOnRow(hash, 0));

        if (!table.Value(table.Column("roleType")).Trim().Equals("primary", StringComparison.OrdinalIgnoreCase))
        {
            return;
        }

        var org = IdSet.Hash(table.Value(table.Column("orgSourcedId")).Trim());
        primaryRoles.Add(new KeyOnRow(hash ^ System.Numerics.BitOperations.RotateLeft(org, 23), Short(table.Row)));
    }

    private void CheckDates(CsvPart part, CsvTable table, string first, string last)
    {
        if (
            CsvValue.TryDay(table.Value(table.Column(first)), out var begin, out _)
            && CsvValue.TryDay(table.Value(table.Column(last)), out var end, out _)
            && end < begin
        )
        {
            findings.Error(part.Entry.Name, "dates-reversed", $"is before {first}", last, table.Row);
        }
    }

    private void CheckEverybodyHasARole()
    {
        if (
            version != CsvVersion.V12
            || !parts.TryGetValue(CsvFile.Users, out var users)
            || !parts.TryGetValue(CsvFile.Roles, out var roles)
            || users.Mode != CsvMode.Bulk
            || !keys.TryGetValue(CsvFile.Users, out var people)
            || !keys.ContainsKey(CsvFile.Roles)
        )
        {
            return;
        }

        if (roles.Mode == CsvMode.Delta)
        {
            // Where nothing but the dates on its rows speaks for a delta, and everybody is in it, it is the complete file that belongs here.
            var missing = 0L;
            if (roles.ModeStated || Missing() > 0)
            {
                findings.Refuse(
                    users.Entry.Name,
                    "companion-delta",
                    $"is bulk, and {roles.Entry.Name} holds changes alone: which roles its people have now cannot be told"
                );
                return;
            }

            // Its rows all say status and date, or it would not have been taken for a delta.
            roles.Mode = CsvMode.Bulk;
            findings.Drop(roles.Entry.Name, ModeUnknown);
            BulkWithStatus(roles.Entry.Name, roles.Rows);

            long Missing()
            {
                Without(people, withRole, _ => missing++);
                return missing;
            }
        }

        var first = new FirstRows();
        var last = 0UL;
        Without(
            people,
            withRole,
            key =>
            {
                first.Add(key.Hash == last ? 0 : key.Row);
                last = key.Hash;
            }
        );
        first.Tell(
            (row, count) =>
                findings.Error(users.Entry.Name, "no-role", $"has people without a row in {roles.Entry.Name}", row: row, count: count)
        );
    }

    private void BulkWithStatus(string file, long rows) =>
        findings.Deviation(file, "bulk-with-status", "is bulk, and says status and date all the same", count: rows);

    private void CheckCompanions()
    {
        foreach (var part in parts.Values.Where(p => p.Mode == CsvMode.Bulk))
        {
            foreach (var companion in CsvSchema.Companions(part.File, version))
            {
                if (parts.ContainsKey(companion) || (manifest is null && companion is not (CsvFile.Orgs or CsvFile.Roles)))
                {
                    continue;
                }

                if (part.File == CsvFile.Users && companion == CsvFile.Roles)
                {
                    findings.Refuse(part.Entry.Name, "missing-companion", "is bulk and needs roles.csv: without it nobody has a role");
                }
                else
                {
                    findings.Error(
                        part.Entry.Name,
                        "missing-companion",
                        string.Create(
                            CultureInfo.InvariantCulture,
                            $"is bulk and needs {CsvSchema.FileName(companion)}, which is not there"
                        )
                    );
                }
            }
        }
    }
}
