using System.IO.Compression;
using System.Text;
using Microsoft.AspNetCore.Identity;
using Microsoft.EntityFrameworkCore;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.SignIn;

/// <summary>Long passwords, no recipes: length is what counts, and what everybody tries first is refused.</summary>
internal sealed class PasswordRules(RollcallContext context) : IPasswordValidator<Account>
{
    public const int Shortest = 12;
    public const int Longest = 200;

    // Shorter parts of names stand in too many good passwords.
    private const int ShortestName = 4;

    private static readonly string[] s_words =
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
        "123456",
        "1234",
        "abcdefgh",
    ];

    // A year or an exclamation mark behind it makes a common password no better.
    private static readonly char[] s_tails = [.. "0123456789!?.,;:-_+*#$%& "];

    private static readonly Lazy<HashSet<string>> s_common = new(Read);

    /// <summary>The list as it is; for its test.</summary>
    internal static IReadOnlyCollection<string> Common => s_common.Value;

    public async Task<IdentityResult> ValidateAsync(UserManager<Account> manager, Account user, string? password) =>
        Why(password ?? "", user.Email, await PlacesAsync(user)) is { } why
            ? IdentityResult.Failed(new IdentityError { Code = "Password", Description = why })
            : IdentityResult.Success;

    /// <summary>What is wrong with a password; null when nothing is.</summary>
    /// <param name="password">As it was typed.</param>
    /// <param name="email">The account's address.</param>
    /// <param name="places">Names and codes of the account's districts and their sites.</param>
    internal static string? Why(string password, string? email, IEnumerable<string> places)
    {
        if (password.Length < Shortest)
        {
            return $"The password is too short: take at least {Shortest} characters. A few words in a row are easy to keep in mind.";
        }

        if (password.Length > Longest)
        {
            return $"The password is too long: take at most {Longest} characters.";
        }

        var whole = Text.Fold(password);
        if (s_common.Value.Contains(whole) || s_common.Value.Contains(whole.TrimEnd(s_tails)))
        {
            return "The password is on the list of common passwords, which are tried first. Take another: a few words in a row that only you would put together.";
        }

        // What is left of it without the words that everybody tries has to be something.
        var rest = whole;
        foreach (var word in s_words.Concat(Names(email, places)).Distinct(StringComparer.Ordinal).OrderByDescending(w => w.Length))
        {
            rest = rest.Replace(word, "", StringComparison.Ordinal);
        }

        var kinds = rest.Length == whole.Length ? rest.Distinct().Count() : rest.Where(char.IsLetterOrDigit).Distinct().Count();
        return kinds < 5 || IsRepeated(whole)
            ? "The password is too easy to guess: it repeats itself, or is made of names of the account, the district or a school, or of other words that are tried first. Take another."
            : null;
    }

    /// <summary>A text and itself, twice or more.</summary>
    private static bool IsRepeated(string text) => (text + text).IndexOf(text, 1, StringComparison.Ordinal) < text.Length;

    private static IEnumerable<string> Names(string? email, IEnumerable<string> places)
    {
        var (name, host) = (email ?? "").Split('@') is [var before, var after, ..] ? (before, after) : (email ?? "", "");

        // The end of a host's name says nothing of the place.
        return places.Append(name).Concat(host.Split('.').SkipLast(1)).SelectMany(Parts);
    }

    /// <summary>"North High" is tried as it is, as northhigh, as north and as high.</summary>
    private static IEnumerable<string> Parts(string name)
    {
        var whole = Text.Fold(name);
        var parts = new string([.. whole.Select(c => char.IsLetterOrDigit(c) ? c : ' ')]).Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return parts.Append(whole).Append(string.Concat(parts)).Where(p => p.Length >= ShortestName);
    }

    /// <summary>The operator's places are all there are, and so are those of the first account.</summary>
    private async Task<List<string>> PlacesAsync(Account user)
    {
        var everywhere = user.IsOperator;
        var own = context.Memberships.Where(m => m.AccountId == user.Id).Select(m => m.DistrictId);
        var names = new List<string>();
        foreach (
            var district in await context
                .Districts.Where(d => everywhere || own.Contains(d.Id))
                .Select(d => new { d.Code, d.Name })
                .ToListAsync()
        )
        {
            names.AddRange([district.Code, district.Name]);
        }

        foreach (
            var site in await context
                .Sites.Where(s => everywhere || own.Contains(s.DistrictId))
                .Select(s => new { s.Code, s.Name })
                .Distinct()
                .ToListAsync()
        )
        {
            names.AddRange([site.Code, site.Name]);
        }

        return names;
    }

    private static HashSet<string> Read()
    {
        using var stream = typeof(PasswordRules).Assembly.GetManifestResourceStream("CommonPasswords.txt.gz")!;
        using var reader = new StreamReader(new GZipStream(stream, CompressionMode.Decompress), Encoding.ASCII);
        var list = new HashSet<string>(StringComparer.Ordinal);
        while (reader.ReadLine() is { } line)
        {
            list.Add(line);
        }

        return list;
    }
}
