using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Threading.RateLimiting;
using Microsoft.AspNetCore.Diagnostics;
using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.OneRoster;
using Rollcall.Patrons;
using Rollcall.Server.Commands;
using Rollcall.Server.Pages.Parts;
using Rollcall.SignIn;
using Rollcall.Storage;

namespace Rollcall.Server.Api;

/// <summary>Who calls the API. Handlers take district and actor from here and from nowhere else.</summary>
/// <param name="grant">The token.</param>
/// <param name="district">The token's district; null for the operator's, which no route of a district lets in.</param>
internal sealed class Caller(TokenGrant grant, District? district)
{
    public TokenGrant Grant => grant;
    public Actor Actor => grant.Actor;

    /// <summary>Of a route that needs one.</summary>
    public District District =>
        OwnDistrict ?? throw new InvalidOperationException("The route is not closed to callers without a district.");

    /// <summary>Of a route that an operator's token may take too; null for that.</summary>
    public District? OwnDistrict { get; } = district;

    public static Caller Of(HttpContext http) =>
        http.Features.Get<Caller>() ?? throw new InvalidOperationException("The route is open to callers without a token.");

    public void Deconstruct(out District district, out Actor actor) => (district, actor) = (District, Actor);
}

/// <summary>Marks a route that starts something: it takes an <c>Idempotency-Key</c>.</summary>
internal sealed class StartsSomething;

/// <summary>
/// Stands before the REST API: who calls, may they, how often, and has this been asked before. Only a token opens anything here: a browser's
/// session does not, so that no page elsewhere can call with it. Every refusal and every fault is a problem document (RFC 9457) with one
/// sentence that says what to do.
/// </summary>
internal sealed class ApiGate(RequestDelegate next, RollcallDatabase database, ApiQuery query, TimeProvider time, ILogger<ApiGate> logger)
    : IDisposable
{
    public const string Root = "/api";

    /// <summary>The longest key a caller may give.</summary>
    public const int LongestKey = 200;

    /// <summary>Requests of one token: so many at once, and so many a second from then on.</summary>
    public const int Burst = 600;
    public const int PerSecond = 20;

    /// <summary>Requests a minute from one address whose token is not good.</summary>
    public const int Strangers = 300;

    private const int LargestKept = 256 * 1024;

    /// <summary>In front of a kept answer that names an address. No JSON begins like that.</summary>
    private const string KeptLocation = "Location: ";

    private readonly PartitionedRateLimiter<(Asker Kind, string Key)> _limiter = PartitionedRateLimiter.Create<
        (Asker Kind, string Key),
        string
    >(by =>
        by.Kind == Asker.Token
            ? RateLimitPartition.GetTokenBucketLimiter(
                $"{by.Kind} {by.Key}",
                _ => new TokenBucketRateLimiterOptions
                {
                    TokenLimit = Burst,
                    TokensPerPeriod = PerSecond,
                    ReplenishmentPeriod = TimeSpan.FromSeconds(1),
                    QueueLimit = 0,
                }
            )
            : RateLimitPartition.GetFixedWindowLimiter(
                $"{by.Kind} {by.Key}",
                _ => new FixedWindowRateLimiterOptions
                {
                    PermitLimit = Strangers,
                    Window = TimeSpan.FromMinutes(1),
                    QueueLimit = 0,
                }
            )
    );

    /// <summary>Who is counted together: what is open to everybody is not closed by somebody who tries tokens.</summary>
    private enum Asker
    {
        Anyone,
        Stranger,
        Token,
    }

    private readonly ApiRoom _room = new();

    public void Dispose() => _limiter.Dispose();

    public async Task InvokeAsync(HttpContext http, AccessTokens tokens, DistrictService districts)
    {
        if (!http.Request.Path.StartsWithSegments(Root, StringComparison.OrdinalIgnoreCase))
        {
            await next(http);
            return;
        }

        // Answers of the API are never the pages' error page.
        http.Features.Get<IStatusCodePagesFeature>()?.Enabled = false;
        try
        {
            if (Gate.HoldsNul(http.Request))
            {
                await ProblemAsync(http, StatusCodes.Status400BadRequest, Gate.NulWords);
                return;
            }

            await HandleAsync(http, tokens, districts);
            if (!http.Response.HasStarted && http.Response is { StatusCode: >= 400, ContentType: null })
            {
                await ProblemAsync(http, http.Response.StatusCode, Sentence(http.Response.StatusCode));
            }
        }
        catch (Exception e)
            when (!http.Response.HasStarted && !(e is OperationCanceledException && http.RequestAborted.IsCancellationRequested))
        {
            http.Response.Clear();
            await FaultAsync(http, e);
        }
    }

    private async Task HandleAsync(HttpContext http, AccessTokens tokens, DistrictService districts)
    {
        if (http.GetEndpoint() is not RouteEndpoint endpoint)
        {
            if (http.GetEndpoint() is not null)
            {
                // The address is there, for other methods.
                await next(http);
                return;
            }

            await ProblemAsync(
                http,
                StatusCodes.Status404NotFound,
                "There is nothing at this address. /api/v1/openapi.json describes what there is."
            );
            return;
        }

        var route = Access.Route(endpoint, http.Request.Method);
        var need = Access.Of(route);
        if (need == Need.Anyone)
        {
            if (await IsTooOftenAsync(http, Asker.Anyone, Address(http)) || await AsksForUnknownAsync(http, endpoint))
            {
                return;
            }

            await next(http);
            return;
        }

        var grant = Bearer(http) is { } token ? await tokens.FindAsync(token, http.RequestAborted) : null;
        if (
            await IsTooOftenAsync(
                http,
                grant is null ? Asker.Stranger : Asker.Token,
                grant?.TokenId.ToString(CultureInfo.InvariantCulture) ?? Address(http)
            )
        )
        {
            return;
        }

        if (grant is null)
        {
            await NoTokenAsync(http);
            return;
        }

        District? district = null;
        if (grant.DistrictId is { } id)
        {
            district = (await districts.ListAsync(http.RequestAborted)).FirstOrDefault(d => d.Id == id);
        }

        if (need is null)
        {
            logger.LogError("The route '{Route}' is not in the table of permissions: nobody gets there", route);
        }

        if (Refusal(need, Access.ScopeOf(route), grant, district) is { } refusal)
        {
            await ProblemAsync(http, StatusCodes.Status403Forbidden, refusal);
            return;
        }

        if (await AsksForUnknownAsync(http, endpoint))
        {
            return;
        }

        if (
            HttpMethods.IsPost(http.Request.Method)
            && http.Request.Headers["Idempotency-Key"].ToString().Length > 0
            && endpoint.Metadata.GetMetadata<StartsSomething>() is null
        )
        {
            // Taken and not heeded it would be trusted.
            await ProblemAsync(
                http,
                StatusCodes.Status400BadRequest,
                "This request takes no Idempotency-Key: carried out twice it leaves what one leaves, or its answer is a secret and kept for nobody. Send it without."
            );
            return;
        }

        ApiRoom.Lease? room = null;
        if (endpoint.Metadata.GetMetadata<HoldsBody>() is not null)
        {
            if (!_room.TryTake(grant.TokenId, http.Request.ContentLength, out room))
            {
                await NoRoomAsync(http);
                return;
            }

            if (http.Request.ContentLength is null)
            {
                http.Request.Body = new ApiRoom.CountedBody(http.Request.Body, room);
            }
        }

        using var taken = room;
        http.Features.Set(new Caller(grant, district));
        if (district is not null)
        {
            Confinement.To(district.Id);
        }

        if (IsOnce(http))
        {
            await OnceAsync(http, grant, http.Request.Headers["Idempotency-Key"].ToString());
            return;
        }

        await next(http);
    }

    /// <summary>Before a handler works, and after the body has been read for it: asks again what the token may do.</summary>
    public static async ValueTask<object?> CheckAgainAsync(EndpointFilterInvocationContext context, EndpointFilterDelegate next)
    {
        var http = context.HttpContext;
        if (!HttpMethods.IsGet(http.Request.Method) && http.Features.Get<Caller>() is not null)
        {
            await LookAgainAsync(http);
        }

        return await next(context);
    }

    /// <summary>
    /// Asks again what the token may do that let this request in: a body takes its time to arrive, and whoever lost their rights meanwhile does
    /// nothing by them any more.
    /// </summary>
    /// <exception cref="TokenEndedException">It may do nothing any more.</exception>
    /// <exception cref="ForbiddenException">It may do other things, but not this.</exception>
    public static async Task<Caller> LookAgainAsync(HttpContext http)
    {
        var before = Caller.Of(http);
        var tokens = http.RequestServices.GetRequiredService<AccessTokens>();
        var grant = Bearer(http) is { } token ? await tokens.FindAsync(token, http.RequestAborted) : null;
        if (grant is null)
        {
            throw new TokenEndedException();
        }

        var route = Access.Route((RouteEndpoint)http.GetEndpoint()!, http.Request.Method);
        if (Refusal(Access.Of(route), Access.ScopeOf(route), grant, before.OwnDistrict) is { } refusal)
        {
            throw new ForbiddenException(refusal);
        }

        var now = new Caller(grant, before.OwnDistrict);
        http.Features.Set(now);
        return now;
    }

    private static Task NoTokenAsync(HttpContext http)
    {
        http.Response.Headers.WWWAuthenticate = "Bearer realm=\"rollcall\"";
        return ProblemAsync(
            http,
            StatusCodes.Status401Unauthorized,
            Bearer(http) is null
                ? "A token is missing. Send it as 'Authorization: Bearer TOKEN'; Preferences, Access Tokens makes one."
                : "This token is not good: it is mistyped, has expired or was revoked, or whoever made it may no longer come in."
        );
    }

    /// <summary>Why a token may not do what needs this; null when it may.</summary>
    public static string? Refusal(Need? need, TokenScopes? scope, TokenGrant grant, District? district) =>
        need is null || scope is null ? "Nobody may do this."
        : need == Need.Operator && grant.DistrictId is not null ? "This needs a token of the installation's operator."
        : need is not (Need.SignedIn or Need.Operator) && district is null ? "This needs a token of a district; the operator's opens none."
        : Access.Group(need.Value) is { } group && grant.Group < group ? $"This needs a token of the group {PatronFields.GroupWord(group)}."
        : !grant.Scopes.HasFlag(scope.Value)
            ? $"This token is not for that: it lacks the scope {string.Join(", ", AccessTokens.WordsOf(scope.Value & ~grant.Scopes))}."
        : null;

    /// <summary>The request is one that starts something and comes with a key.</summary>
    private static bool IsOnce(HttpContext http) =>
        http.GetEndpoint()?.Metadata.GetMetadata<StartsSomething>() is not null
        && http.Request.Headers["Idempotency-Key"].ToString().Length > 0;

    /// <summary>Carries a request out once per key; sent again, it gets the first one's answer.</summary>
    private async Task OnceAsync(HttpContext http, TokenGrant grant, string key)
    {
        if (key.Length > LongestKey || key.Any(c => c is < '!' or > '~'))
        {
            await ProblemAsync(
                http,
                StatusCodes.Status400BadRequest,
                $"An Idempotency-Key has 1 to {LongestKey} visible ASCII characters, such as a UUID."
            );
            return;
        }

        var print = await PrintAsync(http.Request);
        var now = time.GetUtcNow();
        await using (var context = database.CreateContextAsOwner())
        {
            var old = now - IdempotentRequest.Kept;
            await context.IdempotentRequests.Where(r => r.CreatedAt < old).ExecuteDeleteAsync(http.RequestAborted);
            context.IdempotentRequests.Add(
                new IdempotentRequest
                {
                    TokenId = grant.TokenId,
                    Key = key,
                    Request = print,
                    CreatedAt = now,
                }
            );
            try
            {
                await context.SaveChangesAsync(http.RequestAborted);
            }
            catch (DbUpdateException e) when (e.InnerException is not null && DatabaseErrors.IsUniqueViolation(e.InnerException))
            {
                await RepeatAsync(http, grant.TokenId, key, print);
                return;
            }
        }

        // Whoever hangs up now does not undo what is being written: the key keeps the answer for when they ask again.
        var gone = http.RequestAborted;
        http.RequestAborted = CancellationToken.None;
        var body = http.Response.Body;
        using var kept = new MemoryStream();
        http.Response.Body = kept;
        var (done, refused) = (false, false);
        try
        {
            await next(http);
            (done, refused) = (http.Response.StatusCode is >= 200 and < 300, http.Response.StatusCode is >= 400 and < 500);
        }
        catch (Exception e) when (IsRefusal(e))
        {
            refused = true;
            throw;
        }
        finally
        {
            http.Response.Body = body;
            http.RequestAborted = gone;
            await using var context = database.CreateContextAsOwner();
            var row = context.IdempotentRequests.Where(r => r.TokenId == grant.TokenId && r.Key == key);
            if (done)
            {
                var (status, text) = (http.Response.StatusCode, kept.Length <= LargestKept ? Keep(http.Response, kept) : null);
                await row.ExecuteUpdateAsync(
                    s => s.SetProperty(r => r.Status, status).SetProperty(r => r.Body, text),
                    CancellationToken.None
                );
            }
            else if (refused)
            {
                // Nothing was started: it may be tried again with the same key.
                await row.ExecuteDeleteAsync(CancellationToken.None);
            }

            // Of a fault nobody knows whether it came before the writing or after: the key stays taken, so that nothing is done twice.
        }

        kept.Position = 0;
        await kept.CopyToAsync(body, gone);
    }

    /// <summary>What says that a request was not carried out. A fault does not: the answer of a commit can be lost too.</summary>
    private static bool IsRefusal(Exception e) =>
        e
            is RollcallException
                or UsageException
                or NotFoundException
                or ForbiddenException
                or ImportRefusedException
                or RosterException
                or BadHttpRequestException
                or NoRoomException
                or TokenEndedException;

    /// <summary>The answer as it is kept: its JSON, behind the address that it names, if it names one.</summary>
    private static string Keep(HttpResponse response, MemoryStream body)
    {
        var text = Encoding.UTF8.GetString(body.GetBuffer(), 0, (int)body.Length);
        return response.Headers.Location.ToString() is { Length: > 0 } to ? $"{KeptLocation}{to}\n{text}" : text;
    }

    private async Task RepeatAsync(HttpContext http, long tokenId, string key, string print)
    {
        // The answer is for whoever may have it now: the repetition had a body, too.
        await LookAgainAsync(http);
        await using var context = database.CreateContextAsOwner();
        var first = await context
            .IdempotentRequests.AsNoTracking()
            .SingleOrDefaultAsync(r => r.TokenId == tokenId && r.Key == key, http.RequestAborted);
        if (first is null || first.Status == 0)
        {
            await ProblemAsync(
                http,
                StatusCodes.Status409Conflict,
                "A request with this Idempotency-Key is being worked on. Ask again in a moment; if this stays, look at the operations before you use another key."
            );
        }
        else if (!string.Equals(first.Request, print, StringComparison.Ordinal))
        {
            await ProblemAsync(
                http,
                StatusCodes.Status422UnprocessableEntity,
                "This Idempotency-Key was used for another request. Give each request a key of its own."
            );
        }
        else if (first.Body is not { } body)
        {
            await ProblemAsync(
                http,
                StatusCodes.Status409Conflict,
                $"The request with this Idempotency-Key was carried out and answered with {first.Status}, but the answer is not kept: it was too long, or somebody was erased from the district since. Look at what it changed."
            );
        }
        else
        {
            http.Response.StatusCode = first.Status;
            http.Response.Headers["Idempotent-Replayed"] = "true";
            if (body.StartsWith(KeptLocation, StringComparison.Ordinal) && body.IndexOf('\n', StringComparison.Ordinal) is > 0 and var end)
            {
                http.Response.Headers.Location = body[KeptLocation.Length..end];
                body = body[(end + 1)..];
            }

            http.Response.ContentType = "application/json; charset=utf-8";
            await http.Response.WriteAsync(body, http.RequestAborted);
        }
    }

    /// <summary>What the request asks for, as a hash. The body can be read again afterwards.</summary>
    private static async Task<string> PrintAsync(HttpRequest request)
    {
        // In memory, whose room is counted: a file of patrons leaves no trace on the disk.
        request.EnableBuffering(bufferThreshold: int.MaxValue);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes($"{request.Method} {request.Path}{request.QueryString}\n"));
        var buffer = new byte[16 * 1024];
        int read;
        while ((read = await request.Body.ReadAsync(buffer)) > 0)
        {
            hash.AppendData(buffer, 0, read);
        }

        request.Body.Position = 0;
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private async Task<bool> IsTooOftenAsync(HttpContext http, Asker kind, string key)
    {
        using var lease = _limiter.AttemptAcquire((kind, key));
        if (lease.IsAcquired)
        {
            return false;
        }

        var wait = lease.TryGetMetadata(MetadataName.RetryAfter, out var after) ? Math.Max(1, (int)Math.Ceiling(after.TotalSeconds)) : 1;
        http.Response.Headers.RetryAfter = wait.ToString(CultureInfo.InvariantCulture);
        await ProblemAsync(http, StatusCodes.Status429TooManyRequests, $"Too many requests. Wait {wait} seconds, then go on more slowly.");
        return true;
    }

    private async Task<bool> AsksForUnknownAsync(HttpContext http, Endpoint endpoint)
    {
        if (query.Refusal(endpoint, http.Request.Query) is not { } refusal)
        {
            return false;
        }

        await ProblemAsync(http, StatusCodes.Status400BadRequest, refusal);
        return true;
    }

    private static Task NoRoomAsync(HttpContext http)
    {
        http.Response.Headers.RetryAfter = "5";
        return ProblemAsync(
            http,
            StatusCodes.Status429TooManyRequests,
            $"Too much is worked on at once: a token has {ApiRoom.MostAtOnce} commands or imports under way at most, and {ApiRoom.MostBytes / 1024 / 1024} MB of their bodies. Wait 5 seconds, then send this again."
        );
    }

    private Task FaultAsync(HttpContext http, Exception fault)
    {
        switch (fault)
        {
            case NoRoomException:
                return NoRoomAsync(http);
            case TokenEndedException:
                return NoTokenAsync(http);
            case NotFoundException:
                return ProblemAsync(http, StatusCodes.Status404NotFound, fault.Message);
            case ForbiddenException:
                return ProblemAsync(http, StatusCodes.Status403Forbidden, fault.Message);
            case ImportRefusedException refused:
                return ProblemAsync(http, StatusCodes.Status422UnprocessableEntity, refused.Message, refused.Problems);
            case RollcallException or UsageException:
                return ProblemAsync(
                    http,
                    StatusCodes.Status422UnprocessableEntity,
                    fault.Message.Contains(PatronGuard.Alone, StringComparison.Ordinal)
                    && http.Features.Get<Caller>()?.Grant.Group >= SecurityGroup.DistrictAdministrator
                        ? $"{fault.Message.TrimEnd('.')}. A token needs every scope of the district for it."
                        : fault.Message
                );
            case RosterException:
                return ProblemAsync(http, StatusCodes.Status502BadGateway, fault.Message);
            case BadHttpRequestException { StatusCode: StatusCodes.Status413PayloadTooLarge }:
                return ProblemAsync(
                    http,
                    StatusCodes.Status413PayloadTooLarge,
                    "The request is larger than this server takes. Send less at once."
                );
            case BadHttpRequestException { StatusCode: StatusCodes.Status408RequestTimeout }:
                return ProblemAsync(
                    http,
                    StatusCodes.Status408RequestTimeout,
                    "The request took too long to arrive, and nothing was done. Send it again, over a faster line or less at once."
                );
            case BadHttpRequestException { InnerException: NulException nul }:
                return ProblemAsync(
                    http,
                    StatusCodes.Status400BadRequest,
                    $"The text at {Text.Cut(nul.Path ?? "", 100)} holds a NUL, which no text here has. Send it without."
                );
            case BadHttpRequestException bad:
                return ProblemAsync(
                    http,
                    bad.StatusCode,
                    bad.InnerException is System.Text.Json.JsonException { Path: { Length: > 0 } path }
                        ? $"The body does not fit at {Text.Cut(path, 100)}. /api/v1/openapi.json describes it."
                        : "The request does not fit: a value is missing or cannot be read. /api/v1/openapi.json describes it."
                );
            case var _ when DatabaseErrors.TakesNoWrites(fault):
                logger.LogError(
                    "The database took no writes for a request of the API: {Method} {Route}",
                    http.Request.Method,
                    (http.GetEndpoint() as RouteEndpoint)?.RoutePattern.RawText ?? "no route"
                );
                return ProblemAsync(http, StatusCodes.Status503ServiceUnavailable, DatabaseErrors.NoWrites);
            case var _ when DatabaseErrors.IsAway(fault):
                // The route and not the address, which may hold somebody's barcode.
                logger.LogWarning(
                    "The database did not answer a request of the API: {Method} {Route}",
                    http.Request.Method,
                    (http.GetEndpoint() as RouteEndpoint)?.RoutePattern.RawText ?? "no route"
                );
                if (HttpMethods.IsGet(http.Request.Method))
                {
                    http.Response.Headers.RetryAfter = "5";
                    return ProblemAsync(
                        http,
                        StatusCodes.Status503ServiceUnavailable,
                        "The database does not answer. Ask again in a moment."
                    );
                }

                // No program is to repeat by itself what may have been carried out.
                return ProblemAsync(
                    http,
                    StatusCodes.Status503ServiceUnavailable,
                    $"The database does not answer. It may have been carried out all the same: look at what it was to change, and only then send it again{(IsOnce(http) ? ", with another Idempotency-Key" : "")}."
                );
            default:
                // The route and not the address, which may hold somebody's barcode.
                logger.LogError(
                    fault,
                    "A request of the API failed: {Method} {Route}",
                    http.Request.Method,
                    (http.GetEndpoint() as RouteEndpoint)?.RoutePattern.RawText ?? "no route"
                );
                return ProblemAsync(
                    http,
                    StatusCodes.Status500InternalServerError,
                    IsOnce(http)
                        ? "This is a fault of the program, not yours. Nothing is half-written, but it may have been carried out and the answer lost: look at the operations and at what it was to change, and only then send it again, with another Idempotency-Key."
                        : "This is a fault of the program, not yours. Nothing is half-written. Try again; if it stays, look into the server's log."
                );
        }
    }

    /// <summary>Refuses with a sentence that says what to do.</summary>
    public static Task ProblemAsync(HttpContext http, int status, string sentence, IReadOnlyList<string>? problems = null)
    {
        http.Response.StatusCode = status;
        var problem = new ApiProblem(Microsoft.AspNetCore.WebUtilities.ReasonPhrases.GetReasonPhrase(status), status, sentence)
        {
            Problems = problems is { Count: > 0 } ? problems : null,
        };
        return http.Response.WriteAsJsonAsync(problem, options: null, "application/problem+json", http.RequestAborted);
    }

    private static string Sentence(int status) =>
        status switch
        {
            StatusCodes.Status405MethodNotAllowed => "This address takes no such request. /api/v1/openapi.json describes what it takes.",
            StatusCodes.Status415UnsupportedMediaType =>
                "The body is of another kind than this address takes. /api/v1/openapi.json describes it.",
            StatusCodes.Status404NotFound => "There is nothing at this address. /api/v1/openapi.json describes what there is.",
            _ => "The request does not fit. /api/v1/openapi.json describes what does.",
        };

    private static string? Bearer(HttpContext http)
    {
        const string scheme = "Bearer ";
        var header = http.Request.Headers.Authorization.ToString();
        return header.StartsWith(scheme, StringComparison.OrdinalIgnoreCase) && header.Length is > 7 and < 300
            ? header[scheme.Length..].Trim()
            : null;
    }

    private static string Address(HttpContext http) => http.Connection.RemoteIpAddress?.ToString() ?? "";
}

/// <summary>What was asked for is not there, or not the caller's to see.</summary>
internal sealed class NotFoundException(string message) : Exception(message);

/// <summary>The token ended while the request arrived.</summary>
internal sealed class TokenEndedException() : Exception("The token is not good any more.");

/// <summary>The token is not for what was asked.</summary>
internal sealed class ForbiddenException(string message) : Exception(message);

/// <summary>What an error is answered with (RFC 9457).</summary>
/// <param name="Title">The status in words.</param>
/// <param name="Status">The status code.</param>
/// <param name="Detail">One sentence that says what is wrong and what to do.</param>
internal sealed record ApiProblem(string Title, int Status, string Detail)
{
    /// <summary>What is wrong with a file, row by row; only there when a file was refused.</summary>
    [System.Text.Json.Serialization.JsonIgnore(Condition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<string>? Problems { get; init; }
}
