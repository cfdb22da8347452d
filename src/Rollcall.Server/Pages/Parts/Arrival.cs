using Microsoft.AspNetCore.Http.Features;

namespace Rollcall.Server.Pages.Parts;

/// <summary>
/// How long the body of a request may take to arrive. The server itself asks for a certain speed on the average; whoever sends most of a body at
/// once, and then waits, is within that for a long time.
/// </summary>
internal sealed class Arrival(RequestDelegate next, TimeProvider time)
{
    /// <summary>From the first look at a body to its end. The largest, 32 MB, come with half a megabit a second.</summary>
    public static readonly TimeSpan Longest = TimeSpan.FromMinutes(10);

    /// <summary>Bytes a second, on the average, after <see cref="Grace"/>.</summary>
    public const double LeastSpeed = 1024;

    public static readonly TimeSpan Grace = TimeSpan.FromSeconds(10);

    private static readonly object s_late = new();

    /// <summary>The body of this request was given up. Whoever looked for a form in it may have called it something else.</summary>
    public static bool IsLate(HttpContext http) => http.Items.ContainsKey(s_late);

    public Task InvokeAsync(HttpContext http)
    {
        if (http.Features.Get<IHttpRequestBodyDetectionFeature>()?.CanHaveBody == true)
        {
            var body = new TimedBody(http.Request.Body, time, () => http.Items[s_late] = true);
            http.Response.RegisterForDispose(body);
            http.Request.Body = body;
        }

        return next(http);
    }

    /// <summary>A body that is given up when it is not there in time.</summary>
    internal sealed class TimedBody(Stream body, TimeProvider time, Action? givenUp = null) : BodyStream
    {
        private CancellationTokenSource? _late;

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            _late ??= new CancellationTokenSource(Longest, time);
            using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _late.Token);
            try
            {
                return await body.ReadAsync(buffer, either.Token);
            }
            catch (OperationCanceledException e) when (_late.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
            {
                givenUp?.Invoke();
                throw new BadHttpRequestException("The body took too long to arrive.", StatusCodes.Status408RequestTimeout, e);
            }
        }

        protected override void Dispose(bool disposing)
        {
            _late?.Dispose();
            _late = null;
            base.Dispose(disposing);
        }
    }
}
