using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.SignIn;

/// <summary>Who is signed in on which browser. Rights are never kept in a session: they are read when they are needed.</summary>
public sealed class Sessions(RollcallDatabase database, RollcallOptions options, TimeProvider time)
{
    /// <summary>A session that is not used ends: computers of a library are shared.</summary>
    public static readonly TimeSpan Idle = TimeSpan.FromMinutes(30);

    /// <summary>The longest that anybody stays signed in.</summary>
    public static readonly TimeSpan Longest = TimeSpan.FromHours(12);

    private static readonly TimeSpan s_seenEvery = TimeSpan.FromMinutes(1);

    /// <summary>Signs an account in. Whoever was signed in on this browser is signed out.</summary>
    /// <returns>The value for the browser's cookie.</returns>
    public Task<string> OpenAsync(
        Account account,
        SignInMethod method,
        string? previous,
        Device device,
        CancellationToken cancellationToken = default
    ) =>
        OpenAsync(
            new SignInSession
            {
                AccountId = account.Id,
                Stamp = account.SecurityStamp,
                Method = method,
            },
            previous,
            device,
            cancellationToken
        );

    /// <summary>Signs a patron in. Whoever was signed in on this browser is signed out.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="patronId">The patron.</param>
    /// <param name="method">How they came in.</param>
    /// <param name="previous">What the browser's cookie held.</param>
    /// <param name="device">The browser.</param>
    /// <param name="guid">The record's GUID as it was found; the session ends with it.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>The value for the browser's cookie.</returns>
    public Task<string> OpenAsync(
        int districtId,
        long patronId,
        SignInMethod method,
        string? previous,
        Device device,
        string? guid = null,
        CancellationToken cancellationToken = default
    ) =>
        OpenAsync(
            new SignInSession
            {
                Stamp = StampOf(guid),
                DistrictId = districtId,
                PatronId = patronId,
                Method = method,
            },
            previous,
            device,
            cancellationToken
        );

    private async Task<string> OpenAsync(SignInSession session, string? previous, Device device, CancellationToken cancellationToken)
    {
        var token = Tokens.New();
        var now = time.GetUtcNow();
        session.Id = Tokens.Hash(token);
        session.CreatedAt = now;
        session.SeenAt = now;
        session.ExpiresAt = now + Longest;
        session.Browser = Text.Clean(device.Browser) is { } browser ? Text.Cut(browser, 300) : null;
        session.Address = device.Address;
        await using var context = database.CreateContextAsOwner();
        var old = previous is null ? null : Tokens.Hash(previous);
        await context.SignInSessions.Where(s => s.ExpiresAt <= now || s.Id == old).ExecuteDeleteAsync(cancellationToken);
        context.SignInSessions.Add(session);
        await context.SaveChangesAsync(cancellationToken);
        return token;
    }

    /// <summary>Who holds this cookie now; null when nobody does any more.</summary>
    public Task<Who?> FindAsync(string token, CancellationToken cancellationToken = default) =>
        FindAsync(token, isUse: true, cancellationToken);

    /// <summary>The same, without counting as a use of the session: a page that only stands open does not keep anybody signed in.</summary>
    public Task<Who?> LookAsync(string token, CancellationToken cancellationToken = default) =>
        FindAsync(token, isUse: false, cancellationToken);

    private async Task<Who?> FindAsync(string token, bool isUse, CancellationToken cancellationToken)
    {
        var id = Tokens.Hash(token);
        var now = time.GetUtcNow();
        await using var context = database.CreateContextAsOwner();
        var session = await context.SignInSessions.AsNoTracking().SingleOrDefaultAsync(s => s.Id == id, cancellationToken);
        if (session is null || session.ExpiresAt <= now || session.SeenAt + Idle <= now)
        {
            return null;
        }

        var who = session.AccountId is { } account
            ? await OfAccountAsync(context, session, account, cancellationToken)
            : await OfPatronAsync(context, session, cancellationToken);
        if (isUse && who is not null && session.SeenAt + s_seenEvery <= now)
        {
            await context
                .SignInSessions.Where(s => s.Id == id)
                .ExecuteUpdateAsync(s => s.SetProperty(x => x.SeenAt, now), cancellationToken);
        }

        return who;
    }

    /// <summary>Signs out on this browser.</summary>
    public async Task EndAsync(string token, CancellationToken cancellationToken = default)
    {
        var id = Tokens.Hash(token);
        await using var context = database.CreateContextAsOwner();
        await context.SignInSessions.Where(s => s.Id == id).ExecuteDeleteAsync(cancellationToken);
    }

    /// <summary>The sessions of the same person, the newest first.</summary>
    public async Task<IReadOnlyList<SignInSession>> ListAsync(Who who, CancellationToken cancellationToken = default)
    {
        var now = time.GetUtcNow();
        var idle = now - Idle;
        await using var context = database.CreateContextAsOwner();
        return await Of(context, who)
            .AsNoTracking()
            .Where(s => s.ExpiresAt > now && s.SeenAt > idle)
            .OrderByDescending(s => s.SeenAt)
            .ToListAsync(cancellationToken);
    }

    /// <summary>Ends one session of the same person, or with null all of them: of an account one that is being opened at this moment, too.</summary>
    public async Task EndAsync(Who who, string? sessionId, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        if (sessionId is null && who.AccountId is { } account)
        {
            await Accounts.RenewStampAsync(context, account, cancellationToken);
        }

        await Of(context, who).Where(s => sessionId == null || s.Id == sessionId).ExecuteDeleteAsync(cancellationToken);
    }

    private static IQueryable<SignInSession> Of(RollcallContext context, Who who)
    {
        if (who.AccountId is { } account)
        {
            return context.SignInSessions.Where(s => s.AccountId == account);
        }

        var (district, patron) = (who.Grants[0].DistrictId, who.Grants[0].PatronId);
        return context.SignInSessions.Where(s => s.DistrictId == district && s.PatronId == patron);
    }

    private async Task<Who?> OfAccountAsync(
        RollcallContext context,
        SignInSession session,
        long accountId,
        CancellationToken cancellationToken
    )
    {
        var account = await context.Accounts.AsNoTracking().SingleOrDefaultAsync(a => a.Id == accountId, cancellationToken);
        if (
            account is null
            || !string.Equals(account.SecurityStamp, session.Stamp, StringComparison.Ordinal)
            || Accounts.IsLockedByHand(account, time.GetUtcNow())
        )
        {
            return null;
        }

        var grants = new List<Grant>();
        foreach (
            var m in await context
                .Memberships.AsNoTracking()
                .Where(m => m.AccountId == accountId)
                .OrderBy(m => m.DistrictId)
                .ToListAsync(cancellationToken)
        )
        {
            var sites =
                m.Group >= SecurityGroup.LibraryAdministrator ? null
                : m.Group >= SecurityGroup.StudentAide ? await SitesAsync(context, m.DistrictId, m.SiteAccess, cancellationToken)
                : [];
            grants.Add(new Grant(m.DistrictId, m.Group, sites, null));
        }

        return new Who(session.Id, account.Email ?? "", session.Method, accountId, account.IsOperator, grants)
        {
            // A passkey is two factors in one: the device, and the finger, face or PIN it asks for.
            LacksFactor = options.RequireSecondFactor && !account.TwoFactorEnabled && session.Method != SignInMethod.Passkey,
        };
    }

    private static async Task<Who?> OfPatronAsync(RollcallContext context, SignInSession session, CancellationToken cancellationToken)
    {
        if (session is not { DistrictId: { } district, PatronId: { } id })
        {
            return null;
        }

        if (await ComingInAsync(context, district, id, session.Method == SignInMethod.ClassLink, cancellationToken) is not { } patron)
        {
            return null;
        }

        if (session.Stamp is not null && session.Stamp != StampOf(patron.Guid))
        {
            return null;
        }

        IReadOnlyList<int>? sites =
            patron.Group >= SecurityGroup.LibraryAdministrator ? null
            : patron.Group == SecurityGroup.Librarian ? await SitesAsync(context, district, patron.SiteAccess, cancellationToken)
            : patron is { Group: SecurityGroup.StudentAide, SiteId: { } own } ? [own]
            : [];
        return new Who(session.Id, patron.DisplayName, session.Method, null, false, [new Grant(district, patron.Group, sites, id)]);
    }

    /// <summary>The patron, if they may come in now.</summary>
    /// <param name="context">Of the owner.</param>
    /// <param name="district">Their district.</param>
    /// <param name="id">Their id.</param>
    /// <param name="byClassLink">They come by ClassLink: the roster has not disabled them, and the district has this way in turned on.</param>
    /// <param name="cancellationToken">Gives up.</param>
    internal static async Task<Patron?> ComingInAsync(
        RollcallContext context,
        int district,
        long id,
        bool byClassLink,
        CancellationToken cancellationToken
    )
    {
        var patron = await context
            .Patrons.AsNoTracking()
            .SingleOrDefaultAsync(p => p.DistrictId == district && p.Id == id, cancellationToken);
        if (patron is null || !MaySignIn(patron.Status))
        {
            return null;
        }

        if (byClassLink)
        {
            // What let this person in may have ended since.
            var link = await context
                .PatronLinks.AsNoTracking()
                .SingleOrDefaultAsync(l => l.DistrictId == district && l.PatronId == id, cancellationToken);
            var integration = await context
                .Integrations.AsNoTracking()
                .SingleOrDefaultAsync(i => i.DistrictId == district && i.Kind == IntegrationKind.ClassLink, cancellationToken);
            if (link is null or { LoginDisabled: true } || integration is not { Enabled: true } || !LoginOf(integration).On)
            {
                return null;
            }
        }

        return patron;
    }

    /// <summary>What a patron's session and tokens keep of their GUID; null without one.</summary>
    internal static string? StampOf(string? guid) => guid is null ? null : Tokens.Hash(guid);

    /// <summary>A patron of this status may come in.</summary>
    internal static bool MaySignIn(PatronStatus status) => status is PatronStatus.Active or PatronStatus.CardLost or PatronStatus.Suspended;

    internal static ClassLinkLogin LoginOf(Integration integration) => IntegrationService.SettingsOf(integration).Login;

    private static async Task<IReadOnlyList<int>> SitesAsync(
        RollcallContext context,
        int districtId,
        string? codes,
        CancellationToken cancellationToken
    )
    {
        var wanted = (codes ?? "")
            .Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
            .ToHashSet(StringComparer.OrdinalIgnoreCase);
        return wanted.Count == 0
            ? []
            :
            [
                .. (
                    await context
                        .Sites.AsNoTracking()
                        .Where(s => s.DistrictId == districtId)
                        .Select(s => new { s.Id, s.Code })
                        .ToListAsync(cancellationToken)
                )
                    .Where(s => wanted.Contains(s.Code))
                    .Select(s => s.Id),
            ];
    }
}
