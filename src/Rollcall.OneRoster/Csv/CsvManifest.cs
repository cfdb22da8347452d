namespace Rollcall.OneRoster.Csv;

/// <summary>What a package says of a file.</summary>
internal enum CsvMode
{
    /// <summary>Nothing that could be understood.</summary>
    Unstated,
    Absent,

    /// <summary>Complete: what is not in it is gone.</summary>
    Bulk,

    /// <summary>Changes alone.</summary>
    Delta,
}

/// <summary><c>manifest.csv</c>.</summary>
internal sealed class CsvManifest
{
    public const string FileName = "manifest.csv";
    private readonly Dictionary<string, string> properties = new(StringComparer.OrdinalIgnoreCase);

    /// <summary>The version it states; null when it states none that there is.</summary>
    public CsvVersion? Version { get; private set; }

    /// <summary>What <c>oneroster.version</c> holds.</summary>
    public string StatedVersion => properties.GetValueOrDefault("oneroster.version", "").Trim();

    /// <summary>What it says of a file.</summary>
    public CsvMode ModeOf(string name) =>
        properties.TryGetValue($"file.{name}", out var mode)
            ? mode.Trim().ToLowerInvariant() switch
            {
                "bulk" => CsvMode.Bulk,
                "delta" => CsvMode.Delta,
                "absent" => CsvMode.Absent,
                _ => CsvMode.Unstated,
            }
            : CsvMode.Unstated;

    public bool Names(string name) => properties.ContainsKey($"file.{name}");

    /// <exception cref="CsvSyntaxException">It cannot be read.</exception>
    public static CsvManifest Read(Stream stream, string fileName, CsvLimits limits, CsvFindings findings)
    {
        var manifest = new CsvManifest();
        using var reader = new CsvRowReader(stream, limits);
        var headers = 0;
        while (reader.Read())
        {
            var name = reader[0].Trim().ToString();
            var value = reader.Count > 1 ? reader[1].Trim().ToString() : "";
            if (
                name.Equals("propertyName", StringComparison.OrdinalIgnoreCase) && value.Equals("value", StringComparison.OrdinalIgnoreCase)
            )
            {
                if (headers++ > 0)
                {
                    findings.Deviation(fileName, "duplicate-header", "has its header more than once", row: reader.Row);
                }
                else if (name != "propertyName" || value != "value")
                {
                    findings.Deviation(fileName, "header-case", "has a header in another case", row: reader.Row);
                }

                continue;
            }

            if (headers == 0)
            {
                headers = 1;
                findings.Error(fileName, "manifest-header", "does not begin with the header propertyName,value", row: reader.Row);
            }

            if (reader.Count < 2)
            {
                findings.Error(fileName, "manifest-row", "has a line without a value", row: reader.Row);
            }

            for (var i = 2; i < reader.Count; i++)
            {
                if (!reader[i].Trim().IsEmpty)
                {
                    findings.Error(fileName, "manifest-row", "has a line of more than two values", row: reader.Row);
                    break;
                }
            }

            if (name.Length == 0)
            {
                findings.Error(fileName, "manifest-row", "has a line without a property", row: reader.Row);
            }
            else if (manifest.properties.TryGetValue(name, out var before))
            {
                if (string.Equals(before, value, StringComparison.OrdinalIgnoreCase))
                {
                    findings.Deviation(fileName, "manifest-duplicate", "says the same twice", row: reader.Row);
                }
                else
                {
                    findings.Refuse(fileName, "manifest-duplicate", "says two different things of one property", row: reader.Row);
                }
            }
            else
            {
                manifest.properties[name] = value;
            }
        }

        manifest.Check(fileName, findings);
        return manifest;
    }

    private void Check(string fileName, CsvFindings findings)
    {
        switch (properties.GetValueOrDefault("manifest.version"))
        {
            case null:
                findings.Error(fileName, "manifest-version", "states no manifest.version");
                break;
            case "1.0":
                break;
            case "1":
                findings.Deviation(fileName, "manifest-version", "states manifest.version 1 instead of 1.0");
                break;
            default:
                findings.Error(fileName, "manifest-version", "states a manifest.version other than 1.0");
                break;
        }

        switch (StatedVersion)
        {
            case "1.1":
                Version = CsvVersion.V11;
                break;
            case "1.2":
                Version = CsvVersion.V12;
                break;
            case "1.2.1" or "1.2.0":
                Version = CsvVersion.V12;
                findings.Deviation(
                    fileName,
                    "oneroster-version",
                    "states oneroster.version with a third number; the specification writes 1.2"
                );
                break;
            case "":
                findings.Error(fileName, "oneroster-version", "states no oneroster.version; the data tells which it is");
                break;
            default:
                findings.Error(
                    fileName,
                    "oneroster-version",
                    "states a oneroster.version other than 1.1 and 1.2; the data tells which it is"
                );
                break;
        }

        var known = CsvSchema.InOrder.Select(CsvSchema.Name).Concat(CsvSchema.Unused).ToHashSet(StringComparer.OrdinalIgnoreCase);
        foreach (var (name, value) in properties)
        {
            if (!name.StartsWith("file.", StringComparison.OrdinalIgnoreCase))
            {
                if (
                    !name.StartsWith("source.", StringComparison.OrdinalIgnoreCase)
                    && !name.Equals("manifest.version", StringComparison.OrdinalIgnoreCase)
                    && !name.Equals("oneroster.version", StringComparison.OrdinalIgnoreCase)
                )
                {
                    findings.Deviation(fileName, "unknown-property", "states a property that OneRoster does not know");
                }

                continue;
            }

            if (!known.Contains(name[5..]))
            {
                findings.Deviation(fileName, "unknown-property", "names a file that OneRoster does not know");
            }
            else if (value.Length == 0)
            {
                findings.Deviation(fileName, "blank-mode", "says neither absent, bulk nor delta of a file; the data tells", name);
            }
            else if (ModeOf(name[5..]) == CsvMode.Unstated)
            {
                findings.Error(fileName, "unknown-mode", "is none of absent, bulk and delta", name);
            }
            else if (value is not ("absent" or "bulk" or "delta"))
            {
                findings.Deviation(fileName, "word-case", "is written in another case", name);
            }
        }
    }
}
