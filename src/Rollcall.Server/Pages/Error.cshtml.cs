using Microsoft.AspNetCore.Diagnostics;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.Filters;
using Microsoft.AspNetCore.Mvc.RazorPages;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>Says what went wrong in words. Details are in the server's log, never here.</summary>
[IgnoreAntiforgeryToken]
[ResponseCache(NoStore = true, Location = ResponseCacheLocation.None)]
internal sealed class ErrorModel : PageModel
{
    /// <summary>Under this key a page leaves its own words.</summary>
    public const string WordsKey = "Rollcall.Words";

    public int Code { get; private set; }
    public string Heading { get; private set; } = "";
    public string Advice { get; private set; } = "";

    /// <summary>A form that was filled in by somebody whose sign-in had ended, for another try; null where there is none.</summary>
    public SentForm? Sent { get; private set; }

    /// <summary>Runs for every method: whatever was asked may have failed.</summary>
    public override async Task OnPageHandlerExecutionAsync(PageHandlerExecutingContext context, PageHandlerExecutionDelegate next)
    {
        ArgumentNullException.ThrowIfNull(next);
        Describe();
        Sent = Code is 400 or 401 ? await SentForm.OfAsync(HttpContext) : null;
        if (Sent is not null)
        {
            (Heading, Advice) =
                Code == 401
                    ? (
                        "You have been signed out",
                        "Nothing was saved. What you typed is kept on this page: sign in in another tab, come back here and send it again."
                    )
                    : (
                        "Signed in anew",
                        "Nothing was saved yet: this form was filled in before you signed in. If it is yours, send it again; what you typed is kept on this page."
                    );
        }

        await next();
    }

    private void Describe()
    {
        var fault = HttpContext.Features.Get<IExceptionHandlerFeature>()?.Error;
        Code =
            HttpContext.Features.Get<IStatusCodeReExecuteFeature>() is { } again ? again.OriginalStatusCode
            : fault is null ? StatusCodes.Status404NotFound
            : Response.StatusCode;
        var words = HttpContext.Items[WordsKey] as string;
        (Heading, Advice) = Code switch
        {
            404 => ("Not found", words ?? "There is no page at this address. Check it, or start from the dashboard."),
            400 => (
                "Not understood",
                words ?? "The page was open for too long, or the form did not come from it. Go back, reload the page and try again."
            ),
            401 => ("Not signed in", "You have been signed out, or were not signed in. Sign in and try again."),
            403 => ("Not allowed", words ?? "Your security group does not include this. Whoever administers the library can change that."),
            405 => ("Not understood", "This address takes no such request. Start from the dashboard."),
            _ when fault is RollcallException => ("That did not work", fault.Message),
            _ => (
                "Something went wrong",
                "This is a fault of the program, not yours. Nothing is half-written. Try again; if it stays, look into the server's log."
            ),
        };
        Response.StatusCode = Code;
    }
}
