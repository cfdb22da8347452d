using Microsoft.AspNetCore.Antiforgery;
using Microsoft.AspNetCore.Diagnostics;

namespace Rollcall.Server.Pages.Parts;

/// <summary>
/// A form of ours that could not be taken because the sign-in had ended, or because somebody signed in or went to another district
/// since (<see cref="FormBinding"/>). The page that says so carries it, so that nobody types it twice; nothing of it is stored. Only what a page
/// of this server sent is taken: a form that another site sends would else wait here for a press of our own button.
/// </summary>
/// <param name="Address">Where it was sent.</param>
/// <param name="Fields">What it holds, without secrets.</param>
/// <param name="WithoutSecrets">It held secrets, which have to be typed again.</param>
internal sealed record SentForm(string Address, IReadOnlyList<KeyValuePair<string, string>> Fields, bool WithoutSecrets)
{
    private const long MostBytes = 256 * 1024;

    public static async Task<SentForm?> OfAsync(HttpContext http)
    {
        var request = http.Request;
        if (
            !HttpMethods.IsPost(request.Method)
            || request.Headers["Sec-Fetch-Site"] != "same-origin"
            || http.Features.Get<IStatusCodeReExecuteFeature>() is not { } again
            || request.ContentType?.StartsWith("application/x-www-form-urlencoded", StringComparison.OrdinalIgnoreCase) != true
            || request.ContentLength is null or > MostBytes
        )
        {
            return null;
        }

        try
        {
            var form = await request.ReadFormAsync(http.RequestAborted);

            // Finds out of which district it is, whatever else keeps it from being taken.
            await http.RequestServices.GetRequiredService<IAntiforgery>().IsRequestValidAsync(http);
            List<KeyValuePair<string, string>> fields =
            [
                .. form.Where(f => f.Key is not "__RequestVerificationToken" && !IsSecret(f.Key))
                    .SelectMany(f => f.Value.Select(v => KeyValuePair.Create(f.Key, v ?? ""))),
            ];
            return fields.Count == 0 ? null : new SentForm(again.OriginalPath + again.OriginalQueryString, fields, form.Keys.Any(IsSecret));
        }
        catch (Exception e) when (e is InvalidDataException or BadHttpRequestException or IOException)
        {
            return null;
        }
    }

    /// <summary>Whether a field of this name holds what must not lie in a page: whatever is typed unseen.</summary>
    public static bool IsSecret(string name) =>
        name is "present" or "again" or "key"
        || name.Contains("password", StringComparison.OrdinalIgnoreCase)
        || name.Contains("secret", StringComparison.OrdinalIgnoreCase);
}
