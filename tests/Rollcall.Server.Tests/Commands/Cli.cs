using System.Diagnostics;
using System.Text;
using System.Text.Json;
using Rollcall.Sandbox;
using Rollcall.Server.Commands;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Commands;

/// <summary>What a command left behind.</summary>
internal sealed record Ran(int Code, string Out, string Error)
{
    public JsonElement Json => JsonSerializer.Deserialize<JsonElement>(Out);

    public long Number(string name) => Json.GetProperty(name).GetInt64();

    public string? Word(string name) => Json.GetProperty(name).GetString();
}

/// <summary>A data folder of its own, on either database, and the command line on it.</summary>
internal sealed class Cli : IAsyncDisposable
{
    private readonly TempFolder _folder;
    private readonly string? _database;
    private readonly List<Process> _processes = [];

    private Cli(string? database, string? parent = null)
    {
        _database = database;
        _folder = new TempFolder(parent);
    }

    public string Data => _folder.Path;

    /// <summary>PostgreSQL's connection; null on SQLite.</summary>
    public string? Database => _database;

    /// <summary>Where its processes are started; null is where the tests are.</summary>
    public string? Folder { get; set; }

    /// <summary>Variables beside those that every test has.</summary>
    public Dictionary<string, string> Variables { get; } = new(StringComparer.Ordinal);

    /// <summary>What is piped in.</summary>
    public byte[] In { get; set; } = [];

    /// <param name="postgres">The cluster; null for SQLite.</param>
    /// <param name="parent">Where the data folder is made; null for where temporary folders are.</param>
    public static async Task<Cli> OpenAsync(PostgresCluster? postgres = null, string? parent = null) =>
        new(postgres is null ? null : await postgres.CreateDatabaseAsync(), parent);

    /// <summary>With a database that has nothing in it yet, and no tables either.</summary>
    public static async Task<Cli> EmptyAsync(PostgresCluster? postgres) =>
        new(postgres is null ? null : await postgres.CreateEmptyDatabaseAsync());

    /// <summary>The same installation once more, on a copy of its database and with its key.</summary>
    public static async Task<Cli> CopyAsync(PostgresCluster postgres, Cli from)
    {
        var copy = new Cli(await postgres.CopyDatabaseAsync(from.Database!));
        System.IO.File.Copy(Path.Combine(from.Data, "master.key"), Path.Combine(copy.Data, "master.key"));
        return copy;
    }

    /// <summary>A district whose schools are matched and whose first sync is still to come.</summary>
    public static async Task<Cli> ConnectedAsync(SandboxServer sandbox, PostgresCluster? postgres = null, string? parent = null)
    {
        var cli = await OpenAsync(postgres, parent);
        await cli.OkAsync("district", "add", "RIVER", "--name", "Riverbend");
        await cli.ConnectAsync(sandbox);
        await cli.OkAsync("classlink", "on");
        var number = 0;
        foreach (var school in sandbox.District.Schools)
        {
            await cli.OkAsync("site", "add", $"S{++number}", "--name", school.Name, "--next-barcode", $"{number}0001");
            await cli.OkAsync("classlink", "match", $"S{number}", school.SourcedId);
        }

        await cli.OkAsync("classlink", "roles", "student,teacher,admin");
        return cli;
    }

    public Task<Ran> ConnectAsync(SandboxServer sandbox) =>
        OkAsync(
            "classlink",
            "connect",
            "--tenant-id",
            sandbox.Options.TenantId,
            "--direct",
            sandbox.Url.GetLeftPart(UriPartial.Authority),
            "--key",
            sandbox.Options.ConsumerKey,
            "--secret-file",
            File("secret", sandbox.Options.ConsumerSecret)
        );

    /// <summary>A file with this content; its path.</summary>
    public string File(string name, string content) => File(name, Encoding.UTF8.GetBytes(content));

    /// <inheritdoc cref="File(string, string)"/>
    public string File(string name, byte[] content)
    {
        var path = Path.Combine(Data, name);
        System.IO.File.WriteAllBytes(path, content);
        return path;
    }

    public async Task<Ran> RunAsync(params string[] args)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        var terminal = new Terminal(
            output,
            error,
            () => new MemoryStream(In),
            name =>
                name switch
                {
                    "ROLLCALL_ALLOW_PRIVATE_ADDRESSES" => "true",
                    "ROLLCALL_DATA" => Data,
                    "ROLLCALL_DATABASE" => _database,
                    _ => Variables.GetValueOrDefault(name),
                },
            OutIsTerminal: false,
            ErrorIsTerminal: false
        );
        var code = await CommandLine.RunAsync(args, terminal, TestContext.Current.CancellationToken);
        return new Ran(code, output.ToString(), error.ToString());
    }

    public async Task<Ran> OkAsync(params string[] args)
    {
        var ran = await RunAsync(args);
        Assert.True(ran.Code == 0, $"{string.Join(' ', args)}: {ran.Code} {ran.Error}");
        Assert.Equal("", ran.Error);
        Assert.DoesNotContain(ran.Out.Split('\n'), line => line.EndsWith(' '));
        return ran;
    }

    /// <summary>Runs what has to be refused: one line that names the trouble, as text and as JSON.</summary>
    public async Task<string> RefusedAsync(int code, string says, params string[] args)
    {
        var ran = await RunAsync(args);
        Assert.True(ran.Code == code, $"{string.Join(' ', args)}: {ran.Code} {ran.Out} {ran.Error}");
        var line = Assert.Single(ran.Error.TrimEnd('\n').Split('\n'));
        Assert.StartsWith("error: ", line, StringComparison.Ordinal);
        Assert.Contains(says, line, StringComparison.Ordinal);
        var json = args.Contains("--json") ? ran : await RunAsync([.. args, "--json"]);
        Assert.Equal(code, json.Code);
        Assert.Contains(says, json.Word("error"), StringComparison.Ordinal);
        return line;
    }

    /// <summary>A process works on this data folder: whatever the test comes to, it ends no later than the folder.</summary>
    public void Own(int process)
    {
        try
        {
            // A hold of its own: that of the test may be let go while the process runs.
            _processes.Add(Process.GetProcessById(process));
        }
        catch (ArgumentException)
        {
            // It has ended already.
        }
    }

    public ValueTask DisposeAsync()
    {
        foreach (var process in _processes)
        {
            if (!process.HasExited)
            {
                process.Kill();
                process.WaitForExit();
            }

            process.Dispose();
        }

        _folder.Dispose();
        return ValueTask.CompletedTask;
    }
}
