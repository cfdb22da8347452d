using System.Text.Json;
using Microsoft.AspNetCore.Identity;
using Rollcall.SignIn;
using Rollcall.Storage;

namespace Rollcall.Server.Pages.Parts;

/// <summary>What a browser is asked for.</summary>
/// <param name="Options">For <c>navigator.credentials</c>, as JSON.</param>
/// <param name="State">Comes back with the answer; encrypted, serves once.</param>
internal sealed record PasskeyQuestion(string Options, string State);

/// <summary>
/// Asks browsers for passkeys and looks at what they answer, by the handler of ASP.NET Core Identity. The question goes along encrypted and
/// comes back with the answer, so any node can look at it; it serves once, within ten minutes.
/// </summary>
internal sealed class PasskeyCeremony(
    IPasskeyHandler<Account> handler,
    Passkeys passkeys,
    Secrets secrets,
    RollcallDatabase database,
    TimeProvider time
)
{
    private const int LongestAnswer = 16 * 1024;

    /// <param name="AccountId">Whose a new passkey becomes; null where one is asked for.</param>
    /// <param name="Until">The answer comes before.</param>
    /// <param name="State">As the handler wants it back.</param>
    /// <param name="Stamp">The account's security stamp as its password was said.</param>
    private sealed record Kept(long? AccountId, DateTimeOffset Until, string State, string? Stamp = null);

    public static void Add(IServiceCollection services)
    {
        services.Configure<IdentityPasskeyOptions>(passkey =>
        {
            // Two factors in one: a device that did not ask its owner proves only that somebody has it.
            passkey.UserVerificationRequirement = "required";

            // Kept on the device with whose it is, so that no address has to be typed.
            passkey.ResidentKeyRequirement = "required";

            // The host was checked before: it is this server's own name. Without a frame of another page in between.
            passkey.ValidateOrigin = static origin =>
                ValueTask.FromResult(
                    !origin.CrossOrigin
                        && string.Equals(
                            origin.Origin,
                            $"{origin.HttpContext.Request.Scheme}://{origin.HttpContext.Request.Host}",
                            StringComparison.OrdinalIgnoreCase
                        )
                );
        });
        services.AddScoped<IPasskeyHandler<Account>, PasskeyHandler<Account>>();
        services.AddScoped<PasskeyCeremony>();
    }

    /// <summary>Passkeys belong to a name: browsers make none for an address of numbers.</summary>
    public static bool IsPossible(HostString host) => !System.Net.IPAddress.TryParse(host.Host, out _);

    /// <summary>Asks a browser for a new passkey of an account.</summary>
    public async Task<PasskeyQuestion> AskForNewAsync(Account account, HttpContext http)
    {
        var made = await handler.MakeCreationOptionsAsync(
            new PasskeyUserEntity
            {
                Id = account.Id.ToString(System.Globalization.CultureInfo.InvariantCulture),
                Name = account.Email ?? "",
                DisplayName = account.Email ?? "",
            },
            http
        );
        return new(made.CreationOptionsJson, Keep(account.Id, made.AttestationState, account.SecurityStamp));
    }

    /// <summary>Looks at a new passkey and adds it to the account.</summary>
    /// <exception cref="RollcallException">It is not what was asked for, or comes too late.</exception>
    public async Task AddAsync(long accountId, string? state, string? answer, string? name, HttpContext http)
    {
        var kept = await TakeAsync(state, answer, accountId, http);
        var result = await handler.PerformAttestationAsync(
            new PasskeyAttestationContext
            {
                HttpContext = http,
                CredentialJson = answer!,
                AttestationState = kept.State,
            }
        );
        if (!result.Succeeded || !result.Passkey.IsUserVerified)
        {
            throw new RollcallException(
                "This passkey cannot be taken: the device has to ask for a finger, a face or a PIN. Try again, or take another device."
            );
        }

        await passkeys.AddAsync(accountId, kept.Stamp, result.Passkey, name, http.RequestAborted);
    }

    /// <summary>Asks a browser for whichever passkey it has for this server.</summary>
    public async Task<PasskeyQuestion> AskAsync(HttpContext http)
    {
        var made = await handler.MakeRequestOptionsAsync(null, http);
        return new(made.RequestOptionsJson, Keep(null, made.AssertionState));
    }

    /// <summary>Looks at a passkey.</summary>
    /// <returns>Whose it is; null when it proves nothing, or they may not come in.</returns>
    /// <exception cref="RollcallException">It comes too late.</exception>
    public async Task<Account?> CheckAsync(string? state, string? answer, HttpContext http)
    {
        var kept = await TakeAsync(state, answer, null, http);
        var result = await handler.PerformAssertionAsync(
            new PasskeyAssertionContext
            {
                HttpContext = http,
                CredentialJson = answer!,
                AssertionState = kept.State,
            }
        );
        return result.Succeeded ? await passkeys.AcceptAsync(result.User.Id, result.Passkey, http.RequestAborted) : null;
    }

    private string Keep(long? accountId, string? state, string? stamp = null) =>
        secrets.Protect(0, JsonSerializer.Serialize(new Kept(accountId, time.GetUtcNow() + UsedCodes.Kept, state ?? "", stamp)));

    /// <summary>Opens what went along with the question, once.</summary>
    private async Task<Kept> TakeAsync(string? state, string? answer, long? accountId, HttpContext http)
    {
        Kept? kept = null;
        try
        {
            kept =
                state is { Length: > 0 and < LongestAnswer } && answer is { Length: > 0 and < LongestAnswer }
                    ? JsonSerializer.Deserialize<Kept>(secrets.Unprotect(0, state))
                    : null;
        }
        catch (Exception e) when (e is RollcallException or JsonException)
        {
            // Not ours, or of another key.
        }

        return
            kept is not null
            && kept.AccountId == accountId
            && kept.Until > time.GetUtcNow()
            && await UsedCodes.TakeAsync(database, time, $"passkey:{state}", http.RequestAborted)
            ? kept
            : throw new RollcallException("That took too long, or was answered already. Try again.");
    }
}
