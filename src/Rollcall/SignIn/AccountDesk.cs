using Microsoft.EntityFrameworkCore;
using Rollcall.Audit;
using Rollcall.Districts;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.SignIn;

/// <summary>
/// What a District Administrator does with the accounts of the district. An account may be of other districts too, or the operator's: a link
/// that sets its password opens these as well. So whoever is not the operator only touches accounts that are this district's alone.
/// </summary>
public sealed class AccountDesk(RollcallDatabase database, Accounts accounts, TimeProvider time)
{
    /// <summary>Adds an account to the district, or changes what one may do there.</summary>
    /// <returns>The account, and what opens it.</returns>
    /// <exception cref="RollcallException">
    /// Not an address, a group that has no account, sites that are missing or unknown, oneself, or an account that is of another district too.
    /// </exception>
    public Task<AddedAccount> AddAsync(
        District district,
        string? email,
        SecurityGroup group,
        string? sites,
        Who by,
        CancellationToken cancellationToken = default
    ) => AddAsync(district, email, group, sites, by, null, cancellationToken);

    /// <summary>The same of an account that somebody looked at: what became of it meanwhile is not overwritten.</summary>
    /// <returns>The account, and what opens it.</returns>
    /// <exception cref="RollcallException">The same.</exception>
    /// <exception cref="PlaceChangedException">It is not what <paramref name="shown"/> says.</exception>
    internal async Task<AddedAccount> AddAsync(
        District district,
        string? email,
        SecurityGroup group,
        string? sites,
        Who by,
        ShownPlace? shown,
        CancellationToken cancellationToken = default
    )
    {
        await using (var context = database.CreateContextAsOwner())
        {
            // As it will be read: with what nobody sees in front of it, it is one's own all the same.
            var key = (Text.Clean(email) ?? "").ToUpperInvariant();
            var known = await context.Accounts.AsNoTracking().SingleOrDefaultAsync(a => a.NormalizedEmail == key, cancellationToken);
            if (known is not null && known.Id == by.AccountId)
            {
                throw new RollcallException("That is your own account. Another administrator changes what you may do.");
            }
        }

        return await accounts.AddAsync(
            email ?? "",
            district,
            group,
            sites,
            isOperator: false,
            by.Name,
            byOperator: by.IsOperator,
            keep: false,
            shown,
            cancellationToken
        );
    }

    /// <summary>A link that sets the account's password anew.</summary>
    /// <exception cref="RollcallException">The account is not this district's alone, or is locked.</exception>
    public async Task<string> ResetAsync(District district, long accountId, Who by, CancellationToken cancellationToken = default)
    {
        string email;
        await using (var context = database.CreateContextAsOwner())
        {
            email = (await FindAsync(context, district.Id, accountId, cancellationToken)).Email!;
        }

        return await accounts.ResetAsync(
            email,
            by.Name,
            async (context, _) =>
            {
                var account = await CheckAsync(context, district.Id, accountId, by, cancellationToken);
                if (Accounts.IsLockedByHand(account, time.GetUtcNow()))
                {
                    throw new RollcallException("This account is locked. Unlock it first.");
                }

                Note(context, district.Id, by.Name, $"{account.Email}: a link that sets the password");
            },
            cancellationToken
        );
    }

    /// <summary>Closes the account until somebody opens it: its sessions end, its tokens and links serve no more.</summary>
    /// <exception cref="RollcallException">The account is not this district's alone, or is one's own.</exception>
    public async Task LockAsync(District district, long accountId, Who by, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        var account = await CheckAsync(context, district.Id, accountId, by, cancellationToken);
        NotOneself(accountId, by);
        await accounts.CloseAsync(account.Id, cancellationToken);
        await context.SignInSessions.Where(s => s.AccountId == accountId).ExecuteDeleteAsync(cancellationToken);
        await context.OneTimeLinks.Where(l => l.AccountId == accountId).ExecuteDeleteAsync(cancellationToken);
        Note(context, district.Id, by.Name, $"{account.Email}: locked");
        await context.SaveChangesAsync(cancellationToken);
    }

    /// <summary>Opens an account that was locked, by hand or by wrong passwords.</summary>
    /// <exception cref="RollcallException">The account is not this district's alone.</exception>
    public async Task UnlockAsync(District district, long accountId, Who by, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        var account = await CheckAsync(context, district.Id, accountId, by, cancellationToken);
        await accounts.OpenAgainAsync(account.Id, cancellationToken);
        Note(context, district.Id, by.Name, $"{account.Email}: unlocked");
        await context.SaveChangesAsync(cancellationToken);
    }

    /// <summary>Takes away a second factor that was lost; the account is signed out everywhere.</summary>
    /// <exception cref="RollcallException">The account is not this district's alone, is one's own, or has none.</exception>
    public async Task DropSecondFactorAsync(District district, long accountId, Who by, CancellationToken cancellationToken = default)
    {
        NotOneself(accountId, by);
        await using var context = database.CreateContextAsOwner();
        var account = await CheckAsync(context, district.Id, accountId, by, cancellationToken);
        await accounts.DropSecondFactorAsync(account.Email!, by.Name, cancellationToken);
        Note(context, district.Id, by.Name, $"{account.Email}: second factor taken away");
        await context.SaveChangesAsync(cancellationToken);
    }

    /// <summary>Signs the account out everywhere.</summary>
    /// <exception cref="RollcallException">The account is not this district's alone.</exception>
    public async Task EndSessionsAsync(District district, long accountId, Who by, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        var account = await CheckAsync(context, district.Id, accountId, by, cancellationToken);
        await Accounts.RenewStampAsync(context, accountId, cancellationToken);
        await context.SignInSessions.Where(s => s.AccountId == accountId).ExecuteDeleteAsync(cancellationToken);
        Note(context, district.Id, by.Name, $"{account.Email}: signed out everywhere");
        await context.SaveChangesAsync(cancellationToken);
    }

    /// <summary>Takes an account's place in the district away. The account itself stays until its person is erased.</summary>
    /// <exception cref="RollcallException">It has none, or is one's own.</exception>
    public Task RemoveAsync(District district, long accountId, Who by, CancellationToken cancellationToken = default)
    {
        NotOneself(accountId, by);
        return RemoveAsync(district, accountId, by, "has no place in this district any more", cancellationToken);
    }

    /// <summary>Lets an operator go out of a district again, who came in by themselves: nobody else need be there to let them.</summary>
    /// <exception cref="RollcallException">They are no operator, or have no place there.</exception>
    public Task LeaveAsync(District district, Who who, CancellationToken cancellationToken = default) =>
        who is { IsOperator: true, AccountId: { } account }
            ? RemoveAsync(
                district,
                account,
                who,
                $"the operator is {PatronFields.GroupWord(who.Grants.FirstOrDefault(g => g.DistrictId == district.Id)?.Group ?? SecurityGroup.DistrictAdministrator)} no more",
                cancellationToken
            )
            : throw new RollcallException("Only the operator of this installation does that.");

    private async Task RemoveAsync(District district, long accountId, Who by, string words, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContextAsOwner();
        await using var transaction = await context.Database.BeginTransactionAsync(cancellationToken);
        await Accounts.HoldAsync(context, accountId, cancellationToken);
        var account = await FindAsync(context, district.Id, accountId, cancellationToken);
        await context.Memberships.Where(m => m.DistrictId == district.Id && m.AccountId == accountId).ExecuteDeleteAsync(cancellationToken);
        var owner = SavedFilters.OwnerOfAccount(accountId);
        await context.SavedFilters.Where(f => f.DistrictId == district.Id && f.Owner == owner).ExecuteDeleteAsync(cancellationToken);

        // Not only asleep: should the account ever get its place again, nobody expects its programs of years ago to come along.
        await AccessTokens.RevokeOfAccountAsync(context, accountId, district.Id, by.Name, time.GetUtcNow(), cancellationToken);
        Note(context, district.Id, by.Name, $"{account.Email}: {words}");
        await context.SaveChangesAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);
    }

    /// <summary>How many sessions each account of the district has open.</summary>
    public async Task<IReadOnlyDictionary<long, int>> SessionsAsync(int districtId, CancellationToken cancellationToken = default)
    {
        var now = time.GetUtcNow();
        var idle = now - Sessions.Idle;
        await using var context = database.CreateContextAsOwner();
        return await context
            .SignInSessions.Where(s => s.AccountId != null && s.ExpiresAt > now && s.SeenAt > idle)
            .Where(s => context.Memberships.Any(m => m.DistrictId == districtId && m.AccountId == s.AccountId))
            .GroupBy(s => s.AccountId!.Value)
            .Select(g => new { g.Key, Count = g.Count() })
            .ToDictionaryAsync(g => g.Key, g => g.Count, cancellationToken);
    }

    private static void NotOneself(long accountId, Who by)
    {
        if (accountId == by.AccountId)
        {
            throw new RollcallException("That is your own account. Another administrator does this.");
        }
    }

    private static async Task<Account> FindAsync(
        RollcallContext context,
        int districtId,
        long accountId,
        CancellationToken cancellationToken
    ) =>
        await context
            .Accounts.AsNoTracking()
            .SingleOrDefaultAsync(
                a => a.Id == accountId && context.Memberships.Any(m => m.DistrictId == districtId && m.AccountId == a.Id),
                cancellationToken
            )
        ?? throw new RollcallException("There is no such account in this district.");

    private static async Task<Account> CheckAsync(
        RollcallContext context,
        int districtId,
        long accountId,
        Who by,
        CancellationToken cancellationToken
    )
    {
        var account = await FindAsync(context, districtId, accountId, cancellationToken);
        return await RefusalAsync(context, districtId, account, by, cancellationToken) is { } refusal
            ? throw new RollcallException(refusal)
            : account;
    }

    private static async Task<string?> RefusalAsync(
        RollcallContext context,
        int districtId,
        Account account,
        Who by,
        CancellationToken cancellationToken
    ) =>
        by.IsOperator ? null
        : account.IsOperator ? "This is the account of the installation's operator, who looks after it: rollcall account reset-password"
        : await context.Memberships.AnyAsync(m => m.AccountId == account.Id && m.DistrictId != districtId, cancellationToken)
            ? "This account is of another district too. The operator of this installation looks after it: rollcall account reset-password"
        : null;

    private void Note(RollcallContext context, int districtId, string actor, string details) =>
        context.AuditEntries.Add(
            new AuditEntry
            {
                DistrictId = districtId,
                At = time.GetUtcNow(),
                Actor = actor,
                Action = Accounts.AuditAction,
                Details = details,
            }
        );
}
