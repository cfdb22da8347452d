using System.Globalization;
using System.Text.Json;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.Probe;

/// <summary>Walks what a conformance test of consumers walks, against a server that is not a test: reads every collection, then asks for
/// single records, nested routes and each parameter, and says what came. Never fails for what a server lacks.</summary>
internal sealed class RestProbe(
    RestRosterSource source,
    ProbeOptions options,
    TimeProvider time,
    IProgress<string>? progress,
    CancellationToken cancellationToken
)
{
    private const double SlowPage = 10;

    /// <summary>Route → key of the list and of the single record.</summary>
    private static readonly (string Route, string Many, string One)[] Routes =
    [
        ("orgs", "orgs", "org"),
        ("schools", "orgs", "org"),
        ("academicSessions", "academicSessions", "academicSession"),
        ("terms", "academicSessions", "academicSession"),
        ("gradingPeriods", "academicSessions", "academicSession"),
        ("courses", "courses", "course"),
        ("classes", "classes", "class"),
        ("users", "users", "user"),
        ("students", "users", "user"),
        ("teachers", "users", "user"),
        ("enrollments", "enrollments", "enrollment"),
        ("demographics", "demographics", "demographics"),
    ];

    private static readonly (string Parent, string Child)[] Nested =
    [
        ("schools", "classes"),
        ("schools", "courses"),
        ("schools", "enrollments"),
        ("schools", "students"),
        ("schools", "teachers"),
        ("schools", "terms"),
        ("classes", "students"),
        ("classes", "teachers"),
        ("courses", "classes"),
        ("students", "classes"),
        ("teachers", "classes"),
        ("users", "classes"),
        ("terms", "classes"),
        ("terms", "gradingPeriods"),
    ];

    private readonly RosterCensus census = new();
    private readonly List<ProbeCollection> collections = [];
    private readonly List<ProbeTest> tests = [];

    /// <summary>The first key seen by route, to ask for single records and nested routes with.</summary>
    private readonly Dictionary<string, string> ids = new(StringComparer.Ordinal);

    public async Task<ProbeReport> RunAsync()
    {
        var at = time.GetUtcNow();

        // What stands in the way of everything is no finding but the answer.
        await source.ProbeAsync(cancellationToken);

        await ReadAsync<Org>(RosterCollection.Orgs, "orgs", RecordParsers.Org, census.Take);
        await ReadAsync<AcademicSession>(RosterCollection.AcademicSessions, "academicSessions", RecordParsers.AcademicSession, _ => { });
        await ReadAsync<Org>(RosterCollection.Classes, "courses", RecordParsers.Org, _ => { });
        await ReadAsync<Class>(RosterCollection.Classes, "classes", RecordParsers.Class, census.Take);
        await ReadAsync<User>(RosterCollection.Users, "users", RecordParsers.User, census.Take);
        await ReadAsync<Enrollment>(RosterCollection.Enrollments, "enrollments", RecordParsers.Enrollment, census.Take);
        await ReadAsync<Demographics>(RosterCollection.Demographics, "demographics", RecordParsers.Demographics, census.Take);

        await RoutesAsync();
        await ParametersAsync();
        return new ProbeReport
        {
            At = at,
            Source = source.ServiceAddress,
            Version = census.Version,
            Findings = [.. Findings().OrderBy(f => f.Weight)],
            Collections = collections,
            Census = census.People > 0 ? census : null,
            Tests = tests,
        };
    }

    private async Task ReadAsync<T>(RosterCollection collection, string key, RecordParser<T> parse, Action<T> take)
        where T : RosterRecord
    {
        progress?.Report(key);
        var began = time.GetTimestamp();
        List<PageSeen> pages = [];
        var walk = source.Watched(collection, key, parse, pages.Add);
        long rows = 0,
            deleted = 0,
            withoutId = 0,
            withoutDate = 0;
        var attempt = 1;
        string? failure = null;
        WalkResult? result = null;
        try
        {
            await foreach (var page in walk.ReadAsync(cancellationToken))
            {
                if (page.Attempt != attempt)
                {
                    // Counts of the census stay a little too high then; that rows moved is the finding.
                    (attempt, rows, deleted, withoutId, withoutDate) = (page.Attempt, 0, 0, 0, 0);
                }

                rows = page.RowsSoFar;
                foreach (var record in page.Records)
                {
                    deleted += record.Status == RecordStatus.Active ? 0 : 1;
                    withoutId += record.SourcedId is null ? 1 : 0;
                    withoutDate += record.LastModified is null ? 1 : 0;
                    if (record.SourcedId is { } id && record.Status == RecordStatus.Active)
                    {
                        ids.TryAdd(key, id);
                    }

                    take(record);
                }

                if (options.FirstPagesOnly)
                {
                    break;
                }
            }

            result = options.FirstPagesOnly && rows > 0 ? null : walk.Result;
        }
        catch (RosterException e)
        {
            failure = e.Message;
        }

        collections.Add(
            new ProbeCollection
            {
                Name = key,
                Failure = failure,
                NotShared = result?.NotShared ?? false,
                Rows = rows,
                Deleted = deleted,
                WithoutId = withoutId,
                WithoutDate = withoutDate,
                Unreadable = result?.UnreadableRows ?? 0,
                Duplicates = result?.Duplicates ?? 0,
                RowsShifted = result?.RowsShifted ?? false,
                Pages = pages.Count,
                Asked = pages.Count == 0 ? 0 : pages[0].Asked,
                LargestPage = pages.Count == 0 ? 0 : pages.Max(p => p.Rows),
                StatedTotal = pages.Count == 0 ? null : pages[0].Total,
                HasLink = pages.Exists(p => p.Link),
                HasRevision = pages.Exists(p => p.Revision),
                SlowestPage = pages.Count == 0 ? 0 : pages.Max(p => p.Time.TotalSeconds),
                Seconds = time.GetElapsedTime(began).TotalSeconds,
                Leniencies = result?.Leniencies ?? new Dictionary<string, long>(StringComparer.Ordinal),
            }
        );
        Say(
            key,
            failure is null && result is not { NotShared: true },
            N(rows),
            result is { UnreadableRows: > 0 } ? N(result.UnreadableRows) : "",
            failure ?? (result is { NotShared: true } ? "empty, or not shared with this application" : "")
        );
    }

    private async Task RoutesAsync()
    {
        foreach (var (route, many, _) in Routes.Where(r => !collections.Exists(c => c.Name == r.Route)))
        {
            await TestAsync(
                route,
                $"{route}?limit=2",
                answer =>
                {
                    if (answer.Rows is [var first, ..] && Id(first) is { } id)
                    {
                        ids.TryAdd(route, id);
                    }

                    return ListProblem(answer, many) ?? (answer.Rows!.Count > 2 ? "limit is ignored" : null);
                }
            );
        }

        foreach (var (route, _, one) in Routes)
        {
            if (ids.TryGetValue(route, out var id))
            {
                await TestAsync(
                    route + "/{id}",
                    $"{route}/{BaseAddress.Segment(id)}",
                    answer =>
                        answer.Single is not { } record ? "holds no record"
                        : Id(record) != id ? "another record came than the one asked for"
                        : answer.Key != one ? $"the record stands under \"{answer.Key}\", not \"{one}\""
                        : null
                );
            }
            else
            {
                Say(route + "/{id}", false, "0", "", "not tried: no record is known to ask for");
            }
        }

        await TestAsync("users/{unknown id}", "users/no-such-person-anywhere", _ => "a person came who does not exist", expected: 404);
        foreach (var (parent, child) in Nested)
        {
            await NestedAsync($"{parent}/{{id}}/{child}", child, parent);
        }

        foreach (var child in new[] { "enrollments", "students", "teachers" })
        {
            await NestedAsync($"schools/{{id}}/classes/{{id}}/{child}", child, "schools", "classes");
        }
    }

    private async Task NestedAsync(string identifier, string child, params string[] parents)
    {
        if (parents.Any(p => !ids.ContainsKey(p)))
        {
            Say(identifier, false, "0", "", "not tried: no record is known to ask for");
            return;
        }

        var route = string.Join('/', parents.Select(p => $"{p}/{BaseAddress.Segment(ids[p])}"));
        var many = Routes.First(r => r.Route == child).Many;
        await TestAsync(identifier, $"{route}/{child}?limit=2", answer => ListProblem(answer, many));
    }

    private async Task ParametersAsync()
    {
        static string Filter(string text) => "filter=" + Uri.EscapeDataString(text);
        List<string>? first = null;
        await TestAsync(
            "users, no limit",
            "users",
            answer =>
                ListProblem(answer, "users") ?? (answer.Rows!.Count is 0 or > 100 ? $"{N(answer.Rows.Count)} rows came, not 100" : null)
        );
        await TestAsync(
            "users limit",
            "users?limit=3&offset=0&sort=sourcedId&orderBy=asc",
            answer =>
            {
                first = Ids(answer);
                return ListProblem(answer, "users") ?? (answer.Rows!.Count > 3 ? $"{N(answer.Rows.Count)} rows came for limit=3" : null);
            }
        );
        await TestAsync(
            "users offset",
            "users?limit=2&offset=1&sort=sourcedId&orderBy=asc",
            answer =>
                ListProblem(answer, "users")
                ?? (
                    first is { Count: 3 } && Ids(answer) is var next && !next.SequenceEqual(first[1..])
                        ? "the rows are not those that follow the first"
                        : null
                )
        );
        await TestAsync(
            "users offset past the end",
            "users?limit=2&offset=99999999",
            answer => ListProblem(answer, "users") ?? (answer.Rows!.Count > 0 ? "rows came where none can be" : null)
        );
        await TestAsync("users limit=0", "users?limit=0", _ => "accepted, not refused", expected: 400);
        await TestAsync(
            "users sort",
            "users?limit=20&sort=sourcedId&orderBy=asc",
            answer => ListProblem(answer, "users") ?? (InOrder(Ids(answer), 1) ? null : "the rows are not in the order of sourcedId")
        );
        await TestAsync(
            "users orderBy",
            "users?limit=20&sort=sourcedId&orderBy=desc",
            answer => ListProblem(answer, "users") ?? (InOrder(Ids(answer), -1) ? null : "the rows are not in reverse order")
        );
        await TestAsync(
            "users filter status",
            "users?limit=5&" + Filter("status='active'"),
            answer =>
                ListProblem(answer, "users")
                ?? (answer.Rows!.Exists(r => Text(r, "status") is { } s && s != "active") ? "other rows came too" : null)
        );
        if (ids.TryGetValue("users", out var id) && !id.Contains('\'', StringComparison.Ordinal))
        {
            string? Only(Answer answer) =>
                ListProblem(answer, "users")
                ?? (Ids(answer).SequenceEqual([id]) ? null : $"{N(answer.Rows!.Count)} rows came, not the one");
            await TestAsync("users filter sourcedId", "users?limit=5&" + Filter($"sourcedId='{id}'"), Only);
            await TestAsync("users filter AND", "users?limit=5&" + Filter($"sourcedId='{id}' AND status='active'"), Only);
            await TestAsync("users filter OR", "users?limit=5&" + Filter($"sourcedId='{id}' OR sourcedId='no such person'"), Only);
        }

        await TestAsync(
            "users filter email",
            "users?limit=5&" + Filter("email='nobody at all@example.invalid'"),
            answer => ListProblem(answer, "users") ?? (answer.Rows!.Count > 0 ? "people came who do not have the address" : null)
        );
        await TestAsync(
            "users filter contains",
            "users?limit=5&" + Filter("familyName~'a'"),
            answer =>
                ListProblem(answer, "users")
                ?? (
                    answer.Rows!.Exists(r => Text(r, "familyName")?.Contains('a', StringComparison.OrdinalIgnoreCase) == false)
                        ? "other rows came too"
                        : null
                )
        );
        await TestAsync(
            "users filter dateLastModified",
            "users?limit=5&" + Filter("dateLastModified>'2000-01-01T00:00:00.000Z'"),
            answer => ListProblem(answer, "users") ?? (answer.Rows!.Count == 0 && census.People > 0 ? "no row came" : null)
        );
        await TestAsync(
            "users filter dateLastModified, none",
            "users?limit=5&" + Filter("dateLastModified>'2999-01-01T00:00:00.000Z'"),
            answer => ListProblem(answer, "users") ?? (answer.Rows!.Count > 0 ? "the filter is ignored" : null)
        );
        await TestAsync("users filter, unknown field", "users?limit=5&" + Filter("noSuchField='x'"), _ => "accepted, not refused", 400);
        await TestAsync(
            "users fields",
            "users?limit=2&fields=sourcedId,givenName",
            answer =>
                ListProblem(answer, "users")
                ?? (
                    answer.Rows!.Exists(r =>
                        r.ValueKind == JsonValueKind.Object && r.EnumerateObject().Any(p => p.Name is not ("sourcedId" or "givenName"))
                    )
                        ? "other fields came too"
                        : null
                )
        );
    }

    private sealed record Answer(JsonElement Root, string Key, List<JsonElement>? Rows, JsonElement? Single);

    private async Task TestAsync(string identifier, string route, Func<Answer, string?> judge, int expected = 200)
    {
        progress?.Report(identifier);
        try
        {
            var (body, _) = await source.AskAsync(route, cancellationToken);
            using var json = JsonDocument.Parse(
                body.AsMemory(body.AsSpan().StartsWith("\uFEFF"u8) ? 3 : 0),
                new JsonDocumentOptions { AllowTrailingCommas = true, MaxDepth = 512 }
            );
            var answer = Read(json.RootElement);
            var problem = judge(answer);
            Say(identifier, problem is null, N(answer.Rows?.Count ?? (answer.Single is null ? 0 : 1)), "", problem ?? "");
        }
        catch (JsonException)
        {
            Say(identifier, false, "0", "", "the answer is not JSON");
        }
        catch (RosterException e)
        {
            Say(
                identifier,
                e.StatusCode == expected,
                "0",
                "",
                e.StatusCode == expected ? $"refused with {expected}, as it should be"
                    : e.StatusCode is { } status and not 200 ? $"status {status}.{e.Said}"
                    : e.Message
            );
        }
    }

    private static Answer Read(JsonElement root)
    {
        if (root.ValueKind == JsonValueKind.Array)
        {
            return new Answer(root, "", [.. root.EnumerateArray()], null);
        }

        if (root.ValueKind == JsonValueKind.Object)
        {
            var about = root.EnumerateObject()
                .Where(p => !p.Name.StartsWith("imsx_", StringComparison.Ordinal) && p.Name != "statusInfoSet");
            foreach (var property in about)
            {
                if (property.Value.ValueKind == JsonValueKind.Array)
                {
                    return new Answer(root, property.Name, [.. property.Value.EnumerateArray()], null);
                }

                if (property.Value.ValueKind == JsonValueKind.Object && !root.TryGetProperty("sourcedId", out _))
                {
                    return new Answer(root, property.Name, null, property.Value);
                }
            }

            if (root.TryGetProperty("sourcedId", out _))
            {
                return new Answer(root, "", null, root);
            }
        }

        return new Answer(root, "", null, null);
    }

    private static string? ListProblem(Answer answer, string key) =>
        answer.Rows is null ? "holds no list"
        : answer.Key != key
            ? (answer.Key.Length == 0 ? "the list stands bare" : $"the list stands under \"{Cut(answer.Key)}\", not \"{key}\"")
        : null;

    private static string Cut(string text) => text.Length > 40 ? text[..40] + "…" : text;

    private static List<string> Ids(Answer answer) => [.. (answer.Rows ?? []).Select(Id).OfType<string>()];

    private static string? Id(JsonElement record) => Text(record, "sourcedId");

    private static string? Text(JsonElement record, string name)
    {
        try
        {
            return
                record.ValueKind == JsonValueKind.Object
                && record.TryGetProperty(name, out var value)
                && value.ValueKind == JsonValueKind.String
                ? value.GetString()
                : null;
        }
        catch (InvalidOperationException)
        {
            // Half a surrogate pair.
            return null;
        }
    }

    /// <summary>By code points or without regard to case: servers sort as their databases do.</summary>
    private static bool InOrder(List<string> keys, int direction) =>
        new[] { StringComparer.Ordinal, StringComparer.OrdinalIgnoreCase, StringComparer.InvariantCulture }.Any(c =>
            keys.Zip(keys.Skip(1)).All(p => c.Compare(p.First, p.Second) * direction <= 0)
        )
        || keys.TrueForAll(k => long.TryParse(k, NumberStyles.None, CultureInfo.InvariantCulture, out _))
            && keys.Select(k => long.Parse(k, CultureInfo.InvariantCulture)).ToList() is var numbers
            && numbers.Zip(numbers.Skip(1)).All(p => p.First.CompareTo(p.Second) * direction <= 0);

    private void Say(string identifier, bool success, string read, string rejected, string comment) =>
        tests.Add(new ProbeTest(identifier, time.GetUtcNow(), success, read, rejected, comment));

    private IEnumerable<ProbeFinding> Findings()
    {
        foreach (var c in collections)
        {
            var needed = c.Name is "orgs" or "users";
            if (c.Failure is not null)
            {
                yield return new(c.Name == "courses" ? ProbeWeight.Handled : ProbeWeight.Problem, $"{c.Name} cannot be read: {c.Failure}");
            }
            else if (c.NotShared && c.Name != "courses")
            {
                yield return new(ProbeWeight.Notice, $"{c.Name} is empty or not shared: {WithoutIt(c.Name)}");
            }

            if (c.WithoutId > 0)
            {
                yield return new(
                    needed ? ProbeWeight.Problem : ProbeWeight.Notice,
                    $"{N(c.WithoutId)} rows of {c.Name} have no sourcedId{(c.Name == "users" ? ": nobody can count as absent" : "")}."
                );
            }

            if (c.RowsShifted)
            {
                yield return new(
                    ProbeWeight.Problem,
                    $"Rows of {c.Name} moved between pages in every attempt: nobody can count as absent."
                );
            }
            else if (c.Duplicates > 0)
            {
                yield return new(ProbeWeight.Handled, $"{N(c.Duplicates)} rows of {c.Name} came twice.");
            }

            if (c.Unreadable > 0)
            {
                yield return new(needed ? ProbeWeight.Problem : ProbeWeight.Notice, $"{N(c.Unreadable)} rows of {c.Name} are no records.");
            }

            if (c.SlowestPage > SlowPage)
            {
                yield return new(ProbeWeight.Notice, $"A page of {c.Name} took {Seconds(c.SlowestPage)}: a whole read will take long.");
            }
        }

        foreach (var finding in AboutPeople().Concat(AboutPaging()))
        {
            yield return finding;
        }
    }

    private IEnumerable<ProbeFinding> AboutPeople()
    {
        if (census.UnknownRoles.Values is { Count: > 0 } unknown)
        {
            yield return new(
                ProbeWeight.Problem,
                $"Roles that OneRoster does not know, whose people are not synced: {string.Join(", ", unknown.Select(r => $"{r.Key} ({N(r.Value)})"))}."
            );
        }

        if (census.WithoutOrg > 0)
        {
            yield return new(ProbeWeight.Problem, $"{N(census.WithoutOrg)} people have no organisation and can get no site.");
        }

        if (census.WithoutRole > 0)
        {
            yield return new(ProbeWeight.Problem, $"{N(census.WithoutRole)} people have no role and are not synced.");
        }

        if (census.UnknownOrg > 0)
        {
            yield return new(ProbeWeight.Problem, $"{N(census.UnknownOrg)} people belong to organisations that are not in orgs.");
        }

        if (census.SharedIdentifiers > 0)
        {
            yield return new(
                ProbeWeight.Notice,
                $"{N(census.SharedIdentifiers)} identifiers stand at a second person too: the same people twice, once for each school, or an identifier that is no student number."
            );
        }

        if (
            census.Members > 0
            && census.Lacks.GetValueOrDefault("email") is { } email
            && (email.Blank + email.NotSent) * 2 > census.Members
        )
        {
            yield return new(ProbeWeight.Notice, "Most people have no e-mail address: match by Student # or barcode.");
        }

        if (census.EnrollmentsOfUnknown > 0 && !options.FirstPagesOnly)
        {
            yield return new(ProbeWeight.Notice, $"{N(census.EnrollmentsOfUnknown)} enrollments are of people who are not in users.");
        }

        if (census.Classes > 0 && census.ClassTypes["homeroom"] == 0)
        {
            yield return new(ProbeWeight.Notice, "No class is a homeroom: Location cannot be mapped.");
        }
        else if (census.Classes > 0 && census.ClassesWithoutCode == census.Classes)
        {
            yield return new(ProbeWeight.Notice, "No class has a code: map Location to the title, the location or the teacher.");
        }
    }

    private IEnumerable<ProbeFinding> AboutPaging()
    {
        var read = collections.Where(c => c.Failure is null && c.Rows > 0).ToList();
        if (read.Count > 0 && read.TrueForAll(c => c.StatedTotal is null))
        {
            yield return new(ProbeWeight.Handled, "Totals are not stated: each collection is read to an empty page.");
        }

        // Only where rows followed a page that was not full: a last page may be short.
        if (read.Where(c => c.LargestPage > 0 && c.LargestPage < c.Asked && c.Rows > c.LargestPage).ToList() is { Count: > 0 } cut)
        {
            yield return new(
                ProbeWeight.Handled,
                $"Pages are cut without a word: {N(cut.Max(c => c.LargestPage))} rows at most where {N(cut.Max(c => c.Asked))} were asked for."
            );
        }

        var rules = read.SelectMany(c => c.Leniencies)
            .GroupBy(l => l.Key, StringComparer.Ordinal)
            .Select(g => $"{g.Key} ({N(g.Sum(l => l.Value))})")
            .ToList();
        if (rules.Count > 0)
        {
            yield return new(
                ProbeWeight.Handled,
                $"Values in other forms than OneRoster's, all understood or left out: {string.Join(", ", rules)}."
            );
        }
    }

    private static string WithoutIt(string collection) =>
        collection switch
        {
            "demographics" => "birthdate and sex stay as they are.",
            "academicSessions" => "every class counts as current.",
            _ => "homerooms cannot be mapped.",
        };

    private static string N(long number) => number.ToString("N0", CultureInfo.InvariantCulture);

    private static string Seconds(double seconds) => seconds.ToString("0.0", CultureInfo.InvariantCulture) + " s";
}
