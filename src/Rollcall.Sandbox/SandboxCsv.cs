using System.Buffers;
using System.Globalization;
using System.IO.Compression;
using System.Text;
using System.Text.Json;
using Rollcall.Sandbox.Serving;

namespace Rollcall.Sandbox;

/// <summary>How a CSV package is written.</summary>
public sealed record SandboxCsvOptions
{
    /// <summary><c>1.0</c>, <c>1.1</c> or <c>1.2</c> (as 1.2.1 has it).</summary>
    public string Version { get; init; } = "1.1";

    /// <summary>Only what changed since the day before.</summary>
    public bool Delta { get; init; }

    /// <summary>Names of <see cref="SandboxCsv.Faults"/>.</summary>
    public IReadOnlyCollection<string> Faults { get; init; } = [];
}

/// <summary>The pretend district as OneRoster CSV: what its server would say, in files.</summary>
public static class SandboxCsv
{
    private const string Active = "active";

    private static readonly string[] s_files = ["orgs", "academicSessions", "courses", "classes", "users", "enrollments", "demographics"];

    private static readonly string[] s_unused = ["resources", "classResources", "courseResources", "categories", "lineItems", "results"];

    private static readonly string[] s_unused12 =
    [
        "userProfiles",
        "userResources",
        "scoreScales",
        "lineItemScoreScales",
        "resultScoreScales",
        "lineItemLearningObjectiveIds",
        "resultLearningObjectiveIds",
    ];

    /// <summary>Each way in which a package can be spoilt, by name. Those of the first kind are understood by a good reader.</summary>
    public static IReadOnlyDictionary<string, string> Faults { get; } =
        new SortedDictionary<string, string>(StringComparer.Ordinal)
        {
            ["bad-crc"] = "a file does not fit its checksum",
            ["bad-date"] = "a birthdate is no date",
            ["bad-role"] = "a role is a word that nobody knows",
            ["blank-modes"] = "the manifest does not say what files are",
            ["bom"] = "files begin with a byte order mark",
            ["dangling"] = "an enrollment refers to nobody",
            ["duplicate-ids"] = "a person stands on two rows",
            ["empty-users"] = "users.csv has a header alone",
            ["extra-columns"] = "a column that is not called metadata",
            ["folder"] = "the files lie in a folder of the archive",
            ["header-order"] = "columns of users.csv in another order",
            ["lf"] = "lines end in LF alone",
            ["macosx"] = "what a Mac leaves in archives",
            ["manifest-version-1"] = "manifest.version is 1",
            ["missing-users"] = "users.csv is not there",
            ["misspelt-headers"] = "dataLastModified instead of dateLastModified",
            ["mixed-line-ends"] = "lines end in CRLF and LF by turns",
            ["no-manifest"] = "manifest.csv is not there",
            ["quoted"] = "every value in quotation marks",
            ["roles-in-userprofiles"] = "roles are in userprofiles.csv",
            ["short-row"] = "the last person's row is cut off",
            ["truncated-zip"] = "the archive's end is missing",
            ["unclosed-quote"] = "a quotation mark that is not closed",
            ["upper-case-names"] = "file names in capitals",
            ["upper-case-booleans"] = "TRUE and FALSE",
            ["us-dates"] = "birthdates as M/D/YYYY",
            ["utf-16"] = "users.csv in UTF-16",
            ["windows-1252"] = "users.csv in Windows-1252",
        };

    /// <summary>A sourcedId as a package has it: CSV allows fewer characters in it than the server's JSON.</summary>
    public static string Id(string sourcedId) =>
        string.Concat(
            sourcedId.Select(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_' or '/' or '@' ? c.ToString() : $"@{(int)c:x}")
        );

    /// <summary>Writes a package.</summary>
    /// <param name="options">The district.</param>
    /// <param name="day">Its day.</param>
    /// <param name="csv">How.</param>
    /// <param name="folder">Where; made if it is not there.</param>
    /// <returns>The archive's path.</returns>
    /// <exception cref="ArgumentException">An unknown fault or version; a delta of the first day.</exception>
    public static string Write(SandboxOptions options, int day, SandboxCsvOptions csv, string folder)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(csv);
        if (csv.Version is not ("1.0" or "1.1" or "1.2"))
        {
            throw new ArgumentException($"There is no OneRoster CSV '{csv.Version}' here: 1.0, 1.1 or 1.2.", nameof(csv));
        }

        if (csv.Faults.FirstOrDefault(f => !Faults.ContainsKey(f)) is { } unknown)
        {
            throw new ArgumentException(
                $"There is no fault '{unknown}'. Faults of CSV are: {string.Join(", ", Faults.Keys)}.",
                nameof(csv)
            );
        }

        if (csv.Delta && day == 0)
        {
            throw new ArgumentException("There is no delta of day 0: nothing came before it.", nameof(day));
        }

        options = options with { Api = csv.Version == "1.2" ? SandboxApi.OneRoster12 : SandboxApi.OneRoster11 };
        Directory.CreateDirectory(folder);
        var path = Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"{(csv.Delta ? "delta" : "bulk")}-day-{day:D4}.zip"));

        // Whoever watches the folder never sees half of it.
        var part = path + ".part";
        if (csv.Faults.Count == 0 && !csv.Delta)
        {
            using var file = File.Create(part);
            WriteWhole(SandboxDistrict.At(options, day), csv, file);
        }
        else
        {
            var files = Tables(SandboxDistrict.At(options, day), csv);
            if (csv.Delta)
            {
                Subtract(files, Tables(SandboxDistrict.At(options, day - 1), csv), SandboxDistrict.At(options, day).World.TimeOf(day, 0));
            }

            File.WriteAllBytes(part, Spoil(files, csv));
        }

        File.Move(part, path, overwrite: true);
        return path;
    }

    private sealed record Table(string[] Header, List<string[]> Rows);

    private static Dictionary<string, Table> Tables(SandboxDistrict district, SandboxCsvOptions csv)
    {
        var catalog = new Catalog(district, OverrideSet.None);
        return FilesOf(csv)
            .ToDictionary(
                name => name,
                name => new Table(Header(name, csv.Version), [.. RowsOf(catalog, name, csv)]),
                StringComparer.Ordinal
            );
    }

    private static IEnumerable<string> FilesOf(SandboxCsvOptions csv) => csv.Version == "1.2" ? s_files.Prepend("roles") : s_files;

    private static IEnumerable<string[]> RowsOf(Catalog catalog, string name, SandboxCsvOptions csv)
    {
        var header = Header(name == "roles" ? "users" : name, csv.Version);
        foreach (var (row, json) in Read(catalog, name == "roles" ? "users" : name))
        {
            if (Text(json, "status") != Active)
            {
                continue;
            }

            if (name == "roles")
            {
                foreach (var role in RolesOf(json, csv.Delta ? Text(json, "dateLastModified") : "", csv.Delta))
                {
                    yield return role;
                }

                continue;
            }

            var values = header.Select(h => Value(row, json, name, h)).ToArray();
            BlankState(header, values, csv.Delta);
            yield return values;
        }
    }

    /// <summary>A package without faults goes to the file row by row: a large district's tables are larger than memory.</summary>
    private static void WriteWhole(SandboxDistrict district, SandboxCsvOptions csv, Stream file)
    {
        var catalog = new Catalog(district, OverrideSet.None);
        using var zip = new ZipArchive(file, ZipArchiveMode.Create, leaveOpen: true);
        foreach (var name in FilesOf(csv))
        {
            using var writer = Entry(name);
            WriteRow(writer, Header(name, csv.Version), quoted: false);
            foreach (var row in RowsOf(catalog, name, csv))
            {
                WriteRow(writer, row, quoted: false);
            }
        }

        if (csv.Version != "1.0")
        {
            using var writer = Entry("manifest");
            writer.Write(Manifest(csv, [.. FilesOf(csv)], _ => false));
        }

        StreamWriter Entry(string name) =>
            new(zip.CreateEntry(name + ".csv", CompressionLevel.Fastest).Open(), new UTF8Encoding(false), 64 * 1024);
    }

    private static void BlankState(string[] header, string[] values, bool delta)
    {
        for (var i = 0; i < header.Length && !delta; i++)
        {
            if (header[i] is "status" or "dateLastModified")
            {
                values[i] = "";
            }
        }
    }

    private static IEnumerable<string[]> RolesOf(JsonElement user, string modified, bool delta)
    {
        var id = Text(user, "sourcedId");
        var number = 0;
        foreach (var role in user.GetProperty("roles").EnumerateArray())
        {
            yield return
            [
                $"{id}-r{number++}",
                delta ? Active : "",
                modified,
                id,
                Text(role, "roleType"),
                Text(role, "role"),
                Text(role, "beginDate"),
                Text(role, "endDate"),
                Reference(role, "org"),
                "",
            ];
        }
    }

    /// <summary>Leaves what is new or other than the day before, and says of what is gone that it is.</summary>
    private static void Subtract(Dictionary<string, Table> now, Dictionary<string, Table> before, DateTime time)
    {
        var stamp = time.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture);
        foreach (var (name, table) in now)
        {
            var key = 0;
            var status = Array.IndexOf(table.Header, "status");
            var modified = Array.IndexOf(table.Header, "dateLastModified");
            string Content(string[] row) => string.Join('\u001F', row.Where((_, i) => i != modified));
            var old = before[name].Rows.ToDictionary(r => r[key], StringComparer.Ordinal);
            var kept = table.Rows.Where(r => !old.TryGetValue(r[key], out var was) || Content(was) != Content(r)).ToList();
            var there = table.Rows.Select(r => r[key]).ToHashSet(StringComparer.Ordinal);
            foreach (var gone in before[name].Rows.Where(r => !there.Contains(r[key])))
            {
                gone[status] = "tobedeleted";
                kept.Add(gone);
            }

            foreach (var row in kept)
            {
                row[modified] = stamp;
            }

            table.Rows.Clear();
            table.Rows.AddRange(kept);
        }
    }

    private static IEnumerable<(Row Row, JsonElement Json)> Read(Catalog catalog, string collection)
    {
        var buffer = new ArrayBufferWriter<byte>(1024);
        foreach (var row in catalog.Get(collection).Rows)
        {
            buffer.Clear();
            using (var json = new Utf8JsonWriter(buffer, RowWriter.Json))
            {
                catalog.Writer.Write(json, row, Fields.All);
            }

            using var document = JsonDocument.Parse(buffer.WrittenMemory);
            yield return (row, document.RootElement);
        }
    }

    private static string[] Header(string file, string version)
    {
        var header = file switch
        {
            "orgs" => "sourcedId,status,dateLastModified,name,type,identifier,parentSourcedId",
            "academicSessions" => "sourcedId,status,dateLastModified,title,type,startDate,endDate,parentSourcedId,schoolYear",
            "courses" => "sourcedId,status,dateLastModified,schoolYearSourcedId,title,courseCode,grades,orgSourcedId,subjects,subjectCodes",
            "classes" =>
                "sourcedId,status,dateLastModified,title,grades,courseSourcedId,classCode,classType,location,schoolSourcedId,termSourcedIds,subjects,subjectCodes,periods",
            "enrollments" =>
                "sourcedId,status,dateLastModified,classSourcedId,schoolSourcedId,userSourcedId,role,primary,beginDate,endDate",
            "demographics" =>
                "sourcedId,status,dateLastModified,birthDate,sex,americanIndianOrAlaskaNative,asian,blackOrAfricanAmerican,nativeHawaiianOrOtherPacificIslander,white,demographicRaceTwoOrMoreRaces,hispanicOrLatinoEthnicity,countryOfBirthCode,stateOfBirthAbbreviation,cityOfBirth,publicSchoolResidenceStatus",
            "roles" => "sourcedId,status,dateLastModified,userSourcedId,roleType,role,beginDate,endDate,orgSourcedId,userProfileSourcedId",
            _ when version == "1.2" =>
                "sourcedId,status,dateLastModified,enabledUser,username,userIds,givenName,familyName,middleName,identifier,email,sms,phone,agentSourcedIds,grades,password,userMasterIdentifier,preferredGivenName,preferredMiddleName,preferredFamilyName,primaryOrgSourcedId,pronouns,metadata.primaryOrg",
            _ =>
                "sourcedId,status,dateLastModified,enabledUser,orgSourcedIds,role,username,userIds,givenName,familyName,middleName,identifier,email,sms,phone,agentSourcedIds,grades,password,metadata.primaryOrg",
        };
        if (version == "1.0")
        {
            header = file switch
            {
                "users" =>
                    "sourcedId,status,dateLastModified,orgSourcedIds,role,username,userId,givenName,familyName,identifier,email,sms,phone,agents",
                "demographics" => header
                    .Replace("sourcedId", "userSourcedId", StringComparison.Ordinal)
                    .Replace("birthDate", "birthdate", StringComparison.Ordinal),
                "classes" =>
                    "sourcedId,status,dateLastModified,title,grade,courseSourcedId,classCode,classType,location,schoolSourcedId,termSourcedId,subjects",
                "courses" =>
                    "sourcedId,status,dateLastModified,schoolYearId,metadata.duration,title,courseCode,grade,orgSourcedId,subjects",
                "enrollments" => "sourcedId,classSourcedId,schoolSourcedId,userSourcedId,role,status,dateLastModified,primary",
                "academicSessions" => "sourcedId,status,dateLastModified,title,type,startDate,endDate,parentSourcedId",
                "orgs" =>
                    "sourcedId,status,dateLastModified,name,type,identifier,metadata.classification,metadata.gender,metadata.boarding,parentSourcedId",
                _ => header,
            };
        }

        return header.Split(',');
    }

    private static string Value(Row row, JsonElement json, string file, string header) =>
        header switch
        {
            "parentSourcedId" => Reference(json, "parent"),
            "schoolYearSourcedId" or "schoolYearId" => Reference(json, "schoolYear"),
            "orgSourcedId" => Reference(json, "org"),
            "courseSourcedId" => Reference(json, "course"),
            "schoolSourcedId" => Reference(json, "school"),
            "classSourcedId" => Reference(json, "class"),
            "userSourcedId" => file == "demographics" ? Text(json, "sourcedId") : Reference(json, "user"),
            "termSourcedIds" or "termSourcedId" => References(json, "terms"),
            "orgSourcedIds" => References(json, "orgs"),
            "agentSourcedIds" or "agents" => string.Join(
                ',',
                row.Person.Relatives.Where(p => p.Presence == SandboxPresence.Present).Select(p => Id(p.Id))
            ),
            "primaryOrgSourcedId" => Reference(json, "primaryOrg"),
            "metadata.primaryOrg" => json.TryGetProperty("metadata", out var metadata) ? Text(metadata, "primaryOrg") : "",
            "userIds" => json.TryGetProperty("userIds", out var ids)
                ? string.Join(',', ids.EnumerateArray().Select(i => $"{{{Text(i, "type")}:{Text(i, "identifier")}}}"))
                : "",
            "userId" => json.TryGetProperty("userIds", out var all)
                ? all.EnumerateArray().Where(i => Text(i, "type") == "LocalID").Select(i => Text(i, "identifier")).FirstOrDefault("")
                : "",
            "grades" or "grade" => List(json, "grades"),
            "birthdate" => Text(json, "birthDate"),
            "subjects" or "subjectCodes" or "periods" => List(json, header),

            // CSV asks everybody for a login; guardians have none.
            "username" => Text(json, "username") is { Length: > 0 } login ? login : Text(json, "sourcedId"),
            _ => Text(json, header),
        };

    private static string Text(JsonElement row, string name) =>
        row.TryGetProperty(name, out var value) && value.ValueKind is JsonValueKind.String or JsonValueKind.Number
            ? name == "sourcedId"
                ? Id(value.ToString())
                : value.ToString()
            : "";

    private static string Reference(JsonElement row, string name) =>
        row.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Object ? Text(value, "sourcedId") : "";

    private static string References(JsonElement row, string name) =>
        row.TryGetProperty(name, out var list) ? string.Join(',', list.EnumerateArray().Select(r => Text(r, "sourcedId"))) : "";

    private static string List(JsonElement row, string name) =>
        row.TryGetProperty(name, out var list) && list.ValueKind == JsonValueKind.Array
            ? string.Join(',', list.EnumerateArray().Select(i => i.ToString()))
            : "";

    private static byte[] Spoil(Dictionary<string, Table> tables, SandboxCsvOptions csv)
    {
        bool Has(string fault) => csv.Faults.Contains(fault, StringComparer.Ordinal);
        var users = tables["users"];
        Change(Has("bad-role") && csv.Version != "1.2", users, "role", 0, _ => "wizard");
        if (csv.Version == "1.2")
        {
            Change(Has("bad-role"), tables["roles"], "role", 0, _ => "wizard");
        }

        var birth = csv.Version == "1.0" ? "birthdate" : "birthDate";
        Change(Has("bad-date"), tables["demographics"], birth, 0, _ => "2013-02-30");
        Change(Has("dangling"), tables["enrollments"], "userSourcedId", 0, _ => "nobody-at-all");
        for (var i = 0; i < tables["demographics"].Rows.Count && Has("us-dates"); i++)
        {
            Change(
                true,
                tables["demographics"],
                birth,
                i,
                d =>
                    DateOnly.TryParseExact(d, "yyyy-MM-dd", CultureInfo.InvariantCulture, DateTimeStyles.None, out var day)
                        ? day.ToString("M/dd/yyyy", CultureInfo.InvariantCulture)
                        : d
            );
        }

        for (var i = 0; i < users.Rows.Count && Has("upper-case-booleans") && csv.Version != "1.0"; i++)
        {
            Change(true, users, "enabledUser", i, b => b.ToUpperInvariant());
        }

        if (Has("duplicate-ids"))
        {
            users.Rows.Add([.. users.Rows[0]]);
        }

        if (Has("empty-users"))
        {
            users.Rows.Clear();
        }

        if (Has("header-order"))
        {
            Array.Reverse(users.Header);
            users.Rows.ForEach(r => Array.Reverse(r));
        }

        if (Has("misspelt-headers"))
        {
            users.Header[Array.IndexOf(users.Header, "dateLastModified")] = "dataLastModified";
        }

        if (Has("extra-columns"))
        {
            tables["users"] = new Table([.. users.Header, "shoeSize"], [.. users.Rows.Select(r => (string[])[.. r, "9"])]);
        }

        var files = tables
            .Where(t => !csv.Delta || t.Value.Rows.Count > 0)
            .ToDictionary(t => t.Key, t => Lines(t.Value, Has("quoted")), StringComparer.Ordinal);
        if (csv.Version != "1.0" && !Has("no-manifest"))
        {
            files["manifest"] = Manifest(csv, [.. files.Keys], Has);
        }

        if (Has("short-row"))
        {
            files["users"] = files["users"].TrimEnd('\r', '\n');
            files["users"] = files["users"][..(files["users"].LastIndexOf(',') - 4)];
        }

        if (Has("unclosed-quote"))
        {
            var at = files["users"].LastIndexOf(',');
            files["users"] = $"{files["users"][..at]},\"{files["users"][(at + 1)..]}";
        }

        if (Has("missing-users"))
        {
            files.Remove("users");
        }

        if (Has("roles-in-userprofiles") && files.Remove("roles", out var roles))
        {
            files["userprofiles"] = roles;
        }

        return Zip(files, Has);
    }

    private static void Change(bool really, Table table, string column, int row, Func<string, string> change)
    {
        var at = Array.IndexOf(table.Header, column);
        if (really && at >= 0 && row < table.Rows.Count)
        {
            table.Rows[row][at] = change(table.Rows[row][at]);
        }
    }

    private static string Manifest(SandboxCsvOptions csv, IReadOnlyCollection<string> there, Func<string, bool> has)
    {
        var text = new StringBuilder("propertyName,value\r\n");
        text.Append(CultureInfo.InvariantCulture, $"manifest.version,{(has("manifest-version-1") ? "1" : "1.0")}\r\n");
        text.Append(CultureInfo.InvariantCulture, $"oneroster.version,{csv.Version}\r\n");
        var mode =
            has("blank-modes") ? ""
            : csv.Delta ? "delta"
            : "bulk";
        foreach (var file in csv.Version == "1.2" ? s_files.Append("roles") : s_files)
        {
            text.Append(CultureInfo.InvariantCulture, $"file.{file},{(there.Contains(file) ? mode : "absent")}\r\n");
        }

        foreach (var file in csv.Version == "1.2" ? s_unused.Concat(s_unused12) : s_unused)
        {
            text.Append(CultureInfo.InvariantCulture, $"file.{file},absent\r\n");
        }

        return text.Append("source.systemName,Sandbox\r\nsource.systemCode,SANDBOX\r\n").ToString();
    }

    private static string Lines(Table table, bool quoted)
    {
        using var text = new StringWriter(CultureInfo.InvariantCulture);
        foreach (var row in table.Rows.Prepend(table.Header))
        {
            WriteRow(text, row, quoted);
        }

        return text.ToString();
    }

    private static void WriteRow(TextWriter text, string[] row, bool quoted)
    {
        for (var i = 0; i < row.Length; i++)
        {
            if (i > 0)
            {
                text.Write(',');
            }

            var value = row[i];
            text.Write(
                quoted || value.AsSpan().ContainsAny(",\"\r\n") ? $"\"{value.Replace("\"", "\"\"", StringComparison.Ordinal)}\"" : value
            );
        }

        text.Write("\r\n");
    }

    private static byte[] Zip(Dictionary<string, string> files, Func<string, bool> has)
    {
        using var bytes = new MemoryStream();
        using (var zip = new ZipArchive(bytes, ZipArchiveMode.Create, leaveOpen: true))
        {
            foreach (var (name, content) in files)
            {
                var text = content;
                if (has("lf"))
                {
                    text = text.Replace("\r\n", "\n", StringComparison.Ordinal);
                }
                else if (has("mixed-line-ends"))
                {
                    var half = text.IndexOf("\r\n", StringComparison.Ordinal) + 2;
                    text = text[..half] + text[half..].Replace("\r\n", "\n", StringComparison.Ordinal);
                }

                var encoding =
                    name == "users" && has("utf-16") ? new UnicodeEncoding(false, true)
                    : name == "users" && has("windows-1252")
                        ? CodePagesEncodingProvider.Instance.GetEncoding(
                            1252,
                            new EncoderReplacementFallback("?"),
                            DecoderFallback.ReplacementFallback
                        )!
                    : (Encoding)new UTF8Encoding(has("bom"));
                var file = (has("upper-case-names") ? name.ToUpperInvariant() : name) + ".csv";
                using var stream = zip.CreateEntry((has("folder") ? "export/" : "") + file, CompressionLevel.Fastest).Open();
                stream.Write(encoding.GetPreamble());
                stream.Write(encoding.GetBytes(text));
            }

            if (has("macosx"))
            {
                using var stream = zip.CreateEntry("__MACOSX/._users.csv").Open();
                stream.Write([0, 5, 22, 7]);
            }
        }

        var all = bytes.ToArray();
        if (has("bad-crc"))
        {
            // Of the last header in the directory: signature, then the checksum 16 bytes on.
            var at = all.AsSpan().LastIndexOf("PK\x01\x02"u8);
            all[at + 16] ^= 0x55;
        }

        return has("truncated-zip") ? all[..(all.Length * 2 / 3)] : all;
    }
}
