using Microsoft.AspNetCore.Identity;
using Microsoft.AspNetCore.Identity.EntityFrameworkCore;
using Rollcall.Storage;

namespace Rollcall.SignIn;

/// <summary>Accounts in the database. The second factor's key is encrypted, recovery codes are kept as hashes: a copy of the database signs nobody in.</summary>
internal sealed class AccountStore(RollcallContext context, Secrets secrets, IdentityErrorDescriber describer)
    : UserOnlyStore<
        Account,
        RollcallContext,
        long,
        IdentityUserClaim<long>,
        IdentityUserLogin<long>,
        IdentityUserToken<long>,
        IdentityUserPasskey<long>
    >(context, describer)
{
    private const string Provider = "rollcall";
    private const string RecoveryCodes = "recovery codes";

    public override Task SetAuthenticatorKeyAsync(Account user, string key, CancellationToken cancellationToken) =>
        base.SetAuthenticatorKeyAsync(user, secrets.Protect(0, key), cancellationToken);

    public override async Task<string?> GetAuthenticatorKeyAsync(Account user, CancellationToken cancellationToken) =>
        await base.GetAuthenticatorKeyAsync(user, cancellationToken) is { } stored ? secrets.Unprotect(0, stored) : null;

    public override Task ReplaceCodesAsync(Account user, IEnumerable<string> recoveryCodes, CancellationToken cancellationToken) =>
        SetTokenAsync(user, Provider, RecoveryCodes, string.Join(';', recoveryCodes.Select(Print)), cancellationToken);

    public override async Task<bool> RedeemCodeAsync(Account user, string code, CancellationToken cancellationToken)
    {
        var left = await CodesAsync(user, cancellationToken);
        if (!left.Remove(Print(code)))
        {
            return false;
        }

        await SetTokenAsync(user, Provider, RecoveryCodes, string.Join(';', left), cancellationToken);
        return true;
    }

    public override async Task<int> CountCodesAsync(Account user, CancellationToken cancellationToken) =>
        (await CodesAsync(user, cancellationToken)).Count;

    private async Task<List<string>> CodesAsync(Account user, CancellationToken cancellationToken) =>
        [
            .. (await GetTokenAsync(user, Provider, RecoveryCodes, cancellationToken) ?? "").Split(
                ';',
                StringSplitOptions.RemoveEmptyEntries
            ),
        ];

    private static string Print(string code) => Tokens.Hash(code.Trim().ToUpperInvariant());
}
