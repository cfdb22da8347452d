using System.Diagnostics;
using System.Runtime.Versioning;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Commands;

/// <summary>What the scripts of the project say where something is missing that they need.</summary>
[UnsupportedOSPlatform("windows")]
public sealed class ScriptTests
{
    private const string Fails = "echo 'the program says so' >&2; exit 1";

    [Theory]
    [InlineData("sdk", "The .NET SDK that global.json asks for is missing")]
    [InlineData("apt-get", "there is no apt-get: install them as this system does")]
    [InlineData("sudo", "there is no sudo: as root, run 'apt-get update && apt-get install --no-install-recommends")]
    [InlineData("mirror", "apt-get could not install them")]
    [InlineData("build", "It does not build: nothing was tested.")]
    public async Task A_run_of_the_tests_says_in_one_line_what_is_missing_and_what_to_do(string missing, string words)
    {
        using var folder = new TempFolder();
        Programs(folder, ("dotnet", $"case $1 in {(missing == "sdk" ? "--version" : "build")}) {Fails};; esac"), ("id", "echo 1000"));
        if (missing != "apt-get")
        {
            Programs(folder, ("apt-get", missing == "mirror" ? Fails : "exit 0"));
        }

        if (missing != "sudo")
        {
            Programs(folder, ("sudo", "\"$@\""));
        }

        if (missing == "build")
        {
            Programs(folder, ("chromium", "exit 0"));
        }

        var (code, output, error) = await RunAsync(folder, "test");
        Assert.Equal(1, code);
        Assert.Contains(words, error.TrimEnd('\n').Split('\n')[^1], StringComparison.Ordinal);
        Assert.DoesNotContain("passed", output, StringComparison.Ordinal);
        if (missing is "apt-get" or "sudo" or "mirror")
        {
            Assert.Contains("chromium", error.TrimEnd('\n').Split('\n')[^1], StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("tool", "could not be restored with 'dotnet tool restore'")]
    [InlineData("csharpier", "run 'dotnet csharpier format .'")]
    public async Task A_check_of_a_change_says_which_of_its_steps_failed(string step, string words)
    {
        using var folder = new TempFolder();
        Programs(folder, ("dotnet", $"case $1 in {step}) {Fails};; esac"));
        var (code, output, error) = await RunAsync(folder, Path.Combine(".ci", "run"));
        Assert.Equal(1, code);
        Assert.Contains("the program says so", output + error, StringComparison.Ordinal);
        var lines = output.TrimEnd('\n').Split('\n');
        Assert.Contains(words, lines[^2], StringComparison.Ordinal);
        Assert.Equal("0 passed, 1 failed, 0 skipped", lines[^1]);
    }

    /// <summary>Programs that do as they are told here.</summary>
    private static void Programs(TempFolder folder, params (string Name, string Does)[] programs)
    {
        foreach (var (name, does) in programs)
        {
            var file = Path.Combine(Directory.CreateDirectory(Path.Combine(folder.Path, "programs")).FullName, name);
            File.WriteAllText(file, $"#!/bin/sh\n{does}\n");
            File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }

    /// <summary>Runs a script in a folder of its own, where nothing is but those programs and what every system has.</summary>
    private static async Task<(int Code, string Out, string Error)> RunAsync(TempFolder folder, string script)
    {
        foreach (var name in (string[])["dirname", "env"])
        {
            File.CreateSymbolicLink(Path.Combine(folder.Path, "programs", name), $"/usr/bin/{name}");
        }

        var copy = Path.Combine(folder.Path, script);
        Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
        File.Copy(Path.Combine(DocumentTests.Root(), script), copy);
        using var process = Process.Start(
            new ProcessStartInfo("/bin/bash", [copy])
            {
                UseShellExecute = false,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
                Environment = { ["PATH"] = Path.Combine(folder.Path, "programs") },
            }
        )!;
        var output = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        var error = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        return (process.ExitCode, await output, await error);
    }
}
