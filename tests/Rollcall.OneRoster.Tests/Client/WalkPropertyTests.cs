using System.Globalization;
using CsCheck;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.Tests.Client;

/// <summary>Whatever a server does with pages and totals: all of its records, or a failure that says why.</summary>
public class WalkPropertyTests
{
    private readonly TestTime time = new();

    private static string Id(int i) => "u" + i.ToString("D5", CultureInfo.InvariantCulture);

    private enum Totals
    {
        None,
        Right,
        OfPage,
        TooHigh,
        TooLow,
        Changing,
    }

    [Fact]
    public async Task Any_pages_and_totals_give_every_record_or_a_failure()
    {
        List<string> all = [];
        var (clamp, totals, descending) = (1, Totals.None, false);
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) =>
            {
                var rows = descending ? all.AsEnumerable().Reverse() : all;
                var page = rows.Skip(seen.Offset).Take(Math.Min(seen.Limit, clamp)).ToList();
                int? total = totals switch
                {
                    Totals.Right => all.Count,
                    Totals.OfPage => page.Count,
                    Totals.TooHigh => all.Count + 1,
                    Totals.TooLow => all.Count - 1,
                    Totals.Changing => all.Count + seen.Offset,
                    _ => null,
                };
                return total is null
                    ? http.Json(Answers.Users(page))
                    : http.Json(Answers.Users(page), ("x-total-count", total.Value.ToString(CultureInfo.InvariantCulture)));
            }
        );
        await Gen.Select(Gen.Int[1, 60], Gen.Int[10, 40], Gen.Enum<Totals>(), Gen.Bool)
            .SampleAsync(
                async (count, most, kind, backwards) =>
                {
                    (all, clamp, totals, descending) = ([.. Enumerable.Range(0, count).Select(Id)], most, kind, backwards);
                    using var source = server.Source(time);
                    var walk = source.Users();
                    try
                    {
                        var pulled = await walk.PullAsync();
                        return pulled.Records.Select(u => u.SourcedId!).Order(StringComparer.Ordinal).SequenceEqual(all)
                            && (kind is not (Totals.TooHigh or Totals.TooLow) || (kind == Totals.TooLow && count == 1));
                    }
                    catch (RosterException e)
                    {
                        return e.Fault == RosterFault.Incomplete && kind is not (Totals.None or Totals.Right);
                    }
                },
                iter: 120,
                threads: 1
            );
    }

    [Fact]
    public async Task Records_that_come_or_go_during_the_walk_never_hide_others()
    {
        List<string> all = [];
        List<string> later = [];
        var (clamp, counted, at, asked) = (1, false, 0, 0);
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) =>
            {
                var rows = ++asked > at ? later : all;
                var page = rows.Skip(seen.Offset).Take(clamp).ToList();
                return counted
                    ? http.Json(Answers.Users(page), ("x-total-count", rows.Count.ToString(CultureInfo.InvariantCulture)))
                    : http.Json(Answers.Users(page));
            }
        );
        await Gen.Select(Gen.Int[1, 40], Gen.Int[10, 15], Gen.Int[0, 5], Gen.Int[0, 39], Gen.Int[1, 3], Gen.Bool, Gen.Bool)
            .SampleAsync(
                async (count, most, when, place, many, going, totals) =>
                {
                    counted = totals;
                    all = [.. Enumerable.Range(0, count).Select(i => Id(i * 10))];
                    place = Math.Min(place, count - 1);
                    later = [.. all];
                    if (going)
                    {
                        later.RemoveRange(place, Math.Min(many, count - place));
                    }
                    else
                    {
                        later.InsertRange(place, Enumerable.Range(1, many).Select(i => Id((place * 10) - 5 + i)));
                    }

                    (clamp, at, asked) = (most, when, 0);
                    using var source = server.Source(time);
                    var walk = source.Users();
                    try
                    {
                        var pulled = await walk.PullAsync();
                        return pulled.Result.RowsShifted || all.Intersect(later).All(id => pulled.Records.Any(u => u.SourcedId == id));
                    }
                    catch (RosterException e)
                    {
                        return e.Fault == RosterFault.Incomplete;
                    }
                },
                iter: 150,
                threads: 1
            );
    }

    [Theory]
    [InlineData(500, true)]
    [InlineData(100, true)]
    [InlineData(100, false)]
    public async Task A_server_that_refuses_sort_or_a_large_limit_is_asked_as_it_likes(int most, bool sorts)
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) =>
                seen.Limit > most || (!sorts && seen.Query("sort") is not null)
                    ? http.Text(400, "")
                    : http.Json(Answers.Users(Enumerable.Range(0, 130).Skip(seen.Offset).Take(seen.Limit).Select(Id)))
        );
        using var source = server.Source(time);
        Assert.Equal(130, (await source.Users().PullAsync()).Records.Count);
    }

    [Fact]
    public async Task A_server_that_refuses_whatever_is_asked_is_quoted_with_its_first_refusal()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, _, number) => http.Text(400, $$"""{"imsx_description":"refusal {{number}}"}""")
        );
        using var source = server.Source(time);
        Assert.Contains("refusal 1", (await source.Users().FaultAsync(RosterFault.Refused)).Message, StringComparison.Ordinal);
        Assert.Equal(4, server.Requests.Count);
    }

    [Theory]
    [InlineData(400)]
    [InlineData(404)]
    public async Task Nothing_past_a_stated_total_is_the_end(int status)
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) =>
                seen.Offset == 0
                    ? http.Json(Answers.Users(Enumerable.Range(0, 20).Select(Id)), ("x-total-count", "20"))
                    : http.Text(status, "")
        );
        using var source = server.Source(time);
        Assert.Equal(20, (await source.Users().PullAsync()).Records.Count);
    }

    [Fact]
    public async Task A_small_roster_whose_server_ignores_the_offset_is_read_when_its_total_is_right()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, _, _) => http.Json(Answers.Users(Enumerable.Range(0, 20).Select(Id)), ("x-total-count", "20"))
        );
        using var source = server.Source(time);
        Assert.Equal(20, (await source.Users().PullAsync()).Records.Count);
    }
}
