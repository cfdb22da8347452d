using System.Diagnostics;
using System.Runtime.Versioning;
using System.Text.RegularExpressions;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Commands;

/// <summary>The download as one program: two files in a folder that nothing can be written to, and a home in which there is nothing yet. With
/// ROLLCALL_PUBLISHED=FOLDER it is the one that was published there; without, one is published first, which takes minutes.</summary>
[UnsupportedOSPlatform("windows")]
public sealed class PublishTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact(Explicit = true)]
    public async Task One_program_and_the_library_of_SQLite_are_all_that_a_machine_needs()
    {
        using var folder = new TempFolder();
        var published = Environment.GetEnvironmentVariable("ROLLCALL_PUBLISHED");
        if (string.IsNullOrEmpty(published))
        {
            published = Path.Combine(folder.Path, "published");
            await PublishAsync(folder, published);
        }

        var programs = Directory.CreateDirectory(Path.Combine(folder.Path, "programs")).FullName;
        foreach (var file in (string[])["rollcall", "libe_sqlite3.so"])
        {
            File.Copy(Path.Combine(published, file), Path.Combine(programs, file));
            TestContext.Current.TestOutputHelper?.WriteLine($"{file}: {new FileInfo(Path.Combine(programs, file)).Length / 1e6:0.0} MB");
        }

        File.SetUnixFileMode(programs, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        var home = Directory.CreateDirectory(Path.Combine(folder.Path, "home")).FullName;
        Process Start(params string[] args) =>
            Process.Start(
                new ProcessStartInfo(
                    "env",
                    [
                        "-i",
                        "--default-signal=INT",
                        $"HOME={home}",
                        $"TMPDIR={Directory.CreateDirectory(Path.Combine(folder.Path, "tmp")).FullName}",
                        Path.Combine(programs, "rollcall"),
                        .. args,
                    ]
                )
                {
                    UseShellExecute = false,
                    RedirectStandardOutput = true,
                    RedirectStandardError = true,
                    WorkingDirectory = home,
                }
            )!;

        async Task<string> SayAsync(params string[] args)
        {
            using var process = Start(args);
            var ran = await RealProcess.EndAsync(process);
            Assert.Equal((0, ""), (ran.Code, ran.Error));
            return ran.Out;
        }

        async Task ServeAsync(string before, params string[] args)
        {
            using var process = Start(args);
            try
            {
                string? url = null;
                while (url is null && await process.StandardOutput.ReadLineAsync(Stop) is { } line)
                {
                    url = Regex.Match(line, $"^{before}.*?(?<url>http://[^ ]+)") is { Success: true } said
                        ? said.Groups["url"].Value
                        : null;
                }

                Assert.True(url is not null, await process.StandardError.ReadToEndAsync(Stop));
                using var http = new HttpClient { BaseAddress = new Uri(url) };
                var page = await http.GetStringAsync("/signin", Stop);
                var parts = Regex
                    .Matches(page, "(?:href|src)=\"(?<path>/[^\"]+\\.(?:css|js)[^\"]*)\"")
                    .Select(m => m.Groups["path"].Value)
                    .ToList();
                Assert.NotEmpty(parts);
                foreach (var part in parts)
                {
                    Assert.NotEmpty(await http.GetStringAsync(part, Stop));
                }

                await RealProcess.SignalAsync(process, "INT");
                await process.WaitForExitAsync(Stop);
                Assert.Equal(0, process.ExitCode);
            }
            finally
            {
                if (!process.HasExited)
                {
                    process.Kill();
                }
            }
        }

        try
        {
            Assert.Contains("0.1.0", await SayAsync("--version"), StringComparison.Ordinal);
            await ServeAsync("Rollcall is at ", "serve", "--urls", "http://127.0.0.1:0");
            await SayAsync("db", "check");
            await SayAsync("district", "add", "RIVER", "--name", "Riverbend");
            await SayAsync("db", "backup", Path.Combine(home, "rollcall.bak"));
            await ServeAsync("Open ", "demo", "--students", "60");
            Assert.Equal(2, Directory.GetFiles(programs).Length);
            Assert.Equal(
                [".local", "rollcall.bak"],
                Directory.GetFileSystemEntries(home).Select(Path.GetFileName).Order(StringComparer.Ordinal)
            );
            Assert.Empty(Directory.GetFileSystemEntries(Path.Combine(folder.Path, "tmp")));
        }
        finally
        {
            File.SetUnixFileMode(programs, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }

    /// <summary>Of a copy: what a program for a kind of machine needs would go into the lock files.</summary>
    private static async Task PublishAsync(TempFolder folder, string to)
    {
        var source = Path.Combine(folder.Path, "source");
        using var process = Process.Start(
            new ProcessStartInfo(
                "sh",
                [
                    "-c",
                    "mkdir \"$2\" && git -C \"$1\" archive HEAD | tar -x -C \"$2\" && dotnet publish \"$2/src/Rollcall.Server\" -c Release -r linux-x64 --self-contained -p:PublishSingleFile=true -p:RunAnalyzers=false -o \"$3\" -v quiet -nologo",
                    "publish",
                    DocumentTests.Root(),
                    source,
                    to,
                ]
            )
            {
                UseShellExecute = false,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            }
        )!;
        var ran = await RealProcess.EndAsync(process);
        Assert.True(ran.Code == 0, ran.Out + ran.Error);
    }
}
