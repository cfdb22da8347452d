using Microsoft.AspNetCore.Identity;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.DependencyInjection;
using Rollcall.Audit;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.SignIn;

/// <summary>A passkey as its owner sees it.</summary>
/// <param name="Id">Its credential id, base64url.</param>
/// <param name="Name">As its owner calls it.</param>
/// <param name="CreatedAt">When it was added.</param>
/// <param name="Synced">It is kept by a service of its maker and comes to the owner's other devices too.</param>
public sealed record PasskeyRow(string Id, string Name, DateTimeOffset CreatedAt, bool Synced);

/// <summary>
/// The passkeys of local accounts. One of them alone signs in: the device asks for a finger, face or PIN, so it is something that somebody has
/// and something that they know or are. Whoever lost theirs comes in with password and second factor as before.
/// </summary>
public sealed class Passkeys(RollcallDatabase database, IServiceScopeFactory scopes, TimeProvider time)
{
    /// <summary>An account has at most so many.</summary>
    public const int Most = 20;

    private const int LongestName = 60;

    /// <summary>Some account has one.</summary>
    public async Task<bool> AnyAsync(CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        return await context.Set<IdentityUserPasskey<long>>().AnyAsync(cancellationToken);
    }

    /// <summary>An account's passkeys, the oldest first.</summary>
    public async Task<IReadOnlyList<PasskeyRow>> ListAsync(long accountId, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        return
        [
            .. (
                await context
                    .Set<IdentityUserPasskey<long>>()
                    .AsNoTracking()
                    .Where(p => p.UserId == accountId)
                    .ToListAsync(cancellationToken)
            )
                .OrderBy(p => p.Data.CreatedAt)
                .Select(p => new PasskeyRow(
                    Microsoft.AspNetCore.WebUtilities.WebEncoders.Base64UrlEncode(p.CredentialId),
                    p.Data.Name ?? "",
                    p.Data.CreatedAt,
                    p.Data.IsBackedUp
                )),
        ];
    }

    /// <summary>Adds a passkey that the browser made, after the account's password was said.</summary>
    /// <param name="accountId">Whose it becomes.</param>
    /// <param name="stamp">The account's security stamp as the password was said: whoever knew that one may not know the present one.</param>
    /// <param name="passkey">What the browser made.</param>
    /// <param name="name">What it is to be called.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="RollcallException">
    /// There are too many, the name does not fit, or the account was closed or got another password meanwhile.
    /// </exception>
    public Task AddAsync(
        long accountId,
        string? stamp,
        UserPasskeyInfo passkey,
        string? name,
        CancellationToken cancellationToken = default
    ) =>
        ChangeAsync(
            accountId,
            async (users, account) =>
            {
                if (
                    Accounts.IsLockedByHand(account, time.GetUtcNow())
                    || !string.Equals(account.SecurityStamp, stamp, StringComparison.Ordinal)
                )
                {
                    throw new RollcallException(
                        "This account was locked, or its way in was changed, since you began. Sign in again, then add the passkey."
                    );
                }

                if ((await users.GetPasskeysAsync(account)).Count >= Most)
                {
                    throw new RollcallException($"An account has at most {Most} passkeys. Take one away first.");
                }

                passkey.Name = CheckName(name);
                Accounts.Check(await users.AddOrUpdatePasskeyAsync(account, passkey));
                return $"'{passkey.Name}' added";
            },
            cancellationToken
        );

    /// <summary>Calls a passkey something else.</summary>
    /// <exception cref="RollcallException">It is not there, or the name does not fit.</exception>
    public Task RenameAsync(long accountId, string? id, string? name, CancellationToken cancellationToken = default) =>
        ChangeAsync(
            accountId,
            async (users, account) =>
            {
                var passkey = await FindAsync(users, account, id);
                var old = passkey.Name;
                passkey.Name = CheckName(name);
                Accounts.Check(await users.AddOrUpdatePasskeyAsync(account, passkey));
                return $"'{old}' is called '{passkey.Name}'";
            },
            cancellationToken
        );

    /// <summary>Takes a passkey away, after the account's password was said. It signs nobody in from now on.</summary>
    /// <exception cref="RollcallException">It is not there.</exception>
    public Task RemoveAsync(long accountId, string? id, CancellationToken cancellationToken = default) =>
        ChangeAsync(
            accountId,
            async (users, account) =>
            {
                var passkey = await FindAsync(users, account, id);
                Accounts.Check(await users.RemovePasskeyAsync(account, passkey.CredentialId));
                return $"'{passkey.Name}' taken away";
            },
            cancellationToken
        );

    /// <summary>Lets somebody in whose passkey has been proven.</summary>
    /// <param name="accountId">Whose it is.</param>
    /// <param name="passkey">With its counter as the device has it now.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>The account that may be signed in; null when it is closed, or the passkey has been taken away meanwhile.</returns>
    public async Task<Account?> AcceptAsync(long accountId, UserPasskeyInfo passkey, CancellationToken cancellationToken = default)
    {
        await using var scope = scopes.CreateAsyncScope();
        var users = scope.ServiceProvider.GetRequiredService<UserManager<Account>>();
        var context = scope.ServiceProvider.GetRequiredService<RollcallContext>();
        await using var transaction = await context.Database.BeginTransactionAsync(cancellationToken);
        await Accounts.HoldAsync(context, accountId, cancellationToken);
        var account = await context.Accounts.SingleOrDefaultAsync(a => a.Id == accountId, cancellationToken);
        if (
            account is null
            || Accounts.IsLockedByHand(account, time.GetUtcNow())
            || await users.GetPasskeyAsync(account, passkey.CredentialId) is null
        )
        {
            return null;
        }

        Accounts.Check(await users.AddOrUpdatePasskeyAsync(account, passkey));
        await transaction.CommitAsync(cancellationToken);
        return account;
    }

    private async Task ChangeAsync(
        long accountId,
        Func<UserManager<Account>, Account, Task<string>> change,
        CancellationToken cancellationToken
    )
    {
        await using var scope = scopes.CreateAsyncScope();
        var users = scope.ServiceProvider.GetRequiredService<UserManager<Account>>();
        var context = scope.ServiceProvider.GetRequiredService<RollcallContext>();
        await using var transaction = await context.Database.BeginTransactionAsync(cancellationToken);
        await Accounts.HoldAsync(context, accountId, cancellationToken);
        var account =
            await context.Accounts.SingleOrDefaultAsync(a => a.Id == accountId, cancellationToken)
            ?? throw new RollcallException("This account has been removed.");
        var what = await change(users, account);
        context.AuditEntries.Add(
            new AuditEntry
            {
                DistrictId = 0,
                At = time.GetUtcNow(),
                Actor = account.Email!,
                Action = "passkey",
                Details = what,
            }
        );
        await context.SaveChangesAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);
    }

    private static async Task<UserPasskeyInfo> FindAsync(UserManager<Account> users, Account account, string? id)
    {
        byte[] credential;
        try
        {
            credential = Microsoft.AspNetCore.WebUtilities.WebEncoders.Base64UrlDecode(id ?? "");
        }
        catch (FormatException)
        {
            credential = [];
        }

        return await users.GetPasskeyAsync(account, credential)
            ?? throw new RollcallException("This passkey is not there any more. Load the page anew.");
    }

    /// <summary>The name that a passkey gets.</summary>
    /// <exception cref="RollcallException">It is blank, or too long.</exception>
    public static string CheckName(string? name) =>
        Text.Clean(name) is not { } clean ? throw new RollcallException("Give the passkey a name that says where it is, such as 'Phone'.")
        : clean.Length > LongestName ? throw new RollcallException($"A passkey's name has at most {LongestName} characters.")
        : clean;
}
