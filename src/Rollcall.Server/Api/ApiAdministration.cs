using System.Globalization;
using System.Text;
using Microsoft.AspNetCore.Http.HttpResults;
using Rollcall.Audit;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Server.Commands;
using Rollcall.Server.Pages.Parts;
using Rollcall.SignIn;

namespace Rollcall.Server.Api;

/// <summary>
/// What an administrator's screens do, for programs: notices, sign-in with ClassLink, audit, accounts, access tokens.
/// <para>
/// Nothing here makes a way in that opens more than the caller's token does. A token hands on a part of its own scopes, for no longer than it
/// lives, and the new one ends with it. Whoever signs in with an account may do all that its group may: so <see cref="Access"/> asks every
/// scope of a district of a token that makes an account, or gets a link that opens one. Answers that hold a secret are not kept for an
/// <c>Idempotency-Key</c>.
/// </para>
/// </summary>
internal static class ApiAdministration
{
    private const string CallbackPath = "/signin/classlink/callback";

    private static readonly (string Word, NoticeEvents Event)[] s_events =
    [
        ("failed", NoticeEvents.Failed),
        ("held", NoticeEvents.Held),
        ("warnings", NoticeEvents.Warnings),
        ("completed", NoticeEvents.Completed),
    ];

    public static void Map(RouteGroupBuilder api)
    {
        ApiRoutes.Describe(
            api.MapGet("/notices", NoticesAsync),
            "notices",
            "List notices and what became of them, the newest first, page by page"
        );
        ApiRoutes.Describe(
            api.MapGet("/notices/settings", NoticeSettingsAsync),
            "noticeSettings",
            "Show whom the district tells, and of what"
        );
        ApiRoutes.Describe(
            api.MapPatch("/notices/settings", ChangeNoticeSettingsAsync),
            "changeNoticeSettings",
            "Change whom the district tells"
        );
        ApiRoutes.Describe(api.MapPost("/notices/test", TestNoticesAsync), "testNotices", "Send a test to every place now");

        ApiRoutes.Describe(
            api.MapGet("/integrations/classlink/sign-in", SignInAsync),
            "classLinkSignIn",
            "Show whether people sign in with ClassLink"
        );
        ApiRoutes.Describe(
            api.MapPatch("/integrations/classlink/sign-in", ChangeSignInAsync),
            "changeClassLinkSignIn",
            "Let people sign in with ClassLink, or stop it"
        );
        ApiRoutes.Describe(
            api.MapGet("/classlink-application", ApplicationAsync),
            "classLinkApplication",
            "Show the application by which ClassLink knows this installation, without its secret"
        );
        ApiRoutes.Describe(
            api.MapPatch("/classlink-application", ChangeApplicationAsync),
            "changeClassLinkApplication",
            "Store the application by which ClassLink knows this installation"
        );
        ApiRoutes.Describe(api.MapGet("/partner-key", PartnerKeyAsync), "partnerKey", "Say whether a ClassLink partner key is stored");
        ApiRoutes.Describe(
            api.MapPut("/partner-key", StorePartnerKeyAsync),
            "storePartnerKey",
            "Store this installation's ClassLink partner key, in place of the one before; it is never shown"
        );
        ApiRoutes.Describe(
            api.MapDelete("/partner-key", RemovePartnerKeyAsync),
            "removePartnerKey",
            "Remove the partner key: districts that connect with it do so no more"
        );
        ApiRoutes.Describe(
            api.MapDelete("/districts/{code}/tenant-request", RefuseTenantAsync),
            "refuseTenant",
            "Put aside what a district asked for; it may ask again"
        );

        ApiRoutes.Describe(api.MapGet("/audit", AuditAsync), "audit", "Read who did what, the newest first, page by page");

        ApiRoutes.Describe(
            api.MapGet("/installation/audit", InstallationAuditAsync),
            "installationAudit",
            "Read who did what to the installation, the newest first, page by page"
        );

        ApiRoutes.Describe(api.MapGet("/accounts", AccountsAsync), "accounts", "List the accounts of the district, page by page");
        ApiRoutes.Describe(
            api.MapPost("/accounts", AddAccountAsync),
            "addAccount",
            "Add an account, or change what one may do in the district"
        );
        ApiRoutes.Describe(
            api.MapPost("/accounts/{id:long}/password-link", PasswordLinkAsync),
            "accountPasswordLink",
            "Make a link that sets the account's password"
        );
        ApiRoutes.Describe(
            api.MapPost("/accounts/{id:long}/lock", LockAsync),
            "lockAccount",
            "Close an account until somebody opens it; its sessions end"
        );
        ApiRoutes.Describe(api.MapPost("/accounts/{id:long}/unlock", UnlockAsync), "unlockAccount", "Open a closed account");
        ApiRoutes.Describe(
            api.MapDelete("/accounts/{id:long}/sessions", EndSessionsAsync),
            "endSessions",
            "Sign an account out everywhere"
        );
        ApiRoutes.Describe(
            api.MapDelete("/accounts/{id:long}/second-factor", DropFactorAsync),
            "dropSecondFactor",
            "Take a lost second factor away; the account is signed out everywhere"
        );
        ApiRoutes.Describe(
            api.MapDelete("/accounts/{id:long}", RemoveAccountAsync),
            "removeAccount",
            "Take an account's place in the district away"
        );

        ApiRoutes.Describe(
            api.MapGet("/tokens", TokensAsync),
            "tokens",
            "List the district's access tokens, the newest first, page by page; those that ended are among them"
        );
        ApiRoutes.Describe(
            api.MapPost("/tokens", AddTokenAsync),
            "addToken",
            "Make an access token with a part of one's own rights; it ends with the token that made it"
        );
        ApiRoutes.Describe(api.MapDelete("/tokens/{id:long}", RevokeTokenAsync), "revokeToken", "End an access token at once");
    }

    // Notices

    private static async Task<Page<NoticeView>> NoticesAsync(
        NoticeService notices,
        HttpContext http,
        int? limit = null,
        string? cursor = null
    )
    {
        var size = ApiRoutes.Size(limit);
        var page = await notices.ListAsync(
            Caller.Of(http).District.Id,
            take: size,
            before: cursor is null ? null : ApiRoutes.Number(cursor),
            cancellationToken: http.RequestAborted
        );
        return new([.. page.Select(View)], page.Count < size ? null : ApiRoutes.Cursor(page[^1].Id));
    }

    private static async Task<NoticeSettingView> NoticeSettingsAsync(NoticeService notices, HttpContext http) =>
        View(await notices.FindAsync(Caller.Of(http).District.Id, http.RequestAborted));

    private static async Task<NoticeSettingView> ChangeNoticeSettingsAsync(NoticeSettingPatch body, NoticeService notices, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        var events = body.Events?.Aggregate(
            NoticeEvents.None,
            (all, word) =>
                all
                | (
                    Array.Find(s_events, e => string.Equals(e.Word, word.Trim(), StringComparison.OrdinalIgnoreCase))
                        is { Word: not null } known
                        ? known.Event
                        : throw new RollcallException($"'{Text.Cut(word, 40)}' is no event: there is failed, held, warnings and completed.")
                )
        );
        return View(
            await notices.SetAsync(
                district.Id,
                body.Emails,
                events,
                body.Webhook,
                Text.Clean(body.WebhookSecret),
                actor.Name,
                http.RequestAborted
            )
        );
    }

    private static async Task<IReadOnlyList<NoticeView>> TestNoticesAsync(NoticeService notices, HttpContext http) =>
        [.. (await notices.TestAsync(Caller.Of(http).District, http.RequestAborted)).Select(View)];

    private static NoticeSettingView View(NoticeSetting setting) =>
        new(setting.Addresses, [.. s_events.Where(e => setting.Events.HasFlag(e.Event)).Select(e => e.Word)], setting.WebhookUrl);

    private static NoticeView View(Notice notice) =>
        new(
            notice.Id,
            notice.OperationId,
            notice.Channel.ToString().ToLowerInvariant(),
            notice.Target,
            notice.Event == NoticeEvents.None ? "test" : notice.Event.ToString().ToLowerInvariant(),
            notice.Subject,
            notice.Status.ToString().ToLowerInvariant(),
            notice.Attempts,
            notice.CreatedAt,
            notice.SentAt,
            notice.Error
        );

    // Sign-in with ClassLink

    private static async Task<ClassLinkSignInView> SignInAsync(IntegrationService integrations, ClassLinkSignIn signIn, HttpContext http)
    {
        var row = await integrations.FindAsync(Caller.Of(http).District.Id, IntegrationKind.ClassLink, http.RequestAborted);
        var login = IntegrationService.SettingsOf(row).Login;
        return new(login.On, login.ByEmail, await signIn.ClientAsync(http.RequestAborted) is not null, CallbackPath);
    }

    private static async Task<ClassLinkSignInView> ChangeSignInAsync(
        ClassLinkSignInPatch body,
        IntegrationService integrations,
        ClassLinkSignIn signIn,
        HttpContext http
    )
    {
        var (district, actor) = Caller.Of(http);
        var present = await SignInAsync(integrations, signIn, http);
        if (body.On is null && body.ByEmail is null)
        {
            throw new RollcallException("Nothing to change was given: say on or byEmail.");
        }

        await signIn.TurnAsync(district.Id, body.On ?? present.On, body.ByEmail, actor.Name, http.RequestAborted);
        return await SignInAsync(integrations, signIn, http);
    }

    private static async Task<ClassLinkApplicationView> ApplicationAsync(ClassLinkSignIn signIn, HttpContext http) =>
        await signIn.ClientAsync(http.RequestAborted) is { } client
            ? new(client.ClientId, client.Secret.Length > 0, client.AcceptTiles)
            : new(null, false, false);

    /// <summary>ClassLink's addresses are not among it: a secret goes to the one that is stored, and to no other that a program names.</summary>
    private static async Task<NoContent> ChangeApplicationAsync(ClassLinkApplicationPatch body, ClassLinkSignIn signIn, HttpContext http)
    {
        await signIn.StoreClientAsync(
            Text.Clean(body.ClientId),
            Text.Clean(body.ClientSecret),
            launchpad: null,
            api: null,
            body.AcceptTiles,
            Caller.Of(http).Actor.Name,
            http.RequestAborted
        );
        return TypedResults.NoContent();
    }

    // What the operator keeps for all districts

    private static async Task<PartnerKeyView> PartnerKeyAsync(IntegrationService integrations, HttpContext http) =>
        new(await integrations.HasPartnerKeyAsync(http.RequestAborted));

    private static async Task<NoContent> StorePartnerKeyAsync(NewPartnerKey body, IntegrationService integrations, HttpContext http)
    {
        await integrations.StorePartnerKeyAsync(body.Key, Caller.Of(http).Actor.Name, http.RequestAborted);
        return TypedResults.NoContent();
    }

    private static async Task<NoContent> RemovePartnerKeyAsync(IntegrationService integrations, HttpContext http) =>
        await integrations.RemovePartnerKeyAsync(Caller.Of(http).Actor.Name, http.RequestAborted)
            ? TypedResults.NoContent()
            : throw new NotFoundException("No partner key is stored.");

    private static async Task<NoContent> RefuseTenantAsync(
        string code,
        DistrictService districts,
        TenantRequests requests,
        HttpContext http
    )
    {
        var district = await ApiRoutes.DistrictAsync(code, districts, http);
        return await requests.RefuseAsync(district.Id, Caller.Of(http).Actor.Name, http.RequestAborted)
            ? TypedResults.NoContent()
            : throw new NotFoundException($"{district.Name} asks for no tenant. /districts shows what each asks for.");
    }

    // Audit

    private static Task<Page<AuditView>> AuditAsync(
        AuditLog audit,
        HttpContext http,
        string? from = null,
        string? to = null,
        string? action = null,
        string? search = null,
        int? limit = null,
        string? cursor = null
    ) => AuditPageAsync(Caller.Of(http).District, audit, http, from, to, action, search, limit, cursor);

    /// <summary>Of no district, and told in UTC.</summary>
    private static Task<Page<AuditView>> InstallationAuditAsync(
        AuditLog audit,
        HttpContext http,
        string? from = null,
        string? to = null,
        string? action = null,
        string? search = null,
        int? limit = null,
        string? cursor = null
    ) => AuditPageAsync(new District(), audit, http, from, to, action, search, limit, cursor);

    private static async Task<Page<AuditView>> AuditPageAsync(
        District district,
        AuditLog audit,
        HttpContext http,
        string? from,
        string? to,
        string? action,
        string? search,
        int? limit,
        string? cursor
    )
    {
        var size = ApiRoutes.Size(limit);
        var filter = new AuditFilter(
            from is null ? null : Arguments.Instant(from, "from", district),
            to is null ? null : Arguments.Instant(to, "to", district),
            Text.Clean(action),
            search is null ? null : Text.Cut(search, 200),
            cursor is null ? null : ApiRoutes.Number(cursor)
        );
        var (lines, _) = await audit.PageAsync(district.Id, filter, 1, size, http.RequestAborted);
        return new(
            [.. lines.Select(l => new AuditView(l.Id, l.At, l.Actor, l.Action, l.Details))],
            lines.Count < size ? null : ApiRoutes.Cursor(lines[^1].Id)
        );
    }

    // Accounts

    private static async Task<Page<AccountView>> AccountsAsync(
        Accounts accounts,
        AccountDesk desk,
        HttpContext http,
        string? search = null,
        int? limit = null,
        string? cursor = null
    )
    {
        var (district, _) = Caller.Of(http);
        var size = ApiRoutes.Size(limit);
        var after = cursor is null ? 0 : ApiRoutes.Number(cursor);
        var sessions = await desk.SessionsAsync(district.Id, http.RequestAborted);
        var page = await accounts.NextAsync(district.Id, Text.Clean(search), after, size, http.RequestAborted);
        return new(
            [
                .. page.Select(a =>
                {
                    var (_, group, sites) = a.Memberships[0];
                    return new AccountView(
                        a.Id,
                        a.Email,
                        PatronFields.GroupWord(group),
                        sites?.Split(',', StringSplitOptions.RemoveEmptyEntries) ?? [],
                        a.HasPassword,
                        a.SecondFactor,
                        a.Passkeys,
                        a.LockedUntil is not null,
                        sessions.GetValueOrDefault(a.Id)
                    );
                }),
            ],
            page.Count < size ? null : ApiRoutes.Cursor(page[^1].Id)
        );
    }

    private static async Task<AccountLink> AddAccountAsync(NewAccount body, AccountDesk desk, Reach reach, HttpContext http)
    {
        var caller = Caller.Of(http);
        var group =
            PatronFields.ParseGroup(body.Group)
            ?? throw new RollcallException(
                $"'{Text.Cut(body.Group, 40)}' is no security group: an account's is Student Aide, Librarian, Library Administrator or District Administrator."
            );
        var sites = body.Sites is { Count: > 0 } given ? string.Join(',', given) : null;
        var (_, code) = await desk.AddAsync(caller.District, body.Email, group, sites, By(caller), http.RequestAborted);
        return Link(body.Email.Trim(), code, reach, http);
    }

    private static async Task<AccountLink> PasswordLinkAsync(long id, Accounts accounts, AccountDesk desk, Reach reach, HttpContext http)
    {
        var caller = Caller.Of(http);
        var code = await FoundAsync(id, accounts, http, () => desk.ResetAsync(caller.District, id, By(caller), http.RequestAborted));
        return Link((await accounts.GetAsync(id, http.RequestAborted))?.Email ?? "", code, reach, http);
    }

    private static async Task<NoContent> LockAsync(long id, Accounts accounts, AccountDesk desk, HttpContext http) =>
        await DoAsync(id, accounts, http, (district, by) => desk.LockAsync(district, id, by, http.RequestAborted));

    private static async Task<NoContent> UnlockAsync(long id, Accounts accounts, AccountDesk desk, HttpContext http) =>
        await DoAsync(id, accounts, http, (district, by) => desk.UnlockAsync(district, id, by, http.RequestAborted));

    private static async Task<NoContent> EndSessionsAsync(long id, Accounts accounts, AccountDesk desk, HttpContext http) =>
        await DoAsync(id, accounts, http, (district, by) => desk.EndSessionsAsync(district, id, by, http.RequestAborted));

    private static async Task<NoContent> DropFactorAsync(long id, Accounts accounts, AccountDesk desk, HttpContext http) =>
        await DoAsync(id, accounts, http, (district, by) => desk.DropSecondFactorAsync(district, id, by, http.RequestAborted));

    private static async Task<NoContent> RemoveAccountAsync(long id, Accounts accounts, AccountDesk desk, HttpContext http) =>
        await DoAsync(id, accounts, http, (district, by) => desk.RemoveAsync(district, id, by, http.RequestAborted));

    private static async Task<NoContent> DoAsync(long id, Accounts accounts, HttpContext http, Func<District, Who, Task> act)
    {
        var caller = Caller.Of(http);
        await FoundAsync(
            id,
            accounts,
            http,
            async () =>
            {
                await act(caller.District, By(caller));
                return true;
            }
        );
        return TypedResults.NoContent();
    }

    private static async Task<T> FoundAsync<T>(long id, Accounts accounts, HttpContext http, Func<Task<T>> act)
    {
        var (district, _) = Caller.Of(http);
        return await accounts.HasAsync(district.Id, id, http.RequestAborted)
            ? await act()
            : throw new NotFoundException($"There is no account {id} in this district. /accounts lists those there are.");
    }

    /// <summary>A token stands for whoever made it, and is nobody's operator.</summary>
    private static Who By(Caller caller) => new("", caller.Actor.Name, SignInMethod.Link, caller.Grant.AccountId, IsOperator: false, []);

    private static AccountLink Link(string email, string? code, Reach reach, HttpContext http) =>
        new(email, code is null ? null : $"{reach.Origin(http.Request)}/link?code={code}");

    // Access tokens

    private static async Task<Page<TokenView>> TokensAsync(
        AccessTokens tokens,
        HttpContext http,
        string? search = null,
        int? limit = null,
        string? cursor = null
    )
    {
        var size = ApiRoutes.Size(limit);
        var before = cursor is null ? long.MaxValue : ApiRoutes.Number(cursor);
        var page = await tokens.NextAsync(
            Caller.Of(http).District.Id,
            Text.Clean(search) is null ? null : t => Words.Fits(search, t.Name, t.CreatedBy),
            before,
            size,
            http.RequestAborted
        );
        return new([.. page.Select(View)], page.Count < size ? null : ApiRoutes.Cursor(page[^1].Id));
    }

    private static async Task<MadeToken> AddTokenAsync(NewToken body, AccessTokens tokens, HttpContext http)
    {
        var caller = Caller.Of(http);
        var grant = caller.Grant;
        var group = body.Group is null
            ? grant.Group
            : PatronFields.ParseGroup(body.Group)
                ?? throw new RollcallException(
                    $"'{Text.Cut(body.Group, 40)}' is no security group: a token's is Library Administrator or District Administrator."
                );
        var scopes = AccessTokens.Parse(body.Scopes);
        Access.CheckUse(group, scopes);
        var (row, token) = await tokens.CreateAsync(
            caller.District,
            body.Name,
            group,
            scopes,
            TimeSpan.FromDays(Math.Clamp(body.Days, 0, 10_000)),
            caller.Actor with
            {
                Right = grant.Group,
            },
            grant.AccountId,
            grant.PatronId,
            grant,
            cancellationToken: http.RequestAborted
        );
        return new(View(row), token);
    }

    private static async Task<RevokedToken> RevokeTokenAsync(long id, AccessTokens tokens, HttpContext http)
    {
        var (district, actor) = Caller.Of(http);
        if (!await tokens.HasAsync(district.Id, id, http.RequestAborted))
        {
            throw new NotFoundException(
                string.Create(CultureInfo.InvariantCulture, $"There is no token {id}. /tokens lists those there are.")
            );
        }

        return new(id, await tokens.RevokeAsync(district.Id, id, actor.Name, http.RequestAborted));
    }

    private static TokenView View(AccessToken row) =>
        new(
            row.Id,
            row.Name,
            PatronFields.GroupWord(row.Group),
            [.. AccessTokens.WordsOf(row.Scopes)],
            row.CreatedBy,
            row.CreatedAt,
            row.ExpiresAt,
            row.LastUsedAt,
            row.RevokedAt
        );
}
