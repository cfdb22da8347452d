using System.Globalization;
using CsCheck;
using Microsoft.AspNetCore.Http;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.Tests.Client;

public class WalkTests
{
    private readonly TestTime time = new();

    private static string Id(int i) => "u" + i.ToString("D5", CultureInfo.InvariantCulture);

    /// <summary>A provider of so many users that cuts pages to a size and may or may not count.</summary>
    private static Func<HttpContext, Seen, int, Task> Provider(int users, int clamp, bool counts = false) =>
        (http, seen, _) =>
        {
            var page = Enumerable.Range(0, users).Skip(seen.Offset).Take(Math.Min(seen.Limit, clamp)).Select(Id).ToList();
            return counts
                ? http.Json(Answers.Users(page), ("x-total-count", users.ToString()), ("x-count", page.Count.ToString()))
                : http.Json(Answers.Users(page));
        };

    [Fact]
    public async Task A_short_page_is_not_the_end()
    {
        await using var server = await ScriptedServer.StartAsync(Provider(7, clamp: 3));
        using var source = server.Source(time);
        var pulled = await source.Users().PullAsync();

        Assert.Equal(Enumerable.Range(0, 7).Select(Id), pulled.Records.Select(u => u.SourcedId));
        Assert.Equal(
            (7, 0, 0, false),
            (pulled.Result.Rows, pulled.Result.Duplicates, pulled.Result.UnreadableRows, pulled.Result.RowsShifted)
        );
        Assert.Equal([0, 3, 6, 7], server.Requests.Select(r => r.Offset));
        Assert.All(server.Requests, r => Assert.Equal("/ims/oneroster/v1p1/users", r.Path));
        Assert.All(
            server.Requests,
            r => Assert.Equal(("sourcedId", "asc", "1000"), (r.Query("sort"), r.Query("orderBy"), r.Query("limit")))
        );
        Assert.All(
            server.Requests,
            r =>
                Assert.Equal(
                    ("Bearer token-1234", "application/json", "gzip"),
                    (r.Authorization, r.Headers["Accept"], r.Headers["Accept-Encoding"])
                )
        );
        Assert.All(server.Requests, r => Assert.StartsWith("Rollcall/", r.Headers["User-Agent"]));
    }

    [Fact]
    public async Task A_stated_total_saves_the_empty_page()
    {
        await using var server = await ScriptedServer.StartAsync(Provider(7, clamp: 3, counts: true));
        using var source = server.Source(time);
        Assert.Equal(7, (await source.Users().PullAsync()).Records.Count);
        Assert.Equal([0, 3, 6], server.Requests.Select(r => r.Offset));
    }

    [Fact]
    public async Task A_stated_total_at_the_end_of_a_full_page_is_not_believed_without_asking()
    {
        await using var server = await ScriptedServer.StartAsync(Provider(6, clamp: 3, counts: true));
        using var source = server.Source(time);
        Assert.Equal(6, (await source.Users().PullAsync()).Records.Count);
        Assert.Equal([0, 3, 6], server.Requests.Select(r => r.Offset));
    }

    /// <summary>Past a stated total a server may refuse to answer; that it took too long says nothing of what is there.</summary>
    [Theory]
    [InlineData(404, null)]
    [InlineData(408, RosterFault.Unreachable)]
    public async Task A_time_out_past_the_stated_total_is_no_end(int status, RosterFault? fault)
    {
        var provider = Provider(6, clamp: 3, counts: true);
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, n) => seen.Offset == 6 ? http.Text(status, "") : provider(http, seen, n)
        );
        using var source = server.Source(time);
        if (fault is { } expected)
        {
            await source.Users().FaultAsync(expected);
        }
        else
        {
            Assert.Equal(6, (await source.Users().PullAsync()).Records.Count);
        }
    }

    /// <summary>A total one too low ends a full page, or a page of a server whose pages are of any size: the last record is behind it.</summary>
    [Theory]
    [InlineData(21, 10, false)]
    [InlineData(101, 20, false)]
    [InlineData(37, 40, true)]
    [InlineData(6, 40, true)]
    public async Task A_total_that_leaves_out_the_last_record_is_incomplete(int users, int clamp, bool halves)
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) =>
            {
                var page = Enumerable.Range(0, users).Skip(seen.Offset).Take(Math.Min(seen.Limit, clamp)).Select(Id).ToList();
                page = halves && page.Count > 1 ? page[..(page.Count / 2)] : page;
                return http.Json(Answers.Users(page), ("x-total-count", $"{users - 1}"));
            }
        );
        using var source = server.Source(time);
        var fault = await source.Users().FaultAsync(RosterFault.Incomplete);
        Assert.Contains($"says there are {users - 1} users but sends more", fault.Message, StringComparison.Ordinal);
    }

    /// <summary>While a page is looked at, the server makes the next; a page beyond that waits for somebody to take one.</summary>
    [Fact]
    public async Task Two_pages_are_asked_for_ahead_and_one_request_is_made_at_a_time()
    {
        var (busy, atOnce) = (0, 0);
        var provider = Provider(550, clamp: 100, counts: true);
        await using var server = await ScriptedServer.StartAsync(
            async (http, seen, n) =>
            {
                atOnce = Math.Max(atOnce, Interlocked.Increment(ref busy));
                await Task.Yield();
                Interlocked.Decrement(ref busy);
                await provider(http, seen, n);
            }
        );
        using var source = server.Source(time, o => o with { PageSize = 100 });
        List<string?> read = [];
        await foreach (var page in source.Users().ReadAsync(TestContext.Current.CancellationToken))
        {
            if (read.Count == 0)
            {
                // Nobody asks for more; what was asked for ahead comes all the same, and then nothing.
                while (server.Requests.Count < 3)
                {
                    await Task.Delay(1, TestContext.Current.CancellationToken);
                }
            }

            Assert.InRange(server.Requests.Count, 1, (read.Count / 100) + 3);
            read.AddRange(page.Records.Select(r => r.SourcedId));
        }

        Assert.Equal(Enumerable.Range(0, 550).Select(Id), read);
        Assert.Equal([0, 99, 198, 297, 396, 495], server.Requests.Select(r => r.Offset));
        Assert.Equal(1, atOnce);
    }

    /// <summary>What comes after a page is known when it has been read: what was asked for on the chance is thrown away.</summary>
    [Theory]
    [InlineData("short")]
    [InlineData("cut")]
    [InlineData("refused")]
    public async Task A_page_that_is_not_what_was_expected_changes_what_comes_next(string oddity)
    {
        var odd = true;
        await using var server = await ScriptedServer.StartAsync(
            async (http, seen, n) =>
            {
                var page = Enumerable.Range(0, 650).Skip(seen.Offset).Take(seen.Limit).Select(Id).ToList();
                var text = Answers.Users(page);
                if (seen.Offset == 198 && odd)
                {
                    odd = false;
                    (text, var status) = oddity switch
                    {
                        "short" => (Answers.Users(page.Take(30)), 200),
                        "cut" => (text[..^50], 200),
                        _ => ("", 503),
                    };
                    await http.Text(status, text, headers: ("x-total-count", "650"));
                    return;
                }

                await http.Text(200, text, headers: ("x-total-count", "650"));
            }
        );
        using var source = server.Source(time, o => o with { PageSize = 100 });
        var pulled = await source.Users().PullAsync();

        Assert.Equal(Enumerable.Range(0, 650).Select(Id), pulled.Records.Select(r => r.SourcedId));
        Assert.Equal((650, 1), (pulled.Result.Rows, pulled.Attempts));
        Assert.Contains(oddity == "short" ? 227 : 198, server.Requests.Skip(3).Select(r => r.Offset));
    }

    [Fact]
    public async Task Whoever_stops_reading_leaves_no_request_behind()
    {
        await using var server = await ScriptedServer.StartAsync(Provider(1000, clamp: 100, counts: true));
        using var source = server.Source(time, o => o with { PageSize = 100 });
        await foreach (var page in source.Users().ReadAsync(TestContext.Current.CancellationToken))
        {
            if (page.RowsSoFar == 298)
            {
                break;
            }
        }

        // The turn to ask is free again, and nothing uses it.
        Assert.Equal(1000, (await source.Users().PullAsync()).Records.Count);
        Assert.InRange(server.Requests.Count, 3 + 10, 5 + 11);
    }

    [Fact]
    public async Task Whatever_the_page_size_and_the_clamp_every_record_comes_once()
    {
        var (users, clamp, counts) = (0, 1, false);
        await using var server = await ScriptedServer.StartAsync((http, seen, n) => Provider(users, clamp, counts)(http, seen, n));
        await Gen.Select(Gen.Int[1, 350], Gen.Int[1, 120], Gen.Int[100, 130], Gen.Bool)
            .SampleAsync(
                async (u, c, size, stated) =>
                {
                    (users, clamp, counts) = (u, Math.Max(c, u / 40), stated);
                    using var source = server.Source(time, o => o with { PageSize = size });
                    var pulled = await source.Users().PullAsync();
                    Assert.Equal(Enumerable.Range(0, u).Select(Id), pulled.Records.Select(r => r.SourcedId));
                    Assert.Equal((u, 1), (pulled.Result.Rows, pulled.Attempts));
                },
                iter: 60,
                threads: 1
            );
    }

    [Fact]
    public async Task Whatever_passing_faults_come_between_every_record_comes_once()
    {
        Queue<int> faults = new();
        await using var server = await ScriptedServer.StartAsync(
            async (http, seen, n) =>
            {
                switch (faults.TryDequeue(out var fault) ? fault : 0)
                {
                    case 1:
                        await http.Text(500, "");
                        break;
                    case 2:
                        await http.Text(503, "", "text/html", ("Retry-After", "20"));
                        break;
                    case 3:
                        http.Abort();
                        break;
                    case 4:
                        await http.Json(Answers.Users("x", "y")[..^12]);
                        break;
                    default:
                        await Provider(250, 90, counts: true)(http, seen, n);
                        break;
                }
            }
        );

        // Never more than five in a row, which is what a walk bears.
        await Gen.Select(Gen.Int[1, 4].List[0, 5], Gen.Int[1, 4].List[0, 5], Gen.Int[1, 4].List[0, 5])
            .SampleAsync(
                async (first, second, third) =>
                {
                    faults = new([.. first, 0, .. second, 0, .. third, 0]);
                    using var source = server.Source(time);
                    var pulled = await source.Users().PullAsync();
                    Assert.Equal(Enumerable.Range(0, 250).Select(Id), pulled.Records.Select(r => r.SourcedId));
                    Assert.Equal((250, 1), (pulled.Result.Rows, pulled.Attempts));
                },
                iter: 40,
                threads: 1
            );
    }

    [Fact]
    public async Task The_result_is_there_only_at_the_end_and_a_walk_runs_once()
    {
        await using var server = await ScriptedServer.StartAsync(Provider(1, 5));
        using var source = server.Source(time);
        var walk = source.Users();
        Assert.Throws<InvalidOperationException>(() => walk.Result);
        await walk.PullAsync();
        await Assert.ThrowsAsync<InvalidOperationException>(() => walk.PullAsync());
    }

    [Fact]
    public async Task A_server_that_refuses_sort_is_read_unsorted()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, n) => seen.Query("sort") is null ? Provider(5, 3)(http, seen, n) : http.Text(400, "{}")
        );
        using var source = server.Source(time);
        var pulled = await source.Users().PullAsync();
        Assert.Equal(5, pulled.Records.Count);
        Assert.Equal(1, pulled.Result.Leniencies["unsorted"]);
        Assert.Equal(4, server.Requests.Count);
    }

    [Fact]
    public async Task A_request_refused_either_way_is_refused()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, _, _) => http.Text(400, """{"imsx_description":"no \u0007 way"}""")
        );
        using var source = server.Source(time);
        var e = await source.Users().FaultAsync(RosterFault.Refused);
        Assert.Equal(400, e.StatusCode);
        Assert.Contains("no", e.Message, StringComparison.Ordinal);
        Assert.Equal(4, server.Requests.Count);
    }

    [Theory]
    [InlineData(403)]
    [InlineData(404)]
    [InlineData(200)]
    public async Task What_a_district_may_withhold_is_not_shared(int status)
    {
        await using var server = await ScriptedServer.StartAsync((http, _, _) => http.Text(status, """{"x":[]}"""));
        using var source = server.Source(time);
        Assert.True((await source.Demographics().PullAsync()).Result.NotShared);
        Assert.True((await source.Classes().PullAsync()).Result.NotShared);
        Assert.True((await source.Enrollments().PullAsync()).Result.NotShared);
        Assert.True((await source.AcademicSessions().PullAsync()).Result.NotShared);
    }

    [Theory]
    [InlineData(403, RosterFault.AccessDisabled)]
    [InlineData(404, RosterFault.NotARoster)]
    [InlineData(200, RosterFault.Incomplete)]
    public async Task People_and_schools_may_not_be_missing(int status, RosterFault fault)
    {
        await using var server = await ScriptedServer.StartAsync((http, _, _) => http.Text(status, """{"x":[]}"""));
        using var source = server.Source(time);
        await source.Users().FaultAsync(fault);
        await source.Orgs().FaultAsync(fault);
    }

    [Fact]
    public async Task Nothing_changed_since_is_an_answer()
    {
        await using var server = await ScriptedServer.StartAsync((http, _, _) => http.Json("""{"users":[]}"""));
        using var source = server.Source(time);
        var pulled = await source.Users(new DateTimeOffset(2026, 1, 15, 2, 0, 0, TimeSpan.FromHours(2))).PullAsync();
        Assert.Equal((0, false), (pulled.Result.Rows, pulled.Result.NotShared));
        Assert.Equal("dateLastModified>'2026-01-15T00:00:00.000Z'", server.Requests[0].Query("filter"));
        Assert.EndsWith("filter=dateLastModified%3E%272026-01-15T00%3A00%3A00.000Z%27", server.Requests[0].Target);
    }

    public static TheoryData<string> Contradictions => new("total", "count", "revision", "short", "more");

    /// <summary>Two pages of two users; the second one contradicts while <paramref name="bad"/> says so.</summary>
    private static Task Contradict(HttpContext http, Seen seen, string kind, bool bad)
    {
        var second = seen.Offset > 0;
        string[] ids = second ? ["c", "d"] : ["a", "b"];
        bad &= second;
        return http.Json(
            Answers.Users(
                bad && kind == "short" ? []
                : bad && kind == "more" ? ["c", "d", "e"]
                : ids
            ),
            ("x-total-count", bad && kind == "total" ? "5" : "4"),
            (
                "x-count",
                bad && kind is "count" ? "3"
                : bad && kind is "short" ? "0"
                : bad && kind is "more" ? "3"
                : "2"
            ),
            ("x-perm-rev", bad && kind == "revision" ? "r2" : "r1")
        );
    }

    [Theory]
    [MemberData(nameof(Contradictions))]
    public async Task A_contradiction_reads_the_collection_again(string kind)
    {
        await using var server = await ScriptedServer.StartAsync((http, seen, n) => Contradict(http, seen, kind, bad: n <= 4));
        using var source = server.Source(time);
        var pulled = await source.Users().PullAsync();
        Assert.Equal(["a", "b", "c", "d"], pulled.Records.Select(u => u.SourcedId));
        Assert.Equal((3, "r1", 7), (pulled.Attempts, pulled.Result.Revision, server.Requests.Count));
    }

    [Theory]
    [MemberData(nameof(Contradictions))]
    public async Task A_contradiction_that_stays_fails_the_walk(string kind)
    {
        await using var server = await ScriptedServer.StartAsync((http, seen, _) => Contradict(http, seen, kind, bad: true));
        using var source = server.Source(time);
        await source.Users().FaultAsync(RosterFault.Incomplete);
        Assert.Equal(6, server.Requests.Count);
    }

    [Fact]
    public async Task A_total_smaller_than_the_rows_is_incomplete()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, _, _) => http.Json(Answers.Users("a", "b"), ("x-total-count", "1"))
        );
        using var source = server.Source(time);
        await source.Users().FaultAsync(RosterFault.Incomplete);
    }

    [Fact]
    public async Task A_total_that_is_no_number_is_no_total()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) => http.Json(Answers.Users(seen.Offset == 0 ? ["a", "b"] : []), ("x-total-count", "undefined"))
        );
        using var source = server.Source(time);
        var pulled = await source.Users().PullAsync();
        Assert.Equal(2, pulled.Records.Count);
        Assert.Equal(1, pulled.Result.Leniencies["unreadable-count"]);
    }

    [Theory]
    [InlineData(2)]
    [InlineData(1)]
    public async Task A_server_that_ignores_offset_is_noticed(int users)
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, _, _) => http.Json(Answers.Users(Enumerable.Range(0, users).Select(Id)))
        );
        using var source = server.Source(time);
        var e = await source.Users().FaultAsync(RosterFault.Incomplete);
        Assert.Contains("offset", e.Message, StringComparison.Ordinal);
        Assert.InRange(server.Requests.Count, 2, 10);
    }

    /// <summary>Rows without a key tell nothing of whether they are new, and no roster is made of them alone.</summary>
    [Theory]
    [InlineData("""{"givenName":"A"},{"givenName":"B"}""")]
    [InlineData("null,null")]
    public async Task A_server_that_sends_rows_without_keys_for_ever_is_noticed(string rows)
    {
        await using var server = await ScriptedServer.StartAsync((http, _, n) => http.Json($$"""{"users":[{{(n < 300 ? rows : "")}}]}"""));
        using var source = server.Source(time);
        var e = await source.Users().FaultAsync(RosterFault.Incomplete);
        Assert.Contains("without a sourcedId", e.Message, StringComparison.Ordinal);
        Assert.InRange(server.Requests.Count, 2, 200);
    }

    [Fact]
    public async Task A_server_that_shuffles_and_ignores_offset_is_noticed()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, _, n) => http.Json(Answers.Users(n % 2 == 0 ? ["a", "b", "c"] : ["c", "a", "b"]))
        );
        using var source = server.Source(time);
        await source.Users().FaultAsync(RosterFault.Incomplete);
        Assert.InRange(server.Requests.Count, 2, 10);
    }

    [Fact]
    public async Task Rows_that_shift_once_are_read_again()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, n) =>
                http.Json(
                    Answers.Users(
                        seen.Offset switch
                        {
                            0 => ["a", "b"],
                            2 => n == 2 ? ["b", "c"] : ["c", "d"],
                            _ => [],
                        }
                    )
                )
        );
        using var source = server.Source(time);
        var pulled = await source.Users().PullAsync();
        Assert.Equal(["a", "b", "c", "d"], pulled.Records.Select(u => u.SourcedId));
        Assert.Equal((2, false, 0), (pulled.Attempts, pulled.Result.RowsShifted, pulled.Result.Duplicates));
    }

    [Fact]
    public async Task Rows_that_go_on_shifting_are_marked_and_the_newest_counts()
    {
        static string User(string id, int day, string name) =>
            $$"""{"sourcedId":"{{id}}","givenName":"{{name}}","dateLastModified":"2026-01-{{day:D2}}T00:00:00.000Z"}""";

        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) =>
                http.Json(
                    seen.Offset switch
                    {
                        0 => $$"""{"users":[{{User("a", 5, "a5")}},{{User("b", 5, "b5")}}]}""",
                        2 => $$"""{"users":[{{User("a", 9, "a9")}},{{User("b", 1, "b1")}},{{User("c", 2, "c2")}}]}""",
                        5 => $$"""{"users":[{{User("a", 7, "a7")}},{{User("d", 2, "d2")}}]}""",
                        _ => """{"users":[]}""",
                    },
                    ("x-total-count", "7")
                )
        );
        using var source = server.Source(time);
        var pulled = await source.Users().PullAsync();
        Assert.Equal(["a9", "b5", "c2", "d2"], pulled.Records.Select(u => u.GivenName));
        Assert.Equal((3, true, 3, 7), (pulled.Attempts, pulled.Result.RowsShifted, pulled.Result.Duplicates, pulled.Result.Rows));
    }

    [Fact]
    public async Task Twice_on_one_page_is_no_shift_and_the_later_date_counts()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) =>
                http.Json(
                    seen.Offset > 0
                        ? """{"users":[]}"""
                        : """{"users":[{"sourcedId":"a","givenName":"old","dateLastModified":"2026-01-01T00:00:00Z"},{"sourcedId":"A"},{"givenName":"none"},{"givenName":"none either"},7,{"sourcedId":"a","givenName":"new","dateLastModified":"2026-01-02T00:00:00Z"},{"sourcedId":"a","givenName":"older","dateLastModified":"2025-01-02T00:00:00Z"}]}"""
                )
        );
        using var source = server.Source(time);
        var pulled = await source.Users().PullAsync();
        Assert.Equal(["a new", "A ", " none", " none either"], pulled.Records.Select(u => u.SourcedId + " " + u.GivenName));
        Assert.Equal(
            (7, 2, 1, false, 1),
            (pulled.Result.Rows, pulled.Result.Duplicates, pulled.Result.UnreadableRows, pulled.Result.RowsShifted, pulled.Attempts)
        );
    }

    [Fact]
    public async Task Every_collection_has_its_own_address_and_shape()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) =>
                http.Json(
                    seen.Offset > 0
                        ? """{"x":[]}"""
                        : seen.Path.Split('/')[^1] switch
                        {
                            "orgs" =>
                                """{"orgs":[{"sourcedId":"7","name":"North High","type":"school","identifier":"","parent":{"sourcedId":"1"},"children":[]}]}""",
                            "academicSessions" =>
                                """{"academicSessions":[{"sourcedId":"FY","title":"Full Year","type":"term","startDate":"2025-08-15","endDate":"2026-06-05","schoolYear":"2026"}]}""",
                            "classes" =>
                                """{"classes":[{"sourcedId":"33","title":"Sci5","classCode":"","classType":"homeroom","location":"201","school":{"sourcedId":"7"},"terms":[{"sourcedId":"FY"}]}]}""",
                            "enrollments" =>
                                """{"enrollments":[{"sourcedId":"e1","role":"teacher","primary":"true","user":{"sourcedId":"5"},"class":{"sourcedId":"33"},"school":{"sourcedId":"7"},"beginDate":"2025-08-15","endDate":""}]}""",
                            "demographics" =>
                                """{"demographics":[{"sourcedId":"5","birthDate":"2009-04-02","sex":"female","asian":"false"}]}""",
                            _ => """{"users":[]}""",
                        }
                )
        );
        using var source = server.Source(time, o => o with { ServicePath = "/ims/oneroster/rostering/v1p2/" });
        var day = new DateOnly(2025, 8, 15);
        Assert.Equal(
            new Org
            {
                SourcedId = "7",
                Name = "North High",
                Type = "school",
                Identifier = "",
                Parent = "1",
            },
            (await source.Orgs().PullAsync()).Records.Single()
        );
        Assert.Equal(
            new AcademicSession
            {
                SourcedId = "FY",
                Title = "Full Year",
                Type = "term",
                Start = day,
                End = new DateOnly(2026, 6, 5),
            },
            (await source.AcademicSessions().PullAsync()).Records.Single()
        );
        var terms = (await source.Classes().PullAsync()).Records.Single();
        Assert.Equal(["FY"], terms.Terms);
        Assert.Equal(
            new Class
            {
                SourcedId = "33",
                Title = "Sci5",
                ClassCode = "",
                ClassType = "homeroom",
                Location = "201",
                School = "7",
                Terms = terms.Terms,
            },
            terms
        );
        Assert.Equal(
            new Enrollment
            {
                SourcedId = "e1",
                Role = "teacher",
                Primary = true,
                User = "5",
                Class = "33",
                Begin = day,
            },
            (await source.Enrollments().PullAsync()).Records.Single()
        );
        Assert.Equal(
            new Demographics
            {
                SourcedId = "5",
                BirthDate = new DateOnly(2009, 4, 2),
                Sex = "female",
            },
            (await source.Demographics().PullAsync()).Records.Single()
        );
        Assert.All(server.Requests, r => Assert.StartsWith("/ims/oneroster/rostering/v1p2/", r.Path));
    }

    [Theory]
    [InlineData("b", "a", true)]
    [InlineData("a", "b", false)]
    public async Task Keys_out_of_order_are_read_again_and_remembered(string first, string second, bool again)
    {
        // Each page rises, but not the second after the first: whether a key came twice can only be remembered then.
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) =>
                http.Json(
                    Answers.Users(
                        seen.Offset switch
                        {
                            0 => Enumerable.Range(0, 40).Select(i => first + Id(i)),
                            39 => Enumerable.Range(0, 40).Select(i => second + Id(i)).Prepend(first + Id(39)),
                            79 => [second + Id(39)],
                            _ => [],
                        }
                    )
                )
        );
        using var source = server.Source(time);
        var pulled = await source.Users().PullAsync();
        Assert.Equal(80, pulled.Records.Select(u => u.SourcedId).Distinct().Count());
        Assert.Equal((80, 80, 0, false), (pulled.Records.Count, pulled.Result.Rows, pulled.Result.Duplicates, pulled.Result.RowsShifted));
        Assert.Equal(again ? [0, 39, 0, 39, 79, 80] : [0, 39, 79, 80], server.Requests.Select(r => r.Offset));
    }

    /// <summary>A page begins with the last row of the one before: where another one stands there, a row has gone, and one that was never read
    /// would be taken for a leaver.</summary>
    [Theory]
    [InlineData(false, true)]
    [InlineData(false, false)]
    [InlineData(true, true)]
    [InlineData(true, false)]
    public async Task A_row_that_goes_during_the_walk_hides_no_other(bool counts, bool once)
    {
        var all = Enumerable.Range(0, 60).Select(Id).ToList();
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, n) =>
            {
                // Another one comes, so that the total says nothing.
                var rows = (once ? n > 1 : seen.Offset > 0) ? [.. all.Skip(1), "x"] : all;
                var page = Answers.Users(rows.Skip(seen.Offset).Take(20));
                return counts ? http.Json(page, ("x-total-count", "60")) : http.Json(page);
            }
        );
        using var source = server.Source(time);
        var pulled = await source.Users().PullAsync();
        Assert.Equal((once ? 2 : 3, !once), (pulled.Attempts, pulled.Result.RowsShifted));
        Assert.Empty(all.Skip(1).Except(pulled.Records.Select(u => u.SourcedId!)));
    }

    [Fact]
    public async Task Where_even_the_last_row_is_gone_rows_shifted()
    {
        await using var server = await ScriptedServer.StartAsync((http, seen, n) => Provider(n == 1 ? 20 : 19, clamp: 20)(http, seen, n));
        using var source = server.Source(time);
        var pulled = await source.Users().PullAsync();
        Assert.Equal((2, false, 19), (pulled.Attempts, pulled.Result.RowsShifted, pulled.Records.Count));
    }

    /// <summary>Of demographics no more is asked for than is read; a server that understands that in its own way sends all of it.</summary>
    [Theory]
    [InlineData("heeds", 2)]
    [InlineData("ignores", 2)]
    [InlineData("refuses", 3)]
    [InlineData("fails", 3)]
    [InlineData("leaves out the key", 3)]
    [InlineData("leaves out the rest", 3)]
    public async Task Of_demographics_no_more_is_asked_for_than_is_read(string does, int requests)
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) =>
            {
                var selects = seen.Query("fields") is not null;
                var (id, rest) = ("\"sourcedId\":\"5\"", "\"birthDate\":\"2012-03-04\",\"sex\":\"female\"");
                return seen.Offset > 0 ? http.Json("""{"demographics":[]}""")
                    : selects && does == "refuses" ? http.Text(400, "{}")
                    : selects && does == "fails" ? http.Text(501, "")
                    : http.Json(
                        $$"""{"demographics":[{{{(
                            selects && does == "leaves out the key" ? rest
                            : selects && does == "leaves out the rest" ? id
                            : $"{id},{rest}"
                        )}}}]}"""
                    );
            }
        );
        using var source = server.Source(time);
        var read = Assert.Single((await source.Demographics().PullAsync()).Records);
        Assert.Equal(("5", new DateOnly(2012, 3, 4), "female"), (read.SourcedId, read.BirthDate, read.Sex));
        Assert.Equal(requests, server.Requests.Count);
        Assert.Equal("sourcedId,status,dateLastModified,birthDate,sex", server.Requests[0].Query("fields"));
        Assert.Equal(requests == 2, server.Requests[^1].Query("fields") is not null);
    }

    [Theory]
    [InlineData("true", true)]
    [InlineData("name,email", true)]
    [InlineData("", false)]
    [InlineData("false", false)]
    [InlineData("undefined", false)]
    public async Task Masked_values_are_said_to_be_masked(string header, bool masked)
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) => http.Json(Answers.Users(seen.Offset == 0 ? ["a"] : []), ("x-obfuscated", header))
        );
        using var source = server.Source(time);
        Assert.Equal(masked, (await source.Users().PullAsync()).Result.Masked);
    }

    /// <summary>The row that two pages share is one row, and what it needed forgiven is counted once.</summary>
    [Fact]
    public async Task The_row_that_two_pages_share_counts_once()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) =>
                http.Json(
                    $$"""{"users":[{{string.Join(',', Enumerable.Range(0, 45).Skip(seen.Offset).Take(20).Select(i => $$"""{"sourcedId":"{{Id(i)}}","enabledUser":true}"""))}}]}"""
                )
        );
        using var source = server.Source(time);
        var pulled = await source.Users().PullAsync();
        Assert.Equal((45, 45, 45L), (pulled.Records.Count, pulled.Result.Rows, pulled.Result.Leniencies["boolean-form"]));
    }

    /// <summary>Where an offset counts in whole pages only, nothing ties one page to the next, and all is read as it comes.</summary>
    [Theory]
    [InlineData("down", 400)]
    [InlineData("up", 400)]
    [InlineData("up", 350)]
    [InlineData("up", 100)]
    [InlineData("up", 50)]
    [InlineData("nothing", 400)]
    [InlineData("nothing", 350)]
    [InlineData("nothing", 50)]
    [InlineData("refuses", 400)]
    [InlineData("refuses", 350)]
    public async Task A_server_that_knows_whole_pages_alone_is_read(string rounds, int users)
    {
        var counts = false;
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) =>
            {
                if (rounds == "refuses" && seen.Offset % seen.Limit != 0)
                {
                    http.Response.StatusCode = 400;
                    return Task.CompletedTask;
                }

                var from =
                    rounds == "down" ? seen.Offset / seen.Limit * seen.Limit
                    : rounds == "up" ? (seen.Offset + seen.Limit - 1) / seen.Limit * seen.Limit
                    : seen.Offset % seen.Limit == 0 ? seen.Offset
                    : users;
                var page = Answers.Users(Enumerable.Range(0, users).Skip(from).Take(seen.Limit).Select(Id));
                return counts ? http.Json(page, ("x-total-count", $"{users}")) : http.Json(page);
            }
        );
        // One that refuses what lies between pages, and does not say how many there are, cannot be asked whether there is more behind the last row.
        foreach (var stated in (bool[])(rounds == "refuses" ? [true] : [false, true]))
        {
            counts = stated;
            using var source = server.Source(time, o => o with { PageSize = 100 });
            var pulled = await source.Users().PullAsync();
            Assert.Equal(Enumerable.Range(0, users).Select(Id), pulled.Records.Select(u => u.SourcedId));
            Assert.Equal((1, false, 0), (pulled.Attempts, pulled.Result.RowsShifted, pulled.Result.Duplicates));
        }
    }

    /// <summary>So many go that what follows moves to where it is not looked for, and nothing is left behind.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(6)]
    [InlineData(12)]
    public async Task Whoever_moves_to_what_was_read_already_is_read_again(int gone)
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, n) =>
                http.Json(Answers.Users(Enumerable.Range(0, 25).Skip(n > 1 ? gone : 0).Skip(seen.Offset).Take(20).Select(Id)))
        );
        using var source = server.Source(time);
        var pulled = await source.Users().PullAsync();
        Assert.Equal(Enumerable.Range(gone, 25 - gone).Select(Id), pulled.Records.Select(u => u.SourcedId));
        Assert.Equal((2, false), (pulled.Attempts, pulled.Result.RowsShifted));
    }

    [Fact]
    public void Keys_rise_in_one_of_three_orders()
    {
        static bool Rises(params string?[] ids)
        {
            var order = new KeyOrder();
            var rises = true;
            foreach (var page in ids.Chunk(2))
            {
                rises = rises && order.Rises(page.Select(id => new User { SourcedId = id }).ToList(), out var keyed);
                order.Settle();
            }

            return rises;
        }

        Assert.True(Rises("A", "B", "a", "b"));
        Assert.True(Rises("9", "10", "99", "100"));
        Assert.True(Rises("a", null, null, "b"));
        Assert.False(Rises("a", "a"));
        Assert.False(Rises("a", "b", "b", "c"));
        Assert.False(Rises("a", "b", "a", "c"));
        Assert.True(Rises("a", "B", "c", "D"));
    }

    [Fact]
    public void Keys_are_remembered_with_their_pages()
    {
        var seen = new SeenIds(withTimes: false);
        const int Keys = 200_000;
        for (var i = 0; i < Keys; i++)
        {
            Assert.True(seen.Add("user-" + i, i / 1000, null, out _, out _));
        }

        for (var i = 0; i < Keys; i++)
        {
            Assert.False(seen.Add("user-" + i, 999, null, out var page, out _));
            Assert.Equal(i / 1000, page);
        }
    }

    /// <summary>Rows without a key tell nothing of whether pages are new.</summary>
    [Fact]
    public async Task Pages_of_rows_without_a_sourcedId_are_read_on()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) =>
                http.Json(
                    $$"""{"users":[{{string.Join(
                        ',',
                        Enumerable.Range(0, 12).Skip(seen.Offset).Take(2).Select(i => i is >= 2 and < 10 ? $$"""{"givenName":"N{{i}}"}""" : $$"""{"sourcedId":"{{Id(i)}}"}""")
                    )}}]}"""
                )
        );
        using var source = server.Source(time);
        var pulled = await source.Users().PullAsync();
        Assert.Equal((12, 8), (pulled.Result.Rows, pulled.Records.Count(u => u.SourcedId is null)));
    }

    [Fact]
    public async Task An_answer_without_content_is_an_empty_list_where_a_list_may_be_empty()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) =>
            {
                if (seen.Path.EndsWith("/users", StringComparison.Ordinal) && seen is { Offset: 0 } && seen.Query("filter") is null)
                {
                    return http.Json(Answers.Users("a"));
                }

                http.Response.StatusCode = 204;
                return Task.CompletedTask;
            }
        );
        using var source = server.Source(time);
        Assert.True((await source.Classes().PullAsync()).Result.NotShared);
        Assert.Equal(0, (await source.Demographics(DateTimeOffset.UnixEpoch).PullAsync()).Result.Rows);
        Assert.Equal(0, (await source.Users(DateTimeOffset.UnixEpoch).PullAsync()).Result.Rows);

        // Past the end, too; but nobody has no schools.
        Assert.Single((await source.Users().PullAsync()).Records);
        Assert.Equal(204, (await source.Orgs().FaultAsync(RosterFault.NotARoster)).StatusCode);
    }
}
