using System.CommandLine;
using System.Globalization;
using System.Text;
using Rollcall.Integrations;
using Rollcall.OneRoster.Probe;

namespace Rollcall.Server.Commands;

/// <summary><c>probe</c>: what support asks for first. Counts and words of the roster, never a person's own values.</summary>
internal static class ProbeCommand
{
    private const int Columns = 80;

    public static Command Build(Terminal terminal, IntegrationKind kind)
    {
        var quick = new Option<bool>("--quick") { Description = "Read the first page of each collection alone" };
        var log = new FileOption("--log")
        {
            IsWritten = true,
            Description = "Write every test to a CSV file with the six fields of a conformance log",
            HelpName = "FILE",
        };
        var command = new Command(
            "probe",
            "Examine the roster: what works, what is missing, what is in it. Writes nothing, shows no person"
        )
        {
            quick,
            log,
        };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                using var source = await session.Get<IntegrationService>().OpenForProbeAsync(district.Id, kind, cancellationToken);
                var report = await source.ProbeAsync(
                    new ProbeOptions { FirstPagesOnly = result.GetValue(quick) },
                    terminal.ErrorIsTerminal ? new Telling(terminal) : null,
                    cancellationToken
                );
                if (terminal.ErrorIsTerminal)
                {
                    await terminal.Error.WriteAsync("\r\e[K");
                }

                if (GlobalOptions.Given(result.GetValue(log)) is { } path)
                {
                    await terminal.Files.WriteAsync(
                        path,
                        async writer =>
                        {
                            await writer.WriteAsync(Log(report));
                            return 1;
                        }
                    );
                }

                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, Json(report));
                }
                else
                {
                    await terminal.Out.WriteAsync(Text(report, result.GetValue(quick)));
                }
            }
        );
        return command;
    }

    /// <summary>One line that is written over.</summary>
    private sealed class Telling(Terminal terminal) : IProgress<string>
    {
        public void Report(string value) => terminal.Error.Write($"\r\e[KLooking at {Terminal.Plain(value)} …");
    }

    private static object Json(ProbeReport report) =>
        new
        {
            report.At,
            report.Source,
            report.Version,
            Findings = report.Findings.Select(f => new { Weight = f.Weight.ToString().ToLowerInvariant(), f.Text }),
            Collections = report.Collections.Select(c => new
            {
                c.Name,
                c.Failure,
                c.NotShared,
                c.Rows,
                c.Deleted,
                c.WithoutId,
                c.WithoutDate,
                c.Unreadable,
                c.Duplicates,
                c.RowsShifted,
                c.Pages,
                c.Asked,
                c.LargestPage,
                c.StatedTotal,
                Link = c.HasLink,
                Revision = c.HasRevision,
                SlowestPage = Math.Round(c.SlowestPage, 3),
                Seconds = Math.Round(c.Seconds, 3),
                c.Leniencies,
            }),
            People = report.Census is not { } census
                ? null
                : new
                {
                    census.People,
                    census.Members,
                    Roles = Counts(census.Roles),
                    UnknownRoles = Counts(census.UnknownRoles),
                    census.WithoutRole,
                    census.WithoutOrg,
                    census.SeveralOrgs,
                    census.UnknownOrg,
                    census.WithPrimaryOrg,
                    census.Disabled,
                    census.SharedIdentifiers,
                    census.StudentsWithAgents,
                    UserIdTypes = Counts(census.UserIdTypes),
                    Grades = Counts(census.Grades),
                    Lacking = census.Lacks,
                    OrgTypes = Counts(census.OrgTypes),
                    census.Classes,
                    census.ClassesWithoutTitle,
                    census.ClassesWithoutCode,
                    ClassTypes = Counts(census.ClassTypes),
                    EnrollmentRoles = Counts(census.EnrollmentRoles),
                    census.HomeroomEnrollments,
                    census.EnrollmentsOfUnknown,
                    census.WithBirthDate,
                    Sexes = Counts(census.Sexes),
                },
            Log = report.Tests.Select(t => new
            {
                testIdentifier = t.Identifier,
                testDate = t.At,
                status = Status(t),
                read = t.Read,
                rejected = t.Rejected,
                comment = t.Comment,
            }),
        };

    private static Dictionary<string, long> Counts(ValueCounts counts)
    {
        var all = new Dictionary<string, long>(counts.Values, StringComparer.Ordinal);
        if (counts.Others > 0)
        {
            all["(others)"] = counts.Others;
        }

        return all;
    }

    private static string Status(ProbeTest test) => test.Success ? "Success" : "Fail";

    private static string Log(ProbeReport report)
    {
        var what = report.Collections.Any(c => c.Pages > 0) ? "Records Read,Records Rejected" : "CSV Files Imported,CSV Files Rejected";
        var text = new StringBuilder($"Test Identifier,Test Date,Status,{what},Comment\r\n");
        foreach (var test in report.Tests)
        {
            text.AppendJoin(
                    ',',
                    new[] { test.Identifier, JsonText.Instant(test.At), Status(test), test.Read, test.Rejected, test.Comment }.Select(Cell)
                )
                .Append("\r\n");
        }

        return text.ToString();

        static string Cell(string value) =>
            value.AsSpan().IndexOfAny(",\"\r\n") >= 0 ? $"\"{value.Replace("\"", "\"\"", StringComparison.Ordinal)}\"" : value;
    }

    internal static string Text(ProbeReport report, bool quick)
    {
        var text = new StringBuilder();
        var version = report.Version is null ? "" : $", records in the form of OneRoster {report.Version}";
        Wrap(text, $"{report.Source}{version}, {JsonText.Instant(report.At)}", "", "");
        if (quick)
        {
            text.Append("Only the first page of each collection was read.\n");
        }

        Section("What matters");
        if (report.Findings.Count == 0)
        {
            text.Append(
                report.Tests.All(t => t.Success)
                    ? "  Nothing: all is as specified.\n"
                    : "  Nothing: what is not as specified below does no harm.\n"
            );
        }

        foreach (var finding in report.Findings)
        {
            var mark = finding.Weight switch
            {
                ProbeWeight.Problem => "  PROBLEM  ",
                ProbeWeight.Notice => "  notice   ",
                _ => "  handled  ",
            };
            Wrap(text, finding.Text, mark, "           ");
        }

        if (report.Collections.Count > 0)
        {
            Section("Collections         rows  deleted  pages  largest   total  slowest");
        }

        foreach (var c in report.Collections)
        {
            var total =
                c.StatedTotal is { } stated ? N(stated)
                : c.Pages == 0 ? ""
                : "none";
            var said =
                c.Failure is not null ? "  failed"
                : c.NotShared ? "  not shared"
                : "";
            text.Append(
                CultureInfo.InvariantCulture,
                $"  {c.Name, -16}{N(c.Rows), 8}{N(c.Deleted), 9}{N(c.Pages), 7}{N(c.LargestPage), 9}{total, 8}{c.SlowestPage, 7:0.0} s{said}\n"
            );
        }

        var headers = new[]
        {
            report.Collections.Any(c => c.StatedTotal is not null) ? "X-Total-Count" : null,
            report.Collections.Any(c => c.HasLink) ? "Link" : null,
            report.Collections.Any(c => c.HasRevision) ? "x-perm-rev" : null,
        };
        if (report.Collections.Any(c => c.Pages > 0))
        {
            Wrap(
                text,
                headers.OfType<string>().ToArray() is { Length: > 0 } sent ? string.Join(", ", sent) : "none",
                "  Headers of paging: ",
                "    "
            );
        }

        if (report.Census is { } census)
        {
            People(census);
        }

        Section($"Tests: {report.Tests.Count(t => t.Success)} of {report.Tests.Count} as specified");
        foreach (var same in report.Tests.Where(t => !t.Success).GroupBy(t => t.Comment, StringComparer.Ordinal))
        {
            if (same.Count() < 3)
            {
                foreach (var test in same)
                {
                    Wrap(text, $"{test.Identifier}: {test.Comment}", "  ", "      ");
                }

                continue;
            }

            Wrap(text, same.Key, "  ", "      ");
            Wrap(text, string.Join(", ", same.Select(t => t.Identifier.Replace(' ', '\u00a0'))), "      ", "      ");
        }

        return text.ToString();

        void Section(string title) => text.Append('\n').Append(title).Append('\n');

        void Row(string name, string value)
        {
            if (value.Length > 0)
            {
                Wrap(text, value, $"  {name, -16}", new string(' ', 18));
            }
        }

        void People(RosterCensus census)
        {
            Section($"People: {N(census.People)}, of whom {N(census.Members)} are no guardians");
            Row("Roles", Words(census.Roles));
            Row("Ids by type", Words(census.UserIdTypes));
            Row("Grades", Words(census.Grades));
            Row(
                "Not filled in",
                string.Join(
                    ", ",
                    census
                        .Lacks.OrderByDescending(l => l.Value.Blank + l.Value.NotSent)
                        .Select(l => $"{l.Key} {N(l.Value.Blank + l.Value.NotSent)}")
                )
            );
            Row(
                "Organizations",
                $"none {N(census.WithoutOrg)}, several {N(census.SeveralOrgs)}, with a primary one stated {N(census.WithPrimaryOrg)}"
            );
            Row("Guardians", $"named by {N(census.StudentsWithAgents)} students");
            Row("Logins", census.Disabled == 0 ? "" : $"{N(census.Disabled)} disabled");
            Row("Orgs", Words(census.OrgTypes));
            Row("Classes", Words(census.ClassTypes));
            Row(
                "",
                census.Classes == 0 ? "" : $"without title {N(census.ClassesWithoutTitle)}, without code {N(census.ClassesWithoutCode)}"
            );
            Row("Enrollments", Words(census.EnrollmentRoles));
            Row("", census.HomeroomEnrollments == 0 ? "" : $"in homerooms {N(census.HomeroomEnrollments)}");
            Row("Demographics", $"birthdate {N(census.WithBirthDate)}; {Words(census.Sexes)}");
        }
    }

    private static string Words(ValueCounts counts)
    {
        var all = counts.Values.Select(v => $"{v.Key} {N(v.Value)}");
        return string.Join(", ", counts.Others > 0 ? all.Append($"others {N(counts.Others)}") : all);
    }

    private static string N(long number) => number.ToString("N0", CultureInfo.InvariantCulture);

    /// <summary>Breaks between words so that nothing is wider than a window of old; a word that is wider stands alone.</summary>
    private static void Wrap(StringBuilder text, string what, string first, string next)
    {
        var line = new StringBuilder(first);
        var empty = true;
        foreach (var word in Terminal.Plain(what).Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            if (!empty && line.Length + 1 + word.Length > Columns)
            {
                text.Append(line).Append('\n');
                line.Clear().Append(next);
                empty = true;
            }

            if (!empty)
            {
                line.Append(' ');
            }

            line.Append(word);
            empty = false;
        }

        text.Append(line.ToString().TrimEnd()).Append('\n');
        text.Replace('\u00a0', ' ');
    }
}
