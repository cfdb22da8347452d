using System.Net;
using System.Net.Sockets;
using System.Runtime.Versioning;
using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Operations;
using Rollcall.Sandbox;
using Rollcall.Tests.Infrastructure;
using static Rollcall.Server.Tests.Commands.RealProcess;

namespace Rollcall.Server.Tests.Commands;

/// <summary>Real processes, where locks of the operating system and signals decide.</summary>
public sealed class ProcessTests(PostgresCluster postgres)
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    private static Task<SandboxServer> SandboxAsync() => SandboxServer.StartAsync(new SandboxOptions { Students = 40, Schools = 2 });

    private static async Task WhenRequestedAsync(SandboxServer sandbox, int count)
    {
        while (sandbox.Requests.Count < count)
        {
            await Task.Delay(20, Stop);
        }
    }

    [Fact]
    public async Task The_link_that_a_new_server_prints_makes_the_first_account_and_a_printed_one_sets_its_password_anew()
    {
        const string email = "first@library.example";
        await using var cli = await Cli.OpenAsync();
        var (server, said) = await ServeAsync(cli);
        using var running = server;
        var url = said.GetProperty("url").GetString()!;
        var setup = new Uri(said.GetProperty("setup").GetString()!);
        Assert.StartsWith(url, setup.ToString(), StringComparison.Ordinal);
        await UseAsync(setup, "a first password of theirs", ("email", email));
        await cli.RefusedAsync(1, "no account", "account", "reset-password", "nobody@library.example", "--url", url);
        var reset = new Uri((await cli.OkAsync("account", "reset-password", email, "--url", url, "--json")).Word("link")!);
        await UseAsync(reset, "another password of theirs");
        Assert.Equal("/signin", await SignInAsync("a first password of theirs"));
        Assert.Equal("/", await SignInAsync("another password of theirs"));

        // Each served once.
        foreach (var link in (Uri[])[setup, reset])
        {
            using var late = new Pages.Visitor(new Uri(url), null);
            Assert.DoesNotContain("name=\"password\"", await late.PageAsync(link.PathAndQuery), StringComparison.Ordinal);
        }

        await SignalAsync(server, "INT");
        Assert.Equal(0, (await EndAsync(server)).Code);

        async Task UseAsync(Uri link, string password, params (string Name, string Value)[] more)
        {
            using var visitor = new Pages.Visitor(new Uri(url), null);
            Assert.Equal(
                "/",
                await visitor.SubmitAsync(
                    link.PathAndQuery,
                    "/link",
                    [("code", link.Query["?code=".Length..]), ("password", password), ("again", password), .. more]
                )
            );
        }

        async Task<string> SignInAsync(string password)
        {
            using var visitor = new Pages.Visitor(new Uri(url), null);
            var token = Pages.Visitor.TokenOf(await visitor.PageAsync("/signin"));
            using var response = await visitor.PostAsync("/signin", token, ("email", email), ("password", password));
            return response.StatusCode == HttpStatusCode.Redirect ? response.Headers.Location!.ToString() : "/signin";
        }
    }

    [Fact]
    public async Task A_served_folder_is_worked_on_by_its_server_alone_and_commands_follow_it()
    {
        await using var sandbox = await SandboxAsync();
        await using var cli = await Cli.ConnectedAsync(sandbox);
        using var server = Start(cli, "serve", "--urls", "http://127.0.0.1:0", "--json");
        while (await server.StandardOutput.ReadLineAsync(Stop) is { } line && line != "}") { }

        using var second = Start(cli, "serve", "--urls", "http://127.0.0.1:0");
        var refused = await EndAsync(second);
        Assert.Equal(1, refused.Code);
        Assert.Contains("--data", Assert.Single(refused.Error.TrimEnd('\n').Split('\n')), StringComparison.Ordinal);

        using var sync = Start(cli, "sync", "--json");
        var ran = await EndAsync(sync);
        Assert.Equal(0, ran.Code);
        Assert.Equal("", ran.Error);
        Assert.True(ran.Number("created") > 20);
        Assert.StartsWith("completed", ran.Word("status"), StringComparison.Ordinal);

        await SignalAsync(server, "INT");
        var stopped = await EndAsync(server);
        Assert.Equal(0, stopped.Code);
        Assert.Equal("", stopped.Out);
    }

    [Fact]
    [UnsupportedOSPlatform("windows")]
    public async Task Nobody_else_on_the_machine_reads_what_a_first_server_keeps_from_the_first_byte_on()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Rights of files are Unix's");
        await using var cli = await Cli.OpenAsync();
        var data = cli.Variables["ROLLCALL_DATA"] = Path.Combine(cli.Data, "library", "rollcall");
        using var server = StartOpen(cli, "serve", "--urls", "http://127.0.0.1:0", "--json");
        while (await server.StandardOutput.ReadLineAsync(Stop) is { } line && line != "}") { }

        const UnixFileMode own = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        Assert.Equal(own | UnixFileMode.UserExecute, File.GetUnixFileMode(data));
        var files = (string[])["rollcall.db", "rollcall.db-wal", "rollcall.db-shm"];
        Assert.All(files, name => Assert.Equal((name, own), (name, File.GetUnixFileMode(Path.Combine(data, name)))));

        // A server of a version before left its journal open to all: the next process that comes closes it.
        foreach (var journal in files[1..].Select(name => Path.Combine(data, name)))
        {
            File.SetUnixFileMode(journal, own | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
        }

        using var list = StartOpen(cli, "district", "list");
        Assert.Equal(0, (await EndAsync(list)).Code);
        Assert.All(files, name => Assert.Equal((name, own), (name, File.GetUnixFileMode(Path.Combine(data, name)))));
        await SignalAsync(server, "INT");
        Assert.Equal(0, (await EndAsync(server)).Code);
    }

    [Fact]
    public async Task Results_that_cannot_be_written_are_told_in_one_line_and_what_was_done_stays_done()
    {
        Assert.SkipUnless(File.Exists("/dev/full"), "This system has no disk that is always full");
        await using var sandbox = await SandboxAsync();
        await using var cli = await Cli.ConnectedAsync(sandbox);
        foreach (
            var (done, args) in (IEnumerable<(bool, string[])>)
                [
                    (true, ["--help"]),
                    (true, ["sync", "--json"]),
                    (true, ["operation", "list"]),
                    (true, ["operation", "list", "--json"]),
                    (false, ["operation", "show", "77", "--json"]),
                ]
        )
        {
            using var process = StartFull(cli, args);
            var ran = await EndAsync(process);
            Assert.Equal((1, ""), (ran.Code, ran.Out));
            var line = Assert.Single(ran.Error.TrimEnd('\n').Split('\n'));
            Assert.StartsWith(
                done ? "error: It is done, but what it says could not be written: " : "error: There is no operation 77.",
                line,
                StringComparison.Ordinal
            );
        }

        var operation = Assert.Single((await cli.OkAsync("operation", "list", "--json")).Json.EnumerateArray());
        Assert.StartsWith("completed", operation.GetProperty("status").GetString(), StringComparison.Ordinal);

        // Where not even that can be said, the exit code says it.
        using var mute = StartFull(cli, ["--help"], "2>/dev/full");
        Assert.Equal((1, ""), (await EndAsync(mute) is var said ? (said.Code, said.Error) : default));
    }

    [Fact]
    public async Task An_interrupted_sync_is_parked_and_a_killed_one_is_taken_over()
    {
        await using var sandbox = await SandboxAsync();
        await using var cli = await Cli.ConnectedAsync(sandbox);
        sandbox.Faults.Set("slow=300");
        var before = sandbox.Requests.Count;
        using var interrupted = Start(cli, "sync", "--json");
        await WhenRequestedAsync(sandbox, before + 2);
        await SignalAsync(interrupted, "INT");
        var ran = await EndAsync(interrupted);
        Assert.Equal(1, ran.Code);
        Assert.Contains("is parked", ran.Word("error"), StringComparison.Ordinal);
        Assert.Contains("rollcall sync", Assert.Single(ran.Error.TrimEnd('\n').Split('\n')), StringComparison.Ordinal);

        before = sandbox.Requests.Count;
        using var killed = Start(cli, "sync");
        await WhenRequestedAsync(sandbox, before + 2);
        await SignalAsync(killed, "KILL");
        await killed.WaitForExitAsync(Stop);

        sandbox.Faults.Set("");
        var next = await cli.OkAsync("sync", "--json");
        Assert.Equal(ran.Number("operation"), next.Number("operation"));
        Assert.Single((await cli.OkAsync("operation", "list", "--json")).Json.EnumerateArray());
        Assert.Equal(next.Number("created"), (await cli.OkAsync("patron", "list", "--json")).Json.GetArrayLength());
    }

    [Fact]
    public async Task An_interrupted_undo_is_gone_on_with_by_its_number()
    {
        await using var sandbox = await SandboxAsync();
        await using var cli = await Cli.ConnectedAsync(sandbox);
        var sync = (await cli.OkAsync("sync", "--json")).Number("operation");
        using (Storage.FileLock.TryAcquire(Path.Combine(cli.Data, Operations.OperationWorker.LockFile)))
        {
            using var interrupted = Start(cli, "operation", "undo", $"{sync}", "--json");
            while ((await cli.OkAsync("operation", "list", "--json")).Json.GetArrayLength() < 2)
            {
                await Task.Delay(100, Stop);
            }

            await SignalAsync(interrupted, "INT");
            var ran = await EndAsync(interrupted);
            Assert.Equal((1, sync + 1), (ran.Code, ran.Number("operation")));
            Assert.Contains($"'rollcall operation continue {sync + 1}' goes on with it", ran.Word("error"), StringComparison.Ordinal);
            Assert.DoesNotContain("rollcall sync", ran.Error, StringComparison.Ordinal);
        }

        await cli.RefusedAsync(1, $"by operation {sync + 1}", "operation", "undo", $"{sync}");
        var undone = await cli.OkAsync("operation", "continue", $"{sync + 1}", "--json");
        Assert.Equal(("undo", sync + 1), (undone.Word("kind"), undone.Number("operation")));
        Assert.Equal(0, (await cli.OkAsync("patron", "list", "--json")).Json.GetArrayLength());
        await cli.RefusedAsync(1, "there is nothing to go on with", "operation", "continue", $"{sync + 1}");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_night_that_waits_for_another_try_is_gone_on_with_when_somebody_says_so(bool onPostgres)
    {
        await using var sandbox = await SandboxAsync();
        await using var cli = await Cli.ConnectedAsync(sandbox, onPostgres ? postgres : null);
        await using var database = new Storage.RollcallDatabase(new Storage.StorageOptions(cli.Data, cli.Database));
        var queue = new OperationQueue(database, TimeProvider.System);
        var district = await new Rollcall.Districts.DistrictService(database, TimeProvider.System).ResolveAsync("RIVER", Stop);
        foreach (var planned in (bool[])[false, true])
        {
            var (id, _) = await queue.EnqueueAsync(
                district.Id,
                OperationKind.FullSync,
                Integrations.IntegrationKind.ClassLink,
                preview: false,
                DailySchedule.Actor,
                dailyDate: new DateOnly(2026, 3, planned ? 3 : 2),
                cancellationToken: Stop
            );
            var claimed = await queue.ClaimAsync("elsewhere:7", id, aloneHere: false, Stop);
            Assert.True(await queue.RetryLaterAsync(claimed!, TimeSpan.FromHours(2), "The service is away.", Stop));
            await using (var context = database.CreateContext())
            {
                await context.Operations.Where(o => o.Id == id).ExecuteUpdateAsync(s => s.SetProperty(o => o.Planned, planned), Stop);
            }

            var ran = await cli.OkAsync("operation", "continue", $"{id}", "--json");
            Assert.Equal(id, ran.Number("operation"));
            Assert.StartsWith("completed", ran.Word("status"), StringComparison.Ordinal);

            // Whoever has it read goes before the night; what the night has planned stays the night's.
            Assert.Equal(planned, (await queue.GetAsync(district.Id, id, Stop)).RequestedBy == DailySchedule.Actor);
        }
    }

    [Fact]
    public async Task A_demo_shows_where_to_look_and_leaves_nothing_behind()
    {
        await using var cli = await Cli.OpenAsync();
        using var demo = Start(cli, "demo", "--students", "60");
        string? line;
        var said = new List<string>();
        while ((line = await demo.StandardOutput.ReadLineAsync(Stop)) is not null)
        {
            said.Add(line);
            if (line.StartsWith("Stop", StringComparison.Ordinal))
            {
                break;
            }
        }

        var url = said.Single(l => l.StartsWith("Open ", StringComparison.Ordinal)).Split(' ')[^1];
        using var http = new HttpClient();
        Assert.Contains("admin@demo.example", await http.GetStringAsync(new Uri(url), Stop), StringComparison.Ordinal);
        var next = said.Single(l => l.StartsWith("Let a day pass", StringComparison.Ordinal)).Split('\'')[1];
        using var day = await http.PostAsync(new Uri(next), null, Stop);
        Assert.Equal(1, JsonDocument.Parse(await day.Content.ReadAsStringAsync(Stop)).RootElement.GetProperty("day").GetInt32());
        var folders = Path.Combine(cli.Data, "tmp");
        Assert.NotEmpty(Directory.GetDirectories(folders, "rollcall-demo-*"));

        await SignalAsync(demo, "INT");
        var ran = await EndAsync(demo);
        Assert.Equal(0, ran.Code);
        Assert.Equal("", ran.Error);
        Assert.Empty(Directory.GetDirectories(folders, "rollcall-demo-*"));
    }

    [Theory]
    [InlineData("Stop ", "demo", "--students", "20")]
    [InlineData("Rollcall is at ", "serve")]
    public async Task Who_stops_a_server_the_moment_it_is_there_stops_it_in_order(string atLast, params string[] args)
    {
        using var folder = new TempFolder();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Stop);
        await using var output = new StoppingWriter(atLast, stop);
        await using var error = new StringWriter();
        var terminal = new Rollcall.Server.Commands.Terminal(
            output,
            error,
            () => Stream.Null,
            name => name == "ROLLCALL_ALLOW_PRIVATE_ADDRESSES" ? "true" : null,
            OutIsTerminal: false,
            ErrorIsTerminal: false
        );
        string[] all = [.. args, "--urls", "http://127.0.0.1:0", "--data", folder.Path];
        var code = await Rollcall.Server.Commands.CommandLine.RunAsync(all, terminal, stop.Token);
        Assert.Equal((0, ""), (code, error.ToString()));
    }

    /// <summary>Somebody asks to stop as soon as they have read this line.</summary>
    private sealed class StoppingWriter(string line, CancellationTokenSource stop) : StringWriter
    {
        public override void WriteLine(string? value)
        {
            base.WriteLine(value);
            if (value?.StartsWith(line, StringComparison.Ordinal) == true)
            {
                stop.Cancel();
            }
        }
    }

    [Fact]
    public async Task A_demo_on_PostgreSQL_says_how_to_come_back_to_it_and_no_password()
    {
        foreach (var keeps in (bool[])[true, false])
        {
            await using var other = await Cli.OpenAsync(postgres);
            var connection = new Npgsql.NpgsqlConnectionStringBuilder(other.Database) { Password = "open sesame 77" }.ToString();
            string[] data = keeps ? ["--data", other.Data] : [];
            using var demo = Start(other, ["demo", "--students", "60", "--urls", "http://127.0.0.1:0", "--database", connection, .. data]);
            var said = new List<string>();
            while (await demo.StandardOutput.ReadLineAsync(Stop) is { } line)
            {
                said.Add(line);
                if (line.StartsWith("Stop", StringComparison.Ordinal))
                {
                    break;
                }
            }

            await SignalAsync(demo, "INT");
            var ran = await EndAsync(demo);
            Assert.Equal("", ran.Error);
            Assert.Equal(0, ran.Code);
            foreach (var again in (string[])["Again", "Then sync"])
            {
                Assert.EndsWith(
                    " --database CONNECTION",
                    said.Single(l => l.StartsWith(again, StringComparison.Ordinal)),
                    StringComparison.Ordinal
                );
            }

            Assert.Contains("the database keeps what is in it", said[^1], StringComparison.Ordinal);
            Assert.Equal(keeps, said[^1].Contains(other.Data, StringComparison.Ordinal));
            Assert.Equal(!keeps, said[^1].Contains("--data DIR", StringComparison.Ordinal));
            Assert.DoesNotContain("sesame", string.Join('\n', said), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Whoever_wants_no_colours_gets_no_escapes_in_a_terminal()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/script"), "This system has no 'script', which makes a terminal");
        await using var cli = await Cli.OpenAsync();
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend");
        foreach (
            var (none, args) in (IEnumerable<(bool, string)>)
                [(false, "district list"), (true, "district list"), (true, "sync"), (true, "--help")]
        )
        {
            cli.Variables["NO_COLOR"] = none ? "1" : "";
            using var process = StartInTerminal(cli, args);
            var ran = await EndAsync(process);
            Assert.Contains(
                args == "--help" ? "support-bundle"
                    : args == "sync" ? "classlink connect"
                    : "Riverbend",
                ran.Out,
                StringComparison.Ordinal
            );
            Assert.Equal(!none, ran.Out.Contains('\e'));
        }
    }

    [Fact]
    public async Task A_port_that_is_taken_is_told_in_one_line()
    {
        await using var cli = await Cli.OpenAsync();
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        var url = $"http://127.0.0.1:{((IPEndPoint)taken.LocalEndpoint).Port}";
        foreach (var verb in (string[])["demo", "serve", "sandbox"])
        {
            using var process = Start(cli, verb, "--urls", url);
            var ran = await EndAsync(process);
            Assert.Equal(1, ran.Code);
            Assert.Contains("--urls", Assert.Single(ran.Error.TrimEnd('\n').Split('\n')), StringComparison.Ordinal);
        }

        Assert.Empty(Directory.GetDirectories(Path.Combine(cli.Data, "tmp"), "rollcall-demo-*"));
    }
}
