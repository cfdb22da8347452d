using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;
using Rollcall.Server.Pages.Parts;
using Rollcall.SignIn;

namespace Rollcall.Server.Pages;

/// <summary>Where ClassLink sends people back to. Nothing of what the address holds is shown.</summary>
internal sealed class SignInCallbackModel(
    Here here,
    ClassLinkSignIn classLink,
    Sessions sessions,
    Throttle throttle,
    Reach reach,
    ILogger<SignInCallbackModel> logger
) : PageModel
{
    /// <summary>A tile is begun anew so often before it counts as broken.</summary>
    private const int Restarts = 3;

    public SignInRefusal Refusal { get; private set; }
    public string Heading { get; private set; } = "";
    public string Advice { get; private set; } = "";

    /// <summary>The address to register with ClassLink.</summary>
    public static string Address(Reach reach, HttpRequest request) => $"{reach.Origin(request)}/signin/classlink/callback";

    public async Task<IActionResult> OnGetAsync()
    {
        var gone = HttpContext.RequestAborted;
        var browser = BeganCookie.Read(HttpContext);
        string? One(string name) => Request.Query.TryGetValue(name, out var value) ? value.ToString() : null;
        var address = SessionCookie.Device(HttpContext).Address;
        var (state, code, error) = (One("state"), One("code"), One("error"));
        if (state is null && error is null && code is not null)
        {
            // One that was begun here is counted already.
            if (!throttle.Begins(address))
            {
                logger.LogWarning("Too many sign-ins with ClassLink were begun from {Address} and not ended: it waits", address);
                return Refuse(SignInRefusal.TooMany);
            }

            var client = await classLink.ClientAsync(gone);
            var begun = await classLink.PendingAsync(browser, gone);
            if (client is not null && (!client.AcceptTiles || begun.All > 0))
            {
                // A tile: the code may be anybody's. It is dropped, and the same sign-in begun from here.
                if (begun.Tiles >= Restarts)
                {
                    logger.LogWarning(
                        "A LaunchPad tile was begun anew {Times} times from {Address}, and ClassLink sent it back without a state each time.{Advice}",
                        begun.Tiles,
                        address,
                        client.AcceptTiles ? "" : " Take tiles as they come: rollcall classlink login on --tiles accept"
                    );
                    return Refuse(SignInRefusal.TileGoesRound);
                }

                return
                    await classLink.BeginAsync(Address(reach, Request), BeganCookie.ReadOrMake(HttpContext), null, tile: true, gone)
                        is { } to
                    ? Redirect(to)
                    : Refuse(SignInRefusal.Stale);
            }
        }

        var result = await classLink.TakeAsync(Address(reach, Request), browser, state, code, error, here.Who, gone);
        if (result.Refusal != SignInRefusal.None)
        {
            return Refuse(result.Refusal);
        }

        throttle.Succeeded(address);

        // Another session than before, whoever was here: what an attacker may have planted or seen is worth nothing.
        var token = await sessions.OpenAsync(
            result.DistrictId,
            result.PatronId,
            SignInMethod.ClassLink,
            SessionCookie.Read(HttpContext),
            SessionCookie.Device(HttpContext),
            result.Guid,
            gone
        );
        await classLink.NoteSignInAsync(result.DistrictId, result.PatronId, address, gone);
        SessionCookie.Write(HttpContext, token);
        BeganCookie.Delete(HttpContext);
        return LocalRedirect(SignInModel.PageOf(result.Back) ?? "/");
    }

    /// <summary>What a librarian who is asked can go by; the server's log says more.</summary>
    public string Reason =>
        Refusal switch
        {
            SignInRefusal.Consent => "consent was refused at ClassLink.",
            SignInRefusal.Error => "ClassLink sent an error instead of a sign-in; the server's log names it.",
            SignInRefusal.TileGoesRound =>
                "ClassLink keeps sending the tile back without what it was sent with; the server's log says what the operator can do.",
            SignInRefusal.Stale => "the sign-in was not begun in this browser, or is older than ten minutes.",
            SignInRefusal.CodeUsed => "ClassLink's code was used before.",
            SignInRefusal.NotProved => "what ClassLink sent does not prove who this is; the server's log says why.",
            SignInRefusal.Unreachable => "ClassLink could not be reached from this server.",
            SignInRefusal.Tenant => "no district here has this ClassLink tenant and lets people sign in with it.",
            SignInRefusal.Unknown => "no patron is linked to this person.",
            SignInRefusal.Ambiguous => "several patrons fit this person; Review or a merge settles it.",
            SignInRefusal.Status => "the patron's status is Transferred, Inactive or Other.",
            SignInRefusal.Disabled => "the roster has disabled this person's login.",
            SignInRefusal.TooMany => "too many sign-ins were begun from this network and not ended.",
            _ => "another session was open in this browser.",
        };

    private PageResult Refuse(SignInRefusal refusal)
    {
        logger.LogInformation(
            "The page after a sign-in with ClassLink from {Address} says {Refusal}",
            SessionCookie.Device(HttpContext).Address,
            refusal
        );
        Refusal = refusal;
        (Heading, Advice) = refusal switch
        {
            SignInRefusal.Consent => (
                "You are not signed in",
                "ClassLink asked whether Rollcall may know who you are, and the answer was no. To use the library, sign in again and allow it."
            ),
            SignInRefusal.Error => (
                "ClassLink did not sign you in",
                "Something between ClassLink and the library does not work. Nothing is wrong with your password. Try once more; if it stays like this, tell the library."
            ),
            SignInRefusal.TileGoesRound => (
                "This tile leads nowhere",
                "It went back and forth between ClassLink and the library. Use the button on the sign-in page, and tell the library."
            ),
            SignInRefusal.CodeUsed => (
                "This sign-in was used already",
                "What ClassLink sends serves once, and it came a second time, as when a page is opened again. Start again from the sign-in page."
            ),
            SignInRefusal.Stale => (
                "That took too long",
                "This sign-in was used already, or began in another window. Start again from the sign-in page."
            ),
            SignInRefusal.NotProved => (
                "ClassLink could not say who you are",
                "Nothing is wrong with your password. Try once more; if it stays like this, tell the library."
            ),
            SignInRefusal.Unreachable => ("ClassLink does not answer", "Wait a minute and try again. It is not your fault."),
            SignInRefusal.Tenant => (
                "Your school does not use this library here",
                "You are signed in to ClassLink, but your district does not sign in to this library with it. Ask in your school's library."
            ),
            SignInRefusal.Unknown => (
                "The library does not know you yet",
                "You are signed in to ClassLink, but the library has no record of you. New people come with the next night. Ask in the library if it is urgent."
            ),
            SignInRefusal.Ambiguous => (
                "The library is not sure who you are",
                "More than one record could be yours. Ask in the library: they can put it right."
            ),
            SignInRefusal.Status => (
                "Your library record is closed",
                "It is kept, but you cannot sign in with it, as when you move to another school. Ask in the library."
            ),
            SignInRefusal.TooMany => ("Too many at once", "Wait some minutes and try again. It is not your fault."),
            SignInRefusal.Disabled => (
                "Your school account is switched off",
                "Your school has switched your login off. Ask the school office."
            ),
            _ => (
                "Somebody else is signed in here",
                "Somebody else is still signed in to the library on this computer. Sign them out first, then open Rollcall again."
            ),
        };
        return Page();
    }
}
