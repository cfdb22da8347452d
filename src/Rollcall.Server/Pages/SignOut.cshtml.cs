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
        TempData["Said"] =
            here.Who?.Method == SignInMethod.ClassLink
                ? "You are signed out here. On a shared computer, sign out of ClassLink LaunchPad too, or close the browser."
                : "You are signed out.";
        return LocalRedirect("/signin");
    }
}
