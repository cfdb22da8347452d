using System.Globalization;
using Microsoft.AspNetCore.Antiforgery;
using Microsoft.AspNetCore.Mvc.RazorPages;
using Rollcall.SignIn;

namespace Rollcall.Server.Pages.Parts;

/// <summary>
/// Binds every form to the session and to the district of the page that it stands on. One that was rendered for another person on this browser
/// is refused, and so is one whose visitor has gone to another district since, in another tab: barcodes and numbers mean somebody else there.
/// </summary>
internal sealed class FormBinding : IAntiforgeryAdditionalDataProvider
{
    private static readonly object s_key = new();

    /// <summary>The district of the form that came with this request, by its id; null for one of no district, or that is not known to be ours.</summary>
    public static int? DistrictOf(HttpContext http) => http.Items.TryGetValue(s_key, out var id) ? (int?)id : null;

    public string GetAdditionalData(HttpContext context)
    {
        // A form that is offered again stays its district's.
        var district = DistrictOf(context) ?? HereId(context);
        return $"{Session(context)} {district?.ToString(CultureInfo.InvariantCulture)}";
    }

    public bool ValidateAdditionalData(HttpContext context, string additionalData)
    {
        ArgumentNullException.ThrowIfNull(additionalData);
        var parts = additionalData.Split(' ');
        int? district = int.TryParse(parts[^1], NumberStyles.None, CultureInfo.InvariantCulture, out var id) ? id : null;
        context.Items[s_key] = district;
        return string.Equals(parts[0], Session(context), StringComparison.Ordinal)
            && (
                context.GetEndpoint()?.Metadata.GetMetadata<PageActionDescriptor>() is not { } page
                || !Access.IsOfDistrict(page)
                || district == HereId(context)
            );
    }

    private static string Session(HttpContext http) => http.Features.Get<Who>()?.SessionId ?? "";

    private static int? HereId(HttpContext http) =>
        http.RequestServices.GetRequiredService<Here>() is { Grant.DistrictId: var id } ? id : null;
}
