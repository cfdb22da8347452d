using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;
using Rollcall.Server.Pages.Parts;
using Rollcall.SignIn;

namespace Rollcall.Server.Pages;

/// <summary>Sends a browser to ClassLink.</summary>
internal sealed class SignInBeginModel(ClassLinkSignIn classLink, Throttle throttle, Reach reach, ILogger<SignInBeginModel> logger)
    : PageModel
{
    public async Task<IActionResult> OnGetAsync(string? back)
    {
        var address = SessionCookie.Device(HttpContext).Address;
        if (!throttle.Begins(address))
        {
            logger.LogWarning("Too many sign-ins with ClassLink were begun from {Address} and not ended: it waits", address);
            TempData["Refused"] =
                "Too many sign-ins with ClassLink were begun from this network and not ended. Wait some minutes, then try again.";
            return LocalRedirect("/signin");
        }

        var to = await classLink.IsOfferedAsync(HttpContext.RequestAborted)
            ? await classLink.BeginAsync(
                SignInCallbackModel.Address(reach, Request),
                BeganCookie.ReadOrMake(HttpContext),
                SignInModel.Inside(back),
                cancellationToken: HttpContext.RequestAborted
            )
            : null;
        return to is null ? LocalRedirect("/signin") : Redirect(to);
    }
}

/// <summary>Ties a sign-in that was begun to the browser that began it.</summary>
internal static class BeganCookie
{
    public static string? Read(HttpContext http) => http.Request.Cookies[Name(http)] is { Length: > 0 and < 200 } value ? value : null;

    public static string ReadOrMake(HttpContext http)
    {
        var value = Read(http) ?? Tokens.New();
        http.Response.Cookies.Append(Name(http), value, Options(http));
        return value;
    }

    public static void Delete(HttpContext http) => http.Response.Cookies.Delete(Name(http), Options(http));

    private static string Name(HttpContext http) => http.Request.IsHttps ? "__Host-rollcall-began" : "rollcall-began";

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
