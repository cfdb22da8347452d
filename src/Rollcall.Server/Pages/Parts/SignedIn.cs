using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;
using Rollcall.SignIn;
using Rollcall.Storage;

namespace Rollcall.Server.Pages.Parts;

/// <summary>The cookie that a browser holds for its session: a random value, and nothing in it.</summary>
internal static class SessionCookie
{
    /// <summary>The cookie's name where people come without TLS: browsers refuse the protected name there.</summary>
    public const string PlainName = "rollcall-session";

    public static string? Read(HttpContext http) => http.Request.Cookies[Name(http)] is { Length: > 0 and < 200 } token ? token : null;

    public static void Write(HttpContext http, string token) => http.Response.Cookies.Append(Name(http), token, Options(http));

    public static void Delete(HttpContext http) => http.Response.Cookies.Delete(Name(http), Options(http));

    public static Device Device(HttpContext http) =>
        new(http.Request.Headers.UserAgent.ToString(), http.Connection.RemoteIpAddress?.ToString());

    // The prefix keeps other hosts of the same domain from planting one.
    private static string Name(HttpContext http) => http.Request.IsHttps ? "__Host-rollcall" : PlainName;

    // Without an age: it goes when the browser is closed. Lax: whoever comes back from ClassLink is still known.
    private static CookieOptions Options(HttpContext http) =>
        new()
        {
            HttpOnly = true,
            Secure = http.Request.IsHttps,
            SameSite = SameSiteMode.Lax,
            Path = "/",
            IsEssential = true,
        };
}

/// <summary>
/// Finds out who asks, and turns away whoever may not come to an address at all. What single handlers of a page need is looked at by
/// <see cref="HereFilter"/>, which knows which handler runs.
/// </summary>
internal sealed class SignedIn(RequestDelegate next, ILogger<SignedIn> logger)
{
    public async Task InvokeAsync(HttpContext http, Sessions sessions)
    {
        if (http.GetEndpoint() is not RouteEndpoint endpoint || http.Features.Get<Api.Caller>() is not null)
        {
            // The API has seen to its callers itself.
            await next(http);
            return;
        }

        var page = endpoint.Metadata.GetMetadata<PageActionDescriptor>();
        var need = page is null ? Access.Of(Access.Route(endpoint, http.Request.Method)) : null;
        if (page is null && need == Need.Anyone)
        {
            await next(http);
            return;
        }

        if (page is not null)
        {
            Confinement.KeepConnection();
        }

        Who? who = null;
        if (SessionCookie.Read(http) is { } token)
        {
            try
            {
                // What a page that stands open asks for by itself keeps nobody signed in.
                who = IsByItself(http.Request)
                    ? await sessions.LookAsync(token, http.RequestAborted)
                    : await sessions.FindAsync(token, http.RequestAborted);
            }
            catch (Exception e) when (page?.ViewEnginePath == "/Error" && e is not OperationCanceledException)
            {
                // The database may be what is wrong, and what comes of a connection that was cut is of any kind: the page that says so comes
                // without knowing who asks.
            }
        }

        if (who is not null)
        {
            http.Features.Set(who);
            if (page is not null && page.ViewEnginePath != "/Error" && HttpMethods.IsPost(http.Request.Method))
            {
                // Before a form is looked at: it has to be of this district.
                await http.RequestServices.GetRequiredService<Here>().LoadAsync(http);
            }
        }
        else if (page is null || !Access.IsOpen(page))
        {
            Challenge(http);
            return;
        }

        if (page is null)
        {
            var here = http.RequestServices.GetRequiredService<Here>();
            await here.LoadAsync(http);
            if (need is null)
            {
                logger.LogError("The route '{Route}' is not in the table of permissions: nobody gets there", endpoint.RoutePattern.RawText);
            }

            if (need is null || !here.May(need.Value))
            {
                http.Response.StatusCode = StatusCodes.Status403Forbidden;
                return;
            }

            if (http.Request.Headers["Sec-Fetch-Site"].ToString() is "cross-site" or "same-site")
            {
                // No form that could prove where it stands, and the audit would say that its visitor took a file out.
                http.Items[ErrorModel.WordsKey] = "A page of another site asked for this file. Open it from a page here.";
                http.Response.StatusCode = StatusCodes.Status403Forbidden;
                return;
            }
        }

        await next(http);
    }

    /// <summary>Nobody did anything: a live page listens, or fetches a part of itself anew. Pages fetch parts for nothing else.</summary>
    private static bool IsByItself(HttpRequest request) =>
        HttpMethods.IsGet(request.Method) && (request.Headers.ContainsKey("HX-Request") || request.Path == LiveEvents.Path);

    /// <summary>What a form is answered whose sender's session ended while it arrived.</summary>
    public static StatusCodeResult Ended(HttpContext http)
    {
        if (http.Request.Headers.ContainsKey("HX-Request"))
        {
            http.Response.Headers["HX-Redirect"] = "/signin";
        }

        return new StatusCodeResult(StatusCodes.Status401Unauthorized);
    }

    /// <summary>Sends a browser to the sign-in page, and tells anything else that somebody has to sign in.</summary>
    private static void Challenge(HttpContext http)
    {
        var request = http.Request;
        if (request.Headers.ContainsKey("HX-Request"))
        {
            http.Response.StatusCode = StatusCodes.Status401Unauthorized;
            http.Response.Headers["HX-Redirect"] = "/signin";
        }
        else if (
            (HttpMethods.IsGet(request.Method) || HttpMethods.IsHead(request.Method))
            && !request.Headers.Accept.ToString().Contains("text/event-stream", StringComparison.OrdinalIgnoreCase)
        )
        {
            var back = request.Path + request.QueryString;
            http.Response.Redirect(back == "/" ? "/signin" : $"/signin?back={Uri.EscapeDataString(back)}");
        }
        else
        {
            http.Response.StatusCode = StatusCodes.Status401Unauthorized;
        }
    }
}
