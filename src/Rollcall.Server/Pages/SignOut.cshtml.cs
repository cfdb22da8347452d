using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;
using Rollcall.Server.Pages.Parts;
using Rollcall.SignIn;

namespace Rollcall.Server.Pages;

/// <summary>Signs out on this browser.</summary>
internal sealed class SignOutModel(Here here, Sessions sessions) : PageModel
{
    public async Task<IActionResult> OnPostAsync()
    {
        if (SessionCookie.Read(HttpContext) is { } token)
        {
            await sessions.EndAsync(token, HttpContext.RequestAborted);
        }

        SessionCookie.Delete(HttpContext);
        TempData["Said"] = Said(here, "here");
        return LocalRedirect("/signin");
    }

    /// <summary>Says that somebody is signed out, and what that does not reach: ClassLink would let the next one at this browser in again.</summary>
    /// <param name="here">Who it was.</param>
    /// <param name="where">Signed out of what, in a word.</param>
    public static string Said(Here here, string where) =>
        here.Who?.Method == SignInMethod.ClassLink
            ? $"You are signed out {where}. On a shared computer, sign out of ClassLink LaunchPad too, or close the browser."
        : where == "here" ? "You are signed out."
        : $"You are signed out {where}.";
}
