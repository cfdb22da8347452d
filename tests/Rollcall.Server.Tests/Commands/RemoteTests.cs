using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.Patrons;
using Rollcall.Server.Api;
using Rollcall.Server.Commands;
using Rollcall.Server.Tests.Pages;
using Rollcall.SignIn;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Commands;

/// <summary>The command line over the API of another machine: this side has no installation, the other is a server with its worker.</summary>
public sealed class SqliteRemoteTests(SyncedLibrary library) : RemoteTests(library), IClassFixture<SyncedLibrary>;

/// <inheritdoc cref="SqliteRemoteTests"/>
public sealed class PostgresRemoteTests(PostgresLibrary library) : RemoteTests(library), IClassFixture<PostgresLibrary>;

public abstract class RemoteTests(Library library) : IAsyncLifetime
{
    private Cli _here = null!;
    private string _token = "";

    public async ValueTask InitializeAsync()
    {
        _here = await Cli.OpenAsync();
        _token = await TokenFileAsync("token", SecurityGroup.DistrictAdministrator, AccessTokens.AllOfDistrict);
    }

    public async ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        Assert.Empty(Directory.GetFiles(_here.Data, "*.db"));
        await _here.DisposeAsync();
    }

    [Fact]
    public async Task A_district_is_looked_after_from_another_machine_as_on_its_own()
    {
        var preview = await OkAsync("sync", "--preview", "--json");
        Assert.Equal("preview", preview.Word("status"));
        var id = preview.Number("operation");
        var shown = await OkAsync("operation", "show", $"{id}", "--json");
        Assert.StartsWith("token (token ", shown.Word("requestedBy"), StringComparison.Ordinal);
        var approved = await OkAsync("operation", "approve", $"{id}", "--json");
        Assert.Equal(
            (id, (await OkAsync("operation", "show", $"{id}", "--json")).Word("status")),
            (approved.Number("operation"), approved.Word("status"))
        );
        Assert.Contains("Full Sync, operation", (await OkAsync("sync")).Out, StringComparison.Ordinal);
        Assert.Contains(
            (await OkAsync("operation", "list", "--json")).Json.EnumerateArray(),
            o => o.GetProperty("operation").GetInt64() == id
        );

        // The same words as on the server's own machine.
        var local = await LocalAsync("patron", "list", "--limit", "7");
        var list = await OkAsync("patron", "list", "--limit", "7");
        Assert.Equal(local, list.Out);
        Assert.Equal(await LocalAsync("site", "list", "--json"), (await OkAsync("site", "list", "--json")).Out);
        Assert.Equal(await LocalAsync("classlink", "readiness"), (await OkAsync("classlink", "readiness")).Out);
        Assert.Equal(await LocalAsync("classlink", "show", "--json"), (await OkAsync("classlink", "show", "--json")).Out);

        // Files go both ways, and are those of this side.
        var csv = Path.Combine(_here.Data, "patrons.csv");
        var export = await OkAsync("patron", "export", "-o", csv);
        Assert.Contains("written to", export.Out, StringComparison.Ordinal);
        Assert.Equal(await LocalAsync("patron", "export"), await File.ReadAllTextAsync(csv));
        if (!OperatingSystem.IsWindows())
        {
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(csv));
        }

        var name = $"R{Guid.NewGuid():N}"[..9];
        var file = _here.File("new.csv", $"barcode,lastName\n{name},Away\n");
        var imported = await OkAsync("patron", "import", file, "--json");
        Assert.Equal(1, imported.Number("created"));
        _here.In = Encoding.UTF8.GetBytes($"barcode,notes\n{name},piped\n");
        Assert.Equal(1, (await OkAsync("patron", "import", "-", "--json")).Number("updated"));
        Assert.Equal("piped", (await OkAsync("patron", "show", name, "--json")).Word("notes"));
        Assert.Contains("Away", (await OkAsync("patron", "explain", name, "--offline")).Out, StringComparison.Ordinal);
        var undone = await OkAsync("operation", "undo", $"{imported.Number("operation")}", "--json");
        Assert.Equal(0, undone.Code);
        await OkAsync("patron", "remove", name);

        Assert.Contains("04:15", (await OkAsync("classlink", "schedule", "--daily", "04:15")).Out, StringComparison.Ordinal);
        await OkAsync("classlink", "schedule", "--daily", "off");
        await OkAsync("classlink", "field", "email", "--blank", "keep");
        await OkAsync("site", "set", "S01", "--policy", "STD");
        await OkAsync("review", "list", "--json");
        await OkAsync("retention", "show");
        await OkAsync("notice", "set", "--webhook", "none", "--email", "none");
        await OkAsync(
            "classlink",
            "connect",
            [
                "--tenant-id",
                library.Sandbox.Options.TenantId,
                "--direct",
                library.Sandbox.Url.GetLeftPart(UriPartial.Authority),
                "--key",
                library.Sandbox.Options.ConsumerKey,
                "--secret-file",
                _here.File("secret", library.Sandbox.Options.ConsumerSecret),
            ]
        );

        // A hold and a refusal have their exit codes here too.
        var away = library.Sandbox.Overrides.RemoveShare(library.Sandbox.District.Schools.First().SourcedId, 0.5);
        var held = await RunAsync("sync", "--json");
        Assert.Equal((ExitCode.NeedsApproval, "needs-approval"), (held.Code, held.Word("status")));
        Assert.Contains("HELD", (await OkAsync("operation", "log", $"{held.Number("operation")}")).Out, StringComparison.Ordinal);
        await OkAsync("operation", "discard", $"{held.Number("operation")}");
        library.Sandbox.Overrides.Restore("users", away);
        Assert.Equal(ExitCode.Failed, (await RunAsync("operation", "show", "999999")).Code);
        Assert.Equal(ExitCode.Usage, (await RunAsync("sync", "--full", "--changes")).Code);
        await using var audit = library.Service<Rollcall.Storage.RollcallDatabase>().CreateContext();
        Assert.Contains(
            audit.AuditEntries.Where(a => a.DistrictId == library.District.Id).Select(a => a.Actor),
            a => a.StartsWith("token (token ", StringComparison.Ordinal)
        );
    }

    [Fact]
    public async Task An_operation_is_followed_again_when_the_connection_breaks()
    {
        await using var wire = new CutOnce(library.Url.Port, "\"operation\":");
        var ran = await _here.RunAsync(["sync", "--preview", "--json", "--server", wire.Url.ToString(), "--token-file", _token]);
        Assert.Equal((0, "preview"), (ran.Code, ran.Word("status")));
        Assert.Contains($"Operation {ran.Number("operation")} is followed", ran.Error, StringComparison.Ordinal);
        Assert.Equal(2, wire.Connections);

        // It was started once: nothing came after it.
        var last = (await OkAsync("operation", "list", "--json")).Json.EnumerateArray().First();
        Assert.Equal(ran.Number("operation"), last.GetProperty("operation").GetInt64());
        await OkAsync("operation", "discard", $"{ran.Number("operation")}");
    }

    [Fact]
    public async Task Whoever_only_looks_needs_to_read_alone()
    {
        var preferences = await TokenFileAsync("look", SecurityGroup.DistrictAdministrator, TokenScopes.PreferencesRead);
        var shown = await _here.RunAsync(["classlink", "schedule", "--server", library.Url.ToString(), "--token-file", preferences]);
        Assert.Equal(0, shown.Code);
        await RefusedAsync(
            ExitCode.Failed,
            "lacks the scope preferences:write",
            library.Url,
            preferences,
            "classlink",
            "schedule",
            "--daily",
            "04:15"
        );
        var patrons = await TokenFileAsync("look2", SecurityGroup.DistrictAdministrator, TokenScopes.PatronsRead);
        var barcode = (await library.Service<PatronService>().PageAsync(library.District.Id, new(), PatronSort.Name, false, 1, 1))
            .Patrons[0]
            .Barcode;
        var goes = await _here.RunAsync(["patron", "erase", barcode, "--server", library.Url.ToString(), "--token-file", patrons]);
        Assert.Contains("Nothing was erased", goes.Error, StringComparison.Ordinal);
        await RefusedAsync(ExitCode.Failed, "lacks the scope patrons:write", library.Url, patrons, "patron", "erase", barcode, "--yes");

        // A file is named in full as this side has it.
        var csv = Path.Combine(_here.Data, "named.csv");
        var relative = Path.GetRelativePath(Environment.CurrentDirectory, csv);
        Assert.Equal(csv, (await OkAsync("patron", "export", "-o", relative, "--json")).Word("file"));
    }

    [Fact]
    public async Task What_a_token_or_this_side_may_not_do_is_one_clear_line()
    {
        // What is wrong on this side is told before anything is sent.
        await RefusedAsync(ExitCode.Usage, "--server needs --token-file F", library.Url, null, "patron", "list");
        await RefusedAsync(ExitCode.Failed, "does not exist", library.Url, "no-such-file", "patron", "list");
        await RefusedAsync(ExitCode.Failed, "is empty", library.Url, Closed("empty", ""), "patron", "list");
        await RefusedAsync(ExitCode.Failed, "more than one word", library.Url, Closed("two", "a\nb"), "patron", "list");
        await RefusedAsync(ExitCode.Failed, "holds no access token", library.Url, Closed("password", "hunter2"), "patron", "list");
        var open = _here.File("open", await File.ReadAllTextAsync(_token));
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(open, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead);
            await RefusedAsync(ExitCode.Failed, "chmod 600", library.Url, open, "patron", "list");
        }

        await RefusedAsync(ExitCode.Usage, "in the clear", new Uri("http://library.example"), _token, "patron", "list");
        await RefusedAsync(ExitCode.Usage, "an address and no more", new Uri("https://a:b@library.example"), _token, "patron", "list");
        await RefusedAsync(ExitCode.Usage, "neither --data nor", library.Url, _token, "patron", "list", "--data", _here.Data);
        foreach (
            var command in (string[][])
                [
                    ["serve"],
                    ["demo"],
                    ["sandbox"],
                    ["db", "check"],
                    ["support-bundle", "x"],
                    ["account", "list"],
                    ["token", "list"],
                ]
        )
        {
            await RefusedAsync(ExitCode.Usage, "does not go over the API", library.Url, _token, command);
        }

        // What the server refuses.
        await RefusedAsync(ExitCode.Failed, "does not exist", library.Url, _token, "patron", "import", "/etc/hostname-not-here");
        await RefusedAsync(ExitCode.Failed, "does not go over the API", library.Url, _token, "patron", "remove", "X", "--export", "x.csv");
        await RefusedAsync(ExitCode.Failed, "opens district DEMO and no other", library.Url, _token, "site", "list", "--district", "OTHER");
        var reading = await TokenFileAsync("reading", SecurityGroup.DistrictAdministrator, TokenScopes.PatronsRead);
        await RefusedAsync(ExitCode.Failed, "lacks the scope operations:write", library.Url, reading, "sync");
        var lesser = await TokenFileAsync("lesser", SecurityGroup.LibraryAdministrator, AccessTokens.AllOfDistrict);
        await RefusedAsync(ExitCode.Failed, "the group District Administrator", library.Url, lesser, "classlink", "show");
        await RefusedAsync(ExitCode.Failed, "installation's operator", library.Url, _token, "district", "list");
        var ended = await TokenFileAsync("ended", SecurityGroup.LibraryAdministrator, TokenScopes.PatronsRead);
        var tokens = library.Service<AccessTokens>();
        await tokens.RevokeAsync(library.District.Id, (await tokens.ListAsync(library.District.Id))[0].Id, "test");
        var line = await RefusedAsync(ExitCode.Failed, "has expired or was revoked", library.Url, ended, "patron", "list");
        Assert.DoesNotContain(await File.ReadAllTextAsync(ended), line, StringComparison.Ordinal);

        // Nobody there, somebody else there, and a server of last year.
        await RefusedAsync(ExitCode.Failed, "does not answer", new Uri("http://127.0.0.1:9"), _token, "patron", "list");
        await RefusedAsync(ExitCode.Failed, "is no Rollcall server", library.Sandbox.Url, _token, "patron", "list");
        await RefusedAsync(
            ExitCode.Failed,
            "cannot be trusted",
            new UriBuilder(library.Url) { Scheme = Uri.UriSchemeHttps }.Uri,
            _token,
            "patron",
            "list"
        );
    }

    [Fact]
    public async Task An_operators_token_adds_districts_and_allows_tenants_and_opens_none()
    {
        var token = Closed(
            "operator",
            (
                await library
                    .Service<AccessTokens>()
                    .CreateAsync(null, "operator", SecurityGroup.PatronLimited, TokenScopes.None, TimeSpan.FromDays(1), "test")
            ).Token
        );
        Task<Ran> AskAsync(params string[] args) =>
            _here.OkAsync([.. args, "--json", "--server", library.Url.ToString(), "--token-file", token]);
        var code = $"OP{Guid.NewGuid():N}"[..12].ToUpperInvariant();
        var tenant = $"{Random.Shared.Next(100_000_000, 999_999_999)}";
        Assert.Equal(code, (await AskAsync("district", "add", code, "--name", "Operated")).Word("code"));
        Assert.Equal(tenant, (await AskAsync("district", "allow-tenant", code, tenant)).Word("tenantId"));
        var listed = (await AskAsync("district", "list")).Json.EnumerateArray().ToList();
        Assert.Contains(listed, d => d.GetProperty("code").GetString() == library.District.Code);
        var added = Assert.Single(listed, d => d.GetProperty("code").GetString() == code);
        Assert.Equal([tenant], added.GetProperty("tenants").EnumerateArray().Select(t => t.GetString()));
        Assert.Equal(tenant, (await AskAsync("district", "disallow-tenant", code, tenant)).Word("tenantId"));
        await RefusedAsync(
            ExitCode.Failed,
            $"is not allowed tenant {tenant}",
            library.Url,
            token,
            "district",
            "disallow-tenant",
            code,
            tenant
        );
        await RefusedAsync(ExitCode.Failed, "needs a token of a district", library.Url, token, "patron", "list");

        // The command line on the server's own machine has one district again, as other tests expect it.
        await using var context = library.Service<Rollcall.Storage.RollcallDatabase>().CreateContext();
        await context.Districts.Where(d => d.Code == code).ExecuteDeleteAsync();
    }

    [Fact]
    public async Task Nothing_of_the_servers_own_machine_is_opened_by_what_is_sent()
    {
        using var http = new HttpClient { BaseAddress = library.Url };
        http.DefaultRequestHeaders.Authorization = new("Bearer", (await File.ReadAllTextAsync(_token)).Trim());
        async Task<(HttpStatusCode Status, string Body)> SendAsync(params string[] arguments)
        {
            using var response = await http.PostAsJsonAsync("/api/v1/commands", new { arguments });
            return (response.StatusCode, await response.Content.ReadAsStringAsync());
        }

        var secret = _here.File("there.csv", "barcode,lastName\nSTOLEN,Row\n");
        Assert.Contains("does not exist", (await SendAsync("patron", "import", secret)).Body, StringComparison.Ordinal);
        var target = Path.Combine(_here.Data, "written.csv");
        var (_, written) = await SendAsync("patron", "export", "-o", target);
        Assert.Contains("\"file\"", written, StringComparison.Ordinal);
        Assert.False(File.Exists(target));
        var elsewhere = Path.Combine(_here.Data, "elsewhere");
        await SendAsync("patron", "list", "--data", elsewhere, "--database", "Host=nowhere.invalid");
        Assert.False(Directory.Exists(elsewhere));
        foreach (
            var command in (string[][])
                [
                    ["serve"],
                    ["db", "backup", target],
                    ["token", "create", "X", "--scope", "all"],
                    ["account", "add", "x@library.example", "--group", "District Administrator"],
                    ["operator", "partner-key", "--file", secret],
                    ["oneroster-csv", "connect", "--folder", "/etc"],
                    ["oneroster-csv", "check", "/etc"],
                    ["support-bundle", target],
                ]
        )
        {
            Assert.Equal(HttpStatusCode.Forbidden, (await SendAsync(command)).Status);
        }

        Assert.False(File.Exists(target));
    }

    [Fact]
    public void Every_command_goes_over_the_api_or_is_known_to_stay()
    {
        // A new command is added to the table of Remote, or here with the reason that it belongs to the machine.
        string[] staying =
        [
            "account add",
            "account drop-operator",
            "account drop-second-factor",
            "account list",
            "account lock",
            "account reset-password",
            "account unlock",
            "db adopt-key",
            "db backup",
            "db check",
            "db compact",
            "db migrate",
            "db rehearse",
            "db restore",
            "demo",
            "oneroster-csv check",
            "oneroster-csv connect",
            "operator partner-key",
            "sandbox",
            "serve",
            "support-bundle",
            "token create",
            "token list",
            "token revoke",
        ];
        var terminal = new Terminal(TextWriter.Null, TextWriter.Null, () => Stream.Null, _ => null, false, false);
        static IEnumerable<string> Leaves(System.CommandLine.Command command, string path) =>
            command.Subcommands.Count == 0 ? [path] : command.Subcommands.SelectMany(c => Leaves(c, $"{path} {c.Name}".Trim()));
        Assert.Equal(
            Leaves(CommandLine.Build(terminal), "").Order(StringComparer.Ordinal),
            Remote.Commands.Concat(staying).Order(StringComparer.Ordinal)
        );
    }

    private async Task<string> TokenFileAsync(string name, SecurityGroup group, TokenScopes scopes) =>
        Closed(
            name,
            (
                await library.Service<AccessTokens>().CreateAsync(library.District, "token", group, scopes, TimeSpan.FromDays(1), "test")
            ).Token
        );

    private string Closed(string name, string content)
    {
        var path = _here.File(name, content);
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        }

        return path;
    }

    private Task<Ran> RunAsync(params string[] args) =>
        _here.RunAsync([.. args, "--server", library.Url.ToString(), "--token-file", _token]);

    private async Task<Ran> OkAsync(string verb, string other, string[] args) => await OkAsync([verb, other, .. args]);

    private async Task<Ran> OkAsync(params string[] args)
    {
        _here.Variables["ROLLCALL_TOKEN_FILE"] = _token;
        var ran = await _here.OkAsync([.. args, $"--server={library.Url.GetLeftPart(UriPartial.Authority)}"]);
        _here.Variables.Clear();
        return ran;
    }

    private Task<string> RefusedAsync(int code, string says, Uri server, string? token, params string[] args) =>
        _here.RefusedAsync(code, says, [.. args, "--server", server.ToString(), .. token is null ? [] : new[] { "--token-file", token }]);

    /// <summary>The same command on the server's own machine.</summary>
    private async Task<string> LocalAsync(params string[] args)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        var storage = library.Service<RollcallOptions>().Storage;
        var terminal = new Terminal(
            output,
            error,
            () => Stream.Null,
            name =>
                name switch
                {
                    "ROLLCALL_ALLOW_PRIVATE_ADDRESSES" => "true",
                    "ROLLCALL_DATA" => storage.DataFolder,
                    "ROLLCALL_DATABASE" => storage.Connection,
                    _ => null,
                },
            false,
            false
        );
        Assert.Equal(0, await CommandLine.RunAsync(args, terminal, TestContext.Current.CancellationToken));
        Assert.Equal("", error.ToString());
        return output.ToString();
    }
}

/// <summary>Carries connections to a server, and cuts the first one behind certain words of an answer.</summary>
internal sealed class CutOnce : IAsyncDisposable
{
    private readonly System.Net.Sockets.TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _accepting;
    private int _connections;

    public CutOnce(int port, string words)
    {
        _listener.Start();
        Url = new Uri($"http://127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port}");
        _accepting = AcceptAsync(port, words);
    }

    public Uri Url { get; }

    public int Connections => Volatile.Read(ref _connections);

    private async Task AcceptAsync(int port, string words)
    {
        var carried = new List<Task>();
        try
        {
            while (true)
            {
                var client = await _listener.AcceptTcpClientAsync(_stop.Token);
                carried.Add(CarryAsync(client, port, Interlocked.Increment(ref _connections) == 1 ? words : null));
            }
        }
        catch (OperationCanceledException)
        {
            await Task.WhenAll(carried);
        }
    }

    private async Task CarryAsync(System.Net.Sockets.TcpClient client, int port, string? words)
    {
        using var here = client;
        using var there = new System.Net.Sockets.TcpClient();
        await there.ConnectAsync(IPAddress.Loopback, port, _stop.Token);
        var up = here.GetStream().CopyToAsync(there.GetStream(), _stop.Token);
        var seen = new StringBuilder();
        var buffer = new byte[4096];
        try
        {
            int read;
            while ((read = await there.GetStream().ReadAsync(buffer, _stop.Token)) > 0)
            {
                await here.GetStream().WriteAsync(buffer.AsMemory(0, read), _stop.Token);
                if (
                    words is not null
                    && seen.Append(Encoding.UTF8.GetString(buffer, 0, read)).ToString().Contains(words, StringComparison.Ordinal)
                )
                {
                    break;
                }
            }
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            // Somebody hung up.
        }

        here.Close();
        there.Close();
        try
        {
            await up;
        }
        catch (Exception e) when (e is IOException or OperationCanceledException or ObjectDisposedException)
        {
            // As it was cut.
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _accepting;
        _listener.Dispose();
        _stop.Dispose();
    }
}
