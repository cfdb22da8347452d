using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.Filters;
using Rollcall.Districts;

namespace Rollcall.Server.Pages.Parts;

/// <summary>Where the visitor is: the district, and what every page of it shows.</summary>
internal sealed class Here(DistrictService districts, Reading reading, TimeProvider time)
{
    /// <summary>Who acts, as operations and the audit name it, as long as nobody signs in.</summary>
    public const string Actor = "web page";

    private const string Cookie = "rollcall-district";

    public District District { get; private set; } = null!;

    /// <summary>All of the installation.</summary>
    public IReadOnlyList<District> Districts { get; private set; } = [];

    /// <summary>Operations that need an approval, and people in Review.</summary>
    public (int Approvals, int Reviews) Open { get; private set; }

    public TimeZoneInfo Zone => field ??= TimeZoneInfo.FindSystemTimeZoneById(District.TimeZone);

    public DateTimeOffset Now => time.GetUtcNow();

    /// <summary>The date where the district is.</summary>
    public DateOnly Today => DistrictService.Today(District, time);

    /// <summary>Finds the district by address, then by cookie, then the first there is.</summary>
    /// <returns>False when the installation has none yet.</returns>
    public async Task<bool> LoadAsync(HttpContext http)
    {
        Districts = await districts.ListAsync(http.RequestAborted);
        if (Districts.Count == 0)
        {
            return false;
        }

        var asked = Find(http.Request.Query["district"]);
        if (asked is not null)
        {
            http.Response.Cookies.Append(
                Cookie,
                asked.Code,
                new CookieOptions
                {
                    HttpOnly = true,
                    SameSite = SameSiteMode.Lax,
                    MaxAge = TimeSpan.FromDays(365),
                    IsEssential = true,
                }
            );
        }

        District = asked ?? Find(http.Request.Cookies[Cookie]) ?? Districts[0];
        return true;

        District? Find(string? code) =>
            code is null ? null : Districts.FirstOrDefault(d => string.Equals(d.Code, code, StringComparison.OrdinalIgnoreCase));
    }

    public async Task CountOpenAsync(CancellationToken cancellationToken) => Open = await reading.OpenAsync(District.Id, cancellationToken);

    /// <summary>The instant at which a date begins where the district is.</summary>
    public DateTimeOffset StartOf(DateOnly date)
    {
        var local = date.ToDateTime(TimeOnly.MinValue);

        // Some zones skip midnight when summer time begins.
        while (Zone.IsInvalidTime(local))
        {
            local = local.AddMinutes(30);
        }

        return new DateTimeOffset(local, Zone.GetUtcOffset(local)).ToUniversalTime();
    }
}

/// <summary>Finds the district before a page works. An installation without one is told what to do.</summary>
internal sealed class HereFilter(Here here) : IAsyncPageFilter
{
    public Task OnPageHandlerSelectionAsync(PageHandlerSelectedContext context) => Task.CompletedTask;

    public async Task OnPageHandlerExecutionAsync(PageHandlerExecutingContext context, PageHandlerExecutionDelegate next)
    {
        var page = context.ActionDescriptor.ViewEnginePath;
        if (page is "/Error")
        {
            try
            {
                if (await here.LoadAsync(context.HttpContext))
                {
                    await here.CountOpenAsync(context.HttpContext.RequestAborted);
                }
            }
            catch (Exception e) when (e is System.Data.Common.DbException or InvalidOperationException or TimeoutException)
            {
                // The database may be what is wrong: the page then comes without the district around it.
            }
        }
        else
        {
            if (await here.LoadAsync(context.HttpContext))
            {
                await here.CountOpenAsync(context.HttpContext.RequestAborted);
                if (page is "/Welcome")
                {
                    context.Result = new RedirectResult("/");
                    return;
                }
            }
            else if (page is not ("/Welcome" or "/Theme"))
            {
                context.Result = new RedirectResult("/welcome");
                return;
            }
        }

        await next();
    }
}
