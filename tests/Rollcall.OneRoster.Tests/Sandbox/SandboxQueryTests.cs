using System.Net;
using System.Text.Json;
using Rollcall.Sandbox;
using Rollcall.Sandbox.Serving;

namespace Rollcall.OneRoster.Tests.Sandbox;

/// <summary>Paging, filters, fields, order.</summary>
public sealed class SandboxQueryTests(SharedSandbox shared) : IClassFixture<SharedSandbox>
{
    private readonly SandboxServer _server = shared.Server;

    [Theory]
    [InlineData("orgs")]
    [InlineData("schools")]
    [InlineData("academicSessions")]
    [InlineData("terms")]
    [InlineData("gradingPeriods")]
    [InlineData("courses")]
    [InlineData("classes")]
    [InlineData("users")]
    [InlineData("students")]
    [InlineData("teachers")]
    [InlineData("enrollments")]
    [InlineData("demographics")]
    public async Task Pages_join_without_gap_or_repetition(string collection)
    {
        foreach (var limit in new[] { 10, 333, 10_000 })
        {
            if (limit == 10 && collection is "users" or "enrollments" or "students" or "demographics")
            {
                continue;
            }

            using var response = await _server.RosterAsync($"{collection}?limit=1");
            var ids = (await _server.AllAsync(collection, limit)).Select(r => r.Text("sourcedId")).ToList();
            Assert.Equal(int.Parse(response.Header("x-total-count")), ids.Count);
            Assert.Equal("1", response.Header("x-count"));
            Assert.Equal(ids.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal), ids);
        }
    }

    [Theory]
    [InlineData("schools", "orgs")]
    [InlineData("students", "users")]
    [InlineData("teachers", "users")]
    [InlineData("terms", "academicSessions")]
    [InlineData("gradingPeriods", "academicSessions")]
    public async Task The_envelope_names_the_type(string collection, string key) =>
        Assert.Equal(key, (await _server.JsonAsync(collection)).EnumerateObject().Single().Name);

    [Fact]
    public async Task Limits()
    {
        async Task<int> Count(string query) => (await _server.JsonAsync(query)).GetProperty("users").GetArrayLength();

        Assert.Equal(100, await Count("users"));
        Assert.Equal(0, await Count("users?limit=0"));
        Assert.Equal(0, await Count("users?offset=1000000"));
        Assert.Equal(
            Math.Min(10_000, _server.District.People.Count(p => p.Presence != SandboxPresence.Gone)),
            await Count("users?limit=99999")
        );
        using var negative = await _server.RosterAsync("users?limit=-1");
        Assert.Equal(HttpStatusCode.BadRequest, negative.StatusCode);
    }

    [Fact]
    public async Task Order_can_be_turned_and_a_bad_order_is_ignored()
    {
        async Task<List<string>> Ids(string query) =>
            [
                .. (await _server.JsonAsync($"users?limit=9999&{query}"))
                    .GetProperty("users")
                    .EnumerateArray()
                    .Select(u => u.Text("sourcedId")),
            ];

        var rising = await Ids("");
        Assert.Equal(rising, await Ids("sort=sourcedId&orderBy=dsc"));
        Assert.Equal(rising, await Ids("sort=nonsense"));
        Assert.Equal(rising.AsEnumerable().Reverse(), await Ids("sort=sourcedId&orderBy=desc"));
        var byName = (await _server.JsonAsync("students?limit=9999&sort=familyName"))
            .GetProperty("users")
            .EnumerateArray()
            .Select(u => u.Text("familyName"))
            .ToList();
        Assert.Equal(byName.Order(StringComparer.Ordinal), byName);
    }

    [Fact]
    public async Task Fields_choose_properties()
    {
        var user = (await _server.JsonAsync("users?limit=1&fields=sourcedId,status,orgs")).GetProperty("users")[0];
        Assert.Equal(["sourcedId", "status", "orgs"], user.EnumerateObject().Select(p => p.Name));
        Assert.True(
            (await _server.JsonAsync("users?limit=1&fields=sourcedId,shoeSize")).GetProperty("users")[0].EnumerateObject().Count() > 10
        );
        using var blank = await _server.RosterAsync("users?fields=");
        Assert.Equal(HttpStatusCode.BadRequest, blank.StatusCode);
    }

    [Fact]
    public async Task Filters_select()
    {
        var people = _server
            .District.People.Where(p => p.Presence != SandboxPresence.Gone)
            .OrderBy(p => p.SourcedId, StringComparer.Ordinal)
            .ToList();
        var school = _server.District.Schools.First().SourcedId;
        var cases = new Dictionary<string, Func<SandboxPerson, bool>>(StringComparer.Ordinal)
        {
            ["status='active'"] = p => p.Presence == SandboxPresence.Present,
            ["status!='active'"] = p => p.Presence == SandboxPresence.Deleted,
            ["role='STUDENT' AND enabledUser='false'"] = p => p.Role == "student" && !p.Enabled,
            ["role='parent' AND phone='' OR role='teacher'"] = p => (p.Role == "parent" && p.Phone.Length == 0) || p.Role == "teacher",
            ["role='teacher' OR role='parent' AND phone=''"] = p => (p.Role == "parent" && p.Phone.Length == 0) || p.Role == "teacher",
            [$"orgs.sourcedId='{school}'"] = p => p.Orgs.Contains(school, StringComparer.Ordinal),
            ["familyName~'-'"] = p => p.FamilyName.Contains('-', StringComparison.Ordinal),
            ["userIds.identifier~'100'"] = p => p.UserIds.Any(i => i.Identifier.Contains("100", StringComparison.Ordinal)),
            ["grades='05'"] = p => p.Grade == "05",
            ["grades~'05,06'"] = p => p.Grade is "05" or "06",
            ["familyName='O''Brien'"] = p => false,
            [$"metadata.primaryOrg='{school}'"] = p => p.PrimaryOrg == school,
        };
        foreach (var (filter, meaning) in cases)
        {
            var found = await _server.AllAsync("users", more: $"&filter={Uri.EscapeDataString(filter)}");
            Assert.True(
                people
                    .Where(meaning)
                    .Select(p => p.SourcedId)
                    .SequenceEqual(found.Select(u => u.Text("sourcedId")), StringComparer.Ordinal),
                filter
            );
        }

        foreach (var wrong in new[] { "shoeSize='42'", "status", "status='active", "status 'active'" })
        {
            using var response = await _server.RosterAsync($"users?filter={Uri.EscapeDataString(wrong)}");
            Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
            Assert.Equal(
                "invalid_filter_field",
                JsonElement.Parse(await response.Content.ReadAsStringAsync()).GetProperty("statusInfoSet")[0].Text("imsx_codeMinor")
            );
        }
    }

    // After the vectors of QuestarAI/OneRoster's FilterExpressionParserTest (MIT).
    [Theory]
    [InlineData("subjects=a,b", true)]
    [InlineData("subjects=a,x", false)]
    [InlineData("subjects~x,b", true)]
    [InlineData("subjects~x,y", false)]
    [InlineData("time='2018-05-21'", true)]
    [InlineData("time>'2018-05-21'", false)]
    [InlineData("time>='2018-05-21'", true)]
    [InlineData("time<'2018-05-22'", true)]
    [InlineData("time<='2018-05-20'", false)]
    [InlineData("time!='2018-05-21'", false)]
    [InlineData("kind='OutOfRange'", false)]
    [InlineData("kind!='OutOfRange'", true)]
    [InlineData("guid='4D868BC4-34DE-4411-9F9F-9C5F1FAE1DDB'", true)]
    [InlineData("number='12'", true)]
    [InlineData("number>='5'", true)]
    [InlineData("number<'5'", false)]
    [InlineData("number='12' AND kind='Two'", false)]
    [InlineData("number='0' OR kind='One'", true)]
    [InlineData("number='0' AND kind='One' OR kind='One'", true)]
    [InlineData("kind='Nope' OR number='0' AND kind='One'", false)]
    [InlineData("number='1' OR number='2' OR number='12'", true)]
    [InlineData("text='this AND that'", true)]
    [InlineData("absent='x'", false)]
    [InlineData("absent!='x'", true)]
    public void Comparisons_mean(string filter, bool holds) =>
        Assert.Equal(
            holds,
            Filter.Holds(
                filter,
                path =>
                    path switch
                    {
                        "subjects" => ["a", "b", "c"],
                        "time" => ["2018-05-21T00:00:00.000Z"],
                        "kind" => ["One"],
                        "guid" => ["4d868bc4-34de-4411-9f9f-9c5f1fae1ddb"],
                        "number" => ["12"],
                        "text" => ["this and that"],
                        _ => [],
                    }
            )
        );

    [Fact]
    public async Task Nested_collections_follow_enrollments()
    {
        var enrollments = await _server.AllAsync("enrollments");
        var seat = enrollments.First(e => e.Text("status") == "active" && e.Text("role") == "student");
        var classId = seat.GetProperty("class").Text("sourcedId");
        var user = seat.GetProperty("user").Text("sourcedId");
        List<string> Of(string role) =>
            [
                .. enrollments
                    .Where(e =>
                        e.Text("status") == "active" && e.Text("role") == role && e.GetProperty("class").Text("sourcedId") == classId
                    )
                    .Select(e => e.GetProperty("user").Text("sourcedId"))
                    .Order(StringComparer.Ordinal),
            ];

        var key = Uri.EscapeDataString(classId);
        Assert.Equal(Of("student"), (await _server.AllAsync($"classes/{key}/students")).Select(u => u.Text("sourcedId")));
        Assert.Equal(Of("teacher"), (await _server.AllAsync($"classes/{key}/teachers")).Select(u => u.Text("sourcedId")));
        Assert.Contains(
            classId,
            (await _server.AllAsync($"students/{Uri.EscapeDataString(user)}/classes")).Select(c => c.Text("sourcedId"))
        );
        var school = _server.District.Schools.First().SourcedId;
        Assert.All(
            await _server.AllAsync($"schools/{Uri.EscapeDataString(school)}/classes"),
            c => Assert.Equal(school, c.GetProperty("school").Text("sourcedId"))
        );
        using var unknown = await _server.RosterAsync("classes/nothing/students");
        Assert.Equal(HttpStatusCode.NotFound, unknown.StatusCode);
    }

    [Fact]
    public async Task The_newer_form_has_roles_instead_of_role()
    {
        await using var server = await SandboxServer.StartAsync(new SandboxOptions { Students = 300, Api = SandboxApi.OneRoster12 });
        var users = (await server.AllAsync("users")).ToDictionary(u => u.Text("sourcedId"), StringComparer.Ordinal);
        foreach (var person in server.District.People.Where(p => p.Presence != SandboxPresence.Gone))
        {
            var user = users[person.SourcedId];
            Assert.False(user.TryGetProperty("role", out _) || user.TryGetProperty("orgs", out _));
            var roles = user.GetProperty("roles").EnumerateArray().ToList();
            Assert.Equal(person.Orgs, roles.Select(r => r.GetProperty("org").Text("sourcedId")));
            Assert.Equal(person.PrimaryOrg, roles.Single(r => r.Text("roleType") == "primary").GetProperty("org").Text("sourcedId"));
            if (user.TryGetProperty("primaryOrg", out var primary))
            {
                Assert.Equal(person.PrimaryOrg, primary.Text("sourcedId"));
            }
        }

        Assert.NotEmpty(await server.AllAsync("teachers"));
        using var refused = await server.RosterAsync("users?fields=shoeSize");
        Assert.Equal(HttpStatusCode.BadRequest, refused.StatusCode);
        Assert.Contains("imsx_CodeMinor", await refused.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }
}
