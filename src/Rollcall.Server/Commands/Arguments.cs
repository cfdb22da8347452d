using System.Globalization;
using Rollcall.Districts;
using Rollcall.Patrons;

namespace Rollcall.Server.Commands;

/// <summary>Reads what people write on the command line.</summary>
internal static class Arguments
{
    private const int LongestSecret = 64 * 1024;
    private static readonly string[] s_local =
    [
        "yyyy-MM-dd",
        "yyyy-MM-dd'T'HH:mm",
        "yyyy-MM-dd'T'HH:mm:ss",
        "yyyy-MM-dd HH:mm",
        "yyyy-MM-dd HH:mm:ss",
    ];
    private static readonly string[] s_withOffset =
    [
        "yyyy-MM-dd'T'HH:mmzzz",
        "yyyy-MM-dd'T'HH:mm:sszzz",
        "yyyy-MM-dd'T'HH:mm:ss.FFFFFFFzzz",
        "yyyy-MM-dd'T'HH:mm'Z'",
        "yyyy-MM-dd'T'HH:mm:ss'Z'",
        "yyyy-MM-dd'T'HH:mm:ss.FFFFFFF'Z'",
    ];

    /// <exception cref="UsageException">It is none.</exception>
    public static RoleGroup RoleGroup(string text) =>
        text.Trim().ToLowerInvariant() switch
        {
            "student" => Patrons.RoleGroup.Student,
            "teacher" => Patrons.RoleGroup.Teacher,
            "admin" => Patrons.RoleGroup.Admin,
            _ => throw new UsageException($"'{text}' is no role group: there is student, teacher and admin."),
        };

    /// <summary>A role group as it is written here.</summary>
    public static string Word(RoleGroup group) => group.ToString().ToLowerInvariant();

    /// <summary>The one line of a key, secret or token file.</summary>
    /// <exception cref="RollcallException">It is missing, unreadable or empty.</exception>
    public static async Task<string> SecretAsync(IFiles files, string path, string what, CancellationToken cancellationToken)
    {
        string text;
        try
        {
            using var reader = new StreamReader(files.OpenRead(path));
            var buffer = new char[LongestSecret];
            var length = await reader.ReadBlockAsync(buffer, cancellationToken);
            text = new string(buffer, 0, length).Trim();
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new RollcallException($"The {what} file {path} does not exist.", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new RollcallException($"The {what} file {path} cannot be read: {e.Message}", e);
        }

        return text.Length == 0 ? throw new RollcallException($"The {what} file {path} is empty. It holds the {what} alone.")
            : text.Any(char.IsWhiteSpace) || text.Contains('\0', StringComparison.Ordinal)
                ? throw new RollcallException($"The {what} file {path} holds more than one word. It holds the {what} alone.")
            : text;
    }

    /// <summary>A date or an instant; without an offset it is meant where the district is.</summary>
    /// <exception cref="UsageException">It is neither.</exception>
    public static DateTimeOffset Instant(string text, string option, District district)
    {
        if (DateTime.TryParseExact(text.Trim(), s_local, CultureInfo.InvariantCulture, DateTimeStyles.None, out var local))
        {
            return new DateTimeOffset(local, district.Zone.GetUtcOffset(local));
        }

        return DateTimeOffset.TryParseExact(
            text.Trim(),
            s_withOffset,
            CultureInfo.InvariantCulture,
            DateTimeStyles.AssumeUniversal,
            out var instant
        )
            ? instant
            : throw new UsageException($"'{text}' of {option} is no time: write it like 2026-09-01 or 2026-09-01T04:00:00Z.");
    }
}
