using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Rollcall.Server.Pages;

/// <summary>Keeps light or dark in a cookie; without one the system decides.</summary>
internal sealed class ThemeModel : PageModel
{
    private const string Cookie = "rollcall-theme";

    /// <summary>What was chosen; null follows the system.</summary>
    public static string? Of(HttpRequest request) => request.Cookies[Cookie] is "light" or "dark" ? request.Cookies[Cookie] : null;

    public IActionResult OnGet() => LocalRedirect("/");

    public IActionResult OnPost(string? theme, string? back)
    {
        if (theme is "light" or "dark")
        {
            Response.Cookies.Append(
                Cookie,
                theme,
                new CookieOptions
                {
                    HttpOnly = true,
                    SameSite = SameSiteMode.Lax,
                    MaxAge = TimeSpan.FromDays(365),
                    IsEssential = true,
                }
            );
        }
        else
        {
            Response.Cookies.Delete(Cookie);
        }

        return LocalRedirect(SignInModel.Inside(back) ?? "/");
    }
}
