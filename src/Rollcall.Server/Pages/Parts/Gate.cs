using System.Net;

namespace Rollcall.Server.Pages.Parts;

/// <summary>
/// Stands before everything: nobody signs in yet, so only this machine may ask, under its own names. A foreign name in the Host header is
/// how a web page elsewhere would reach in through the visitor's browser. Every answer gets the headers that keep browsers strict.
/// </summary>
internal sealed class Gate(RequestDelegate next)
{
    private const string ContentPolicy =
        "default-src 'self'; img-src 'self' data:; style-src 'self'; script-src 'self'; object-src 'none'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'";

    public Task InvokeAsync(HttpContext http)
    {
        var headers = http.Response.Headers;
        http.Response.OnStarting(() =>
        {
            // Set late: an error page starts from cleared headers.
            headers.ContentSecurityPolicy = ContentPolicy;
            headers.XContentTypeOptions = "nosniff";
            headers.XFrameOptions = "DENY";
            headers["Referrer-Policy"] = "same-origin";
            headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=(), payment=(), usb=()";
            headers["Cross-Origin-Opener-Policy"] = "same-origin";
            headers["Cross-Origin-Resource-Policy"] = "same-origin";
            if (headers.CacheControl.Count == 0)
            {
                // Pages hold people's data: a shared computer keeps none of it.
                headers.CacheControl = "no-store";
            }

            return Task.CompletedTask;
        });
        return IsOwnName(http.Request.Host.Host) && IsThisMachine(http.Connection.RemoteIpAddress)
            ? next(http)
            : RefuseAsync(http.Response);
    }

    private static bool IsOwnName(string host) =>
        host.Equals("localhost", StringComparison.OrdinalIgnoreCase) || host is "127.0.0.1" or "[::1]" or "::1";

    private static bool IsThisMachine(IPAddress? address) => address is null || IPAddress.IsLoopback(address);

    private static Task RefuseAsync(HttpResponse response)
    {
        response.StatusCode = StatusCodes.Status400BadRequest;
        response.ContentType = "text/plain; charset=utf-8";
        return response.WriteAsync("This server answers only on its own machine, as localhost or 127.0.0.1.\n");
    }
}
