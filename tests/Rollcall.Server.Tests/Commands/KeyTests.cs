using System.Security.Cryptography;
using Rollcall.Sandbox;
using Rollcall.Storage;
using Rollcall.Tests.Infrastructure;
using static Rollcall.Server.Tests.Commands.RealProcess;

namespace Rollcall.Server.Tests.Commands;

/// <summary>A master key that is not the database's: a second node without the shared file, a folder that was lost, a backup without its key.</summary>
public sealed class KeyTests(PostgresCluster cluster)
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Another_key_is_told_in_one_line_and_counts_only_when_somebody_says_so(bool onPostgres)
    {
        await using var sandbox = await SandboxServer.StartAsync(new SandboxOptions { Students = 40, Schools = 2 });
        await using var cli = await Cli.ConnectedAsync(sandbox, onPostgres ? cluster : null);
        await cli.OkAsync("sync");
        var file = Path.Combine(cli.Data, "master.key");
        var original = await File.ReadAllTextAsync(file, Stop);
        var other = Convert.ToBase64String(RandomNumberGenerator.GetBytes(32));
        var keys = await KeysAsync(cli);
        await cli.RefusedAsync(1, "nothing to do", "db", "adopt-key", "--yes");

        await File.WriteAllTextAsync(file, other, Stop);
        string[] demo = ["demo", "--students", "40", "--urls", "http://127.0.0.1:0", "--data", cli.Data];
        foreach (
            var args in (string[][])
                [
                    ["serve", "--urls", "http://127.0.0.1:0"],
                    onPostgres ? [.. demo, "--database", cli.Database!] : demo,
                ]
        )
        {
            using var process = Start(cli, args);
            var ran = await EndAsync(process);
            Assert.Equal(1, ran.Code);
            var line = Assert.Single(ran.Error.TrimEnd('\n').Split('\n'));
            foreach (var word in (string[])[file, "does not fit this database", "ROLLCALL_KEY_FILE", "db adopt-key"])
            {
                Assert.Contains(word, line, StringComparison.Ordinal);
            }
        }

        var refused = await cli.RunAsync("sync");
        Assert.Equal(1, refused.Code);
        Assert.Contains("master key", Assert.Single(refused.Error.TrimEnd('\n').Split('\n')), StringComparison.Ordinal);
        var connect = await ConnectAsync(cli, sandbox);
        Assert.Equal(1, connect.Code);
        Assert.Contains("does not fit", Assert.Single(connect.Error.TrimEnd('\n').Split('\n')), StringComparison.Ordinal);
        await cli.RefusedAsync(1, "District RIVER (Riverbend), ClassLink", "db", "adopt-key");
        Assert.Equal(keys, await KeysAsync(cli));

        // Nothing was lost so far.
        await File.WriteAllTextAsync(file, original, Stop);
        await cli.OkAsync("sync");

        // A server that runs has the key still, and what it goes on storing nobody could read who adopts another one.
        var (server, _) = await ServeAsync(cli);
        using (server)
        {
            await File.WriteAllTextAsync(file, other, Stop);
            await cli.RefusedAsync(1, "stop every server", "db", "adopt-key", "--yes");
            await SignalAsync(server, "TERM");
            await EndAsync(server);
        }

        Assert.Equal(keys, await KeysAsync(cli));
        var adopted = (await cli.OkAsync("db", "adopt-key", "--yes", "--json")).Json;
        Assert.Equal(file, adopted.GetProperty("keyFile").GetString());
        Assert.Equal("District RIVER (Riverbend), ClassLink", Assert.Single(adopted.GetProperty("lost").EnumerateArray()).GetString());
        await cli.RefusedAsync(1, "master key", "sync");
        Assert.Equal(0, (await ConnectAsync(cli, sandbox)).Code);
        await cli.OkAsync("sync");
        await ServesAsync(cli);
        await cli.OkAsync("db", "check");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_backup_that_is_restored_without_its_key_is_served_connected_again_or_given_its_key_back(bool onPostgres)
    {
        await using var sandbox = await SandboxServer.StartAsync(new SandboxOptions { Students = 40, Schools = 2 });
        await using var home = await Cli.ConnectedAsync(sandbox);
        await home.OkAsync("sync");
        using var folder = new TempFolder();
        var backup = Path.Combine(folder.Path, "rollcall.bak");
        await home.OkAsync("db", "backup", backup);
        foreach (var keyComesBack in (bool[])[false, true])
        {
            await using var elsewhere = await Cli.OpenAsync(onPostgres ? cluster : null);
            if (onPostgres)
            {
                await elsewhere.OkAsync("db", "migrate");
            }

            Assert.Contains(
                "District RIVER (Riverbend), ClassLink",
                (await elsewhere.OkAsync("db", "restore", backup)).Out,
                StringComparison.Ordinal
            );
            await ServesAsync(elsewhere);
            await elsewhere.RefusedAsync(1, "master key", "sync");
            if (keyComesBack)
            {
                File.Copy(Path.Combine(home.Data, "master.key"), Path.Combine(elsewhere.Data, "master.key"), overwrite: true);
            }
            else
            {
                Assert.Equal(0, (await ConnectAsync(elsewhere, sandbox)).Code);
            }

            await elsewhere.OkAsync("sync");
            await ServesAsync(elsewhere);
        }
    }

    [Fact]
    public async Task A_key_file_that_is_missing_is_told_from_one_that_cannot_be_got_at_and_none_is_made_in_its_place()
    {
        await using var cli = await Cli.OpenAsync();
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend");
        var named = cli.Variables["ROLLCALL_KEY_FILE"] = Path.Combine(cli.Data, "named.key");
        await SaysAsync(named, "does not exist. Make one");
        cli.Variables.Remove("ROLLCALL_KEY_FILE");
        await cli.OkAsync("operator", "partner-key", "--file", cli.File("partner", "planted-partner-key"));
        var file = Path.Combine(cli.Data, "master.key");

        // Where something was encrypted with it, no other one does.
        cli.Variables["ROLLCALL_KEY_FILE"] = named;
        await SaysAsync(named, "is missing");

        // A folder is as good as a file that somebody else's folder keeps from us: it is there.
        cli.Variables["ROLLCALL_KEY_FILE"] = cli.Data;
        await SaysAsync(cli.Data, "cannot be read");
        cli.Variables.Remove("ROLLCALL_KEY_FILE");

        File.Delete(file);
        await SaysAsync(file, "is missing");
        Assert.Contains(file, (await cli.RunAsync("db", "check")).Out, StringComparison.Ordinal);
        await cli.RefusedAsync(1, "classlink.partner-key", "db", "adopt-key");
        Assert.False(File.Exists(file));
        await cli.OkAsync("db", "adopt-key", "--yes");
        Assert.True(File.Exists(file));
        Assert.DoesNotContain(file, (await ServesAsync(cli)).Error, StringComparison.Ordinal);
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.OtherRead);
            Assert.Contains($"can read the master key in {file}", (await ServesAsync(cli)).Error, StringComparison.Ordinal);
        }

        // So it is where the file has another name.
        await cli.OkAsync("operator", "partner-key", "--file", cli.File("partner", "planted-partner-key"));
        cli.Variables["ROLLCALL_KEY_FILE"] = named;
        using (var told = Start(cli, "db", "adopt-key"))
        {
            var ran = await EndAsync(told);
            Assert.Equal(1, ran.Code);
            foreach (var word in (string[])[named, "is missing", "classlink.partner-key", "--yes makes another one there"])
            {
                Assert.Contains(word, ran.Error, StringComparison.Ordinal);
            }
        }

        Assert.False(File.Exists(named));
        using (var adopted = Start(cli, "db", "adopt-key", "--yes"))
        {
            Assert.Equal(0, (await EndAsync(adopted)).Code);
        }

        Assert.True(File.Exists(named));
        await ServesAsync(cli);

        async Task SaysAsync(string path, string what)
        {
            using var process = Start(cli, "serve", "--urls", "http://127.0.0.1:0");
            var ran = await EndAsync(process);
            Assert.Equal(1, ran.Code);
            var line = Assert.Single(ran.Error.TrimEnd('\n').Split('\n'));
            Assert.Contains(path, line, StringComparison.Ordinal);
            Assert.Contains(what, line, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task No_key_is_made_and_none_advised_while_the_database_cannot_be_asked_whether_it_has_one()
    {
        await using var cli = await Cli.OpenAsync();
        cli.Variables["ROLLCALL_DATABASE"] = "Host=127.0.0.1;Port=1;Database=rollcall;Username=rollcall";
        var named = Path.Combine(cli.Data, "named.key");
        foreach (var isNamed in (bool[])[false, true])
        {
            if (isNamed)
            {
                cli.Variables["ROLLCALL_KEY_FILE"] = named;
            }

            using var process = Start(cli, "serve", "--urls", "http://127.0.0.1:0");
            var ran = await EndAsync(process);
            Assert.Equal(1, ran.Code);
            Assert.Contains("PostgreSQL cannot be reached", Assert.Single(ran.Error.TrimEnd('\n').Split('\n')), StringComparison.Ordinal);
        }

        Assert.Empty(Directory.GetFiles(cli.Data, "*.key*"));
    }

    /// <summary>A server starts, answers with a form, ends, and has had nothing to complain of.</summary>
    private static async Task<Ran> ServesAsync(Cli cli)
    {
        var (server, said) = await ServeAsync(cli);
        using (server)
        {
            using var http = new HttpClient();
            var url = new Uri(said.GetProperty("url").GetString()!);
            Assert.Contains("<form", await http.GetStringAsync(new Uri(url, "/signin"), Stop), StringComparison.Ordinal);
            await SignalAsync(server, "TERM");
            var ran = await EndAsync(server);
            Assert.DoesNotContain("Exception", ran.Error, StringComparison.Ordinal);
            Assert.DoesNotContain("AuthenticationTag", ran.Out, StringComparison.Ordinal);
            return ran;
        }
    }

    private static Task<Ran> ConnectAsync(Cli cli, SandboxServer sandbox) =>
        cli.RunAsync(
            "classlink",
            "connect",
            "--tenant-id",
            sandbox.Options.TenantId,
            "--direct",
            sandbox.Url.GetLeftPart(UriPartial.Authority),
            "--key",
            sandbox.Options.ConsumerKey,
            "--secret-file",
            cli.File("secret", sandbox.Options.ConsumerSecret)
        );

    private static async Task<long> KeysAsync(Cli cli)
    {
        await using var database = new RollcallDatabase(new StorageOptions(cli.Data, cli.Database));
        await using var connection = await database.OpenAsync(Stop);
        return await Sql.ScalarAsync(connection, null, "SELECT count(*) FROM data_protection_keys", Stop);
    }
}
