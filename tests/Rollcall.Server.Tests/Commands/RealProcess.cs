using System.Diagnostics;
using System.Text;
using System.Text.Json;

namespace Rollcall.Server.Tests.Commands;

/// <summary>The executable as a process of its own, where locks of the operating system and signals decide.</summary>
internal static class RealProcess
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    // A process that starts others in the background has them ignore Ctrl-C; here they are to obey.
    public static Process Start(Cli cli, params string[] args) => StartAs(cli, ["--default-signal=INT", Program, .. args]);

    /// <summary>Starts a command whose results go to a disk that is full.</summary>
    public static Process StartFull(Cli cli, string[] args, string more = "") =>
        StartAs(cli, ["sh", "-c", $"exec \"$0\" \"$@\" >/dev/full {more}", Program, .. args]);

    /// <summary>Starts a command as a user whose new files anybody may read.</summary>
    public static Process StartOpen(Cli cli, params string[] args) =>
        StartAs(cli, ["--default-signal=INT", "sh", "-c", "umask 022; exec \"$0\" \"$@\"", Program, .. args]);

    /// <summary>Starts a command in a terminal of its own, whose screen is its output.</summary>
    public static Process StartInTerminal(Cli cli, string args) =>
        StartAs(cli, ["TERM=xterm-256color", "script", "-qec", $"'{Program}' {args}", "/dev/null"]);

    private static string Program => Path.Combine(AppContext.BaseDirectory, "rollcall");

    private static Process StartAs(Cli cli, string[] all)
    {
        var start = new ProcessStartInfo("env")
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = cli.Folder ?? "",
        };
        foreach (var arg in all)
        {
            start.ArgumentList.Add(arg);
        }

        start.Environment["ROLLCALL_DATA"] = cli.Data;
        start.Environment["ROLLCALL_ALLOW_PRIVATE_ADDRESSES"] = "true";
        start.Environment["TMPDIR"] = Directory.CreateDirectory(Path.Combine(cli.Data, "tmp")).FullName;
        start.Environment.Remove("ROLLCALL_DATABASE");
        if (cli.Database is not null)
        {
            start.Environment["ROLLCALL_DATABASE"] = cli.Database;
        }

        foreach (var (name, value) in cli.Variables)
        {
            start.Environment[name] = value;
        }

        var process = Process.Start(start)!;
        cli.Own(process.Id);
        return process;
    }

    /// <summary>Starts a server on a free port, and waits until it serves.</summary>
    /// <returns>The process, and what it said of itself.</returns>
    public static async Task<(Process Process, JsonElement Said)> ServeAsync(Cli cli, params string[] args)
    {
        var process = Start(cli, ["serve", "--urls", "http://127.0.0.1:0", "--json", .. args]);
        var said = new StringBuilder();
        while (await process.StandardOutput.ReadLineAsync(Stop) is { } line)
        {
            said.AppendLine(line);
            if (
                line == "}"
                && JsonSerializer.Deserialize<JsonElement>(said.ToString()) is var answer
                && answer.TryGetProperty("url", out _)
            )
            {
                return (process, answer);
            }
        }

        throw new InvalidOperationException($"{said}{await process.StandardError.ReadToEndAsync(Stop)}");
    }

    /// <summary>Waits for its end; what it wrote.</summary>
    public static async Task<Ran> EndAsync(Process process)
    {
        var output = process.StandardOutput.ReadToEndAsync(Stop);
        var error = process.StandardError.ReadToEndAsync(Stop);
        await process.WaitForExitAsync(Stop);
        return new Ran(process.ExitCode, await output, await error);
    }

    public static async Task SignalAsync(Process process, string signal)
    {
        using var kill = Process.Start("kill", [$"-{signal}", $"{process.Id}"]);
        await kill.WaitForExitAsync(Stop);
    }
}
