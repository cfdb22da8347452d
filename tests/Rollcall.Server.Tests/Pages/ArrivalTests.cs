using System.IO.Pipelines;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Time.Testing;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Tests.Pages;

/// <summary>A body that never ends holds nothing for ever, however fast it began.</summary>
public sealed class ArrivalTests
{
    [Fact]
    public async Task A_body_that_stops_coming_is_given_up()
    {
        var time = new FakeTimeProvider();
        var pipe = new Pipe();
        await using var body = new Arrival.TimedBody(pipe.Reader.AsStream(), time);
        await pipe.Writer.WriteAsync(new byte[1000]);
        var buffer = new byte[4000];
        Assert.Equal(1000, await body.ReadAsync(buffer));

        // Slow is not late.
        time.Advance(Arrival.Longest / 2);
        await pipe.Writer.WriteAsync(new byte[7]);
        Assert.Equal(7, await body.ReadAsync(buffer));
        var waiting = body.ReadAsync(buffer).AsTask();
        time.Advance(Arrival.Longest / 2);
        Assert.Equal(408, (await Assert.ThrowsAsync<BadHttpRequestException>(() => waiting)).StatusCode);
        Assert.Equal(408, (await Assert.ThrowsAsync<BadHttpRequestException>(() => body.ReadAsync(buffer).AsTask())).StatusCode);
    }

    [Fact]
    public async Task A_form_that_is_given_up_is_called_late_whatever_its_reader_makes_of_it()
    {
        var time = new FakeTimeProvider();
        var http = new DefaultHttpContext();
        http.Features.Set<IHttpRequestBodyDetectionFeature>(new HasBody());
        http.Request.Body = new Pipe().Reader.AsStream();
        var running = new Arrival(
            async h =>
            {
                // As whoever looks for the token of a form does.
                _ = await Assert.ThrowsAsync<BadHttpRequestException>(async () => await h.Request.Body.ReadExactlyAsync(new byte[1]));
            },
            time
        ).InvokeAsync(http);
        Assert.False(Arrival.IsLate(http));
        time.Advance(Arrival.Longest);
        await running;
        Assert.True(Arrival.IsLate(http));
    }

    private sealed class HasBody : IHttpRequestBodyDetectionFeature
    {
        public bool CanHaveBody => true;
    }

    [Fact]
    public async Task Whoever_hangs_up_is_not_late()
    {
        await using var body = new Arrival.TimedBody(new Pipe().Reader.AsStream(), new FakeTimeProvider());
        using var gone = new CancellationTokenSource();
        var waiting = body.ReadAsync(new byte[10], gone.Token).AsTask();
        await gone.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
    }
}
