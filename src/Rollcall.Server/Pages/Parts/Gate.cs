using System.Net;
using Rollcall.Storage;

namespace Rollcall.Server.Pages.Parts;

/// <summary>
/// Stands before everything. The server answers under its own names alone: a foreign name in the Host header is how a web page elsewhere
/// would reach in through the visitor's browser. Without a public address only this machine may ask. Every answer gets the headers that keep
/// browsers strict.
/// </summary>
internal sealed class Gate(RequestDelegate next, Reach reach, ILogger<Gate> logger)
{
    private int _warned;

    private const string ContentPolicy =
        "default-src 'self'; img-src 'self' data:; style-src 'self'; script-src 'self'; object-src 'none'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'";

    public Task InvokeAsync(HttpContext http)
    {
        // Before anybody asks the database: each request is confined by itself.
        http.Response.RegisterForDisposeAsync(Confinement.Begin());
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
            if (http.Request.IsHttps)
            {
                headers.StrictTransportSecurity = "max-age=31536000";
            }

            if (headers.CacheControl.Count == 0)
            {
                // Pages hold people's data: a shared computer keeps none of it.
                headers.CacheControl = "no-store";
            }

            return Task.CompletedTask;
        });
        var request = http.Request;
        if (HoldsNul(request) && !request.Path.StartsWithSegments(Api.ApiGate.Root, StringComparison.OrdinalIgnoreCase))
        {
            return RefuseAsync(http, NulWords);
        }

        if (reach.PublicUrl is not { } url)
        {
            return IsOwnName(request.Host.Host) && IsThisMachine(http.Connection.RemoteIpAddress)
                ? next(http)
                : RefuseAsync(http, "This server answers only on its own machine, as localhost or 127.0.0.1.");
        }

        if (
            string.Equals(request.Host.Host, url.Host, StringComparison.OrdinalIgnoreCase)
            && (request.Host.Port ?? (url.Scheme == Uri.UriSchemeHttps ? 443 : 80)) == url.Port
        )
        {
            // What ends TLS in front speaks plain http to this server; the address that people see is the public one.
            request.Scheme = url.Scheme;
            var forwarded = request.Headers["X-Forwarded-For"];
            if (forwarded.Count > 0)
            {
                if (!reach.IsProxy(http.Connection.RemoteIpAddress) && Interlocked.Exchange(ref _warned, 1) == 0)
                {
                    logger.LogWarning(
                        "X-Forwarded-For comes from {Address}, which is not named by --proxy-address (ROLLCALL_PROXY_ADDRESS), and is passed over: if that is a server in front, all its visitors count as one, and too many wrong passwords of one of them close sign-in for all",
                        http.Connection.RemoteIpAddress
                    );
                }

                http.Connection.RemoteIpAddress = reach.Visitor(http.Connection.RemoteIpAddress, forwarded);
            }

            return next(http);
        }

        // A balancer asks each node under an address of its own, and hears no more than whether it is ready.
        return request.Path.StartsWithSegments("/health")
            ? next(http)
            : RefuseAsync(
                http,
                $"This server answers only as {url.Authority}: that has to stand in the Host header, which a server in front has to pass on."
            );
    }

    /// <summary>What is said of an address that <see cref="HoldsNul"/>.</summary>
    public const string NulWords = "This address holds a NUL, which no text here has. Ask without.";

    /// <summary>The address holds a character that is in no text, and that PostgreSQL fails at.</summary>
    public static bool HoldsNul(HttpRequest request) =>
        request.Path.Value?.Contains('\0', StringComparison.Ordinal) == true
        || request.QueryString.Value?.Contains("%00", StringComparison.Ordinal) == true;

    private static bool IsOwnName(string host) =>
        host.Equals("localhost", StringComparison.OrdinalIgnoreCase) || host is "127.0.0.1" or "[::1]" or "::1";

    private static bool IsThisMachine(IPAddress? address) => address is null || IPAddress.IsLoopback(address);

    private static Task RefuseAsync(HttpContext http, string words)
    {
        if (http.Request.Path.StartsWithSegments(Api.ApiGate.Root, StringComparison.OrdinalIgnoreCase))
        {
            return Api.ApiGate.ProblemAsync(http, StatusCodes.Status400BadRequest, words);
        }

        var response = http.Response;
        response.StatusCode = StatusCodes.Status400BadRequest;
        response.ContentType = "text/plain; charset=utf-8";
        return response.WriteAsync($"{words}\n");
    }
}
