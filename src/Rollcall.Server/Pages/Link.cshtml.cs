using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;
using Rollcall.Server.Pages.Parts;
using Rollcall.SignIn;

namespace Rollcall.Server.Pages;

/// <summary>Where links that serve once lead: the first account, a new password, a sign-in. Looking at it uses nothing up.</summary>
internal sealed class LinkModel(Here here, Accounts accounts, Sessions sessions, Throttle throttle, ILogger<LinkModel> logger) : PageModel
{
    public Here Here { get; } = here;

    public string? Code { get; private set; }

    /// <summary>Null when the link serves no more.</summary>
    public LinkPurpose? Purpose { get; private set; }

    public string? Email { get; private set; }
    public string? Refused { get; private set; }

    public async Task OnGetAsync(string? code)
    {
        Code = code;
        if (await accounts.PeekAsync(code, HttpContext.RequestAborted) is { } link)
        {
            (Purpose, Email) = link;
        }
    }

    public async Task<IActionResult> OnPostAsync(string? code, string? email, string? password, string? again)
    {
        var device = SessionCookie.Device(HttpContext);
        await OnGetAsync(code);
        if (throttle.IsClosed(device.Address))
        {
            Refused = "Too many tries. Wait some minutes.";
            return Page();
        }

        if (Purpose is null)
        {
            throttle.Failed(device.Address);
            return Page();
        }

        if (Purpose == LinkPurpose.Setup)
        {
            Email = email;
        }

        if (Purpose != LinkPurpose.SignIn && !string.Equals(password, again, StringComparison.Ordinal))
        {
            Refused = "The two passwords differ. Type the same one twice.";
            return Page();
        }

        Account account;
        try
        {
            account = await accounts.UseAsync(code, email, password, HttpContext.RequestAborted);
        }
        catch (RollcallException e)
        {
            Refused = e.Message;
            return Page();
        }

        if (account.TwoFactorEnabled)
        {
            // The link stands for the password, not for the second factor.
            logger.LogInformation("Account {Account} used a link of {Purpose} from {Address}", account.Id, Purpose, device.Address);
            TempData["Said"] =
                Purpose == LinkPurpose.SignIn
                    ? "This account asks for a second factor, and a link does not stand for it. Sign in with your password and the code of your app, or with a passkey."
                    : "The password is set. Sign in with it, and with the code of your app.";
            return LocalRedirect("/signin");
        }

        var token = await sessions.OpenAsync(
            account,
            SignInMethod.Link,
            SessionCookie.Read(HttpContext),
            device,
            HttpContext.RequestAborted
        );
        SessionCookie.Write(HttpContext, token);
        await accounts.NoteSignInAsync(account, SignInMethod.Link, device.Address, HttpContext.RequestAborted);
        logger.LogInformation("Account {Account} signed in by a link from {Address}", account.Id, device.Address);
        return LocalRedirect("/");
    }
}
