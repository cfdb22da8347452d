using System.Net;

namespace Rollcall.Server.Tests.Pages;

/// <summary>
/// A body that is not there yet when the server has let its request in: it goes out once the server asks for it (<c>Expect: 100-continue</c>),
/// and after something else has happened.
/// </summary>
internal sealed class LateContent : HttpContent
{
    private readonly HttpContent _inner;
    private readonly Func<Task> _meanwhile;

    public LateContent(HttpContent inner, Func<Task> meanwhile)
    {
        (_inner, _meanwhile) = (inner, meanwhile);
        foreach (var (name, values) in inner.Headers)
        {
            Headers.TryAddWithoutValidation(name, values);
        }
    }

    /// <summary>Waits for the server to ask.</summary>
    public static SocketsHttpHandler Handler() => new() { AllowAutoRedirect = false, Expect100ContinueTimeout = TimeSpan.FromMinutes(1) };

    protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context)
    {
        await _meanwhile();
        await _inner.CopyToAsync(stream);
    }

    protected override bool TryComputeLength(out long length)
    {
        length = _inner.Headers.ContentLength ?? 0;
        return _inner.Headers.ContentLength is not null;
    }
}
