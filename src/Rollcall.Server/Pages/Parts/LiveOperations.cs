using System.Globalization;
using System.Text;
using Rollcall.Districts;
using Rollcall.Operations;
using Rollcall.SignIn;

namespace Rollcall.Server.Pages.Parts;

/// <summary>An operation that waits or runs, as live pages show it.</summary>
internal sealed record LiveOperation(
    int DistrictId,
    long Id,
    OperationStatus Status,
    OperationStage Stage,
    string? StageText,
    long Done,
    long Total,
    double? Rate,
    DateTimeOffset? StartedAt,
    bool CancelRequested,
    DateTimeOffset? NotBefore,
    string? Error
)
{
    public static LiveOperation Of(Operation o) =>
        new(
            o.DistrictId,
            o.Id,
            o.Status,
            o.Stage,
            o.StageText,
            o.Done,
            o.Total,
            o.Rate,
            o.StartedAt,
            o.CancelRequested,
            o.NotBefore,
            o.Error
        );
}

/// <summary>Looks at the queue for all live pages of this process at once, and only while somebody has one open.</summary>
internal sealed class LiveOperations(Reading reading, TimeProvider time, IHostApplicationLifetime lifetime, ILogger<LiveOperations> logger)
{
    private static readonly TimeSpan s_every = TimeSpan.FromMilliseconds(500);
    private readonly Lock _gate = new();
    private TaskCompletionSource<Look> _next = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool _polling;

    /// <summary>How many live pages each district has.</summary>
    private readonly Dictionary<int, int> _watchers = [];

    /// <summary>What was seen, and in which districts was looked.</summary>
    private sealed record Look(IReadOnlySet<int> Districts, ILookup<int, LiveOperation> Operations);

    /// <summary>Counts a live page of a district in until it is disposed.</summary>
    public IDisposable Watch(int districtId)
    {
        lock (_gate)
        {
            _watchers[districtId] = _watchers.GetValueOrDefault(districtId) + 1;
            if (!_polling)
            {
                _polling = true;

                // It looks for all who watch, not for the one who came first.
                using (ExecutionContext.SuppressFlow())
                {
                    _ = Task.Run(PollAsync);
                }
            }
        }

        return new Watcher(this, districtId);
    }

    /// <summary>The queue of a district at the next look that is at it: one that had begun before somebody watched there is not.</summary>
    public async Task<IEnumerable<LiveOperation>> NextAsync(int districtId, CancellationToken cancellationToken)
    {
        while (true)
        {
            Task<Look> next;
            lock (_gate)
            {
                next = _next.Task;
            }

            var look = await next.WaitAsync(cancellationToken);
            if (look.Districts.Contains(districtId))
            {
                return look.Operations[districtId];
            }
        }
    }

    private async Task PollAsync()
    {
        while (true)
        {
            HashSet<int> districts;
            lock (_gate)
            {
                districts = [.. _watchers.Keys];
                if (districts.Count == 0 || lifetime.ApplicationStopping.IsCancellationRequested)
                {
                    _polling = false;
                    return;
                }
            }

            try
            {
                var live = await reading.LiveAsync(districts, lifetime.ApplicationStopping);
                TaskCompletionSource<Look> seen;
                lock (_gate)
                {
                    seen = _next;
                    _next = new(TaskCreationOptions.RunContinuationsAsynchronously);
                }

                seen.SetResult(new Look(districts, live.ToLookup(o => o.DistrictId)));
                await Task.Delay(s_every, time, lifetime.ApplicationStopping);
            }
            catch (OperationCanceledException)
            {
                // The server ends; the check above leaves.
            }
            catch (Exception e)
            {
                // The database may be away for a moment. Pages stay open and get the next look that works.
                logger.LogWarning(e, "Live progress could not be read");
                await Task.Delay(TimeSpan.FromSeconds(5), time, CancellationToken.None);
            }
        }
    }

    private sealed class Watcher(LiveOperations owner, int districtId) : IDisposable
    {
        private bool _gone;

        public void Dispose()
        {
            lock (owner._gate)
            {
                if (!_gone && --owner._watchers[districtId] == 0)
                {
                    owner._watchers.Remove(districtId);
                }

                _gone = true;
            }
        }
    }
}

/// <summary>The stream of one live page: an event per operation whose progress moved, and <c>settled</c> when the page itself is out of date.</summary>
internal static class LiveEvents
{
    public const string Path = "/operations/events";

    private static readonly TimeSpan s_lookEvery = TimeSpan.FromMinutes(1);

    /// <summary>The stream of a page. Its address tells the page's district, which it stays with, and what the page knows of: whatever waits or runs in the district, whether it shows
    /// that or not, or it would be told of it again and again.</summary>
    /// <param name="district">The page's.</param>
    /// <param name="known">The queue as of before the page was read.</param>
    /// <param name="only">The one operation that the page is about; null for all.</param>
    public static string Address(District district, IEnumerable<OpenOperation> known, long? only = null)
    {
        var open = string.Join(
            ',',
            known
                .Where(o => o.IsLive && (only is null || o.Id == only))
                .Select(o => $"{o.Id.ToString(CultureInfo.InvariantCulture)}-{State(o.Status, o.CancelRequested)}")
        );
        return $"{Path}?district={Uri.EscapeDataString(district.Code)}&open={open}{(only is { } id ? $"&only={id.ToString(CultureInfo.InvariantCulture)}" : "")}";
    }

    public static async Task StreamAsync(
        HttpContext http,
        Here here,
        LiveOperations operations,
        Sessions sessions,
        IHostApplicationLifetime lifetime,
        TimeProvider time
    )
    {
        if (!await here.LoadAsync(http))
        {
            http.Response.StatusCode = StatusCodes.Status404NotFound;
            return;
        }

        long? only = long.TryParse(http.Request.Query["only"], NumberStyles.None, CultureInfo.InvariantCulture, out var id) ? id : null;
        var states = ParseOpen(http.Request.Query["open"].ToString());
        var sent = new Dictionary<long, LiveOperation>();
        http.Response.ContentType = "text/event-stream";
        http.Response.Headers.CacheControl = "no-store";

        // A proxy that gathers an answer first would show no progress.
        http.Response.Headers["X-Accel-Buffering"] = "no";
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted, lifetime.ApplicationStopping);
        using var watch = operations.Watch(here.District.Id);
        var spoken = time.GetTimestamp();
        var looked = time.GetUtcNow();
        try
        {
            // That it may look on is said at once: there may be nothing else to say for long, and something in front may wait no longer.
            await http.Response.StartAsync(stop.Token);
            await http.Response.Body.FlushAsync(stop.Token);
            while (true)
            {
                // One look at the queue, at most two a second: that bounds what a page is sent.
                var next = await operations.NextAsync(here.District.Id, stop.Token);
                if (time.GetUtcNow() - looked >= s_lookEvery)
                {
                    looked = time.GetUtcNow();
                    if (!await MayStayAsync(http, here, sessions, stop.Token))
                    {
                        return;
                    }
                }

                var live = next.Where(o => only is null || o.Id == only).ToList();
                var text = new StringBuilder();
                foreach (var operation in live)
                {
                    if (!sent.TryGetValue(operation.Id, out var before) || before != operation)
                    {
                        sent[operation.Id] = operation;
                        Append(text, $"operation-{operation.Id}", Progress.Html(operation, here));
                    }
                }

                var now = live.ToDictionary(o => o.Id, State);
                if (now.Count != states.Count || now.Any(o => !states.TryGetValue(o.Key, out var state) || state != o.Value))
                {
                    states = now;
                    Append(text, "settled", "now");
                }

                if (text.Length == 0 && time.GetElapsedTime(spoken) > TimeSpan.FromSeconds(15))
                {
                    // Keeps middle boxes from closing a silent stream, and finds pages that have gone.
                    text.Append(":\n\n");
                }

                if (text.Length > 0)
                {
                    spoken = time.GetTimestamp();
                    await http.Response.WriteAsync(text.ToString(), stop.Token);
                    await http.Response.Body.FlushAsync(stop.Token);
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The page was left, or the server ends.
        }
    }

    /// <summary>Rights are read anew for every request, and this one may last for a day.</summary>
    private static async Task<bool> MayStayAsync(HttpContext http, Here here, Sessions sessions, CancellationToken cancellationToken) =>
        SessionCookie.Read(http) is { } token
        && await sessions.LookAsync(token, cancellationToken) is { LacksFactor: false } who
        && Access.Of($"{Path} Get") is { } need
        && Access.Group(need) is { } needed
        && who.Grants.Any(g => g.DistrictId == here.District.Id && g.Group >= needed);

    private static string State(LiveOperation operation) => State(operation.Status, operation.CancelRequested);

    private static string State(OperationStatus status, bool cancelRequested) => $"{(int)status}{(cancelRequested ? "c" : "")}";

    private static Dictionary<long, string> ParseOpen(string open)
    {
        var states = new Dictionary<long, string>();
        foreach (var part in open.Split(',', StringSplitOptions.RemoveEmptyEntries))
        {
            var at = part.IndexOf('-', StringComparison.Ordinal);
            if (at > 0 && long.TryParse(part.AsSpan(0, at), NumberStyles.None, CultureInfo.InvariantCulture, out var id))
            {
                states[id] = part[(at + 1)..];
            }
        }

        return states;
    }

    private static void Append(StringBuilder text, string name, string data) =>
        text.Append("event: ").Append(name).Append("\ndata: ").Append(data.ReplaceLineEndings(" ")).Append("\n\n");
}
