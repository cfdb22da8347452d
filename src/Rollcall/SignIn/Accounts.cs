using Microsoft.AspNetCore.Identity;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.DependencyInjection;
using Rollcall.Audit;
using Rollcall.Districts;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.SignIn;

/// <summary>How a password was taken.</summary>
public enum PasswordAnswer
{
    Right,

    /// <summary>Account or password, or the code beside them: it is not said which.</summary>
    Wrong,

    /// <summary>The password is right, and the account wants a code too.</summary>
    CodeNeeded,

    /// <summary>Too many wrong ones; nothing is tried for a while.</summary>
    Locked,
}

/// <summary>An account that was added, or got a place.</summary>
/// <param name="Account">The account.</param>
/// <param name="Code">The code of a link that sets its password; null when it has one, or is not theirs who added it.</param>
/// <param name="Renewed">It was somebody's before: its password and every other way in are gone, and the link begins anew.</param>
public sealed record AddedAccount(Account Account, string? Code, bool Renewed)
{
    /// <summary>What it could do in the district until now; null where it had no place there.</summary>
    public (SecurityGroup Group, string? Sites)? Before { get; init; }

    public void Deconstruct(out Account account, out string? code) => (account, code) = (Account, Code);
}

/// <summary>What somebody saw who changes what an account may do in a district.</summary>
/// <param name="AccountId">The account.</param>
/// <param name="Place">Its place there; null where any will do, as long as it has one.</param>
internal sealed record ShownPlace(long AccountId, (SecurityGroup Group, string? Sites)? Place);

/// <summary>What an account may do is not what was looked at any more.</summary>
internal sealed class PlaceChangedException(string message) : RollcallException(message);

/// <summary>An account as lists show it.</summary>
public sealed record AccountRow(
    long Id,
    string Email,
    bool IsOperator,
    bool HasPassword,
    bool SecondFactor,
    int Passkeys,
    DateTimeOffset? LockedUntil,
    IReadOnlyList<(string District, SecurityGroup Group, string? Sites)> Memberships
);

/// <summary>Local accounts: the first administrator, the operator, and the way in when ClassLink is down.</summary>
public sealed class Accounts(RollcallDatabase database, IServiceScopeFactory scopes, TimeProvider time)
{
    /// <summary>So many wrong passwords or codes in a row close the account for <see cref="LockedFor"/>.</summary>
    public const int Attempts = 5;

    /// <summary>Of lines in the audit that begin with an account's address and say what became of it.</summary>
    internal const string AuditAction = "account";

    public static readonly TimeSpan LockedFor = TimeSpan.FromMinutes(15);
    public static readonly TimeSpan LinkLives = TimeSpan.FromHours(24);

    // As far off as the databases' milliseconds are sure to hold.
    private static readonly DateTimeOffset s_forGood = new(9999, 1, 1, 0, 0, 0, TimeSpan.Zero);

    /// <summary>An administrator closed the account; wrong passwords close one for <see cref="LockedFor"/> only.</summary>
    internal static bool IsLockedByHand(Account account, DateTimeOffset now) => account.LockoutEnd > now + TimeSpan.FromDays(366);

    // Checked where there is no account, so that the answer takes as long: addresses cannot be tried out by the clock.
    private static readonly Lazy<string> s_nobody = new(() => Hasher().HashPassword(new Account(), Tokens.New()));

    private readonly UnknownAddresses _unknown = new(time);

    public async Task<bool> AnyAsync(CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        return await context.Accounts.AnyAsync(cancellationToken);
    }

    /// <summary>
    /// A link to make the first account with; null when there is an account already. Those given out before serve until one of them is used:
    /// they may be on the screens of other servers of this installation.
    /// </summary>
    public async Task<string?> SetupLinkAsync(CancellationToken cancellationToken = default)
    {
        if (await AnyAsync(cancellationToken))
        {
            return null;
        }

        await using var context = database.CreateContextAsOwner();
        return await AddLinkAsync(context, LinkPurpose.Setup, null, cancellationToken);
    }

    /// <summary>
    /// Adds an account, or gives an account that exists its place in a district. The administrators of the one district that an account is of
    /// look after its ways in, and may have kept one. So where it gets more than they can give, it begins anew: links, password, second factor,
    /// passkeys and sessions that it had open nothing any more. Of an account that is of several districts already, or the operator's, no
    /// administrator of a district has had any.
    /// </summary>
    /// <param name="email">The address that it signs in with.</param>
    /// <param name="district">Null for an operator.</param>
    /// <param name="group">What it may do in the district.</param>
    /// <param name="siteAccess">Codes of sites, comma separated; needed for librarians and aides.</param>
    /// <param name="isOperator">Runs the installation.</param>
    /// <param name="actor">Who adds it, for the audit.</param>
    /// <param name="byOperator">Whoever adds it runs the installation; others add accounts that are of no other district.</param>
    /// <param name="keep">The operator knows that nobody but its owner has a way in: an account that exists keeps them.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="RollcallException">Not an address, sites are missing or unknown, or the account is the operator's to give a place.</exception>
    public Task<AddedAccount> AddAsync(
        string email,
        District? district,
        SecurityGroup group,
        string? siteAccess,
        bool isOperator,
        string actor,
        bool byOperator = true,
        bool keep = false,
        CancellationToken cancellationToken = default
    ) => AddAsync(email, district, group, siteAccess, isOperator, actor, byOperator, keep, null, cancellationToken);

    /// <summary>The same, of an account that somebody looked at.</summary>
    /// <exception cref="PlaceChangedException">It is not what <paramref name="shown"/> says.</exception>
    internal async Task<AddedAccount> AddAsync(
        string email,
        District? district,
        SecurityGroup group,
        string? siteAccess,
        bool isOperator,
        string actor,
        bool byOperator,
        bool keep,
        ShownPlace? shown,
        CancellationToken cancellationToken
    )
    {
        var address = CheckEmail(email);
        if (group is SecurityGroup.Patron or SecurityGroup.PatronLimited && district is not null)
        {
            throw new RollcallException(
                "Patrons sign in with ClassLink and need no account. An account's group is Student Aide, Librarian, Library Administrator or District Administrator."
            );
        }

        await using var scope = scopes.CreateAsyncScope();
        var users = scope.ServiceProvider.GetRequiredService<UserManager<Account>>();
        var context = scope.ServiceProvider.GetRequiredService<RollcallContext>();
        var sites = district is null ? null : await CheckSitesAsync(context, district, group, siteAccess, cancellationToken);
        await using var transaction = await context.Database.BeginTransactionAsync(cancellationToken);
        await HoldAsync(context, address, cancellationToken);
        var account = await users.FindByEmailAsync(address);
        var renewed = false;
        var isLinked = true;
        Membership? before = null;
        if (shown is not null)
        {
            await EnsureShownAsync(context, account, district!, shown, cancellationToken);
        }

        if (account is null)
        {
            account = New(address, isOperator);
            Check(await users.CreateAsync(account));
        }
        else
        {
            var places = await context
                .Memberships.Where(m => m.AccountId == account.Id)
                .Select(m => m.DistrictId)
                .ToListAsync(cancellationToken);
            var isNew = district is not null && !places.Contains(district.Id);
            before =
                district is null || isNew
                    ? null
                    : await context
                        .Memberships.AsNoTracking()
                        .SingleOrDefaultAsync(m => m.AccountId == account.Id && m.DistrictId == district.Id, cancellationToken);
            var isShared = account.IsOperator || places.Exists(p => p != district?.Id);
            isLinked = byOperator || !isShared;
            if (!byOperator && isNew && isShared)
            {
                throw new RollcallException(
                    $"{account.Email} has an account in this installation already, and it is not this district's alone: only the operator of the installation gives it a place here (rollcall account add)."
                );
            }

            if ((isOperator || isNew) && !account.IsOperator && (isOperator || places.Count < 2))
            {
                await context.OneTimeLinks.Where(l => l.AccountId == account.Id).ExecuteDeleteAsync(cancellationToken);
                renewed = !keep && await EndWaysInAsync(users, context, account, actor, cancellationToken);
                foreach (var place in renewed ? places : [])
                {
                    AddAudit(
                        context,
                        place,
                        actor,
                        AuditAction,
                        $"{account.Email}: password and other ways in ended by the operator, who gave it a new link"
                    );
                }
            }

            if (isOperator && !account.IsOperator)
            {
                account.IsOperator = true;
                Check(await users.UpdateAsync(account));
            }
        }

        if (district is not null)
        {
            await PutMembershipAsync(context, district.Id, account.Id, group, sites, cancellationToken);
        }

        AddAudit(
            context,
            district?.Id ?? 0,
            actor,
            AuditAction,
            $"{address}: {(district is null ? "operator" : PatronFields.GroupWord(group))}{(sites is null ? "" : $" at {sites}")}{(renewed ? "; what it was signed in with before opens nothing any more" : "")}"
        );
        await context.SaveChangesAsync(cancellationToken);
        var code =
            account.PasswordHash is null && isLinked
                ? await AddLinkAsync(context, LinkPurpose.Password, account.Id, cancellationToken)
                : null;
        await transaction.CommitAsync(cancellationToken);
        return new(account, code, renewed) { Before = before is null ? null : (before.Group, before.SiteAccess) };
    }

    /// <summary>A form may have been open for hours: nobody gets a place by it again that was taken away meanwhile, nor loses one that was given.</summary>
    private static async Task EnsureShownAsync(
        RollcallContext context,
        Account? account,
        District district,
        ShownPlace shown,
        CancellationToken cancellationToken
    )
    {
        var now =
            account?.Id == shown.AccountId
                ? await context
                    .Memberships.AsNoTracking()
                    .SingleOrDefaultAsync(m => m.DistrictId == district.Id && m.AccountId == shown.AccountId, cancellationToken)
                : null;
        if (now is null)
        {
            throw new PlaceChangedException(
                "The account was taken out of the district meanwhile, and nothing was saved. Add it anew if it is to have a place here again."
            );
        }

        if (shown.Place is var (group, sites) && (now.Group != group || now.SiteAccess != sites))
        {
            var codes = now.SiteAccess?.Split(',') ?? [];
            var names = await context
                .Sites.Where(s => s.DistrictId == district.Id && codes.Contains(s.Code))
                .OrderBy(s => s.Code)
                .Select(s => s.Name)
                .ToListAsync(cancellationToken);
            throw new PlaceChangedException(
                $"What the account may do was changed meanwhile, and nothing was saved: it is {PatronFields.GroupWord(now.Group)}{(names.Count == 0 ? "" : $" at {string.Join(", ", names)}")} now. Look at what is chosen below, then save again."
            );
        }
    }

    /// <summary>Whoever gives an account more, or a link to it, waits here for the other one: neither goes by what is no longer so.</summary>
    private static Task<int> HoldAsync(RollcallContext context, string email, CancellationToken cancellationToken)
    {
        var key = email.ToUpperInvariant();
        return context
            .Accounts.Where(a => a.NormalizedEmail == key)
            .ExecuteUpdateAsync(s => s.SetProperty(a => a.LockoutEnabled, a => a.LockoutEnabled), cancellationToken);
    }

    /// <summary>The same, of an account that is known already.</summary>
    internal static Task<int> HoldAsync(RollcallContext context, long accountId, CancellationToken cancellationToken) =>
        context
            .Accounts.Where(a => a.Id == accountId)
            .ExecuteUpdateAsync(s => s.SetProperty(a => a.LockoutEnabled, a => a.LockoutEnabled), cancellationToken);

    /// <summary>Ends whatever the account can be signed in to with, and what programs do in its name.</summary>
    /// <returns>False when there was nothing yet.</returns>
    private async Task<bool> EndWaysInAsync(
        UserManager<Account> users,
        RollcallContext context,
        Account account,
        string actor,
        CancellationToken cancellationToken
    )
    {
        var had = account.PasswordHash is not null;
        account.PasswordHash = null;
        account.TwoFactorEnabled = false;
        Check(await users.UpdateSecurityStampAsync(account));
        had |= await context.Set<IdentityUserPasskey<long>>().Where(p => p.UserId == account.Id).ExecuteDeleteAsync(cancellationToken) > 0;
        await context.Set<IdentityUserToken<long>>().Where(t => t.UserId == account.Id).ExecuteDeleteAsync(cancellationToken);
        await context.SignInSessions.Where(s => s.AccountId == account.Id).ExecuteDeleteAsync(cancellationToken);
        had |= await AccessTokens.RevokeOfAccountAsync(context, account.Id, null, actor, time.GetUtcNow(), cancellationToken) > 0;
        return had;
    }

    /// <summary>A link that sets the password anew. The present one works until then.</summary>
    /// <exception cref="RollcallException">There is no such account, or it is locked: a link would open nothing.</exception>
    public Task<string> ResetAsync(string email, string actor, CancellationToken cancellationToken = default) =>
        ResetAsync(
            email,
            actor,
            (_, account) =>
                IsLockedByHand(account, time.GetUtcNow())
                    ? throw new RollcallException($"{account.Email} is locked. Unlock it first: rollcall account unlock {account.Email}")
                    : Task.CompletedTask,
            cancellationToken
        );

    /// <summary>The same, if <paramref name="check"/> still finds nothing against it.</summary>
    internal async Task<string> ResetAsync(
        string email,
        string actor,
        Func<RollcallContext, Account, Task> check,
        CancellationToken cancellationToken
    )
    {
        await using var context = database.CreateContextAsOwner();
        await using var transaction = await context.Database.BeginTransactionAsync(cancellationToken);
        await HoldAsync(context, Text.Clean(email) ?? "", cancellationToken);
        var account = await FindAsync(context, email, cancellationToken);
        await check(context, account);
        AddAudit(context, 0, actor, "password link", account.Email!);
        var code = await AddLinkAsync(context, LinkPurpose.Password, account.Id, cancellationToken);
        await transaction.CommitAsync(cancellationToken);
        return code;
    }

    /// <summary>A link that signs the account in.</summary>
    public async Task<string> SignInLinkAsync(long accountId, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        return await AddLinkAsync(context, LinkPurpose.SignIn, accountId, cancellationToken);
    }

    /// <summary>Accounts by address; of one district, or with null all.</summary>
    public async Task<IReadOnlyList<AccountRow>> ListAsync(int? districtId, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        return await RowsAsync(context, Of(context, districtId).OrderBy(a => a.NormalizedEmail), districtId, cancellationToken);
    }

    /// <summary>Some of a district's accounts in the order in which they were made.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="search">What is in the address; null for everybody.</param>
    /// <param name="after">Only those made after this one; 0 begins with the first.</param>
    /// <param name="take">At most so many.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<IReadOnlyList<AccountRow>> NextAsync(
        int districtId,
        string? search,
        long after,
        int take,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContextAsOwner();
        var some = Of(context, districtId).Where(a => a.Id > after);
        foreach (var word in Text.Words(search ?? ""))
        {
            var part = word.ToUpperInvariant();
            some = some.Where(a => a.NormalizedEmail!.Contains(part));
        }

        return await RowsAsync(context, some.OrderBy(a => a.Id).Take(take), districtId, cancellationToken);
    }

    /// <summary>Whether a district has this account.</summary>
    public async Task<bool> HasAsync(int districtId, long id, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        return await Of(context, districtId).AnyAsync(a => a.Id == id, cancellationToken);
    }

    private static IQueryable<Account> Of(RollcallContext context, int? districtId) =>
        context
            .Accounts.AsNoTracking()
            .Where(a => districtId == null || context.Memberships.Any(m => m.AccountId == a.Id && m.DistrictId == districtId));

    private async Task<IReadOnlyList<AccountRow>> RowsAsync(
        RollcallContext context,
        IQueryable<Account> some,
        int? districtId,
        CancellationToken cancellationToken
    )
    {
        var accounts = await some.ToListAsync(cancellationToken);
        var ids = some.Select(a => a.Id);
        var codes = await context.Districts.AsNoTracking().ToDictionaryAsync(d => d.Id, d => d.Code, cancellationToken);
        var places = (
            await context
                .Memberships.AsNoTracking()
                .Where(m => ids.Contains(m.AccountId) && (districtId == null || m.DistrictId == districtId))
                .OrderBy(m => m.DistrictId)
                .ToListAsync(cancellationToken)
        ).ToLookup(m => m.AccountId);
        var passkeys = await context
            .Set<IdentityUserPasskey<long>>()
            .Where(p => ids.Contains(p.UserId))
            .GroupBy(p => p.UserId)
            .Select(g => new { g.Key, Count = g.Count() })
            .ToDictionaryAsync(g => g.Key, g => g.Count, cancellationToken);
        return
        [
            .. accounts.Select(a => new AccountRow(
                a.Id,
                a.Email ?? "",
                a.IsOperator,
                a.PasswordHash is not null,
                a.TwoFactorEnabled,
                passkeys.GetValueOrDefault(a.Id),
                a.LockoutEnd > time.GetUtcNow() ? a.LockoutEnd : null,
                [.. places[a.Id].Select(m => (codes.GetValueOrDefault(m.DistrictId, "?"), m.Group, m.SiteAccess))]
            )),
        ];
    }

    public async Task<Account?> GetAsync(long id, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        return await context.Accounts.AsNoTracking().SingleOrDefaultAsync(a => a.Id == id, cancellationToken);
    }

    /// <summary>What a link leads to, as long as it has not been used; null otherwise.</summary>
    public async Task<(LinkPurpose Purpose, string? Email)?> PeekAsync(string? code, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        return await LinkAsync(context, code, cancellationToken) is not { } link ? null
            : link.AccountId is not { } id ? (link.Purpose, null)
            : await context.Accounts.AsNoTracking().SingleOrDefaultAsync(a => a.Id == id, cancellationToken) is { } account
                ? (link.Purpose, account.Email)
            : null;
    }

    /// <summary>Uses a link up.</summary>
    /// <param name="code">The code in the link.</param>
    /// <param name="email">The address of the first account; only for <see cref="LinkPurpose.Setup"/>.</param>
    /// <param name="password">The new password; not for <see cref="LinkPurpose.SignIn"/>.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>The account that may be signed in now.</returns>
    /// <exception cref="RollcallException">The link has been used or is too old (it then stays unused), or address or password are refused.</exception>
    public async Task<Account> UseAsync(string? code, string? email, string? password, CancellationToken cancellationToken = default)
    {
        await using var scope = scopes.CreateAsyncScope();
        var users = scope.ServiceProvider.GetRequiredService<UserManager<Account>>();
        var context = scope.ServiceProvider.GetRequiredService<RollcallContext>();
        await using var transaction = await context.Database.BeginTransactionAsync(cancellationToken);
        var link = await LinkAsync(context, code, cancellationToken);

        // Taken by deleting: of two who come at once with the same link, one finds it gone. With the first account go all links to make it.
        var taken =
            link is null ? null
            : link.Purpose == LinkPurpose.Setup ? context.OneTimeLinks.Where(l => l.Purpose == LinkPurpose.Setup)
            : context.OneTimeLinks.Where(l => l.Id == link.Id);
        if (link is null || taken is null || await taken.ExecuteDeleteAsync(cancellationToken) == 0)
        {
            throw new RollcallException("This link has been used already, or is too old. Ask for another one.");
        }

        Account account;
        if (link.Purpose == LinkPurpose.Setup)
        {
            if (await context.Accounts.AnyAsync(cancellationToken))
            {
                throw new RollcallException("There is an account already. Sign in with it, or ask whoever runs this installation.");
            }

            account = New(CheckEmail(email ?? ""), isOperator: true);
            Check(await users.CreateAsync(account, password ?? ""));
            var districts = await context.Districts.AsNoTracking().Select(d => d.Id).Take(2).ToListAsync(cancellationToken);
            if (districts is [var only])
            {
                await PutMembershipAsync(context, only, account.Id, SecurityGroup.DistrictAdministrator, null, cancellationToken);
            }

            AddAudit(context, 0, account.Email!, AuditAction, "the first account, by the setup link");
        }
        else
        {
            account =
                await context.Accounts.SingleOrDefaultAsync(a => a.Id == link.AccountId, cancellationToken)
                ?? throw new RollcallException("The account of this link has been removed.");
            if (IsLockedByHand(account, time.GetUtcNow()))
            {
                throw new RollcallException("This account has been locked. Ask whoever administers accounts.");
            }

            if (link.Purpose == LinkPurpose.Password)
            {
                await PutPasswordAsync(users, account, password);
                account.AccessFailedCount = 0;
                account.LockoutEnd = null;
                Check(await users.UpdateAsync(account));
                await context
                    .OneTimeLinks.Where(l => l.AccountId == account.Id && l.Purpose == LinkPurpose.Password)
                    .ExecuteDeleteAsync(cancellationToken);
                AddAudit(context, 0, account.Email!, "password", "set by a link; every session ended");
            }
        }

        await context.SaveChangesAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);
        return account;
    }

    /// <summary>Checks what somebody types to sign in.</summary>
    /// <param name="email">The address.</param>
    /// <param name="password">The password.</param>
    /// <param name="code">A code of the authenticator app, or a recovery code; null when none was given.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<(PasswordAnswer Answer, Account? Account)> CheckAsync(
        string? email,
        string? password,
        string? code,
        CancellationToken cancellationToken = default
    )
    {
        await using var scope = scopes.CreateAsyncScope();
        var users = scope.ServiceProvider.GetRequiredService<UserManager<Account>>();
        var address = (email ?? "").Trim();
        var account = await users.FindByEmailAsync(address);
        if (password is null or { Length: > PasswordRules.Longest })
        {
            return Nobody("", PasswordAnswer.Wrong);
        }

        if (account?.PasswordHash is null)
        {
            return Nobody(password, _unknown.Takes(address) ? PasswordAnswer.Wrong : PasswordAnswer.Locked);
        }

        if (IsLockedByHand(account, time.GetUtcNow()))
        {
            // Whoever knows the password may know that it is closed; to others it is an address like any.
            var takes = _unknown.Takes(address);
            var knows = users.PasswordHasher.VerifyHashedPassword(account, account.PasswordHash, password);
            return (takes && knows == PasswordVerificationResult.Failed ? PasswordAnswer.Wrong : PasswordAnswer.Locked, null);
        }

        if (!await TakeAttemptAsync(account.Id, cancellationToken))
        {
            return Nobody(password, PasswordAnswer.Locked);
        }

        var verified = users.PasswordHasher.VerifyHashedPassword(account, account.PasswordHash, password);
        if (verified == PasswordVerificationResult.Failed)
        {
            return (PasswordAnswer.Wrong, null);
        }

        if (account.TwoFactorEnabled)
        {
            if (string.IsNullOrWhiteSpace(code))
            {
                return (PasswordAnswer.CodeNeeded, null);
            }

            if (!await IsCodeRightAsync(users, account, code, cancellationToken))
            {
                return (PasswordAnswer.Wrong, null);
            }
        }

        await ForgiveAsync(account.Id, cancellationToken);
        if (verified == PasswordVerificationResult.SuccessRehashNeeded)
        {
            await using var context = database.CreateContextAsOwner();
            var hash = users.PasswordHasher.HashPassword(account, password);
            await context
                .Accounts.Where(a => a.Id == account.Id && a.PasswordHash == account.PasswordHash)
                .ExecuteUpdateAsync(s => s.SetProperty(a => a.PasswordHash, hash), cancellationToken);
        }

        return (PasswordAnswer.Right, account);

        (PasswordAnswer Answer, Account? Account) Nobody(string said, PasswordAnswer answer)
        {
            users.PasswordHasher.VerifyHashedPassword(new Account(), s_nobody.Value, said);
            return (answer, null);
        }
    }

    /// <summary>Changes the password of somebody who knows it. Every session ends.</summary>
    /// <returns>The account with its new stamp, to be signed in anew.</returns>
    /// <exception cref="RollcallException">The present one is wrong, the account is locked, or the new one is refused.</exception>
    public async Task<Account> ChangePasswordAsync(
        long accountId,
        string? present,
        string? next,
        CancellationToken cancellationToken = default
    )
    {
        await using var scope = scopes.CreateAsyncScope();
        var users = scope.ServiceProvider.GetRequiredService<UserManager<Account>>();
        var context = scope.ServiceProvider.GetRequiredService<RollcallContext>();
        await ProveAsync(users, accountId, present, cancellationToken);
        var account = await context.Accounts.SingleAsync(a => a.Id == accountId, cancellationToken);
        await PutPasswordAsync(users, account, next);
        AddAudit(context, 0, account.Email!, "password", "changed; every session ended");
        await context.SaveChangesAsync(cancellationToken);
        return account;
    }

    /// <summary>Begins to set a second factor up: a new key for the authenticator app. It counts once a code of it was given.</summary>
    /// <returns>The key in groups of four letters, and the address that authenticator apps understand.</returns>
    /// <exception cref="RollcallException">The password is wrong, or there is a second factor already.</exception>
    public async Task<(string Key, string Uri)> BeginSecondFactorAsync(
        long accountId,
        string? password,
        CancellationToken cancellationToken = default
    )
    {
        await using var scope = scopes.CreateAsyncScope();
        var users = scope.ServiceProvider.GetRequiredService<UserManager<Account>>();
        var account = await ProveAsync(users, accountId, password, cancellationToken);
        if (account.TwoFactorEnabled)
        {
            throw new RollcallException("There is a second factor already. Take it away first.");
        }

        var stamp = account.SecurityStamp;
        var key = users.GenerateNewAuthenticatorKey();
        var store = scope.ServiceProvider.GetRequiredService<IUserStore<Account>>();
        await ((IUserAuthenticatorKeyStore<Account>)store).SetAuthenticatorKeyAsync(account, key, cancellationToken);
        Check(await store.UpdateAsync(account, cancellationToken));
        System.Diagnostics.Debug.Assert(stamp == account.SecurityStamp);
        var label = Uri.EscapeDataString($"Rollcall:{account.Email}");
        return (string.Join(' ', key.Chunk(4).Select(c => new string(c))), $"otpauth://totp/{label}?secret={key}&issuer=Rollcall&digits=6");
    }

    /// <summary>Turns the second factor on with a first code of the app.</summary>
    /// <returns>Recovery codes; they are shown once.</returns>
    /// <exception cref="RollcallException">The code does not fit the key.</exception>
    public async Task<IReadOnlyList<string>> TurnSecondFactorOnAsync(
        long accountId,
        string? code,
        CancellationToken cancellationToken = default
    )
    {
        await using var scope = scopes.CreateAsyncScope();
        var users = scope.ServiceProvider.GetRequiredService<UserManager<Account>>();
        var context = scope.ServiceProvider.GetRequiredService<RollcallContext>();
        var account = await context.Accounts.SingleAsync(a => a.Id == accountId, cancellationToken);
        if (
            account.TwoFactorEnabled
            || !await TakeAttemptAsync(accountId, cancellationToken)
            || !await users.VerifyTwoFactorTokenAsync(account, TokenOptions.DefaultAuthenticatorProvider, Digits(code))
        )
        {
            throw new RollcallException("That code does not fit. Check the time on the phone, and give the code that the app shows now.");
        }

        await ForgiveAsync(accountId, cancellationToken);
        await context.Entry(account).ReloadAsync(cancellationToken);
        account.TwoFactorEnabled = true;
        Check(await users.UpdateAsync(account));
        var codes = await users.GenerateNewTwoFactorRecoveryCodesAsync(account, 8) ?? [];
        AddAudit(context, 0, account.Email!, "second factor", "turned on");
        await context.SaveChangesAsync(cancellationToken);
        return [.. codes];
    }

    /// <summary>Takes the second factor away.</summary>
    /// <exception cref="RollcallException">The password is wrong.</exception>
    public async Task TurnSecondFactorOffAsync(long accountId, string? password, CancellationToken cancellationToken = default)
    {
        await using var scope = scopes.CreateAsyncScope();
        var users = scope.ServiceProvider.GetRequiredService<UserManager<Account>>();
        var context = scope.ServiceProvider.GetRequiredService<RollcallContext>();
        await ProveAsync(users, accountId, password, cancellationToken);
        var account = await context.Accounts.SingleAsync(a => a.Id == accountId, cancellationToken);
        account.TwoFactorEnabled = false;
        Check(await users.UpdateAsync(account));
        AddAudit(context, 0, account.Email!, "second factor", "taken away");
        await context.SaveChangesAsync(cancellationToken);
    }

    /// <summary>Says the account's password once more, before something changes how it is signed in to.</summary>
    /// <returns>The account.</returns>
    /// <exception cref="RollcallException">The password is wrong, or the account is locked.</exception>
    public async Task<Account> ProveAsync(long accountId, string? password, CancellationToken cancellationToken = default)
    {
        await using var scope = scopes.CreateAsyncScope();
        var users = scope.ServiceProvider.GetRequiredService<UserManager<Account>>();
        return await ProveAsync(users, accountId, password, cancellationToken);
    }

    /// <summary>Takes the second factor of somebody who lost it away, recovery codes and passkeys included. Every session of theirs ends: the next
    /// one begins with the password alone, and a new factor can be set up then.</summary>
    /// <param name="email">The account.</param>
    /// <param name="actor">Who does it, for the audit.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="RollcallException">There is no such account, or it has neither second factor nor passkey.</exception>
    public async Task DropSecondFactorAsync(string email, string actor, CancellationToken cancellationToken = default)
    {
        await using var scope = scopes.CreateAsyncScope();
        var users = scope.ServiceProvider.GetRequiredService<UserManager<Account>>();
        var context = scope.ServiceProvider.GetRequiredService<RollcallContext>();
        await using var transaction = await context.Database.BeginTransactionAsync(cancellationToken);
        await HoldAsync(context, email.Trim(), cancellationToken);
        var account =
            await users.FindByEmailAsync(email.Trim())
            ?? throw new RollcallException(
                $"There is no account {Text.Cut(email.Trim(), 80)}. 'rollcall account list' shows those there are."
            );
        var passkeys = await context
            .Set<IdentityUserPasskey<long>>()
            .Where(p => p.UserId == account.Id)
            .ExecuteDeleteAsync(cancellationToken);
        if (!account.TwoFactorEnabled && passkeys == 0)
        {
            throw new RollcallException($"{account.Email} has neither a second factor nor a passkey.");
        }

        account.TwoFactorEnabled = false;
        Check(await users.UpdateSecurityStampAsync(account));
        await context.Set<IdentityUserToken<long>>().Where(t => t.UserId == account.Id).ExecuteDeleteAsync(cancellationToken);
        await context.SignInSessions.Where(s => s.AccountId == account.Id).ExecuteDeleteAsync(cancellationToken);
        AddAudit(
            context,
            0,
            actor,
            "second factor",
            $"{account.Email}: taken away because it was lost{(passkeys == 0 ? "" : $", with {passkeys} passkey{(passkeys == 1 ? "" : "s")}")}; every session ended"
        );
        await context.SaveChangesAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);
    }

    /// <summary>Takes the operator's right away from an account. Its places in districts stay.</summary>
    /// <returns>The codes of these districts.</returns>
    /// <exception cref="RollcallException">There is no such account, it is no operator's, or nobody else could run the installation.</exception>
    public async Task<IReadOnlyList<string>> DropOperatorAsync(string email, string actor, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        await using var transaction = await context.Database.BeginTransactionAsync(cancellationToken);
        var account = await HoldOperatorsAsync(context, email, cancellationToken);
        if (!account.IsOperator)
        {
            throw new RollcallException($"{account.Email} is no operator.");
        }

        await AnotherRunsItAsync(context, account, cancellationToken);
        account.IsOperator = false;
        account.ConcurrencyStamp = Guid.NewGuid().ToString();
        AddAudit(context, 0, actor, AuditAction, $"{account.Email}: is no operator any more");
        await context.SaveChangesAsync(cancellationToken);
        var places = await context
            .Districts.Where(d => context.Memberships.Any(m => m.DistrictId == d.Id && m.AccountId == account.Id))
            .Select(d => d.Code)
            .ToListAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);
        return [.. places.Order(StringComparer.Ordinal)];
    }

    /// <summary>Closes any account until somebody opens it: its sessions end, its tokens and links serve no more.</summary>
    /// <exception cref="RollcallException">There is no such account, or nobody else could run the installation.</exception>
    public async Task LockAsync(string email, string actor, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        await using var transaction = await context.Database.BeginTransactionAsync(cancellationToken);
        var account = await HoldOperatorsAsync(context, email, cancellationToken);
        if (account.IsOperator)
        {
            await AnotherRunsItAsync(context, account, cancellationToken);
        }

        account.LockoutEnd = s_forGood;
        account.SecurityStamp = Tokens.New();
        account.ConcurrencyStamp = Guid.NewGuid().ToString();
        await context.SignInSessions.Where(s => s.AccountId == account.Id).ExecuteDeleteAsync(cancellationToken);
        await context.OneTimeLinks.Where(l => l.AccountId == account.Id).ExecuteDeleteAsync(cancellationToken);
        await NoteEverywhereAsync(context, account, actor, "locked", cancellationToken);
        await context.SaveChangesAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);
    }

    /// <summary>Opens an account that was closed, however it was.</summary>
    /// <exception cref="RollcallException">There is no such account.</exception>
    public async Task UnlockAsync(string email, string actor, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        var account = await FindAsync(context, email, cancellationToken);
        await OpenAgainAsync(account.Id, cancellationToken);
        await NoteEverywhereAsync(context, account, actor, "unlocked", cancellationToken);
        await context.SaveChangesAsync(cancellationToken);
    }

    /// <summary>The account, while whoever takes another operator away waits.</summary>
    private static async Task<Account> HoldOperatorsAsync(RollcallContext context, string email, CancellationToken cancellationToken)
    {
        // One after the other, always in the same order: two who take each other's right away leave one.
        foreach (
            var id in await context.Accounts.Where(a => a.IsOperator).OrderBy(a => a.Id).Select(a => a.Id).ToListAsync(cancellationToken)
        )
        {
            await HoldAsync(context, id, cancellationToken);
        }

        await HoldAsync(context, Text.Clean(email) ?? "", cancellationToken);
        return await FindAsync(context, email, cancellationToken);
    }

    private async Task AnotherRunsItAsync(RollcallContext context, Account account, CancellationToken cancellationToken)
    {
        var others = await context.Accounts.AsNoTracking().Where(a => a.IsOperator && a.Id != account.Id).ToListAsync(cancellationToken);
        if (others.TrueForAll(o => IsLockedByHand(o, time.GetUtcNow())))
        {
            throw new RollcallException(
                $"{account.Email} is the last operator of this installation. Make another one first: rollcall account add EMAIL --group Operator"
            );
        }
    }

    /// <summary>Writes into the audit of each of the account's districts, or of the installation where it has none.</summary>
    private async Task NoteEverywhereAsync(
        RollcallContext context,
        Account account,
        string actor,
        string what,
        CancellationToken cancellationToken
    )
    {
        var districts = await context
            .Memberships.Where(m => m.AccountId == account.Id)
            .Select(m => m.DistrictId)
            .ToListAsync(cancellationToken);
        foreach (var district in districts.DefaultIfEmpty(0))
        {
            AddAudit(context, district, actor, AuditAction, $"{account.Email}: {what}");
        }
    }

    /// <summary>Gives an operator the rights of a District Administrator in a district. Audited there: the district sees it.</summary>
    public async Task EnterAsync(Who who, int districtId, CancellationToken cancellationToken = default)
    {
        if (who is not { IsOperator: true, AccountId: { } account })
        {
            throw new RollcallException("Only the operator of this installation does that.");
        }

        await using var context = database.CreateContextAsOwner();
        await PutMembershipAsync(context, districtId, account, SecurityGroup.DistrictAdministrator, null, cancellationToken);
        AddAudit(context, districtId, who.Name, AuditAction, $"{who.Name}: the operator became District Administrator");
        await context.SaveChangesAsync(cancellationToken);
    }

    /// <summary>Closes an account until it is opened by hand. What somebody is changing of it meanwhile does not open it.</summary>
    internal async Task CloseAsync(long accountId, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContextAsOwner();
        await context
            .Accounts.Where(a => a.Id == accountId)
            .ExecuteUpdateAsync(s => s.SetProperty(a => a.LockoutEnd, (DateTimeOffset?)s_forGood), cancellationToken);
        await RenewStampAsync(context, accountId, cancellationToken);
    }

    /// <summary>Opens an account that was closed, however it was.</summary>
    internal async Task OpenAgainAsync(long accountId, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContextAsOwner();
        await context
            .Accounts.Where(a => a.Id == accountId)
            .ExecuteUpdateAsync(
                s => s.SetProperty(a => a.AccessFailedCount, 0).SetProperty(a => a.LockoutEnd, (DateTimeOffset?)null),
                cancellationToken
            );
    }

    /// <summary>Writes into the audit of each of the account's districts, or of the installation where it has none, that it was signed in.</summary>
    public async Task NoteSignInAsync(Account account, SignInMethod method, string? address, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        var districts = await context
            .Memberships.Where(m => m.AccountId == account.Id)
            .Select(m => m.DistrictId)
            .ToListAsync(cancellationToken);
        foreach (var district in districts.DefaultIfEmpty(0))
        {
            AddAudit(
                context,
                district,
                account.Email ?? "",
                Retention.RetentionService.SignInAction,
                $"with {(method switch { SignInMethod.Link => "a link", SignInMethod.Passkey => "a passkey", _ => "a password" })}{(account.TwoFactorEnabled && method == SignInMethod.Password ? " and a second factor" : "")} from {address ?? "an unknown address"}"
            );
        }

        await context.SaveChangesAsync(cancellationToken);
    }

    /// <summary>Counts an attempt before it is made, so that guesses made at once are counted too. False: none is left for now.</summary>
    private async Task<bool> TakeAttemptAsync(long accountId, CancellationToken cancellationToken)
    {
        var now = time.GetUtcNow();
        var until = now + LockedFor;
        await using var context = database.CreateContextAsOwner();
        await context
            .Accounts.Where(a => a.Id == accountId && a.LockoutEnd != null && a.LockoutEnd <= now)
            .ExecuteUpdateAsync(
                s => s.SetProperty(a => a.AccessFailedCount, 0).SetProperty(a => a.LockoutEnd, (DateTimeOffset?)null),
                cancellationToken
            );
        var taken = await context
            .Accounts.Where(a => a.Id == accountId && a.LockoutEnd == null && a.AccessFailedCount < Attempts)
            .ExecuteUpdateAsync(s => s.SetProperty(a => a.AccessFailedCount, a => a.AccessFailedCount + 1), cancellationToken);
        if (taken == 0)
        {
            return false;
        }

        // The last one: unless it turns out right, the account stays closed for a while.
        await context
            .Accounts.Where(a => a.Id == accountId && a.LockoutEnd == null && a.AccessFailedCount >= Attempts)
            .ExecuteUpdateAsync(s => s.SetProperty(a => a.LockoutEnd, (DateTimeOffset?)until), cancellationToken);
        return true;
    }

    /// <summary>A right answer opens what wrong ones had closed; what somebody closed by hand meanwhile stays closed.</summary>
    private async Task ForgiveAsync(long accountId, CancellationToken cancellationToken)
    {
        var byHand = s_forGood;
        await using var context = database.CreateContextAsOwner();
        await context
            .Accounts.Where(a => a.Id == accountId && (a.LockoutEnd == null || a.LockoutEnd < byHand))
            .ExecuteUpdateAsync(
                s => s.SetProperty(a => a.AccessFailedCount, 0).SetProperty(a => a.LockoutEnd, (DateTimeOffset?)null),
                cancellationToken
            );
    }

    /// <summary>Whoever changes how an account is signed in to says its password once more.</summary>
    private async Task<Account> ProveAsync(
        UserManager<Account> users,
        long accountId,
        string? password,
        CancellationToken cancellationToken
    )
    {
        var account =
            await users.FindByIdAsync(accountId.ToString(System.Globalization.CultureInfo.InvariantCulture))
            ?? throw new RollcallException("This account has been removed.");
        if (account.PasswordHash is null)
        {
            throw new RollcallException("This account has no password yet. Ask for a link that sets one.");
        }

        if (!await TakeAttemptAsync(accountId, cancellationToken))
        {
            throw new RollcallException(
                $"Too many wrong passwords. Wait {LockedFor.TotalMinutes:0} minutes, or ask for a link that sets a new one."
            );
        }

        if (
            password is null or { Length: > PasswordRules.Longest }
            || users.PasswordHasher.VerifyHashedPassword(account, account.PasswordHash, password) == PasswordVerificationResult.Failed
        )
        {
            throw new RollcallException("The present password is not right.");
        }

        await ForgiveAsync(accountId, cancellationToken);
        await users.UpdateNormalizedEmailAsync(account);
        return account;
    }

    private async Task<bool> IsCodeRightAsync(UserManager<Account> users, Account account, string code, CancellationToken cancellationToken)
    {
        if (Digits(code) is { Length: 6 } digits)
        {
            // An app's code holds for minutes; whoever looked over the shoulder cannot use it again.
            return await users.VerifyTwoFactorTokenAsync(account, TokenOptions.DefaultAuthenticatorProvider, digits)
                && await UsedCodes.TakeAsync(database, time, $"totp:{account.Id}:{digits}", cancellationToken);
        }

        await using var scope = scopes.CreateAsyncScope();
        var own = scope.ServiceProvider.GetRequiredService<UserManager<Account>>();
        var fresh = await own.FindByIdAsync(account.Id.ToString(System.Globalization.CultureInfo.InvariantCulture));
        return fresh is not null
            && await UsedCodes.TakeAsync(database, time, $"recovery:{account.Id}:{code.Trim().ToUpperInvariant()}", cancellationToken)
            && (await own.RedeemTwoFactorRecoveryCodeAsync(fresh, code.Trim())).Succeeded;
    }

    private static async Task PutPasswordAsync(UserManager<Account> users, Account account, string? password)
    {
        foreach (var validator in users.PasswordValidators)
        {
            Check(await validator.ValidateAsync(users, account, password));
        }

        account.PasswordHash = users.PasswordHasher.HashPassword(account, password!);

        // Ends every session: they carry the stamp of their sign-in.
        Check(await users.UpdateSecurityStampAsync(account));
    }

    /// <summary>Whoever has proved already who they are, but has no session yet, gets none that serves: a session carries the stamp that was there
    /// when that was asked. Nobody who read the account before writes the old one back.</summary>
    internal static Task RenewStampAsync(RollcallContext context, long accountId, CancellationToken cancellationToken)
    {
        var (stamp, version) = (Tokens.New(), Guid.NewGuid().ToString());
        return context
            .Accounts.Where(a => a.Id == accountId)
            .ExecuteUpdateAsync(
                s => s.SetProperty(a => a.SecurityStamp, stamp).SetProperty(a => a.ConcurrencyStamp, version),
                cancellationToken
            );
    }

    private Account New(string email, bool isOperator) =>
        new()
        {
            UserName = email,
            Email = email,
            EmailConfirmed = true,
            IsOperator = isOperator,
            CreatedAt = time.GetUtcNow(),
        };

    private async Task<string> AddLinkAsync(
        RollcallContext context,
        LinkPurpose purpose,
        long? accountId,
        CancellationToken cancellationToken
    )
    {
        var now = time.GetUtcNow();
        var code = Tokens.New();
        await context.OneTimeLinks.Where(l => l.ExpiresAt <= now).ExecuteDeleteAsync(cancellationToken);
        context.OneTimeLinks.Add(
            new OneTimeLink
            {
                Id = Tokens.Hash(code),
                Purpose = purpose,
                AccountId = accountId,
                ExpiresAt = now + LinkLives,
            }
        );
        await context.SaveChangesAsync(cancellationToken);
        return code;
    }

    private async Task<OneTimeLink?> LinkAsync(RollcallContext context, string? code, CancellationToken cancellationToken)
    {
        if (code is not { Length: > 0 and < 200 })
        {
            return null;
        }

        var id = Tokens.Hash(code);
        var now = time.GetUtcNow();
        return await context.OneTimeLinks.AsNoTracking().SingleOrDefaultAsync(l => l.Id == id && l.ExpiresAt > now, cancellationToken);
    }

    private static async Task<Account> FindAsync(RollcallContext context, string email, CancellationToken cancellationToken)
    {
        var key = (Text.Clean(email) ?? "").ToUpperInvariant();
        return await context.Accounts.SingleOrDefaultAsync(a => a.NormalizedEmail == key, cancellationToken)
            ?? throw new RollcallException(
                $"There is no account {Text.Cut(email.Trim(), 100)}. 'rollcall account list' shows those there are."
            );
    }

    private static async Task<string?> CheckSitesAsync(
        RollcallContext context,
        District district,
        SecurityGroup group,
        string? siteAccess,
        CancellationToken cancellationToken
    )
    {
        if (group >= SecurityGroup.LibraryAdministrator)
        {
            return null;
        }

        var sites = await context
            .Sites.AsNoTracking()
            .Where(s => s.DistrictId == district.Id)
            .OrderBy(s => s.Name)
            .Select(s => new { s.Code, s.Name })
            .ToListAsync(cancellationToken);
        var known = sites.ConvertAll(s => s.Code);
        var chosen = new List<string>();
        foreach (
            var code in (siteAccess ?? "").Split([',', ' ', ';'], StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
        )
        {
            chosen.Add(
                known.Find(k => string.Equals(k, code, StringComparison.OrdinalIgnoreCase))
                    ?? throw new RollcallException($"There is no site {Text.Cut(code, 40)} in district {district.Code}.")
            );
        }

        if (chosen.Count == 0 && known.Count == 1)
        {
            // There is nothing to choose.
            return known[0];
        }

        return chosen.Count == 0
            ? throw new RollcallException(
                known.Count == 0
                    ? $"A {PatronFields.GroupWord(group)} works at sites, and district {district.Code} has none yet. Add one first ('rollcall site add')."
                    : $"A {PatronFields.GroupWord(group)} works at sites: say at which, by its code: {Text.Cut(string.Join(", ", sites.Select(s => $"{s.Code} ({s.Name})")), 300)}."
            )
            : string.Join(',', chosen.Distinct(StringComparer.Ordinal));
    }

    private static async Task PutMembershipAsync(
        RollcallContext context,
        int districtId,
        long accountId,
        SecurityGroup group,
        string? sites,
        CancellationToken cancellationToken
    )
    {
        var row = await context.Memberships.SingleOrDefaultAsync(
            m => m.DistrictId == districtId && m.AccountId == accountId,
            cancellationToken
        );
        if (row is null)
        {
            row = new Membership { DistrictId = districtId, AccountId = accountId };
            context.Memberships.Add(row);
        }

        row.Group = group;
        row.SiteAccess = sites;
    }

    private void AddAudit(RollcallContext context, int districtId, string actor, string action, string details) =>
        context.AuditEntries.Add(
            new AuditEntry
            {
                DistrictId = districtId,
                At = time.GetUtcNow(),
                Actor = actor,
                Action = action,
                Details = details,
            }
        );

    private static string CheckEmail(string email)
    {
        var address = Text.Clean(email) ?? "";
        var at = address.IndexOf('@', StringComparison.Ordinal);
        return
            at < 1
            || at != address.LastIndexOf('@')
            || at == address.Length - 1
            || address.Length > 200
            || address.Any(c => char.IsWhiteSpace(c) || char.IsControl(c) || c is '<' or '>' or '"' or ',' or ';')
            ? throw RollcallException.OfValue(
                $"'{Text.Cut(address, 60)}' is no email address. Accounts sign in with one, like name@example.org."
            )
            : address;
    }

    internal static void Check(IdentityResult result)
    {
        if (!result.Succeeded)
        {
            throw new RollcallException(
                result.Errors.Any(e => e.Code == nameof(IdentityErrorDescriber.ConcurrencyFailure))
                    ? "This account was changed at the same moment. Look at it, then try again."
                    : string.Join(' ', result.Errors.Select(e => e.Description))
            );
        }
    }

    private static string Digits(string? code) => new([.. (code ?? "").Where(c => !char.IsWhiteSpace(c) && c != '-')]);

    private static PasswordHasher<Account> Hasher() =>
        new(Microsoft.Extensions.Options.Options.Create(new PasswordHasherOptions { IterationCount = SignInServices.Iterations }));
}

/// <summary>Codes that serve once, kept as hashes for ten minutes.</summary>
internal static class UsedCodes
{
    public static readonly TimeSpan Kept = TimeSpan.FromMinutes(10);

    /// <summary>Marks a code as used. False: it was already, by whichever process.</summary>
    public static async Task<bool> TakeAsync(RollcallDatabase database, TimeProvider time, string code, CancellationToken cancellationToken)
    {
        var now = time.GetUtcNow();
        await using var context = database.CreateContextAsOwner();
        await context.UsedCodes.Where(c => c.ExpiresAt <= now).ExecuteDeleteAsync(cancellationToken);
        context.UsedCodes.Add(new UsedCode { Id = Tokens.Hash(code), ExpiresAt = now + Kept });
        try
        {
            await context.SaveChangesAsync(cancellationToken);
            return true;
        }
        catch (DbUpdateException e) when (e.InnerException is not null && DatabaseErrors.IsUniqueViolation(e.InnerException))
        {
            return false;
        }
    }
}

/// <summary>
/// Counts what is tried with addresses that no password is set for, as accounts count it: the answer does not tell which address has an account.
/// In memory, of a bounded number of addresses: nothing depends on it but that answer.
/// </summary>
internal sealed class UnknownAddresses(TimeProvider time)
{
    private const int Most = 10_000;

    private readonly Lock _gate = new();
    private readonly Dictionary<string, (int Count, DateTimeOffset Last)> _tried = new(StringComparer.Ordinal);

    /// <summary>Counts an attempt. False: none is left for now.</summary>
    public bool Takes(string address)
    {
        // However long an address somebody sends, what is kept of it is short.
        var key = Tokens.Hash(address.ToUpperInvariant());
        var now = time.GetUtcNow();
        lock (_gate)
        {
            var tried = _tried.GetValueOrDefault(key);
            if (tried.Count >= Accounts.Attempts)
            {
                if (now < tried.Last + Accounts.LockedFor)
                {
                    return false;
                }

                tried = default;
            }

            if (_tried.Count >= Most && !_tried.ContainsKey(key))
            {
                // Half at once: whoever fills it does not make each attempt look through all.
                foreach (var old in _tried.OrderBy(t => t.Value.Last).Take(Most / 2).Select(t => t.Key).ToList())
                {
                    _tried.Remove(old);
                }
            }

            _tried[key] = (tried.Count + 1, now);
            return true;
        }
    }
}
