using Microsoft.AspNetCore.Identity;

namespace Rollcall.SignIn;

/// <summary>Long passwords, no recipes: length is what counts, and what everybody tries first is refused.</summary>
internal sealed class PasswordRules : IPasswordValidator<Account>
{
    public const int Shortest = 12;
    public const int Longest = 200;

    private static readonly string[] s_common =
    [
        "password",
        "passwort",
        "rollcall",
        "library",
        "librarian",
        "classlink",
        "administrator",
        "qwerty",
        "letmein",
        "welcome",
        "iloveyou",
        "changeme",
        "123456789",
        "abcdefgh",
    ];

    public Task<IdentityResult> ValidateAsync(UserManager<Account> manager, Account user, string? password) =>
        Task.FromResult(
            Why(password ?? "", user.Email) is { } why
                ? IdentityResult.Failed(new IdentityError { Code = "Password", Description = why })
                : IdentityResult.Success
        );

    /// <summary>What is wrong with a password; null when nothing is.</summary>
    internal static string? Why(string password, string? email)
    {
        if (password.Length < Shortest)
        {
            return $"The password is too short: take at least {Shortest} characters. A few words in a row are easy to keep in mind.";
        }

        if (password.Length > Longest)
        {
            return $"The password is too long: take at most {Longest} characters.";
        }

        // What is left of it without the words that everybody tries has to be something.
        var rest = password.ToLowerInvariant();
        var name = (email ?? "").Split('@')[0].ToLowerInvariant();
        foreach (var word in name.Length >= 4 ? s_common.Append(name) : s_common)
        {
            rest = rest.Replace(word, "", StringComparison.Ordinal);
        }

        return rest.Distinct().Count() < 5
            ? "The password is too easy to guess: it repeats itself, or is made of words that are tried first. Take another."
            : null;
    }
}
