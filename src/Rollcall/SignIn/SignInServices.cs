using Microsoft.AspNetCore.Identity;
using Microsoft.Extensions.DependencyInjection;
using Rollcall.Storage;

namespace Rollcall.SignIn;

/// <summary>Puts accounts, sessions and ClassLink sign-in together.</summary>
internal static class SignInServices
{
    /// <summary>Rounds of PBKDF2 with HMAC-SHA-512 for a password.</summary>
    public const int Iterations = 220_000;

    public static IServiceCollection AddSignIn(this IServiceCollection services)
    {
        services.AddScoped<RollcallContext>(provider => provider.GetRequiredService<RollcallDatabase>().CreateContextAsOwner());
        services
            .AddIdentityCore<Account>(identity =>
            {
                identity.User.RequireUniqueEmail = true;
                identity.Stores.SchemaVersion = IdentitySchemaVersions.Version3;

                // PasswordRules says what a password has to be, in one place.
                identity.Password.RequiredLength = 1;
                identity.Password.RequiredUniqueChars = 1;
                identity.Password.RequireDigit = false;
                identity.Password.RequireLowercase = false;
                identity.Password.RequireUppercase = false;
                identity.Password.RequireNonAlphanumeric = false;

                // Anything before the @ may be in an address, and CheckEmail has looked.
                identity.User.AllowedUserNameCharacters = "";
            })
            .AddUserStore<AccountStore>()
            .AddPasswordValidator<PasswordRules>()
            .AddTokenProvider<AuthenticatorTokenProvider<Account>>(TokenOptions.DefaultAuthenticatorProvider);
        services.Configure<PasswordHasherOptions>(hasher => hasher.IterationCount = Iterations);
        services.AddSingleton<Accounts>();
        services.AddSingleton<Passkeys>();
        services.AddSingleton<Sessions>();
        services.AddSingleton<AccessTokens>();
        services.AddSingleton<AccountDesk>();
        services.AddSingleton<ClassLinkSignIn>();
        return services;
    }
}
