using System.Text.Json;
using Rollcall.Sandbox;

namespace Rollcall.OneRoster.Tests.Sandbox;

/// <summary>What is served agrees with the ledger and with the habits of the wire.</summary>
public sealed class SandboxServedTests(SharedSandbox shared) : IClassFixture<SharedSandbox>
{
    private readonly SandboxServer _server = shared.Server;

    [Fact]
    public async Task Users_are_those_of_the_ledger()
    {
        var served = (await _server.AllAsync("users")).ToDictionary(u => u.Text("sourcedId"), StringComparer.Ordinal);
        var people = _server.District.People.ToList();

        Assert.Equal(
            people.Where(p => p.Presence != SandboxPresence.Gone).Select(p => p.SourcedId).Order(StringComparer.Ordinal),
            served.Keys.Order(StringComparer.Ordinal)
        );
        foreach (var person in people.Where(p => p.Presence != SandboxPresence.Gone))
        {
            var user = served[person.SourcedId];
            Assert.Equal(person.GivenName, user.Text("givenName"));
            Assert.Equal(person.MiddleName, user.Text("middleName"));
            Assert.Equal(person.FamilyName, user.Text("familyName"));
            Assert.Equal(person.Role, user.Text("role"));
            Assert.Equal(person.Email, user.Text("email"));
            Assert.Equal(person.Phone, user.Text("phone"));
            Assert.Equal(person.Username, user.Text("username"));
            Assert.Equal(person.Identifier, user.Text("identifier"));
            Assert.Equal(person.Enabled ? "true" : "false", user.Text("enabledUser"));
            Assert.Equal(person.Presence == SandboxPresence.Present ? "active" : "tobedeleted", user.Text("status").ToLowerInvariant());
            Assert.Equal(person.Orgs, Ids(user, "orgs"));
            Assert.Equal(
                person.Grade.Length == 0 ? [] : [person.Grade],
                user.GetProperty("grades").EnumerateArray().Select(g => g.GetString()!)
            );
            Assert.Equal(
                person.UserIds,
                user.GetProperty("userIds").EnumerateArray().Select(i => new SandboxUserId(i.Text("type"), i.Text("identifier")))
            );
            if (person.Group == SandboxRoleGroup.Student)
            {
                var guardians = Ids(user, "agents").Select(id => served[id]).Where(g => g.Text("status") == "active").ToList();
                Assert.Equal(person.Guardians.Select(g => g.SourcedId), guardians.Select(g => g.Text("sourcedId")));
                Assert.Equal(
                    person.Guardians.Select(g => g.Text),
                    guardians.Select(g => $"{g.Text("givenName")} {g.Text("familyName")} {g.Text("phone")}".TrimEnd())
                );
                Assert.Equal(person.Guardians.Select(g => g.Email), guardians.Select(g => g.Text("email")));
            }
        }
    }

    /// <summary>Roles say when they begin and end where they are to, in answers and in files alike.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Roles_may_say_when_they_begin_and_end(bool dates)
    {
        var options = new SandboxOptions
        {
            Students = 20,
            Schools = 1,
            Api = SandboxApi.OneRoster12,
            Today = new DateOnly(2026, 10, 5),
            RoleDates = dates,
        };
        await using var server = await SandboxServer.StartAsync(options);
        var roles = (await server.AllAsync("users")).SelectMany(u => u.GetProperty("roles").EnumerateArray()).ToList();
        Assert.All(roles, r => Assert.Equal(dates, r.TryGetProperty("beginDate", out _)));
        Assert.All(roles, r => Assert.Equal(dates ? "2027" : "", r.TryGetProperty("endDate", out var end) ? end.GetString()![..4] : ""));
    }

    [Fact]
    public async Task Agents_run_both_ways()
    {
        var served = (await _server.AllAsync("users")).ToDictionary(u => u.Text("sourcedId"), StringComparer.Ordinal);
        foreach (var user in served.Values)
        {
            Assert.All(Ids(user, "agents"), id => Assert.Contains(user.Text("sourcedId"), Ids(served[id], "agents")));
        }
    }

    [Fact]
    public async Task Homerooms_of_the_ledger_follow_from_enrollments_classes_and_current_sessions()
    {
        var now = _server.District.Options.Today!.Value;
        var sessions = (await _server.AllAsync("academicSessions"))
            .Where(s => DateOnly.Parse(s.Text("startDate")) <= now && now < DateOnly.Parse(s.Text("endDate")))
            .Select(s => s.Text("sourcedId"))
            .ToHashSet(StringComparer.Ordinal);
        var classes = (await _server.AllAsync("classes")).ToDictionary(c => c.Text("sourcedId"), StringComparer.Ordinal);
        var enrollments = await _server.AllAsync("enrollments");
        var names = (await _server.AllAsync("users")).ToDictionary(
            u => u.Text("sourcedId"),
            u => $"{u.Text("familyName")}, {u.Text("givenName")}",
            StringComparer.Ordinal
        );
        var current = enrollments
            .Where(e => e.Text("status") == "active" && e.Text("role") == "student")
            .Where(e => classes[Id(e, "class")] is var c && c.Text("classType") == "homeroom" && Ids(c, "terms").Exists(sessions.Contains))
            .ToLookup(e => Id(e, "user"), e => classes[Id(e, "class")]);
        var teacher = enrollments
            .Where(e => e.Text("role") == "teacher" && e.Text("primary") == "true")
            .ToDictionary(e => Id(e, "class"), e => names[Id(e, "user")], StringComparer.Ordinal);

        foreach (
            var person in _server.District.People.Where(p => p is { Presence: SandboxPresence.Present, Group: SandboxRoleGroup.Student })
        )
        {
            Assert.Equal(
                person.Homerooms,
                current[person.SourcedId]
                    .OrderBy(c => c.Text("sourcedId"), StringComparer.Ordinal)
                    .Select(c => new SandboxHomeroom(
                        c.Text("sourcedId"),
                        Id(c, "school"),
                        c.Text("classCode"),
                        c.Text("location"),
                        c.Text("title"),
                        teacher[c.Text("sourcedId")]
                    ))
            );
        }
    }

    [Fact]
    public async Task Demographics_are_those_of_the_ledger()
    {
        var served = (await _server.AllAsync("demographics")).ToDictionary(u => u.Text("sourcedId"), StringComparer.Ordinal);
        foreach (var person in _server.District.People.Where(p => p.Presence != SandboxPresence.Gone))
        {
            var (birth, sex) = served.TryGetValue(person.SourcedId, out var row) ? (row.Text("birthDate"), row.Text("sex")) : ("", "");
            Assert.Equal(person.BirthDate?.ToString("yyyy-MM-dd") ?? "", birth);
            Assert.Equal(person.Sex, sex);
        }
    }

    [Fact]
    public async Task Every_reference_leads_to_a_record()
    {
        var ids = new Dictionary<string, HashSet<string>>(StringComparer.Ordinal);
        foreach (
            var (type, collection) in new[]
            {
                ("user", "users"),
                ("org", "orgs"),
                ("class", "classes"),
                ("course", "courses"),
                ("academicSession", "academicSessions"),
            }
        )
        {
            ids[type] = [.. (await _server.AllAsync(collection)).Select(r => r.Text("sourcedId"))];
        }

        foreach (var collection in new[] { "users", "orgs", "classes", "courses", "academicSessions", "enrollments" })
        {
            foreach (var reference in (await _server.AllAsync(collection)).SelectMany(References))
            {
                Assert.Contains(reference.Text("sourcedId"), ids[reference.Text("type")]);
                Assert.StartsWith("https://riverbend-xx-v2.rosterserver.com/", reference.Text("href"), StringComparison.Ordinal);
            }
        }
    }

    [Fact]
    public void The_district_holds_what_breaks_readers()
    {
        var people = SandboxDistrict.At(new SandboxOptions { Students = 2000 }).People.ToList();
        var students = people.Where(p => p.Group == SandboxRoleGroup.Student).ToList();

        Assert.Contains(people, p => p.SourcedId.Contains('|', StringComparison.Ordinal));
        Assert.Contains(people, p => p.SourcedId.Contains('/', StringComparison.Ordinal));
        Assert.Contains(people, p => p.SourcedId.Contains(' ', StringComparison.Ordinal));
        Assert.Contains(people, p => p.SourcedId.Contains('%', StringComparison.Ordinal));
        Assert.Contains(people, p => p.SourcedId.Any(c => c > 127));
        Assert.Contains(people.GroupBy(p => p.SourcedId.ToUpperInvariant(), StringComparer.Ordinal), g => g.Count() == 2);
        Assert.Contains(people, p => p.FamilyName.Length > 100);
        Assert.Contains(people, p => p.FamilyName.Any(c => c > 0x2e80));
        Assert.Contains(students, p => p.Email.Length == 0);
        Assert.Contains(students, p => p.Guardians.Count == 0);
        Assert.Contains(students, p => p.Guardians.Count == 3);
        Assert.Contains(students, p => !p.Enabled);
        Assert.Contains(students, p => p.Orgs.Count == 2 && p.Orgs[0] == p.PrimaryOrg);
        Assert.Contains(students, p => p.Orgs.Count == 2 && p.Orgs[1] == p.PrimaryOrg);
        Assert.Contains(students, p => p.Presence == SandboxPresence.Deleted);
        Assert.Contains(students, p => p.BirthDate is null);
        Assert.Contains(students, p => p.Homerooms.Count == 0);
        Assert.Contains(students, p => p.Homerooms.Count == 2);
        Assert.Contains(students, p => p.Homeroom is { Code: "" });
        Assert.Contains(students, p => p.UserIds.Any(i => i is { Type: "Barcode", Identifier: "" }));
        Assert.Contains(students.Where(p => p.Email.Length > 0).GroupBy(p => p.Email, StringComparer.Ordinal), g => g.Count() > 1);
        Assert.Contains(people, p => p.Group == SandboxRoleGroup.Teacher && p.Orgs.Count == 2);
        Assert.Contains(
            students
                .Where(p => p.BirthDate is not null && p.Guardians.Count > 0)
                .GroupBy(p => (p.BirthDate, p.FamilyName, p.Guardians[0].SourcedId)),
            g => g.Count() > 1
        );
        Assert.Equal(8, SandboxDistrict.At(new SandboxOptions()).Schools.Count());
    }

    private static List<string> Ids(JsonElement json, string name) =>
        [.. json.GetProperty(name).EnumerateArray().Select(r => r.Text("sourcedId"))];

    private static string Id(JsonElement json, string name) => json.GetProperty(name).Text("sourcedId");

    private static IEnumerable<JsonElement> References(JsonElement json) =>
        json.ValueKind switch
        {
            JsonValueKind.Object when json.TryGetProperty("href", out _) => [json],
            JsonValueKind.Object => json.EnumerateObject().SelectMany(p => References(p.Value)),
            JsonValueKind.Array => json.EnumerateArray().SelectMany(References),
            _ => [],
        };
}
