using Microsoft.AspNetCore.Identity;
using Microsoft.AspNetCore.Identity.EntityFrameworkCore;
using Rollcall.Storage;

namespace Rollcall.SignIn;

/// <summary>Accounts in the database. The second factor's key is encrypted, and so are the hashes of recovery codes: a copy of the database signs nobody in.</summary>
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
        KeepAsync(user, recoveryCodes.Select(Print), cancellationToken);

    public override async Task<bool> RedeemCodeAsync(Account user, string code, CancellationToken cancellationToken)
    {
        var left = await CodesAsync(user, cancellationToken);
        if (!left.Remove(Print(code)))
        {
            return false;
        }

        await KeepAsync(user, left, cancellationToken);
        return true;
    }

    /// <summary>A code is short enough to be found from its hash: without the master key nobody has the hash.</summary>
    private Task KeepAsync(Account user, IEnumerable<string> prints, CancellationToken cancellationToken) =>
        SetTokenAsync(user, Provider, RecoveryCodes, secrets.Protect(0, string.Join(';', prints)), cancellationToken);

    public override async Task<int> CountCodesAsync(Account user, CancellationToken cancellationToken) =>
        (await CodesAsync(user, cancellationToken)).Count;

    private async Task<List<string>> CodesAsync(Account user, CancellationToken cancellationToken)
    {
        var stored = await GetTokenAsync(user, Provider, RecoveryCodes, cancellationToken) ?? "";

        // Codes that an earlier version kept are bare hashes; the next one that is used encrypts the rest.
        var prints = stored.All(c => char.IsAsciiHexDigitLower(c) || c == ';') ? stored : secrets.Unprotect(0, stored);
        return [.. prints.Split(';', StringSplitOptions.RemoveEmptyEntries)];
    }

    private static string Print(string code) => Tokens.Hash(code.Trim().ToUpperInvariant());
}
