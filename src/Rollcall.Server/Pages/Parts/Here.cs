using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.Filters;
using Rollcall.Districts;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.SignIn;
using Rollcall.Storage;
using Rollcall.Sync;

namespace Rollcall.Server.Pages.Parts;

/// <summary>Who asks, in which district, and what every page of it shows.</summary>
internal sealed class Here(DistrictService districts, TenantRequests requests, Reading reading, TimeProvider time)
{
    /// <summary>In front of the code of the district that a live page belongs to, where the page fetches a part of itself.</summary>
    public const string Header = "Rollcall-District";

    private const string Cookie = "rollcall-district";
    private bool _loaded;

    /// <summary>Who is signed in; null when nobody is.</summary>
    public Who? Who { get; private set; }

    /// <summary>What that person may do in <see cref="District"/>; null without a district.</summary>
    public Grant? Grant { get; private set; }

    /// <summary>Who acts, as operations and the audit name it.</summary>
    public Actor Actor => new(Who?.Name ?? "nobody", Grant?.Group ?? SecurityGroup.PatronLimited) { PatronId = Grant?.PatronId };

    /// <summary>Ids of the sites whose people the visitor may see; null is every site of the district.</summary>
    public IReadOnlyList<int>? Sites => Grant is null ? [] : Grant.Sites;

    /// <summary>People of this site may be seen; null is no site.</summary>
    public bool Sees(int? siteId) => Sites is null || (siteId is { } id && Sites.Contains(id));

    /// <summary>The district; null for somebody who belongs to none. Pages that need a security group always have one.</summary>
    public District District { get; private set; } = null!;

    /// <summary>Those that the visitor belongs to.</summary>
    public IReadOnlyList<District> Districts { get; private set; } = [];

    /// <summary>Operations that need an approval, as far as the visitor decides on them, and people in Review.</summary>
    public (int Approvals, int Reviews) Open { get; private set; }

    /// <summary>What of the district's queue was not done with when this request began, the newest first.</summary>
    public IReadOnlyList<OpenOperation> Queue { get; private set; } = [];

    /// <summary>Districts that wait for a tenant to be allowed; for the operator alone.</summary>
    public int TenantRequests { get; private set; }

    /// <summary>The first page of somebody like this.</summary>
    public string Home =>
        Who is { LacksFactor: true } ? "/account"
        : May(Need.Librarian) ? "/"
        : May(Need.StudentAide) ? "/aide"
        : May(Need.PatronLimited) ? "/me"
        : "/welcome";

    /// <summary>The visitor is what is needed.</summary>
    public bool May(Need need) =>
        need switch
        {
            Need.Anyone => true,
            Need.SignedIn => Who is not null,
            _ when Who is { LacksFactor: true } => false,
            Need.Operator => Who is { IsOperator: true },
            _ => Grant is { } grant && Access.Group(need) is { } group && grant.Group >= group,
        };

    /// <summary>The visitor may take this route of <see cref="Access"/>, such as <c>/Index PostSync</c>.</summary>
    public bool Can(string route) => Access.Of(route) is { } need && May(need);

    /// <summary>Why the visitor may not change this patron, as a sentence; null when they may, as far as their group goes.</summary>
    public string? Refusal(Patron patron) =>
        PatronGuard.Refusal(Actor.Right, patron, ChangeKind.Update, new ChangeValues()) is { } refusal ? $"{refusal}." : null;

    /// <summary>Where times are told; UTC for somebody who belongs to no district.</summary>
    public TimeZoneInfo Zone => Grant is null ? TimeZoneInfo.Utc : District.Zone;

    public DateTimeOffset Now => time.GetUtcNow();

    /// <summary>The date where the district is.</summary>
    public DateOnly Today => DistrictService.Today(District, time);

    /// <summary>
    /// Finds the visitor's district by address, then by cookie, then the first that they belong to. A part of a page that is open stays with the
    /// page's own, and chooses none for what comes after.
    /// </summary>
    /// <returns>False when they belong to none.</returns>
    public async Task<bool> LoadAsync(HttpContext http)
    {
        if (_loaded)
        {
            return Grant is not null;
        }

        _loaded = true;
        Who = http.Features.Get<Who>();
        if (Who is null or { Grants.Count: 0 })
        {
            return false;
        }

        // Nothing that a visitor sends leads to a district which is not theirs.
        var own = Who.Grants.ToDictionary(g => g.DistrictId);
        Districts = [.. (await districts.ListAsync(http.RequestAborted)).Where(d => own.ContainsKey(d.Id))];
        if (Districts.Count == 0)
        {
            return false;
        }

        var part = PartOf(http.Request);
        var asked = part is { Length: > 0 } ? Find(part) : Find(http.Request.Query["district"]);
        if (asked is null && part is { Length: > 0 })
        {
            return false;
        }

        if (asked is not null && part is null)
        {
            http.Response.Cookies.Append(
                Cookie,
                asked.Code,
                new CookieOptions
                {
                    HttpOnly = true,
                    Secure = http.Request.IsHttps,
                    SameSite = SameSiteMode.Lax,
                    MaxAge = TimeSpan.FromDays(365),
                    IsEssential = true,
                }
            );
        }

        District = asked ?? Find(http.Request.Cookies[Cookie]) ?? Districts[0];
        Grant = own[District.Id];
        Confinement.To(District.Id);
        return true;

        District? Find(string? code) =>
            code is null ? null : Districts.FirstOrDefault(d => string.Equals(d.Code, code, StringComparison.OrdinalIgnoreCase));
    }

    /// <summary>
    /// Looks again who asks and what they may do: a form takes its time to arrive, and is let in before. The district stays the one that the form
    /// is of.
    /// </summary>
    public async Task LookAgainAsync(HttpContext http)
    {
        if (Who is not { } before)
        {
            return;
        }

        var now = SessionCookie.Read(http) is { } token
            ? await http.RequestServices.GetRequiredService<Sessions>().LookAsync(token, http.RequestAborted)
            : null;
        Who = now?.SessionId == before.SessionId ? now : null;
        http.Features.Set(Who);
        if (Grant is { DistrictId: var id })
        {
            Grant = Who?.Grants.FirstOrDefault(g => g.DistrictId == id);
            Districts = [.. Districts.Where(d => Who?.Grants.Any(g => g.DistrictId == d.Id) == true)];
            District = Grant is null ? null! : District;
        }

        if (!May(Need.Librarian))
        {
            (Open, Queue, TenantRequests) = ((0, 0), [], 0);
        }
    }

    /// <summary>The district of the page that this is a part of; null for what is no part.</summary>
    private static string? PartOf(HttpRequest request) =>
        request.Path.Equals(LiveEvents.Path, StringComparison.OrdinalIgnoreCase) ? request.Query["district"].ToString()
        : request.Headers.ContainsKey("HX-Request") ? request.Headers[Header].ToString()
        : null;

    public async Task CountOpenAsync(CancellationToken cancellationToken)
    {
        (Queue, var reviews) = await reading.OpenAsync(District.Id, cancellationToken);
        Open = Sites is null
            ? (Queue.Count(o => o.Status == OperationStatus.NeedsApproval), reviews)
            : (
                0,
                reviews == 0
                    ? 0
                    : (await reading.ReviewCountsAsync(District.Id, cancellationToken)).Where(s => Sees(s.Key)).Sum(s => s.Value)
            );
        TenantRequests = May(Need.Operator) ? (await requests.ListAsync(cancellationToken)).Count : 0;
    }

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

/// <summary>Finds the district before a page works, and lets a handler run only for whom the table of permissions lists it: once all of a form has
/// arrived, for whom it does so then.</summary>
internal sealed class HereFilter(Here here, ILogger<HereFilter> logger) : IAsyncPageFilter
{
    public Task OnPageHandlerSelectionAsync(PageHandlerSelectedContext context) => Task.CompletedTask;

    public async Task OnPageHandlerExecutionAsync(PageHandlerExecutingContext context, PageHandlerExecutionDelegate next)
    {
        var http = context.HttpContext;
        var page = context.ActionDescriptor.ViewEnginePath;
        var handler = context.HandlerMethod is { } method ? method.HttpMethod + method.Name : null;
        var route = Access.Route(page, handler, http.Request.Method);
        var need = Access.Of(route);
        if (need is null)
        {
            logger.LogError("The route '{Route}' is not in the table of permissions: nobody gets there", route);
            context.Result = new ForbidPageResult();
            return;
        }

        try
        {
            if (await here.LoadAsync(http) && here.May(Need.Librarian))
            {
                await here.CountOpenAsync(http.RequestAborted);
            }
        }
        catch (Exception e) when (page is "/Error" && e is not OperationCanceledException)
        {
            // The database may be what is wrong, and what comes of a connection that was cut is of any kind: the page then comes without the
            // district around it.
        }

        if (!here.May(need.Value))
        {
            context.Result = Refusal();
            return;
        }

        if (page is not "/Error" && await HoldsNulAsync(http))
        {
            http.Items[ErrorModel.WordsKey] = "What was sent holds a NUL, which no text here has. Go back and type it anew.";
            context.Result = new BadRequestResult();
            return;
        }

        if (
            page is not "/Error"
            && (http.Request.HasFormContentType || !(HttpMethods.IsGet(http.Request.Method) || HttpMethods.IsHead(http.Request.Method)))
        )
        {
            await here.LookAgainAsync(http);
            if (!here.May(need.Value))
            {
                context.Result = here.Who is null ? SignedIn.Ended(http) : Refusal();
                return;
            }
        }

        await next();

        IActionResult Refusal() =>
            here.Who is null ? new RedirectResult("/signin")
            : here.Who.LacksFactor && HttpMethods.IsGet(http.Request.Method) ? new RedirectResult("/account")
            : here.Grant is null && HttpMethods.IsGet(http.Request.Method) && Access.Group(need.Value) is not null
                ? new RedirectResult("/welcome")
            : page is "/Index" && HttpMethods.IsGet(http.Request.Method) ? new RedirectResult(here.Home)
            : new ForbidPageResult();
    }

    /// <summary>A field of the form holds a character that PostgreSQL fails at. What a file holds is its reader's.</summary>
    private static async Task<bool> HoldsNulAsync(HttpContext http) =>
        http.Request.HasFormContentType
        && (await http.Request.ReadFormAsync(http.RequestAborted)).Any(f =>
            f.Key != "content" && f.Value.Any(v => v?.Contains('\0', StringComparison.Ordinal) == true)
        );
}

/// <summary>Refuses in the error page's words.</summary>
internal sealed class ForbidPageResult : StatusCodeResult
{
    public ForbidPageResult()
        : base(StatusCodes.Status403Forbidden) { }
}
