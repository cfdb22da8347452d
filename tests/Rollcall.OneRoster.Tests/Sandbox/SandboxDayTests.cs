using System.Security.Cryptography;
using System.Text.Json;
using Rollcall.Sandbox;

namespace Rollcall.OneRoster.Tests.Sandbox;

/// <summary>Days follow from seed and number alone, and are such as a normal school year has.</summary>
public sealed class SandboxDayTests
{
    private static readonly DateOnly Today = new(2026, 10, 5);

    [Theory]
    [InlineData(300, 1, 0)]
    [InlineData(300, 1, 17)]
    [InlineData(2000, 42, 5)]
    public void Equal_options_give_an_equal_district(int students, int seed, int day)
    {
        var options = new SandboxOptions
        {
            Students = students,
            Seed = seed,
            Day = day,
            Today = Today,
        };

        Assert.Equal(Print(SandboxDistrict.At(options)), Print(SandboxDistrict.At(options with { })));
        Assert.NotEqual(Print(SandboxDistrict.At(options)), Print(SandboxDistrict.At(options with { Seed = seed + 1 })));
    }

    /// <summary>Whoever keeps what a seed gave finds the same people in another version.</summary>
    [Theory]
    [InlineData(60, 1, 12, SandboxApi.OneRoster11, "7c8d82e2ef1870b5")]
    [InlineData(300, 2, 7, SandboxApi.OneRoster12, "4c106243cb18a0ad")]
    [InlineData(1200, 3, 0, SandboxApi.OneRoster11, "798b5d56df1665e6")]
    public async Task A_seed_gives_the_district_that_it_always_gave(int students, int seed, int day, SandboxApi api, string expected)
    {
        var options = new SandboxOptions
        {
            Students = students,
            Seed = seed,
            Day = day,
            Api = api,
            Today = Today,
        };
        await using var server = await SandboxServer.StartAsync(options);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var collection in new[] { "orgs", "academicSessions", "courses", "classes", "users", "enrollments", "demographics" })
        {
            using var response = await server.RosterAsync($"{collection}?limit=10000");
            hash.AppendData(await response.Content.ReadAsByteArrayAsync());
        }

        foreach (var truth in new[] { "ledger", "events" })
        {
            using var response = await SandboxClient.GetAsync(new Uri(server.Url, $"/sandbox/{truth}").ToString());
            hash.AppendData(await response.Content.ReadAsByteArrayAsync());
        }

        Assert.Equal(expected, Convert.ToHexStringLower(hash.GetHashAndReset())[..16]);
    }

    /// <summary>Many providers date neither a new school nor a new address.</summary>
    [Fact]
    public async Task Moves_may_leave_the_date_alone()
    {
        async Task<Dictionary<string, (string Date, string Person)>> ReadAsync(bool quiet, int day)
        {
            await using var server = await SandboxServer.StartAsync(
                new SandboxOptions
                {
                    Students = 300,
                    Schools = 3,
                    Day = day,
                    Today = Today,
                    QuietDates = quiet,
                }
            );
            return (await server.AllAsync("students")).ToDictionary(
                u => u.Text("sourcedId"),
                u => (u.Text("dateLastModified"), u.Text("email") + u.GetProperty("orgs")),
                StringComparer.Ordinal
            );
        }

        var (before, quiet, loud) = (await ReadAsync(true, 0), await ReadAsync(true, 30), await ReadAsync(false, 30));
        Assert.Equal(loud.ToDictionary(p => p.Key, p => p.Value.Person), quiet.ToDictionary(p => p.Key, p => p.Value.Person));
        var moved = before.Where(p => quiet.TryGetValue(p.Key, out var now) && now.Person != p.Value.Person).Select(p => p.Key).ToList();
        Assert.Contains(moved, id => quiet[id].Date == before[id].Date);
        Assert.DoesNotContain(moved, id => loud[id].Date == before[id].Date);
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(30, 1)]
    [InlineData(120, 2)]
    [InlineData(800, 5)]
    [InlineData(5000, 0)]
    public void A_day_begins_where_the_day_before_ended(int students, int schools)
    {
        var options = new SandboxOptions
        {
            Students = students,
            Schools = schools,
            Today = Today,
        };
        var before = SandboxDistrict.At(options, 0);
        for (var day = 1; day <= 40; day++)
        {
            var after = SandboxDistrict.At(options, day);
            var old = before.People.ToDictionary(p => p.SourcedId, StringComparer.Ordinal);
            var today = after.Events.Where(e => e.Day == day).ToLookup(e => e.SourcedId, StringComparer.Ordinal);
            Assert.Equal(before.Events, after.Events.Take(before.Events.Count));
            var seen = new HashSet<string>(StringComparer.Ordinal);
            foreach (var person in after.People)
            {
                Assert.True(seen.Add(person.SourcedId), "nobody is in the roster twice");
                var kinds = today[person.SourcedId].Select(e => e.Kind).ToList();
                if (!old.Remove(person.SourcedId, out var was))
                {
                    Assert.Contains(SandboxEventKind.Arrived, kinds);
                    continue;
                }

                Assert.Equal(
                    was.Presence != person.Presence,
                    kinds.Exists(k =>
                        k is SandboxEventKind.Deleted or SandboxEventKind.Vanished or SandboxEventKind.Purged or SandboxEventKind.Returned
                    )
                );
                Assert.Equal(was.FamilyName != person.FamilyName, kinds.Contains(SandboxEventKind.Renamed));
                Assert.Equal(was.Grade != person.Grade, kinds.Contains(SandboxEventKind.Regraded) && person.Grade.Length > 0);
                Assert.Equal(was.PrimaryOrg != person.PrimaryOrg, kinds.Contains(SandboxEventKind.Moved));
                Assert.Equal(was.Email != person.Email, kinds.Contains(SandboxEventKind.EmailChanged));
                Assert.Equal(was.BirthDate != person.BirthDate, kinds.Contains(SandboxEventKind.BirthDateCorrected));
                Assert.Equal(was.GivenName, person.GivenName);
                Assert.Equal(was.UserIds, person.UserIds);
            }

            Assert.Empty(old);
            before = after;
        }
    }

    [Theory]
    [InlineData(60, 2, 1)]
    [InlineData(400, 3, 7)]
    [InlineData(2000, 0, 1)]
    [InlineData(20000, 0, 3)]
    public void Leavers_of_a_month_stay_below_what_a_library_holds(int students, int schools, int seed)
    {
        var options = new SandboxOptions
        {
            Students = students,
            Schools = schools,
            Seed = seed,
            Today = Today,
        };
        for (var first = 0; first <= 60; first += 20)
        {
            var before = SandboxDistrict.At(options, first).People.Where(p => p.Presence == SandboxPresence.Present).ToList();
            var later = SandboxDistrict.At(options, first + 30).People.ToDictionary(p => p.SourcedId, StringComparer.Ordinal);
            foreach (var group in before.Where(p => p.Group != SandboxRoleGroup.Guardian).GroupBy(p => (p.PrimaryOrg, p.Group)))
            {
                var total = group.Count();
                var lost = group.Count(p =>
                    later[p.SourcedId] is var then && (then.Presence != SandboxPresence.Present || then.PrimaryOrg != p.PrimaryOrg)
                );
                var renamed = group.Count(p => later[p.SourcedId].FamilyName != p.FamilyName);
                Assert.False(lost >= 10 && lost * 10 > total, $"{lost} of {total} left {group.Key}");
                Assert.False(lost == total && total >= 3, $"all of {group.Key} left");
                Assert.False(renamed >= 10 && renamed * 10 > total, $"{renamed} of {total} renamed in {group.Key}");
            }
        }
    }

    [Fact]
    public void A_month_has_everything_that_happens()
    {
        var events = SandboxDistrict.At(new SandboxOptions { Students = 5000, Today = Today }, 30).Events;

        Assert.All(Enum.GetValues<SandboxEventKind>(), kind => Assert.Contains(events, e => e.Kind == kind));
        Assert.Contains(events, e => e is { Kind: SandboxEventKind.Vanished, Group: SandboxRoleGroup.Teacher });
        var people = events.Where(e => e.Group != SandboxRoleGroup.Guardian).Select(e => (e.Day, e.SourcedId)).Distinct().Count();
        Assert.InRange(people / 30.0 / 5000, 0.003, 0.012);
    }

    [Fact]
    public async Task A_records_date_moves_when_and_only_when_the_record_changes()
    {
        await using var server = await SandboxServer.StartAsync(new SandboxOptions { Students = 1500, Today = Today });
        foreach (var collection in new[] { "users", "enrollments", "demographics", "classes", "orgs" })
        {
            server.SetDay(0);
            var before = (await server.AllAsync(collection)).ToDictionary(r => r.Text("sourcedId"), StringComparer.Ordinal);
            for (var day = 1; day <= 15; day++)
            {
                server.SetDay(day);
                var bound = Today.AddDays(day).ToString("yyyy-MM-dd");
                var after = (await server.AllAsync(collection)).ToDictionary(r => r.Text("sourcedId"), StringComparer.Ordinal);
                foreach (var (id, row) in after)
                {
                    var changed = !before.TryGetValue(id, out var was) || Body(was) != Body(row);
                    Assert.True(
                        changed == row.Text("dateLastModified").StartsWith(bound, StringComparison.Ordinal),
                        $"day {day} {collection} {id}: {(before.TryGetValue(id, out was) ? was.ToString() : "new")} -> {row}"
                    );
                }

                var delta = await server.AllAsync(collection, more: $"&filter=dateLastModified%3E%27{bound}T00%3A00%3A00.000Z%27");
                Assert.Equal(
                    after
                        .Values.Where(r => r.Text("dateLastModified").StartsWith(bound, StringComparison.Ordinal))
                        .Select(r => r.Text("sourcedId")),
                    delta.Select(r => r.Text("sourcedId"))
                );
                before = after;
            }
        }
    }

    [Theory]
    [InlineData("2026-01-01", 0)]
    [InlineData("2026-07-31", 0)]
    [InlineData("2026-08-01", 0)]
    [InlineData("2028-02-29", 200)]
    [InlineData("2026-06-20", 400)]
    public async Task The_school_year_is_current_whether_the_readers_clock_moves_with_the_days_or_not(string date, int day)
    {
        var today = DateOnly.Parse(date);
        await using var server = await SandboxServer.StartAsync(
            new SandboxOptions
            {
                Students = 80,
                Today = today,
                Day = day,
            }
        );
        foreach (var now in new[] { today, today.AddDays(day) })
        {
            var current = (await server.AllAsync("academicSessions"))
                .Where(s => DateOnly.Parse(s.Text("startDate")) <= now && now < DateOnly.Parse(s.Text("endDate")))
                .Select(s => s.Text("sourcedId"))
                .ToList();
            Assert.Contains("FY", current);
            Assert.DoesNotContain(current, id => id.StartsWith("LY", StringComparison.Ordinal));
        }
    }

    private static string Body(JsonElement row) =>
        string.Join('\n', row.EnumerateObject().Where(p => p.Name is not ("dateLastModified" or "endDate")).Select(p => p.ToString()));

    private static string Print(SandboxDistrict district) =>
        JsonSerializer.Serialize(district.People) + JsonSerializer.Serialize(district.Events);
}
