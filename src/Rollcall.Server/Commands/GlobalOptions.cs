using System.CommandLine;
using System.Globalization;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Rollcall.OneRoster.Rest;
using Rollcall.Operations;
using Rollcall.Storage;

namespace Rollcall.Server.Commands;

/// <summary>The options that every command takes, in any position.</summary>
internal static class GlobalOptions
{
    public static readonly Option<string?> Data = new("--data")
    {
        Description = "The data folder (ROLLCALL_DATA). Without it: rollcall in the user's data folder",
        HelpName = "DIR",
        Recursive = true,
    };

    public static readonly Option<string?> Database = new("--database")
    {
        Description = "A PostgreSQL connection (ROLLCALL_DATABASE). Empty: SQLite in the data folder",
        HelpName = "CONNECTION",
        Recursive = true,
    };

    public static readonly Option<string?> District = new("--district")
    {
        Description = "The district's code; needed only where there are several",
        HelpName = "CODE",
        Recursive = true,
    };

    public static readonly Option<bool> Json = new("--json") { Description = "Print JSON and nothing else", Recursive = true };

    public static readonly Option<string?> Server = new("--server")
    {
        Description = "Run the command on another machine's server, over its API",
        HelpName = "URL",
        Recursive = true,
    };

    public static readonly Option<string?> TokenFile = new("--token-file")
    {
        Description = "A file with an access token of that server alone (ROLLCALL_TOKEN_FILE)",
        HelpName = "F",
        Recursive = true,
    };

    /// <summary>Where the data is and what may be reached, from options and environment.</summary>
    public static RollcallOptions Read(ParseResult result, Terminal terminal) =>
        new(
            new StorageOptions(
                Given(result.GetValue(Data)) ?? Given(terminal.Variable("ROLLCALL_DATA")) ?? DefaultFolder(terminal),
                result.GetResult(Database) is not null ? Given(result.GetValue(Database)) : Given(terminal.Variable("ROLLCALL_DATABASE"))
            ),
            IsTrue(terminal, "ROLLCALL_ALLOW_PRIVATE_ADDRESSES"),
            Mail(terminal),
            PublicUrl(terminal),
            PageSize(terminal),
            IsTrue(terminal, "ROLLCALL_REQUIRE_SECOND_FACTOR")
        );

    private static bool IsTrue(Terminal terminal, string variable) =>
        Given(terminal.Variable(variable))?.Trim().ToLowerInvariant() switch
        {
            null or "false" => false,
            "true" => true,
            var other => throw new RollcallException($"{variable} '{other}' is not possible: there is true and false."),
        };

    /// <summary>Every variable that this program reads, as the guide for operators lists them.</summary>
    public static readonly IReadOnlyList<string> Variables =
    [
        "ROLLCALL_DATA",
        "ROLLCALL_DATABASE",
        "ROLLCALL_KEY_FILE",
        "ROLLCALL_ALLOW_PRIVATE_ADDRESSES",
        "ROLLCALL_PUBLIC_URL",
        "ROLLCALL_PROXY_ADDRESS",
        "ROLLCALL_REQUIRE_SECOND_FACTOR",
        "ROLLCALL_PARALLEL",
        "ROLLCALL_PAGE_SIZE",
        "ROLLCALL_SMTP_HOST",
        "ROLLCALL_SMTP_PORT",
        "ROLLCALL_SMTP_FROM",
        "ROLLCALL_SMTP_USER",
        "ROLLCALL_SMTP_PASSWORD_FILE",
        "ROLLCALL_SMTP_TLS",
        "ROLLCALL_SMTP_CA_FILE",
        "ROLLCALL_METRICS_URL",
        "ROLLCALL_METRICS_TOKEN_FILE",
        "ROLLCALL_LEAST_FREE_MB",
        "ROLLCALL_LOG",
        "ROLLCALL_LOG_LEVEL",
        "ROLLCALL_TOKEN_FILE",
    ];

    /// <summary>Variables that look like this program's and are not: mistyped, most likely.</summary>
    public static IEnumerable<string> Unknown(IEnumerable<string> variables) =>
        variables
            .Where(v => v.StartsWith("ROLLCALL_", StringComparison.OrdinalIgnoreCase))
            .Where(v => !Variables.Contains(v, OperatingSystem.IsWindows() ? StringComparer.OrdinalIgnoreCase : StringComparer.Ordinal))
            // Kubernetes tells every program of a service named rollcall by such ones.
            .Where(v => !IsOfKubernetes(v["ROLLCALL_".Length..]))
            .Order(StringComparer.Ordinal);

    private static bool IsOfKubernetes(string name) =>
        name is "PORT" || name.StartsWith("PORT_", StringComparison.Ordinal) || name.StartsWith("SERVICE_", StringComparison.Ordinal);

    private static int? PageSize(Terminal terminal) =>
        Given(terminal.Variable("ROLLCALL_PAGE_SIZE"))?.Trim() is not { } text ? null
        : int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var rows)
        && rows is >= RosterClientOptions.SmallestPage and <= RosterClientOptions.LargestPage
            ? rows
        : throw new RollcallException(
            $"ROLLCALL_PAGE_SIZE '{text}' is not possible: roster services are asked for {RosterClientOptions.SmallestPage} to {RosterClientOptions.LargestPage} rows at once."
        );

    private static string? PublicUrl(Terminal terminal) =>
        Given(terminal.Variable("ROLLCALL_PUBLIC_URL"))?.Trim() is not { } url ? null
        : Uri.TryCreate(url, UriKind.Absolute, out var uri) && uri.Scheme is "https" or "http" && uri.Query.Length == 0 ? url
        : throw new RollcallException(
            $"ROLLCALL_PUBLIC_URL '{url}' is no address. Write where people reach the pages, like https://library.example."
        );

    private static MailOptions? Mail(Terminal terminal)
    {
        if (Given(terminal.Variable("ROLLCALL_SMTP_HOST"))?.Trim() is not { } host)
        {
            return null;
        }

        if (Uri.CheckHostName(host) == UriHostNameType.Unknown)
        {
            throw new RollcallException(
                $"ROLLCALL_SMTP_HOST '{host}' is no name of a machine. Write it alone, like mail.school.example; its port goes to ROLLCALL_SMTP_PORT."
            );
        }

        var port = Given(terminal.Variable("ROLLCALL_SMTP_PORT")) ?? "587";
        var number =
            int.TryParse(port, NumberStyles.None, CultureInfo.InvariantCulture, out var parsed) && parsed is > 0 and < 65536
                ? parsed
                : throw new RollcallException($"ROLLCALL_SMTP_PORT '{port}' is no port. It is mostly 587 or 465.");
        var from =
            Given(terminal.Variable("ROLLCALL_SMTP_FROM"))?.Trim()
            ?? throw new RollcallException(
                "ROLLCALL_SMTP_FROM is missing: the address that email is sent from, like rollcall@school.example."
            );
        if (!MailOptions.IsSender(from))
        {
            throw new RollcallException(
                $"ROLLCALL_SMTP_FROM '{from}' is no address that email can be sent from. Write it like rollcall@school.example, or Library <rollcall@school.example>."
            );
        }

        var passwordFile = Given(terminal.Variable("ROLLCALL_SMTP_PASSWORD_FILE"));
        string? password;
        try
        {
            password = passwordFile is null ? null : File.ReadAllText(passwordFile).TrimEnd('\r', '\n');
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RollcallException($"The file of ROLLCALL_SMTP_PASSWORD_FILE cannot be read: {e.Message}", e);
        }

        var user = Given(terminal.Variable("ROLLCALL_SMTP_USER"));
        if (user is not null && string.IsNullOrEmpty(password))
        {
            throw new RollcallException(
                passwordFile is null
                    ? "ROLLCALL_SMTP_USER needs ROLLCALL_SMTP_PASSWORD_FILE, a file with the password."
                    : $"The file of ROLLCALL_SMTP_PASSWORD_FILE, {passwordFile}, is empty: the password goes there."
            );
        }

        var (plain, fromStart) = Given(terminal.Variable("ROLLCALL_SMTP_TLS"))?.Trim().ToLowerInvariant() switch
        {
            null or "on" => (false, (bool?)null),
            "off" => (true, null),
            "start" => (false, true),
            "turn" => (false, false),
            var other => throw new RollcallException(
                $"ROLLCALL_SMTP_TLS '{other}' is not possible: start is TLS from the start, turn begins in the clear and turns to TLS before anything is said, on lets the port decide, and off is for a server on this machine."
            ),
        };
        return plain && !(host is "localhost" || (System.Net.IPAddress.TryParse(host, out var ip) && System.Net.IPAddress.IsLoopback(ip)))
            ? throw new RollcallException(
                "ROLLCALL_SMTP_TLS=off sends email in the clear: only a server on this machine (localhost) may be used so."
            )
            : new MailOptions(
                host,
                number,
                from,
                user,
                password,
                plain,
                fromStart,
                Authorities(Given(terminal.Variable("ROLLCALL_SMTP_CA_FILE"))?.Trim())
            );
    }

    private static X509Certificate2Collection? Authorities(string? file)
    {
        if (file is null)
        {
            return null;
        }

        try
        {
            var authorities = new X509Certificate2Collection();
            authorities.ImportFromPemFile(file);
            return authorities.Count > 0
                ? authorities
                : throw new RollcallException(
                    "The file of ROLLCALL_SMTP_CA_FILE holds no certificate. Name one in PEM: it begins with -----BEGIN CERTIFICATE-----."
                );
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or CryptographicException)
        {
            throw new RollcallException($"The file of ROLLCALL_SMTP_CA_FILE cannot be read: {e.Message}", e);
        }
    }

    public static string? Given(string? text) => string.IsNullOrWhiteSpace(text) ? null : text;

    private static string DefaultFolder(Terminal terminal)
    {
        var root =
            Given(terminal.Variable("XDG_DATA_HOME"))
            ?? Given(Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify))
            ?? throw new RollcallException("There is no home folder to keep data in. Say where: --data DIR.");
        return Path.Combine(root, "rollcall");
    }
}
