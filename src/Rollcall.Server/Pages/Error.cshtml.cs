using Microsoft.AspNetCore.Diagnostics;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.Filters;
using Microsoft.AspNetCore.Mvc.RazorPages;
using Microsoft.AspNetCore.WebUtilities;
using Rollcall.Districts;
using Rollcall.Server.Pages.Parts;
using Rollcall.Storage;

namespace Rollcall.Server.Pages;

/// <summary>Says what went wrong in words. Details are in the server's log, never here.</summary>
[IgnoreAntiforgeryToken]
[ResponseCache(NoStore = true, Location = ResponseCacheLocation.None)]
internal sealed class ErrorModel(Here here) : PageModel
{
    /// <summary>Under this key a page leaves its own words.</summary>
    public const string WordsKey = "Rollcall.Words";

    public int Code { get; private set; }
    public string Heading { get; private set; } = "";
    public string Advice { get; private set; } = "";

    /// <summary>A form that was filled in by somebody whose sign-in had ended, for another try; null where there is none.</summary>
    public SentForm? Sent { get; private set; }

    /// <summary>The district that a form belongs to which was sent from another one; null where there is none, or it is not the visitor's.</summary>
    public District? FormOf { get; private set; }

    /// <summary>Where that form stands.</summary>
    public string? FormAt { get; private set; }

    /// <summary>Runs for every method: whatever was asked may have failed.</summary>
    public override async Task OnPageHandlerExecutionAsync(PageHandlerExecutingContext context, PageHandlerExecutionDelegate next)
    {
        ArgumentNullException.ThrowIfNull(next);
        Describe();
        Sent = Code is 400 or 401 ? await SentForm.OfAsync(HttpContext) : null;
        if (Code is 400 && IsOfAnotherDistrict(out var id, out var at))
        {
            FormOf = here.Districts.FirstOrDefault(d => d.Id == id);
            FormAt = FormOf is { } of ? QueryHelpers.AddQueryString(at, "district", of.Code) : null;

            // It is sent where it belongs, or nowhere: what it names is somebody else in any other district.
            Sent =
                FormOf is { } own && Sent is { } sent
                    ? sent with
                    {
                        Address = QueryHelpers.AddQueryString(Without(sent.Address, "district"), "district", own.Code),
                    }
                    : null;
            (Heading, Advice) = FormOf is { } district
                ? (
                    $"This form belongs to {district.Name}",
                    $"Nothing was changed. You are in {here.District?.Name ?? "no district"} now, in another tab perhaps. {(Sent is null ? "Go back there to send it." : $"If it is still right, send it in {district.Name}; what you typed is kept on this page.")}"
                )
                : ("This form belongs to another district", "Nothing was changed, and you have no place in that district now.");
        }
        else if (Sent is not null)
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

    /// <summary>The form that was refused stands on a page of another district than the one that the visitor is in.</summary>
    private bool IsOfAnotherDistrict(out int district, out string address)
    {
        var again = HttpContext.Features.Get<IStatusCodeReExecuteFeature>();
        district = FormBinding.DistrictOf(HttpContext) ?? 0;
        address = Without($"{again?.OriginalPath}{again?.OriginalQueryString}", "handler", "district");
        return district != 0
            && district != here.Grant?.DistrictId
            && again?.Endpoint?.Metadata.GetMetadata<PageActionDescriptor>() is { } page
            && Access.IsOfDistrict(page);
    }

    private static string Without(string address, params ReadOnlySpan<string> names)
    {
        var at = address.IndexOf('?', StringComparison.Ordinal);
        if (at < 0)
        {
            return address;
        }

        var query = QueryHelpers.ParseQuery(address[at..]);
        foreach (var name in names)
        {
            query.Remove(name);
        }

        return QueryHelpers.AddQueryString(address[..at], query);
    }

    private bool IsTooLarge() =>
        HttpContext.Request.ContentLength is { } length
        && HttpContext.Features.Get<IHttpMaxRequestBodySizeFeature>()?.MaxRequestBodySize is { } most
        && length > most;

    /// <summary>A patron was looked for who is not there.</summary>
    public bool IsOfPatron =>
        Code == StatusCodes.Status404NotFound
        && HttpContext.Features.Get<IStatusCodeReExecuteFeature>()?.OriginalPath is { } path
        && (
            path.StartsWith("/patrons/", StringComparison.OrdinalIgnoreCase)
            || path.StartsWith("/patron/", StringComparison.OrdinalIgnoreCase)
        );

    private string Smaller() =>
        HttpContext
            .Features.Get<IStatusCodeReExecuteFeature>()
            ?.OriginalPath.StartsWith("/patron/import", StringComparison.OrdinalIgnoreCase) == true
            ? PatronImportModel.TooLarge
            : "Go back and send less at once.";

    private void Describe()
    {
        var fault = HttpContext.Features.Get<IExceptionHandlerFeature>()?.Error;
        Code =
            HttpContext.Features.Get<IStatusCodeReExecuteFeature>() is { } again ? again.OriginalStatusCode
            : fault is null ? StatusCodes.Status404NotFound
            : Response.StatusCode;
        var words = HttpContext.Items[WordsKey] as string;
        if (Code == StatusCodes.Status400BadRequest && words is null && IsTooLarge())
        {
            // Whoever looks for the token of a form gives up at the form's size, and cannot say so.
            Code = StatusCodes.Status413PayloadTooLarge;
        }

        if (Code is StatusCodes.Status400BadRequest or StatusCodes.Status500InternalServerError && Arrival.IsLate(HttpContext))
        {
            Code = StatusCodes.Status408RequestTimeout;
        }

        if (Code == StatusCodes.Status500InternalServerError && fault is not null && DatabaseErrors.IsAway(fault))
        {
            Code = StatusCodes.Status503ServiceUnavailable;
            Response.Headers.RetryAfter = "5";
        }

        var takesNoWrites = Code == StatusCodes.Status500InternalServerError && fault is not null && DatabaseErrors.TakesNoWrites(fault);
        if (takesNoWrites)
        {
            Code = StatusCodes.Status503ServiceUnavailable;
        }

        (Heading, Advice) = Code switch
        {
            503 when takesNoWrites => ("Nothing can be saved", DatabaseErrors.NoWrites),
            503 => (
                "The database does not answer",
                "It may be back in a moment: try again then. Whoever was saving something looks first whether it was saved."
            ),
            408 => ("Too slow", "What was sent took too long to arrive and was given up. Nothing was changed: go back and send it again."),
            404 => ("Not found", words ?? "There is no page at this address. Check it, or start from the dashboard."),
            400 => (
                "Not understood",
                words ?? "The page was open for too long, or the form did not come from it. Go back, reload the page and try again."
            ),
            401 => ("Not signed in", "You have been signed out, or were not signed in. Sign in and try again."),
            403 => ("Not allowed", words ?? "Your security group does not include this. Whoever administers the library can change that."),
            413 => ("Too large", $"Nothing was taken of what was sent: it is larger than this page takes. {Smaller()}"),
            405 => ("Not understood", "This address takes no such request. Start from the dashboard."),
            _ when fault is not null && DatabaseErrors.IsGivingWay(fault) => (
                "Others were writing at the same moment",
                "This had to give way, and nothing of it was saved. Go back and try again."
            ),
            _ when fault is RollcallException => ("That did not work", fault.Message),
            _ => (
                "Something went wrong",
                "This is a fault of the program, not yours. Nothing is half-written. Try again; if it stays, look into the server's log."
            ),
        };
        Response.StatusCode = Code;
    }
}
