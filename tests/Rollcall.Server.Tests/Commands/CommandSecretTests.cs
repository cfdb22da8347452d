using System.CommandLine;
using System.Text;
using System.Text.RegularExpressions;
using Rollcall.Sandbox;
using Rollcall.Server.Commands;
using Rollcall.Storage;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Commands;

/// <summary>Every secret that the command line takes or makes, without a server: no command gives it out again, in words or as JSON, and nothing that
/// it writes holds it.</summary>
public sealed class CommandSecretTests(PostgresCluster cluster)
{
    /// <summary>What files with secrets are given with. The test gives each of them.</summary>
    private static readonly string[] s_given =
    [
        "--token-file",
        "classlink connect --partner-key-file",
        "classlink connect --secret-file",
        "classlink connect --token-file",
        "classlink login --client-secret-file",
        "notice set --webhook-secret-file",
        "oneroster connect --secret-file",
        "oneroster connect --token-file",
        "operator partner-key --file",
    ];

    private static readonly RootCommand s_tree = CommandLine.Build(Terminal.OfProcess());

    [Fact]
    public void Every_option_that_takes_a_secret_is_known()
    {
        var files = All(s_tree, "")
            .SelectMany(c => c.Command.Options.Select(o => (Option: o, Name: $"{c.Name} {o.Name}".TrimStart())))
            .Where(o => o.Option is FileOption { IsWritten: false } || o.Option.Name.EndsWith("-file", StringComparison.Ordinal))
            .Select(o => o.Name);
        Assert.Equal(s_given, files.Distinct().Order(StringComparer.Ordinal));

        // On the line itself the whole machine could read one.
        Assert.DoesNotContain(
            All(s_tree, "").SelectMany(c => c.Command.Options).Where(o => o is not Option<bool>),
            o => Regex.IsMatch(o.Name, "(?:secret|password|token|partner-key)$", RegexOptions.None, TimeSpan.FromSeconds(1))
        );
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task No_command_gives_a_secret_out_again(bool onPostgres)
    {
        var made = new SandboxOptions
        {
            Students = 20,
            Schools = 2,
            PartnerKey = "planted-partner-key-8871",
            Bearer = "planted-bearer-token-8872",
            ConsumerSecret = "planted-consumer-secret-8873",
            ClientSecret = "planted-client-secret-8874",
        };
        await using var sandbox = await SandboxServer.StartAsync(made);
        await using var hook = await HookServer.StartAsync();
        await using var cli = await Cli.ConnectedAsync(sandbox, onPostgres ? cluster : null);
        var origin = sandbox.Url.GetLeftPart(UriPartial.Authority);
        var secrets = new List<string> { made.PartnerKey, made.Bearer, made.ConsumerSecret, made.ClientSecret };
        var files = new List<string> { Path.Combine(cli.Data, "secret") };
        string[] classLink = ["classlink", "connect", "--tenant-id", made.TenantId];
        string[] server = ["oneroster", "connect", "--url", origin];
        string[] mail = ["notice", "set", "--email", "tech@library.example", "--webhook", hook.Url];
        foreach (
            var way in (string[][])
                [
                    ["oneroster", "connect", "--url", sandbox.ProxyPrefix, "--token-file", Secret(made.Bearer)],
                    [.. server, "--key", made.ConsumerKey, "--secret-file", Secret(made.ConsumerSecret)],
                    [.. server, "--token-url", $"{origin}/token", "--key", made.ConsumerKey, "--secret-file", Secret(made.ConsumerSecret)],
                    [.. classLink, "--prefix", sandbox.ProxyPrefix, "--token-file", Secret(made.Bearer)],
                    [.. classLink, "--proxy", origin, "--partner-key-file", Secret(made.PartnerKey)],
                    [.. classLink, "--direct", origin, "--key", made.ConsumerKey, "--secret-file", Secret(made.ConsumerSecret)],
                    ["operator", "partner-key", "--file", Secret(made.PartnerKey)],
                    ["classlink", "login", "on", "--client-id", made.ClientId, "--client-secret-file", Secret(made.ClientSecret)],
                    [.. mail, "--webhook-secret-file", Secret(Plant("planted-webhook-secret-8875"))],
                ]
        )
        {
            await cli.OkAsync(way);
        }

        cli.Variables["ROLLCALL_SMTP_HOST"] = "127.0.0.1";
        cli.Variables["ROLLCALL_SMTP_PORT"] = "9";
        cli.Variables["ROLLCALL_SMTP_FROM"] = "rollcall@library.example";
        cli.Variables["ROLLCALL_SMTP_USER"] = "rollcall";
        cli.Variables["ROLLCALL_SMTP_PASSWORD_FILE"] = Secret(Plant("planted-mail-password-8876"));
        cli.Variables["ROLLCALL_METRICS_TOKEN_FILE"] = Secret(Plant("planted-metrics-token-8877"));

        // What is shown once is shown then, and never again.
        string[] anna = ["account", "add", "anna@library.example", "--group", "District Administrator", "--json"];
        Plant((await cli.OkAsync(anna)).Word("link")!.Split("code=")[1]);
        Plant((await cli.OkAsync("account", "reset-password", "anna@library.example", "--json")).Word("link")!.Split("code=")[1]);
        Plant((await cli.OkAsync("token", "create", "Catalogue", "--scope", "all", "--json")).Word("token")!);
        Plant((await cli.OkAsync("token", "create", "Machine", "--operator", "--json")).Word("token")!);

        // What is refused is not said either.
        var said = new StringBuilder();
        await RunAsync([.. server, "--token-file", Secret(Plant("planted-wrong-token-8878")), "--json"]);
        await RunAsync([.. classLink, "--prefix", sandbox.ProxyPrefix, "--token-file", Secret(Plant("planted-wrong-token-8879"))]);
        await RunAsync("district", "list", "--server", origin, "--token-file", Secret(Plant("planted-remote-token-8880")));
        var sync = (await cli.OkAsync("sync", "--json")).Number("operation");
        var barcode = (await cli.OkAsync("patron", "list", "--json")).Json[0].GetProperty("barcode").GetString()!;

        // Every command that wants nothing to be named.
        foreach (var (command, name) in All(s_tree, "").Where(c => c.Command.Subcommands.Count == 0))
        {
            if (
                name is not ("demo" or "serve" or "sandbox")
                && command.Arguments.All(a => a.Arity.MinimumNumberOfValues == 0)
                && command.Options.All(o => !o.Required)
            )
            {
                await RunAsync([.. name.Split(' '), "--json"]);
            }
        }

        foreach (
            var args in (string[][])
                [
                    ["notice", "list"],
                    ["token", "list", "--operator"],
                    ["operation", "show", $"{sync}"],
                    ["operation", "log", $"{sync}", "--format", "jsonl"],
                    ["operation", "log", $"{sync}", "--format", "csv"],
                    ["patron", "show", barcode, "--json"],
                    ["patron", "explain", barcode, "--json"],
                    ["patron", "data", barcode],
                    ["patron", "export", "--output", Path.Combine(cli.Data, "patrons.csv")],
                    ["db", "backup", Path.Combine(cli.Data, "backup.db")],
                    ["support-bundle", Path.Combine(cli.Data, "support.zip")],
                ]
        )
        {
            await cli.OkAsync(args);
            await RunAsync(args);
        }

        // The files that they were given in are the operator's.
        foreach (var file in files)
        {
            File.Delete(file);
        }

        Assert.NotEmpty(hook.Posts);
        var posted = string.Join('\n', hook.Posts.Select(p => $"{string.Join(' ', p.Headers.Values)} {p.Body}"));
        Assert.All(secrets, s => Assert.True(s.Length > 8, s));
        Assert.Equal(
            [],
            Leftovers.Find(
                secrets,
                ("what commands say", Encoding.UTF8.GetBytes(said.ToString())),
                ("what webhooks get", Encoding.UTF8.GetBytes(posted))
            )
        );
        await using var database = new RollcallDatabase(new StorageOptions(cli.Data, cli.Database));
        Assert.Equal([], await Leftovers.FindAsync(database, [], secrets));
        Assert.NotEmpty(await Leftovers.FindAsync(database, [], ["anna@library.example"]));
        Assert.Contains("anna@library.example", said.ToString(), StringComparison.Ordinal);

        string Plant(string secret)
        {
            secrets.Add(secret);
            return secret;
        }

        string Secret(string content)
        {
            files.Add(cli.File($"given-{files.Count}", content + "\n"));
            return files[^1];
        }

        async Task RunAsync(params string[] args)
        {
            var ran = await cli.RunAsync(args);
            said.AppendLine(ran.Out).AppendLine(ran.Error);
        }
    }

    private static IEnumerable<(Command Command, string Name)> All(Command command, string name) =>
        command.Subcommands.SelectMany(c => All(c, $"{name} {c.Name}".TrimStart())).Prepend((command, name));
}
