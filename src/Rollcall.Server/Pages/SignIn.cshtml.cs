using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;
using Microsoft.AspNetCore.WebUtilities;
using Rollcall.Server.Pages.Parts;
using Rollcall.SignIn;

namespace Rollcall.Server.Pages;

/// <summary>Both ways in.</summary>
internal sealed class SignInModel(
    Here here,
    Accounts accounts,
    Sessions sessions,
    Throttle throttle,
    ClassLinkSignIn classLink,
    Passkeys passkeys,
    PasskeyCeremony ceremony,
    ILogger<SignInModel> logger
) : PageModel
{
    public Here Here { get; } = here;

    public string? Email { get; private set; }

    public string? Back { get; private set; }

    /// <summary>Why it did not work; null before anything was tried.</summary>
    public string? Refused { get; private set; }

    /// <summary>Some district's people sign in with ClassLink.</summary>
    public bool Offered { get; private set; }

    /// <summary>Somebody can sign in with a password; on a new installation nobody can.</summary>
    public bool HasAccounts { get; private set; }

    /// <summary>Somebody has a passkey here.</summary>
    public bool HasPasskeys { get; private set; }

    public async Task OnGetAsync(string? back)
    {
        Back = Inside(back);
        HasPasskeys = PasskeyCeremony.IsPossible(HttpContext.Request.Host) && await passkeys.AnyAsync(HttpContext.RequestAborted);
        HasAccounts = await accounts.AnyAsync(HttpContext.RequestAborted);
        Offered = await classLink.IsOfferedAsync(HttpContext.RequestAborted);
    }

    public async Task<IActionResult> OnPostAsync(string? email, string? password, string? code, string? back)
    {
        await OnGetAsync(back);
        Email = email;
        var device = SessionCookie.Device(HttpContext);
        var (answer, account) = throttle.IsClosed(device.Address)
            ? (PasswordAnswer.Locked, null)
            : await accounts.CheckAsync(email, password, code, HttpContext.RequestAborted);
        if (account is null)
        {
            if (answer == PasswordAnswer.Wrong)
            {
                throttle.Failed(device.Address);
            }

            logger.LogWarning("Sign-in with a password refused from {Address}: {Answer}", device.Address, answer);
            Refused = answer switch
            {
                PasswordAnswer.CodeNeeded =>
                    "This account asks for a code too. Type your password again, and the code that your app shows now.",
                PasswordAnswer.Locked =>
                    $"Too many tries. Wait {Accounts.LockedFor.TotalMinutes:0} minutes, or ask for a link that sets a new password.",
                _ => "That did not work. Check the address, the password and the code, if your account has one.",
            };
            return Page();
        }

        return await EnterAsync(account, SignInMethod.Password, device);
    }

    /// <summary>What the browser asks its device for.</summary>
    public async Task<IActionResult> OnGetPasskeyAsync() => new JsonResult(await ceremony.AskAsync(HttpContext));

    public async Task<IActionResult> OnPostPasskeyAsync(string? state, string? answer, string? back)
    {
        await OnGetAsync(back);
        var device = SessionCookie.Device(HttpContext);
        Account? account = null;
        if (throttle.IsClosed(device.Address))
        {
            Refused = $"Too many tries. Wait {Accounts.LockedFor.TotalMinutes:0} minutes, or sign in another way.";
        }
        else
        {
            try
            {
                account = await ceremony.CheckAsync(state, answer, HttpContext);
                Refused = account is null
                    ? "That passkey opens nothing here: it was taken away, or the account is locked. Sign in with your password, or ask whoever runs this installation."
                    : null;
            }
            catch (RollcallException e)
            {
                Refused = e.Message;
            }
        }

        if (account is null)
        {
            throttle.Failed(device.Address);
            logger.LogWarning("Sign-in with a passkey refused from {Address}", device.Address);
            return Page();
        }

        return await EnterAsync(account, SignInMethod.Passkey, device);
    }

    private async Task<IActionResult> EnterAsync(Account account, SignInMethod method, Device device)
    {
        var token = await sessions.OpenAsync(account, method, SessionCookie.Read(HttpContext), device, HttpContext.RequestAborted);
        SessionCookie.Write(HttpContext, token);
        await accounts.NoteSignInAsync(account, method, device.Address, HttpContext.RequestAborted);
        logger.LogInformation("Account {Account} signed in by {Method} from {Address}", account.Id, method, device.Address);
        return LocalRedirect(Back ?? "/");
    }

    /// <summary>A path of this server; null for anything else. Only what a browser cannot read as another host, and what can stand in an
    /// answer's header: our own addresses write other letters encoded.</summary>
    public static string? Inside(string? back) =>
        back is { Length: > 1 and < 2000 } && back[0] == '/' && back[1] is not ('/' or '\\') && back.All(c => c is > ' ' and < '\x7f')
            ? back
            : null;

    /// <summary>Where somebody goes who comes from ClassLink's page: a browser says so of all addresses on the way, and files are given to
    /// pages of this server alone. So a file's address leads to the page that has its link.</summary>
    public static string? PageOf(string? back)
    {
        var (path, query) = back?.Split('?', 2) switch
        {
            [var only] => (only, ""),
            [var before, var after] => (before, after),
            _ => ("", ""),
        };
        var asked = QueryHelpers.ParseQuery(query);
        return path switch
        {
            LiveEvents.Path => "/operations",
            "/patron/export" when asked.TryGetValue(PatronDownload.Removal, out var removal) => Inside($"/operations/{removal}"),
            "/patron/export" => QueryHelpers.AddQueryString("/patrons", asked.Where(q => q.Key != "format")),
            "/patron/data" => QueryHelpers.AddQueryString("/patron/erase", asked),
            _ when path.StartsWith("/operations/", StringComparison.Ordinal) && path.EndsWith("/download", StringComparison.Ordinal) =>
                QueryHelpers.AddQueryString(path[..^"/download".Length], asked.Where(q => q.Key != "format")),
            _ => back,
        };
    }
}
