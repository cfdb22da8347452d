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

    private readonly ProbeReading reading = new(options, time, progress, cancellationToken);
    private readonly List<ProbeTest> tests = [];

    public async Task<ProbeReport> RunAsync()
    {
        var at = time.GetUtcNow();

        // What stands in the way of everything is no finding but the answer.
        await source.ProbeAsync(cancellationToken);

        await ReadAsync<Org>(RosterCollection.Orgs, "orgs", RecordParsers.Org, reading.Census.Take);
        await ReadAsync<AcademicSession>(RosterCollection.AcademicSessions, "academicSessions", RecordParsers.AcademicSession, _ => { });
        await ReadAsync<Org>(RosterCollection.Classes, "courses", RecordParsers.Org, _ => { });
        await ReadAsync<Class>(RosterCollection.Classes, "classes", RecordParsers.Class, reading.Census.Take);
        await ReadAsync<User>(RosterCollection.Users, "users", RecordParsers.User, reading.Census.Take);
        await ReadAsync<Enrollment>(RosterCollection.Enrollments, "enrollments", RecordParsers.Enrollment, reading.Census.Take);
        await ReadAsync<Demographics>(RosterCollection.Demographics, "demographics", RecordParsers.Demographics, reading.Census.Take);

        await RoutesAsync();
        await ParametersAsync();
        return new ProbeReport
        {
            At = at,
            Source = source.ServiceAddress,
            Version = reading.Census.Version,
            Findings = [.. reading.Findings().OrderBy(f => f.Weight)],
            Collections = reading.Collections,
            Census = reading.Census.People > 0 ? reading.Census : null,
            Tests = tests,
        };
    }

    private async Task ReadAsync<T>(RosterCollection collection, string key, RecordParser<T> parse, Action<T> take)
        where T : RosterRecord
    {
        List<PageSeen> pages = [];
        var read = await reading.ReadAsync(key, source.Watched(collection, key, parse, pages.Add), take, pages);
        Say(
            key,
            read is { Failure: null, NotShared: false },
            N(read.Rows),
            read.Unreadable > 0 ? N(read.Unreadable) : "",
            read.Failure ?? (read.NotShared ? "empty, or not shared with this application" : "")
        );
    }

    private async Task RoutesAsync()
    {
        foreach (var (route, many, _) in Routes.Where(r => !reading.Collections.Exists(c => c.Name == r.Route)))
        {
            await TestAsync(
                route,
                $"{route}?limit=2",
                answer =>
                {
                    if (answer.Rows is [var first, ..] && Id(first) is { } id)
                    {
                        reading.Ids.TryAdd(route, id);
                    }

                    return ListProblem(answer, many) ?? (answer.Rows!.Count > 2 ? "limit is ignored" : null);
                }
            );
        }

        foreach (var (route, _, one) in Routes)
        {
            if (reading.Ids.TryGetValue(route, out var id))
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
        if (parents.Any(p => !reading.Ids.ContainsKey(p)))
        {
            Say(identifier, false, "0", "", "not tried: no record is known to ask for");
            return;
        }

        var route = string.Join('/', parents.Select(p => $"{p}/{BaseAddress.Segment(reading.Ids[p])}"));
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
        if (reading.Ids.TryGetValue("users", out var id) && !id.Contains('\'', StringComparison.Ordinal))
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
            answer => ListProblem(answer, "users") ?? (answer.Rows!.Count == 0 && reading.Census.People > 0 ? "no row came" : null)
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

    private static string N(long number) => number.ToString("N0", CultureInfo.InvariantCulture);
}
