using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;
using Rollcall.Server.Pages.Parts;
using Rollcall.SignIn;

namespace Rollcall.Server.Pages;

/// <summary>One's own account: password, second factor, passkeys, and where one is signed in.</summary>
internal sealed class AccountModel(Here here, Accounts accounts, Sessions sessions, Passkeys passkeys, PasskeyCeremony ceremony) : PageModel
{
    public Here Here { get; } = here;

    /// <summary>Null for patrons, who sign in with ClassLink.</summary>
    public Account? Account { get; private set; }

    public IReadOnlyList<SignInSession> Open { get; private set; } = [];

    /// <summary>A key to be typed into an authenticator app; null unless one is being set up.</summary>
    public (string Key, string Uri)? Key { get; private set; }

    /// <summary>Shown once; null otherwise.</summary>
    public IReadOnlyList<string>? RecoveryCodes { get; private set; }

    public IReadOnlyList<PasskeyRow> Passkeys { get; private set; } = [];

    /// <summary>The browser makes passkeys for this server's address.</summary>
    public bool PasskeysArePossible => PasskeyCeremony.IsPossible(HttpContext.Request.Host);

    /// <summary>A passkey that the browser is to make, and what it will be called; null unless one is being added.</summary>
    public (PasskeyQuestion Question, string Name)? NewPasskey { get; private set; }

    public string? Refused { get; private set; }

    private Who Who => Here.Who!;

    private CancellationToken Gone => HttpContext.RequestAborted;

    public Task OnGetAsync() => LoadAsync();

    public Task<IActionResult> OnPostPasswordAsync(string? present, string? password, string? again) =>
        TryAsync(async id =>
        {
            if (!string.Equals(password, again, StringComparison.Ordinal))
            {
                throw new RollcallException("The two new passwords differ. Type the same one twice.");
            }

            // Every session ended, this one too: it goes on as a new one.
            var account = await accounts.ChangePasswordAsync(id, present, password, Gone);
            var token = await sessions.OpenAsync(
                account,
                SignInMethod.Password,
                SessionCookie.Read(HttpContext),
                SessionCookie.Device(HttpContext),
                Gone
            );
            SessionCookie.Write(HttpContext, token);
            TempData["Said"] = "The password is changed, and every other browser is signed out.";
            return LocalRedirect("/account");
        });

    public Task<IActionResult> OnPostSecondFactorAsync(string? password) =>
        TryAsync(async id =>
        {
            Key = await accounts.BeginSecondFactorAsync(id, password, Gone);
            return null;
        });

    public Task<IActionResult> OnPostSecondFactorOnAsync(string? code) =>
        TryAsync(async id =>
        {
            RecoveryCodes = await accounts.TurnSecondFactorOnAsync(id, code, Gone);
            return null;
        });

    public Task<IActionResult> OnPostSecondFactorOffAsync(string? password) =>
        TryAsync(async id =>
        {
            await accounts.TurnSecondFactorOffAsync(id, password, Gone);
            TempData["Said"] = "The second factor is taken away.";
            return LocalRedirect("/account");
        });

    public Task<IActionResult> OnPostPasskeyAsync(string? name, string? password) =>
        TryAsync(async id =>
        {
            Rollcall.SignIn.Passkeys.CheckName(name);
            NewPasskey = (await ceremony.AskForNewAsync(await accounts.ProveAsync(id, password, Gone), HttpContext), name!);
            return null;
        });

    public Task<IActionResult> OnPostPasskeyAddAsync(string? name, string? state, string? answer) =>
        TryAsync(async id =>
        {
            await ceremony.AddAsync(id, state, answer, name, HttpContext);
            TempData["Said"] = "The passkey is added. It signs you in from now on, without password and code.";
            return LocalRedirect("/account");
        });

    public Task<IActionResult> OnPostPasskeyNameAsync(string? passkey, string? name) =>
        TryAsync(async id =>
        {
            await passkeys.RenameAsync(id, passkey, name, Gone);
            TempData["Said"] = "The passkey has its new name.";
            return LocalRedirect("/account");
        });

    public Task<IActionResult> OnPostPasskeyRemoveAsync(string? passkey, string? password) =>
        TryAsync(async id =>
        {
            await accounts.ProveAsync(id, password, Gone);
            await passkeys.RemoveAsync(id, passkey, Gone);
            TempData["Said"] = "The passkey is taken away. It signs nobody in any more; you may delete it on the device too.";
            return LocalRedirect("/account");
        });

    public async Task<IActionResult> OnPostEndAsync(string? session)
    {
        if (session is not null)
        {
            await sessions.EndAsync(Who, session, Gone);
        }

        TempData["Said"] = "That browser is signed out.";
        return LocalRedirect("/account");
    }

    public async Task<IActionResult> OnPostEndAllAsync()
    {
        await sessions.EndAsync(Who, null, Gone);
        SessionCookie.Delete(HttpContext);
        TempData["Said"] = SignOutModel.Said(Here, "everywhere");
        return LocalRedirect("/signin");
    }

    private async Task<IActionResult> TryAsync(Func<long, Task<IActionResult?>> act)
    {
        if (Who.AccountId is not { } id)
        {
            return Forbid();
        }

        try
        {
            if (await act(id) is { } result)
            {
                return result;
            }
        }
        catch (RollcallException e)
        {
            Refused = e.Message;
        }

        await LoadAsync();
        return Page();
    }

    private static new ForbidPageResult Forbid() => new ForbidPageResult();

    private async Task LoadAsync()
    {
        Account = Who.AccountId is { } id ? await accounts.GetAsync(id, Gone) : null;
        Passkeys = Who.AccountId is { } own ? await passkeys.ListAsync(own, Gone) : [];
        Open = await sessions.ListAsync(Who, Gone);
    }
}
