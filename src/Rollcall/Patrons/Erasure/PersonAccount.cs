using Microsoft.AspNetCore.Identity;
using Microsoft.EntityFrameworkCore;
using Rollcall.Audit;
using Rollcall.SignIn;
using Rollcall.Storage;

namespace Rollcall.Patrons.Erasure;

/// <summary>The account that signs in with a person's address. It is the installation's: a district takes it out when it has no place anywhere
/// any more, and leaves it where another district or the operator has it.</summary>
internal sealed class PersonAccount
{
    private readonly PersonTerms _address;

    private PersonAccount(Account account, bool isHere, bool isElsewhere) =>
        (Account, IsHere, Stays, _address) = (account, isHere, account.IsOperator || isElsewhere, new PersonTerms([account.Email]));

    public Account Account { get; }

    /// <summary>It has a place in the district.</summary>
    public bool IsHere { get; }

    /// <summary>It is not for the district to remove.</summary>
    public bool Stays { get; }

    /// <summary>It goes with the person.</summary>
    public bool Goes => !IsHere && !Stays;

    /// <summary>Looks for those of a person: addresses change, and each may have had one.</summary>
    /// <param name="context">The owner's: accounts are no district's.</param>
    /// <param name="districtId">The district.</param>
    /// <param name="person">Whose. An address that relatives share is nobody's own, and no account is known by it.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public static async Task<IReadOnlyList<PersonAccount>> FindAsync(
        RollcallContext context,
        int districtId,
        PersonRecord person,
        CancellationToken cancellationToken
    )
    {
        var emails = person.Values[PatronFields.Email].Select(e => e.ToUpperInvariant()).ToArray();
        var found = await context
            .Accounts.AsNoTracking()
            .Where(a => a.NormalizedEmail != null && emails.Contains(a.NormalizedEmail))
            .OrderBy(a => a.Id)
            .Select(a => new
            {
                Account = a,
                Here = context.Memberships.Any(m => m.DistrictId == districtId && m.AccountId == a.Id),
                Elsewhere = context.Memberships.Any(m => m.DistrictId != districtId && m.AccountId == a.Id),
            })
            .ToListAsync(cancellationToken);
        return [.. found.Select(f => new PersonAccount(f.Account, f.Here, f.Elsewhere))];
    }

    public Task<List<SignInSession>> SessionsAsync(RollcallContext context, CancellationToken cancellationToken) =>
        context.SignInSessions.AsNoTracking().Where(s => s.AccountId == Account.Id).ToListAsync(cancellationToken);

    /// <summary>Lines of the installation's audit that name the account.</summary>
    public async Task<List<AuditEntry>> AuditAsync(RollcallContext context, CancellationToken cancellationToken)
    {
        var address = Account.Email!.ToLowerInvariant();
#pragma warning disable CA1862 // Databases know no StringComparison.
        return
        [
            .. (
                await context
                    .AuditEntries.AsNoTracking()
                    .Where(a => a.DistrictId == 0 && (a.Actor.ToLower().Contains(address) || a.Details.ToLower().Contains(address)))
                    .ToListAsync(cancellationToken)
            ).Where(a => _address.In(a.Actor) || _address.In(a.Details)),
        ];
#pragma warning restore CA1862
    }

    /// <summary>Takes the account out with everything that is its own, and its address out of the installation's audit.</summary>
    public async Task EraseAsync(RollcallContext context, CancellationToken cancellationToken)
    {
        var id = Account.Id;
        foreach (var entry in await AuditAsync(context, cancellationToken))
        {
            entry.Actor = _address.Without(entry.Actor)!;
            entry.Details = _address.Without(entry.Details)!;
            context.AuditEntries.Update(entry);
        }

        await context
            .IdempotentRequests.Where(r => context.AccessTokens.Any(t => t.Id == r.TokenId && t.AccountId == id))
            .ExecuteDeleteAsync(cancellationToken);
        await context.AccessTokens.Where(t => t.AccountId == id).ExecuteDeleteAsync(cancellationToken);
        await context.SignInSessions.Where(s => s.AccountId == id).ExecuteDeleteAsync(cancellationToken);
        await context.OneTimeLinks.Where(l => l.AccountId == id).ExecuteDeleteAsync(cancellationToken);
        var owner = SavedFilters.OwnerOfAccount(id);
        await context.SavedFilters.Where(f => f.Owner == owner).ExecuteDeleteAsync(cancellationToken);
        await context.Set<IdentityUserPasskey<long>>().Where(p => p.UserId == id).ExecuteDeleteAsync(cancellationToken);
        await context.Set<IdentityUserToken<long>>().Where(t => t.UserId == id).ExecuteDeleteAsync(cancellationToken);
        await context.Set<IdentityUserLogin<long>>().Where(l => l.UserId == id).ExecuteDeleteAsync(cancellationToken);
        await context.Set<IdentityUserClaim<long>>().Where(c => c.UserId == id).ExecuteDeleteAsync(cancellationToken);
        await context
            .Accounts.Where(a => a.Id == id && !a.IsOperator && !context.Memberships.Any(m => m.AccountId == a.Id))
            .ExecuteDeleteAsync(cancellationToken);
    }
}
