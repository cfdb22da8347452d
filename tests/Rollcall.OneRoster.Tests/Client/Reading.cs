using Rollcall.OneRoster.Auth;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.Tests.Client;

/// <summary>What a consumer that follows the contract ends up with.</summary>
public sealed record Pulled<T>(IReadOnlyList<T> Records, WalkResult Result, int Attempts);

public static class Reading
{
    public static RosterClientOptions Options(TestTime time) =>
        new()
        {
            AllowPrivateAddresses = true,
            Time = time,
            Timeout = TestTime.TimeOut,
            Jitter = TimeSpan.Zero,
        };

    public static RestRosterSource Source(
        this ScriptedServer server,
        TestTime time,
        Func<RosterClientOptions, RosterClientOptions>? change = null
    ) => new(new RosterEndpoint(server.Url, new BearerCredentials("token-1234")), (change ?? (o => o))(Options(time)));

    /// <summary>Keeps the records as the contract says: a new attempt drops all, a later record replaces an earlier one.</summary>
    public static async Task<Pulled<T>> PullAsync<T>(this ICollectionWalk<T> walk)
        where T : RosterRecord
    {
        var attempt = 1;
        List<T> kept = [];
        await foreach (var page in walk.ReadAsync())
        {
            if (page.Attempt != attempt)
            {
                kept.Clear();
                attempt = page.Attempt;
            }

            foreach (var record in page.Records)
            {
                var at = record.SourcedId is null ? -1 : kept.FindIndex(r => r.SourcedId == record.SourcedId);
                if (at >= 0)
                {
                    kept[at] = record;
                }
                else
                {
                    kept.Add(record);
                }
            }
        }

        return new Pulled<T>(kept, walk.Result, attempt);
    }

    public static async Task<RosterException> FaultAsync<T>(this ICollectionWalk<T> walk, RosterFault fault)
        where T : RosterRecord => await FaultAsync(() => walk.PullAsync(), fault);

    public static async Task<RosterException> FaultAsync(Func<Task> act, RosterFault fault)
    {
        var e = await Assert.ThrowsAsync<RosterException>(act);
        Assert.True(fault == e.Fault, $"{e.Fault}: {e.Message}");
        Assert.DoesNotContain('\n', e.Message);
        Assert.DoesNotContain("token-1234", e.Message, StringComparison.Ordinal);
        return e;
    }

    internal static async Task<(ParsedPage<T> Page, IReadOnlyDictionary<string, long> Leniencies)> PageAsync<T>(
        string key,
        RecordParser<T> parse,
        Stream body
    )
    {
        var context = new ReadContext();
        var page = await new PageReader<T>(key, parse, context).ReadAsync(body, TestContext.Current.CancellationToken);
        return (page, context.Counts.ToDictionary());
    }
}
