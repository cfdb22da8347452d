using System.Globalization;
using Rollcall.OneRoster.Csv;

namespace Rollcall.OneRoster.Probe;

/// <summary>Examines OneRoster CSV packages: each package's import report, and the census of what they hold together.</summary>
/// <param name="name">Where they are from, such as their folder.</param>
/// <param name="packages">In the order of their time, open; one that is refused may be among them, which then is all that is said.</param>
/// <param name="time">The clock; the computer's own where null.</param>
public sealed class CsvProbe(string name, IReadOnlyList<CsvPackage> packages, TimeProvider? time = null) : IRosterProbe
{
    private readonly TimeProvider time = time ?? TimeProvider.System;

    /// <inheritdoc/>
    public async Task<ProbeReport> ProbeAsync(
        ProbeOptions options,
        IProgress<string>? progress = null,
        CancellationToken cancellationToken = default
    )
    {
        var at = time.GetUtcNow();
        var reading = new ProbeReading(options, time, progress, cancellationToken);
        List<ProbeFinding> findings = [];
        if (packages.All(p => p.IsUsable))
        {
            // Its packages are the caller's to dispose.
            var source = new CsvRosterSource(packages);
            await reading.ReadAsync("orgs", source.Orgs(), reading.Census.Take, []);
            await reading.ReadAsync("academicSessions", source.AcademicSessions(), _ => { }, []);
            await reading.ReadAsync("classes", source.Classes(), reading.Census.Take, []);
            await reading.ReadAsync("users", source.Users(), reading.Census.Take, []);
            await reading.ReadAsync("enrollments", source.Enrollments(), reading.Census.Take, []);
            await reading.ReadAsync("demographics", source.Demographics(), reading.Census.Take, []);
            findings.AddRange(reading.Findings());
            if (!source.HasAllPeople)
            {
                findings.Add(
                    new(ProbeWeight.Notice, "No package holds all people: only what changed is taken over, and nobody counts as absent.")
                );
            }
        }

        findings.AddRange(packages.SelectMany(About));
        return new ProbeReport
        {
            At = at,
            Source = name,
            Version =
                reading.Census.Version
                ?? (packages.Count == 0 ? (CsvVersion?)null : packages[^1].Version) switch
                {
                    CsvVersion.V10 => "1.0",
                    CsvVersion.V11 => "1.1",
                    CsvVersion.V12 => "1.2",
                    _ => null,
                },
            Findings = [.. findings.OrderBy(f => f.Weight)],
            Collections = reading.Collections,
            Census = reading.Census.People > 0 ? reading.Census : null,
            Tests =
            [
                .. packages
                    .Select(p => p.Report)
                    .Select(r => new ProbeTest(
                        r.TestIdentifier,
                        r.TestDate,
                        r.Status == "Success",
                        string.Join(", ", r.CsvFilesImported),
                        string.Join(", ", r.CsvFilesRejected),
                        r.Comment
                    )),
            ],
        };
    }

    private IEnumerable<ProbeFinding> About(CsvPackage package)
    {
        var which = packages.Count == 1 ? "" : package.Name + ": ";
        foreach (var finding in package.Findings.Where(f => f.Severity != CsvSeverity.Deviation))
        {
            yield return new(finding.Severity == CsvSeverity.Refusal ? ProbeWeight.Problem : ProbeWeight.Notice, $"{which}{finding}.");
        }

        var rules = package
            .Findings.Where(f => f.Severity == CsvSeverity.Deviation)
            .GroupBy(f => f.Rule, StringComparer.Ordinal)
            .Select(g => $"{g.Key} ({g.Sum(f => f.Count).ToString("N0", CultureInfo.InvariantCulture)})")
            .ToList();
        if (rules.Count > 0)
        {
            yield return new(
                ProbeWeight.Handled,
                $"{which}Written in other forms than OneRoster's, all understood or left out: {string.Join(", ", rules)}."
            );
        }
    }
}
